/* See prefix.h.  The tree is a hash table: a node is found by its parent and its tokens, so that a
 * look-up reads each token once and compares it once. */
#include "engine/prefix.h"

#include <assert.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"

enum { ROOT = -1, NONE = -1 };

struct node {
    uint8_t *page; /* one reference is ours; NULL: the node is free */
    int32_t tok[KV_PAGE];
    uint64_t scope;
    int32_t parent; /* or ROOT */
    int32_t n_child;
    int32_t next; /* in its bucket, or in the list of free nodes */
    uint64_t used;
};

struct prefix {
    struct kv_pool *pool;     /* borrowed */
    struct prefix_disk *disk; /* owned, or NULL */
    struct node *node;        /* [n_node], owned: as many as the pool has pages */
    int32_t *bucket;          /* [mask + 1], owned */
    int32_t *path;            /* [n_node], owned: what prefix_find found */
    uint32_t mask;
    int n_node, n_path;
    int32_t free_node;
    uint64_t clock; /* counts prefix_find and prefix_add */
    bool finding;   /* the path is being built: its nodes must stay */
    struct prefix_stats stats;
    struct {
        uint8_t **page; /* [n], referenced while they are written */
        int32_t *tok;
        int n;
    } job;
};

/* ---- the table ---- */

static uint32_t bucket_of(const struct prefix *x, uint64_t scope, int32_t parent,
                          const int32_t *tok) {
    return (uint32_t)hash64(tok, KV_PAGE * sizeof *tok, scope ^ (uint64_t)(parent + 1)) & x->mask;
}

static int32_t look_up(const struct prefix *x, uint64_t scope, int32_t parent, const int32_t *tok) {
    for (int32_t i = x->bucket[bucket_of(x, scope, parent, tok)]; i != NONE; i = x->node[i].next) {
        const struct node *n = &x->node[i];
        if (n->parent == parent && n->scope == scope &&
            memcmp(n->tok, tok, KV_PAGE * sizeof *tok) == 0)
            return i;
    }
    return NONE;
}

/* There are as many nodes as pages, so one is free. */
static int32_t insert(struct prefix *x, uint64_t scope, int32_t parent, const int32_t *tok,
                      uint8_t *page) {
    const int32_t i = x->free_node;
    assert(i != NONE);
    struct node *n = &x->node[i];
    x->free_node = n->next;
    int32_t *bucket = &x->bucket[bucket_of(x, scope, parent, tok)];
    *n = (struct node){
        .page = page, .scope = scope, .parent = parent, .next = *bucket, .used = x->clock};
    memcpy(n->tok, tok, sizeof n->tok);
    *bucket = i;
    if (parent != ROOT) x->node[parent].n_child++;
    kv_page_ref(x->pool, page);
    x->stats.n_page++;
    return i;
}

static void drop(struct prefix *x, int32_t i) {
    struct node *n = &x->node[i];
    int32_t *at = &x->bucket[bucket_of(x, n->scope, n->parent, n->tok)];
    while (*at != i)
        at = &x->node[*at].next;
    *at = n->next;
    if (n->parent != ROOT) x->node[n->parent].n_child--;
    kv_page_unref(x->pool, n->page);
    n->page = NULL;
    n->next = x->free_node;
    x->free_node = i;
    x->stats.n_page--;
    x->stats.n_given++;
}

/* ---- giving pages back ---- */

/* Drop ends of texts that no sequence uses, longest unused first, until n pages are free. */
static void evict(struct prefix *x, int n) {
    while (kv_pool_n_free(x->pool) < n) {
        int32_t oldest = NONE;
        for (int32_t i = 0; i < x->n_node; i++) {
            const struct node *c = &x->node[i];
            if (!c->page || c->n_child || kv_page_shared(x->pool, c->page)) continue;
            if (x->finding && c->used == x->clock) continue;
            if (oldest == NONE || c->used < x->node[oldest].used) oldest = i;
        }
        if (oldest == NONE) return;
        drop(x, oldest);
    }
}

/* The pages of a save that has ended are the pool's again. */
static bool reap(struct prefix *x, bool wait) {
    if (!x->disk || !prefix_disk_done(x->disk, wait)) return false;
    for (int i = 0; i < x->job.n; i++)
        kv_page_unref(x->pool, x->job.page[i]);
    free(x->job.page);
    free(x->job.tok);
    memset(&x->job, 0, sizeof x->job);
    return true;
}

/* The pool is short.  At last all is forgotten: pages that a sequence uses are not free then, but
 * its own alone, and need not be copied when it changes them. */
static void reclaim(void *ctx, int n) {
    struct prefix *x = ctx;
    evict(x, n);
    if (kv_pool_n_free(x->pool) >= n) return;
    if (reap(x, true)) evict(x, n);
    if (kv_pool_n_free(x->pool) >= n) return;
    for (int32_t i = 0; i < x->n_node; i++)
        if (x->node[i].page) drop(x, i);
}

/* ---- public ---- */

struct prefix *prefix_new(struct kv_pool *p, struct prefix_disk *disk, struct err *e) {
    struct prefix *x = calloc(1, sizeof *x);
    const int n = kv_pool_n_page(p);
    uint32_t n_bucket = 16;
    while (n_bucket < (uint32_t)n)
        n_bucket *= 2;
    if (x) {
        *x = (struct prefix){.pool = p, .disk = disk, .mask = n_bucket - 1, .n_node = n};
        x->node = calloc((size_t)n, sizeof *x->node);
        x->bucket = calloc(n_bucket, sizeof *x->bucket);
        x->path = calloc((size_t)n, sizeof *x->path);
    }
    if (!x || !x->node || !x->bucket || !x->path) {
        if (!x) prefix_disk_close(disk);
        prefix_free(x);
        err_nomem(e, "prefix cache");
        return NULL;
    }
    memset(x->bucket, 0xff, n_bucket * sizeof *x->bucket); /* NONE */
    for (int i = 0; i < n; i++)
        x->node[i].next = i + 1 < n ? i + 1 : NONE;
    kv_pool_set_reclaim(p, reclaim, x);
    return x;
}

void prefix_free(struct prefix *x) {
    if (!x) return;
    kv_pool_set_reclaim(x->pool, NULL, NULL);
    reap(x, true);
    for (int32_t i = 0; x->node && i < x->n_node; i++)
        if (x->node[i].page) kv_page_unref(x->pool, x->node[i].page);
    prefix_disk_close(x->disk);
    free(x->node);
    free(x->bucket);
    free(x->path);
    free(x);
}

void prefix_add(struct prefix *x, uint64_t scope, const struct kv_seq *s, const int32_t *tok) {
    const int n = kv_seq_n_whole(s);
    int32_t at = ROOT;
    x->clock++;
    for (int i = 0; i < n; i++, tok += KV_PAGE) {
        const int32_t child = look_up(x, scope, at, tok);
        at = child != NONE ? child : insert(x, scope, at, tok, s->span[i].page);
        x->node[at].used = x->clock;
    }
}

/* Go on from the path's end with what is on disk. */
static void load_more(struct prefix *x, const int32_t *tok, int n_page) {
    uint8_t chain[SHA256_BYTES];
    if (prefix_disk_start(x->disk, chain) != 0) return;
    for (int i = 0; i < n_page; i++, tok += KV_PAGE) {
        if (i >= x->n_path) {
            evict(x, 1);
            uint8_t *page = kv_page_new(x->pool);
            if (!page) return;
            const bool good = prefix_disk_load(x->disk, chain, i, tok, page);
            if (good) {
                x->path[i] = insert(x, PREFIX_COMMON, i ? x->path[i - 1] : ROOT, tok, page);
                x->n_path = i + 1;
                x->stats.n_loaded++;
            }
            kv_page_unref(x->pool, page); /* the node's reference stays */
            if (!good) return;
        }
        if (prefix_disk_next(chain, tok) != 0) return;
    }
}

int prefix_find(struct prefix *x, uint64_t scope, const int32_t *tok, int n_page) {
    if (n_page > x->n_node) n_page = x->n_node;
    x->clock++;
    x->n_path = 0;
    int32_t at = ROOT;
    while (x->n_path < n_page) {
        at = look_up(x, scope, at, tok + (size_t)x->n_path * KV_PAGE);
        if (at == NONE) break;
        x->node[at].used = x->clock;
        x->path[x->n_path++] = at;
    }
    if (x->disk && scope == PREFIX_COMMON && x->n_path < n_page) {
        x->finding = true;
        load_more(x, tok, n_page);
        x->finding = false;
    }
    x->stats.n_found += x->n_path;
    return x->n_path;
}

int prefix_attach(struct prefix *x, struct kv_seq *s, struct err *e) {
    assert(kv_seq_n_whole(s) == s->n_span);
    for (int i = s->n_span; i < x->n_path; i++)
        if (kv_seq_append_page(s, x->node[x->path[i]].page, e) != 0) return -1;
    return 0;
}

void prefix_save(struct prefix *x, const int32_t *tok, int n_page) {
    if (!reap(x, false)) return; /* the next save writes this one's pages, too */
    if (n_page > x->n_node) n_page = x->n_node;
    x->job.page = calloc((size_t)n_page + 1, sizeof *x->job.page);
    x->job.tok = malloc(((size_t)n_page + 1) * KV_PAGE * sizeof *tok);
    int32_t at = ROOT;
    while (x->job.page && x->job.tok && x->job.n < n_page) {
        at = look_up(x, PREFIX_COMMON, at, tok + (size_t)x->job.n * KV_PAGE);
        if (at == NONE) break;
        kv_page_ref(x->pool, x->node[at].page);
        x->job.page[x->job.n++] = x->node[at].page;
    }
    if (x->job.n > 0) {
        memcpy(x->job.tok, tok, (size_t)x->job.n * KV_PAGE * sizeof *tok);
        if (prefix_disk_save(x->disk, x->job.page, x->job.tok, x->job.n)) return;
    }
    reap(x, false); /* nothing was begun */
}

void prefix_wait(struct prefix *x) {
    reap(x, true);
}

struct prefix_stats prefix_stats(const struct prefix *x) {
    struct prefix_stats st = x->stats;
    st.n_idle = 0;
    for (int32_t i = 0; i < x->n_node; i++)
        st.n_idle += x->node[i].page && !kv_page_shared(x->pool, x->node[i].page);
    return st;
}
