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
    bool tree;          /* and the folders in it, as a store needs it.  Without Landlock files are
                         * then not limited by more than their permissions */
    const char *second; /* another such folder, or NULL */
    const char *const *readable; /* [n_readable] files outside of it that may be read */
    int n_readable;
    bool pin;                /* threads may choose their processors */
    int socket;              /* whose messages may bring further descriptors; 0: none */
    uint64_t max_data_bytes; /* of memory written to (RLIMIT_DATA), 0: no limit */
};

struct sandbox_state {
    int landlock_abi; /* 0: not there */
    bool seccomp;
    bool folder;  /* the folder of the options can be used: that takes Landlock */
    bool network; /* of a front: it is in a network namespace where there is nothing */
    int n_call;   /* of a front: system calls that are let through, some under a condition */
};

/* What this kernel offers. */
struct sandbox_state sandbox_offered(void);

/* For the whole process, for good: call it before other threads are started.  What the kernel lacks
 * is left out and missing in *got; -1 with ERR_IO when it has it and it fails. */
int sandbox_enter(const struct sandbox_opts *o, struct sandbox_state *got, struct err *e);

/* ---- a process that serves ----
 *
 * It has its listening sockets, and from then on accepts and answers, uses the files that it is
 * given, and starts programs that it is given: each of them inherits these walls.  There is no way
 * out: no socket() but pairs of Unix sockets, no connect, no bind, no data with an address;
 * Landlock refuses TCP once more, and files, signals to others and abstract Unix sockets; where the
 * kernel allows it the network itself is left behind.  Privileges of root are given up but those
 * that have to do with owners of files. */

enum sandbox_may {
    SANDBOX_READ = 1,   /* the file, or all files and folders in it */
    SANDBOX_WRITE = 2,  /* make, change and remove them, too */
    SANDBOX_RUN = 4,    /* start it as a program */
    SANDBOX_REMOVE = 8, /* remove files in it, and nothing else */
};

struct sandbox_rule {
    const char *path; /* what is not there is left out */
    int may;          /* enum sandbox_may, together */
};

/* For the whole process, for good; there must be no other threads (ERR_IO).  What the kernel lacks
 * is left out and missing in *got (landlock_abi, seccomp, network); -1 with ERR_IO when it has it
 * and it fails. */
int sandbox_enter_front(const struct sandbox_rule *rule, int n_rule, struct sandbox_state *got,
                        struct err *e);

/* May a process like this one have a network namespace of its own, or is it in an empty one?  Tries
 * it in a process of its own; there must be no other threads. */
bool sandbox_network_offered(void);
/* For a front: does that.  False: the kernel does not allow it. */
bool sandbox_leave_network(void);

/* "seccomp, Landlock ABI 7" */
void sandbox_explain(const struct sandbox_state *s, char *out, size_t n_out);
