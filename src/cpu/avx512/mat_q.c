/* Formats with float scales: blocks of 32 (Q4_0 .. Q8_0, IQ4_NL, MXFP4), and Q1_0 and Q2_0, whose
 * larger blocks repeat theirs.
 *
 *   x = sum_j d[j] * x.d[j] * dot_j  (+ m[j] * x.d[j] * sum_j(x))
 *
 * Three float operations per 32 values and column are unavoidable: 88 % of the int8 peak is the
 * most that the prototype reached (32x6 and 48x4 alike).  Weights are stored as bytes + 128, small
 * ones shifted up so that their own offset becomes 128: Q4_0 as 16 q, Q5_0 as 8 q. */
#include "cpu/avx512/tile.h"
#include "quant/blocks.h"

struct tile_q {
    uint8_t w[64][64];
    float d[8][16]; /* scale of each 32, by row */
    float m[8][16]; /* minimum */
};

_Static_assert(sizeof(struct tile_q) <= TILE_MAX_BYTES, "tile scratch");

/* ---- the tile kernel ---- */

/* R tiles, C columns; literal array sizes as in mat_k.c. */
INLINE void mul_rc(const struct tile_q *t, const uint8_t *const *xp, float *acc, int R, int C,
                   int mins) {
    const struct act_q8 *x[6];
    __m512 sum[2][6];
    UNROLL for (int c = 0; c < C; c++) {
        x[c] = (const struct act_q8 *)(const void *)xp[c];
        UNROLL for (int r = 0; r < R; r++) sum[r][c] = _mm512_load_ps(acc + c * MAT_ROWS + 16 * r);
    }
    for (int j = 0; j < 8; j++) {
        __m512i dot[2][6];
        UNROLL for (int c = 0; c < C; c++) {
            UNROLL for (int r = 0; r < R; r++) dot[r][c] =
                mins ? zero() : _mm512_set1_epi32(x[c]->start[j]);
        }
        UNROLL for (int s = 0; s < 8; s++) {
            const __m512i w0 = _mm512_load_si512(t[0].w[8 * j + s]);
            const __m512i w1 = R > 1 ? _mm512_load_si512(t[1].w[8 * j + s]) : w0;
            UNROLL for (int c = 0; c < C; c++) {
                const __m512i b = set4(x[c]->q + 4 * (8 * j + s));
                dot[0][c] = dpbusd(dot[0][c], w0, b);
                if (R > 1) dot[1][c] = dpbusd(dot[1][c], w1, b);
            }
        }
        UNROLL for (int r = 0; r < R; r++) {
            const __m512 d = _mm512_load_ps(t[r].d[j]), m = _mm512_load_ps(t[r].m[j]);
            UNROLL for (int c = 0; c < C; c++) {
                const __m512 dd = _mm512_mul_ps(d, _mm512_set1_ps(x[c]->d[j]));
                sum[r][c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r][c]), dd, sum[r][c]);
                if (mins) sum[r][c] = _mm512_fmadd_ps(m, _mm512_set1_ps(x[c]->ds[j]), sum[r][c]);
            }
        }
    }
    UNROLL for (int c = 0; c < C; c++) {
        UNROLL for (int r = 0; r < R; r++) _mm512_store_ps(acc + c * MAT_ROWS + 16 * r, sum[r][c]);
    }
}

INLINE void mul_form(const void *tile, int n_group, const uint8_t *const *x, int n, float *acc,
                     int mins) {
    const struct tile_q *t = tile;
    switch (n_group * 8 + n) {
    case 8 + 1: mul_rc(t, x, acc, 1, 1, mins); break;
    case 8 + 2: mul_rc(t, x, acc, 1, 2, mins); break;
    case 8 + 3: mul_rc(t, x, acc, 1, 3, mins); break;
    case 8 + 4: mul_rc(t, x, acc, 1, 4, mins); break;
    case 8 + 5: mul_rc(t, x, acc, 1, 5, mins); break;
    case 8 + 6: mul_rc(t, x, acc, 1, 6, mins); break;
    case 16 + 1: mul_rc(t, x, acc, 2, 1, mins); break;
    case 16 + 2: mul_rc(t, x, acc, 2, 2, mins); break;
    case 16 + 3: mul_rc(t, x, acc, 2, 3, mins); break;
    case 16 + 4: mul_rc(t, x, acc, 2, 4, mins); break;
    case 16 + 5: mul_rc(t, x, acc, 2, 5, mins); break;
    case 16 + 6: mul_rc(t, x, acc, 2, 6, mins); break;
    }
}

static void mul_biased(const void *t, int n_group, const uint8_t *const *x, int n, float *acc) {
    mul_form(t, n_group, x, n, acc, 0);
}

static void mul_mins(const void *t, int n_group, const uint8_t *const *x, int n, float *acc) {
    mul_form(t, n_group, x, n, acc, 1);
}

/* ---- unpacking ---- */

/* The 256 values of 16 rows as 4-byte units by row, headers and all: blocks start at any byte, so
 * units are put together from neighbours afterwards. */
struct units {
    __m512i u[68];
};

INLINE void take_units(const uint8_t *p, size_t stride, int n_byte, struct units *s) {
    int at = 0;
    for (; at + 32 <= n_byte; at += 32)
        transpose32(p + at, stride, s->u + at / 4);
    if (at < n_byte) transpose16(p + n_byte - 16, stride, s->u + n_byte / 4 - 4);
}

/* The four bytes at offset `at` of each row. */
INLINE __m512i unit(const struct units *s, int at) {
    const __m512i v = s->u[at / 4];
    const int shift = at % 4 * 8;
    if (!shift) return v;
    return _mm512_or_si512(_mm512_srli_epi32(v, shift),
                           _mm512_slli_epi32(s->u[at / 4 + 1], 32 - shift));
}

/* The half float at an even offset, times f. */
INLINE void put_half(float *to, const struct units *s, int at, float f) {
    const __m512 d = half_to_f32(_mm512_srli_epi32(s->u[at / 4], at % 4 * 8));
    _mm512_store_ps(to, _mm512_mul_ps(d, _mm512_set1_ps(f)));
}

INLINE void put(struct tile_q *t, int step, __m512i w) {
    _mm512_store_si512(t->w[step], w);
}

INLINE void fetch_all(const struct ahead *f, size_t stride, size_t n) {
    UNROLL for (size_t q = 0; q < 4; q++) fetch_quarter(f, stride, q, n);
}

static void unpack_q8_0(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_q *t = tile;
    struct units s;
    take_units(p, stride, 272, &s);
    fetch_all(f, stride, 272);
    UNROLL for (int j = 0; j < 8; j++) {
        put_half(t->d[j], &s, 34 * j, 1.0f);
        UNROLL for (int i = 0; i < 8; i++) put(
            t, 8 * j + i, _mm512_xor_si512(unit(&s, 34 * j + 2 + 4 * i), _mm512_set1_epi8(-128)));
    }
}

static void unpack_q4_0(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_q *t = tile;
    struct units s;
    take_units(p, stride, 144, &s);
    fetch_all(f, stride, 144);
    UNROLL for (int j = 0; j < 8; j++) {
        put_half(t->d[j], &s, 18 * j, 0.0625f);
        UNROLL for (int i = 0; i < 4; i++) {
            const __m512i v = unit(&s, 18 * j + 2 + 4 * i);
            put(t, 8 * j + i, and8(_mm512_slli_epi16(v, 4), 0xf0));
            put(t, 8 * j + 4 + i, and8(v, 0xf0));
        }
    }
}

static void unpack_q4_1(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_q *t = tile;
    struct units s;
    take_units(p, stride, 160, &s);
    fetch_all(f, stride, 160);
    UNROLL for (int j = 0; j < 8; j++) {
        put_half(t->d[j], &s, 20 * j, 1.0f);
        put_half(t->m[j], &s, 20 * j + 2, 1.0f);
        UNROLL for (int i = 0; i < 4; i++) {
            const __m512i v = unit(&s, 20 * j + 4 + 4 * i);
            put(t, 8 * j + i, and8(v, 15));
            put(t, 8 * j + 4 + i, and8(_mm512_srli_epi16(v, 4), 15));
        }
    }
}

/* Byte k of each lane = the 8 bits of its word from bit `at` + `step` * k on (around the end of
 * the pair of words; the caller masks). */
INLINE __m512i spread(__m512i word, int at, int step) {
    const uint64_t one = 0x0101010101010101u * (uint64_t)(at & 63);
    uint64_t add = 0;
    for (int k = 0; k < 4; k++)
        add |= (uint64_t)(step * k) << 8 * k | (uint64_t)(step * k + 32) << (32 + 8 * k);
    /* Bits 6 and 7 of each shift count are ignored: no carry can leave the low six wrong, as
     * 63 + 55 stays within the byte. */
    return _mm512_multishift_epi64_epi8(_mm512_set1_epi64((int64_t)(one + add)), word);
}

static void unpack_q5_0(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_q *t = tile;
    struct units s;
    take_units(p, stride, 176, &s);
    fetch_all(f, stride, 176);
    UNROLL for (int j = 0; j < 8; j++) {
        const __m512i top = unit(&s, 22 * j + 2);
        put_half(t->d[j], &s, 22 * j, 0.125f);
        UNROLL for (int i = 0; i < 4; i++) {
            const __m512i v = unit(&s, 22 * j + 6 + 4 * i);
            put(t, 8 * j + i,
                _mm512_or_si512(and8(_mm512_slli_epi16(v, 3), 0x78),
                                and8(spread(top, 4 * i - 7, 1), 0x80)));
            put(t, 8 * j + 4 + i,
                _mm512_or_si512(and8(_mm512_srli_epi16(v, 1), 0x78),
                                and8(spread(top, 16 + 4 * i - 7, 1), 0x80)));
        }
    }
}

static void unpack_q5_1(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_q *t = tile;
    struct units s;
    take_units(p, stride, 192, &s);
    fetch_all(f, stride, 192);
    UNROLL for (int j = 0; j < 8; j++) {
        const __m512i top = unit(&s, 24 * j + 4);
        put_half(t->d[j], &s, 24 * j, 1.0f);
        put_half(t->m[j], &s, 24 * j + 2, 1.0f);
        UNROLL for (int i = 0; i < 4; i++) {
            const __m512i v = unit(&s, 24 * j + 8 + 4 * i);
            put(t, 8 * j + i, _mm512_or_si512(and8(v, 15), and8(spread(top, 4 * i - 4, 1), 16)));
            put(t, 8 * j + 4 + i,
                _mm512_or_si512(and8(_mm512_srli_epi16(v, 4), 15),
                                and8(spread(top, 16 + 4 * i - 4, 1), 16)));
        }
    }
}

/* The 16 levels of a code book, plus 128, in every lane. */
INLINE __m512i levels(const int8_t book[16]) {
    return _mm512_broadcast_i32x4(
        _mm_xor_si128(load16((const uint8_t *)book), _mm_set1_epi8(-128)));
}

INLINE void put_levels(struct tile_q *t, int j, int i, __m512i book, __m512i v) {
    put(t, 8 * j + i, _mm512_shuffle_epi8(book, and8(v, 15)));
    put(t, 8 * j + 4 + i, _mm512_shuffle_epi8(book, and8(_mm512_srli_epi16(v, 4), 15)));
}

static void unpack_iq4_nl(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_q *t = tile;
    struct units s;
    const __m512i book = levels(kvalues_iq4nl);
    take_units(p, stride, 144, &s);
    fetch_all(f, stride, 144);
    UNROLL for (int j = 0; j < 8; j++) {
        put_half(t->d[j], &s, 18 * j, 1.0f);
        UNROLL for (int i = 0; i < 4; i++) put_levels(t, j, i, book, unit(&s, 18 * j + 2 + 4 * i));
    }
}

/* 2^(e - 128), half the E8M0 scale, for the doubled levels; subnormal for e < 2. */
INLINE __m512 e8m0_half(__m512i e) {
    const __m512i normal = _mm512_slli_epi32(_mm512_sub_epi32(e, _mm512_set1_epi32(1)), 23);
    const __m512i tiny = _mm512_sllv_epi32(_mm512_set1_epi32(0x00200000), e);
    return _mm512_castsi512_ps(
        _mm512_mask_mov_epi32(normal, _mm512_cmplt_epi32_mask(e, _mm512_set1_epi32(2)), tiny));
}

static void unpack_mxfp4(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_q *t = tile;
    struct units s;
    const __m512i book = levels(kvalues_e2m1x2);
    take_units(p, stride, 136, &s);
    fetch_all(f, stride, 136);
    UNROLL for (int j = 0; j < 8; j++) {
        const __m512i e = _mm512_srli_epi32(s.u[17 * j / 4], 17 * j % 4 * 8);
        _mm512_store_ps(t->d[j], e8m0_half(_mm512_and_si512(e, _mm512_set1_epi32(255))));
        UNROLL for (int i = 0; i < 4; i++) put_levels(t, j, i, book, unit(&s, 17 * j + 1 + 4 * i));
    }
}

/* Bits are signs: 128 +- 1. */
static void unpack_q1_0(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_q *t = tile;
    struct units s;
    take_units(p, stride, 36, &s);
    fetch_all(f, stride, 36);
    UNROLL for (int j = 0; j < 8; j++) {
        const int block = 18 * (j / 4);
        const __m512i v = unit(&s, block + 2 + 4 * (j % 4));
        put_half(t->d[j], &s, block, 1.0f);
        UNROLL for (int i = 0; i < 8; i++) put(
            t, 8 * j + i, _mm512_add_epi8(and8(spread(v, 4 * i - 1, 1), 2), _mm512_set1_epi8(127)));
    }
}

static void unpack_q2_0(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_q *t = tile;
    struct units s;
    take_units(p, stride, 72, &s);
    fetch_all(f, stride, 72);
    UNROLL for (int j = 0; j < 8; j++) {
        const int block = 18 * (j / 2);
        put_half(t->d[j], &s, block, 1.0f);
        UNROLL for (int i = 0; i < 8; i++) {
            const __m512i v = unit(&s, block + 2 + 8 * (j % 2) + 4 * (i / 4));
            put(t, 8 * j + i,
                _mm512_add_epi8(and8(spread(v, 8 * (i % 4), 2), 3), _mm512_set1_epi8(127)));
        }
    }
}

/* ---- the table ---- */

static const struct tile_kind kind[QT_COUNT] = {
    [QT_Q4_0] = {unpack_q4_0, mul_biased, sizeof(struct tile_q)},
    [QT_Q4_1] = {unpack_q4_1, mul_mins, sizeof(struct tile_q)},
    [QT_Q5_0] = {unpack_q5_0, mul_biased, sizeof(struct tile_q)},
    [QT_Q5_1] = {unpack_q5_1, mul_mins, sizeof(struct tile_q)},
    [QT_Q8_0] = {unpack_q8_0, mul_biased, sizeof(struct tile_q)},
    [QT_IQ4_NL] = {unpack_iq4_nl, mul_biased, sizeof(struct tile_q)},
    [QT_MXFP4] = {unpack_mxfp4, mul_biased, sizeof(struct tile_q)},
    [QT_Q1_0] = {unpack_q1_0, mul_biased, sizeof(struct tile_q)},
    [QT_Q2_0] = {unpack_q2_0, mul_biased, sizeof(struct tile_q)},
};

static void mul_q(enum qtype t, const struct mat_call *c) {
    mul_tiles(t, c, &kind[t], ACT_Q8);
}

void kern_mat_avx512_q(struct kern_mat *k) {
    for (int t = 0; t < QT_COUNT; t++)
        if (kind[t].unpack)
            k->of[t] =
                (struct mat_kern){mul_q, ACT_Q8, .piece = 16, .isa = "avx512", .wide = MAT_ROWS};
}
