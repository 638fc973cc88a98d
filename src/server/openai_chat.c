/* POST /v1/chat/completions.
 *
 * Data flow: read_request -> ask_start -> on_event, which gathers the whole answer or sends each
 * piece as a chunk: role, then texts and calls as they come, a chunk with finish_reason for each
 * choice, the sums if asked for, "[DONE]". */
#include "server/openai.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"

struct chat {
    struct request *r;
    struct gather g;
    char id[OPENAI_ID];
    char *model;     /* owned: as the client wrote it, or the one that answers instead */
    struct buf line; /* owned; of the last text, kept for its memory */
    json_int_t created;
    bool stream, usage, logprobs;
};

const struct field openai_chat_fields[] = {
    {.name = "model", .types = FIELD_TEXT, .required = true},
    {.name = "messages", .types = FIELD_ARRAY, .required = true},
    OPENAI_SAMPLING_FIELDS,
    OPENAI_EXTENSION_FIELDS,
    OPENAI_ACCOUNT_FIELDS,
    {.name = "max_tokens", .types = FIELD_INT, .min = -1, .max = 1e9},
    {.name = "max_completion_tokens", .types = FIELD_INT, .min = -1, .max = 1e9},
    {.name = "stream", .types = FIELD_BOOL},
    {.name = "stream_options", .types = FIELD_OBJECT},
    {.name = "logprobs", .types = FIELD_BOOL},
    {.name = "top_logprobs", .types = FIELD_INT, .min = 0, .max = 20},
    {.name = "tools", .types = FIELD_ARRAY},
    {.name = "tool_choice", .types = FIELD_TEXT | FIELD_OBJECT},
    {.name = "parallel_tool_calls", .types = FIELD_BOOL},
    {.name = "response_format", .types = FIELD_OBJECT},
    {.name = "reasoning_effort", .types = FIELD_TEXT},
    {.name = "reasoning", .types = FIELD_OBJECT},
    {.name = "think", .types = FIELD_TEXT | FIELD_BOOL}, /* of Ollama's own API */
    {.name = "chat_template_kwargs", .types = FIELD_OBJECT},
    {.name = "modalities", .types = FIELD_ARRAY},
    {.name = "verbosity", .types = FIELD_TEXT, .one_of = "medium"},
    {.name = "audio", .refusal = "this server neither hears nor speaks"},
    {.name = "prediction",
     .refusal = "not supported; guesses are made from the text by themselves"},
    {.name = "web_search_options", .refusal = "this server does not search the web"},
    {.name = "functions", .refusal = "not supported; use tools"},
    {.name = "function_call", .refusal = "not supported; use tool_choice"},
    {0}};

static const struct field stream_fields[] = {
    {.name = "include_usage", .types = FIELD_BOOL},
    {.name = "include_obfuscation", .types = FIELD_BOOL}, /* no padding is sent: nothing leaks here
                                                             that TLS on loopback would hide */
    {0}};

static const struct field reasoning_fields[] = {{.name = "effort", .types = FIELD_TEXT}, {0}};

/* ---- the request ---- */

static int read_logprobs(const json_t *body, json_t *gen, struct fault *f) {
    const json_t *top = json_object_get(body, "top_logprobs");
    const bool on = field_true(body, "logprobs");
    if (top && field_integer(top) > 0 && !on)
        return fault_set(f, ERR_USAGE, "top_logprobs", "needs \"logprobs\": true");
    if (on) json_object_set_new(gen, "logprobs", json_true());
    if (top && on) json_object_set_new(gen, "top_logprobs", json_integer(field_integer(top)));
    return 0;
}

static int read_thinking(const json_t *body, json_t *gen, struct fault *f) {
    json_t *reasoning = json_object_get(body, "reasoning");
    if (reasoning && field_check(reasoning, "reasoning.", reasoning_fields, f) != 0) return -1;
    if (openai_effort(field_text(reasoning, "effort"), "reasoning.effort", gen, f) != 0 ||
        openai_effort(field_text(body, "reasoning_effort"), "reasoning_effort", gen, f) != 0)
        return -1;
    json_t *think = json_object_get(body, "think");
    if (json_is_boolean(think))
        json_object_set(gen, "think", think);
    else if (openai_effort(json_string_value(think), "think", gen, f) != 0)
        return -1;
    return openai_template_vars(json_object_get(body, "chat_template_kwargs"), gen) == 0
               ? 0
               : fault_nomem(f);
}

static int read_modalities(const json_t *body, struct fault *f) {
    const json_t *list = json_object_get(body, "modalities");
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *s = json_string_value(json_array_get(list, i));
        if (!s || strcmp(s, "text") != 0)
            return fault_set(f, ERR_UNSUPPORTED, "modalities", "found %s; [\"text\"] is accepted",
                             s ? s : "no text");
    }
    return 0;
}

static int read_stream(const json_t *body, struct chat *c, struct fault *f) {
    json_t *options = json_object_get(body, "stream_options");
    c->stream = field_true(body, "stream");
    if (!options) return 0;
    if (!c->stream) return fault_set(f, ERR_USAGE, "stream_options", "needs \"stream\": true");
    if (field_check(options, "stream_options.", stream_fields, f) != 0) return -1;
    c->usage = field_true(options, "include_usage");
    return 0;
}

static int read_request(json_t *body, struct chat *c, json_t *gen, struct fault *f) {
    const bool both =
        json_object_get(body, "max_tokens") && json_object_get(body, "max_completion_tokens");
    if (both)
        return fault_set(f, ERR_USAGE, "max_tokens",
                         "found beside max_completion_tokens; one of them is accepted");
    const char *max = json_object_get(body, "max_tokens") ? "max_tokens" : "max_completion_tokens";
    json_t *format = json_object_get(body, "response_format"), *n = json_object_get(body, "n");
    if (read_stream(body, c, f) != 0 || read_modalities(body, f) != 0 ||
        openai_messages(json_object_get(body, "messages"), gen, f) != 0 ||
        openai_options(c->r, body, max, gen, f) != 0 || openai_tools(body, false, gen, f) != 0 ||
        (format && openai_format(format, "response_format", false, gen, f) != 0) ||
        read_logprobs(body, gen, f) != 0 || read_thinking(body, gen, f) != 0)
        return -1;
    openai_continue(gen);
    c->logprobs = field_true(body, "logprobs");
    if (n) json_object_set_new(gen, "n", json_integer(field_integer(n)));
    const int n_choice = n ? (int)field_integer(n) : 1;
    return gather_init(&c->g, n_choice, !c->stream) == 0 ? 0 : fault_nomem(f);
}

/* ---- the answer as a whole ---- */

static json_t *message_of(const struct gather_choice *k, struct err *e) {
    const bool has_text = k->text.n > 0 || k->n_call == 0;
    json_t *m = json_pack(
        "{s:s, s:o, s:n}", "role", "assistant", "content",
        has_text ? json_stringn(k->text.p ? k->text.p : "", k->text.n) : json_null(), "refusal");
    /* Ollama's and the open servers' name. */
    if (m && k->thinking.n) {
        json_t *t = json_stringn(k->thinking.p, k->thinking.n);
        json_object_set(m, "reasoning", t);
        json_object_set_new(m, "reasoning_content", t);
    }
    if (!m || !k->calls) return m;
    json_t *calls = openai_calls(k->calls, 0, e);
    if (calls && json_object_set_new(m, "tool_calls", calls) == 0) return m;
    json_decref(m);
    return NULL;
}

static json_t *choice_of(const struct chat *c, int i, struct err *e) {
    const struct gather_choice *k = &c->g.choice[i];
    json_t *m = message_of(k, e);
    json_t *logprobs =
        c->logprobs ? json_pack("{s:o, s:n}", "content",
                                k->logprobs ? json_incref(k->logprobs) : json_array(), "refusal")
                    : json_null();
    return m ? json_pack("{s:i, s:o, s:o, s:s}", "index", i, "message", m, "logprobs", logprobs,
                         "finish_reason", openai_finish_reason(k))
             : NULL;
}

static void reply_whole(struct chat *c) {
    struct err e = {0};
    json_t *choices = json_array();
    bool good = !c->g.failed;
    for (int i = 0; good && i < c->g.n; i++)
        good = json_array_append_new(choices, choice_of(c, i, &e)) == 0;
    json_t *j = json_pack("{s:s, s:s, s:I, s:s, s:s, s:s, s:o, s:o}", "id", c->id, "object",
                          "chat.completion", "created", c->created, "model", c->model,
                          "system_fingerprint", "fp_cria", "service_tier", "default", "choices",
                          choices, "usage", openai_usage(&c->g));
    if (good && j) {
        request_tell(c->r, j);
        openai_tell_truncated(c->r, &c->g.stats);
        reply_json(c->r, 200, j);
        return;
    }
    json_decref(j);
    err_nomem(&e, "answer");
    reply_err(c->r, &e);
}

/* ---- the answer in chunks ---- */

static void send_chunk(struct chat *c, json_t *choices) {
    json_t *j = json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", c->id, "object",
                          "chat.completion.chunk", "created", c->created, "model", c->model,
                          "system_fingerprint", "fp_cria", "choices", choices);
    if (!j) {
        c->g.failed = true;
        return;
    }
    if (c->usage)
        json_object_set_new(j, "usage",
                            json_array_size(choices) ? json_null() : openai_usage(&c->g));
    if (openai_is_last(choices)) request_tell(c->r, j);
    stream_json(c->r, j);
    json_decref(j);
}

static void send_delta(struct chat *c, int choice, json_t *delta, const json_t *logprobs,
                       const char *finish) {
    json_t *l = logprobs ? json_pack("{s:O, s:n}", "content", logprobs, "refusal") : json_null();
    send_chunk(c, json_pack("[{s:i, s:o, s:o, s:s?}]", "index", choice, "delta", delta, "logprobs",
                            l, "finish_reason", finish));
}

/* What send_delta would say for {"content": text}, without objects: it is what comes for each
 * token. */
static void send_text(struct chat *c, int choice, struct str text) {
    struct buf *b = &c->line;
    buf_reset(b);
    buf_str(b, "data: {\"id\":");
    json_append_text(b, str_of(c->id));
    buf_printf(b, ",\"object\":\"chat.completion.chunk\",\"created\":%lld,\"model\":",
               (long long)c->created);
    json_append_text(b, str_of(c->model));
    buf_printf(b,
               ",\"system_fingerprint\":\"fp_cria\",\"choices\":[{\"index\":%d,\"delta\":"
               "{\"content\":",
               choice);
    json_append_text(b, text);
    buf_str(b, "},\"logprobs\":null,\"finish_reason\":null}]");
    buf_str(b, c->usage ? ",\"usage\":null}\n\n" : "}\n\n");
    stream_line(c->r, b);
}

static void send_start(struct chat *c) {
    openai_tell_truncated(c->r, &c->g.stats);
    stream_start(c->r, 200, STREAM_SSE);
    for (int i = 0; i < c->g.n; i++)
        send_delta(c, i, json_pack("{s:s, s:s}", "role", "assistant", "content", ""), NULL, NULL);
}

static void send_event(struct chat *c, const struct gen_event *ev) {
    struct err e = {0};
    json_t *calls, *t;
    struct gather_choice *k = &c->g.choice[ev->choice];
    switch (ev->kind) {
    case GEN_PROMPT: send_start(c); break;
    case GEN_TEXT: /* without text or logprobs: tokens that wait for more */
        if (!ev->data && ev->text.n) send_text(c, ev->choice, ev->text);
        if (!ev->data || (ev->text.n == 0 && !c->logprobs)) break;
        send_delta(c, ev->choice, json_pack("{s:s%}", "content", ev->text.p, ev->text.n), ev->data,
                   NULL);
        break;
    case GEN_THINKING:
        t = json_stringn(ev->text.p, ev->text.n);
        send_delta(c, ev->choice, json_pack("{s:O, s:o}", "reasoning", t, "reasoning_content", t),
                   NULL, NULL);
        break;
    case GEN_CALL:
        t = json_pack("[O]", ev->data);
        calls = openai_calls(t, k->n_call - 1, &e);
        json_decref(t);
        send_delta(c, ev->choice, json_pack("{s:o}", "tool_calls", calls), NULL, NULL);
        break;
    case GEN_FINISH:
        if (ev->why != GEN_CANCELLED)
            send_delta(c, ev->choice, json_object(), NULL, openai_finish_reason(k));
        break;
    default: break;
    }
}

static void free_chat(struct chat *c) {
    gather_fini(&c->g);
    buf_fini(&c->line);
    free(c->model);
    free(c);
}

static void end(struct chat *c, const struct gen_event *ev) {
    if (ev->err.code != ERR_NONE) {
        reply_err(c->r, &ev->err);
    } else if (!c->stream) {
        reply_whole(c);
    } else {
        struct err e = {0};
        if (!stream_started(c->r)) send_start(c);
        if (c->usage) send_chunk(c, json_array());
        if (c->g.failed) {
            err_nomem(&e, "answer");
            stream_fail(c->r, &e);
            free_chat(c);
            return;
        }
        stream_text(c->r, STR("data: [DONE]\n\n"));
        stream_end(c->r);
    }
    free_chat(c);
}

static void on_event(void *ctx, const struct gen_event *ev) {
    struct chat *c = ctx;
    openai_set_served(c->r, &c->model);
    gather_add(&c->g, ev);
    if (ev->kind == GEN_END)
        end(c, ev);
    else if (c->stream && ev->choice >= 0 && ev->choice < c->g.n)
        send_event(c, ev);
}

void openai_chat(struct request *r) {
    struct fault f;
    json_t *body = api_body(r, &f);
    if (!body) return;
    struct chat *c = calloc(1, sizeof *c);
    json_t *gen = json_pack("{s:s}", "op", "chat");
    if (!c || !gen) {
        fault_nomem(&f);
    } else {
        c->r = r;
        c->created = (json_int_t)time(NULL);
        openai_id("chatcmpl-", c->id);
        if (read_request(body, c, gen, &f) == 0 && !(c->model = strdup(field_text(body, "model"))))
            fault_nomem(&f);
    }
    if (f.err.code != ERR_NONE) {
        if (c) free_chat(c);
        json_decref(gen);
        reply_err(r, &f.err);
        return;
    }
    const struct ask a = {.model = c->model,
                          .gen = gen,
                          .keep_alive = json_object_get(body, "keep_alive"),
                          .whole = !c->stream,
                          .ready = openai_ready,
                          .fn = on_event,
                          .ctx = c};
    if (ask_start(r, &a) != 0) free_chat(c);
}
