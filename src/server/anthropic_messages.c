/* Content blocks of the Anthropic API as messages of engine/gen.h.
 *
 * A user's message may hold results of tools beside text: they become messages of their own, before
 * the text.  Marks for caching (cache_control) are taken and mean nothing: every prompt's beginning
 * is cached here. */
#include "server/anthropic.h"

#include <string.h>

/* What becomes of a message. */
struct parts {
    struct buf text, thinking;
    json_t *images, *calls; /* owned */
    bool results;           /* there were results of tools, which are in the list by now */
};

static const struct shape text_block[] = {{.name = "type", .types = SHAPE_TEXT},
                                          {.name = "text", .types = SHAPE_TEXT, .required = true},
                                          {.name = "cache_control", .types = SHAPE_OBJECT},
                                          {.name = "citations", .types = SHAPE_ARRAY, .max = 0},
                                          {0}};
static const struct shape image_block[] = {
    {.name = "type", .types = SHAPE_TEXT},
    {.name = "source", .types = SHAPE_OBJECT, .required = true},
    {.name = "cache_control", .types = SHAPE_OBJECT},
    {0}};
static const struct shape document_block[] = {
    {.name = "type", .types = SHAPE_TEXT},
    {.name = "source", .types = SHAPE_OBJECT, .required = true},
    {.name = "title", .types = SHAPE_TEXT},
    {.name = "context", .types = SHAPE_TEXT},
    {.name = "citations", .types = SHAPE_OBJECT},
    {.name = "cache_control", .types = SHAPE_OBJECT},
    {0}};
static const struct shape use_block[] = {{.name = "type", .types = SHAPE_TEXT},
                                         {.name = "id", .types = SHAPE_TEXT, .required = true},
                                         {.name = "name", .types = SHAPE_TEXT, .required = true},
                                         {.name = "input", .types = SHAPE_OBJECT, .required = true},
                                         {.name = "caller", .types = SHAPE_OBJECT},
                                         {.name = "cache_control", .types = SHAPE_OBJECT},
                                         {0}};
static const struct shape result_block[] = {
    {.name = "type", .types = SHAPE_TEXT},
    {.name = "tool_use_id", .types = SHAPE_TEXT, .required = true},
    {.name = "content", .types = SHAPE_TEXT | SHAPE_ARRAY},
    {.name = "is_error", .types = SHAPE_BOOL},
    {.name = "cache_control", .types = SHAPE_OBJECT},
    {0}};
static const struct shape thinking_block[] = {
    {.name = "type", .types = SHAPE_TEXT},
    {.name = "thinking", .types = SHAPE_TEXT, .required = true},
    {.name = "signature", .types = SHAPE_TEXT}, /* anyone's: nothing depends on it */
    {0}};
static const struct shape message_fields[] = {
    {.name = "role", .types = SHAPE_TEXT, .one_of = "user assistant system", .required = true},
    {.name = "content", .types = SHAPE_TEXT | SHAPE_ARRAY, .required = true},
    {0}};

static int add_image(const json_t *block, const char *where, struct parts *p, struct fault *f) {
    char param[SHAPE_PATH];
    const json_t *source = json_object_get(block, "source");
    const char *type = shape_text(source, "type"), *media = shape_text(source, "media_type"),
               *data = shape_text(source, "data");
    shape_path(param, "%s.source", where);
    if (!type || strcmp(type, "base64") != 0)
        return fault_set(f, ERR_UNSUPPORTED, param,
                         "found type \"%.40s\"; \"base64\" is accepted (nothing is fetched)",
                         type ? type : "");
    if (!media || strncmp(media, "image/", 6) != 0 || !data || !*data)
        return fault_set(f, ERR_USAGE, param, "\"media_type\" image/... and \"data\" are required");
    return json_array_append_new(p->images, json_string(data)) == 0 ? 0 : fault_nomem(f);
}

static int add_document(const json_t *block, const char *where, struct parts *p, struct fault *f) {
    char param[SHAPE_PATH];
    const json_t *source = json_object_get(block, "source");
    const char *type = shape_text(source, "type"), *data = shape_text(source, "data"),
               *title = shape_text(block, "title"), *context = shape_text(block, "context");
    shape_path(param, "%s.citations", where);
    if (shape_true(json_object_get(block, "citations"), "enabled"))
        return fault_set(f, ERR_UNSUPPORTED, param, "this server makes no citations");
    shape_path(param, "%s.source", where);
    if (!type || strcmp(type, "text") != 0 || !data)
        return fault_set(f, ERR_UNSUPPORTED, param,
                         "found type \"%.40s\"; \"text\" with \"data\" is accepted",
                         type ? type : "");
    if (title && openai_say(&p->text, title, f) != 0) return -1;
    if (context && openai_say(&p->text, context, f) != 0) return -1;
    return openai_say(&p->text, data, f);
}

static int add_use(const json_t *block, struct parts *p, struct fault *f) {
    json_t *call =
        json_pack("{s:s, s:{s:s, s:O}}", "id", shape_text(block, "id"), "function", "name",
                  shape_text(block, "name"), "arguments", json_object_get(block, "input"));
    return json_array_append_new(p->calls, call) == 0 ? 0 : fault_nomem(f);
}

/* text, image and document blocks, wherever they stand; 1: another type. */
static int add_plain(json_t *block, const char *where, struct parts *p, struct fault *f) {
    char path[SHAPE_PATH];
    const char *type = shape_text(block, "type");
    shape_path(path, "%s.", where);
    if (strcmp(type, "text") == 0)
        return shape_check(block, path, text_block, f) != 0
                   ? -1
                   : openai_say(&p->text, shape_text(block, "text"), f);
    if (strcmp(type, "image") == 0)
        return shape_check(block, path, image_block, f) != 0 ? -1 : add_image(block, where, p, f);
    if (strcmp(type, "document") == 0)
        return shape_check(block, path, document_block, f) != 0 ? -1
                                                                : add_document(block, where, p, f);
    return 1;
}

static int need_type(const json_t *block, const char *where, struct fault *f) {
    char param[SHAPE_PATH];
    shape_path(param, "%s.type", where);
    return shape_text(block, "type") ? 0 : fault_set(f, ERR_USAGE, param, "is required");
}

static int other_type(const json_t *block, const char *where, const char *known, struct fault *f) {
    char param[SHAPE_PATH];
    shape_path(param, "%s.type", where);
    return fault_set(f, ERR_UNSUPPORTED, param, "found \"%.40s\"; accepted: %s",
                     shape_text(block, "type"), known);
}

static int parts_init(struct parts *p, struct fault *f) {
    *p = (struct parts){.images = json_array(), .calls = json_array()};
    return p->images && p->calls ? 0 : fault_nomem(f);
}

static void parts_fini(struct parts *p) {
    buf_fini(&p->text);
    buf_fini(&p->thinking);
    json_decref(p->images);
    json_decref(p->calls);
}

static json_t *text_of(const struct buf *b) {
    return json_stringn(b->p ? b->p : "", b->n);
}

/* A tool's result becomes a message at once. */
static int add_result(json_t *block, const char *where, json_t *list, struct fault *f) {
    struct parts p;
    char at[SHAPE_PATH];
    json_t *content = json_object_get(block, "content");
    const char *id = shape_text(block, "tool_use_id"), *name = openai_called(list, id);
    int rc = parts_init(&p, f);
    if (shape_true(block, "is_error")) buf_str(&p.text, "Error: ");
    if (json_is_string(content)) buf_str(&p.text, json_string_value(content));
    for (size_t i = 0; rc == 0 && json_is_array(content) && i < json_array_size(content); i++) {
        json_t *inner = json_array_get(content, i);
        shape_path(at, "%s.content[%zu]", where, i);
        rc = need_type(inner, at, f);
        if (rc == 0) rc = add_plain(inner, at, &p, f);
        if (rc == 1) rc = other_type(inner, at, "text, image, document", f);
    }
    json_t *m = rc == 0 ? json_pack("{s:s, s:o, s:s, s:s*}", "role", "tool", "content",
                                    text_of(&p.text), "tool_call_id", id, "tool_name", name)
                        : NULL;
    if (m && json_array_size(p.images)) json_object_set(m, "images", p.images);
    if (rc == 0 && json_array_append_new(list, m) != 0) rc = fault_nomem(f);
    parts_fini(&p);
    return rc;
}

static int add_user_block(json_t *block, const char *where, struct parts *p, json_t *list,
                          struct fault *f) {
    char path[SHAPE_PATH];
    const int rc = add_plain(block, where, p, f);
    if (rc != 1) return rc;
    if (strcmp(shape_text(block, "type"), "tool_result") != 0)
        return other_type(block, where, "text, image, document, tool_result", f);
    shape_path(path, "%s.", where);
    p->results = true;
    return shape_check(block, path, result_block, f) != 0 ? -1 : add_result(block, where, list, f);
}

static int add_assistant_block(json_t *block, const char *where, struct parts *p, struct fault *f) {
    char path[SHAPE_PATH];
    const char *type = shape_text(block, "type");
    shape_path(path, "%s.", where);
    if (strcmp(type, "text") == 0) return add_plain(block, where, p, f);
    if (strcmp(type, "tool_use") == 0)
        return shape_check(block, path, use_block, f) != 0 ? -1 : add_use(block, p, f);
    if (strcmp(type, "thinking") == 0)
        return shape_check(block, path, thinking_block, f) != 0
                   ? -1
                   : openai_say(&p->thinking, shape_text(block, "thinking"), f);
    /* Of another server: only that one can read it. */
    if (strcmp(type, "redacted_thinking") == 0) return 0;
    return other_type(block, where, "text, tool_use, thinking", f);
}

static int add_blocks(json_t *content, const char *where, bool user, struct parts *p, json_t *list,
                      struct fault *f) {
    char at[SHAPE_PATH];
    for (size_t i = 0; i < json_array_size(content); i++) {
        json_t *block = json_array_get(content, i);
        shape_path(at, "%s.content[%zu]", where, i);
        if (need_type(block, at, f) != 0 || (user ? add_user_block(block, at, p, list, f)
                                                  : add_assistant_block(block, at, p, f)) != 0)
            return -1;
    }
    return 0;
}

static int put_message(struct parts *p, const char *role, json_t *list, struct fault *f) {
    if (p->results && p->text.n == 0 && json_array_size(p->images) == 0) return 0;
    json_t *m = json_pack("{s:s, s:o}", "role", role, "content", text_of(&p->text));
    if (m && p->thinking.n) json_object_set_new(m, "thinking", text_of(&p->thinking));
    if (m && json_array_size(p->images)) json_object_set(m, "images", p->images);
    if (m && json_array_size(p->calls)) json_object_set(m, "tool_calls", p->calls);
    return json_array_append_new(list, m) == 0 ? 0 : fault_nomem(f);
}

static int add_message(json_t *message, size_t i, json_t *list, struct fault *f) {
    struct parts p;
    char where[SHAPE_PATH], path[SHAPE_PATH];
    shape_path(where, "messages[%zu]", i);
    shape_path(path, "messages[%zu].", i);
    if (!json_is_object(message))
        return fault_set(f, ERR_USAGE, where, "found %s; an object is accepted",
                         shape_kind(message));
    if (shape_check(message, path, message_fields, f) != 0) return -1;
    const char *role = shape_text(message, "role");
    json_t *content = json_object_get(message, "content");
    int rc = parts_init(&p, f);
    if (rc == 0 && json_is_string(content)) rc = openai_say(&p.text, json_string_value(content), f);
    if (rc == 0 && json_is_array(content))
        rc = add_blocks(content, where, strcmp(role, "assistant") != 0, &p, list, f);
    if (rc == 0) rc = put_message(&p, role, list, f);
    parts_fini(&p);
    return rc;
}

static int add_system(const json_t *system, json_t *list, struct fault *f) {
    struct buf text = {0};
    char at[SHAPE_PATH];
    int rc = 0;
    if (json_is_string(system)) buf_str(&text, json_string_value(system));
    for (size_t i = 0; rc == 0 && json_is_array(system) && i < json_array_size(system); i++) {
        json_t *block = json_array_get(system, i);
        shape_path(at, "system[%zu]", i);
        rc = need_type(block, at, f);
        if (rc == 0 && strcmp(shape_text(block, "type"), "text") != 0)
            rc = other_type(block, at, "text", f);
        shape_path(at, "system[%zu].", i);
        if (rc == 0) rc = shape_check(block, at, text_block, f);
        if (rc == 0) rc = openai_say(&text, shape_text(block, "text"), f);
    }
    if (rc == 0 && text.n &&
        json_array_append_new(
            list, json_pack("{s:s, s:o}", "role", "system", "content", text_of(&text))) != 0)
        rc = fault_nomem(f);
    buf_fini(&text);
    return rc;
}

int anthropic_messages(const json_t *system, json_t *messages, json_t *gen, struct fault *f) {
    json_t *list = json_array();
    if (json_object_set_new(gen, "messages", list) != 0) return fault_nomem(f);
    if (json_array_size(messages) == 0)
        return fault_set(f, ERR_USAGE, "messages", "at least one message is required");
    if (system && add_system(system, list, f) != 0) return -1;
    for (size_t i = 0; i < json_array_size(messages); i++)
        if (add_message(json_array_get(messages, i), i, list, f) != 0) return -1;
    return 0;
}
