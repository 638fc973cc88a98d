/* gen.h in this process.  See local.h. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/os.h"
#include "engine/local.h"
#include "engine/memory.h"
#include "engine/speculate.h"

enum { DEFAULT_PARALLEL = 4 };

static struct local *local_of(const struct gen *g) {
    return (struct local *)(uintptr_t)g;
}

/* ---- the thread that reads requests ---- */

/* The task's job goes to the scheduler, or it was cancelled meanwhile. */
static void submit(struct local *g, struct task *t) {
    pthread_mutex_lock(&g->lock);
    const bool stop = t->stop || g->closing;
    t->submitted = !stop;
    t->job.paused = t->paused;
    if (!stop) sched_submit(g->sched, &t->job);
    pthread_mutex_unlock(&g->lock);
    if (stop) local_task_cancelled(g, t);
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
            local_task_cancelled(g, t);
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
    engine_close(g->engine);
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

static void describe(struct local *g, const struct engine_opts *o) {
    struct memory_need need, draft = {0};
    const struct model *m = engine_model(g->engine);
    const bool reduced = g->base.info.ctx_reduced;
    memory_taken(g->engine, &need);
    if (g->draft_engine) memory_taken(g->draft_engine, &draft);
    g->base.info = (struct gen_info){
        .arch = model_arch(m),
        .n_ctx = engine_n_ctx(g->engine),
        .n_ctx_train = model_n_ctx_train(m),
        .n_parallel = o->n_parallel,
        .n_embd = model_n_embd(m),
        .n_vocab = engine_n_vocab(g->engine),
        .embedding = model_is_embedding(m),
        .ctx_reduced = reduced,
        .n_bytes = memory_total(&need) + memory_total(&draft),
        .weight_bytes = need.weights + draft.weights,
        .load_ns = (int64_t)(engine_load_s(g->engine) * 1e9),
    };
}

/* ---- opening ---- */

enum { LEAST_CTX = 2048, CTX_STEP = 256 };

/* What options come to, without opening anything.  UINT64_MAX: they are refused. */
static uint64_t bytes_of(const struct local *g, const struct engine_opts *o) {
    const struct model *m = engine_model(g->engine);
    const struct memory_model mm = {
        .hp = model_hparams(m),
        .encoder = model_is_embedding(m),
        .positions_end = model_positions_end(m),
        .n_text = vocab_size(engine_vocab(g->engine)),
        .file_bytes = gguf_file_bytes(engine_gguf(g->engine)),
    };
    struct memory_sizes sizes;
    struct memory_need need;
    if (memory_sizes(&mm, o, &sizes, NULL) != 0) return UINT64_MAX;
    const int n_threads = team_size(engine_team(g->engine));
    return memory_need(&mm, &sizes, n_threads, &need, NULL) == 0 ? memory_total(&need) : UINT64_MAX;
}

/* The largest value from lo to hi, in steps, of *field with which o fits; 0: not even lo. */
static int largest(const struct local *g, struct engine_opts *o, int *field, int lo, int hi,
                   int step, uint64_t max_bytes) {
    int fits = 0, a = 0, b = (hi - lo) / step;
    while (a <= b) {
        const int mid = a + (b - a) / 2;
        *field = lo + mid * step;
        if (bytes_of(g, o) <= max_bytes)
            fits = *field, a = mid + 1;
        else
            b = mid - 1;
    }
    *field = fits;
    return fits;
}

static int too_large(const char *path, uint64_t need, uint64_t max, int n_ctx, struct err *e) {
    return err_set(e, ERR_LIMIT,
                   "%s: needs %.1f MB of memory with a context of %d tokens; %.1f MB are allowed",
                   path, (double)need * 1e-6, n_ctx, (double)max * 1e-6);
}

/* Options that fit into max_bytes: fewer pages, which sequences share, as long as one can have its
 * whole context; then a smaller context, if it was left open. */
static int shrink(struct local *g, const char *path, const struct gen_opts *go,
                  struct engine_opts *o, struct err *e) {
    const int n_ctx = engine_n_ctx(g->engine), train = g->base.info.n_ctx_train;
    const int least = train > 0 && train < LEAST_CTX ? train : LEAST_CTX;
    struct engine_opts try = *o;
    try.n_ctx = n_ctx, try.n_kv = 1; /* the least that is possible */
    uint64_t need = bytes_of(g, &try);
    if (need > go->max_bytes) {
        if (go->engine.n_ctx || n_ctx <= least)
            return too_large(path, need, go->max_bytes, n_ctx, e);
        if (!largest(g, &try, &try.n_ctx, least, n_ctx, CTX_STEP, go->max_bytes)) {
            try.n_ctx = least;
            return too_large(path, bytes_of(g, &try), go->max_bytes, least, e);
        }
    }
    const int most = (try.n_ctx + 2 * KV_PAGE) * o->n_parallel;
    if (!largest(g, &try, &try.n_kv, 1, most, KV_PAGE, go->max_bytes)) try.n_kv = 1;
    g->base.info.ctx_reduced = try.n_ctx < n_ctx;
    *o = try;
    return 0;
}

/* Opened once to know the model, again when that would take too much: nothing is touched yet. */
static int open_engine(struct local *g, const char *path, const struct gen_opts *o,
                       struct engine_opts *eo, struct err *e) {
    struct memory_need need;
    g->engine = engine_open(path, eo, e);
    if (!g->engine) return -1;
    memory_taken(g->engine, &need);
    if (o->max_bytes == 0 || memory_total(&need) <= o->max_bytes) return 0;
    g->base.info.n_ctx_train = model_n_ctx_train(engine_model(g->engine));
    if (shrink(g, path, o, eo, e) != 0) return -1;
    engine_close(g->engine);
    g->engine = engine_open(path, eo, e);
    return g->engine ? 0 : -1;
}

static int open_draft(struct local *g, const struct gen_opts *o, struct err *e) {
    if (!o->draft) return 0;
    struct engine_opts d = {.n_ctx = engine_n_ctx(g->engine),
                            .n_threads = o->engine.n_threads,
                            .k_type = o->engine.k_type,
                            .v_type = o->engine.v_type};
    g->draft_engine = engine_open(o->draft, &d, e);
    if (!g->draft_engine || speculate_check_draft(g->engine, g->draft_engine, e) != 0) return -1;
    g->draft = session_new(g->draft_engine, e);
    return g->draft ? 0 : -1;
}

static int check_total(const struct local *g, const char *path, const struct gen_opts *o,
                       struct err *e) {
    const struct gen_info *i = &g->base.info;
    if (o->max_bytes == 0 || i->n_bytes <= o->max_bytes) return 0;
    return too_large(path, i->n_bytes, o->max_bytes, i->n_ctx, e);
}

static int start(struct local *g, const struct engine_opts *o, struct err *e) {
    const struct sched_opts so = {.engine = g->engine,
                                  .n_parallel = o->n_parallel,
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
    struct engine_opts eo = o->engine;
    if (eo.n_parallel == 0) eo.n_parallel = DEFAULT_PARALLEL;
    g->base.impl = &local_impl;
    g->last = &g->first;
    g->told = o->told, g->told_ctx = o->told_ctx;
    pthread_mutex_init(&g->lock, NULL);
    pthread_cond_init(&g->change, NULL);
    if (getrandom(g->secret, sizeof g->secret, 0) != (ssize_t)sizeof g->secret) {
        err_errno(e, "random bytes");
        goto fail;
    }
    if (open_engine(g, path, o, &eo, e) != 0 || open_draft(g, o, e) != 0) goto fail;
    describe(g, &eo);
    if (check_total(g, path, o, e) != 0) goto fail;
    if (start(g, &eo, e) == 0) return &g->base;
fail:
    local_close(&g->base);
    return NULL;
}
