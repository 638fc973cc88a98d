/* Generation in this process.  Data flow for each token:
 *
 *   logits -> sampler -> id -> detok (whole characters) -> stopper (no stop string begun)
 *          -> event; id -> session -> logits
 *
 * With speculation the session is fed id and guesses at what follows, and gives logits after each.
 * As long as what the sampler chooses is what was guessed, the next logits are there already. */
#include "engine/decode.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "engine/speculate.h"
#include "engine/stop.h"

enum { MAX_LOGPROBS = 20, RUNAWAY = 10 /* contexts that an unbounded answer may fill */ };

struct decode {
    struct session *s;
    const struct decode_request *r;
    decode_event_fn *fn;
    void *ctx;
    const volatile int *stop;
    struct decode_stats *st;
    struct err *e;
    const struct vocab *vocab;
    struct sampler *sampler; /* owned, like all below */
    struct logit_bias *bias; /* the request's and, with ignore_eos, the end tokens */
    struct detok detok;
    struct stopper stopper;
    struct buf piece, text; /* decoded; to show */
    struct candidate top[MAX_LOGPROBS];
    struct speculator *spec;        /* or NULL */
    int32_t fed[SPECULATE_MAX + 1]; /* [n_fed] the last batch: a token and guesses */
    int n_fed, at;                  /* of them, fed[0..at] are the answer's */
    const float *logits;            /* after fed[at]: the next token's */
};

static int check_request(const struct decode_request *r, const struct session *s, struct err *e) {
    struct engine *g = session_engine(s);
    if (model_is_embedding(engine_model(g)))
        return err_set(e, ERR_UNSUPPORTED, "%s: an embedding model; it does not generate",
                       gguf_path(engine_gguf(g)));
    if (r->n_prompt <= 0) return err_set(e, ERR_USAGE, "prompt: empty; at least one token");
    if (r->n_prompt > engine_n_ctx(g))
        return err_set(e, ERR_LIMIT, "prompt: %d tokens; the context holds %d (option num_ctx)",
                       r->n_prompt, engine_n_ctx(g));
    if (r->n_predict < -1)
        return err_set(e, ERR_USAGE, "num_predict: %d; accepted: -1 (no limit) or more",
                       r->n_predict);
    if (r->n_keep < -1)
        return err_set(e, ERR_USAGE, "num_keep: %d; accepted: -1 (the whole prompt) or more",
                       r->n_keep);
    if (r->n_logprobs < 0 || r->n_logprobs > MAX_LOGPROBS)
        return err_set(e, ERR_USAGE, "logprobs: %d; accepted: 0 to %d", r->n_logprobs,
                       MAX_LOGPROBS);
    if (r->n_draft < -1 || r->n_draft > SPECULATE_MAX)
        return err_set(e, ERR_USAGE, "num_draft: %d; accepted: -1 (none) to %d", r->n_draft,
                       SPECULATE_MAX);
    if (!r->draft) return 0;
    if (r->draft == s)
        return err_set(e, ERR_USAGE, "draft: the session of the answer; another is needed");
    return speculate_check_draft(g, session_engine(r->draft), e);
}

/* The request's biases and a ban on every token that would end the answer. */
static int ban_end_tokens(struct decode *g, struct sampler_opts *o) {
    const int n_vocab = engine_n_vocab(session_engine(g->s));
    int n = o->n_bias;
    for (int id = 0; id < n_vocab; id++)
        n += vocab_is_eog(g->vocab, id);
    g->bias = calloc((size_t)n + 1, sizeof *g->bias);
    if (!g->bias) return err_nomem(g->e, "ignore_eos");
    if (o->n_bias > 0) memcpy(g->bias, o->bias, (size_t)o->n_bias * sizeof *g->bias);
    n = o->n_bias;
    for (int id = 0; id < n_vocab; id++)
        if (vocab_is_eog(g->vocab, id)) g->bias[n++] = (struct logit_bias){id, -INFINITY};
    o->bias = g->bias;
    o->n_bias = n;
    return 0;
}

static void accept(struct decode *g, int32_t id) {
    if (g->spec) speculator_accept(g->spec, id);
    if (g->r->spare_newline && id == vocab_special(g->vocab)->nl) return;
    sampler_accept(g->sampler, id);
}

static int make_sampler(struct decode *g) {
    struct engine *eng = session_engine(g->s);
    struct sampler_opts o = g->r->sampler;
    if (sampler_check(&o, g->e) != 0) return -1;
    if (o.repeat_last_n < 0) o.repeat_last_n = engine_n_ctx(eng);
    if (o.dry_penalty_last_n < 0) o.dry_penalty_last_n = engine_n_ctx(eng);
    if (g->r->ignore_eos && ban_end_tokens(g, &o) != 0) return -1;
    g->sampler = sampler_new(&o, engine_n_vocab(eng), g->e);
    return g->sampler ? 0 : -1;
}

static int make_speculator(struct decode *g) {
    const struct decode_request *r = g->r;
    if (r->n_draft < 0) return 0;
    g->spec = speculator_new(g->s, r->draft, r->n_draft ? r->n_draft : SPECULATE_MAX, g->e);
    return g->spec ? 0 : -1;
}

/* What chooses tokens, and what guesses them, with the prompt behind them. */
static int prepare(struct decode *g) {
    if (make_sampler(g) != 0 || make_speculator(g) != 0) return -1;
    for (int i = 0; i < g->r->n_prompt; i++)
        accept(g, g->r->prompt[i]);
    return 0;
}

/* 1 when the caller's flag asks to stop. */
static int cancelled(const struct decode *g) {
    return g->stop && __atomic_load_n(g->stop, __ATOMIC_RELAXED);
}

/* Feed the part of the prompt that is not cached.  0, -1, or 1 when cancelled. */
static int prefill(struct decode *g) {
    const struct decode_request *r = g->r;
    int cached = session_recall(g->s, r->prompt, r->n_prompt);
    /* The last token is fed again: its logits were not kept. */
    if (cached == r->n_prompt) session_truncate(g->s, --cached);
    g->st->n_prompt = r->n_prompt;
    g->st->n_prompt_cached = cached;
    struct err why = {0};
    if (session_feed(g->s, r->prompt + cached, r->n_prompt - cached, &g->logits, g->stop, &why) ==
        0) {
        session_remember(g->s); /* others may begin alike while this one goes on */
        return 0;
    }
    if (why.code == ERR_CANCELLED) return 1;
    if (g->e) *g->e = why;
    return -1;
}

/* Make room for one more token.  0, -1, or 1 when the answer must end here. */
static int make_room(struct decode *g) {
    const int n_ctx = engine_n_ctx(session_engine(g->s)), n_tok = session_n_tok(g->s);
    if (n_tok < n_ctx) return 0;
    if (g->r->no_shift) return 1;
    int keep = g->r->n_keep < 0 ? g->r->n_prompt : g->r->n_keep;
    /* The beginning-of-text token anchors attention; a shift that lost it would lose the thread. */
    if (g->r->n_keep >= 0 && g->r->prompt[0] == vocab_special(g->vocab)->bos) keep++;
    if (keep > n_ctx - 4) keep = n_ctx - 4;
    if (keep < 0) keep = 0;
    const int drop = (n_tok - keep) / 2;
    struct err why = {0};
    if (session_shift(g->s, keep, drop > 0 ? drop : 1, &why) == 0) {
        g->st->n_shift++;
        return 0;
    }
    if (why.code == ERR_UNSUPPORTED) return 1; /* this model cannot: the context is simply full */
    if (g->e) *g->e = why;
    return -1;
}

/* Report token id with what can be shown; id -1: the rest of the text.  Nonzero: cancelled. */
static int emit(struct decode *g, int32_t id) {
    struct decode_event ev = {.text = buf_view(&g->text), .token = id};
    if (id >= 0 && g->r->n_logprobs > 0) {
        ev.chosen.id = id;
        ev.n_top = candidates_top(g->logits, engine_n_vocab(session_engine(g->s)), g->r->n_logprobs,
                                  g->top, &ev.chosen);
        ev.top = g->top;
    }
    const int rc = g->fn ? g->fn(g->ctx, &ev) : 0;
    if (rc != 0) g->fn = NULL; /* whoever cancels hears nothing more */
    buf_reset(&g->text);
    return rc;
}

/* The text that was held back. */
static void emit_rest(struct decode *g) {
    buf_reset(&g->piece);
    detok_finish(&g->detok, &g->piece);
    if (!stopper_push(&g->stopper, buf_view(&g->piece), &g->text))
        stopper_finish(&g->stopper, &g->text);
    if (g->text.n > 0) emit(g, -1);
}

static int64_t token_limit(const struct decode *g) {
    const int64_t runaway = (int64_t)RUNAWAY * engine_n_ctx(session_engine(g->s));
    return g->r->n_predict < 0 ? runaway : g->r->n_predict;
}

enum step { GO_ON, END, FAIL };

static enum step end(struct decode *g, enum decode_why why) {
    g->st->why = why;
    return END;
}

/* Guesses that were not right leave the cache. */
static void drop_guesses(struct decode *g) {
    if (g->at + 1 >= g->n_fed) return;
    session_truncate(g->s, session_n_tok(g->s) - (g->n_fed - 1 - g->at));
    g->n_fed = g->at + 1;
}

/* Guesses behind fed[0], as many as seem worth it and fit the context, a batch, the cache's pages
 * and what is left of the answer: a batch of n gives n tokens. */
static int guess(struct decode *g) {
    struct engine *eng = session_engine(g->s);
    const int64_t left = token_limit(g) - g->st->n_eval;
    const int n_batch = engine_n_batch(eng), n_out = engine_n_out(eng),
              n_free = kv_pool_free_tokens(engine_kv(eng)) - KV_PAGE;
    int room = engine_n_ctx(eng) - session_n_tok(g->s);
    if (!g->spec) return 0;
    if (room > n_batch) room = n_batch;
    if (room > n_out) room = n_out;
    if (room > n_free) room = n_free;
    if (room > left) room = (int)left;
    return speculator_guess(g->spec, room - 1, g->fed + 1, g->stop);
}

/* Feed id and guesses; g->logits are those after id. */
static int feed(struct decode *g, int32_t id) {
    g->fed[0] = id, g->at = 0;
    g->n_fed = 1 + guess(g);
    g->st->n_drafted += g->n_fed - 1;
    const int64_t t0 = os_now_ns();
    if (session_feed_batch(g->s, g->fed, g->n_fed, &g->logits, g->e) != 0) {
        g->n_fed = 0; /* nothing is in the cache that could be dropped */
        return -1;
    }
    step_cost_add(engine_step_cost(session_engine(g->s)), g->n_fed, os_now_ns() - t0);
    return 0;
}

/* Move on to the logits after id: they are there when it was guessed. */
static enum step advance(struct decode *g, int32_t id) {
    if (g->at + 1 < g->n_fed && g->fed[g->at + 1] == id) {
        g->at++, g->st->n_accepted++;
        g->logits += model_n_vocab(engine_model(session_engine(g->s)));
        return GO_ON;
    }
    drop_guesses(g);
    const int full = make_room(g);
    if (full != 0) return full < 0 ? FAIL : end(g, DECODE_LENGTH);
    return feed(g, id) == 0 ? GO_ON : FAIL;
}

/* Choose, show and feed one token. */
static enum step step(struct decode *g) {
    if (g->st->n_eval >= token_limit(g)) return end(g, DECODE_LENGTH);
    if (cancelled(g)) return end(g, DECODE_CANCELLED);
    const int32_t id = sampler_choose(g->sampler, g->logits);
    accept(g, id);
    if (vocab_is_eog(g->vocab, id) && !g->r->ignore_eos) return end(g, DECODE_STOP);
    g->st->n_eval++;

    buf_reset(&g->piece);
    detok_push(&g->detok, id, &g->piece);
    const bool stopped = stopper_push(&g->stopper, buf_view(&g->piece), &g->text);
    if (g->piece.failed || g->text.failed || g->stopper.held.failed) {
        err_nomem(g->e, "generate");
        return FAIL;
    }
    if (emit(g, id) != 0) return end(g, DECODE_CANCELLED);
    if (stopped) {
        detok_finish(&g->detok, &g->piece); /* nothing after a stop string is shown */
        return end(g, DECODE_STOP);
    }
    if (g->st->n_eval >= token_limit(g)) return end(g, DECODE_LENGTH);
    return advance(g, id);
}

/* 0 or -1; the prompt has been read and g->logits are those after it. */
static int answer(struct decode *g) {
    enum step s;
    while ((s = step(g)) == GO_ON) {
    }
    drop_guesses(g);
    if (s == FAIL) return -1;
    emit_rest(g);
    return 0;
}

static void decode_fini(struct decode *g) {
    sampler_free(g->sampler);
    speculator_free(g->spec);
    free(g->bias);
    detok_fini(&g->detok);
    stopper_fini(&g->stopper);
    buf_fini(&g->piece);
    buf_fini(&g->text);
}

int decode_run(struct session *s, const struct decode_request *r, decode_event_fn *fn, void *ctx,
               const volatile int *stop, struct decode_stats *stats, struct err *e) {
    struct decode_stats own = {0};
    struct decode g = {.s = s, .r = r, .fn = fn, .ctx = ctx, .stop = stop, .e = e};
    g.st = stats ? stats : &own;
    *g.st = own;
    g.vocab = engine_vocab(session_engine(s));
    g.detok = (struct detok){.vocab = g.vocab, .special = r->special};
    int rc = -1;
    if (check_request(r, s, e) != 0) return -1;
    if (stopper_init(&g.stopper, r->stop, r->n_stop, e) != 0 || prepare(&g) != 0) goto done;

    const int64_t t0 = os_now_ns();
    rc = prefill(&g);
    const int64_t t1 = os_now_ns();
    g.st->prompt_ns = t1 - t0;
    if (rc > 0) {
        g.st->why = DECODE_CANCELLED;
        rc = 0;
    } else if (rc == 0) {
        rc = answer(&g);
        g.st->eval_ns = os_now_ns() - t1;
        step_cost_log(engine_step_cost(session_engine(s)));
        session_remember(s);
        session_save(s, r->prompt, r->n_prompt);
    }
done:
    decode_fini(&g);
    return rc;
}
