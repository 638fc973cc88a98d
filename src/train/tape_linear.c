/* Recorded products with weights: y = W norm(x) + s B (A norm(x)), what follows them (activation,
 * residual), experts and heads; and their gradients
 *
 *     dx = norm'( s_w dy W + s (dy B) A ),   dB += s dy^T H,   dA += s (dy B)^T x,   dW += dy^T x
 *
 * where H = A x was kept.  Weights that are not trained get no gradient: that is what makes
 * adapters cheap. */
#include <assert.h>
#include <string.h>

#include "cpu/kern.h"
#include "cpu/op.h"
#include "train/back_rows.h"
#include "train/rng.h"
#include "train/tape_priv.h"

/* ---- what forward and backward find out alike ---- */

static const struct lora_pair *pair_of(const struct linear_job *j, int o) {
    const struct linear *l = j->out[o].l;
    if (!j->seq || !j->seq[0].adapter || l->id < 0) return NULL;
    const struct lora_pair *p = &j->seq[0].adapter->pair[l->id];
    return p->a.data ? p : NULL;
}

static const struct norm *norm_of(const struct linear_job *j) {
    return j->norm && j->norm->kind != NORM_NONE ? j->norm : NULL;
}

/* Is x needed to make gradients of weights? */
static bool trains(const struct train_ctx *c, const struct linear_job *j) {
    for (int o = 0; o < j->n_out; o++) {
        const struct lora_pair *p = pair_of(j, o);
        if (grad_of(c, j->out[o].l->w.data) || (p && grad_of(c, p->a.data))) return true;
    }
    return false;
}

static int n_entry(const struct linear_job *j) { /* rows of y */
    return j->routing ? j->n * j->routing->k : j->n;
}

static int n_x_row(const struct linear_job *j) { /* rows of x */
    return j->routing && j->x_per_slot ? j->n * j->routing->k : j->n;
}

static int n_made(const struct linear_job *j) { /* results; the second of a GLU joins the first */
    return j->then == THEN_GLU ? 1 : j->n_out;
}

/* The rows that map e of a job meets. */
struct share {
    const int32_t *x_row, *y_row; /* NULL: in order */
    int n;
};

static int n_map(const struct linear_job *j) {
    return j->routing ? j->routing->n_expert : 1;
}

static struct share share_of(const struct linear_job *j, const struct saved_routing *s, int e) {
    if (!j->routing) return (struct share){NULL, NULL, j->n};
    const int at = s->r.start[e];
    const int32_t *entry = s->r.order + at;
    return (struct share){j->x_per_slot ? entry : s->row + at, entry, s->r.start[e + 1] - at};
}

static struct mat map_of(const struct linear *l, int e) {
    struct mat m = l->w;
    m.data += l->mat_bytes * (size_t)e;
    return m;
}

static float scale_of(const struct linear *l, int e) {
    return l->scale ? l->scale[e] : 1.0f;
}

/* ---- forward ---- */

/* x through the norm, where there is one: in the context's rows. */
static const float *normed(struct worker *w, const struct norm *norm, const float *x, int ldx,
                           int n, int n_col, float *out, int *ld) {
    *ld = ldx;
    if (!norm) return x;
    const struct kern_vec *k = &kern_get()->vec;
    int lo, hi;
    team_range(w, n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++)
        cpu_norm_row(k, norm, n_col, x + (size_t)i * ldx, out + (size_t)i * n_col);
    team_barrier(w);
    *ld = n_col;
    return out;
}

/* Adapter inputs with some values dropped and the others scaled up; a value's fate depends on the
 * step, the map and its place, so that a layer that is computed again drops the same. */
static const float *dropped(struct worker *w, const struct linear *l, const float *x, int *ldx,
                            int n, float *out) {
    const struct train_ctx *c = train_ctx(w);
    if (c->dropout <= 0) return x;
    const int n_col = l->w.n_col;
    const uint32_t keep = (uint32_t)((1.0 - (double)c->dropout) * 4294967295.0);
    const float up = 1.0f / (1.0f - c->dropout);
    int lo, hi;
    team_range(w, n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++)
        for (int k = 0; k < n_col; k++) {
            uint64_t s = c->drop_seed + ((uint64_t)l->id << 44) + (uint64_t)i * n_col + k;
            const bool kept = (uint32_t)rng_splitmix(&s) <= keep;
            out[(size_t)i * n_col + k] = kept ? x[(size_t)i * *ldx + k] * up : 0.0f;
        }
    team_barrier(w);
    *ldx = n_col;
    return out;
}

/* y (+)= scale * (W x + b + adapter); low: A x, kept for the gradient. */
static void product(struct worker *w, const struct linear_job *j, const struct saved_routing *s,
                    int o, const float *x, int ldx, float *y, int ldy, bool add, float scale,
                    float *low) {
    const struct train_ctx *c = train_ctx(w);
    const struct linear *l = j->out[o].l;
    const struct lora_pair *p = pair_of(j, o);
    for (int e = 0; e < n_map(j); e++) {
        const struct share rows = share_of(j, s, e);
        const struct mat m = map_of(l, e);
        const float *bias = l->bias ? l->bias + (size_t)e * m.n_row : NULL;
        assert(!bias || scale == 1.0f || !j->routing);
        const struct gemm_job g = {.x = x,
                                   .ldx = ldx,
                                   .x_row = rows.x_row,
                                   .w = &m,
                                   .y = y,
                                   .ldy = ldy,
                                   .y_row = rows.y_row,
                                   .n = rows.n,
                                   .scale = scale * scale_of(l, e),
                                   .bias = scale == 1.0f ? bias : NULL,
                                   .add = add,
                                   .prec = c->prec};
        gemm_forward(w, &g);
    }
    team_barrier(w);
    if (l->bias && scale != 1.0f) {
        int lo, hi;
        team_range(w, j->n, 1, &lo, &hi);
        for (int i = lo; i < hi; i++)
            kern_get()->vec.add_scaled(l->w.n_row, y + (size_t)i * ldy, l->bias, scale);
        team_barrier(w);
    }
    if (!p) return;
    int ldd = ldx;
    const float *xd = dropped(w, l, x, &ldd, j->n, c->rows[2]);
    gemm_forward(
        w,
        &(struct gemm_job){
            .x = xd, .ldx = ldd, .w = &p->a, .y = low, .ldy = p->a.n_row, .n = j->n, .scale = 1});
    team_barrier(w);
    gemm_forward(w, &(struct gemm_job){.x = low,
                                       .ldx = p->a.n_row,
                                       .w = &p->b,
                                       .y = y,
                                       .ldy = ldy,
                                       .n = j->n,
                                       .scale = scale * p->scale,
                                       .add = true});
    team_barrier(w);
}

/* act(pre) or act(gate) * up of the worker's rows. */
static void activate(struct worker *w, const struct linear_job *j, const float *gate,
                     const float *up) {
    const struct kern_vec *k = &kern_get()->vec;
    const int n_row = j->out[0].l->w.n_row;
    int lo, hi;
    team_range(w, n_entry(j), 1, &lo, &hi);
    for (int i = lo; i < hi; i++) {
        const size_t at = (size_t)i * n_row;
        float *y = j->out[0].y + (size_t)i * j->out[0].ldy;
        if (j->then == THEN_GLU)
            k->glu[j->act](n_row, gate + at, up + at, y);
        else
            k->act[j->act](n_row, gate + at, y);
    }
    team_barrier(w);
}

struct kept { /* what the tape keeps of a job */
    float *in, *pre[2], *low[4];
    int glu;
};

static struct kept keep(struct worker *w, const struct linear_job *j) {
    const struct train_ctx *c = train_ctx(w);
    const size_t n_y = (size_t)n_entry(j) * (size_t)j->out[0].l->w.n_row;
    struct kept k = {.glu = -1};
    if (trains(c, j) || norm_of(j))
        k.in = tape_save(w, j->x, j->ldx, n_x_row(j), j->out[0].l->w.n_col,
                         norm_of(j) ? NULL : &k.glu);
    for (int i = 0; i < (j->then == THEN_GLU ? 2 : j->then == THEN_ACT); i++)
        k.pre[i] = tape_room(w, n_y);
    for (int o = 0; o < j->n_out; o++) {
        const struct lora_pair *p = pair_of(j, o);
        if (p) k.low[o] = tape_room(w, (size_t)j->n * (size_t)p->a.n_row);
    }
    return k;
}

static void record(struct worker *w, const struct linear_job *j, const struct kept *k) {
    struct train_ctx *c = train_ctx(w);
    if (w->id != 0) return;
    const int at = c->tape ? c->tape->n_op : -1;
    struct tape_op *op = tape_push(c, TAPE_LINEAR);
    if (op) {
        op->linear.j = *j;
        if (j->routing) op->linear.routing = c->routing;
        op->linear.in = k->in, op->linear.glu = k->glu;
        memcpy(op->linear.pre, k->pre, sizeof k->pre);
        memcpy(op->linear.low, k->low, sizeof k->low);
    }
    const bool again = op && j->then == THEN_GLU;
    for (int o = 0; o < n_made(j); o++)
        tape_wrote(c, j->out[o].y, j->out[o].ldy, n_entry(j), j->out[o].l->w.n_row,
                   again ? at : -1);
}

void tape_linear(struct worker *w, const struct linear_job *j) {
    struct train_ctx *c = train_ctx(w);
    struct kept k = keep(w, j);
    record(w, j, &k);
    team_barrier(w);
    if (c->dry) return;
    int ldx;
    const float *x =
        normed(w, norm_of(j), j->x, j->ldx, n_x_row(j), j->out[0].l->w.n_col, c->rows[0], &ldx);
    const bool acts = j->then == THEN_GLU || j->then == THEN_ACT;
    assert(!acts || j->out[0].ldy == j->out[0].l->w.n_row);
    if (!k.pre[0]) k.pre[0] = c->rows[1], k.pre[1] = j->out[0].y; /* nothing is recorded */
    for (int o = 0; o < j->n_out; o++) {
        const int n_row = j->out[o].l->w.n_row;
        float *y = acts ? k.pre[o] : j->out[o].y;
        const bool add = j->then == THEN_ADD;
        product(w, j, &c->routing, o, x, ldx, y, acts ? n_row : j->out[o].ldy, add,
                add ? j->out_scale : 1.0f, k.low[o] ? k.low[o] : c->low);
    }
    if (acts) activate(w, j, k.pre[0], k.pre[1]);
}

/* ---- backward ---- */

/* Gradients of what goes into the activation, in its place on the tape. */
static void back_activate(struct worker *w, const struct tape_op *op) {
    const struct linear_job *j = &op->linear.j;
    const int n_row = j->out[0].l->w.n_row;
    const float *dy = grad_at(train_ctx(w), j->out[0].y);
    int lo, hi;
    team_range(w, n_entry(j), 1, &lo, &hi);
    for (int i = lo; i < hi; i++) {
        float *a = op->linear.pre[0] + (size_t)i * n_row;
        const float *d = dy + (size_t)i * j->out[0].ldy;
        if (j->then == THEN_ACT) {
            back_act(j->act, n_row, a, d, a);
            continue;
        }
        float *b = op->linear.pre[1] + (size_t)i * n_row;
        back_glu(j->act, n_row, a, b, d, a, b);
    }
    team_barrier(w);
}

/* The input of the maps again: from the tape, through the norm, or from the GLU that made it. */
static const float *input(struct worker *w, const struct tape_op *op, int *ld) {
    const struct train_ctx *c = train_ctx(w);
    const struct linear_job *j = &op->linear.j;
    const int n_col = j->out[0].l->w.n_col;
    if (op->linear.in)
        return normed(w, norm_of(j), op->linear.in, n_col, n_x_row(j), n_col, c->rows[1], ld);
    if (op->linear.glu < 0) return NULL;
    const struct tape_op *made = &c->tape->op[op->linear.glu];
    activate(w, &made->linear.j, made->linear.pre[0], made->linear.pre[1]);
    *ld = j->ldx;
    return j->x;
}

/* Column sums of dy into a bias' gradient: workers take columns. */
static void back_bias(struct worker *w, const float *dy, int lddy, const struct share *rows,
                      int n_row, float scale, float *g) {
    int lo, hi;
    team_range(w, n_row, 16, &lo, &hi);
    for (int i = 0; i < rows->n; i++) {
        const float *d = dy + (size_t)(rows->y_row ? rows->y_row[i] : i) * lddy;
        for (int k = lo; k < hi; k++)
            g[k] += scale * d[k];
    }
}

/* Where the gradient of output o is, and what its product is scaled by. */
struct back {
    const float *dy;
    int lddy;
    float scale;
    float *dx; /* (+)= */
    int lddx;
    bool add;
    const float *x;
    int ldx;
};

static void back_maps(struct worker *w, const struct tape_op *op, int o, const struct back *b) {
    const struct train_ctx *c = train_ctx(w);
    const struct linear_job *j = &op->linear.j;
    const struct linear *l = j->out[o].l;
    float *gb = grad_of(c, l->bias);
    for (int e = 0; e < n_map(j); e++) {
        const struct share rows = share_of(j, &op->linear.routing, e);
        const struct mat m = map_of(l, e);
        float *gw = grad_of(c, m.data); /* fused experts: parts of each other's lie between */
        const float scale = b->scale * scale_of(l, e);
        gemm_backward(w, &(struct gemm_job){.x = b->dy,
                                            .ldx = b->lddy,
                                            .x_row = rows.y_row,
                                            .w = &m,
                                            .y = b->dx,
                                            .ldy = b->lddx,
                                            .y_row = rows.x_row,
                                            .n = rows.n,
                                            .scale = scale,
                                            .add = b->add,
                                            .prec = c->prec});
        if (gw)
            gemm_weight(w, &(struct gemm_weight_job){.dy = b->dy,
                                                     .lddy = b->lddy,
                                                     .dy_row = rows.y_row,
                                                     .x = b->x,
                                                     .ldx = b->ldx,
                                                     .x_row = rows.x_row,
                                                     .n = rows.n,
                                                     .n_row = m.n_row,
                                                     .n_col = m.n_col,
                                                     .g = gw,
                                                     .scale = scale,
                                                     .prec = c->prec});
        if (gb) back_bias(w, b->dy, b->lddy, &rows, m.n_row, b->scale, gb + (size_t)e * m.n_row);
        if (j->routing) team_barrier(w); /* experts share rows of dx */
    }
    team_barrier(w);
}

/* dx += s (dy B) A, with what dropout did to x. */
static void back_low(struct worker *w, const struct linear *l, const struct lora_pair *p,
                     const float *u, const struct back *b, int n) {
    struct train_ctx *c = train_ctx(w);
    struct gemm_job g = {.x = u,
                         .ldx = p->a.n_row,
                         .w = &p->a,
                         .y = b->dx,
                         .ldy = b->lddx,
                         .n = n,
                         .scale = 1,
                         .add = true};
    if (c->dropout > 0) g.y = c->rows[2], g.ldy = l->w.n_col, g.add = false;
    gemm_backward(w, &g);
    team_barrier(w);
    if (c->dropout <= 0) return;
    int ld = l->w.n_col, lo, hi;
    const float *d = dropped(w, l, c->rows[2], &ld, n, c->rows[2]);
    team_range(w, n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++)
        kern_get()->vec.add_scaled(l->w.n_col, b->dx + (size_t)i * b->lddx, d + (size_t)i * ld, 1);
    team_barrier(w);
}

static void back_pair(struct worker *w, const struct tape_op *op, int o, const struct back *b) {
    struct train_ctx *c = train_ctx(w);
    const struct linear_job *j = &op->linear.j;
    const struct linear *l = j->out[o].l;
    const struct lora_pair *p = pair_of(j, o);
    if (!p) return;
    const int rank = p->a.n_row;
    float *ga = grad_of(c, p->a.data), *gb = grad_of(c, p->b.data), *u = c->low;
    gemm_backward(w, &(struct gemm_job){.x = b->dy,
                                        .ldx = b->lddy,
                                        .w = &p->b,
                                        .y = u,
                                        .ldy = rank,
                                        .n = j->n,
                                        .scale = b->scale * p->scale});
    team_barrier(w);
    if (gb)
        gemm_weight(w, &(struct gemm_weight_job){.dy = b->dy,
                                                 .lddy = b->lddy,
                                                 .x = op->linear.low[o],
                                                 .ldx = rank,
                                                 .n = j->n,
                                                 .n_row = l->w.n_row,
                                                 .n_col = rank,
                                                 .g = gb,
                                                 .scale = b->scale * p->scale});
    if (ga) {
        int ldx = b->ldx;
        const float *x = dropped(w, l, b->x, &ldx, j->n, c->rows[2]);
        gemm_weight(w, &(struct gemm_weight_job){.dy = u,
                                                 .lddy = rank,
                                                 .x = x,
                                                 .ldx = ldx,
                                                 .n = j->n,
                                                 .n_row = rank,
                                                 .n_col = l->w.n_col,
                                                 .g = ga,
                                                 .scale = 1});
    }
    team_barrier(w);
    back_low(w, l, p, u, b, j->n);
}

void back_linear(struct worker *w, const struct tape_op *op) {
    struct train_ctx *c = train_ctx(w);
    const struct linear_job *j = &op->linear.j;
    const struct norm *norm = norm_of(j);
    const int n_col = j->out[0].l->w.n_col;
    const bool acts = j->then == THEN_GLU || j->then == THEN_ACT;
    int ldx = 0;
    const float *x = trains(c, j) ? input(w, op, &ldx) : NULL;
    if (acts) back_activate(w, op);
    for (int o = 0; o < j->n_out; o++) {
        const struct back b = {
            .dy = acts ? op->linear.pre[o] : grad_at(c, j->out[o].y),
            .lddy = acts ? j->out[o].l->w.n_row : j->out[o].ldy,
            .scale = j->then == THEN_ADD ? j->out_scale : 1.0f,
            .dx = norm ? c->rows[0] : grad_at(c, j->x),
            .lddx = norm ? n_col : j->ldx,
            .add = o > 0 || !norm,
            .x = x,
            .ldx = ldx,
        };
        back_maps(w, op, o, &b);
        back_pair(w, op, o, &b);
    }
    if (norm)
        tape_back_norm(w, norm, j->n, n_col, op->linear.in, c->rows[0], n_col, grad_at(c, j->x),
                       j->ldx, true);
    for (int o = 0; o < n_made(j) && j->then != THEN_ADD; o++)
        tape_zero_rows(w, grad_at(c, j->out[o].y), j->out[o].ldy, n_entry(j), j->out[o].l->w.n_row);
    team_barrier(w);
}

/* ---- heads ---- */

void tape_head_linear(struct worker *w, const struct linear *l, const float *x, int ldx,
                      int head_ldx, float *y, int ldy, int head_ldy, int n) {
    struct train_ctx *c = train_ctx(w);
    float *in = grad_of(c, l->w.data) ? tape_save(w, x, ldx, n, ldx, NULL) : NULL;
    if (w->id == 0) {
        struct tape_op *op = tape_push(c, TAPE_HEADS);
        if (op) {
            op->heads.l = l, op->heads.x = x, op->heads.y = y, op->heads.n = n;
            op->heads.ldx = ldx, op->heads.head_ldx = head_ldx;
            op->heads.ldy = ldy, op->heads.head_ldy = head_ldy, op->heads.in = in;
        }
        tape_wrote(c, y, ldy, n, (l->n_mat - 1) * head_ldy + l->w.n_row, -1);
    }
    team_barrier(w);
    if (c->dry) return;
    for (int h = 0; h < l->n_mat; h++) {
        const struct mat m = map_of(l, h);
        gemm_forward(w, &(struct gemm_job){.x = x + (size_t)h * head_ldx,
                                           .ldx = ldx,
                                           .w = &m,
                                           .y = y + (size_t)h * head_ldy,
                                           .ldy = ldy,
                                           .n = n,
                                           .scale = scale_of(l, h),
                                           .prec = c->prec,
                                           .bias = l->bias ? l->bias + (size_t)h * m.n_row : NULL});
    }
    team_barrier(w);
}

void back_head_linear(struct worker *w, const struct tape_op *op) {
    const struct train_ctx *c = train_ctx(w);
    const struct linear *l = op->heads.l;
    float *dy = grad_at(c, op->heads.y), *dx = grad_at(c, op->heads.x);
    float *gw = grad_of(c, l->w.data), *gb = grad_of(c, l->bias);
    const struct share rows = {.n = op->heads.n};
    for (int h = 0; h < l->n_mat; h++) {
        const struct mat m = map_of(l, h);
        const float *d = dy + (size_t)h * op->heads.head_ldy;
        gemm_backward(w, &(struct gemm_job){.x = d,
                                            .ldx = op->heads.ldy,
                                            .w = &m,
                                            .y = dx + (size_t)h * op->heads.head_ldx,
                                            .ldy = op->heads.ldx,
                                            .n = op->heads.n,
                                            .scale = scale_of(l, h),
                                            .add = true,
                                            .prec = c->prec});
        if (gw)
            gemm_weight(
                w, &(struct gemm_weight_job){.dy = d,
                                             .lddy = op->heads.ldy,
                                             .x = op->heads.in + (size_t)h * op->heads.head_ldx,
                                             .ldx = op->heads.ldx,
                                             .n = op->heads.n,
                                             .n_row = m.n_row,
                                             .n_col = m.n_col,
                                             .g = gw + (size_t)h * m.n_row * (size_t)m.n_col,
                                             .scale = scale_of(l, h)});
        if (gb) back_bias(w, d, op->heads.ldy, &rows, m.n_row, 1, gb + (size_t)h * (size_t)m.n_row);
    }
    team_barrier(w);
    for (int h = 0; h < l->n_mat; h++)
        tape_zero_rows(w, dy + (size_t)h * op->heads.head_ldy, op->heads.ldy, op->heads.n,
                       l->w.n_row);
    team_barrier(w);
}
