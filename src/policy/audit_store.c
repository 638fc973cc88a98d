/* What both kinds of audit files share: names, the lock, files that belong together. */
#include "policy/audit_store.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "policy/audit_key.h"

int audit_path(const char *setting, char out[AUDIT_PATH], struct err *e) {
    const char *home = getenv("HOME");
    const size_t most = sizeof((struct audit_store *)0)->path;
    size_t n;
    if (setting && *setting) {
        n = (size_t)snprintf(out, AUDIT_PATH, "%s", setting);
    } else if (home && *home) {
        n = (size_t)snprintf(out, AUDIT_PATH, "%s/.cria", home);
        if (n < most && mkdir(out, 0700) != 0 && errno != EEXIST) return err_errno(e, out);
        n = (size_t)snprintf(out, AUDIT_PATH, "%s/.cria/audit.db", home);
    } else {
        return err_set(e, ERR_USAGE, "audit: HOME is not set; CRIA_AUDIT_FILE names a file");
    }
    return n < most ? 0 : err_set(e, ERR_USAGE, "audit: the name of the file is too long");
}

bool audit_path_is_lines(const char *path) {
    const size_t n = strlen(path);
    return n > 6 && strcmp(path + n - 6, ".jsonl") == 0;
}

/* ---- the lock ---- */

static int busy(const char *path, int fd, struct err *e) {
    char who[24] = "";
    const ssize_t n = pread(fd, who, sizeof who - 1, 0);
    who[n > 0 ? strspn(who, "0123456789") : 0] = 0;
    return err_set(e, ERR_BUSY, "%s: process %s writes this audit log; one may at once", path,
                   *who ? who : "?");
}

static int take_lock(const char *path, struct err *e) {
    char name[AUDIT_PATH], pid[24];
    snprintf(name, sizeof name, "%s.lock", path);
    const int fd = open(name, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return err_errno(e, name);
    if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        const bool held = errno == EWOULDBLOCK;
        held ? busy(path, fd, e) : err_errno(e, name);
        close(fd);
        return -1;
    }
    /* Who holds it is for people: that it cannot be written does not matter. */
    const int n = snprintf(pid, sizeof pid, "%ld\n", (long)getpid());
    if (ftruncate(fd, 0) != 0 || pwrite(fd, pid, (size_t)n, 0) != n) errno = 0;
    return fd;
}

/* ---- the store ---- */

struct audit_store *audit_store_open(const char *path, struct audit_end *end, struct err *e) {
    struct audit_store *s = calloc(1, sizeof *s);
    if (!s) {
        err_nomem(e, path);
        return NULL;
    }
    *end = (struct audit_end){.stopped = true};
    snprintf(s->path, sizeof s->path, "%s", path);
    s->kind = audit_path_is_lines(path) ? &audit_kind_lines : &audit_kind_sqlite;
    s->lock = take_lock(path, e);
    if (s->lock >= 0 && s->kind->open(s, end, e) == 0) return s;
    audit_store_close(s);
    return NULL;
}

void audit_store_close(struct audit_store *s) {
    if (!s) return;
    if (s->data) s->kind->close(s);
    if (s->lock >= 0) close(s->lock);
    free(s);
}

int audit_store_append(struct audit_store *s, const struct buf *line, int n, uint64_t seq,
                       const uint8_t hash[SHA256_BYTES], struct err *e) {
    return s->kind->append(s, line, n, seq, hash, e);
}

int audit_store_rotate(struct audit_store *s, uint64_t seq, struct err *e) {
    return s->kind->rotate(s, seq, e);
}

int audit_store_drop(struct audit_store *s, uint64_t through, struct err *e) {
    return s->kind->drop(s, through, e);
}

uint64_t audit_store_bytes(const struct audit_store *s) {
    return s->kind->bytes(s);
}

/* ---- files that belong to one log ---- */

void audit_segment_path(const char *path, uint64_t seq, char out[AUDIT_PATH]) {
    snprintf(out, AUDIT_PATH, "%s.%020llu", path, (unsigned long long)seq);
}

static int by_number(const void *a, const void *b) {
    const uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;
    return (x > y) - (x < y);
}

/* "audit.jsonl.00000000000000001000" -> 1000; 0: another file. */
static uint64_t segment_of(const char *name, const char *base) {
    const size_t n = strlen(base);
    if (strncmp(name, base, n) != 0 || name[n] != '.') return 0;
    const char *digits = name + n + 1;
    if (strlen(digits) != AUDIT_SEQ_TEXT - 1 || strspn(digits, "0123456789") != strlen(digits))
        return 0;
    return strtoull(digits, NULL, 10);
}

int audit_segments(const char *path, uint64_t **seq, int *n, struct err *e) {
    char folder[AUDIT_PATH];
    const char *slash = strrchr(path, '/'), *base = slash ? slash + 1 : path;
    snprintf(folder, sizeof folder, "%.*s", slash ? (int)(slash - path + 1) : 1,
             slash ? path : ".");
    *seq = NULL, *n = 0;
    DIR *d = opendir(folder);
    if (!d) return errno == ENOENT ? 0 : err_errno(e, folder);
    for (struct dirent *x; (x = readdir(d));) {
        const uint64_t one = segment_of(x->d_name, base);
        uint64_t *more = one ? realloc(*seq, (size_t)(*n + 1) * sizeof *more) : *seq;
        if (one && !more) {
            closedir(d);
            free(*seq);
            return err_nomem(e, folder);
        }
        *seq = more;
        if (one) (*seq)[(*n)++] = one;
    }
    closedir(d);
    if (*n) qsort(*seq, (size_t)*n, sizeof **seq, by_number);
    return 0;
}

bool audit_head_read(const char *path, uint64_t *seq, uint8_t hash[SHA256_BYTES]) {
    char name[AUDIT_PATH], text[128] = "";
    snprintf(name, sizeof name, "%s.head", path);
    const int fd = open(name, O_RDONLY | O_CLOEXEC);
    const ssize_t n = fd >= 0 ? pread(fd, text, sizeof text - 1, 0) : -1;
    if (fd >= 0) close(fd);
    if (n != AUDIT_SEQ_TEXT + 2 * SHA256_BYTES + 1 || text[AUDIT_SEQ_TEXT - 1] != ' ' ||
        strspn(text, "0123456789") != AUDIT_SEQ_TEXT - 1 ||
        strspn(text + AUDIT_SEQ_TEXT, "0123456789abcdef") != 2 * SHA256_BYTES)
        return false;
    *seq = strtoull(text, NULL, 10);
    audit_unhex(text + AUDIT_SEQ_TEXT, hash, SHA256_BYTES);
    return true;
}

static int move(const char *path, const char *behind, const char *to, struct err *e) {
    struct buf from = {0}, at = {0};
    buf_printf(&from, "%s%s", path, behind);
    buf_printf(&at, "%s%s", to, behind);
    int rc = from.failed || at.failed ? err_nomem(e, path) : 0;
    if (rc == 0 && rename(from.p, at.p) != 0 && errno != ENOENT) rc = err_errno(e, from.p);
    buf_fini(&from), buf_fini(&at);
    return rc;
}

int audit_store_set_aside(const char *path, char moved[AUDIT_PATH], struct err *e) {
    static const char *const also[] = {"", "-wal", "-shm", ".head"};
    uint64_t *seq;
    int n, rc = audit_segments(path, &seq, &n, e);
    if (rc != 0) return -1;
    snprintf(moved, AUDIT_PATH, "%s.damaged-%lld", path, (long long)time(NULL));
    for (size_t i = 0; rc == 0 && i < sizeof also / sizeof *also; i++)
        rc = move(path, also[i], moved, e);
    for (int i = 0; rc == 0 && i < n; i++) {
        char behind[AUDIT_SEQ_TEXT + 2];
        snprintf(behind, sizeof behind, ".%020llu", (unsigned long long)seq[i]);
        rc = move(path, behind, moved, e);
    }
    free(seq);
    return rc;
}
