/* Personal data through `cria serve`: requests in every dialect, streams and not, answers that are
 * masked or restored, what is refused, POST /api/pii, the log.  What the model says is fixed by a
 * schema, so that it says it in pieces of a few letters. */
#include "api_rig.h"
#include "fallback_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAIL "jane.doe@example.com"
#define CARD "4111 1111 1111 1111"

static void start(struct serve *s, const char *pii, const char *entities) {
    char mode[64], list[128];
    snprintf(mode, sizeof mode, "CRIA_PII=%s", pii);
    snprintf(list, sizeof list, "CRIA_PII_ENTITIES=%s", entities);
    serve_start(s, NULL,
                (const char *const[]){mode, list, "CRIA_LOG_PROMPTS=1", "CRIA_DEBUG=2", NULL});
    api_make(s, "chat", "llama32",
             ",\"template\":\"{{ range .Messages }}[{{ .Role }}] {{ .Content }}{{ end }}\"");
}

/* The body of a request that says `said` and makes the model answer the string `forced`. */
static char *body_of(int route, bool stream, const char *said, const char *forced,
                     const char *more) {
    struct buf b = {0}, schema = {0};
    buf_printf(&schema, "{\"type\":\"string\",\"enum\":[\"%s\"]}", forced);
    buf_printf(&b, "{\"model\":\"chat\",\"stream\":%s%s,", stream ? "true" : "false", more);
    const char *s = schema.p;
    switch (route) {
    case FB_GENERATE:
        buf_printf(&b, "\"prompt\":\"%s\",\"format\":%s,\"options\":{\"temperature\":0}}", said, s);
        break;
    case FB_CHAT:
        buf_printf(&b,
                   "\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}],\"format\":%s,"
                   "\"options\":{\"temperature\":0}}",
                   said, s);
        break;
    case FB_OPENAI:
        buf_printf(&b,
                   "\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"%"
                   "s\"}]}],\"max_tokens\":400,\"temperature\":0,"
                   "\"response_format\":{\"type\":\"json_schema\",\"json_schema\":{\"name\":\"x\","
                   "\"schema\":%s}}}",
                   said, s);
        break;
    case FB_RESPONSES:
        buf_printf(&b,
                   "\"input\":\"%s\",\"max_output_tokens\":400,\"temperature\":0,\"store\":false,"
                   "\"text\":{\"format\":{\"type\":\"json_schema\",\"name\":\"x\",\"schema\":%s}}}",
                   said, s);
        break;
    default:
        buf_printf(&b,
                   "\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}],\"max_tokens\":400,"
                   "\"temperature\":0,"
                   "\"output_config\":{\"format\":{\"type\":\"json_schema\",\"schema\":%s}}}",
                   said, s);
    }
    buf_fini(&schema);
    return b.p;
}

static const int routes[] = {FB_GENERATE, FB_CHAT, FB_OPENAI, FB_RESPONSES, FB_MESSAGES};
enum { N_ROUTE = sizeof routes / sizeof *routes };

/* Blanks around JSON are a model's own. */
static struct str trimmed(struct str t) {
    while (t.n && strchr(" \t\r\n", t.p[0]))
        t.p++, t.n--;
    while (t.n && strchr(" \t\r\n", t.p[t.n - 1]))
        t.n--;
    return t;
}

/* In every dialect, whole and streamed: the answer's text is `want`. */
static void say(const struct serve *s, const char *said, const char *forced, const char *more,
                const char *want) {
    for (int i = 0; i < N_ROUTE; i++)
        for (int stream = 0; stream < 2; stream++) {
            struct fb_said x;
            char *body = body_of(routes[i], stream, said, forced, more);
            fb_post(s, routes[i], stream, body, &x);
            if (x.status != 200 || !str_is(trimmed(buf_view(&x.text)), want))
                fail_msg("%s stream %d: %d %s: found %s; wanted %s", fb_path[routes[i]], stream,
                         x.status, x.error, buf_view(&x.text).p, want);
            fb_fini(&x);
            free(body);
        }
}

static void refused(const struct serve *s, const char *said, const char *more, const char *want) {
    for (int i = 0; i < N_ROUTE; i++)
        for (int stream = 0; stream < 2; stream++) {
            struct fb_said x;
            char *body = body_of(routes[i], stream, said, "x", more);
            fb_post(s, routes[i], stream, body, &x);
            assert_int_equal(x.status, 400);
            if (!strstr(x.error, want))
                fail_msg("%s: found \"%s\"; wanted %s", fb_path[routes[i]], x.error, want);
            assert_null(strstr(x.error, "4111"));
            assert_null(strstr(x.error, "jane"));
            fb_fini(&x);
            free(body);
        }
}

static void log_is_clean(const struct serve *s) {
    size_t n;
    uint8_t *log = slurp(s->log, &n);
    assert_non_null(memmem(log, n, "body", 4)); /* CRIA_LOG_PROMPTS */
    static const char *const values[] = {"jane", "4111 1111", "1111 1111", "example.com"};
    for (size_t i = 0; i < sizeof values / sizeof *values; i++)
        if (memmem(log, n, values[i], strlen(values[i]))) fail_msg("the log has \"%s\"", values[i]);
    free(log);
}

/* What the model sees: the prompt that the conversation becomes. */
static void sees(const struct serve *s, const char *said, const char *want) {
    json_t *o = ask_json(
        s, "POST", "/api/apply-template", 200,
        "{\"model\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":\"%s\"}]}", said);
    assert_non_null(strstr(text_of(o, "prompt"), want));
    assert_null(strstr(text_of(o, "prompt"), "jane"));
    json_decref(o);
}

/* ---- modes ---- */

static void redacts_both_sides(void **state) {
    (void)state;
    struct serve s;
    start(&s, "redact", "all,card=mask");
    sees(&s, "I am " MAIL ", card " CARD, "I am [EMAIL], card **** **** **** 1111");
    say(&s, "hello " MAIL, "write to " MAIL " or pay with " CARD " now", "",
        "\"write to [EMAIL] or pay with **** **** **** 1111 now\"");
    assert_int_equal(fb_metric(&s, "pii_found_total{side=\"answer\",entity=\"email\"}"),
                     2 * N_ROUTE);
    assert_int_equal(fb_metric(&s, "pii_found_total{side=\"answer\",entity=\"card\"}"),
                     2 * N_ROUTE);
    assert_int_equal(fb_metric(&s, "pii_found_total{side=\"request\",entity=\"email\"}"),
                     2 * N_ROUTE + 1);
    log_is_clean(&s);
    assert_int_equal(serve_stop(&s), 0);
}

static void replaces_and_gives_back(void **state) {
    (void)state;
    struct serve s;
    start(&s, "replace", "");
    sees(&s, MAIL " and bob@example.org and " MAIL, "<EMAIL_1> and <EMAIL_2> and <EMAIL_1>");
    sees(&s, "<EMAIL_1> is a word of mine, " MAIL, "<EMAIL_1> is a word of mine, <EMAIL_2>");
    say(&s, MAIL " has card " CARD, "Dear <EMAIL_1>, <CARD_1> <EMAIL_2> <b>", "",
        "\"Dear " MAIL ", " CARD " <EMAIL_2> <b>\"");
    log_is_clean(&s);
    assert_int_equal(serve_stop(&s), 0);
}

static void blocks_by_name(void **state) {
    (void)state;
    struct serve s;
    start(&s, "report", "all,card=block");
    refused(&s, "my card is " CARD ", my mail " MAIL, "",
            "found card, which this server does not let pass");
    say(&s, "my mail is " MAIL, "ok " MAIL, "", "\"ok " MAIL "\""); /* reported only */
    say(&s, "hello", "ok " CARD " x", "", "\"ok [CARD] x\"");
    log_is_clean(&s);
    assert_int_equal(serve_stop(&s), 0);
}

/* A request adds to the server's policy and takes nothing from it. */
static void requests_are_stricter_only(void **state) {
    (void)state;
    struct serve s;
    start(&s, "mask", "email");
    const char *said = "hi", *forced = "a " MAIL " b " CARD " c";
    say(&s, said, forced, "", "\"a j***@e***.com b " CARD " c\"");
    say(&s, said, forced, ",\"pii\":\"off\"", "\"a j***@e***.com b " CARD " c\"");
    say(&s, said, forced, ",\"pii\":\"report\"", "\"a j***@e***.com b " CARD " c\"");
    say(&s, said, forced, ",\"pii\":\"redact\"", "\"a [EMAIL] b [CARD] c\"");
    say(&s, said, forced, ",\"pii\":{\"mode\":\"redact\",\"entities\":\"card\"}",
        "\"a j***@e***.com b [CARD] c\"");
    refused(&s, "card " CARD, ",\"pii\":\"block\"", "found card");
    refused(&s, said, ",\"pii\":\"erase\"", "erase");
    refused(&s, said, ",\"pii\":{\"mod\":\"mask\"}", "mod");
    assert_int_equal(serve_stop(&s), 0);
}

/* Tokens would carry past the filter what it takes out. */
static void nothing_goes_past(void **state) {
    (void)state;
    struct serve s;
    start(&s, "redact", "");
    json_t *o = ask_json(
        &s, "POST", "/api/generate", 200,
        "{\"model\":\"chat\",\"prompt\":\"a\",\"stream\":false,\"options\":{\"num_predict\":3}}");
    assert_null(json_object_get(o, "context"));
    json_decref(o);
    json_decref(
        ask_json(&s, "POST", "/api/generate", 400,
                 "{\"model\":\"chat\",\"prompt\":\"a\",\"context\":[1,2],\"stream\":false}"));
    json_decref(ask_json(&s, "POST", "/api/chat", 400,
                         "{\"model\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],"
                         "\"logprobs\":true,\"stream\":false}"));
    api_make(&s, "bert", "bert", "");
    json_decref(ask_json(&s, "POST", "/v1/embeddings", 200,
                         "{\"model\":\"bert\",\"input\":[\"a\",\"b\"]}"));
    json_decref(
        ask_json(&s, "POST", "/v1/embeddings", 400, "{\"model\":\"bert\",\"input\":[[5,6],[7]]}"));
    struct answer a;
    ask(&s, &a, "POST", "/api/chat", "Content-Type: application/json\r\n",
        "{\"model\":\"chat\",\"messages\":[{\"role\":\"system\",\"content\":\"" MAIL
        "\"},{\"role\":\"user\",\"content\":\"card " CARD
        "\"}],\"stream\":false,\"options\":{\"num_predict\":2}}");
    if (a.status != 200) fail_msg("%s", buf_view(&a.body).p);
    assert_string_equal(answer_header(&a, "X-PII-Found"), "email=1, card=1");
    answer_fini(&a);
    log_is_clean(&s);
    assert_int_equal(serve_stop(&s), 0);
}

/* What a model gets of a client beside its messages; the keys of maps. */
static void nowhere_else(void **state) {
    static const char *const is[][2] = {
        {"{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\",\"function\":{"
         "\"name\":\"mail\",\"description\":\"to " MAIL
         "\",\"parameters\":{\"type\":\"object\",\"properties\":{}}}}]",
         "to [EMAIL]"},
        {"{\"role\":\"user\",\"content\":\"x\"}],\"template\":\"{{ range .Messages }}{{ .Content }}"
         "{{ end }} for " MAIL "\"",
         "x for [EMAIL]"},
        {"{\"role\":\"user\",\"content\":\"x\"},{\"role\":\"assistant\",\"tool_calls\":[{"
         "\"function\":{\"name\":\"mail\",\"arguments\":{\"" MAIL
         "\":1,\"bob@example.org\":2}}}]}]",
         "{\"[EMAIL]\":1,\"[EMAIL] 2\":2}"}};
    (void)state;
    struct serve s;
    start(&s, "redact", "");
    api_make(&s, "caller", "llama32", API_CALLER);
    for (size_t i = 0; i < sizeof is / sizeof *is; i++) {
        json_t *o = ask_json(&s, "POST", "/api/apply-template", 200,
                             "{\"model\":\"caller\",\"messages\":[%s}", is[i][0]);
        if (!strstr(text_of(o, "prompt"), is[i][1]) || strstr(text_of(o, "prompt"), "jane"))
            fail_msg("%s", text_of(o, "prompt"));
        json_decref(o);
    }
    log_is_clean(&s);
    assert_int_equal(serve_stop(&s), 0);
}

/* Escapes hide nothing from the log's filter. */
static void escapes_are_seen(void **state) {
    (void)state;
    struct serve s;
    start(&s, "redact", "");
    sees(&s, "j\\u0061ne.doe\\u0040ex\\u0061mple.com\\n4111 1111\\u00201111 1111",
         "[EMAIL]\n[CARD]");
    log_is_clean(&s);
    assert_int_equal(serve_stop(&s), 0);
}

/* Also where only the request asks for it. */
static void own_wish_cleans_the_log(void **state) {
    (void)state;
    struct serve s;
    start(&s, "off", "");
    json_decref(ask_json(&s, "POST", "/api/generate", 200,
                         "{\"model\":\"chat\",\"prompt\":\"" MAIL
                         "\",\"pii\":\"mask\",\"stream\":false,\"options\":{\"num_predict\":1}}"));
    log_is_clean(&s);
    assert_int_equal(serve_stop(&s), 0);
}

/* ---- models that stand in ---- */

/* Nobody comes past a model's own policy by asking for another that is not there. */
static void substitutes_keep_their_policy(void **state) {
    static const struct {
        const char *policy, *want; /* want NULL: it is passed over */
    } is[] = {{"pii=redact", "\"ok [EMAIL]\""},
              {"pii=mask pii_entities=email", "\"ok j***@e***.com\""},
              {"pii=replace", "\"ok [EMAIL]\""},
              {"pii=report", "\"ok " MAIL "\""},
              {"pii=block", NULL},
              {"audit=required", NULL}};
    (void)state;
    for (size_t i = 0; i < sizeof is / sizeof *is; i++) {
        struct serve s;
        char *dir = temp_folder(), path[600], conf[700];
        snprintf(path, sizeof path, "%s/conf", dir);
        snprintf(conf, sizeof conf, "CRIA_CONFIG=%s", path);
        FILE *f = fopen(path, "w");
        assert_non_null(f);
        fprintf(f, "[model chat]\npolicy = %s\n", is[i].policy);
        fclose(f);
        serve_start(&s, NULL, (const char *const[]){conf, NULL});
        api_make(&s, "chat", "llama32", "");
        for (int stream = 0; stream < 2; stream++) {
            struct fb_said x;
            char *body =
                body_of(FB_CHAT, stream, "I am " MAIL, "ok " MAIL, ",\"fallback\":[\"chat\"]");
            memcpy(strstr(body, "\"chat\""), "\"none\"", 6); /* the model that is asked for */
            fb_post(&s, FB_CHAT, stream, body, &x);
            if (x.status != (is[i].want ? 200 : 404)) fail_msg("%d: %s", x.status, x.error);
            if (!is[i].want && !strstr(x.error, "chat (unable: ")) fail_msg("%s", x.error);
            if (is[i].want && !str_is(trimmed(buf_view(&x.text)), is[i].want))
                fail_msg("%s: found %s; wanted %s", is[i].policy, x.text.p, is[i].want);
            fb_fini(&x);
            free(body);
        }
        assert_int_equal(serve_stop(&s), 0);
        temp_remove(dir);
    }
}

/* ---- calls of tools ---- */

/* The model calls mail({to: what the schema says}); what the client gets as "to". */
static void call(const struct serve *s, const char *schema, const char *want) {
    int n_call = 0;
    for (int seed = 1; seed < 5; seed++) {
        json_t *o = ask_json(
            s, "POST", "/v1/chat/completions", 200,
            "{\"model\":\"caller\",\"seed\":%d,\"max_tokens\":300,\"tool_choice\":\"required\","
            "\"messages\":[{\"role\":\"user\",\"content\":\"" MAIL "\"},{\"role\":\"assistant\","
            "\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"mail\","
            "\"arguments\":\"{\\\"to\\\":\\\"" MAIL
            "\\\"}\"}}]},{\"role\":\"tool\",\"tool_call_id\":"
            "\"c1\",\"content\":\"sent to " MAIL "\"}],"
            "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"mail\",\"strict\":true,"
            "\"parameters\":{\"type\":\"object\",\"properties\":{\"to\":%s},"
            "\"required\":[\"to\"],\"additionalProperties\":false}}}]}",
            seed, schema);
        const json_t *message =
            json_object_get(json_array_get(json_object_get(o, "choices"), 0), "message");
        const json_t *calls = json_object_get(message, "tool_calls");
        for (size_t i = 0; i < json_array_size(calls); i++, n_call++) {
            const char *args =
                text_of(json_object_get(json_array_get(calls, i), "function"), "arguments");
            if (!strstr(args, want)) fail_msg("found %s; wanted %s", args, want);
        }
        json_decref(o);
    }
    assert_true(n_call > 0);
}

static void calls_are_filtered(void **state) {
    (void)state;
    struct serve s;
    start(&s, "replace", "");
    api_make(&s, "caller", "llama32", API_CALLER);
    call(&s, "{\"enum\":[\"" MAIL "\"]}", MAIL);
    log_is_clean(&s);
    assert_int_equal(serve_stop(&s), 0);
    start(&s, "redact", "");
    api_make(&s, "caller", "llama32", API_CALLER);
    call(&s, "{\"enum\":[\"bob@example.net\"]}", "[EMAIL]"); /* so it was told */
    call(&s, "{\"type\":\"string\",\"pattern\":\"^bob@example[.]net$\"}", "[EMAIL]");
    log_is_clean(&s);
    assert_int_equal(serve_stop(&s), 0);
}

/* ---- /api/pii ---- */

static void finds_for_others(void **state) {
    (void)state;
    struct serve s;
    start(&s, "off", "");
    json_t *o = ask_json(&s, "POST", "/api/pii", 200,
                         "{\"text\":\"\xc3\xbc: " MAIL ", card " CARD
                         "\",\"mode\":\"redact\",\"entities\":[\"email\",\"card=mask\"]}");
    assert_string_equal(text_of(o, "text"), "\xc3\xbc: [EMAIL], card **** **** **** 1111");
    json_t *first = json_array_get(json_object_get(o, "found"), 0);
    assert_int_equal(json_array_size(json_object_get(o, "found")), 2);
    assert_string_equal(text_of(first, "entity"), "email");
    assert_string_equal(text_of(first, "replacement"), "[EMAIL]");
    assert_int_equal(json_integer_value(json_object_get(first, "start")), 3);
    assert_int_equal(json_integer_value(json_object_get(first, "end")), 23);
    assert_int_equal(json_integer_value(json_object_get(first, "start_byte")), 4);
    assert_int_equal(json_integer_value(json_object_get(first, "end_byte")), 24);
    json_decref(o);
    o = ask_json(&s, "POST", "/api/pii", 200,
                 "{\"text\":\"" MAIL " " MAIL "\",\"mode\":\"replace\"}");
    assert_string_equal(text_of(o, "text"), "<EMAIL_1> <EMAIL_1>");
    assert_string_equal(text_of(json_object_get(o, "placeholders"), "<EMAIL_1>"), MAIL);
    json_decref(o);
    o = ask_json(&s, "POST", "/api/pii", 200, "{\"text\":\"nothing here\"}");
    assert_int_equal(json_array_size(json_object_get(o, "found")), 0);
    json_decref(o);
    json_decref(ask_json(&s, "POST", "/api/pii", 400, "{\"text\":\"x\",\"entities\":\"mail\"}"));
    json_decref(ask_json(&s, "POST", "/api/pii", 400, "{\"text\":\"x\",\"entities\":[1]}"));
    assert_int_equal(serve_stop(&s), 0);
}

static void wrong_settings_do_not_start(void **state) {
    (void)state;
    struct buf said = {0};
    assert_int_equal(serve_fails(NULL, (const char *const[]){"CRIA_PII=erase", NULL}, &said), 2);
    assert_non_null(strstr(said.p, "CRIA_PII"));
    assert_non_null(strstr(said.p, "erase"));
    buf_fini(&said);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(redacts_both_sides), cmocka_unit_test(replaces_and_gives_back),
        cmocka_unit_test(blocks_by_name),     cmocka_unit_test(requests_are_stricter_only),
        cmocka_unit_test(nothing_goes_past),  cmocka_unit_test(escapes_are_seen),
        cmocka_unit_test(nowhere_else),       cmocka_unit_test(own_wish_cleans_the_log),
        cmocka_unit_test(calls_are_filtered), cmocka_unit_test(substitutes_keep_their_policy),
        cmocka_unit_test(finds_for_others),   cmocka_unit_test(wrong_settings_do_not_start),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
