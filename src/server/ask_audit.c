/* The step that stands before all others: what the client is told, after filters and from whichever
 * model or cache, goes to the audit log as a digest.  And what a model's own policy says of that
 * log is looked at here, before anything is done. */
#include <stdlib.h>

#include "server/ask_steps.h"
#include "server/audit.h"
#include "server/front_priv.h"
#include "server/rules.h"

struct heard {
    struct request *r;
    struct ask next; /* its ready, fn and ctx are used */
};

static int on_ready(void *ctx, const struct ask_model *m, json_t *gen, struct err *e) {
    const struct heard *h = ctx;
    return h->next.ready(h->next.ctx, m, gen, e);
}

static void on_event(void *ctx, const struct gen_event *ev) {
    struct heard *h = ctx;
    gen_event_fn *fn = h->next.fn;
    void *next = h->next.ctx;
    audit_answer(h->r, ev);
    if (ev->kind == GEN_END) free(h);
    fn(next, ev);
}

/* A model whose policy is audit=required is not asked without a log, whatever the settings say. One
 * that says "off" is told all the same: a Modelfile from a stranger must not silence the log. */
int ask_audit_policy(struct request *r, const char *model, struct err *e) {
    struct model_policy p;
    struct name n;
    if (name_parse(model, &n, NULL) != 0) return 0; /* which ask_one tells */
    if (rules_of(r->server, &n, &p, e) != 0) return -1;
    return p.audit == POLICY_AUDIT_REQUIRED ? request_audit_require(r, e) : 0;
}

int ask_audit(struct request *r, const struct ask *a, struct err *e) {
    struct ask b = *a;
    if (ask_audit_policy(r, a->model, e) != 0) {
        json_decref(a->gen);
        return -1;
    }
    if (!r->audit.on) return ask_key(r, a, e);
    struct heard *h = malloc(sizeof *h);
    if (!h) {
        json_decref(a->gen);
        return err_nomem(e, "request");
    }
    snprintf(r->audit.asked, sizeof r->audit.asked, "%s", a->model);
    *h = (struct heard){.r = r, .next = *a};
    b.fn = on_event, b.ctx = h;
    if (a->ready) b.ready = on_ready;
    if (ask_key(r, &b, e) == 0) return 0;
    free(h);
    return -1;
}
