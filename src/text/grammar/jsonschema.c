/* A JSON schema to GBNF, a rule for each subschema.
 *
 * Sound before complete: what the grammar accepts is valid, so a keyword that a grammar cannot
 * enforce, or that stands beside one it would have to be joined with, is an error that names it.
 * Values of no type in particular are any JSON value; `$ref` (local) may recurse. */
#include "text/grammar/schema.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "text/grammar/grammar.h"
#include "text/grammar/schema_gen.h"

enum { MAX_DEPTH = 64, MAX_REFS = 1024 };

struct gen {
    const json_t *root;
    struct buf *out;
    int n_rule, n_ref, depth;
    const json_t *ref[MAX_REFS];
    int ref_rule[MAX_REFS];
    struct err *e;
};

static const char BASE[] = "ws ::= [ \\t\\n\\r]{0,100}\n"
                           "hex ::= [0-9a-fA-F]\n"
                           "char ::= [^\"\\\\\\x00-\\x1f] | \"\\\\\" ([\"\\\\/bfnrt] | \"u\" "
                           "([0-9a-cA-CefEF] hex{3} | [dD] "
                           "[0-7] hex{2} | [dD] [89abAB] hex{2} \"\\\\u\" [dD] [c-fC-F] hex{2}))\n"
                           "string ::= \"\\\"\" char* \"\\\"\"\n"
                           "integer ::= \"-\"? (\"0\" | [1-9] [0-9]{0,30})\n"
                           "number ::= integer (\".\" [0-9]{1,30})? ([eE] [+-]? [0-9]{1,2})?\n"
                           "boolean ::= \"true\" | \"false\"\n"
                           "null ::= \"null\"\n"
                           "array ::= \"[\" ws (value (ws \",\" ws value)* ws)? \"]\"\n"
                           "object ::= \"{\" ws (member (ws \",\" ws member)* ws)? \"}\"\n"
                           "member ::= string ws \":\" ws value\n"
                           "value ::= object | array | string | number | boolean | null\n";

static int emit(struct gen *g, const json_t *s);
static int emit_into(struct gen *g, int rule, const json_t *s);

static int unsupported(struct gen *g, const char *what) {
    return err_set(g->e, ERR_UNSUPPORTED, "schema: %s cannot be enforced here", what);
}

static bool listed(const char *key, const char *list) {
    const size_t n = strlen(key);
    if (!n || strchr(key, ' ')) return false;
    for (const char *p = list; (p = strstr(p, key)); p += n)
        if ((p == list || p[-1] == ' ') && (p[n] == ' ' || !p[n])) return true;
    return false;
}

/* Refuse keywords outside a list (and annotations, which say nothing about validity). */
static int only(struct gen *g, const json_t *s, const char *list) {
    static const char notes[] = "title description default examples $schema $id $defs definitions "
                                "$comment deprecated readOnly writeOnly type";
    const char *key;
    json_t *v;
    json_object_foreach((json_t *)s, key, v) {
        if (!listed(key, notes) && !listed(key, list))
            return err_set(g->e, ERR_UNSUPPORTED,
                           "schema: keyword \"%.60s\" cannot be enforced here; accepted here: %s",
                           key, list);
    }
    return 0;
}

static int count(struct gen *g, const json_t *s, const char *key, int otherwise) {
    const json_t *v = json_object_get(s, key);
    if (!v) return otherwise;
    if (json_is_integer(v) && json_integer_value(v) >= 0 &&
        json_integer_value(v) <= GRAMMAR_MAX_REPEAT)
        return (int)json_integer_value(v);
    err_set(g->e, ERR_LIMIT, "schema: %s: accepted: 0 to %d", key, GRAMMAR_MAX_REPEAT);
    return otherwise;
}

static void times(struct buf *b, int lo, int hi) {
    if (hi < 0)
        buf_printf(b, "{%d,}", lo);
    else
        buf_printf(b, "{%d,%d}", lo, hi);
}

static struct str str_value(const json_t *s) {
    return (struct str){json_string_value(s), json_string_length(s)};
}

static void constant(struct buf *b, const json_t *v) {
    if (json_is_string(v)) {
        gen_string(b, str_value(v));
        return;
    }
    char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY | JSON_ENSURE_ASCII);
    buf_str(b, " \"");
    for (const char *p = text ? text : ""; *p; p++) {
        if (*p == '"' || *p == '\\') buf_byte(b, '\\');
        buf_byte(b, *p);
    }
    buf_str(b, "\"");
    free(text);
}

static int constants(struct gen *g, struct buf *b, const json_t *list) {
    const json_t *v;
    size_t i;
    if (!json_array_size(list)) return unsupported(g, "an empty enum");
    json_array_foreach(list, i, v) {
        if (i) buf_str(b, " |");
        constant(b, v);
    }
    return 0;
}

static const char DATE_RULE[] =
    "date ::= [0-9]{4} \"-\" ((\"0\" [13578] | \"1\" [02]) \"-\" (\"0\" [1-9] | [12] [0-9] | \"3\" "
    "[01])"
    " | (\"0\" [469] | \"11\") \"-\" (\"0\" [1-9] | [12] [0-9] | \"30\")"
    " | \"02-\" (\"0\" [1-9] | \"1\" [0-9] | \"2\" [0-8]))"
    " | ([0-9]{2} (\"0\" [48] | [2468] [048] | [13579] [26])"
    " | ([02468] [048] | [13579] [26]) \"00\") \"-02-29\"\n";

static const char *format_rule(const char *name) {
    static const char *const table[][2] = {
        {"date", "date"},
        {"date-time", "date \"T\" ([01] [0-9] | \"2\" [0-3]) (\":\" [0-5] [0-9]){2} (\".\" "
                      "[0-9]{1,9})? (\"Z\" | [+-] ([01] [0-9] | \"2\" [0-3]) \":\" [0-5] [0-9])"},
        {"uuid", "[0-9a-fA-F]{8} \"-\" ([0-9a-fA-F]{4} \"-\"){3} [0-9a-fA-F]{12}"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(table[i][0], name) == 0) return table[i][1];
    return NULL;
}

static int string_body(struct gen *g, struct buf *b, const json_t *s) {
    const json_t *pattern = json_object_get(s, "pattern"), *format = json_object_get(s, "format");
    const int lo = count(g, s, "minLength", 0), hi = count(g, s, "maxLength", -1);
    const bool sized = lo > 0 || hi >= 0;
    if (g->e->code || only(g, s, "minLength maxLength pattern format") != 0) return -1;
    if ((pattern != NULL) + (format != NULL) + sized > 1)
        return unsupported(g, "pattern, format and length together");
    if (hi >= 0 && hi < lo) return unsupported(g, "maxLength below minLength");
    buf_str(b, " \"\\\"\"");
    if (pattern) {
        if (!json_is_string(pattern)) return unsupported(g, "a pattern that is no string");
        if (gen_pattern(b, str_value(pattern), g->e) != 0) return -1;
    } else if (format) {
        const char *rule = json_is_string(format) ? format_rule(json_string_value(format)) : NULL;
        if (!rule) return unsupported(g, "this format (accepted: date date-time uuid)");
        buf_printf(b, " %s", rule);
    } else {
        buf_str(b, " char");
        times(b, lo, hi);
    }
    buf_str(b, " \"\\\"\"");
    return 0;
}

/* Bounds of an integer as integers. */
static int limit(struct gen *g, const json_t *s, const char *key, bool up, int by, int64_t *out) {
    const json_t *v = json_object_get(s, key);
    if (!v) return 0;
    if (!json_is_number(v)) return unsupported(g, "a limit that is no number");
    const double x = json_number_value(v), whole = up ? ceil(x) : floor(x);
    if (!(fabs(x) < 1e15)) return unsupported(g, "a limit beyond 10^15");
    const int64_t n = (int64_t)whole + (whole == x ? by : 0);
    if (up ? n > *out : n < *out) *out = n;
    return 0;
}

static int integer_body(struct gen *g, struct buf *b, const json_t *s) {
    static const int64_t most = 1000000000000000;
    int64_t lo = -most, hi = most;
    if (only(g, s, "minimum maximum exclusiveMinimum exclusiveMaximum") != 0 ||
        limit(g, s, "minimum", true, 0, &lo) != 0 || limit(g, s, "maximum", false, 0, &hi) != 0 ||
        limit(g, s, "exclusiveMinimum", true, 1, &lo) != 0 ||
        limit(g, s, "exclusiveMaximum", false, -1, &hi) != 0)
        return -1;
    if (hi < lo) return unsupported(g, "a maximum below the minimum");
    if (lo == -most && hi == most)
        buf_str(b, " integer");
    else
        gen_range(b, lo, hi);
    return 0;
}

static int array_body(struct gen *g, struct buf *b, const json_t *s) {
    const json_t *items = json_object_get(s, "items");
    const int lo = count(g, s, "minItems", 0), hi = count(g, s, "maxItems", -1);
    if (g->e->code || only(g, s, "items minItems maxItems") != 0) return -1;
    if (hi >= 0 && hi < lo) return unsupported(g, "maxItems below minItems");
    const int r = hi == 0 ? 0 : items ? emit(g, items) : emit(g, json_true());
    if (r < 0) return -1;
    buf_str(b, " \"[\" ws");
    if (hi != 0) {
        buf_printf(b, " (r%d (ws \",\" ws r%d)", r, r);
        times(b, lo > 0 ? lo - 1 : 0, hi < 0 ? -1 : hi - 1);
        buf_printf(b, " ws)%s", lo > 0 ? "" : "?");
    }
    buf_str(b, " \"]\"");
    return 0;
}

static bool required(const json_t *s, const char *key) {
    const json_t *v;
    size_t i;
    json_array_foreach(json_object_get(s, "required"), i, v) {
        if (json_is_string(v) && strcmp(json_string_value(v), key) == 0) return true;
    }
    return false;
}

/* A key's string content that is none of the properties from `at` bytes on (all share those).
 * Escapes come only where the key already differs, as they could spell a property's name. */
static int other_key(struct gen *g, const json_t *props, const char *prefix, size_t at) {
    const int rule = g->n_rule++;
    struct buf b = {0}, firsts = {0};
    bool ends = false;
    const char *key;
    json_t *v;
    buf_printf(&b, "r%d ::=", rule);
    json_object_foreach((json_t *)props, key, v) {
        if (strncmp(key, prefix, at) != 0) continue;
        const unsigned char c = (unsigned char)key[at];
        if (!c)
            ends = true;
        else if (c >= 0x80 || c < 0x20 || c == '"' || c == '\\' || at > 40)
            unsupported(g, "further properties beside names that are not short ASCII");
        else if (!firsts.n || !memchr(firsts.p, c, firsts.n)) {
            buf_byte(&firsts, (char)c);
            const int next = other_key(g, props, key, at + 1);
            buf_printf(&b, " \"%c\" r%d |", c, next);
        }
    }
    if (!ends) buf_str(&b, " \"\" |");
    buf_str(&b, " [^\"\\\\\\x00-\\x1f");
    for (size_t i = 0; i < firsts.n; i++)
        buf_printf(&b, "\\x%02x", (unsigned char)firsts.p[i]);
    buf_str(&b, "] char*\n");
    buf_append(g->out, b.p, b.n);
    buf_fini(&b), buf_fini(&firsts);
    return rule;
}

/* `"key" : value` of a property that the schema does not list; the rule, or -1: none allowed. */
static int further_member(struct gen *g, const json_t *s, const json_t *props) {
    const json_t *more = json_object_get(s, "additionalProperties");
    if (json_is_false(more)) return -1;
    const int value = emit(g, more ? more : json_true());
    if (value < 0) return -1;
    const int key = other_key(g, props, "", 0), rule = g->n_rule++;
    buf_printf(g->out, "r%d ::= \"\\\"\" r%d \"\\\"\" ws \":\" ws r%d\n", rule, key, value);
    return rule;
}

/* Members in order.  Rules from the last to the first: `first` of them (no member so far, hence
 * no comma) and `then` (some member before); each goes on with the next property's. */
/* What is required must be among the properties: a key of any value has no place in their order. */
static int check_required(struct gen *g, const json_t *s, const json_t *props) {
    const json_t *v;
    size_t i;
    json_array_foreach(json_object_get(s, "required"), i, v) {
        const char *key = json_string_value(v);
        if (!key || !json_object_get(props, key))
            return unsupported(g, "required beyond properties");
    }
    return 0;
}

static int object_body(struct gen *g, struct buf *b, const json_t *s) {
    json_t *props = json_object_get(s, "properties"), *v;
    const char *key;
    if (only(g, s, "properties required additionalProperties") != 0) return -1;
    if (check_required(g, s, props) != 0) return -1;
    int first = g->n_rule++, then = g->n_rule++;
    buf_printf(b, " \"{\" ws r%d ws \"}\"", first);
    json_object_foreach(props, key, v) {
        const int value = emit(g, v), next_first = g->n_rule++, next_then = g->n_rule++;
        struct buf k = {0};
        if (value < 0) return -1;
        gen_string(&k, str_of(key));
        buf_printf(&k, " ws \":\" ws r%d r%d", value, next_then);
        const bool must = required(s, key);
        buf_printf(g->out, "r%d ::= %s", first, k.p);
        if (!must) buf_printf(g->out, " | r%d", next_first);
        buf_printf(g->out, "\nr%d ::= ws \",\" ws %s", then, k.p);
        if (!must) buf_printf(g->out, " | r%d", next_then);
        buf_str(g->out, "\n");
        buf_fini(&k);
        first = next_first, then = next_then;
    }
    const int more = further_member(g, s, props);
    if (g->e->code) return -1;
    if (more < 0)
        buf_printf(g->out, "r%d ::= \"\"\nr%d ::= \"\"\n", first, then);
    else
        buf_printf(g->out, "r%d ::= (r%d r%d)?\nr%d ::= (ws \",\" ws r%d)*\n", first, more, then,
                   then, more);
    return 0;
}

static int typed(struct gen *g, struct buf *b, const json_t *s, const char *type) {
    if (strcmp(type, "string") == 0) return string_body(g, b, s);
    if (strcmp(type, "integer") == 0) return integer_body(g, b, s);
    if (strcmp(type, "array") == 0) return array_body(g, b, s);
    if (strcmp(type, "object") == 0) return object_body(g, b, s);
    if (!listed(type, "number boolean null")) return unsupported(g, "an unknown type");
    buf_printf(b, " %s", type);
    return only(g, s, "");
}

static const char *guess(const json_t *s) {
    static const char *const table[][2] = {
        {"properties", "object"}, {"required", "object"}, {"additionalProperties", "object"},
        {"items", "array"},       {"minItems", "array"},  {"maxItems", "array"},
        {"pattern", "string"},    {"format", "string"},   {"minLength", "string"},
        {"maxLength", "string"},  {"minimum", "number"},  {"maximum", "number"},
    };
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (json_object_get(s, table[i][0])) return table[i][1];
    return NULL;
}

static const json_t *resolve(struct gen *g, const json_t *ref) {
    const char *p = json_string_value(ref);
    const json_t *at = g->root;
    if (!p || *p != '#') return NULL;
    for (p++; *p == '/' && at;) {
        const size_t n = strcspn(++p, "/");
        if (memchr(p, '~', n) || memchr(p, '%', n)) return NULL;
        at = json_object_getn(at, p, n);
        p += n;
    }
    return *p ? NULL : at;
}

static int reference(struct gen *g, const json_t *ref) {
    const json_t *to = resolve(g, ref);
    if (!to) return unsupported(g, "a $ref to what is not in this schema");
    for (int i = 0; i < g->n_ref; i++)
        if (g->ref[i] == to) return g->ref_rule[i];
    if (g->n_ref == MAX_REFS) return unsupported(g, "more than 1024 $ref targets");
    const int rule = g->n_rule++;
    g->ref[g->n_ref] = to, g->ref_rule[g->n_ref++] = rule;
    return emit_into(g, rule, to) == 0 ? rule : -1;
}

static int choices(struct gen *g, struct buf *b, const json_t *list) {
    const json_t *v;
    size_t i;
    if (!json_array_size(list)) return unsupported(g, "an empty list of choices");
    json_array_foreach(list, i, v) {
        const int r = emit(g, v);
        if (r < 0) return -1;
        buf_printf(b, "%s r%d", i ? " |" : "", r);
    }
    return 0;
}

/* No type, or that of objects. */
static bool may_be_object(const json_t *s) {
    const json_t *type = json_object_get(s, "type");
    const char *name = json_string_value(type);
    return !type || (name && strcmp(name, "object") == 0);
}

/* Objects of allOf as one: properties of all, required of all. */
static int merged(struct gen *g, struct buf *b, const json_t *s) {
    json_t *props = json_object(), *need = json_array(), *v, *all = json_object_get(s, "allOf");
    int rc = json_array_size(all) && may_be_object(s) ? only(g, s, "allOf") : -1;
    size_t i;
    json_array_foreach(all, i, v) {
        const json_t *one = json_object_get(v, "$ref") ? resolve(g, json_object_get(v, "$ref")) : v;
        if (rc == 0) rc = may_be_object(one) ? only(g, one, "properties required") : -1;
        const char *key;
        json_t *p;
        json_object_foreach(json_object_get(one, "properties"), key, p) {
            if (json_object_get(props, key)) rc = -1;
            json_object_set(props, key, p);
        }
        json_array_extend(need, json_object_get(one, "required"));
    }
    json_t *one = json_pack("{s:o, s:o}", "properties", props, "required", need);
    if (rc == 0) rc = object_body(g, b, one);
    json_decref(one);
    return rc == 0 || g->e->code ? rc : unsupported(g, "allOf of other than distinct properties");
}

static bool is_a(const json_t *v, const char *type) {
    static const struct {
        const char *name;
        json_type type;
    } types[] = {{"object", JSON_OBJECT},   {"array", JSON_ARRAY},  {"string", JSON_STRING},
                 {"integer", JSON_INTEGER}, {"null", JSON_NULL},    {"number", JSON_INTEGER},
                 {"number", JSON_REAL},     {"boolean", JSON_TRUE}, {"boolean", JSON_FALSE}};
    for (size_t i = 0; type && i < sizeof types / sizeof *types; i++)
        if (strcmp(types[i].name, type) == 0 && json_typeof(v) == types[i].type) return true;
    return false;
}

/* Is v of the type, or of one of them? */
static bool fits(const json_t *v, const json_t *type) {
    const json_t *one;
    size_t i;
    json_array_foreach(type, i, one) {
        if (is_a(v, json_string_value(one))) return true;
    }
    return !type || is_a(v, json_string_value(type));
}

/* The values of an enum, or a const, that the type beside it allows. */
static int chosen(struct gen *g, struct buf *b, const json_t *values, const json_t *type) {
    json_t *left = json_array();
    const json_t *v;
    size_t i;
    json_array_foreach(values, i, v) {
        if (fits(v, type)) json_array_append(left, (json_t *)v);
    }
    const int rc = json_array_size(left) ? constants(g, b, left)
                                         : unsupported(g, "enum without a value of its type");
    json_decref(left);
    return rc;
}

static int body(struct gen *g, struct buf *b, const json_t *s) {
    const json_t *type = json_object_get(s, "type"), *v;
    size_t i;
    if (json_is_true(s) || (json_is_object(s) && !json_object_size(s))) {
        buf_str(b, " value");
        return 0;
    }
    if (!json_is_object(s)) return unsupported(g, "what is neither an object nor true");
    if ((v = json_object_get(s, "$ref"))) {
        if (type) return unsupported(g, "type beside $ref");
        const int r = only(g, s, "$ref") != 0 ? -1 : reference(g, v);
        buf_printf(b, " r%d", r);
        return r < 0 ? -1 : 0;
    }
    if ((v = json_object_get(s, "enum")))
        return only(g, s, "enum") != 0 ? -1 : chosen(g, b, v, type);
    if ((v = json_object_get(s, "const"))) {
        if (!fits(v, type)) return unsupported(g, "const of another type");
        constant(b, v);
        return only(g, s, "const");
    }
    if ((v = json_object_get(s, "anyOf")))
        return type                       ? unsupported(g, "anyOf beside type")
               : only(g, s, "anyOf") != 0 ? -1
                                          : choices(g, b, v);
    if (json_object_get(s, "allOf")) return merged(g, b, s);
    if (json_is_string(type)) return typed(g, b, s, json_string_value(type));
    if (json_is_array(type) && json_array_size(type)) {
        json_array_foreach(type, i, v) {
            if (i) buf_str(b, " |");
            if (!json_is_string(v) || typed(g, b, s, json_string_value(v)) != 0)
                return g->e->code ? -1 : unsupported(g, "this type");
        }
        return 0;
    }
    const char *guessed = guess(s);
    if (guessed) return typed(g, b, s, guessed);
    buf_str(b, " value");
    return type ? unsupported(g, "this type") : only(g, s, "");
}

static int emit_into(struct gen *g, int rule, const json_t *s) {
    struct buf b = {0};
    if (++g->depth > MAX_DEPTH)
        return err_set(g->e, ERR_LIMIT, "schema: nested deeper than %d", MAX_DEPTH);
    int rc = body(g, &b, s);
    g->depth--;
    buf_printf(g->out, "r%d ::=", rule);
    buf_append(g->out, b.p, b.n);
    buf_str(g->out, "\n");
    buf_fini(&b);
    if (rc == 0 && g->out->n > GRAMMAR_MAX_BYTES)
        rc = err_set(g->e, ERR_LIMIT, "schema: more than %d bytes of grammar", GRAMMAR_MAX_BYTES);
    return rc;
}

static int emit(struct gen *g, const json_t *s) {
    const int rule = g->n_rule++;
    return emit_into(g, rule, s) == 0 ? rule : -1;
}

void json_to_gbnf(struct buf *out) {
    buf_str(out, BASE);
    buf_str(out, "root ::= ws (object | array) ws\n");
}

void schema_parts_begin(struct buf *out) {
    buf_str(out, BASE);
    buf_str(out, DATE_RULE);
}

int schema_part_to_gbnf(const json_t *schema, int *n_rule, struct buf *out, struct err *e) {
    struct err own = {0};
    struct gen g = {.root = schema, .out = out, .n_rule = *n_rule, .e = &own};
    const int r = emit(&g, schema);
    *n_rule = g.n_rule;
    if (r >= 0) return out->failed ? err_nomem(e, "schema") : r;
    if (!own.code) unsupported(&g, "this");
    if (e) *e = own;
    return -1;
}

int schema_to_gbnf(const json_t *schema, struct buf *out, struct err *e) {
    int n_rule = 0;
    schema_parts_begin(out);
    const int r = schema_part_to_gbnf(schema, &n_rule, out, e);
    if (r < 0) return -1;
    buf_printf(out, "root ::= ws r%d ws\n", r);
    return out->failed ? err_nomem(e, "schema") : 0;
}
