/* Hyper-parameters: what a file's metadata says about its model, validated at load, so that
 * nothing later divides by zero, indexes beyond a table or overflows (SECURITY.md F6, F7). */
#pragma once

#include <stdbool.h>

#include "backend/ops.h"
#include "base/err.h"
#include "gguf/read.h"

/* Ceilings on what a file may claim. */
enum {
    HP_MAX_LAYER = 512,
    HP_MAX_EMBD = 1 << 16,
    HP_MAX_FF = 1 << 20,
    HP_MAX_HEAD = 1024,
    HP_MAX_HEAD_DIM = 1024,
    HP_MAX_EXPERT = 1024,
    HP_MAX_USED = 64, /* experts per token */
    HP_MAX_CTX = 1 << 28,
    HP_ARCH_BYTES = 32,
};

/* Rotation angles: angle(i) = pos * base^(-2i/n_rot) / divisor[i], then scaled (rope.h). */
struct rope_params {
    float base;
    float factor;    /* context extension; 1: none */
    float ext;       /* 0: linear interpolation; 1: YaRN (arXiv:2309.00071) */
    float magnitude; /* cos and sin are multiplied by it */
    float beta_fast, beta_slow;
    int n_ctx_orig; /* context before the extension */
};

enum { ROPE_SETS = 2 }; /* 0: layers that see all; 1: windowed layers */

struct layer_hparams {
    int n_head, n_kv_head, n_ff;
    int window;   /* positions seen; 0: all */
    int rope_set; /* -1: this layer does not rotate */
    bool moe;
};

struct hparams {
    char arch[HP_ARCH_BYTES];
    int n_layer, n_embd, n_ctx_train;
    int n_vocab; /* rows of token_embd; set by the binder */

    enum norm_kind norm;
    float norm_eps;
    bool parallel; /* attention and feed-forward both start from the layer's input */

    int k_dim, v_dim; /* values of a head as projected */
    int n_rot;        /* rotated values of a head */
    enum rope_kind rope;
    struct rope_params rope_set[ROPE_SETS];
    bool causal;
    bool alibi;
    int pooling;                                    /* see model_pooling */
    float attn_scale;                               /* of q k */
    float attn_softcap, logit_softcap;              /* 0: none */
    float clamp_qkv;                                /* 0: none */
    float embed_scale, residual_scale, logit_scale; /* multipliers; 1 by default */

    /* Latent attention (DeepSeek-V2, arXiv:2405.04434); kv_rank 0: plain attention. */
    int q_rank, kv_rank; /* q_rank 0: q is projected directly */

    int n_expert, n_expert_used; /* 0: no experts */
    int n_ff_exp, n_ff_shared;   /* n_ff_shared 0: no shared expert */
    int n_dense_lead;            /* first layers without experts */
    enum gate gate;
    bool expert_renorm;
    float expert_scale;
    int n_group, n_group_used; /* 0: no groups */

    struct layer_hparams layer[HP_MAX_LAYER];
};

struct arch;

/* Read and check everything.  Errors name the key. */
int hparams_read(struct hparams *h, const struct arch *a, const struct gguf *g, struct err *e);

/* For adjust(): key NAME under the architecture's prefix ("granite.logit_scale"). 1 found, 0
 * absent, -1 wrong. */
int hparams_f32(const struct hparams *h, const struct gguf *g, const char *name, float *out,
                struct err *e);
int hparams_bool(const struct hparams *h, const struct gguf *g, const char *name, bool *out,
                 struct err *e);
