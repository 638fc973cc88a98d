/* Opening models for tests, feeding them, and measuring distances between rows of logits. */
#include "model_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"

void rig_open(struct rig *r, const char *path, struct rig_opts o) {
    struct err e;
    memset(r, 0, sizeof *r);
    const int n_ctx = o.n_ctx ? o.n_ctx : 512;
    r->g = gguf_open(path, &e);
    if (!r->g) fail_msg("%s", e.msg);
    r->m = model_open(r->g, cpu_ops(), &e);
    if (!r->m) fail_msg("%s", e.msg);
    r->team = team_new(o.n_threads ? o.n_threads : 1, &e);
    if (!r->team) fail_msg("%s", e.msg);
    const struct kv_opts ko = {o.kv, o.kv, o.max_tokens ? o.max_tokens : 2 * n_ctx};
    r->pool = kv_pool_new(r->m, &ko, &e);
    if (!r->pool) fail_msg("%s", e.msg);
    const int rows = o.max_rows ? o.max_rows : n_ctx;
    const struct forward_opts fo = {n_ctx, rows, rows, o.max_rank};
    r->f = forward_new(r->m, r->team, &fo, &e);
    if (!r->f) fail_msg("%s: %s", path, e.msg);
    r->n_col = model_is_embedding(r->m) ? model_n_embd(r->m) : model_n_vocab(r->m);
}

void rig_close(struct rig *r) {
    forward_free(r->f);
    kv_pool_free(r->pool);
    team_free(r->team);
    model_free(r->m);
    gguf_close(r->g);
}

void rig_feed(struct rig *r, struct kv_seq *s, const struct adapter *a, const int32_t *tok, int n,
              int piece, float *out) {
    struct err e;
    if (piece == 0) piece = n;
    for (int at = 0; at < n; at += piece) {
        const int k = n - at < piece ? n - at : piece;
        if (kv_seq_extend(s, k, &e) != 0) fail_msg("%s", e.msg);
        const struct batch_seq b = {s, tok + at, k, a, out ? k : 0};
        const float *rows = forward_run(r->f, &b, 1);
        if (out)
            memcpy(out + (size_t)at * (size_t)r->n_col, rows,
                   (size_t)k * (size_t)r->n_col * sizeof *out);
    }
}

static double log_sum_exp(const float *x, int n) {
    double m = -INFINITY, s = 0;
    for (int i = 0; i < n; i++)
        m = fmax(m, (double)x[i]);
    for (int i = 0; i < n; i++)
        s += exp((double)x[i] - m);
    return m + log(s);
}

void compare_row(struct comparison *c, const float *got, const float *want, int n_col) {
    if (c->n == c->cap) {
        c->cap = c->cap ? 2 * c->cap : 64;
        c->rms = realloc(c->rms, (size_t)c->cap * sizeof *c->rms);
        c->kl = realloc(c->kl, (size_t)c->cap * sizeof *c->kl);
    }
    const double lg = log_sum_exp(got, n_col), lw = log_sum_exp(want, n_col);
    double square = 0, kl = 0;
    for (int i = 0; i < n_col; i++) {
        const double d = (double)got[i] - (double)want[i];
        if (!(fabs(d) <= c->max_abs)) c->max_abs = isnan(d) ? INFINITY : fabs(d);
        square += d * d;
        const double lp = (double)want[i] - lw;
        kl += exp(lp) * (lp - ((double)got[i] - lg));
    }
    c->n_col = n_col;
    c->square += square;
    c->rms[c->n] = sqrt(square / n_col);
    c->kl[c->n++] = kl;
}

static int by_value(const void *a, const void *b) {
    const double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

struct distance compare_end(struct comparison *c) {
    struct distance d = {.max_abs = c->max_abs, .n_row = c->n};
    if (c->n) {
        d.rms = sqrt(c->square / ((double)c->n * c->n_col));
        for (int i = 0; i < c->n; i++)
            d.kl_mean += c->kl[i] / c->n;
        qsort(c->rms, (size_t)c->n, sizeof *c->rms, by_value);
        qsort(c->kl, (size_t)c->n, sizeof *c->kl, by_value);
        d.rms_median = c->rms[c->n / 2];
        d.kl_median = c->kl[c->n / 2];
    }
    free(c->rms);
    free(c->kl);
    *c = (struct comparison){0};
    return d;
}
