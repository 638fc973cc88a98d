/* The shapes of published models: dimensions, metadata, names of tensors. */
#pragma once

#include "gguf/write.h"

/* Dimensions as in the model's published configuration; what is 0 the model does not have. */
struct shape {
    const char *name, *arch;
    const char *vocab; /* NAME of ggml-vocab-NAME.gguf, the vocabulary that belongs to it */
    int n_embd, n_layer, n_head, n_kv_head, head_dim, n_ff, n_vocab, n_ctx;
    float theta, eps;
    bool tied; /* the embedding is the output matrix, too */
    bool qkv_bias;
    bool fused;          /* Q, K and V in one matrix, gate and up in another */
    int qk_norm;         /* 0 none, 1 for a head, 2 over all heads */
    int n_rot;           /* rotated dimensions of a head; 0: all */
    float llama3_factor; /* divisor of the lowest RoPE frequencies */
    int n_expert, n_expert_used;
    bool granite; /* the multipliers of Granite */
};

/* How a tensor's values are made. */
enum fill {
    FILL_WEIGHT, /* normal, deviation `scale` */
    FILL_NORM,   /* normal around 1 */
    FILL_LLAMA3, /* divisors of Llama 3's RoPE */
    FILL_RAMP,   /* 1..32, as long-context factors go */
    FILL_ONES,
    FILL_COPY, /* copier.h */
};

struct shape_tensor {
    char name[64];
    int n_dim;
    int64_t ne[3];
    enum fill fill;
    float scale;
};

/* All shapes; ended by one without a name. */
const struct shape *shape_all(void);
const struct shape *shape_by_name(const char *name); /* or NULL */

/* The tensors in the order of the file: owned by the caller, free(); NULL when out of memory. */
struct shape_tensor *shape_tensors(const struct shape *s, int *n);

/* Values in all tensors. */
double shape_n_param(const struct shape *s);

/* The keys that describe the model, vocabulary aside. */
int shape_set_keys(const struct shape *s, struct gguf_writer *w, struct err *e);

/* The [n] divisors of Llama 3's RoPE (FILL_LLAMA3). */
void shape_llama3_divisors(const struct shape *s, float *out, int n);
