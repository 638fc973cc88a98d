/* Models in the store: manifests found, read, put, removed, listed (store.h).  Letter case does not
 * count in a name: what is stored as written is looked at first, then the folders are searched. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <unistd.h>

#include "store/store_priv.h"

/* Folder `name` of dir, never through a link. */
static int open_sub(int dir, const char *name) {
    return openat(dir, name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOFOLLOW);
}

static bool is_regular(int dir, const char *name, struct stat *st) {
    return fstatat(dir, name, st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st->st_mode);
}

static void path_text(const struct model_path *p, char out[STORE_PATH]) {
    snprintf(out, STORE_PATH, "%s/%s/%s/%s", p->part[0], p->part[1], p->part[2], p->part[3]);
}

/* ---- finding ---- */

static bool find_below(int dir, const char *const want[4], int level, struct model_path *out);

/* Is the rest of the name under entry `name` of dir? */
static bool find_in(int dir, const char *name, const char *const want[4], int level,
                    struct model_path *out) {
    struct stat st;
    if (strlen(name) >= sizeof out->part[0]) return false;
    snprintf(out->part[level], sizeof out->part[level], "%s", name);
    if (level == 3) return is_regular(dir, name, &st);
    const int sub = open_sub(dir, name);
    if (sub < 0) return false;
    const bool found = find_below(sub, want, level + 1, out);
    close(sub);
    return found;
}

/* Four levels deep at most. */
static bool find_below(int dir, const char *const want[4], int level, struct model_path *out) {
    if (find_in(dir, want[level], want, level, out)) return true;
    const int again = openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *d = again < 0 ? NULL : store_read_dir(again, NULL, "");
    bool found = false;
    for (struct dirent *f; d && !found && (f = readdir(d));)
        found = strcasecmp(f->d_name, want[level]) == 0 && strcmp(f->d_name, want[level]) != 0 &&
                find_in(dir, f->d_name, want, level, out);
    if (d) closedir(d);
    return found;
}

static bool find(int manifests, const struct name *n, struct model_path *out) {
    const char *const want[4] = {n->host, n->space, n->model, n->tag};
    return find_below(manifests, want, 0, out);
}

/* The folder that holds p's file; with make, folders that are missing are made. */
static int model_dir(int manifests, const struct model_path *p, bool make) {
    int fd = openat(manifests, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; fd >= 0 && i < 3; i++) {
        int next = open_sub(fd, p->part[i]);
        if (next < 0 && errno == ENOENT && make &&
            (mkdirat(fd, p->part[i], 0755) == 0 || errno == EEXIST)) {
            fsync(fd);
            next = open_sub(fd, p->part[i]);
        }
        const int saved = errno;
        close(fd);
        errno = saved;
        fd = next;
    }
    return fd;
}

/* The name of a path, if it is one. */
static bool path_name(const struct model_path *p, struct name *out) {
    char text[NAME_TEXT];
    const int n =
        snprintf(text, sizeof text, "%s/%s/%s:%s", p->part[0], p->part[1], p->part[2], p->part[3]);
    return n < (int)sizeof text && name_parse(text, out, NULL) == 0 && !out->plain_http &&
           strcasecmp(out->host, p->part[0]) == 0 && strcmp(out->space, p->part[1]) == 0 &&
           strcmp(out->model, p->part[2]) == 0 && strcmp(out->tag, p->part[3]) == 0;
}

static int not_found(const struct name *n, struct err *e) {
    char text[NAME_TEXT];
    name_short(n, text);
    const size_t cut = strlen(text) - strlen(n->tag) - 1;
    if (!n->has_tag) text[cut] = 0; /* as it was asked for */
    return err_set(e, ERR_NOT_FOUND, "model '%s' not found", text);
}

/* ---- reading ---- */

static int read_bytes(int fd, const char *where, struct buf *out, struct err *e) {
    for (;;) {
        char *at = buf_room(out, 64 * 1024);
        if (!at) return err_nomem(e, where);
        const ssize_t n = read(fd, at, 64 * 1024);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return err_errno(e, where);
        if (n == 0) return 0;
        out->n += (size_t)n;
        out->p[out->n] = 0;
        if (out->n > MANIFEST_MAX_BYTES)
            return err_set(e, ERR_LIMIT, "%s: a manifest of more than %d bytes", where,
                           MANIFEST_MAX_BYTES);
    }
}

int manifest_read(int dir, const struct model_path *p, struct manifest *m, struct err *e) {
    char where[STORE_PATH];
    struct buf bytes = {0};
    struct stat st;
    *m = (struct manifest){0};
    path_text(p, where);
    const int fd = openat(dir, p->part[3], O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return err_errno(e, where);
    int rc = -1;
    if (fstat(fd, &st) != 0)
        err_errno(e, where);
    else if (!S_ISREG(st.st_mode))
        err_set(e, ERR_FORMAT, "%s: no regular file", where);
    else
        rc = read_bytes(fd, where, &bytes, e);
    close(fd);
    if (rc == 0) rc = manifest_parse(where, buf_view(&bytes).p, bytes.n, m, e);
    buf_fini(&bytes);
    return rc;
}

int store_get(struct store *s, const struct name *n, struct name *found, struct manifest *m,
              struct err *e) {
    struct model_path p;
    struct err unused;
    *m = (struct manifest){0};
    const int manifests = store_dir(s, DIR_MANIFESTS, false, &unused);
    if (manifests < 0 && unused.code == ERR_NOT_FOUND) return not_found(n, e);
    if (manifests < 0) return err_set(e, unused.code, "%s", unused.msg);
    int rc = find(manifests, n, &p) ? 0 : not_found(n, e);
    const int dir = rc == 0 ? model_dir(manifests, &p, false) : -1;
    close(manifests);
    if (rc != 0) return -1;
    rc = dir < 0 ? not_found(n, e) : manifest_read(dir, &p, m, e);
    if (dir >= 0) close(dir);
    if (rc != 0) return -1;
    if (n->pin.hex[0] && !digest_eq(&n->pin, &m->id)) {
        not_found(n, e);
        return err_set(e, ERR_NOT_FOUND, "%s as sha256:%s: the store has sha256:%s",
                       e ? e->msg : "", n->pin.hex, m->id.hex);
    }
    if (found && !path_name(&p, found)) *found = *n;
    if (!found) return 0;
    found->has_tag = n->has_tag, found->pin = n->pin;
    found->plain_http = n->plain_http, found->tls = n->tls;
    return 0;
}

/* ---- writing ---- */

int store_has_all(struct store *s, const struct name *n, const struct manifest *m, struct err *e) {
    char text[NAME_TEXT];
    name_short(n, text);
    for (int i = -1; i < m->n_layer; i++) {
        const struct layer *l = i < 0 ? &m->config : &m->layer[i];
        if (!store_has_blob(s, &l->digest, l->n_bytes))
            return err_set(e, ERR_NOT_FOUND, "%s: its blob sha256:%s of %llu bytes is not here",
                           text, l->digest.hex, (unsigned long long)l->n_bytes);
    }
    return 0;
}

/* The path for a new manifest: over the one that is there, else in folders that differ in letter
 * case only, else as the name is written. */
static void choose_path(int manifests, const struct name *n, struct model_path *p) {
    const char *const want[4] = {n->host, n->space, n->model, n->tag};
    if (find(manifests, n, p)) return;
    int dir = openat(manifests, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 0; i < 4; i++) {
        struct stat st;
        snprintf(p->part[i], sizeof p->part[i], "%s", want[i]);
        if (i == 3 || dir < 0) continue;
        const int again = fstatat(dir, want[i], &st, AT_SYMLINK_NOFOLLOW) != 0
                              ? openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC)
                              : -1;
        DIR *d = again < 0 ? NULL : store_read_dir(again, NULL, "");
        for (struct dirent *f; d && (f = readdir(d));)
            if (strcasecmp(f->d_name, want[i]) == 0)
                snprintf(p->part[i], sizeof p->part[i], "%s", f->d_name);
        if (d) closedir(d);
        const int next = open_sub(dir, p->part[i]);
        close(dir);
        dir = next;
    }
    if (dir >= 0) close(dir);
}

/* Beside the folders of hosts, where nobody takes it for a manifest; then into its place. */
static int write_manifest(int manifests, const struct model_path *p, struct str bytes,
                          const char *where, struct err *e) {
    char temp[TEMP_NAME];
    if (temp_name(MANIFEST_TEMP, temp, e) != 0) return -1;
    const int dir = model_dir(manifests, p, true);
    if (dir < 0) return err_errno(e, where);
    const int fd =
        openat(manifests, temp, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0644);
    int rc = fd < 0 ? -1 : write_fully(fd, bytes.p, bytes.n);
    if (rc == 0) rc = fsync(fd);
    if (fd >= 0 && close(fd) != 0) rc = -1;
    if (rc == 0) rc = renameat(manifests, temp, dir, p->part[3]);
    if (rc == 0) rc = fsync(dir);
    if (rc != 0) err_errno(e, where);
    if (rc != 0 && fd >= 0) unlinkat(manifests, temp, 0);
    close(dir);
    return rc;
}

int store_put_locked(struct store *s, const struct name *n, struct str bytes, struct err *e) {
    struct manifest m;
    struct model_path p;
    char text[NAME_TEXT];
    name_short(n, text);
    int rc = manifest_parse(text, bytes.p, bytes.n, &m, e);
    if (rc == 0) rc = store_has_all(s, n, &m, e);
    manifest_fini(&m);
    if (rc != 0) return -1;
    const int manifests = store_dir(s, DIR_MANIFESTS, true, e);
    if (manifests < 0) return -1;
    choose_path(manifests, n, &p);
    char where[STORE_PATH], tail[STORE_PATH];
    path_text(&p, tail);
    store_path(s, DIR_MANIFESTS, tail, where);
    rc = write_manifest(manifests, &p, bytes, where, e);
    close(manifests);
    return rc;
}

int store_put(struct store *s, const struct name *n, struct str bytes, struct err *e) {
    const int lock = store_lock(s, STORE_EXCLUSIVE, e);
    if (lock < 0) return -1;
    const int rc = store_put_locked(s, n, bytes, e);
    close(lock);
    return rc;
}

int store_copy(struct store *s, const struct name *from, const struct name *to, struct err *e) {
    struct manifest m;
    /* What is not there is said before anything is made. */
    int rc = store_get(s, from, NULL, &m, e);
    manifest_fini(&m);
    const int lock = rc == 0 ? store_lock(s, STORE_EXCLUSIVE, e) : -1;
    if (lock < 0) return -1;
    rc = store_get(s, from, NULL, &m, e);
    if (rc == 0) rc = store_put_locked(s, to, m.bytes, e);
    manifest_fini(&m);
    close(lock);
    return rc;
}

/* ---- removing ---- */

/* Folders that have become empty, from the inside; the others refuse. */
static void remove_empty(int manifests, const struct model_path *p) {
    int dir[3];
    dir[0] = openat(manifests, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    for (int i = 1; i < 3; i++)
        dir[i] = dir[i - 1] < 0 ? -1 : open_sub(dir[i - 1], p->part[i - 1]);
    for (int i = 2; i >= 0; i--) {
        if (dir[i] < 0) continue;
        unlinkat(dir[i], p->part[i], AT_REMOVEDIR);
        close(dir[i]);
    }
}

/* Unlink the manifest; *m is what it was, or empty when it is damaged. */
static int unlink_manifest(struct store *s, const struct name *n, struct manifest *m,
                           struct err *e) {
    struct model_path p;
    struct err unused;
    *m = (struct manifest){0};
    const int manifests = store_dir(s, DIR_MANIFESTS, false, e);
    if (manifests < 0) return -1;
    const int dir = find(manifests, n, &p) ? model_dir(manifests, &p, false) : -1;
    int rc = dir < 0 ? not_found(n, e) : 0;
    if (rc == 0 && manifest_read(dir, &p, m, &unused) != 0) manifest_fini(m);
    if (rc == 0 && n->pin.hex[0] && !digest_eq(&n->pin, &m->id)) rc = not_found(n, e);
    if (rc == 0 && (unlinkat(dir, p.part[3], 0) != 0 || fsync(dir) != 0)) {
        char tail[STORE_PATH];
        path_text(&p, tail);
        rc = store_fail(s, DIR_MANIFESTS, tail, e);
    }
    if (rc == 0) remove_empty(manifests, &p);
    if (dir >= 0) close(dir);
    close(manifests);
    return rc;
}

/* Is there such a model?  Nothing is made. */
static int check_there(struct store *s, const struct name *n, struct err *e) {
    struct model_path p;
    struct err err;
    const int manifests = store_dir(s, DIR_MANIFESTS, false, &err);
    if (manifests < 0)
        return err.code == ERR_NOT_FOUND ? not_found(n, e) : err_set(e, err.code, "%s", err.msg);
    const bool there = find(manifests, n, &p);
    close(manifests);
    return there ? 0 : not_found(n, e);
}

int store_remove(struct store *s, const struct name *n, struct err *e) {
    struct manifest m;
    struct digest_set those = {0};
    if (check_there(s, n, e) != 0) return -1;
    const int lock = store_lock(s, STORE_EXCLUSIVE, e);
    if (lock < 0) return -1;
    int rc = unlink_manifest(s, n, &m, e);
    if (rc == 0 && m.bytes.n) rc = digest_set_manifest(&those, &m, e);
    if (rc == 0 && those.n) rc = store_collect_those(s, &those, e);
    digest_set_fini(&those);
    manifest_fini(&m);
    close(lock);
    return rc;
}

/* ---- walking ---- */

struct walk {
    manifest_fn *fn;
    void *ctx;
    bool unread;
    struct model_path path;
    struct err *e;
};

static int walk_file(struct walk *w, int dir) {
    struct stat st;
    struct name name;
    if (fstatat(dir, w->path.part[3], &st, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno != ENOENT) w->unread = true; /* else: removed meanwhile */
        return 0;
    }
    if (!S_ISREG(st.st_mode)) {
        w->unread = true;
        return 0;
    }
    const struct manifest_file f = {&w->path, path_name(&w->path, &name) ? &name : NULL, dir,
                                    st.st_mtim.tv_sec};
    return w->fn(w->ctx, &f, w->e);
}

/* Takes dir.  Files above the fourth level are nobody's manifests. */
static int walk_level(struct walk *w, int dir, int level) {
    DIR *d = store_read_dir(dir, NULL, "");
    int rc = 0;
    if (!d) w->unread = true;
    errno = 0;
    for (struct dirent *f; d && rc == 0 && (f = readdir(d)); errno = 0) {
        if (f->d_name[0] == '.' || strlen(f->d_name) >= sizeof w->path.part[0]) continue;
        snprintf(w->path.part[level], sizeof w->path.part[level], "%s", f->d_name);
        if (level == 3) {
            rc = walk_file(w, dirfd(d));
            continue;
        }
        const int sub = open_sub(dirfd(d), f->d_name);
        struct stat st;
        if (sub >= 0)
            rc = walk_level(w, sub, level + 1);
        else if (!is_regular(dirfd(d), f->d_name, &st) && errno != ENOENT)
            w->unread = true;
    }
    if (d && rc == 0 && errno != 0) w->unread = true; /* readdir failed */
    if (d) closedir(d);
    return rc;
}

int store_walk(const struct store *s, manifest_fn *fn, void *ctx, bool *unread, struct err *e) {
    struct walk w = {.fn = fn, .ctx = ctx, .e = e};
    struct err err;
    const int dir = store_dir(s, DIR_MANIFESTS, false, &err);
    if (dir < 0) return err.code == ERR_NOT_FOUND ? 0 : err_set(e, err.code, "%s", err.msg);
    const int rc = walk_level(&w, dir, 0);
    if (unread && w.unread) *unread = true;
    return rc;
}

/* ---- listing ---- */

struct lister {
    const char *prefix;
    struct store_entry *v;
    size_t n, cap;
};

static int list_one(void *ctx, const struct manifest_file *f, struct err *e) {
    struct lister *l = ctx;
    struct manifest m;
    struct err err;
    char text[NAME_TEXT];
    if (!f->name) return 0;
    name_short(f->name, text);
    if (l->prefix && strncasecmp(text, l->prefix, strlen(l->prefix)) != 0) return 0;
    if (l->n == l->cap) {
        const size_t cap = l->cap ? 2 * l->cap : 32;
        struct store_entry *v = realloc(l->v, cap * sizeof *v);
        if (!v) return err_nomem(e, "list of models");
        l->v = v;
        l->cap = cap;
    }
    struct store_entry *o = &l->v[l->n];
    *o = (struct store_entry){.name = *f->name, .modified_s = f->modified_s};
    const int rc = manifest_read(f->dir, f->path, &m, &err);
    if (rc == 0) o->id = m.id, o->n_bytes = manifest_total_bytes(&m);
    o->damaged = rc != 0;
    manifest_fini(&m);
    if (rc == 0 || err.code != ERR_NOT_FOUND) l->n++; /* else: removed meanwhile */
    return 0;
}

static int newest_first(const void *x, const void *y) {
    const struct store_entry *a = x, *b = y;
    char ta[NAME_TEXT], tb[NAME_TEXT];
    if (a->modified_s != b->modified_s) return a->modified_s < b->modified_s ? 1 : -1;
    name_short(&a->name, ta);
    name_short(&b->name, tb);
    return strcmp(ta, tb);
}

int store_list(struct store *s, const char *prefix, struct store_entry **list, int *n,
               struct err *e) {
    struct lister l = {.prefix = prefix};
    *list = NULL;
    *n = 0;
    if (store_walk(s, list_one, &l, NULL, e) != 0) {
        free(l.v);
        return -1;
    }
    if (l.n) qsort(l.v, l.n, sizeof *l.v, newest_first);
    *list = l.v;
    *n = (int)l.n;
    return 0;
}
