/* Unpacking of the formats with integer scales within blocks of 256: the K types and IQ4_XS
 * (layouts: quant/blocks.h).
 *
 * Q2_K and Q3_K have so few bits that scale * q fits a signed byte: one dot then runs over the
 * whole block, with no scaling in between.  For Q3_K the product is negated, as (-4) * (-32) is
 * 128: from -128 to 124. */
#include "cpu/neon/unpack.h"
#include "quant/blocks.h"

/* Scales j .. j + 3 of four rows from lanes of four bytes. */
INLINE void put_scales(struct tile_k *t, enum tile_shape s, int g, int j, uint8x16_t v) {
    const uint32x4_t u = vreinterpretq_u32_u8(v), byte = vdupq_n_u32(255);
    put_scale(t, s, g, j, vreinterpretq_s32_u32(vandq_u32(u, byte)));
    put_scale(t, s, g, j + 1, vreinterpretq_s32_u32(vandq_u32(vshrq_n_u32(u, 8), byte)));
    put_scale(t, s, g, j + 2, vreinterpretq_s32_u32(vandq_u32(vshrq_n_u32(u, 16), byte)));
    put_scale(t, s, g, j + 3, vreinterpretq_s32_u32(vshrq_n_u32(u, 24)));
}

INLINE void put_scales_signed(struct tile_k *t, enum tile_shape s, int g, int j, uint8x16_t v) {
    const int32x4_t u = vreinterpretq_s32_u8(v);
    put_scale(t, s, g, j, vshrq_n_s32(vshlq_n_s32(u, 24), 24));
    put_scale(t, s, g, j + 1, vshrq_n_s32(vshlq_n_s32(u, 16), 24));
    put_scale(t, s, g, j + 2, vshrq_n_s32(vshlq_n_s32(u, 8), 24));
    put_scale(t, s, g, j + 3, vshrq_n_s32(u, 24));
}

/* d, dmin and the packed scales (quant/kscale.h) of Q4_K and Q5_K. */
INLINE void header_k4(const uint8_t *p, size_t stride, enum tile_shape s, int g, struct tile_k *t) {
    uint8x16_t v[4]; /* d and dmin | 4 scales | 4 mins | the others' low bits */
    take4(p, stride, BY_4, v);
    vst1q_f32(t->d + 4 * g, low_half(vreinterpretq_u32_u8(v[0])));
    vst1q_f32(t->dmin + 4 * g, high_half(vreinterpretq_u32_u8(v[0])));
    put_scales(t, s, g, 0, field(v[1], 0, 0x3f));
    put_scales(t, s, g, 4, vorrq_u8(field(v[3], 0, 15), field(v[1], 2, 0x30)));
    put_mins(t, s, g, 0, field(v[2], 0, 0x3f), vorrq_u8(field(v[3], 4, 15), field(v[2], 2, 0x30)));
}

INLINE void q4_k(enum qtype type, const uint8_t *p, size_t stride, enum tile_shape s, int g,
                 struct tile_k *t) {
    (void)type;
    header_k4(p, stride, s, g, t);
    for (int h = 0; h < 8; h++) { /* halves of 32 bytes */
        const int at = 64 * (h / 2) + 16 * (h % 2);
        uint8x16_t v[4];
        take4(p + 16 + 16 * h, stride, s, v);
        UNROLL for (int i = 0; i < 4; i++) {
            put(t->w, s, g, at, i, vandq_u8(v[i], vdupq_n_u8(15)));
            put(t->w, s, g, at + 32, i, vshrq_n_u8(v[i], 4));
        }
    }
}

INLINE void q5_k(enum qtype type, const uint8_t *p, size_t stride, enum tile_shape s, int g,
                 struct tile_k *t) {
    (void)type;
    header_k4(p, stride, s, g, t);
    for (int half = 0; half < 2; half++) {
        uint8x16_t top[4];
        take4(p + 16 + 16 * half, stride, s, top);
        UNROLL for (int h = 0; h < 4; h++) {
            const int at = 64 * h + 16 * half;
            uint8x16_t v[4];
            take4(p + 48 + 32 * h + 16 * half, stride, s, v);
            UNROLL for (int i = 0; i < 4; i++) {
                put(t->w, s, g, at, i, vorrq_u8(field(v[i], 0, 15), field(top[i], 2 * h - 4, 16)));
                put(t->w, s, g, at + 32, i,
                    vorrq_u8(vshrq_n_u8(v[i], 4), field(top[i], 2 * h - 3, 16)));
            }
        }
    }
}

INLINE void q6_k(enum qtype type, const uint8_t *p, size_t stride, enum tile_shape s, int g,
                 struct tile_k *t) {
    uint8x16_t sc[4];
    (void)type;
    vst1q_f32(t->d + 4 * g, halves4(p + 208, stride));
    take4(p + 192, stride, BY_4, sc);
    UNROLL for (int u = 0; u < 4; u++) put_scales_signed(t, s, g, 4 * u, sc[u]);
    for (int h = 0; h < 4; h++) { /* 32 bytes of two bits in halves */
        uint8x16_t two[4];
        take4(p + 128 + 16 * h, stride, s, two);
        UNROLL for (int part = 0; part < 2; part++) {
            const int at = 128 * (h / 2) + 32 * part + 16 * (h % 2);
            uint8x16_t v[4];
            take4(p + 64 * (h / 2) + 32 * part + 16 * (h % 2), stride, s, v);
            UNROLL for (int i = 0; i < 4; i++) {
                const uint8x16_t lo =
                    vorrq_u8(field(v[i], 0, 15), field(two[i], 2 * part - 4, 0x30));
                const uint8x16_t hi = vorrq_u8(vshrq_n_u8(v[i], 4), field(two[i], 2 * part, 0x30));
                put(t->w, s, g, at, i, minus(lo, 32));
                put(t->w, s, g, at + 64, i, minus(hi, 32));
            }
        }
    }
}

/* The scale of sub-block j for the lanes of v[0], v[1] (m[0]) and of v[2], v[3] (m[1]), from
 * scales in lanes of four bytes. */
INLINE void multipliers(const uint8x16_t sc[4], enum tile_shape s, int j, uint8x16_t m[2]) {
    static const uint8_t row_of[3][16] = {{0, 0, 0, 0, 4, 4, 4, 4, 8, 8, 8, 8, 12, 12, 12, 12},
                                          {0, 0, 0, 0, 0, 0, 0, 0, 4, 4, 4, 4, 4, 4, 4, 4},
                                          {8, 8, 8, 8, 8, 8, 8, 8, 12, 12, 12, 12, 12, 12, 12, 12}};
    const uint8x16_t add = vdupq_n_u8((uint8_t)(j % 4));
    m[0] = vqtbl1q_u8(sc[j / 4], vaddq_u8(vld1q_u8(row_of[s == BY_8]), add));
    m[1] = s == BY_8 ? vqtbl1q_u8(sc[j / 4], vaddq_u8(vld1q_u8(row_of[2]), add)) : m[0];
}

INLINE void q2_k(enum qtype type, const uint8_t *p, size_t stride, enum tile_shape s, int g,
                 struct tile_k *t) {
    uint8x16_t v[4], sc[4], n[4];
    (void)type;
    take4(p, stride, BY_4, v);
    UNROLL for (int u = 0; u < 4; u++) sc[u] = field(v[u], 0, 15), n[u] = vshrq_n_u8(v[u], 4);
    put_mins(t, s, g, 0, n[0], n[1]);
    put_mins(t, s, g, 1, n[2], n[3]);
    const uint32x4_t d = units4(p + 80, stride);
    vst1q_f32(t->d + 4 * g, low_half(d));
    vst1q_f32(t->dmin + 4 * g, high_half(d));
    UNROLL for (int h = 0; h < 4; h++) {
        take4(p + 16 + 16 * h, stride, s, v);
        UNROLL for (int k = 0; k < 4; k++) {
            const int j = 8 * (h / 2) + 2 * k + h % 2;
            uint8x16_t m[2];
            multipliers(sc, s, j, m);
            UNROLL for (int i = 0; i < 4; i++)
                put(t->w, s, g, 16 * j, i, vmulq_u8(field(v[i], 2 * k, 3), m[i / 2]));
        }
    }
}

/* 32 less the 16 scales of 6 bits (quant/kscale.h) of each row: their negatives. */
INLINE void scales_q3_k(const uint8_t *p, size_t stride, uint8x16_t sc[4]) {
    const uint8x16_t a = vreinterpretq_u8_u32(units4(p, stride));
    const uint8x16_t b = vreinterpretq_u8_u32(units4(p + 4, stride));
    const uint8x16_t top = vreinterpretq_u8_u32(units4(p + 8, stride));
    sc[0] = vorrq_u8(field(a, 0, 15), field(top, -4, 0x30));
    sc[1] = vorrq_u8(field(b, 0, 15), field(top, -2, 0x30));
    sc[2] = vorrq_u8(field(a, 4, 15), field(top, 0, 0x30));
    sc[3] = vorrq_u8(field(b, 4, 15), field(top, 2, 0x30));
    UNROLL for (int u = 0; u < 4; u++) sc[u] = vsubq_u8(vdupq_n_u8(32), sc[u]);
}

INLINE void q3_k(enum qtype type, const uint8_t *p, size_t stride, enum tile_shape s, int g,
                 struct tile_k *t) {
    uint8x16_t sc[4];
    (void)type;
    scales_q3_k(p + 96, stride, sc);
    vst1q_f32(t->d + 4 * g, vnegq_f32(halves4(p + 108, stride)));
    UNROLL for (int half = 0; half < 2; half++) {
        uint8x16_t top[4];
        take4(p + 16 * half, stride, s, top);
        UNROLL for (int h = 0; h < 2; h++) {
            uint8x16_t v[4];
            take4(p + 32 + 32 * h + 16 * half, stride, s, v);
            UNROLL for (int k = 0; k < 4; k++) {
                const int j = 8 * h + 2 * k + half;
                uint8x16_t m[2];
                multipliers(sc, s, j, m);
                UNROLL for (int i = 0; i < 4; i++) {
                    const uint8x16_t q =
                        vorrq_u8(field(v[i], 2 * k, 3), field(top[i], 4 * h + k - 2, 4));
                    put(t->w, s, g, 16 * j, i, vmulq_u8(minus(q, 4), m[i / 2]));
                }
            }
        }
    }
}

INLINE void iq4_xs(enum qtype type, const uint8_t *p, size_t stride, enum tile_shape s, int g,
                   struct tile_k *t) {
    const uint32x4_t head = units4(p, stride), low = units4(p + 4, stride);
    const uint8x16_t book = vld1q_u8((const uint8_t *)kvalues_iq4nl);
    (void)type;
    vst1q_f32(t->d + 4 * g, low_half(head));
    for (int j = 0; j < 8; j++) {
        const uint32x4_t l = vandq_u32(vshlq_u32(low, vdupq_n_s32(-4 * j)), vdupq_n_u32(15));
        const uint32x4_t h = vandq_u32(vshlq_u32(head, vdupq_n_s32(-12 - 2 * j)), vdupq_n_u32(48));
        put_scale(t, s, g, j, vsubq_s32(vreinterpretq_s32_u32(vorrq_u32(l, h)), vdupq_n_s32(32)));
        uint8x16_t v[4];
        take4(p + 8 + 16 * j, stride, s, v);
        UNROLL for (int i = 0; i < 4; i++) {
            put(t->w, s, g, 32 * j, i, vqtbl1q_u8(book, vandq_u8(v[i], vdupq_n_u8(15))));
            put(t->w, s, g, 32 * j + 16, i, vqtbl1q_u8(book, vshrq_n_u8(v[i], 4)));
        }
    }
}

UNPACK(q2_k, struct tile_k)
UNPACK(q3_k, struct tile_k)
UNPACK(q4_k, struct tile_k)
UNPACK(q5_k, struct tile_k)
UNPACK(q6_k, struct tile_k)
UNPACK(iq4_xs, struct tile_k)

const struct tile_type *tile_type_k(enum qtype t) {
    static const struct tile_type type[QT_COUNT] = {
        [QT_Q2_K] = {BOTH(q2_k), K1_MINS}, [QT_Q3_K] = {BOTH(q3_k), K1},
        [QT_Q4_K] = {BOTH(q4_k), K8_MINS}, [QT_Q5_K] = {BOTH(q5_k), K8_MINS},
        [QT_Q6_K] = {BOTH(q6_k), K16},     [QT_IQ4_XS] = {BOTH(iq4_xs), K8},
    };
    return type[t].unpack[0] ? &type[t] : NULL;
}
