/* Replies, from any thread: framed here, under the request's lock.  A piece of a body goes to the
 * socket at once when nothing waits before it: a token then costs its own thread one system call
 * and wakes nobody.  All else, and what the socket does not take, goes into the request's queue,
 * which the net thread empties: net/server.h. */
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>

#include "net/server_priv.h"

void net_req_pause(struct net_req *r) {
    pthread_mutex_lock(&r->lock);
    r->paused = true;
    pthread_mutex_unlock(&r->lock);
}

void net_req_resume(struct net_req *r) {
    pthread_mutex_lock(&r->lock);
    r->paused = false;
    net_post(r);
    pthread_mutex_unlock(&r->lock); /* r may end now */
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
    if (status < 200 || status > 599 || (headers && !are_lines(headers)))
        return err_set(e, ERR_FORMAT,
                       "reply: status %d or its headers; complete lines without framing are "
                       "accepted",
                       status);
    pthread_mutex_lock(&r->lock);
    if (!r->started && !r->gone) {
        r->started = true;
        r->no_body = r->head.method == HTTP_HEAD || status == 204 || status == 304;
        r->n_left = n_body_bytes;
        /* HTTP/1.0 knows no chunks: its body ends with the connection. */
        r->chunked = n_body_bytes < 0 && r->head.minor > 0 && status != 204 && status != 304;
        /* A reply before the request's end leaves bytes that nobody reads. */
        r->close |= r->server->draining || !r->body_done || (n_body_bytes < 0 && !r->chunked);
        put_head(r, status, headers, n_body_bytes);
        net_post(r);
    }
    pthread_mutex_unlock(&r->lock);
    return 0;
}

/* What of v the socket takes at once, in bytes.  An error comes again on the net thread, whose it
 * is. */
static size_t send_now(struct net_req *r, struct iovec *v, int n_v) {
    const struct msghdr m = {.msg_iov = v, .msg_iovlen = (size_t)n_v};
    if (r->direct_fd < 0 || evbuffer_get_length(r->queue)) return 0;
    const ssize_t n = sendmsg(r->direct_fd, &m, MSG_DONTWAIT | MSG_NOSIGNAL);
    return n < 0 ? 0 : (size_t)n;
}

/* The length of a chunk, a line of its own; without printf, for it is the cost of a token that
 * counts. */
static size_t size_line(char line[20], size_t n) {
    char digit[16];
    int n_digit = 0;
    size_t at = 0;
    for (; n; n >>= 4)
        digit[n_digit++] = "0123456789abcdef"[n & 15];
    while (n_digit)
        line[at++] = digit[--n_digit];
    line[at++] = '\r';
    line[at++] = '\n';
    return at;
}

static void put_body(struct net_req *r, const void *p, size_t n) {
    if (r->n_left >= 0 && (int64_t)n > r->n_left) n = (size_t)r->n_left;
    if (r->n_left >= 0) r->n_left -= (int64_t)n;
    if (r->no_body || n == 0) return;
    char line[20], end[] = "\r\n";
    struct iovec v[3] = {{line, 0}, {(void *)(uintptr_t)p, n}, {end, 0}};
    if (r->chunked) {
        v[0].iov_len = size_line(line, n);
        v[2].iov_len = 2;
    }
    size_t n_sent = send_now(r, v, 3);
    if (n_sent == v[0].iov_len + n + v[2].iov_len) return;
    for (int i = 0; i < 3; i++) { /* the rest waits */
        const size_t skip = n_sent < v[i].iov_len ? n_sent : v[i].iov_len;
        evbuffer_add(r->queue, (const char *)v[i].iov_base + skip, v[i].iov_len - skip);
        n_sent -= skip;
    }
    net_post(r);
}

enum net_put net_reply_write(struct net_req *r, const void *p, size_t n) {
    enum net_put put = NET_OK;
    pthread_mutex_lock(&r->lock);
    if (r->gone || !r->started)
        put = NET_GONE;
    else if (evbuffer_get_length(r->queue) > NET_QUEUE_MAX)
        put = NET_FULL;
    else
        put_body(r, p, n);
    r->full |= put == NET_FULL;
    pthread_mutex_unlock(&r->lock);
    return put;
}

void net_reply_end(struct net_req *r, bool complete) {
    pthread_mutex_lock(&r->lock);
    r->cut = !complete || !r->started || (r->n_left > 0 && !r->no_body);
    if (r->chunked && !r->cut && !r->no_body) evbuffer_add(r->queue, "0\r\n\r\n", 5);
    r->ended = true;
    net_post(r);
    pthread_mutex_unlock(&r->lock);
}
