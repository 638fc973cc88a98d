/* A model as the forward sees it: every weight bound to its place.  Internal to model/. */
#pragma once

#include "base/arena.h"
#include "model/arch.h"
#include "model/hparams.h"
#include "model/model.h"

struct attn_weights {
    struct linear q, k, v, o;
    struct norm q_norm, k_norm; /* kind NORM_NONE: none */
    const float *sink;          /* [n_head] or NULL */
};

/* Latent attention, absorbed: q of head h is taken into the latent space by k_b, the result out of
 * it by v_b, and the cache holds one latent row (and one rotated key) per token for all heads. */
struct mla_weights {
    struct linear q;            /* [n_head * k_dim][n_embd or q_rank] */
    struct linear q_a, kv_a, o; /* q_a.w.data NULL: q is projected directly */
    struct norm q_a_norm, kv_a_norm;
    struct linear k_b; /* n_head maps [kv_rank][k_dim - n_rot] */
    struct linear v_b; /* n_head maps [v_dim][kv_rank] */
};

struct ffn_weights {
    struct linear gate, up, down; /* gate.w.data NULL: a plain MLP */
};

struct moe_weights {
    struct linear router;         /* [n_expert][n_embd] */
    const float *select_bias;     /* [n_expert] or NULL */
    struct linear gate, up, down; /* n_expert maps each */
    struct ffn_weights shared;    /* up.w.data NULL: no shared expert */
    struct linear shared_gate;    /* [1][n_embd]; data NULL: none */
};

struct pass;
struct layer;

/* Token mixing or feed-forward: x += f(x), run by every worker. */
typedef void layer_fn(struct worker *w, struct pass *p, const struct layer *l);

struct layer {
    int il;
    const struct layer_hparams *hp;
    const struct ops *op;
    layer_fn *mix, *ffn_step;
    struct norm attn_norm, ffn_norm;           /* before; kind NORM_NONE: none */
    struct norm attn_post_norm, ffn_post_norm; /* on the branch, before the addition */
    struct norm attn_out_norm, ffn_out_norm;   /* on x, after the addition */
    struct norm attn_again_norm;               /* after adding the layer's input once more */
    bool parallel, shared_norm;                /* shared: attn_norm serves both halves */
    struct attn_weights attn;
    struct mla_weights mla;
    struct ffn_weights ffn;
    struct moe_weights moe;
};

/* Where a linear came from: LoRA files name tensors. */
struct linear_origin {
    const char *name; /* "blk.0.attn_q.weight", in the arena */
    struct linear *l;
    int row0, n_row_all; /* its rows in the tensor: fused projections are cut in ranges */
};

struct model {
    struct arena arena;
    const struct gguf *g; /* borrowed */
    const struct arch *arch;
    const struct ops *ops;
    struct hparams hp;
    struct mat embed, pos_embed, type_embed; /* data NULL: none */
    struct norm embed_norm, out_norm;
    struct linear head;
    const float *rope_divisor;           /* [n_rot/2] or NULL: the same for all contexts */
    const float *rope_long, *rope_short; /* [n_rot/2] or NULL: by context size */
    const float *alibi;                  /* [n_head] or NULL */
    struct layer *layer;                 /* [n_layer] */
    struct linear_origin *linear;        /* [n_linear], by id */
    int n_linear, cap_linear;
    bool *used;          /* [gguf_n_tensor(g)] the tensors that it reads; in the arena */
    size_t weight_bytes; /* read for one token */
    double weights_used; /* parameters multiplied for one token */
};

/* bind.c: fill m from its file.  m->hp is read already. */
int model_bind(struct model *m, struct err *e);

/* The layers' functions. */
layer_fn mix_attn, mix_mla, ffn_dense, ffn_moe;
