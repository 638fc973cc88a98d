/* The head and the cross-entropy, some rows at a time: logits of all rows together would be larger
 * than the model (2,048 rows of 128,256 floats: 1 GB).
 *
 *   logits = cap(scale (W x + b)),  nll = log sum exp(logits) - logits[label]
 *   dlogits = coef (softmax(logits) - one at the label)   ->   dx += W^T dlogits,  dW, db  */
#pragma once

#include "model/weights.h"
#include "train/grad.h"
#include "train/tape.h"

struct head_job {
    const struct model *m;
    float *x;             /* [rows][n_embd], after the last norm, in the workspace */
    const int32_t *row;   /* [n] the rows of x that count */
    const int32_t *label; /* [rows of x]; -1: none, nll 0 */
    const float *coef;    /* [rows of x] of nll in what is differentiated; NULL: no gradients */
    int n;
    float *logits; /* [chunk][n_vocab] */
    int chunk;
    double *nll; /* [rows of x], written where row says */
    grad_tap *tap;
    void *tap_ctx; /* il is the first row: row[i] = i then */
};

/* SPMD; ends with a barrier. */
void head_loss(struct worker *w, const struct head_job *j);

/* Rows of a chunk for a vocabulary: about 68 MB of logits at most. */
int head_chunk(int n_vocab);
