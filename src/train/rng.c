/* See rng.h. */
#include "train/rng.h"

#include <assert.h>
#include <math.h>

/* From 2^64 mod n on there is a multiple of n of numbers, which map evenly; the few below are drawn
 * again. */
int rng_below(struct rng *r, int n) {
    assert(n >= 1);
    const uint64_t un = (uint64_t)n, first = -un % un; /* 2^64 mod n */
    uint64_t x;
    do
        x = rng_next(r);
    while (x < first);
    return (int)(x % un);
}

/* Box and Muller, "A note on the generation of random normal deviates", 1958.  1 - u is never 0. */
double rng_normal(struct rng *r) {
    const double u = 1.0 - rng_unit(r), v = rng_unit(r);
    return sqrt(-2.0 * log(u)) * cos(2.0 * 3.14159265358979323846 * v);
}
