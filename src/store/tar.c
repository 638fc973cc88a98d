/* Format: POSIX.1-2001, pax; GNU tar manual, "Basic Tar Format". */
#include "store/tar.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

enum { BLOCK = 512, MAX_EXTENSION = 64 << 10, MAX_REST = 16 << 20 };

struct header { /* offsets of ustar */
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type, link[100];
    char magic[8], user[32], group[32], major[8], minor[8], prefix[155], rest[12];
};
_Static_assert(sizeof(struct header) == BLOCK, "a header is one block");

/* ---- writing ---- */

static unsigned checksum(const struct header *h) {
    const unsigned char *p = (const unsigned char *)h;
    unsigned sum = 0;
    for (size_t i = 0; i < BLOCK; i++)
        sum += i >= offsetof(struct header, sum) && i < offsetof(struct header, type) ? ' ' : p[i];
    return sum;
}

/* Octal, or base 256 where 11 digits are too few (8 GiB). */
static void put_size(char out[12], uint64_t v) {
    if (v < (uint64_t)1 << 33) {
        snprintf(out, 12, "%011llo", (unsigned long long)v);
        return;
    }
    memset(out, 0, 12);
    out[0] = (char)0x80;
    for (int i = 11; v; i--, v >>= 8)
        out[i] = (char)(v & 255);
}

void tar_header(const char *name, uint64_t n_bytes, char out[512]) {
    struct header h = {.mode = "0000644",
                       .uid = "0000000",
                       .gid = "0000000",
                       .mtime = "00000000000",
                       .type = '0',
                       .magic = "ustar\0"
                                "00"};
    memcpy(h.name, name, strnlen(name, sizeof h.name));
    put_size(h.size, n_bytes);
    snprintf(h.sum, sizeof h.sum, "%06o", checksum(&h));
    h.sum[7] = ' ';
    memcpy(out, &h, sizeof h);
}

/* ---- reading ---- */

static int bad(const struct tar_reader *r, struct err *e, const char *what) {
    return err_set(e, ERR_FORMAT, "%s: member %d: %s", r->path, r->n_member + 1, what);
}

/* 1: all n; 0: the end before the first; -1. */
static int read_fully(struct tar_reader *r, void *bytes, size_t n, struct err *e) {
    char *p = bytes;
    for (size_t got = 0; got < n;) {
        const ssize_t k = read(r->fd, p + got, n - got);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return err_errno(e, r->path);
        if (k == 0) return got == 0 ? 0 : bad(r, e, "the archive is cut off");
        got += (size_t)k;
    }
    return 1;
}

int64_t tar_read(struct tar_reader *r, void *bytes, size_t n, struct err *e) {
    if (n > r->left) n = (size_t)r->left;
    if (n == 0) return 0;
    const int rc = read_fully(r, bytes, n, e);
    if (rc <= 0) return rc == 0 ? bad(r, e, "the archive is cut off") : -1;
    r->left -= n;
    return (int64_t)n;
}

static int skip(struct tar_reader *r, struct err *e) {
    char piece[BLOCK * 64];
    r->left += r->pad, r->pad = 0;
    while (r->left > 0)
        if (tar_read(r, piece, sizeof piece, e) < 0) return -1;
    return 0;
}

static bool get_number(const char *p, size_t n, uint64_t *out) {
    uint64_t v = 0;
    size_t i = 0;
    if ((unsigned char)p[0] & 0x80) {
        for (i = 1; i < n; i++) {
            if (v >> 56) return false;
            v = v << 8 | (unsigned char)p[i];
        }
        *out = v;
        return (unsigned char)p[0] == 0x80;
    }
    while (i < n && p[i] == ' ')
        i++;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
        v = v << 3 | (uint64_t)(p[i] - '0');
    *out = v;
    return i == n || p[i] == ' ' || p[i] == 0;
}

/* A name for a file below some folder. */
static bool set_name(const char *from, size_t n, char out[TAR_NAME]) {
    n = strnlen(from, n);
    while (n >= 2 && from[0] == '.' && from[1] == '/')
        from += 2, n -= 2;
    if (n >= TAR_NAME || (n > 0 && from[0] == '/')) return false;
    memcpy(out, from, n);
    out[n] = 0;
    for (const char *p = out; p; p = strchr(p, '/')) {
        p += *p == '/';
        if (strncmp(p, "..", 2) == 0 && (p[2] == '/' || p[2] == 0)) return false;
    }
    return true;
}

/* What extension members said about the next one. */
struct extension {
    char name[TAR_NAME];
    bool has_name, has_size;
    uint64_t n_bytes;
};

/* "LENGTH key=value\n"... */
static bool read_pax(const char *p, size_t n, struct extension *x) {
    while (n > 0) {
        char *end;
        const unsigned long len = strtoul(p, &end, 10);
        if (*end != ' ' || len > n || len < (size_t)(end - p) + 3 || p[len - 1] != '\n')
            return false;
        const char *key = end + 1, *equals = memchr(key, '=', len - (size_t)(key - p));
        if (!equals) return false;
        const char *value = equals + 1;
        const size_t n_value = len - 1 - (size_t)(value - p);
        if (strncmp(key, "path=", 5) == 0) {
            x->has_name = true;
            if (!set_name(value, n_value, x->name)) return false;
        } else if (strncmp(key, "size=", 5) == 0) {
            x->has_size = true;
            x->n_bytes = strtoull(value, NULL, 10);
        }
        p += len, n -= len;
    }
    return true;
}

static int read_extension(struct tar_reader *r, char type, struct extension *x, struct err *e) {
    const size_t n = (size_t)r->left;
    if (r->left > MAX_EXTENSION) return bad(r, e, "a header over 64 KiB");
    char *text = calloc(1, n + 1);
    bool ok = text != NULL;
    if (!ok) return err_nomem(e, r->path);
    int rc = tar_read(r, text, n, e) == (int64_t)n ? 0 : -1;
    if (rc == 0 && type == 'L') ok = x->has_name = set_name(text, n, x->name);
    if (rc == 0 && type == 'x') ok = read_pax(text, n, x);
    free(text);
    return rc != 0 ? -1 : ok ? 0 : bad(r, e, "a name or header that is refused");
}

static bool is_zero(const struct header *h) {
    static const struct header zero;
    return memcmp(h, &zero, sizeof zero) == 0;
}

static int check_header(struct tar_reader *r, const struct header *h, struct err *e) {
    uint64_t sum;
    if (!get_number(h->sum, sizeof h->sum, &sum) || sum != checksum(h))
        return bad(r, e, "no tar header");
    if (!get_number(h->size, sizeof h->size, &r->left) || r->left > (uint64_t)1 << 50)
        return bad(r, e, "an impossible size");
    r->pad = tar_padding(r->left);
    return 0;
}

/* The name of a plain header: prefix/name. */
static bool plain_name(const struct header *h, char out[TAR_NAME]) {
    char z[sizeof h->prefix + 1 + sizeof h->name + 1];
    const bool ustar = memcmp(h->magic, "ustar\0", 6) == 0 && h->prefix[0];
    snprintf(z, sizeof z, "%.155s%s%.100s", ustar ? h->prefix : "", ustar ? "/" : "", h->name);
    return set_name(z, sizeof z, out);
}

int tar_next(struct tar_reader *r, struct tar_member *m, struct err *e) {
    struct extension x = {0};
    struct header h;
    for (;; r->n_member++) {
        if (r->n_member >= TAR_MAX_MEMBERS)
            return err_set(e, ERR_LIMIT, "%s: over %d members", r->path, TAR_MAX_MEMBERS);
        if (skip(r, e) != 0) return -1;
        const int rc = read_fully(r, &h, sizeof h, e);
        if (rc <= 0) return rc < 0 ? -1 : bad(r, e, "the archive is cut off");
        if (is_zero(&h)) return 0;
        if (check_header(r, &h, e) != 0) return -1;
        if (h.type == 'L' || h.type == 'x') {
            if (read_extension(r, h.type, &x, e) != 0) return -1;
            continue;
        }
        if (h.type == 'g') continue; /* of the whole archive: comments */
        if (x.has_size) {
            if (x.n_bytes > (uint64_t)1 << 50) return bad(r, e, "an impossible size");
            r->left = x.n_bytes, r->pad = tar_padding(x.n_bytes);
        }
        if (x.has_name)
            memcpy(m->name, x.name, sizeof x.name);
        else if (!plain_name(&h, m->name))
            return bad(r, e, "a path that is absolute or climbs");
        x = (struct extension){0};
        if (h.type == '5') continue;
        if (h.type != '0' && h.type != 0 && h.type != '7')
            return bad(r, e, "a link or a device; files and folders are accepted");
        m->n_bytes = r->left;
        r->n_member++;
        return 1;
    }
}

void tar_drain(struct tar_reader *r) {
    char piece[BLOCK * 64];
    for (size_t n = 0; n < MAX_REST;) {
        const ssize_t k = read(r->fd, piece, sizeof piece);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return;
        n += (size_t)k;
    }
}
