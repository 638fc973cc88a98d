/* A batch through the model and back; see grad.h.
 *
 *     embed -> layers below first_layer: nothing is kept
 *           -> layers below first_kept:  x is kept; the tape is made again on the way back
 *           -> the others:               the tape is kept
 *           -> last norm -> head, losses, their gradient -> the same in reverse */
#include "train/grad.h"

#include <assert.h>
#include <string.h>

#include "train/grad_priv.h"

static size_t x_floats(const struct grad *g) {
    return (size_t)g->b->n * (size_t)g->m->hp.n_embd;
}

static float *kept_input(const struct grad *g, int il) {
    return g->input +
           (size_t)(il - g->first_layer) * (size_t)g->o.max_rows * (size_t)g->m->hp.n_embd;
}

/* Go on with another tape, which begins anew or is walked. */
static void use(struct worker *w, struct grad *g, struct tape *t, bool begin) {
    team_barrier(w);
    if (w->id == 0) {
        if (begin)
            tape_begin(&g->ctx, t);
        else
            g->ctx.tape = t;
    }
    team_barrier(w);
}

static void copy(struct worker *w, float *to, const float *from, size_t n) {
    const size_t lo = n * (size_t)w->id / (size_t)w->n, hi = n * (size_t)(w->id + 1) / (size_t)w->n;
    memcpy(to + lo, from + lo, (hi - lo) * sizeof *to);
    team_barrier(w);
}

static void forward_all(struct worker *w, struct grad *g) {
    const int n_layer = g->m->hp.n_layer;
    const bool back = g->coef != NULL;
    use(w, g, back && g->full ? &g->tape[n_layer] : NULL, true);
    forward_embed(w, g->f);
    for (int il = 0; il < n_layer; il++) {
        const bool above = back && il >= g->first_layer;
        use(w, g, above && il >= g->first_kept ? &g->tape[il] : NULL, true);
        if (above && il < g->first_kept) copy(w, kept_input(g, il), forward_x(g->f), x_floats(g));
        forward_layer(w, g->f, il);
    }
    use(w, g, back ? &g->tape[n_layer + 1] : NULL, true);
    forward_end(w, g->f);
}

static void backward_all(struct worker *w, struct grad *g) {
    const int n_layer = g->m->hp.n_layer, n_embd = g->m->hp.n_embd;
    tape_backward(w); /* the last norm's is in use */
    for (int il = n_layer - 1; il >= g->first_layer; il--) {
        if (il >= g->first_kept) {
            use(w, g, &g->tape[il], false);
        } else {
            use(w, g, &g->live, true);
            copy(w, forward_x(g->f), kept_input(g, il), x_floats(g));
            forward_layer(w, g->f, il);
        }
        tape_backward(w);
    }
    if (g->full) {
        use(w, g, &g->tape[n_layer], false);
        tape_backward(w);
    } else {
        tape_zero_rows(w, grad_at(&g->ctx, forward_x(g->f)), n_embd, g->b->n, n_embd);
    }
}

static void run(struct worker *w, void *arg) {
    struct grad *g = arg;
    forward_all(w, g);
    const struct head_job j = {
        .m = g->m,
        .x = forward_x(g->f),
        .row = g->row,
        .label = g->b->label,
        .coef = g->coef,
        .n = g->n_row,
        .logits = g->logits,
        .chunk = g->chunk,
        .nll = g->nll,
        .tap = g->tap,
        .tap_ctx = g->tap_ctx,
    };
    head_loss(w, &j);
    if (g->coef) backward_all(w, g);
}

static int check_batch(const struct grad *g, const struct batch *b, struct err *e) {
    const int n_vocab = g->m->hp.n_vocab, most = g->o.max_seq_rows;
    if (b->n < 1 || b->n > g->o.max_rows)
        return err_set(e, ERR_LIMIT, "batch: %d rows; 1 to %d are accepted", b->n, g->o.max_rows);
    assert(b->n_seq > 0 && b->seq_start[0] == 0 && b->seq_start[b->n_seq] == b->n);
    for (int s = 0; s < b->n_seq; s++)
        if (b->seq_start[s + 1] - b->seq_start[s] > most)
            return err_set(e, ERR_LIMIT,
                           "batch: sequence %d has %d tokens; at most %d are accepted", s,
                           b->seq_start[s + 1] - b->seq_start[s], most);
    for (int i = 0; i < b->n; i++)
        if (b->tok[i] < 0 || b->tok[i] >= n_vocab || b->label[i] >= n_vocab)
            return err_set(e, ERR_FORMAT,
                           "batch: row %d has token %d and label %d; the model has %d", i,
                           b->tok[i], b->label[i], n_vocab);
    return 0;
}

static int run_batch(struct grad *g, const struct batch *b, const float *coef, bool base,
                     double *nll, struct err *e) {
    if (check_batch(g, b, e) != 0) return -1;
    g->b = b, g->coef = coef, g->nll = nll, g->n_row = 0;
    memset(nll, 0, (size_t)b->n * sizeof *nll);
    for (int i = 0; i < b->n; i++)
        if (b->label[i] >= 0 || g->tap) g->row[g->n_row++] = i;
    g->ctx.dropout = coef ? g->lora.dropout : 0;
    forward_begin(g->f, b->tok, b->seq_start, b->n_seq, g->full || base ? NULL : &g->adapter);
    team_run(g->team, run, g);
    return 0;
}

int grad_eval(struct grad *g, const struct batch *b, bool base, double *nll, struct err *e) {
    return run_batch(g, b, NULL, base, nll, e);
}

int grad_run(struct grad *g, const struct batch *b, const float *coef, double *nll, struct err *e) {
    return run_batch(g, b, coef, false, nll, e);
}

void grad_set_seed(struct grad *g, uint64_t seed) {
    g->ctx.drop_seed = seed;
}

struct params *grad_params(struct grad *g) {
    return &g->p;
}

const struct model *grad_model(const struct grad *g) {
    return g->m;
}

void grad_set_tap(struct grad *g, grad_tap *tap, void *ctx) {
    g->tap = tap, g->tap_ctx = ctx;
    forward_set_tap(g->f, tap, ctx);
}
