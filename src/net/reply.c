/* Replies, from any thread: framed here, under the server's lock, into the request's queue, which
 * the net thread empties: net/server.h. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "net/server_priv.h"

void net_req_pause(struct net_req *r) {
    pthread_mutex_lock(&r->server->lock);
    r->paused = true;
    pthread_mutex_unlock(&r->server->lock);
}

void net_req_resume(struct net_req *r) {
    struct net_server *s = r->server; /* r may end as soon as the lock is free */
    pthread_mutex_lock(&s->lock);
    r->paused = false;
    net_post(r);
    pthread_mutex_unlock(&s->lock);
}

static const char *reason(int status) {
    static const struct {
        int status;
        const char *text;
    } table[] = {
        {200, "OK"},
        {201, "Created"},
        {204, "No Content"},
        {304, "Not Modified"},
        {400, "Bad Request"},
        {401, "Unauthorized"},
        {403, "Forbidden"},
        {404, "Not Found"},
        {405, "Method Not Allowed"},
        {408, "Request Timeout"},
        {413, "Content Too Large"},
        {414, "URI Too Long"},
        {415, "Unsupported Media Type"},
        {417, "Expectation Failed"},
        {429, "Too Many Requests"},
        {431, "Request Header Fields Too Large"},
        {499, "Client Closed Request"},
        {500, "Internal Server Error"},
        {501, "Not Implemented"},
        {503, "Service Unavailable"},
        {504, "Gateway Timeout"},
        {505, "HTTP Version Not Supported"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (table[i].status == status) return table[i].text;
    return "Status";
}

/* Complete lines of visible bytes with a name, and no framing of their own. */
static bool are_lines(const char *p) {
    while (*p) {
        const char *end = strstr(p, "\r\n");
        const size_t n_name = strcspn(p, ": \t\r\n");
        if (!end || n_name == 0 || p[n_name] != ':') return false;
        for (const char *q = p; q < end; q++)
            if (((unsigned char)*q < ' ' && *q != '\t') || *q == 0x7f) return false;
        const struct str name = {p, n_name};
        if (http_is(name, "Content-Length") || http_is(name, "Transfer-Encoding") ||
            http_is(name, "Connection"))
            return false;
        p = end + 2;
    }
    return true;
}

static void put_head(struct net_req *r, int status, const char *headers, int64_t n_body_bytes) {
    char date[64];
    struct tm tm;
    const time_t now = time(NULL);
    gmtime_r(&now, &tm);
    strftime(date, sizeof date, "%a, %d %b %Y %H:%M:%S GMT", &tm);
    evbuffer_add_printf(r->queue, "HTTP/1.1 %d %s\r\nDate: %s\r\n%s", status, reason(status), date,
                        headers ? headers : "");
    if (n_body_bytes >= 0 && status != 204)
        evbuffer_add_printf(r->queue, "Content-Length: %lld\r\n", (long long)n_body_bytes);
    if (r->chunked) evbuffer_add_printf(r->queue, "Transfer-Encoding: chunked\r\n");
    if (r->close)
        evbuffer_add_printf(r->queue, "Connection: close\r\n");
    else if (r->head.minor == 0)
        evbuffer_add_printf(r->queue, "Connection: keep-alive\r\n");
    evbuffer_add(r->queue, "\r\n", 2);
}

int net_reply_start(struct net_req *r, int status, const char *headers, int64_t n_body_bytes,
                    struct err *e) {
    struct net_server *s = r->server;
    if (status < 200 || status > 599 || (headers && !are_lines(headers)))
        return err_set(e, ERR_FORMAT,
                       "reply: status %d or its headers; complete lines without framing are "
                       "accepted",
                       status);
    pthread_mutex_lock(&s->lock);
    if (!r->started && !r->gone) {
        r->started = true;
        r->no_body = r->head.method == HTTP_HEAD || status == 204 || status == 304;
        r->n_left = n_body_bytes;
        /* HTTP/1.0 knows no chunks: its body ends with the connection. */
        r->chunked = n_body_bytes < 0 && r->head.minor > 0 && status != 204 && status != 304;
        /* A reply before the request's end leaves bytes that nobody reads. */
        r->close |= s->draining || !r->body_done || (n_body_bytes < 0 && !r->chunked);
        put_head(r, status, headers, n_body_bytes);
        net_post(r);
    }
    pthread_mutex_unlock(&s->lock);
    return 0;
}

static void put_body(struct net_req *r, const void *p, size_t n) {
    if (r->n_left >= 0 && (int64_t)n > r->n_left) n = (size_t)r->n_left;
    if (r->n_left >= 0) r->n_left -= (int64_t)n;
    if (r->no_body || n == 0) return;
    if (r->chunked) evbuffer_add_printf(r->queue, "%zx\r\n", n);
    evbuffer_add(r->queue, p, n);
    if (r->chunked) evbuffer_add(r->queue, "\r\n", 2);
    net_post(r);
}

enum net_put net_reply_write(struct net_req *r, const void *p, size_t n) {
    struct net_server *s = r->server;
    enum net_put put = NET_OK;
    pthread_mutex_lock(&s->lock);
    if (r->gone || !r->started)
        put = NET_GONE;
    else if (evbuffer_get_length(r->queue) > NET_QUEUE_MAX)
        put = NET_FULL;
    else
        put_body(r, p, n);
    r->full |= put == NET_FULL;
    pthread_mutex_unlock(&s->lock);
    return put;
}

void net_reply_end(struct net_req *r, bool complete) {
    struct net_server *s = r->server;
    pthread_mutex_lock(&s->lock);
    r->cut = !complete || !r->started || (r->n_left > 0 && !r->no_body);
    if (r->chunked && !r->cut && !r->no_body) evbuffer_add(r->queue, "0\r\n\r\n", 5);
    r->ended = true;
    net_post(r);
    pthread_mutex_unlock(&s->lock);
}
