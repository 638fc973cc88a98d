/* See loss.h. */
#include "train/loss.h"

#include <assert.h>

double loss_sum(const struct batch *b, const double *nll) {
    double sum = 0;
    for (int i = 0; i < b->n; i++)
        if (b->label[i] >= 0) sum += nll[i];
    return sum;
}

void loss_coef(const struct batch *b, int64_t n_label, float *coef) {
    assert(n_label >= 1);
    const float each = (float)(1.0 / (double)n_label);
    for (int i = 0; i < b->n; i++)
        coef[i] = b->label[i] >= 0 ? each : 0;
}
