/* See gen_request.h: a table row per key, then what a table cannot say. */
#include "engine/gen_request.h"

#include <stdlib.h>
#include <string.h>

#include "base/log.h"
#include "base/work.h"

static const char *const op_name[] = {"chat",     "text",       "embed", "rerank",
                                      "tokenize", "detokenize", "render"};
enum { N_OP = sizeof op_name / sizeof *op_name };

/* ---- keys ---- */

enum type {
    TEXT,   /* struct str */
    FLAG,   /* bool */
    UNFLAG, /* bool, the other way round */
    NUMBER, /* int, min to max */
    LIST,   /* const json_t * */
    OBJECT, /* const json_t * */
    OTHER,  /* read apart */
};

struct key {
    const char *name;
    unsigned ops; /* bits of enum gen_op */
    enum type type;
    size_t at; /* in struct gen_request */
    int min, max;
};

enum {
    CHAT = 1 << GEN_OP_CHAT,
    TEXT_OP = 1 << GEN_OP_TEXT,
    EMBED = 1 << GEN_OP_EMBED,
    RERANK = 1 << GEN_OP_RERANK,
    TOKENIZE = 1 << GEN_OP_TOKENIZE,
    DETOKENIZE = 1 << GEN_OP_DETOKENIZE,
    RENDER = 1 << GEN_OP_RENDER,
    TALK = CHAT | RENDER,
    SAY = CHAT | TEXT_OP | RENDER, /* a request that is to be answered may be rendered instead */
    ALL = (1 << N_OP) - 1,
};

#define AT(field) offsetof(struct gen_request, field)
static const struct key keys[] = {
    {"op", ALL, OTHER, 0, 0, 0},
    {"messages", TALK, LIST, AT(messages), 0, 0},
    {"tools", TALK, LIST, AT(tools), 0, 0},
    {"tool_choice", TALK, OTHER, 0, 0, 0},
    {"parallel_tool_calls", TALK, UNFLAG, AT(one_call), 0, 0},
    {"think", SAY, OTHER, 0, 0, 0},
    {"documents", TALK | RERANK, LIST, AT(documents), 0, 0},
    {"template_vars", TALK, OBJECT, AT(vars), 0, 0},
    {"continue", TALK, FLAG, AT(go_on), 0, 0},
    {"prompt", TEXT_OP, TEXT, AT(prompt), 0, 0},
    {"suffix", TEXT_OP, TEXT, AT(suffix), 0, 0},
    {"system", TEXT_OP, TEXT, AT(system), 0, 0},
    {"tokens", TEXT_OP | DETOKENIZE, OTHER, 0, 0, 0},
    {"raw", TEXT_OP, FLAG, AT(raw), 0, 0},
    {"echo", TEXT_OP, FLAG, AT(echo), 0, 0},
    {"images", TEXT_OP, LIST, AT(images), 0, 0},
    {"options", SAY | EMBED | RERANK, OTHER, 0, 0, 0},
    {"format", SAY, OTHER, 0, 0, 0},
    {"n", SAY, NUMBER, AT(n), 1, GEN_MAX_CHOICES},
    {"logprobs", SAY, FLAG, AT(logprobs), 0, 0},
    {"top_logprobs", SAY, NUMBER, AT(top_logprobs), 0, GEN_MAX_TOP_LOGPROBS},
    {"truncate", SAY | EMBED | RERANK, UNFLAG, AT(no_truncate), 0, 0},
    {"shift", SAY, FLAG, AT(options.shift), 0, 0},
    {"template", SAY, TEXT, AT(template), 0, 0},
    {"user", ALL, TEXT, AT(user), 0, 0},
    {"priority", ALL, OTHER, 0, 0, 0},
    {"tenant", ALL, TEXT, AT(tenant), 0, 0},
    {"adapter", ALL, TEXT, AT(adapter), 0, 0},
    {"input", EMBED, LIST, AT(input), 0, 0},
    {"dimensions", EMBED, NUMBER, AT(dimensions), 1, 1 << 20},
    {"normalize", EMBED, UNFLAG, AT(unscaled), 0, 0},
    {"query", RERANK, TEXT, AT(query), 0, 0},
    {"text", TOKENIZE, TEXT, AT(text), 0, 0},
    {"special", TOKENIZE, FLAG, AT(special), 0, 0},
    {"bos", TOKENIZE, UNFLAG, AT(no_bos), 0, 0},
    {"pieces", TOKENIZE, FLAG, AT(pieces), 0, 0},
};

static const char *kind_of(const json_t *v) {
    switch (json_typeof(v)) {
    case JSON_OBJECT: return "an object";
    case JSON_ARRAY: return "a list";
    case JSON_STRING: return "text";
    case JSON_INTEGER:
    case JSON_REAL: return "a number";
    case JSON_TRUE:
    case JSON_FALSE: return "a boolean";
    case JSON_NULL: break;
    }
    return "null";
}

static int wrong(const char *key, const json_t *v, const char *want, struct err *e) {
    err_set(e, ERR_USAGE, "key \"%s\": found %s; %s is accepted", key, kind_of(v), want);
    return err_field(e, "%s", key);
}

/* A key whose value cannot be: "key \"KEY\": WHY". */
__attribute__((format(printf, 4, 5))) static int refuse(struct err *e, enum err_code code,
                                                        const char *key, const char *fmt, ...) {
    char where[64];
    va_list ap;
    va_start(ap, fmt);
    err_vset(e, code, fmt, ap);
    va_end(ap);
    snprintf(where, sizeof where, "key \"%.40s\"", key);
    err_prefix(e, where);
    return err_field(e, "%.40s", key);
}

static int missing(const char *key, struct err *e) {
    err_set(e, ERR_USAGE, "key \"%s\" is missing", key);
    return err_field(e, "%s", key);
}

static struct str text_of(const json_t *v) {
    return (struct str){json_string_value(v), json_string_length(v)};
}

static bool in_text(const json_t *v, int min, int max, int *out) {
    const double x = json_number_value(v);
    if (!json_is_number(v) || !(x >= min && x <= max)) return false;
    *out = (int)x;
    return (double)*out == x;
}

static int read_key(struct gen_request *q, const struct key *k, const json_t *v, struct err *e) {
    char *at = (char *)q + k->at;
    int n;
    switch (k->type) {
    case TEXT:
        if (!json_is_string(v)) return wrong(k->name, v, "text", e);
        *(struct str *)(void *)at = text_of(v);
        return 0;
    case FLAG:
    case UNFLAG:
        if (!json_is_boolean(v)) return wrong(k->name, v, "true or false", e);
        *(bool *)at = json_is_true(v) == (k->type == FLAG);
        return 0;
    case NUMBER:
        if (!in_text(v, k->min, k->max, &n))
            return refuse(e, ERR_USAGE, k->name,
                          "found %s; a whole number from %d to %d is accepted",
                          json_is_number(v) ? "another number" : kind_of(v), k->min, k->max);
        *(int *)(void *)at = n;
        return 0;
    case LIST:
    case OBJECT:
        if (k->type == LIST && !json_is_array(v)) return wrong(k->name, v, "a list", e);
        if (k->type == OBJECT && !json_is_object(v)) return wrong(k->name, v, "an object", e);
        *(const json_t **)(void *)at = v;
        return 0;
    case OTHER: break;
    }
    return 0;
}

static const struct key *find_key(const char *name) {
    for (size_t i = 0; i < sizeof keys / sizeof *keys; i++)
        if (strcmp(keys[i].name, name) == 0) return &keys[i];
    return NULL;
}

static int read_keys(struct gen_request *q, struct err *e) {
    const char *name;
    json_t *v;
    json_object_foreach(q->json, name, v) {
        const struct key *k = find_key(name);
        if (!k || !(k->ops & 1u << q->op))
            return err_set(e, ERR_USAGE, "key \"%.40s\": not known in a request of kind \"%s\"",
                           name, op_name[q->op]);
        if (!json_is_null(v) && read_key(q, k, v, e) != 0) return -1;
    }
    return 0;
}

/* The value of a key that is read apart; NULL when absent or null. */
static json_t *other(const struct gen_request *q, const char *name) {
    json_t *v = json_object_get(q->json, name);
    return json_is_null(v) ? NULL : v;
}

static int read_op(struct gen_request *q, struct err *e) {
    const char *op = json_string_value(json_object_get(q->json, "op"));
    for (int i = 0; op && i < N_OP; i++)
        if (strcmp(op, op_name[i]) == 0) {
            q->op = (enum gen_op)i;
            return 0;
        }
    return refuse(e, ERR_USAGE, "op",
                  "found \"%.40s\"; accepted: chat, text, embed, rerank, tokenize, "
                  "detokenize, render",
                  op ? op : "");
}

/* ---- messages and tools ---- */

/* Objects of known keys.  type: 't' text, 'l' list, 'o' object, 'a' anything; required first. */
struct field {
    const char *name;
    char type;
    bool required;
};

static bool is_type(const json_t *v, char type) {
    switch (type) {
    case 't': return json_is_string(v);
    case 'l': return json_is_array(v);
    case 'o': return json_is_object(v);
    default: return true;
    }
}

static const char *type_name(char type) {
    return type == 't' ? "text" : type == 'l' ? "a list" : "an object";
}

static int check_fields(const char *where, const json_t *v, const struct field *f, int n,
                        struct err *e) {
    const char *name;
    json_t *x;
    if (!json_is_object(v)) return wrong(where, v, "an object", e);
    json_object_foreach((json_t *)(uintptr_t)v, name, x) {
        int i = 0;
        while (i < n && strcmp(f[i].name, name) != 0)
            i++;
        if (i < n && (json_is_null(x) || is_type(x, f[i].type))) continue;
        if (i == n)
            err_set(e, ERR_USAGE, "%s: key \"%.40s\": not known", where, name);
        else
            err_set(e, ERR_USAGE, "%s: key \"%s\": found %s; %s is accepted", where, name,
                    kind_of(x), type_name(f[i].type));
        return err_field(e, "%s.%.40s", where, name);
    }
    for (int i = 0; i < n; i++) {
        x = json_object_get(v, f[i].name);
        if (!f[i].required || (x && !json_is_null(x))) continue;
        err_set(e, ERR_USAGE, "%s: key \"%s\" is missing", where, f[i].name);
        return err_field(e, "%s.%s", where, f[i].name);
    }
    return 0;
}
#define FIELDS(list) list, sizeof(list) / sizeof *(list)

static int check_texts(const char *where, const json_t *list, struct err *e) {
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) if (!json_is_string(v)) return wrong(where, v, "text", e);
    return 0;
}

static int check_calls(const char *where, const json_t *list, struct err *e) {
    static const struct field call[] = {
        {"id", 't', false}, {"type", 't', false}, {"function", 'o', true}};
    static const struct field function[] = {
        {"name", 't', true}, {"arguments", 'o', true}, {"index", 'a', false}};
    size_t i;
    json_t *v;
    json_array_foreach(list, i, v) {
        if (check_fields(where, v, FIELDS(call), e) != 0) return -1;
        if (check_fields(where, json_object_get(v, "function"), FIELDS(function), e) != 0)
            return -1;
    }
    return 0;
}

static int check_message(size_t i, const json_t *m, struct err *e) {
    static const struct field fields[] = {
        {"role", 't', true},        {"content", 't', false},   {"thinking", 't', false},
        {"tool_calls", 'l', false}, {"tool_name", 't', false}, {"tool_call_id", 't', false},
        {"images", 'l', false},
    };
    static const char *const roles[] = {"system", "user", "assistant", "tool"};
    char where[48];
    if (work_stopped()) return work_given_up(e);
    snprintf(where, sizeof where, "messages[%zu]", i);
    if (check_fields(where, m, FIELDS(fields), e) != 0) return -1;
    const char *role = json_string_value(json_object_get(m, "role"));
    size_t r = 0;
    while (r < 4 && strcmp(role, roles[r]) != 0)
        r++;
    if (r == 4) {
        err_set(e, ERR_USAGE, "%s: role \"%.40s\"; accepted: system, user, assistant, tool", where,
                role);
        return err_field(e, "%s.role", where);
    }
    if (check_calls(where, json_object_get(m, "tool_calls"), e) != 0) return -1;
    return check_texts(where, json_object_get(m, "images"), e);
}

static int check_talk(const struct gen_request *q, struct err *e) {
    static const struct field tool[] = {{"type", 't', false}, {"function", 'o', true}};
    static const struct field function[] = {{"name", 't', true},
                                            {"description", 't', false},
                                            {"parameters", 'o', false},
                                            {"strict", 'a', false}};
    static const struct field document[] = {{"title", 't', false}, {"text", 't', true}};
    size_t i;
    json_t *v;
    if (!q->messages) return missing("messages", e);
    json_array_foreach(q->messages, i, v) if (check_message(i, v, e) != 0) return -1;
    json_array_foreach(q->tools, i, v) {
        if (check_fields("tools", v, FIELDS(tool), e) != 0) return -1;
        if (check_fields("tools", json_object_get(v, "function"), FIELDS(function), e) != 0)
            return -1;
    }
    json_array_foreach(q->documents, i,
                       v) if (check_fields("documents", v, FIELDS(document), e) != 0) return -1;
    if (!q->go_on) return 0;
    v = json_array_get(q->messages, json_array_size(q->messages) - 1);
    const char *role = json_string_value(json_object_get(v, "role"));
    if (role && strcmp(role, "assistant") == 0) return 0;
    return refuse(e, ERR_USAGE, "continue", "the last message is not the assistant's");
}

/* Tools that say "strict", apart from their descriptions: templates would show the word. */
static int read_strict(struct gen_request *q, struct err *e) {
    json_t *names = NULL, *v;
    size_t i;
    json_array_foreach(q->tools, i, v) {
        json_t *f = json_object_get(v, "function");
        const bool strict = json_is_true(json_object_get(f, "strict"));
        json_object_del(f, "strict");
        if (!strict) continue;
        if (!names) names = json_array();
        if (json_array_append(names, json_object_get(f, "name")) != 0) {
            json_decref(names);
            return err_nomem(e, "tools");
        }
    }
    if (names && json_object_set_new(q->json, "strict", names) != 0) return err_nomem(e, "tools");
    q->strict = names;
    return 0;
}

static bool has_tool(const struct gen_request *q, struct str name) {
    size_t i;
    json_t *v;
    json_array_foreach(
        q->tools, i, v) if (str_eq(text_of(json_object_get(json_object_get(v, "function"), "name")),
                                   name)) return true;
    return false;
}

static int read_tool_choice(struct gen_request *q, struct err *e) {
    const json_t *v = other(q, "tool_choice");
    const char *s = json_string_value(v);
    if (!v) return 0;
    if (json_is_object(v) && json_object_size(v) == 1 &&
        json_is_string(json_object_get(v, "name"))) {
        q->tool_choice = GEN_CHOICE_NAMED;
        q->tool_name = text_of(json_object_get(v, "name"));
        if (has_tool(q, q->tool_name)) return 0;
        return refuse(e, ERR_USAGE, "tool_choice", "no tool has the name \"%.40s\"",
                      q->tool_name.p);
    }
    static const char *const names[] = {"auto", "none", "required"};
    for (int i = 0; s && i < 3; i++)
        if (strcmp(s, names[i]) == 0) {
            q->tool_choice = (enum gen_choice)i;
            if (q->tool_choice != GEN_CHOICE_REQUIRED || json_array_size(q->tools)) return 0;
            return refuse(e, ERR_USAGE, "tool_choice", "required, but there are no tools");
        }
    return wrong("tool_choice", v, "auto, none, required or {\"name\": a tool}", e);
}

static int read_think(struct gen_request *q, struct err *e) {
    static const char *const levels[] = {"low", "medium", "high", "max"};
    const json_t *v = other(q, "think");
    const char *s = json_string_value(v);
    if (!v) return 0;
    if (json_is_boolean(v)) {
        q->think = json_is_true(v) ? GEN_THINK_ON : GEN_THINK_OFF;
        return 0;
    }
    for (int i = 0; s && i < 4; i++)
        if (strcmp(s, levels[i]) == 0) {
            q->think = (enum gen_think)(GEN_THINK_LOW + i);
            return 0;
        }
    return wrong("think", v, "true, false, low, medium, high or max", e);
}

/* ---- the rest ---- */

static int read_tokens(struct gen_request *q, struct err *e) {
    const json_t *list = other(q, "tokens");
    const size_t n = json_array_size(list);
    if (!list) return 0;
    if (!json_is_array(list)) return wrong("tokens", list, "a list of ids", e);
    if (n > 1 << 24) return refuse(e, ERR_LIMIT, "tokens", "%zu ids; too many", n);
    q->token = calloc(n + 1, sizeof *q->token);
    if (!q->token) return err_nomem(e, "tokens");
    for (size_t i = 0; i < n; i++) {
        int id;
        if (!in_text(json_array_get(list, i), 0, INT32_MAX - 1, &id))
            return refuse(e, ERR_USAGE, "tokens", "value %zu is no token id", i);
        q->token[i] = id;
    }
    q->n_token = (int)n;
    return 0;
}

static int read_options(struct gen_request *q, struct err *e) {
    json_t *list = other(q, "options"), *v;
    const char *name;
    if (list && !json_is_object(list)) return wrong("options", list, "an object", e);
    json_object_foreach(list, name, v) {
        struct err why = {0};
        if (run_options_set_json(&q->options, name, v, &why) == 0) continue;
        if (why.code == ERR_NOT_FOUND) { /* clients send options of other engines */
            log_msg(LOG_WARN, "option \"%.40s\" is not known and has no effect", name);
            continue;
        }
        if (e) *e = why;
        return err_field(e, "options.%s", name);
    }
    return 0;
}

static int read_format(struct gen_request *q, struct err *e) {
    const json_t *v = other(q, "format");
    if (!v || (json_is_string(v) && json_string_length(v) == 0)) return 0;
    if (!json_is_object(v) && !(json_is_string(v) && strcmp(json_string_value(v), "json") == 0))
        return wrong("format", v, "\"json\" or an object", e);
    q->format = v;
    return 0;
}

static bool is_ids(const json_t *list) {
    size_t i;
    json_t *v;
    int id;
    if (!json_is_array(list)) return false;
    json_array_foreach(list, i, v) if (!in_text(v, 0, INT32_MAX - 1, &id)) return false;
    return true;
}

static int check_vectors(const struct gen_request *q, struct err *e) {
    size_t i;
    json_t *v;
    if (q->op == GEN_OP_RERANK) {
        if (!q->query.p) return missing("query", e);
        if (!q->documents) return missing("documents", e);
        return check_texts("documents", q->documents, e);
    }
    if (!q->input) return missing("input", e);
    json_array_foreach(q->input, i, v) if (!json_is_string(v) && !is_ids(v)) return refuse(
        e, ERR_USAGE, "input", "value %zu is %s; text or a list of ids is accepted", i, kind_of(v));
    return 0;
}

static int check_text(const struct gen_request *q, struct err *e) {
    if (!q->prompt.p && q->n_token == 0) return missing("prompt", e);
    if (q->raw && (q->system.p || q->template.p))
        return refuse(e, ERR_USAGE, "raw", "does not go with \"system\" or \"template\"");
    return check_texts("images", q->images, e);
}

static int check(const struct gen_request *q, struct err *e) {
    switch (q->op) {
    case GEN_OP_CHAT:
    case GEN_OP_RENDER: return check_talk(q, e);
    case GEN_OP_TEXT: return check_text(q, e);
    case GEN_OP_EMBED:
    case GEN_OP_RERANK: return check_vectors(q, e);
    case GEN_OP_TOKENIZE: return q->text.p ? 0 : missing("text", e);
    case GEN_OP_DETOKENIZE: return q->token ? 0 : missing("tokens", e);
    }
    return 0;
}

static int read_priority(struct gen_request *q, struct err *e) {
    const json_t *v = other(q, "priority");
    const char *text = json_string_value(v);
    if (!v) return 0;
    if (!text) return wrong("priority", v, "text", e);
    q->priority = strcmp(text, "high") == 0 ? 1 : strcmp(text, "low") == 0 ? -1 : 0;
    if (q->priority || strcmp(text, "normal") == 0) return 0;
    return refuse(e, ERR_USAGE, "priority", "found \"%.40s\"; low, normal or high is accepted",
                  text);
}

int gen_request_read(struct gen_request *q, const json_t *j, struct err *e) {
    *q = (struct gen_request){.n = 1};
    run_options_init(&q->options);
    if (!json_is_object(j)) return err_set(e, ERR_USAGE, "request: an object is needed");
    q->json = json_deep_copy(j);
    if (!q->json) return err_nomem(e, "request");
    if (read_op(q, e) != 0) return -1;
    if (read_options(q, e) != 0) return -1; /* before "shift", which has the last word */
    if (read_keys(q, e) != 0 || read_tokens(q, e) != 0 || read_format(q, e) != 0) return -1;
    if (check(q, e) != 0) return -1;
    if (read_strict(q, e) != 0 || read_tool_choice(q, e) != 0 || read_priority(q, e) != 0)
        return -1;
    if (q->top_logprobs > 0) q->logprobs = true;
    return read_think(q, e);
}

void gen_request_forget_talk(struct gen_request *q) {
    if (q->op == GEN_OP_CHAT) json_object_del(q->json, "messages");
    if (q->op == GEN_OP_EMBED) json_object_del(q->json, "input");
    if (q->op == GEN_OP_CHAT || q->op == GEN_OP_RERANK) json_object_del(q->json, "documents");
    q->messages = q->documents = q->input = NULL;
}

void gen_request_fini(struct gen_request *q) {
    run_options_fini(&q->options);
    free(q->token);
    json_decref(q->json);
    *q = (struct gen_request){0};
}
