/* The KV cache's pages.  A page is KV_PAGE tokens of one sequence for all layers:
 *
 *     layer 0: K [n_kv_head][KV_PAGE][k_row_bytes], V likewise;  layer 1: ...
 *
 * Pages are counted: a prefix that several sequences share is one set of pages.  Whoever writes
 * into a page owns it alone; a shared one is copied first. */
#include "model/kv.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/os.h"
#include "model/forward_priv.h"
#include "model/weights.h"

struct kv_layer {
    size_t k_at, v_at, k_row_bytes, v_row_bytes;
    int n_head;
};

struct kv_pool {
    enum qtype k_type, v_type;
    int n_layer, n_page;
    int max_pos; /* learned positions end here; 0: no end */
    size_t page_bytes, token_bytes;
    struct kv_layer *layer; /* [n_layer], owned */
    uint8_t *base;          /* n_page * page_bytes, reserved */
    int *n_ref;             /* [n_page]; 0: free */
    int *free_page;         /* [n_page] stack of free pages; the top is used next */
    int n_free;
    kv_reclaim_fn *reclaim; /* or NULL */
    void *reclaim_ctx;
};

static bool kv_type_ok(enum qtype t) {
    return t == QT_F32 || t == QT_F16 || t == QT_BF16 || t == QT_Q8_0 || t == QT_Q4_0;
}

int kv_type_by_name(const char *name) {
    const int t = qtype_by_name(name);
    return t >= 0 && kv_type_ok((enum qtype)t) ? t : -1;
}

/* Lay one layer out; false when a row is no multiple of the type's block. */
static bool lay_out(struct kv_pool *p, const struct hparams *h, int il) {
    struct kv_layer *l = &p->layer[il];
    const bool latent = h->kv_rank != 0; /* one row for all heads; V is its first part */
    const int k_dim = latent ? h->kv_rank + h->n_rot : h->k_dim,
              v_dim = latent ? h->kv_rank : h->v_dim;
    const enum qtype v_type = latent ? p->k_type : p->v_type;
    if (k_dim % qtype_geom(p->k_type)->block || v_dim % qtype_geom(v_type)->block) return false;
    l->n_head = latent ? 1 : h->layer[il].n_kv_head;
    l->k_row_bytes = qtype_row_bytes(p->k_type, k_dim);
    l->v_row_bytes = latent ? l->k_row_bytes : qtype_row_bytes(v_type, v_dim);
    const size_t rows = (size_t)l->n_head * KV_PAGE;
    l->k_at = p->page_bytes;
    l->v_at = latent ? l->k_at : l->k_at + rows * l->k_row_bytes;
    const size_t bytes = rows * (l->k_row_bytes + (latent ? 0 : l->v_row_bytes));
    p->page_bytes += (bytes + 63) & ~(size_t)63;
    p->token_bytes += bytes / KV_PAGE;
    return true;
}

/* Types, layers, page size: all but the memory.  The caller frees p->layer, also after an error. */
static int plan_pool(struct kv_pool *p, const struct hparams *h, const struct kv_opts *o,
                     struct err *e) {
    if (!kv_type_ok(o->k_type) || !kv_type_ok(o->v_type))
        return err_set(e, ERR_UNSUPPORTED,
                       "KV cache type %s is not supported; F32, F16, BF16, Q8_0, Q4_0 are",
                       qtype_name(kv_type_ok(o->k_type) ? o->v_type : o->k_type));
    *p = (struct kv_pool){.k_type = o->k_type, .v_type = o->v_type, .n_layer = h->n_layer};
    p->layer = calloc((size_t)h->n_layer, sizeof *p->layer);
    if (!p->layer) return err_nomem(e, "KV cache");
    for (int il = 0; il < h->n_layer; il++)
        if (!lay_out(p, h, il))
            return err_set(e, ERR_UNSUPPORTED,
                           "KV cache type %s/%s: heads of %d and %d values are no "
                           "multiple of its block",
                           qtype_name(p->k_type), qtype_name(p->v_type),
                           h->kv_rank ? h->kv_rank + h->n_rot : h->k_dim, h->v_dim);
    p->n_page = o->max_tokens / KV_PAGE + (o->max_tokens % KV_PAGE != 0);
    if (p->n_page < 1) p->n_page = 1;
    return 0;
}

int kv_need(const struct hparams *h, const struct kv_opts *o, struct kv_need *out, struct err *e) {
    struct kv_pool p = {0};
    const int rc = plan_pool(&p, h, o, e);
    *out = (struct kv_need){(uint64_t)p.n_page * p.page_bytes, p.token_bytes};
    free(p.layer);
    return rc;
}

struct kv_pool *kv_pool_new(const struct model *m, const struct kv_opts *o, struct err *e) {
    struct kv_pool *p = calloc(1, sizeof *p);
    if (!p) goto nomem;
    if (plan_pool(p, &m->hp, o, e) != 0) goto fail;
    p->max_pos = m->pos_embed.data ? m->pos_embed.n_row : 0;
    uint64_t bytes;
    if (!checked_mul(p->page_bytes, (uint64_t)p->n_page, &bytes) || bytes > SIZE_MAX / 2)
        goto nomem;
    p->n_ref = calloc((size_t)p->n_page, sizeof *p->n_ref);
    p->free_page = calloc((size_t)p->n_page, sizeof *p->free_page);
    p->base = os_reserve((size_t)bytes);
    if (!p->n_ref || !p->free_page || !p->base) goto nomem;
    for (int i = 0; i < p->n_page; i++)
        p->free_page[i] = p->n_page - 1 - i; /* the lowest first: memory is touched in order */
    p->n_free = p->n_page;
    return p;
nomem:
    err_nomem(e, "KV cache");
fail:
    kv_pool_free(p);
    return NULL;
}

void kv_pool_free(struct kv_pool *p) {
    if (!p) return;
    if (p->base) os_unreserve(p->base, p->page_bytes * (size_t)p->n_page);
    free(p->n_ref);
    free(p->free_page);
    free(p->layer);
    free(p);
}

size_t kv_pool_token_bytes(const struct kv_pool *p) {
    return p->token_bytes;
}

int kv_pool_free_tokens(const struct kv_pool *p) {
    return p->n_free * KV_PAGE;
}

void kv_pool_set_reclaim(struct kv_pool *p, kv_reclaim_fn *fn, void *ctx) {
    p->reclaim = fn, p->reclaim_ctx = ctx;
}

void kv_pool_layer(const struct kv_pool *p, int il, struct attn_job *j) {
    const struct kv_layer *l = &p->layer[il];
    j->k_type = p->k_type, j->v_type = l->v_at == l->k_at ? p->k_type : p->v_type;
    j->k_at = l->k_at, j->v_at = l->v_at;
    j->k_row_bytes = l->k_row_bytes, j->v_row_bytes = l->v_row_bytes;
}

/* ---- pages ---- */

static int page_index(const struct kv_pool *p, const uint8_t *page) {
    return (int)((size_t)(page - p->base) / p->page_bytes);
}

static uint8_t *page_take(struct kv_pool *p) {
    assert(p->n_free > 0); /* callers have counted */
    const int i = p->free_page[--p->n_free];
    p->n_ref[i] = 1;
    return p->base + (size_t)i * p->page_bytes;
}

static void page_drop(struct kv_pool *p, const uint8_t *page) {
    const int i = page_index(p, page);
    assert(p->n_ref[i] > 0);
    if (--p->n_ref[i] == 0) p->free_page[p->n_free++] = i;
}

static bool page_shared(const struct kv_pool *p, const uint8_t *page) {
    return p->n_ref[page_index(p, page)] > 1;
}

/* Ask for pages when fewer than n are free.  True: some may have been given back and shared pages
 * may be shared no more, so callers count again. */
static bool reclaimed(struct kv_pool *p, int n) {
    if (n <= p->n_free || !p->reclaim) return false;
    p->reclaim(p->reclaim_ctx, n);
    return true;
}

size_t kv_page_bytes(const struct kv_pool *p) {
    return p->page_bytes;
}

int kv_pool_n_page(const struct kv_pool *p) {
    return p->n_page;
}

int kv_pool_n_free(const struct kv_pool *p) {
    return p->n_free;
}

uint8_t *kv_page_new(struct kv_pool *p) {
    return p->n_free ? page_take(p) : NULL;
}

void kv_page_ref(struct kv_pool *p, uint8_t *page) {
    p->n_ref[page_index(p, page)]++;
}

void kv_page_unref(struct kv_pool *p, uint8_t *page) {
    page_drop(p, page);
}

bool kv_page_shared(const struct kv_pool *p, const uint8_t *page) {
    return page_shared(p, page);
}

/* Tokens [from, from + n) of page src to the start of page dst, which may be the same. */
static void page_move(const struct kv_pool *p, uint8_t *dst, const uint8_t *src, int from, int n) {
    for (int il = 0; il < p->n_layer; il++) {
        const struct kv_layer *l = &p->layer[il];
        for (int ih = 0; ih < l->n_head; ih++) {
            const size_t row = (size_t)ih * KV_PAGE;
            memmove(dst + l->k_at + row * l->k_row_bytes,
                    src + l->k_at + (row + (size_t)from) * l->k_row_bytes,
                    (size_t)n * l->k_row_bytes);
            if (l->v_at == l->k_at) continue;
            memmove(dst + l->v_at + row * l->v_row_bytes,
                    src + l->v_at + (row + (size_t)from) * l->v_row_bytes,
                    (size_t)n * l->v_row_bytes);
        }
    }
}

/* ---- sequences ---- */

void kv_seq_init(struct kv_seq *s, struct kv_pool *p) {
    *s = (struct kv_seq){.pool = p};
}

void kv_seq_fini(struct kv_seq *s) {
    for (int i = 0; i < s->n_span; i++)
        page_drop(s->pool, s->span[i].page);
    free(s->span);
    *s = (struct kv_seq){.pool = s->pool};
}

/* Room for n_more spans.  Grows by doubling, so decoding settles without allocation. */
static int spans_reserve(struct kv_seq *s, int n_more, struct err *e) {
    if (s->n_span + n_more <= s->cap_span) return 0;
    int cap = s->cap_span ? 2 * s->cap_span : 16;
    while (cap < s->n_span + n_more)
        cap *= 2;
    struct kv_span *p = realloc(s->span, (size_t)cap * sizeof *p);
    if (!p) return err_nomem(e, "KV cache");
    s->span = p, s->cap_span = cap;
    return 0;
}

static int full_error(const struct kv_pool *p, struct err *e) {
    return err_set(e, ERR_LIMIT, "KV cache: all %d tokens are in use", p->n_page * KV_PAGE);
}

/* Would n more tokens be written into a page that others see? */
static bool must_copy(const struct kv_seq *s, int n) {
    const struct kv_span *last = s->n_span ? &s->span[s->n_span - 1] : NULL;
    return last && last->n < KV_PAGE && n > 0 && page_shared(s->pool, last->page);
}

int kv_seq_extend(struct kv_seq *s, int n, struct err *e) {
    struct kv_pool *p = s->pool;
    assert(n >= 0);
    if (p->max_pos && n > p->max_pos - s->next_pos)
        return err_set(e, ERR_LIMIT, "context: this model's learned positions end at %d",
                       p->max_pos);
    struct kv_span *last;
    const int room = s->n_span ? KV_PAGE - s->span[s->n_span - 1].n : 0;
    const int n_new = n > room ? (n - room + KV_PAGE - 1) / KV_PAGE : 0;
    bool copy = must_copy(s, n);
    if (reclaimed(p, n_new + copy)) copy = must_copy(s, n);
    if (n_new + copy > p->n_free) return full_error(p, e);
    if (spans_reserve(s, n_new, e) != 0) return -1;
    if (copy) {
        last = &s->span[s->n_span - 1];
        uint8_t *own = page_take(p);
        page_move(p, own, last->page, 0, last->n);
        page_drop(p, last->page);
        last->page = own;
    }
    for (int left = n; left > 0;) {
        last = s->n_span ? &s->span[s->n_span - 1] : NULL;
        if (!last || last->n == KV_PAGE) {
            last = &s->span[s->n_span++];
            *last = (struct kv_span){page_take(p), s->next_pos, 0};
        }
        const int k = left < KV_PAGE - last->n ? left : KV_PAGE - last->n;
        last->n += k, s->n_tok += k, s->next_pos += k, left -= k;
    }
    return 0;
}

void kv_seq_truncate(struct kv_seq *s, int n) {
    assert(n >= 0 && n <= s->n_tok);
    while (s->n_tok > n) {
        struct kv_span *last = &s->span[s->n_span - 1];
        const int k = s->n_tok - n < last->n ? s->n_tok - n : last->n;
        last->n -= k, s->n_tok -= k;
        s->next_pos = last->pos0 + last->n;
        if (last->n > 0) continue;
        page_drop(s->pool, last->page);
        s->n_span--;
    }
    if (n == 0)
        s->next_pos = 0;
    else
        s->next_pos = s->span[s->n_span - 1].pos0 + s->span[s->n_span - 1].n;
}

int kv_seq_share(struct kv_seq *dst, const struct kv_seq *src, int n, struct err *e) {
    struct kv_pool *p = dst->pool;
    assert(dst->n_tok == 0 && src->pool == p && n >= 0 && n <= src->n_tok);
    int n_whole = 0, rest = n;
    while (rest > 0 && src->span[n_whole].n <= rest)
        rest -= src->span[n_whole++].n;
    /* The last whole span is copied as well when its page has room: both would write there. */
    if (rest == 0 && n_whole && src->span[n_whole - 1].n < KV_PAGE) rest = src->span[--n_whole].n;
    if (rest) reclaimed(p, 1);
    if (rest && p->n_free < 1) return full_error(p, e);
    if (spans_reserve(dst, n_whole + (rest > 0), e) != 0) return -1;
    for (int i = 0; i < n_whole; i++) {
        dst->span[i] = src->span[i];
        p->n_ref[page_index(p, src->span[i].page)]++;
    }
    dst->n_span = n_whole;
    if (rest) {
        const struct kv_span *from = &src->span[n_whole];
        struct kv_span *to = &dst->span[dst->n_span++];
        *to = (struct kv_span){page_take(p), from->pos0, rest};
        page_move(p, to->page, from->page, 0, rest);
    }
    dst->n_tok = n;
    if (dst->n_span) dst->next_pos = dst->span[dst->n_span - 1].pos0 + dst->span[dst->n_span - 1].n;
    return 0;
}

int kv_seq_n_whole(const struct kv_seq *s) {
    int i = 0;
    while (i < s->n_span && s->span[i].n == KV_PAGE && s->span[i].pos0 == i * KV_PAGE)
        i++;
    return i;
}

int kv_seq_append_page(struct kv_seq *s, uint8_t *page, struct err *e) {
    assert(s->n_span == 0 || s->span[s->n_span - 1].n == KV_PAGE);
    if (spans_reserve(s, 1, e) != 0) return -1;
    kv_page_ref(s->pool, page);
    s->span[s->n_span++] = (struct kv_span){page, s->next_pos, KV_PAGE};
    s->n_tok += KV_PAGE, s->next_pos += KV_PAGE;
    return 0;
}

/* ---- context shift ---- */

struct shift_plan {
    int first; /* span where the rest begins, and how many of its tokens are dropped */
    int skip;
    int n_prefix; /* spans of the kept prefix; the last has keep_last tokens */
    int keep_last;
};

static struct shift_plan plan_shift(const struct kv_seq *s, int keep, int drop) {
    struct shift_plan t = {0};
    int at = 0;
    for (int i = 0, n = 0; i < s->n_span && n < keep; i++) {
        t.n_prefix = i + 1;
        t.keep_last = keep - n < s->span[i].n ? keep - n : s->span[i].n;
        n += s->span[i].n;
    }
    while (t.first < s->n_span && at + s->span[t.first].n <= keep + drop)
        at += s->span[t.first++].n;
    t.skip = keep + drop - at;
    return t;
}

/* Give span i a page of its own. */
static void own_page(struct kv_seq *s, int i, int n) {
    uint8_t *page = s->span[i].page;
    if (!page_shared(s->pool, page)) return;
    s->span[i].page = page_take(s->pool);
    page_move(s->pool, s->span[i].page, page, 0, n);
    page_drop(s->pool, page);
}

/* Pages that the shift takes from the pool before it gives any back. */
static int pages_to_shift(const struct kv_seq *s, const struct shift_plan *t, bool same) {
    int need = same || (t->skip && page_shared(s->pool, s->span[t->first].page));
    for (int i = 0; i < t->n_prefix; i++)
        need += page_shared(s->pool, s->span[i].page);
    return need;
}

int kv_seq_shift(struct kv_seq *s, int keep, int drop, struct forward *f, struct err *e) {
    struct kv_pool *p = s->pool;
    assert(keep >= 0 && drop >= 0 && keep + drop <= s->n_tok);
    if (drop == 0) return 0;
    if (forward_check_shift(f, e) != 0) return -1;
    if (keep + drop == s->n_tok) { /* nothing stays behind the prefix: it need not move */
        kv_seq_truncate(s, keep);
        return 0;
    }
    struct shift_plan t = plan_shift(s, keep, drop);
    const bool same = t.skip && t.n_prefix == t.first + 1; /* prefix and rest in one page */
    int need = pages_to_shift(s, &t, same);
    if (reclaimed(p, need)) need = pages_to_shift(s, &t, same);
    if (need > p->n_free) return full_error(p, e);
    if (spans_reserve(s, 1, e) != 0) return -1;

    if (t.skip) { /* move the rest's first tokens to the start of a page */
        const struct kv_span old = s->span[t.first];
        const int n = old.n - t.skip;
        const bool fresh = same || page_shared(p, old.page);
        struct kv_span to = {fresh ? page_take(p) : old.page, old.pos0 + t.skip, n};
        page_move(p, to.page, old.page, t.skip, n);
        if (same) { /* the prefix keeps the old page: one span becomes two */
            memmove(&s->span[t.first + 1], &s->span[t.first],
                    (size_t)(s->n_span - t.first) * sizeof *s->span);
            s->n_span++, t.first++;
        } else if (fresh) {
            page_drop(p, old.page);
        }
        s->span[t.first] = to;
    }
    for (int i = t.n_prefix; i < t.first; i++)
        page_drop(p, s->span[i].page);
    memmove(&s->span[t.n_prefix], &s->span[t.first],
            (size_t)(s->n_span - t.first) * sizeof *s->span);
    s->n_span -= t.first - t.n_prefix;
    s->n_tok -= drop;

    for (int i = 0; i < t.n_prefix; i++) {
        if (i == t.n_prefix - 1) s->span[i].n = t.keep_last;
        own_page(s, i, s->span[i].n);
        s->span[i].pos0 += drop;
    }
    forward_rotate(f, s->pool, s->span, t.n_prefix, drop);
    return 0;
}
