/* The process of an engine child, seen from the front: files opened for it, started, ended. */
#pragma once

#include <stdbool.h>
#include <sys/types.h>

#include "engine/gen.h"

enum { CHILD_FD = 3 /* of the child: its end of the socket pair */ };

/* What the child will read, opened here: a regular file each. */
struct child_files {
    char **path; /* [n], owned, as the child will name it */
    int *fd;     /* [n], owned */
    int n;
};

/* The model with all its splits, the adapter, the draft model with its splits.  Errors name the
 * file; child_files_fini also then. */
int child_files_open(struct child_files *f, const char *path, const struct gen_opts *o,
                     struct err *e);
void child_files_fini(struct child_files *f);

/* Send the files' frames, waiting where the socket is full while *stop (may be NULL) is zero.
 * That the child is gone is no error: it shows when it is read.  -1 with ERR_IO or ERR_CANCELLED.
 */
/* What of n bytes goes without waiting, the descriptor `passed` with the first (-1: none): as
 * sendmsg. */
ssize_t child_send(int fd, const char *p, size_t n, int passed);
int child_files_send(const struct child_files *f, int fd, const volatile int *stop, struct err *e);

/* Start `PROGRAM COMMAND PID` (the setting PROGRAM, else this program itself; COMMAND: "engine",
 * say) with fd as its CHILD_FD, nothing else open but standard error, and only those settings in
 * its environment that the engine reads.  An engine ends with the thread that called this. */
int child_spawn(const char *command, int fd, pid_t *pid, struct err *e);

/* Before the front is shut in (base/sandbox.h): keeps what child_spawn then could not open. */
void child_spawn_prepare(void);

/* Wait for its end: at most patience_ms, then it is killed.  how [n_how]: "signal 11", "code 1". */
void child_wait(pid_t pid, int patience_ms, char *how, size_t n_how);
