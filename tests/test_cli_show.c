/* `cria show` and `cria debug tensor`. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf/write.h"
#include "seedgguf.h"

static char *dir;
static char seed[600], evil[600];

static void run(struct ran *r, int code, const char *a, const char *b, const char *c,
                const char *d) {
    const char *const args[] = {a, b, c, d, NULL};
    run_cria(r, args, NULL, 0, 20);
    if (r->code != code) fail_msg("%s %s %s: code %d: %s", a, b, c ? c : "", r->code, r->err.p);
}

static void holds(const struct ran *r, const char *text) {
    if (!strstr(r->out.p, text)) fail_msg("'%s' is not in: %s", text, r->out.p);
}

static void sections(void **state) {
    (void)state;
    struct ran r;
    run(&r, 0, "show", seed, NULL, NULL);
    holds(&r,
          "  Model\n    architecture        llama\n    parameters          22K\n"
          "    context length      64\n    embedding length    32\n    quantization        F32\n");
    holds(&r, "  Capabilities\n    completion\n");
    holds(&r, "  License\n    mit\n");
    assert_null(strstr(r.out.p, "Metadata"));
    ran_fini(&r);
    run(&r, 0, "show", "-v", seed, NULL);
    holds(&r, "  Metadata\n    general.architecture ");
    holds(&r, "llama.attention.layer_norm_rms_epsilon    1e-05\n");
    holds(&r, "tokenizer.ggml.tokens                     [<unk>, <s>, </s>, ...+286 more]\n");
    holds(&r, "tokenizer.ggml.add_bos_token              true\n");
    holds(&r, "    token_embd.weight           F32    [32, 289]\n");
    holds(&r, "    blk.1.ffn_norm.weight       F32    [32]\n");
    ran_fini(&r);
    run(&r, 0, "show", seed, "--tensors", NULL);
    assert_null(strstr(r.out.p, "Model"));
    ran_fini(&r);
    run(&r, 0, "show", seed, "--license", NULL);
    assert_string_equal(r.out.p, "mit\n");
    ran_fini(&r);
    run(&r, 0, "show", seed, "--template", NULL);
    assert_string_equal(r.out.p, "{% for m in messages %}{{ m.content }}{% endfor %}\n");
    ran_fini(&r);
}

static void json(void **state) {
    (void)state;
    struct ran r;
    for (int verbose = 0; verbose < 2; verbose++) {
        run(&r, 0, "show", "--json", seed, verbose ? "-v" : NULL);
        json_t *o = json_loads(r.out.p, 0, NULL);
        assert_non_null(o);
        assert_string_equal(json_string_value(json_object_get(o, "architecture")), "llama");
        assert_int_equal(json_integer_value(json_object_get(o, "parameters")),
                         289 * 32 + 32 + 2 * 6208);
        assert_int_equal(json_array_size(json_object_get(o, "tensors")), SEED_N_TENSOR);
        const json_t *m = json_object_get(o, "metadata");
        assert_int_equal(json_integer_value(json_object_get(m, "llama.block_count")), 2);
        const json_t *tokens = json_object_get(m, "tokenizer.ggml.tokens");
        if (verbose)
            assert_string_equal(json_string_value(json_array_get(tokens, 2)), "</s>");
        else
            assert_true(json_is_null(tokens));
        json_decref(o);
        ran_fini(&r);
    }
}

static void usage(void **state) {
    (void)state;
    struct ran r;
    run(&r, 2, "show", NULL, NULL, NULL), ran_fini(&r);
    run(&r, 2, "show", seed, seed, NULL), ran_fini(&r);
    run(&r, 2, "show", seed, "--json", "--tensors"), ran_fini(&r);
    run(&r, 3, "show", "no-such-file.gguf", NULL, NULL), ran_fini(&r);
    run(&r, 3, "show", evil, "--license", NULL), ran_fini(&r);
}

/* What a file says cannot steer the terminal; in JSON it comes back as it is. */
static void evil_texts(void **state) {
    (void)state;
    static const char text[] = "a\x1b[31m\xc2\x9b"
                               "2J\xe2\x80\xae"
                               "b\x07\r\xff\ttab\nline";
    struct err e = {0};
    struct ran r;
    struct gguf_writer *w = gguf_writer_new(evil, 0, &e);
    assert_non_null(w);
    const struct str v = str_of(text), list[] = {v, v};
    assert_int_equal(gguf_set_str(w, "general.architecture", v, &e), 0);
    assert_int_equal(gguf_set_str(w, "general.name", v, &e), 0);
    assert_int_equal(gguf_set_str(w, "tokenizer.chat_template", v, &e), 0);
    assert_int_equal(gguf_set_strs(w, "x\xe2\x80\xae", list, 2, &e), 0);
    const int64_t ne = 4;
    const float data[4] = {0};
    assert_int_equal(gguf_add_tensor(w, "\xe2\x80\xae\xc2\x9bt", QT_F32, 1, &ne, &e), 0);
    assert_int_equal(gguf_write_data(w, data, sizeof data, &e), 0);
    assert_int_equal(gguf_writer_finish(w, &e), 0);
    static const char *const ways[] = {"-v", "--template", "--metadata", "--tensors"};
    for (size_t i = 0; i < sizeof ways / sizeof *ways; i++) {
        run(&r, 0, "show", evil, ways[i], NULL);
        for (const char *p = r.out.p; *p; p++)
            if (((unsigned char)*p < 0x20 && *p != '\n' && *p != '\t') || *p == 0x7f)
                fail_msg("%s: byte %02x in: %s", ways[i], (unsigned char)*p, r.out.p);
        assert_null(strstr(r.out.p, "\xc2\x9b"));
        assert_null(strstr(r.out.p, "\xe2\x80\xae"));
        assert_null(strchr(r.out.p, '\xff'));
        holds(&r, "\\xe2\\x80\\xae");
        ran_fini(&r);
    }
    run(&r, 0, "show", evil, "--json", NULL);
    json_t *o = json_loads(r.out.p, 0, NULL);
    assert_non_null(o);
    const char *name =
        json_string_value(json_object_get(json_object_get(o, "metadata"), "general.name"));
    assert_string_equal(name, "a\x1b[31m\xc2\x9b"
                              "2J\xe2\x80\xae"
                              "b\x07\r\xef\xbf\xbd\ttab\nline");
    json_decref(o);
    ran_fini(&r);
}

static void tensors(void **state) {
    (void)state;
    struct err e = {0};
    struct ran r;
    char path[700];
    snprintf(path, sizeof path, "%s/tensors.gguf", dir);
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    const float f32[4] = {1.5f, -2.0f, 0.0f, 0.5f};
    const int16_t i16[3] = {-5, 7, 32767};
    const int64_t ne4[] = {2, 2}, ne3[] = {3};
    assert_non_null(w);
    assert_int_equal(gguf_add_tensor(w, "f", QT_F32, 2, ne4, &e), 0);
    assert_int_equal(gguf_add_tensor(w, "i", QT_I16, 1, ne3, &e), 0);
    assert_int_equal(gguf_write_data(w, f32, sizeof f32, &e), 0);
    assert_int_equal(gguf_write_data(w, i16, sizeof i16, &e), 0);
    assert_int_equal(gguf_writer_finish(w, &e), 0);
    const char *const args[] = {"debug", "tensor", path, "f", "--stats", NULL};
    run_cria(&r, args, NULL, 0, 20);
    assert_int_equal(r.code, 0);
    assert_string_equal(
        r.out.p, "f  F32  [2, 2]  16 bytes\nmin -2  max 1.5  mean 0  rms 1.27475488  deviation "
                 "1.27475488  not finite 0\n1.5 -2\n0 0.5\n");
    ran_fini(&r);
    const char *const more[] = {"debug", "tensor", path, "i", "-n2", NULL};
    run_cria(&r, more, NULL, 0, 20);
    assert_string_equal(r.out.p, "i  I16  [3]  6 bytes\n-5 7\n");
    ran_fini(&r);
    run(&r, 3, "debug", "tensor", path, "none"), ran_fini(&r);
}

static int setup(void **state) {
    (void)state;
    dir = temp_folder();
    snprintf(seed, sizeof seed, "%s/seed.gguf", dir);
    snprintf(evil, sizeof evil, "%s/evil.gguf", dir);
    seed_gguf_write(seed, SEED_SPM);
    return 0;
}

static int teardown(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sections), cmocka_unit_test(json),    cmocka_unit_test(evil_texts),
        cmocka_unit_test(usage),    cmocka_unit_test(tensors),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
