/* Long work of the store (pull, push, create) and its progress, as a stream of lines or, without
 * one, a last word (COMPAT.md 2.6).  It runs on the handler's thread: the front has threads of
 * their own for the routes that change the store. */
#pragma once

#include "server/request.h"

struct job {
    struct request *r;
    bool stream;             /* false: one object at the end */
    const char *const *hide; /* statuses that only the command line has; ends with NULL; or NULL */
    volatile int stop;       /* the client is gone: what runs polls it */
    int64_t said_ns;         /* when the last line about bytes went out */
};

typedef int job_fn(struct job *j, void *ctx, struct err *e);

/* Runs work and ends the request. */
void job_run(struct job *j, job_fn *work, void *ctx);

/* From work: {"status", "digest", "total", "completed"}; digest NULL and 0: left out.  The head of
 * the stream goes out with the first, so that what fails before has its status.  Lines about bytes
 * come 60 ms apart at least, but the first and the last of each. */
void job_say(struct job *j, const char *status, const char *digest, uint64_t total,
             uint64_t completed);
