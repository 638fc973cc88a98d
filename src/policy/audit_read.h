/* The entries of an audit log one after the other, as they lie in whichever file: also while a
 * server writes it. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"

struct audit_reader;

struct audit_item {
    struct str line;  /* without its end; borrowed until the next call */
    const char *file; /* borrowed; of a log that was rotated the older ones come first */
    long n_line;      /* in that file, from 1; SQLite: 0 */
    uint64_t row;     /* SQLite's key; lines: 0 */
    bool ended;       /* false: a last line without a line end */
};

/* ERR_NOT_FOUND: there is no such log. */
struct audit_reader *audit_reader_open(const char *path, struct err *e);
/* JSON lines that are in memory, borrowed. */
struct audit_reader *audit_reader_memory(struct str bytes, struct err *e);
void audit_reader_close(struct audit_reader *r);
int audit_reader_next(struct audit_reader *r, struct audit_item *out,
                      struct err *e); /* 1; 0: end */
/* From the first again. */
int audit_reader_rewind(struct audit_reader *r, struct err *e);
/* The last entry that was written, as it is kept apart from them; false: not known. */
bool audit_reader_head(struct audit_reader *r, uint64_t *seq, uint8_t hash[SHA256_BYTES]);
/* Is that one written together with the entries, so that none is behind it? */
bool audit_reader_head_is_exact(const struct audit_reader *r);
