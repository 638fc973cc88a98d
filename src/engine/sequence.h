/* One generation as a state machine: who drives it feeds what it asks for, alone (decode.c) or in a
 * batch with others (scheduler.c), and gives it the logits.
 *
 *   sequence_begin -> { sequence_next -> forward_run -> sequence_take }* -> sequence_end
 *
 * It reads its prompt in as many pieces as its driver likes, then writes: each token is chosen from
 * the logits of the one before, told, and asked to be fed, with guesses behind it (speculate.h). */
#pragma once

#include "engine/decode.h"

struct sequence;

enum sequence_state {
    SEQ_READS, /* its prompt */
    SEQ_WRITES,
    SEQ_DONE, /* nothing more to feed; follow with sequence_end */
};

/* On s, borrowed like all of *r.  fn (may be NULL) is called within sequence_take and
 * sequence_end; *stop (may be NULL) is polled between tokens.  Checks the request; all memory is
 * taken here. */
struct sequence *sequence_new(struct session *s, const struct decode_request *r,
                              decode_event_fn *fn, void *ctx, const volatile int *stop,
                              struct err *e);
void sequence_free(struct sequence *q); /* accepts NULL */

/* Looks for what it reads in the caches; again, when somebody else may have left more there. */
void sequence_begin(struct sequence *q);

enum sequence_state sequence_state(const struct sequence *q);
int sequence_unread(const struct sequence *q); /* tokens to be read yet, 0 when it writes */
struct session *sequence_session(const struct sequence *q);

/* The text that it reads, from its beginning. */
struct sequence_text {
    const int32_t *tok;
    int n;
};
struct sequence_text sequence_text(const struct sequence *q);

/* What must be computed next, at most n_max rows: *b goes into a batch with n_other rows of others.
 * Returns the number of rows; 0: it is done; -1: the cache's
 * pages are short (ERR_LIMIT; nothing has changed, it may be asked again), or an error that ends
 * it. */
int sequence_next(struct sequence *q, int n_max, int n_other, struct batch_seq *b, struct err *e);
/* rows: the first of the n_out rows of logits of the last sequence_next.  -1 ends it. */
int sequence_take(struct sequence *q, const float *rows, struct err *e);

/* Give its pages back; what it holds is read again by and by.  That brings back the very bits, but
 * not after a context shift: then the answer goes on from the tokens in sight, read afresh without
 * the state that those before had left in them. */
void sequence_yield(struct sequence *q);

/* Tells the rest of the text and leaves what was computed to the prefix cache.  cancelled: it ends
 * before it was done. */
void sequence_end(struct sequence *q, bool cancelled);
const struct decode_stats *sequence_stats(const struct sequence *q);
