/* A flag by which long computations of one thread are given up: rendering, tokenizing and compiling
 * what a client sent, when it has left.
 *
 * Whoever owns the task sets the flag for its thread; the loops that may take long look at it.  It
 * is the thread's and no parameter: those loops lie six calls below, in code that knows nothing of
 * clients, and all but one caller never stop them. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

/* From now on this thread's work is given up when *a or *b (atomic) is not 0.  NULL: never. */
void work_watch(const volatile int *a, const volatile int *b);
/* Cheap: loads of a thread's variables, and of the flags. */
bool work_stopped(void);
/* ERR_CANCELLED; returns -1. */
int work_given_up(struct err *e);
