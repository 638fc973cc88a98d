/* simd/v.h for AVX2, FMA and F16C. */
#pragma once

#include <stdbool.h>
#include <stdint.h>
#if defined(__AVX2__)
#include <immintrin.h>

#define CPU_SIMD 1
typedef __m256 vf;
enum { VL = 8, V_MR = 6, V_NV = 2 };

static inline __m256i v_first(int n) { /* the first n lanes */
    return _mm256_cmpgt_epi32(_mm256_set1_epi32(n), _mm256_setr_epi32(0, 1, 2, 3, 4, 5, 6, 7));
}

static inline vf v_zero(void) {
    return _mm256_setzero_ps();
}
static inline vf v_set1(float x) {
    return _mm256_set1_ps(x);
}
static inline vf v_iota(void) {
    return _mm256_setr_ps(0, 1, 2, 3, 4, 5, 6, 7);
}
static inline vf v_load(const float *p) {
    return _mm256_loadu_ps(p);
}
static inline void v_store(float *p, vf x) {
    _mm256_storeu_ps(p, x);
}
/* The first n lanes only; the others are 0 and their memory is not touched. */
static inline vf v_load_n(const float *p, int n) {
    return n >= VL ? v_load(p) : _mm256_maskload_ps(p, v_first(n));
}
static inline void v_store_n(float *p, vf x, int n) {
    if (n >= VL)
        v_store(p, x);
    else
        _mm256_maskstore_ps(p, v_first(n), x);
}

static inline vf v_add(vf a, vf b) {
    return _mm256_add_ps(a, b);
}
static inline vf v_sub(vf a, vf b) {
    return _mm256_sub_ps(a, b);
}
static inline vf v_mul(vf a, vf b) {
    return _mm256_mul_ps(a, b);
}
static inline vf v_div(vf a, vf b) {
    return _mm256_div_ps(a, b);
}
static inline vf v_fma(vf a, vf b, vf c) { /* a * b + c */
    return _mm256_fmadd_ps(a, b, c);
}
static inline vf v_max(vf a, vf b) {
    return _mm256_max_ps(a, b);
}
static inline vf v_min(vf a, vf b) {
    return _mm256_min_ps(a, b);
}
static inline vf v_abs(vf a) {
    return _mm256_andnot_ps(_mm256_set1_ps(-0.0f), a);
}
static inline vf v_trunc(vf a) {
    return _mm256_round_ps(a, _MM_FROUND_TO_ZERO | _MM_FROUND_NO_EXC);
}
static inline vf v_ldexp(vf x, vf n, vf t) { /* see v.h */
    (void)n;
    return _mm256_castsi256_ps(
        _mm256_add_epi32(_mm256_castps_si256(x), _mm256_slli_epi32(_mm256_castps_si256(t), 23)));
}
static inline vf v_copysign(vf mag, vf sign) {
    return _mm256_or_ps(v_abs(mag), _mm256_and_ps(sign, _mm256_set1_ps(-0.0f)));
}
static inline vf v_if_lt(vf a, vf b, vf yes, vf no) { /* a < b ? yes : no */
    return _mm256_blendv_ps(no, yes, _mm256_cmp_ps(a, b, _CMP_LT_OQ));
}
static inline float v_sum(vf a) {
    __m128 s = _mm_add_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_add_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_add_ss(s, _mm_movehdup_ps(s)));
}
static inline float v_top(vf a) {
    __m128 s = _mm_max_ps(_mm256_castps256_ps128(a), _mm256_extractf128_ps(a, 1));
    s = _mm_max_ps(s, _mm_movehl_ps(s, s));
    return _mm_cvtss_f32(_mm_max_ss(s, _mm_movehdup_ps(s)));
}

/* Lanes 0 1 4 5 2 3 6 7: what the two 128-bit halves of a shuffle need to be in order. */
static inline vf v_swap_middle(vf a) {
    return _mm256_castpd_ps(_mm256_permute4x64_pd(_mm256_castps_pd(a), 0xd8));
}
/* p[0], p[2].. and p[1], p[3].. */
static inline void v_load2(const float *p, vf *even, vf *odd) {
    const vf a = v_load(p), b = v_load(p + VL);
    *even = v_swap_middle(_mm256_shuffle_ps(a, b, 0x88));
    *odd = v_swap_middle(_mm256_shuffle_ps(a, b, 0xdd));
}
static inline void v_store2(float *p, vf even, vf odd) {
    const vf lo = _mm256_unpacklo_ps(even, odd), hi = _mm256_unpackhi_ps(even, odd);
    v_store(p, _mm256_permute2f128_ps(lo, hi, 0x20));
    v_store(p + VL, _mm256_permute2f128_ps(lo, hi, 0x31));
}

static inline float v_half(uint16_t h) { /* one half float */
    return _cvtsh_ss(h);
}
static inline vf v_set1_half(uint16_t h) {
    return _mm256_cvtph_ps(_mm_set1_epi16((short)h));
}
static inline vf v_from_f16(const uint16_t *p) {
    return _mm256_cvtph_ps(_mm_loadu_si128((const __m128i *)(const void *)p));
}
static inline void v_to_f16(uint16_t *p, vf x) {
    _mm_storeu_si128((__m128i *)(void *)p, _mm256_cvtps_ph(x, _MM_FROUND_TO_NEAREST_INT));
}
static inline vf v_from_bf16(const uint16_t *p) {
    const __m256i h = _mm256_cvtepu16_epi32(_mm_loadu_si128((const __m128i *)(const void *)p));
    return _mm256_castsi256_ps(_mm256_slli_epi32(h, 16));
}
/* The low halves of eight 32-bit values that fit them, in order. */
static inline __m128i v_narrow(__m256i x) {
    const __m256i half = _mm256_packus_epi32(x, x);
    return _mm256_castsi256_si128(_mm256_permute4x64_epi64(half, 0x08));
}
static inline void v_to_bf16(uint16_t *p, vf x) { /* base/f16.h says how */
    const __m256i u = _mm256_castps_si256(x), one = _mm256_set1_epi32(1);
    const __m256i odd = _mm256_and_si256(_mm256_srli_epi32(u, 16), one);
    const __m256i up = _mm256_add_epi32(u, _mm256_add_epi32(odd, _mm256_set1_epi32(0x7fff)));
    const __m256i nan = _mm256_or_si256(u, _mm256_set1_epi32(0x400000));
    const vf is_nan = _mm256_cmp_ps(x, x, _CMP_UNORD_Q);
    const vf r = _mm256_blendv_ps(_mm256_castsi256_ps(up), _mm256_castsi256_ps(nan), is_nan);
    _mm_storeu_si128((__m128i *)(void *)p, v_narrow(_mm256_srli_epi32(_mm256_castps_si256(r), 16)));
}
static inline vf v_from_i8(const int8_t *p) {
    return _mm256_cvtepi32_ps(
        _mm256_cvtepi8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p)));
}
static inline void v_to_i8(int8_t *p, vf x) { /* integral, -128..127 */
    const __m256i i = _mm256_cvtps_epi32(x);
    const __m128i h = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(h, h));
}
static inline vf v_from_nibbles(const uint8_t *p, bool high) { /* 0..15 of VL bytes */
    const __m256i b = _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)p));
    return _mm256_cvtepi32_ps(
        _mm256_and_si256(high ? _mm256_srli_epi32(b, 4) : b, _mm256_set1_epi32(15)));
}

/* Rows of a VL x VL matrix to its columns: pairs, quads, then the 128-bit halves. */
static inline void v_transpose(vf r[VL]) {
    vf t[VL];
    for (int i = 0; i < 8; i += 2) {
        t[i] = _mm256_unpacklo_ps(r[i], r[i + 1]);
        t[i + 1] = _mm256_unpackhi_ps(r[i], r[i + 1]);
    }
    for (int i = 0; i < 8; i += 4)
        for (int h = 0; h < 2; h++) {
            r[i + 2 * h] = _mm256_shuffle_ps(t[i + h], t[i + 2 + h], 0x44);
            r[i + 2 * h + 1] = _mm256_shuffle_ps(t[i + h], t[i + 2 + h], 0xee);
        }
    for (int i = 0; i < 4; i++) {
        t[i] = _mm256_permute2f128_ps(r[i], r[4 + i], 0x20);
        t[4 + i] = _mm256_permute2f128_ps(r[i], r[4 + i], 0x31);
    }
    for (int i = 0; i < VL; i++)
        r[i] = t[i];
}
#endif
