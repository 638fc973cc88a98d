/* `cria tokenize` and `cria debug tokenize`, as a user runs them. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { TIMEOUT_S = 60 };

static char model[600];

static void run(struct ran *r, const char *const *args, const char *input, size_t n) {
    run_cria(r, args, input, n, TIMEOUT_S);
}

static void prints(const char *const *args, const char *input, const char *want) {
    struct ran r;
    run(&r, args, input, strlen(input));
    if (r.code != 0) fail_msg("exit code %d: %s", r.code, r.err.p);
    assert_string_equal(r.out.p, want);
    ran_fini(&r);
}

static void refuses(const char *const *args, int code, const char *says) {
    struct ran r;
    run(&r, args, "", 0);
    assert_int_equal(r.code, code);
    assert_int_equal(r.out.n, 0);
    if (!strstr(r.err.p, says)) fail_msg("\"%s\" is not in: %s", says, r.err.p);
    ran_fini(&r);
}

#define ARGS(...) ((const char *const[]){__VA_ARGS__, NULL})

static void text_to_ids(void **s) {
    (void)s;
    prints(ARGS("tokenize", model, "--ids", "--no-bos", "abc"), "", "97 98 99\n");
    prints(ARGS("tokenize", model, "--ids", "--no-bos"), "abc", "97 98 99\n");
    prints(ARGS("tokenize", "--no-bos", model, "--ids", "a", "b"), "", "97 277\n");
    prints(ARGS("tokenize", model, "--ids", "--no-bos"), "", "\n");
    prints(ARGS("tokenize", model, "--ids", ""), "", "442\n");
    prints(ARGS("tokenize", model, "--ids", "--special", "<|begin_of_text|>"), "", "442 442\n");
    prints(ARGS("tokenize", model, "--no-bos", "a\tb"), "",
           "     97  'a'\n      9  '\\t'\n     98  'b'\n");
    prints(ARGS("tokenize", model, "--no-bos", "--json", "a"), "",
           "{\"n\":1,\"ids\":[97],\"tokens\":[{\"text\":\"a\",\"id\":97}]}\n");
}

static void ids_to_text(void **s) {
    (void)s;
    prints(ARGS("tokenize", model, "--decode", "97 98,99"), "", "abc\n");
    prints(ARGS("tokenize", model, "--decode", "[442, 97]"), "", "a\n");
    prints(ARGS("tokenize", model, "--special", "--decode", "442 97"), "", "<|begin_of_text|>a\n");
    prints(ARGS("tokenize", model, "--decode", "-"), "97 98\n", "ab\n");
    prints(ARGS("tokenize", model, "--json", "--decode", "97"), "", "{\"text\":\"a\"}\n");
    /* Half a character cannot be JSON text. */
    prints(ARGS("tokenize", model, "--json", "--decode", "195"), "", "{\"text_hex\":\"c3\"}\n");
}

static void refusals(void **s) {
    (void)s;
    refuses(ARGS("tokenize"), 2, "accepted: MODEL [TEXT...]");
    refuses(ARGS("tokenize", model, "x", "--decode", "1"), 2, "one of them");
    refuses(ARGS("tokenize", model, "--decode", "1 x"), 2, "\"x\"");
    refuses(ARGS("tokenize", model, "--decode", "99999"), 1, "99999");
    refuses(ARGS("tokenize", model, "--decode", "-1"), 1, "-1");
    refuses(ARGS("tokenize", "/nonexistent", "x"), 3, "/nonexistent");
    refuses(ARGS("debug", "tokenize"), 2, "accepted: FILE");
}

struct door {
    char *out, *at;
    int n_bad;
};

/* One golden case against the next line that the door printed. */
static void same_as_golden(void *ctx, int line, json_t *c) {
    struct door *d = ctx;
    json_error_t je;
    char *end = strchr(d->at, '\n');
    if (!end) fail_msg("line %d: no output", line);
    json_t *got = json_loadb(d->at, (size_t)(end - d->at), JSON_ALLOW_NUL, &je);
    if (!got) fail_msg("line %d: %s", line, je.text);
    const char *cat = json_string_value(json_object_get(c, "cat"));
    const bool odd = strcmp(cat, "invalid") == 0 || strcmp(cat, "bytes") == 0;
    const char *text_key = json_object_get(c, "text") ? "text" : "text_hex";
    const json_t *want = json_object_get(c, "detok");
    if (!want) want = json_object_get(c, text_key);
    if (!odd && (!json_equal(json_object_get(got, "ids"), json_object_get(c, "ids")) ||
                 !json_equal(json_object_get(got, "detok"), want)))
        d->n_bad++;
    json_decref(got);
    d->at = end + 1;
}

static void the_door_answers_as_the_golden_file(void **s) {
    (void)s;
    struct ran r;
    size_t n;
    const char *path = golden("tokenizer/tiny-llama32.jsonl");
    char *input = (char *)slurp(path, &n);
    run(&r, ARGS("debug", "tokenize", model), input, n);
    assert_int_equal(r.code, 0);
    struct door d = {.out = r.out.p, .at = r.out.p};
    assert_int_equal(each_jsonl(path, same_as_golden, &d), 380);
    assert_int_equal(d.n_bad, 0);
    assert_int_equal(*d.at, 0);
    ran_fini(&r);
    free(input);
}

static void the_door_names_bad_lines(void **s) {
    (void)s;
    static const char input[] = "{\"text\":\"a\"}\nnonsense\n[]\n{}\n{\"text_hex\":\"0\"}\n"
                                "{\"text_hex\":\"zz\"}\n{\"text\":7}\n{\"text_hex\":\"61\"}\n";
    struct ran r;
    run(&r, ARGS("debug", "tokenize", model), input, sizeof input - 1);
    assert_int_equal(r.code, 0);
    int n_line = 0, n_error = 0;
    for (char *p = r.out.p, *end; (end = strchr(p, '\n')); p = end + 1, n_line++)
        n_error += strncmp(p, "{\"error\":", 9) == 0;
    assert_int_equal(n_line, 8);
    assert_int_equal(n_error, 6);
    ran_fini(&r);
}

int main(void) {
    snprintf(model, sizeof model, "%s", golden("models/llama32.gguf"));
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(text_to_ids),
        cmocka_unit_test(ids_to_text),
        cmocka_unit_test(refusals),
        cmocka_unit_test(the_door_answers_as_the_golden_file),
        cmocka_unit_test(the_door_names_bad_lines),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
