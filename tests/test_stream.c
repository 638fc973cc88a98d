/* Requests inside the server, with handlers of the test's own: streams, readers that are slow or
 * leave, bodies that go to a sink, many handlers that block. */
#include "serve_rig.h"

#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <zlib.h>
#include <zstd.h>

#include "base/os.h"
#include "server/front_priv.h"

/* ---- handlers ---- */

static atomic_int n_left, n_told, n_slow, n_live, n_sunk, n_aborted;
static atomic_bool let_go;
static atomic_llong n_made, sunk_bytes;

static void lines(struct request *r, int n, enum stream_form form) {
    stream_start(r, 200, form);
    for (int i = 0; i < n; i++) {
        json_t *j = json_pack("{s:i}", "i", i);
        stream_json(r, j);
        json_decref(j);
        if (i % 10 == 0) usleep(1000);
    }
    stream_end(r);
}

static void get_lines(struct request *r) {
    lines(r, 100, STREAM_NDJSON);
}

static void get_events(struct request *r) {
    lines(r, 100, STREAM_SSE);
}

static void get_failing(struct request *r) {
    struct err e;
    stream_start(r, 200, r->dialect == DIALECT_OLLAMA ? STREAM_NDJSON : STREAM_SSE);
    err_set(&e, ERR_IO, "the engine \"broke\"\n");
    stream_fail(r, &e);
}

static void told(void *ctx) {
    (void)ctx;
    atomic_fetch_add(&n_told, 1);
}

/* Makes lines until the client has left, slower when nobody reads. */
static void get_flood(struct request *r) {
    char text[8192];
    memset(text, 'x', sizeof text);
    text[sizeof text - 1] = '\n';
    atomic_fetch_add(&n_live, 1);
    request_on_gone(r, told, NULL);
    stream_start(r, 200, STREAM_NDJSON);
    while (!request_gone(r)) {
        stream_text(r, (struct str){text, sizeof text});
        atomic_fetch_add(&n_made, (long long)sizeof text);
        usleep(20);
    }
    request_on_gone(r, NULL, NULL);
    atomic_fetch_add(&n_left, 1);
    atomic_fetch_sub(&n_live, 1);
    stream_end(r);
}

/* More than a reader takes at once, ended before it is out. */
static void get_big(struct request *r) {
    struct buf b = {0};
    for (int i = 0; i < 60000; i++)
        buf_printf(&b, "%08d\n", i);
    stream_start(r, 200, STREAM_NDJSON);
    for (size_t at = 0; at < b.n; at += 9000)
        stream_text(r, (struct str){b.p + at, b.n - at < 9000 ? b.n - at : 9000});
    stream_end(r);
    buf_fini(&b);
}

static void post_echo(struct request *r) {
    json_t *j = request_json(r);
    if (!j) return;
    request_set_model(r, "echo\x1b[31m\n{\"fake\":1}");
    reply_json(r, 200, json_incref(j));
}

/* What counts as being in memory while a request is answered. */
static void post_gathered(struct request *r) {
    if (!request_json(r)) return;
    reply_json(
        r, 200,
        json_pack("{s:I}", "bytes", (json_int_t)atomic_load(&request_server(r)->n_gathered)));
}

static void post_length(struct request *r) {
    char text[32];
    const int n = snprintf(text, sizeof text, "%zu", request_body(r).n);
    reply_text(r, 200, "text/plain", (struct str){text, (size_t)n});
}

static void get_param(struct request *r) {
    reply_text(r, 200, "text/plain", str_of(request_param(r)));
}

static void post_slow(struct request *r) {
    atomic_fetch_add(&n_slow, 1);
    while (!let_go)
        usleep(1000);
    reply_status(r, 200);
}

/* ---- a sink ---- */

static int sink_open(struct request *r, void **sink, struct err *e) {
    if (str_is(request_head(r)->query, "refuse"))
        return err_set(e, ERR_NOT_FOUND, "sink: not wanted");
    *sink = calloc(1, sizeof(size_t));
    return 0;
}

static int sink_write(void *sink, struct str piece, struct err *e) {
    size_t *n = sink;
    for (size_t i = 0; i < piece.n; i++)
        if (piece.p[i] == '!') return err_set(e, ERR_FORMAT, "sink: found \"!\"");
    *n += piece.n;
    atomic_fetch_add(&sunk_bytes, (long long)piece.n);
    if (!let_go) usleep(2000);
    return 0;
}

static void sink_abort(void *sink) {
    free(sink);
    atomic_fetch_add(&n_aborted, 1);
}

static void put_sunk(struct request *r) {
    size_t *n = request_sink(r);
    json_t *j = json_pack("{s:I}", "bytes", (json_int_t)*n);
    free(n);
    atomic_fetch_add(&n_sunk, 1);
    reply_json(r, 200, j);
}

static const struct body_sink sink = {sink_open, sink_write, sink_abort};

static const struct route routes[] = {
    {HTTP_GET, "/t/lines", RIGHT_USE, DIALECT_OLLAMA, 0, get_lines, NULL, NULL},
    {HTTP_GET, "/t/events", RIGHT_USE, DIALECT_OPENAI, 0, get_events, NULL, NULL},
    {HTTP_GET, "/t/fail/ollama", RIGHT_USE, DIALECT_OLLAMA, 0, get_failing, NULL, NULL},
    {HTTP_GET, "/t/fail/openai", RIGHT_USE, DIALECT_OPENAI, 0, get_failing, NULL, NULL},
    {HTTP_GET, "/t/fail/anthropic", RIGHT_USE, DIALECT_ANTHROPIC, 0, get_failing, NULL, NULL},
    {HTTP_GET, "/t/flood", RIGHT_ADMIN, DIALECT_OLLAMA, 0, get_flood, NULL, NULL},
    {HTTP_GET, "/t/big", RIGHT_USE, DIALECT_OLLAMA, 0, get_big, NULL, NULL},
    {HTTP_POST, "/t/echo", RIGHT_USE, DIALECT_OLLAMA, 100000, post_echo, NULL, NULL},
    {HTTP_POST, "/t/length", RIGHT_USE, DIALECT_OLLAMA, BODY_MAX, post_length, NULL, NULL},
    {HTTP_POST, "/t/gathered", RIGHT_USE, DIALECT_OLLAMA, BODY_MAX, post_gathered, NULL, NULL},
    {HTTP_GET, "/t/param/:x", RIGHT_USE, DIALECT_OLLAMA, 0, get_param, NULL, NULL},
    {HTTP_GET, "/t/param/plain", RIGHT_USE, DIALECT_OLLAMA, 0, get_lines, NULL, NULL},
    {HTTP_POST, "/t/slow", RIGHT_ADMIN, DIALECT_OLLAMA, 100, post_slow, NULL, NULL},
    {HTTP_POST, "/t/sink", RIGHT_ADMIN, DIALECT_OLLAMA, BLOB_BODY_MAX, put_sunk, &sink, NULL},
    {0},
};

/* ---- the server, in this process ---- */

static struct serve here;
static struct server *server;
static pthread_t net_thread;

static void *run(void *arg) {
    struct err e;
    server_run(arg, &e);
    return NULL;
}

static const char *const any_port[] = {"127.0.0.1:0"};

/* Its log goes to here.log. */
static struct server *open_server(pthread_t *t) {
    struct err e;
    const int kept = dup(2), fd = open(here.log, O_WRONLY | O_CREAT | O_APPEND, 0600);
    dup2(fd, 2); /* the server's, which keeps a copy */
    struct server *s = server_open(
        &(struct server_opts){.listen = any_port, .n_listen = 1, .store = here.dir}, &e);
    dup2(kept, 2);
    close(kept), close(fd);
    if (!s) fail_msg("%s", e.msg);
    assert_int_equal(pthread_create(t, NULL, run, s), 0);
    return s;
}

static int start(void **state) {
    (void)state;
    here.dir = temp_folder();
    snprintf(here.log, sizeof here.log, "%s/log", here.dir);
    setenv("CRIA_LOG_FORMAT", "json", 1);
    setenv("CRIA_LOG_PROMPTS", "1", 1);
    route_add(routes);
    server = open_server(&net_thread);
    here.port = server_port(server);
    return 0;
}

static int stop(void **state) {
    (void)state;
    server_drain(server);
    pthread_join(net_thread, NULL);
    server_close(server);
    temp_remove(here.dir);
    return 0;
}

static bool wait_for(atomic_int *what, int n) {
    for (int i = 0; i < 10000 && *what != n; i++)
        usleep(1000);
    return *what == n;
}

/* ---- tests ---- */

static void streams(void **state) {
    (void)state;
    static const char *const path[] = {"/t/lines", "/t/events"};
    static const char *const type[] = {"application/x-ndjson", "text/event-stream; charset=utf-8"};
    for (int k = 0; k < 2; k++) {
        struct answer a;
        ask(&here, &a, "GET", path[k], NULL, NULL);
        assert_int_equal(a.status, 200);
        assert_true(a.whole);
        assert_string_equal(answer_header(&a, "Content-Type"), type[k]);
        json_t *all = answer_stream(&a);
        assert_int_equal(json_array_size(all), 100);
        for (int i = 0; i < 100; i++)
            assert_int_equal(
                json_integer_value(json_object_get(json_array_get(all, (size_t)i), "i")), i);
        json_decref(all);
        answer_fini(&a);
    }
}

static void failing_streams(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"/t/fail/ollama", "{\"error\":\"the engine \\\"broke\\\"\\\\x0a\"}\n"},
        {"/t/fail/openai", "data: {\"error\":{\"message\":\"the engine \\\"broke\\\"\\\\x0a\","
                           "\"type\":\"api_error\",\"param\":null,\"code\":null}}\n\n"},
        {"/t/fail/anthropic",
         "event: error\ndata: {\"type\":\"error\",\"error\":{\"type\":\"api_error\",\"message\":"
         "\"the engine \\\"broke\\\"\\\\x0a\"}}\n\n"},
    };
    for (int i = 0; i < 3; i++) {
        struct answer a;
        ask(&here, &a, "GET", cases[i][0], NULL, NULL);
        assert_string_equal(a.body.p, cases[i][1]);
        answer_fini(&a);
    }
}

/* A reader that stops: what is made for it is bounded, and it is cut off; others are served. */
static void slow_reader(void **state) {
    (void)state;
    struct wire w;
    struct answer a;
    n_made = 0;
    n_left = 0;
    n_told = 0;
    wire_open(&w, &here);
    wire_ask(&w, "GET", "/t/flood", NULL, NULL);
    assert_true(wire_head(&w, &a, 5));
    assert_true(wait_for(&n_left, 1)); /* more than STREAM_MAX waits for it */
    assert_int_equal(n_told, 1);
    assert_true(n_made < 40 << 20);
    json_decref(ask_json(&here, "GET", "/health", 200, "%s", ""));
    answer_fini(&a);
    wire_close(&w);
    assert_true(serve_lines(&here, "/t/flood", "\"cut\":true", 1) >= 1);
}

/* A stream that has ended before it was read comes whole. */
static void ended_before_read(void **state) {
    (void)state;
    struct wire w;
    struct answer a;
    struct buf line = {0};
    wire_open(&w, &here);
    wire_ask(&w, "GET", "/t/big", NULL, NULL);
    usleep(300000);
    assert_true(wire_head(&w, &a, 5));
    for (int i = 0; i < 60000; i++) {
        if (wire_line(&w, &line, 5) != 1 || atoi(line.p) != i) fail_msg("%d: %s", i, line.p);
    }
    assert_int_equal(wire_line(&w, &line, 5), 0);
    answer_fini(&a);
    buf_fini(&line);
    wire_close(&w);
}

static void leaving(void **state) {
    (void)state;
    n_left = 0;
    n_told = 0;
    for (int i = 0; i < 50; i++) {
        struct wire w;
        struct answer a;
        wire_open(&w, &here);
        wire_ask(&w, "GET", "/t/flood", NULL, NULL);
        /* One that leaves before its request was read is nobody's loss. */
        assert_true(wire_head(&w, &a, 5));
        answer_fini(&a);
        (i % 2 ? wire_reset : wire_close)(&w);
    }
    assert_true(wait_for(&n_live, 0));
    assert_true(wait_for(&n_left, 50) && wait_for(&n_told, 50));
}

/* The last reference of a request is dropped after its answer was sent. */
static void nothing_gathered(void) {
    for (int i = 0; i < 5000 && atomic_load(&server->n_gathered); i++)
        usleep(1000);
    assert_int_equal(atomic_load(&server->n_gathered), 0);
}

static void json_bodies(void **state) {
    (void)state;
    struct buf b = {0};
    json_t *j = ask_json(&here, "POST", "/t/echo", 200, "{\"b\":1,\"a\":\"\\u00e9\"}");
    assert_int_equal(json_integer_value(json_object_get(j, "b")), 1);
    json_decref(j);
    json_decref(ask_json(&here, "POST", "/t/echo", 400, "%s", ""));
    json_decref(ask_json(&here, "POST", "/t/echo", 400, "[1]"));
    json_decref(ask_json(&here, "POST", "/t/echo", 400, "{\"a\":"));
    json_decref(ask_json(&here, "POST", "/t/echo", 400, "{\"a\":1,\"a\":2}"));
    for (int i = 0; i < 40000; i++)
        buf_str(&b, "[");
    json_decref(ask_json(&here, "POST", "/t/echo", 400, "{\"a\":%s", b.p));
    buf_fini(&b);
    /* A name with controls and a newline is one line in the log, and no field of its own. */
    assert_true(
        serve_lines(&here, "\"model\":\"echo\\u001B[31m\\n{\\\"fake\\\":1}\"", "/t/echo", 1) >= 1);
}

/* A request that waits for a model holds its JSON: many of them must not be free of the limit of
 * all bodies together. */
static void json_is_counted(void **state) {
    (void)state;
    static char big[60000];
    memset(big, 'x', sizeof big - 1);
    json_t *j = ask_json(&here, "POST", "/t/gathered", 200, "{\"prompt\":\"%s\"}", big);
    assert_true(json_integer_value(json_object_get(j, "bytes")) >= (json_int_t)sizeof big);
    json_decref(j);
    nothing_gathered();
}

/* While others' bodies fill the memory that is for them, small requests are served. */
static void small_bodies_have_room(void **state) {
    (void)state;
    static char big[100000];
    struct answer a;
    memset(big, 'x', sizeof big - 1);
    atomic_fetch_add(&server->n_gathered, 1 << 30);
    json_decref(ask_json(&here, "POST", "/t/echo", 200, "{\"a\":1}"));
    ask(&here, &a, "POST", "/t/length", NULL, big);
    assert_int_equal(a.status, 503);
    answer_fini(&a);
    atomic_fetch_sub(&server->n_gathered, 1 << 30);
    nothing_gathered();
}

/* ---- compressed bodies ---- */

static void gzip(const void *p, size_t n, struct buf *out) {
    z_stream z = {.next_in = (Bytef *)(uintptr_t)p, .avail_in = (uInt)n};
    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 31, 9, Z_DEFAULT_STRATEGY), Z_OK);
    const size_t room = deflateBound(&z, n);
    z.next_out = (Bytef *)buf_room(out, room);
    z.avail_out = (uInt)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    out->n += room - z.avail_out;
    deflateEnd(&z);
}

static void zstd(const void *p, size_t n, struct buf *out) {
    const size_t room = ZSTD_compressBound(n);
    const size_t k = ZSTD_compress(buf_room(out, room), room, p, n, 3);
    assert_false(ZSTD_isError(k));
    out->n += k;
}

/* POST these bytes; the answer's text must hold `wanted`. */
static void post_coded(const char *coding, const struct buf *body, const char *path, int status,
                       const char *wanted) {
    struct wire w;
    struct answer a;
    char h[200];
    wire_open(&w, &here);
    snprintf(h, sizeof h, "Content-Encoding: %s\r\nContent-Length: %zu\r\n", coding, body->n);
    wire_ask(&w, "POST", path, h, NULL);
    wire_send(&w, body->p, body->n);
    assert_true(wire_head(&w, &a, 30));
    while (wire_body(&w, &a.body, 30) == 1)
        ;
    if (a.status != status || !strstr(a.body.p, wanted))
        fail_msg("%s %s: %d %s", coding, path, a.status, a.body.p);
    answer_fini(&a);
    wire_close(&w);
}

static void compressed(void **state) {
    (void)state;
    static void (*const pack[])(const void *, size_t, struct buf *) = {gzip, zstd};
    static const char *const name[] = {"gzip", "zstd"}, text[] = "{\"a\":\"some text\"}";
    struct buf zeros = {0}, noise = {0};
    for (int i = 0; i < 40 << 20; i++)
        buf_byte(&zeros, ' ');
    for (int i = 0; i < 3 << 20; i++)
        buf_byte(&noise, (char)rand());
    for (int k = 0; k < 2; k++) {
        struct buf b = {0};
        pack[k](text, sizeof text - 1, &b);
        post_coded(name[k], &b, "/t/echo", 200, text);
        for (size_t cut = 1; cut < b.n; cut++) { /* each beginning of it is broken */
            struct buf part = {.p = b.p, .n = b.n - cut};
            post_coded(name[k], &part, "/t/echo", 400, "broken");
        }
        buf_byte(&b, 'x');
        post_coded(name[k], &b, "/t/echo", 400, "broken"); /* something behind its end */
        buf_reset(&b);
        pack[k](noise.p, noise.n, &b);
        post_coded(name[k], &b, "/t/length", 200, "3145728");
        buf_reset(&b);
        pack[k](zeros.p, zeros.n, &b); /* tens of kilobytes of 40 MiB */
        post_coded(name[k], &b, "/t/length", 413, "larger");
        buf_reset(&b);
        pack[k](zeros.p, 100001, &b);
        post_coded(name[k], &b, "/t/echo", 413, "larger");
        buf_reset(&b);
        pack[k](zeros.p, 1 << 20, &b); /* small enough whatever the ratio */
        post_coded(name[k], &b, "/t/length", 200, "1048576");
        buf_fini(&b);
    }
    struct buf plain = {.p = (char[]){"{}"}, .n = 2};
    post_coded("identity", &plain, "/t/echo", 200, "{}");
    post_coded("br", &plain, "/t/echo", 415, "Content-Encoding");
    post_coded("gzip, gzip", &plain, "/t/echo", 415, "Content-Encoding");
    post_coded("gzip", &plain, "/t/sink", 415, "Content-Encoding");
    nothing_gathered();
    buf_fini(&zeros), buf_fini(&noise);
    assert_true(serve_lines(&here, "some text", "\"body\":", 1) >= 1); /* LOG_PROMPTS */
}

static void body_limits(void **state) {
    (void)state;
    static char big[100002];
    struct answer a;
    struct buf b = {0};
    memset(big, ' ', sizeof big - 1);
    ask(&here, &a, "POST", "/t/echo", NULL, big);
    assert_int_equal(a.status, 413);
    assert_non_null(strstr(a.body.p, "{\"error\":\"the request body is larger"));
    answer_fini(&a);
    for (int i = 0; i < 11; i++)
        buf_printf(&b, "2710\r\n%.10000s\r\n", big);
    buf_str(&b, "0\r\n\r\n");
    ask(&here, &a, "POST", "/t/echo", "Transfer-Encoding: chunked\r\n", b.p);
    assert_int_equal(a.status, 413);
    answer_fini(&a);
    buf_fini(&b);
    for (int i = 0; i < (BODY_MAX >> 4); i++)
        buf_str(&b, "0123456789abcdef");
    ask(&here, &a, "POST", "/t/length", NULL, b.p);
    assert_int_equal(a.status, 200);
    assert_string_equal(a.body.p, "33554432");
    answer_fini(&a);
    buf_str(&b, "x");
    ask(&here, &a, "POST", "/t/length", NULL, b.p);
    assert_int_equal(a.status, 413);
    answer_fini(&a);
    buf_fini(&b);
    nothing_gathered();
}

static void params(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"/t/param/a", "a"},
        {"/t/param/a/b", "a/b"},
        {"/t/param/sha256:00%3a%2Fx", "sha256:00:/x"},
        {"/t/param/../x", "../x"}, /* for the handler to refuse */
    };
    struct answer a;
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        ask(&here, &a, "GET", cases[i][0], NULL, NULL);
        assert_string_equal(a.body.p, cases[i][1]);
        answer_fini(&a);
    }
    ask(&here, &a, "GET", "/t/param/", NULL, NULL);
    assert_int_equal(a.status, 404);
    answer_fini(&a);
    ask(&here, &a, "GET", "/t/param/plain", NULL, NULL); /* the nearer route */
    assert_non_null(strstr(a.body.p, "{\"i\":99}"));
    answer_fini(&a);
}

/* As many slow handlers as there may be, and more: others do not wait for them. */
static void slow_handlers(void **state) {
    (void)state;
    enum { N = 80 };
    static struct wire w[N];
    let_go = false;
    n_slow = 0;
    for (int i = 0; i < N; i++) {
        wire_open(&w[i], &here);
        wire_ask(&w[i], "POST", "/t/slow", NULL, "{}");
    }
    assert_true(wait_for(&n_slow, 64));
    const int64_t t0 = os_now_ns();
    for (int i = 0; i < 20; i++)
        json_decref(ask_json(&here, "POST", "/t/echo", 200, "{}"));
    assert_true(os_now_ns() - t0 < 5000000000);
    let_go = true;
    for (int i = 0; i < N; i++) {
        struct answer a;
        assert_true(wire_head(&w[i], &a, 10));
        assert_int_equal(a.status, 200);
        answer_fini(&a);
        wire_close(&w[i]);
    }
}

static void sinks(void **state) {
    (void)state;
    struct answer a;
    struct wire w;
    struct buf b = {0};
    let_go = true;
    n_sunk = 0;
    n_aborted = 0;
    json_t *j = ask_json(&here, "POST", "/t/sink", 200, "%s", "hello");
    assert_int_equal(json_integer_value(json_object_get(j, "bytes")), 5);
    json_decref(j);
    ask(&here, &a, "POST", "/t/sink", NULL, "");
    assert_string_equal(a.body.p, "{\"bytes\":0}");
    answer_fini(&a);
    for (int i = 0; i < 1 << 18; i++)
        buf_str(&b, "0123456789abcdef0123456789abcde.");
    ask(&here, &a, "POST", "/t/sink", NULL, b.p);
    assert_string_equal(a.body.p, "{\"bytes\":8388608}");
    answer_fini(&a);
    assert_int_equal(n_sunk, 3);
    ask(&here, &a, "POST", "/t/sink?refuse", NULL, "hello");
    assert_int_equal(a.status, 404);
    answer_fini(&a);
    assert_int_equal(n_aborted, 0);
    ask(&here, &a, "POST", "/t/sink", NULL, "hello!");
    assert_int_equal(a.status, 400);
    answer_fini(&a);
    assert_int_equal(n_aborted, 1);
    b.p[3 << 20] = '!';
    ask(&here, &a, "POST", "/t/sink", NULL, b.p);
    assert_int_equal(a.status, 400);
    answer_fini(&a);
    assert_int_equal(n_aborted, 2);
    wire_open(&w, &here);
    wire_ask(&w, "POST", "/t/sink", "Content-Length: 10000000\r\n", "begin");
    usleep(50000);
    wire_close(&w); /* before the sink was opened: nothing to undo */
    wire_open(&w, &here);
    wire_ask(&w, "POST", "/t/sink", "Content-Length: 10000000\r\n", NULL);
    wire_send(&w, b.p, 2 << 20);
    wire_close(&w);
    assert_true(wait_for(&n_aborted, 3));
    assert_int_equal(n_sunk, 3);
    buf_fini(&b);
}

/* A sink that is slower than the sender: little is read ahead. */
static void slow_sink(void **state) {
    (void)state;
    struct answer a;
    struct buf b = {0};
    let_go = false;
    for (int i = 0; i < 1 << 19; i++)
        buf_str(&b, "0123456789abcdef0123456789abcde.");
    atomic_store(&sunk_bytes, 0);
    ask(&here, &a, "POST", "/t/sink", NULL, b.p);
    let_go = true;
    assert_string_equal(a.body.p, "{\"bytes\":16777216}");
    nothing_gathered();
    answer_fini(&a);
    buf_fini(&b);
}

/* ---- the end ---- */

/* A hundred streams are under way: they end whole, nobody else comes in. */
static void drain(void **state) {
    (void)state;
    enum { N = 100 };
    static struct wire w[N];
    pthread_t t;
    struct buf line = {0};
    struct server *s = open_server(&t);
    struct serve at = {.port = server_port(s)};
    for (int i = 0; i < N; i++) {
        wire_open(&w[i], &at);
        wire_ask(&w[i], "GET", i % 2 ? "/t/lines" : "/t/big", NULL, NULL);
    }
    for (int i = 0; i < N; i++) {
        struct answer a;
        assert_true(wire_head(&w[i], &a, 20));
        answer_fini(&a);
    }
    server_drain(s);
    for (int i = 0; i < N; i++) {
        int n = 0, rc;
        while ((rc = wire_line(&w[i], &line, 20)) == 1)
            n++;
        assert_int_equal(rc, 0);
        assert_int_equal(n, i % 2 ? 100 : 60000);
        assert_true(wire_closed(&w[i], 5));
        wire_close(&w[i]);
    }
    pthread_join(t, NULL);
    server_close(s);
    buf_fini(&line);
}

/* The second time nothing is waited for. */
static void drain_twice(void **state) {
    (void)state;
    struct wire w;
    struct answer a;
    pthread_t t;
    struct server *s = open_server(&t);
    struct serve at = {.port = server_port(s)};
    n_live = 0;
    wire_open(&w, &at);
    wire_ask(&w, "GET", "/t/flood", NULL, NULL);
    assert_true(wire_head(&w, &a, 10));
    const int64_t t0 = os_now_ns();
    server_drain(s);
    server_drain(s);
    pthread_join(t, NULL);
    assert_true(os_now_ns() - t0 < 5000000000);
    server_close(s);
    answer_fini(&a);
    wire_close(&w);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(streams),         cmocka_unit_test(failing_streams),
        cmocka_unit_test(slow_reader),     cmocka_unit_test(ended_before_read),
        cmocka_unit_test(leaving),         cmocka_unit_test(json_bodies),
        cmocka_unit_test(json_is_counted), cmocka_unit_test(small_bodies_have_room),
        cmocka_unit_test(body_limits),     cmocka_unit_test(params),
        cmocka_unit_test(slow_handlers),   cmocka_unit_test(sinks),
        cmocka_unit_test(slow_sink),       cmocka_unit_test(compressed),
        cmocka_unit_test(drain),           cmocka_unit_test(drain_twice),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
