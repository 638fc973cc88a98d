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

/* Both norms' gradients: without mean of x and of g for rms. */
static void norm_back(int n, const float *x, const float *w, float eps, const float *dy, float *dx,
                      bool add, float stat[2], bool center) {
    double mean = 0.0, ss = 0.0, sum_g = 0.0, sum_ug = 0.0;
    for (int i = 0; i < n && center; i++)
        mean += (double)x[i] / n;
    for (int i = 0; i < n; i++)
        ss += (x[i] - mean) * (x[i] - mean);
    const double r = 1.0 / sqrt(ss / n + (double)eps);
    for (int i = 0; i < n; i++) {
        const double g = (w ? (double)w[i] : 1.0) * dy[i];
        sum_g += center ? g : 0.0;
        sum_ug += (x[i] - mean) * r * g;
    }
    for (int i = 0; i < n; i++) {
        const double g = (w ? (double)w[i] : 1.0) * dy[i], u = (x[i] - mean) * r;
        dx[i] = (float)((add ? (double)dx[i] : 0.0) + r * (g - sum_g / n - u * sum_ug / n));
    }
    stat[0] = (float)mean;
    stat[1] = (float)r;
}

void rms_back_ref(int n, const float *x, const float *w, float eps, const float *dy, float *dx,
                  bool add, float stat[2]) {
    norm_back(n, x, w, eps, dy, dx, add, stat, false);
}

void layer_back_ref(int n, const float *x, const float *w, float eps, const float *dy, float *dx,
                    bool add, float stat[2]) {
    norm_back(n, x, w, eps, dy, dx, add, stat, true);
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

float dot_ref(int n, const float *x, const float *y) {
    double sum = 0.0;
    for (int i = 0; i < n; i++)
        sum += (double)x[i] * y[i];
    return (float)sum;
}
