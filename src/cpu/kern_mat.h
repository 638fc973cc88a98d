/* Kernels for products with weights: one entry per tensor type.
 *
 * A kernel multiplies a *piece*, some adjacent rows of a matrix in its file format, by any number
 * of activation columns.  Activations are encoded once per op, in the encoding that
 * the type's kernel wants, as blocks of 256 values (cpu/act.h).
 *
 * Every kernel adds in an order that depends on the row length only, so that a row's result has
 * the same bits for every number of columns, of rows beside it and of threads. */
#pragma once

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include "base/cpu.h"
#include "base/qtype.h"

enum {
    MAT_ROWS = 128,            /* most rows in a piece of any kernel */
    MAT_PIECE = 32,            /* most rows in a piece of a kernel that names no other number */
    MAT_COLS = 512,            /* most columns in one call: bounds the accumulators, 256 KiB */
    MAT_TMP_BYTES = 160 << 10, /* a kernel's own scratch */
};

/* How activations are stored for a kernel; see cpu/act.h. */
enum act_enc {
    ACT_F32,  /* float32 */
    ACT_Q8,   /* int8 with a scale per 32 */
    ACT_Q8_K, /* int8 with a scale per 256 */
    ACT_Q16,  /* int16 with a scale per 32 */
    ACT_N_ENC,
};

/* acc[c][r] = W[r] . x[c] for r < n_row, c < n. */
struct mat_call {
    const uint8_t *w; /* the first row; row r at + r * row_bytes */
    size_t row_bytes;
    int n_row,
        n_col; /* rows 1..MAT_PIECE, or 1..wide; values in a row, a multiple of the type's block */
    const uint8_t *x; /* block b of column c at x + b * x_step + index[c] * act_bytes(enc) */
    size_t x_step;
    const int32_t *index; /* [n], or NULL: 0, 1, 2.. */
    int n;                /* columns, 1..MAT_COLS */
    int n_row_after;      /* rows that follow the piece and come next: a hint to fetch them */
    float *acc;           /* [n][MAT_ROWS], 64-byte aligned; written, not added to */
    uint8_t *tmp;         /* MAT_TMP_BYTES, 64-byte aligned */
};
typedef void mat_fn(enum qtype t, const struct mat_call *c);

/* Zeros where the piece's sums go, in whole groups of MAT_PIECE rows: kernels work on tiles that
 * may reach beyond the last row. */
static inline void mat_acc_clear(const struct mat_call *c) {
    const size_t n_row = (size_t)(c->n_row + MAT_PIECE - 1) / MAT_PIECE * MAT_PIECE;
    for (int i = 0; i < c->n; i++)
        memset(c->acc + (size_t)i * MAT_ROWS, 0, n_row * sizeof *c->acc);
}

/* One row of n floats to blocks at out, out + step, ...; the last one is padded with zeros. */
typedef void act_fn(const float *x, int n, uint8_t *out, size_t step);

struct mat_kern {
    mat_fn *mul; /* NULL: not a weight type */
    enum act_enc enc;
    int piece;       /* rows of a piece for few columns (decode): 16 or 32 */
    const char *isa; /* "ref", "avx2", ...: whose it is */
    int wide;        /* most rows of a piece for many columns; 0: MAT_PIECE */
};

struct kern_mat {
    struct mat_kern of[QT_COUNT];
    mat_fn *mul_f32; /* any type with float activations: adapters */
    act_fn *encode[ACT_N_ENC];
};

/* The arithmetic of every ACT_Q16 kernel, scalar; t is QT_F16 or QT_BF16.  Others give its bits. */
void mat_mul_q16_ref(enum qtype t, const struct mat_call *c);

/* Each fills in what its instruction set has and leaves the rest.  ref first: it has everything. */
void kern_mat_ref(struct kern_mat *k);
void kern_mat_avx2(struct kern_mat *k);
void kern_mat_avxvnni(struct kern_mat *k);                            /* over avx2 */
void kern_mat_avx512(struct kern_mat *k, const struct cpu_info *cpu); /* needs VNNI and VBMI */
void kern_mat_neon(struct kern_mat *k, const struct cpu_info *cpu);   /* needs dotprod */
void kern_mat_i8mm(struct kern_mat *k);                               /* over neon */
