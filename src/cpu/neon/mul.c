/* Tiles times columns with the dot product instructions: `sdot` by lane multiplies four rows' next
 * four values with four activations out of a register that holds 16 of them, so nothing is
 * broadcast.  8 rows x 4 columns at a time:
 *
 *   32 registers: 8 dots, 8 sums, 4 activations, 2 weights, the rest in flight.
 *
 * Six columns would fill the registers: both compilers then spill, and the instructions for 256
 * values hardly become fewer (bench/NOTES.md). */
#include "cpu/neon/tile.h"

enum { COLS = 4 };

/* dot += w (four rows) . unit `lane` of x. */
INLINE int32x4_t dot_lane(int32x4_t dot, int8x16_t w, int8x16_t x, int lane) {
    switch (lane) {
    case 0: return vdotq_laneq_s32(dot, w, x, 0);
    case 1: return vdotq_laneq_s32(dot, w, x, 1);
    case 2: return vdotq_laneq_s32(dot, w, x, 2);
    default: return vdotq_laneq_s32(dot, w, x, 3);
    }
}

INLINE void zero(int32x4_t v[2][COLS], int C) {
    UNROLL for (int r = 0; r < 2; r++) UNROLL for (int c = 0; c < C; c++) v[r][c] = vdupq_n_s32(0);
}

/* dot += 4 n values of 8 rows times those of x. */
INLINE void dots(const int8_t *w, const int8x16_t x[COLS], int n, int C, int32x4_t dot[2][COLS]) {
    UNROLL for (int i = 0; i < n; i++) {
        const int8x16_t w0 = vld1q_s8(w + 32 * i), w1 = vld1q_s8(w + 32 * i + 16);
        UNROLL for (int c = 0; c < C; c++) {
            dot[0][c] = dot_lane(dot[0][c], w0, x[c], i);
            dot[1][c] = dot_lane(dot[1][c], w1, x[c], i);
        }
    }
}

/* ---- integer scales ---- */

/* Mins times sums, as bytes: 128 * (m . high) + m . low. */
INLINE void min_dots(const struct tile_k *t, const struct split *s, int n_min, int C,
                     int32x4_t min[2][COLS]) {
    int8x16_t x[COLS];
    zero(min, C);
    UNROLL for (int c = 0; c < C; c++) x[c] = s[c].high;
    dots(t->m, x, n_min / 4, C, min);
    UNROLL for (int c = 0; c < C; c++) {
        UNROLL for (int r = 0; r < 2; r++) min[r][c] = vshlq_n_s32(min[r][c], 7);
        x[c] = s[c].low;
    }
    dots(t->m, x, n_min / 4, C, min);
}

INLINE void scale(const int32_t *sc, int C, const int32x4_t dot[2][COLS], int32x4_t sum[2][COLS]) {
    UNROLL for (int r = 0; r < 2; r++) {
        const int32x4_t v = vld1q_s32(sc + 4 * r);
        UNROLL for (int c = 0; c < C; c++) sum[r][c] = vmlaq_s32(sum[r][c], dot[r][c], v);
    }
}

INLINE void mul_one_k(const struct tile_k *t, const struct act_q8_k *const x[COLS],
                      const struct split *s, float *acc, int C, struct k_form f) {
    int32x4_t sum[2][COLS], dot[2][COLS], min[2][COLS];
    const int n_part = f.n_sub == 8 ? 2 : 1, n_loop = f.n_sub == 8 ? 8 : 16;
    zero(sum, C), zero(min, C), zero(dot, C);
    for (int j = 0; j < n_loop; j++) {
        if (f.n_sub > 1) zero(dot, C);
        UNROLL for (int part = 0; part < n_part; part++) {
            const int at = 16 * (n_part * j + part);
            int8x16_t v[COLS];
            UNROLL for (int c = 0; c < C; c++) v[c] = vld1q_s8(x[c]->q + at);
            dots(t->w + TILE_ROWS * at, v, 4, C, dot);
        }
        if (f.n_sub > 1) scale(t->sc[j], C, dot, sum);
    }
    if (f.n_min) min_dots(t, s, f.n_min, C, min);
    UNROLL for (int c = 0; c < C; c++) {
        UNROLL for (int r = 0; r < 2; r++)
            add_block(t, 4 * r, f.n_sub > 1 ? sum[r][c] : dot[r][c], min[r][c], f.n_min, x[c]->d,
                      acc + c * MAT_ROWS);
    }
}

INLINE void mul_k(const void *tile, int n_tile, const uint8_t *const *xp, int C, float *acc,
                  struct k_form f) {
    const struct act_q8_k *x[COLS];
    struct split s[COLS];
    UNROLL for (int c = 0; c < C; c++) {
        x[c] = (const struct act_q8_k *)(const void *)xp[c];
        if (f.n_min) s[c] = split_sums(x[c], f.n_min);
    }
    for (int i = 0; i < n_tile; i++)
        mul_one_k((const struct tile_k *)tile + i, x, s, acc + TILE_ROWS * i, C, f);
}

/* ---- float scales ---- */

/* Apart from the dots, for the sake of registers in i8mm's kernel. */
INLINE void add_mins(const struct tile_q *t, const struct act_q8 *const x[COLS], int C,
                     float32x4_t sum[2][COLS]) {
    for (int j = 0; j < 8; j++) {
        UNROLL for (int r = 0; r < 2; r++) {
            const float32x4_t m = vld1q_f32(t->m[j] + 4 * r);
            UNROLL for (int c = 0; c < C; c++) sum[r][c] = vfmaq_n_f32(sum[r][c], m, x[c]->ds[j]);
        }
    }
}

INLINE void mul_one_q(const struct tile_q *t, const struct act_q8 *const x[COLS], float *acc, int C,
                      int mins) {
    float32x4_t sum[2][COLS];
    UNROLL for (int c = 0; c < C; c++) {
        UNROLL for (int r = 0; r < 2; r++) sum[r][c] = vld1q_f32(acc + c * MAT_ROWS + 4 * r);
    }
    for (int j = 0; j < 8; j++) {
        int32x4_t dot[2][COLS];
        zero(dot, C);
        UNROLL for (int at = 32 * j; at < 32 * j + 32; at += 16) {
            int8x16_t v[COLS];
            UNROLL for (int c = 0; c < C; c++) v[c] = vld1q_s8(x[c]->q + at);
            dots(t->w + TILE_ROWS * at, v, 4, C, dot);
        }
        UNROLL for (int r = 0; r < 2; r++) {
            const float32x4_t d = vld1q_f32(t->d[j] + 4 * r);
            UNROLL for (int c = 0; c < C; c++) {
                const float32x4_t dd = vmulq_n_f32(d, x[c]->d[j]);
                sum[r][c] = vfmaq_f32(sum[r][c], vcvtq_f32_s32(dot[r][c]), dd);
            }
        }
    }
    if (mins) add_mins(t, x, C, sum);
    UNROLL for (int c = 0; c < C; c++) {
        UNROLL for (int r = 0; r < 2; r++) vst1q_f32(acc + c * MAT_ROWS + 4 * r, sum[r][c]);
    }
}

INLINE void mul_q(const void *tile, int n_tile, const uint8_t *const *xp, int C, float *acc,
                  int mins) {
    const struct act_q8 *x[COLS];
    UNROLL for (int c = 0; c < C; c++) x[c] = (const struct act_q8 *)(const void *)xp[c];
    for (int i = 0; i < n_tile; i++)
        mul_one_q((const struct tile_q *)tile + i, x, acc + TILE_ROWS * i, C, mins);
}

/* ---- the table ---- */

#define TILE_FN(name, body, ...)                                                                   \
    static void name(const void *t, int n_tile, const uint8_t *const *x, int n, float *acc) {      \
        switch (n) {                                                                               \
        case 1: body(t, n_tile, x, 1, acc, __VA_ARGS__); break;                                    \
        case 2: body(t, n_tile, x, 2, acc, __VA_ARGS__); break;                                    \
        case 3: body(t, n_tile, x, 3, acc, __VA_ARGS__); break;                                    \
        case 4: body(t, n_tile, x, 4, acc, __VA_ARGS__); break;                                    \
        }                                                                                          \
    }
TILE_FN(tile_k8, mul_k, (struct k_form){8, 0})
TILE_FN(tile_k8_mins, mul_k, (struct k_form){8, 8})
TILE_FN(tile_k16, mul_k, (struct k_form){16, 0})
TILE_FN(tile_k1, mul_k, (struct k_form){1, 0})
TILE_FN(tile_k1_mins, mul_k, (struct k_form){1, 16})
TILE_FN(tile_q, mul_q, 0)
TILE_FN(tile_q_mins, mul_q, 1)

const struct tile_set tile_set_neon = {
    .shape = BY_4,
    .unit = 1,
    .of = {[K8] = {tile_k8, COLS},
           [K8_MINS] = {tile_k8_mins, COLS},
           [K16] = {tile_k16, COLS},
           [K1] = {tile_k1, COLS},
           [K1_MINS] = {tile_k1_mins, COLS},
           [Q] = {tile_q, COLS},
           [Q_MINS] = {tile_q_mins, COLS}},
};

static void mul_neon(enum qtype t, const struct mat_call *c) {
    mul_tiles(t, c, &tile_set_neon);
}

void kern_mat_neon(struct kern_mat *k, const struct cpu_info *cpu) {
    (void)cpu;
    kern_mat_neon_float(k); /* every type; the integer kernels take over what they have */
    tile_set_use(k, mul_neon, "neon");
}
