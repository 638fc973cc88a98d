/* Formats of the KV cache: rows to and from floats, and the transposed tile of K.  Scalar twins:
 * ref/kv.c; bits are the same. */
#pragma once

#include <float.h>
#include <math.h>

#include "base/f16.h"
#include "cpu/kern_vec.h"
#include "cpu/simd/v.h"
#include "quant/blocks.h"

#ifdef CPU_SIMD

/* VL values of a row from value d on, a multiple of VL.  Called with a constant type. */
static inline vf kv_vector(enum kv_type t, const uint8_t *row, int d) {
    switch (t) {
    case KV_F32: return v_load((const float *)(const void *)row + d);
    case KV_F16: return v_from_f16((const uint16_t *)(const void *)row + d);
    case KV_BF16: return v_from_bf16((const uint16_t *)(const void *)row + d);
    case KV_Q8_0: {
        const struct block_q8_0 *b = (const struct block_q8_0 *)(const void *)row + d / 32;
        return v_mul(v_set1_half(b->d), v_from_i8(b->qs + d % 32));
    }
    default: { /* Q4_0: the first half of a block are the low nibbles */
        const struct block_q4_0 *b = (const struct block_q4_0 *)(const void *)row + d / 32;
        const vf q = v_from_nibbles(b->qs + d % 16, d % 32 >= 16);
        return v_mul(v_set1_half(b->d), v_sub(q, v_set1(8.0f)));
    }
    }
}

/* One value, for the tails of rows that are not quantized. */
static inline float kv_value(enum kv_type t, const uint8_t *row, int d) {
    if (t == KV_F32) return ((const float *)(const void *)row)[d];
    const uint16_t h = ((const uint16_t *)(const void *)row)[d];
    return t == KV_F16 ? f16_to_f32(h) : bf16_to_f32(h);
}

static inline void load_row(enum kv_type t, int n, const void *row, float *y) {
    int d = 0;
    for (; d + VL <= n; d += VL)
        v_store(y + d, kv_vector(t, row, d));
    for (; d < n; d++)
        y[d] = kv_value(t, row, d);
}

/* Cache lines fetched ahead per VL x VL block: as many as a block of floats has. */
enum { AHEAD_LINES = (VL * VL * (int)sizeof(float) + 63) / 64 };

/* Blocks of VL keys by VL dimensions are transposed in registers.  The lines ahead are fetched a
 * few at a time: all at once they would fill the processor's queue of misses and stall it. */
static inline void k_tile(enum kv_type t, int n_key, int dim, const uint8_t *rows, size_t row_bytes,
                          const uint8_t *ahead, float *kt) {
    const uint8_t *end = ahead + (size_t)n_key * row_bytes;
    for (int key = 0; key < KV_PAGE; key += VL) {
        int d = 0;
        for (; d + VL <= dim; d += VL) {
            vf r[VL];
            for (int i = 0; i < VL; i++)
                r[i] = key + i < n_key ? kv_vector(t, rows + (size_t)(key + i) * row_bytes, d)
                                       : v_zero();
            v_transpose(r);
            for (int i = 0; i < AHEAD_LINES && ahead < end; i++, ahead += 64)
                __builtin_prefetch(ahead, 0, 2);
            for (int i = 0; i < VL; i++)
                v_store(kt + (size_t)(d + i) * KV_PAGE + key, r[i]);
        }
        for (; d < dim; d++)
            for (int i = key; i < key + VL; i++)
                kt[(size_t)d * KV_PAGE + i] =
                    i < n_key ? kv_value(t, rows + (size_t)i * row_bytes, d) : 0.0f;
    }
}

/* The loader and the tile of one type. */
#define KV_PAIR(name, type)                                                                        \
    static inline void kv_load_##name(int n, const void *row, float *y) {                          \
        load_row(type, n, row, y);                                                                 \
    }                                                                                              \
    static inline void k_tile_##name(int n_key, int dim, const uint8_t *rows, size_t row_bytes,    \
                                     const uint8_t *ahead, float *kt) {                            \
        k_tile(type, n_key, dim, rows, row_bytes, ahead, kt);                                      \
    }
KV_PAIR(f32, KV_F32)
KV_PAIR(f16, KV_F16)
KV_PAIR(bf16, KV_BF16)
KV_PAIR(q8_0, KV_Q8_0)
KV_PAIR(q4_0, KV_Q4_0)
#undef KV_PAIR

static inline void kv_store_f16(int n, const float *x, void *row) {
    uint16_t *h = row;
    int i = 0;
    for (; i + VL <= n; i += VL)
        v_to_f16(h + i, v_load(x + i));
    for (; i < n; i++)
        h[i] = f32_to_f16(x[i]);
}

static inline void kv_store_bf16(int n, const float *x, void *row) {
    uint16_t *h = row;
    int i = 0;
    for (; i + VL <= n; i += VL)
        v_to_bf16(h + i, v_load(x + i));
    for (; i < n; i++)
        h[i] = f32_to_bf16(x[i]);
}

/* The scale of a block as stored, d, and 1 / d: 0 where that overflows, as the values are then far
 * below the smallest scale. */
static inline uint16_t block_scale(float d, vf *inv) {
    const float r = 1.0f / d;
    const uint16_t h = f32_to_f16(d);
    *inv = v_set1(fabsf(r) <= FLT_MAX ? r : 0.0f);
    return (h & 0x7fff) < 0x7c00 ? h : (uint16_t)((h & 0x8000) | 0x7bff);
}

/* Halves are rounded away from 0: 0.5 is added with the value's sign, then cut off. */
static inline void kv_store_q8_0(int n, const float *x, void *row) {
    struct block_q8_0 *b = row;
    for (int i = 0; i < n; i += 32, b++) {
        vf peak = v_zero(), inv;
        for (int j = 0; j < 32; j += VL)
            peak = v_max(peak, v_abs(v_load(x + i + j)));
        b->d = block_scale(v_top(peak) / 127.0f, &inv);
        for (int j = 0; j < 32; j += VL) {
            const vf t = v_mul(v_load(x + i + j), inv);
            v_to_i8(b->qs + j, v_trunc(v_add(t, v_copysign(v_set1(0.5f), t))));
        }
    }
}

/* The value of largest magnitude in a block, the first of equals. */
static inline float block_peak(const float *x) {
    vf high = v_load(x), low = high;
    for (int j = VL; j < 32; j += VL) {
        high = v_max(high, v_load(x + j));
        low = v_min(low, v_load(x + j));
    }
    const float max = v_top(high), min = -v_top(v_sub(v_zero(), low));
    if (max != -min) return max > -min ? max : min;
    for (int j = 0; j < 32; j++)
        if (fabsf(x[j]) == max) return x[j];
    return max;
}

static inline void kv_store_q4_0(int n, const float *x, void *row) {
    struct block_q4_0 *b = row;
    for (int i = 0; i < n; i += 32, b++) {
        int8_t q[32];
        vf inv;
        b->d = block_scale(block_peak(x + i) / -8.0f, &inv);
        for (int j = 0; j < 32; j += VL) {
            const vf t = v_add(v_mul(v_load(x + i + j), inv), v_set1(8.5f));
            v_to_i8(q + j, v_min(v_set1(15.0f), v_trunc(t)));
        }
        for (int j = 0; j < 16; j++)
            b->qs[j] = (uint8_t)(q[j] | q[j + 16] << 4);
    }
}
#endif
