/* Weights that copy: a model of a real shape whose answer goes on as the text did after the same
 * words before.  It needs no training and computes as much as any model of that shape, so what
 * depends on how texts repeat (speculation) can be measured honestly. */
#pragma once

#include "shape.h"

/* Where things stand in the residual stream, and how large they are. */
struct copier {
    int n_embd, head_dim, n_kv_head, n_group; /* n_group: query heads of a KV head */
    int n_fast;         /* pairs of a head that turn fast enough to tell places apart */
    int n_past, n_bit;  /* earlier tokens known at each place, and values of each */
    int n_part, n_code; /* values of a token's code: of a KV head, of all */
    double theta;
    double constant; /* at the last place of the residual stream */
    uint64_t seed;
};

/* ERR_USAGE when the shape cannot copy.  s: theta and the RoPE divisors are changed. */
int copier_init(struct copier *c, struct shape *s, uint64_t seed, struct err *e);

/* Give the n tensors of the shape their fill. */
void copier_mark(struct shape_tensor *t, int n);

/* Row ROW, [ne0], of a tensor with FILL_COPY. */
void copier_row(const struct copier *c, const char *tensor, int64_t row, float *x);
