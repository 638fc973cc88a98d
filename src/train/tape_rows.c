/* Recorded ops that work on rows one by one, and their gradients: embedding, norms, sums, caps,
 * copies. */
#include <string.h>

#include "cpu/op.h"
#include "train/back_rows.h"
#include "train/tape_priv.h"

void tape_zero_rows(struct worker *w, float *x, int ldx, int n, int n_col) {
    int lo, hi;
    team_range(w, n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++)
        memset(x + (size_t)i * ldx, 0, (size_t)n_col * sizeof *x);
}

/* ---- rows of a table ---- */

static void record_table(struct worker *w, enum tape_kind kind, float *x, int ldx,
                         const struct mat *table, const int32_t *index, int n, float scale) {
    struct train_ctx *c = train_ctx(w);
    if (w->id != 0) return;
    struct tape_op *op = tape_push(c, kind);
    if (op) {
        op->rows.x = x, op->rows.ldx = ldx, op->rows.n = n;
        op->rows.table = table, op->rows.index = index, op->rows.scale = scale;
    }
    tape_wrote(c, x, ldx, n, table->n_col, -1);
}

void tape_embed(struct worker *w, float *x, int ldx, const struct mat *table, const int32_t *tok,
                int n, float scale) {
    record_table(w, TAPE_EMBED, x, ldx, table, tok, n, scale);
    if (train_ctx(w)->dry)
        team_barrier(w);
    else
        cpu_embed(w, x, ldx, table, tok, n, scale);
}

void tape_add_rows(struct worker *w, float *x, int ldx, const struct mat *table,
                   const int32_t *index, int n) {
    record_table(w, TAPE_ADD_ROWS, x, ldx, table, index, n, 1);
    if (train_ctx(w)->dry)
        team_barrier(w);
    else
        cpu_add_rows(w, x, ldx, table, index, n);
}

/* Workers take columns, as rows may use an entry of the table twice. */
void back_table_rows(struct worker *w, const struct tape_op *op) {
    const struct train_ctx *c = train_ctx(w);
    const int n_col = op->rows.table->n_col;
    float *g = grad_of(c, op->rows.table->data), *dx = grad_at(c, op->rows.x);
    int lo, hi;
    team_range(w, n_col, 16, &lo, &hi);
    for (int i = 0; i < op->rows.n; i++) {
        float *from = dx + (size_t)i * op->rows.ldx;
        float *to = g ? g + (size_t)op->rows.index[i] * n_col : NULL;
        for (int k = lo; g && k < hi; k++)
            to[k] += op->rows.scale * from[k];
        if (op->kind == TAPE_EMBED) memset(from + lo, 0, (size_t)(hi - lo) * sizeof *from);
    }
    team_barrier(w);
}

/* ---- norms ---- */

static void record_norm(struct worker *w, enum tape_kind kind, float *y, int ldy, const float *x,
                        int ldx, int n, int n_col, const struct norm *norm, float scale) {
    struct train_ctx *c = train_ctx(w);
    const bool norms = norm && norm->kind != NORM_NONE;
    float *in = norms ? tape_save(w, x, ldx, n, n_col, NULL) : NULL;
    if (w->id != 0) return;
    struct tape_op *op = tape_push(c, kind);
    if (op) {
        op->norm.y = y, op->norm.x = x, op->norm.ldy = ldy, op->norm.ldx = ldx;
        op->norm.n = n, op->norm.n_col = n_col, op->norm.scale = scale;
        op->norm.norm = norms ? norm : NULL, op->norm.in = in;
    }
    tape_wrote(c, y, ldy, n, n_col, -1);
}

void tape_norm(struct worker *w, float *y, int ldy, const float *x, int ldx, int n, int n_col,
               const struct norm *norm) {
    record_norm(w, TAPE_NORM, y, ldy, x, ldx, n, n_col, norm, 1);
    if (train_ctx(w)->dry)
        team_barrier(w);
    else
        cpu_norm(w, y, ldy, x, ldx, n, n_col, norm);
}

void tape_add_norm(struct worker *w, float *x, int ldx, const float *y, int ldy, int n, int n_col,
                   const struct norm *norm, float scale) {
    record_norm(w, TAPE_ADD_NORM, x, ldx, y, ldy, n, n_col, norm, scale);
    if (train_ctx(w)->dry)
        team_barrier(w);
    else
        cpu_add_norm(w, x, ldx, y, ldy, n, n_col, norm, scale);
}

void tape_back_norm(struct worker *w, const struct norm *norm, int n, int n_col, const float *x,
                    const float *dy, int lddy, float *dx, int lddx, bool add) {
    const struct train_ctx *c = train_ctx(w);
    float *dw = grad_of(c, norm->w), *db = grad_of(c, norm->b), *aside = c->rows[1];
    const bool weights = dw || db; /* their sums want dy, which dx may overwrite */
    const size_t n_stat = 2 * (size_t)(n_col / norm->dim);
    int lo, hi, first, end;
    team_range(w, n, 1, &first, &end);
    for (int i = first; i < end; i++)
        back_norm(norm, n_col, x + (size_t)i * n_col, dy + (size_t)i * lddy,
                  weights ? aside + (size_t)i * n_col : dx + (size_t)i * lddx, !weights && add,
                  weights ? c->stat + (size_t)i * n_stat : NULL);
    team_barrier(w);
    if (!weights) return;
    team_range(w, norm->n_weight, 16, &lo, &hi);
    back_norm_weights(norm, n, n_col, x, n_col, c->stat, dy, lddy, lo, hi, dw, db);
    team_barrier(w);
    for (int i = first; i < end; i++) {
        const float *from = aside + (size_t)i * n_col;
        float *to = dx + (size_t)i * lddx;
        for (int k = 0; k < n_col; k++)
            to[k] = add ? to[k] + from[k] : from[k];
    }
    team_barrier(w);
}

/* y = norm(x), y may be x. */
void back_norm_rows(struct worker *w, const struct tape_op *op) {
    const struct train_ctx *c = train_ctx(w);
    const int n = op->norm.n, n_col = op->norm.n_col;
    float *dy = grad_at(c, op->norm.y), *dx = grad_at(c, op->norm.x);
    const bool in_place = dx == dy;
    if (op->norm.norm) {
        tape_back_norm(w, op->norm.norm, n, n_col, op->norm.in, dy, op->norm.ldy, dx, op->norm.ldx,
                       !in_place);
    } else if (!in_place) {
        int lo, hi;
        team_range(w, n, 1, &lo, &hi);
        for (int i = lo; i < hi; i++)
            for (int k = 0; k < n_col; k++)
                dx[(size_t)i * op->norm.ldx + k] += dy[(size_t)i * op->norm.ldy + k];
    }
    if (!in_place) tape_zero_rows(w, dy, op->norm.ldy, n, n_col);
    team_barrier(w);
}

/* y += scale * norm(x): what y was keeps its gradient. */
void back_add_norm(struct worker *w, const struct tape_op *op) {
    struct train_ctx *c = train_ctx(w);
    const int n = op->norm.n, n_col = op->norm.n_col;
    const float *dy = grad_at(c, op->norm.y);
    float *dx = grad_at(c, op->norm.x), *scaled = c->rows[0], scale = op->norm.scale;
    int lo, hi;
    team_range(w, n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++) {
        const float *from = dy + (size_t)i * op->norm.ldy;
        float *to = op->norm.norm ? scaled + (size_t)i * n_col : dx + (size_t)i * op->norm.ldx;
        for (int k = 0; k < n_col; k++)
            to[k] = op->norm.norm ? scale * from[k] : to[k] + scale * from[k];
    }
    team_barrier(w);
    if (op->norm.norm)
        tape_back_norm(w, op->norm.norm, n, n_col, op->norm.in, scaled, n_col, dx, op->norm.ldx,
                       true);
}

/* ---- values one by one ---- */

/* The result in place of the argument: it is what their gradients are made from. */
static void record_value(struct worker *w, enum tape_kind kind, float *y, int ldy, int n, int n_col,
                         float scale, float limit) {
    struct train_ctx *c = train_ctx(w);
    const bool needs = kind == TAPE_CLAMP || limit != 0;
    if (w->id == 0) tape_wrote(c, y, ldy, n, n_col, -1);
    team_barrier(w);
    float *out = needs ? tape_save(w, y, ldy, n, n_col, NULL) : NULL;
    if (w->id == 0) {
        struct tape_op *op = tape_push(c, kind);
        if (op) {
            op->value.y = y, op->value.ldy = ldy, op->value.n = n, op->value.n_col = n_col;
            op->value.scale = scale, op->value.limit = limit, op->value.out = out;
        }
    }
    team_barrier(w);
}

void tape_scale_cap(struct worker *w, float *y, int ldy, int n, int n_col, float scale, float cap) {
    if (!train_ctx(w)->dry) cpu_scale_cap(w, y, ldy, n, n_col, scale, cap);
    record_value(w, TAPE_CAP, y, ldy, n, n_col, scale, cap);
}

void tape_clamp(struct worker *w, float *y, int ldy, int n, int n_col, float limit) {
    if (!train_ctx(w)->dry) cpu_clamp(w, y, ldy, n, n_col, limit);
    record_value(w, TAPE_CLAMP, y, ldy, n, n_col, 1, limit);
}

void back_value(struct worker *w, const struct tape_op *op) {
    const int n_col = op->value.n_col;
    float *dy = grad_at(train_ctx(w), op->value.y);
    int lo, hi;
    team_range(w, op->value.n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++) {
        float *row = dy + (size_t)i * op->value.ldy;
        const float *out = op->value.out ? op->value.out + (size_t)i * n_col : NULL;
        if (op->kind == TAPE_CAP)
            back_cap(n_col, op->value.scale, op->value.limit, out, row, row);
        else
            back_clamp(n_col, op->value.limit, out, row, row);
    }
    team_barrier(w);
}

/* ---- copies ---- */

void tape_gather_rows(struct worker *w, float *dst, int lddst, const float *src, int ldsrc,
                      const int32_t *index, int n, int n_col) {
    struct train_ctx *c = train_ctx(w);
    if (w->id == 0) {
        struct tape_op *op = tape_push(c, TAPE_GATHER);
        if (op) {
            op->gather.dst = dst, op->gather.src = src, op->gather.index = index;
            op->gather.lddst = lddst, op->gather.ldsrc = ldsrc;
            op->gather.n = n, op->gather.n_col = n_col;
        }
        tape_wrote(c, dst, lddst, n, n_col, -1);
    }
    if (c->dry)
        team_barrier(w);
    else
        cpu_gather_rows(w, dst, lddst, src, ldsrc, index, n, n_col);
}

/* No row is taken twice: model/ gathers the identity, or rows of different sequences. */
void back_gather(struct worker *w, const struct tape_op *op) {
    const struct train_ctx *c = train_ctx(w);
    const int n_col = op->gather.n_col;
    float *from = grad_at(c, op->gather.dst), *to = grad_at(c, op->gather.src);
    int lo, hi;
    team_range(w, op->gather.n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++) {
        float *a = from + (size_t)i * op->gather.lddst;
        float *b = to + (size_t)op->gather.index[i] * op->gather.ldsrc;
        for (int k = 0; k < n_col; k++)
            b[k] += a[k];
        memset(a, 0, (size_t)n_col * sizeof *a);
    }
    team_barrier(w);
}
