/* How long a run will take.
 *
 * Of a large model products are nearly all of the work: those of its largest matrix are timed for a
 * moment, and what else there is (attention, norms, the optimizer) is a fixed share.  Of a small
 * one they are not, but then there is time to compute the gradient of a few examples.  Once steps
 * are done, their own times say more. */
#include <math.h>
#include <string.h>

#include "base/arena.h"
#include "base/os.h"
#include "quant/quant.h"
#include "train/loss.h"
#include "train/train_priv.h"

/* A 1B shape at T = 1,024 on two cores: 86 s a step foretold, 80 s taken. */
#define OTHER_WORK 1.1
#define SMALL_FLOP 1e9 /* a token's share of the run: a model of some 200 M weights */
enum { PROBE_ROWS = 256, PROBE_NS = 200 * 1000 * 1000 };

/* A file may have tensors of numbers that are no weights, and that nobody reads. */
static const struct gguf_tensor *largest(const struct gguf *g) {
    const struct gguf_tensor *best = NULL;
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        if (t->n_dim == 2 && strncmp(t->name, "blk.", 4) == 0 && quant_type(t->type)->decode &&
            (!best || t->ne[0] * t->ne[1] > best->ne[0] * best->ne[1]))
            best = t;
    }
    return best;
}

static void run_forward(struct worker *w, void *job) {
    gemm_forward(w, job);
}

static void run_backward(struct worker *w, void *job) {
    gemm_backward(w, job);
}

/* Of a large model: operations per second. */
static int time_products(struct team *t, const struct gguf *g, struct train_plan *p,
                         struct err *e) {
    const struct gguf_tensor *w = largest(g);
    struct arena a = {0};
    if (!w) return 0;
    const struct mat mat = {.data = w->data,
                            .type = w->type,
                            .n_col = (int)w->ne[0],
                            .n_row = (int)w->ne[1],
                            .row_bytes = w->n_bytes / (size_t)w->ne[1]};
    const int n = p->max_rows < PROBE_ROWS ? p->max_rows : PROBE_ROWS;
    float *x = arena_calloc(&a, (size_t)n * (size_t)mat.n_col, sizeof *x);
    float *y = arena_calloc(&a, (size_t)n * (size_t)mat.n_row, sizeof *y);
    int rc = x && y ? team_reserve(t, gemm_scratch_bytes(), 0, e) : err_nomem(e, "training");
    struct gemm_job f = {.x = x,
                         .ldx = mat.n_col,
                         .w = &mat,
                         .y = y,
                         .ldy = mat.n_row,
                         .n = n,
                         .scale = 1,
                         .prec = p->prec};
    struct gemm_job b = {.x = y,
                         .ldx = mat.n_row,
                         .w = &mat,
                         .y = x,
                         .ldy = mat.n_col,
                         .n = n,
                         .scale = 1,
                         .prec = p->prec};
    double best = 0;
    const int64_t start = os_now_ns();
    while (rc == 0 && os_now_ns() - start < PROBE_NS) {
        const int64_t t0 = os_now_ns();
        team_run(t, run_forward, &f);
        team_run(t, run_backward, &b);
        const double rate = 4.0 * n * mat.n_col * mat.n_row / ((double)(os_now_ns() - t0) * 1e-9);
        if (rate > best) best = rate;
        memset(x, 0, (size_t)n * (size_t)mat.n_col * sizeof *x); /* no infinities */
    }
    if (rc == 0 && best > 0) p->seconds = p->flops / best * OTHER_WORK;
    arena_fini(&a);
    return rc;
}

/* ---- of a small model ---- */

/* The first sequences that fit. */
static void fill(struct batch *b, const struct train_data *d, int max) {
    b->n = b->n_seq = 0;
    for (int i = 0; i < d->n_seq && d->seq[i].n <= max - b->n; i++) {
        memcpy(b->tok + b->n, d->seq[i].tok, (size_t)d->seq[i].n * sizeof *b->tok);
        memcpy(b->label + b->n, d->seq[i].label, (size_t)d->seq[i].n * sizeof *b->label);
        b->seq_start[b->n_seq++] = b->n;
        b->n += d->seq[i].n;
    }
    b->seq_start[b->n_seq] = b->n;
}

/* Twice: the first touches memory that was never used. */
static int time_gradient(struct team *t, const struct gguf *g, const struct train_data *d,
                         const struct train_opts *o, const struct train_plan *p, double *token_s,
                         struct err *e) {
    const struct grad_opts go = train_grad_opts(o, p);
    const int max = p->max_seq_rows > PROBE_ROWS ? p->max_seq_rows : PROBE_ROWS;
    const size_t n = (size_t)(max < p->max_rows ? max : p->max_rows);
    struct arena a = {0};
    struct batch b = {.tok = arena_calloc(&a, n, sizeof *b.tok),
                      .label = arena_calloc(&a, n, sizeof *b.label),
                      .seq_start = arena_calloc(&a, n + 1, sizeof *b.seq_start)};
    float *coef = arena_calloc(&a, n, sizeof *coef);
    double *nll = arena_calloc(&a, n, sizeof *nll);
    struct grad *grad = NULL;
    int rc = b.tok && b.label && b.seq_start && coef && nll ? 0 : err_nomem(e, "training");
    if (rc == 0 && !(grad = grad_new(t, g, &go, e))) rc = -1;
    if (rc == 0) fill(&b, d, (int)n);
    if (rc == 0) loss_coef(&b, batch_n_label(&b), coef);
    for (int i = 0; i < 2 && rc == 0 && b.n > 0; i++) {
        const int64_t t0 = os_now_ns();
        rc = grad_run(grad, &b, coef, nll, e);
        *token_s = (double)(os_now_ns() - t0) * 1e-9 / b.n;
    }
    grad_free(grad);
    arena_fini(&a);
    return rc;
}

int train_plan_time(struct team *t, const struct gguf *g, const struct train_data *d,
                    const struct train_opts *opts, struct train_plan *p, struct err *e) {
    struct train_opts o;
    double token_s = 0;
    const double epochs = (double)p->n_step / p->step_per_epoch;
    const double tok = (double)p->n_tok * epochs;
    const int n_valid = p->n_valid ? p->n_step / p->valid_every + 2 : 0;
    if (tok <= 0 || p->flops / tok > SMALL_FLOP) return time_products(t, g, p, e);
    if (train_resolve(opts, &o, e) != 0 || time_gradient(t, g, d, &o, p, &token_s, e) != 0)
        return -1;
    /* A validation has a third of the products, and preferences are evaluated first. */
    const double times = o.method == TRAIN_DPO ? 1 + 1.0 / 3 : 1;
    p->seconds = token_s * (tok * times + (double)p->n_valid_tok * n_valid / 3);
    return 0;
}
