/* Attempts to get out, made from inside a process that is shut in: what `cria verify isolation`
 * runs in a front, an engine child and a trainer child.  What they try to reach is there and would
 * answer: only the kernel's refusal keeps them from it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/err.h"

/* Made by a process outside, before. */
struct isolation_targets {
    int tcp_port, udp_port; /* somebody listens there, on 127.0.0.1 */
    char unix_name[64];     /* of an abstract Unix socket that somebody listens on */
    char file[4096];        /* in the user's home */
    char write_file[4096];  /* the same, to be appended to */
    pid_t victim;           /* a process of this user's, and something in its memory */
    uint64_t victim_address;
    int listener; /* of the process that tries: a TCP socket that listens; -1: none.  It is of
                     no use to others afterwards. */
};

struct isolation_try {
    const char *name; /* "connect TCP" */
    /* Tries it: 0 when that succeeded, else an errno. */
    int (*fn)(const struct isolation_targets *t);
};
extern const struct isolation_try isolation_tries[]; /* a name of NULL ends them */

/* "EPERM", "0" of success, or the number. */
const char *isolation_answer(int error, char out[16]);
/* Is it the kernel that says no, for reasons of its own?  Not: somebody else does, who was reached
 * or looked for. */
bool isolation_refused(int error);
