/* Equal requests at once through `cria serve`: computed once, whoever leaves; and how quick a hit
 * is. */
#include "cache_rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"

#define CHECK(body, word)                                                                          \
    assert_string_equal(cache_of(&cache_server, GENERATE, NULL, body, NULL), word)

/* ---- many at once ---- */

/* Tokens of a long answer: a second's work. */
#ifdef __SANITIZE_THREAD__
#define LONG "600"
#else
#define LONG "8000"
#endif
#define LONG_ASK(prompt, stream)                                                                   \
    "{\"model\":\"plain\",\"prompt\":\"" prompt "\",\"options\":{\"num_predict\":" LONG            \
    ",\"ignore_eos\":true},\"stream\":" stream "}"

static void hundred_at_once(void **state) {
    (void)state;
    enum { N = 100 };
    static struct cache_asker k[N];
    const long before = n_run_settled(&cache_server),
               tokens = metric_of(&cache_server, "tokens_total");
    for (int i = 0; i < N; i++) {
        cache_ask_beside(&k[i], &cache_server,
                         i % 2 ? LONG_ASK("crowd", "true") : LONG_ASK("crowd", "false"));
    }
    int n_miss = 0;
    for (int i = 0; i < N; i++) {
        pthread_join(k[i].thread, NULL);
        if (strcmp(k[i].cache, "failed") == 0) fail_msg("%s", k[i].got.p);
        n_miss += strcmp(k[i].cache, "MISS") == 0;
    }
    expect_runs(&cache_server, before + 1);
    assert_int_equal(n_miss, 1);
    assert_int_equal(metric_of(&cache_server, "tokens_total"), tokens + atol(LONG));
    for (int i = 2; i < N; i++) { /* wholes among themselves, streams among themselves */
        json_t *a = cache_pieces(&k[i % 2].got), *b = cache_pieces(&k[i].got);
        assert_true(json_equal(a, b));
        json_decref(a);
        json_decref(b);
        if (i > 9) i += 7;
    }
    for (int i = 0; i < N; i++)
        buf_fini(&k[i].got);
    printf("100 equal requests at once: the model ran once; %ld shared it\n",
           metric_of(&cache_server, "response_cache_shared_total"));
}

/* A stream that has begun. */
static void begin_stream(struct wire *w, const char *body, const char *cache) {
    struct answer a = {0};
    struct buf line = {0};
    wire_open(w, &cache_server);
    wire_ask(w, "POST", GENERATE, NULL, body);
    assert_true(wire_head(w, &a, 30));
    assert_int_equal(a.status, 200);
    if (cache) assert_string_equal(answer_header(&a, "X-Cache"), cache);
    assert_int_equal(wire_line(w, &line, 30), 1);
    answer_fini(&a);
    buf_fini(&line);
}

static void wait_for_shared(long n) {
    for (int i = 0; i < 500 && metric_of(&cache_server, "response_cache_shared_total") < n; i++)
        usleep(2000);
    assert_true(metric_of(&cache_server, "response_cache_shared_total") >= n);
}

/* The one whose request the model works for leaves; the others get all of it. */
static void leader_leaves(void **state) {
    (void)state;
    struct wire leader;
    struct cache_asker k[3];
    const long before = n_run_settled(&cache_server),
               shared = metric_of(&cache_server, "response_cache_shared_total");
    begin_stream(&leader, LONG_ASK("leaving", "true"), "MISS");
    for (int i = 0; i < 3; i++) {
        cache_ask_beside(&k[i], &cache_server,
                         i % 2 ? LONG_ASK("leaving", "true") : LONG_ASK("leaving", "false"));
    }
    wait_for_shared(shared + 3);
    wire_reset(&leader);
    for (int i = 0; i < 3; i++) {
        pthread_join(k[i].thread, NULL);
        assert_string_equal(k[i].cache, "HIT");
        assert_true(strstr(k[i].got.p, "\"eval_count\":" LONG));
        buf_fini(&k[i].got);
    }
    expect_runs(&cache_server, before + 1);
    CHECK(LONG_ASK("leaving", "false"), "HIT");
}

/* One that follows leaves: nobody notices.  All leave: the model stops, and nothing is kept. */
static void followers_leave(void **state) {
    (void)state;
    struct wire leader, follower;
    struct buf all = {0};
    const long shared = metric_of(&cache_server, "response_cache_shared_total");
    begin_stream(&leader, LONG_ASK("alone", "true"), "MISS");
    begin_stream(&follower, LONG_ASK("alone", "true"), "HIT");
    wait_for_shared(shared + 1);
    wire_reset(&follower);
    while (wire_body(&leader, &all, 60) == 1)
        ;
    assert_true(strstr(all.p, "\"eval_count\":" LONG));
    wire_close(&leader);
    buf_fini(&all);

    const long stored = n_stored(&cache_server), run = n_run(&cache_server);
    begin_stream(&leader, LONG_ASK("nobody", "true"), "MISS");
    begin_stream(&follower, LONG_ASK("nobody", "true"), "HIT");
    wire_reset(&leader);
    usleep(20000);
    wire_reset(&follower);
    for (int i = 0; i < 1000 && n_run(&cache_server) == run; i++)
        usleep(5000);
    for (int i = 0; i < 400 && metric_of(&cache_server, "requests_running") > 0; i++)
        usleep(5000);
    assert_int_equal(metric_of(&cache_server, "requests_running"), 0);
    assert_int_equal(n_stored(&cache_server), stored);
    CHECK(LONG_ASK("nobody", "false"), "MISS");
}

/* The first of them leaves while its model is being loaded: the next one has it made. */
static void leader_leaves_early(void **state) {
    (void)state;
    for (int round = 0; round < 5; round++) {
        struct wire w;
        struct cache_asker k[4];
        char body[200];
        json_decref(ask_json(&cache_server, "POST", GENERATE, 200,
                             "{\"model\":\"plain\",\"keep_alive\":0,\"stream\":false}"));
        snprintf(body, sizeof body,
                 "{\"model\":\"plain\",\"prompt\":\"early %d\",\"stream\":false," EIGHT "}", round);
        wire_open(&w, &cache_server);
        wire_ask(&w, "POST", GENERATE, NULL, body);
        usleep(2000);
        for (int i = 0; i < 4; i++) {
            cache_ask_beside(&k[i], &cache_server, body);
        }
        usleep(1000 * (unsigned)round);
        wire_reset(&w);
        for (int i = 0; i < 4; i++) {
            pthread_join(k[i].thread, NULL);
            if (strcmp(k[i].cache, "failed") == 0) fail_msg("%s", k[i].got.p);
            buf_fini(&k[i].got);
        }
        CHECK(body, "HIT");
    }
}

/* The time of the first is over before the model has said anything: the next, which came later, has
 * it made. */
static void leader_is_late(void **state) {
    (void)state;
    struct serve s;
    struct cache_asker k[2];
    pid_t pid[4];
    cache_serve(&s, &cache_home, "CRIA_RESPONSE_CACHE=on",
                SANITIZED ? "CRIA_REQUEST_TIMEOUT=8s" : "CRIA_REQUEST_TIMEOUT=2s",
                "CRIA_KEEP_ALIVE=1h");
    assert_string_equal(cache_of(&s, GENERATE, NULL, ASK("warm", "," EIGHT), NULL), "MISS");
    assert_int_equal(serve_children(&s, pid, 4, NULL), 1);
    kill(pid[0], SIGSTOP); /* nor does it say that it has given up */
    cache_ask_beside(&k[0], &s, ASK("late", "," EIGHT));
    usleep(SANITIZED ? 4000000 : 1200000);
    cache_ask_beside(&k[1], &s, ASK("late", "," EIGHT));
    pthread_join(k[0].thread, NULL);
    kill(pid[0], SIGCONT);
    pthread_join(k[1].thread, NULL);
    assert_string_equal(k[0].cache, "failed");
    assert_non_null(strstr(k[0].got.p, "took longer than a request may take"));
    if (strcmp(k[1].cache, "MISS") != 0) fail_msg("%s %s", k[1].cache, k[1].got.p);
    for (int i = 0; i < 2; i++)
        buf_fini(&k[i].got);
    assert_int_equal(serve_stop(&s), 0);
}

/* The engine dies under all of them: each is told so, none gets a part of another answer, and
 * nothing is kept. */
static void engine_dies(void **state) {
    (void)state;
    struct wire leader;
    struct cache_asker k[3];
    pid_t pid[16];
    const long shared = metric_of(&cache_server, "response_cache_shared_total"),
               stored = n_stored(&cache_server);
    begin_stream(&leader, LONG_ASK("dying", "true"), "MISS");
    for (int i = 0; i < 3; i++) {
        cache_ask_beside(&k[i], &cache_server, LONG_ASK("dying", "false"));
    }
    wait_for_shared(shared + 3);
    const int n = serve_children(&cache_server, pid, 16, NULL);
    for (int i = 0; i < n && i < 16; i++)
        kill(pid[i], SIGKILL);
    for (int i = 0; i < 3; i++) {
        pthread_join(k[i].thread, NULL);
        assert_string_equal(k[i].cache, "failed");
        assert_non_null(strstr(k[i].got.p, "error"));
        buf_fini(&k[i].got);
    }
    wire_close(&leader);
    assert_int_equal(n_stored(&cache_server), stored);
    CHECK(LONG_ASK("dying", "false"), "MISS");
}

/* A model whose file is broken, and a follower: another model answers both, each is told so, and
 * nothing is kept as the first one's answer. */
static void another_answers(void **state) {
    (void)state;
    struct serve s;
    char digest[80], path[800];
    static const char zeros[64];
    const char *body = "{\"model\":\"sick\",\"prompt\":\"a\",\"options\":{\"temperature\":0,"
                       "\"num_predict\":" LONG ",\"ignore_eos\":true},\"stream\":false,"
                       "\"fallback\":[\"plain\"]}";
    struct cache_asker k[6];
    api_make(&cache_server, "sick", "gemma3", "");
    api_upload(&cache_server, golden("models/gemma3.gguf"), digest);
    snprintf(path, sizeof path, "%s/models/blobs/sha256-%s", cache_home.dir,
             digest + strlen("sha256:"));
    cache_serve(&s, &cache_home, "CRIA_RESPONSE_CACHE=on", "CRIA_BREAKER_FAILURES=0", NULL);
    chmod(path, 0600);
    FILE *f = fopen(path, "r+b");
    assert_non_null(f);
    fwrite(zeros, 1, sizeof zeros, f);
    fclose(f);
    for (int round = 0; round < 2; round++) {
        int n_shared = 0;
        for (int i = 0; i < 6; i++)
            cache_ask_beside(&k[i], &s, body);
        for (int i = 0; i < 6; i++) {
            pthread_join(k[i].thread, NULL);
            if (strcmp(k[i].cache, "failed") == 0) fail_msg("%s", k[i].got.p);
            json_t *j = cache_pieces(&k[i].got);
            assert_string_equal(text_of(j, "model"), "plain");
            assert_string_equal(text_of(j, "fallback_reason"), "corrupt");
            n_shared += strcmp(k[i].cache, "HIT") == 0;
            json_decref(j);
            buf_fini(&k[i].got);
        }
        assert_true(n_shared > 0);
    }
    assert_int_equal(n_stored(&s), 0);
    assert_int_equal(serve_stop(&s), 0);
}

/* From the request's last byte to the answer's, on one connection; CRIA_CAMPAIGN=1 holds it to what
 * is promised. */
static void thousand_hits(void **state) {
    (void)state;
    enum { N = 1000 };
    static int64_t ns[N];
    struct wire w;
    const char *body = ASK("quick", ",\"options\":{\"num_predict\":64}");
    CHECK(body, "MISS");
    wire_open(&w, &cache_server);
    for (int i = 0; i < N; i++) {
        struct answer a = {0};
        struct buf got = {0};
        const int64_t t0 = os_now_ns();
        wire_ask(&w, "POST", GENERATE, NULL, body);
        assert_true(wire_head(&w, &a, 10));
        while (wire_body(&w, &got, 10) == 1)
            ;
        ns[i] = os_now_ns() - t0;
        assert_string_equal(answer_header(&a, "X-Cache"), "HIT");
        answer_fini(&a);
        buf_fini(&got);
    }
    wire_close(&w);
    qsort(ns, N, sizeof *ns, cache_by_size);
    const double p99 = (double)ns[N * 99 / 100] * 1e-6;
    printf("1,000 hits over HTTP: p50 %.3f ms, p99 %.3f ms\n", (double)ns[N / 2] * 1e-6, p99);
    if (!SANITIZED) assert_true(p99 < (in_campaign() ? 2 : 50));
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hundred_at_once), cmocka_unit_test(leader_leaves),
        cmocka_unit_test(followers_leave), cmocka_unit_test(leader_leaves_early),
        cmocka_unit_test(engine_dies),     cmocka_unit_test(thousand_hits),
        cmocka_unit_test(another_answers), cmocka_unit_test(leader_is_late),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, cache_group_start, cache_group_stop);
}
