/* Values of a Go template: the data is JSON, and tables say which Go type each part has in Ollama,
 * because that decides what is a field, what a missing one is, and how it prints. */
#include <stdlib.h>

#include "text/chat/gotmpl_priv.h"

enum shape { SH_ANY, SH_BOOL, SH_INT, SH_STR, SH_LIST, SH_MAP, SH_STRUCT, SH_WORDS };

struct field {
    const char *go, *json;
    const struct gt_type *type;
    bool omit_empty; /* json:",omitempty" */
    bool rare;       /* %v shows it only where it is there */
};

struct gt_type {
    const char *name;
    enum shape shape;
    bool speaks_json;           /* String() is its JSON */
    const struct gt_type *elem; /* of lists and maps */
    const struct field *field;  /* of structs and the root */
};

static const struct gt_type any = {"interface {}", SH_ANY, false, NULL, NULL};
static const struct gt_type boolean = {"bool", SH_BOOL, false, NULL, NULL};
static const struct gt_type integer = {"int", SH_INT, false, NULL, NULL};
static const struct gt_type string = {"string", SH_STR, false, NULL, NULL};
static const struct gt_type any_list = {"[]interface {}", SH_LIST, false, &any, NULL};
static const struct gt_type any_map = {"map[string]interface {}", SH_MAP, false, &any, NULL};
static const struct gt_type strings = {"[]string", SH_LIST, false, &string, NULL};
static const struct gt_type type_names = {"PropertyType", SH_WORDS, false, &string, NULL};

static const struct gt_type property, properties, property_list;
static const struct field property_field[] = {
    {"AnyOf", "anyOf", &property_list, true, true},
    {"Type", "type", &type_names, true, false},
    {"Items", "items", &any, true, true},
    {"Description", "description", &string, true, false},
    {"Enum", "enum", &any_list, true, false},
    {"Properties", "properties", &properties, true, true},
    {"Required", "required", &strings, true, true},
    {0},
};
static const struct gt_type property = {"ToolProperty", SH_STRUCT, false, NULL, property_field};
static const struct gt_type property_list = {"[]ToolProperty", SH_LIST, false, &property, NULL};
static const struct gt_type properties = {"ToolProperties", SH_MAP, true, &property, NULL};

static const struct field parameters_field[] = {
    {"Type", "type", &string, false, false},
    {"Defs", "$defs", &any, true, true},
    {"Items", "items", &any, true, true},
    {"Required", "required", &strings, true, false},
    {"Properties", "properties", &properties, false, false},
    {0},
};
static const struct gt_type parameters = {"ToolFunctionParameters", SH_STRUCT, false, NULL,
                                          parameters_field};
static const struct field function_field[] = {
    {"Name", "name", &string, false, false},
    {"Description", "description", &string, true, false},
    {"Parameters", "parameters", &parameters, false, false},
    {0},
};
static const struct gt_type function = {"ToolFunction", SH_STRUCT, false, NULL, function_field};
static const struct field tool_field[] = {
    {"Type", "type", &string, false, false},
    {"Items", "items", &any, true, true},
    {"Function", "function", &function, false, false},
    {0},
};
static const struct gt_type tool = {"Tool", SH_STRUCT, true, NULL, tool_field};
static const struct gt_type tools = {"Tools", SH_LIST, true, &tool, NULL};

static const struct gt_type arguments = {"ToolCallFunctionArguments", SH_MAP, true, &any, NULL};
static const struct field called_field[] = {
    {"Index", "index", &integer, false, false},
    {"Name", "name", &string, false, false},
    {"Arguments", "arguments", &arguments, false, false},
    {0},
};
static const struct gt_type called = {"ToolCallFunction", SH_STRUCT, false, NULL, called_field};
static const struct field call_field[] = {
    {"ID", "id", &string, true, false},
    {"Function", "function", &called, false, false},
    {0},
};
static const struct gt_type call = {"ToolCall", SH_STRUCT, false, NULL, call_field};
static const struct gt_type calls = {"[]ToolCall", SH_LIST, false, &call, NULL};
static const struct field message_field[] = {
    {"Role", "role", &string, false, false},
    {"Content", "content", &string, false, false},
    {"Thinking", "thinking", &string, true, false},
    {"Images", "images", &any_list, true, true},
    {"ToolCalls", "tool_calls", &calls, true, false},
    {"ToolName", "tool_name", &string, true, false},
    {"ToolCallID", "tool_call_id", &string, true, false},
    {0},
};
static const struct gt_type message = {"*Message", SH_STRUCT, false, NULL, message_field};
static const struct gt_type messages = {"[]*Message", SH_LIST, false, &message, NULL};

/* The root is a map whose known entries have types. */
static const struct field root_field[] = {
    {"Messages", "", &messages, false, false},  {"Tools", "", &tools, false, false},
    {"System", "", &string, false, false},      {"Prompt", "", &string, false, false},
    {"Response", "", &string, false, false},    {"Suffix", "", &string, false, false},
    {"Think", "", &boolean, false, false},      {"ThinkLevel", "", &string, false, false},
    {"IsThinkSet", "", &boolean, false, false}, {0},
};
static const struct gt_type root = {"map[string]interface {}", SH_MAP, false, &any, root_field};

/* ---- Making values ---- */

struct gt_val gt_bool(bool b) {
    return (struct gt_val){.kind = GV_BOOL, .type = &boolean, .b = b};
}

struct gt_val gt_int(int64_t i) {
    return (struct gt_val){.kind = GV_INT, .type = &integer, .i = i};
}

struct gt_val gt_text(struct str s, bool trusted) {
    return (struct gt_val){.kind = GV_STR, .trusted = trusted, .type = &string, .s = s};
}

/* Short words ("user", "tool") can forge no control token, and templates build one around them:
 * "<|{{ .Role }}|>". */
static bool is_word(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!((s.p[i] >= 'a' && s.p[i] <= 'z') || (s.p[i] == '_'))) return false;
    return s.n <= 16;
}

static struct gt_val list_of(const json_t *j, const struct gt_type *type) {
    return (struct gt_val){
        .kind = GV_LIST, .type = type, .j = j, .lo = 0, .hi = json_array_size(j)};
}

static struct gt_val string_of(const json_t *j) {
    struct gt_val v = {.kind = GV_STR, .type = &string, .s = STR("")};
    if (json_is_string(j)) v.s = (struct str){json_string_value(j), json_string_length(j)};
    return v;
}

/* What stands in an interface {}. */
static struct gt_val any_of(const json_t *j) {
    if (json_is_boolean(j)) return gt_bool(json_is_true(j));
    if (json_is_number(j)) /* as encoding/json reads numbers */
        return (struct gt_val){.kind = GV_FLOAT, .type = &any, .f = json_number_value(j)};
    if (json_is_string(j)) return string_of(j);
    if (json_is_array(j)) return list_of(j, &any_list);
    if (json_is_object(j)) return (struct gt_val){.kind = GV_MAP, .type = &any_map, .j = j};
    return (struct gt_val){.kind = GV_NIL, .type = &any};
}

static struct gt_val typed(const json_t *j, const struct gt_type *t) {
    switch (t->shape) {
    case SH_ANY: return any_of(j);
    case SH_BOOL: return gt_bool(json_is_true(j));
    case SH_INT: return gt_int(json_is_real(j) ? (int64_t)0 : json_integer_value(j));
    case SH_STR: return string_of(j);
    case SH_WORDS: return json_is_array(j) ? list_of(j, t) : string_of(j);
    case SH_LIST: return list_of(json_is_array(j) ? j : NULL, t);
    case SH_MAP:
        return (struct gt_val){.kind = GV_MAP, .type = t, .j = json_is_object(j) ? j : NULL};
    case SH_STRUCT: break;
    }
    return (struct gt_val){.kind = GV_STRUCT, .type = t, .j = json_is_object(j) ? j : NULL};
}

struct gt_val gt_root(const json_t *data) {
    return (struct gt_val){.kind = GV_MAP, .type = &root, .j = data};
}

int gt_take(struct gt_run *r, struct buf *b, bool trusted, struct gt_val *out) {
    const size_t n = b->n;
    const bool failed = b->failed;
    char *copy = NULL;
    r->temp_bytes += n + 64;
    const bool fits = r->temp_bytes <= GT_MAX_TEMP;
    if (fits && !failed) copy = arena_strndup(&r->arena, b->p ? b->p : "", n);
    buf_fini(b);
    if (!fits) return gt_refuse_limit(r, "it makes strings of more than", GT_MAX_TEMP, "bytes");
    if (!copy) return err_nomem(r->e, "template");
    *out = (struct gt_val){.kind = GV_STR, .type = &string, .trusted = trusted, .s = {copy, n}};
    return 0;
}

/* ---- Asking values ---- */

size_t gt_len(const struct gt_val *v) {
    if (v->kind == GV_STR) return v->s.n;
    if (v->kind == GV_LIST) return v->hi - v->lo;
    return v->kind == GV_MAP ? json_object_size(v->j) : 0;
}

bool gt_truth(const struct gt_val *v) {
    switch (v->kind) {
    case GV_NIL: return false;
    case GV_BOOL: return v->b;
    case GV_INT: return v->i != 0;
    case GV_FLOAT: return v->f != 0;
    case GV_STRUCT: return true;
    default: return gt_len(v) > 0;
    }
}

const char *gt_type_name(const struct gt_val *v) {
    if (v->kind == GV_NIL) return "nil";
    return v->kind == GV_FLOAT ? "float64" : v->type->name;
}

bool gt_speaks_json(const struct gt_val *v) {
    return v->kind >= GV_LIST && v->type->speaks_json;
}

struct gt_val gt_item(const struct gt_val *list, size_t i) {
    return typed(json_array_get(list->j, list->lo + i), list->type->elem);
}

static const struct field *find_field(const struct gt_type *t, struct str go) {
    for (const struct field *f = t->field; f && f->go; f++)
        if (str_is(go, f->go)) return f;
    return NULL;
}

struct gt_val gt_map_get(const struct gt_val *map, struct str key) {
    const json_t *j = map->j ? json_object_getn(map->j, key.p, key.n) : NULL;
    const struct field *f = j ? find_field(map->type, key) : NULL;
    return typed(j, f ? f->type : map->type->elem);
}

static const json_t *member_of(const struct gt_val *v, const struct field *f) {
    const json_t *j = json_object_get(v->j, f->go);
    return j ? j : json_object_get(v->j, f->json);
}

int gt_field(struct gt_run *r, const struct gt_val *v, struct str name, struct gt_val *out) {
    const int n = (int)(name.n < 60 ? name.n : 60);
    if (v->kind == GV_NIL && !v->type) { /* what a pipeline made nil: so are its fields */
        *out = *v;
        return 0;
    }
    if (v->kind == GV_NIL) return gt_refuse(r, "nil has no field %.*s", n, name.p);
    if (v->kind == GV_MAP) {
        *out = gt_map_get(v, name);
        return 0;
    }
    if (v->kind == GV_STRUCT) {
        const struct field *f = find_field(v->type, name);
        if (f) {
            *out = typed(member_of(v, f), f->type);
            if (f->type == &string && strcmp(f->go, "Role") == 0) out->trusted = is_word(out->s);
            return 0;
        }
        if (v->type == &property && str_is(name, "ToTypeScriptType"))
            return gt_typescript(r, v, out);
    }
    return gt_refuse(r, "no field %.*s in type %s", n, name.p, gt_type_name(v));
}

bool gt_struct_member(const struct gt_val *v, int i, struct gt_member *m) {
    const struct field *f = &v->type->field[i];
    if (!f->go) return false;
    const bool go = v->j && json_object_get(v->j, f->go);
    m->json = go ? f->go : f->json;
    m->v = typed(member_of(v, f), f->type);
    const bool empty = m->v.kind != GV_STRUCT && !gt_truth(&m->v);
    m->shown = !f->rare || !empty;
    m->filled = go ? m->shown : !(f->omit_empty && empty);
    return true;
}

static int compare_keys(const void *a, const void *b) {
    const struct str *x = a, *y = b;
    const int c = memcmp(x->p, y->p, x->n < y->n ? x->n : y->n);
    return c ? c : (x->n > y->n) - (x->n < y->n);
}

struct str *gt_map_keys(struct gt_run *r, const struct gt_val *map, size_t *n) {
    json_t *j = (json_t *)map->j; /* jansson iterates over what is not const only */
    *n = 0;
    r->temp_bytes += (json_object_size(j) + 4) * sizeof(struct str);
    if (r->temp_bytes > GT_MAX_TEMP) {
        gt_refuse_limit(r, "it takes more than", GT_MAX_TEMP, "bytes");
        return NULL;
    }
    struct str *key = arena_calloc(&r->arena, json_object_size(j) + 1, sizeof *key);
    if (!key) {
        err_nomem(r->e, "template");
        return NULL;
    }
    for (void *it = json_object_iter(j); it; it = json_object_iter_next(j, it))
        key[(*n)++] = (struct str){json_object_iter_key(it), json_object_iter_key_len(it)};
    qsort(key, *n, sizeof *key, compare_keys);
    return key;
}

/* ---- TypeScript ---- */

static const char *typescript_of(struct str type) {
    static const char *const map[][2] = {
        {"string", "string"},   {"number", "number"}, {"integer", "number"},
        {"boolean", "boolean"}, {"array", "any[]"},   {"object", "Record<string, any>"},
        {"null", "null"},
    };
    for (size_t i = 0; i < sizeof map / sizeof *map; i++)
        if (str_is(type, map[i][0])) return map[i][1];
    return "any";
}

static void append_typescript(const struct gt_val *v, int depth, struct buf *b) {
    const json_t *any_of_list = json_object_get(v->j, "anyOf");
    const json_t *type = json_object_get(v->j, "type");
    const json_t *list = json_array_size(any_of_list) ? any_of_list : type;
    const json_t *x;
    size_t i;
    if (depth > GT_MAX_DEPTH || (!json_is_string(type) && json_array_size(list) == 0))
        buf_str(b, "any");
    else if (!json_is_array(list))
        buf_str(b, typescript_of(string_of(list).s));
    else
        json_array_foreach(list, i, x) {
            if (i > 0) buf_str(b, " | ");
            const struct gt_val one = typed(x, &property);
            if (list == any_of_list)
                append_typescript(&one, depth + 1, b);
            else
                buf_str(b, typescript_of(string_of(x).s));
        }
}

int gt_typescript(struct gt_run *r, const struct gt_val *v, struct gt_val *out) {
    struct buf b = {0};
    if (v->kind == GV_STRUCT && v->type == &property)
        append_typescript(v, 0, &b);
    else
        buf_str(&b, "any");
    return gt_take(r, &b, true, out);
}
