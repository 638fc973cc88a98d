/* Bodies that were sent compressed: gzip (RFC 1952) by zlib, Zstandard (RFC 8878) by libzstd.  What
 * they become is bounded in size and in its ratio to what was sent, so that a few kilobytes cannot
 * keep a worker busy with gigabytes. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

enum coding { CODING_NONE, CODING_GZIP, CODING_ZSTD, CODING_UNKNOWN };

enum {
    DECODE_RATIO = 256,     /* ERR_LIMIT above, */
    DECODE_FREE = 1 << 20,  /* but this much may come of anything */
    DECODE_WINDOW_LOG = 23, /* of Zstandard: 8 MiB, what RFC 8878 asks for */
};

/* Of a Content-Encoding; several one after the other are not known. */
enum coding decode_coding(struct str value);

/* All of `in`, appended to out.  ERR_FORMAT: broken, cut short, or something behind its end;
 * ERR_LIMIT: more than max bytes or than the ratio allows. */
int decode_body(enum coding c, struct str in, size_t max, struct buf *out, struct err *e);
