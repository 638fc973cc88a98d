/* Steps that the kernels on unpacked rows (cpu/row.h) share: dots of bytes and sums of lanes.
 *
 * vpmaddubsw multiplies unsigned by signed bytes and saturates above 2^15 a pair: weights up to 127
 * are safe.  So formats with mins go in as they are, small signed ones with a bias that the sums of
 * the activations take off again (exactly, as integers), and only the code books of +-127 and Q8_0
 * pay for moving the weight's sign to the activation. */
#pragma once

#include <immintrin.h>

#include "cpu/inline.h"
#include "cpu/row.h"

INLINE __m256i load32(const void *p) {
    return _mm256_loadu_si256((const __m256i *)p);
}

/* acc + a . b, pairs of 16 bits; one instruction with AVX-VNNI. */
INLINE __m256i madd_add(__m256i acc, __m256i a, __m256i b, int vnni) {
    if (!vnni) return _mm256_add_epi32(acc, _mm256_madd_epi16(a, b));
    __asm__("%{vex%} vpdpwssd %2, %1, %0" : "+x"(acc) : "x"(a), "x"(b));
    return acc;
}

enum k_form {
    MINS,   /* unsigned, float mins */
    BIASED, /* q + bias */
    SIGNED, /* up to +-127 */
};

/* The lane sums of four vectors. */
INLINE __m128i sums4(const __m256i v[4]) {
    const __m256i t =
        _mm256_hadd_epi32(_mm256_hadd_epi32(v[0], v[1]), _mm256_hadd_epi32(v[2], v[3]));
    return _mm_add_epi32(_mm256_castsi256_si128(t), _mm256_extracti128_si256(t, 1));
}

/* Products of 32 weights and activations as pairs. */
INLINE __m256i dot_pairs(__m256i q, __m256i x, bool sign) {
    return sign ? _mm256_maddubs_epi16(_mm256_abs_epi8(q), _mm256_sign_epi8(x, q))
                : _mm256_maddubs_epi16(q, x);
}

INLINE void fetch(const uint8_t *p, size_t n) {
    for (size_t i = 0; i < n; i += 64)
        __builtin_prefetch(p + i);
}
