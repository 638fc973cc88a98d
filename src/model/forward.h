/* The forward pass: one for all architectures (DESIGN.md 4). */
#pragma once

#include "base/team.h"
#include "model/kv.h"
#include "model/model.h"

/* Debug point: called by one thread, between ops, with rows [n][n_col] at distance ld.  Names are
 * the same for every architecture: "embed", then per layer il "attn_norm", "q", "k", "v" (before
 * RoPE... see forward.c), "attn", "attn_out", "ffn_norm", "ffn_out", "l_out", then (il = -1)
 * "out_norm", "logits". */
typedef void forward_tap(void *ctx, const char *name, int il, const float *x, int n, int n_col,
                         int ld);

struct forward_opts {
    int n_ctx;    /* longest sequence: chooses phi3's rope factors and sizes scratch */
    int max_rows; /* tokens in one batch: prefill chunk + decoding sequences */
    int max_out;  /* rows whose logits may be asked for in one batch */
    int max_rank; /* largest LoRA rank that will be used; 0 for none */
};

/* The workspace that forward_new() allocates, and the shapes that it sizes the team's scratch for,
 * from hyper-parameters alone.  encoder: model_is_embedding(). */
struct hparams;
size_t forward_need_bytes(const struct hparams *h, bool encoder, const struct forward_opts *o);
struct op_limits forward_limits(const struct hparams *h, bool encoder,
                                const struct forward_opts *o);

struct forward; /* workspace for one team and model */

struct forward *forward_new(const struct model *m, struct team *t, const struct forward_opts *o,
                            struct err *e);
void forward_free(struct forward *f);
size_t forward_mem_bytes(const struct forward *f); /* of the workspace, the team's apart */
void forward_set_tap(struct forward *f, forward_tap *tap, void *ctx); /* NULL: off */

/* One sequence's share of a batch. */
struct batch_seq {
    struct kv_seq *kv;  /* already extended by n (kv_seq_extend) */
    const int32_t *tok; /* [n] */
    int n;
    const struct adapter *adapter; /* or NULL */
    int n_out;                     /* the last n_out of its rows get logits: 0, 1 or n */
};

/* Run the batch; sum of n <= max_rows, sum of n_out <= max_out.  Returns logits
 * [sum n_out][n_vocab] in order of sequences and rows (for an embedding model the final rows,
 * [sum n_out][n_embd]); valid until the next call.  Allocates nothing.  Token ids must be within
 * the vocabulary (asserted; callers check). */
const float *forward_run(struct forward *f, const struct batch_seq *seq, int n_seq);

/* The next runs look at *stop (NULL: no more) between layers: when it is nonzero they end early and
 * return NULL, and what the batch put in the cache is worth nothing. */
void forward_set_stop(struct forward *f, const volatile int *stop);

/* The same without the head, for every model: the final rows [sum n_out][n_embd], after the last
 * norm. */
const float *forward_run_states(struct forward *f, const struct batch_seq *seq, int n_seq);

/* ---- in steps, for training: whole sequences, no cache, no head ---- */

/* Lay out n_seq sequences: rows seq_start[s] .. seq_start[s+1]-1 of tok at positions 0, 1...;
 * adapter for all of them, or NULL.  tok is copied.  Then a team runs, with a barrier at the end of
 * each: forward_embed, forward_layer for il = 0 .. n_layer-1, forward_end. */
void forward_begin(struct forward *f, const int32_t *tok, const int32_t *seq_start, int n_seq,
                   const struct adapter *adapter);
void forward_embed(struct worker *w, struct forward *f);         /* x = embeddings; rope tables */
void forward_layer(struct worker *w, struct forward *f, int il); /* x += mix(x), x += ffn(x) */
void forward_end(struct worker *w, struct forward *f);           /* x = out_norm(x) */

/* x [rows][n_embd], which every step reads and writes. */
float *forward_x(struct forward *f);

/* The workspace, where every buffer that ops are given lies: [*n_bytes]. */
const uint8_t *forward_memory(const struct forward *f, size_t *n_bytes);

/* Angles per position of rope set 0 .. ROPE_SETS-1: [*n] values, *n 0 where the model does not use
 * the set.  With the file, what K rows depend on that the options choose (n_ctx: phi3). */
const double *forward_rope(const struct forward *f, int set, int *n);
