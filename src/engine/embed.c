/* See embed.h.  An embedding model returns its final rows; of a model that generates they are
 * taken where they pass, at the debug point before the head. */
#include "engine/embed.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct pool {
    enum pooling kind;
    int n_embd, n; /* rows seen */
    double *sum;   /* [n_embd], owned: the mean in the making, or the one row */
};

static void pool_row(void *ctx, int i, const float *row, int n_col) {
    struct pool *p = ctx;
    (void)i;
    const bool first = p->n++ == 0;
    if (p->kind == POOL_CLS && !first) return;
    for (int j = 0; j < n_col; j++)
        p->sum[j] = (double)row[j] + (p->kind == POOL_MEAN ? p->sum[j] : 0.0);
}

static void pool_tap(void *ctx, const char *name, int il, const float *x, int n, int n_col,
                     int ld) {
    (void)il;
    if (strcmp(name, "out_norm") != 0) return;
    for (int i = 0; i < n; i++)
        pool_row(ctx, i, x + (size_t)i * ld, n_col);
}

static void ignore_row(void *ctx, int i, const float *row, int n_col) {
    (void)ctx, (void)i, (void)row, (void)n_col;
}

static int model_pooling(const struct engine *g, enum pooling *kind, struct err *e) {
    static const enum pooling by_file[] = {POOL_MODEL, POOL_MEAN, POOL_CLS, POOL_LAST};
    char key[128];
    uint32_t type = 0; /* 0 in the file: none */
    snprintf(key, sizeof key, "%s.pooling_type", model_arch(engine_model(g)));
    if (gguf_get_u32(engine_gguf(g), key, &type, e) < 0) return -1;
    if (type >= sizeof by_file / sizeof *by_file)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: %u; 1 (mean), 2 (first token) and 3 (last token) are supported", key,
                       (unsigned)type);
    *kind = by_file[type];
    if (*kind == POOL_MODEL) *kind = model_is_embedding(engine_model(g)) ? POOL_MEAN : POOL_LAST;
    return 0;
}

/* Feed a model that generates with the debug point open. */
static int feed_causal(struct session *s, const int32_t *tok, int n, struct pool *p,
                       struct err *e) {
    struct forward *f = engine_forward(session_engine(s));
    const float *logits;
    forward_set_tap(f, pool_tap, p);
    const int rc = p->kind == POOL_LAST ? session_feed(s, tok, n, &logits, NULL, e)
                                        : session_feed_all(s, tok, n, ignore_row, NULL, e);
    forward_set_tap(f, NULL, NULL);
    return rc;
}

int embed_tokens(struct session *s, const int32_t *tok, int n, enum pooling pooling, bool normalize,
                 float *out, struct err *e) {
    struct engine *g = session_engine(s);
    struct pool p = {.kind = pooling, .n_embd = model_n_embd(engine_model(g))};
    if (pooling == POOL_MODEL && model_pooling(g, &p.kind, e) != 0) return -1;
    if (n <= 0) return err_set(e, ERR_USAGE, "embed: an empty text; at least one token is needed");
    p.sum = calloc((size_t)p.n_embd, sizeof *p.sum);
    if (!p.sum) return err_nomem(e, "embed");
    session_truncate(s, 0);
    const int rc = model_is_embedding(engine_model(g))
                       ? session_feed_all(s, tok, n, pool_row, &p, e)
                       : feed_causal(s, tok, n, &p, e);
    double sq = 0.0;
    const double share = p.kind == POOL_MEAN && p.n > 0 ? 1.0 / p.n : 1.0;
    for (int j = 0; j < p.n_embd; j++)
        sq += p.sum[j] * share * p.sum[j] * share;
    const double scale = normalize && sq > 0.0 ? share / sqrt(sq) : share;
    for (int j = 0; j < p.n_embd; j++)
        out[j] = (float)(p.sum[j] * scale);
    free(p.sum);
    return rc;
}
