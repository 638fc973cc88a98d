/* A model and its training, in pieces: what grad.c drives, grad_new.c puts together, grad_full.c
 * copies and rounds.  Internal to train/. */
#pragma once

#include "model/forward.h"
#include "model/weights.h"
#include "train/grad.h"
#include "train/head.h"
#include "train/tape.h"

struct grad {
    struct team *team; /* borrowed */
    struct grad_opts o;
    struct lora_opts lora;
    bool full;
    struct model *m;
    struct forward *f;
    struct params p;
    struct train_ctx ctx;

    /* Full training: the file in memory of our own, whose tensors follow the parameters.  NULL when
     * only the need is asked for: then the model reads the file itself. */
    uint8_t *copy;
    size_t copy_bytes;
    struct gguf *copy_gguf;
    const struct gguf *source; /* of the model's weights: the copy, or the file */
    float **model_at;          /* [n_param] the tensor of a parameter, as the model reads it */
    enum qtype *fake;          /* [n_param] what it is rounded to; QT_F32: nothing */

    /* Adapters: pairs that point into the parameters. */
    struct lora_pair *pair; /* [n_linear] */
    struct adapter adapter;

    struct grad_range *range;
    int first_layer; /* no gradient is needed below: the lowest layer with an adapter, or 0 */
    int first_kept;  /* from here on activations are kept */

    struct tape *tape; /* [n_layer + 2]: of layers, the embedding, the end */
    struct tape live;  /* of the layer that is computed again */
    uint8_t *mem;      /* of tapes, gradients and everything below; reserved */
    size_t mem_bytes;
    float *input; /* [first_kept - first_layer][max_rows][n_embd]: x before those layers */
    float *logits;
    int chunk;

    /* The batch of this run. */
    const struct batch *b;
    const float *coef; /* NULL: no gradients */
    double *nll;
    int32_t *row; /* [max_rows] rows with a label */
    int n_row;
    grad_tap *tap;
    void *tap_ctx;
};

/* grad_new.c: everything but the memory of activations, whose size is known then.  measure: that is
 * all it is for, so nothing of the file is copied and nothing can be run. */
struct grad *grad_prepare(struct team *t, const struct gguf *file, const struct grad_opts *o,
                          bool measure, struct err *e);

/* grad_full.c */

/* ERR_UNSUPPORTED: several files, or a weight that is not F32. */
int grad_check_file(const struct gguf *file, struct err *e);
/* A private copy of a file with writable tensors, into g->copy*. */
int grad_copy_file(struct grad *g, const struct gguf *from, struct err *e);

/* Parameters for the tensors of g->source. */
int grad_declare_full(struct grad *g, struct err *e);
/* The parameters' first values: the file's. */
void grad_load_full(struct grad *g);
void grad_fini_full(struct grad *g);
