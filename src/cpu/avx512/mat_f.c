/* Products in float: F32, F16, BF16, and every other format by decoding rows first.
 *
 * Lanes run along the row: a tile of 4 rows x 6 columns keeps 24 sums of 16 lanes (4 + 6 loads per
 * 24 fused multiply-adds), which are added up across lanes after each CHUNK values; the chunks'
 * sums are added in order.  So the order depends on the row length only. */
#include <stdbool.h>

#include "cpu/avx512/tile.h"
#include "quant/quant.h"

enum {
    CHUNK = 1024, /* 32 decoded rows of it fill 128 KiB of L2; 6 columns 24 KiB of L1 */
    TILE_ROWS = 4,
};

_Static_assert(MAT_PIECE *CHUNK * sizeof(float) <= MAT_TMP_BYTES, "scratch");

/* 16 weights at value i of a row, those from n on zero. */
INLINE __m512 load_w(enum qtype t, const uint8_t *w, int i, int n) {
    const __mmask16 m = n - i >= 16 ? 0xffff : (__mmask16)((1u << (n - i)) - 1);
    if (t == QT_F32) return _mm512_maskz_loadu_ps(m, w + 4 * (size_t)i);
    const __m256i h = _mm256_maskz_loadu_epi16(m, w + 2 * (size_t)i);
    if (t == QT_F16) return _mm512_cvtph_ps(h);
    return _mm512_castsi512_ps(_mm512_slli_epi32(_mm512_cvtepu16_epi32(h), 16));
}

/* The four lane sums of a column, as one vector. */
INLINE __m128 lane_sums(const __m512 v[TILE_ROWS]) {
    const __m512 a = _mm512_add_ps(_mm512_unpacklo_ps(v[0], v[1]), _mm512_unpackhi_ps(v[0], v[1]));
    const __m512 b = _mm512_add_ps(_mm512_unpacklo_ps(v[2], v[3]), _mm512_unpackhi_ps(v[2], v[3]));
    const __m512 s = _mm512_add_ps(_mm512_shuffle_ps(a, b, 0x44), _mm512_shuffle_ps(a, b, 0xee));
    const __m256 h = _mm256_add_ps(_mm512_castps512_ps256(s), _mm512_extractf32x8_ps(s, 1));
    return _mm_add_ps(_mm256_castps256_ps128(h), _mm256_extractf128_ps(h, 1));
}

/* acc[c][0..4) += n values of four rows times C columns.  x[c] points to the chunk's first block;
 * the others follow at x_step. */
INLINE void mul_4c(enum qtype t, const uint8_t *const *w, int n, const uint8_t *const *x,
                   size_t x_step, float *acc, int C) {
    __m512 sum[6][TILE_ROWS];
    UNROLL for (int c = 0; c < C; c++) {
        UNROLL for (int r = 0; r < TILE_ROWS; r++) sum[c][r] = _mm512_setzero_ps();
    }
    for (int at = 0; at < n; at += ACT_BLOCK) {
        const size_t block = (size_t)(at / ACT_BLOCK) * x_step;
        const int end = n - at < ACT_BLOCK ? n - at : ACT_BLOCK;
        for (int i = 0; i < end; i += 16) {
            __m512 v[TILE_ROWS];
            UNROLL for (int r = 0; r < TILE_ROWS; r++) v[r] = load_w(t, w[r], at + i, n);
            UNROLL for (int c = 0; c < C; c++) {
                const __m512 b = _mm512_loadu_ps(x[c] + block + 4 * (size_t)i);
                UNROLL for (int r = 0; r < TILE_ROWS; r++) sum[c][r] =
                    _mm512_fmadd_ps(v[r], b, sum[c][r]);
            }
        }
    }
    UNROLL for (int c = 0; c < C; c++) {
        float *a = acc + c * MAT_ROWS;
        _mm_store_ps(a, _mm_add_ps(_mm_load_ps(a), lane_sums(sum[c])));
    }
}

INLINE void mul_4n(enum qtype t, const uint8_t *const *w, int n_value, const uint8_t *const *x,
                   size_t x_step, float *acc, int n) {
    switch (n) {
    case 1: mul_4c(t, w, n_value, x, x_step, acc, 1); break;
    case 2: mul_4c(t, w, n_value, x, x_step, acc, 2); break;
    case 3: mul_4c(t, w, n_value, x, x_step, acc, 3); break;
    case 4: mul_4c(t, w, n_value, x, x_step, acc, 4); break;
    case 5: mul_4c(t, w, n_value, x, x_step, acc, 5); break;
    case 6: mul_4c(t, w, n_value, x, x_step, acc, 6); break;
    }
}

/* One instance per source format; everything else was decoded to F32. */
static void mul_tile(enum qtype t, const uint8_t *const *w, int n_value, const uint8_t *const *x,
                     size_t x_step, float *acc, int n) {
    if (t == QT_F16)
        mul_4n(QT_F16, w, n_value, x, x_step, acc, n);
    else if (t == QT_BF16)
        mul_4n(QT_BF16, w, n_value, x, x_step, acc, n);
    else
        mul_4n(QT_F32, w, n_value, x, x_step, acc, n);
}

/* The piece's rows, values [at, at + n), as floats in tmp. */
static void decode_rows(enum qtype t, const struct mat_call *c, int at, int n) {
    const uint8_t *w = c->w + qtype_row_bytes(t, at);
    for (int r = 0; r < c->n_row; r++, w += c->row_bytes) {
        float *to = (float *)(void *)c->tmp + (size_t)r * CHUNK;
        if (t == QT_F16 || t == QT_BF16) {
            for (int i = 0; i < n; i += 16)
                _mm512_store_ps(to + i,
                                t == QT_F16 ? load_w(QT_F16, w, i, n) : load_w(QT_BF16, w, i, n));
        } else {
            quant_type(t)->decode(w, to, (size_t)n);
        }
    }
}

/* Four row pointers from row r0 on; beyond the piece the last row again, whose sums land in
 * accumulators that nobody reads. */
static void four_rows(const struct mat_call *c, int r0, const uint8_t *base, size_t stride,
                      const uint8_t *w[TILE_ROWS]) {
    for (int r = 0; r < TILE_ROWS; r++)
        w[r] = base + stride * (size_t)(r0 + r < c->n_row ? r0 + r : c->n_row - 1);
}

static void mul_chunk(enum qtype t, const struct mat_call *c, int at, int n, const uint8_t *base,
                      size_t stride) {
    const size_t act = act_bytes(ACT_F32);
    const uint8_t *x0 = c->x + (size_t)(at / ACT_BLOCK) * c->x_step, *x[TILE_COLS], *w[TILE_ROWS];
    const int n_part = (c->n + TILE_COLS - 1) / TILE_COLS;
    for (int part = 0; part < n_part; part++) {
        const int lo = c->n * part / n_part, hi = c->n * (part + 1) / n_part;
        for (int i = lo; i < hi; i++)
            x[i - lo] = x0 + (size_t)(c->index ? c->index[i] : i) * act;
        for (int r = 0; r < c->n_row; r += TILE_ROWS) {
            four_rows(c, r, base, stride, w);
            mul_tile(t, w, n, x, c->x_step, c->acc + lo * MAT_ROWS + r, hi - lo);
        }
    }
}

/* Few columns read 16- and 32-bit floats straight from the file; else a chunk is decoded once. */
static void mul_f(enum qtype t, const struct mat_call *c) {
    const bool plain = t == QT_F32 || ((t == QT_F16 || t == QT_BF16) && c->n <= TILE_COLS);
    mat_acc_clear(c);
    for (int at = 0; at < c->n_col; at += CHUNK) {
        const int n = c->n_col - at < CHUNK ? c->n_col - at : CHUNK;
        if (plain) {
            mul_chunk(t, c, at, n, c->w + qtype_row_bytes(t, at), c->row_bytes);
        } else {
            decode_rows(t, c, at, n);
            mul_chunk(QT_F32, c, at, n, c->tmp, CHUNK * sizeof(float));
        }
    }
}

void kern_mat_avx512_f(struct kern_mat *k) {
    for (int t = 0; t < QT_COUNT; t++)
        if (k->of[t].mul)
            k->of[t] = (struct mat_kern){mul_f, ACT_F32, .piece = 16, .isa = "avx512"};
    k->mul_f32 = mul_f;
}
