/* Tiles of attention, plain: sums in double, exp of the C library. */
#include "cpu/ref/ref.h"

#include <math.h>
#include <string.h>

void mul_tile_ref(int n_row, int n_col, int n_k, const float *a, int lda, const float *b, int ldb,
                  float *c, int ldc, bool add) {
    enum { STRIP = 64 };
    for (int r = 0; r < n_row; r++) {
        for (int j0 = 0; j0 < n_col; j0 += STRIP) {
            const int n = n_col - j0 < STRIP ? n_col - j0 : STRIP;
            float *out = c + (size_t)r * ldc + j0;
            double sum[STRIP];
            for (int j = 0; j < n; j++)
                sum[j] = add ? out[j] : 0.0;
            for (int k = 0; k < n_k; k++) {
                const double x = a[(size_t)r * lda + k];
                const float *y = b + (size_t)k * ldb + j0;
                for (int j = 0; j < n; j++)
                    sum[j] += x * y[j];
            }
            for (int j = 0; j < n; j++)
                out[j] = (float)sum[j];
        }
    }
}

static float logit(float qk, int key, const struct soft *p) {
    float s = qk * p->scale;
    if (p->cap != 0.0f) s = (float)(p->cap * tanh((double)s / p->cap));
    if (p->slope != 0.0f) s -= p->slope * fabsf((float)(p->rel0 + key));
    return s;
}

float soft_page_ref(float *s, int lo, int hi, const struct soft *p, float *m, float *l) {
    float top = -INFINITY, factor = 1.0f;
    for (int i = lo; i < hi; i++) {
        s[i] = logit(s[i], i, p);
        if (s[i] > top) top = s[i];
    }
    if (top > *m + SOFT_SLACK) {
        factor = (float)exp((double)*m - top);
        *m = top;
    }
    double sum = 0.0;
    for (int i = 0; i < KV_PAGE; i++) {
        const bool seen = i >= lo && i<hi && * m> - INFINITY;
        s[i] = seen ? (float)exp((double)s[i] - *m) : 0.0f;
        sum += s[i];
    }
    *l = (float)(*l * (double)factor + sum);
    return factor;
}

void soft_back_ref(float *s, float *dp, int lo, int hi, const struct soft_back *p) {
    for (int i = 0; i < KV_PAGE; i++) {
        double x = (double)s[i] * p->scale, slope = p->scale;
        if (i < lo || i >= hi) {
            s[i] = dp[i] = 0.0f;
            continue;
        }
        if (p->cap != 0.0f) {
            const double t = tanh(x / p->cap);
            x = p->cap * t;
            slope *= 1.0 - t * t;
        }
        if (p->slope) x -= (double)p->slope[i] * fabs((double)p->key_pos - p->pos[i]);
        const double e = exp(x - p->lse[i]);
        s[i] = (float)e;
        dp[i] = (float)(e * ((double)dp[i] - p->delta[i]) * slope);
    }
}
