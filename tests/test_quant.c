/* Block types against the reference's vectors (golden/quant): what decodes to what, how near the
 * encoders come, and what odd input does. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/f16.h"
#include "quant/blocks.h"
#include "quant/kscale.h"
#include "quant/quant.h"

static int64_t ulp_distance(float a, float b) {
    const int32_t x = (int32_t)f32_bits(a), y = (int32_t)f32_bits(b);
    const int64_t i = x < 0 ? -(int64_t)(x & 0x7fffffff) : x;
    const int64_t j = y < 0 ? -(int64_t)(y & 0x7fffffff) : y;
    return i > j ? i - j : j - i;
}

static const char *in_quant(const char *name) {
    char rel[160];
    snprintf(rel, sizeof rel, "quant/%s", name);
    return golden(rel);
}

static const char *str_at(const json_t *obj, const char *key) {
    return json_string_value(json_object_get(obj, key));
}

static void check_decode(const json_t *t, int *n_done) {
    const json_t *dq = json_object_get(t, "dequant");
    if (!dq) return;
    const enum qtype type = (enum qtype)json_integer_value(json_object_get(t, "ggml_type"));
    const struct qtype_geom *g = qtype_geom(type);
    assert_non_null(g);
    assert_int_equal(g->block, json_integer_value(json_object_get(t, "block")));
    assert_int_equal(g->block_bytes, json_integer_value(json_object_get(t, "bytes_per_block")));

    size_t n_bytes, n;
    uint8_t *blocks = slurp(in_quant(str_at(dq, "blocks_file")), &n_bytes);
    float *want = slurp_f32(in_quant(str_at(dq, "floats_file")), &n);
    assert_int_equal(n_bytes, n / (size_t)g->block * (size_t)g->block_bytes);
    float *got = malloc(n * sizeof *got);
    quant_type(type)->decode(blocks, got, n);
    for (size_t i = 0; i < n; i++)
        if (f32_bits(got[i]) != f32_bits(want[i]))
            fail_msg("%s: value %zu is %.9g (%lld ulp from %.9g)", g->name, i, (double)got[i],
                     (long long)ulp_distance(got[i], want[i]), (double)want[i]);
    free(blocks), free(want), free(got);
    ++*n_done;
}

static void test_decode(void **state) {
    (void)state;
    json_t *m = slurp_json(in_quant("manifest.json"));
    size_t i;
    json_t *t;
    int n_done = 0;
    json_array_foreach(json_object_get(m, "types"), i, t) check_decode(t, &n_done);
    assert_int_equal(n_done, 27);
    json_decref(m);
}

/* Root of the (weighted) mean square difference of each segment of 8 rows of 512. */
enum { N_SEG = 6, SEG = 8 * 512, N_IN = N_SEG * SEG };

static double rms_diff(const float *a, const float *b, const float *w, size_t n) {
    double sum = 0, sum_w = 0;
    for (size_t i = 0; i < n; i++) {
        const double d = (double)a[i] - b[i], wi = w ? w[i % 512] : 1.0;
        sum += wi * d * d;
        sum_w += wi;
    }
    return sqrt(sum / sum_w);
}

/* Types whose unweighted bytes are fixed by rounding alone. */
static bool byte_exact(enum qtype t) {
    return t == QT_F16 || t == QT_BF16 || t == QT_Q8_0 || t == QT_Q4_0 || t == QT_Q4_1 ||
           t == QT_Q5_0 || t == QT_Q5_1 || t == QT_MXFP4;
}

/* Encode the golden input and compare with the reference's figures in `want`. */
static void check_encode(enum qtype t, const json_t *want, const float *x, const float *w) {
    const struct qtype_geom *g = qtype_geom(t);
    const size_t row_bytes = qtype_row_bytes(t, 512);
    uint8_t *blocks = malloc(48 * row_bytes);
    float *back = malloc(N_IN * sizeof *back);
    for (size_t r = 0; r < 48; r++)
        quant_type(t)->encode(x + 512 * r, blocks + r * row_bytes, 512, w);
    quant_type(t)->decode(blocks, back, N_IN);
    if (!w && byte_exact(t)) {
        size_t n;
        uint8_t *ref = slurp(in_quant(str_at(want, "file")), &n);
        assert_int_equal(n, 48 * row_bytes);
        for (size_t i = 0; i < n; i++)
            if (ref[i] != blocks[i])
                fail_msg("%s: byte %zu of row %zu is %02x, the reference has %02x", g->name,
                         i % row_bytes, i / row_bytes, blocks[i], ref[i]);
        free(ref);
    }
    for (size_t s = 0; s < N_SEG; s++) {
        const double got = rms_diff(x + s * SEG, back + s * SEG, w, SEG);
        const json_t *list = json_object_get(want, w ? "weighted_rmse" : "rmse");
        const double ref = json_number_value(json_array_get(list, s));
        if (!(got <= ref * (1 + 1e-6)))
            fail_msg("%s%s: segment %zu has an RMSE of %.9g, the reference %.9g", g->name,
                     w ? " with imatrix" : "", s, got, ref);
    }
    free(blocks), free(back);
}

static void test_encode(void **state) {
    (void)state;
    json_t *m = slurp_json(in_quant("manifest.json"));
    size_t n, n_w, i;
    float *x = slurp_f32(in_quant("quant_input.f32"), &n);
    float *w = slurp_f32(in_quant("quant_imatrix.f32"), &n_w);
    assert_int_equal(n, N_IN);
    assert_int_equal(n_w, 512);
    json_t *t;
    int n_done = 0;
    json_array_foreach(json_object_get(m, "types"), i, t) {
        const enum qtype type = (enum qtype)json_integer_value(json_object_get(t, "ggml_type"));
        const json_t *q = json_object_get(t, "quant"), *qi = json_object_get(t, "quant_imatrix");
        if (!qtype_geom(type) || !quant_type(type)->encode) continue;
        if (q) check_encode(type, q, x, NULL);
        if (qi) check_encode(type, qi, x, w);
        n_done++;
    }
    assert_int_equal(n_done, 27);
    free(x), free(w);
    json_decref(m);
}

/* Rows no model has: nothing may become NaN or infinite, and the error stays near the values. */
static void test_odd_rows(void **state) {
    (void)state;
    static float x[256], w[256], back[256];
    uint8_t blocks[1024];
    for (int t = 0; t < QT_COUNT; t++) {
        if (!qtype_geom((uint32_t)t) || !quant_type((enum qtype)t)->encode) continue;
        for (int kind = 0; kind < 8; kind++) {
            for (int i = 0; i < 256; i++) {
                const float s = (i * 7919 % 256 - 127.5f) / 127.5f;
                const float of[8] = {0,          s * 1e-42f, s * 1e-8f,   s * 3e38f,
                                     i ? 0 : -1, 1e30f,      s * 0x1p20f, i == 9 ? 65504 : s};
                x[i] = of[kind];
                w[i] = kind % 2 ? 0.0f : (float)(i % 3) * 1e30f;
            }
            for (int weighted = 0; weighted < 2; weighted++) {
                quant_type((enum qtype)t)->encode(x, blocks, 256, weighted ? w : NULL);
                quant_type((enum qtype)t)->decode(blocks, back, 256);
                for (int i = 0; i < 256; i++)
                    if (!isfinite(back[i]) && t != QT_F16 && t != QT_BF16)
                        fail_msg("%s, rows of kind %d: %g became %g", qtype_name((uint32_t)t), kind,
                                 (double)x[i], (double)back[i]);
            }
        }
    }
}

/* Rows of +-1: exact where both are levels; where only one end is (no fit without importance), the
 * other is a level off. */
static void test_round_trip(void **state) {
    (void)state;
    static const struct {
        enum qtype type;
        float tolerance;
    } cases[] = {{QT_F32, 0},       {QT_F16, 0},        {QT_BF16, 0},        {QT_Q8_0, 4e-4f},
                 {QT_Q4_0, 0.125f}, {QT_Q5_0, 0.0625f}, {QT_Q4_1, 1e-3f},    {QT_Q5_1, 1e-3f},
                 {QT_Q2_K, 2e-3f},  {QT_Q3_K, 1e-3f},   {QT_Q4_K, 2e-3f},    {QT_Q5_K, 2e-3f},
                 {QT_Q6_K, 1e-3f},  {QT_TQ1_0, 0},      {QT_TQ2_0, 0},       {QT_MXFP4, 0},
                 {QT_NVFP4, 0},     {QT_Q1_0, 0},       {QT_IQ4_NL, 0.045f}, {QT_IQ4_XS, 0.045f}};
    float x[256], back[256];
    uint8_t blocks[1024];
    for (int i = 0; i < 256; i++)
        x[i] = i * 31 % 7 < 3 ? 1.0f : -1.0f;
    for (size_t k = 0; k < sizeof cases / sizeof cases[0]; k++) {
        const enum qtype t = cases[k].type;
        quant_type(t)->encode(x, blocks, 256, NULL);
        quant_type(t)->decode(blocks, back, 256);
        for (int i = 0; i < 256; i++)
            if (!(fabsf(back[i] - x[i]) <= cases[k].tolerance))
                fail_msg("%s: %g became %g", qtype_name(t), (double)x[i], (double)back[i]);
    }
}

/* Just below a half: 0.49999997 rounds to 0, as roundf does. */
static void test_q8_0_rounding(void **state) {
    (void)state;
    float x[32] = {127.0f, nextafterf(0.5f, 0), -nextafterf(0.5f, 0), 0.5f, -0.5f, 1.5f};
    static const int8_t want[6] = {127, 0, 0, 1, -1, 2};
    struct block_q8_0 b;
    quant_type(QT_Q8_0)->encode(x, &b, 32, NULL);
    assert_memory_equal(b.qs, want, 6);
}

static void test_scale_packing(void **state) {
    (void)state;
    uint8_t p[12], s[8], m[8], s2[8], m2[8];
    int8_t k[16], k2[16];
    for (unsigned seed = 1; seed < 200; seed++) {
        for (unsigned j = 0; j < 8; j++) {
            s[j] = (uint8_t)(seed * (j + 3) * 37 % 64);
            m[j] = (uint8_t)(seed * (j + 5) * 41 % 64);
        }
        k4_scales_set(p, s, m);
        k4_scales_get(p, s2, m2);
        assert_memory_equal(s, s2, 8);
        assert_memory_equal(m, m2, 8);
        for (unsigned j = 0; j < 16; j++)
            k[j] = (int8_t)(seed * (j + 7) * 43 % 64 - 32);
        k3_scales_set(p, k);
        k3_scales_get(p, k2);
        assert_memory_equal(k, k2, 16);
    }
}

/* Every type of the file format has its row of the table. */
static void test_table(void **state) {
    (void)state;
    int n_decode = 0;
    for (uint32_t t = 0; t < QT_COUNT; t++) {
        const struct qtype_geom *g = qtype_geom(t);
        if (!g) continue;
        const struct quant_type *q = quant_type((enum qtype)t);
        assert_true(fabs(q->bits - 8.0 * g->block_bytes / g->block) < 1e-9);
        n_decode += q->decode != NULL;
        assert_true(q->decode || !q->encode);
    }
    assert_int_equal(n_decode, 28);
}

/* ---- the doors ---- */

static void run_door(struct ran *r, const char *args, const void *in, size_t n) {
    char copy[256];
    const char *argv[16] = {"debug"};
    snprintf(copy, sizeof copy, "%s", args);
    char *save = NULL;
    int k = 1;
    for (char *a = strtok_r(copy, " ", &save); a; a = strtok_r(NULL, " ", &save))
        argv[k++] = a;
    run_cria(r, argv, in, n, 20);
}

static void test_doors(void **state) {
    (void)state;
    struct ran r;
    size_t n_blocks, n_floats, n_in, n_ref;
    uint8_t *blocks = slurp(in_quant("dq_iq3_s.bin"), &n_blocks);
    float *floats = slurp_f32(in_quant("dq_iq3_s.f32"), &n_floats);
    run_door(&r, "dequant iq3_s", blocks, n_blocks);
    assert_int_equal(r.code, 0);
    assert_int_equal(r.out.n, n_floats * sizeof *floats);
    assert_memory_equal(r.out.p, floats, r.out.n);
    ran_fini(&r);
    free(blocks), free(floats);

    float *in = slurp_f32(in_quant("quant_input.f32"), &n_in);
    uint8_t *ref = slurp(in_quant("q_q5_1.bin"), &n_ref);
    run_door(&r, "quant Q5_1 --row 512", in, n_in * sizeof *in);
    assert_int_equal(r.code, 0);
    assert_int_equal(r.out.n, n_ref);
    assert_memory_equal(r.out.p, ref, n_ref);
    ran_fini(&r);

    char args[200];
    snprintf(args, sizeof args, "quant q4_K --row 512 --imatrix %s", in_quant("quant_imatrix.f32"));
    run_door(&r, args, in, n_in * sizeof *in);
    assert_int_equal(r.code, 0);
    assert_int_equal(r.out.n, 48 * 288);
    ran_fini(&r);
    free(in), free(ref);
}

static void test_doors_refuse(void **state) {
    (void)state;
    const float nan_row[32] = {[7] = NAN};
    const struct {
        const char *args, *in;
        size_t n;
        int code;
        const char *says;
    } cases[] = {
        {"dequant", "", 0, 2, "Q4_K"},
        {"dequant q8_1", "", 0, 2, "q8_1"},
        {"dequant i32", "", 0, 2, "i32"},
        {"dequant q4_0", "1234567", 7, 1, "7 bytes"},
        {"quant q4_0", "", 0, 2, "--row"},
        {"quant q4_0 --row 33", "", 0, 2, "33"},
        {"quant i32 --row 256", "", 0, 2, "i32"},
        {"quant q4_0 --row 32 --imatrix no-such-file", "", 0, 3, "no-such-file"},
        {"quant q4_0 --row 32 --imatrix Makefile", "", 0, 1, "128 bytes"},
        {"quant q4_0 --row 32", (const char *)nan_row, sizeof nan_row, 1, "column 7"},
        {"quant q4_0 --row 32", (const char *)nan_row, 100, 1, "100 bytes"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct ran r;
        run_door(&r, cases[i].args, cases[i].in, cases[i].n);
        if (r.code != cases[i].code || !strstr(r.err.p, cases[i].says))
            fail_msg("%s: exit %d, \"%s\"", cases[i].args, r.code, r.err.p);
        assert_ptr_equal(strchr(r.err.p, '\n'), r.err.p + r.err.n - 1);
        ran_fini(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_table),         cmocka_unit_test(test_decode),
        cmocka_unit_test(test_encode),        cmocka_unit_test(test_round_trip),
        cmocka_unit_test(test_odd_rows),      cmocka_unit_test(test_scale_packing),
        cmocka_unit_test(test_q8_0_rounding), cmocka_unit_test(test_doors),
        cmocka_unit_test(test_doors_refuse),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
