/* Calls of strict tools that the model begins by itself.  Until it does, tokens are free; from the
 * mark of a call to its end a grammar says what may come.
 *
 *   token -> its bytes -> a parser of its own (`read`) -> a call is under way? -> acceptor (`rule`)
 *
 * The answer's parser cannot serve: texts reach it later than tokens are chosen, where a stop text
 * is held back.  A token may hold the end of a mark and more, or the end of a call and the mark of
 * the next: where that can be, it is tried on a copy of the parser first, and one that would not do
 * is drawn again among those that do. */
#include <stdlib.h>
#include <string.h>

#include "engine/local.h"
#include "sample/constrain.h"

struct strict {
    struct answer *read;   /* owned */
    struct acceptor *rule; /* owned; NULL: no call is under way */
    bool opened;           /* its arguments, or the object around them, have begun */
    struct buf piece, body;
};

static int n_mask(const struct local *g) {
    return (engine_n_vocab(g->engine) + 31) / 32;
}

int local_strict_grammar(struct task *t, const struct answer *a, struct err *e) {
    struct buf text = {0};
    const int rc = answer_strict_grammar(a, t->q.tools, t->q.strict, &text, e);
    if (rc > 0 && !local_is_ruled(&t->q)) t->strict = grammar_parse(buf_view(&text), e);
    const bool failed = rc < 0 || (rc > 0 && !local_is_ruled(&t->q) && !t->strict);
    buf_fini(&text);
    if (failed && !*e->field) err_field(e, "tools");
    return failed ? -1 : 0;
}

struct strict *local_strict_new(struct local *g, struct task *t, struct err *e) {
    struct strict *w = calloc(1, sizeof *w);
    if (w && (w->read = local_parser(g, t, e))) return w;
    if (!w || !e->code) err_nomem(e, "tools");
    free(w);
    return NULL;
}

void local_strict_free(struct strict *w) {
    if (!w) return;
    answer_free(w->read);
    accept_free(w->rule);
    buf_fini(&w->piece);
    buf_fini(&w->body);
    free(w);
}

/* ---- reading ---- */

static int ignore(void *ctx, const struct answer_piece *p) {
    (void)ctx, (void)p;
    return 0;
}

static bool is_shown(const struct task *t, int32_t id) {
    return t->shown && t->shown[id / 32] >> (id % 32) & 1;
}

/* The bytes of a token as the parser gets them, until the next. */
static struct str piece_of(struct choice *c, int32_t id) {
    const struct local *g = local_of(c->t->base.gen);
    struct strict *w = c->strict;
    buf_reset(&w->piece);
    tok_piece(engine_vocab(g->engine), id, is_shown(c->t, id), &w->piece);
    return buf_view(&w->piece);
}

/* An acceptor behind what parser a has read of the call under way: 1 with *rule; 0: the grammar
 * does not take it. */
static int rule_of(struct choice *c, struct acceptor **rule, struct err *e) {
    *rule = accept_new(c->t->strict, e);
    if (!*rule) return -1;
    const int rc = accept_text(*rule, buf_view(&c->strict->body), false, e);
    if (rc == 1) return 1;
    accept_free(*rule);
    *rule = NULL;
    return rc;
}

/* Does parser a stand in a call?  Its body into w->body. */
static int body_of(struct strict *w, const struct answer *a, struct err *e) {
    buf_reset(&w->body);
    const bool in = answer_strict_body(a, &w->body);
    return w->body.failed ? err_nomem(e, "tools") : in;
}

/* The token ends nothing and begins nothing that the grammar would not take: 1, 0, -1. */
static int try_on(struct choice *c, struct answer *a, struct str s, struct err *e) {
    struct strict *w = c->strict;
    struct acceptor *rule = NULL;
    const int before = answer_n_body(a);
    if (answer_push(a, s, ignore, NULL) != 0) return err_nomem(e, "tools");
    const int n = answer_n_body(a) - before, in = body_of(w, a, e);
    if (in < 0) return -1;
    if (n > (w->rule ? 1 : 0)) return 0; /* a whole call at once */
    if (!in || (w->rule && n == 0)) return 1;
    const int rc = rule_of(c, &rule, e);
    accept_free(rule);
    return rc;
}

/* Only these can end what is under way. */
static bool may_end(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (strchr("}]<", s.p[i])) return true;
    return false;
}

static int fits(struct choice *c, int32_t id, struct err *e) {
    const struct str s = piece_of(c, id);
    if (c->strict->piece.failed) return err_nomem(e, "tools");
    if (s.n == 0 || (c->strict->rule && !may_end(s))) return 1;
    struct answer *a = answer_copy(c->strict->read, e);
    const int rc = a ? try_on(c, a, s, e) : -1;
    answer_free(a);
    return rc;
}

/* The token is chosen. */
static int take(struct choice *c, int32_t id, struct err *e) {
    struct strict *w = c->strict;
    const int before = answer_n_body(w->read);
    const struct str s = piece_of(c, id);
    if (answer_push(w->read, s, ignore, NULL) != 0) return err_nomem(e, "tools");
    const int in = body_of(w, w->read, e);
    if (in < 0) return -1;
    if (in && w->rule && answer_n_body(w->read) == before) {
        w->opened = memchr(w->body.p, '{', w->body.n) != NULL;
        return accept_text(w->rule, s, false, e) < 0 ? -1 : 0;
    }
    accept_free(w->rule);
    w->rule = NULL;
    if (!in) return 0;
    w->opened = memchr(w->body.p, '{', w->body.n) != NULL;
    return rule_of(c, &w->rule, e) < 0 ? -1 : 0;
}

/* ---- choosing ---- */

/* Marks inside a call may be control tokens, which grammars do not know: set their bits where the
 * grammar takes their text, or where the call may end.  How many; -1. */
static int add_marks(struct choice *c, uint32_t *mask, struct err *e) {
    const struct local *g = local_of(c->t->base.gen);
    const struct strict *w = c->strict;
    const bool done = accept_done(w->rule);
    int n = 0;
    for (size_t i = 0; (done || !w->opened) && i < g->control.n; i++) {
        const int32_t id = g->control.v[i];
        if (!is_shown(c->t, id)) continue;
        const int rc =
            done ? 1 : accept_text(w->rule, vocab_text(engine_vocab(g->engine), id), true, e);
        if (rc < 0) return -1;
        if (rc > 0 && mask) mask[id / 32] |= 1u << (id % 32);
        n += rc;
    }
    return n;
}

/* All that the grammar allows; without a call, all there is. */
static int fill_mask(struct choice *c, uint32_t *mask, struct err *e) {
    const struct local *g = local_of(c->t->base.gen);
    if (!c->strict->rule) {
        memset(mask, 0xff, (size_t)n_mask(g) * sizeof *mask);
        return 0;
    }
    if (accept_mask(c->strict->rule, g->grammar_vocab, mask, e) < 0) return -1;
    return add_marks(c, mask, e) < 0 ? -1 : 0;
}

static int draw(struct choice *c, struct sampler *s, const float *logits, int32_t *id,
                struct err *e) {
    const struct local *g = local_of(c->t->base.gen);
    if (!c->strict->rule) {
        *id = sampler_choose(s, logits);
        return 1;
    }
    const int n = add_marks(c, NULL, e);
    if (n < 0) return -1;
    if (n == 0)
        return sampler_choose_constrained(s, logits, c->strict->rule, g->grammar_vocab, c->t->mask,
                                          id, e);
    if (fill_mask(c, c->t->mask, e) != 0) return -1;
    *id = sampler_choose_masked(s, logits, c->t->mask);
    return *id >= 0;
}

/* Rare, and slow: every token is tried. */
static int draw_again(struct choice *c, struct sampler *s, const float *logits, int32_t *id,
                      struct err *e) {
    const int n_vocab = engine_n_vocab(local_of(c->t->base.gen)->engine);
    uint32_t *mask = c->t->mask;
    if (fill_mask(c, mask, e) != 0) return -1;
    for (int32_t i = 0; i < n_vocab; i++) {
        if (!(mask[i / 32] >> (i % 32) & 1)) continue;
        const int rc = fits(c, i, e);
        if (rc < 0) return -1;
        if (rc == 0) mask[i / 32] &= ~(1u << (i % 32));
    }
    *id = sampler_choose_masked(s, logits, mask);
    return *id >= 0;
}

int local_strict_choose(struct choice *c, struct sampler *s, const float *logits, int32_t *id,
                        struct err *e) {
    int rc = draw(c, s, logits, id, e);
    if (rc > 0 && (rc = fits(c, *id, e)) == 0) rc = draw_again(c, s, logits, id, e);
    if (rc > 0 && take(c, *id, e) != 0) return -1;
    return rc;
}
