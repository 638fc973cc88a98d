/* Passes over a whole vocabulary of logits, in plain loops over blocks that the compiler turns into
 * vectors: what every chain does once or twice before it works on the few tokens that are left. */
#pragma once

#include <stdint.h>

/* The arg max of x[n]: NaN never, the first of equals, 0 when all are -INFINITY or NaN. */
int32_t scan_best(const float *x, int n);

/* The first i in [from, n) with x[i] > low, else n.  NaN is above nothing. */
int scan_above(const float *x, int n, int from, float low);
