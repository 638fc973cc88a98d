/* The last link of a chain on another host: a small server of this test on loopback that speaks
 * OpenAI's API, well or badly.  Where the key and the prompt go, and where they do not. */
#include "api_rig.h"
#include "fallback_rig.h"
#include "hostile.h"
#include "models_rig.h"
#include "rewrite.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/os.h"

static struct shop shop;
static struct serve srv;
static struct hostile far, other;
static char models_set[700], url_set[120], key_set[760];

/* What far does with a request, and what it saw of the last one. */
enum {
    STREAM,
    WHOLE, /* one object: it does not stream */
    REDIRECT,
    DENY,
    BREAK, /* off, in the middle */
    FAIL,  /* an error in the stream */
    GARBAGE,
    ENDLESS, /* a line without end */
    HANG,
    DRIP,  /* headers, then comments for ever */
    PAUSE, /* of some seconds, in the middle */
};
static atomic_int plan;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static char seen_key[200], seen_path[200], seen_body[8192]; /* lock */
static atomic_int n_left; /* connections that the other side has closed while it was told nothing */

#define KEY "sesame-4711"
#define CHUNK(delta, why)                                                                          \
    "data: {\"choices\":[{\"index\":0,\"delta\":{" delta "},\"finish_reason\":" why "}]}\n\n"

static void say_stream(int fd) {
    static const char text[] = CHUNK("\"role\":\"assistant\",\"content\":\"\"", "null")
        CHUNK("\"content\":\"from \"", "null") CHUNK("\"content\":\"afar \\u00e4\"", "null")
            CHUNK("", "\"stop\"") "data: {\"choices\":[],\"usage\":{\"prompt_tokens\":7,"
                                  "\"completion_tokens\":3}}\r\n\r\ndata: [DONE]\n\n";
    hostile_say(fd,
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n"
                "Content-Length: %zu\r\n\r\n",
                sizeof text - 1);
    for (const char *p = text; *p; p += 50) { /* cut anywhere */
        hostile_send(fd, p, strlen(p) < 50 ? strlen(p) : 50);
        if (strlen(p) < 50) break;
    }
}

static void say_part(int fd, const char *then) {
    hostile_say(fd,
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
                "%s%s",
                CHUNK("\"content\":\"from \"", "null"), then);
}

static void say_long(int fd) {
    char *a = malloc(1 << 16);
    memset(a, 'a', 1 << 16);
    hostile_say(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\ndata: ");
    for (int i = 0; i < 1 << 12 && hostile_send(fd, a, 1 << 16); i++) {
    }
    free(a);
}

static void drip(int fd) {
    hostile_say(fd, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n");
    while (hostile_say(fd, ": still here\n\n"))
        usleep(20000);
    atomic_fetch_add(&n_left, 1);
}

static void pause_in(int fd) {
    static const char rest[] = CHUNK("\"content\":\"afar \\u00e4\"", "\"stop\"") "data: [DONE]\n\n";
    hostile_say(fd,
                "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nConnection: close\r\n\r\n"
                "%s",
                CHUNK("\"content\":\"from \"", "null"));
    usleep(3200000);
    hostile_say(fd, "%s", rest);
}

static void on_far(void *ctx, int fd, const struct hostile_request *q) {
    static const char whole[] =
        "{\"choices\":[{\"message\":{\"role\":\"assistant\",\n\"content\":\"from afar "
        "\\u00e4\"},\"finish_reason\":\"stop\"}],\"usage\":{\"prompt_tokens\":7,"
        "\"completion_tokens\":3}}";
    static const char denied[] = "{\"error\":{\"message\":\"no such key\"}}";
    char to[100];
    (void)ctx;
    pthread_mutex_lock(&lock);
    snprintf(seen_key, sizeof seen_key, "%.199s", q->authorization);
    snprintf(seen_path, sizeof seen_path, "%.199s", q->path);
    hostile_header(q, "Content-Length", to, sizeof to);
    const size_t all = (size_t)atoi(to);
    const size_t n =
        hostile_body(fd, q, seen_body, all < sizeof seen_body ? all : sizeof seen_body - 1);
    seen_body[n] = 0;
    pthread_mutex_unlock(&lock);
    snprintf(to, sizeof to, "Location: http://localhost:%d/v1/chat/completions\r\n", other.port);
    switch (atomic_load(&plan)) {
    case STREAM: say_stream(fd); break;
    case WHOLE: hostile_answer(fd, 200, "", whole, sizeof whole - 1); break;
    case REDIRECT: hostile_answer(fd, 307, to, "", 0); break;
    case DENY: hostile_answer(fd, 401, "", denied, sizeof denied - 1); break;
    case BREAK: say_part(fd, ""); break;
    case FAIL: say_part(fd, "data: {\"error\":{\"message\":\"the model fell over\"}}\n\n"); break;
    case GARBAGE: say_part(fd, "data: {\"choices\":[{\n\n"); break;
    case ENDLESS: say_long(fd); break;
    case HANG:
        hostile_hold(fd);
        atomic_fetch_add(&n_left, 1);
        break;
    case DRIP: drip(fd); break;
    case PAUSE: pause_in(fd); break;
    }
}

static void on_other(void *ctx, int fd, const struct hostile_request *q) {
    (void)ctx, (void)q;
    say_stream(fd);
}

static int set_up(void **state) {
    (void)state;
    char path[700];
    fb_plain = true;
    fb_shop_open(&shop, 1, models_set);
    hostile_start(&far, on_far, NULL);
    hostile_start(&other, on_other, NULL);
    snprintf(url_set, sizeof url_set, "CRIA_FALLBACK_URL=http://127.0.0.1:%d/v1/", far.port);
    snprintf(path, sizeof path, "%s/key", shop.dir);
    FILE *f = fopen(path, "w");
    fputs(KEY "\n", f), fclose(f);
    snprintf(key_set, sizeof key_set, "CRIA_FALLBACK_KEY_FILE=%s", path);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    hostile_stop(&far), hostile_stop(&other);
    shop_close(&shop);
    return 0;
}

static void start(const char *more) {
    const char *set[] = {
        models_set, url_set, key_set, "CRIA_FALLBACK_MODEL=gpt-far", "CRIA_BREAKER_FAILURES=0",
        more,       NULL};
    serve_start(&srv, NULL, set);
}

static void stop(void) {
    assert_int_equal(serve_lines(&srv, KEY, "", 0), 0);
    assert_int_equal(serve_stop(&srv), 0);
}

static void by_far(const struct fb_said *s, int route) {
    if (s->status != 200 || *s->error) fail_msg("%s: %d %s", fb_path[route], s->status, s->error);
    assert_string_equal(s->model, "gpt-far");
    assert_string_equal(s->reason, "missing");
    assert_string_equal(s->header, "gpt-far; reason=missing");
    assert_string_equal(s->text.p, "from afar \xc3\xa4");
    assert_true(s->last);
}

static void answers(void **state) {
    (void)state;
    struct fb_said s;
    start(NULL);
    for (int k = 0; k < 4 * FB_N_ROUTE; k++) {
        const int route = k / 4;
        plan = k & 1 ? STREAM : WHOLE;
        fb_ask(&srv, route, "nobody", k & 2, 5, "", &s);
        by_far(&s, route);
        fb_fini(&s);
        pthread_mutex_lock(&lock);
        assert_string_equal(seen_path, "/v1/chat/completions");
        assert_string_equal(seen_key, "Bearer " KEY);
        json_t *j = json_loads(seen_body, 0, NULL);
        assert_non_null(j);
        assert_string_equal(text_of(j, "model"), "gpt-far");
        json_t *messages = json_object_get(j, "messages");
        assert_string_equal(
            text_of(json_array_get(messages, json_array_size(messages) - 1), "content"), "hello");
        assert_int_equal(json_integer_value(json_object_get(j, "max_tokens")), 5);
        assert_null(json_object_get(j, "user"));
        json_decref(j);
        pthread_mutex_unlock(&lock);
    }
    json_t *j = ask_json(&srv, "POST", "/v1/chat/completions", 200,
                         "{\"model\":\"nobody\",\"messages\":[{\"role\":\"user\",\"content\":"
                         "\"hello\"}]}");
    json_t *usage = json_object_get(j, "usage");
    assert_int_equal(json_integer_value(json_object_get(usage, "prompt_tokens")), 7);
    assert_int_equal(json_integer_value(json_object_get(usage, "completion_tokens")), 3);
    json_decref(j);
    stop();
}

/* Models here come first; a request's own list is all of its chain. */
static void is_the_last(void **state) {
    (void)state;
    struct fb_said s;
    plan = STREAM;
    start("CRIA_FALLBACK=first");
    const int before = atomic_load(&far.n_requests);
    fb_ask(&srv, FB_CHAT, "nobody", true, 4, "", &s);
    assert_string_equal(s.model, "first");
    fb_fini(&s);
    static const char *const lists[] = {",\"fallback\":[]", ",\"fallback\":[\"nobody2\"]"};
    for (int i = 0; i < 2; i++) {
        fb_ask(&srv, FB_CHAT, "nobody", i, 4, lists[i], &s);
        assert_int_equal(s.status, 404);
        fb_fini(&s);
    }
    assert_int_equal(atomic_load(&far.n_requests), before);
    stop();
}

/* Neither key nor prompt reach a host that nobody named. */
static void redirect(void **state) {
    (void)state;
    struct fb_said s;
    plan = REDIRECT;
    start(NULL);
    for (int i = 0; i < 2; i++) {
        fb_ask(&srv, FB_OPENAI, "nobody", i, 4, "", &s);
        assert_int_equal(s.status, 404);
        if (!strstr(s.error, "gpt-far (unreachable: gpt-far: status 307: it points elsewhere"))
            fail_msg("%s", s.error);
        fb_fini(&s);
    }
    assert_int_equal(atomic_load(&other.n_connections), 0);
    stop();
}

static void bad_answers(void **state) {
    (void)state;
    static const struct {
        int plan;
        const char *says;
    } bad[] = {
        {DENY, "status 401: no such key"}, {BREAK, "the answer broke off"},
        {FAIL, "the model fell over"},     {GARBAGE, "no JSON"},
        {ENDLESS, "a line of more than"},
    };
    start(NULL);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        for (int stream = 0; stream < 2; stream++) {
            struct fb_said s;
            plan = bad[i].plan;
            fb_ask(&srv, FB_OPENAI, "nobody", stream, 4, "", &s);
            const bool told = stream && bad[i].plan != DENY && bad[i].plan != ENDLESS;
            assert_int_equal(s.status, told ? 200 : 404);
            if (!told) assert_non_null(strstr(s.error, "gpt-far (unreachable: "));
            if (!strstr(s.error, bad[i].says)) fail_msg("plan %d: %s", bad[i].plan, s.error);
            assert_string_equal(s.text.p, told ? "from " : "");
            assert_null(strstr(s.error, KEY));
            fb_fini(&s);
        }
    assert_true(serve_rss_bytes(&srv) < (size_t)200 << 20);
    stop();
}

/* What is not passed on is refused, and nothing of it is sent. */
static void not_passed_on(void **state) {
    (void)state;
    static const struct {
        int route;
        const char *more, *field;
    } no[] = {
        {FB_CHAT, ",\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"f\"}}]", "tools"},
        {FB_CHAT, ",\"format\":\"json\"", "format"},
        {FB_CHAT, ",\"think\":true", "think"},
        {FB_OPENAI, ",\"n\":2", "\"n\""},
        {FB_OPENAI, ",\"logprobs\":true", "logprobs"},
        {FB_OPENAI, ",\"min_p\":0.1", "min_p"},
        {FB_TEXT, ",\"suffix\":\"b\"", "suffix"},
        {FB_TEXT, ",\"raw\":true", "raw"},
    };
    plan = STREAM;
    start(NULL);
    const int before = atomic_load(&far.n_connections);
    for (size_t i = 0; i < sizeof no / sizeof *no; i++) {
        struct fb_said s;
        fb_ask(&srv, no[i].route, "nobody", i & 1, 4, no[i].more, &s);
        assert_int_equal(s.status, 404);
        if (!strstr(s.error, "gpt-far (unable: ") || !strstr(s.error, no[i].field))
            fail_msg("%s: %s", no[i].more, s.error);
        fb_fini(&s);
    }
    assert_int_equal(atomic_load(&far.n_connections), before);
    stop();
}

static void slow(void **state) {
    (void)state;
    static const int those[] = {HANG, DRIP};
    start(NULL);
    for (int i = 0; i < 2; i++) {
        struct fb_said s;
        plan = those[i];
        const int64_t t0 = os_now_ns();
        fb_ask(&srv, FB_MESSAGES, "nobody", true, 4, ",\"first_token_timeout\":1", &s);
        const int64_t took = os_now_ns() - t0;
        assert_int_equal(s.status, 404);
        assert_non_null(strstr(s.error, "gpt-far (first_token_timeout: "));
        if (took > 8000 * MS) fail_msg("%lld ms", (long long)(took / MS));
        fb_fini(&s);
    }
    stop();
}

/* The limit is of the first token: the others may come as they like. */
static void pauses(void **state) {
    (void)state;
    struct fb_said s;
    plan = PAUSE;
    start(NULL);
    fb_ask(&srv, FB_CHAT, "nobody", true, 4, ",\"first_token_timeout\":1", &s);
    by_far(&s, FB_CHAT);
    fb_fini(&s);
    stop();
}

/* The first of them found out who answers; that one answers all. */
static void several_prompts(void **state) {
    (void)state;
    plan = STREAM;
    start(NULL);
    json_t *o = ask_json(&srv, "POST", "/v1/completions", 200,
                         "{\"model\":\"nobody\",\"prompt\":[\"a\",\"b\",\"c\"],\"max_tokens\":3}");
    const json_t *choices = json_object_get(o, "choices");
    assert_int_equal(json_array_size(choices), 3);
    for (size_t i = 0; i < 3; i++)
        assert_string_equal(text_of(json_array_get(choices, i), "text"), "from afar \xc3\xa4");
    assert_string_equal(text_of(o, "model"), "gpt-far");
    json_decref(o);
    stop();
}

/* A client that leaves, and a server that stops, end what is under way. */
static void ends(void **state) {
    (void)state;
    static const int those[] = {HANG, DRIP};
    start("CRIA_GRACE=200ms");
    for (int i = 0; i < 4; i++) {
        struct wire w;
        const int before = atomic_load(&far.n_requests), left = atomic_load(&n_left);
        char *body = fb_body(FB_CHAT, "nobody", true, 4, "");
        plan = those[i % 2];
        wire_open(&w, &srv);
        wire_ask(&w, "POST", "/api/chat", NULL, body);
        WAIT_UNTIL(atomic_load(&far.n_requests) > before);
        if (i == 3) {
            assert_int_equal(serve_stop(&srv), 0);
            wire_close(&w);
        } else {
            wire_close(&w);
            WAIT_UNTIL(atomic_load(&n_left) > left);
        }
        free(body);
    }
}

static void no_key(void **state) {
    (void)state;
    struct fb_said s;
    plan = STREAM;
    const char *set[] = {models_set, url_set, "CRIA_FALLBACK_KEY_FILE=/nowhere/key",
                         "CRIA_FALLBACK_MODEL=gpt-far", NULL};
    const int before = atomic_load(&far.n_connections);
    serve_start(&srv, NULL, set);
    fb_ask(&srv, FB_CHAT, "nobody", false, 4, "", &s);
    assert_int_equal(s.status, 404);
    assert_non_null(strstr(s.error, "CRIA_FALLBACK_KEY_FILE"));
    fb_fini(&s);
    assert_int_equal(atomic_load(&far.n_connections), before);
    assert_int_equal(serve_stop(&srv), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(answers),       cmocka_unit_test(is_the_last),
        cmocka_unit_test(redirect),      cmocka_unit_test(bad_answers),
        cmocka_unit_test(not_passed_on), cmocka_unit_test(slow),
        cmocka_unit_test(ends),          cmocka_unit_test(no_key),
        cmocka_unit_test(pauses),        cmocka_unit_test(several_prompts),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
