/* Choosing a token that a grammar allows. */
#pragma once

#include "sample/sampler.h"
#include "text/grammar/grammar.h"

/* The token that sampler_choose_masked() with accept_mask() gives for the same seed, usually
 * without making the mask: 1 with *id.  0: no token that may come is above -INFINITY, the answer
 * cannot go on.  -1: ERR_LIMIT of the acceptor.  mask: scratch of [(n_vocab + 31) / 32].  Neither
 * sampler nor acceptor take the token; n_vocab is the same in s and gv. */
int sampler_choose_constrained(struct sampler *s, const float *logits, struct acceptor *a,
                               const struct grammar_vocab *gv, uint32_t *mask, int32_t *id,
                               struct err *e);
