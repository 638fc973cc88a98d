/* Norms and other row operations, plain: the answer every instruction set must match.  Sums are
 * double: the reference is the accurate one, not the fast one. */
#include "cpu/ref/ref.h"

#include <math.h>

void rms_norm_ref(int n, const float *x, const float *w, float eps, float *y) {
    double ss = 0.0;
    for (int i = 0; i < n; i++)
        ss += (double)x[i] * x[i];
    const float r = (float)(1.0 / sqrt(ss / n + (double)eps));
    for (int i = 0; i < n; i++)
        y[i] = x[i] * r * (w ? w[i] : 1.0f);
}

void layer_norm_ref(int n, const float *x, const float *w, const float *b, float eps, float *y) {
    double sum = 0.0, ss = 0.0;
    for (int i = 0; i < n; i++)
        sum += x[i];
    const double mean = sum / n;
    for (int i = 0; i < n; i++)
        ss += (x[i] - mean) * (x[i] - mean);
    const double r = 1.0 / sqrt(ss / n + (double)eps);
    for (int i = 0; i < n; i++)
        y[i] = (float)((x[i] - mean) * r) * (w ? w[i] : 1.0f) + (b ? b[i] : 0.0f);
}

void add_scaled_ref(int n, float *x, const float *y, float a) {
    for (int i = 0; i < n; i++)
        x[i] += a * y[i];
}

void scale_ref(int n, const float *x, float a, float *y) {
    for (int i = 0; i < n; i++)
        y[i] = x[i] * a;
}

void cap_ref(int n, float *x, float a, float cap) {
    for (int i = 0; i < n; i++)
        x[i] = (float)(cap * tanh((double)a * x[i] / cap));
}
