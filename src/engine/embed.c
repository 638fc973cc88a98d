/* See embed.h. */
#include "engine/embed.h"

#include <math.h>
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

static int choose_pooling(const struct model *m, enum pooling *kind, struct err *e) {
    switch (model_pooling(m)) {
    case 1: *kind = POOL_MEAN; return 0;
    case 2: *kind = POOL_CLS; return 0;
    case 3: *kind = POOL_LAST; return 0;
    case 4:
        return err_set(
            e, ERR_UNSUPPORTED,
            "key '%s.pooling_type' is 4 (ranking); 1 (mean), 2 (first token) and 3 (last "
            "token) are supported",
            model_arch(m));
    default: *kind = model_is_embedding(m) ? POOL_MEAN : POOL_LAST; return 0;
    }
}

int embed_truncate(const struct engine *g, struct ids *text) {
    const size_t n_ctx = (size_t)engine_n_ctx(g), n = text->n;
    const struct vocab_special *sp = vocab_special(engine_vocab(g));
    if (n <= n_ctx) return 0;
    const int32_t last = text->v[n - 1];
    if ((sp->add_eos && last == sp->eos) || (sp->add_sep && last == sp->sep))
        text->v[n_ctx - 1] = last;
    text->n = n_ctx;
    return (int)(n - n_ctx);
}

int embed_tokens(struct session *s, const int32_t *tok, int n, enum pooling pooling, bool normalize,
                 float *out, struct err *e) {
    struct engine *g = session_engine(s);
    struct pool p = {.kind = pooling, .n_embd = model_n_embd(engine_model(g))};
    if (pooling == POOL_MODEL && choose_pooling(engine_model(g), &p.kind, e) != 0) return -1;
    if (n <= 0) return err_set(e, ERR_USAGE, "embed: an empty text; at least one token is needed");
    p.sum = calloc((size_t)p.n_embd, sizeof *p.sum);
    if (!p.sum) return err_nomem(e, "embed");
    session_truncate(s, 0);
    /* An encoder sees the whole text at once; of other models only the rows that count go through
     * the last layer's feed-forward. */
    const int from = p.kind == POOL_LAST ? n - 1 : 0;
    const int rc = session_feed_states(s, tok, n, from, pool_row, &p, e);
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
