/* Activations.  Scalar twins and formulas: ref/glu.c. */
#pragma once

#include "backend/mat.h"
#include "cpu/simd/math.h"

#ifdef CPU_SIMD

/* Called with a constant, so that one formula is left. */
static inline vf v_act(enum act a, vf x) {
    const vf zero = v_zero();
    switch (a) {
    case ACT_NONE: return x;
    case ACT_SILU: return v_times_sigmoid(x, x);
    case ACT_GELU: { /* (1 + tanh u) / 2 = sigmoid(2u), which does not cancel */
        const vf c = v_fma(v_mul(x, x), v_set1(0.0713548162726f), v_set1(1.59576912160573f));
        return v_times_sigmoid(x, v_mul(x, c));
    }
    case ACT_GELU_ERF: { /* x erfc(-x / sqrt 2) / 2 by the sign of x */
        const vf e = v_erfc(v_mul(v_abs(x), v_set1(0.70710678118654752f)));
        const vf near = v_max(v_set1(-99.0f), v_min(v_set1(99.0f), x)); /* beyond, e is 0 */
        const vf half = v_mul(v_mul(near, v_set1(0.5f)), e);
        return v_if_lt(x, zero, half, v_sub(x, half));
    }
    case ACT_RELU: return v_max(zero, x);
    case ACT_RELU2: return v_mul(v_max(zero, x), v_max(zero, x));
    case ACT_SWIGLU_OAI: {
        const vf g = v_min(v_set1(7.0f), x);
        return v_times_sigmoid(g, v_mul(g, v_set1(1.702f)));
    }
    }
    return x;
}

/* act(x) and in *slope its derivative; formulas: ref/glu.c. */
static inline vf v_act_slope(enum act a, vf x, vf *slope) {
    const vf one = v_set1(1.0f), zero = v_zero();
    vf s, y;
    switch (a) {
    case ACT_NONE: *slope = one; return x;
    case ACT_SILU:
        s = v_times_sigmoid(one, x);
        y = v_mul(x, s);
        *slope = v_fma(y, v_sub(one, s), s);
        return y;
    case ACT_GELU: {
        const vf x2 = v_mul(x, x);
        const vf c = v_fma(x2, v_set1(0.0713548162726f), v_set1(1.59576912160573f));
        const vf c3 = v_fma(x2, v_set1(0.2140644488178f), v_set1(1.59576912160573f));
        s = v_times_sigmoid(one, v_mul(x, c));
        y = v_mul(x, s);
        *slope = v_fma(v_mul(y, v_sub(one, s)), c3, s);
        return y;
    }
    case ACT_GELU_ERF: {
        const vf half = v_mul(v_set1(0.5f), v_erfc(v_mul(v_abs(x), v_set1(0.70710678118654752f))));
        const vf near = v_max(v_set1(-99.0f), v_min(v_set1(99.0f), x)); /* beyond, both are 0 */
        const vf phi =
            v_mul(v_set1(0.39894228040143268f), v_exp(v_mul(v_mul(near, near), v_set1(-0.5f))));
        s = v_if_lt(x, zero, half, v_sub(one, half));
        *slope = v_fma(near, phi, s);
        return v_if_lt(x, zero, v_mul(near, s), v_mul(x, s));
    }
    case ACT_RELU: *slope = v_if_lt(zero, x, one, zero); return v_max(zero, x);
    case ACT_RELU2:
        y = v_max(zero, x);
        *slope = v_add(y, y);
        return v_mul(y, y);
    case ACT_SWIGLU_OAI: {
        const vf g = v_min(v_set1(7.0f), x), k = v_set1(1.702f);
        s = v_times_sigmoid(one, v_mul(g, k));
        y = v_mul(g, s);
        *slope = v_if_lt(x, v_set1(7.0f), v_fma(v_mul(k, y), v_sub(one, s), s), zero);
        return y;
    }
    }
    *slope = one;
    return x;
}

static inline vf v_glu(enum act a, vf gate, vf up) {
    if (a == ACT_SWIGLU_OAI)
        up = v_add(v_max(v_set1(-7.0f), v_min(v_set1(7.0f), up)), v_set1(1.0f));
    return v_mul(v_act(a, gate), up);
}

static inline void v_glu_back(enum act a, vf gate, vf up, vf dy, vf *dgate, vf *dup) {
    vf slope, y = v_act_slope(a, gate, &slope);
    if (a == ACT_SWIGLU_OAI) {
        y = v_if_lt(v_abs(up), v_set1(7.0f), y, v_zero());
        up = v_add(v_max(v_set1(-7.0f), v_min(v_set1(7.0f), up)), v_set1(1.0f));
    }
    *dgate = v_mul(v_mul(dy, up), slope);
    *dup = v_mul(dy, y);
}

/* The four functions of one activation. */
#define ACT_PAIR(name, id)                                                                         \
    static inline void act_##name(int n, const float *x, float *y) {                               \
        for (int i = 0; i < n; i += VL)                                                            \
            v_store_n(y + i, v_act(id, v_load_n(x + i, n - i)), n - i);                            \
    }                                                                                              \
    static inline void glu_##name(int n, const float *gate, const float *up, float *y) {           \
        for (int i = 0; i < n; i += VL)                                                            \
            v_store_n(y + i, v_glu(id, v_load_n(gate + i, n - i), v_load_n(up + i, n - i)),        \
                      n - i);                                                                      \
    }                                                                                              \
    static inline void act_back_##name(int n, const float *x, const float *dy, float *dx) {        \
        for (int i = 0; i < n; i += VL) {                                                          \
            vf slope;                                                                              \
            v_act_slope(id, v_load_n(x + i, n - i), &slope);                                       \
            v_store_n(dx + i, v_mul(v_load_n(dy + i, n - i), slope), n - i);                       \
        }                                                                                          \
    }                                                                                              \
    static inline void glu_back_##name(int n, const float *gate, const float *up, const float *dy, \
                                       float *dgate, float *dup) {                                 \
        for (int i = 0; i < n; i += VL) {                                                          \
            vf dg, du;                                                                             \
            v_glu_back(id, v_load_n(gate + i, n - i), v_load_n(up + i, n - i),                     \
                       v_load_n(dy + i, n - i), &dg, &du);                                         \
            v_store_n(dgate + i, dg, n - i);                                                       \
            v_store_n(dup + i, du, n - i);                                                         \
        }                                                                                          \
    }
ACT_PAIR(none, ACT_NONE)
ACT_PAIR(silu, ACT_SILU)
ACT_PAIR(gelu, ACT_GELU)
ACT_PAIR(gelu_erf, ACT_GELU_ERF)
ACT_PAIR(relu, ACT_RELU)
ACT_PAIR(relu2, ACT_RELU2)
ACT_PAIR(swiglu_oai, ACT_SWIGLU_OAI)
#undef ACT_PAIR
#endif
