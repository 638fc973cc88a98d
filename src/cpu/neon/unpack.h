/* Steps of the unpackers.  They take four rows at a time, transposed while still packed: in both
 * shapes a register then holds the same 16 values' worth of bits for all four rows or for two, so
 * that masks, shifts and code books are the same code for both. */
#pragma once

#include <string.h>

#include "cpu/neon/tile.h"

/* 64-bit units: a0 b0, and a1 b1. */
INLINE uint8x16_t low2(uint8x16_t a, uint8x16_t b) {
    return vreinterpretq_u8_u64(vzip1q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
}

INLINE uint8x16_t high2(uint8x16_t a, uint8x16_t b) {
    return vreinterpretq_u8_u64(vzip2q_u64(vreinterpretq_u64_u8(a), vreinterpretq_u64_u8(b)));
}

/* Four rows of 16 bytes.  BY_4: v[u] has bytes 4u .. 4u + 3 of rows 0..3; BY_8: v[0], v[1] have
 * bytes 0..7 and 8..15 of rows 0 and 1, v[2], v[3] those of rows 2 and 3. */
INLINE void take4(const void *rows, size_t stride, enum tile_shape s, uint8x16_t v[4]) {
    const uint8_t *p = rows;
    uint8x16_t r[4];
    UNROLL for (size_t i = 0; i < 4; i++) r[i] = vld1q_u8(p + i * stride);
    if (s == BY_8) {
        v[0] = low2(r[0], r[1]), v[1] = high2(r[0], r[1]);
        v[2] = low2(r[2], r[3]), v[3] = high2(r[2], r[3]);
        return;
    }
    const uint32x4_t a = vreinterpretq_u32_u8(r[0]), b = vreinterpretq_u32_u8(r[1]);
    const uint32x4_t c = vreinterpretq_u32_u8(r[2]), d = vreinterpretq_u32_u8(r[3]);
    const uint8x16_t even0 = vreinterpretq_u8_u32(vtrn1q_u32(a, b));
    const uint8x16_t even1 = vreinterpretq_u8_u32(vtrn1q_u32(c, d));
    const uint8x16_t odd0 = vreinterpretq_u8_u32(vtrn2q_u32(a, b));
    const uint8x16_t odd1 = vreinterpretq_u8_u32(vtrn2q_u32(c, d));
    v[0] = low2(even0, even1), v[1] = low2(odd0, odd1);
    v[2] = high2(even0, even1), v[3] = high2(odd0, odd1);
}

/* v[i] of take4 as values at .. at + 15 of rows 4g .. 4g + 3. */
INLINE void put(int8_t *w, enum tile_shape s, int g, int at, int i, uint8x16_t v) {
    int8_t *to = s == BY_8 ? w + 64 * (at / 8 + i % 2) + 32 * g + 16 * (i / 2)
                           : w + 32 * (at / 4 + i) + 16 * g;
    vst1q_s8(to, vreinterpretq_s8_u8(v));
}

/* Rows 4g .. 4g + 3 of sc[j]: once each, or twice. */
INLINE void put_scale(struct tile_k *t, enum tile_shape s, int g, int j, int32x4_t v) {
    if (s == BY_8) {
        vst1q_s32(t->sc[j] + 8 * g, vzip1q_s32(v, v));
        vst1q_s32(t->sc[j] + 8 * g + 4, vzip2q_s32(v, v));
    } else {
        vst1q_s32(t->sc[j] + 4 * g, v);
    }
}

/* The same for a row of d or m in a tile_q. */
INLINE void put_float(float to[16], enum tile_shape s, int g, float32x4_t v) {
    if (s == BY_8) {
        vst1q_f32(to + 8 * g, vzip1q_f32(v, v));
        vst1q_f32(to + 8 * g + 4, vzip2q_f32(v, v));
    } else {
        vst1q_f32(to + 4 * g, v);
    }
}

/* Mins 8k .. 8k + 7 of four rows, from lanes of four bytes: 8k .. 8k + 3 and the next. */
INLINE void put_mins(struct tile_k *t, enum tile_shape s, int g, int k, uint8x16_t a,
                     uint8x16_t b) {
    const uint32x4_t x = vreinterpretq_u32_u8(a), y = vreinterpretq_u32_u8(b);
    if (s == BY_8) {
        vst1q_u32((uint32_t *)(void *)(t->m + 64 * k + 32 * g), vzip1q_u32(x, y));
        vst1q_u32((uint32_t *)(void *)(t->m + 64 * k + 32 * g + 16), vzip2q_u32(x, y));
    } else {
        vst1q_u32((uint32_t *)(void *)(t->m + 64 * k + 16 * g), x);
        vst1q_u32((uint32_t *)(void *)(t->m + 64 * k + 32 + 16 * g), y);
    }
}

/* Four bytes, at any address, and two of each of four rows. */
INLINE uint32x4_t units4(const uint8_t *p, size_t stride) {
    uint32_t u[4];
    UNROLL for (size_t r = 0; r < 4; r++) memcpy(&u[r], p + r * stride, sizeof *u);
    uint32x4_t v = vdupq_n_u32(u[0]);
    v = vsetq_lane_u32(u[1], v, 1);
    v = vsetq_lane_u32(u[2], v, 2);
    return vsetq_lane_u32(u[3], v, 3);
}

INLINE float32x4_t halves4(const uint8_t *p, size_t stride) {
    uint16x4_t v = vdup_n_u16(0);
    v = vld1_lane_u16((const uint16_t *)(const void *)p, v, 0);
    v = vld1_lane_u16((const uint16_t *)(const void *)(p + stride), v, 1);
    v = vld1_lane_u16((const uint16_t *)(const void *)(p + 2 * stride), v, 2);
    v = vld1_lane_u16((const uint16_t *)(const void *)(p + 3 * stride), v, 3);
    return vcvt_f32_f16(vreinterpret_f16_u16(v));
}

/* The low and the high half of each lane as half floats. */
INLINE float32x4_t low_half(uint32x4_t v) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vmovn_u32(v)));
}

INLINE float32x4_t high_half(uint32x4_t v) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vshrn_n_u32(v, 16)));
}

/* Every byte of v shifted right, or left for n < 0, then masked. */
INLINE uint8x16_t field(uint8x16_t v, int n, int mask) {
    return (n < 0 ? v << -n : v >> n) & vdupq_n_u8((uint8_t)mask);
}

INLINE uint8x16_t minus(uint8x16_t v, int n) {
    return vsubq_u8(v, vdupq_n_u8((uint8_t)n));
}

/* An unpacker for each shape from one body of four rows. */
#define UNPACK(name, tile_type)                                                                    \
    static void name##_by_4(enum qtype t, const uint8_t *p, size_t stride, void *tile) {           \
        for (int g = 0; g < 2; g++)                                                                \
            name(t, p + 4 * (size_t)g * stride, stride, BY_4, g, (tile_type *)tile);               \
    }                                                                                              \
    static void name##_by_8(enum qtype t, const uint8_t *p, size_t stride, void *tile) {           \
        for (int g = 0; g < 2; g++)                                                                \
            name(t, p + 4 * (size_t)g * stride, stride, BY_8, g, (tile_type *)tile);               \
    }
#define BOTH(name)                                                                                 \
    { name##_by_4, name##_by_8 }
