/* A toy of every architecture's wiring; see toy.h. */
#include "toy.h"

#include <stddef.h>

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
const struct toy toy_archs[] = {
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

const int toy_n_arch = sizeof toy_archs / sizeof *toy_archs;
