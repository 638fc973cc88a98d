/* The vocabulary of a made-up model: the tokenizer.* keys. */
#pragma once

#include "gguf/write.h"

/* A byte-level BPE vocabulary of n_token tokens: the 256 bytes, merges drawn from `seed`, and the
 * control tokens of a chat at the end.  n_token >= 300. */
int vocab_make(struct gguf_writer *w, int n_token, uint64_t seed, struct err *e);

/* The vocabulary of the GGUF file PATH, filled up with unused tokens to n_token.  ERR_FORMAT when
 * it has none or has more. */
int vocab_copy(struct gguf_writer *w, const char *path, int n_token, struct err *e);
