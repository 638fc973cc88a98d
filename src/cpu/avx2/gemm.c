/* The kernels of simd/gemm.h, built for this folder's instruction set. */
#include "cpu/simd/gemm.h"

void kern_gemm_avx2(struct kern_gemm *k) {
    gemm_fill(k);
}
