/* What a forward leaves behind for its backward.  Ops that run while a tape records append an entry
 * with their arguments and with copies of the values that their gradient needs; tape_backward()
 * walks the entries from the last to the first.
 *
 * Every buffer that an op is given lies in the forward's workspace and has a twin for its gradient
 * at the same place of a second piece of memory: the gradient of what is at p is at grad_at(p).
 * Between ops this holds: the twin of a value that a later op reads has the sum of what those ops
 * gave it, the twin of any other is zero.  So an op that overwrote y takes grad_at(y), adds to the
 * twins of its inputs and leaves zeros.
 *
 * Ops find their context through the team's shared scratch.  What is SPMD is called by every worker
 * with the same arguments. */
#pragma once

#include "backend/ops.h"
#include "train/gemm.h"

enum tape_kind {
    TAPE_EMBED,
    TAPE_ADD_ROWS,
    TAPE_NORM,
    TAPE_ADD_NORM,
    TAPE_LINEAR,
    TAPE_HEADS,
    TAPE_ROPE,
    TAPE_ATTEND,
    TAPE_ROUTE,
    TAPE_COMBINE,
    TAPE_GATE,
    TAPE_CAP,
    TAPE_CLAMP,
    TAPE_GATHER,
};

/* A routing with the row of x that each entry of `order` reads. */
struct saved_routing {
    struct routing r;
    int32_t *row; /* [n*k] */
};

/* Arguments by the names of backend/ops.h, and saved values: dense rows in the tape's memory, NULL
 * where the gradient does not ask for them. */
struct tape_op {
    enum tape_kind kind;
    union {
        struct { /* EMBED, ADD_ROWS */
            float *x;
            int ldx, n;
            const struct mat *table;
            const int32_t *index;
            float scale;
        } rows;
        struct { /* NORM: y = norm(x); ADD_NORM: y += scale norm(x) */
            float *y;
            const float *x;
            int ldy, ldx, n, n_col;
            const struct norm *norm;
            float scale;
            float *in; /* [n][n_col] of x */
        } norm;
        struct {
            struct linear_job j;
            struct saved_routing routing; /* where j.routing */
            float *in;                    /* rows of j.x, before the norm */
            int glu;                      /* in NULL: j.x is what GLU entry `glu` gave; -1 */
            float *pre[2];                /* GLU: gate and up; ACT: what goes into act */
            float *low[4];                /* A x of an output's adapter, [n][rank] */
        } linear;
        struct {
            const struct linear *l;
            const float *x;
            float *y;
            int ldx, head_ldx, ldy, head_ldy, n;
            float *in; /* [n][ldx] when weights are trained */
        } heads;
        struct { /* ROPE: q and k before their norms; ATTEND: all */
            struct attn_job j;
            float *q, *k, *v, *out, *lse; /* [n] rows of ldq, ldk, ldv, ldo, n_head */
        } attn;
        struct {
            struct route_job j;
            struct saved_routing routing;
            float *logits;
        } route;
        struct {
            float *x;
            const float *y;
            int ldx, ldy, n, n_col;
            struct saved_routing routing;
            float *weight; /* in the workspace */
            float scale;
            float *in; /* [n*k][n_col] of y */
        } combine;
        struct {
            float *y;
            const float *gate;
            int ldy, ldgate, n, n_col;
            float *out, *gates; /* [n][n_col], [n] */
        } gate;
        struct { /* CAP, CLAMP */
            float *y;
            int ldy, n, n_col;
            float scale, limit; /* CAP: limit is the cap */
            float *out;         /* [n][n_col] */
        } value;
        struct {
            float *dst;
            const float *src;
            int lddst, ldsrc, n, n_col;
            const int32_t *index;
        } gather;
    };
};

enum { TAPE_PAGE = 4096 }; /* bytes */

enum { TAPE_OPS = 64 }; /* most entries: those of a layer */

struct tape {
    struct tape_op op[TAPE_OPS];
    int n_op;
    uint8_t *mem;     /* address space that costs when used; NULL: bytes are only counted */
    size_t used, cap; /* bytes */
};

/* Where the gradients of trained floats are: those at [lo, hi) have theirs from g on. */
struct grad_range {
    const float *lo, *hi;
    float *g;
};

enum { TAPE_RECENT = 8 };

/* What ops find in the team's shared memory. */
struct train_ctx {
    struct tape *tape; /* NULL: nothing is recorded */
    bool dry;          /* nothing is computed: a tape's bytes are counted */
    enum gemm_prec prec;
    const uint8_t *work; /* the forward's workspace, and its twin */
    uint8_t *twin;
    size_t work_bytes;
    const struct grad_range *range; /* [n_range], ascending */
    int n_range;
    /* Of one op, for as many rows as a batch may have: */
    float *rows[3];               /* the longest rows that ops put aside */
    float *stat;                  /* mean and 1/deviation of each group of a norm */
    float *low;                   /* rows of an adapter's rank */
    float *lse;                   /* a logit sum for each head */
    struct saved_routing routing; /* of the layer that runs */
    int32_t *own_row;             /* its rows when nothing is recorded */
    /* Values saved that are still what src holds. */
    struct tape_recent {
        const float *src;
        float *saved;
        int n, n_col, glu;
    } recent[TAPE_RECENT];
    int n_recent;
    float *room; /* what tape_room gave last */
    /* dry: which pages of the workspace ops write, a bit each */
    uint64_t *page;
    float dropout;
    uint64_t drop_seed;
};

static inline struct train_ctx *train_ctx(const struct worker *w) {
    return *(struct train_ctx **)(void *)w->shared;
}

static inline float *grad_at(const struct train_ctx *c, const float *p) {
    return (float *)(void *)(c->twin + ((const uint8_t *)p - c->work));
}

/* The gradient of trained floats, or NULL when those at p are not trained. */
float *grad_of(const struct train_ctx *c, const void *p);

/* Forget; what was saved elsewhere is no longer known either. */
void tape_begin(struct train_ctx *c, struct tape *t);

/* Worker 0 only: a new entry; NULL when nothing is recorded. */
struct tape_op *tape_push(struct train_ctx *c, enum tape_kind kind);

/* SPMD: room for n floats; NULL when nothing is recorded. */
float *tape_room(struct worker *w, size_t n);

/* SPMD: a copy of n rows of n_col at x, or the one that another op made, if x has not changed
 * since. glu: NULL, or gets the entry whose GLU can make x again, with no copy (NULL); else -1.
 * Ends with a barrier. */
float *tape_save(struct worker *w, const float *x, int ldx, int n, int n_col, int *glu);

/* Worker 0 only: an op wrote y, n rows of n_col at distance ld; with glu >= 0, entry glu can make
 * it again. */
void tape_wrote(struct train_ctx *c, const float *y, int ld, int n, int n_col, int glu);

/* SPMD: zero n_col values of n rows, shared out; no barrier. */
void tape_zero_rows(struct worker *w, float *x, int ldx, int n, int n_col);

/* SPMD: walk the tape that c has from its end. */
void tape_backward(struct worker *w);

/* The op table that computes in floats and records. */
const struct ops *train_ops(void);
