/* A model and what is trained in it: losses and gradients of batches.
 *
 *     batch -> embed -> layers -> final rows -> head and cross-entropy -> losses
 *                  gradients  <-  layers, last to first  <-  head
 *
 * The forward is model/'s own, run on an op table (train/tape_ops.c) that computes in floats and
 * writes down what it did; the backward walks that tape from its end, op by op.  So every decoder
 * that model/ runs can be trained.  One thread at a time. */
#pragma once

#include "base/team.h"
#include "gguf/read.h"
#include "train/batch.h"
#include "train/gemm.h"
#include "train/lora.h"

struct grad_opts {
    const struct lora_opts *lora; /* NULL: all weights, which must be F32 or are made so */
    int max_rows;                 /* tokens in a batch */
    int max_seq_rows;             /* of one sequence; 0: max_rows */
    int kept_layers; /* of this many layers, the last ones, activations are kept; the others are
                      * computed again in the backward.  -1: all */
    enum gemm_prec prec;
    /* Full training: the type that a tensor is rounded to in the forward, QT_F32: none.  NULL: none
     * are. */
    enum qtype (*fake)(void *ctx, const char *tensor);
    void *fake_ctx;
};

struct grad;

/* g is borrowed until grad_free.  For LoRA its weights stay where they are; full training copies
 * the tensors.  Encoders, and models with parts that have no gradient here, are ERR_UNSUPPORTED. */
struct grad *grad_new(struct team *t, const struct gguf *g, const struct grad_opts *o,
                      struct err *e);
void grad_free(struct grad *g);

struct params *grad_params(struct grad *g); /* of LoRA not yet initialized (all zero) */
const struct model *grad_model(const struct grad *g);

/* After params.w has changed, by optim_step() as well: the model sees it. */
void grad_refresh(struct grad *g);

/* nll[i] = -log softmax(logits[i])[label[i]] of the batch's rows, 0 where there is no label; base:
 * without the adapter.  ERR_LIMIT: more rows than the options said; ERR_FORMAT: a token or a label
 * that the model has not. */
int grad_eval(struct grad *g, const struct batch *b, bool base, double *nll, struct err *e);

/* The same, and params.grad += d/dw of the sum over i of coef[i] * nll[i]. */
int grad_run(struct grad *g, const struct batch *b, const float *coef, double *nll, struct err *e);

/* Memory that this will need besides the file's pages: known before, from hyper-parameters. */
struct grad_need {
    uint64_t weights;     /* the file, as far as it is read (mapped), or its copy in floats */
    uint64_t params;      /* four planes */
    uint64_t activations; /* workspace, gradients, tapes */
    uint64_t head;        /* logits of a chunk */
    uint64_t scratch;     /* of the team */
};
int grad_need(const struct gguf *g, const struct grad_opts *o, int n_thread, struct grad_need *out,
              struct err *e);

/* What decides which inputs of adapters are dropped in the next runs. */
void grad_set_seed(struct grad *g, uint64_t seed);

/* For tests and `debug train`: called by one thread between ops of a forward, as forward_tap. */
typedef void grad_tap(void *ctx, const char *name, int il, const float *x, int n, int n_col,
                      int ld);
void grad_set_tap(struct grad *g, grad_tap *tap, void *ctx);
