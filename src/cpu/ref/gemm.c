/* The scalar kernels of kern_gemm.h. */
#include "cpu/kern_gemm.h"

#include <stddef.h>
#include <string.h>

#include "base/f16.h"

static void transpose_ref(int n_row, int n_col, const void *x, int ldx, void *y, int ldy) {
    for (int i = 0; i < n_row; i++)
        for (int j = 0; j < n_col; j++)
            memcpy((uint32_t *)y + (size_t)j * ldy + i, (const uint32_t *)x + (size_t)i * ldx + j,
                   sizeof(uint32_t));
}

static void to_bf16_ref(int n, const float *x, uint16_t *y) {
    for (int i = 0; i < n; i++)
        y[i] = f32_to_bf16(x[i]);
}

static void pair_bf16_ref(int n, const float *x0, const float *x1, uint16_t *y) {
    for (int i = 0; i < n; i++) {
        y[2 * i] = f32_to_bf16(x0[i]);
        y[2 * i + 1] = f32_to_bf16(x1[i]);
    }
}

static void mul_bf16_ref(int n_row, int n_col, int n_pair, const uint16_t *a, int lda,
                         const uint16_t *b, int ldb, float *c, int ldc, bool add) {
    for (int r = 0; r < n_row; r++)
        for (int j = 0; j < n_col; j++) {
            double sum = add ? c[(size_t)r * ldc + j] : 0.0;
            for (int k = 0; k < n_pair; k++) {
                const uint16_t *x = a + 2 * ((size_t)r * lda + k),
                               *y = b + 2 * ((size_t)k * ldb + j);
                sum += (double)bf16_to_f32(x[0]) * bf16_to_f32(y[0]);
                sum += (double)bf16_to_f32(x[1]) * bf16_to_f32(y[1]);
            }
            c[(size_t)r * ldc + j] = (float)sum;
        }
}

void kern_gemm_ref(struct kern_gemm *k) {
    *k = (struct kern_gemm){.strip = 64,
                            .mul_bf16 = mul_bf16_ref,
                            .transpose = transpose_ref,
                            .to_bf16 = to_bf16_ref,
                            .pair_bf16 = pair_bf16_ref};
    for (uint32_t t = 0; t < QT_COUNT; t++)
        k->decode[t] = qtype_geom(t) ? quant_type((enum qtype)t)->decode : NULL;
}
