/* Rotary position embedding (RoFormer, arXiv:2104.09864): frequencies and tables. */
#pragma once

#include <stdint.h>

#include "model/hparams.h"

/* Angle per position of each rotated pair, after context extension.
 *
 *   freq     [n_rot/2], written
 *   divisor  NULL, or [n_rot/2] (Llama 3.1, LongRoPE arXiv:2402.13753)
 *
 * Linear scaling divides by p->factor; YaRN (arXiv:2309.00071) keeps fast pairs, divides slow
 * ones, and blends between. */
void rope_frequencies(double *freq, const struct rope_params *p, int n_rot, const float *divisor);

/* Rows [lo, hi) of a table of cos, sin: out[i][n_rot/2][2] for position pos[i], times magnitude.
 * Angles are computed in double: float spacing at position 131071 is already 2^-7 rad. */
void rope_rows(float *out, const int32_t *pos, int lo, int hi, const double *freq, int n_rot,
               float magnitude);
