/* Ceilings of AVX-512: as in avx2/probe.c, twice as wide, and VNNI's one instruction for 64
 * products. */
#include "cpu/probe.h"

#include <immintrin.h>

#include "cpu/avx512/tile.h"

enum { N_ACC = 16 }; /* of 32 registers; gcc unrolls no more */

static uint64_t read_avx512(const uint8_t *p, size_t n) {
    __m512i s[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(),
                    _mm512_setzero_si512()};
    for (size_t i = 0; i < n; i += 256)
        for (size_t k = 0; k < 4; k++)
            s[k] = _mm512_xor_si512(s[k], _mm512_load_si512(p + i + 64 * k));
    s[0] = _mm512_xor_si512(_mm512_xor_si512(s[0], s[1]), _mm512_xor_si512(s[2], s[3]));
    return (uint64_t)_mm512_reduce_add_epi64(s[0]);
}

static double sum_i32(const __m512i *acc) {
    double s = 0;
    for (int k = 0; k < N_ACC; k++)
        s += _mm512_reduce_add_epi32(acc[k]);
    return s;
}

static double int8_avx512(long n_round, volatile double *sink) {
    __m512i acc[N_ACC], u = _mm512_set1_epi8(3), v = _mm512_set1_epi8(1);
    const __m512i ones = _mm512_set1_epi16(1);
    for (int k = 0; k < N_ACC; k++)
        acc[k] = _mm512_setzero_si512();
    for (long r = 0; r < n_round; r++) {
        for (int k = 0; k < N_ACC; k++) {
            __asm__ volatile("" : "+v"(u));
            acc[k] = _mm512_add_epi32(acc[k], _mm512_madd_epi16(_mm512_maddubs_epi16(u, v), ones));
        }
    }
    *sink += sum_i32(acc);
    return 2.0 * 64 * N_ACC * (double)n_round;
}

static double int8_vnni(long n_round, volatile double *sink) {
    __m512i acc[N_ACC], u = _mm512_set1_epi8(3), v = _mm512_set1_epi8(1);
    for (int k = 0; k < N_ACC; k++)
        acc[k] = _mm512_setzero_si512();
    for (long r = 0; r < n_round; r++) {
        __asm__ volatile("" : "+v"(u));
        for (int k = 0; k < N_ACC; k++)
            acc[k] = dpbusd(acc[k], u, v);
    }
    *sink += sum_i32(acc);
    return 2.0 * 64 * N_ACC * (double)n_round;
}

static double int16_avx512(long n_round, volatile double *sink) {
    __m512i acc[N_ACC], u = _mm512_set1_epi16(3), v = _mm512_set1_epi16(1);
    for (int k = 0; k < N_ACC; k++)
        acc[k] = _mm512_setzero_si512();
    for (long r = 0; r < n_round; r++) {
        for (int k = 0; k < N_ACC; k++) {
            __asm__ volatile("" : "+v"(u));
            acc[k] = _mm512_add_epi32(acc[k], _mm512_madd_epi16(u, v));
        }
    }
    *sink += sum_i32(acc);
    return 2.0 * 32 * N_ACC * (double)n_round;
}

static double int16_vnni(long n_round, volatile double *sink) {
    __m512i acc[N_ACC], u = _mm512_set1_epi16(3), v = _mm512_set1_epi16(1);
    for (int k = 0; k < N_ACC; k++)
        acc[k] = _mm512_setzero_si512();
    for (long r = 0; r < n_round; r++) {
        __asm__ volatile("" : "+v"(u));
        for (int k = 0; k < N_ACC; k++)
            acc[k] = dpwssd(acc[k], u, v);
    }
    *sink += sum_i32(acc);
    return 2.0 * 32 * N_ACC * (double)n_round;
}

static double f32_avx512(long n_round, volatile double *sink) {
    __m512 acc[N_ACC], a = _mm512_set1_ps(0.5f), b = _mm512_set1_ps(1.0f);
    for (int k = 0; k < N_ACC; k++)
        acc[k] = _mm512_setzero_ps();
    for (long r = 0; r < n_round; r++) {
        __asm__ volatile("" : "+v"(a));
        for (int k = 0; k < N_ACC; k++)
            acc[k] = _mm512_fmadd_ps(acc[k], a, b);
    }
    for (int k = 0; k < N_ACC; k++)
        *sink += (double)_mm512_cvtss_f32(acc[k]);
    return 2.0 * 16 * N_ACC * (double)n_round;
}

static double bf16_avx512(long n_round, volatile double *sink) {
    __m512 acc[N_ACC];
    __m512i a = _mm512_set1_epi32(0x3f803f80); /* ones */
    for (int k = 0; k < N_ACC; k++)
        acc[k] = _mm512_setzero_ps();
    for (long r = 0; r < n_round; r++) {
        __asm__ volatile("" : "+v"(a));
        for (int k = 0; k < N_ACC; k++)
            acc[k] = _mm512_dpbf16_ps(acc[k], (__m512bh)a, (__m512bh)a);
    }
    for (int k = 0; k < N_ACC; k++)
        *sink += (double)_mm512_cvtss_f32(acc[k]);
    return 2.0 * 32 * N_ACC * (double)n_round;
}

void probe_init_avx512(struct probe *p) {
    *p = (struct probe){
        .read = read_avx512, .int8 = int8_avx512, .int16 = int16_avx512, .f32 = f32_avx512};
}

void probe_init_avx512_vnni(struct probe *p) {
    p->int8 = int8_vnni;
    p->int16 = int16_vnni;
}

void probe_init_avx512_bf16(struct probe *p) {
    p->bf16 = bf16_avx512;
}
