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

/* dx (+)= a g + b (x - mean) + c, g = w dy: what both norms' gradients come to. */
static inline void norm_back_row(int n, const float *x, float mean, const float *w, const float *dy,
                                 float a, float b, float c, float *dx, bool add) {
    const vf m = v_set1(mean), fa = v_set1(a), fb = v_set1(b), fc = v_set1(c);
    for (int i = 0; i < n; i += VL) {
        vf g = v_load_n(dy + i, n - i);
        if (w) g = v_mul(g, v_load_n(w + i, n - i));
        vf d = v_fma(fa, g, v_fma(fb, v_sub(v_load_n(x + i, n - i), m), fc));
        if (add) d = v_add(d, v_load_n(dx + i, n - i));
        v_store_n(dx + i, d, n - i);
    }
}

/* Sums of g = w dy and of g (x - mean). */
static inline void norm_back_sums(int n, const float *x, float mean, const float *w,
                                  const float *dy, float *sum_g, float *sum_xg) {
    vf g_[2] = {v_zero(), v_zero()}, xg[2] = {v_zero(), v_zero()};
    for (int i = 0; i < n; i += VL) {
        const vf d = v_sub(v_load_n(x + i, n - i), v_set1(mean));
        vf g = v_load_n(dy + i, n - i); /* 0 past the end */
        if (w) g = v_mul(g, v_load_n(w + i, n - i));
        const int u = i / VL & 1;
        g_[u] = v_add(g_[u], g);
        xg[u] = v_fma(g, d, xg[u]);
    }
    *sum_g = v_sum(v_add(g_[0], g_[1]));
    *sum_xg = v_sum(v_add(xg[0], xg[1]));
}

static inline void rms_back(int n, const float *x, const float *w, float eps, const float *dy,
                            float *dx, bool add, float stat[2]) {
    const float r = 1.0f / sqrtf(sum_squares(n, x, 0.0f) / (float)n + eps);
    float unused, xg;
    norm_back_sums(n, x, 0.0f, w, dy, &unused, &xg);
    stat[0] = 0.0f, stat[1] = r;
    norm_back_row(n, x, 0.0f, w, dy, r, -(r * r) * (r * xg / (float)n), 0.0f, dx, add);
}

static inline void layer_back(int n, const float *x, const float *w, float eps, const float *dy,
                              float *dx, bool add, float stat[2]) {
    const float mean = sum_values(n, x) / (float)n;
    const float r = 1.0f / sqrtf(sum_squares(n, x, mean) / (float)n + eps);
    float g, xg;
    norm_back_sums(n, x, mean, w, dy, &g, &xg);
    stat[0] = mean, stat[1] = r;
    norm_back_row(n, x, mean, w, dy, r, -(r * r) * (r * xg / (float)n), -r * g / (float)n, dx, add);
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

static inline float dot(int n, const float *x, const float *y) {
    vf s[4] = {v_zero(), v_zero(), v_zero(), v_zero()};
    int i = 0;
    for (; i + 4 * VL <= n; i += 4 * VL)
        for (int u = 0; u < 4; u++)
            s[u] = v_fma(v_load(x + i + u * VL), v_load(y + i + u * VL), s[u]);
    for (; i < n; i += VL)
        s[0] = v_fma(v_load_n(x + i, n - i), v_load_n(y + i, n - i), s[0]);
    return v_sum(v_add(v_add(s[0], s[1]), v_add(s[2], s[3])));
}
#endif
