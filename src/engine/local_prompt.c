/* From a request to tokens.  A conversation that does not fit loses its oldest messages; a text
 * that does not fit, or a last message that alone is too long, its middle. */
#include <stdlib.h>
#include <string.h>

#include "engine/local.h"
#include "engine/prompt.h"

static struct str text_of(const json_t *v) {
    return json_is_string(v) ? (struct str){json_string_value(v), json_string_length(v)} : STR("");
}

/* ---- conversations ---- */

struct talk {
    const struct engine *engine;
    struct chat_message *m; /* [n], owned */
    int n, n_system;        /* system messages at the start */
};

static int talk_init(struct talk *c, const struct local *g, const struct gen_request *q,
                     struct err *e) {
    *c = (struct talk){.engine = g->engine, .n = (int)json_array_size(q->messages)};
    c->m = calloc((size_t)c->n + 1, sizeof *c->m);
    if (!c->m) return err_nomem(e, "messages");
    for (int i = 0; i < c->n; i++) {
        const json_t *j = json_array_get(q->messages, (size_t)i);
        c->m[i].role = text_of(json_object_get(j, "role"));
        c->m[i].content = text_of(json_object_get(j, "content"));
        if (c->n_system == i && str_is(c->m[i].role, "system")) c->n_system++;
    }
    return 0;
}

/* The conversation without the `drop` messages behind the system's. */
static int talk_render(const struct talk *c, int drop, struct ids *out, struct err *e) {
    const int n = c->n - drop;
    struct chat_message *m = calloc((size_t)n + 1, sizeof *m);
    if (!m) return err_nomem(e, "messages");
    memcpy(m, c->m, (size_t)c->n_system * sizeof *m);
    memcpy(m + c->n_system, c->m + c->n_system + drop, (size_t)(n - c->n_system) * sizeof *m);
    out->n = 0;
    const int rc = prompt_chat(c->engine, m, n, out, e);
    free(m);
    return rc;
}

/* Drop as few messages as must be: between `lo`, which are too few, and all but the last. */
static int talk_cut(const struct talk *c, int n_fit, struct ids *out, struct err *e) {
    const int most = c->n - c->n_system - 1;
    int lo = 0, hi = most;
    while (hi - lo > 1) { /* lo: does not fit, hi: not tried or fits */
        const int mid = lo + (hi - lo) / 2;
        if (talk_render(c, mid, out, NULL) == 0 && (int)out->n <= n_fit)
            hi = mid;
        else
            lo = mid;
    }
    /* A template may refuse a conversation that begins with an answer. */
    for (int drop = hi; drop < most; drop++)
        if (talk_render(c, drop, out, NULL) == 0 && (int)out->n <= n_fit) return 0;
    return talk_render(c, most > 0 ? most : 0, out, e);
}

/* ---- the rules of length ---- */

static int too_long(const struct local *g, size_t n, struct err *e) {
    return err_set(e, ERR_LIMIT,
                   "prompt: %zu tokens; the context holds %d (option num_ctx); shorten it, or let "
                   "it be cut (truncate, shift)",
                   n, engine_n_ctx(g->engine));
}

/* The first num_keep tokens and as many of the end as half the rest of the context holds. */
static void keep_ends(const struct local *g, const struct gen_request *q, struct ids *p) {
    const int n_ctx = engine_n_ctx(g->engine);
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
    if (p->n > (size_t)engine_n_ctx(g->engine)) {
        if (q->no_truncate || !q->options.shift) return too_long(g, p->n, e);
        keep_ends(g, q, p);
    }
    t->all.n_truncated = (int)(n_whole - p->n);
    return 0;
}

static int chat_prompt(struct local *g, struct task *t, struct err *e) {
    const int n_ctx = engine_n_ctx(g->engine);
    struct talk c;
    if (talk_init(&c, g, &t->q, e) != 0) return -1;
    int rc = talk_render(&c, 0, &t->prompt, e);
    const size_t n_whole = t->prompt.n;
    if (rc == 0 && n_whole > (size_t)n_ctx && !t->q.no_truncate)
        rc = talk_cut(&c, n_ctx, &t->prompt, e);
    free(c.m);
    return rc == 0 ? fit(g, t, n_whole, e) : -1;
}

/* A text: as it is, or what the template makes of it as the user's message. */
static int text_prompt(struct local *g, struct task *t, struct err *e) {
    const struct gen_request *q = &t->q;
    const struct vocab *v = engine_vocab(g->engine);
    for (int i = 0; i < q->n_token; i++)
        ids_push(&t->prompt, q->token[i]);
    if (t->prompt.failed) return err_nomem(e, "prompt");
    if (!q->prompt.p) return fit(g, t, t->prompt.n, e);
    struct err none;
    if (q->raw || !engine_template(g->engine, &none)) {
        if (prompt_encode(v, q->prompt, &t->prompt, e) != 0) return -1;
    } else {
        const struct chat_message m[2] = {{STR("system"), q->system}, {STR("user"), q->prompt}};
        const int n = q->system.p ? 2 : 1;
        if (prompt_chat(g->engine, m + 2 - n, n, &t->prompt, e) != 0) return -1;
    }
    return fit(g, t, t->prompt.n, e);
}

int local_prompt(struct local *g, struct task *t, struct err *e) {
    if ((t->q.op == GEN_OP_TEXT ? text_prompt : chat_prompt)(g, t, e) != 0) return -1;
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
    if (!t->q.no_truncate) t->truncated[i] = embed_truncate(g->engine, ids);
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
