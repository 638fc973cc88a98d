/* Ceilings of AVX2: two loads, two FMA, two integer multiplies a cycle on most cores.  The empty
 * asm statements keep the compiler from doing once what the loop is to do each time. */
#include "cpu/probe.h"

#include <immintrin.h>

enum { N_ACC = 12 }; /* independent sums: they hide 4-5 cycles at two a cycle, in 16 registers */

static uint64_t read_avx2(const uint8_t *p, size_t n) {
    __m256i s[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(),
                    _mm256_setzero_si256()};
    for (size_t i = 0; i < n; i += 128)
        for (size_t k = 0; k < 4; k++)
            s[k] = _mm256_xor_si256(s[k], _mm256_load_si256((const __m256i *)(p + i + 32 * k)));
    uint64_t out[4];
    s[0] = _mm256_xor_si256(_mm256_xor_si256(s[0], s[1]), _mm256_xor_si256(s[2], s[3]));
    _mm256_storeu_si256((__m256i *)out, s[0]);
    return out[0] ^ out[1] ^ out[2] ^ out[3];
}

static double sum_i32(const __m256i *acc, int n) {
    double s = 0;
    for (int k = 0; k < n; k++)
        s += _mm256_extract_epi32(acc[k], 0);
    return s;
}

/* Three instructions for 32 products: maddubs, madd, add. */
static double int8_avx2(long n_round, volatile double *sink) {
    __m256i acc[N_ACC], u = _mm256_set1_epi8(3), v = _mm256_set1_epi8(1);
    const __m256i ones = _mm256_set1_epi16(1);
    for (int k = 0; k < N_ACC; k++)
        acc[k] = _mm256_setzero_si256();
    for (long r = 0; r < n_round; r++) {
        for (int k = 0; k < N_ACC; k++) {
            __asm__ volatile("" : "+x"(u));
            acc[k] = _mm256_add_epi32(acc[k], _mm256_madd_epi16(_mm256_maddubs_epi16(u, v), ones));
        }
    }
    *sink += sum_i32(acc, N_ACC);
    return 2.0 * 32 * N_ACC * (double)n_round;
}

/* Two for 16 products: madd, add. */
static double int16_avx2(long n_round, volatile double *sink) {
    __m256i acc[N_ACC], u = _mm256_set1_epi16(3), v = _mm256_set1_epi16(1);
    for (int k = 0; k < N_ACC; k++)
        acc[k] = _mm256_setzero_si256();
    for (long r = 0; r < n_round; r++) {
        for (int k = 0; k < N_ACC; k++) {
            __asm__ volatile("" : "+x"(u));
            acc[k] = _mm256_add_epi32(acc[k], _mm256_madd_epi16(u, v));
        }
    }
    *sink += sum_i32(acc, N_ACC);
    return 2.0 * 16 * N_ACC * (double)n_round;
}

__attribute__((target("avxvnni"))) static double int16_avx_vnni(long n_round,
                                                                volatile double *sink) {
    __m256i acc[N_ACC], u = _mm256_set1_epi16(3), v = _mm256_set1_epi16(1);
    for (int k = 0; k < N_ACC; k++)
        acc[k] = _mm256_setzero_si256();
    for (long r = 0; r < n_round; r++) {
        __asm__ volatile("" : "+x"(u));
        for (int k = 0; k < N_ACC; k++)
            acc[k] = _mm256_dpwssd_avx_epi32(acc[k], u, v);
    }
    *sink += sum_i32(acc, N_ACC);
    return 2.0 * 16 * N_ACC * (double)n_round;
}

__attribute__((target("avxvnni"))) static double int8_avx_vnni(long n_round,
                                                               volatile double *sink) {
    __m256i acc[N_ACC], u = _mm256_set1_epi8(3), v = _mm256_set1_epi8(1);
    for (int k = 0; k < N_ACC; k++)
        acc[k] = _mm256_setzero_si256();
    for (long r = 0; r < n_round; r++) {
        __asm__ volatile("" : "+x"(u));
        for (int k = 0; k < N_ACC; k++)
            acc[k] = _mm256_dpbusd_avx_epi32(acc[k], u, v);
    }
    *sink += sum_i32(acc, N_ACC);
    return 2.0 * 32 * N_ACC * (double)n_round;
}

static double f32_avx2(long n_round, volatile double *sink) {
    __m256 acc[N_ACC], a = _mm256_set1_ps(0.5f), b = _mm256_set1_ps(1.0f);
    for (int k = 0; k < N_ACC; k++)
        acc[k] = _mm256_setzero_ps();
    for (long r = 0; r < n_round; r++) {
        __asm__ volatile("" : "+x"(a));
        for (int k = 0; k < N_ACC; k++)
            acc[k] = _mm256_fmadd_ps(acc[k], a, b);
    }
    for (int k = 0; k < N_ACC; k++)
        *sink += (double)_mm256_cvtss_f32(acc[k]);
    return 2.0 * 8 * N_ACC * (double)n_round;
}

void probe_init_avx2(struct probe *p) {
    *p = (struct probe){.read = read_avx2, .int8 = int8_avx2, .int16 = int16_avx2, .f32 = f32_avx2};
}

void probe_init_avx_vnni(struct probe *p) {
    p->int8 = int8_avx_vnni;
    p->int16 = int16_avx_vnni;
}
