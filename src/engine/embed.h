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

/* One text on its way to a vector, for whoever runs the batches himself (several texts in one):
 *
 *   embedding_init -> { embedding_next -> forward_run_states -> embedding_take }* ->
 * embedding_vector
 */
struct embedding {
    struct kv_seq kv;
    const int32_t *tok; /* [n], borrowed */
    int n, at, from;    /* fed; rows from `from` on count */
    bool whole;         /* the model must see the text at once */
    const struct adapter *adapter;
    enum pooling kind;
    int n_embd, n_seen; /* rows */
    double *sum;        /* [n_embd], owned: the mean in the making, or the one row */
};

/* ERR_LIMIT when the text does not fit the context, ERR_FORMAT for an id outside the vocabulary,
 * ERR_UNSUPPORTED as embed_tokens. */
int embedding_init(struct embedding *x, struct engine *g, const int32_t *tok, int n,
                   enum pooling pooling, struct err *e);
void embedding_fini(struct embedding *x);
/* The next rows, at most n_max of which n_out give output.  Returns how many; 0: that is too little
 * room for it; -1: pages are short (nothing has changed). */
int embedding_next(struct embedding *x, int n_max, int n_out, struct batch_seq *b, struct err *e);
void embedding_take(struct embedding *x, const float *rows, int n_rows);
bool embedding_done(const struct embedding *x);
void embedding_vector(const struct embedding *x, bool normalize, float *out);

/* Cut tokens at the end of a text that is longer than n_ctx (0: the context); the token that the
 * vocabulary puts after every text (eos, sep) stays the last.  Returns how many were cut. */
int embed_truncate(const struct engine *g, int n_ctx, struct ids *text);

/* The vector of tok[0..n) into out[n_embd]: the final rows (after the last norm), pooled; scaled
 * to length 1 when normalize.  s is emptied first and holds these tokens afterwards.  ERR_LIMIT
 * when they do not fit the context, ERR_UNSUPPORTED for a pooling type that is none of these. */
int embed_tokens(struct session *s, const int32_t *tok, int n, enum pooling pooling, bool normalize,
                 float *out, struct err *e);
