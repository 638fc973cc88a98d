/* The step that makes receipts (receipt.h) for requests with "receipt": true: it settles the seed
 * when the model is there, watches the events, and leaves the receipt with the request, where the
 * dialects find it when they write the answer's end. */
#include <stdlib.h>

#include "server/ask_steps.h"
#include "server/receipt.h"
#include "server/request_priv.h"

struct watching {
    struct request *r; /* counted */
    struct ask a;
    struct receipt *receipt; /* made when the model is there */
};

static void watching_free(struct watching *w) {
    receipt_free(w->receipt);
    request_unref(w->r);
    free(w);
}

static int on_ready(void *ctx, const struct ask_model *m, json_t *gen, struct err *e) {
    struct watching *w = ctx;
    if (w->a.ready && w->a.ready(w->a.ctx, m, gen, e) != 0) return -1;
    if (receipt_settle(gen, e) != 0) return -1;
    w->receipt = receipt_new(m->name, m->digest, gen, e);
    return w->receipt ? 0 : -1;
}

/* Some dialects end their answer with the last choice, before GEN_END. */
static void on_event(void *ctx, const struct gen_event *ev) {
    struct watching *w = ctx;
    if (w->receipt && receipt_add(w->receipt, ev))
        request_set_receipt(w->r, receipt_json(w->receipt));
    w->a.fn(w->a.ctx, ev);
    if (ev->kind == GEN_END) watching_free(w);
}

int ask_receipt(struct request *r, const struct ask *a, struct err *e) {
    if (!json_is_true(json_object_get(request_object(r), "receipt"))) return ask_one(r, a, e);
    struct watching *w = calloc(1, sizeof *w);
    if (!w) {
        json_decref(a->gen);
        return err_nomem(e, "receipt");
    }
    request_ref(r);
    *w = (struct watching){.r = r, .a = *a};
    struct ask mine = *a;
    mine.ready = on_ready, mine.fn = on_event, mine.ctx = w;
    if (ask_one(r, &mine, e) == 0) return 0;
    watching_free(w);
    return -1;
}
