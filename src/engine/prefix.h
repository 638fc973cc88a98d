/* The prefix cache: pages of the KV pool that hold the beginnings of texts, kept after (and while)
 * a sequence uses them, so that the next sequence that begins alike takes them by reference instead
 * of computing them.  A tree of pages: a page is found by its 64 tokens and the page before it.
 *
 * One index serves one engine: one model, pool and context size.  Texts of different scopes (an
 * adapter, a tenant) never meet: what was computed for one is not found from another.  It holds
 * only what depends on scope and tokens alone: full pages at their natural positions, of sequences
 * that were not shifted, of models that look back only.  A model with state outside the pages needs
 * its own.
 *
 * Its pages cost nothing that is needed: when the pool is short it is asked (kv_pool_set_reclaim)
 * and gives up what no sequence uses, longest unused first.  Belongs to the pool's thread; nothing
 * allocates but prefix_new and, with a disk behind it, prefix_save. */
#pragma once

#include "engine/prefix_disk.h"
#include "model/kv.h"

struct prefix;

/* disk (or NULL) is taken over: pages that are not in memory are looked for there. */
struct prefix *prefix_new(struct kv_pool *p, struct prefix_disk *disk, struct err *e);
void prefix_free(struct prefix *x); /* before the pool; waits for what is being written */

/* The scope of whoever opened the engine: its own adapter, no tenant.  Only its pages go to disk.
 */
enum { PREFIX_COMMON = 0 };

/* Remember the full pages of s, which holds tok. */
void prefix_add(struct prefix *x, uint64_t scope, const struct kv_seq *s, const int32_t *tok);

/* How many pages, at most n_page, of the text that begins with tok [n_page * KV_PAGE] are there;
 * those on disk are read.  Follow with prefix_attach. */
int prefix_find(struct prefix *x, uint64_t scope, const int32_t *tok, int n_page);

/* Append the pages that the last prefix_find found beyond those that s has; s holds full pages of
 * the same text.  Nothing else may have touched index or pool in between. */
int prefix_attach(struct prefix *x, struct kv_seq *s, struct err *e);

/* Write what of tok's first n_page pages is in memory, in the common scope, and not yet on disk;
 * returns at once, the work is done by a thread.  Nothing without a disk. */
void prefix_save(struct prefix *x, const int32_t *tok, int n_page);
void prefix_wait(struct prefix *x); /* until that thread is done */

struct prefix_stats {
    int n_page, n_idle;              /* in the index; of them used by no sequence */
    long n_found, n_loaded, n_given; /* pages, since the start: found, read from disk, given up */
};
struct prefix_stats prefix_stats(const struct prefix *x);
