/* What holds the bytes of cached answers: behind answer_cache.h, which nobody else needs.
 *
 *   answer_cache_sqlite.c   a file, bounded by bytes, the least recently used leave
 *   answer_cache_redis.c    a server that several share, which has its own limits
 *
 * Both keep sealed bytes: who they are for, until when they hold, a check sum over all. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "policy/answer_key.h"

/* ---- seals (answer_seal.c) ---- */

struct answer_seal {
    const char *tenant, *model; /* name of the model that was asked; at most ANSWER_NAME bytes */
    int64_t created_us, expires_us;
};
enum { ANSWER_NAME = 512, ANSWER_SEAL_MAX = 64 + 2 * ANSWER_NAME };

int answer_seal(const struct answer_seal *s, struct str value, struct buf *out, struct err *e);
/* Is it whole, and this tenant's?  *value: within `sealed`.  ERR_FORMAT: no, damaged. */
int answer_unseal(struct str sealed, const char *tenant, struct answer_seal *out, struct str *value,
                  struct err *e);
/* Is it an answer of that model?  The first ANSWER_SEAL_MAX bytes will do. */
bool answer_seal_names(struct str sealed, const char *model);

/* ---- stores ---- */

struct answer_row {
    const uint8_t *key; /* [ANSWER_KEY_BYTES] */
    const char *model;
    int64_t now_us, expires_us;
    struct str sealed;
};

struct answer_filter {  /* of both that are there, and both NULL: all */
    const char *prefix; /* of the key: lower-case hexadecimal digits */
    const char *model;
};

struct answer_count {
    int64_t n, n_bytes;
};

/* Any thread; each call has its own lock.  What is said to be gone is counted by the caller. */
struct answer_store {
    const struct answer_store_ops *ops;
};

struct answer_store_ops {
    const char *name;
    bool counts_all; /* count looks at every answer */
    /* 1: appended to out; 0: not there; -1. */
    int (*get)(struct answer_store *s, const uint8_t *key, struct buf *out, struct err *e);
    /* *n_gone: answers that were too old, or left for this one. */
    int (*put)(struct answer_store *s, const struct answer_row *row, int64_t *n_gone,
               struct err *e);
    int (*touch)(struct answer_store *s, const uint8_t *key, int64_t now_us, struct err *e);
    int (*remove)(struct answer_store *s, const uint8_t *key, struct err *e);
    int (*drop)(struct answer_store *s, const struct answer_filter *f, int64_t *n, struct err *e);
    int (*count)(struct answer_store *s, struct answer_count *out, struct err *e);
    /* What follows on this thread belongs together, until batch(s, false). */
    int (*batch)(struct answer_store *s, bool begin, struct err *e);
    void (*close)(struct answer_store *s);
};

struct answer_store *answer_store_sqlite(const char *folder, uint64_t max_bytes, struct err *e);
/* ERR_UNSUPPORTED: built without hiredis.  A server that does not answer is no error. */
struct answer_store *answer_store_redis(const char *url, struct err *e);
