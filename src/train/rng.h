/* Random numbers of training: the sampler's generator, xoshiro256** seeded by splitmix64
 * (sample/rng.h: rng_seed, rng_next, rng_unit), and what training draws besides.  The state is part
 * of a checkpoint. */
#pragma once

#include "sample/rng.h"

/* 0..n-1, each equally likely; n >= 1. */
int rng_below(struct rng *r, int n);

/* Mean 0, variance 1.  Two numbers are drawn for each and nothing is kept between calls, so that
 * the state of the generator is all there is. */
double rng_normal(struct rng *r);
