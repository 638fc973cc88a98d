/* See talk.h: a server's model, asked through Ollama's API (COMPAT.md 2.3), so that any server that
 * speaks it will do. */
#include <stdlib.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/talk_priv.h"

struct talk *talk_open_remote(const char *model, struct err *e) {
    struct talk *t = calloc(1, sizeof *t);
    json_t *ask = json_pack("{s:s}", "model", model);
    if (t) t->remote = remote_open(e), t->model = model;
    if (!t || !ask) {
        err_nomem(e, model);
    } else if (t->remote && remote_ask(t->remote, NET_POST, "/api/show", ask, &t->shown, e) == 0) {
        json_decref(ask);
        const json_t *caps = json_object_get(t->shown, "capabilities"), *one;
        size_t i;
        json_array_foreach((json_t *)(uintptr_t)caps, i, one) t->embeds |=
            json_is_string(one) && strcmp(json_string_value(one), "embedding") == 0;
        return t;
    }
    json_decref(ask);
    talk_close(t);
    return NULL;
}

/* ---- an answer ---- */

struct hearing {
    talk_fn *fn;
    void *ctx;
    struct talk_end *end;
};

static int tell(struct hearing *h, enum talk_kind kind, const json_t *text, const json_t *call,
                struct err *e) {
    const struct talk_piece p = {
        .kind = kind, .text = {json_string_value(text), json_string_length(text)}, .call = call};
    if (!call && (!json_is_string(text) || p.text.n == 0)) return 0;
    return h->fn(h->ctx, &p) == 0 ? 0 : err_set(e, ERR_CANCELLED, "cancelled");
}

static int64_t number(const json_t *line, const char *key) {
    return (int64_t)json_integer_value(json_object_get(line, key));
}

static void take_end(struct talk_end *end, const json_t *line) {
    const char *why = json_string_value(json_object_get(line, "done_reason"));
    end->why = why && strcmp(why, "length") == 0 ? GEN_LENGTH : GEN_STOP;
    end->stats = (struct gen_stats){.n_prompt = (int)number(line, "prompt_eval_count"),
                                    .n_cached = (int)number(line, "prompt_cached_count"),
                                    .n_eval = (int)number(line, "eval_count"),
                                    .n_truncated = (int)number(line, "truncated"),
                                    .prompt_ns = number(line, "prompt_eval_duration"),
                                    .eval_ns = number(line, "eval_duration")};
    end->load_ns = number(line, "load_duration");
    end->total_ns = number(line, "total_duration");
}

static int hear(void *ctx, const json_t *line, struct err *e) {
    struct hearing *h = ctx;
    const json_t *m = json_object_get(line, "message"), *call;
    const json_t *from = m ? m : line;
    json_t *calls = json_object_get(from, "tool_calls");
    size_t i;
    if (tell(h, TALK_THINKING, json_object_get(from, "thinking"), NULL, e) != 0 ||
        tell(h, TALK_TEXT, json_object_get(from, m ? "content" : "response"), NULL, e) != 0)
        return -1;
    json_array_foreach(calls, i, call) if (tell(h, TALK_CALL, NULL, call, e) != 0) return -1;
    if (json_is_true(json_object_get(line, "done"))) take_end(h->end, line);
    return 0;
}

/* The words of gen.h are those of the API but for the operation, the model's name and its stay. */
static json_t *body_of(const struct talk *t, const json_t *request, const char *keep_alive) {
    json_t *body = json_copy((json_t *)(uintptr_t)request);
    json_object_del(body, "op");
    json_object_set_new(body, "model", json_string(t->model));
    if (keep_alive) json_object_set_new(body, "keep_alive", json_string(keep_alive));
    return body;
}

int talk_ask_remote(struct talk *t, const json_t *request, const char *keep_alive, talk_fn *fn,
                    void *ctx, struct talk_end *end, struct err *e) {
    struct hearing h = {fn, ctx, end};
    struct err why = {0};
    const bool chat = json_object_get(request, "messages") != NULL;
    json_t *body = body_of(t, request, keep_alive);
    if (!body) return err_nomem(e, "request");
    const int rc =
        remote_stream(t->remote, chat ? "/api/chat" : "/api/generate", body, hear, &h, &why);
    json_decref(body);
    if (rc != 0 && why.code == ERR_CANCELLED) {
        end->why = GEN_CANCELLED;
        return 0;
    }
    return rc == 0 ? 0 : err_set(e, why.code, "%s", why.msg);
}

int talk_embed_remote(struct talk *t, const json_t *request, json_t **vector, struct err *e) {
    json_t *body = body_of(t, request, NULL), *answer = NULL;
    int rc = body ? remote_ask(t->remote, NET_POST, "/api/embed", body, &answer, e)
                  : err_nomem(e, "request");
    json_decref(body);
    *vector = json_array_get(json_object_get(answer, "embeddings"), 0);
    if (rc == 0 && !*vector)
        rc = err_set(e, ERR_FORMAT, "%s: an answer without \"embeddings\"", remote_url(t->remote));
    json_incref(*vector);
    json_decref(answer);
    return rc;
}

int talk_load(struct talk *t, const json_t *options, const char *keep_alive, struct err *e) {
    if (t->gen) return 0;
    json_t *body = json_pack("{s:s, s:b}", "model", t->model, "stream", 0);
    if (!body) return err_nomem(e, "request");
    if (json_object_size(options)) json_object_set(body, "options", (json_t *)(uintptr_t)options);
    if (keep_alive) json_object_set_new(body, "keep_alive", json_string(keep_alive));
    const int rc =
        remote_ask(t->remote, NET_POST, t->embeds ? "/api/embed" : "/api/generate", body, NULL, e);
    json_decref(body);
    return rc;
}
