/* A growable run of bytes, doubling. */
#include "base/buf.h"

#include <math.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

char *buf_room(struct buf *b, size_t n) {
    if (b->failed) return NULL;
    if (n >= SIZE_MAX / 2 - b->n) goto fail;
    const size_t need = b->n + n + 1;
    if (need > b->cap) {
        size_t cap = b->cap ? b->cap * 2 : 64;
        if (cap < need) cap = need;
        char *p = realloc(b->p, cap);
        if (!p) goto fail;
        b->p = p;
        b->cap = cap;
    }
    return b->p + b->n;
fail:
    b->failed = true;
    return NULL;
}

void buf_append(struct buf *b, const void *bytes, size_t n) {
    char *at = buf_room(b, n);
    if (!at) return;
    if (n) memcpy(at, bytes, n);
    b->n += n;
    b->p[b->n] = 0;
}

void buf_byte(struct buf *b, char c) {
    buf_append(b, &c, 1);
}

void buf_str(struct buf *b, const char *z) {
    buf_append(b, z, strlen(z));
}

void buf_printf(struct buf *b, const char *fmt, ...) {
    va_list ap, again;
    va_start(ap, fmt);
    va_copy(again, ap);
    const int n = vsnprintf(NULL, 0, fmt, ap);
    va_end(ap);
    char *at = n < 0 ? NULL : buf_room(b, (size_t)n);
    if (at) {
        vsnprintf(at, (size_t)n + 1, fmt, again);
        b->n += (size_t)n;
    } else {
        b->failed = true;
    }
    va_end(again);
}

void buf_drop(struct buf *b, size_t n) {
    if (n >= b->n) {
        b->n = 0;
        if (b->p) b->p[0] = 0;
        return;
    }
    memmove(b->p, b->p + n, b->n - n + 1);
    b->n -= n;
}

void buf_fini(struct buf *b) {
    free(b->p);
    *b = (struct buf){0};
}

void buf_count(struct buf *b, double n) {
    static const struct {
        double scale;
        char letter;
        int decimals;
    } unit[] = {{1e9, 'B', 1}, {1e6, 'M', 2}, {1e3, 'K', 0}};
    for (int i = 0; i < 3; i++) {
        if (n < unit[i].scale) continue;
        const double v = n / unit[i].scale;
        buf_printf(b, "%.*f%c", v == floor(v) ? 0 : unit[i].decimals, v, unit[i].letter);
        return;
    }
    buf_printf(b, "%.0f", n);
}
