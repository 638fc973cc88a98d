/* Attention over whole sequences, forward: what cpu/attend.c does over the KV cache, straight from
 * the rows, and it leaves the log sum exp that the backward recomputes the softmax from.
 *
 *   tile: up to TILE queries
 *     for each block of keys that one of them sees:
 *         K -> transposed;  per BLOCK queries: S = Q K^T, running softmax, O = factor O + P V
 *
 * What a query gets is summed over its keys in order, alone: tiles may be of any size. */
#include "train/attend.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "train/attend_tile.h"

enum {
    TILE = 192, /* most queries in a tile: K is transposed once for all; 96 was 4 % slower */
    BLOCK = 24, /* queries that go through a block of keys together: S, P and O stay in L1 */
};

/* A worker's buffers. */
struct work {
    const struct kern_vec *k;
    float *q;  /* [TILE][k_dim] */
    float *kt; /* [k_dim][KV_PAGE] */
    float *s;  /* [BLOCK][KV_PAGE] */
    float *m;  /* [TILE] about the largest logit so far, -inf at first */
    float *l;  /* [TILE] sum of exp(logit - m) */
    float *o;  /* [TILE][v_dim] sum of exp(logit - m) v */
    float *lse;
};

size_t attend_forward_floats(int k_dim, int v_dim) {
    const size_t k = (size_t)k_dim, v = (size_t)v_dim;
    return TILE * (k + v + 2) + KV_PAGE * (k + BLOCK) + 6 * 16;
}

size_t attend_scratch_bytes(const struct op_limits *lim) {
    const int dim = lim->max_head_dim;
    const size_t f = attend_forward_floats(dim, dim), b = attend_backward_floats(dim, dim);
    return (f > b ? f : b) * sizeof(float);
}

static struct work work_init(const struct worker *w, const struct attn_job *j, float *lse) {
    struct work b = {.k = &kern_get()->vec, .lse = lse};
    float *at = (float *)w->scratch;
    assert(w->scratch_bytes >= attend_forward_floats(j->k_dim, j->v_dim) * sizeof(float));
    b.q = attend_carve(&at, (size_t)TILE * j->k_dim);
    b.kt = attend_carve(&at, (size_t)KV_PAGE * j->k_dim);
    b.s = attend_carve(&at, (size_t)BLOCK * KV_PAGE);
    b.m = attend_carve(&at, TILE);
    b.l = attend_carve(&at, TILE);
    b.o = attend_carve(&at, (size_t)TILE * j->v_dim);
    return b;
}

/* Keys of the block [k0, k0 + n) that row i of the sequence sees, counted from k0. */
static void visible(const struct attend_tile *t, int i, int k0, int n, int *lo, int *hi) {
    attend_keys(t->j, t->s, i, lo, hi);
    *lo = attend_min(attend_max(*lo - k0, 0), n);
    *hi = attend_min(attend_max(*hi - k0, *lo), n);
}

/* Queries [q0, q0 + n) of the tile against keys [k0, k0 + n_key). */
static void block_step(const struct work *b, const struct attend_tile *t, int q0, int n, int k0,
                       int n_key) {
    const struct attn_job *j = t->j;
    int lo, hi, unused;
    visible(t, tile_row(t, q0), k0, n_key, &lo, &unused);
    visible(t, tile_row(t, q0 + n - 1), k0, n_key, &unused, &hi);
    if (lo >= hi) return;
    b->k->mul_tile(n, attend_min((hi + 15) / 16 * 16, KV_PAGE), j->k_dim,
                   b->q + (size_t)q0 * j->k_dim, j->k_dim, b->kt, KV_PAGE, b->s, KV_PAGE, false);
    for (int q = q0; q < q0 + n; q++) {
        const int i = tile_row(t, q);
        const struct soft soft = {.scale = j->scale,
                                  .cap = j->softcap,
                                  .slope = j->alibi ? j->alibi[tile_head(t, q)] : 0.0f,
                                  .rel0 = k0 - i};
        int from, to;
        visible(t, i, k0, n_key, &from, &to);
        const float f =
            b->k->soft_page(b->s + (size_t)(q - q0) * KV_PAGE, from, to, &soft, &b->m[q], &b->l[q]);
        float *o = b->o + (size_t)q * j->v_dim;
        if (f != 1.0f) b->k->scale(j->v_dim, o, f, o);
    }
    b->k->mul_tile(n, j->v_dim, hi - lo, b->s + lo, KV_PAGE, tile_v(t, k0 + lo), attend_ldv(j),
                   b->o + (size_t)q0 * j->v_dim, j->v_dim, true);
}

/* Query q's result: the sink joins the sum, then o / l; log sum exp. */
static void finish_query(const struct work *b, const struct attend_tile *t, int q) {
    const struct attn_job *j = t->j;
    const int ih = tile_head(t, q);
    float m = b->m[q], l = b->l[q], f = 1.0f;
    if (j->sink) {
        const float top = fmaxf(m, j->sink[ih]);
        f = expf(m - top);
        l = l * f + expf(j->sink[ih] - top);
        m = top;
    }
    b->k->scale(j->v_dim, b->o + (size_t)q * j->v_dim, f / l, j->out + tile_out_at(t, q, j->ldo));
    b->lse[tile_batch_row(t, q) * j->n_head + ih] = m + logf(l);
}

static void run_tile(const struct work *b, const struct attend_tile *t) {
    const struct attn_job *j = t->j;
    int lo, hi;
    for (int q = 0; q < t->n; q++) {
        memcpy(b->q + (size_t)q * j->k_dim, j->q + tile_q_at(t, q),
               (size_t)j->k_dim * sizeof *b->q);
        b->m[q] = -INFINITY;
        b->l[q] = 0.0f;
    }
    memset(b->o, 0, (size_t)t->n * j->v_dim * sizeof *b->o);
    tile_keys(t, &lo, &hi);
    for (int k0 = lo / KV_PAGE * KV_PAGE; k0 < hi; k0 += KV_PAGE) {
        const int n_key = attend_min(KV_PAGE, hi - k0);
        attend_transpose(b->k, n_key, j->k_dim, tile_k(t, k0), j->ldk, b->kt);
        for (int q = 0; q < t->n; q += BLOCK)
            block_step(b, t, q, attend_min(BLOCK, t->n - q), k0, n_key);
    }
    for (int q = 0; q < t->n; q++)
        finish_query(b, t, q);
}

static int count_tiles(const struct attn_job *j, int size) {
    int n = 0;
    for (int i = 0; i < j->n_seq; i++)
        n += attend_n_tile(j, &j->seq[i], size) * j->n_kv_head;
    return n;
}

/* Tile `it` of all: the last rows of a sequence, which see most, come first, so that the items
 * drawn at the end are small. */
static struct attend_tile pick_tile(const struct attn_job *j, int size, int it) {
    const struct seq_rows *s = j->seq;
    for (int n; it >= (n = attend_n_tile(j, s, size) * j->n_kv_head); s++)
        it -= n;
    return attend_tile_at(j, s, it % j->n_kv_head,
                          attend_n_tile(j, s, size) - 1 - it / j->n_kv_head, size);
}

void attend_forward(struct worker *w, const struct attn_job *j, float *lse) {
    const struct work b = work_init(w, j, lse);
    /* Rather transpose K twice than leave workers without a tile. */
    int size = TILE;
    while (size > 1 && count_tiles(j, size) < (size > BLOCK ? 4 : 1) * w->n)
        size /= 2;
    team_share(w, count_tiles(j, size));
    for (int n, i; (i = team_draw(w, &n)) >= 0;)
        for (; n > 0; n--) {
            const struct attend_tile t = pick_tile(j, size, i++);
            run_tile(&b, &t);
        }
}
