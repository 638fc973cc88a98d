/* bench and the measured limits: the figures are there and agree with each other.  How large they
 * are is the machine's business. */
#include "support.h"

#include <math.h>
#include <string.h>

#include "engine/bench.h"

static void limits_are_positive(void **s) {
    (void)s;
    struct err e;
    struct limits l;
    struct team *t = team_new(2, &e);
    assert_non_null(t);
    assert_int_equal(limits_measure(t, &l, &e), 0);
    assert_true(l.read_bps > 1e8 && l.int8_opps > 1e8 && l.f32_flopps > 1e7);
    team_free(t);
}

static double real(const json_t *j, const char *key) {
    const json_t *v = json_object_get(j, key);
    if (!json_is_number(v)) fail_msg("no number %s", key);
    return json_number_value(v);
}

static json_t *bench(const char *const *args) {
    struct ran r;
    if (run_cria(&r, args, "", 0, 60) != 0) fail_msg("%s", r.err.p);
    assert_int_equal(r.err.n, 0); /* no progress bar in a pipe */
    json_t *j = json_loads(r.out.p, 0, NULL);
    assert_non_null(j);
    ran_fini(&r);
    return j;
}

static void figures_agree(void **s) {
    (void)s;
    const char *const args[] = {"bench",  golden("models/llama32.gguf"),
                                "--json", "--pp",
                                "48",     "--tg",
                                "8",      "--depth",
                                "16",     "--parallel",
                                "2",      "--reps",
                                "3",      NULL};
    json_t *j = bench(args);
    static const char *const positive[] = {
        "prefill_tps",        "decode_tps",     "load_s",     "first_token_s", "peak_rss_bytes",
        "bandwidth_gbs",      "int8_gops",      "int16_gops", "f32_gflops",    "weight_bytes",
        "kv_bytes_per_token", "flops_per_token"};
    for (size_t i = 0; i < sizeof positive / sizeof *positive; i++)
        if (!(real(j, positive[i]) > 0)) fail_msg("%s is not positive", positive[i]);
    assert_true(fabs(real(j, "decode_ratio") * real(j, "decode_limit_tps") / real(j, "decode_tps") -
                     1) < 1e-6);
    assert_true(
        fabs(real(j, "prefill_ratio") * real(j, "prefill_limit_tps") / real(j, "prefill_tps") - 1) <
        1e-6);
    const double step = real(j, "weight_bytes") + 2 * (16 + 4) * real(j, "kv_bytes_per_token");
    assert_true(fabs(2e9 * real(j, "bandwidth_gbs") / step / real(j, "decode_limit_tps") - 1) <
                1e-6);
    assert_int_equal(json_array_size(json_object_get(j, "decode_tps_all")), 3);
    /* 48 tokens: the head counts once, so that they need less than 48 times one token's work. */
    const double flops = real(j, "prefill_flops"), one = real(j, "flops_per_token");
    assert_true(flops < 48 * one && flops > one);
    assert_true(real(j, "prefill_limit_tps") <= 48e9 * real(j, "int8_gops") / flops * (1 + 1e-6) ||
                real(j, "prefill_limit_tps") <= 48e9 * real(j, "f32_gflops") / flops * (1 + 1e-6));
    json_decref(j);
}

/* Two tokens at once: whatever the arithmetic, the weights must be read. */
static void few_tokens_are_bound_by_reading(void **s) {
    (void)s;
    const char *const args[] = {
        "bench", golden("models/llama32.gguf"), "--json", "--pp", "2", "--tg", "0", "--reps", "1",
        NULL};
    json_t *j = bench(args);
    const double limit = 2e9 * real(j, "bandwidth_gbs") / real(j, "weight_bytes");
    assert_true(real(j, "prefill_limit_tps") <= limit * (1 + 1e-6));
    json_decref(j);
}

static void embedding_models_only_read(void **s) {
    (void)s;
    const char *const args[] = {
        "bench", golden("models/bert.gguf"), "--json", "--pp", "32", "--reps", "1", NULL};
    json_t *j = bench(args);
    assert_true(real(j, "prefill_tps") > 0 && real(j, "tg") == 0);
    json_decref(j);
    const char *const decode[] = {"bench", golden("models/bert.gguf"), "--tg", "8", NULL};
    struct ran r;
    assert_int_equal(run_cria(&r, decode, "", 0, 60), 1);
    ran_fini(&r);
}

static void clients_are_measured(void **s) {
    (void)s;
    const char *const args[] = {"bench",  golden("models/llama32.gguf"),
                                "--json", "--clients",
                                "1,3",    "--pp",
                                "20",     "--tg",
                                "24",     "--late",
                                "60",     "--threads",
                                "1",      NULL};
    json_t *j = bench(args);
    assert_int_equal(json_array_size(j), 2);
    for (size_t i = 0; i < 2; i++) {
        const json_t *r = json_array_get(j, i);
        assert_int_equal(json_integer_value(json_object_get(r, "clients")), i ? 3 : 1);
        assert_true(real(r, "tps") > 0 && real(r, "late_first_s") > 0);
        assert_true(real(r, "first_median_s") > 0);
        assert_true(real(r, "first_worst_s") >= real(r, "first_median_s"));
        assert_true(real(r, "interval_p95_s") >= real(r, "interval_median_s"));
    }
    json_decref(j);
    struct ran r;
    const char *const bad[] = {"bench", golden("models/llama32.gguf"), "--clients", "1,x", NULL};
    assert_int_equal(run_cria(&r, bad, "", 0, 60), 2);
    assert_non_null(strstr(r.err.p, "--clients"));
    ran_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(limits_are_positive),
        cmocka_unit_test(clients_are_measured),
        cmocka_unit_test(figures_agree),
        cmocka_unit_test(few_tokens_are_bound_by_reading),
        cmocka_unit_test(embedding_models_only_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
