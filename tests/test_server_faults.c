/* `cria serve` with a real engine child when clients leave, the child is killed, the server is told
 * to stop or the queue is full; and what a token costs on its way to the client.
 * `make test` runs a few rounds of each; `make server-campaign` (CRIA_CAMPAIGN=1) runs them all and
 * prints the figures.  An argument is a filter of tests: test_server_faults 'clients_*'. */
#include "models_rig.h"
#include "serve_rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"

#define MS INT64_C(1000000)
#define WAIT_UNTIL(condition)                                                                      \
    for (int64_t end_ns = os_now_ns() + 20000 * MS; !(condition); usleep(2000))                    \
        if (os_now_ns() > end_ns) fail_msg("never: " #condition)

static struct shop shop;
static struct serve srv;
static char models_set[700];

/* ---- helpers ---- */

static int rounds(int brief, int all) {
    return in_campaign() ? all : SANITIZED ? (brief + 3) / 4 : brief;
}

static void start(const char *a, const char *b) {
    const char *set[] = {models_set, a, b, NULL};
    serve_start(&srv, NULL, set);
}

static void stop(void) {
    assert_int_equal(serve_stop(&srv), 0);
}

static pid_t child(void) {
    pid_t pid = 0;
    assert_int_equal(serve_children(&srv, &pid, 1, NULL), 1);
    return pid;
}

static int metric(const char *name) {
    struct answer a;
    char line[80];
    ask(&srv, &a, "GET", "/metrics", NULL, NULL);
    snprintf(line, sizeof line, "\ncria_%s ", name);
    const char *at = strstr(a.body.p, line);
    const int v = at ? atoi(at + strlen(line)) : -1;
    answer_fini(&a);
    assert_true(v >= 0);
    return v;
}

/* "hello" and n_word words after it. */
static void start_stream(struct wire *w, const char *model, int n_word, int n_predict) {
    struct buf b = {0};
    buf_printf(&b, "{\"model\": \"%s\", \"raw\": true, \"prompt\": \"hello", model);
    for (int i = 0; i < n_word; i++)
        buf_printf(&b, " %d", (i * 7919 + n_predict) % 97);
    buf_printf(&b,
               "\", \"options\": {\"num_predict\": %d, \"ignore_eos\": true, \"temperature\": 0, "
               "\"num_draft\": 0, \"num_thread\": 1}}",
               n_predict);
    wire_open(w, &srv);
    wire_ask(w, "POST", "/api/generate", NULL, b.p);
    buf_fini(&b);
}

/* Its head and n lines of it. */
static void read_lines(struct wire *w, int n) {
    struct answer a = {0};
    struct buf line = {0};
    if (n && (!wire_head(w, &a, 30) || a.status != 200)) fail_msg("%d", a.status);
    for (int i = 0; i < n; i++)
        assert_int_equal(wire_line(w, &line, 30), 1);
    answer_fini(&a), buf_fini(&line);
}

/* The rest of it; the last line, which the caller frees. */
static struct buf read_rest(struct wire *w, int *n_line) {
    struct buf line = {0}, last = {0};
    *n_line = 0;
    for (; wire_line(w, &line, 60) == 1; ++*n_line) {
        buf_reset(&last);
        buf_append(&last, line.p, line.n);
    }
    buf_fini(&line);
    buf_str(&last, "");
    return last;
}

/* A short answer, whole; how long until it was there. */
static int64_t one_answer(const char *model) {
    const int64_t t0 = os_now_ns();
    json_t *j =
        ask_json(&srv, "POST", "/api/generate", 200,
                 "{\"model\": \"%s\", \"prompt\": \"hello\", \"raw\": true, \"stream\": false, "
                 "\"options\": {\"num_predict\": 1, \"num_thread\": 1}}",
                 model);
    assert_true(json_is_true(json_object_get(j, "done")));
    json_decref(j);
    return os_now_ns() - t0;
}

static int by_size(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static double percentile_ms(int64_t *ns, int n, int percent) {
    qsort(ns, (size_t)n, sizeof *ns, by_size);
    const int at = n * percent / 100;
    return (double)ns[at < n ? at : n - 1] / 1e6;
}

/* ---- clients that leave ---- */

struct size {
    size_t front, child;
    int front_fds, child_fds;
};

/* When nobody is connected any more. */
static struct size size_now(void) {
    WAIT_UNTIL(metric("requests_running") == 0);
    usleep(50000);
    const struct serve c = {.pid = child()};
    return (struct size){serve_rss_bytes(&srv), serve_rss_bytes(&c), serve_descriptors(&srv),
                         serve_descriptors(&c)};
}

/* With one slot: the next client has its answer within 250 ms of the one's leaving at token k, or
 * in the prefill of a long prompt; nothing stays behind. */
static void clients_leave(void **state) {
    (void)state;
    const int n = rounds(60, 1000);
    int64_t *took = calloc((size_t)n, sizeof *took);
    struct size warm = {0}, now;
    start("CRIA_NUM_PARALLEL=1", "CRIA_KEEP_ALIVE=1h");
    one_answer("chat");
    const pid_t engine = child();
    for (int i = 0; i < n; i++) {
        struct wire w;
        const int k = i % 51; /* 0: without having read anything */
        start_stream(&w, "chat", i % 4 == 3 ? 3000 : 2, 100000);
        if (i % 4 == 3)
            usleep((unsigned)(i * 7919 % 20) * 1000); /* in the prefill, mostly */
        else
            read_lines(&w, k);
        if (i % 2)
            wire_reset(&w);
        else
            wire_close(&w);
        took[i] = one_answer("chat");
        if (i == n / 5) warm = size_now();
        if (in_campaign() && i % 200 == 199) {
            now = size_now();
            campaign_say("%4d left: front %zu KiB and %d descriptors, child %zu KiB and %d", i + 1,
                         now.front >> 10, now.front_fds, now.child >> 10, now.child_fds);
        }
    }
    now = size_now();
    assert_int_equal(child(), engine);
    const double median = percentile_ms(took, n, 50), worst = percentile_ms(took, n, 100);
    campaign_say(
        "%d clients left: the slot's next answer after %.1f ms (median), %.1f ms at most; front "
        "%+ld KiB, child %+ld KiB since round %d",
        n, median, worst, (long)(now.front - warm.front) / 1024,
        (long)(now.child - warm.child) / 1024, n / 5);
    if (!SANITIZED && median > 250) fail_msg("the next answer after %.1f ms (median)", median);
    if (!SANITIZED && worst > (in_campaign() ? 250 : 2000)) fail_msg("after %.1f ms", worst);
    assert_int_equal(now.front_fds, warm.front_fds);
    assert_int_equal(now.child_fds, warm.child_fds);
    if (!SANITIZED && now.front > warm.front + (2 << 20))
        fail_msg("front: %zu KiB", now.front >> 10);
    if (!SANITIZED && now.child > warm.child + (2 << 20))
        fail_msg("child: %zu KiB", now.child >> 10);
    stop();
    free(took);
}

/* ---- a child that is killed ---- */

static void child_killed(void **state) {
    (void)state;
    const int n = rounds(4, 100);
    int64_t *took = calloc((size_t)n, sizeof *took);
    start("CRIA_KEEP_ALIVE=1h", NULL);
    const pid_t front = srv.pid;
    for (int i = 0; i < n; i++) {
        struct wire w;
        int n_line;
        start_stream(&w, "chat", 2, 100000);
        read_lines(&w, 1 + i % 20);
        kill(child(), SIGKILL);
        struct buf last = read_rest(&w, &n_line);
        if (!strstr(last.p, "\"error\"")) fail_msg("after the kill: %s", last.p);
        buf_fini(&last), wire_close(&w);
        took[i] = one_answer("chat");
    }
    assert_false(serve_ended(&srv, 0));
    assert_int_equal(srv.pid, front);
    assert_int_equal(metric("model_crashes_total"), n);
    const double median = percentile_ms(took, n, 50), worst = percentile_ms(took, n, 100);
    campaign_say(
        "%d times kill -9 while it streams: an error each time; the next answer after %.1f ms "
        "(median), %.1f ms at most; the front is the same process",
        n, median, worst);
    if (!SANITIZED && worst > 2000) fail_msg("the next answer after %.1f ms", worst);
    stop();
    free(took);
}

/* ---- a server that is told to stop ---- */

enum { N_STREAM = 100 };

/* Of those that run, none is cut.  parallel: sequences at once; the others wait. */
static void stop_with_streams(int parallel) {
    char setting[32];
    static struct wire w[N_STREAM], late;
    const int n_predict = SANITIZED ? 100 : 1000;
    int n_begun = 1, n_whole = 0, n_line;
    snprintf(setting, sizeof setting, "CRIA_NUM_PARALLEL=%d", parallel);
    start(setting, "CRIA_KEEP_ALIVE=1h");
    one_answer("chat");
    start_stream(&w[0], "chat", 2, n_predict);
    read_lines(&w[0], 1);
    /* The engine stands still where none may end before the server is told. */
    const pid_t engine = child();
    kill(engine, SIGSTOP);
    for (int i = 1; i < N_STREAM; i++)
        start_stream(&w[i], "chat", 2, n_predict);
    /* The first may have ended in that moment. */
    WAIT_UNTIL(metric("requests_running") + metric("requests_waiting") >= N_STREAM - 1);
    if (parallel == N_STREAM) {
        kill(engine, SIGCONT);
        for (; n_begun < N_STREAM; n_begun++)
            read_lines(&w[n_begun], 1);
        kill(engine, SIGSTOP);
        assert_true(metric("requests_running") > N_STREAM / 2);
    }
    wire_open(&late, &srv);
    const int64_t t0 = os_now_ns();
    serve_signal(&srv, SIGTERM);
    assert_true(wire_closed(&late, 10)); /* a connection that asks from now on gets nothing */
    kill(engine, SIGCONT);
    for (int i = 0; i < N_STREAM; i++) {
        if (i >= n_begun) read_lines(&w[i], 1);
        struct buf last = read_rest(&w[i], &n_line);
        json_t *j = json_loads(last.p, 0, NULL);
        const bool whole = w[i].over && json_is_true(json_object_get(j, "done")) &&
                           json_integer_value(json_object_get(j, "eval_count")) == n_predict;
        if (!whole) print_message("stream %d: %d lines, then %s\n", i, n_line, last.p);
        n_whole += whole;
        json_decref(j), buf_fini(&last), wire_close(&w[i]);
    }
    wire_close(&late);
    assert_true(serve_ended(&srv, 30));
    campaign_say("SIGTERM with %d streams of %d tokens, %s: %d whole; ended %.2f s after, code %d",
                 N_STREAM, n_predict, setting, n_whole, (double)(os_now_ns() - t0) / 1e9, srv.code);
    assert_int_equal(n_whole, N_STREAM);
    assert_int_equal(srv.code, 0);
    serve_kill(&srv);
}

static void told_to_stop(void **state) {
    (void)state;
    stop_with_streams(N_STREAM);
    stop_with_streams(4);
}

/* ---- a full queue ---- */

static void queue_full(void **state) {
    (void)state;
    enum { N_WAIT = 8 };
    const int n = rounds(100, 5000);
    int64_t *took = calloc((size_t)n, sizeof *took);
    struct wire running, waiting[N_WAIT];
    start("CRIA_NUM_PARALLEL=1", "CRIA_MAX_QUEUE=8");
    start_stream(&running, "chat", 2, 10000000);
    read_lines(&running, 1);
    for (int i = 0; i < N_WAIT; i++)
        start_stream(&waiting[i], "chat", 2, 10000000);
    WAIT_UNTIL(metric("requests_waiting") == N_WAIT);
    for (int i = 0; i < n; i++) {
        struct answer a;
        const int64_t t0 = os_now_ns();
        ask(&srv, &a, "POST", "/api/generate", NULL,
            "{\"model\": \"chat\", \"prompt\": \"hello\", \"raw\": true}");
        took[i] = os_now_ns() - t0;
        assert_int_equal(a.status, 503);
        assert_string_equal(answer_header(&a, "Retry-After"), "1");
        answer_fini(&a);
    }
    const double median = percentile_ms(took, n, 50), p99 = percentile_ms(took, n, 99);
    campaign_say(
        "%d refused by a full queue, connection included: %.2f ms (median), %.2f ms (p99), %.2f ms "
        "at most",
        n, median, p99, percentile_ms(took, n, 100));
    if (!SANITIZED && median > 5) fail_msg("503 after %.2f ms (median)", median);
    if (!SANITIZED && p99 > (in_campaign() ? 5 : 100)) fail_msg("503 after %.2f ms (p99)", p99);
    wire_close(&running);
    for (int i = 0; i < N_WAIT; i++)
        wire_close(&waiting[i]);
    stop();
    free(took);
}

/* ---- what a token costs on its way ---- */

static int64_t cpu_of(pid_t pid) {
    clockid_t clock;
    struct timespec t = {0};
    if (clock_getcpuclockid(pid, &clock) != 0 || clock_gettime(clock, &t) != 0)
        fail_msg("no clock of %d", (int)pid);
    return t.tv_sec * INT64_C(1000000000) + t.tv_nsec;
}

struct cost {
    int64_t wall, front, child; /* ns of an answer; CPU time of the two processes */
};

/* n tokens through the server: from the first line to the last.  A line may have several tokens: a
 * model with random weights writes bytes that are no characters until the next ones come. */
static struct cost through_server(int n, int *n_line) {
    struct wire w;
    struct answer a;
    struct buf line = {0};
    start_stream(&w, "chat", 2, n);
    assert_true(wire_head(&w, &a, 30) && a.status == 200);
    assert_int_equal(wire_line(&w, &line, 30), 1);
    const pid_t engine = child();
    struct cost c = {os_now_ns(), cpu_of(srv.pid), cpu_of(engine)};
    for (*n_line = 0; wire_line(&w, &line, 30) == 1;)
        ++*n_line;
    c = (struct cost){os_now_ns() - c.wall, cpu_of(srv.pid) - c.front, cpu_of(engine) - c.child};
    assert_non_null(strstr(line.p, "\"done\":true"));
    answer_fini(&a), buf_fini(&line), wire_close(&w);
    return c;
}

/* The same by `cria run` without a server: from --verbose's "eval duration", and CPU time. */
static struct cost through_run(int n) {
    struct ran r;
    struct rusage before, after;
    char predict[40];
    double v = 0;
    char unit[8] = "";
    snprintf(predict, sizeof predict, "num_predict=%d", n);
    const char *const args[] = {"run",
                                golden("models/llama32.gguf"),
                                "hello 1 2",
                                "--raw",
                                "--verbose",
                                "-o",
                                "temperature=0",
                                "-o",
                                "ignore_eos=true",
                                "-o",
                                "num_draft=0",
                                "-o",
                                "num_thread=1",
                                "-o",
                                predict,
                                NULL};
    getrusage(RUSAGE_CHILDREN, &before);
    if (run_cria(&r, args, NULL, 0, 60) != 0) fail_msg("%s", r.err.p);
    getrusage(RUSAGE_CHILDREN, &after);
    const char *at = strstr(r.err.p, "\neval duration:");
    if (!at || sscanf(at + 15, "%lf%7[^0-9\n]", &v, unit) != 2) fail_msg("%s", r.err.p);
    ran_fini(&r);
    const int64_t cpu = (after.ru_utime.tv_sec - before.ru_utime.tv_sec + after.ru_stime.tv_sec -
                         before.ru_stime.tv_sec) *
                            INT64_C(1000000000) +
                        (after.ru_utime.tv_usec - before.ru_utime.tv_usec + after.ru_stime.tv_usec -
                         before.ru_stime.tv_usec) *
                            INT64_C(1000);
    return (struct cost){(int64_t)(v * (strcmp(unit, "s") == 0 ? 1e9 : 1e6)), 0, cpu};
}

/* In turns, medians: the machine is not ours alone.  Shares are of a line, not of a token: lines
 * are what the server adds. */
static void cost_of_a_token(void **state) {
    (void)state;
    enum { MOST = 15 };
    const int n_round = rounds(3, MOST), n = 3000;
    int64_t server[MOST], front[MOST], engine[MOST], run[MOST], run_cpu[MOST];
    int n_line = 0;
    start("CRIA_NUM_PARALLEL=1", "CRIA_KEEP_ALIVE=1h");
    one_answer("chat");
    for (int i = 0; i < n_round; i++) {
        const struct cost s = through_server(n, &n_line), r = through_run(n), r0 = through_run(1);
        server[i] = s.wall, front[i] = s.front, engine[i] = s.child;
        run[i] = r.wall, run_cpu[i] = r.child - r0.child;
    }
    if (n_line < n / 3) fail_msg("%d lines of %d tokens", n_line, n);
    const double us = 1e3 / n_line; /* of ms */
    const double wall = percentile_ms(server, n_round, 50) * us,
                 local = percentile_ms(run, n_round, 50) * us,
                 f = percentile_ms(front, n_round, 50) * us,
                 c = percentile_ms(engine, n_round, 50) * us,
                 l = percentile_ms(run_cpu, n_round, 50) * us;
    campaign_say(
        "medians of %d turns of %d tokens in %d lines, a line: %.1f us through the server, %.1f us "
        "by cria run: %.1f us more (least of each: %.1f us more); CPU time: front %.1f us, child "
        "%.1f us, cria run %.1f us",
        n_round, n, n_line, wall, local, wall - local,
        (percentile_ms(server, n_round, 0) - percentile_ms(run, n_round, 0)) * us, f, c, l);
    if (!SANITIZED && in_campaign() && wall - local > 20) fail_msg("%.1f us", wall - local);
    if (!SANITIZED && f > (in_campaign() ? 100 : 400)) fail_msg("front: %.1f us of CPU a line", f);
    stop();
}

/* ---- */

static int set_up(void **state) {
    (void)state;
    use_program();
    shop_open(&shop);
    snprintf(models_set, sizeof models_set, "CRIA_MODELS=%s", shop.root);
    shop_gguf(&shop, "chat", golden("models/llama32.gguf"), NULL);
    setenv("CRIA_HOST", "127.0.0.1:1", 1); /* `cria run` finds no server */
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    shop_close(&shop);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients_leave),   cmocka_unit_test(child_killed),
        cmocka_unit_test(told_to_stop),    cmocka_unit_test(queue_full),
        cmocka_unit_test(cost_of_a_token),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
