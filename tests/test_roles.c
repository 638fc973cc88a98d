/* Who may do what: every route with every role, in a table that must name them all; models that a
 * key does not see; how a refusal looks in each dialect; and turns between keys under load. */
#include "keys_rig.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "server/front_priv.h"

#define ARGS(...) ((const char *[]){__VA_ARGS__, NULL})

static struct keyed_shop keyed;
static struct serve srv;

static void start(const char *more) {
    serve_start(&srv, NULL, ARGS(keyed.set, keyed.ring.setting, "CRIA_KEEP_ALIVE=1h", more));
}

static int open_all(void **state) {
    (void)state;
    keyed_shop_open(&keyed);
    shop_gguf(&keyed.shop, "mine", golden("models/llama32.gguf"), NULL);
    shop_gguf(&keyed.shop, "mine:big", golden("models/phi3-4k.gguf"), NULL);
    shop_gguf(&keyed.shop, "secret", golden("models/llama32.gguf"), NULL);
    shop_gguf(&keyed.shop, "team/mine", golden("models/llama32.gguf"), NULL);
    return 0;
}

static int close_all(void **state) {
    (void)state;
    keyed_shop_close(&keyed);
    return 0;
}

/* ---- routes and roles ---- */

enum { NONE, READ, INFERENCE, MODELS, TRAIN, ADMIN, N_ROLE };
static const char *const role_name[N_ROLE] = {NULL,     "read",  "inference",
                                              "models", "train", "admin"};

#define OPEN (1 << NONE | ANY)
#define ANY (1 << READ | 1 << INFERENCE | 1 << MODELS | 1 << TRAIN | 1 << ADMIN)
#define USES (1 << INFERENCE | 1 << ADMIN)
#define STORE (1 << MODELS | 1 << ADMIN)
#define TRAINS (1 << TRAIN | 1 << ADMIN)

/* A new route fails the test until it is here: who may take it is a decision. */
static const struct {
    const char *method, *path;
    int roles;
} expected[] = {
    {"GET", "/", OPEN},
    {"GET", "/api/version", OPEN},
    {"GET", "/version", OPEN},
    {"GET", "/health", OPEN},
    {"GET", "/ready", OPEN},
    {"GET", "/api/stats", ANY},
    {"GET", "/metrics", ANY},
    {"GET", "/api/tags", ANY},
    {"GET", "/api/ps", ANY},
    {"POST", "/api/show", ANY},
    {"GET", "/v1/models", ANY},
    {"GET", "/v1/models/:model", ANY},
    {"POST", "/api/generate", USES},
    {"POST", "/api/chat", USES},
    {"POST", "/api/embed", USES},
    {"POST", "/api/embeddings", USES},
    {"POST", "/api/tokenize", USES},
    {"POST", "/api/detokenize", USES},
    {"POST", "/api/apply-template", USES},
    {"POST", "/api/rerank", USES},
    {"POST", "/v1/rerank", USES},
    {"POST", "/v1/chat/completions", USES},
    {"POST", "/v1/completions", USES},
    {"POST", "/v1/embeddings", USES},
    {"POST", "/v1/responses", USES},
    {"GET", "/v1/responses/:id", USES},
    {"DELETE", "/v1/responses/:id", USES},
    {"POST", "/v1/messages", USES},
    {"POST", "/v1/messages/count_tokens", USES},
    {"POST", "/api/pii", USES},
    {"GET", "/api/cache", 1 << ADMIN},
    {"DELETE", "/api/cache", 1 << ADMIN},
    {"DELETE", "/api/cache/keys/:prefix", 1 << ADMIN},
    {"DELETE", "/api/cache/models/:model", 1 << ADMIN},
    {"GET", "/api/data", 1 << ADMIN},
    {"POST", "/api/forget", 1 << ADMIN},
    {"POST", "/api/audit/prune", 1 << ADMIN},
    {"POST", "/api/audit/isolation", 1 << ADMIN},
    {"POST", "/api/create", STORE},
    {"POST", "/api/pull", STORE},
    {"POST", "/api/push", STORE},
    {"POST", "/api/copy", STORE},
    {"DELETE", "/api/delete", STORE},
    {"HEAD", "/api/blobs/:digest", STORE | TRAINS},
    {"POST", "/api/blobs/:digest", STORE | TRAINS},
    {"POST", "/api/train", TRAINS},
    {"GET", "/api/train", ANY},
    {"GET", "/api/train/:id", ANY},
    {"DELETE", "/api/train/:id", TRAINS},
};
enum { N_EXPECTED = sizeof expected / sizeof *expected };

static int status_with(const char *method, const char *path, bool body, const char *header) {
    struct answer a;
    char target[200];
    snprintf(target, sizeof target, "%s", path);
    char *colon = strchr(target, ':');
    if (colon) strcpy(colon, "x");
    ask(&srv, &a, method, target, header, body ? "{}" : NULL);
    const int n = a.status;
    answer_fini(&a);
    return n;
}

static void check_route(const char *method, const char *path, bool body, int roles,
                        const char *const header[N_ROLE]) {
    for (int i = 0; i < N_ROLE; i++) {
        const bool may = (roles & 1 << i) != 0;
        const int status = status_with(method, path, body, header[i]), refused = i ? 403 : 401;
        if (may ? status == 401 || status == 403 || status == 429 : status != refused)
            fail_msg("%s %s with %s: %d", method, path, i ? role_name[i] : "no key", status);
    }
    const bool open = (roles & 1 << NONE) != 0;
    static const char wrong[] = "Authorization: Bearer cria_0123456789abcdef\r\n";
    if (open != (status_with(method, path, body, wrong) != 401))
        fail_msg("%s %s with a wrong key", method, path);
}

static void every_route_and_role(void **state) {
    (void)state;
    const char *header[N_ROLE] = {NULL};
    bool seen[N_EXPECTED] = {0};
    const struct route *t;
    int n = 0;
    for (int i = 1; i < N_ROLE; i++)
        header[i] = keys_add(role_name[i], ARGS("--role", role_name[i]));
    start(NULL);
    for (int i = 0; (t = route_at(i)); i++) {
        const char *method = http_method_name(t->method);
        int k = 0;
        while (k < N_EXPECTED &&
               (strcmp(expected[k].path, t->path) != 0 || strcmp(expected[k].method, method) != 0))
            k++;
        if (k == N_EXPECTED) fail_msg("who may %s %s is not in the table", method, t->path);
        seen[k] = true;
        check_route(method, t->path, t->max_body > 0, expected[k].roles, header);
        n += N_ROLE + 1;
    }
    for (int k = 0; k < N_EXPECTED; k++)
        if (!seen[k]) fail_msg("%s %s is no route", expected[k].method, expected[k].path);
    fprintf(stderr, "%d routes x %d roles and a wrong key: %d requests\n", N_EXPECTED, N_ROLE, n);
    assert_int_equal(serve_stop(&srv), 0);
}

/* Several words, and the old ones. */
static void roles_together(void **state) {
    (void)state;
    const char *both = keys_add("both", ARGS("--role", "inference,train"));
    const char *old = keys_add("old", ARGS("--role", "use"));
    start(NULL);
    assert_int_equal(status_with("POST", "/api/chat", true, both), 400);
    assert_int_equal(status_with("POST", "/api/train", true, both), 400);
    assert_int_equal(status_with("DELETE", "/api/delete", true, both), 403);
    assert_int_equal(status_with("POST", "/api/chat", true, old), 400);
    assert_int_equal(status_with("POST", "/api/train", true, old), 403);
    assert_int_equal(serve_stop(&srv), 0);
}

/* ---- models that a key does not see ---- */

#define TALK "\"messages\": [{\"role\": \"user\", \"content\": \"a\"}]"

static bool names(const struct answer *a, const char *text) {
    return strstr(a->body.p, text) != NULL;
}

static void lists(const char *path, const char *headers) {
    struct answer a;
    ask(&srv, &a, "GET", path, headers, NULL);
    assert_int_equal(a.status, 200);
    if (!names(&a, "\"mine:latest\"") || !names(&a, "\"mine:big\""))
        fail_msg("%s: %s", path, a.body.p);
    if (names(&a, "secret") || names(&a, "team/mine")) fail_msg("%s: %s", path, a.body.p);
    answer_fini(&a);
}

static void hidden_models(void **state) {
    (void)state;
    static const struct {
        const char *method, *path, *body; /* %s: the model */
    } doors[] = {
        {"POST", "/api/generate", "{\"model\": \"%s\", \"prompt\": \"a\"}"},
        {"POST", "/api/generate", "{\"model\": \"%s\", \"keep_alive\": 0}"}, /* unload */
        {"POST", "/api/chat", "{\"model\": \"%s\", " TALK "}"},
        {"POST", "/api/embed", "{\"model\": \"%s\", \"input\": \"a\"}"},
        {"POST", "/api/embeddings", "{\"model\": \"%s\", \"prompt\": \"a\"}"},
        {"POST", "/api/tokenize", "{\"model\": \"%s\", \"text\": \"a\"}"},
        {"POST", "/api/detokenize", "{\"model\": \"%s\", \"tokens\": [1]}"},
        {"POST", "/api/apply-template", "{\"model\": \"%s\", " TALK "}"},
        {"POST", "/api/rerank", "{\"model\": \"%s\", \"query\": \"a\", \"documents\": [\"b\"]}"},
        {"POST", "/v1/rerank", "{\"model\": \"%s\", \"query\": \"a\", \"documents\": [\"b\"]}"},
        {"POST", "/v1/chat/completions", "{\"model\": \"%s\", " TALK "}"},
        {"POST", "/v1/completions", "{\"model\": \"%s\", \"prompt\": \"a\"}"},
        {"POST", "/v1/embeddings", "{\"model\": \"%s\", \"input\": \"a\"}"},
        {"POST", "/v1/responses", "{\"model\": \"%s\", \"input\": \"a\"}"},
        {"POST", "/v1/messages", "{\"model\": \"%s\", \"max_tokens\": 1, " TALK "}"},
        {"POST", "/v1/messages/count_tokens", "{\"model\": \"%s\", " TALK "}"},
        {"POST", "/api/show", "{\"model\": \"%s\"}"},
        {"POST", "/api/create", "{\"model\": \"%s\", \"from\": \"mine\"}"},
        {"POST", "/api/create", "{\"model\": \"mine:new\", \"from\": \"%s\"}"},
        {"POST", "/api/pull", "{\"model\": \"%s\"}"},
        {"POST", "/api/push", "{\"model\": \"%s\"}"},
        {"POST", "/api/copy", "{\"source\": \"%s\", \"destination\": \"mine:new\"}"},
        {"POST", "/api/copy", "{\"source\": \"mine\", \"destination\": \"%s\"}"},
        {"DELETE", "/api/delete", "{\"model\": \"%s\"}"},
        {"POST", "/api/train", "{\"model\": \"%s\", \"from\": \"mine\", \"data\": \"x\"}"},
        {"POST", "/api/train", "{\"model\": \"mine:new\", \"from\": \"%s\", \"data\": \"x\"}"},
    };
    /* Those that are there, and one that is not: the answer is the same. */
    static const char *const others[] = {"secret", "team/mine", "hub.example/a/secret:1",
                                         "SECRET:latest", "no-such"};
    const char *header = keys_add("some", ARGS("--role", "admin", "--models", "mine:*"));
    const char *all = keys_add("all", ARGS("--role", "admin"));
    struct answer a;
    start(NULL);
    lists("/api/tags", header);
    lists("/v1/models", header);
    char anthropic[300];
    snprintf(anthropic, sizeof anthropic, "%santhropic-version: 2023-06-01\r\n", header);
    lists("/v1/models", anthropic);
    for (size_t i = 0; i < sizeof doors / sizeof *doors; i++)
        for (size_t k = 0; k < sizeof others / sizeof *others; k++) {
            char body[300];
            snprintf(body, sizeof body, doors[i].body, others[k]); /* NOLINT */
            ask(&srv, &a, doors[i].method, doors[i].path, header, body);
            if (a.status != 403) fail_msg("%s %s: %d, %s", doors[i].path, body, a.status, a.body.p);
            assert_true(names(&a, "may not use model"));
            answer_fini(&a);
        }
    ask(&srv, &a, "GET", "/v1/models/secret", header, NULL);
    assert_int_equal(a.status, 403);
    answer_fini(&a);
    ask(&srv, &a, "GET", "/v1/models/mine", header, NULL);
    assert_int_equal(a.status, 200);
    answer_fini(&a);
    /* Loaded by another: not seen, not even as the one whose process is shared. */
    json_t *j;
    for (int i = 0; i < 2; i++) {
        ask(&srv, &a, "POST", "/api/generate", i ? header : all,
            i ? "{\"model\": \"mine\", \"prompt\": \"a\", \"options\": {\"num_predict\": 1}}"
              : "{\"model\": \"secret\", \"prompt\": \"a\", \"options\": {\"num_predict\": 1}}");
        assert_int_equal(a.status, 200);
        answer_fini(&a);
    }
    static const char *const loaded[] = {"/api/ps", "/metrics", "/api/stats"};
    for (int i = 0; i < 3; i++) {
        ask(&srv, &a, "GET", loaded[i], header, NULL);
        assert_int_equal(a.status, 200);
        assert_false(names(&a, "secret:latest"));
        answer_fini(&a);
    }
    ask(&srv, &a, "GET", "/api/tags", all, NULL);
    assert_true(names(&a, "secret") && names(&a, "team/mine"));
    j = answer_json(&a);
    assert_int_equal(json_array_size(json_object_get(j, "models")), 4); /* nothing was made */
    json_decref(j), answer_fini(&a);
    assert_int_equal(serve_stop(&srv), 0);
}

/* A chain gives nobody a model that the key may not use: the server's own passes it over, the
 * client's is refused. */
static void fallbacks(void **state) {
    (void)state;
    struct answer a;
    const char *header = keys_add("chained", ARGS("--models", "mine:*"));
    start("CRIA_FALLBACK=secret mine:big");
    ask(&srv, &a, "POST", "/api/generate", header,
        "{\"model\": \"mine:absent\", \"prompt\": \"a\", \"stream\": false, \"options\": "
        "{\"num_predict\": 1}}");
    if (a.status != 200) fail_msg("%d, %s", a.status, a.body.p);
    assert_true(names(&a, "mine:big"));
    assert_false(names(&a, "secret"));
    answer_fini(&a);
    ask(&srv, &a, "POST", "/api/generate", header,
        "{\"model\": \"mine:absent\", \"prompt\": \"a\", \"fallback\": [\"secret\"]}");
    assert_int_equal(a.status, 403);
    answer_fini(&a);
    ask(&srv, &a, "POST", "/api/generate", header, "{\"model\": \"secret\", \"prompt\": \"a\"}");
    assert_int_equal(a.status, 403); /* no other answers for it either */
    answer_fini(&a);
    assert_int_equal(serve_stop(&srv), 0);
}

/* ---- how a refusal looks ---- */

static void expect_error(const char *path, const char *header, const char *body, int status,
                         const char *type, const char *code) {
    struct answer a;
    ask(&srv, &a, "POST", path, header, body);
    if (a.status != status) fail_msg("%s: %d, %s", path, a.status, a.body.p);
    json_t *j = answer_json(&a), *e = json_object_get(j, "error");
    const char *t = json_string_value(json_object_get(e, "type"));
    const char *c = json_string_value(json_object_get(e, "code"));
    if (!type && !json_is_string(e)) fail_msg("%s: %s", path, a.body.p);
    if (type && (!t || strcmp(t, type) != 0)) fail_msg("%s: %s", path, a.body.p);
    if (code && (!c || strcmp(c, code) != 0)) fail_msg("%s: %s", path, a.body.p);
    json_decref(j), answer_fini(&a);
}

static void refusals(void **state) {
    (void)state;
    static const char chat[] = "{\"model\": \"secret\", \"max_tokens\": 1, " TALK "}";
    const char *few = keys_add("few", ARGS("--models", "mine"));
    const char *read = keys_add("reads", ARGS("--role", "read"));
    start(NULL);
    expect_error("/v1/chat/completions", NULL, chat, 401, "authentication_error",
                 "invalid_api_key");
    expect_error("/v1/messages", NULL, chat, 401, "authentication_error", NULL);
    expect_error("/api/chat", NULL, chat, 401, NULL, NULL);
    expect_error("/v1/chat/completions", read, chat, 403, "permission_error", NULL);
    expect_error("/v1/messages", read, chat, 403, "permission_error", NULL);
    expect_error("/api/chat", read, chat, 403, NULL, NULL);
    expect_error("/v1/chat/completions", few, chat, 403, "permission_error", "model_not_found");
    expect_error("/v1/messages", few, chat, 403, "permission_error", NULL);
    expect_error("/api/chat", few, chat, 403, NULL, NULL);
    assert_int_equal(serve_stop(&srv), 0);
}

/* Counters of others' keys are for those who watch, not for every key. */
static void metrics_by_key(void **state) {
    (void)state;
    struct answer a;
    const char *read = keys_add("watch", ARGS("--role", "read"));
    const char *use = keys_add("user", ARGS("--rpm", "1"));
    start(NULL);
    assert_int_equal(status_with("POST", "/api/chat", true, use), 400);
    assert_int_equal(status_with("POST", "/api/chat", true, use), 429);
    ask(&srv, &a, "GET", "/metrics", read, NULL);
    assert_true(names(&a, "\ncria_key_requests_total{key=\"user\"} 1\n"));
    assert_true(names(&a, "\ncria_key_refused_total{key=\"user\"} 1\n"));
    assert_true(names(&a, "\ncria_key_requests_now{key=\"user\"} 0\n"));
    answer_fini(&a);
    ask(&srv, &a, "GET", "/metrics", use, NULL);
    assert_int_equal(a.status, 200);
    assert_false(names(&a, "cria_key_"));
    answer_fini(&a);
    assert_int_equal(serve_stop(&srv), 0);
}

/* ---- turns ---- */

struct load {
    const char *header;
    int n_client;
    atomic_bool stop;
    atomic_int n_done, n_503;
    pthread_t thread[40];
};

static void *send_again(void *arg) {
    struct load *l = arg;
    while (!atomic_load(&l->stop)) {
        struct answer a;
        ask(&srv, &a, "POST", "/api/generate", l->header,
            "{\"model\": \"mine\", \"stream\": false, \"raw\": true, \"prompt\": \"hello\", "
            "\"options\": {\"num_predict\": 60, \"ignore_eos\": true}}");
        if (a.status == 200) atomic_fetch_add(&l->n_done, 1);
        if (a.status == 503) atomic_fetch_add(&l->n_503, 1), usleep(5000);
        answer_fini(&a);
    }
    return NULL;
}

static void load_start(struct load *l, const char *header, int n_client) {
    l->header = header;
    l->n_client = n_client;
    for (int i = 0; i < n_client; i++)
        assert_int_equal(pthread_create(&l->thread[i], NULL, send_again, l), 0);
}

static void load_stop(struct load *l) {
    atomic_store(&l->stop, true);
    for (int i = 0; i < l->n_client; i++)
        pthread_join(l->thread[i], NULL);
}

static void warm(const char *header) {
    struct answer a;
    ask(&srv, &a, "POST", "/api/generate", header, "{\"model\": \"mine\"}");
    assert_int_equal(a.status, 200);
    answer_fini(&a);
}

/* One asks with 24 clients, the other with 8: each gets about half. */
static void fair_between_keys(void **state) {
    (void)state;
    struct load many = {.n_client = 0}, few = {.n_client = 0};
    const char *a = keys_add("many", NULL), *b = keys_add("fewer", NULL);
    start("CRIA_NUM_PARALLEL=1");
    warm(a);
    load_start(&many, a, 24);
    load_start(&few, b, 8);
    usleep(SANITIZED ? 6000000 : 3000000);
    load_stop(&many), load_stop(&few);
    const int n = many.n_done + few.n_done;
    fprintf(stderr, "24 clients beside 8: %d and %d answers\n", many.n_done, few.n_done);
    assert_true(n > 20);
    if (few.n_done < n / 3 || few.n_done > n * 2 / 3) fail_msg("not half");
    assert_int_equal(serve_stop(&srv), 0);
}

/* The higher the class the more, however many clients there are in it; the lowest is not
 * forgotten.  Shares are exact where all wait always: test_scheduler, test_classes. */
static void classes(void **state) {
    (void)state;
    struct load l[3] = {{.n_client = 0}};
    static const char *const name[3] = {"low", "normal", "high"};
    const char *header[3];
    for (int i = 0; i < 3; i++) {
        char key[16];
        snprintf(key, sizeof key, "c-%s", name[i]);
        header[i] = keys_add(key, ARGS("--priority", name[i]));
    }
    start("CRIA_NUM_PARALLEL=1");
    warm(header[0]);
    for (int i = 0; i < 3; i++)
        load_start(&l[i], header[i], i == 0 ? 20 : 14);
    /* As many as it takes, however slow the machine is. */
    for (int i = 0; i < 400 && l[0].n_done + l[1].n_done + l[2].n_done < 210; i++)
        usleep(100000);
    for (int i = 0; i < 3; i++)
        load_stop(&l[i]);
    fprintf(stderr, "low, normal, high: %d, %d, %d answers\n", l[0].n_done, l[1].n_done,
            l[2].n_done);
    assert_true(l[2].n_done > 20);
    if (l[2].n_done <= l[1].n_done) fail_msg("high is not before normal");
    if (l[1].n_done <= l[0].n_done) fail_msg("normal is not before low");
    assert_true(l[0].n_done > 0);
    assert_int_equal(serve_stop(&srv), 0);
}

/* Who waits for another model to be loaded, while the only place is taken: a high priority passes
 * those that came a little earlier. */
struct waiter {
    const char *header, *model;
    int64_t end_ns;
    pthread_t thread;
};

static void *wait_for_model(void *arg) {
    struct waiter *w = arg;
    struct answer a;
    char body[200];
    snprintf(body, sizeof body,
             "{\"model\": \"%s\", \"prompt\": \"a\", \"stream\": false, \"options\": "
             "{\"num_predict\": 1}}",
             w->model);
    ask(&srv, &a, "POST", "/api/generate", w->header, body);
    w->end_ns = a.status == 200 ? os_now_ns() : 0;
    answer_fini(&a);
    return NULL;
}

static void loads_in_turns(void **state) {
    (void)state;
    struct wire w;
    struct answer a = {0};
    struct buf line = {0};
    struct waiter t[3] = {{keys_add("l-low", ARGS("--priority", "low")), "w:low", 0, 0},
                          {keys_add("l-normal", NULL), "w:normal", 0, 0},
                          {keys_add("l-high", ARGS("--priority", "high")), "w:high", 0, 0}};
    const char *holds = keys_add("holds", NULL);
    shop_gguf(&keyed.shop, "w:low", golden("models/gemma3.gguf"), NULL);
    shop_gguf(&keyed.shop, "w:normal", golden("models/phi3-4k.gguf"), NULL);
    shop_gguf(&keyed.shop, "w:high", golden("train/models/llama-untied.gguf"), NULL);
    start("CRIA_MAX_LOADED_MODELS=1");
    wire_open(&w, &srv);
    wire_ask(&w, "POST", "/api/generate", holds,
             "{\"model\": \"mine\", \"raw\": true, \"prompt\": \"hello\", \"options\": "
             "{\"num_predict\": 1000000, \"ignore_eos\": true, \"num_keep\": 4}}");
    assert_true(wire_head(&w, &a, 60) && a.status == 200);
    assert_int_equal(wire_line(&w, &line, 60), 1);
    for (int i = 0; i < 3; i++) {
        assert_int_equal(pthread_create(&t[i].thread, NULL, wait_for_model, &t[i]), 0);
        usleep(200000);
    }
    wire_close(&w);
    for (int i = 0; i < 3; i++) {
        pthread_join(t[i].thread, NULL);
        assert_true(t[i].end_ns > 0);
    }
    assert_true(t[2].end_ns < t[1].end_ns);
    assert_true(t[1].end_ns < t[0].end_ns);
    answer_fini(&a), buf_fini(&line);
    assert_int_equal(serve_stop(&srv), 0);
    const char *const made[] = {"w:low", "w:normal", "w:high"};
    for (int i = 0; i < 3; i++)
        assert_int_equal(shop_remove(&keyed.shop, made[i]), 0);
}

/* One key does not fill the queue: there is room for another. */
static void room_in_the_queue(void **state) {
    (void)state;
    struct load many = {.n_client = 0}, few = {.n_client = 0};
    const char *a = keys_add("flood", NULL), *b = keys_add("small", NULL);
    serve_start(&srv, NULL,
                ARGS(keyed.set, keyed.ring.setting, "CRIA_NUM_PARALLEL=1", "CRIA_MAX_QUEUE=8"));
    warm(a);
    load_start(&many, a, 30);
    usleep(300000);
    load_start(&few, b, 2);
    usleep(SANITIZED ? 4000000 : 2000000);
    load_stop(&many), load_stop(&few);
    fprintf(stderr, "a queue of 8: 30 clients got %d and %d times 503, 2 others %d and %d\n",
            many.n_done, many.n_503, few.n_done, few.n_503);
    assert_true(many.n_503 > 0);
    assert_int_equal(few.n_503, 0);
    assert_true(few.n_done > 5);
    assert_int_equal(serve_stop(&srv), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_route_and_role),
        cmocka_unit_test(roles_together),
        cmocka_unit_test(hidden_models),
        cmocka_unit_test(fallbacks),
        cmocka_unit_test(refusals),
        cmocka_unit_test(metrics_by_key),
        cmocka_unit_test(fair_between_keys),
        cmocka_unit_test(classes),
        cmocka_unit_test(loads_in_turns),
        cmocka_unit_test(room_in_the_queue),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, open_all, close_all);
}
