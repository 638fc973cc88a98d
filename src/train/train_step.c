/* The gradients of one step.
 *
 * Every row's weight is one over the labels of all sequences of the step: the gradient is that of
 * the mean over the step's labels, however the sequences are cut into micro-batches (a mean of the
 * micro-batches' means is another thing: the accumulation bug of 2024). */
#include <stdlib.h>
#include <string.h>

#include "train/loss.h"
#include "train/pack.h"
#include "train/train_priv.h"

/* ---- order ---- */

void train_order(int32_t *order, int n, uint64_t seed, int epoch) {
    struct rng r;
    rng_seed(&r, seed * 0x9e3779b97f4a7c15u + (uint64_t)epoch);
    for (int i = 0; i < n; i++)
        order[i] = i;
    for (int i = n - 1; i > 0; i--) { /* Fisher-Yates */
        const int j = rng_below(&r, i + 1);
        const int32_t x = order[i];
        order[i] = order[j];
        order[j] = x;
    }
}

/* ---- micro-batches ---- */

int micro_init(struct micro *m, int capacity, int max_rows, int max_seq, struct err *e) {
    const size_t n = (size_t)max_rows, s = (size_t)max_seq;
    *m = (struct micro){.capacity = capacity, .max_rows = max_rows};
    m->b.tok = calloc(n, sizeof *m->b.tok);
    m->b.label = calloc(n, sizeof *m->b.label);
    m->b.seq_start = calloc(n + 1, sizeof *m->b.seq_start);
    m->coef = calloc(n, sizeof *m->coef);
    m->nll = calloc(n, sizeof *m->nll);
    m->len = calloc(s, sizeof *m->len);
    m->order = calloc(s, sizeof *m->order);
    m->start = calloc(s + 1, sizeof *m->start);
    return m->b.tok && m->b.label && m->b.seq_start && m->coef && m->nll && m->len && m->order &&
                   m->start
               ? 0
               : err_nomem(e, "training");
}

void micro_fini(struct micro *m) {
    free(m->b.tok);
    free(m->b.label);
    free(m->b.seq_start);
    free(m->coef);
    free(m->nll);
    free(m->len);
    free(m->order);
    free(m->start);
    *m = (struct micro){.capacity = 0};
}

int micro_pack(struct micro *m, const struct train_seq *const *seq, int n, struct err *e) {
    for (int i = 0; i < n; i++)
        m->len[i] = seq[i]->n;
    const int n_pack = pack_best_fit(m->len, n, m->capacity, m->order, m->start, e);
    for (int k = 0; k < n_pack; k++) {
        int rows = 0;
        for (int i = m->start[k]; i < m->start[k + 1]; i++)
            rows += m->len[m->order[i]];
        if (rows > m->max_rows)
            return err_set(e, ERR_LIMIT, "training: a micro-batch of %d rows; the plan has %d",
                           rows, m->max_rows);
    }
    return n_pack;
}

void micro_fill(struct micro *m, const struct train_seq *const *seq, int k) {
    struct batch *b = &m->b;
    b->n = b->n_seq = 0;
    m->of = m->order + m->start[k];
    for (int i = m->start[k]; i < m->start[k + 1]; i++) {
        const struct train_seq *s = seq[m->order[i]];
        memcpy(b->tok + b->n, s->tok, (size_t)s->n * sizeof *b->tok);
        memcpy(b->label + b->n, s->label, (size_t)s->n * sizeof *b->label);
        b->seq_start[b->n_seq++] = b->n;
        b->n += s->n;
    }
    b->seq_start[b->n_seq] = b->n;
}

int train_count_labels(const struct train_seq *s) {
    int n = 0;
    for (int i = 0; i < s->n; i++)
        n += s->label[i] >= 0;
    return n;
}

/* ---- likelihood ---- */

int train_step_likelihood(struct trainer *r, int n, struct step_sum *out, struct err *e) {
    struct micro *m = &r->m;
    double sum = 0;
    *out = (struct step_sum){0};
    for (int i = 0; i < n; i++)
        out->n_label += train_count_labels(r->pick[i]);
    if (out->n_label == 0) return err_set(e, ERR_FORMAT, "training: a step without a label");
    const int n_pack = micro_pack(m, r->pick, n, e);
    for (int k = 0; k < n_pack; k++) {
        micro_fill(m, r->pick, k);
        loss_coef(&m->b, out->n_label, m->coef);
        grad_set_seed(r->grad, rng_next(&r->s.rng));
        if (grad_run(r->grad, &m->b, m->coef, m->nll, e) != 0) return -1;
        sum += loss_sum(&m->b, m->nll);
        out->n_tok += m->b.n;
    }
    out->loss = sum / out->n_label;
    return n_pack < 0 ? -1 : 0;
}

int train_validate_likelihood(struct trainer *r, struct step_sum *out, struct err *e) {
    struct micro *m = &r->m;
    double sum = 0;
    *out = (struct step_sum){0};
    const int n_pack = micro_pack(m, r->valid, r->d.n_valid, e);
    for (int k = 0; k < n_pack; k++) {
        if (train_stopped(r)) return err_set(e, ERR_CANCELLED, "interrupted");
        micro_fill(m, r->valid, k);
        if (grad_eval(r->grad, &m->b, false, m->nll, e) != 0) return -1;
        sum += loss_sum(&m->b, m->nll);
        out->n_label += batch_n_label(&m->b);
        out->n_tok += m->b.n;
    }
    out->loss = out->n_label ? sum / out->n_label : 0;
    return n_pack < 0 ? -1 : 0;
}
