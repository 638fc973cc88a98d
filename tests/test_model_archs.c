/* Every architecture's wiring, against a plain forward pass in double (toy_forward.c) on random
 * models: also those for which no golden outputs are at hand. */
#include "model_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu/cpu.h"
#include "toy.h"

enum { N_TOK = 45 };

/* Logits here have a deviation near 3, as in the golden models; so has the gate their size. */
static void check(const struct toy *t, int i, const char *dir) {
    char path[512];
    int32_t tok[N_TOK];
    struct rig r;
    struct kv_seq s;
    struct toy_model *m = toy_new(t, (uint64_t)i * 977 + 5);
    snprintf(path, sizeof path, "%s/%d-%s.gguf", dir, i, t->arch);
    toy_write(m, path);
    rig_open(&r, path, (struct rig_opts){.n_ctx = TOY_CTX});
    for (int k = 0; k < N_TOK; k++)
        tok[k] = (k * 37 + i * 11 + k * k * 5) % TOY_VOCAB;
    double *want = malloc(sizeof *want * (size_t)(N_TOK * r.n_col));
    float *got = malloc(sizeof *got * (size_t)(N_TOK * r.n_col));
    toy_forward(m, tok, N_TOK, want);
    kv_seq_init(&s, r.pool);
    rig_feed(&r, &s, NULL, tok, N_TOK, 0, got);
    double worst = 0, square = 0;
    for (int k = 0; k < N_TOK * r.n_col; k++) {
        worst = fmax(worst, fabs((double)got[k] - want[k]));
        square += want[k] * want[k] / (N_TOK * r.n_col);
    }
    if (!(worst <= 2e-4 * sqrt(square)) || !(square > 0.1))
        fail_msg("case %d, %s: off by %g; rms of the answer %g", i, t->arch, worst, sqrt(square));
    kv_seq_fini(&s);
    rig_close(&r);
    toy_free(m);
    free(want);
    free(got);
}

static void architectures_compute_what_they_say(void **state) {
    (void)state;
    char *dir = temp_folder();
    for (int i = 0; i < toy_n_arch; i++)
        check(&toy_archs[i], i, dir);
    temp_remove(dir);
}

/* Tensors whose absence means something else and is no damage that could be seen. */
static bool may_be_absent(const char *name) {
    static const char *const suffix[] = {"output.weight", "output.bias", "token_types.weight",
                                         "output_norm.bias", "token_embd_norm.bias"};
    for (int i = 0; i < 5; i++)
        if (!strcmp(name, suffix[i])) return true;
    return false;
}

/* Each tensor taken away in turn: an error that names it (SECURITY.md F8). */
static void a_missing_tensor_is_named(void **state) {
    (void)state;
    char *dir = temp_folder(), path[512];
    static const int some[] = {5, 12, 17, 23, 31, 32, 35}; /* writing files is slow */
    int n_named = 0;
    for (int j = 0; j < 7; j++) {
        const int i = some[j];
        struct toy_model *m = toy_new(&toy_archs[i], 1);
        for (int k = 0; k < toy_n_tensor(m); k++) {
            struct err e = {0};
            snprintf(path, sizeof path, "%s/%d-%d.gguf", dir, i, k);
            const char *name = toy_write_without(m, path, k);
            struct gguf *g = gguf_open(path, &e);
            struct model *model = g ? model_open(g, cpu_ops(), &e) : NULL;
            if (model && !may_be_absent(name))
                fail_msg("%s without %s opens", toy_archs[i].arch, name);
            if (!model && !strstr(e.msg, name))
                fail_msg("%s without %s: \"%s\"", toy_archs[i].arch, name, e.msg);
            n_named += !model;
            model_free(model);
            gguf_close(g);
            unlink(path);
        }
        toy_free(m);
    }
    assert_true(n_named > 200);
    temp_remove(dir);
}

/* A new descriptor without a case here fails, unless golden outputs alone must do. */
static void every_architecture_has_a_case(void **state) {
    (void)state;
    static const char *const golden_only[] = {"gemma3", "gpt-oss", "qwen2moe"};
    for (const char *const *a = model_arch_names(); *a; a++) {
        bool found = false;
        for (int i = 0; i < toy_n_arch; i++)
            found |= !strcmp(toy_archs[i].arch, *a);
        for (int i = 0; i < 3; i++)
            found |= !strcmp(golden_only[i], *a);
        if (!found) fail_msg("no case for %s", *a);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(architectures_compute_what_they_say),
        cmocka_unit_test(a_missing_tensor_is_named),
        cmocka_unit_test(every_architecture_has_a_case),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
