/* Leases: what blobs a model in the making needs.  A lease is a file of digests, one a line, that
 * its maker keeps locked: the system lets go of the lock when the process ends, however it ends,
 * and a collection takes an unlocked file for what a dead process left.  Adding to a lease shares
 * the store's lock, so that it happens before a collection looks or after it is done.
 *
 * Whoever downloads a blob holds a byte of .cria/downloads at an offset made of its digest: nothing
 * is left behind, and who is dead holds nothing. */
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

enum { POLL_MS = 100 };

struct lease {
    struct store *store; /* borrowed */
    int fd, dir;         /* owned: the file, locked, and its folder */
    char name[TEMP_NAME];
};

struct store *lease_store(const struct lease *l) {
    return l->store;
}

static int make_folders(const struct store *s, struct err *e) {
    static const char *const folder[] = {DIR_BLOBS, DIR_MANIFESTS, DIR_LINKS, DIR_LEASES};
    for (size_t i = 0; i < sizeof folder / sizeof *folder; i++) {
        const int fd = store_dir(s, folder[i], true, e);
        if (fd < 0) return -1;
        close(fd);
    }
    return 0;
}

static int open_file(struct lease *l, struct err *e) {
    char prefix[24];
    snprintf(prefix, sizeof prefix, "%ld-", (long)getpid());
    if (temp_name(prefix, l->name, e) != 0) return -1;
    l->fd = openat(l->dir, l->name, O_RDWR | O_CREAT | O_EXCL | O_APPEND | O_CLOEXEC | O_NOFOLLOW,
                   0644);
    if (l->fd < 0 || flock(l->fd, LOCK_EX | LOCK_NB) != 0)
        return store_fail(l->store, DIR_LEASES, l->name, e);
    return 0;
}

struct lease *store_lease(struct store *s, struct err *e) {
    struct lease *l = calloc(1, sizeof *l);
    if (!l) {
        err_nomem(e, "lease");
        return NULL;
    }
    *l = (struct lease){.store = s, .fd = -1, .dir = -1};
    const int lock = make_folders(s, e) == 0 ? store_lock(s, STORE_SHARED, e) : -1;
    if (lock >= 0) l->dir = store_dir(s, DIR_LEASES, true, e);
    const int rc = l->dir >= 0 ? open_file(l, e) : -1;
    if (lock >= 0) close(lock);
    if (rc == 0) return l;
    store_lease_end(l);
    return NULL;
}

void store_lease_end(struct lease *l) {
    if (!l) return;
    if (l->fd >= 0) {
        unlinkat(l->dir, l->name, 0);
        close(l->fd);
    }
    if (l->dir >= 0) close(l->dir);
    free(l);
}

int store_lease_add(struct lease *l, const struct digest *d, struct err *e) {
    char line[BLOB_NAME + 1];
    const int lock = store_lock(l->store, STORE_SHARED, e);
    if (lock < 0) return -1;
    blob_name(d, line);
    line[BLOB_NAME - 1] = '\n';
    int rc = write_fully(l->fd, line, BLOB_NAME);
    if (rc != 0) rc = store_fail(l->store, DIR_LEASES, l->name, e);
    close(lock);
    return rc;
}

/* ---- what others hold ---- */

/* Lines of one lease; what is no digest (a line cut short) is passed over. */
static int read_lease(int fd, const char *where, struct digest_set *set, struct err *e) {
    FILE *f = fdopen(fd, "r");
    char line[128];
    int rc = 0;
    if (!f) {
        close(fd);
        return err_errno(e, where);
    }
    while (rc == 0 && fgets(line, sizeof line, f)) {
        struct digest d;
        line[strcspn(line, "\n")] = 0;
        if (blob_name_parse(line, &d)) rc = digest_set_add(set, &d, e);
    }
    if (rc == 0 && ferror(f)) rc = err_errno(e, where);
    fclose(f);
    return rc;
}

/* One file of the folder: read when its process lives, else removed. */
static int take_lease(const struct store *s, int dir, const char *name, bool dry,
                      struct digest_set *set, struct err *e) {
    const int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0 && (errno == ENOENT || errno == ELOOP)) return 0; /* ended meanwhile; none of ours */
    if (fd < 0) return store_fail(s, DIR_LEASES, name, e);
    if (flock(fd, LOCK_SH | LOCK_NB) == 0) {
        if (!dry) unlinkat(dir, name, 0);
        close(fd);
        return 0;
    }
    return read_lease(fd, name, set, e);
}

int store_leased(const struct store *s, bool dry, struct digest_set *set, struct err *e) {
    struct err err;
    const int dir = store_dir(s, DIR_LEASES, false, &err);
    if (dir < 0) return err.code == ERR_NOT_FOUND ? 0 : err_set(e, err.code, "%s", err.msg);
    DIR *d = store_read_dir(dir, e, DIR_LEASES);
    int rc = d ? 0 : -1;
    for (struct dirent *f; rc == 0 && (f = readdir(d));)
        if (f->d_name[0] != '.') rc = take_lease(s, dirfd(d), f->d_name, dry, set, e);
    if (d) closedir(d);
    return rc;
}

/* ---- downloads ---- */

/* 60 bits of the digest.  Two blobs that share them wait for each other, no more. */
static off_t download_offset(const struct digest *d) {
    char part[16];
    snprintf(part, sizeof part, "%.15s", d->hex);
    return (off_t)strtoull(part, NULL, 16);
}

static int download_file(const struct store *s, bool make, struct err *e) {
    const int dir = store_dir(s, DIR_OURS, make, e);
    if (dir < 0) return -1;
    const int fd =
        openat(dir, "downloads", O_RDWR | (make ? O_CREAT : 0) | O_CLOEXEC | O_NOFOLLOW, 0644);
    const int saved = errno;
    close(dir);
    errno = saved;
    if (fd < 0) store_fail(s, DIR_OURS, "downloads", e);
    return fd;
}

int store_lock_download(struct store *s, const struct digest *d, const volatile int *stop, int *fd,
                        struct err *e) {
    *fd = download_file(s, true, e);
    if (*fd < 0) return -1;
    for (;;) {
        struct flock lock = {.l_type = F_WRLCK, .l_start = download_offset(d), .l_len = 1};
        if (fcntl(*fd, F_OFD_SETLK, &lock) == 0) return 0;
        if (errno != EAGAIN && errno != EACCES && errno != EINTR) {
            store_fail(s, DIR_OURS, "downloads", e);
            break;
        }
        if (stop && __atomic_load_n(stop, __ATOMIC_RELAXED)) {
            err_set(e, ERR_CANCELLED, "interrupted");
            break;
        }
        nanosleep(&(struct timespec){.tv_nsec = POLL_MS * 1000000}, NULL);
    }
    close(*fd);
    *fd = -1;
    return -1;
}

void store_unlock_download(int fd) {
    if (fd >= 0) close(fd);
}

bool store_download_held(const struct store *s, const struct digest *d) {
    struct flock lock = {.l_type = F_WRLCK, .l_start = download_offset(d), .l_len = 1};
    struct err err;
    const int fd = download_file(s, false, &err);
    if (fd < 0) return err.code != ERR_NOT_FOUND; /* what cannot be asked counts as held */
    const bool held = fcntl(fd, F_OFD_GETLK, &lock) != 0 || lock.l_type != F_UNLCK;
    close(fd);
    return held;
}
