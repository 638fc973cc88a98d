/* From a request to tokens.  A conversation that does not fit loses its oldest messages; a text
 * that does not fit, or a last message that alone is too long, its middle. */
#include <stdlib.h>
#include <string.h>

#include "engine/local.h"
#include "base/work.h"
#include "engine/prompt.h"

static struct str text_of(const json_t *v) {
    return json_is_string(v) ? (struct str){json_string_value(v), json_string_length(v)} : STR("");
}

const struct chat_template *local_template(const struct local *g, const struct task *t,
                                           struct err *e) {
    return t->own_template ? t->own_template : engine_template(g->engine, e);
}

/* ---- conversations ---- */

struct talk {
    const struct local *g;
    struct task *t;
    struct chat_input in;
    json_t *made;    /* owned, or NULL */
    json_t *list;    /* borrowed: the messages, or NULL */
    size_t n_system; /* system messages at the start */
};

static bool is_system(const json_t *m) {
    const char *role = json_string_value(json_object_get(m, "role"));
    return role && strcmp(role, "system") == 0;
}

static int talk_init(struct talk *c, const struct local *g, struct task *t, struct err *e) {
    *c = (struct talk){.g = g, .t = t};
    if (prompt_input(g->engine, &t->q, &c->in, &c->made, e) != 0) return -1;
    c->in.open_thinking = local_is_ruled(&t->q) && t->q.think != GEN_THINK_OFF;
    c->list = (json_t *)(uintptr_t)c->in.messages;
    while (c->n_system < json_array_size(c->list) &&
           is_system(json_array_get(c->list, c->n_system)))
        c->n_system++;
    return 0;
}

/* The conversation without the `drop` messages behind the system's, behind t's own tokens. */
static int talk_render(struct talk *c, size_t drop, struct ids *out, struct err *e) {
    struct task *t = c->t;
    struct chat_prompt p = {0};
    json_t *list = NULL;
    if (drop > 0) {
        list = json_array();
        for (size_t i = 0; i < json_array_size(c->list); i++)
            if (i < c->n_system || i >= c->n_system + drop)
                json_array_append(list, json_array_get(c->list, i));
    }
    struct chat_input in = c->in;
    if (list) in.messages = list;
    out->n = 0;
    const int rc = prompt_render(c->g->engine, local_template(c->g, t, e), &in, &p, out, e);
    t->in_thinking = p.in_thinking;
    chat_prompt_fini(&p);
    json_decref(list);
    return rc;
}

static size_t most_drop(const struct talk *c) {
    const size_t n = json_array_size(c->list);
    return n > c->n_system + 1 ? n - c->n_system - 1 : 0;
}

enum { CUT_TRIES = 8 }; /* a template that wants turns in order takes the second */

/* Drop as few messages as must be: the last stays. */
static int talk_cut(struct talk *c, size_t n_fit, struct ids *out, struct err *e) {
    const size_t most = most_drop(c);
    size_t lo = 0, hi = most;
    while (hi > lo + 1 && !work_stopped()) { /* lo: does not fit; hi: fits, or is all that can go */
        const size_t mid = lo + (hi - lo) / 2;
        if (talk_render(c, mid, out, NULL) == 0 && out->n <= n_fit)
            hi = mid;
        else
            lo = mid;
    }
    /* A template may refuse a conversation that begins with an answer. */
    for (size_t drop = hi; drop < most && drop < hi + CUT_TRIES && !work_stopped(); drop++)
        if (talk_render(c, drop, out, NULL) == 0 && out->n <= n_fit) return 0;
    return talk_render(c, most, out, e);
}

/* ---- the rules of length ---- */

/* The key that a prompt or an input comes from. */
static const char *key_of(const struct gen_request *q) {
    switch (q->op) {
    case GEN_OP_TEXT: return q->prompt.p ? "prompt" : "tokens";
    case GEN_OP_EMBED: return "input";
    case GEN_OP_RERANK: return "documents";
    default: return "messages";
    }
}

/* A request may keep to less than the model has. */
static int n_ctx_of(const struct local *g, const struct gen_request *q) {
    const int all = engine_n_ctx(g->engine), own = q->options.num_ctx;
    return own > 0 && own < all ? own : all;
}

static int too_long(const struct gen_request *q, int n_ctx, size_t n, struct err *e) {
    err_set(e, ERR_LIMIT,
            "prompt: %zu tokens; the context holds %d (option num_ctx); shorten it, or let "
            "it be cut (truncate, shift)",
            n, n_ctx);
    return err_field(e, "%s", key_of(q));
}

/* The first num_keep tokens and as many of the end as half the rest of the context holds. */
static void keep_ends(const struct local *g, const struct gen_request *q, struct ids *p) {
    const int n_ctx = n_ctx_of(g, q);
    const struct vocab_special *sp = vocab_special(engine_vocab(g->engine));
    int keep = q->options.num_keep < 0 ? n_ctx / 2 : q->options.num_keep;
    keep += sp->bos >= 0 && p->v[0] == sp->bos;
    if (keep > n_ctx / 2) keep = n_ctx / 2;
    int rest = (n_ctx - keep) / 2;
    if (rest < 1) rest = 1;
    memmove(p->v + keep, p->v + p->n - (size_t)rest, (size_t)rest * sizeof *p->v);
    p->n = (size_t)(keep + rest);
}

static int fit(const struct local *g, struct task *t, size_t n_whole, struct err *e) {
    const struct gen_request *q = &t->q;
    struct ids *p = &t->prompt;
    if (p->n == 0) return err_set(e, ERR_USAGE, "prompt: empty; at least one token");
    if (p->n > (size_t)n_ctx_of(g, q)) {
        if (q->no_truncate || !q->options.shift) return too_long(q, n_ctx_of(g, q), p->n, e);
        keep_ends(g, q, p);
    }
    t->all.n_truncated = (int)(n_whole - p->n);
    return 0;
}

/* Through the template. */
static int chat_prompt(struct local *g, struct task *t, struct err *e) {
    const size_t n_ctx = (size_t)n_ctx_of(g, &t->q);
    struct ids own = t->prompt; /* Ollama's context */
    struct talk c;
    t->prompt = (struct ids){0};
    int rc = talk_init(&c, g, t, e);
    if (rc == 0) rc = talk_render(&c, 0, &t->prompt, e);
    size_t n_whole = t->prompt.n + own.n;
    if (rc == 0 && n_whole > n_ctx && own.n == 0 && most_drop(&c) > 0 && !t->q.no_truncate)
        rc = talk_cut(&c, n_ctx, &t->prompt, e);
    json_decref(c.made);
    const int32_t bos = vocab_special(engine_vocab(g->engine))->bos;
    for (size_t i = 0; own.n > 0 && i < t->prompt.n; i++)
        if (i > 0 || t->prompt.v[i] != bos) ids_push(&own, t->prompt.v[i]);
    if (own.n > 0) {
        ids_fini(&t->prompt);
        t->prompt = own;
    } else {
        ids_fini(&own);
    }
    return rc == 0 ? fit(g, t, n_whole, e) : -1;
}

/* A text: raw, or what the template makes of it as the user's message. */
static int text_prompt(struct local *g, struct task *t, struct err *e) {
    const struct gen_request *q = &t->q;
    for (int i = 0; i < q->n_token; i++)
        ids_push(&t->prompt, q->token[i]);
    if (t->prompt.failed) return err_nomem(e, "prompt");
    if (!q->prompt.p && !q->suffix.p) return fit(g, t, t->prompt.n, e);
    if (!q->raw) return chat_prompt(g, t, e);
    if (q->suffix.n > 0 || q->system.n > 0)
        return err_set(e, ERR_UNSUPPORTED, "key \"%s\": a raw prompt has none",
                       q->suffix.n > 0 ? "suffix" : "system");
    if (prompt_encode(engine_vocab(g->engine), q->prompt, &t->prompt, e) != 0) return -1;
    return fit(g, t, t->prompt.n, e);
}

static int own_template(struct task *t, struct err *e) {
    if (!t->q.template.p) return 0;
    t->own_template = chat_template_new(t->q.template, e);
    if (t->own_template) return 0;
    err_prefix(e, "key \"template\"");
    return err_field(e, "template");
}

int local_prompt(struct local *g, struct task *t, struct err *e) {
    if (own_template(t, e) != 0) return -1;
    if ((t->q.op == GEN_OP_TEXT ? text_prompt : chat_prompt)(g, t, e) != 0) {
        if (e && e->code != ERR_NOMEM && !*e->field) err_field(e, "%s", key_of(&t->q));
        return -1;
    }
    return t->prompt.failed ? err_nomem(e, "prompt") : 0;
}

/* ---- texts to embed ---- */

static int read_input(struct local *g, struct task *t, int i, const json_t *v, struct err *e) {
    struct ids *ids = &t->input[i];
    for (size_t k = 0; k < json_array_size(v); k++)
        ids_push(ids, (int32_t)json_integer_value(json_array_get(v, k)));
    if (json_is_string(v) && prompt_encode(engine_vocab(g->engine), text_of(v), ids, e) != 0)
        return -1;
    if (ids->failed) return err_nomem(e, "input");
    if (!t->q.no_truncate)
        t->truncated[i] = embed_truncate(g->engine, n_ctx_of(g, &t->q), ids);
    else if (ids->n > (size_t)n_ctx_of(g, &t->q))
        return too_long(&t->q, n_ctx_of(g, &t->q), ids->n, e);
    t->text[i] = (struct sched_text){ids->v, (int)ids->n};
    return 0;
}

int local_inputs(struct local *g, struct task *t, struct err *e) {
    const bool rank = t->q.op == GEN_OP_RERANK;
    const json_t *list = rank ? t->q.documents : t->q.input;
    const size_t n = json_array_size(list) + rank;
    t->n_input = (int)n;
    t->input = calloc(n + 1, sizeof *t->input);
    t->text = calloc(n + 1, sizeof *t->text);
    t->truncated = calloc(n + 1, sizeof *t->truncated);
    if (!t->input || !t->text || !t->truncated) return err_nomem(e, "input");
    if (rank && read_input(g, t, 0, json_object_get(t->q.json, "query"), e) != 0) return -1;
    for (size_t i = rank; i < n; i++)
        if (read_input(g, t, (int)i, json_array_get(list, i - rank), e) != 0) return -1;
    return 0;
}
