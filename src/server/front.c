/* The routes that say what this server is and how it is: "/", versions, health, metrics. */
#include "base/version.h"
#include "server/allow.h"
#include "server/front_priv.h"

/* Clients gate features on it and tools refuse old ones: the line whose API this is. */
const char *server_version(void) {
    return "0.32.0";
}

static void get_root(struct request *r) {
    reply_text(r, 200, "text/plain; charset=utf-8", STR("Ollama is running"));
}

static void get_api_version(struct request *r) {
    reply_json(r, 200, json_pack("{s:s}", "version", server_version()));
}

static void get_version(struct request *r) {
    const char *walls = r->server->walls;
    reply_json(r, 200,
               json_pack("{s:s, s:s, s:s, s:s?}", "name", "cria", "version", CRIA_VERSION, "ollama",
                         server_version(), "isolation", *walls ? walls : NULL));
}

/* 200 while requests are taken: a load balancer's question. */
static void get_health(struct request *r) {
    const bool draining = atomic_load(&r->server->n_drain) > 0;
    reply_json(r, draining ? 503 : 200, json_pack("{s:s}", "status", draining ? "draining" : "ok"));
}

/* 200 when a request would be answered without waiting for the model of the setting MODEL. */
static void get_ready(struct request *r) {
    const bool draining = atomic_load(&r->server->n_drain) > 0;
    const bool loading = models_preloading(r->server->models);
    reply_json(r, draining || loading ? 503 : 200,
               json_pack("{s:s}", "status",
                         draining  ? "draining"
                         : loading ? "loading"
                                   : "ready"));
}

static void get_stats(struct request *r) {
    reply_json(r, 200, metrics_json(r->server->metrics, models_stats(r->server->models)));
}

static void get_metrics(struct request *r) {
    struct buf b = {0};
    struct response_cache_stats cache;
    response_cache_stats(r->server->cache, false, &cache);
    json_t *loaded = models_list(r->server->models);
    allow_hide(r, loaded);
    metrics_write(r->server->metrics, models_stats(r->server->models), loaded, &cache,
                  net_server_malformed(r->server->net), &b);
    json_decref(loaded);
    fallback_metrics(r->server->fallback, &b);
    pii_guard_metrics(r->server->pii, &b);
    allow_metrics(r, &b);
    audit_metrics(r->server->audit, &b);
    reply_text(r, 200, "text/plain; version=0.0.4; charset=utf-8", buf_view(&b));
    buf_fini(&b);
}

const struct route routes_front[] = {
    {.path = "/", .handler = get_root},
    {.path = "/api/version", .handler = get_api_version},
    {.path = "/version", .handler = get_version},
    {.path = "/health", .handler = get_health},
    {.path = "/ready", .handler = get_ready},
    {.path = "/api/stats", .right = RIGHT_READ, .handler = get_stats},
    {.path = "/metrics", .right = RIGHT_READ, .handler = get_metrics},
    {0},
};
