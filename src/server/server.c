/* The front's beginning, its net thread's callbacks, and its end.
 *
 * A request that the front itself refuses (no such route, a foreign origin, no key) is answered in
 * its dialect before a byte of its body is read, and never reaches a handler. */
#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include "server/front_priv.h"
#include "store/store.h"

/* ---- the net's callbacks ---- */

/* What the front has against a request: 0, or a status with *why. */
static int judge(struct request *r, const char **why) {
    const struct http_head *h = net_req_head(r->net);
    struct buf path = {0};
    if (!http_decode(h->path, false, &path) || path.failed) {
        buf_fini(&path);
        *why = "the path is not decodable UTF-8 text";
        return 400;
    }
    r->path = path.p;
    const struct found f = route_find(h->method, r->path);
    r->route = f.route;
    r->dialect = f.route ? f.route->dialect : f.other ? f.other->dialect : route_dialect(r->path);
    if (f.route && f.param) r->param = r->path + f.param;
    if (!f.route && f.other) {
        buf_str(&r->headers, "Allow: ");
        route_allow(r->path, &r->headers);
        buf_str(&r->headers, "\r\n");
        *why = "method not allowed";
        return 405;
    }
    *why = "no such route";
    return f.route ? 0 : 404;
}

static int64_t on_head(void *ctx, struct net_req *net) {
    struct server *s = ctx;
    const struct http_head *h = net_req_head(net);
    struct request *r = request_new(s, net);
    net_req_set_ctx(net, r);
    if (!r) return -503;
    r->deny_status = judge(r, &r->deny_why);
    if (!r->deny_status && r->headers.failed) r->deny_status = 503, r->deny_why = "out of memory";
    if (!r->deny_status && h->n_body_bytes > r->route->max_body) {
        r->deny_status = 413;
        r->deny_why = "the request body is larger than this route takes";
    }
    /* With a body: at once, so that it is not sent in vain; the connection closes.  Without: when
     * the net says that the request is over, so that the connection is kept. */
    if (r->deny_status && h->n_body_bytes != 0) body_refuse(r, r->deny_status, r->deny_why);
    return !r->deny_status && r->route->sink ? r->route->max_body : INT64_MAX;
}

static void on_body(void *ctx, struct net_req *net, const char *p, size_t n, bool last) {
    (void)ctx;
    body_take(net_req_ctx(net), p, n, last);
}

static void on_gone(void *ctx, struct net_req *net) {
    (void)ctx;
    body_gone(net_req_ctx(net));
}

static void on_room(void *ctx, struct net_req *net) {
    (void)ctx;
    stream_room(net_req_ctx(net));
}

static void on_done(void *ctx, struct net_req *net) {
    (void)ctx;
    if (net_req_ctx(net)) request_unref(net_req_ctx(net));
}

/* ---- opening ---- */

static struct models_opts models_opts(const struct server *s) {
    const struct settings *t = &s->settings;
    return (struct models_opts){
        .store = s->store,
        .max_bytes = t->memory_bytes,
        .n_parallel = (int)t->num_parallel,
        .max_loaded = (int)t->max_loaded_models,
        .max_queue = (int)t->max_queue,
        .keep_alive_ns = t->keep_alive_ns,
        .load_timeout_ns = t->load_timeout_ns > 0 ? t->load_timeout_ns : 0,
        .request_timeout_ns = t->request_timeout_ns > 0 ? t->request_timeout_ns : 0,
        .preload = *t->model ? t->model : NULL,
    };
}

static int open_net(struct server *s, struct err *e) {
    char listen[SETTING_TEXT];
    const struct settings *t = &s->settings;
    struct net_server_opts o = {
        .listen = t->host,
        .wide = s->o.wide || t->wide,
        .ctx = s,
        .head = on_head,
        .body = on_body,
        .gone = on_gone,
        .room = on_room,
        .done = on_done,
        .n_conn_max = (int)t->max_connections,
    };
    if (s->o.n_listen) {
        if (settings_host(s->o.listen[0], listen, e) != 0) return -1;
        o.listen = listen;
    }
    if (net_server_open(&s->net, &o, e) != 0) return -1;
    log_line(s->log, LOG_INFO, "listening on %.*s:%d", (int)(strrchr(o.listen, ':') - o.listen),
             o.listen, net_server_port(s->net));
    return 0;
}

static bool log_is_json(const struct settings *t) {
    return *t->log_format ? strcmp(t->log_format, "json") == 0 : !isatty(STDERR_FILENO);
}

struct server *server_open(const struct server_opts *o, struct err *e) {
    struct server *s = calloc(1, sizeof *s);
    if (!s) {
        err_nomem(e, "server");
        return NULL;
    }
    s->o = *o;
    pthread_mutex_init(&s->lock, NULL);
    if (getrandom(&s->id_key, sizeof s->id_key, 0) != sizeof s->id_key) s->id_key = (uintptr_t)s;
    if (settings_read(&s->settings, e) != 0) goto fail;
    if (!(s->log = log_open(STDERR_FILENO, log_is_json(&s->settings), e))) goto fail;
    if (!(s->store = store_open(o->store, e))) goto fail;
    if (!(s->metrics = metrics_new(e)) || !(s->workers = workers_new(e))) goto fail;
    if (open_net(s, e) != 0) goto fail;
    const struct models_opts m = models_opts(s);
    if (!(s->models = models_open(&m, e))) goto fail;
    return s;
fail:
    server_close(s);
    return NULL;
}

int server_run(struct server *s, struct err *e) {
    (void)e;
    net_server_run(s->net);
    log_line(s->log, LOG_INFO, "stopped");
    return 0;
}

void server_drain(struct server *s) {
    pthread_mutex_lock(&s->lock);
    const int64_t grace_ms = s->settings.grace_ns / 1000000;
    pthread_mutex_unlock(&s->lock);
    const bool again = atomic_fetch_add(&s->n_drain, 1) > 0;
    log_line(s->log, LOG_INFO, again ? "stopping now" : "stopping: answers under way may end");
    models_drain(s->models);
    net_server_drain(s->net, again || grace_ms < 0  ? 0
                             : grace_ms > INT32_MAX ? INT32_MAX
                                                    : (int)grace_ms);
}

void server_reload(struct server *s) {
    struct settings t;
    struct err e;
    if (settings_read(&t, &e) != 0) {
        log_line(s->log, LOG_ERROR, "settings were not read again: %s", e.msg);
        return;
    }
    pthread_mutex_lock(&s->lock);
    s->settings = t;
    const struct models_opts m = models_opts(s);
    models_configure(s->models, &m);
    pthread_mutex_unlock(&s->lock);
    log_line(s->log, LOG_INFO, "settings were read again");
}

void server_close(struct server *s) {
    if (!s) return;
    workers_free(s->workers);
    if (s->models) models_close(s->models);
    net_server_close(s->net);
    store_close(s->store);
    metrics_free(s->metrics);
    log_close(s->log);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

int server_port(const struct server *s) {
    return net_server_port(s->net);
}

struct models *server_models(struct server *s) {
    return s->models;
}

struct store *server_store(struct server *s) {
    return s->store;
}
