/* Blobs that are notes of a user's file, .cria/links/sha256-<hex>: {"path", "size", "mtime_ns"}.
 * The file stays where it is.  It is used as long as it has the size and the time of change that it
 * had when it was hashed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/json.h"
#include "store/store_priv.h"

enum { MAX_NOTE = 16384, MAX_VALUES = 32 };

static int64_t mtime_ns(const struct stat *st) {
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

/* The note's text.  1: there is one; 0: none. */
static int read_note(const struct store *s, const char *name, struct buf *out, struct err *e) {
    struct err err;
    const int dir = store_dir(s, DIR_LINKS, false, &err);
    if (dir < 0) return err.code == ERR_NOT_FOUND ? 0 : err_set(e, err.code, "%s", err.msg);
    const int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    const int saved = errno;
    close(dir);
    errno = saved;
    if (fd < 0) return errno == ENOENT ? 0 : store_fail(s, DIR_LINKS, name, e);
    char *at = buf_room(out, MAX_NOTE);
    const ssize_t n = at ? read(fd, at, MAX_NOTE) : -1;
    int rc = 1;
    if (n > 0)
        out->n = (size_t)n;
    else
        rc = n < 0 ? store_fail(s, DIR_LINKS, name, e)
                   : err_set(e, ERR_FORMAT, "link %s: the note is empty", name);
    close(fd);
    return rc;
}

static int check_file(const json_t *note, const char *name, char path[STORE_PATH],
                      uint64_t *n_bytes, struct err *e) {
    const json_t *text = json_object_get(note, "path"), *size = json_object_get(note, "size"),
                 *mtime = json_object_get(note, "mtime_ns");
    const char *p = json_string_value(text);
    struct stat st;
    if (!p || p[0] != '/' || strlen(p) >= STORE_PATH || !json_is_integer(size) ||
        !json_is_integer(mtime))
        return err_set(e, ERR_FORMAT, "link %s: no path, size and mtime_ns", name);
    memcpy(path, p, strlen(p) + 1);
    if (stat(path, &st) != 0)
        return err_set(e, ERR_NOT_FOUND, "%s: the file that a model links to: %s", path,
                       strerror(errno));
    if (!S_ISREG(st.st_mode) || st.st_size != json_integer_value(size) ||
        mtime_ns(&st) != json_integer_value(mtime))
        return err_set(e, ERR_FORMAT,
                       "%s: the file has changed since a model was linked to it; create it again",
                       path);
    *n_bytes = (uint64_t)st.st_size;
    return 1;
}

int store_link_get(const struct store *s, const struct digest *d, char path[STORE_PATH],
                   uint64_t *n_bytes, struct err *e) {
    char name[BLOB_NAME];
    struct buf text = {0};
    blob_name(d, name);
    int rc = read_note(s, name, &text, e);
    if (rc > 0) {
        json_t *note = json_read_object(name, buf_view(&text), MAX_VALUES, e);
        rc = note ? check_file(note, name, path, n_bytes, e) : -1;
        json_decref(note);
    }
    buf_fini(&text);
    return rc;
}

int store_each_link(const struct store *s, void (*fn)(void *ctx, const char *path), void *ctx,
                    struct err *e) {
    struct err why;
    const int dir = store_dir(s, DIR_LINKS, false, &why);
    if (dir < 0) return why.code == ERR_NOT_FOUND ? 0 : err_set(e, why.code, "%s", why.msg);
    DIR *d = store_read_dir(dir, e, "links");
    if (!d) return -1;
    for (struct dirent *f; (f = readdir(d));) {
        struct digest digest;
        char path[STORE_PATH];
        uint64_t n_bytes;
        if (blob_name_parse(f->d_name, &digest) &&
            store_link_get(s, &digest, path, &n_bytes, &why) > 0)
            fn(ctx, path);
    }
    closedir(d);
    return 0;
}

/* Under the store's lock: to a collection a file that is not in place is one that was left. */
static int write_note(const struct store *s, const struct digest *d, struct str text,
                      struct err *e) {
    char name[BLOB_NAME], temp[TEMP_NAME];
    blob_name(d, name);
    if (temp_name(TEMP_PREFIX, temp, e) != 0) return -1;
    const int lock = store_lock(s, STORE_SHARED, e);
    const int dir = lock < 0 ? -1 : store_dir(s, DIR_LINKS, true, e);
    int rc = -1;
    if (dir >= 0) {
        const int fd =
            openat(dir, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
        rc = fd < 0 ? -1 : write_fully(fd, text.p, text.n);
        if (rc == 0) rc = fsync(fd);
        if (fd >= 0 && close(fd) != 0) rc = -1;
        if (rc == 0) rc = renameat(dir, temp, dir, name);
        if (rc == 0) rc = fsync(dir);
        if (rc != 0) store_fail(s, DIR_LINKS, name, e);
        if (rc != 0 && fd >= 0) unlinkat(dir, temp, 0);
        close(dir);
    }
    if (lock >= 0) close(lock);
    return rc;
}

static int note_text(const char *path, const struct stat *st, struct buf *out, struct err *e) {
    json_t *note = json_pack("{s:s, s:I, s:I}", "path", path, "size", (json_int_t)st->st_size,
                             "mtime_ns", (json_int_t)mtime_ns(st));
    if (!note) return err_set(e, ERR_USAGE, "%s: a path that is no UTF-8 cannot be linked", path);
    const int rc = json_append(path, note, out, e);
    json_decref(note);
    return rc;
}

int store_link_put(struct lease *l, const char *path, struct digest *out, uint64_t *n_bytes,
                   store_progress_fn *progress, void *ctx, struct err *e) {
    struct stat before, after;
    struct buf text = {0};
    char *full = realpath(path, NULL);
    if (!full) return err_errno(e, path);
    const int fd = open_regular(full, &before, e);
    int rc = fd < 0 ? -1 : hash_file(fd, full, (uint64_t)before.st_size, out, progress, ctx, e);
    if (rc == 0 && (fstat(fd, &after) != 0 || after.st_size != before.st_size ||
                    mtime_ns(&after) != mtime_ns(&before)))
        rc = err_set(e, ERR_FORMAT, "%s: the file changed while it was read", full);
    if (rc == 0) rc = note_text(full, &after, &text, e);
    if (rc == 0) rc = store_lease_add(l, out, e);
    if (rc == 0) rc = write_note(lease_store(l), out, buf_view(&text), e);
    if (rc == 0) *n_bytes = (uint64_t)after.st_size;
    if (fd >= 0) close(fd);
    buf_fini(&text);
    free(full);
    return rc;
}
