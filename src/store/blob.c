/* Blobs written, added, read, finished after a download (store.h).
 *
 *   bytes -> blobs/cria-tmp-... and a hash -> fsync -> lease -> rename to sha256-<hex> -> fsync of
 * the folder
 *
 * A temporary file is locked while its writer lives, so that a collection knows what a dead process
 * left behind.  The final name never holds bytes that were not hashed. */
#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/sha256.h"
#include "store/store_priv.h"

enum { CHUNK = 1 << 20 };

/* ---- looking ---- */

int open_regular(const char *path, struct stat *st, struct err *e) {
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        if (errno == ENXIO)
            return err_set(e, ERR_FORMAT, "%s: no regular file; one is needed", path);
        return err_errno(e, path);
    }
    if (fstat(fd, st) == 0 && S_ISREG(st->st_mode)) return fd;
    err_set(e, ERR_FORMAT, "%s: no regular file; one is needed", path);
    close(fd);
    return -1;
}

static int no_blob(const struct digest *d, struct err *e) {
    return err_set(e, ERR_NOT_FOUND, "blob sha256:%s is not in the store", d->hex);
}

/* The blob's own file.  1: there is one; 0: none. */
static int stat_blob(const struct store *s, const struct digest *d, struct stat *st,
                     struct err *e) {
    char name[BLOB_NAME];
    struct err err;
    blob_name(d, name);
    const int dir = store_dir(s, DIR_BLOBS, false, &err);
    if (dir < 0) return err.code == ERR_NOT_FOUND ? 0 : err_set(e, err.code, "%s", err.msg);
    int rc = fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) == 0 ? 1 : 0;
    if (rc == 0 && errno != ENOENT) rc = store_fail(s, DIR_BLOBS, name, e);
    close(dir);
    if (rc == 1 && !S_ISREG(st->st_mode))
        return err_set(e, ERR_FORMAT, "blob sha256:%s: no regular file", d->hex);
    return rc;
}

int store_blob(struct store *s, const struct digest *d, char path[STORE_PATH], uint64_t *n_bytes,
               struct err *e) {
    struct stat st;
    char name[BLOB_NAME];
    uint64_t size = 0;
    int rc = d->hex[0] ? stat_blob(s, d, &st, e) : no_blob(d, e);
    if (rc == 1) {
        blob_name(d, name);
        store_path(s, DIR_BLOBS, name, path);
        size = (uint64_t)st.st_size;
    } else if (rc == 0) {
        rc = store_link_get(s, d, path, &size, e);
        if (rc == 0) rc = no_blob(d, e);
    }
    if (rc < 0) return -1;
    if (n_bytes) *n_bytes = size;
    return 0;
}

bool store_has_blob(struct store *s, const struct digest *d, uint64_t n_bytes) {
    char path[STORE_PATH];
    uint64_t size;
    return store_blob(s, d, path, &size, NULL) == 0 && size == n_bytes;
}

int blob_open(struct store *s, const struct digest *d, struct stat *st, struct err *e) {
    char name[BLOB_NAME], path[STORE_PATH];
    uint64_t size;
    const int own = stat_blob(s, d, st, e);
    if (own < 0) return -1;
    if (own == 0) {
        const int rc = store_link_get(s, d, path, &size, e);
        if (rc > 0) return open_regular(path, st, e);
        return rc == 0 ? no_blob(d, e) : -1;
    }
    blob_name(d, name);
    const int dir = store_dir(s, DIR_BLOBS, false, e);
    if (dir < 0) return -1;
    const int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 || fstat(fd, st) != 0) store_fail(s, DIR_BLOBS, name, e);
    close(dir);
    return fd;
}

int store_read_blob(struct store *s, const struct digest *d, size_t max_bytes, struct buf *out,
                    struct err *e) {
    struct stat st;
    const int fd = blob_open(s, d, &st, e);
    if (fd < 0) return -1;
    int rc = 0;
    if ((uint64_t)st.st_size > max_bytes)
        rc = err_set(e, ERR_LIMIT, "blob sha256:%s: %lld bytes; at most %zu are accepted here",
                     d->hex, (long long)st.st_size, max_bytes);
    char *at = rc == 0 ? buf_room(out, (size_t)st.st_size) : NULL;
    if (rc == 0 && !at) rc = err_nomem(e, "blob");
    for (size_t n = 0; rc == 0 && n < (size_t)st.st_size;) {
        const ssize_t k = read(fd, at + n, (size_t)st.st_size - n);
        if (k < 0 && errno == EINTR) continue;
        if (k <= 0) rc = k < 0 ? err_errno(e, d->hex) : err_set(e, ERR_IO, "%s: cut short", d->hex);
        if (k > 0) n += (size_t)k, out->n += (size_t)k;
    }
    if (at) out->p[out->n] = 0;
    close(fd);
    return rc;
}

/* ---- a file being written ---- */

struct blob_writer {
    struct lease *lease;
    int fd, dir; /* owned: the file, locked, and the folder blobs */
    char name[TEMP_NAME];
    struct sha256 hash;
    struct digest expect; /* hex empty: any */
    uint64_t n_bytes;     /* said to come; 0: not known */
};

/* Under the store's lock: a collection must not see the file before it is locked. */
static int open_temp(struct blob_writer *w, const struct store *s, struct err *e) {
    const int lock = store_lock(s, STORE_SHARED, e);
    if (lock < 0) return -1;
    int rc = -1;
    w->dir = store_dir(s, DIR_BLOBS, true, e);
    if (w->dir >= 0 && temp_name(TEMP_PREFIX, w->name, e) == 0) {
        w->fd = openat(w->dir, w->name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
        rc = w->fd >= 0 && flock(w->fd, LOCK_EX | LOCK_NB) == 0
                 ? 0
                 : store_fail(s, DIR_BLOBS, w->name, e);
    }
    close(lock);
    return rc;
}

static int check_room(const struct blob_writer *w, const struct store *s, struct err *e) {
    struct statvfs v;
    if (w->n_bytes == 0 || fstatvfs(w->dir, &v) != 0) return 0;
    const uint64_t room = (uint64_t)v.f_bavail * v.f_frsize;
    if (room >= w->n_bytes) return 0;
    return err_set(e, ERR_LIMIT, "%s: no room on the disk: needs %.1f MB, %.1f MB free",
                   store_root(s), (double)w->n_bytes * 1e-6, (double)room * 1e-6);
}

struct blob_writer *blob_writer_new(struct lease *l, const struct digest *expect, uint64_t n_bytes,
                                    struct err *e) {
    struct blob_writer *w = calloc(1, sizeof *w);
    if (!w) {
        err_nomem(e, "blob");
        return NULL;
    }
    *w = (struct blob_writer){.lease = l, .fd = -1, .dir = -1, .n_bytes = n_bytes};
    if (expect) w->expect = *expect;
    sha256_init(&w->hash);
    if ((!expect || store_lease_add(l, expect, e) == 0) && open_temp(w, lease_store(l), e) == 0 &&
        check_room(w, lease_store(l), e) == 0)
        return w;
    blob_writer_abort(w);
    return NULL;
}

void blob_writer_abort(struct blob_writer *w) {
    uint8_t unused[SHA256_BYTES];
    if (!w) return;
    sha256_final(&w->hash, unused);
    if (w->fd >= 0) {
        unlinkat(w->dir, w->name, 0);
        close(w->fd);
    }
    if (w->dir >= 0) close(w->dir);
    free(w);
}

int blob_writer_add(struct blob_writer *w, const void *bytes, size_t n, struct err *e) {
    if (write_fully(w->fd, bytes, n) != 0)
        return store_fail(lease_store(w->lease), DIR_BLOBS, w->name, e);
    sha256_add(&w->hash, bytes, n);
    return 0;
}

/* Give the file the name of what it holds. */
static int put_in_place(struct blob_writer *w, const struct digest *d, struct err *e) {
    char name[BLOB_NAME];
    blob_name(d, name);
    if (!w->expect.hex[0] && store_lease_add(w->lease, d, e) != 0) return -1;
    /* 0444: what is named by its bytes must not change; replacing needs the folder only. */
    if (fchmod(w->fd, 0444) != 0 || fsync(w->fd) != 0 ||
        renameat(w->dir, w->name, w->dir, name) != 0 || fsync(w->dir) != 0)
        return store_fail(lease_store(w->lease), DIR_BLOBS, name, e);
    close(w->fd);
    w->fd = -1; /* nothing left to unlink */
    return 0;
}

/* Its hash is known: check and name it. */
static int settle(struct blob_writer *w, const struct digest *got, struct digest *out,
                  struct err *e) {
    int rc = 0;
    if (w->expect.hex[0] && !digest_eq(&w->expect, got))
        rc = err_set(e, ERR_FORMAT, "digest mismatch, expected \"sha256:%s\", got \"sha256:%s\"",
                     w->expect.hex, got->hex);
    if (rc == 0) rc = put_in_place(w, got, e);
    if (rc == 0 && out) *out = *got;
    return rc;
}

int blob_writer_finish(struct blob_writer *w, struct digest *out, struct err *e) {
    uint8_t hash[SHA256_BYTES];
    struct digest got = {0};
    int rc = sha256_final(&w->hash, hash) == 0 ? 0 : err_nomem(e, "blob");
    if (rc == 0) digest_from_hash(hash, &got);
    if (rc == 0) rc = settle(w, &got, out, e);
    blob_writer_abort(w);
    return rc;
}

int store_write_blob(struct lease *l, const void *bytes, size_t n, struct digest *out,
                     struct err *e) {
    struct digest d;
    if (digest_of(bytes, n, &d, e) != 0) return -1;
    struct blob_writer *w = blob_writer_new(l, &d, n, e);
    if (!w) return -1;
    if (blob_writer_add(w, bytes, n, e) == 0) return blob_writer_finish(w, out, e);
    blob_writer_abort(w);
    return -1;
}

/* ---- files of the user ---- */

int hash_file(int fd, const char *where, uint64_t n_bytes, struct digest *out,
              store_progress_fn *progress, void *ctx, struct err *e) {
    uint8_t sum[SHA256_BYTES];
    struct sha256 hash;
    char *chunk = malloc(CHUNK);
    if (!chunk) return err_nomem(e, where);
    sha256_init(&hash);
    int rc = 0;
    uint64_t at = 0;
    while (rc == 0) {
        const ssize_t n = pread(fd, chunk, CHUNK, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) rc = err_errno(e, where);
        if (n <= 0) break;
        sha256_add(&hash, chunk, (size_t)n);
        at += (uint64_t)n;
        if (progress && progress(ctx, at, n_bytes) != 0)
            rc = err_set(e, ERR_CANCELLED, "interrupted");
    }
    free(chunk);
    if (sha256_final(&hash, sum) != 0 && rc == 0) rc = err_nomem(e, where);
    if (rc == 0) digest_from_hash(sum, out);
    return rc;
}

/* Read, write and hash in one pass. */
static int copy_bytes(struct blob_writer *w, int from, const char *where,
                      store_progress_fn *progress, void *ctx, struct err *e) {
    char *chunk = malloc(CHUNK);
    if (!chunk) return err_nomem(e, where);
    int rc = 0;
    uint64_t done = 0;
    while (rc == 0) {
        const ssize_t n = read(from, chunk, CHUNK);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) rc = err_errno(e, where);
        if (n <= 0) break;
        rc = blob_writer_add(w, chunk, (size_t)n, e);
        done += (uint64_t)n;
        if (rc == 0 && progress && progress(ctx, done, w->n_bytes) != 0)
            rc = err_set(e, ERR_CANCELLED, "interrupted");
    }
    free(chunk);
    return rc;
}

/* A clone shares the extents of the file and needs no room: it is made before room is asked for.
 * What is hashed is the clone, which nobody else writes to. */
static int copy_file(struct lease *l, int from, const char *path, uint64_t size, struct digest *out,
                     uint64_t *n_bytes, store_progress_fn *progress, void *ctx, struct err *e) {
    struct blob_writer *w = blob_writer_new(l, NULL, 0, e);
    struct digest got;
    struct stat st;
    if (!w) return -1;
    w->n_bytes = size;
    int rc;
    if (ioctl(w->fd, FICLONE, from) == 0) {
        rc = hash_file(w->fd, path, size, &got, progress, ctx, e);
        if (rc == 0 && fstat(w->fd, &st) == 0) *n_bytes = (uint64_t)st.st_size;
        if (rc == 0) rc = settle(w, &got, out, e);
        blob_writer_abort(w);
        return rc;
    }
    rc = check_room(w, lease_store(l), e);
    if (rc == 0) rc = copy_bytes(w, from, path, progress, ctx, e);
    if (rc == 0 && fstat(w->fd, &st) == 0) *n_bytes = (uint64_t)st.st_size;
    if (rc == 0) return blob_writer_finish(w, out, e);
    blob_writer_abort(w);
    return rc;
}

/* 1: it must be copied, since it is on another file system. */
static int move_file(struct lease *l, int fd, const char *path, uint64_t size, struct digest *out,
                     store_progress_fn *progress, void *ctx, struct err *e) {
    char name[BLOB_NAME];
    const struct store *s = lease_store(l);
    if (hash_file(fd, path, size, out, progress, ctx, e) != 0) return -1;
    if (fchmod(fd, 0444) != 0 || fsync(fd) != 0) return err_errno(e, path);
    if (store_lease_add(l, out, e) != 0) return -1;
    const int dir = store_dir(s, DIR_BLOBS, true, e);
    if (dir < 0) return -1;
    blob_name(out, name);
    int rc = renameat(AT_FDCWD, path, dir, name);
    if (rc != 0 && errno == EXDEV)
        rc = 1;
    else if (rc != 0 || fsync(dir) != 0)
        rc = store_fail(s, DIR_BLOBS, name, e);
    close(dir);
    return rc;
}

int store_add_file(struct lease *l, const char *path, enum store_add how, struct digest *out,
                   uint64_t *n_bytes, store_progress_fn *progress, void *ctx, struct err *e) {
    struct stat st;
    uint64_t size = 0;
    struct digest d = {0};
    int rc;
    if (how == STORE_LINK)
        rc = store_link_put(l, path, &d, &size, progress, ctx, e);
    else {
        const int fd = open_regular(path, &st, e);
        if (fd < 0) return -1;
        size = (uint64_t)st.st_size;
        rc = how == STORE_MOVE ? move_file(l, fd, path, size, &d, progress, ctx, e) : 1;
        if (rc == 1) {
            rc = copy_file(l, fd, path, size, &d, &size, progress, ctx, e);
            if (rc == 0 && how == STORE_MOVE) unlink(path);
        }
        close(fd);
    }
    if (rc == 0 && out) *out = d;
    if (rc == 0 && n_bytes) *n_bytes = size;
    return rc;
}

/* ---- downloads ---- */

/* "sha256-<hex>-partial" or "sha256-<hex>-partial-<part>" */
static void partial_name(const struct digest *d, int part, char out[BLOB_NAME + 24]) {
    char blob[BLOB_NAME], number[16] = "";
    blob_name(d, blob);
    if (part >= 0) snprintf(number, sizeof number, "-%d", part);
    snprintf(out, BLOB_NAME + 24, "%s-partial%s", blob, number);
}

void store_partial_path(const struct store *s, const struct digest *d, int part,
                        char path[STORE_PATH]) {
    char name[BLOB_NAME + 24];
    partial_name(d, part, name);
    store_path(s, DIR_BLOBS, name, path);
}

/* The states of the parts are numbered from 0 without gaps. */
static void remove_parts(int dir, const struct digest *d) {
    char name[BLOB_NAME + 24];
    for (int part = 0; part < 1 << 20; part++) {
        partial_name(d, part, name);
        if (unlinkat(dir, name, 0) != 0) break;
    }
}

static int name_partial(int dir, const char *partial, const char *name) {
    const int fd = openat(dir, partial, O_RDWR | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return -1;
    int rc = fchmod(fd, 0444) == 0 && fsync(fd) == 0 ? renameat(dir, partial, dir, name) : -1;
    if (rc == 0) rc = fsync(dir);
    const int saved = errno;
    close(fd);
    errno = saved;
    return rc;
}

static int mismatch(const struct digest *want, const struct digest *got, struct err *e) {
    return err_set(e, ERR_FORMAT,
                   "digest mismatch, file must be downloaded again: want sha256:%s, got sha256:%s",
                   want->hex, got->hex);
}

int store_finish_partial(struct lease *l, const struct digest *d, const struct digest *got,
                         struct err *e) {
    char name[BLOB_NAME], partial[BLOB_NAME + 24];
    const struct store *s = lease_store(l);
    if (store_lease_add(l, d, e) != 0) return -1;
    const int dir = store_dir(s, DIR_BLOBS, false, e);
    if (dir < 0) return -1;
    blob_name(d, name);
    partial_name(d, -1, partial);
    int rc;
    if (!digest_eq(d, got)) {
        unlinkat(dir, partial, 0);
        rc = mismatch(d, got, e);
    } else {
        rc = name_partial(dir, partial, name);
        if (rc != 0) rc = store_fail(s, DIR_BLOBS, partial, e);
    }
    if (rc == 0 || !digest_eq(d, got)) remove_parts(dir, d);
    close(dir);
    return rc;
}
