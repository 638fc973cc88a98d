/* Activation encoders, scalar: the rounding that every instruction set must reproduce. */
#include "cpu/act.h"

#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "base/f16.h"

/* Copy up to 256 values, the rest zero. */
static void take_block(const float *x, int n, float v[256]) {
    const int have = n < ACT_BLOCK ? n : ACT_BLOCK;
    memcpy(v, x, (size_t)have * sizeof *v);
    memset(v + have, 0, (size_t)(ACT_BLOCK - have) * sizeof *v);
}

/* max|v|; magnitudes compare as integers, and a NaN is above all. */
static float top_of(const float *v, int n) {
    int32_t bits = 0;
    for (int i = 0; i < n; i++) {
        const int32_t a = (int32_t)(f32_bits(v[i]) & 0x7fffffffu);
        bits = a > bits ? a : bits;
    }
    return f32_from_bits((uint32_t)bits);
}

/* q = round-half-even(v * 127 / max|v|), n values; returns the scale.  Not-a-number and infinity
 * make the scale NaN: the result then shows the fault instead of hiding it.
 *
 * Written so that compilers vectorize it, as it also serves avx2 and neon: adding 1.5 * 2^23 rounds
 * to an integer in the low bits. */
static float quantize(const float *v, int n, int8_t *q) {
    const float top = top_of(v, n);
    if (!(top <= 3.0e38f)) {
        memset(q, 0, (size_t)n);
        return NAN;
    }
    /* Below 1e-36 the reciprocal would overflow; such a block is zero to any model. */
    const float inv = top > 1e-36f ? 127.0f / top : 0.0f;
    for (int i = 0; i < n; i++)
        q[i] = (int8_t)(f32_bits(v[i] * inv + 12582912.0f) - 0x4b400000u);
    return top > 1e-36f ? top / 127.0f : 0.0f;
}

static int sum(const int8_t *q, int n) {
    int s = 0;
    for (int i = 0; i < n; i++)
        s += q[i];
    return s;
}

/* 0 2 1 3 4 6 5 7 ..: where sum j is stored. */
static int swap_mid(int j) {
    return (j & ~3) | (j & 1) << 1 | (j >> 1 & 1);
}

void act_encode_f32_ref(const float *x, int n, uint8_t *out, size_t step) {
    for (; n > 0; n -= ACT_BLOCK, x += ACT_BLOCK, out += step)
        take_block(x, n, ((struct act_f32 *)(void *)out)->v);
}

void act_encode_q8_ref(const float *x, int n, uint8_t *out, size_t step) {
    for (; n > 0; n -= ACT_BLOCK, x += ACT_BLOCK, out += step) {
        struct act_q8 *a = (struct act_q8 *)(void *)out;
        float v[ACT_BLOCK];
        take_block(x, n, v);
        for (int j = 0; j < 8; j++) {
            a->d[j] = quantize(v + 32 * j, 32, a->q + 32 * j);
            const int s = sum(a->q + 32 * j, 32);
            a->start[j] = -128 * s;
            a->ds[j] = a->d[j] * (float)s;
        }
    }
}

void act_encode_q8_k_ref(const float *x, int n, uint8_t *out, size_t step) {
    for (; n > 0; n -= ACT_BLOCK, x += ACT_BLOCK, out += step) {
        struct act_q8_k *a = (struct act_q8_k *)(void *)out;
        float v[ACT_BLOCK];
        take_block(x, n, v);
        a->d = quantize(v, ACT_BLOCK, a->q);
        a->total = sum(a->q, ACT_BLOCK);
        for (int j = 0; j < 16; j++) {
            const int s16 = sum(a->q + 16 * j, 16);
            a->sum16[swap_mid(j)] = (int16_t)s16;
            a->start16[j] = -128 * s16;
        }
        for (int j = 0; j < 8; j++) {
            const int s32 = sum(a->q + 32 * j, 32);
            a->sum32[swap_mid(j)] = (int16_t)s32;
            a->start32[j] = -128 * s32;
        }
    }
}

void act_encode_q16_ref(const float *x, int n, uint8_t *out, size_t step) {
    for (; n > 0; n -= ACT_BLOCK, x += ACT_BLOCK, out += step) {
        struct act_q16 *a = (struct act_q16 *)(void *)out;
        float v[ACT_BLOCK];
        take_block(x, n, v);
        for (int j = 0; j < 8; j++) {
            const float top = top_of(v + 32 * j, 32);
            const bool bad = !(top <= 3.0e38f), some = !bad && top > 1e-34f; /* as quantize() */
            const float inv = some ? ACT_Q16_MAX / top : 0.0f;
            a->d[j] = bad ? NAN : some ? top / ACT_Q16_MAX : 0.0f;
            for (int i = 32 * j; i < 32 * j + 32; i++)
                a->q[i] = bad ? 0 : (int16_t)(f32_bits(v[i] * inv + 12582912.0f) - 0x4b400000u);
        }
    }
}
