/* The recorded ops by subject, for the table in tape_ops.c.  Forwards have the contracts of
 * backend/ops.h; a backward is SPMD, ends with a barrier and keeps what tape.h says of twins. */
#pragma once

#include "train/tape.h"

typedef void tape_back_fn(struct worker *w, const struct tape_op *op);

/* tape_rows.c */
void tape_embed(struct worker *w, float *x, int ldx, const struct mat *table, const int32_t *tok,
                int n, float scale);
void tape_add_rows(struct worker *w, float *x, int ldx, const struct mat *table,
                   const int32_t *index, int n);
void tape_norm(struct worker *w, float *y, int ldy, const float *x, int ldx, int n, int n_col,
               const struct norm *norm);
void tape_add_norm(struct worker *w, float *x, int ldx, const float *y, int ldy, int n, int n_col,
                   const struct norm *norm, float scale);
void tape_scale_cap(struct worker *w, float *y, int ldy, int n, int n_col, float scale, float cap);
void tape_clamp(struct worker *w, float *y, int ldy, int n, int n_col, float limit);
void tape_gather_rows(struct worker *w, float *dst, int lddst, const float *src, int ldsrc,
                      const int32_t *index, int n, int n_col);
tape_back_fn back_table_rows, back_norm_rows, back_add_norm, back_value, back_gather;

/* The gradient of a norm over n rows, and of its weights: dx (+)= from dy.  x are the norm's
 * inputs, dense. */
void tape_back_norm(struct worker *w, const struct norm *norm, int n, int n_col, const float *x,
                    const float *dy, int lddy, float *dx, int lddx, bool add);

/* tape_linear.c */
void tape_linear(struct worker *w, const struct linear_job *j);
void tape_head_linear(struct worker *w, const struct linear *l, const float *x, int ldx,
                      int head_ldx, float *y, int ldy, int head_ldy, int n);
tape_back_fn back_linear, back_head_linear;

/* tape_attn.c */
void tape_rope_store(struct worker *w, const struct attn_job *j);
void tape_attend(struct worker *w, const struct attn_job *j);
tape_back_fn back_rope, back_attend;

/* tape_route.c */
void tape_route(struct worker *w, const struct route_job *j);
void tape_combine(struct worker *w, float *x, int ldx, const float *y, int ldy,
                  const struct routing *r, int n, int n_col, float scale);
void tape_gate_rows(struct worker *w, float *y, int ldy, const float *gate, int ldgate, int n,
                    int n_col);
tape_back_fn back_routing, back_combine_rows, back_gate_rows;
