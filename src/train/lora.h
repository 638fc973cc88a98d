/* Low-rank adapters as parameters (LoRA, arXiv:2106.09685): y += scale B (A x), A [rank][in],
 * B [out][rank], scale = alpha / rank, or alpha / sqrt(rank) when stabilized (arXiv:2312.03732). */
#pragma once

#include "model/model.h"
#include "train/params.h"
#include "train/rng.h"

/* The linears of a layer that can be chosen; in GGUF files attn_q, attn_k, attn_v, attn_output,
 * ffn_gate, ffn_up, ffn_down.  Fused ones (attn_qkv, ffn_up of Phi-3) belong to each of theirs. */
enum {
    LORA_Q = 1,
    LORA_K = 2,
    LORA_V = 4,
    LORA_O = 8,
    LORA_GATE = 16,
    LORA_UP = 32,
    LORA_DOWN = 64,
    LORA_ALL = 127,
};

struct lora_opts {
    int rank;                   /* 0 stands for 16; 1..512 */
    float alpha;                /* 0 stands for 2 * rank */
    bool stabilized;            /* rsLoRA */
    float dropout;              /* of the adapter's input; 0..0.9 */
    int targets;                /* of LORA_*; 0 stands for LORA_ALL */
    const char *const *tensors; /* [n_tensors] exactly these weights, not by target and layer */
    int n_tensors;
    int last_layers; /* adapters in the last n layers only; 0: all */
};

/* "all" or names like "q,v" or "attn_q,ffn_down" or "q_proj,v_proj", commas or blanks between. */
int lora_parse_targets(const char *text, int *targets, struct err *e);
float lora_scale(const struct lora_opts *o);

/* What the file's key adapter.lora.alpha must say, as its readers divide by the rank. */
float lora_file_alpha(const struct lora_opts *o);

/* Declare A and B of every chosen linear of m, in the order of layers; ERR_UNSUPPORTED when none is
 * left.  "blk.0.attn_q.weight.lora_a" with ne [in, rank], ".lora_b" with ne [rank, out]. */
int lora_declare(struct params *p, const struct model *m, const struct lora_opts *o, struct err *e);

/* A uniform within +-1/sqrt(in) (Kaiming, a = sqrt 5), B zero: the model as it was. */
void lora_init(struct params *p, struct rng *r);
