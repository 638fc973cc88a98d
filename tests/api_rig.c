/* See api_rig.h. */
#include "api_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/digest.h"

int api_upload_bytes(const struct serve *s, const char *digest, const void *bytes, size_t n) {
    struct wire w;
    struct answer a = {0};
    struct buf head = {0};
    buf_printf(&head,
               "POST /api/blobs/%s HTTP/1.1\r\nHost: localhost\r\nContent-Length: %zu\r\n\r\n",
               digest, n);
    wire_open(&w, s);
    wire_send(&w, head.p, head.n);
    wire_send(&w, bytes, n);
    assert_true(wire_head(&w, &a, 60));
    const int status = a.status;
    wire_close(&w);
    answer_fini(&a);
    buf_fini(&head);
    return status;
}

int api_upload(const struct serve *s, const char *path, char digest[80]) {
    struct digest d;
    char text[DIGEST_TEXT];
    size_t n;
    uint8_t *bytes = slurp(path, &n);
    assert_int_equal(digest_of(bytes, n, &d, NULL), 0);
    digest_format(&d, text);
    snprintf(digest, 80, "%s", text);
    const int status = api_upload_bytes(s, digest, bytes, n);
    free(bytes);
    return status;
}

void api_make(const struct serve *s, const char *name, const char *golden_model, const char *more) {
    char digest[80], rel[200];
    snprintf(rel, sizeof rel, "models/%s.gguf", golden_model);
    const int status = api_upload(s, golden(rel), digest);
    assert_true(status == 201 || status == 200);
    json_t *j = ask_json(s, "POST", "/api/create", 200,
                         "{\"model\":\"%s\",\"files\":{\"m.gguf\":\"%s\"},\"stream\":false%s}",
                         name, digest, more);
    assert_string_equal(json_string_value(json_object_get(j, "status")), "success");
    json_decref(j);
}

int api_status(const struct serve *s, const char *method, const char *path, const char *body,
               struct buf *text) {
    struct answer a;
    ask(s, &a, method, path, NULL, body);
    if (text) {
        json_error_t je;
        json_t *j = json_loadb(a.body.p ? a.body.p : "", a.body.n, 0, &je);
        const char *error = json_string_value(json_object_get(j, "error"));
        buf_reset(text);
        buf_str(text, error ? error : "");
        json_decref(j);
    }
    const int status = a.status;
    answer_fini(&a);
    return status;
}

char *api_long(const char *before, size_t n, const char *after) {
    const size_t b = strlen(before), a = strlen(after);
    char *z = malloc(b + n + a + 1);
    assert_non_null(z);
    memcpy(z, before, b);
    memset(z + b, 'x', n);
    memcpy(z + b + n, after, a + 1);
    return z;
}

char *api_deep(void) {
    enum { DEPTH = 100000 };
    char *z = malloc(2 * DEPTH + 64), *p = z;
    assert_non_null(z);
    p += sprintf(p, "{\"model\":\"llama32\",\"x\":");
    memset(p, '[', DEPTH);
    memset(p + DEPTH, ']', DEPTH);
    strcpy(p + 2 * DEPTH, "}");
    return z;
}

void api_huge_and_deep(const struct serve *s, const char *path) {
    char *deep = api_deep(), *huge = api_long("{\"model\":\"", 33 << 20, "\"}"),
         *name = api_long("{\"model\":\"", 100000, "\"}");
    assert_int_equal(api_status(s, "POST", path, deep, NULL), 400);
    assert_int_equal(api_status(s, "POST", path, huge, NULL), 413);
    assert_int_equal(api_status(s, "POST", path, name, NULL), 400);
    free(deep), free(huge), free(name);
}

json_t *api_quoted(const char *quoted) {
    char text[2000];
    json_error_t je;
    snprintf(text, sizeof text, "%s", quoted);
    for (char *p = text; *p; p++)
        if (*p == '\'') *p = '"';
    json_t *j = json_loads(text, JSON_DECODE_ANY, &je);
    if (!j) fail_msg("%s: %s", text, je.text);
    return j;
}

const char *text_of(const json_t *o, const char *key) {
    const char *text = json_string_value(json_object_get(o, key));
    return text ? text : "";
}
