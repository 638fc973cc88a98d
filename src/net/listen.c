/* Where the server listens: TCP, Unix sockets, sockets that were inherited (systemd's socket
 * activation).  What is not loopback needs `wide`, also when it was inherited. */
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "net/address.h"
#include "net/server_priv.h"

static void on_accept(struct evconnlistener *ev, evutil_socket_t fd, struct sockaddr *a, int n,
                      void *arg) {
    (void)ev, (void)n;
    conn_new(arg, fd, a);
}

/* Out of descriptors, say: rest for 100 ms instead of spinning. */
static void on_accept_error(struct evconnlistener *ev, void *arg) {
    const struct timeval tv = {0, 100000};
    const struct listener *l = arg;
    (void)ev;
    listeners_enable(l->server, false);
    evtimer_add(l->server->pause, &tv);
}

void listeners_enable(struct net_server *s, bool on) {
    for (int i = 0; i < s->n_listener; i++) {
        if (!s->listener[i].ev) continue;
        if (on)
            evconnlistener_enable(s->listener[i].ev);
        else
            evconnlistener_disable(s->listener[i].ev);
    }
}

void listeners_close(struct net_server *s) {
    for (int i = 0; i < s->n_listener; i++) {
        struct listener *l = &s->listener[i];
        struct stat st;
        if (l->ev) evconnlistener_free(l->ev);
        l->ev = NULL;
        if (l->unix_path && lstat(l->unix_path, &st) == 0 && st.st_ino == l->unix_ino)
            unlink(l->unix_path);
        free(l->unix_path);
        l->unix_path = NULL;
    }
}

/* ---- Unix ---- */

/* A socket that nobody listens on, left by a server that died, is removed. */
static int remove_stale(const struct sockaddr_un *a, struct err *e) {
    struct stat st;
    if (lstat(a->sun_path, &st) != 0) return 0;
    if (!S_ISSOCK(st.st_mode))
        return err_set(e, ERR_USAGE, "%s: is there and no socket", a->sun_path);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    const bool dead =
        connect(fd, (const struct sockaddr *)a, sizeof *a) != 0 && errno == ECONNREFUSED;
    close(fd);
    if (!dead) return err_set(e, ERR_LIMIT, "%s: another server listens there", a->sun_path);
    return unlink(a->sun_path) == 0 ? 0 : err_errno(e, a->sun_path);
}

static int bind_unix(struct listener *l, const char *path, struct err *e) {
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    struct stat st;
    if (strlen(path) >= sizeof a.sun_path || !*path)
        return err_set(e, ERR_USAGE, "%s: no path of 1 to %zu bytes", path, sizeof a.sun_path - 1);
    strcpy(a.sun_path, path);
    if (remove_stale(&a, e) != 0) return -1;
    const mode_t old = umask(0177); /* never open to others, not even at first */
    l->ev = evconnlistener_new_bind(l->server->base, on_accept, l,
                                    LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC, 1024,
                                    (struct sockaddr *)&a, sizeof a);
    umask(old);
    if (!l->ev) return err_errno(e, path);
    l->unix_path = strdup(path);
    if (!l->unix_path) return err_nomem(e, path);
    if (lstat(path, &st) == 0) l->unix_ino = st.st_ino;
    snprintf(l->address, sizeof l->address, "unix:%s", path);
    return 0;
}

/* ---- TCP ---- */

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

/* What a bound socket says of itself: address, and whether it may be there. */
static int look_at(struct listener *l, int fd, const char *text, struct err *e) {
    struct sockaddr_storage a = {0};
    socklen_t n = sizeof a;
    char host[INET6_ADDRSTRLEN] = "";
    if (getsockname(fd, (struct sockaddr *)&a, &n) != 0) return err_errno(e, text);
    if (a.ss_family == AF_UNIX) {
        snprintf(l->address, sizeof l->address, "unix:%.107s",
                 ((struct sockaddr_un *)&a)->sun_path);
        return 0;
    }
    if (a.ss_family != AF_INET && a.ss_family != AF_INET6)
        return err_set(e, ERR_USAGE, "%s: no TCP and no Unix socket", text);
    const bool six = a.ss_family == AF_INET6;
    const int port =
        ntohs(six ? ((struct sockaddr_in6 *)&a)->sin6_port : ((struct sockaddr_in *)&a)->sin_port);
    inet_ntop(a.ss_family,
              six ? (void *)&((struct sockaddr_in6 *)&a)->sin6_addr
                  : (void *)&((struct sockaddr_in *)&a)->sin_addr,
              host, sizeof host);
    snprintf(l->address, sizeof l->address, six ? "[%s]:%d" : "%s:%d", host, port);
    l->loopback = net_class_of((struct sockaddr *)&a) == NET_LOOPBACK;
    l->tls = true;
    if (l == l->server->listener) l->server->port = port;
    if (l->loopback || l->server->o.wide) return 0;
    return err_set(e, ERR_LIMIT, "%s: not a loopback address; it would be open to others",
                   l->address);
}

static int bind_tcp(struct listener *l, const char *text, struct err *e) {
    struct sockaddr_storage a;
    socklen_t n = 0;
    if (!parse_address(text, &a, &n))
        return err_set(e, ERR_USAGE, "%s: ADDRESS:PORT, [IPv6]:PORT or unix:PATH is accepted",
                       text);
    if (!l->server->o.wide && net_class_of((struct sockaddr *)&a) != NET_LOOPBACK)
        return err_set(e, ERR_LIMIT, "%s: not a loopback address; it would be open to others",
                       text);
    l->ev =
        evconnlistener_new_bind(l->server->base, on_accept, l,
                                LEV_OPT_CLOSE_ON_FREE | LEV_OPT_CLOSE_ON_EXEC | LEV_OPT_REUSEABLE,
                                1024, (struct sockaddr *)&a, (int)n);
    if (!l->ev) return err_errno(e, text);
    return look_at(l, evconnlistener_get_fd(l->ev), text, e);
}

static int take_fd(struct listener *l, const char *text, struct err *e) {
    char *end;
    const long fd = strtol(text + 3, &end, 10);
    int listening = 0;
    socklen_t n = sizeof listening;
    if (end == text + 3 || *end || fd < 0 || fd > 65535 ||
        getsockopt((int)fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &n) != 0 || !listening)
        return err_set(e, ERR_USAGE, "%s: no listening socket", text);
    if (look_at(l, (int)fd, text, e) != 0) return -1;
    evutil_make_socket_nonblocking((int)fd);
    fcntl((int)fd, F_SETFD, FD_CLOEXEC);
    l->ev = evconnlistener_new(l->server->base, on_accept, l, LEV_OPT_CLOSE_ON_FREE, 0, (int)fd);
    return l->ev ? 0 : err_nomem(e, text);
}

int listener_open(struct net_server *s, const char *where, struct err *e) {
    struct listener *l = &s->listener[s->n_listener++];
    int rc;
    l->server = s;
    if (strncmp(where, "unix:", 5) == 0)
        rc = bind_unix(l, where + 5, e);
    else if (strncmp(where, "fd:", 3) == 0)
        rc = take_fd(l, where, e);
    else
        rc = bind_tcp(l, where, e);
    if (rc == 0) evconnlistener_set_error_cb(l->ev, on_accept_error);
    return rc;
}
