/* The avx2 half of the matrix kernel table. */
#include "cpu/avx2/mat.h"

void kern_mat_avx2(struct kern_mat *k, const struct cpu_info *cpu) {
    kern_mat_avx2_float(k); /* every type; the integer kernels take over what they have */
    kern_mat_avx2_row(k, cpu->avx_vnni);
}
