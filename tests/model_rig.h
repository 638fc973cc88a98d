/* A model ready to run in a test, and the golden outputs it is compared with. */
#pragma once

#include "model/forward.h"
#include "support.h"

struct rig {
    struct gguf *g;
    struct model *m;
    struct team *team;
    struct kv_pool *pool;
    struct forward *f;
    int n_col; /* of an output row: n_vocab, or n_embd for an embedding model */
};

struct rig_opts {
    int n_threads; /* 0: 1 */
    int n_ctx;     /* 0: 512 */
    int max_rows;  /* 0: n_ctx */
    int max_rank;
    enum qtype kv;  /* F32 when zero */
    int max_tokens; /* of the pool; 0: 2 * n_ctx */
};

/* Open PATH; the test fails when that fails. */
void rig_open(struct rig *r, const char *path, struct rig_opts o);
void rig_close(struct rig *r);

/* Feed n tokens to s in pieces of `piece` (0: all at once); out (NULL: none) gets every row
 * [n][n_col]. */
void rig_feed(struct rig *r, struct kv_seq *s, const struct adapter *a, const int32_t *tok, int n,
              int piece, float *out);

/* How far rows are from what they should be. */
struct distance {
    double max_abs;
    double rms;                            /* over all values */
    double rms_median, kl_median, kl_mean; /* over rows */
    int n_row;
};

/* Collects rows, then sums up. */
struct comparison {
    double *rms, *kl;
    int n, cap, n_col;
    double max_abs, square;
};
void compare_row(struct comparison *c, const float *got, const float *want, int n_col);
struct distance compare_end(struct comparison *c); /* frees */
