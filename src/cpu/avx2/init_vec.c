/* The avx2 half of the vector kernels' table. */
#include "cpu/kern_vec.h"

void kern_vec_avx2(struct kern_vec *k) {
    (void)k;
}
