/* A growable run of bytes.  All-zero is empty.  An allocation that fails sets `failed` and later
 * appends do nothing, so that a caller may append many times and check once. */
#pragma once

#include <stdarg.h>
#include <stdbool.h>
#include <stddef.h>

#include "base/str.h"

struct buf {
    char *p; /* owned; terminated by a NUL that n does not count, once anything was appended */
    size_t n, cap;
    bool failed;
};

void buf_append(struct buf *b, const void *bytes, size_t n);
void buf_byte(struct buf *b, char c);
void buf_str(struct buf *b, const char *z);
__attribute__((format(printf, 2, 3))) void buf_printf(struct buf *b, const char *fmt, ...);

/* 1234567890 as "1.2B", 134515008 as "134.52M". */
void buf_count(struct buf *b, double n);

/* Room for n more bytes; returns where they go (b->n is not moved), or NULL. */
char *buf_room(struct buf *b, size_t n);

/* Remove the first n bytes. */
void buf_drop(struct buf *b, size_t n);

static inline struct str buf_view(const struct buf *b) {
    return (struct str){b->p ? b->p : "", b->n};
}

static inline void buf_reset(struct buf *b) {
    b->n = 0;
    b->failed = false;
    if (b->p) b->p[0] = 0;
}

void buf_fini(struct buf *b);
