/* Mixture of experts: a router picks k of n feed-forwards per row; their weighted results and, in
 * some models, those of a shared expert are added (arXiv:2401.04088, 2401.06066). */
#include "model/forward_priv.h"

/* Fill f->routing from the router's logits. */
static void choose(struct worker *w, const struct pass *p, const struct layer *l) {
    struct forward *f = p->f;
    const struct hparams *h = &f->m->hp;
    struct linear_job j = forward_job(p, f->xn, h->n_embd);
    j.n_out = 1;
    j.out[0] = (struct linear_out){&l->moe.router, f->router, h->n_expert};
    l->op->linear(w, &j);
    forward_point(w, p, "router", l->il, f->router, p->n, h->n_expert);
    const struct route_job r = {
        .logits = f->router,
        .n = p->n,
        .gate = h->gate,
        .select_bias = l->moe.select_bias,
        .renormalize = h->expert_renorm,
        .scale = h->expert_scale,
        .n_group = h->n_group,
        .n_group_used = h->n_group_used,
        .r = &f->routing,
    };
    l->op->route(w, &r);
}

/* The chosen experts' weighted sum onto out, times scale. */
static void experts(struct worker *w, const struct pass *p, const struct layer *l, float *out,
                    float scale) {
    struct forward *f = p->f;
    const struct hparams *h = &f->m->hp;
    const struct moe_weights *m = &l->moe;
    const enum act act = f->m->arch->act;
    struct linear_job wide = forward_job(p, f->xn, h->n_embd);
    wide.n_out = 2;
    wide.out[0] = (struct linear_out){&m->gate, f->h, h->n_ff_exp};
    wide.out[1] = (struct linear_out){&m->up, NULL, 0};
    wide.then = THEN_GLU;
    wide.act = act == ACT_NONE ? ACT_SILU : act;
    wide.routing = &f->routing;
    l->op->linear(w, &wide);

    struct linear_job narrow = forward_job(p, f->h, h->n_ff_exp);
    narrow.n_out = 1;
    narrow.out[0] = (struct linear_out){&m->down, f->y, h->n_embd};
    narrow.routing = &f->routing;
    narrow.x_per_slot = true;
    l->op->linear(w, &narrow);
    l->op->combine(w, out, h->n_embd, f->y, h->n_embd, &f->routing, p->n, h->n_embd, scale);
}

/* The expert every row passes, with its gate where there is one (qwen2moe), onto out. */
static void shared_expert(struct worker *w, const struct pass *p, const struct layer *l, float *out,
                          float scale) {
    struct forward *f = p->f;
    const int n_embd = f->m->hp.n_embd;
    const struct moe_weights *m = &l->moe;
    const bool gated = m->shared_gate.w.data != NULL;
    struct linear_job wide = forward_job(p, f->xn, n_embd);
    wide.n_out = 2;
    wide.out[0] = (struct linear_out){&m->shared.gate, f->h, m->shared.up.w.n_row};
    wide.out[1] = (struct linear_out){&m->shared.up, NULL, 0};
    wide.then = THEN_GLU;
    wide.act = ACT_SILU;
    l->op->linear(w, &wide);

    struct linear_job narrow = forward_job(p, f->h, m->shared.up.w.n_row);
    narrow.n_out = 1;
    narrow.out[0] = (struct linear_out){&m->shared.down, gated ? f->y : out, n_embd};
    narrow.then = gated ? THEN_STORE : THEN_ADD;
    narrow.out_scale = scale;
    l->op->linear(w, &narrow);
    if (!gated) return;
    struct linear_job gate = forward_job(p, f->xn, n_embd);
    gate.n_out = 1;
    gate.out[0] = (struct linear_out){&m->shared_gate, f->router, 1};
    l->op->linear(w, &gate);
    l->op->gate_rows(w, f->y, n_embd, f->router, 1, p->n, n_embd);
    l->op->add_norm(w, out, n_embd, f->y, n_embd, p->n, n_embd, NULL, scale);
}

void ffn_moe(struct worker *w, struct pass *p, const struct layer *l) {
    struct forward *f = p->f;
    const int n_embd = f->m->hp.n_embd;
    const float scale = f->m->hp.residual_scale;
    /* Normalized once: router, experts and shared expert all read it. */
    l->op->norm(w, f->xn, n_embd, p->x, n_embd, p->n, n_embd, &l->ffn_norm);
    forward_point(w, p, "ffn_norm", l->il, f->xn, p->n, n_embd);
    choose(w, p, l);
    if (!f->tap) {
        experts(w, p, l, p->x, scale);
        if (l->moe.shared.up.w.data) shared_expert(w, p, l, p->x, scale);
        return;
    }
    l->op->scale_cap(w, f->xf, n_embd, p->n, n_embd, 0, 0); /* to show the branch by itself */
    experts(w, p, l, f->xf, 1);
    if (l->moe.shared.up.w.data) shared_expert(w, p, l, f->xf, 1);
    forward_point(w, p, "ffn_out", l->il, f->xf, p->n, n_embd);
    l->op->add_norm(w, p->x, n_embd, f->xf, n_embd, p->n, n_embd, NULL, scale);
}
