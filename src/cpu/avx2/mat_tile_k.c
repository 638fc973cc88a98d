/* int8 products with many columns for AVX2, formats with integer scales (K types and their kin):
 * the tile of tile.h.  How the products of a sub-block add up before they are scaled:
 *
 *   pairs   AVX2: in 16 bits as long as they fit, then vpmaddwd with the scale widens and scales in
 *           one step.  Q4_K, per 32 values: 8 vpmaddubsw, 7 vpaddw, 1 vpmaddwd, 1 vpaddd
 *   wide    AVX2, IQ4_XS: levels up to 127 and activations as 16 bits, see mat_tile_q.c; then
 * vpmulld dots    AVX-VNNI: vpdpbusd, then vpmulld.  Q4_K: 8 vpdpbusd, 1 vpmulld, 1 vpaddd scaled
 * AVX-VNNI, Q2_K Q3_K: weight times scale fits in a byte, so tiles hold that and all 256 products
 * add up: 8 vpdpbusd
 *
 * All are exact, so the bits are the same.  The float operations and their order are those of
 * mat_few_k.c.
 *
 * 16 registers: 6 sums in 16 and 6 in 32 bits, 2 weights, 1 activation, 1 in flight. */
#include "cpu/avx2/mat.h"
#include "cpu/avx2/tile.h"

enum { CHUNK = 2 }; /* blocks unpacked at a time: 32 rows stay in L1 */

enum how { PAIRS, WIDE, DOTS, SCALED };

/* What is known of a format when its kernel is compiled. */
struct form {
    enum how how;
    int width; /* of a sub-block: 16 or 32 */
    int bias;  /* added to the weights: PAIRS take it off as mins, DOTS (128) by start values */
    bool mins; /* float mins */
    int fit;   /* PAIRS: products of 4 that add up in 16 bits, at most width / 4 */
};

/* Eight rows' block. */
struct tile {
    union {
        _Alignas(32) uint8_t b[64][LANES][4]; /* values 4t .. 4t + 3 */
        int16_t w[64][2][LANES][2];           /* 4t, 4t + 2; then 4t + 1, 4t + 3 */
    };
    int32_t sc[16][LANES]; /* PAIRS: 16 bits, twice each */
    int32_t m[8][LANES];   /* pairs, in the order of act_q8_k.sum32 or .sum16 */
    float d[LANES], dmin[LANES];
};

enum { N_TILE = MAT_ROWS / LANES * CHUNK };
_Static_assert(N_TILE * sizeof(struct tile) + COLS * CHUNK * sizeof(struct wide) <= MAT_TMP_BYTES,
               "scratch");

/* ---- unpacking ---- */

/* Scales 2k and 2k + 1 of eight rows, from pairs. */
INLINE void put_scales(struct tile *t, int k, __m256i pair, struct form f) {
    const __m256i low = _mm256_slli_epi32(pair, 16), high = _mm256_srli_epi32(pair, 16);
    if (f.how == PAIRS) {
        put32(t->sc[2 * k], _mm256_blend_epi16(pair, low, 0xaa));
        put32(t->sc[2 * k + 1], _mm256_blend_epi16(high, pair, 0xaa));
    } else {
        put32(t->sc[2 * k], _mm256_srai_epi32(low, 16));
        put32(t->sc[2 * k + 1], _mm256_srai_epi32(pair, 16));
    }
}

/* Sub-blocks of 32 have their mins twice in row_k.m, 0 1 0 1 2 3 2 3 ..: they become 0 2 1 3 .. */
INLINE void put_mins(struct tile *t, const __m256i v[8], struct form f) {
    for (int k = 0; f.width == 32 && k < 4; k += 2) {
        const __m256i a = v[2 * k], b = v[2 * k + 2];
        put32(t->m[k], _mm256_blend_epi16(a, _mm256_slli_epi32(b, 16), 0xaa));
        put32(t->m[k + 1], _mm256_blend_epi16(_mm256_srli_epi32(a, 16), b, 0xaa));
    }
    for (int k = 0; f.width == 16 && k < 8; k++)
        put32(t->m[k], v[k]);
}

/* Weights 0..3, or 0..7 less 4, times their scale, plus the bias: looked up by the low two bits,
 * four rows' tables in a lane; then the third bit.  -128..124 times -32..31 stays within a byte. */
INLINE __m256i scaled(__m256i q, __m256i scale, struct form f) {
    const __m256i row =
        _mm256_broadcastsi128_si256(_mm_setr_epi32(0, 0x04040404, 0x08080808, 0x0c0c0c0c));
    const __m256i s = _mm256_shuffle_epi8(scale, row); /* the low byte of each row, four times */
    const __m256i once = _mm256_and_si256(s, _mm256_set1_epi32((int)0xffffff00));
    const __m256i twice = _mm256_and_si256(s, _mm256_set1_epi32((int)0xffff0000));
    const __m256i thrice = _mm256_and_si256(s, _mm256_set1_epi32((int)0xff000000));
    __m256i table = _mm256_add_epi8(_mm256_add_epi8(once, twice), thrice);
    if (f.mins) return _mm256_shuffle_epi8(table, _mm256_or_si256(q, row));
    const __m256i s2 = _mm256_add_epi8(s, s), s4 = _mm256_add_epi8(s2, s2);
    table = _mm256_add_epi8(table, _mm256_sub_epi8(_mm256_set1_epi8((char)f.bias), s4));
    const __m256i low = _mm256_and_si256(q, _mm256_set1_epi8(3));
    const __m256i top = _mm256_and_si256(_mm256_cmpgt_epi8(q, _mm256_set1_epi8(3)), s4);
    return _mm256_add_epi8(_mm256_shuffle_epi8(table, _mm256_or_si256(low, row)), top);
}

/* Step `step` of eight rows; their weights are as row_k has them. */
INLINE void put_step(struct tile *t, int step, __m256i v, struct form f) {
    if (f.how == WIDE) {
        put32(t->w[step][0], even16(v));
        put32(t->w[step][1], odd16(v));
        return;
    }
    if (f.how == DOTS && f.bias) v = _mm256_xor_si256(v, _mm256_set1_epi8(-128));
    if (f.how == SCALED) v = scaled(v, load32(t->sc[step / 4]), f);
    put32(t->b[step], v);
}

INLINE void tile_of_rows(const struct row_k rows[LANES], struct tile *t, struct form f) {
    __m256i v[8];
    transpose8(rows->sc, sizeof *rows, v);
    UNROLL for (int k = 0; k < 8; k++) put_scales(t, k, v[k], f);
    for (int at = 0; at < 8; at++) {
        transpose8(rows->q + 32 * at, sizeof *rows, v);
        UNROLL for (int k = 0; k < 8; k++) put_step(t, 8 * at + k, v[k], f);
    }
    if (f.mins || f.how == PAIRS) {
        transpose8(rows->m, sizeof *rows, v);
        put_mins(t, v, f);
    }
    for (int r = 0; r < LANES; r++) {
        t->d[r] = rows[r].d;
        t->dmin[r] = rows[r].dmin;
    }
}

/* Blocks [b0, b0 + n) of 8 rows from r0 on; rows beyond the piece repeat its last. */
INLINE void unpack8(const struct mat_call *c, row_k_fn *row, size_t block, int r0, int b0, int n,
                    struct tile *t, struct form f) {
    const int bias = f.how == PAIRS ? f.bias : f.how == SCALED && !f.mins ? 4 : 0;
    struct row_k rows[LANES];
    for (int b = b0; b < b0 + n; b++, t++) {
        for (int r = 0; r < LANES; r++) {
            const int at = r0 + r < c->n_row ? r0 + r : c->n_row - 1;
            const uint8_t *w = c->w + (size_t)at * c->row_bytes + (size_t)b * block;
            fetch(w + LANES * c->row_bytes, block);
            row(w, &rows[r], bias);
        }
        tile_of_rows(rows, t, f);
    }
}

/* ---- products ---- */

/* A column's block: as it is, and widened. */
struct col {
    const struct act_q8_k *x;
    const struct wide *wide;
};

/* sum[r][c] = the integers of a block of 16 rows and C columns. */
INLINE void sum_pairs(const struct tile *const w[TILES], const struct col x[COLS], int C,
                      struct form f, __m256i sum[TILES][COLS]) {
    UNROLL for (int r = 0; r < TILES; r++) UNROLL for (int c = 0; c < C; c++) sum[r][c] =
        _mm256_setzero_si256();
    for (int t0 = 0; t0 < 64; t0 += f.fit) {
        __m256i p[TILES][COLS];
        UNROLL for (int t = t0; t < t0 + f.fit; t++) {
            const __m256i w0 = load32(w[0]->b[t]), w1 = load32(w[1]->b[t]);
            UNROLL for (int c = 0; c < C; c++) {
                const __m256i v = broadcast4(x[c].x->q + 4 * t);
                const __m256i a = _mm256_maddubs_epi16(w0, v), b = _mm256_maddubs_epi16(w1, v);
                p[0][c] = t == t0 ? a : _mm256_add_epi16(p[0][c], a);
                p[1][c] = t == t0 ? b : _mm256_add_epi16(p[1][c], b);
                /* A chain, see tile.h; with one addition it would only cost. */
                if (f.fit > 2) __asm__("" : "+x"(p[0][c]), "+x"(p[1][c]));
            }
        }
        UNROLL for (int r = 0; r < TILES; r++) {
            const __m256i sc = load32(w[r]->sc[t0 / 4]);
            UNROLL for (int c = 0; c < C; c++) sum[r][c] = madd_add(sum[r][c], p[r][c], sc, false);
        }
    }
}

INLINE void sum_wide(const struct tile *const w[TILES], const struct col x[COLS], int C,
                     __m256i sum[TILES][COLS]) {
    UNROLL for (int r = 0; r < TILES; r++) UNROLL for (int c = 0; c < C; c++) sum[r][c] =
        _mm256_setzero_si256();
    for (int t0 = 0; t0 < 64; t0 += 8) {
        __m256i dot[TILES][COLS];
        UNROLL for (int s = 0; s < 16; s++) {
            const int t = t0 + s / 2, h = s % 2;
            const __m256i w0 = load32(w[0]->w[t][h]), w1 = load32(w[1]->w[t][h]);
            UNROLL for (int c = 0; c < C; c++) {
                const __m256i v = broadcast4(h ? x[c].wide->odd[t] : x[c].wide->even[t]);
                const __m256i a = _mm256_madd_epi16(w0, v), b = _mm256_madd_epi16(w1, v);
                dot[0][c] = s ? chain32(dot[0][c], a) : a;
                dot[1][c] = s ? chain32(dot[1][c], b) : b;
            }
        }
        UNROLL for (int r = 0; r < TILES; r++) {
            const __m256i sc = load32(w[r]->sc[t0 / 4]);
            UNROLL for (int c = 0; c < C; c++) sum[r][c] =
                _mm256_add_epi32(sum[r][c], _mm256_mullo_epi32(dot[r][c], sc));
        }
    }
}

/* dot[r][c] += n steps from t0 on. */
INLINE void steps_vnni(const struct tile *const w[TILES], const struct col x[COLS], int t0, int n,
                       int C, __m256i dot[TILES][COLS]) {
    UNROLL for (int t = t0; t < t0 + n; t++) {
        const __m256i w0 = load32(w[0]->b[t]), w1 = load32(w[1]->b[t]);
        UNROLL for (int c = 0; c < C; c++) {
            const __m256i v = broadcast4(x[c].x->q + 4 * t);
            dot[0][c] = dpbusd(dot[0][c], w0, v);
            dot[1][c] = dpbusd(dot[1][c], w1, v);
        }
    }
}

INLINE void sum_dots(const struct tile *const w[TILES], const struct col x[COLS], int C,
                     struct form f, __m256i sum[TILES][COLS]) {
    UNROLL for (int r = 0; r < TILES; r++) UNROLL for (int c = 0; c < C; c++) sum[r][c] =
        _mm256_setzero_si256();
    for (int j = 0; j < 256 / f.width; j++) {
        __m256i dot[TILES][COLS];
        UNROLL for (int c = 0; c < C; c++) {
            const int32_t *start = f.width == 32 ? x[c].x->start32 : x[c].x->start16;
            dot[0][c] = dot[1][c] = f.bias ? broadcast4(start + j) : _mm256_setzero_si256();
        }
        steps_vnni(w, x, j * f.width / 4, f.width / 4, C, dot);
        UNROLL for (int r = 0; r < TILES; r++) {
            const __m256i sc = load32(w[r]->sc[j * f.width / 16]);
            UNROLL for (int c = 0; c < C; c++) sum[r][c] =
                _mm256_add_epi32(sum[r][c], _mm256_mullo_epi32(dot[r][c], sc));
        }
    }
}

/* -bias times the sum of a column's block, in every lane. */
INLINE __m256i start_all(const struct act_q8_k *x, int bias) {
    const __m256i s =
        _mm256_broadcastsi128_si256(_mm_load_si128((const __m128i *)(const void *)x->sum32));
    __m256i t = _mm256_madd_epi16(s, _mm256_set1_epi16((int16_t)-bias));
    t = _mm256_add_epi32(t, _mm256_shuffle_epi32(t, 0x4e));
    return _mm256_add_epi32(t, _mm256_shuffle_epi32(t, 0xb1));
}

/* Two chains for each sum: six alone would wait for each other (5 cycles, two a cycle). */
INLINE void sum_scaled(const struct tile *const w[TILES], const struct col x[COLS], int C,
                       struct form f, __m256i sum[TILES][COLS]) {
    __m256i more[TILES][COLS];
    UNROLL for (int c = 0; c < C; c++) {
        sum[0][c] = sum[1][c] = f.bias ? start_all(x[c].x, f.bias) : _mm256_setzero_si256();
        more[0][c] = more[1][c] = _mm256_setzero_si256();
    }
    for (int t = 0; t < 64; t += 8) {
        UNROLL for (int s = 0; s < 8; s += 2) {
            steps_vnni(w, x, t + s, 1, C, sum);
            steps_vnni(w, x, t + s + 1, 1, C, more);
        }
    }
    UNROLL for (int r = 0; r < TILES; r++) UNROLL for (int c = 0; c < C; c++) sum[r][c] =
        _mm256_add_epi32(sum[r][c], more[r][c]);
}

/* The mins of eight rows times the sums of a column, in the order of those (act.h). */
INLINE __m256i min_dot(const struct tile *w, const struct act_q8_k *x, struct form f) {
    const int16_t *sums = f.width == 32 ? x->sum32 : x->sum16;
    __m256i min = _mm256_setzero_si256();
    UNROLL for (int k = 0; k < 128 / f.width; k++) min =
        madd_add(min, load32(w->m[k]), broadcast4(sums + 2 * k), f.how >= DOTS);
    return min;
}

/* A block's integers are done: v, times the column's scale, is its value. */
INLINE __m256 value(const struct tile *w, const struct act_q8_k *x, __m256i sum, struct form f) {
    const bool less = f.how == PAIRS && f.bias;
    const __m256i min = f.mins || less ? min_dot(w, x, f) : _mm256_setzero_si256();
    if (less) sum = _mm256_sub_epi32(sum, min);
    const __m256 v = _mm256_mul_ps(_mm256_cvtepi32_ps(sum), _mm256_load_ps(w->d));
    return f.mins ? _mm256_fnmadd_ps(_mm256_cvtepi32_ps(min), _mm256_load_ps(w->dmin), v) : v;
}

/* acc[c][r] += n_block blocks of 16 rows times C columns. */
INLINE void mul_tile(const struct tile *t, int n_block, const uint8_t *const *xp, size_t x_step,
                     const struct wide *wide, float *acc, int C, struct form f) {
    __m256 sum[TILES][COLS];
    UNROLL for (int r = 0; r < TILES; r++) UNROLL for (int c = 0; c < C; c++) sum[r][c] =
        _mm256_load_ps(acc + c * MAT_ROWS + r * LANES);
    for (int b = 0; b < n_block; b++) {
        const struct tile *const w[TILES] = {t + b, t + CHUNK + b};
        struct col x[COLS];
        __m256i dot[TILES][COLS];
        UNROLL for (int c = 0; c < C; c++) x[c] =
            (struct col){(const struct act_q8_k *)(const void *)(xp[c] + (size_t)b * x_step),
                         wide + c * CHUNK + b};
        if (f.how == PAIRS) sum_pairs(w, x, C, f, dot);
        if (f.how == WIDE) sum_wide(w, x, C, dot);
        if (f.how == DOTS) sum_dots(w, x, C, f, dot);
        if (f.how == SCALED) sum_scaled(w, x, C, f, dot);
        UNROLL for (int r = 0; r < TILES; r++) UNROLL for (int c = 0; c < C; c++) {
            const __m256 v = value(w[r], x[c].x, dot[r][c], f);
            sum[r][c] = _mm256_fmadd_ps(v, _mm256_set1_ps(x[c].x->d), sum[r][c]);
        }
    }
    UNROLL for (int r = 0; r < TILES; r++) UNROLL for (int c = 0; c < C; c++)
        _mm256_store_ps(acc + c * MAT_ROWS + r * LANES, sum[r][c]);
}

/* A chunk of a piece, unpacked, times all columns. */
INLINE void mul_cols(const struct mat_call *c, const struct tile *t, int b0, int n_block,
                     struct form f) {
    struct wide *wide = (struct wide *)(void *)(c->tmp + N_TILE * sizeof *t);
    for (int i = 0; i < n_part(c); i++) {
        const struct part p = part_of(c, i, b0, ACT_Q8_K);
        for (int k = 0; f.how == WIDE && k < p.n; k++)
            widen(p.x[k], c->x_step, n_block, wide + k * CHUNK);
        for (int r = 0; r < c->n_row; r += TILES * LANES) {
            const struct tile *at = t + r / LANES * CHUNK;
            float *acc = c->acc + p.lo * MAT_ROWS + r;
            switch (p.n) {
            case 1: mul_tile(at, n_block, p.x, c->x_step, wide, acc, 1, f); break;
            case 2: mul_tile(at, n_block, p.x, c->x_step, wide, acc, 2, f); break;
            case 3: mul_tile(at, n_block, p.x, c->x_step, wide, acc, 3, f); break;
            }
        }
    }
}

INLINE void mul_many(enum qtype type, const struct mat_call *c, row_k_fn *row, struct form f) {
    struct tile *t = (struct tile *)(void *)c->tmp;
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

#define MANY(name, row, ...)                                                                       \
    static void many_##name(enum qtype t, const struct mat_call *c) {                              \
        mul_many(t, c, row, (struct form){__VA_ARGS__});                                           \
    }
/* The last figure: 4 products of at most 127 * (weight + bias), twice, stay below 2^15. */
MANY(q2_k, row_q2_k, PAIRS, 16, 0, true, 4)
MANY(q3_k, row_q3_k, PAIRS, 16, 4, false, 4)
MANY(q4_k, row_q4_k, PAIRS, 32, 0, true, 8)
MANY(q5_k, row_q5_k, PAIRS, 32, 0, true, 4)
MANY(q6_k, row_q6_k, PAIRS, 16, 32, false, 2)
MANY(tq2_0, row_tq2_0, PAIRS, 16, 1, false, 4)
MANY(iq4_xs, row_iq4_xs, WIDE, 32, 0, false, 0)
MANY(grid, row_k_of(t), PAIRS, 16, 64, false, 1)

MANY(q2_k_vnni, row_q2_k, SCALED, 16, 0, true, 0)
MANY(q3_k_vnni, row_q3_k, SCALED, 16, 124, false, 0)
MANY(q4_k_vnni, row_q4_k, DOTS, 32, 0, true, 0)
MANY(q5_k_vnni, row_q5_k, DOTS, 32, 0, true, 0)
MANY(q6_k_vnni, row_q6_k, DOTS, 16, 128, false, 0)
MANY(iq4_xs_vnni, row_iq4_xs, DOTS, 32, 128, false, 0)
MANY(grid_vnni, row_k_of(t), DOTS, 16, 128, false, 0)

static mat_fn *plain(enum qtype t) {
    switch (t) {
    case QT_Q2_K: return many_q2_k;
    case QT_Q3_K: return many_q3_k;
    case QT_Q4_K: return many_q4_k;
    case QT_Q5_K: return many_q5_k;
    case QT_Q6_K: return many_q6_k;
    case QT_TQ2_0: return many_tq2_0;
    case QT_IQ4_XS: return many_iq4_xs;
    default: return many_grid;
    }
}

static mat_fn *vnni_fn(enum qtype t) {
    switch (t) {
    case QT_Q2_K: return many_q2_k_vnni;
    case QT_Q3_K: return many_q3_k_vnni;
    case QT_Q4_K: return many_q4_k_vnni;
    case QT_Q5_K: return many_q5_k_vnni;
    case QT_Q6_K: return many_q6_k_vnni;
    case QT_IQ4_XS: return many_iq4_xs_vnni;
    default: return many_grid_vnni;
    }
}

mat_fn *mat_avx2_many_k(enum qtype t, bool vnni) {
    return vnni ? vnni_fn(t) : plain(t);
}
