/* The response cache: answers by key (answer_key.h), each for a time, within a size.
 *
 *   answer_cache_get   the caller's thread: one read of the store; its time and tenant are looked
 * at answer_cache_put   a queue, and a thread that packs, seals and writes: nobody waits for a disk
 *
 * A cache that fails costs its hits, never an answer: what goes wrong is counted, and said in the
 * log once a minute at most.
 *
 * Time is the wall clock's, since answers outlive the process; but it never goes backwards here: a
 * clock that is set back makes no answer live longer than it was to, and one that claims to be from
 * the future (made before the clock was set back) is not believed. */
#pragma once

#include "policy/answer_key.h"
#include "policy/answer_record.h"
#include "policy/answer_store.h"

struct answer_cache; /* any thread */

struct answer_cache_opts {
    const char *url;          /* redis://...; NULL or empty: a file */
    const char *folder;       /* of the file; NULL: ~/.cria */
    uint64_t max_bytes;       /* of the file's answers; Redis has its own limit */
    int64_t (*wall_us)(void); /* NULL: the system's clock; tests have their own */
};

struct answer_label {
    const char *tenant; /* ""; no other may have it */
    const char *model;  /* its name, for those who remove a model's answers */
};

struct answer_cache *answer_cache_open(const struct answer_cache_opts *o, struct err *e);
/* Writes what waits; accepts NULL. */
void answer_cache_close(struct answer_cache *c);

/* The answer in *out (empty; answer_record_fini), and how old it is, at least 0.  False: there is
 * none, none for this tenant, it is too old, damaged, or the store does not answer. */
bool answer_cache_get(struct answer_cache *c, const uint8_t key[ANSWER_KEY_BYTES],
                      const char *tenant, const json_t *gen, struct answer_record *out,
                      int64_t *age_s);
/* Takes *r over, which is whole; it will be there soon, unless the store is too slow for what
 * comes: then it is dropped, and counted. */
void answer_cache_put(struct answer_cache *c, const uint8_t key[ANSWER_KEY_BYTES],
                      const struct answer_label *label, int64_t ttl_s, struct answer_record *r);
/* Waits until what was put before is written. */
void answer_cache_flush(struct answer_cache *c);

/* Remove those of a filter; both of it NULL: all.  *n: how many. */
int answer_cache_drop(struct answer_cache *c, const struct answer_filter *f, int64_t *n,
                      struct err *e);

struct answer_cache_stats {
    const char *store;     /* "sqlite", "redis" */
    int64_t n, n_bytes;    /* in the store now; -1: it does not answer */
    int64_t n_put, n_gone; /* written; left for others or with age, since the process began */
    int64_t n_error;       /* the store failed, or something in it was damaged */
    int64_t n_dropped;     /* not written, as too many waited */
};
/* all: say how much there is in Redis, too, where all of them are looked at for it. */
void answer_cache_stats(struct answer_cache *c, bool all, struct answer_cache_stats *out);
