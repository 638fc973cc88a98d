/* See prefix_file.h.  Read with pread, not mapped: another process may remove or, if it is broken,
 * cut the file at any time, and a mapping would end this program with SIGBUS. */
#include "engine/prefix_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/hash.h"
#include "base/os.h"

enum { VERSION = 1 };

_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "headers are copied as they are");
_Static_assert(96 + 4 * KV_PAGE == PREFIX_HEAD_BYTES, "the layout in prefix_file.h");

struct head {
    char magic[8];
    uint32_t version, index;
    uint64_t n_bytes, check;
    uint8_t space[SHA256_BYTES], chain[SHA256_BYTES];
    int32_t tok[KV_PAGE];
};
_Static_assert(sizeof(struct head) == PREFIX_HEAD_BYTES, "no padding");

static struct head head_of(const struct prefix_key *k) {
    struct head h = {.magic = "CRIAKVP1", .version = VERSION, .index = k->index};
    h.n_bytes = k->n_bytes;
    memcpy(h.space, k->space, sizeof h.space);
    memcpy(h.chain, k->chain, sizeof h.chain);
    memcpy(h.tok, k->tok, sizeof h.tok);
    return h;
}

static uint64_t check_of(const struct head *h, const void *data) {
    return hash64(data, (size_t)h->n_bytes, hash64(h, sizeof *h, 0));
}

void prefix_page_head(const struct prefix_key *k, const void *data,
                      uint8_t out[PREFIX_HEAD_BYTES]) {
    struct head h = head_of(k);
    h.check = check_of(&h, data);
    memcpy(out, &h, sizeof h);
}

/* A regular file of n bytes that belongs to this user alone? */
static int check_file(int fd, uint64_t n, struct err *e) {
    struct stat st;
    if (fstat(fd, &st) != 0) return err_errno(e, "prefix cache");
    if (!S_ISREG(st.st_mode) || st.st_uid != geteuid())
        return err_set(e, ERR_LIMIT, "prefix cache: not a regular file of this user");
    if (st.st_mode & 022)
        return err_set(e, ERR_FORMAT, "prefix cache: a file that others may write");
    if (st.st_size < 0 || (uint64_t)st.st_size != n)
        return err_set(e, ERR_FORMAT, "prefix cache: a file of %lld bytes; %llu are needed",
                       (long long)st.st_size, (unsigned long long)n);
    return 0;
}

static int read_at(int fd, uint64_t at, void *to, size_t n, struct err *e) {
    const ssize_t k = os_read_at(fd, to, n, at);
    if (k < 0) return err_errno(e, "prefix cache");
    return (size_t)k == n ? 0 : err_set(e, ERR_FORMAT, "prefix cache: the file ends early");
}

int prefix_page_read(int fd, const struct prefix_key *k, uint8_t *data, struct err *e) {
    struct head h, want = head_of(k);
    if (check_file(fd, (uint64_t)k->n_bytes + sizeof h, e) != 0) return -1;
    if (read_at(fd, 0, &h, sizeof h, e) != 0) return -1;
    const uint64_t check = h.check;
    h.check = 0;
    if (memcmp(&h, &want, sizeof h) != 0)
        return err_set(e, ERR_FORMAT, "prefix cache: another version, model or text than its name");
    if (read_at(fd, sizeof h, data, k->n_bytes, e) != 0) return -1;
    if (check_of(&h, data) != check) return err_set(e, ERR_FORMAT, "prefix cache: torn or damaged");
    return 0;
}

struct note {
    char magic[8];
    uint8_t key[SHA256_BYTES], digest[SHA256_BYTES];
    uint64_t check;
};
_Static_assert(sizeof(struct note) == PREFIX_NOTE_BYTES, "no padding");

void prefix_note_make(const uint8_t key[SHA256_BYTES], const uint8_t digest[SHA256_BYTES],
                      uint8_t out[PREFIX_NOTE_BYTES]) {
    struct note n = {.magic = "CRIAKVN1"};
    memcpy(n.key, key, sizeof n.key);
    memcpy(n.digest, digest, sizeof n.digest);
    n.check = hash64(&n, offsetof(struct note, check), 0);
    memcpy(out, &n, sizeof n);
}

int prefix_note_read(int fd, const uint8_t key[SHA256_BYTES], uint8_t digest[SHA256_BYTES],
                     struct err *e) {
    struct note n;
    if (check_file(fd, sizeof n, e) != 0 || read_at(fd, 0, &n, sizeof n, e) != 0) return -1;
    if (memcmp(n.magic, "CRIAKVN1", sizeof n.magic) != 0 || memcmp(n.key, key, sizeof n.key) != 0 ||
        n.check != hash64(&n, offsetof(struct note, check), 0))
        return err_set(e, ERR_FORMAT, "prefix cache: a torn, damaged or foreign note");
    memcpy(digest, n.digest, sizeof n.digest);
    return 0;
}

/* ---- writing ---- */

static int write_all(int fd, const void *bytes, size_t n) {
    const uint8_t *p = bytes;
    while (n) {
        const ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return -1;
        p += k, n -= (size_t)k;
    }
    return 0;
}

static int fill(int fd, const struct prefix_parts *w) {
    /* The lock tells whoever tidies up that this is no left-over. */
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) return -1;
    if (write_all(fd, w->head, w->n_head) != 0 || write_all(fd, w->data, w->n_data) != 0) return -1;
    if (fsync(fd) != 0) return -1;
    if (w->mtime_ns == 0) return 0;
    const struct timespec t = {w->mtime_ns / 1000000000, w->mtime_ns % 1000000000};
    return futimens(fd, (const struct timespec[]){t, t});
}

int prefix_file_write(int dir, const char *name, const struct prefix_parts *w) {
    char tmp[64];
    snprintf(tmp, sizeof tmp, PREFIX_TEMP "%ld-%llx", (long)getpid(),
             (unsigned long long)os_now_ns());
    const int fd = openat(dir, tmp, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0) return -1;
    int rc = fill(fd, w);
    if (rc == 0) rc = renameat(dir, tmp, dir, name);
    const int why = errno;
    if (rc != 0) unlinkat(dir, tmp, 0);
    close(fd);
    errno = why;
    return rc;
}
