/* The step that knows answers: looks them up, and has those kept that are made.
 *
 *   ask_cache -> wish, rule -> key -> HIT: played back, no model is needed
 *                                  -> MISS: flight.h (equal requests at once), then kept
 *             -> BYPASS: what must not be cached, goes on as it is */
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/hash.h"
#include "base/os.h"
#include "server/ask_steps.h"
#include "server/flight.h"
#include "server/front_priv.h"
#include "server/models_priv.h"
#include "server/response_cache.h"
#include "server/rules.h"

struct lookup {
    struct name name; /* as the store writes it */
    char text[NAME_TEXT];
    struct cache_rule rule;
    struct answer_key key;
};

static bool is_cacheable(const struct ask *a) {
    const char *op = json_string_value(json_object_get(a->gen, "op"));
    return !a->load_only && op &&
           (strcmp(op, "chat") == 0 || strcmp(op, "text") == 0 || strcmp(op, "embed") == 0);
}

/* ---- the key ---- */

/* What the engine's processes read of the environment, too. */
static void add_setting(struct buf *b, const char *name) {
    char v[64];
    const char *text = os_setting(name, v, sizeof v);
    buf_printf(b, "%s=%s ", name, text ? text : "");
}

/* Where a template tells the day: ours, as theirs is. */
static void find_day(const struct cache_model *m, const json_t *gen, char out[16]) {
    const json_t *theirs = json_object_get(gen, "template");
    const time_t now = time(NULL);
    struct tm tm;
    *out = 0;
    if (!m->tells_day && !answer_tells_day(json_string_value(theirs), json_string_length(theirs)))
        return;
    if (localtime_r(&now, &tm)) strftime(out, 16, "%Y-%m-%d", &tm);
}

/* The answer is kept as the policy leaves it, so another policy makes another answer. */
static void find_filter(const struct pii_policy *p, char out[N_PII + 1]) {
    *out = 0;
    if (!pii_policy_has(p, PII_REPLACE)) return;
    for (int k = 0; k < N_PII; k++)
        out[k] = (char)('0' + p->action[k]);
    out[N_PII] = 0;
}

static int make_key(const struct request *r, const struct ask *a, const struct digest *id,
                    const struct cache_model *m, struct answer_key *out, struct err *e) {
    char day[16], filter[N_PII + 1];
    struct buf settings = {0};
    find_day(m, a->gen, day);
    find_filter(&a->pii, filter);
    add_setting(&settings, "CONTEXT_LENGTH");
    add_setting(&settings, "KV_CACHE_TYPE");
    const struct answer_inputs in = {
        .model = id->hex,
        .tenant = request_key(r),
        .way = r->route->path,
        .settings = settings.failed ? "" : buf_view(&settings).p,
        .day = day,
        .filter = filter,
        .gen = a->gen,
        .params = m->params,
        .later = a->later,
    };
    const int rc = settings.failed ? err_nomem(e, "answer key") : answer_key(&in, out, e);
    buf_fini(&settings);
    return rc;
}

/* -1: there is no such model, or something is wrong with the request: the model's step tells it. */
static int look(const struct request *r, const struct ask *a, struct lookup *x) {
    struct response_cache *c = r->server->cache;
    struct cache_model *m;
    struct digest id;
    struct name asked;
    struct model_policy own;
    struct err e;
    if (name_parse(a->model, &asked, &e) != 0 ||
        models_find(r->server->models, &asked, &x->name, &id, &e) != 0 ||
        !(m = response_cache_model(c, r->server->store, &x->name, &id, &e)))
        return -1;
    name_short(&x->name, x->text);
    int rc = rules_of(r->server, &x->name, &own, &e);
    if (rc == 0) x->rule = response_cache_rule(c, &own);
    if (rc == 0) rc = x->rule.mode == CACHE_OFF ? 0 : make_key(r, a, &id, m, &x->key, &e);
    cache_model_unref(m);
    return rc;
}

/* ---- what becomes of it ---- */

static int bypass(struct request *r, const struct ask *a, struct err *e) {
    response_cache_count(r->server->cache, CACHE_BYPASS);
    request_note_cache(r, CACHED_BYPASS);
    return ask_pii_answer(r, a, e);
}

/* Tells the whole answer; a->gen is gone, and maybe r. */
static void play(struct request *r, const struct ask *a, const struct lookup *x,
                 struct answer_record *found) {
    json_t *gen = a->gen;
    response_cache_count(r->server->cache, CACHE_HIT);
    request_note_cache(r, CACHED_HIT);
    request_set_model(r, x->text);
    answer_record_play(found, gen, a->fn, a->ctx);
    answer_record_fini(found);
    json_decref(gen);
}

/* Who may stand in for the model, and when: no part of the key, as what others say is not kept. */
static uint64_t terms_of(const struct request *r) {
    static const char *const name[] = {"fallback", "first_token_timeout"};
    uint64_t h = 0;
    for (size_t i = 0; i < sizeof name / sizeof *name; i++) {
        const json_t *v = json_object_get(request_object(r), name[i]);
        char *text = v ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
        h = hash64(text ? text : "", text ? strlen(text) + 1 : 0, h);
        free(text);
    }
    return h;
}

/* Nothing is told before the end when another model could still be asked: ask_chain.c. */
static bool is_held(const struct request *r, const struct ask *a) {
    struct fallback *f = r->server->fallback;
    struct fallback_remote remote;
    struct model_policy own;
    struct chain chain;
    struct name n;
    struct err unused;
    const json_t *theirs = json_object_get(request_object(r), "fallback");
    if (!a->whole || !f) return false;
    if (json_is_null(theirs)) theirs = NULL;
    if (name_parse(a->model, &n, &unused) != 0 || rules_of(r->server, &n, &own, &unused) != 0)
        return false;
    return fallback_chain(f, a->model, &own, theirs, &chain, &remote, &unused) != 0 ||
           chain.n > 1 || *remote.url;
}

/* Look it up, else have it made. */
static int serve(struct request *r, const struct ask *a, const struct lookup *x,
                 const struct cache_wish *w, struct err *e) {
    struct response_cache *c = r->server->cache;
    struct flight_opts o = {.store = response_cache_store(c),
                            .model = x->text,
                            .ttl_s = w->ttl_s ? w->ttl_s : x->rule.ttl_s,
                            .terms = terms_of(r),
                            .held = is_held(r, a),
                            .alone = w->mode == CACHE_REFRESH};
    struct answer_record found = {0};
    int64_t unused;
    bool followed;
    memcpy(o.key, x->key.bytes, sizeof o.key);
    if (o.store && !o.alone &&
        answer_cache_get(o.store, o.key, request_key(r), a->gen, &found, &unused)) {
        play(r, a, x, &found);
        return 0;
    }
    const int rc = flight_start(response_cache_flights(c), r, a, &o, &followed, e);
    response_cache_count(c, followed ? CACHE_SHARED : CACHE_MISS);
    return rc;
}

int ask_cache(struct request *r, const struct ask *a, struct err *e) {
    struct lookup x;
    struct cache_wish w;
    /* A part of the answer was made by a model that stood in: so is the rest (ask.h). */
    const bool by_another = a->follows && request_fallback_reason(r);
    if (!a->gen || !is_cacheable(a) || by_another) return ask_pii_answer(r, a, e);
    if (cache_wish_read(r, &w, e) != 0) {
        json_decref(a->gen);
        return -1;
    }
    if (look(r, a, &x) != 0) return ask_pii_answer(r, a, e);
    if (x.rule.mode == CACHE_OFF && !w.asked) return ask_pii_answer(r, a, e);
    const bool always = w.mode == CACHE_ALWAYS || x.rule.mode == CACHE_ALWAYS;
    /* A receipt is of an answer that was made for it. */
    const bool receipt = json_is_true(json_object_get(request_object(r), "receipt"));
    if (x.rule.mode == CACHE_OFF || w.mode == CACHE_OFF || receipt ||
        (!x.key.reproducible && !always))
        return bypass(r, a, e);
    return serve(r, a, &x, &w, e);
}
