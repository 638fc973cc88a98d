/* The CPU's ops by name; contracts in backend/ops.h.  Here so that each subject has its file:
 * rows.c, rope.c, route.c, attend.c; linear.h has the products. */
#pragma once

#include "backend/ops.h"
#include "cpu/kern_vec.h"

void cpu_embed(struct worker *w, float *x, int ldx, const struct mat *table, const int32_t *tok,
               int n, float scale);
void cpu_add_rows(struct worker *w, float *x, int ldx, const struct mat *table,
                  const int32_t *index, int n);
void cpu_norm(struct worker *w, float *y, int ldy, const float *x, int ldx, int n, int n_col,
              const struct norm *norm);
void cpu_add_norm(struct worker *w, float *x, int ldx, const float *y, int ldy, int n, int n_col,
                  const struct norm *norm, float scale);
void cpu_combine(struct worker *w, float *x, int ldx, const float *y, int ldy,
                 const struct routing *r, int n, int n_col, float scale);
void cpu_gate_rows(struct worker *w, float *y, int ldy, const float *gate, int ldgate, int n,
                   int n_col);
void cpu_scale_cap(struct worker *w, float *y, int ldy, int n, int n_col, float scale, float cap);
void cpu_clamp(struct worker *w, float *y, int ldy, int n, int n_col, float limit);
void cpu_gather_rows(struct worker *w, float *dst, int lddst, const float *src, int ldsrc,
                     const int32_t *index, int n, int n_col);

void cpu_rope_store(struct worker *w, const struct attn_job *j);
/* The norms and the rotation of it, on q and k in place, without a cache. */
void cpu_rope_rows(struct worker *w, const struct attn_job *j);
void cpu_rope_shift(struct worker *w, const struct attn_job *j, const struct kv_span *span,
                    const float *cs);
void cpu_attend(struct worker *w, const struct attn_job *j);
void cpu_route(struct worker *w, const struct route_job *j);

/* One row of n_col values through a norm, group by group; y may be x. */
void cpu_norm_row(const struct kern_vec *k, const struct norm *norm, int n_col, const float *x,
                  float *y);

/* Scratch that rows.c, rope.c and attend.c want; like cpu_linear_scratch. */
void cpu_rows_scratch(const struct op_limits *lim, size_t *scratch_bytes, size_t *shared_bytes);
void cpu_attend_scratch(const struct op_limits *lim, int n_worker, size_t *scratch_bytes,
                        size_t *shared_bytes);
