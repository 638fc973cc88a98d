/* Elementary functions of vectors of floats. */
#pragma once

#include "cpu/simd/v.h"

#ifdef CPU_SIMD
#include <math.h>

/* e^x within 2 ulp: 2^n e^r, n = round(x / ln 2), |r| <= ln 2 / 2; coefficients of Cephes expf
 * (netlib.org/cephes).  Exactly 1 at 0; 0 below -87.3 (-inf too), where floats become subnormal;
 * no more than e^88.37 = 2.4e38, so that 1 + e^x stays finite. */
static inline vf v_exp(vf x) {
    const vf lo = v_set1(-87.3f), hi = v_set1(88.37f), magic = v_set1(0x1.8p23f);
    const vf y = v_min(hi, v_max(lo, x));
    const vf t = v_fma(y, v_set1(1.44269504088896341f), magic); /* rounds to integral */
    const vf n = v_sub(t, magic);
    vf r = v_fma(n, v_set1(-0.693359375f), y);
    r = v_fma(n, v_set1(2.12194440e-4f), r);
    vf p = v_set1(1.9875691500e-4f);
    p = v_fma(p, r, v_set1(1.3981999507e-3f));
    p = v_fma(p, r, v_set1(8.3334519073e-3f));
    p = v_fma(p, r, v_set1(4.1665795894e-2f));
    p = v_fma(p, r, v_set1(1.6666665459e-1f));
    p = v_fma(p, r, v_set1(5.0000001201e-1f));
    p = v_add(v_fma(p, v_mul(r, r), r), v_set1(1.0f));
    return v_if_lt(x, lo, v_zero(), v_ldexp(p, n, t));
}

/* 1 / (1 + e^-x) times a. */
static inline vf v_times_sigmoid(vf a, vf x) {
    return v_div(a, v_add(v_set1(1.0f), v_exp(v_sub(v_zero(), x))));
}

/* tanh: 1 - 2 / (e^2x + 1), and near 0, where that cancels, the Taylor series. */
static inline vf v_tanh(vf x) {
    const vf one = v_set1(1.0f), a = v_abs(x), x2 = v_mul(x, x);
    vf p = v_set1(-1382.0f / 155925);
    p = v_fma(p, x2, v_set1(62.0f / 2835));
    p = v_fma(p, x2, v_set1(-17.0f / 315));
    p = v_fma(p, x2, v_set1(2.0f / 15));
    p = v_fma(p, x2, v_set1(-1.0f / 3));
    const vf small = v_fma(v_mul(p, x2), x, x);
    const vf large = v_sub(one, v_div(v_set1(2.0f), v_add(v_exp(v_add(a, a)), one)));
    return v_if_lt(a, v_set1(0.3f), small, v_copysign(large, x));
}

/* erfc(z), z >= 0: t Q(t) e^-z^2, t = 1 / (1 + 0.3275911 z), the form of Abramowitz and Stegun
 * 7.1.26.  Their Q is good to 1.5e-7 of 1; this one is a minimax fit (Remez) on z in [0, 7] with a
 * relative error of 6e-8. */
static inline vf v_erfc(vf z) {
    const vf t = v_div(v_set1(1.0f), v_fma(v_set1(0.3275911f), z, v_set1(1.0f)));
    vf q = v_set1(-0.1444729901f);
    q = v_fma(q, t, v_set1(0.5110037745f));
    q = v_fma(q, t, v_set1(-0.431419432f));
    q = v_fma(q, t, v_set1(0.4777503382f));
    q = v_fma(q, t, v_set1(0.01174666657f));
    q = v_fma(q, t, v_set1(0.2103249527f));
    q = v_fma(q, t, v_set1(0.1799580954f));
    q = v_fma(q, t, v_set1(0.1851085382f));
    return v_mul(v_mul(q, t), v_exp(v_sub(v_zero(), v_mul(z, z))));
}
#endif
