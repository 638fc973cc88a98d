/* See chat_json.h. */
#include "text/chat/chat_json.h"

#include <stdlib.h>

#include "base/utf8.h"
#include "text/chat/answer_write.h"
#include "text/chat/chat_calls.h"

json_t *chat_json_text(struct str s) {
    return json_stringn(s.n ? s.p : "", s.n);
}

json_t *chat_json_messages(const struct chat_message *m, int n, struct err *e) {
    json_t *list = json_array();
    for (int i = 0; list && i < n; i++, m++) {
        if (utf8_valid_prefix(m->content.p, m->content.n) < m->content.n) {
            json_decref(list);
            err_set(e, ERR_FORMAT, "message %d: found bytes that are no UTF-8; UTF-8 is needed", i);
            return NULL;
        }
        json_t *j = json_object();
        json_object_set_new(j, "role", chat_json_text(m->role));
        json_object_set_new(j, "content", chat_json_text(m->content));
        json_array_append_new(list, j);
    }
    if (!list) err_nomem(e, "conversation");
    return list;
}

/* ---- The form of a request ---------------------------------------------------------------------
 */

static const char *const roles = "system, user, assistant or tool";

static struct str text_of(const json_t *j) {
    return json_is_string(j) ? (struct str){json_string_value(j), json_string_length(j)} : STR("");
}

static bool has_role(const json_t *m, const char *role) {
    return str_is(text_of(json_object_get(m, "role")), role);
}

__attribute__((format(printf, 3, 4))) static int wrong(struct err *e, size_t i, const char *fmt,
                                                       ...) {
    char where[40];
    va_list ap;
    va_start(ap, fmt);
    err_vset(e, ERR_USAGE, fmt, ap);
    va_end(ap);
    snprintf(where, sizeof where, "messages[%zu]", i);
    err_prefix(e, where);
    return -1;
}

static int check_calls(size_t i, const json_t *calls, struct err *e) {
    const json_t *call;
    size_t k;
    if (!json_is_array(calls))
        return wrong(e, i, "tool_calls: found no list; a list of calls is accepted");
    json_array_foreach(calls, k, call) {
        const json_t *f = json_object_get(call, "function");
        const json_t *args = json_object_get(f, "arguments");
        if (!json_is_object(f))
            return wrong(e, i, "tool_calls[%zu].function: found no object; one is needed", k);
        if (text_of(json_object_get(f, "name")).n == 0)
            return wrong(e, i, "tool_calls[%zu].function.name: found no text; one is needed", k);
        if (args && !json_is_null(args) && !json_is_object(args))
            return wrong(e, i, "tool_calls[%zu].function.arguments: found no object; one is needed",
                         k);
    }
    return 0;
}

static int check_message(size_t i, const json_t *m, struct err *e) {
    static const char *const texts[] = {"content", "thinking", "tool_name", "tool_call_id"};
    const char *key;
    json_t *value;
    if (!json_is_object(m)) return wrong(e, i, "found no object; one is needed");
    const struct str role = text_of(json_object_get(m, "role"));
    if (!str_is(role, "system") && !str_is(role, "user") && !str_is(role, "assistant") &&
        !str_is(role, "tool"))
        return wrong(e, i, "role '%.*s'; %s are accepted", (int)(role.n < 40 ? role.n : 40), role.p,
                     roles);
    json_object_foreach((json_t *)m, key, value) {
        bool text = false;
        for (size_t k = 0; k < 4; k++)
            text |= strcmp(key, texts[k]) == 0;
        if (json_is_null(value) || strcmp(key, "role") == 0) continue;
        if (text && !json_is_string(value))
            return wrong(e, i, "%s: found no text; a text is accepted", key);
        if (strcmp(key, "tool_calls") == 0 && check_calls(i, value, e) != 0) return -1;
        if (strcmp(key, "images") == 0 && json_array_size(value) > 0) {
            err_set(e, ERR_UNSUPPORTED,
                    "messages[%zu].images: this model reads no images; only text is accepted", i);
            return -1;
        }
        if (!text && strcmp(key, "tool_calls") != 0 && strcmp(key, "images") != 0)
            return wrong(e, i, "unknown key \"%.40s\"", key);
    }
    return 0;
}

int chat_json_check(const json_t *messages, const json_t *tools, struct err *e) {
    const json_t *m;
    size_t i;
    if (!json_is_array(messages))
        return err_set(e, ERR_USAGE, "messages: found no list; a list of messages is needed");
    json_array_foreach(messages, i, m) if (check_message(i, m, e) != 0) return -1;
    if (!tools || json_is_null(tools)) return 0;
    if (!json_is_array(tools))
        return err_set(e, ERR_USAGE, "tools: found no list; a list of tools is accepted");
    json_array_foreach(tools, i, m) {
        const json_t *f = json_object_get(m, "function");
        if (!json_is_object(f))
            return err_set(e, ERR_USAGE, "tools[%zu].function: found no object; one is needed", i);
        if (text_of(json_object_get(f, "name")).n == 0)
            return err_set(e, ERR_USAGE, "tools[%zu].function.name: found no text; one is needed",
                           i);
    }
    return 0;
}

/* ---- Plain conversations -----------------------------------------------------------------------
 */

static bool is_set(const json_t *m, const char *key) {
    const json_t *j = json_object_get(m, key);
    return j && !json_is_null(j) && !(json_is_array(j) && json_array_size(j) == 0) &&
           !(json_is_string(j) && json_string_length(j) == 0);
}

bool chat_json_is_plain(const json_t *messages) {
    const json_t *m;
    size_t i;
    json_array_foreach(messages, i, m) if (has_role(m, "tool") || is_set(m, "thinking") ||
                                           is_set(m, "tool_calls")) return false;
    return true;
}

struct chat_message *chat_json_views(const json_t *messages) {
    const json_t *j;
    size_t i;
    struct chat_message *m = calloc(json_array_size(messages) + 1, sizeof *m);
    json_array_foreach(messages, i, j) {
        if (!m) break;
        m[i].role = text_of(json_object_get(j, "role"));
        m[i].content = text_of(json_object_get(j, "content"));
    }
    return m;
}

/* ---- For the template languages ----------------------------------------------------------------
 */

static void set_text(json_t *o, const char *key, struct str s) {
    json_object_set_new(o, key, chat_json_text(s));
}

static void copy_text(json_t *to, const char *as, const json_t *from, const char *key) {
    if (is_set(from, key)) json_object_set(to, as, json_object_get(from, key));
}

static json_t *arguments(const json_t *f, bool as_text) {
    json_t *args = json_object_get(f, "arguments");
    args = json_is_object(args) ? json_incref(args) : json_object();
    if (!as_text) return args;
    char *z = json_dumps(args, JSON_PRESERVE_ORDER);
    json_decref(args);
    args = z ? json_string(z) : NULL;
    free(z);
    return args;
}

static json_t *calls_for_jinja(const json_t *calls, bool args_text) {
    json_t *out = json_array();
    const json_t *call;
    size_t i;
    json_array_foreach(calls, i, call) {
        const json_t *f = json_object_get(call, "function");
        json_t *o = json_object(), *g = json_object();
        copy_text(o, "id", call, "id");
        set_text(o, "type", STR("function"));
        json_object_set(g, "name", json_object_get(f, "name"));
        json_object_set_new(g, "arguments", arguments(f, args_text));
        json_object_set_new(o, "function", g);
        json_array_append_new(out, o);
    }
    return out;
}

/* Thoughts of an earlier turn in the fields that the template reads. */
static void add_thinking(json_t *o, const json_t *m, const struct chat_features *f) {
    const struct str thought = text_of(json_object_get(m, "thinking"));
    const struct str said = text_of(json_object_get(m, "content"));
    if (thought.n == 0) return;
    if (f->thinking_chunk) {
        json_t *list = json_array(), *a = json_object(), *b = json_object();
        set_text(a, "type", STR("thinking"));
        set_text(a, "thinking", thought);
        set_text(b, "type", STR("text"));
        set_text(b, "text", said);
        json_array_append_new(list, a);
        json_array_append_new(list, b);
        json_object_set_new(o, "content", list);
        return;
    }
    if (f->key_reasoning_content) set_text(o, "reasoning_content", thought);
    if (f->key_reasoning) set_text(o, "reasoning", thought);
    if (f->key_thinking) set_text(o, "thinking", thought);
    if (f->one_of_both && is_set(m, "tool_calls") && said.n > 0) {
        struct buf both = {0};
        buf_append(&both, thought.p, thought.n);
        buf_str(&both, "\n\n");
        buf_append(&both, said.p, said.n);
        set_text(o, "thinking", buf_view(&both));
        set_text(o, "content", STR(""));
        buf_fini(&both);
    }
}

/* The text of a message with its calls behind it. */
static void add_calls_as_text(json_t *o, const json_t *m, const struct answer_style *style) {
    const struct str said = text_of(json_object_get(m, "content"));
    struct buf text = {0};
    buf_append(&text, said.p, said.n);
    if (said.n > 0) buf_str(&text, "\n");
    answer_write_calls(style, json_object_get(m, "tool_calls"), &text);
    if (!text.failed) set_text(o, "content", buf_view(&text));
    buf_fini(&text);
}

json_t *chat_json_for_jinja(const json_t *messages, const struct chat_features *f,
                            const struct answer_style *style, bool args_text) {
    json_t *out = json_array();
    const json_t *m;
    size_t i;
    json_array_foreach(messages, i, m) {
        json_t *o = json_object();
        json_object_set(o, "role", json_object_get(m, "role"));
        set_text(o, "content", text_of(json_object_get(m, "content")));
        add_thinking(o, m, f);
        if (is_set(m, "tool_calls") && !f->calls)
            add_calls_as_text(o, m, style);
        else if (is_set(m, "tool_calls"))
            json_object_set_new(o, "tool_calls",
                                calls_for_jinja(json_object_get(m, "tool_calls"), args_text));
        copy_text(o, "name", m, "tool_name");
        copy_text(o, "tool_call_id", m, "tool_call_id");
        if (json_array_append_new(out, o) != 0) return json_decref(out), NULL;
    }
    chat_calls_complete(out, "name", true, f->short_ids);
    return out;
}

json_t *chat_json_for_go(const json_t *messages) {
    json_t *out = json_deep_copy(messages), *m;
    size_t i, k;
    json_array_foreach(out, i, m) {
        json_t *call, *calls = json_object_get(m, "tool_calls");
        json_array_foreach(calls, k, call) {
            json_t *f = json_object_get(call, "function");
            if (!json_object_get(f, "index"))
                json_object_set_new(f, "index", json_integer((json_int_t)k));
            if (!json_is_object(json_object_get(f, "arguments")))
                json_object_set_new(f, "arguments", json_object());
        }
    }
    chat_calls_complete(out, "tool_name", false, false);
    return out;
}

static void set_missing(json_t *o, const char *key, json_t *value) {
    if (json_object_get(o, key))
        json_decref(value);
    else
        json_object_set_new(o, key, value);
}

static void describe(json_t *properties, int depth) {
    const char *key;
    json_t *p;
    json_object_foreach(properties, key, p) {
        if (!json_is_object(p) || depth > 16) continue;
        set_missing(p, "type", json_string("string"));
        set_missing(p, "description", json_string(""));
        describe(json_object_get(p, "properties"), depth + 1);
    }
}

json_t *chat_json_described(const json_t *tools) {
    json_t *out = json_deep_copy(tools), *t;
    size_t i;
    json_array_foreach(out, i, t) {
        json_t *f = json_object_get(t, "function");
        set_missing(t, "type", json_string("function"));
        set_missing(f, "description", json_string(""));
        set_missing(f, "parameters", json_object());
        json_t *p = json_object_get(f, "parameters");
        set_missing(p, "type", json_string("object"));
        set_missing(p, "properties", json_object());
        set_missing(p, "required", json_array());
        describe(json_object_get(p, "properties"), 0);
    }
    return out;
}
