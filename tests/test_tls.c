/* TLS of the server: what curl and openssl make of it, handshakes that do not come, a certificate
 * that is replaced while streams run, large bodies both ways. */
#include "server_rig.h"
#include "serve_rig.h"

#include <openssl/err.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/os.h"

static char *dir, ca[700], cert[700], key[700];
static struct serve s;

static int begin(void **state) {
    (void)state;
    dir = temp_folder();
    make_certificates(dir);
    snprintf(ca, sizeof ca, "%s/ca.pem", dir);
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

/* curl with these options (NULL-terminated); its exit code, what it printed in *out. */
static int curl(struct buf *out, const char *path, const char *const *more) {
    struct ran r;
    char url[200];
    const char *args[40] = {"-s", "--cacert", ca, "--max-time", "20", "--noproxy", "*", url};
    int n = 8;
    snprintf(url, sizeof url, "https://localhost:%d%s", s.port, path);
    for (; more && *more; more++)
        args[n++] = *more;
    const int code = run_program(&r, "/usr/bin/curl", args, NULL, 0, 30);
    buf_reset(out);
    buf_append(out, r.out.p, r.out.n);
    ran_fini(&r);
    return code;
}

static void answers(void **state) {
    (void)state;
    struct buf b = {0};
    assert_int_equal(curl(&b, "/api/version", NULL), 0);
    assert_non_null(strstr(b.p, "\"version\""));
    assert_int_equal(curl(&b, "/", (const char *[]){"-I", NULL}), 0);
    assert_non_null(strstr(b.p, "HTTP/1.1 200 OK"));
    /* Four on one connection. */
    char url[200];
    snprintf(url, sizeof url, "https://localhost:%d/version", s.port);
    assert_int_equal(curl(&b, "/", (const char *[]){url, url, url, "-w", "%{num_connects};", NULL}),
                     0);
    assert_non_null(strstr(b.p, "1;"));
    assert_non_null(strstr(b.p, "0;"));
    assert_int_equal(curl(&b, "/nope", (const char *[]){"-d", "{}", NULL}), 0);
    assert_non_null(strstr(b.p, "no such route"));
    /* Old versions are not spoken; HTTP/2 is not agreed on. */
    assert_int_equal(curl(&b, "/", (const char *[]){"--tls-max", "1.1", NULL}), 35);
    assert_int_equal(curl(&b, "/", (const char *[]){"--tls-max", "1.2", NULL}), 0);
    assert_int_equal(curl(&b, "/", (const char *[]){"--http2", "-w", "%{http_version}", NULL}), 0);
    assert_non_null(strstr(b.p, "1.1"));
    buf_fini(&b);
}

/* ---- a client of our own ---- */

struct client {
    struct wire w;
    SSL_CTX *ctx;
    SSL *ssl;
};

static void client_open(struct client *c) {
    wire_open(&c->w, &s);
    const struct timeval tv = {20, 0};
    setsockopt(c->w.fd, SOL_SOCKET, SO_RCVTIMEO, &tv, sizeof tv);
    setsockopt(c->w.fd, SOL_SOCKET, SO_SNDTIMEO, &tv, sizeof tv);
    c->ctx = SSL_CTX_new(TLS_client_method());
    c->ssl = SSL_new(c->ctx);
    SSL_set_fd(c->ssl, c->w.fd);
    if (SSL_connect(c->ssl) != 1) fail_msg("no handshake");
}

static void client_close(struct client *c) {
    SSL_free(c->ssl);
    SSL_CTX_free(c->ctx);
    wire_close(&c->w);
}

static void client_put(struct client *c, const char *p, size_t n) {
    if (n) assert_int_equal(SSL_write(c->ssl, p, (int)n), (int)n);
}

/* Up to `until`, or the end with NULL. */
static bool client_get(struct client *c, struct buf *b, const char *until) {
    char piece[16384];
    for (;;) {
        if (until && b->p && strstr(b->p, until)) return true;
        const int n = SSL_read(c->ssl, piece, sizeof piece);
        if (n <= 0) return !until;
        buf_append(b, piece, (size_t)n);
    }
}

/* A body in records of 500 bytes; its last bytes, the next request and the end in one flight. */
static void small_records(void **state) {
    (void)state;
    struct client c;
    struct buf b = {0};
    char piece[500], head[200];
    memset(piece, ' ', sizeof piece);
    client_open(&c);
    const int n = snprintf(
        head, sizeof head,
        "POST /api/show HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n", 1000 * 500);
    client_put(&c, head, (size_t)n);
    for (int i = 0; i < 1000; i++)
        client_put(&c, piece, sizeof piece);
    assert_true(client_get(&c, &b, "\r\n\r\n"));
    assert_non_null(strstr(b.p, "HTTP/1.1 40")); /* blanks are no JSON */
    client_close(&c);
    buf_reset(&b);
    client_open(&c);
    static const char two[] = "GET /version HTTP/1.1\r\nHost: localhost\r\n\r\n"
                              "GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n";
    client_put(&c, two, sizeof two - 1);
    assert_true(client_get(&c, &b, NULL));
    assert_non_null(strstr(b.p, "Ollama is running"));
    assert_int_equal(SSL_get_shutdown(c.ssl) & SSL_RECEIVED_SHUTDOWN, SSL_RECEIVED_SHUTDOWN);
    client_close(&c);
    buf_fini(&b);
}

/* Who says nothing, or no TLS, is dropped; others are served meanwhile. */
static void no_handshake(void **state) {
    (void)state;
    enum { N = 40 };
    struct wire w[N];
    struct buf b = {0};
    const int before = serve_descriptors(&s);
    for (int i = 0; i < N; i++) {
        wire_open(&w[i], &s);
        if (i % 4 == 1) wire_put(&w[i], "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
        if (i % 4 == 2) wire_send(&w[i], "\x16\x03\x01\x02", 4);
        if (i % 4 == 3) wire_close(&w[i]);
    }
    assert_int_equal(curl(&b, "/", NULL), 0);
    assert_true(wire_closed(&w[1], 5));  /* no TLS */
    assert_true(wire_closed(&w[0], 20)); /* nothing for 10 s */
    assert_true(wire_closed(&w[2], 20));
    for (int i = 0; i < N; i++)
        if (i % 4 != 3) wire_close(&w[i]);
    for (int i = 0; i < 500 && serve_descriptors(&s) > before; i++)
        usleep(10000);
    assert_true(serve_descriptors(&s) <= before);
    buf_fini(&b);
}

/* The files are replaced and HUP sent: connections go on, new ones see the new certificate. */
static void new_certificate(void **state) {
    (void)state;
    struct client c;
    struct buf b = {0};
    static const char ask_kept[] = "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n";
    client_open(&c);
    client_put(&c, ask_kept, sizeof ask_kept - 1);
    assert_true(client_get(&c, &b, "running"));
    char old_ca[700], copy[700];
    snprintf(old_ca, sizeof old_ca, "%s/old.pem", dir);
    snprintf(copy, sizeof copy, "%s/ca.pem", dir);
    assert_int_equal(rename(copy, old_ca), 0);
    make_certificates(dir);
    serve_signal(&s, SIGHUP);
    assert_int_equal(serve_lines(&s, "read again", "", 1), 1);
    assert_int_equal(curl(&b, "/", NULL), 0); /* by the new authority */
    snprintf(ca, sizeof ca, "%s", old_ca);
    assert_int_equal(curl(&b, "/", NULL), 60);
    snprintf(ca, sizeof ca, "%s/ca.pem", dir);
    buf_reset(&b);
    client_put(&c, ask_kept, sizeof ask_kept - 1);
    assert_true(client_get(&c, &b, "running"));
    client_close(&c);
    assert_int_equal(truncate(cert, 100), 0); /* a broken one changes nothing */
    serve_signal(&s, SIGHUP);
    assert_int_equal(serve_lines(&s, "stay as they were", "", 1), 1);
    assert_int_equal(curl(&b, "/", NULL), 0);
    buf_fini(&b);
}

static void bad_files(void **state) {
    (void)state;
    struct buf said = {0};
    char *other = temp_folder(), other_key[700];
    make_certificates(other);
    snprintf(other_key, sizeof other_key, "%s/key.pem", other);
    const char *const cases[][5] = {
        {"--tls-cert", ca, NULL},
        {"--tls-cert", "/nonexistent", "--tls-key", key, NULL},
        {"--tls-cert", ca, "--tls-key", "/nonexistent", NULL},
        {"--tls-cert", ca, "--tls-key", other_key, NULL}, /* not its key */
        {"--tls-cert", key, "--tls-key", key, NULL},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        buf_reset(&said);
        if (serve_fails(cases[i], NULL, &said) != 2) fail_msg("%zu: %s", i, said.p);
        assert_null(strstr(said.p, "PRIVATE"));
    }
    buf_fini(&said);
    temp_remove(other);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),         cmocka_unit_test(small_records),
        cmocka_unit_test(no_handshake),    cmocka_unit_test(bad_files),
        cmocka_unit_test(new_certificate),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
