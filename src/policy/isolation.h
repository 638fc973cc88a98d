/* Isolation: nothing leaves this machine (SECURITY.md 1.5).  A server that is isolated has given up
 * the right to connect before it answers its first request, and so have the processes that it
 * starts; what would leave is refused here already, with a reason that can be read.
 *
 *     net/client   every hop asks the gate            -> policy_may_leave
 *     server       pull, push, create FROM a registry -> policy_check_leaving -> 403
 *     the kernel   whatever forgets to ask            -> base/sandbox.h */
#pragma once

#include <stdbool.h>
#include <stddef.h>

#include "base/err.h"
#include "base/sandbox.h"
#include "policy/leave.h"

/* As the setting ISOLATION says it: off, on, best-effort. */
enum isolation {
    ISOLATION_OFF,
    ISOLATION_ON,          /* the kernel enforces it, or the server does not start */
    ISOLATION_BEST_EFFORT, /* as far as the kernel can */
};
/* Also 0, no, false and 1, yes, true.  ERR_USAGE. */
int isolation_parse(const char *text, enum isolation *out, struct err *e);

/* ---- the walls ---- */

/* The files a server keeps to.  Zero is an empty list; isolation_files_fini. */
struct isolation_files {
    struct sandbox_rule *rule; /* [n], owned, with their paths */
    int n, cap;
    bool failed; /* out of memory: isolation_enter says so */
};
/* may: SANDBOX_...; path NULL or "" is nothing. */
void isolation_files_add(struct isolation_files *f, const char *path, int may);
/* A file that is made later, or read again later and may be another one by then: with its folder,
 * unless that is /etc itself, one that everybody writes to, or the user's home or what is above it.
 */
void isolation_files_add_config(struct isolation_files *f, const char *path, int may);
/* What this program needs besides: itself, its libraries, what they read, /proc and /sys. */
void isolation_files_program(struct isolation_files *f);
void isolation_files_fini(struct isolation_files *f);

/* What of "on" this kernel cannot enforce, as text; "" when it can all. */
void isolation_missing(const struct sandbox_state *s, char *out, size_t n_out);
/* Shuts this process in, for good; before other threads are started, after what it listens on is
 * bound.  ERR_LIMIT naming what the kernel lacks, unless best-effort; nothing was done then. */
int isolation_enter(enum isolation mode, const struct isolation_files *f, struct sandbox_state *got,
                    struct err *e);
/* What is in force: "seccomp (190 calls), Landlock ABI 7 (files, TCP, signals), no network". */
void isolation_explain(const struct sandbox_state *s, char *out, size_t n_out);
