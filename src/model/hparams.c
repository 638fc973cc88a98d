/* Reading hyper-parameters: every key once, with its bounds beside it; then what follows from
 * them per layer.  The first wrong key is the one reported. */
#include "model/hparams.h"

#include <limits.h>
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "model/arch.h"

struct reader {
    const struct gguf *g;
    const char *arch;
    struct err *e;
    bool failed;
};

enum { REQUIRED = INT_MIN }; /* as a default: the key must be there */

static const char *key_of(const struct reader *r, const char *name, char buf[128]) {
    snprintf(buf, 128, "%s.%s", r->arch, name);
    return buf;
}

/* Report a wrong key; only the first one counts.  -1. */
__attribute__((format(printf, 3, 4))) static int bad(struct reader *r, const char *name,
                                                     const char *fmt, ...) {
    char what[256], key[128];
    if (r->failed) return -1;
    va_list ap;
    va_start(ap, fmt);
    vsnprintf(what, sizeof what, fmt, ap);
    va_end(ap);
    r->failed = true;
    return err_set(r->e, ERR_FORMAT, "%s: key '%s' %s", gguf_path(r->g), key_of(r, name, key),
                   what);
}

/* An integer in [lo, hi]; `def` when absent. */
static int get_int(struct reader *r, const char *name, int def, int lo, int hi) {
    char key[128];
    uint32_t v = 0;
    if (r->failed) return lo;
    const int got = gguf_get_u32(r->g, key_of(r, name, key), &v, r->e);
    if (got == 0 && def != REQUIRED) return def;
    if (got < 0) r->failed = true; /* e says why */
    if (got == 0) bad(r, name, "is missing");
    if (v < (uint32_t)lo || v > (uint32_t)hi)
        bad(r, name, "is %u; %d to %d is accepted", v, lo, hi);
    return r->failed ? lo : (int)v;
}

/* A number in [lo, hi]. */
static float get_num(struct reader *r, const char *name, float def, float lo, float hi) {
    char key[128];
    float v = def;
    if (r->failed) return lo;
    const int got = gguf_get_f32(r->g, key_of(r, name, key), &v, r->e);
    if (got < 0) r->failed = true;
    if (got > 0 && !(v >= lo && v <= hi)) bad(r, name, "is %g; %g to %g is accepted", v, lo, hi);
    return r->failed ? lo : v;
}

static bool get_flag(struct reader *r, const char *name, bool def) {
    char key[128];
    bool v = def;
    if (!r->failed && gguf_get_bool(r->g, key_of(r, name, key), &v, r->e) < 0) r->failed = true;
    return v;
}

/* An integer for every layer: one value, or an array of n_layer (of head_count_kv, say).
 * out is strided: it is a field of struct layer_hparams. */
static void get_per_layer(struct reader *r, const char *name, int def, int lo, int hi, int n_layer,
                          int *out) {
    enum { STRIDE = sizeof(struct layer_hparams) / sizeof(int) };
    char key[128];
    if (r->failed) return;
    const struct gguf_kv *kv = gguf_find(r->g, key_of(r, name, key));
    if (!kv || kv->type != GGUF_ARR) {
        const int v = get_int(r, name, def, lo, hi);
        for (int il = 0; il < n_layer; il++)
            out[il * STRIDE] = v;
        return;
    }
    const bool ints = kv->elem_type != GGUF_STR && kv->elem_type != GGUF_F32 &&
                      kv->elem_type != GGUF_F64 && kv->elem_type != GGUF_BOOL;
    if (!ints || kv->n < (uint64_t)n_layer) {
        bad(r, name, "has %llu values of %s; %d integers are needed", (unsigned long long)kv->n,
            gguf_type_name(kv->elem_type), n_layer);
        return;
    }
    for (int il = 0; il < n_layer && !r->failed; il++) {
        const int64_t v = gguf_int_at(kv, (uint64_t)il);
        if (v < lo || v > hi)
            bad(r, name, "is %lld for layer %d; %d to %d is accepted", (long long)v, il, lo, hi);
        out[il * STRIDE] = (int)v;
    }
}

static void read_sizes(struct reader *r, struct hparams *h, const struct arch *a) {
    h->n_layer = get_int(r, "block_count", REQUIRED, 1, HP_MAX_LAYER);
    h->n_embd = get_int(r, "embedding_length", REQUIRED, 1, HP_MAX_EMBD);
    h->n_ctx_train = get_int(r, "context_length", REQUIRED, 1, HP_MAX_CTX);
    get_per_layer(r, "attention.head_count", REQUIRED, 1, HP_MAX_HEAD, h->n_layer,
                  &h->layer[0].n_head);
    for (int il = 0; il < h->n_layer; il++)
        h->layer[il].n_kv_head = h->layer[il].n_head;
    char key[128];
    if (gguf_find(r->g, key_of(r, "attention.head_count_kv", key)))
        get_per_layer(r, "attention.head_count_kv", REQUIRED, 1, HP_MAX_HEAD, h->n_layer,
                      &h->layer[0].n_kv_head);
    get_per_layer(r, "feed_forward_length", REQUIRED, 1, HP_MAX_FF, h->n_layer, &h->layer[0].n_ff);

    const char *eps =
        h->norm == NORM_RMS ? "attention.layer_norm_rms_epsilon" : "attention.layer_norm_epsilon";
    h->norm_eps = get_num(r, eps, -1, 1e-30f, 1);
    if (h->norm_eps < 0) bad(r, eps, "is missing");
    h->causal = get_flag(r, "attention.causal", !a->encoder);
    h->pooling = get_int(r, "pooling_type", -1, 0, 4);
    h->parallel = get_flag(r, "use_parallel_residual", a->norms == NORMS_SHARED);
}

/* Heads: the sizes of K and V rows, and what of them rotates. */
static void read_heads(struct reader *r, struct hparams *h, const struct arch *a) {
    const int n_head = h->layer[0].n_head ? h->layer[0].n_head : 1;
    const int def = h->n_embd / n_head;
    if (def < 1) bad(r, "embedding_length", "is %d; at least one per head, %d", h->n_embd, n_head);
    h->k_dim = get_int(r, "attention.key_length", def, 1, HP_MAX_HEAD_DIM);
    h->v_dim = get_int(r, "attention.value_length", def, 1, HP_MAX_HEAD_DIM);
    h->kv_rank = get_int(r, "attention.kv_lora_rank", 0, 1, HP_MAX_EMBD);
    h->q_rank = get_int(r, "attention.q_lora_rank", 0, 0, HP_MAX_EMBD);
    if (h->kv_rank) { /* the cache's row (key_length) is then another thing than a head's */
        h->k_dim = get_int(r, "attention.key_length_mla", h->k_dim, 2, HP_MAX_HEAD_DIM);
        h->v_dim = get_int(r, "attention.value_length_mla", h->v_dim, 1, HP_MAX_HEAD_DIM);
    }
    h->rope = a->rope;
    h->n_rot = a->rope == ROPE_NONE ? 0 : get_int(r, "rope.dimension_count", h->k_dim, 1, h->k_dim);
    if (h->n_rot % 2) bad(r, "rope.dimension_count", "is %d; even numbers are accepted", h->n_rot);
    if (a->scale_keys) h->attn_scale = get_num(r, "attention.scale", 0, 0, 1e6f);
    if (h->attn_scale == 0) h->attn_scale = 1.0f / sqrtf((float)h->k_dim);
    h->attn_softcap = get_num(r, "attn_logit_softcapping", 0, 0, 1e9f);
    h->logit_softcap = get_num(r, "final_logit_softcapping", 0, 0, 1e9f);
    h->clamp_qkv = get_num(r, "attention.clamp_kqv", 0, 0, 1e9f);
    const float alibi = get_num(r, "attention.max_alibi_bias", 0, 0, 1e3f);
    if (alibi != 0 && alibi != 8) /* 8 is the paper's and every model's */
        bad(r, "attention.max_alibi_bias", "is %g; 8 is accepted", alibi);
    h->alibi = alibi != 0;
}

static void read_scales(struct reader *r, struct hparams *h, const struct arch *a) {
    h->embed_scale = a->embed_sqrt ? sqrtf((float)h->n_embd) : 1;
    h->residual_scale = h->logit_scale = 1;
    if (!a->scale_keys) return;
    h->embed_scale = get_num(r, "embedding_scale", h->embed_scale, 1e-9f, 1e9f);
    h->residual_scale = get_num(r, "residual_scale", 1, 1e-9f, 1e9f);
    h->logit_scale = get_num(r, "logit_scale", 1, 1e-9f, 1e9f);
}

/* Which way positions are stretched.  The reference's rules: a type it does not know counts as
 * linear, "none" switches scaling off.  Converters also write rope.scaling.yarn_attn_factor,
 * _ext_factor, _beta_fast and _beta_slow; these stay unread for these architectures: the first
 * repeats what the factor implies (OLMo 3: 1.2079 = 1 + 0.1 ln 8), so using it would count twice.
 */
static void read_rope(struct reader *r, struct hparams *h, const struct arch *a) {
    struct rope_params *p = &h->rope_set[0];
    p->base = get_num(r, "rope.freq_base", 10000, 1e-3f, 1e18f);
    p->factor = get_num(r, "rope.scale_linear", 1, 0, 1e6f);
    p->factor = get_num(r, "rope.scaling.factor", p->factor, 0, 1e6f);
    if (p->factor == 0) p->factor = 1;
    p->n_ctx_orig =
        get_int(r, "rope.scaling.original_context_length", h->n_ctx_train, 1, HP_MAX_CTX);
    char key[128];
    struct str type = STR("linear");
    if (gguf_get_str(r->g, key_of(r, "rope.scaling.type", key), &type, r->e) < 0) r->failed = true;
    if (str_is(type, "none")) p->factor = 1;
    p->ext = str_is(type, "yarn") ? 1 : 0;
    p->beta_fast = 32, p->beta_slow = 1;
    p->magnitude = get_num(r, "rope.scaling.attn_factor", 1, 1e-3f, 1e3f);
    h->rope_set[1] = *p; /* the magnitude without YaRN's share */
    const float log_mul =
        h->kv_rank ? get_num(r, "rope.scaling.yarn_log_multiplier", 0, -10, 10) * 10 : 0;
    const float stretch = 0.1f * logf(p->factor);
    /* YaRN raises the temperature by enlarging q and k alike.  With a log multiplier (DeepSeek)
     * the enlargement is in the scale of q k instead, squared, and cos and sin stay as they are. */
    if (p->ext != 0 && log_mul == 0) p->magnitude *= 1 + stretch;
    if (h->kv_rank) {
        const float m = p->ext != 0 && log_mul != 0 ? 1 + log_mul * stretch : 1 + stretch;
        h->attn_scale *= m * m;
    }
    if (!a->window.period) return;
    if (a->window.rope_plain)
        h->rope_set[1].factor = 1, h->rope_set[1].ext = 0;
    else
        h->rope_set[1] = *p;
    h->rope_set[1].base = get_num(
        r, "rope.freq_base_swa", a->window.rope_base ? a->window.rope_base : p->base, 1e-3f, 1e18f);
}

/* Which layers slide: every period-th sees all, or as an array of flags says. */
static void read_windows(struct reader *r, struct hparams *h, const struct arch *a) {
    char key[128];
    if (r->failed || !a->window.period) return;
    const int size = get_int(r, "attention.sliding_window",
                             a->window.size < 0 ? REQUIRED : a->window.size, 0, HP_MAX_CTX);
    const struct gguf_kv *flags =
        gguf_find(r->g, key_of(r, "attention.sliding_window_pattern", key));
    int period = a->window.period;
    if (flags && flags->type == GGUF_ARR) {
        if (flags->elem_type != GGUF_BOOL || flags->n < (uint64_t)h->n_layer)
            bad(r, "attention.sliding_window_pattern", "needs %d booleans", h->n_layer);
    } else {
        period = get_int(r, "attention.sliding_window_pattern", period, 1, HP_MAX_LAYER);
        flags = NULL;
    }
    for (int il = 0; il < h->n_layer && !r->failed; il++) {
        const bool slides = flags ? flags->data[il] != 0 : il % period < period - 1;
        if (slides && size) h->layer[il].window = size;
        if (slides && size) h->layer[il].rope_set = 1;
        if (!slides && a->window.rope_only) h->layer[il].rope_set = -1;
    }
}

/* How the router's logits become the chosen experts' weights. */
static void read_router(struct reader *r, struct hparams *h) {
    const enum gate gates[] = {h->gate, GATE_SOFTMAX, GATE_SIGMOID, GATE_SOFTMAX_TOPK};
    h->gate = gates[get_int(r, "expert_gating_func", 0, 0, 3)];
    h->expert_renorm = get_flag(r, "expert_weights_norm", h->expert_renorm);
    h->expert_scale = get_num(r, "expert_weights_scale", 1, 0, 1e6f);
    if (h->expert_scale == 0) h->expert_scale = 1;
}

static void read_experts(struct reader *r, struct hparams *h, const struct arch *a) {
    h->n_expert = get_int(r, "expert_count", 0, 0, HP_MAX_EXPERT);
    if (!h->n_expert) return;
    const int most = h->n_expert < HP_MAX_USED ? h->n_expert : HP_MAX_USED;
    h->n_expert_used = get_int(r, "expert_used_count", REQUIRED, 1, most);
    h->n_ff_exp = get_int(r, "expert_feed_forward_length", h->layer[0].n_ff, 1, HP_MAX_FF);
    const int n_shared = get_int(r, "expert_shared_count", 0, 0, 64);
    h->n_ff_shared =
        get_int(r, "expert_shared_feed_forward_length", n_shared * h->n_ff_exp, 0, HP_MAX_FF);
    h->n_dense_lead = get_int(r, "leading_dense_block_count", 0, 0, h->n_layer);
    h->expert_renorm = a->expert_renorm;
    h->expert_scale = 1;
    h->gate = a->gate;
    if (a->router_keys) read_router(r, h);
    h->n_group = get_int(r, "expert_group_count", 0, 0, h->n_expert);
    h->n_group_used = get_int(r, "expert_group_used_count", h->n_group, 0, h->n_group);
    if (h->n_group > 1 && (h->n_expert % h->n_group || h->n_expert / h->n_group < 2 ||
                           h->n_group_used * (h->n_expert / h->n_group) < h->n_expert_used))
        bad(r, "expert_group_count", "is %d, of which %d used: that does not fit %d of %d experts",
            h->n_group, h->n_group_used, h->n_expert_used, h->n_expert);
    if (h->n_group <= 1 || h->n_group_used == h->n_group) h->n_group = h->n_group_used = 0;
    for (int il = h->n_dense_lead; il < h->n_layer; il++)
        h->layer[il].moe = true;
}

/* Relations between keys that each are in range. */
static void check(struct reader *r, const struct hparams *h) {
    char key[128];
    for (int il = 0; il < h->n_layer; il++) {
        const struct layer_hparams *l = &h->layer[il];
        if (!h->kv_rank && l->n_head % l->n_kv_head)
            bad(r, "attention.head_count_kv",
                "is %d, which does not divide the %d heads of layer %d", l->n_kv_head, l->n_head,
                il);
        /* The forward's buffers for latent heads and ALiBi's slopes are one for all layers. */
        if ((h->kv_rank || h->alibi) && l->n_head != h->layer[0].n_head)
            bad(r, "attention.head_count",
                "is %d for layer %d and %d for layer 0; the same is needed", l->n_head, il,
                h->layer[0].n_head);
        if (l->n_head > HP_MAX_FF / h->k_dim || l->n_head > HP_MAX_FF / h->v_dim)
            bad(r, "attention.head_count", "is %d, too many heads of %d values", l->n_head,
                h->k_dim);
    }
    if (!h->kv_rank && h->n_embd % h->layer[0].n_head &&
        !gguf_find(r->g, key_of(r, "attention.key_length", key)))
        bad(r, "attention.head_count", "is %d, which does not divide embedding_length %d",
            h->layer[0].n_head, h->n_embd);
    if (h->kv_rank && h->n_rot >= h->k_dim)
        bad(r, "rope.dimension_count", "is %d; heads of %d need a smaller one", h->n_rot, h->k_dim);
}

int hparams_read(struct hparams *h, const struct arch *a, const struct gguf *g, struct err *e) {
    struct reader r = {.g = g, .arch = a->name, .e = e};
    memset(h, 0, sizeof *h);
    snprintf(h->arch, sizeof h->arch, "%s", a->name);
    h->norm = a->norm == NORM_NONE ? NORM_RMS : a->norm;
    read_sizes(&r, h, a);
    if (r.failed) return -1;
    for (int il = 0; il < h->n_layer; il++) {
        const int p = a->no_rope_period;
        h->layer[il].rope_set = a->rope == ROPE_NONE || (p && il % p == p - 1) ? -1 : 0;
    }
    read_heads(&r, h, a);
    read_scales(&r, h, a);
    read_rope(&r, h, a);
    read_windows(&r, h, a);
    read_experts(&r, h, a);
    if (!r.failed) check(&r, h);
    if (r.failed) return -1;
    return a->adjust ? a->adjust(h, g, e) : 0;
}

int hparams_f32(const struct hparams *h, const struct gguf *g, const char *name, float *out,
                struct err *e) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", h->arch, name);
    return gguf_get_f32(g, key, out, e);
}

int hparams_bool(const struct hparams *h, const struct gguf *g, const char *name, bool *out,
                 struct err *e) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", h->arch, name);
    return gguf_get_bool(g, key, out, e);
}
