/* Recorded attention: the norms and rotation of queries and keys, and softmax(q k^T) v over whole
 * sequences.  Nothing goes through a cache. */
#include <string.h>

#include "cpu/kern.h"
#include "cpu/op.h"
#include "train/attend.h"
#include "train/back_rows.h"
#include "train/tape_priv.h"

/* ---- norms and rotation ---- */

static bool norms(const struct norm *n) {
    return n && n->kind != NORM_NONE;
}

void tape_rope_store(struct worker *w, const struct attn_job *j) {
    struct train_ctx *c = train_ctx(w);
    float *q =
        norms(j->q_norm) ? tape_save(w, j->q, j->ldq, j->n, j->n_head * j->k_dim, NULL) : NULL;
    float *k =
        norms(j->k_norm) ? tape_save(w, j->k, j->ldk, j->n, j->n_kv_head * j->k_dim, NULL) : NULL;
    if (w->id == 0) {
        struct tape_op *op = tape_push(c, TAPE_ROPE);
        if (op) op->attn.j = *j, op->attn.q = q, op->attn.k = k;
        tape_wrote(c, j->q, j->ldq, j->n, j->ldq, -1);
        tape_wrote(c, j->k, j->ldk, j->n, j->ldk, -1);
    }
    if (c->dry)
        team_barrier(w);
    else
        cpu_rope_rows(w, j);
}

/* The gradient of a rotation is the rotation by minus the angle (its factor stays). */
static void turn_back(const struct attn_job *j, float *row, int n_head, const float *cs) {
    const struct kern_vec *k = &kern_get()->vec;
    for (int h = 0; h < n_head; h++) {
        float *head = row + (size_t)h * j->k_dim + j->rot_at;
        if (j->rope == ROPE_PAIRS) k->rope_pairs(j->n_rot / 2, head, cs);
        if (j->rope == ROPE_HALVES) k->rope_halves(j->n_rot / 2, head, cs);
    }
}

void back_rope(struct worker *w, const struct tape_op *op) {
    const struct train_ctx *c = train_ctx(w);
    const struct attn_job *j = &op->attn.j;
    float *dq = grad_at(c, j->q), *dk = grad_at(c, j->k), *cs = (float *)(void *)w->scratch;
    int lo, hi;
    team_range(w, j->rope == ROPE_NONE ? 0 : j->n, 1, &lo, &hi);
    for (int i = lo; i < hi; i++) {
        const float *angle = j->rope_cs + (size_t)i * j->n_rot;
        for (int p = 0; p < j->n_rot; p += 2)
            cs[p] = angle[p], cs[p + 1] = -angle[p + 1];
        turn_back(j, dq + (size_t)i * j->ldq, j->n_head, cs);
        turn_back(j, dk + (size_t)i * j->ldk, j->n_kv_head, cs);
    }
    team_barrier(w);
    if (op->attn.q)
        tape_back_norm(w, j->q_norm, j->n, j->n_head * j->k_dim, op->attn.q, dq, j->ldq, dq, j->ldq,
                       false);
    if (op->attn.k)
        tape_back_norm(w, j->k_norm, j->n, j->n_kv_head * j->k_dim, op->attn.k, dk, j->ldk, dk,
                       j->ldk, false);
}

/* ---- attention ---- */

void tape_attend(struct worker *w, const struct attn_job *j) {
    struct train_ctx *c = train_ctx(w);
    struct tape_op saved = {.kind = TAPE_ATTEND, .attn = {.j = *j}};
    saved.attn.q = tape_save(w, j->q, j->ldq, j->n, j->ldq, NULL);
    saved.attn.k = tape_save(w, j->k, j->ldk, j->n, j->ldk, NULL);
    saved.attn.v = j->v ? tape_save(w, j->v, j->ldv, j->n, j->ldv, NULL) : NULL;
    saved.attn.lse = tape_room(w, (size_t)j->n * (size_t)j->n_head);
    if (w->id == 0) tape_wrote(c, j->out, j->ldo, j->n, j->n_head * j->v_dim, -1);
    if (!c->dry) attend_forward(w, j, saved.attn.lse ? saved.attn.lse : c->lse);
    team_barrier(w);
    saved.attn.out = tape_save(w, j->out, j->ldo, j->n, j->n_head * j->v_dim, NULL);
    if (w->id == 0) {
        struct tape_op *op = tape_push(c, TAPE_ATTEND);
        if (op) *op = saved;
    }
    team_barrier(w);
}

void back_attend(struct worker *w, const struct tape_op *op) {
    const struct train_ctx *c = train_ctx(w);
    const struct attn_job *j = &op->attn.j;
    struct attn_job then = *j;
    then.q = op->attn.q, then.k = op->attn.k, then.v = op->attn.v;
    then.out = op->attn.out, then.ldo = j->n_head * j->v_dim;
    const struct attend_grad g = {
        .dout = grad_at(c, j->out),
        .lddout = j->ldo,
        .dq = grad_at(c, j->q),
        .dk = grad_at(c, j->k),
        .dv = j->v ? grad_at(c, j->v) : NULL,
        .dsink = j->sink ? grad_of(c, j->sink) : NULL,
    };
    attend_backward(w, &then, op->attn.lse, &g);
    team_barrier(w);
    tape_zero_rows(w, grad_at(c, j->out), j->ldo, j->n, j->n_head * j->v_dim);
    team_barrier(w);
}
