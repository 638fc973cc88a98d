/* Putting a grad together: the model on the recording ops, parameters, and memory, whose size is
 * found by running every layer dry, when ops only add up what they would save and mark what they
 * would write. */
#include <assert.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "train/grad_priv.h"

/* ---- parameters ---- */

/* The layer of "blk.7.attn_q.weight"; -1 for another name. */
static int layer_of(const char *name) {
    return strncmp(name, "blk.", 4) ? -1 : atoi(name + 4);
}

/* Pairs for linears whose tensor has one. */
static int attach_pairs(struct grad *g, struct err *e) {
    const struct model *m = g->m;
    g->pair = calloc((size_t)m->n_linear, sizeof *g->pair);
    if (!g->pair) return err_nomem(e, "adapter");
    g->first_layer = m->hp.n_layer;
    for (int i = 0; i < m->n_linear; i++) {
        const struct linear_origin *o = &m->linear[i];
        char name[GGUF_MAX_NAME_BYTES + 8];
        snprintf(name, sizeof name, "%s.lora_a", o->name);
        const struct param *a = params_find(&g->p, name);
        if (!a || o->l->id < 0 || o->l->n_mat != 1) continue;
        name[strlen(name) - 1] = 'b';
        const struct param *b = params_find(&g->p, name);
        const int rank = (int)a->ne[1], n_in = (int)a->ne[0];
        const float *at_b = g->p.w + b->at + (size_t)o->row0 * (size_t)rank;
        g->pair[o->l->id] = (struct lora_pair){
            .a = {(const uint8_t *)(g->p.w + a->at), QT_F32, rank, n_in, (size_t)n_in * 4},
            .b = {(const uint8_t *)at_b, QT_F32, o->l->w.n_row, rank, (size_t)rank * 4},
            .scale = lora_scale(&g->lora),
        };
        g->adapter.max_rank = rank;
        if (layer_of(o->name) < g->first_layer) g->first_layer = layer_of(o->name);
    }
    g->adapter.pair = g->pair;
    return 0;
}

static int by_address(const void *a, const void *b) {
    const struct grad_range *x = a, *y = b;
    return x->lo < y->lo ? -1 : x->lo > y->lo;
}

static int set_ranges(struct grad *g, struct err *e) {
    const int n = g->full ? g->p.n_param : 1;
    g->range = calloc((size_t)n, sizeof *g->range);
    if (!g->range) return err_nomem(e, "parameters");
    if (!g->full) g->range[0] = (struct grad_range){g->p.w, g->p.w + g->p.n_plane, g->p.grad};
    for (int i = 0; g->full && i < n; i++) {
        const struct param *p = &g->p.p[i];
        g->range[i] = (struct grad_range){g->model_at[i], g->model_at[i] + p->n, g->p.grad + p->at};
    }
    qsort(g->range, (size_t)n, sizeof *g->range, by_address);
    g->ctx.range = g->range, g->ctx.n_range = n;
    return 0;
}

static int declare(struct grad *g, struct err *e) {
    const int rc = g->full ? grad_declare_full(g, e) : lora_declare(&g->p, g->m, &g->lora, e);
    if (rc != 0 || params_alloc(&g->p, e) != 0) return -1;
    if (!g->full && attach_pairs(g, e) != 0) return -1;
    return set_ranges(g, e);
}

/* ---- memory ---- */

/* Widest rows that ops put aside; the head has its own place. */
static size_t widest(const struct grad *g, int *rank) {
    const struct model *m = g->m;
    int n = m->hp.n_embd;
    for (int i = 0; i < m->n_linear; i++) {
        const struct linear *l = m->linear[i].l;
        if (l == &m->head) continue;
        if (l->w.n_col > n) n = l->w.n_col;
        if (l->w.n_row > n) n = l->w.n_row;
    }
    *rank = g->adapter.max_rank;
    return (size_t)n;
}

static void *take(struct grad *g, size_t n, size_t size) {
    void *p = g->mem ? g->mem + g->mem_bytes : NULL;
    g->mem_bytes += (n * size + 4095) & ~(size_t)4095;
    return p;
}

/* Called twice: to add up, then to place; tapes' sizes are known. */
static void lay_out(struct grad *g) {
    const struct hparams *h = &g->m->hp;
    const size_t n = (size_t)g->o.max_rows, used = h->n_expert ? (size_t)h->n_expert_used : 1;
    size_t most = 0, heads = 1;
    int rank;
    const size_t wide = widest(g, &rank);
    for (int il = 0; il < h->n_layer; il++)
        if ((size_t)h->layer[il].n_head > heads) heads = (size_t)h->layer[il].n_head;
    g->mem_bytes = 0;
    g->ctx.twin = take(g, g->ctx.work_bytes, 1);
    for (int i = 0; i < 3; i++)
        g->ctx.rows[i] = take(g, n * used * wide, 4);
    g->ctx.stat = take(g, n * 2 * heads, 4);
    g->ctx.low = take(g, n * (size_t)rank, 4);
    g->ctx.lse = take(g, n * heads, 4);
    g->ctx.own_row = take(g, n * used, 4);
    g->row = take(g, n, 4);
    g->logits = take(g, (size_t)g->chunk * (size_t)h->n_vocab, 4);
    g->input = take(g, (size_t)(g->first_kept - g->first_layer) * n * (size_t)h->n_embd, 4);
    for (int i = 0; i < h->n_layer + 2; i++) {
        struct tape *t = &g->tape[i];
        if (i < g->first_kept && t->cap > most) most = t->cap;
        t->mem = i < g->first_kept ? NULL : take(g, t->cap, 1);
    }
    g->live.cap = most;
    g->live.mem = take(g, most, 1);
}

static int place(struct grad *g, struct err *e) {
    lay_out(g);
    g->mem = os_reserve(g->mem_bytes);
    if (!g->mem) return err_nomem(e, "activations");
    lay_out(g);
    return 0;
}

/* ---- the dry run ---- */

struct dry {
    struct grad *g;
    int il; /* n_layer: the embedding; n_layer + 1: the end */
};

static void dry_step(struct worker *w, void *arg) {
    const struct dry *d = arg;
    struct grad *g = d->g;
    if (w->id == 0) tape_begin(&g->ctx, &g->tape[d->il]);
    team_barrier(w);
    if (d->il < g->m->hp.n_layer)
        forward_layer(w, g->f, d->il);
    else if (d->il == g->m->hp.n_layer)
        forward_embed(w, g->f);
    else
        forward_end(w, g->f);
}

/* Sizes of all tapes for a full batch. */
static int run_dry(struct grad *g, struct err *e) {
    const int n = g->o.max_rows, n_layer = g->m->hp.n_layer;
    const int32_t seq_start[2] = {0, n};
    int32_t *tok = calloc((size_t)n, sizeof *tok);
    const size_t n_page = g->ctx.work_bytes / TAPE_PAGE + 1;
    g->ctx.page = calloc(n_page / 64 + 1, sizeof *g->ctx.page);
    if (!tok || !g->ctx.page) {
        free(tok);
        return err_nomem(e, "activations");
    }
    forward_begin(g->f, tok, seq_start, 1, g->full ? NULL : &g->adapter);
    g->ctx.dry = true;
    for (int il = 0; il < n_layer + 2; il++) {
        team_run(g->team, dry_step, &(struct dry){g, il});
        g->tape[il].cap = g->tape[il].used;
    }
    g->ctx.dry = false;
    free(tok);
    return 0;
}

/* ---- making one ---- */

static int open_parts(struct grad *g, const struct gguf *file, bool measure, struct err *e) {
    const int rank = g->full ? 0 : g->lora.rank ? g->lora.rank : 16;
    if (g->full && grad_check_file(file, e) != 0) return -1;
    if (g->full && !measure && grad_copy_file(g, file, e) != 0) return -1;
    g->source = g->copy_gguf ? g->copy_gguf : file;
    g->m = model_open(g->source, train_ops(), e);
    if (!g->m) return -1;
    if (model_is_embedding(g->m))
        return err_set(e, ERR_UNSUPPORTED,
                       "%s: %s models give embeddings; training takes models "
                       "that predict tokens",
                       gguf_path(file), model_arch(g->m));
    if (declare(g, e) != 0) return -1;
    const struct forward_opts fo = {
        .n_ctx = g->o.max_seq_rows, .max_rows = g->o.max_rows, .max_out = 1, .max_rank = rank};
    g->f = forward_new(g->m, g->team, &fo, e);
    if (!g->f) return -1;
    g->ctx.work = forward_memory(g->f, &g->ctx.work_bytes);
    g->ctx.prec = g->o.prec;
    g->chunk = head_chunk(g->m->hp.n_vocab);
    g->tape = calloc((size_t)g->m->hp.n_layer + 2, sizeof *g->tape);
    if (!g->tape) return err_nomem(e, "tapes");
    return 0;
}

/* Where ops look for their context. */
static void install(struct worker *w, void *arg) {
    if (w->id == 0) *(struct train_ctx **)(void *)w->shared = arg;
}

struct grad *grad_prepare(struct team *t, const struct gguf *file, const struct grad_opts *o,
                          bool measure, struct err *e) {
    struct grad *g = calloc(1, sizeof *g);
    if (!g) {
        err_nomem(e, gguf_path(file));
        return NULL;
    }
    assert(o->max_rows > 0);
    g->team = t, g->o = *o, g->full = !o->lora;
    if (o->lora) g->lora = *o->lora;
    if (!g->o.max_seq_rows) g->o.max_seq_rows = o->max_rows;
    if (open_parts(g, file, measure, e) != 0) goto fail;
    team_run(t, install, &g->ctx);
    if (run_dry(g, e) != 0) goto fail;
    const int n_layer = g->m->hp.n_layer;
    g->first_kept = o->kept_layers < 0 || o->kept_layers > n_layer ? 0 : n_layer - o->kept_layers;
    if (g->first_kept < g->first_layer) g->first_kept = g->first_layer;
    return g;
fail:
    grad_free(g);
    return NULL;
}

struct grad *grad_new(struct team *t, const struct gguf *file, const struct grad_opts *o,
                      struct err *e) {
    struct grad *g = grad_prepare(t, file, o, false, e);
    if (!g) return NULL;
    if (place(g, e) == 0) {
        if (g->full) grad_load_full(g);
        return g;
    }
    grad_free(g);
    return NULL;
}

void grad_free(struct grad *g) {
    if (!g) return;
    forward_free(g->f);
    model_free(g->m);
    params_fini(&g->p);
    grad_fini_full(g);
    if (g->mem) os_unreserve(g->mem, g->mem_bytes);
    free(g->ctx.page);
    free(g->pair);
    free(g->range);
    free(g->tape);
    free(g);
}
