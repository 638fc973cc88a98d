/* The response cache of a server: its settings, its store (policy/answer_cache.h), the answers that
 * are being made (flight.h), and what of a model goes into a key.  ask_cache.c uses it. */
#pragma once

#include <stdatomic.h>

#include "policy/answer_cache.h"
#include "policy/model_policy.h"
#include "server/cache_wish.h"
#include "server/settings.h"
#include "store/store.h"

struct response_cache; /* any thread */

/* Opens nothing yet. */
struct response_cache *response_cache_new(const struct settings *t, struct err *e);
/* New settings (SIGHUP): mode and time; the store stays the one that was opened. */
void response_cache_configure(struct response_cache *c, const struct settings *t);
/* Writes what waits; accepts NULL. */
void response_cache_free(struct response_cache *c);

/* The store, opened at the first use; NULL: it cannot be opened, which was counted and said in the
 * log; it is tried again after a while. */
struct answer_cache *response_cache_store(struct response_cache *c);

/* ---- models ---- */

/* What of a model's own goes into a key; the same as long as its manifest is.  Counted here, as
 * jansson's counts are not for several threads. */
struct cache_model {
    atomic_int n_ref;
    json_t *params; /* owned; only read; or NULL */
    bool tells_day;
};
/* Read once for each manifest, then remembered; cache_model_unref.  NULL: the model itself will
 * tell why. */
struct cache_model *response_cache_model(struct response_cache *c, struct store *s,
                                         const struct name *n, const struct digest *id,
                                         struct err *e);
void cache_model_unref(struct cache_model *m); /* accepts NULL */

struct cache_rule {
    enum cache_mode mode; /* OFF, ON, ALWAYS */
    int64_t ttl_s;
};
/* What holds for a model: what it says itself (server/rules.h), else the settings. */
struct cache_rule response_cache_rule(struct response_cache *c, const struct model_policy *own);

/* ---- figures ---- */

enum cache_event { CACHE_HIT, CACHE_MISS, CACHE_BYPASS, CACHE_SHARED, CACHE_EVENTS };
void response_cache_count(struct response_cache *c, enum cache_event what);

struct response_cache_stats {
    int64_t n[CACHE_EVENTS]; /* shared: got the answer that was being made for another */
    int64_t n_open_failed;
    struct answer_cache_stats store; /* zero while it is not open */
    enum cache_mode mode;
    int64_t ttl_s;
};
/* all: policy/answer_cache.h. */
void response_cache_stats(struct response_cache *c, bool all, struct response_cache_stats *out);

/* The answers that are being made: flight.c. */
struct flights;
struct flights *response_cache_flights(struct response_cache *c);
