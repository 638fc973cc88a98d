/* The queue from other threads, the drain, beginning and end: net/server.h. */
#include "net/server.h"

#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "net/server_priv.h"

const struct http_head *net_req_head(const struct net_req *r) {
    return &r->head;
}

void net_req_set_ctx(struct net_req *r, void *ctx) {
    r->ctx = ctx;
}

void *net_req_ctx(const struct net_req *r) {
    return r->ctx;
}

const char *net_req_peer(const struct net_req *r) {
    return r->conn ? r->conn->peer->name : "";
}

bool net_req_is_loopback(const struct net_req *r) {
    return r->conn && r->conn->loopback;
}

int net_server_port(const struct net_server *s) {
    return s->port;
}

/* ---- from other threads ---- */

static void wake(struct net_server *s) {
    const uint64_t one = 1;
    while (write(s->wake_fd, &one, sizeof one) < 0 && errno == EINTR)
        ;
}

void net_post(struct net_req *r) {
    struct net_server *s = r->server;
    if (r->posted) return;
    r->posted = true;
    pthread_mutex_lock(&s->lock);
    r->next = s->posted;
    s->posted = r;
    if (!r->next) wake(s);
    pthread_mutex_unlock(&s->lock);
}

void net_server_drain(struct net_server *s, int grace_ms) {
    pthread_mutex_lock(&s->lock);
    s->drain_ms = grace_ms < 0 ? 0 : grace_ms;
    wake(s);
    pthread_mutex_unlock(&s->lock);
}

static void cut_all(evutil_socket_t fd, short what, void *arg) {
    struct net_server *s = arg;
    (void)fd, (void)what;
    while (s->conns)
        conn_free(s->conns);
}

static void start_drain(struct net_server *s, int ms) {
    const struct timeval tv = {ms / 1000, (ms % 1000) * 1000};
    listeners_close(s);
    for (struct conn *c = s->conns, *next; c; c = next) {
        next = c->next;
        if (c->state == CONN_IDLE || c->state == CONN_SHAKE) conn_free(c);
    }
    evtimer_add(s->grace, &tv);
}

static void on_wake(evutil_socket_t fd, short what, void *arg) {
    struct net_server *s = arg;
    uint64_t n;
    (void)what;
    if (read(fd, &n, sizeof n) < 0 && errno != EAGAIN) return;
    pthread_mutex_lock(&s->lock);
    struct net_req *list = s->posted;
    const int drain_ms = s->drain_ms;
    s->posted = NULL;
    s->drain_ms = -1;
    pthread_mutex_unlock(&s->lock);
    if (drain_ms >= 0) {
        s->draining = true;
        start_drain(s, drain_ms);
    }
    for (struct net_req *r = list, *next; r; r = next) {
        pthread_mutex_lock(&r->lock);
        next = r->next;
        r->posted = false;
        const bool over = r->ended && !r->conn;
        pthread_mutex_unlock(&r->lock);
        if (over)
            net_req_free(r);
        else if (r->conn)
            conn_pump(r->conn);
    }
}

/* ---- opening ---- */

static void on_pause_over(evutil_socket_t fd, short what, void *arg) {
    struct net_server *s = arg;
    (void)fd, (void)what;
    if (s->n_conn < s->o.n_conn_max) listeners_enable(s, true);
}

static void set_defaults(struct net_server_opts *o) {
    static const char *const usual[] = {"127.0.0.1:11434"};
    if (!o->n_listen) o->listen = usual, o->n_listen = 1;
    if (!o->total_ms) o->total_ms = 300000;
    if (!o->n_conn_max) o->n_conn_max = 12000;
    if (!o->idle_ms) o->idle_ms = 75000;
    if (!o->head_ms) o->head_ms = 10000;
    if (!o->body_ms) o->body_ms = 30000;
    if (!o->write_ms) o->write_ms = 30000;
}

int net_server_open(struct net_server **out, const struct net_server_opts *o, struct err *e) {
    struct net_server *s = calloc(1, sizeof *s);
    *out = NULL;
    if (!s) return err_nomem(e, "server");
    s->o = *o;
    s->drain_ms = -1;
    set_defaults(&s->o);
    pthread_mutex_init(&s->lock, NULL);
    s->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    s->base = event_base_new();
    if (s->base && s->wake_fd >= 0) {
        s->wake = event_new(s->base, s->wake_fd, EV_READ | EV_PERSIST, on_wake, s);
        s->pause = evtimer_new(s->base, on_pause_over, s);
        s->grace = evtimer_new(s->base, cut_all, s);
    }
    int rc = 0;
    if (s->o.n_listen > NET_LISTEN_MAX)
        rc = err_set(e, ERR_USAGE, "server: %d addresses; %d are accepted", s->o.n_listen,
                     NET_LISTEN_MAX);
    else if (!s->wake || !s->pause || !s->grace || event_add(s->wake, NULL) < 0)
        rc = err_nomem(e, "server");
    else if (s->o.tls_cert && !(s->tls = tls_new(s->o.tls_cert, s->o.tls_key, e)))
        rc = -1;
    for (int i = 0; rc == 0 && i < s->o.n_listen; i++)
        rc = listener_open(s, s->o.listen[i], e);
    if (rc < 0) {
        net_server_close(s);
        return -1;
    }
    *out = s;
    return 0;
}

long net_server_malformed(const struct net_server *s) {
    return atomic_load(&s->n_malformed);
}

const char *net_server_address(const struct net_server *s, int i) {
    return i < s->n_listener ? s->listener[i].address : NULL;
}

int net_server_tls(struct net_server *s, const char *cert, const char *key, struct err *e) {
    struct ssl_ctx_st *new = tls_new(cert, key, e);
    if (!new) return -1;
    pthread_mutex_lock(&s->lock);
    struct ssl_ctx_st *old = s->tls;
    s->tls = new;
    pthread_mutex_unlock(&s->lock);
    tls_free(old); /* connections hold it as long as they need it */
    return 0;
}

void net_server_run(struct net_server *s) {
    sigset_t pipe;
    sigemptyset(&pipe);
    sigaddset(&pipe, SIGPIPE);
    pthread_sigmask(SIG_BLOCK, &pipe, NULL); /* of this thread: a write then fails with EPIPE */
    while (event_base_loop(s->base, EVLOOP_ONCE) == 0) {
        if (s->draining && s->n_conn == 0 && s->n_req == 0) break;
    }
}

void net_server_close(struct net_server *s) {
    if (!s) return;
    while (s->conns)
        conn_free(s->conns);
    listeners_close(s);
    tls_free(s->tls);
    if (s->wake) event_free(s->wake);
    if (s->pause) event_free(s->pause);
    if (s->grace) event_free(s->grace);
    if (s->base) event_base_free(s->base);
    if (s->wake_fd >= 0) close(s->wake_fd);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
