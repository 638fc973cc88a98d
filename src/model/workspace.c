/* How much the forward's workspace takes and where its pieces lie.  It follows from the
 * hyper-parameters and the options alone: forward_new() allocates by it, and what a model would
 * need is known without a file (engine/memory.h). */
#include "model/forward_priv.h"

/* A piece of f->mem; without f->mem they are only added up. */
static void *take(struct forward *f, size_t n, size_t size) {
    void *p = f->mem ? f->mem + f->mem_bytes : NULL;
    f->mem_bytes += (n * size + 63) & ~(size_t)63;
    return p;
}

static int most(int a, int b) {
    return a > b ? a : b;
}

static bool set_used(const struct hparams *h, int set) {
    for (int il = 0; il < h->n_layer; il++)
        if (h->layer[il].rope_set == set) return true;
    return false;
}

static void row_lengths(struct forward *f, const struct hparams *h) {
    f->n_q = f->n_k = f->n_v = f->n_att = 0;
    f->n_h = h->n_expert ? most(h->n_ff_exp * h->n_expert_used, h->n_ff_shared) : 0;
    for (int il = 0; il < h->n_layer; il++) {
        const struct layer_hparams *l = &h->layer[il];
        f->n_q = most(f->n_q, l->n_head * h->k_dim);
        f->n_k = most(f->n_k, h->kv_rank ? h->kv_rank + h->n_rot : l->n_kv_head * h->k_dim);
        f->n_v = most(f->n_v, (h->kv_rank ? l->n_head : l->n_kv_head) * h->v_dim);
        f->n_att = most(f->n_att, l->n_head * (h->kv_rank ? h->kv_rank : h->v_dim));
        if (!l->moe) f->n_h = most(f->n_h, l->n_ff);
    }
}

void workspace_lay_out(struct forward *f, const struct hparams *h, bool encoder) {
    const size_t n = (size_t)f->o.max_rows, n_out = (size_t)f->o.max_out, embd = (size_t)h->n_embd;
    const size_t used = h->n_expert ? (size_t)h->n_expert_used : 1,
                 heads = (size_t)h->layer[0].n_head;
    row_lengths(f, h);
    f->mem_bytes = 0;
    f->rows = take(f, n, sizeof *f->rows);
    f->out_rows = take(f, n, sizeof *f->out_rows);
    f->tok = take(f, n, 4), f->pos = take(f, n, 4), f->zero = take(f, n, 4);
    f->out_index = take(f, n_out, 4);
    f->x = take(f, n * embd, 4), f->xn = take(f, n * embd, 4), f->xf = take(f, n * embd, 4);
    f->xo = take(f, n_out * embd, 4), f->xfo = take(f, n_out * embd, 4);
    f->q = take(f, n * (size_t)f->n_q, 4), f->k = take(f, n * (size_t)f->n_k, 4);
    f->v = take(f, n * (size_t)f->n_v, 4), f->att = take(f, n * (size_t)f->n_att, 4);
    f->h = take(f, n * (size_t)f->n_h, 4), f->y = take(f, n * used * embd, 4);
    f->logits = take(f, encoder ? 0 : n_out * (size_t)h->n_vocab, 4);
    if (h->kv_rank) {
        f->q_latent = take(f, n * heads * (size_t)(h->kv_rank + h->n_rot), 4);
        f->q_a = take(f, n * (size_t)h->q_rank, 4);
    }
    f->identity = take(f, n * heads, 4);
    if (h->n_expert) {
        f->router = take(f, n * (size_t)h->n_expert, 4);
        f->routing = (struct routing){.n_expert = h->n_expert, .k = h->n_expert_used};
        f->routing.expert = take(f, n * used, 4), f->routing.weight = take(f, n * used, 4);
        f->routing.order = take(f, n * used, 4);
        f->routing.start = take(f, (size_t)h->n_expert + 1, 4);
    }
    for (int i = 0; i < ROPE_SETS; i++)
        if (set_used(h, i)) {
            f->rope_cs[i] = take(f, n * (size_t)h->n_rot, 4);
            f->freq[i] = take(f, (size_t)h->n_rot / 2, 8);
        }
}

size_t forward_need_bytes(const struct hparams *h, bool encoder, const struct forward_opts *o) {
    struct forward f = {.o = *o};
    workspace_lay_out(&f, h, encoder);
    return f.mem_bytes;
}

struct op_limits forward_limits(const struct hparams *h, bool encoder,
                                const struct forward_opts *o) {
    struct forward f = {.o = *o};
    struct op_limits lim = {
        .max_rows = o->max_rows * (h->n_expert ? h->n_expert_used : 1),
        .max_rank = o->max_rank,
        .max_ctx = o->n_ctx,
        .max_head_dim = h->kv_rank ? h->kv_rank + h->n_rot : most(h->k_dim, h->v_dim),
        .max_cols = most(h->n_embd, most(h->q_rank, h->kv_rank)),
        .max_out = most(h->n_embd, encoder ? 0 : h->n_vocab),
    };
    row_lengths(&f, h);
    const int n_ff = most(h->n_ff_exp, h->n_ff_shared); /* of one expert */
    int n_up = n_ff;
    for (int il = 0; il < h->n_layer; il++) {
        const struct layer_hparams *l = &h->layer[il];
        const int n_q = h->kv_rank ? most(h->q_rank, f.n_q) : f.n_q;
        lim.max_outs_sum = most(lim.max_outs_sum, most(n_q + f.n_k + f.n_v, 2 * l->n_ff));
        lim.n_head = most(lim.n_head, l->n_head);
        lim.n_kv_head = most(lim.n_kv_head, h->kv_rank ? 1 : l->n_kv_head);
        lim.max_cols = most(lim.max_cols, l->n_head * h->v_dim);
        if (!l->moe) n_up = most(n_up, l->n_ff);
    }
    lim.max_cols = most(lim.max_cols, n_up);
    lim.max_out = most(lim.max_out, most(n_up, most(f.n_q, most(f.n_k, f.n_v))));
    lim.max_outs_sum = most(lim.max_outs_sum, most(lim.max_out, 2 * n_ff));
    return lim;
}
