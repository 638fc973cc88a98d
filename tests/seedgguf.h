/* Small valid models that tests start from: a two-layer llama of 20 tensors with random weights,
 * about 100 kB, with a tiny but complete vocabulary. */
#pragma once

#include "base/err.h"
#include "base/qtype.h"

enum seed_vocab { SEED_SPM, SEED_BPE };

/* Write the model to PATH; fails the test on error.  Same bytes each time. */
void seed_gguf_write(const char *path, enum seed_vocab vocab);

enum { SEED_N_TENSOR = 20, SEED_N_LAYER = 2, SEED_N_EMBD = 32 };
