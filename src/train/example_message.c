/* Messages as data sets have them, made those that templates read. */
#include "train/example_priv.h"

#include <stdio.h>

#include "base/json.h"
#include "text/chat/chat_json.h"

struct str example_str(const json_t *j) {
    return json_is_string(j) ? (struct str){json_string_value(j), json_string_length(j)} : STR("");
}

bool example_is_role(const json_t *m, const char *role) {
    return str_is(example_str(json_object_get(m, "role")), role);
}

bool example_is_blank(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!strchr(" \t\r\n", s.p[i])) return false;
    return true;
}

bool example_says_something(const json_t *m) {
    return !example_is_blank(example_str(json_object_get(m, "content"))) ||
           json_array_size(json_object_get(m, "tool_calls")) > 0;
}

json_t *example_get(const json_t *o, const char *key) {
    json_t *v = json_object_get(o, key);
    return json_is_null(v) ? NULL : v;
}

/* ---- contents ---- */

/* A text, nothing, or a list of parts: texts and {"type": "text", "text"}. */
static json_t *read_content(const json_t *v, struct err *e) {
    struct buf all = {0};
    const json_t *part;
    size_t i;
    if (!v || json_is_string(v)) return v ? json_incref((json_t *)v) : json_string("");
    if (!json_is_array(v)) {
        err_set(e, ERR_FORMAT, "content: found neither text nor list; a text is accepted");
        return NULL;
    }
    json_array_foreach(v, i, part) {
        const json_t *type = json_object_get(part, "type");
        const json_t *text = json_is_string(part) ? part : json_object_get(part, "text");
        if (!json_is_string(text) || (type && !str_is(example_str(type), "text"))) {
            err_set(e, ERR_FORMAT,
                    "content[%zu]: found no text; parts of type \"text\" are accepted", i);
            buf_fini(&all);
            return NULL;
        }
        buf_append(&all, json_string_value(text), json_string_length(text));
    }
    json_t *out = all.failed ? NULL : chat_json_text(buf_view(&all));
    if (!out) err_nomem(e, "content");
    buf_fini(&all);
    return out;
}

/* ---- calls ---- */

/* JSON inside a text: its values were not counted with the line's.  NULL: it is none. */
static json_t *json_inside(const json_t *v) {
    const struct str s = example_str(v);
    if (s.n == 0 || json_check("", s, EXAMPLE_MAX_VALUES, NULL) != 0) return NULL;
    return json_read(s, JSON_REJECT_DUPLICATES, NULL);
}

/* Arguments are an object, or the text of one; chat_json_check refuses what is neither. */
static json_t *read_arguments(const json_t *v) {
    json_t *o = json_inside(v);
    if (o) return o;
    return !v || (json_is_string(v) && json_string_length(v) == 0) ? json_object()
                                                                   : json_incref((json_t *)v);
}

static json_t *read_calls(const json_t *calls) {
    json_t *out = json_array();
    const json_t *call;
    size_t i;
    json_array_foreach(calls, i, call) {
        const json_t *f = example_get(call, "function") ? example_get(call, "function") : call;
        json_t *o = json_object(), *g = json_object();
        if (example_get(call, "id")) json_object_set(o, "id", example_get(call, "id"));
        if (example_get(f, "name")) json_object_set(g, "name", example_get(f, "name"));
        json_object_set_new(g, "arguments", read_arguments(example_get(f, "arguments")));
        json_object_set_new(o, "function", g);
        json_array_append_new(out, o);
    }
    return out;
}

/* ---- messages ---- */

/* The first of the names that there is; NULL-terminated. */
static void copy_first(json_t *to, const char *as, const json_t *from, const char *const *names) {
    for (; *names; names++) {
        json_t *v = example_get(from, *names);
        if (!v) continue;
        json_object_set(to, as, v);
        return;
    }
}

static json_t *read_message(const json_t *m, struct err *e) {
    static const char *const thinking[] = {"thinking", "reasoning_content", "reasoning", NULL};
    static const char *const tool[] = {"tool_name", "name", NULL};
    static const char *const id[] = {"tool_call_id", NULL};
    if (!json_is_object(m)) {
        err_set(e, ERR_FORMAT, "found no object; {\"role\", \"content\"} is accepted");
        return NULL;
    }
    json_t *content = read_content(example_get(m, "content"), e);
    if (!content) return NULL;
    json_t *o = json_object(), *calls = example_get(m, "tool_calls");
    if (example_is_role(m, "developer")) /* OpenAI's newer name */
        json_object_set_new(o, "role", json_string("system"));
    else if (example_get(m, "role"))
        json_object_set(o, "role", example_get(m, "role"));
    json_object_set_new(o, "content", content);
    copy_first(o, "thinking", m, thinking);
    if (example_is_role(m, "tool")) {
        copy_first(o, "tool_name", m, tool);
        copy_first(o, "tool_call_id", m, id);
    }
    if (json_is_array(calls) && json_array_size(calls) == 0) calls = NULL;
    if (json_is_array(calls))
        json_object_set_new(o, "tool_calls", read_calls(calls));
    else if (calls)
        json_object_set(o, "tool_calls", calls); /* chat_json_check says what is wrong with it */
    return o;
}

static bool has_weight_0(const json_t *m) {
    const json_t *w = json_object_get(m, "weight");
    return json_is_number(w) && json_number_value(w) == 0;
}

static json_t *one_message(const char *role, const json_t *text) {
    json_t *list = json_array(), *m = json_object();
    json_object_set_new(m, "role", json_string(role));
    json_object_set(m, "content", (json_t *)text);
    json_array_append_new(list, m);
    return list;
}

/* The names that chat_json_check has for places, "messages[2].role", where `key` may be another. */
static int check(const char *key, const json_t *messages, struct err *e) {
    struct err own = {0};
    if (chat_json_check(messages, NULL, &own) == 0) return 0;
    const bool other = strncmp(own.msg, "messages", 8) == 0 && strcmp(key, "messages") != 0;
    if (other) return err_set(e, ERR_FORMAT, "%s%s", key, own.msg + 8);
    return err_set(e, ERR_FORMAT, "%s", own.msg);
}

json_t *example_messages(const char *key, const json_t *value, const char *role, json_t *weight0,
                         struct err *e) {
    const json_t *m;
    size_t i;
    if (json_is_string(value)) return one_message(role, value);
    if (!json_is_array(value)) {
        err_set(e, ERR_FORMAT,
                "%s: found neither text nor list; a text or a list of messages is "
                "accepted",
                key);
        return NULL;
    }
    json_t *out = json_array();
    json_array_foreach(value, i, m) {
        json_t *o = read_message(m, e);
        if (o && has_weight_0(m)) json_array_append_new(weight0, json_integer((json_int_t)i));
        if (!o || json_array_append_new(out, o) != 0) {
            char where[80];
            snprintf(where, sizeof where, "%s[%zu]", key, i);
            if (o)
                err_nomem(e, where);
            else
                err_prefix(e, where);
            json_decref(out);
            return NULL;
        }
    }
    if (check(key, out, e) == 0) return out;
    json_decref(out);
    return NULL;
}

json_t *example_tools(const json_t *value, struct err *e) {
    struct err own = {0};
    json_t *tools = json_inside(value);
    if (!tools) tools = json_incref((json_t *)value);
    json_t *none = json_array();
    const int rc = chat_json_check(none, tools, &own);
    json_decref(none);
    if (rc == 0) return tools;
    err_set(e, ERR_FORMAT, "%s", own.msg);
    json_decref(tools);
    return NULL;
}
