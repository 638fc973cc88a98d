/* The operations of the forward pass, as a table that each back end fills.
 *
 * SPMD: every worker of the team calls every op with the same arguments; each op splits its work
 * by worker and ends with a barrier (also when it had nothing to do), so that what it wrote may
 * be read by the next.  All floats are float32, matrices row-major.  `ld*` is the distance
 * between rows in floats.  Pointers are the back end's memory (host memory for the CPU).
 *
 * No op allocates; scratch was sized by reserve(). */
#pragma once

#include "backend/mat.h"
#include "base/err.h"
#include "base/team.h"

enum { KV_PAGE = 64 }; /* tokens in a page of the KV cache */

/* Up to KV_PAGE tokens of one sequence, of consecutive positions. */
struct kv_span {
    uint8_t *page; /* the page's bytes, all layers; see attn_job */
    int32_t pos0;  /* position of its first token */
    int32_t n;     /* tokens in use, 1..KV_PAGE */
};

/* The rows of one sequence in a batch. */
struct seq_rows {
    int row0, n_row;               /* rows row0 .. row0+n_row-1 of the batch */
    int32_t pos0;                  /* position of row0; the others follow */
    const struct kv_span *span;    /* [n_span], ascending positions; the last ones already cover */
    int n_span;                    /* these rows, which rope_store fills in */
    const struct adapter *adapter; /* or NULL */
};

/* ---- linear maps ---- */

/* Which rows go to which expert.  Made by route(). */
struct routing {
    int n_expert, k; /* experts; experts used per row */
    int32_t *expert; /* [n][k] */
    float *weight;   /* [n][k] */
    int32_t *order;  /* [n*k]: the (row * k + slot) entries sorted by expert */
    int32_t *start;  /* [n_expert + 1]: where each expert's entries start in order */
};

struct linear_out {
    const struct linear *l;
    float *y;
    int ldy;
};

enum linear_then {
    THEN_STORE, /* y = Wx + b */
    THEN_ADD,   /* y += out_scale * (Wx + b): the residual connection */
    THEN_GLU,   /* out[0].y = act(W0 x + b0) * (W1 x + b1); two outs, the second's y unused */
    THEN_ACT,   /* y = act(Wx + b) */
};

/* y_i = W_i norm(x) for maps that share their input. */
struct linear_job {
    const float *x; /* [n][n_col] */
    int ldx, n;
    const struct norm *norm; /* applied to each row of x first; NULL for none */
    int n_out;               /* 1..4 */
    struct linear_out out[4];
    enum linear_then then;
    enum act act;
    float out_scale;            /* for THEN_ADD */
    const struct seq_rows *seq; /* [n_seq]: for adapters; NULL when no sequence has one */
    int n_seq;
    /* Experts: row e of the work is entry routing->order[e] of map `expert`.  x is read at row
     * entry / k (x_per_slot false) or at row entry (true: one row of x per (row, slot)); y is
     * written at row entry, [n*k][n_row]. */
    const struct routing *routing; /* NULL: dense */
    bool x_per_slot;
};

/* ---- attention ---- */

enum rope_kind { ROPE_NONE, ROPE_PAIRS, ROPE_HALVES }; /* (2i, 2i+1) or (i, i + n_rot/2) */

struct attn_job {
    int n;                      /* rows in the batch */
    const struct seq_rows *seq; /* [n_seq], covering all rows */
    int n_seq;
    float *q, *k, *v; /* [n][n_head*k_dim], [n][n_kv_head*k_dim], [n][n_kv_head*v_dim] */
    int ldq, ldk, ldv;
    float *out; /* [n][n_head*v_dim] */
    int ldo;
    int n_head, n_kv_head, k_dim, v_dim; /* n_kv_head divides n_head; v NULL: V is the first v_dim
                                          * values of K (latent attention), nothing stored for V */
    const struct norm *q_norm, *k_norm;  /* before RoPE; NULL for none */
    enum rope_kind rope;
    int n_rot, rot_at;    /* rotated dimensions of a head: [rot_at, rot_at + n_rot) */
    const float *rope_cs; /* [n][n_rot/2][2] cos, sin for each row of the batch */
    /* The cache: K of this layer at page + k_at as [n_kv_head][KV_PAGE] rows of k_row_bytes, V
     * likewise.  When v is NULL v_at = k_at and v_row_bytes = k_row_bytes. */
    enum qtype k_type, v_type; /* F32 F16 BF16 Q8_0 Q4_0 */
    size_t k_at, v_at, k_row_bytes, v_row_bytes;
    float scale;        /* of QK^T */
    float softcap;      /* 0: off; s = cap * tanh(s / cap) */
    int window;         /* 0: off; a query at p sees positions > p - window */
    bool causal;        /* false: every row sees the whole sequence */
    const float *sink;  /* [n_head] extra softmax logit without a value, or NULL */
    const float *alibi; /* [n_head] slopes: s -= slope * |pos_k - pos_q|, or NULL */
};

/* ---- routers ---- */

enum gate { GATE_SOFTMAX, GATE_SIGMOID, GATE_SOFTMAX_TOPK }; /* the last: softmax after top-k */

/* Weights that sum to less are not divided by their sum but by this: the smallest normal float16,
 * as llama.cpp has it. */
#define ROUTE_MIN_SUM 6.103515625e-5f

struct route_job {
    const float *logits; /* [n][n_expert] */
    int n;
    enum gate gate;
    const float *select_bias;  /* [n_expert] added for the selection only, or NULL */
    bool renormalize;          /* selected weights sum to 1 */
    float scale;               /* then multiplied by this */
    int n_group, n_group_used; /* 0: no groups.  Experts in n_group equal groups; only those of
                                * the n_group_used groups with the best top-2 sums compete */
    struct routing *r;
};

/* Largest shapes that ops will be called with; see reserve(). */
struct op_limits {
    int max_rows;     /* rows of a batch, times experts per row where there are any */
    int max_cols;     /* longest input row of a linear */
    int max_out;      /* longest output row of a linear */
    int max_outs_sum; /* largest sum of n_row over the outs of one job */
    int n_head, n_kv_head, max_head_dim;
    int max_rank; /* adapters: rank of the largest; 0 for none */
    int max_ctx;  /* tokens of the longest sequence */
};

struct ops {
    const char *name; /* "cpu" */

    /* Size the team's scratch for everything below; and how much that is, of n workers together. */
    int (*reserve)(struct team *t, const struct op_limits *lim, struct err *e);
    size_t (*scratch_bytes)(const struct op_limits *lim, int n_worker);

    /* x[i] = scale * table[tok[i]] (+ pos_table[pos] (+ type_table[0])), i < n. */
    void (*embed)(struct worker *w, float *x, int ldx, const struct mat *table, const int32_t *tok,
                  int n, float scale);

    /* x[i] += row index[i] of table: learned positions, token types. */
    void (*add_rows)(struct worker *w, float *x, int ldx, const struct mat *table,
                     const int32_t *index, int n);

    /* y = norm(x), rows of n_col; y may be x. */
    void (*norm)(struct worker *w, float *y, int ldy, const float *x, int ldx, int n, int n_col,
                 const struct norm *norm);

    /* x += scale * norm(y) (norm NULL: x += scale * y). */
    void (*add_norm)(struct worker *w, float *x, int ldx, const float *y, int ldy, int n, int n_col,
                     const struct norm *norm, float scale);

    void (*linear)(struct worker *w, const struct linear_job *j);

    /* Map h of l on head h: y[i][h] = W_h x[i][h]; rows of x are l->n_mat * n_col values with
     * each head at h * head_ldx (and head_ldy): latent attention's absorbed matrices. */
    void (*head_linear)(struct worker *w, const struct linear *l, const float *x, int ldx,
                        int head_ldx, float *y, int ldy, int head_ldy, int n);

    /* Norm and rotate q in place and k, then store k and v of each row into its page. */
    void (*rope_store)(struct worker *w, const struct attn_job *j);

    /* out = softmax(scale * q K^T + mask) V over each row's sequence. */
    void (*attend)(struct worker *w, const struct attn_job *j);

    /* Choose experts and sort the rows by them. */
    void (*route)(struct worker *w, const struct route_job *j);

    /* x[i] += scale * sum over slots s of weight[i][s] * y[i*k + s]. */
    void (*combine)(struct worker *w, float *x, int ldx, const float *y, int ldy,
                    const struct routing *r, int n, int n_col, float scale);

    /* y[i] *= sigmoid(gate[i]), one gate value a row: the shared expert of qwen2moe. */
    void (*gate_rows)(struct worker *w, float *y, int ldy, const float *gate, int ldgate, int n,
                      int n_col);

    /* y = cap * tanh(scale * y / cap); cap 0: y *= scale.  Logits. */
    void (*scale_cap)(struct worker *w, float *y, int ldy, int n, int n_col, float scale,
                      float cap);

    /* y = min(max(y, -limit), limit): some OLMo models clip q, k and v. */
    void (*clamp)(struct worker *w, float *y, int ldy, int n, int n_col, float limit);

    /* dst[i] = src[index[i]], rows of n_col. */
    void (*gather_rows)(struct worker *w, float *dst, int lddst, const float *src, int ldsrc,
                        const int32_t *index, int n, int n_col);

    /* Rotate the K rows of tokens [0, n) of a span by a fixed angle per pair (context shift); job
     * gives layer layout and rope kind, cs is [n_rot/2][2]. */
    void (*rope_shift)(struct worker *w, const struct attn_job *j, const struct kv_span *span,
                       const float *cs);
};
