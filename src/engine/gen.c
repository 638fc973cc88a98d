/* Generation in this process.  Data flow for each token:
 *
 *   logits -> sampler -> id -> detok (whole characters) -> stopper (no stop string begun)
 *          -> event; id -> session -> logits
 */
#include "engine/gen.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "engine/stop.h"

enum { MAX_LOGPROBS = 20, RUNAWAY = 10 /* contexts that an unbounded answer may fill */ };

struct gen {
    struct session *s;
    const struct gen_request *r;
    gen_event_fn *fn;
    void *ctx;
    const volatile int *stop;
    struct gen_stats *st;
    struct err *e;
    const struct vocab *vocab;
    struct sampler *sampler; /* owned, like all below */
    struct logit_bias *bias; /* the request's and, with ignore_eos, the end tokens */
    struct detok detok;
    struct stopper stopper;
    struct buf piece, text; /* decoded; to show */
    struct candidate top[MAX_LOGPROBS];
};

static int check_request(const struct gen_request *r, const struct session *s, struct err *e) {
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
    return 0;
}

/* The request's biases and a ban on every token that would end the answer. */
static int ban_end_tokens(struct gen *g, struct sampler_opts *o) {
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

static void accept(struct gen *g, int32_t id) {
    if (g->r->spare_newline && id == vocab_special(g->vocab)->nl) return;
    sampler_accept(g->sampler, id);
}

static int make_sampler(struct gen *g) {
    struct engine *eng = session_engine(g->s);
    struct sampler_opts o = g->r->sampler;
    if (sampler_check(&o, g->e) != 0) return -1;
    if (o.repeat_last_n < 0) o.repeat_last_n = engine_n_ctx(eng);
    if (o.dry_penalty_last_n < 0) o.dry_penalty_last_n = engine_n_ctx(eng);
    if (g->r->ignore_eos && ban_end_tokens(g, &o) != 0) return -1;
    g->sampler = sampler_new(&o, engine_n_vocab(eng), g->e);
    if (!g->sampler) return -1;
    for (int i = 0; i < g->r->n_prompt; i++)
        accept(g, g->r->prompt[i]);
    return 0;
}

/* 1 when the caller's flag asks to stop. */
static int cancelled(const struct gen *g) {
    return g->stop && __atomic_load_n(g->stop, __ATOMIC_RELAXED);
}

/* Feed the part of the prompt that is not cached.  0, -1, or 1 when cancelled. */
static int prefill(struct gen *g, const float **logits) {
    const struct gen_request *r = g->r;
    int cached = session_recall(g->s, r->prompt, r->n_prompt);
    /* The last token is fed again: its logits were not kept. */
    if (cached == r->n_prompt) session_truncate(g->s, --cached);
    g->st->n_prompt = r->n_prompt;
    g->st->n_prompt_cached = cached;
    struct err why = {0};
    if (session_feed(g->s, r->prompt + cached, r->n_prompt - cached, logits, g->stop, &why) == 0) {
        session_remember(g->s); /* others may begin alike while this one goes on */
        return 0;
    }
    if (why.code == ERR_CANCELLED) return 1;
    if (g->e) *g->e = why;
    return -1;
}

/* Make room for one more token.  0, -1, or 1 when the answer must end here. */
static int make_room(struct gen *g) {
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
static int emit(struct gen *g, int32_t id, const float *logits) {
    struct gen_event ev = {.text = buf_view(&g->text), .token = id};
    if (id >= 0 && g->r->n_logprobs > 0) {
        ev.chosen.id = id;
        ev.n_top = candidates_top(logits, engine_n_vocab(session_engine(g->s)), g->r->n_logprobs,
                                  g->top, &ev.chosen);
        ev.top = g->top;
    }
    const int rc = g->fn ? g->fn(g->ctx, &ev) : 0;
    if (rc != 0) g->fn = NULL; /* whoever cancels hears nothing more */
    buf_reset(&g->text);
    return rc;
}

/* The text that was held back. */
static void emit_rest(struct gen *g) {
    buf_reset(&g->piece);
    detok_finish(&g->detok, &g->piece);
    if (!stopper_push(&g->stopper, buf_view(&g->piece), &g->text))
        stopper_finish(&g->stopper, &g->text);
    if (g->text.n > 0) emit(g, -1, NULL);
}

static int64_t token_limit(const struct gen *g) {
    const int64_t runaway = (int64_t)RUNAWAY * engine_n_ctx(session_engine(g->s));
    return g->r->n_predict < 0 ? runaway : g->r->n_predict;
}

enum step { GO_ON, END, FAIL };

static enum step end(struct gen *g, enum gen_why why) {
    g->st->why = why;
    return END;
}

/* Choose, show and feed one token; *logits moves on to the next one's. */
static enum step step(struct gen *g, const float **logits) {
    if (g->st->n_eval >= token_limit(g)) return end(g, GEN_LENGTH);
    if (cancelled(g)) return end(g, GEN_CANCELLED);
    const int32_t id = sampler_choose(g->sampler, *logits);
    accept(g, id);
    if (vocab_is_eog(g->vocab, id) && !g->r->ignore_eos) return end(g, GEN_STOP);
    g->st->n_eval++;

    buf_reset(&g->piece);
    detok_push(&g->detok, id, &g->piece);
    const bool stopped = stopper_push(&g->stopper, buf_view(&g->piece), &g->text);
    if (g->piece.failed || g->text.failed || g->stopper.held.failed) {
        err_nomem(g->e, "generate");
        return FAIL;
    }
    if (emit(g, id, *logits) != 0) return end(g, GEN_CANCELLED);
    if (stopped) {
        detok_finish(&g->detok, &g->piece); /* nothing after a stop string is shown */
        return end(g, GEN_STOP);
    }
    if (g->st->n_eval >= token_limit(g)) return end(g, GEN_LENGTH);
    const int full = make_room(g);
    if (full != 0) return full < 0 ? FAIL : end(g, GEN_LENGTH);
    return session_feed(g->s, &id, 1, logits, NULL, g->e) == 0 ? GO_ON : FAIL;
}

/* 0 or -1; the prompt has been read and *logits are those after it. */
static int answer(struct gen *g, const float *logits) {
    enum step s;
    while ((s = step(g, &logits)) == GO_ON) {
    }
    if (s == FAIL) return -1;
    emit_rest(g);
    return 0;
}

static void gen_fini(struct gen *g) {
    sampler_free(g->sampler);
    free(g->bias);
    detok_fini(&g->detok);
    stopper_fini(&g->stopper);
    buf_fini(&g->piece);
    buf_fini(&g->text);
}

int gen_run(struct session *s, const struct gen_request *r, gen_event_fn *fn, void *ctx,
            const volatile int *stop, struct gen_stats *stats, struct err *e) {
    struct gen_stats own = {0};
    struct gen g = {.s = s, .r = r, .fn = fn, .ctx = ctx, .stop = stop, .e = e};
    g.st = stats ? stats : &own;
    *g.st = own;
    g.vocab = engine_vocab(session_engine(s));
    g.detok = (struct detok){.vocab = g.vocab, .special = r->special};
    const float *logits = NULL;
    int rc = -1;
    if (check_request(r, s, e) != 0) return -1;
    if (stopper_init(&g.stopper, r->stop, r->n_stop, e) != 0 || make_sampler(&g) != 0) goto done;

    const int64_t t0 = os_now_ns();
    rc = prefill(&g, &logits);
    const int64_t t1 = os_now_ns();
    g.st->prompt_ns = t1 - t0;
    if (rc > 0) {
        g.st->why = GEN_CANCELLED;
        rc = 0;
    } else if (rc == 0) {
        rc = answer(&g, logits);
        g.st->eval_ns = os_now_ns() - t1;
        session_remember(s);
        session_save(s, r->prompt, r->n_prompt);
    }
done:
    gen_fini(&g);
    return rc;
}
