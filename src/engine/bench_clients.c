/* See bench_clients.h. */
#include "engine/bench_clients.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "engine/gen.h"

enum { WARM_PREDICT = 8, LATE_AFTER = 8 /* tokens of each client before the late prompt comes */ };

struct run;

struct client {
    struct run *run;
    int64_t start_ns;
    int64_t *at_ns; /* [n_at] when each token came; owned */
    int n_at, n_max;
};

struct run {
    const struct bench_clients_opts *o;
    struct gen *g;
    pthread_mutex_t lock;
    pthread_cond_t change;
    int n_running, n_written; /* clients; of those, with LATE_AFTER tokens */
    struct err err;
    uint32_t seed;
    struct client client[BENCH_MAX_CLIENTS + 1]; /* the last: the late one */
};

static void hear(void *ctx, const struct gen_event *ev) {
    struct client *c = ctx;
    struct run *r = c->run;
    const int64_t now = os_now_ns();
    pthread_mutex_lock(&r->lock);
    for (int i = 0; ev->kind == GEN_TEXT && i < ev->n_token && c->n_at < c->n_max; i++) {
        c->at_ns[c->n_at++] = now;
        r->n_written += c->n_at == LATE_AFTER;
    }
    if (ev->kind == GEN_END) {
        r->n_running--;
        if (ev->err.code && !r->err.code) r->err = ev->err;
    }
    pthread_cond_broadcast(&r->change);
    pthread_mutex_unlock(&r->lock);
}

/* A prompt of pseudo-random ids, another each time. */
static json_t *request(struct run *r, int n_prompt, int n_predict) {
    const uint32_t n_vocab = (uint32_t)gen_info(r->g)->n_vocab;
    json_t *tok = json_array();
    for (int i = 0; i < n_prompt; i++) {
        r->seed = r->seed * 1664525u + 1013904223u;
        json_array_append_new(tok, json_integer((int)((uint64_t)r->seed * n_vocab >> 32)));
    }
    /* No guesses: noise that repeats itself is guessed better than text. */
    return json_pack("{s:s, s:b, s:o, s:{s:i, s:i, s:i, s:b}}", "op", "text", "raw", 1, "tokens",
                     tok, "options", "temperature", 0, "num_draft", 0, "num_predict", n_predict,
                     "ignore_eos", 1);
}

static int start(struct run *r, struct client *c, int n_prompt, int n_predict, struct err *e) {
    json_t *q = request(r, n_prompt, n_predict);
    free(c->at_ns);
    *c = (struct client){.run = r, .n_max = n_predict};
    c->at_ns = calloc((size_t)n_predict + 1, sizeof *c->at_ns);
    if (!q || !c->at_ns) {
        json_decref(q);
        return err_nomem(e, "bench");
    }
    pthread_mutex_lock(&r->lock);
    r->n_running++;
    pthread_mutex_unlock(&r->lock);
    c->start_ns = os_now_ns();
    const int rc = gen_start(r->g, q, hear, c, NULL, e);
    json_decref(q);
    return rc;
}

/* Until all have ended, or `written` have some tokens. */
static int wait(struct run *r, int written, struct err *e) {
    pthread_mutex_lock(&r->lock);
    while (r->n_running > 0 && (written == 0 || r->n_written < written) && !r->err.code &&
           !(r->o->stop && *r->o->stop))
        pthread_cond_wait(&r->change, &r->lock);
    const struct err err = r->err;
    pthread_mutex_unlock(&r->lock);
    if (r->o->stop && *r->o->stop) return err_set(e, ERR_CANCELLED, "bench: interrupted");
    if (err.code && e) *e = err;
    return err.code ? -1 : 0;
}

/* ---- figures ---- */

static int by_size(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double share_of(double *v, int n, double share) {
    if (n == 0) return 0;
    qsort(v, (size_t)n, sizeof *v, by_size);
    const int i = (int)(n * share);
    return v[i < n ? i : n - 1];
}

/* Times between tokens of all clients that end in [lo, hi). */
static int intervals(const struct run *r, int64_t lo, int64_t hi, double *out) {
    int n = 0;
    for (int k = 0; k < r->o->n_clients; k++) {
        const struct client *c = &r->client[k];
        for (int i = 1; i < c->n_at; i++)
            if (c->at_ns[i - 1] >= lo && c->at_ns[i] < hi)
                out[n++] = (double)(c->at_ns[i] - c->at_ns[i - 1]) * 1e-9;
    }
    return n;
}

static void count(const struct run *r, double *v, struct bench_clients *out) {
    int64_t first = INT64_MAX, last = 0, all_begun = 0, n_tok = 0;
    const int n = r->o->n_clients;
    const struct client *late = &r->client[BENCH_MAX_CLIENTS];
    for (int k = 0; k < n; k++) {
        const struct client *c = &r->client[k];
        if (c->start_ns < first) first = c->start_ns;
        if (c->at_ns[c->n_at - 1] > last) last = c->at_ns[c->n_at - 1];
        if (c->at_ns[0] > all_begun) all_begun = c->at_ns[0];
        v[k] = (double)(c->at_ns[0] - c->start_ns) * 1e-9;
        n_tok += c->n_at;
    }
    out->tps = (double)n_tok / ((double)(last - first) * 1e-9);
    out->first_worst_s = share_of(v, n, 1);
    out->first_median_s = share_of(v, n, 0.5);
    const int64_t end = r->o->n_late ? late->start_ns : INT64_MAX;
    int m = intervals(r, all_begun, end, v);
    out->interval_median_s = share_of(v, m, 0.5);
    out->interval_p95_s = share_of(v, m, 0.95);
    if (r->o->n_late == 0 || late->n_at == 0) return;
    m = intervals(r, late->start_ns, late->at_ns[0], v);
    out->late_median_s = share_of(v, m, 0.5);
    out->late_p95_s = share_of(v, m, 0.95);
    out->late_first_s = (double)(late->at_ns[0] - late->start_ns) * 1e-9;
}

/* ---- a round ---- */

static int round_of(struct run *r, int n_prompt, int n_predict, int n_late, struct err *e) {
    r->n_written = 0;
    for (int k = 0; k < r->o->n_clients; k++)
        if (start(r, &r->client[k], n_prompt, n_predict, e) != 0) return -1;
    if (n_late == 0) return wait(r, 0, e);
    if (wait(r, r->o->n_clients, e) != 0) return -1;
    if (start(r, &r->client[BENCH_MAX_CLIENTS], n_late, 1, e) != 0) return -1;
    return wait(r, 0, e);
}

static int measure(struct run *r, struct bench_clients *out, struct err *e) {
    const struct bench_clients_opts *o = r->o;
    if (round_of(r, o->n_prompt, WARM_PREDICT, 0, e) != 0) return -1;
    if (round_of(r, o->n_prompt, o->n_predict, o->n_late, e) != 0) return -1;
    double *v = calloc((size_t)o->n_clients * (size_t)(o->n_predict + 1), sizeof *v);
    if (!v) return err_nomem(e, "bench");
    count(r, v, out);
    free(v);
    return 0;
}

int bench_clients_run(const char *path, const struct bench_clients_opts *o, struct bench_clients *r,
                      struct err *e) {
    const int longest = o->n_prompt + o->n_predict, late = o->n_late + 1;
    const struct gen_opts go = {.engine = {.n_ctx = longest > late ? longest : late,
                                           .n_batch = o->n_batch,
                                           .n_threads = o->n_threads,
                                           .n_parallel = o->n_clients + (o->n_late > 0),
                                           .k_type = o->kv_type,
                                           .v_type = o->kv_type}};
    struct run run = {.o = o, .seed = 42};
    *r = (struct bench_clients){0};
    run.g = gen_open_local(path, &go, e);
    if (!run.g) return -1;
    pthread_mutex_init(&run.lock, NULL);
    pthread_cond_init(&run.change, NULL);
    const int rc = measure(&run, r, e);
    gen_close(run.g);
    for (int k = 0; k <= BENCH_MAX_CLIENTS; k++)
        free(run.client[k].at_ns);
    pthread_mutex_destroy(&run.lock);
    pthread_cond_destroy(&run.change);
    return rc;
}
