/* Slow and endless clients over TLS: handshakes and heads that come byte by byte, records that
 * never end, renegotiation, key updates without end.  Each is cut when its time is over, and what
 * all of them together make the server keep is bounded (SECURITY.md H4).
 *
 * CRIA_CAMPAIGN=1: a thousand, and those that take 75 s. */
#include "serve_rig.h"
#include "server_rig.h"

#include <errno.h>
#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/os.h"

static char *dir;
static struct serve s;

static int begin(void **state) {
    (void)state;
    char cert[700], key[700];
    dir = temp_folder();
    make_certificates(dir);
    snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    snprintf(key, sizeof key, "%s/key.pem", dir);
    serve_start(&s, (const char *[]){"--tls-cert", cert, "--tls-key", key, NULL}, NULL);
    return 0;
}

static int end(void **state) {
    (void)state;
    const int code = serve_stop(&s);
    temp_remove(dir);
    return code;
}

/* ---- a client ---- */

enum kind { HANDSHAKE, RECORD, HEAD, BODY, KINDS }; /* what comes byte by byte */

struct client {
    struct wire w;
    SSL_CTX *ctx;
    SSL *ssl;
    enum kind kind;
    bool over;      /* the server has ended it */
    double seconds; /* after which */
};

static void client_open(struct client *c, int version) {
    const struct timeval tv = {20, 0};
    *c = (struct client){0};
    wire_open(&c->w, &s);
    setsockopt(c->w.fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(c->w.fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    c->ctx = SSL_CTX_new(TLS_client_method());
    SSL_CTX_set_max_proto_version(c->ctx, version);
    c->ssl = SSL_new(c->ctx);
    SSL_set_fd(c->ssl, c->w.fd);
    if (SSL_connect(c->ssl) != 1) fail_msg("no handshake");
}

static void client_close(struct client *c) {
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    wire_close(&c->w);
}

/* Others are served, and soon. */
static void others_are_served(void) {
    static const char q[] = "GET /version HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    struct client c;
    char a[2000];
    int n = 0, k;
    const int64_t t0 = os_now_ns();
    client_open(&c, TLS1_3_VERSION);
    assert_int_equal(SSL_write(c.ssl, q, sizeof q - 1), sizeof q - 1);
    while (n < (int)sizeof a - 1 && (k = SSL_read(c.ssl, a + n, (int)sizeof a - 1 - n)) > 0)
        n += k;
    a[n] = 0;
    assert_non_null(strstr(a, " 200 "));
    assert_true(os_now_ns() - t0 < 5000000000);
    client_close(&c);
}

/* The first flight of a handshake, as OpenSSL writes it. */
static int hello(char *out, int n_out) {
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    SSL *ssl = SSL_new(ctx);
    BIO *to = BIO_new(BIO_s_mem());
    SSL_set_bio(ssl, BIO_new(BIO_s_mem()), to);
    SSL_connect(ssl);
    ERR_clear_error();
    const int n = BIO_read(to, out, n_out);
    assert_true(n > 100);
    SSL_free(ssl);
    SSL_CTX_free(ctx);
    return n;
}

/* ---- drips ---- */

static bool has_ended(struct wire *w) {
    char c[4096];
    ssize_t n;
    while ((n = recv(w->fd, c, sizeof c, MSG_DONTWAIT)) > 0)
        ;
    return n == 0 || (errno != EAGAIN && errno != EINTR);
}

/* The next byte of client i, whatever it is a byte of. */
static void drip(struct client *c, const char *first, int at) {
    static const char head[] =
        "POST /api/show HTTP/1.1\r\nHost: localhost\r\n"
        "X-Long: aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa";
    switch (c->kind) {
    case HANDSHAKE: send(c->w.fd, first + at, 1, MSG_NOSIGNAL); return;
    case RECORD:
        send(c->w.fd, at == 0 ? "\x17\x03\x03\x40\x00" : "x", at ? 1 : 5, MSG_NOSIGNAL);
        return;
    case HEAD: SSL_write(c->ssl, head + at, 1); return;
    case BODY: SSL_write(c->ssl, " ", 1); return;
    case KINDS: return;
    }
}

/* Until all have ended, or `limit` seconds: a byte each every half a second. */
static void drip_all(struct client *c, int n, double limit) {
    char first[4096];
    hello(first, sizeof first);
    const int64_t t0 = os_now_ns();
    for (int at = 0, left = n; left > 0; at++) {
        const double now = (double)(os_now_ns() - t0) / 1e9;
        if (now > limit) fail_msg("%d of %d are still there after %.1f s", left, n, now);
        left = 0;
        for (int i = 0; i < n; i++) {
            if (!c[i].over && at && has_ended(&c[i].w)) c[i].over = true, c[i].seconds = now;
            if (c[i].over) continue;
            left++;
            if (at < 100) drip(&c[i], first, at);
        }
        if (at % 4 == 0) others_are_served();
        ERR_clear_error();
        usleep(500000);
    }
}

/* How long each lives, and what the server grew by. */
static void dripping(enum kind a, enum kind b, int n, double least, double most) {
    static const char head[] =
        "POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: 1000\r\n\r\n";
    struct client *c = calloc((size_t)n, sizeof *c);
    const int before = serve_descriptors(&s);
    const size_t rss = serve_rss_bytes(&s);
    for (int i = 0; i < n; i++) {
        const enum kind kind = i < n / 2 ? b : a; /* handshakes last: their time runs */
        if (kind == HANDSHAKE)
            wire_open(&c[i].w, &s);
        else
            client_open(&c[i], i % 2 ? TLS1_2_VERSION : TLS1_3_VERSION);
        c[i].kind = kind;
        if (kind == BODY)
            assert_int_equal(SSL_write(c[i].ssl, head, sizeof head - 1), sizeof head - 1);
    }
    drip_all(c, n, most);
    const size_t grown = serve_rss_bytes(&s) - rss;
    for (int i = 0; i < n; i++) {
        if (c[i].seconds < least) fail_msg("kind %d: cut after %.1f s", c[i].kind, c[i].seconds);
        client_close(&c[i]);
    }
    if (in_campaign()) printf("kinds %d and %d, %d clients: %zu KiB more\n", a, b, n, grown / 1024);
    if (!SANITIZED && (ssize_t)grown > (ssize_t)n * (128 << 10)) fail_msg("grew by %zu", grown);
    for (int i = 0; i < 500 && serve_descriptors(&s) > before; i++)
        usleep(10000);
    assert_true(serve_descriptors(&s) <= before);
    free(c);
}

static void slow_handshakes_and_heads(void **state) {
    (void)state;
    dripping(HANDSHAKE, HEAD, in_campaign() ? 1000 : 200, 7, 20);
}

/* A record that never ends is no byte of a request: the time between requests, 75 s, ends it; a
 * body's byte every half a second is less than its 1 KiB in 30 s.  In the campaign only. */
static void slow_records_and_bodies(void **state) {
    (void)state;
    dripping(RECORD, RECORD, 200, 70, 90);
    dripping(BODY, BODY, 200, 25, 45);
}

/* ---- much for nothing ---- */

/* First records that claim the longest hello there may be; none of them goes on.  Of more than 512
 * handshakes the oldest give way, so that what they take is bounded. */
static void long_hellos(void **state) {
    (void)state;
    enum { N = 700, MAX = 512 };
    static const char claim[] = "\x16\x03\x01\x40\x00\x01\x02\x00\x00";
    static char rest[16380];
    static struct wire w[N];
    int n_late = 0;
    others_are_served();
    const size_t rss = serve_rss_bytes(&s);
    for (int i = 0; i < N; i++) {
        wire_open(&w[i], &s);
        send(w[i].fd, claim, sizeof claim - 1, MSG_NOSIGNAL);
        send(w[i].fd, rest, sizeof rest, MSG_NOSIGNAL);
    }
    others_are_served();
    for (int i = 0; i < N - MAX; i++)
        if (!wire_closed(&w[i], 1)) fail_msg("%d is still there", i);
    const size_t grown = serve_rss_bytes(&s) - rss;
    if (!SANITIZED && grown > (size_t)MAX * (160 << 10)) fail_msg("grew by %zu", grown);
    if (in_campaign()) printf("%d long hellos: %zu KiB more\n", N, grown / 1024);
    for (int i = N - MAX + 1; i < N; i++) /* one gave way to others_are_served */
        n_late += has_ended(&w[i]);
    if (n_late > 20) fail_msg("%d of the younger ones were cut", n_late);
    for (int i = N - MAX; i < N; i++)
        assert_true(wire_closed(&w[i], 20));
    for (int i = 0; i < N; i++)
        wire_close(&w[i]);
}

/* TLS 1.2: a second handshake is not begun, however often it is asked for. */
static void renegotiation(void **state) {
    (void)state;
    struct client c;
    char b[100];
    client_open(&c, TLS1_2_VERSION);
    assert_int_equal(SSL_renegotiate(c.ssl), 1);
    assert_true(SSL_do_handshake(c.ssl) <= 0 || SSL_read(c.ssl, b, sizeof b) <= 0);
    ERR_clear_error();
    client_close(&c);
    others_are_served();
}

/* TLS 1.3: each asks for another key in return, and the client reads none of them. */
static void key_updates(void **state) {
    (void)state;
    struct client c;
    const size_t rss = serve_rss_bytes(&s);
    client_open(&c, TLS1_3_VERSION);
    int n = 0;
    const struct timeval tv = {2, 0};
    setsockopt(c.w.fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    while (n < 200000 && SSL_key_update(c.ssl, SSL_KEY_UPDATE_REQUESTED) == 1 &&
           SSL_do_handshake(c.ssl) == 1)
        n++;
    others_are_served();
    const size_t grown = serve_rss_bytes(&s) - rss;
    if (n > 100000) fail_msg("%d key updates, and still there", n);
    if (!SANITIZED) assert_true((ssize_t)grown < 1 << 20);
    ERR_clear_error();
    client_close(&c);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_handshakes_and_heads),
        cmocka_unit_test(long_hellos),
        cmocka_unit_test(renegotiation),
        cmocka_unit_test(key_updates),
    };
    const struct CMUnitTest longer[] = {cmocka_unit_test(slow_records_and_bodies)};
    const int n_failed = cmocka_run_group_tests(tests, begin, end);
    return n_failed + (in_campaign() ? cmocka_run_group_tests(longer, begin, end) : 0);
}
