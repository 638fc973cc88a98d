/* The parts of this folder's matrix kernels. */
#pragma once

#include "cpu/kern_mat.h"

void kern_mat_neon_row(struct kern_mat *k);
void kern_mat_neon_float(struct kern_mat *k);
