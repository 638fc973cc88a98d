/* The table of shapes and what follows from one.  Figures: the config.json of each model; names of
 * tensors and keys: ggml/docs/gguf.md and llama.cpp, gguf-py/gguf/constants.py. */
#include "shape.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define LLAMA .arch = "llama", .eps = 1e-5f
#define QWEN2 .arch = "qwen2", .eps = 1e-6f, .vocab = "qwen2", .theta = 1e6f, .qkv_bias = true
#define QWEN3                                                                                      \
    .arch = "qwen3", .eps = 1e-6f, .vocab = "qwen2", .theta = 1e6f, .qk_norm = 1, .head_dim = 128, \
    .n_vocab = 151936, .n_ctx = 40960, .tied = true
#define DIMS(embd, layer, head, kv_head, ff)                                                       \
    .n_embd = embd, .n_layer = layer, .n_head = head, .n_kv_head = kv_head, .n_ff = ff

static const struct shape shapes[] = {
    /* Not published: for tests. */
    {"tiny", LLAMA, .vocab = "llama-bpe", DIMS(256, 4, 4, 2, 768), .head_dim = 64, .n_vocab = 1024,
     .n_ctx = 2048, .theta = 1e4f, .tied = true},
    {"tiny-moe", .arch = "qwen3moe", .eps = 1e-6f, .vocab = "qwen2", DIMS(256, 3, 4, 2, 256),
     .head_dim = 64, .n_vocab = 1024, .n_ctx = 2048, .theta = 1e6f, .qk_norm = 1, .n_expert = 8,
     .n_expert_used = 2},
    /* 4,096 tokens in the cache are 192 MiB, ten times its weights. */
    {"tiny-cache", LLAMA, .vocab = "llama-bpe", DIMS(512, 24, 8, 8, 512), .head_dim = 64,
     .n_vocab = 1024, .n_ctx = 32768, .theta = 1e6f, .tied = true},

    {"llama3.2-1b", LLAMA, .vocab = "llama-bpe", DIMS(2048, 16, 32, 8, 8192), .head_dim = 64,
     .n_vocab = 128256, .n_ctx = 131072, .theta = 5e5f, .tied = true, .llama3_factor = 32},
    {"llama3.2-3b", LLAMA, .vocab = "llama-bpe", DIMS(3072, 28, 24, 8, 8192), .head_dim = 128,
     .n_vocab = 128256, .n_ctx = 131072, .theta = 5e5f, .tied = true, .llama3_factor = 32},
    {"llama3.1-8b", LLAMA, .vocab = "llama-bpe", DIMS(4096, 32, 32, 8, 14336), .head_dim = 128,
     .n_vocab = 128256, .n_ctx = 131072, .theta = 5e5f, .llama3_factor = 8},
    {"mistral-7b", LLAMA, .vocab = "llama-spm", DIMS(4096, 32, 32, 8, 14336), .head_dim = 128,
     .n_vocab = 32000, .n_ctx = 32768, .theta = 1e6f},
    {"tinyllama-1.1b", LLAMA, .vocab = "llama-spm", DIMS(2048, 22, 32, 4, 5632), .head_dim = 64,
     .n_vocab = 32000, .n_ctx = 2048, .theta = 1e4f},
    {"smollm2-135m", LLAMA, .vocab = "starcoder", DIMS(576, 30, 9, 3, 1536), .head_dim = 64,
     .n_vocab = 49152, .n_ctx = 8192, .theta = 1e5f, .tied = true},
    {"smollm2-360m", LLAMA, .vocab = "starcoder", DIMS(960, 32, 15, 5, 2560), .head_dim = 64,
     .n_vocab = 49152, .n_ctx = 8192, .theta = 1e5f, .tied = true},

    {"qwen2.5-0.5b", QWEN2, DIMS(896, 24, 14, 2, 4864), .head_dim = 64, .n_vocab = 151936,
     .n_ctx = 32768, .tied = true},
    {"qwen2.5-1.5b", QWEN2, DIMS(1536, 28, 12, 2, 8960), .head_dim = 128, .n_vocab = 151936,
     .n_ctx = 32768, .tied = true},
    {"qwen2.5-3b", QWEN2, DIMS(2048, 36, 16, 2, 11008), .head_dim = 128, .n_vocab = 151936,
     .n_ctx = 32768, .tied = true},
    {"qwen2.5-7b", QWEN2, DIMS(3584, 28, 28, 4, 18944), .head_dim = 128, .n_vocab = 152064,
     .n_ctx = 32768},
    {"qwen3-0.6b", QWEN3, DIMS(1024, 28, 16, 8, 3072)},
    {"qwen3-1.7b", QWEN3, DIMS(2048, 28, 16, 8, 6144)},
    {"qwen3-4b", QWEN3, DIMS(2560, 36, 32, 8, 9728)},

    {"phi3-mini", .arch = "phi3", .eps = 1e-5f, .vocab = "phi-3", DIMS(3072, 32, 32, 32, 8192),
     .head_dim = 96, .n_vocab = 32064, .n_ctx = 4096, .theta = 1e4f, .fused = true},
    {"phi4-mini", .arch = "phi3", .eps = 1e-5f, .vocab = "gpt-4o", DIMS(3072, 32, 24, 8, 8192),
     .head_dim = 128, .n_vocab = 200064, .n_ctx = 131072, .theta = 1e4f, .fused = true,
     .tied = true, .n_rot = 96},

    {"olmoe-1b-7b", .arch = "olmoe", .eps = 1e-5f, .vocab = "olmo", DIMS(2048, 16, 16, 16, 1024),
     .head_dim = 128, .n_vocab = 50304, .n_ctx = 4096, .theta = 1e4f, .qk_norm = 2, .n_expert = 64,
     .n_expert_used = 8},
    {"granite3-1b-a400m", .arch = "granitemoe", .eps = 1e-6f, .vocab = "refact",
     DIMS(1024, 24, 16, 8, 512), .head_dim = 64, .n_vocab = 49155, .n_ctx = 4096, .theta = 1e4f,
     .tied = true, .n_expert = 32, .n_expert_used = 8, .granite = true},
    {0},
};

const struct shape *shape_all(void) {
    return shapes;
}

const struct shape *shape_by_name(const char *name) {
    for (const struct shape *s = shapes; s->name; s++)
        if (strcmp(s->name, name) == 0) return s;
    return NULL;
}

/* ---- tensors ---- */

struct list {
    struct shape_tensor *t;
    int n;
};

static struct shape_tensor *add(struct list *l, int layer, const char *name, enum fill fill) {
    struct shape_tensor *t = &l->t[l->n++];
    if (layer < 0)
        snprintf(t->name, sizeof t->name, "%s", name);
    else
        snprintf(t->name, sizeof t->name, "blk.%d.%s", layer, name);
    t->fill = fill;
    return t;
}

static void add_vector(struct list *l, int layer, const char *name, int n, enum fill fill) {
    struct shape_tensor *t = add(l, layer, name, fill);
    t->n_dim = 1;
    t->ne[0] = n, t->ne[1] = t->ne[2] = 1;
    t->scale = 0.02f;
}

/* Deviation gain / sqrt(n_in): what goes in with size one comes out with size `gain`. */
static void add_matrix(struct list *l, int layer, const char *name, int n_in, int n_out,
                       int n_expert, double gain) {
    struct shape_tensor *t = add(l, layer, name, FILL_WEIGHT);
    t->n_dim = n_expert ? 3 : 2;
    t->ne[0] = n_in, t->ne[1] = n_out, t->ne[2] = n_expert ? n_expert : 1;
    t->scale = (float)(gain / sqrt(n_in));
}

static void add_attention(struct list *l, const struct shape *s, int il, double residual) {
    const int n_q = s->n_head * s->head_dim, n_kv = s->n_kv_head * s->head_dim;
    add_vector(l, il, "attn_norm.weight", s->n_embd, FILL_NORM);
    if (s->fused) {
        add_matrix(l, il, "attn_qkv.weight", s->n_embd, n_q + 2 * n_kv, 0, 1);
    } else {
        add_matrix(l, il, "attn_q.weight", s->n_embd, n_q, 0, 1);
        add_matrix(l, il, "attn_k.weight", s->n_embd, n_kv, 0, 1);
        add_matrix(l, il, "attn_v.weight", s->n_embd, n_kv, 0, 1);
    }
    if (s->qkv_bias) {
        add_vector(l, il, "attn_q.bias", n_q, FILL_WEIGHT);
        add_vector(l, il, "attn_k.bias", n_kv, FILL_WEIGHT);
        add_vector(l, il, "attn_v.bias", n_kv, FILL_WEIGHT);
    }
    if (s->qk_norm) {
        const bool head = s->qk_norm == 1;
        add_vector(l, il, "attn_q_norm.weight", head ? s->head_dim : n_q, FILL_NORM);
        add_vector(l, il, "attn_k_norm.weight", head ? s->head_dim : n_kv, FILL_NORM);
    }
    add_matrix(l, il, "attn_output.weight", n_q, s->n_embd, 0, residual);
}

static void add_ffn(struct list *l, const struct shape *s, int il, double residual) {
    add_vector(l, il, "ffn_norm.weight", s->n_embd, FILL_NORM);
    if (s->n_expert) {
        add_matrix(l, il, "ffn_gate_inp.weight", s->n_embd, s->n_expert, 0, 1);
        add_matrix(l, il, "ffn_gate_exps.weight", s->n_embd, s->n_ff, s->n_expert, 1);
        add_matrix(l, il, "ffn_up_exps.weight", s->n_embd, s->n_ff, s->n_expert, 1);
        add_matrix(l, il, "ffn_down_exps.weight", s->n_ff, s->n_embd, s->n_expert, residual);
        return;
    }
    if (s->fused) {
        add_matrix(l, il, "ffn_up.weight", s->n_embd, 2 * s->n_ff, 0, 1);
    } else {
        add_matrix(l, il, "ffn_gate.weight", s->n_embd, s->n_ff, 0, 1);
        add_matrix(l, il, "ffn_up.weight", s->n_embd, s->n_ff, 0, 1);
    }
    add_matrix(l, il, "ffn_down.weight", s->n_ff, s->n_embd, 0, residual);
}

struct shape_tensor *shape_tensors(const struct shape *s, int *n) {
    const int most_outside = 6, most_of_layer = 15;
    struct list l = {0};
    /* The sum of 2 n_layer branches into the residual stream keeps size one. */
    const double residual = 1 / sqrt(2.0 * s->n_layer);
    l.t = calloc((size_t)(most_outside + most_of_layer * s->n_layer), sizeof *l.t);
    if (!l.t) return NULL;
    add_matrix(&l, -1, "token_embd.weight", s->n_embd, s->n_vocab, 0, 0.02 * sqrt(s->n_embd));
    if (!s->tied) add_matrix(&l, -1, "output.weight", s->n_embd, s->n_vocab, 0, 1);
    add_vector(&l, -1, "output_norm.weight", s->n_embd, FILL_NORM);
    if (s->llama3_factor > 0) add_vector(&l, -1, "rope_freqs.weight", s->head_dim / 2, FILL_LLAMA3);
    if (s->n_rot) {
        add_vector(&l, -1, "rope_factors_long.weight", s->n_rot / 2, FILL_RAMP);
        add_vector(&l, -1, "rope_factors_short.weight", s->n_rot / 2, FILL_ONES);
    }
    for (int il = 0; il < s->n_layer; il++) {
        add_attention(&l, s, il, residual);
        add_ffn(&l, s, il, residual);
    }
    *n = l.n;
    return l.t;
}

double shape_n_param(const struct shape *s) {
    int n;
    double sum = 0;
    struct shape_tensor *t = shape_tensors(s, &n);
    for (int i = 0; t && i < n; i++)
        sum += (double)t[i].ne[0] * (double)t[i].ne[1] * (double)t[i].ne[2];
    free(t);
    return sum;
}

/* Wavelengths over 8192 / 1 are divided by the factor, those under 8192 / 4 are kept, between them
 * the divisor moves smoothly (Llama 3.1's published code). */
void shape_llama3_divisors(const struct shape *s, float *out, int n) {
    const double trained = 8192, low = 1, high = 4;
    for (int i = 0; i < n; i++) {
        const double turns = trained * pow((double)s->theta, -(double)i / n) / (2 * acos(-1.0));
        const double blend = (turns - low) / (high - low);
        double d = 1 / ((1 - blend) / (double)s->llama3_factor + blend);
        if (turns > high) d = 1;
        if (turns < low) d = (double)s->llama3_factor;
        out[i] = (float)d;
    }
}

/* ---- keys ---- */

struct keys {
    const struct shape *s;
    struct gguf_writer *w;
    struct err *e;
    int rc; /* -1 once one failed */
};

static void put_int(struct keys *k, const char *name, int v) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", k->s->arch, name);
    if (k->rc == 0) k->rc = gguf_set_u32(k->w, key, (uint32_t)v, k->e);
}

static void put_num(struct keys *k, const char *name, float v) {
    char key[128];
    snprintf(key, sizeof key, "%s.%s", k->s->arch, name);
    if (k->rc == 0) k->rc = gguf_set_f32(k->w, key, v, k->e);
}

int shape_set_keys(const struct shape *s, struct gguf_writer *w, struct err *e) {
    struct keys k = {s, w, e, 0};
    put_int(&k, "block_count", s->n_layer);
    put_int(&k, "context_length", s->n_ctx);
    put_int(&k, "embedding_length", s->n_embd);
    put_int(&k, "feed_forward_length", s->n_ff);
    put_int(&k, "attention.head_count", s->n_head);
    put_int(&k, "attention.head_count_kv", s->n_kv_head);
    put_int(&k, "attention.key_length", s->head_dim);
    put_int(&k, "attention.value_length", s->head_dim);
    put_num(&k, "attention.layer_norm_rms_epsilon", s->eps);
    put_int(&k, "rope.dimension_count", s->n_rot ? s->n_rot : s->head_dim);
    put_num(&k, "rope.freq_base", s->theta);
    put_int(&k, "vocab_size", s->n_vocab);
    if (s->n_rot) {
        put_int(&k, "rope.scaling.original_context_length", 4096);
        put_num(&k, "rope.scaling.attn_factor", 1.19f);
        put_int(&k, "attention.sliding_window", 262144);
    }
    if (s->n_expert) {
        put_int(&k, "expert_count", s->n_expert);
        put_int(&k, "expert_used_count", s->n_expert_used);
        put_int(&k, "expert_feed_forward_length", s->n_ff);
    }
    if (s->granite) {
        put_num(&k, "attention.scale", 0.015625f);
        put_num(&k, "embedding_scale", 12);
        put_num(&k, "residual_scale", 0.22f);
        put_num(&k, "logit_scale", 6);
    }
    return k.rc;
}
