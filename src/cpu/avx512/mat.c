/* The avx512 half of the matrix kernel table. */
#include "cpu/avx512/tile.h"

void kern_mat_avx512(struct kern_mat *k, const struct cpu_info *cpu) {
    kern_mat_avx512_act(k);
    kern_mat_avx512_f(k); /* every type; those below take over what they have */
    kern_mat_avx512_row(k);
    kern_mat_avx512_k(k);
    kern_mat_avx512_q(k);
    kern_mat_avx512_q16(k, cpu);
}
