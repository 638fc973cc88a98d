/* The routes that show and change the store, through a running server: show, create, pull, push,
 * copy, delete, blobs, tags (COMPAT.md 2.5, 2.6). */
#include <dirent.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api_rig.h"
#include "base/os.h"
#include "hf.h"
#include "hostile.h"
#include "store/digest.h"

static struct serve S;

static int set_up(void **state) {
    (void)state;
    serve_start(&S, NULL, NULL);
    api_make(&S, "llama32", "llama32", "");
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    return serve_stop(&S);
}

static json_t *show(const char *name, const char *more) {
    return ask_json(&S, "POST", "/api/show", 200, "{\"model\":\"%s\"%s}", name, more);
}

/* ---- every route with every kind of bad request ---- */

static const struct bad {
    const char *method, *path, *body;
    int status;
    const char *text; /* part of "error" */
} bad[] = {
    {"POST", "/api/show", NULL, 400, "missing request body"},
    {"POST", "/api/show", "{}", 400, "model is required"},
    {"POST", "/api/show", "{\"model\":\"\"}", 400, "model is required"},
    {"POST", "/api/show", "{\"model\":1}", 400, "\"model\" must be of type string"},
    {"POST", "/api/show", "{\"model\":\"nope\"}", 404, "model 'nope' not found"},
    {"POST", "/api/show", "{\"name\":\"nope\"}", 404, "model 'nope' not found"},
    {"POST", "/api/show", "{\"model\":\"llama32\",\"verbose\":\"yes\"}", 400, "type boolean"},
    {"POST", "/api/show", "{\"model\":", 400, "JSON"},
    {"POST", "/api/show", "[]", 400, "object"},
    {"GET", "/api/show", NULL, 405, "method"},
    {"POST", "/api/copy", NULL, 400, "missing request body"},
    {"POST", "/api/copy", "{}", 400, "source \"\" is invalid"},
    {"POST", "/api/copy", "{\"source\":\"llama32\"}", 400, "destination \"\" is invalid"},
    {"POST", "/api/copy", "{\"source\":2,\"destination\":\"a\"}", 400, "must be of type string"},
    {"POST", "/api/copy", "{\"source\":\"nope\",\"destination\":\"a\"}", 404,
     "model \"nope\" not found"},
    {"POST", "/api/copy", "{\"source\":\"llama32\",\"destination\":\"a/../b\"}", 400, "is invalid"},
    {"POST", "/api/copy", "{", 400, "JSON"},
    {"GET", "/api/copy", NULL, 405, "method"},
    {"DELETE", "/api/delete", NULL, 400, "missing request body"},
    {"DELETE", "/api/delete", "{}", 400, "model is required"},
    {"DELETE", "/api/delete", "{\"model\":[]}", 400, "must be of type string"},
    {"DELETE", "/api/delete", "{\"model\":\"nope\"}", 404, "model 'nope' not found"},
    {"DELETE", "/api/delete", "nonsense", 400, "JSON"},
    {"POST", "/api/delete", "{\"model\":\"nope\"}", 405, "method"},
    {"POST", "/api/create", NULL, 400, "missing request body"},
    {"POST", "/api/create", "{}", 400, "model is required"},
    {"POST", "/api/create", "{\"model\":\"x\"}", 400, "neither 'from' or 'files'"},
    {"POST", "/api/create", "{\"model\":\"x\",\"from\":7}", 400, "must be of type string"},
    {"POST", "/api/create", "{\"model\":\"x\",\"from\":\"/etc/passwd\"}", 400, "paths are not"},
    {"POST", "/api/create", "{\"model\":\"x\",\"from\":\"./m.gguf\"}", 400, "paths are not"},
    {"POST", "/api/create", "{\"model\":\"x\",\"from\":\"~/m\"}", 400, "paths are not"},
    {"POST", "/api/create", "{\"model\":\"x\",\"modelfile\":\"FROM /etc/passwd\"}", 400,
     "no path of a client's"},
    {"POST", "/api/create", "{\"model\":\"x\",\"path\":\"/etc/passwd\"}", 400,
     "no path of a client's"},
    {"POST", "/api/create", "{\"model\":\"x\",\"files\":[]}", 400, "must be of type object"},
    {"POST", "/api/create", "{\"model\":\"x\",\"files\":{\"a\":\"sha256:12\"}}", 400,
     "invalid digest format"},
    {"POST", "/api/create", "{\"model\":\"x\",\"from\":\"llama32\",\"license\":5}", 400,
     "\"license\" must be"},
    {"POST", "/api/create", "{\"model\":\"x\",\"from\":\"llama32\",\"messages\":[{}]}", 400,
     "messages[0]"},
    {"POST", "/api/create",
     "{\"model\":\"x\",\"from\":\"llama32\",\"parameters\":{\"top_k\":\"a\"}}", 400,
     "option \"top_k\" must be of type integer"},
    {"POST", "/api/create", "{\"model\":\"x\",\"from\":\"llama32\",\"parameters\":{\"topk\":1}}",
     400, "unknown parameter"},
    {"POST", "/api/create", "{\"model\":\"x\",\"from\":\"llama32\",\"quantize\":\"q99\"}", 400,
     "q99"},
    {"POST", "/api/create", "{\"model\":\"x\",\"from\":\"llama32\",\"requires\":\"new\"}", 400,
     "semver"},
    {"POST", "/api/create", "{\"model\":\"x\",\"from\":\"llama32\",\"template\":\"{{ if }}\"}", 400,
     "template error: "},
    {"POST", "/api/create", "{\"model\":\"x@y\",\"from\":\"llama32\"}", 400, "invalid model name"},
    {"GET", "/api/create", NULL, 405, "method"},
    {"POST", "/api/pull", NULL, 400, "missing request body"},
    {"POST", "/api/pull", "{}", 400, "model is required"},
    {"POST", "/api/pull", "{\"model\":{}}", 400, "must be of type string"},
    {"POST", "/api/pull", "{\"model\":\"a b\"}", 400, "invalid model name"},
    {"POST", "/api/pull", "{\"model\":\"x\",\"insecure\":1}", 400, "must be of type boolean"},
    {"POST", "/api/pull", "{\"model\":\"127.0.0.1:1/a/b\",\"insecure\":true,\"stream\":false}", 500,
     "127.0.0.1"}, /* nobody there: that says nothing about the model */
    {"GET", "/api/pull", NULL, 405, "method"},
    {"POST", "/api/push", NULL, 400, "missing request body"},
    {"POST", "/api/push", "{}", 400, "model is required"},
    {"POST", "/api/push", "{\"model\":\"nope\"}", 404, "model 'nope' not found"},
    {"POST", "/api/push", "{\"model\":\"x\",\"stream\":\"no\"}", 400, "must be of type boolean"},
    {"GET", "/api/push", NULL, 405, "method"},
    {"POST", "/api/blobs/sha256:12", "x", 400, "invalid digest format"},
    {"GET", "/api/blobs/sha256:12", NULL, 405, "method"},
    {"POST", "/api/tags", "{}", 405, "method"},
};

static void bad_requests(void **state) {
    (void)state;
    struct buf text = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (serve_isolated() && bad[i].status == 500) continue; /* nobody is asked */
        const int status = api_status(&S, bad[i].method, bad[i].path, bad[i].body, &text);
        if (status != bad[i].status || !strstr(text.p, bad[i].text))
            fail_msg("%s %s %s: %d \"%s\"; want %d \"%s\"", bad[i].method, bad[i].path,
                     bad[i].body ? bad[i].body : "", status, text.p, bad[i].status, bad[i].text);
    }
    buf_fini(&text);
}

static void huge_and_deep(void **state) {
    (void)state;
    static const char *const path[] = {"/api/show", "/api/create", "/api/pull", "/api/push",
                                       "/api/copy"};
    for (size_t i = 0; i < sizeof path / sizeof *path; i++)
        api_huge_and_deep(&S, path[i]);
}

/* Whether the path is there cannot be told from the answer (SECURITY.md R9). */
static void names_that_are_paths(void **state) {
    (void)state;
    static const char *const form[] = {
        "{\"model\":\"%s\"}", "{\"model\":\"%s\",\"from\":\"llama32\"}",
        "{\"model\":\"x\",\"from\":\"%s\"}", "{\"source\":\"%s\",\"destination\":\"x\"}",
        "{\"source\":\"llama32\",\"destination\":\"%s\"}"};
    static const char *const path[] = {"/api/show", "/api/create", "/api/create", "/api/copy",
                                       "/api/copy"};
    char body[2][300];
    struct buf text[2] = {{0}, {0}};
    for (size_t i = 0; i < sizeof form / sizeof *form; i++) {
        int status[2];
        for (int k = 0; k < 2; k++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
            snprintf(body[k], sizeof body[k], form[i],
                     k ? "../../../../etc/passwd" : "../../../../etc/passwx");
#pragma GCC diagnostic pop
            status[k] = api_status(&S, "POST", path[i], body[k], &text[k]);
        }
        assert_int_equal(status[0], 400);
        assert_int_equal(status[1], 400);
        assert_int_equal(text[0].n, text[1].n);
    }
    buf_fini(&text[0]), buf_fini(&text[1]);
}

/* ---- lists ---- */

static void tags(void **state) {
    (void)state;
    json_t *j = ask_json(&S, "GET", "/api/tags", 200, "%s", ""), *m = NULL, *one;
    size_t i;
    json_array_foreach(json_object_get(j, "models"), i,
                       one) if (strcmp(text_of(one, "name"), "llama32:latest") == 0) m = one;
    assert_non_null(m);
    assert_string_equal(text_of(m, "model"), "llama32:latest");
    assert_int_equal(strlen(text_of(m, "digest")), 64);
    assert_true(json_integer_value(json_object_get(m, "size")) > 600000);
    int y;
    char zone;
    assert_int_equal(sscanf(text_of(m, "modified_at"), "%d-%*d-%*dT%*d:%*d:%*d.%*9d%c", &y, &zone),
                     2);
    assert_int_equal(zone, 'Z');
    const json_t *d = json_object_get(m, "details");
    assert_string_equal(text_of(d, "format"), "gguf");
    assert_string_equal(text_of(d, "family"), "llama");
    assert_string_equal(text_of(d, "quantization_level"), "F32");
    assert_string_equal(text_of(d, "parent_model"), "");
    assert_string_equal(text_of(d, "parameter_size"), "158K");
    assert_int_equal(json_array_size(json_object_get(d, "families")), 1);
    json_decref(j);
    struct answer a;
    ask(&S, &a, "HEAD", "/api/tags", NULL, NULL);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.n, 0);
    answer_fini(&a);
}

/* ---- show ---- */

static void show_all(void **state) {
    (void)state;
    api_make(
        &S, "full", "llama32",
        ",\"system\":\"be brief\",\"template\":\"{{ .Prompt }}{{ .Tools }}\",\"license\":[\"L1\","
        "\"L2\"],\"parameters\":{\"temperature\":0.25,\"stop\":[\"a\",\"b\"],\"num_ctx\":64},"
        "\"messages\":[{\"role\":\"user\",\"content\":\"hi\"}],\"requires\":\"0.14.0\","
        "\"renderer\":\"qwen3-coder\",\"parser\":\"qwen3-coder\"");
    json_t *j = show("full", "");
    assert_string_equal(text_of(j, "license"), "L1\n\nL2");
    assert_string_equal(text_of(j, "system"), "be brief");
    assert_string_equal(text_of(j, "template"), "{{ .Prompt }}{{ .Tools }}");
    assert_string_equal(text_of(j, "parameters"), "num_ctx                        64\n"
                                                  "stop                           a\n"
                                                  "stop                           b\n"
                                                  "temperature                    0.25");
    assert_non_null(strstr(text_of(j, "modelfile"), "# Modelfile generated by \"ollama show\"\n"));
    assert_non_null(strstr(text_of(j, "modelfile"), "SYSTEM be brief\n"));
    assert_string_equal(text_of(j, "requires"), "0.14.0");
    assert_string_equal(text_of(j, "renderer"), "qwen3-coder");
    assert_string_equal(text_of(j, "parser"), "qwen3-coder");
    const json_t *info = json_object_get(j, "model_info");
    assert_string_equal(text_of(info, "general.architecture"), "llama");
    assert_int_equal(json_integer_value(json_object_get(info, "general.parameter_count")), 158152);
    assert_int_equal(json_array_size(json_object_get(info, "tokenizer.ggml.tokens")), 0);
    assert_null(json_object_get(j, "tensors"));
    assert_string_equal(text_of(json_array_get(json_object_get(j, "messages"), 0), "content"),
                        "hi");
    const json_t *can = json_object_get(j, "capabilities");
    assert_int_equal(json_array_size(can), 2);
    assert_string_equal(json_string_value(json_array_get(can, 1)), "tools");
    assert_true(strlen(text_of(j, "modified_at")) >= 20);
    json_decref(j);
    j = show("full", ",\"verbose\":true,\"system\":\"other\",\"options\":{\"top_k\":3}");
    assert_string_equal(text_of(j, "system"), "other");
    assert_non_null(strstr(text_of(j, "parameters"), "top_k                          3"));
    assert_non_null(strstr(text_of(j, "parameters"), "num_ctx"));
    info = json_object_get(j, "model_info");
    assert_int_equal(json_array_size(json_object_get(info, "tokenizer.ggml.tokens")), 448);
    assert_true(json_array_size(json_object_get(j, "tensors")) > 10);
    json_decref(j);
    j = ask_json(&S, "POST", "/api/show", 200, "{\"name\":\"FULL\"}"); /* letter case, old key */
    assert_string_equal(text_of(j, "system"), "be brief");
    json_decref(j);
}

/* ---- create ---- */

static json_t *stream_of(const char *path, const char *body) {
    struct answer a;
    ask(&S, &a, "POST", path, NULL, body);
    assert_int_equal(a.status, 200);
    assert_string_equal(answer_header(&a, "Content-Type"), "application/x-ndjson");
    json_t *lines = answer_stream(&a);
    answer_fini(&a);
    return lines;
}

static bool has_status(const json_t *lines, const char *prefix) {
    for (size_t i = 0; i < json_array_size(lines); i++)
        if (strncmp(text_of(json_array_get(lines, i), "status"), prefix, strlen(prefix)) == 0)
            return true;
    return false;
}

static void create_from_model(void **state) {
    (void)state;
    json_t *lines = stream_of("/api/create",
                              "{\"model\":\"small\",\"from\":\"llama32\",\"quantize\":\"q8_0\"}");
    assert_true(has_status(lines, "quantizing F32 model to Q8_0"));
    assert_true(has_status(lines, "creating new layer sha256:"));
    assert_true(has_status(lines, "writing manifest"));
    assert_false(has_status(lines, "gathering"));
    assert_string_equal(text_of(json_array_get(lines, json_array_size(lines) - 1), "status"),
                        "success");
    json_decref(lines);
    json_t *j = show("small", "");
    assert_string_equal(text_of(json_object_get(j, "details"), "quantization_level"), "Q8_0");
    json_decref(j);
}

/* A folder of safetensors, file by file. */
static void create_from_safetensors(void **state) {
    (void)state;
    char *dir = temp_folder(), path[700];
    struct buf files = {0};
    assert_int_equal(hf_write(golden("models/llama32.gguf"), dir, HF_SHARDED), 0);
    DIR *d = opendir(dir);
    assert_non_null(d);
    for (struct dirent *x; (x = readdir(d));) {
        char digest[80];
        if (x->d_name[0] == '.') continue;
        snprintf(path, sizeof path, "%s/%s", dir, x->d_name);
        assert_int_equal(api_upload(&S, path, digest), 201);
        buf_printf(&files, "%s\"%s\":\"%s\"", files.n ? "," : "", x->d_name, digest);
    }
    closedir(d);
    struct buf body = {0};
    buf_printf(&body, "{\"model\":\"hf\",\"files\":{%s}}", files.p);
    json_t *lines = stream_of("/api/create", body.p);
    assert_true(has_status(lines, "converting model"));
    assert_true(has_status(lines, "success"));
    json_decref(lines);
    json_t *j = show("hf", "");
    assert_string_equal(text_of(json_object_get(j, "details"), "family"), "llama");
    json_decref(j);
    /* The folder of links is gone. */
    snprintf(path, sizeof path, "%s/models/.cria", S.dir);
    d = opendir(path);
    assert_non_null(d);
    for (struct dirent *x; (x = readdir(d));)
        assert_null(strstr(x->d_name, "create-"));
    closedir(d);
    buf_fini(&files), buf_fini(&body);
    temp_remove(dir);
}

/* An adapter and a draft model beside a model of the store. */
static void create_with_files(void **state) {
    (void)state;
    char adapter[80], draft[80], **names = golden_names("lora", ".gguf", 1), rel[200], body[700];
    snprintf(rel, sizeof rel, "lora/%s", names[0]);
    api_upload(&S, golden(rel), adapter);
    api_upload(&S, golden("models/llama32.gguf"), draft);
    snprintf(body, sizeof body,
             "{\"model\":\"tuned\",\"from\":\"llama32\",\"adapters\":{\"a.gguf\":\"%s\"},"
             "\"draft_files\":{\"d.gguf\":\"%s\"}}",
             adapter, draft);
    json_t *lines = stream_of("/api/create", body);
    if (!has_status(lines, "success")) fail_msg("%s: %s", names[0], json_dumps(lines, 0));
    json_decref(lines);
    json_t *j = show("tuned", "");
    assert_non_null(strstr(text_of(j, "modelfile"), "\nADAPTER "));
    assert_non_null(strstr(text_of(j, "modelfile"), "\nDRAFT "));
    json_decref(j);
    names_free(names);
}

/* SECURITY.md F15: a name leads nowhere, and nothing is made of the model. */
static void file_names(void **state) {
    (void)state;
    static const char *const name[] = {"../x",      "/etc/passwd", "a/../../x", "..",
                                       "",          ".hidden",     "a/b",       "a\\\\b",
                                       "a\\u0001b", "-x",          "a\\nb",     "\\u00e9.gguf"};
    char digest[80], body[700], *many = api_long("", 300, "");
    struct buf text = {0};
    api_upload(&S, golden("models/llama32.gguf"), digest);
    for (size_t i = 0; i <= sizeof name / sizeof *name; i++) {
        snprintf(body, sizeof body, "{\"model\":\"evil\",\"files\":{\"%s\":\"%s\"}}",
                 i < sizeof name / sizeof *name ? name[i] : many, digest);
        assert_int_equal(api_status(&S, "POST", "/api/create", body, &text), 400);
        assert_non_null(strstr(text.p, "file name"));
    }
    snprintf(body, sizeof body, "{\"model\":\"evil\",\"files\":{\"m.gguf\":\"sha256:%064d\"}}", 7);
    assert_int_equal(api_status(&S, "POST", "/api/create", body, &text), 404);
    assert_int_equal(api_status(&S, "POST", "/api/show", "{\"model\":\"evil\"}", NULL), 404);
    buf_fini(&text);
    free(many);
}

static void create_fails(void **state) {
    (void)state;
    char digest[80], body[300], *dir = temp_folder(), path[700];
    struct buf text = {0};
    snprintf(path, sizeof path, "%s/junk", dir);
    assert_int_equal(os_write_file(path, "GGUFjunk", 8, NULL), 0);
    assert_int_equal(api_upload(&S, path, digest), 201);
    snprintf(body, sizeof body,
             "{\"model\":\"junk\",\"files\":{\"m.gguf\":\"%s\"},\"stream\":false}", digest);
    assert_int_equal(api_status(&S, "POST", "/api/create", body, &text), 400);
    /* With a stream it has begun before the file was looked at. */
    snprintf(body, sizeof body, "{\"model\":\"junk\",\"files\":{\"m.gguf\":\"%s\"}}", digest);
    json_t *lines = stream_of("/api/create", body);
    assert_true(strlen(text_of(json_array_get(lines, json_array_size(lines) - 1), "error")) > 5);
    json_decref(lines);
    assert_int_equal(api_status(&S, "POST", "/api/show", "{\"model\":\"junk\"}", NULL), 404);
    buf_fini(&text);
    temp_remove(dir);
}

/* ---- blobs ---- */

static void blobs(void **state) {
    (void)state;
    char digest[80], path[200];
    struct answer a;
    struct digest d;
    assert_int_equal(digest_of("hello", 5, &d, NULL), 0);
    digest_format(&d, digest);
    snprintf(path, sizeof path, "/api/blobs/%s", digest);
    assert_int_equal(api_status(&S, "HEAD", path, NULL, NULL), 404);
    assert_int_equal(api_upload_bytes(&S, digest, "hullo", 5), 400);
    assert_int_equal(api_status(&S, "HEAD", path, NULL, NULL), 404);
    ask(&S, &a, "POST", path, NULL, "hullo");
    json_t *j = answer_json(&a);
    assert_non_null(strstr(text_of(j, "error"), "digest mismatch, expected \"sha256:"));
    json_decref(j);
    answer_fini(&a);
    assert_int_equal(api_upload_bytes(&S, digest, "hello", 5), 201);
    assert_int_equal(api_status(&S, "HEAD", path, NULL, NULL), 200);
    assert_int_equal(api_upload_bytes(&S, digest, "hello", 5), 200);
    assert_int_equal(api_status(&S, "HEAD", "/api/blobs/nonsense", NULL, NULL), 400);
    /* Chunked; the digest with a dash. */
    assert_int_equal(digest_of("chunk", 5, &d, NULL), 0);
    snprintf(path, sizeof path, "/api/blobs/sha256-%s", d.hex);
    struct wire w;
    struct buf head = {0};
    buf_printf(&head,
               "POST %s HTTP/1.1\r\nHost: localhost\r\nTransfer-Encoding: chunked\r\n\r\n"
               "2\r\nch\r\n3\r\nunk\r\n0\r\n\r\n",
               path);
    wire_open(&w, &S);
    wire_send(&w, head.p, head.n);
    assert_true(wire_head(&w, &a, 20));
    assert_int_equal(a.status, 201);
    answer_fini(&a);
    wire_close(&w);
    buf_fini(&head);
}

static int temp_files(void) {
    char path[700];
    int n = 0;
    snprintf(path, sizeof path, "%s/models/blobs", S.dir);
    DIR *d = opendir(path);
    assert_non_null(d);
    for (struct dirent *x; (x = readdir(d));)
        n += strstr(x->d_name, "tmp") != NULL;
    closedir(d);
    return n;
}

/* Not gathered: the server's memory does not grow with the blob.  And one that breaks off leaves
 * nothing. */
static void large_blob(void **state) {
    (void)state;
    enum { N = 200 << 20 };
    char digest[80];
    struct digest d;
    char *bytes = calloc(1, N);
    assert_non_null(bytes);
    snprintf(bytes, 20, "large");
    assert_int_equal(digest_of(bytes, N, &d, NULL), 0);
    digest_format(&d, digest);
    const size_t before = serve_rss_bytes(&S);
    struct wire w;
    struct buf head = {0};
    buf_printf(&head,
               "POST /api/blobs/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %d\r\n\r\n",
               digest, N);
    wire_open(&w, &S);
    wire_send(&w, head.p, head.n);
    wire_send(&w, bytes, 50 << 20);
    wire_reset(&w);
    for (int i = 0; i < 100 && temp_files() > 0; i++)
        usleep(50000);
    assert_int_equal(temp_files(), 0);
    assert_int_equal(api_upload_bytes(&S, digest, bytes, N), 201);
    const size_t after = serve_rss_bytes(&S);
    if (!SANITIZED) assert_true(after < before + (24 << 20));
    buf_fini(&head);
    free(bytes);
}

/* ---- copy, delete ---- */

static void copy_and_delete(void **state) {
    (void)state;
    struct answer a;
    ask(&S, &a, "POST", "/api/copy", NULL,
        "{\"source\":\"llama32\",\"destination\":\"me/second:v2\"}");
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.n, 0);
    answer_fini(&a);
    json_decref(show("me/second:v2", ""));
    ask(&S, &a, "DELETE", "/api/delete", NULL, "{\"model\":\"me/second:v2\"}");
    assert_int_equal(a.status, 200);
    assert_int_equal(a.body.n, 0);
    answer_fini(&a);
    assert_int_equal(api_status(&S, "POST", "/api/show", "{\"model\":\"me/second:v2\"}", NULL),
                     404);
    assert_int_equal(api_status(&S, "POST", "/api/show", "{\"model\":\"llama32\"}", NULL), 200);
}

/* ---- pull, push ---- */

static atomic_bool stalling, held;

/* A registry with one small model; when `stalling`, its blobs do not come. */
static void registry(void *ctx, int fd, const struct hostile_request *q) {
    static const char config[] = "{\"model_format\":\"gguf\"}";
    const char *layer = stalling ? "{\"top_k\":5}" : "{\"temperature\":0.5}";
    struct digest dl, dc;
    char manifest[1024];
    (void)ctx;
    digest_of(layer, strlen(layer), &dl, NULL), digest_of(config, sizeof config - 1, &dc, NULL);
    snprintf(manifest, sizeof manifest,
             "{\"schemaVersion\":2,\"mediaType\":\"application/vnd.docker.distribution.manifest.v2+"
             "json\",\"config\":{\"mediaType\":\"application/vnd.docker.container.image.v1+json\","
             "\"digest\":\"sha256:%s\",\"size\":%zu},\"layers\":[{\"mediaType\":\"application/"
             "vnd.ollama.image.params\",\"digest\":\"sha256:%s\",\"size\":%zu}]}",
             dc.hex, sizeof config - 1, dl.hex, strlen(layer));
    if (strstr(q->path, "/manifests/latest")) {
        hostile_answer(fd, 200, "", manifest, strlen(manifest));
    } else if (strstr(q->path, "/blobs/") && stalling) {
        held = true;
        hostile_hold(fd);
    } else if (strstr(q->path, dl.hex)) {
        hostile_answer(fd, 200, "", layer, strlen(layer));
    } else if (strstr(q->path, dc.hex)) {
        hostile_answer(fd, 200, "", config, sizeof config - 1);
    } else {
        hostile_answer(fd, 404, "", "", 0);
    }
}

static void pull(void **state) {
    (void)state;
    if (serve_isolated()) skip();
    struct hostile h;
    char body[300];
    hostile_start(&h, registry, NULL);
    snprintf(body, sizeof body, "{\"model\":\"http://127.0.0.1:%d/library/m\"}", h.port);
    json_t *lines = stream_of("/api/pull", body);
    static const char *const want[] = {"pulling manifest", "pulling ", "verifying sha256 digest",
                                       "writing manifest", "success"};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        if (!has_status(lines, want[i])) fail_msg("no \"%s\" in %s", want[i], json_dumps(lines, 0));
    const json_t *bytes = json_array_get(lines, 1);
    assert_int_equal(strlen(text_of(bytes, "status")), strlen("pulling ") + 12);
    assert_int_equal(strlen(text_of(bytes, "digest")), 71);
    assert_true(json_integer_value(json_object_get(bytes, "total")) > 0);
    json_decref(lines);
    snprintf(body, sizeof body, "{\"name\":\"http://127.0.0.1:%d/library/m\",\"stream\":false}",
             h.port);
    json_t *j = ask_json(&S, "POST", "/api/pull", 200, "%s", body);
    assert_int_equal(json_object_size(j), 1);
    assert_string_equal(text_of(j, "status"), "success");
    json_decref(j);
    struct buf text = {0};
    snprintf(body, sizeof body, "{\"model\":\"http://127.0.0.1:%d/library/m:x\",\"stream\":false}",
             h.port);
    assert_int_equal(api_status(&S, "POST", "/api/pull", body, &text), 404);
    assert_non_null(strstr(text.p, "pull model manifest: file does not exist"));
    buf_fini(&text);
    hostile_stop(&h);
}

/* A client that leaves ends the pull, though the registry says nothing at all. */
static void pull_is_left(void **state) {
    (void)state;
    if (serve_isolated()) skip();
    struct hostile h;
    char body[300];
    struct wire w;
    struct answer a = {0};
    stalling = true;
    held = false;
    hostile_start(&h, registry, NULL);
    snprintf(body, sizeof body, "{\"model\":\"http://127.0.0.1:%d/library/m2\"}", h.port);
    wire_open(&w, &S);
    wire_ask(&w, "POST", "/api/pull", NULL, body);
    assert_true(wire_head(&w, &a, 20));
    for (int i = 0; i < 200 && !held; i++)
        usleep(20000);
    assert_true(held);
    const int before = serve_lines(&S, "/api/pull", "library/m2", 0);
    wire_reset(&w);
    assert_true(serve_lines(&S, "/api/pull", "library/m2", before + 1) > before);
    stalling = false;
    answer_fini(&a);
    hostile_stop(&h);
}

static void push_is_refused(void **state) {
    (void)state;
    if (serve_isolated()) skip();
    struct hostile h;
    char body[300];
    hostile_start(&h, registry, NULL);
    snprintf(body, sizeof body,
             "{\"source\":\"llama32\",\"destination\":\"http://127.0.0.1:%d/me/mine\"}", h.port);
    assert_int_equal(api_status(&S, "POST", "/api/copy", body, NULL), 200);
    snprintf(body, sizeof body, "{\"model\":\"http://127.0.0.1:%d/me/mine\"}", h.port);
    json_t *lines = stream_of("/api/push", body);
    assert_true(has_status(lines, "retrieving manifest"));
    assert_true(strlen(text_of(json_array_get(lines, json_array_size(lines) - 1), "error")) > 5);
    json_decref(lines);
    hostile_stop(&h);
}

/* ---- all at once ---- */

enum { CLIENTS = 8, ROUNDS = SANITIZED ? 6 : 25 };
static atomic_int n_odd;

static void expect(int status, const char *method, const char *path, const char *body) {
    const int got = api_status(&S, method, path, body, NULL);
    if (got != status) {
        print_message("%s %s %s: %d, not %d\n", method, path, body, got, status);
        n_odd++;
    }
}

static void *client(void *arg) {
    const int me = (int)(intptr_t)arg;
    char body[300], text[64], digest[80];
    struct digest d;
    for (int i = 0; i < ROUNDS; i++) {
        snprintf(body, sizeof body, "{\"source\":\"llama32\",\"destination\":\"c%d:a\"}", me);
        expect(200, "POST", "/api/copy", body);
        snprintf(body, sizeof body,
                 "{\"model\":\"c%d:b\",\"from\":\"c%d:a\",\"system\":\"s%d\",\"stream\":false}", me,
                 me, i);
        expect(200, "POST", "/api/create", body);
        snprintf(body, sizeof body, "{\"model\":\"c%d:b\"}", me);
        expect(200, "POST", "/api/show", body);
        expect(200, "GET", "/api/tags", NULL);
        snprintf(text, sizeof text, "text of %d, %d", me, i);
        digest_of(text, strlen(text), &d, NULL);
        digest_format(&d, digest);
        if (api_upload_bytes(&S, digest, text, strlen(text)) != 201) n_odd++;
        expect(200, "DELETE", "/api/delete", body);
        expect(404, "POST", "/api/show", body);
    }
    return NULL;
}

/* Nobody's model is lost by what the others do, and the store is whole after it. */
static void many_clients(void **state) {
    (void)state;
    pthread_t t[CLIENTS];
    char models[700];
    struct ran r;
    n_odd = 0;
    for (int i = 0; i < CLIENTS; i++)
        assert_int_equal(pthread_create(&t[i], NULL, client, (void *)(intptr_t)i), 0);
    for (int i = 0; i < CLIENTS; i++)
        pthread_join(t[i], NULL);
    assert_int_equal(n_odd, 0);
    snprintf(models, sizeof models, "%s/models", S.dir);
    setenv("CRIA_MODELS", models, 1);
    const char *const args[] = {"verify", "llama32", NULL};
    if (run_cria(&r, args, NULL, 0, 60) != 0) fail_msg("%s", r.err.p);
    ran_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(bad_requests),
        cmocka_unit_test(huge_and_deep),
        cmocka_unit_test(names_that_are_paths),
        cmocka_unit_test(tags),
        cmocka_unit_test(show_all),
        cmocka_unit_test(create_from_model),
        cmocka_unit_test(create_from_safetensors),
        cmocka_unit_test(create_with_files),
        cmocka_unit_test(file_names),
        cmocka_unit_test(create_fails),
        cmocka_unit_test(blobs),
        cmocka_unit_test(large_blob),
        cmocka_unit_test(copy_and_delete),
        cmocka_unit_test(pull),
        cmocka_unit_test(pull_is_left),
        cmocka_unit_test(push_is_refused),
        cmocka_unit_test(many_clients),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
