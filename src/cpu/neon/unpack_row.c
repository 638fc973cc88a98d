/* The rarer formats: four rows unpack one by one to signed bytes with scales (cpu/row.h), which are
 * then put into a tile. */
#include "cpu/neon/unpack.h"
#include "cpu/row.h"

INLINE void put_row_bytes(const int8_t *q, size_t stride, enum tile_shape s, int g, int8_t *w) {
    for (int at = 0; at < 256; at += 16) {
        uint8x16_t v[4];
        take4(q + at, stride, s, v);
        UNROLL for (int i = 0; i < 4; i++) put(w, s, g, at, i, v[i]);
    }
}

/* Sub-blocks of 16, or, where two always have the same scale, of 32. */
INLINE void put_row_scales(const struct row_k *rows, enum tile_shape s, int g, int n_sub,
                           struct tile_k *t) {
    UNROLL for (int k = 0; k < 2; k++) {
        uint8x16_t v[4]; /* two scales a lane */
        take4(rows->sc + 8 * k, sizeof *rows, BY_4, v);
        UNROLL for (int u = 0; u < 4; u++) {
            const int32x4_t two = vreinterpretq_s32_u8(v[u]);
            const int32x4_t even = vshrq_n_s32(vshlq_n_s32(two, 16), 16);
            if (n_sub == 8) {
                put_scale(t, s, g, 4 * k + u, even);
            } else {
                put_scale(t, s, g, 8 * k + 2 * u, even);
                put_scale(t, s, g, 8 * k + 2 * u + 1, vshrq_n_s32(two, 16));
            }
        }
    }
}

INLINE void rows_k(enum qtype type, const uint8_t *p, size_t stride, enum tile_shape s, int g,
                   struct tile_k *t, int n_sub) {
    struct row_k rows[4];
    for (size_t r = 0; r < 4; r++) {
        row_k_of(type)(p + r * stride, &rows[r], 0);
        t->d[4 * (size_t)g + r] = rows[r].d;
    }
    put_row_bytes(rows->q, sizeof *rows, s, g, t->w);
    if (n_sub > 1) put_row_scales(rows, s, g, n_sub, t);
}

INLINE void rows_k1(enum qtype type, const uint8_t *p, size_t stride, enum tile_shape s, int g,
                    struct tile_k *t) {
    rows_k(type, p, stride, s, g, t, 1);
}

INLINE void rows_k8(enum qtype type, const uint8_t *p, size_t stride, enum tile_shape s, int g,
                    struct tile_k *t) {
    rows_k(type, p, stride, s, g, t, 8);
}

INLINE void rows_k16(enum qtype type, const uint8_t *p, size_t stride, enum tile_shape s, int g,
                     struct tile_k *t) {
    rows_k(type, p, stride, s, g, t, 16);
}

INLINE void put_row_floats(const float *rows, enum tile_shape s, int g, float to[8][16]) {
    UNROLL for (int k = 0; k < 2; k++) {
        uint8x16_t v[4];
        take4(rows + 4 * k, sizeof(struct row_q), BY_4, v);
        UNROLL for (int u = 0; u < 4; u++)
            put_float(to[4 * k + u], s, g, vreinterpretq_f32_u8(v[u]));
    }
}

INLINE void rows_q(enum qtype type, const uint8_t *p, size_t stride, enum tile_shape s, int g,
                   struct tile_q *t) {
    struct row_q rows[4];
    for (size_t r = 0; r < 4; r++)
        row_q_of(type)(p + r * stride, &rows[r]);
    put_row_bytes(rows->q, sizeof *rows, s, g, t->w);
    put_row_floats(rows->d, s, g, t->d);
    if (type == QT_Q5_1) put_row_floats(rows->m, s, g, t->m);
}

UNPACK(rows_k1, struct tile_k)
UNPACK(rows_k8, struct tile_k)
UNPACK(rows_k16, struct tile_k)
UNPACK(rows_q, struct tile_q)

const struct tile_type *tile_type_row(enum qtype t) {
    static const struct tile_type type[QT_COUNT] = {
        [QT_IQ1_S] = {BOTH(rows_k8), K8},   [QT_IQ1_M] = {BOTH(rows_k16), K16},
        [QT_IQ2_XXS] = {BOTH(rows_k8), K8}, [QT_IQ2_XS] = {BOTH(rows_k16), K16},
        [QT_IQ2_S] = {BOTH(rows_k16), K16}, [QT_IQ3_XXS] = {BOTH(rows_k8), K8},
        [QT_IQ3_S] = {BOTH(rows_k8), K8},   [QT_TQ1_0] = {BOTH(rows_k1), K1},
        [QT_TQ2_0] = {BOTH(rows_k1), K1},   [QT_Q5_0] = {BOTH(rows_q), Q},
        [QT_Q5_1] = {BOTH(rows_q), Q_MINS}, [QT_MXFP4] = {BOTH(rows_q), Q},
        [QT_Q1_0] = {BOTH(rows_q), Q},      [QT_Q2_0] = {BOTH(rows_q), Q},
    };
    return type[t].unpack[0] ? &type[t] : NULL;
}
