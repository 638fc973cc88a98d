/* Items of the Responses API as messages of engine/gen.h.  What an assistant did is several items
 * there (reasoning, a message, calls) and one message here.  And items as they are kept. */
#include "server/responses.h"

#include <string.h>

/* Texts that only this server reads: "encrypted_content" of its own reasoning items. */
#define OWN_REASONING "cria:"

static const struct field message_item[] = {
    {.name = "type", .types = FIELD_TEXT},
    {.name = "id", .types = FIELD_TEXT},
    {.name = "status", .types = FIELD_TEXT},
    {.name = "phase", .types = FIELD_TEXT},
    {.name = "role",
     .types = FIELD_TEXT,
     .one_of = "user assistant system developer",
     .required = true},
    {.name = "content", .types = FIELD_TEXT | FIELD_ARRAY, .required = true},
    {0}};
static const struct field call_item[] = {
    {.name = "type", .types = FIELD_TEXT},
    {.name = "id", .types = FIELD_TEXT},
    {.name = "status", .types = FIELD_TEXT},
    {.name = "call_id", .types = FIELD_TEXT, .required = true},
    {.name = "name", .types = FIELD_TEXT, .required = true},
    {.name = "namespace", .types = FIELD_TEXT},
    {.name = "arguments", .types = FIELD_TEXT, .required = true},
    {0}};
static const struct field output_item[] = {
    {.name = "type", .types = FIELD_TEXT},
    {.name = "id", .types = FIELD_TEXT},
    {.name = "status", .types = FIELD_TEXT},
    {.name = "call_id", .types = FIELD_TEXT, .required = true},
    {.name = "output", .types = FIELD_TEXT | FIELD_ARRAY, .required = true},
    {0}};
static const struct field reasoning_item[] = {{.name = "type", .types = FIELD_TEXT},
                                              {.name = "id", .types = FIELD_TEXT},
                                              {.name = "status", .types = FIELD_TEXT},
                                              {.name = "summary", .types = FIELD_ARRAY},
                                              {.name = "content", .types = FIELD_ARRAY},
                                              {.name = "encrypted_content", .types = FIELD_TEXT},
                                              {0}};

static int add_part(const json_t *part, const char *where, struct buf *text, json_t *images,
                    struct fault *f) {
    char param[FIELD_PATH];
    const char *type = field_text(part, "type"), *s;
    field_path(param, "%s.type", where);
    if (!type) return fault_set(f, ERR_USAGE, param, "is required");
    if (field_among(type, "input_text output_text text refusal")) {
        const char *key = strcmp(type, "refusal") == 0 ? "refusal" : "text";
        field_path(param, "%s.%s", where, key);
        s = field_text(part, key);
        return s ? openai_say(text, s, f) : fault_set(f, ERR_USAGE, param, "a string is required");
    }
    if (strcmp(type, "input_image") != 0)
        return fault_set(f, ERR_UNSUPPORTED, param,
                         "found \"%.40s\"; accepted: input_text, output_text, input_image", type);
    field_path(param, "%s.image_url", where);
    s = field_text(part, "image_url");
    return s ? openai_image(s, param, images, f)
             : fault_set(f, ERR_USAGE, param, "is required (no files are kept here)");
}

static int read_parts(const json_t *content, const char *where, struct buf *text, json_t *images,
                      struct fault *f) {
    char at[FIELD_PATH];
    if (json_is_string(content)) return openai_say(text, json_string_value(content), f);
    for (size_t i = 0; i < json_array_size(content); i++) {
        field_path(at, "%s[%zu]", where, i);
        if (add_part(json_array_get(content, i), at, text, images, f) != 0) return -1;
    }
    return 0;
}

/* The assistant's message at the end of the list, when it may still take `key`; or a new one. */
static json_t *assistant(json_t *list, const char *key) {
    json_t *last = json_array_get(list, json_array_size(list) - 1);
    const char *role = field_text(last, "role"), *content = field_text(last, "content");
    const bool is_open =
        role && strcmp(role, "assistant") == 0 &&
        (strcmp(key, "tool_calls") == 0 || (strcmp(key, "content") == 0 && content && !*content &&
                                            !json_object_get(last, "tool_calls")));
    if (is_open) return last;
    last = json_pack("{s:s, s:s}", "role", "assistant", "content", "");
    return json_array_append_new(list, last) == 0 ? last : NULL;
}

static int add_message(json_t *item, const char *where, json_t *list, struct fault *f) {
    char at[FIELD_PATH];
    struct buf text = {0};
    json_t *images = json_array(), *m;
    const char *role = field_text(item, "role");
    field_path(at, "%s.content", where);
    int rc = read_parts(json_object_get(item, "content"), at, &text, images, f);
    if (rc == 0) {
        json_t *content = json_stringn(text.p ? text.p : "", text.n);
        if (strcmp(role, "assistant") == 0) {
            m = assistant(list, "content");
            rc = json_object_set_new(m, "content", content);
        } else {
            m = json_pack("{s:s, s:o}", "role", strcmp(role, "user") == 0 ? "user" : "system",
                          "content", content);
            rc = json_array_append_new(list, m);
        }
        if (rc != 0) fault_nomem(f);
        if (rc == 0 && json_array_size(images)) json_object_set(m, "images", images);
    }
    json_decref(images);
    buf_fini(&text);
    return rc;
}

static int add_call(json_t *item, const char *where, json_t *list, struct fault *f) {
    char at[FIELD_PATH], name[OPENAI_TOOL_NAME];
    field_path(at, "%s.arguments", where);
    json_t *arguments = openai_arguments(field_text(item, "arguments"), at, f), *m, *calls;
    if (!arguments) return -1;
    m = assistant(list, "tool_calls");
    calls = json_object_get(m, "tool_calls");
    if (!calls && m) json_object_set_new(m, "tool_calls", calls = json_array());
    openai_join_name(name, field_text(item, "namespace"), field_text(item, "name"));
    json_t *call = json_pack("{s:s, s:{s:s, s:o}}", "id", field_text(item, "call_id"), "function",
                             "name", name, "arguments", arguments);
    return json_array_append_new(calls, call) == 0 ? 0 : fault_nomem(f);
}

static int add_output(json_t *item, const char *where, json_t *list, struct fault *f) {
    char at[FIELD_PATH];
    struct buf text = {0};
    json_t *images = json_array();
    const char *id = field_text(item, "call_id"), *name = openai_called(list, id);
    field_path(at, "%s.output", where);
    int rc = read_parts(json_object_get(item, "output"), at, &text, images, f);
    json_t *m = rc == 0 ? json_pack("{s:s, s:s, s:s, s:s*}", "role", "tool", "content",
                                    text.p ? text.p : "", "tool_call_id", id, "tool_name", name)
                        : NULL;
    if (m && json_array_size(images)) json_object_set(m, "images", images);
    if (rc == 0 && json_array_append_new(list, m) != 0) rc = fault_nomem(f);
    json_decref(images);
    buf_fini(&text);
    return rc;
}

/* Its full text, its summary, or our own "encrypted" one; what others encrypted is theirs. */
static int add_reasoning(const json_t *item, json_t *list, struct fault *f) {
    struct buf text = {0};
    const json_t *parts = json_object_get(item, "content");
    const char *own = field_text(item, "encrypted_content"), *s;
    if (json_array_size(parts) == 0) parts = json_object_get(item, "summary");
    for (size_t i = 0; i < json_array_size(parts); i++)
        if ((s = field_text(json_array_get(parts, i), "text")) && openai_say(&text, s, f) != 0)
            return -1;
    if (text.n == 0 && own && strncmp(own, OWN_REASONING, strlen(OWN_REASONING)) == 0)
        buf_str(&text, own + strlen(OWN_REASONING));
    int rc = 0;
    if (text.n)
        rc = json_object_set_new(assistant(list, "thinking"), "thinking",
                                 json_stringn(text.p, text.n));
    buf_fini(&text);
    return rc == 0 ? 0 : fault_nomem(f);
}

static int add_item(json_t *item, size_t i, json_t *list, struct fault *f) {
    char where[FIELD_PATH], path[FIELD_PATH];
    const char *type = field_text(item, "type");
    field_path(where, "input[%zu]", i);
    field_path(path, "input[%zu].", i);
    if (!json_is_object(item))
        return fault_set(f, ERR_USAGE, where, "found %s; an object is accepted", field_kind(item));
    if (!type || strcmp(type, "message") == 0)
        return field_check(item, path, message_item, f) != 0 ? -1
                                                             : add_message(item, where, list, f);
    if (strcmp(type, "function_call") == 0)
        return field_check(item, path, call_item, f) != 0 ? -1 : add_call(item, where, list, f);
    if (strcmp(type, "function_call_output") == 0)
        return field_check(item, path, output_item, f) != 0 ? -1 : add_output(item, where, list, f);
    if (strcmp(type, "reasoning") == 0)
        return field_check(item, path, reasoning_item, f) != 0 ? -1 : add_reasoning(item, list, f);
    field_path(path, "%s.type", where);
    return fault_set(f, ERR_UNSUPPORTED, path,
                     "found \"%.40s\"; accepted: message, function_call, function_call_output, "
                     "reasoning",
                     type);
}

int responses_messages(json_t *items, json_t *gen, struct fault *f) {
    json_t *list = json_object_get(gen, "messages");
    for (size_t i = 0; i < json_array_size(items); i++)
        if (add_item(json_array_get(items, i), i, list, f) != 0) return -1;
    return 0;
}

/* ---- what is kept ---- */

static const char *text_in(const json_t *part) {
    const char *text = field_text(part, "text");
    return text ? text : field_text(part, "refusal");
}

/* Its texts joined as openai_say does, where the first of them stood. */
static json_t *join_parts(const json_t *parts) {
    json_t *made = json_array(), *first = NULL, *part;
    struct buf text = {0};
    struct fault f;
    size_t i;
    int rc = made ? 0 : -1;
    json_array_foreach(parts, i, part) {
        const char *more = text_in(part);
        if (more) rc |= openai_say(&text, more, &f);
        if (!more || !first) rc |= json_array_append_new(made, json_copy(part));
        if (more && !first) first = json_array_get(made, json_array_size(made) - 1);
    }
    const char *key = field_text(first, "text") ? "text" : "refusal";
    if (first) rc |= json_object_set_new(first, key, json_stringn(buf_view(&text).p, text.n));
    buf_fini(&text);
    if (rc == 0) return made;
    json_decref(made);
    return NULL;
}

json_t *responses_kept(const json_t *items) {
    static const char *const lists[] = {"content", "output", "summary"};
    json_t *made = json_array(), *item;
    size_t i;
    int rc = made ? 0 : -1;
    json_array_foreach(items, i, item) {
        json_t *copy = json_copy(item);
        for (size_t k = 0; k < sizeof lists / sizeof *lists; k++) {
            const json_t *parts = json_object_get(item, lists[k]);
            if (json_array_size(parts) > 1)
                rc |= json_object_set_new(copy, lists[k], join_parts(parts));
        }
        rc |= json_array_append_new(made, copy);
    }
    if (rc == 0) return made;
    json_decref(made);
    return NULL;
}
