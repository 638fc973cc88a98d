/* Attention over the paged KV cache, in tiles (FlashAttention-2, arXiv:2307.08691).
 *
 *   tile: up to TILE queries of one sequence that share a KV head - rows x heads of the group
 *   for each page that one of them sees:
 *       K page -> floats, transposed      V page -> floats
 *       S = Q K^T;  logits, running maximum and sum, P = exp(S - max);  O = factor O + P V
 *
 * Decode is the same with few queries: all heads of a group share one reading of K and V.
 *
 * Pages are grouped into chunks by their place in the sequence; each chunk starts from nothing and
 * the chunks' results are merged in order.  So chunks can be shared out among workers (decode of
 * one long sequence) or follow each other in one (prefill), with the same bits: what a row gets
 * depends on its sequence only, not on threads, tiles or the rest of the batch. */
#include "cpu/op.h"

#include <assert.h>
#include <math.h>
#include <string.h>

#include "cpu/kern.h"

enum {
    TILE = 96,                  /* most queries in a tile; bench/NOTES.md */
    BLOCK = 24,                 /* queries that go through a page together */
    FEW = 8,                    /* at most so many queries read the cache themselves */
    CHUNK = 4,                  /* pages in a chunk */
    MAX_SPLIT_BYTES = 16 << 20, /* of partial results; longer sequences are not split */
};

/* Running softmax of a tile's queries. */
struct soft_sum {
    float *m; /* [TILE] about the largest logit so far, -inf at first */
    float *l; /* [TILE] sum of exp(logit - m) */
    float *o; /* [TILE][v_dim] sum of exp(logit - m) v */
};

/* A worker's buffers. */
struct work {
    const struct kern_vec *k;
    float *q;              /* [TILE][k_dim] */
    float *s;              /* [BLOCK][KV_PAGE] */
    float *kt;             /* [k_dim][KV_PAGE] */
    float *v;              /* [KV_PAGE][v_dim] */
    struct soft_sum part;  /* the current chunk */
    struct soft_sum total; /* the chunks before it */
};

struct tile {
    const struct attn_job *j;
    const struct seq_rows *s;
    int kv_head;
    int first, n; /* queries, numbered row-major over the sequence's [n_row][heads of the group] */
};

/* Where the work items are. */
struct plan {
    int tile;           /* queries in a tile, at most TILE */
    int n_tile;         /* over all sequences and KV heads */
    int n_chunk;        /* of the sequence with the most */
    bool split;         /* an item is one chunk of one tile, else a whole tile */
    int n_row;          /* queries of the largest tile */
    size_t part_floats; /* of one partial result */
};

static int imin(int a, int b) {
    return a < b ? a : b;
}

static int imax(int a, int b) {
    return a > b ? a : b;
}

static int group_size(const struct attn_job *j) {
    return j->n_head / j->n_kv_head;
}

static int n_chunk_of(const struct seq_rows *s) {
    return (s->n_span + CHUNK - 1) / CHUNK;
}

/* Floats of one partial result, each of its three arrays padded to 64 bytes. */
static size_t part_floats(int n_row, int v_dim) {
    return (size_t)n_row * ((size_t)v_dim + 2) + 3 * 16;
}

static float *carve(float **at, size_t n) {
    float *p = *at;
    *at += (n + 15) / 16 * 16;
    return p;
}

static size_t work_floats(int k_dim, int v_dim) {
    const size_t k = (size_t)k_dim, v = (size_t)v_dim;
    return TILE * (k + 2 * v + 4) + KV_PAGE * (BLOCK + k + v) + 10 * 16;
}

static struct soft_sum carve_sum(float **at, int n_row, int v_dim) {
    struct soft_sum s;
    s.m = carve(at, (size_t)n_row);
    s.l = carve(at, (size_t)n_row);
    s.o = carve(at, (size_t)n_row * v_dim);
    return s;
}

static struct work work_init(const struct worker *w, const struct attn_job *j) {
    struct work b = {.k = &kern_get()->vec};
    float *at = (float *)w->scratch;
    assert(w->scratch_bytes >= work_floats(j->k_dim, j->v_dim) * sizeof(float));
    b.q = carve(&at, (size_t)TILE * j->k_dim);
    b.s = carve(&at, (size_t)BLOCK * KV_PAGE);
    b.kt = carve(&at, (size_t)KV_PAGE * j->k_dim);
    b.v = carve(&at, (size_t)KV_PAGE * j->v_dim);
    b.part = carve_sum(&at, TILE, j->v_dim);
    b.total = carve_sum(&at, TILE, j->v_dim);
    return b;
}

/* Most pages a sequence of n tokens has: prefix sharing may leave a few that are not full. */
static int max_pages(int n) {
    return n / KV_PAGE + 8;
}

void cpu_attend_scratch(const struct op_limits *lim, int n_worker, size_t *scratch_bytes,
                        size_t *shared_bytes) {
    const int dim = lim->max_head_dim;
    *scratch_bytes = work_floats(dim, dim) * sizeof(float);
    *shared_bytes = 0;
    if (lim->n_kv_head < 1 || lim->n_head < 1) return; /* a model without attention */
    /* Splitting stops at two tiles a worker; sized for tiles of one token. */
    const size_t n_part = (size_t)2 * n_worker * (max_pages(lim->max_ctx) / CHUNK + 1);
    const int n_row = imin(TILE, lim->n_head / lim->n_kv_head);
    const size_t bytes = n_part * part_floats(n_row, dim) * sizeof(float);
    *shared_bytes = bytes < MAX_SPLIT_BYTES ? bytes : MAX_SPLIT_BYTES;
}

/* ---- one tile, one page ---- */

static int32_t query_pos(const struct tile *t, int r) {
    return t->s->pos0 + (t->first + r) / group_size(t->j);
}

static int query_head(const struct tile *t, int r) {
    const int g = group_size(t->j);
    return t->kv_head * g + (t->first + r) % g;
}

static int query_row(const struct tile *t, int r) {
    return t->s->row0 + (t->first + r) / group_size(t->j);
}

/* Keys [*lo, *hi) of a page that a query at position p sees. */
static void visible(const struct attn_job *j, const struct kv_span *sp, int32_t p, int *lo,
                    int *hi) {
    const int64_t rel = (int64_t)p - sp->pos0;
    int64_t from = 0, to = sp->n;
    if (j->causal && to > rel + 1) to = rel + 1;
    if (j->window && from < rel + 1 - j->window) from = rel + 1 - j->window;
    *lo = (int)imin((int)(from < sp->n ? from : sp->n), sp->n);
    *hi = to > *lo ? (int)to : *lo;
}

static const uint8_t *key_rows(const struct tile *t, const struct kv_span *sp) {
    return sp->page + t->j->k_at + (size_t)t->kv_head * KV_PAGE * t->j->k_row_bytes;
}

static const uint8_t *value_rows(const struct tile *t, const struct kv_span *sp) {
    return sp->page + t->j->v_at + (size_t)t->kv_head * KV_PAGE * t->j->v_row_bytes;
}

/* A page as the queries of a tile see it: keys [lo, hi), V of key lo at v as floats.  Few queries
 * read K and V from the cache itself. */
struct page {
    const struct kv_span *sp, *next; /* next: the page after it, or NULL */
    int lo, hi;
    bool few;
    const float *v;
    int ldv;
};

/* V as floats.  Meanwhile fetches the next page's K: a head's rows in a page are too few for the
 * processor to see what comes. */
static void load_values(const struct work *b, const struct tile *t, struct page *g) {
    const struct attn_job *j = t->j;
    const enum kv_type type = kv_type_of(j->v_type);
    const uint8_t *rows = value_rows(t, g->sp), *ahead = key_rows(t, g->next ? g->next : g->sp);
    const bool as_is = type == KV_F32;
    for (int i = g->lo; i < g->hi; i++) {
        for (size_t at = 0; at < j->k_row_bytes; at += 64)
            __builtin_prefetch(ahead + (size_t)i * j->k_row_bytes + at, 0, 2);
        if (!as_is)
            b->k->kv_load[type](j->v_dim, rows + (size_t)i * j->v_row_bytes,
                                b->v + (size_t)(i - g->lo) * j->v_dim);
    }
    g->v = as_is ? (const float *)(const void *)(rows + (size_t)g->lo * j->v_row_bytes) : b->v;
    g->ldv = as_is ? (int)(j->v_row_bytes / sizeof(float)) : j->v_dim;
}

/* S = Q K^T of n queries from r0 on, for the first n_key keys; few: fetches V meanwhile. */
static void multiply_keys(const struct work *b, const struct tile *t, const struct page *g, int r0,
                          int n, int n_key) {
    const struct attn_job *j = t->j;
    const float *q = b->q + (size_t)r0 * j->k_dim;
    if (g->few)
        b->k->few_qk[kv_type_of(j->k_type)](n, n_key, j->k_dim, q, key_rows(t, g->sp),
                                            j->k_row_bytes, value_rows(t, g->sp),
                                            (size_t)n_key * j->v_row_bytes, b->s);
    else
        b->k->mul_tile(n, imin((n_key + 15) / 16 * 16, KV_PAGE), j->k_dim, q, j->k_dim, b->kt,
                       KV_PAGE, b->s, KV_PAGE, false);
}

/* O += P V of n queries from r0 on, for keys [lo, hi); few: fetches the next page's K meanwhile. */
static void multiply_values(const struct work *b, const struct tile *t, const struct page *g,
                            int r0, int n, int lo, int hi) {
    const struct attn_job *j = t->j;
    float *o = b->part.o + (size_t)r0 * j->v_dim;
    if (g->few)
        b->k->few_pv[kv_type_of(j->v_type)](n, hi - lo, j->v_dim, b->s + lo,
                                            value_rows(t, g->sp) + (size_t)lo * j->v_row_bytes,
                                            j->v_row_bytes, key_rows(t, g->next ? g->next : g->sp),
                                            g->next ? (size_t)g->next->n * j->k_row_bytes : 0, o);
    else
        b->k->mul_tile(n, j->v_dim, hi - lo, b->s + lo, KV_PAGE,
                       g->v + (size_t)(lo - g->lo) * g->ldv, g->ldv, o, j->v_dim, true);
}

/* Queries [r0, r0 + n) of the tile against the page: S, P and O of so few stay in L1 beside it. */
static void block_step(const struct work *b, const struct tile *t, const struct page *g, int r0,
                       int n) {
    const struct attn_job *j = t->j;
    int lo, hi, unused;
    visible(j, g->sp, query_pos(t, r0), &lo, &unused); /* the first query sees furthest back, */
    visible(j, g->sp, query_pos(t, r0 + n - 1), &unused, &hi); /* the last furthest on */
    if (lo >= hi) return;
    multiply_keys(b, t, g, r0, n, hi);
    for (int r = r0; r < r0 + n; r++) {
        const int32_t p = query_pos(t, r);
        const struct soft soft = {.scale = j->scale,
                                  .cap = j->softcap,
                                  .slope = j->alibi ? j->alibi[query_head(t, r)] : 0.0f,
                                  .rel0 = g->sp->pos0 - p};
        int from, to;
        visible(j, g->sp, p, &from, &to);
        const float f = b->k->soft_page(b->s + (size_t)(r - r0) * KV_PAGE, from, to, &soft,
                                        &b->part.m[r], &b->part.l[r]);
        float *o = b->part.o + (size_t)r * j->v_dim;
        if (f != 1.0f) b->k->scale(j->v_dim, o, f, o);
    }
    multiply_values(b, t, g, r0, n, lo, hi);
}

/* One page for all queries of the tile; next: the page after it, or NULL. */
static void page_step(const struct work *b, const struct tile *t, const struct kv_span *sp,
                      const struct kv_span *next) {
    const struct attn_job *j = t->j;
    const enum kv_type type = kv_type_of(j->k_type);
    struct page g = {.sp = sp, .next = next, .few = t->n <= FEW && b->k->few_qk[type]};
    int unused;
    visible(j, sp, query_pos(t, 0), &g.lo, &unused);
    visible(j, sp, query_pos(t, t->n - 1), &unused, &g.hi);
    if (g.lo >= g.hi) return;
    if (!g.few) {
        b->k->k_tile[type](g.hi, j->k_dim, key_rows(t, sp), j->k_row_bytes, value_rows(t, sp),
                           b->kt);
        load_values(b, t, &g);
    }
    for (int r = 0; r < t->n; r += BLOCK)
        block_step(b, t, &g, r, imin(BLOCK, t->n - r));
}

/* ---- chunks and their merging ---- */

static void sum_clear(const struct soft_sum *s, int n, int v_dim) {
    for (int r = 0; r < n; r++) {
        s->m[r] = -INFINITY;
        s->l[r] = 0.0f;
    }
    memset(s->o, 0, (size_t)n * v_dim * sizeof *s->o);
}

/* Add query r of p to query `to` of t. */
static void sum_merge(const struct kern_vec *k, const struct soft_sum *t, int to,
                      const struct soft_sum *p, int r, int v_dim) {
    float *o = t->o + (size_t)to * v_dim;
    if (p->m[r] == -INFINITY) return; /* saw nothing */
    const float m = fmaxf(t->m[to], p->m[r]);
    const float a = expf(t->m[to] - m), b = expf(p->m[r] - m);
    t->m[to] = m;
    t->l[to] = t->l[to] * a + p->l[r] * b;
    if (a != 1.0f) k->scale(v_dim, o, a, o);
    k->add_scaled(v_dim, o, p->o + (size_t)r * v_dim, b);
}

/* Query r's result to the output: the sink joins the denominator, then o / l. */
static void finish_row(const struct work *b, const struct tile *t, int r, const struct soft_sum *s,
                       int from) {
    const struct attn_job *j = t->j;
    const int ih = query_head(t, r);
    float *out = j->out + (size_t)query_row(t, r) * j->ldo + (size_t)ih * j->v_dim;
    float l = s->l[from], f = 1.0f;
    if (j->sink) {
        const float m = fmaxf(s->m[from], j->sink[ih]);
        f = expf(s->m[from] - m);
        l = l * f + expf(j->sink[ih] - m);
    }
    b->k->scale(j->v_dim, s->o + (size_t)from * j->v_dim, f / l, out);
}

static void load_queries(const struct work *b, const struct tile *t) {
    const struct attn_job *j = t->j;
    for (int r = 0; r < t->n; r++)
        memcpy(b->q + (size_t)r * j->k_dim,
               j->q + (size_t)query_row(t, r) * j->ldq + (size_t)query_head(t, r) * j->k_dim,
               (size_t)j->k_dim * sizeof *b->q);
}

/* Chunk ic for all queries of the tile, into b->part. */
static void run_chunk(const struct work *b, const struct tile *t, int ic) {
    const int end = imin((ic + 1) * CHUNK, t->s->n_span);
    sum_clear(&b->part, t->n, t->j->v_dim);
    for (int i = ic * CHUNK; i < end; i++)
        page_step(b, t, &t->s->span[i], i + 1 < t->s->n_span ? &t->s->span[i + 1] : NULL);
}

static void run_tile(const struct work *b, const struct tile *t) {
    const int v_dim = t->j->v_dim, n_chunk = n_chunk_of(t->s);
    load_queries(b, t);
    sum_clear(&b->total, t->n, v_dim);
    for (int ic = 0; ic < n_chunk; ic++) {
        run_chunk(b, t, ic);
        for (int r = 0; r < t->n; r++)
            sum_merge(b->k, &b->total, r, &b->part, r, v_dim);
    }
    for (int r = 0; r < t->n; r++)
        finish_row(b, t, r, &b->total, r);
}

/* ---- work items ---- */

static int n_tile_of(const struct attn_job *j, const struct seq_rows *s, int tile) {
    return (s->n_row * group_size(j) + tile - 1) / tile * j->n_kv_head;
}

/* Tile `it` of the plan: the last rows of a sequence, which see most, come first, so that the
 * items drawn at the end are small. */
static struct tile tile_at(const struct attn_job *j, const struct plan *p, int it) {
    const struct seq_rows *s = j->seq;
    for (; it >= n_tile_of(j, s, p->tile); s++)
        it -= n_tile_of(j, s, p->tile);
    const int first = ((n_tile_of(j, s, p->tile) - 1 - it) / j->n_kv_head) * p->tile;
    return (struct tile){.j = j,
                         .s = s,
                         .kv_head = it % j->n_kv_head,
                         .first = first,
                         .n = imin(p->tile, s->n_row * group_size(j) - first)};
}

static int count_tiles(const struct attn_job *j, int tile) {
    int n = 0;
    for (int i = 0; i < j->n_seq; i++)
        n += n_tile_of(j, &j->seq[i], tile);
    return n;
}

static struct plan make_plan(const struct worker *w, const struct attn_job *j) {
    /* Without groups a tile of 96 tokens wastes much of the pages at the diagonal. */
    struct plan p = {.tile = group_size(j) > 1 ? TILE : 64};
    int most = 0;
    for (int i = 0; i < j->n_seq; i++) {
        p.n_chunk = imax(p.n_chunk, n_chunk_of(&j->seq[i]));
        most = imax(most, j->seq[i].n_row * group_size(j));
    }
    /* Rather read K and V twice than leave workers without a tile or chunk. */
    while (p.tile > 1 && count_tiles(j, p.tile) * p.n_chunk < w->n)
        p.tile /= 2;
    p.n_tile = count_tiles(j, p.tile);
    p.n_row = imin(p.tile, most);
    p.part_floats = part_floats(p.n_row, j->v_dim);
    p.split = p.n_tile < 2 * w->n && w->n > 1 && p.n_chunk > 1 &&
              p.part_floats * sizeof(float) * p.n_tile * p.n_chunk <= w->shared_bytes;
    return p;
}

/* Partial result `i` in the shared scratch. */
static struct soft_sum partial(const struct worker *w, const struct plan *p, size_t i, int v_dim) {
    float *at = (float *)w->shared + i * p->part_floats;
    return carve_sum(&at, p->n_row, v_dim);
}

static void run_item(const struct worker *w, const struct plan *p, struct work *b,
                     const struct attn_job *j, int item) {
    if (!p->split) {
        const struct tile t = tile_at(j, p, item);
        run_tile(b, &t);
        return;
    }
    const struct tile t = tile_at(j, p, item / p->n_chunk);
    const int ic = item % p->n_chunk;
    if (ic >= n_chunk_of(t.s)) return;
    b->part = partial(w, p, (size_t)item, j->v_dim);
    load_queries(b, &t);
    run_chunk(b, &t, ic);
}

/* Merge the chunks of the worker's share of the queries. */
static void merge_partials(const struct worker *w, const struct plan *p, const struct work *b,
                           const struct attn_job *j) {
    int lo, hi;
    team_range(w, p->n_tile * p->n_row, 1, &lo, &hi);
    for (int u = lo; u < hi; u++) {
        const int it = u / p->n_row, r = u % p->n_row;
        const struct tile t = tile_at(j, p, it);
        if (r >= t.n) continue;
        sum_clear(&b->total, 1, j->v_dim);
        for (int ic = 0; ic < n_chunk_of(t.s); ic++) {
            const struct soft_sum part = partial(w, p, (size_t)it * p->n_chunk + ic, j->v_dim);
            sum_merge(b->k, &b->total, 0, &part, r, j->v_dim);
        }
        finish_row(b, &t, r, &b->total, 0);
    }
}

void cpu_attend(struct worker *w, const struct attn_job *j) {
    struct work b = work_init(w, j);
    const struct plan p = make_plan(w, j);
    const int n_item = p.split ? p.n_tile * p.n_chunk : p.n_tile;
    team_share(w, n_item);
    for (int n, i; (i = team_draw(w, &n)) >= 0;)
        for (; n > 0; n--)
            run_item(w, &p, &b, j, i++);
    team_barrier(w);
    if (!p.split) return;
    merge_partials(w, &p, &b, j);
    team_barrier(w);
}
