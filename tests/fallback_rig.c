/* See fallback_rig.h. */
#include "fallback_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "rewrite.h"

const char *const fb_path[FB_N_ROUTE] = {"/api/generate",   "/api/chat",     "/v1/chat/completions",
                                         "/v1/completions", "/v1/responses", "/v1/messages"};

bool fb_plain;

void fb_shop_open(struct shop *shop, int n, char models[700]) {
    static const char *const name[] = {"first", "second"};
    static const char *const file[] = {"models/llama32.gguf", "models/phi3-4k.gguf"};
    char path[700];
    use_program();
    shop_open(shop);
    snprintf(models, 700, "CRIA_MODELS=%s", shop->root);
    snprintf(path, sizeof path, "%s/chat.gguf", shop->dir);
    for (int i = 0; i < n; i++) {
        rewrite_template(golden(file[i]), path, REWRITE_CHATML);
        shop_gguf(shop, name[i], path, NULL);
    }
}

char *fb_body(int route, const char *model, bool stream, int n_predict, const char *more) {
#define HELLO "[{\"role\":\"user\",\"content\":\"hello\"}]"
    static const struct {
        const char *ask, *own; /* own: what only this server knows */
        const char *limit;
        bool options; /* the numbers are in "options" */
    } is[FB_N_ROUTE] = {
        {"\"prompt\":\"hello\"", ",\"raw\":true", "num_predict", true},
        {"\"messages\":" HELLO, "", "num_predict", true},
        {"\"messages\":" HELLO, ",\"ignore_eos\":true", "max_tokens", false},
        {"\"prompt\":\"hello\"", ",\"ignore_eos\":true", "max_tokens", false},
        {"\"input\":\"hello\"", ",\"ignore_eos\":true", "max_output_tokens", false},
        {"\"messages\":" HELLO, "", "max_tokens", false},
    };
    struct buf b = {0};
    buf_printf(&b, "{\"model\":\"%s\",\"stream\":%s,%s%s,", model, stream ? "true" : "false",
               is[route].ask, fb_plain ? "" : is[route].own);
    if (is[route].options) buf_str(&b, "\"options\":{");
    if (is[route].options && !fb_plain) buf_str(&b, "\"ignore_eos\":true,");
    buf_printf(&b, "\"temperature\":0,\"%s\":%d%s%s}", is[route].limit, n_predict,
               is[route].options ? "}" : "", more);
    return b.p;
}

/* ---- answers ---- */

static const json_t *get(const json_t *o, const char *key) {
    return json_is_object(o) ? json_object_get(o, key) : NULL;
}

static void add(struct buf *b, const json_t *v) {
    if (json_is_string(v)) buf_append(b, json_string_value(v), json_string_length(v));
}

static void keep(char *out, size_t n, const json_t *v) {
    if (json_is_string(v)) snprintf(out, n, "%s", json_string_value(v));
}

/* The text in one object of a whole answer or of a stream. */
static void add_text(const json_t *o, struct buf *b) {
    const json_t *choice = json_array_get(get(o, "choices"), 0), *item;
    size_t i;
    add(b, get(o, "response"));
    add(b, get(get(o, "message"), "content"));
    add(b, get(choice, "text"));
    add(b, get(get(choice, "message"), "content"));
    add(b, get(get(choice, "delta"), "content"));
    add(b, get(get(o, "delta"), "text"));
    json_array_foreach(get(o, "content"), i, item) add(b, get(item, "text"));
    json_array_foreach(get(o, "output"), i, item)
        add(b, get(json_array_get(get(item, "content"), 0), "text"));
    const json_t *delta = get(o, "delta");
    const char *type = json_string_value(get(o, "type"));
    if (type && strcmp(type, "response.output_text.delta") == 0) add(b, delta);
}

/* One that closes a stream, and has a place for the reason. */
static bool is_last(const json_t *o) {
    const char *type = json_string_value(get(o, "type"));
    const json_t *choices = get(o, "choices");
    return json_is_true(get(o, "done")) || (type && strcmp(type, "message_delta") == 0) ||
           (type && strcmp(type, "response.completed") == 0) ||
           (type && strcmp(type, "response.incomplete") == 0) ||
           (choices && (json_array_size(choices) == 0 ||
                        json_is_string(get(json_array_get(choices, 0), "finish_reason"))));
}

static void take(const json_t *o, bool stream, struct fb_said *s) {
    const json_t *inner = get(o, "response"), *error = get(o, "error");
    if (!json_is_object(inner)) inner = get(o, "message");
    if (!json_is_object(inner)) inner = NULL;
    keep(s->model, sizeof s->model, get(o, "model"));
    keep(s->model, sizeof s->model, get(inner, "model"));
    const json_t *reason = get(o, "fallback_reason");
    if (!reason) reason = get(inner, "fallback_reason");
    keep(s->reason, sizeof s->reason, reason);
    if (!error) error = get(inner, "error");
    keep(s->error, sizeof s->error, error);
    keep(s->error, sizeof s->error, get(error, "message"));
    add_text(o, &s->text);
    if (stream && is_last(o)) s->last = reason != NULL;
}

void fb_post(const struct serve *srv, int route, bool stream, const char *body,
             struct fb_said *out) {
    struct answer a;
    *out = (struct fb_said){.last = !stream};
    ask(srv, &a, "POST", fb_path[route], NULL, body);
    out->status = a.status;
    const char *header = answer_header(&a, "X-Fallback");
    snprintf(out->header, sizeof out->header, "%s", header ? header : "");
    json_t *all = stream && a.status == 200 ? answer_stream(&a) : answer_json(&a), *one;
    size_t i;
    if (json_is_array(all))
        json_array_foreach(all, i, one) take(one, true, out);
    else
        take(all, false, out);
    buf_append(&out->text, "", 1);
    out->text.n--;
    json_decref(all);
    answer_fini(&a);
}

void fb_ask(const struct serve *s, int route, const char *model, bool stream, int n_predict,
            const char *more, struct fb_said *out) {
    char *body = fb_body(route, model, stream, n_predict, more);
    fb_post(s, route, stream, body, out);
    free(body);
}

void fb_fini(struct fb_said *s) {
    buf_fini(&s->text);
}

long fb_metric(const struct serve *s, const char *name) {
    long v;
    serve_metric(s, name, &v);
    return v;
}
