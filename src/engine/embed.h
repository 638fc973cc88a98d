/* Embeddings: one vector for a text. */
#pragma once

#include "engine/session.h"

enum pooling {
    POOL_MODEL, /* what the file's ARCH.pooling_type says; without it, the mean for embedding models
                 * and the last token for models that generate */
    POOL_MEAN,
    POOL_CLS, /* the first token */
    POOL_LAST,
};

/* Cut tokens at the end of a text that is longer than the context; the token that the vocabulary
 * puts after every text (eos, sep) stays the last.  Returns how many were cut. */
int embed_truncate(const struct engine *g, struct ids *text);

/* The vector of tok[0..n) into out[n_embd]: the final rows (after the last norm), pooled; scaled
 * to length 1 when normalize.  s is emptied first and holds these tokens afterwards.  ERR_LIMIT
 * when they do not fit the context, ERR_UNSUPPORTED for a pooling type that is none of these. */
int embed_tokens(struct session *s, const int32_t *tok, int n, enum pooling pooling, bool normalize,
                 float *out, struct err *e);
