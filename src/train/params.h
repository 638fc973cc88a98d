/* What is trained: named float tensors in one piece of memory, with the gradient and AdamW's two
 * moments beside it in planes of the same layout, so that whatever lies at w + i has its gradient
 * at grad + i. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct param {
    char *name;    /* as in a GGUF file: "blk.0.attn_q.weight.lora_a"; owned */
    int n_dim;     /* 1..4 */
    int64_t ne[4]; /* GGUF order, row length first; 1 beyond n_dim */
    size_t at, n;  /* its floats in a plane: [at, at + n) */
    bool decay;    /* weight decay applies: matrices, not vectors */
};

struct params {
    struct param *p; /* [n_param], owned; ascending `at` */
    int n_param;
    size_t n_plane;          /* floats in a plane, gaps included: every `at` is a multiple of 16 */
    float *w, *grad, *m, *v; /* [n_plane] each, 64-byte aligned, owned; gaps are zero */
};

/* All-zero is an empty set. */

/* Declare a tensor; before params_alloc.  ERR_NOMEM; ERR_FORMAT: a name that is there already, or
 * not 1 to 4 dimensions; ERR_LIMIT: empty, or larger than memory can be. */
int params_add(struct params *p, const char *name, int n_dim, const int64_t *ne, struct err *e);

/* Zeroed planes for what was declared.  ERR_NOMEM. */
int params_alloc(struct params *p, struct err *e);
void params_fini(struct params *p);

size_t params_count(const struct params *p); /* floats in all tensors, gaps apart */
const struct param *params_find(const struct params *p, const char *name); /* or NULL */
