/* Tiles of attention.  Scalar twins: ref/attn.c. */
#pragma once

#include "cpu/kern_vec.h"
#include "cpu/simd/math.h"

#ifdef CPU_SIMD

/* c (+)= a b for MR rows by NV vectors, both constants after inlining: the sums stay in registers,
 * each step of k costs NV loads, MR broadcasts and MR * NV multiply-adds. */
static inline __attribute__((always_inline)) void tile_block(const int mr, const int nv, int n_k,
                                                             const float *a, int lda,
                                                             const float *b, int ldb, float *c,
                                                             int ldc, bool add) {
    vf sum[V_MR][V_NV];
    for (int r = 0; r < mr; r++)
        for (int u = 0; u < nv; u++)
            sum[r][u] = add ? v_load(c + (size_t)r * ldc + u * VL) : v_zero();
    for (int k = 0; k < n_k; k++) {
        vf y[V_NV];
        for (int u = 0; u < nv; u++)
            y[u] = v_load(b + (size_t)k * ldb + u * VL);
        for (int r = 0; r < mr; r++) {
            const vf x = v_set1(a[(size_t)r * lda + k]);
            for (int u = 0; u < nv; u++)
                sum[r][u] = v_fma(x, y[u], sum[r][u]);
        }
    }
    for (int r = 0; r < mr; r++)
        for (int u = 0; u < nv; u++)
            v_store(c + (size_t)r * ldc + u * VL, sum[r][u]);
}

/* All rows of a strip of nv vectors. */
static inline __attribute__((always_inline)) void tile_strip(const int nv, int n_row, int n_k,
                                                             const float *a, int lda,
                                                             const float *b, int ldb, float *c,
                                                             int ldc, bool add) {
    int r = 0;
    for (; r + V_MR <= n_row; r += V_MR)
        tile_block(V_MR, nv, n_k, a + (size_t)r * lda, lda, b, ldb, c + (size_t)r * ldc, ldc, add);
    for (; r + 4 <= n_row; r += 4)
        tile_block(4, nv, n_k, a + (size_t)r * lda, lda, b, ldb, c + (size_t)r * ldc, ldc, add);
    for (; r + 2 <= n_row; r += 2)
        tile_block(2, nv, n_k, a + (size_t)r * lda, lda, b, ldb, c + (size_t)r * ldc, ldc, add);
    if (r < n_row)
        tile_block(1, nv, n_k, a + (size_t)r * lda, lda, b, ldb, c + (size_t)r * ldc, ldc, add);
}

/* The last columns, fewer than a vector. */
static inline void tile_tail(int n_row, int n_col, int n_k, const float *a, int lda, const float *b,
                             int ldb, float *c, int ldc, bool add) {
    for (int r = 0; r < n_row; r++) {
        vf sum = add ? v_load_n(c + (size_t)r * ldc, n_col) : v_zero();
        for (int k = 0; k < n_k; k++)
            sum = v_fma(v_set1(a[(size_t)r * lda + k]), v_load_n(b + (size_t)k * ldb, n_col), sum);
        v_store_n(c + (size_t)r * ldc, sum, n_col);
    }
}

static inline void mul_tile(int n_row, int n_col, int n_k, const float *a, int lda, const float *b,
                            int ldb, float *c, int ldc, bool add) {
    int j = 0;
    for (; j + V_NV * VL <= n_col; j += V_NV * VL)
        tile_strip(V_NV, n_row, n_k, a, lda, b + j, ldb, c + j, ldc, add);
    for (; V_NV > 2 && j + 2 * VL <= n_col; j += 2 * VL)
        tile_strip(2, n_row, n_k, a, lda, b + j, ldb, c + j, ldc, add);
    for (; j + VL <= n_col; j += VL)
        tile_strip(1, n_row, n_k, a, lda, b + j, ldb, c + j, ldc, add);
    if (j < n_col) tile_tail(n_row, n_col - j, n_k, a, lda, b + j, ldb, c + j, ldc, add);
}

enum { PAGE_VECTORS = KV_PAGE / VL };

/* x where lo <= key < hi, else -inf; keys: numbers of the lanes' keys. */
static inline vf v_mask_keys(vf x, vf keys, vf lo, vf hi) {
    const vf none = v_set1(-INFINITY);
    return v_if_lt(keys, lo, none, v_if_lt(keys, hi, x, none));
}

static inline vf v_logit(vf qk, vf keys, const struct soft *p) {
    vf s = v_mul(qk, v_set1(p->scale));
    if (p->cap != 0.0f) s = v_mul(v_tanh(v_mul(s, v_set1(1.0f / p->cap))), v_set1(p->cap));
    if (p->slope != 0.0f) {
        const vf away = v_abs(v_add(keys, v_set1((float)p->rel0)));
        s = v_fma(v_set1(-p->slope), away, s);
    }
    return s;
}

static inline float soft_page(float *s, int lo, int hi, const struct soft *p, float *m, float *l) {
    const vf from = v_set1((float)lo), to = v_set1((float)hi);
    const bool plain = p->cap == 0.0f && p->slope == 0.0f, all = lo == 0 && hi == KV_PAGE;
    vf x[PAGE_VECTORS], most = v_set1(-INFINITY), keys = v_iota();
    for (int u = 0; u < PAGE_VECTORS; u++, keys = v_add(keys, v_set1(VL))) {
        x[u] = v_load(s + u * VL);
        x[u] = plain ? v_mul(x[u], v_set1(p->scale)) : v_logit(x[u], keys, p);
        if (!all) x[u] = v_mask_keys(x[u], keys, from, to);
        most = v_max(most, x[u]);
    }
    const float top = v_top(most);
    float factor = 1.0f;
    if (top > *m + SOFT_SLACK) {
        float f[VL];
        v_store(f, v_exp(v_set1(*m - top)));
        factor = f[0];
        *m = top;
    }
    const vf base = v_set1(*m == -INFINITY ? 0.0f : *m); /* nothing seen: all become 0 */
    vf sum = v_zero();
    for (int u = 0; u < PAGE_VECTORS; u++) {
        const vf e = v_exp(v_sub(x[u], base));
        v_store(s + u * VL, e);
        sum = v_add(sum, e);
    }
    *l = *l * factor + v_sum(sum);
    return factor;
}

static inline void soft_back(float *s, float *dp, int lo, int hi, const struct soft_back *p) {
    const vf from = v_set1((float)lo), to = v_set1((float)hi), zero = v_zero();
    const vf one = v_set1(1.0f), scale_ = v_set1(p->scale);
    vf query = v_iota();
    for (int i = 0; i < KV_PAGE; i += VL, query = v_add(query, v_set1(VL))) {
        vf x = v_mul(v_load(s + i), scale_), slope = scale_;
        if (p->cap != 0.0f) {
            const vf t = v_tanh(v_mul(x, v_set1(1.0f / p->cap)));
            x = v_mul(t, v_set1(p->cap));
            slope = v_mul(slope, v_mul(v_sub(one, t), v_add(one, t)));
        }
        if (p->slope) {
            const vf away = v_abs(v_sub(v_set1(p->key_pos), v_load(p->pos + i)));
            x = v_fma(v_sub(zero, v_load(p->slope + i)), away, x);
        }
        const vf e = v_exp(v_sub(x, v_load(p->lse + i)));
        const vf g = v_mul(v_mul(e, v_sub(v_load(dp + i), v_load(p->delta + i))), slope);
        v_store(s + i, v_if_lt(query, from, zero, v_if_lt(query, to, e, zero)));
        v_store(dp + i, v_if_lt(query, from, zero, v_if_lt(query, to, g, zero)));
    }
}
#endif
