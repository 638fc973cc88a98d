/* The neon half of the vector kernels' table. */
#include "cpu/kern_vec.h"

void kern_vec_neon(struct kern_vec *k) {
    (void)k;
}
