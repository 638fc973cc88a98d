/* Losses and DPO: the golden scalars, coefficients against finite differences, extreme margins. */
#include "train_case.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train/dpo.h"
#include "train/loss.h"
#include "train/rng.h"

static void expect_near(const char *what, double got, double want, double limit) {
    if (!(fabs(got - want) <= limit)) fail_msg("%s: %.17g; %.17g is right", what, got, want);
}

static void check_golden(const char *name) {
    struct train_case c = case_open(name);
    size_t n, n_margin, n_ref;
    const double *policy = case_array(&c, "policy_logp", "f64", &n);
    const double *reference = case_array(&c, "reference_logp", "f64", &n_ref);
    const double *want = case_array(&c, "margin", "f64", &n_margin);
    const int n_pair = (int)n_margin;
    double margin[64], coef[128];
    struct dpo_sum sum = {0};
    assert_true(n == 2 * n_margin && n_ref == n && n_margin >= 2 && n_margin <= 64);
    dpo_pairs(n_pair, policy, reference, case_number(&c, "beta", 0), n_pair, margin, coef, &sum);
    for (int k = 0; k < n_pair; k++)
        expect_near("margin", margin[k], want[k], 1e-12);
    assert_int_equal(sum.n_pair, n_pair);
    expect_near("loss", sum.loss / sum.n_pair, case_number(&c, "loss", 0), 1e-12);
    expect_near("accuracy", (double)sum.won / sum.n_pair, case_number(&c, "accuracy", 0), 1e-12);
    case_close(&c);
}

static void golden_scalars(void **state) {
    (void)state;
    char **names = golden_names("train", ".dpo.json", 1);
    for (char **n = names; *n; n++) {
        (*n)[strlen(*n) - strlen(".json")] = 0;
        check_golden(*n);
    }
    names_free(names);
}

/* A batch of 2 n_pair sequences with labels here and there; at least one each. */
enum { N_PAIR = 4, N_SEQ = 2 * N_PAIR, MAX_ROWS = 256 };
struct made {
    struct batch b;
    int32_t tok[MAX_ROWS], label[MAX_ROWS], start[N_SEQ + 1];
    double nll[MAX_ROWS];
};

static void make(struct made *m, uint64_t seed) {
    struct rng r;
    int n = 0;
    rng_seed(&r, seed);
    for (int s = 0; s < N_SEQ; s++) {
        const int len = 2 + rng_below(&r, 20);
        m->start[s] = n;
        for (int i = 0; i < len; i++, n++) {
            const bool has = i < len - 1 && (i == 0 || rng_below(&r, 3));
            m->tok[n] = rng_below(&r, 100);
            m->label[n] = has ? rng_below(&r, 100) : -1;
            m->nll[n] = has ? 5 * rng_unit(&r) : 0;
        }
    }
    m->start[N_SEQ] = n;
    m->b = (struct batch){n, N_SEQ, m->tok, m->label, m->start};
}

static double loss_of(const struct made *m, const double *reference) {
    double logp[N_SEQ];
    struct dpo_sum sum = {0};
    dpo_logp(&m->b, m->nll, logp);
    dpo_pairs(N_PAIR, logp, reference, 0.3, N_PAIR, NULL, NULL, &sum);
    return sum.loss / sum.n_pair;
}

/* coef[i] is the derivative of the loss with respect to nll[i]. */
static void coefficients_are_derivatives(void **state) {
    (void)state;
    struct made m;
    double logp[N_SEQ], reference[N_SEQ], seq_coef[N_SEQ];
    float coef[MAX_ROWS];
    struct rng r;
    struct dpo_sum sum = {0};
    make(&m, 1);
    rng_seed(&r, 2);
    dpo_logp(&m.b, m.nll, logp);
    for (int s = 0; s < N_SEQ; s++)
        reference[s] = logp[s] + 4 * rng_normal(&r);
    dpo_pairs(N_PAIR, logp, reference, 0.3, N_PAIR, NULL, seq_coef, &sum);
    dpo_row_coef(&m.b, seq_coef, coef);
    for (int i = 0; i < m.b.n; i++) {
        const double h = 1e-4, was = m.nll[i];
        if (m.label[i] < 0) {
            assert_true(coef[i] == 0);
            continue;
        }
        m.nll[i] = was + h;
        const double up = loss_of(&m, reference);
        m.nll[i] = was - h;
        const double down = loss_of(&m, reference);
        m.nll[i] = was;
        expect_near("coef", (double)coef[i], (up - down) / (2 * h), 1e-7);
        assert_true(coef[i] != 0);
    }
}

/* Pairs in several batches of one step: the sums and coefficients of them together. */
static void batches_add_up(void **state) {
    (void)state;
    struct rng r;
    double policy[N_SEQ], reference[N_SEQ], margin[N_PAIR], whole[N_SEQ], part[N_SEQ];
    struct dpo_sum all = {0}, sum = {0};
    rng_seed(&r, 4);
    for (int s = 0; s < N_SEQ; s++)
        policy[s] = -20 * rng_unit(&r), reference[s] = -20 * rng_unit(&r);
    dpo_pairs(N_PAIR, policy, reference, 0.1, N_PAIR, margin, whole, &all);
    for (int k = 0; k < N_PAIR; k++)
        dpo_pairs(1, policy + 2 * k, reference + 2 * k, 0.1, N_PAIR, NULL, part + 2 * k, &sum);
    assert_memory_equal(part, whole, sizeof whole);
    assert_memory_equal(&sum, &all, sizeof sum);
}

static void extreme_margins_stay_finite(void **state) {
    (void)state;
    static const double far[] = {1e4, -1e4};
    for (int k = 0; k < 2; k++) {
        const double policy[] = {far[k], 0}, reference[] = {0, 0};
        double margin, coef[2];
        struct dpo_sum sum = {0};
        dpo_pairs(1, policy, reference, 1, 1, &margin, coef, &sum);
        assert_true(margin == far[k]);
        assert_true(sum.loss == (k == 0 ? 0 : 1e4) && sum.won == (k == 0));
        assert_true(coef[0] == (k == 0 ? 0 : 1) && coef[1] == -coef[0]);
    }
    const double same[] = {-3, -3};
    double coef[2];
    struct dpo_sum sum = {0};
    dpo_pairs(1, same, same, 0.1, 1, NULL, coef, &sum);
    expect_near("loss of no margin", sum.loss, log(2), 1e-15);
    assert_true(coef[0] == 0.05 && sum.won == 0); /* a draw is not won */
}

/* The mean over the labels of a step does not depend on how it was cut into batches. */
static void mean_is_over_all_labels(void **state) {
    (void)state;
    struct made m[3];
    float coef[MAX_ROWS];
    int64_t n_label = 0;
    double sum = 0, by_coef = 0, by_hand = 0;
    for (int k = 0; k < 3; k++) {
        make(&m[k], (uint64_t)k + 10);
        n_label += batch_n_label(&m[k].b);
    }
    for (int k = 0; k < 3; k++) {
        sum += loss_sum(&m[k].b, m[k].nll);
        loss_coef(&m[k].b, n_label, coef);
        for (int i = 0; i < m[k].b.n; i++) {
            by_coef += (double)coef[i] * m[k].nll[i];
            by_hand += m[k].label[i] >= 0 ? m[k].nll[i] : 0;
            assert_true((coef[i] != 0) == (m[k].label[i] >= 0));
        }
    }
    expect_near("sum", sum, by_hand, 1e-9);
    expect_near("mean", by_coef, sum / (double)n_label, 1e-6);
    m[0].nll[m[0].b.n - 1] = 1e9; /* a row without a label */
    assert_true(loss_sum(&m[0].b, m[0].nll) < 1e6);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_scalars),          cmocka_unit_test(coefficients_are_derivatives),
        cmocka_unit_test(batches_add_up),          cmocka_unit_test(extreme_margins_stay_finite),
        cmocka_unit_test(mean_is_over_all_labels),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
