/* The program in a pseudo-terminal, as a user at a keyboard meets it. */
#pragma once

#include "support.h"

#include <sys/types.h>

struct term {
    pid_t pid;
    int fd;         /* the keyboard and the screen */
    struct buf out; /* all that was shown; NUL bytes as '?' */
};

/* Start $CRIA (else build/cria) with args (NULL-terminated, at most 30). */
void term_open(struct term *t, const char *const *args, int columns);

/* Read until `text` has appeared after the first `from` bytes, at most 30 s; text NULL: until the
 * program ends.  After the prompt ">>> " keys are taken one by one. */
bool term_wait(struct term *t, size_t from, const char *text);

void term_send(struct term *t, const char *keys);

/* Send keys and wait for what must follow. */
void term_expect(struct term *t, const char *keys, const char *text);

/* Wait for the end; the exit code, or 128 + signal. */
int term_close(struct term *t);
