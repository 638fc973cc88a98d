/* int8 products for AVX2: lanes run along the row, 32 values a step, 2 rows x 4 columns a tile: the
 * grid formats and those with float scales.  What decodes often has kernels of its own for few
 * columns (mat_few.c), and the K types for many (mat_tile.c).
 *
 * 16 registers: 8 sums, 2 weights, 2 scales, 1 activation, 3 for what is in flight. */
#include "cpu/avx2/dot.h"
#include "cpu/avx2/mat.h"
#include "cpu/rowmul.h"

enum { ROWS = 2, COLS = 4 };

/* ---- integer scales ---- */

/* The sub-blocks' mins times the sums of the columns, C of 4. */
INLINE void mins4(const struct row_k *w, const struct act_q8_k *const x[4], int C, __m256i min[4]) {
    const __m256i m = load32(w->m);
    UNROLL for (int c = 0; c < COLS; c++) min[c] =
        c < C ? _mm256_madd_epi16(m, load32(x[c]->sum16)) : _mm256_setzero_si256();
}

/* One block's integers of a row and 4 columns are done: add its values to the columns' sums. */
INLINE __m128 add_block(__m128 sum, __m256i dot[4], const struct row_k *w,
                        const struct act_q8_k *const x[4], __m128 dx, int C, enum k_form f) {
    __m256i min[4];
    if (f != SIGNED) mins4(w, x, C, min);
    if (f == BIASED)
        UNROLL for (int c = 0; c < COLS; c++) dot[c] = _mm256_sub_epi32(dot[c], min[c]);
    __m128 v = _mm_mul_ps(_mm_cvtepi32_ps(sums4(dot)), _mm_set1_ps(w->d));
    return _mm_fmadd_ps(v, dx, sum);
}

INLINE void mul_k(const void *wp, int n_block, const uint8_t *const *xp, size_t x_step, float *acc,
                  int C, enum k_form f, int vnni) {
    __m128 sum[ROWS] = {_mm_setzero_ps(), _mm_setzero_ps()};
    for (int b = 0; b < n_block; b++) {
        const struct row_k *w[ROWS] = {(const struct row_k *)wp + b,
                                       (const struct row_k *)wp + ROW_BLOCKS + b};
        const struct act_q8_k *x[COLS];
        __m256i dot[ROWS][COLS];
        float dx[COLS] = {0};
        UNROLL for (int c = 0; c < COLS; c++) {
            UNROLL for (int r = 0; r < ROWS; r++) dot[r][c] = _mm256_setzero_si256();
        }
        UNROLL for (int c = 0; c < C; c++) {
            x[c] = (const struct act_q8_k *)(const void *)(xp[c] + (size_t)b * x_step);
            dx[c] = x[c]->d;
        }
        for (int s = 0; s < 8; s++) {
            __m256i q[ROWS], sc[ROWS];
            UNROLL for (int r = 0; r < ROWS; r++) {
                q[r] = load32(w[r]->q + 32 * s);
                sc[r] = scales(w[r], s);
            }
            UNROLL for (int c = 0; c < C; c++) {
                const __m256i v = load32(x[c]->q + 32 * s);
                UNROLL for (int r = 0; r < ROWS; r++) {
                    const __m256i p = f == SIGNED ? _mm256_maddubs_epi16(_mm256_abs_epi8(q[r]),
                                                                         _mm256_sign_epi8(v, q[r]))
                                                  : _mm256_maddubs_epi16(q[r], v);
                    dot[r][c] = madd_add(dot[r][c], p, sc[r], vnni);
                }
            }
        }
        UNROLL for (int r = 0; r < ROWS; r++) sum[r] =
            add_block(sum[r], dot[r], w[r], x, _mm_loadu_ps(dx), C, f);
    }
    UNROLL for (int r = 0; r < ROWS; r++) {
        float v[COLS];
        _mm_storeu_ps(v, sum[r]);
        UNROLL for (int c = 0; c < C; c++) acc[c * MAT_ROWS + r] += v[c];
    }
}

/* ---- float scales ---- */

INLINE void mul_q(const void *wp, int n_block, const uint8_t *const *xp, size_t x_step, float *acc,
                  int C, int mins) {
    const __m256i ones = _mm256_set1_epi16(1);
    __m256 sum[ROWS][COLS];
    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int c = 0; c < C; c++) sum[r][c] =
        _mm256_setzero_ps();
    for (int b = 0; b < n_block; b++) {
        const struct row_q *w[ROWS] = {(const struct row_q *)wp + b,
                                       (const struct row_q *)wp + ROW_BLOCKS + b};
        const struct act_q8 *x[COLS];
        float d[ROWS][COLS][8];
        UNROLL for (int c = 0; c < C; c++) {
            x[c] = (const struct act_q8 *)(const void *)(xp[c] + (size_t)b * x_step);
            const __m256 dx = _mm256_loadu_ps(x[c]->d), ds = _mm256_loadu_ps(x[c]->ds);
            UNROLL for (int r = 0; r < ROWS; r++) {
                _mm256_storeu_ps(d[r][c], _mm256_mul_ps(_mm256_loadu_ps(w[r]->d), dx));
                if (mins) sum[r][c] = _mm256_fmadd_ps(_mm256_loadu_ps(w[r]->m), ds, sum[r][c]);
            }
        }
        for (int s = 0; s < 8; s++) {
            __m256i q[ROWS];
            UNROLL for (int r = 0; r < ROWS; r++) q[r] = load32(w[r]->q + 32 * s);
            UNROLL for (int c = 0; c < C; c++) {
                const __m256i v = load32(x[c]->q + 32 * s);
                UNROLL for (int r = 0; r < ROWS; r++) {
                    const __m256i p = mins ? _mm256_maddubs_epi16(q[r], v)
                                           : _mm256_maddubs_epi16(_mm256_abs_epi8(q[r]),
                                                                  _mm256_sign_epi8(v, q[r]));
                    const __m256 dot = _mm256_cvtepi32_ps(_mm256_madd_epi16(p, ones));
                    sum[r][c] = _mm256_fmadd_ps(dot, _mm256_broadcast_ss(&d[r][c][s]), sum[r][c]);
                }
            }
        }
    }
    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int c = 0; c < C; c++)
        acc[c * MAT_ROWS + r] += lane_sum(sum[r][c]);
}

/* ---- instances ---- */

/* A tile function for 1..4 columns. */
#define TILE_FN(name, body, ...)                                                                   \
    static void name(const void *w, int n_block, const uint8_t *const *x, size_t x_step,           \
                     float *acc, int n) {                                                          \
        switch (n) {                                                                               \
        case 1: body(w, n_block, x, x_step, acc, 1, __VA_ARGS__); break;                           \
        case 2: body(w, n_block, x, x_step, acc, 2, __VA_ARGS__); break;                           \
        case 3: body(w, n_block, x, x_step, acc, 3, __VA_ARGS__); break;                           \
        case 4: body(w, n_block, x, x_step, acc, 4, __VA_ARGS__); break;                           \
        }                                                                                          \
    }

TILE_FN(tile_biased, mul_k, BIASED, 0)
TILE_FN(tile_signed, mul_k, SIGNED, 0)
TILE_FN(tile_biased_vnni, mul_k, BIASED, 1)
TILE_FN(tile_signed_vnni, mul_k, SIGNED, 1)
TILE_FN(tile_q, mul_q, 0)
TILE_FN(tile_q_mins, mul_q, 1)

static void unpack_k(enum qtype t, const uint8_t *block, void *out) {
    row_k_of(t)(block, out, form_of(t) == BIASED ? 64 : 0);
}

static void unpack_q(enum qtype t, const uint8_t *block, void *out) {
    row_q_of(t)(block, out);
}

static void run_k(enum qtype t, const struct mat_call *c, row_tile_fn *const tile[3]) {
    const struct row_kind k = {unpack_k, tile[form_of(t)],     ROWS,
                               COLS,     sizeof(struct row_k), ACT_Q8_K};
    row_mul(t, c, &k);
}

/* Done, by a kernel of this type's own? */
static bool run_own(enum qtype t, const struct mat_call *c) {
    mat_fn *const own = c->n <= ROW_FEW ? mat_avx2_few(t) : mat_avx2_many(t);
    if (own) own(t, c);
    return own;
}

static void mul_k_plain(enum qtype t, const struct mat_call *c) {
    if (run_own(t, c)) return;
    run_k(t, c, (row_tile_fn *const[]){[BIASED] = tile_biased, [SIGNED] = tile_signed});
}

static void mul_k_vnni(enum qtype t, const struct mat_call *c) {
    if (run_own(t, c)) return;
    run_k(t, c, (row_tile_fn *const[]){[BIASED] = tile_biased_vnni, [SIGNED] = tile_signed_vnni});
}

static void mul_q_any(enum qtype t, const struct mat_call *c) {
    const int mins = t == QT_Q4_1 || t == QT_Q5_1;
    if (run_own(t, c)) return;
    const struct row_kind k = {unpack_q, mins ? tile_q_mins : tile_q, ROWS,
                               COLS,     sizeof(struct row_q),        ACT_Q8};
    row_mul(t, c, &k);
}

void kern_mat_avx2_row(struct kern_mat *k, bool vnni) {
    for (int t = 0; t < QT_COUNT; t++) {
        if (row_k_of((enum qtype)t))
            k->of[t] = vnni ? (struct mat_kern){mul_k_vnni, ACT_Q8_K, 16, "avxvnni"}
                            : (struct mat_kern){mul_k_plain, ACT_Q8_K, 16, "avx2"};
        if (row_q_of((enum qtype)t)) k->of[t] = (struct mat_kern){mul_q_any, ACT_Q8, 16, "avx2"};
    }
}
