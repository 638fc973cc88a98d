/* Chunked bodies (RFC 9112 7.1), strictly and with limits: sizes of at most 8 hex digits,
 * extensions of at most 256 bytes each and 4 KiB a body, CR LF everywhere, no trailers. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/str.h"

enum { HTTP_CHUNK_EXT_MAX = 256, HTTP_CHUNK_EXT_ALL = 4096 };

/* Zero at the start of a body. */
struct http_chunk {
    int state;
    int n_digit;
    size_t n_ext, n_ext_all; /* bytes of this extension; of all */
    uint64_t n_left;         /* bytes of this chunk still to come */
};

/* Read from p[0..n).  Consumes *n_used bytes, which end with at most one piece of the body: *data,
 * borrowed from p, perhaps empty.  Returns 1 when the body has ended, 0 when not (call again with
 * what is left, until all is used), -400 when this is no chunked body. */
int http_chunk_feed(struct http_chunk *c, const char *p, size_t n, size_t *n_used,
                    struct str *data);
