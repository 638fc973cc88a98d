/* The plan of a fine-tune is what it then takes; over the limit it is refused with what would fit.
 * FINETUNE.md 6, Q15. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tune_rig.h"

static struct tune_rig rig;

/* A model of 11 M random weights: large enough that what they take decides. */
static int open_rig(void **state) {
    (void)state;
    struct buf b = {0};
    char words[8192];
    tune_rig_open(&rig, "train/models/llama-untied.gguf");
    for (int i = 0; i < 24; i++) {
        buf_printf(&b, "{\"prompt\": \"count from %d\", \"completion\": \"", i);
        for (int k = 0; k < 700; k++)
            buf_printf(&b, "%c", 'a' + (i * k + k / 7) % 26);
        buf_str(&b, "\"}\n");
    }
    tune_write(&rig, "d.jsonl", buf_view(&b).p);
    buf_fini(&b);
    snprintf(
        words, sizeof words,
        "train init %s -o %s --vocab 600 --embd 384 --layers 6 --heads 6 --kv-heads 3 --ff 1152 "
        "--ctx 2048 --seed 1",
        tune_path(&rig, "d.jsonl"), tune_path(&rig, "big.gguf"));
    tune_cria(&rig, 0, words);
    snprintf(rig.model, sizeof rig.model, "%s", tune_path(&rig, "big.gguf"));
    return 0;
}

static int close_rig(void **state) {
    (void)state;
    tune_rig_close(&rig);
    return 0;
}

static double planned(const struct ran *r) {
    const char *at = strstr(buf_view(&r->err).p, "plan: memory ");
    double v = 0;
    char unit = 0;
    assert_non_null(at);
    assert_int_equal(sscanf(at, "plan: memory %lf %cB", &v, &unit), 2);
    return v * (unit == 'G' ? 1e9 : 1e6);
}

static void compare(const char *more) {
    char words[1024];
    snprintf(words, sizeof words, "%s --steps 1", more);
    const struct ran *r = tune(&rig, 0, "d.jsonl", "m", words);
    const double plan = planned(r), took = (double)r->peak_rss_bytes;
    print_message("%-40s planned %7.1f MB, took %7.1f MB: %+.1f%%\n", more, plan / 1e6, took / 1e6,
                  100 * (plan / took - 1));
    assert_true(fabs(plan / took - 1) < 0.05);
}

static void as_planned(void **state) {
    (void)state;
    if (SANITIZED) { /* what is planned is not what it takes then */
        assert_true(planned(tune(&rig, 0, "d.jsonl", "m", "--ctx 1024 --dry-run")) > 0);
        return;
    }
    compare("--ctx 1024 --rows 4096");
    compare("--ctx 1024 --rows 4096 --recompute all");
    compare("--ctx 1024 --rows 4096 --layers 2 --rank 64 --val 0.2");
    compare("--ctx 1024 --rows 2048 --method full");
}

/* The settings that an error names, as options. */
static void options_of(const struct ran *r, const char *from, char out[256]) {
    const char *at = strstr(buf_view(&r->err).p, from);
    char key[32];
    int value, n = 0;
    out[0] = 0;
    assert_non_null(at);
    while (sscanf(at, "%31[a-z] %d%n", key, &value, &n) == 2) {
        const size_t len = strlen(out);
        snprintf(out + len, 256 - len, " --%s %d", key, value);
        at += n;
        if (strncmp(at, " with ", 6) != 0) break;
        at += 6;
    }
}

static void fits(const struct ran *refusal, const char *from, const char *memory) {
    char options[256], more[512];
    options_of(refusal, from, options);
    snprintf(more, sizeof more, "--cut true --steps 1 --ctx 1024 --rows 4096 --memory %s%s", memory,
             options);
    /* A shorter context is also that of a micro-batch. */
    if (strstr(options, "--ctx")) {
        char *rows = strstr(more, "--rows 4096 ");
        memmove(rows, rows + 12, strlen(rows + 12) + 1);
    }
    print_message("%s\n", more);
    struct ran *r = tune(&rig, 0, "d.jsonl", "m", more);
    assert_true(planned(r) > 0);
}

/* Each setting that is named does fit. */
static void refused(void **state) {
    (void)state;
    if (SANITIZED) skip();
    struct ran *r =
        tune(&rig, 5, "d.jsonl", "m", "--ctx 1024 --rows 4096 --recompute none --memory 280m");
    tune_says(&r->err, "memory limit");
    tune_says(&r->err, "what would fit: recompute auto");
    tune_store_is(&rig, 0, 0);
    r = tune(&rig, 0, "d.jsonl", "m", "--ctx 1024 --rows 4096 --memory 280m --steps 1");
    assert_true(planned(r) <= 280 * 1048576.0);
    tune_says(&r->err, "computed twice");
    static const char *const kind[] = {"rows ", "ctx ", "layers "};
    for (int i = 0; i < 3; i++) {
        r = tune(&rig, 5, "d.jsonl", "x", "--ctx 1024 --rows 4096 --memory 170m");
        if (i == 0) print_message("%s", strstr(buf_view(&r->err).p, "Error"));
        if (strstr(buf_view(&r->err).p, kind[i])) fits(r, kind[i], "170m");
    }
    tune_says(&r->err, "rows ");
    setenv("CRIA_MEMORY", "70m", 1);
    r = tune(&rig, 5, "d.jsonl", "n", "--ctx 1024");
    unsetenv("CRIA_MEMORY");
    tune_says(&r->err, "smaller model");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(as_planned, open_rig, close_rig),
        cmocka_unit_test_setup_teardown(refused, open_rig, close_rig),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
