/* The quantizer.  Data flow: tensor bytes -> piece (a run of values of one row, or a few short
 * rows) -> floats -> blocks, by any worker; pieces of a batch lie side by side in one buffer, which
 * worker 0 writes out.  The error of each piece is kept and added up in order. */
#include "engine/quantize.h"

#include <limits.h>
#include <math.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/team.h"
#include "engine/imatrix.h"
#include "gguf/write.h"
#include "quant/quant.h"

enum {
    PIECE_VALUES = 8192, /* a multiple of every block */
    BATCH_PIECES = 64,   /* per worker: some 50 ms of work between two writes */
    QUANTIZATION_VERSION = 2,
};

struct quantizer {
    struct gguf *g;
    struct imatrix *im;
    const char *imatrix_path;         /* borrowed from the options: valid until quantize_run */
    const struct quantize_edit *edit; /* NULL: none */
    int mix, n_tensor, n_fallback;
    struct quantize_tensor *tensor; /* [n_tensor] */
};

/* ---- the plan ---- */

static bool is_float(enum qtype t) {
    return t == QT_F32 || t == QT_F16 || t == QT_BF16;
}

/* Types so short that without importance values little of a model is left. */
static bool needs_weight(enum qtype t) {
    return t == QT_IQ1_S || t == QT_IQ1_M || t == QT_IQ2_XXS || t == QT_IQ2_XS;
}

/* Is it encoded, not copied? */
static bool is_new(const struct quantize_tensor *t) {
    return t->edit || t->type != t->src->type;
}

static int check_types(const struct quantizer *q, struct err *e) {
    for (int i = 0; i < q->n_tensor; i++) {
        const struct quantize_tensor *t = &q->tensor[i];
        if (!is_new(t) || (quant_type(t->src->type)->decode && quant_type(t->type)->encode))
            continue;
        return err_set(e, ERR_UNSUPPORTED, "%s: tensor %s: %s values cannot become %s",
                       gguf_path(q->g), t->src->name, qtype_name(t->src->type),
                       qtype_name(t->type));
    }
    return 0;
}

static int find_weights(const struct quantizer *q, struct quantize_tensor *t, struct err *e) {
    int64_t n;
    const int64_t want = t->src->ne[0] * t->src->ne[2];
    const float *w = imatrix_find(q->im, t->src->name, &n);
    if (!w || !is_new(t) || is_float(t->type)) return 0;
    if (n == want) {
        t->weight = w;
        return 0;
    }
    /* Older files count the embedding's activations by other dimensions; it does without. */
    if (strcmp(t->src->name, "token_embd.weight") == 0) return 0;
    return err_set(
        e, ERR_FORMAT,
        "%s: %s has %lld values, the model's tensor %lld columns: made for another model",
        q->imatrix_path, t->src->name, (long long)n, (long long)want);
}

static int plan(struct quantizer *q, const struct quantize_opts *o, struct err *e) {
    enum qtype *types = malloc(((size_t)q->n_tensor + 1) * sizeof *types);
    q->tensor = calloc((size_t)q->n_tensor + 1, sizeof *q->tensor);
    int rc = types && q->tensor ? 0 : err_nomem(e, gguf_path(q->g));
    if (rc == 0 && o->mix != QUANTIZE_KEEP)
        rc = mix_choose(q->g, o->mix, o->pure, q->im != NULL, types, &q->n_fallback, e);
    for (int i = 0; rc == 0 && i < q->n_tensor; i++) {
        struct quantize_tensor *t = &q->tensor[i];
        t->src = gguf_tensor_at(q->g, i);
        t->type = o->mix == QUANTIZE_KEEP ? t->src->type : types[i];
        if (o->edit) t->edit = o->edit->find(o->edit->ctx, t->src);
        const int64_t n_row = t->src->ne[1] * t->src->ne[2] * t->src->ne[3];
        t->n_bytes = (size_t)n_row * qtype_row_bytes(t->type, (int)t->src->ne[0]);
        if (q->im) rc = find_weights(q, t, e);
    }
    free(types);
    return rc == 0 ? check_types(q, e) : rc;
}

struct quantizer *quantize_new(const char *in, const struct quantize_opts *o, struct err *e) {
    struct quantizer *q = calloc(1, sizeof *q);
    if (!q) {
        err_nomem(e, in);
        return NULL;
    }
    q->mix = o->mix;
    q->edit = o->edit;
    q->imatrix_path = o->imatrix_path;
    q->g = gguf_open(in, e);
    if (!q->g) goto fail;
    q->n_tensor = gguf_n_tensor(q->g);
    if (q->n_tensor == 0) {
        err_set(e, ERR_FORMAT, "%s: has no tensors; a model with weights is needed", in);
        goto fail;
    }
    if (o->imatrix_path) {
        q->im = imatrix_open(o->imatrix_path, e);
        if (!q->im) goto fail;
    }
    if (plan(q, o, e) == 0) return q;
fail:
    quantize_free(q);
    return NULL;
}

void quantize_free(struct quantizer *q) {
    if (!q) return;
    gguf_close(q->g);
    imatrix_close(q->im);
    free(q->tensor);
    free(q);
}

const struct quantize_tensor *quantize_tensors(const struct quantizer *q) {
    return q->tensor;
}

static double n_values(const struct gguf_tensor *t) {
    return (double)t->ne[0] * (double)t->ne[1] * (double)t->ne[2] * (double)t->ne[3];
}

void quantize_summarize(const struct quantizer *q, struct quantize_summary *out) {
    double squares = 0;
    *out = (struct quantize_summary){.n_tensor = q->n_tensor, .n_fallback = q->n_fallback};
    for (int i = 0; i < q->n_tensor; i++) {
        const struct quantize_tensor *t = &q->tensor[i];
        out->in_bytes += t->src->n_bytes;
        out->out_bytes += t->n_bytes;
        if (!is_new(t)) continue;
        out->n_requantize += !is_float(t->src->type);
        out->n_blind += !t->weight && needs_weight(t->type);
        out->n_unweighted += q->im && !t->weight && !is_float(t->type);
        out->values += n_values(t->src);
        squares += t->rmse * t->rmse * n_values(t->src);
    }
    out->rmse = out->values > 0 ? sqrt(squares / out->values) : 0;
}

/* ---- one tensor ---- */

/* How a tensor is cut: rows of n into n_cut pieces each, or rows_per whole rows a piece. */
struct cut {
    int64_t n_row, row, n_cut, rows_per, n_piece;
};

static struct cut cut_tensor(const struct gguf_tensor *t) {
    struct cut c = {.n_row = t->ne[1] * t->ne[2] * t->ne[3], .row = t->ne[0]};
    c.n_cut = (c.row + PIECE_VALUES - 1) / PIECE_VALUES;
    c.rows_per = c.n_cut > 1 ? 1 : PIECE_VALUES / c.row;
    c.n_piece = c.n_cut > 1 ? c.n_row * c.n_cut : (c.n_row + c.rows_per - 1) / c.rows_per;
    return c;
}

/* Piece i: rows [row, row + n_row), columns [col, col + n). */
struct piece {
    int64_t row, n_row, col, n;
};

static struct piece piece_at(const struct cut *c, int64_t i) {
    if (c->n_cut > 1) {
        const int64_t col = i % c->n_cut * PIECE_VALUES, left = c->row - col;
        return (struct piece){i / c->n_cut, 1, col, left < PIECE_VALUES ? left : PIECE_VALUES};
    }
    const int64_t row = i * c->rows_per, left = c->n_row - row;
    return (struct piece){row, left < c->rows_per ? left : c->rows_per, 0, c->row};
}

struct batch {
    const struct quantize_tensor *t;
    const struct quantize_edit *edit; /* NULL: none in this model */
    struct cut cut;
    int64_t first;  /* piece */
    int n;          /* pieces */
    size_t stride;  /* bytes of a full piece in out */
    uint8_t *out;   /* [n][stride] */
    double *error;  /* [n] sums of squares: of the differences */
    double *square; /* [n] and of the source */
    atomic_int next;
    atomic_llong bad; /* the first value (its number in the tensor) that cannot be encoded */
};

static size_t bytes_of(enum qtype t, int64_t n) {
    const struct qtype_geom *g = qtype_geom(t);
    return (size_t)(n / g->block) * (size_t)g->block_bytes;
}

static void mark_bad(struct batch *b, long long at) {
    long long seen = atomic_load(&b->bad);
    while (at < seen && !atomic_compare_exchange_weak(&b->bad, &seen, at)) {
    }
}

/* Index of the first value that is not finite, or n. */
static int64_t first_odd(const float *x, int64_t n) {
    for (int64_t i = 0; i < n; i++)
        if (!isfinite(x[i])) return i;
    return n;
}

static void encode_run(struct batch *b, const struct piece *p, int64_t row, uint8_t *out,
                       float *values, float *back, double sums[2]) {
    const struct gguf_tensor *src = b->t->src;
    const size_t n = (size_t)p->n;
    const uint8_t *from =
        src->data + (size_t)row * bytes_of(src->type, src->ne[0]) + bytes_of(src->type, p->col);
    /* Rows of expert k use its importance values. */
    const float *w = b->t->weight;
    if (w) w += row / src->ne[1] % src->ne[2] * src->ne[0] + p->col;
    quant_type(src->type)->decode(from, values, n);
    if (b->t->edit) b->edit->row(b->t->edit, row, p->col, p->n, values);
    int64_t odd = first_odd(values, p->n);
    if (odd == p->n) {
        quant_type(b->t->type)->encode(values, out, n, w);
        quant_type(b->t->type)->decode(out, back, n);
        odd = first_odd(back, p->n);
    }
    if (odd < p->n) {
        mark_bad(b, (long long)(row * src->ne[0] + p->col + odd));
        return;
    }
    for (size_t i = 0; i < n; i++) {
        const double d = (double)values[i] - back[i];
        sums[0] += d * d;
        sums[1] += (double)values[i] * values[i];
    }
}

static void run_batch(struct worker *w, void *arg) {
    struct batch *b = arg;
    float *values = (float *)(void *)w->scratch, *back = values + PIECE_VALUES;
    for (int i; (i = atomic_fetch_add(&b->next, 1)) < b->n;) {
        const struct piece p = piece_at(&b->cut, b->first + i);
        const size_t run_bytes = bytes_of(b->t->type, p.n);
        double sums[2] = {0, 0};
        for (int64_t r = 0; r < p.n_row; r++)
            encode_run(b, &p, p.row + r, b->out + (size_t)i * b->stride + (size_t)r * run_bytes,
                       values, back, sums);
        b->error[i] = sums[0], b->square[i] = sums[1];
    }
}

static int bad_value(const struct quantizer *q, const struct batch *b, struct err *e) {
    const struct gguf_tensor *t = b->t->src;
    const long long at = atomic_load(&b->bad), row = at / t->ne[0], col = at % t->ne[0];
    float *x = malloc((size_t)t->ne[0] * sizeof *x);
    if (!x) return err_nomem(e, gguf_path(q->g));
    quant_type(t->type)->decode(t->data + (size_t)row * bytes_of(t->type, t->ne[0]), x,
                                (size_t)t->ne[0]);
    if (b->t->edit) b->edit->row(b->t->edit, row, 0, t->ne[0], x);
    const double v = (double)x[col];
    free(x);
    return err_set(e, ERR_FORMAT, "%s: tensor %s, row %lld, column %lld: %g %s", gguf_path(q->g),
                   t->name, row, col, v,
                   isfinite(v) ? "does not fit the type" : "found; finite numbers are accepted");
}

/* What a run carries from tensor to tensor. */
struct run {
    struct quantizer *q;
    struct team *team;
    struct gguf_writer *w;
    uint8_t *out;
    double *sums; /* [2][n_batch] */
    int n_batch;
    quantize_progress_fn *progress;
    void *ctx;
    double done_bytes;
};

static int report(struct run *r, double bytes, struct err *e) {
    r->done_bytes += bytes;
    if (!r->progress || r->progress(r->ctx, r->done_bytes) == 0) return 0;
    return err_set(e, ERR_CANCELLED, "%s: interrupted", gguf_path(r->q->g));
}

static int copy_tensor(struct run *r, const struct gguf_tensor *t, struct err *e) {
    const size_t chunk = 8 << 20;
    for (size_t at = 0; at < t->n_bytes; at += chunk) {
        const size_t n = t->n_bytes - at < chunk ? t->n_bytes - at : chunk;
        if (gguf_write_data(r->w, t->data + at, n, e) != 0) return -1;
        if (report(r, (double)n, e) != 0) return -1;
    }
    return 0;
}

/* Write the pieces of a batch; only the last of a row or of the tensor is shorter than a stride. */
static int write_batch(struct run *r, const struct batch *b, struct err *e) {
    for (int i = 0; i < b->n; i++) {
        const struct piece p = piece_at(&b->cut, b->first + i);
        const size_t n = (size_t)p.n_row * bytes_of(b->t->type, p.n);
        if (gguf_write_data(r->w, b->out + (size_t)i * b->stride, n, e) != 0) return -1;
    }
    return 0;
}

static int convert_tensor(struct run *r, struct quantize_tensor *t, struct err *e) {
    struct batch b = {.t = t, .cut = cut_tensor(t->src), .out = r->out, .error = r->sums};
    b.edit = r->q->edit;
    b.square = r->sums + r->n_batch;
    const struct piece full = piece_at(&b.cut, 0);
    double error = 0, square = 0;
    b.stride = (size_t)full.n_row * bytes_of(t->type, full.n);
    atomic_store(&b.bad, LLONG_MAX);
    for (b.first = 0; b.first < b.cut.n_piece; b.first += b.n) {
        const int64_t left = b.cut.n_piece - b.first;
        b.n = left < r->n_batch ? (int)left : r->n_batch;
        atomic_store(&b.next, 0);
        team_run(r->team, run_batch, &b);
        if (atomic_load(&b.bad) != LLONG_MAX) return bad_value(r->q, &b, e);
        if (write_batch(r, &b, e) != 0) return -1;
        for (int i = 0; i < b.n; i++)
            error += b.error[i], square += b.square[i];
        const double share = (double)b.n / (double)b.cut.n_piece;
        if (report(r, share * (double)t->src->n_bytes, e) != 0) return -1;
    }
    t->rmse = sqrt(error / n_values(t->src));
    t->rms = sqrt(square / n_values(t->src));
    return 0;
}

/* ---- the file ---- */

static bool same_file(const char *a, const struct stat *out) {
    struct stat st;
    return stat(a, &st) == 0 && st.st_dev == out->st_dev && st.st_ino == out->st_ino;
}

/* OUT may exist, but not be what is read: neither IN nor one of its splits. */
static int check_output(const struct gguf *g, const char *out, struct err *e) {
    struct stat st;
    char path[PATH_MAX];
    const char *in = gguf_path(g);
    const int n = gguf_n_split(g), n_stem = (int)strlen(in) - (int)strlen("-00001-of-00001.gguf");
    if (stat(out, &st) != 0) return 0;
    bool same = same_file(in, &st);
    for (int i = 1; n > 1 && i <= n && !same; i++) {
        snprintf(path, sizeof path, "%.*s-%05d-of-%05d.gguf", n_stem, in, i, n);
        same = same_file(path, &st);
    }
    if (!same) return 0;
    return err_set(e, ERR_USAGE, "%s: is the input; the output must be another file", out);
}

static int declare_imatrix(struct gguf_writer *w, const struct quantizer *q, struct err *e) {
    const char *slash = strrchr(q->imatrix_path, '/');
    const struct str name = str_of(slash ? slash + 1 : q->imatrix_path);
    const int n_chunk = imatrix_n_chunk(q->im);
    if (gguf_set_str(w, "quantize.imatrix.file", name, e) != 0) return -1;
    if (n_chunk && gguf_set_u32(w, "quantize.imatrix.chunks_count", (uint32_t)n_chunk, e) != 0)
        return -1;
    return gguf_set_u32(w, "quantize.imatrix.entries_count", (uint32_t)imatrix_n_entry(q->im), e);
}

static int declare(struct gguf_writer *w, const struct quantizer *q, struct err *e) {
    for (int i = 0; i < gguf_n_kv(q->g); i++)
        if (gguf_copy_kv(w, gguf_kv_at(q->g, i), e) != 0) return -1;
    if (q->mix != QUANTIZE_KEEP &&
        (gguf_set_u32(w, "general.quantization_version", QUANTIZATION_VERSION, e) != 0 ||
         gguf_set_u32(w, "general.file_type", (uint32_t)q->mix, e) != 0))
        return -1;
    if (q->edit && q->edit->keys(q->edit->ctx, w, e) != 0) return -1;
    if (q->im && declare_imatrix(w, q, e) != 0) return -1;
    for (int i = 0; i < q->n_tensor; i++) {
        const struct quantize_tensor *t = &q->tensor[i];
        if (gguf_add_tensor(w, t->src->name, t->type, t->src->n_dim, t->src->ne, e) != 0) return -1;
    }
    return 0;
}

static int run_init(struct run *r, int n_threads, struct err *e) {
    r->n_batch = BATCH_PIECES * n_threads;
    r->team = team_new(n_threads, e);
    if (!r->team) return -1;
    if (team_reserve(r->team, 2 * PIECE_VALUES * sizeof(float), 0, e) != 0) return -1;
    r->out = malloc((size_t)r->n_batch * PIECE_VALUES * sizeof(float));
    r->sums = malloc((size_t)r->n_batch * 2 * sizeof *r->sums);
    return r->out && r->sums ? 0 : err_nomem(e, "quantize");
}

int quantize_run(struct quantizer *q, const char *out, int n_threads,
                 quantize_progress_fn *progress, void *ctx, struct err *e) {
    struct run r = {.q = q, .progress = progress, .ctx = ctx};
    int rc = check_output(q->g, out, e);
    if (rc == 0) rc = run_init(&r, n_threads, e);
    if (rc == 0) {
        r.w = gguf_writer_new(out, 0, e);
        rc = r.w ? declare(r.w, q, e) : -1;
    }
    for (int i = 0; rc == 0 && i < q->n_tensor; i++) {
        struct quantize_tensor *t = &q->tensor[i];
        rc = is_new(t) ? convert_tensor(&r, t, e) : copy_tensor(&r, t->src, e);
    }
    if (rc == 0)
        rc = gguf_writer_finish(r.w, e);
    else
        gguf_writer_abort(r.w);
    team_free(r.team);
    free(r.out), free(r.sums);
    return rc;
}
