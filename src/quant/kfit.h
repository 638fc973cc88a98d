/* Super-blocks: sub-block scales that are small integers times one binary16 number.  The integers,
 * the common factor and the codes are chosen together, by coordinate descent on the true error. */
#pragma once

#include "quant/fit.h"

/* x ~ d * scale[j] * q (- dmin * min[j]) for each of 256 / n_sub sub-blocks of n_sub values. */
struct kfit {
    uint16_t d, dmin; /* binary16 */
    int scale[16];
    int min[16];  /* affine only */
    float q[256]; /* levels */
};

/* Linear: scale in lo..hi, codes from lv. */
void kfit_scales(struct kfit *k, const float *x, const float *w, int n_sub,
                 const struct fit_levels *lv, int lo, int hi);

/* Affine: scale and min in 0..top, codes in 0..q_max. */
void kfit_affine(struct kfit *k, const float *x, const float *w, int n_sub, int q_max, int top);
