/* From the body of a call to names and arguments: JSON in the forms that families have, and what a
 * call needs to be one: the name of a tool, arguments that are an object. */
#include <string.h>

#include "base/json.h"
#include "text/chat/answer_priv.h"

/* ---- Tools ---- */

static struct str text_of(const json_t *j) {
    return json_is_string(j) ? (struct str){json_string_value(j), json_string_length(j)} : STR("");
}

const json_t *answer_tool(const json_t *tools, struct str name) {
    const json_t *t;
    size_t i;
    json_array_foreach(tools, i, t) {
        const json_t *f = json_object_get(t, "function");
        if (name.n > 0 && str_eq(text_of(json_object_get(f, "name")), name)) return f;
    }
    return NULL;
}

bool answer_add_call(const json_t *tools, json_t *out, struct str name, json_t *args) {
    if (!json_is_object(args) || !answer_tool(tools, name)) {
        json_decref(args);
        return false;
    }
    json_t *call = json_object();
    json_object_set_new(call, "name", json_stringn(name.p, name.n));
    json_object_set_new(call, "arguments", args);
    return json_array_append_new(out, call) == 0;
}

/* ---- JSON ---- */

enum { MAX_VALUES = 200000 };

/* The values in s, however many lists and objects they are; depth and number are bounded. */
json_t *answer_read_json(struct str s) {
    struct err e = {0};
    struct buf wrapped = {0};
    buf_str(&wrapped, "{\"v\":");
    buf_append(&wrapped, s.p, s.n);
    buf_str(&wrapped, "}");
    json_t *o =
        wrapped.failed ? NULL : json_read_object("call", buf_view(&wrapped), MAX_VALUES, &e);
    json_t *v = json_incref(json_object_get(o, "v"));
    json_decref(o);
    buf_fini(&wrapped);
    return v;
}

/* Arguments are an object; some models write it as text. */
static json_t *take_args(const json_t *j) {
    static const char *const keys[] = {"arguments", "parameters", "args"};
    json_t *v = NULL;
    for (size_t i = 0; i < 3 && !v; i++)
        v = json_object_get(j, keys[i]);
    if (json_is_string(v)) return answer_read_json(text_of(v));
    return v && !json_is_null(v) ? json_incref(v) : json_object();
}

/* {"name": {arguments}}, as Apertus has it. */
static bool add_keyed(const struct answer *a, const json_t *j, json_t *out) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)j, key, v) if (!answer_add_call(a->tools, out, str_of(key),
                                                                  json_incref(v))) return false;
    return json_object_size(j) > 0;
}

static bool add_object(const struct answer *a, const json_t *j, json_t *out) {
    const json_t *f = json_object_get(j, "function");
    if (json_is_object(f)) j = f;
    struct str name = text_of(json_object_get(j, "name"));
    if (name.n == 0) name = text_of(json_object_get(j, "tool_name"));
    if (name.n == 0) name = text_of(json_object_get(j, "function"));
    if (name.n == 0) return add_keyed(a, j, out);
    return json_is_object(j) && answer_add_call(a->tools, out, name, take_args(j));
}

static bool add_json(const struct answer *a, struct str body, json_t *out) {
    json_t *v = answer_read_json(body);
    const json_t *item;
    size_t i;
    bool ok = json_is_object(v) ? add_object(a, v, out) : json_array_size(v) > 0;
    if (json_is_array(v)) json_array_foreach(v, i, item) ok = ok && add_object(a, item, out);
    json_decref(v);
    return ok;
}

/* ---- A name, a separator, an object ---- */

static struct str strip(struct str s) {
    while (s.n > 0 && answer_blank(s.p[0]))
        s.p++, s.n--;
    while (s.n > 0 && answer_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

static const char *find(struct str s, const char *z) {
    return s.n ? memmem(s.p, s.n, z, strlen(z)) : NULL; /* s.p may be NULL */
}

/* "functions.name:0" and "name[CALL_ID]x" are forms of a name. */
static struct str plain_name(const struct answer *a, const struct call_form *f, struct str s) {
    s = strip(s);
    const char *at = f->title ? find(s, f->title) : NULL;
    if (at)
        s = strip((struct str){at + strlen(f->title), s.n - (size_t)(at - s.p) - strlen(f->title)});
    if (answer_tool(a->tools, s)) return s;
    if ((at = find(s, "[CALL_ID]"))) s.n = (size_t)(at - s.p);
    if (str_starts(s, STR("functions."))) s = (struct str){s.p + 10, s.n - 10};
    if (answer_tool(a->tools, s)) return s;
    if ((at = memchr(s.p, ':', s.n))) s.n = (size_t)(at - s.p);
    return s;
}

static bool add_named(const struct answer *a, const struct call_form *f, struct str body,
                      json_t *out) {
    const char *brace = find(body, "{");
    const char *sep = f->sep ? find(body, f->sep) : NULL;
    if (!brace) return false;
    const char *end = sep && sep < brace ? sep : brace;
    const struct str args = {brace, body.n - (size_t)(brace - body.p)};
    const struct str name = plain_name(a, f, (struct str){body.p, (size_t)(end - body.p)});
    return answer_add_call(a->tools, out, name, answer_read_json(args));
}

json_t *answer_parse(const struct answer *a, const struct call_form *f, struct str body) {
    json_t *out = json_array();
    const struct str s = strip(body);
    bool ok = false;
    if (f->body == BODY_NAMED || (f->body == BODY_JSON && s.n > 0 && *s.p != '{' && *s.p != '['))
        ok = add_named(a, f, s, out);
    else if (f->body == BODY_JSON)
        ok = add_json(a, s, out);
    else
        ok = answer_parse_words(a, f, s, out);
    if (ok && json_array_size(out) > 0) return out;
    json_decref(out);
    return NULL;
}
