/* The vector kernels of simd/, built for this folder's instruction set. */
#include "cpu/simd/vec.h"

void kern_vec_avx512(struct kern_vec *k) {
    vec_fill(k);
}
