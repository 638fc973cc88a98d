/* /api/embed, and /api/embeddings as older clients have it (COMPAT.md 2.5). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "server/native.h"

enum { INPUTS_MAX = 4096 };

struct embed {
    struct request *r;
    const char *model;
    bool legacy, load_only, whole; /* whole: a text that is too long is an error */
    int n_input;
    float **row; /* [n_input], owned */
    int *n_row;  /* [n_input] lengths, owned */
    int64_t start_ns;
    bool failed; /* out of memory */
};

static void embed_free(struct embed *m) {
    for (int i = 0; m->row && i < m->n_input; i++)
        free(m->row[i]);
    free(m->row);
    free(m->n_row);
    free(m);
}

/* ---- the answer ---- */

/* Nine digits bring every float32 back.  Written here: as JSON values of a tree they would take
 * fifty times the memory. */
static void append_row(struct buf *b, const float *v, int n) {
    buf_byte(b, '[');
    for (int i = 0; i < n; i++) {
        if (isfinite(v[i]))
            buf_printf(b, "%s%.9g", i ? "," : "", (double)v[i]);
        else
            buf_str(b, i ? ",null" : "null");
    }
    buf_byte(b, ']');
}

static void append_key(struct buf *b, const char *key, int64_t n) {
    if (n) buf_printf(b, ",\"%s\":%lld", key, (long long)n);
}

static void append_answer(const struct embed *m, struct buf *b, const struct gen_stats *s) {
    const struct ask_model *model = ask_model(m->r);
    if (m->legacy) {
        buf_str(b, "{\"embedding\":");
        append_row(b, m->n_input ? m->row[0] : NULL, m->n_input ? m->n_row[0] : 0);
        buf_str(b, "}");
        return;
    }
    json_t *name = json_string(m->model);
    char *quoted = json_dumps(name, JSON_ENCODE_ANY);
    buf_printf(b, "{\"model\":%s,\"embeddings\":[", quoted ? quoted : "\"\"");
    free(quoted);
    json_decref(name);
    for (int i = 0; i < m->n_input; i++) {
        if (i) buf_byte(b, ',');
        append_row(b, m->row[i], m->n_row[i]);
    }
    buf_byte(b, ']');
    append_key(b, "total_duration", os_now_ns() - m->start_ns);
    append_key(b, "load_duration", model ? model->load_ns : 0);
    append_key(b, "prompt_eval_count", s->n_prompt);
    append_key(b, "truncated", s->n_truncated);
    buf_str(b, "}");
}

static void finish(struct embed *m, const struct gen_stats *s) {
    struct buf b = {0};
    char line[64];
    append_answer(m, &b, s);
    snprintf(line, sizeof line, "X-Cria-Truncated: %d\r\n", s->n_truncated);
    if (s->n_truncated) reply_header(m->r, line);
    if (b.failed || m->failed)
        reply_error(m->r, 500, "out of memory");
    else
        reply_text(m->r, 200, "application/json; charset=utf-8", buf_view(&b));
    buf_fini(&b);
}

static void on_end(struct embed *m, const struct gen_event *ev) {
    struct err e = ev->err;
    if (e.code == ERR_LIMIT && m->whole && ask_model(m->r))
        err_prefix(&e, "the input length exceeds the context length");
    if (e.code != ERR_NONE)
        reply_err(m->r, &e);
    else
        finish(m, &ev->stats);
    embed_free(m);
}

static void on_event(void *ctx, const struct gen_event *ev) {
    struct embed *m = ctx;
    if (ev->kind == GEN_END) {
        on_end(m, ev);
    } else if (ev->kind == GEN_VECTOR && ev->choice >= 0 && ev->choice < m->n_input &&
               !m->row[ev->choice]) {
        const size_t n_bytes = (size_t)ev->n_vector * sizeof(float);
        float *copy = malloc(n_bytes + 1);
        m->failed = m->failed || !copy;
        if (copy) memcpy(copy, ev->vector, n_bytes);
        m->row[ev->choice] = copy;
        m->n_row[ev->choice] = copy ? ev->n_vector : 0;
    }
}

/* ---- the request ---- */

const struct field native_embed_fields[] = {
    API_MODEL,
    {.name = "input", .types = FIELD_TEXT | FIELD_ARRAY, .apart = true},
    {.name = "truncate", .types = FIELD_BOOL},
    {.name = "dimensions", .types = FIELD_INT, .max = 1 << 20},
    API_OPTIONS,
    API_KEEP_ALIVE,
    API_CACHE,
    {0}};

const struct field native_embeddings_fields[] = {
    API_MODEL, {.name = "prompt", .types = FIELD_TEXT}, API_OPTIONS, API_KEEP_ALIVE, API_CACHE,
    {0}};

/* The texts as an array of their own; an empty one alone is none (Ollama).  NULL with e. */
static json_t *take_input(const json_t *body, const char *key, struct err *e) {
    json_t *v = field_get(body, key), *list = json_array(), *item;
    size_t i;
    if (json_is_string(v) && json_string_length(v)) json_array_append(list, v);
    if (!v || json_is_string(v)) return list;
    bool good = json_is_array(v);
    json_array_foreach(v, i, item) good = good && json_is_string(item);
    if (!good)
        err_set(e, ERR_USAGE, "invalid input type; a string or an array of strings is accepted");
    else if (json_array_size(v) > INPUTS_MAX)
        err_set(e, ERR_USAGE, "%zu inputs; at most %d at once are accepted", json_array_size(v),
                INPUTS_MAX);
    else {
        json_array_extend(list, v);
        return list;
    }
    json_decref(list);
    return NULL;
}

static int take_fields(struct embed *m, const json_t *body, json_t *gen, struct err *e) {
    const json_int_t n = field_int(body, "dimensions", 0);
    json_t *input = take_input(body, m->legacy ? "prompt" : "input", e);
    if (!input) return -1;
    json_object_set_new(gen, "op", json_string("embed"));
    json_object_set_new(gen, "input", input);
    if (n > 0) json_object_set_new(gen, "dimensions", json_integer(n));
    if (m->legacy) json_object_set_new(gen, "normalize", json_false());
    field_copy(gen, body, "truncate");
    field_copy(gen, body, "options");
    json_object_set_new(gen, "user", json_string(request_user(m->r)));
    m->whole = !field_bool(body, "truncate", true);
    m->n_input = (int)json_array_size(input);
    m->load_only = m->n_input == 0;
    m->row = calloc((size_t)m->n_input + 1, sizeof *m->row);
    m->n_row = calloc((size_t)m->n_input + 1, sizeof *m->n_row);
    return m->row && m->n_row ? 0 : err_nomem(e, "embed");
}

static void begin(struct request *r, bool legacy) {
    const char *model;
    struct err e = {0};
    const json_t *body = api_read(r, &model, NULL);
    struct embed *m = body ? calloc(1, sizeof *m) : NULL;
    if (!m) {
        if (body) reply_error(r, 500, "out of memory");
        return;
    }
    *m = (struct embed){.r = r, .model = model, .legacy = legacy, .start_ns = os_now_ns()};
    json_t *gen = json_object();
    if (take_fields(m, body, gen, &e) != 0) {
        reply_err(r, &e);
        json_decref(gen);
        embed_free(m);
        return;
    }
    const struct ask a = {.model = model,
                          .gen = gen,
                          .keep_alive = field_get(body, "keep_alive"),
                          .load_only = m->load_only,
                          .fn = on_event,
                          .ctx = m};
    if (ask_start(r, &a) != 0) embed_free(m);
}

void native_embed(struct request *r) {
    begin(r, false);
}

void native_embeddings(struct request *r) {
    begin(r, true);
}
