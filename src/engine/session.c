/* One sequence: its tokens beside its cache.  Every change keeps the two in step. */
#include "engine/session.h"

#include <stdlib.h>
#include <string.h>

struct session {
    struct engine *engine; /* borrowed */
    struct kv_seq kv;
    int32_t *tok; /* [n_ctx], owned; kv.n_tok of them are in the cache */
    bool shifted; /* until it is emptied: no row is that of the text alone (session_exact) */
    const struct adapter *adapter; /* borrowed, or NULL */
    uint64_t scope;
};

struct session *session_new(struct engine *g, struct err *e) {
    if (!engine_model(g)) {
        err_set(e, ERR_USAGE, "%s: opened for its vocabulary only", gguf_path(engine_gguf(g)));
        return NULL;
    }
    struct session *s = calloc(1, sizeof *s);
    if (s) s->tok = calloc((size_t)engine_n_ctx(g), sizeof *s->tok);
    if (!s || !s->tok) {
        free(s);
        err_nomem(e, "session");
        return NULL;
    }
    s->engine = g;
    s->adapter = engine_adapter(g);
    s->scope = PREFIX_COMMON;
    kv_seq_init(&s->kv, engine_kv(g));
    return s;
}

void session_free(struct session *s) {
    if (!s) return;
    kv_seq_fini(&s->kv);
    free(s->tok);
    free(s);
}

struct engine *session_engine(const struct session *s) {
    return s->engine;
}

void session_reset(struct session *s, const struct adapter *adapter, uint64_t scope) {
    session_truncate(s, 0);
    s->adapter = adapter;
    s->scope = scope;
}

uint64_t session_scope(const struct session *s) {
    return s->scope;
}

static int check_tokens(const struct session *s, const int32_t *tok, int n, struct err *e) {
    const int n_vocab = engine_n_vocab(s->engine), n_ctx = engine_n_ctx(s->engine);
    for (int i = 0; i < n; i++)
        if (tok[i] < 0 || tok[i] >= n_vocab)
            return err_set(e, ERR_FORMAT, "token %d: id %d; the vocabulary has 0 to %d", i,
                           (int)tok[i], n_vocab - 1);
    if (n > n_ctx - s->kv.n_tok)
        return err_set(e, ERR_LIMIT,
                       "context: %d tokens after %d do not fit; it holds %d (option num_ctx)", n,
                       (int)s->kv.n_tok, n_ctx);
    return 0;
}

static int push(struct session *s, const int32_t *tok, int n, int n_out, struct batch_seq *out,
                struct err *e) {
    if (kv_seq_extend(&s->kv, n, e) != 0) return -1;
    int32_t *own = s->tok + s->kv.n_tok - n;
    memmove(own, tok, (size_t)n * sizeof *tok);
    *out =
        (struct batch_seq){.kv = &s->kv, .tok = own, .n = n, .adapter = s->adapter, .n_out = n_out};
    return 0;
}

int session_push(struct session *s, const int32_t *tok, int n, int n_out, struct batch_seq *out,
                 struct err *e) {
    return check_tokens(s, tok, n, e) == 0 ? push(s, tok, n, n_out, out, e) : -1;
}

typedef const float *run_fn(struct forward *f, const struct batch_seq *seq, int n_seq);

/* One batch; n_out rows of output, or NULL with e set. */
static const float *run_chunk(struct session *s, run_fn *run, const int32_t *tok, int n, int n_out,
                              struct err *e) {
    struct batch_seq b;
    return push(s, tok, n, n_out, &b, e) == 0 ? run(engine_forward(s->engine), &b, 1) : NULL;
}

int session_feed(struct session *s, const int32_t *tok, int n, const float **logits,
                 const volatile int *stop, struct err *e) {
    const int n_batch = engine_n_batch(s->engine);
    if (logits) *logits = NULL;
    if (n <= 0) return err_set(e, ERR_USAGE, "session: %d tokens; at least one is needed", n);
    if (check_tokens(s, tok, n, e) != 0) return -1;
    for (int at = 0; at < n;) {
        if (stop && __atomic_load_n(stop, __ATOMIC_RELAXED))
            return err_set(e, ERR_CANCELLED, "cancelled");
        const int chunk = n - at < n_batch ? n - at : n_batch;
        const bool last = at + chunk == n;
        struct err why = {0};
        const float *out = run_chunk(s, forward_run, tok + at, chunk, last && logits, &why);
        if (why.code) {
            if (e) *e = why;
            return -1;
        }
        if (last && logits) *logits = out;
        at += chunk;
    }
    return 0;
}

/* Feed in chunks, of which tokens [from, n) give rows of n_col. */
static int feed_rows(struct session *s, run_fn *run, const int32_t *tok, int n, int from, int n_col,
                     session_row_fn *row, void *ctx, struct err *e) {
    const int n_batch = engine_n_batch(s->engine), n_out = engine_n_out(s->engine);
    if (check_tokens(s, tok, n, e) != 0) return -1;
    if (model_is_embedding(engine_model(s->engine)) && s->kv.n_tok > 0)
        return err_set(e, ERR_USAGE, "session: this model must see a text at once");
    for (int at = 0; at < n;) {
        int chunk = n - at < n_batch ? n - at : n_batch;
        const int first = at > from ? at : from; /* row */
        if (at + chunk - first > n_out) chunk = first + n_out - at;
        const int rows = at + chunk > first ? at + chunk - first : 0;
        struct err why = {0};
        const float *out = run_chunk(s, run, tok + at, chunk, rows, &why);
        if (why.code) {
            if (e) *e = why;
            return -1;
        }
        for (int i = 0; i < rows; i++)
            row(ctx, first - from + i, out + (size_t)i * n_col, n_col);
        at += chunk;
    }
    return 0;
}

int session_feed_all(struct session *s, const int32_t *tok, int n, session_row_fn *row, void *ctx,
                     struct err *e) {
    const struct model *m = engine_model(s->engine);
    const int n_col = model_is_embedding(m) ? model_n_embd(m) : model_n_vocab(m);
    return feed_rows(s, forward_run, tok, n, 0, n_col, row, ctx, e);
}

int session_feed_states(struct session *s, const int32_t *tok, int n, int from, session_row_fn *row,
                        void *ctx, struct err *e) {
    const int n_col = model_n_embd(engine_model(s->engine));
    return feed_rows(s, forward_run_states, tok, n, from, n_col, row, ctx, e);
}

int session_n_tok(const struct session *s) {
    return s->kv.n_tok;
}

const int32_t *session_tokens(const struct session *s) {
    return s->tok;
}

void session_truncate(struct session *s, int n) {
    if (n >= s->kv.n_tok) return;
    kv_seq_truncate(&s->kv, n);
    if (n == 0) s->shifted = false;
}

int session_reuse(struct session *s, const int32_t *tok, int n) {
    int same = 0;
    const int most = s->shifted ? 0 : s->kv.n_tok;
    while (same < most && same < n && s->tok[same] == tok[same])
        same++;
    session_truncate(s, same);
    return same;
}

int session_recall(struct session *s, const int32_t *tok, int n) {
    const int same = session_reuse(s, tok, n);
    struct prefix *x = engine_prefix(s->engine);
    if (!x) return same;
    session_remember(s); /* what it holds itself is not looked for on disk */
    const int n_page = prefix_find(x, s->scope, tok, (n - 1) / KV_PAGE);
    if (n_page * KV_PAGE <= same) return same;
    session_truncate(s, kv_seq_n_whole(&s->kv) * KV_PAGE);
    struct err lost; /* out of memory: what has been attached stays */
    (void)prefix_attach(x, &s->kv, &lost);
    memmove(s->tok, tok, (size_t)s->kv.n_tok * sizeof *tok);
    return s->kv.n_tok;
}

void session_remember(struct session *s) {
    struct prefix *x = engine_prefix(s->engine);
    if (x) prefix_add(x, s->scope, &s->kv, s->tok);
}

void session_save(struct session *s, const int32_t *tok, int n) {
    struct prefix *x = engine_prefix(s->engine);
    if (x && s->scope == PREFIX_COMMON) prefix_save(x, tok, n / KV_PAGE);
}

int session_fork(struct session *s, const struct session *of, int n, struct err *e) {
    session_truncate(s, 0);
    if (kv_seq_share(&s->kv, &of->kv, n, e) != 0) return -1;
    memcpy(s->tok, of->tok, (size_t)n * sizeof *s->tok);
    return 0;
}

bool session_exact(const struct session *s) {
    return !s->shifted;
}

int session_shift(struct session *s, int keep, int drop, struct err *e) {
    const int n = s->kv.n_tok;
    if (keep < 0 || drop <= 0 || keep + drop > n)
        return err_set(e, ERR_USAGE, "context shift: keep %d, drop %d of %d tokens", keep, drop, n);
    if (kv_seq_shift(&s->kv, keep, drop, engine_forward(s->engine), e) != 0) return -1;
    memmove(s->tok + keep, s->tok + keep + drop, (size_t)(n - keep - drop) * sizeof *s->tok);
    /* Also of the kept rows: those that were rotated have been rounded once more. */
    s->shifted = s->kv.n_tok > 0 && (s->shifted || keep + drop < n);
    return 0;
}
