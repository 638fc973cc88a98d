/* An answer's texts on their way to the client.
 *
 *   ask_chain -> ask_pii_answer: filtered as they come -> cache -> ask_pii: placeholders given back
 *
 * The text of an answer is held back as long as it may become an entity (pii_stream.h), or a
 * placeholder; what is left goes out before anything else is told of that choice.  Its tokens are
 * not handed on: they would tell what was taken out. */
#include <stdlib.h>
#include <string.h>

#include "policy/pii_stream.h"
#include "server/ask_pii.h"
#include "server/pii.h"
#include "server/server.h"

enum channel { THINKING, TEXT, N_CHANNEL };

/* The texts of one choice. */
struct flow {
    struct pii_stream *stream[N_CHANNEL]; /* owned; NULL: none yet */
    struct pii_restore restore[N_CHANNEL];
    enum channel last; /* what came last */
    bool begun;
};

struct watched {
    struct request *r; /* until GEN_END is told */
    struct ask a;      /* as it came; gen: not ours any more */
    bool filters;
    struct pii_policy policy; /* if so; else all is off */
    struct pii_vault *vault;  /* owned; NULL: nothing is given back */
    bool changes;             /* the answer's text may change */
    struct flow *flow;        /* [n_flow] owned, by choice */
    int n_flow;
    struct pii_counts found; /* in calls */
    struct buf raw, out;     /* of an event: before and after what is given back */
    bool failed;             /* memory ran out: the answer cannot go on */
};

static void watched_free(struct watched *x) {
    for (int i = 0; i < x->n_flow; i++)
        for (int c = 0; c < N_CHANNEL; c++)
            pii_stream_free(x->flow[i].stream[c]);
    free(x->flow);
    pii_vault_free(x->vault);
    buf_fini(&x->raw);
    buf_fini(&x->out);
    free(x);
}

/* ---- what may be kept of an event ---- */

static _Thread_local struct {
    const struct gen_event *ev; /* NULL: none is being told that has something put back */
    struct str text;
    const json_t *call;
} kept;

bool ask_kept(const struct gen_event *ev, struct str *text, const json_t **call) {
    const bool apart = kept.ev == ev;
    *text = apart ? kept.text : ev->text;
    *call = apart ? kept.call : ev->data;
    return apart;
}

static void hand_on(struct watched *x, const struct gen_event *ev, const json_t *call) {
    const struct gen_event *outer = kept.ev;
    const struct str outer_text = kept.text;
    const json_t *outer_call = kept.call;
    if (x->vault) kept.ev = ev, kept.text = buf_view(&x->raw), kept.call = call;
    x->a.fn(x->a.ctx, ev);
    kept.ev = outer, kept.text = outer_text, kept.call = outer_call;
}

/* ---- texts ---- */

/* Text of a channel, or its end, into x->out. */
static void filter(struct watched *x, struct flow *f, enum channel c, struct str text, bool end) {
    struct err e;
    int rc = 0;
    buf_reset(&x->raw);
    buf_reset(&x->out);
    if (x->filters) {
        if (!f->stream[c]) f->stream[c] = pii_stream_new(&x->policy, NULL, &e);
        if (!f->stream[c]) rc = -1;
        if (rc == 0) rc = pii_stream_feed(f->stream[c], text, &x->raw, &e);
        if (rc == 0 && end) rc = pii_stream_end(f->stream[c], &x->raw, &e);
    } else {
        buf_append(&x->raw, text.p, text.n);
    }
    if (x->vault) {
        pii_restore_feed(&f->restore[c], x->vault, buf_view(&x->raw), &x->out);
        if (end) pii_restore_end(&f->restore[c], x->vault, &x->out);
    }
    x->failed |= rc != 0 || x->raw.failed || x->out.failed;
}

static void tell_text(struct watched *x, int choice, enum channel c, const struct gen_event *from) {
    struct gen_event ev = {.kind = c == TEXT ? GEN_TEXT : GEN_THINKING, .choice = choice};
    if (from) ev.n_token = from->n_token; /* how many: of use; which: they tell the text */
    if (from) ev.stats = from->stats;
    ev.text = buf_view(x->vault ? &x->out : &x->raw);
    if (ev.text.n || x->raw.n || from) hand_on(x, &ev, NULL);
}

/* What is held back of a channel goes out. */
static void flush(struct watched *x, int choice, enum channel c) {
    struct flow *f = choice < x->n_flow ? &x->flow[choice] : NULL;
    if (!f || (!f->stream[c] && !f->restore[c].n)) return;
    filter(x, f, c, (struct str){"", 0}, true);
    if (x->changes) tell_text(x, choice, c, NULL);
}

static void flush_all(struct watched *x, int choice) {
    flush(x, choice, THINKING);
    flush(x, choice, TEXT);
}

static struct flow *flow_of(struct watched *x, int choice) {
    if (choice < x->n_flow) return &x->flow[choice];
    struct flow *f = realloc(x->flow, (size_t)(choice + 1) * sizeof *f);
    if (!f) return NULL;
    memset(f + x->n_flow, 0, (size_t)(choice + 1 - x->n_flow) * sizeof *f);
    x->flow = f;
    x->n_flow = choice + 1;
    return &f[choice];
}

static void on_text(struct watched *x, const struct gen_event *ev) {
    const enum channel c = ev->kind == GEN_TEXT ? TEXT : THINKING;
    struct flow *f = flow_of(x, ev->choice);
    if (!f) {
        x->failed = true;
        return;
    }
    if (f->begun && f->last != c) flush(x, ev->choice, f->last);
    f->begun = true;
    f->last = c;
    filter(x, f, c, ev->text, false);
    if (x->changes)
        tell_text(x, ev->choice, c, ev);
    else
        x->a.fn(x->a.ctx, ev);
}

/* ---- the other events ---- */

static json_t *filter_call(struct watched *x, const json_t *call, bool restore) {
    struct pii_json p = {.policy = &x->policy, .vault = x->vault, .restore = restore};
    struct err e;
    json_t *made = pii_json(&p, call, &e);
    pii_counts_add(&x->found, &p.found);
    x->failed |= !made;
    return made;
}

static void on_call(struct watched *x, const struct gen_event *ev) {
    struct gen_event copy = *ev;
    json_t *data = filter_call(x, ev->data, x->vault != NULL);
    copy.data = data;
    buf_reset(&x->raw);
    if (data) hand_on(x, &copy, ev->data);
    json_decref(data);
}

static void count(struct watched *x) {
    for (int i = 0; i < x->n_flow; i++)
        for (int c = 0; c < N_CHANNEL; c++)
            if (x->flow[i].stream[c])
                pii_counts_add(&x->found, pii_stream_counts(x->flow[i].stream[c]));
    pii_guard_count(server_pii(request_server(x->r)), PII_ANSWERED, &x->found);
    request_audit_pii(x->r, PII_ANSWERED, &x->found);
}

/* The last call: x is gone. */
static void on_end(struct watched *x, const struct gen_event *ev) {
    struct gen_event last = *ev;
    gen_event_fn *fn = x->a.fn;
    void *ctx = x->a.ctx;
    for (int i = 0; i < x->n_flow; i++)
        flush_all(x, i);
    if (x->failed && last.err.code == ERR_NONE) err_nomem(&last.err, "filter of the answer");
    if (x->filters) count(x);
    watched_free(x);
    fn(ctx, &last);
}

static void on_event(void *ctx, const struct gen_event *ev) {
    struct watched *x = ctx;
    struct gen_event copy = *ev;
    if (ev->kind == GEN_END) {
        on_end(x, ev);
        return;
    }
    if (x->failed) return; /* GEN_END says it */
    switch (ev->kind) {
    case GEN_TEXT:
    case GEN_THINKING: on_text(x, ev); return;
    case GEN_CALL:
        flush_all(x, ev->choice);
        on_call(x, ev);
        return;
    case GEN_FINISH: flush_all(x, ev->choice); break;
    case GEN_PROMPT:
        if (x->changes) copy.token = NULL, copy.n_token = 0;
        break;
    default: break;
    }
    x->a.fn(x->a.ctx, &copy);
}

static int on_ready(void *ctx, const struct ask_model *m, json_t *gen, struct err *e) {
    const struct watched *x = ctx;
    return x->a.ready(x->a.ctx, m, gen, e);
}

/* ---- steps ---- */

int ask_pii_watch(struct request *r, const struct ask *a, const struct pii_policy *filters,
                  struct pii_vault *vault, ask_step_fn *next, struct err *e) {
    struct watched *x = calloc(1, sizeof *x);
    if (!x) {
        pii_vault_free(vault);
        json_decref(a->gen);
        return err_nomem(e, "request");
    }
    x->r = r;
    x->a = *a;
    x->filters = filters != NULL;
    if (filters) x->policy = *filters;
    x->vault = vault;
    x->changes = vault || pii_policy_has(&x->policy, PII_REPLACE);
    struct ask mine = *a;
    mine.fn = on_event;
    mine.ready = a->ready ? on_ready : NULL;
    mine.ctx = x;
    if (next(r, &mine, e) == 0) return 0;
    watched_free(x);
    return -1;
}

int ask_pii_answer(struct request *r, const struct ask *a, struct err *e) {
    return pii_policy_has(&a->pii, PII_REPORT) ? ask_pii_watch(r, a, &a->pii, NULL, ask_chain, e)
                                               : ask_chain(r, a, e);
}
