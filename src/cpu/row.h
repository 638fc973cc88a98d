/* Blocks of 256 weights of one row as small integers, and the loops over them: the scheme of the
 * machines with narrow registers (avx2, neon), and of the rarer formats everywhere.
 *
 *   file row -> struct row_k or row_q in L1/L2 scratch -> dots whose lanes run along the row
 *
 * Plain C that each instruction set's folder compiles with its own flags (the loops vectorize). */
#pragma once

#include <assert.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/f16.h"
#include "cpu/act.h"
#include "cpu/kern_mat.h"
#include "quant/blocks.h"
#include "quant/grids.h"
#include "quant/kscale.h"

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

/* Where sum j of 16 stands in act_q8_k.sum16. */
static inline int row_swap(int j) {
    return (j & ~3) | (j & 1) << 1 | (j >> 1 & 1);
}

/* Every byte of q plus bias, and the mins that take it off again. */
static inline void row_bias(struct row_k *o, int bias) {
    o->dmin = o->d;
    for (int i = 0; bias && i < 256; i++)
        o->q[i] = (int8_t)(o->q[i] + bias);
    for (int j = 0; j < 16; j++)
        o->m[row_swap(j)] = (int16_t)(bias * o->sc[j]);
}

/* ---- K types: one block to a row_k.  `bias` as above; ignored by the types with mins ---- */

typedef void row_k_fn(const void *block, struct row_k *o, int bias);

static inline void row_k4_header(uint16_t d, uint16_t dmin, const uint8_t packed[12],
                                 struct row_k *o) {
    uint8_t sc[8], m[8];
    k4_scales_get(packed, sc, m);
    for (int j = 0; j < 16; j++) {
        o->sc[j] = sc[j / 2];
        o->m[row_swap(j)] = m[j / 2];
    }
    o->d = f16_to_f32(d);
    o->dmin = f16_to_f32(dmin);
}

static inline void row_q4_k(const void *block, struct row_k *o, int bias) {
    const struct block_q4_k *b = block;
    (void)bias;
    row_k4_header(b->d, b->dmin, b->scales, o);
    for (int h = 0; h < 4; h++)
        for (int l = 0; l < 32; l++) {
            o->q[64 * h + l] = b->qs[32 * h + l] & 15;
            o->q[64 * h + 32 + l] = (int8_t)(b->qs[32 * h + l] >> 4);
        }
}

static inline void row_q5_k(const void *block, struct row_k *o, int bias) {
    const struct block_q5_k *b = block;
    (void)bias;
    row_k4_header(b->d, b->dmin, b->scales, o);
    for (int h = 0; h < 4; h++)
        for (int l = 0; l < 32; l++) {
            const int lo = b->qh[l] >> 2 * h & 1, hi = b->qh[l] >> (2 * h + 1) & 1;
            o->q[64 * h + l] = (int8_t)((b->qs[32 * h + l] & 15) | lo << 4);
            o->q[64 * h + 32 + l] = (int8_t)(b->qs[32 * h + l] >> 4 | hi << 4);
        }
}

static inline void row_q2_k(const void *block, struct row_k *o, int bias) {
    const struct block_q2_k *b = block;
    (void)bias;
    for (int j = 0; j < 16; j++) {
        o->sc[j] = b->scales[j] & 15;
        o->m[row_swap(j)] = b->scales[j] >> 4;
    }
    o->d = f16_to_f32(b->d);
    o->dmin = f16_to_f32(b->dmin);
    for (int h = 0; h < 2; h++)
        for (int m = 0; m < 4; m++)
            for (int l = 0; l < 32; l++)
                o->q[128 * h + 32 * m + l] = b->qs[32 * h + l] >> 2 * m & 3;
}

static inline void row_q3_k(const void *block, struct row_k *o, int bias) {
    const struct block_q3_k *b = block;
    int8_t sc[16];
    k3_scales_get(b->scales, sc);
    for (int j = 0; j < 16; j++)
        o->sc[j] = sc[j];
    o->d = f16_to_f32(b->d);
    for (int h = 0; h < 2; h++)
        for (int m = 0; m < 4; m++)
            for (int l = 0; l < 32; l++) {
                const int low = b->qs[32 * h + l] >> 2 * m & 3;
                const int top = b->hmask[l] >> (4 * h + m) & 1;
                o->q[128 * h + 32 * m + l] = (int8_t)((low | top << 2) - 4);
            }
    row_bias(o, bias);
}

static inline void row_q6_k(const void *block, struct row_k *o, int bias) {
    const struct block_q6_k *b = block;
    for (int j = 0; j < 16; j++)
        o->sc[j] = b->scales[j];
    o->d = f16_to_f32(b->d);
    for (int h = 0; h < 2; h++)
        for (int p = 0; p < 2; p++)
            for (int l = 0; l < 32; l++) {
                const int ql = b->ql[64 * h + 32 * p + l], qh = b->qh[32 * h + l];
                o->q[128 * h + 32 * p + l] = (int8_t)((ql & 15) + ((qh >> 2 * p & 3) << 4) - 32);
                o->q[128 * h + 64 + 32 * p + l] =
                    (int8_t)((ql >> 4) + ((qh >> (2 * p + 4) & 3) << 4) - 32);
            }
    row_bias(o, bias);
}

static inline void row_iq4_xs(const void *block, struct row_k *o, int bias) {
    const struct block_iq4_xs *b = block;
    o->d = f16_to_f32(b->d);
    for (int j = 0; j < 8; j++) {
        const int low = b->scales_l[j / 2] >> 4 * (j % 2) & 15;
        o->sc[2 * j] = o->sc[2 * j + 1] = (int16_t)((low | (b->scales_h >> 2 * j & 3) << 4) - 32);
        for (int l = 0; l < 16; l++) {
            o->q[32 * j + l] = kvalues_iq4nl[b->qs[16 * j + l] & 15];
            o->q[32 * j + 16 + l] = kvalues_iq4nl[b->qs[16 * j + l] >> 4];
        }
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

static inline void row_iq2_xxs(const void *block, struct row_k *o, int bias) {
    const struct block_iq2_xxs *b = block;
    o->d = f16_to_f32(b->d) * 0.125f;
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

static inline void row_iq2_xs(const void *block, struct row_k *o, int bias) {
    const struct block_iq2_xs *b = block;
    o->d = f16_to_f32(b->d) * 0.125f;
    row_scales4(b->scales, o);
    for (int l = 0; l < 32; l++)
        row_grid8(o->q + 8 * l, grid_iq2_xs[b->qs[l] & 511], grid_signs(b->qs[l] >> 9));
    row_bias(o, bias);
}

static inline void row_iq2_s(const void *block, struct row_k *o, int bias) {
    const struct block_iq2_s *b = block;
    o->d = f16_to_f32(b->d) * 0.125f;
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

static inline void row_iq3_xxs(const void *block, struct row_k *o, int bias) {
    const struct block_iq3_xxs *b = block;
    o->d = f16_to_f32(b->d) * 0.25f;
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

static inline void row_iq3_s(const void *block, struct row_k *o, int bias) {
    const struct block_iq3_s *b = block;
    o->d = f16_to_f32(b->d);
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
    const int8_t *g = (const int8_t *)&grid_iq1[index];
    for (int i = 0; i < 8; i++)
        q[i] = (int8_t)(8 * g[i] + (negative ? -1 : 1));
}

static inline void row_iq1_s(const void *block, struct row_k *o, int bias) {
    const struct block_iq1_s *b = block;
    o->d = f16_to_f32(b->d) * 0.125f;
    for (int l = 0; l < 32; l++) {
        const int h = b->qh[l / 4];
        row_grid1(o->q + 8 * l, b->qs[l] | (h >> 3 * (l % 4) & 7) << 8, h >> 15);
        o->sc[l / 2] = (int16_t)(2 * (h >> 12 & 7) + 1);
    }
    row_bias(o, bias);
}

static inline void row_iq1_m(const void *block, struct row_k *o, int bias) {
    const struct block_iq1_m *b = block;
    uint16_t w[4];
    memcpy(w, b->scales, sizeof w);
    o->d = 0.125f * f16_to_f32((uint16_t)(w[0] >> 12 | (w[1] >> 12) << 4 | (w[2] >> 12) << 8 |
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
    o->d = f16_to_f32(d);
    for (int j = 0; j < 16; j++)
        o->sc[j] = 1;
}

static inline void row_tq2_0(const void *block, struct row_k *o, int bias) {
    const struct block_tq2_0 *b = block;
    row_ones(o, b->d);
    for (int h = 0; h < 2; h++)
        for (int m = 0; m < 4; m++)
            for (int l = 0; l < 32; l++)
                o->q[128 * h + 32 * m + l] = (int8_t)((b->qs[32 * h + l] >> 2 * m & 3) - 1);
    row_bias(o, bias);
}

/* Trit k of a byte is the integer part of 3 * (byte * 3^k mod 256) / 256. */
static inline void row_trits(int8_t *q, const uint8_t *p, int n, int n_trit) {
    static const uint8_t pow3[5] = {1, 3, 9, 27, 81};
    for (int k = 0; k < n_trit; k++)
        for (int l = 0; l < n; l++)
            q[n * k + l] = (int8_t)(((uint8_t)(p[l] * pow3[k]) * 3 >> 8) - 1);
}

static inline void row_tq1_0(const void *block, struct row_k *o, int bias) {
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

typedef void row_q_fn(const void *blocks, struct row_q *o);

static inline void row_q8_0(const void *blocks, struct row_q *o) {
    const struct block_q8_0 *b = blocks;
    for (int j = 0; j < 8; j++) {
        o->d[j] = f16_to_f32(b[j].d);
        memcpy(o->q + 32 * j, b[j].qs, 32);
    }
}

static inline void row_q4_0(const void *blocks, struct row_q *o) {
    const struct block_q4_0 *b = blocks;
    for (int j = 0; j < 8; j++) {
        o->d[j] = f16_to_f32(b[j].d);
        for (int l = 0; l < 16; l++) {
            o->q[32 * j + l] = (int8_t)((b[j].qs[l] & 15) - 8);
            o->q[32 * j + 16 + l] = (int8_t)((b[j].qs[l] >> 4) - 8);
        }
    }
}

static inline void row_q4_1(const void *blocks, struct row_q *o) {
    const struct block_q4_1 *b = blocks;
    for (int j = 0; j < 8; j++) {
        o->d[j] = f16_to_f32(b[j].d);
        o->m[j] = f16_to_f32(b[j].m);
        for (int l = 0; l < 16; l++) {
            o->q[32 * j + l] = (int8_t)(b[j].qs[l] & 15);
            o->q[32 * j + 16 + l] = (int8_t)(b[j].qs[l] >> 4);
        }
    }
}

/* Bits i of a 32-bit word as bit 4 of value i, added to the nibbles. */
static inline void row_fifth(int8_t *q, const uint8_t qh[4], const uint8_t qs[16], int offset) {
    uint32_t w;
    memcpy(&w, qh, sizeof w);
    for (int l = 0; l < 16; l++) {
        q[l] = (int8_t)((qs[l] & 15) + (int)((w >> l & 1) << 4) - offset);
        q[l + 16] = (int8_t)((qs[l] >> 4) + (int)((w >> (l + 16) & 1) << 4) - offset);
    }
}

static inline void row_q5_0(const void *blocks, struct row_q *o) {
    const struct block_q5_0 *b = blocks;
    for (int j = 0; j < 8; j++) {
        o->d[j] = f16_to_f32(b[j].d);
        row_fifth(o->q + 32 * j, b[j].qh, b[j].qs, 16);
    }
}

static inline void row_q5_1(const void *blocks, struct row_q *o) {
    const struct block_q5_1 *b = blocks;
    for (int j = 0; j < 8; j++) {
        o->d[j] = f16_to_f32(b[j].d);
        o->m[j] = f16_to_f32(b[j].m);
        row_fifth(o->q + 32 * j, b[j].qh, b[j].qs, 0);
    }
}

static inline void row_book(int8_t *q, const uint8_t qs[16], const int8_t book[16]) {
    for (int l = 0; l < 16; l++) {
        q[l] = book[qs[l] & 15];
        q[l + 16] = book[qs[l] >> 4];
    }
}

static inline void row_iq4_nl(const void *blocks, struct row_q *o) {
    const struct block_iq4_nl *b = blocks;
    for (int j = 0; j < 8; j++) {
        o->d[j] = f16_to_f32(b[j].d);
        row_book(o->q + 32 * j, b[j].qs, kvalues_iq4nl);
    }
}

static inline void row_mxfp4(const void *blocks, struct row_q *o) {
    const struct block_mxfp4 *b = blocks;
    for (int j = 0; j < 8; j++) { /* half the E8M0 scale, for doubled values */
        const uint32_t e = b[j].e;
        o->d[j] = f32_from_bits(e < 2 ? 0x00200000u << e : (e - 1) << 23);
        row_book(o->q + 32 * j, b[j].qs, kvalues_e2m1x2);
    }
}

static inline void row_q1_0(const void *blocks, struct row_q *o) {
    const struct block_q1_0 *b = blocks;
    for (int j = 0; j < 8; j++)
        o->d[j] = f16_to_f32(b[j / 4].d);
    for (int i = 0; i < 256; i++)
        o->q[i] = (int8_t)(2 * (b[i / 128].qs[i % 128 / 8] >> i % 8 & 1) - 1);
}

static inline void row_q2_0(const void *blocks, struct row_q *o) {
    const struct block_q2_0 *b = blocks;
    for (int j = 0; j < 8; j++)
        o->d[j] = f16_to_f32(b[j / 2].d);
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
