/* What a model answers without its forward: tokens of texts, texts of tokens, prompts; and the
 * order of a rerank. */
#include <stdlib.h>

#include "engine/local.h"

static json_t *piece_of(const struct buf *b) {
    json_t *text = json_stringn(b->p ? b->p : "", b->n);
    if (text) return text;
    text = json_array(); /* part of a character */
    for (size_t k = 0; k < b->n; k++)
        json_array_append_new(text, json_integer((unsigned char)b->p[k]));
    return text;
}

json_t *local_tokenize(struct local *g, const struct gen_request *q, struct err *e) {
    const struct vocab *v = engine_vocab(g->engine);
    const struct tok_opts o = {.add_special = !q->no_bos, .parse_special = q->special};
    struct ids ids = {0};
    if (tok_encode(v, q->text, o, &ids, e) != 0) {
        ids_fini(&ids);
        return NULL;
    }
    json_t *tokens = json_array(), *pieces = json_array();
    struct buf piece = {0};
    for (size_t i = 0; i < ids.n; i++) {
        json_array_append_new(tokens, json_integer(ids.v[i]));
        if (!q->pieces) continue;
        buf_reset(&piece);
        tok_piece(v, ids.v[i], true, &piece);
        json_array_append_new(pieces, piece_of(&piece));
    }
    buf_fini(&piece);
    ids_fini(&ids);
    json_t *data = json_pack("{s:o}", "tokens", tokens);
    if (q->pieces) json_object_set(data, "pieces", pieces);
    json_decref(pieces);
    if (!data) err_nomem(e, "tokenize");
    return data;
}

/* Text from outside need not be UTF-8. */
static json_t *text_json(const struct buf *b) {
    json_t *s = json_stringn(b->p ? b->p : "", b->n);
    return s ? s : json_string("");
}

json_t *local_detokenize(struct local *g, const struct gen_request *q, struct err *e) {
    struct buf text = {0};
    json_t *data = NULL;
    const struct detok_opts o = {0};
    if (tok_decode(engine_vocab(g->engine), q->token, (size_t)q->n_token, o, &text, e) == 0)
        data = json_pack("{s:o}", "text", text_json(&text));
    buf_fini(&text);
    return data;
}

json_t *local_render(struct local *g, struct task *t, struct err *e) {
    struct buf text = {0};
    json_t *data = NULL;
    const struct detok_opts o = {.special = true, .keep_all = true};
    if (local_prompt(g, t, e) == 0 &&
        tok_decode(engine_vocab(g->engine), t->prompt.v, t->prompt.n, o, &text, e) == 0)
        data = json_pack("{s:o, s:i}", "prompt", text_json(&text), "n_tokens", (int)t->prompt.n);
    buf_fini(&text);
    return data;
}

struct rank {
    int index;
    double score;
};

static int by_score(const void *a, const void *b) {
    const struct rank *x = a, *y = b;
    if (x->score != y->score) return x->score < y->score ? 1 : -1;
    return x->index < y->index ? -1 : x->index > y->index;
}

/* Cosines: the rows have length 1. */
json_t *local_rank(const float *vector, int n, int n_embd) {
    struct rank *r = calloc((size_t)n + 1, sizeof *r);
    json_t *list = json_array();
    for (int i = 1; r && i < n; i++) {
        const float *row = vector + (size_t)i * (size_t)n_embd;
        r[i - 1].index = i - 1;
        for (int k = 0; k < n_embd; k++)
            r[i - 1].score += (double)vector[k] * (double)row[k];
    }
    if (r && n > 1) qsort(r, (size_t)n - 1, sizeof *r, by_score);
    for (int i = 0; r && i < n - 1; i++)
        json_array_append_new(list,
                              json_pack("{s:i, s:f}", "index", r[i].index, "score", r[i].score));
    free(r);
    return json_pack("{s:o}", "results", list);
}
