/* gen.h in this process.  See local.h. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/os.h"
#include "engine/local.h"

enum {
    SMALL_BYTES = 32 << 10, /* of a request: read within a few milliseconds */
    NODE_BYTES = 100,       /* of a JSON value, beside its text */
    MAX_DEPTH = 64,         /* of JSON that is weighed; below it nothing counts */
    MAX_BYTES = 256 << 20,  /* of requests that wait to be read */
};

/* ---- reading requests ---- */

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

static void read_request(struct lane_job *j) {
    struct task *t = (struct task *)(void *)((char *)j - offsetof(struct task, reading));
    struct local *g = local_of(t->base.gen);
    const size_t n_bytes = t->n_bytes;
    pthread_mutex_lock(&g->lock);
    const bool stop = t->stop || g->closing;
    pthread_mutex_unlock(&g->lock);
    if (stop)
        local_task_cancelled(t);
    else if (local_task_prepare(g, t))
        submit(g, t);
    if (g->told) g->told(g->told_ctx);
    pthread_mutex_lock(&g->lock);
    g->n_request--;
    g->n_bytes -= n_bytes;
    pthread_mutex_unlock(&g->lock);
}

/* About the memory that a value takes. */
static size_t weigh(const json_t *v, int depth) {
    size_t n = NODE_BYTES + (json_is_string(v) ? json_string_length(v) : 0), i;
    const char *key;
    json_t *item;
    if (depth == MAX_DEPTH) return n;
    json_array_foreach((json_t *)(uintptr_t)v, i, item) n += weigh(item, depth + 1);
    json_object_foreach((json_t *)(uintptr_t)v, key, item) n +=
        strlen(key) + weigh(item, depth + 1);
    return n;
}

static enum local_lane lane_of(const struct task *t) {
    if (t->n_bytes > SMALL_BYTES) return LANE_LARGE;
    if (t->q.template.p) return LANE_TEMPLATE;
    /* "json" is a grammar that takes nothing. */
    const bool rules = local_is_ruled(&t->q) || json_array_size(t->q.strict) > 0;
    return rules && !json_is_string(t->q.format) ? LANE_GRAMMAR : LANE_QUICK;
}

/* FNV-1a: who has what in a lane is no secret, and turns are all that depends on it. */
static uint64_t user_of(const struct task *t) {
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i < t->q.user.n; i++)
        h = (h ^ (uint8_t)t->q.user.p[i]) * 0x100000001b3u;
    return h;
}

/* ---- the table ---- */

static int local_start(struct gen *gen, const json_t *request, gen_event_fn *fn, void *ctx,
                       struct gen_task **out, struct err *e) {
    struct local *g = local_of(gen);
    struct task *t = local_task_new(g, request, fn, ctx);
    if (!t) return err_nomem(e, "request");
    if (out) *out = &t->base;
    t->reading.run = read_request;
    t->n_bytes = weigh(request, 0);
    t->lane = lane_of(t);
    pthread_mutex_lock(&g->lock);
    if (t->lane == LANE_LARGE && g->n_bytes > 0 && g->n_bytes + t->n_bytes > MAX_BYTES)
        err_set(&t->err, ERR_BUSY, "%d requests of %zu bytes wait to be read already", g->n_request,
                g->n_bytes);
    if (t->err.code) t->lane = LANE_QUICK; /* it takes nothing to say so */
    g->n_request++;
    g->n_bytes += t->n_bytes;
    pthread_mutex_unlock(&g->lock);
    lane_add(g->lane[t->lane], &t->reading, user_of(t), t->n_bytes);
    return 0;
}

static void local_cancel(struct gen_task *task) {
    struct task *t = (struct task *)task;
    struct local *g = local_of(task->gen);
    pthread_mutex_lock(&g->lock);
    __atomic_store_n(&t->stop, 1, __ATOMIC_RELAXED);
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
    __atomic_store_n(&g->closing, 1, __ATOMIC_RELAXED);
    pthread_mutex_unlock(&g->lock);
    for (int i = 0; i < N_LANE; i++)
        lane_free(g->lane[i]);
    sched_free(g->sched);
    session_free(g->draft);
    engine_close(g->draft_engine);
    grammar_vocab_free(g->grammar_vocab);
    engine_close(g->engine);
    ids_fini(&g->control);
    free(g->parser);
    pthread_mutex_destroy(&g->lock);
    pthread_mutex_destroy(&g->vocab_lock);
    pthread_mutex_destroy(&g->adapter_lock);
    free(g);
}

static int local_take_adapter(struct gen *gen, const char *name, struct gguf *file, float scale,
                              struct err *e) {
    struct local *g = local_of(gen);
    pthread_mutex_lock(&g->adapter_lock);
    const int rc = engine_add_adapter(g->engine, name, file, scale, e);
    pthread_mutex_unlock(&g->adapter_lock);
    return rc;
}

static int local_add_adapter(struct gen *gen, const char *name, const char *path, float scale,
                             struct err *e) {
    struct gguf *file = gguf_open(path, e);
    return file ? local_take_adapter(gen, name, file, scale, e) : -1;
}

static const struct gen_impl local_impl = {
    .close = local_close,
    .alive = local_alive,
    .load = local_load,
    .start = local_start,
    .cancel = local_cancel,
    .pause = local_pause,
    .add_adapter = local_add_adapter,
    .take_adapter = local_take_adapter,
};

static int start(struct local *g, struct err *e) {
    const struct sched_opts so = {.engine = g->engine,
                                  .n_parallel = g->base.info.n_parallel,
                                  .draft = g->draft,
                                  .told = g->told,
                                  .told_ctx = g->told_ctx};
    g->sched = sched_new(&so, e);
    if (!g->sched) return -1;
    for (int i = 0; i < N_LANE; i++)
        if (!(g->lane[i] = lane_new(i == LANE_TEMPLATE || i == LANE_LARGE, e))) return -1;
    return 0;
}

struct gen *gen_open_local(const char *path, const struct gen_opts *o, struct err *e) {
    struct local *g = calloc(1, sizeof *g);
    if (!g) {
        err_nomem(e, path);
        return NULL;
    }
    g->base.impl = &local_impl;
    g->told = o->told, g->told_ctx = o->told_ctx;
    pthread_mutex_init(&g->lock, NULL);
    pthread_mutex_init(&g->vocab_lock, NULL);
    pthread_mutex_init(&g->adapter_lock, NULL);
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
