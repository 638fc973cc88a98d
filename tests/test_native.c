/* The native API through a running server: generate, chat, embed, embeddings, ps (COMPAT.md 2). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api_rig.h"

static struct serve S;

/* Templates that show what went into the prompt: a token for each character. */
#define PLAIN "{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ end }}<assistant>"
#define WITH_TOOLS                                                                                 \
    "{{ range .Messages }}<{{ .Role }}>{{ .Content }}{{ range .ToolCalls }}<tool_call>"            \
    "{\\\"name\\\": \\\"{{ .Function.Name }}\\\", \\\"arguments\\\": {{ .Function.Arguments }}}"   \
    "</tool_call>{{ end }}{{ end }}{{ if .Tools }}{{ .Tools }}{{ end }}<assistant>"
#define FILLS "{{ .Prompt }}<fill>{{ .Suffix }}<end>"

static int set_up(void **state) {
    (void)state;
    serve_start(&S, NULL, NULL);
    api_make(&S, "plain", "llama32",
             ",\"template\":\"" PLAIN "\",\"parameters\":{\"temperature\":0,\"num_ctx\":256}");
    api_make(&S, "rich", "llama32",
             ",\"template\":\"" PLAIN "\",\"parameters\":{\"temperature\":0,\"num_ctx\":256},"
             "\"system\":\"be brief\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"},"
             "{\"role\":\"assistant\",\"content\":\"ho\"}]");
    api_make(&S, "tools", "llama32",
             ",\"template\":\"" WITH_TOOLS "\",\"parameters\":{\"temperature\":0,\"num_ctx\":512}");
    api_make(&S, "fills", "llama32",
             ",\"template\":\"" FILLS "\",\"parameters\":{\"temperature\":0,\"num_ctx\":256}");
    api_make(&S, "bare", "llama32", ",\"parameters\":{\"temperature\":0,\"num_ctx\":256}");
    api_make(&S, "bert", "bert", "");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return serve_stop(&S);
}

static json_int_t int_of(const json_t *o, const char *key) {
    return json_integer_value(json_object_get(o, key));
}

/* Without a stream; json_decref. */
#define GENERATE(...) ask_json(&S, "POST", "/api/generate", 200, __VA_ARGS__)
#define CHAT(...) ask_json(&S, "POST", "/api/chat", 200, __VA_ARGS__)
#define SHORT "\"stream\":false,\"options\":{\"num_predict\":8}"

static json_t *lines_of(const char *path, const char *body) {
    struct answer a;
    ask(&S, &a, "POST", path, NULL, body);
    if (a.status != 200) fail_msg("%s %s: %d %s", path, body, a.status, a.body.p);
    assert_string_equal(answer_header(&a, "Content-Type"), "application/x-ndjson");
    json_t *lines = answer_stream(&a);
    answer_fini(&a);
    assert_true(json_array_size(lines) > 0);
    return lines;
}

static void check_time(const json_t *o) {
    int v[6];
    char fraction[16], zone;
    assert_int_equal(sscanf(text_of(o, "created_at"), "%4d-%2d-%2dT%2d:%2d:%2d.%9[0-9]%c", v, v + 1,
                            v + 2, v + 3, v + 4, v + 5, fraction, &zone),
                     8);
    assert_int_equal(strlen(fraction), 9);
    assert_int_equal(zone, 'Z');
}

/* The figures of a last object, and that nothing is 0 there. */
static void check_figures(const json_t *o) {
    static const char *const key[] = {"total_duration", "prompt_eval_count", "prompt_eval_duration",
                                      "eval_count", "eval_duration"};
    const char *k;
    json_t *v;
    for (size_t i = 0; i < sizeof key / sizeof *key; i++)
        if (int_of(o, key[i]) <= 0) fail_msg("%s: %s", key[i], json_dumps(o, 0));
    assert_true(int_of(o, "total_duration") >= int_of(o, "eval_duration"));
    json_object_foreach((json_t *)(uintptr_t)o, k, v) if (json_is_integer(v))
        assert_true(json_integer_value(v) > 0);
}

/* ---- every route with every kind of bad request ---- */

#define M "\"model\":\"plain\","

static const struct bad {
    const char *path, *body;
    int status;
    const char *text;
} bad[] = {
    {"/api/generate", NULL, 400, "missing request body"},
    {"/api/generate", "{}", 400, "model is required"},
    {"/api/generate", "{\"model\":null}", 400, "model is required"},
    {"/api/generate", "{\"model\":17}", 400, "\"model\" must be of type string"},
    {"/api/generate", "{\"model\":\"../../x\"}", 400, "invalid model name"},
    {"/api/generate", "{\"model\":\"nope\",\"prompt\":\"x\"}", 404, "nope"},
    {"/api/generate", "{\"model\":\"nope\"}", 404, "nope"},
    {"/api/generate", "{\"model\":\"nope\",\"keep_alive\":0}", 404, "nope"},
    {"/api/generate", "{\"model\":\"plain\",", 400, "JSON"},
    {"/api/generate", "[1]", 400, "object"},
    {"/api/generate", "{" M "\"prompt\":5}", 400, "\"prompt\" must be of type string"},
    {"/api/generate", "{" M "\"stream\":\"yes\"}", 400, "\"stream\" must be of type boolean"},
    {"/api/generate", "{" M "\"options\":[]}", 400, "\"options\" must be of type object"},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"format\":\"yaml\"}", 400,
     "invalid format: \"yaml\""},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"format\":7}", 400, "invalid format: 7"},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"think\":\"much\"}", 400, "invalid think value"},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"think\":3}", 400, "invalid think value"},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"think\":true}", 400,
     "\"plain\" does not support thinking"},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"think\":\"low\"}", 400,
     "\"plain\" does not support thinking"},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"suffix\":\"y\"}", 400,
     "\"plain\" does not support insert"},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"images\":[\"AAAA\"]}", 400,
     "\"plain\" does not support vision"},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"top_logprobs\":21}", 400,
     "top_logprobs must be between 0 and 20"},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"top_logprobs\":-1}", 400,
     "top_logprobs must be between 0 and 20"},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"raw\":true,\"system\":\"s\"}", 400,
     "raw mode does not support template, system, or context"},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"raw\":true,\"template\":\"s\"}", 400,
     "raw mode does not support template, system, or context"},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"raw\":true,\"context\":[1]}", 400,
     "raw mode does not support template, system, or context"},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"context\":[\"1\"]}", 400, "\"context\" must be"},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"context\":[-1]}", 400, ""},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"context\":[99999999]}", 400, ""},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"context\":[9223372036854775807]}", 400, ""},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"template\":\"{{ .Prompt \"}", 400, ""},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"keep_alive\":\"soon\"}", 400, ""},
    {"/api/generate", "{" M "\"prompt\":\"x\",\"keep_alive\":[]}", 400, ""},
    {"/api/generate", "{" M "\"prompt\":\"x\\u0000y\"}", 400, ""},
    {"/api/generate", "{" M "\"prompt\":\"\\ud800\"}", 400, ""},
    {"/api/generate", "{\"model\":\"bert\",\"prompt\":\"x\"}", 400,
     "\"bert\" does not support generate"},
    {"/api/chat", NULL, 400, "missing request body"},
    {"/api/chat", "{}", 400, "model is required"},
    {"/api/chat", "{\"model\":{}}", 400, "\"model\" must be of type string"},
    {"/api/chat", "{\"model\":\"nope\",\"messages\":[]}", 404, "nope"},
    {"/api/chat", "{\"model\":\"plain\"", 400, "JSON"},
    {"/api/chat", "{" M "\"messages\":{}}", 400, "\"messages\" must be of type array"},
    {"/api/chat", "{" M "\"messages\":[1]}", 400, "messages[0]: must be of type object"},
    {"/api/chat", "{" M "\"messages\":[{}]}", 400, "messages[0]: \"role\""},
    {"/api/chat", "{" M "\"messages\":[{\"role\":\"boss\",\"content\":\"x\"}]}", 400, ""},
    {"/api/chat", "{" M "\"messages\":[{\"role\":\"user\",\"content\":1}]}", 400,
     "messages[0]: \"content\" must be of type string"},
    {"/api/chat",
     "{" M "\"messages\":[{\"role\":\"user\",\"content\":\"x\",\"images\":[\"AAAA\"]}]}", 400,
     "\"plain\" does not support vision"},
    {"/api/chat",
     "{\"model\":\"tools\",\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{"
     "\"name\":\"f\",\"arguments\":\"{}\"}}]}]}",
     400, "messages[0]: \"arguments\" of a tool call must be of type object"},
    {"/api/chat",
     "{" M "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tools\":[{\"type\":\"function\","
     "\"function\":{\"name\":\"f\"}}]}",
     400, "\"plain\" does not support tools"},
    {"/api/chat", "{" M "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"think\":true}", 400,
     "\"plain\" does not support thinking"},
    {"/api/chat", "{" M "\"messages\":[{\"role\":\"user\",\"content\":\"x\"}],\"tool_choice\":1}",
     400, "\"tool_choice\" must be"},
    {"/api/chat", "{\"model\":\"bert\",\"messages\":[{\"role\":\"user\",\"content\":\"x\"}]}", 400,
     "\"bert\" does not support chat"},
    {"/api/embed", NULL, 400, "missing request body"},
    {"/api/embed", "{}", 400, "model is required"},
    {"/api/embed", "{\"model\":true}", 400, "must be of type string"},
    {"/api/embed", "{\"model\":\"nope\",\"input\":\"x\"}", 404, "nope"},
    {"/api/embed", "{\"model\":\"nope\"}", 404, "nope"},
    {"/api/embed", "{\"model\":\"bert\",\"input\":1}", 400, "invalid input type"},
    {"/api/embed", "{\"model\":\"bert\",\"input\":[1]}", 400, "invalid input type"},
    {"/api/embed", "{\"model\":\"bert\",\"input\":{}}", 400, "invalid input type"},
    {"/api/embed", "{\"model\":\"bert\",\"input\":\"x\",\"dimensions\":-1}", 400, "dimensions"},
    {"/api/embed", "{\"model\":\"bert\",\"input\":\"x\",\"dimensions\":\"3\"}", 400, "dimensions"},
    {"/api/embed", "{\"model\":\"bert\",\"input\":\"x\",\"truncate\":0}", 400, "truncate"},
    {"/api/embed", "oops", 400, "JSON"},
    {"/api/embeddings", NULL, 400, "missing request body"},
    {"/api/embeddings", "{}", 400, "model is required"},
    {"/api/embeddings", "{\"model\":\"nope\",\"prompt\":\"x\"}", 404, "nope"},
    {"/api/embeddings", "{\"model\":\"bert\",\"prompt\":[]}", 400, "must be of type string"},
    {"/api/embeddings", "{", 400, "JSON"},
};

static void bad_requests(void **state) {
    (void)state;
    struct buf text = {0};
    int n_wrong = 0;
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        const int status = api_status(&S, "POST", bad[i].path, bad[i].body, &text);
        if (status == bad[i].status && text.n && strstr(text.p, bad[i].text)) continue;
        print_error("%s %s: %d \"%s\"; want %d \"%s\"\n", bad[i].path, bad[i].body, status, text.p,
                    bad[i].status, bad[i].text);
        n_wrong++;
    }
    buf_fini(&text);
    assert_int_equal(n_wrong, 0);
}

static void methods_huge_deep(void **state) {
    (void)state;
    static const char *const path[] = {"/api/generate", "/api/chat", "/api/embed",
                                       "/api/embeddings"};
    for (size_t i = 0; i < sizeof path / sizeof *path; i++) {
        api_huge_and_deep(&S, path[i]);
        assert_int_equal(api_status(&S, "GET", path[i], NULL, NULL), 405);
        assert_int_equal(api_status(&S, "DELETE", path[i], NULL, NULL), 405);
    }
    assert_int_equal(api_status(&S, "POST", "/api/ps", "{}", NULL), 405);
}

/* ---- generate ---- */

static void generate_stream(void **state) {
    (void)state;
    json_t *lines = lines_of(
        "/api/generate", "{\"model\":\"plain\",\"prompt\":\"ab\",\"options\":{\"num_predict\":6,"
                         "\"ignore_eos\":true}}");
    const size_t n = json_array_size(lines);
    struct buf text = {0};
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(lines, i);
        assert_string_equal(text_of(o, "model"), "plain");
        check_time(o);
        assert_true(json_is_string(json_object_get(o, "response")));
        assert_int_equal(json_is_true(json_object_get(o, "done")), i == n - 1);
        if (i < n - 1) assert_int_equal(json_object_size(o), 4);
        buf_str(&text, text_of(o, "response"));
    }
    const json_t *last = json_array_get(lines, n - 1);
    check_figures(last);
    assert_string_equal(text_of(last, "response"), "");
    assert_string_equal(text_of(last, "done_reason"), "length");
    assert_int_equal(int_of(last, "eval_count"), 6);
    json_t *o = GENERATE("{\"model\":\"plain\",\"prompt\":\"ab\",\"stream\":false,\"options\":{"
                         "\"num_predict\":6,\"ignore_eos\":true}}");
    assert_string_equal(text_of(o, "response"), text.p);
    assert_true(json_is_true(json_object_get(o, "done")));
    check_figures(o);
    assert_int_equal(int_of(o, "prompt_eval_count"), int_of(last, "prompt_eval_count"));
    json_decref(o);
    json_decref(lines);
    buf_fini(&text);
}

/* What goes into the prompt, seen by what a raw prompt with the same text says. */
static void same(json_t *a, json_t *b) {
    if (strcmp(text_of(a, "response"), text_of(b, "response")) != 0 ||
        int_of(a, "prompt_eval_count") != int_of(b, "prompt_eval_count"))
        fail_msg("%s\n%s", json_dumps(a, 0), json_dumps(b, 0));
    json_decref(a);
    json_decref(b);
}

static json_t *raw(const char *prompt) {
    return GENERATE("{\"model\":\"plain\",\"prompt\":\"%s\",\"raw\":true," SHORT "}", prompt);
}

static void prompts(void **state) {
    (void)state;
    same(GENERATE("{\"model\":\"plain\",\"prompt\":\"ab\"," SHORT "}"), raw("<user>ab<assistant>"));
    same(GENERATE("{\"model\":\"plain\",\"prompt\":\"ab\",\"system\":\"s\"," SHORT "}"),
         raw("<system>s<user>ab<assistant>"));
    same(GENERATE("{\"model\":\"plain\",\"prompt\":\"ab\",\"template\":\"[{{ .Prompt }}]\"," SHORT
                  "}"),
         raw("[ab]"));
    same(GENERATE(
             "{\"model\":\"plain\",\"prompt\":\"ab\",\"system\":\"s\",\"template\":\"{{ .System "
             "}}/{{ .Prompt }}\"," SHORT "}"),
         raw("s/ab"));
    same(GENERATE("{\"model\":\"rich\",\"prompt\":\"ab\"," SHORT "}"),
         raw("<system>be brief<user>hi<assistant>ho<user>ab<assistant>"));
    same(GENERATE("{\"model\":\"rich\",\"prompt\":\"ab\",\"system\":\"s\"," SHORT "}"),
         raw("<system>s<user>hi<assistant>ho<user>ab<assistant>"));
    same(GENERATE("{\"model\":\"fills\",\"prompt\":\"ab\",\"suffix\":\"cd\"," SHORT "}"),
         raw("ab<fill>cd<end>"));
    /* Without any template the prompt is the text. */
    same(GENERATE("{\"model\":\"bare\",\"prompt\":\"ab\"," SHORT "}"), raw("ab"));
    /* What means nothing. */
    same(GENERATE(
             "{\"model\":\"plain\",\"prompt\":\"ab\",\"format\":\"\",\"think\":false,\"images\":"
             "[],\"suffix\":null,\"context\":[],\"keep_alive\":null," SHORT "}"),
         raw("<user>ab<assistant>"));
    same(GENERATE(
             "{\"model\":\"plain\",\"prompt\":\"ab\",\"format\":null,\"system\":\"\",\"template\":"
             "\"\"," SHORT "}"),
         raw("<user>ab<assistant>"));
    same(GENERATE("{\"name\":\"PLAIN\",\"prompt\":\"ab\"," SHORT "}"), raw("<user>ab<assistant>"));
}

static void context(void **state) {
    (void)state;
    json_t *o = raw("ab");
    assert_null(json_object_get(o, "context")); /* absent when raw */
    json_decref(o);
    o = GENERATE("{\"model\":\"plain\",\"prompt\":\"ab\"," SHORT "}");
    const json_t *context = json_object_get(o, "context");
    const json_int_t n_prompt = int_of(o, "prompt_eval_count"), n_eval = int_of(o, "eval_count");
    assert_true((json_int_t)json_array_size(context) >= n_prompt);
    assert_true((json_int_t)json_array_size(context) <= n_prompt + n_eval);
    char *ids = json_dumps(context, JSON_COMPACT);
    json_t *again =
        GENERATE("{\"model\":\"plain\",\"prompt\":\"cd\",\"context\":%s," SHORT "}", ids);
    assert_true(int_of(again, "prompt_eval_count") > (json_int_t)json_array_size(context));
    assert_true(json_array_size(json_object_get(again, "context")) > json_array_size(context));
    free(ids);
    json_decref(again);
    json_decref(o);
}

static void load_and_unload(void **state) {
    (void)state;
    static const char *const empty[] = {"{\"model\":\"plain\"}",
                                        "{\"model\":\"plain\",\"prompt\":\"\"}",
                                        "{\"model\":\"plain\",\"prompt\":\"\",\"stream\":true}"};
    for (int i = 0; i < 3; i++) {
        json_t *o = GENERATE("%s", empty[i]);
        assert_string_equal(text_of(o, "done_reason"), "load");
        assert_int_equal(json_object_size(o), 5);
        assert_string_equal(text_of(o, "response"), "");
        assert_true(json_is_true(json_object_get(o, "done")));
        check_time(o);
        json_decref(o);
    }
    json_t *o = CHAT("{\"model\":\"plain\",\"messages\":[]}");
    assert_string_equal(text_of(o, "done_reason"), "load");
    assert_string_equal(text_of(json_object_get(o, "message"), "role"), "assistant");
    assert_string_equal(text_of(json_object_get(o, "message"), "content"), "");
    json_decref(o);
    json_t *ps = ask_json(&S, "GET", "/api/ps", 200, "%s", ""), *m = NULL, *one;
    size_t i;
    json_array_foreach(json_object_get(ps, "models"), i,
                       one) if (strcmp(text_of(one, "name"), "plain:latest") == 0) m = one;
    assert_non_null(m);
    assert_int_equal(strlen(text_of(m, "digest")), 64);
    assert_int_equal(int_of(m, "context_length"), 256);
    assert_true(int_of(m, "size") > 0);
    assert_true(json_is_integer(json_object_get(m, "size_vram")));
    assert_string_equal(text_of(json_object_get(m, "details"), "family"), "llama");
    assert_true(strlen(text_of(m, "expires_at")) >= 20);
    json_decref(ps);
    o = GENERATE("{\"model\":\"plain\",\"keep_alive\":0}");
    assert_string_equal(text_of(o, "done_reason"), "unload");
    json_decref(o);
    o = CHAT("{\"model\":\"plain\",\"messages\":[],\"keep_alive\":\"0s\"}");
    assert_string_equal(text_of(o, "done_reason"), "unload");
    json_decref(o);
    for (int k = 0; k < 100; k++) {
        ps = ask_json(&S, "GET", "/api/ps", 200, "%s", "");
        m = NULL;
        json_array_foreach(json_object_get(ps, "models"), i,
                           one) if (strcmp(text_of(one, "name"), "plain:latest") == 0) m = one;
        const bool gone = !m;
        json_decref(ps);
        if (gone) return;
        usleep(50000);
    }
    fail_msg("still loaded");
}

static void keep_alive(void **state) {
    (void)state;
    static const struct {
        const char *value;
        int status;
    } forms[] = {{"300", 200},     {"-1", 200},        {"1.5", 200},           {"\"5m\"", 200},
                 {"\"-1m\"", 200}, {"\"1h30m\"", 200}, {"\"300ms\"", 200},     {"\"-1\"", 200},
                 {"null", 200},    {"\"x\"", 400},     {"\"5 minutes\"", 400}, {"{}", 400},
                 {"true", 400},    {"\"\"", 400}};
    char body[200];
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        snprintf(body, sizeof body, "{\"model\":\"plain\",\"keep_alive\":%s}", forms[i].value);
        const int status = api_status(&S, "POST", "/api/generate", body, NULL);
        if (status != forms[i].status) fail_msg("%s: %d", body, status);
    }
}

static void too_long(void **state) {
    (void)state;
    char *whole = api_long("{\"model\":\"plain\",\"truncate\":false,\"prompt\":\"", 3000,
                           "\"," SHORT "}"),
         *cut = api_long("{\"model\":\"plain\",\"prompt\":\"", 3000, "\"," SHORT "}");
    struct buf text = {0};
    struct answer a;
    assert_int_equal(api_status(&S, "POST", "/api/generate", whole, &text), 400);
    assert_true(strpbrk(text.p, "0123456789") != NULL); /* with the numbers */
    ask(&S, &a, "POST", "/api/generate", NULL, cut);
    assert_int_equal(a.status, 200);
    json_t *o = answer_json(&a);
    assert_true(int_of(o, "truncated") > 0);
    assert_non_null(answer_header(&a, "X-Cria-Truncated"));
    assert_int_equal(atoi(answer_header(&a, "X-Cria-Truncated")), int_of(o, "truncated"));
    assert_true(int_of(o, "prompt_eval_count") <= 256);
    json_decref(o);
    answer_fini(&a);
    free(whole), free(cut);
    buf_fini(&text);
}

/* ---- chat ---- */

static json_t *chat_as_generate(json_t *o) {
    const json_t *m = json_object_get(o, "message");
    assert_string_equal(text_of(m, "role"), "assistant");
    json_object_set(o, "response", json_object_get(m, "content"));
    return o;
}

#define SAY(role, text) "{\"role\":\"" role "\",\"content\":\"" text "\"}"

static void conversations(void **state) {
    (void)state;
    same(chat_as_generate(
             CHAT("{\"model\":\"plain\",\"messages\":[" SAY("user", "ab") "]," SHORT "}")),
         raw("<user>ab<assistant>"));
    same(chat_as_generate(CHAT("{\"model\":\"plain\",\"messages\":[" SAY("USER", "a") "," SAY(
             "Assistant", "b") "," SAY("user", "c") "]," SHORT "}")),
         raw("<user>a<assistant>b<user>c<assistant>"));
    /* The model's history first, its system message unless the client has one. */
    same(chat_as_generate(
             CHAT("{\"model\":\"rich\",\"messages\":[" SAY("user", "ab") "]," SHORT "}")),
         raw("<system>be brief<user>hi<assistant>ho<user>ab<assistant>"));
    same(chat_as_generate(CHAT("{\"model\":\"rich\",\"messages\":[" SAY("system", "s") "," SAY(
             "user", "ab") "]," SHORT "}")),
         raw("<user>hi<assistant>ho<system>s<user>ab<assistant>"));
}

static void chat_stream(void **state) {
    (void)state;
    json_t *lines = lines_of(
        "/api/chat", "{\"model\":\"plain\",\"messages\":[" SAY(
                         "user", "ab") "],\"options\":{\"num_predict\":5,\"ignore_eos\":true}}");
    const size_t n = json_array_size(lines);
    for (size_t i = 0; i < n; i++) {
        const json_t *o = json_array_get(lines, i), *m = json_object_get(o, "message");
        assert_string_equal(text_of(m, "role"), "assistant");
        assert_true(json_is_string(json_object_get(m, "content")));
        assert_int_equal(json_object_size(m), 2);
        assert_int_equal(json_is_true(json_object_get(o, "done")), i == n - 1);
        check_time(o);
    }
    const json_t *last = json_array_get(lines, n - 1);
    check_figures(last);
    assert_null(json_object_get(last, "context"));
    assert_string_equal(text_of(last, "done_reason"), "length");
    json_decref(lines);
}

#define TOOL                                                                                       \
    "\"tools\":[{\"type\":\"function\",\"function\":{\"name\":\"weather\",\"description\":\"d\","  \
    "\"parameters\":{\"type\":\"object\",\"properties\":{\"city\":{\"enum\":[\"Lima\",\"Quito\"]}" \
    ","                                                                                            \
    "\"days\":{\"type\":\"integer\",\"minimum\":1,\"maximum\":9}},\"required\":[\"city\","         \
    "\"days\"],"                                                                                   \
    "\"additionalProperties\":false}}}]"

static void check_call(const json_t *call) {
    const json_t *f = json_object_get(call, "function"), *args = json_object_get(f, "arguments");
    assert_int_equal(strlen(text_of(call, "id")), strlen("call_") + 8);
    assert_string_equal(text_of(f, "name"), "weather");
    assert_int_equal(int_of(f, "index"), 0);
    assert_true(json_is_object(args));
    assert_true(strcmp(text_of(args, "city"), "Lima") == 0 ||
                strcmp(text_of(args, "city"), "Quito") == 0);
    const json_int_t days = int_of(args, "days");
    assert_true(days >= 1 && days <= 9);
}

/* Random weights call nothing by themselves: they are made to. */
static void tool_calls(void **state) {
    (void)state;
    static const char ask_it[] = "{\"model\":\"tools\",\"messages\":[" SAY(
        "user", "weather?") "]," TOOL ",\"tool_choice\":\"required\",\"parallel_tool_calls\":false,"
                            "\"stream\":%s}";
    char body[1500];
    snprintf(body, sizeof body, ask_it, "false");
    json_t *o = CHAT("%s", body);
    const json_t *calls = json_object_get(json_object_get(o, "message"), "tool_calls");
    assert_int_equal(json_array_size(calls), 1);
    check_call(json_array_get(calls, 0));
    assert_string_equal(text_of(o, "done_reason"), "stop");
    /* The call and its result go back. */
    char *call = json_dumps(json_array_get(calls, 0), JSON_COMPACT);
    json_decref(CHAT(
        "{\"model\":\"tools\",\"messages\":[" SAY(
            "user",
            "weather?") ",{\"role\":"
                        "\"assistant\",\"content\":\"\",\"tool_calls\":[%s]},{\"role\":\"tool\","
                        "\"content\":\"dry\",\"tool_name\":\"weather\"}]," TOOL "," SHORT "}",
        call));
    free(call);
    json_decref(o);
    snprintf(body, sizeof body, ask_it, "true");
    json_t *lines = lines_of("/api/chat", body), *line;
    size_t i;
    int n = 0;
    json_array_foreach(lines, i, line) {
        calls = json_object_get(json_object_get(line, "message"), "tool_calls");
        if (!calls) continue;
        check_call(json_array_get(calls, 0));
        assert_true(json_is_false(json_object_get(line, "done")));
        n++;
    }
    assert_int_equal(n, 1);
    json_decref(lines);
}

static void formats(void **state) {
    (void)state;
    static const char schema[] =
        "{\"type\":\"object\",\"properties\":{\"a\":{\"enum\":[\"x\",\"y\"]},\"n\":{\"type\":"
        "\"integer\",\"minimum\":0,\"maximum\":9}},\"required\":[\"a\",\"n\"],"
        "\"additionalProperties\":"
        "false}";
    json_t *o = GENERATE("{\"model\":\"plain\",\"prompt\":\"ab\",\"stream\":false,\"format\":%s,"
                         "\"options\":{\"num_predict\":2500,\"num_ctx\":4096}}",
                         schema);
    json_error_t je;
    json_t *j = json_loads(text_of(o, "response"), 0, &je);
    if (!j) fail_msg("%s", json_dumps(o, 0));
    assert_int_equal(json_object_size(j), 2);
    assert_true(json_is_integer(json_object_get(j, "n")));
    json_decref(j);
    json_decref(o);
    o = CHAT("{\"model\":\"plain\",\"messages\":[" SAY(
                 "user", "ab") "],\"stream\":false,\"format\":%s,"
                               "\"options\":{\"num_predict\":2500,\"num_ctx\":4096}}",
             schema);
    j = json_loads(text_of(json_object_get(o, "message"), "content"), 0, &je);
    assert_non_null(j);
    json_decref(j);
    json_decref(o);
    struct buf text = {0};
    assert_int_equal(
        api_status(&S, "POST", "/api/generate",
                   "{\"model\":\"plain\",\"prompt\":\"x\",\"format\":{\"type\":\"objekt\"}}",
                   &text),
        400);
    buf_fini(&text);
}

static void check_logprobs(const json_t *list, int n_top) {
    json_t *v, *t;
    size_t i, k;
    json_array_foreach(list, i, v) {
        assert_true(json_is_string(json_object_get(v, "token")));
        assert_true(json_number_value(json_object_get(v, "logprob")) <= 0);
        assert_true(json_is_array(json_object_get(v, "bytes")));
        const json_t *top = json_object_get(v, "top_logprobs");
        assert_int_equal(json_array_size(top), n_top);
        json_array_foreach(top, k, t) assert_true(json_is_string(json_object_get(t, "token")));
    }
}

static void logprobs(void **state) {
    (void)state;
    json_t *o =
        GENERATE("{\"model\":\"plain\",\"prompt\":\"ab\",\"stream\":false,\"logprobs\":true,"
                 "\"top_logprobs\":3,\"options\":{\"num_predict\":4,\"ignore_eos\":true}}");
    assert_int_equal(json_array_size(json_object_get(o, "logprobs")), 4);
    check_logprobs(json_object_get(o, "logprobs"), 3);
    json_decref(o);
    json_t *lines = lines_of("/api/chat",
                             "{\"model\":\"plain\",\"messages\":[" SAY(
                                 "user", "ab") "],\"logprobs\":true,\"options\":{\"num_predict\":4,"
                                               "\"ignore_eos\":true}}"),
           *line;
    size_t i, n = 0;
    json_array_foreach(lines, i, line) {
        check_logprobs(json_object_get(line, "logprobs"), 0);
        n += json_array_size(json_object_get(line, "logprobs"));
    }
    assert_int_equal(n, 4);
    json_decref(lines);
}

/* ---- embeddings ---- */

static double norm_of(const json_t *row) {
    double ss = 0;
    json_t *v;
    size_t i;
    json_array_foreach(row, i, v) ss += json_number_value(v) * json_number_value(v);
    return sqrt(ss);
}

static json_t *embed(const char *input, const char *more) {
    return ask_json(&S, "POST", "/api/embed", 200, "{\"model\":\"bert\",\"input\":%s%s}", input,
                    more);
}

static void embeddings(void **state) {
    (void)state;
    json_t *o = embed("[\"abc\",\"de\",\"abc\"]", ""), *rows = json_object_get(o, "embeddings");
    assert_string_equal(text_of(o, "model"), "bert");
    assert_int_equal(json_array_size(rows), 3);
    assert_true(int_of(o, "total_duration") > 0);
    assert_true(int_of(o, "prompt_eval_count") > 0);
    for (int i = 0; i < 3; i++)
        assert_true(fabs(norm_of(json_array_get(rows, i)) - 1) < 1e-5);
    assert_true(json_equal(json_array_get(rows, 0), json_array_get(rows, 2)));
    assert_false(json_equal(json_array_get(rows, 0), json_array_get(rows, 1)));
    json_t *one = embed("\"abc\"", "");
    assert_true(
        json_equal(json_array_get(json_object_get(one, "embeddings"), 0), json_array_get(rows, 0)));
    json_decref(one);
    /* Cut, and of length 1 again. */
    one = embed("\"abc\"", ",\"dimensions\":5");
    const json_t *row = json_array_get(json_object_get(one, "embeddings"), 0);
    assert_int_equal(json_array_size(row), 5);
    assert_true(fabs(norm_of(row) - 1) < 1e-5);
    const double ratio = json_number_value(json_array_get(row, 0)) /
                         json_number_value(json_array_get(json_array_get(rows, 0), 0));
    for (size_t i = 1; i < 5; i++)
        assert_true(fabs(json_number_value(json_array_get(row, i)) -
                         ratio * json_number_value(json_array_get(json_array_get(rows, 0), i))) <
                    1e-5);
    json_decref(one);
    static const char *const none[] = {"[]", "\"\"", "null"};
    for (int i = 0; i < 3; i++) {
        one = embed(none[i], "");
        assert_int_equal(json_array_size(json_object_get(one, "embeddings")), 0);
        assert_true(json_is_array(json_object_get(one, "embeddings")));
        json_decref(one);
    }
    one = ask_json(&S, "POST", "/api/embeddings", 200, "{\"model\":\"bert\",\"prompt\":\"abc\"}");
    assert_int_equal(json_object_size(one), 1);
    row = json_object_get(one, "embedding");
    assert_int_equal(json_array_size(row), json_array_size(json_array_get(rows, 0)));
    assert_true(fabs(norm_of(row) - 1) > 1e-3); /* as the model gives it */
    json_decref(one);
    one = ask_json(&S, "POST", "/api/embeddings", 200, "{\"model\":\"bert\",\"prompt\":\"\"}");
    assert_int_equal(json_array_size(json_object_get(one, "embedding")), 0);
    json_decref(one);
    json_decref(o);
}

static void long_inputs(void **state) {
    (void)state;
    char *whole = api_long("{\"model\":\"bert\",\"truncate\":false,\"input\":\"", 60000, "\"}"),
         *words = api_long("", 0, "");
    struct buf text = {0}, body = {0};
    free(whole), free(words);
    buf_str(&body, "{\"model\":\"bert\",\"truncate\":false,\"input\":\"");
    for (int i = 0; i < 5000; i++)
        buf_str(&body, "a b ");
    buf_str(&body, "\"}");
    assert_int_equal(api_status(&S, "POST", "/api/embed", body.p, &text), 400);
    assert_non_null(strstr(text.p, "the input length exceeds the context length"));
    char *at = strstr(body.p, "false");
    memcpy(at, "true ", 5);
    struct answer a;
    ask(&S, &a, "POST", "/api/embed", NULL, body.p);
    assert_int_equal(a.status, 200);
    json_t *o = answer_json(&a);
    assert_true(int_of(o, "truncated") > 0);
    assert_int_equal(atoi(answer_header(&a, "X-Cria-Truncated")), int_of(o, "truncated"));
    json_decref(o);
    answer_fini(&a);
    buf_reset(&body);
    buf_str(&body, "{\"model\":\"bert\",\"input\":[\"a\"");
    for (int i = 0; i < 4096; i++)
        buf_str(&body, ",\"a\"");
    buf_str(&body, "]}");
    assert_int_equal(api_status(&S, "POST", "/api/embed", body.p, &text), 400);
    buf_fini(&text), buf_fini(&body);
}

/* ---- delete ---- */

static void deleted_is_unloaded(void **state) {
    (void)state;
    api_make(&S, "gone", "llama32", "");
    json_decref(GENERATE("{\"model\":\"gone\"}"));
    assert_int_equal(api_status(&S, "DELETE", "/api/delete", "{\"model\":\"gone\"}", NULL), 200);
    for (int k = 0; k < 100; k++) {
        json_t *ps = ask_json(&S, "GET", "/api/ps", 200, "%s", "");
        char *text = json_dumps(ps, 0);
        const bool there = strstr(text, "gone:latest") != NULL;
        free(text);
        json_decref(ps);
        if (!there) return;
        usleep(50000);
    }
    fail_msg("still loaded");
}

/* A name that is made anew answers as what it is now. */
static void made_anew(void **state) {
    (void)state;
    static const char form[] =
        ",\"template\":\"%s{{ .Prompt }}\",\"parameters\":{\"temperature\":0}";
    char more[200];
    snprintf(more, sizeof more, form, "a");
    api_make(&S, "anew", "llama32", more);
    json_t *o = GENERATE("{\"model\":\"anew\",\"prompt\":\"b\"," SHORT "}");
    const json_int_t before = int_of(o, "prompt_eval_count");
    json_decref(o);
    snprintf(more, sizeof more, form, "abcdefghij 123 ");
    api_make(&S, "anew", "llama32", more);
    o = GENERATE("{\"model\":\"anew\",\"prompt\":\"b\"," SHORT "}");
    assert_true(int_of(o, "prompt_eval_count") > before + 3);
    json_decref(o);
}

/* ---- too much of a good thing: SECURITY.md H6, H7, H9, H10 ---- */

/* before, n times `piece` with commas between, after. */
static char *many(const char *before, const char *piece, int n, const char *after) {
    struct buf b = {0};
    buf_str(&b, before);
    for (int i = 0; i < n; i++) {
        if (i) buf_byte(&b, ',');
        buf_str(&b, piece);
    }
    buf_str(&b, after);
    assert_false(b.failed);
    return b.p;
}

static void orderly(const char *what, const char *path, char *body, int status) {
    struct answer a;
    ask(&S, &a, "POST", path, NULL, body);
    const bool known =
        status ? a.status == status : a.status == 200 || a.status == 400 || a.status == 413;
    if (!known) fail_msg("%s: %d %.300s", what, a.status, a.body.p);
    if (!SANITIZED && a.seconds > 20) fail_msg("%s: %.1f s", what, a.seconds);
    answer_fini(&a);
    free(body);
}

static void too_much(void **state) {
    (void)state;
    static const char g[] = "{\"model\":\"plain\",\"prompt\":\"a\"," SHORT, end[] = "}";
    static const char chat[] = "{\"model\":\"plain\"," SHORT ",\"messages\":[";
    char *const stop = many("{\"model\":\"plain\",\"prompt\":\"a\",\"options\":{\"stop\":[",
                            "\"x\"", 100000, "]}}"),
                *const bias =
                    many("{\"model\":\"plain\",\"prompt\":\"a\",\"options\":{\"logit_bias\":{",
                         "\"1\":1", 1000000, "}}}");
    orderly("stops", "/api/generate", stop, 400);
    orderly("biases", "/api/generate", bias, 400);
    orderly(
        "long stop", "/api/generate",
        api_long(
            "{\"model\":\"plain\",\"prompt\":\"a\",\"stream\":false,\"options\":{\"num_predict\":1,"
            "\"stop\":[\"",
            1 << 20, "\"]}}"),
        0);
    orderly("messages", "/api/chat", many(chat, SAY("user", "a"), 30000, "]}"), 0);
    orderly("numbers for messages", "/api/chat", many(chat, "1", 1000000, "]}"), 400);
    orderly("tools", "/api/chat",
            many("{\"model\":\"tools\"," SHORT ",\"messages\":[" SAY("user", "a") "],\"tools\":[",
                 "{\"type\":\"function\",\"function\":{\"name\":\"f\",\"parameters\":{}}}", 5000,
                 "]}"),
            0);
    orderly(
        "images", "/api/chat",
        many("{\"model\":\"plain\",\"messages\":[{\"role\":\"user\",\"content\":\"a\",\"images\":[",
             "\"http://127.0.0.1:1/x.png\"", 1000, "]}]}"),
        400);
    orderly(
        "context", "/api/generate",
        many("{\"model\":\"plain\",\"prompt\":\"a\"," SHORT ",\"context\":[", "5", 1000000, "]}"),
        0);
    orderly("same key", "/api/generate", many("{", "\"prompt\":\"a\"", 1000000, "}"), 400);
    orderly("newlines", "/api/generate",
            many("{\"model\":\"plain\"," SHORT ",\"prompt\":\"", "\\n", 1000000, "\"}"), 0);
    orderly("enum", "/api/generate",
            many("{\"model\":\"plain\",\"prompt\":\"a\"," SHORT ",\"format\":{\"enum\":[",
                 "\"abc\"", 500000, "]}}"),
            0);
    orderly("pattern", "/api/generate",
            api_long("{\"model\":\"plain\",\"prompt\":\"a\"," SHORT
                     ",\"format\":{\"type\":\"string\",\"pattern\":\"^(",
                     100000, "*)*$\"}}"),
            0);
    orderly("inputs", "/api/embed", many("{\"model\":\"bert\",\"input\":[", "\"\"", 4096, "]}"), 0);
    struct buf b = {0};
    buf_printf(&b, "%s%s", g, end);
    orderly("and still", "/api/generate", b.p, 200);
    assert_int_equal(serve_lines(&S, "crash", "", 0), 0);
}

/* ---- options: SECURITY.md H8 ---- */

enum kind { INTEGER, NUMBER, BOOLEAN, TEXTS, BIAS, OLD };
static const char *const kind_name[] = {"integer", "number", "boolean", "", "", ""};

static const struct {
    const char *name;
    enum kind kind;
} options[] = {
    {"num_ctx", INTEGER},
    {"num_batch", INTEGER},
    {"num_thread", INTEGER},
    {"num_keep", INTEGER},
    {"num_predict", INTEGER},
    {"num_draft", INTEGER},
    {"seed", INTEGER},
    {"stop", TEXTS},
    {"temperature", NUMBER},
    {"top_k", INTEGER},
    {"top_p", NUMBER},
    {"min_p", NUMBER},
    {"typical_p", NUMBER},
    {"repeat_last_n", INTEGER},
    {"repeat_penalty", NUMBER},
    {"presence_penalty", NUMBER},
    {"frequency_penalty", NUMBER},
    {"penalize_newline", BOOLEAN},
    {"mirostat", INTEGER},
    {"mirostat_tau", NUMBER},
    {"mirostat_eta", NUMBER},
    {"dynatemp_range", NUMBER},
    {"dynatemp_exponent", NUMBER},
    {"top_n_sigma", NUMBER},
    {"xtc_probability", NUMBER},
    {"xtc_threshold", NUMBER},
    {"dry_multiplier", NUMBER},
    {"dry_base", NUMBER},
    {"dry_allowed_length", INTEGER},
    {"dry_penalty_last_n", INTEGER},
    {"dry_sequence_breaker", TEXTS},
    {"min_keep", INTEGER},
    {"logit_bias", BIAS},
    {"ignore_eos", BOOLEAN},
    {"shift", BOOLEAN},
    {"numa", OLD},
    {"low_vram", OLD},
    {"f16_kv", OLD},
    {"vocab_only", OLD},
    {"logits_all", OLD},
    {"use_mlock", OLD},
    {"embedding_only", OLD},
    {"tfs_z", OLD},
    {"num_gpu", OLD},
    {"main_gpu", OLD},
    {"use_mmap", OLD},
    {"no_such_option", OLD},
    {"n_discard", OLD},
};

static const struct {
    const char *value;
    unsigned wrong_for; /* bit per kind: certainly not of that type */
} values[] = {
    {"-9223372036854775808", 1u << BOOLEAN | 1u << TEXTS | 1u << BIAS},
    {"9223372036854775807", 1u << BOOLEAN | 1u << TEXTS | 1u << BIAS},
    {"-2147483649", 1u << BOOLEAN | 1u << TEXTS | 1u << BIAS},
    {"2147483648", 1u << BOOLEAN | 1u << TEXTS | 1u << BIAS},
    {"-1", 1u << BOOLEAN | 1u << TEXTS | 1u << BIAS},
    {"0", 1u << TEXTS | 1u << BIAS},
    {"1e308", 1u << INTEGER | 1u << BOOLEAN | 1u << TEXTS | 1u << BIAS},
    {"-1e308", 1u << INTEGER | 1u << BOOLEAN | 1u << TEXTS | 1u << BIAS},
    {"0.5", 1u << INTEGER | 1u << BOOLEAN | 1u << TEXTS | 1u << BIAS},
    {"\"text\"", 1u << INTEGER | 1u << NUMBER | 1u << BOOLEAN | 1u << BIAS},
    {"\"\"", 1u << INTEGER | 1u << NUMBER | 1u << BOOLEAN | 1u << BIAS},
    {"[]", 1u << INTEGER | 1u << NUMBER | 1u << BOOLEAN | 1u << BIAS},
    {"[1]", 1u << INTEGER | 1u << NUMBER | 1u << BOOLEAN | 1u << TEXTS | 1u << BIAS},
    {"{}", 1u << INTEGER | 1u << NUMBER | 1u << BOOLEAN | 1u << TEXTS},
    {"{\"-1\":1}", 1u << INTEGER | 1u << NUMBER | 1u << BOOLEAN | 1u << TEXTS},
    {"true", 1u << INTEGER | 1u << NUMBER | 1u << TEXTS | 1u << BIAS},
    {"NaN", ~0u},   /* no JSON at all */
    {"1e400", ~0u}, /* no number that a double holds */
    {"null", 0},
};

static void try_option(const char *path, const char *rest, size_t i, size_t k, int *n_ok) {
    char body[400];
    struct buf text = {0};
    const bool predicts = strcmp(options[i].name, "num_predict") == 0;
    snprintf(body, sizeof body, "{%s,\"stream\":false,\"options\":{\"%s\":%s%s}}", rest,
             options[i].name, values[k].value, predicts ? "" : ",\"num_predict\":1");
    const bool embeds = strstr(path, "embed") != NULL;
    if (embeds)
        snprintf(body, sizeof body, "{%s,\"options\":{\"%s\":%s}}", rest, options[i].name,
                 values[k].value);
    const int status = api_status(&S, "POST", path, body, &text);
    const bool nonsense = values[k].wrong_for == ~0u;
    const bool wrong =
        nonsense || (options[i].kind != OLD && values[k].wrong_for >> options[i].kind & 1);
    const bool must = !nonsense && (options[i].kind == OLD || strcmp(values[k].value, "null") == 0);
    if ((status != 200 && status != 400) || (wrong && status != 400) || (must && status != 200))
        fail_msg("%s %s: %d \"%s\"", path, body, status, text.p);
    if (wrong && !nonsense && !strstr(text.p, options[i].name))
        fail_msg("%s: \"%s\" does not name the option", body, text.p);
    if (wrong && !nonsense && *kind_name[options[i].kind] && values[k].value[0] != '-' &&
        !strstr(text.p, "must be of type"))
        fail_msg("%s: \"%s\" does not say the type", body, text.p);
    *n_ok += status == 200;
    buf_fini(&text);
}

static void every_option(void **state) {
    (void)state;
    static const struct {
        const char *path, *rest;
    } route[] = {{"/api/generate", "\"model\":\"plain\",\"prompt\":\"a\""},
                 {"/api/chat", "\"model\":\"plain\",\"messages\":[" SAY("user", "a") "]"},
                 {"/api/embed", "\"model\":\"bert\",\"input\":\"a\""}};
    enum {
        N_OPTION = sizeof options / sizeof *options,
        N_VALUE = sizeof values / sizeof *values,
        N_ROUTE = sizeof route / sizeof *route
    };
    int n = 0, n_ok = 0;
    assert_true(N_OPTION * N_VALUE * N_ROUTE >= 1500);
    for (size_t r = 0; r < N_ROUTE; r++)
        for (size_t i = 0; i < N_OPTION; i++)
            for (size_t k = 0; k < N_VALUE; k++, n++)
                try_option(route[r].path, route[r].rest, i, k, &n_ok);
    print_message("%d option cases, %d accepted\n", n, n_ok);
    assert_int_equal(serve_lines(&S, "crash", "", 0), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_requests),    cmocka_unit_test(methods_huge_deep),
        cmocka_unit_test(generate_stream), cmocka_unit_test(prompts),
        cmocka_unit_test(context),         cmocka_unit_test(load_and_unload),
        cmocka_unit_test(keep_alive),      cmocka_unit_test(too_long),
        cmocka_unit_test(conversations),   cmocka_unit_test(chat_stream),
        cmocka_unit_test(tool_calls),      cmocka_unit_test(formats),
        cmocka_unit_test(logprobs),        cmocka_unit_test(embeddings),
        cmocka_unit_test(long_inputs),     cmocka_unit_test(deleted_is_unloaded),
        cmocka_unit_test(made_anew),       cmocka_unit_test(too_much),
        cmocka_unit_test(every_option),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
