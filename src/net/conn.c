/* One connection: (SHAKE, with TLS ->) IDLE -> HEAD -> BODY -> REPLY -> IDLE ..., or CLOSING, in
 * which an error's answer is flushed and what the client still sends is drained for 2 s (closing at
 * once would reset the connection and lose the answer).  Reading stays on during a reply: an end of
 * file or an error there is how a leaving client is seen; a half-close counts as leaving, as in
 * Go's server.  It stops when the client is more than NET_INPUT_MAX ahead with its next requests:
 * it may have a reply, and send after it, before this thread hears that the reply is over. */
#include <errno.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "net/server_priv.h"

enum { PUMP_MAX = 16 }; /* of NET_OUT_MAX bytes each, before others have their turn */

static void set_timer(struct conn *c, int ms) {
    const struct timeval tv = {ms / 1000, (ms % 1000) * 1000};
    evtimer_add(c->timer, &tv);
}

/* ---- those that shake hands, by age ---- */

static void join_shakers(struct conn *c) {
    struct net_server *s = c->server;
    if (s->n_shake == NET_SHAKE_MAX) conn_free(s->oldest);
    c->older = s->youngest;
    *(c->older ? &c->older->younger : &s->oldest) = c;
    s->youngest = c;
    s->n_shake++;
}

static void leave_shakers(struct conn *c) {
    struct net_server *s = c->server;
    *(c->older ? &c->older->younger : &s->oldest) = c->younger;
    *(c->younger ? &c->younger->older : &s->youngest) = c->older;
    s->n_shake--;
}

static void enter(struct conn *c, enum conn_state state) {
    const struct net_server_opts *o = &c->server->o;
    if (c->state == CONN_SHAKE && state != CONN_SHAKE) leave_shakers(c);
    const int ms[] = {o->head_ms, o->idle_ms, o->head_ms, o->body_ms, o->write_ms, 2000};
    c->state = state;
    c->n_window = 0;
    set_timer(c, ms[state]);
}

void net_req_free(struct net_req *r) {
    struct net_server *s = r->server;
    s->n_req--;
    if (r->seen && s->o.done) s->o.done(s->o.ctx, r);
    if (r->queue) evbuffer_free(r->queue);
    pthread_mutex_destroy(&r->lock);
    free(r->bytes);
    free(r);
}

/* The application's request loses its connection. */
static void lose_req(struct conn *c) {
    struct net_server *s = c->server;
    struct net_req *r = c->req;
    if (!r) return;
    c->req = NULL;
    pthread_mutex_lock(&r->lock);
    r->gone = true;
    r->conn = NULL;
    r->direct_fd = -1;
    const bool ended = r->ended, posted = r->posted;
    pthread_mutex_unlock(&r->lock);
    if (!ended && s->o.gone) s->o.gone(s->o.ctx, r);
    /* Posted ones are freed when their turn comes; gone() may have ended it, and so posted it. */
    if (ended && !posted) net_req_free(r);
}

void conn_free(struct conn *c) {
    struct net_server *s = c->server;
    lose_req(c);
    if (c->state == CONN_SHAKE) leave_shakers(c);
    *(c->prev ? &c->prev->next : &s->conns) = c->next;
    if (c->next) c->next->prev = c->prev;
    event_free(c->timer);
    bufferevent_free(c->bev);
    peer_unref(s, c->peer);
    free(c);
    if (s->n_conn-- == s->o.n_conn_max) listeners_enable(s, true);
}

/* Send what is in the output.  A socket that takes all of it, the usual case of a token, costs one
 * system call; libevent's own way (wait until it can be written to, write, wait no more) costs four
 * and is kept for what is left, and for TLS. */
static void send_output(struct conn *c) {
    struct evbuffer *out = bufferevent_get_output(c->bev);
    if (c->tls || evbuffer_get_length(out) == 0) return;
    evbuffer_unfreeze(out, 1); /* it is kept from others than the bufferevent */
    evbuffer_write(out, bufferevent_getfd(c->bev)); /* an error comes again below */
    evbuffer_freeze(out, 1);
    if (evbuffer_get_length(out)) bufferevent_enable(c->bev, EV_WRITE);
}

/* The socket when replies may be written to it from any thread: nothing waits before them. */
static int direct_fd(const struct conn *c) {
    const bool waits = c->tls || evbuffer_get_length(bufferevent_get_output(c->bev));
    return waits ? -1 : bufferevent_getfd(c->bev);
}

/* The client sees that no more comes. */
static void end_output(struct conn *c) {
    if (c->tls) tls_say_goodbye(c->tls);
    shutdown(bufferevent_getfd(c->bev), SHUT_WR);
}

/* Nothing more is read as a request; what is in the output goes out first. */
static void start_closing(struct conn *c) {
    lose_req(c);
    enter(c, CONN_CLOSING);
    bufferevent_enable(c->bev, EV_READ);
    evbuffer_drain(bufferevent_get_input(c->bev), (size_t)-1);
    if (evbuffer_get_length(bufferevent_get_output(c->bev)) == 0) end_output(c);
}

/* The application has answered in head_fn: the body is not wanted. */
static bool is_started(struct net_req *r) {
    pthread_mutex_lock(&r->lock);
    const bool started = r->started;
    pthread_mutex_unlock(&r->lock);
    return started;
}

static void refuse(struct conn *c, int status, const char *why) {
    char body[300];
    if (c->req && is_started(c->req)) { /* a reply is under way: cut it */
        conn_free(c);
        return;
    }
    const int n = snprintf(body, sizeof body, "{\"error\":\"%s\"}\n", why);
    evbuffer_add_printf(bufferevent_get_output(c->bev),
                        "HTTP/1.1 %d %s\r\nContent-Type: application/json\r\n"
                        "Content-Length: %d\r\nConnection: close\r\n\r\n%s",
                        status, "Refused", n, c->no_body ? "" : body);
    send_output(c);
    start_closing(c);
}

/* ---- reading ---- */

static struct net_req *req_new(struct conn *c, size_t n_head) {
    struct net_req *r = calloc(1, sizeof *r);
    if (!r) return NULL;
    pthread_mutex_init(&r->lock, NULL);
    r->server = c->server;
    r->conn = c;
    r->direct_fd = direct_fd(c);
    r->bytes = malloc(n_head);
    r->queue = evbuffer_new();
    c->server->n_req++;
    if (r->bytes && r->queue) return r;
    net_req_free(r);
    return NULL;
}

/* The end of a body: the application may have answered, even ended, before. */
static void body_ends(struct conn *c) {
    struct net_server *s = c->server;
    struct net_req *r = c->req;
    pthread_mutex_lock(&r->lock);
    r->body_done = true;
    pthread_mutex_unlock(&r->lock);
    enter(c, CONN_REPLY);
    s->o.body(s->o.ctx, r, "", 0, true);
}

/* A complete head of n bytes behind `lead` is in the input.  False: c is closing or freed. */
static bool take_head(struct conn *c) {
    struct net_server *s = c->server;
    struct evbuffer *in = bufferevent_get_input(c->bev);
    const size_t n = c->scan.at - c->scan.lead;
    const char *why = "";
    struct net_req *r = req_new(c, n);
    int64_t rc;
    if (!r) return conn_free(c), false;
    evbuffer_drain(in, c->scan.lead);
    evbuffer_remove(in, r->bytes, n);
    c->scan = (struct http_scan){0};
    c->chunk = (struct http_chunk){0};
    c->body_over = false;
    rc = http_head_parse(&r->head, r->bytes, n, &why);
    c->no_body = rc == 0 && r->head.method == HTTP_HEAD;
    if (rc < 0) atomic_fetch_add(&s->n_malformed, 1);
    if (rc == 0 && s->draining) rc = -503, why = "the server is shutting down";
    r->close = rc < 0 || !r->head.keep_alive;
    if (rc == 0) {
        r->seen = true;
        rc = s->o.head(s->o.ctx, r), why = "refused";
        if (rc >= 0) c->req = r;
    }
    if (rc >= 0 && r->head.n_body_bytes > rc) rc = -413, why = "the body is larger than allowed";
    if (rc < 0) {
        if (c->req != r) net_req_free(r);
        return refuse(c, (int)-rc, why), false;
    }
    r->n_limit = rc;
    c->body_start_ns = os_now_ns();
    enter(c, CONN_BODY);
    if (r->head.expect_continue && r->head.n_body_bytes && !is_started(r) &&
        evbuffer_get_length(in) == 0) {
        evbuffer_add_printf(bufferevent_get_output(c->bev), "HTTP/1.1 100 Continue\r\n\r\n");
        send_output(c);
    }
    if (r->head.n_body_bytes == 0) body_ends(c);
    return true;
}

static bool read_head(struct conn *c) {
    struct evbuffer *in = bufferevent_get_input(c->bev);
    size_t n = evbuffer_get_length(in);
    if (n == 0) return false;
    if (n > HTTP_HEAD_MAX + 8) n = HTTP_HEAD_MAX + 8;
    if (c->state == CONN_IDLE) enter(c, CONN_HEAD);
    const int rc = http_scan_head(&c->scan, (const char *)evbuffer_pullup(in, (ev_ssize_t)n), n);
    if (rc < 0) {
        atomic_fetch_add(&c->server->n_malformed, 1);
        return refuse(c, -rc, "malformed or too long request head"), false;
    }
    return rc == 1 && take_head(c);
}

static bool is_paused(struct conn *c) {
    pthread_mutex_lock(&c->req->lock);
    const bool paused = c->req->paused;
    pthread_mutex_unlock(&c->req->lock);
    return paused;
}

/* One piece of the body.  False: none is there, or c is closing. */
static bool read_body(struct conn *c) {
    struct net_server *s = c->server;
    struct net_req *r = c->req;
    struct evbuffer *in = bufferevent_get_input(c->bev);
    if (is_paused(c)) {
        bufferevent_disable(c->bev, EV_READ);
        return false;
    }
    if (c->body_over) return body_ends(c), true;
    const size_t n_in = evbuffer_get_contiguous_space(in); /* of the first piece: no copy */
    const char *p = (const char *)evbuffer_pullup(in, (ev_ssize_t)n_in);
    struct str data = {p, n_in};
    size_t n_used;
    bool last;
    if (n_in == 0) return false;
    if (r->head.n_body_bytes < 0) {
        const int rc = http_chunk_feed(&c->chunk, p, n_in, &n_used, &data);
        if (rc < 0) return refuse(c, -rc, "malformed chunked body"), false;
        last = rc == 1;
    } else {
        const int64_t n_left = r->head.n_body_bytes - r->n_body;
        if ((int64_t)data.n > n_left) data.n = (size_t)n_left;
        n_used = data.n;
        last = (int64_t)data.n == n_left;
    }
    r->n_body += (int64_t)data.n;
    if (r->n_body > r->n_limit) return refuse(c, 413, "the body is larger than allowed"), false;
    c->n_window += data.n;
    if (data.n) s->o.body(s->o.ctx, r, data.p, data.n, false);
    evbuffer_drain(in, n_used);
    c->body_over = last;
    return true;
}

static void read_input(struct conn *c) {
    bool more = true;
    while (more) {
        switch (c->state) {
        case CONN_SHAKE:
        case CONN_IDLE:
        case CONN_HEAD: more = read_head(c); break;
        case CONN_BODY: more = read_body(c); break;
        case CONN_REPLY:
            if (evbuffer_get_length(bufferevent_get_input(c->bev)) > NET_INPUT_MAX)
                bufferevent_disable(c->bev, EV_READ); /* until end_reply */
            return;
        case CONN_CLOSING: evbuffer_drain(bufferevent_get_input(c->bev), (size_t)-1); return;
        }
    }
}

/* ---- writing ---- */

/* The reply is in the output, whole.  True: the next request may be read. */
static bool end_reply(struct conn *c) {
    struct net_req *r = c->req;
    const bool cut = r->cut, close = r->close || !r->body_done;
    c->req = NULL;
    net_req_free(r);
    if (cut) {
        conn_free(c);
        return false;
    }
    if (close || c->server->draining) {
        start_closing(c);
        return false;
    }
    c->no_body = false;
    enter(c, CONN_IDLE);
    bufferevent_enable(c->bev, EV_READ);
    return true;
}

/* Up to NET_OUT_MAX bytes of the queue into the output, and on.  True: some are left.  All under
 * the lock, so that no piece from another thread comes between. */
static bool move_queue(struct conn *c, bool *room, bool *over) {
    struct net_req *r = c->req;
    struct evbuffer *out = bufferevent_get_output(c->bev);
    pthread_mutex_lock(&r->lock);
    const size_t n_out = evbuffer_get_length(out);
    if (n_out < NET_OUT_MAX && evbuffer_get_length(r->queue)) {
        if (n_out == 0 && c->state == CONN_REPLY) set_timer(c, c->server->o.write_ms);
        evbuffer_remove_buffer(r->queue, out, NET_OUT_MAX);
    }
    send_output(c);
    r->direct_fd = direct_fd(c);
    const bool empty = evbuffer_get_length(r->queue) == 0;
    *room = empty && r->full && !r->ended;
    *over = empty && r->ended && !r->posted;
    if (*room) r->full = false;
    pthread_mutex_unlock(&r->lock);
    return !empty;
}

void conn_pump(struct conn *c) {
    struct net_server *s = c->server;
    bool room = false, over = false, more = c->req != NULL;
    if (!more) return;
    for (int i = 0; more && i < PUMP_MAX; i++) {
        more = move_queue(c, &room, &over);
        if (evbuffer_get_length(bufferevent_get_output(c->bev))) break; /* on_write goes on */
        if (more && i + 1 == PUMP_MAX) {                                /* others' turn */
            pthread_mutex_lock(&c->req->lock);
            net_post(c->req);
            pthread_mutex_unlock(&c->req->lock);
        }
    }
    if (room && s->o.room) s->o.room(s->o.ctx, c->req);
    if (over) {
        if (end_reply(c)) read_input(c);
    } else if (c->state == CONN_BODY && !is_paused(c)) {
        bufferevent_enable(c->bev, EV_READ);
        read_input(c);
    }
}

/* ---- libevent's calls ---- */

static void on_read(struct bufferevent *bev, void *arg) {
    (void)bev;
    read_input(arg);
}

static void on_write(struct bufferevent *bev, void *arg) { /* the output is empty */
    struct conn *c = arg;
    if (!c->tls) bufferevent_disable(bev, EV_WRITE); /* until something is left again */
    if (c->state == CONN_CLOSING)
        end_output(c);
    else
        conn_pump(c);
}

static void on_event(struct bufferevent *bev, short what, void *arg) {
    struct conn *c = arg;
    (void)bev;
    if ((what & BEV_EVENT_CONNECTED) && c->state == CONN_SHAKE) enter(c, CONN_IDLE);
    if (what & (BEV_EVENT_EOF | BEV_EVENT_ERROR)) conn_free(c);
}

/* Bytes left the output: a reader that reads, however slowly, may go on. */
static void on_output(struct evbuffer *out, const struct evbuffer_cb_info *info, void *arg) {
    struct conn *c = arg;
    (void)out;
    if (info->n_deleted && c->state == CONN_REPLY) set_timer(c, c->server->o.write_ms);
}

/* Has the whole body had its time? A paused one waits for us. */
static bool is_late(struct conn *c) {
    const int64_t now = os_now_ns(), window = (int64_t)c->server->o.body_ms * 1000000;
    if (is_paused(c)) c->body_start_ns += window;
    const int64_t ms = c->server->o.total_ms + c->req->n_body / 64; /* bytes / 64: 1 s for 64 KiB */
    return now - c->body_start_ns > ms * 1000000;
}

static void on_timer(evutil_socket_t fd, short what, void *arg) {
    struct conn *c = arg;
    (void)fd, (void)what;
    if (c->state == CONN_HEAD) {
        refuse(c, 408, "the request head took too long");
    } else if (c->state == CONN_BODY && !is_late(c) && (c->n_window >= 1024 || is_paused(c))) {
        enter(c, CONN_BODY);
    } else if (c->state == CONN_BODY) {
        refuse(c, 408, "the body took too long");
    } else if (c->state == CONN_REPLY && evbuffer_get_length(bufferevent_get_output(c->bev)) == 0) {
        set_timer(c, c->server->o.write_ms); /* it is the application that takes its time */
    } else {
        conn_free(c);
    }
}

/* The bufferevent of a new connection; it owns fd. */
static struct bufferevent *open_bev(struct listener *l, int fd, struct ssl_st **ssl) {
    struct net_server *s = l->server;
    struct bufferevent *bev;
    pthread_mutex_lock(&s->lock);
    const bool tls = l->tls && s->tls;
    if (tls)
        bev = tls_accept(s->base, s->tls, fd, ssl);
    else
        bev = bufferevent_socket_new(s->base, fd, BEV_OPT_CLOSE_ON_FREE);
    pthread_mutex_unlock(&s->lock);
    return bev;
}

void conn_new(struct listener *l, int fd, const struct sockaddr *a) {
    const int one = 1;
    struct net_server *s = l->server;
    struct ssl_st *ssl = NULL;
    struct peer *peer = peer_ref(s, fd, a);
    struct conn *c = peer ? calloc(1, sizeof *c) : NULL;
    struct event *timer = c ? evtimer_new(s->base, on_timer, c) : NULL;
    struct bufferevent *bev = timer ? open_bev(l, fd, &ssl) : NULL;
    if (!bev) {
        close(fd);
        if (timer) event_free(timer);
        peer_unref(s, peer);
        free(c);
        return;
    }
    setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one,
               sizeof one); /* fails on Unix sockets: no matter */
    c->server = s, c->bev = bev, c->timer = timer;
    c->peer = peer, c->loopback = l->loopback, c->tls = ssl;
    c->next = s->conns;
    if (c->next) c->next->prev = c;
    s->conns = c;
    if (++s->n_conn >= s->o.n_conn_max) listeners_enable(s, false);
    bufferevent_setcb(bev, on_read, on_write, on_event, c);
    evbuffer_add_cb(bufferevent_get_output(bev), on_output, c);
    c->state = CONN_IDLE;
    if (ssl) join_shakers(c);
    enter(c, ssl ? CONN_SHAKE : CONN_IDLE);
    bufferevent_enable(bev, EV_READ);
    if (!ssl) bufferevent_disable(bev, EV_WRITE); /* send_output */
}
