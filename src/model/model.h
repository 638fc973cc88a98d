/* A model: hyper-parameters and bound weights.  Immutable after open, so that any number of
 * sequences and threads may share it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "backend/ops.h"
#include "base/err.h"
#include "gguf/read.h"

struct model;

/* Bind the tensors of g for the kernels of ops.  g is borrowed and must outlive the model.
 * An unknown architecture is ERR_UNSUPPORTED and lists the known ones; a missing, misshapen or
 * out-of-range key or tensor is ERR_FORMAT naming it. */
struct model *model_open(const struct gguf *g, const struct ops *ops, struct err *e);
void model_free(struct model *m);

struct hparams;
const struct hparams *model_hparams(const struct model *m); /* model/hparams.h */
const char *model_arch(const struct model *m);              /* "llama", "qwen2"... */
bool model_is_embedding(const struct model *m); /* bert and its kin: no logits, rows instead */
int model_pooling(const struct model *m); /* pooling_type: 0 none, 1 mean, 2 first token, 3 last, 4
                                           * rank; -1: the file says nothing */
int model_n_vocab(const struct model *m); /* rows of the head */
int model_n_embd(const struct model *m);
int model_n_layer(const struct model *m);
int model_n_ctx_train(const struct model *m);
bool model_positions_end(
    const struct model *m); /* learned ones (GPT-2, BERT): n_ctx_train of them */
size_t model_weight_bytes(const struct model *m);    /* read for one token: all but the embedding
                                                      * table (unless tied), routed experts only */
double model_flops_per_token(const struct model *m); /* 2 x parameters used; attention apart */
/* The head's part in these two: a prompt needs it for its last token only.  0 without one. */
size_t model_head_bytes(const struct model *m);
double model_head_flops(const struct model *m);

/* Architectures this build runs, NULL-terminated, sorted. */
const char *const *model_arch_names(void);

/* Load a LoRA adapter file for m; scale multiplies alpha / rank.  Checks names and shapes.
 * The result keeps its own mapping of the file. */
struct model_adapter;
struct model_adapter *model_adapter_open(const struct model *m, const char *path, float scale,
                                         struct err *e);
/* The same of an opened file, which is the adapter's from now on, also after a failure. */
struct model_adapter *model_adapter_take(const struct model *m, struct gguf *file, float scale,
                                         struct err *e);
const struct adapter *model_adapter_get(const struct model_adapter *a);
const struct gguf *model_adapter_gguf(const struct model_adapter *a);
void model_adapter_free(struct model_adapter *a);
