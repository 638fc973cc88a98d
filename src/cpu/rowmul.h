/* The loops of kernels that work on unpacked rows (cpu/row.h): rows of a piece are unpacked CHUNK
 * values at a time into scratch, then multiplied by every column, a few rows x a few columns at a
 * time with sums in registers.  A chunk's sums are added to the accumulators in ascending order,
 * so the order of float additions depends on the row length only.
 *
 * Few columns: row groups outermost, so that the file is read linearly and the hardware's own
 * prefetch works.  Many: a chunk of all rows is unpacked before the columns pass by. */
#pragma once

#include "cpu/row.h"

enum {
    ROW_CHUNK = 1024, /* values: 32 rows of it are 44 KiB of row_k */
    ROW_BLOCKS = ROW_CHUNK / ACT_BLOCK,
    ROW_FEW = 4, /* columns */
};

/* acc[c][r] += the n_block unpacked blocks of each row times n columns.  Block b of row r is
 * element r * ROW_BLOCKS + b of w; x[c] is column c's first block, the others follow at x_step. */
typedef void row_tile_fn(const void *w, int n_block, const uint8_t *const *x, size_t x_step,
                         float *acc, int n);
typedef void row_unpack_fn(enum qtype t, const uint8_t *block, void *out);

struct row_kind {
    row_unpack_fn *unpack;
    row_tile_fn *mul;
    int rows, cols; /* of a tile; rows divides MAT_ROWS */
    size_t size;    /* of an unpacked block */
    enum act_enc enc;
};

/* Blocks [b0, b0 + n) of row r to scratch; what a row lacks of its last block is zeros.  The
 * bytes `ahead` are fetched: on a Zen 5 core this raised avx2 at one column from 6 to 12 GB/s for
 * Q6_K and from 6 to 14 for Q8_0, but only from 5.5 to 7 for Q4_K (checkkern, loaded machine). */
static inline void row_unpack(enum qtype t, const struct mat_call *c, const struct row_kind *k,
                              int r, int b0, int n, size_t ahead, uint8_t *to) {
    const size_t block = qtype_row_bytes(t, ACT_BLOCK);
    const uint8_t *w = c->w + (size_t)r * c->row_bytes;
    for (int b = b0; b < b0 + n; b++, to += k->size) {
        const size_t at = (size_t)b * block, left = c->row_bytes - at;
        if (left >= block) {
            for (size_t i = 0; i < block; i += 64) /* beyond the matrix at its end: harmless */
                __builtin_prefetch(w + at + ahead + i);
            k->unpack(t, w + at, to);
        } else {
            uint8_t stage[2 * ACT_BLOCK] = {0};
            memcpy(stage, w + at, left);
            k->unpack(t, stage, to);
        }
    }
}

/* Rows [r0, r0 + n_row) times all columns, blocks [b0, b0 + n_block). */
static inline void row_mul_chunk(enum qtype t, const struct mat_call *c, const struct row_kind *k,
                                 int r0, int n_row, int b0, int n_block) {
    const size_t act = act_bytes(k->enc), row = ROW_BLOCKS * k->size;
    const uint8_t *x0 = c->x + (size_t)b0 * c->x_step, *x[8];
    for (int r = 0; r < n_row; r++) /* rows beyond the piece repeat its last */
        row_unpack(t, c, k, r0 + r < c->n_row ? r0 + r : c->n_row - 1, b0, n_block,
                   (size_t)n_row * c->row_bytes, c->tmp + (size_t)r * row);
    const int n_part = (c->n + k->cols - 1) / k->cols;
    for (int part = 0; part < n_part; part++) {
        const int lo = c->n * part / n_part, hi = c->n * (part + 1) / n_part;
        for (int i = lo; i < hi; i++)
            x[i - lo] = x0 + (size_t)(c->index ? c->index[i] : i) * act;
        for (int r = 0; r < n_row; r += k->rows)
            k->mul(c->tmp + (size_t)r * row, n_block, x, c->x_step, c->acc + lo * MAT_ROWS + r0 + r,
                   hi - lo);
    }
}

static inline void row_mul(enum qtype t, const struct mat_call *c, const struct row_kind *k) {
    const int n_block = act_blocks(c->n_col);
    const int all = (c->n_row + k->rows - 1) / k->rows * k->rows;
    const int step = c->n <= ROW_FEW ? k->rows : all;
    mat_acc_clear(c);
    for (int r = 0; r < all; r += step)
        for (int b = 0; b < n_block; b += ROW_BLOCKS)
            row_mul_chunk(t, c, k, r, step, b, n_block - b < ROW_BLOCKS ? n_block - b : ROW_BLOCKS);
}
