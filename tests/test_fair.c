/* A client that asks for much does not hold up one that asks for little, through `cria serve` with
 * a real engine child: four clients send chats of 100,000 messages (4 MB, a second of work each) in
 * a loop, or templates that never end, while others ask for a word or read a stream; and a client
 * that leaves while its request is being read.
 *
 * Bounds are generous in a usual run, since the machine is not ours alone; CRIA_CAMPAIGN=1 holds
 * the figures that are promised, and prints them. */
#include "models_rig.h"
#include "serve_rig.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"

#define MS INT64_C(1000000)

enum { N_HOSTILE = 4, N_MESSAGE = SANITIZED ? 10000 : 100000, MAX_ASKED = 400 };

static struct shop shop;
static struct serve srv;
static char models_set[700];

/* ---- hostile clients ---- */

struct crowd {
    const char *path;
    struct buf body;
    pthread_t thread[N_HOSTILE];
    atomic_bool stop;
    atomic_int n_answer, status;
};

static void *send_again(void *arg) {
    struct crowd *c = arg;
    while (!atomic_load(&c->stop)) {
        struct answer a;
        ask(&srv, &a, "POST", c->path, NULL, c->body.p);
        atomic_store(&c->status, a.status);
        atomic_fetch_add(&c->n_answer, 1);
        answer_fini(&a);
    }
    return NULL;
}

static void put_many_messages(struct buf *b) {
    buf_printf(b, "{\"model\": \"chat\", \"stream\": false, \"options\": {\"num_predict\": 1}, "
                  "\"messages\": [");
    for (int i = 0; i < N_MESSAGE; i++)
        buf_printf(b, "%s{\"role\": \"%s\", \"content\": \"%d\"}", i ? ", " : "",
                   i % 2 ? "assistant" : "user", i);
    buf_str(b, "]}");
}

/* Stopped by its budget, a quarter of a second of processor time. */
static void put_endless_template(struct buf *b) {
    buf_str(b, "{\"model\": \"chat\", \"stream\": false, \"prompt\": \"a\", \"template\": "
               "\"{% for i in range(1000) %}{% for j in range(10000) %}{% for m in messages %}x"
               "{% endfor %}{% endfor %}{% endfor %}\"}");
}

static void crowd_start(struct crowd *c, const char *path, void (*put)(struct buf *b)) {
    *c = (struct crowd){.path = path};
    put(&c->body);
    for (int i = 0; i < N_HOSTILE; i++)
        assert_int_equal(pthread_create(&c->thread[i], NULL, send_again, c), 0);
    usleep(500000); /* all of them are under way */
}

static void crowd_stop(struct crowd *c) {
    atomic_store(&c->stop, true);
    for (int i = 0; i < N_HOSTILE; i++)
        pthread_join(c->thread[i], NULL);
    buf_fini(&c->body);
}

/* ---- the others ---- */

static int by_size(const void *a, const void *b) {
    const int64_t x = *(const int64_t *)a, y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

struct times {
    double p50_ms, p99_ms;
};

/* How long a word takes, asked for again and again. */
static struct times ask_words(int n, const char *more) {
    static int64_t ns[MAX_ASKED];
    for (int i = 0; i < n; i++) {
        const int64_t t0 = os_now_ns();
        json_t *j =
            ask_json(&srv, "POST", "/api/chat", 200,
                     "{\"model\": \"chat\", \"stream\": false, \"messages\": [{\"role\": "
                     "\"user\", \"content\": \"hello\"}], \"options\": {\"num_predict\": 1}%s}",
                     more);
        ns[i] = os_now_ns() - t0;
        json_decref(j);
        usleep(10000);
    }
    qsort(ns, (size_t)n, sizeof *ns, by_size);
    return (struct times){(double)ns[n / 2] / 1e6, (double)ns[(n - 1) * 99 / 100] / 1e6};
}

/* Lines a second of a stream, over some time; the widest gap in it. */
static double stream_rate(double seconds, double *gap_ms) {
    struct wire w;
    struct answer a = {0};
    struct buf line = {0};
    wire_open(&w, &srv);
    wire_ask(&w, "POST", "/api/generate", NULL,
             "{\"model\": \"chat\", \"raw\": true, \"prompt\": \"hello\", \"options\": "
             "{\"num_predict\": 1000000, \"ignore_eos\": true, \"temperature\": 0, "
             "\"num_draft\": 0, \"num_keep\": 4}}");
    assert_true(wire_head(&w, &a, 60) && a.status == 200);
    assert_int_equal(wire_line(&w, &line, 60), 1);
    const int64_t t0 = os_now_ns();
    int64_t last = t0, gap = 0;
    int n = 0;
    while (last - t0 < (int64_t)(seconds * 1e9)) {
        if (wire_line(&w, &line, 60) != 1) fail_msg("the stream ended after %d lines", n);
        const int64_t now = os_now_ns();
        if (now - last > gap) gap = now - last;
        last = now;
        n++;
    }
    *gap_ms = (double)gap / 1e6;
    wire_close(&w);
    answer_fini(&a), buf_fini(&line);
    return n / ((double)(last - t0) / 1e9);
}

static void start(void) {
    const char *set[] = {models_set, "CRIA_KEEP_ALIVE=1h", "CRIA_NUM_PARALLEL=8", NULL};
    serve_start(&srv, NULL, set);
    ask_words(1, "");
}

static void stop(void) {
    assert_int_equal(serve_stop(&srv), 0);
}

/* ---- tests ---- */

static void check_words(const char *what, struct times quiet, struct times loud, double campaign_ms,
                        double usual_ms) {
    if (in_campaign())
        fprintf(stderr, "%s: a word in %.1f ms (p99 %.1f), quiet %.1f (%.1f)\n", what, loud.p50_ms,
                loud.p99_ms, quiet.p50_ms, quiet.p99_ms);
    const double most = in_campaign() ? campaign_ms : usual_ms;
    if (!SANITIZED && loud.p99_ms > quiet.p99_ms + most)
        fail_msg("%s: %.1f ms, without them %.1f ms", what, loud.p99_ms, quiet.p99_ms);
}

/* Before there were lanes: 2,900 ms. */
static void words_beside_long_chats(void **state) {
    (void)state;
    const int n = in_campaign() ? MAX_ASKED : 60;
    struct crowd c;
    start();
    const struct times quiet = ask_words(n, "");
    crowd_start(&c, "/api/chat", put_many_messages);
    const struct times loud = ask_words(n, "");
    crowd_stop(&c);
    assert_int_equal(atomic_load(&c.status), 200);
    check_words("beside long chats", quiet, loud, 50, 400);
    stop();
}

static void words_beside_templates(void **state) {
    (void)state;
    const int n = in_campaign() ? MAX_ASKED : 60;
    static const char json[] = ", \"format\": \"json\"";
    struct crowd c;
    start();
    const struct times quiet = ask_words(n, "");
    crowd_start(&c, "/api/generate", put_endless_template);
    const struct times loud = ask_words(n, "");
    const struct times format = ask_words(n / 2, json);
    crowd_stop(&c);
    assert_true(atomic_load(&c.status) != 200);
    check_words("beside endless templates", quiet, loud, 50, 400);
    check_words("the same in JSON", quiet, format, 50, 400);
    stop();
}

static void stream_beside_long_chats(void **state) {
    (void)state;
    const double seconds = in_campaign() ? 10 : 2;
    double quiet_gap, gap;
    struct crowd c;
    start();
    const double quiet = stream_rate(seconds, &quiet_gap);
    crowd_start(&c, "/api/chat", put_many_messages);
    const double loud = stream_rate(seconds, &gap);
    crowd_stop(&c);
    if (in_campaign())
        fprintf(stderr, "a stream: %.0f lines/s, widest gap %.1f ms; quiet %.0f, %.1f ms\n", loud,
                gap, quiet, quiet_gap);
    if (!SANITIZED && loud < quiet * (in_campaign() ? 0.5 : 0.2))
        fail_msg("%.0f lines/s, without them %.0f", loud, quiet);
    if (!SANITIZED && gap > 500) fail_msg("nothing for %.0f ms", gap);
    stop();
}

/* Tasks in the child that have not begun, and running ones. */
static int n_busy(void) {
    struct answer a;
    int n = 0;
    static const char *const name[] = {"\ncria_requests_running", "\ncria_requests_waiting"};
    ask(&srv, &a, "GET", "/metrics", NULL, NULL);
    for (int i = 0; i < 2; i++)
        for (const char *at = a.body.p; (at = strstr(at, name[i])) != NULL;) {
            at = strchr(at + 1, ' ');
            n += at ? atoi(at) : 0;
        }
    answer_fini(&a);
    return n;
}

/* A long text that is being tokenized when its client leaves is given up. */
static void leave_while_read(void **state) {
    (void)state;
    struct crowd c = {.n_answer = 0};
    struct wire w[N_HOSTILE];
    start();
    put_many_messages(&c.body);
    for (int i = 0; i < N_HOSTILE; i++) {
        wire_open(&w[i], &srv);
        wire_ask(&w[i], "POST", "/api/chat", NULL, c.body.p);
    }
    usleep(700000);
    for (int i = 0; i < N_HOSTILE; i++)
        wire_reset(&w[i]);
    const int64_t t0 = os_now_ns();
    while (n_busy() > 0 && os_now_ns() - t0 < 20000 * MS)
        usleep(5000);
    const double ms = (double)(os_now_ns() - t0) / 1e6;
    if (in_campaign())
        fprintf(stderr, "four that left while they were read: gone in %.0f ms\n", ms);
    if (!SANITIZED && ms > (in_campaign() ? 250 : 8000)) fail_msg("gone in %.0f ms", ms);
    ask_words(1, "");
    buf_fini(&c.body);
    stop();
}

/* ---- */

static int set_up(void **state) {
    (void)state;
    use_program();
    shop_open(&shop);
    snprintf(models_set, sizeof models_set, "CRIA_MODELS=%s", shop.root);
    shop_gguf(&shop, "chat", golden("models/llama32.gguf"), NULL);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    shop_close(&shop);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(words_beside_long_chats),
        cmocka_unit_test(words_beside_templates),
        cmocka_unit_test(stream_beside_long_chats),
        cmocka_unit_test(leave_while_read),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
