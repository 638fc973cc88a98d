/* Activations, plain and in double.
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

static double glu_one(enum act a, double gate, double up) {
    if (a == ACT_SWIGLU_OAI) up = fmax(fmin(up, 7.0), -7.0) + 1.0;
    return act_one(a, gate) * up;
}

/* The two functions of one activation. */
#define ACT_PAIR(name, id)                                                                         \
    void act_##name##_ref(int n, const float *x, float *y) {                                       \
        for (int i = 0; i < n; i++)                                                                \
            y[i] = (float)act_one(id, x[i]);                                                       \
    }                                                                                              \
    void glu_##name##_ref(int n, const float *gate, const float *up, float *y) {                   \
        for (int i = 0; i < n; i++)                                                                \
            y[i] = (float)glu_one(id, gate[i], up[i]);                                             \
    }
ACT_PAIR(none, ACT_NONE)
ACT_PAIR(silu, ACT_SILU)
ACT_PAIR(gelu, ACT_GELU)
ACT_PAIR(gelu_erf, ACT_GELU_ERF)
ACT_PAIR(relu, ACT_RELU)
ACT_PAIR(relu2, ACT_RELU2)
ACT_PAIR(swiglu_oai, ACT_SWIGLU_OAI)
