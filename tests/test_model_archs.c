/* Every architecture's wiring, against a plain forward pass in double (toy_forward.c) on random
 * models: also those for which no golden outputs are at hand. */
#include "model_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "cpu/cpu.h"
#include "toy.h"

static const char *const granite_keys[] = {"embedding_scale=1.5", "residual_scale=0.8",
                                           "attention.scale=0.3", "logit_scale=1.3", NULL};
/* Written by converters, read by nobody: see read_rope(). */
static const char *const yarn_keys[] = {
    "rope.scaling.yarn_attn_factor=1.2079", "rope.scaling.yarn_ext_factor=0.5",
    "rope.scaling.yarn_beta_fast=8",        "rope.scaling.yarn_beta_slow=2",
    "rope.scaling.yarn_log_multiplier=0.1", NULL};
/* Keys that mean nothing in these architectures. */
static const char *const foreign_keys[] = {"attention.scale=0.5",
                                           "embedding_scale=3",
                                           "residual_scale=0.5",
                                           "logit_scale=3",
                                           "expert_weights_scale=2.5",
                                           "expert_weights_norm=false",
                                           NULL};
static const char *const granite_rope_keys[] = {
    "embedding_scale=1.5", "residual_scale=0.8",           "attention.scale=0.3",
    "logit_scale=1.3",     "rope.scaling.finetuned=false", NULL};
static const char *const cohere_keys[] = {"logit_scale=0.7", NULL};

#define LAYERED .layer_norm = true, .norm_bias = true

/* clang-format off */
static const struct toy cases[] = {
    {.arch = "llama", .rope = 'p'},
    {.arch = "llama", .rope = 'p', .yarn = 8, .yarn_orig = 32, .tied = true, .keys = yarn_keys},
    {.arch = "llama", .rope = 'p', .n_expert = 5, .n_used = 2, .n_ff_exp = 40, .renorm = true, .keys = foreign_keys},
    {.arch = "qwen2", .rope = 'h', .qkv_bias = true},
    {.arch = "qwen3", .rope = 'h', .qk_norm = TOY_QK_HEAD, .head_dim = 20},
    {.arch = "qwen3moe", .rope = 'h', .qk_norm = TOY_QK_HEAD, .n_expert = 6, .n_used = 3, .n_ff_exp = 24, .renorm = true},
    {.arch = "phi2", LAYERED, .norms = TOY_SHARED, .mlp = true, .gelu = true, .rope = 'h', .n_rot = 8, .n_kv = 4,
     .qkv_bias = true, .o_bias = true, .ffn_bias = true, .head_bias = true},
    {.arch = "phi3", .rope = 'h', .n_rot = 8, .fused_qkv = true, .fused_up = true},
    {.arch = "gemma", .rope = 'h', .gelu = true, .head_dim = 16, .n_kv = 1, .tied = true, .embed_scale = 6.928203230275509},
    {.arch = "gemma2", .rope = 'h', .gelu = true, .norms = TOY_BOTH, .tied = true, .embed_scale = 6.928203230275509,
     .window = 10, .window_period = 2, .n_layer = 4, .attn_cap = 50, .logit_cap = 30},
    {.arch = "granite", .rope = 'p', .keys = granite_keys, .embed_scale = 1.5, .residual_scale = 0.8, .attn_scale = 0.3,
     .logit_mul = 1 / 1.3},
    {.arch = "granitemoe", .rope = 'p', .keys = granite_keys, .embed_scale = 1.5, .residual_scale = 0.8, .attn_scale = 0.3,
     .logit_mul = 1 / 1.3, .n_expert = 6, .n_used = 3, .n_ff_exp = 32, .renorm = true},
    {.arch = "granitemoe", .rope = 'p', .keys = granite_keys, .embed_scale = 1.5, .residual_scale = 0.8, .attn_scale = 0.3,
     .logit_mul = 1 / 1.3, .n_expert = 6, .n_used = 2, .n_ff_exp = 32, .n_ff_shared = 24, .renorm = true, .tied = true},
    {.arch = "olmo", .layer_norm = true, .norms = TOY_FREE, .rope = 'p', .clamp = 1.5, .n_kv = 4},
    {.arch = "olmo2", .norms = TOY_AFTER, .rope = 'h', .qk_norm = TOY_QK_ROW},
    {.arch = "olmoe", .rope = 'h', .qk_norm = TOY_QK_ROW, .n_kv = 4, .n_expert = 8, .n_used = 3, .n_ff_exp = 24},
    {.arch = "stablelm", LAYERED, .rope = 'h', .n_rot = 4, .qkv_bias = true},
    {.arch = "stablelm", LAYERED, .norms = TOY_SHARED, .rope = 'h', .n_rot = 4, .qk_norm = TOY_QK_OWN},
    {.arch = "starcoder2", LAYERED, .mlp = true, .gelu = true, .rope = 'h', .qkv_bias = true, .o_bias = true,
     .ffn_bias = true, .tied = true},
    {.arch = "command-r", .layer_norm = true, .norms = TOY_SHARED, .rope = 'p', .tied = true, .keys = cohere_keys,
     .logit_mul = 0.7},
    {.arch = "command-r", .layer_norm = true, .norms = TOY_SHARED, .rope = 'p', .tied = true, .keys = cohere_keys,
     .logit_mul = 0.7, .qk_norm = TOY_QK_OWN},
    {.arch = "cohere2", .layer_norm = true, .norms = TOY_SHARED, .rope = 'p', .tied = true, .keys = cohere_keys,
     .logit_mul = 0.7, .window = 9, .window_period = 4, .rope_only_windowed = true, .n_layer = 5},
    {.arch = "falcon", LAYERED, .norms = TOY_SHARED, .mlp = true, .gelu = true, .rope = 'h', .n_kv = 1, .fused_qkv = true,
     .tied = true},
    {.arch = "falcon", LAYERED, .norms = TOY_SHARED_TWO, .mlp = true, .gelu = true, .rope = 'h', .n_kv = 2,
     .fused_qkv = true},
    {.arch = "gptneox", LAYERED, .norms = TOY_PARALLEL, .mlp = true, .gelu = true, .rope = 'h', .n_rot = 4, .n_kv = 4,
     .fused_qkv = true, .qkv_bias = true, .o_bias = true, .ffn_bias = true},
    {.arch = "gpt2", LAYERED, .mlp = true, .gelu = true, .positions = true, .n_kv = 4, .fused_qkv = true, .qkv_bias = true,
     .o_bias = true, .ffn_bias = true, .tied = true},
    {.arch = "smollm3", .rope = 'p', .no_rope_period = 4, .n_layer = 5, .tied = true},
    {.arch = "internlm2", .rope = 'p'},
    {.arch = "exaone", .rope = 'h'},
    {.arch = "minicpm", .rope = 'p', .embed_scale = 12, .residual_scale = 0.8082903768654761, .logit_mul = 256 / 48.0,
     .tied = true},
    {.arch = "deepseek2", .rope = 'p', .head_dim = 20, .n_rot = 8, .v_dim = 12, .kv_rank = 24, .q_rank = 16, .n_expert = 6,
     .n_used = 2, .n_ff_exp = 24, .n_ff_shared = 24, .n_dense = 1, .expert_scale = 1.5},
    {.arch = "deepseek2", .rope = 'p', .head_dim = 20, .n_rot = 8, .v_dim = 12, .kv_rank = 24, .kv_b = true, .n_kv = 4,
     .n_expert = 6, .n_used = 2, .n_ff_exp = 24, .n_ff_shared = 48, .n_dense = 1},
    {.arch = "deepseek2", .rope = 'p', .head_dim = 20, .n_rot = 8, .v_dim = 12, .kv_rank = 24, .q_rank = 16, .n_expert = 8,
     .n_used = 2, .n_ff_exp = 24, .n_ff_shared = 24, .n_dense = 1, .sigmoid = true, .select_bias = true, .renorm = true,
     .expert_scale = 2.5, .n_group = 4, .n_group_used = 2, .yarn = 16, .yarn_orig = 32, .yarn_log = 0.0707},
    {.arch = "deepseek2", .rope = 'p', .head_dim = 20, .n_rot = 8, .v_dim = 12, .kv_rank = 24, .q_rank = 16, .n_expert = 6,
     .n_used = 3, .n_ff_exp = 24, .n_ff_shared = 24, .n_dense = 2, .sigmoid = true, .renorm = true, .yarn = 8,
     .yarn_orig = 32, .yarn_log = 0.1},
    {.arch = "deepseek2", .rope = 'p', .head_dim = 20, .n_rot = 8, .v_dim = 12, .kv_rank = 24, .q_rank = 16, .n_expert = 6,
     .n_used = 3, .n_ff_exp = 24, .n_ff_shared = 24, .n_dense = 2, .yarn = 8, .yarn_orig = 32},
    {.arch = "bert", LAYERED, .norms = TOY_OUTER, .mlp = true, .gelu = true, .encoder = true, .positions = true,
     .types = true, .n_kv = 4, .qkv_bias = true, .o_bias = true, .ffn_bias = true},
    {.arch = "nomic-bert", LAYERED, .norms = TOY_OUTER, .encoder = true, .types = true, .n_kv = 4, .rope = 'h',
     .fused_qkv = true},
    {.arch = "jina-bert-v2", LAYERED, .norms = TOY_OUTER, .encoder = true, .types = true, .n_kv = 4, .alibi = true,
     .gelu = true, .qkv_bias = true, .o_bias = true},
    {.arch = "jina-bert-v2", LAYERED, .norms = TOY_OUTER, .encoder = true, .types = true, .n_kv = 4, .alibi = true,
     .gelu = true, .fused_up = true, .qkv_bias = true, .o_bias = true},
    {.arch = "olmo2", .norms = TOY_AFTER, .rope = 'h', .qk_norm = TOY_QK_ROW, .window = 9, .window_period = 4, .n_layer = 6,
     .yarn = 8, .yarn_orig = 32, .rope_plain_windowed = true, .keys = yarn_keys},
    {.arch = "granite", .keys = granite_rope_keys, .embed_scale = 1.5, .residual_scale = 0.8, .attn_scale = 0.3,
     .logit_mul = 1 / 1.3, .n_expert = 6, .n_used = 3, .n_ff_exp = 32, .renorm = true},
    {.arch = "granitemoe", .rope = 'p', .keys = granite_rope_keys, .embed_scale = 1.5, .residual_scale = 0.8,
     .attn_scale = 0.3, .logit_mul = 1 / 1.3, .n_expert = 6, .n_used = 3, .n_ff_exp = 32, .renorm = true},
    {.arch = "jina-bert-v2", LAYERED, .norms = TOY_OUTER_TWO, .encoder = true, .types = true, .n_kv = 4, .alibi = true,
     .gelu = true, .fused_up = true, .qkv_bias = true, .o_bias = true, .qk_norm = TOY_QK_ROW},
};
/* clang-format on */

enum { N_CASE = sizeof cases / sizeof *cases, N_TOK = 45 };

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
    for (int i = 0; i < N_CASE; i++)
        check(&cases[i], i, dir);
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
        struct toy_model *m = toy_new(&cases[i], 1);
        for (int k = 0; k < toy_n_tensor(m); k++) {
            struct err e = {0};
            snprintf(path, sizeof path, "%s/%d-%d.gguf", dir, i, k);
            const char *name = toy_write_without(m, path, k);
            struct gguf *g = gguf_open(path, &e);
            struct model *model = g ? model_open(g, cpu_ops(), &e) : NULL;
            if (model && !may_be_absent(name)) fail_msg("%s without %s opens", cases[i].arch, name);
            if (!model && !strstr(e.msg, name))
                fail_msg("%s without %s: \"%s\"", cases[i].arch, name, e.msg);
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
        for (int i = 0; i < N_CASE; i++)
            found |= !strcmp(cases[i].arch, *a);
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
