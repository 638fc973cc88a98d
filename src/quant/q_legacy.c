/* Blocks of 32 values with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.  Source of the formats:
 * ggml. */
#include "quant/codec.h"

#include <math.h>
#include <string.h>

#include "base/f16.h"
#include "quant/blocks.h"
#include "quant/fit.h"

void q4_0_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q4_0 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        const float d = f16_to_f32(b[i].d);
        for (int j = 0; j < 16; j++) {
            out[j] = (float)((b[i].qs[j] & 15) - 8) * d;
            out[j + 16] = (float)((b[i].qs[j] >> 4) - 8) * d;
        }
    }
}

void q4_1_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q4_1 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        const float d = f16_to_f32(b[i].d), m = f16_to_f32(b[i].m);
        for (int j = 0; j < 16; j++) {
            out[j] = (float)(b[i].qs[j] & 15) * d + m;
            out[j + 16] = (float)(b[i].qs[j] >> 4) * d + m;
        }
    }
}

/* The 5-bit codes of a block. */
static void codes5(const uint8_t qs[16], const uint8_t qh[4], uint8_t q[32]) {
    uint32_t high;
    memcpy(&high, qh, sizeof high);
    for (int j = 0; j < 16; j++) {
        q[j] = (uint8_t)((qs[j] & 15) | (high >> j & 1) << 4);
        q[j + 16] = (uint8_t)(qs[j] >> 4 | (high >> (j + 16) & 1) << 4);
    }
}

void q5_0_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q5_0 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        const float d = f16_to_f32(b[i].d);
        uint8_t q[32];
        codes5(b[i].qs, b[i].qh, q);
        for (int j = 0; j < 32; j++)
            out[j] = (float)(q[j] - 16) * d;
    }
}

void q5_1_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q5_1 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        const float d = f16_to_f32(b[i].d), m = f16_to_f32(b[i].m);
        uint8_t q[32];
        codes5(b[i].qs, b[i].qh, q);
        for (int j = 0; j < 32; j++)
            out[j] = (float)q[j] * d + m;
    }
}

void q8_0_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q8_0 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        const float d = f16_to_f32(b[i].d);
        for (int j = 0; j < 32; j++)
            out[j] = (float)b[i].qs[j] * d;
    }
}

/* Encoding.  Without importance the result is the format's traditional one, byte for byte: the
 * largest value sets the scale, the codes are rounded half away.  With importance the scale is
 * fitted. */

/* binary16 of a scale: finite. */
static uint16_t scale_half(float d) {
    const uint16_t h = f32_to_f16(d);
    return (h & 0x7fff) < 0x7c00 ? h : (uint16_t)((h & 0x8000) | 0x7bff);
}

/* 1 / d, or 0 where that overflows: the values are then far below the smallest scale. */
static float inverse(float d) {
    const float v = d != 0 ? 1.0f / d : 0.0f;
    return isfinite(v) ? v : 0.0f;
}

/* Codes for x ~ d * (q - half) with the value of largest magnitude at the lowest code. */
static uint16_t codes_symmetric(const float *restrict x, int half, uint8_t q[32]) {
    float peak = 0;
    for (int j = 0; j < 32; j++)
        peak = fabsf(x[j]) > fabsf(peak) ? x[j] : peak;
    const float d = peak / (float)-half, inv = inverse(d);
    for (int j = 0; j < 32; j++) {
        const int c = (int)(x[j] * inv + ((float)half + 0.5f));
        q[j] = (uint8_t)(c > 2 * half - 1 ? 2 * half - 1 : c);
    }
    return scale_half(d);
}

/* The same with a fitted scale. */
static uint16_t fit_symmetric(const float *x, const float *w, int half, uint8_t q[32]) {
    const struct fit_levels lv = {(float)-half, (float)(half - 1), NULL};
    struct fit_group g;
    memset(q, half, 32);
    if (!fit_group_set(&g, x, w, 32)) return 0;
    float d = fit_scale(&lv, g.x, g.w, 32), level[32];
    const uint16_t h = fit_half(&d, g.unit);
    fit_error(&lv, g.x, g.w, d, level, 32);
    for (int j = 0; j < 32; j++)
        q[j] = (uint8_t)((int)level[j] + half);
    return h;
}

/* Codes for x ~ d * q + m from the lowest to the highest value. */
static uint16_t codes_affine(const float *restrict x, int q_max, uint8_t q[32], uint16_t *m) {
    float lo = x[0], hi = x[0];
    for (int j = 1; j < 32; j++) {
        lo = x[j] < lo ? x[j] : lo;
        hi = x[j] > hi ? x[j] : hi;
    }
    const float d = (hi - lo) / (float)q_max, inv = inverse(d);
    for (int j = 0; j < 32; j++) {
        const int c = (int)((x[j] - lo) * inv + 0.5f);
        q[j] = (uint8_t)(c > q_max ? q_max : c);
    }
    *m = scale_half(lo);
    return scale_half(d);
}

static uint16_t fit_affine32(const float *x, const float *w, int q_max, uint8_t q[32],
                             uint16_t *m) {
    struct fit_group g;
    memset(q, 0, 32);
    *m = 0;
    if (!fit_group_set(&g, x, w, 32)) return 0;
    struct fit_line l = fit_affine(g.x, g.w, 32, q_max, INFINITY, true);
    const uint16_t h = fit_half(&l.s, g.unit);
    *m = fit_half(&l.m, g.unit);
    float code[32];
    fit_affine_error(g.x, g.w, l, q_max, code, 32);
    for (int j = 0; j < 32; j++)
        q[j] = (uint8_t)code[j];
    return h;
}

/* Low nibbles of 32 codes as the blocks want them, and bit 4 of each. */
static void pack_nibbles(uint8_t qs[16], const uint8_t q[32]) {
    for (int j = 0; j < 16; j++)
        qs[j] = (uint8_t)((q[j] & 15) | (q[j + 16] & 15) << 4);
}

static void pack_fifth(uint8_t qh[4], const uint8_t q[32]) {
    uint32_t high = 0;
    for (int j = 0; j < 32; j++)
        high |= (uint32_t)(q[j] >> 4) << j;
    memcpy(qh, &high, sizeof high);
}

void q4_0_encode(const float *restrict x, void *restrict blocks, size_t n,
                 const float *restrict weight) {
    struct block_q4_0 *b = blocks;
    uint8_t q[32];
    for (size_t i = 0; i < n; i += 32, b++) {
        b->d = weight ? fit_symmetric(x + i, weight + i, 8, q) : codes_symmetric(x + i, 8, q);
        pack_nibbles(b->qs, q);
    }
}

void q4_1_encode(const float *restrict x, void *restrict blocks, size_t n,
                 const float *restrict weight) {
    struct block_q4_1 *b = blocks;
    uint8_t q[32];
    for (size_t i = 0; i < n; i += 32, b++) {
        b->d = weight ? fit_affine32(x + i, weight + i, 15, q, &b->m)
                      : codes_affine(x + i, 15, q, &b->m);
        pack_nibbles(b->qs, q);
    }
}

void q5_0_encode(const float *restrict x, void *restrict blocks, size_t n,
                 const float *restrict weight) {
    struct block_q5_0 *b = blocks;
    uint8_t q[32];
    for (size_t i = 0; i < n; i += 32, b++) {
        b->d = weight ? fit_symmetric(x + i, weight + i, 16, q) : codes_symmetric(x + i, 16, q);
        pack_nibbles(b->qs, q);
        pack_fifth(b->qh, q);
    }
}

void q5_1_encode(const float *restrict x, void *restrict blocks, size_t n,
                 const float *restrict weight) {
    struct block_q5_1 *b = blocks;
    uint8_t q[32];
    for (size_t i = 0; i < n; i += 32, b++) {
        b->d = weight ? fit_affine32(x + i, weight + i, 31, q, &b->m)
                      : codes_affine(x + i, 31, q, &b->m);
        pack_nibbles(b->qs, q);
        pack_fifth(b->qh, q);
    }
}

/* Importance is not used: at 8 bits the rounding itself is all the error there is. */
void q8_0_encode(const float *restrict x, void *restrict blocks, size_t n,
                 const float *restrict weight) {
    (void)weight;
    struct block_q8_0 *b = blocks;
    for (size_t i = 0; i < n; i += 32, b++) {
        float peak = 0;
        for (int j = 0; j < 32; j++)
            peak = fabsf(x[i + (size_t)j]) > peak ? fabsf(x[i + (size_t)j]) : peak;
        const float d = peak / 127.0f, inv = inverse(d);
        for (int j = 0; j < 32; j++) {
            /* Half away from zero.  Adding 0.5 first would round 0.49999997 up to 1. */
            const float t = x[i + (size_t)j] * inv;
            const int whole = (int)t;
            const float rest = t - (float)whole;
            b->qs[j] = (int8_t)(whole + (rest >= 0.5f) - (rest <= -0.5f));
        }
        b->d = scale_half(d);
    }
}
