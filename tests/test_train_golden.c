/* `cria debug train` against the reference training data, within the tolerances of its README:
 * every case at hand, with activations kept and computed again. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "train_case.h"

struct found { /* how far an array or scalar is from the reference */
    double max_abs, rel_l2, largest;
    size_t n_beyond; /* entries off by more than 1e-4 */
};

static double value(const void *p, const char *dtype, size_t i) {
    return dtype[1] == '6' ? ((const double *)p)[i] : (double)((const float *)p)[i];
}

static struct found compare(const float *got, const void *want, const char *dtype, size_t n) {
    struct found f = {0};
    double square = 0, diff = 0;
    for (size_t i = 0; i < n; i++) {
        const double w = value(want, dtype, i), d = fabs((double)got[i] - w);
        f.max_abs = d > f.max_abs || isnan(d) ? d : f.max_abs;
        f.largest = fmax(f.largest, fabs(w));
        f.n_beyond += !(d <= 1e-4);
        square += w * w, diff += d * d;
    }
    f.rel_l2 = sqrt(diff / (square > 0 ? square : 1));
    return f;
}

static bool begins(const char *s, const char *with) {
    return !strncmp(s, with, strlen(with));
}

/* The table "Tolerances" of the README; products of bfloat16 operands: what stands below it. */
static bool array_fits(const char *kind, const char *name, bool bf16, const struct found *f) {
    if (isnan(f->rel_l2) || isnan(f->max_abs)) return false;
    if (bf16) return !begins(name, "grad/") || f->rel_l2 <= 0.2;
    if (begins(name, "grad/")) return f->rel_l2 <= 1e-4 && f->max_abs <= 2e-4 * f->largest;
    if (begins(name, "adam_")) return f->rel_l2 <= 2e-4;
    if (begins(name, "step") && !strcmp(kind, "adamw_full"))
        return f->rel_l2 <= (strstr(name, "attn_k.bias") ? 1e-3 : 3e-4);
    if (begins(name, "step")) return f->n_beyond <= 2;
    if (!strcmp(name, "margin")) return f->max_abs <= 1e-4;
    if (begins(name, "micro_")) return f->max_abs <= 1e-5 * f->largest;
    return f->max_abs <= 5e-4; /* logits, layer_out, final_norm, nll, logp */
}

static double scalar_tolerance(const char *kind, const char *key, bool bf16) {
    if (bf16 && strcmp(key, "lr")) return begins(key, "loss") ? 5e-3 : 0.2;
    if (!strcmp(key, "lr")) return 1e-6;
    if (!strcmp(key, "grad_norm") || !strcmp(key, "clip")) return 2e-5;
    if (!strcmp(kind, "dpo")) return 5e-5;
    return begins(kind, "adamw") ? 2e-5 : 1e-5;
}

static bool is_input(const char *name) {
    static const char *const input[] = {"tokens",      "positions", "seq_ids",   "seq_start",
                                        "target_mask", "labels",    "labels_all"};
    const char *tail = strrchr(name, '/') ? strrchr(name, '/') + 1 : name;
    if (begins(name, "init/")) return true;
    for (size_t i = 0; i < sizeof input / sizeof *input; i++)
        if (!strcmp(tail, input[i])) return true;
    return false;
}

static float *result(const char *dir, const char *name, size_t *n) {
    struct buf path = {0};
    buf_str(&path, dir);
    buf_byte(&path, '/');
    for (const char *p = name; *p; p++)
        *p == '/' ? buf_str(&path, "__") : buf_byte(&path, *p);
    buf_str(&path, ".f32");
    buf_byte(&path, 0);
    float *x = slurp_f32(path.p, n);
    buf_fini(&path);
    return x;
}

/* Movement of all weights of a step together: the update itself, not the weight, must be right. */
struct update {
    double diff, move;
};

static void add_update(struct update *u, const struct train_case *c, const char *name,
                       const float *got, const float *want, size_t n) {
    char init[200];
    size_t n_init;
    snprintf(init, sizeof init, "init/%s", strchr(name, '/') + 1);
    const float *from = case_array(c, init, "f32", &n_init);
    for (size_t i = 0; i < n; i++) {
        const double d = (double)got[i] - (double)want[i], m = (double)want[i] - (double)from[i];
        u->diff += d * d, u->move += m * m;
    }
}

static int check_arrays(const struct train_case *c, const char *kind, const char *dir, bool bf16) {
    const json_t *a, *list = json_object_get(c->j, "arrays");
    struct update u = {0};
    size_t k;
    int n_checked = 0;
    json_array_foreach(list, k, a) {
        const char *name = json_string_value(json_object_get(a, "name"));
        const char *dtype = json_string_value(json_object_get(a, "dtype"));
        size_t n, n_got;
        if (is_input(name) || !strcmp(dtype, "i32")) continue;
        const void *want = case_array(c, name, dtype, &n);
        float *got = result(dir, name, &n_got);
        assert_int_equal(n, n_got);
        const struct found f = compare(got, want, dtype, n);
        if (!array_fits(kind, name, bf16, &f))
            fail_msg("%s, '%s': off by %g, relative %g", c->name, name, f.max_abs, f.rel_l2);
        if (begins(name, "step") && !strcmp(kind, "adamw_lora"))
            add_update(&u, c, name, got, want, n);
        free(got);
        n_checked++;
    }
    if (!bf16 && u.move > 0 && !(sqrt(u.diff / u.move) <= 5e-4))
        fail_msg("%s: the updates are off by %g", c->name, sqrt(u.diff / u.move));
    return n_checked;
}

static int check_scalars(const struct train_case *c, const char *kind, const char *dir, bool bf16) {
    char path[600];
    const char *key;
    json_t *want;
    int n_checked = 0;
    snprintf(path, sizeof path, "%s/scalars.json", dir);
    json_t *got = slurp_json(path);
    json_object_foreach(json_object_get(c->j, "scalars"), key, want) {
        if (strstr(key, "WRONG") || strstr(key, "wrong") || strstr(key, "_f32") ||
            strstr(key, "_bf16"))
            continue;
        const json_t *mine = json_object_get(got, key);
        const size_t n = json_is_array(want) ? json_array_size(want) : 1;
        if (!mine || (json_is_array(want) && json_array_size(mine) != n))
            fail_msg("%s: scalar %s is missing", c->name, key);
        for (size_t i = 0; i < n; i++) {
            const double w =
                json_number_value(json_is_array(want) ? json_array_get(want, i) : want);
            const double g =
                json_number_value(json_is_array(want) ? json_array_get(mine, i) : mine);
            if (!(fabs(g - w) <= scalar_tolerance(kind, key, bf16) * fabs(w)))
                fail_msg("%s: %s is %.17g; %.17g is right", c->name, key, g, w);
        }
        n_checked++;
    }
    json_decref(got);
    return n_checked;
}

static void check_case(const char *name, const char *option) {
    struct train_case c = case_open(name);
    const char *kind = json_string_value(json_object_get(c.j, "kind"));
    const bool bf16 = option && !strcmp(option, "--bf16");
    char *dir = temp_folder(), path[512], rel[160];
    struct ran r;
    snprintf(rel, sizeof rel, "train/%s.json", name);
    snprintf(path, sizeof path, "%s", golden(rel));
    const char *const args[] = {"debug", "train", "--case", path, "--out", dir, option, NULL};
    if (run_cria(&r, args, NULL, 0, 120) != 0)
        fail_msg("%s: exit %d, %.*s", name, r.code, (int)r.err.n, r.err.p);
    ran_fini(&r);
    assert_true(check_arrays(&c, kind, dir, bf16) > 1);
    assert_true(check_scalars(&c, kind, dir, bf16) > 2);
    temp_remove(dir);
    case_close(&c);
}

static void every_case_with(const char *option) {
    char **names = golden_names("train", ".json", 2);
    int n = 0;
    for (char **p = names; *p; p++) {
        char name[128];
        snprintf(name, sizeof name, "%.*s", (int)(strlen(*p) - strlen(".json")), *p);
        if (!strchr(name, '.')) continue; /* schedules, the manifest */
        check_case(name, option);
        n++;
    }
    assert_true(n >= (golden_is_full() ? 30 : 2));
    names_free(names);
}

static void cases_with_activations_kept(void **state) {
    (void)state;
    every_case_with(NULL);
}

static void cases_with_layers_computed_again(void **state) {
    (void)state;
    every_case_with("--recompute");
}

/* Losses and gradients; steps of Adam turn the rounding of small gradients into steps of their own.
 */
static void cases_with_bfloat16_products(void **state) {
    (void)state;
    every_case_with("--bf16");
}

static void wrong_cases_are_refused(void **state) {
    (void)state;
    static const char *const text[] = {
        "",
        "{}",
        "[1]",
        "{\"bin\":\"../x\",\"model\":\"a\",\"kind\":\"forward\"}",
        "{\"bin\":\"x.bin\",\"model\":\"a/b\",\"kind\":\"forward\"}",
        "{\"bin\":\"x.bin\",\"model\":\"m\",\"kind\":\"dance\"}",
        "{\"bin\":\"x.bin\",\"model\":\"m\",\"kind\":\"lora_grad\",\"arrays\":[{\"name\":"
        "\"tokens\","
        "\"dtype\":\"i32\",\"shape\":[9000000000000000000,9],\"offset\":0}]}"};
    char *dir = temp_folder(), path[512], bin[512];
    snprintf(path, sizeof path, "%s/x.json", dir);
    snprintf(bin, sizeof bin, "%s/x.bin", dir);
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        struct ran r;
        const char *const args[] = {"debug", "train", "--case", path, "--out", dir, NULL};
        FILE *f = fopen(path, "w");
        fputs(text[i], f);
        fclose(f);
        f = fopen(bin, "w");
        fputs("0123456789abcdef", f);
        fclose(f);
        run_cria(&r, args, NULL, 0, 60);
        if (r.code < 1 || r.code > 3) fail_msg("\"%s\": exit %d", text[i], r.code);
        assert_true(r.err.n > 10);
        ran_fini(&r);
    }
    temp_remove(dir);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(cases_with_activations_kept),
        cmocka_unit_test(cases_with_layers_computed_again),
        cmocka_unit_test(cases_with_bfloat16_products),
        cmocka_unit_test(wrong_cases_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
