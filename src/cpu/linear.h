/* The products with weights, as ops of backend/ops.h: `linear` and `head_linear` of the CPU. */
#pragma once

#include "backend/ops.h"

void cpu_linear(struct worker *w, const struct linear_job *j);

void cpu_head_linear(struct worker *w, const struct linear *l, const float *x, int ldx,
                     int head_ldx, float *y, int ldy, int head_ldy, int n);

/* Bytes that each worker's scratch and the team's shared scratch must have for the two above:
 * cpu reserve() takes the maximum of this and what its other ops want.  Nothing is kept in them
 * between ops. */
void cpu_linear_scratch(const struct op_limits *lim, size_t *scratch_bytes, size_t *shared_bytes);
