/* See dpo.h. */
#include "train/dpo.h"

#include <assert.h>
#include <math.h>

void dpo_logp(const struct batch *b, const double *nll, double *logp) {
    for (int s = 0; s < b->n_seq; s++) {
        double sum = 0;
        for (int i = b->seq_start[s]; i < b->seq_start[s + 1]; i++)
            if (b->label[i] >= 0) sum += nll[i];
        logp[s] = -sum;
    }
}

/* log(1 + exp(-x)) without overflow: for x far below 0 it is -x. */
static double softplus_of_minus(double x) {
    return x >= 0 ? log1p(exp(-x)) : -x + log1p(exp(x));
}

static double sigmoid(double x) {
    return x >= 0 ? 1 / (1 + exp(-x)) : exp(x) / (1 + exp(x));
}

void dpo_pairs(int n_pair, const double *policy, const double *reference, double beta,
               int n_pair_all, double *margin, double *coef, struct dpo_sum *sum) {
    assert(n_pair_all >= n_pair);
    for (int k = 0; k < n_pair; k++) {
        const int chosen = 2 * k, rejected = 2 * k + 1;
        const double gain_chosen = policy[chosen] - reference[chosen];
        const double gain_rejected = policy[rejected] - reference[rejected];
        const double m = beta * (gain_chosen - gain_rejected);
        sum->loss += softplus_of_minus(m);
        sum->won += m > 0;
        sum->n_pair++;
        if (margin) margin[k] = m;
        if (!coef) continue;
        coef[chosen] = beta * sigmoid(-m) / n_pair_all;
        coef[rejected] = -coef[chosen];
    }
}

void dpo_row_coef(const struct batch *b, const double *seq_coef, float *coef) {
    for (int s = 0; s < b->n_seq; s++)
        for (int i = b->seq_start[s]; i < b->seq_start[s + 1]; i++)
            coef[i] = b->label[i] >= 0 ? (float)seq_coef[s] : 0;
}
