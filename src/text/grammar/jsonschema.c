/* A JSON schema (draft 2020-12) to GBNF, a rule for each list of schemas that a value must meet.
 *
 *   all_expand ($ref, allOf) -> choices (anyOf, oneOf) -> constants -> types -> schema_*.c
 *
 * Sound before complete: what the grammar accepts is valid, so a keyword that a grammar cannot
 * enforce is an error that names it.  `$ref` (local) may recurse: a list that was met before is the
 * rule it became then. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/work.h"
#include "text/grammar/schema_priv.h"

/* Blanks are bounded, or a model may stall in them.  Integers fit in 64 bits. */
static const char BASE[] = "ws ::= [ \\t]{0,2} (\"\\r\"? \"\\n\" [ \\t]{0,60}){0,2}\n"
                           "hex ::= [0-9a-fA-F]\n"
                           "pair ::= [dD] [89abAB] hex{2} \"\\\\u\" [dD] [c-fC-F] hex{2}\n"
                           "char ::= [^\"\\\\\\x00-\\x1f] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" "
                           "([0-9a-cA-CefEF] hex{3} | [dD] [0-7] hex{2} | pair))\n"
                           "uni ::= \"\\\\u\" (\"00\" [89a-fA-F] hex | \"0\" [1-9a-fA-F] hex{2} | "
                           "[1-9a-cA-CefEF] hex{3} | "
                           "[dD] [0-7] hex{2} | pair)\n"
                           "string ::= \"\\\"\" char* \"\\\"\"\n"
                           "integer ::= \"-\"? (\"0\" | [1-9] [0-9]{0,17})\n"
                           "number ::= integer (\".\" [0-9]{1,30})? ([eE] [+-]? [0-9]{1,2})?\n"
                           "boolean ::= \"true\" | \"false\"\n"
                           "null ::= \"null\"\n"
                           "array ::= \"[\" ws (value ws (\",\" ws value ws)*)? \"]\"\n"
                           "object ::= \"{\" ws (member ws (\",\" ws member ws)*)? \"}\"\n"
                           "member ::= string ws \":\" ws value\n"
                           "value ::= object | array | string | number | boolean | null\n";

int schema_unsupported(struct gen *g, const char *what) {
    return err_set(g->e, ERR_UNSUPPORTED, "schema: %s cannot be enforced here", what);
}

int schema_work(struct gen *g, size_t steps) {
    g->work += (int64_t)(steps < LANG_MAX_WORK ? steps : LANG_MAX_WORK);
    if (work_stopped()) return work_given_up(g->e);
    if (g->work <= LANG_MAX_WORK) return 0;
    return err_set(g->e, ERR_LIMIT, "schema: takes too long to translate; accepted: %d steps",
                   LANG_MAX_WORK);
}

/* ---- keywords ---- */

static const struct {
    const char *key;
    int types; /* that it says something about; 0: none in particular */
} keywords[] = {
    {"type", 0},
    {"enum", 0},
    {"const", 0},
    {"$ref", 0},
    {"allOf", 0},
    {"anyOf", 0},
    {"oneOf", 0},
    {"properties", TYPE_OBJECT},
    {"required", TYPE_OBJECT},
    {"additionalProperties", TYPE_OBJECT},
    {"patternProperties", TYPE_OBJECT},
    {"propertyNames", TYPE_OBJECT},
    {"minProperties", TYPE_OBJECT},
    {"maxProperties", TYPE_OBJECT},
    {"dependentRequired", TYPE_OBJECT},
    {"unevaluatedProperties", TYPE_OBJECT},
    {"items", TYPE_ARRAY},
    {"prefixItems", TYPE_ARRAY},
    {"minItems", TYPE_ARRAY},
    {"maxItems", TYPE_ARRAY},
    {"uniqueItems", TYPE_ARRAY},
    {"contains", TYPE_ARRAY},
    {"minContains", TYPE_ARRAY},
    {"maxContains", TYPE_ARRAY},
    {"unevaluatedItems", TYPE_ARRAY},
    {"pattern", TYPE_STRING},
    {"format", TYPE_STRING},
    {"minLength", TYPE_STRING},
    {"maxLength", TYPE_STRING},
    {"minimum", TYPE_NUMBER | TYPE_INTEGER},
    {"maximum", TYPE_NUMBER | TYPE_INTEGER},
    {"exclusiveMinimum", TYPE_NUMBER | TYPE_INTEGER},
    {"exclusiveMaximum", TYPE_NUMBER | TYPE_INTEGER},
    {"multipleOf", TYPE_NUMBER | TYPE_INTEGER},
};

/* They say nothing about validity. */
static const char *const notes[] = {"title",           "description",      "default",
                                    "examples",        "$schema",          "$id",
                                    "$defs",           "definitions",      "$comment",
                                    "deprecated",      "readOnly",         "writeOnly",
                                    "$anchor",         "$vocabulary",      "$dynamicAnchor",
                                    "contentEncoding", "contentMediaType", "contentSchema",
                                    "example",         "discriminator"};

/* -1: no keyword of ours. */
static int keyword_types(const char *key) {
    for (size_t i = 0; i < sizeof keywords / sizeof *keywords; i++)
        if (strcmp(keywords[i].key, key) == 0) return keywords[i].types;
    return -1;
}

static bool is_note(const char *key) {
    for (size_t i = 0; i < sizeof notes / sizeof *notes; i++)
        if (strcmp(notes[i], key) == 0) return true;
    return key[0] == 'x' && key[1] == '-';
}

static int check_keywords(struct gen *g, const json_t *s) {
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)s, key, v) {
        if (keyword_types(key) < 0 && !is_note(key))
            return err_set(g->e, ERR_UNSUPPORTED,
                           "schema: keyword \"%.60s\" cannot be enforced; accepted: type enum "
                           "const $ref allOf anyOf oneOf and those of objects, arrays, strings "
                           "and numbers",
                           key);
    }
    return 0;
}

/* ---- lists ---- */

static const json_t *resolve(struct gen *g, const json_t *ref) {
    const char *p = json_string_value(ref);
    const json_t *at = g->root;
    if (!p || *p != '#') return NULL;
    for (p++; *p == '/' && at;) {
        char key[256];
        size_t n = 0;
        for (p++; *p && *p != '/' && n < sizeof key - 1; p++) {
            if (*p == '%') return NULL;
            if (*p == '~' && p[1] != '0' && p[1] != '1') return NULL;
            key[n++] = *p == '~' ? (*++p == '0' ? '~' : '/') : *p;
        }
        key[n] = 0;
        at = json_is_array(at) ? json_array_get(at, (size_t)strtoul(key, NULL, 10))
                               : json_object_get(at, key);
    }
    return *p ? NULL : at;
}

static int to_itself(struct gen *g) {
    return schema_unsupported(g, "a $ref that leads to itself");
}

int all_add(struct gen *g, struct all *a, const json_t *s, int from) {
    if (json_is_true(s)) return 0;
    if (json_is_false(s)) return IMPOSSIBLE;
    if (!json_is_object(s)) return schema_unsupported(g, "what is neither an object nor a boolean");
    for (int i = 0; i < a->n; i++) {
        if (a->s[i] != s) continue;
        if (a->used[i] & ~(unsigned)USED_REFS) return to_itself(g);
        for (int up = from; up >= 0; up = a->from[up] == up ? -1 : a->from[up])
            if (up == i) return to_itself(g);
        return 0;
    }
    if (a->n == SCHEMA_MAX_ALL)
        return err_set(g->e, ERR_LIMIT, "schema: more than %d schemas for one value",
                       SCHEMA_MAX_ALL);
    a->s[a->n] = s, a->used[a->n] = 0;
    a->from[a->n] = (uint8_t)(from < 0 ? a->n : from);
    a->n++;
    return 0;
}

int all_expand(struct gen *g, struct all *a) {
    for (int i = 0; i < a->n; i++) {
        const json_t *s = a->s[i], *ref = json_object_get(s, "$ref"), *v;
        size_t k;
        if (a->used[i] & USED_REFS) continue;
        a->used[i] |= USED_REFS;
        if (check_keywords(g, s) != 0) return -1;
        if (ref) {
            const json_t *to = resolve(g, ref);
            if (!to) return schema_unsupported(g, "a $ref to what is not in this schema");
            const int rc = all_add(g, a, to, i);
            if (rc != 0) return rc;
        }
        json_array_foreach(json_object_get(s, "allOf"), k, v) {
            const int rc = all_add(g, a, v, i);
            if (rc != 0) return rc;
        }
    }
    return 0;
}

bool all_within(const struct all *a, int k, int i) {
    while (k != i && a->from[k] != k)
        k = a->from[k];
    return k == i;
}

int all_find(const struct all *a, const char *key, unsigned used) {
    for (int i = 0; i < a->n; i++)
        if (!(a->used[i] & used) && json_object_get(a->s[i], key)) return i;
    return -1;
}

int all_count(struct gen *g, const struct all *a, const char *key, bool largest, int otherwise,
              int *out) {
    bool any = false;
    *out = otherwise;
    for (int i = 0; i < a->n; i++) {
        const json_t *v = json_object_get(a->s[i], key);
        if (!v) continue;
        const double x = json_number_value(v);
        if (!json_is_number(v) || x < 0 || x != (double)(int64_t)x)
            return err_set(g->e, ERR_FORMAT, "schema: %s: accepted: an integer from 0", key);
        /* A smaller maximum is only stricter; a minimum must be what it is. */
        if (largest && x > GRAMMAR_MAX_REPEAT)
            return err_set(g->e, ERR_LIMIT, "schema: %s: accepted: 0 to %d", key,
                           GRAMMAR_MAX_REPEAT);
        const int n = x > GRAMMAR_MAX_REPEAT ? GRAMMAR_MAX_REPEAT : (int)x;
        if (!any || (largest ? n > *out : n < *out)) *out = n;
        any = true;
    }
    return 0;
}

/* ---- types ---- */

static int type_named(const char *name) {
    static const struct {
        const char *name;
        int types;
    } table[] = {{"null", TYPE_NULL},       {"boolean", TYPE_BOOLEAN},
                 {"integer", TYPE_INTEGER}, {"number", TYPE_NUMBER | TYPE_INTEGER},
                 {"string", TYPE_STRING},   {"array", TYPE_ARRAY},
                 {"object", TYPE_OBJECT}};
    for (size_t i = 0; name && i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i].name, name) == 0) return table[i].types;
    return 0;
}

static int types_said(struct gen *g, const json_t *type) {
    int types = type_named(json_string_value(type));
    const json_t *v;
    size_t i;
    json_array_foreach(type, i, v) {
        const int one = type_named(json_string_value(v));
        if (!one) return schema_unsupported(g, "an unknown type");
        types |= one;
    }
    return types ? types : schema_unsupported(g, "an unknown type");
}

int all_types(struct gen *g, const struct all *a, bool guess) {
    int types = TYPE_ANY, guessed = 0;
    bool said = false;
    for (int i = 0; i < a->n; i++) {
        const json_t *type = json_object_get(a->s[i], "type");
        const char *key;
        json_t *v;
        if (type) {
            const int one = types_said(g, type);
            if (one < 0) return -1;
            types &= one, said = true;
        }
        json_object_foreach((json_t *)a->s[i], key, v) {
            const int k = keyword_types(key);
            guessed |= k > 0 ? k : 0;
        }
    }
    return said || !guessed || !guess ? types : guessed;
}

static int type_of(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_OBJECT: return TYPE_OBJECT;
    case JSON_ARRAY: return TYPE_ARRAY;
    case JSON_STRING: return TYPE_STRING;
    case JSON_INTEGER: return TYPE_INTEGER;
    case JSON_REAL: {
        const double x = json_real_value(v);
        return x == (double)(int64_t)x ? TYPE_INTEGER : TYPE_NUMBER;
    }
    case JSON_NULL: return TYPE_NULL;
    default: return TYPE_BOOLEAN;
    }
}

/* ---- constants ---- */

static void real_constant(struct buf *b, double x) {
    char t[40];
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(t, sizeof t, "%.*g", digits, x);
        if (strtod(t, NULL) == x) break;
    }
    buf_printf(b, " \"%s%s\"", t, strpbrk(t, ".e") ? "" : ".0");
}

void schema_constant(struct buf *b, const json_t *v) {
    const char *key;
    json_t *one;
    size_t i;
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        buf_str(b, " \"{\" ws");
        i = 0;
        json_object_foreach((json_t *)v, key, one) {
            if (i++) buf_str(b, " \",\" ws");
            gen_string(b, str_of(key));
            buf_str(b, " ws \":\" ws");
            schema_constant(b, one);
            buf_str(b, " ws");
        }
        buf_str(b, " \"}\"");
        break;
    case JSON_ARRAY:
        buf_str(b, " \"[\" ws");
        json_array_foreach(v, i, one) {
            if (i) buf_str(b, " \",\" ws");
            schema_constant(b, one);
            buf_str(b, " ws");
        }
        buf_str(b, " \"]\"");
        break;
    case JSON_STRING:
        gen_string(b, (struct str){json_string_value(v), json_string_length(v)});
        break;
    case JSON_INTEGER: buf_printf(b, " \"%lld\"", (long long)json_integer_value(v)); break;
    case JSON_REAL: real_constant(b, json_real_value(v)); break;
    case JSON_NULL: buf_str(b, " null"); break;
    default: buf_str(b, json_is_true(v) ? " \"true\"" : " \"false\"");
    }
}

static bool in_list(const json_t *list, const json_t *v) {
    const json_t *one;
    size_t i;
    json_array_foreach(list, i, one) {
        if (json_equal(one, v)) return true;
        if (json_is_number(one) && json_is_number(v) &&
            json_number_value(one) == json_number_value(v))
            return true;
    }
    return false;
}

static int all_last(const struct all *a, const char *key) {
    int last = -1;
    for (int i = 0; i < a->n; i++)
        if (json_object_get(a->s[i], key)) last = i;
    return last;
}

/* Whether v, which is in `list`, is in all other enums and of these types. */
static bool value_left(const struct all *a, const json_t *v, int types, const json_t *from) {
    if (!(type_of(v) & types)) return false;
    for (int i = 0; i < a->n; i++) {
        const json_t *list = json_object_get(a->s[i], "enum"),
                     *one = json_object_get(a->s[i], "const");
        if (list && list != from && !in_list(list, v)) return false;
        if (one && !json_equal(one, v) &&
            !(json_is_number(one) && json_is_number(v) &&
              json_number_value(one) == json_number_value(v)))
            return false;
    }
    return true;
}

/* Whether anything but type, enum and const speaks about values. */
static bool more_conditions(const struct all *a) {
    for (int i = 0; i < a->n; i++) {
        const char *key;
        json_t *v;
        json_object_foreach((json_t *)a->s[i], key, v) {
            if (keyword_types(key) > 0) return true;
        }
    }
    return false;
}

static bool text_accepted(const struct grammar *g, const json_t *v, struct err *e) {
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
    struct acceptor *a = accept_new(g, e);
    bool ok = text && a;
    for (const char *p = text; ok && *p; p++)
        ok = accept_byte(a, (uint8_t)*p, e) == 1;
    ok = ok && accept_done(a);
    accept_free(a);
    free(text);
    return ok;
}

/* Take values away that the other conditions refuse: their grammar reads each. */
static int filter_values(struct gen *g, const struct all *a, json_t *values) {
    struct buf out = {0};
    struct gen other = {
        .root = g->root, .out = &out, .e = g->e, .depth = g->depth, .work = g->work};
    struct all rest = *a;
    for (int i = 0; i < rest.n; i++)
        rest.used[i] |= USED_VALUES;
    buf_str(&out, BASE);
    const int rule = schema_emit(&other, &rest);
    free(other.memo), free(other.memo_rule), free(other.slot);
    json_decref(other.keep);
    g->work = other.work;
    if (schema_work(g, 50000 + 10 * out.n) != 0) { /* about what reading that grammar takes */
        buf_fini(&out);
        return -1;
    }
    buf_printf(&out, "root ::= r%d\n", rule < 0 ? 0 : rule);
    struct grammar *gr = rule >= 0 ? grammar_parse(buf_view(&out), g->e) : NULL;
    for (size_t i = json_array_size(values); i-- > 0 && (gr || rule == IMPOSSIBLE);)
        if (!gr || !text_accepted(gr, json_array_get(values, i), g->e))
            json_array_remove(values, i);
    const int rc = gr || rule == IMPOSSIBLE ? 0 : -1;
    grammar_free(gr);
    buf_fini(&out);
    return rc == 0 && g->e->code ? -1 : rc;
}

json_t *all_values(struct gen *g, const struct all *a) {
    const int e = all_find(a, "enum", USED_VALUES), c = all_find(a, "const", USED_VALUES);
    const int types = all_types(g, a, false);
    const json_t *list = e >= 0 ? json_object_get(a->s[e], "enum") : NULL, *v;
    size_t i;
    if ((e < 0 && c < 0) || types < 0) return NULL;
    if (list && !json_is_array(list)) {
        schema_unsupported(g, "an enum that is no list");
        return NULL;
    }
    json_t *left = json_array();
    if (list && e != all_last(a, "enum") && json_array_size(list) > 2000) {
        schema_unsupported(g, "more than one enum for one value, of more than 2000");
        json_decref(left);
        return NULL;
    }
    if (!list && value_left(a, v = json_object_get(a->s[c], "const"), types, NULL))
        json_array_append(left, (json_t *)v);
    json_array_foreach(list, i, v) {
        if (value_left(a, v, types, list)) json_array_append(left, (json_t *)v);
    }
    if (!more_conditions(a) || filter_values(g, a, left) == 0) return left;
    json_decref(left);
    return NULL;
}

static int constants(struct gen *g, struct buf *b, const struct all *a) {
    json_t *left = all_values(g, a);
    const json_t *v;
    size_t i;
    if (!left) return -1;
    int rc = json_array_size(left) ? 0 : IMPOSSIBLE;
    json_array_foreach(left, i, v) {
        if (rc != 0 || b->n > GRAMMAR_MAX_BYTES) break;
        buf_str(b, i ? " |" : "");
        schema_constant(b, v);
    }
    json_decref(left);
    return rc;
}

/* ---- choices ---- */

/* Each branch together with the rest of the list. */
static int choices(struct gen *g, struct buf *b, const struct all *a, int at, const char *key,
                   uint8_t used) {
    const json_t *list = json_object_get(a->s[at], key), *v;
    size_t i;
    bool any = false;
    if (!json_array_size(list)) return schema_unsupported(g, "an empty list of choices");
    json_array_foreach(list, i, v) {
        struct all one = *a;
        one.used[at] |= used;
        const int rc = all_add(g, &one, v, at);
        const int rule = rc == 0 ? schema_emit(g, &one) : rc;
        if (rule == IMPOSSIBLE) continue;
        if (rule < 0) return -1;
        buf_printf(b, "%s r%d", any ? " |" : "", rule);
        any = true;
    }
    return any ? 0 : IMPOSSIBLE;
}

/* {"required": [name]} of an OpenAPI discriminator, which says which property tells the branches of
 * oneOf apart; it must be there then, though a schema with a default for it does not ask for it. */
static int add_discriminator(struct gen *g, struct all *a, int at) {
    const json_t *d = json_object_get(a->s[at], "discriminator");
    const json_t *name = json_object_get(d, "propertyName");
    if (!d) return 0;
    if (!json_is_string(name)) return schema_unsupported(g, "a discriminator without propertyName");
    json_t *s = json_pack("{s:[O]}", "required", name);
    if (!g->keep) g->keep = json_array();
    if (json_array_append_new(g->keep, s) != 0) return err_nomem(g->e, "schema");
    return all_add(g, a, s, at);
}

/* Of oneOf no two may be met at once, or the value would be invalid. */
static int one_of(struct gen *g, struct buf *b, const struct all *from, int at) {
    const json_t *list = json_object_get(from->s[at], "oneOf");
    const size_t n = json_array_size(list);
    struct all a = *from;
    if (n > 64) return schema_unsupported(g, "oneOf of more than 64");
    if (add_discriminator(g, &a, at) != 0) return -1;
    for (size_t i = 0; i < n; i++)
        for (size_t k = i + 1; k < n; k++) {
            struct all x = a, y = a;
            x.used[at] |= USED_ONE_OF, y.used[at] |= USED_ONE_OF;
            const int rx = all_add(g, &x, json_array_get(list, i), at);
            const int ry = all_add(g, &y, json_array_get(list, k), at);
            if (rx == -1 || ry == -1) return -1;
            const int apart = rx || ry ? 1 : schema_disjoint(g, &x, &y, 0);
            if (apart < 0) return -1;
            if (!apart)
                return schema_unsupported(g, "oneOf whose branches are not seen to exclude each "
                                             "other (anyOf does without that)");
        }
    return choices(g, b, &a, at, "oneOf", USED_ONE_OF);
}

/* ---- rules ---- */

static int typed(struct gen *g, struct buf *b, const struct all *a, int type) {
    switch (type) {
    case TYPE_NULL: buf_str(b, " null"); return 0;
    case TYPE_BOOLEAN: buf_str(b, " boolean"); return 0;
    case TYPE_INTEGER: return schema_number(g, b, a, true);
    case TYPE_NUMBER: return schema_number(g, b, a, false);
    case TYPE_STRING: return schema_string(g, b, a);
    case TYPE_ARRAY: return schema_array(g, b, a);
    default: return schema_object(g, b, a);
    }
}

static int by_type(struct gen *g, struct buf *b, const struct all *a) {
    int types = all_types(g, a, true);
    bool any = false;
    if (types < 0) return -1;
    if (types == TYPE_ANY && !more_conditions(a)) {
        buf_str(b, " value");
        return 0;
    }
    if (types & TYPE_NUMBER) types &= ~TYPE_INTEGER;
    for (int t = TYPE_NULL; t <= TYPE_OBJECT; t *= 2) {
        if (!(types & t)) continue;
        struct buf one = {0};
        const int rc = typed(g, &one, a, t);
        if (rc == 0) {
            if (any) buf_str(b, " |");
            buf_append(b, one.p, one.n);
            any = true;
        }
        buf_fini(&one);
        if (rc == -1) return -1;
    }
    return any ? 0 : IMPOSSIBLE;
}

static int body(struct gen *g, struct buf *b, const struct all *from) {
    struct all a = *from;
    int at;
    const int rc = all_expand(g, &a);
    if (rc != 0) return rc;
    if ((at = all_find(&a, "anyOf", USED_ANY_OF)) >= 0)
        return choices(g, b, &a, at, "anyOf", USED_ANY_OF);
    if ((at = all_find(&a, "oneOf", USED_ONE_OF)) >= 0) return one_of(g, b, &a, at);
    if (all_find(&a, "enum", USED_VALUES) >= 0 || all_find(&a, "const", USED_VALUES) >= 0)
        return constants(g, b, &a);
    return by_type(g, b, &a);
}

static uint64_t all_hash(const struct all *a) {
    const size_t n = (size_t)a->n;
    return hash64(a->used, n * sizeof *a->used, hash64(a->s, n * sizeof *a->s, n));
}

static bool all_equal(const struct all *a, const struct all *b) {
    const size_t n = (size_t)a->n;
    return a->n == b->n && !memcmp(a->s, b->s, n * sizeof *a->s) &&
           !memcmp(a->used, b->used, n * sizeof *a->used);
}

static int memo_grow(struct gen *g) {
    const int to = g->cap_memo ? 2 * g->cap_memo : 64;
    struct all *m = realloc(g->memo, (size_t)to * sizeof *m);
    if (m) g->memo = m;
    int *rule = m ? realloc(g->memo_rule, (size_t)to * sizeof *rule) : NULL;
    if (rule) g->memo_rule = rule;
    int32_t *slot = rule ? realloc(g->slot, 2 * (size_t)to * sizeof *slot) : NULL;
    if (!slot) return err_nomem(g->e, "schema");
    g->slot = slot, g->cap_memo = to, g->n_slot = 2 * to;
    memset(slot, 0xff, (size_t)g->n_slot * sizeof *slot);
    for (int i = 0; i < g->n_memo; i++) {
        uint64_t h = all_hash(&g->memo[i]);
        while (slot[h % (uint64_t)g->n_slot] >= 0)
            h++;
        slot[h % (uint64_t)g->n_slot] = i;
    }
    return 0;
}

/* The list's place in the memo; a new one gets the next rule. */
static int memo_of(struct gen *g, const struct all *a, bool *is_new) {
    if (g->n_memo == g->cap_memo && memo_grow(g) != 0) return -1;
    uint64_t h = all_hash(a);
    for (; g->slot[h % (uint64_t)g->n_slot] >= 0; h++) {
        const int m = g->slot[h % (uint64_t)g->n_slot];
        if (all_equal(&g->memo[m], a)) return m;
    }
    *is_new = true;
    g->memo[g->n_memo] = *a;
    g->memo_rule[g->n_memo] = g->n_rule++;
    return g->slot[h % (uint64_t)g->n_slot] = g->n_memo++;
}

int schema_emit(struct gen *g, const struct all *a) {
    bool is_new = false;
    if (g->n_rule > SCHEMA_MAX_RULES)
        return err_set(g->e, ERR_LIMIT, "schema: more than %d rules", SCHEMA_MAX_RULES);
    const int m = memo_of(g, a, &is_new);
    if (m < 0 || !is_new) return m < 0 ? -1 : g->memo_rule[m];
    if (++g->depth > SCHEMA_MAX_DEPTH)
        return err_set(g->e, ERR_LIMIT, "schema: nested deeper than %d", SCHEMA_MAX_DEPTH);
    struct buf b = {0};
    const int rule = g->memo_rule[m], rc = body(g, &b, a);
    g->depth--;
    buf_printf(g->out, "r%d ::=", rule);
    if (rc == 0)
        buf_append(g->out, b.p, b.n);
    else
        buf_str(g->out, " []"); /* whoever met it on the way reads nothing there */
    buf_str(g->out, "\n");
    if (b.failed) g->out->failed = true;
    buf_fini(&b);
    if (rc == IMPOSSIBLE) g->memo_rule[m] = IMPOSSIBLE;
    if (rc == 0 && g->out->n > GRAMMAR_MAX_BYTES)
        return err_set(g->e, ERR_LIMIT, "schema: more than %d bytes of grammar", GRAMMAR_MAX_BYTES);
    return rc == 0 ? rule : rc;
}

/* ---- the whole ---- */

/* Values in j, not deeper than jansson reads. */
static size_t count_values(const json_t *j, size_t most) {
    const char *key;
    json_t *v;
    size_t i, n = 1;
    json_object_foreach((json_t *)j, key, v) {
        if (n > most) return n;
        n += count_values(v, most - n);
    }
    json_array_foreach(j, i, v) {
        if (n > most) return n;
        n += count_values(v, most - n);
    }
    return n;
}

void json_to_gbnf(struct buf *out) {
    buf_str(out, BASE);
    buf_str(out, "root ::= ws object ws\n");
}

void schema_parts_begin(struct buf *out) {
    buf_str(out, BASE);
}

int schema_part_to_gbnf(const json_t *schema, int *n_rule, struct buf *out, struct err *e) {
    struct err own = {0};
    struct gen g = {.root = schema, .out = out, .n_rule = *n_rule, .e = &own};
    struct all a = {.n = 0};
    int rule = -1;
    if (count_values(schema, SCHEMA_MAX_VALUES) > SCHEMA_MAX_VALUES)
        err_set(&own, ERR_LIMIT, "schema: more than %d values in it", SCHEMA_MAX_VALUES);
    else if ((rule = all_add(&g, &a, schema, -1)) == 0)
        rule = schema_emit(&g, &a);
    free(g.memo), free(g.memo_rule), free(g.slot);
    json_decref(g.keep);
    *n_rule = g.n_rule;
    if (rule == IMPOSSIBLE)
        err_set(&own, ERR_UNSUPPORTED, "schema: no value meets all of its conditions");
    if (rule >= 0 && out->failed) err_nomem(&own, "schema");
    if (rule >= 0 && !own.code) return rule;
    if (e) *e = own;
    return -1;
}

int schema_to_gbnf(const json_t *schema, struct buf *out, struct err *e) {
    int n_rule = 0;
    schema_parts_begin(out);
    const int rule = schema_part_to_gbnf(schema, &n_rule, out, e);
    if (rule < 0) return -1;
    buf_printf(out, "root ::= ws r%d ws\n", rule);
    return out->failed ? err_nomem(e, "schema") : 0;
}
