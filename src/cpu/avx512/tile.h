/* What the int8 kernels of this folder share: a *tile* is 16 rows x 256 values, unpacked from the
 * file format into L1 scratch, row by row in the lanes of a register, four values a step:
 *
 *     w[t][r][i] = value 4t + i of row r          one register per step t
 *
 * so that one vpdpbusd per step and column multiplies 16 rows with the broadcast of four
 * activations.  The unpack is a transpose of 4-byte units; the formats are in quant/blocks.h. */
#pragma once

#include <immintrin.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/act.h"
#include "cpu/inline.h"
#include "cpu/kern_mat.h"

/* dot += w (unsigned bytes) . x (signed bytes), four at a time.  Not the intrinsic: GCC 12 puts
 * register copies around it and halves the tile kernels. */
INLINE __m512i dpbusd(__m512i dot, __m512i w, __m512i x) {
    __asm__("vpdpbusd %2, %1, %0" : "+v"(dot) : "v"(w), "v"(x));
    return dot;
}

INLINE __m512i dpwssd(__m512i dot, __m512i a, __m512i b) {
    __asm__("vpdpwssd %2, %1, %0" : "+v"(dot) : "v"(a), "v"(b));
    return dot;
}

/* A zero by the idiom that costs no execution port; a copy of a zero register, the compilers'
 * choice, does on Intel's. */
INLINE __m512i zero(void) {
    __m512i v;
    __asm__("vpxord %0, %0, %0" : "=v"(v));
    return v;
}

INLINE __m512i set4(const void *p) {
    int32_t v;
    __builtin_memcpy(&v, p, sizeof v);
    return _mm512_set1_epi32(v);
}

/* Every byte of v & mask. */
INLINE __m512i and8(__m512i v, int mask) {
    return _mm512_and_si512(v, _mm512_set1_epi8((char)mask));
}

/* Rows a and a + 4 of 32 bytes each in one register. */
INLINE __m512i rows2(const uint8_t *p, size_t stride, size_t a) {
    const __m256i lo = _mm256_loadu_si256((const __m256i *)(const void *)(p + a * stride));
    const __m256i hi = _mm256_loadu_si256((const __m256i *)(const void *)(p + (a + 4) * stride));
    return _mm512_inserti64x4(_mm512_castsi256_si512(lo), hi, 1);
}

/* 4x4 transpose of 32-bit units within each 128-bit lane. */
INLINE void transpose_lanes(const __m512i z[4], __m512i o[4]) {
    const __m512i a = _mm512_unpacklo_epi32(z[0], z[1]), b = _mm512_unpackhi_epi32(z[0], z[1]);
    const __m512i c = _mm512_unpacklo_epi32(z[2], z[3]), d = _mm512_unpackhi_epi32(z[2], z[3]);
    o[0] = _mm512_unpacklo_epi64(a, c);
    o[1] = _mm512_unpackhi_epi64(a, c);
    o[2] = _mm512_unpacklo_epi64(b, d);
    o[3] = _mm512_unpackhi_epi64(b, d);
}

/* o[k] = 4-byte unit k of 32 bytes at p, for 16 rows. */
INLINE void transpose32(const uint8_t *p, size_t stride, __m512i o[8]) {
    __m512i z[4], a[4], b[4];
    UNROLL for (size_t i = 0; i < 4; i++) z[i] = rows2(p, stride, i);
    transpose_lanes(z, a); /* lanes: rows 0-3 of unit k, of unit k + 4, rows 4-7 likewise */
    UNROLL for (size_t i = 0; i < 4; i++) z[i] = rows2(p + 8 * stride, stride, i);
    transpose_lanes(z, b);
    UNROLL for (int k = 0; k < 4; k++) {
        o[k] = _mm512_shuffle_i32x4(a[k], b[k], 0x88);
        o[k + 4] = _mm512_shuffle_i32x4(a[k], b[k], 0xdd);
    }
}

INLINE __m128i load16(const uint8_t *p) {
    return _mm_loadu_si128((const __m128i *)(const void *)p);
}

/* o[k] = 4-byte unit k of 16 bytes at p, for 16 rows. */
INLINE void transpose16(const uint8_t *p, size_t stride, __m512i o[4]) {
    __m512i z[4];
    UNROLL for (size_t i = 0; i < 4; i++) {
        z[i] = _mm512_castsi128_si512(load16(p + i * stride));
        z[i] = _mm512_inserti32x4(z[i], load16(p + (i + 4) * stride), 1);
        z[i] = _mm512_inserti32x4(z[i], load16(p + (i + 8) * stride), 2);
        z[i] = _mm512_inserti32x4(z[i], load16(p + (i + 12) * stride), 3);
    }
    transpose_lanes(z, o);
}

/* Half floats in the low 16 bits of each lane to float. */
INLINE __m512 half_to_f32(__m512i v) {
    return _mm512_cvtph_ps(_mm512_cvtepi32_epi16(v));
}

/* What to fetch while a tile is unpacked: from memory to L2 the piece that comes next, in the order
 * of its bytes, and the bytes FETCH_FAR behind those, as a prefetch that finds all miss buffers
 * taken is lost; from there to L1 the same rows further on.  One core of an Intel Xeon (Sapphire
 * Rapids), GB/s of Q4_K, Q6_K: without the far one 12, 12; with it 14.5, 15; its read loop 15. */
enum { FETCH_FAR = 16 << 10 };
struct ahead {
    const uint8_t *next; /* as many bytes as the tile has */
    const uint8_t *near; /* of row 0 */
};

/* Quarter q (0..3) of the prefetches for a tile of n bytes a row. */
INLINE void fetch_quarter(const struct ahead *f, size_t stride, size_t q, size_t n) {
    const uint8_t *next = f->next + 4 * q * n, *near = f->near + 4 * q * stride;
    UNROLL for (size_t at = 0; at < 4 * n; at += 64) {
        _mm_prefetch((const char *)next + at, _MM_HINT_T1);
        _mm_prefetch((const char *)next + FETCH_FAR + at, _MM_HINT_T1);
    }
    UNROLL for (size_t r = 0; r < 4; r++) {
        UNROLL for (size_t at = 0; at < n; at += 64)
            _mm_prefetch((const char *)near + r * stride + at, _MM_HINT_T0);
    }
}

/* 16 rows at p, `stride` apart, to a tile. */
typedef void unpack_fn(const uint8_t *p, size_t stride, const struct ahead *f, void *tile);

/* acc[c][16 g + r] += tile g . x[c] for n_group tiles (1 or 2, adjacent) and n columns (1..6). */
typedef void tile_fn(const void *tile, int n_group, const uint8_t *const *x, int n, float *acc);

enum { TILE_COLS = 6, TILE_MAX_BYTES = 8704 };

/* How a format is multiplied. */
struct tile_kind {
    unpack_fn *unpack;
    tile_fn *mul;
    int tile_bytes;
};

/* The loops around both: rows in tiles, blocks of 256 ascending, columns in even groups of at most
 * TILE_COLS. */
void mul_tiles(enum qtype t, const struct mat_call *c, const struct tile_kind *k, enum act_enc enc);

/* A tile with integer scales, see mat_k.c. */
struct tile_k {
    uint8_t w[64][64];
    float sc[16][16];    /* sub-block scales, 8 or 16 of them, by row; whole numbers */
    int16_t m[8][16][2]; /* mins in pairs, as the order of act_q8_k's sums wants them */
    float d[16], dmin[16];
};
_Static_assert(sizeof(struct tile_k) <= TILE_MAX_BYTES, "tile scratch");

/* 16 sub-blocks, weights stored + 128, no mins. */
void tile_k_mul_16(const void *tile, int n_group, const uint8_t *const *x, int n, float *acc);

/* The parts of this folder's table. */
void kern_mat_avx512_k(struct kern_mat *k);
void kern_mat_avx512_row(struct kern_mat *k);
void kern_mat_avx512_q(struct kern_mat *k);
void kern_mat_avx512_f(struct kern_mat *k);
void kern_mat_avx512_q16(struct kern_mat *k, const struct cpu_info *cpu);
void kern_mat_avx512_act(struct kern_mat *k);
