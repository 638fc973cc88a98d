/* A gen without a model, for tests of what stands above: included by one file of a test, whose
 * program then has these functions instead of the engine's.
 *
 * The "weights" are JSON: {"mib": weights, "kv": MiB a thousand tokens of a sequence, "load_ms",
 * "train": context of the training, "fail": text, "tools", "thinking", "insert", "embedding"}.  A
 * request may say how it goes: {"ms": how long it takes, "hold": true: until it is cancelled or
 * fake_let_go()}.  An answer is GEN_PROMPT, a GEN_TEXT "fake", GEN_FINISH, GEN_END. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "engine/gen.h"

struct gen {
    struct gen_info info;
    struct gen_load load;
    struct gen_opts opts; /* as given; its pointers are not to be used */
    atomic_bool dead;
    atomic_int n_task;
    uint64_t extra;      /* resident bytes over the plan */
    char adapters[1024]; /* their names, each with a blank behind */
};

struct gen_task {
    struct gen *g;
    json_t *request;
    gen_event_fn *fn;
    void *ctx;
    atomic_bool cancelled, paused;
};

static struct {
    pthread_mutex_t lock;
    uint64_t planned, peak; /* of all that are open, or being opened: what they may take */
    int n_open, n_closed, n_live;
    uint64_t extra;
    struct gen *last;
    json_t *request; /* the last one that was started */
    char template[256];
} fake = {.lock = PTHREAD_MUTEX_INITIALIZER};
static atomic_bool fake_free;

__attribute__((unused)) static void fake_let_go(void) {
    atomic_store(&fake_free, true);
}

static void fake_reset(void) {
    pthread_mutex_lock(&fake.lock);
    json_decref(fake.request);
    fake.request = NULL;
    fake.peak = fake.planned;
    fake.n_open = fake.n_closed = 0;
    fake.extra = 0;
    pthread_mutex_unlock(&fake.lock);
    atomic_store(&fake_free, false);
}

static int fake_opened(void) {
    pthread_mutex_lock(&fake.lock);
    const int n = fake.n_open;
    pthread_mutex_unlock(&fake.lock);
    return n;
}

static int fake_live(void) {
    pthread_mutex_lock(&fake.lock);
    const int n = fake.n_live;
    pthread_mutex_unlock(&fake.lock);
    return n;
}

static void fake_account(int64_t bytes) {
    pthread_mutex_lock(&fake.lock);
    fake.planned += (uint64_t)bytes;
    if (fake.planned > fake.peak) fake.peak = fake.planned;
    pthread_mutex_unlock(&fake.lock);
}

static int64_t fake_field(const json_t *j, const char *key, int64_t usual) {
    const json_t *v = json_object_get(j, key);
    return json_is_integer(v)   ? json_integer_value(v)
           : json_is_boolean(v) ? json_is_true(v)
                                : usual;
}

static uint64_t fake_need(const json_t *j, int n_ctx, int n_parallel) {
    const double kv = (double)fake_field(j, "kv", 0) * n_ctx / 1000 * n_parallel;
    return ((uint64_t)fake_field(j, "mib", 1) << 20) + (uint64_t)(kv * (1 << 20));
}

/* Sizes as the contract has them: a context that is left open shrinks to fit. */
static int fake_sizes(struct gen *g, const json_t *j, struct err *e) {
    struct gen_info *i = &g->info;
    const uint64_t max = g->opts.max_bytes;
    i->n_ctx_train = (int)fake_field(j, "train", 8192);
    i->n_ctx = g->opts.engine.n_ctx ? g->opts.engine.n_ctx : 4096;
    i->n_parallel = g->opts.engine.n_parallel ? g->opts.engine.n_parallel : 4;
    i->n_bytes = fake_need(j, i->n_ctx, i->n_parallel);
    if (!max || i->n_bytes <= max) return 0;
    while (!g->opts.engine.n_ctx && i->n_ctx > 2048 && i->n_bytes > max) {
        i->n_ctx -= 256;
        i->ctx_reduced = true;
        i->n_bytes = fake_need(j, i->n_ctx, i->n_parallel);
    }
    if (i->n_bytes <= max) return 0;
    return err_set(e, ERR_LIMIT, "needs %llu MiB of memory; %llu MiB may be used",
                   (unsigned long long)i->n_bytes >> 20, (unsigned long long)max >> 20);
}

static int fake_load(struct gen *g, const char *path, const volatile int *stop, struct err *e) {
    struct buf text = {0};
    const char *fail;
    if (os_read_file(path, 1 << 20, &text, e) != 0) return -1;
    json_t *j = json_loadb(text.p, text.n, 0, NULL);
    buf_fini(&text);
    int rc = j ? 0 : err_set(e, ERR_FORMAT, "%s: no GGUF file", path);
    for (int64_t ms = fake_field(j, "load_ms", 0); rc == 0 && ms > 0; ms--) {
        usleep(1000);
        if (stop && __atomic_load_n(stop, __ATOMIC_RELAXED))
            rc = err_set(e, ERR_CANCELLED, "stopped");
    }
    fail = json_string_value(json_object_get(j, "fail"));
    if (rc == 0 && fail) rc = err_set(e, ERR_FORMAT, "%s", fail);
    if (rc == 0) rc = fake_sizes(g, j, e);
    g->info.tools = fake_field(j, "tools", 0);
    g->info.thinking = fake_field(j, "thinking", 0);
    g->info.insert = fake_field(j, "insert", 0);
    g->info.embedding = fake_field(j, "embedding", 0);
    g->info.arch = "fake";
    json_decref(j);
    return rc;
}

struct gen *gen_open_child(const char *path, const struct gen_opts *o, const volatile int *stop,
                           struct err *e) {
    struct gen *g = calloc(1, sizeof *g);
    if (!g) return err_nomem(e, path), NULL;
    g->opts = *o;
    if (fake_load(g, path, stop, e) != 0) {
        free(g);
        return NULL;
    }
    fake_account((int64_t)g->info.n_bytes);
    pthread_mutex_lock(&fake.lock);
    fake.n_open++;
    fake.n_live++;
    fake.last = g;
    g->extra = fake.extra;
    snprintf(fake.template, sizeof fake.template, "%.*s", (int)o->engine.chat_template.n,
             o->engine.chat_template.n ? o->engine.chat_template.p : "");
    pthread_mutex_unlock(&fake.lock);
    return g;
}

void gen_close(struct gen *g) {
    if (!g) return;
    while (atomic_load(&g->n_task))
        usleep(200);
    fake_account(-(int64_t)g->info.n_bytes);
    pthread_mutex_lock(&fake.lock);
    fake.n_closed++;
    fake.n_live--;
    if (fake.last == g) fake.last = NULL;
    pthread_mutex_unlock(&fake.lock);
    free(g);
}

const struct gen_info *gen_info(const struct gen *g) {
    return &g->info;
}

bool gen_alive(const struct gen *g) {
    return !atomic_load(&g->dead);
}

struct gen_load gen_load(const struct gen *g) {
    return (struct gen_load){.n_running = atomic_load(&g->n_task),
                             .rss_bytes = g->info.n_bytes / 2 + g->extra};
}

/* Sleeps, or holds; true: it was cancelled. */
static bool fake_work(struct gen_task *t) {
    const int64_t end = os_now_ns() + fake_field(t->request, "ms", 0) * 1000000;
    const bool hold = fake_field(t->request, "hold", 0);
    while (!atomic_load(&t->cancelled) && !atomic_load(&t->g->dead) &&
           (hold ? !atomic_load(&fake_free) : os_now_ns() < end))
        usleep(200);
    return atomic_load(&t->cancelled);
}

static void *fake_answer(void *arg) {
    struct gen_task *t = arg;
    struct gen *g = t->g;
    struct gen_event ev = {.kind = GEN_PROMPT, .stats = {.n_prompt = 3}}, end = {.kind = GEN_END};
    t->fn(t->ctx, &ev);
    const bool cancelled = fake_work(t);
    ev = (struct gen_event){.kind = GEN_TEXT, .text = STR("fake")};
    if (!cancelled) t->fn(t->ctx, &ev);
    ev = (struct gen_event){.kind = GEN_FINISH, .why = cancelled ? GEN_CANCELLED : GEN_STOP};
    t->fn(t->ctx, &ev);
    end.stats.n_eval = 1;
    if (cancelled) err_set(&end.err, ERR_CANCELLED, "cancelled");
    if (atomic_load(&g->dead)) err_set(&end.err, ERR_IO, "the model's process has ended");
    t->fn(t->ctx, &end);
    json_decref(t->request);
    free(t);
    atomic_fetch_sub(&g->n_task, 1);
    return NULL;
}

int gen_start(struct gen *g, const json_t *request, gen_event_fn *fn, void *ctx,
              struct gen_task **out, struct err *e) {
    struct gen_task *t = calloc(1, sizeof *t);
    pthread_t thread;
    pthread_attr_t a;
    if (!t || !gen_alive(g)) {
        free(t);
        return err_set(e, ERR_IO, "the model's process has ended");
    }
    *t = (struct gen_task){.g = g, .request = json_deep_copy(request), .fn = fn, .ctx = ctx};
    pthread_mutex_lock(&fake.lock);
    json_decref(fake.request);
    fake.request = json_deep_copy(request);
    pthread_mutex_unlock(&fake.lock);
    atomic_fetch_add(&g->n_task, 1);
    if (out) *out = t;
    pthread_attr_init(&a);
    pthread_attr_setdetachstate(&a, PTHREAD_CREATE_DETACHED);
    if (pthread_create(&thread, &a, fake_answer, t) != 0) abort();
    pthread_attr_destroy(&a);
    return 0;
}

static atomic_bool fake_no_adapter; /* none can be added */
int gen_add_adapter(struct gen *g, const char *name, const char *path, float scale, struct err *e) {
    (void)scale;
    if (access(path, R_OK) != 0) return err_errno(e, path);
    if (atomic_load(&fake_no_adapter)) return err_set(e, ERR_LIMIT, "no room for %s", path);
    usleep(1000);
    pthread_mutex_lock(&fake.lock);
    const bool there = strstr(g->adapters, name) != NULL;
    const size_t n = strlen(g->adapters);
    if (!there) snprintf(g->adapters + n, sizeof g->adapters - n, "%s ", name);
    pthread_mutex_unlock(&fake.lock);
    return there ? err_set(e, ERR_USAGE, "the name is not free") : 0;
}

void gen_cancel(struct gen_task *t) {
    atomic_store(&t->cancelled, true);
}

void gen_pause(struct gen_task *t) {
    atomic_store(&t->paused, true);
}

void gen_resume(struct gen_task *t) {
    atomic_store(&t->paused, false);
}
