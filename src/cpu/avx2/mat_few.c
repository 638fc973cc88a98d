/* int8 products with 1..4 columns for AVX2: what decoding a token does, bound by memory if it is
 * quick enough.  Rows go four at a time, in file order; each block of a row is unpacked in L1 and
 * meets the columns at once, and the lanes of four rows are added up together.
 *
 * The float operations and their order are those of the tiles in mat_row.c, and so are the bits. */
#include "cpu/avx2/dot.h"
#include "cpu/avx2/mat.h"
#include "cpu/rowmul.h"

enum { GROUP = 4, MOST = ROW_FEW };

/* Where four rows (the last one repeated beyond the piece) and the columns are. */
struct walk {
    const uint8_t *w[GROUP], *x[MOST];
    size_t x_step, block, ahead;
    int n_block;
};

static struct walk walk_from(const struct mat_call *c, int r0, size_t block, enum act_enc enc) {
    struct walk k = {.x_step = c->x_step,
                     .block = block,
                     .ahead = GROUP * c->row_bytes,
                     .n_block = act_blocks(c->n_col)};
    for (int r = 0; r < GROUP; r++)
        k.w[r] = c->w + (size_t)(r0 + r < c->n_row ? r0 + r : c->n_row - 1) * c->row_bytes;
    for (int i = 0; i < c->n; i++)
        k.x[i] = c->x + (size_t)(c->index ? c->index[i] : i) * act_bytes(enc);
    return k;
}

/* The bytes that the next four rows have here; beyond the matrix at its end: harmless. */
INLINE void fetch_ahead(const uint8_t *w, size_t ahead, size_t block) {
    for (size_t i = 0; i < block; i += 64)
        __builtin_prefetch(w + ahead + i);
}

/* ---- integer scales ---- */

/* Integers of one block: [column][row], lanes still apart. */
struct ints {
    __m256i dot[MOST][GROUP], min[MOST][GROUP];
    float d[GROUP], dmin[GROUP];
};

INLINE void row_ints(const struct row_k *w, const struct act_q8_k *const *x, int C, enum k_form f,
                     int r, struct ints *o) {
    __m256i dot[MOST];
    UNROLL for (int c = 0; c < C; c++) dot[c] = _mm256_setzero_si256();
    UNROLL for (int s = 0; s < 8; s++) {
        const __m256i q = load32(w->q + 32 * s), sc = scales(w, s);
        UNROLL for (int c = 0; c < C; c++) dot[c] =
            madd_add(dot[c], dot_pairs(q, load32(x[c]->q + 32 * s), f == SIGNED), sc, 0);
    }
    UNROLL for (int c = 0; c < C; c++) {
        if (f != SIGNED) {
            const __m256i min = _mm256_madd_epi16(load32(w->m), load32(x[c]->sum16));
            if (f == BIASED)
                dot[c] = _mm256_sub_epi32(dot[c], min);
            else
                o->min[c][r] = min;
        }
        o->dot[c][r] = dot[c];
    }
    o->d[r] = w->d;
    o->dmin[r] = w->dmin;
}

/* Not one load: four floats just stored one by one. */
INLINE __m128 row4(const float v[GROUP]) {
    return _mm_setr_ps(v[0], v[1], v[2], v[3]);
}

/* Four rows' block is done: its values times column c. */
INLINE __m128 ints_value(const struct ints *o, int c, enum k_form f) {
    __m128 v = _mm_mul_ps(_mm_cvtepi32_ps(sums4(o->dot[c])), row4(o->d));
    if (f == MINS) v = _mm_fnmadd_ps(_mm_cvtepi32_ps(sums4(o->min[c])), row4(o->dmin), v);
    return v;
}

INLINE void group_k(const struct walk *k, row_k_fn *row, int bias, enum k_form f, int C,
                    float *acc) {
    __m128 total[MOST], sum[MOST];
    UNROLL for (int c = 0; c < C; c++) total[c] = sum[c] = _mm_setzero_ps();
    for (int b = 0; b < k->n_block; b++) {
        const struct act_q8_k *x[MOST];
        struct ints o;
        UNROLL for (int c = 0; c < C; c++) x[c] =
            (const struct act_q8_k *)(const void *)(k->x[c] + (size_t)b * k->x_step);
        for (int r = 0; r < GROUP; r++) {
            struct row_k w;
            const uint8_t *at = k->w[r] + (size_t)b * k->block;
            fetch_ahead(at, k->ahead, k->block);
            row(at, &w, bias);
            row_ints(&w, x, C, f, r, &o);
        }
        UNROLL for (int c = 0; c < C; c++) sum[c] =
            _mm_fmadd_ps(ints_value(&o, c, f), _mm_set1_ps(x[c]->d), sum[c]);
        if ((b + 1) % ROW_BLOCKS && b + 1 < k->n_block) continue;
        UNROLL for (int c = 0; c < C; c++) { /* a chunk of the tiles ends */
            total[c] = _mm_add_ps(total[c], sum[c]);
            sum[c] = _mm_setzero_ps();
        }
    }
    UNROLL for (int c = 0; c < C; c++) _mm_storeu_ps(acc + c * MAT_ROWS, total[c]);
}

/* ---- float scales ---- */

INLINE __m256 row_floats(const struct row_q *w, const struct act_q8 *x, bool sign, bool mins,
                         __m256 sum) {
    const __m256i ones = _mm256_set1_epi16(1);
    _Alignas(32) float d[8];
    _mm256_store_ps(d, _mm256_mul_ps(_mm256_loadu_ps(w->d), _mm256_loadu_ps(x->d)));
    if (mins) sum = _mm256_fmadd_ps(_mm256_loadu_ps(w->m), _mm256_loadu_ps(x->ds), sum);
    UNROLL for (int s = 0; s < 8; s++) {
        const __m256i p = dot_pairs(load32(w->q + 32 * s), load32(x->q + 32 * s), sign);
        const __m256 dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(p, ones));
        sum = _mm256_fmadd_ps(dot, _mm256_broadcast_ss(&d[s]), sum);
    }
    return sum;
}

INLINE void block_q(const uint8_t *at, row_q_fn *row, const struct walk *k, int b, bool mins, int C,
                    __m256 *sum) {
    struct row_q w;
    row(at, &w);
    UNROLL for (int c = 0; c < C; c++) {
        const void *x = k->x[c] + (size_t)b * k->x_step;
        sum[c] = row_floats(&w, x, !mins, mins, sum[c]);
    }
}

INLINE void group_q(const struct walk *k, row_q_fn *row, size_t row_bytes, bool mins, int C,
                    float *acc) {
    __m256 sum[GROUP][MOST];
    memset(sum, 0, sizeof sum);
    UNROLL for (int c = 0; c < C; c++) _mm_storeu_ps(acc + c * MAT_ROWS, _mm_setzero_ps());
    for (int b = 0; b < k->n_block; b++) {
        const size_t at = (size_t)b * k->block, left = row_bytes - at;
        for (int r = 0; r < GROUP; r++) {
            uint8_t stage[2 * ACT_BLOCK];
            const uint8_t *w = k->w[r] + at;
            fetch_ahead(w, k->ahead, k->block);
            if (left < k->block) { /* what a row lacks of its last block is zeros */
                memset(stage, 0, sizeof stage);
                w = memcpy(stage, w, left);
            }
            block_q(w, row, k, b, mins, C, sum[r]);
        }
        if ((b + 1) % ROW_BLOCKS && b + 1 < k->n_block) continue;
        for (int r = 0; r < GROUP; r++) { /* a chunk of the tiles ends */
            for (int c = 0; c < C; c++) {
                acc[c * MAT_ROWS + r] += lane_sum(sum[r][c]);
                sum[r][c] = _mm256_setzero_ps();
            }
        }
    }
}

/* ---- instances ---- */

#define EACH_GROUP(call, enc, block, body, ...)                                                    \
    for (int r = 0; r < (call)->n_row; r += GROUP) {                                               \
        const struct walk k = walk_from(call, r, block, enc);                                      \
        switch ((call)->n) {                                                                       \
        case 1: body(&k, __VA_ARGS__, 1, (call)->acc + r); break;                                  \
        case 2: body(&k, __VA_ARGS__, 2, (call)->acc + r); break;                                  \
        case 3: body(&k, __VA_ARGS__, 3, (call)->acc + r); break;                                  \
        case 4: body(&k, __VA_ARGS__, 4, (call)->acc + r); break;                                  \
        }                                                                                          \
    }

/* The bias is the smallest that leaves no negative weight. */
#define FEW_K(type, TYPE, bias)                                                                    \
    static void few_##type(enum qtype t, const struct mat_call *c) {                               \
        (void)t;                                                                                   \
        EACH_GROUP(c, ACT_Q8_K, sizeof(struct block_##type), group_k, row_##type, bias,            \
                   form_of(TYPE))                                                                  \
    }
FEW_K(q2_k, QT_Q2_K, 0)
FEW_K(q3_k, QT_Q3_K, 4)
FEW_K(q4_k, QT_Q4_K, 0)
FEW_K(q5_k, QT_Q5_K, 0)
FEW_K(q6_k, QT_Q6_K, 32)
FEW_K(iq4_xs, QT_IQ4_XS, 0)
FEW_K(tq2_0, QT_TQ2_0, 1)

#define FEW_Q(type, mins)                                                                          \
    static void few_##type(enum qtype t, const struct mat_call *c) {                               \
        EACH_GROUP(c, ACT_Q8, qtype_row_bytes(t, ACT_BLOCK), group_q, row_##type, c->row_bytes,    \
                   mins)                                                                           \
    }
FEW_Q(q4_0, false)
FEW_Q(q4_1, true)
FEW_Q(q5_0, false)
FEW_Q(q5_1, true)
FEW_Q(q8_0, false)
FEW_Q(iq4_nl, false)
FEW_Q(mxfp4, false)

mat_fn *mat_avx2_few(enum qtype t) {
    static mat_fn *const fn[QT_COUNT] = {
        [QT_Q2_K] = few_q2_k,     [QT_Q3_K] = few_q3_k,   [QT_Q4_K] = few_q4_k,
        [QT_Q5_K] = few_q5_k,     [QT_Q6_K] = few_q6_k,   [QT_IQ4_XS] = few_iq4_xs,
        [QT_TQ2_0] = few_tq2_0,   [QT_Q4_0] = few_q4_0,   [QT_Q4_1] = few_q4_1,
        [QT_Q5_0] = few_q5_0,     [QT_Q5_1] = few_q5_1,   [QT_Q8_0] = few_q8_0,
        [QT_IQ4_NL] = few_iq4_nl, [QT_MXFP4] = few_mxfp4,
    };
    return fn[t];
}
