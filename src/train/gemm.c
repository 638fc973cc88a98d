/* Products in the order of Goto and van de Geijn, "Anatomy of high-performance matrix
 * multiplication" (ACM TOMS 34, 2008), with the matrix decoded on the way:
 *
 *     for TALL rows of y, for PANEL_COLS columns of y
 *         for a panel of terms of the sums, ascending
 *             right panel: that part of the matrix, decoded, in strips [k][strip]     L2, L3
 *             for LEFT_ROWS rows
 *                 left block: that part of x, rows [row][k]                           L1, L2
 *                 sums += left block * right panel          mul_tile, mul_bf16 (cpu/kern.h)
 *                 behind the last terms: y = scale * sums (+ y) (+ bias)
 *
 * The left block is a copy because rows of x are often a multiple of 4 KiB apart and then share
 * eight lines of L1.  Panels as large as L2 are faster than smaller ones, whose x and sums pass
 * more often (bench/NOTES.md).  The sums are one chain of fused multiply-adds in ascending k (the
 * scalar kernels: sums in double, a panel each), wherever an element stands in its tile. */
#include "train/gemm.h"

#include <assert.h>
#include <string.h>

#include "cpu/kern.h"

enum {
    PANEL_COLS = 512,
    PANEL_K = 512, /* units of 4 bytes: terms, or pairs of terms in bfloat16 */
    LEFT_ROWS = 48,
    TALL = 1024,
    ROW_GRAIN = 6, /* of the register tiles */
    LANES = 16,    /* of the widest vector: columns are padded with zeros to a multiple */
    GROUP = 16,    /* rows decoded before they are transposed */
    AHEAD = 8,     /* rows fetched before they are decoded */
    BLOCK = 256,   /* of the longest block; divides PANEL_K */
    LINE = 64,
    THIN = 64,                    /* columns of a gradient that is made transposed */
    LD = PANEL_K + LANES,         /* of left blocks: not a multiple of 4 KiB */
    LD_ROW = 2 * PANEL_K + LANES, /* of rows of floats that are rounded, or decoded */
};

_Static_assert(LD_ROW >= PANEL_COLS + 2 * BLOCK, "room for a block more on either side");

/* y (+)= scale * x m, with m[k][j] = w[k][j], or w[j][k] where it lies across; likewise x. */
struct product {
    const float *x;
    int ldx;
    const int32_t *x_row; /* of the rows in memory, or NULL */
    bool x_across;
    struct mat w;
    quant_decode_fn *decode; /* of w */
    const int32_t *w_row;
    bool w_across;
    int n_row, n_col, n_k;
    int strip; /* kern_gemm.strip */
    float *y;
    int ldy;
    const int32_t *y_row;
    bool y_across; /* y[j][r]; only with add, without y_row and bias */
    float scale;
    const float *bias;
    bool add, bf16;
};

/* A worker's scratch.  In bfloat16 terms come in pairs. */
struct space {
    union {
        _Alignas(64) float f[PANEL_COLS * PANEL_K]; /* strips of [PANEL_K][strip] */
        uint16_t h[PANEL_COLS * PANEL_K][2];
    } right;
    union {
        float f[LEFT_ROWS][LD];
        uint16_t h[LEFT_ROWS][LD][2];
    } left;
    float rows[GROUP][LD_ROW];   /* decoded */
    uint16_t half[GROUP][LD][2]; /* rounded */
    float sums[TALL][PANEL_COLS];
};

struct range {
    int lo, n;
};

static int min(int a, int b) {
    return a < b ? a : b;
}

static size_t row_at(const int32_t *index, int i) {
    return (size_t)(index ? index[i] : i);
}

static void fetch(const void *p, size_t n_bytes) {
    for (size_t i = 0; i < n_bytes; i += LINE)
        __builtin_prefetch((const char *)p + i, 0, 2); /* to L2 */
}

/* n floats to bfloat16, and 0 where the last pair lacks a term. */
static void round_row(const struct kern_gemm *kern, int n, const float *x, uint16_t *y) {
    kern->to_bf16(n, x, y);
    if (n % 2) y[n] = 0;
}

/* ---- the right panel ---- */

/* Where term (or pair) k of column j is, of the panel. */
static int right_at(const struct product *p, int k, int j) {
    return (j / p->strip * PANEL_K + k) * p->strip + j % p->strip;
}

/* Columns at of row r of the matrix as floats, in place or decoded to buf, which has room for a
 * block more on either side. */
static const float *decode_part(const struct product *p, int r, struct range at, float *buf) {
    const uint8_t *row = p->w.data + row_at(p->w_row, r) * p->w.row_bytes;
    if (p->w.type == QT_F32) return (const float *)(const void *)row + at.lo;
    const struct qtype_geom *g = qtype_geom((uint32_t)p->w.type);
    const int first = at.lo / g->block, last = (at.lo + at.n + g->block - 1) / g->block;
    p->decode(row + (size_t)first * (size_t)g->block_bytes, buf,
              (size_t)(last - first) * (size_t)g->block);
    return buf + (at.lo - first * g->block);
}

/* What decode_part will read of a row. */
static void fetch_part(const struct product *p, int r, struct range at) {
    const struct qtype_geom *g = qtype_geom((uint32_t)p->w.type);
    const int first = at.lo / g->block, last = (at.lo + at.n + g->block - 1) / g->block;
    if (r >= p->w.n_row) return;
    fetch(p->w.data + row_at(p->w_row, r) * p->w.row_bytes + (size_t)first * (size_t)g->block_bytes,
          (size_t)(last - first) * (size_t)g->block_bytes);
}

/* m[k][j] = w[k][j]: rows are cut into the strips. */
static void right_along(struct space *s, const struct product *p, struct range cols,
                        struct range ks) {
    for (int k = 0; k < ks.n; k++) {
        fetch_part(p, ks.lo + k + AHEAD, cols);
        const float *row = decode_part(p, ks.lo + k, cols, s->rows[0]);
        for (int j = 0; j < cols.n; j += p->strip) {
            const int n = min(p->strip, cols.n - j), pad = -n & (LANES - 1);
            float *to = s->right.f + right_at(p, k, j);
            memcpy(to, row + j, (size_t)n * sizeof *to);
            memset(to + n, 0, (size_t)pad * sizeof *to);
        }
    }
}

static void right_along_bf16(struct space *s, const struct product *p, struct range cols,
                             struct range ks, const struct kern_gemm *kern) {
    static const float none[PANEL_COLS];
    for (int k = 0; k < ks.n; k += 2) {
        fetch_part(p, ks.lo + k + AHEAD, cols);
        fetch_part(p, ks.lo + k + AHEAD + 1, cols);
        const float *row0 = decode_part(p, ks.lo + k, cols, s->rows[0]), *row1 = none;
        if (k + 1 < ks.n) row1 = decode_part(p, ks.lo + k + 1, cols, s->rows[1]);
        for (int j = 0; j < cols.n; j += p->strip) {
            const int n = min(p->strip, cols.n - j), pad = -n & (LANES - 1);
            uint16_t(*to)[2] = s->right.h + right_at(p, k / 2, j);
            kern->pair_bf16(n, row0 + j, row1 + j, to[0]);
            memset(to + n, 0, (size_t)pad * sizeof *to);
        }
    }
}

/* m[k][j] = w[j][k]: rows become columns, a group at a time. */
static void right_across(struct space *s, const struct product *p, struct range cols,
                         struct range ks, const struct kern_gemm *kern) {
    for (int j = 0; j < cols.n; j += GROUP) {
        for (int i = 0; i < GROUP; i++) {
            static const float none[2 * PANEL_K];
            const float *row = none;
            fetch_part(p, cols.lo + j + i + AHEAD, ks);
            if (j + i < cols.n) row = decode_part(p, cols.lo + j + i, ks, s->rows[i]);
            if (p->bf16)
                round_row(kern, ks.n, row, s->half[i][0]);
            else if (row != s->rows[i])
                memcpy(s->rows[i], row, (size_t)ks.n * sizeof *row);
        }
        const int at = right_at(p, 0, j);
        if (p->bf16)
            kern->transpose(GROUP, (ks.n + 1) / 2, s->half, LD, s->right.h + at, p->strip);
        else
            kern->transpose(GROUP, ks.n, s->rows, LD_ROW, s->right.f + at, p->strip);
    }
}

static void make_right(struct space *s, const struct product *p, struct range cols, struct range ks,
                       const struct kern_gemm *kern) {
    if (p->w_across)
        right_across(s, p, cols, ks, kern);
    else if (p->bf16)
        right_along_bf16(s, p, cols, ks, kern);
    else
        right_along(s, p, cols, ks);
}

/* ---- the left block ---- */

static void left_along(struct space *s, const struct product *p, struct range rows, struct range ks,
                       const struct kern_gemm *kern) {
    for (int r = 0; r < rows.n; r++) {
        const float *x = p->x + row_at(p->x_row, rows.lo + r) * (size_t)p->ldx + ks.lo;
        if (p->bf16)
            round_row(kern, ks.n, x, s->left.h[r][0]);
        else
            memcpy(s->left.f[r], x, (size_t)ks.n * sizeof *x);
    }
}

/* Rows k.. of x, as wide as the block, in place or gathered into buf. */
static const float *gather(const struct product *p, struct range rows, int k, int n,
                           float buf[GROUP][LEFT_ROWS], int *ld) {
    *ld = p->x_row ? LEFT_ROWS : p->ldx;
    if (!p->x_row) return p->x + (size_t)k * (size_t)p->ldx + rows.lo;
    for (int i = 0; i < n; i++)
        memcpy(buf[i], p->x + row_at(p->x_row, k + i) * (size_t)p->ldx + rows.lo,
               (size_t)rows.n * sizeof(float));
    return buf[0];
}

static void left_across(struct space *s, const struct product *p, struct range rows,
                        struct range ks, const struct kern_gemm *kern) {
    static const float none[LEFT_ROWS];
    float gathered[GROUP][LEFT_ROWS];
    uint16_t pairs[GROUP / 2][LEFT_ROWS][2];
    for (int k = 0; k < ks.n; k += GROUP) {
        const int n = min(GROUP, ks.n - k);
        int ld;
        const float *x = gather(p, rows, ks.lo + k, n, gathered, &ld);
        if (!p->bf16) {
            kern->transpose(n, rows.n, x, ld, &s->left.f[0][k], LD);
            continue;
        }
        for (int i = 0; i < n; i += 2, x += 2 * (size_t)ld)
            kern->pair_bf16(rows.n, x, i + 1 < n ? x + ld : none, pairs[i / 2][0]);
        kern->transpose((n + 1) / 2, rows.n, pairs, LEFT_ROWS, s->left.h[0][k / 2], LD);
    }
}

/* ---- the loops ---- */

/* A left block: which rows of y, and which terms of their sums. */
struct part {
    struct range rows, ks;
};

/* Share i of n of the bytes that a left block will be made of: its rows are too far apart for the
 * processor to see what comes next. */
static void fetch_left(const struct product *p, const struct part *next, int i, int n) {
    const struct range lines = p->x_across ? next->ks : next->rows,
                       at = p->x_across ? next->rows : next->ks;
    for (int r = lines.n * i / n; r < lines.n * (i + 1) / n; r++)
        fetch(p->x + row_at(p->x_row, lines.lo + r) * (size_t)p->ldx + at.lo,
              (size_t)at.n * sizeof *p->x);
}

/* A few rows by a strip at a time, so that those rows stay in L1, and what is fetched for the next
 * block comes in small portions. */
static void multiply(const struct kern *kern, const struct space *s, const struct product *p,
                     const struct part *at, const struct part *next, int n_col, float *sums) {
    const int n_group = (at->rows.n + ROW_GRAIN - 1) / ROW_GRAIN, n_k = at->ks.n;
    const int strip = p->strip, n_strip = (n_col + strip - 1) / strip;
    const bool more = at->ks.lo > 0;
    for (int i = 0; i < n_group * n_strip; i++) {
        const int r = i / n_strip * ROW_GRAIN, j = i % n_strip * strip;
        const int n_r = min(ROW_GRAIN, at->rows.n - r);
        const int n_c = (min(strip, n_col - j) + LANES - 1) & -LANES;
        const int right = right_at(p, 0, j);
        float *c = sums + (size_t)r * PANEL_COLS + j;
        fetch_left(p, next, i, n_group * n_strip);
        if (p->bf16)
            kern->gemm.mul_bf16(n_r, n_c, (n_k + 1) / 2, s->left.h[r][0], LD, s->right.h[right],
                                strip, c, PANEL_COLS, more);
        else
            kern->vec.mul_tile(n_r, n_c, n_k, s->left.f[r], LD, s->right.f + right, strip, c,
                               PANEL_COLS, more);
    }
}

static void finish(const struct kern_vec *kern, const struct product *p, struct range rows,
                   struct range cols, const float *sums) {
    for (int r = 0; r < rows.n; r++, sums += PANEL_COLS) {
        float *y = p->y + row_at(p->y_row, rows.lo + r) * (size_t)p->ldy + cols.lo;
        if (p->add)
            kern->add_scaled(cols.n, y, sums, p->scale);
        else
            kern->scale(cols.n, sums, p->scale, y);
        if (p->bias) kern->add_scaled(cols.n, y, p->bias + cols.lo, 1.0f);
    }
}

/* y[j][r] += scale * sums[r][j]: a group of columns at a time becomes rows. */
static void finish_across(const struct kern *kern, const struct product *p, struct range rows,
                          struct range cols, const float *sums) {
    float turned[GROUP][LEFT_ROWS];
    for (int j = 0; j < cols.n; j += GROUP) {
        const int n = min(GROUP, cols.n - j);
        kern->gemm.transpose(rows.n, n, sums + j, PANEL_COLS, turned, LEFT_ROWS);
        for (int i = 0; i < n; i++)
            kern->vec.add_scaled(rows.n,
                                 p->y + (size_t)(cols.lo + j + i) * (size_t)p->ldy + rows.lo,
                                 turned[i], p->scale);
    }
}

static int panel_terms(const struct product *p) {
    return p->bf16 ? 2 * PANEL_K : PANEL_K;
}

/* Left block r of rows and ks, or the first one of the terms behind them. */
static struct part part_at(const struct product *p, struct range rows, struct range ks, int r) {
    if (r >= rows.n) {
        ks.lo += ks.n;
        ks.n = min(panel_terms(p), p->n_k - ks.lo);
        r = 0;
    }
    return (struct part){{rows.lo + r, min(LEFT_ROWS, rows.n - r)}, ks};
}

/* At most TALL rows by PANEL_COLS columns. */
static void make_block(struct space *s, const struct product *p, struct range rows,
                       struct range cols) {
    const struct kern *kern = kern_get();
    struct range ks = {0, min(panel_terms(p), p->n_k)};
    do { /* once for no terms at all: sums of 0 */
        const bool last = ks.lo + ks.n == p->n_k, only = p->n_k <= panel_terms(p);
        make_right(s, p, cols, ks, &kern->gemm);
        for (int r = 0; r < rows.n; r += LEFT_ROWS) {
            const struct part at = part_at(p, rows, ks, r),
                              next = part_at(p, rows, ks, r + LEFT_ROWS);
            float *sums = s->sums[only ? 0 : r];
            (p->x_across ? left_across : left_along)(s, p, at.rows, ks, &kern->gemm);
            multiply(kern, s, p, &at, &next, cols.n, sums);
            if (last && p->y_across) finish_across(kern, p, at.rows, cols, sums);
            if (last && !p->y_across) finish(&kern->vec, p, at.rows, cols, sums);
        }
        ks.lo += ks.n;
        ks.n = min(panel_terms(p), p->n_k - ks.lo);
    } while (ks.n > 0);
}

/* ---- the team ---- */

static struct range share(int n, int grain, int i, int of) {
    const int64_t units = (n + grain - 1) / grain;
    const int64_t lo = units * i / of * grain, hi = units * (i + 1) / of * grain;
    return (struct range){(int)(lo < n ? lo : n), (int)((hi < n ? hi : n) - (lo < n ? lo : n))};
}

static int round_up(int n, int grain) {
    return (n + grain - 1) / grain * grain;
}

/* Time of the slowest worker when rows are cut in `tall` shares, columns in `wide`, a term: what is
 * multiplied, and bringing the two sides into order in units of that. */
static double cost(const struct product *p, int tall, int wide) {
    const int rows = min(round_up((p->n_row + tall - 1) / tall, ROW_GRAIN), p->n_row);
    const int cols = min(round_up((p->n_col + wide - 1) / wide, p->strip), p->n_col);
    const int left = p->x_across ? 12 : 6, right = p->w.type == QT_F32 && !p->w_across ? 6 : 16;
    return (double)rows * cols + (double)left * rows * ((cols + PANEL_COLS - 1) / PANEL_COLS) +
           (double)right * cols * ((rows + TALL - 1) / TALL);
}

static void run(struct worker *w, const struct product *p) {
    assert(w->scratch_bytes >= gemm_scratch_bytes());
    struct space *s = (struct space *)(void *)w->scratch;
    int tall = 1;
    for (int n = 2; n <= w->n; n++)
        if (w->n % n == 0 && cost(p, n, w->n / n) < cost(p, tall, w->n / tall)) tall = n;
    const struct range rows = share(p->n_row, ROW_GRAIN, w->id % tall, tall);
    const struct range cols = share(p->n_col, p->strip, w->id / tall, w->n / tall);
    for (int r = 0; r < rows.n; r += TALL)
        for (int j = 0; j < cols.n; j += PANEL_COLS)
            make_block(s, p, (struct range){rows.lo + r, min(TALL, rows.n - r)},
                       (struct range){cols.lo + j, min(PANEL_COLS, cols.n - j)});
}

static bool rounds(enum gemm_prec prec) {
    return prec == GEMM_BF16 && gemm_has_bf16();
}

static struct product product_of(const struct gemm_job *j) {
    return (struct product){.x = j->x,
                            .ldx = j->ldx,
                            .x_row = j->x_row,
                            .w = *j->w,
                            .decode = kern_get()->gemm.decode[j->w->type],
                            .strip = kern_get()->gemm.strip,
                            .n_row = j->n,
                            .y = j->y,
                            .ldy = j->ldy,
                            .y_row = j->y_row,
                            .scale = j->scale,
                            .add = j->add,
                            .bf16 = rounds(j->prec)};
}

void gemm_forward(struct worker *w, const struct gemm_job *j) {
    struct product p = product_of(j);
    p.w_across = true;
    p.n_col = j->w->n_row;
    p.n_k = j->w->n_col;
    p.bias = j->bias;
    run(w, &p);
}

void gemm_backward(struct worker *w, const struct gemm_job *j) {
    struct product p = product_of(j);
    p.n_col = j->w->n_col;
    p.n_k = j->w->n_row;
    run(w, &p);
}

/* The left operand is what gets transposed.  Of B [out][rank] that is x, which is much narrower. */
void gemm_weight(struct worker *w, const struct gemm_weight_job *j) {
    const bool swap = j->n_col <= THIN && j->n_col < j->n_row;
    const float *left = swap ? j->x : j->dy, *right = swap ? j->dy : j->x;
    const int ld_right = swap ? j->lddy : j->ldx;
    const struct product p = {
        .x = left,
        .ldx = swap ? j->ldx : j->lddy,
        .x_row = swap ? j->x_row : j->dy_row,
        .x_across = true,
        .w = {.data = (const uint8_t *)right,
              .type = QT_F32,
              .n_row = j->n,
              .n_col = swap ? j->n_row : j->n_col,
              .row_bytes = (size_t)ld_right * sizeof *right},
        .w_row = swap ? j->dy_row : j->x_row,
        .strip = kern_get()->gemm.strip,
        .n_row = swap ? j->n_col : j->n_row,
        .n_col = swap ? j->n_row : j->n_col,
        .n_k = j->n,
        .y = j->g,
        .ldy = j->n_col,
        .y_across = swap,
        .scale = j->scale,
        .add = true,
        .bf16 = rounds(j->prec),
    };
    run(w, &p);
}

size_t gemm_scratch_bytes(void) {
    return sizeof(struct space);
}

bool gemm_has_bf16(void) {
    return kern_get()->gemm.bf16;
}
