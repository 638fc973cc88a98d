/* The forward pass.  forward_run() lays out the batch, then every worker runs the same lines:
 *
 *     rope tables -> embed -> layers: x += mix(norm x), x += ffn(norm x) -> norm, head -> logits
 *                                                                        \-> final rows
 *
 * In the last layer only the rows whose logits are wanted go through the feed-forward; a prefill
 * chunk that wants none stops when the last layer's K and V are in the cache. */
#include "model/forward.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "model/forward_priv.h"
#include "model/rope.h"

/* ---- helpers for mixers and feed-forwards ---- */

void forward_point(struct worker *w, const struct pass *p, const char *name, int il, const float *x,
                   int n, int n_col) {
    const struct forward *f = p->f;
    if (!f->tap) return;
    if (w->id == 0) f->tap(f->tap_ctx, name, il, x, n, n_col, n_col);
    team_barrier(w); /* nobody overwrites x while it is being looked at */
}

struct linear_job forward_job(const struct pass *p, const float *x, int ldx) {
    return (struct linear_job){
        .x = x,
        .ldx = ldx,
        .n = p->n,
        .out_scale = 1,
        .seq = p->f->adapters ? p->seq : NULL,
        .n_seq = p->f->adapters ? p->n_seq : 0,
    };
}

const float *forward_normed(struct worker *w, const struct pass *p, const struct norm **norm,
                            const char *name, int il) {
    struct forward *f = p->f;
    const int n_embd = f->m->hp.n_embd;
    if ((*norm)->kind == NORM_NONE) *norm = NULL;
    if (!*norm || !f->tap) return p->x;
    f->m->ops->norm(w, f->xn, n_embd, p->x, n_embd, p->n, n_embd, *norm);
    *norm = NULL;
    forward_point(w, p, name, il, f->xn, p->n, n_embd);
    return f->xn;
}

void forward_residual(struct worker *w, const struct pass *p, const struct layer *l,
                      const struct linear *lin, const float *in, int ldin, const struct norm *post,
                      const char *name) {
    struct forward *f = p->f;
    const int n_embd = f->m->hp.n_embd;
    const float scale = f->m->hp.residual_scale;
    const bool direct = post->kind == NORM_NONE && !f->tap;
    struct linear_job j = forward_job(p, in, ldin);
    j.n_out = 1;
    j.out[0] = (struct linear_out){lin, direct ? p->x : f->y, n_embd};
    j.then = direct ? THEN_ADD : THEN_STORE;
    j.out_scale = direct ? scale : 1;
    l->op->linear(w, &j);
    if (direct) return;
    forward_point(w, p, name, l->il, f->y, p->n, n_embd);
    l->op->add_norm(w, p->x, n_embd, f->y, n_embd, p->n, n_embd,
                    post->kind == NORM_NONE ? NULL : post, scale);
}

/* ---- the pass ---- */

static void fill_rope(struct worker *w, const struct forward *f) {
    const struct hparams *h = &f->m->hp;
    int lo, hi;
    team_range(w, f->n, 1, &lo, &hi);
    for (int i = 0; i < ROPE_SETS; i++)
        if (f->rope_cs[i])
            rope_rows(f->rope_cs[i], f->pos, lo, hi, f->freq[i], h->n_rot,
                      h->rope_set[i].magnitude);
    team_barrier(w);
}

static void embed(struct worker *w, struct pass *p) {
    const struct forward *f = p->f;
    const struct model *m = f->m;
    const int n_embd = m->hp.n_embd;
    m->ops->embed(w, p->x, n_embd, &m->embed, f->tok, p->n, m->hp.embed_scale);
    if (m->type_embed.data) m->ops->add_rows(w, p->x, n_embd, &m->type_embed, f->zero, p->n);
    if (m->pos_embed.data) m->ops->add_rows(w, p->x, n_embd, &m->pos_embed, f->pos, p->n);
    if (m->embed_norm.kind != NORM_NONE)
        m->ops->norm(w, p->x, n_embd, p->x, n_embd, p->n, n_embd, &m->embed_norm);
    forward_point(w, p, "embed", -1, p->x, p->n, n_embd);
}

static struct pass all_rows(struct forward *f) {
    return (struct pass){f, f->x, f->xf, f->n, f->rows, f->n_seq, false};
}

void forward_embed(struct worker *w, struct forward *f) {
    struct pass p = all_rows(f);
    fill_rope(w, f);
    embed(w, &p);
}

/* Go on with the rows that get logits only. */
static void keep_outputs(struct worker *w, struct pass *p, bool with_xf) {
    struct forward *f = p->f;
    const struct ops *op = f->m->ops;
    const int n_embd = f->m->hp.n_embd;
    op->gather_rows(w, f->xo, n_embd, p->x, n_embd, f->out_index, f->n_out, n_embd);
    if (with_xf) op->gather_rows(w, f->xfo, n_embd, p->xf, n_embd, f->out_index, f->n_out, n_embd);
    p->x = f->xo, p->xf = f->xfo, p->n = f->n_out;
    p->seq = f->out_rows, p->n_seq = f->n_out_seq;
}

static void head(struct worker *w, struct pass *p) {
    struct forward *f = p->f;
    const struct model *m = f->m;
    const struct norm *norm = &m->out_norm;
    const float *in = forward_normed(w, p, &norm, "out_norm", -1);
    struct linear_job j = forward_job(p, in, m->hp.n_embd);
    j.norm = norm;
    j.n_out = 1;
    j.out[0] = (struct linear_out){&m->head, f->logits, m->hp.n_vocab};
    m->ops->linear(w, &j);
    if (m->hp.logit_scale != 1 || m->hp.logit_softcap > 0)
        m->ops->scale_cap(w, f->logits, m->hp.n_vocab, p->n, m->hp.n_vocab, m->hp.logit_scale,
                          m->hp.logit_softcap);
    forward_point(w, p, "logits", -1, f->logits, p->n, m->hp.n_vocab);
}

/* The head's input instead of its output. */
static void final_norm(struct worker *w, const struct pass *p) {
    const struct model *m = p->f->m;
    const int n_embd = m->hp.n_embd;
    if (m->out_norm.kind != NORM_NONE)
        m->ops->norm(w, p->x, n_embd, p->x, n_embd, p->n, n_embd, &m->out_norm);
    forward_point(w, p, "out_norm", -1, p->x, p->n, n_embd);
}

/* All workers come to the same answer: what they read was written before the last barrier. */
static bool halt(struct worker *w, struct forward *f, int il) {
    if (__atomic_load_n(&f->halt[il & 1], __ATOMIC_RELAXED)) {
        if (w->id == 0) f->halted = true;
        return true;
    }
    if (w->id == 0)
        __atomic_store_n(&f->halt[(il + 1) & 1],
                         f->stop && __atomic_load_n(f->stop, __ATOMIC_RELAXED), __ATOMIC_RELAXED);
    return false;
}

static void run(struct worker *w, void *arg) {
    struct forward *f = arg;
    const struct layer *first = f->m->layer, *last = first + f->m->hp.n_layer - 1;
    struct pass p = all_rows(f);
    const bool early = !f->tap && f->n_out < f->n; /* a tap wants to see every row */
    forward_embed(w, f);
    for (const struct layer *l = first; l <= last; l++) {
        if (halt(w, f, (int)(l - first))) return;
        p.cache_only = l == last && early && f->n_out == 0;
        l->mix(w, &p, l);
        if (l == last && early) {
            if (f->n_out == 0) return;
            keep_outputs(w, &p, l->parallel);
        }
        l->ffn_step(w, &p, l);
        forward_point(w, &p, "l_out", l->il, p.x, p.n, f->m->hp.n_embd);
    }
    if (f->n_out == 0) return;
    if (!early) keep_outputs(w, &p, false);
    if (f->m->arch->encoder) return; /* its last layer ends with a norm */
    f->states ? final_norm(w, &p) : head(w, &p);
}

/* ---- the batch ---- */

static void add_sequence(struct forward *f, const struct batch_seq *s) {
    const int row0 = f->n, pos0 = s->kv->next_pos - s->n;
    assert(s->n > 0 && f->n + s->n <= f->o.max_rows && f->n_out + s->n_out <= f->o.max_out);
    assert(s->n_out >= 0 && s->n_out <= s->n && s->kv->n_tok >= s->n && s->kv->pool == f->pool);
    f->rows[f->n_seq++] =
        (struct seq_rows){row0, s->n, pos0, s->kv->span, s->kv->n_span, s->adapter};
    if (s->n_out)
        f->out_rows[f->n_out_seq++] = (struct seq_rows){
            f->n_out, s->n_out, pos0 + s->n - s->n_out, s->kv->span, s->kv->n_span, s->adapter};
    for (int i = 0; i < s->n; i++) {
        assert(s->tok[i] >= 0 && s->tok[i] < f->m->hp.n_vocab);
        f->tok[row0 + i] = s->tok[i];
        f->pos[row0 + i] = pos0 + i;
    }
    for (int i = s->n - s->n_out; i < s->n; i++)
        f->out_index[f->n_out++] = row0 + i;
    f->n += s->n;
    if (s->adapter) f->adapters = true;
}

static void run_batch(struct forward *f, const struct batch_seq *seq, int n_seq) {
    assert(n_seq > 0 && n_seq <= f->o.max_rows);
    f->n = f->n_seq = f->n_out = f->n_out_seq = 0;
    f->adapters = f->halted = false;
    f->halt[0] = f->halt[1] = 0;
    f->pool = seq[0].kv->pool;
    for (int i = 0; i < n_seq; i++)
        add_sequence(f, &seq[i]);
    team_run_paced(f->team, run, f, f->n * 2 + (f->n_out > 0));
}

const float *forward_run(struct forward *f, const struct batch_seq *seq, int n_seq) {
    f->states = false;
    run_batch(f, seq, n_seq);
    return f->halted ? NULL : f->m->arch->encoder ? f->xo : f->logits;
}

const float *forward_run_states(struct forward *f, const struct batch_seq *seq, int n_seq) {
    f->states = true;
    run_batch(f, seq, n_seq);
    return f->halted ? NULL : f->xo;
}

void forward_set_stop(struct forward *f, const volatile int *stop) {
    f->stop = stop;
}

void forward_set_tap(struct forward *f, forward_tap *tap, void *ctx) {
    f->tap = tap, f->tap_ctx = ctx;
}

const double *forward_rope(const struct forward *f, int set, int *n) {
    *n = f->freq[set] ? f->m->hp.n_rot / 2 : 0;
    return f->freq[set];
}

/* ---- in steps ---- */

void forward_begin(struct forward *f, const int32_t *tok, const int32_t *seq_start, int n_seq,
                   const struct adapter *adapter) {
    f->n = seq_start[n_seq], f->n_seq = n_seq, f->n_out = 0;
    f->adapters = adapter != NULL;
    f->pool = NULL;
    assert(n_seq > 0 && f->n <= f->o.max_rows);
    for (int s = 0; s < n_seq; s++) {
        f->rows[s] = (struct seq_rows){
            .row0 = seq_start[s], .n_row = seq_start[s + 1] - seq_start[s], .adapter = adapter};
        for (int i = seq_start[s]; i < seq_start[s + 1]; i++)
            f->tok[i] = tok[i], f->pos[i] = i - seq_start[s];
    }
}

void forward_layer(struct worker *w, struct forward *f, int il) {
    const struct layer *l = &f->m->layer[il];
    struct pass p = all_rows(f);
    l->mix(w, &p, l);
    l->ffn_step(w, &p, l);
    forward_point(w, &p, "l_out", l->il, p.x, p.n, f->m->hp.n_embd);
}

void forward_end(struct worker *w, struct forward *f) {
    const struct pass p = all_rows(f);
    final_norm(w, &p);
}

float *forward_x(struct forward *f) {
    return f->x;
}

const uint8_t *forward_memory(const struct forward *f, size_t *n_bytes) {
    *n_bytes = f->mem_bytes;
    return f->mem;
}

/* ---- context shift ---- */

struct rotate_job {
    struct forward *f;
    const struct kv_pool *pool;
    const struct kv_span *span;
    int n_span;
    const float *cs[ROPE_SETS];
};

static void rotate(struct worker *w, void *arg) {
    const struct rotate_job *r = arg;
    const struct hparams *h = &r->f->m->hp;
    for (int il = 0; il < h->n_layer; il++) {
        const struct layer *l = &r->f->m->layer[il];
        const int set = l->hp->rope_set;
        if (set < 0) continue;
        const bool latent = h->kv_rank != 0;
        struct attn_job j = {
            .n_kv_head = latent ? 1 : l->hp->n_kv_head,
            .k_dim = latent ? h->kv_rank + h->n_rot : h->k_dim,
            .v_dim = latent ? h->kv_rank : h->v_dim,
            .rope = h->rope,
            .n_rot = h->n_rot,
            .rot_at = latent ? h->kv_rank : 0,
        };
        kv_pool_layer(r->pool, il, &j);
        for (int i = 0; i < r->n_span; i++)
            l->op->rope_shift(w, &j, &r->span[i], r->cs[set]);
    }
}

void forward_rotate(struct forward *f, const struct kv_pool *p, const struct kv_span *span,
                    int n_span, int by) {
    struct rotate_job r = {f, p, span, n_span, {NULL}};
    const int32_t pos = by;
    for (int i = 0; i < ROPE_SETS; i++)
        if (f->rope_cs[i]) { /* the workspace's first row is free between runs */
            rope_rows(f->rope_cs[i], &pos, 0, 1, f->freq[i], f->m->hp.n_rot, 1);
            r.cs[i] = f->rope_cs[i];
        }
    team_run(f->team, rotate, &r);
}

int forward_check_shift(const struct forward *f, struct err *e) {
    if (!f->m->pos_embed.data) return 0;
    return err_set(e, ERR_UNSUPPORTED,
                   "%s models have learned positions: their context cannot shift", f->m->hp.arch);
}

/* ---- making one ---- */

struct forward *forward_new(const struct model *m, struct team *t, const struct forward_opts *o,
                            struct err *e) {
    const struct hparams *h = &m->hp;
    assert(o->max_rows > 0 && o->max_out > 0 && o->n_ctx > 0);
    struct forward *f = calloc(1, sizeof *f);
    if (!f) goto nomem;
    const size_t n_identity = (size_t)o->max_rows * (size_t)h->layer[0].n_head;
    if (n_identity > INT32_MAX) {
        err_set(e, ERR_LIMIT, "forward: %d rows of %d heads; at most %d in all are accepted",
                o->max_rows, h->layer[0].n_head, INT32_MAX);
        forward_free(f);
        return NULL;
    }
    f->m = m, f->team = t, f->o = *o;
    workspace_lay_out(f, h, m->arch->encoder);
    f->mem = os_reserve(f->mem_bytes);
    if (!f->mem) goto nomem;
    workspace_lay_out(f, h, m->arch->encoder);
    for (size_t i = 0; i < n_identity; i++)
        f->identity[i] = (int32_t)i;
    const bool far = o->n_ctx > h->rope_set[0].n_ctx_orig;
    const float *divisor = m->rope_divisor ? m->rope_divisor : far ? m->rope_long : m->rope_short;
    for (int i = 0; i < ROPE_SETS; i++)
        if (f->freq[i]) rope_frequencies(f->freq[i], &h->rope_set[i], h->n_rot, divisor);
    struct op_limits lim = forward_limits(h, m->arch->encoder, o);
    for (int i = 0; i < m->n_linear; i++) { /* a file's own shapes have the last word */
        const struct mat *w = &m->linear[i].l->w;
        if (w->n_col > lim.max_cols) lim.max_cols = w->n_col;
        if (w->n_row > lim.max_out) lim.max_out = w->n_row;
        if (w->n_row > lim.max_outs_sum) lim.max_outs_sum = w->n_row;
    }
    if (m->ops->reserve(t, &lim, e) == 0) return f;
    forward_free(f);
    return NULL;
nomem:
    err_nomem(e, "forward");
    forward_free(f);
    return NULL;
}

size_t forward_mem_bytes(const struct forward *f) {
    return f->mem_bytes;
}

void forward_free(struct forward *f) {
    if (!f) return;
    if (f->mem) os_unreserve(f->mem, f->mem_bytes);
    free(f);
}
