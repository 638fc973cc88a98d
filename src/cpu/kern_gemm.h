/* Kernels of products of many rows (train/gemm.c), beside kern_vec.mul_tile, which multiplies the
 * floats: the tile of bfloat16, and what brings operands into the order that tiles read. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "quant/quant.h"

struct kern_gemm {
    int strip; /* columns that the tiles of floats and bfloat16 take at once: 16, 32 or 64 */

    /* c (+)= a b of bfloat16, sums in float: a [n_row][n_pair][2], b [n_pair][n_col][2] with two
     * adjacent terms together, c [n_row][n_col]; n_col a multiple of 16, lda and ldb in pairs,
     * pairs aligned to 4 bytes.  An element's sum is made in ascending k, wherever it stands. */
    void (*mul_bf16)(int n_row, int n_col, int n_pair, const uint16_t *a, int lda,
                     const uint16_t *b, int ldb, float *c, int ldc, bool add);
    bool bf16; /* that is faster than kern_vec.mul_tile */

    /* Bit for bit as quant/ decodes; NULL for what is no weight type. */
    quant_decode_fn *decode[QT_COUNT];

    /* y[j][i] = x[i][j] for i < n_row, j < n_col: 32-bit units of any kind, moved as they are. */
    void (*transpose)(int n_row, int n_col, const void *x, int ldx, void *y, int ldy);

    /* Rounded to nearest even; values below 2^-126 may become 0. */
    void (*to_bf16)(int n, const float *x, uint16_t *y);
    /* y[2i] = x0[i], y[2i+1] = x1[i]. */
    void (*pair_bf16)(int n, const float *x0, const float *x1, uint16_t *y);
};

struct cpu_info;

/* Each fills in what its instruction set has and leaves the rest.  ref first: it has everything. */
void kern_gemm_ref(struct kern_gemm *k);
void kern_gemm_avx2(struct kern_gemm *k);
void kern_gemm_avx512(struct kern_gemm *k, const struct cpu_info *cpu);
void kern_gemm_neon(struct kern_gemm *k);
