/* Request smuggling (SECURITY.md H5): requests that two programs could understand in two ways, sent
 * to the server alone, through nginx and through HAProxy.
 *
 * Each carries a second request inside its body, or behind what one reader takes for its end.
 * Alone, the server must not see the second one of a request it should refuse.  Behind a proxy both
 * must have seen the same number of requests: the proxy's log of what it passed on, against the
 * server's metrics.  Connections between them are kept and shared, which is what an attack needs.
 */
#include "server_rig.h"
#include "serve_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define HEAD "POST /api/show?c=%d HTTP/1.1\r\nHost: localhost\r\n"
#define NUL "\x1a" /* becomes one: printf ends at the real one */
#define EVIL "GET /v1/models/evil-%d HTTP/1.1\r\nHost: localhost\r\n\r\n"

/* ---- the corpus ---- */

/* Lines that say how long the body is, none of them well. */
static const char *const framings[] = {
    "Content-Length: 5\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nContent-Length: 5\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n",
    "Transfer-Encoding: identity\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked, identity\r\n",
    "Transfer-Encoding: identity, chunked\r\n",
    "Transfer-Encoding: chunked, chunked\r\n",
    "Transfer-Encoding: gzip, chunked\r\n",
    "Transfer-Encoding: xchunked\r\n",
    "Transfer-Encoding: chunkedx\r\n",
    "Transfer-Encoding: \"chunked\"\r\n",
    "Transfer-Encoding: 'chunked'\r\n",
    "Transfer-Encoding: chunked;a=b\r\n",
    "Transfer-Encoding:\x0b"
    "chunked\r\n",
    "Transfer-Encoding:\x0c"
    "chunked\r\n",
    "Transfer-Encoding: chunked\x0b\r\n",
    "Transfer-Encoding: \x80"
    "chunked\r\n",
    "Transfer-Encoding : chunked\r\n",
    "Transfer-Encoding\t: chunked\r\n",
    " Transfer-Encoding: chunked\r\n",
    "X: y\r\n Transfer-Encoding: chunked\r\n",
    "X: y\n Transfer-Encoding: chunked\r\n",
    "Transfer-Encoding:\r\n chunked\r\n",
    "Transfer-Encoding: chunk\r\n ed\r\n",
    "X: y\nTransfer-Encoding: chunked\r\n",
    "X: y\rTransfer-Encoding: chunked\r\n",
    "Transfer-Encoding: chunked\n",
    "Transfer-Encoding: chunked\r\r\n",
    "Transfer-Encoding:\r\n",
    "Transfer-Encoding: ,chunked\r\n",
    "Transfer-Encoding: chunked,\r\n",
    "Content-Length: 5\r\nContent-Length: 5\r\n",
    "Content-Length: 5\r\nContent-Length: 60\r\n",
    "Content-Length: 60\r\nContent-Length: 5\r\n",
    "Content-Length: 5, 5\r\n",
    "Content-Length: 5,60\r\n",
    "Content-Length: +5\r\n",
    "Content-Length: -5\r\n",
    "Content-Length: 0x5\r\n",
    "Content-Length: 5 5\r\n",
    "Content-Length: 5a\r\n",
    "Content-Length: 5.0\r\n",
    "Content-Length: 5e0\r\n",
    "Content-Length:\r\n",
    "Content-Length: \"5\"\r\n",
    "Content-Length: 18446744073709551621\r\n",
    "Content-Length: 5" NUL "\r\n",
    "Transfer-Encoding: chunked" NUL "\r\n",
    "Transfer-Encoding:" NUL "chunked\r\n",
    "Content-Length : 5\r\n",
    " Content-Length: 5\r\n",
    "Content-Length:\r\n 5\r\n",
    "Content-Length: 5\n",
    "X: y\nContent-Length: 5\r\n",
    "Content-Length: 5\r\nHost: other\r\n",
    "Content-Length: 5\r\n: x\r\n",
    "Content-Length: 5\r\nX\r\n",
    "Content-Length: 5\r\nX(y): z\r\n",
};

/* What stands where the body should be; %d is the case. */
static const char *const bodies[] = {
    "0\r\n\r\n" EVIL,
    "5\r\nhello\r\n0\r\n\r\n" EVIL,
    "hello" EVIL,
    EVIL,
};

/* Chunked bodies; those of the first group end where they should, so that what follows is a second
 * request. */
static const char *const whole_chunks[] = {
    "0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\r\n",
    "005\r\nhello\r\n00\r\n\r\n",
    "A\r\n0123456789\r\n0\r\n\r\n",
    "a\r\n0123456789\r\n0;x\r\n\r\n",
    "5;a=b\r\nhello\r\n0\r\n\r\n",
};
static const char *const bad_chunks[] = {
    "FFFFFFFFFFFFFFFF1\r\nhello\r\n0\r\n\r\n",
    "100000005\r\nhello\r\n0\r\n\r\n",
    "+5\r\nhello\r\n0\r\n\r\n",
    "-5\r\nhello\r\n0\r\n\r\n",
    "0x5\r\nhello\r\n0\r\n\r\n",
    " 5\r\nhello\r\n0\r\n\r\n",
    "5 \r\nhello\r\n0\r\n\r\n",
    "5\t\r\nhello\r\n0\r\n\r\n",
    "5_\r\nhello\r\n0\r\n\r\n",
    "g\r\nhello\r\n0\r\n\r\n",
    "\r\nhello\r\n0\r\n\r\n",
    "5\nhello\n0\n\n",
    "5\r\nhello\n0\r\n\r\n",
    "5\rhello\r\n0\r\n\r\n",
    "5;a\nhello\r\n0\r\n\r\n",
    "5;a\rb\r\nhello\r\n0\r\n\r\n",
    "5;\x01\r\nhello\r\n0\r\n\r\n",
    "5\r\nhelloX0\r\n\r\n",
    "5\r\nhelloX\r\n0\r\n\r\n",
    "5\r\nhel\r\n0\r\n\r\n",
    "5\r\nhello\r\n0\r\n\n",
    "5\r\nhello\r\n0\n\r\n",
    "5\r\nhello\r\n0\r\nContent-Length: 60\r\n\r\n",
    "5\r\nhello\r\n0\r\nTransfer-Encoding: chunked\r\n\r\n",
    "5\r\nhello\r\n0\r\n X: y\r\n\r\n",
};

/* Request lines and heads that are none; each is followed by a body of 5 bytes and EVIL. */
static const char *const starts[] = {
    "POST /api/show?c=%d HTTP/1.1\nHost: localhost\n",
    "POST  /api/show?c=%d HTTP/1.1\r\nHost: localhost\r\n",
    "POST /api/show?c=%d  HTTP/1.1\r\nHost: localhost\r\n",
    "POST /api/show?c=%d HTTP/1.1 \r\nHost: localhost\r\n",
    "POST\t/api/show?c=%d\tHTTP/1.1\r\nHost: localhost\r\n",
    "POST /api/show?c=%d\x0b"
    "HTTP/1.1\r\nHost: localhost\r\n",
    "POST /api/show?c=%d HTTP/1.1\r\r\nHost: localhost\r\n",
    "POST /api/show?c=%d HTTP/01.1\r\nHost: localhost\r\n",
    "POST /api/show?c=%d HTTP/1.10\r\nHost: localhost\r\n",
    "POST /api/show?c=%d http/1.1\r\nHost: localhost\r\n",
    "POST /api/show?c=%d HTTP/1.1\r\nHost: localhost\r\nHost: other\r\n",
    "POST /api/show?c=%d HTTP/1.1\r\nHost: local host\r\n",
    "POST /api/show?c=%d HTTP/1.1\r\nHost: localhost\x01\r\n",
    "POST /api/show?c=%d HTTP/1.1\r\nHost : localhost\r\n",
    "POST /api/show?c=%d HTTP/1.1\r\n Host: localhost\r\n",
    "POST http://other/api/show?c=%d HTTP/1.1\r\nHost: localhost\r\n",
    "POST api/show?c=%d HTTP/1.1\r\nHost: localhost\r\n",
    "POST /api/show?c=%d#x HTTP/1.1\r\nHost: localhost\r\n",
    "POST /api/sh\x01ow?c=%d HTTP/1.1\r\nHost: localhost\r\n",
    "PO ST /api/show?c=%d HTTP/1.1\r\nHost: localhost\r\n",
    "post /api/show?c=%d HTTP/1.1\r\nHost: localhost\r\n",
    "TRACE /api/show?c=%d HTTP/1.1\r\nHost: localhost\r\n",
    "\r\n\r\n\r\nPOST /api/show?c=%d HTTP/1.1\r\nHost: localhost\r\n",
    "\nPOST /api/show?c=%d HTTP/1.1\r\nHost: localhost\r\n",
    "\rPOST /api/show?c=%d HTTP/1.1\r\nHost: localhost\r\n",
    " POST /api/show?c=%d HTTP/1.1\r\nHost: localhost\r\n",
    "POST /api/show?c=%d HTTP/1.1\r\n" NUL "Host: localhost\r\n",
    "POST /api/show" NUL "?c=%d HTTP/1.1\r\nHost: localhost\r\n",
};

#define COUNT(a) ((int)(sizeof(a) / sizeof *(a)))
enum { N_WELL = 6 };

static bool print_case(int i, struct buf *out, bool *second) {
    const int c = i;
    buf_reset(out);
    *second = false;
    if (i < COUNT(framings) * COUNT(bodies)) {
        buf_printf(out, HEAD "%s\r\n", c, framings[i / COUNT(bodies)]);
        buf_printf(out, bodies[i % COUNT(bodies)], c);
        return true;
    }
    i -= COUNT(framings) * COUNT(bodies);
    if (i < COUNT(whole_chunks) + COUNT(bad_chunks)) {
        *second = i < COUNT(whole_chunks);
        buf_printf(out, HEAD "Transfer-Encoding: chunked\r\n\r\n%s" EVIL, c,
                   *second ? whole_chunks[i] : bad_chunks[i - COUNT(whole_chunks)], c);
        return true;
    }
    i -= COUNT(whole_chunks) + COUNT(bad_chunks);
    if (i < COUNT(starts)) {
        buf_printf(out, starts[i], c);
        buf_printf(out, "Content-Length: 5\r\n\r\nhello" EVIL, c);
        return true;
    }
    i -= COUNT(starts);
    if (i >= N_WELL) return false;
    *second = true; /* nothing wrong with these */
    buf_printf(out, HEAD "Content-Length: 5\r\n\r\nhello" EVIL, c, c);
    return true;
}

/* Case i, or false behind the last.  *second: a correct reader sees EVIL as a request of its own.
 */
static bool make_case(int i, struct buf *out, bool *second) {
    const bool is = print_case(i, out, second);
    for (size_t k = 0; k < out->n; k++)
        if (out->p[k] == *NUL) out->p[k] = 0;
    return is;
}

/* ---- sending ---- */

static struct serve s;
static char *dir;

static int begin(void **state) {
    (void)state;
    dir = temp_folder();
    serve_start(&s, NULL, NULL);
    return 0;
}

static int end(void **state) {
    (void)state;
    temp_remove(dir);
    return serve_stop(&s);
}

/* All cases, in groups at once; each connection gets half a second to answer. */
static int send_all(int port) {
    enum { GROUP = 100 };
    const struct serve at = {.port = port};
    struct buf b = {0};
    bool second, more = true;
    int n = 0;
    while (more) {
        struct wire w[GROUP];
        int k = 0;
        for (; k < GROUP && (more = make_case(n, &b, &second)); k++, n++) {
            wire_open(&w[k], &at);
            wire_send(&w[k], b.p, b.n);
        }
        usleep(500000);
        for (int i = 0; i < k; i++)
            wire_close(&w[i]);
    }
    buf_fini(&b);
    return n;
}

/* What the server has seen so far: requests, and heads that were none. */
static long n_seen(void) {
    struct answer a;
    long n = 0;
    ask(&s, &a, "GET", "/metrics", NULL, NULL);
    for (char *rest = a.body.p, *line; (line = strsep(&rest, "\n"));) {
        const char *at = strrchr(line, ' ');
        if (strncmp(line, "cria_requests_total{", 20) == 0 ||
            strncmp(line, "cria_malformed_requests_total ", 30) == 0)
            if (!strstr(line, "/metrics")) n += atol(at);
    }
    answer_fini(&a);
    return n;
}

static void clear(const char *path) {
    assert_int_equal(truncate(path, 0), 0);
}

static void alone(void **state) {
    (void)state;
    struct buf b = {0};
    bool second;
    assert_true(send_all(s.port) >= 280);
    for (int i = 0; make_case(i, &b, &second); i++) {
        char path[64];
        snprintf(path, sizeof path, "/v1/models/evil-%d\"", i);
        if (serve_lines(&s, path, "", second) != second) fail_msg("case %d: %s", i, b.p);
    }
    buf_fini(&b);
}

/* ---- behind proxies ---- */

/* Lines of the proxy's log that say a request was passed on. */
static long n_passed(const char *log, const char *uri, const char *not_passed) {
    size_t n_bytes;
    long n = 0;
    char *text = (char *)slurp(log, &n_bytes), *rest = text;
    if (n_bytes) text[n_bytes - 1] = 0;
    for (char *line; n_bytes && (line = strsep(&rest, "\n"));)
        n += *line && strstr(line, uri) && !strstr(line, not_passed);
    free(text);
    return n;
}

/* The same number on both sides, and no request that only the server saw. */
static void compare(const char *name, const char *log, long before, const char *not_passed) {
    struct buf b = {0};
    bool second;
    long passed = 0, seen = 0;
    int n_evil = 0;
    for (int i = 0; i < 100; i++) { /* logs are behind */
        passed = n_passed(log, "", not_passed);
        seen = n_seen() - before;
        if (passed == seen && i > 5) break;
        usleep(50000);
    }
    if (passed != seen) fail_msg("%s passed on %ld, the server saw %ld", name, passed, seen);
    usleep(200000);           /* our log is, too */
    assert_true(passed > 20); /* it did pass on what is well formed */
    for (int i = 0; make_case(i, &b, &second); i++) {
        char path[64], ours[64];
        snprintf(path, sizeof path, "/v1/models/evil-%d ", i);
        snprintf(ours, sizeof ours, "/v1/models/evil-%d\"", i);
        const long theirs = n_passed(log, path, not_passed);
        const int mine = serve_lines(&s, ours, "", 0);
        /* Fewer: what was passed on was refused as malformed, "helloGET /v1/models...", say. */
        if (mine > theirs) fail_msg("%s, case %d: %ld, %d: %s", name, i, theirs, mine, b.p);
        n_evil += mine;
    }
    assert_true(n_evil >= N_WELL);
    buf_fini(&b);
}

static void behind_nginx(void **state) {
    (void)state;
    struct server p = {.port = server_free_port()};
    char http[2000], log[700];
    clear(s.log);
    const long before = n_seen();
    snprintf(log, sizeof log, "%s/up.log", dir);
    snprintf(http, sizeof http,
             "log_format up '$request_uri $upstream_addr|';\n"
             "upstream cria { server 127.0.0.1:%d; keepalive 4; }\n"
             "server { listen 127.0.0.1:$port; access_log %s up;\n"
             "  proxy_http_version 1.1; proxy_set_header Connection \"\";\n"
             "  proxy_request_buffering off; proxy_next_upstream off;\n"
             "  location / { proxy_pass http://cria; proxy_set_header Host localhost; } }\n",
             s.port, log);
    nginx_start(&p, dir, "nginx", http);
    assert_true(send_all(p.port) >= 280);
    compare("nginx", log, before, " -|");
    server_stop(&p);
}

static void behind_haproxy(void **state) {
    (void)state;
    struct server p;
    char backend[300];
    clear(s.log);
    const long before = n_seen();
    snprintf(backend, sizeof backend, " http-reuse always\n server s 127.0.0.1:%d\n", s.port);
    haproxy_start(&p, dir, "haproxy", backend);
    assert_true(send_all(p.port) >= 280);
    compare("HAProxy", p.log, before, "<NOSRV>");
    server_stop(&p);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(alone),
        cmocka_unit_test(behind_nginx),
        cmocka_unit_test(behind_haproxy),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
