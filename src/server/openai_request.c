/* From the fields of OpenAI's requests to a request of engine/gen.h: sampling, tools, format,
 * thinking. */
#include "server/openai.h"

#include <ctype.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static int set(json_t *o, const char *key, json_t *take, struct fault *f) {
    return json_object_set_new(o, key, take) == 0 ? 0 : fault_nomem(f);
}

/* ---- sampling ---- */

/* Any 64-bit seed is as good as any other; the sampler's are 31 bits, where -1 would mean "none".
 */
static json_int_t fold_seed(json_int_t seed) {
    if (seed >= 0 && seed <= INT_MAX) return seed;
    const uint64_t u = (uint64_t)seed;
    return (json_int_t)((u ^ u >> 31 ^ u >> 62) & INT_MAX);
}

/* {"TOKEN_ID": -100..100}; -100 bans, as OpenAI says it "should". */
static int set_bias(const json_t *map, json_t *options, struct fault *f) {
    const char *id;
    json_t *v, *out = json_object();
    char param[FIELD_PATH];
    json_object_foreach((json_t *)map, id, v) {
        field_path(param, "logit_bias.%.40s", id);
        char *end;
        const long n = strtol(id, &end, 10);
        const double x = json_number_value(v);
        if (!isdigit((unsigned char)*id) || *end || n > INT_MAX || !json_is_number(v) ||
            !(x >= -100 && x <= 100)) {
            json_decref(out);
            return fault_set(f, ERR_USAGE, param,
                             "found %s; a token id with a number from -100 to 100 is accepted",
                             field_kind(v));
        }
        if (x <= -100)
            json_object_set_new(out, id, json_false());
        else
            json_object_set(out, id, v);
    }
    return set(options, "logit_bias", out, f);
}

static int set_stop(json_t *stop, json_t *options, struct fault *f) {
    json_t *list = json_is_array(stop) ? json_incref(stop) : json_pack("[O]", stop);
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *s = json_array_get(list, i);
        if (json_is_string(s) && json_string_length(s) > 0) continue;
        json_decref(list);
        return fault_set(f, ERR_USAGE, "stop",
                         "found %s; texts of at least one character are accepted",
                         json_is_string(s) ? "an empty text" : field_kind(s));
    }
    if (json_array_size(list) == 0) {
        json_decref(list);
        return 0;
    }
    return set(options, "stop", list, f);
}

/* A field's name here and among the options. */
static const struct {
    const char *field, *option;
} same[] = {
    {"temperature", "temperature"},
    {"top_p", "top_p"},
    {"frequency_penalty", "frequency_penalty"},
    {"presence_penalty", "presence_penalty"},
    {"top_k", "top_k"},
    {"min_p", "min_p"},
    {"repeat_penalty", "repeat_penalty"},
    {"num_ctx", "num_ctx"},
    {"ignore_eos", "ignore_eos"},
};

static int fill_options(const json_t *body, const char *max_key, json_t *options, struct fault *f) {
    json_t *v;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if ((v = json_object_get(body, same[i].field))) json_object_set(options, same[i].option, v);
    if ((v = json_object_get(body, "seed")) &&
        set(options, "seed", json_integer(fold_seed(field_integer(v))), f) != 0)
        return -1;
    if ((v = json_object_get(body, max_key))) { /* -1, as many clients say: no limit */
        if (field_integer(v) == 0)
            return fault_set(f, ERR_USAGE, max_key,
                             "found 0; -1 (no limit) or 1 to 1000000000 "
                             "is accepted");
        json_object_set_new(options, "num_predict", json_integer(field_integer(v)));
    }
    if ((v = json_object_get(body, "stop")) && set_stop(v, options, f) != 0) return -1;
    if ((v = json_object_get(body, "logit_bias"))) return set_bias(v, options, f);
    return 0;
}

static int set_user(const struct request *r, const json_t *body, json_t *gen, struct fault *f) {
    const char *user = field_text(body, "user");
    if (!user) user = field_text(body, "safety_identifier");
    return set(gen, "user", request_turn(r, user), f);
}

int openai_options(const struct request *r, const json_t *body, const char *max_key, json_t *gen,
                   struct fault *f) {
    const json_t *theirs = json_object_get(body, "options");
    json_t *options = theirs ? json_deep_copy(theirs) : json_object();
    if (!options) return fault_nomem(f);
    /* OpenAI's defaults, not the model file's; a context that is full ends the answer, nothing is
     * shifted out of it unseen. */
    if (!json_object_get(options, "temperature"))
        json_object_set_new(options, "temperature", json_real(1));
    if (!json_object_get(options, "top_p")) json_object_set_new(options, "top_p", json_real(1));
    if (!json_object_get(options, "shift")) json_object_set_new(options, "shift", json_false());
    const int rc = fill_options(body, max_key, options, f);
    if (set(gen, "options", options, f) != 0 || rc != 0) return -1;
    if (set(gen, "truncate", json_boolean(field_true(body, "truncate")), f) != 0) return -1;
    return set_user(r, body, gen, f);
}

/* ---- tools ---- */

static bool is_tool_name(const char *s) {
    size_t n = 0;
    for (; s[n]; n++)
        if (!isalnum((unsigned char)s[n]) && !strchr("_-.", s[n])) return false;
    return n >= 1 && n <= 128;
}

int openai_add_tool(json_t *list, const char *where, const char *name, const char *description,
                    const json_t *schema, bool strict, struct fault *f) {
    char param[FIELD_PATH];
    field_path(param, "%sname", where);
    if (!name || !is_tool_name(name))
        return fault_set(f, ERR_USAGE, param,
                         "found \"%.60s\"; 1 to 128 letters, digits, _ - . are accepted",
                         name ? name : "");
    json_t *fn = json_pack("{s:s, s:s*}", "name", name, "description", description);
    json_t *parameters =
        schema ? json_deep_copy(schema) : json_pack("{s:s, s:{}}", "type", "object", "properties");
    if (!fn || json_object_set_new(fn, "parameters", parameters) != 0 ||
        (strict && json_object_set_new(fn, "strict", json_true()) != 0) ||
        json_array_append_new(list, json_pack("{s:s, s:O}", "type", "function", "function", fn)) !=
            0) {
        json_decref(fn);
        return fault_nomem(f);
    }
    json_decref(fn);
    return 0;
}

#define FUNCTION_FIELDS                                                                            \
    {.name = "name", .types = FIELD_TEXT, .required = true},                                       \
        {.name = "description", .types = FIELD_TEXT},                                              \
        {.name = "parameters", .types = FIELD_OBJECT}, {                                           \
        .name = "strict", .types = FIELD_BOOL                                                      \
    }

static const struct field function_fields[] = {FUNCTION_FIELDS, {0}};
static const struct field nested_fields[] = {
    {.name = "type", .types = FIELD_TEXT, .required = true},
    {.name = "function", .types = FIELD_OBJECT, .required = true},
    {0}};
static const struct field flat_fields[] = {
    {.name = "type", .types = FIELD_TEXT, .required = true}, FUNCTION_FIELDS, {0}};
static const struct field namespace_fields[] = {
    {.name = "type", .types = FIELD_TEXT, .required = true},
    {.name = "name", .types = FIELD_TEXT, .required = true},
    {.name = "description", .types = FIELD_TEXT},
    {.name = "tools", .types = FIELD_ARRAY, .required = true},
    {0}};

/* {"type": "namespace", "name", "tools": [functions]}: the model sees NAME.FUNCTION of each. */
static int add_namespace(json_t *space, const char *where, json_t *list, struct fault *f) {
    char at[FIELD_PATH], name[OPENAI_TOOL_NAME];
    if (field_check(space, where, namespace_fields, f) != 0) return -1;
    const json_t *tools = json_object_get(space, "tools");
    for (size_t i = 0; i < json_array_size(tools); i++) {
        json_t *tool = json_array_get(tools, i);
        const char *type = field_text(tool, "type");
        field_path(at, "%stools[%zu].", where, i);
        if (!type || strcmp(type, "function") != 0)
            return fault_set(f, ERR_UNSUPPORTED, at, "functions are accepted in a namespace");
        if (field_check(tool, at, flat_fields, f) != 0) return -1;
        openai_join_name(name, field_text(space, "name"), field_text(tool, "name"));
        if (openai_add_tool(list, at, name, field_text(tool, "description"),
                            json_object_get(tool, "parameters"), field_true(tool, "strict"),
                            f) != 0)
            return -1;
    }
    return 0;
}

static int add_tool(json_t *tool, size_t i, bool flat, json_t *list, struct fault *f) {
    char where[FIELD_PATH], param[FIELD_PATH];
    field_path(where, "tools[%zu]", i);
    if (!json_is_object(tool))
        return fault_set(f, ERR_USAGE, where, "found %s; an object is accepted", field_kind(tool));
    const char *type = field_text(tool, "type");
    field_path(where, "tools[%zu].", i);
    field_path(param, "%stype", where);
    if (flat && type && strcmp(type, "namespace") == 0) return add_namespace(tool, where, list, f);
    if (type && strcmp(type, "function") != 0)
        return fault_set(f, ERR_UNSUPPORTED, param,
                         "found \"%.40s\"; \"function\" is what this server can call", type);
    if (field_check(tool, where, flat ? flat_fields : nested_fields, f) != 0) return -1;
    json_t *fn = tool;
    if (!flat) {
        fn = json_object_get(tool, "function");
        field_path(where, "tools[%zu].function.", i);
        if (field_check(fn, where, function_fields, f) != 0) return -1;
    }
    return openai_add_tool(list, where, field_text(fn, "name"), field_text(fn, "description"),
                           json_object_get(fn, "parameters"), field_true(fn, "strict"), f);
}

void openai_join_name(char out[OPENAI_TOOL_NAME], const char *space, const char *name) {
    snprintf(out, OPENAI_TOOL_NAME, space ? "%s.%s" : "%s%s", space ? space : "", name);
}

const char *openai_split_name(const json_t *tools, const char *name, const char **rest) {
    *rest = name;
    for (size_t i = 0; i < json_array_size(tools); i++) {
        const json_t *t = json_array_get(tools, i);
        const char *type = field_text(t, "type"), *space = field_text(t, "name");
        const size_t n = space ? strlen(space) : 0;
        if (!type || strcmp(type, "namespace") != 0 || strncmp(name, space ? space : "", n) != 0 ||
            name[n] != '.')
            continue;
        *rest = name + n + 1;
        return space;
    }
    return NULL;
}

static json_t *find_tool(const json_t *tools, const char *name) {
    for (size_t i = 0; name && i < json_array_size(tools); i++) {
        json_t *t = json_array_get(tools, i);
        const char *have = field_text(json_object_get(t, "function"), "name");
        if (have && strcmp(have, name) == 0) return t;
    }
    return NULL;
}

/* The name in {"type": "function", "function": {"name"}} or, flat, {"type": "function", "name"}. */
static const char *chosen_name(const json_t *choice) {
    const char *type = field_text(choice, "type");
    if (!type || strcmp(type, "function") != 0) return NULL;
    const char *name = field_text(json_object_get(choice, "function"), "name");
    return name ? name : field_text(choice, "name");
}

/* {"type": "allowed_tools", "mode": "auto" or "required", "tools": [...]}: the others leave. */
static int allow_tools(const json_t *choice, json_t *gen, struct fault *f) {
    const json_t *inner = json_object_get(choice, "allowed_tools");
    if (!inner) inner = choice;
    const json_t *names = json_object_get(inner, "tools");
    const char *mode = field_text(inner, "mode");
    json_t *kept = json_array();
    if (!json_is_array(names) || !mode || !field_among(mode, "auto required")) {
        json_decref(kept);
        return fault_set(f, ERR_USAGE, "tool_choice",
                         "allowed_tools needs \"mode\" (auto or required) and \"tools\"");
    }
    for (size_t i = 0; i < json_array_size(names); i++) {
        const char *name = chosen_name(json_array_get(names, i));
        json_t *tool = find_tool(json_object_get(gen, "tools"), name);
        if (!tool) {
            json_decref(kept);
            return fault_set(f, ERR_USAGE, "tool_choice",
                             "found \"%.60s\", which is none of the tools", name ? name : "");
        }
        json_array_append(kept, tool);
    }
    json_object_set_new(gen, "tools", kept);
    return set(gen, "tool_choice", json_string(mode), f);
}

static int set_tool_choice(const json_t *choice, json_t *gen, struct fault *f) {
    const json_t *tools = json_object_get(gen, "tools");
    if (json_is_string(choice)) {
        const char *word = json_string_value(choice);
        if (!field_among(word, "auto none required"))
            return fault_set(f, ERR_USAGE, "tool_choice",
                             "found \"%.40s\"; accepted: auto, none, required or a tool", word);
        if (!tools && strcmp(word, "required") == 0)
            return fault_set(f, ERR_USAGE, "tool_choice", "\"required\" without tools");
        return tools ? set(gen, "tool_choice", json_string(word), f) : 0;
    }
    const char *type = field_text(choice, "type");
    if (type && strcmp(type, "allowed_tools") == 0) return allow_tools(choice, gen, f);
    const char *name = chosen_name(choice);
    if (!name)
        return fault_set(f, ERR_USAGE, "tool_choice",
                         "accepted: auto, none, required, {\"type\": \"function\", ...} or "
                         "{\"type\": \"allowed_tools\", ...}");
    if (!find_tool(tools, name))
        return fault_set(f, ERR_USAGE, "tool_choice", "found \"%.60s\", which is none of the tools",
                         name);
    return set(gen, "tool_choice", json_pack("{s:s}", "name", name), f);
}

int openai_tools(const json_t *body, bool flat, json_t *gen, struct fault *f) {
    json_t *tools = json_object_get(body, "tools"), *choice = json_object_get(body, "tool_choice");
    if (json_array_size(tools) > 0) {
        json_t *list = json_array();
        if (set(gen, "tools", list, f) != 0) return -1;
        for (size_t i = 0; i < json_array_size(tools); i++)
            if (add_tool(json_array_get(tools, i), i, flat, list, f) != 0) return -1;
        json_t *parallel = json_object_get(body, "parallel_tool_calls");
        if (parallel) json_object_set(gen, "parallel_tool_calls", parallel);
    }
    return choice ? set_tool_choice(choice, gen, f) : 0;
}

/* ---- format, thinking ---- */

static const struct field schema_fields[] = {
    {.name = "type", .types = FIELD_TEXT},        {.name = "name", .types = FIELD_TEXT},
    {.name = "schema", .types = FIELD_OBJECT},    {.name = "strict", .types = FIELD_BOOL},
    {.name = "description", .types = FIELD_TEXT}, {0}};

static int set_schema(json_t *format, const char *where, bool flat, json_t *gen, struct fault *f) {
    char path[FIELD_PATH], param[FIELD_PATH];
    json_t *inner = flat ? format : json_object_get(format, "json_schema");
    field_path(path, flat ? "%s." : "%s.json_schema.", where);
    field_path(param, "%.*s", (int)strlen(path) - 1, path);
    if (!json_is_object(inner))
        return fault_set(f, ERR_USAGE, param, "found %s; an object with \"schema\" is accepted",
                         field_kind(inner));
    if (field_check(inner, path, schema_fields, f) != 0) return -1;
    json_t *schema = json_object_get(inner, "schema");
    field_path(param, "%sschema", path);
    if (!schema) return fault_set(f, ERR_USAGE, param, "a JSON schema is required");
    return set(gen, "format", json_incref(schema), f);
}

int openai_format(json_t *format, const char *where, bool flat, json_t *gen, struct fault *f) {
    const char *type = field_text(format, "type");
    char param[FIELD_PATH];
    field_path(param, "%s.type", where);
    if (!type) return fault_set(f, ERR_USAGE, param, "is required");
    if (strcmp(type, "json_schema") == 0) return set_schema(format, where, flat, gen, f);
    if (strcmp(type, "text") == 0) return 0;
    if (strcmp(type, "json_object") == 0) return set(gen, "format", json_string("json"), f);
    /* Ours: {"type": "gbnf", "gbnf": TEXT}, {"type": "regex", "regex": TEXT}. */
    json_t *text = json_object_get(format, type);
    if (field_among(type, "gbnf regex") && json_is_string(text))
        return set(gen, "format", json_pack("{s:O}", type, text), f);
    return fault_set(f, ERR_USAGE, param,
                     "found \"%.40s\"; accepted: text, json_object, json_schema (and gbnf, regex, "
                     "with a text of that name)",
                     type);
}

int openai_effort(const char *effort, const char *param, json_t *gen, struct fault *f) {
    static const struct {
        const char *word, *think;
    } table[] = {{"none", NULL},   {"minimal", "low"}, {"low", "low"}, {"medium", "medium"},
                 {"high", "high"}, {"xhigh", "max"},   {"max", "max"}};
    if (!effort) return 0;
    for (size_t i = 0; i < sizeof table / sizeof *table; i++)
        if (strcmp(effort, table[i].word) == 0)
            return set(gen, "think", table[i].think ? json_string(table[i].think) : json_false(),
                       f);
    return fault_set(f, ERR_USAGE, param,
                     "found \"%.40s\"; accepted: none, minimal, low, medium, high, xhigh, max",
                     effort);
}

json_t *openai_take(json_t *gen, const char *key) {
    json_t *v = json_incref(json_object_get(gen, key));
    json_object_del(gen, key);
    return v;
}

int openai_template_vars(const json_t *vars, json_t *gen) {
    json_t *rest = vars ? json_deep_copy(vars) : NULL;
    if (!rest) return vars ? -1 : 0;
    json_t *thinking = json_object_get(rest, "enable_thinking");
    if (json_is_boolean(thinking)) {
        if (!json_object_get(gen, "think")) json_object_set(gen, "think", thinking);
        json_object_del(rest, "enable_thinking");
    }
    if (json_object_size(rest) > 0) return json_object_set_new(gen, "template_vars", rest);
    json_decref(rest);
    return 0;
}
