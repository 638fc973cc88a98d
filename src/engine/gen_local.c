/* gen.h in this process.  See local.h. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/os.h"
#include "engine/local.h"

/* ---- the thread that reads requests ---- */

/* The task's job goes to the scheduler, or it was cancelled meanwhile. */
static void submit(struct local *g, struct task *t) {
    pthread_mutex_lock(&g->lock);
    const bool stop = t->stop || g->closing;
    t->submitted = !stop;
    t->job.paused = t->paused;
    if (!stop) sched_submit(g->sched, &t->job);
    pthread_mutex_unlock(&g->lock);
    if (stop) local_task_cancelled(t);
}

static void *read_requests(void *arg) {
    struct local *g = arg;
    pthread_mutex_lock(&g->lock);
    while (g->first || !g->closing) {
        struct task *t = g->first;
        if (!t) {
            pthread_cond_wait(&g->change, &g->lock);
            continue;
        }
        g->first = t->next;
        if (!g->first) g->last = &g->first;
        const bool stop = t->stop || g->closing;
        pthread_mutex_unlock(&g->lock);
        if (stop)
            local_task_cancelled(t);
        else if (local_task_prepare(g, t))
            submit(g, t);
        if (g->told) g->told(g->told_ctx);
        pthread_mutex_lock(&g->lock);
        g->n_request--;
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

/* ---- the table ---- */

static int local_start(struct gen *gen, const json_t *request, gen_event_fn *fn, void *ctx,
                       struct gen_task **out, struct err *e) {
    struct local *g = local_of(gen);
    struct task *t = local_task_new(g, request, fn, ctx);
    if (!t) return err_nomem(e, "request");
    if (out) *out = &t->base;
    pthread_mutex_lock(&g->lock);
    *g->last = t;
    g->last = &t->next;
    g->n_request++;
    pthread_cond_signal(&g->change);
    pthread_mutex_unlock(&g->lock);
    return 0;
}

static void local_cancel(struct gen_task *task) {
    struct task *t = (struct task *)task;
    struct local *g = local_of(task->gen);
    pthread_mutex_lock(&g->lock);
    t->stop = true;
    if (t->submitted) sched_cancel(g->sched, &t->job);
    pthread_mutex_unlock(&g->lock);
}

static void local_pause(struct gen_task *task, bool paused) {
    struct task *t = (struct task *)task;
    struct local *g = local_of(task->gen);
    pthread_mutex_lock(&g->lock);
    t->paused = paused;
    if (t->submitted) sched_pause(g->sched, &t->job, paused);
    pthread_mutex_unlock(&g->lock);
}

static bool local_alive(const struct gen *g) {
    (void)g;
    return true;
}

static size_t rss_bytes(void) {
    unsigned long pages = 0;
    FILE *f = fopen("/proc/self/statm", "re");
    if (!f) return 0;
    if (fscanf(f, "%*u %lu", &pages) != 1) pages = 0;
    fclose(f);
    return pages * (size_t)sysconf(_SC_PAGESIZE);
}

static struct gen_load local_load(const struct gen *gen) {
    struct local *g = local_of(gen);
    const struct sched_load s = sched_load(g->sched);
    struct gen_load l = {.n_running = s.n_running,
                         .n_waiting = s.n_waiting,
                         .kv_bytes = s.kv_bytes,
                         .rss_bytes = rss_bytes()};
    pthread_mutex_lock(&g->lock);
    l.n_waiting += g->n_request;
    pthread_mutex_unlock(&g->lock);
    return l;
}

static void local_close(struct gen *gen) {
    struct local *g = local_of(gen);
    pthread_mutex_lock(&g->lock);
    g->closing = true;
    pthread_cond_broadcast(&g->change);
    pthread_mutex_unlock(&g->lock);
    if (g->started) pthread_join(g->thread, NULL);
    sched_free(g->sched);
    session_free(g->draft);
    engine_close(g->draft_engine);
    grammar_vocab_free(g->grammar_vocab);
    engine_close(g->engine);
    ids_fini(&g->control);
    free(g->parser);
    pthread_mutex_destroy(&g->lock);
    pthread_cond_destroy(&g->change);
    free(g);
}

static const struct gen_impl local_impl = {
    .close = local_close,
    .alive = local_alive,
    .load = local_load,
    .start = local_start,
    .cancel = local_cancel,
    .pause = local_pause,
};

static int start(struct local *g, struct err *e) {
    const struct sched_opts so = {.engine = g->engine,
                                  .n_parallel = g->base.info.n_parallel,
                                  .draft = g->draft,
                                  .told = g->told,
                                  .told_ctx = g->told_ctx};
    g->sched = sched_new(&so, e);
    if (!g->sched) return -1;
    if (pthread_create(&g->thread, NULL, read_requests, g) != 0)
        return err_set(e, ERR_IO, "no thread can be started");
    g->started = true;
    return 0;
}

struct gen *gen_open_local(const char *path, const struct gen_opts *o, struct err *e) {
    struct local *g = calloc(1, sizeof *g);
    if (!g) {
        err_nomem(e, path);
        return NULL;
    }
    g->base.impl = &local_impl;
    g->last = &g->first;
    g->told = o->told, g->told_ctx = o->told_ctx;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->change, NULL);
    if (getrandom(g->secret, sizeof g->secret, 0) != (ssize_t)sizeof g->secret) {
        err_errno(e, "random bytes");
        goto fail;
    }
    if (local_open(g, path, o, e) != 0) goto fail;
    if (start(g, e) == 0) return &g->base;
fail:
    local_close(&g->base);
    return NULL;
}
