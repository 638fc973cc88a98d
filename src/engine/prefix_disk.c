/* See prefix_disk.h.  Files of the folder:
 *
 *     <32 hex digits>.kv   a page (engine/prefix_file.h), named by the first half of its chain
 * digest <32 hex digits>.id   a note about a model file (engine/identity.h) tmp-* one of them on
 * its way; left over when a program died
 *
 * Anything else there is not ours and stays.  The modification time is the time of the last use;
 * of one text the later pages look a little older, so that its end is removed before its
 * beginning, without which it is of no use. */
#include "engine/prefix_disk.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"
#include "engine/prefix_file.h"

enum { NAME_HEX = 32, NAME_MAX_BYTES = 64 };

struct page_name {
    char z[NAME_HEX + 4];
};

struct prefix_disk {
    char *folder; /* owned: for messages */
    int dir;
    uint64_t max_bytes;
    size_t page_bytes;
    struct identity *who; /* owned; the writer's while it runs */
    bool known, off;      /* space is known; nothing can be saved (again) */
    uint8_t space[SHA256_BYTES];
    int64_t now_ns; /* wall clock when the text at hand was begun */

    /* The writer: started by save, joined by done.  The job is not touched in between. */
    pthread_t thread;
    bool running;
    int finished; /* atomic; set last */
    struct {
        uint8_t *const *page;
        const int32_t *tok;
        int n_page;
        bool known, off;
        uint8_t space[SHA256_BYTES];
    } job;
};

static int64_t wall_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_REALTIME, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* ---- opening ---- */

static void make_folder(char *path) {
    for (char *p = path + 1; *path && *p; p++) {
        if (*p != '/') continue;
        *p = 0;
        mkdir(path, 0700);
        *p = '/';
    }
    mkdir(path, 0700);
}

void prefix_disk_make(const char *folder) {
    char *path = strdup(folder);
    if (path) make_folder(path);
    free(path);
}

static int check_folder(const char *folder, int dir, struct err *e) {
    struct stat st;
    if (fstat(dir, &st) != 0) return err_errno(e, folder);
    if (st.st_uid == geteuid() && !(st.st_mode & 022)) return 0;
    return err_set(e, ERR_LIMIT,
                   "%s: a prefix cache must belong to its user, and nobody else may write to it",
                   folder);
}

struct prefix_disk *prefix_disk_open(const struct prefix_disk_opts *o, struct err *e) {
    struct prefix_disk *d = calloc(1, sizeof *d);
    if (!d) {
        identity_free(o->who);
        err_nomem(e, o->folder);
        return NULL;
    }
    *d = (struct prefix_disk){
        .dir = -1, .max_bytes = o->max_bytes, .page_bytes = o->page_bytes, .who = o->who};
    d->folder = strdup(o->folder);
    if (!d->folder) {
        err_nomem(e, o->folder);
        goto fail;
    }
    make_folder(d->folder);
    d->dir = open(d->folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (d->dir < 0) {
        err_errno(e, d->folder);
        goto fail;
    }
    if (check_folder(d->folder, d->dir, e) == 0) return d;
fail:
    prefix_disk_close(d);
    return NULL;
}

void prefix_disk_close(struct prefix_disk *d) {
    if (!d) return;
    prefix_disk_done(d, true);
    if (d->dir >= 0) close(d->dir);
    identity_free(d->who);
    free(d->folder);
    free(d);
}

/* ---- names ---- */

int prefix_disk_start(struct prefix_disk *d, uint8_t chain[SHA256_BYTES]) {
    if (!d->known) {
        if (d->off || d->running) return -1;
        const int rc = identity_get(d->who, d->dir, false, d->space);
        if (rc < 0) d->off = true;
        if (rc != 0) return -1;
        d->known = true;
    }
    memcpy(chain, d->space, SHA256_BYTES);
    d->now_ns = wall_ns();
    return 0;
}

int prefix_disk_next(uint8_t chain[SHA256_BYTES], const int32_t *tok) {
    struct sha256 s;
    sha256_init(&s);
    sha256_add(&s, chain, SHA256_BYTES);
    sha256_add(&s, tok, KV_PAGE * sizeof *tok);
    return sha256_final(&s, chain);
}

/* Of the page that ends in state `chain`. */
static struct page_name name_of(const uint8_t chain[SHA256_BYTES]) {
    struct page_name n;
    for (int i = 0; i < NAME_HEX / 2; i++)
        snprintf(n.z + 2 * i, 3, "%02x", chain[i]);
    memcpy(n.z + NAME_HEX, ".kv", 4);
    return n;
}

/* The time of use of page `index` of the text that was begun at now_ns. */
static int64_t use_time(int64_t now_ns, int index) {
    return now_ns - (int64_t)index * 1000;
}

/* ---- reading ---- */

bool prefix_disk_load(struct prefix_disk *d, const uint8_t chain[SHA256_BYTES], int index,
                      const int32_t *tok, uint8_t *page) {
    struct prefix_key k = {.index = (uint32_t)index, .tok = tok, .n_bytes = d->page_bytes};
    uint8_t after[SHA256_BYTES];
    memcpy(k.space, d->space, sizeof k.space);
    memcpy(k.chain, chain, sizeof k.chain);
    memcpy(after, chain, sizeof after);
    if (prefix_disk_next(after, tok) != 0) return false;
    const struct page_name name = name_of(after);
    /* O_NONBLOCK: a fifo of this name must not hold us up. */
    const int fd = openat(d->dir, name.z, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return false;
    struct err e;
    const bool good = prefix_page_read(fd, &k, page, &e) == 0;
    if (good) {
        const int64_t ns = use_time(d->now_ns, index);
        const struct timespec t = {ns / 1000000000, ns % 1000000000};
        futimens(fd, (const struct timespec[]){t, t}); /* may fail: it only looks older */
    } else {
        log_msg(LOG_INFO, "%s/%s: %s", d->folder, name.z, e.msg);
        if (e.code == ERR_FORMAT) unlinkat(d->dir, name.z, 0);
    }
    close(fd);
    return good;
}

/* ---- the limit ---- */

struct entry {
    char name[NAME_MAX_BYTES];
    uint64_t bytes;
    int64_t used_ns;
};

struct entries {
    struct entry *v; /* [n], owned */
    size_t n, cap;
    uint64_t bytes;
};

/* A name that this cache gives: hex digits and a suffix, or a temporary one. */
static bool is_ours(const char *name, bool *temp) {
    *temp = strncmp(name, PREFIX_TEMP, strlen(PREFIX_TEMP)) == 0;
    if (strlen(name) >= NAME_MAX_BYTES) return false;
    if (*temp) return true;
    return strspn(name, "0123456789abcdef") == NAME_HEX &&
           (strcmp(name + NAME_HEX, ".kv") == 0 || strcmp(name + NAME_HEX, ".id") == 0);
}

/* A temporary file that nobody holds locked is removed. */
static bool remove_left_over(int dir, const char *name) {
    const int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK);
    if (fd < 0) return false;
    const bool alone = flock(fd, LOCK_EX | LOCK_NB) == 0;
    if (alone) unlinkat(dir, name, 0);
    close(fd);
    return alone;
}

static void note_entry(struct entries *list, int dir, const char *name) {
    struct stat st;
    bool temp;
    if (!is_ours(name, &temp) || fstatat(dir, name, &st, AT_SYMLINK_NOFOLLOW) != 0) return;
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid()) return;
    if (temp && remove_left_over(dir, name)) return;
    list->bytes += (uint64_t)st.st_size;
    if (temp) return; /* being written: it counts, and stays */
    if (list->n == list->cap) {
        const size_t cap = list->cap ? 2 * list->cap : 256;
        struct entry *v = realloc(list->v, cap * sizeof *v);
        if (!v) return; /* one that is not listed is not removed this time */
        list->v = v, list->cap = cap;
    }
    struct entry *x = &list->v[list->n++];
    *x = (struct entry){.bytes = (uint64_t)st.st_size};
    x->used_ns = (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec;
    memcpy(x->name, name, strlen(name) + 1); /* is_ours: it fits */
}

static int oldest_first(const void *a, const void *b) {
    const int64_t x = ((const struct entry *)a)->used_ns, y = ((const struct entry *)b)->used_ns;
    return (x > y) - (x < y);
}

/* Remove the files that were not used for longest until all fit max_bytes. */
static void bring_down_to(const struct prefix_disk *d, uint64_t max_bytes) {
    struct entries list = {0};
    const int fd = openat(d->dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    DIR *dir = fd >= 0 ? fdopendir(fd) : NULL;
    if (!dir) {
        if (fd >= 0) close(fd);
        return;
    }
    for (const struct dirent *x; (x = readdir(dir));)
        note_entry(&list, d->dir, x->d_name);
    closedir(dir);
    if (list.n) qsort(list.v, list.n, sizeof *list.v, oldest_first);
    for (size_t i = 0; i < list.n && list.bytes > max_bytes; i++) {
        unlinkat(d->dir, list.v[i].name, 0); /* another program may have been faster: as well */
        list.bytes -= list.v[i].bytes;
    }
    free(list.v);
}

/* ---- writing ---- */

static bool is_there(const struct prefix_disk *d, const char *name) {
    struct stat st;
    return fstatat(d->dir, name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISREG(st.st_mode) &&
           (uint64_t)st.st_size == (uint64_t)d->page_bytes + PREFIX_HEAD_BYTES;
}

/* Mark those that are there as used; returns how many are not. */
static int touch_all(const struct prefix_disk *d, int n_page, int64_t now_ns) {
    uint8_t chain[SHA256_BYTES];
    int n_new = 0;
    memcpy(chain, d->job.space, sizeof chain);
    for (int i = 0; i < n_page; i++) {
        if (prefix_disk_next(chain, d->job.tok + (size_t)i * KV_PAGE) != 0) return 0;
        const struct page_name name = name_of(chain);
        if (!is_there(d, name.z)) {
            n_new++;
            continue;
        }
        const int64_t ns = use_time(now_ns, i);
        const struct timespec t = {ns / 1000000000, ns % 1000000000};
        utimensat(d->dir, name.z, (const struct timespec[]){t, t}, AT_SYMLINK_NOFOLLOW);
    }
    return n_new;
}

static int write_new(const struct prefix_disk *d, int n_page, int64_t now_ns) {
    uint8_t head[PREFIX_HEAD_BYTES], chain[SHA256_BYTES];
    struct prefix_key k = {.n_bytes = d->page_bytes};
    memcpy(k.space, d->job.space, sizeof k.space);
    memcpy(chain, k.space, sizeof chain);
    for (int i = 0; i < n_page; i++) {
        memcpy(k.chain, chain, sizeof k.chain);
        k.index = (uint32_t)i, k.tok = d->job.tok + (size_t)i * KV_PAGE;
        if (prefix_disk_next(chain, k.tok) != 0) return -1;
        const struct page_name name = name_of(chain);
        if (is_there(d, name.z)) continue;
        const uint8_t *data = d->job.page[i];
        prefix_page_head(&k, data, head);
        const struct prefix_parts w = {head, data, sizeof head, k.n_bytes, use_time(now_ns, i)};
        if (prefix_file_write(d->dir, name.z, &w) != 0) return -1;
    }
    return fsync(d->dir);
}

static void save(struct prefix_disk *d) {
    const uint64_t file_bytes = (uint64_t)d->page_bytes + PREFIX_HEAD_BYTES;
    const int64_t now_ns = wall_ns();
    int n_page = d->job.n_page;
    if (!d->job.known && identity_get(d->who, d->dir, true, d->job.space) != 0) {
        d->job.off = true;
        return;
    }
    d->job.known = true;
    if ((uint64_t)n_page > d->max_bytes / file_bytes) n_page = (int)(d->max_bytes / file_bytes);
    const int n_new = touch_all(d, n_page, now_ns);
    if (n_new < PREFIX_MIN_NEW) return;
    bring_down_to(d, d->max_bytes - (uint64_t)n_new * file_bytes);
    const int64_t t0 = os_now_ns();
    if (write_new(d, n_page, now_ns) == 0) {
        log_msg(LOG_INFO, "%s: %d pages written in %.0f ms", d->folder, n_new,
                (double)(os_now_ns() - t0) * 1e-6);
    } else {
        log_msg(LOG_WARN, "%s: the prefix cache could not be written: %s", d->folder,
                strerror(errno));
        d->job.off = true; /* said once */
    }
    bring_down_to(d, d->max_bytes); /* others write, too */
}

static void *writer(void *arg) {
    struct prefix_disk *d = arg;
    save(d);
    __atomic_store_n(&d->finished, 1, __ATOMIC_RELEASE);
    return NULL;
}

bool prefix_disk_save(struct prefix_disk *d, uint8_t *const *page, const int32_t *tok, int n_page) {
    if (d->off || !prefix_disk_done(d, false)) return false;
    d->job.page = page, d->job.tok = tok, d->job.n_page = n_page;
    d->job.known = d->known, d->job.off = false;
    memcpy(d->job.space, d->space, sizeof d->space);
    d->finished = 0;
    /* Signals are for those who wait for keys. */
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    d->running = pthread_create(&d->thread, NULL, writer, d) == 0;
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return d->running;
}

bool prefix_disk_done(struct prefix_disk *d, bool wait) {
    if (!d->running) return true;
    if (!wait && !__atomic_load_n(&d->finished, __ATOMIC_ACQUIRE)) return false;
    pthread_join(d->thread, NULL);
    d->running = false;
    d->off = d->off || d->job.off;
    d->known = d->job.known;
    memcpy(d->space, d->job.space, sizeof d->space);
    return true;
}
