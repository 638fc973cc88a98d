/* The avx512 half of the matrix kernel table. */
#include "cpu/kern_mat.h"

void kern_mat_avx512(struct kern_mat *k, const struct cpu_info *cpu) {
    (void)k, (void)cpu;
}
