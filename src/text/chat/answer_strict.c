/* The grammar of calls that a model begins by itself, where tools are strict: what may stand behind
 * a call's mark.  It holds from the mark on, not from the arguments on, because keys in another
 * order would tell the tool too late.
 *
 *   root ::= TAG body      TAG: "0:".. the form of the mark, "b:" none, "NAME:" a tool's channel
 *   body ::= JSON | name SEP args, and behind it anything: the token that ends a call may go on
 *
 * Arguments of strict tools follow their schemas, those of others are any object.  Families whose
 * calls are no JSON have no such grammar. */
#include <stdlib.h>

#include "text/chat/answer_priv.h"
#include "text/grammar/schema.h"

/* What all forms share.  Some families number their calls, before or behind the arguments. */
static const char shared[] =
    "kc ::= ws \":\" ws\nkcomma ::= ws \",\" ws\nkany ::= [\\x00-\\U0010ffff]*\n"
    "kend ::= \"<|\" (\"call\" | \"end\" | \"return\" | \"start\" | \"channel\") \"|>\"\n"
    "kid ::= [a-zA-Z0-9_.:-]{0,64}\n"
    "kpre ::= ((\"\\\"type\\\"\" kc \"\\\"function\\\"\" | (\"\\\"id\\\"\" | "
    "\"\\\"tool_call_id\\\"\") kc \"\\\"\" kid \"\\\"\") kcomma){0,2}\n"
    "kpost ::= (kcomma \"\\\"id\\\"\" kc \"\\\"\" kid \"\\\"\")?\n"
    "kobj ::= \"{\" ws kpre (kcall | \"\\\"function\\\"\" kc \"{\" ws kcall ws \"}\") kpost ws "
    "\"}\"\n"
    "kitem ::= kobj | kkeyed\n"
    "kjson ::= kitem | \"[\" ws kitem (kcomma kitem)* ws \"]\"\n";

static bool is_json(const struct answer_style *s) {
    for (int i = 0; i < STYLE_FORMS && s->form[i].body; i++)
        if (s->form[i].body != BODY_JSON && s->form[i].body != BODY_NAMED) return false;
    return s->bare || s->harmony || s->form[0].body;
}

static bool is_strict(const json_t *strict, const json_t *name) {
    const json_t *v;
    size_t i;
    json_array_foreach(strict, i, v) if (json_equal(v, name)) return true;
    return false;
}

/* " | a0 | a1" without the first bar. */
static void any_of(struct buf *out, const char *rule, const char *what, size_t n) {
    buf_printf(out, "%s ::=", rule);
    for (size_t i = 0; i < n; i++)
        buf_printf(out, "%s %s%zu", i ? " |" : "", what, i);
    buf_str(out, "\n");
}

/* The rules of tool i: kargs arguments, kcall and kkeyed in JSON, knamed behind its name. */
static int one_tool(const struct answer_style *s, size_t i, const json_t *tool, bool strict,
                    int *n_rule, struct buf *out, struct err *e) {
    const json_t *name = json_object_get(tool, "name");
    if (strict) {
        json_t *schema = answer_args_schema(tool);
        const int r = schema_part_to_gbnf(schema, n_rule, out, e);
        json_decref(schema);
        if (r < 0) {
            char where[64];
            snprintf(where, sizeof where, "tools[%zu].function.parameters", i);
            err_prefix(e, where);
            return err_field(e, "%s", where);
        }
        buf_printf(out, "kargs%zu ::= r%d\n", i, r);
    } else {
        buf_printf(out, "kargs%zu ::= object\n", i);
    }
    buf_printf(out, "kcall%zu ::= \"\\\"%s\\\"\" kc", i, s->title ? s->title : "name");
    answer_gbnf_json(out, name);
    buf_printf(out, " kcomma \"\\\"\" (\"arguments\" | \"parameters\") \"\\\"\" kc kargs%zu\n", i);
    buf_printf(out, "kkeyed%zu ::= \"{\" ws", i);
    answer_gbnf_json(out, name);
    buf_printf(out, " kc kargs%zu ws \"}\"\nkname%zu ::=", i, i);
    answer_gbnf_text(out, str_of(json_string_value(name)));
    buf_str(out, "\n");
    return 0;
}

/* NAME SEP args, with what families write around the name. */
static void named(const struct call_form *f, int k, size_t n_tool, struct buf *out) {
    buf_printf(out, "knamed%d ::=", k);
    if (f->title) {
        buf_str(out, " (kid");
        answer_gbnf_text(out, str_of(f->title));
        buf_str(out, ")?");
    }
    buf_str(out, " \"functions.\"? (");
    for (size_t i = 0; i < n_tool; i++)
        buf_printf(out, "%s kname%zu ksep%d kargs%zu", i ? " |" : "", i, k, i);
    buf_printf(out, ")\nksep%d ::= (\":\" [0-9]{1,4})? (\"[CALL_ID]\" kid)?", k);
    if (f->sep) {
        buf_str(out, " (");
        answer_gbnf_text(out, str_of(f->sep));
        buf_str(out, f->named_json ? ")?" : ")");
    }
    buf_str(out, " ws (\"```json\" ws)?\n");
}

/* The bodies of a family's forms, and root. */
static void bodies(const struct answer_style *s, const json_t *tools, struct buf *out) {
    const size_t n = json_array_size(tools);
    struct buf root = {0};
    for (int k = 0; k < STYLE_FORMS && s->form[k].body; k++) {
        const struct call_form *f = &s->form[k];
        const bool has_name = f->body == BODY_NAMED || f->named_json;
        if (has_name) named(f, k, n, out);
        buf_printf(&root, " | \"%d:\" ws (", k);
        if (f->body == BODY_JSON) buf_printf(&root, "kjson%s", has_name ? " | " : "");
        if (has_name) buf_printf(&root, "knamed%d", k);
        buf_str(&root, ") kany");
    }
    if (s->bare) buf_str(&root, " | \"b:\" kjson kany");
    for (size_t i = 0; s->harmony && i < n; i++)
        buf_printf(&root, " | kname%zu \":\" ws kargs%zu ws (kend kany)?", i, i);
    buf_printf(out, "root ::=%s\n", root.p ? root.p + 2 : " \"\"");
    out->failed |= root.failed;
    buf_fini(&root);
}

int answer_strict_grammar(const struct answer *a, const json_t *tools, const json_t *strict,
                          struct buf *out, struct err *e) {
    const struct answer_style *s = &a->style;
    const size_t n = json_array_size(tools);
    const json_t *t;
    size_t i;
    int n_rule = 0;
    schema_parts_begin(out);
    buf_str(out, shared);
    json_array_foreach(tools, i, t) {
        const json_t *f = json_object_get(t, "function");
        const bool is = is_strict(strict, json_object_get(f, "name"));
        if (one_tool(s, i, f, is, &n_rule, out, e) != 0) return -1;
    }
    any_of(out, "kcall", "kcall", n);
    if (s->keyed)
        any_of(out, "kkeyed", "kkeyed", n);
    else
        buf_str(out, "kkeyed ::= kobj\n");
    bodies(s, tools, out);
    if (out->failed) return err_nomem(e, "tools");
    return is_json(s);
}

/* ---- Where it holds ---- */

bool answer_strict_body(const struct answer *a, struct buf *out) {
    const struct str held = buf_view(&a->held);
    if (a->style.harmony) {
        if (!a->headed || !a->callee) return false;
        buf_printf(out, "%s:", json_string_value(a->callee));
        buf_append(out, held.p, held.n);
        return true;
    }
    if (a->state != AT_CALL) return false;
    if (!*a->form->open) {
        if (answer_bare_key(held, a->body) <= 0) return false;
        buf_str(out, "b:");
    } else {
        buf_printf(out, "%d:", (int)(a->form - a->style.form));
    }
    buf_append(out, held.p + a->body, held.n - a->body);
    return true;
}

int answer_n_body(const struct answer *a) {
    return a->n_body;
}

struct answer *answer_copy(const struct answer *from, struct err *e) {
    struct answer *a = malloc(sizeof *a);
    if (!a) {
        err_nomem(e, "answer");
        return NULL;
    }
    *a = *from;
    a->held = (struct buf){0};
    json_incref(a->tools);
    json_incref(a->callee);
    buf_append(&a->held, from->held.p, from->held.n);
    if (from->form && *from->form->open) a->form = a->style.form + (from->form - from->style.form);
    if (!a->held.failed) return a;
    answer_free(a);
    err_nomem(e, "answer");
    return NULL;
}
