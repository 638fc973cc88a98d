/* POST /v1/messages and /v1/messages/count_tokens: the fields of a request.
 *
 * What differs from the OpenAI dialect: without "thinking" there is none; a model that cannot think
 * keeps within any budget for it; sampling defaults are those of the model file (as in Ollama). */
#include "server/anthropic.h"

#include <stdlib.h>
#include <string.h>

#include "server/route.h"

static const struct field message_fields[] = {
    {.name = "model", .types = FIELD_TEXT, .required = true},
    {.name = "messages", .types = FIELD_ARRAY, .required = true},
    {.name = "max_tokens", .types = FIELD_INT, .min = 1, .max = 1e9, .required = true},
    {.name = "system", .types = FIELD_TEXT | FIELD_ARRAY},
    {.name = "stream", .types = FIELD_BOOL},
    {.name = "temperature", .types = FIELD_NUMBER, .max = 1},
    {.name = "top_p", .types = FIELD_NUMBER, .max = 1},
    {.name = "top_k", .types = FIELD_INT, .min = 0, .max = 1e9},
    {.name = "stop_sequences", .types = FIELD_ARRAY},
    {.name = "tools", .types = FIELD_ARRAY},
    {.name = "tool_choice", .types = FIELD_OBJECT},
    {.name = "thinking", .types = FIELD_OBJECT},
    {.name = "metadata", .types = FIELD_OBJECT},
    {.name = "output_config", .types = FIELD_OBJECT},
    {.name = "output_format", .types = FIELD_OBJECT},
    {.name = "cache_control", .types = FIELD_OBJECT},
    {.name = "context_management", .types = FIELD_OBJECT},
    {.name = "diagnostics", .types = FIELD_OBJECT}, /* why a cache was missed: of no answer here */
    {.name = "service_tier", .types = FIELD_TEXT, .one_of = "auto standard_only"},
    {.name = "speed", .types = FIELD_TEXT, .one_of = "standard"},
    {.name = "options", .types = FIELD_OBJECT}, /* ours, as are these: */
    {.name = "keep_alive", .types = FIELD_TEXT | FIELD_NUMBER},
    {.name = "num_ctx", .types = FIELD_INT, .min = 4, .max = 1 << 24},
    API_FALLBACK,
    API_CACHE,
    API_PII,
    {.name = "container", .refusal = "this server runs no code"},
    {.name = "mcp_servers", .refusal = "this server calls no other"},
    {0}};

/* The same without max_tokens and what only an answer has. */
static const struct field count_fields[] = {
    {.name = "model", .types = FIELD_TEXT, .required = true},
    {.name = "messages", .types = FIELD_ARRAY, .required = true},
    {.name = "system", .types = FIELD_TEXT | FIELD_ARRAY},
    {.name = "tools", .types = FIELD_ARRAY},
    {.name = "tool_choice", .types = FIELD_OBJECT},
    {.name = "thinking", .types = FIELD_OBJECT},
    {.name = "output_config", .types = FIELD_OBJECT},
    {.name = "output_format", .types = FIELD_OBJECT},
    {.name = "cache_control", .types = FIELD_OBJECT},
    {.name = "context_management", .types = FIELD_OBJECT},
    {.name = "options", .types = FIELD_OBJECT},
    {.name = "keep_alive", .types = FIELD_TEXT | FIELD_NUMBER},
    {.name = "num_ctx", .types = FIELD_INT, .min = 4, .max = 1 << 24},
    {.name = "mcp_servers", .refusal = "this server calls no other"},
    {0}};

static const struct field tool_fields[] = {
    {.name = "type", .types = FIELD_TEXT},
    {.name = "name", .types = FIELD_TEXT, .required = true},
    {.name = "description", .types = FIELD_TEXT},
    {.name = "input_schema", .types = FIELD_OBJECT, .required = true},
    {.name = "strict", .types = FIELD_BOOL},
    {.name = "eager_input_streaming", .types = FIELD_BOOL},
    {.name = "defer_loading", .types = FIELD_BOOL}, /* all tools are told at once */
    {.name = "allowed_callers", .types = FIELD_ARRAY},
    {.name = "cache_control", .types = FIELD_OBJECT},
    {0}};

static const struct field choice_fields[] = {
    {.name = "type", .types = FIELD_TEXT, .one_of = "auto any tool none", .required = true},
    {.name = "name", .types = FIELD_TEXT},
    {.name = "disable_parallel_tool_use", .types = FIELD_BOOL},
    {0}};

static const struct field thinking_fields[] = {
    {.name = "type", .types = FIELD_TEXT, .one_of = "enabled disabled adaptive", .required = true},
    {.name = "budget_tokens", .types = FIELD_INT, .min = 1024, .max = 1e9},
    {.name = "display", .types = FIELD_TEXT, .one_of = "summarized omitted"},
    {0}};

static const struct field output_fields[] = {
    {.name = "effort", .types = FIELD_TEXT, .one_of = "low medium high xhigh max"},
    {.name = "format", .types = FIELD_OBJECT},
    {0}};

static const struct field metadata_fields[] = {{.name = "user_id", .types = FIELD_TEXT}, {0}};

/* ---- tools ---- */

static int read_tool_choice(json_t *choice, json_t *gen, struct fault *f) {
    static const struct {
        const char *type, *gen;
    } word[] = {{"auto", "auto"}, {"any", "required"}, {"none", "none"}};
    if (field_check(choice, "tool_choice.", choice_fields, f) != 0) return -1;
    const char *type = field_text(choice, "type"), *name = field_text(choice, "name");
    if (!json_object_get(gen, "tools"))
        return fault_set(f, ERR_USAGE, "tool_choice", "found without tools");
    if (field_true(choice, "disable_parallel_tool_use"))
        json_object_set_new(gen, "parallel_tool_calls", json_false());
    for (size_t i = 0; i < 3; i++)
        if (strcmp(type, word[i].type) == 0)
            json_object_set_new(gen, "tool_choice", json_string(word[i].gen));
    if (strcmp(type, "tool") != 0) return 0;
    if (!name) return fault_set(f, ERR_USAGE, "tool_choice.name", "is required");
    json_object_set_new(gen, "tool_choice", json_pack("{s:s}", "name", name));
    return 0;
}

static int read_tools(json_t *tools, json_t *gen, struct fault *f) {
    char where[FIELD_PATH], param[FIELD_PATH];
    json_t *list = json_array();
    if (json_array_size(tools) == 0) {
        json_decref(list);
        return 0;
    }
    json_object_set_new(gen, "tools", list);
    for (size_t i = 0; i < json_array_size(tools); i++) {
        json_t *tool = json_array_get(tools, i);
        const char *type = field_text(tool, "type");
        field_path(where, "tools[%zu].", i);
        field_path(param, "tools[%zu]%s", i, type ? ".type" : "");
        if (!json_is_object(tool))
            return fault_set(f, ERR_USAGE, param, "found %s; an object is accepted",
                             field_kind(tool));
        if (type && strcmp(type, "custom") != 0)
            return fault_set(f, ERR_UNSUPPORTED, param,
                             "found \"%.40s\"; \"custom\" is what this server can call", type);
        if (field_check(tool, where, tool_fields, f) != 0 ||
            openai_add_tool(list, where, field_text(tool, "name"), field_text(tool, "description"),
                            json_object_get(tool, "input_schema"), field_true(tool, "strict"),
                            f) != 0)
            return -1;
    }
    return 0;
}

/* ---- thinking, output ---- */

/* A model with levels thinks as much as the budget has room for. */
static const char *level_of(json_int_t budget) {
    return budget < 4096 ? "low" : budget < 16384 ? "medium" : "high";
}

static int read_thinking(const json_t *body, json_t *gen, struct fault *f) {
    json_t *t = json_object_get(body, "thinking"), *out = json_object_get(body, "output_config"),
           *budget, *max = json_object_get(body, "max_tokens");
    if (t && field_check(t, "thinking.", thinking_fields, f) != 0) return -1;
    if (out && field_check(out, "output_config.", output_fields, f) != 0) return -1;
    const char *type = t ? field_text(t, "type") : "disabled", *effort = field_text(out, "effort");
    const bool enabled = strcmp(type, "enabled") == 0;
    budget = json_object_get(t, "budget_tokens");
    if (enabled && !budget) return fault_set(f, ERR_USAGE, "thinking.budget_tokens", "is required");
    if (budget && max && field_integer(budget) >= field_integer(max))
        return fault_set(f, ERR_USAGE, "thinking.budget_tokens",
                         "found %lld; less than max_tokens is accepted",
                         (long long)field_integer(budget));
    if (strcmp(type, "disabled") == 0)
        json_object_set_new(gen, "think", json_false());
    else if (effort)
        return openai_effort(effort, "output_config.effort", gen, f);
    else
        json_object_set_new(gen, "think",
                            budget ? json_string(level_of(field_integer(budget))) : json_true());
    return 0;
}

static int read_format(const json_t *body, json_t *gen, struct fault *f) {
    json_t *format = json_object_get(json_object_get(body, "output_config"), "format");
    if (format) return openai_format(format, "output_config.format", true, gen, f);
    format = json_object_get(body, "output_format");
    return format ? openai_format(format, "output_format", true, gen, f) : 0;
}

/* Edits of the context that may be made: none is, and the answer's "applied_edits" says so. */
static int read_edits(const json_t *body, struct fault *f) {
    const json_t *edits = json_object_get(json_object_get(body, "context_management"), "edits");
    for (size_t i = 0; i < json_array_size(edits); i++) {
        const json_t *edit = json_array_get(edits, i);
        const char *type = field_text(edit, "type");
        if (type && field_among(type, "clear_thinking_20251015 clear_tool_uses_20250919")) continue;
        return fault_set(f, ERR_UNSUPPORTED, "context_management.edits",
                         "found \"%.60s\"; accepted (though the context stays as it is sent): "
                         "clear_thinking_20251015, clear_tool_uses_20250919",
                         type ? type : "");
    }
    return 0;
}

/* ---- the request ---- */

static int read_options(const struct request *r, const json_t *body, json_t *gen, struct fault *f) {
    static const char *const same[] = {"temperature", "top_p", "top_k", "num_ctx"};
    const json_t *theirs = json_object_get(body, "options"), *stops, *user;
    json_t *options = theirs ? json_deep_copy(theirs) : json_object(), *v,
           *metadata = json_object_get(body, "metadata");
    if (json_object_set_new(gen, "options", options) != 0) return fault_nomem(f);
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if ((v = json_object_get(body, same[i]))) json_object_set(options, same[i], v);
    if ((v = json_object_get(body, "max_tokens")))
        json_object_set_new(options, "num_predict", json_integer(field_integer(v)));
    stops = json_object_get(body, "stop_sequences");
    for (size_t i = 0; i < json_array_size(stops); i++)
        if (json_string_length(json_array_get(stops, i)) == 0)
            return fault_set(f, ERR_USAGE, "stop_sequences",
                             "texts of at least one character are accepted");
    if (json_array_size(stops)) json_object_set_new(options, "stop", json_deep_copy(stops));
    if (!json_object_get(options, "shift")) json_object_set_new(options, "shift", json_false());
    json_object_set_new(gen, "truncate", json_false());
    if (metadata && field_check(metadata, "metadata.", metadata_fields, f) != 0) return -1;
    user = json_object_get(metadata, "user_id");
    v = request_turn(r, json_string_value(user));
    return json_object_set_new(gen, "user", v) == 0 ? 0 : fault_nomem(f);
}

/* Any date: clients send that of their own making. */
static int check_version(const struct request *r, struct fault *f) {
    const struct str *v = http_head_get(request_head(r), "anthropic-version");
    bool good = !v || v->n == 10;
    for (size_t i = 0; v && good && i < v->n; i++)
        good = i == 4 || i == 7 ? v->p[i] == '-' : v->p[i] >= '0' && v->p[i] <= '9';
    if (good) return 0;
    return fault_set(f, ERR_USAGE, "anthropic-version",
                     "found \"%.*s\"; a date is accepted, as 2023-06-01",
                     (int)(v->n < 40 ? v->n : 40), v->p);
}

static int read_request(const struct request *r, json_t *body, json_t *gen, struct fault *f) {
    json_t *choice;
    if (check_version(r, f) != 0 ||
        anthropic_messages(json_object_get(body, "system"), json_object_get(body, "messages"), gen,
                           f) != 0 ||
        read_tools(json_object_get(body, "tools"), gen, f) != 0)
        return -1;
    choice = json_object_get(body, "tool_choice");
    if (choice && read_tool_choice(choice, gen, f) != 0) return -1;
    if (read_thinking(body, gen, f) != 0 || read_format(body, gen, f) != 0 ||
        read_edits(body, f) != 0)
        return -1;
    openai_continue(gen);
    return read_options(r, body, gen, f);
}

/* Any budget is kept by a model that does not think. */
static int ready(void *ctx, const struct ask_model *k, json_t *gen, struct err *e) {
    const struct message *m = ctx;
    if (m->think && k->info->thinking) json_object_set(gen, "think", m->think);
    return openai_ready(ctx, k, gen, e);
}

static void start(struct request *r, const char *op, gen_event_fn *fn) {
    struct fault f;
    json_t *body = api_body(r, &f);
    if (!body) return;
    struct message *m = calloc(1, sizeof *m);
    json_t *gen = json_pack("{s:s}", "op", op);
    if (!m || !gen || gather_init(&m->g, 1, true) != 0) {
        fault_nomem(&f);
    } else if (read_request(r, body, gen, &f) == 0) {
        m->r = r;
        m->stream = field_true(body, "stream");
        m->edits = json_object_get(body, "context_management") != NULL;
        m->stops = json_object_get(body, "stop_sequences");
        m->model = strdup(field_text(body, "model"));
        m->think = openai_take(gen, "think");
        const char *display = field_text(json_object_get(body, "thinking"), "display");
        m->omit = display && strcmp(display, "omitted") == 0;
        openai_id("msg_", m->id);
        if (!m->model) fault_nomem(&f);
    }
    if (f.err.code != ERR_NONE) {
        if (m) anthropic_free(m);
        json_decref(gen);
        reply_err(r, &f.err);
        return;
    }
    m->g.keep = !m->stream;
    const struct ask a = {.model = m->model,
                          .gen = gen,
                          .keep_alive = json_object_get(body, "keep_alive"),
                          .whole = !m->stream,
                          .ready = ready,
                          .later = m->think,
                          .fn = fn,
                          .ctx = m};
    if (ask_start(r, &a) != 0) anthropic_free(m);
}

static void messages(struct request *r) {
    start(r, "chat", anthropic_on_event);
}

static void on_count(void *ctx, const struct gen_event *ev) {
    struct message *m = ctx;
    if (ev->kind == GEN_RESULT)
        m->n_block = (int)json_integer_value(json_object_get(ev->data, "n_tokens"));
    if (ev->kind != GEN_END) return;
    if (ev->err.code != ERR_NONE)
        anthropic_fail(m->r, &ev->err);
    else
        reply_json(m->r, 200, json_pack("{s:i}", "input_tokens", m->n_block));
    anthropic_free(m);
}

static void count_tokens(struct request *r) {
    start(r, "render", on_count);
}

const struct route routes_anthropic[] = {
    {HTTP_POST, "/v1/messages", RIGHT_USE, DIALECT_ANTHROPIC, BODY_MAX, messages, NULL,
     message_fields},
    {HTTP_POST, "/v1/messages/count_tokens", RIGHT_USE, DIALECT_ANTHROPIC, BODY_MAX, count_tokens,
     NULL, count_fields},
    {.path = NULL},
};
