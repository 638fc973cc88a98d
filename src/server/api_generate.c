/* /api/generate and /api/chat: from the client's fields to what gen.h takes (COMPAT.md 2.3, 2.4).
 *
 *   fields -> checks -> gen request -> ask_start -> ready(): what the model brings (system message,
 *   history) and whether it can do what is asked -> events: api_answer.c */
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/os.h"
#include "server/models.h"
#include "server/native.h"

#define COMMON_FIELDS                                                                              \
    API_MODEL, {.name = "stream", .types = FIELD_BOOL},                                            \
        {.name = "format", .types = FIELD_TEXT | FIELD_OBJECT, .apart = true}, API_KEEP_ALIVE,     \
        API_OPTIONS, API_FALLBACK, API_CACHE, API_PII,                                             \
        {.name = "think", .types = FIELD_BOOL | FIELD_TEXT, .apart = true},                        \
        {.name = "truncate", .types = FIELD_BOOL}, {.name = "shift", .types = FIELD_BOOL},         \
        {.name = "logprobs", .types = FIELD_BOOL}, {                                               \
        .name = "top_logprobs", .types = FIELD_INT, .max = 20                                      \
    }

const struct field native_generate_fields[] = {COMMON_FIELDS,
                                               {.name = "prompt", .types = FIELD_TEXT},
                                               {.name = "suffix", .types = FIELD_TEXT},
                                               {.name = "system", .types = FIELD_TEXT},
                                               {.name = "template", .types = FIELD_TEXT},
                                               {.name = "context", .types = FIELD_ARRAY},
                                               {.name = "raw", .types = FIELD_BOOL},
                                               {.name = "images", .types = FIELD_ARRAY},
                                               {0}};

const struct field native_chat_fields[] = {
    COMMON_FIELDS,
    {.name = "messages", .types = FIELD_ARRAY},
    {.name = "tools", .types = FIELD_ARRAY},
    {.name = "tool_choice",
     .types = FIELD_TEXT | FIELD_OBJECT,
     .apart = true}, /* not in Ollama's API; where clients send it, it is meant */
    {.name = "parallel_tool_calls", .types = FIELD_BOOL},
    {0}};

/* ---- fields that both have ---- */

static int take_format(const json_t *body, json_t *gen, struct err *e) {
    json_t *v = field_get(body, "format");
    if (!v) return 0;
    if (json_is_string(v) && json_string_length(v) == 0) return 0; /* none */
    if (!json_is_object(v) && !(json_is_string(v) && strcmp(json_string_value(v), "json") == 0)) {
        char *text = json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY);
        err_set(e, ERR_USAGE,
                "invalid format: %.100s; expected \"json\" or a valid JSON Schema object",
                text ? text : "");
        free(text);
        return -1;
    }
    json_object_set(gen, "format", v);
    return 0;
}

static int take_think(const json_t *body, json_t *gen, struct err *e) {
    static const char *const level[] = {"low", "medium", "high", "max"};
    json_t *v = field_get(body, "think");
    bool known = !v || json_is_boolean(v);
    for (size_t i = 0; json_is_string(v) && i < sizeof level / sizeof *level; i++)
        known = known || strcmp(json_string_value(v), level[i]) == 0;
    if (!known)
        return err_set(
            e, ERR_USAGE,
            "invalid think value: %.40s (must be \"high\", \"medium\", \"low\", \"max\", "
            "true, or false)",
            json_is_string(v) ? json_string_value(v) : "of another type");
    if (v) json_object_set(gen, "think", v);
    return 0;
}

/* Alternatives come with the tokens that they are alternatives to. */
static void take_logprobs(const json_t *body, json_t *gen) {
    const json_int_t top = field_int(body, "top_logprobs", 0);
    if (field_bool(body, "logprobs", false) || top > 0)
        json_object_set_new(gen, "logprobs", json_true());
    if (top > 0) json_object_set_new(gen, "top_logprobs", json_integer(top));
}

static int take_common(const struct native *n, json_t *gen, struct err *e) {
    int64_t unused;
    field_copy(gen, n->body, "options");
    field_copy(gen, n->body, "truncate");
    field_copy(gen, n->body, "shift");
    json_object_set_new(gen, "user", json_string(request_user(n->r)));
    take_logprobs(n->body, gen);
    if (take_format(n->body, gen, e) != 0 || take_think(n->body, gen, e) != 0) return -1;
    return models_keep_alive(json_object_get(n->body, "keep_alive"), 0, &unused, e);
}

/* ---- generate ---- */

static bool filled(const json_t *body, const char *name) {
    const char *text = field_text(body, name);
    return text && *text;
}

static int check_ids(const json_t *list, struct err *e) {
    for (size_t i = 0; i < json_array_size(list); i++)
        if (!json_is_integer(json_array_get(list, i)))
            return err_set(e, ERR_USAGE, "\"context\" must be an array of integers");
    return 0;
}

static int take_generate(struct native *n, json_t *gen, struct err *e) {
    static const char *const text[] = {"prompt", "suffix", "system", "template"};
    const json_t *context = field_get(n->body, "context"), *images = field_get(n->body, "images");
    const bool raw = field_bool(n->body, "raw", false);
    if (raw &&
        (filled(n->body, "template") || filled(n->body, "system") || json_array_size(context)))
        return err_set(e, ERR_USAGE, "raw mode does not support template, system, or context");
    if (check_ids(context, e) != 0) return -1;
    n->load_only = !filled(n->body, "prompt") && !filled(n->body, "suffix");
    json_object_set_new(gen, "op", json_string("text"));
    json_object_set_new(gen, "prompt", json_string(""));
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        if (filled(n->body, text[i])) field_copy(gen, n->body, text[i]);
    if (raw) json_object_set_new(gen, "raw", json_true());
    if (json_array_size(context)) json_object_set(gen, "tokens", field_share(context));
    if (json_array_size(images)) json_object_set(gen, "images", field_share(images));
    if (!raw) n->context = json_array();
    return 0;
}

/* ---- chat ---- */

static int bad_message(size_t i, const char *what, struct err *e) {
    return err_set(e, ERR_USAGE, "messages[%zu]: %s", i, what);
}

/* Only what gen.h has: Ollama's clients send the index of a call back, too. */
static int take_calls(const json_t *calls, size_t i, json_t *to, struct err *e) {
    json_t *list = json_array(), *call;
    size_t k;
    json_object_set_new(to, "tool_calls", list);
    json_array_foreach(calls, k, call) {
        const json_t *f = json_object_get(call, "function");
        json_t *fn = json_object(), *one = json_object();
        field_copy(fn, f, "name");
        field_copy(fn, f, "arguments");
        field_copy(one, call, "id");
        json_object_set_new(one, "function", fn);
        json_array_append_new(list, one);
        if (!json_is_string(json_object_get(fn, "name")))
            return bad_message(i, "a tool call without \"function\": {\"name\", \"arguments\"}", e);
        if (!json_object_get(fn, "arguments")) json_object_set_new(fn, "arguments", json_object());
        if (!json_is_object(json_object_get(fn, "arguments")))
            return bad_message(i, "\"arguments\" of a tool call must be of type object", e);
    }
    return 0;
}

static const struct field message_fields[] = {
    {.name = "role", .types = FIELD_TEXT},         {.name = "content", .types = FIELD_TEXT},
    {.name = "thinking", .types = FIELD_TEXT},     {.name = "images", .types = FIELD_ARRAY},
    {.name = "tool_calls", .types = FIELD_ARRAY},  {.name = "tool_name", .types = FIELD_TEXT},
    {.name = "tool_call_id", .types = FIELD_TEXT}, {0}};

static int take_message(json_t *from, size_t i, json_t *list, struct fault *f) {
    struct err *e = &f->err;
    static const char *const text[] = {"content", "thinking", "tool_name", "tool_call_id"};
    const json_t *images = field_get(from, "images"), *calls = field_get(from, "tool_calls");
    char where[40], role[24];
    snprintf(where, sizeof where, "messages[%zu].", i);
    if (!json_is_object(from)) return bad_message(i, "must be of type object", e);
    if (field_check(from, where, message_fields, f) != 0) return -1;
    const char *given = field_text(from, "role");
    if (!given || strlen(given) >= sizeof role)
        return bad_message(i, "\"role\" must be one of system, user, assistant, tool", e);
    for (size_t k = 0; k <= strlen(given); k++)
        role[k] = given[k] >= 'A' && given[k] <= 'Z' ? (char)(given[k] - 'A' + 'a') : given[k];
    json_t *to = json_object();
    json_array_append_new(list, to);
    json_object_set_new(to, "role", json_string(role));
    for (size_t k = 0; k < sizeof text / sizeof *text; k++)
        field_copy(to, from, text[k]);
    if (json_array_size(images)) json_object_set(to, "images", field_share(images));
    return json_array_size(calls) ? take_calls(calls, i, to, e) : 0;
}

/* "auto", "none", "required", or the OpenAI form that names a function. */
static int take_tool_choice(const json_t *body, json_t *gen, struct err *e) {
    json_t *v = field_get(body, "tool_choice");
    if (!v) return 0;
    const json_t *f = json_object_get(v, "function");
    const char *name = json_string_value(json_object_get(f ? f : v, "name"));
    if (json_is_string(v))
        json_object_set(gen, "tool_choice", v);
    else if (name)
        json_object_set_new(gen, "tool_choice", json_pack("{s:s}", "name", name));
    else
        return err_set(e, ERR_USAGE,
                       "\"tool_choice\" must be \"auto\", \"none\", \"required\" or {\"function\": "
                       "{\"name\"}}");
    return 0;
}

static int take_chat(struct native *n, json_t *gen, struct err *e) {
    struct fault f = {.dialect = DIALECT_OLLAMA};
    const json_t *messages = field_get(n->body, "messages"), *tools = field_get(n->body, "tools");
    json_t *list = json_array(), *m;
    size_t i;
    json_object_set_new(gen, "op", json_string("chat"));
    json_object_set_new(gen, "messages", list);
    json_array_foreach(messages, i, m) {
        if (take_message(m, i, list, &f) == 0) continue;
        *e = f.err;
        return -1;
    }
    api_tell_ignored(n->r, &f);
    n->load_only = json_array_size(list) == 0;
    if (json_array_size(tools)) json_object_set(gen, "tools", field_share(tools));
    field_copy(gen, n->body, "parallel_tool_calls");
    return take_tool_choice(n->body, gen, e);
}

/* ---- what the model brings ---- */

static bool has_images(const json_t *gen) {
    const json_t *messages = json_object_get(gen, "messages");
    for (size_t i = 0; i < json_array_size(messages); i++)
        if (json_object_get(json_array_get(messages, i), "images")) return true;
    return json_object_get(gen, "images") != NULL;
}

/* What the model cannot do is said in Ollama's words. */
static int check_abilities(const struct native *n, const struct ask_model *m, const json_t *gen,
                           struct err *e) {
    const struct gen_info *info = m->info;
    const json_t *think = json_object_get(gen, "think");
    const char *lacks = NULL;
    if (info->embedding)
        lacks = n->chat ? "chat" : "generate";
    else if (json_object_get(gen, "tools") && !info->tools)
        lacks = "tools";
    else if (think && !json_is_false(think) && !info->thinking)
        lacks = "thinking";
    else if (json_object_get(gen, "suffix") && !json_object_get(gen, "template") && !info->insert)
        lacks = "insert";
    else if (has_images(gen) && !info->vision)
        lacks = "vision: it reads no images";
    return lacks ? err_set(e, ERR_USAGE, "\"%s\" does not support %s", m->asked, lacks) : 0;
}

static json_t *message(const char *role, const char *text) {
    return json_pack("{s:s, s:s}", "role", role, "content", text);
}

/* A prompt behind the model's own history is a chat. */
static void with_history(json_t *gen, const struct ask_model *m) {
    json_t *list = json_array(), *user = json_object();
    const char *system = field_text(gen, "system");
    if (system) json_array_append_new(list, message("system", system));
    json_array_extend(list, field_share(m->messages));
    json_object_set_new(user, "role", json_string("user"));
    json_object_set(user, "content", json_object_get(gen, "prompt"));
    field_copy(user, gen, "images");
    json_array_append_new(list, user);
    json_object_set_new(gen, "op", json_string("chat"));
    json_object_set_new(gen, "messages", list);
    json_object_del(gen, "prompt");
    json_object_del(gen, "system");
    json_object_del(gen, "images");
}

static int generate_ready(const struct ask_model *m, json_t *gen) {
    if (json_object_get(gen, "raw")) return 0;
    if (m->system && !json_object_get(gen, "system"))
        json_object_set_new(gen, "system", json_string(m->system));
    if (json_array_size(m->messages) && !json_object_get(gen, "tokens") &&
        !json_object_get(gen, "suffix"))
        with_history(gen, m);
    return 0;
}

/* The model's history goes first; its system message only if the client's begins without one. */
static int chat_ready(const struct ask_model *m, json_t *gen) {
    json_t *own = json_object_get(gen, "messages"), *list = json_array();
    const char *first = json_string_value(json_object_get(json_array_get(own, 0), "role"));
    if (m->system && first && strcmp(first, "system") != 0)
        json_array_append_new(list, message("system", m->system));
    if (m->messages) json_array_extend(list, field_share(m->messages));
    json_array_extend(list, own);
    return json_object_set_new(gen, "messages", list);
}

static int ready(void *ctx, const struct ask_model *m, json_t *gen, struct err *e) {
    const struct native *n = ctx;
    if (check_abilities(n, m, gen, e) != 0) return -1;
    const int rc = n->chat ? chat_ready(m, gen) : generate_ready(m, gen);
    return rc == 0 ? 0 : err_nomem(e, "request");
}

/* ---- start ---- */

static void start(struct native *n) {
    struct err e = {0};
    int64_t keep_ns = 1;
    const json_t *keep = field_get(n->body, "keep_alive");
    json_t *gen = json_object();
    int rc = n->chat ? take_chat(n, gen, &e) : take_generate(n, gen, &e);
    if (rc == 0) rc = take_common(n, gen, &e);
    if (rc != 0) {
        reply_err(n->r, &e);
        json_decref(gen);
        native_free(n);
        return;
    }
    if (keep) models_keep_alive(keep, 0, &keep_ns, NULL);
    n->load_reason = keep_ns == 0 ? "unload" : "load";
    const struct ask a = {.model = n->model,
                          .gen = gen,
                          .keep_alive = keep,
                          .load_only = n->load_only,
                          .whole = !n->stream,
                          .ready = ready,
                          .fn = native_on_event,
                          .ctx = n};
    if (ask_start(n->r, &a) != 0) native_free(n);
}

static void begin(struct request *r, bool chat) {
    const char *model;
    const json_t *body = api_read(r, &model, NULL);
    if (!body) return;
    struct native *n = calloc(1, sizeof *n);
    if (!n) {
        reply_error(r, 500, "out of memory");
        return;
    }
    *n = (struct native){.r = r,
                         .body = body,
                         .model = model,
                         .chat = chat,
                         .stream = field_bool(body, "stream", true),
                         .start_ns = os_now_ns()};
    start(n);
}

void native_generate(struct request *r) {
    begin(r, false);
}

void native_chat(struct request *r) {
    begin(r, true);
}
