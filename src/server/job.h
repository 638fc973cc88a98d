/* Long work of the store (pull, push, create) on threads of its own, and its progress as a stream
 * of lines or, without one, a last word (COMPAT.md 2.6). */
#pragma once

#include "server/request.h"

enum { JOBS_MAX = 16 }; /* at once; more are answered with 503 */

struct job {
    struct request *r;
    bool stream; /* false: one object at the end */
    const char *const
        *hide;         /* statuses that are only of the command line; NULL-terminated, or NULL */
    volatile int stop; /* the client is gone: what runs polls it */
    /* The work, on its own thread; ctx is freed by `free_ctx` after it. */
    int (*work)(struct job *j, void *ctx, struct err *e);
    void (*free_ctx)(void *ctx);
    void *ctx;
    int64_t said_ns; /* when the last line about bytes went out */
};

/* Takes r and ctx over; the rest of *j is copied. */
void job_start(const struct job *j);

/* From work: {"status", "digest", "total", "completed"}; digest NULL and 0: left out.  The head of
 * the stream goes out with the first, so that what fails before has its status.  Lines about bytes
 * come 60 ms apart at least, but the first and the last of each. */
void job_say(struct job *j, const char *status, const char *digest, uint64_t total,
             uint64_t completed);
