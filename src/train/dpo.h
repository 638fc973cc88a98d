/* Direct preference optimization (arXiv:2305.18290, equation 7): of two answers to one prompt the
 * chosen one shall gain over the rejected one, measured against the model before training:
 *
 *     margin = beta ((policy - reference) of chosen - (policy - reference) of rejected)
 *     loss   = mean over pairs of -log sigmoid(margin) = log(1 + exp(-margin))
 *
 * policy and reference are log-probabilities of whole answers: sums over their labels.  Sequences
 * 2k are chosen, 2k + 1 rejected.  Pure functions. */
#pragma once

#include "train/batch.h"

/* logp[s] = -(sum of nll over the labels of sequence s): logp [n_seq], nll [n] of grad_eval or
 * grad_run. */
void dpo_logp(const struct batch *b, const double *nll, double *logp);

struct dpo_sum {     /* grows from batch to batch; all-zero in the beginning */
    double loss;     /* sum over pairs */
    int n_pair, won; /* won: margin > 0.  loss / n_pair and won / n_pair are what is reported */
};

/* From logs of n_pair pairs, policy and reference [2 n_pair]: margin [n_pair] (or NULL), *sum += ,
 * and coef [2 n_pair] (or NULL), each sequence's d(loss) / d(nll) when the loss is the mean of
 * n_pair_all >= n_pair pairs, those of the whole optimizer step:
 *
 *     +beta sigmoid(-margin) / n_pair_all for chosen, - the same for rejected */
void dpo_pairs(int n_pair, const double *policy, const double *reference, double beta,
               int n_pair_all, double *margin, double *coef, struct dpo_sum *sum);

/* A sequence's coefficient for each of its rows with a label, 0 elsewhere: coef [n] for grad_run.
 */
void dpo_row_coef(const struct batch *b, const double *seq_coef, float *coef);
