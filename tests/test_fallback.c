/* Models that stand in for others, under `cria serve` with real engine children: every cause, in
 * every dialect, whole and as a stream; what is told of it; what never falls back; breakers; and a
 * target on another host. */
#include "fallback_rig.h"
#include "hostile.h"
#include "models_rig.h"
#include "rewrite.h"

#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"
#include "policy/breaker.h"

static struct shop shop;
static struct serve srv;
static char models_set[700];
static struct fb_said own[2][FB_N_ROUTE]; /* what first and second say themselves */

enum { N_TOKEN = 8 };

static void start(const char *a, const char *b, const char *c) {
    const char *set[] = {models_set, a, a ? b : NULL, b ? c : NULL, NULL};
    serve_start(&srv, NULL, set);
}

static void stop(void) {
    assert_int_equal(serve_stop(&srv), 0);
}

static void make_models(void) {
    enum { BIG = 64 << 20 };
    fb_shop_open(&shop, 2, models_set);
    shop_gguf(&shop, "embedder", golden("models/bert.gguf"), NULL);
    shop_model(&shop, "corrupt", "GGUF and no more", 16, NULL, NULL);
    char *zeros = calloc(BIG, 1);
    shop_model(&shop, "big", zeros, BIG, NULL, NULL);
    free(zeros);
}

static int set_up(void **state) {
    (void)state;
    static const char *const name[] = {"first", "second"};
    make_models();
    start(NULL, NULL, NULL);
    for (int m = 0; m < 2; m++)
        for (int k = 0; k < FB_N_ROUTE; k++) {
            fb_ask(&srv, k, name[m], false, N_TOKEN, "", &own[m][k]);
            assert_int_equal(own[m][k].status, 200);
            assert_string_equal(own[m][k].model, name[m]);
            assert_true(own[m][k].text.n > 0);
        }
    /* Whose answer it is can be seen. */
    for (int k = 0; k < FB_N_ROUTE; k++)
        assert_string_not_equal(own[0][k].text.p, own[1][k].text.p);
    return serve_stop(&srv);
}

static int tear_down(void **state) {
    (void)state;
    for (int m = 0; m < 2; m++)
        for (int k = 0; k < FB_N_ROUTE; k++)
            fb_fini(&own[m][k]);
    shop_close(&shop);
    return 0;
}

/* ---- what an answer must be ---- */

/* second answers for another, and says why. */
static void by_second(const struct fb_said *s, int route, const char *reason) {
    char header[100];
    snprintf(header, sizeof header, "second; reason=%s", reason);
    if (s->status != 200 || *s->error) fail_msg("%s: %d %s", fb_path[route], s->status, s->error);
    assert_string_equal(s->model, "second");
    assert_string_equal(s->reason, reason);
    assert_string_equal(s->header, header);
    assert_string_equal(s->text.p, own[1][route].text.p);
    assert_true(s->last);
}

/* The model that was asked answers, and nothing is said of others. */
static void by_itself(const struct fb_said *s, int route, int which) {
    if (s->status != 200 || *s->error) fail_msg("%s: %d %s", fb_path[route], s->status, s->error);
    assert_string_equal(s->model, which ? "second" : "first");
    assert_string_equal(s->reason, "");
    assert_string_equal(s->header, "");
    assert_string_equal(s->text.p, own[which][route].text.p);
}

static void ask_second_for(const char *model, int route, bool stream, const char *more,
                           const char *reason) {
    struct fb_said s;
    fb_ask(&srv, route, model, stream, N_TOKEN, more, &s);
    by_second(&s, route, reason);
    fb_fini(&s);
}

#define BY_SECOND ",\"fallback\":[\"second\"]"
/* So long a first token may take: the second is there in time on a slow machine, too. */
static const char *const in_time = SANITIZED ? BY_SECOND ",\"first_token_timeout\":\"2500ms\""
                                             : BY_SECOND ",\"first_token_timeout\":\"300ms\"";

static void everywhere(const char *model, const char *more, const char *reason) {
    for (int k = 0; k < FB_N_ROUTE; k++) {
        ask_second_for(model, k, false, more, reason);
        ask_second_for(model, k, true, more, reason);
    }
}

/* ---- causes ---- */

static void missing(void **state) {
    (void)state;
    struct fb_said s;
    start(NULL, NULL, NULL);
    everywhere("nobody", BY_SECOND, "missing");
    everywhere("nobody", ",\"fallback\":[\"nobody2\",\"second\"]", "missing");
    /* The chunk with the sums is the last one of a stream then. */
    fb_ask(&srv, FB_OPENAI, "nobody", true, N_TOKEN,
           BY_SECOND ",\"stream_options\":{\"include_usage\":true}", &s);
    by_second(&s, FB_OPENAI, "missing");
    fb_fini(&s);
    assert_int_equal(fb_metric(&srv, "fallbacks_total{reason=\"missing\"}"), 37);
    assert_int_equal(fb_metric(&srv, "fallback_requests_total{outcome=\"answered\"}"), 25);
    assert_int_equal(serve_lines(&srv, "\"fallback\":\"missing\"", "\"model\":\"second", 25), 25);
    stop();
}

static void by_settings(void **state) {
    (void)state;
    struct fb_said s;
    struct answer a;
    start("CRIA_FALLBACK=second, first", "CRIA_BREAKER_FAILURES=0", NULL);
    everywhere("nobody", "", "missing");
    everywhere("corrupt", "", "corrupt");
    fb_ask(&srv, FB_CHAT, "second", false, N_TOKEN, "", &s); /* it is not its own fallback */
    by_itself(&s, FB_CHAT, 1);
    fb_fini(&s);
    fb_ask(&srv, FB_CHAT, "nobody", false, N_TOKEN, ",\"fallback\":[]", &s);
    assert_int_equal(s.status, 404);
    assert_string_equal(s.error, "model \"nobody\" not found, try pulling it first");
    fb_fini(&s);
    /* Vectors and tokens of another model mean something else. */
    static const char *const never[][2] = {
        {"/api/embed", "{\"model\":\"nobody\",\"input\":\"a\"}"},
        {"/api/tokenize", "{\"model\":\"nobody\",\"text\":\"a\"}"},
        {"/v1/embeddings", "{\"model\":\"nobody\",\"input\":\"a\"}"},
        {"/api/generate", "{\"model\":\"nobody\"}"}, /* to load it */
    };
    for (size_t i = 0; i < sizeof never / sizeof *never; i++) {
        ask(&srv, &a, "POST", never[i][0], NULL, never[i][1]);
        assert_int_equal(a.status, 404);
        answer_fini(&a);
    }
    stop();
}

static void out_of_memory(void **state) {
    (void)state;
    start("CRIA_MEMORY=64m", "CRIA_BREAKER_FAILURES=0", NULL);
    everywhere("big", BY_SECOND, "out_of_memory");
    stop();
}

static void unload(const char *model) {
    json_decref(
        ask_json(&srv, "POST", "/api/generate", 200, "{\"model\":\"%s\",\"keep_alive\":0}", model));
}

/* The limit gets shorter when the second is there already. */
static void load_deadline(void **state) {
    (void)state;
    char path[700], set[720];
    snprintf(path, sizeof path, "%s/limits.conf", shop.dir);
    FILE *f = fopen(path, "w");
    fputs("LOAD_TIMEOUT=5m\n", f), fclose(f);
    snprintf(set, sizeof set, "CRIA_CONFIG=%s", path);
    start(set, "CRIA_KEEP_ALIVE=1h", "CRIA_BREAKER_FAILURES=0");
    struct fb_said s;
    fb_ask(&srv, FB_CHAT, "second", false, N_TOKEN, "", &s);
    fb_fini(&s);
    f = fopen(path, "w");
    fputs("LOAD_TIMEOUT=1ms\n", f), fclose(f);
    serve_signal(&srv, SIGHUP);
    assert_int_equal(serve_lines(&srv, "settings were read again", "", 1), 1);
    for (int i = 0, n_try = 0; i < 2 * FB_N_ROUTE; n_try++) {
        fb_ask(&srv, i / 2, "first", i & 1, N_TOKEN, BY_SECOND, &s);
        if (*s.reason) {
            by_second(&s, i / 2, "load_timeout");
            i++;
        } else { /* it was there in no time */
            assert_int_equal(s.status, 200);
            unload("first");
        }
        fb_fini(&s);
        assert_true(n_try < 200);
    }
    stop();
}

/* The child of the model, the only one that is loaded. */
static pid_t child_of(const char *model) {
    struct fb_said s;
    pid_t pid[2];
    fb_ask(&srv, FB_GENERATE, model, false, 1, ",\"fallback\":[],\"first_token_timeout\":60", &s);
    assert_int_equal(s.status, 200);
    fb_fini(&s);
    assert_int_equal(serve_children(&srv, pid, 2, NULL), 1);
    return pid[0];
}

static void load_second(void) {
    struct fb_said s;
    fb_ask(&srv, FB_GENERATE, "second", false, 1, ",\"first_token_timeout\":60", &s);
    assert_int_equal(s.status, 200);
    fb_fini(&s);
    WAIT_UNTIL(fb_metric(&srv, "requests_running") == 0);
}

static void first_token(void **state) {
    (void)state;
    struct fb_said s;
    start("CRIA_BREAKER_FAILURES=0", "CRIA_KEEP_ALIVE=1h", "CRIA_NUM_PARALLEL=4");
    const pid_t pid = child_of("first");
    load_second();
    kill(pid, SIGSTOP); /* it hangs, and never says that it has given up either */
    everywhere("first", in_time, "first_token_timeout");
    fb_ask(&srv, FB_CHAT, "first", true, N_TOKEN, ",\"first_token_timeout\":0.1", &s);
    assert_int_equal(s.status, 504);
    assert_string_equal(s.error, "model \"first\": no token came within 0.1 seconds");
    fb_fini(&s);
    kill(pid, SIGCONT);
    for (int k = 0; k < FB_N_ROUTE; k++) {
        fb_ask(&srv, k, "first", k & 1, N_TOKEN, BY_SECOND ",\"first_token_timeout\":20", &s);
        by_itself(&s, k, 0);
        fb_fini(&s);
    }
    fb_ask(&srv, FB_OPENAI, "first", true, N_TOKEN, ",\"first_token_timeout\":\"soon\"", &s);
    assert_int_equal(s.status, 400);
    assert_non_null(strstr(s.error, "first_token_timeout: found \"soon\""));
    fb_fini(&s);
    stop();
}

static void first_token_setting(void **state) {
    (void)state;
    start(SANITIZED ? "CRIA_FIRST_TOKEN_TIMEOUT=2500ms" : "CRIA_FIRST_TOKEN_TIMEOUT=300ms",
          "CRIA_FALLBACK=second", "CRIA_KEEP_ALIVE=1h");
    const pid_t pid = child_of("first");
    load_second();
    kill(pid, SIGSTOP);
    ask_second_for("first", FB_MESSAGES, true, "", "first_token_timeout");
    kill(pid, SIGCONT);
    stop();
}

static void queue_full(void **state) {
    (void)state;
    struct wire hold, wait;
    start("CRIA_MAX_QUEUE=1", "CRIA_NUM_PARALLEL=1", "CRIA_KEEP_ALIVE=1h");
    const pid_t pid = child_of("first");
    load_second(); /* nobody has to wait for it */
    kill(pid, SIGSTOP);
    char *body = fb_body(FB_GENERATE, "first", true, 4, "");
    wire_open(&hold, &srv), wire_open(&wait, &srv);
    wire_ask(&hold, "POST", "/api/generate", NULL, body);
    wire_ask(&wait, "POST", "/api/generate", NULL, body);
    WAIT_UNTIL(fb_metric(&srv, "requests_waiting") == 1);
    ask_second_for("first", FB_CHAT, false, BY_SECOND, "queue_full");
    kill(pid, SIGCONT);
    wire_close(&hold), wire_close(&wait);
    free(body);
    stop();
}

/* ---- crashes ---- */

struct crash {
    pthread_t t;
    pid_t pid;
    int after_ms;
};

static void *kill_later(void *arg) {
    const struct crash *c = arg;
    for (int i = 0; i < 5000 && fb_metric(&srv, "requests_running") == 0; i++)
        usleep(1000); /* it has the request */
    usleep((useconds_t)c->after_ms * 1000);
    kill(c->pid, SIGKILL);
    return NULL;
}

/* Before the first byte, in every dialect. */
static void crash_at_once(void **state) {
    (void)state;
    start("CRIA_BREAKER_FAILURES=0", "CRIA_KEEP_ALIVE=1h", NULL);
    for (int i = 0; i < 2 * FB_N_ROUTE; i++) {
        struct crash c = {.pid = child_of("first"), .after_ms = 60};
        WAIT_UNTIL(fb_metric(&srv, "requests_running") == 0);
        kill(c.pid, SIGSTOP);
        pthread_create(&c.t, NULL, kill_later, &c);
        ask_second_for("first", i / 2, i & 1, BY_SECOND, "crash");
        pthread_join(c.t, NULL);
        unload("second");
        WAIT_UNTIL(serve_children(&srv, NULL, 0, NULL) == 0);
    }
    stop();
}

enum { LONG = SANITIZED ? 400 : 3000 }; /* tokens: longer than the kill takes to come */

/* An answer that comes whole has no first byte before its last: the second begins anew. */
static void crash_of_whole(void **state) {
    (void)state;
    struct fb_said s, want;
    start("CRIA_BREAKER_FAILURES=0", "CRIA_KEEP_ALIVE=1h", NULL);
    for (int k = 0; k < FB_N_ROUTE; k++) {
        if (k == FB_MESSAGES) continue; /* no ignore_eos */
        fb_ask(&srv, k, "second", false, LONG, "", &want);
        unload("second");
        WAIT_UNTIL(serve_children(&srv, NULL, 0, NULL) == 0);
        struct crash c = {.pid = child_of("first"), .after_ms = 20};
        pthread_create(&c.t, NULL, kill_later, &c);
        fb_ask(&srv, k, "first", false, LONG, BY_SECOND, &s);
        pthread_join(c.t, NULL);
        assert_int_equal(s.status, 200);
        assert_string_equal(s.model, "second");
        assert_string_equal(s.reason, "crash");
        assert_string_equal(s.text.p, want.text.p);
        fb_fini(&s), fb_fini(&want);
        unload("second");
        WAIT_UNTIL(serve_children(&srv, NULL, 0, NULL) == 0);
    }
    stop();
}

/* In the middle of a stream: an error, and nothing of another model. */
static void crash_in_stream(void **state) {
    (void)state;
    start("CRIA_BREAKER_FAILURES=0", "CRIA_KEEP_ALIVE=1h", "CRIA_FALLBACK=second");
    for (int k = 0; k < FB_N_ROUTE; k++) {
        if (k == FB_MESSAGES) continue;
        struct answer a = {0};
        struct wire w;
        struct buf line = {0}, all = {0};
        const pid_t pid = child_of("first");
        char *body = fb_body(k, "first", true, 100000, "");
        wire_open(&w, &srv);
        wire_ask(&w, "POST", fb_path[k], NULL, body);
        assert_true(wire_head(&w, &a, 20));
        assert_int_equal(a.status, 200);
        for (int i = 0; i < 12; i++)
            assert_int_equal(wire_line(&w, &line, 20), 1);
        kill(pid, SIGKILL);
        while (wire_line(&w, &line, 20) == 1)
            buf_append(&all, line.p, line.n);
        buf_str(&all, "");
        assert_non_null(strstr(all.p, "\"error\""));
        assert_non_null(strstr(all.p, "process ended"));
        assert_null(strstr(all.p, "\"model\":\"second"));
        assert_null(strstr(all.p, "fallback_reason"));
        assert_null(answer_header(&a, "X-Fallback"));
        assert_int_equal(fb_metric(&srv, "fallback_requests_total{outcome=\"broke_off\"}"), k + 1);
        answer_fini(&a), wire_close(&w), buf_fini(&line), buf_fini(&all), free(body);
    }
    assert_int_equal(fb_metric(&srv, "fallback_requests_total{outcome=\"answered\"}"), 0);
    stop();
}

/* ---- what does not fall back ---- */

static void errors_of_clients(void **state) {
    (void)state;
    static const struct {
        int route, status;
        const char *more, *says;
    } bad[] = {
        {FB_CHAT, 400, ",\"think\":true", "does not support thinking"},
        {FB_OPENAI, 400, ",\"colour\":1", "colour"},
        {FB_GENERATE, 400, ",\"format\":\"xml\"", "invalid format"},
        {FB_OPENAI, 400, ",\"options\":{\"top_k\":\"many\"}", "top_k"},
        {FB_TEXT, 400, ",\"suffix\":\"b\"", "does not support insert"},
        {FB_MESSAGES, 400, ",\"num_ctx\":1", "num_ctx"},
    };
    start("CRIA_FALLBACK=second", NULL, NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct fb_said s;
        fb_ask(&srv, bad[i].route, "first", false, 2, bad[i].more, &s);
        if (s.status != bad[i].status || !strstr(s.error, bad[i].says))
            fail_msg("%s: %d %s", bad[i].more, s.status, s.error);
        assert_string_equal(s.header, "");
        assert_null(strstr(s.error, "second"));
        fb_fini(&s);
    }
    for (int i = 0; i < 2; i++) { /* one that leaves is not asked for elsewhere */
        struct wire w;
        const pid_t pid = child_of("first");
        char *body = fb_body(FB_CHAT, "first", i, 100, "");
        kill(pid, SIGSTOP);
        wire_open(&w, &srv);
        wire_ask(&w, "POST", "/api/chat", NULL, body);
        WAIT_UNTIL(fb_metric(&srv, "requests_running") == 1);
        wire_close(&w);
        kill(pid, SIGCONT);
        WAIT_UNTIL(fb_metric(&srv, "requests_running") == 0);
        free(body);
    }
    assert_int_equal(serve_children(&srv, NULL, 0, NULL), 1);
    assert_int_equal(fb_metric(&srv, "fallback_requests_total{outcome=\"answered\"}"), 0);
    stop();
}

static void loops(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"[\"second\",\"second\"]", "fallback: found \"second\" twice"},
        {"[\"second\",\"SECOND:latest\"]", "fallback: found \"SECOND:latest\" twice"},
        {"[\"second\",\"first\"]", "fallback: found \"first\" twice"},
        {"[\"a\",\"b\",\"c\",\"d\",\"e\",\"f\",\"g\",\"h\"]",
         "fallback: found \"h\" behind 8 models"},
        {"[1]", "fallback: names of models"},
        {"[\"../x\"]", "fallback: "},
        {"\"second\"", "fallback"},
    };
    static const char *const wrong[][2] = {
        {"CRIA_FALLBACK=a b a", "setting CRIA_FALLBACK: found \\\"a\\\" twice"},
        {"CRIA_FALLBACK=a ../b", "setting CRIA_FALLBACK: "},
        {"CRIA_FALLBACK=a b c d e f g h", "setting CRIA_FALLBACK: found 8 models"},
        {"CRIA_FALLBACK_URL=http://example.com/v1", "https is accepted"},
        {"CRIA_FALLBACK_URL=https://example.com/v1", "CRIA_FALLBACK_MODEL"},
        {"CRIA_FALLBACK_URL=ftp://example.com/v1", "CRIA_FALLBACK_URL"},
        {"CRIA_FALLBACK_URL=https://a:b@example.com/v1", "CRIA_FALLBACK_URL"},
        {"CRIA_FIRST_TOKEN_TIMEOUT=soon", "CRIA_FIRST_TOKEN_TIMEOUT"},
        {"CRIA_BREAKER_FAILURES=-1", "CRIA_BREAKER_FAILURES"},
    };
    start(NULL, NULL, NULL);
    for (int k = 0; k < FB_N_ROUTE; k++)
        for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
            struct fb_said s;
            char more[200];
            snprintf(more, sizeof more, ",\"fallback\":%s", bad[i][0]);
            fb_ask(&srv, k, "first", true, 1, more, &s);
            if (s.status != 400 || !strstr(s.error, bad[i][1]))
                fail_msg("%s: %s: %d %s", fb_path[k], bad[i][0], s.status, s.error);
            fb_fini(&s);
        }
    stop();
    for (size_t i = 0; i < sizeof wrong / sizeof *wrong; i++) {
        struct buf said = {0};
        assert_int_not_equal(serve_fails(NULL, (const char *const[]){wrong[i][0], NULL}, &said), 0);
        char plain[200];
        size_t n = 0;
        for (const char *p = wrong[i][1]; *p; p++)
            if (*p != '\\') plain[n++] = *p;
        plain[n] = 0;
        if (!strstr(said.p, wrong[i][1]) && !strstr(said.p, plain))
            fail_msg("%s: %s", wrong[i][0], said.p);
        buf_fini(&said);
    }
}

/* The first cause, and what became of the others. */
static void all_fail(void **state) {
    (void)state;
    struct fb_said s;
    start("CRIA_BREAKER_FAILURES=0", NULL, NULL);
    fb_ask(&srv, FB_CHAT, "nobody", true, 2, ",\"fallback\":[\"corrupt\",\"nobody2\"]", &s);
    assert_int_equal(s.status, 404);
    if (!strstr(s.error, "model \"nobody\" not found, try pulling it first; nor could another "
                         "answer: corrupt (corrupt: ") ||
        !strstr(s.error, "nobody2 (missing: "))
        fail_msg("%s", s.error);
    fb_fini(&s);
    /* What another lacks is told when nobody else can. */
    fb_ask(&srv, FB_OPENAI, "nobody", false, 2,
           ",\"think\":true,\"fallback\":[\"second\",\"embedder\"]", &s);
    assert_int_equal(s.status, 404);
    if (!strstr(s.error, "second (unable: \"second\" does not support thinking)") ||
        !strstr(s.error, "embedder (unable: "))
        fail_msg("%s", s.error);
    fb_fini(&s);
    fb_ask(&srv, FB_OPENAI, "nobody", false, N_TOKEN, ",\"fallback\":[\"embedder\",\"second\"]",
           &s);
    by_second(&s, FB_OPENAI, "missing");
    fb_fini(&s);
    assert_int_equal(fb_metric(&srv, "fallback_requests_total{outcome=\"failed\"}"), 2);
    assert_int_equal(fb_metric(&srv, "fallbacks_total{reason=\"unable\"}"), 3);
    stop();
}

/* Several prompts of one request: one model answers them all, or none. */
static void several_prompts(void **state) {
    (void)state;
    struct answer a;
    start("CRIA_FALLBACK=second", NULL, NULL);
    ask(&srv, &a, "POST", "/v1/completions", NULL,
        "{\"model\":\"nobody\",\"prompt\":[\"a\",\"b\",\"c\"],\"max_tokens\":2}");
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "X-Fallback"), "second; reason=missing");
    json_t *j = answer_json(&a);
    assert_int_equal(json_array_size(json_object_get(j, "choices")), 3);
    assert_string_equal(json_string_value(json_object_get(j, "model")), "second");
    json_decref(j), answer_fini(&a);
    assert_int_equal(fb_metric(&srv, "fallbacks_total{reason=\"missing\"}"), 1);
    stop();
}

/* ---- breakers ---- */

/* Long enough for what is asked meanwhile on a machine that is busy. */
enum { COOL_MS = SANITIZED ? 10000 : 2500 };
static const char *const cooldown =
    SANITIZED ? "CRIA_BREAKER_COOLDOWN=10s" : "CRIA_BREAKER_COOLDOWN=2500ms";

static void cool_down(void) {
    usleep((COOL_MS + 100) * 1000);
}

static void breaker_opens(void **state) {
    (void)state;
    struct fb_said s;
    char path[700];
    shop_model(&shop, "ill", "GGUF and no more", 16, NULL, NULL);
    start("CRIA_BREAKER_FAILURES=3", cooldown, NULL);
    for (int i = 0; i < 3; i++)
        ask_second_for("ill", FB_CHAT, false, BY_SECOND, "corrupt");
    assert_int_equal(fb_metric(&srv, "circuits_open"), 1);
    for (int i = 0; i < 4; i++)
        ask_second_for("ill", FB_CHAT, i & 1, BY_SECOND, "circuit_open");
    assert_int_equal(fb_metric(&srv, "fallbacks_total{reason=\"corrupt\"}"), 3);
    cool_down();
    ask_second_for("ill", FB_CHAT, false, BY_SECOND, "corrupt"); /* the probe */
    ask_second_for("ill", FB_CHAT, false, BY_SECOND, "circuit_open");
    /* An open circuit never makes a request fail: when nobody else can, it is asked. */
    fb_ask(&srv, FB_CHAT, "ill", false, 2, ",\"fallback\":[\"nobody\"]", &s);
    assert_non_null(strstr(s.error, "nobody (missing"));
    fb_fini(&s);
    fb_ask(&srv, FB_CHAT, "ill", false, 2, "", &s);
    assert_int_not_equal(s.status, 200);
    fb_fini(&s);
    snprintf(path, sizeof path, "%s/chat.gguf", shop.dir);
    rewrite_template(golden("models/llama32.gguf"), path, REWRITE_CHATML);
    shop_gguf(&shop, "ill", path, NULL);
    cool_down();
    for (int i = 0; i < 3; i++) {
        fb_ask(&srv, FB_CHAT, "ill", false, N_TOKEN, BY_SECOND, &s);
        assert_int_equal(s.status, 200);
        assert_string_equal(s.model, "ill");
        assert_string_equal(s.header, "");
        fb_fini(&s);
    }
    assert_int_equal(fb_metric(&srv, "circuits_open"), 0);
    stop();
}

/* Who ran beside the failures neither closes the circuit nor keeps it half open. */
static void breaker_beside(void **state) {
    (void)state;
    struct err e;
    struct name n;
    struct breaker *b = breaker_new(&e);
    assert_int_equal(name_parse("m", &n, &e), 0);
    breaker_configure(b, 2, 100);
    breaker_tell(b, &n, false, BREAKER_BAD, 0, 10);
    breaker_tell(b, &n, false, BREAKER_BAD, 5, 12); /* began before the first failed */
    assert_int_equal(breaker_ask(b, &n, 15), BREAKER_CLOSED);
    breaker_tell(b, &n, false, BREAKER_BAD, 15, 20);
    assert_int_equal(breaker_ask(b, &n, 50), BREAKER_OPEN);
    breaker_tell(b, &n, false, BREAKER_GOOD, 5, 60); /* a long answer from before */
    assert_int_equal(breaker_ask(b, &n, 61), BREAKER_OPEN);
    assert_int_equal(breaker_ask(b, &n, 130), BREAKER_PROBE);
    assert_int_equal(breaker_ask(b, &n, 131), BREAKER_OPEN);
    breaker_tell(b, &n, false, BREAKER_BAD, 132, 140); /* asked as nobody else could */
    breaker_tell(b, &n, true, BREAKER_BAD, 130, 150);
    assert_int_equal(breaker_ask(b, &n, 151), BREAKER_OPEN);
    assert_int_equal(breaker_ask(b, &n, 251), BREAKER_PROBE);
    breaker_tell(b, &n, true, BREAKER_GOOD, 251, 260);
    assert_int_equal(breaker_ask(b, &n, 261), BREAKER_CLOSED);
    breaker_free(b);
}

/* One request goes to see; all others do not wait for how it fares. */
static void breaker_probe(void **state) {
    (void)state;
    struct wire w;
    struct answer a = {0};
    start("CRIA_BREAKER_FAILURES=2", cooldown, "CRIA_KEEP_ALIVE=1h");
    const pid_t pid = child_of("first");
    load_second();
    kill(pid, SIGSTOP);
    for (int i = 0; i < 2; i++)
        ask_second_for("first", FB_CHAT, false, in_time, "first_token_timeout");
    ask_second_for("first", FB_CHAT, false, BY_SECOND, "circuit_open");
    cool_down();
    char *body = fb_body(FB_CHAT, "first", false, N_TOKEN, BY_SECOND);
    wire_open(&w, &srv);
    wire_ask(&w, "POST", "/api/chat", NULL, body); /* the probe */
    WAIT_UNTIL(fb_metric(&srv, "requests_running") >= 3);
    for (int i = 0; i < 5; i++)
        ask_second_for("first", FB_CHAT, i & 1, BY_SECOND, "circuit_open");
    kill(pid, SIGCONT);
    assert_true(wire_head(&w, &a, 20));
    assert_int_equal(a.status, 200);
    assert_null(answer_header(&a, "X-Fallback"));
    answer_fini(&a), wire_close(&w), free(body);
    assert_int_equal(fb_metric(&srv, "circuits_open"), 0);
    struct fb_said s;
    fb_ask(&srv, FB_CHAT, "first", false, N_TOKEN, BY_SECOND, &s);
    by_itself(&s, FB_CHAT, 0);
    fb_fini(&s);
    stop();
}

/* cria.conf names who stands in for a model, instead of the setting. */
static void by_the_file(void **state) {
    (void)state;
    char path[700], set[720];
    struct err e;
    static const char text[] = "FALLBACK = first\n[model gone]\nfallback = second\n";
    snprintf(path, sizeof path, "%s/cria.conf", shop.dir);
    assert_int_equal(os_write_file(path, text, strlen(text), &e), 0);
    snprintf(set, sizeof set, "CRIA_CONFIG=%s", path);
    start(set, NULL, NULL);
    for (int k = 0; k < FB_N_ROUTE; k++) {
        struct fb_said s;
        fb_ask(&srv, k, "gone", false, N_TOKEN, "", &s);
        by_second(&s, k, "missing");
        fb_fini(&s);
        fb_ask(&srv, k, "another", false, N_TOKEN, "", &s);
        assert_string_equal(s.model, "first");
        fb_fini(&s);
    }
    stop();
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(missing),
        cmocka_unit_test(by_the_file),
        cmocka_unit_test(by_settings),
        cmocka_unit_test(out_of_memory),
        cmocka_unit_test(load_deadline),
        cmocka_unit_test(first_token),
        cmocka_unit_test(first_token_setting),
        cmocka_unit_test(queue_full),
        cmocka_unit_test(crash_at_once),
        cmocka_unit_test(crash_of_whole),
        cmocka_unit_test(crash_in_stream),
        cmocka_unit_test(errors_of_clients),
        cmocka_unit_test(loops),
        cmocka_unit_test(all_fail),
        cmocka_unit_test(several_prompts),
        cmocka_unit_test(breaker_opens),
        cmocka_unit_test(breaker_probe),
        cmocka_unit_test(breaker_beside),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
