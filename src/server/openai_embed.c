/* POST /v1/embeddings.  The vectors of all inputs come from one request to the model; the answer is
 * written as text at once: as JSON values a large batch would take several times its bytes. */
#include "server/openai.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "base/json.h"

enum { MAX_INPUTS = 2048 };

struct embedding {
    float *v; /* [n], owned; NULL: not there yet */
    int n;
};

struct embed {
    struct request *r;
    char *model;           /* owned: as the client wrote it */
    struct embedding *out; /* [n_input], owned */
    size_t n_input;
    bool base64, failed;
};

const struct field openai_embed_fields[] = {
    {.name = "model", .types = FIELD_TEXT, .required = true},
    {.name = "input", .types = FIELD_TEXT | FIELD_ARRAY, .required = true},
    {.name = "encoding_format", .types = FIELD_TEXT, .one_of = "float base64"},
    {.name = "dimensions", .types = FIELD_INT, .min = 1, .max = 1 << 20},
    {.name = "user", .types = FIELD_TEXT},
    {.name = "keep_alive", .types = FIELD_TEXT | FIELD_NUMBER}, /* ours, as are these: */
    {.name = "options", .types = FIELD_OBJECT},
    {.name = "num_ctx", .types = FIELD_INT, .min = 4, .max = 1 << 24},
    {.name = "truncate", .types = FIELD_BOOL},
    API_CACHE,
    {0}};

/* ---- the request ---- */

static bool is_ids(const json_t *v) {
    size_t i = 0;
    while (i < json_array_size(v) && json_is_integer(json_array_get(v, i)))
        i++;
    return json_is_array(v) && i > 0 && i == json_array_size(v);
}

/* text, [text], [id] or [[id]] becomes [text or [id]]. */
static json_t *read_input(json_t *in, struct fault *f) {
    json_t *list = json_is_string(in) || is_ids(in) ? json_pack("[O]", in) : json_incref(in);
    const size_t n = json_array_size(list);
    bool good = n > 0;
    for (size_t i = 0; good && i < n; i++) {
        const json_t *v = json_array_get(list, i);
        good = json_string_length(v) > 0 || is_ids(v);
    }
    if (good && n <= MAX_INPUTS) return list;
    json_decref(list);
    if (good)
        fault_set(f, ERR_LIMIT, "input", "found %zu inputs; up to %d are accepted", n, MAX_INPUTS);
    else
        fault_set(f, ERR_USAGE, "input",
                  "accepted: a text, texts, token ids or lists of token ids, none of them empty");
    return NULL;
}

static int read_request(json_t *body, struct embed *m, json_t *gen, struct fault *f) {
    json_t *input = read_input(json_object_get(body, "input"), f),
           *options = json_object_get(body, "options"),
           *dimensions = json_object_get(body, "dimensions");
    if (!input) return -1;
    const char *format = field_text(body, "encoding_format"), *user = field_text(body, "user");
    m->base64 = format && strcmp(format, "base64") == 0;
    m->n_input = json_array_size(input);
    m->out = calloc(m->n_input, sizeof *m->out);
    m->model = strdup(field_text(body, "model"));
    options = options ? json_deep_copy(options) : json_object();
    if (json_object_get(body, "num_ctx"))
        json_object_set(options, "num_ctx", json_object_get(body, "num_ctx"));
    json_object_set_new(gen, "options", options);
    json_object_set_new(gen, "truncate", json_boolean(field_true(body, "truncate")));
    json_object_set_new(gen, "user", request_turn(m->r, user));
    if (dimensions) json_object_set_new(gen, "dimensions", json_integer(field_integer(dimensions)));
    return json_object_set_new(gen, "input", input) == 0 && m->out && m->model ? 0 : fault_nomem(f);
}

/* ---- the answer ---- */

/* Little-endian F32, as OpenAI's clients unpack it; as are the machines that this is built for. */
static void append_base64(struct buf *b, const struct embedding *x) {
    const size_t n = (size_t)x->n * sizeof *x->v;
    char *to = buf_room(b, n / 3 * 4 + 8);
    if (!to) return;
    b->n += (size_t)EVP_EncodeBlock((unsigned char *)to, (const unsigned char *)x->v, (int)n);
}

static void append_vector(struct buf *b, const struct embedding *x, bool base64) {
    if (base64) {
        buf_byte(b, '"');
        append_base64(b, x);
        buf_byte(b, '"');
        return;
    }
    buf_byte(b, '[');
    for (int i = 0; i < x->n; i++)
        buf_printf(b, "%s%.9g", i ? "," : "", (double)(isfinite(x->v[i]) ? x->v[i] : 0));
    buf_byte(b, ']');
}

static void reply_vectors(struct embed *m, const struct gen_stats *s) {
    struct buf b = {0};
    struct err e = {0};
    json_t *tail = json_pack("{s:s, s:{s:i, s:i}}", "model", m->model, "usage", "prompt_tokens",
                             s->n_prompt, "total_tokens", s->n_prompt);
    struct buf t = {0};
    buf_str(&b, "{\"object\":\"list\",\"data\":[");
    for (size_t i = 0; i < m->n_input; i++) {
        buf_printf(&b, "%s{\"object\":\"embedding\",\"index\":%zu,\"embedding\":", i ? "," : "", i);
        append_vector(&b, &m->out[i], m->base64);
        buf_byte(&b, '}');
        if (!m->out[i].v) m->failed = true;
    }
    buf_str(&b, "],");
    if (!tail || json_append("answer", tail, &t, &e) != 0) m->failed = true;
    if (t.n) buf_append(&b, t.p + 1, t.n - 1); /* its members join this object */
    if (m->failed || b.failed) {
        err_nomem(&e, "answer");
        reply_err(m->r, &e);
    } else {
        openai_tell_truncated(m->r, s);
        reply_text(m->r, 200, "application/json", buf_view(&b));
    }
    json_decref(tail);
    buf_fini(&t);
    buf_fini(&b);
}

static void free_embed(struct embed *m) {
    for (size_t i = 0; m->out && i < m->n_input; i++)
        free(m->out[i].v);
    free(m->out);
    free(m->model);
    free(m);
}

static void keep_vector(struct embed *m, const struct gen_event *ev) {
    if (ev->choice < 0 || (size_t)ev->choice >= m->n_input || m->out[ev->choice].v) return;
    struct embedding *x = &m->out[ev->choice];
    x->v = malloc((size_t)ev->n_vector * sizeof *x->v);
    if (!x->v) return;
    memcpy(x->v, ev->vector, (size_t)ev->n_vector * sizeof *x->v);
    x->n = ev->n_vector;
}

static void on_event(void *ctx, const struct gen_event *ev) {
    struct embed *m = ctx;
    if (ev->kind == GEN_VECTOR) keep_vector(m, ev);
    if (ev->kind != GEN_END) return;
    if (ev->err.code != ERR_NONE)
        reply_err(m->r, &ev->err);
    else
        reply_vectors(m, &ev->stats);
    free_embed(m);
}

void openai_embed(struct request *r) {
    struct fault f;
    json_t *body = api_body(r, &f);
    if (!body) return;
    struct embed *m = calloc(1, sizeof *m);
    json_t *gen = json_pack("{s:s}", "op", "embed");
    if (m) m->r = r;
    if (!m || !gen ? fault_nomem(&f) != 0 : read_request(body, m, gen, &f) != 0) {
        if (m) free_embed(m);
        json_decref(gen);
        reply_err(r, &f.err);
        return;
    }
    const struct ask a = {.model = m->model,
                          .gen = gen,
                          .keep_alive = json_object_get(body, "keep_alive"),
                          .fn = on_event,
                          .ctx = m};
    if (ask_start(r, &a) != 0) free_embed(m);
}
