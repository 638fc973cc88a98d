/* Cutting a vocabulary (cands_fill_*, stage_top_*, the passes of scan.h) against a sort of all of
 * it: the same lists in the same order, bit by bit. */
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sample/scan.h"
#include "sample/stage.h"

enum { MANY = 5000 };

static float plain(float x) {
    return isnan(x) ? -INFINITY : x > FLT_MAX ? FLT_MAX : x;
}

static int ascending(const void *a, const void *b) {
    const float x = plain(*(const float *)a), y = plain(*(const float *)b);
    return (x > y) - (x < y);
}

static int by_logit(const void *a, const void *b) {
    const struct candidate *x = a, *y = b;
    if (x->logit != y->logit) return x->logit > y->logit ? -1 : 1;
    return x->id < y->id ? -1 : 1;
}

/* Sizes around the blocks of the passes; wide, flat, with ties, both zeros, NaN and infinities. */
static int odd_logits(float *x, struct rng *r, int round) {
    const int n = round % 3 == 0 ? 1 + (int)(rng_next(r) % 200) : 64 * (round % 70) + round % 5 + 1;
    const double width = pow(10, rng_unit(r) * 4 - 2);
    for (int i = 0; i < n; i++)
        x[i] = (float)(6.0 * (rng_unit(r) + rng_unit(r) + rng_unit(r)) - 9.0);
    for (int i = 0; i < n; i++)
        x[i] = round % 2 ? (float)(trunc((double)x[i] * width) / 4) : (float)((double)x[i] * width);
    const float bad[] = {NAN, -INFINITY, -0.0f, 0.0f, INFINITY, FLT_MAX, -NAN};
    const int kinds = round % 4 == 0 ? 7 : 4; /* +INFINITY leaves no other any weight */
    for (int i = 0; i < (round % 5) * n / 16; i++)
        x[rng_next(r) % (uint64_t)n] = bad[rng_next(r) % (uint64_t)kinds];
    if (round % 50 == 49)
        for (int i = 0; i < n; i++)
            x[i] = i % 2 ? NAN : -INFINITY;
    if (round % 50 == 48) qsort(x, (size_t)n, sizeof *x, ascending);
    return n;
}

/* Softmax in order of id, then a sort, then the shortest head with a sum of p. */
static int slow_top_p(struct candidate *c, int n, float p, int min_keep) {
    struct cands k = {.c = c, .n = n};
    double sum = 0;
    cands_softmax(&k);
    qsort(c, (size_t)n, sizeof *c, by_logit);
    for (int i = 0; i < n; i++) {
        sum += (double)c[i].p;
        if ((float)sum >= p && i + 1 >= min_keep) return i + 1;
    }
    return n;
}

static int slow_min_p(struct candidate *c, int n, float p, int min_keep) {
    float max = -INFINITY;
    int m = 0;
    for (int i = 0; i < n; i++)
        max = c[i].logit > max ? c[i].logit : max;
    for (int i = 0; i < n; i++)
        m += c[i].logit >= max + logf(p);
    if (m < min_keep) {
        if (min_keep < n) qsort(c, (size_t)n, sizeof *c, by_logit);
        return min_keep < n ? min_keep : n;
    }
    m = 0;
    for (int i = 0; i < n; i++)
        if (c[i].logit >= max + logf(p)) c[m++] = c[i];
    return m;
}

static void check_same(const struct cands *k, const struct candidate *want, int n, bool with_p) {
    assert_int_equal(k->n, n);
    for (int i = 0; i < n; i++) {
        assert_int_equal(k->c[i].id, want[i].id);
        assert_memory_equal(&k->c[i].logit, &want[i].logit, sizeof(float));
        if (with_p) assert_memory_equal(&k->c[i].p, &want[i].p, sizeof(float));
    }
}

static void test_cuts_equal_a_full_sort(void **state) {
    (void)state;
    static float x[MANY];
    static struct candidate c[MANY], tmp[MANY], all[MANY], want[MANY];
    struct rng r;
    int cut = 0;
    rng_seed(&r, 31);
    for (int round = 0; round < 1000; round++) {
        const int n = odd_logits(x, &r, round), top = 1 + (int)(rng_next(&r) % (uint64_t)n);
        const float p = round % 9 ? (float)rng_unit(&r) : round % 2 ? 0.99999994f : 0.0f;
        const int min_keep = round % 4 ? 0 : 1 + (int)(rng_next(&r) % (uint64_t)(n + 2));
        struct cands k = {.c = c, .tmp = tmp};
        int best = 0;
        for (int i = 0; i < n; i++) {
            all[i] = (struct candidate){.id = i, .logit = plain(x[i])};
            if (!isnan(x[i]) && (x[i] > x[best] || isnan(x[best]))) best = i;
        }
        if (!(x[best] > -INFINITY)) best = 0;
        assert_int_equal(scan_best(x, n), best);

        memcpy(want, all, sizeof want);
        const int m = slow_top_p(want, n, p, min_keep);
        cands_fill_top_p(&k, x, n, p, min_keep);
        check_same(&k, want, m, true);
        cands_fill(&k, x, n);
        stage_top_p(&k, p, min_keep);
        check_same(&k, want, m, true);
        cut += m < n;

        memcpy(want, all, sizeof want);
        qsort(want, (size_t)n, sizeof *want, by_logit);
        cands_fill(&k, x, n);
        for (int i = n - 1; i > 0; i--) { /* lists need not be in order of id */
            const int j = top < n ? (int)(rng_next(&r) % (uint64_t)(i + 1)) : i;
            const struct candidate t = c[i];
            c[i] = c[j], c[j] = t;
        }
        stage_top_k(&k, top);
        check_same(&k, top < n ? want : all, top, false);
        cands_fill_top(&k, x, n, top);
        check_same(&k, top < n ? want : all, top, false);

        if (!(p > 0.0f)) continue;
        int q = slow_min_p(memcpy(want, all, sizeof want), n, p, min_keep);
        for (int keep = min_keep, i = 0; i < 3; keep = q + i++) { /* at the edge, too */
            const int m_keep = slow_min_p(memcpy(want, all, sizeof want), n, p, keep);
            cands_fill_min_p(&k, x, n, p, keep);
            check_same(&k, want, m_keep, false);
        }
    }
    assert_true(cut > 300);
}

/* The whole chain, with the cuts that it makes while it lists, against the stages one by one. */
static void test_chain_equals_its_stages(void **state) {
    (void)state;
    static float x[MANY];
    static struct candidate c[MANY], tmp[MANY];
    struct rng r, dice;
    rng_seed(&r, 32);
    for (int round = 0; round < 500; round++) {
        const int n = odd_logits(x, &r, round);
        struct sampler_opts o = sampler_defaults();
        o.seed = round;
        o.top_k = round % 2 ? 0 : (int)(rng_next(&r) % (uint64_t)(n + 5));
        if (round & 2) o.top_p = 1;
        if (round & 4) o.min_p = (float)rng_unit(&r) / 4;
        if (round & 8) o.typical_p = 0.7f;
        if (round & 16) o.min_keep = 3;
        if (round & 32) o.xtc_probability = 0.5f;
        if (round & 64) o.top_n_sigma = 2;
        struct cands k = {.c = c, .tmp = tmp};
        struct sampler *s = sampler_new(&o, n, NULL);
        assert_non_null(s);
        rng_seed(&dice, (uint64_t)round);
        for (int draw = 0; draw < 3; draw++) {
            cands_fill(&k, x, n);
            stage_top_n_sigma(&k, o.top_n_sigma);
            stage_top_k(&k, o.top_k);
            stage_typical(&k, o.typical_p, o.min_keep);
            stage_top_p(&k, o.top_p, o.min_keep);
            stage_min_p(&k, o.min_p, o.min_keep);
            if (o.xtc_probability > 0.0f && rng_unit(&dice) < (double)o.xtc_probability)
                stage_xtc(&k, o.xtc_threshold, o.min_keep);
            stage_temp(&k, o.temperature);
            cands_softmax(&k);
            assert_int_equal(sampler_choose(s, x), c[cands_draw(&k, &dice)].id);
        }
        sampler_free(s);
    }
}

static void test_scan(void **state) {
    (void)state;
    float x[200];
    for (int n = 0; n <= 200; n++)
        for (int at = 0; at < 200; at++) {
            for (int i = 0; i < 200; i++)
                x[i] = i % 7 ? -1.0f : NAN;
            x[at] = 1.0f;
            assert_int_equal(scan_above(x, n, n / 3, 0.5f), at >= n / 3 && at < n ? at : n);
            assert_int_equal(scan_above(x, n, n / 3, 1.0f), n);
        }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cuts_equal_a_full_sort),
        cmocka_unit_test(test_chain_equals_its_stages),
        cmocka_unit_test(test_scan),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
