/* Speculation: guess the next tokens cheaply, then let the model check them all in one forward,
 * which costs little more than for one token while memory is the limit (Leviathan et al.,
 * arXiv:2211.17192). Guesses come from the text itself (ngram.h) and, where there is one, from a
 * draft model: a smaller model of the same vocabulary.
 *
 * The answer is the one without speculation, token by token, sampled or greedy: each token is
 * chosen by the sampler from the model's logits as ever, and a guess only decides whether the
 * logits after it are there already.  So a guess counts when it equals the token that was chosen,
 * and the first that does not is dropped from the cache with all behind it.
 *
 * How many tokens are guessed, none included, follows from how often guesses came true and from
 * what forwards of more rows have cost on this machine. */
#pragma once

#include "engine/session.h"
#include "engine/step_cost.h"

enum { SPECULATE_MAX = 16 /* tokens guessed at once */ };

struct speculator;

/* For an answer on s.  draft: NULL, or a session of the draft model, borrowed, whose cache will
 * follow that of s.  n_max: 1 to SPECULATE_MAX.  All memory is taken here. */
struct speculator *speculator_new(struct session *s, struct session *draft, int n_max,
                                  struct err *e);
void speculator_free(struct speculator *sp);

/* A token of the text: all of the prompt, then each that was chosen. */
void speculator_accept(struct speculator *sp, int32_t id);

/* Guess up to n_room tokens after the last accepted one, which is not in the cache of s yet, into
 * id[SPECULATE_MAX].  n_other: rows of other sequences in the same forward: they gain nothing, so
 * a guess must pay for the time of all; the draft model is not asked then.  Returns how many are
 * worth trying, often 0.  *stop (may be NULL) ends the draft model's reading of the text. */
int speculator_guess(struct speculator *sp, int n_room, int n_other, int32_t *id,
                     const volatile int *stop);

/* Can guesses of this model's be tokens of the other?  ERR_USAGE, ERR_UNSUPPORTED with both files
 * named when the vocabularies differ, or one is no language model. */
int speculate_check_draft(const struct engine *g, const struct engine *draft, struct err *e);
