/* Latent attention (DeepSeek-V2, arXiv:2405.04434, section 2.1), absorbed: the cache holds one row
 * per token, [latent (kv_rank) | rotated key (n_rot)], for all heads together.  Per head,
 *
 *     q . k = (k_b^T q_plain) . latent + rot(q_rot) . key        v = v_b latent
 *
 * so attention runs as one KV head of kv_rank + n_rot values whose V is the latent itself. */
#include "model/forward_priv.h"

/* q: [n][n_head][k_dim] = [plain | rot] into f->q, the latent row into f->k. */
static void project(struct worker *w, struct pass *p, const struct layer *l) {
    struct forward *f = p->f;
    const struct hparams *h = &f->m->hp;
    const struct mla_weights *a = &l->mla;
    const bool low_rank = a->q_a.w.data != NULL;
    const struct norm *norm = &l->attn_norm;
    const float *in = forward_normed(w, p, &norm, "attn_norm", l->il);
    struct linear_job first = forward_job(p, in, h->n_embd);
    first.norm = norm;
    first.n_out = 2;
    if (low_rank)
        first.out[0] = (struct linear_out){&a->q_a, f->q_a, h->q_rank};
    else
        first.out[0] = (struct linear_out){&a->q, f->q, f->n_q};
    first.out[1] = (struct linear_out){&a->kv_a, f->k, f->n_k};
    l->op->linear(w, &first);
    if (low_rank) {
        struct linear_job second = forward_job(p, f->q_a, h->q_rank);
        second.norm = &a->q_a_norm;
        second.n_out = 1;
        second.out[0] = (struct linear_out){&a->q, f->q, f->n_q};
        l->op->linear(w, &second);
    }
    l->op->norm(w, f->k, f->n_k, f->k, f->n_k, p->n, h->kv_rank, &a->kv_a_norm);
    forward_point(w, p, "q", l->il, f->q, p->n, f->n_q);
    forward_point(w, p, "k", l->il, f->k, p->n, f->n_k);
}

void mix_mla(struct worker *w, struct pass *p, const struct layer *l) {
    struct forward *f = p->f;
    const struct hparams *h = &f->m->hp;
    const struct mla_weights *a = &l->mla;
    const int n_head = l->hp->n_head, row = h->kv_rank + h->n_rot, plain = h->k_dim - h->n_rot;
    const int ld = n_head * row, ld_latent = n_head * h->kv_rank, ld_v = n_head * h->v_dim;
    project(w, p, l);
    l->op->head_linear(w, &a->k_b, f->q, f->n_q, h->k_dim, f->q_latent, ld, row, p->n);
    l->op->gather_rows(w, f->q_latent + h->kv_rank, row, f->q + plain, h->k_dim, f->identity,
                       p->n * n_head, h->n_rot);
    struct attn_job j = {
        .n = p->n,
        .seq = p->seq,
        .n_seq = p->n_seq,
        .q = f->q_latent,
        .k = f->k,
        .ldq = ld,
        .ldk = f->n_k,
        .out = f->att,
        .ldo = ld_latent,
        .n_head = n_head,
        .n_kv_head = 1,
        .k_dim = row,
        .v_dim = h->kv_rank,
        .rope = h->rope,
        .n_rot = h->n_rot,
        .rot_at = h->kv_rank,
        .rope_cs = f->rope_cs[l->hp->rope_set],
        .scale = h->attn_scale,
        .softcap = h->attn_softcap,
        .causal = h->causal,
    };
    if (f->pool) kv_pool_layer(f->pool, l->il, &j);
    l->op->rope_store(w, &j);
    if (p->cache_only) return;
    l->op->attend(w, &j);
    l->op->head_linear(w, &a->v_b, f->att, ld_latent, h->kv_rank, f->v, ld_v, h->v_dim, p->n);
    forward_point(w, p, "attn", l->il, f->v, p->n, ld_v);
    forward_residual(w, p, l, &a->o, f->v, ld_v, &l->attn_post_norm, "attn_out");
}
