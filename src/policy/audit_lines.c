/* The audit log as JSON lines: audit_store.h.
 *
 * A crash cuts a write anywhere.  What it leaves behind the last whole entry stays where it is, is
 * ended with a line end, and the next entry says so: {"type":"torn","bytes","sha256"}.  Whole
 * entries of that batch are taken as they are. */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "policy/audit_entry.h"
#include "policy/audit_store.h"

enum { WINDOW = 1 << 20 };

static const char HEAD[] = "{\"seq\":";

struct lines {
    int fd, head;   /* owned */
    uint64_t bytes; /* of whole batches */
    bool cut;       /* the line end in front of the next one is missing */
    bool dirty;     /* there is more than `bytes`, which could not be taken away */
};

/* ---- the end of what is there ---- */

/* Read [from, to) of fd. */
static int read_part(const char *name, int fd, uint64_t from, uint64_t to, struct buf *b,
                     struct err *e) {
    buf_reset(b);
    char *at = buf_room(b, (size_t)(to - from));
    if (!at) return err_nomem(e, name);
    while (from < to) {
        const ssize_t n = pread(fd, b->p + b->n, (size_t)(to - from), (off_t)from);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return n < 0 ? err_errno(e, name) : err_set(e, ERR_IO, "%s: it shrinks", name);
        from += (uint64_t)n;
        b->n += (size_t)n;
    }
    return 0;
}

/* The line that ends before p[end] (a line end, or the end of all); *begin is where it begins. */
static struct str line_before(const struct buf *b, size_t end, size_t *begin) {
    const char *nl = end ? memrchr(b->p, '\n', end) : NULL;
    *begin = nl ? (size_t)(nl - b->p) + 1 : 0;
    return (struct str){b->p + *begin, end - *begin};
}

/* The hash that the first line of a file must follow; false: it does not say so itself. */
static bool first_prev(const struct audit_line *l, uint8_t prev[SHA256_BYTES]) {
    struct audit_checkpoint c;
    if (l->seq == 1) {
        memset(prev, 0, SHA256_BYTES);
        return true;
    }
    if (!audit_line_checkpoint(l, &c) || c.through + 1 != l->seq) return false;
    memcpy(prev, c.hash, SHA256_BYTES);
    return true;
}

/* Does the line at p[begin, at) follow the one before it? */
static bool follows_there(const struct buf *b, size_t begin, size_t at, struct audit_line *l) {
    struct audit_line before;
    uint8_t prev[SHA256_BYTES];
    size_t unused;
    if (!audit_line_parse((struct str){b->p + begin, at - begin}, l)) return false;
    if (begin == 0) return first_prev(l, prev) && audit_line_follows(l, prev);
    if (!audit_line_parse(line_before(b, begin - 1, &unused), &before))
        return audit_line_is(l, "torn"); /* what it follows stands before the torn bytes */
    return before.seq + 1 == l->seq && audit_line_follows(l, before.hash);
}

/* Find the last entry in a window of the file that follows the one before it; *end is behind its
 * last byte.  False: not in this window. */
static bool find_last(const struct buf *b, bool from_start, struct audit_line *out, size_t *end) {
    size_t at = b->n, begin;
    if (at && b->p[at - 1] == '\n') at--;
    for (;; at = begin - 1) {
        line_before(b, at, &begin);
        /* The window's first line may be cut, and be the one that the second follows. */
        const bool sure = from_start || (begin && memrchr(b->p, '\n', begin - 1));
        if (!sure) return false;
        if (follows_there(b, begin, at, out)) {
            *end = at;
            return true;
        }
        if (begin == 0) return false;
    }
}

/* What a crash left behind the last whole entry: p[from, to) of a file's window. */
static int note_torn(const char *file, const struct buf *b, size_t from, struct audit_end *end,
                     struct err *e) {
    struct sha256 s;
    end->torn_bytes = b->n - from;
    if (end->torn_bytes && b->p[b->n - 1] == '\n') end->torn_bytes--;
    sha256_init(&s);
    sha256_add(&s, b->p + from, (size_t)end->torn_bytes);
    return sha256_final(&s, end->torn_hash) == 0 ? 0 : err_nomem(e, file);
}

/* How a file ends: end->seq 0 when there is no entry in it.  *cut: without a line end. */
static int file_end(const char *file, int fd, struct audit_end *end, uint64_t *size, bool *cut,
                    struct err *e) {
    struct buf b = {0};
    struct stat st;
    struct audit_line l;
    size_t at = 0;
    bool found = false;
    int rc = fstat(fd, &st) == 0 ? 0 : err_errno(e, file);
    uint64_t from = *size = rc == 0 ? (uint64_t)st.st_size : 0;
    for (uint64_t window = WINDOW; rc == 0 && !found && from > 0; window *= 4) {
        from = *size > window ? *size - window : 0;
        rc = read_part(file, fd, from, *size, &b, e);
        if (rc == 0) found = find_last(&b, from == 0, &l, &at);
    }
    *cut = rc == 0 && b.n && b.p[b.n - 1] != '\n';
    if (rc == 0 && found) {
        end->seq = l.seq;
        end->stopped = audit_line_is(&l, "stop");
        end->hmac = l.hmac != NULL, end->sig = l.sig != NULL;
        memcpy(end->hash, l.hash, SHA256_BYTES);
        rc = note_torn(file, &b, at < b.n ? at + 1 : at, end, e);
    } else if (rc == 0 && *size) { /* a first batch that was cut within its first entry */
        const size_t n = b.n < sizeof HEAD - 1 ? b.n : sizeof HEAD - 1;
        rc = memcmp(b.p, HEAD, n) == 0
                 ? note_torn(file, &b, 0, end, e)
                 : err_set(e, ERR_FORMAT, "%s: found no audit log in it", file);
    }
    if (rc == 0 && end->torn_bytes) end->stopped = false;
    buf_fini(&b);
    return rc;
}

/* The last entry of the newest rotated file; end->seq stays 0 without one. */
static int segment_end(const char *path, struct audit_end *end, struct err *e) {
    uint64_t *seq, size;
    int n;
    bool cut;
    char name[AUDIT_PATH];
    if (audit_segments(path, &seq, &n, e) != 0) return -1;
    int rc = 0;
    if (n) {
        audit_segment_path(path, seq[n - 1], name);
        const int fd = open(name, O_RDONLY | O_CLOEXEC);
        rc = fd < 0 ? err_errno(e, name) : file_end(name, fd, end, &size, &cut, e);
        if (fd >= 0) close(fd);
        if (rc == 0 && (end->seq != seq[n - 1] || end->torn_bytes))
            rc =
                err_set(e, ERR_FORMAT, "%s: its last entry is not the one it is named after", name);
    }
    free(seq);
    return rc;
}

/* ---- the file ---- */

static void put_head(const struct lines *f, uint64_t seq, const uint8_t hash[SHA256_BYTES]) {
    char text[AUDIT_SEQ_TEXT + 2 * SHA256_BYTES + 2];
    int n = snprintf(text, sizeof text, "%020llu ", (unsigned long long)seq);
    for (int i = 0; i < SHA256_BYTES; i++)
        n += snprintf(text + n, sizeof text - (size_t)n, "%02x", hash[i]);
    text[n++] = '\n';
    /* It helps to find what was dropped; the entries themselves are on the disk. */
    if (pwrite(f->head, text, (size_t)n, 0) != n) errno = 0;
}

/* Those that are not open. */
static int open_files(struct audit_store *s, struct lines *f, struct err *e) {
    char name[AUDIT_PATH];
    const int flags = O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW;
    snprintf(name, sizeof name, "%s.head", s->path);
    if (f->fd < 0) f->fd = open(s->path, flags | O_APPEND, 0600);
    if (f->fd < 0) return err_errno(e, s->path);
    if (f->head < 0) f->head = open(name, flags, 0600);
    return f->head < 0 ? err_errno(e, name) : 0;
}

static int open_lines(struct audit_store *s, struct audit_end *end, struct err *e) {
    struct audit_end here = {.stopped = true};
    uint64_t head;
    uint8_t hash[SHA256_BYTES];
    struct lines *f = calloc(1, sizeof *f);
    if (!f) return err_nomem(e, s->path);
    *f = (struct lines){.fd = -1, .head = -1};
    s->data = f;
    if (open_files(s, f, e) != 0) return -1;
    os_sync_folder(s->path); /* the names, too, outlive a power cut */
    if (file_end(s->path, f->fd, &here, &f->bytes, &f->cut, e) != 0) return -1;
    *end = here;
    if (here.seq == 0) {
        struct audit_end before = {.stopped = true};
        if (segment_end(s->path, &before, e) != 0) return -1;
        end->seq = before.seq;
        end->stopped = before.stopped && !here.torn_bytes;
        end->hmac = before.hmac, end->sig = before.sig;
        memcpy(end->hash, before.hash, SHA256_BYTES);
    }
    if (audit_head_read(s->path, &head, hash) && head > end->seq)
        return err_set(
            e, ERR_FORMAT,
            "%s: its head knows entry %llu, the last whole one is %llu; no crash does that",
            s->path, (unsigned long long)head, (unsigned long long)end->seq);
    return 0;
}

static void close_lines(struct audit_store *s) {
    struct lines *f = s->data;
    if (f->fd >= 0) close(f->fd);
    if (f->head >= 0) close(f->head);
    free(f);
}

/* Back to the last whole batch; what cannot be taken away is tried again before the next one. */
static void take_back(struct lines *f) {
    const int kept = errno;
    f->dirty = ftruncate(f->fd, (off_t)f->bytes) != 0;
    errno = kept;
}

static int write_all(const struct audit_store *s, const struct buf *b, struct err *e) {
    const struct lines *f = s->data;
    size_t done = 0;
    while (done < b->n) { /* once, but on a full disk */
        const ssize_t n = write(f->fd, b->p + done, b->n - done);
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0) return err_errno(e, s->path);
        done += (size_t)n;
    }
    return fdatasync(f->fd) == 0 ? 0 : err_errno(e, s->path);
}

static int append(struct audit_store *s, const struct buf *line, int n, uint64_t seq,
                  const uint8_t hash[SHA256_BYTES], struct err *e) {
    struct lines *f = s->data;
    struct buf b = {0};
    if (open_files(s, f, e) != 0) return -1; /* a new one that could not be opened before */
    if (f->dirty) take_back(f);
    if (f->dirty) return err_errno(e, s->path);
    if (f->cut) buf_byte(&b, '\n');
    for (int i = 0; i < n; i++) {
        buf_append(&b, line[i].p, line[i].n);
        buf_byte(&b, '\n');
    }
    int rc = b.failed ? err_nomem(e, s->path) : write_all(s, &b, e);
    if (rc == 0) {
        f->bytes += b.n;
        f->cut = false;
        put_head(f, seq, hash);
    } else {
        take_back(f);
    }
    buf_fini(&b);
    return rc;
}

/* A crash in between leaves no file, or an empty one: open goes on behind the last rotated one. */
static int rotate(struct audit_store *s, uint64_t seq, struct err *e) {
    struct lines *f = s->data;
    char name[AUDIT_PATH];
    audit_segment_path(s->path, seq, name);
    if (f->dirty || f->cut) return 0; /* not while its end is not in order */
    if (rename(s->path, name) != 0) return err_errno(e, s->path);
    close(f->fd);
    f->fd = -1;
    f->bytes = 0;
    if (open_files(s, f, e) != 0) return -1;
    os_sync_folder(s->path);
    return 0;
}

/* ---- pruning ---- */

/* Where the first entry behind `through` begins. */
static int find_offset(const char *path, uint64_t through, uint64_t *offset, struct err *e) {
    FILE *in = fopen(path, "re");
    char *line = NULL;
    size_t cap = 0;
    ssize_t n;
    if (!in) return err_errno(e, path);
    *offset = 0;
    while ((n = getline(&line, &cap, in)) > 0) {
        struct audit_line l;
        const size_t len = (size_t)n - (line[n - 1] == '\n');
        if (audit_line_parse((struct str){line, len}, &l) && l.seq > through) break;
        *offset += (uint64_t)n;
    }
    free(line);
    const int rc = ferror(in) ? err_errno(e, path) : 0;
    fclose(in);
    return rc;
}

static int write_whole(int fd, const char *p, size_t n) {
    while (n) {
        const ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) return -1;
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

static int copy_part(int in, int out, uint64_t from, uint64_t to) {
    char piece[64 << 10];
    while (from < to) {
        const size_t most = to - from < sizeof piece ? (size_t)(to - from) : sizeof piece;
        const ssize_t n = pread(in, piece, most, (off_t)from);
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) errno = EIO; /* it shrinks */
        if (n <= 0 || write_whole(out, piece, (size_t)n) != 0) return -1;
        from += (uint64_t)n;
    }
    return 0;
}

/* The same owner and mode: root may prune what another user's server writes. */
static int copy_owner(int in, int out) {
    struct stat st;
    if (fstat(in, &st) != 0 || fchmod(out, st.st_mode & 0777) != 0) return -1;
    return st.st_uid == geteuid() ? 0 : fchown(out, st.st_uid, st.st_gid);
}

/* What stands in [offset, end), as a new file in its place. */
static int keep_part(const char *name, uint64_t offset, uint64_t end, struct err *e) {
    char temp[AUDIT_PATH + 8];
    snprintf(temp, sizeof temp, "%s.XXXXXX", name);
    const int in = open(name, O_RDONLY | O_CLOEXEC), out = in < 0 ? -1 : mkostemp(temp, O_CLOEXEC);
    int rc = out < 0 ? -1 : copy_owner(in, out);
    if (rc == 0) rc = copy_part(in, out, offset, end);
    if (rc == 0) rc = fsync(out);
    if (rc == 0) rc = rename(temp, name);
    if (rc == 0) rc = os_sync_folder(name);
    if (rc != 0) err_errno(e, name);
    if (rc != 0 && out >= 0) unlink(temp);
    if (out >= 0) close(out);
    if (in >= 0) close(in);
    return rc;
}

static int keep_rest(struct audit_store *s, uint64_t offset, struct err *e) {
    struct lines *f = s->data;
    if (keep_part(s->path, offset, f->bytes, e) != 0) return -1;
    close(f->fd);
    f->fd = -1;
    f->bytes -= offset;
    f->dirty = false;
    return open_files(s, f, e);
}

static int drop(struct audit_store *s, uint64_t through, struct err *e) {
    uint64_t *seq, offset = 0;
    int n, rc = audit_segments(s->path, &seq, &n, e);
    if (rc != 0) return -1;
    char name[AUDIT_PATH];
    for (int i = 0; rc == 0 && i < n; i++) {
        audit_segment_path(s->path, seq[i], name);
        if (seq[i] <= through) {
            if (unlink(name) != 0) rc = err_errno(e, name);
            continue;
        }
        struct stat st;
        rc = find_offset(name, through, &offset, e);
        if (rc == 0 && stat(name, &st) != 0) rc = err_errno(e, name);
        if (rc == 0 && offset) rc = keep_part(name, offset, (uint64_t)st.st_size, e);
        free(seq);
        return rc;
    }
    free(seq);
    if (rc == 0) rc = find_offset(s->path, through, &offset, e);
    return rc == 0 && offset ? keep_rest(s, offset, e) : rc;
}

static uint64_t bytes(const struct audit_store *s) {
    const struct lines *f = s->data;
    return f->bytes;
}

const struct audit_store_kind audit_kind_lines = {.open = open_lines,
                                                  .append = append,
                                                  .rotate = rotate,
                                                  .drop = drop,
                                                  .bytes = bytes,
                                                  .close = close_lines};
