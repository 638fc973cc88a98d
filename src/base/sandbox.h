/* A process that gives up what it does not need (Linux: Landlock, seccomp): after sandbox_enter it
 * computes, reads and writes the descriptors it has, makes threads, and that is all.  Opening
 * files, sockets, programs, other processes: EPERM or EACCES.
 *
 * Two walls, each complete by itself where the kernel has it: a seccomp filter that lets through a
 * list of system calls, and a Landlock domain without any right.  Beside them: no new privileges,
 * no core file, not traceable (PR_SET_DUMPABLE 0).
 *
 * Built with a sanitizer, which needs calls of its own, the filter refuses a list of calls instead
 * of all but a list, and /proc/self may be read. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct sandbox_opts {
    const char *folder; /* whose files may be read, made and removed, or NULL: no file at all */
    bool pin;           /* threads may choose their processors */
    uint64_t max_data_bytes; /* of memory written to (RLIMIT_DATA), 0: no limit */
};

struct sandbox_state {
    int landlock_abi; /* 0: not there */
    bool seccomp;
    bool folder; /* the folder of the options can be used: that takes Landlock */
};

/* What this kernel offers. */
struct sandbox_state sandbox_offered(void);

/* For the whole process, for good: call it before other threads are started.  What the kernel lacks
 * is left out and missing in *got; -1 with ERR_IO when it has it and it fails. */
int sandbox_enter(const struct sandbox_opts *o, struct sandbox_state *got, struct err *e);

/* "seccomp, Landlock ABI 7" */
void sandbox_explain(const struct sandbox_state *s, char *out, size_t n_out);
