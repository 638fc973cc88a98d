/* A step on preferences (dpo.h): it first evaluates, as the weights of its gradients need both
 * answers of a pair, which may lie in two micro-batches.  The reference, the model without its
 * adapter, is asked once about each sequence. */
#include <math.h>
#include <string.h>

#include "train/dpo.h"
#include "train/train_priv.h"

/* A validation may be left at any point; a step is done whole. */
static bool may_stop(const struct trainer *r, const struct train_seq *const *seq) {
    return seq >= (const struct train_seq *const *)r->valid &&
           seq < (const struct train_seq *const *)r->valid + r->d.n_valid && train_stopped(r);
}

/* out[i] = log-probability of the labels of seq[i], i < n; base: without the adapter. */
static int evaluate(struct trainer *r, const struct train_seq *const *seq, int n, bool base,
                    double *out, struct err *e) {
    struct micro *m = &r->m;
    const int n_pack = micro_pack(m, seq, n, e);
    for (int k = 0; k < n_pack; k++) {
        if (may_stop(r, seq)) return err_set(e, ERR_CANCELLED, "interrupted");
        micro_fill(m, seq, k);
        if (grad_eval(r->grad, &m->b, base, m->nll, e) != 0) return -1;
        dpo_logp(&m->b, m->nll, r->pack_logp);
        for (int s = 0; s < m->b.n_seq; s++)
            out[m->of[s]] = r->pack_logp[s];
    }
    return n_pack < 0 ? -1 : 0;
}

static double *reference_of(const struct trainer *r, const struct train_seq *s) {
    const bool valid = s >= r->d.valid && s < r->d.valid + r->d.n_valid;
    return r->all_reference + (valid ? r->d.n_seq + (s - r->d.valid) : s - r->d.seq);
}

/* reference[] of these pairs; computed pair by pair where it is not known yet, so that it does not
 * depend on which came together. */
static int need_reference(struct trainer *r, const struct train_seq *const *seq, int n,
                          struct err *e) {
    for (int i = 0; i < n; i += 2) {
        double *known = reference_of(r, seq[i]);
        if (isnan(*known)) {
            double two[2];
            if (evaluate(r, seq + i, 2, true, two, e) != 0) return -1;
            *known = two[0];
            *reference_of(r, seq[i + 1]) = two[1];
        }
        r->reference[i] = *known;
        r->reference[i + 1] = *reference_of(r, seq[i + 1]);
    }
    return 0;
}

static int judge(struct trainer *r, const struct train_seq *const *seq, int n, struct step_sum *out,
                 struct err *e) {
    struct dpo_sum sum = {0};
    if (need_reference(r, seq, n, e) != 0 || evaluate(r, seq, n, false, r->policy, e) != 0)
        return -1;
    dpo_pairs(n / 2, r->policy, r->reference, r->o.dpo_beta, n / 2, NULL, r->seq_coef, &sum);
    *out =
        (struct step_sum){.loss = sum.loss / sum.n_pair, .accuracy = (double)sum.won / sum.n_pair};
    for (int i = 0; i < n; i++) {
        out->n_tok += seq[i]->n;
        out->n_label += train_count_labels(seq[i]);
    }
    return 0;
}

int train_step_dpo(struct trainer *r, int n, struct step_sum *out, struct err *e) {
    struct micro *m = &r->m;
    if (judge(r, r->pick, n, out, e) != 0) return -1;
    const int n_pack = micro_pack(m, r->pick, n, e);
    for (int k = 0; k < n_pack; k++) {
        micro_fill(m, r->pick, k);
        for (int s = 0; s < m->b.n_seq; s++)
            r->pack_logp[s] = r->seq_coef[m->of[s]];
        dpo_row_coef(&m->b, r->pack_logp, m->coef);
        grad_set_seed(r->grad, rng_next(&r->s.rng));
        if (grad_run(r->grad, &m->b, m->coef, m->nll, e) != 0) return -1;
    }
    return n_pack < 0 ? -1 : 0;
}

int train_validate_dpo(struct trainer *r, struct step_sum *out, struct err *e) {
    return judge(r, r->valid, r->d.n_valid, out, e);
}
