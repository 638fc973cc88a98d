/* The first step of the row: may this key use that model, and are there tokens left for it?  At the
 * last event of its last ask what was used is counted, before the client can hear of it and ask
 * again.
 *
 * A step behind it that goes to another model looks again (ask_one does): a chain gives nobody a
 * model that the key may not use. */
#include <stdlib.h>

#include "server/allow.h"
#include "server/ask_steps.h"
#include "server/request_priv.h"

struct counted {
    struct request *r; /* counted reference */
    struct ask a;      /* as it came: ready, fn and ctx are used */
};

static void on_event(void *ctx, const struct gen_event *ev) {
    struct counted *c = ctx;
    const bool failed = ev->err.code != ERR_NONE && ev->err.code != ERR_CANCELLED;
    if (ev->kind == GEN_PROMPT) allow_prompt(c->r, ev->stats.n_prompt);
    if (ev->kind != GEN_END) {
        c->a.fn(c->a.ctx, ev);
        return;
    }
    if (failed || !c->a.goes_on) allow_settle(c->r, failed ? 500 : 200); /* an error is an error */
    c->a.fn(c->a.ctx, ev);
    request_unref(c->r);
    free(c);
}

static int on_ready(void *ctx, const struct ask_model *m, json_t *gen, struct err *e) {
    const struct counted *c = ctx;
    return c->a.ready(c->a.ctx, m, gen, e);
}

static int check(struct request *r, const struct ask *a, struct err *e) {
    struct name n;
    if (name_parse(a->model, &n, e) != 0) return err_field(e, "model");
    if (allow_model(r, &n, e) != 0) return -1;
    if (a->load_only || !ask_takes_slot(a->gen)) return 0;
    return allow_tokens(r, a->gen, e);
}

static int pass(struct request *r, const struct ask *a, struct err *e) {
    struct counted *c = malloc(sizeof *c);
    if (!c) {
        json_decref(a->gen);
        return err_nomem(e, "request");
    }
    *c = (struct counted){.r = r, .a = *a};
    struct ask next = *a;
    next.fn = on_event;
    next.ready = a->ready ? on_ready : NULL;
    next.ctx = c;
    request_ref(r);
    if (ask_pii(r, &next, e) == 0) return 0;
    request_unref(r);
    free(c);
    return -1;
}

int ask_key(struct request *r, const struct ask *a, struct err *e) {
    if (!*request_key(r)) return ask_pii(r, a, e);
    if (check(r, a, e) == 0) return pass(r, a, e);
    json_decref(a->gen);
    return -1;
}
