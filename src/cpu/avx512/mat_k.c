/* Formats with integer scales within blocks of 256: the K types and IQ4_XS.
 *
 *   x = d * sum_j sc[j] * dot_j - dmin * sum_j m[j] * sum_j(x)
 *
 * Dots and mins are exact integers (worst case 33e6, Q6_K as stored here: within int32).  Dots
 * times scales are added as floats in ascending j: exact up to 2^24, and the same operations at
 * every width.  As integers they would always be exact, but vpmulld takes two of the multiplier's
 * slots on Intel: Q4_K 409 -> 442 Gop/s, Q6_K 358 -> 412 (one core, Sapphire Rapids, peak 747); on
 * a Zen 5 both ways measured alike.
 *
 * Tile 32 rows x 6 columns: 12 dots and 12 sums in registers, 2 weights, 1 broadcast (32x5, 48x4
 * within a point; sums in memory 5 points less).  At 512 columns 60..64 % of a Sapphire Rapids'
 * int8 peak, see bench/NOTES.md. */
#include <stdbool.h>

#include "base/f16.h"
#include "cpu/avx512/tile.h"
#include "quant/blocks.h"

/* ---- the tile kernel ---- */

/* What a family of formats needs; constants after inlining. */
struct k_form {
    int n_sub;  /* sub-blocks with a scale: 8 of 32 or 16 of 16; 1: weights are stored scaled */
    int n_min;  /* mins: 8 or 16; 0: none */
    int biased; /* weights are stored + 128 (n_sub 1: + 127): dots begin at minus that times the sum
                 */
};

INLINE __m512i start_of(const struct act_q8_k *x, struct k_form f, int j) {
    if (!f.biased) return zero();
    return _mm512_set1_epi32(f.n_sub == 1   ? -127 * x->total
                             : f.n_sub == 8 ? x->start32[j]
                                            : x->start16[j]);
}

/* acc = acc + x.d * (sum * d - min * dmin), one tile's 16 rows and one column. */
INLINE void add_block(const struct tile_k *t, const struct act_q8_k *x, __m512 sum, int n_min,
                      float *acc) {
    __m512 v = _mm512_mul_ps(sum, _mm512_load_ps(t->d));
    if (n_min) {
        const int16_t *s = n_min == 8 ? x->sum32 : x->sum16;
        __m512i min = zero();
        UNROLL for (int p = 0; p < n_min / 2; p++) min =
            dpwssd(min, _mm512_load_si512(t->m[p]), set4(s + 2 * p));
        v = _mm512_fnmadd_ps(_mm512_cvtepi32_ps(min), _mm512_load_ps(t->dmin), v);
    }
    _mm512_store_ps(acc, _mm512_fmadd_ps(v, _mm512_set1_ps(x->d), _mm512_load_ps(acc)));
}

/* R tiles, C columns.  The arrays have literal sizes: with R and C they would be variable-length
 * and live in memory. */
INLINE void mul_rc(const struct tile_k *t, const uint8_t *const *xp, float *acc, int R, int C,
                   struct k_form f) {
    const struct act_q8_k *x[6];
    __m512 sum[2][6];
    UNROLL for (int c = 0; c < C; c++) {
        x[c] = (const struct act_q8_k *)(const void *)xp[c];
        UNROLL for (int r = 0; r < R; r++) sum[r][c] = _mm512_setzero_ps();
    }
    const int n_step = 64 / f.n_sub, unroll = n_step < 8 ? n_step : 8;
    for (int j = 0; j < f.n_sub; j++) {
        __m512i dot[2][6];
        UNROLL for (int c = 0; c < C; c++) {
            UNROLL for (int r = 0; r < R; r++) dot[r][c] = start_of(x[c], f, j);
        }
        for (int at = j * n_step; at < (j + 1) * n_step; at += unroll) {
            UNROLL for (int s = at; s < at + unroll; s++) {
                const __m512i w0 = _mm512_load_si512(t[0].w[s]);
                const __m512i w1 = R > 1 ? _mm512_load_si512(t[1].w[s]) : w0;
                UNROLL for (int c = 0; c < C; c++) {
                    const __m512i b = set4(x[c]->q + 4 * s);
                    dot[0][c] = dpbusd(dot[0][c], w0, b);
                    if (R > 1) dot[1][c] = dpbusd(dot[1][c], w1, b);
                }
            }
        }
        UNROLL for (int r = 0; r < R; r++) {
            const __m512 sc = f.n_sub == 1 ? _mm512_setzero_ps() : _mm512_load_ps(t[r].sc[j]);
            UNROLL for (int c = 0; c < C; c++) {
                const __m512 v = _mm512_cvtepi32_ps(dot[r][c]);
                sum[r][c] = f.n_sub == 1 ? v : _mm512_fmadd_ps(v, sc, sum[r][c]);
            }
        }
    }
    UNROLL for (int c = 0; c < C; c++) {
        UNROLL for (int r = 0; r < R; r++)
            add_block(&t[r], x[c], sum[r][c], f.n_min, acc + c * MAT_ROWS + 16 * r);
    }
}

INLINE void mul_form(const void *tile, int n_group, const uint8_t *const *x, int n, float *acc,
                     struct k_form f) {
    const struct tile_k *t = tile;
    switch (n_group * 8 + n) {
    case 8 + 1: mul_rc(t, x, acc, 1, 1, f); break;
    case 8 + 2: mul_rc(t, x, acc, 1, 2, f); break;
    case 8 + 3: mul_rc(t, x, acc, 1, 3, f); break;
    case 8 + 4: mul_rc(t, x, acc, 1, 4, f); break;
    case 8 + 5: mul_rc(t, x, acc, 1, 5, f); break;
    case 8 + 6: mul_rc(t, x, acc, 1, 6, f); break;
    case 16 + 1: mul_rc(t, x, acc, 2, 1, f); break;
    case 16 + 2: mul_rc(t, x, acc, 2, 2, f); break;
    case 16 + 3: mul_rc(t, x, acc, 2, 3, f); break;
    case 16 + 4: mul_rc(t, x, acc, 2, 4, f); break;
    case 16 + 5: mul_rc(t, x, acc, 2, 5, f); break;
    case 16 + 6: mul_rc(t, x, acc, 2, 6, f); break;
    }
}

static void mul_8_mins(const void *t, int n_group, const uint8_t *const *x, int n, float *acc) {
    mul_form(t, n_group, x, n, acc, (struct k_form){.n_sub = 8, .n_min = 8});
}

static void mul_8_biased(const void *t, int n_group, const uint8_t *const *x, int n, float *acc) {
    mul_form(t, n_group, x, n, acc, (struct k_form){.n_sub = 8, .biased = 1});
}

static void mul_16_mins(const void *t, int n_group, const uint8_t *const *x, int n, float *acc) {
    mul_form(t, n_group, x, n, acc, (struct k_form){.n_sub = 16, .n_min = 16});
}

static void mul_scaled_mins(const void *t, int n_group, const uint8_t *const *x, int n,
                            float *acc) {
    mul_form(t, n_group, x, n, acc, (struct k_form){.n_sub = 1, .n_min = 16});
}

static void mul_scaled_biased(const void *t, int n_group, const uint8_t *const *x, int n,
                              float *acc) {
    mul_form(t, n_group, x, n, acc, (struct k_form){.n_sub = 1, .biased = 1});
}

void tile_k_mul_16(const void *t, int n_group, const uint8_t *const *x, int n, float *acc) {
    mul_form(t, n_group, x, n, acc, (struct k_form){.n_sub = 16, .biased = 1});
}

/* ---- unpacking ---- */

INLINE void put(struct tile_k *t, int step, __m512i w) {
    _mm512_store_si512(t->w[step], w);
}

INLINE void put_scale(struct tile_k *t, int j, __m512i v) {
    _mm512_store_ps(t->sc[j], _mm512_cvtepi32_ps(v));
}

/* Byte i of each lane: unsigned, or signed. */
INLINE __m512i byte_of(__m512i v, int i) {
    return _mm512_and_si512(_mm512_srli_epi32(v, 8 * i), _mm512_set1_epi32(255));
}

INLINE __m512i byte_of_signed(__m512i v, int i) {
    return _mm512_srai_epi32(_mm512_slli_epi32(v, 24 - 8 * i), 24);
}

/* Four bytes a lane to four rows of scales: unsigned, or signed. */
INLINE void put_scales(struct tile_k *t, int j, __m512i v) {
    UNROLL for (int i = 0; i < 4; i++) put_scale(t, j + i, byte_of(v, i));
}

INLINE void put_scales_signed(struct tile_k *t, int j, __m512i v) {
    UNROLL for (int i = 0; i < 4; i++) put_scale(t, j + i, byte_of_signed(v, i));
}

/* Four mins (0 1 2 3) a lane to the pairs (0,2) and (1,3). */
INLINE void put_mins(struct tile_k *t, int pair, __m512i v) {
    const __m512i low = _mm512_set1_epi16(255);
    _mm512_store_si512(t->m[pair], _mm512_and_si512(v, low));
    _mm512_store_si512(t->m[pair + 1], _mm512_srli_epi16(v, 8));
}

INLINE void put_d(struct tile_k *t, __m512i d_dmin) {
    _mm512_store_ps(t->d, half_to_f32(d_dmin));
    _mm512_store_ps(t->dmin, half_to_f32(_mm512_srli_epi32(d_dmin, 16)));
}

/* d and dmin, then the 12 bytes of 6-bit scales and mins (quant/kscale.h), all rows at once. */
INLINE void header_k4(const uint8_t *p, size_t stride, struct tile_k *t) {
    __m512i h[4];
    transpose16(p, stride, h);
    put_d(t, h[0]);
    put_scales(t, 0, and8(h[1], 63));
    put_mins(t, 0, and8(h[2], 63));
    put_scales(t, 4, _mm512_or_si512(and8(h[3], 15), and8(_mm512_srli_epi16(h[1], 2), 0x30)));
    put_mins(t, 2,
             _mm512_or_si512(and8(_mm512_srli_epi16(h[3], 4), 15),
                             and8(_mm512_srli_epi16(h[2], 2), 0x30)));
}

static void unpack_q4_k(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_k *t = tile;
    header_k4(p, stride, t);
    for (int h = 0; h < 4; h++) {
        __m512i v[8];
        transpose32(p + 16 + 32 * h, stride, v);
        UNROLL for (int k = 0; k < 8; k++) {
            put(t, 16 * h + k, and8(v[k], 15));
            put(t, 16 * h + 8 + k, and8(_mm512_srli_epi16(v[k], 4), 15));
        }
        fetch_quarter(f, stride, (size_t)h, sizeof(struct block_q4_k));
    }
}

static void unpack_q5_k(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_k *t = tile;
    __m512i top[8];
    header_k4(p, stride, t);
    transpose32(p + 16, stride, top);
    UNROLL for (int h = 0; h < 4; h++) {
        __m512i v[8];
        transpose32(p + 48 + 32 * h, stride, v);
        UNROLL for (int k = 0; k < 8; k++) {
            const __m512i lo = _mm512_slli_epi16(_mm512_srli_epi16(top[k], 2 * h), 4);
            const __m512i hi = _mm512_slli_epi16(_mm512_srli_epi16(top[k], 2 * h + 1), 4);
            put(t, 16 * h + k, _mm512_or_si512(and8(v[k], 15), and8(lo, 16)));
            put(t, 16 * h + 8 + k,
                _mm512_or_si512(and8(_mm512_srli_epi16(v[k], 4), 15), and8(hi, 16)));
        }
        fetch_quarter(f, stride, (size_t)h, sizeof(struct block_q5_k));
    }
}

/* The four 2-bit fields of `two` moved to bits 6..7, field m. */
INLINE __m512i field6(__m512i two, int m) {
    return and8(_mm512_slli_epi16(two, 6 - 2 * m), 0xc0);
}

/* Stored as 4 q, which 128 = 4 * 32 biases; d takes the quarter. */
static void unpack_q6_k(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_k *t = tile;
    __m512i s[4];
    UNROLL for (int h = 0; h < 2; h++) {
        __m512i two[8], v[8];
        transpose32(p + 128 + 32 * h, stride, two);
        UNROLL for (int part = 0; part < 2; part++) {
            const int at = 32 * h + 8 * part;
            transpose32(p + 64 * h + 32 * part, stride, v);
            UNROLL for (int k = 0; k < 8; k++) {
                const __m512i lo = and8(_mm512_slli_epi16(v[k], 2), 0x3c);
                const __m512i hi = and8(_mm512_srli_epi16(v[k], 2), 0x3c);
                put(t, at + k, _mm512_or_si512(lo, field6(two[k], part)));
                put(t, at + 16 + k, _mm512_or_si512(hi, field6(two[k], part + 2)));
            }
            fetch_quarter(f, stride, (size_t)(2 * h + part), sizeof(struct block_q6_k));
        }
    }
    transpose16(p + 192, stride, s);
    UNROLL for (int i = 0; i < 4; i++) put_scales_signed(t, 4 * i, s[i]);
    transpose16(p + 194, stride, s); /* ends with d: nothing is read beyond the block */
    const __m512 d = half_to_f32(_mm512_srli_epi32(s[3], 16));
    _mm512_store_ps(t->d, _mm512_mul_ps(d, _mm512_set1_ps(0.25f)));
}

/* Byte i of each lane in all its bytes, as a shuffle's order. */
INLINE __m512i spread_byte(int i) {
    return _mm512_broadcast_i32x4(_mm_add_epi8(
        _mm_setr_epi8(0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12), _mm_set1_epi8((char)i)));
}

/* Scaled weights of Q2_K and Q3_K.  Their quants times their scales fit a byte, so a tile holds the
 * products and a block's dot needs no scales at all.  The product comes from a table of 4 bytes for
 * each row, made once a sub-block: in a lane of four rows, byte 4 r + q is sc[r] * q.  `two` has
 * the 2-bit quants in the low bits of each byte. */
INLINE __m512i scaled(__m512i table, __m512i two) {
    const __m512i row = _mm512_set_epi32(0x0c0c0c0c, 0x08080808, 0x04040404, 0, 0x0c0c0c0c,
                                         0x08080808, 0x04040404, 0, 0x0c0c0c0c, 0x08080808,
                                         0x04040404, 0, 0x0c0c0c0c, 0x08080808, 0x04040404, 0);
    enum { AND_OR = 0xea }; /* (a & b) | c */
    return _mm512_shuffle_epi8(table,
                               _mm512_ternarylogic_epi32(two, _mm512_set1_epi8(3), row, AND_OR));
}

/* 0, sc, 2 sc, 3 sc in the bytes of each lane; 0 <= sc <= 15. */
INLINE __m512i multiples(__m512i sc) {
    return _mm512_mullo_epi32(sc, _mm512_set1_epi32(0x03020100));
}

INLINE void unpack_q2(const uint8_t *p, size_t stride, const struct ahead *f, bool scale,
                      struct tile_k *t) {
    __m512i s[4], d[4];
    transpose16(p, stride, s);
    if (!scale) UNROLL for (int i = 0; i < 4; i++) put_scales(t, 4 * i, and8(s[i], 15));
    UNROLL for (int i = 0; i < 4; i++) put_mins(t, 2 * i, and8(_mm512_srli_epi16(s[i], 4), 15));
    transpose16(p + 68, stride, d);
    put_d(t, d[3]);
    UNROLL for (int h = 0; h < 2; h++) {
        __m512i v[8];
        transpose32(p + 16 + 32 * h, stride, v);
        UNROLL for (int m = 0; m < 4; m++) {
            const __m512i sc = and8(s[2 * h + m / 2], 15);
            UNROLL for (int half = 0; half < 2; half++) {
                const __m512i table = multiples(byte_of(sc, m % 2 * 2 + half));
                UNROLL for (int k = 4 * half; k < 4 * half + 4; k++) {
                    const __m512i two = _mm512_srli_epi16(v[k], 2 * m);
                    put(t, 32 * h + 8 * m + k, scale ? scaled(table, two) : and8(two, 3));
                }
            }
        }
        fetch_quarter(f, stride, (size_t)(2 * h), sizeof(struct block_q2_k));
        fetch_quarter(f, stride, (size_t)(2 * h + 1), sizeof(struct block_q2_k));
    }
}

/* The 16 6-bit scales of Q3_K (quant/kscale.h), less 32: four a lane; and d. */
INLINE void header_q3_k(const uint8_t *p, size_t stride, __m512i sc[4], struct tile_k *t) {
    __m512i s[4];
    transpose16(p + 94, stride, s); /* 2 bytes of quants, 12 of scales, d */
    _mm512_store_ps(t->d, half_to_f32(_mm512_srli_epi32(s[3], 16)));
    UNROLL for (int i = 0; i < 3; i++) s[i] =
        _mm512_or_si512(_mm512_srli_epi32(s[i], 16), _mm512_slli_epi32(s[i + 1], 16));
    UNROLL for (int i = 0; i < 4; i++) {
        const __m512i low = and8(i < 2 ? s[i] : _mm512_srli_epi16(s[i - 2], 4), 15);
        const __m512i high = and8(_mm512_slli_epi16(_mm512_srli_epi16(s[2], 2 * i), 4), 0x30);
        sc[i] = _mm512_sub_epi8(_mm512_or_si512(low, high), _mm512_set1_epi8(32));
    }
}

static void unpack_q2_k(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    unpack_q2(p, stride, f, true, tile);
}

static void unpack_q2_k_few(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    unpack_q2(p, stride, f, false, tile);
}

/* Stored as sc (q - 4) + 127, which is 3 to 255: sc is -32 to 31, q 0 to 7 with its bit 2 in hmask.
 * The table is for the two low bits, 127 + sc (q - 4); bit 2 adds 4 sc, modulo 256 like all of it.
 */
static void unpack_q3_k(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_k *t = tile;
    const __m512i bias = _mm512_set1_epi8(127);
    __m512i top[8], sc[4];
    header_q3_k(p, stride, sc, t);
    transpose32(p, stride, top);
    UNROLL for (int h = 0; h < 2; h++) {
        __m512i v[8];
        transpose32(p + 32 + 32 * h, stride, v);
        UNROLL for (int m = 0; m < 4; m++) {
            UNROLL for (int half = 0; half < 2; half++) {
                const __m512i s =
                    _mm512_shuffle_epi8(sc[2 * h + m / 2], spread_byte(m % 2 * 2 + half));
                const __m512i s4 = _mm512_slli_epi16(and8(s, 0x3f), 2);
                const __m512i s2 = _mm512_slli_epi16(and8(s, 0x7f), 1);
                const __m512i table =
                    _mm512_add_epi8(_mm512_sub_epi8(bias, s4),
                                    _mm512_add_epi8(_mm512_maskz_mov_epi8(0xaaaaaaaaaaaaaaaa, s),
                                                    _mm512_maskz_mov_epi8(0xcccccccccccccccc, s2)));
                const __m512i bit = _mm512_set1_epi8((char)(1 << (4 * h + m)));
                UNROLL for (int k = 4 * half; k < 4 * half + 4; k++) {
                    const __m512i w = scaled(table, _mm512_srli_epi16(v[k], 2 * m));
                    put(t, 32 * h + 8 * m + k,
                        _mm512_mask_add_epi8(w, _mm512_test_epi8_mask(top[k], bit), w, s4));
                }
            }
        }
        fetch_quarter(f, stride, (size_t)(2 * h), sizeof(struct block_q3_k));
        fetch_quarter(f, stride, (size_t)(2 * h + 1), sizeof(struct block_q3_k));
    }
}

/* Stored as q - 4 + 128. */
static void unpack_q3_k_few(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_k *t = tile;
    __m512i top[8], sc[4];
    header_q3_k(p, stride, sc, t);
    UNROLL for (int i = 0; i < 4; i++) put_scales_signed(t, 4 * i, sc[i]);
    transpose32(p, stride, top);
    UNROLL for (int h = 0; h < 2; h++) {
        __m512i v[8];
        transpose32(p + 32 + 32 * h, stride, v);
        UNROLL for (int m = 0; m < 4; m++) {
            UNROLL for (int k = 0; k < 8; k++) {
                const __m512i two = and8(_mm512_srli_epi16(v[k], 2 * m), 3);
                const __m512i one =
                    and8(_mm512_slli_epi16(_mm512_srli_epi16(top[k], 4 * h + m), 2), 4);
                put(t, 32 * h + 8 * m + k,
                    _mm512_add_epi8(_mm512_or_si512(two, one), _mm512_set1_epi8(124)));
            }
        }
        fetch_quarter(f, stride, (size_t)(2 * h), sizeof(struct block_q3_k));
        fetch_quarter(f, stride, (size_t)(2 * h + 1), sizeof(struct block_q3_k));
    }
}

static void unpack_iq4_xs(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_k *t = tile;
    const __m512i level = _mm512_broadcast_i32x4(_mm_xor_si128(
        _mm_loadu_si128((const __m128i *)(const void *)kvalues_iq4nl), _mm_set1_epi8(-128)));
    __m512i h[4];
    transpose16(p, stride, h); /* d, scales_h | scales_l | quants */
    _mm512_store_ps(t->d, half_to_f32(h[0]));
    UNROLL for (int j = 0; j < 8; j++) {
        const __m512i low = _mm512_and_si512(_mm512_srli_epi32(h[1], 4 * j), _mm512_set1_epi32(15));
        const __m512i high = _mm512_and_si512(
            _mm512_slli_epi32(_mm512_srli_epi32(h[0], 16 + 2 * j), 4), _mm512_set1_epi32(48));
        put_scale(t, j, _mm512_sub_epi32(_mm512_or_si512(low, high), _mm512_set1_epi32(32)));
    }
    for (int q = 0; q < 4; q++) {
        __m512i v[8];
        transpose32(p + 8 + 32 * q, stride, v); /* two sub-blocks of 16 bytes */
        UNROLL for (int k = 0; k < 8; k++) {
            const int at = 16 * q + 8 * (k / 4) + k % 4;
            put(t, at, _mm512_shuffle_epi8(level, and8(v[k], 15)));
            put(t, at + 4, _mm512_shuffle_epi8(level, and8(_mm512_srli_epi16(v[k], 4), 15)));
        }
        fetch_quarter(f, stride, (size_t)q, sizeof(struct block_iq4_xs));
    }
}

/* ---- the table ---- */

static const struct tile_kind kind[QT_COUNT] = {
    [QT_Q2_K] = {unpack_q2_k, mul_scaled_mins, sizeof(struct tile_k)},
    [QT_Q3_K] = {unpack_q3_k, mul_scaled_biased, sizeof(struct tile_k)},
    [QT_Q4_K] = {unpack_q4_k, mul_8_mins, sizeof(struct tile_k)},
    [QT_Q5_K] = {unpack_q5_k, mul_8_mins, sizeof(struct tile_k)},
    [QT_Q6_K] = {unpack_q6_k, tile_k_mul_16, sizeof(struct tile_k)},
    [QT_IQ4_XS] = {unpack_iq4_xs, mul_8_biased, sizeof(struct tile_k)},
};

/* Few columns do not repay the products of weights and scales.  The bits are the same: sums of
 * products stay under 2^24 (Q2_K 1.5e6, Q3_K 4.2e6), so float adds them exactly. */
static const struct tile_kind kind_few[QT_COUNT] = {
    [QT_Q2_K] = {unpack_q2_k_few, mul_16_mins, sizeof(struct tile_k)},
    [QT_Q3_K] = {unpack_q3_k_few, tile_k_mul_16, sizeof(struct tile_k)},
};

static void mul_k(enum qtype t, const struct mat_call *c) {
    const bool few = c->n <= TILE_COLS && kind_few[t].unpack;
    mul_tiles(t, c, few ? &kind_few[t] : &kind[t], ACT_Q8_K);
}

void kern_mat_avx512_k(struct kern_mat *k) {
    for (int t = 0; t < QT_COUNT; t++)
        if (kind[t].unpack)
            k->of[t] =
                (struct mat_kern){mul_k, ACT_Q8_K, .piece = 16, .isa = "avx512", .wide = MAT_ROWS};
}
