/* int8 products for ARM with the dot product instructions: lanes run along the row, 16 values a
 * step, 4 rows x 4 columns a tile.  Signed by signed, so no format needs a bias.
 *
 * 32 registers: 16 sums, 4 weights, 4 scales, 4 activations, the rest in flight. */
#include <arm_neon.h>

#include "cpu/neon/mat.h"
#include "cpu/inline.h"
#include "cpu/rowmul.h"

enum { ROWS = 4, COLS = 4 };

/* The lane sums of four vectors. */
INLINE int32x4_t sums4(const int32x4_t v[4]) {
    return vpaddq_s32(vpaddq_s32(v[0], v[1]), vpaddq_s32(v[2], v[3]));
}

/* acc[c][r] += v[c] for C columns. */
INLINE void add_columns(float32x4_t v, float *acc, int r, int C) {
    float f[COLS];
    vst1q_f32(f, v);
    UNROLL for (int c = 0; c < C; c++) acc[c * MAT_ROWS + r] += f[c];
}

/* ---- integer scales ---- */

/* The sub-blocks' mins times the sums of a column, in four lanes. */
INLINE int32x4_t mins(const struct row_k *w, const struct act_q8_k *x) {
    int32x4_t s = vdupq_n_s32(0);
    UNROLL for (int i = 0; i < 16; i += 4) s =
        vmlal_s16(s, vld1_s16(w->m + i), vld1_s16(x->sum16 + i));
    return s;
}

/* Sub-blocks [4 g, 4 g + 4) of 4 rows and C columns. */
INLINE void mul_quarter(const struct row_k *const w[ROWS], const struct act_q8_k *const x[COLS],
                        int g, int C, int32x4_t dot[ROWS][COLS]) {
    int32x4_t sc[ROWS];
    UNROLL for (int r = 0; r < ROWS; r++) sc[r] = vmovl_s16(vld1_s16(w[r]->sc + 4 * g));
    UNROLL for (int i = 0; i < 4; i++) {
        const int at = 64 * g + 16 * i;
        int8x16_t q[ROWS];
        UNROLL for (int r = 0; r < ROWS; r++) q[r] = vld1q_s8(w[r]->q + at);
        UNROLL for (int c = 0; c < C; c++) {
            const int8x16_t v = vld1q_s8(x[c]->q + at);
            UNROLL for (int r = 0; r < ROWS; r++) {
                const int32x4_t p = vdotq_s32(vdupq_n_s32(0), q[r], v);
                dot[r][c] = vmlaq_s32(dot[r][c], p, vdupq_n_s32(vgetq_lane_s32(sc[r], i)));
            }
        }
    }
}

INLINE void mul_k(const void *wp, int n_block, const uint8_t *const *xp, size_t x_step, float *acc,
                  int C, int has_mins) {
    float32x4_t sum[ROWS];
    UNROLL for (int r = 0; r < ROWS; r++) sum[r] = vdupq_n_f32(0);
    for (int b = 0; b < n_block; b++) {
        const struct row_k *w[ROWS];
        const struct act_q8_k *x[COLS];
        int32x4_t dot[ROWS][COLS];
        float dx[COLS] = {0};
        UNROLL for (int r = 0; r < ROWS; r++) {
            w[r] = (const struct row_k *)wp + r * ROW_BLOCKS + b;
            UNROLL for (int c = 0; c < COLS; c++) dot[r][c] = vdupq_n_s32(0);
        }
        UNROLL for (int c = 0; c < C; c++) {
            x[c] = (const struct act_q8_k *)(const void *)(xp[c] + (size_t)b * x_step);
            dx[c] = x[c]->d;
        }
        UNROLL for (int g = 0; g < 4; g++) mul_quarter(w, x, g, C, dot);
        UNROLL for (int r = 0; r < ROWS; r++) {
            float32x4_t v = vmulq_n_f32(vcvtq_f32_s32(sums4(dot[r])), w[r]->d);
            if (has_mins) {
                int32x4_t m[COLS];
                UNROLL for (int c = 0; c < COLS; c++) m[c] =
                    c < C ? mins(w[r], x[c]) : vdupq_n_s32(0);
                v = vfmsq_f32(v, vcvtq_f32_s32(sums4(m)), vdupq_n_f32(w[r]->dmin));
            }
            sum[r] = vfmaq_f32(sum[r], v, vld1q_f32(dx));
        }
    }
    UNROLL for (int r = 0; r < ROWS; r++) add_columns(sum[r], acc, r, C);
}

/* ---- float scales ---- */

INLINE void mul_q(const void *wp, int n_block, const uint8_t *const *xp, size_t x_step, float *acc,
                  int C, int has_mins) {
    float32x4_t sum[ROWS][COLS];
    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int c = 0; c < C; c++) sum[r][c] =
        vdupq_n_f32(0);
    for (int b = 0; b < n_block; b++) {
        const struct row_q *w = (const struct row_q *)wp + b;
        const struct act_q8 *x[COLS];
        UNROLL for (int c = 0; c < C; c++) x[c] =
            (const struct act_q8 *)(const void *)(xp[c] + (size_t)b * x_step);
        for (int s = 0; s < 8; s++) {
            UNROLL for (int r = 0; r < ROWS; r++) {
                const struct row_q *wr = w + r * ROW_BLOCKS;
                const int8x16_t q0 = vld1q_s8(wr->q + 32 * s), q1 = vld1q_s8(wr->q + 32 * s + 16);
                UNROLL for (int c = 0; c < C; c++) {
                    int32x4_t dot = vdotq_s32(vdupq_n_s32(0), q0, vld1q_s8(x[c]->q + 32 * s));
                    dot = vdotq_s32(dot, q1, vld1q_s8(x[c]->q + 32 * s + 16));
                    sum[r][c] = vfmaq_n_f32(sum[r][c], vcvtq_f32_s32(dot), wr->d[s] * x[c]->d[s]);
                }
            }
        }
        UNROLL for (int r = 0; has_mins && r < ROWS; r++) UNROLL for (int c = 0; c < C; c++)
            UNROLL for (int i = 0; i < 8; i += 4) sum[r][c] =
                vfmaq_f32(sum[r][c], vld1q_f32(w[r * ROW_BLOCKS].m + i), vld1q_f32(x[c]->ds + i));
    }
    UNROLL for (int r = 0; r < ROWS; r++) UNROLL for (int c = 0; c < C; c++)
        acc[c * MAT_ROWS + r] += vaddvq_f32(sum[r][c]);
}

/* ---- instances ---- */

/* A tile function for 1..4 columns. */
#define TILE_FN(name, body, has_mins)                                                              \
    static void name(const void *w, int n_block, const uint8_t *const *x, size_t x_step,           \
                     float *acc, int n) {                                                          \
        switch (n) {                                                                               \
        case 1: body(w, n_block, x, x_step, acc, 1, has_mins); break;                              \
        case 2: body(w, n_block, x, x_step, acc, 2, has_mins); break;                              \
        case 3: body(w, n_block, x, x_step, acc, 3, has_mins); break;                              \
        case 4: body(w, n_block, x, x_step, acc, 4, has_mins); break;                              \
        }                                                                                          \
    }

TILE_FN(tile_k, mul_k, 0)
TILE_FN(tile_k_mins, mul_k, 1)
TILE_FN(tile_q, mul_q, 0)
TILE_FN(tile_q_mins, mul_q, 1)

static void unpack_k(enum qtype t, const uint8_t *block, void *out) {
    row_k_of(t)(block, out, 0);
}

static void unpack_q(enum qtype t, const uint8_t *block, void *out) {
    row_q_of(t)(block, out);
}

static void mul_k_any(enum qtype t, const struct mat_call *c) {
    const int has_mins = t == QT_Q2_K || t == QT_Q4_K || t == QT_Q5_K;
    const struct row_kind k = {
        unpack_k, has_mins ? tile_k_mins : tile_k, ROWS, COLS, sizeof(struct row_k), ACT_Q8_K};
    row_mul(t, c, &k);
}

static void mul_q_any(enum qtype t, const struct mat_call *c) {
    const int has_mins = t == QT_Q4_1 || t == QT_Q5_1;
    const struct row_kind k = {
        unpack_q, has_mins ? tile_q_mins : tile_q, ROWS, COLS, sizeof(struct row_q), ACT_Q8};
    row_mul(t, c, &k);
}

void kern_mat_neon_row(struct kern_mat *k) {
    for (int t = 0; t < QT_COUNT; t++) {
        if (row_k_of((enum qtype)t)) k->of[t] = (struct mat_kern){mul_k_any, ACT_Q8_K, 16, "neon"};
        if (row_q_of((enum qtype)t)) k->of[t] = (struct mat_kern){mul_q_any, ACT_Q8, 16, "neon"};
    }
}
