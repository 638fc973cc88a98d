/* What the tests of the prefix cache share: prompts, engines, and answers compared to the bit. */
#pragma once

#include "engine/decode.h"
#include "support.h"

/* Some prompt; another seed differs from the first token on. */
void prompt_make(int32_t *tok, int n, int n_vocab, unsigned seed);

struct engine *prefix_engine(const char *path, struct engine_opts o); /* 2 threads */

/* Logits after tok[0..n), [n_vocab], free(); of a new session that recalls and remembers.  *cached:
 * tokens that were not computed. */
float *prefix_logits(struct engine *g, const int32_t *tok, int n, int *cached);

/* The same computed by a new engine without any cache. */
float *plain_logits(const char *path, struct engine_opts o, const int32_t *tok, int n);

/* Have tok's pages written, and wait for that. */
void prefix_store(struct engine *g, const int32_t *tok, int n);
