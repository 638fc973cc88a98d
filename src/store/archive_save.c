/* Saving: every blob once, then who is who (index.json). */
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

#define LAYOUT "{\"imageLayoutVersion\":\"1.0.0\"}"
enum { PIECE_BYTES = 1 << 20 };

struct saver {
    struct store *s;
    const struct archive_opts *o;
    const char *to;
    bool folder;
    int fd;                   /* of the tar archive, or of the member of a folder */
    const struct manifest *m; /* of all models, in their order */
    uint64_t done, all;
    char *piece; /* [PIECE_BYTES] */
};

/* ---- members ---- */

static int put(struct saver *x, const void *bytes, size_t n, struct err *e) {
    return write_fully(x->fd, bytes, n) == 0 ? 0 : err_errno(e, x->to);
}

static int begin_member(struct saver *x, const char *name, uint64_t n_bytes, struct err *e) {
    char header[512], path[STORE_PATH];
    if (!x->folder) {
        tar_header(name, n_bytes, header);
        return put(x, header, sizeof header, e);
    }
    if (snprintf(path, sizeof path, "%s/%s", x->to, name) >= (int)sizeof path)
        return err_set(e, ERR_USAGE, "%s: the path is too long", x->to);
    x->fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    return x->fd >= 0 ? 0 : err_errno(e, path);
}

static int end_member(struct saver *x, uint64_t n_bytes, struct err *e) {
    static const char zeros[512];
    if (!x->folder) return put(x, zeros, tar_padding(n_bytes), e);
    const int rc = fsync(x->fd) == 0 ? 0 : err_errno(e, x->to);
    close(x->fd);
    x->fd = -1;
    return rc;
}

static int save_bytes(struct saver *x, const char *name, const void *bytes, size_t n,
                      struct err *e) {
    if (begin_member(x, name, n, e) != 0) return -1;
    if (put(x, bytes, n, e) != 0) return -1;
    return end_member(x, n, e);
}

static int copy(struct saver *x, int from, const char *path, uint64_t n_bytes, struct err *e) {
    for (uint64_t at = 0; at < n_bytes;) {
        const ssize_t k = pread(from, x->piece, PIECE_BYTES, (off_t)at);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return err_errno(e, path);
        if (k == 0 || (uint64_t)k > n_bytes - at)
            return err_set(e, ERR_FORMAT, "%s: not as long as the manifest says", path);
        if (put(x, x->piece, (size_t)k, e) != 0) return -1;
        at += (uint64_t)k, x->done += (uint64_t)k;
        if (x->o->progress && x->o->progress(x->o->ctx, x->done, x->all) != 0)
            return err_set(e, ERR_CANCELLED, "save: interrupted");
    }
    return 0;
}

static int save_blob(struct saver *x, const struct layer *l, struct err *e) {
    char name[DIGEST_HEX + 16], path[STORE_PATH];
    if (store_blob(x->s, &l->digest, path, NULL, e) != 0) return -1;
    snprintf(name, sizeof name, "blobs/sha256/%s", l->digest.hex);
    const int from = open(path, O_RDONLY | O_CLOEXEC);
    if (from < 0) return err_errno(e, path);
    int rc = begin_member(x, name, l->n_bytes, e);
    if (rc == 0) rc = copy(x, from, path, l->n_bytes, e);
    if (rc == 0) rc = end_member(x, l->n_bytes, e);
    close(from);
    return rc;
}

/* -1: the config */
static const struct layer *part(const struct manifest *m, int i) {
    return i < 0 ? &m->config : &m->layer[i];
}

/* Is part `last` of model `model` in the archive already? */
static bool saved_before(const struct saver *x, int model, int last) {
    const struct digest *d = &part(&x->m[model], last)->digest;
    for (int k = 0; k <= model; k++)
        for (int i = -1; i < (k < model ? x->m[k].n_layer : last); i++)
            if (digest_eq(&part(&x->m[k], i)->digest, d)) return true;
    return false;
}

static int save_model(struct saver *x, int model, struct err *e) {
    const struct manifest *m = &x->m[model];
    char name[DIGEST_HEX + 16];
    bool seen = false;
    snprintf(name, sizeof name, "blobs/sha256/%s", m->id.hex);
    for (int k = 0; k < model; k++)
        seen = seen || digest_eq(&x->m[k].id, &m->id);
    if (!seen && save_bytes(x, name, m->bytes.p, m->bytes.n, e) != 0) return -1;
    for (int i = -1; i < m->n_layer; i++)
        if (!saved_before(x, model, i) && save_blob(x, part(m, i), e) != 0) return -1;
    return 0;
}

/* ---- the whole ---- */

static int build_index(const struct name *names, const struct manifest *m, int n, struct buf *out,
                       struct err *e) {
    json_t *root = json_object(), *list = json_array();
    for (int i = 0; i < n; i++) {
        char full[NAME_TEXT], digest[DIGEST_TEXT];
        name_full(&names[i], full);
        digest_format(&m[i].id, digest);
        json_array_append_new(list,
                              json_pack("{s:s, s:s, s:I, s:{s:s}}", "mediaType", MEDIA_MANIFEST,
                                        "digest", digest, "size", (json_int_t)m[i].bytes.n,
                                        "annotations", "org.opencontainers.image.ref.name", full));
    }
    json_object_set_new(root, "schemaVersion", json_integer(2));
    json_object_set_new(root, "manifests", list);
    const int rc = json_append("index", root, out, e);
    json_decref(root);
    return rc;
}

static int save_all(struct saver *x, const struct name *names, const struct manifest *m, int n,
                    struct err *e) {
    static const char end[1024];
    struct buf index = {0};
    int rc = build_index(names, m, n, &index, e);
    if (rc == 0) rc = save_bytes(x, "oci-layout", LAYOUT, strlen(LAYOUT), e);
    for (int i = 0; rc == 0 && i < n; i++)
        rc = save_model(x, i, e);
    if (rc == 0) rc = save_bytes(x, "index.json", index.p, index.n, e);
    if (rc == 0 && !x->folder) rc = put(x, end, sizeof end, e);
    buf_fini(&index);
    return rc;
}

static int make_folder(const char *to, struct err *e) {
    static const char *const below[] = {"", "/blobs", "/blobs/sha256"};
    char path[STORE_PATH];
    for (int i = 0; i < 3; i++) {
        if (snprintf(path, sizeof path, "%s%s", to, below[i]) >= (int)sizeof path)
            return err_set(e, ERR_USAGE, "%s: the path is too long", to);
        if (mkdir(path, 0755) != 0 && errno != EEXIST) return err_errno(e, path);
    }
    return 0;
}

/* Beside the file, renamed when it is whole. */
static int save_tar(struct saver *x, const struct name *names, const struct manifest *m, int n,
                    struct err *e) {
    char tmp[STORE_PATH];
    if (snprintf(tmp, sizeof tmp, "%s.partial", x->to) >= (int)sizeof tmp)
        return err_set(e, ERR_USAGE, "%s: the path is too long", x->to);
    x->fd = open(tmp, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (x->fd < 0) return err_errno(e, tmp);
    int rc = save_all(x, names, m, n, e);
    if (rc == 0 && (fsync(x->fd) != 0 || rename(tmp, x->to) != 0 || os_sync_folder(x->to) != 0))
        rc = err_errno(e, x->to);
    close(x->fd);
    if (rc != 0) unlink(tmp);
    return rc;
}

static int save(struct saver *x, const struct name *names, const struct manifest *m, int n,
                struct err *e) {
    struct stat st;
    const size_t len = strlen(x->to);
    x->folder = (len && x->to[len - 1] == '/') || (stat(x->to, &st) == 0 && S_ISDIR(st.st_mode));
    for (int i = 0; i < n; i++)
        x->all += manifest_total_bytes(&m[i]);
    if (strcmp(x->to, "-") == 0) {
        x->fd = STDOUT_FILENO;
        return save_all(x, names, m, n, e);
    }
    if (!x->folder) return save_tar(x, names, m, n, e);
    const int rc = make_folder(x->to, e) == 0 ? save_all(x, names, m, n, e) : -1;
    if (x->fd >= 0) close(x->fd);
    return rc;
}

int archive_save(struct store *s, const struct name *models, int n_models, const char *to,
                 const struct archive_opts *o, struct err *e) {
    struct saver x = {.s = s, .o = o, .to = to, .fd = -1};
    struct manifest *m = calloc((size_t)n_models, sizeof *m);
    struct name *names = calloc((size_t)n_models, sizeof *names);
    x.piece = malloc(PIECE_BYTES);
    x.m = m;
    int rc = m && names && x.piece ? 0 : err_nomem(e, "save"), n = 0;
    for (; rc == 0 && n < n_models; n++)
        rc = store_get(s, &models[n], &names[n], &m[n], e);
    if (rc == 0) rc = save(&x, names, m, n, e);
    for (int i = 0; i < n; i++)
        manifest_fini(&m[i]);
    free(m), free(names), free(x.piece);
    return rc;
}
