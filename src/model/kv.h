/* The KV cache: pages of KV_PAGE tokens with reference counts, so that sequences share prefixes.
 * One page holds its tokens for all layers.  Not thread-safe: the scheduler owns pool and
 * sequences; the forward only reads the spans. */
#pragma once

#include "backend/ops.h"
#include "base/err.h"
#include "model/model.h"

/* The types a cache may have, as users write them; and the type of such a name, -1 for another. */
#define KV_TYPE_NAMES "f32 f16 bf16 q8_0 q4_0"
int kv_type_by_name(const char *name);

struct kv_opts {
    enum qtype k_type, v_type; /* of KV_TYPE_NAMES; zero value: F32 */
    int max_tokens;            /* capacity over all sequences; rounded up to pages */
};

/* What a pool takes, known from hyper-parameters alone; errors as kv_pool_new. */
struct hparams;
struct kv_need {
    uint64_t bytes;     /* of all pages */
    size_t token_bytes; /* of one token, all layers */
};
int kv_need(const struct hparams *h, const struct kv_opts *o, struct kv_need *out, struct err *e);

struct kv_pool;

/* Address space for max_tokens is reserved; memory is used as pages are.  ERR_UNSUPPORTED when a
 * quantized type does not divide the head size, ERR_NOMEM. */
struct kv_pool *kv_pool_new(const struct model *m, const struct kv_opts *o, struct err *e);
void kv_pool_free(struct kv_pool *p);
size_t kv_pool_token_bytes(const struct kv_pool *p); /* of one token, all layers */
int kv_pool_free_tokens(const struct kv_pool *p);    /* capacity not in use */

/* Whoever keeps pages only because they may be useful again (the prefix cache) is asked here when
 * the pool is short: give up pages until n are free, all if need be. */
typedef void kv_reclaim_fn(void *ctx, int n);
void kv_pool_set_reclaim(struct kv_pool *p, kv_reclaim_fn *fn, void *ctx);

/* Layer il's place in a page: fills k_at v_at k_row_bytes v_row_bytes k_type v_type of j. */
void kv_pool_layer(const struct kv_pool *p, int il, struct attn_job *j);

/* One sequence. */
struct kv_seq {
    struct kv_pool *pool; /* borrowed */
    struct kv_span *span; /* [n_span], owned; ascending positions, no span empty */
    int n_span, cap_span;
    int32_t n_tok;    /* tokens in the cache */
    int32_t next_pos; /* position of the next token: n_tok unless a shift has happened */
};

void kv_seq_init(struct kv_seq *s, struct kv_pool *p);
void kv_seq_fini(struct kv_seq *s); /* drops its pages */

/* Extend by n tokens: spans cover them, next_pos and n_tok move on; forward() fills them in.  A
 * shared last page is copied first.  ERR_LIMIT when the pool is full or the model's learned
 * positions (GPT-2, BERT) end: nothing changed. */
int kv_seq_extend(struct kv_seq *s, int n, struct err *e);

/* Keep the first n tokens, drop the rest. */
void kv_seq_truncate(struct kv_seq *s, int n);

/* Make dst (empty) share src's first n tokens: whole pages by reference, the rest copied. */
int kv_seq_share(struct kv_seq *dst, const struct kv_seq *src, int n, struct err *e);

/* Single pages, for the prefix cache.  All of a page's bytes are its content: a page that was
 * copied to a file and back gives the same bits. */
size_t kv_page_bytes(const struct kv_pool *p);
int kv_pool_n_page(const struct kv_pool *p);
int kv_pool_n_free(const struct kv_pool *p);
uint8_t *kv_page_new(struct kv_pool *p); /* with one reference; NULL: none is free */
void kv_page_ref(struct kv_pool *p, uint8_t *page);
void kv_page_unref(struct kv_pool *p, uint8_t *page);
bool kv_page_shared(const struct kv_pool *p, const uint8_t *page); /* more than one reference */

/* The full pages at the start of s, as long as they hold the positions 0, 1, 2..: what depends on
 * the tokens alone.  None once a context shift has moved the prefix. */
int kv_seq_n_whole(const struct kv_seq *s);

/* Append a full page, by reference, to s, which ends with a full one (or is empty). */
int kv_seq_append_page(struct kv_seq *s, uint8_t *page, struct err *e);

/* Context shift: forget tokens [keep, keep + drop).  The kept prefix moves up to stand right
 * before the rest (its K rows are rotated by +drop), so only `keep` rows change, not the tail.
 * Relative positions end as if the text had been keep + rest.  Cost: keep rows of every layer.
 * Runs ops on the team. */
struct forward;
int kv_seq_shift(struct kv_seq *s, int keep, int drop, struct forward *f, struct err *e);
