/* The store's folders, its lock and small helpers of its other files; see store_priv.h. */
#include "store/store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/random.h>
#include <unistd.h>

#include "base/os.h"
#include "store/store_priv.h"

/* Where the store is when nobody says it. */
static int default_root(char *out, size_t n, struct err *e) {
    if (os_setting("MODELS", out, n)) return 0;
    const char *home = getenv("HOME");
    if (!home || !*home)
        return err_set(e, ERR_USAGE,
                       "model store: no home folder is known; set CRIA_MODELS to a folder");
    return snprintf(out, n, "%s/.cria/models", home) < (int)n
               ? 0
               : err_set(e, ERR_USAGE, "model store: the path of the home folder is too long");
}

struct store *store_open(const char *root, struct err *e) {
    char chosen[STORE_PATH];
    if (!root) {
        if (default_root(chosen, sizeof chosen, e) != 0) return NULL;
        root = chosen;
    }
    struct store *s = calloc(1, sizeof *s);
    if (!s) {
        err_nomem(e, "model store");
        return NULL;
    }
    if (*root && snprintf(s->root, sizeof s->root, "%s", root) < (int)sizeof s->root) return s;
    err_set(e, ERR_USAGE, "model store: a folder's path of %zu bytes; 1 to %zu are accepted",
            strlen(root), sizeof s->root - 1);
    free(s);
    return NULL;
}

void store_close(struct store *s) {
    free(s);
}

const char *store_root(const struct store *s) {
    return s->root;
}

void store_path(const struct store *s, const char *rel, const char *name, char out[STORE_PATH]) {
    const int n = snprintf(out, STORE_PATH, "%s%s%s%s%s", s->root, *rel ? "/" : "", rel,
                           *name ? "/" : "", name);
    if (n >= STORE_PATH) out[STORE_PATH - 1] = 0; /* only in messages: names of ours are short */
}

int store_fail(const struct store *s, const char *rel, const char *name, struct err *e) {
    const int saved = errno;
    char path[STORE_PATH];
    store_path(s, rel, name, path);
    errno = saved;
    return err_errno(e, path);
}

/* ---- folders ---- */

/* mkdir -p of the root, as the user named it. */
static int make_root(const struct store *s, struct err *e) {
    char path[STORE_ROOT_MAX];
    snprintf(path, sizeof path, "%s", s->root);
    for (char *p = path + 1; *p; p++) {
        if (*p != '/') continue;
        *p = 0;
        if (mkdir(path, 0755) != 0 && errno != EEXIST && access(path, F_OK) != 0)
            return err_errno(e, path);
        *p = '/';
    }
    if (mkdir(path, 0755) != 0 && errno != EEXIST) return err_errno(e, path);
    os_sync_folder(path);
    return 0;
}

/* Folder `name` of dir; made, and dir synced, when it is not there and may be. */
static int sub_dir(int dir, const char *name, bool follow, bool make) {
    const int how = O_RDONLY | O_DIRECTORY | O_CLOEXEC | (follow ? 0 : O_NOFOLLOW);
    int fd = openat(dir, name, how);
    if (fd >= 0 || errno != ENOENT || !make) return fd;
    if (mkdirat(dir, name, 0755) != 0 && errno != EEXIST) return -1;
    fsync(dir);
    return openat(dir, name, how);
}

int store_dir(const struct store *s, const char *rel, bool make, struct err *e) {
    int fd = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 && errno == ENOENT && make) {
        if (make_root(s, e) != 0) return -1;
        fd = open(s->root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    }
    if (fd < 0) return store_fail(s, "", "", e);
    char part[64];
    for (const char *p = rel; *p;) {
        const size_t n = strcspn(p, "/");
        snprintf(part, sizeof part, "%.*s", (int)n, p);
        const int next = sub_dir(fd, part, p == rel, make);
        const int saved = errno;
        close(fd);
        errno = saved;
        if (next < 0) return store_fail(s, rel, "", e);
        fd = next;
        p += n + (p[n] == '/');
    }
    return fd;
}

void *store_read_dir(int dir, struct err *e, const char *where) {
    DIR *d = fdopendir(dir);
    if (d) return d;
    err_errno(e, where);
    close(dir);
    return NULL;
}

int store_lock(const struct store *s, enum store_lock how, struct err *e) {
    const int dir = store_dir(s, DIR_OURS, true, e);
    if (dir < 0) return -1;
    const int fd = openat(dir, "lock", O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0666);
    int rc = fd;
    if (fd >= 0) {
        do
            rc = flock(fd, how == STORE_SHARED ? LOCK_SH : LOCK_EX);
        while (rc != 0 && errno == EINTR);
    }
    const int saved = errno;
    close(dir);
    if (rc >= 0) return fd;
    if (fd >= 0) close(fd);
    errno = saved;
    return store_fail(s, DIR_OURS, "lock", e);
}

/* ---- files ---- */

void blob_name(const struct digest *d, char out[BLOB_NAME]) {
    snprintf(out, BLOB_NAME, "sha256-%s", d->hex);
}

bool blob_name_parse(const char *name, struct digest *d) {
    char again[BLOB_NAME];
    if (strlen(name) != BLOB_NAME - 1 || digest_parse(str_of(name), d, NULL) != 0) return false;
    blob_name(d, again);
    return strcmp(name, again) == 0; /* lower case, "-" */
}

int temp_name(const char *prefix, char out[TEMP_NAME], struct err *e) {
    uint64_t r;
    if (getrandom(&r, sizeof r, 0) != sizeof r) return err_errno(e, "random numbers");
    snprintf(out, TEMP_NAME, "%s%016llx", prefix, (unsigned long long)r);
    return 0;
}

int write_fully(int fd, const void *bytes, size_t n) {
    for (const char *p = bytes; n;) {
        const ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return -1;
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

int64_t file_age_base_s(const struct stat *st) {
    return st->st_mtim.tv_sec > st->st_ctim.tv_sec ? st->st_mtim.tv_sec : st->st_ctim.tv_sec;
}
