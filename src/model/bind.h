/* The binder's tools, between bind.c (lookup, shapes) and bind_layer.c (what a layer has).
 * Internal to model/.  After the first error every call does nothing. */
#pragma once

#include "model/weights.h"

enum { BIND_NAME = 96, BIND_SEEN = 64 };

struct bind_seen { /* an optional tensor of layers: does the first layer asked about have it? */
    char key[BIND_NAME];
    bool has;
    int il;
};

struct binder {
    struct model *m;
    struct err *e;
    bool failed, in_experts;
    const struct gguf_tensor *first;
    struct bind_seen seen[BIND_SEEN];
    int n_seen;
};

/* Layer il (-1: of the whole model), tensor "NAME.SUFFIX". */
bool bind_has(struct binder *b, int il, const char *name, const char *suffix);

/* [n] floats, or NULL when absent. */
const float *bind_vec(struct binder *b, int il, const char *name, const char *suffix, bool required,
                      int n);

/* NAME.weight [n_out][n_in] with NAME.bias and NAME.scale where there are any. */
void bind_linear(struct binder *b, struct linear *l, int il, const char *name, int n_out, int n_in);

/* Rows [row0, row0 + n_out) of each of n_mat maps of n_row_all rows. */
void bind_rows(struct binder *b, struct linear *l, int il, const char *name, int n_mat, int n_out,
               int n_in, int row0, int n_row_all);

/* NAME.weight [dim], NAME.bias where there is one. */
void bind_norm(struct binder *b, struct norm *n, int il, const char *name, int dim);
bool bind_maybe_norm(struct binder *b, struct norm *n, int il, const char *name, int dim);
void bind_head_norm(struct binder *b, struct norm *n, int il, const char *name, int n_head,
                    int head_dim);

/* bind_layer.c */
void bind_layer(struct binder *b, struct layer *l, int il);

/* Arena memory; NULL and failed when there is none. */
void *bind_alloc(struct binder *b, size_t n, size_t size);
void bind_error(struct binder *b, enum err_code code, const char *fmt, ...)
    __attribute__((format(printf, 3, 4)));
