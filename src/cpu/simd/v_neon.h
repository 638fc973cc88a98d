/* simd/v.h for 64-bit ARM. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#if defined(__ARM_NEON)
#include <arm_neon.h>
#include <string.h>

#define CPU_SIMD 1
typedef float32x4_t vf;
enum { VL = 4, V_MR = 6, V_NV = 4 };

static inline vf v_zero(void) {
    return vdupq_n_f32(0.0f);
}
static inline vf v_set1(float x) {
    return vdupq_n_f32(x);
}
static inline vf v_iota(void) {
    return (vf){0, 1, 2, 3};
}
static inline vf v_load(const float *p) {
    return vld1q_f32(p);
}
static inline void v_store(float *p, vf x) {
    vst1q_f32(p, x);
}
/* The first n lanes only; the others are 0 and their memory is not touched. */
static inline vf v_load_n(const float *p, int n) {
    if (n >= VL) return v_load(p);
    float t[VL] = {0};
    memcpy(t, p, (size_t)n * sizeof *t);
    return v_load(t);
}
static inline void v_store_n(float *p, vf x, int n) {
    float t[VL];
    v_store(t, x);
    memcpy(p, t, (size_t)(n < VL ? n : VL) * sizeof *t);
}

static inline vf v_add(vf a, vf b) {
    return vaddq_f32(a, b);
}
static inline vf v_sub(vf a, vf b) {
    return vsubq_f32(a, b);
}
static inline vf v_mul(vf a, vf b) {
    return vmulq_f32(a, b);
}
static inline vf v_div(vf a, vf b) {
    return vdivq_f32(a, b);
}
static inline vf v_fma(vf a, vf b, vf c) { /* a * b + c */
    return vfmaq_f32(c, a, b);
}
static inline vf v_max(vf a, vf b) {
    return vmaxq_f32(a, b);
}
static inline vf v_min(vf a, vf b) {
    return vminq_f32(a, b);
}
static inline vf v_abs(vf a) {
    return vabsq_f32(a);
}
static inline vf v_trunc(vf a) {
    return vrndq_f32(a);
}
static inline vf v_ldexp(vf x, vf n, vf t) { /* see v.h */
    (void)n;
    return vreinterpretq_f32_s32(
        vaddq_s32(vreinterpretq_s32_f32(x), vshlq_n_s32(vreinterpretq_s32_f32(t), 23)));
}
static inline vf v_copysign(vf mag, vf sign) {
    return vbslq_f32(vdupq_n_u32(0x80000000u), sign, mag);
}
static inline vf v_if_lt(vf a, vf b, vf yes, vf no) { /* a < b ? yes : no */
    return vbslq_f32(vcltq_f32(a, b), yes, no);
}
static inline float v_sum(vf a) {
    return vaddvq_f32(a);
}
static inline float v_top(vf a) {
    return vmaxnmvq_f32(a);
}

/* p[0], p[2].. and p[1], p[3].. */
static inline void v_load2(const float *p, vf *even, vf *odd) {
    const float32x4x2_t x = vld2q_f32(p);
    *even = x.val[0];
    *odd = x.val[1];
}
static inline void v_store2(float *p, vf even, vf odd) {
    const float32x4x2_t both = {{even, odd}}; /* clang's vst2q_f32 is a macro: no braces in it */
    vst2q_f32(p, both);
}

static inline float v_half(uint16_t h) { /* one half float */
    return vgetq_lane_f32(vcvt_f32_f16(vreinterpret_f16_u16(vdup_n_u16(h))), 0);
}
static inline vf v_set1_half(uint16_t h) {
    return v_set1(v_half(h));
}
static inline vf v_from_f16(const uint16_t *p) {
    return vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}
static inline void v_to_f16(uint16_t *p, vf x) {
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32(x)));
}
static inline vf v_from_bf16(const uint16_t *p) {
    return vreinterpretq_f32_u32(vshll_n_u16(vld1_u16(p), 16));
}
static inline void v_to_bf16(uint16_t *p, vf x) { /* base/f16.h says how */
    const uint32x4_t u = vreinterpretq_u32_f32(x);
    const uint32x4_t odd = vandq_u32(vshrq_n_u32(u, 16), vdupq_n_u32(1));
    const uint32x4_t up = vaddq_u32(u, vaddq_u32(odd, vdupq_n_u32(0x7fff)));
    const uint32x4_t nan = vorrq_u32(u, vdupq_n_u32(0x400000));
    vst1_u16(p, vshrn_n_u32(vbslq_u32(vceqq_f32(x, x), up, nan), 16));
}
static inline vf v_from_i8(const int8_t *p) {
    int32_t word;
    memcpy(&word, p, sizeof word);
    const int16x8_t h = vmovl_s8(vreinterpret_s8_s32(vdup_n_s32(word)));
    return vcvtq_f32_s32(vmovl_s16(vget_low_s16(h)));
}
static inline void v_to_i8(int8_t *p, vf x) { /* integral, -128..127 */
    const int16x4_t h = vmovn_s32(vcvtq_s32_f32(x));
    const int8x8_t b = vmovn_s16(vcombine_s16(h, h));
    const int32_t word = vget_lane_s32(vreinterpret_s32_s8(b), 0);
    memcpy(p, &word, sizeof word);
}
static inline vf v_from_nibbles(const uint8_t *p, bool high) { /* 0..15 of VL bytes */
    uint32_t word;
    memcpy(&word, p, sizeof word);
    const uint8x8_t b = vreinterpret_u8_u32(vdup_n_u32(high ? word >> 4 : word));
    const uint16x8_t h = vmovl_u8(vand_u8(b, vdup_n_u8(15)));
    return vcvtq_f32_u32(vmovl_u16(vget_low_u16(h)));
}

/* Rows of a VL x VL matrix to its columns. */
static inline void v_transpose(vf r[VL]) {
    const float32x4x2_t a = vtrnq_f32(r[0], r[1]), b = vtrnq_f32(r[2], r[3]);
    r[0] = vcombine_f32(vget_low_f32(a.val[0]), vget_low_f32(b.val[0]));
    r[1] = vcombine_f32(vget_low_f32(a.val[1]), vget_low_f32(b.val[1]));
    r[2] = vcombine_f32(vget_high_f32(a.val[0]), vget_high_f32(b.val[0]));
    r[3] = vcombine_f32(vget_high_f32(a.val[1]), vget_high_f32(b.val[1]));
}
#endif
