/* The neon half of the matrix kernel table. */
#include "cpu/neon/mat.h"

void kern_mat_neon(struct kern_mat *k, const struct cpu_info *cpu) {
    (void)cpu;
    kern_mat_neon_float(k); /* every type; the integer kernels take over what they have */
    kern_mat_neon_row(k);
}
