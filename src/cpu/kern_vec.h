/* Kernels that touch no weights matrix: norms, activations, RoPE, the KV cache's formats and the
 * tiles of attention.  All are pure functions on rows of floats; buffers need no alignment and
 * may not overlap unless said. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "backend/mat.h"
#include "backend/ops.h"

/* How far a logit may exceed the maximum that exponents are taken from: e^8 times 64 keys times any
 * context is far from overflow, and the sums need no rescaling while it stays (the trick of
 * FlashAttention-4). */
#define SOFT_SLACK 8.0f

enum { N_ACT = ACT_SWIGLU_OAI + 1 };

/* Element types of the KV cache, dense. */
enum kv_type { KV_F32, KV_F16, KV_BF16, KV_Q8_0, KV_Q4_0, N_KV_TYPE };

/* What turns q.k of one query and one page into a logit. */
struct soft {
    float scale;
    float cap;    /* 0: off; cap * tanh(scale * qk / cap) */
    float slope;  /* ALiBi: - slope * |position of key - position of query|; 0: off */
    int32_t rel0; /* position of the page's first key minus the query's */
};

/* What the gradient of the softmax needs of the KV_PAGE queries of a tile, against one key. */
struct soft_back {
    const float *lse;   /* [KV_PAGE] log sum exp of the query's logits */
    const float *delta; /* [KV_PAGE] sum over keys of p dp, which is dout.out */
    const float *slope; /* [KV_PAGE] ALiBi; or NULL: off */
    const float *pos;   /* [KV_PAGE] the query's position; read for ALiBi only */
    float key_pos;
    float scale, cap; /* as in struct soft */
};

struct kern_vec {
    /* ---- norms; y may be x ---- */

    /* y = w * x / sqrt(mean(x^2) + eps); w NULL for ones. */
    void (*rms_norm)(int n, const float *x, const float *w, float eps, float *y);
    /* y = w * (x - mean) / sqrt(var + eps) + b; w and b may be NULL. */
    void (*layer_norm)(int n, const float *x, const float *w, const float *b, float eps, float *y);

    /* The way back: dx = (or +=: add) the gradient of x from dy, that of y.  With r = 1 / sqrt(mean
     * square or variance + eps), u = (x - mean) r (rms: mean 0) and g = w dy
     *   rms    dx = r (g - u mean(u g))
     *   layer  dx = r (g - mean(g) - u mean(u g))
     * stat: gets mean and r.  dx may be x or dy. */
    void (*rms_back)(int n, const float *x, const float *w, float eps, const float *dy, float *dx,
                     bool add, float stat[2]);
    void (*layer_back)(int n, const float *x, const float *w, float eps, const float *dy, float *dx,
                       bool add, float stat[2]);

    /* ---- element by element ---- */

    void (*add_scaled)(int n, float *x, const float *y, float a); /* x += a * y */
    void (*scale)(int n, const float *x, float a, float *y);      /* y = a * x; y may be x */
    void (*cap)(int n, float *x, float a, float cap);             /* x = cap * tanh(a * x / cap) */
    float (*dot)(int n, const float *x, const float *y);          /* sum of x * y */

    /* y = act(x); y may be x.  Index: enum act; all filled.  (SWIGLU_OAI: with up = 0.) */
    void (*act[N_ACT])(int n, const float *x, float *y);
    /* y = act(gate) * up; y may be either.  SWIGLU_OAI (gpt-oss, openai/gpt-oss model.py):
     * g = min(gate, 7), u = clamp(up, -7, 7); y = g * sigmoid(1.702 g) * (u + 1). */
    void (*glu[N_ACT])(int n, const float *gate, const float *up, float *y);

    /* The way back: dx = dy act'(x); dgate = dy up act'(gate), dup = dy act(gate), where SWIGLU_OAI
     * has up + 1, and 0 beyond its clamps.  Outputs may be any of the inputs. */
    void (*act_back[N_ACT])(int n, const float *x, const float *dy, float *dx);
    void (*glu_back[N_ACT])(int n, const float *gate, const float *up, const float *dy,
                            float *dgate, float *dup);

    /* ---- RoPE (arXiv:2104.09864): cs [n_pair][2] cos, sin ---- */

    void (*rope_pairs)(int n_pair, float *x, const float *cs);  /* rotates (x[2i], x[2i+1]) */
    void (*rope_halves)(int n_pair, float *x, const float *cs); /* rotates (x[i], x[i+n_pair]) */

    /* ---- KV cache formats.  n is a multiple of 32 for Q8_0 and Q4_0 ---- */

    void (*kv_store[N_KV_TYPE])(int n, const float *x, void *row); /* rounds as quant/ does */
    void (*kv_load[N_KV_TYPE])(int n, const void *row, float *y);

    /* ---- tiles of attention (FlashAttention, arXiv:2205.14135) ----
     *
     * The value of every output element depends on its own row only and is summed over k (or
     * keys) in ascending order, one fused multiply-add each: so a query gives the same bits in
     * whatever tile it stands. */

    /* kt[d][key] = rows[key][d] as floats, for keys < n_key; kt is [dim][KV_PAGE], columns from
     * n_key to KV_PAGE become 0.  ahead: n_key rows that will be read next, fetched meanwhile. */
    void (*k_tile[N_KV_TYPE])(int n_key, int dim, const uint8_t *rows, size_t row_bytes,
                              const uint8_t *ahead, float *kt);

    /* c (+)= a b: a [n_row][n_k], b [n_k][n_col], c [n_row][n_col]; add: to what c holds. */
    void (*mul_tile)(int n_row, int n_col, int n_k, const float *a, int lda, const float *b,
                     int ldb, float *c, int ldc, bool add);

    /* The same for few queries (decode) straight from the cache's rows: the bits of k_tile, kv_load
     * and mul_tile, which stand in where these are NULL (the scalar table).  ahead: n_ahead bytes
     * that will be read next, fetched meanwhile.
     *   few_qk   s[r][key] = q[r] . rows[key] for keys < n_key; q [n_row][dim], s [n_row][KV_PAGE];
     *            columns from n_key on get any values
     *   few_pv   o[r] += sum over keys < n_key of p[r][key] * rows[key]; p [n_row][KV_PAGE],
     *            o [n_row][dim] */
    void (*few_qk[N_KV_TYPE])(int n_row, int n_key, int dim, const float *q, const uint8_t *rows,
                              size_t row_bytes, const uint8_t *ahead, size_t n_ahead, float *s);
    void (*few_pv[N_KV_TYPE])(int n_row, int n_key, int dim, const float *p, const uint8_t *rows,
                              size_t row_bytes, const uint8_t *ahead, size_t n_ahead, float *o);

    /* One query against one page, online softmax: s [KV_PAGE] holds q.k and becomes the
     * probabilities exp(logit - *m), 0 outside keys [lo, hi).  *m is raised to the largest logit
     * here when that is larger by more than SOFT_SLACK; *l *= (the factor returned), += sum of s.
     * What was summed with the old *m must be multiplied by the factor: exactly 1 when *m stays, as
     * it does for hi <= lo. */
    float (*soft_page)(float *s, int lo, int hi, const struct soft *p, float *m, float *l);

    /* The way back (FlashAttention-2, arXiv:2307.08691), one key against KV_PAGE queries: s holds
     * q.k and becomes the probabilities p = exp(logit - lse); dp holds dout.v and becomes the
     * gradient of q.k, p (dp - delta) scale (1 - tanh^2).  Both 0 for queries outside [lo, hi),
     * whatever was there. */
    void (*soft_back)(float *s, float *dp, int lo, int hi, const struct soft_back *p);
};

/* Each fills in what its instruction set has and leaves the rest.  ref first: it has everything
 * but few_qk and few_pv. */
void kern_vec_ref(struct kern_vec *k);
void kern_vec_avx2(struct kern_vec *k);
void kern_vec_avx512(struct kern_vec *k);
void kern_vec_neon(struct kern_vec *k);

/* The dense index of an element type of the KV cache; asserts that it is one. */
enum kv_type kv_type_of(enum qtype t);

/* Slots by name, for listings and checkkern: the name of slot i ("glu silu"), NULL past the last,
 * and in *fn its pointer in k. */
const char *kern_vec_slot(const struct kern_vec *k, int i, void (**fn)(void));
