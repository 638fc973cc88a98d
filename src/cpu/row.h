/* Blocks of 256 weights of one row as small integers, and the loops over them: the scheme of
 * avx2, and of the rarer formats everywhere.
 *
 *   file row -> struct row_k or row_q in L1/L2 scratch -> dots whose lanes run along the row
 *
 * Plain C that each instruction set's folder compiles with its own flags (the loops vectorize). */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__F16C__)
#include <immintrin.h>
#elif defined(__aarch64__)
#include <arm_neon.h>
#endif

#include "base/f16.h"
#include "cpu/act.h"
#include "cpu/kern_mat.h"
#include "quant/blocks.h"
#include "quant/grids.h"

/* x = d * sum_j sc[j] * dot_j - dmin * sum_j m[j] * sum_j(x), sub-blocks of 16.  Formats without
 * mins may store q + bias as unsigned bytes, with m = bias * sc and dmin = d. */
struct row_k {
    _Alignas(32) int8_t q[256];
    int16_t sc[16];
    int16_t m[16]; /* in the order of act_q8_k.sum16 */
    float d, dmin;
};

/* x = sum_j d[j] * x.d[j] * dot_j + m[j] * x.ds[j], sub-blocks of 32. */
struct row_q {
    _Alignas(32) int8_t q[256];
    float d[8], m[8];
};

static inline float row_half(uint16_t h) {
#if defined(__F16C__)
    return _cvtsh_ss(h);
#elif defined(__aarch64__)
    __fp16 f;
    memcpy(&f, &h, sizeof f);
    return (float)f;
#else
    return f16_to_f32(h);
#endif
}

/* Vectors of the compiler, which become the machine's own. */
typedef uint8_t u8x8 __attribute__((vector_size(8)));
typedef uint8_t u8x16 __attribute__((vector_size(16)));
typedef uint8_t u8x32 __attribute__((vector_size(32)));
typedef uint16_t u16x8 __attribute__((vector_size(16)));
typedef uint32_t u32x4 __attribute__((vector_size(16)));
typedef uint32_t u32x8 __attribute__((vector_size(32)));
typedef int8_t i8x16 __attribute__((vector_size(16)));
typedef int16_t i16x16 __attribute__((vector_size(32)));

static inline u8x16 row_load16(const void *p) {
    u8x16 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline u8x32 row_load32(const void *p) {
    u8x32 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline void row_put16(int8_t *q, u8x16 v) {
    memcpy(q, &v, sizeof v);
}

static inline void row_put32(int8_t *q, u8x32 v) {
    memcpy(q, &v, sizeof v);
}

static inline void row_put_i16(int16_t *to, i16x16 v) {
    memcpy(to, &v, sizeof v);
}

/* 32 values at once: a load of all would wait for stores of halves. */
static inline void row_put_two(int8_t *q, u8x16 low, u8x16 high) {
    row_put32(q, __builtin_shufflevector(low, high, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13,
                                         14, 15, 16, 17, 18, 19, 20, 21, 22, 23, 24, 25, 26, 27, 28,
                                         29, 30, 31));
}

/* In the order of act_q8_k.sum16. */
static inline i16x16 row_swapped(i16x16 v) {
    return __builtin_shufflevector(v, v, 0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15);
}

/* The mins that take a bias off again. */
static inline void row_mins(struct row_k *o, int bias) {
    i16x16 v;
    memcpy(&v, o->sc, sizeof v);
    row_put_i16(o->m, row_swapped(v * (int16_t)bias));
    o->dmin = o->d;
}

/* Every byte of q plus bias, and its mins. */
static inline void row_bias(struct row_k *o, int bias) {
    for (int i = 0; bias && i < 256; i += 32)
        row_put32(o->q + i, row_load32(o->q + i) + (uint8_t)bias);
    row_mins(o, bias);
}

/* Levels of a code book by the 16 nibbles. */
static inline u8x16 row_levels(const int8_t book[16], u8x16 code) {
#if defined(__SSSE3__)
    return (u8x16)_mm_shuffle_epi8((__m128i)row_load16(book), (__m128i)code);
#elif defined(__aarch64__)
    return (u8x16)vqtbl1q_u8((uint8x16_t)row_load16(book), (uint8x16_t)code);
#else
    u8x16 v;
    for (int i = 0; i < 16; i++)
        v[i] = (uint8_t)book[code[i]];
    return v;
#endif
}

static inline void row_book(int8_t *q, const uint8_t qs[16], const int8_t book[16]) {
    const u8x16 v = row_load16(qs);
    row_put_two(q, row_levels(book, v & 15), row_levels(book, v >> 4));
}

/* ---- K types: one block to a row_k.  `bias` as above; ignored by the types with mins ---- */

typedef void row_k_fn(const void *restrict block, struct row_k *restrict o, int bias);

static inline void row_k4_header(uint16_t d, uint16_t dmin, const uint8_t packed[12],
                                 struct row_k *o) {
    uint32_t p[3];
    memcpy(p, packed, sizeof p); /* quant/kscale.h, four bytes at a time */
    const u32x4 s = {p[0] & 0x3f3f3f3f, (p[2] & 0x0f0f0f0f) | (p[0] >> 2 & 0x30303030)};
    const u32x4 n = {p[1] & 0x3f3f3f3f, (p[2] >> 4 & 0x0f0f0f0f) | (p[1] >> 2 & 0x30303030)};
    const u8x16 sc = (u8x16)s, m = (u8x16)n;
    /* Twice each, to 16 bits; the mins in the order of row_swapped. */
    const u8x32 sc16 = __builtin_shufflevector(sc, sc, 0, 8, 0, 8, 1, 8, 1, 8, 2, 8, 2, 8, 3, 8, 3,
                                               8, 4, 8, 4, 8, 5, 8, 5, 8, 6, 8, 6, 8, 7, 8, 7, 8);
    const u8x32 m16 = __builtin_shufflevector(m, m, 0, 8, 1, 8, 0, 8, 1, 8, 2, 8, 3, 8, 2, 8, 3, 8,
                                              4, 8, 5, 8, 4, 8, 5, 8, 6, 8, 7, 8, 6, 8, 7, 8);
    memcpy(o->sc, &sc16, sizeof sc16);
    memcpy(o->m, &m16, sizeof m16);
    o->d = row_half(d);
    o->dmin = row_half(dmin);
}

static inline void row_q4_k(const void *restrict block, struct row_k *restrict o, int bias) {
    const struct block_q4_k *b = block;
    (void)bias;
    row_k4_header(b->d, b->dmin, b->scales, o);
    for (int h = 0; h < 4; h++) {
        const u8x32 v = row_load32(b->qs + 32 * h);
        row_put32(o->q + 64 * h, v & 15);
        row_put32(o->q + 64 * h + 32, v >> 4);
    }
}

static inline void row_q5_k(const void *restrict block, struct row_k *restrict o, int bias) {
    const struct block_q5_k *b = block;
    const u8x32 top = row_load32(b->qh);
    (void)bias;
    row_k4_header(b->d, b->dmin, b->scales, o);
    for (int h = 0; h < 4; h++) {
        const u8x32 v = row_load32(b->qs + 32 * h);
        row_put32(o->q + 64 * h, (v & 15) | (top >> 2 * h & 1) << 4);
        row_put32(o->q + 64 * h + 32, v >> 4 | (top >> (2 * h + 1) & 1) << 4);
    }
}

static inline void row_q2_k(const void *restrict block, struct row_k *restrict o, int bias) {
    const struct block_q2_k *b = block;
    const u8x16 s = row_load16(b->scales), mins = s >> 4;
    (void)bias;
    row_put_i16(o->sc, __builtin_convertvector(s & 15, i16x16));
    row_put_i16(o->m, row_swapped(__builtin_convertvector(mins, i16x16)));
    o->d = row_half(b->d);
    o->dmin = row_half(b->dmin);
    for (int h = 0; h < 2; h++) {
        const u8x32 v = row_load32(b->qs + 32 * h);
        for (int m = 0; m < 4; m++)
            row_put32(o->q + 128 * h + 32 * m, v >> 2 * m & 3);
    }
}

static inline void row_q3_k(const void *restrict block, struct row_k *restrict o, int bias) {
    const struct block_q3_k *b = block;
    const u8x32 top = row_load32(b->hmask);
    uint32_t p[3];
    memcpy(p, b->scales, sizeof p); /* quant/kscale.h, four bytes at a time */
    const uint32_t low = 0x0f0f0f0f, two = 0x30303030;
    const u32x4 s = {(p[0] & low) | (p[2] << 4 & two), (p[1] & low) | (p[2] << 2 & two),
                     (p[0] >> 4 & low) | (p[2] & two), (p[1] >> 4 & low) | (p[2] >> 2 & two)};
    row_put_i16(o->sc, __builtin_convertvector((i8x16)s, i16x16) - 32);
    o->d = row_half(b->d);
    for (int h = 0; h < 2; h++) {
        const u8x32 v = row_load32(b->qs + 32 * h);
        for (int m = 0; m < 4; m++)
            row_put32(o->q + 128 * h + 32 * m,
                      ((v >> 2 * m & 3) | (top >> (4 * h + m) & 1) << 2) + (uint8_t)(bias - 4));
    }
    row_mins(o, bias);
}

static inline void row_q6_k(const void *restrict block, struct row_k *restrict o, int bias) {
    const struct block_q6_k *b = block;
    const uint8_t add = (uint8_t)(bias - 32);
    row_put_i16(o->sc, __builtin_convertvector((i8x16)row_load16(b->scales), i16x16));
    o->d = row_half(b->d);
    for (int h = 0; h < 2; h++) {
        const u8x32 two = row_load32(b->qh + 32 * h);
        for (int p = 0; p < 2; p++) {
            const u8x32 v = row_load32(b->ql + 64 * h + 32 * p);
            int8_t *q = o->q + 128 * h + 32 * p;
            row_put32(q, ((v & 15) | (two >> 2 * p & 3) << 4) + add);
            row_put32(q + 64, (v >> 4 | (two >> (2 * p + 4) & 3) << 4) + add);
        }
    }
    row_mins(o, bias);
}

static inline void row_iq4_xs(const void *restrict block, struct row_k *restrict o, int bias) {
    const struct block_iq4_xs *b = block;
    o->d = row_half(b->d);
    for (int j = 0; j < 8; j++) {
        const int low = b->scales_l[j / 2] >> 4 * (j % 2) & 15;
        o->sc[2 * j] = o->sc[2 * j + 1] = (int16_t)((low | (b->scales_h >> 2 * j & 3) << 4) - 32);
        row_book(o->q + 32 * j, b->qs + 16 * j, kvalues_iq4nl);
    }
    row_bias(o, bias);
}

/* ---- grid types: the same, d takes the fraction ---- */

/* Eight bytes of a grid; negated where a bit of signs is set: (v ^ -1) + 1 for such a byte, which
 * carries nowhere, as no byte is 0. */
static inline void row_grid8(int8_t *q, uint64_t grid, uint8_t signs) {
    const uint64_t spread = (signs * 0x0101010101010101u) & 0x8040201008040201u;
    const uint64_t one = ((spread + 0x7f7f7f7f7f7f7f7fu) | spread) >> 7 & 0x0101010101010101u;
    const uint64_t v = (grid ^ one * 255) + one;
    memcpy(q, &v, sizeof v);
}

static inline void row_iq2_xxs(const void *restrict block, struct row_k *restrict o, int bias) {
    const struct block_iq2_xxs *b = block;
    o->d = row_half(b->d) * 0.125f;
    for (int s = 0; s < 8; s++) {
        uint32_t w[2];
        memcpy(w, b->qs + 4 * s, sizeof w);
        o->sc[2 * s] = o->sc[2 * s + 1] = (int16_t)(2 * (w[1] >> 28) + 1);
        for (int l = 0; l < 4; l++)
            row_grid8(o->q + 32 * s + 8 * l, grid_iq2_xxs[w[0] >> 8 * l & 255],
                      grid_signs(w[1] >> 7 * l));
    }
    row_bias(o, bias);
}

static inline void row_scales4(const uint8_t *scales, struct row_k *o) {
    for (int j = 0; j < 16; j++)
        o->sc[j] = (int16_t)(2 * (scales[j / 2] >> 4 * (j % 2) & 15) + 1);
}

static inline void row_iq2_xs(const void *restrict block, struct row_k *restrict o, int bias) {
    const struct block_iq2_xs *b = block;
    o->d = row_half(b->d) * 0.125f;
    row_scales4(b->scales, o);
    for (int l = 0; l < 32; l++)
        row_grid8(o->q + 8 * l, grid_iq2_xs[b->qs[l] & 511], grid_signs(b->qs[l] >> 9));
    row_bias(o, bias);
}

static inline void row_iq2_s(const void *restrict block, struct row_k *restrict o, int bias) {
    const struct block_iq2_s *b = block;
    o->d = row_half(b->d) * 0.125f;
    row_scales4(b->scales, o);
    for (int l = 0; l < 32; l++) {
        const int index = b->qs[l] | (b->qh[l / 4] >> 2 * (l % 4) & 3) << 8;
        row_grid8(o->q + 8 * l, grid_iq2_s[index], b->signs[l]);
    }
    row_bias(o, bias);
}

static inline uint64_t row_two(uint32_t low, uint32_t high) {
    return low | (uint64_t)high << 32;
}

static inline void row_iq3_xxs(const void *restrict block, struct row_k *restrict o, int bias) {
    const struct block_iq3_xxs *b = block;
    o->d = row_half(b->d) * 0.25f;
    for (int s = 0; s < 8; s++) {
        uint32_t w;
        memcpy(&w, b->gas + 4 * s, sizeof w);
        o->sc[2 * s] = o->sc[2 * s + 1] = (int16_t)(2 * (w >> 28) + 1);
        for (int l = 0; l < 4; l++) {
            const uint8_t *i = b->qs + 8 * s + 2 * l;
            row_grid8(o->q + 32 * s + 8 * l, row_two(grid_iq3_xxs[i[0]], grid_iq3_xxs[i[1]]),
                      grid_signs(w >> 7 * l));
        }
    }
    row_bias(o, bias);
}

static inline void row_iq3_s(const void *restrict block, struct row_k *restrict o, int bias) {
    const struct block_iq3_s *b = block;
    o->d = row_half(b->d);
    for (int l = 0; l < 32; l++) {
        const int h = b->qh[l / 4] >> 2 * (l % 4);
        const uint32_t low = grid_iq3_s[b->qs[2 * l] | (h & 1) << 8];
        const uint32_t high = grid_iq3_s[b->qs[2 * l + 1] | (h >> 1 & 1) << 8];
        row_grid8(o->q + 8 * l, row_two(low, high), b->signs[l]);
    }
    for (int j = 0; j < 16; j++)
        o->sc[j] = (int16_t)(2 * (b->scales[j / 4] >> 4 * (j / 2 % 2) & 15) + 1);
    row_bias(o, bias);
}

/* 8 * (grid + delta) for delta = +-1/8. */
static inline void row_grid1(int8_t *q, int index, int negative) {
    u8x8 v;
    memcpy(&v, &grid_iq1[index], sizeof v);
    v = v * 8 + (uint8_t)(negative ? -1 : 1);
    memcpy(q, &v, sizeof v);
}

static inline void row_iq1_s(const void *restrict block, struct row_k *restrict o, int bias) {
    const struct block_iq1_s *b = block;
    o->d = row_half(b->d) * 0.125f;
    for (int l = 0; l < 32; l++) {
        const int h = b->qh[l / 4];
        row_grid1(o->q + 8 * l, b->qs[l] | (h >> 3 * (l % 4) & 7) << 8, h >> 15);
        o->sc[l / 2] = (int16_t)(2 * (h >> 12 & 7) + 1);
    }
    row_bias(o, bias);
}

static inline void row_iq1_m(const void *restrict block, struct row_k *restrict o, int bias) {
    const struct block_iq1_m *b = block;
    uint16_t w[4];
    memcpy(w, b->scales, sizeof w);
    o->d = 0.125f * row_half((uint16_t)(w[0] >> 12 | (w[1] >> 12) << 4 | (w[2] >> 12) << 8 |
                                        (w[3] >> 12) << 12));
    for (int l = 0; l < 32; l++) {
        const int h = b->qh[l / 2] >> 4 * (l % 2) & 15;
        row_grid1(o->q + 8 * l, b->qs[l] | (h & 7) << 8, h >> 3);
        o->sc[l / 2] = (int16_t)(2 * (w[l / 8] >> 3 * (l / 2 % 4) & 7) + 1);
    }
    row_bias(o, bias);
}

/* ---- ternary: one scale for all ---- */

static inline void row_ones(struct row_k *o, uint16_t d) {
    o->d = row_half(d);
    for (int j = 0; j < 16; j++)
        o->sc[j] = 1;
}

static inline void row_tq2_0(const void *restrict block, struct row_k *restrict o, int bias) {
    const struct block_tq2_0 *b = block;
    row_ones(o, b->d);
    for (int h = 0; h < 2; h++) {
        const u8x32 v = row_load32(b->qs + 32 * h);
        for (int m = 0; m < 4; m++)
            row_put32(o->q + 128 * h + 32 * m, (v >> 2 * m & 3) + (uint8_t)(bias - 1));
    }
    row_mins(o, bias);
}

/* Trit k of a byte is the integer part of 3 * (byte * 3^k mod 256) / 256. */
static inline void row_trits(int8_t *q, const uint8_t *p, int n, int n_trit) {
    static const uint8_t pow3[5] = {1, 3, 9, 27, 81};
    for (int k = 0; k < n_trit; k++)
        for (int l = 0; l < n; l++)
            q[n * k + l] = (int8_t)(((uint8_t)(p[l] * pow3[k]) * 3 >> 8) - 1);
}

static inline void row_tq1_0(const void *restrict block, struct row_k *restrict o, int bias) {
    const struct block_tq1_0 *b = block;
    row_ones(o, b->d);
    row_trits(o->q, b->qs, 32, 5);
    row_trits(o->q + 160, b->qs + 32, 16, 5);
    row_trits(o->q + 240, b->qh, 4, 4);
    row_bias(o, bias);
}

/* Largest magnitude of q by type: 127 for the code book, else at most 63. */
static inline row_k_fn *row_k_of(enum qtype t) {
    static row_k_fn *const fn[QT_COUNT] = {
        [QT_Q2_K] = row_q2_k,       [QT_Q3_K] = row_q3_k,     [QT_Q4_K] = row_q4_k,
        [QT_Q5_K] = row_q5_k,       [QT_Q6_K] = row_q6_k,     [QT_IQ4_XS] = row_iq4_xs,
        [QT_IQ2_XXS] = row_iq2_xxs, [QT_IQ2_XS] = row_iq2_xs, [QT_IQ2_S] = row_iq2_s,
        [QT_IQ3_XXS] = row_iq3_xxs, [QT_IQ3_S] = row_iq3_s,   [QT_IQ1_S] = row_iq1_s,
        [QT_IQ1_M] = row_iq1_m,     [QT_TQ1_0] = row_tq1_0,   [QT_TQ2_0] = row_tq2_0,
    };
    return fn[t];
}

/* ---- 32-block types: 256 values to a row_q ---- */

typedef void row_q_fn(const void *restrict blocks, struct row_q *restrict o);

/* A field of eight blocks.  Vectors are made in registers: wide loads of what was just stored in
 * narrow pieces would wait for the stores (a third of avx2's time for Q8_0 at one column). */
#define ROW_EACH(b, field)                                                                         \
    {                                                                                              \
        (b)[0].field, (b)[1].field, (b)[2].field, (b)[3].field, (b)[4].field, (b)[5].field,        \
            (b)[6].field, (b)[7].field                                                             \
    }

static inline void row_put_halves(float d[8], u16x8 h) {
#if defined(__F16C__)
    _mm256_storeu_ps(d, _mm256_cvtph_ps((__m128i)h));
#else
    for (int j = 0; j < 8; j++)
        d[j] = row_half(h[j]);
#endif
}

static inline void row_q8_0(const void *restrict blocks, struct row_q *restrict o) {
    const struct block_q8_0 *b = blocks;
    row_put_halves(o->d, (u16x8)ROW_EACH(b, d));
    for (int j = 0; j < 8; j++)
        memcpy(o->q + 32 * j, b[j].qs, 32);
}

/* Nibbles, low ones first, less offset. */
static inline void row_nibbles(int8_t *q, const uint8_t qs[16], int offset) {
    const u8x16 v = row_load16(qs);
    row_put_two(q, (v & 15) - (uint8_t)offset, (v >> 4) - (uint8_t)offset);
}

static inline void row_q4_0(const void *restrict blocks, struct row_q *restrict o) {
    const struct block_q4_0 *b = blocks;
    row_put_halves(o->d, (u16x8)ROW_EACH(b, d));
    for (int j = 0; j < 8; j++)
        row_nibbles(o->q + 32 * j, b[j].qs, 8);
}

static inline void row_q4_1(const void *restrict blocks, struct row_q *restrict o) {
    const struct block_q4_1 *b = blocks;
    row_put_halves(o->d, (u16x8)ROW_EACH(b, d));
    row_put_halves(o->m, (u16x8)ROW_EACH(b, m));
    for (int j = 0; j < 8; j++)
        row_nibbles(o->q + 32 * j, b[j].qs, 0);
}

/* 16 where a bit of the two bytes is set: values in order. */
static inline u8x16 row_bits16(const uint8_t p[2]) {
    const u8x16 bit = {1, 2, 4, 8, 16, 32, 64, 128, 1, 2, 4, 8, 16, 32, 64, 128};
    const u8x16 two = {p[0], p[1]};
    const u8x16 v =
        __builtin_shufflevector(two, two, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1);
    return (u8x16)((v & bit) != 0) & 16;
}

/* Nibbles with a fifth bit on top, less offset. */
static inline void row_fifth(int8_t *q, const uint8_t qh[4], const uint8_t qs[16], int offset) {
    const u8x16 v = row_load16(qs);
    row_put_two(q, ((v & 15) | row_bits16(qh)) - (uint8_t)offset,
                (v >> 4 | row_bits16(qh + 2)) - (uint8_t)offset);
}

static inline void row_q5_0(const void *restrict blocks, struct row_q *restrict o) {
    const struct block_q5_0 *b = blocks;
    row_put_halves(o->d, (u16x8)ROW_EACH(b, d));
    for (int j = 0; j < 8; j++)
        row_fifth(o->q + 32 * j, b[j].qh, b[j].qs, 16);
}

static inline void row_q5_1(const void *restrict blocks, struct row_q *restrict o) {
    const struct block_q5_1 *b = blocks;
    row_put_halves(o->d, (u16x8)ROW_EACH(b, d));
    row_put_halves(o->m, (u16x8)ROW_EACH(b, m));
    for (int j = 0; j < 8; j++)
        row_fifth(o->q + 32 * j, b[j].qh, b[j].qs, 0);
}

static inline void row_iq4_nl(const void *restrict blocks, struct row_q *restrict o) {
    const struct block_iq4_nl *b = blocks;
    row_put_halves(o->d, (u16x8)ROW_EACH(b, d));
    for (int j = 0; j < 8; j++)
        row_book(o->q + 32 * j, b[j].qs, kvalues_iq4nl);
}

static inline void row_mxfp4(const void *restrict blocks, struct row_q *restrict o) {
    const struct block_mxfp4 *b = blocks;
    const u32x8 e = ROW_EACH(b, e), tiny = (u32x8)(e < 2);
    const u32x8 d = (tiny & 0x00200000u << (e & 1)) | (~tiny & (e - 1) << 23);
    memcpy(o->d, &d, sizeof d); /* half the E8M0 scale, for doubled values */
    for (int j = 0; j < 8; j++)
        row_book(o->q + 32 * j, b[j].qs, kvalues_e2m1x2);
}

static inline void row_q1_0(const void *restrict blocks, struct row_q *restrict o) {
    const struct block_q1_0 *b = blocks;
    for (int j = 0; j < 8; j++)
        o->d[j] = row_half(b[j / 4].d);
    for (int i = 0; i < 256; i += 16) /* 0 or 16 to -1 or 1 */
        row_put16(o->q + i, (row_bits16(b[i / 128].qs + i % 128 / 8) >> 3) - 1);
}

static inline void row_q2_0(const void *restrict blocks, struct row_q *restrict o) {
    const struct block_q2_0 *b = blocks;
    for (int j = 0; j < 8; j++)
        o->d[j] = row_half(b[j / 2].d);
    for (int i = 0; i < 256; i++)
        o->q[i] = (int8_t)((b[i / 64].qs[i % 64 / 4] >> 2 * (i % 4) & 3) - 1);
}

static inline row_q_fn *row_q_of(enum qtype t) {
    static row_q_fn *const fn[QT_COUNT] = {
        [QT_Q4_0] = row_q4_0,   [QT_Q4_1] = row_q4_1, [QT_Q5_0] = row_q5_0,
        [QT_Q5_1] = row_q5_1,   [QT_Q8_0] = row_q8_0, [QT_IQ4_NL] = row_iq4_nl,
        [QT_MXFP4] = row_mxfp4, [QT_Q1_0] = row_q1_0, [QT_Q2_0] = row_q2_0,
    };
    return fn[t];
}
