/* Errors as values: formatting, and the one place that makes outside text safe to print. */
#include "base/err.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

/* Copy src into dst[n], what is not printable as \xNN; cuts at n, between characters. */
static void copy_printable(char *dst, size_t n, const char *src) {
    size_t o = 0;
    for (size_t left = strlen(src); left;) {
        const int len = utf8_printable(src, left);
        const size_t taken = len ? (size_t)len : 1, room = len ? taken : 4;
        if (o + room >= n) break;
        if (len)
            memcpy(dst + o, src, taken);
        else
            snprintf(dst + o, n - o, "\\x%02x", (unsigned char)*src);
        o += room;
        src += taken;
        left -= taken;
    }
    dst[o] = 0;
}

int err_vset(struct err *e, enum err_code code, const char *fmt, va_list ap) {
    if (!e) return -1;
    char raw[sizeof e->msg * 2];
    vsnprintf(raw, sizeof raw, fmt, ap); /* fmt may read e->msg: it is overwritten only below */
    copy_printable(e->msg, sizeof e->msg, raw);
    e->code = code;
    e->field[0] = 0;
    return -1;
}

int err_field(struct err *e, const char *fmt, ...) {
    char raw[sizeof e->field * 2];
    va_list ap;
    if (!e) return -1;
    va_start(ap, fmt);
    vsnprintf(raw, sizeof raw, fmt, ap);
    va_end(ap);
    copy_printable(e->field, sizeof e->field, raw);
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
    const enum err_code code = n == ENOENT ? ERR_NOT_FOUND : n == ENOMEM ? ERR_NOMEM : ERR_IO;
    return err_set(e, code, "%s: %s", where, strerror(n));
}

int err_nomem(struct err *e, const char *where) {
    return err_set(e, ERR_NOMEM, "%s: out of memory", where);
}

int err_prefix(struct err *e, const char *where) {
    if (!e) return -1;
    char field[ERR_FIELD];
    memcpy(field, e->field, sizeof field);
    err_set(e, e->code, "%s: %s", where, e->msg);
    return err_field(e, "%s", field);
}

int err_exit_code(const struct err *e) {
    switch (e->code) {
    case ERR_NONE: return 0;
    case ERR_USAGE: return 2;
    case ERR_NOT_FOUND: return 3;
    case ERR_LIMIT:
    case ERR_FORBIDDEN:
    case ERR_DENIED:
    case ERR_RATE: return 5;
    case ERR_CANCELLED: return 130;
    default: return 1;
    }
}
