/* A fine-tune of a model that has an adapter already trains that one further (train_opts.from). */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "tune_rig.h"

static struct tune_rig r;

static int set_up(void **state) {
    (void)state;
    tune_rig_open(&r, "train/models/qwen2.gguf");
    tune_examples(&r, "data.jsonl", 24);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    tune_rig_close(&r);
    return 0;
}

static struct ran *further(int code, const char *base, const char *out, const char *more) {
    char words[2000];
    snprintf(words, sizeof words, "tune %s --data %s --out %s --val 0 --ctx 128 %s", base,
             tune_path(&r, "data.jsonl"), out, more);
    return tune_cria(&r, code, words);
}

/* The loss of the first step, before it. */
static double first_loss(const struct buf *said) {
    const char *at = strstr(said->p, "trained: ");
    double v = NAN;
    if (!at || !(at = strstr(at, "loss ")) || sscanf(at, "loss %lf", &v) != 1)
        fail_msg("no loss in: %s", said->p);
    return v;
}

static double distance(const char *a, const char *b) {
    size_t na, nb;
    float *x = tune_weights(&r, a, &na), *y = tune_weights(&r, b, &nb);
    double most = 0;
    assert_int_equal(na, nb);
    for (size_t i = 0; i < na; i++)
        most = fmax(most, fabs((double)x[i] - (double)y[i]));
    free(x), free(y);
    return most;
}

static void goes_on(void **state) {
    (void)state;
    struct ran *ran =
        further(0, r.model, "one", "--rank 4 --alpha 6 --rslora true --steps 12 --lr 2e-2");
    const double fresh = first_loss(&ran->err);
    ran = further(0, "one", "two", "--steps 12 --lr 2e-2");
    tune_says(&ran->err, "training the model's adapter further");
    const double second = first_loss(&ran->err);
    ran = further(0, "two", "three", "--steps 1 --lr 1e-9");
    const double third = first_loss(&ran->err);
    if (!(second < fresh - 0.1 && third < second - 0.05))
        fail_msg("losses at first: %g, %g, %g", fresh, second, third);
    /* Almost no step: almost the same adapter, of the same rank and scale. */
    assert_true(distance("two", "three") < 1e-6);
    assert_true(distance("one", "two") > 1e-3);
    json_t *j = tune_lineage_of(&r, "two");
    assert_string_equal(json_string_value(json_object_get(j, "from_adapter")),
                        tune_adapter(&r, "one"));
    json_decref(j);
}

/* Its shape is what it is; what takes another base says so. */
static void what_is_refused(void **state) {
    (void)state;
    static const struct {
        const char *more;
        int code;
        const char *says;
    } bad[] = {
        {"--rank 8", 2, "rank: found 8; the adapter that is trained further has 4"},
        {"--alpha 9", 2, "alpha: found 9"},
        {"--targets q,v", 2, "targets"},
        {"--layers 1", 2, "layers: found 1; the adapter that is trained further has all"},
        {"--method full", 1, "has an adapter already"},
        {"--method dpo", 1, "has an adapter already"},
    };
    further(0, r.model, "one", "--rank 4 --steps 2");
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ran *ran = further(bad[i].code, "one", "bad", bad[i].more);
        tune_says(&ran->err, bad[i].says);
        tune_cria(&r, 3, "show bad");
    }
    if (!SANITIZED) { /* nothing is recommended that would be refused */
        const struct ran *ran = further(5, "one", "bad", "--ctx 512 --rows 4096 --memory 30m");
        assert_null(strstr(ran->err.p, "layers "));
        assert_null(strstr(ran->err.p, "rank "));
    }
    further(0, "one", "same", "--rank 4 --alpha 8 --targets all --dropout 0.1 --steps 2");
}

/* Merged: the result has no adapter, neither the first nor the second. */
static void merged(void **state) {
    (void)state;
    further(0, r.model, "one", "--rank 4 --steps 2");
    further(0, "one", "whole", "--steps 2 --merge=F16");
    assert_null(tune_adapter(&r, "whole"));
    assert_non_null(tune_adapter(&r, "one"));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(goes_on),
        cmocka_unit_test(what_is_refused),
        cmocka_unit_test(merged),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
