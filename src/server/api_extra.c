/* What Ollama's API does not have (COMPAT.md 6.1): tokens of a text and back, the prompt that a
 * conversation becomes, and documents in the order of how well they answer a query.
 *
 * Data flow: handler -> request of gen.h -> ask -> GEN_RESULT is kept -> GEN_END: one JSON object.
 */
#include <limits.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "server/api.h"
#include "server/ask.h"
#include "server/route.h"

enum { DOCUMENTS_MAX = 1000 };

static const struct field tokenize_fields[] = {
    API_MODEL,
    {.name = "text", .types = FIELD_TEXT, .also = "content", .required = true},
    {.name = "special", .types = FIELD_BOOL, .also = "parse_special"},
    {.name = "bos", .types = FIELD_BOOL, .also = "add_special"},
    {.name = "pieces", .types = FIELD_BOOL, .also = "with_pieces"},
    API_OPTIONS,
    API_KEEP_ALIVE,
    {0}};

static const struct field detokenize_fields[] = {
    API_MODEL,
    {.name = "tokens", .types = FIELD_ARRAY, .required = true},
    API_OPTIONS,
    API_KEEP_ALIVE,
    {0}};

static const struct field template_fields[] = {
    API_MODEL,
    {.name = "messages", .types = FIELD_ARRAY, .required = true},
    {.name = "tools", .types = FIELD_ARRAY},
    {.name = "think", .types = FIELD_BOOL | FIELD_TEXT, .apart = true},
    {.name = "template", .types = FIELD_TEXT},
    {.name = "documents", .types = FIELD_ARRAY},
    {.name = "template_vars", .types = FIELD_OBJECT},
    {.name = "continue", .types = FIELD_BOOL},
    API_OPTIONS,
    API_KEEP_ALIVE,
    {0}};

static const struct field rerank_fields[] = {
    API_MODEL,
    {.name = "query", .types = FIELD_TEXT, .required = true},
    {.name = "documents", .types = FIELD_ARRAY, .required = true},
    {.name = "top_n", .types = FIELD_INT, .min = 1, .max = INT_MAX},
    {.name = "return_documents", .types = FIELD_BOOL},
    API_OPTIONS,
    API_KEEP_ALIVE,
    {0}};

struct extra {
    struct request *r;
    const char *model;  /* as the client wrote it; borrowed from r */
    const json_t *body; /* borrowed from r */
    /* What the answer is, from the result; NULL: out of memory. */
    json_t *(*answer)(const struct extra *x, const struct gen_stats *s);
    json_t *result; /* owned; NULL: none yet */
    int64_t start_ns;
};

/* ---- from the model ---- */

static void on_end(struct extra *x, const struct gen_event *ev) {
    if (ev->err.code != ERR_NONE)
        reply_err(x->r, &ev->err);
    else
        reply_json(x->r, 200, x->result ? x->answer(x, &ev->stats) : NULL);
    json_decref(x->result);
    free(x);
}

static void on_event(void *ctx, const struct gen_event *ev) {
    struct extra *x = ctx;
    if (ev->kind == GEN_END)
        on_end(x, ev);
    else if (ev->kind == GEN_RESULT && !x->result)
        x->result = json_deep_copy(ev->data);
}

static void set_times(const struct extra *x, json_t *o) {
    const struct ask_model *m = ask_model(x->r);
    api_set_count(o, "total_duration", os_now_ns() - x->start_ns);
    api_set_count(o, "load_duration", m ? m->load_ns : 0);
}

/* The result with the model's name before it. */
static json_t *plain_answer(const struct extra *x, const struct gen_stats *s) {
    json_t *o = json_pack("{s:s}", "model", x->model);
    (void)s;
    if (o && json_object_update(o, x->result) == 0) {
        set_times(x, o);
        return o;
    }
    json_decref(o);
    return NULL;
}

/* ---- to the model ---- */

/* Takes gen; NULL: out of memory. */
static void start(struct request *r, const json_t *body, const char *model, json_t *gen,
                  json_t *(*answer)(const struct extra *x, const struct gen_stats *s)) {
    struct extra *x = calloc(1, sizeof *x);
    if (!x || !gen) {
        free(x);
        json_decref(gen);
        reply_error(r, 500, "out of memory");
        return;
    }
    *x = (struct extra){
        .r = r, .model = model, .body = body, .answer = answer, .start_ns = os_now_ns()};
    field_copy(gen, body, "options");
    const struct ask a = {.model = model,
                          .gen = gen,
                          .keep_alive = field_get(body, "keep_alive"),
                          .fn = on_event,
                          .ctx = x};
    if (ask_start(r, &a) != 0) free(x);
}

/* ---- tokens ---- */

static void post_tokenize(struct request *r) {
    const char *model;
    const json_t *body = api_read(r, &model, NULL);
    if (!body) return;
    json_t *text = field_get(body, "text");
    json_t *gen = json_pack("{s:s, s:O, s:b, s:b, s:b}", "op", "tokenize", "text", text, "special",
                            field_true(body, "special"), "bos", field_bool(body, "bos", true),
                            "pieces", field_true(body, "pieces"));
    start(r, body, model, gen, plain_answer);
}

static void post_detokenize(struct request *r) {
    const char *model;
    const json_t *body = api_read(r, &model, NULL);
    if (!body) return;
    json_t *tokens = field_get(body, "tokens");
    start(r, body, model, json_pack("{s:s, s:O}", "op", "detokenize", "tokens", tokens),
          plain_answer);
}

/* ---- prompts ---- */

static void post_apply_template(struct request *r) {
    static const char *const taken[] = {"tools",     "think",         "template",
                                        "documents", "template_vars", "continue"};
    const char *model;
    const json_t *body = api_read(r, &model, NULL);
    if (!body) return;
    json_t *messages = field_get(body, "messages");
    json_t *gen = json_pack("{s:s, s:O}", "op", "render", "messages", messages);
    for (size_t i = 0; gen && i < sizeof taken / sizeof *taken; i++)
        field_copy(gen, body, taken[i]);
    start(r, body, model, gen, plain_answer);
}

/* ---- rerank ---- */

static json_t *document_text(const json_t *d) {
    json_t *text = json_is_object(d) ? json_object_get(d, "text") : field_share(d);
    return json_is_string(text) ? text : NULL;
}

/* The documents' texts, new; NULL after the request was answered. */
static json_t *take_documents(struct request *r, const json_t *list) {
    json_t *texts = json_array(), *d;
    size_t i;
    const size_t n = json_array_size(list);
    bool good = n > 0 && n <= DOCUMENTS_MAX;
    json_array_foreach(list, i, d) {
        good = good && document_text(d);
        if (good) json_array_append(texts, document_text(d));
    }
    if (good && texts) return texts;
    reply_error(r, 400,
                "documents: found %s; 1 to %d texts, or objects with \"text\", are accepted",
                n == 0              ? "none"
                : n > DOCUMENTS_MAX ? "more"
                                    : "something else",
                DOCUMENTS_MAX);
    json_decref(texts);
    return NULL;
}

/* {"index", "relevance_score"}, with the document when that was asked for. */
static json_t *ranked(const struct extra *x) {
    const json_t *documents = field_get(x->body, "documents");
    const json_t *from = json_object_get(x->result, "results");
    const json_int_t top = field_int(x->body, "top_n", DOCUMENTS_MAX);
    const bool with_text = field_bool(x->body, "return_documents", false);
    json_t *list = json_array(), *one;
    size_t i;
    json_array_foreach(from, i, one) {
        if ((json_int_t)i >= top) break;
        json_t *index = json_object_get(one, "index");
        json_t *o = json_pack("{s:O, s:O}", "index", index, "relevance_score",
                              json_object_get(one, "score"));
        json_t *d = json_array_get(documents, (size_t)json_integer_value(index));
        if (with_text && d)
            json_object_set_new(o, "document", json_pack("{s:O}", "text", document_text(d)));
        json_array_append_new(list, o);
    }
    return list;
}

static json_t *native_ranking(const struct extra *x, const struct gen_stats *s) {
    json_t *o = json_pack("{s:s, s:o}", "model", x->model, "results", ranked(x));
    if (o) set_times(x, o);
    if (o) api_set_count(o, "prompt_eval_count", s->n_prompt);
    return o;
}

static json_t *v1_ranking(const struct extra *x, const struct gen_stats *s) {
    return json_pack("{s:s, s:s, s:o, s:{s:i, s:i}}", "object", "list", "model", x->model,
                     "results", ranked(x), "usage", "prompt_tokens", s->n_prompt, "total_tokens",
                     s->n_prompt);
}

static void rerank(struct request *r,
                   json_t *(*answer)(const struct extra *x, const struct gen_stats *s)) {
    const char *model;
    const json_t *body = api_read(r, &model, NULL);
    if (!body) return;
    json_t *query = field_get(body, "query");
    json_t *texts = take_documents(r, field_get(body, "documents"));
    if (!texts) return;
    start(r, body, model,
          json_pack("{s:s, s:O, s:o}", "op", "rerank", "query", query, "documents", texts), answer);
}

static void post_rerank(struct request *r) {
    rerank(r, native_ranking);
}

static void post_v1_rerank(struct request *r) {
    rerank(r, v1_ranking);
}

/* clang-format off */
const struct route routes_extra[] = {
    {HTTP_POST, "/api/tokenize", RIGHT_USE, DIALECT_OLLAMA, BODY_MAX, post_tokenize, NULL, tokenize_fields},
    {HTTP_POST, "/api/detokenize", RIGHT_USE, DIALECT_OLLAMA, BODY_MAX, post_detokenize, NULL, detokenize_fields},
    {HTTP_POST, "/api/apply-template", RIGHT_USE, DIALECT_OLLAMA, BODY_MAX, post_apply_template, NULL, template_fields},
    {HTTP_POST, "/api/rerank", RIGHT_USE, DIALECT_OLLAMA, BODY_MAX, post_rerank, NULL, rerank_fields},
    {HTTP_POST, "/v1/rerank", RIGHT_USE, DIALECT_OPENAI, BODY_MAX, post_v1_rerank, NULL, rerank_fields},
    {.path = NULL},
};
/* clang-format on */
