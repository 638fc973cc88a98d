/* The response cache through `cria serve`: what is played back is what was said, in every dialect
 * and as a stream; what must not be kept is not; equal requests at once are computed once. */
#include "cache_rig.h"

#include <arpa/inet.h>
#include <netinet/in.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/os.h"

#define ANNA "anna-key-0123456789"
#define BEN "ben-key-0123456789x"
#define BOSS "boss-key-0123456789"

#define CHECK(path, headers, body, word)                                                           \
    assert_string_equal(cache_of(&cache_server, path, headers, body, NULL), word)

/* ---- what comes back ---- */

/* Asked twice: first made, then played back, piece by piece the same. */
static void twice(const char *path, const char *body, size_t at_least) {
    struct buf one, two;
    const long before = n_run_settled(&cache_server);
    assert_string_equal(cache_of(&cache_server, path, NULL, body, &one), "MISS");
    assert_string_equal(cache_of(&cache_server, path, NULL, body, &two), "HIT");
    expect_runs(&cache_server, before + 1);
    json_t *a = cache_pieces(&one), *b = cache_pieces(&two);
    if (!json_equal(a, b)) fail_msg("%s\n%s\n%s", body, one.p, two.p);
    assert_true((json_is_array(a) ? json_array_size(a) : 1) >= at_least);
    json_decref(a);
    json_decref(b);
    buf_fini(&one);
    buf_fini(&two);
}

#define HI "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}]"
#define SEED ",\"temperature\":0.9,\"seed\":7"

static void every_dialect(void **state) {
    (void)state;
    twice(GENERATE,
          "{\"model\":\"plain\",\"prompt\":\"one\"," EIGHT ",\"logprobs\":true,"
          "\"top_logprobs\":2,\"stream\":false}",
          1);
    twice(GENERATE, "{\"model\":\"plain\",\"prompt\":\"two\"," EIGHT ",\"logprobs\":true}", 8);
    twice("/api/chat", "{\"model\":\"plain\"," HI "," EIGHT "}", 5);
    twice("/api/chat", "{\"model\":\"plain\"," HI ",\"format\":\"json\"," EIGHT "}", 3);
    twice("/v1/chat/completions", "{\"model\":\"plain\"," HI SEED ",\"n\":3,\"max_tokens\":6}", 1);
    twice("/v1/chat/completions",
          "{\"model\":\"plain\"," HI SEED ",\"max_tokens\":9,\"stream\":true,\"logprobs\":true,"
          "\"stream_options\":{\"include_usage\":true}}",
          9);
    twice("/v1/completions", "{\"model\":\"plain\",\"prompt\":\"a\",\"max_tokens\":5" SEED "}", 1);
    twice("/v1/completions",
          "{\"model\":\"plain\",\"prompt\":\"b\",\"max_tokens\":5,\"stream\":true" SEED "}", 5);
    twice("/v1/messages", "{\"model\":\"plain\"," HI ",\"max_tokens\":7}", 1);
    twice("/v1/messages", "{\"model\":\"plain\"," HI ",\"max_tokens\":8,\"stream\":true}", 9);
    twice("/v1/responses",
          "{\"model\":\"plain\",\"input\":\"a\",\"max_output_tokens\":6" SEED ",\"store\":false}",
          1);
    twice("/v1/responses",
          "{\"model\":\"plain\",\"input\":\"b\",\"max_output_tokens\":6" SEED
          ",\"stream\":true,\"store\":false}",
          9);
    twice("/api/embed", "{\"model\":\"bert\",\"input\":[\"a\",\"b\"]}", 1);
    twice("/api/embeddings", "{\"model\":\"bert\",\"prompt\":\"c\"}", 1);
    twice("/v1/embeddings", "{\"model\":\"bert\",\"input\":\"d\"}", 1);
}

/* What was made for a stream serves one who wants it whole, and the other way. */
static void streams_and_wholes(void **state) {
    (void)state;
    struct buf whole, stream;
    CHECK(GENERATE, NULL, ASK("sw", "," EIGHT), "MISS");
    assert_string_equal(cache_of(&cache_server, GENERATE, NULL, ASK("sw", "," EIGHT), &whole),
                        "HIT");
    assert_string_equal(cache_of(&cache_server, GENERATE, NULL,
                                 "{\"model\":\"plain\",\"prompt\":\"sw\"," EIGHT "}", &stream),
                        "HIT");
    json_t *w = cache_pieces(&whole), *list = cache_pieces(&stream), *line;
    struct buf text = {0};
    size_t i;
    json_array_foreach(list, i, line) buf_str(&text, text_of(line, "response"));
    assert_string_equal(text.p, text_of(w, "response"));
    const json_t *last = json_array_get(list, json_array_size(list) - 1);
    assert_true(json_equal(json_object_get(last, "context"), json_object_get(w, "context")));
    assert_true(
        json_equal(json_object_get(last, "eval_duration"), json_object_get(w, "eval_duration")));
    json_decref(w);
    json_decref(list);
    buf_fini(&text);
    buf_fini(&whole);
    buf_fini(&stream);
}

/* Several prompts of one request: the header tells the worst. */
static void several_prompts(void **state) {
    (void)state;
    const char *both = "{\"model\":\"plain\",\"prompt\":[\"p\",\"q\"],\"max_tokens\":3" SEED "}";
    CHECK("/v1/completions", NULL,
          "{\"model\":\"plain\",\"prompt\":\"p\",\"max_tokens\":3" SEED "}", "MISS");
    CHECK("/v1/completions", NULL, both, "MISS");
    CHECK("/v1/completions", NULL, both, "HIT");
    CHECK("/v1/completions", NULL,
          "{\"model\":\"plain\",\"prompt\":[\"r\",\"r\"],\"max_tokens\":3" SEED "}", "MISS");
}

/* ---- what is kept, and what is not ---- */

static void only_what_would_come_again(void **state) {
    (void)state;
    const char *drawn = ASK("d", ",\"options\":{\"temperature\":0.8,\"num_predict\":4}");
    CHECK(GENERATE, NULL, drawn, "BYPASS");
    CHECK(GENERATE, NULL, drawn, "BYPASS");
    const char *one = ASK("d", ",\"options\":{\"temperature\":0.8,\"seed\":1,\"num_predict\":4}");
    CHECK(GENERATE, NULL, one, "MISS");
    CHECK(GENERATE, NULL, one, "HIT");
    CHECK(GENERATE, NULL,
          ASK("d", ",\"options\":{\"temperature\":0.8,\"seed\":2,\"num_predict\":4}"), "MISS");
    /* The same effect in other words: the model's own temperature is 0, whatever the seed. */
    CHECK(GENERATE, NULL, ASK("e", ",\"options\":{\"num_predict\":4}"), "MISS");
    CHECK(GENERATE, NULL,
          ASK("e", ",\"options\":{\"seed\":3,\"num_predict\":4,\"temperature\":0.0}"), "HIT");
    const char *always = ASK("f", ",\"cache\":{\"mode\":\"always\"},"
                                  "\"options\":{\"temperature\":0.8,\"num_predict\":4}");
    CHECK(GENERATE, NULL, always, "MISS");
    CHECK(GENERATE, NULL, always, "HIT");
}

static void as_the_client_wants(void **state) {
    (void)state;
    const char *body = ASK("w", "," EIGHT);
    CHECK(GENERATE, "Cache-Control: no-store\r\n", body, "BYPASS");
    CHECK(GENERATE, NULL, body, "MISS"); /* it was not kept */
    CHECK(GENERATE, NULL, body, "HIT");
    CHECK(GENERATE, "Cache-Control: private, No-Store\r\n", body, "BYPASS");
    CHECK(GENERATE, NULL, ASK("w", ",\"cache\":{\"mode\":\"off\"}," EIGHT), "BYPASS");
    CHECK(GENERATE, NULL, ASK("w", ",\"cache\":{\"ttl\":0}," EIGHT), "BYPASS");
    const long before = n_run_settled(&cache_server);
    CHECK(GENERATE, NULL, ASK("w", ",\"cache\":{\"mode\":\"refresh\"}," EIGHT), "MISS");
    CHECK(GENERATE, "cache-control: no-cache\r\n", body, "MISS");
    CHECK(GENERATE, "Cache-Control: max-age=0\r\n", body, "MISS");
    expect_runs(&cache_server, before + 3);
    CHECK(GENERATE, NULL, body, "HIT"); /* the refreshed one */
    CHECK(GENERATE, "Cache-Control: max-age=60\r\n", body, "HIT");
    /* A time of its own. */
    const char *brief = ASK("b", ",\"cache\":{\"ttl\":\"1s\",\"mode\":\"on\"}," EIGHT);
    CHECK(GENERATE, NULL, brief, "MISS");
    CHECK(GENERATE, NULL, brief, "HIT");
    sleep(2);
    CHECK(GENERATE, NULL, brief, "MISS");
}

static void wrong_wishes(void **state) {
    (void)state;
    static const struct {
        const char *path, *body, *says;
    } wrong[] = {
        {GENERATE, ASK("x", ",\"cache\":{\"mode\":\"perhaps\"}"), "cache.mode"},
        {GENERATE, ASK("x", ",\"cache\":{\"ttl\":-1}"), "ttl must be between"},
        {GENERATE, ASK("x", ",\"cache\":{\"ttl\":\"-1s\"}"), "cache.ttl"},
        {GENERATE, ASK("x", ",\"cache\":{\"ttl\":\"soon\"}"), "cache.ttl"},
        {GENERATE, ASK("x", ",\"cache\":5"), "cache"},
        {"/v1/messages", "{\"model\":\"plain\",\"max_tokens\":5," HI ",\"cache\":{\"mode\":1}}",
         "mode"},
        {"/v1/chat/completions", "{\"model\":\"plain\"," HI ",\"cache\":{\"ttl\":true}}", "ttl"},
        {"/v1/chat/completions", "{\"model\":\"plain\"," HI ",\"cache\":{\"colour\":1}}", "colour"},
        {"/v1/embeddings", "{\"model\":\"bert\",\"input\":\"a\",\"cache\":[]}", "cache"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct answer a;
        ask(&cache_server, &a, "POST", wrong[i].path, NULL, wrong[i].body);
        if (a.status != 400 || !strstr(a.body.p, wrong[i].says))
            fail_msg("%s: %d %s", wrong[i].body, a.status, a.body.p);
        answer_fini(&a);
    }
}

/* An error is asked for again each time. */
static void errors_are_not_kept(void **state) {
    (void)state;
    struct buf body = {0};
    const long before = n_stored(&cache_server);
    buf_str(&body, "{\"model\":\"plain\",\"stream\":false,\"truncate\":false,\"raw\":true,"
                   "\"prompt\":\"");
    for (int i = 0; i < 400; i++)
        buf_str(&body, "word ");
    buf_str(&body, "\"}");
    for (int i = 0; i < 2; i++) {
        struct answer a;
        ask(&cache_server, &a, "POST", GENERATE, NULL, body.p);
        assert_int_equal(a.status, 400);
        assert_string_equal(answer_header(&a, "X-Cache"), "MISS");
        answer_fini(&a);
    }
    assert_int_equal(api_status(&cache_server, "POST", GENERATE,
                                "{\"model\":\"nobody\",\"prompt\":\"a\"}", NULL),
                     404);
    assert_int_equal(n_stored(&cache_server), before);
    buf_fini(&body);
}

/* Another model under the name is another key; another name of the model is not. */
static void models_change(void **state) {
    (void)state;
    const char *body = "{\"model\":\"changing\",\"prompt\":\"a\",\"stream\":false," EIGHT "}";
    api_make(&cache_server, "changing", "llama32", CACHE_PLAIN ",\"system\":\"one\"");
    CHECK(GENERATE, NULL, body, "MISS");
    CHECK(GENERATE, NULL, body, "HIT");
    json_decref(ask_json(&cache_server, "POST", "/api/copy", 200,
                         "{\"source\":\"changing\",\"destination\":\"twin\"}"));
    CHECK(GENERATE, NULL, "{\"model\":\"twin\",\"prompt\":\"a\",\"stream\":false," EIGHT "}",
          "HIT");
    api_make(&cache_server, "changing", "llama32", CACHE_PLAIN ",\"system\":\"two\"");
    CHECK(GENERATE, NULL, body, "MISS");
    CHECK(GENERATE, NULL, "{\"model\":\"twin\",\"prompt\":\"a\",\"stream\":false," EIGHT "}",
          "HIT");
    /* A hit needs no model. */
    json_decref(ask_json(&cache_server, "POST", GENERATE, 200,
                         "{\"model\":\"twin\",\"keep_alive\":0,\"stream\":false}"));
    const long loads = metric_of(&cache_server, "model_loads_total");
    CHECK(GENERATE, NULL, "{\"model\":\"twin\",\"prompt\":\"a\",\"stream\":false," EIGHT "}",
          "HIT");
    assert_int_equal(metric_of(&cache_server, "model_loads_total"), loads);
}

/* ---- whose it is ---- */

static void tenants(void **state) {
    (void)state;
    struct serve s;
    struct err e;
    char path[700], set[800], own[700];
    const char *keys = "anna " ANNA "\nben " BEN "\nboss " BOSS " admin\n";
    char *dir = temp_folder();
    snprintf(path, sizeof path, "%s/keys", dir);
    assert_int_equal(os_write_file(path, keys, strlen(keys), &e), 0);
    snprintf(set, sizeof set, "CRIA_API_KEY_FILE=%s", path);
    snprintf(own, sizeof own, "HOME=%s", dir);
    cache_serve(&s, &cache_home, "CRIA_RESPONSE_CACHE=on", set, own);
    const char *body = ASK("mine", "," EIGHT), *anna = "Authorization: Bearer " ANNA "\r\n",
               *ben = "Authorization: Bearer " BEN "\r\n",
               *boss = "Authorization: Bearer " BOSS "\r\n";
    assert_string_equal(cache_of(&s, GENERATE, anna, body, NULL), "MISS");
    assert_string_equal(cache_of(&s, GENERATE, anna, body, NULL), "HIT");
    assert_string_equal(cache_of(&s, GENERATE, ben, body, NULL), "MISS");
    assert_string_equal(cache_of(&s, GENERATE, ben, body, NULL), "HIT");
    /* Who may use models may not look into the cache. */
    struct answer a;
    static const char *const method[] = {"GET", "DELETE"};
    for (int i = 0; i < 2; i++) {
        ask(&s, &a, method[i], "/api/cache", anna, NULL);
        assert_int_equal(a.status, 403);
        answer_fini(&a);
        ask(&s, &a, method[i], "/api/cache", boss, NULL);
        assert_int_equal(a.status, 200);
        answer_fini(&a);
    }
    assert_string_equal(cache_of(&s, GENERATE, anna, body, NULL), "MISS");
    assert_int_equal(serve_stop(&s), 0);
    temp_remove(dir);
}

/* ---- settings ---- */

static void off_by_itself(void **state) {
    (void)state;
    struct serve s;
    char path[800];
    cache_serve(&s, &cache_home, NULL, NULL, NULL);
    assert_string_equal(cache_of(&s, GENERATE, NULL, ASK("off", "," EIGHT), NULL), "none");
    assert_string_equal(
        cache_of(&s, GENERATE, NULL, ASK("off", ",\"cache\":{\"mode\":\"on\"}," EIGHT), NULL),
        "BYPASS");
    snprintf(path, sizeof path, "%s/.cria/answers.db", s.dir);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(serve_stop(&s), 0);
}

static void always(void **state) {
    (void)state;
    struct serve s;
    const char *drawn = ASK("d", ",\"options\":{\"temperature\":0.8,\"num_predict\":4}");
    cache_serve(&s, &cache_home, "CRIA_RESPONSE_CACHE=always", "CRIA_CACHE_TTL=2s", NULL);
    assert_string_equal(cache_of(&s, GENERATE, NULL, drawn, NULL), "MISS");
    assert_string_equal(cache_of(&s, GENERATE, NULL, drawn, NULL), "HIT");
    sleep(3);
    assert_string_equal(cache_of(&s, GENERATE, NULL, drawn, NULL), "MISS");
    assert_int_equal(serve_stop(&s), 0);
}

static void wrong_settings(void **state) {
    (void)state;
    static const char *const wrong[][2] = {
        {"CRIA_RESPONSE_CACHE=sometimes", "off, on or always"},
        {"CRIA_CACHE_URL=redis://:secret@h:port", "redis://"},
        {"CRIA_CACHE_TTL=soon", "CRIA_CACHE_TTL"},
        {"CRIA_CACHE_BYTES=many", "CRIA_CACHE_BYTES"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct buf said = {0};
        assert_int_equal(serve_fails(NULL, (const char *const[]){wrong[i][0], NULL}, &said), 2);
        if (!strstr(said.p, wrong[i][1]) || strstr(said.p, "secret")) fail_msg("%s", said.p);
        buf_fini(&said);
    }
}

static void bounded(void **state) {
    (void)state;
    struct serve s;
    char body[200];
    cache_serve(&s, &cache_home, "CRIA_RESPONSE_CACHE=on", "CRIA_CACHE_BYTES=8k", NULL);
    for (int i = 0; i < 40; i++) {
        snprintf(body, sizeof body,
                 "{\"model\":\"plain\",\"prompt\":\"n%d\",\"stream\":false," EIGHT "}", i);
        assert_string_equal(cache_of(&s, GENERATE, NULL, body, NULL), "MISS");
        if (i) /* the first is used all the time, and stays */
            assert_string_equal(
                cache_of(&s, GENERATE, NULL,
                         "{\"model\":\"plain\",\"prompt\":\"n0\",\"stream\":false," EIGHT "}",
                         NULL),
                "HIT");
    }
    usleep(200000);
    assert_true(metric_of(&s, "response_cache_bytes") <= 8 << 10);
    assert_true(metric_of(&s, "response_cache_evictions_total") > 5);
    assert_string_equal(
        cache_of(&s, GENERATE, NULL,
                 "{\"model\":\"plain\",\"prompt\":\"n2\",\"stream\":false," EIGHT "}", NULL),
        "MISS");
    assert_int_equal(serve_stop(&s), 0);
}

/* ---- killed ---- */

/* Until the server is gone. */
static void *keep_asking(void *arg) {
    const struct serve *s = arg;
    const struct sockaddr_in at = {.sin_family = AF_INET,
                                   .sin_port = htons((uint16_t)s->port),
                                   .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    char text[500], body[200], got[4096];
    for (int i = 0;; i++) {
        const int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const int n_body =
            snprintf(body, sizeof body,
                     "{\"model\":\"plain\",\"prompt\":\"k%d\",\"stream\":false," EIGHT "}", i);
        const int n = snprintf(text, sizeof text,
                               "POST /api/generate HTTP/1.1\r\nHost: localhost\r\n"
                               "Connection: close\r\nContent-Length: %d\r\n\r\n%s",
                               n_body, body);
        const bool there = connect(fd, (const struct sockaddr *)&at, sizeof at) == 0 &&
                           write(fd, text, (size_t)n) == n;
        while (there && read(fd, got, sizeof got) > 0)
            ;
        close(fd);
        if (!there) return NULL;
    }
}

/* A server killed while it writes has what it wrote before, when it comes again. */
static void killed(void **state) {
    (void)state;
    char *dir = temp_folder(), own[700];
    snprintf(own, sizeof own, "HOME=%s", dir);
    for (int round = 0; round < 4; round++) {
        struct serve s;
        char body[200];
        pthread_t t;
        cache_serve(&s, &cache_home, "CRIA_RESPONSE_CACHE=on", own, NULL);
        for (int i = 0; i <= round; i++) {
            snprintf(body, sizeof body,
                     "{\"model\":\"plain\",\"prompt\":\"keep %d\",\"stream\":false," EIGHT "}", i);
            assert_string_equal(cache_of(&s, GENERATE, NULL, body, NULL),
                                i < round ? "HIT" : "MISS");
        }
        for (int i = 0; i < 400 && metric_of(&s, "response_cache_stores_total") < 1; i++)
            usleep(2000);
        pthread_create(&t, NULL, keep_asking, &s);
        usleep(150000 + 37000 * (unsigned)round);
        kill(s.pid, SIGKILL);
        pthread_join(t, NULL);
        serve_ended(&s, 10);
        serve_kill(&s);
    }
    temp_remove(dir);
}

/* ---- the command ---- */

static json_t *command(const char *host, const char *a, const char *b, const char *c, int code) {
    struct ran r;
    json_error_t je;
    setenv("CRIA_HOST", host, 1);
    setenv("HOME", cache_home.dir, 1);
    const char *args[] = {"cache", a, "--json", b, c, NULL};
    run_cria(&r, args, NULL, 0, 30);
    if (r.code != code) fail_msg("cria cache %s: %d %s", a, r.code, r.err.p);
    json_t *j = r.out.n ? json_loadb(r.out.p, r.out.n, 0, &je) : NULL;
    unsetenv("CRIA_HOST");
    ran_fini(&r);
    return j;
}

static json_int_t count_of(json_t *j, const char *key) {
    const json_int_t n = json_integer_value(json_object_get(j, key));
    json_decref(j);
    return n;
}

static void by_command(void **state) {
    (void)state;
    char host[64], nobody[64];
    snprintf(host, sizeof host, "127.0.0.1:%d", cache_server.port);
    snprintf(nobody, sizeof nobody, "127.0.0.1:1");
    CHECK("/api/embed", NULL, "{\"model\":\"bert\",\"input\":\"cmd\"}", "MISS");
    CHECK(GENERATE, NULL, ASK("cmd", "," EIGHT), "MISS");
    usleep(200000);
    json_t *j = command(host, "stats", NULL, NULL, 0);
    assert_string_equal(text_of(j, "store"), "sqlite");
    assert_string_equal(text_of(j, "mode"), "on");
    assert_int_equal(json_integer_value(json_object_get(j, "ttl_s")), 3600);
    assert_true(json_integer_value(json_object_get(j, "hits")) > 0);
    const json_int_t n = json_integer_value(json_object_get(j, "entries"));
    assert_true(n > 10);
    json_decref(j);
    /* The file itself, which another process has open. */
    assert_int_equal(count_of(command(nobody, "stats", NULL, NULL, 0), "entries"), n);
    assert_true(count_of(command(host, "rm", "--model", "bert:latest", 0), "removed") >= 1);
    CHECK("/api/embed", NULL, "{\"model\":\"bert\",\"input\":\"cmd\"}", "MISS");
    CHECK(GENERATE, NULL, ASK("cmd", "," EIGHT), "HIT");
    json_decref(command(host, "rm", "--model", "nobody", 3));
    json_decref(command(host, "rm", "xyz", NULL, 2));
    json_decref(command(host, "rm", NULL, NULL, 2));
    usleep(100000);
    json_int_t gone = 0;
    for (int i = 0; i < 8; i++) { /* by the first digit of their keys; some have none */
        char path[64];
        snprintf(path, sizeof path, "/api/cache/keys/%x", i);
        gone += count_of(ask_json(&cache_server, "DELETE", path, 200, "%s", ""), "removed");
    }
    assert_true(gone > 0);
    assert_true(count_of(command(nobody, "clear", NULL, NULL, 0), "removed") > 0);
    CHECK(GENERATE, NULL, ASK("cmd", "," EIGHT), "MISS"); /* the server sees that it is gone */
    assert_true(count_of(command(host, "clear", NULL, NULL, 0), "removed") >= 1);
    assert_int_equal(count_of(command(host, "stats", NULL, NULL, 0), "entries"), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_dialect),
        cmocka_unit_test(streams_and_wholes),
        cmocka_unit_test(several_prompts),
        cmocka_unit_test(only_what_would_come_again),
        cmocka_unit_test(as_the_client_wants),
        cmocka_unit_test(wrong_wishes),
        cmocka_unit_test(errors_are_not_kept),
        cmocka_unit_test(models_change),
        cmocka_unit_test(tenants),
        cmocka_unit_test(off_by_itself),
        cmocka_unit_test(always),
        cmocka_unit_test(wrong_settings),
        cmocka_unit_test(bounded),
        cmocka_unit_test(killed),
        cmocka_unit_test(by_command),
    };
    return cmocka_run_group_tests(tests, cache_group_start, cache_group_stop);
}
