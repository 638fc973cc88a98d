/* Encoding the grid types (IQ1, IQ2, IQ3): groups of 8 or 4 values become the nearest vector of a
 * fixed grid, under weights, times a sub-block scale. */
#pragma once

#include "quant/fit.h"

/* A grid, indexed for the search: points by the code of their first half. */
struct vq_grid {
    int n_dim, n_level, n_point; /* n_dim 8 or 4; n_level ^ (n_dim / 2) <= 81 */
    float level[8];              /* ascending */
    uint16_t start[82];          /* points with first half h are start[h] .. start[h + 1] */
    uint8_t second[2048];        /* code of the second half */
    uint16_t index[2048];        /* in the format's table */
};

/* Build from the format's table of n_point words of n_dim signed bytes. */
void vq_grid_build(struct vq_grid *g, const void *table, int n_dim, int n_point);

/* How a type uses its grid. */
struct vq_type {
    const struct vq_grid *grid;
    int n_sub;  /* values of a sub-block: 16 or 32 */
    int n_code; /* scale codes 0..n_code - 1: factor = base + step * code */
    float base, step;
    bool has_signs;    /* the grid has magnitudes */
    bool even;         /* the number of minus signs in 8 is even */
    int n_delta;       /* values that share a shift of +-1/8 (no signs): 0, 8 or 32 */
    float first, last; /* search the scale where the peak is first..last times the top level */
    int n_try;
};

struct vq_block {
    uint16_t d;
    uint8_t code[16];   /* [256 / n_sub] scale codes */
    uint16_t index[64]; /* [256 / n_dim] */
    uint8_t signs[32];  /* per 8 values, or bit 0: the shift is -1/8 */
};

/* 256 values. */
void vq_encode(const struct vq_type *type, const float *x, const float *w, struct vq_block *b);
