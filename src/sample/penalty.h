/* The stages of the sampler that look at what was said before: logit bias, repetition penalties
 * and DRY.  They touch few tokens, so they work on the logits in place rather than on a list. */
#pragma once

#include "sample/sampler.h"

/* The last tokens, oldest overwritten first, with how often each occurs in the last n_count.  (Not
 * "history": libedit and readline own that name, and a static library shares it.) */
struct recent {
    int32_t *ring; /* [cap], owned */
    int *count;    /* [n_vocab], owned: occurrences among the last n_count */
    int *z;        /* [cap], owned: scratch of penalty_dry */
    int *longest;  /* [n_vocab], owned, zero between calls: the same */
    int cap, n_count, n_vocab;
    int n, head; /* tokens in the ring; where the next one goes */
};

/* n_count: window of the penalties; n_dry: window of DRY; both >= 0. */
int recent_init(struct recent *h, int n_vocab, int n_count, int n_dry, struct err *e);
void recent_fini(struct recent *h);
void recent_clear(struct recent *h);
void recent_push(struct recent *h, int32_t id); /* ids outside the vocabulary are ignored */

void penalty_bias(float *logits, const struct logit_bias *b, int n);

/* For a token that occurs c > 0 times: divide a positive logit by repeat, multiply a negative
 * one; then subtract c * frequency + presence (CTRL, arXiv:1909.05858; OpenAI). */
void penalty_repeat(const struct recent *h, float *logits, float repeat, float presence,
                    float frequency);

/* Don't repeat yourself (github.com/oobabooga/text-generation-webui/pull/5677): a token that
 * would continue a repetition of the last n >= allowed_length tokens loses
 * multiplier * base^(n - allowed_length).  A repetition does not reach back over a breaker. */
void penalty_dry(const struct recent *h, float *logits, const struct sampler_opts *o);
