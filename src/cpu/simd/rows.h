/* Norms and other row operations.  Scalar twins: ref/norm.c.  Sums run in four vectors, which hides
 * the latency of the additions and halves the rounding error twice. */
#pragma once

#include "cpu/simd/math.h"

#ifdef CPU_SIMD

/* Sum of (x - mean)^2. */
static inline float sum_squares(int n, const float *x, float mean) {
    const vf m = v_set1(mean);
    vf s[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    int i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        for (int u = 0; u < 4; u++) {
            const vf d = v_sub(v_load(x + i + u * VL), m);
            s[u] = v_fma(d, d, s[u]);
        }
    for (; i + VL <= n; i += VL) {
        const vf d = v_sub(v_load(x + i), m);
        s[0] = v_fma(d, d, s[0]);
    }
    float sum = v_sum(v_add(v_add(s[0], s[1]), v_add(s[2], s[3])));
    for (; i < n; i++)
        sum += (x[i] - mean) * (x[i] - mean);
    return sum;
}

static inline float sum_values(int n, const float *x) {
    vf s[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    int i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        for (int u = 0; u < 4; u++)
            s[u] = v_add(s[u], v_load(x + i + u * VL));
    for (; i < n; i += VL)
        s[0] = v_add(s[0], v_load_n(x + i, n - i));
    return v_sum(v_add(v_add(s[0], s[1]), v_add(s[2], s[3])));
}

static inline void rms_norm(int n, const float *x, const float *w, float eps, float *y) {
    const vf r = v_set1(1.0f / sqrtf(sum_squares(n, x, 0.0f) / (float)n + eps));
    for (int i = 0; i < n; i += VL) {
        const vf v = v_mul(v_load_n(x + i, n - i), r);
        v_store_n(y + i, w ? v_mul(v, v_load_n(w + i, n - i)) : v, n - i);
    }
}

static inline void layer_norm(int n, const float *x, const float *w, const float *b, float eps,
                              float *y) {
    const float mean = sum_values(n, x) / (float)n;
    const vf r = v_set1(1.0f / sqrtf(sum_squares(n, x, mean) / (float)n + eps)), m = v_set1(mean);
    for (int i = 0; i < n; i += VL) {
        vf v = v_mul(v_sub(v_load_n(x + i, n - i), m), r);
        if (w) v = v_mul(v, v_load_n(w + i, n - i));
        if (b) v = v_add(v, v_load_n(b + i, n - i));
        v_store_n(y + i, v, n - i);
    }
}

static inline void add_scaled(int n, float *x, const float *y, float a) {
    const vf f = v_set1(a);
    for (int i = 0; i < n; i += VL)
        v_store_n(x + i, v_fma(f, v_load_n(y + i, n - i), v_load_n(x + i, n - i)), n - i);
}

static inline void scale(int n, const float *x, float a, float *y) {
    const vf f = v_set1(a);
    for (int i = 0; i < n; i += VL)
        v_store_n(y + i, v_mul(f, v_load_n(x + i, n - i)), n - i);
}

static inline void cap_row(int n, float *x, float a, float cap) {
    const vf in = v_set1(a / cap), out = v_set1(cap);
    for (int i = 0; i < n; i += VL)
        v_store_n(x + i, v_mul(out, v_tanh(v_mul(in, v_load_n(x + i, n - i)))), n - i);
}
#endif
