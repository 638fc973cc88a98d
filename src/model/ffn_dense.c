/* The dense feed-forward: down(act(gate x) * up x), or down(act(up x)) without a gate. */
#include "model/forward_priv.h"

/* act(...) of the first matrices into f->h. */
static void widen(struct worker *w, const struct pass *p, const struct layer *l, const float *in,
                  const struct norm *norm) {
    const struct forward *f = p->f;
    const struct ffn_weights *ffn = &l->ffn;
    const enum act act = f->m->arch->act;
    const bool gated = ffn->gate.w.data != NULL;
    struct linear_job j = forward_job(p, in, f->m->hp.n_embd);
    j.norm = norm;
    j.n_out = gated ? 2 : 1;
    j.out[0] = (struct linear_out){gated ? &ffn->gate : &ffn->up, f->h, ffn->up.w.n_row};
    j.out[1] = (struct linear_out){&ffn->up, NULL, 0};
    j.then = gated ? THEN_GLU : THEN_ACT;
    j.act = act == ACT_NONE ? ACT_SILU : act;
    l->op->linear(w, &j);
}

void ffn_dense(struct worker *w, struct pass *p, const struct layer *l) {
    const int n_embd = p->f->m->hp.n_embd;
    const struct norm *norm = l->parallel ? NULL : &l->ffn_norm;
    const float *in = l->parallel ? p->xf : forward_normed(w, p, &norm, "ffn_norm", l->il);
    widen(w, p, l, in, norm);
    forward_residual(w, p, l, &l->ffn.down, p->f->h, l->ffn.up.w.n_row, &l->ffn_post_norm,
                     "ffn_out");
    if (l->ffn_out_norm.kind != NORM_NONE)
        l->op->norm(w, p->x, n_embd, p->x, n_embd, p->n, n_embd, &l->ffn_out_norm);
}
