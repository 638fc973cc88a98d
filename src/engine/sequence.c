/* See sequence.h.  Data flow for each token:
 *
 *   logits -> sampler -> id -> detok (whole characters) -> stopper (no stop string begun)
 *          -> event; id -> session -> logits
 *
 * With speculation the session is fed id and guesses at what follows, and gives logits after each.
 * As long as what the sampler chooses is what was guessed, the next logits are there already. */
#include "engine/sequence.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "engine/speculate.h"
#include "engine/stop.h"

enum { MAX_LOGPROBS = 20, RUNAWAY = 10 /* contexts that an unbounded answer may fill */ };

struct sequence {
    struct session *s;
    struct decode_request r;
    decode_event_fn *fn;
    void *ctx;
    const volatile int *stop;
    struct decode_stats st;
    const struct vocab *vocab;
    struct sampler *sampler; /* owned, like all below */
    struct logit_bias *bias; /* the request's and, with ignore_eos, the end tokens */
    struct detok detok;
    struct stopper stopper;
    struct buf piece, text; /* decoded; to show */
    struct candidate top[MAX_LOGPROBS];
    struct speculator *spec; /* or NULL */

    enum sequence_state state;
    struct sequence_text read;      /* SEQ_READS: what, the prompt or what it held before */
    int32_t next;                   /* chosen and not fed yet, or -1 */
    int32_t fed[SPECULATE_MAX + 1]; /* [n_fed] the last batch: a token and guesses */
    int n_fed, at;                  /* of them, fed[0..at] are the answer's */
    const float *logits;            /* after fed[at]: the next token's */
    int64_t begin_ns, read_ns;      /* when it began; when the prompt was read */
};

static struct engine *engine_of(const struct sequence *q) {
    return session_engine(q->s);
}

/* A request may keep to less than the engine has. */
static int n_ctx_of(const struct engine *g, const struct decode_request *r) {
    const int all = engine_n_ctx(g);
    return r->n_ctx > 0 && r->n_ctx < all ? r->n_ctx : all;
}

/* ---- making one ---- */

static int check_request(const struct decode_request *r, const struct session *s, struct err *e) {
    struct engine *g = session_engine(s);
    if (model_is_embedding(engine_model(g)))
        return err_set(e, ERR_UNSUPPORTED, "%s: an embedding model; it does not generate",
                       gguf_path(engine_gguf(g)));
    if (r->n_prompt <= 0) return err_set(e, ERR_USAGE, "prompt: empty; at least one token");
    if (r->n_prompt > n_ctx_of(g, r))
        return err_set(e, ERR_LIMIT, "prompt: %d tokens; the context holds %d (option num_ctx)",
                       r->n_prompt, n_ctx_of(g, r));
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

static int check_tokens(const struct decode_request *r, int n_vocab, struct err *e) {
    int i = 0;
    while (i < r->n_prompt && r->prompt[i] >= 0 && r->prompt[i] < n_vocab)
        i++;
    if (i == r->n_prompt) return 0;
    err_set(e, ERR_FORMAT, "token %d: id %d; the vocabulary has 0 to %d", i, (int)r->prompt[i],
            n_vocab - 1);
    return err_field(e, "tokens");
}

/* The request's biases and a ban on every token that would end the answer. */
static int ban_end_tokens(struct sequence *q, struct sampler_opts *o, struct err *e) {
    const int n_vocab = engine_n_vocab(engine_of(q));
    int n = o->n_bias;
    for (int id = 0; id < n_vocab; id++)
        n += vocab_is_eog(q->vocab, id);
    q->bias = calloc((size_t)n + 1, sizeof *q->bias);
    if (!q->bias) return err_nomem(e, "ignore_eos");
    if (o->n_bias > 0) memcpy(q->bias, o->bias, (size_t)o->n_bias * sizeof *q->bias);
    n = o->n_bias;
    for (int id = 0; id < n_vocab; id++)
        if (vocab_is_eog(q->vocab, id)) q->bias[n++] = (struct logit_bias){id, -INFINITY};
    o->bias = q->bias;
    o->n_bias = n;
    return 0;
}

static void accept(struct sequence *q, int32_t id) {
    if (q->spec) speculator_accept(q->spec, id);
    if (q->r.spare_newline && id == vocab_special(q->vocab)->nl) return;
    sampler_accept(q->sampler, id);
}

static int make_sampler(struct sequence *q, struct err *e) {
    struct engine *eng = engine_of(q);
    struct sampler_opts o = q->r.sampler;
    if (sampler_check(&o, e) != 0) return -1;
    if (o.repeat_last_n < 0) o.repeat_last_n = engine_n_ctx(eng);
    if (o.dry_penalty_last_n < 0) o.dry_penalty_last_n = engine_n_ctx(eng);
    if (q->r.ignore_eos && ban_end_tokens(q, &o, e) != 0) return -1;
    q->sampler = sampler_new(&o, engine_n_vocab(eng), e);
    return q->sampler ? 0 : -1;
}

static int make_speculator(struct sequence *q, struct err *e) {
    const struct decode_request *r = &q->r;
    if (r->n_draft < 0) return 0;
    q->spec = speculator_new(q->s, r->draft, r->n_draft ? r->n_draft : SPECULATE_MAX, e);
    return q->spec ? 0 : -1;
}

/* What chooses tokens, and what guesses them, with the prompt behind them. */
static int prepare(struct sequence *q, struct err *e) {
    if (stopper_init(&q->stopper, q->r.stop, q->r.n_stop, e) != 0) return -1;
    if (make_sampler(q, e) != 0 || make_speculator(q, e) != 0) return -1;
    if (check_tokens(&q->r, engine_n_vocab(engine_of(q)), e) != 0) return -1;
    for (int i = 0; i < q->r.n_prompt; i++)
        accept(q, q->r.prompt[i]);
    return 0;
}

struct sequence *sequence_new(struct session *s, const struct decode_request *r,
                              decode_event_fn *fn, void *ctx, const volatile int *stop,
                              struct err *e) {
    if (check_request(r, s, e) != 0) return NULL;
    struct sequence *q = calloc(1, sizeof *q);
    if (!q) {
        err_nomem(e, "sequence");
        return NULL;
    }
    q->st.stop = -1;
    q->s = s, q->r = *r, q->fn = fn, q->ctx = ctx, q->stop = stop, q->next = -1;
    q->vocab = engine_vocab(engine_of(q));
    q->detok = (struct detok){.vocab = q->vocab, .special = r->special};
    q->read = (struct sequence_text){r->prompt, r->n_prompt};
    if (prepare(q, e) == 0) return q;
    sequence_free(q);
    return NULL;
}

void sequence_free(struct sequence *q) {
    if (!q) return;
    sampler_free(q->sampler);
    speculator_free(q->spec);
    free(q->bias);
    detok_fini(&q->detok);
    stopper_fini(&q->stopper);
    buf_fini(&q->piece);
    buf_fini(&q->text);
    free(q);
}

void sequence_begin(struct sequence *q) {
    const struct sequence_text *r = &q->read;
    if (q->begin_ns == 0) q->begin_ns = os_now_ns();
    int cached = session_recall(q->s, r->tok, r->n);
    /* The last token is fed again: its logits were not kept. */
    if (cached == r->n && q->next < 0) session_truncate(q->s, --cached);
    if (cached == r->n) q->state = SEQ_WRITES;
    if (q->st.n_eval > 0 || q->next >= 0) return;
    q->st.n_prompt = r->n;
    q->st.n_prompt_cached = cached;
}

enum sequence_state sequence_state(const struct sequence *q) {
    return q->state;
}

int sequence_unread(const struct sequence *q) {
    return q->state == SEQ_READS ? q->read.n - session_n_tok(q->s) : 0;
}

struct session *sequence_session(const struct sequence *q) {
    return q->s;
}

struct sequence_text sequence_text(const struct sequence *q) {
    return q->read;
}

/* ---- what is fed ---- */

/* 1 when the caller's flag asks to stop. */
static int cancelled(const struct sequence *q) {
    return q->stop && __atomic_load_n(q->stop, __ATOMIC_RELAXED);
}

static void end(struct sequence *q, enum decode_why why) {
    q->state = SEQ_DONE;
    q->st.why = why;
}

/* A piece of what it reads.  Logits are wanted after the last token, unless what follows is known
 * already. */
static int next_read(struct sequence *q, int n_max, struct batch_seq *b, struct err *e) {
    const int at = session_n_tok(q->s), left = q->read.n - at, n = left < n_max ? left : n_max;
    const bool last = n == left;
    if (session_push(q->s, q->read.tok + at, n, last && q->next < 0, b, e) != 0) return -1;
    if (last) q->state = SEQ_WRITES;
    return n;
}

/* Make room for one more token.  0, -1, or 1 when the answer must end here. */
static int make_room(struct sequence *q, struct err *e) {
    const int n_ctx = n_ctx_of(engine_of(q), &q->r), n_tok = session_n_tok(q->s);
    if (n_tok < n_ctx) return 0;
    if (q->r.no_shift) return 1;
    int keep = q->r.n_keep < 0 ? q->r.n_prompt : q->r.n_keep;
    /* The beginning-of-text token anchors attention; a shift that lost it would lose the thread. */
    if (q->r.n_keep >= 0 && q->r.prompt[0] == vocab_special(q->vocab)->bos) keep++;
    if (keep > n_ctx - 4) keep = n_ctx - 4;
    if (keep < 0) keep = 0;
    const int drop = (n_tok - keep) / 2;
    struct err why = {0};
    if (session_shift(q->s, keep, drop > 0 ? drop : 1, &why) == 0) {
        q->st.n_shift++;
        return 0;
    }
    if (why.code == ERR_UNSUPPORTED) return 1; /* this model cannot: the context is simply full */
    if (e) *e = why;
    return -1;
}

static int64_t token_limit(const struct sequence *q) {
    const int64_t runaway = (int64_t)RUNAWAY * n_ctx_of(engine_of(q), &q->r);
    return q->r.n_predict < 0 ? runaway : q->r.n_predict;
}

/* Guesses behind fed[0], as many as seem worth it and fit the context, the batch, the cache's pages
 * and what is left of the answer: a batch of n gives n tokens. */
static int guess(struct sequence *q, int n_max, int n_other) {
    struct engine *eng = engine_of(q);
    const int64_t left = token_limit(q) - q->st.n_eval;
    const int n_free = kv_pool_free_tokens(engine_kv(eng)) - KV_PAGE;
    int room = n_ctx_of(eng, &q->r) - session_n_tok(q->s);
    if (!q->spec) return 0;
    if (room > n_max) room = n_max;
    if (room > n_free) room = n_free;
    if (room > left) room = (int)left;
    return speculator_guess(q->spec, room - 1, n_other, q->fed + 1, q->stop);
}

/* The chosen token and guesses. */
static int next_written(struct sequence *q, int n_max, int n_other, struct batch_seq *b,
                        struct err *e) {
    const int full = make_room(q, e);
    if (full < 0) return -1;
    if (full > 0) {
        end(q, DECODE_LENGTH);
        return 0;
    }
    q->fed[0] = q->next, q->at = 0;
    q->n_fed = 1 + guess(q, n_max, n_other);
    if (session_push(q->s, q->fed, q->n_fed, q->n_fed, b, e) != 0) {
        q->n_fed = 0; /* nothing is in the cache that could be dropped */
        return -1;
    }
    q->st.n_drafted += q->n_fed - 1;
    q->next = -1;
    return q->n_fed;
}

int sequence_next(struct sequence *q, int n_max, int n_other, struct batch_seq *b, struct err *e) {
    if (q->state == SEQ_READS) return next_read(q, n_max, b, e);
    if (q->state == SEQ_WRITES) return next_written(q, n_max, n_other, b, e);
    return 0;
}

void sequence_yield(struct sequence *q) {
    q->n_fed = 0;
    if (q->state == SEQ_DONE) return;
    if (q->state == SEQ_WRITES || session_n_tok(q->s) > q->read.n)
        q->read = (struct sequence_text){session_tokens(q->s), session_n_tok(q->s)};
    q->state = SEQ_READS;
    session_truncate(q->s, 0); /* its tokens stay where they are */
}

/* ---- what is told ---- */

/* Report token id with what can be shown; id -1: the rest of the text.  Nonzero: cancelled. */
static int emit(struct sequence *q, int32_t id) {
    struct decode_event ev = {.text = buf_view(&q->text), .token = id};
    if (id >= 0 && q->r.n_logprobs > 0) {
        ev.chosen.id = id;
        ev.n_top = candidates_top(q->logits, engine_n_vocab(engine_of(q)), q->r.n_logprobs, q->top,
                                  &ev.chosen);
        ev.top = q->top;
    }
    const int rc = q->fn ? q->fn(q->ctx, &ev) : 0;
    if (rc != 0) q->fn = NULL; /* whoever cancels hears nothing more */
    buf_reset(&q->text);
    return rc;
}

/* The text that was held back. */
static void emit_rest(struct sequence *q) {
    buf_reset(&q->piece);
    detok_finish(&q->detok, &q->piece);
    if (!stopper_push(&q->stopper, buf_view(&q->piece), &q->text))
        stopper_finish(&q->stopper, &q->text);
    if (q->text.n > 0) emit(q, -1);
}

/* Guesses that were not right leave the cache. */
static void drop_guesses(struct sequence *q) {
    if (q->at + 1 >= q->n_fed) return;
    session_truncate(q->s, session_n_tok(q->s) - (q->n_fed - 1 - q->at));
    q->n_fed = q->at + 1;
}

/* Move on to the logits after id: they are there when it was guessed, else it must be fed. */
static void advance(struct sequence *q, int32_t id) {
    if (q->at + 1 < q->n_fed && q->fed[q->at + 1] == id) {
        q->at++, q->st.n_accepted++;
        q->logits += model_n_vocab(engine_model(engine_of(q)));
        return;
    }
    drop_guesses(q);
    q->next = id;
}

static int choose(struct sequence *q, int32_t *id, struct err *e) {
    const struct decode_request *r = &q->r;
    if (r->choose) return r->choose(r->choose_ctx, q->sampler, q->logits, id, e);
    *id = sampler_choose(q->sampler, q->logits);
    return 1;
}

/* Choose and show one token. */
static int step(struct sequence *q, struct err *e) {
    if (q->st.n_eval >= token_limit(q)) return end(q, DECODE_LENGTH), 0;
    if (cancelled(q)) return end(q, DECODE_CANCELLED), 0;
    int32_t id = -1;
    const int rc = choose(q, &id, e);
    if (rc < 0) return -1;
    if (rc == 0) return end(q, DECODE_STOP), 0;
    accept(q, id);
    if (vocab_is_eog(q->vocab, id) && !q->r.ignore_eos) return end(q, DECODE_STOP), 0;
    q->st.n_eval++;

    buf_reset(&q->piece);
    q->detok.special = q->r.special || (q->r.shown && q->r.shown[id / 32] >> (id % 32) & 1);
    detok_push(&q->detok, id, &q->piece);
    const bool stopped = stopper_push(&q->stopper, buf_view(&q->piece), &q->text);
    if (q->piece.failed || q->text.failed || q->stopper.held.failed)
        return err_nomem(e, "generate");
    if (emit(q, id) != 0) return end(q, DECODE_CANCELLED), 0;
    if (stopped) {
        detok_finish(&q->detok, &q->piece); /* nothing after a stop string is shown */
        q->st.stop = q->stopper.hit;
        return end(q, DECODE_STOP), 0;
    }
    if (q->st.n_eval >= token_limit(q)) return end(q, DECODE_LENGTH), 0;
    advance(q, id);
    return 0;
}

int sequence_take(struct sequence *q, const float *rows, struct err *e) {
    if (q->state != SEQ_WRITES || q->next >= 0) return 0; /* it has more to read first */
    if (q->read_ns == 0) {
        q->read_ns = os_now_ns();
        q->st.prompt_ns = q->read_ns - q->begin_ns;
        session_remember(q->s); /* others may begin alike while this one goes on */
    }
    q->logits = rows;
    while (q->state == SEQ_WRITES && q->next < 0)
        if (step(q, e) != 0) {
            drop_guesses(q);
            q->state = SEQ_DONE;
            return -1;
        }
    drop_guesses(q);
    return 0;
}

void sequence_end(struct sequence *q, bool is_cancelled) {
    if (is_cancelled && q->state != SEQ_DONE) end(q, DECODE_CANCELLED);
    emit_rest(q);
    const int64_t now = os_now_ns();
    if (q->read_ns == 0) { /* it has not come to write */
        if (q->begin_ns) q->st.prompt_ns = now - q->begin_ns;
        return;
    }
    q->st.eval_ns = now - q->read_ns;
    session_remember(q->s);
    session_save(q->s, q->r.prompt, q->r.n_prompt);
}

const struct decode_stats *sequence_stats(const struct sequence *q) {
    return &q->st;
}
