/* From projections to cache: QK-norm, RoPE, and the store of K and V rows; and the rotation of
 * stored K rows when a context is shifted. */
#include "cpu/op.h"

#include <assert.h>

#include "cpu/kern.h"

/* Where row `pos` of a sequence lies: K row of KV head 0 in *k, V row in *v. */
struct slot {
    uint8_t *page;
    int at; /* row within the page */
};

static struct slot find_slot(const struct seq_rows *s, int32_t pos) {
    int i = s->n_span - 1; /* new rows are at the end */
    while (i > 0 && s->span[i].pos0 > pos)
        i--;
    const struct kv_span *sp = &s->span[i];
    assert(pos >= sp->pos0 && pos < sp->pos0 + sp->n);
    return (struct slot){sp->page, pos - sp->pos0};
}

static uint8_t *page_row(uint8_t *page, size_t at, size_t row_bytes, int head, int row) {
    return page + at + ((size_t)head * KV_PAGE + row) * row_bytes;
}

static void rotate(const struct kern_vec *k, const struct attn_job *j, float *head,
                   const float *cs) {
    if (j->rope == ROPE_PAIRS) k->rope_pairs(j->n_rot / 2, head + j->rot_at, cs);
    if (j->rope == ROPE_HALVES) k->rope_halves(j->n_rot / 2, head + j->rot_at, cs);
}

/* A norm over more than a head (OLMo 2: the whole row) comes before the split by heads. */
static bool norm_is_wide(const struct norm *norm, int head_dim) {
    return norm && norm->kind != NORM_NONE && norm->dim > head_dim;
}

static void wide_norms(struct worker *w, const struct attn_job *j, const struct kern_vec *k) {
    const bool q = norm_is_wide(j->q_norm, j->k_dim), key = norm_is_wide(j->k_norm, j->k_dim);
    if (!q && !key) return;
    int lo, hi;
    team_range(w, j->n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++) {
        float *qi = j->q + (size_t)i * j->ldq, *ki = j->k + (size_t)i * j->ldk;
        if (q) cpu_norm_row(k, j->q_norm, j->n_head * j->k_dim, qi, qi);
        if (key) cpu_norm_row(k, j->k_norm, j->n_kv_head * j->k_dim, ki, ki);
    }
    team_barrier(w);
}

/* Norm (unless done) and rotation of head `ih` of a row. */
static void norm_rotate(const struct kern_vec *k, const struct attn_job *j, const struct norm *norm,
                        int ih, float *head, const float *cs) {
    if (norm && !norm_is_wide(norm, j->k_dim)) {
        struct norm one = *norm;
        if (norm->n_weight > j->k_dim) { /* this head's own weights */
            if (one.w) one.w += (size_t)ih * j->k_dim;
            if (one.b) one.b += (size_t)ih * j->k_dim;
            one.n_weight = j->k_dim;
        }
        cpu_norm_row(k, &one, j->k_dim, head, head);
    }
    rotate(k, j, head, cs);
}

static void store_kv(const struct kern_vec *k, const struct attn_job *j, const struct seq_rows *s,
                     int i, int ih, const float *cs) {
    const struct slot at = find_slot(s, s->pos0 + i - s->row0);
    float *key = j->k + (size_t)i * j->ldk + (size_t)ih * j->k_dim;
    norm_rotate(k, j, j->k_norm, ih, key, cs);
    k->kv_store[kv_type_of(j->k_type)](j->k_dim, key,
                                       page_row(at.page, j->k_at, j->k_row_bytes, ih, at.at));
    if (!j->v) return;
    k->kv_store[kv_type_of(j->v_type)](j->v_dim, j->v + (size_t)i * j->ldv + (size_t)ih * j->v_dim,
                                       page_row(at.page, j->v_at, j->v_row_bytes, ih, at.at));
}

void cpu_rope_store(struct worker *w, const struct attn_job *j) {
    const struct kern_vec *k = &kern_get()->vec;
    const int n_unit = j->n_head + j->n_kv_head; /* of a row: query heads, then KV heads */
    int lo, hi, is = 0;
    wide_norms(w, j, k);
    team_range(w, j->n * n_unit, 1, &lo, &hi);
    for (int u = lo; u < hi; u++) {
        const int i = u / n_unit, ih = u % n_unit;
        const float *cs = j->rope == ROPE_NONE ? NULL : j->rope_cs + (size_t)i * j->n_rot;
        while (i >= j->seq[is].row0 + j->seq[is].n_row)
            is++;
        if (ih < j->n_head)
            norm_rotate(k, j, j->q_norm, ih, j->q + (size_t)i * j->ldq + (size_t)ih * j->k_dim, cs);
        else
            store_kv(k, j, &j->seq[is], i, ih - j->n_head, cs);
    }
    team_barrier(w);
}

void cpu_rope_rows(struct worker *w, const struct attn_job *j) {
    const struct kern_vec *k = &kern_get()->vec;
    const int n_unit = j->n_head + j->n_kv_head;
    int lo, hi;
    wide_norms(w, j, k);
    team_range(w, j->n * n_unit, 1, &lo, &hi);
    for (int u = lo; u < hi; u++) {
        const int i = u / n_unit, ih = u % n_unit, ik = ih - j->n_head;
        const float *cs = j->rope == ROPE_NONE ? NULL : j->rope_cs + (size_t)i * j->n_rot;
        if (ik < 0)
            norm_rotate(k, j, j->q_norm, ih, j->q + (size_t)i * j->ldq + (size_t)ih * j->k_dim, cs);
        else
            norm_rotate(k, j, j->k_norm, ik, j->k + (size_t)i * j->ldk + (size_t)ik * j->k_dim, cs);
    }
    team_barrier(w);
}

void cpu_rope_shift(struct worker *w, const struct attn_job *j, const struct kv_span *span,
                    const float *cs) {
    const struct kern_vec *k = &kern_get()->vec;
    const enum kv_type type = kv_type_of(j->k_type);
    float *tmp = (float *)w->scratch;
    int lo, hi;
    team_range(w, j->n_kv_head * span->n, 1, &lo, &hi);
    for (int u = lo; u < hi; u++) {
        uint8_t *row = page_row(span->page, j->k_at, j->k_row_bytes, u / span->n, u % span->n);
        k->kv_load[type](j->k_dim, row, tmp);
        rotate(k, j, tmp, cs);
        k->kv_store[type](j->k_dim, tmp, row);
    }
    team_barrier(w);
}
