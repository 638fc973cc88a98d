/* config.json to GGUF's hyper-parameters: what all families share. */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "create/convert_priv.h"

/* ---- reading ---- */

const json_t *convert_config(const struct conversion *c, const char *names) {
    char name[64];
    while (*names) {
        const size_t n = strcspn(names, "|");
        snprintf(name, sizeof name, "%.*s", (int)n, names);
        const json_t *v = json_object_get(c->config, name);
        if (v && !json_is_null(v)) return v;
        names += n + (names[n] == '|');
    }
    return NULL;
}

static const char *full_key(const struct conversion *c, const char *key, char out[CONVERT_NAME]) {
    snprintf(out, CONVERT_NAME, "%s.%s", c->family->arch, key);
    return out;
}

int convert_set_u32(struct conversion *c, const char *key, int64_t v, struct err *e) {
    char full[CONVERT_NAME];
    return gguf_set_u32(c->w, full_key(c, key, full), (uint32_t)v, e);
}

int convert_set_f32(struct conversion *c, const char *key, double v, struct err *e) {
    char full[CONVERT_NAME];
    return gguf_set_f32(c->w, full_key(c, key, full), (float)v, e);
}

int convert_copy_u32(struct conversion *c, const char *key, const char *names, struct err *e) {
    const json_t *v = convert_config(c, names);
    if (!v) return 0;
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > INT32_MAX)
        return convert_key_error(c, names, e, "is no number of 0 to 2^31-1");
    return convert_set_u32(c, key, json_integer_value(v), e);
}

int convert_copy_f32(struct conversion *c, const char *key, const char *names, struct err *e) {
    const json_t *v = convert_config(c, names);
    if (!v) return 0;
    if (!json_is_number(v)) return convert_key_error(c, names, e, "is no number");
    return convert_set_f32(c, key, json_number_value(v), e);
}

/* A size that the conversion itself needs; def when there is none, def 0: there must be one. */
static int read_size(struct conversion *c, const char *names, int def, int most, int *out,
                     struct err *e) {
    const json_t *v = convert_config(c, names);
    *out = def;
    if (!v) return def ? 0 : convert_key_error(c, names, e, "is missing");
    const json_int_t n = json_integer_value(v);
    if (json_is_integer(v) && n >= 1 && n <= most) {
        *out = (int)n;
        return 0;
    }
    char what[64];
    snprintf(what, sizeof what, "is no number of 1 to %d", most);
    return convert_key_error(c, names, e, what);
}

/* ---- what Gemma 3's published configs leave to the library's defaults ---- */

static void gemma3_defaults(struct conversion *c) {
    static const struct {
        const char *key;
        double v;
    } defaults[] = {{"hidden_size", 2304},      {"intermediate_size", 9216},
                    {"num_hidden_layers", 26},  {"num_attention_heads", 8},
                    {"num_key_value_heads", 4}, {"head_dim", 256},
                    {"rms_norm_eps", 1e-6},     {"max_position_embeddings", 131072},
                    {"sliding_window", 4096},   {"query_pre_attn_scalar", 256}};
    if (strcmp(c->family->arch, "gemma3") != 0) return;
    for (size_t i = 0; i < sizeof defaults / sizeof *defaults; i++) {
        if (convert_config(c, defaults[i].key)) continue;
        const double v = defaults[i].v;
        json_object_set_new((json_t *)c->config, defaults[i].key,
                            v == floor(v) ? json_integer((json_int_t)v) : json_real(v));
    }
}

/* ---- RoPE ---- */

/* Scaling is an object of its own in older configs, together with the base in newer ones; there
 * one for each kind of layer where windowed layers rotate otherwise. */
const json_t *convert_rope_object(const struct conversion *c, const char *layer_type) {
    const json_t *v = convert_config(c, "rope_scaling|rope_parameters");
    const json_t *own = json_object_get(v, layer_type);
    if (own) return own;
    return strcmp(layer_type, "full_attention") == 0 ? v : NULL;
}

static double number(const json_t *j, const char *key, double def) {
    const json_t *v = json_object_get(j, key);
    return json_is_number(v) ? json_number_value(v) : def;
}

/* Llama 3.1: long waves are stretched, short ones kept, those between blended (the model card's
 * code; transformers' _compute_llama3_parameters). */
static int llama3_divisors(struct conversion *c, const json_t *rope, double base, struct err *e) {
    const double factor = number(rope, "factor", 8), low = number(rope, "low_freq_factor", 1);
    const double high = number(rope, "high_freq_factor", 4);
    const double orig = number(rope, "original_max_position_embeddings", 8192);
    const double tau = 6.283185307179586;
    float *d = arena_calloc(&c->a, (size_t)c->n_rot / 2 + 1, sizeof *d);
    if (!d) return err_nomem(e, c->folder);
    if (!(factor >= 1) || !(high > low) || !(low > 0))
        return convert_key_error(c, "rope_scaling", e, "has factors that make no scale");
    for (int i = 0; i < c->n_rot / 2; i++) {
        const double wave = tau * pow(base, 2.0 * i / c->n_rot);
        const double smooth = (orig / wave - low) / (high - low);
        if (wave < orig / high)
            d[i] = 1;
        else if (wave > orig / low)
            d[i] = (float)factor;
        else
            d[i] = (float)(1 / ((1 - smooth) / factor + smooth));
    }
    c->rope_divisor = d;
    return 0;
}

static const float *factors(struct conversion *c, const json_t *rope, const char *key,
                            struct err *e) {
    const json_t *list = json_object_get(rope, key);
    const size_t n = (size_t)c->n_rot / 2;
    float *out = arena_calloc(&c->a, n + 1, sizeof *out);
    if (!out) {
        err_nomem(e, c->folder);
        return NULL;
    }
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(list, i);
        if (json_array_size(list) == n && json_is_number(v)) {
            out[i] = (float)json_number_value(v);
            continue;
        }
        err_set(e, ERR_FORMAT, "%s/config.json: rope_scaling.%s has %zu numbers; %zu are needed",
                c->folder, key, json_array_size(list), n);
        return NULL;
    }
    return out;
}

/* LongRoPE (arXiv:2402.13753): two lists of factors, and a larger temperature beyond the original
 * context: sqrt(1 + ln s / ln n). */
static int longrope(struct conversion *c, const json_t *rope, struct err *e) {
    const double max = json_number_value(convert_config(c, "max_position_embeddings"));
    const json_t *o = convert_config(c, "original_max_position_embeddings");
    const double orig =
        o ? json_number_value(o) : number(rope, "original_max_position_embeddings", max);
    if (!(orig > 1))
        return convert_key_error(c, "original_max_position_embeddings", e, "is under 2");
    const double scale = number(rope, "factor", max / orig);
    const double m = scale <= 1 ? 1 : sqrt(1 + log(scale) / log(orig));
    c->rope_long = factors(c, rope, "long_factor", e);
    c->rope_short = c->rope_long ? factors(c, rope, "short_factor", e) : NULL;
    if (!c->rope_short) return -1;
    if (convert_set_u32(c, "rope.scaling.original_context_length", (int64_t)orig, e) != 0)
        return -1;
    return convert_set_f32(c, "rope.scaling.attn_factor", number(rope, "attention_factor", m), e);
}

static int yarn(struct conversion *c, const json_t *rope, const char *key_factor, struct err *e) {
    const double factor = number(rope, "factor", 1), implied = 1 + 0.1 * log(factor);
    const double given = number(rope, "attention_factor", implied);
    const double orig = number(rope, "original_max_position_embeddings", 0);
    char full[CONVERT_NAME];
    if (number(rope, "beta_fast", 32) != 32 || number(rope, "beta_slow", 1) != 1)
        return convert_key_error(c, "rope_scaling", e, "has betas other than 32 and 1");
    if (gguf_set_str(c->w, full_key(c, "rope.scaling.type", full), STR("yarn"), e) != 0 ||
        convert_set_f32(c, key_factor, factor, e) != 0)
        return -1;
    if (orig > 0 && convert_set_u32(c, "rope.scaling.original_context_length", (int64_t)orig, e))
        return -1;
    if (fabs(given - implied) < 1e-6) return 0;
    return convert_set_f32(c, "rope.scaling.attn_factor", given / implied, e);
}

static int rope_keys(struct conversion *c, struct err *e) {
    const json_t *rope = convert_rope_object(c, "full_attention");
    const json_t *v = convert_config(c, "rope_theta|rotary_emb_base");
    const double def = strcmp(c->family->arch, "gemma3") == 0 ? 1e6 : 10000; /* of the classes */
    const double base = v ? json_number_value(v) : number(rope, "rope_theta", def);
    const double part = json_number_value(convert_config(c, "partial_rotary_factor"));
    char full[CONVERT_NAME];
    c->n_rot = c->head_dim;
    if (part > 0 && part < 1) c->n_rot = (int)(part * c->head_dim);
    if (part == 0 && number(rope, "partial_rotary_factor", 1) < 1)
        c->n_rot = (int)(number(rope, "partial_rotary_factor", 1) * c->head_dim);
    if (convert_set_f32(c, "rope.freq_base", base, e) != 0 ||
        convert_set_u32(c, "rope.dimension_count", c->n_rot, e) != 0)
        return -1;
    const char *type = json_string_value(json_object_get(rope, "rope_type"));
    if (!type) type = json_string_value(json_object_get(rope, "type"));
    if (!type || strcmp(type, "default") == 0) return 0;
    if (strcmp(type, "llama3") == 0) return llama3_divisors(c, rope, base, e);
    if (strcmp(type, "longrope") == 0 || strcmp(type, "su") == 0) return longrope(c, rope, e);
    if (strcmp(type, "yarn") == 0) return yarn(c, rope, "rope.scaling.factor", e);
    if (strcmp(type, "linear") != 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "%s/config.json: rope_scaling type \"%s\"; linear, yarn, llama3 and "
                       "longrope are accepted",
                       c->folder, type);
    if (gguf_set_str(c->w, full_key(c, "rope.scaling.type", full), STR("linear"), e) != 0)
        return -1;
    return convert_set_f32(c, "rope.scaling.factor", number(rope, "factor", 1), e);
}

/* ---- all ---- */

static int sizes(struct conversion *c, struct err *e) {
    int n_embd;
    if (read_size(c, "num_hidden_layers|n_layer|n_layers", 0, 4096, &c->n_layer, e) != 0 ||
        read_size(c, "hidden_size|n_embd", 0, 1 << 20, &n_embd, e) != 0 ||
        read_size(c, "num_attention_heads|n_head", 0, 1 << 16, &c->n_head, e) != 0 ||
        read_size(c, "num_key_value_heads", c->n_head, 1 << 16, &c->n_kv_head, e) != 0)
        return -1;
    if (n_embd / c->n_head < 1)
        return convert_key_error(c, "hidden_size", e, "is under one a head");
    if (read_size(c, "head_dim", n_embd / c->n_head, 1 << 16, &c->head_dim, e) != 0) return -1;
    const json_t *x = convert_config(c, "num_local_experts|num_experts");
    if (x && read_size(c, "num_local_experts|num_experts", 0, 4096, &c->n_expert, e) != 0)
        return -1;
    if (convert_set_u32(c, "block_count", c->n_layer, e) != 0 ||
        convert_set_u32(c, "embedding_length", n_embd, e) != 0 ||
        convert_set_u32(c, "attention.head_count", c->n_head, e) != 0 ||
        convert_set_u32(c, "attention.head_count_kv", c->n_kv_head, e) != 0)
        return -1;
    if (!convert_config(c, "head_dim")) return 0;
    if (convert_set_u32(c, "attention.key_length", c->head_dim, e) != 0) return -1;
    return convert_set_u32(c, "attention.value_length", c->head_dim, e);
}

/* What stands between the halves of the feed-forward is fixed by the architecture in GGUF. */
static int check_activation(const struct conversion *c, struct err *e) {
    const char *act = json_string_value(convert_config(c, "hidden_act|hidden_activation"));
    const bool gelu = (c->family->flags & (FAMILY_NORM_PLUS | FAMILY_ENCODER)) != 0;
    if (!act || strcmp(c->family->arch, "nomic-bert") == 0) return 0;
    if (gelu ? strncmp(act, "gelu", 4) == 0 : !strcmp(act, "silu") || !strcmp(act, "swish"))
        return 0;
    return convert_key_error(c, "hidden_act", e, gelu ? "is no \"gelu\"" : "is not \"silu\"");
}

int convert_keys(struct conversion *c, struct err *e) {
    const bool encoder = c->family->flags & FAMILY_ENCODER;
    const bool learned = strcmp(c->family->arch, "bert") == 0;
    const char *context = "max_trained_positions|max_position_embeddings|n_positions|n_ctx";
    gemma3_defaults(c);
    if (!convert_config(c, context)) return convert_key_error(c, context, e, "is missing");
    if (check_activation(c, e) != 0 || sizes(c, e) != 0 ||
        convert_copy_u32(c, "context_length", context, e) != 0 ||
        convert_copy_u32(c, "feed_forward_length", "intermediate_size|n_inner", e) != 0 ||
        convert_set_u32(c, "vocab_size", c->n_vocab, e) != 0)
        return -1;
    const int rc = encoder
                       ? convert_copy_f32(c, "attention.layer_norm_epsilon",
                                          "layer_norm_eps|layer_norm_epsilon", e)
                       : convert_copy_f32(c, "attention.layer_norm_rms_epsilon", "rms_norm_eps", e);
    if (rc != 0 || (!learned && rope_keys(c, e) != 0)) return -1;
    if (c->n_expert && (convert_set_u32(c, "expert_count", c->n_expert, e) != 0 ||
                        convert_copy_u32(c, "expert_used_count", "num_experts_per_tok", e) != 0))
        return -1;
    if (c->family->keys && c->family->keys(c, e) != 0) return -1;
    return family_check_layer_types(c, e);
}
