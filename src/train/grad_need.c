/* How much memory training will touch, from a dry run: the tapes' bytes, the pages of the workspace
 * that ops write and their twins, and what stands aside. */
#include "train/grad_priv.h"

static size_t pages_written(const struct grad *g) {
    size_t n = 0;
    for (size_t i = 0; i <= (g->ctx.work_bytes / TAPE_PAGE + 1) / 64; i++)
        n += (size_t)__builtin_popcountll(g->ctx.page[i]);
    return n * TAPE_PAGE;
}

/* Rows that linears put aside: inputs behind a norm (twice: the gradient's, and once more where
 * they are made again for weights), and gates where no tape keeps them. */
static size_t aside_bytes(const struct grad *g) {
    const struct hparams *h = &g->m->hp;
    const size_t n = (size_t)g->o.max_rows;
    size_t wide = (size_t)h->n_embd;
    for (int il = 0; il < h->n_layer; il++) {
        const size_t n_ff = h->layer[il].moe ? (size_t)h->n_ff_exp * (size_t)h->n_expert_used
                                             : (size_t)h->layer[il].n_ff;
        if (n_ff > wide) wide = n_ff;
    }
    const size_t dropped = g->lora.dropout > 0 ? wide : 0;
    return n * ((size_t)h->n_embd + wide + dropped) * sizeof(float);
}

static size_t tape_bytes(const struct grad *g) {
    const int n_layer = g->m->hp.n_layer;
    size_t kept = 0, live = 0;
    for (int i = 0; i < n_layer + 2; i++) {
        const size_t cap = g->tape[i].cap;
        if (i >= g->first_kept)
            kept += cap;
        else if (i >= g->first_layer && cap > live)
            live = cap;
    }
    const size_t x = (size_t)g->o.max_rows * (size_t)g->m->hp.n_embd * sizeof(float);
    return kept + live + (size_t)(g->first_kept - g->first_layer) * x;
}

static uint64_t file_bytes(const struct grad *g, const struct gguf *file) {
    if (g->full) return gguf_file_at(file, 0).n; /* its copy */
    uint64_t n = 0;
    for (int i = 0; i < gguf_n_tensor(file); i++)
        n += gguf_tensor_at(file, i)->n_bytes;
    const struct mat *embed = &g->m->embed; /* of which a batch reads its tokens' rows */
    if (embed->data != g->m->head.w.data) n -= embed->row_bytes * (uint64_t)embed->n_row;
    return n;
}

int grad_need(const struct gguf *file, const struct grad_opts *o, int n_thread,
              struct grad_need *out, struct err *e) {
    struct team *one = team_new(1, e);
    struct grad *g = one ? grad_prepare(one, file, o, true, e) : NULL;
    if (!g) {
        team_free(one);
        return -1;
    }
    const struct forward_opts fo = {
        .n_ctx = g->o.max_seq_rows, .max_rows = g->o.max_rows, .max_out = 1};
    const struct op_limits lim = forward_limits(&g->m->hp, false, &fo);
    const int chunk = g->chunk < g->o.max_rows ? g->chunk : g->o.max_rows;
    *out = (struct grad_need){
        .weights = file_bytes(g, file),
        .params = 4 * (uint64_t)g->p.n_plane * sizeof(float),
        .activations = 2 * pages_written(g) + aside_bytes(g) + tape_bytes(g),
        .head = (uint64_t)chunk * (uint64_t)g->m->hp.n_vocab * sizeof(float),
        .scratch = train_ops()->scratch_bytes(&lim, n_thread),
    };
    grad_free(g);
    team_free(one);
    return 0;
}
