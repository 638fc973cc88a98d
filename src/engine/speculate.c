/* See speculate.h.  All amounts of time are in forwards of one row of the model itself.  A try of k
 * guesses gives 1 + p1 + p1 p2 + ... tokens for step_cost(k + 1) and what the guesses cost; it is
 * made when that is more than the one token for 1 of a plain step.
 *
 * Guesses from the text are free and judged without being tried (ngram.c).  A draft model's are
 * neither: when trying them has not paid lately, it rests, longer each time. */
#include "engine/speculate.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "sample/scan.h"
#include "engine/ngram.h"

enum {
    N_MARGIN = 5, /* classes of a draft model's certainty */
    N_CATCH_UP = 32,
    REST_MIN = 16, /* tokens: its first rest, and the last that ends */
    REST_MAX = 256,
};

/* What a try must promise over a plain step: it also costs what is not measured here, such as a
 * page of cache taken and given back. */
static const double worth_trying = 1.05;

struct speculator {
    struct session *s;
    int n_max;
    struct ngram *text;

    struct session *draft;     /* or NULL, then nothing below counts */
    int32_t last;              /* accepted */
    int32_t id[SPECULATE_MAX]; /* its guesses after that */
    int margin[SPECULATE_MAX]; /* class of each */
    int n_id, n_known, n_seen; /* being tried; guessed, with one that seemed not worth it; judged */
    struct odds odds[N_MARGIN], any; /* by class; over all */
    double tok, cost;                /* of its tries lately */
    int rest, next_rest;             /* tokens to rest; how many the next time */
};

/* ---- the speculator ---- */

struct speculator *speculator_new(struct session *s, struct session *draft, int n_max,
                                  struct err *e) {
    static const float first[N_MARGIN] = {0.3f, 0.4f, 0.55f, 0.75f, 0.9f};
    struct speculator *sp = calloc(1, sizeof *sp);
    if (!sp) {
        err_nomem(e, "speculation");
        return NULL;
    }
    sp->s = s, sp->draft = draft, sp->n_max = n_max;
    sp->text = ngram_new(engine_n_ctx(session_engine(s)), e);
    if (!sp->text) {
        free(sp);
        return NULL;
    }
    for (int i = 0; i < N_MARGIN; i++)
        odds_init(&sp->odds[i], first[i]);
    odds_init(&sp->any, 0.7f);
    sp->tok = 2 * 1.5, sp->cost = 2, sp->next_rest = REST_MIN; /* as after two good tries */
    return sp;
}

void speculator_free(struct speculator *sp) {
    if (!sp) return;
    ngram_free(sp->text);
    free(sp);
}

/* What became of a draft model's guess. */
static void judge_draft(struct speculator *sp, int32_t id) {
    if (sp->n_seen == sp->n_known) return;
    const bool hit = sp->id[sp->n_seen] == id;
    odds_add(&sp->odds[sp->margin[sp->n_seen]], hit);
    odds_add(&sp->any, hit);
    sp->tok += hit && sp->n_seen < sp->n_id;
    sp->n_seen = hit ? sp->n_seen + 1 : sp->n_known;
}

void speculator_accept(struct speculator *sp, int32_t id) {
    ngram_push(sp->text, id);
    if (!sp->draft) return;
    judge_draft(sp, id);
    sp->last = id;
    if (sp->rest > 0) sp->rest--;
}

/* ---- guesses from the text ---- */

/* Of n guesses of likelihood p[] beside n_other rows, how many are best tried?  *rate: tokens of
 * all for the time of a plain step, in those that it gives. */
static int best_width(const struct step_cost *c, const float *p, int n, int n_other, double *rate) {
    const int w = n_other + 1; /* tokens and rows of a plain step */
    const double plain = step_cost(c, w);
    double tok = w, all_right = 1;
    int best = 0;
    *rate = 1 + (worth_trying - 1) / w;
    for (int k = 1; k <= n; k++) {
        all_right *= (double)p[k - 1];
        tok += all_right;
        const double r = tok / w * plain / step_cost(c, w + k);
        if (r > *rate) *rate = r, best = k;
    }
    return best;
}

/* ---- guesses of the draft model ---- */

/* The most likely token, and how far it stands out: 0 to N_MARGIN - 1. */
static int32_t most_likely(const float *logits, int n, int *margin) {
    static const float step[N_MARGIN - 1] = {0.5f, 1.0f, 2.0f, 4.0f};
    float max = logits[0], second = -1e30f;
    int32_t best = 0;
    for (int i = 1; (i = scan_above(logits, n, i, second)) < n; i++) {
        if (logits[i] > max)
            second = max, max = logits[i], best = i;
        else
            second = logits[i];
    }
    *margin = 0;
    while (*margin < N_MARGIN - 1 && max - second >= step[*margin])
        ++*margin;
    return best;
}

static int feed_draft(struct speculator *sp, const int32_t *tok, int n, const float **logits,
                      const volatile int *stop) {
    const int64_t t0 = os_now_ns();
    if (session_feed(sp->draft, tok, n, logits, stop, NULL) != 0) return -1;
    if (n <= SPECULATE_MAX)
        step_cost_add(engine_step_cost(session_engine(sp->draft)), n, os_now_ns() - t0);
    return 0;
}

/* Bring the draft's cache up to the text with the last token.  -1: it cannot follow. */
static int catch_up(struct speculator *sp, const float **logits, const volatile int *stop) {
    const int32_t *tok = session_tokens(sp->s);
    const int n = session_n_tok(sp->s);
    int32_t end[N_CATCH_UP];
    int same = session_reuse(sp->draft, tok, n);
    if (n - same >= N_CATCH_UP) { /* the prompt, or after a rest */
        if (session_feed(sp->draft, tok + same, n - same, NULL, stop, NULL) != 0) return -1;
        same = n;
    }
    memcpy(end, tok + same, (size_t)(n - same) * sizeof *end);
    end[n - same] = sp->last;
    return feed_draft(sp, end, n - same + 1, logits, stop);
}

/* A forward of the draft model, in forwards of the model. */
static double draft_cost(const struct speculator *sp) {
    const struct step_cost *own = engine_step_cost(session_engine(sp->s)),
                           *its = engine_step_cost(session_engine(sp->draft));
    return own->one_ns > 0 && its->one_ns > 0 ? its->one_ns / own->one_ns : 0;
}

/* Guess on while another token is worth its forward.  `logits` are those of the first.  Returns how
 * many forwards it took, catch_up()'s included; sp->n_id are to be tried. */
static int guess_on(struct speculator *sp, int n_room, const float *logits,
                    const volatile int *stop) {
    const struct step_cost *c = engine_step_cost(session_engine(sp->s));
    const int n_vocab = engine_n_vocab(session_engine(sp->s)),
              n_own = engine_n_vocab(session_engine(sp->draft));
    const double each = draft_cost(sp), any = (double)odds_p(&sp->any);
    double tok = 1, all_right = 1;
    for (int n = 0;; n++) { /* n + 1 forwards are done, n guesses taken */
        const int32_t id = most_likely(logits, n_own, &sp->margin[n]);
        if (id >= n_vocab) return n + 1; /* padding: no token of ours */
        sp->id[n] = id, sp->n_known = n + 1;
        const double paid = (n + 1) * each, without = tok / (step_cost(c, n + 1) + paid);
        all_right *= (double)odds_p(&sp->odds[sp->margin[n]]);
        tok += all_right;
        const double with = tok / (step_cost(c, n + 2) + paid);
        if (with <= without) return n + 1;
        sp->n_id = n + 1;
        if (n + 1 == n_room) return n + 1;
        /* How certain the next one will be is not known before its forward. */
        const double next = (tok + all_right * any) / (step_cost(c, n + 3) + paid + each);
        if (next <= with || feed_draft(sp, &id, 1, &logits, stop) != 0) return n + 1;
    }
}

static int guess_by_draft(struct speculator *sp, int n_room, const volatile int *stop) {
    const float *logits;
    const int fit = engine_n_ctx(session_engine(sp->draft)) - session_n_tok(sp->s) - 1;
    if (n_room > fit) n_room = fit;
    if (n_room < 1 || catch_up(sp, &logits, stop) != 0) return 0;
    const int n_forward = guess_on(sp, n_room, logits, stop);
    const double keep = 0.9;
    const struct step_cost *c = engine_step_cost(session_engine(sp->s));
    sp->tok = sp->tok * keep + 1;
    sp->cost = sp->cost * keep + step_cost(c, sp->n_id + 1) + n_forward * draft_cost(sp);
    return sp->n_id;
}

/* Each rest is four times the last; then it sleeps to the end of the answer, for to try again it
 * must first read all that it has missed. */
static void begin_rest(struct speculator *sp) {
    sp->rest = sp->next_rest;
    sp->next_rest = sp->next_rest < REST_MAX ? 4 * sp->next_rest : INT_MAX;
    sp->tok = 2 * (worth_trying + 0.1), sp->cost = 2; /* a few tries will tell */
}

/* Does the draft model promise more than `rate`? */
static bool draft_pays(struct speculator *sp, double rate) {
    if (!sp->draft || sp->rest > 0) return false;
    if (sp->tok / sp->cost < worth_trying) {
        begin_rest(sp);
        return false;
    }
    if (sp->tok / sp->cost > 1.5) sp->next_rest = REST_MIN;
    return sp->tok / sp->cost > rate;
}

int speculator_guess(struct speculator *sp, int n_room, int n_other, int32_t *id,
                     const volatile int *stop) {
    const struct step_cost *c = engine_step_cost(session_engine(sp->s));
    float p[SPECULATE_MAX];
    double rate;
    sp->n_id = sp->n_known = sp->n_seen = 0;
    if (n_room > sp->n_max) n_room = sp->n_max;
    if (n_room < 1 || c->one_ns <= 0) return 0; /* an engine's first step is a plain one */
    const int n = best_width(c, p, ngram_guess(sp->text, n_room, id, p), n_other, &rate);
    if (n_other > 0 || !draft_pays(sp, rate) || guess_by_draft(sp, n_room, stop) == 0) return n;
    memcpy(id, sp->id, (size_t)sp->n_id * sizeof *id);
    return sp->n_id;
}

/* ---- may they go together? ---- */

static bool same_text(const struct vocab *a, const struct vocab *b, int32_t id) {
    const struct str x = vocab_text(a, id), y = vocab_text(b, id);
    return x.n == y.n && memcmp(x.p, y.p, x.n) == 0;
}

static int differ(const struct engine *g, const struct engine *draft, const char *what,
                  struct err *e) {
    return err_set(e, ERR_UNSUPPORTED,
                   "draft: %s and %s differ in %s; the vocabularies must be the same",
                   gguf_path(engine_gguf(draft)), gguf_path(engine_gguf(g)), what);
}

int speculate_check_draft(const struct engine *g, const struct engine *draft, struct err *e) {
    const struct vocab *a = engine_vocab(g), *b = engine_vocab(draft);
    const int n_a = vocab_size(a), n_b = vocab_size(b), n = n_a < n_b ? n_a : n_b;
    char what[80];
    if (!engine_model(draft) || model_is_embedding(engine_model(draft)))
        return err_set(e, ERR_UNSUPPORTED, "draft: %s is no language model",
                       gguf_path(engine_gguf(draft)));
    if (strcmp(vocab_model(a), vocab_model(b)) != 0) return differ(g, draft, "tokenizer", e);
    for (int32_t id = 0; id < n; id++) {
        if (same_text(a, b, id)) continue;
        if (vocab_attr(a, id) == TOKEN_UNUSED && vocab_attr(b, id) == TOKEN_UNUSED) continue;
        snprintf(what, sizeof what, "token %d", (int)id);
        return differ(g, draft, what, e);
    }
    /* Sizes of one family differ by padding. */
    for (int32_t id = n; id < n_a || id < n_b; id++)
        if (vocab_attr(id < n_a ? a : b, id) != TOKEN_UNUSED) {
            snprintf(what, sizeof what, "size (%d and %d tokens)", n_b, n_a);
            return differ(g, draft, what, e);
        }
    return 0;
}
