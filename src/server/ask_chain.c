/* The step that asks a model, and when it cannot answer those that stand in for it
 * (policy/chain.h).
 *
 *   ask_chain -> next: whom the breakers let through, in the chain's order, then those they do
 *   not, at last one that crashed once more -> ask_receipt or ask_remote -> on_event ... GEN_END:
 * answered, or `next` again
 *
 * Another model is asked only while nothing of an answer was told.  Until then events are kept: the
 * prompt's, which begins a stream, and all of an answer that its client gets as a whole.  After
 * that an error is told as it is: no answer is made of two models' parts. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "server/allow.h"
#include "server/ask_pii.h"
#include "server/ask_record.h"
#include "server/ask_remote.h"
#include "server/ask_steps.h"
#include "server/field.h"
#include "server/models.h"
#include "server/request_priv.h"
#include "server/rules.h"

enum { N_LINK = CHAIN_MAX + 1, SAID = 120 };

struct link {
    bool tried;
    enum chain_reason why; /* it gave way; CHAIN_CIRCUIT_OPEN also before it is tried */
    char said[SAID];       /* the beginning of its error */
};

/* One request and its chain of two or more.  Used by one thread at a time: by those that tell the
 * events of the model that is asked now. */
struct chained {
    struct request *r;
    struct fallback *f;
    struct ask a; /* the handler's; gen: owned, as it came */
    struct chain chain;
    struct fallback_remote remote; /* the link behind the chain's, when it has a url */
    struct link link[N_LINK];
    int n_link, at;   /* at: the one that is asked now */
    int64_t began_ns; /* when it was asked */
    bool probe;       /* for its breaker */
    bool again;       /* one that crashed was asked once more */
    struct chain_end end;
    struct record held;
    bool told;        /* a part of an answer was handed on */
    struct err first; /* of the first that failed; ERR_NONE: none has */
};

static void chained_free(struct chained *c) {
    record_clear(&c->held);
    json_decref(c->a.gen);
    free(c);
}

static bool is_remote(const struct chained *c, int i) {
    return i == c->chain.n;
}

static const char *link_name(const struct chained *c, int i) {
    return is_remote(c, i) ? c->remote.model : c->chain.link[i];
}

/* ---- breakers ---- */

/* What another host offers is no name of the store's: its breaker goes by a name of its own. */
static bool breaker_name(const struct chained *c, int i, struct name *out) {
    struct err unused;
    return name_parse(is_remote(c, i) ? "remote.invalid/fallback/remote" : c->chain.link[i], out,
                      &unused) == 0;
}

static bool passes(struct chained *c, int i) {
    struct name n;
    c->probe = false;
    if (!breaker_name(c, i, &n)) return true;
    const enum breaker_pass pass = breaker_ask(fallback_breaker(c->f), &n, os_now_ns());
    c->probe = pass == BREAKER_PROBE;
    return pass != BREAKER_OPEN;
}

static void tell_breaker(struct chained *c, enum breaker_outcome o) {
    struct name n;
    if (breaker_name(c, c->at, &n))
        breaker_tell(fallback_breaker(c->f), &n, c->probe, o, c->began_ns, os_now_ns());
}

/* ---- whom to ask ---- */

/* The first whose process ended, once: it has been started again by then.  No more than that, as a
 * request may be what ends them. */
static int once_more(struct chained *c) {
    for (int i = 0; i < c->n_link && !c->again; i++) {
        c->again = c->link[i].why == CHAIN_CRASH;
        if (c->again) return i;
    }
    return -1;
}

/* -1: all were asked. */
static int pick(struct chained *c) {
    for (int i = 0; i < c->n_link; i++) {
        struct link *l = &c->link[i];
        if (l->tried || l->why == CHAIN_CIRCUIT_OPEN) continue;
        if (passes(c, i)) return i;
        l->why = CHAIN_CIRCUIT_OPEN;
        fallback_count(c->f, CHAIN_CIRCUIT_OPEN);
    }
    c->probe = false;
    for (int i = 0; i < c->n_link; i++)
        if (!c->link[i].tried) return i;
    return once_more(c);
}

/* A request as it came: what a model completes is its own object and its own list of messages. */
static json_t *copy_request(const json_t *gen) {
    json_t *copy = json_copy((json_t *)(uintptr_t)gen);
    const json_t *messages = json_object_get(gen, "messages");
    if (copy && messages &&
        json_object_set_new(copy, "messages", json_copy((json_t *)(uintptr_t)messages)) != 0) {
        json_decref(copy);
        return NULL;
    }
    return copy;
}

static void on_event(void *ctx, const struct gen_event *ev);

static int on_ready(void *ctx, const struct ask_model *m, json_t *gen, struct err *e) {
    const struct chained *c = ctx;
    return c->a.ready ? c->a.ready(c->a.ctx, m, gen, e) : 0;
}

/* As a step: what a model's own policy says of the audit log and of personal data holds for it as
 * well when it stands in for another; or it is none that can. */
static int ask_substitute(struct request *r, const struct ask *a, struct err *e) {
    struct model_policy own;
    struct name n;
    int rc = name_parse(a->model, &n, e);
    if (a->fate) a->fate->stage = CHAIN_READY;
    if (rc == 0) rc = rules_of(request_server(r), &n, &own, e);
    if (rc == 0 && own.audit == POLICY_AUDIT_REQUIRED) rc = request_audit_require(r, e);
    if (rc == 0) return ask_pii_substitute(r, a, &own, ask_receipt, e);
    json_decref(a->gen);
    return -1;
}

static int ask_by_link(const struct chained *c, int i, const struct ask *a, struct err *e) {
    const bool other = i > 0 || (c->a.follows && request_fallback_reason(c->r));
    if (is_remote(c, i)) return ask_remote(c->r, a, &c->remote, e);
    return other ? ask_substitute(c->r, a, e) : ask_receipt(c->r, a, e);
}

/* Ask link i.  After 0 c is its events'. */
static int ask_link(struct chained *c, int i, struct err *e) {
    struct ask a = c->a;
    c->at = i;
    c->link[i].tried = true;
    c->began_ns = os_now_ns();
    c->end = (struct chain_end){.stage = CHAIN_READY}; /* it cannot answer, another may */
    if (i > 0 && !is_remote(c, i) && ask_audit_policy(c->r, link_name(c, i), e) != 0) return -1;
    c->end = (struct chain_end){.stage = CHAIN_CHECK};
    a.gen = copy_request(c->a.gen);
    if (!a.gen) return err_nomem(e, "request");
    a.model = link_name(c, i);
    a.ready = on_ready;
    a.fn = on_event;
    a.ctx = c;
    a.fate = &c->end;
    return ask_by_link(c, i, &a, e);
}

/* ---- one that failed ---- */

static bool is_late(const struct chained *c) {
    const int64_t limit = models_request_timeout(server_models(request_server(c->r)));
    return limit > 0 && os_now_ns() - c->a.start_ns >= limit;
}

/* The link that was asked has failed, and nothing of it was told: may another be asked? */
static bool gives_way(struct chained *c, const struct err *e) {
    struct link *l = &c->link[c->at];
    const enum chain_reason why =
        is_late(c) || request_gone(c->r) ? CHAIN_STAYS : chain_reason_of(&c->end, e, c->at != 0);
    tell_breaker(c, chain_reason_counts(why) ? BREAKER_BAD : BREAKER_UNKNOWN);
    if (why == CHAIN_STAYS) return false;
    if (c->first.code == ERR_NONE) c->first = *e;
    l->why = why;
    snprintf(l->said, sizeof l->said, "%.100s", e->msg);
    fallback_count(c->f, why);
    record_clear(&c->held);
    return true;
}

/* The first cause, and what became of the others; always -1. */
static int all_failed(struct chained *c, struct err *e) {
    struct buf b = {0};
    *e = c->first;
    fallback_count_end(c->f, FALLBACK_FAILED);
    for (int i = 1; i < c->n_link; i++)
        buf_printf(&b, "%s%s (%s: %s)", b.n ? ", " : "", link_name(c, i),
                   chain_reason_name(c->link[i].why), c->link[i].said);
    err_set(e, c->first.code, "%.200s; nor could another answer: %s", c->first.msg,
            b.failed || !b.n ? "" : b.p);
    err_field(e, "%s", c->first.field);
    buf_fini(&b);
    return -1;
}

/* Ask until one takes the request.  0: c is its events'.  -1 with e: none does. */
static int next(struct chained *c, struct err *e) {
    for (;;) {
        const int i = pick(c);
        if (i < 0) return all_failed(c, e);
        *e = (struct err){0};
        if (ask_link(c, i, e) == 0) return 0;
        if (!gives_way(c, e)) return -1;
    }
}

/* ---- events ---- */

/* Another answers than the one that was asked: before the first word of it. */
static void announce(struct chained *c) {
    if (c->at != 0)
        request_announce_fallback(c->r, link_name(c, c->at), chain_reason_name(c->link[0].why));
}

static void tell(struct chained *c, const struct gen_event *ev) {
    if (!c->told) announce(c);
    c->told = true;
    record_play(&c->held, c->a.fn, c->a.ctx);
    if (ev) c->a.fn(c->a.ctx, ev);
}

/* The last call; c is gone. */
static void finish(struct chained *c, const struct gen_event *ev) {
    gen_event_fn *fn = c->a.fn;
    void *ctx = c->a.ctx;
    chained_free(c);
    fn(ctx, ev);
}

static void finish_failed(struct chained *c, const struct gen_event *ev, const struct err *e) {
    struct gen_event last = *ev;
    last.err = *e;
    if (e->code == ERR_BUSY && !stream_started(c->r)) reply_header(c->r, "Retry-After: 1\r\n");
    finish(c, &last);
}

static void on_failed(struct chained *c, const struct gen_event *ev) {
    struct err e = ev->err;
    if (c->told) {
        const enum chain_reason why = chain_reason_of(&c->end, &e, false);
        tell_breaker(c, chain_reason_counts(why) ? BREAKER_BAD : BREAKER_UNKNOWN);
        if (why != CHAIN_STAYS) fallback_count_end(c->f, FALLBACK_BROKE);
        finish(c, ev);
    } else if (!gives_way(c, &e)) {
        finish(c, ev);
    } else if (next(c, &e) != 0) {
        finish_failed(c, ev, &e);
    }
}

static void on_answered(struct chained *c, const struct gen_event *ev) {
    struct err e;
    if (c->held.failed) {
        err_nomem(&e, "answer");
        tell_breaker(c, BREAKER_UNKNOWN);
        finish_failed(c, ev, &e);
        return;
    }
    tell_breaker(c, BREAKER_GOOD);
    if (c->at != 0) fallback_count_end(c->f, FALLBACK_ANSWERED);
    tell(c, NULL);
    finish(c, ev);
}

static void on_event(void *ctx, const struct gen_event *ev) {
    struct chained *c = ctx;
    if (ev->kind == GEN_END && ev->err.code != ERR_NONE)
        on_failed(c, ev);
    else if (ev->kind == GEN_END)
        on_answered(c, ev);
    else if (c->a.whole || (!c->told && ev->kind == GEN_PROMPT))
        record_add(&c->held, ev);
    else
        tell(c, ev);
}

/* ---- the beginning ---- */

/* Other models' vectors and tokens mean something else. */
static bool is_generation(const struct ask *a) {
    const char *op = json_string_value(json_object_get(a->gen, "op"));
    return !a->load_only && op && (strcmp(op, "chat") == 0 || strcmp(op, "text") == 0);
}

static int read_first_token(struct chained *c, const json_t *body, const struct model_policy *own,
                            struct err *e) {
    const json_t *v = json_object_get(body, "first_token_timeout");
    int64_t ns = own->first_token_ns ? own->first_token_ns : fallback_first_token_ns(c->f);
    if (models_duration("first_token_timeout", v, ns, &ns, e) != 0) return -1;
    c->a.first_token_ns = ns > 0 ? ns : 0;
    return 0;
}

/* Models that the request's key may not use: those of the server's own list are passed over, one
 * that the client names is refused. */
static int check_links(struct chained *c, bool theirs, struct err *e) {
    struct chain all = c->chain;
    c->chain.n = 0;
    for (int i = 0; i < all.n; i++) {
        struct name n;
        const bool sees = name_parse(all.link[i], &n, e) == 0 && allow_sees(c->r, &n);
        if (sees || i == 0)
            strcpy(c->chain.link[c->chain.n++], all.link[i]);
        else if (theirs)
            return allow_model(c->r, &n, e);
    }
    return 0;
}

/* Whoever has made the first part of the answer makes the rest. */
static int only_served(struct chained *c, struct err *e) {
    const char *by = request_served(c->r, c->chain.link[0]);
    const bool here = chain_has(&c->chain, by);
    char name[NAME_TEXT];
    snprintf(name, sizeof name, "%s", by);
    c->chain.n = 0;
    if (!here && *c->remote.url && strcmp(by, c->remote.model) == 0) return 0;
    *c->remote.url = 0;
    return chain_add(&c->chain, name, e);
}

static int read_chain(struct chained *c, const char *model, struct err *e) {
    const json_t *body = request_object(c->r), *theirs = json_object_get(body, "fallback");
    struct model_policy own;
    struct name name;
    if (json_is_null(theirs)) theirs = NULL;
    if (name_parse(model, &name, e) != 0) return err_field(e, "model");
    if (rules_of(request_server(c->r), &name, &own, e) != 0 ||
        read_first_token(c, body, &own, e) != 0 ||
        fallback_chain(c->f, model, &own, theirs, &c->chain, &c->remote, e) != 0 ||
        check_links(c, theirs != NULL, e) != 0)
        return -1;
    if (c->a.follows && only_served(c, e) != 0) return -1;
    c->n_link = c->chain.n + (*c->remote.url != 0);
    return 0;
}

/* Nobody else may answer. */
static int ask_alone(struct chained *c, struct err *e) {
    struct ask a = c->a;
    a.model = link_name(c, 0);
    c->a.gen = NULL;
    const int rc = ask_by_link(c, 0, &a, e);
    chained_free(c);
    return rc;
}

int ask_chain(struct request *r, const struct ask *a, struct err *e) {
    struct fallback *f = server_fallback(request_server(r));
    if (!f || !a->gen || !is_generation(a)) return ask_receipt(r, a, e);
    struct chained *c = calloc(1, sizeof *c);
    if (!c) {
        json_decref(a->gen);
        return err_nomem(e, "request");
    }
    c->r = r;
    c->f = f;
    c->a = *a;
    if (!c->a.start_ns) c->a.start_ns = os_now_ns();
    int rc = read_chain(c, a->model, e);
    if (rc == 0 && c->n_link == 1) return ask_alone(c, e);
    if (rc == 0) rc = next(c, e);
    if (rc != 0) chained_free(c);
    return rc;
}
