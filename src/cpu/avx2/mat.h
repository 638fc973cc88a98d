/* The parts of this folder's matrix kernels. */
#pragma once

#include <stdbool.h>

#include "cpu/kern_mat.h"

void kern_mat_avx2_row(struct kern_mat *k, bool vnni);
void kern_mat_avx2_float(struct kern_mat *k);

/* The kernel for 1..4 columns, with the bits of the others; NULL: this type has none. */
mat_fn *mat_avx2_few(enum qtype t);
/* The kernel for more columns, likewise. */
mat_fn *mat_avx2_many(enum qtype t);
