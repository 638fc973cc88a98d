/* See embed.h. */
#include "engine/embed.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

static void take_row(struct embedding *x, const float *row) {
    const bool first = x->n_seen++ == 0;
    if (x->kind == POOL_CLS && !first) return;
    for (int j = 0; j < x->n_embd; j++)
        x->sum[j] = (double)row[j] + (x->kind == POOL_MEAN ? x->sum[j] : 0.0);
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

int embed_truncate(const struct engine *g, int max, struct ids *text) {
    const size_t n_ctx = (size_t)(max ? max : engine_n_ctx(g)), n = text->n;
    const struct vocab_special *sp = vocab_special(engine_vocab(g));
    if (n <= n_ctx) return 0;
    const int32_t last = text->v[n - 1];
    if ((sp->add_eos && last == sp->eos) || (sp->add_sep && last == sp->sep))
        text->v[n_ctx - 1] = last;
    text->n = n_ctx;
    return (int)(n - n_ctx);
}

/* How to pool, and where to. */
static int prepare(struct embedding *x, const struct model *m, int n, enum pooling pooling,
                   struct err *e) {
    *x = (struct embedding){.kind = pooling, .n_embd = model_n_embd(m), .n = n};
    if (pooling == POOL_MODEL && choose_pooling(m, &x->kind, e) != 0) return -1;
    if (n <= 0) return err_set(e, ERR_USAGE, "embed: an empty text; at least one token is needed");
    x->sum = calloc((size_t)x->n_embd, sizeof *x->sum);
    /* An encoder sees the whole text at once; of other models only the rows that count go through
     * the last layer's feed-forward. */
    x->from = x->kind == POOL_LAST ? n - 1 : 0;
    return x->sum ? 0 : err_nomem(e, "embed");
}

int embedding_init(struct embedding *x, struct engine *g, const int32_t *tok, int n,
                   enum pooling pooling, struct err *e) {
    const int n_vocab = engine_n_vocab(g), n_ctx = engine_n_ctx(g);
    if (prepare(x, engine_model(g), n, pooling, e) != 0) return -1;
    kv_seq_init(&x->kv, engine_kv(g));
    x->tok = tok;
    x->whole = model_is_embedding(engine_model(g));
    x->adapter = engine_adapter(g);
    int i = 0;
    while (i < n && tok[i] >= 0 && tok[i] < n_vocab)
        i++;
    if (n > n_ctx)
        err_set(e, ERR_LIMIT, "input: %d tokens; the context holds %d (option num_ctx)", n, n_ctx);
    else if (i < n)
        err_set(e, ERR_FORMAT, "token %d: id %d; the vocabulary has 0 to %d", i, (int)tok[i],
                n_vocab - 1);
    else
        return 0;
    return err_field(e, "input");
}

void embedding_fini(struct embedding *x) {
    if (x->kv.pool) kv_seq_fini(&x->kv);
    free(x->sum);
    x->sum = NULL;
}

int embedding_next(struct embedding *x, int n_max, int n_out, struct batch_seq *b, struct err *e) {
    int n = x->n - x->at < n_max ? x->n - x->at : n_max;
    const int first = x->at > x->from ? x->at : x->from; /* row */
    if (x->at + n - first > n_out) n = first + n_out - x->at;
    if (n <= 0 || (x->whole && n < x->n)) return 0;
    if (kv_seq_extend(&x->kv, n, e) != 0) return -1;
    const int rows = x->at + n > first ? x->at + n - first : 0;
    *b = (struct batch_seq){
        .kv = &x->kv, .tok = x->tok + x->at, .n = n, .adapter = x->adapter, .n_out = rows};
    x->at += n;
    return n;
}

void embedding_take(struct embedding *x, const float *rows, int n_rows) {
    for (int i = 0; i < n_rows; i++)
        take_row(x, rows + (size_t)i * (size_t)x->n_embd);
}

bool embedding_done(const struct embedding *x) {
    return x->at == x->n;
}

void embedding_vector(const struct embedding *x, bool normalize, float *out) {
    double sq = 0.0;
    const double share = x->kind == POOL_MEAN && x->n_seen > 0 ? 1.0 / x->n_seen : 1.0;
    for (int j = 0; j < x->n_embd; j++)
        sq += x->sum[j] * share * x->sum[j] * share;
    const double scale = normalize && sq > 0.0 ? share / sqrt(sq) : share;
    for (int j = 0; j < x->n_embd; j++)
        out[j] = (float)(x->sum[j] * scale);
}

static void session_row(void *ctx, int i, const float *row, int n_col) {
    (void)i, (void)n_col;
    take_row(ctx, row);
}

int embed_tokens(struct session *s, const int32_t *tok, int n, enum pooling pooling, bool normalize,
                 float *out, struct err *e) {
    struct embedding x;
    int rc = prepare(&x, engine_model(session_engine(s)), n, pooling, e);
    if (rc == 0) {
        session_truncate(s, 0);
        rc = session_feed_states(s, tok, n, x.from, session_row, &x, e);
    }
    if (rc == 0) embedding_vector(&x, normalize, out);
    free(x.sum);
    return rc;
}
