/* Receipts in the three dialects, whole and streamed, and `cria replay`, which gets the same answer
 * again, or says what differs. */
#include "train_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "server/receipt.h"

static struct serve S;

static int start(void **state) {
    (void)state;
    char models[800];
    serve_start(&S, NULL, NULL);
    train_base(&S);
    /* Commands look into its store without asking it. */
    snprintf(models, sizeof models, "%s/models", S.dir);
    setenv("CRIA_MODELS", models, 1);
    setenv("CRIA_HOST", "127.0.0.1:9", 1);
    return 0;
}

static int stop(void **state) {
    (void)state;
    return serve_stop(&S);
}

#define OPTIONS "\"options\":{\"num_predict\":12,\"temperature\":1.5,\"ignore_eos\":true}"

static const struct {
    const char *path, *body;
} ways[] = {
    {"/api/generate",
     "{\"model\":\"base\",\"prompt\":\"number 3\",\"receipt\":true,\"stream\":%s," OPTIONS "}"},
    {"/api/chat", "{\"model\":\"base\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
                  "\"receipt\":true,\"stream\":%s," OPTIONS "}"},
    {"/v1/chat/completions",
     "{\"model\":\"base\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
     "\"receipt\":true,\"stream\":%s,\"max_tokens\":12,\"temperature\":1.5,\"n\":2}"},
    {"/v1/completions", "{\"model\":\"base\",\"prompt\":\"hi\",\"receipt\":true,\"stream\":%s,"
                        "\"max_tokens\":12,\"temperature\":1.5}"},
    {"/v1/messages", "{\"model\":\"base\",\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],"
                     "\"receipt\":true,\"stream\":%s,\"max_tokens\":12,\"temperature\":1}"},
};
enum { N_WAY = sizeof ways / sizeof *ways };

/* The receipt in the last object of the answer that has one; json_decref. */
static json_t *receipt_of(int way, const char *stream) {
    struct answer a;
    char body[600];
    json_t *found = NULL;
    snprintf(body, sizeof body, ways[way].body, stream);
    ask(&S, &a, "POST", ways[way].path, NULL, body);
    if (a.status != 200 || !a.whole) fail_msg("%s: %d %s", ways[way].path, a.status, a.body.p);
    for (char *rest = a.body.p, *line; (line = strsep(&rest, "\n"));) {
        char *begin = strchr(line, '{');
        json_t *j = begin ? json_loads(begin, JSON_DISABLE_EOF_CHECK | JSON_ALLOW_NUL, NULL) : NULL;
        json_t *r = json_object_get(j, "receipt");
        if (!r) r = json_object_get(json_object_get(j, "message"), "receipt");
        if (r) {
            if (found) fail_msg("%s: two receipts", ways[way].path);
            found = json_incref(r);
        }
        json_decref(j);
    }
    if (!found) fail_msg("%s, stream %s: no receipt", ways[way].path, stream);
    answer_fini(&a);
    return found;
}

static const char *write_json(const json_t *j) {
    static char path[800];
    char *text = json_dumps(j, 0);
    struct err e;
    snprintf(path, sizeof path, "%s/receipt.json", S.dir);
    if (os_write_file(path, text, strlen(text), &e) != 0) fail_msg("%s", e.msg);
    free(text);
    return path;
}

static void replays(void **state) {
    (void)state;
    for (int way = 0; way < N_WAY; way++)
        for (int stream = 0; stream < 2; stream++) {
            struct ran r;
            json_t *receipt = receipt_of(way, stream ? "true" : "false");
            const json_t *options = json_object_get(json_object_get(receipt, "request"), "options");
            assert_true(json_is_integer(json_object_get(options, "seed")));
            assert_int_equal(json_array_size(json_object_get(receipt, "output")), way == 2 ? 2 : 1);
            run_cria(&r, (const char *[]){"replay", write_json(receipt), NULL}, NULL, 0, 60);
            if (r.code != 0 || strcmp(r.out.p, "the same answer\n") != 0)
                fail_msg("%s: %d %s%s", ways[way].path, r.code, r.out.p, r.err.p);
            ran_fini(&r);
            json_decref(receipt);
        }
}

/* Two answers by chance differ, so that equal digests mean something. */
static void seeds_differ(void **state) {
    (void)state;
    json_t *a = receipt_of(0, "false"), *b = receipt_of(0, "false");
    assert_false(json_equal(json_object_get(a, "output"), json_object_get(b, "output")));
    assert_true(json_equal(json_object_get(a, "prompt"), json_object_get(b, "prompt")));
    json_decref(a), json_decref(b);
}

/* The digest of an answer of two pieces. */
static char *digest_of(enum gen_kind a, const char *text_a, enum gen_kind b, const char *text_b) {
    struct err e;
    json_t *request = json_object();
    struct receipt *p = receipt_new("m", "d", request, &e);
    const char *const text[] = {text_a, text_b};
    const enum gen_kind kind[] = {a, b};
    for (int i = 0; i < 2; i++) {
        struct gen_event ev = {.kind = kind[i]};
        json_t *call = kind[i] == GEN_CALL ? json_pack("{s:s}", "function", text[i]) : NULL;
        if (call)
            ev.data = call;
        else
            ev.text = str_of(text[i]);
        receipt_add(p, &ev);
        json_decref(call);
    }
    json_t *j = receipt_json(p);
    const json_t *output = json_array_get(json_object_get(j, "output"), 0);
    char *digest = strdup(text_of(output, "sha256"));
    json_decref(j), json_decref(request);
    receipt_free(p);
    return digest;
}

/* Equal letters are no equal answers: what was thought, said and called is told apart. */
static void kinds_differ(void **state) {
    (void)state;
    char *const d[] = {digest_of(GEN_TEXT, "ab", GEN_TEXT, "c"),
                       digest_of(GEN_THINKING, "ab", GEN_TEXT, "c"),
                       digest_of(GEN_THINKING, "a", GEN_TEXT, "bc"),
                       digest_of(GEN_THINKING, "ab", GEN_THINKING, "c"),
                       digest_of(GEN_TEXT, "", GEN_CALL, "f"),
                       digest_of(GEN_TEXT, "", GEN_TEXT, "\"f\"")};
    enum { N = sizeof d / sizeof *d };
    for (int i = 0; i < N; i++)
        for (int k = 0; k < i; k++)
            assert_string_not_equal(d[i], d[k]);
    char *same = digest_of(GEN_TEXT, "a", GEN_TEXT, "bc");
    assert_string_equal(d[0], same);
    /* A text alone is hashed as it is. */
    assert_string_equal(same, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    free(same);
    for (int i = 0; i < N; i++)
        free(d[i]);
}

/* One receipt for several prompts would be that of one. */
static void one_prompt(void **state) {
    (void)state;
    json_decref(ask_json(&S, "POST", "/v1/completions", 400,
                         "{\"model\":\"base\",\"prompt\":[\"a\",\"b\"],\"receipt\":true}"));
    json_decref(ask_json(&S, "POST", "/v1/completions", 200,
                         "{\"model\":\"base\",\"prompt\":[\"a\"],\"max_tokens\":1,"
                         "\"receipt\":true}"));
}

/* What differs is named: the answer, the prompt, the build. */
static void tells_what_differs(void **state) {
    (void)state;
    struct ran r;
    json_t *receipt = receipt_of(1, "false");
    json_t *request = json_object_get(receipt, "request");
    json_t *message = json_array_get(json_object_get(request, "messages"), 0);
    json_object_set_new(message, "content", json_string("something else"));
    json_object_set_new(json_object_get(receipt, "build"), "id", json_string("00"));
    run_cria(&r, (const char *[]){"replay", "--json", write_json(receipt), NULL}, NULL, 0, 60);
    assert_int_equal(r.code, 1);
    json_t *j = json_loadb(r.out.p, r.out.n, 0, NULL);
    const char *differs = json_string_value(json_object_get(j, "differs"));
    assert_non_null(strstr(differs, "prompt: "));
    assert_non_null(strstr(differs, "build: "));
    assert_non_null(strstr(differs, "output: "));
    assert_null(strstr(differs, "digest: "));
    assert_true(json_is_false(json_object_get(j, "same")));
    json_decref(j);
    ran_fini(&r);
    json_decref(receipt);
}

static void without(void **state) {
    (void)state;
    struct answer a;
    ask(&S, &a, "POST", "/api/generate", NULL,
        "{\"model\":\"base\",\"prompt\":\"a\",\"receipt\":false,\"stream\":false}");
    assert_int_equal(a.status, 200);
    assert_null(strstr(a.body.p, "receipt"));
    answer_fini(&a);
    ask(&S, &a, "POST", "/api/generate", NULL,
        "{\"model\":\"base\",\"prompt\":\"a\",\"receipt\":\"yes\",\"stream\":false}");
    assert_int_equal(a.status, 400);
    answer_fini(&a);
}

static void wrong_receipts(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
        int code;
    } bad[] = {{"{}", "no receipt", 1},
               {"[1]", "receipt.json", 1},
               {"{\"version\":2,\"model\":\"base\",\"request\":{}}", "no receipt", 1},
               {"{\"version\":1,\"model\":\"nobody\",\"request\":{\"op\":\"text\"}}", "nobody", 3},
               {"{\"version\":1,\"model\":\"base\",\"request\":{\"op\":\"walk\"}}", "op", 2}};
    char path[800];
    snprintf(path, sizeof path, "%s/receipt.json", S.dir);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ran r;
        struct err e;
        assert_int_equal(os_write_file(path, bad[i].text, strlen(bad[i].text), &e), 0);
        run_cria(&r, (const char *[]){"replay", path, NULL}, NULL, 0, 60);
        if (r.code != bad[i].code || !strstr(r.err.p, bad[i].says))
            fail_msg("%s: %d %s", bad[i].text, r.code, r.err.p);
        ran_fini(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(replays),
        cmocka_unit_test(seeds_differ),
        cmocka_unit_test(kinds_differ),
        cmocka_unit_test(one_prompt),
        cmocka_unit_test(tells_what_differs),
        cmocka_unit_test(without),
        cmocka_unit_test(wrong_receipts),
    };
    return cmocka_run_group_tests(tests, start, stop);
}
