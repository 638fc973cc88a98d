/* POST /v1/responses, GET and DELETE /v1/responses/:id.
 *
 * A request's conversation is the kept one of previous_response_id, if any, and its input.  The
 * instructions of the one before are not carried over, as in OpenAI's API. */
#include "server/responses.h"

#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "server/front_priv.h"
#include "server/route.h"

enum { MAX_REFERRED = 16 }; /* kept conversations that a request's references are looked for in */

static const struct field response_fields[] = {
    {.name = "model", .types = FIELD_TEXT, .required = true},
    {.name = "input", .types = FIELD_TEXT | FIELD_ARRAY, .required = true},
    {.name = "instructions", .types = FIELD_TEXT},
    {.name = "previous_response_id", .types = FIELD_TEXT},
    {.name = "stream", .types = FIELD_BOOL},
    {.name = "stream_options", .types = FIELD_OBJECT},
    {.name = "temperature", .types = FIELD_NUMBER, .max = 2},
    {.name = "top_p", .types = FIELD_NUMBER, .max = 1},
    {.name = "max_output_tokens", .types = FIELD_INT, .min = 1, .max = 1e9},
    {.name = "max_tool_calls", .types = FIELD_INT, .min = 1, .max = 1e9}, /* of built-in tools */
    {.name = "top_logprobs", .types = FIELD_INT, .min = 0, .max = 20},
    {.name = "include", .types = FIELD_ARRAY},
    {.name = "tools", .types = FIELD_ARRAY},
    {.name = "tool_choice", .types = FIELD_TEXT | FIELD_OBJECT},
    {.name = "parallel_tool_calls", .types = FIELD_BOOL},
    {.name = "text", .types = FIELD_OBJECT},
    {.name = "reasoning", .types = FIELD_OBJECT},
    {.name = "truncation", .types = FIELD_TEXT, .one_of = "auto disabled"},
    {.name = "background", .types = FIELD_BOOL},
    {.name = "conversation", .refusal = "not supported; use previous_response_id"},
    {.name = "prompt", .refusal = "this server keeps no prompts"},
    {.name = "client_metadata", .types = FIELD_OBJECT}, /* of Codex: as metadata, but not told */
    OPENAI_ACCOUNT_FIELDS,
    OPENAI_EXTENSION_FIELDS,
    {.name = "seed", .types = FIELD_INT}, /* ours, as are these: */
    {.name = "stop", .types = FIELD_TEXT | FIELD_ARRAY},
    {.name = "chat_template_kwargs", .types = FIELD_OBJECT},
    {0}};

static const struct field text_fields[] = {
    {.name = "format", .types = FIELD_OBJECT},
    {.name = "verbosity", .types = FIELD_TEXT, .one_of = "medium"},
    {0}};

/* Whatever summary is asked for is the whole of the thinking. */
static const struct field reasoning_fields[] = {
    {.name = "effort", .types = FIELD_TEXT},
    {.name = "summary", .types = FIELD_TEXT, .one_of = "auto concise detailed"},
    {.name = "generate_summary", .types = FIELD_TEXT, .one_of = "auto concise detailed"},
    {0}};

static const struct field stream_fields[] = {{.name = "include_obfuscation", .types = FIELD_BOOL},
                                             {0}};

/* ---- the shared database ---- */

static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;
static struct responses_db *shared; /* shared_lock */

struct responses_db *responses_shared(struct server *s, struct err *e) {
    pthread_mutex_lock(&s->lock);
    const struct settings t = s->settings;
    pthread_mutex_unlock(&s->lock);
    pthread_mutex_lock(&shared_lock);
    if (!shared)
        shared =
            responses_open(&(struct responses_opts){.folder = t.responses,
                                                    .max_rows = t.responses_count,
                                                    .max_bytes = t.responses_bytes,
                                                    .max_age_s = t.responses_age_ns / 1000000000},
                           e);
    struct responses_db *d = shared;
    pthread_mutex_unlock(&shared_lock);
    return d;
}

void responses_shared_close(void) {
    pthread_mutex_lock(&shared_lock);
    responses_close(shared);
    shared = NULL;
    pthread_mutex_unlock(&shared_lock);
}

/* Whose a response is: the key's.  Without keys all are one's own; ids cannot be guessed. */
static const char *owner_of(const struct request *r) {
    return request_key(r);
}

/* ---- the request ---- */

/* Searches of the web that OpenAI would make.  Codex lists one in each request, asked for or not:
 * the model is not told of it, the response's "tools" lacks it, and a header says so. */
static void leave_out_searches(json_t *body, struct request *r) {
    json_t *tools = json_object_get(body, "tools");
    bool found = false;
    for (size_t i = json_array_size(tools); i-- > 0;) {
        const char *type = field_text(json_array_get(tools, i), "type");
        if (!type || strncmp(type, "web_search", 10) != 0) continue;
        json_array_remove(tools, i);
        found = true;
    }
    if (found) reply_header(r, "X-Cria-Left-Out: web_search\r\n");
}

/* Parts of calls that only OpenAI makes: there are none here, so nothing of them is missing. */
static const char never_there[] =
    "web_search_call.action.sources web_search_call.results file_search_call.results "
    "code_interpreter_call.outputs computer_call_output.output.image_url "
    "message.input_image.image_url";

static int read_include(const json_t *body, struct response *x, json_t *gen, struct fault *f) {
    const json_t *list = json_object_get(body, "include"),
                 *top = json_object_get(body, "top_logprobs");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (s && strcmp(s, "reasoning.encrypted_content") == 0)
            x->encrypted = true;
        else if (s && strcmp(s, "message.output_text.logprobs") == 0)
            x->logprobs = true;
        else if (!s || !field_among(s, never_there))
            return fault_set(f, ERR_UNSUPPORTED, "include",
                             "found \"%.60s\"; accepted: reasoning.encrypted_content, "
                             "message.output_text.logprobs",
                             s ? s : "");
    }
    if (top && !x->logprobs)
        return fault_set(f, ERR_USAGE, "top_logprobs",
                         "needs \"include\": [\"message.output_text.logprobs\"]");
    if (x->logprobs) json_object_set_new(gen, "logprobs", json_true());
    if (top) json_object_set_new(gen, "top_logprobs", json_integer(field_integer(top)));
    return 0;
}

static int read_parts(const json_t *body, json_t *gen, struct fault *f) {
    json_t *text = json_object_get(body, "text"), *reasoning = json_object_get(body, "reasoning"),
           *stream = json_object_get(body, "stream_options");
    if (text && field_check(text, "text.", text_fields, f) != 0) return -1;
    if (reasoning && field_check(reasoning, "reasoning.", reasoning_fields, f) != 0) return -1;
    if (stream && field_check(stream, "stream_options.", stream_fields, f) != 0) return -1;
    if (field_true(body, "background"))
        return fault_set(f, ERR_UNSUPPORTED, "background", "not supported; use \"stream\"");
    json_t *format = json_object_get(text, "format");
    if (format && openai_format(format, "text.format", true, gen, f) != 0) return -1;
    if (openai_effort(field_text(reasoning, "effort"), "reasoning.effort", gen, f) != 0) return -1;
    return openai_template_vars(json_object_get(body, "chat_template_kwargs"), gen) == 0
               ? 0
               : fault_nomem(f);
}

/* The kept conversation of previous_response_id, or an empty one. */
static json_t *before(const char *id, const struct response *x, struct fault *f) {
    json_t *items = NULL;
    if (!id) return json_array();
    struct responses_db *d = responses_shared(request_server(x->r), &f->err);
    if (d && responses_read(d, id, x->owner, NULL, &items, &f->err) == 0) return items;
    if (f->err.code == ERR_NOT_FOUND) {
        f->err.code = ERR_USAGE; /* the route is there: 400, as OpenAI has it */
        err_prefix(&f->err, "previous_response_id");
    }
    err_field(&f->err, "previous_response_id");
    return NULL;
}

/* The item with this id in a conversation, from its end; NULL: none. */
static json_t *find_item(const json_t *items, const char *id) {
    for (size_t i = json_array_size(items); i-- > 0;) {
        json_t *item = json_array_get(items, i);
        const char *have = field_text(item, "id");
        if (have && strcmp(have, id) == 0) return item;
    }
    return NULL;
}

/* {"type": "item_reference", "id"}: the item of a kept response takes its place.  One kept
 * conversation mostly has all that a client refers to. */
static int put_items(json_t *input, const struct response *x, struct fault *f) {
    json_t *kept = NULL;
    int n_read = 0, rc = 0;
    for (size_t i = 0; rc == 0 && i < json_array_size(input); i++) {
        const json_t *at = json_array_get(input, i);
        const char *type = field_text(at, "type"), *id = field_text(at, "id");
        if (!type || strcmp(type, "item_reference") != 0 || !id) continue;
        json_t *item = find_item(kept, id);
        if (!item && n_read++ < MAX_REFERRED) {
            struct responses_db *d = responses_shared(request_server(x->r), &f->err);
            json_decref(kept);
            kept = NULL;
            if (d && responses_read_item(d, id, x->owner, &kept, &f->err) == 0)
                item = find_item(kept, id);
        }
        char param[FIELD_PATH];
        field_path(param, "input[%zu].id", i);
        rc = item ? json_array_set(input, i, item)
                  : fault_set(f, ERR_USAGE, param, "Item with id '%.100s' not found.", id);
    }
    json_decref(kept);
    return rc;
}

static int read_input(const json_t *body, struct response *x, json_t *gen, struct fault *f) {
    json_t *input = json_object_get(body, "input"), *list = json_array();
    const char *instructions = field_text(body, "instructions");
    if (json_object_set_new(gen, "messages", list) != 0) return fault_nomem(f);
    if (instructions)
        json_array_append_new(list,
                              json_pack("{s:s, s:s}", "role", "system", "content", instructions));
    json_t *items = before(field_text(body, "previous_response_id"), x, f);
    if (!items || responses_messages(items, gen, f) != 0) {
        json_decref(items);
        return -1;
    }
    json_t *more = json_is_string(input) ? json_pack("[{s:s, s:s, s:O}]", "type", "message", "role",
                                                     "user", "content", input)
                                         : json_incref(input);
    int rc = more ? put_items(more, x, f) : fault_nomem(f);
    if (rc == 0) rc = responses_messages(more, gen, f);
    if (rc == 0 && json_array_extend(items, more) != 0) rc = fault_nomem(f);
    json_decref(more);
    if (rc == 0 && json_array_size(items) == 0)
        rc = fault_set(f, ERR_USAGE, "input", "at least one item is required");
    if (rc == 0 && !(x->keeps = json_pack("{s:o}", "items", responses_kept(items))))
        rc = fault_nomem(f);
    json_decref(items);
    return rc;
}

/* What a response says of its request: the field or its default. */
static const struct {
    const char *name, *usual; /* JSON */
} echoed[] = {
    {"instructions", "null"},
    {"max_output_tokens", "null"},
    {"metadata", "{}"},
    {"parallel_tool_calls", "true"},
    {"previous_response_id", "null"},
    {"reasoning", "{\"effort\":null,\"summary\":null}"},
    {"temperature", "1.0"},
    {"text", "{\"format\":{\"type\":\"text\"}}"},
    {"tool_choice", "\"auto\""},
    {"tools", "[]"},
    {"top_p", "1.0"},
    {"top_logprobs", "0"},
    {"truncation", "\"disabled\""},
    {"user", "null"},
    {"service_tier", "\"default\""},
};

static json_t *echo(const json_t *body, const struct response *x) {
    json_t *j =
        json_pack("{s:s, s:s, s:I, s:s, s:b, s:n, s:n, s:O, s:[], s:n, s:b}", "id", x->id, "object",
                  "response", "created_at", (json_int_t)time(NULL), "status", "in_progress",
                  "background", 0, "error", "incomplete_details", "model",
                  json_object_get(body, "model"), "output", "usage", "store", (int)x->store);
    for (size_t i = 0; j && i < sizeof echoed / sizeof *echoed; i++) {
        json_t *v = json_object_get(body, echoed[i].name);
        if (v)
            json_object_set(j, echoed[i].name, v);
        else
            json_object_set_new(j, echoed[i].name,
                                json_loads(echoed[i].usual, JSON_DECODE_ANY, NULL));
    }
    if (j) json_object_set_new(j, "service_tier", json_string("default"));
    return j;
}

/* The client's own words in it, for what is kept. */
static int keep_echo(const json_t *body, struct response *x) {
    json_t *said = json_object();
    int rc = json_object_set_new(x->keeps, "response", said);
    for (size_t i = 0; rc == 0 && i < sizeof echoed / sizeof *echoed; i++) {
        json_t *v = json_object_get(body, echoed[i].name);
        if (v && json_object_get(x->body, echoed[i].name) == v)
            rc = json_object_set(said, echoed[i].name, v);
    }
    return rc;
}

static int read_request(json_t *body, struct response *x, json_t *gen, struct fault *f) {
    leave_out_searches(body, x->r);
    const char *truncation = field_text(body, "truncation");
    const json_t *store = json_object_get(body, "store");
    x->stream = field_true(body, "stream");
    x->store = !json_is_false(store); /* OpenAI's default: kept */
    if (read_input(body, x, gen, f) != 0 || read_include(body, x, gen, f) != 0 ||
        openai_options(x->r, body, "max_output_tokens", gen, f) != 0 ||
        openai_tools(body, true, gen, f) != 0 || read_parts(body, gen, f) != 0)
        return -1;
    if (truncation)
        json_object_set_new(gen, "truncate", json_boolean(strcmp(truncation, "auto") == 0));
    openai_continue(gen);
    x->think = openai_take(gen, "think");
    x->output = json_array();
    x->kept = json_array();
    x->body = echo(body, x);
    return x->output && x->kept && x->body && keep_echo(body, x) == 0 &&
                   gather_init(&x->g, 1, false) == 0
               ? 0
               : fault_nomem(f);
}

/* Coding agents ask every model for an effort; those that cannot think make none. */
static int ready(void *ctx, const struct ask_model *m, json_t *gen, struct err *e) {
    const struct response *x = ctx;
    if (x->think && m->info->thinking) json_object_set(gen, "think", x->think);
    return openai_ready(ctx, m, gen, e);
}

static void create(struct request *r) {
    struct fault f;
    json_t *body = api_body(r, &f);
    if (!body) return;
    struct response *x = calloc(1, sizeof *x);
    json_t *gen = json_pack("{s:s}", "op", "chat");
    if (!x || !gen || !(x->owner = strdup(owner_of(r)))) {
        fault_nomem(&f);
    } else {
        x->r = r;
        openai_id("resp_", x->id);
        read_request(body, x, gen, &f);
    }
    if (f.err.code != ERR_NONE) {
        if (x) responses_free(x);
        json_decref(gen);
        reply_err(r, &f.err);
        return;
    }
    const struct ask a = {.model = field_text(body, "model"),
                          .gen = gen,
                          .keep_alive = json_object_get(body, "keep_alive"),
                          .whole = !x->stream,
                          .ready = ready,
                          .later = x->think,
                          .keeps = x->keeps,
                          .fn = responses_on_event,
                          .ctx = x};
    if (ask_start(r, &a) != 0) responses_free(x);
}

/* ---- kept ones ---- */

static void get(struct request *r) {
    struct err e = {0};
    json_t *j = NULL;
    struct responses_db *d = responses_shared(request_server(r), &e);
    if (d && responses_read(d, request_param(r), owner_of(r), &j, NULL, &e) == 0)
        reply_json(r, 200, j);
    else
        reply_err(r, &e);
}

static void delete (struct request *r) {
    struct err e = {0};
    struct responses_db *d = responses_shared(request_server(r), &e);
    if (d && responses_delete(d, request_param(r), owner_of(r), &e) == 0)
        reply_json(r, 200,
                   json_pack("{s:s, s:s, s:b}", "id", request_param(r), "object", "response",
                             "deleted", 1));
    else
        reply_err(r, &e);
}

const struct route routes_responses[] = {
    {HTTP_POST, "/v1/responses", RIGHT_USE, DIALECT_OPENAI, BODY_MAX, create, 0, response_fields},
    {HTTP_GET, "/v1/responses/:id", RIGHT_USE, DIALECT_OPENAI, 0, get, 0, NULL},
    {HTTP_DELETE, "/v1/responses/:id", RIGHT_USE, DIALECT_OPENAI, 0, delete, 0, NULL},
    {0}};
