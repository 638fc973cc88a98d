/* What the front has against a request, from its head alone: looked at in this order, on the net
 * thread, before a byte of the body is read.
 *
 *   path, Host (H1), Origin and preflight (H2), route and method, key, its rights (H3) and limits,
 *   coding and size of the body */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "server/allow.h"
#include "server/front_priv.h"
#include "server/origin.h"

static int deny(struct request *r, int status, const char *why) {
    r->deny_status = status;
    r->deny_why = why;
    return -1;
}

static int take_path(struct request *r, const struct http_head *h) {
    struct buf path = {0};
    const bool good = http_decode(h->path, &path) && !path.failed;
    if (good)
        r->path = path.p;
    else
        buf_fini(&path);
    r->dialect = route_dialect(good ? r->path : "");
    return good ? 0 : deny(r, 400, "the path is not decodable UTF-8 text");
}

/* Is a header there more than once?  Of those that decide, whoever is in between may read another
 * one than we do. */
static bool is_twice(const struct http_head *h, const char *name) {
    int n = 0;
    for (int i = 0; i < h->n_field; i++)
        n += http_is(h->field[i].name, name);
    return n > 1;
}

/* With the server's lock held. */
static int check_page(struct request *r, const struct http_head *h) {
    const struct server *s = r->server;
    const struct str *origin = http_head_get(h, "Origin");
    const bool keys = door_needs_key(s->door);
    const struct origin_rules rules = {s->settings.origins, s->settings.hosts, keys};
    if (!keys && net_req_is_loopback(r->net) && !host_is_local(h->host, s->settings.hosts))
        return deny(r, 403, "this Host is not allowed; CRIA_ALLOWED_HOSTS names more");
    if (!origin) return 0;
    if (is_twice(h, "Origin")) return deny(r, 403, "two Origin headers");
    if (!origin_is_allowed(*origin, h->host, &rules))
        return deny(r, 403, "this Origin is not allowed; CRIA_ORIGINS names more");
    const bool preflight =
        h->method == HTTP_OPTIONS && http_head_get(h, "Access-Control-Request-Method");
    origin_headers(*origin, preflight, &r->headers);
    return preflight ? deny(r, 204, "") : 0;
}

static int take_route(struct request *r, const struct http_head *h) {
    const struct found f = route_find(h->method, r->path);
    r->route = f.route;
    if (f.route || f.other) r->dialect = f.route ? f.route->dialect : f.other->dialect;
    if (f.route && f.param) r->param = r->path + f.param;
    if (f.route) return 0;
    if (!f.other) return deny(r, 404, "no such route");
    buf_str(&r->headers, "Allow: ");
    route_allow(r->path, &r->headers);
    buf_str(&r->headers, "\r\n");
    return deny(r, 405, "method not allowed");
}

static int check_key(struct request *r, const struct http_head *h) {
    struct err e;
    const int status = allow_enter(r, h, &e);
    if (!status) return 0;
    snprintf(r->deny_text, sizeof r->deny_text, "%.159s", e.msg);
    return deny(r, status, r->deny_text);
}

static int check_body(struct request *r, const struct http_head *h) {
    const struct str *coding = http_head_get(h, "Content-Encoding");
    r->coding = coding ? decode_coding(*coding) : CODING_NONE;
    if (r->coding == CODING_UNKNOWN || (r->coding != CODING_NONE && r->route->sink)) {
        if (!r->route->sink) buf_str(&r->headers, "Accept-Encoding: gzip, zstd, identity\r\n");
        return deny(r, 415, "this Content-Encoding is not accepted");
    }
    if (h->n_body_bytes > r->route->max_body)
        return deny(r, 413, "the request body is larger than this route takes");
    return 0;
}

void guard_judge(struct request *r) {
    const struct http_head *h = net_req_head(r->net);
    if (take_path(r, h) != 0) return;
    pthread_mutex_lock(&r->server->lock);
    int rc = check_page(r, h);
    if (rc == 0) rc = take_route(r, h);
    pthread_mutex_unlock(&r->server->lock);
    if (rc == 0) rc = check_key(r, h);
    if (rc == 0) rc = check_body(r, h);
    if (rc == 0 && r->headers.failed) deny(r, 503, "out of memory");
}
