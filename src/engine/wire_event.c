/* Events in frames, and what the front demands of them.  See wire.h.
 *
 *     struct wire_event   int32 token[]   float vector[]   text   stop   data (JSON)   message
 *     field
 *
 * A text event is 128 bytes and no allocation on either side; only tool calls, results and
 * log-probabilities are JSON. */
#include "engine/wire.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "base/utf8.h"

enum { MAX_CHOICES = 128 };

struct wire_event {
    uint32_t kind, why, code, choice;
    uint32_t n_token, n_vector, n_text, n_stop, n_data, n_msg;
    int32_t n_prompt, n_cached, n_eval, n_truncated, n_shift, n_drafted, n_accepted;
    uint32_t n_field, n_untold, none; /* n_untold: tokens behind a text whose ids are not told */
    int64_t queue_ns, prompt_ns, eval_ns;
};
_Static_assert(sizeof(struct wire_event) % 8 == 0, "what follows is aligned");

/* ---- writing ---- */

static struct wire_event pack(const struct gen_event *ev) {
    const struct gen_stats *s = &ev->stats;
    return (struct wire_event){
        .kind = ev->kind,
        .why = ev->why,
        .code = ev->err.code,
        .choice = (uint32_t)ev->choice,
        .n_token = ev->token ? (uint32_t)ev->n_token : 0,
        .n_untold = ev->token ? 0 : (uint32_t)ev->n_token,
        .n_vector = ev->vector ? (uint32_t)ev->n_vector : 0,
        .n_prompt = s->n_prompt,
        .n_cached = s->n_cached,
        .n_eval = s->n_eval,
        .n_truncated = s->n_truncated,
        .n_shift = s->n_shift,
        .n_drafted = s->n_drafted,
        .n_accepted = s->n_accepted,
        .queue_ns = s->queue_ns,
        .prompt_ns = s->prompt_ns,
        .eval_ns = s->eval_ns,
    };
}

/* JSON text that the front will accept. */
static char *dump(const json_t *data, struct err *e) {
    char *text = json_dumps(data, JSON_COMPACT | JSON_ENCODE_ANY);
    if (!text)
        err_nomem(e, "engine process");
    else if (json_check("an answer", str_of(text), WIRE_MAX_VALUES, e) == 0)
        return text;
    free(text);
    return NULL;
}

static char *add(char *at, const void *p, size_t n) {
    if (n) memcpy(at, p, n);
    return at + n;
}

int wire_put_event(struct buf *out, uint64_t id, const struct gen_event *ev, struct err *e) {
    struct wire_event w = pack(ev);
    char *data = NULL;
    int rc = -1;
    if (ev->data && !(data = dump(ev->data, e))) return -1;
    const size_t n_data = data ? strlen(data) : 0;
    const size_t n_msg = ev->err.code ? strlen(ev->err.msg) : 0;
    const size_t n_field = ev->err.code ? strlen(ev->err.field) : 0;
    const size_t n_token = w.n_token * sizeof *ev->token,
                 n_vector = w.n_vector * sizeof *ev->vector;
    const size_t n =
        sizeof w + n_token + n_vector + ev->text.n + ev->stop.n + n_data + n_msg + n_field;
    if (ev->text.n > WIRE_MAX_EVENT || ev->stop.n > WIRE_MAX_EVENT || n > WIRE_MAX_EVENT) {
        err_set(e, ERR_LIMIT, "an answer of %zu bytes at once; at most %d", n, WIRE_MAX_EVENT);
        goto done;
    }
    w.n_text = (uint32_t)ev->text.n;
    w.n_stop = (uint32_t)ev->stop.n;
    w.n_data = (uint32_t)n_data;
    w.n_msg = (uint32_t)n_msg;
    w.n_field = (uint32_t)n_field;
    const size_t whole = (n + 7) / 8 * 8;
    const struct wire_head head = {(uint32_t)n, WIRE_EVENT, id};
    char *at = buf_room(out, sizeof head + whole);
    if (!at) {
        err_nomem(e, "engine process");
        goto done;
    }
    at = add(at, &head, sizeof head);
    at = add(at, &w, sizeof w);
    at = add(at, ev->token, n_token);
    at = add(at, ev->vector, n_vector);
    at = add(at, ev->text.p, ev->text.n);
    at = add(at, ev->stop.p, ev->stop.n);
    at = add(at, data, n_data);
    at = add(at, ev->err.msg, n_msg);
    at = add(at, ev->err.field, n_field);
    memset(at, 0, whole - n);
    out->n += sizeof head + whole;
    rc = 0;
done:
    free(data);
    return rc;
}

/* ---- what a request may be answered with ---- */

void wire_task_init(struct wire_task *t, const json_t *request, const struct gen_info *info) {
    static const struct {
        const char *name;
        enum wire_op op;
        const char *items; /* one answer for each */
    } ops[] = {{"chat", WIRE_GENERATE, NULL},     {"text", WIRE_GENERATE, NULL},
               {"embed", WIRE_EMBED, "input"},    {"rerank", WIRE_RERANK, "documents"},
               {"tokenize", WIRE_TOKENIZE, NULL}, {"detokenize", WIRE_DETOKENIZE, NULL},
               {"render", WIRE_RENDER, NULL}};
    const char *op = json_string_value(json_object_get(request, "op"));
    *t = (struct wire_task){.n_choice = 1, .n_vocab = info->n_vocab, .n_embd = info->n_embd};
    for (size_t i = 0; op && i < sizeof ops / sizeof *ops; i++) {
        if (strcmp(op, ops[i].name) != 0) continue;
        t->op = ops[i].op;
        const json_t *items = ops[i].items ? json_object_get(request, ops[i].items) : NULL;
        if (json_is_array(items)) t->n_choice = (int)json_array_size(items);
    }
    const json_int_t n = json_integer_value(json_object_get(request, "n"));
    if (t->op == WIRE_GENERATE && n >= 1 && n <= MAX_CHOICES) t->n_choice = (int)n;
}

/* ---- shapes of JSON ---- */

static bool is_text(const json_t *o, const char *key) {
    return json_is_string(json_object_get(o, key));
}

static bool is_index(const json_t *v, json_int_t end) {
    return json_is_integer(v) && json_integer_value(v) >= 0 && json_integer_value(v) < end;
}

static bool are_bytes(const json_t *list) {
    size_t i;
    const json_t *v;
    json_array_foreach(list, i, v) if (!is_index(v, 256)) return false;
    return json_is_array(list);
}

static bool is_call(const json_t *o) {
    const json_t *f = json_object_get(o, "function");
    return is_text(o, "id") && is_text(f, "name") &&
           json_is_object(json_object_get(f, "arguments"));
}

/* {"token", "logprob", "bytes"} */
static bool is_logprob(const json_t *o) {
    const json_t *bytes = json_object_get(o, "bytes");
    return is_text(o, "token") && json_is_number(json_object_get(o, "logprob")) &&
           (!bytes || json_is_null(bytes) || are_bytes(bytes));
}

static bool are_logprobs(const json_t *list) {
    size_t i, k;
    const json_t *v, *top;
    json_array_foreach(list, i, v) {
        const json_t *tops = json_object_get(v, "top_logprobs");
        if (!is_logprob(v) || (tops && !json_is_array(tops))) return false;
        json_array_foreach(tops, k, top) if (!is_logprob(top)) return false;
    }
    return json_is_array(list);
}

static bool are_results(const json_t *list, int n_document) {
    size_t i;
    const json_t *v;
    json_array_foreach(list, i, v) if (!is_index(json_object_get(v, "index"), n_document) ||
                                       !json_is_number(json_object_get(v, "score"))) return false;
    return json_is_array(list) && json_array_size(list) <= (size_t)n_document;
}

static bool are_tokens(const json_t *list, int n_vocab) {
    size_t i;
    const json_t *v;
    json_array_foreach(list, i, v) if (!is_index(v, n_vocab)) return false;
    return json_is_array(list);
}

static bool are_pieces(const json_t *list) {
    size_t i;
    const json_t *v;
    json_array_foreach(list, i, v) if (!json_is_string(v) && !are_bytes(v)) return false;
    return json_is_array(list);
}

static bool is_result(const json_t *o, const struct wire_task *t) {
    const json_t *pieces = json_object_get(o, "pieces");
    switch (t->op) {
    case WIRE_RERANK: return are_results(json_object_get(o, "results"), t->n_choice);
    case WIRE_TOKENIZE:
        return are_tokens(json_object_get(o, "tokens"), t->n_vocab) &&
               (!pieces || are_pieces(pieces));
    case WIRE_DETOKENIZE: return is_text(o, "text");
    case WIRE_RENDER:
        return is_text(o, "prompt") && is_index(json_object_get(o, "n_tokens"), INT32_MAX);
    default: return false;
    }
}

/* ---- reading ---- */

static bool stats_fit(const struct wire_event *w) {
    return w->n_prompt >= 0 && w->n_cached >= 0 && w->n_eval >= 0 && w->n_truncated >= 0 &&
           w->n_shift >= 0 && w->n_drafted >= 0 && w->n_accepted >= 0 && w->queue_ns >= 0 &&
           w->prompt_ns >= 0 && w->eval_ns >= 0;
}

static bool tokens_fit(const int32_t *token, uint32_t n, int n_vocab) {
    for (uint32_t i = 0; i < n; i++)
        if (token[i] < 0 || token[i] >= n_vocab) return false;
    return true;
}

static bool vector_fits(const float *v, uint32_t n, int n_embd) {
    if (n == 0 || n > (uint32_t)n_embd) return false;
    for (uint32_t i = 0; i < n; i++)
        if (!isfinite(v[i])) return false;
    return true;
}

/* What each kind of event has, and in which operation it comes. */
static bool kind_fits(const struct wire_event *w, const struct wire_task *t) {
    const bool generates = t->op == WIRE_GENERATE;
    const bool text = w->kind == GEN_TEXT || w->kind == GEN_THINKING;
    if (w->n_text && !text) return false;
    if (w->n_token && !text && w->kind != GEN_PROMPT) return false;
    if (w->n_untold && (!text || w->n_token || w->n_untold > WIRE_MAX_EVENT)) return false;
    if (w->n_vector && w->kind != GEN_VECTOR) return false;
    if (w->n_stop && w->kind != GEN_FINISH) return false;
    if ((w->code && w->kind != GEN_END) || ((w->n_msg || w->n_field) && !w->code)) return false;
    switch (w->kind) {
    case GEN_PROMPT:
    case GEN_FINISH: return generates && !w->n_data;
    case GEN_TEXT:
    case GEN_THINKING: return generates;
    case GEN_CALL: return generates && w->n_data;
    case GEN_VECTOR: return t->op == WIRE_EMBED && !w->n_data;
    case GEN_RESULT: return t->op != WIRE_OTHER && t->op != WIRE_EMBED && !generates && w->n_data;
    case GEN_END: return !w->n_data;
    default: return false;
    }
}

/* NUL bytes are as good as others: tokens may be one. */
static int read_data(struct str text, const struct wire_task *t, struct gen_event *ev,
                     json_t **data, struct err *e) {
    json_error_t je;
    if (json_check("engine process", text, WIRE_MAX_VALUES, e) != 0) return -1;
    *data =
        json_loadb(text.p, text.n, JSON_REJECT_DUPLICATES | JSON_DECODE_ANY | JSON_ALLOW_NUL, &je);
    ev->data = *data;
    const bool fits = ev->kind == GEN_CALL     ? is_call(ev->data)
                      : ev->kind == GEN_RESULT ? is_result(ev->data, t)
                                               : are_logprobs(ev->data);
    if (fits) return 0;
    json_decref(*data);
    *data = NULL;
    return err_set(e, ERR_FORMAT, "engine process: an event of kind %d with data of another shape",
                   ev->kind);
}

static struct str take(const char **at, uint32_t n) {
    const struct str s = {*at, n};
    *at += n;
    return s;
}

static void unpack(const struct wire_event *w, struct gen_event *ev) {
    *ev = (struct gen_event){.kind = (enum gen_kind)w->kind,
                             .choice = (int)w->choice,
                             .why = (enum gen_why)w->why,
                             .n_token = (int)(w->n_token + w->n_untold),
                             .n_vector = (int)w->n_vector};
    ev->stats = (struct gen_stats){
        .n_prompt = w->n_prompt,
        .n_cached = w->n_cached,
        .n_eval = w->n_eval,
        .n_truncated = w->n_truncated,
        .n_shift = w->n_shift,
        .n_drafted = w->n_drafted,
        .n_accepted = w->n_accepted,
        .queue_ns = w->queue_ns,
        .prompt_ns = w->prompt_ns,
        .eval_ns = w->eval_ns,
    };
}

static int check(const struct wire_frame *f, const struct wire_event *w, const struct wire_task *t,
                 struct err *e) {
    const uint64_t n = sizeof *w + 4 * ((uint64_t)w->n_token + w->n_vector) + (uint64_t)w->n_text +
                       w->n_stop + w->n_data + w->n_msg + w->n_field; /* sums of 32-bit numbers */
    if (n != f->body.n)
        return err_set(e, ERR_FORMAT, "engine process: an event of %zu bytes that says %llu",
                       f->body.n, (unsigned long long)n);
    if (!kind_fits(w, t) || !stats_fit(w) || w->why > GEN_CANCELLED || w->code > WIRE_LAST_ERROR ||
        w->n_msg >= sizeof((struct err *)0)->msg || w->n_field >= ERR_FIELD)
        return err_set(e, ERR_FORMAT, "engine process: an event of kind %u out of place", w->kind);
    if (w->choice >= (uint32_t)t->n_choice && (w->choice || w->kind == GEN_VECTOR))
        return err_set(e, ERR_FORMAT, "engine process: choice %u of %d", w->choice, t->n_choice);
    return 0;
}

int wire_get_event(const struct wire_frame *f, const struct wire_task *t, struct gen_event *ev,
                   json_t **data, struct err *e) {
    struct wire_event w;
    *data = NULL;
    if (f->body.n < sizeof w) return err_set(e, ERR_FORMAT, "engine process: a torn event");
    memcpy(&w, f->body.p, sizeof w);
    if (check(f, &w, t, e) != 0) return -1;
    unpack(&w, ev);
    const char *at = f->body.p + sizeof w; /* aligned to 8, as the body is */
    if (w.n_token) ev->token = (const int32_t *)(const void *)at;
    at += 4 * (size_t)w.n_token;
    if (w.n_vector) ev->vector = (const float *)(const void *)at;
    at += 4 * (size_t)w.n_vector;
    ev->text = take(&at, w.n_text);
    ev->stop = take(&at, w.n_stop);
    const struct str json = take(&at, w.n_data), msg = take(&at, w.n_msg),
                     field = take(&at, w.n_field);
    if (!tokens_fit(ev->token, w.n_token, t->n_vocab) ||
        (w.kind == GEN_VECTOR && !vector_fits(ev->vector, w.n_vector, t->n_embd)))
        return err_set(e, ERR_FORMAT, "engine process: tokens or values out of range");
    if (utf8_valid_prefix(ev->text.p, w.n_text) != w.n_text ||
        utf8_valid_prefix(ev->stop.p, w.n_stop) != w.n_stop)
        return err_set(e, ERR_FORMAT, "engine process: text that is not UTF-8");
    if (w.code) {
        err_set(&ev->err, (enum err_code)w.code, "%.*s", (int)msg.n, msg.p);
        err_field(&ev->err, "%.*s", (int)field.n, field.p);
    }
    return w.n_data ? read_data(json, t, ev, data, e) : 0;
}
