/* Events of a generation as items of a response, and as the typed events of its stream.
 *
 * Data flow: GEN_THINKING, GEN_TEXT -> the open item grows; another kind closes it (its "done"
 * events, then it joins the output); GEN_CALL is an item at once; GEN_END -> the response is
 * written to the database, then told to be complete: a client may go on with it at once. */
#include "server/responses.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/json.h"
#include "base/log.h"

void responses_free(struct response *x) {
    gather_fini(&x->g);
    buf_fini(&x->text);
    buf_fini(&x->kept_text);
    json_decref(x->body);
    json_decref(x->think);
    json_decref(x->keeps);
    json_decref(x->output);
    json_decref(x->kept);
    json_decref(x->text_logprobs);
    free(x->owner);
    free(x);
}

/* ---- events of the stream ---- */

/* take gets its "type" and "sequence_number" in front. */
static void send_new(struct response *x, const char *type, json_t *take) {
    json_t *j = json_pack("{s:s, s:i}", "type", type, "sequence_number", x->sequence);
    if (x->stream && take && j && json_object_update(j, take) == 0) {
        stream_event(x->r, type, j);
        x->sequence++;
    } else if (!take || !j) {
        x->g.failed = true;
    }
    json_decref(j);
    json_decref(take);
}

/* Of the open item: "item_id", "output_index", the index of its only part, then more (taken). */
static void send_part(struct response *x, const char *type, json_t *more) {
    json_t *j = json_pack("{s:s, s:i, s:i}", "item_id", x->item_id, "output_index",
                          (int)json_array_size(x->output),
                          x->open == ITEM_REASONING ? "summary_index" : "content_index", 0);
    if (!j || json_object_update(j, more) != 0) x->g.failed = true;
    json_decref(more);
    send_new(x, type, j);
}

static void send_item(struct response *x, const char *type, const json_t *item) {
    send_new(
        x, type,
        json_pack("{s:i, s:O}", "output_index", (int)json_array_size(x->output), "item", item));
}

static void send_response(struct response *x, const char *type) {
    send_new(x, type, json_pack("{s:O}", "response", x->body));
}

static void start_stream(struct response *x) {
    if (!x->stream || stream_started(x->r)) return;
    openai_tell_truncated(x->r, &x->g.stats);
    stream_start(x->r, 200, STREAM_SSE);
    send_response(x, "response.created");
    send_response(x, "response.in_progress");
}

/* ---- items ---- */

static json_t *json_of(const struct buf *text) {
    return json_stringn(buf_view(text).p, text->n);
}

static json_t *part_of(const struct response *x, json_t *text) {
    if (x->open == ITEM_REASONING)
        return json_pack("{s:s, s:o}", "type", "summary_text", "text", text);
    return json_pack("{s:s, s:o, s:[], s:o}", "type", "output_text", "text", text, "annotations",
                     "logprobs", x->text_logprobs ? json_incref(x->text_logprobs) : json_array());
}

/* text NULL: none yet. */
static json_t *item_of(const struct response *x, const struct buf *text, const char *status) {
    json_t *parts = json_array(), *j;
    if (text) json_array_append_new(parts, part_of(x, json_of(text)));
    if (x->open == ITEM_MESSAGE)
        return json_pack("{s:s, s:s, s:s, s:s, s:o}", "id", x->item_id, "type", "message", "status",
                         status, "role", "assistant", "content", parts);
    j = json_pack("{s:s, s:s, s:s, s:o}", "id", x->item_id, "type", "reasoning", "status", status,
                  "summary", parts);
    if (j && x->encrypted && text)
        json_object_set_new(j, "encrypted_content", json_sprintf("cria:%s", buf_view(text).p));
    return j;
}

/* Complete; kept NULL: it may be kept as it is.  Takes both over. */
static void put_item(struct response *x, json_t *item, json_t *kept) {
    send_item(x, "response.output_item.done", item);
    if (json_array_append_new(x->kept, kept ? kept : json_incref(item)) != 0 ||
        json_array_append_new(x->output, item) != 0)
        x->g.failed = true;
}

static void open_item(struct response *x, int kind) {
    json_t *item;
    x->open = kind == ITEM_REASONING ? ITEM_REASONING : ITEM_MESSAGE;
    openai_id(x->open == ITEM_REASONING ? "rs_" : "msg_", x->item_id);
    buf_reset(&x->text);
    buf_reset(&x->kept_text);
    json_decref(x->text_logprobs);
    x->text_logprobs = NULL;
    item = item_of(x, NULL, "in_progress");
    send_item(x, "response.output_item.added", item);
    json_decref(item);
    send_part(x,
              x->open == ITEM_REASONING ? "response.reasoning_summary_part.added"
                                        : "response.content_part.added",
              json_pack("{s:o}", "part", part_of(x, json_string(""))));
}

static void close_item(struct response *x, const char *status) {
    if (x->open == ITEM_NONE) return;
    const bool thinking = x->open == ITEM_REASONING;
    json_t *done = json_pack("{s:o}", "text", json_of(&x->text));
    if (!thinking)
        json_object_set_new(done, "logprobs",
                            x->text_logprobs ? json_incref(x->text_logprobs) : json_array());
    send_part(x, thinking ? "response.reasoning_summary_text.done" : "response.output_text.done",
              done);
    send_part(x, thinking ? "response.reasoning_summary_part.done" : "response.content_part.done",
              json_pack("{s:o}", "part", part_of(x, json_of(&x->text))));
    put_item(x, item_of(x, &x->text, status), x->apart ? item_of(x, &x->kept_text, status) : NULL);
    x->open = ITEM_NONE;
}

static void grow_item(struct response *x, const struct gen_event *ev) {
    const int kind = ev->kind == GEN_THINKING ? ITEM_REASONING : ITEM_MESSAGE;
    if ((int)x->open != kind) {
        close_item(x, "completed");
        open_item(x, kind);
    }
    struct str kept;
    const json_t *unused;
    x->apart |= ask_kept(ev, &kept, &unused);
    if (x->apart) buf_append(&x->kept_text, kept.p, kept.n);
    buf_append(&x->text, ev->text.p, ev->text.n);
    json_t *delta = json_pack("{s:s%}", "delta", ev->text.p, ev->text.n);
    if (kind == ITEM_REASONING) {
        send_part(x, "response.reasoning_summary_text.delta", delta);
        return;
    }
    if (x->logprobs && ev->data) {
        if (!x->text_logprobs) x->text_logprobs = json_array();
        json_t *copy = json_deep_copy(ev->data);
        json_array_extend(x->text_logprobs, copy);
        json_object_set_new(delta, "logprobs", copy);
    } else {
        json_object_set_new(delta, "logprobs", json_array());
    }
    send_part(x, "response.output_text.delta", delta);
}

static json_t *call_item(const struct response *x, const json_t *call, const char *status,
                         const char *arguments) {
    const char *id = field_text(call, "id"),
               *name = field_text(json_object_get(call, "function"), "name"),
               *space =
                   openai_split_name(json_object_get(x->body, "tools"), name ? name : "", &name);
    return json_pack("{s:s, s:s, s:s, s:s, s:s, s:s, s:s*}", "id", x->item_id, "type",
                     "function_call", "status", status, "call_id", id ? id : "", "name", name,
                     "arguments", arguments, "namespace", space);
}

/* A call's arguments as OpenAI writes them: JSON in a text. */
static void put_arguments(struct response *x, const json_t *call, struct buf *out) {
    const json_t *arguments = json_object_get(json_object_get(call, "function"), "arguments");
    if (!arguments || json_append("tool call", arguments, out, NULL) != 0) x->g.failed = true;
    if (!out->n) buf_str(out, "{}");
}

static void add_call(struct response *x, const struct gen_event *ev) {
    const json_t *call = ev->data, *kept_call;
    struct buf text = {0}, kept_text = {0};
    struct str unused;
    x->apart |= ask_kept(ev, &unused, &kept_call);
    close_item(x, "completed");
    openai_id("fc_", x->item_id);
    put_arguments(x, call, &text);
    if (x->apart) put_arguments(x, kept_call, &kept_text);
    const char *s = buf_view(&text).p;
    const int at = (int)json_array_size(x->output);
    const char *name = field_text(json_object_get(call, "function"), "name");
    openai_split_name(json_object_get(x->body, "tools"), name ? name : "", &name);
    json_t *item = call_item(x, call, "in_progress", "");
    send_item(x, "response.output_item.added", item);
    json_decref(item);
    send_new(x, "response.function_call_arguments.delta",
             json_pack("{s:s, s:i, s:s}", "item_id", x->item_id, "output_index", at, "delta", s));
    send_new(x, "response.function_call_arguments.done",
             json_pack("{s:s, s:i, s:s, s:s}", "item_id", x->item_id, "output_index", at, "name",
                       name, "arguments", s));
    put_item(x, call_item(x, call, "completed", s),
             x->apart ? call_item(x, kept_call, "completed", buf_view(&kept_text).p) : NULL);
    buf_fini(&text);
    buf_fini(&kept_text);
}

/* ---- the end ---- */

static void set(struct response *x, const char *key, json_t *take) {
    if (json_object_set_new(x->body, key, take) != 0) x->g.failed = true;
}

static void complete_body(struct response *x) {
    const struct gen_stats *s = &x->g.stats;
    const bool cut = x->g.choice[0].why == GEN_LENGTH;
    request_tell(x->r, x->body);
    set(x, "status", json_string(cut ? "incomplete" : "completed"));
    if (cut) set(x, "incomplete_details", json_pack("{s:s}", "reason", "max_output_tokens"));
    set(x, "completed_at", json_integer((json_int_t)time(NULL)));
    set(x, "output", json_incref(x->output));
    set(x, "usage",
        json_pack("{s:i, s:{s:i}, s:i, s:{s:i}, s:i}", "input_tokens", s->n_prompt,
                  "input_tokens_details", "cached_tokens", s->n_cached, "output_tokens", s->n_eval,
                  "output_tokens_details", "reasoning_tokens", x->g.n_thinking, "total_tokens",
                  s->n_prompt + s->n_eval));
}

/* The last words, when it is kept or will not be. */
static void tell(struct response *x) {
    struct err e = {0};
    const bool cut = x->g.choice[0].why == GEN_LENGTH;
    if (x->g.failed) {
        err_nomem(&e, "answer");
        reply_err(x->r, &e);
    } else if (x->stream) {
        send_response(x, cut ? "response.incomplete" : "response.completed");
        stream_end(x->r);
    } else {
        openai_tell_truncated(x->r, &x->g.stats);
        reply_json(x->r, 200, json_incref(x->body));
    }
    responses_free(x);
}

static void on_written(void *ctx, const struct err *err) {
    struct response *x = ctx;
    if (err->code != ERR_NONE) set(x, "store", json_false()); /* as it is: nobody can go on */
    tell(x);
}

/* After the stream began, a failure is an event of its own. */
static void fail(struct response *x, const struct err *e) {
    if (x->stream && stream_started(x->r)) {
        set(x, "status", json_string("failed"));
        set(x, "error", json_pack("{s:s, s:s}", "code", "server_error", "message", e->msg));
        set(x, "output", json_incref(x->output));
        send_response(x, "response.failed");
        stream_end(x->r);
    } else {
        reply_err(x->r, e);
    }
    responses_free(x);
}

/* The response and the conversation as they are kept: true, both in x->keeps. */
static bool fill_kept(struct response *x) {
    json_t *response = json_copy(x->body);
    return json_object_update(response, json_object_get(x->keeps, "response")) == 0 &&
           json_object_set(response, "output", x->kept) == 0 &&
           json_object_set_new(x->keeps, "response", response) == 0 &&
           json_array_extend(json_object_get(x->keeps, "items"), x->kept) == 0;
}

static void end(struct response *x, const struct gen_event *ev) {
    struct err e = {0};
    const char *status = x->g.choice[0].why == GEN_LENGTH ? "incomplete" : "completed";
    if (ev->err.code != ERR_NONE) {
        fail(x, &ev->err);
        return;
    }
    start_stream(x);
    if (json_array_size(x->output) == 0 && x->open != ITEM_MESSAGE) {
        close_item(x, status);
        open_item(x, ITEM_MESSAGE); /* an empty answer is one, too */
    }
    close_item(x, status);
    complete_body(x);
    struct responses_db *d =
        x->store && !x->g.failed ? responses_shared(request_server(x->r), &e) : NULL;
    if (d && fill_kept(x)) {
        responses_write(d, x->owner, json_object_get(x->keeps, "response"),
                        json_object_get(x->keeps, "items"), on_written, x);
        return;
    }
    if (x->store) {
        log_msg(LOG_WARN, "%s", d ? "responses: out of memory" : e.msg);
        set(x, "store", json_false());
    }
    tell(x);
}

void responses_on_event(void *ctx, const struct gen_event *ev) {
    struct response *x = ctx;
    const char *served = request_served(x->r, NULL);
    if (served && !x->served) set(x, "model", json_string(served));
    x->served |= served != NULL;
    gather_add(&x->g, ev);
    if (ev->kind == GEN_END) {
        end(x, ev);
        return;
    }
    start_stream(x);
    if (ev->kind == GEN_TEXT || ev->kind == GEN_THINKING) grow_item(x, ev);
    if (ev->kind == GEN_CALL) add_call(x, ev);
}
