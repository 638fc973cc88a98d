/* Ops that work on rows one by one: embedding, norms, sums, scaling.  They are split by rows, or by
 * strips of a row where one long row must occupy all workers (logits of one token). */
#include "cpu/op.h"

#include <math.h>
#include <string.h>

#include "cpu/kern.h"
#include "quant/quant.h"

enum { STRIP = 512 }; /* values: long enough that two workers never share its cache lines much */

/* The worker's share of the strips of n rows of n_col values. */
struct strips {
    int at, end; /* strips left */
    int per_row, n_col;
    int row, col, n; /* the current one: its row, first column and length */
};

static struct strips strips_begin(const struct worker *w, int n, int n_col) {
    struct strips s = {.per_row = (n_col + STRIP - 1) / STRIP, .n_col = n_col};
    team_range(w, n * s.per_row, 1, &s.at, &s.end);
    return s;
}

static bool strips_next(struct strips *s) {
    if (s->at == s->end) return false;
    s->row = s->at / s->per_row;
    s->col = s->at % s->per_row * STRIP;
    s->n = s->n_col - s->col < STRIP ? s->n_col - s->col : STRIP;
    s->at++;
    return true;
}

static const uint8_t *mat_row(const struct mat *m, int row) {
    return m->data + (size_t)row * m->row_bytes;
}

void cpu_rows_scratch(const struct op_limits *lim, size_t *scratch_bytes, size_t *shared_bytes) {
    const int n = lim->max_cols > lim->max_out ? lim->max_cols : lim->max_out;
    *scratch_bytes = (size_t)n * 3 * sizeof(float); /* a row; or route()'s scores */
    *shared_bytes = 0;
}

void cpu_embed(struct worker *w, float *x, int ldx, const struct mat *table, const int32_t *tok,
               int n, float scale) {
    const struct kern_vec *k = &kern_get()->vec;
    int lo, hi;
    team_range(w, n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++) {
        float *row = x + (size_t)i * ldx;
        quant_type(table->type)->decode(mat_row(table, tok[i]), row, (size_t)table->n_col);
        if (scale != 1.0f) k->scale(table->n_col, row, scale, row);
    }
    team_barrier(w);
}

void cpu_add_rows(struct worker *w, float *x, int ldx, const struct mat *table,
                  const int32_t *index, int n) {
    const struct kern_vec *k = &kern_get()->vec;
    float *tmp = (float *)w->scratch;
    int lo, hi;
    team_range(w, n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++) {
        quant_type(table->type)->decode(mat_row(table, index[i]), tmp, (size_t)table->n_col);
        k->add_scaled(table->n_col, x + (size_t)i * ldx, tmp, 1.0f);
    }
    team_barrier(w);
}

void cpu_norm_row(const struct kern_vec *k, const struct norm *norm, int n_col, const float *x,
                  float *y) {
    const int dim = norm->dim;
    if (norm->kind == NORM_NONE) {
        if (y != x) memcpy(y, x, (size_t)n_col * sizeof *y);
        return;
    }
    for (int at = 0; at < n_col; at += dim) {
        const int own = norm->n_weight > dim ? at : 0; /* weights of its own, or shared */
        const float *wt = norm->w ? norm->w + own : NULL, *b = norm->b ? norm->b + own : NULL;
        if (norm->kind == NORM_RMS)
            k->rms_norm(dim, x + at, wt, norm->eps, y + at);
        else
            k->layer_norm(dim, x + at, wt, b, norm->eps, y + at);
    }
}

void cpu_norm(struct worker *w, float *y, int ldy, const float *x, int ldx, int n, int n_col,
              const struct norm *norm) {
    const struct kern_vec *k = &kern_get()->vec;
    int lo, hi;
    team_range(w, n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++)
        cpu_norm_row(k, norm, n_col, x + (size_t)i * ldx, y + (size_t)i * ldy);
    team_barrier(w);
}

void cpu_add_norm(struct worker *w, float *x, int ldx, const float *y, int ldy, int n, int n_col,
                  const struct norm *norm, float scale) {
    const struct kern_vec *k = &kern_get()->vec;
    float *tmp = (float *)w->scratch;
    int lo, hi;
    team_range(w, n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++) {
        const float *add = y + (size_t)i * ldy;
        if (norm) {
            cpu_norm_row(k, norm, n_col, add, tmp);
            add = tmp;
        }
        k->add_scaled(n_col, x + (size_t)i * ldx, add, scale);
    }
    team_barrier(w);
}

void cpu_combine(struct worker *w, float *x, int ldx, const float *y, int ldy,
                 const struct routing *r, int n, int n_col, float scale) {
    const struct kern_vec *k = &kern_get()->vec;
    for (struct strips s = strips_begin(w, n, n_col); strips_next(&s);)
        for (int slot = 0; slot < r->k; slot++) {
            const size_t entry = (size_t)s.row * r->k + slot;
            k->add_scaled(s.n, x + (size_t)s.row * ldx + s.col, y + entry * ldy + s.col,
                          scale * r->weight[entry]);
        }
    team_barrier(w);
}

void cpu_gate_rows(struct worker *w, float *y, int ldy, const float *gate, int ldgate, int n,
                   int n_col) {
    const struct kern_vec *k = &kern_get()->vec;
    for (struct strips s = strips_begin(w, n, n_col); strips_next(&s);) {
        const float g = 1.0f / (1.0f + expf(-gate[(size_t)s.row * ldgate]));
        float *at = y + (size_t)s.row * ldy + s.col;
        k->scale(s.n, at, g, at);
    }
    team_barrier(w);
}

void cpu_scale_cap(struct worker *w, float *y, int ldy, int n, int n_col, float scale, float cap) {
    const struct kern_vec *k = &kern_get()->vec;
    for (struct strips s = strips_begin(w, n, n_col); strips_next(&s);) {
        float *at = y + (size_t)s.row * ldy + s.col;
        if (cap != 0.0f)
            k->cap(s.n, at, scale, cap);
        else if (scale != 1.0f)
            k->scale(s.n, at, scale, at);
    }
    team_barrier(w);
}

void cpu_clamp(struct worker *w, float *y, int ldy, int n, int n_col, float limit) {
    for (struct strips s = strips_begin(w, n, n_col); strips_next(&s);) {
        float *at = y + (size_t)s.row * ldy + s.col;
        for (int i = 0; i < s.n; i++) {
            const float high = at[i] < limit ? at[i] : limit;
            at[i] = high > -limit ? high : -limit;
        }
    }
    team_barrier(w);
}

void cpu_gather_rows(struct worker *w, float *dst, int lddst, const float *src, int ldsrc,
                     const int32_t *index, int n, int n_col) {
    int lo, hi;
    team_range(w, n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++)
        memcpy(dst + (size_t)i * lddst, src + (size_t)index[i] * ldsrc,
               (size_t)n_col * sizeof *dst);
    team_barrier(w);
}
