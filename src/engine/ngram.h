/* A text that foretells itself: where its last tokens stood before, what followed there is likely
 * to follow again (prompt lookup decoding, A. Saxena 2023).  Answers that quote, edit or repeat
 * their prompt are full of such places.
 *
 * It knows how often it is right: after each token it compares what it had foretold, whether
 * anybody asked or not, so that trust costs no wrong guess. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* How often something came true lately; the zero value is set by odds_init. */
struct odds {
    float hit, all;
};
void odds_init(struct odds *o, float p);
void odds_add(struct odds *o, bool hit);
float odds_p(const struct odds *o);

struct ngram;

/* For texts whose last n_tok tokens are to be searched.  All memory is taken here, 16 bytes a
 * token, used as the text grows. */
struct ngram *ngram_new(int n_tok, struct err *e);
void ngram_free(struct ngram *g);

/* The next token of the text.  Constant time. */
void ngram_push(struct ngram *g, int32_t id);

/* The n tokens that may follow, and how likely each is when those before it were right.  Returns
 * how many: n, or 0 when the last tokens are new. */
int ngram_guess(const struct ngram *g, int n, int32_t *id, float *p);
