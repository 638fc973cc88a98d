/* Ceilings in plain C: what the compiler makes of it, for processors without a folder here. */
#include "cpu/probe.h"

static uint64_t read_ref(const uint8_t *p, size_t n) {
    const uint64_t *q = (const uint64_t *)(const void *)p;
    uint64_t s[4] = {0};
    for (size_t i = 0; i < n / 8; i += 4)
        for (int k = 0; k < 4; k++)
            s[k] ^= q[i + (size_t)k];
    return s[0] ^ s[1] ^ s[2] ^ s[3];
}

enum { N = 256 }; /* elements of one round: they stay in the first cache */

static double int8_ref(long n_round, volatile double *sink) {
    int8_t a[N], b[N];
    int32_t sum = 0;
    for (int i = 0; i < N; i++)
        a[i] = (int8_t)(i & 3), b[i] = (int8_t)(i & 7);
    for (long r = 0; r < n_round; r++) {
        int32_t s = 0;
        __asm__ volatile("" ::"r"(a), "r"(b) : "memory"); /* the round is not hoisted */
        for (int i = 0; i < N; i++)
            s += a[i] * b[i];
        sum ^= s;
    }
    *sink += sum;
    return 2.0 * N * (double)n_round;
}

static double int16_ref(long n_round, volatile double *sink) {
    int16_t a[N], b[N];
    int32_t sum = 0;
    for (int i = 0; i < N; i++)
        a[i] = (int16_t)(i & 3), b[i] = (int16_t)(i & 7);
    for (long r = 0; r < n_round; r++) {
        int32_t s = 0;
        __asm__ volatile("" ::"r"(a), "r"(b) : "memory");
        for (int i = 0; i < N; i++)
            s += a[i] * b[i];
        sum ^= s;
    }
    *sink += sum;
    return 2.0 * N * (double)n_round;
}

static double f32_ref(long n_round, volatile double *sink) {
    float a[N], s[N] = {0};
    for (int i = 0; i < N; i++)
        a[i] = (float)i / N;
    for (long r = 0; r < n_round; r++) {
        __asm__ volatile("" ::"r"(a), "r"(s) : "memory");
        for (int i = 0; i < N; i++)
            s[i] = s[i] * 0.5f + a[i];
    }
    *sink += (double)s[0] + (double)s[N - 1];
    return 2.0 * N * (double)n_round;
}

void probe_init_ref(struct probe *p) {
    *p = (struct probe){.read = read_ref, .int8 = int8_ref, .int16 = int16_ref, .f32 = f32_ref};
}
