/* Attention of few queries (decode): K and V are converted in registers on their way from the
 * cache's rows to the products, without a page of floats in between.  Every sum has the order of
 * k_tile, kv_load and mul_tile, so its bits too.
 *
 * What is read next is fetched a few lines at a time between the products: a core has too few
 * miss buffers for more, and the hardware's own prefetch begins anew at every 4 KiB. */
#pragma once

#include "cpu/kern_vec.h"
#include "cpu/inline.h"
#include "cpu/simd/kv.h"

#ifdef CPU_SIMD

enum {
    FEW = VL == 8 ? 4 : 8, /* queries at a time: what the registers hold beside a block of K */
    FEW_SUMS = VL == 8 ? 8 : 16, /* sums of V in registers */
};

/* What is fetched ahead: n lines at each of n_step steps of the products. */
struct ahead {
    const uint8_t *at, *end;
    int n;
};

static inline struct ahead ahead_begin(const uint8_t *from, size_t bytes, int n_step) {
    return (struct ahead){from, from + bytes, (int)(bytes / 64 / (size_t)n_step) + 1};
}

static inline void ahead_step(struct ahead *a) {
    for (int i = 0; i < a->n && a->at < a->end; i++, a->at += 64)
        __builtin_prefetch(a->at, 0, 2);
}

/* The queries of one pass: mr pointers, where the last one stands for those that are missing - it
 * is computed and stored more than once, to the same place. */
static inline int few_row(int r, int n_row) {
    return r < n_row ? r : n_row - 1;
}

/* s[r][key..key+VL) = q[r] . K for mr queries. */
static inline __attribute__((always_inline)) void
qk_keys(enum kv_type t, const int mr, int n_row, int key, int n_key, int dim, const float *q,
        const uint8_t *rows, size_t row_bytes, struct ahead *ahead, float *s) {
    const float *x[FEW];
    vf sum[FEW];
    for (int r = 0; r < mr; r++) {
        x[r] = q + (size_t)few_row(r, n_row) * dim;
        sum[r] = v_zero();
    }
    const uint8_t *k[VL];
    for (int i = 0; i < VL; i++) /* keys past the last: any values, they are masked */
        k[i] = rows + (size_t)(key + i < n_key ? key + i : n_key - 1) * row_bytes;
    int d = 0;
    for (; d + VL <= dim; d += VL) {
        vf b[VL];
        for (int i = 0; i < VL; i++)
            b[i] = kv_vector(t, k[i], d);
        v_transpose(b);
        ahead_step(ahead);
        UNROLL
        for (int i = 0; i < VL; i++) {
            UNROLL
            for (int r = 0; r < mr; r++)
                sum[r] = v_fma(v_set1(x[r][d + i]), b[i], sum[r]);
        }
    }
    for (; d < dim; d++) {
        float b[VL];
        for (int i = 0; i < VL; i++)
            b[i] = kv_value(t, k[i], d);
        for (int r = 0; r < mr; r++)
            sum[r] = v_fma(v_set1(x[r][d]), v_load(b), sum[r]);
    }
    for (int r = 0; r < mr; r++)
        v_store(s + (size_t)few_row(r, n_row) * KV_PAGE + key, sum[r]);
}

static inline __attribute__((always_inline)) void
few_qk(enum kv_type t, int n_row, int n_key, int dim, const float *q, const uint8_t *rows,
       size_t row_bytes, const uint8_t *ahead, size_t n_ahead, float *s) {
    const int n_block = (n_key + VL - 1) / VL * (dim / VL > 0 ? dim / VL : 1);
    struct ahead a = ahead_begin(ahead, n_ahead, n_block);
    for (int r = 0; r < n_row; r += FEW, q += (size_t)FEW * dim, s += FEW * KV_PAGE)
        for (int key = 0; key < n_key; key += VL)
            if (FEW > 4 && n_row - r > 4)
                qk_keys(t, FEW, n_row - r, key, n_key, dim, q, rows, row_bytes, &a, s);
            else
                qk_keys(t, 4, n_row - r, key, n_key, dim, q, rows, row_bytes, &a, s);
}

/* Moves *row to value d where n values from there are whole blocks: scales are then at constant
 * offsets, so each is converted once.  Where d is from *row now. */
static inline int kv_at_block(enum kv_type t, int n, const uint8_t **row, int d) {
    if (n % 32) return d;
    switch (t) {
    case KV_Q8_0: *row += (size_t)d / 32 * sizeof(struct block_q8_0); return 0;
    case KV_Q4_0: *row += (size_t)d / 32 * sizeof(struct block_q4_0); return 0;
    default: return d;
    }
}

/* o[r][d..d + nv vectors) += p[r] V for mr queries. */
static inline __attribute__((always_inline)) void
pv_strip(enum kv_type t, const int mr, const int nv, int n_row, int d, int n_key, int dim,
         const float *p, const uint8_t *rows, size_t row_bytes, struct ahead *ahead, float *o) {
    const float *x[FEW];
    vf sum[FEW][FEW_SUMS / 4];
    for (int r = 0; r < mr; r++) {
        x[r] = p + (size_t)few_row(r, n_row) * KV_PAGE;
        for (int u = 0; u < nv; u++)
            sum[r][u] = v_load(o + (size_t)few_row(r, n_row) * dim + d + u * VL);
    }
    const int at = kv_at_block(t, nv * VL, &rows, d);
    for (int key = 0; key < n_key; key++, rows += row_bytes) {
        vf y[FEW_SUMS / 4];
        for (int u = 0; u < nv; u++)
            y[u] = kv_vector(t, rows, at + u * VL);
        ahead_step(ahead);
        for (int r = 0; r < mr; r++) {
            const vf w = v_set1(x[r][key]);
            for (int u = 0; u < nv; u++)
                sum[r][u] = v_fma(w, y[u], sum[r][u]);
        }
    }
    for (int r = 0; r < mr; r++)
        for (int u = 0; u < nv; u++)
            v_store(o + (size_t)few_row(r, n_row) * dim + d + u * VL, sum[r][u]);
}

/* The last columns, fewer than a vector, of one query. */
static inline void pv_tail(enum kv_type t, int d, int n_key, int dim, const float *p,
                           const uint8_t *rows, size_t row_bytes, float *o) {
    vf sum = v_load_n(o + d, dim - d);
    for (int key = 0; key < n_key; key++, rows += row_bytes) {
        float y[VL] = {0};
        for (int i = 0; i < dim - d; i++)
            y[i] = kv_value(t, rows, d + i);
        sum = v_fma(v_set1(p[key]), v_load(y), sum);
    }
    v_store_n(o + d, sum, dim - d);
}

static inline __attribute__((always_inline)) void pv_rows(enum kv_type t, const int mr, int n_row,
                                                          int n_key, int dim, const float *p,
                                                          const uint8_t *rows, size_t row_bytes,
                                                          struct ahead *a, float *o) {
    enum { NV4 = FEW_SUMS / 4, NV8 = FEW_SUMS / FEW };
    const int nv = mr > 4 ? NV8 : NV4;
    int d = 0;
    for (; d + nv * VL <= dim; d += nv * VL)
        pv_strip(t, mr, nv, n_row, d, n_key, dim, p, rows, row_bytes, a, o);
    for (; d + VL <= dim; d += VL)
        pv_strip(t, mr, 1, n_row, d, n_key, dim, p, rows, row_bytes, a, o);
    for (int r = 0; d < dim && r < n_row && r < mr; r++)
        pv_tail(t, d, n_key, dim, p + (size_t)r * KV_PAGE, rows, row_bytes, o + (size_t)r * dim);
}

static inline __attribute__((always_inline)) void
few_pv(enum kv_type t, int n_row, int n_key, int dim, const float *p, const uint8_t *rows,
       size_t row_bytes, const uint8_t *ahead, size_t n_ahead, float *o) {
    const int width = FEW_SUMS / (n_row > 4 ? FEW : 4) * VL;
    struct ahead a = ahead_begin(ahead, n_ahead, n_key * (dim / width > 0 ? dim / width : 1));
    for (int r = 0; r < n_row; r += FEW, p += FEW * KV_PAGE, o += (size_t)FEW * dim)
        if (FEW > 4 && n_row - r > 4)
            pv_rows(t, FEW, n_row - r, n_key, dim, p, rows, row_bytes, &a, o);
        else
            pv_rows(t, 4, n_row - r, n_key, dim, p, rows, row_bytes, &a, o);
}

#define FEW_PAIR(name, type)                                                                       \
    static inline void few_qk_##name(int n_row, int n_key, int dim, const float *q,                \
                                     const uint8_t *rows, size_t row_bytes, const uint8_t *ahead,  \
                                     size_t n_ahead, float *s) {                                   \
        few_qk(type, n_row, n_key, dim, q, rows, row_bytes, ahead, n_ahead, s);                    \
    }                                                                                              \
    static inline void few_pv_##name(int n_row, int n_key, int dim, const float *p,                \
                                     const uint8_t *rows, size_t row_bytes, const uint8_t *ahead,  \
                                     size_t n_ahead, float *o) {                                   \
        few_pv(type, n_row, n_key, dim, p, rows, row_bytes, ahead, n_ahead, o);                    \
    }
FEW_PAIR(f32, KV_F32)
FEW_PAIR(f16, KV_F16)
FEW_PAIR(bf16, KV_BF16)
FEW_PAIR(q8_0, KV_Q8_0)
FEW_PAIR(q4_0, KV_Q4_0)
#undef FEW_PAIR
#endif
