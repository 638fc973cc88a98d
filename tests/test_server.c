/* The HTTP server over real sockets on loopback: keep-alive, pipelining, bodies and their limits,
 * streams from another thread, clients that leave, stall or trickle, many at once, draining. */
#include "support.h"

#include <arpa/inet.h>
#include <curl/curl.h>
#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/os.h"
#include "net/server.h"

/* ---- the server under test ---- */

enum { BODY_MAX = 100000, N_LINE = 50 };

static atomic_int n_gone, n_full, n_live, n_room;
static atomic_llong n_taken; /* bytes that net_reply_write took for /flood */

struct rig {
    struct net_server *s;
    pthread_t thread;
    int port;
};

static int64_t on_head(void *ctx, struct net_req *r) {
    (void)ctx;
    if (str_is(net_req_head(r)->path, "/secret")) return -401;
    net_req_set_ctx(r, calloc(1, sizeof(size_t)));
    return BODY_MAX;
}

static void finish(struct net_req *r, bool complete) {
    free(net_req_ctx(r));
    net_reply_end(r, complete);
}

/* Lines with pauses: each must arrive at once. */
static void *stream(void *arg) {
    struct net_req *r = arg;
    net_reply_start(r, 200, "Content-Type: application/x-ndjson\r\n", -1, NULL);
    for (int i = 0; i < N_LINE; i++) {
        char line[32];
        const int n = snprintf(line, sizeof line, "{\"i\":%d}\n", i);
        net_reply_write(r, line, (size_t)n);
        usleep(2000);
    }
    finish(r, true);
    atomic_fetch_sub(&n_live, 1);
    return NULL;
}

/* As fast as the client reads, until it leaves. */
static void *flood(void *arg) {
    static const char block[4096];
    struct net_req *r = arg;
    enum net_put put;
    net_reply_start(r, 200, NULL, -1, NULL);
    while ((put = net_reply_write(r, block, sizeof block)) != NET_GONE) {
        if (put == NET_OK) atomic_fetch_add(&n_taken, (long long)sizeof block);
        if (put == NET_FULL) atomic_fetch_add(&n_full, 1), usleep(1000);
    }
    finish(r, false);
    atomic_fetch_sub(&n_live, 1);
    return NULL;
}

/* Nothing is written: as during a long prefill.  on_gone ends it. */
static void on_gone(void *ctx, struct net_req *r) {
    (void)ctx;
    atomic_fetch_add(&n_gone, 1);
    if (str_is(net_req_head(r)->path, "/wait") || net_req_head(r)->n_body_bytes != 0)
        finish(r, false);
}

static void on_room(void *ctx, struct net_req *r) {
    (void)ctx, (void)r;
    atomic_fetch_add(&n_room, 1);
}

static void start_thread(struct net_req *r, void *(*fn)(void *)) {
    pthread_t t;
    atomic_fetch_add(&n_live, 1);
    assert_int_equal(pthread_create(&t, NULL, fn, r), 0);
    pthread_detach(t);
}

static atomic_int n_pause, n_early;
static atomic_bool pausing;

static void *resume(void *arg) {
    usleep(3000);
    pausing = false;
    net_req_resume(arg);
    atomic_fetch_sub(&n_live, 1);
    return NULL;
}

static void on_body(void *ctx, struct net_req *r, const char *p, size_t n, bool last) {
    char text[64];
    size_t *n_body = net_req_ctx(r);
    const struct str path = net_req_head(r)->path;
    (void)ctx, (void)p;
    *n_body += n;
    if (pausing) atomic_fetch_add(&n_early, 1);
    if (n && str_is(path, "/pause")) {
        pausing = true;
        atomic_fetch_add(&n_pause, 1);
        net_req_pause(r);
        start_thread(r, resume);
    }
    if (!last || str_is(path, "/wait")) return;
    if (str_is(path, "/stream")) {
        start_thread(r, stream);
    } else if (str_is(path, "/flood")) {
        start_thread(r, flood);
    } else {
        const int k = snprintf(text, sizeof text, "%.*s %zu\n", (int)path.n, path.p, *n_body);
        net_reply_start(r, 200, "Content-Type: text/plain\r\n", k, NULL);
        net_reply_write(r, text, (size_t)k);
        finish(r, true);
    }
}

static void *run(void *arg) {
    net_server_run(arg);
    return NULL;
}

static void rig_open(struct rig *g, struct net_server_opts o) {
    struct err e;
    static const char *const usual[] = {"127.0.0.1:0"};
    if (!o.n_listen) o.listen = usual, o.n_listen = 1;
    o.head = on_head, o.body = on_body, o.gone = on_gone, o.room = on_room;
    n_gone = n_full = n_room = 0;
    n_taken = 0;
    if (net_server_open(&g->s, &o, &e) < 0) fail_msg("%s", e.msg);
    g->port = net_server_port(g->s);
    assert_int_equal(pthread_create(&g->thread, NULL, run, g->s), 0);
}

static void rig_close(struct rig *g) {
    net_server_drain(g->s, 2000);
    pthread_join(g->thread, NULL);
    net_server_close(g->s);
    for (int i = 0; i < 1000 && n_live; i++)
        usleep(1000);
    assert_int_equal(n_live, 0);
}

/* ---- the client ---- */

static int dial(const struct rig *g) {
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_port = htons((uint16_t)g->port)};
    a.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof a) == 0) return fd;
    close(fd);
    return -1;
}

static void put(int fd, const char *text) {
    assert_int_equal(send(fd, text, strlen(text), MSG_NOSIGNAL), strlen(text));
}

/* Read until `until` has come n times, the end, or 5 s.  True: it has come. */
static bool get(int fd, struct buf *b, const char *until, int n) {
    for (;;) {
        int seen = 0;
        char piece[4096];
        struct pollfd p = {.fd = fd, .events = POLLIN};
        for (const char *q = b->p; until && q && (q = strstr(q, until)); q++)
            seen++;
        if (until && seen >= n) return true;
        if (poll(&p, 1, 5000) != 1) return false;
        const ssize_t k = recv(fd, piece, sizeof piece, 0);
        if (k <= 0) return !until && k == 0;
        buf_append(b, piece, (size_t)k);
    }
}

static bool wait_for(atomic_int *what, int n) {
    for (int i = 0; i < 3000 && *what < n; i++)
        usleep(1000);
    return *what >= n;
}

#define GET(path) "GET " path " HTTP/1.1\r\nHost: a\r\n\r\n"
#define GET_CLOSE(path) "GET " path " HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n"

/* Send a whole request; the answer up to the connection's end must hold `wanted`. */
static void ask(const struct rig *g, const char *request, const char *wanted) {
    struct buf b = {0};
    const int fd = dial(g);
    put(fd, request);
    const bool ended = get(fd, &b, NULL, 0);
    if (!ended || !b.p || !strstr(b.p, wanted)) fail_msg("%s: ended %d: %s", request, ended, b.p);
    buf_fini(&b);
    close(fd);
}

/* ---- tests ---- */

static void kept_and_pipelined(void **state) {
    (void)state;
    struct rig g;
    struct buf b = {0};
    rig_open(&g, (struct net_server_opts){0});
    int fd = dial(&g);
    for (int i = 0; i < 3; i++) {
        buf_reset(&b);
        put(fd, GET("/a"));
        assert_true(get(fd, &b, "/a 0\n", 1));
    }
    buf_reset(&b);
    for (int i = 0; i < 25; i++) {
        put(fd, GET("/stream") "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 3\r\n\r\nxyz");
        if (i > 1) put(fd, GET("/c"));
        if (i == 3) break;
    }
    assert_true(get(fd, &b, "/b 3\n", 4));
    const char *at = strstr(b.p, "/b 3\n"), *end = strstr(b.p, "0\r\n\r\n");
    assert_true(end && end < at); /* in order: the slow one first */
    put(fd, GET_CLOSE("/last"));
    assert_true(get(fd, &b, NULL, 0));
    assert_non_null(strstr(b.p, "Connection: close\r\n"));
    assert_non_null(strstr(b.p, "/last 0\n"));
    close(fd);
    rig_close(&g);
    buf_fini(&b);
}

/* A client that has read a reply may send the next request, with a large body, before the server
 * has heard that the reply is over: it waits, and is not cut. */
static void far_ahead(void **state) {
    (void)state;
    struct rig g;
    struct buf b = {0};
    rig_open(&g, (struct net_server_opts){0});
    const int fd = dial(&g);
    buf_str(&b, GET("/stream") "POST /b HTTP/1.1\r\nHost: a\r\nContent-Length: 100000\r\n\r\n");
    for (int i = 0; i < BODY_MAX; i++)
        buf_byte(&b, 'x');
    put(fd, b.p);
    buf_reset(&b);
    assert_true(get(fd, &b, "/b 100000\n", 1));
    buf_reset(&b);
    put(fd, GET_CLOSE("/last")); /* and reading goes on */
    assert_true(get(fd, &b, NULL, 0));
    assert_non_null(strstr(b.p, "/last 0\n"));
    close(fd);
    rig_close(&g);
    buf_fini(&b);
}

static void bodies(void **state) {
    (void)state;
    struct rig g;
    struct buf b = {0};
    rig_open(&g, (struct net_server_opts){0});
    ask(&g, "POST /n HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: 5\r\n\r\nhello",
        "/n 5\n");
    ask(&g,
        "POST /n HTTP/1.1\r\nHost: a\r\nConnection: close\r\nTransfer-Encoding: chunked\r\n\r\n"
        "5;x=y\r\nhello\r\n2\r\nab\r\n0\r\n\r\n",
        "/n 7\n");
    ask(&g, "POST /n HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n5 \r\nhello\r\n",
        " 400 ");
    ask(&g, "POST /n HTTP/1.1\r\nHost: a\r\nContent-Length: 100001\r\n\r\n", " 413 ");
    buf_str(&b, "POST /n HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n20000\r\n");
    while (b.n < 0x20000)
        buf_byte(&b, 'x');
    ask(&g, b.p, " 413 ");
    buf_reset(&b);
    ask(&g, "POST /secret HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello", " 401 ");
    ask(&g, "GET / HTTP/1.1\r\n\r\n", " 400 ");
    ask(&g, "GET / HTTP/1.0\r\n\r\n", "/ 0\n");
    ask(&g, "HEAD /n HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n", "Content-Length: 5\r\n");
    int fd = dial(&g); /* 100 Continue comes before the body is sent */
    put(fd, "POST /n HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n");
    assert_true(get(fd, &b, "100 Continue\r\n\r\n", 1));
    put(fd, "abc");
    assert_true(get(fd, &b, "/n 3\n", 1));
    buf_reset(&b); /* a HEAD's answer has no body */
    put(fd, "HEAD /n HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n");
    assert_true(get(fd, &b, NULL, 0));
    assert_string_equal(b.p + b.n - 4, "\r\n\r\n");
    close(fd);
    rig_close(&g);
    buf_fini(&b);
}

/* In prefill, where nothing was written yet: end of file, reset, half-close. */
static void leaving(void **state) {
    (void)state;
    struct rig g;
    rig_open(&g, (struct net_server_opts){0});
    for (int how = 0; how < 3; how++) {
        const int fd = dial(&g);
        const struct linger reset = {1, 0};
        put(fd, GET("/wait"));
        usleep(20000);
        assert_int_equal(n_gone, how);
        if (how == 1) setsockopt(fd, SOL_SOCKET, SO_LINGER, &reset, sizeof reset);
        if (how == 2) shutdown(fd, SHUT_WR);
        const int64_t start = os_now_ns();
        if (how < 2) close(fd);
        assert_true(wait_for(&n_gone, how + 1));
        assert_true(SANITIZED || os_now_ns() - start < 250000000);
        if (how == 2) close(fd);
    }
    rig_close(&g);
}

static void slow_reader(void **state) {
    (void)state;
    struct rig g;
    struct buf b = {0};
    rig_open(&g, (struct net_server_opts){0});
    const int fd = dial(&g);
    put(fd, GET("/flood"));
    long long before = -1;
    for (int i = 0; i < 50 && n_taken != before; i++) { /* the kernel's buffers grow first */
        before = n_taken;
        usleep(100000);
    }
    assert_int_equal(n_taken, before);
    assert_true(n_full > 0 && before < 16 << 20);
    ask(&g, GET_CLOSE("/other"), "/other 0\n");
    for (int i = 0; i < 2000; i++) { /* it reads again: more is taken */
        char piece[16384];
        assert_true(recv(fd, piece, sizeof piece, 0) > 0);
        if (n_taken > before && n_room) break;
    }
    assert_true(n_taken > before && n_room > 0);
    close(fd);
    assert_true(wait_for(&n_gone, 1));
    rig_close(&g);
    buf_fini(&b);
}

static void timeouts(void **state) {
    (void)state;
    struct rig g;
    struct buf b = {0};
    rig_open(&g, (struct net_server_opts){
                     .idle_ms = 300, .head_ms = 300, .body_ms = 300, .write_ms = 300});
    int fd = dial(&g);
    assert_true(get(fd, &b, NULL, 0)); /* idle */
    assert_int_equal(b.n, 0);
    close(fd);
    fd = dial(&g); /* a byte now and then does not help */
    put(fd, "GET /");
    struct pollfd answer = {.fd = fd, .events = POLLIN};
    for (int i = 0; i < 100 && poll(&answer, 1, 30) == 0; i++)
        put(fd, "a");
    assert_true(answer.revents & POLLIN);
    assert_true(get(fd, &b, " 408 ", 1));
    close(fd);
    ask(&g, "POST /n HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhe", " 408 ");
    fd = dial(&g); /* takes nothing of a stream */
    put(fd, GET("/flood"));
    assert_true(wait_for(&n_gone, 2));
    close(fd);
    rig_close(&g);
    buf_fini(&b);
}

/* A body that always brings what each window wants, but does not end. */
static void endless_body(void **state) {
    (void)state;
    struct rig g;
    struct buf b = {0};
    char piece[1200];
    rig_open(&g, (struct net_server_opts){.body_ms = 100, .total_ms = 500});
    const int fd = dial(&g);
    put(fd, "POST /n HTTP/1.1\r\nHost: a\r\nContent-Length: 99999\r\n\r\n");
    memset(piece, 'x', sizeof piece);
    struct pollfd answer = {.fd = fd, .events = POLLIN};
    const int64_t t0 = os_now_ns();
    int n = 0;
    for (; n < 80 && poll(&answer, 1, 50) == 0; n++)
        assert_true(send(fd, piece, sizeof piece, MSG_NOSIGNAL) > 0);
    assert_true(n > 5 && os_now_ns() - t0 > 400000000); /* not at the first window's end */
    assert_true(get(fd, &b, " 408 ", 1));
    close(fd);
    rig_close(&g);
    buf_fini(&b);
}

static void many(void **state) {
    (void)state;
    enum { N = 200 };
    struct rig g;
    static int fds[N];
    rig_open(&g, (struct net_server_opts){.n_conn_max = 150}); /* the others wait */
    for (int i = 0; i < N; i++) {
        fds[i] = dial(&g);
        put(fds[i], GET_CLOSE("/stream"));
    }
    for (int i = 0; i < N; i++) {
        struct buf b = {0};
        assert_true(get(fds[i], &b, NULL, 0));
        assert_non_null(strstr(b.p, "{\"i\":49}\n"));
        buf_fini(&b);
        close(fds[i]);
    }
    rig_close(&g);
}

static void drain(void **state) {
    (void)state;
    struct rig g;
    struct buf b = {0};
    rig_open(&g, (struct net_server_opts){0});
    const int running = dial(&g), half = dial(&g), idle = dial(&g);
    put(running, GET("/stream"));
    put(half, "GET / HT");
    assert_true(get(running, &b, "\"i\":3", 1));
    net_server_drain(g.s, 5000);
    usleep(20000);
    assert_int_equal(dial(&g), -1);
    assert_true(get(running, &b, NULL, 0)); /* whole, then closed */
    assert_non_null(strstr(b.p, "0\r\n\r\n"));
    buf_reset(&b);
    assert_true(get(idle, &b, NULL, 0));
    assert_int_equal(b.n, 0);
    put(half, "TP/1.1\r\nHost: a\r\n\r\n");
    assert_true(get(half, &b, NULL, 0));
    assert_non_null(strstr(b.p, " 503 "));
    close(running), close(half), close(idle);
    rig_close(&g);
    buf_fini(&b);
}

static int n_descriptors(void) {
    int n = 0;
    for (int fd = 0; fd < 1024; fd++)
        n += fcntl(fd, F_GETFD) >= 0;
    return n;
}

/* Clients that come and leave, also while a stream runs, leave nothing behind. */
static void rounds(void **state) {
    (void)state;
    struct rig g;
    rig_open(&g, (struct net_server_opts){0});
    const int before = n_descriptors();
    for (int i = 0; i < 150; i++) {
        const int a = dial(&g), b = dial(&g);
        put(a, GET("/wait") GET("/next"));
        put(b, GET("/stream"));
        usleep((useconds_t)(i % 7) * 1000);
        close(a);
        close(b);
    }
    assert_true(wait_for(&n_gone, 150));
    for (int i = 0; i < 2000 && (n_live || n_descriptors() > before); i++)
        usleep(1000);
    assert_int_equal(n_descriptors(), before);
    rig_close(&g);
}

/* What curl sends: an upload of unknown length with Expect, then the kept connection again. */
static size_t give(char *p, size_t size, size_t n, void *arg) {
    size_t *left = arg;
    const size_t k = *left < size * n ? *left : size * n;
    memset(p, 'x', k);
    *left -= k;
    return k;
}

static size_t take(char *p, size_t size, size_t n, void *arg) {
    buf_append(arg, p, size * n);
    return size * n;
}

static void curl(void **state) {
    (void)state;
    struct rig g;
    struct buf b = {0};
    char url[64];
    long n_connect = -1, status = 0;
    rig_open(&g, (struct net_server_opts){0});
    CURL *c = curl_easy_init();
    struct curl_slist *h = curl_slist_append(NULL, "Expect: 100-continue");
    snprintf(url, sizeof url, "http://127.0.0.1:%d/up", g.port);
    curl_easy_setopt(c, CURLOPT_URL, url);
    curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_TIMEOUT, 10L);
    curl_easy_setopt(c, CURLOPT_POST, 1L);
    curl_easy_setopt(c, CURLOPT_READFUNCTION, give);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, take);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, &b);
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, h);
    for (int i = 0; i < 3; i++) {
        size_t left = i < 2 ? BODY_MAX : BODY_MAX + 1;
        buf_reset(&b);
        curl_easy_setopt(c, CURLOPT_READDATA, &left);
        assert_int_equal(curl_easy_perform(c), CURLE_OK);
        curl_easy_getinfo(c, CURLINFO_NUM_CONNECTS, &n_connect);
        curl_easy_getinfo(c, CURLINFO_RESPONSE_CODE, &status);
        assert_int_equal(n_connect, i == 0);
        assert_int_equal(status, i < 2 ? 200 : 413);
        if (i < 2) assert_string_equal(b.p, "/up 100000\n");
    }
    curl_slist_free_all(h);
    curl_easy_cleanup(c);
    rig_close(&g);
    buf_fini(&b);
}

/* While a worker is busy with a piece, no other comes, nor the end. */
static void paused_body(void **state) {
    (void)state;
    struct rig g;
    struct buf b = {0};
    rig_open(&g, (struct net_server_opts){0});
    buf_str(&b, "POST /pause HTTP/1.1\r\nHost: a\r\nConnection: close\r\n"
                "Content-Length: 90000\r\n\r\n");
    for (int i = 0; i < 90000; i++)
        buf_byte(&b, 'x');
    ask(&g, b.p, "/pause 90000\n");
    assert_true(n_pause > 1);
    assert_int_equal(n_early, 0);
    rig_close(&g);
    buf_fini(&b);
}

static void unix_socket(void **state) {
    (void)state;
    struct rig g;
    struct stat st;
    struct buf b = {0};
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    char *dir = temp_folder(), listen[100];
    snprintf(listen, sizeof listen, "unix:%s/s", dir);
    snprintf(a.sun_path, sizeof a.sun_path, "%s", listen + 5);
    rig_open(&g, (struct net_server_opts){.listen = (const char *[]){listen}, .n_listen = 1});
    assert_int_equal(stat(a.sun_path, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    const int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_int_equal(connect(fd, (struct sockaddr *)&a, sizeof a), 0);
    put(fd, GET_CLOSE("/u"));
    assert_true(get(fd, &b, NULL, 0));
    assert_non_null(strstr(b.p, "/u 0\n"));
    close(fd);
    rig_close(&g);
    assert_int_equal(stat(a.sun_path, &st), -1);
    buf_fini(&b);
    temp_remove(dir);
}

static void addresses(void **state) {
    (void)state;
    struct net_server *s;
    struct err e;
    struct net_server_opts o = {.head = on_head, .body = on_body};
    o.n_listen = 1;
    o.listen = (const char *[]){"0.0.0.0:0"};
    assert_int_equal(net_server_open(&s, &o, &e), -1);
    assert_int_equal(e.code, ERR_LIMIT);
    o.listen = (const char *[]){"localhost"};
    assert_int_equal(net_server_open(&s, &o, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    struct rig g;
    rig_open(&g, (struct net_server_opts){.listen = (const char *[]){"[::1]:0"}, .n_listen = 1});
    assert_true(g.port > 0);
    rig_close(&g);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(kept_and_pipelined),
        cmocka_unit_test(far_ahead),
        cmocka_unit_test(bodies),
        cmocka_unit_test(leaving),
        cmocka_unit_test(slow_reader),
        cmocka_unit_test(timeouts),
        cmocka_unit_test(endless_body),
        cmocka_unit_test(many),
        cmocka_unit_test(drain),
        cmocka_unit_test(rounds),
        cmocka_unit_test(curl),
        cmocka_unit_test(paused_body),
        cmocka_unit_test(unix_socket),
        cmocka_unit_test(addresses),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
