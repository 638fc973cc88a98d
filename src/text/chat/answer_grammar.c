/* The grammar of an answer that must be calls: the marks of the family, the names of the tools, and
 * arguments by their schemas.  Families whose bodies are no JSON get their parameters one by one,
 * in the schema's order.
 *
 *   root ::= "\n"{0,2} FIRST call (JOIN call)* LAST      call ::= call0 | call1 ...
 *   call0 ::= BEFORE name MID args AFTER, or, as JSON: BEFORE {"name": name, "arguments": args}
 * AFTER
 */
#include <stdlib.h>

#include "text/chat/answer_priv.h"
#include "text/chat/answer_write.h"
#include "text/grammar/schema.h"

struct maker {
    const struct answer *a;
    const struct call_writing *w;
    struct buf *out;
    int n_rule; /* of the schemas */
    struct err *e;
};

/* ---- Pieces of GBNF ---- */

void answer_gbnf_text(struct buf *b, struct str s) {
    if (s.n == 0) return;
    buf_str(b, " \"");
    for (size_t i = 0; i < s.n; i++) {
        const unsigned char c = (unsigned char)s.p[i];
        if (c == '"' || c == '\\')
            buf_printf(b, "\\%c", c);
        else if (c == '\n')
            buf_str(b, "\\n");
        else if (c < 0x20)
            buf_printf(b, "\\x%02x", c);
        else
            buf_byte(b, (char)c);
    }
    buf_str(b, "\"");
}

static void word(struct buf *b, const char *z) {
    answer_gbnf_text(b, str_of(z));
}

static struct str text_of(const json_t *j) {
    return json_is_string(j) ? (struct str){json_string_value(j), json_string_length(j)} : STR("");
}

void answer_gbnf_json(struct buf *b, const json_t *text) {
    char *z = json_dumps(text, JSON_ENCODE_ANY);
    if (z) word(b, z);
    free(z);
}

/* ---- Schemas ---- */

json_t *answer_args_schema(const json_t *tool) {
    const json_t *p = json_object_get(tool, "parameters");
    json_t *s = json_is_object(p) ? json_copy((json_t *)p) : json_object();
    if (!json_object_get(s, "type") && !json_object_get(s, "$ref"))
        json_object_set_new(s, "type", json_string("object"));
    if (json_object_get(s, "type") && !json_object_get(s, "additionalProperties"))
        json_object_set_new(s, "additionalProperties", json_false());
    return s;
}

/* A parameter's schema with the definitions that it may refer to. */
static json_t *property_of(const json_t *schema, const json_t *property) {
    static const char *const shared[] = {"$defs", "definitions"};
    json_t *s = json_is_object(property) ? json_copy((json_t *)property) : json_object();
    for (size_t i = 0; i < 2; i++) {
        json_t *defs = json_object_get(schema, shared[i]);
        if (defs) json_object_set(s, shared[i], defs);
    }
    return s;
}

static bool is_required(const json_t *schema, const char *key) {
    const json_t *v;
    size_t i;
    json_array_foreach(json_object_get(schema, "required"), i,
                       v) if (str_is(text_of(v), key)) return true;
    return false;
}

/* ---- Parameters one by one ---- */

/* A text between marks, or plain text up to the next one; one of a list if the schema has one. */
static void text_value(struct buf *b, const json_t *property, const char *quote) {
    const json_t *list = json_object_get(property, "enum"), *v;
    size_t i;
    if (quote) word(b, quote);
    if (json_array_size(list) > 0) {
        buf_str(b, " (");
        json_array_foreach(list, i, v) {
            if (i) buf_str(b, " |");
            if (text_of(v).n > 0)
                answer_gbnf_text(b, text_of(v));
            else
                buf_str(b, " \"\"");
        }
        buf_str(b, " )");
    } else {
        buf_str(b, quote ? " [^<]*" : " plain");
    }
    if (quote) word(b, quote);
}

static int param_value(struct maker *m, const struct param_form *f, const json_t *schema,
                       const json_t *property, struct buf *b) {
    if (!f->json_texts && str_is(text_of(json_object_get(property, "type")), "string")) {
        text_value(b, property, f->quote);
        return 0;
    }
    json_t *s = property_of(schema, property);
    const int r = schema_part_to_gbnf(s, &m->n_rule, m->out, m->e);
    json_decref(s);
    buf_printf(b, " r%d", r);
    return r < 0 ? -1 : 0;
}

/* With something between two parameters, which may all be left out: for each of them a rule that
 * begins with it or later ones, and one that goes on so. */
static int joined_params(struct maker *m, const struct param_form *f, int tool,
                         const json_t *schema) {
    const char *key;
    json_t *property;
    int i = 0, rc = 0;
    json_object_foreach(json_object_get(schema, "properties"), key, property) {
        const bool must = is_required(schema, key);
        struct buf item = {0};
        word(&item, f->before);
        word(&item, key);
        word(&item, f->mid);
        if (rc == 0) rc = param_value(m, f, schema, property, &item);
        word(&item, f->after);
        const char *z = item.p ? item.p : "";
        buf_printf(m->out, "t%df%d ::=%s t%dn%d", tool, i, z, tool, i + 1);
        if (!must) buf_printf(m->out, " | t%df%d", tool, i + 1);
        buf_printf(m->out, "\nt%dn%d ::=", tool, i);
        word(m->out, f->join);
        buf_printf(m->out, "%s t%dn%d", z, tool, i + 1);
        if (!must) buf_printf(m->out, " | t%dn%d", tool, i + 1);
        buf_str(m->out, "\n");
        buf_fini(&item);
        i++;
    }
    buf_printf(m->out, "t%df%d ::= \"\"\nt%dn%d ::= \"\"\n", tool, i, tool, i);
    return rc;
}

/* ---- Calls ---- */

static int one_call(struct maker *m, int i, const json_t *tool) {
    const struct answer_style *s = &m->a->style;
    const json_t *name = json_object_get(tool, "name");
    json_t *schema = answer_args_schema(tool);
    int rc = 0, rule = 0;
    const bool whole = !m->w->mid || answer_args_are_json(s);
    const struct param_form f = answer_param_form(s);
    if (whole)
        rc = rule = schema_part_to_gbnf(schema, &m->n_rule, m->out, m->e);
    else
        rc = joined_params(m, &f, i, schema);
    buf_printf(m->out, "call%d ::=", i);
    word(m->out, m->w->before);
    if (!m->w->mid) {
        buf_str(m->out, " \"{\\\"\"");
        word(m->out, s->title ? s->title : "name");
        buf_str(m->out, " \"\\\": \"");
        answer_gbnf_json(m->out, name);
        buf_str(m->out, " \", \\\"\"");
        word(m->out, s->args ? s->args : "arguments");
        buf_printf(m->out, " \"\\\": \" r%d \"}\"", rule);
    } else {
        answer_gbnf_text(m->out, text_of(name));
        word(m->out, m->w->mid);
        if (whole)
            buf_printf(m->out, " r%d", rule);
        else
            buf_printf(m->out, " t%df0", i);
    }
    word(m->out, m->w->after);
    buf_str(m->out, "\n");
    json_decref(schema);
    return rc < 0 ? -1 : 0;
}

int answer_call_grammar(const struct answer *a, const json_t *tools, const char *name,
                        bool parallel, struct buf *out, struct err *e) {
    struct maker m = {.a = a, .w = answer_writing_of(a->style.name), .out = out, .e = e};
    const json_t *t;
    size_t i;
    int n = 0;
    if (!m.w)
        return err_set(e, ERR_UNSUPPORTED,
                       "tool_choice: calls in the form of this model (%s) cannot be forced",
                       a->style.name);
    schema_parts_begin(out);
    buf_str(out, "plain ::= ([^<] | \"<\" [^/<])*\n");
    json_array_foreach(tools, i, t) {
        const json_t *f = json_object_get(t, "function");
        if (name && !str_is(text_of(json_object_get(f, "name")), name)) continue;
        if (one_call(&m, n, f) != 0) return err_prefix(e, "tools");
        n++;
    }
    if (n == 0)
        return err_set(e, ERR_USAGE, "tool_choice: found no tool \"%.60s\"; one of tools is needed",
                       name ? name : "");
    buf_str(out, "call ::=");
    for (int k = 0; k < n; k++)
        buf_printf(out, "%s call%d", k ? " |" : "", k);
    /* Behind thoughts there may be a blank line, or the head of a message. */
    buf_str(out,
            a->style.harmony ? "\nroot ::= \"<|start|>assistant\"?" : "\nroot ::= \"\\n\"{0,2}");
    word(out, m.w->first);
    buf_str(out, " call");
    if (parallel) {
        buf_str(out, " (");
        word(out, m.w->join);
        buf_str(out, " call)*");
    }
    word(out, m.w->last);
    buf_str(out, "\n");
    return out->failed ? err_nomem(e, "tool_choice") : 0;
}
