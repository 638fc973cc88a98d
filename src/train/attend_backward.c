/* Attention over whole sequences, backward (FlashAttention-2, arXiv:2307.08691, algorithm 2): the
 * softmax of a block is computed again from the log sum exp of the forward.
 *
 *   tile: KV_PAGE queries                       Q^T, dO^T once;  delta = dO . O of each query
 *     for each block of KV_PAGE keys that one of them sees, everything with keys as rows:
 *         S^T = K Q^T;  P^T = exp(logit - lse);     dP^T = V dO^T;  dS^T = P^T (dP^T - delta)...
 *         dV += P^T dO;  dK += dS^T Q;              dQ^T += K^T dS^T
 *
 * So no block is transposed but K's.  A work item is a KV head of a sequence with all of this;
 * where that leaves workers without, items are blocks of keys (dK and dV, over all tiles) and tiles
 * (dQ, over all blocks), which computes S and dP twice.  Both ways meet the same pairs of tile and
 * block in the same order for every sum, hence give the same bits. */
#include "train/attend.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "train/attend_tile.h"

enum { TILE = KV_PAGE };

/* A worker's buffers, and the job. */
struct work {
    const struct kern_vec *k;
    const struct attn_job *j;
    const struct attend_grad *g;
    const float *lse_in;
    float *q;                         /* [TILE][k_dim] */
    float *dout;                      /* [TILE][v_dim] */
    float *qt;                        /* [k_dim][TILE] */
    float *dout_t;                    /* [v_dim][TILE] */
    float *dqt;                       /* [k_dim][TILE] */
    float *kt;                        /* [k_dim][KV_PAGE] */
    float *s;                         /* [KV_PAGE][TILE] q.k, then p */
    float *dp;                        /* [KV_PAGE][TILE] dout.v, then the gradient of q.k */
    float *lse, *delta, *slope, *pos; /* [TILE] */
};

size_t attend_backward_floats(int k_dim, int v_dim) {
    const size_t k = (size_t)k_dim, v = (size_t)v_dim;
    return TILE * (4 * k + 2 * v + 2 * KV_PAGE + 4);
}

static struct work work_init(const struct worker *w, const struct attn_job *j, const float *lse,
                             const struct attend_grad *g) {
    struct work b = {.k = &kern_get()->vec, .j = j, .g = g, .lse_in = lse};
    const size_t k = (size_t)TILE * j->k_dim, v = (size_t)TILE * j->v_dim;
    float *at = (float *)w->scratch;
    assert(w->scratch_bytes >= attend_backward_floats(j->k_dim, j->v_dim) * sizeof(float));
    b.q = attend_carve(&at, k);
    b.dout = attend_carve(&at, v);
    b.qt = attend_carve(&at, k);
    b.dout_t = attend_carve(&at, v);
    b.dqt = attend_carve(&at, k);
    b.kt = attend_carve(&at, k);
    b.s = attend_carve(&at, (size_t)KV_PAGE * TILE);
    b.dp = attend_carve(&at, (size_t)KV_PAGE * TILE);
    b.lse = attend_carve(&at, TILE);
    b.delta = attend_carve(&at, TILE);
    b.slope = attend_carve(&at, TILE);
    b.pos = attend_carve(&at, TILE);
    return b;
}

/* ---- one tile ---- */

static float delta_of(const struct work *b, const struct attend_tile *t, int q) {
    return b->k->dot(b->j->v_dim, b->g->dout + tile_out_at(t, q, b->g->lddout),
                     b->j->out + tile_out_at(t, q, b->j->ldo));
}

/* The tile's queries and what belongs to them, as rows and as columns. */
static void load_tile(const struct work *b, const struct attend_tile *t) {
    const struct attn_job *j = b->j;
    memset(b->lse, 0, TILE * sizeof *b->lse);
    memset(b->delta, 0, TILE * sizeof *b->delta);
    memset(b->slope, 0, TILE * sizeof *b->slope);
    memset(b->pos, 0, TILE * sizeof *b->pos);
    for (int q = 0; q < t->n; q++) {
        const int ih = tile_head(t, q);
        memcpy(b->q + (size_t)q * j->k_dim, j->q + tile_q_at(t, q),
               (size_t)j->k_dim * sizeof *b->q);
        memcpy(b->dout + (size_t)q * j->v_dim, b->g->dout + tile_out_at(t, q, b->g->lddout),
               (size_t)j->v_dim * sizeof *b->dout);
        b->lse[q] = b->lse_in[tile_batch_row(t, q) * j->n_head + ih];
        b->delta[q] = delta_of(b, t, q);
        b->slope[q] = j->alibi ? j->alibi[ih] : 0.0f;
        b->pos[q] = (float)tile_row(t, q);
    }
    attend_transpose(b->k, t->n, j->k_dim, b->q, j->k_dim, b->qt);
    attend_transpose(b->k, t->n, j->v_dim, b->dout, j->v_dim, b->dout_t);
}

/* dq += the tile's dQ^T. */
static void store_dq(const struct work *b, const struct attend_tile *t) {
    const int k_dim = b->j->k_dim;
    for (int d = 0; d < k_dim; d += KV_PAGE) {
        const int n = attend_min(KV_PAGE, k_dim - d);
        attend_transpose(b->k, n, TILE, b->dqt + (size_t)d * TILE, TILE, b->s);
        for (int q = 0; q < t->n; q++)
            b->k->add_scaled(n, b->g->dq + tile_q_at(t, q) + d, b->s + (size_t)q * KV_PAGE, 1.0f);
    }
}

/* ---- one tile, one block of keys ---- */

/* Keys and queries that a tile and a block have in common. */
struct part {
    int k0, n_key; /* keys k0.. of the sequence */
    int q0, n_q;   /* queries q0.. of the tile */
};

/* False when no query of the tile sees a key of the block that begins at key k0. */
static bool part_of(const struct attend_tile *t, int k0, struct part *p) {
    int lo, hi, unused;
    tile_keys(t, &lo, &hi);
    lo = attend_max(lo, k0);
    hi = attend_min(hi, k0 + KV_PAGE);
    if (lo >= hi) return false;
    p->k0 = lo, p->n_key = hi - lo;
    tile_queries(t, lo, &p->q0, &unused); /* the first key is seen from furthest back */
    tile_queries(t, hi - 1, &unused, &hi);
    p->n_q = hi - p->q0;
    return true;
}

/* P^T and the gradient of Q K^T, transposed. */
static void make_p_ds(const struct work *b, const struct attend_tile *t, const struct part *p) {
    const struct attn_job *j = b->j;
    const int n_col = attend_min((t->n + 15) / 16 * 16, TILE);
    struct soft_back soft = {.lse = b->lse,
                             .delta = b->delta,
                             .slope = j->alibi ? b->slope : NULL,
                             .pos = b->pos,
                             .scale = j->scale,
                             .cap = j->softcap};
    b->k->mul_tile(p->n_key, n_col, j->k_dim, tile_k(t, p->k0), j->ldk, b->qt, TILE, b->s, TILE,
                   false);
    b->k->mul_tile(p->n_key, n_col, j->v_dim, tile_v(t, p->k0), attend_ldv(j), b->dout_t, TILE,
                   b->dp, TILE, false);
    for (int i = 0; i < p->n_key; i++) {
        int lo, hi;
        tile_queries(t, p->k0 + i, &lo, &hi);
        soft.key_pos = (float)(p->k0 + i);
        b->k->soft_back(b->s + (size_t)i * TILE, b->dp + (size_t)i * TILE, lo, hi, &soft);
    }
}

static void add_dk_dv(const struct work *b, const struct attend_tile *t, const struct part *p) {
    const struct attn_job *j = b->j;
    float *dv = (j->v ? b->g->dv : b->g->dk) + tile_v_at(t, p->k0);
    b->k->mul_tile(p->n_key, j->v_dim, p->n_q, b->s + p->q0, TILE,
                   b->dout + (size_t)p->q0 * j->v_dim, j->v_dim, dv, attend_ldv(j), true);
    b->k->mul_tile(p->n_key, j->k_dim, p->n_q, b->dp + p->q0, TILE, b->q + (size_t)p->q0 * j->k_dim,
                   j->k_dim, b->g->dk + tile_k_at(t, p->k0), j->ldk, true);
}

static void add_dq(const struct work *b, const struct attend_tile *t, const struct part *p) {
    const struct attn_job *j = b->j;
    const int n_col = attend_min((t->n + 15) / 16 * 16, TILE);
    attend_transpose(b->k, p->n_key, j->k_dim, tile_k(t, p->k0), j->ldk, b->kt);
    b->k->mul_tile(j->k_dim, n_col, p->n_key, b->kt, KV_PAGE, b->dp, TILE, b->dqt, TILE, true);
}

/* ---- work items ---- */

/* All keys for one tile: dQ, and dK and dV with it (both) or not. */
static void run_tile(const struct work *b, const struct attend_tile *t, bool both) {
    struct part p;
    load_tile(b, t);
    memset(b->dqt, 0, (size_t)b->j->k_dim * TILE * sizeof *b->dqt);
    for (int k0 = 0; k0 < t->s->n_row; k0 += KV_PAGE) {
        if (!part_of(t, k0, &p)) continue;
        make_p_ds(b, t, &p);
        if (both) add_dk_dv(b, t, &p);
        add_dq(b, t, &p);
    }
    store_dq(b, t);
}

static void run_head(const struct work *b, const struct seq_rows *s, int kv_head) {
    for (int it = 0; it < attend_n_tile(b->j, s, TILE); it++) {
        const struct attend_tile t = attend_tile_at(b->j, s, kv_head, it, TILE);
        run_tile(b, &t, true);
    }
}

/* All tiles for the block of keys at k0. */
static void run_keys(const struct work *b, const struct seq_rows *s, int kv_head, int k0) {
    struct part p;
    for (int it = 0; it < attend_n_tile(b->j, s, TILE); it++) {
        const struct attend_tile t = attend_tile_at(b->j, s, kv_head, it, TILE);
        if (!part_of(&t, k0, &p)) continue;
        load_tile(b, &t);
        make_p_ds(b, &t, &p);
        add_dk_dv(b, &t, &p);
    }
}

/* Items of a KV head of a sequence: one, or its blocks of keys, then its tiles. */
static int n_block_of(const struct seq_rows *s) {
    return (s->n_row + KV_PAGE - 1) / KV_PAGE;
}

static int n_item_of(const struct attn_job *j, const struct seq_rows *s, bool split) {
    return split ? n_block_of(s) + attend_n_tile(j, s, TILE) : 1;
}

static void run_item(const struct work *b, bool split, int item) {
    const struct attn_job *j = b->j;
    const struct seq_rows *s = j->seq;
    for (int n; item >= (n = n_item_of(j, s, split) * j->n_kv_head); s++)
        item -= n;
    const int kv_head = item % j->n_kv_head, part = item / j->n_kv_head;
    if (!split) {
        run_head(b, s, kv_head);
    } else if (part < n_block_of(s)) {
        run_keys(b, s, kv_head, part * KV_PAGE);
    } else {
        const struct attend_tile t = attend_tile_at(j, s, kv_head, part - n_block_of(s), TILE);
        run_tile(b, &t, false);
    }
}

/* Whole heads cost 5 products a block, split ones 7, but nobody waits: which ends sooner?  Whole:
 * as many rounds of the longest sequence as all of the work fills. */
static bool want_split(const struct worker *w, const struct attn_job *j) {
    double all = 0, longest = 0;
    for (int i = 0; i < j->n_seq; i++) {
        const double cost = (double)j->seq[i].n_row * j->seq[i].n_row;
        all += cost * j->n_kv_head;
        longest = fmax(longest, cost);
    }
    return w->n > 1 && 7 * all / w->n < 5 * longest * ceil(all / (longest * w->n) - 1e-9);
}

/* The sink is a logit s without value: dp = 0 there, so ds = - exp(s - lse) delta. */
static void add_dsink(const struct worker *w, const struct work *b) {
    const struct attn_job *j = b->j;
    int lo, hi;
    team_range(w, j->n_head, 1, &lo, &hi);
    for (int ih = lo; ih < hi; ih++) {
        double sum = 0.0;
        for (int i = 0; i < j->n; i++) {
            const float *dout = b->g->dout + (size_t)i * b->g->lddout + (size_t)ih * j->v_dim;
            const float *out = j->out + (size_t)i * j->ldo + (size_t)ih * j->v_dim;
            const float p = expf(j->sink[ih] - b->lse_in[(size_t)i * j->n_head + ih]);
            sum += p * b->k->dot(j->v_dim, dout, out);
        }
        b->g->dsink[ih] -= (float)sum;
    }
}

void attend_backward(struct worker *w, const struct attn_job *j, const float *lse,
                     const struct attend_grad *g) {
    const struct work b = work_init(w, j, lse, g);
    const bool split = want_split(w, j);
    int n_item = 0;
    for (int i = 0; i < j->n_seq; i++)
        n_item += n_item_of(j, &j->seq[i], split) * j->n_kv_head;
    team_share(w, n_item);
    for (int n, i; (i = team_draw(w, &n)) >= 0;)
        for (; n > 0; n--)
            run_item(&b, split, i++);
    if (j->sink && g->dsink) add_dsink(w, &b);
}
