/* The forward's workspace and the helpers that mixers and feed-forwards share.  Internal to
 * model/. */
#pragma once

#include "model/forward.h"
#include "model/weights.h"

struct forward {
    const struct model *m;
    struct team *team; /* borrowed */
    struct forward_opts o;
    forward_tap *tap;
    void *tap_ctx;
    const volatile int *stop; /* borrowed, or NULL */
    int halt[2]; /* by parity of the layer: worker 0 writes the next one's while all read this one's
                  */
    bool halted; /* the last run ended early; worker 0's */

    /* The batch of this run; written before the team starts, read by all. */
    int n, n_seq, n_out;
    const struct kv_pool *pool;
    bool states;               /* final rows are wanted, not logits */
    bool adapters;             /* some sequence has one */
    struct seq_rows *rows;     /* [max_rows] */
    struct seq_rows *out_rows; /* [max_rows] the rows that get logits, after gathering */
    int n_out_seq;
    int32_t *tok, *pos; /* [max_rows] */
    int32_t *zero;      /* [max_rows] zeros: the token type */
    int32_t *out_index; /* [max_out] row in the batch of each output */
    int32_t *identity;  /* [max_rows * heads]: 0, 1, 2.. */

    /* Row buffers; n_* are row lengths. */
    int n_q, n_k, n_v, n_att, n_h;
    float *x;        /* [max_rows][n_embd] the residual stream */
    float *xn;       /* [max_rows][n_embd] normalized */
    float *xf;       /* [max_rows][n_embd] the feed-forward's input when halves are parallel */
    float *xo, *xfo; /* [max_out][n_embd] x and xf of the rows that get logits */
    float *q, *k, *v, *att, *h;
    float *q_latent; /* [max_rows][n_head * (kv_rank + n_rot)] */
    float *q_a;      /* [max_rows][q_rank] */
    float *y;        /* [max_rows * experts used][n_embd] a branch's result */
    float *router;   /* [max_rows][n_expert] */
    float *logits;   /* [max_out][n_vocab] */
    struct routing routing;
    float *rope_cs[ROPE_SETS]; /* [max_rows][n_rot/2][2], or NULL: no layer uses it */
    double *freq[ROPE_SETS];   /* [n_rot/2] */

    uint8_t *mem; /* everything above, reserved */
    size_t mem_bytes;
};

/* Row lengths and sizes in f from its options; f->mem_bytes says how much f->mem must have.  Called
 * twice: without f->mem to add up, then to place the pieces. */
void workspace_lay_out(struct forward *f, const struct hparams *h, bool encoder);

/* One worker's view of the rows that are alive: all, or in the end those that get logits. */
struct pass {
    struct forward *f;
    float *x, *xf; /* [n][n_embd] */
    int n;
    const struct seq_rows *seq; /* [n_seq] */
    int n_seq;
    bool cache_only; /* the mixer need only fill the cache: nobody reads x afterwards */
};

/* Show rows to the tap, if there is one; every worker calls. */
void forward_point(struct worker *w, const struct pass *p, const char *name, int il, const float *x,
                   int n, int n_col);

/* A job on the pass's rows of x. */
struct linear_job forward_job(const struct pass *p, const float *x, int ldx);

/* x += residual_scale * post(l in); the branch is materialized only where someone needs it. */
void forward_residual(struct worker *w, const struct pass *p, const struct layer *l,
                      const struct linear *lin, const float *in, int ldin, const struct norm *post,
                      const char *name);

/* A normalized copy of p->x in f->xn, shown as `name`; or p->x itself with *norm left for the next
 * op to apply. */
const float *forward_normed(struct worker *w, const struct pass *p, const struct norm **norm,
                            const char *name, int il);

/* For context shift: can this model's positions move?  And rotate the K rows of n_span spans by
 * `by` positions. */
int forward_check_shift(const struct forward *f, struct err *e);
void forward_rotate(struct forward *f, const struct kv_pool *p, const struct kv_span *span,
                    int n_span, int by);
