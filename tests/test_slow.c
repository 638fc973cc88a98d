/* Clients of a real model that read slowly, or leave: `cria serve` with its engine child, and the
 * pausing and cancelling between them (server/stream.c, SECURITY.md T9).
 *
 * CRIA_CAMPAIGN=1: a thousand that leave. */
#include "api_rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/os.h"

/* Of a client's receive buffer.  (A few KiB make the kernel probe a closed window ever more rarely,
 * so that it wakes up late: nothing that a server could change.) */
enum { SMALL = 64 << 10, LARGE = 1 << 20 };

static struct serve s;

static int begin(void **state) {
    (void)state;
    serve_start(&s, NULL, NULL);
    api_make(&s, "llama32", "llama32", "");
    return 0;
}

static int end(void **state) {
    (void)state;
    return serve_stop(&s);
}

/* Long lines, many of them: kernel buffers are full soon. */
static const char long_answer[] =
    "{\"model\":\"llama32\",\"prompt\":\"once upon a time\",\"raw\":true,\"logprobs\":true,"
    "\"top_logprobs\":20,\"options\":{\"num_predict\":6000,\"num_ctx\":8192,\"temperature\":0,"
    "\"repeat_penalty\":1.5,\"repeat_last_n\":256,"
    "\"ignore_eos\":true,"
    "\"seed\":1}}";

/* Read the stream to its end: the text of all its lines. */
static void read_all(struct wire *w, struct buf *text, int *n_line) {
    struct buf line = {0};
    int rc;
    *n_line = 0;
    while ((rc = wire_line(w, &line, 60)) == 1) {
        json_t *j = json_loads(line.p, JSON_ALLOW_NUL, NULL);
        if (!j) fail_msg("%s", line.p);
        const char *piece = json_string_value(json_object_get(j, "response"));
        const char *error = json_string_value(json_object_get(j, "error"));
        if (error) fail_msg("%s", error);
        buf_str(text, piece ? piece : "");
        json_decref(j);
        ++*n_line;
    }
    if (rc != 0) fail_msg("the stream broke off after %d lines", *n_line);
    buf_fini(&line);
}

/* rcvbuf: how many bytes the kernel takes for this client. */
static void start(struct wire *w, int rcvbuf) {
    struct answer a;
    wire_open(w, &s);
    setsockopt(w->fd, SOL_SOCKET, SO_RCVBUF, &rcvbuf, sizeof rcvbuf);
    wire_ask(w, "POST", "/api/generate", NULL, long_answer);
    assert_true(wire_head(w, &a, 60));
    assert_int_equal(a.status, 200);
    answer_fini(&a);
}

static long gauge(const char *name) {
    struct answer a;
    char wanted[100];
    ask(&s, &a, "GET", "/metrics", NULL, NULL);
    snprintf(wanted, sizeof wanted, "\ncria_%s ", name);
    const char *at = strstr(a.body.p, wanted);
    assert_non_null(at);
    const long n = atol(at + strlen(wanted));
    answer_fini(&a);
    return n;
}

/* A reader that stops for a while gets the same text as one that does not; the server grows little,
 * and the model works for others meanwhile. */
static void slow_reader(void **state) {
    (void)state;
    struct wire fast, slow;
    struct buf a = {0}, b = {0};
    int n_a, n_b;
    start(&fast, LARGE);
    read_all(&fast, &a, &n_a);
    wire_close(&fast);
    if (n_a < 2000) fail_msg("%d lines only: %s", n_a, a.p);
    const size_t rss = serve_rss_bytes(&s);
    start(&slow, SMALL);
    sleep(4);
    const size_t grown = serve_rss_bytes(&s);
    if (!SANITIZED && grown > rss + (16 << 20)) fail_msg("grew by %zu bytes", grown - rss);
    assert_int_equal(gauge("requests_running"), 1);
    json_decref(ask_json(&s, "POST", "/api/generate", 200,
                         "{\"model\":\"llama32\",\"prompt\":\"x\",\"stream\":false,"
                         "\"options\":{\"num_predict\":3,\"num_ctx\":8192}}"));
    read_all(&slow, &b, &n_b);
    wire_close(&slow);
    assert_int_equal(n_a, n_b);
    assert_string_equal(a.p, b.p);
    buf_fini(&a), buf_fini(&b);
}

/* Who leaves, after any number of lines or before the first, frees the model within 250 ms; nothing
 * stays behind. */
static void leaving(void **state) {
    (void)state;
    const int n = in_campaign() ? 1000 : 60;
    struct buf line = {0};
    int n_late = 0, before = 0;
    size_t rss = 0;
    double worst = 0;
    for (int i = 0; i < n; i++) {
        struct wire w;
        if (i == n / 4) before = serve_descriptors(&s), rss = serve_rss_bytes(&s);
        if (i % 5) {
            start(&w, LARGE);
            for (int k = 0; k < i % 50; k++)
                assert_int_equal(wire_line(&w, &line, 30), 1);
        } else {
            wire_open(&w, &s);
            wire_ask(&w, "POST", "/api/generate", NULL, long_answer);
        }
        if (i % 2)
            wire_reset(&w);
        else
            wire_close(&w);
        const int64_t t0 = os_now_ns();
        while (gauge("requests_running") + gauge("requests_waiting") > 0 &&
               os_now_ns() - t0 < 10000000000)
            usleep(1000);
        const double t = (double)(os_now_ns() - t0) / 1e9;
        n_late += t > 0.25;
        if (t > worst) worst = t;
    }
    if (in_campaign()) printf("%d left: free after %.0f ms at most\n", n, worst * 1e3);
    /* A shared machine may hold one up; all of them would be a defect. */
    if (!SANITIZED && n_late > n / 20) fail_msg("%d of %d late, %.3f s", n_late, n, worst);
    assert_true(worst < 5);
    for (int i = 0; i < 500 && serve_descriptors(&s) > before; i++)
        usleep(10000); /* connections that were left are closed soon */
    assert_true(serve_descriptors(&s) <= before);
    if (!SANITIZED) assert_true(serve_rss_bytes(&s) < rss + (4 << 20));
    buf_fini(&line);
}

/* One that was paused, because nobody read, ends as soon as the client leaves. */
static void leaving_while_paused(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++) {
        struct wire w;
        start(&w, SMALL);
        sleep(4);
        assert_int_equal(gauge("requests_running"), 1);
        if (i % 2)
            wire_reset(&w);
        else
            wire_close(&w);
        const int64_t t0 = os_now_ns();
        while (gauge("requests_running") > 0 && os_now_ns() - t0 < 10000000000)
            usleep(1000);
        const double t = (double)(os_now_ns() - t0) / 1e9;
        if (t > 5) fail_msg("round %d: %f s", i, t);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(slow_reader),
        cmocka_unit_test(leaving),
        cmocka_unit_test(leaving_while_paused),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
