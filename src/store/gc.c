/* Garbage collection: blobs that no manifest and no lease names.
 *
 *   lock -> what manifests name + what living leases name -> all else in blobs and links goes
 *
 * The lock is held throughout, so nobody of ours can come to need a blob meanwhile (lease.c).  A
 * program that knows no leases is given a grace period.  When a manifest cannot be read, what it
 * needs is not known, and nothing is removed. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "store/store_priv.h"

/* An unfinished download that nobody holds, or fine-tune, may be taken up again for this long. */
enum { PARTIAL_AGE_S = 7 * 24 * 3600, RUN_AGE_S = PARTIAL_AGE_S };

/* ---- sets ---- */

int digest_set_add(struct digest_set *set, const struct digest *d, struct err *e) {
    if (set->n == set->cap) {
        const size_t cap = set->cap ? 2 * set->cap : 64;
        struct digest *v = realloc(set->v, cap * sizeof *v);
        if (!v) return err_nomem(e, "set of blobs");
        set->v = v;
        set->cap = cap;
    }
    set->v[set->n++] = *d;
    return 0;
}

static int by_hex(const void *a, const void *b) {
    return memcmp(((const struct digest *)a)->hex, ((const struct digest *)b)->hex, DIGEST_HEX);
}

void digest_set_sort(struct digest_set *set) {
    size_t n = 0;
    if (set->n) qsort(set->v, set->n, sizeof *set->v, by_hex);
    for (size_t i = 0; i < set->n; i++)
        if (n == 0 || by_hex(&set->v[n - 1], &set->v[i]) != 0) set->v[n++] = set->v[i];
    set->n = n;
}

bool digest_set_has(const struct digest_set *set, const struct digest *d) {
    return set->n && bsearch(d, set->v, set->n, sizeof *set->v, by_hex) != NULL;
}

void digest_set_fini(struct digest_set *set) {
    free(set->v);
    *set = (struct digest_set){0};
}

int digest_set_manifest(struct digest_set *set, const struct manifest *m, struct err *e) {
    if (digest_set_add(set, &m->config.digest, e) != 0) return -1;
    for (int i = 0; i < m->n_layer; i++)
        if (digest_set_add(set, &m->layer[i].digest, e) != 0) return -1;
    return 0;
}

/* ---- what is needed ---- */

struct needs {
    struct digest_set set;
    bool unknown; /* a manifest could not be read */
};

static int need_manifest(void *ctx, const struct manifest_file *f, struct err *e) {
    struct needs *needs = ctx;
    struct manifest m;
    struct err err;
    int rc = manifest_read(f->dir, f->path, &m, &err);
    if (rc == 0)
        rc = digest_set_manifest(&needs->set, &m, e);
    else if (err.code == ERR_NOMEM)
        rc = err_set(e, ERR_NOMEM, "%s", err.msg);
    else {
        /* Removed meanwhile, or somebody's other file under a name that no model has. */
        if (err.code != ERR_NOT_FOUND && f->name) needs->unknown = true;
        rc = 0;
    }
    manifest_fini(&m);
    return rc;
}

static int find_needs(const struct store *s, bool dry, struct needs *out, struct err *e) {
    *out = (struct needs){0};
    if (store_leased(s, dry, &out->set, e) != 0) return -1;
    if (store_walk(s, need_manifest, out, &out->unknown, e) != 0) return -1;
    digest_set_sort(&out->set);
    return 0;
}

/* ---- removal ---- */

struct collector {
    const struct store *s;
    struct needs needs;
    int64_t now_s, grace_s, partial_s;
    bool dry;
    struct store_gc *out;
    struct err *e;
};

static int take(struct collector *c, int dir, const char *rel, const char *name,
                const struct stat *st, int *count) {
    if (!c->dry && unlinkat(dir, name, 0) != 0 && errno != ENOENT)
        return store_fail(c->s, rel, name, c->e);
    (*count)++;
    c->out->n_bytes += (uint64_t)st->st_size;
    return 0;
}

/* Does a living process write this file? */
static bool is_locked(int dir, const char *name) {
    const int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return errno != ENOENT;
    const bool locked = flock(fd, LOCK_SH | LOCK_NB) != 0;
    close(fd);
    return locked;
}

/* The blob of "sha256-<hex>-partial" or "sha256-<hex>-partial-<number>"; false: another name. */
static bool partial_parse(const char *name, struct digest *d) {
    static const char mark[] = "-partial";
    char blob[BLOB_NAME];
    if (strlen(name) < BLOB_NAME - 1 + sizeof mark - 1) return false;
    memcpy(blob, name, BLOB_NAME - 1);
    blob[BLOB_NAME - 1] = 0;
    const char *rest = name + BLOB_NAME - 1;
    if (!blob_name_parse(blob, d) || strncmp(rest, mark, sizeof mark - 1) != 0) return false;
    rest += sizeof mark - 1;
    return !*rest || (*rest == '-' && rest[1] && !rest[1 + strspn(rest + 1, "0123456789")]);
}

/* When the download of a partial file last went on: its parts' states do not change once the part
 * is done. */
static int64_t partial_base_s(int dir, const char *name, const struct stat *st) {
    char whole[BLOB_NAME + 16];
    struct stat all;
    const size_t n = BLOB_NAME - 1 + strlen("-partial");
    memcpy(whole, name, n);
    whole[n] = 0;
    const int64_t own = file_age_base_s(st);
    if (fstatat(dir, whole, &all, AT_SYMLINK_NOFOLLOW) != 0) return own;
    return file_age_base_s(&all) > own ? file_age_base_s(&all) : own;
}

static int look_at(struct collector *c, int dir, const char *rel, const char *name) {
    struct digest d;
    struct stat st;
    if (fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0 || S_ISDIR(st.st_mode)) return 0;
    const int64_t age_s = c->now_s - file_age_base_s(&st);
    if (blob_name_parse(name, &d)) {
        if (digest_set_has(&c->needs.set, &d) || age_s < c->grace_s) return 0;
        return take(c, dir, rel, name, &st, &c->out->n_blobs);
    }
    if (strncmp(name, TEMP_PREFIX, sizeof TEMP_PREFIX - 1) == 0)
        return is_locked(dir, name) ? 0 : take(c, dir, rel, name, &st, &c->out->n_partial);
    if (partial_parse(name, &d) && c->now_s - partial_base_s(dir, name, &st) >= c->partial_s &&
        !store_download_held(c->s, &d))
        return take(c, dir, rel, name, &st, &c->out->n_partial);
    return 0;
}

static int sweep(struct collector *c, const char *rel) {
    struct err err;
    const int fd = store_dir(c->s, rel, false, &err);
    if (fd < 0) return err.code == ERR_NOT_FOUND ? 0 : err_set(c->e, err.code, "%s", err.msg);
    DIR *d = store_read_dir(fd, c->e, rel);
    int rc = d ? 0 : -1;
    for (struct dirent *f; rc == 0 && (f = readdir(d));)
        rc = look_at(c, dirfd(d), rel, f->d_name);
    if (rc == 0 && !c->dry) fsync(dirfd(d));
    if (d) closedir(d);
    return rc;
}

/* Manifests that a dead process did not finish: whoever writes one holds the lock that we hold. */
static int sweep_manifests(struct collector *c) {
    struct err err;
    const int fd = store_dir(c->s, DIR_MANIFESTS, false, &err);
    if (fd < 0) return 0;
    DIR *d = store_read_dir(fd, c->e, DIR_MANIFESTS);
    int rc = d ? 0 : -1;
    for (struct dirent *f; rc == 0 && (f = readdir(d));) {
        struct stat st;
        if (strncmp(f->d_name, MANIFEST_TEMP, sizeof MANIFEST_TEMP - 1) == 0 &&
            fstatat(dirfd(d), f->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
            rc = take(c, dirfd(d), DIR_MANIFESTS, f->d_name, &st, &c->out->n_partial);
    }
    if (d) closedir(d);
    return rc;
}

/* A folder of files on their way to the store, locked while their process lives (create).  Takes
 * fd. */
static int remove_work(struct collector *c, int ours, const char *name, int fd) {
    char rel[NAME_PART_MAX];
    struct dirent *f;
    const bool dead = flock(fd, LOCK_EX | LOCK_NB) == 0;
    DIR *d = store_read_dir(fd, c->e, name);
    int rc = d ? 0 : -1;
    snprintf(rel, sizeof rel, DIR_OURS "/%.40s", name);
    while (rc == 0 && dead && (f = readdir(d))) {
        struct stat st;
        if (fstatat(dirfd(d), f->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && !S_ISDIR(st.st_mode))
            rc = take(c, dirfd(d), rel, f->d_name, &st, &c->out->n_partial);
    }
    if (rc == 0 && dead && !c->dry) unlinkat(ours, name, AT_REMOVEDIR);
    if (d) closedir(d);
    return rc;
}

static bool ends_with(const char *name, const char *end) {
    const size_t n = strlen(name), k = strlen(end);
    return n >= k && strcmp(name + n - k, end) == 0;
}

static int count_checkpoints(DIR *d) {
    int n = 0;
    for (struct dirent *f; (f = readdir(d));)
        n += ends_with(f->d_name, ".ckpt");
    rewinddir(d);
    return n;
}

/* A fine-tune's checkpoints, locked while it runs: they may be taken up again for a week.  What was
 * half written goes, and a folder in which there is none.  Takes fd. */
static int remove_run(struct collector *c, int ours, const char *name, int fd) {
    char rel[NAME_PART_MAX];
    struct dirent *f;
    struct stat st;
    const bool dead = fstat(fd, &st) == 0 && flock(fd, LOCK_EX | LOCK_NB) == 0;
    const int64_t age_s = dead ? c->now_s - (int64_t)st.st_mtime : 0;
    DIR *d = store_read_dir(fd, c->e, name);
    int rc = d ? 0 : -1;
    const bool none = d && dead && count_checkpoints(d) == 0 && age_s >= c->grace_s;
    const bool all = none || age_s >= RUN_AGE_S;
    snprintf(rel, sizeof rel, DIR_OURS "/%.40s", name);
    while (rc == 0 && dead && (f = readdir(d))) {
        struct stat one;
        if (fstatat(dirfd(d), f->d_name, &one, AT_SYMLINK_NOFOLLOW) != 0 || S_ISDIR(one.st_mode) ||
            !(all || ends_with(f->d_name, ".tmp")))
            continue;
        rc = take(c, dirfd(d), rel, f->d_name, &one, &c->out->n_partial);
    }
    if (rc == 0 && all && !c->dry) unlinkat(ours, name, AT_REMOVEDIR);
    /* What was removed is no sign of life. */
    if (d && dead && !all && !c->dry)
        futimens(dirfd(d), (struct timespec[]){{.tv_nsec = UTIME_OMIT}, st.st_mtim});
    if (d) closedir(d);
    return rc;
}

static int sweep_work(struct collector *c) {
    struct err err;
    const int ours = store_dir(c->s, DIR_OURS, false, &err);
    if (ours < 0) return 0;
    DIR *d = store_read_dir(ours, c->e, DIR_OURS);
    int rc = d ? 0 : -1;
    for (struct dirent *f; rc == 0 && (f = readdir(d));) {
        const bool run = strncmp(f->d_name, RUN_PREFIX, sizeof RUN_PREFIX - 1) == 0;
        if (!run && strncmp(f->d_name, WORK_PREFIX, sizeof WORK_PREFIX - 1) != 0) continue;
        const int fd = openat(dirfd(d), f->d_name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (fd >= 0) rc = (run ? remove_run : remove_work)(c, dirfd(d), f->d_name, fd);
    }
    if (d) closedir(d);
    return rc;
}

static int collect(struct collector *c) {
    int rc = find_needs(c->s, c->dry, &c->needs, c->e);
    c->out->kept_all = c->needs.unknown;
    if (rc == 0 && !c->needs.unknown) {
        rc = sweep(c, DIR_BLOBS);
        if (rc == 0) rc = sweep(c, DIR_LINKS);
        if (rc == 0) rc = sweep_manifests(c);
        if (rc == 0) rc = sweep_work(c);
    }
    digest_set_fini(&c->needs.set);
    return rc;
}

int store_collect(struct store *s, int64_t grace_s, bool dry, struct store_gc *out, struct err *e) {
    struct err err;
    *out = (struct store_gc){0};
    const int root = store_dir(s, "", false, &err);
    if (root < 0) return err.code == ERR_NOT_FOUND ? 0 : err_set(e, err.code, "%s", err.msg);
    close(root);
    const int lock = dry ? -1 : store_lock(s, STORE_EXCLUSIVE, e);
    if (!dry && lock < 0) return -1;
    struct collector c = {.s = s,
                          .now_s = time(NULL),
                          .grace_s = grace_s,
                          .partial_s = grace_s > 0 ? PARTIAL_AGE_S : 0,
                          .dry = dry,
                          .out = out,
                          .e = e};
    /* No grace: also what a clock that was set back made young. */
    if (grace_s <= 0) c.grace_s = c.partial_s = INT64_MIN;
    const int rc = collect(&c);
    if (lock >= 0) close(lock);
    return rc;
}

static int remove_blob(const struct store *s, const char *rel, const struct digest *d,
                       struct err *e) {
    char name[BLOB_NAME];
    struct err err;
    blob_name(d, name);
    const int dir = store_dir(s, rel, false, &err);
    if (dir < 0) return err.code == ERR_NOT_FOUND ? 0 : err_set(e, err.code, "%s", err.msg);
    int rc = unlinkat(dir, name, 0);
    if (rc == 0)
        fsync(dir);
    else
        rc = errno == ENOENT ? 0 : store_fail(s, rel, name, e);
    close(dir);
    return rc;
}

int store_collect_those(struct store *s, const struct digest_set *those, struct err *e) {
    struct needs needs;
    int rc = find_needs(s, false, &needs, e);
    for (size_t i = 0; rc == 0 && !needs.unknown && i < those->n; i++) {
        if (digest_set_has(&needs.set, &those->v[i])) continue;
        rc = remove_blob(s, DIR_BLOBS, &those->v[i], e);
        if (rc == 0) rc = remove_blob(s, DIR_LINKS, &those->v[i], e);
    }
    digest_set_fini(&needs.set);
    return rc;
}

int store_discard_blob(struct store *s, const struct digest *d, struct err *e) {
    const int lock = store_lock(s, STORE_EXCLUSIVE, e);
    if (lock < 0) return -1;
    int rc = remove_blob(s, DIR_BLOBS, d, e);
    if (rc == 0) rc = remove_blob(s, DIR_LINKS, d, e);
    close(lock);
    return rc;
}
