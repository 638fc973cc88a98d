/* Events of a generation as a message of the Anthropic API, whole or as its stream: message_start
 * with the prompt's tokens, ping, each content block (start, deltas, stop), message_delta with the
 * reason and the sums, message_stop. */
#include "server/anthropic.h"

#include <stdlib.h>
#include <string.h>

#include "base/json.h"

/* Thinking is signed by the servers of others; clients send a block back only with a signature. */
#define SIGNATURE "Y3JpYQ=="

void anthropic_free(struct message *m) {
    gather_fini(&m->g);
    json_decref(m->think);
    free(m->model);
    free(m);
}

void anthropic_fail(struct request *r, const struct err *e) {
    if (stream_started(r))
        stream_fail(r, e);
    else if (e->code == ERR_LIMIT && ask_model(r) && strstr(e->msg, "context"))
        reply_error(r, status_of(e), "prompt is too long: %s", e->msg);
    else
        reply_err(r, e);
}

static json_t *usage(const struct message *m) {
    const struct gen_stats *s = &m->g.stats;
    return json_pack("{s:i, s:i, s:i, s:i, s:{s:i}}", "input_tokens", s->n_prompt - s->n_cached,
                     "cache_creation_input_tokens", 0, "cache_read_input_tokens", s->n_cached,
                     "output_tokens", s->n_eval, "output_tokens_details", "thinking_tokens",
                     m->g.n_thinking);
}

/* The stop text, when it is one of the client's (the model file may have its own). */
static const char *stop_sequence(const struct message *m) {
    const struct gather_choice *k = &m->g.choice[0];
    for (size_t i = 0; k->stop.n && i < json_array_size(m->stops); i++) {
        const char *s = json_string_value(json_array_get(m->stops, i));
        if (s && str_is(buf_view(&k->stop), s)) return s;
    }
    return NULL;
}

static const char *stop_reason(const struct message *m) {
    const struct gather_choice *k = &m->g.choice[0];
    if (k->n_call > 0) return "tool_use";
    if (k->why == GEN_LENGTH) return "max_tokens";
    return stop_sequence(m) ? "stop_sequence" : "end_turn";
}

/* ---- as a whole ---- */

static json_t *blocks(const struct message *m) {
    const struct gather_choice *k = &m->g.choice[0];
    json_t *list = json_array();
    if (k->thinking.n)
        json_array_append_new(list, json_pack("{s:s, s:s%, s:s}", "type", "thinking", "thinking",
                                              k->thinking.p, m->omit ? (size_t)0 : k->thinking.n,
                                              "signature", SIGNATURE));
    if (k->text.n)
        json_array_append_new(
            list, json_pack("{s:s, s:s%}", "type", "text", "text", k->text.p, k->text.n));
    for (size_t i = 0; i < json_array_size(k->calls); i++) {
        const json_t *call = json_array_get(k->calls, i), *fn = json_object_get(call, "function");
        json_array_append_new(list,
                              json_pack("{s:s, s:s*, s:s*, s:O}", "type", "tool_use", "id",
                                        field_text(call, "id"), "name", field_text(fn, "name"),
                                        "input", json_object_get(fn, "arguments")));
    }
    return list;
}

/* None is ever applied: NULL where none was asked for. */
static json_t *edits_of(const struct message *m) {
    return m->edits ? json_pack("{s:[]}", "applied_edits") : NULL;
}

static json_t *message_of(const struct message *m, json_t *content, const char *reason,
                          const char *stop) {
    return json_pack("{s:s, s:s, s:s, s:s, s:o, s:s?, s:s?, s:o, s:o*}", "id", m->id, "type",
                     "message", "role", "assistant", "model", m->model, "content", content,
                     "stop_reason", reason, "stop_sequence", stop, "usage", usage(m),
                     "context_management", edits_of(m));
}

static void reply_whole(struct message *m) {
    struct err e = {0};
    json_t *j =
        m->g.failed
            ? NULL
            : message_of(m, blocks(m), stop_reason(m),
                         strcmp(stop_reason(m), "stop_sequence") == 0 ? stop_sequence(m) : NULL);
    if (j) {
        request_tell(m->r, j);
        reply_json(m->r, 200, j);
        return;
    }
    err_nomem(&e, "answer");
    reply_err(m->r, &e);
}

/* ---- as a stream ---- */

static void send_new(struct message *m, const char *name, json_t *take) {
    if (take)
        stream_event(m->r, name, take);
    else
        m->g.failed = true;
    json_decref(take);
}

static void send_start(struct message *m) {
    stream_start(m->r, 200, STREAM_SSE);
    send_new(m, "message_start",
             json_pack("{s:s, s:o}", "type", "message_start", "message",
                       message_of(m, json_array(), NULL, NULL)));
    send_new(m, "ping", json_pack("{s:s}", "type", "ping"));
}

static void send_delta(struct message *m, json_t *delta) {
    send_new(m, "content_block_delta",
             json_pack("{s:s, s:i, s:o}", "type", "content_block_delta", "index", m->n_block - 1,
                       "delta", delta));
}

static void close_block(struct message *m) {
    if (m->open == BLOCK_NONE) return;
    if (m->open == BLOCK_THINKING)
        send_delta(m, json_pack("{s:s, s:s}", "type", "signature_delta", "signature", SIGNATURE));
    send_new(m, "content_block_stop",
             json_pack("{s:s, s:i}", "type", "content_block_stop", "index", m->n_block - 1));
    m->open = BLOCK_NONE;
}

static void open_block(struct message *m, json_t *block) {
    send_new(m, "content_block_start",
             json_pack("{s:s, s:i, s:o}", "type", "content_block_start", "index", m->n_block++,
                       "content_block", block));
}

static void send_text(struct message *m, struct str text) {
    if (m->open != BLOCK_TEXT) {
        close_block(m);
        open_block(m, json_pack("{s:s, s:s}", "type", "text", "text", ""));
        m->open = BLOCK_TEXT;
    }
    send_delta(m, json_pack("{s:s, s:s%}", "type", "text_delta", "text", text.p, text.n));
}

static void send_thinking(struct message *m, struct str text) {
    if (m->open != BLOCK_THINKING) {
        close_block(m);
        open_block(
            m, json_pack("{s:s, s:s, s:s}", "type", "thinking", "thinking", "", "signature", ""));
        m->open = BLOCK_THINKING;
    }
    if (!m->omit)
        send_delta(m,
                   json_pack("{s:s, s:s%}", "type", "thinking_delta", "thinking", text.p, text.n));
}

static void send_call(struct message *m, const json_t *call) {
    struct buf text = {0};
    const json_t *fn = json_object_get(call, "function"),
                 *arguments = json_object_get(fn, "arguments");
    close_block(m);
    if (!arguments || json_append("tool call", arguments, &text, NULL) != 0) m->g.failed = true;
    open_block(m, json_pack("{s:s, s:s*, s:s*, s:{}}", "type", "tool_use", "id",
                            field_text(call, "id"), "name", field_text(fn, "name"), "input"));
    send_delta(m, json_pack("{s:s, s:s%}", "type", "input_json_delta", "partial_json",
                            text.p ? text.p : "", text.n));
    send_new(m, "content_block_stop",
             json_pack("{s:s, s:i}", "type", "content_block_stop", "index", m->n_block - 1));
    buf_fini(&text);
}

static void send_event(struct message *m, const struct gen_event *ev) {
    if (!stream_started(m->r)) send_start(m);
    if (ev->text.n && ev->kind == GEN_TEXT) send_text(m, ev->text);
    if (ev->text.n && ev->kind == GEN_THINKING) send_thinking(m, ev->text);
    if (ev->kind == GEN_CALL) send_call(m, ev->data);
}

static void send_end(struct message *m) {
    struct err e = {0};
    const char *reason = stop_reason(m);
    close_block(m);
    json_t *j = json_pack("{s:s, s:{s:s, s:s?}, s:o, s:o*}", "type", "message_delta", "delta",
                          "stop_reason", reason, "stop_sequence",
                          strcmp(reason, "stop_sequence") == 0 ? stop_sequence(m) : NULL, "usage",
                          usage(m), "context_management", edits_of(m));
    request_tell(m->r, j);
    send_new(m, "message_delta", j);
    if (m->g.failed) {
        err_nomem(&e, "answer");
        stream_fail(m->r, &e);
        return;
    }
    send_new(m, "message_stop", json_pack("{s:s}", "type", "message_stop"));
    stream_end(m->r);
}

void anthropic_on_event(void *ctx, const struct gen_event *ev) {
    struct message *m = ctx;
    openai_set_served(m->r, &m->model);
    gather_add(&m->g, ev);
    if (ev->kind != GEN_END) {
        if (m->stream) send_event(m, ev);
        return;
    }
    if (ev->err.code != ERR_NONE) {
        anthropic_fail(m->r, &ev->err);
    } else if (m->stream) {
        if (!stream_started(m->r)) send_start(m);
        send_end(m);
    } else {
        reply_whole(m);
    }
    anthropic_free(m);
}
