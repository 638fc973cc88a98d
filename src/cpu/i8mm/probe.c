/* Ceiling of the matrix instructions of ARMv8.6. */
#include "cpu/probe.h"

#include <arm_neon.h>

enum { N_ACC = 16 };

static double int8_i8mm(long n_round, volatile double *sink) {
    int32x4_t acc[N_ACC];
    int8x16_t u = vdupq_n_s8(3), v = vdupq_n_s8(1);
    for (int k = 0; k < N_ACC; k++)
        acc[k] = vdupq_n_s32(0);
    for (long r = 0; r < n_round; r++) {
        __asm__ volatile("" : "+w"(u));
        for (int k = 0; k < N_ACC; k++)
            acc[k] = vmmlaq_s32(acc[k], u, v);
    }
    for (int k = 0; k < N_ACC; k++)
        *sink += vaddvq_s32(acc[k]);
    return 2.0 * 32 * N_ACC * (double)n_round;
}

void probe_init_i8mm(struct probe *p) {
    p->int8 = int8_i8mm;
}
