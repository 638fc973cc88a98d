/* A file of text lines, read as it streams by: whatever its size, memory holds one line. */
#pragma once

#include "base/buf.h"
#include "base/err.h"
#include "base/sha256.h"

enum { LINES_MAX_BYTES = 16 << 20 }; /* of a line */

struct lines {
    const char *path; /* borrowed; begins errors */
    int fd;           /* owned */
    int number;       /* of the line that was given last: 1, 2... */
    uint64_t n_bytes; /* read so far */
    uint64_t size;    /* of the file when it was opened */
    struct buf data;  /* owned: the line, and what was read beyond it */
    size_t at, seen;  /* data[at] is unread; no newline before data[seen] */
    bool ended;
    struct sha256 sum; /* of all bytes read */
};

/* Open a regular file.  ERR_NOT_FOUND, ERR_IO, ERR_FORMAT (a folder, a device).  lines_close also
 * after a failure. */
int lines_open(struct lines *l, const char *path, struct err *e);
void lines_close(struct lines *l);

enum lines_got { LINES_FAILED = -1, LINES_END, LINES_LINE, LINES_LONG };

/* The next line without its end (LF or CR LF) and, if it is the first, without a byte order mark;
 * valid until the next call.  LINES_LONG: it has more than LINES_MAX_BYTES, *line is empty, and
 * reading goes on behind it.  LINES_FAILED: ERR_IO, ERR_NOMEM; ERR_LIMIT after 2^31 - 1 lines. */
enum lines_got lines_next(struct lines *l, struct str *line, struct err *e);

/* SHA-256 of the whole file, once LINES_END was given. */
int lines_digest(struct lines *l, uint8_t out[SHA256_BYTES], struct err *e);
