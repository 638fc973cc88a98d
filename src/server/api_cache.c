/* The response cache for whoever runs the server: GET /api/cache says how it does, DELETE removes
 * all of it, answers by the beginning of their keys, or those of a model. */
#include <string.h>

#include "server/api.h"
#include "server/front_priv.h"
#include "server/response_cache.h"
#include "server/route.h"

static const char *mode_name(enum cache_mode m) {
    return m == CACHE_OFF ? "off" : m == CACHE_ALWAYS ? "always" : "on";
}

static void get_cache(struct request *r) {
    struct response_cache *c = r->server->cache;
    struct response_cache_stats s;
    response_cache_store(c); /* so that it says what is in it */
    response_cache_stats(c, true, &s);
    const struct answer_cache_stats *t = &s.store;
    reply_json(r, 200,
               json_pack("{s:s, s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:I}",
                         "mode", mode_name(s.mode), "store", t->store ? t->store : "none", "ttl_s",
                         (json_int_t)s.ttl_s, "entries", (json_int_t)t->n, "bytes",
                         (json_int_t)t->n_bytes, "hits", (json_int_t)s.n[CACHE_HIT], "misses",
                         (json_int_t)s.n[CACHE_MISS], "shared", (json_int_t)s.n[CACHE_SHARED],
                         "bypasses", (json_int_t)s.n[CACHE_BYPASS], "stores", (json_int_t)t->n_put,
                         "evictions", (json_int_t)t->n_gone, "errors",
                         (json_int_t)(t->n_error + s.n_open_failed), "dropped",
                         (json_int_t)t->n_dropped));
}

static void drop(struct request *r, const struct answer_filter *f) {
    struct err e = {0};
    int64_t n = 0;
    struct answer_cache *store = response_cache_store(r->server->cache);
    if (!store)
        reply_error(r, 503, "the response cache cannot be opened");
    else if (answer_cache_drop(store, f, &n, &e) != 0)
        reply_err(r, &e);
    else
        reply_json(r, 200, json_pack("{s:I}", "removed", (json_int_t)n));
}

static void delete_all(struct request *r) {
    drop(r, &(struct answer_filter){0});
}

static void delete_keys(struct request *r) {
    const char *prefix = request_param(r);
    if (strlen(prefix) > ANSWER_KEY_HEX || strspn(prefix, "0123456789abcdef") != strlen(prefix))
        reply_error(r, 400, "a key: 1 to %d lower-case hexadecimal digits are accepted",
                    ANSWER_KEY_HEX);
    else
        drop(r, &(struct answer_filter){.prefix = prefix});
}

static void delete_model(struct request *r) {
    struct name n;
    char text[NAME_TEXT];
    struct err e;
    if (name_parse(request_param(r), &n, &e) != 0) {
        reply_error(r, 400, "invalid model name");
        return;
    }
    name_short(&n, text);
    drop(r, &(struct answer_filter){.model = text});
}

/* clang-format off */
const struct route routes_cache[] = {
    {HTTP_GET, "/api/cache", RIGHT_ADMIN, DIALECT_OLLAMA, 0, get_cache, NULL, NULL},
    {HTTP_DELETE, "/api/cache", RIGHT_ADMIN, DIALECT_OLLAMA, 0, delete_all, NULL, NULL},
    {HTTP_DELETE, "/api/cache/keys/:prefix", RIGHT_ADMIN, DIALECT_OLLAMA, 0, delete_keys, NULL, NULL},
    {HTTP_DELETE, "/api/cache/models/:model", RIGHT_ADMIN, DIALECT_OLLAMA, 0, delete_model, NULL, NULL},
    {.path = NULL},
};
/* clang-format on */
