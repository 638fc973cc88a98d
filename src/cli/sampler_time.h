/* `cria debug sampler --time N`: what choosing a token costs. */
#pragma once

#include "base/err.h"

/* Print the microseconds a token that the usual chains take on logits[n_vocab] from a fixed seed.
 */
int sampler_time(int n_vocab, struct err *e);
