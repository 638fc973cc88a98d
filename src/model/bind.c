/* From tensor names to weights: every tensor of a file is found, its shape checked against the
 * hyper-parameters, and put where the forward looks for it.  Nothing is copied but small vectors
 * that are not F32.
 *
 * Optional tensors are their own flag, yet the same in all layers of a kind: a file that has
 * attn_q.bias in one layer and not in another is damaged, and the message names the tensor. */
#include "model/bind.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/f16.h"
#include "base/log.h"
#include "quant/quant.h"

void bind_error(struct binder *b, enum err_code code, const char *fmt, ...) {
    if (b->failed) return; /* the first one counts */
    va_list ap;
    va_start(ap, fmt);
    err_vset(b->e, code, fmt, ap);
    va_end(ap);
    err_prefix(b->e, gguf_path(b->m->g));
    b->failed = true;
}

void *bind_alloc(struct binder *b, size_t n, size_t size) {
    void *p = b->failed ? NULL : arena_calloc(&b->m->arena, n, size);
    if (!p && !b->failed) {
        err_nomem(b->e, gguf_path(b->m->g));
        b->failed = true;
    }
    return p;
}

static void name_of(char out[BIND_NAME], int il, const char *name, const char *suffix) {
    if (il < 0)
        snprintf(out, BIND_NAME, "%s.%s", name, suffix);
    else
        snprintf(out, BIND_NAME, "blk.%d.%s.%s", il, name, suffix);
}

bool bind_has(struct binder *b, int il, const char *name, const char *suffix) {
    char full[BIND_NAME];
    name_of(full, il, name, suffix);
    return gguf_tensor(b->m->g, full) != NULL;
}

/* Remember whether the layers have the optional tensor; a layer that differs from the first one
 * asked about is an error. */
static void note_optional(struct binder *b, int il, const char *name, const char *suffix,
                          bool has) {
    char key[BIND_NAME];
    snprintf(key, sizeof key, "%s.%s", name, suffix);
    for (int i = 0; i < b->n_seen; i++) {
        const struct bind_seen *s = &b->seen[i];
        if (strcmp(s->key, key)) continue;
        if (s->has != has)
            bind_error(b, ERR_FORMAT, "tensor 'blk.%d.%s' is missing; layer %d has it",
                       has ? s->il : il, key, has ? il : s->il);
        return;
    }
    if (b->n_seen == BIND_SEEN) return;
    struct bind_seen *s = &b->seen[b->n_seen++];
    snprintf(s->key, sizeof s->key, "%s", key);
    s->has = has, s->il = il;
}

static void shape_text(char out[80], int n_dim, const int64_t *ne) {
    int n = 0;
    for (int i = 0; i < n_dim && n < 60; i++)
        n += snprintf(out + n, 80 - (size_t)n, "%s%lld", i ? " x " : "", (long long)ne[i]);
}

/* The tensor with exactly this shape (dimensions of 1 at the end may be left out), or NULL. */
static const struct gguf_tensor *find(struct binder *b, int il, const char *name,
                                      const char *suffix, bool required, int64_t ne0, int64_t ne1,
                                      int64_t ne2) {
    char full[BIND_NAME];
    if (b->failed) return NULL;
    name_of(full, il, name, suffix);
    const struct gguf_tensor *t = gguf_tensor(b->m->g, full);
    if (!required && il >= 0) note_optional(b, il, name, suffix, t != NULL);
    if (!t) {
        if (required) bind_error(b, ERR_FORMAT, "tensor '%s' is missing", full);
        return NULL;
    }
    b->m->used[t - b->first] = true;
    const int64_t want[3] = {ne0, ne1, ne2};
    if (t->ne[0] != ne0 || t->ne[1] != ne1 || t->ne[2] != ne2 || t->ne[3] != 1) {
        char is[80], should[80];
        shape_text(is, t->n_dim, t->ne);
        shape_text(should, ne2 > 1 ? 3 : ne1 > 1 ? 2 : 1, want);
        bind_error(b, ERR_FORMAT, "tensor '%s' is %s; its place needs %s", full, is, should);
        return NULL;
    }
    return t;
}

/* n floats of a vector, converted into the arena where the file has another type. */
static const float *floats(struct binder *b, const struct gguf_tensor *t, size_t n) {
    if (!t || b->failed) return NULL;
    if (t->type == QT_F32) return (const float *)(const void *)t->data;
    const struct quant_type *q = quant_type(t->type);
    if (!q || !q->decode) {
        bind_error(b, ERR_FORMAT, "tensor '%s' has type %s; a floating point type is needed",
                   t->name, qtype_name(t->type));
        return NULL;
    }
    float *out = bind_alloc(b, n, sizeof *out);
    if (out) q->decode(t->data, out, n);
    return out;
}

const float *bind_vec(struct binder *b, int il, const char *name, const char *suffix, bool required,
                      int n) {
    return floats(b, find(b, il, name, suffix, required, n, 1, 1), (size_t)n);
}

/* Biases and scales of experts: one row each. */
static const float *rows(struct binder *b, int il, const char *name, const char *suffix, int n,
                         int n_mat) {
    return floats(b, find(b, il, name, suffix, false, n, n_mat, 1), (size_t)n * (size_t)n_mat);
}

static void register_linear(struct binder *b, struct linear *l, const char *name, int row0,
                            int n_row_all) {
    struct model *m = b->m;
    l->id = -1;
    if (m->n_linear == m->cap_linear) {
        const int cap = m->cap_linear ? 2 * m->cap_linear : 256;
        struct linear_origin *p = realloc(m->linear, (size_t)cap * sizeof *p);
        if (!p) {
            err_nomem(b->e, gguf_path(m->g));
            b->failed = true;
            return;
        }
        m->linear = p, m->cap_linear = cap;
    }
    l->id = m->n_linear;
    m->linear[m->n_linear++] = (struct linear_origin){name, l, row0, n_row_all};
}

static struct mat mat_of(struct binder *b, const struct gguf_tensor *t, int row0, int n_row) {
    const struct quant_type *q = quant_type(t->type);
    if (!q || !q->decode)
        bind_error(b, ERR_FORMAT, "tensor '%s' has type %s, which holds no weights", t->name,
                   qtype_name(t->type));
    if (b->failed) return (struct mat){0};
    const size_t row_bytes = qtype_row_bytes(t->type, (int)t->ne[0]);
    return (struct mat){t->data + (size_t)row0 * row_bytes, t->type, n_row, (int)t->ne[0],
                        row_bytes};
}

/* Count what one token reads and multiplies. */
static void count(struct binder *b, const struct linear *l) {
    const double share = b->in_experts ? b->m->hp.n_expert_used : l->n_mat;
    b->m->weight_bytes += (size_t)(share * (double)l->w.n_row * (double)l->w.row_bytes);
    b->m->weights_used += share * (double)l->w.n_row * (double)l->w.n_col;
}

void bind_rows(struct binder *b, struct linear *l, int il, const char *name, int n_mat, int n_out,
               int n_in, int row0, int n_row_all) {
    *l = (struct linear){.n_mat = n_mat, .id = -1};
    const struct gguf_tensor *t = find(b, il, name, "weight", true, n_in, n_row_all, n_mat);
    if (!t) return;
    l->w = mat_of(b, t, row0, n_out);
    l->mat_bytes = t->n_bytes / (size_t)n_mat;
    const float *bias = rows(b, il, name, "bias", n_row_all, n_mat);
    if (bias && n_mat > 1 && n_out != n_row_all)
        bind_error(b, ERR_UNSUPPORTED, "tensor '%s': fused experts with biases", t->name);
    l->bias = bias ? bias + row0 : NULL;
    l->scale = rows(b, il, name, "scale", n_mat, 1);
    register_linear(b, l, t->name, row0, n_row_all);
    if (!b->failed) count(b, l);
}

void bind_linear(struct binder *b, struct linear *l, int il, const char *name, int n_out,
                 int n_in) {
    bind_rows(b, l, il, name, 1, n_out, n_in, 0, n_out);
}

void bind_norm(struct binder *b, struct norm *n, int il, const char *name, int dim) {
    *n =
        (struct norm){.kind = b->m->hp.norm, .dim = dim, .n_weight = dim, .eps = b->m->hp.norm_eps};
    n->w = bind_vec(b, il, name, "weight", true, dim);
    n->b = bind_vec(b, il, name, "bias", false, dim);
}

bool bind_maybe_norm(struct binder *b, struct norm *n, int il, const char *name, int dim) {
    const bool has = bind_has(b, il, name, "weight");
    note_optional(b, il, name, "weight", has);
    if (has) bind_norm(b, n, il, name, dim);
    return has;
}

/* The norm of q or k: over each head with common weights, over each head with its own (two
 * dimensions), or over the whole row (OLMo 2). */
void bind_head_norm(struct binder *b, struct norm *n, int il, const char *name, int n_head,
                    int head_dim) {
    char full[BIND_NAME];
    name_of(full, il, name, "weight");
    const struct gguf_tensor *t = gguf_tensor(b->m->g, full);
    note_optional(b, il, name, "weight", t != NULL);
    *n = (struct norm){.kind = NORM_NONE};
    if (!t) return;
    const int row = n_head * head_dim;
    n->kind = b->m->hp.norm, n->eps = b->m->hp.norm_eps;
    n->n_weight = t->n_dim == 1 && t->ne[0] == head_dim ? head_dim : row;
    n->dim = t->n_dim == 1 && t->ne[0] != head_dim ? row : head_dim;
    const bool own = t->n_dim > 1;
    const int ne0 = own ? head_dim : n->n_weight, ne1 = own ? n_head : 1;
    n->w = floats(b, find(b, il, name, "weight", true, ne0, ne1, 1), (size_t)n->n_weight);
    n->b = floats(b, find(b, il, name, "bias", false, ne0, ne1, 1), (size_t)n->n_weight);
}

static struct mat table(struct binder *b, const char *name, bool required, int n_row) {
    const struct gguf_tensor *t = find(b, -1, name, "weight", required, b->m->hp.n_embd, n_row, 1);
    return t ? mat_of(b, t, 0, n_row) : (struct mat){0};
}

static int n_rows(struct binder *b, const char *name) {
    char full[BIND_NAME];
    name_of(full, -1, name, "weight");
    const struct gguf_tensor *t = gguf_tensor(b->m->g, full);
    return t ? (int)t->ne[1] : 1;
}

/* Divisors of rotation frequencies: finite and positive. */
static const float *divisors(struct binder *b, const char *name) {
    const int n = b->m->hp.n_rot / 2;
    const float *d = bind_vec(b, -1, name, "weight", false, n);
    for (int i = 0; d && i < n; i++)
        if (!(d[i] > 0) || isinf(d[i])) {
            bind_error(b, ERR_FORMAT, "tensor '%s.weight' holds %g; positive numbers are needed",
                       name, (double)d[i]);
            return NULL;
        }
    return d;
}

/* What stands before and after the layers. */
static void bind_ends(struct binder *b) {
    struct model *m = b->m;
    struct hparams *h = &m->hp;
    h->n_vocab = n_rows(b, "token_embd");
    m->embed = table(b, "token_embd", true, h->n_vocab);
    if (m->arch->positions) m->pos_embed = table(b, "position_embd", true, h->n_ctx_train);
    m->type_embed = table(b, "token_types", false, n_rows(b, "token_types"));
    if (m->arch->encoder || bind_has(b, -1, "token_embd_norm", "weight"))
        bind_norm(b, &m->embed_norm, -1, "token_embd_norm", h->n_embd);
    if (h->n_rot) {
        m->rope_divisor = divisors(b, "rope_freqs");
        m->rope_long = divisors(b, "rope_factors_long");
        m->rope_short = divisors(b, "rope_factors_short");
        if (!m->rope_long != !m->rope_short)
            bind_error(b, ERR_FORMAT, "tensor 'rope_factors_%s.weight' is missing",
                       m->rope_long ? "short" : "long");
    }
    if (m->arch->encoder) return;
    if (m->arch->norms == NORMS_FREE)
        m->out_norm = (struct norm){h->norm, h->n_embd, h->n_embd, NULL, NULL, h->norm_eps};
    else
        bind_norm(b, &m->out_norm, -1, "output_norm", h->n_embd);
    const bool own =
        m->arch->untied || bind_has(b, -1, "output", "weight") || bind_has(b, -1, "output", "bias");
    bind_linear(b, &m->head, -1, own ? "output" : "token_embd", h->n_vocab, h->n_embd);
}

/* ALiBi (arXiv:2108.12409): slopes fall geometrically from 2^-8/n; for head counts that are no
 * power of two the rest interleave. */
static void make_alibi(struct binder *b) {
    const int n = b->m->hp.layer[0].n_head;
    float *s = bind_alloc(b, (size_t)n, sizeof *s);
    int p = 1;
    while (p * 2 <= n)
        p *= 2;
    for (int h = 0; s && h < n; h++)
        s[h] = h < p ? powf(2, -8.0f * (float)(h + 1) / (float)p)
                     : powf(2, -4.0f * (float)(2 * (h - p) + 1) / (float)p);
    b->m->alibi = s;
}

/* Tensors nobody asked for: of layers beyond block_count the count is wrong; others may mean
 * something that this build does not know. */
static void check_unused(struct binder *b) {
    const int n = gguf_n_tensor(b->m->g);
    int n_unused = 0;
    const char *first = NULL;
    for (int i = 0; i < n; i++) {
        const char *name = gguf_tensor_at(b->m->g, i)->name;
        int il = -1;
        if (b->m->used[i]) continue;
        if (sscanf(name, "blk.%d.", &il) == 1 && il >= b->m->hp.n_layer) {
            bind_error(b, ERR_FORMAT, "key '%s.block_count' is %d, but there is a tensor '%s'",
                       b->m->hp.arch, b->m->hp.n_layer, name);
            return;
        }
        if (n_unused++ == 0) first = name;
    }
    if (n_unused)
        log_msg(LOG_WARN, "%s: %d tensors are not used, '%s' first", gguf_path(b->m->g), n_unused,
                first);
}

int model_bind(struct model *m, struct err *e) {
    struct binder b = {.m = m, .e = e, .first = gguf_tensor_at(m->g, 0)};
    if (gguf_n_tensor(m->g) == 0)
        return err_set(e, ERR_FORMAT, "%s: no tensors: a vocabulary without a model",
                       gguf_path(m->g));
    m->used = bind_alloc(&b, (size_t)gguf_n_tensor(m->g), sizeof *m->used);
    m->layer = bind_alloc(&b, (size_t)m->hp.n_layer, sizeof *m->layer);
    bind_ends(&b);
    if (m->hp.alibi) make_alibi(&b);
    for (int il = 0; il < m->hp.n_layer && !b.failed; il++)
        bind_layer(&b, &m->layer[il], il);
    if (!b.failed) check_unused(&b);
    return b.failed ? -1 : 0;
}
