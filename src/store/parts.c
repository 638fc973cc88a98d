/* See parts.h: blobs/sha256-<hex>-partial and, for each part N, -partial-N with
 * {"N":0,"Offset":0,"Size":104857600,"Completed":1234}. */
#include "store/parts.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/json.h"

#define MIN_PART ((uint64_t)100 << 20)
#define MAX_PART ((uint64_t)1000 << 20)
enum { MAX_STATE_BYTES = 4096 };

static int open_state(const struct store *s, const struct digest *d, int i, int flags) {
    char path[STORE_PATH];
    store_partial_path(s, d, i, path);
    return open(path, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, 0644);
}

/* Values outside the part count as nothing done. */
static bool read_state(struct part *p) {
    char text[MAX_STATE_BYTES];
    const ssize_t n = pread(p->fd, text, sizeof text, 0);
    json_t *o = n > 0 ? json_read_object("part", (struct str){text, (size_t)n}, 100, NULL) : NULL;
    json_int_t from = -1, size = -1, done = 0;
    const bool ok = o && json_unpack(o, "{s:I, s:I, s?:I}", "Offset", &from, "Size", &size,
                                     "Completed", &done) == 0;
    json_decref(o);
    if (!ok || from < 0 || size <= 0) return false;
    p->from = (uint64_t)from, p->n_bytes = (uint64_t)size;
    atomic_init(&p->done, done > 0 && done <= size ? (uint64_t)done : 0);
    return true;
}

/* All parts, one behind the other, from 0 to n_bytes; the file as long as what is done says. */
static bool resume(struct parts *p, const struct store *s, const struct digest *d,
                   uint64_t n_bytes) {
    struct stat st;
    uint64_t at = 0;
    if (fstat(p->fd, &st) != 0) return false;
    for (; p->n < PARTS_MAX && at < n_bytes; p->n++) {
        struct part *x = &p->part[p->n];
        x->fd = open_state(s, d, p->n, 0);
        if (x->fd < 0) return false;
        if (!read_state(x) || x->from != at || x->n_bytes > n_bytes - at) {
            p->n++;
            return false;
        }
        if (x->from + atomic_load(&x->done) > (uint64_t)st.st_size) atomic_store(&x->done, 0);
        at += x->n_bytes;
    }
    return at == n_bytes;
}

static void close_states(struct parts *p) {
    for (int i = 0; i < p->n; i++)
        if (p->part[i].fd >= 0) close(p->part[i].fd);
    p->n = 0;
}

static int begin(struct parts *p, const struct store *s, const struct digest *d, uint64_t n_bytes,
                 struct err *e) {
    uint64_t size = n_bytes / 16;
    if (size < MIN_PART) size = MIN_PART;
    if (size > MAX_PART) size = MAX_PART;
    if (n_bytes / size >= PARTS_MAX) size = n_bytes / (PARTS_MAX - 1);
    if (ftruncate(p->fd, 0) != 0) return err_errno(e, store_root(s));
    for (uint64_t at = 0; at < n_bytes; at += size, p->n++) {
        struct part *x = &p->part[p->n];
        x->from = at, x->n_bytes = n_bytes - at < size ? n_bytes - at : size;
        atomic_init(&x->done, 0);
        x->fd = open_state(s, d, p->n, O_CREAT | O_TRUNC);
        if (x->fd < 0) return err_errno(e, store_root(s));
        parts_save(p, p->n);
    }
    return 0;
}

int parts_open(struct parts *p, const struct store *s, const struct digest *d, uint64_t n_bytes,
               struct err *e) {
    char path[STORE_PATH];
    memset(p, 0, sizeof *p);
    store_partial_path(s, d, -1, path);
    p->fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644);
    if (p->fd < 0) return err_errno(e, path);
    if (resume(p, s, d, n_bytes)) return 0;
    close_states(p);
    return begin(p, s, d, n_bytes, e);
}

uint64_t parts_on_disk(const struct store *s, const struct digest *d) {
    char path[STORE_PATH];
    struct stat st;
    store_partial_path(s, d, -1, path);
    return lstat(path, &st) == 0 ? (uint64_t)st.st_blocks * 512 : 0;
}

void parts_close(struct parts *p) {
    for (int i = 0; i < p->n; i++)
        parts_save(p, i);
    close_states(p);
    if (p->fd >= 0) close(p->fd);
    p->fd = -1;
}

/* One write, shorter than any page: a state is the old one or the new one.  Padded with blanks, so
 * that it never gets shorter. */
void parts_save(struct parts *p, int i) {
    char text[160];
    const struct part *x = &p->part[i];
    const int n =
        snprintf(text, sizeof text, "{\"N\":%d,\"Offset\":%llu,\"Size\":%llu,\"Completed\":%llu}",
                 i, (unsigned long long)x->from, (unsigned long long)x->n_bytes,
                 (unsigned long long)atomic_load(&x->done));
    memset(text + n, ' ', sizeof text - (size_t)n);
    text[sizeof text - 1] = '\n';
    (void)!pwrite(x->fd, text, sizeof text, 0); /* lost: the part is fetched again */
}

uint64_t parts_done(const struct parts *p) {
    uint64_t sum = 0;
    for (int i = 0; i < p->n; i++)
        sum += atomic_load(&p->part[i].done);
    return sum;
}

uint64_t parts_frontier(const struct parts *p) {
    uint64_t at = 0;
    for (int i = 0; i < p->n; i++) {
        const uint64_t done = atomic_load(&p->part[i].done);
        at += done;
        if (done < p->part[i].n_bytes) break;
    }
    return at;
}
