/* Text that comes in pieces, filtered as if it were whole: out comes what can no longer change.
 *
 * Held back is what may yet be an entity: a word, a number, a token; at most PII_STREAM_HELD bytes,
 * that many only within the block of a private key. */
#pragma once

#include "policy/pii.h"

struct pii_stream;

enum { PII_STREAM_HELD = 40 << 10 };

/* policy and vault (may be NULL) are borrowed. */
struct pii_stream *pii_stream_new(const struct pii_policy *policy, struct pii_vault *vault,
                                  struct err *e);
void pii_stream_free(struct pii_stream *s); /* accepts NULL */

/* The next piece; what it decides is appended to out.  ERR_NOMEM, after which the stream is of no
 * use. */
int pii_stream_feed(struct pii_stream *s, struct str piece, struct buf *out, struct err *e);
/* The text ends here: the rest.  A new one may begin. */
int pii_stream_end(struct pii_stream *s, struct buf *out, struct err *e);

size_t pii_stream_held(const struct pii_stream *s); /* bytes */
const struct pii_counts *pii_stream_counts(const struct pii_stream *s);
