/* What attention forward and backward share: tiles of queries, who sees whom, scratch.
 *
 * A tile is some queries of one sequence that share a KV head, numbered row-major over the
 * sequence's [n_row][heads of the group].  Keys come in blocks of KV_PAGE from the sequence's
 * start.  Rows are counted within the sequence; masks and ALiBi depend on differences of positions
 * only, so row numbers stand for positions. */
#pragma once

#include "backend/ops.h"
#include "cpu/kern.h"

struct attend_tile {
    const struct attn_job *j;
    const struct seq_rows *s;
    int kv_head;
    int first, n; /* queries */
};

static inline int attend_min(int a, int b) {
    return a < b ? a : b;
}

static inline int attend_max(int a, int b) {
    return a > b ? a : b;
}

static inline int attend_group(const struct attn_job *j) {
    return j->n_head / j->n_kv_head;
}

/* Query q's row in the sequence, its row in the batch, and its head. */
static inline int tile_row(const struct attend_tile *t, int q) {
    return (t->first + q) / attend_group(t->j);
}

static inline size_t tile_batch_row(const struct attend_tile *t, int q) {
    return (size_t)(t->s->row0 + tile_row(t, q));
}

static inline int tile_head(const struct attend_tile *t, int q) {
    const int g = attend_group(t->j);
    return t->kv_head * g + (t->first + q) % g;
}

/* Keys [*lo, *hi) of the sequence that its row i sees. */
static inline void attend_keys(const struct attn_job *j, const struct seq_rows *s, int i, int *lo,
                               int *hi) {
    *lo = j->window && i >= j->window ? i - j->window + 1 : 0;
    *hi = j->causal ? i + 1 : s->n_row;
}

/* Keys that some query of the tile sees: the first sees furthest back, the last furthest on. */
static inline void tile_keys(const struct attend_tile *t, int *lo, int *hi) {
    int unused;
    attend_keys(t->j, t->s, tile_row(t, 0), lo, &unused);
    attend_keys(t->j, t->s, tile_row(t, t->n - 1), &unused, hi);
}

/* Queries [*lo, *hi) of the tile that see key k of the sequence. */
static inline void tile_queries(const struct attend_tile *t, int k, int *lo, int *hi) {
    const int g = attend_group(t->j), n_row = t->s->n_row;
    const int from = t->j->causal ? k : 0;
    const int to = t->j->window && t->j->window < n_row - k ? k + t->j->window : n_row;
    *lo = attend_min(attend_max(from * g - t->first, 0), t->n);
    *hi = attend_min(attend_max(to * g - t->first, *lo), t->n);
}

/* Key k's row of K and of V, for the tile's KV head. */
static inline size_t tile_k_at(const struct attend_tile *t, int k) {
    return (size_t)(t->s->row0 + k) * t->j->ldk + (size_t)t->kv_head * t->j->k_dim;
}

static inline const float *tile_k(const struct attend_tile *t, int k) {
    return t->j->k + tile_k_at(t, k);
}

static inline size_t tile_v_at(const struct attend_tile *t, int k) {
    return t->j->v ? (size_t)(t->s->row0 + k) * t->j->ldv + (size_t)t->kv_head * t->j->v_dim
                   : tile_k_at(t, k);
}

static inline const float *tile_v(const struct attend_tile *t, int k) {
    return (t->j->v ? t->j->v : t->j->k) + tile_v_at(t, k);
}

static inline int attend_ldv(const struct attn_job *j) {
    return j->v ? j->ldv : j->ldk;
}

/* Where query q's values are in q (dq), and in out; attend_backward's dout has another ld. */
static inline size_t tile_q_at(const struct attend_tile *t, int q) {
    return tile_batch_row(t, q) * t->j->ldq + (size_t)tile_head(t, q) * t->j->k_dim;
}

static inline size_t tile_out_at(const struct attend_tile *t, int q, int ld) {
    return tile_batch_row(t, q) * ld + (size_t)tile_head(t, q) * t->j->v_dim;
}

/* Tiles of `size` queries of sequence s, of one KV head; and tile `it` of those. */
static inline int attend_n_tile(const struct attn_job *j, const struct seq_rows *s, int size) {
    return (s->n_row * attend_group(j) + size - 1) / size;
}

static inline struct attend_tile attend_tile_at(const struct attn_job *j, const struct seq_rows *s,
                                                int kv_head, int it, int size) {
    const int left = s->n_row * attend_group(j) - it * size;
    return (struct attend_tile){
        .j = j, .s = s, .kv_head = kv_head, .first = it * size, .n = attend_min(size, left)};
}

/* n rows of dim floats, `ld` apart, as columns: out [dim][KV_PAGE], columns from n on become 0. */
static inline void attend_transpose(const struct kern_vec *k, int n, int dim, const float *rows,
                                    int ld, float *out) {
    const uint8_t *p = (const uint8_t *)rows;
    k->k_tile[KV_F32](n, dim, p, (size_t)ld * sizeof(float), p, out);
}

/* The next n floats of scratch, on a cache line of its own. */
static inline float *attend_carve(float **at, size_t n) {
    float *p = *at;
    *at += (n + 15) / 16 * 16;
    return p;
}

/* Floats of scratch that each half wants. */
size_t attend_forward_floats(int k_dim, int v_dim);
size_t attend_backward_floats(int k_dim, int v_dim);
