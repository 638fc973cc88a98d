/* Two servers that share their answers in one Redis, behind HAProxy; and what happens when that
 * Redis goes and comes again under load. */
#include "cache_rig.h"
#include "server_rig.h"

#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"

static struct serve S; /* has the models; its cache is its own */
static struct cache_home H;
static struct server redis;
static struct serve replica[2];
static char url[64];

static int set_up(void **state) {
    (void)state;
    cache_home_start(&H, &S);
    redis_start(&redis, H.dir, "redis", NULL);
    snprintf(url, sizeof url, "CRIA_CACHE_URL=redis://127.0.0.1:%d/2", redis.port);
    for (int i = 0; i < 2; i++)
        cache_serve(&replica[i], &H, "CRIA_RESPONSE_CACHE=on", url, NULL);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (int i = 0; i < 2; i++)
        assert_int_equal(serve_stop(&replica[i]), 0);
    server_stop(&redis);
    return cache_home_stop(&H, &S);
}

static long both_runs(void) {
    return n_run(&replica[0]) + n_run(&replica[1]);
}

/* What one has made the other one has: asked in turns, as a balancer does it. */
static void replicas_share(void **state) {
    (void)state;
    enum { N = 40 };
    struct server proxy;
    struct serve front = {0};
    char backend[200], body[200];
    int n_hit = 0;
    snprintf(backend, sizeof backend,
             " balance roundrobin\n server a 127.0.0.1:%d\n server b 127.0.0.1:%d\n",
             replica[0].port, replica[1].port);
    haproxy_start(&proxy, H.dir, "haproxy", backend);
    front.port = proxy.port;
    const long before = both_runs();
    for (int i = 0; i < N; i++) {
        snprintf(body, sizeof body,
                 "{\"model\":\"plain\",\"prompt\":\"share %d\",\"stream\":%s," EIGHT "}", i / 4,
                 i % 4 < 2 ? "false" : "true");
        n_hit += strcmp(cache_of(&front, GENERATE, NULL, body, NULL), "HIT") == 0;
        if (i % 4 == 0) usleep(50000); /* it is being written */
    }
    assert_int_equal(n_hit, N - N / 4);
    assert_int_equal(both_runs(), before + N / 4);
    assert_true(server_lines(&proxy, "/api/generate b/a", "200", N / 2) >= 0);
    for (int i = 0; i < 2; i++) /* both were asked, and both had hits */
        assert_true(metric_of(&replica[i], "response_cache_hits_total") >= N / 4);
    server_stop(&proxy);
}

static void seen_by_all(void **state) {
    (void)state;
    json_t *j = ask_json(&replica[1], "GET", "/api/cache", 200, "%s", "");
    assert_string_equal(text_of(j, "store"), "redis");
    assert_true(json_integer_value(json_object_get(j, "entries")) >= 10);
    assert_true(json_integer_value(json_object_get(j, "bytes")) > 1000);
    json_decref(j);
    j = ask_json(&replica[1], "DELETE", "/api/cache", 200, "%s", "");
    assert_true(json_integer_value(json_object_get(j, "removed")) >= 10);
    json_decref(j);
    assert_string_equal(cache_of(&replica[0], GENERATE, NULL, ASK("share 0", "," EIGHT), NULL),
                        "MISS");
}

struct load {
    pthread_t thread;
    const struct serve *s;
    atomic_int *stop;
    int n, n_bad, n_hit;
    int64_t worst_ns;
};

static void *keep_asking(void *arg) {
    struct load *l = arg;
    char body[200];
    for (; !atomic_load(l->stop); l->n++) {
        struct answer a;
        const int64_t t0 = os_now_ns();
        snprintf(body, sizeof body,
                 "{\"model\":\"plain\",\"prompt\":\"load %d\",\"stream\":false," EIGHT "}",
                 l->n % 20);
        ask(l->s, &a, "POST", GENERATE, NULL, body);
        const int64_t ns = os_now_ns() - t0;
        if (ns > l->worst_ns) l->worst_ns = ns;
        char word[16];
        cache_word(&a, word);
        l->n_bad += a.status != 200 || !a.whole || strcmp(word, "none") == 0;
        l->n_hit += strcmp(word, "HIT") == 0;
        answer_fini(&a);
    }
    return NULL;
}

/* Killed, stopped (it takes connections and says nothing), there again: not one request fails, none
 * waits long, errors are counted, and it is used again. */
static void redis_goes(void **state) {
    (void)state;
    enum { N = 4 };
    struct load l[N];
    atomic_int stop = 0;
    int n = 0;
    for (int i = 0; i < N; i++) {
        l[i] = (struct load){.s = &replica[i % 2], .stop = &stop};
        pthread_create(&l[i].thread, NULL, keep_asking, &l[i]);
    }
    usleep(400000);
    server_kill(&redis);
    usleep(800000);
    redis_start(&redis, H.dir, "redis", NULL);
    usleep(800000);
    kill(redis.pid, SIGSTOP);
    usleep(800000);
    kill(redis.pid, SIGCONT);
    sleep(3); /* it is tried again after two seconds at most */
    const long hits = metric_of(&replica[0], "response_cache_hits_total");
    usleep(500000);
    atomic_store(&stop, 1);
    for (int i = 0; i < N; i++) {
        pthread_join(l[i].thread, NULL);
        assert_int_equal(l[i].n_bad, 0);
        if (!SANITIZED) assert_true(l[i].n > 50 && l[i].n_hit > 20);
        if (!SANITIZED) assert_true(l[i].worst_ns < 2000000000LL);
        n += l[i].n;
    }
    assert_true(metric_of(&replica[0], "response_cache_hits_total") > hits);
    assert_true(metric_of(&replica[0], "response_cache_errors_total") > 0);
    printf("Redis killed, stopped and started under load: %d requests, none failed\n", n);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replicas_share),
        cmocka_unit_test(seen_by_all),
        cmocka_unit_test(redis_goes),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
