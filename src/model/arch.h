/* Architectures: each is a descriptor that lists its differences from the default decoder, which
 * is Llama's: RMS norm before each half, gated feed-forward, causal attention over everything. */
#pragma once

#include "model/hparams.h"

/* Where the norms of a layer stand. */
enum arch_norms {
    NORMS_BEFORE, /* attn_norm, ffn_norm; with hparams.parallel ffn_norm may be missing */
    NORMS_SHARED, /* attn_norm feeds both halves, in parallel (attn_norm_2: attention's own) */
    NORMS_AFTER,  /* post_attention_norm, post_ffw_norm on the branches only */
    NORMS_BOTH,   /* before and on the branches */
    NORMS_OUTER,  /* attn_output_norm (attn_norm_2), layer_output_norm on sums: encoders */
    NORMS_FREE,   /* before each half, without weights */
};

enum arch_ffn { FFN_GLU, FFN_MLP };

struct arch {
    const char *name; /* general.architecture */
    enum rope_kind rope;
    enum norm_kind norm; /* NORM_NONE stands for NORM_RMS */
    enum arch_norms norms;
    enum arch_ffn ffn;
    enum act act;       /* ACT_NONE stands for ACT_SILU */
    bool embed_sqrt;    /* embeddings times sqrt(n_embd) */
    bool encoder;       /* embeddings out; sees both ways */
    bool positions;     /* a learned position table is part of it */
    bool untied;        /* output.weight must be there; else token_embd may stand in for it */
    bool expert_renorm; /* chosen experts' weights sum to 1, when the file does not say */
    enum gate gate;
    /* Keys with a general name that only some models' files mean: others ignore them, as the
     * reference does. */
    bool scale_keys;  /* attention.scale, embedding_scale, residual_scale, logit_scale */
    bool router_keys; /* expert_gating_func, expert_weights_norm, expert_weights_scale */
    /* Sliding windows: layers il % period != period - 1 see `attention.sliding_window` positions.
     * period 0: the key, where present, is ignored, as the reference does. */
    struct {
        int period;
        int size;        /* when the file does not say; 0: no windows; -1: the file must say */
        float rope_base; /* of windowed layers when the file does not say; 0: like the others */
        bool rope_plain; /* windowed layers ignore context extension */
        bool rope_only;  /* layers that see all do not rotate */
    } window;
    int no_rope_period;   /* layers il % p == p - 1 do not rotate; 0: all do */
    const char *ffn_norm; /* another name for "ffn_norm" */

    /* Last word on h; may be NULL. */
    int (*adjust)(struct hparams *h, const struct gguf *g, struct err *e);
};

/* All of them, sorted by name; ends with NULL. */
extern const struct arch *const arch_table[];

/* By name, or NULL with ERR_UNSUPPORTED that lists what there is. */
const struct arch *arch_find(struct str name, struct err *e);
