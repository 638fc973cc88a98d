/* Making toy models and writing them as GGUF. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf/write.h"
#include "support.h"
#include "toy_weights.h"

static double uniform(uint64_t *s) { /* splitmix64 */
    uint64_t z = (*s += 0x9e3779b97f4a7c15u);
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1p-53;
}

/* A tensor with values around `mean`; spread falls with the row length, as in real weights. */
static void add(struct toy_model *m, double mean, double spread, int ne0, int ne1, int ne2,
                const char *fmt, int il) {
    if (m->n_w == m->cap_w) m->w = realloc(m->w, sizeof *m->w * (size_t)(m->cap_w += 64));
    struct tensor *t = &m->w[m->n_w++];
    memset(t, 0, sizeof *t);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(t->name, sizeof t->name, fmt, il);
#pragma GCC diagnostic pop
    t->n_dim = ne2 ? 3 : ne1 ? 2 : 1;
    t->ne[0] = ne0, t->ne[1] = ne1 ? ne1 : 1, t->ne[2] = ne2 ? ne2 : 1;
    const size_t n = (size_t)t->ne[0] * (size_t)t->ne[1] * (size_t)t->ne[2];
    t->v = malloc(n * sizeof *t->v);
    for (size_t i = 0; i < n; i++)
        t->v[i] = (float)(mean + spread * (2 * uniform(&m->seed) - 1));
}

static void add_linear(struct toy_model *m, const char *name, int il, int out, int in, int n_mat,
                       bool bias) {
    char full[64];
    snprintf(full, sizeof full, "%s%s.weight", il < 0 ? "" : "blk.%d.", name);
    add(m, 0, 3.0 / sqrt(in), in, out, n_mat, full, il);
    snprintf(full, sizeof full, "%s%s.bias", il < 0 ? "" : "blk.%d.", name);
    if (bias) add(m, 0, 0.4, out, n_mat, 0, full, il);
}

static void add_norm(struct toy_model *m, const char *name, int il, int n, int n_head) {
    char full[64];
    snprintf(full, sizeof full, "%s%s.weight", il < 0 ? "" : "blk.%d.", name);
    add(m, 1, 0.3, n, n_head, 0, full, il);
    snprintf(full, sizeof full, "%s%s.bias", il < 0 ? "" : "blk.%d.", name);
    if (m->t.norm_bias) add(m, 0, 0.2, n, n_head, 0, full, il);
}

static void defaults(struct toy *t) {
    if (!t->n_layer) t->n_layer = 3;
    if (!t->n_embd) t->n_embd = 48;
    if (!t->n_head) t->n_head = 4;
    if (!t->n_kv) t->n_kv = 2;
    if (!t->head_dim) t->head_dim = t->n_embd / t->n_head;
    if (!t->v_dim) t->v_dim = t->head_dim;
    if (!t->n_rot) t->n_rot = t->head_dim;
    if (!t->n_ff) t->n_ff = 80;
    if (t->embed_scale == 0) t->embed_scale = 1;
    if (t->residual_scale == 0) t->residual_scale = 1;
    if (t->logit_mul == 0) t->logit_mul = 1;
    if (t->attn_scale == 0) t->attn_scale = 1 / sqrt(t->head_dim);
    if (t->expert_scale == 0) t->expert_scale = 1;
    if (t->yarn == 0) t->yarn = 1;
}

static void add_attention(struct toy_model *m, int il) {
    const struct toy *t = &m->t;
    const int d = t->head_dim, n_q = t->n_head * d, n_k = t->n_kv * d;
    if (t->kv_rank) {
        const int plain = d - t->n_rot;
        if (t->q_rank) {
            add_linear(m, "attn_q_a", il, t->q_rank, t->n_embd, 0, false);
            add_norm(m, "attn_q_a_norm", il, t->q_rank, 0);
        }
        add_linear(m, t->q_rank ? "attn_q_b" : "attn_q", il, n_q, t->q_rank ? t->q_rank : t->n_embd,
                   0, false);
        add_linear(m, "attn_kv_a_mqa", il, t->kv_rank + t->n_rot, t->n_embd, 0, false);
        add_norm(m, "attn_kv_a_norm", il, t->kv_rank, 0);
        if (t->kv_b) {
            add_linear(m, "attn_kv_b", il, t->n_head * (plain + t->v_dim), t->kv_rank, 0, false);
        } else {
            add_linear(m, "attn_k_b", il, t->kv_rank, plain, t->n_head, false);
            add_linear(m, "attn_v_b", il, t->v_dim, t->kv_rank, t->n_head, false);
        }
    } else if (t->fused_qkv) {
        add_linear(m, "attn_qkv", il, n_q + 2 * n_k, t->n_embd, 0, t->qkv_bias);
    } else {
        add_linear(m, "attn_q", il, n_q, t->n_embd, 0, t->qkv_bias);
        add_linear(m, "attn_k", il, n_k, t->n_embd, 0, t->qkv_bias);
        add_linear(m, "attn_v", il, n_k, t->n_embd, 0, t->qkv_bias);
    }
    add_linear(m, "attn_output", il, t->n_embd, t->n_head * t->v_dim, 0, t->o_bias);
    if (t->qk_norm == TOY_QK_NONE) return;
    const int n = t->qk_norm == TOY_QK_ROW ? n_q : d, own = t->qk_norm == TOY_QK_OWN;
    add_norm(m, "attn_q_norm", il, n, own ? t->n_head : 0);
    add_norm(m, "attn_k_norm", il, t->qk_norm == TOY_QK_ROW ? n_k : d, own ? t->n_kv : 0);
}

static void add_ffn(struct toy_model *m, int il) {
    const struct toy *t = &m->t;
    if (t->n_expert && il >= t->n_dense) {
        add_linear(m, "ffn_gate_inp", il, t->n_expert, t->n_embd, 0, false);
        add_linear(m, "ffn_gate_exps", il, t->n_ff_exp, t->n_embd, t->n_expert, false);
        add_linear(m, "ffn_up_exps", il, t->n_ff_exp, t->n_embd, t->n_expert, false);
        add_linear(m, "ffn_down_exps", il, t->n_embd, t->n_ff_exp, t->n_expert, false);
        if (t->select_bias) add(m, 0, 0.3, t->n_expert, 0, 0, "blk.%d.exp_probs_b.bias", il);
        if (!t->n_ff_shared) return;
        add_linear(m, "ffn_gate_shexp", il, t->n_ff_shared, t->n_embd, 0, false);
        add_linear(m, "ffn_up_shexp", il, t->n_ff_shared, t->n_embd, 0, false);
        add_linear(m, "ffn_down_shexp", il, t->n_embd, t->n_ff_shared, 0, false);
        return;
    }
    if (!t->mlp && !t->fused_up) add_linear(m, "ffn_gate", il, t->n_ff, t->n_embd, 0, t->ffn_bias);
    add_linear(m, "ffn_up", il, t->fused_up ? 2 * t->n_ff : t->n_ff, t->n_embd, 0, t->ffn_bias);
    add_linear(m, "ffn_down", il, t->n_embd, t->n_ff, 0, t->ffn_bias);
}

static void add_layer(struct toy_model *m, int il) {
    const struct toy *t = &m->t;
    const enum toy_norms k = t->norms;
    const int n = t->n_embd;
    if (k <= TOY_PARALLEL || k == TOY_BOTH) add_norm(m, "attn_norm", il, n, 0);
    if (k == TOY_SHARED_TWO) add_norm(m, "attn_norm_2", il, n, 0);
    if (k == TOY_BEFORE || k == TOY_PARALLEL || k == TOY_BOTH) add_norm(m, "ffn_norm", il, n, 0);
    if (k == TOY_AFTER || k == TOY_BOTH) {
        add_norm(m, "post_attention_norm", il, n, 0);
        add_norm(m, "post_ffw_norm", il, n, 0);
    }
    if (k == TOY_OUTER_TWO) add_norm(m, "attn_norm_2", il, n, 0);
    if (k == TOY_OUTER || k == TOY_OUTER_TWO) {
        add_norm(m, "attn_output_norm", il, n, 0);
        add_norm(m, "layer_output_norm", il, n, 0);
    }
    add_attention(m, il);
    add_ffn(m, il);
}

struct toy_model *toy_new(const struct toy *t, uint64_t seed) {
    struct toy_model *m = calloc(1, sizeof *m);
    m->t = *t;
    m->seed = seed;
    defaults(&m->t);
    t = &m->t;
    add(m, 0, 1.5, t->n_embd, TOY_VOCAB, 0, "token_embd.weight", 0);
    if (t->positions) add(m, 0, 0.5, t->n_embd, TOY_CTX, 0, "position_embd.weight", 0);
    if (t->types) add(m, 0, 0.5, t->n_embd, 2, 0, "token_types.weight", 0);
    if (t->encoder) add_norm(m, "token_embd_norm", -1, t->n_embd, 0);
    for (int il = 0; il < t->n_layer; il++)
        add_layer(m, il);
    if (t->encoder) return m;
    if (t->norms != TOY_FREE) add_norm(m, "output_norm", -1, t->n_embd, 0);
    if (!t->tied) add_linear(m, "output", -1, TOY_VOCAB, t->n_embd, 0, t->head_bias);
    return m;
}

void toy_free(struct toy_model *m) {
    for (int i = 0; i < m->n_w; i++)
        free(m->w[i].v);
    free(m->w);
    free(m);
}

/* ---- the file ---- */

struct keys {
    struct gguf_writer *w;
    const char *arch;
    struct err e;
    bool failed;
};

static const char *full_key(const struct keys *k, const char *name, char buf[128]) {
    snprintf(buf, 128, "%s.%s", k->arch, name);
    return buf;
}

static void u32(struct keys *k, const char *name, int v) {
    char key[128];
    if (gguf_set_u32(k->w, full_key(k, name, key), (uint32_t)v, &k->e) != 0) k->failed = true;
}

static void f32(struct keys *k, const char *name, double v) {
    char key[128];
    if (gguf_set_f32(k->w, full_key(k, name, key), (float)v, &k->e) != 0) k->failed = true;
}

static void write_keys(struct keys *k, const struct toy *t) {
    char key[128];
    gguf_set_str(k->w, "general.architecture", str_of(t->arch), &k->e);
    u32(k, "block_count", t->n_layer), u32(k, "embedding_length", t->n_embd);
    u32(k, "context_length", TOY_CTX), u32(k, "feed_forward_length", t->n_ff);
    u32(k, "attention.head_count", t->n_head), u32(k, "attention.head_count_kv", t->n_kv);
    u32(k, "rope.dimension_count", t->n_rot);
    u32(k, "attention.key_length", t->head_dim), u32(k, "attention.value_length", t->v_dim);
    f32(k, t->layer_norm ? "attention.layer_norm_epsilon" : "attention.layer_norm_rms_epsilon",
        1e-5);
    if (t->window) u32(k, "attention.sliding_window", t->window);
    if (t->clamp > 0) f32(k, "attention.clamp_kqv", t->clamp);
    if (t->encoder) gguf_set_bool(k->w, full_key(k, "attention.causal", key), false, &k->e);
    if (t->n_expert) {
        u32(k, "expert_count", t->n_expert), u32(k, "expert_used_count", t->n_used);
        u32(k, "expert_feed_forward_length", t->n_ff_exp);
        if (t->n_ff_shared) u32(k, "expert_shared_feed_forward_length", t->n_ff_shared);
        if (t->n_dense) u32(k, "leading_dense_block_count", t->n_dense);
        if (t->n_group) u32(k, "expert_group_count", t->n_group);
        if (t->n_group) u32(k, "expert_group_used_count", t->n_group_used);
    }
    if (t->kv_rank) {
        u32(k, "attention.kv_lora_rank", t->kv_rank);
        if (t->q_rank) u32(k, "attention.q_lora_rank", t->q_rank);
        if (!t->kv_b) {
            u32(k, "attention.head_count_kv", 1);
            u32(k, "attention.key_length", t->kv_rank + t->n_rot);
            u32(k, "attention.value_length", t->kv_rank);
            u32(k, "attention.key_length_mla", t->head_dim);
            u32(k, "attention.value_length_mla", t->v_dim);
        }
        gguf_set_bool(k->w, full_key(k, "expert_weights_norm", key), t->renorm, &k->e);
        f32(k, "expert_weights_scale", t->expert_scale);
        u32(k, "expert_gating_func", t->sigmoid ? 2 : 1);
    }
    if (t->yarn > 1) {
        gguf_set_str(k->w, full_key(k, "rope.scaling.type", key), STR("yarn"), &k->e);
        f32(k, "rope.scaling.factor", t->yarn);
        u32(k, "rope.scaling.original_context_length", t->yarn_orig);
        if (t->yarn_log > 0) f32(k, "rope.scaling.yarn_log_multiplier", t->yarn_log);
    }
    for (const char *const *p = t->keys; p && *p; p++) {
        const char *eq = strchr(*p, '=');
        char name[96];
        snprintf(name, sizeof name, "%.*s", (int)(eq - *p), *p);
        if (eq[1] == 't' || eq[1] == 'f')
            gguf_set_bool(k->w, full_key(k, name, key), eq[1] == 't', &k->e);
        else
            f32(k, name, atof(eq + 1));
    }
}

int toy_n_tensor(const struct toy_model *m) {
    return m->n_w;
}

const char *toy_write_without(const struct toy_model *m, const char *path, int skip) {
    struct keys k = {.arch = m->t.arch};
    k.w = gguf_writer_new(path, 0, &k.e);
    if (!k.w) fail_msg("%s", k.e.msg);
    write_keys(&k, &m->t);
    for (int i = 0; i < m->n_w && !k.failed; i++) {
        const struct tensor *t = &m->w[i];
        const int64_t ne[3] = {t->ne[0], t->ne[1], t->ne[2]};
        if (i != skip) k.failed = gguf_add_tensor(k.w, t->name, QT_F32, t->n_dim, ne, &k.e) != 0;
    }
    for (int i = 0; i < m->n_w && !k.failed; i++) {
        const struct tensor *t = &m->w[i];
        const size_t n = (size_t)t->ne[0] * (size_t)t->ne[1] * (size_t)t->ne[2];
        if (i != skip) k.failed = gguf_write_data(k.w, t->v, n * sizeof *t->v, &k.e) != 0;
    }
    if (k.failed || gguf_writer_finish(k.w, &k.e) != 0) fail_msg("%s", k.e.msg);
    return skip >= 0 ? m->w[skip].name : NULL;
}

void toy_write(const struct toy_model *m, const char *path) {
    toy_write_without(m, path, -1);
}
