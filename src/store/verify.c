/* Verification: every blob that models name is there and holds the bytes it is named by.  A blob
 * that several models share is read once. */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/store_priv.h"

/* What is to be read, and who wants it first. */
struct wanted {
    struct digest digest;
    uint64_t n_bytes;
    int model; /* -1: none */
};

struct verifier {
    struct store *s;
    struct store_check *out;
    store_finding_fn *say;
    store_progress_fn *progress;
    void *ctx;
    struct wanted *want; /* [n_want], owned */
    size_t n_want, cap_want;
    char (*model)[NAME_TEXT]; /* [n_model], owned */
    size_t n_model, cap_model;
    uint64_t done, all; /* bytes */
};

static void say(const struct verifier *v, const char *model, const struct digest *d,
                const char *what) {
    if (v->say) v->say(v->ctx, model, d, what);
}

/* Room for one more of `size` bytes in *list; NULL: none. */
static void *one_more(void **list, size_t n, size_t *cap, size_t size) {
    if (n == *cap) {
        const size_t more = *cap ? 2 * *cap : 64;
        void *p = realloc(*list, more * size);
        if (!p) return NULL;
        *list = p;
        *cap = more;
    }
    return (char *)*list + n * size;
}

static int want(struct verifier *v, const struct digest *d, uint64_t n_bytes, int model,
                struct err *e) {
    void *list = v->want;
    struct wanted *w = one_more(&list, v->n_want, &v->cap_want, sizeof *w);
    v->want = list;
    if (!w) return err_nomem(e, "verify");
    *w = (struct wanted){*d, n_bytes, model};
    v->n_want++;
    return 0;
}

static int add_model(struct verifier *v, const struct name *name, const struct manifest *m,
                     struct err *e) {
    void *list = v->model;
    char *text = one_more(&list, v->n_model, &v->cap_model, sizeof *v->model);
    v->model = list;
    if (!text) return err_nomem(e, "verify");
    name_short(name, text);
    const int at = (int)v->n_model++;
    v->out->n_models++;
    int rc = want(v, &m->config.digest, m->config.n_bytes, at, e);
    for (int i = 0; rc == 0 && i < m->n_layer; i++)
        rc = want(v, &m->layer[i].digest, m->layer[i].n_bytes, at, e);
    return rc;
}

static int add_file(void *ctx, const struct manifest_file *f, struct err *e) {
    struct verifier *v = ctx;
    struct manifest m;
    struct err err;
    char text[NAME_TEXT];
    if (!f->name) return 0;
    int rc = manifest_read(f->dir, f->path, &m, &err);
    if (rc == 0)
        rc = add_model(v, f->name, &m, e);
    else if (err.code == ERR_NOT_FOUND)
        rc = 0; /* removed meanwhile */
    else {
        name_short(f->name, text);
        say(v, text, NULL, err.msg);
        v->out->n_damaged++;
        rc = 0;
    }
    manifest_fini(&m);
    return rc;
}

/* Blobs that no model names, too: whoever makes a model next would take them as they are. */
static int add_loose(struct verifier *v, struct err *e) {
    struct err err;
    const int fd = store_dir(v->s, DIR_BLOBS, false, &err);
    if (fd < 0) return err.code == ERR_NOT_FOUND ? 0 : err_set(e, err.code, "%s", err.msg);
    DIR *d = store_read_dir(fd, e, DIR_BLOBS);
    int rc = d ? 0 : -1;
    for (struct dirent *f; rc == 0 && (f = readdir(d));) {
        struct digest digest;
        struct stat st;
        if (blob_name_parse(f->d_name, &digest) &&
            fstatat(dirfd(d), f->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0)
            rc = want(v, &digest, (uint64_t)st.st_size, -1, e);
    }
    if (d) closedir(d);
    return rc;
}

/* By digest, blobs of models before loose ones, models in their order. */
static int by_digest(const void *x, const void *y) {
    const struct wanted *a = x, *b = y;
    const int c = memcmp(a->digest.hex, b->digest.hex, DIGEST_HEX);
    if (c != 0) return c;
    if (a->model != b->model)
        return a->model < 0 ? 1 : b->model < 0 ? -1 : a->model < b->model ? -1 : 1;
    return a->n_bytes < b->n_bytes ? -1 : a->n_bytes > b->n_bytes;
}

static int on_bytes(void *ctx, uint64_t done, uint64_t all) {
    const struct verifier *v = ctx;
    (void)all;
    return v->progress ? v->progress(v->ctx, v->done + done, v->all) : 0;
}

/* Hash one blob.  *what is what is wrong with it, or NULL. */
static int check_blob(struct verifier *v, const struct wanted *w, char what[256], struct err *e) {
    struct digest got;
    struct stat st;
    struct err err;
    what[0] = 0;
    const int fd = blob_open(v->s, &w->digest, &st, &err);
    if (fd < 0) {
        if (err.code == ERR_NOT_FOUND) v->out->n_missing++;
        if (err.code != ERR_NOT_FOUND) v->out->n_wrong++;
        snprintf(what, 256, "%.250s", err.code == ERR_NOT_FOUND ? "missing" : err.msg);
        return 0;
    }
    const int rc = hash_file(fd, w->digest.hex, (uint64_t)st.st_size, &got, on_bytes, v, &err);
    close(fd);
    if (rc != 0 && err.code != ERR_IO) return err_set(e, err.code, "%s", err.msg);
    if (rc != 0)
        snprintf(what, 256, "cannot be read: %.200s", err.msg);
    else if (!digest_eq(&got, &w->digest))
        snprintf(what, 256, "holds other bytes: sha256:%s", got.hex);
    else if ((uint64_t)st.st_size != w->n_bytes)
        snprintf(what, 256, "has %lld bytes, the manifest says %llu", (long long)st.st_size,
                 (unsigned long long)w->n_bytes);
    if (what[0]) v->out->n_wrong++;
    return 0;
}

static int check_all(struct verifier *v, struct err *e) {
    char what[256];
    if (v->n_want) qsort(v->want, v->n_want, sizeof *v->want, by_digest);
    for (size_t i = 0; i < v->n_want; i++)
        if (i == 0 || !digest_eq(&v->want[i].digest, &v->want[i - 1].digest))
            v->all += v->want[i].n_bytes;
    for (size_t i = 0, next; i < v->n_want; i = next) {
        const struct wanted *w = &v->want[i];
        for (next = i + 1; next < v->n_want && digest_eq(&v->want[next].digest, &w->digest);)
            next++;
        v->out->n_blobs++;
        if (check_blob(v, w, what, e) != 0) return -1;
        v->done += w->n_bytes;
        for (size_t j = i; what[0] && j < next; j++)
            if (j == i || (v->want[j].model != v->want[j - 1].model && v->want[j].model >= 0))
                say(v, v->want[j].model < 0 ? NULL : v->model[v->want[j].model], &w->digest, what);
    }
    return 0;
}

int store_verify(struct store *s, const struct name *n, struct store_check *out,
                 store_finding_fn *say_fn, store_progress_fn *progress, void *ctx, struct err *e) {
    struct verifier v = {.s = s, .out = out, .say = say_fn, .progress = progress, .ctx = ctx};
    struct manifest m = {0};
    struct name found;
    int rc;
    *out = (struct store_check){0};
    if (n) {
        rc = store_get(s, n, &found, &m, e);
        if (rc == 0) rc = add_model(&v, &found, &m, e);
    } else {
        rc = store_walk(s, add_file, &v, NULL, e);
        if (rc == 0) rc = add_loose(&v, e);
    }
    if (rc == 0) rc = check_all(&v, e);
    manifest_fini(&m);
    free(v.want);
    free(v.model);
    return rc;
}
