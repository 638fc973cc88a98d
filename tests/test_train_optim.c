/* The optimizer: schedules against the golden table, AdamW against a double twin of the golden
 * README's formulas, the same bits for every number of threads, the spike guard, the generator. */
#include "train_case.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "train/optim.h"
#include "train/rng.h"

static struct team *new_team(int n) {
    struct err e;
    struct team *t = team_new(n, &e);
    if (!t) fail_msg("%s", e.msg);
    return t;
}

/* ---- schedules ---- */

static void schedules_match(void **state) {
    (void)state;
    json_t *all = slurp_json(golden("train/schedules.json")), *s;
    size_t i, t;
    json_array_foreach(all, i, s) {
        const json_t *steps = json_object_get(s, "steps"), *x;
        const int kind = schedule_by_name(json_string_value(json_object_get(s, "kind")));
        assert_in_range(kind, 0, 2);
        const struct schedule c = {
            .kind = (enum schedule_kind)kind,
            .lr = json_number_value(json_object_get(s, "lr")),
            .warmup = (int)json_integer_value(json_object_get(s, "warmup")),
            .total = (int)json_integer_value(json_object_get(s, "total")),
            .min_ratio = json_number_value(json_object_get(s, "min_ratio")),
        };
        json_array_foreach(steps, t, x) {
            const double want = json_number_value(x), got = schedule_lr(&c, (int64_t)t);
            if (!(fabs(got - want) <= 1e-12 * c.lr))
                fail_msg("schedule %zu, step %zu: %.17g; %.17g is right", i, t, got, want);
        }
        assert_true(json_array_size(steps) >= 8);
    }
    assert_true(json_array_size(all) >= 5);
    json_decref(all);
}

static void schedules_have_names(void **state) {
    (void)state;
    for (int k = SCHEDULE_COSINE; k <= SCHEDULE_CONSTANT; k++)
        assert_int_equal(schedule_by_name(schedule_name((enum schedule_kind)k)), k);
    assert_int_equal(schedule_by_name("cosin"), -1);
    assert_int_equal(schedule_by_name(""), -1);
}

/* ---- parameters ---- */

static void params_layout(void **state) {
    (void)state;
    struct err e;
    struct params p = {0};
    assert_int_equal(params_add(&p, "a", 2, (const int64_t[]){3, 5}, &e), 0);
    assert_int_equal(params_add(&p, "b", 1, (const int64_t[]){17}, &e), 0);
    assert_int_equal(params_add(&p, "c", 4, (const int64_t[]){2, 2, 2, 2}, &e), 0);
    assert_int_equal(params_alloc(&p, &e), 0);
    assert_int_equal(params_count(&p), 15 + 17 + 16);
    assert_int_equal(p.n_plane, 16 + 32 + 16);
    assert_ptr_equal(params_find(&p, "b"), &p.p[1]);
    assert_null(params_find(&p, "d"));
    assert_int_equal(p.p[1].at, 16);
    assert_int_equal(p.p[2].at, 48);
    assert_int_equal(p.p[1].ne[0], 17);
    assert_int_equal(p.p[1].ne[1], 1);
    assert_true(p.p[0].decay && !p.p[1].decay && p.p[2].decay);
    float *const plane[] = {p.w, p.grad, p.m, p.v};
    for (int k = 0; k < 4; k++) {
        assert_int_equal((uintptr_t)plane[k] % 64, 0);
        for (size_t i = 0; i < p.n_plane; i++) {
            assert_true(plane[k][i] == 0);
            plane[k][i] = (float)k; /* planes do not overlap: seen below */
        }
    }
    for (int k = 0; k < 4; k++)
        for (size_t i = 0; i < p.n_plane; i++)
            assert_true(plane[k][i] == (float)k);
    params_fini(&p);
    params_fini(&p); /* an empty set again */
    assert_int_equal(params_alloc(&p, &e), 0);
    params_fini(&p);
}

static void params_refuse(void **state) {
    (void)state;
    static const struct {
        int n_dim;
        int64_t ne[4];
        const char *say;
    } bad[] = {
        {0, {1}, "parameter x: 0 dimensions; 1 to 4 are accepted"},
        {5, {1, 1, 1, 1}, "parameter x: 5 dimensions; 1 to 4 are accepted"},
        {2, {4, 0}, "parameter x: its size is nothing or beyond this machine"},
        {1, {-3}, "parameter x: its size is nothing or beyond this machine"},
        {3, {1 << 30, 1 << 30, 1 << 30}, "parameter x: its size is nothing or beyond this machine"},
        {1, {INT64_MAX}, "parameter x: its size is nothing or beyond this machine"},
        {2, {1 << 30, 1 << 30}, "parameter x: its size is nothing or beyond this machine"},
    };
    struct params p = {0};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct err e = {0};
        assert_int_equal(params_add(&p, "x", bad[i].n_dim, bad[i].ne, &e), -1);
        assert_string_equal(e.msg, bad[i].say);
    }
    struct err e = {0};
    assert_int_equal(params_add(&p, "x", 1, (const int64_t[]){1}, &e), 0);
    assert_int_equal(params_add(&p, "x", 1, (const int64_t[]){1}, &e), -1);
    assert_string_equal(e.msg, "parameter x: declared twice; names must differ");
    assert_int_equal(p.n_param, 1);
    params_fini(&p);
}

/* ---- AdamW beside its double twin ---- */

struct twin {
    double *w, *m, *v;
};

/* The formulas of the golden README, entry by entry. */
static void twin_step(struct twin *x, const struct params *p, const float *grad,
                      const struct adamw *o, int64_t t, double lr, double norm) {
    const double b1 = (double)o->beta1, b2 = (double)o->beta2;
    const double clip = o->max_norm > 0 ? fmin(1, (double)o->max_norm / norm) : 1;
    for (int k = 0; k < p->n_param; k++)
        for (size_t i = p->p[k].at; i < p->p[k].at + p->p[k].n; i++) {
            const double g = clip * (double)grad[i];
            x->m[i] = b1 * x->m[i] + (1 - b1) * g;
            x->v[i] = b2 * x->v[i] + (1 - b2) * g * g;
            const double mh = x->m[i] / (1 - pow(b1, (double)t + 1));
            const double vh = x->v[i] / (1 - pow(b2, (double)t + 1));
            const double decay = p->p[k].n_dim >= 2 ? (double)o->weight_decay : 0;
            x->w[i] = x->w[i] * (1 - lr * decay) - lr * mh / (sqrt(vh) + (double)o->eps);
        }
}

static struct twin twin_of(const struct params *p) {
    struct twin x = {calloc(p->n_plane, sizeof(double)), calloc(p->n_plane, sizeof(double)),
                     calloc(p->n_plane, sizeof(double))};
    assert_true(x.w && x.m && x.v);
    for (size_t i = 0; i < p->n_plane; i++)
        x.w[i] = (double)p->w[i];
    return x;
}

static void twin_free(struct twin *x) {
    free(x->w), free(x->m), free(x->v);
}

static void add(struct params *p, const char *name, int n_dim, int64_t a, int64_t b) {
    struct err e;
    if (params_add(p, name, n_dim, (const int64_t[]){a, b}, &e) != 0) fail_msg("%s", e.msg);
}

/* The adapter of a golden case, in its initial state, and a few vectors: they do not decay. */
static void params_of_case(struct params *p, const struct train_case *c) {
    const json_t *a;
    struct err e;
    size_t i, n;
    json_array_foreach(json_object_get(c->j, "arrays"), i, a) {
        const char *name = json_string_value(json_object_get(a, "name"));
        const json_t *shape = json_object_get(a, "shape");
        if (strncmp(name, "init/", 5) != 0) continue;
        add(p, name + 5, 2, json_integer_value(json_array_get(shape, 1)),
            json_integer_value(json_array_get(shape, 0)));
    }
    assert_true(p->n_param >= 28);
    add(p, "norm", 1, 77, 0);
    add(p, "bias", 1, 5, 0);
    assert_int_equal(params_alloc(p, &e), 0);
    for (int k = 0; k < p->n_param; k++) {
        char name[128];
        snprintf(name, sizeof name, "init/%s", p->p[k].name);
        if (p->p[k].n_dim == 2) {
            memcpy(p->w + p->p[k].at, case_array(c, name, "f32", &n), p->p[k].n * sizeof(float));
            assert_int_equal(n, p->p[k].n);
        }
    }
    for (size_t k = p->p[p->n_param - 2].at; k < p->n_plane; k++)
        p->w[k] = 1;
}

/* Gradients whose global norm is `norm`; gaps stay zero. */
static void fill_grad(struct params *p, struct rng *r, double norm) {
    double ss = 0;
    for (int k = 0; k < p->n_param; k++)
        for (size_t i = p->p[k].at; i < p->p[k].at + p->p[k].n; i++) {
            p->grad[i] = (float)rng_normal(r);
            ss += (double)p->grad[i] * (double)p->grad[i];
        }
    for (size_t i = 0; i < p->n_plane; i++)
        p->grad[i] = (float)((double)p->grad[i] * norm / sqrt(ss));
}

static double rel_l2(const float *got, const double *want, size_t n) {
    double d = 0, s = 0;
    for (size_t i = 0; i < n; i++) {
        d += ((double)got[i] - want[i]) * ((double)got[i] - want[i]);
        s += want[i] * want[i];
    }
    return sqrt(d / s);
}

static void expect_near(const char *what, int step, const float *got, const double *want, size_t n,
                        double limit) {
    const double d = rel_l2(got, want, n);
    if (!(d <= limit)) fail_msg("%s after step %d: relative L2 %.3g", what, step, d);
}

/* Everything but the weights' own change, which rounding of weights a thousand times larger blurs:
 * that one has the golden tolerance, 5e-4. */
static void expect_twin(const struct params *p, const struct twin *x, const float *init, int step) {
    const size_t n = p->n_plane;
    float *got = malloc(n * sizeof *got);
    double *want = malloc(n * sizeof *want);
    assert_true(got && want);
    for (size_t i = 0; i < n; i++) {
        got[i] = p->w[i] - init[i];
        want[i] = x->w[i] - (double)init[i];
    }
    expect_near("m", step, p->m, x->m, n, 1e-6);
    expect_near("v", step, p->v, x->v, n, 1e-6);
    expect_near("w", step, p->w, x->w, n, 1e-6);
    expect_near("w - init", step, got, want, n, 2e-5);
    free(got), free(want);
}

/* The golden run's settings, learning rates and norms, with gradients made up here. */
static void check_case(const char *name) {
    struct train_case c = case_open(name);
    const struct adamw o = {
        .beta1 = (float)case_number(&c, "beta1", 0),
        .beta2 = (float)case_number(&c, "beta2", 0),
        .eps = (float)case_number(&c, "eps", 0),
        .weight_decay = (float)case_number(&c, "weight_decay", 0),
        .max_norm = (float)case_number(&c, "max_norm", 0),
    };
    struct team *team = new_team(2);
    struct rng r;
    struct params p = {0};
    params_of_case(&p, &c);
    rng_seed(&r, 7);
    struct twin x = twin_of(&p);
    float *init = malloc(p.n_plane * sizeof *init);
    memcpy(init, p.w, p.n_plane * sizeof *init);
    for (int t = 0; t < 5; t++) {
        const double lr = case_number(&c, "lr", t), want_norm = case_number(&c, "grad_norm", t);
        fill_grad(&p, &r, want_norm);
        const double norm = optim_grad_norm(team, &p);
        assert_true(fabs(norm - want_norm) < 1e-6 * want_norm);
        twin_step(&x, &p, p.grad, &o, t, lr, norm);
        const double clip = optim_step(team, &p, &o, t, lr, norm);
        assert_true(fabs(clip - case_number(&c, "clip", t)) < 1e-6);
        expect_twin(&p, &x, init, t);
        for (size_t i = 0; i < p.n_plane; i++)
            assert_true(p.grad[i] == 0);
    }
    twin_free(&x);
    free(init);
    params_fini(&p);
    team_free(team);
    case_close(&c);
}

static void adamw_matches_its_twin(void **state) {
    (void)state;
    char **names = golden_names("train", ".adamw.json", 1);
    for (char **n = names; *n; n++) {
        (*n)[strlen(*n) - strlen(".json")] = 0;
        check_case(*n);
    }
    names_free(names);
}

/* One entry by hand: after the first step m = (1 - beta1) g, v = (1 - beta2) g^2 and, thanks to the
 * bias correction, w moves by lr whatever g is. */
static void first_step_by_hand(void **state) {
    (void)state;
    struct err e;
    struct team *t = new_team(1);
    struct params p = {0};
    add(&p, "matrix", 2, 1, 1);
    add(&p, "vector", 1, 1, 0);
    assert_int_equal(params_alloc(&p, &e), 0);
    p.w[0] = p.w[16] = 2;
    p.grad[0] = 3;
    p.grad[16] = -4;
    const double norm = optim_grad_norm(t, &p);
    assert_true(norm == 5);
    const struct adamw o = {.weight_decay = 0.5f}; /* the rest is the default */
    assert_true(optim_step(t, &p, &o, 0, 0.25, norm) == 1);
    assert_true(fabs((double)p.m[0] - 0.3) < 1e-6 && fabs((double)p.v[0] - 0.009) < 1e-6);
    assert_true(fabs((double)p.w[0] - (2 * (1 - 0.125) - 0.25)) < 1e-6);
    assert_true(fabs((double)p.w[16] - (2 + 0.25)) < 1e-6); /* no decay */
    p.grad[0] = 3;
    p.grad[16] = 4;
    optim_zero_grad(t, &p);
    assert_true(optim_grad_norm(t, &p) == 0);
    const struct adamw clipped = {.max_norm = 1};
    assert_true(optim_step(t, &p, &clipped, 1, 0.25, 0) == 1); /* no division by zero */
    assert_true(isfinite(p.w[0]) && isfinite(p.w[16]));
    params_fini(&p);
    team_free(t);
}

/* ---- threads ---- */

/* Sizes whose pieces are empty, uneven, and cut tensors in two. */
static const int64_t sizes[] = {1, 17, 300, 5000, 70001};

static void declare_sizes(struct params *p, int n) {
    struct err e;
    for (int i = 0; i < n; i++) {
        char name[16];
        snprintf(name, sizeof name, "t%d", i);
        add(p, name, i % 2 + 1, sizes[i], 1 + i % 3);
    }
    assert_int_equal(params_alloc(p, &e), 0);
}

/* Three steps from one seed; the last norm. */
static double run_steps(struct params *p, int n_thread, int n_param) {
    struct team *t = new_team(n_thread);
    struct rng r;
    double norm = 0;
    rng_seed(&r, 11);
    declare_sizes(p, n_param);
    for (int k = 0; k < p->n_param; k++)
        for (size_t i = 0; i < p->p[k].n; i++)
            p->w[p->p[k].at + i] = (float)rng_normal(&r);
    for (int step = 0; step < 3; step++) {
        fill_grad(p, &r, 10);
        norm = optim_grad_norm(t, p);
        const struct adamw o = {.weight_decay = 0.1f, .max_norm = 3};
        optim_step(t, p, &o, step, 1e-3, norm);
    }
    team_free(t);
    return norm;
}

static void threads_give_the_same_bits(void **state) {
    (void)state;
    for (int n_param = 1; n_param <= 5; n_param++) {
        struct params one = {0};
        const double norm = run_steps(&one, 1, n_param);
        for (int n = 2; n <= 5; n++) {
            struct params many = {0};
            assert_true(run_steps(&many, n, n_param) == norm);
            assert_memory_equal(many.w, one.w, one.n_plane * sizeof(float));
            assert_memory_equal(many.m, one.m, one.n_plane * sizeof(float));
            assert_memory_equal(many.v, one.v, one.n_plane * sizeof(float));
            params_fini(&many);
        }
        params_fini(&one);
    }
}

/* Gaps stay zero: they are part of a sum of squares and of a checkpoint's planes. */
static void gaps_stay_zero(void **state) {
    (void)state;
    struct params p = {0};
    run_steps(&p, 2, 5);
    for (int k = 0; k < p.n_param; k++) {
        const size_t end = k + 1 < p.n_param ? p.p[k + 1].at : p.n_plane;
        for (size_t i = p.p[k].at + p.p[k].n; i < end; i++)
            assert_true(p.w[i] == 0 && p.grad[i] == 0 && p.m[i] == 0 && p.v[i] == 0);
    }
    params_fini(&p);
}

static void norm_tells_what_is_not_finite(void **state) {
    (void)state;
    struct team *t = new_team(2);
    struct params p = {0};
    declare_sizes(&p, 5);
    p.grad[p.p[3].at + 1234] = INFINITY;
    assert_true(isinf(optim_grad_norm(t, &p)));
    p.grad[p.p[4].at + 70000] = NAN;
    assert_true(isnan(optim_grad_norm(t, &p)));
    optim_zero_grad(t, &p);
    p.grad[5] = 3e38f; /* its square is no float */
    assert_true(fabs(optim_grad_norm(t, &p) / 3e38 - 1) < 1e-6);
    params_fini(&p);
    team_free(t);
}

/* ---- spikes ---- */

static void spikes_are_skipped(void **state) {
    (void)state;
    struct spike_guard g = {0};
    struct rng r;
    rng_seed(&r, 3);
    for (int i = 0; i < 31; i++) /* whatever comes, while there is too little to judge by */
        assert_false(spike_guard_check(&g, i == 7 ? 50 : 2 + 0.1 * rng_normal(&r), 5));
    assert_true(spike_guard_check(&g, NAN, 5)); /* but never what is not finite */
    assert_true(spike_guard_check(&g, INFINITY, 5));
    assert_int_equal(g.n, 31);
    for (int i = 0; i < 300; i++)
        assert_false(spike_guard_check(&g, 2 + 0.1 * rng_normal(&r), 5));
    assert_int_equal(g.n, SPIKE_WINDOW);
    const struct spike_guard before = g;
    assert_true(spike_guard_check(&g, 2.7, 5)); /* 7 deviations */
    assert_true(spike_guard_check(&g, -INFINITY, 5));
    assert_true(spike_guard_check(&g, NAN, 0));
    assert_memory_equal(g.seen, before.seen, sizeof g.seen); /* they did not join the window */
    assert_int_equal(g.at, before.at);
    assert_false(spike_guard_check(&g, 2.2, 5));
    assert_false(spike_guard_check(&g, 0.1, 5)); /* far below is welcome */
    assert_false(spike_guard_check(&g, 1e9, 0)); /* 0: anything finite */
}

static void flat_losses_are_no_trap(void **state) {
    (void)state;
    struct spike_guard g = {0};
    for (int i = 0; i < 200; i++)
        assert_false(spike_guard_check(&g, 0.5, 5));
    assert_false(spike_guard_check(&g, 0.5001, 5)); /* endless deviations, but nothing */
    assert_true(spike_guard_check(&g, 0.6, 5));
}

/* The window forgets: a loss that fell slowly is judged by what it is now. */
static void window_moves_on(void **state) {
    (void)state;
    struct spike_guard g = {0};
    struct rng r;
    rng_seed(&r, 5);
    for (int i = 0; i < 1000; i++)
        assert_false(spike_guard_check(&g, 5 - 0.004 * i + 0.01 * rng_normal(&r), 6));
    assert_true(spike_guard_check(&g, 4, 6)); /* usual 750 steps ago */
}

/* ---- random numbers ---- */

/* What the authors' C programs give (prng.di.unimi.it: xoshiro256starstar.c, splitmix64.c). */
static void rng_known_answers(void **state) {
    (void)state;
    struct rng r = {{1, 2, 3, 4}};
    static const uint64_t want[] = {11520,
                                    0,
                                    1509978240,
                                    1215971899390074240u,
                                    1216172134540287360u,
                                    607988272756665600u,
                                    16172922978634559625u,
                                    8476171486693032832u,
                                    10595114339597558777u,
                                    2904607092377533576u};
    for (size_t i = 0; i < sizeof want / sizeof *want; i++)
        assert_true(rng_next(&r) == want[i]);
    rng_seed(&r, 1234567); /* the seed of splitmix64's known sequence */
    assert_true(r.s[0] == 6457827717110365317u);
    assert_true(r.s[1] == 3203168211198807973u);
    assert_true(r.s[2] == 9817491932198370423u);
    assert_true(r.s[3] == 4593380528125082431u);
}

static void draws_are_uniform(void **state) {
    (void)state;
    enum { N = 700000 };
    static const int ns[] = {1, 2, 3, 7, 10, 64, 1000};
    struct rng r;
    rng_seed(&r, 42);
    for (size_t k = 0; k < sizeof ns / sizeof *ns; k++) {
        static int count[1000];
        double chi2 = 0;
        const double each = (double)N / ns[k];
        memset(count, 0, sizeof count);
        for (int i = 0; i < N; i++) {
            const int x = rng_below(&r, ns[k]);
            assert_in_range(x, 0, ns[k] - 1);
            count[x]++;
        }
        for (int i = 0; i < ns[k]; i++)
            chi2 += (count[i] - each) * (count[i] - each) / each;
        const double free_n = ns[k] - 1; /* mean of chi2; its variance is twice that */
        if (fabs(chi2 - free_n) > 5 * sqrt(2 * free_n) + 1e-9)
            fail_msg("rng_below(%d): chi2 %.1f", ns[k], chi2);
    }
    for (int i = 0; i < 1000; i++) /* a bound that takes most of 31 bits */
        assert_in_range(rng_below(&r, INT32_MAX), 0, INT32_MAX - 1);
}

/* rng_below(n) draws again where x mod n would favour small numbers: 2^64 is one more than a
 * multiple of 3, so a 0 would. */
static void draws_have_no_bias(void **state) {
    (void)state;
    const struct rng zero_next = {{1, 0, 3, 4}};
    struct rng r = zero_next, q = zero_next;
    assert_true(rng_next(&q) == 0);
    assert_int_equal(rng_below(&r, 4), 0); /* 2^64 is a multiple of 4 */
    assert_memory_equal(&r, &q, sizeof r);
    r = zero_next;
    assert_int_equal(rng_below(&r, 3), (int)(rng_next(&q) % 3));
    assert_memory_equal(&r, &q, sizeof r); /* two were drawn */
}

static void normals_are_normal(void **state) {
    (void)state;
    enum { N = 400000 };
    double sum = 0, sum2 = 0, sum3 = 0, sum4 = 0;
    int beyond2 = 0;
    struct rng r;
    rng_seed(&r, 1);
    for (int i = 0; i < N; i++) {
        const double x = rng_normal(&r), u = rng_unit(&r);
        assert_true(isfinite(x) && u >= 0 && u < 1);
        sum += x, sum2 += x * x, sum3 += x * x * x, sum4 += x * x * x * x;
        beyond2 += fabs(x) > 2;
    }
    assert_true(fabs(sum / N) < 0.008);      /* 5 deviations of the mean */
    assert_true(fabs(sum2 / N - 1) < 0.012); /* sqrt(2 / N) each */
    assert_true(fabs(sum3 / N) < 0.031);     /* sqrt(15 / N) */
    assert_true(fabs(sum4 / N - 3) < 0.078); /* sqrt(96 / N) */
    assert_true(fabs(beyond2 / (double)N - 0.0455) < 0.0017);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(schedules_match),
        cmocka_unit_test(schedules_have_names),
        cmocka_unit_test(params_layout),
        cmocka_unit_test(params_refuse),
        cmocka_unit_test(adamw_matches_its_twin),
        cmocka_unit_test(first_step_by_hand),
        cmocka_unit_test(threads_give_the_same_bits),
        cmocka_unit_test(gaps_stay_zero),
        cmocka_unit_test(norm_tells_what_is_not_finite),
        cmocka_unit_test(spikes_are_skipped),
        cmocka_unit_test(flat_losses_are_no_trap),
        cmocka_unit_test(window_moves_on),
        cmocka_unit_test(rng_known_answers),
        cmocka_unit_test(draws_are_uniform),
        cmocka_unit_test(draws_have_no_bias),
        cmocka_unit_test(normals_are_normal),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
