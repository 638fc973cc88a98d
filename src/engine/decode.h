/* Generation on one session in this process: tokens in, events out, on the caller's thread.  The
 * unit under libcria and the tools; conversations, tools and several clients at once are gen.h. */
#pragma once

#include "base/err.h"
#include "base/str.h"
#include "engine/session.h"
#include "sample/sampler.h"

/* Chooses among what may come, with the sampler, and takes note of it: 1 with *id; 0: nothing may
 * come, the answer ends; -1. */
typedef int decode_choose_fn(void *ctx, struct sampler *s, const float *logits, int32_t *id,
                             struct err *e);

struct decode_request {
    const int32_t *prompt; /* [n_prompt] tokens, borrowed during the call */
    int n_prompt;
    struct sampler_opts sampler;
    int n_ctx;              /* tokens of context that it keeps to; 0, or more than there are: all */
    int n_predict;          /* -1: until the end token or 10 x context; 0: only prefill */
    int n_keep;             /* tokens that a context shift keeps; -1: the whole prompt */
    bool no_shift;          /* true: a full context ends the answer (DECODE_LENGTH) */
    const struct str *stop; /* [n_stop] texts that end the answer and are not part of it */
    int n_stop;
    bool special;             /* show control tokens in the text */
    const uint32_t *shown;    /* or NULL: [(n_vocab + 31) / 32] bits of those that show anyway */
    decode_choose_fn *choose; /* or NULL: sampler_choose */
    void *choose_ctx;
    bool ignore_eos;
    bool spare_newline; /* line feeds take no repetition penalty */
    int n_logprobs;     /* 0: none; else top candidates with each token, <= 20 */
    /* Speculation (speculate.h); the answer is the same with and without. */
    int n_draft;           /* tokens guessed at once, at most; 0: SPECULATE_MAX; -1: none */
    struct session *draft; /* of a draft model, borrowed; its text is lost.  NULL: none */
};

enum decode_why { DECODE_STOP, DECODE_LENGTH, DECODE_CANCELLED };

struct decode_stats {
    enum decode_why why;
    int stop;                      /* which stop text ended it, or -1 */
    int n_prompt, n_prompt_cached; /* prompt tokens; how many were in the cache already */
    int n_eval;                    /* tokens generated, the end token not counted */
    int64_t prompt_ns, eval_ns;
    int n_shift;               /* context shifts that happened */
    int n_drafted, n_accepted; /* tokens guessed and checked; how many of them were right */
};

struct decode_event {
    struct str text;             /* whole UTF-8 characters; may be empty */
    int32_t token;               /* -1: text that was held back, no new token */
    const struct candidate *top; /* [n_top] by probability; the chosen one is top_chosen */
    int n_top;
    struct candidate chosen; /* p under the unmodified distribution */
};

/* Called on the caller's thread for each piece; nonzero return cancels. */
typedef int decode_event_fn(void *ctx, const struct decode_event *ev);

/* Generate on s, reusing what its cache and the engine's prefix cache share with the prompt.  *stop
 * (may be NULL) is polled between tokens and prefill chunks.  Returns 0 also when cancelled
 * (stats->why). */
int decode_run(struct session *s, const struct decode_request *r, decode_event_fn *fn, void *ctx,
               const volatile int *stop, struct decode_stats *stats, struct err *e);
