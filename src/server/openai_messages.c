/* Messages of chat completions in the form of engine/gen.h: parts joined, images taken from data
 * addresses (never fetched: SECURITY.md H10), arguments of calls as objects, names of tools found
 * by the ids of their calls. */
#include "server/openai.h"

#include <stdio.h>
#include <string.h>
#include <strings.h>

static const struct field message_fields[] = {
    {.name = "role",
     .types = FIELD_TEXT,
     .one_of = "system developer user assistant tool",
     .required = true},
    {.name = "content", .types = FIELD_TEXT | FIELD_ARRAY},
    {.name = "name", .types = FIELD_TEXT},
    {.name = "tool_calls", .types = FIELD_ARRAY},
    {.name = "tool_call_id", .types = FIELD_TEXT},
    {.name = "refusal", .types = FIELD_TEXT},
    {.name = "reasoning", .types = FIELD_TEXT},
    {.name = "reasoning_content", .types = FIELD_TEXT},
    {.name = "annotations", .types = FIELD_ARRAY}, /* of answers that come back: nothing to read */
    {.name = "audio", .refusal = "this server neither hears nor speaks"},
    {.name = "function_call", .refusal = "not supported; use tool_calls"},
    {0}};

static const struct field call_fields[] = {
    {.name = "id", .types = FIELD_TEXT},
    {.name = "index", .types = FIELD_INT},
    {.name = "type", .types = FIELD_TEXT, .one_of = "function"},
    {.name = "function", .types = FIELD_OBJECT, .required = true},
    {0}};

int openai_say(struct buf *text, const char *more, struct fault *f) {
    if (text->n) buf_byte(text, '\n');
    buf_str(text, more);
    return text->failed ? fault_nomem(f) : 0;
}

int openai_image(const char *url, const char *param, json_t *images, struct fault *f) {
    const char *comma = strchr(url, ',');
    if (strncasecmp(url, "data:", 5) != 0)
        return fault_set(f, ERR_USAGE, param,
                         "found an address; images are only taken as data:image/...;base64,... "
                         "(nothing is fetched)");
    if (strncasecmp(url, "data:image/", 11) != 0 || !comma || comma - url < 7 + 11 ||
        strncasecmp(comma - 7, ";base64", 7) != 0 || !comma[1])
        return fault_set(f, ERR_USAGE, param,
                         "found another data address; data:image/...;base64,... is accepted");
    return json_array_append_new(images, json_string(comma + 1)) == 0 ? 0 : fault_nomem(f);
}

static int add_part(const json_t *part, const char *where, struct buf *text, json_t *images,
                    struct fault *f) {
    char param[FIELD_PATH];
    const char *type = field_text(part, "type"), *s;
    field_path(param, "%s.type", where);
    if (!type) return fault_set(f, ERR_USAGE, param, "is required");
    field_path(param, "%s.%.40s", where, type);
    if (field_among(type, "text refusal")) {
        if (!(s = field_text(part, type)))
            return fault_set(f, ERR_USAGE, param, "found %s; a string is accepted",
                             field_kind(json_object_get(part, type)));
        return openai_say(text, s, f);
    }
    if (strcmp(type, "image_url") == 0) {
        const json_t *image = json_object_get(part, "image_url");
        s = json_is_string(image) ? json_string_value(image) : field_text(image, "url");
        field_path(param, "%s.image_url.url", where);
        return s ? openai_image(s, param, images, f)
                 : fault_set(f, ERR_USAGE, param, "is required");
    }
    field_path(param, "%s.type", where);
    return fault_set(f, ERR_UNSUPPORTED, param, "found \"%.40s\"; accepted: text, image_url", type);
}

/* The text of a message's content, its images. */
static int read_content(const json_t *content, const char *where, struct buf *text, json_t *images,
                        struct fault *f) {
    char at[FIELD_PATH];
    buf_str(text, "");
    if (json_is_string(content)) buf_str(text, json_string_value(content));
    for (size_t i = 0; json_is_array(content) && i < json_array_size(content); i++) {
        field_path(at, "%s.content[%zu]", where, i);
        if (add_part(json_array_get(content, i), at, text, images, f) != 0) return -1;
    }
    return text->failed ? fault_nomem(f) : 0;
}

json_t *openai_arguments(const char *text, const char *param, struct fault *f) {
    json_error_t je;
    json_t *j = *text ? json_loads(text, JSON_REJECT_DUPLICATES, &je) : json_object();
    if (json_is_object(j)) return j;
    json_decref(j);
    fault_set(f, ERR_USAGE, param, "found a text that is no JSON object; one is accepted");
    return NULL;
}

const char *openai_called(const json_t *messages, const char *id) {
    for (size_t i = json_array_size(messages); id && i-- > 0;) {
        const json_t *calls = json_object_get(json_array_get(messages, i), "tool_calls");
        for (size_t k = 0; k < json_array_size(calls); k++) {
            const json_t *call = json_array_get(calls, k);
            const char *have = field_text(call, "id");
            if (have && strcmp(have, id) == 0)
                return field_text(json_object_get(call, "function"), "name");
        }
    }
    return NULL;
}

static int add_call(json_t *call, const char *where, json_t *calls, struct fault *f) {
    char path[FIELD_PATH], param[FIELD_PATH];
    field_path(path, "%s.", where);
    if (!json_is_object(call))
        return fault_set(f, ERR_USAGE, where, "found %s; an object is accepted", field_kind(call));
    if (field_check(call, path, call_fields, f) != 0) return -1;
    const json_t *fn = json_object_get(call, "function");
    const char *name = field_text(fn, "name"), *text = field_text(fn, "arguments");
    field_path(param, "%s.function.%s", where, name ? "arguments" : "name");
    if (!name) return fault_set(f, ERR_USAGE, param, "is required");
    json_t *arguments = openai_arguments(text ? text : "", param, f);
    if (!arguments) return -1;
    return json_array_append_new(calls,
                                 json_pack("{s:s*, s:{s:s, s:o}}", "id", field_text(call, "id"),
                                           "function", "name", name, "arguments", arguments)) == 0
               ? 0
               : fault_nomem(f);
}

static int add_calls(json_t *message, const char *where, json_t *out, struct fault *f) {
    json_t *list = json_object_get(message, "tool_calls"), *calls;
    char at[FIELD_PATH];
    if (json_array_size(list) == 0) return 0;
    calls = json_array();
    json_object_set_new(out, "tool_calls", calls);
    for (size_t i = 0; i < json_array_size(list); i++) {
        field_path(at, "%s.tool_calls[%zu]", where, i);
        if (add_call(json_array_get(list, i), at, calls, f) != 0) return -1;
    }
    return 0;
}

/* What a tool said, or what only an assistant has. */
static int add_extras(json_t *message, const char *where, const char *role, const json_t *before,
                      json_t *out, struct fault *f) {
    char param[FIELD_PATH];
    const char *id = field_text(message, "tool_call_id"),
               *thinking = field_text(message, "reasoning");
    if (!thinking) thinking = field_text(message, "reasoning_content");
    if (strcmp(role, "tool") == 0) {
        const char *name = openai_called(before, id);
        if (!name) name = field_text(message, "name");
        if (id) json_object_set_new(out, "tool_call_id", json_string(id));
        if (name) json_object_set_new(out, "tool_name", json_string(name));
        return 0;
    }
    field_path(param, "%s.tool_call_id", where);
    if (id) return fault_set(f, ERR_USAGE, param, "only a message of role tool has it");
    if (strcmp(role, "assistant") != 0) {
        field_path(param, "%s.tool_calls", where);
        return json_object_get(message, "tool_calls")
                   ? fault_set(f, ERR_USAGE, param, "only a message of role assistant has them")
                   : 0;
    }
    if (thinking) json_object_set_new(out, "thinking", json_string(thinking));
    return add_calls(message, where, out, f);
}

/* Participants of one role are told apart by their names before the text: no template has a place
 * for them. */
static void name_participant(const json_t *message, const char *role, struct buf *text) {
    const char *name = field_text(message, "name");
    if (name && strcmp(role, "tool") != 0) buf_printf(text, "%s: ", name);
}

static int add_message(json_t *message, size_t i, json_t *list, struct fault *f) {
    char where[FIELD_PATH], path[FIELD_PATH];
    struct buf text = {0};
    field_path(where, "messages[%zu]", i);
    field_path(path, "messages[%zu].", i);
    if (!json_is_object(message))
        return fault_set(f, ERR_USAGE, where, "found %s; an object is accepted",
                         field_kind(message));
    if (field_check(message, path, message_fields, f) != 0) return -1;
    const char *role = field_text(message, "role");
    const json_t *content = json_object_get(message, "content");
    if (!content) content = json_object_get(message, "refusal");
    if (!content && !(strcmp(role, "assistant") == 0 && (json_object_get(message, "tool_calls") ||
                                                         json_object_get(message, "name")))) {
        field_path(path, "%s.content", where);
        return fault_set(f, ERR_USAGE, path, "is required");
    }
    json_t *images = json_array(), *out = json_object();
    name_participant(message, role, &text);
    int rc = read_content(content, where, &text, images, f);
    if (rc == 0) {
        json_object_set_new(out, "role",
                            json_string(strcmp(role, "developer") == 0 ? "system" : role));
        json_object_set_new(out, "content", json_stringn(text.p, text.n));
        if (json_array_size(images) > 0) json_object_set(out, "images", images);
        rc = add_extras(message, where, role, list, out, f);
    }
    json_decref(images);
    buf_fini(&text);
    if (rc == 0 && json_array_append(list, out) != 0) rc = fault_nomem(f);
    json_decref(out);
    return rc;
}

int openai_messages(json_t *messages, json_t *gen, struct fault *f) {
    json_t *list = json_array();
    if (json_object_set_new(gen, "messages", list) != 0) return fault_nomem(f);
    if (json_array_size(messages) == 0)
        return fault_set(f, ERR_USAGE, "", "[] is too short - 'messages'");
    for (size_t i = 0; i < json_array_size(messages); i++)
        if (add_message(json_array_get(messages, i), i, list, f) != 0) return -1;
    return 0;
}

void openai_continue(json_t *gen) {
    const json_t *list = json_object_get(gen, "messages");
    const json_t *last = json_array_get(list, json_array_size(list) - 1);
    const char *role = field_text(last, "role");
    if (role && strcmp(role, "assistant") == 0 && !json_object_get(last, "tool_calls"))
        json_object_set_new(gen, "continue", json_true());
}

int openai_ready(void *ctx, const struct ask_model *m, json_t *gen, struct err *e) {
    (void)ctx;
    json_t *list = json_object_get(gen, "messages");
    const char *first = field_text(json_array_get(list, 0), "role");
    const bool has_system = first && strcmp(first, "system") == 0;
    int rc = 0;
    size_t at = 0;
    if (!list) return 0;
    if (!has_system && m->system && *m->system)
        rc |= json_array_insert_new(
            list, at++, json_pack("{s:s, s:s}", "role", "system", "content", m->system));
    for (size_t i = 0; i < json_array_size(m->messages); i++)
        rc |= json_array_insert_new(list, at++, json_deep_copy(json_array_get(m->messages, i)));
    return rc ? err_nomem(e, "request") : 0;
}
