/* The kernels of kern_gemm.h that are the same for all instruction sets: a folder's gemm.c calls
 * gemm_fill. */
#pragma once

#include "cpu/kern_gemm.h"
#include "cpu/simd/decode.h"
#include "cpu/simd/v.h"

#ifdef CPU_SIMD

/* At most VL x VL of it; only what is there is read and written. */
static inline void transpose_block(int n_row, int n_col, const float *x, int ldx, float *y,
                                   int ldy) {
    vf r[VL];
    for (int i = 0; i < VL; i++)
        r[i] = i < n_row ? v_load_n(x + (size_t)i * ldx, n_col) : v_zero();
    v_transpose(r);
    for (int j = 0; j < VL; j++)
        if (j < n_col) v_store_n(y + (size_t)j * ldy, r[j], n_row);
}

static inline void transpose_whole(const float *x, int ldx, float *y, int ldy) {
    vf r[VL];
    for (int i = 0; i < VL; i++)
        r[i] = v_load(x + (size_t)i * ldx);
    v_transpose(r);
    for (int j = 0; j < VL; j++)
        v_store(y + (size_t)j * ldy, r[j]);
}

static inline void transpose(int n_row, int n_col, const void *x, int ldx, void *y, int ldy) {
    for (int i = 0; i < n_row; i += VL)
        for (int j = 0; j < n_col; j += VL) {
            const float *from = (const float *)x + (size_t)i * ldx + j;
            float *to = (float *)y + (size_t)j * ldy + i;
            if (n_row - i >= VL && n_col - j >= VL)
                transpose_whole(from, ldx, to, ldy);
            else
                transpose_block(n_row - i, n_col - j, from, ldx, to, ldy);
        }
}

static inline void gemm_fill(struct kern_gemm *k) {
    k->strip = V_NV * VL; /* of mul_tile */
    k->decode[QT_F16] = decode_f16;
    k->decode[QT_BF16] = decode_bf16;
    k->decode[QT_Q4_0] = decode_q4_0;
    k->decode[QT_Q8_0] = decode_q8_0;
    k->decode[QT_Q4_K] = decode_q4_k;
    k->decode[QT_Q5_K] = decode_q5_k;
    k->decode[QT_Q6_K] = decode_q6_k;
    k->transpose = transpose;
}
#endif
