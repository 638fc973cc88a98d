/* Weights as the back ends see them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/qtype.h"

/* A row-major matrix in its file format: row r starts at data + r * row_bytes.  Borrowed: the
 * bytes live in the mapped file (or the model's arena). */
struct mat {
    const uint8_t *data;
    enum qtype type;
    int n_row, n_col; /* outputs, inputs: y[n_row] = W x[n_col] */
    size_t row_bytes;
};

/* A low-rank update of one linear: y += scale * B (A x). */
struct lora_pair {
    struct mat a; /* [rank][n_in]; a.data NULL when the adapter leaves this linear alone */
    struct mat b; /* [n_out][rank] */
    float scale;
};

/* A set of updates, one per linear of the model. */
struct adapter {
    const struct lora_pair *pair; /* [n_linear], indexed by linear.id */
    int max_rank;
};

/* A linear map, or a stack of them (experts; heads of latent attention) of equal shape. */
struct linear {
    struct mat w; /* of map 0; map i is mat_bytes * i further on */
    int n_mat;    /* 1, or the number of experts or heads */
    size_t mat_bytes;
    const float *bias;  /* [n_mat][n_row] or NULL */
    const float *scale; /* [n_mat] output scale (NVFP4 files) or NULL */
    int id;             /* index into adapter.pair; -1: takes no adapter */
};

enum norm_kind { NORM_NONE, NORM_RMS, NORM_LAYER };

/* y = w * x / rms(x)  or  y = w * (x - mean) / sd + b, over groups of `dim` values: the row, or
 * each head of it. */
struct norm {
    enum norm_kind kind;
    int dim;        /* values a group; divides the row length */
    int n_weight;   /* values of w: dim, or the row length when each group has its own */
    const float *w; /* [n_weight], or NULL for ones */
    const float *b; /* [n_weight] or NULL */
    float eps;
};

enum act { ACT_NONE, ACT_SILU, ACT_GELU, ACT_GELU_ERF, ACT_RELU, ACT_RELU2, ACT_SWIGLU_OAI };
