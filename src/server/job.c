/* See job.h.  Two threads: one works, one watches whether the client is still there; a download
 * that stands still says nothing by itself. */
#include "server/job.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/os.h"

enum { LINE_NS = 60 * 1000 * 1000, WATCH_NS = 100 * 1000 * 1000 };

static atomic_int n_jobs;

struct running {
    struct job j;
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool done; /* lock */
    struct err err;
    int rc;
};

static void end_reply(struct running *x) {
    struct job *j = &x->j;
    if (x->rc != 0 && stream_started(j->r))
        stream_fail(j->r, &x->err);
    else if (x->rc != 0)
        reply_err(j->r, &x->err);
    else if (stream_started(j->r))
        stream_end(j->r);
    else
        reply_json(j->r, 200, json_pack("{s:s}", "status", "success"));
}

static void *work(void *arg) {
    struct running *x = arg;
    x->rc = x->j.work(&x->j, x->j.ctx, &x->err);
    pthread_mutex_lock(&x->lock);
    x->done = true;
    pthread_cond_signal(&x->over);
    pthread_mutex_unlock(&x->lock);
    return NULL;
}

static void running_free(struct running *x) {
    if (x->j.free_ctx) x->j.free_ctx(x->j.ctx);
    pthread_mutex_destroy(&x->lock);
    pthread_cond_destroy(&x->over);
    free(x);
    atomic_fetch_sub(&n_jobs, 1);
}

/* The request belongs to the worker until it is done; only whether it is gone is asked here. */
static void *watch(void *arg) {
    struct running *x = arg;
    pthread_t worker;
    if (pthread_create(&worker, NULL, work, x) != 0) {
        x->rc = err_set(&x->err, ERR_NOMEM, "no thread for this");
        x->done = true;
    } else {
        pthread_mutex_lock(&x->lock);
        while (!x->done) {
            struct timespec t;
            clock_gettime(CLOCK_REALTIME, &t);
            t.tv_nsec += WATCH_NS;
            t.tv_sec += t.tv_nsec / 1000000000;
            t.tv_nsec %= 1000000000;
            pthread_cond_timedwait(&x->over, &x->lock, &t);
            if (request_gone(x->j.r)) x->j.stop = 1;
        }
        pthread_mutex_unlock(&x->lock);
        pthread_join(worker, NULL);
    }
    end_reply(x);
    running_free(x);
    return NULL;
}

void job_start(const struct job *j) {
    pthread_attr_t a;
    pthread_t watcher;
    struct running *x = calloc(1, sizeof *x);
    const bool room = atomic_fetch_add(&n_jobs, 1) < JOBS_MAX;
    if (!x || !room) {
        atomic_fetch_sub(&n_jobs, 1);
        free(x);
        if (room)
            reply_error(j->r, 500, "out of memory");
        else
            reply_error(j->r, 503, "server busy, please try again.  %d models are on their way",
                        JOBS_MAX);
        if (j->free_ctx) j->free_ctx(j->ctx);
        return;
    }
    x->j = *j;
    pthread_mutex_init(&x->lock, NULL);
    pthread_cond_init(&x->over, NULL);
    pthread_attr_init(&a);
    pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&watcher, &a, watch, x) != 0) {
        reply_error(j->r, 500, "no thread for this");
        running_free(x);
    }
    pthread_attr_destroy(&a);
}

void job_say(struct job *j, const char *status, const char *digest, uint64_t total,
             uint64_t completed) {
    const int64_t now = os_now_ns();
    if (!j->stream) return;
    for (const char *const *h = j->hide; h && *h; h++)
        if (strcmp(*h, status) == 0) return;
    const bool middle = total > 0 && completed > 0 && completed < total;
    if (middle && now - j->said_ns < LINE_NS) return;
    j->said_ns = now;
    json_t *o = json_pack("{s:s}", "status", status);
    if (digest) json_object_set_new(o, "digest", json_string(digest));
    if (total) json_object_set_new(o, "total", json_integer((json_int_t)total));
    if (completed) json_object_set_new(o, "completed", json_integer((json_int_t)completed));
    if (!stream_started(j->r)) stream_start(j->r, 200, STREAM_NDJSON);
    stream_json(j->r, o);
    json_decref(o);
}
