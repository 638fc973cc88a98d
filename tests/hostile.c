/* See hostile.h: threads that accept, read one request, hand it on.  TLS ends in a thread that
 * copies to and from a pair of sockets, so that all else sees plain ones. */
#include "hostile.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <poll.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <openssl/ssl.h>

#include "support.h"

struct hostile_inside {
    hostile_fn *fn;
    void *ctx;
    int fd;
    SSL_CTX *tls; /* or NULL */
    pthread_t thread;
    atomic_int n_open;
    atomic_bool stop;
};

struct connection {
    struct hostile *h;
    int fd;
};

bool hostile_send(int fd, const void *bytes, size_t n) {
    for (const char *p = bytes; n > 0;) {
        const ssize_t k = send(fd, p, n, MSG_NOSIGNAL);
        if (k <= 0) return false;
        p += k, n -= (size_t)k;
    }
    return true;
}

bool hostile_say(int fd, const char *fmt, ...) {
    char text[8192];
    va_list ap;
    va_start(ap, fmt);
    const int n = vsnprintf(text, sizeof text, fmt, ap);
    va_end(ap);
    return hostile_send(fd, text, (size_t)n);
}

void hostile_answer(int fd, int status, const char *headers, const void *body, size_t n) {
    hostile_say(fd, "HTTP/1.1 %d Said\r\n%sContent-Length: %zu\r\nConnection: close\r\n\r\n",
                status, headers, n);
    hostile_send(fd, body, n);
}

void hostile_hold(int fd) {
    char unread[256];
    while (recv(fd, unread, sizeof unread, 0) > 0) {
    }
}

void hostile_certificate(const char *dir) {
    char line[2000];
    snprintf(
        line, sizeof line,
        "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost,DNS:registry.example,"
        "DNS:cdn.example,IP:127.0.0.1,IP:0.0.0.0 -keyout key.pem -out cert.pem 2>/dev/null",
        dir);
    assert_int_equal(system(line), 0);
}

void hostile_header(const struct hostile_request *q, const char *name, char *out, size_t n) {
    char line[128];
    snprintf(line, sizeof line, "\r\n%s: ", name);
    const char *p = strcasestr(q->text, line);
    out[0] = 0;
    if (!p) return;
    p += strlen(line);
    snprintf(out, n, "%.*s", (int)strcspn(p, "\r\n"), p);
}

size_t hostile_body(int fd, const struct hostile_request *q, void *bytes, size_t n) {
    size_t got = q->n_early < n ? q->n_early : n;
    memcpy(bytes, q->early, got);
    while (got < n) {
        const ssize_t k = recv(fd, (char *)bytes + got, n - got, 0);
        if (k <= 0) break;
        got += (size_t)k;
    }
    return got;
}

static bool read_request(int fd, struct hostile_request *q) {
    char range[64], *end = NULL;
    size_t n = 0;
    unsigned long long from, to;
    memset(q, 0, sizeof *q);
    while (n + 1 < sizeof q->text && !end) {
        const ssize_t k = recv(fd, q->text + n, sizeof q->text - 1 - n, 0);
        if (k <= 0) return false;
        n += (size_t)k;
        q->text[n] = 0;
        if (q->text[0] < 'A' || q->text[0] > 'Z') return false; /* TLS, mostly */
        end = strstr(q->text, "\r\n\r\n");
    }
    if (!end || sscanf(q->text, "%7s %1023s", q->method, q->path) != 2) return false;
    q->early = end + 4, q->n_early = n - (size_t)(end + 4 - q->text);
    end[2] = 0;
    hostile_header(q, "Host", q->host, sizeof q->host);
    hostile_header(q, "Authorization", q->authorization, sizeof q->authorization);
    hostile_header(q, "Range", range, sizeof range);
    if (sscanf(range, "bytes=%llu-%llu", &from, &to) == 2) q->from = from, q->to = to + 1;
    return true;
}

static void answer_one(struct connection *c) {
    struct hostile_request q;
    if (read_request(c->fd, &q)) {
        atomic_fetch_add(&c->h->n_requests, 1);
        c->h->in->fn(c->h->in->ctx, c->fd, &q);
    }
    shutdown(c->fd, SHUT_RDWR);
    close(c->fd);
}

static void *answer_inside(void *arg) {
    answer_one(arg);
    return NULL;
}

/* ---- copying ---- */

/* A plain socket, or one with TLS. */
struct end {
    int fd;
    SSL *tls;
};

static bool copy_some(struct end from, struct end to) {
    char bytes[16384];
    const int n = from.tls ? SSL_read(from.tls, bytes, sizeof bytes)
                           : (int)recv(from.fd, bytes, sizeof bytes, 0);
    if (n <= 0) return false;
    return to.tls ? SSL_write(to.tls, bytes, n) == n : hostile_send(to.fd, bytes, (size_t)n);
}

static void copy_both(struct end a, struct end b) {
    for (bool open = true; open;) {
        struct pollfd p[2] = {{.fd = a.fd, .events = POLLIN}, {.fd = b.fd, .events = POLLIN}};
        if (a.tls && SSL_pending(a.tls))
            p[0].revents = POLLIN;
        else if (poll(p, 2, -1) < 0)
            continue;
        if (p[0].revents) open = copy_some(a, b);
        if (open && p[1].revents) open = copy_some(b, a);
    }
}

void hostile_tunnel(int fd, int port) {
    const struct sockaddr_in a = {.sin_family = AF_INET,
                                  .sin_port = htons((uint16_t)port),
                                  .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    const int to = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(to, (const struct sockaddr *)&a, sizeof a) == 0) {
        hostile_say(fd, "HTTP/1.1 200 Connected\r\n\r\n");
        copy_both((struct end){fd, NULL}, (struct end){to, NULL});
    }
    close(to);
}

static void answer_behind_tls(struct connection *c) {
    SSL *tls = SSL_new(c->h->in->tls);
    const int outside = c->fd;
    int pair[2];
    pthread_t t;
    SSL_set_fd(tls, outside);
    if (SSL_accept(tls) == 1) {
        assert_int_equal(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, pair), 0);
        c->fd = pair[1];
        assert_int_equal(pthread_create(&t, NULL, answer_inside, c), 0);
        copy_both((struct end){outside, tls}, (struct end){pair[0], NULL});
        close(pair[0]);
        pthread_join(t, NULL);
        SSL_shutdown(tls);
    }
    SSL_free(tls);
    close(outside);
}

/* ---- connections ---- */

static void *serve(void *arg) {
    struct connection *c = arg;
    struct hostile *h = c->h;
    if (h->in->tls)
        answer_behind_tls(c);
    else
        answer_one(c);
    free(c);
    atomic_fetch_sub(&h->in->n_open, 1);
    return NULL;
}

static void *listen_to(void *arg) {
    struct hostile *h = arg;
    while (!atomic_load(&h->in->stop)) {
        const int fd = accept(h->in->fd, NULL, NULL);
        pthread_t t;
        if (fd < 0) continue;
        struct connection *c = malloc(sizeof *c);
        *c = (struct connection){h, fd};
        atomic_fetch_add(&h->n_connections, 1);
        atomic_fetch_add(&h->in->n_open, 1);
        assert_int_equal(pthread_create(&t, NULL, serve, c), 0);
        pthread_detach(t);
    }
    return NULL;
}

static void start(struct hostile *h, hostile_fn *fn, void *ctx, SSL_CTX *tls) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof a;
    memset(h, 0, sizeof *h);
    h->in = calloc(1, sizeof *h->in);
    h->in->fn = fn, h->in->ctx = ctx, h->in->tls = tls;
    h->in->fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(h->in->fd >= 0);
    assert_int_equal(bind(h->in->fd, (struct sockaddr *)&a, sizeof a), 0);
    assert_int_equal(listen(h->in->fd, 64), 0);
    assert_int_equal(getsockname(h->in->fd, (struct sockaddr *)&a, &n), 0);
    h->port = ntohs(a.sin_port);
    assert_int_equal(pthread_create(&h->in->thread, NULL, listen_to, h), 0);
}

void hostile_start(struct hostile *h, hostile_fn *fn, void *ctx) {
    start(h, fn, ctx, NULL);
}

void hostile_start_tls(struct hostile *h, hostile_fn *fn, void *ctx, const char *dir) {
    char path[700];
    SSL_CTX *tls = SSL_CTX_new(TLS_server_method());
    snprintf(path, sizeof path, "%s/cert.pem", dir);
    assert_int_equal(SSL_CTX_use_certificate_file(tls, path, SSL_FILETYPE_PEM), 1);
    snprintf(path, sizeof path, "%s/key.pem", dir);
    assert_int_equal(SSL_CTX_use_PrivateKey_file(tls, path, SSL_FILETYPE_PEM), 1);
    start(h, fn, ctx, tls);
}

void hostile_stop(struct hostile *h) {
    atomic_store(&h->in->stop, true);
    shutdown(h->in->fd, SHUT_RDWR);
    pthread_join(h->in->thread, NULL);
    close(h->in->fd);
    while (atomic_load(&h->in->n_open))
        usleep(1000);
    SSL_CTX_free(h->in->tls);
    free(h->in);
}
