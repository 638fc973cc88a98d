/* The sampler chain: from logits to a token.
 *
 * Order (llama.cpp's): logit bias, penalties, dry, top_n_sigma, top_k, typical_p, top_p, min_p,
 * xtc, temperature (plain or dynamic), draw.  Mirostat replaces everything from top_k on. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct logit_bias {
    int32_t id;
    float bias; /* -INFINITY bans the token */
};

struct sampler_opts {
    float temperature;                       /* 0: the most likely token */
    float dynatemp_range, dynatemp_exponent; /* 0: off.  Temperature spans +-range by entropy */
    int top_k;                               /* 0: off */
    float top_p, min_p, typical_p;           /* 1, 0, 1: off */
    float top_n_sigma;                       /* <= 0: off */
    float xtc_probability, xtc_threshold;
    int repeat_last_n;                                         /* 0: off, -1: whole context */
    float repeat_penalty, presence_penalty, frequency_penalty; /* 1, 0, 0: off */
    float dry_multiplier, dry_base;                            /* multiplier 0: off */
    int dry_allowed_length, dry_penalty_last_n;
    const int32_t *const *dry_breaker; /* token sequences, each [dry_breaker_n[i]]; borrowed */
    const int *dry_breaker_n;
    int n_dry_breaker;
    int mirostat; /* 0, 1, 2 */
    float mirostat_tau, mirostat_eta;
    const struct logit_bias *bias; /* [n_bias], borrowed until the sampler is freed */
    int n_bias;
    int64_t seed; /* < 0: from the system */
    int min_keep; /* stages keep at least this many candidates; 0 means 1 */
};

/* Ollama's defaults (COMPAT.md 2.7): temperature 0.8, top_k 40, top_p 0.9... */
struct sampler_opts sampler_defaults(void);

/* NaN, negative or out-of-range values: ERR_USAGE naming the option and the accepted range. */
int sampler_check(const struct sampler_opts *o, struct err *e);

struct sampler;

/* All memory is taken here: choosing a token allocates nothing. */
struct sampler *sampler_new(const struct sampler_opts *o, int n_vocab, struct err *e);
void sampler_free(struct sampler *s);
void sampler_reset(struct sampler *s); /* forget history and mirostat state; seed again */

/* Tell the penalties about a token (of the prompt, or one that was chosen). */
void sampler_accept(struct sampler *s, int32_t id);

/* Choose from logits[n_vocab] (not changed).  Does not accept it. */
int32_t sampler_choose(struct sampler *s, const float *logits);

/* The same among the tokens whose bit is set in allowed[(n_vocab + 31) / 32] (NULL: all): the chain
 * sees -INFINITY for the others, before every stage.  -1 when no token is both allowed and above
 * -INFINITY; never one that is not allowed. */
int32_t sampler_choose_masked(struct sampler *s, const float *logits, const uint32_t *allowed);

/* Whether a token is allowed: 1, 0, or -1 to give up. */
typedef int sampler_allows_fn(void *ctx, int32_t id);

/* sampler_choose_masked without a mask, where asking for a few of the most likely tokens decides:
 * with temperature 0, and with a top_k of up to 256 as the first stage that cuts.  The same token
 * for the same seed.  -1, with nothing drawn, when it does not decide. */
int32_t sampler_choose_asking(struct sampler *s, const float *logits, sampler_allows_fn *allows,
                              void *ctx);

/* One candidate, as the debug door and logprobs see it. */
struct candidate {
    int32_t id;
    float logit, p;
};

/* The `top` most likely of logits[n] under the unmodified distribution, best first, into out (room
 * for top).  chosen (may be NULL) has its id set and gets logit and p.  Returns how many: the
 * smaller of top and n. */
int candidates_top(const float *logits, int n, int top, struct candidate *out,
                   struct candidate *chosen);
