/* The vector kernels of simd/, built for this folder's instruction set. */
#include "cpu/simd/vec.h"

void kern_vec_neon(struct kern_vec *k) {
    vec_fill(k);
}
