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

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_decode),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
