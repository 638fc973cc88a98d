/* What the kernels with many columns share.  Eight rows lie in the lanes of a register, four values
 * a step,
 *
 *     w[t][r][i] = value 4t + i of row r
 *
 * and meet the broadcast of four activations: 16 rows x 3 columns a tile.  So what a sub-block
 * costs beyond its products (scales, mins, float) is paid once for eight rows, and lanes are never
 * added up.  Rows are unpacked by cpu/row.h, then transposed in units of four bytes. */
#pragma once

#include "cpu/avx2/dot.h"

enum { LANES = 8, TILES = 2, COLS = 3 };

/* Units of four bytes: unit k of eight rows to v[k]. */
INLINE void transpose8(const void *rows, size_t stride, __m256i v[8]) {
    __m256i a[8], b[8];
    UNROLL for (size_t i = 0; i < 8; i++) a[i] = load32((const uint8_t *)rows + i * stride);
    UNROLL for (int i = 0; i < 4; i++) {
        b[2 * i] = _mm256_unpacklo_epi32(a[2 * i], a[2 * i + 1]);
        b[2 * i + 1] = _mm256_unpackhi_epi32(a[2 * i], a[2 * i + 1]);
    }
    UNROLL for (int i = 0; i < 2; i++) {
        UNROLL for (int k = 0; k < 2; k++) {
            a[4 * i + 2 * k] = _mm256_unpacklo_epi64(b[4 * i + k], b[4 * i + k + 2]);
            a[4 * i + 2 * k + 1] = _mm256_unpackhi_epi64(b[4 * i + k], b[4 * i + k + 2]);
        }
    }
    UNROLL for (int i = 0; i < 4; i++) {
        v[i] = _mm256_permute2x128_si256(a[i], a[i + 4], 0x20);
        v[i + 4] = _mm256_permute2x128_si256(a[i], a[i + 4], 0x31);
    }
}

INLINE void put32(void *p, __m256i v) {
    _mm256_store_si256((__m256i *)p, v);
}

INLINE __m256i broadcast4(const void *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

/* The even and the odd bytes, as 16 bits. */
INLINE __m256i even16(__m256i v) {
    return _mm256_srai_epi16(_mm256_slli_epi16(v, 8), 8);
}

INLINE __m256i odd16(__m256i v) {
    return _mm256_srai_epi16(v, 8);
}

/* A column's block, as wide weights want it: values 4t, 4t + 2 and 4t + 1, 4t + 3. */
struct wide {
    _Alignas(32) int16_t even[64][2], odd[64][2];
};

/* Both encodings begin with q. */
_Static_assert(offsetof(struct act_q8, q) == 0 && offsetof(struct act_q8_k, q) == 0, "widen");

INLINE void widen(const uint8_t *x, size_t x_step, int n_block, struct wide *to) {
    for (int b = 0; b < n_block; b++, x += x_step, to++) {
        UNROLL for (int i = 0; i < 8; i++) {
            const __m256i v = load32(x + 32 * i);
            put32(to->even[8 * i], even16(v));
            put32(to->odd[8 * i], odd16(v));
        }
    }
}

/* acc + a, kept as a chain: else gcc makes a tree of the additions and keeps its leaves in memory.
 */
INLINE __m256i chain16(__m256i acc, __m256i a) {
    acc = _mm256_add_epi16(acc, a);
    __asm__("" : "+x"(acc));
    return acc;
}

INLINE __m256i chain32(__m256i acc, __m256i a) {
    acc = _mm256_add_epi32(acc, a);
    __asm__("" : "+x"(acc));
    return acc;
}

/* acc + w . x, four unsigned by signed bytes a lane, without saturation.  Not the intrinsic: the
 * folder is compiled for plain AVX2. */
INLINE __m256i dpbusd(__m256i acc, __m256i w, __m256i x) {
    __asm__("%{vex%} vpdpbusd %2, %1, %0" : "+x"(acc) : "x"(w), "x"(x));
    return acc;
}

/* The columns of a call in even groups of at most COLS. */
struct part {
    int lo, n;
    const uint8_t *x[COLS];
};

INLINE int n_part(const struct mat_call *c) {
    return (c->n + COLS - 1) / COLS;
}

INLINE struct part part_of(const struct mat_call *c, int i, int b0, enum act_enc enc) {
    const int n = n_part(c);
    struct part p = {.lo = c->n * i / n};
    p.n = c->n * (i + 1) / n - p.lo;
    for (int k = 0; k < p.n; k++)
        p.x[k] = c->x + (size_t)b0 * c->x_step +
                 (size_t)(c->index ? c->index[p.lo + k] : p.lo + k) * act_bytes(enc);
    return p;
}
