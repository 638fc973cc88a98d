/* int8 products with many columns for AVX2, K types: lanes run along the rows, 16 rows x 3 columns
 * a tile.  Eight unpacked rows (cpu/row.h) are transposed in units of four bytes, so that pairs of
 * products of one sub-block add up in 16 bits before they are scaled and widened in one step:
 *
 *   Q4_K, per 32 values: 8 vpmaddubsw, 7 vpaddw, 1 vpmaddwd with the scale, 1 vpaddd
 *
 * where lanes along the row need a vpmaddwd for each vpmaddubsw.  How many products fit in 16 bits
 * depends on the largest weight.  The float operations and their order are those of mat_few.c.
 *
 * 16 registers: 6 sums in 16 and 6 in 32 bits, 2 weights, 1 activation, 1 in flight. */
#include "cpu/avx2/dot.h"
#include "cpu/avx2/mat.h"
#include "cpu/rowmul.h"

enum { LANES = 8, TILES = 2, COLS = 3 };

/* Eight rows' block. */
struct tile {
    _Alignas(32) uint8_t w[64][LANES][4]; /* values 4t .. 4t + 3 */
    int32_t sc[16][LANES];                /* twice each */
    int32_t m[8][LANES];                  /* pairs, as row_k.m */
    float d[LANES], dmin[LANES];
};

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

static void tile_of_rows(const struct row_k rows[LANES], struct tile *t) {
    __m256i v[8];
    for (int at = 0; at < 8; at++) {
        transpose8(rows->q + 32 * at, sizeof *rows, v);
        UNROLL for (int k = 0; k < 8; k++) put32(t->w[8 * at + k], v[k]);
    }
    transpose8(rows->m, sizeof *rows, v);
    UNROLL for (int k = 0; k < 8; k++) put32(t->m[k], v[k]);
    transpose8(rows->sc, sizeof *rows, v);
    UNROLL for (int k = 0; k < 8; k++) {
        const __m256i low = _mm256_slli_epi32(v[k], 16), high = _mm256_srli_epi32(v[k], 16);
        put32(t->sc[2 * k], _mm256_blend_epi16(v[k], low, 0xaa));
        put32(t->sc[2 * k + 1], _mm256_blend_epi16(high, v[k], 0xaa));
    }
    for (int r = 0; r < LANES; r++) {
        t->d[r] = rows[r].d;
        t->dmin[r] = rows[r].dmin;
    }
}

/* Blocks [b0, b0 + n) of 8 rows from r0 on; rows beyond the piece repeat its last. */
INLINE void unpack8(const struct mat_call *c, row_k_fn *row, int bias, size_t block, int r0, int b0,
                    int n, struct tile *t) {
    struct row_k rows[LANES];
    for (int b = b0; b < b0 + n; b++, t++) {
        for (int r = 0; r < LANES; r++) {
            const int at = r0 + r < c->n_row ? r0 + r : c->n_row - 1;
            const uint8_t *w = c->w + (size_t)at * c->row_bytes + (size_t)b * block;
            for (size_t i = 0; i < block; i += 64)
                __builtin_prefetch(w + LANES * c->row_bytes + i);
            row(w, &rows[r], bias);
        }
        tile_of_rows(rows, t);
    }
}

INLINE __m256i broadcast4(const void *p) {
    int32_t v;
    memcpy(&v, p, sizeof v);
    return _mm256_set1_epi32(v);
}

/* What is known of a format when its kernel is compiled. */
struct form {
    int width; /* of a sub-block: 16 or 32 */
    int fit;   /* products of 4 that add up in 16 bits, at most width / 4 */
    bool mins; /* float mins, else a bias */
};

/* sum[r][c] = the integers of a block of 16 rows and C columns. */
INLINE void dots(const struct tile *const w[TILES], const struct act_q8_k *const x[COLS], int C,
                 struct form f, __m256i sum[TILES][COLS]) {
    UNROLL for (int r = 0; r < TILES; r++) UNROLL for (int c = 0; c < C; c++) sum[r][c] =
        _mm256_setzero_si256();
    for (int t0 = 0; t0 < 64; t0 += f.fit) {
        __m256i p[TILES][COLS];
        UNROLL for (int t = t0; t < t0 + f.fit; t++) {
            const __m256i w0 = load32(w[0]->w[t]), w1 = load32(w[1]->w[t]);
            UNROLL for (int c = 0; c < C; c++) {
                const __m256i v = broadcast4(x[c]->q + 4 * t);
                const __m256i a = _mm256_maddubs_epi16(w0, v), b = _mm256_maddubs_epi16(w1, v);
                p[0][c] = t == t0 ? a : _mm256_add_epi16(p[0][c], a);
                p[1][c] = t == t0 ? b : _mm256_add_epi16(p[1][c], b);
                /* Else gcc makes a tree of the additions and keeps its leaves in memory. */
                if (f.fit > 2) __asm__("" : "+x"(p[0][c]), "+x"(p[1][c]));
            }
        }
        UNROLL for (int r = 0; r < TILES; r++) {
            const __m256i sc = load32(w[r]->sc[t0 / 4]);
            UNROLL for (int c = 0; c < C; c++) sum[r][c] = madd_add(sum[r][c], p[r][c], sc, 0);
        }
    }
}

/* The mins of eight rows times the sums of a column.  Sub-blocks of 32 have the same min in two
 * adjacent pairs: one of them meets the sum of both. */
INLINE __m256i min_dot(const struct tile *w, const struct act_q8_k *x, struct form f) {
    const int step = f.width / 16;
    _Alignas(32) int32_t pair[8];
    __m256i s = load32(x->sum16), min = _mm256_setzero_si256();
    if (step == 2) s = _mm256_add_epi16(s, _mm256_srli_epi64(s, 32));
    put32(pair, s);
    UNROLL for (int k = 0; k < 8; k += step) min =
        madd_add(min, load32(w->m[k]), _mm256_set1_epi32(pair[k]), 0);
    return min;
}

/* acc[c][r] += n_block blocks of 16 rows times C columns. */
INLINE void mul_tile(const struct tile *t, int n_block, const uint8_t *const *xp, size_t x_step,
                     float *acc, int C, struct form f) {
    __m256 sum[TILES][COLS];
    UNROLL for (int r = 0; r < TILES; r++) UNROLL for (int c = 0; c < C; c++) sum[r][c] =
        _mm256_setzero_ps();
    for (int b = 0; b < n_block; b++) {
        const struct tile *const w[TILES] = {t + b, t + ROW_BLOCKS + b};
        const struct act_q8_k *x[COLS];
        __m256i dot[TILES][COLS];
        UNROLL for (int c = 0; c < C; c++) x[c] =
            (const struct act_q8_k *)(const void *)(xp[c] + (size_t)b * x_step);
        dots(w, x, C, f, dot);
        UNROLL for (int r = 0; r < TILES; r++) UNROLL for (int c = 0; c < C; c++) {
            const __m256i min = min_dot(w[r], x[c], f);
            const __m256i i = f.mins ? dot[r][c] : _mm256_sub_epi32(dot[r][c], min);
            __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(i), _mm256_load_ps(w[r]->d));
            if (f.mins)
                v = _mm256_fnmadd_ps(_mm256_cvtepi32_ps(min), _mm256_load_ps(w[r]->dmin), v);
            sum[r][c] = _mm256_fmadd_ps(v, _mm256_set1_ps(x[c]->d), sum[r][c]);
        }
    }
    UNROLL for (int r = 0; r < TILES; r++) UNROLL for (int c = 0; c < C; c++) {
        float *at = acc + c * MAT_ROWS + r * LANES;
        _mm256_store_ps(at, _mm256_add_ps(_mm256_load_ps(at), sum[r][c]));
    }
}

/* A chunk of 16 rows times all columns, in groups of at most COLS. */
INLINE void mul_cols(const struct mat_call *c, const struct tile *t, int b0, int n_block, int r0,
                     struct form f) {
    const int n_part = (c->n + COLS - 1) / COLS;
    for (int part = 0; part < n_part; part++) {
        const int lo = c->n * part / n_part, n = c->n * (part + 1) / n_part - lo;
        const uint8_t *x[COLS];
        float *acc = c->acc + lo * MAT_ROWS + r0;
        for (int i = 0; i < n; i++)
            x[i] = c->x + (size_t)b0 * c->x_step +
                   (size_t)(c->index ? c->index[lo + i] : lo + i) * act_bytes(ACT_Q8_K);
        switch (n) {
        case 1: mul_tile(t, n_block, x, c->x_step, acc, 1, f); break;
        case 2: mul_tile(t, n_block, x, c->x_step, acc, 2, f); break;
        case 3: mul_tile(t, n_block, x, c->x_step, acc, 3, f); break;
        }
    }
}

INLINE void mul_many(const struct mat_call *c, row_k_fn *row, int bias, size_t block,
                     struct form f) {
    struct tile *t = (struct tile *)(void *)c->tmp;
    const int n = act_blocks(c->n_col);
    memset(c->acc, 0, (size_t)c->n * MAT_ROWS * sizeof *c->acc);
    for (int b = 0; b < n; b += ROW_BLOCKS) {
        const int n_block = n - b < ROW_BLOCKS ? n - b : ROW_BLOCKS;
        for (int r = 0; r < c->n_row; r += TILES * LANES) {
            for (int i = 0; i < TILES; i++)
                unpack8(c, row, bias, block, r + i * LANES, b, n_block, t + i * ROW_BLOCKS);
            mul_cols(c, t, b, n_block, r, f);
        }
    }
}

/* `fit`: 4 products of at most 127 * weight, twice, stay below 2^15. */
#define MANY(type, bias, ...)                                                                      \
    static void many_##type(enum qtype t, const struct mat_call *c) {                              \
        (void)t;                                                                                   \
        mul_many(c, row_##type, bias, sizeof(struct block_##type), (struct form){__VA_ARGS__});    \
    }
MANY(q2_k, 0, 16, 4, true)
MANY(q3_k, 4, 16, 4, false)
MANY(q4_k, 0, 32, 8, true)
MANY(q5_k, 0, 32, 4, true)
MANY(q6_k, 32, 16, 2, false)
MANY(tq2_0, 1, 16, 4, false)

mat_fn *mat_avx2_many(enum qtype t) {
    static mat_fn *const fn[QT_COUNT] = {
        [QT_Q2_K] = many_q2_k, [QT_Q3_K] = many_q3_k, [QT_Q4_K] = many_q4_k,
        [QT_Q5_K] = many_q5_k, [QT_Q6_K] = many_q6_k, [QT_TQ2_0] = many_tq2_0,
    };
    return fn[t];
}
