/* See baddraft.h. */
#include "baddraft.h"

#include <stdlib.h>
#include <string.h>

#include "support.h"

static uint64_t aligned(uint64_t at, uint64_t alignment) {
    return (at + alignment - 1) / alignment * alignment;
}

static void put_zeros_to(struct buf *b, uint64_t end) {
    while (b->n < end)
        buf_byte(b, 0);
}

/* Offsets as they should be. */
void draft_lay_out(struct draft *d) {
    uint64_t at = 0;
    for (int i = 0; i < d->n_tensor; i++) {
        d->tensor[i].offset = at;
        at = aligned(at + d->tensor[i].n_bytes, d->alignment);
    }
    d->n_tensor_declared = (uint64_t)d->n_tensor;
    d->n_kv_declared = (uint64_t)d->n_kv;
}

static size_t encode_header(const struct draft *d, struct buf *b) {
    put(b, "GGUF", 4);
    put_u32(b, d->version);
    put_u64(b, d->n_tensor_declared);
    put_u64(b, d->n_kv_declared);
    for (int i = 0; i < d->n_kv; i++) {
        const struct draft_kv *kv = &d->kv[i];
        put_u64(b, kv->key_bytes);
        put(b, kv->key.p, kv->key.n);
        put_u32(b, kv->type);
        if (kv->type == GGUF_ARR) {
            put_u32(b, kv->elem);
            put_u64(b, kv->n);
        }
        put(b, kv->data.p, kv->data.n);
    }
    for (int i = 0; i < d->n_tensor; i++) {
        const struct draft_tensor *t = &d->tensor[i];
        put_u64(b, t->name_bytes);
        put(b, t->name.p, t->name.n);
        put_u32(b, t->n_dim);
        put(b, t->ne, (t->n_dim < 8 ? t->n_dim : 8) * sizeof *t->ne);
        put_u32(b, t->type);
        put_u64(b, t->offset);
    }
    return b->n;
}

size_t draft_encode(const struct draft *d, struct buf *b) {
    buf_reset(b);
    const size_t n_header = encode_header(d, b);
    for (int i = 0; i < d->n_tensor; i++) {
        put_zeros_to(b, aligned(b->n, d->alignment));
        put(b, d->tensor[i].data, d->tensor[i].n_bytes);
    }
    assert_false(b->failed);
    return n_header;
}

static void begin(struct maker *m, const char *path, bad_fn *fn, void *ctx) {
    struct err e = {0};
    *m = (struct maker){.fn = fn, .ctx = ctx, .good = gguf_open(path, &e)};
    if (!m->good) fail_msg("%s", e.msg);
    struct draft *d = &m->seed;
    d->version = 3;
    d->alignment = gguf_alignment(m->good);
    d->n_kv = gguf_n_kv(m->good);
    d->n_tensor = gguf_n_tensor(m->good);
    assert_true(d->n_kv < MAX_DRAFT_KV - 4 && d->n_tensor < MAX_DRAFT_TENSOR - 4);
    for (int i = 0; i < d->n_kv; i++) {
        const struct gguf_kv *kv = gguf_kv_at(m->good, i);
        d->kv[i] =
            (struct draft_kv){kv->key,       kv->key.n, kv->type,
                              kv->elem_type, kv->n,     {(const char *)kv->data, kv->n_bytes}};
    }
    for (int i = 0; i < d->n_tensor; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(m->good, i);
        struct draft_tensor *to = &d->tensor[i];
        *to = (struct draft_tensor){.name = str_of(t->name),
                                    .name_bytes = strlen(t->name),
                                    .n_dim = (uint32_t)t->n_dim,
                                    .type = (uint32_t)t->type,
                                    .data = t->data,
                                    .n_bytes = t->n_bytes};
        for (int k = 0; k < 8; k++)
            to->ne[k] = k < 4 ? (uint64_t)t->ne[k] : 1;
    }
    draft_lay_out(d);
    m->d = *d;
}

int maker_end(struct maker *m) {
    const int n = m->n_case;
    buf_fini(&m->out);
    gguf_close(m->good);
    free(m);
    return n;
}

struct maker *maker_new(const char *path, bad_fn *fn, void *ctx) {
    struct maker *m = malloc(sizeof *m);
    assert_non_null(m);
    begin(m, path, fn, ctx);
    return m;
}

/* Hand out bytes as one case and start over from the good file. */
void emit_bytes(struct maker *m, const char *id, enum bad_kind kind, const char *blame,
                const void *bytes, size_t n) {
    const struct bad_case c = {id, m->name, kind, blame, bytes, n};
    m->fn(m->ctx, &c);
    m->n_case++;
    m->d = m->seed;
}

void emit(struct maker *m, const char *id, enum bad_kind kind, const char *blame) {
    draft_encode(&m->d, &m->out);
    emit_bytes(m, id, kind, blame, m->out.p, m->out.n);
}

struct draft_kv *find_kv(struct draft *d, const char *key) {
    for (int i = 0; i < d->n_kv; i++)
        if (str_is(d->kv[i].key, key)) return &d->kv[i];
    return NULL;
}

struct draft_kv *need_kv(struct draft *d, const char *key) {
    struct draft_kv *kv = find_kv(d, key);
    if (!kv) fail_msg("the good file has no key %s", key);
    return kv;
}

struct draft_kv *add_kv(struct draft *d, const char *key) {
    struct draft_kv *kv = find_kv(d, key);
    if (kv) return kv;
    kv = &d->kv[d->n_kv++];
    *kv = (struct draft_kv){.key = str_of(key), .key_bytes = strlen(key)};
    d->n_kv_declared++;
    return kv;
}

/* Values live as long as the maker's case: callers pass string literals or their own locals. */
void set_value(struct draft_kv *kv, uint32_t type, const void *p, size_t n) {
    kv->type = type;
    kv->data = (struct str){p, n};
}
