/* See head.h.  Rows with a label only: of a chat, often a third. */
#include "train/head.h"

#include <math.h>
#include <string.h>

enum {
    CHUNK_MOST = 256,
    CHUNK_LEAST = 16,
    CHUNK_VALUES = 17 << 20, /* 128 rows of Llama 3's vocabulary: 66 MB */
    BLOCK = 256,             /* values summed in float before the sum goes on in double */
};

int head_chunk(int n_vocab) {
    const int n = CHUNK_VALUES / n_vocab;
    return n > CHUNK_MOST ? CHUNK_MOST : n < CHUNK_LEAST ? CHUNK_LEAST : n;
}

/* e^x for x <= 0, within 2 units of the last place: 2^n times a polynomial of degree 6 for the rest
 * (coefficients: Taylor's, on +-ln 2 / 2 their error is 1.2e-7).  Loops of it become vectors. */
static inline float exp_neg(float x) {
    x = x < -87.0f ? -87.0f : x;
    const float n = (float)(int)(x * 1.44269504f - 0.5f);
    const float r = (x - n * 0.693145752f) - n * 1.42860677e-6f;
    float p = 1.0f / 720;
    p = p * r + 1.0f / 120;
    p = p * r + 1.0f / 24;
    p = p * r + 1.0f / 6;
    p = p * r + 0.5f;
    p = p * r + 1.0f;
    p = p * r + 1.0f;
    union {
        uint32_t i;
        float f;
    } two = {.i = (uint32_t)((int)n + 127) << 23}; /* of no number, whatever it is: p is none */
    return p * two.f;
}

/* Logits become e^(logit - max); their sum. */
static double exponents(float *x, int n, float *top) {
    float max = x[0];
    for (int i = 1; i < n; i++)
        max = x[i] > max ? x[i] : max;
    double sum = 0;
    for (int at = 0; at < n; at += BLOCK) {
        const int end = n - at < BLOCK ? n : at + BLOCK;
        float part = 0;
        for (int i = at; i < end; i++)
            x[i] = exp_neg(x[i] - max);
        for (int i = at; i < end; i++)
            part += x[i];
        sum += (double)part;
    }
    *top = max;
    return sum;
}

/* A soft cap's derivative 1 - (y / cap)^2 is wanted after y has become an exponent: y = top + ln e.
 */
static void back_softcap(float *d, const float *e, int n, float top, float cap) {
    for (int i = 0; i < n; i++) {
        const float t = (top + logf(e[i])) / cap;
        d[i] *= 1 - t * t;
    }
}

/* One row: its loss, and with a coefficient its gradient in place of the logits. */
static double row_loss(float *x, int n, int32_t label, float coef, float scale, float cap,
                       float *aside) {
    const float at_label = x[label];
    float top;
    const double sum = exponents(x, n, &top);
    const double nll = log(sum) + (double)top - (double)at_label;
    if (coef == 0) return nll;
    const float f = (float)((double)coef / sum);
    if (cap > 0)
        for (int i = 0; i < n; i++)
            aside[i] = x[i];
    for (int i = 0; i < n; i++)
        x[i] *= f;
    x[label] -= coef;
    if (cap > 0) back_softcap(x, aside, n, top, cap);
    if (scale != 1)
        for (int i = 0; i < n; i++)
            x[i] *= scale;
    return nll;
}

/* Logits of rows row[0..n), capped. */
static void logits(struct worker *w, const struct head_job *j, const int32_t *row, int n) {
    const struct model *m = j->m;
    const int n_vocab = m->hp.n_vocab;
    const float scale = m->hp.logit_scale, cap = m->hp.logit_softcap;
    gemm_forward(w, &(struct gemm_job){.x = j->x,
                                       .ldx = m->hp.n_embd,
                                       .x_row = row,
                                       .w = &m->head.w,
                                       .y = j->logits,
                                       .ldy = n_vocab,
                                       .n = n,
                                       .scale = m->head.scale ? m->head.scale[0] : 1,
                                       .bias = m->head.bias,
                                       .prec = train_ctx(w)->prec});
    team_barrier(w);
    if (scale == 1 && cap <= 0) return;
    int lo, hi;
    team_range(w, n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++) {
        float *x = j->logits + (size_t)i * n_vocab;
        for (int k = 0; k < n_vocab; k++)
            x[k] = cap > 0 ? cap * tanhf(scale * x[k] / cap) : scale * x[k];
    }
    team_barrier(w);
}

static void losses(struct worker *w, const struct head_job *j, const int32_t *row, int n) {
    const struct hparams *h = &j->m->hp;
    float *aside = (float *)(void *)w->scratch;
    int lo, hi;
    team_range(w, n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++) {
        float *x = j->logits + (size_t)i * h->n_vocab;
        const int32_t label = j->label[row[i]];
        const float coef = j->coef && label >= 0 ? j->coef[row[i]] : 0;
        j->nll[row[i]] = 0;
        if (label >= 0)
            j->nll[row[i]] =
                row_loss(x, h->n_vocab, label, coef, h->logit_scale, h->logit_softcap, aside);
        if (j->coef && coef == 0) memset(x, 0, (size_t)h->n_vocab * sizeof *x);
    }
    team_barrier(w);
}

static void gradients(struct worker *w, const struct head_job *j, const int32_t *row, int n) {
    const struct train_ctx *c = train_ctx(w);
    const struct linear *l = &j->m->head;
    const int n_vocab = j->m->hp.n_vocab, n_embd = j->m->hp.n_embd;
    const float scale = l->scale ? l->scale[0] : 1;
    float *gw = grad_of(c, l->w.data), *gb = grad_of(c, l->bias), *dx = grad_at(c, j->x);
    gemm_backward(w, &(struct gemm_job){.x = j->logits,
                                        .ldx = n_vocab,
                                        .w = &l->w,
                                        .y = dx,
                                        .ldy = n_embd,
                                        .y_row = row,
                                        .n = n,
                                        .scale = scale,
                                        .add = true,
                                        .prec = c->prec});
    if (gw)
        gemm_weight(w, &(struct gemm_weight_job){.dy = j->logits,
                                                 .lddy = n_vocab,
                                                 .x = j->x,
                                                 .ldx = n_embd,
                                                 .x_row = row,
                                                 .n = n,
                                                 .n_row = n_vocab,
                                                 .n_col = n_embd,
                                                 .g = gw,
                                                 .scale = scale,
                                                 .prec = c->prec});
    int lo, hi;
    team_range(w, gb ? n_vocab : 0, 16, &lo, &hi);
    for (int i = 0; i < n; i++)
        for (int k = lo; k < hi; k++)
            gb[k] += j->logits[(size_t)i * n_vocab + k];
    team_barrier(w);
}

void head_loss(struct worker *w, const struct head_job *j) {
    for (int at = 0; at < j->n; at += j->chunk) {
        const int n = j->n - at < j->chunk ? j->n - at : j->chunk;
        const int32_t *row = j->row + at;
        logits(w, j, row, n);
        if (j->tap) {
            if (w->id == 0)
                j->tap(j->tap_ctx, "logits", at, j->logits, n, j->m->hp.n_vocab, j->m->hp.n_vocab);
            team_barrier(w);
        }
        losses(w, j, row, n);
        if (j->coef) gradients(w, j, row, n);
    }
}
