/* From negative log-likelihoods of rows to the number that is reported, and to each row's weight in
 * the gradient (grad_run's coef).
 *
 * The mean goes over the labels of a whole optimizer step, not of each micro-batch: otherwise short
 * micro-batches would count too much and the result would depend on how a step was cut. */
#pragma once

#include "train/batch.h"

/* Sum of nll [n] over the rows with a label, in their order. */
double loss_sum(const struct batch *b, const double *nll);

/* coef[i] = 1 / n_label for rows with a label, 0 for others; n_label >= 1: of all batches of the
 * step. */
void loss_coef(const struct batch *b, int64_t n_label, float *coef);
