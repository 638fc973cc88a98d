/* Tiles times columns with the matrix instructions of ARMv8.6: `smmla` multiplies two rows' next
 * eight values with those of two columns, twice the work of a dot product.  Its four sums are
 *
 *     row 0 col 0, row 0 col 1, row 1 col 0, row 1 col 1
 *
 * so columns are interleaved in pairs, once per call (`struct pairs`), and the sums stay in this
 * order until a block ends.  8 rows x 6 columns at a time, x 4 where scales are floats:
 *
 *   32 registers: 12 dots, 12 sums, 3 activations, 1 weight, the rest in flight.
 *
 * A single column would waste half of the sums: the dot product kernel takes it, whose results have
 * the same bits (checkkern's mat_levels). */
#include "cpu/neon/tile.h"

enum { PAIRS = 3, ROW_PAIRS = TILE_ROWS / 2 };

/* One block of up to six columns. */
struct pairs {
    int8_t q[32][PAIRS][16];                      /* values 8t .. 8t + 7 of both columns */
    int8_t low[2][PAIRS][16], high[2][PAIRS][16]; /* sums of sub-blocks, split, in the same way */
    float d[8][PAIRS][4], ds[8][PAIRS][4];        /* of act_q8, as sums lie */
};

/* The two columns of pair c of n; an odd last one pairs with itself. */
INLINE const void *left_of(const uint8_t *const *x, int c) {
    return x[2 * c];
}

INLINE const void *right_of(const uint8_t *const *x, int n, int c) {
    return x[2 * c + 1 < n ? 2 * c + 1 : 2 * c];
}

/* 16 bytes of two columns to steps t and t + 1. */
INLINE void pair_bytes(int8_t to[][PAIRS][16], int t, int c, int8x16_t a, int8x16_t b) {
    const int64x2_t x = vreinterpretq_s64_s8(a), y = vreinterpretq_s64_s8(b);
    vst1q_s8(to[t][c], vreinterpretq_s8_s64(vzip1q_s64(x, y)));
    vst1q_s8(to[t + 1][c], vreinterpretq_s8_s64(vzip2q_s64(x, y)));
}

/* Scales j .. j + 3 of two columns. */
INLINE void pair_floats(float to[][PAIRS][4], int j, int c, const float *a, const float *b) {
    const float32x4_t x = vld1q_f32(a + j), y = vld1q_f32(b + j);
    const float64x2_t lo = vreinterpretq_f64_f32(vzip1q_f32(x, y));
    const float64x2_t hi = vreinterpretq_f64_f32(vzip2q_f32(x, y));
    vst1q_f32(to[j][c], vreinterpretq_f32_f64(vzip1q_f64(lo, lo)));
    vst1q_f32(to[j + 1][c], vreinterpretq_f32_f64(vzip2q_f64(lo, lo)));
    vst1q_f32(to[j + 2][c], vreinterpretq_f32_f64(vzip1q_f64(hi, hi)));
    vst1q_f32(to[j + 3][c], vreinterpretq_f32_f64(vzip2q_f64(hi, hi)));
}

INLINE void pair_values(struct pairs *p, int c, const int8_t *a, const int8_t *b) {
    for (int t = 0; t < 32; t += 2)
        pair_bytes(p->q, t, c, vld1q_s8(a + 8 * t), vld1q_s8(b + 8 * t));
}

INLINE void pairs_k(struct pairs *p, const uint8_t *const *xp, int n, int n_min) {
    for (int c = 0; c < (n + 1) / 2; c++) {
        const struct act_q8_k *a = left_of(xp, c), *b = right_of(xp, n, c);
        pair_values(p, c, a->q, b->q);
        if (!n_min) continue;
        const struct split s = split_sums(a, n_min), u = split_sums(b, n_min);
        pair_bytes(p->low, 0, c, s.low, u.low);
        pair_bytes(p->high, 0, c, s.high, u.high);
    }
}

INLINE void pairs_q(struct pairs *p, const uint8_t *const *xp, int n, int mins) {
    for (int c = 0; c < (n + 1) / 2; c++) {
        const struct act_q8 *a = left_of(xp, c), *b = right_of(xp, n, c);
        pair_values(p, c, a->q, b->q);
        for (int j = 0; j < 8; j += 4) {
            pair_floats(p->d, j, c, a->d, b->d);
            if (mins) pair_floats(p->ds, j, c, a->ds, b->ds);
        }
    }
}

/* ---- steps ---- */

INLINE void zero(int32x4_t v[ROW_PAIRS][PAIRS], int P) {
    UNROLL for (int r = 0; r < ROW_PAIRS; r++) UNROLL for (int c = 0; c < P; c++) v[r][c] =
        vdupq_n_s32(0);
}

/* dot += eight values of 8 rows times those of P column pairs. */
INLINE void dots(const int8_t *w, const int8x16_t x[PAIRS], int P,
                 int32x4_t dot[ROW_PAIRS][PAIRS]) {
    UNROLL for (int r = 0; r < ROW_PAIRS; r++) {
        const int8x16_t v = vld1q_s8(w + 16 * r);
        UNROLL for (int c = 0; c < P; c++) dot[r][c] = vmmlaq_s32(dot[r][c], v, x[c]);
    }
}

/* ---- integer scales ---- */

/* Mins times sums, as bytes: 128 * (m . high) + m . low. */
INLINE void min_dots(const struct tile_k *t, const struct pairs *x, int n_min, int P,
                     int32x4_t min[ROW_PAIRS][PAIRS]) {
    int8x16_t v[PAIRS];
    zero(min, P);
    UNROLL for (int s = 0; s < n_min / 8; s++) {
        UNROLL for (int c = 0; c < P; c++) v[c] = vld1q_s8(x->high[s][c]);
        dots(t->m + 64 * s, v, P, min);
    }
    UNROLL for (int r = 0; r < ROW_PAIRS; r++) UNROLL for (int c = 0; c < P; c++) min[r][c] =
        vshlq_n_s32(min[r][c], 7);
    UNROLL for (int s = 0; s < n_min / 8; s++) {
        UNROLL for (int c = 0; c < P; c++) v[c] = vld1q_s8(x->low[s][c]);
        dots(t->m + 64 * s, v, P, min);
    }
}

INLINE void scale(const int32_t *sc, int P, int32x4_t dot[ROW_PAIRS][PAIRS],
                  int32x4_t sum[ROW_PAIRS][PAIRS]) {
    UNROLL for (int r = 0; r < ROW_PAIRS; r++) {
        const int32x4_t v = vld1q_s32(sc + 4 * r);
        UNROLL for (int c = 0; c < P; c++) sum[r][c] = vmlaq_s32(sum[r][c], dot[r][c], v);
    }
}

/* Rows 4g .. 4g + 3 of the columns of pair c; the right one only when there is one. */
INLINE void add_pair(const struct tile_k *t, int g, int c, int32x4_t sum[ROW_PAIRS][PAIRS],
                     int32x4_t min[ROW_PAIRS][PAIRS], int mins, const uint8_t *const *x, int n,
                     float *acc) {
    const struct act_q8_k *a = left_of(x, c), *b = right_of(x, n, c);
    const int32x4_t s0 = sum[2 * g][c], s1 = sum[2 * g + 1][c];
    const int32x4_t m0 = min[2 * g][c], m1 = min[2 * g + 1][c];
    acc += 2 * c * MAT_ROWS;
    add_block(t, 4 * g, vuzp1q_s32(s0, s1), vuzp1q_s32(m0, m1), mins, a->d, acc);
    if (2 * c + 1 >= n) return;
    add_block(t, 4 * g, vuzp2q_s32(s0, s1), vuzp2q_s32(m0, m1), mins, b->d, acc + MAT_ROWS);
}

INLINE void mul_one_k(const struct tile_k *t, const struct pairs *x, const uint8_t *const *xp,
                      int n, float *acc, int P, struct k_form f) {
    int32x4_t sum[ROW_PAIRS][PAIRS], dot[ROW_PAIRS][PAIRS], min[ROW_PAIRS][PAIRS];
    const int n_step = f.n_sub == 8 ? 4 : 2, n_loop = f.n_sub == 8 ? 8 : 16;
    zero(sum, P), zero(min, P), zero(dot, P);
    for (int j = 0; j < n_loop; j++) {
        if (f.n_sub > 1) zero(dot, P);
        UNROLL for (int s = 0; s < n_step; s++) {
            const int at = n_step * j + s;
            int8x16_t v[PAIRS];
            UNROLL for (int c = 0; c < P; c++) v[c] = vld1q_s8(x->q[at][c]);
            dots(t->w + 64 * at, v, P, dot);
        }
        if (f.n_sub > 1) scale(t->sc[j], P, dot, sum);
    }
    if (f.n_min) min_dots(t, x, f.n_min, P, min);
    UNROLL for (int c = 0; c < P; c++) UNROLL for (int g = 0; g < 2; g++)
        add_pair(t, g, c, f.n_sub > 1 ? sum : dot, min, f.n_min, xp, n, acc);
}

INLINE void mul_k(const void *tile, int n_tile, const uint8_t *const *xp, int n, float *acc, int P,
                  struct k_form f) {
    struct pairs x;
    pairs_k(&x, xp, n, f.n_min);
    for (int i = 0; i < n_tile; i++)
        mul_one_k((const struct tile_k *)tile + i, &x, xp, n, acc + TILE_ROWS * i, P, f);
}

/* ---- float scales ---- */

/* Rows 4g .. 4g + 3 of column pair c from acc, and back. */
INLINE void load_sums(const float *acc, int g, int c, int n, float32x4_t sum[ROW_PAIRS][PAIRS]) {
    const float *a = acc + 2 * c * MAT_ROWS + 4 * g;
    const float32x4_t x = vld1q_f32(a), y = 2 * c + 1 < n ? vld1q_f32(a + MAT_ROWS) : x;
    sum[2 * g][c] = vzip1q_f32(x, y);
    sum[2 * g + 1][c] = vzip2q_f32(x, y);
}

INLINE void store_sums(float *acc, int g, int c, int n, float32x4_t sum[ROW_PAIRS][PAIRS]) {
    float *a = acc + 2 * c * MAT_ROWS + 4 * g;
    vst1q_f32(a, vuzp1q_f32(sum[2 * g][c], sum[2 * g + 1][c]));
    if (2 * c + 1 < n) vst1q_f32(a + MAT_ROWS, vuzp2q_f32(sum[2 * g][c], sum[2 * g + 1][c]));
}

INLINE void add_mins(const struct tile_q *t, const struct pairs *x, int P,
                     float32x4_t sum[ROW_PAIRS][PAIRS]) {
    for (int j = 0; j < 8; j++) {
        UNROLL for (int r = 0; r < ROW_PAIRS; r++) {
            const float32x4_t m = vld1q_f32(t->m[j] + 4 * r);
            UNROLL for (int c = 0; c < P; c++) sum[r][c] =
                vfmaq_f32(sum[r][c], m, vld1q_f32(x->ds[j][c]));
        }
    }
}

INLINE void mul_one_q(const struct tile_q *t, const struct pairs *x, int n, float *acc, int P,
                      int mins) {
    float32x4_t sum[ROW_PAIRS][PAIRS];
    UNROLL for (int c = 0; c < P; c++) UNROLL for (int g = 0; g < 2; g++)
        load_sums(acc, g, c, n, sum);
    for (int j = 0; j < 8; j++) {
        int32x4_t dot[ROW_PAIRS][PAIRS];
        zero(dot, P);
        UNROLL for (int s = 0; s < 4; s++) {
            int8x16_t v[PAIRS];
            UNROLL for (int c = 0; c < P; c++) v[c] = vld1q_s8(x->q[4 * j + s][c]);
            dots(t->w + 64 * (4 * j + s), v, P, dot);
        }
        UNROLL for (int r = 0; r < ROW_PAIRS; r++) {
            const float32x4_t d = vld1q_f32(t->d[j] + 4 * r);
            UNROLL for (int c = 0; c < P; c++) {
                const float32x4_t dd = vmulq_f32(d, vld1q_f32(x->d[j][c]));
                sum[r][c] = vfmaq_f32(sum[r][c], vcvtq_f32_s32(dot[r][c]), dd);
            }
        }
    }
    if (mins) add_mins(t, x, P, sum);
    UNROLL for (int c = 0; c < P; c++) UNROLL for (int g = 0; g < 2; g++)
        store_sums(acc, g, c, n, sum);
}

INLINE void mul_q(const void *tile, int n_tile, const uint8_t *const *xp, int n, float *acc, int P,
                  int mins) {
    struct pairs x;
    pairs_q(&x, xp, n, mins);
    for (int i = 0; i < n_tile; i++)
        mul_one_q((const struct tile_q *)tile + i, &x, n, acc + TILE_ROWS * i, P, mins);
}

/* ---- the table ---- */

/* For up to `most` columns. */
#define TILE_FN(name, body, most, ...)                                                             \
    static void name(const void *t, int n_tile, const uint8_t *const *x, int n, float *acc) {      \
        switch ((n + 1) / 2) {                                                                     \
        case 1: body(t, n_tile, x, n, acc, 1, __VA_ARGS__); break;                                 \
        case 2: body(t, n_tile, x, n, acc, 2, __VA_ARGS__); break;                                 \
        case 3:                                                                                    \
            if (most == 6) body(t, n_tile, x, n, acc, 3, __VA_ARGS__);                             \
            break;                                                                                 \
        }                                                                                          \
    }
TILE_FN(tile_k8, mul_k, 6, (struct k_form){8, 0})
TILE_FN(tile_k8_mins, mul_k, 6, (struct k_form){8, 8})
TILE_FN(tile_k16, mul_k, 6, (struct k_form){16, 0})
TILE_FN(tile_k1, mul_k, 6, (struct k_form){1, 0})
TILE_FN(tile_k1_mins, mul_k, 6, (struct k_form){1, 16})
TILE_FN(tile_q, mul_q, 4, 0) /* the scales take registers: six columns would spill */
TILE_FN(tile_q_mins, mul_q, 4, 1)

static void mul_i8mm(enum qtype t, const struct mat_call *c) {
    static const struct tile_set set = {
        .shape = BY_8,
        .unit = 2,
        .of = {[K8] = {tile_k8, 6},
               [K8_MINS] = {tile_k8_mins, 6},
               [K16] = {tile_k16, 6},
               [K1] = {tile_k1, 6},
               [K1_MINS] = {tile_k1_mins, 6},
               [Q] = {tile_q, 4},
               [Q_MINS] = {tile_q_mins, 4}},
    };
    mul_tiles(t, c, c->n == 1 ? &tile_set_neon : &set);
}

void kern_mat_i8mm(struct kern_mat *k) {
    tile_set_use(k, mul_i8mm, "i8mm");
}
