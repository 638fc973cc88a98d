/* See response_cache.h. */
#include "server/response_cache.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/os.h"
#include "gguf/read.h"
#include "server/flight.h"
#include "store/recipe.h"

enum { N_MODEL = 64 };
static const int64_t retry_ns = 30 * 1000000000LL;

struct kept_model {
    struct digest id;          /* empty: free */
    struct cache_model *model; /* counted */
    uint64_t used;
};

struct response_cache {
    char url[SETTING_TEXT];
    uint64_t max_bytes;
    atomic_llong n[CACHE_EVENTS], n_open_failed;
    struct flights *flights; /* owned */
    pthread_mutex_t lock;    /* of what follows */
    struct cache_rule rule;
    struct answer_cache *store; /* owned; NULL: not open */
    int64_t failed_ns;
    struct kept_model model[N_MODEL];
    uint64_t n_used;
};

/* ---- settings and store ---- */

static struct cache_rule rule_of(const struct settings *t) {
    struct cache_rule r = {CACHE_OFF, t->cache_ttl_ns / 1000000000};
    cache_mode_read(t->response_cache, &r.mode); /* settings.c has looked at it */
    if (r.ttl_s <= 0) r.mode = CACHE_OFF;
    return r;
}

struct response_cache *response_cache_new(const struct settings *t, struct err *e) {
    struct response_cache *c = calloc(1, sizeof *c);
    if (!c || !(c->flights = flights_new())) {
        free(c);
        err_nomem(e, "response cache");
        return NULL;
    }
    memcpy(c->url, t->cache_url, sizeof c->url);
    c->max_bytes = t->cache_bytes;
    c->rule = rule_of(t);
    pthread_mutex_init(&c->lock, NULL);
    return c;
}

void response_cache_configure(struct response_cache *c, const struct settings *t) {
    pthread_mutex_lock(&c->lock);
    c->rule = rule_of(t);
    pthread_mutex_unlock(&c->lock);
}

void response_cache_free(struct response_cache *c) {
    if (!c) return;
    answer_cache_close(c->store);
    flights_free(c->flights);
    for (int i = 0; i < N_MODEL; i++)
        cache_model_unref(c->model[i].model);
    pthread_mutex_destroy(&c->lock);
    free(c);
}

struct answer_cache *response_cache_store(struct response_cache *c) {
    const struct answer_cache_opts o = {.url = c->url, .max_bytes = c->max_bytes};
    struct err e;
    pthread_mutex_lock(&c->lock);
    const int64_t now = os_now_ns();
    if (!c->store && (!c->failed_ns || now - c->failed_ns > retry_ns)) {
        c->store = answer_cache_open(&o, &e);
        if (!c->store) {
            log_msg(LOG_WARN, "%s; answers are not cached", e.msg);
            c->failed_ns = now;
        }
    }
    struct answer_cache *store = c->store;
    pthread_mutex_unlock(&c->lock);
    if (!store) atomic_fetch_add(&c->n_open_failed, 1);
    return store;
}

struct flights *response_cache_flights(struct response_cache *c) {
    return c->flights;
}

/* ---- models ---- */

void cache_model_unref(struct cache_model *m) {
    if (!m || atomic_fetch_sub(&m->n_ref, 1) != 1) return;
    json_decref(m->params);
    free(m);
}

/* The template of the Modelfile, else that of the file; a renderer by name may tell the day, and
 * what cannot be read, too. */
static int find_day(const struct recipe *r, bool *tells_day, struct err *e) {
    struct model_config config = {0};
    struct buf own = {0};
    struct str text = {0};
    struct err unused;
    if (recipe_text(r, LAYER_TEMPLATE, &own, e) != 0) return -1;
    *tells_day = recipe_config(r, &config, &unused) == 0 && config.renderer && *config.renderer;
    model_config_fini(&config);
    struct gguf *g = own.n ? NULL : gguf_open(r->path, &unused);
    if (g && gguf_get_str(g, "tokenizer.chat_template", &text, &unused) < 1) text.n = 0;
    if (own.n) text = buf_view(&own);
    *tells_day |= answer_tells_day(text.p, text.n) || (!own.n && !g);
    gguf_close(g);
    buf_fini(&own);
    return 0;
}

static struct cache_model *read_model(struct store *s, const struct name *n, struct err *e) {
    struct cache_model *m = calloc(1, sizeof *m);
    char text[NAME_TEXT];
    struct recipe r = {0};
    if (!m) {
        err_nomem(e, "response cache");
        return NULL;
    }
    atomic_init(&m->n_ref, 1);
    name_short(n, text);
    int rc = recipe_open(&r, s, n, text, e);
    if (rc == 0) rc = recipe_params(&r, &m->params, e);
    if (rc == 0) rc = find_day(&r, &m->tells_day, e);
    recipe_close(&r);
    if (rc == 0) return m;
    cache_model_unref(m);
    return NULL;
}

/* Lock held; NULL: not known. */
static struct kept_model *look_up(struct response_cache *c, const struct digest *id) {
    for (int i = 0; i < N_MODEL; i++) {
        if (!digest_eq(&c->model[i].id, id)) continue;
        c->model[i].used = ++c->n_used;
        return &c->model[i];
    }
    return NULL;
}

/* Lock held: in the place of the one that was not used for longest. */
static void remember(struct response_cache *c, const struct digest *id, struct cache_model *m) {
    struct kept_model *k = &c->model[0];
    for (int i = 1; i < N_MODEL; i++)
        if (c->model[i].used < k->used) k = &c->model[i];
    cache_model_unref(k->model);
    atomic_fetch_add(&m->n_ref, 1);
    *k = (struct kept_model){.id = *id, .model = m, .used = ++c->n_used};
}

struct cache_model *response_cache_model(struct response_cache *c, struct store *s,
                                         const struct name *n, const struct digest *id,
                                         struct err *e) {
    pthread_mutex_lock(&c->lock);
    const struct kept_model *k = look_up(c, id);
    struct cache_model *m = k ? k->model : NULL;
    if (m) atomic_fetch_add(&m->n_ref, 1);
    pthread_mutex_unlock(&c->lock);
    if (m || !(m = read_model(s, n, e))) return m;
    pthread_mutex_lock(&c->lock);
    if (!look_up(c, id)) remember(c, id, m);
    pthread_mutex_unlock(&c->lock);
    return m;
}

struct cache_rule response_cache_rule(struct response_cache *c, const struct model_policy *own) {
    static const enum cache_mode mode[] = {[POLICY_CACHE_OFF] = CACHE_OFF,
                                           [POLICY_CACHE_ON] = CACHE_ON,
                                           [POLICY_CACHE_ALWAYS] = CACHE_ALWAYS};
    pthread_mutex_lock(&c->lock);
    struct cache_rule r = c->rule;
    pthread_mutex_unlock(&c->lock);
    if (own->cache != POLICY_CACHE_UNSET) r.mode = mode[own->cache];
    if (own->cache_ttl_ns) r.ttl_s = (own->cache_ttl_ns + 999999999) / 1000000000;
    return r;
}

/* ---- figures ---- */

void response_cache_count(struct response_cache *c, enum cache_event what) {
    atomic_fetch_add(&c->n[what], 1);
}

void response_cache_stats(struct response_cache *c, bool all, struct response_cache_stats *out) {
    *out = (struct response_cache_stats){.n_open_failed = atomic_load(&c->n_open_failed)};
    for (int i = 0; i < CACHE_EVENTS; i++)
        out->n[i] = atomic_load(&c->n[i]);
    pthread_mutex_lock(&c->lock);
    struct answer_cache *store = c->store;
    out->mode = c->rule.mode;
    out->ttl_s = c->rule.ttl_s;
    pthread_mutex_unlock(&c->lock);
    if (store) answer_cache_stats(store, all, &out->store);
}
