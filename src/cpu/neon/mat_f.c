/* Products in float for ARM: F32, F16, BF16, and every other format by decoding rows first; used
 * for what has no integer kernel and for adapters.  The scheme of avx512/mat_f.c with 4 lanes and
 * tiles of 4 rows x 4 columns: 16 sums, 4 weights, 1 activation. */
#include <arm_neon.h>
#include <string.h>

#include "cpu/act.h"
#include "cpu/inline.h"
#include "cpu/neon/tile.h"
#include "quant/quant.h"

enum { CHUNK = 1024, ROWS = 4, COLS = 4 };

_Static_assert(MAT_PIECE *CHUNK * sizeof(float) <= MAT_TMP_BYTES, "scratch");

/* n weights at w as floats, zeros up to the next multiple of 4. */
static void decode_row(enum qtype t, const uint8_t *w, int n, float *to) {
    int i = 0;
    for (int k = n; k % 4; k++)
        to[k] = 0.0f;
    if (t == QT_F16) {
        for (; i + 4 <= n; i += 4) {
            uint64_t four;
            memcpy(&four, w + 2 * i, sizeof four);
            vst1q_f32(to + i, vcvt_f32_f16(vreinterpret_f16_u64(vcreate_u64(four))));
        }
    }
    if (i < n) quant_type(t)->decode(w + qtype_row_bytes(t, i), to + i, (size_t)(n - i));
}

/* acc[c][0..4) += n values of four rows, CHUNK apart, times C columns. */
INLINE void mul_4c(const float *w, int n, const uint8_t *const *x, size_t x_step, float *acc,
                   int C) {
    float32x4_t sum[ROWS][COLS];
    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int c = 0; c < C; c++) sum[r][c] =
        vdupq_n_f32(0);
    for (int at = 0; at < n; at += ACT_BLOCK) {
        const size_t block = (size_t)(at / ACT_BLOCK) * x_step;
        const int end = n - at < ACT_BLOCK ? n - at : ACT_BLOCK;
        for (int i = 0; i < end; i += 4) {
            float32x4_t v[ROWS];
            UNROLL for (int r = 0; r < ROWS; r++) v[r] = vld1q_f32(w + r * CHUNK + at + i);
            UNROLL for (int c = 0; c < C; c++) {
                const float32x4_t b = vld1q_f32((const float *)(const void *)(x[c] + block) + i);
                UNROLL for (int r = 0; r < ROWS; r++) sum[r][c] = vfmaq_f32(sum[r][c], v[r], b);
            }
        }
    }
    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int c = 0; c < C; c++)
        acc[c * MAT_ROWS + r] += vaddvq_f32(sum[r][c]);
}

static void mul_tile(const float *w, int n_value, const uint8_t *const *x, size_t x_step,
                     float *acc, int n) {
    switch (n) {
    case 1: mul_4c(w, n_value, x, x_step, acc, 1); break;
    case 2: mul_4c(w, n_value, x, x_step, acc, 2); break;
    case 3: mul_4c(w, n_value, x, x_step, acc, 3); break;
    case 4: mul_4c(w, n_value, x, x_step, acc, 4); break;
    }
}

/* Values [at, at + n) of rows [r0, r0 + n_row) times all columns. */
static void mul_chunk(enum qtype t, const struct mat_call *c, int r0, int n_row, int at, int n) {
    float *w = (float *)(void *)c->tmp;
    const size_t act = act_bytes(ACT_F32);
    const uint8_t *x0 = c->x + (size_t)(at / ACT_BLOCK) * c->x_step, *x[COLS];
    const int n_part = (c->n + COLS - 1) / COLS;
    for (int r = 0; r < n_row; r++) { /* rows beyond the piece repeat its last */
        const int row = r0 + r < c->n_row ? r0 + r : c->n_row - 1;
        decode_row(t, c->w + (size_t)row * c->row_bytes + qtype_row_bytes(t, at), n, w + r * CHUNK);
    }
    for (int part = 0; part < n_part; part++) {
        const int lo = c->n * part / n_part, hi = c->n * (part + 1) / n_part;
        for (int i = lo; i < hi; i++)
            x[i - lo] = x0 + (size_t)(c->index ? c->index[i] : i) * act;
        for (int r = 0; r < n_row; r += ROWS)
            mul_tile(w + r * CHUNK, n, x, c->x_step, c->acc + lo * MAT_ROWS + r0 + r, hi - lo);
    }
}

static void mul_f(enum qtype t, const struct mat_call *c) {
    const int all = (c->n_row + ROWS - 1) / ROWS * ROWS, step = c->n <= COLS ? ROWS : all;
    mat_acc_clear(c);
    for (int r = 0; r < all; r += step)
        for (int at = 0; at < c->n_col; at += CHUNK)
            mul_chunk(t, c, r, step, at, c->n_col - at < CHUNK ? c->n_col - at : CHUNK);
}

void kern_mat_neon_float(struct kern_mat *k) {
    for (int t = 0; t < QT_COUNT; t++)
        if (k->of[t].mul) k->of[t] = (struct mat_kern){mul_f, ACT_F32, 32, "neon", 0};
    k->mul_f32 = mul_f;
}
