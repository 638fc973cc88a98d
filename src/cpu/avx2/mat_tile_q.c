/* int8 products with many columns for AVX2, formats with a float scale per 32 values.  What is
 * added up before that scale depends on the range of the weights:
 *
 *   bytes  Q4_0 Q4_1 Q5_0 Q5_1 MXFP4 ..: unsigned, with a bias that start values take off again;
 *          pairs of products add up in 16 bits over 16 or 32 values, then vpmaddwd with ones
 *   wide   Q8_0 IQ4_NL: the weights and the activations as 16 bits, 2 vpmaddwd + 2 vpaddd for 32
 *          products.  In bytes they would need as many: vpmaddubsw saturates unless the weight's
 * sign is moved to the activation (vpsignb, vpmaddubsw, vpmaddwd, vpaddd, three of them on the two
 * multipliers), and two pairs of up to 2 * 127 * 128 do not fit in 16 bits vnni   all: bytes plus
 * 128, one vpdpbusd
 *
 * Per 32 values of 8 rows and a column: 20 instructions for Q4_0, 35 for Q8_0, 11 with vpdpbusd, of
 * which 8, 16 and 8 are products.  The float operations, and with them the bits, are those of
 * mat_few_q.c: sum = fma(dot, d * x.d, sum), then fma(m, x.ds, sum), values ascending. */
#include "cpu/avx2/mat.h"
#include "cpu/avx2/tile.h"

enum { CHUNK = 2 }; /* blocks unpacked at a time: 32 rows stay in L1 */

enum how { BYTES, WIDE, VNNI };

/* What is known of a format when its kernel is compiled. */
struct form {
    enum how how;
    bool mins; /* unsigned, with float mins */
    int shift; /* the bias of bytes is 128 >> shift */
    int fit;   /* products of 4 that add up in 16 bits: 4 or 8 */
};

/* Eight rows' block. */
struct tile_q {
    union {
        _Alignas(32) uint8_t b[64][LANES][4]; /* values 4t .. 4t + 3 */
        int16_t w[64][2][LANES][2];           /* 4t, 4t + 2; then 4t + 1, 4t + 3 */
    };
    float d[8][LANES], m[8][LANES];
};

/* Tiles of a piece's chunk, then wide columns. */
enum { N_TILE = MAT_ROWS / LANES * CHUNK };
_Static_assert(N_TILE * sizeof(struct tile_q) + COLS * CHUNK * sizeof(struct wide) <= MAT_TMP_BYTES,
               "scratch");

/* ---- unpacking ---- */

INLINE void put_step(struct tile_q *t, int step, __m256i v, struct form f) {
    if (f.how == WIDE) {
        put32(t->w[step][0], even16(v));
        put32(t->w[step][1], odd16(v));
    } else {
        const int bias = f.mins ? 0 : f.how == VNNI ? 128 : 128 >> f.shift;
        put32(t->b[step], _mm256_add_epi8(v, _mm256_set1_epi8((char)bias)));
    }
}

INLINE void tile_of_rows(const struct row_q rows[LANES], struct tile_q *t, struct form f) {
    __m256i v[8];
    for (int at = 0; at < 8; at++) {
        transpose8(rows->q + 32 * at, sizeof *rows, v);
        UNROLL for (int k = 0; k < 8; k++) put_step(t, 8 * at + k, v[k], f);
    }
    transpose8(rows->d, sizeof *rows, v);
    UNROLL for (int k = 0; k < 8; k++) put32(t->d[k], v[k]);
    if (!f.mins) return;
    transpose8(rows->m, sizeof *rows, v);
    UNROLL for (int k = 0; k < 8; k++) put32(t->m[k], v[k]);
}

/* Blocks [b0, b0 + n) of 8 rows from r0 on; rows beyond the piece repeat its last, and what a row
 * lacks of its last block is zeros. */
INLINE void unpack8(const struct mat_call *c, row_q_fn *row, size_t block, int r0, int b0, int n,
                    struct tile_q *t, struct form f) {
    struct row_q rows[LANES];
    uint8_t stage[2 * ACT_BLOCK];
    for (int b = b0; b < b0 + n; b++, t++) {
        const size_t at = (size_t)b * block, left = c->row_bytes - at;
        for (int r = 0; r < LANES; r++) {
            const int row_at = r0 + r < c->n_row ? r0 + r : c->n_row - 1;
            const uint8_t *w = c->w + (size_t)row_at * c->row_bytes + at;
            for (size_t i = 0; i < block; i += 64)
                __builtin_prefetch(w + LANES * c->row_bytes + i);
            if (left < block) {
                memset(stage, 0, sizeof stage);
                w = memcpy(stage, w, left);
            }
            row(w, &rows[r]);
        }
        tile_of_rows(rows, t, f);
    }
}

/* ---- products ---- */

/* 32 values of 8 rows with pairs of products in 16 bits. */
INLINE void dots_bytes(const struct tile_q *const w[TILES], const struct act_q8 *const x[COLS],
                       int j, int C, struct form f, __m256i dot[TILES][COLS]) {
    const __m256i ones = _mm256_set1_epi16(1);
    UNROLL for (int s0 = 0; s0 < 8; s0 += f.fit) {
        __m256i p[TILES][COLS];
        UNROLL for (int s = s0; s < s0 + f.fit; s++) {
            const __m256i w0 = load32(w[0]->b[8 * j + s]), w1 = load32(w[1]->b[8 * j + s]);
            UNROLL for (int c = 0; c < C; c++) {
                const __m256i v = broadcast4(x[c]->q + 4 * (8 * j + s));
                const __m256i a = _mm256_maddubs_epi16(w0, v), b = _mm256_maddubs_epi16(w1, v);
                p[0][c] = s == s0 ? a : chain16(p[0][c], a);
                p[1][c] = s == s0 ? b : chain16(p[1][c], b);
            }
        }
        UNROLL for (int c = 0; c < C; c++) {
            UNROLL for (int r = 0; r < TILES; r++) {
                const __m256i sum = _mm256_madd_epi16(p[r][c], ones);
                dot[r][c] = s0 ? _mm256_add_epi32(dot[r][c], sum) : sum;
            }
        }
    }
    if (f.mins) return;
    UNROLL for (int c = 0; c < C; c++) {
        const __m256i start = _mm256_srai_epi32(broadcast4(&x[c]->start[j]), f.shift);
        UNROLL for (int r = 0; r < TILES; r++) dot[r][c] = _mm256_add_epi32(dot[r][c], start);
    }
}

INLINE void dots_wide(const struct tile_q *const w[TILES], const struct wide *const x[COLS], int j,
                      int C, __m256i dot[TILES][COLS]) {
    UNROLL for (int s = 0; s < 8; s++) {
        UNROLL for (int h = 0; h < 2; h++) {
            const __m256i w0 = load32(w[0]->w[8 * j + s][h]), w1 = load32(w[1]->w[8 * j + s][h]);
            UNROLL for (int c = 0; c < C; c++) {
                const __m256i v = broadcast4(h ? x[c]->odd[8 * j + s] : x[c]->even[8 * j + s]);
                const __m256i a = _mm256_madd_epi16(w0, v), b = _mm256_madd_epi16(w1, v);
                dot[0][c] = s || h ? chain32(dot[0][c], a) : a;
                dot[1][c] = s || h ? chain32(dot[1][c], b) : b;
            }
        }
    }
}

INLINE void dots_vnni(const struct tile_q *const w[TILES], const struct act_q8 *const x[COLS],
                      int j, int C, struct form f, __m256i dot[TILES][COLS]) {
    UNROLL for (int c = 0; c < C; c++) UNROLL for (int r = 0; r < TILES; r++) dot[r][c] =
        f.mins ? _mm256_setzero_si256() : broadcast4(&x[c]->start[j]);
    UNROLL for (int s = 0; s < 8; s++) {
        const __m256i w0 = load32(w[0]->b[8 * j + s]), w1 = load32(w[1]->b[8 * j + s]);
        UNROLL for (int c = 0; c < C; c++) {
            const __m256i v = broadcast4(x[c]->q + 4 * (8 * j + s));
            dot[0][c] = dpbusd(dot[0][c], w0, v);
            dot[1][c] = dpbusd(dot[1][c], w1, v);
        }
    }
}

/* acc[c][r] += n_block blocks of 16 rows times C columns. */
INLINE void mul_tile(const struct tile_q *t, int n_block, const uint8_t *const *xp, size_t x_step,
                     const struct wide *wide, float *acc, int C, struct form f) {
    __m256 sum[TILES][COLS];
    UNROLL for (int r = 0; r < TILES; r++) UNROLL for (int c = 0; c < C; c++) sum[r][c] =
        _mm256_load_ps(acc + c * MAT_ROWS + r * LANES);
    for (int b = 0; b < n_block; b++) {
        const struct tile_q *const w[TILES] = {t + b, t + CHUNK + b};
        const struct act_q8 *x[COLS];
        const struct wide *v[COLS];
        UNROLL for (int c = 0; c < C; c++) {
            x[c] = (const struct act_q8 *)(const void *)(xp[c] + (size_t)b * x_step);
            v[c] = wide + c * CHUNK + b;
        }
        for (int j = 0; j < 8; j++) {
            __m256i dot[TILES][COLS];
            if (f.how == BYTES) dots_bytes(w, x, j, C, f, dot);
            if (f.how == WIDE) dots_wide(w, v, j, C, dot);
            if (f.how == VNNI) dots_vnni(w, x, j, C, f, dot);
            UNROLL for (int r = 0; r < TILES; r++) UNROLL for (int c = 0; c < C; c++) {
                const __m256 d =
                    _mm256_mul_ps(_mm256_load_ps(w[r]->d[j]), _mm256_broadcast_ss(&x[c]->d[j]));
                sum[r][c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[r][c]), d, sum[r][c]);
                if (f.mins)
                    sum[r][c] = _mm256_fmadd_ps(_mm256_load_ps(w[r]->m[j]),
                                                _mm256_broadcast_ss(&x[c]->ds[j]), sum[r][c]);
            }
        }
    }
    UNROLL for (int r = 0; r < TILES; r++) UNROLL for (int c = 0; c < C; c++)
        _mm256_store_ps(acc + c * MAT_ROWS + r * LANES, sum[r][c]);
}

/* A chunk of a piece, unpacked, times all columns. */
INLINE void mul_cols(const struct mat_call *c, const struct tile_q *t, int b0, int n_block,
                     struct form f) {
    struct wide *wide = (struct wide *)(void *)(c->tmp + N_TILE * sizeof *t);
    for (int i = 0; i < n_part(c); i++) {
        const struct part p = part_of(c, i, b0, ACT_Q8);
        for (int k = 0; f.how == WIDE && k < p.n; k++)
            widen(p.x[k], c->x_step, n_block, wide + k * CHUNK);
        for (int r = 0; r < c->n_row; r += TILES * LANES) {
            const struct tile_q *at = t + r / LANES * CHUNK;
            float *acc = c->acc + p.lo * MAT_ROWS + r;
            switch (p.n) {
            case 1: mul_tile(at, n_block, p.x, c->x_step, wide, acc, 1, f); break;
            case 2: mul_tile(at, n_block, p.x, c->x_step, wide, acc, 2, f); break;
            case 3: mul_tile(at, n_block, p.x, c->x_step, wide, acc, 3, f); break;
            }
        }
    }
}

INLINE void mul_many(enum qtype type, const struct mat_call *c, row_q_fn *row, struct form f) {
    struct tile_q *t = (struct tile_q *)(void *)c->tmp;
    const int n = act_blocks(c->n_col), n_row = (c->n_row + 15) / 16 * 16;
    const size_t block = qtype_row_bytes(type, ACT_BLOCK);
    mat_acc_clear(c);
    for (int b = 0; b < n; b += CHUNK) {
        const int n_block = n - b < CHUNK ? n - b : CHUNK;
        for (int r = 0; r < n_row; r += LANES)
            unpack8(c, row, block, r, b, n_block, t + r / LANES * CHUNK, f);
        mul_cols(c, t, b, n_block, f);
    }
}

/* ---- instances ---- */

/* `fit`: 4 products of at most 127 * weight, twice, stay below 2^15. */
#define MANY(type, ...)                                                                            \
    static void many_##type(enum qtype t, const struct mat_call *c) {                              \
        mul_many(t, c, row_##type, (struct form){__VA_ARGS__});                                    \
    }                                                                                              \
    static void many_##type##_vnni(enum qtype t, const struct mat_call *c) {                       \
        const struct form f = {__VA_ARGS__};                                                       \
        mul_many(t, c, row_##type, (struct form){VNNI, f.mins, 0, 8});                             \
    }
MANY(q4_0, BYTES, false, 4, 8)  /* 0..15 */
MANY(q4_1, BYTES, true, 0, 8)   /* 0..15 */
MANY(q5_0, BYTES, false, 3, 4)  /* 0..31 */
MANY(q5_1, BYTES, true, 0, 4)   /* 0..31 */
MANY(mxfp4, BYTES, false, 3, 4) /* 4..28 */
MANY(q1_0, BYTES, false, 7, 8)  /* 0..2 */
MANY(q2_0, BYTES, false, 7, 8)  /* 0..3 */
MANY(q8_0, WIDE, false, 0, 0)
MANY(iq4_nl, WIDE, false, 0, 0)

#define BOTH(type)                                                                                 \
    { many_##type, many_##type##_vnni }

mat_fn *mat_avx2_many_q(enum qtype t, bool vnni) {
    static mat_fn *const fn[QT_COUNT][2] = {
        [QT_Q4_0] = BOTH(q4_0),   [QT_Q4_1] = BOTH(q4_1), [QT_Q5_0] = BOTH(q5_0),
        [QT_Q5_1] = BOTH(q5_1),   [QT_Q8_0] = BOTH(q8_0), [QT_IQ4_NL] = BOTH(iq4_nl),
        [QT_MXFP4] = BOTH(mxfp4), [QT_Q1_0] = BOTH(q1_0), [QT_Q2_0] = BOTH(q2_0),
    };
    return fn[t][vnni];
}
