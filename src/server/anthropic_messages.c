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

static const struct field text_block[] = {{.name = "type", .types = FIELD_TEXT},
                                          {.name = "text", .types = FIELD_TEXT, .required = true},
                                          {.name = "cache_control", .types = FIELD_OBJECT},
                                          {.name = "citations", .types = FIELD_ARRAY, .max = 0},
                                          {0}};
static const struct field image_block[] = {
    {.name = "type", .types = FIELD_TEXT},
    {.name = "source", .types = FIELD_OBJECT, .required = true},
    {.name = "cache_control", .types = FIELD_OBJECT},
    {0}};
static const struct field document_block[] = {
    {.name = "type", .types = FIELD_TEXT},
    {.name = "source", .types = FIELD_OBJECT, .required = true},
    {.name = "title", .types = FIELD_TEXT},
    {.name = "context", .types = FIELD_TEXT},
    {.name = "citations", .types = FIELD_OBJECT},
    {.name = "cache_control", .types = FIELD_OBJECT},
    {0}};
static const struct field use_block[] = {{.name = "type", .types = FIELD_TEXT},
                                         {.name = "id", .types = FIELD_TEXT, .required = true},
                                         {.name = "name", .types = FIELD_TEXT, .required = true},
                                         {.name = "input", .types = FIELD_OBJECT, .required = true},
                                         {.name = "caller", .types = FIELD_OBJECT},
                                         {.name = "cache_control", .types = FIELD_OBJECT},
                                         {0}};
static const struct field result_block[] = {
    {.name = "type", .types = FIELD_TEXT},
    {.name = "tool_use_id", .types = FIELD_TEXT, .required = true},
    {.name = "content", .types = FIELD_TEXT | FIELD_ARRAY},
    {.name = "is_error", .types = FIELD_BOOL},
    {.name = "cache_control", .types = FIELD_OBJECT},
    {0}};
static const struct field thinking_block[] = {
    {.name = "type", .types = FIELD_TEXT},
    {.name = "thinking", .types = FIELD_TEXT, .required = true},
    {.name = "signature", .types = FIELD_TEXT}, /* anyone's: nothing depends on it */
    {0}};
static const struct field message_fields[] = {
    {.name = "role", .types = FIELD_TEXT, .one_of = "user assistant system", .required = true},
    {.name = "content", .types = FIELD_TEXT | FIELD_ARRAY, .required = true},
    {0}};

static int add_image(const json_t *block, const char *where, struct parts *p, struct fault *f) {
    char param[FIELD_PATH];
    const json_t *source = json_object_get(block, "source");
    const char *type = field_text(source, "type"), *media = field_text(source, "media_type"),
               *data = field_text(source, "data");
    field_path(param, "%s.source", where);
    if (!type || strcmp(type, "base64") != 0)
        return fault_set(f, ERR_UNSUPPORTED, param,
                         "found type \"%.40s\"; \"base64\" is accepted (nothing is fetched)",
                         type ? type : "");
    if (!media || strncmp(media, "image/", 6) != 0 || !data || !*data)
        return fault_set(f, ERR_USAGE, param, "\"media_type\" image/... and \"data\" are required");
    return json_array_append_new(p->images, json_string(data)) == 0 ? 0 : fault_nomem(f);
}

static int add_document(const json_t *block, const char *where, struct parts *p, struct fault *f) {
    char param[FIELD_PATH];
    const json_t *source = json_object_get(block, "source");
    const char *type = field_text(source, "type"), *data = field_text(source, "data"),
               *title = field_text(block, "title"), *context = field_text(block, "context");
    field_path(param, "%s.citations", where);
    if (field_true(json_object_get(block, "citations"), "enabled"))
        return fault_set(f, ERR_UNSUPPORTED, param, "this server makes no citations");
    field_path(param, "%s.source", where);
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
        json_pack("{s:s, s:{s:s, s:O}}", "id", field_text(block, "id"), "function", "name",
                  field_text(block, "name"), "arguments", json_object_get(block, "input"));
    return json_array_append_new(p->calls, call) == 0 ? 0 : fault_nomem(f);
}

/* text, image and document blocks, wherever they stand; 1: another type. */
static int add_plain(json_t *block, const char *where, struct parts *p, struct fault *f) {
    char path[FIELD_PATH];
    const char *type = field_text(block, "type");
    field_path(path, "%s.", where);
    if (strcmp(type, "text") == 0)
        return field_check(block, path, text_block, f) != 0
                   ? -1
                   : openai_say(&p->text, field_text(block, "text"), f);
    if (strcmp(type, "image") == 0)
        return field_check(block, path, image_block, f) != 0 ? -1 : add_image(block, where, p, f);
    if (strcmp(type, "document") == 0)
        return field_check(block, path, document_block, f) != 0 ? -1
                                                                : add_document(block, where, p, f);
    return 1;
}

static int need_type(const json_t *block, const char *where, struct fault *f) {
    char param[FIELD_PATH];
    field_path(param, "%s.type", where);
    return field_text(block, "type") ? 0 : fault_set(f, ERR_USAGE, param, "is required");
}

static int other_type(const json_t *block, const char *where, const char *known, struct fault *f) {
    char param[FIELD_PATH];
    field_path(param, "%s.type", where);
    return fault_set(f, ERR_UNSUPPORTED, param, "found \"%.40s\"; accepted: %s",
                     field_text(block, "type"), known);
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
    char at[FIELD_PATH];
    json_t *content = json_object_get(block, "content");
    const char *id = field_text(block, "tool_use_id"), *name = openai_called(list, id);
    int rc = parts_init(&p, f);
    if (field_true(block, "is_error")) buf_str(&p.text, "Error: ");
    if (json_is_string(content)) buf_str(&p.text, json_string_value(content));
    for (size_t i = 0; rc == 0 && json_is_array(content) && i < json_array_size(content); i++) {
        json_t *inner = json_array_get(content, i);
        field_path(at, "%s.content[%zu]", where, i);
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
    char path[FIELD_PATH];
    const int rc = add_plain(block, where, p, f);
    if (rc != 1) return rc;
    if (strcmp(field_text(block, "type"), "tool_result") != 0)
        return other_type(block, where, "text, image, document, tool_result", f);
    field_path(path, "%s.", where);
    p->results = true;
    return field_check(block, path, result_block, f) != 0 ? -1 : add_result(block, where, list, f);
}

static int add_assistant_block(json_t *block, const char *where, struct parts *p, struct fault *f) {
    char path[FIELD_PATH];
    const char *type = field_text(block, "type");
    field_path(path, "%s.", where);
    if (strcmp(type, "text") == 0) return add_plain(block, where, p, f);
    if (strcmp(type, "tool_use") == 0)
        return field_check(block, path, use_block, f) != 0 ? -1 : add_use(block, p, f);
    if (strcmp(type, "thinking") == 0)
        return field_check(block, path, thinking_block, f) != 0
                   ? -1
                   : openai_say(&p->thinking, field_text(block, "thinking"), f);
    /* Of another server: only that one can read it. */
    if (strcmp(type, "redacted_thinking") == 0) return 0;
    return other_type(block, where, "text, tool_use, thinking", f);
}

static int add_blocks(json_t *content, const char *where, bool user, struct parts *p, json_t *list,
                      struct fault *f) {
    char at[FIELD_PATH];
    for (size_t i = 0; i < json_array_size(content); i++) {
        json_t *block = json_array_get(content, i);
        field_path(at, "%s.content[%zu]", where, i);
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
    char where[FIELD_PATH], path[FIELD_PATH];
    field_path(where, "messages[%zu]", i);
    field_path(path, "messages[%zu].", i);
    if (!json_is_object(message))
        return fault_set(f, ERR_USAGE, where, "found %s; an object is accepted",
                         field_kind(message));
    if (field_check(message, path, message_fields, f) != 0) return -1;
    const char *role = field_text(message, "role");
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
    char at[FIELD_PATH];
    int rc = 0;
    if (json_is_string(system)) buf_str(&text, json_string_value(system));
    for (size_t i = 0; rc == 0 && json_is_array(system) && i < json_array_size(system); i++) {
        json_t *block = json_array_get(system, i);
        field_path(at, "system[%zu]", i);
        rc = need_type(block, at, f);
        if (rc == 0 && strcmp(field_text(block, "type"), "text") != 0)
            rc = other_type(block, at, "text", f);
        field_path(at, "system[%zu].", i);
        if (rc == 0) rc = field_check(block, at, text_block, f);
        if (rc == 0) rc = openai_say(&text, field_text(block, "text"), f);
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
