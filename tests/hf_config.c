/* config.json of each family, with the fields its published checkpoints have. */
#include "hf_priv.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "hf.h"

static const struct gguf_kv *find(const struct gguf *g, const char *name) {
    struct str arch;
    struct err e;
    char key[160];
    if (gguf_get_str(g, "general.architecture", &arch, &e) != 1) return NULL;
    snprintf(key, sizeof key, "%.*s.%s", (int)arch.n, arch.p, name);
    return gguf_find(g, key);
}

int64_t hf_int(const struct gguf *g, const char *name, int64_t def) {
    const struct gguf_kv *kv = find(g, name);
    return kv ? gguf_int_at(kv, 0) : def;
}

double hf_short(float f) {
    char text[40];
    for (int digits = 1; digits < 10; digits++) {
        snprintf(text, sizeof text, "%.*g", digits, (double)f);
        if (strtof(text, NULL) == f) break;
    }
    return strtod(text, NULL);
}

double hf_num(const struct gguf *g, const char *name, double def) {
    const struct gguf_kv *kv = find(g, name);
    return kv ? hf_short((float)gguf_float_at(kv, 0)) : def;
}

enum hf_family hf_family_of(const struct gguf *g) {
    static const struct {
        const char *arch;
        enum hf_family family;
    } names[] = {{"llama", HF_LLAMA},       {"qwen2", HF_QWEN2},   {"qwen3", HF_QWEN3},
                 {"qwen2moe", HF_QWEN2MOE}, {"phi3", HF_PHI3},     {"qwen3moe", HF_QWEN3MOE},
                 {"gemma2", HF_GEMMA2},     {"gemma3", HF_GEMMA3}, {"granite", HF_GRANITE},
                 {"olmo2", HF_OLMO2},       {"bert", HF_BERT},     {"smollm3", HF_SMOLLM3},
                 {"nomic-bert", HF_NOMIC}};
    struct str arch;
    struct err e;
    if (gguf_get_str(g, "general.architecture", &arch, &e) != 1) return HF_UNKNOWN;
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        if (!str_is(arch, names[i].arch)) continue;
        if (names[i].family != HF_LLAMA) return names[i].family;
        if (find(g, "expert_count")) return HF_MIXTRAL;
        return find(g, "attention.sliding_window") ? HF_MISTRAL : HF_LLAMA;
    }
    return HF_UNKNOWN;
}

static void set(json_t *c, const char *key, json_t *v) {
    json_object_set_new(c, key, v);
}

static json_t *factors(const struct gguf_tensor *t) {
    json_t *a = json_array();
    for (int64_t i = 0; t && i < t->ne[0]; i++) {
        float f;
        memcpy(&f, t->data + 4 * i, 4);
        json_array_append_new(a, json_real(hf_short(f)));
    }
    return a;
}

/* Llama 3's divisors for these parameters, as modeling_rope_utils.py has them. */
static int is_llama3(const struct gguf *g, const struct gguf_tensor *t, double factor, int n_ctx) {
    const double base = hf_num(g, "rope.freq_base", 10000), low = 1, high = 4;
    for (int64_t i = 0; i < t->ne[0]; i++) {
        float have;
        memcpy(&have, t->data + 4 * i, 4);
        const double wave = 6.283185307179586 * pow(base, (double)i / (double)t->ne[0]);
        double want = 1;
        if (wave > n_ctx / low) {
            want = factor;
        } else if (wave >= n_ctx / high) {
            const double smooth = (n_ctx / wave - low) / (high - low);
            want = 1 / ((1 - smooth) / factor + smooth);
        }
        if (fabs(have - want) > 1e-4 * want) return 0;
    }
    return 1;
}

static json_t *scaling_llama3(const struct gguf *g, const struct gguf_tensor *t) {
    for (int factor = 2; factor <= 64; factor *= 2)
        for (int n_ctx = 8192; n_ctx >= 16; n_ctx /= 2)
            if (is_llama3(g, t, factor, n_ctx))
                return json_pack("{s:f, s:f, s:f, s:i, s:s}", "factor", (double)factor,
                                 "low_freq_factor", 1.0, "high_freq_factor", 4.0,
                                 "original_max_position_embeddings", n_ctx, "rope_type", "llama3");
    fprintf(stderr, "%s: rope_freqs: no usual parameters of Llama 3 give it\n", gguf_path(g));
    return NULL;
}

/* Phi-3's; attention_factor is published nowhere, but read by transformers: written only where the
 * golden file's factor is not the one that the lengths imply. */
static json_t *scaling_longrope(const struct gguf *g) {
    json_t *s = json_pack("{s:s, s:o, s:o}", "type", "longrope", "short_factor",
                          factors(gguf_tensor(g, "rope_factors_short.weight")), "long_factor",
                          factors(gguf_tensor(g, "rope_factors_long.weight")));
    const double n = (double)hf_int(g, "rope.scaling.original_context_length", 4096);
    const double implied = sqrt(1 + log((double)hf_int(g, "context_length", 0) / n) / log(n));
    const double have = hf_num(g, "rope.scaling.attn_factor", implied);
    if (fabs(have - implied) > 1e-5) set(s, "attention_factor", json_real(have));
    return s;
}

static json_t *rope_scaling(const struct gguf *g, enum hf_family f) {
    const struct gguf_tensor *t = gguf_tensor(g, "rope_freqs.weight");
    if (t) return scaling_llama3(g, t);
    if (gguf_tensor(g, "rope_factors_long.weight")) return scaling_longrope(g);
    const struct gguf_kv *kv = find(g, "rope.scaling.type");
    if (!kv) return json_null();
    const double factor = hf_num(g, "rope.scaling.factor", 1);
    uint64_t cursor = 0;
    if (str_is(gguf_next_str(kv, &cursor), "yarn"))
        return json_pack("{s:s, s:f, s:I}", "rope_type", "yarn", "factor", factor,
                         "original_max_position_embeddings",
                         (json_int_t)hf_int(g, "rope.scaling.original_context_length", 0));
    return json_pack("{s:s, s:f}", f == HF_GEMMA3 ? "rope_type" : "type", "linear", "factor",
                     factor);
}

static void family_llama(json_t *c, const struct gguf *g, enum hf_family f) {
    const int bias = gguf_tensor(g, "blk.0.attn_q.bias") != NULL;
    if (f == HF_LLAMA || f == HF_GRANITE) {
        set(c, "attention_bias", json_boolean(bias));
        set(c, "mlp_bias", json_boolean(gguf_tensor(g, "blk.0.ffn_up.bias") != NULL));
    }
    if (f == HF_LLAMA) set(c, "pretraining_tp", json_integer(1));
    if (f == HF_MISTRAL)
        set(c, "sliding_window", json_integer(hf_int(g, "attention.sliding_window", 0)));
    if (f == HF_MIXTRAL) {
        set(c, "num_local_experts", json_integer(hf_int(g, "expert_count", 0)));
        set(c, "num_experts_per_tok", json_integer(hf_int(g, "expert_used_count", 0)));
        set(c, "output_router_logits", json_false());
        set(c, "router_aux_loss_coef", json_real(0.02));
        set(c, "sliding_window", json_null());
    }
    if (f != HF_GRANITE) return;
    set(c, "embedding_multiplier", json_real(hf_num(g, "embedding_scale", 1)));
    set(c, "residual_multiplier", json_real(hf_num(g, "residual_scale", 1)));
    set(c, "attention_multiplier", json_real(hf_num(g, "attention.scale", 1)));
    set(c, "logits_scaling", json_real(hf_num(g, "logit_scale", 1)));
}

static void family_qwen(json_t *c, const struct gguf *g, enum hf_family f) {
    set(c, "use_sliding_window", json_false());
    set(c, "sliding_window", f == HF_QWEN2 ? json_integer(32768) : json_null());
    set(c, "max_window_layers", json_integer(hf_int(g, "block_count", 0)));
    if (f == HF_QWEN3 || f == HF_QWEN3MOE) set(c, "attention_bias", json_false());
    if (f == HF_QWEN2 || f == HF_QWEN3) return;
    set(c, "num_experts", json_integer(hf_int(g, "expert_count", 0)));
    set(c, "num_experts_per_tok", json_integer(hf_int(g, "expert_used_count", 0)));
    set(c, "moe_intermediate_size", json_integer(hf_int(g, "expert_feed_forward_length", 0)));
    set(c, "decoder_sparse_step", json_integer(1));
    set(c, "mlp_only_layers", json_array());
    set(c, "norm_topk_prob", json_boolean(f == HF_QWEN3MOE));
    set(c, "output_router_logits", json_false());
    set(c, "router_aux_loss_coef", json_real(0.001));
    if (f == HF_QWEN2MOE)
        set(c, "shared_expert_intermediate_size",
            json_integer(hf_int(g, "expert_shared_feed_forward_length", 0)));
}

static void family_gemma(json_t *c, const struct gguf *g, enum hf_family f) {
    const double attn = hf_num(g, "attn_logit_softcapping", 0);
    const double final = hf_num(g, "final_logit_softcapping", 0);
    set(c, "attn_logit_softcapping", attn != 0 ? json_real(attn) : json_null());
    set(c, "final_logit_softcapping", final != 0 ? json_real(final) : json_null());
    set(c, "hidden_activation", json_string("gelu_pytorch_tanh"));
    set(c, "attention_bias", json_false());
    set(c, "query_pre_attn_scalar", json_integer(hf_int(g, "attention.key_length", 0)));
    set(c, "sliding_window", json_integer(hf_int(g, "attention.sliding_window", 0)));
    set(c, "cache_implementation", json_string("hybrid"));
    json_object_del(c, "tie_word_embeddings"); /* the class's default, true, is not saved */
    if (f == HF_GEMMA2) {
        set(c, "hidden_act", json_string("gelu_pytorch_tanh"));
        return;
    }
    json_object_del(c, "hidden_act");
    set(c, "rope_local_base_freq", json_real(hf_num(g, "rope.freq_base_swa", 10000)));
    set(c, "sliding_window_pattern", json_integer(6));
}

static void family_smollm3(json_t *c, const struct gguf *g) {
    json_t *rotate = json_array(), *types = json_array();
    for (int64_t il = 0; il < hf_int(g, "block_count", 0); il++) {
        json_array_append_new(rotate, json_integer((il + 1) % 4 != 0));
        json_array_append_new(types, json_string("full_attention"));
    }
    set(c, "no_rope_layers", rotate), set(c, "layer_types", types);
    set(c, "no_rope_layer_interval", json_integer(4));
    set(c, "attention_bias", json_false()), set(c, "mlp_bias", json_false());
    set(c, "max_window_layers", json_integer(28));
    set(c, "pretraining_tp", json_integer(2));
    set(c, "sliding_window", json_null()), set(c, "use_sliding_window", json_false());
    json_object_del(c, "head_dim");
    /* The class's default, true, is not saved. */
    if (!gguf_tensor(g, "output.weight")) json_object_del(c, "tie_word_embeddings");
}

static void family_phi3(json_t *c, const struct gguf *g) {
    const int64_t n_ctx = hf_int(g, "context_length", 0),
                  n_head = hf_int(g, "attention.head_count", 1);
    const double head = (double)hf_int(g, "embedding_length", 0) / (double)n_head;
    const double rot = (double)hf_int(g, "rope.dimension_count", 0);
    set(c, "original_max_position_embeddings",
        json_integer(hf_int(g, "rope.scaling.original_context_length", n_ctx)));
    set(c, "sliding_window", json_integer(hf_int(g, "attention.sliding_window", 0)));
    set(c, "attention_bias", json_false());
    set(c, "embd_pdrop", json_real(0));
    set(c, "resid_pdrop", json_real(0));
    if (rot != head) set(c, "partial_rotary_factor", json_real(rot / head));
}

static json_t *config_bert(const struct gguf *g) {
    return json_pack(
        "{s:[s], s:s, s:I, s:I, s:I, s:I, s:I, s:I, s:I, s:f, s:s, s:s, s:i, s:f, s:s}",
        "architectures", "BertModel", "model_type", "bert", "hidden_size",
        (json_int_t)hf_int(g, "embedding_length", 0), "num_hidden_layers",
        (json_int_t)hf_int(g, "block_count", 0), "num_attention_heads",
        (json_int_t)hf_int(g, "attention.head_count", 0), "intermediate_size",
        (json_int_t)hf_int(g, "feed_forward_length", 0), "max_position_embeddings",
        (json_int_t)hf_int(g, "context_length", 0), "vocab_size",
        (json_int_t)hf_int(g, "vocab_size", 0), "type_vocab_size", (json_int_t)2, "layer_norm_eps",
        hf_num(g, "attention.layer_norm_epsilon", 1e-12), "hidden_act", "gelu",
        "position_embedding_type", "absolute", "pad_token_id", 0, "initializer_range", 0.02,
        "torch_dtype", "float32");
}

/* nomic-embed-text's, in the words of GPT-2. */
static json_t *config_nomic(const struct gguf *g) {
    json_t *c = json_pack("{s:[s], s:s, s:s, s:{s:s}}", "architectures", "NomicBertModel",
                          "model_type", "nomic_bert", "activation_function", "swiglu", "auto_map",
                          "AutoModel", "modeling_hf_nomic_bert.NomicBertModel");
    static const char *const sizes[][2] = {{"n_embd", "embedding_length"},
                                           {"n_head", "attention.head_count"},
                                           {"n_inner", "feed_forward_length"},
                                           {"n_layer", "block_count"},
                                           {"n_positions", "context_length"}};
    static const char *const off[] = {
        "causal",      "mlp_fc1_bias",  "mlp_fc2_bias",           "parallel_block",
        "prenorm",     "qkv_proj_bias", "rotary_emb_interleaved", "scale_attn_by_inverse_layer_idx",
        "use_rms_norm"};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        set(c, sizes[i][0], json_integer(hf_int(g, sizes[i][1], 0)));
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        set(c, off[i], json_false());
    set(c, "scale_attn_weights", json_true());
    set(c, "layer_norm_epsilon", json_real(hf_num(g, "attention.layer_norm_epsilon", 1e-12)));
    set(c, "rotary_emb_base", json_integer((json_int_t)hf_num(g, "rope.freq_base", 10000)));
    set(c, "rotary_emb_fraction", json_real(1));
    set(c, "rotary_emb_scale_base", json_null());
    set(c, "rotary_scaling_factor", json_null());
    set(c, "type_vocab_size", json_integer(2));
    set(c, "bos_token_id", json_null()), set(c, "eos_token_id", json_null());
    set(c, "pad_vocab_size_multiple", json_integer(64));
    set(c, "vocab_size", json_integer(gguf_tensor(g, "token_embd.weight")->ne[1]));
    set(c, "torch_dtype", json_string("float32"));
    return c;
}

static const char *const class_of[][2] = {
    [HF_LLAMA] = {"LlamaForCausalLM", "llama"},
    [HF_MISTRAL] = {"MistralForCausalLM", "mistral"},
    [HF_MIXTRAL] = {"MixtralForCausalLM", "mixtral"},
    [HF_QWEN2] = {"Qwen2ForCausalLM", "qwen2"},
    [HF_QWEN3] = {"Qwen3ForCausalLM", "qwen3"},
    [HF_QWEN2MOE] = {"Qwen2MoeForCausalLM", "qwen2_moe"},
    [HF_QWEN3MOE] = {"Qwen3MoeForCausalLM", "qwen3_moe"},
    [HF_PHI3] = {"Phi3ForCausalLM", "phi3"},
    [HF_GEMMA2] = {"Gemma2ForCausalLM", "gemma2"},
    [HF_GEMMA3] = {"Gemma3ForCausalLM", "gemma3_text"},
    [HF_GRANITE] = {"GraniteForCausalLM", "granite"},
    [HF_OLMO2] = {"Olmo2ForCausalLM", "olmo2"},
    [HF_SMOLLM3] = {"SmolLM3ForCausalLM", "smollm3"},
};

static void common(json_t *c, const struct gguf *g) {
    static const char *const sizes[][2] = {{"hidden_size", "embedding_length"},
                                           {"num_hidden_layers", "block_count"},
                                           {"intermediate_size", "feed_forward_length"},
                                           {"num_attention_heads", "attention.head_count"},
                                           {"num_key_value_heads", "attention.head_count_kv"},
                                           {"max_position_embeddings", "context_length"},
                                           {"vocab_size", "vocab_size"}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        set(c, sizes[i][0], json_integer(hf_int(g, sizes[i][1], 0)));
    if (!find(g, "vocab_size"))
        set(c, "vocab_size", json_integer(gguf_tensor(g, "token_embd.weight")->ne[1]));
    set(c, "rms_norm_eps", json_real(hf_num(g, "attention.layer_norm_rms_epsilon", 1e-6)));
    set(c, "rope_theta", json_real(hf_num(g, "rope.freq_base", 10000)));
    set(c, "tie_word_embeddings", json_boolean(!gguf_tensor(g, "output.weight")));
    set(c, "hidden_act", json_string("silu"));
    set(c, "attention_dropout", json_real(0));
    set(c, "initializer_range", json_real(0.02));
    set(c, "use_cache", json_true());
    set(c, "transformers_version", json_string("4.52.4"));
    if (find(g, "attention.key_length"))
        set(c, "head_dim", json_integer(hf_int(g, "attention.key_length", 0)));
    static const char *const ids[][2] = {{"bos_token_id", "tokenizer.ggml.bos_token_id"},
                                         {"eos_token_id", "tokenizer.ggml.eos_token_id"}};
    for (size_t i = 0; i < 2; i++) {
        const struct gguf_kv *kv = gguf_find(g, ids[i][1]);
        if (kv) set(c, ids[i][0], json_integer(gguf_int_at(kv, 0)));
    }
}

json_t *hf_config(const struct gguf *g, enum hf_family f, unsigned flags) {
    if (f == HF_BERT) return config_bert(g);
    if (f == HF_NOMIC) return config_nomic(g);
    json_t *c =
        json_pack("{s:[s], s:s}", "architectures", class_of[f][0], "model_type", class_of[f][1]);
    common(c, g);
    set(c, "torch_dtype",
        json_string(flags & HF_BF16  ? "bfloat16"
                    : flags & HF_F16 ? "float16"
                                     : "float32"));
    json_t *scaling = rope_scaling(g, f);
    if (!scaling) {
        json_decref(c);
        return NULL;
    }
    set(c, "rope_scaling", scaling);
    switch (f) {
    case HF_LLAMA:
    case HF_MISTRAL:
    case HF_MIXTRAL:
    case HF_GRANITE: family_llama(c, g, f); break;
    case HF_QWEN2:
    case HF_QWEN3:
    case HF_QWEN2MOE:
    case HF_QWEN3MOE: family_qwen(c, g, f); break;
    case HF_PHI3: family_phi3(c, g); break;
    case HF_GEMMA2:
    case HF_GEMMA3: family_gemma(c, g, f); break;
    case HF_OLMO2: set(c, "attention_bias", json_false()); break;
    case HF_SMOLLM3: family_smollm3(c, g); break;
    case HF_BERT:
    case HF_NOMIC:
    case HF_UNKNOWN: break;
    }
    return c;
}
