/* A model to train from scratch: a llama-architecture file (arXiv:2302.13971) with random weights,
 * its tokenizer and chat template inside.  It runs at once; what it says is noise. */
#pragma once

#include "gguf/read.h"
#include "train/bpe_train.h"

/* Zeros are the defaults, which scratch_shape_fill() puts in. */
struct scratch_shape {
    int n_embd;    /* 256 */
    int n_layer;   /* 6 */
    int n_head;    /* n_embd / 64, at least 1; n_embd / n_head must be whole and even */
    int n_kv_head; /* n_head, which it must divide */
    int n_ff;      /* 8/3 n_embd, up to a multiple of 256 (of 32 for a small n_embd), so that rows
                    * fill the blocks of the quantized types */
    int n_ctx;     /* 1024 */
    bool untied;   /* an output matrix of its own instead of the embedding's */
    double rope_base; /* 10000 */
};

/* Defaults, and bounds: ERR_USAGE names the field, what it is and what is accepted. */
int scratch_shape_fill(struct scratch_shape *s, struct err *e);

/* Values in all tensors of a filled shape. */
uint64_t scratch_n_param(const struct scratch_shape *s, int n_vocab);

struct scratch_opts {
    struct scratch_shape shape; /* filled */
    const char *name;           /* general.name */
    uint64_t seed;
    const struct bpe_tokens *learnt; /* the tokenizer; or: */
    const struct gguf *tokenizer;    /* a file whose tokenizer.* keys are copied */
    bool hollow; /* only shapes: all weights read as zeros and take no room on the disk */
};

/* Tokens of the file's tokenizer.  ERR_FORMAT: it has none that this build reads. */
int scratch_n_vocab(const struct gguf *tokenizer, int *n, struct err *e);

/* Write PATH, all of it F32.  Matrices are normal with deviation 0.02, those that add to the
 * residual stream with 0.02 / sqrt(2 n_layer) (GPT-2, Radford et al. 2019, 2.3), norms are 1.  A
 * tensor's values depend on the seed, its name and shape alone. */
int scratch_write(const char *path, const struct scratch_opts *o, struct err *e);
