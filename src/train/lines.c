/* See lines.h. */
#include "train/lines.h"

#include <errno.h>
#include <limits.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"

enum { CHUNK_BYTES = 256 << 10 };

int lines_open(struct lines *l, const char *path, struct err *e) {
    struct stat st;
    *l = (struct lines){.path = path};
    l->fd = os_open_regular(path, e);
    if (l->fd < 0) return -1;
    if (fstat(l->fd, &st) != 0) return err_errno(e, path);
    l->size = (uint64_t)st.st_size;
    sha256_init(&l->sum);
    return 0;
}

void lines_close(struct lines *l) {
    uint8_t sum[SHA256_BYTES];
    if (l->fd >= 0) close(l->fd);
    if (l->sum.md) sha256_final(&l->sum, sum);
    buf_fini(&l->data);
    *l = (struct lines){.fd = -1};
}

/* More bytes behind those that are there.  0 at the end of the file. */
static int read_more(struct lines *l, struct err *e) {
    ssize_t n;
    buf_drop(&l->data, l->at);
    l->seen -= l->at;
    l->at = 0;
    char *to = buf_room(&l->data, CHUNK_BYTES);
    if (!to) return err_nomem(e, l->path);
    do
        n = read(l->fd, to, CHUNK_BYTES);
    while (n < 0 && errno == EINTR);
    if (n < 0) return err_errno(e, l->path);
    sha256_add(&l->sum, to, (size_t)n);
    l->data.n += (size_t)n;
    l->n_bytes += (uint64_t)n;
    l->ended = n == 0;
    return n > 0;
}

/* Where the line that begins at l->at ends, without its newline; *more: there is one. */
static int find_end(struct lines *l, size_t *end, bool *more, struct err *e) {
    for (;;) {
        const char *from = l->data.p ? l->data.p + l->seen : "";
        const char *nl = l->data.n > l->seen ? memchr(from, '\n', l->data.n - l->seen) : NULL;
        l->seen = *end = nl ? (size_t)(nl - l->data.p) : l->data.n;
        *more = nl != NULL;
        if (nl || l->ended || *end - l->at > LINES_MAX_BYTES) return 0;
        if (read_more(l, e) < 0) return -1;
    }
}

/* The rest of a line of which too much was read. */
static int skip_rest(struct lines *l, struct err *e) {
    size_t end = l->seen;
    bool more = false;
    while (!more && !l->ended) {
        l->at = l->seen = l->data.n; /* nothing of it is kept */
        if (read_more(l, e) < 0 || find_end(l, &end, &more, e) != 0) return -1;
    }
    l->at = l->seen = end + more;
    return 0;
}

enum lines_got lines_next(struct lines *l, struct str *line, struct err *e) {
    size_t end;
    bool more;
    *line = STR("");
    if (find_end(l, &end, &more, e) != 0) return LINES_FAILED;
    if (end == l->at && !more) return LINES_END;
    if (l->number == INT_MAX) {
        err_set(e, ERR_LIMIT, "%s: more than the %d lines that are accepted", l->path, INT_MAX);
        return LINES_FAILED;
    }
    l->number++;
    if (end - l->at > LINES_MAX_BYTES) {
        if (!more && skip_rest(l, e) != 0) return LINES_FAILED;
        if (more) l->at = l->seen = end + 1;
        return LINES_LONG;
    }
    *line = (struct str){l->data.p + l->at, end - l->at};
    if (l->number == 1 && str_starts(*line, STR("\xef\xbb\xbf"))) line->p += 3, line->n -= 3;
    if (line->n > 0 && line->p[line->n - 1] == '\r') line->n--;
    l->at = l->seen = end + more;
    return LINES_LINE;
}

int lines_digest(struct lines *l, uint8_t out[SHA256_BYTES], struct err *e) {
    return sha256_final(&l->sum, out) == 0 ? 0 : err_nomem(e, l->path);
}
