/* POST /v1/completions: a text goes on.  The model's template is applied as Ollama does it (base
 * models have none that changes anything); "raw": true and token ids go in as they are.
 *
 * Several prompts are asked one after the other; their choices are counted through, n for each. */
#include "server/openai.h"

#include <stdlib.h>
#include <string.h>
#include <time.h>

enum { MAX_PROMPTS = 64 };

struct text {
    struct request *r;
    struct gather g; /* of the prompt that is asked */
    char id[OPENAI_ID];
    const char *asked;  /* the model as the client wrote it; of the request */
    char *model;        /* owned: the same, or the one that answers instead */
    json_t *keep_alive; /* borrowed from r */
    json_t *gen;        /* owned: what all prompts share */
    json_t *prompts;    /* owned: [text or [id]] */
    json_t *choices;    /* owned: of the prompts before */
    size_t at;          /* the prompt that is asked */
    int n;              /* choices of a prompt */
    int n_prompt, n_eval, n_cached, n_thinking; /* sums of the prompts before */
    int *offset; /* [n], owned: characters of each choice so far, for text_offset */
    json_int_t created;
    bool stream, usage, logprobs;
};

const struct field openai_text_fields[] = {
    {.name = "model", .types = FIELD_TEXT, .required = true},
    {.name = "prompt", .types = FIELD_TEXT | FIELD_ARRAY, .required = true},
    OPENAI_SAMPLING_FIELDS,
    OPENAI_EXTENSION_FIELDS,
    OPENAI_ACCOUNT_FIELDS,
    {.name = "max_tokens", .types = FIELD_INT, .min = -1, .max = 1e9},
    {.name = "suffix", .types = FIELD_TEXT},
    {.name = "echo", .types = FIELD_BOOL},
    {.name = "best_of", .types = FIELD_INT, .min = 1, .max = OPENAI_MAX_CHOICES},
    {.name = "logprobs", .types = FIELD_INT, .min = 0, .max = 20},
    {.name = "stream", .types = FIELD_BOOL},
    {.name = "stream_options", .types = FIELD_OBJECT},
    {.name = "response_format", .types = FIELD_OBJECT}, /* ours */
    {.name = "raw", .types = FIELD_BOOL},               /* ours */
    {0}};

static const struct field stream_fields[] = {{.name = "include_usage", .types = FIELD_BOOL},
                                             {.name = "include_obfuscation", .types = FIELD_BOOL},
                                             {0}};

/* ---- the request ---- */

/* text, [text], [id] or [[id]] becomes [text or [id]]. */
static json_t *read_prompts(json_t *p, struct fault *f) {
    const bool one = json_is_string(p) || json_is_integer(json_array_get(p, 0));
    json_t *list = one ? json_pack("[O]", p) : json_incref(p);
    const size_t n = json_array_size(list);
    bool good = n > 0;
    for (size_t i = 0; good && i < n; i++) {
        const json_t *v = json_array_get(list, i);
        good = json_is_string(v) || json_array_size(v) > 0;
        for (size_t k = 0; good && json_is_array(v) && k < json_array_size(v); k++)
            good = json_is_integer(json_array_get(v, k));
    }
    if (!good)
        fault_set(f, ERR_USAGE, "prompt",
                  "accepted: a text, texts, token ids, or lists of token ids; at least one");
    else if (n > MAX_PROMPTS)
        fault_set(f, ERR_LIMIT, "prompt", "found %zu prompts; up to %d are accepted", n,
                  MAX_PROMPTS);
    else
        return list;
    json_decref(list);
    return NULL;
}

static int read_choices(const json_t *body, struct text *t, json_t *gen, struct fault *f) {
    const json_t *n = json_object_get(body, "n"), *best = json_object_get(body, "best_of"),
                 *logprobs = json_object_get(body, "logprobs");
    t->n = n ? (int)field_integer(n) : 1;
    if (best && field_integer(best) != t->n)
        return fault_set(f, ERR_UNSUPPORTED, "best_of",
                         "found another number than n; all answers that are made are returned");
    if (field_true(body, "echo") && !json_is_string(json_array_get(t->prompts, 0)))
        return fault_set(f, ERR_UNSUPPORTED, "echo", "found with token ids; it goes with texts");
    if (logprobs && field_true(body, "echo"))
        return fault_set(f, ERR_UNSUPPORTED, "logprobs",
                         "found with echo; the prompt's tokens are not scored");
    t->logprobs = logprobs != NULL;
    if (logprobs) {
        json_object_set_new(gen, "logprobs", json_true());
        json_object_set_new(gen, "top_logprobs", json_integer(field_integer(logprobs)));
    }
    json_object_set_new(gen, "n", json_integer(t->n));
    t->offset = calloc((size_t)t->n, sizeof *t->offset);
    return t->offset ? 0 : fault_nomem(f);
}

static int read_stream(const json_t *body, struct text *t, struct fault *f) {
    json_t *options = json_object_get(body, "stream_options");
    t->stream = field_true(body, "stream");
    if (t->stream && json_array_size(t->prompts) > 1)
        return fault_set(f, ERR_UNSUPPORTED, "stream",
                         "found with several prompts; one prompt is accepted with it");
    if (field_true(body, "receipt") && json_array_size(t->prompts) > 1)
        return fault_set(f, ERR_UNSUPPORTED, "receipt",
                         "found with several prompts; one prompt is accepted with it");
    if (!options) return 0;
    if (!t->stream) return fault_set(f, ERR_USAGE, "stream_options", "needs \"stream\": true");
    if (field_check(options, "stream_options.", stream_fields, f) != 0) return -1;
    t->usage = field_true(options, "include_usage");
    return 0;
}

static int read_request(json_t *body, struct text *t, struct fault *f) {
    static const char *const same[] = {"suffix", "echo", "raw"};
    json_t *format = json_object_get(body, "response_format"), *v;
    t->gen = json_pack("{s:s}", "op", "text");
    t->choices = json_array();
    t->keep_alive = json_object_get(body, "keep_alive");
    t->asked = field_text(body, "model");
    t->model = strdup(t->asked);
    if (!t->gen || !t->choices || !t->model) return fault_nomem(f);
    t->prompts = read_prompts(json_object_get(body, "prompt"), f);
    if (!t->prompts || read_stream(body, t, f) != 0 || read_choices(body, t, t->gen, f) != 0 ||
        openai_options(t->r, body, "max_tokens", t->gen, f) != 0 ||
        (format && openai_format(format, "response_format", false, t->gen, f) != 0))
        return -1;
    for (size_t i = 0; i < sizeof same / sizeof *same; i++)
        if ((v = json_object_get(body, same[i]))) json_object_set(t->gen, same[i], v);
    return 0;
}

/* ---- logprobs in the old form ---- */

static int n_characters(const char *s) {
    int n = 0;
    for (; *s; s++)
        n += (*s & 0xc0) != 0x80;
    return n;
}

/* {"tokens", "token_logprobs", "top_logprobs", "text_offset"} of gen's list. */
static json_t *old_logprobs(const json_t *list, int *offset) {
    json_t *tokens = json_array(), *logprobs = json_array(), *tops = json_array(),
           *offsets = json_array();
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *t = json_array_get(list, i), *top = json_object_get(t, "top_logprobs");
        const char *text = field_text(t, "token");
        json_t *map = json_object();
        for (size_t k = 0; k < json_array_size(top); k++) {
            const json_t *alt = json_array_get(top, k);
            const char *word = field_text(alt, "token");
            json_object_set(map, word ? word : "", json_object_get(alt, "logprob"));
        }
        json_array_append_new(tokens, json_string(text ? text : ""));
        json_array_append(logprobs, json_object_get(t, "logprob"));
        json_array_append_new(tops, map);
        json_array_append_new(offsets, json_integer(*offset));
        *offset += n_characters(text ? text : "");
    }
    return json_pack("{s:o, s:o, s:o, s:o}", "tokens", tokens, "token_logprobs", logprobs,
                     "top_logprobs", tops, "text_offset", offsets);
}

/* ---- answers ---- */

static json_t *head(const struct text *t, json_t *choices) {
    return json_pack("{s:s, s:s, s:I, s:s, s:s, s:o}", "id", t->id, "object", "text_completion",
                     "created", t->created, "model", t->model, "system_fingerprint", "fp_cria",
                     "choices", choices);
}

static json_t *choice(struct text *t, int i, json_t *text, const json_t *logprobs,
                      const char *finish) {
    return json_pack("{s:i, s:o, s:o, s:s?}", "index", (int)t->at * t->n + i, "text", text,
                     "logprobs",
                     t->logprobs && (logprobs || !t->stream) ? old_logprobs(logprobs, &t->offset[i])
                                                             : json_null(),
                     "finish_reason", finish);
}

static void send_chunk(struct text *t, json_t *choices) {
    json_t *j = head(t, choices);
    if (j && t->usage)
        json_object_set_new(j, "usage",
                            json_array_size(choices) ? json_null() : openai_usage(&t->g));
    if (openai_is_last(choices)) request_tell(t->r, j);
    if (j)
        stream_json(t->r, j);
    else
        t->g.failed = true;
    json_decref(j);
}

static void send_event(struct text *t, const struct gen_event *ev) {
    if (!stream_started(t->r)) {
        openai_tell_truncated(t->r, &t->g.stats);
        stream_start(t->r, 200, STREAM_SSE);
    }
    if ((ev->kind == GEN_TEXT || ev->kind == GEN_THINKING) && (ev->text.n || ev->data))
        send_chunk(t, json_pack("[o]", choice(t, ev->choice, json_stringn(ev->text.p, ev->text.n),
                                              ev->data, NULL)));
    if (ev->kind == GEN_FINISH && ev->why != GEN_CANCELLED)
        send_chunk(t, json_pack("[o]", choice(t, ev->choice, json_string(""), NULL,
                                              openai_finish_reason(&t->g.choice[ev->choice]))));
}

static void free_text(struct text *t) {
    gather_fini(&t->g);
    free(t->model);
    free(t->offset);
    json_decref(t->gen);
    json_decref(t->prompts);
    json_decref(t->choices);
    free(t);
}

/* The choices of the prompt that was answered. */
static int keep_choices(struct text *t) {
    int rc = t->g.failed ? -1 : 0;
    for (int i = 0; rc == 0 && i < t->g.n; i++) {
        const struct gather_choice *k = &t->g.choice[i];
        t->offset[i] = 0;
        rc = json_array_append_new(t->choices,
                                   choice(t, i, json_stringn(k->text.p ? k->text.p : "", k->text.n),
                                          k->logprobs, openai_finish_reason(k)));
    }
    t->n_prompt += t->g.stats.n_prompt;
    t->n_eval += t->g.stats.n_eval;
    t->n_cached += t->g.stats.n_cached;
    t->n_thinking += t->g.n_thinking;
    return rc;
}

static void reply_whole(struct text *t) {
    struct err e = {0};
    t->g.stats.n_prompt = t->n_prompt;
    t->g.stats.n_eval = t->n_eval;
    t->g.stats.n_cached = t->n_cached;
    t->g.n_thinking = t->n_thinking;
    json_t *j = head(t, json_incref(t->choices));
    if (j && json_object_set_new(j, "usage", openai_usage(&t->g)) == 0) {
        request_tell(t->r, j);
        openai_tell_truncated(t->r, &t->g.stats);
        reply_json(t->r, 200, j);
        return;
    }
    json_decref(j);
    err_nomem(&e, "answer");
    reply_err(t->r, &e);
}

static void end_stream(struct text *t) {
    if (t->usage) send_chunk(t, json_array());
    stream_text(t->r, STR("data: [DONE]\n\n"));
    stream_end(t->r);
}

static void ask_prompt(struct text *t);

static void end(struct text *t, const struct gen_event *ev) {
    struct err e = ev->err;
    if (e.code == ERR_NONE && (t->stream ? t->g.failed : keep_choices(t) != 0))
        err_nomem(&e, "answer");
    if (e.code != ERR_NONE) {
        reply_err(t->r, &e);
    } else if (t->stream) {
        end_stream(t);
    } else if (++t->at < json_array_size(t->prompts)) {
        ask_prompt(t);
        return;
    } else {
        reply_whole(t);
    }
    free_text(t);
}

static void on_event(void *ctx, const struct gen_event *ev) {
    struct text *t = ctx;
    openai_set_served(t->r, &t->model);
    gather_add(&t->g, ev);
    if (ev->kind == GEN_END)
        end(t, ev);
    else if (t->stream && ev->choice >= 0 && ev->choice < t->g.n)
        send_event(t, ev);
}

/* Ask the prompt at t->at; t is gone when that ended the request. */
static void ask_prompt(struct text *t) {
    json_t *prompt = json_array_get(t->prompts, t->at), *gen = json_deep_copy(t->gen);
    struct err e = {0};
    gather_fini(&t->g);
    if (!gen || gather_init(&t->g, t->n, !t->stream) != 0) {
        json_decref(gen);
        err_nomem(&e, "request");
        reply_err(t->r, &e);
        free_text(t);
        return;
    }
    json_object_set(gen, json_is_string(prompt) ? "prompt" : "tokens", prompt);
    if (!json_is_string(prompt)) json_object_set_new(gen, "raw", json_true());
    const struct ask a = {.model = t->asked,
                          .gen = gen,
                          .keep_alive = t->keep_alive,
                          .whole = !t->stream,
                          .goes_on = t->at + 1 < json_array_size(t->prompts),
                          .follows = t->at > 0,
                          .ready = openai_ready,
                          .fn = on_event,
                          .ctx = t};
    if (ask_start(t->r, &a) != 0) free_text(t);
}

void openai_text(struct request *r) {
    struct fault f;
    json_t *body = api_body(r, &f);
    if (!body) return;
    struct text *t = calloc(1, sizeof *t);
    if (t) {
        t->r = r;
        t->created = (json_int_t)time(NULL);
        openai_id("cmpl-", t->id);
        if (read_request(body, t, &f) == 0) {
            ask_prompt(t);
            return;
        }
        free_text(t);
    } else {
        fault_nomem(&f);
    }
    reply_err(r, &f.err);
}
