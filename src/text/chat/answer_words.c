/* Calls that are no JSON: marks around each parameter, Python, braces.  Values get the type that
 * the tool's schema gives them. */
#include <ctype.h>
#include <string.h>

#include "text/chat/answer_priv.h"

static struct str from(struct str s, const char *at) {
    return (struct str){at, s.n - (size_t)(at - s.p)};
}

static struct str until(struct str s, const char *at) {
    return (struct str){s.p, (size_t)(at - s.p)};
}

static const char *find(struct str s, const char *z) {
    return s.n ? memmem(s.p, s.n, z, strlen(z)) : NULL; /* s.p may be NULL */
}

/* What stands between a and b from *s on; *s moves behind b.  p NULL: not there. */
static struct str between(struct str *s, const char *a, const char *b) {
    const char *at = find(*s, a);
    if (!at) return (struct str){NULL, 0};
    const struct str rest = from(*s, at + strlen(a));
    const char *end = find(rest, b);
    if (!end) return (struct str){NULL, 0};
    *s = from(rest, end + strlen(b));
    return until(rest, end);
}

static struct str strip(struct str s) {
    while (s.n > 0 && answer_blank(s.p[0]))
        s.p++, s.n--;
    while (s.n > 0 && answer_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

/* Values on lines of their own. */
static struct str strip_line(struct str s) {
    if (s.n > 0 && s.p[0] == '\n') s.p++, s.n--;
    if (s.n > 0 && s.p[s.n - 1] == '\n') s.n--;
    return s;
}

/* Does the tool's schema say that this parameter is a text? */
static bool is_text(const struct answer *a, struct str tool, const char *key) {
    const json_t *f = answer_tool(a->tools, tool);
    const json_t *p = json_object_get(json_object_get(f, "parameters"), "properties");
    const json_t *type = json_object_get(json_object_get(p, key), "type");
    return json_is_string(type) && strcmp(json_string_value(type), "string") == 0;
}

static void set_value(const struct answer *a, struct str tool, json_t *args, struct str key,
                      struct str value) {
    char name[ANSWER_MAX_NAME + 1];
    if (key.n > ANSWER_MAX_NAME) return;
    memcpy(name, key.p, key.n);
    name[key.n] = 0;
    json_t *v = is_text(a, tool, name) ? NULL : answer_read_json(strip(value));
    if (!v) v = json_stringn(value.p, value.n);
    json_object_set_new(args, name, v);
}

/* ---- <function=name><parameter=key>value</parameter></function> ---- */

static bool parse_xml(const struct answer *a, struct str s, json_t *out) {
    struct str body;
    /* The opening mark may have been the beginning of the function itself. */
    if (find(s, "<function=")) s = from(s, find(s, "<function=") + 10);
    for (bool more = true; more;) {
        const char *end = find(s, ">"), *close = find(s, "</function>");
        if (!end) return false;
        const struct str name = strip(until(s, end));
        body = close ? until(s, close) : s;
        body = end < body.p + body.n ? from(body, end + 1) : STR("");
        json_t *args = json_object();
        for (struct str v = body, key; (key = between(&v, "<parameter=", ">")).p;) {
            const char *stop = find(v, "</parameter>");
            const char *next = find(v, "<parameter=");
            if (!stop || (next && next < stop)) stop = next ? next : v.p + v.n;
            set_value(a, name, args, strip(key), strip_line(until(v, stop)));
            v = from(v, stop);
        }
        if (!answer_add_call(a->tools, out, name, args)) return false;
        if (close) s = from(s, close + 11);
        const char *again = close ? find(s, "<function=") : NULL;
        more = again != NULL;
        if (more) s = from(s, again + 10);
    }
    return true;
}

/* ---- name<arg_key>key</arg_key><arg_value>value</arg_value> ---- */

static bool parse_keys(const struct answer *a, struct str s, json_t *out) {
    const char *end = find(s, "<arg_key>");
    const struct str name = strip(end ? until(s, end) : s);
    json_t *args = json_object();
    for (struct str v = s, key; (key = between(&v, "<arg_key>", "</arg_key>")).p;) {
        const struct str value = between(&v, "<arg_value>", "</arg_value>");
        if (!value.p) return json_decref(args), false;
        set_value(a, name, args, strip(key), value);
    }
    return answer_add_call(a->tools, out, name, args);
}

/* ---- <invoke name="n"><parameter name="k" ...>value</parameter></invoke>, or without invoke ----
 */

static struct str plain_value(struct str s) {
    if (!str_starts(s, STR("<![CDATA[")) || s.n < 12) return s;
    return (struct str){s.p + 9, s.n - 12};
}

static bool parse_invoke(const struct answer *a, const struct call_form *f, struct str s,
                         json_t *out) {
    const char *param = f->sep ? f->sep : "parameter name=\"";
    for (struct str name;
         (name = f->sep ? between(&s, "", "\"") : between(&s, "invoke name=\"", "\"")).p;) {
        const char *stop = f->sep ? s.p + s.n : find(s, "invoke>");
        struct str v = stop ? until(s, stop) : s, key;
        json_t *args = json_object();
        while ((key = between(&v, param, "\"")).p) {
            const char *open = find(v, ">"), *close = open ? find(from(v, open), "</") : NULL;
            if (!close) return json_decref(args), false;
            const struct str value = plain_value(until(from(v, open + 1), close));
            if (find(until(v, open), "string=\"true\""))
                json_object_setn_new_nocheck(args, key.p, key.n, json_stringn(value.p, value.n));
            else
                set_value(a, name, args, key, value);
            v = from(v, close + 2);
        }
        if (!answer_add_call(a->tools, out, name, args)) return false;
        if (stop) s = from(s, stop);
    }
    return json_array_size(out) > 0;
}

/* ---- name(key=value, ...) ---- */

static bool is_name(char c) {
    return isalnum((unsigned char)c) || c == '_' || c == '.' || c == '-';
}

static void skip_over(struct str *s, const char *set) {
    while (s->n > 0 && (answer_blank(s->p[0]) || strchr(set, s->p[0])))
        s->p++, s->n--;
}

static struct str take_name(struct str *s) {
    size_t n = 0;
    while (n < s->n && is_name(s->p[n]))
        n++;
    const struct str name = {s->p, n};
    *s = from(*s, s->p + n);
    return name;
}

/* The i-th parameter of a tool, for values without a name. */
static const char *key_at(const json_t *tool, int i) {
    const char *key;
    json_t *v;
    json_t *p = json_object_get(json_object_get(tool, "parameters"), "properties");
    json_object_foreach(p, key, v) if (i-- == 0) return key;
    return NULL;
}

static bool parse_args(const struct answer *a, struct str name, struct str *s, json_t *args) {
    for (int i = 0;; i++) {
        skip_over(s, ",");
        if (s->n > 0 && s->p[0] == ')') return *s = from(*s, s->p + 1), true;
        struct str t = *s;
        const struct str key = take_name(&t);
        skip_over(&t, "");
        const bool named = key.n > 0 && t.n > 0 && t.p[0] == '=';
        if (named) *s = from(t, t.p + 1);
        json_t *v = answer_literal(s, NULL, 0);
        const char *k = named ? NULL : key_at(answer_tool(a->tools, name), i);
        if (!v || (!named && !k)) return json_decref(v), false;
        if (named)
            json_object_setn_new_nocheck(args, key.p, key.n, v);
        else
            json_object_set_new(args, k, v);
        skip_over(s, "");
        if (s->n == 0 || (s->p[0] != ',' && s->p[0] != ')')) return false;
    }
}

static bool parse_python(const struct answer *a, struct str s, json_t *out) {
    for (skip_over(&s, "[,;"); s.n > 0; skip_over(&s, "],;")) {
        const struct str name = take_name(&s);
        json_t *args = json_object();
        if (s.n == 0 || s.p[0] != '(') return json_decref(args), false;
        s = from(s, s.p + 1);
        if (!parse_args(a, name, &s, args)) return json_decref(args), false;
        if (!answer_add_call(a->tools, out, name, args)) return false;
    }
    return json_array_size(out) > 0;
}

/* ---- call:name{key:value} ---- */

static bool parse_braces(const struct answer *a, const struct call_form *f, struct str s,
                         json_t *out) {
    while (s.n > 0) {
        if (str_starts(s, STR("call:"))) s = from(s, s.p + 5);
        const struct str name = take_name(&s);
        skip_over(&s, "");
        if (s.n == 0 || s.p[0] != '{') return false;
        if (!answer_add_call(a->tools, out, name, answer_literal(&s, f->sep, 0))) return false;
        skip_over(&s, ",;");
    }
    return json_array_size(out) > 0;
}

bool answer_parse_words(const struct answer *a, const struct call_form *f, struct str body,
                        json_t *out) {
    switch (f->body) {
    case BODY_XML: return parse_xml(a, body, out);
    case BODY_KEYS: return parse_keys(a, body, out);
    case BODY_INVOKE: return parse_invoke(a, f, body, out);
    case BODY_PYTHON: return parse_python(a, body, out);
    case BODY_BRACES: return parse_braces(a, f, body, out);
    case BODY_NONE:
    case BODY_JSON:
    case BODY_NAMED: break;
    }
    return false;
}
