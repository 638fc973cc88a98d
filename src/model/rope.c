/* Rotation angles: per pair, then per position. */
#include "model/rope.h"

#include <math.h>

/* The pair that turns `turns` times within the original context, as a real number. */
static double pair_of(const struct rope_params *p, int n_rot, double turns) {
    const double two_pi = 6.283185307179586;
    return n_rot * log(p->n_ctx_orig / (turns * two_pi)) / (2 * log((double)p->base));
}

void rope_frequencies(double *freq, const struct rope_params *p, int n_rot, const float *divisor) {
    double low = floor(pair_of(p, n_rot, p->beta_fast));
    double high = ceil(pair_of(p, n_rot, p->beta_slow));
    if (!(low > 0)) low = 0; /* also where log() had nothing to say */
    if (!(high < n_rot - 1)) high = n_rot - 1;
    const double width = high - low > 0.001 ? high - low : 0.001;
    for (int i = 0; i < n_rot / 2; i++) {
        const double plain = pow((double)p->base, -2.0 * i / n_rot) / (divisor ? divisor[i] : 1.0);
        const double stretched = plain / p->factor;
        const double at = (i - low) / width; /* 0: fast, keep; 1: slow, stretch */
        const double keep = p->ext * (1 - (at < 0 ? 0 : at > 1 ? 1 : at));
        freq[i] = stretched * (1 - keep) + plain * keep;
    }
}

void rope_rows(float *out, const int32_t *pos, int lo, int hi, const double *freq, int n_rot,
               float magnitude) {
    const int half = n_rot / 2;
    for (int i = lo; i < hi; i++)
        for (int j = 0; j < half; j++) {
            const double angle = pos[i] * freq[j];
            float *o = out + ((size_t)i * (size_t)half + (size_t)j) * 2;
            o[0] = (float)(cos(angle) * (double)magnitude);
            o[1] = (float)(sin(angle) * (double)magnitude);
        }
}
