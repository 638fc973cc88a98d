/* The avx2 half of the matrix kernel table. */
#include "cpu/avx2/mat.h"

void kern_mat_avx2(struct kern_mat *k) {
    kern_mat_avx2_float(k); /* every type; the integer kernels take over what they have */
    kern_mat_avx2_row(k, false);
}

void kern_mat_avxvnni(struct kern_mat *k) {
    kern_mat_avx2_row(k, true);
}
