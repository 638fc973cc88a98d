/* Loading: blobs as they come, each into the store once its digest is right; then the models that
 * index.json names, once all of them are whole.  What no model of the archive needs, or came before
 * a failure, is taken out again.
 *
 * Inside a folder no symbolic link is followed: what is read is below it. */
#include "store/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "store/archive_index.h"
#include "store/store_priv.h"
#include "store/tar.h"

#define BLOBS "blobs/sha256/"
enum { PIECE_BYTES = 1 << 20 };

struct loader {
    struct store *s;
    struct lease *lease;
    const struct archive_opts *o;
    const char *from;
    int blobs; /* of a folder: blobs/sha256 in it; -1: a tar archive */
    struct buf index;
    struct digest_set added; /* blobs that were not in the store before */
    uint64_t done;
    char *piece; /* [PIECE_BYTES] */
};

/* ---- blobs ---- */

/* The bytes come from a tar archive (t) or a file (fd). */
static int copy(struct loader *x, struct tar_reader *t, int fd, struct blob_writer *w,
                struct err *e) {
    for (;;) {
        const int64_t k =
            t ? tar_read(t, x->piece, PIECE_BYTES, e) : read(fd, x->piece, PIECE_BYTES);
        if (k < 0 && !t && errno == EINTR) continue;
        if (k < 0) return t ? -1 : err_errno(e, x->from);
        if (k == 0) return 0;
        if (blob_writer_add(w, x->piece, (size_t)k, e) != 0) return -1;
        x->done += (uint64_t)k;
        if (x->o->progress && x->o->progress(x->o->ctx, x->done, 0) != 0)
            return err_set(e, ERR_CANCELLED, "load: interrupted");
    }
}

static int load_blob(struct loader *x, const struct digest *d, struct tar_reader *t, int fd,
                     uint64_t n_bytes, struct err *e) {
    if (store_lease_add(x->lease, d, e) != 0) return -1;
    if (store_has_blob(x->s, d, n_bytes)) return 0;
    struct blob_writer *w = blob_writer_new(x->lease, d, n_bytes, e);
    if (!w) return -1;
    if (copy(x, t, fd, w, e) != 0) {
        blob_writer_abort(w);
        return -1;
    }
    if (blob_writer_finish(w, NULL, e) != 0) return err_prefix(e, x->from);
    return digest_set_add(&x->added, d, e);
}

/* "blobs/sha256/<hex>"; false when the name is another. */
static bool blob_of(const char *name, struct digest *d) {
    char text[DIGEST_TEXT];
    if (strncmp(name, BLOBS, strlen(BLOBS)) != 0 || strlen(name) != strlen(BLOBS) + DIGEST_HEX)
        return false;
    snprintf(text, sizeof text, "sha256:%.64s", name + strlen(BLOBS));
    return digest_parse(str_of(text), d, NULL) == 0;
}

static int check_index_size(const struct loader *x, uint64_t n_bytes, struct err *e) {
    if (n_bytes <= INDEX_MAX_BYTES) return 0;
    return err_set(e, ERR_LIMIT, "%s: index.json has %llu bytes; at most %d are accepted", x->from,
                   (unsigned long long)n_bytes, INDEX_MAX_BYTES);
}

/* One only: what is kept in memory is bounded by it. */
static int read_index(struct loader *x, struct tar_reader *t, uint64_t n_bytes, struct err *e) {
    int64_t k;
    if (check_index_size(x, n_bytes, e) != 0) return -1;
    if (x->index.n) return err_set(e, ERR_FORMAT, "%s: index.json comes twice", x->from);
    while ((k = tar_read(t, x->piece, PIECE_BYTES, e)) > 0)
        buf_append(&x->index, x->piece, (size_t)k);
    return k < 0 ? -1 : 0;
}

static int read_tar(struct loader *x, struct tar_reader *t, struct err *e) {
    struct tar_member m;
    struct digest d;
    int rc;
    while ((rc = tar_next(t, &m, e)) > 0) {
        if (blob_of(m.name, &d)) {
            if (load_blob(x, &d, t, -1, m.n_bytes, e) != 0) return -1;
        } else if (strcmp(m.name, "index.json") == 0 && read_index(x, t, m.n_bytes, e) != 0) {
            return -1;
        }
    }
    return rc;
}

/* ---- folders ---- */

/* A regular file of the folder dir, called rel in messages. */
static int open_file(const struct loader *x, int dir, const char *name, const char *rel,
                     struct stat *st, struct err *e) {
    char path[STORE_PATH];
    snprintf(path, sizeof path, "%s/%s%s", x->from, rel, name);
    const int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOFOLLOW);
    if (fd < 0 && errno == ELOOP)
        return err_set(e, ERR_FORMAT, "%s: a symbolic link; files are accepted", path);
    if (fd < 0) return err_errno(e, path);
    if (fstat(fd, st) == 0 && S_ISREG(st->st_mode)) return fd;
    close(fd);
    return err_set(e, ERR_FORMAT, "%s: no regular file", path);
}

static int open_folder(const struct loader *x, int dir, const char *name, struct err *e) {
    const int fd = openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
    if (fd >= 0) return fd;
    if (errno == ENOTDIR || errno == ELOOP)
        return err_set(e, ERR_FORMAT, "%s: \"%s\" in it is no folder", x->from, name);
    err_errno(e, name);
    return err_prefix(e, x->from);
}

static int fetch_file(struct loader *x, const struct digest *d, uint64_t n_bytes, struct err *e) {
    struct stat st;
    const int fd = open_file(x, x->blobs, d->hex, BLOBS, &st, e);
    if (fd < 0) return -1;
    int rc = 0;
    if ((uint64_t)st.st_size != n_bytes)
        rc = err_set(e, ERR_FORMAT, "%s/" BLOBS "%s: %lld bytes, %llu were said", x->from, d->hex,
                     (long long)st.st_size, (unsigned long long)n_bytes);
    if (rc == 0) rc = load_blob(x, d, NULL, fd, n_bytes, e);
    close(fd);
    return rc;
}

static int fetch_files(struct loader *x, const struct manifest *m, struct err *e) {
    for (int i = -1; i < m->n_layer; i++) {
        const struct layer *l = i < 0 ? &m->config : &m->layer[i];
        if (fetch_file(x, &l->digest, l->n_bytes, e) != 0) return -1;
    }
    return 0;
}

static int read_index_file(struct loader *x, int dir, struct err *e) {
    struct stat st;
    const int fd = open_file(x, dir, "index.json", "", &st, e);
    if (fd < 0) return -1;
    int rc = check_index_size(x, (uint64_t)st.st_size, e);
    while (rc == 0) {
        const ssize_t k = read(fd, x->piece, PIECE_BYTES);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) rc = err_errno(e, x->from);
        if (k <= 0) break;
        buf_append(&x->index, x->piece, (size_t)k);
        rc = check_index_size(x, x->index.n, e); /* it may grow meanwhile */
    }
    close(fd);
    return rc;
}

static int read_folder(struct loader *x, int dir, struct err *e) {
    if (read_index_file(x, dir, e) != 0) return -1;
    const int blobs = open_folder(x, dir, "blobs", e);
    if (blobs < 0) return -1;
    x->blobs = open_folder(x, blobs, "sha256", e);
    close(blobs);
    return x->blobs < 0 ? -1 : 0;
}

/* ---- the models ---- */

static int read_manifest(struct loader *x, const struct index_entry *n, struct buf *b,
                         struct manifest *m, struct err *e) {
    buf_reset(b);
    if (store_read_blob(x->s, &n->id, MANIFEST_MAX_BYTES, b, e) != 0) return -1;
    return manifest_parse(x->from, b->p ? b->p : "", b->n, m, e);
}

/* All of it is in the store, or comes there from the folder. */
static int check_model(struct loader *x, const struct index_entry *n, struct err *e) {
    struct buf b = {0};
    struct manifest m = {0};
    int rc = x->blobs >= 0 ? fetch_file(x, &n->id, n->n_bytes, e) : 0;
    if (rc == 0) rc = read_manifest(x, n, &b, &m, e);
    if (rc == 0 && x->blobs >= 0) rc = fetch_files(x, &m, e);
    if (rc == 0) rc = store_has_all(x->s, &n->name, &m, e);
    manifest_fini(&m);
    buf_fini(&b);
    return rc;
}

static int put_model(struct loader *x, const struct index_entry *n, struct err *e) {
    struct buf b = {0};
    struct manifest m = {0};
    int rc = read_manifest(x, n, &b, &m, e);
    if (rc == 0) rc = store_put(x->s, &n->name, m.bytes, e);
    manifest_fini(&m);
    buf_fini(&b);
    return rc;
}

static int put_models(struct loader *x, const struct name *as, archive_loaded_fn *loaded, void *ctx,
                      struct err *e) {
    struct index_entry *list;
    int n, rc = index_parse(x->from, buf_view(&x->index), as, &list, &n, e);
    for (int i = 0; rc == 0 && i < n; i++)
        rc = check_model(x, &list[i], e);
    for (int i = 0; rc == 0 && i < n; i++) {
        rc = put_model(x, &list[i], e);
        if (rc == 0 && loaded) loaded(ctx, &list[i].name);
    }
    free(list);
    return rc;
}

/* ---- the whole ---- */

static int read_archive(struct loader *x, struct err *e) {
    struct stat st;
    const bool standard = strcmp(x->from, "-") == 0;
    const int fd = standard ? STDIN_FILENO : open(x->from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) return err_errno(e, x->from);
    struct tar_reader t = {.fd = fd, .path = x->from};
    int rc;
    if (S_ISDIR(st.st_mode))
        rc = read_folder(x, fd, e);
    else if (!standard && !S_ISREG(st.st_mode))
        rc = err_set(e, ERR_FORMAT, "%s: neither a file nor a folder", x->from);
    else
        rc = read_tar(x, &t, e);
    if (rc == 0 && standard) tar_drain(&t);
    if (!standard) close(fd);
    return rc;
}

/* What no model names, of what came here; what stays by an error a later collection finds. */
static void drop_rest(struct loader *x) {
    const int lock = store_lock(x->s, STORE_EXCLUSIVE, NULL);
    if (lock < 0) return;
    (void)store_collect_those(x->s, &x->added, NULL);
    close(lock);
}

int archive_load(struct store *s, const char *from, const struct name *as,
                 const struct archive_opts *o, archive_loaded_fn *loaded, void *ctx,
                 struct err *e) {
    struct loader x = {.s = s, .o = o, .from = from, .blobs = -1, .lease = store_lease(s, e)};
    if (!x.lease) return -1;
    x.piece = malloc(PIECE_BYTES);
    int rc = x.piece ? 0 : err_nomem(e, "load");
    if (rc == 0) rc = read_archive(&x, e);
    if (rc == 0) rc = put_models(&x, as, loaded, ctx, e);
    store_lease_end(x.lease);
    drop_rest(&x);
    if (x.blobs >= 0) close(x.blobs);
    digest_set_fini(&x.added);
    buf_fini(&x.index);
    free(x.piece);
    return rc;
}
