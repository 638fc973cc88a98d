/* Activation encoders; the same bytes as cpu/ref/act.c. */
#include <math.h>
#include <stdbool.h>
#include <string.h>

#include "cpu/avx512/tile.h"

/* 16 values from i on, zeros from n on. */
INLINE __m512 take(const float *x, int i, int n) {
    const int left = n - i;
    const __mmask16 m = left >= 16 ? 0xffff : left <= 0 ? 0 : (__mmask16)((1u << left) - 1);
    return _mm512_maskz_loadu_ps(m, x + (left > 0 ? i : 0));
}

/* 127 / top and top / 127 with the limits of the reference: 0 for tiny, NaN for non-finite. */
INLINE float scale_of(float top, __mmask16 bad, float *inv) {
    *inv = !bad && top > 1e-36f ? 127.0f / top : 0.0f;
    if (bad) return NAN;
    return top > 1e-36f ? top / 127.0f : 0.0f;
}

INLINE __mmask16 not_finite(__m512 a) {
    return _mm512_cmp_ps_mask(a, _mm512_set1_ps(3.0e38f), _CMP_NLE_UQ);
}

/* q of 16 values; NaN and infinity times 0 convert to the lowest integer, which `keep` drops. */
INLINE __m512i round16(__m512 v, float inv, __mmask16 bad) {
    const __m512i q = _mm512_cvtps_epi32(_mm512_mul_ps(v, _mm512_set1_ps(inv)));
    return bad ? _mm512_setzero_si512() : q;
}

INLINE void put_q(int8_t *to, __m512i q) {
    _mm_storeu_si128((__m128i *)(void *)to, _mm512_cvtepi32_epi8(q));
}

static void encode_f32(const float *x, int n, uint8_t *out, size_t step) {
    for (int at = 0; at < n; at += ACT_BLOCK, out += step)
        for (int i = 0; i < ACT_BLOCK; i += 16)
            _mm512_storeu_ps(out + 4 * i, take(x, at + i, n));
}

static void encode_q8(const float *x, int n, uint8_t *out, size_t step) {
    for (int at = 0; at < n; at += ACT_BLOCK, out += step) {
        struct act_q8 *a = (struct act_q8 *)(void *)out;
        for (int j = 0; j < 8; j++) {
            const __m512 u = take(x, at + 32 * j, n), v = take(x, at + 32 * j + 16, n);
            const __m512 top = _mm512_max_ps(_mm512_abs_ps(u), _mm512_abs_ps(v));
            const __mmask16 bad = not_finite(_mm512_abs_ps(u)) | not_finite(_mm512_abs_ps(v));
            float inv;
            a->d[j] = scale_of(_mm512_reduce_max_ps(top), bad, &inv);
            const __m512i p = round16(u, inv, bad), q = round16(v, inv, bad);
            const int s = _mm512_reduce_add_epi32(_mm512_add_epi32(p, q));
            put_q(a->q + 32 * j, p);
            put_q(a->q + 32 * j + 16, q);
            a->start[j] = -128 * s;
            a->ds[j] = a->d[j] * (float)s;
        }
    }
}

/* Sums over 16 of the block's q, by dot products with ones. */
INLINE __m512i sums16(const int8_t *q) {
    __m512i s[4];
    UNROLL for (int i = 0; i < 4; i++) s[i] =
        dpbusd(_mm512_setzero_si512(), _mm512_set1_epi8(1), _mm512_load_si512(q + 64 * i));
    /* Lane l of s[i] has four partial sums of sub-block 4 i + l: transpose and add. */
    __m512i t[4];
    transpose_lanes(s, t);
    const __m512i sum =
        _mm512_add_epi32(_mm512_add_epi32(t[0], t[1]), _mm512_add_epi32(t[2], t[3]));
    /* Lane l, unit i has sub-block 4 i + l: one more transpose, across lanes. */
    const __m512i order = _mm512_setr_epi32(0, 4, 8, 12, 1, 5, 9, 13, 2, 6, 10, 14, 3, 7, 11, 15);
    return _mm512_permutexvar_epi32(order, sum);
}

/* All sums of a block: see struct act_q8_k. */
static void put_sums(struct act_q8_k *a) {
    const __m512i s16 = sums16(a->q);
    a->total = _mm512_reduce_add_epi32(s16);
    const __m512i pairs = _mm512_add_epi32(s16, _mm512_shuffle_epi32(s16, _MM_PERM_CDAB));
    const __m512i even = _mm512_setr_epi32(0, 2, 4, 6, 8, 10, 12, 14, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m256i s32 = _mm512_castsi512_si256(_mm512_permutexvar_epi32(even, pairs));
    _mm256_storeu_si256((__m256i *)(void *)a->sum16,
                        _mm512_cvtepi32_epi16(_mm512_shuffle_epi32(s16, _MM_PERM_DBCA)));
    _mm_storeu_si128((__m128i *)(void *)a->sum32,
                     _mm256_cvtepi32_epi16(_mm256_shuffle_epi32(s32, 0xd8)));
    _mm512_storeu_si512(a->start16,
                        _mm512_sub_epi32(_mm512_setzero_si512(), _mm512_slli_epi32(s16, 7)));
    _mm256_storeu_si256((__m256i *)(void *)a->start32,
                        _mm256_sub_epi32(_mm256_setzero_si256(), _mm256_slli_epi32(s32, 7)));
}

static void encode_q8_k(const float *x, int n, uint8_t *out, size_t step) {
    for (int at = 0; at < n; at += ACT_BLOCK, out += step) {
        struct act_q8_k *a = (struct act_q8_k *)(void *)out;
        __m512 v[16], top = _mm512_setzero_ps();
        __mmask16 bad = 0;
        float inv;
        UNROLL for (int i = 0; i < 16; i++) {
            v[i] = take(x, at + 16 * i, n);
            bad |= not_finite(_mm512_abs_ps(v[i]));
            top = _mm512_max_ps(top, _mm512_abs_ps(v[i]));
        }
        a->d = scale_of(_mm512_reduce_max_ps(top), bad, &inv);
        UNROLL for (int i = 0; i < 16; i++) put_q(a->q + 16 * i, round16(v[i], inv, bad));
        put_sums(a);
    }
}

static void encode_q16(const float *x, int n, uint8_t *out, size_t step) {
    for (int at = 0; at < n; at += ACT_BLOCK, out += step) {
        struct act_q16 *a = (struct act_q16 *)(void *)out;
        for (int j = 0; j < 8; j++) {
            const __m512 u = take(x, at + 32 * j, n), v = take(x, at + 32 * j + 16, n);
            const __mmask16 bad = not_finite(_mm512_abs_ps(u)) | not_finite(_mm512_abs_ps(v));
            const float top =
                _mm512_reduce_max_ps(_mm512_max_ps(_mm512_abs_ps(u), _mm512_abs_ps(v)));
            const bool some = !bad && top > 1e-34f;
            const float inv = some ? ACT_Q16_MAX / top : 0.0f;
            a->d[j] = bad ? NAN : some ? top / ACT_Q16_MAX : 0.0f;
            const __m256i p = _mm512_cvtepi32_epi16(round16(u, inv, bad));
            const __m256i q = _mm512_cvtepi32_epi16(round16(v, inv, bad));
            _mm512_store_si512(a->q + 32 * j, _mm512_inserti64x4(_mm512_castsi256_si512(p), q, 1));
        }
    }
}

void kern_mat_avx512_act(struct kern_mat *k) {
    k->encode[ACT_F32] = encode_f32;
    k->encode[ACT_Q8] = encode_q8;
    k->encode[ACT_Q8_K] = encode_q8_k;
    k->encode[ACT_Q16] = encode_q16;
}
