/* See fallback.h. */
#include "server/fallback.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "net/address.h"
#include "net/client.h"
#include "net/url.h"
#include "policy/leave.h"

struct fallback {
    struct breaker *breaker;
    atomic_long n_gave_way[CHAIN_N_REASON], n_end[FALLBACK_N_END];
    pthread_mutex_t lock; /* of what follows */
    struct chain usual;
    struct fallback_remote remote;
    int64_t first_token_ns;
    struct net_client *client; /* owned; made when it is needed first */
    int n_transfer;
    volatile int stop; /* ends transfers; written atomically */
    pthread_cond_t left;
};

struct fallback *fallback_new(struct err *e) {
    struct fallback *f = calloc(1, sizeof *f);
    if (!f) {
        err_nomem(e, "fallback");
        return NULL;
    }
    pthread_mutex_init(&f->lock, NULL);
    pthread_cond_init(&f->left, NULL);
    if ((f->breaker = breaker_new(e))) return f;
    fallback_free(f);
    return NULL;
}

void fallback_free(struct fallback *f) {
    if (!f) return;
    breaker_free(f->breaker);
    net_client_free(f->client);
    pthread_cond_destroy(&f->left);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* ---- settings ---- */

/* The address of its chat completions, from that or from the API's. */
static int read_url(const char *url, struct fallback_remote *out, struct err *e) {
    static const char path[] = "/chat/completions";
    struct net_url u;
    size_t n = strlen(url);
    if (net_url_parse(url, &u, e) != 0) return -1;
    if (!u.https && !net_is_loopback_name(u.host))
        return err_set(e, ERR_USAGE,
                       "found \"%s\"; https is accepted, and plain http on this machine", url);
    while (n && url[n - 1] == '/')
        n--;
    const bool whole =
        n >= sizeof path - 1 && strncmp(url + n - (sizeof path - 1), path, sizeof path - 1) == 0;
    if (n + sizeof path > sizeof out->url)
        return err_set(e, ERR_USAGE, "found %zu bytes; a shorter address is accepted", n);
    memcpy(out->url, url, n);
    strcpy(out->url + n, whole ? "" : path);
    return 0;
}

static int read_remote(const struct settings *t, struct fallback_remote *out, struct err *e) {
    *out = (struct fallback_remote){.url = ""};
    if (!*t->fallback_url) return 0;
    if (read_url(t->fallback_url, out, e) != 0) return err_prefix(e, "setting CRIA_FALLBACK_URL");
    if (!*t->fallback_model)
        return err_set(e, ERR_USAGE,
                       "setting CRIA_FALLBACK_MODEL: found none; CRIA_FALLBACK_URL needs the name "
                       "of a model there");
    for (const char *p = t->fallback_model; *p; p++) /* it stands in a header */
        if (*p <= ' ' || *p > '~' || *p == ';')
            return err_set(e, ERR_USAGE,
                           "setting CRIA_FALLBACK_MODEL: found \"%s\"; a name without blanks and "
                           "\";\" is accepted",
                           t->fallback_model);
    strcpy(out->model, t->fallback_model);
    strcpy(out->key_file, t->fallback_key_file);
    return 0;
}

int fallback_configure(struct fallback *f, const struct settings *t, struct err *e) {
    struct chain usual = {.n = 0};
    struct fallback_remote remote;
    if (chain_add_list(&usual, t->fallback, e) != 0) return err_prefix(e, "setting CRIA_FALLBACK");
    if (usual.n == CHAIN_MAX)
        return err_set(e, ERR_USAGE,
                       "setting CRIA_FALLBACK: found %d models; up to %d are accepted", usual.n,
                       CHAIN_MAX - 1);
    if (read_remote(t, &remote, e) != 0) return -1;
    breaker_configure(f->breaker, (int)t->breaker_failures, t->breaker_cooldown_ns);
    pthread_mutex_lock(&f->lock);
    f->usual = usual;
    f->remote = remote;
    f->first_token_ns = t->first_token_timeout_ns > 0 ? t->first_token_timeout_ns : 0;
    pthread_mutex_unlock(&f->lock);
    return 0;
}

int64_t fallback_first_token_ns(struct fallback *f) {
    pthread_mutex_lock(&f->lock);
    const int64_t ns = f->first_token_ns;
    pthread_mutex_unlock(&f->lock);
    return ns;
}

struct breaker *fallback_breaker(struct fallback *f) {
    return f->breaker;
}

/* ---- chains ---- */

static int add_theirs(struct chain *c, const json_t *list, struct err *e) {
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *name = json_string_value(json_array_get(list, i));
        const int rc =
            name ? chain_add(c, name, e) : err_set(e, ERR_USAGE, "names of models are accepted");
        if (rc == 0) continue;
        err_prefix(e, "fallback");
        return err_field(e, "fallback[%zu]", i);
    }
    return 0;
}

/* What the model says; lock held: else what the settings say. */
static void add_usual(struct fallback *f, const struct model_policy *own, struct chain *out) {
    struct err unused;
    char name[NAME_TEXT];
    for (int i = 0; i < own->n_fallback; i++) {
        name_short(&own->fallback[i], name);
        if (!own->fallback[i].has_tag) *strrchr(name, ':') = 0; /* as it was written */
        if (!chain_has(out, name)) chain_add(out, name, &unused);
    }
    for (int i = 0; own->n_fallback == 0 && i < f->usual.n; i++)
        if (!chain_has(out, f->usual.link[i])) chain_add(out, f->usual.link[i], &unused);
}

int fallback_chain(struct fallback *f, const char *model, const struct model_policy *own,
                   const json_t *theirs, struct chain *out, struct fallback_remote *remote,
                   struct err *e) {
    out->n = 0;
    *remote = (struct fallback_remote){.url = ""};
    if (chain_add(out, model, e) != 0) return err_field(e, "model");
    if (theirs) return add_theirs(out, theirs, e);
    pthread_mutex_lock(&f->lock);
    add_usual(f, own, out);
    if (policy_may_leave()) *remote = f->remote;
    pthread_mutex_unlock(&f->lock);
    return 0;
}

/* ---- transfers ---- */

int fallback_enter(struct fallback *f, struct err *e) {
    pthread_mutex_lock(&f->lock);
    const bool room = !f->stop && f->n_transfer < FALLBACK_MAX_TRANSFERS;
    f->n_transfer += room;
    pthread_mutex_unlock(&f->lock);
    return room ? 0
                : err_set(e, ERR_BUSY, "%d requests to another host at once",
                          FALLBACK_MAX_TRANSFERS);
}

void fallback_leave(struct fallback *f) {
    pthread_mutex_lock(&f->lock);
    f->n_transfer--;
    pthread_cond_broadcast(&f->left);
    pthread_mutex_unlock(&f->lock);
}

struct net_client *fallback_client(struct fallback *f, struct err *e) {
    pthread_mutex_lock(&f->lock);
    if (!f->client)
        f->client = net_client_new(&(struct net_opts){.purpose = "fallback", .stop = &f->stop}, e);
    struct net_client *c = f->client;
    pthread_mutex_unlock(&f->lock);
    return c;
}

void fallback_stop(struct fallback *f) {
    if (!f) return;
    pthread_mutex_lock(&f->lock);
    __atomic_store_n(&f->stop, 1, __ATOMIC_RELAXED);
    while (f->n_transfer)
        pthread_cond_wait(&f->left, &f->lock);
    pthread_mutex_unlock(&f->lock);
}

/* ---- figures ---- */

void fallback_count(struct fallback *f, enum chain_reason why) {
    atomic_fetch_add(&f->n_gave_way[why], 1);
}

void fallback_count_end(struct fallback *f, enum fallback_end end) {
    atomic_fetch_add(&f->n_end[end], 1);
}

void fallback_metrics(struct fallback *f, struct buf *b) {
    static const char *const end[] = {"answered", "failed", "broke_off"};
    buf_str(b, "# HELP cria_fallbacks_total Models that gave way to the next of a chain.\n"
               "# TYPE cria_fallbacks_total counter\n");
    for (int i = CHAIN_STAYS + 1; i < CHAIN_N_REASON; i++)
        buf_printf(b, "cria_fallbacks_total{reason=\"%s\"} %ld\n",
                   chain_reason_name((enum chain_reason)i), atomic_load(&f->n_gave_way[i]));
    buf_str(b, "# HELP cria_fallback_requests_total Requests that had a chain: answered by another "
               "model, failed with all, broken off in the answer.\n"
               "# TYPE cria_fallback_requests_total counter\n");
    for (int i = 0; i < FALLBACK_N_END; i++)
        buf_printf(b, "cria_fallback_requests_total{outcome=\"%s\"} %ld\n", end[i],
                   atomic_load(&f->n_end[i]));
    buf_printf(b,
               "# HELP cria_circuits_open Models that are not asked first, as they failed too "
               "often.\n# TYPE cria_circuits_open gauge\ncria_circuits_open %d\n",
               breaker_n_open(f->breaker));
}
