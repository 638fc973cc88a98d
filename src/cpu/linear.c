/* Products with weights as ops: y = W norm(x), for dense maps, experts and heads.
 *
 *   encode   normed rows of x -> activation blocks in every encoding that the job's kernels want:
 *            by each worker for itself when they are few (no barrier), else shared out
 *   adapt    A x of the sequences' adapters, in float                          (only with adapters)
 *   pieces   the outputs are cut into pieces of 16 or 32 rows; each worker takes a contiguous run,
 *            then helps the others, and multiplies every column by its pieces one after the other
 *   finish   + B (A x), bias, activation, residual: straight from the accumulators
 *
 * An output's value depends on its row of W and its column of x only, never on the split. */
#include "cpu/linear.h"

#include <assert.h>
#include <string.h>

#include "cpu/act.h"
#include "cpu/kern.h"
#include "cpu/op.h"

enum {
    OWN_BLOCKS = 64, /* activation blocks that each worker encodes for itself: a few us */
    N_ACC = 3,       /* two outputs of a GLU, one adapter */
    FEW_COLS = 4,    /* up to here a piece is the kernel's `piece` rows: bound by memory */
    MANY_COLS = 64,  /* from here on pieces may be as tall as the kernel allows */
    PIECES_EACH = 8, /* for a worker, at least, of such pieces */
};

/* A worker's scratch, cut up. */
struct room {
    float *acc[N_ACC]; /* [MAT_COLS][MAT_ROWS] each */
    uint8_t *tmp;      /* MAT_TMP_BYTES */
    float *row;        /* one normed row */
    uint8_t *own;      /* activation blocks */
};

/* What every worker finds out alike about a job. */
struct plan {
    const struct linear_job *j;
    const struct kern *k;
    struct room room;
    int n_worker;
    int n_x, n_col, n_block; /* rows of x, their length, activation blocks of each */
    bool want[ACT_N_ENC];
    bool own; /* encoded into room.own, else into shared memory */
    bool adapt;
    uint8_t *x[ACT_N_ENC]; /* encoded rows */
    float *ax[4];          /* per output: A x, ACT_F32 rows of rank_blocks blocks */
    int rank_blocks;
};

static size_t round64(size_t n) {
    return (n + 63) / 64 * 64;
}

static size_t acc_bytes(void) {
    return (size_t)MAT_COLS * MAT_ROWS * sizeof(float);
}

static size_t all_act_bytes(void) {
    return act_bytes(ACT_F32) + act_bytes(ACT_Q8) + act_bytes(ACT_Q8_K) + act_bytes(ACT_Q16);
}

static int max_int(int a, int b) {
    return a > b ? a : b;
}

static struct room room_cut(const struct worker *w, int n_col) {
    struct room r;
    uint8_t *p = w->scratch;
    for (int i = 0; i < N_ACC; i++, p += acc_bytes())
        r.acc[i] = (float *)(void *)p;
    r.tmp = p;
    p += MAT_TMP_BYTES;
    r.row = (float *)(void *)p;
    r.own = p + round64((size_t)n_col * sizeof(float));
    return r;
}

void cpu_linear_scratch(const struct op_limits *lim, size_t *scratch_bytes, size_t *shared_bytes) {
    const size_t n_block = (size_t)act_blocks(lim->max_cols);
    const size_t own = (size_t)max_int(OWN_BLOCKS, (int)n_block) * all_act_bytes();
    *scratch_bytes =
        N_ACC * acc_bytes() + MAT_TMP_BYTES + round64((size_t)lim->max_cols * sizeof(float)) + own;
    *shared_bytes =
        (size_t)lim->max_rows * n_block * all_act_bytes() +
        4 * (size_t)lim->max_rows * (size_t)act_blocks(lim->max_rank) * act_bytes(ACT_F32);
}

/* ---- encode ---- */

/* Lay the wanted encodings of n_x rows out from p on. */
static void place(struct plan *p, uint8_t *at) {
    for (int e = 0; e < ACT_N_ENC; e++) {
        if (!p->want[e]) continue;
        p->x[e] = at;
        at += (size_t)p->n_x * (size_t)p->n_block * act_bytes((enum act_enc)e);
    }
    for (int o = 0; p->adapt && o < p->j->n_out; o++) {
        p->ax[o] = (float *)(void *)at;
        at += (size_t)p->n_x * (size_t)p->rank_blocks * act_bytes(ACT_F32);
    }
}

static void encode_row(const struct plan *p, const struct norm *norm, const float *x, int i) {
    if (norm && norm->kind != NORM_NONE) {
        cpu_norm_row(&p->k->vec, norm, p->n_col, x, p->room.row);
        x = p->room.row;
    }
    for (int e = 0; e < ACT_N_ENC; e++) {
        const size_t bytes = act_bytes((enum act_enc)e);
        if (p->want[e])
            p->k->mat.encode[e](x, p->n_col, p->x[e] + (size_t)i * bytes, (size_t)p->n_x * bytes);
    }
}

static void encode_rows(struct worker *w, const struct plan *p) {
    const struct linear_job *j = p->j;
    int lo = 0, hi = p->n_x;
    if (!p->own) team_range(w, p->n_x, 1, &lo, &hi);
    for (int i = lo; i < hi; i++)
        encode_row(p, j->norm, j->x + (size_t)i * j->ldx, i);
    if (!p->own) team_barrier(w);
}

/* ---- one product ---- */

/* acc[c][r] = rows [row0, row0 + n_row) of map `mat` times columns index[0..n) of the plan's x. */
static void multiply(const struct plan *p, const struct linear *l, int mat, int row0, int n_row,
                     int col0, const int32_t *index, int n, float *acc) {
    const struct mat_kern *k = &p->k->mat.of[l->w.type];
    const size_t bytes = act_bytes(k->enc);
    const struct mat_call c = {
        .w = l->w.data + l->mat_bytes * (size_t)mat + l->w.row_bytes * (size_t)row0,
        .row_bytes = l->w.row_bytes,
        .n_row = n_row,
        .n_col = l->w.n_col,
        .x = p->x[k->enc] + (size_t)col0 * bytes,
        .x_step = (size_t)p->n_x * bytes,
        .index = index,
        .n = n,
        .n_row_after = l->w.n_row - row0 - n_row,
        .acc = acc,
        .tmp = p->room.tmp,
    };
    k->mul(l->w.type, &c);
    if (!l->scale || l->scale[mat] == 1.0f) return;
    for (int i = 0; i < n; i++)
        for (int r = 0; r < n_row; r++)
            acc[i * MAT_ROWS + r] *= l->scale[mat];
}

static void add_bias(const struct linear *l, int mat, int row0, int n_row, int n, float *acc) {
    if (!l->bias) return;
    const float *b = l->bias + (size_t)mat * l->w.n_row + row0;
    for (int i = 0; i < n; i++)
        for (int r = 0; r < n_row; r++)
            acc[i * MAT_ROWS + r] += b[r];
}

/* ---- adapters ---- */

static const struct lora_pair *pair_of(const struct seq_rows *s, const struct linear *l) {
    if (!s->adapter || l->id < 0) return NULL;
    const struct lora_pair *p = &s->adapter->pair[l->id];
    return p->a.data ? p : NULL;
}

/* The part of a sequence's rows within [lo, hi). */
static int seq_cut(const struct seq_rows *s, int lo, int hi, int *first) {
    const int end = s->row0 + s->n_row < hi ? s->row0 + s->n_row : hi;
    *first = max_int(s->row0, lo);
    return max_int(end - *first, 0);
}

/* Block b of row i of A_o x. */
static float *ax_at(const struct plan *p, int o, int b, int i) {
    return p->ax[o] + ((size_t)b * p->n_x + (size_t)i) * ACT_BLOCK;
}

/* ax[o] = A x for rows [i0, i0 + n) of the batch. */
static void adapt_down_rows(const struct plan *p, int o, const struct mat *a, int i0, int n) {
    const size_t bytes = act_bytes(ACT_F32);
    struct mat_call c = {
        .row_bytes = a->row_bytes,
        .n_col = a->n_col,
        .x = p->x[ACT_F32] + (size_t)i0 * bytes,
        .x_step = (size_t)p->n_x * bytes,
        .n = n,
        .acc = p->room.acc[0],
        .tmp = p->room.tmp,
    };
    for (int b = 0; b < p->rank_blocks; b++)
        memset(ax_at(p, o, b, i0), 0, (size_t)n * bytes);
    for (int r0 = 0; r0 < a->n_row; r0 += MAT_PIECE) {
        const int left = a->n_row - r0;
        c.n_row = left < MAT_PIECE ? left : MAT_PIECE;
        c.w = a->data + (size_t)r0 * a->row_bytes;
        p->k->mat.mul_f32(a->type, &c);
        for (int i = 0; i < n; i++)
            memcpy(ax_at(p, o, r0 / ACT_BLOCK, i0 + i) + r0 % ACT_BLOCK, c.acc + i * MAT_ROWS,
                   (size_t)c.n_row * sizeof(float));
    }
}

/* A_o x for this worker's rows of the batch; rows without an adapter stay unwritten. */
static void adapt_down(struct worker *w, const struct plan *p) {
    const struct linear_job *j = p->j;
    int lo, hi;
    team_range(w, p->n_x, 1, &lo, &hi);
    for (int o = 0; o < j->n_out; o++) {
        for (int s = 0; s < j->n_seq; s++) {
            const struct lora_pair *pr = pair_of(&j->seq[s], j->out[o].l);
            int i0, n = seq_cut(&j->seq[s], lo, hi, &i0);
            for (; pr && n > 0; i0 += MAT_COLS, n -= MAT_COLS)
                adapt_down_rows(p, o, &pr->a, i0, n < MAT_COLS ? n : MAT_COLS);
        }
    }
    team_barrier(w);
}

/* acc += scale * B (A x), rows [row0, row0 + n_row) of output o, columns [col0, col0 + n). */
static void adapt_up(const struct plan *p, int o, int row0, int n_row, int col0, int n,
                     float *acc) {
    const struct linear_job *j = p->j;
    for (int s = 0; s < j->n_seq; s++) {
        const struct lora_pair *pr = pair_of(&j->seq[s], j->out[o].l);
        int i0;
        const int m = seq_cut(&j->seq[s], col0, col0 + n, &i0);
        if (!pr || m == 0) continue;
        float *add = p->room.acc[N_ACC - 1];
        const struct mat_call c = {
            .w = pr->b.data + (size_t)row0 * pr->b.row_bytes,
            .row_bytes = pr->b.row_bytes,
            .n_row = n_row,
            .n_col = pr->b.n_col,
            .x = (const uint8_t *)ax_at(p, o, 0, i0),
            .x_step = (size_t)p->n_x * act_bytes(ACT_F32),
            .n = m,
            .acc = add,
            .tmp = p->room.tmp,
        };
        p->k->mat.mul_f32(pr->b.type, &c);
        for (int i = 0; i < m; i++)
            for (int r = 0; r < n_row; r++)
                acc[(i0 - col0 + i) * MAT_ROWS + r] += pr->scale * add[i * MAT_ROWS + r];
    }
}

/* ---- pieces ---- */

/* Pieces of one output (or of the two of a GLU) of one map, and the columns they meet. */
struct seg {
    int o, mat, n;        /* output; map; columns */
    const int32_t *entry; /* experts: [n] the (row, slot) entries; NULL: columns 0..n-1 */
    int n_row, piece, n_piece;
};

static int n_seg(const struct plan *p) {
    const struct linear_job *j = p->j;
    return (j->then == THEN_GLU ? 1 : j->n_out) * (j->routing ? j->routing->n_expert : 1);
}

/* Rows of a piece.  Many columns do not fit the cache: taller pieces read them less often, but each
 * worker must find enough pieces.  An adapter's product knows MAT_PIECE rows only, and the maps of
 * a GLU, which share a piece, may be of types that know different heights. */
static int piece_rows(const struct plan *p, const struct mat *w, int n) {
    const struct linear_job *j = p->j;
    const struct mat_kern *k = &p->k->mat.of[w->type];
    if (n <= FEW_COLS) return k->piece;
    int rows = MAT_PIECE, wide = k->wide;
    if (j->then == THEN_GLU && p->k->mat.of[j->out[1].l->w.type].wide < wide)
        wide = p->k->mat.of[j->out[1].l->w.type].wide;
    if (n >= MANY_COLS && !p->adapt)
        while (2 * rows <= wide && w->n_row >= PIECES_EACH * p->n_worker * 2 * rows)
            rows *= 2;
    return rows;
}

static struct seg seg_get(const struct plan *p, int s) {
    const struct linear_job *j = p->j;
    const int outs = j->then == THEN_GLU ? 1 : j->n_out;
    struct seg g = {.o = s % outs, .mat = s / outs, .n = j->n};
    if (j->routing) {
        const int32_t *start = j->routing->start + g.mat;
        g.n = start[1] - start[0];
        g.entry = j->routing->order + start[0];
    }
    const struct mat *w = &j->out[g.o].l->w;
    g.n_row = w->n_row;
    g.piece = piece_rows(p, w, g.n);
    g.n_piece = g.n > 0 ? (g.n_row + g.piece - 1) / g.piece : 0;
    return g;
}

/* Columns [at, at + n) of a segment as rows of y and, for experts, of x. */
struct cols {
    int at, n;
    const int32_t *entry; /* from `at` on, or NULL */
    const int32_t *index; /* rows of x, or NULL: at + i */
};

static struct cols cols_cut(const struct plan *p, const struct seg *g, int at, int32_t *index) {
    struct cols c = {.at = at, .n = g->n - at < MAT_COLS ? g->n - at : MAT_COLS};
    if (!g->entry) return c;
    c.entry = c.index = g->entry + at;
    if (p->j->x_per_slot) return c;
    for (int i = 0; i < c.n; i++)
        index[i] = c.entry[i] / p->j->routing->k;
    c.index = index;
    return c;
}

static float *product(const struct plan *p, const struct seg *g, int o, int row0, int n_row,
                      const struct cols *c, float *acc) {
    const struct linear *l = p->j->out[o].l;
    multiply(p, l, g->mat, row0, n_row, g->entry ? 0 : c->at, c->index, c->n, acc);
    if (p->adapt && !g->entry) adapt_up(p, o, row0, n_row, c->at, c->n, acc);
    add_bias(l, g->mat, row0, n_row, c->n, acc);
    return acc;
}

/* One piece times a chunk of columns, through to y. */
static void piece_run(const struct plan *p, const struct seg *g, int row0, int n_row,
                      const struct cols *c) {
    const struct linear_job *j = p->j;
    const struct linear_out *out = &j->out[g->o];
    const struct kern_vec *v = &p->k->vec;
    const float *a = product(p, g, g->o, row0, n_row, c, p->room.acc[0]), *b = NULL;
    if (j->then == THEN_GLU) b = product(p, g, 1, row0, n_row, c, p->room.acc[1]);

    for (int i = 0; i < c->n; i++, a += MAT_ROWS) {
        const size_t row = (size_t)(c->entry ? c->entry[i] : c->at + i);
        float *y = out->y + row * out->ldy + row0;
        switch (j->then) {
        case THEN_STORE: memcpy(y, a, (size_t)n_row * sizeof *y); break;
        case THEN_ADD: v->add_scaled(n_row, y, a, j->out_scale); break;
        case THEN_GLU: v->glu[j->act](n_row, a, b + i * MAT_ROWS, y); break;
        case THEN_ACT: v->act[j->act](n_row, a, y); break;
        }
    }
}

static void seg_run(const struct plan *p, const struct seg *g, int lo, int hi) {
    int32_t index[MAT_COLS];
    for (int i = lo; i < hi; i++) {
        const int row0 = i * g->piece, left = g->n_row - row0;
        const int n_row = left < g->piece ? left : g->piece;
        for (int at = 0; at < g->n; at += MAT_COLS) {
            const struct cols c = cols_cut(p, g, at, index);
            piece_run(p, g, row0, n_row, &c);
        }
    }
}

/* Where a job's numbered pieces are: segment by segment. */
struct cursor {
    struct seg g;
    int s, at; /* g's number and its first piece */
};

static void cursor_to(const struct plan *p, struct cursor *c, int piece) {
    if (piece < c->at) *c = (struct cursor){seg_get(p, 0), 0, 0};
    while (piece >= c->at + c->g.n_piece) {
        c->at += c->g.n_piece;
        c->g = seg_get(p, ++c->s);
    }
}

static void pieces_run(struct worker *w, const struct plan *p) {
    int n_piece = 0;
    for (int s = 0; s < n_seg(p); s++)
        n_piece += seg_get(p, s).n_piece;
    team_share(w, n_piece);
    struct cursor c = {seg_get(p, 0), 0, 0};
    for (int n, at; (at = team_draw(w, &n)) >= 0;) {
        while (n > 0) {
            cursor_to(p, &c, at);
            const int lo = at - c.at, k = n < c.g.n_piece - lo ? n : c.g.n_piece - lo;
            seg_run(p, &c.g, lo, lo + k);
            at += k, n -= k;
        }
    }
}

/* ---- the ops ---- */

/* Does an output lie where x is read?  Then x must be encoded before anyone writes. */
static bool in_place(const struct linear_job *j, int n_x) {
    const float *x1 = j->x + (size_t)n_x * j->ldx;
    const size_t n_y = (size_t)j->n * (j->routing ? j->routing->k : 1);
    for (int o = 0; o < j->n_out; o++)
        if (j->out[o].y < x1 && j->x < j->out[o].y + n_y * j->out[o].ldy) return true;
    return false;
}

static int max_rank(const struct linear_job *j) {
    int rank = 0;
    for (int s = 0; j->seq && s < j->n_seq; s++)
        if (j->seq[s].adapter) rank = max_int(rank, j->seq[s].adapter->max_rank);
    return rank;
}

static struct plan plan_make(const struct worker *w, const struct linear_job *j) {
    struct plan p = {.j = j, .k = kern_get(), .n_worker = w->n};
    p.n_x = j->n * (j->routing && j->x_per_slot ? j->routing->k : 1);
    p.n_col = j->out[0].l->w.n_col;
    p.n_block = act_blocks(p.n_col);
    p.room = room_cut(w, p.n_col);
    p.rank_blocks = j->routing ? 0 : act_blocks(max_rank(j));
    p.adapt = p.rank_blocks > 0;
    for (int o = 0; o < j->n_out; o++) {
        assert(j->out[o].l->w.n_col == p.n_col);
        p.want[p.k->mat.of[j->out[o].l->w.type].enc] = true;
    }
    if (p.adapt) p.want[ACT_F32] = true;
    p.own = !p.adapt && p.n_x * p.n_block <= OWN_BLOCKS && !in_place(j, p.n_x);
    place(&p, p.own ? p.room.own : w->shared);
    return p;
}

void cpu_linear(struct worker *w, const struct linear_job *j) {
    const struct plan p = plan_make(w, j);
    encode_rows(w, &p);
    if (p.adapt) adapt_down(w, &p);
    pieces_run(w, &p);
    team_barrier(w);
}

/* Rows [i0, i0 + p->n_x) of head h. */
static void head_run(const struct plan *p, const struct linear *l, int h, const float *x, int ldx,
                     float *y, int ldy) {
    for (int i = 0; i < p->n_x; i++)
        encode_row(p, NULL, x + (size_t)i * ldx, i);
    for (int r0 = 0; r0 < l->w.n_row; r0 += MAT_PIECE) {
        const int left = l->w.n_row - r0, n_row = left < MAT_PIECE ? left : MAT_PIECE;
        const float *a = p->room.acc[0];
        multiply(p, l, h, r0, n_row, 0, NULL, p->n_x, p->room.acc[0]);
        add_bias(l, h, r0, n_row, p->n_x, p->room.acc[0]);
        for (int i = 0; i < p->n_x; i++)
            memcpy(y + (size_t)i * ldy + r0, a + i * MAT_ROWS, (size_t)n_row * sizeof *y);
    }
}

/* Heads are many and small, so each worker takes whole (head, rows) units and encodes for itself.
 */
void cpu_head_linear(struct worker *w, const struct linear *l, const float *x, int ldx,
                     int head_ldx, float *y, int ldy, int head_ldy, int n) {
    struct plan p = {.k = kern_get(), .n_col = l->w.n_col, .n_block = act_blocks(l->w.n_col)};
    const int chunk = max_int(OWN_BLOCKS / p.n_block, 1), n_chunk = (n + chunk - 1) / chunk;
    int lo, hi;
    p.room = room_cut(w, p.n_col);
    p.want[p.k->mat.of[l->w.type].enc] = true;
    team_range(w, l->n_mat * n_chunk, 1, &lo, &hi);
    for (int u = lo; u < hi; u++) {
        const int h = u / n_chunk, i0 = u % n_chunk * chunk;
        p.n_x = n - i0 < chunk ? n - i0 : chunk;
        place(&p, p.room.own);
        head_run(&p, l, h, x + (size_t)i0 * ldx + (size_t)h * head_ldx, ldx,
                 y + (size_t)i0 * ldy + (size_t)h * head_ldy, ldy);
    }
    team_barrier(w);
}
