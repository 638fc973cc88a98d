/* Is an audit log what was written, all of it, in its order?
 *
 * Found without a key: an entry that was changed, dropped, put in, or moved, unless whoever did it
 * computed the whole rest of the chain again.  That needs the HMAC or signing key when there is
 * one: every entry behind the first sealed one must be sealed.  Entries cut off at the end are
 * found by the head that is kept beside the log, or by a seq and hash that were noted elsewhere. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"
#include "policy/audit_key.h"
#include "policy/audit_read.h"

struct audit_verdict {
    bool whole;
    uint64_t first, last; /* seq; 0: there is no entry */
    uint64_t n_entries;
    uint64_t n_unsealed; /* before the first sealed entry; with keys only */
    int n_torn, n_crash; /* writes that were cut, and starts after a crash, told by the chain */
    uint64_t n_lost;     /* entries that could not be written, told by the chain */
    bool head_known;
    uint8_t hash[SHA256_BYTES]; /* of the last entry */
    /* Not whole: */
    uint64_t bad_seq;
    bool torn;      /* its last line is cut: a crash, or it is being written */
    char what[400]; /* "FILE, line 7: seq 7: ..." */
};

/* seq and hash of an entry, noted elsewhere. */
struct audit_anchor {
    uint64_t seq; /* 0: none */
    uint8_t hash[SHA256_BYTES];
};

/* 0: *v says how it is.  -1: it cannot be read. */
int audit_verify(struct audit_reader *r, const struct audit_keys *k,
                 const struct audit_anchor *anchor, struct audit_verdict *v, struct err *e);
