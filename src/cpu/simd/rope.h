/* Rotary position embedding.  Scalar twins: ref/rope.c. */
#pragma once

#include "cpu/simd/v.h"

#ifdef CPU_SIMD

/* One rotation by (cos, sin), for the tails. */
static inline void rotate_pair(float *a, float *b, const float *cs) {
    const float x = *a, y = *b;
    *a = x * cs[0] - y * cs[1];
    *b = x * cs[1] + y * cs[0];
}

static inline void rope_pairs(int n_pair, float *x, const float *cs) {
    int i = 0;
    for (; i + VL <= n_pair; i += VL) {
        vf a, b, c, s;
        v_load2(x + 2 * i, &a, &b);
        v_load2(cs + 2 * i, &c, &s);
        v_store2(x + 2 * i, v_sub(v_mul(a, c), v_mul(b, s)), v_add(v_mul(a, s), v_mul(b, c)));
    }
    for (; i < n_pair; i++)
        rotate_pair(&x[2 * i], &x[2 * i + 1], cs + 2 * i);
}

static inline void rope_halves(int n_pair, float *x, const float *cs) {
    int i = 0;
    for (; i + VL <= n_pair; i += VL) {
        const vf a = v_load(x + i), b = v_load(x + n_pair + i);
        vf c, s;
        v_load2(cs + 2 * i, &c, &s);
        v_store(x + i, v_sub(v_mul(a, c), v_mul(b, s)));
        v_store(x + n_pair + i, v_add(v_mul(a, s), v_mul(b, c)));
    }
    for (; i < n_pair; i++)
        rotate_pair(&x[i], &x[i + n_pair], cs + 2 * i);
}
#endif
