/* Ceilings of NEON, and of the dot product instructions of ARMv8.2. */
#include "cpu/probe.h"

#include <arm_neon.h>

enum { N_ACC = 16 }; /* four units of four cycles each on the large cores */

static uint64_t read_neon(const uint8_t *p, size_t n) {
    uint8x16_t s[4] = {vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0), vdupq_n_u8(0)};
    for (size_t i = 0; i < n; i += 64)
        for (size_t k = 0; k < 4; k++)
            s[k] = veorq_u8(s[k], vld1q_u8(p + i + 16 * k));
    const uint64x2_t all =
        vreinterpretq_u64_u8(veorq_u8(veorq_u8(s[0], s[1]), veorq_u8(s[2], s[3])));
    return vgetq_lane_u64(all, 0) ^ vgetq_lane_u64(all, 1);
}

static double sum_i32(const int32x4_t *acc) {
    double s = 0;
    for (int k = 0; k < N_ACC; k++)
        s += vaddvq_s32(acc[k]);
    return s;
}

/* Without dot products: multiply long, then add pairs. */
static double int8_neon(long n_round, volatile double *sink) {
    int32x4_t acc[N_ACC];
    int8x16_t u = vdupq_n_s8(3), v = vdupq_n_s8(1);
    for (int k = 0; k < N_ACC; k++)
        acc[k] = vdupq_n_s32(0);
    for (long r = 0; r < n_round; r++) {
        for (int k = 0; k < N_ACC; k++) {
            __asm__ volatile("" : "+w"(u));
            int16x8_t m = vmull_s8(vget_low_s8(u), vget_low_s8(v));
            m = vmlal_high_s8(m, u, v);
            acc[k] = vpadalq_s16(acc[k], m);
        }
    }
    *sink += sum_i32(acc);
    return 2.0 * 16 * N_ACC * (double)n_round;
}

static double int16_neon(long n_round, volatile double *sink) {
    int32x4_t acc[N_ACC];
    int16x8_t u = vdupq_n_s16(3), v = vdupq_n_s16(1);
    for (int k = 0; k < N_ACC; k++)
        acc[k] = vdupq_n_s32(0);
    for (long r = 0; r < n_round; r++) {
        __asm__ volatile("" : "+w"(u));
        for (int k = 0; k < N_ACC; k++) {
            acc[k] = vmlal_s16(acc[k], vget_low_s16(u), vget_low_s16(v));
            acc[k] = vmlal_high_s16(acc[k], u, v);
        }
    }
    *sink += sum_i32(acc);
    return 2.0 * 8 * N_ACC * (double)n_round;
}

static double int8_dotprod(long n_round, volatile double *sink) {
    int32x4_t acc[N_ACC];
    int8x16_t u = vdupq_n_s8(3), v = vdupq_n_s8(1);
    for (int k = 0; k < N_ACC; k++)
        acc[k] = vdupq_n_s32(0);
    for (long r = 0; r < n_round; r++) {
        __asm__ volatile("" : "+w"(u));
        for (int k = 0; k < N_ACC; k++)
            acc[k] = vdotq_s32(acc[k], u, v);
    }
    *sink += sum_i32(acc);
    return 2.0 * 16 * N_ACC * (double)n_round;
}

static double f32_neon(long n_round, volatile double *sink) {
    float32x4_t acc[N_ACC], a = vdupq_n_f32(0.5f), b = vdupq_n_f32(1e-3f);
    for (int k = 0; k < N_ACC; k++)
        acc[k] = vdupq_n_f32(0);
    for (long r = 0; r < n_round; r++) {
        __asm__ volatile("" : "+w"(a));
        for (int k = 0; k < N_ACC; k++)
            acc[k] = vfmaq_f32(acc[k], a, b);
    }
    for (int k = 0; k < N_ACC; k++)
        *sink += (double)vgetq_lane_f32(acc[k], 0);
    return 2.0 * 4 * N_ACC * (double)n_round;
}

void probe_init_neon(struct probe *p) {
    *p = (struct probe){.read = read_neon, .int8 = int8_neon, .int16 = int16_neon, .f32 = f32_neon};
}

void probe_init_dotprod(struct probe *p) {
    p->int8 = int8_dotprod;
}
