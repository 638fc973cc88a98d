/* The families that are converted: config.json's model_type, and what is special about each.  What
 * they have in common is in convert_keys.c and convert_names.c.
 *
 * Sources: the models' published config.json files and modeling code (transformers), and the keys
 * that src/model reads. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "create/convert_priv.h"

/* Queries are scaled by 1/sqrt(head_dim) in GGUF's gemma2 and gemma3, but in the 27B models. */
static int gemma_scale(struct conversion *c, int big_layers, struct err *e) {
    const json_t *v = convert_config(c, "query_pre_attn_scalar");
    const json_t *embd = convert_config(c, "hidden_size");
    const double want =
        c->n_layer == big_layers ? (double)json_integer_value(embd) / c->n_head : c->head_dim;
    if (!v || fabs(json_number_value(v) - want) < 1e-3) return 0;
    char what[128];
    snprintf(what, sizeof what, "is %g; %g is accepted for this shape", json_number_value(v), want);
    return convert_key_error(c, "query_pre_attn_scalar", e, what);
}

static int keys_gemma2(struct conversion *c, struct err *e) {
    if (convert_copy_f32(c, "attn_logit_softcapping", "attn_logit_softcapping", e) != 0 ||
        convert_copy_f32(c, "final_logit_softcapping", "final_logit_softcapping", e) != 0 ||
        convert_copy_u32(c, "attention.sliding_window", "sliding_window", e) != 0)
        return -1;
    return gemma_scale(c, 46, e);
}

/* Gemma 3: a full layer ends each period; newer configs list every layer's type instead. */
static int gemma3_period(const struct conversion *c) {
    const json_t *p = convert_config(c, "sliding_window_pattern|_sliding_window_pattern");
    const json_t *types = convert_config(c, "layer_types");
    if (json_is_integer(p) && json_integer_value(p) > 0) return (int)json_integer_value(p);
    for (size_t i = 0; i < json_array_size(types); i++) {
        const char *s = json_string_value(json_array_get(types, i));
        if (s && strcmp(s, "full_attention") == 0) return (int)i + 1;
    }
    return 6;
}

static int keys_gemma3(struct conversion *c, struct err *e) {
    const int period = gemma3_period(c);
    const json_t *local = convert_rope_object(c, "sliding_attention");
    const json_t *base = json_object_get(local, "rope_theta");
    if (convert_config(c, "attn_logit_softcapping|final_logit_softcapping"))
        return convert_key_error(c, "attn_logit_softcapping", e, "is set; null is accepted");
    if (convert_copy_u32(c, "attention.sliding_window", "sliding_window", e) != 0 ||
        convert_copy_f32(c, "rope.freq_base_swa", "rope_local_base_freq", e) != 0)
        return -1;
    if (json_is_number(base) &&
        convert_set_f32(c, "rope.freq_base_swa", json_number_value(base), e) != 0)
        return -1;
    if (period != 6 && convert_set_u32(c, "attention.sliding_window_pattern", period, e) != 0)
        return -1;
    return gemma_scale(c, 62, e);
}

static int keys_window(struct conversion *c, struct err *e) {
    return convert_copy_u32(c, "attention.sliding_window", "sliding_window", e);
}

/* Qwen's classes give layers from max_window_layers on a window where use_sliding_window is set. */
static int no_window(struct conversion *c, struct err *e) {
    const json_t *from = convert_config(c, "max_window_layers");
    if (!json_is_true(convert_config(c, "use_sliding_window"))) return 0;
    if (!convert_config(c, "sliding_window") || json_integer_value(from) >= c->n_layer) return 0;
    return convert_key_error(c, "use_sliding_window", e, "is true; false is accepted");
}

static int keys_granite(struct conversion *c, struct err *e) {
    if (convert_copy_f32(c, "embedding_scale", "embedding_multiplier", e) != 0 ||
        convert_copy_f32(c, "residual_scale", "residual_multiplier", e) != 0 ||
        convert_copy_f32(c, "attention.scale", "attention_multiplier", e) != 0)
        return -1;
    return convert_copy_f32(c, "logit_scale", "logits_scaling", e);
}

/* GGUF's smollm3 leaves every fourth layer without RoPE, always. */
static int keys_smollm3(struct conversion *c, struct err *e) {
    const json_t *layers = convert_config(c, "no_rope_layers");
    const json_t *every = convert_config(c, "no_rope_layer_interval");
    if (!layers && every && json_integer_value(every) != 4)
        return convert_key_error(c, "no_rope_layer_interval", e, "is not 4");
    for (size_t i = 0; i < json_array_size(layers); i++)
        if ((json_integer_value(json_array_get(layers, i)) != 0) != (i % 4 != 3))
            return convert_key_error(c, "no_rope_layers", e,
                                     "is not 0 at each fourth layer and 1 at the others");
    return no_window(c, e);
}

/* Whether the chosen experts' weights are made to sum to 1 is fixed by the architecture in GGUF:
 * Qwen 2 does not, Qwen 3 does. */
static int keys_qwenmoe(struct conversion *c, struct err *e) {
    const json_t *norm = convert_config(c, "norm_topk_prob");
    const bool wants = strcmp(c->family->arch, "qwen3moe") == 0;
    if (norm && json_is_true(norm) != wants)
        return convert_key_error(c, "norm_topk_prob", e,
                                 wants ? "is false; true is accepted"
                                       : "is true; false is accepted");
    if (convert_copy_u32(c, "expert_feed_forward_length", "moe_intermediate_size", e) != 0)
        return -1;
    if (convert_copy_u32(c, "expert_shared_feed_forward_length", "shared_expert_intermediate_size",
                         e) != 0)
        return -1;
    return no_window(c, e);
}

/* 0 none, 1 mean, 2 first token, 3 last token: modules.json names the folder that says which. */
static int pooling(struct conversion *c, struct err *e) {
    static const struct {
        const char *key;
        int type;
    } modes[] = {{"pooling_mode_mean_tokens", 1},
                 {"pooling_mode_cls_token", 2},
                 {"pooling_mode_lasttoken", 3}};
    json_t *j = NULL;
    int rc = convert_read_json(c->folder, "1_Pooling/config.json", &j, e);
    for (size_t i = 0; rc == 0 && j && i < sizeof modes / sizeof *modes; i++)
        if (json_is_true(json_object_get(j, modes[i].key))) {
            rc = convert_set_u32(c, "pooling_type", modes[i].type, e);
            break;
        }
    json_decref(j);
    return rc;
}

static int keys_encoder(struct conversion *c, struct err *e) {
    char key[CONVERT_NAME];
    const json_t *types = convert_config(c, "type_vocab_size");
    snprintf(key, sizeof key, "%s.attention.causal", c->family->arch);
    if (gguf_set_bool(c->w, key, false, e) != 0) return -1;
    if (types && gguf_set_u32(c->w, "tokenizer.ggml.token_type_count",
                              (uint32_t)json_integer_value(types), e) != 0)
        return -1;
    return pooling(c, e);
}

static int keys_bert(struct conversion *c, struct err *e) {
    const json_t *p = convert_config(c, "position_embedding_type");
    if (p && strcmp(json_string_value(p) ? json_string_value(p) : "", "absolute") != 0)
        return convert_key_error(c, "position_embedding_type", e, "is not \"absolute\"");
    return keys_encoder(c, e);
}

static int keys_nomic(struct conversion *c, struct err *e) {
    const json_t *fraction = convert_config(c, "rotary_emb_fraction");
    const char *act = json_string_value(convert_config(c, "activation_function"));
    if (fraction && json_number_value(fraction) != 1)
        return convert_key_error(c, "rotary_emb_fraction", e, "is not 1");
    if (act && strcmp(act, "swiglu") != 0)
        return convert_key_error(c, "activation_function", e, "is not \"swiglu\"");
    /* What the class can also do, and no published model does. */
    static const char *const off[] = {"causal", "parallel_block", "prenorm",
                                      "rotary_emb_interleaved", "use_rms_norm"};
    for (size_t i = 0; i < sizeof off / sizeof *off; i++)
        if (json_is_true(convert_config(c, off[i])))
            return convert_key_error(c, off[i], e, "is true; false is accepted");
    return keys_encoder(c, e);
}

static const struct family families[] = {
    {"llama", "llama", FAMILY_PAIRS, NULL},
    {"mistral", "llama", FAMILY_PAIRS, keys_window},
    {"mixtral", "llama", FAMILY_PAIRS, keys_window},
    {"qwen2", "qwen2", 0, no_window},
    {"qwen2_moe", "qwen2moe", FAMILY_OWN_HEAD, keys_qwenmoe},
    {"qwen3", "qwen3", 0, no_window},
    {"qwen3_moe", "qwen3moe", 0, keys_qwenmoe},
    {"phi3", "phi3", FAMILY_FUSED, keys_window},
    {"gemma2", "gemma2", FAMILY_NORM_PLUS | FAMILY_SANDWICH | FAMILY_TIED | FAMILY_NO_PREFIX,
     keys_gemma2},
    {"gemma3_text", "gemma3", FAMILY_NORM_PLUS | FAMILY_SANDWICH | FAMILY_TIED | FAMILY_NO_PREFIX,
     keys_gemma3},
    {"gemma3", "gemma3", FAMILY_NORM_PLUS | FAMILY_SANDWICH | FAMILY_TIED | FAMILY_NO_PREFIX,
     keys_gemma3},
    {"granite", "granite", FAMILY_PAIRS, keys_granite},
    {"olmo2", "olmo2", FAMILY_SANDWICH | FAMILY_OWN_HEAD, NULL},
    {"smollm3", "smollm3", FAMILY_PAIRS, keys_smollm3},
    {"bert", "bert", FAMILY_ENCODER, keys_bert},
    {"nomic_bert", "nomic-bert", FAMILY_ENCODER, keys_nomic},
};
enum { N_FAMILY = sizeof families / sizeof *families };

/* Which layers have a window is fixed by the architecture in GGUF. */
static bool slides(const struct conversion *c, int il) {
    if (c->family->keys == keys_gemma2) return il % 2 == 0;
    if (c->family->keys == keys_gemma3) return (il + 1) % gemma3_period(c) != 0;
    return c->family->keys == keys_window && convert_config(c, "sliding_window");
}

int family_check_layer_types(const struct conversion *c, struct err *e) {
    const json_t *types = convert_config(c, "layer_types");
    for (int il = 0; types && il < c->n_layer; il++) {
        const char *s = json_string_value(json_array_get(types, (size_t)il));
        const char *want = slides(c, il) ? "sliding_attention" : "full_attention";
        if (s && strcmp(s, want) == 0) continue;
        char what[128];
        snprintf(what, sizeof what, "says \"%.40s\" of layer %d; \"%s\" is accepted there",
                 s ? s : "nothing", il, want);
        return convert_key_error(c, "layer_types", e, what);
    }
    return 0;
}

const struct family *family_of_type(const char *model_type) {
    for (int i = 0; i < N_FAMILY; i++)
        if (strcmp(families[i].model_type, model_type) == 0) return &families[i];
    return NULL;
}

const struct family *family_of_arch(struct str arch) {
    for (int i = 0; i < N_FAMILY; i++)
        if (str_is(arch, families[i].arch)) return &families[i];
    return NULL;
}

void family_list(char *out, size_t n) {
    size_t at = 0;
    out[0] = 0;
    for (int i = 0; i < N_FAMILY && at < n; i++)
        at += (size_t)snprintf(out + at, n - at, "%s%s", i ? " " : "", families[i].model_type);
}
