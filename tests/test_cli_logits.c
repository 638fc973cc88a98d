/* `cria debug logits`, `greedy`, `layers`: the doors of golden/DRIVERS.md, as a user calls them. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

struct prompt {
    json_t *json;    /* of the model's outputs */
    const json_t *p; /* the prompt */
    char tokens[4096];
    float *data;
    int n_col;
};

/* The prompt with this name from models/MODEL. */
static struct prompt load(const char *outputs, const char *name) {
    char path[256];
    size_t i, n;
    struct prompt r = {0};
    snprintf(path, sizeof path, "%s.json", outputs);
    r.json = slurp_json(golden(path));
    snprintf(path, sizeof path, "%s.f32", outputs);
    r.data = slurp_f32(golden(path), &n);
    r.n_col = (int)json_integer_value(json_object_get(r.json, "n_vocab"));
    json_array_foreach(json_object_get(r.json, "prompts"), i, r.p) {
        if (strcmp(json_string_value(json_object_get(r.p, "name")), name)) continue;
        size_t k, at = 0;
        const json_t *id;
        json_array_foreach(json_object_get(r.p, "tokens"), k, id) at += (size_t)snprintf(
            r.tokens + at, sizeof r.tokens - at, "%d ", (int)json_integer_value(id));
        return r;
    }
    fail_msg("%s has no prompt %s", outputs, name);
    return r;
}

static void drop(struct prompt *p) {
    json_decref(p->json);
    free(p->data);
}

static void expect_rows(const struct prompt *p, const float *got, int n_row) {
    const json_t *pos = json_object_get(p->p, "positions");
    const size_t at = (size_t)json_integer_value(json_object_get(p->p, "logits_offset"));
    for (size_t k = 0; k < json_array_size(pos); k++) {
        int row = (int)json_integer_value(json_array_get(pos, k));
        if (n_row == 1 && k + 1 < json_array_size(pos)) continue; /* the last one only */
        if (n_row == 1) row = 0;
        for (int i = 0; i < p->n_col; i++)
            if (!(fabsf(got[row * p->n_col + i] - p->data[at + k * (size_t)p->n_col + (size_t)i]) <=
                  1e-3f))
                fail_msg("row %d value %d: %g", row, i, (double)got[row * p->n_col + i]);
    }
}

static void logits_of_the_last_token_and_of_all(void **state) {
    (void)state;
    struct prompt p = load("models/llama32", "len33");
    char model[512], out[600];
    snprintf(model, sizeof model, "%s", golden("models/llama32.gguf"));
    char *dir = temp_folder();
    snprintf(out, sizeof out, "%s/rows", dir);
    struct ran r;
    const char *last[] = {"debug", "logits", model, "--tokens", p.tokens, NULL};
    assert_int_equal(run_cria(&r, last, NULL, 0, 20), 0);
    assert_int_equal(r.out.n, (size_t)p.n_col * 4);
    expect_rows(&p, (const float *)(const void *)r.out.p, 1);
    ran_fini(&r);
    const char *all[] = {"debug", "logits", model,     "--tokens", p.tokens, "--all",
                         "--out", out,      "--batch", "5",        NULL};
    assert_int_equal(run_cria(&r, all, NULL, 0, 20), 0);
    assert_int_equal(r.out.n, 0);
    ran_fini(&r);
    size_t n;
    float *rows = slurp_f32(out, &n);
    assert_int_equal(n, 33 * (size_t)p.n_col);
    expect_rows(&p, rows, 33);
    free(rows);
    temp_remove(dir);
    drop(&p);
}

static void logits_with_an_adapter(void **state) {
    (void)state;
    struct prompt p = load("lora/llama32.lora-qv.s0.5", "len33");
    char model[512], lora[600];
    snprintf(model, sizeof model, "%s", golden("models/llama32.gguf"));
    snprintf(lora, sizeof lora, "%s:0.5", golden("lora/llama32.lora-qv.gguf"));
    struct ran r;
    const char *args[] = {"debug", "logits", model, "--tokens", p.tokens, "--lora", lora, NULL};
    assert_int_equal(run_cria(&r, args, NULL, 0, 20), 0);
    expect_rows(&p, (const float *)(const void *)r.out.p, 1);
    ran_fini(&r);
    drop(&p);
}

static void greedy_continues(void **state) {
    (void)state;
    struct prompt p = load("models/llama32", "len5");
    char model[512];
    snprintf(model, sizeof model, "%s", golden("models/llama32.gguf"));
    struct ran r;
    const char *args[] = {"debug", "greedy", model, "--tokens", p.tokens, "-n", "32", NULL};
    assert_int_equal(run_cria(&r, args, NULL, 0, 20), 0);
    json_error_t je;
    json_t *line = json_loadb(r.out.p, r.out.n, 0, &je);
    assert_non_null(line);
    const json_t *ids = json_object_get(line, "ids"), *want = json_object_get(p.p, "greedy");
    const json_t *margin = json_object_get(p.p, "greedy_margin");
    assert_int_equal(json_array_size(ids), 32);
    for (size_t i = 0; i < 32; i++) {
        if (json_number_value(json_array_get(margin, i)) < 2e-3) break;
        assert_int_equal(json_integer_value(json_array_get(ids, i)),
                         json_integer_value(json_array_get(want, i)));
    }
    json_decref(line);
    ran_fini(&r);
    drop(&p);
}

static void layers_show_points(void **state) {
    (void)state;
    char model[512];
    snprintf(model, sizeof model, "%s", golden("models/gemma3.gguf"));
    struct ran r;
    const char *args[] = {"debug", "layers", model, "--tokens", "1 2 3", "--values", "2", NULL};
    assert_int_equal(run_cria(&r, args, NULL, 0, 20), 0);
    static const char *const points[] = {"embed", "attn_norm", "attn_out", "ffn_out",
                                         "l_out", "out_norm",  "logits"};
    for (size_t i = 0; i < sizeof points / sizeof *points; i++)
        assert_non_null(strstr(r.out.p, points[i]));
    ran_fini(&r);
}

static void wrong_words_are_refused(void **state) {
    (void)state;
    char model[512], encoder[512];
    snprintf(model, sizeof model, "%s", golden("models/llama32.gguf"));
    snprintf(encoder, sizeof encoder, "%s", golden("models/bert.gguf"));
    static const struct {
        const char *door, *option, *value;
        int code;
    } bad[] = {
        {"logits", "--tokens", "1 x", 2},      {"logits", "--tokens", "", 2},
        {"logits", "--tokens", "-1", 2},       {"logits", "--tokens", "1.5", 2},
        {"logits", "--tokens", "99999", 1},    {"logits", "--tokens", "99999999999999", 2},
        {"greedy", "--tokens", "99999", 1},    {"layers", "--tokens", "99999", 1},
        {"logits", "--kv", "q4_k", 2},         {"logits", "--lora", "/nowhere", 3},
        {"logits", "--lora", "/nowhere:x", 2}, {"greedy", "-n", "0", 2},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ran r;
        const bool tokens = !strcmp(bad[i].option, "--tokens");
        const char *args[] = {"debug",       bad[i].door,  model,
                              bad[i].option, bad[i].value, tokens ? NULL : "--tokens",
                              "1 2",         NULL};
        run_cria(&r, args, NULL, 0, 20);
        if (r.code != bad[i].code || !strchr(r.err.p, '\n') || r.out.n)
            fail_msg("%s %s %s: code %d, %s", bad[i].door, bad[i].option, bad[i].value, r.code,
                     r.err.p);
        ran_fini(&r);
    }
    struct ran r;
    const char *embed[] = {"debug", "greedy", encoder, "--tokens", "1 2", NULL};
    assert_int_equal(run_cria(&r, embed, NULL, 0, 20), 1);
    ran_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(logits_of_the_last_token_and_of_all),
        cmocka_unit_test(logits_with_an_adapter),
        cmocka_unit_test(greedy_continues),
        cmocka_unit_test(layers_show_points),
        cmocka_unit_test(wrong_words_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
