/* Models in their own processes under `cria serve`: loaded, unloaded, killed, held to the memory
 * limit; and the commands and routes around them. */
#include "models_rig.h"
#include "rewrite.h"
#include "serve_rig.h"
#include "server_rig.h"

#include <pthread.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"

static struct shop shop;
static struct serve srv;
static char models_set[700], host[64];

#define MS INT64_C(1000000)
#define WAIT_UNTIL(condition)                                                                      \
    for (int64_t end_ns = os_now_ns() + 20000 * MS; !(condition); usleep(2000))                    \
        if (os_now_ns() > end_ns) fail_msg("never: " #condition)

/* ---- helpers ---- */

static void start(const char *setting) {
    const char *set[] = {models_set, setting, NULL};
    serve_start(&srv, NULL, set);
    snprintf(host, sizeof host, "127.0.0.1:%d", srv.port);
    setenv("CRIA_HOST", host, 1);
}

static void stop(void) {
    assert_int_equal(serve_stop(&srv), 0);
    unsetenv("CRIA_HOST");
}

#define GENERATE                                                                                   \
    "{\"model\": \"%s\", \"prompt\": \"hello\", \"raw\": true, \"stream\": false, "                \
    "\"options\": {\"num_predict\": %d, \"temperature\": 0}}"

static void generate(const char *model) {
    json_t *j = ask_json(&srv, "POST", "/api/generate", 200, GENERATE, model, 3);
    assert_true(json_is_true(json_object_get(j, "done")));
    json_decref(j);
}

static int n_loaded(void) {
    json_t *j = ask_json(&srv, "GET", "/api/ps", 200, "%s", "");
    const int n = (int)json_array_size(json_object_get(j, "models"));
    json_decref(j);
    return n;
}

static int n_children(void) {
    return serve_children(&srv, NULL, 0, NULL);
}

static int set_up(void **state) {
    (void)state;
    char chat[700], name[8];
    use_program();
    shop_open(&shop);
    snprintf(models_set, sizeof models_set, "CRIA_MODELS=%s", shop.root);
    snprintf(chat, sizeof chat, "%s/chat.gguf", shop.dir);
    rewrite_template(golden("models/llama32.gguf"), chat, REWRITE_CHATML);
    shop_gguf(&shop, "chat", chat, NULL);
    shop_gguf(&shop, "bert", golden("models/bert.gguf"), NULL);
    shop_gguf(&shop, "gemma", golden("models/gemma3.gguf"), NULL);
    shop_gguf(&shop, "phi", golden("models/phi3-4k.gguf"), NULL);
    for (int i = 0; i < 4; i++) { /* of one file, with something of their own */
        char system[] = "I am number 0.";
        system[12] = (char)('0' + i);
        snprintf(name, sizeof name, "m%d", i);
        shop_gguf(&shop, name, chat, (const struct rig_layer[]){{"system", system}, {NULL, NULL}});
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    shop_close(&shop);
    return 0;
}

/* ---- commands ---- */

#define RUN(r, ...) run_cria(&(r), (const char *const[]){__VA_ARGS__, NULL}, "", 0, 60)

static const char head[] =
    "NAME           ID              SIZE     PROCESSOR    CONTEXT    UNTIL\n";

static void ps_and_stop(void **state) {
    (void)state;
    struct ran r;
    setenv("CRIA_HOST", "127.0.0.1:1", 1);
    assert_int_equal(RUN(r, "ps"), 4);
    assert_non_null(strstr(r.err.p, "cria serve"));
    ran_fini(&r);
    assert_int_equal(RUN(r, "stop", "chat"), 4);
    ran_fini(&r);
    start("CRIA_KEEP_ALIVE=80m");
    assert_int_equal(RUN(r, "ps"), 0);
    assert_string_equal(r.out.p, "NAME    ID    SIZE    PROCESSOR    CONTEXT    UNTIL\n");
    ran_fini(&r);
    generate("chat");
    /* All addresses of a machine are this one from here. */
    char any[64];
    snprintf(any, sizeof any, "0.0.0.0:%d", srv.port);
    setenv("CRIA_HOST", any, 1);
    assert_int_equal(RUN(r, "ps"), 0);
    if (strncmp(r.out.p, head, strlen(head)) != 0) fail_msg("%s", r.out.p);
    assert_non_null(strstr(r.out.p, "chat:latest"));
    assert_non_null(strstr(r.out.p, " MB    100% CPU     4096       About an hour from now\n"));
    ran_fini(&r);
    assert_int_equal(RUN(r, "ps", "--json"), 0);
    json_t *j = json_loads(r.out.p, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(j, "models")), 1);
    json_decref(j), ran_fini(&r);
    assert_int_equal(RUN(r, "ps", "ge"), 0);
    assert_null(strstr(r.out.p, "chat"));
    ran_fini(&r);
    assert_int_equal(RUN(r, "stop", "chat", "nobody"), 3);
    assert_string_equal(r.err.p, "Error: couldn't find model \"nobody\" to stop\n");
    ran_fini(&r);
    WAIT_UNTIL(n_loaded() == 0);
    WAIT_UNTIL(n_children() == 0);
    assert_int_equal(RUN(r, "stop", "chat"), 0); /* not loaded: nothing to do */
    ran_fini(&r);
    json_decref(
        ask_json(&srv, "POST", "/api/generate", 200, "{\"model\": \"chat\", \"keep_alive\": -1}"));
    assert_int_equal(RUN(r, "ps"), 0);
    assert_non_null(strstr(r.out.p, "Forever"));
    ran_fini(&r);
    stop();
}

#define ENDLESS                                                                                    \
    "{\"model\": \"chat\", \"prompt\": \"a\", \"raw\": true, \"options\": {\"num_predict\": "      \
    "100000, \"ignore_eos\": true}}"

/* A stream that has begun. */
static void begin_stream(struct wire *w) {
    struct answer a = {0};
    struct buf line = {0};
    wire_open(w, &srv);
    wire_ask(w, "POST", "/api/generate", NULL, ENDLESS);
    assert_true(wire_head(w, &a, 20));
    assert_int_equal(a.status, 200);
    assert_int_equal(wire_line(w, &line, 20), 1);
    answer_fini(&a), buf_fini(&line);
}

/* ---- life ---- */

static void expires(void **state) {
    (void)state;
    start("CRIA_KEEP_ALIVE=300ms");
    generate("chat");
    assert_int_equal(n_children(), 1);
    WAIT_UNTIL(n_children() == 0);
    assert_int_equal(n_loaded(), 0);
    generate("chat"); /* and again */
    stop();
}

/* Its process is killed while it answers: that answer breaks, the next one comes. */
static void killed(void **state) {
    (void)state;
    start("CRIA_KEEP_ALIVE=1h");
    const size_t rounds = 10;
    generate("chat");
    for (size_t i = 0; i < rounds; i++) {
        struct wire w;
        struct buf line = {0};
        pid_t pid[2];
        begin_stream(&w);
        assert_int_equal(serve_children(&srv, pid, 2, NULL), 1);
        kill(pid[0], SIGKILL);
        bool error = false;
        while (wire_line(&w, &line, 20) == 1)
            error = strstr(line.p, "\"error\"") != NULL;
        assert_true(error);
        buf_fini(&line), wire_close(&w);
        const int64_t t0 = os_now_ns();
        generate("chat");
        const int64_t took = os_now_ns() - t0;
        if (took > 2000 * MS && !SANITIZED) fail_msg("%lld ms", (long long)(took / MS));
    }
    assert_false(serve_ended(&srv, 0));
    stop();
}

static void replaced(void **state) {
    (void)state;
    start("CRIA_KEEP_ALIVE=1h");
    json_t *a = ask_json(&srv, "POST", "/api/generate", 200, GENERATE, "phi", 1);
    json_decref(a);
    json_t *before = ask_json(&srv, "GET", "/api/ps", 200, "%s", "");
    shop_gguf(&shop, "phi", golden("models/gemma3.gguf"), NULL);
    generate("phi");
    WAIT_UNTIL(n_loaded() == 1);
    json_t *after = ask_json(&srv, "GET", "/api/ps", 200, "%s", "");
    assert_false(
        json_equal(json_object_get(json_array_get(json_object_get(before, "models"), 0), "digest"),
                   json_object_get(json_array_get(json_object_get(after, "models"), 0), "digest")));
    json_decref(before), json_decref(after);
    shop_gguf(&shop, "phi", golden("models/phi3-4k.gguf"), NULL);
    stop();
}

/* A context that is smaller than the loaded one holds for the request that asks for it, and for no
 * other. */
static void smaller_contexts(void **state) {
    (void)state;
    char prompt[700] = "";
    start("CRIA_KEEP_ALIVE=1h");
    for (int i = 0; i < 100; i++)
        strcat(prompt, "hello ");
    for (int round = 0; round < 2; round++) {
        json_t *j = ask_json(&srv, "POST", "/api/generate", 400,
                             "{\"model\": \"chat\", \"prompt\": \"%s\", \"raw\": true, "
                             "\"truncate\": false, \"options\": {\"num_ctx\": 64}}",
                             prompt);
        assert_non_null(strstr(json_string_value(json_object_get(j, "error")), "64"));
        json_decref(j);
        j = ask_json(
            &srv, "POST", "/api/generate", 200,
            "{\"model\": \"chat\", \"prompt\": \"hello\", \"raw\": true, \"stream\": false, "
            "\"shift\": false, \"options\": {\"num_ctx\": 16, \"ignore_eos\": true}}");
        assert_string_equal(json_string_value(json_object_get(j, "done_reason")), "length");
        assert_true(json_integer_value(json_object_get(j, "eval_count")) <= 16);
        json_decref(j);
        j = ask_json(&srv, "POST", "/api/generate", 200,
                     "{\"model\": \"chat\", \"prompt\": \"%s\", \"raw\": true, \"stream\": false, "
                     "\"truncate\": false, \"options\": {\"num_predict\": 1}}",
                     prompt);
        assert_true(json_integer_value(json_object_get(j, "prompt_eval_count")) > 64);
        json_decref(j);
    }
    json_t *j = ask_json(&srv, "POST", "/api/embed", 200,
                         "{\"model\": \"chat\", \"input\": \"%s\", \"options\": {\"num_ctx\": 32}}",
                         prompt);
    assert_int_equal(json_integer_value(json_object_get(j, "prompt_eval_count")), 32);
    json_decref(j);
    json_decref(ask_json(&srv, "POST", "/api/embed", 400,
                         "{\"model\": \"chat\", \"input\": \"%s\", \"truncate\": false, "
                         "\"options\": {\"num_ctx\": 32}}",
                         prompt));
    assert_int_equal(serve_lines(&srv, "chat:latest", "loaded in", 1), 1);
    stop();
}

static void preloaded(void **state) {
    (void)state;
    start("OLLAMA_MODEL=chat");
    WAIT_UNTIL(n_loaded() == 1);
    stop();
}

/* The store has it not, a registry has. */
static void preloaded_from_a_registry(void **state) {
    (void)state;
    if (serve_isolated()) skip();
    struct server hub;
    struct ran r;
    char name[100], setting[130];
    registry_start(&hub, shop.dir, "hub", "");
    snprintf(name, sizeof name, "127.0.0.1:%d/me/chat:tiny", hub.port);
    snprintf(setting, sizeof setting, "CRIA_MODEL=%s", name);
    setenv("CRIA_MODELS", shop.root, 1);
    setenv("HOME", shop.dir, 1);
    assert_int_equal(RUN(r, "cp", "chat", name), 0);
    ran_fini(&r);
    if (RUN(r, "push", name) != 0) fail_msg("%s", r.err.p);
    ran_fini(&r);
    assert_int_equal(RUN(r, "rm", name), 0);
    ran_fini(&r);
    start(setting);
    WAIT_UNTIL(n_loaded() == 1);
    assert_int_equal(serve_lines(&srv, "preload", "success", 1), 1);
    stop();
    server_stop(&hub);
    unsetenv("CRIA_MODELS");
}

/* ---- queue and deadlines ---- */

static int n_waiting(void) {
    struct answer a;
    ask(&srv, &a, "GET", "/metrics", NULL, NULL);
    const char *at = strstr(a.body.p, "\ncria_requests_waiting");
    const int n = at ? atoi(at + strcspn(at + 1, " ") + 1) : -1;
    answer_fini(&a);
    return n;
}

static void full_queue(void **state) {
    (void)state;
    const char *set[] = {models_set, "CRIA_MAX_QUEUE=1", "CRIA_NUM_PARALLEL=1", NULL};
    struct wire running, waiting;
    struct answer a;
    serve_start(&srv, NULL, set);
    begin_stream(&running);
    wire_open(&waiting, &srv);
    wire_ask(&waiting, "POST", "/api/generate", NULL, ENDLESS);
    WAIT_UNTIL(n_waiting() == 1);
    for (int i = 0; i < 3; i++) {
        const int64_t t0 = os_now_ns();
        ask(&srv, &a, "POST", i == 1 ? "/v1/completions" : "/api/generate", NULL,
            i == 1 ? "{\"model\": \"chat\", \"prompt\": \"a\"}" : ENDLESS);
        const int64_t took = os_now_ns() - t0;
        assert_int_equal(a.status, 503);
        assert_string_equal(answer_header(&a, "Retry-After"), "1");
        assert_non_null(strstr(a.body.p, "server busy, please try again.  maximum pending requests "
                                         "exceeded"));
        if (took > 50 * MS && !SANITIZED && !serve_traced())
            fail_msg("refused after %lld us", (long long)took / 1000);
        answer_fini(&a);
    }
    wire_close(&running); /* the next one's turn */
    WAIT_UNTIL(n_waiting() == 0);
    wire_close(&waiting);
    stop();
}

static void too_late(void **state) {
    (void)state;
    struct wire w;
    struct buf line = {0};
    struct answer a;
    const char *set[] = {models_set, "CRIA_REQUEST_TIMEOUT=700ms", "CRIA_NUM_PARALLEL=1", NULL};
    serve_start(&srv, NULL, set);
    begin_stream(&w);
    ask(&srv, &a, "POST", "/api/generate", NULL,
        "{\"model\": \"chat\", \"prompt\": \"a\", \"raw\": true, \"stream\": false, \"options\": "
        "{\"num_predict\": 100000, \"ignore_eos\": true}}");
    assert_int_equal(a.status, 504);
    assert_non_null(strstr(a.body.p, "took longer"));
    answer_fini(&a);
    bool error = false;
    while (wire_line(&w, &line, 20) == 1)
        error = strstr(line.p, "\"error\"") && strstr(line.p, "took longer");
    assert_true(error);
    buf_fini(&line), wire_close(&w);
    stop();
}

/* ---- memory ---- */

enum { LIMIT_MIB = 80, CLIENTS = 8, LOADS = 50 };
static atomic_int n_next, n_good, n_refused;
static atomic_bool over;

static void *client(void *arg) {
    static const char *const names[] = {"m0", "m1", "m2", "m3", "chat", "gemma", "phi"};
    (void)arg;
    for (int i; (i = atomic_fetch_add(&n_next, 1)) < LOADS;) {
        struct answer a;
        char body[400];
        snprintf(body, sizeof body,
                 "{\"model\": \"%s\", \"prompt\": \"hello\", \"raw\": true, \"stream\": false, "
                 "\"options\": {\"num_predict\": 3, \"num_ctx\": %d}}",
                 names[i * 5 % 7], i % 3 ? 1024 : 2048);
        ask(&srv, &a, "POST", "/api/generate", NULL, body);
        if (a.status != 200) print_message("%d %s\n", a.status, a.body.p);
        atomic_fetch_add(a.status == 200 ? &n_good : &n_refused, 1);
        answer_fini(&a);
    }
    return NULL;
}

static void *watch(void *arg) {
    size_t *peak = arg;
    while (!atomic_load(&over)) {
        size_t rss;
        serve_children(&srv, NULL, 0, &rss);
        if (rss > *peak) *peak = rss;
        usleep(2000);
    }
    return NULL;
}

static void many_loads_within_the_limit(void **state) {
    (void)state;
    char setting[64];
    pthread_t t[CLIENTS], watcher;
    size_t peak = 0;
    snprintf(setting, sizeof setting, "CRIA_MEMORY=%dm", LIMIT_MIB);
    start(setting);
    pthread_create(&watcher, NULL, watch, &peak);
    for (int i = 0; i < CLIENTS; i++)
        pthread_create(&t[i], NULL, client, NULL);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(t[i], NULL);
    atomic_store(&over, true);
    pthread_join(watcher, NULL);
    print_message("%d good, %zu MiB at the peak of %d\n", atomic_load(&n_good), peak >> 20,
                  LIMIT_MIB);
    assert_int_equal(atomic_load(&n_good), LOADS);
    if (!SANITIZED && peak > (size_t)LIMIT_MIB << 20) fail_msg("%zu bytes", peak);
    stop();
}

static void too_small_a_limit(void **state) {
    (void)state;
    start("CRIA_MEMORY=1m");
    json_t *j = ask_json(&srv, "POST", "/api/generate", 500, GENERATE, "chat", 1);
    const char *why = json_string_value(json_object_get(j, "error"));
    assert_non_null(strstr(why, " MB of memory"));
    assert_null(strstr(why, shop.root)); /* not where the file is */
    json_decref(j);
    stop();
}

/* One status in every API: 500, with the numbers. */
static void no_room_in_every_api(void **state) {
    (void)state;
    static const char chat[] = "{\"model\": \"chat\", \"max_tokens\": 4, \"messages\": "
                               "[{\"role\": \"user\", \"content\": \"hello\"}]}";
    static const char *const route[][2] = {
        {"/api/chat", "{\"model\": \"chat\", \"messages\": [{\"role\": \"user\", \"content\": "
                      "\"a\"}]}"},
        {"/api/generate", "{\"model\": \"chat\"}"},
        {"/api/embed", "{\"model\": \"chat\", \"input\": \"a\"}"},
        {"/api/embeddings", "{\"model\": \"chat\", \"prompt\": \"a\"}"},
        {"/v1/chat/completions", chat},
        {"/v1/completions", "{\"model\": \"chat\", \"prompt\": \"a\"}"},
        {"/v1/embeddings", "{\"model\": \"chat\", \"input\": \"a\"}"},
        {"/v1/responses", "{\"model\": \"chat\", \"input\": \"a\"}"},
        {"/v1/messages", chat},
        {"/api/tokenize", "{\"model\": \"chat\", \"content\": \"a\"}"},
    };
    start("CRIA_MEMORY=1m");
    for (size_t i = 0; i < sizeof route / sizeof *route; i++) {
        struct answer a;
        const bool openai = strncmp(route[i][0], "/v1/", 4) == 0 && i != 8;
        ask(&srv, &a, "POST", route[i][0], NULL, route[i][1]);
        if (a.status != 500 || !strstr(buf_view(&a.body).p, " MB of memory"))
            fail_msg("%s: %d %s", route[i][0], a.status, buf_view(&a.body).p);
        if (openai && !strstr(a.body.p, "\"insufficient_memory\""))
            fail_msg("%s: %s", route[i][0], a.body.p);
        if (i == 8) assert_non_null(strstr(a.body.p, "\"api_error\""));
        answer_fini(&a);
    }
    stop();
}

/* ---- many clients ---- */

enum { STORM_CLIENTS = 64 };
static atomic_bool stop_storm;
static atomic_int n_answers;

/* Half a request, or all of it without waiting for the answer. */
static void leave_early(unsigned *seed, const char *path, const char *body) {
    struct wire w;
    struct answer a = {0};
    wire_open(&w, &srv);
    wire_ask(&w, "POST", path, NULL, body);
    if (rand_r(seed) % 2) wire_head(&w, &a, 0.05);
    answer_fini(&a);
    if (rand_r(seed) % 2)
        wire_reset(&w);
    else
        wire_close(&w);
}

static void *storm(void *arg) {
    static const char *const routes[][2] = {
        {"/api/generate",
         "\"prompt\": \"hello\", \"raw\": true, \"options\": {\"num_predict\": 4}"},
        {"/api/chat", "\"messages\": [{\"role\": \"user\", \"content\": \"hi\"}], \"options\": "
                      "{\"num_predict\": 4}"},
        {"/api/embed", "\"input\": \"hello\""},
        {"/api/tokenize", "\"text\": \"hello\""},
        {"/api/generate", "\"prompt\": \"\""},
    };
    unsigned seed = (unsigned)(uintptr_t)arg;
    while (!atomic_load(&stop_storm)) {
        char body[300];
        struct answer a;
        const int i = rand_r(&seed) % 6;
        snprintf(body, sizeof body, "{\"model\": \"m%d\", %s, \"keep_alive\": %s}",
                 rand_r(&seed) % 2, routes[i % 5][1], rand_r(&seed) % 3 ? "0" : "\"20ms\"");
        if (rand_r(&seed) % 8 == 0) {
            leave_early(&seed, routes[i % 5][0], body);
            continue;
        }
        if (i == 5)
            ask(&srv, &a, "GET", "/api/ps", NULL, NULL);
        else
            ask(&srv, &a, "POST", routes[i][0], NULL, body);
        if (a.status != 200) print_message("%d %s %s\n", a.status, body, a.body.p);
        atomic_fetch_add(&n_answers, a.status == 200);
        answer_fini(&a);
    }
    return NULL;
}

static void storm_of_clients(void **state) {
    (void)state;
    pthread_t t[STORM_CLIENTS];
    start("CRIA_KEEP_ALIVE=20ms");
    generate("m0");
    WAIT_UNTIL(n_children() == 0);
    const int fds = serve_descriptors(&srv);
    for (int i = 0; i < STORM_CLIENTS; i++)
        pthread_create(&t[i], NULL, storm, (void *)(uintptr_t)(i + 1));
    sleep(3);
    atomic_store(&stop_storm, true);
    for (int i = 0; i < STORM_CLIENTS; i++)
        pthread_join(t[i], NULL);
    WAIT_UNTIL(n_children() == 0);
    WAIT_UNTIL(serve_descriptors(&srv) <= fds + 2);
    print_message("%d answers\n", atomic_load(&n_answers));
    assert_true(atomic_load(&n_answers) > 30);
    stop();
}

/* ---- routes ---- */

static void tokens(void **state) {
    (void)state;
    start("CRIA_KEEP_ALIVE=1h");
    json_t *j = ask_json(&srv, "POST", "/api/tokenize", 200,
                         "{\"model\": \"chat\", \"text\": \"hello world\", \"pieces\": true}");
    json_t *ids = json_object_get(j, "tokens");
    assert_int_equal(json_array_size(ids), json_array_size(json_object_get(j, "pieces")));
    assert_true(json_array_size(ids) > 1);
    char *list = json_dumps(ids, JSON_COMPACT);
    json_t *k = ask_json(&srv, "POST", "/api/detokenize", 200,
                         "{\"model\": \"chat\", \"tokens\": %s}", list);
    assert_non_null(strstr(json_string_value(json_object_get(k, "text")), "hello world"));
    free(list), json_decref(k), json_decref(j);
    json_decref(ask_json(&srv, "POST", "/api/tokenize", 200,
                         "{\"model\": \"chat\", \"text\": \"x\", \"options\": {\"num_ctx\": 64}}"));
    static const char *const bad[][2] = {
        {"/api/tokenize", "{\"model\": \"chat\"}"},
        {"/api/tokenize", "{\"text\": \"x\"}"},
        {"/api/tokenize", "{\"model\": \"chat\", \"text\": 5}"},
        {"/api/tokenize", "{\"model\": \"a b\", \"text\": \"x\"}"},
        {"/api/detokenize", "{\"model\": \"chat\"}"},
        {"/api/detokenize", "{\"model\": \"chat\", \"tokens\": \"x\"}"},
        {"/api/detokenize", "{\"model\": \"chat\", \"tokens\": [\"x\"]}"},
        {"/api/detokenize", "{\"model\": \"chat\", \"tokens\": [-1]}"},
        {"/api/detokenize", "{\"model\": \"chat\", \"tokens\": [100000000]}"},
        {"/api/apply-template", "{\"model\": \"chat\"}"},
        {"/api/apply-template", "{\"model\": \"chat\", \"messages\": 5}"},
        {"/api/rerank", "{\"model\": \"chat\", \"documents\": [\"a\"]}"},
        {"/api/rerank", "{\"model\": \"chat\", \"query\": \"a\"}"},
        {"/api/rerank", "{\"model\": \"chat\", \"query\": \"a\", \"documents\": []}"},
        {"/api/rerank", "{\"model\": \"chat\", \"query\": \"a\", \"documents\": [5]}"},
        {"/v1/rerank",
         "{\"model\": \"chat\", \"query\": \"a\", \"documents\": [\"a\"], \"top_n\": 0}"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct answer a;
        ask(&srv, &a, "POST", bad[i][0], NULL, bad[i][1]);
        if (a.status != 400) fail_msg("%s %s: %d %s", bad[i][0], bad[i][1], a.status, a.body.p);
        answer_fini(&a);
    }
    j = ask_json(&srv, "POST", "/api/tokenize", 404, "{\"model\": \"nobody\", \"text\": \"x\"}");
    assert_string_equal(json_string_value(json_object_get(j, "error")),
                        "model \"nobody\" not found, try pulling it first");
    json_decref(j);
    stop();
}

static void template(void **state) {
    (void)state;
    start("CRIA_KEEP_ALIVE=1h");
    json_t *j = ask_json(&srv, "POST", "/api/apply-template", 200,
                         "{\"model\": \"chat\", \"messages\": [{\"role\": \"user\", \"content\": "
                         "\"hi\"}]}");
    /* Perhaps with the begin token's text before it. */
    assert_non_null(strstr(json_string_value(json_object_get(j, "prompt")),
                           "<|im_start|>user\nhi<|im_end|>\n<|im_start|>assistant\n"));
    assert_true(json_integer_value(json_object_get(j, "n_tokens")) > 3);
    json_decref(j);
    stop();
}

static void rerank(void **state) {
    (void)state;
    start("CRIA_KEEP_ALIVE=1h");
    json_t *j =
        ask_json(&srv, "POST", "/v1/rerank", 200,
                 "{\"model\": \"bert\", \"query\": \"hello\", \"documents\": [\"world\", "
                 "{\"text\": \"hello\"}, \"x\"], \"top_n\": 2, \"return_documents\": true}");
    json_t *list = json_object_get(j, "results"), *first = json_array_get(list, 0);
    assert_int_equal(json_array_size(list), 2);
    const json_int_t at = json_integer_value(json_object_get(first, "index"));
    assert_true(at >= 0 && at < 3);
    assert_true(json_number_value(json_object_get(first, "relevance_score")) >=
                json_number_value(json_object_get(json_array_get(list, 1), "relevance_score")));
    assert_non_null(json_object_get(json_object_get(first, "document"), "text"));
    assert_true(json_integer_value(json_object_get(json_object_get(j, "usage"), "total_tokens")) >
                3);
    json_decref(j);
    j = ask_json(&srv, "POST", "/api/rerank", 200,
                 "{\"model\": \"bert\", \"query\": \"hello\", \"documents\": [\"world\"]}");
    assert_int_equal(json_array_size(json_object_get(j, "results")), 1);
    json_decref(j);
    stop();
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ps_and_stop),
        cmocka_unit_test(expires),
        cmocka_unit_test(killed),
        cmocka_unit_test(replaced),
        cmocka_unit_test(smaller_contexts),
        cmocka_unit_test(preloaded),
        cmocka_unit_test(preloaded_from_a_registry),
        cmocka_unit_test(many_loads_within_the_limit),
        cmocka_unit_test(full_queue),
        cmocka_unit_test(too_late),
        cmocka_unit_test(storm_of_clients),
        cmocka_unit_test(too_small_a_limit),
        cmocka_unit_test(no_room_in_every_api),
        cmocka_unit_test(tokens),
        cmocka_unit_test(template),
        cmocka_unit_test(rerank),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
