/* Private to the generators of bad files: a good file taken apart, to be spoilt in one place and
 * put together again (badgguf.h). */
#pragma once

#include <stdio.h>

#include "badgguf.h"
#include "base/buf.h"
#include "gguf/read.h"

enum { MAX_DRAFT_KV = 128, MAX_DRAFT_TENSOR = 512 };

struct draft_kv {
    struct str key;
    uint64_t key_bytes; /* as declared */
    uint32_t type, elem;
    uint64_t n; /* elements, as declared */
    struct str data;
};

struct draft_tensor {
    struct str name;
    uint64_t name_bytes; /* as declared */
    uint32_t n_dim;
    uint64_t ne[8];
    uint32_t type;
    uint64_t offset; /* as declared; the bytes lie where they belong */
    const uint8_t *data;
    size_t n_bytes;
};

/* All bytes are borrowed from the good file: copying a draft is cheap. */
struct draft {
    uint32_t version;
    uint64_t n_kv_declared, n_tensor_declared;
    struct draft_kv kv[MAX_DRAFT_KV];
    struct draft_tensor tensor[MAX_DRAFT_TENSOR];
    int n_kv, n_tensor;
    uint64_t alignment;
};

struct maker {
    struct gguf *good;
    struct draft seed, d; /* the good one; the one that is being spoilt */
    struct buf out;
    char name[200];
    bad_fn *fn;
    void *ctx;
    int n_case;
};

struct maker *maker_new(const char *path, bad_fn *fn, void *ctx);
int maker_end(struct maker *m); /* frees it; returns how many cases there were */

/* Hand out m->d, or bytes, as one case called m->name, and start over from the good file. */
void emit(struct maker *m, const char *id, enum bad_kind kind, const char *blame);
void emit_bytes(struct maker *m, const char *id, enum bad_kind kind, const char *blame,
                const void *bytes, size_t n);
#define NAME(m, ...) snprintf((m)->name, sizeof(m)->name, __VA_ARGS__)

/* Put d together in b; returns the length of the header. */
size_t draft_encode(const struct draft *d, struct buf *b);
void draft_lay_out(struct draft *d); /* counts and offsets as they should be */

struct draft_kv *find_kv(struct draft *d, const char *key);
struct draft_kv *need_kv(struct draft *d, const char *key); /* fails the test when absent */
struct draft_kv *add_kv(struct draft *d, const char *key);  /* or the one that is there */
/* The bytes must live until the case is emitted. */
void set_value(struct draft_kv *kv, uint32_t type, const void *p, size_t n);

static inline void put(struct buf *b, const void *p, size_t n) {
    buf_append(b, p, n);
}

static inline void put_u32(struct buf *b, uint32_t v) {
    put(b, &v, sizeof v);
}

static inline void put_u64(struct buf *b, uint64_t v) {
    put(b, &v, sizeof v);
}
