/* The parts of this folder's matrix kernels. */
#pragma once

#include <stdbool.h>

#include "cpu/kern_mat.h"

void kern_mat_avx2_float(struct kern_mat *k);

/* The kernel for 1..4 columns: types that cpu/row.h unpacks to a row_k, to a row_q. */
mat_fn *mat_avx2_few_k(enum qtype t);
mat_fn *mat_avx2_few_q(enum qtype t);
mat_fn *mat_avx2_few_row(void); /* the rest of the former */
/* For more, with the same bits. */
mat_fn *mat_avx2_many_k(enum qtype t, bool vnni);
mat_fn *mat_avx2_many_q(enum qtype t, bool vnni);
