/* See scratch.h.  Tensors are made row by row while the file is written, so memory holds a row. */
#include "train/scratch.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/hash.h"
#include "model/hparams.h"
#include "text/vocab.h"
#include "train/rng.h"

enum { MAX_HEAD_DIM = 512, NAME_BYTES = 64 };

/* ---- the shape ---- */

static int bad(struct err *e, const char *what, int found, const char *accepted) {
    return err_set(e, ERR_USAGE, "%s: found %d; %s", what, found, accepted);
}

static int check_sizes(const struct scratch_shape *s, struct err *e) {
    const struct {
        const char *what;
        int v, most;
    } sizes[] = {{"embedding length", s->n_embd, HP_MAX_EMBD},
                 {"layers", s->n_layer, HP_MAX_LAYER},
                 {"heads", s->n_head, HP_MAX_HEAD},
                 {"KV heads", s->n_kv_head, HP_MAX_HEAD},
                 {"feed-forward length", s->n_ff, HP_MAX_FF},
                 {"context", s->n_ctx, HP_MAX_CTX}};
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++) {
        if (sizes[i].v >= 1 && sizes[i].v <= sizes[i].most) continue;
        return err_set(e, ERR_USAGE, "%s: found %d; 1 to %d is accepted", sizes[i].what, sizes[i].v,
                       sizes[i].most);
    }
    return 0;
}

int scratch_shape_fill(struct scratch_shape *s, struct err *e) {
    if (s->n_embd == 0) s->n_embd = 256;
    if (s->n_layer == 0) s->n_layer = 6;
    if (s->n_head == 0) s->n_head = s->n_embd < 128 ? 1 : s->n_embd / 64;
    if (s->n_kv_head == 0) s->n_kv_head = s->n_head;
    const int64_t unit = s->n_embd < 192 ? 32 : 256;
    if (s->n_ff == 0) s->n_ff = (int)((8 * (int64_t)s->n_embd / 3 + unit - 1) / unit * unit);
    if (s->n_ctx == 0) s->n_ctx = 1024;
    if (s->rope_base == 0) s->rope_base = 10000;
    if (check_sizes(s, e) != 0) return -1;
    const int head_dim = s->n_embd / s->n_head;
    if (s->n_embd % s->n_head != 0 || head_dim % 2 != 0 || head_dim > MAX_HEAD_DIM)
        return err_set(e, ERR_USAGE,
                       "heads: found %d for an embedding of %d; a number is accepted that divides "
                       "it into even parts of at most %d",
                       s->n_head, s->n_embd, MAX_HEAD_DIM);
    if (s->n_head % s->n_kv_head != 0)
        return bad(e, "KV heads", s->n_kv_head, "a divisor of the number of heads is accepted");
    if (!(s->rope_base >= 1 && s->rope_base <= 1e12))
        return err_set(e, ERR_USAGE, "RoPE base: found %g; 1 to 1e12 is accepted", s->rope_base);
    return 0;
}

/* ---- tensors ---- */

struct tensor {
    char name[NAME_BYTES];
    int n_dim;
    int64_t ne[2];
    double deviation; /* 0: all ones */
};

typedef int tensor_fn(void *ctx, const struct tensor *t);

struct visit {
    tensor_fn *fn;
    void *ctx;
    int rc; /* -1 once fn failed */
};

static void see(struct visit *v, int layer, const char *name, int n_in, int n_out,
                double deviation) {
    struct tensor t = {
        .n_dim = n_out ? 2 : 1, .ne = {n_in, n_out ? n_out : 1}, .deviation = deviation};
    if (v->rc != 0) return;
    if (layer < 0)
        snprintf(t.name, sizeof t.name, "%s.weight", name);
    else
        snprintf(t.name, sizeof t.name, "blk.%d.%s.weight", layer, name);
    v->rc = v->fn(v->ctx, &t);
}

/* All of them in the order of the file. */
static int each_tensor(const struct scratch_shape *s, int n_vocab, tensor_fn *fn, void *ctx) {
    const double plain = 0.02, residual = plain / sqrt(2.0 * s->n_layer);
    const int n_kv = s->n_embd / s->n_head * s->n_kv_head;
    struct visit v = {fn, ctx, 0};
    see(&v, -1, "token_embd", s->n_embd, n_vocab, plain);
    for (int il = 0; il < s->n_layer && v.rc == 0; il++) {
        see(&v, il, "attn_norm", s->n_embd, 0, 0);
        see(&v, il, "attn_q", s->n_embd, s->n_embd, plain);
        see(&v, il, "attn_k", s->n_embd, n_kv, plain);
        see(&v, il, "attn_v", s->n_embd, n_kv, plain);
        see(&v, il, "attn_output", s->n_embd, s->n_embd, residual);
        see(&v, il, "ffn_norm", s->n_embd, 0, 0);
        see(&v, il, "ffn_gate", s->n_embd, s->n_ff, plain);
        see(&v, il, "ffn_up", s->n_embd, s->n_ff, plain);
        see(&v, il, "ffn_down", s->n_ff, s->n_embd, residual);
    }
    see(&v, -1, "output_norm", s->n_embd, 0, 0);
    if (s->untied) see(&v, -1, "output", s->n_embd, n_vocab, plain);
    return v.rc;
}

static int count(void *ctx, const struct tensor *t) {
    *(uint64_t *)ctx += (uint64_t)t->ne[0] * (uint64_t)t->ne[1];
    return 0;
}

uint64_t scratch_n_param(const struct scratch_shape *s, int n_vocab) {
    uint64_t n = 0;
    each_tensor(s, n_vocab, count, &n);
    return n;
}

/* ---- the file ---- */

struct output {
    struct gguf_writer *w;
    const struct scratch_opts *o;
    float *row; /* as long as the longest */
    struct err *e;
};

static int declare(void *ctx, const struct tensor *t) {
    struct output *f = ctx;
    return gguf_add_tensor(f->w, t->name, QT_F32, t->n_dim, t->ne, f->e);
}

static int write_rows(void *ctx, const struct tensor *t) {
    struct output *f = ctx;
    struct rng r;
    rng_seed(&r, hash64(t->name, strlen(t->name), f->o->seed));
    for (int64_t i = 0; i < t->ne[1]; i++) {
        for (int64_t k = 0; k < t->ne[0]; k++)
            f->row[k] = t->deviation > 0 ? (float)(t->deviation * rng_normal(&r)) : 1.0f;
        if (gguf_write_data(f->w, f->row, (size_t)t->ne[0] * sizeof *f->row, f->e) != 0) return -1;
    }
    return 0;
}

static int copy_tokenizer(struct gguf_writer *w, const struct gguf *g, struct err *e) {
    for (int i = 0; i < gguf_n_kv(g); i++) {
        const struct gguf_kv *kv = gguf_kv_at(g, i);
        if (str_starts(kv->key, STR("tokenizer.")) && gguf_copy_kv(w, kv, e) != 0) return -1;
    }
    return 0;
}

static int set_keys(struct gguf_writer *w, const struct scratch_opts *o, int n_vocab,
                    struct err *e) {
    const struct scratch_shape *s = &o->shape;
    const uint32_t head_dim = (uint32_t)(s->n_embd / s->n_head);
    const struct {
        const char *key;
        uint32_t v;
    } sizes[] = {{"general.file_type", 0},
                 {"general.quantization_version", 2},
                 {"llama.block_count", (uint32_t)s->n_layer},
                 {"llama.context_length", (uint32_t)s->n_ctx},
                 {"llama.embedding_length", (uint32_t)s->n_embd},
                 {"llama.feed_forward_length", (uint32_t)s->n_ff},
                 {"llama.attention.head_count", (uint32_t)s->n_head},
                 {"llama.attention.head_count_kv", (uint32_t)s->n_kv_head},
                 {"llama.attention.key_length", head_dim},
                 {"llama.attention.value_length", head_dim},
                 {"llama.rope.dimension_count", head_dim},
                 {"llama.vocab_size", (uint32_t)n_vocab}};
    if (gguf_set_str(w, "general.architecture", STR("llama"), e) != 0 ||
        gguf_set_str(w, "general.type", STR("model"), e) != 0 ||
        gguf_set_str(w, "general.name", str_of(o->name), e) != 0)
        return -1;
    for (size_t i = 0; i < sizeof sizes / sizeof *sizes; i++)
        if (gguf_set_u32(w, sizes[i].key, sizes[i].v, e) != 0) return -1;
    if (gguf_set_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f, e) != 0 ||
        gguf_set_f32(w, "llama.rope.freq_base", (float)s->rope_base, e) != 0)
        return -1;
    return o->learnt ? bpe_tokens_declare(o->learnt, w, e) : copy_tokenizer(w, o->tokenizer, e);
}

int scratch_n_vocab(const struct gguf *tokenizer, int *n, struct err *e) {
    struct vocab *v = vocab_load(tokenizer, e);
    if (!v) return -1;
    *n = vocab_size(v);
    vocab_free(v);
    return 0;
}

int scratch_write(const char *path, const struct scratch_opts *o, struct err *e) {
    const struct scratch_shape *s = &o->shape;
    int n_vocab = o->learnt ? o->learnt->n : 0;
    if (!o->learnt && scratch_n_vocab(o->tokenizer, &n_vocab, e) != 0) return -1;
    const size_t longest = (size_t)(s->n_ff > s->n_embd ? s->n_ff : s->n_embd);
    struct output f = {.o = o, .e = e, .row = malloc(longest * sizeof *f.row)};
    int rc = f.row ? 0 : err_nomem(e, path);
    if (rc == 0) rc = (f.w = gguf_writer_new(path, 0, e)) ? 0 : -1;
    if (rc == 0) rc = set_keys(f.w, o, n_vocab, e);
    if (rc == 0) rc = each_tensor(s, n_vocab, declare, &f);
    if (rc == 0 && !o->hollow) rc = each_tensor(s, n_vocab, write_rows, &f);
    if (rc == 0)
        rc = o->hollow ? gguf_writer_finish_hollow(f.w, e) : gguf_writer_finish(f.w, e);
    else
        gguf_writer_abort(f.w);
    free(f.row);
    return rc;
}
