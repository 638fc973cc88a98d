/* How far a quantized model is from its source: the mean over a text of
 * KL(source || model) = sum of p ln(p / q) over the vocabulary, token by token, in nats; and both
 * models' perplexities.  The text is prose, dialogue, arithmetic and code, so that each kind of use
 * has a part in it. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "create/create_priv.h"
#include "engine/session.h"
#include "train/train.h"

enum { MAX_TOKENS = 512, CHUNK = 32 };

static const char text[] =
    "The river had risen in the night, and by morning the lower meadow was a sheet of brown water "
    "with the tops of the fence posts standing out of it in a crooked line. Nobody in the village "
    "was surprised. It had happened three times in ten years, always in the first week of March, "
    "and the older farmers had moved their sheep to the hill on Sunday, after one look at the "
    "clouds over the pass.\n\n"
    "\"How long will it stay?\" the boy asked.\n"
    "\"Four days,\" said his grandmother. \"Five, if it rains again. Then we will have mud until "
    "Easter, and the best grass in the county after that.\"\n\n"
    "A train leaves at 9:40 and arrives at 12:10. The journey takes two and a half hours. If it "
    "travels 200 kilometres, its average speed is 200 / 2.5 = 80 kilometres per hour. On the way "
    "back it is late by 30 minutes, so the average is 200 / 3, which is about 66.7.\n\n"
    "To sort a list, compare neighbours and swap them when they are in the wrong order; repeat "
    "until nothing moves. In C:\n\n"
    "for (int i = 0; i < n - 1; i++) {\n"
    "    for (int j = 0; j < n - 1 - i; j++) {\n"
    "        if (a[j] > a[j + 1]) {\n"
    "            int t = a[j];\n"
    "            a[j] = a[j + 1];\n"
    "            a[j + 1] = t;\n"
    "        }\n"
    "    }\n"
    "}\n\n"
    "Water boils at a lower temperature on a mountain, because the air presses less on its "
    "surface. "
    "Cooks there boil beans for longer, or use a closed pot in which the pressure can rise. The "
    "same law explains why a kettle in a deep mine boils later than one in the kitchen above it.\n";

struct side {
    struct engine *engine;
    struct session *session;
};

static void close_side(struct side *s) {
    session_free(s->session);
    engine_close(s->engine);
}

/* MAX_TOKENS, or as many as the model was trained for. */
static int context_of(const char *path, int *n_ctx, struct err *e) {
    struct gguf *g = gguf_open(path, e);
    struct str arch = STR("");
    uint32_t trained = MAX_TOKENS;
    char key[128];
    if (!g) return -1;
    if (gguf_get_str(g, "general.architecture", &arch, NULL) == 1) {
        snprintf(key, sizeof key, "%.*s.context_length", (int)(arch.n < 64 ? arch.n : 64), arch.p);
        gguf_get_u32(g, key, &trained, NULL); /* the engine says what is wrong with it */
    }
    gguf_close(g);
    *n_ctx = trained > 0 && trained < MAX_TOKENS ? (int)trained : MAX_TOKENS;
    return 0;
}

static int open_side(struct side *s, const char *path, int n_threads, struct err *e) {
    struct engine_opts o = {.n_threads = n_threads};
    if (context_of(path, &o.n_ctx, e) != 0) return -1;
    s->engine = engine_open(path, &o, e);
    if (!s->engine) return -1;
    if (model_is_embedding(engine_model(s->engine)))
        return err_set(e, ERR_UNSUPPORTED, "%s: an embedding model; it foretells no tokens", path);
    s->session = session_new(s->engine, e);
    return s->session ? 0 : -1;
}

/* ln of the sum of e^x. */
static double log_sum(const float *x, int n, int *top) {
    double sum = 0;
    *top = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[*top]) *top = i;
    for (int i = 0; i < n; i++)
        sum += exp((double)x[i] - (double)x[*top]);
    return (double)x[*top] + log(sum);
}

static void add_row(struct quality *q, const float *a, const float *b, int n, int32_t next) {
    int top_a, top_b;
    const double za = log_sum(a, n, &top_a), zb = log_sum(b, n, &top_b);
    double kl = 0;
    for (int i = 0; i < n; i++) {
        const double la = (double)a[i] - za, lb = (double)b[i] - zb, p = exp(la);
        if (p > 0) kl += p * (la - lb);
    }
    q->kl += kl;
    q->same_top += top_a == top_b;
    q->ppl_source += za - (double)a[next];
    q->ppl += zb - (double)b[next];
    q->n_tok++;
}

/* Rows of A, kept for a chunk until B has gone over the same tokens. */
struct chunk {
    struct quality *q;
    float *row;           /* [CHUNK][n_vocab] of A */
    const int32_t *label; /* what each foretells; -1: not looked at */
    int n_vocab;
};

static void keep_row(void *ctx, int i, const float *row, int n_col) {
    struct chunk *c = ctx;
    (void)n_col;
    memcpy(c->row + (size_t)i * (size_t)c->n_vocab, row, (size_t)c->n_vocab * sizeof *row);
}

static void compare_row(void *ctx, int i, const float *row, int n_col) {
    struct chunk *c = ctx;
    (void)n_col;
    if (c->label[i] >= 0)
        add_row(c->q, c->row + (size_t)i * (size_t)c->n_vocab, row, c->n_vocab, c->label[i]);
}

static int compare_seq(struct side *a, struct side *b, const struct train_seq *s, int n,
                       const volatile int *stop, struct quality *q, struct err *e) {
    struct chunk c = {.q = q, .n_vocab = engine_n_vocab(a->engine)};
    int rc = 0;
    c.row = calloc((size_t)c.n_vocab, CHUNK * sizeof *c.row);
    if (!c.row) return err_nomem(e, "quality");
    session_truncate(a->session, 0);
    session_truncate(b->session, 0);
    for (int at = 0; rc == 0 && at < n; at += CHUNK) {
        const int m = n - at < CHUNK ? n - at : CHUNK;
        c.label = s->label + at;
        if (stop && __atomic_load_n(stop, __ATOMIC_RELAXED))
            rc = err_set(e, ERR_CANCELLED, "interrupted");
        else if (session_feed_all(a->session, s->tok + at, m, keep_row, &c, e) != 0 ||
                 session_feed_all(b->session, s->tok + at, m, compare_row, &c, e) != 0)
            rc = -1;
    }
    free(c.row);
    return rc;
}

/* Sequences, until MAX_TOKENS were compared; each as far as both contexts reach. */
static int compare_seqs(struct side *a, struct side *b, const struct train_seq *seq, int n_seq,
                        const volatile int *stop, struct quality *q, struct err *e) {
    const int na = engine_n_ctx(a->engine), nb = engine_n_ctx(b->engine), most = na < nb ? na : nb;
    for (int i = 0; i < n_seq && q->n_tok < MAX_TOKENS; i++)
        if (compare_seq(a, b, &seq[i], seq[i].n < most ? seq[i].n : most, stop, q, e) != 0)
            return -1;
    return q->n_tok > 0 ? 0 : err_set(e, ERR_FORMAT, "the text has too few tokens");
}

/* The built-in text: each token foretells the next. */
static int compare_text(struct side *a, struct side *b, const volatile int *stop, struct quality *q,
                        struct err *e) {
    const struct tok_opts o = {.add_special = true};
    struct ids ids = {0};
    int rc = tok_encode(engine_vocab(a->engine), (struct str){text, sizeof text - 1}, o, &ids, e);
    if (rc == 0 && ids.n < 2) rc = err_set(e, ERR_FORMAT, "the text has too few tokens");
    if (rc == 0) {
        const int n = ids.n <= MAX_TOKENS ? (int)ids.n : MAX_TOKENS;
        const struct train_seq s = {ids.v, ids.v + 1, n - 1};
        rc = compare_seqs(a, b, &s, 1, stop, q, e);
    }
    ids_fini(&ids);
    return rc;
}

static int compare(struct side *a, struct side *b, const struct create_opts *o, struct quality *q,
                   struct err *e) {
    if (engine_n_vocab(b->engine) != engine_n_vocab(a->engine))
        return err_set(e, ERR_FORMAT, "the models have %d and %d tokens; the same are needed",
                       engine_n_vocab(a->engine), engine_n_vocab(b->engine));
    return o->quality_seq ? compare_seqs(a, b, o->quality_seq, o->n_quality_seq, o->stop, q, e)
                          : compare_text(a, b, o->stop, q, e);
}

int create_measure(const char *a, const char *b, const struct create_opts *o, struct quality *out,
                   struct err *e) {
    struct side sa = {0}, sb = {0};
    *out = (struct quality){0};
    int rc = open_side(&sa, a, o->n_threads, e);
    if (rc == 0) rc = open_side(&sb, b, o->n_threads, e);
    if (rc == 0) rc = compare(&sa, &sb, o, out, e);
    close_side(&sa);
    close_side(&sb);
    if (rc != 0) return -1;
    const double n = out->n_tok;
    out->kl = out->kl / n;
    out->same_top /= n;
    out->ppl_source = exp(out->ppl_source / n);
    out->ppl = exp(out->ppl / n);
    return 0;
}
