/* The listener, the queue from other threads, the drain: net/server.h. */
#include "net/server.h"

#include <arpa/inet.h>
#include <errno.h>
#include <netdb.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/address.h"
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
    return r->conn ? r->conn->peer : "";
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
    r->next = s->posted;
    s->posted = r;
    if (!r->next) wake(s);
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
    if (s->listener) evconnlistener_free(s->listener);
    s->listener = NULL;
    for (struct conn *c = s->conns, *next; c; c = next) {
        next = c->next;
        if (c->state == CONN_IDLE) conn_free(c);
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
    s->draining |= drain_ms >= 0;
    pthread_mutex_unlock(&s->lock);
    if (drain_ms >= 0) start_drain(s, drain_ms);
    for (struct net_req *r = list, *next; r; r = next) {
        pthread_mutex_lock(&s->lock);
        next = r->next;
        r->posted = false;
        const bool over = r->ended && !r->conn;
        pthread_mutex_unlock(&s->lock);
        if (over)
            net_req_free(r);
        else if (r->conn)
            conn_pump(r->conn);
    }
}

/* ---- listening ---- */

static void on_accept(struct evconnlistener *l, evutil_socket_t fd, struct sockaddr *a, int n,
                      void *arg) {
    (void)l, (void)n;
    conn_new(arg, fd, a);
}

/* Out of descriptors, say: rest for 100 ms instead of spinning. */
static void on_accept_error(struct evconnlistener *l, void *arg) {
    const struct timeval tv = {0, 100000};
    struct net_server *s = arg;
    evconnlistener_disable(l);
    evtimer_add(s->pause, &tv);
}

static void on_pause_over(evutil_socket_t fd, short what, void *arg) {
    struct net_server *s = arg;
    (void)fd, (void)what;
    if (s->listener && s->n_conn < s->o.n_conn_max) evconnlistener_enable(s->listener);
}

static int bind_unix(struct net_server *s, const char *path, struct err *e) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    if (strlen(path) >= sizeof a.sun_path)
        return err_set(e, ERR_USAGE, "%s: too long for a Unix socket", path);
    strcpy(a.sun_path, path);
    const mode_t old = umask(0177); /* never open to others, not even at first */
    s->listener = evconnlistener_new_bind(s->base, on_accept, s,
                                          LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, -1,
                                          (struct sockaddr *)&a, sizeof a);
    umask(old);
    if (!s->listener) return err_errno(e, path);
    s->unix_path = strdup(path);
    return s->unix_path ? 0 : err_nomem(e, path);
}

/* "ADDRESS:PORT" or "[IPv6]:PORT", both as numbers. */
static bool parse_address(const char *text, struct sockaddr_storage *a, socklen_t *n) {
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *found = NULL;
    const char *colon = strrchr(text, ':');
    char host[64];
    size_t n_host = colon ? (size_t)(colon - text) : 0;
    const bool brackets = n_host > 2 && text[0] == '[' && text[n_host - 1] == ']';
    if (n_host == 0 || n_host >= sizeof host || !colon[1]) return false;
    if (brackets) text++, n_host -= 2;
    memcpy(host, text, n_host);
    host[n_host] = 0;
    if (getaddrinfo(host, colon + 1, &hints, &found) != 0) return false;
    const bool good = brackets == (found->ai_family == AF_INET6);
    memcpy(a, found->ai_addr, found->ai_addrlen);
    *n = found->ai_addrlen;
    freeaddrinfo(found);
    return good;
}

static int bind_tcp(struct net_server *s, const char *text, struct err *e) {
    struct sockaddr_storage a;
    socklen_t n = 0, n_name = sizeof a;
    if (!parse_address(text, &a, &n))
        return err_set(e, ERR_USAGE, "%s: ADDRESS:PORT, [IPv6]:PORT or unix:PATH is accepted",
                       text);
    if (!s->o.wide && net_class_of((struct sockaddr *)&a) != NET_LOOPBACK)
        return err_set(e, ERR_LIMIT, "%s: not a loopback address; it would be open to others",
                       text);
    s->listener = evconnlistener_new_bind(
        s->base, on_accept, s, LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
        1024, (struct sockaddr *)&a, (int)n);
    if (!s->listener) return err_errno(e, text);
    if (getsockname(evconnlistener_get_fd(s->listener), (struct sockaddr *)&a, &n_name) == 0)
        s->port = ntohs(a.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&a)->sin6_port
                                                : ((struct sockaddr_in *)&a)->sin_port);
    return 0;
}

static void set_defaults(struct net_server_opts *o) {
    if (!o->listen) o->listen = "127.0.0.1:11434";
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
    if (!s->wake || !s->pause || !s->grace || event_add(s->wake, NULL) < 0)
        rc = err_nomem(e, "server");
    else if (strncmp(s->o.listen, "unix:", 5) == 0)
        rc = bind_unix(s, s->o.listen + 5, e);
    else
        rc = bind_tcp(s, s->o.listen, e);
    if (rc < 0) {
        net_server_close(s);
        return -1;
    }
    evconnlistener_set_error_cb(s->listener, on_accept_error);
    *out = s;
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
    if (s->listener) evconnlistener_free(s->listener);
    if (s->wake) event_free(s->wake);
    if (s->pause) event_free(s->pause);
    if (s->grace) event_free(s->grace);
    if (s->base) event_base_free(s->base);
    if (s->wake_fd >= 0) close(s->wake_fd);
    if (s->unix_path) unlink(s->unix_path);
    free(s->unix_path);
    pthread_mutex_destroy(&s->lock);
    free(s);
}
