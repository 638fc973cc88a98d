/* The events of a model as the answer of /api/generate and /api/chat: a line each, or gathered into
 * one object.  The head goes out with the first line: until then an error still has its status. */
#include <stdio.h>
#include <stdlib.h>

#include "base/json.h"
#include "base/os.h"
#include "server/native.h"

void native_free(struct native *n) {
    buf_fini(&n->text);
    buf_fini(&n->thinking);
    buf_fini(&n->line);
    json_decref(n->calls);
    json_decref(n->logprobs);
    json_decref(n->context);
    free(n);
}

static json_t *string_of(struct str s) {
    return json_stringn_nocheck(s.p ? s.p : "", s.n); /* whole UTF-8 characters: gen.h */
}

static void set_text(json_t *o, const char *key, struct str s) {
    if (s.n) json_object_set_new(o, key, string_of(s));
}

/* An answer or a piece of one, keys in Ollama's order; calls are borrowed. */
static json_t *answer(const struct native *n, struct str text, struct str thinking, json_t *calls) {
    char now[API_TIME];
    api_now(now);
    json_t *o = json_pack("{s:s, s:s}", "model", n->model, "created_at", now);
    if (!n->chat) {
        json_object_set_new(o, "response", string_of(text));
        set_text(o, "thinking", thinking);
        if (calls) json_object_set(o, "tool_calls", calls);
        return o;
    }
    json_t *m = json_pack("{s:s, s:o}", "role", "assistant", "content", string_of(text));
    set_text(m, "thinking", thinking);
    if (calls) json_object_set(m, "tool_calls", calls);
    json_object_set_new(o, "message", m);
    return o;
}

/* ---- pieces ---- */

/* What the client must know before the answer begins. */
static void tell_truncated(const struct native *n) {
    char line[64];
    if (n->n_truncated == 0) return;
    snprintf(line, sizeof line, "X-Cria-Truncated: %d\r\n", n->n_truncated);
    reply_header(n->r, line);
}

static void start_stream(struct native *n) {
    if (stream_started(n->r)) return;
    tell_truncated(n);
    stream_start(n->r, 200, STREAM_NDJSON);
}

static void send_line(struct native *n, json_t *o) {
    start_stream(n);
    stream_json(n->r, o);
    json_decref(o);
}

/* What send_line would say for answer() and "done": false, without an object: it is the line that
 * comes for each token. */
static void send_text(struct native *n, struct str text, struct str thinking) {
    struct buf *b = &n->line;
    char now[API_TIME];
    api_now(now);
    buf_reset(b);
    buf_str(b, "{\"model\":");
    json_append_text(b, str_of(n->model));
    buf_str(b, ",\"created_at\":\"");
    buf_str(b, now);
    buf_str(b,
            n->chat ? "\",\"message\":{\"role\":\"assistant\",\"content\":" : "\",\"response\":");
    json_append_text(b, text);
    if (thinking.n) {
        buf_str(b, ",\"thinking\":");
        json_append_text(b, thinking);
    }
    buf_str(b, n->chat ? "},\"done\":false}\n" : ",\"done\":false}\n");
    start_stream(n);
    stream_line(n->r, b);
}

static void add_context(struct native *n, const struct gen_event *ev) {
    for (int i = 0; n->context && i < ev->n_token; i++)
        json_array_append_new(n->context, json_integer(ev->token[i]));
}

static void on_text(struct native *n, const struct gen_event *ev) {
    const struct str none = STR("");
    const bool thinking = ev->kind == GEN_THINKING;
    add_context(n, ev);
    if (ev->text.n == 0 && !ev->data) return; /* a token that waits for more */
    const struct str text = thinking ? none : ev->text, thought = thinking ? ev->text : none;
    if (n->stream && ev->data) {
        json_t *o = answer(n, text, thought, NULL);
        json_object_set_new(o, "done", json_false());
        json_object_set(o, "logprobs", field_share(ev->data));
        send_line(n, o);
        return;
    }
    if (n->stream) {
        send_text(n, text, thought);
        return;
    }
    buf_append(thinking ? &n->thinking : &n->text, ev->text.p, ev->text.n);
    if (!ev->data) return;
    if (!n->logprobs) n->logprobs = json_array();
    json_array_extend(n->logprobs, field_share(ev->data));
}

/* {"id", "function": {"index", "name", "arguments"}} */
static void on_call(struct native *n, const struct gen_event *ev) {
    const json_t *f = json_object_get(ev->data, "function");
    json_t *one = json_object(), *fn = json_object(), *list = json_array();
    field_copy(one, ev->data, "id");
    json_object_set_new(one, "function", fn);
    json_object_set_new(fn, "index", json_integer(n->n_calls++));
    field_copy(fn, f, "name");
    field_copy(fn, f, "arguments");
    json_array_append_new(list, one);
    add_context(n, ev);
    if (n->stream) {
        json_t *o = answer(n, (struct str){"", 0}, (struct str){"", 0}, list);
        json_object_set_new(o, "done", json_false());
        send_line(n, o);
    } else {
        if (!n->calls) n->calls = json_array();
        json_array_extend(n->calls, list);
    }
    json_decref(list);
}

/* ---- the end ---- */

/* Durations are nanoseconds; zeros are left out. */
static void add_figures(const struct native *n, json_t *o, const struct gen_stats *s) {
    const struct ask_model *m = ask_model(n->r);
    api_set_count(o, "total_duration", os_now_ns() - n->start_ns);
    api_set_count(o, "load_duration", m ? m->load_ns : 0);
    api_set_count(o, "prompt_eval_count", s->n_prompt);
    api_set_count(o, "prompt_eval_duration", s->prompt_ns);
    api_set_count(o, "eval_count", s->n_eval);
    api_set_count(o, "eval_duration", s->eval_ns);
    api_set_count(o, "truncated", n->n_truncated ? n->n_truncated : s->n_truncated);
    api_set_count(o, "context_shifts", s->n_shift);
}

static void finish(struct native *n, const struct gen_stats *s) {
    json_t *o = answer(n, buf_view(&n->text), buf_view(&n->thinking), n->calls);
    json_object_set_new(o, "done", json_true());
    json_object_set_new(o, "done_reason", json_string(n->why == GEN_LENGTH ? "length" : "stop"));
    if (json_array_size(n->context)) json_object_set(o, "context", n->context);
    if (n->logprobs) json_object_set(o, "logprobs", n->logprobs);
    request_tell(n->r, o);
    add_figures(n, o, s);
    if (n->stream) {
        send_line(n, o);
        stream_end(n->r);
    } else {
        tell_truncated(n);
        reply_json(n->r, 200, o);
    }
}

/* A request without a prompt: the model is there now, or goes. */
static void finish_load(struct native *n) {
    json_t *o = answer(n, (struct str){"", 0}, (struct str){"", 0}, NULL);
    json_object_set_new(o, "done", json_true());
    json_object_set_new(o, "done_reason", json_string(n->load_reason));
    reply_json(n->r, 200, o);
}

static void on_end(struct native *n, const struct gen_event *ev) {
    struct err e = ev->err;
    if (e.code == ERR_NONE && (n->text.failed || n->thinking.failed)) err_nomem(&e, "answer");
    if (e.code != ERR_NONE && stream_started(n->r))
        stream_fail(n->r, &e);
    else if (e.code != ERR_NONE)
        reply_err(n->r, &e);
    else if (n->load_only)
        finish_load(n);
    else
        finish(n, &ev->stats);
    native_free(n);
}

void native_on_event(void *ctx, const struct gen_event *ev) {
    struct native *n = ctx;
    n->model = request_served(n->r, n->model);
    switch (ev->kind) {
    case GEN_PROMPT:
        n->n_truncated = ev->stats.n_truncated;
        add_context(n, ev);
        if (ev->n_token == 0) { /* without the prompt's tokens the answer's are of no use */
            json_decref(n->context);
            n->context = NULL;
        }
        break;
    case GEN_TEXT:
    case GEN_THINKING: on_text(n, ev); break;
    case GEN_CALL: on_call(n, ev); break;
    case GEN_FINISH: n->why = ev->why; break;
    case GEN_END: on_end(n, ev); break;
    case GEN_VECTOR:
    case GEN_RESULT: break; /* of other operations */
    }
}
