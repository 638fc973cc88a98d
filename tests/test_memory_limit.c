/* `cria serve` under OLLAMA_MEMORY: models that fit, that fit only alone or with a smaller context,
 * and one that never does, asked for by four clients at once in every way that takes memory.  Held
 * against the limit is what the front and its children have resident together, mapped files
 * included; what two of them share counts twice.  Every answer is a good one or a refusal with the
 * numbers, and what was planned for a model is what it then takes.
 *
 * `make test`: small shapes under 240m; `make memory-campaign` (CRIA_CAMPAIGN=1): 0.5B to 8B under
 * 4g, with the figures.  An argument is a filter of tests: test_memory_limit 'mixed*'. */
#include "models_rig.h"
#include "serve_rig.h"

#include <ctype.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "server/server.h"

/* ---- the two sizes of this test ---- */

struct shape_of {
    const char *name, *shape, *type; /* as mkmodel knows them */
    int n_long;                      /* tokens of a long prompt */
    int n_large;                     /* a context that is asked for, too large for some */
    int n_full;                      /* a context that is filled; 0: none is */
};

struct scale {
    const char *limit;
    uint64_t limit_bytes;
    struct shape_of model[5];
    int n_model, shrinks; /* the one whose usual context does not fit */
    uint64_t never_bytes;
    const char *order; /* of the models, over and over */
    int n_request, n_request_q8;
};

static const struct scale brief = {
    .limit = "240m",
    .limit_bytes = 240 << 20,
    .model = {{"deep", "tiny-cache", "Q4_K_M", 1300, 8192, 2200},
              {"deeper", "tiny-cache", "Q8_0", 700, 4096, 0},
              {"tiny", "tiny", "Q8_0", 500, 4096, 1000}},
    .n_model = 3,
    .shrinks = 0,
    .never_bytes = 241 << 20,
    .order = "02101020120",
    .n_request = 40,
    .n_request_q8 = 16,
};

static const struct scale whole = {
    .limit = "4g",
    .limit_bytes = (uint64_t)4 << 30,
    .model = {{"half", "qwen2.5-0.5b", "Q4_K_M", 1500, 32768, 2000},
              {"one", "llama3.2-1b", "Q4_K_M", 800, 131072, 1000},
              {"three", "llama3.2-3b", "Q4_K_M", 400, 65536, 500},
              {"eight", "llama3.1-8b", "Q3_K_S", 150, 32768, 0},
              {"tiny", "tiny", "Q8_0", 1000, 4096, 0}},
    .n_model = 5,
    .shrinks = 3,
    .never_bytes = (uint64_t)8540 << 20, /* of an 8B model as Q8_0 */
    .order = "01204102140210201340",
    .n_request = 200,
    .n_request_q8 = 60,
};

static const struct scale *scale;
static struct shop shop;
static struct serve srv;
static char models_set[700];

/* ---- helpers ---- */

static void start(const char *a, const char *b) {
    char limit[64];
    snprintf(limit, sizeof limit, "OLLAMA_MEMORY=%s", scale->limit);
    const char *set[] = {models_set, limit, a, b, NULL};
    serve_start(&srv, NULL, a ? set : (const char *const[]){models_set, limit, NULL});
}

static void stop(void) {
    assert_int_equal(serve_stop(&srv), 0);
}

static double metric(const char *name) {
    struct answer a;
    char line[80];
    ask(&srv, &a, "GET", "/metrics", NULL, NULL);
    snprintf(line, sizeof line, "\ncria_%s ", name);
    const char *at = strstr(a.body.p, line);
    const double v = at ? atof(at + strlen(line)) : -1;
    answer_fini(&a);
    if (v < 0) fail_msg("no metric %s", name);
    return v;
}

static void put_words(struct buf *b, int n, int salt) {
    buf_printf(b, "%d", salt);
    for (int k = 0; k < n; k++)
        buf_printf(b, " %d", (k * 7919 + salt) % 97);
}

/* Tokens of 100 words: vocabularies differ. */
static int tokens_of_100(const char *model) {
    struct buf b = {0};
    put_words(&b, 100, 7);
    json_t *j = ask_json(&srv, "POST", "/api/tokenize", 200,
                         "{\"model\": \"%s\", \"content\": \"%s\"}", model, b.p);
    const int n = (int)json_array_size(json_object_get(j, "tokens"));
    json_decref(j), buf_fini(&b);
    assert_true(n >= 100);
    return n;
}

/* The loaded one of that name, borrowed from /api/ps in *all (json_decref); NULL. */
static json_t *loaded(const char *name, json_t **all) {
    json_t *v;
    size_t i;
    char full[80];
    snprintf(full, sizeof full, "%s:latest", name);
    *all = ask_json(&srv, "GET", "/api/ps", 200, "%s", "");
    json_array_foreach(json_object_get(*all, "models"), i,
                       v) if (strcmp(json_string_value(json_object_get(v, "name")), full) ==
                              0) return v;
    return NULL;
}

static int64_t integer_of(const json_t *o, const char *key) {
    return json_integer_value(json_object_get(o, key));
}

/* ---- refusals ---- */

/* The numbers before " MB". */
static int megabytes(const char *text, double *v, int max) {
    int n = 0;
    for (const char *p = text; n < max && (p = strstr(p, " MB")); p += 3) {
        const char *d = p;
        while (d > text && (isdigit((unsigned char)d[-1]) || d[-1] == '.'))
            d--;
        if (d < p) v[n++] = atof(d);
    }
    return n;
}

/* What is needed, and what there is: less, and no more than the front leaves of the limit. */
static bool has_numbers(const char *text) {
    double v[3];
    return strstr(text, " needs ") && megabytes(text, v, 3) == 2 && v[0] > v[1] &&
           v[1] * 1e6 < (double)(scale->limit_bytes - SERVER_OWN_BYTES) + 1e5;
}

/* The context that it says would fit; 0: it does not. */
static int would_fit(const char *text) {
    const char *end = strstr(text, " tokens would fit"), *p = end;
    while (p && p > text && isdigit((unsigned char)p[-1]))
        p--;
    return end ? atoi(p) : 0;
}

/* ---- four clients ---- */

enum way { SHORT, CHAT, EMBED, LONG, LITTLE, LARGE, UNLOAD, STREAM, OPENAI, NEVER, N_WAY };
enum { N_CLIENT = 4 };

static atomic_int n_next, n_good, n_refused, n_large_refused, n_bad;
static atomic_bool watching;
static int n_request, per_100[5];

static const char *keep_alive(int i) {
    return i % 7 == 6 ? ", \"keep_alive\": 0" : i % 5 == 2 ? ", \"keep_alive\": \"1h\"" : "";
}

/* The request; returns its path. */
static const char *put_request(struct buf *b, enum way way, const struct shape_of *m, int i) {
    static const char *const path[N_WAY] = {
        [CHAT] = "/api/chat", [EMBED] = "/api/embed", [OPENAI] = "/v1/chat/completions"};
    const bool chat = way == CHAT || way == OPENAI;
    int n_word = 10;
    if (way == LONG) n_word = (int)((int64_t)m->n_long * 100 / per_100[m - scale->model]);
    if (way == LONG && SANITIZED) n_word /= 8;
    buf_printf(b, "{\"model\": \"%s\"%s, ", way == NEVER ? "never" : m->name,
               way == OPENAI ? "" : keep_alive(i));
    if (way == UNLOAD) {
        b->n = 0;
        buf_printf(b, "{\"model\": \"%s\", \"keep_alive\": 0}", m->name);
        return "/api/generate";
    }
    buf_str(b, chat           ? "\"messages\": [{\"role\": \"user\", \"content\": \""
               : way == EMBED ? "\"input\": \""
                              : "\"raw\": true, \"prompt\": \"");
    put_words(b, n_word, i);
    buf_str(b, chat ? "\"}]" : "\"");
    if (way == OPENAI) {
        buf_str(b, ", \"max_tokens\": 4}");
        return path[way];
    }
    if (way != EMBED) buf_printf(b, ", \"stream\": %s", way == STREAM ? "true" : "false");
    buf_str(b, ", \"options\": {");
    if (way == LITTLE || way == LARGE)
        buf_printf(b, "\"num_ctx\": %d, ", way == LARGE ? m->n_large : 512);
    buf_str(b, way == EMBED ? "\"seed\": 1}}" : "\"num_predict\": 4}}");
    return path[way] ? path[way] : "/api/generate";
}

static bool is_good(enum way way, const struct answer *a) {
    if (a->status != 200 || !a->whole || way == NEVER) return false;
    if (way == STREAM) return strstr(a->body.p, "\"done\":true") && !strstr(a->body.p, "\"error\"");
    return true;
}

static void *mixed(void *arg) {
    const int n_order = (int)strlen(scale->order);
    (void)arg;
    for (int i; (i = atomic_fetch_add(&n_next, 1)) < n_request;) {
        const struct shape_of *m = &scale->model[scale->order[i % n_order] - '0'];
        const enum way way = (enum way)((i * 3 + i / n_order) % N_WAY);
        struct answer a;
        struct buf b = {0};
        const char *path = put_request(&b, way, m, i);
        ask(&srv, &a, "POST", path, NULL, b.p);
        const bool good = is_good(way, &a);
        /* Nobody is refused for what another one asked for. */
        const bool refused = (way == NEVER || (way == LARGE && would_fit(a.body.p) > 0)) &&
                             a.status == 500 && has_numbers(a.body.p);
        if (good) atomic_fetch_add(&n_good, 1);
        if (refused) atomic_fetch_add(&n_refused, 1);
        if (refused && way == LARGE) atomic_fetch_add(&n_large_refused, 1);
        if (!good && !refused) {
            atomic_fetch_add(&n_bad, 1);
            print_message("%s %.120s: %d %.300s\n", path, b.p, a.status, a.body.p);
        }
        if (in_campaign() && i % 20 == 19) fprintf(stderr, "%d requests\n", i + 1);
        answer_fini(&a), buf_fini(&b);
    }
    return NULL;
}

struct peak {
    size_t all, front, children; /* front: when it was largest by itself */
    int n_look;
};

static void *watch(void *arg) {
    struct peak *p = arg;
    while (atomic_load(&watching)) {
        size_t children;
        const size_t front = serve_rss_bytes(&srv);
        serve_children(&srv, NULL, 0, &children);
        if (front > p->front) p->front = front;
        if (children > p->children) p->children = children;
        if (front + children > p->all) p->all = front + children;
        p->n_look++;
        usleep(in_campaign() ? 20000 : 4000);
    }
    return NULL;
}

static void mixed_requests(const char *kv_type, int n) {
    char type[64];
    pthread_t t[N_CLIENT], watcher;
    struct peak peak = {0};
    atomic_int *const count[] = {&n_next, &n_good, &n_refused, &n_large_refused, &n_bad};
    for (size_t i = 0; i < sizeof count / sizeof *count; i++)
        atomic_store(count[i], 0);
    n_request = n;
    snprintf(type, sizeof type, "CRIA_KV_CACHE_TYPE=%s", kv_type);
    start(type, "OLLAMA_MAX_LOADED_MODELS=8");
    for (int i = 0; i < scale->n_model; i++)
        per_100[i] = tokens_of_100(scale->model[i].name);
    const int64_t t0 = os_now_ns();
    atomic_store(&watching, true);
    pthread_create(&watcher, NULL, watch, &peak);
    for (int i = 0; i < N_CLIENT; i++)
        pthread_create(&t[i], NULL, mixed, NULL);
    for (int i = 0; i < N_CLIENT; i++)
        pthread_join(t[i], NULL);
    atomic_store(&watching, false);
    pthread_join(watcher, NULL);
    const double limit = (double)scale->limit_bytes;
    const double n_load = metric("model_loads_total"), n_gone = metric("model_evictions_total");
    campaign_say(
        "OLLAMA_MEMORY=%s, cache %s: %d requests of %d clients in %.0f s, %.0f loads, %.0f "
        "evictions; %d answered, %d refused with the numbers (%d a context that was asked for); "
        "resident at the peak %.1f MiB of %.1f (%.1f %%), children %.1f, front %.1f; %d looks",
        scale->limit, kv_type, n, N_CLIENT, (double)(os_now_ns() - t0) * 1e-9, n_load, n_gone,
        atomic_load(&n_good), atomic_load(&n_refused), atomic_load(&n_large_refused),
        (double)peak.all / (1 << 20), limit / (1 << 20), 100 * (double)peak.all / limit,
        (double)peak.children / (1 << 20), (double)peak.front / (1 << 20), peak.n_look);
    assert_int_equal(atomic_load(&n_bad), 0);
    assert_int_equal(atomic_load(&n_good) + atomic_load(&n_refused), n);
    assert_true(atomic_load(&n_good) > n / 2);
    assert_true(metric("model_crashes_total") == 0);
    assert_true(n_gone > 0);
    if (!SANITIZED && (double)peak.all > limit) fail_msg("%zu bytes at the peak", peak.all);
    if (!SANITIZED && peak.front > SERVER_OWN_BYTES) fail_msg("front: %zu bytes", peak.front);
    if (!SANITIZED && (double)peak.all < limit * 0.4) fail_msg("%zu bytes only", peak.all);
    stop();
}

static void mixed_f16(void **state) {
    (void)state;
    mixed_requests("f16", SANITIZED ? scale->n_request / 2 : scale->n_request);
    assert_true(atomic_load(&n_large_refused) > 0);
}

static void mixed_q8(void **state) {
    (void)state;
    mixed_requests("q8_0", SANITIZED ? scale->n_request_q8 / 2 : scale->n_request_q8);
}

/* ---- the rule ---- */

static json_t *generate(const char *model, int num_ctx, int status) {
    return ask_json(&srv, "POST", "/api/generate", status,
                    "{\"model\": \"%s\", \"prompt\": \"1 2 3\", \"raw\": true, \"stream\": false, "
                    "\"options\": {\"num_ctx\": %d, \"num_predict\": 1}}",
                    model, num_ctx);
}

static int refused_ctx(const char *model, int num_ctx) {
    json_t *j = generate(model, num_ctx, 500);
    const char *why = json_string_value(json_object_get(j, "error"));
    const int fits = would_fit(why);
    if (!has_numbers(why) || fits <= 0 || fits >= num_ctx) fail_msg("%s", why);
    campaign_say("%s", why);
    json_decref(j);
    return fits;
}

/* Left open it is smaller; asked for it is refused with what would fit, and that fits. */
static void contexts(void **state) {
    (void)state;
    const struct shape_of *m = &scale->model[scale->shrinks];
    json_t *all;
    start(NULL, NULL);
    json_decref(ask_json(&srv, "POST", "/api/generate", 200,
                         "{\"model\": \"%s\", \"prompt\": \"1\", \"raw\": true, \"stream\": false, "
                         "\"options\": {\"num_predict\": 1}}",
                         m->name));
    const json_t *one = loaded(m->name, &all);
    assert_non_null(one);
    assert_true(json_is_true(json_object_get(one, "context_reduced")));
    const int open = (int)integer_of(one, "context_length");
    assert_true(open >= 2048 && open < 4096);
    json_decref(all);
    const int fits = refused_ctx(m->name, m->n_large);
    campaign_say("%s: context %d when it is left open; of %d it says that %d would fit", m->name,
                 open, m->n_large, fits);
    assert_true(fits >= open && fits < open + 512);
    json_decref(generate(m->name, fits, 200));
    one = loaded(m->name, &all);
    assert_true(one && integer_of(one, "context_length") >= fits);
    json_decref(all);
    assert_int_equal(refused_ctx(m->name, fits + 256), fits);
    stop();
}

/* Nobody makes room for what never fits. */
static void never(void **state) {
    (void)state;
    json_t *all;
    start("OLLAMA_MAX_LOADED_MODELS=1", "OLLAMA_KEEP_ALIVE=1h");
    json_decref(generate("tiny", 512, 200));
    for (int i = 0; i < 2; i++) {
        json_t *j = generate("never", 512, 500);
        const char *why = json_string_value(json_object_get(j, "error"));
        if (!has_numbers(why)) fail_msg("%s", why);
        if (i == 0) campaign_say("%s", why);
        json_decref(j);
    }
    assert_non_null(loaded("tiny", &all));
    json_decref(all);
    assert_true(metric("model_evictions_total") == 0);
    stop();
}

/* ---- the plan ---- */

/* With its context all but full the process takes what was planned. */
static void plan_of(const struct shape_of *m) {
    char context[64];
    struct buf words = {0};
    json_t *all;
    size_t used = 0;
    snprintf(context, sizeof context, "OLLAMA_CONTEXT_LENGTH=%d", m->n_full);
    start("OLLAMA_NUM_PARALLEL=1", context);
    put_words(&words, (m->n_full - 16) * 98 / tokens_of_100(m->name), 7);
    json_decref(ask_json(&srv, "POST", "/api/generate", 200,
                         "{\"model\": \"%s\", \"prompt\": \"%s\", \"raw\": true, \"stream\": "
                         "false, \"options\": {\"num_predict\": 4}}",
                         m->name, words.p));
    assert_int_equal(serve_children(&srv, NULL, 0, &used), 1);
    const json_t *one = loaded(m->name, &all);
    assert_non_null(one);
    assert_int_equal(integer_of(one, "context_length"), m->n_full);
    const double planned = (double)integer_of(one, "size"), more = (double)used / planned - 1;
    /* Room for rows of logits that one prompt does not ask for (memory.c), and two pages of the
     * cache for a context that shifts. */
    const double least = planned * 0.94 - (in_campaign() ? 64 << 20 : 2 << 20);
    campaign_say("%s: %.1f MB planned with a context of %d, %.1f MB used: %+.1f %%", m->name,
                 planned * 1e-6, m->n_full, (double)used * 1e-6, 100 * more);
    if (more > 0.02 || (double)used < least)
        fail_msg("%s: %.1f MB planned, %.1f used", m->name, planned * 1e-6, (double)used * 1e-6);
    json_decref(all), buf_fini(&words);
    stop();
}

static void as_planned(void **state) {
    (void)state;
    if (SANITIZED) return; /* a sanitizer's own memory is in no plan */
    for (int i = 0; i < scale->n_model; i++)
        if (scale->model[i].n_full) plan_of(&scale->model[i]);
}

/* ---- large requests ---- */

/* What they take while they are read is given back: of many no more stays than of one. */
static void given_back(void **state) {
    (void)state;
    enum { BYTES = 8 << 20 };
    struct buf b = {0};
    size_t child[3], front[3];
    if (SANITIZED) return; /* its allocator keeps what is freed, to see who uses it */
    start("OLLAMA_KEEP_ALIVE=1h", NULL);
    json_decref(generate("tiny", 512, 200));
    buf_str(&b, "{\"model\": \"tiny\", \"raw\": true, \"stream\": false, \"options\": "
                "{\"num_predict\": 1}, \"prompt\": \"");
    while (b.n < BYTES)
        buf_str(&b, "1 22 333 ");
    buf_str(&b, "\"}");
    for (int i = 0; i < 3; i++) {
        struct answer a;
        front[i] = serve_rss_bytes(&srv);
        serve_children(&srv, NULL, 0, &child[i]);
        if (i == 2) break;
        ask(&srv, &a, "POST", "/api/generate", NULL, b.p);
        assert_true(a.status == 200 || a.status == 400);
        answer_fini(&a);
    }
    campaign_say("after requests of %d MiB: front %+.1f and %+.1f MiB, child %+.1f and %+.1f",
                 BYTES >> 20, ((double)front[1] - (double)front[0]) / (1 << 20),
                 ((double)front[2] - (double)front[1]) / (1 << 20),
                 ((double)child[1] - (double)child[0]) / (1 << 20),
                 ((double)child[2] - (double)child[1]) / (1 << 20));
    if (front[2] > front[0] + BYTES * 3 / 2) fail_msg("front: %zu bytes", front[2]);
    if (child[2] > child[0] + BYTES * 5 / 2) fail_msg("child: %zu bytes", child[2]);
    stop();
    buf_fini(&b);
}

/* ---- the setting ---- */

static void names_of_the_limit(void **state) {
    (void)state;
    static const char *const set[][2] = {
        {"OLLAMA_MEMORY=4g", NULL},
        {"OLLAMA_MEMORY=4GiB", NULL},
        {"OLLAMA_MEMORY=4096m", NULL},
        {"OLLAMA_MEMORY=4294967296", NULL},
        {"CRIA_MEMORY=4GB", "OLLAMA_MEMORY=1g"},
    };
    for (size_t i = 0; i < sizeof set / sizeof *set; i++) {
        serve_start(&srv, NULL, (const char *const[]){set[i][0], set[i][1], NULL});
        assert_true(metric("memory_limit_bytes") == 4294967296.0);
        stop();
    }
    struct buf said = {0};
    assert_int_equal(serve_fails(NULL, (const char *const[]){"OLLAMA_MEMORY=4 gigs", NULL}, &said),
                     2);
    assert_non_null(strstr(said.p, "CRIA_MEMORY"));
    buf_fini(&said);
}

/* ---- */

/* In a folder that stays, as the benchmarks' models do: they take minutes. */
static void make_model(const struct shape_of *m) {
    struct ran r = {0};
    char path[900], tool[700];
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    const int n = (int)(strlen(cria) - strlen("cria")); /* it stands beside the tools */
    snprintf(tool, sizeof tool, "%.*stools/mkmodel", n, cria);
    snprintf(path, sizeof path, "%.*sbench", n, cria);
    if (in_campaign()) mkdir(path, 0755);
    snprintf(path, sizeof path, in_campaign() ? "%.*sbench/%s-%s.gguf" : "%.*s/%s-%s.gguf",
             in_campaign() ? n : (int)strlen(shop.dir), in_campaign() ? cria : shop.dir, m->shape,
             m->type);
    const char *const args[] = {m->shape, path, "--type", m->type, NULL};
    if (access(path, F_OK) != 0 && run_program(&r, tool, args, NULL, 0, 600) != 0)
        fail_msg("%s", r.err.p);
    ran_fini(&r);
    shop_link(&shop, m->name, path);
}

/* A model's beginning, and then nothing. */
static void make_never(void) {
    char path[700];
    size_t n;
    uint8_t *bytes = slurp(golden("models/llama32.gguf"), &n);
    snprintf(path, sizeof path, "%s/never.gguf", shop.dir);
    FILE *f = fopen(path, "we");
    assert_non_null(f);
    assert_int_equal(fwrite(bytes, 1, n, f), n);
    fclose(f);
    assert_int_equal(truncate(path, (off_t)scale->never_bytes), 0);
    shop_link(&shop, "never", path);
    free(bytes);
}

static int set_up(void **state) {
    (void)state;
    shop_open(&shop);
    snprintf(models_set, sizeof models_set, "CRIA_MODELS=%s", shop.root);
    for (int i = 0; i < scale->n_model; i++)
        make_model(&scale->model[i]);
    make_never();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    shop_close(&shop);
    return 0;
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(names_of_the_limit),
        cmocka_unit_test(contexts),
        cmocka_unit_test(never),
        cmocka_unit_test(as_planned),
        cmocka_unit_test(given_back),
        cmocka_unit_test(mixed_f16),
        cmocka_unit_test(mixed_q8),
    };
    scale = in_campaign() ? &whole : &brief;
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
