/* Loading: blobs as they come, each into the store once its digest is right; then the models that
 * index.json names.  What no model of the archive needs, or came before a failure, is taken out
 * again. */
#include "store/archive.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/json.h"
#include "base/os.h"
#include "store/store_priv.h"
#include "store/tar.h"

#define BLOBS "blobs/sha256/"
enum { PIECE_BYTES = 1 << 20, MAX_INDEX_BYTES = 4 << 20, MAX_MODELS = 10000 };

struct loader {
    struct store *s;
    struct lease *lease;
    const struct archive_opts *o;
    const char *from;
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

/* One only: what is kept in memory is bounded by it. */
static int read_index(struct loader *x, struct tar_reader *t, uint64_t n_bytes, struct err *e) {
    int64_t k;
    if (n_bytes > MAX_INDEX_BYTES)
        return err_set(e, ERR_LIMIT, "%s: index.json has %llu bytes; at most %d are accepted",
                       x->from, (unsigned long long)n_bytes, MAX_INDEX_BYTES);
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

static int fetch_file(struct loader *x, const struct digest *d, uint64_t n_bytes, struct err *e) {
    char path[STORE_PATH];
    struct stat st;
    if (snprintf(path, sizeof path, "%s/" BLOBS "%s", x->from, d->hex) >= (int)sizeof path)
        return err_set(e, ERR_USAGE, "%s: the path is too long", x->from);
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return err_errno(e, path);
    int rc = fstat(fd, &st) == 0 && S_ISREG(st.st_mode)
                 ? 0
                 : err_set(e, ERR_FORMAT, "%s: no regular file", path);
    if (rc == 0 && (uint64_t)st.st_size != n_bytes)
        rc = err_set(e, ERR_FORMAT, "%s: %lld bytes, %llu were said", path, (long long)st.st_size,
                     (unsigned long long)n_bytes);
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

/* ---- the models ---- */

struct entry {
    struct digest id;
    uint64_t n_bytes;
    struct name name;
};

static int read_entry(const struct loader *x, const json_t *o, const struct name *as,
                      struct entry *out, struct err *e) {
    const char *digest = json_string_value(json_object_get(o, "digest"));
    const json_int_t size = json_integer_value(json_object_get(o, "size"));
    const json_t *notes = json_object_get(o, "annotations");
    const char *name =
        json_string_value(json_object_get(notes, "org.opencontainers.image.ref.name"));
    if (!digest || digest_parse(str_of(digest), &out->id, e) != 0)
        return err_set(e, ERR_FORMAT, "%s: index.json names a manifest without a digest", x->from);
    if (size <= 0 || size > MANIFEST_MAX_BYTES)
        return err_set(e, ERR_FORMAT, "%s: index.json has a manifest of %lld bytes", x->from,
                       (long long)size);
    out->n_bytes = (uint64_t)size;
    if (as) {
        out->name = *as;
        return 0;
    }
    if (!name)
        return err_set(e, ERR_FORMAT,
                       "%s: index.json has a model without a name; --as NAME gives it one",
                       x->from);
    return name_parse(name, &out->name, e) == 0 ? 0 : err_prefix(e, x->from);
}

static int put_model(struct loader *x, const struct entry *n, bool folder, struct err *e) {
    struct buf b = {0};
    struct manifest m = {0};
    int rc = folder ? fetch_file(x, &n->id, n->n_bytes, e) : 0;
    if (rc == 0) rc = store_read_blob(x->s, &n->id, MANIFEST_MAX_BYTES, &b, e);
    if (rc == 0) rc = manifest_parse(x->from, b.p ? b.p : "", b.n, &m, e);
    if (rc == 0 && folder) rc = fetch_files(x, &m, e);
    if (rc == 0) rc = store_put(x->s, &n->name, m.bytes, e);
    manifest_fini(&m);
    buf_fini(&b);
    return rc;
}

static int put_models(struct loader *x, const struct name *as, bool folder,
                      archive_loaded_fn *loaded, void *ctx, struct err *e) {
    if (x->index.n == 0)
        return err_set(e, ERR_FORMAT, "%s: no index.json: no OCI image layout", x->from);
    json_t *root = json_read_object(x->from, buf_view(&x->index), 100000, e);
    if (!root) return -1;
    const json_t *list = json_object_get(root, "manifests");
    const size_t n = json_array_size(list);
    int rc = 0;
    if (n == 0 || n > MAX_MODELS)
        rc = err_set(e, ERR_FORMAT, "%s: index.json names %zu models", x->from, n);
    else if (as && n > 1)
        rc = err_set(e, ERR_USAGE, "--as: %s holds %zu models; one is accepted", x->from, n);
    for (size_t i = 0; rc == 0 && i < n; i++) {
        struct entry one;
        rc = read_entry(x, json_array_get(list, i), as, &one, e);
        if (rc == 0) rc = put_model(x, &one, folder, e);
        if (rc == 0 && loaded) loaded(ctx, &one.name);
    }
    json_decref(root);
    return rc;
}

/* ---- the whole ---- */

static int read_folder(struct loader *x, struct err *e) {
    char path[STORE_PATH];
    if (snprintf(path, sizeof path, "%s/index.json", x->from) >= (int)sizeof path)
        return err_set(e, ERR_USAGE, "%s: the path is too long", x->from);
    return os_read_file(path, MAX_INDEX_BYTES, &x->index, e);
}

static int read_archive(struct loader *x, bool *folder, struct err *e) {
    struct stat st;
    const bool standard = strcmp(x->from, "-") == 0;
    const int fd = standard ? STDIN_FILENO : open(x->from, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) return err_errno(e, x->from);
    struct tar_reader t = {.fd = fd, .path = x->from};
    *folder = S_ISDIR(st.st_mode);
    int rc;
    if (*folder)
        rc = read_folder(x, e);
    else if (!standard && !S_ISREG(st.st_mode))
        rc = err_set(e, ERR_FORMAT, "%s: neither a file nor a folder", x->from);
    else
        rc = read_tar(x, &t, e);
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
    struct loader x = {.s = s, .o = o, .from = from, .lease = store_lease(s, e)};
    bool folder = false;
    if (!x.lease) return -1;
    x.piece = malloc(PIECE_BYTES);
    int rc = x.piece ? 0 : err_nomem(e, "load");
    if (rc == 0) rc = read_archive(&x, &folder, e);
    if (rc == 0) rc = put_models(&x, as, folder, loaded, ctx, e);
    store_lease_end(x.lease);
    drop_rest(&x);
    digest_set_fini(&x.added);
    buf_fini(&x.index);
    free(x.piece);
    return rc;
}
