/* Products of 16-bit float weights in 16-bit integers: what each ACT_Q16 kernel computes, bit by
 * bit.
 *
 *   q = round(w / d), d = 2^(e - 12), 2^e <= max|w| < 2^(e + 1)      32 weights of a row
 *   y = sum_j float(sum_32 q * x.q) * (d * x.d)                       j ascending, one fma each
 *
 * The inner sum is exact: both factors are at most 8191.  q is exact, too, for an F16 weight within
 * 2 octaves of its block's largest, for a BF16 weight within 5; others are off by at most d / 2. */
#include <math.h>
#include <stdbool.h>

#include "cpu/act.h"
#include "cpu/kern_mat.h"
#include "quant/quant.h"

enum { SUB = 32 };

/* n <= 32 weights; returns d. */
static float fix_weights(enum qtype t, const uint8_t *w, int n, int32_t q[SUB]) {
    const int least = t == QT_F16 ? -14 : -95; /* of e: subnormal halves, and what d must hold */
    float v[SUB], top = 0.0f;
    bool bad = false;
    int e;
    quant_type(t)->decode(w, v, (size_t)n);
    for (int i = 0; i < n; i++) {
        top = fmaxf(top, fabsf(v[i]));
        bad |= !isfinite(v[i]);
    }
    frexpf(top, &e); /* top = f * 2^e, f in [0.5, 1) */
    if (top == 0.0f || e - 1 < least) e = least + 1;
    for (int i = 0; i < n; i++)
        q[i] = bad ? 0 : (int32_t)rintf(ldexpf(v[i], 13 - e));
    return bad ? NAN : ldexpf(1.0f, e - 13);
}

/* y += the product of a row's block of n <= 256 values. */
static float mul_block(enum qtype t, const uint8_t *w, int n, const struct act_q16 *x, float y) {
    for (int j = 0; j * SUB < n; j++) {
        const int m = n - j * SUB < SUB ? n - j * SUB : SUB;
        int32_t q[SUB], s = 0;
        const float d = fix_weights(t, w + qtype_row_bytes(t, j * SUB), m, q);
        for (int i = 0; i < m; i++)
            s += q[i] * x->q[j * SUB + i];
        y = fmaf((float)s, d * x->d[j], y);
    }
    return y;
}

void mat_mul_q16_ref(enum qtype t, const struct mat_call *c) {
    for (int i = 0; i < c->n; i++) {
        const size_t col = (size_t)(c->index ? c->index[i] : i) * act_bytes(ACT_Q16);
        for (int r = 0; r < MAT_ROWS; r++) {
            float y = 0.0f;
            for (int at = 0, b = 0; r < c->n_row && at < c->n_col; at += ACT_BLOCK, b++) {
                const uint8_t *x = c->x + (size_t)b * c->x_step + col;
                const uint8_t *w = c->w + (size_t)r * c->row_bytes + qtype_row_bytes(t, at);
                const int n = c->n_col - at < ACT_BLOCK ? c->n_col - at : ACT_BLOCK;
                y = mul_block(t, w, n, (const struct act_q16 *)(const void *)x, y);
            }
            c->acc[i * MAT_ROWS + r] = y;
        }
    }
}
