/* The attention mixer: q, k, v; rotate and store; attend; project.  Three or four fused ops. */
#include "model/forward_priv.h"

static struct attn_job job_of(const struct pass *p, const struct layer *l) {
    const struct forward *f = p->f;
    const struct hparams *h = &f->m->hp;
    const int set = l->hp->rope_set;
    struct attn_job j = {
        .n = p->n,
        .seq = p->seq,
        .n_seq = p->n_seq,
        .q = f->q,
        .k = f->k,
        .v = f->v,
        .ldq = f->n_q,
        .ldk = f->n_k,
        .ldv = f->n_v,
        .out = f->att,
        .ldo = f->n_att,
        .n_head = l->hp->n_head,
        .n_kv_head = l->hp->n_kv_head,
        .k_dim = h->k_dim,
        .v_dim = h->v_dim,
        .q_norm = l->attn.q_norm.kind != NORM_NONE ? &l->attn.q_norm : NULL,
        .k_norm = l->attn.k_norm.kind != NORM_NONE ? &l->attn.k_norm : NULL,
        .rope = set < 0 ? ROPE_NONE : h->rope,
        .n_rot = set < 0 ? 0 : h->n_rot,
        .rope_cs = set < 0 ? NULL : f->rope_cs[set],
        .scale = h->attn_scale,
        .softcap = h->attn_softcap,
        .window = l->hp->window,
        .causal = h->causal,
        .sink = l->attn.sink,
        .alibi = f->m->alibi,
    };
    if (f->pool) kv_pool_layer(f->pool, l->il, &j);
    return j;
}

/* The norms of encoders, which stand on sums; Jina's code model adds the layer's input twice. */
static void outer_norms(struct worker *w, const struct pass *p, const struct layer *l) {
    const int n_embd = p->f->m->hp.n_embd;
    if (l->attn_out_norm.kind == NORM_NONE) return;
    l->op->norm(w, p->x, n_embd, p->x, n_embd, p->n, n_embd, &l->attn_out_norm);
    if (l->attn_again_norm.kind == NORM_NONE) return;
    l->op->add_norm(w, p->x, n_embd, p->f->xf, n_embd, p->n, n_embd, NULL, 1);
    l->op->norm(w, p->x, n_embd, p->x, n_embd, p->n, n_embd, &l->attn_again_norm);
}

void mix_attn(struct worker *w, struct pass *p, const struct layer *l) {
    struct forward *f = p->f;
    const struct hparams *h = &f->m->hp;
    const struct attn_weights *a = &l->attn;
    const struct norm *norm = &l->attn_norm;
    const float *in;
    if (l->parallel) /* the feed-forward starts from here as well */
        l->op->norm(w, f->xf, h->n_embd, p->x, h->n_embd, p->n, h->n_embd,
                    l->shared_norm ? norm : &l->ffn_norm);
    if (l->parallel && l->shared_norm) {
        in = f->xf, norm = NULL;
        forward_point(w, p, "attn_norm", l->il, in, p->n, h->n_embd);
    } else {
        in = forward_normed(w, p, &norm, "attn_norm", l->il);
    }
    if (l->attn_again_norm.kind != NORM_NONE) /* for outer_norms() */
        l->op->gather_rows(w, f->xf, h->n_embd, p->x, h->n_embd, f->identity, p->n, h->n_embd);
    struct linear_job qkv = forward_job(p, in, h->n_embd);
    qkv.norm = norm;
    qkv.n_out = 3;
    qkv.out[0] = (struct linear_out){&a->q, f->q, f->n_q};
    qkv.out[1] = (struct linear_out){&a->k, f->k, f->n_k};
    qkv.out[2] = (struct linear_out){&a->v, f->v, f->n_v};
    l->op->linear(w, &qkv);
    for (int i = 0; i < 3 && h->clamp_qkv > 0; i++)
        l->op->clamp(w, qkv.out[i].y, qkv.out[i].ldy, p->n, qkv.out[i].l->w.n_row, h->clamp_qkv);
    forward_point(w, p, "q", l->il, f->q, p->n, f->n_q);
    forward_point(w, p, "k", l->il, f->k, p->n, f->n_k);
    forward_point(w, p, "v", l->il, f->v, p->n, f->n_v);

    const struct attn_job j = job_of(p, l);
    l->op->rope_store(w, &j);
    if (p->cache_only) return;
    l->op->attend(w, &j);
    forward_point(w, p, "attn", l->il, f->att, p->n, f->n_att);
    forward_residual(w, p, l, &a->o, f->att, f->n_att, &l->attn_post_norm, "attn_out");
    outer_norms(w, p, l);
}
