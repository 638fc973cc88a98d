/* One sequence that is fed tokens and read logits from: the unit under generate, perplexity,
 * embeddings, bench and the debug doors.  One thread at a time. */
#pragma once

#include "engine/engine.h"

struct session;

struct session *session_new(struct engine *g, struct err *e);
void session_free(struct session *s);

struct engine *session_engine(const struct session *s);

/* Empty it and let it work with this adapter (NULL: none) and find and leave prefixes in this scope
 * (prefix.h).  A new session has the engine's adapter and the common scope. */
void session_reset(struct session *s, const struct adapter *adapter, uint64_t scope);
uint64_t session_scope(const struct session *s);

/* Feed n tokens in chunks of n_batch.  logits: NULL for none, else *logits is set to the last
 * token's [n_vocab], valid until the next call.  ERR_LIMIT when the context is full,
 * ERR_FORMAT for an id outside the vocabulary, ERR_CANCELLED when *stop became nonzero between
 * chunks (stop may be NULL; a signal handler or, with an atomic store, another thread sets it). */
int session_feed(struct session *s, const int32_t *tok, int n, const float **logits,
                 const volatile int *stop, struct err *e);

/* The same for whoever runs the batch himself, with other sequences in it: the session goes on by
 * tok, *out says what forward_run must compute.  When that is not done, session_truncate.  tok may
 * be session_tokens() itself, from where the session ends.  n_out as in batch_seq. */
int session_push(struct session *s, const int32_t *tok, int n, int n_out, struct batch_seq *out,
                 struct err *e);

/* As session_feed, calling `row` for each token's logits (embedding models: final rows) in order:
 * perplexity, --all.  i counts from 0 over this call. */
typedef void session_row_fn(void *ctx, int i, const float *row, int n_col);
int session_feed_all(struct session *s, const int32_t *tok, int n, session_row_fn *row, void *ctx,
                     struct err *e);

/* As session_feed_all, with the final rows [n_embd] of tokens [from, n), i counting from `from`:
 * embeddings.  The head is not computed. */
int session_feed_states(struct session *s, const int32_t *tok, int n, int from, session_row_fn *row,
                        void *ctx, struct err *e);

int session_n_tok(const struct session *s);
const int32_t *session_tokens(const struct session *s); /* [n_tok] now in the cache */
void session_truncate(struct session *s, int n);

/* Keep what the cache shares with the start of tok[0..n) and drop the rest; returns how many
 * tokens stay: none after a context shift, for a reused prefix gives the very logits of a fresh
 * one. */
int session_reuse(struct session *s, const int32_t *tok, int n);

/* The same, and where the engine's prefix cache knows more of tok's beginning than this session, it
 * is taken from there: the last token at most is left to be fed.  After session_feed,
 * session_remember gives what the session holds to the cache; session_save has the pages of
 * tok[0..n) that are there written to disk, if the engine has a folder for that, and returns at
 * once. */
int session_recall(struct session *s, const int32_t *tok, int n);
void session_remember(struct session *s);
void session_save(struct session *s, const int32_t *tok, int n);

/* s, which is emptied, shares the first n tokens of `of`, which has the same scope and adapter. */
int session_fork(struct session *s, const struct session *of, int n, struct err *e);
/* What it holds is to the bit what its tokens give in a fresh session.  False from a context shift
 * until it is emptied: the rest was computed in sight of tokens that are gone, and the kept rows
 * have been moved, which rounds them (F16: 1 in 2000) and gives them other positions. */
bool session_exact(const struct session *s);

/* Forget tokens [keep, keep + drop); see kv_seq_shift. */
int session_shift(struct session *s, int keep, int drop, struct err *e);
