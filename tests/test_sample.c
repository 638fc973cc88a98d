/* The sampler: every stage against the reference's vectors through `cria debug sampler`, then the
 * chain itself: order, determinism, ranges, bad logits, and that choosing allocates nothing. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "sample/penalty.h"
#include "sample/stage.h"

/* ---- allocation counter ---- */

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
#define COUNT_ALLOCATIONS 0
static volatile long n_alloc;
#elif defined(__has_feature)
#define COUNT_ALLOCATIONS (!__has_feature(address_sanitizer) && !__has_feature(thread_sanitizer))
#else
#define COUNT_ALLOCATIONS 1
#endif
#if COUNT_ALLOCATIONS
static volatile long n_alloc;
extern void *__libc_malloc(size_t n);
void *malloc(size_t n);
void *malloc(size_t n) {
    n_alloc++;
    return __libc_malloc(n);
}
#endif

/* ---- golden vectors ---- */

struct compare {
    json_t *got; /* array of the program's lines */
    int n, n_reference_nan;
};

static double number(const json_t *v) {
    return json_is_string(v) ? -INFINITY : json_number_value(v);
}

static bool near(const json_t *a, const json_t *b) {
    const double x = number(a), y = number(b);
    return x == y || fabs(x - y) <= 1e-5 * fmax(fabs(x), fabs(y)) + 1e-9;
}

/* The reference's typical stage computes 0 * log 0 = NaN as soon as one logit is -inf, and then
 * sorts by NaN: what it keeps of more than 16 candidates is the accident of its sort.  Those lines
 * are checked for what the paper asks instead: banned tokens go first. */
static bool reference_is_nan(const json_t *line) {
    const json_t *st, *x;
    size_t i;
    bool typical = false, banned = false;
    json_array_foreach(json_object_get(line, "chain"), i, st) {
        const char *type = json_string_value(json_object_get(st, "type"));
        typical |= strcmp(type, "typical") == 0 && number(json_object_get(st, "p")) < 1;
    }
    json_array_foreach(json_object_get(line, "logits"), i, x) banned |= json_is_string(x);
    return typical && banned && json_array_size(json_object_get(line, "logits")) > 16;
}

static void check_stages(const json_t *want, const json_t *got, const char *name) {
    const json_t *stages = json_object_get(want, "stages");
    const json_t *last = json_array_get(stages, json_array_size(stages) - 1);
    static const char *const keys[] = {"logits", "probs"};
    if (!json_equal(json_object_get(last, "ids"), json_object_get(got, "ids")))
        fail_msg("%s: other candidates than the reference", name);
    for (int k = 0; k < 2; k++) {
        const json_t *w = json_object_get(last, keys[k]), *g = json_object_get(got, keys[k]);
        assert_int_equal(json_array_size(w), json_array_size(g));
        for (size_t i = 0; i < json_array_size(w); i++)
            if (!near(json_array_get(w, i), json_array_get(g, i)))
                fail_msg("%s: %s[%zu] differs", name, keys[k], i);
    }
}

static void check_mirostat(const json_t *want, const json_t *got, const char *name) {
    const json_t *w = json_object_get(want, "steps"), *g = json_object_get(got, "steps");
    assert_int_equal(json_array_size(w), json_array_size(g));
    for (size_t i = 0; i < json_array_size(w); i++) {
        const json_t *a = json_array_get(w, i), *b = json_array_get(g, i);
        if (!json_equal(json_object_get(a, "kept"), json_object_get(b, "kept")) ||
            !near(json_object_get(a, "mu_after"), json_object_get(b, "mu_after")))
            fail_msg("%s: step %zu differs", name, i);
    }
}

static void check_line(void *ctx, int n, json_t *want) {
    struct compare *c = ctx;
    const json_t *got = json_array_get(c->got, (size_t)n - 1);
    const char *name = json_string_value(json_object_get(want, "name"));
    if (json_object_get(got, "error"))
        fail_msg("%s: %s", name, json_string_value(json_object_get(got, "error")));
    c->n++;
    if (json_object_get(want, "mirostat"))
        check_mirostat(want, got, name);
    else if (reference_is_nan(want)) {
        const json_t *x;
        size_t i;
        c->n_reference_nan++;
        json_array_foreach(json_object_get(got, "logits"), i, x) assert_true(json_is_real(x));
    } else
        check_stages(want, got, name);
}

static void collect(void *ctx, int n, json_t *value) {
    (void)n;
    json_array_append(ctx, value);
}

static void test_golden(void **state) {
    (void)state;
    size_t n;
    char *in = (char *)slurp(golden("sampler/sampler.jsonl"), &n);
    struct ran r;
    const char *args[] = {"debug", "sampler", NULL};
    assert_int_equal(run_cria(&r, args, in, n, 30), 0);
    struct compare c = {.got = json_array()};
    /* Lines, not one document: read them back through a file like any other. */
    char *dir = temp_folder(), path[600];
    snprintf(path, sizeof path, "%s/out.jsonl", dir);
    FILE *f = fopen(path, "wb");
    assert_int_equal(fwrite(r.out.p, 1, r.out.n, f), r.out.n);
    fclose(f);
    each_jsonl(path, collect, c.got);
    each_jsonl(golden("sampler/sampler.jsonl"), check_line, &c);
    assert_true(c.n >= (golden_is_full() ? 242 : 106));
    assert_true(c.n_reference_nan <= 2);
    assert_int_equal(json_array_size(c.got), c.n);
    json_decref(c.got);
    temp_remove(dir);
    ran_fini(&r);
    free(in);
}

static void test_door_refuses(void **state) {
    (void)state;
    static const char in[] =
        "nonsense\n[]\n{\"logits\":[]}\n{\"logits\":[1],\"chain\":[{}]}\n"
        "{\"logits\":[1],\"chain\":[{\"type\":\"magic\"}]}\n"
        "{\"logits\":[1],\"chain\":[{\"type\":\"logit_bias\",\"bias\":[[7,1]]}]}\n"
        "{\"mirostat\":2,\"steps\":[{\"logits\":[1,2],\"selected\":9}]}\n"
        "{\"logits\":[\"-inf\",\"-inf\"],\"chain\":[{\"type\":\"top_p\",\"p\":0.5}]}\n";
    struct ran r;
    const char *args[] = {"debug", "sampler", NULL};
    assert_int_equal(run_cria(&r, args, in, sizeof in - 1, 10), 0);
    int n_error = 0, n_line = 0;
    for (const char *p = r.out.p; (p = strchr(p, '\n')); p++)
        n_line++;
    for (const char *p = r.out.p; (p = strstr(p, "{\"error\":")); p++)
        n_error++;
    assert_int_equal(n_line, 8);
    assert_int_equal(n_error, 7); /* all banned is a valid list */
    ran_fini(&r);
}

static void test_door_times(void **state) {
    (void)state;
    struct ran r;
    const char *args[] = {"debug", "sampler", "--time", "1000", NULL};
    assert_int_equal(run_cria(&r, args, "", 0, 30), 0);
    int n_line = 0;
    for (const char *p = r.out.p; (p = strchr(p, '\n')); p++)
        n_line++;
    assert_int_equal(n_line, 10); /* a header, eight chains, log-probabilities */
    ran_fini(&r);
}

/* ---- the chain ---- */

enum { N = 500 };

static void noise(float *x, uint64_t seed) {
    struct rng r;
    rng_seed(&r, seed);
    for (int i = 0; i < N; i++)
        x[i] = (float)(6.0 * (rng_unit(&r) + rng_unit(&r) + rng_unit(&r)) - 9.0);
}

static void test_rng_is_fixed(void **state) {
    (void)state;
    /* xoshiro256** from splitmix64(42): the same numbers on every machine, in every version. */
    struct rng r;
    rng_seed(&r, 42);
    assert_true(rng_next(&r) == 0x15780b2e0c2ec716u);
    assert_true(rng_next(&r) == 0x6104d9866d113a7eu);
}

static void test_same_seed_same_tokens(void **state) {
    (void)state;
    float logits[N];
    int32_t first[200];
    struct sampler_opts o = sampler_defaults();
    o.top_k = 0, o.temperature = 1.5f, o.seed = 7;
    struct sampler *s = sampler_new(&o, N, NULL);
    for (int pass = 0; pass < 2; pass++) {
        for (int i = 0; i < 200; i++) {
            noise(logits, (uint64_t)i);
            const int32_t id = sampler_choose(s, logits);
            assert_in_range(id, 0, N - 1);
            if (pass == 0) first[i] = id;
            assert_int_equal(first[i], id);
            sampler_accept(s, id);
        }
        sampler_reset(s);
    }
    sampler_free(s);
    o.seed = 8;
    s = sampler_new(&o, N, NULL);
    int other = 0;
    for (int i = 0; i < 200; i++) {
        noise(logits, (uint64_t)i);
        other += sampler_choose(s, logits) != first[i];
    }
    assert_true(other > 50);
    sampler_free(s);
}

/* Draws must follow the probabilities: chi-square of 20000 draws over 8 tokens. */
static void test_draws_follow_p(void **state) {
    (void)state;
    float logits[8];
    double count[8] = {0}, chi = 0, sum = 0;
    struct sampler_opts o = sampler_defaults();
    o.top_k = 0, o.top_p = 1, o.temperature = 1, o.seed = 3;
    struct sampler *s = sampler_new(&o, 8, NULL);
    for (int i = 0; i < 8; i++)
        logits[i] = logf((float)(i + 1)), sum += i + 1;
    for (int i = 0; i < 20000; i++)
        count[sampler_choose(s, logits)]++;
    for (int i = 0; i < 8; i++) {
        const double want = 20000 * (i + 1) / sum;
        chi += (count[i] - want) * (count[i] - want) / want;
    }
    assert_true(chi < 24.3); /* 7 degrees of freedom, p = 0.001 */
    sampler_free(s);
}

static int32_t choose_once(const struct sampler_opts *o, const float *logits, int n,
                           const int32_t *said, int n_said) {
    struct err e = {0};
    struct sampler *s = sampler_new(o, n, &e);
    if (!s) fail_msg("%s", e.msg);
    for (int i = 0; i < n_said; i++)
        sampler_accept(s, said[i]);
    const int32_t id = sampler_choose(s, logits);
    sampler_free(s);
    return id;
}

static void test_greedy(void **state) {
    (void)state;
    struct sampler_opts o = sampler_defaults();
    o.temperature = 0;
    const float plain[] = {1, 5, 5, 2}, nan_in[] = {NAN, 1, NAN, 3}, all_nan[] = {NAN, NAN},
                none[] = {-INFINITY, -INFINITY, -INFINITY}, inf_in[] = {1, INFINITY, 2};
    assert_int_equal(choose_once(&o, plain, 4, NULL, 0), 1); /* the first of equals */
    assert_int_equal(choose_once(&o, nan_in, 4, NULL, 0), 3);
    assert_int_equal(choose_once(&o, inf_in, 3, NULL, 0), 1);
    assert_in_range(choose_once(&o, all_nan, 2, NULL, 0), 0, 1);
    assert_in_range(choose_once(&o, none, 3, NULL, 0), 0, 2);
    const struct logit_bias ban[] = {{1, -INFINITY}, {2, -3}};
    o.bias = ban, o.n_bias = 2;
    assert_int_equal(choose_once(&o, plain, 4, NULL, 0), 2);
}

static void test_bad_logits_never_chosen(void **state) {
    (void)state;
    struct sampler_opts o = sampler_defaults();
    o.seed = 1;
    static const int mirostat[] = {0, 0, 1, 2};
    for (int mode = 0; mode < 4; mode++) {
        o.mirostat = mirostat[mode], o.top_k = mode == 1 ? 0 : 40;
        o.typical_p = 0.9f, o.xtc_probability = 1, o.xtc_threshold = 0.01f, o.dynatemp_range = 0.3f;
        float logits[N];
        for (int i = 0; i < 50; i++) {
            noise(logits, (uint64_t)i);
            for (int j = 0; j < N; j += 2)
                logits[j] = j % 4 ? NAN : -INFINITY;
            assert_int_equal(choose_once(&o, logits, N, NULL, 0) % 2, 1);
            for (int j = 0; j < N; j++)
                logits[j] = NAN;
            assert_in_range(choose_once(&o, logits, N, NULL, 0), 0, N - 1);
        }
    }
}

static void test_penalties(void **state) {
    (void)state;
    struct sampler_opts o = sampler_defaults();
    o.temperature = 0, o.repeat_penalty = 2;
    const float logits[] = {4, 3, -1, 0};
    const int32_t said[] = {0, 0, 0, 3, 3};
    assert_int_equal(choose_once(&o, logits, 4, said, 5), 1); /* 4/2 < 3 */
    o.repeat_last_n = 2; /* only the 3s are seen: the ring forgot the zeros */
    assert_int_equal(choose_once(&o, logits, 4, said, 5), 0);
    o.repeat_last_n = -1;
    assert_int_equal(choose_once(&o, logits, 4, said, 5), 1);
    o.repeat_penalty = 1, o.frequency_penalty = 0.5f; /* 4 - 3 * 0.5 */
    assert_int_equal(choose_once(&o, logits, 4, said, 5), 1);
    o.frequency_penalty = 0.1f;
    assert_int_equal(choose_once(&o, logits, 4, said, 5), 0);
    o.presence_penalty = 1.0f;
    assert_int_equal(choose_once(&o, logits, 4, said, 5), 1);
}

/* DRY from its definition, the slow way: every earlier position, every length. */
static void slow_dry(const int32_t *h, int n, float *logits, const struct sampler_opts *o,
                     int since_breaker) {
    int longest[32] = {0};
    for (int j = 0; j + 1 < n; j++) {
        int m = 0;
        while (m <= j && m < since_breaker && h[j - m] == h[n - 1 - m])
            m++;
        if (m > longest[h[j + 1]]) longest[h[j + 1]] = m;
    }
    for (int i = 0; i < 32; i++)
        if (longest[i] >= o->dry_allowed_length && longest[i] > 0)
            logits[i] -=
                o->dry_multiplier * powf(o->dry_base, (float)(longest[i] - o->dry_allowed_length));
}

static void test_dry(void **state) {
    (void)state;
    struct rng r;
    rng_seed(&r, 5);
    const int32_t comma[] = {3};
    const int32_t *const breaker[] = {comma};
    const int breaker_n[] = {1};
    struct sampler_opts o = {.dry_multiplier = 0.8f,
                             .dry_base = 1.75f,
                             .dry_allowed_length = 2,
                             .dry_penalty_last_n = -1,
                             .dry_breaker = breaker,
                             .dry_breaker_n = breaker_n};
    int changed = 0;
    for (int round = 0; round < 400; round++) {
        const int n = (int)(rng_next(&r) % 60), n_id = 2 + (int)(rng_next(&r) % 5);
        int32_t h[60];
        float a[32] = {0}, b[32] = {0};
        struct recent hist;
        o.n_dry_breaker = round % 2;
        assert_int_equal(recent_init(&hist, 32, 0, 64, NULL), 0);
        int since = 0;
        for (int i = 0; i < n; i++) {
            h[i] = (int32_t)(rng_next(&r) % (uint64_t)n_id);
            since = o.n_dry_breaker && h[i] == 3 ? 0 : since + 1;
            recent_push(&hist, h[i]);
        }
        penalty_dry(&hist, a, &o);
        slow_dry(h, n, b, &o, since);
        for (int i = 0; i < 32; i++) {
            assert_true(fabsf(a[i] - b[i]) <= 1e-4f * fabsf(b[i]));
            changed += b[i] != 0;
        }
        recent_fini(&hist);
    }
    assert_true(changed > 100);
}

static void test_top_k_is_exact(void **state) {
    (void)state;
    static float logits[N];
    static struct candidate c[N], all[N];
    for (int round = 0; round < 100; round++) {
        noise(logits, (uint64_t)round);
        for (int i = 0; i < N; i++)
            logits[i] = roundf(logits[i]); /* many ties: lower ids win */
        struct cands k = {.c = c}, a = {.c = all};
        cands_fill(&a, logits, N);
        cands_sort(&a);
        const int top = 1 + round * 5;
        cands_fill_top(&k, logits, N, top);
        cands_sort(&k);
        assert_int_equal(k.n, top);
        for (int i = 0; i < top; i++)
            assert_int_equal(c[i].id, all[i].id);
    }
}

static void test_logprobs(void **state) {
    (void)state;
    float logits[N];
    struct candidate top[20];
    noise(logits, 9);
    struct candidate chosen = {.id = 77};
    assert_int_equal(candidates_top(logits, N, 20, top, &chosen), 20);
    double sum = 0;
    for (int i = 0; i < N; i++)
        sum += exp((double)logits[i]);
    assert_true(fabs((double)chosen.p - exp((double)logits[77]) / sum) < 1e-6);
    for (int i = 0; i < 20; i++) {
        assert_true(i == 0 || top[i].p <= top[i - 1].p);
        assert_true(fabs((double)top[i].p - exp((double)logits[top[i].id]) / sum) < 1e-6);
    }
    assert_int_equal(candidates_top(logits, 3, 20, top, NULL), 3);
}

static void test_ranges(void **state) {
    (void)state;
    const struct sampler_opts ok = sampler_defaults();
    struct err e;
    assert_int_equal(sampler_check(&ok, &e), 0);
#define REFUSED(field, v)                                                                          \
    do {                                                                                           \
        struct sampler_opts o = ok;                                                                \
        o.field = v;                                                                               \
        assert_int_equal(sampler_check(&o, &e), -1);                                               \
        assert_int_equal(e.code, ERR_USAGE);                                                       \
        assert_non_null(strstr(e.msg, #field));                                                    \
        assert_non_null(strstr(e.msg, "accepted"));                                                \
    } while (0)
    REFUSED(temperature, -0.1f);
    REFUSED(temperature, NAN);
    REFUSED(temperature, INFINITY);
    REFUSED(top_k, -1);
    REFUSED(top_p, 1.01f);
    REFUSED(top_p, -0.1f);
    REFUSED(min_p, 2);
    REFUSED(typical_p, NAN);
    REFUSED(xtc_probability, 1.5f);
    REFUSED(xtc_threshold, -1);
    REFUSED(repeat_last_n, -2);
    REFUSED(repeat_penalty, 0);
    REFUSED(presence_penalty, NAN);
    REFUSED(frequency_penalty, INFINITY);
    REFUSED(dry_multiplier, -1);
    REFUSED(dry_penalty_last_n, -2);
    REFUSED(mirostat, 3);
    REFUSED(mirostat_tau, -1);
    REFUSED(mirostat_eta, NAN);
    REFUSED(dynatemp_range, -1);
    REFUSED(min_keep, -1);
    struct sampler_opts o = ok;
    const struct logit_bias far = {8, 1}, nan = {1, NAN};
    o.bias = &far, o.n_bias = 1;
    assert_null(sampler_new(&o, 8, &e));
    assert_non_null(strstr(e.msg, "token 8"));
    o.bias = &nan;
    assert_null(sampler_new(&o, 8, &e));
}

static void test_choosing_allocates_nothing(void **state) {
    (void)state;
    if (!COUNT_ALLOCATIONS) return;
    float logits[N];
    struct sampler_opts o = sampler_defaults();
    o.repeat_penalty = 1.1f, o.dry_multiplier = 0.5f, o.typical_p = 0.9f, o.xtc_probability = 0.5f;
    o.min_p = 0.01f, o.dynatemp_range = 0.2f, o.top_n_sigma = 3;
    for (o.mirostat = 0; o.mirostat <= 2; o.mirostat++) {
        struct sampler *s = sampler_new(&o, N, NULL);
        const long before = n_alloc;
        assert_true(before > 0);
        for (int i = 0; i < 100; i++) {
            noise(logits, (uint64_t)i);
            sampler_accept(s, sampler_choose(s, logits));
        }
        assert_int_equal(n_alloc, before);
        sampler_free(s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden),
        cmocka_unit_test(test_door_refuses),
        cmocka_unit_test(test_door_times),
        cmocka_unit_test(test_rng_is_fixed),
        cmocka_unit_test(test_same_seed_same_tokens),
        cmocka_unit_test(test_draws_follow_p),
        cmocka_unit_test(test_greedy),
        cmocka_unit_test(test_bad_logits_never_chosen),
        cmocka_unit_test(test_penalties),
        cmocka_unit_test(test_dry),
        cmocka_unit_test(test_top_k_is_exact),
        cmocka_unit_test(test_logprobs),
        cmocka_unit_test(test_ranges),
        cmocka_unit_test(test_choosing_allocates_nothing),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
