/* Errors as values: formatting, and the one place that makes outside text safe to print. */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

/* Copy src into dst[n], control bytes as \xNN; cuts at n, never inside a UTF-8 character. */
static void copy_printable(char *dst, size_t n, const char *src) {
    size_t o = 0;
    for (const unsigned char *p = (const unsigned char *)src; *p; p++) {
        const int control = *p < 0x20 || *p == 0x7f;
        if (o + (control ? 4 : 1) >= n) break;
        if (control)
            o += (size_t)snprintf(dst + o, n - o, "\\x%02x", *p);
        else
            dst[o++] = (char)*p;
    }
    /* A cut may have split a multi-byte character: drop its lead and what follows it. */
    size_t end = o;
    while (end > 0 && ((unsigned char)dst[end - 1] & 0xc0) == 0x80 && o - end < 3)
        end--;
    if (end > 0 && (unsigned char)dst[end - 1] >= 0xc0) {
        const unsigned char lead = (unsigned char)dst[end - 1];
        const size_t need = lead >= 0xf0 ? 4 : lead >= 0xe0 ? 3 : 2;
        if (o - (end - 1) < need) o = end - 1;
    }
    dst[o] = 0;
}

int err_vset(struct err *e, enum err_code code, const char *fmt, va_list ap) {
    if (!e) return -1;
    char raw[sizeof e->msg * 2];
    vsnprintf(raw, sizeof raw, fmt, ap); /* fmt may read e->msg: it is overwritten only below */
    copy_printable(e->msg, sizeof e->msg, raw);
    e->code = code;
    return -1;
}

int err_set(struct err *e, enum err_code code, const char *fmt, ...) {
    va_list ap;
    va_start(ap, fmt);
    err_vset(e, code, fmt, ap);
    va_end(ap);
    return -1;
}

int err_errno(struct err *e, const char *where) {
    const int n = errno;
    const enum err_code code = n == ENOENT   ? ERR_NOT_FOUND
                               : n == ENOMEM ? ERR_NOMEM
                                             : ERR_IO;
    return err_set(e, code, "%s: %s", where, strerror(n));
}

int err_nomem(struct err *e, const char *where) {
    return err_set(e, ERR_NOMEM, "%s: out of memory", where);
}

int err_prefix(struct err *e, const char *where) {
    if (e) err_set(e, e->code, "%s: %s", where, e->msg);
    return -1;
}

int err_exit_code(const struct err *e) {
    switch (e->code) {
    case ERR_NONE: return 0;
    case ERR_USAGE: return 2;
    case ERR_NOT_FOUND: return 3;
    case ERR_LIMIT: return 5;
    case ERR_CANCELLED: return 130;
    default: return 1;
    }
}
