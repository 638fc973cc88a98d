/* The products of training: many rows of floats times a matrix in its file format, decoded panel by
 * panel.  Every worker of a team calls with the same job and makes its share of the output; there
 * is no barrier inside and none at the end.  Scratch: gemm_scratch_bytes() of each worker, from
 * w->scratch on.
 *
 * An element of the output is summed by one worker in an order that depends on the length of the
 * sum alone: the bits are the same for every number of rows, of threads and of maps beside it. */
#pragma once

#include "backend/mat.h"
#include "base/team.h"

enum gemm_prec {
    GEMM_F32,  /* float operands, float sums */
    GEMM_BF16, /* operands rounded to bfloat16, float sums: where the processor has dot products of
                * them (gemm_has_bf16); otherwise the same as GEMM_F32 */
};

struct gemm_job {
    const float *x; /* row t of the work is row t, or row x_row[t], of x */
    int ldx;
    const int32_t *x_row; /* [n] or NULL */
    const struct mat *w;  /* any type the codecs read */
    float *y;             /* likewise */
    int ldy;
    const int32_t *y_row; /* [n] or NULL; no row twice */
    int n;                /* rows; may be 0 */
    float scale;          /* of the product */
    const float *bias;    /* gemm_forward: added to each row; or NULL */
    bool add;             /* to what y holds */
    enum gemm_prec prec;
};

/* y[t][o] (+)= scale * sum over i of x[t][i] w[o][i] (+ bias[o]):  x [n][n_col], y [n][n_row]. */
void gemm_forward(struct worker *w, const struct gemm_job *j);

/* y[t][i] (+)= scale * sum over o of x[t][o] w[o][i]:  x [n][n_row], y [n][n_col].  The gradient of
 * the input from that of the output. */
void gemm_backward(struct worker *w, const struct gemm_job *j);

/* g[o][i] += scale * sum over t of dy[t][o] x[t][i]: the gradient of a float matrix g
 * [n_row][n_col], dense rows.  Here the sum's order depends on n alone. */
struct gemm_weight_job {
    const float *dy; /* [n][n_row] by dy_row or in order */
    int lddy;
    const int32_t *dy_row; /* [n] or NULL */
    const float *x;        /* [n][n_col] */
    int ldx;
    const int32_t *x_row; /* [n] or NULL */
    int n, n_row, n_col;
    float *g;
    float scale;
    enum gemm_prec prec;
};
void gemm_weight(struct worker *w, const struct gemm_weight_job *j);

size_t gemm_scratch_bytes(void); /* of one worker */
bool gemm_has_bf16(void);
