/* Attention over whole sequences and its gradient (FlashAttention-2, arXiv:2307.08691): tiles of
 * queries and keys, the softmax never stored, memory linear in the number of rows.
 *
 * Rows are those of a batch: sequence s has rows row0 .. row0 + n_row - 1 of q, k and v at
 * positions pos0, pos0 + 1..., sees itself only, and begins there (nothing is cached).  Of the job
 * these are used: n seq(row0, n_row) n_seq q k v ld* out ldo n_head n_kv_head k_dim v_dim scale
 * softcap window causal sink alibi.  Queries and keys are rotated and normalized already.  v NULL:
 * V is the first v_dim values of K (latent attention).
 *
 * Every worker of a team calls with the same job; no barrier inside and none at the end, where the
 * caller's must come before other work is shared out (team_share).  Scratch: attend_scratch_bytes()
 * of each worker, from w->scratch on.  Results do not depend on the number of threads, nor a
 * sequence's on the others in the batch. */
#pragma once

#include "backend/ops.h"

/* out = softmax(mask(softcap(scale * q k^T))) v; lse [n][n_head] gets log sum exp of each row's
 * logits (the sink included). */
void attend_forward(struct worker *w, const struct attn_job *j, float *lse);

/* From dout [n][n_head*v_dim] (distance lddout), with out and lse of the forward:
 *   dq += , dk += , dv +=   layouts of q, k, v (ldq, ldk, ldv); v NULL: dk gets dv's part as well
 *   dsink [n_head] +=       or NULL; each head's is summed by one worker, over rows in order */
struct attend_grad {
    const float *dout;
    int lddout;
    float *dq, *dk, *dv;
    float *dsink;
};
void attend_backward(struct worker *w, const struct attn_job *j, const float *lse,
                     const struct attend_grad *g);

size_t attend_scratch_bytes(const struct op_limits *lim); /* of one worker */
