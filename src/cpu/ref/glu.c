/* Activations and their derivatives, plain and in double.
 *
 *   silu       x / (1 + e^-x)
 *   gelu       0.5 x (1 + tanh(sqrt(2/pi) (x + 0.044715 x^3)))      (arXiv:1606.08415)
 *   gelu_erf   0.5 x (1 + erf(x / sqrt 2))
 *   swiglu_oai see kern_vec.h */
#include "cpu/ref/ref.h"

#include <math.h>

static double sigmoid(double x) {
    return 1.0 / (1.0 + exp(-x));
}

static double act_one(enum act a, double x) {
    switch (a) {
    case ACT_NONE: return x;
    case ACT_SILU: return x * sigmoid(x);
    case ACT_GELU:
        return 0.5 * x * (1.0 + tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x)));
    case ACT_GELU_ERF: return 0.5 * x * (1.0 + erf(x * 0.70710678118654752440));
    case ACT_RELU: return x > 0 ? x : 0;
    case ACT_RELU2: return x > 0 ? x * x : 0;
    case ACT_SWIGLU_OAI: x = fmin(x, 7.0); return x * sigmoid(1.702 * x);
    }
    return x;
}

/* What act(gate) is multiplied by. */
static double times(enum act a, double up) {
    return a == ACT_SWIGLU_OAI ? fmax(fmin(up, 7.0), -7.0) + 1.0 : up;
}

static double glu_one(enum act a, double gate, double up) {
    return act_one(a, gate) * times(a, up);
}

static double gauss(double x) { /* density of N(0, 1) */
    return 0.39894228040143267794 * exp(-0.5 * x * x);
}

static double act_slope(enum act a, double x) {
    double s;
    switch (a) {
    case ACT_NONE: return 1;
    case ACT_SILU: s = sigmoid(x); return s + x * s * (1 - s);
    case ACT_GELU:
        s = 0.5 + 0.5 * tanh(0.79788456080286535588 * (x + 0.044715 * x * x * x));
        return s + x * s * (1 - s) * 1.59576912160573071176 * (1 + 0.134145 * x * x);
    case ACT_GELU_ERF: return 0.5 + 0.5 * erf(x * 0.70710678118654752440) + x * gauss(x);
    case ACT_RELU: return x > 0;
    case ACT_RELU2: return x > 0 ? 2 * x : 0;
    case ACT_SWIGLU_OAI: s = sigmoid(1.702 * x); return x < 7 ? s + 1.702 * x * s * (1 - s) : 0;
    }
    return 1;
}

/* The four functions of one activation. */
#define ACT_PAIR(name, id)                                                                         \
    void act_##name##_ref(int n, const float *x, float *y) {                                       \
        for (int i = 0; i < n; i++)                                                                \
            y[i] = (float)act_one(id, x[i]);                                                       \
    }                                                                                              \
    void glu_##name##_ref(int n, const float *gate, const float *up, float *y) {                   \
        for (int i = 0; i < n; i++)                                                                \
            y[i] = (float)glu_one(id, gate[i], up[i]);                                             \
    }                                                                                              \
    void act_back_##name##_ref(int n, const float *x, const float *dy, float *dx) {                \
        for (int i = 0; i < n; i++)                                                                \
            dx[i] = (float)(dy[i] * act_slope(id, x[i]));                                          \
    }                                                                                              \
    void glu_back_##name##_ref(int n, const float *gate, const float *up, const float *dy,         \
                               float *dgate, float *dup) {                                         \
        for (int i = 0; i < n; i++) {                                                              \
            const double g = gate[i], u = up[i], d = dy[i];                                        \
            const bool flat = id == ACT_SWIGLU_OAI && fabs(u) >= 7;                                \
            dgate[i] = (float)(d * act_slope(id, g) * times(id, u));                               \
            dup[i] = flat ? 0.0f : (float)(d * act_one(id, g));                                    \
        }                                                                                          \
    }
ACT_PAIR(none, ACT_NONE)
ACT_PAIR(silu, ACT_SILU)
ACT_PAIR(gelu, ACT_GELU)
ACT_PAIR(gelu_erf, ACT_GELU_ERF)
ACT_PAIR(relu, ACT_RELU)
ACT_PAIR(relu2, ACT_RELU2)
ACT_PAIR(swiglu_oai, ACT_SWIGLU_OAI)
