/* An engine child: the process behind gen_open_child, seen from inside.
 *
 *     the main thread    reads frames: START CANCEL PAUSE RESUME CLOSE -> gen_start...
 *     the gen's threads  events -> frames, collected; written when the gen has told a step's */
#pragma once

#include "base/sandbox.h"
#include "engine/gen.h"

struct child_opts {
    /* Opens the model inside: gen_open_local. */
    struct gen *(*open)(const char *path, const struct gen_opts *o, struct err *e);
    long parent; /* process id of the front: when that is another's, it is dead already; 0: any */
    bool bare;   /* no sandbox, no signals changed: on a thread of another process (tests) */
};

/* Serve the front at the other end of fd (taken over) until it closes.  0; -1: it could not be
 * opened, and the front has been told, or the front does not speak. */
int child_run(int fd, const struct child_opts *o, struct err *e);
