/* The routes of the OpenAI and Anthropic dialects through a running server: each x {good, missing
 * field, wrong type, unknown field, unknown model, bad JSON, no body, huge, deep, wrong method},
 * every field with values of other types and at the ends of its range.  What answers hold is for
 * tests/js to see, with the real clients. */
#include "api_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/os.h"

static struct serve serve;

#define TURNS                                                                                      \
    ",\"template\":\"{{ range .Messages }}[{{ .Role }}] {{ .Content }}\\n{{ end }}[assistant] \""

static int start(void **state) {
    (void)state;
    serve_start(&serve, NULL, NULL);
    api_make(&serve, "chat", "llama32", TURNS);
    api_make(&serve, "embedder", "bert", "");
    return 0;
}

static int stop(void **state) {
    (void)state;
    return serve_stop(&serve);
}

/* ---- the routes and a request that each answers ---- */

enum form { OPENAI, ANTHROPIC };

static const struct post {
    const char *path;
    enum form form;
    const char *good;     /* with '' for "" */
    const char *required; /* fields, between blanks */
} posts[] = {
    {"/v1/chat/completions", OPENAI,
     "{'model':'chat','messages':[{'role':'user','content':'hi'}],'max_tokens':1}",
     "model messages"},
    {"/v1/completions", OPENAI, "{'model':'chat','prompt':'hi','max_tokens':1}", "model prompt"},
    {"/v1/embeddings", OPENAI, "{'model':'embedder','input':'hi'}", "model input"},
    {"/v1/responses", OPENAI, "{'model':'chat','input':'hi','max_output_tokens':1}", "model input"},
    {"/v1/messages", ANTHROPIC,
     "{'model':'chat','messages':[{'role':'user','content':'hi'}],'max_tokens':1}",
     "model messages max_tokens"},
    {"/v1/messages/count_tokens", ANTHROPIC,
     "{'model':'chat','messages':[{'role':'user','content':'hi'}]}", "model messages"},
};
enum { N_POST = sizeof posts / sizeof *posts };

/* ---- asking ---- */

/* The error must have its dialect's form; its message, its param (or "") in a static buffer. */
static const char *check_error(const struct post *p, const struct answer *a, const char **param) {
    static char message[1000], where[200];
    json_t *j = answer_json(a), *e = json_object_get(j, "error");
    const char *text = json_string_value(json_object_get(e, "message")),
               *type = json_string_value(json_object_get(e, "type")),
               *at = json_string_value(json_object_get(e, "param"));
    assert_non_null(text);
    assert_non_null(type);
    if (p->form == OPENAI) {
        assert_int_equal(json_object_size(e), 4);
        assert_non_null(json_object_get(e, "code"));
    } else {
        assert_string_equal(json_string_value(json_object_get(j, "type")), "error");
    }
    const char *want = a->status == 404 ? "not_found_error"
                       : a->status == 413
                           ? p->form == OPENAI ? "invalid_request_error" : "request_too_large"
                       : a->status < 500 ? "invalid_request_error"
                                         : "api_error";
    assert_string_equal(type, want);
    snprintf(message, sizeof message, "%s", text);
    snprintf(where, sizeof where, "%s", at ? at : "");
    json_decref(j);
    *param = where;
    return message;
}

/* Post these bytes; the status must be this one, an error of the dialect's form. */
static void post(const struct post *p, const char *body, int status, const char *in_message) {
    struct answer a;
    const char *param;
    ask(&serve, &a, "POST", p->path, NULL, body);
    if (a.status != status)
        fail_msg("%s %.200s: %d, not %d: %s", p->path, body ? body : "", a.status, status,
                 a.body.p ? a.body.p : "");
    if (status >= 400) {
        const char *message = check_error(p, &a, &param);
        if (in_message && !strstr(message, in_message))
            fail_msg("%s %.200s: \"%s\" is not in \"%s\"", p->path, body ? body : "", in_message,
                     message);
    }
    answer_fini(&a);
}

/* The same with a JSON value, taken over. */
static void post_json(const struct post *p, json_t *take, int status, const char *in_message) {
    char *text = json_dumps(take, JSON_COMPACT);
    post(p, text, status, in_message);
    free(text);
    json_decref(take);
}

/* The good request with one field more, or another. */
static json_t *with(const struct post *p, const char *field, const char *value) {
    json_t *j = api_quoted(p->good);
    json_object_set_new(j, field, api_quoted(value));
    return j;
}

/* ---- tests ---- */

static void good(void **state) {
    (void)state;
    for (int i = 0; i < N_POST; i++)
        post_json(&posts[i], api_quoted(posts[i].good), 200, NULL);
}

static void missing_field(void **state) {
    (void)state;
    for (int i = 0; i < N_POST; i++) {
        char fields[200], *save;
        snprintf(fields, sizeof fields, "%s", posts[i].required);
        for (char *f = strtok_r(fields, " ", &save); f; f = strtok_r(NULL, " ", &save)) {
            char want[100];
            json_t *j = api_quoted(posts[i].good);
            json_object_del(j, f);
            snprintf(want, sizeof want, "%s is required", f);
            post_json(&posts[i], j, 400, want);
            post_json(&posts[i], with(&posts[i], f, "null"), 400, want); /* null is absent */
        }
    }
}

static void unknown_field(void **state) {
    (void)state;
    for (int i = 0; i < N_POST; i++) {
        struct answer a;
        const char *param;
        json_t *j = with(&posts[i], "colour", "'red'");
        char *text = json_dumps(j, 0);
        ask(&serve, &a, "POST", posts[i].path, NULL, text);
        assert_int_equal(a.status, 400);
        assert_non_null(strstr(check_error(&posts[i], &a, &param), "colour"));
        assert_string_equal(param, posts[i].form == OPENAI ? "colour" : "");
        answer_fini(&a);
        free(text);
        json_decref(j);
    }
}

static void unknown_model(void **state) {
    (void)state;
    static const char *const bad[] = {"'../../etc/passwd'", "''", "'a b'", "'x/../../y'"};
    for (int i = 0; i < N_POST; i++) {
        post_json(&posts[i], with(&posts[i], "model", "'nobody'"), 404, "nobody");
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
            post_json(&posts[i], with(&posts[i], "model", bad[k]), 400, "model");
    }
}

static void bad_json(void **state) {
    (void)state;
    static const char *const bad[] = {"{",
                                      "[]",
                                      "nope",
                                      "{\"model\":\"chat\",}",
                                      "\"chat\"",
                                      "{\"a\":1,\"a\":1}",
                                      "{\"a\":\"\xff\"}",
                                      "{}{}"};
    char *deep = api_deep();
    for (int i = 0; i < N_POST; i++) {
        post(&posts[i], NULL, 400, "missing request body");
        for (size_t k = 0; k < sizeof bad / sizeof *bad; k++)
            post(&posts[i], bad[k], 400, NULL);
        post(&posts[i], deep, 400, "deep");
    }
    free(deep);
}

static void huge(void **state) {
    (void)state;
    char *body = api_long("{\"model\":\"", 33 << 20, "\"}");
    for (int i = 0; i < N_POST; i++)
        post(&posts[i], body, 413, NULL);
    free(body);
}

static void wrong_method(void **state) {
    (void)state;
    struct answer a;
    for (int i = 0; i < N_POST; i++) {
        ask(&serve, &a, "PUT", posts[i].path, NULL, "{}");
        assert_int_equal(a.status, 405);
        answer_fini(&a);
    }
    ask(&serve, &a, "POST", "/v1/audio/transcriptions", NULL, "{}"); /* not there */
    assert_int_equal(a.status, 404);
    answer_fini(&a);
}

/* Fields of one type; a route's others are refused as unknown, also with 400. */
static const struct {
    const char *fields, *right; /* names; a value that all of them take, or NULL */
    const char *wrong[8];       /* values; NULL ends */
} kinds[] = {
    {"stream", NULL, {"'yes'", "1", "[]", "{}", NULL}},
    {"logprobs", NULL, {"'yes'", "[]", "{}", "-1.5", NULL}},
    {"temperature top_p", "0.5", {"'hot'", "true", "[]", "{}", "-0.1", "2.1"}},
    {"frequency_penalty presence_penalty", "0.5", {"'x'", "true", "[]", "-2.1", "2.1", NULL}},
    {"n", "1", {"'1'", "0", "-1", "129", "1.5", "true"}},
    {"seed", "5", {"'1'", "[]", "1.5", "true", NULL}},
    {"max_tokens max_completion_tokens max_output_tokens",
     NULL,
     {"'1'", "0", "-2", "1.5", "[]", "1e10"}},
    {"stop", "'x'", {"1", "true", "{}", "[1]", "['']", "''"}},
    {"stop_sequences", "['x']", {"'x'", "1", "[1]", "['']", "{}", NULL}},
    {"logit_bias", "{'5':-100}", {"[]", "'x'", "{'x':1}", "{'1':'x'}", "{'1':101}", "{'-1':1}"}},
    {"tools",
     "[]",
     {"{}", "'x'", "[1]", "[{}]", "[{'type':'file_search'}]",
      "[{'type':'function','function':{'name':'a b'}}]"}},
    {"tool_choice", NULL, {"1", "[]", "'sometimes'", "{}", "{'type':'function'}", "'required'"}},
    {"response_format",
     "{'type':'text'}",
     {"'json'", "[]", "{}", "{'type':'xml'}", "{'type':'json_schema'}",
      "{'type':'json_schema','json_schema':{'name':'x'}}"}},
    {"messages",
     NULL,
     {"{}", "'hi'", "[]", "['hi']", "[{'role':'user'}]", "[{'role':'nobody','content':'x'}]",
      "[{'role':'','content':'x'}]", "[{'role':'user assistant','content':'x'}]"}},
    {"prompt", "['a']", {"1", "{}", "[]", "[[]]", "[1.5]", "[{}]"}},
    {"input", NULL, {"1", "{}", "[]", "[[]]", "[1.5]", "[{}]"}},
    {"system", "'x'", {"1", "{}", "[1]", "[{'type':'image'}]", NULL}},
    {"thinking",
     "{'type':'disabled'}",
     {"'on'", "{}", "{'type':'x'}", "{'type':'enabled'}", "{'type':'enabled','budget_tokens':5}",
      NULL}},
    {"user", "'anna'", {"1", "[]", "{}", NULL}},
    {"metadata", "{}", {"1", "[]", "'x'", NULL}},
    {"options", "{'top_k':5}", {"1", "[]", "'x'", "{'top_k':'x'}", "{'temperature':[]}", NULL}},
    {"num_ctx", "2048", {"'x'", "0", "-1", "1e9", "[]", NULL}},
    {"keep_alive", "'5m'", {"[]", "{}", "true", "'5 parsecs'", NULL}},
    {"encoding_format", "'float'", {"'int8'", "1", "[]", NULL}},
    {"dimensions", "8", {"'x'", "0", "-1", "1.5", NULL}},
    {"reasoning_effort", "'none'", {"'much'", "1", "[]", NULL}},
    {"previous_response_id", NULL, {"'resp_0'", "1", "[]", "''", NULL}},
    {"instructions", "'x'", {"1", "[]", NULL}},
    {"text", "{'format':{'type':'text'}}", {"'x'", "{'format':'x'}", "{'format':{}}", NULL}},
    {"truncation", "'auto'", {"'x'", "true", NULL}},
    {"include", "[]", {"'x'", "[1]", "['x']", NULL}},
};

/* Of /v1/embeddings "input" may be a list of numbers; of /v1/responses a list is of items. */
static void every_field(void **state) {
    (void)state;
    int n_right = 0;
    for (size_t k = 0; k < sizeof kinds / sizeof *kinds; k++)
        for (int i = 0; i < N_POST; i++) {
            char fields[200], *save;
            snprintf(fields, sizeof fields, "%s", kinds[k].fields);
            for (char *f = strtok_r(fields, " ", &save); f; f = strtok_r(NULL, " ", &save)) {
                for (int v = 0; v < 8 && kinds[k].wrong[v]; v++)
                    post_json(&posts[i], with(&posts[i], f, kinds[k].wrong[v]), 400, NULL);
                if (!kinds[k].right) continue;
                struct answer a;
                json_t *j = with(&posts[i], f, kinds[k].right);
                char *text = json_dumps(j, 0);
                ask(&serve, &a, "POST", posts[i].path, NULL, text);
                if (a.status != 200 && a.status != 400) fail_msg("%s: %d", text, a.status);
                if (a.status == 400 && !strstr(a.body.p, "not known here") &&
                    !strstr(a.body.p, "this server keeps no prompts"))
                    fail_msg("%s %s: %s", posts[i].path, text, a.body.p);
                n_right += a.status == 200;
                answer_fini(&a);
                free(text);
                json_decref(j);
            }
        }
    assert_true(n_right > 50);
}

/* Whatever number it is, the server stands, and says 200 or 400 (SECURITY.md H8). */
static void extremes(void **state) {
    (void)state;
    static const char *const fields =
        "temperature top_p top_k min_p repeat_penalty frequency_penalty presence_penalty seed n "
        "max_tokens max_completion_tokens max_output_tokens top_logprobs logprobs dimensions "
        "num_ctx keep_alive best_of";
    static const char *const values[] = {"-9223372036854775808", "-1",    "0",      "1",
                                         "9223372036854775807",  "1e308", "-1e308", "1e-308",
                                         "2147483648",           "0.5"};
    for (int i = 0; i < N_POST; i++) {
        char all[400], *save;
        snprintf(all, sizeof all, "%s", fields);
        for (char *f = strtok_r(all, " ", &save); f; f = strtok_r(NULL, " ", &save))
            for (size_t v = 0; v < sizeof values / sizeof *values; v++) {
                struct answer a;
                const bool is_long = values[v][0] == '2' || strcmp(values[v], "-1") == 0;
                if (strstr(f, "max_") && is_long) continue; /* and allowed */
                json_t *j = with(&posts[i], f, values[v]);
                char *text = json_dumps(j, 0);
                ask(&serve, &a, "POST", posts[i].path, NULL, text);
                if (a.status != 200 && a.status != 400)
                    fail_msg("%s %s: %d %s", posts[i].path, text, a.status,
                             a.body.p ? a.body.p : "");
                answer_fini(&a);
                free(text);
                json_decref(j);
            }
    }
}

/* Lists and texts far beyond what anyone needs (SECURITY.md H10): a status, and soon. */
static void large_lists(void **state) {
    (void)state;
    static const struct {
        const char *field, *item; /* a list of items, %d is their number... */
        int n, status;            /* 0: 200 or 400 */
    } cases[] = {
        {"stop", "\"s%d\"", 64, 200},
        {"stop", "\"s%d\"", 65, 400},
        {"stop", "\"s%d\"", 100000, 400},
        {"messages", "{\"role\":\"user\",\"content\":\"%d\"}", 20000, 0},
        {"tools", "{\"type\":\"function\",\"function\":{\"name\":\"f%d\"}}", 10000, 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = {0};
        struct answer a;
        buf_printf(&b, "{\"model\":\"chat\",\"max_tokens\":1,%s\"%s\":[",
                   strcmp(cases[i].field, "messages") == 0
                       ? ""
                       : "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],",
                   cases[i].field);
        for (int k = 0; k < cases[i].n; k++) {
            char item[200];
            const char *at = strchr(cases[i].item, '%');
            snprintf(item, sizeof item, "%.*s%d%s", (int)(at - cases[i].item), cases[i].item, k,
                     at + 2);
            buf_printf(&b, "%s%s", k ? "," : "", item);
        }
        buf_str(&b, "]}");
        ask(&serve, &a, "POST", "/v1/chat/completions", NULL, b.p);
        if (cases[i].status ? a.status != cases[i].status : a.status != 200 && a.status != 400)
            fail_msg("%s x %d: %d %.300s", cases[i].field, cases[i].n, a.status, a.body.p);
        if (!SANITIZED && a.seconds > 10) fail_msg("%s: %.1f s", cases[i].field, a.seconds);
        answer_fini(&a);
        buf_fini(&b);
    }
    /* A stop text of a MB, a bias for each of 100,000 ids, more inputs than there may be. */
    char *text = api_long("{\"model\":\"chat\",\"max_tokens\":1,\"messages\":[{\"role\":\"user\","
                          "\"content\":\"hi\"}],\"stop\":\"",
                          1 << 20, "\"}");
    struct answer a;
    ask(&serve, &a, "POST", "/v1/chat/completions", NULL, text);
    assert_true(a.status == 200 || a.status == 400);
    answer_fini(&a);
    free(text);
    json_t *j = api_quoted(posts[0].good), *bias = json_object(), *inputs = json_array();
    for (int i = 0; i < 100000; i++) {
        char id[20];
        snprintf(id, sizeof id, "%d", i);
        json_object_set_new(bias, id, json_integer(1));
        if (i < 2049) json_array_append_new(inputs, json_string("x"));
    }
    json_object_set_new(j, "logit_bias", bias);
    post_json(&posts[0], j, 400, NULL);
    j = api_quoted(posts[2].good);
    json_object_set_new(j, "input", inputs);
    post_json(&posts[2], j, 400, "2048");
}

static void models(void **state) {
    (void)state;
    struct answer a;
    json_t *j = ask_json(&serve, "GET", "/v1/models", 200, "%s", "");
    assert_int_equal(json_array_size(json_object_get(j, "data")), 2);
    json_decref(j);
    j = ask_json(&serve, "GET", "/v1/models/library/chat:latest", 200, "%s", "");
    assert_string_equal(json_string_value(json_object_get(j, "id")), "chat:latest");
    json_decref(j);
    static const char *const none[] = {"nobody", "..%2f..%2fetc%2fpasswd", "a%20b", "chat:v9"};
    for (size_t i = 0; i < sizeof none / sizeof *none; i++) {
        char path[100];
        const char *param;
        snprintf(path, sizeof path, "/v1/models/%s", none[i]);
        ask(&serve, &a, "GET", path, NULL, NULL);
        assert_int_equal(a.status, 404);
        check_error(&posts[0], &a, &param);
        assert_string_equal(param, "model");
        answer_fini(&a);
        ask(&serve, &a, "GET", path, "Host: localhost\r\nanthropic-version: 2023-06-01\r\n", NULL);
        assert_int_equal(a.status, 404);
        check_error(&posts[4], &a, &param);
        answer_fini(&a);
    }
}

static void no_such_response(void **state) {
    (void)state;
    struct answer a;
    const char *param;
    static const char *const method[] = {"GET", "DELETE"}, *const id[] = {"resp_0", "..%2f..%2fx",
                                                                          "x'%20OR%201=1"};
    for (int m = 0; m < 2; m++)
        for (int i = 0; i < 3; i++) {
            char path[100];
            snprintf(path, sizeof path, "/v1/responses/%s", id[i]);
            ask(&serve, &a, method[m], path, NULL, NULL);
            assert_int_equal(a.status, 404);
            check_error(&posts[3], &a, &param);
            answer_fini(&a);
        }
}

/* What one key keeps no other reads, goes on with or deletes; a file that only its owner reads. */
static void responses_of_a_key(void **state) {
    (void)state;
    static const char anna[] = "Host: localhost\r\nAuthorization: Bearer anna-key-0123456789\r\n",
                      bob[] = "Host: localhost\r\nx-api-key: bob-key-0123456789\r\n";
    struct serve s;
    struct answer a;
    struct err e;
    struct stat st;
    char *dir = temp_folder(), path[700], models[700], body[900], file[700];
    snprintf(file, sizeof file, "%s/keys", dir);
    const char *keys = "anna anna-key-0123456789 use\nbob bob-key-0123456789 use\n";
    assert_int_equal(os_write_file(file, keys, strlen(keys), &e), 0);
    chmod(file, 0600);
    snprintf(models, sizeof models, "CRIA_MODELS=%s/models", serve.dir);
    serve_start(&s, (const char *const[]){"--api-key-file", file, NULL},
                (const char *const[]){models, NULL});
    ask(&s, &a, "POST", "/v1/responses", NULL, "{}");
    assert_int_equal(a.status, 401);
    answer_fini(&a);
    ask(&s, &a, "POST", "/v1/responses", anna,
        "{\"model\":\"chat\",\"input\":\"hi\",\"max_output_tokens\":1}");
    assert_int_equal(a.status, 200);
    json_t *j = answer_json(&a);
    assert_true(json_is_true(json_object_get(j, "store")));
    snprintf(path, sizeof path, "/v1/responses/%s", json_string_value(json_object_get(j, "id")));
    answer_fini(&a);
    snprintf(body, sizeof body,
             "{\"model\":\"chat\",\"input\":\"hi\",\"max_output_tokens\":1,"
             "\"previous_response_id\":\"%s\"}",
             path + 14);
    const struct {
        const char *method, *path, *key, *body;
        int status;
    } steps[] = {{"GET", path, bob, NULL, 404},
                 {"DELETE", path, bob, NULL, 404},
                 {"POST", "/v1/responses", bob, body, 400},
                 {"POST", "/v1/responses", anna, body, 200},
                 {"GET", path, anna, NULL, 200},
                 {"DELETE", path, anna, NULL, 200},
                 {"GET", path, anna, NULL, 404}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        ask(&s, &a, steps[i].method, steps[i].path, steps[i].key, steps[i].body);
        if (a.status != steps[i].status) fail_msg("step %zu: %d %s", i, a.status, a.body.p);
        answer_fini(&a);
    }
    snprintf(file, sizeof file, "%s/.cria/responses.db", s.dir);
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    json_decref(j);
    assert_int_equal(serve_stop(&s), 0);
    temp_remove(dir);
}

/* Names of keys that look like addresses or numbers are names: what one key has kept another does
 * not get, nor does it see by "cached_tokens" what the other has asked. */
static void keys_do_not_meet(void **state) {
    (void)state;
    static const char *const key[] = {
        "Host: localhost\r\nAuthorization: Bearer first-key-0123456789\r\n",
        "Host: localhost\r\nAuthorization: Bearer other-key-0123456789\r\n"};
    struct serve s;
    struct answer a;
    struct err e;
    char *dir = temp_folder(), models[700], path[700], file[700], id[200] = "";
    snprintf(file, sizeof file, "%s/keys", dir);
    const char *keys = "1001 first-key-0123456789 use\n10.0.0.2 other-key-0123456789 use\n";
    assert_int_equal(os_write_file(file, keys, strlen(keys), &e), 0);
    chmod(file, 0600);
    snprintf(models, sizeof models, "CRIA_MODELS=%s/models", serve.dir);
    serve_start(&s, (const char *const[]){"--api-key-file", file, NULL},
                (const char *const[]){models, NULL});
    char *body = api_long("{\"model\":\"chat\",\"max_output_tokens\":1,\"input\":\"", 400, "\"}");
    static const struct {
        int key;
        bool cached;
    } steps[] = {{0, false}, {1, false}, {0, true}, {1, true}};
    for (size_t i = 0; i < sizeof steps / sizeof *steps; i++) {
        ask(&s, &a, "POST", "/v1/responses", key[steps[i].key], body);
        if (a.status != 200) fail_msg("step %zu: %d %s", i, a.status, a.body.p);
        json_t *j = answer_json(&a);
        if (i == 0) snprintf(id, sizeof id, "%s", json_string_value(json_object_get(j, "id")));
        json_int_t n = -1;
        assert_int_equal(
            json_unpack(j, "{s:{s:{s:I}}}", "usage", "input_tokens_details", "cached_tokens", &n),
            0);
        if ((n > 0) != steps[i].cached) fail_msg("step %zu: %d cached tokens", i, (int)n);
        json_decref(j);
        answer_fini(&a);
    }
    snprintf(path, sizeof path, "/v1/responses/%s", id);
    for (int i = 1; i >= 0; i--) {
        ask(&s, &a, "GET", path, key[i], NULL);
        assert_int_equal(a.status, i ? 404 : 200);
        answer_fini(&a);
    }
    free(body);
    assert_int_equal(serve_stop(&s), 0);
    temp_remove(dir);
}

/* Whoever is named by "user": long names, cut by no one, in the middle of a character least. */
static void long_users(void **state) {
    (void)state;
    struct buf user = {0};
    buf_str(&user, "x");
    for (int i = 0; i < 1000; i++)
        buf_str(&user, "\u00e9");
    static const struct {
        const char *path, *fields;
    } cases[] = {
        {"/v1/completions", "\"model\":\"chat\",\"prompt\":\"a\",\"max_tokens\":1,\"user\":\"%s\""},
        {"/v1/messages",
         "\"model\":\"chat\",\"messages\":[{\"role\":\"user\",\"content\":\"a\"}],\"max_tokens\":1,"
         "\"metadata\":{\"user_id\":\"%s\"}"},
        {"/v1/embeddings", "\"model\":\"embedder\",\"input\":\"a\",\"user\":\"%s\""},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct buf b = {0};
        struct answer a;
        const char *at = strstr(cases[i].fields, "%s");
        buf_printf(&b, "{%.*s%s%s}", (int)(at - cases[i].fields), cases[i].fields, user.p, at + 2);
        ask(&serve, &a, "POST", cases[i].path, NULL, b.p);
        if (a.status != 200) fail_msg("%s: %d %s", cases[i].path, a.status, a.body.p);
        answer_fini(&a);
        buf_fini(&b);
    }
    buf_fini(&user);
}

/* ---- a model that does not fit ---- */

/* Agents shorten their conversation when a prompt is too long: that a model does not fit into the
 * memory must not look the same. */
static void no_memory(void **state) {
    (void)state;
    struct serve s;
    struct answer a;
    char models[700];
    snprintf(models, sizeof models, "CRIA_MODELS=%s/models", serve.dir);
    serve_start(&s, NULL, (const char *const[]){models, "CRIA_MEMORY=20m", NULL});
    for (int i = 0; i < N_POST; i++) {
        if (strcmp(posts[i].path, "/v1/embeddings") == 0) continue;
        json_t *options = json_pack("{s:{s:i}}", "options", "num_ctx", 131072);
        json_t *j = api_quoted(posts[i].good);
        json_object_update(j, options);
        char *text = json_dumps(j, 0);
        ask(&s, &a, "POST", posts[i].path, NULL, text);
        if (a.status < 400 || !strstr(a.body.p, "memory") || strstr(a.body.p, "too long") ||
            strstr(a.body.p, "context_length_exceeded"))
            fail_msg("%s: %d %s", posts[i].path, a.status, a.body.p);
        answer_fini(&a);
        free(text);
        json_decref(options);
        json_decref(j);
    }
    assert_int_equal(serve_stop(&s), 0);
}

/* ---- bytes of the streams ---- */

static void sse_lines(void **state) {
    (void)state;
    struct answer a;
    json_t *j = with(&posts[0], "stream", "true");
    char *text = json_dumps(j, 0);
    ask(&serve, &a, "POST", posts[0].path, NULL, text);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Content-Type"), "text/event-stream; charset=utf-8");
    assert_true(strncmp(a.body.p, "data: {\"id\":\"chatcmpl-", 22) == 0);
    assert_string_equal(a.body.p + a.body.n - 16, "\n\ndata: [DONE]\n\n");
    answer_fini(&a);
    free(text);
    json_decref(j);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good),
        cmocka_unit_test(missing_field),
        cmocka_unit_test(unknown_field),
        cmocka_unit_test(unknown_model),
        cmocka_unit_test(bad_json),
        cmocka_unit_test(huge),
        cmocka_unit_test(wrong_method),
        cmocka_unit_test(every_field),
        cmocka_unit_test(extremes),
        cmocka_unit_test(large_lists),
        cmocka_unit_test(models),
        cmocka_unit_test(no_such_response),
        cmocka_unit_test(responses_of_a_key),
        cmocka_unit_test(keys_do_not_meet),
        cmocka_unit_test(long_users),
        cmocka_unit_test(no_memory),
        cmocka_unit_test(sse_lines),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
