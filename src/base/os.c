/* The operating system: mapping, atomic writes, clocks, limits, the program itself. */
#include "base/os.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>
#ifdef __linux__
#include <link.h>
#endif

static int check_regular(int fd, const char *path, struct stat *st, struct err *e) {
    if (fstat(fd, st) != 0) return err_errno(e, path);
    if (S_ISDIR(st->st_mode))
        return err_set(e, ERR_FORMAT, "%s: is a directory; a regular file is needed", path);
    if (!S_ISREG(st->st_mode))
        return err_set(e, ERR_FORMAT, "%s: is a fifo, socket or device; a regular file is needed",
                       path);
    return 0;
}

/* ---- files that were passed in ---- */

struct passed {
    struct passed *next;
    int fd;
    struct stat st; /* asked when it came: later that may be refused */
    char path[];
};

static struct passed *passed; /* owned; changed while one thread runs */

int os_pass_file(const char *path, int fd, struct err *e) {
    const size_t n = strlen(path) + 1;
    struct passed *p = malloc(sizeof *p + n);
    if (!p) return err_nomem(e, path);
    p->fd = fd;
    p->next = passed;
    memcpy(p->path, path, n);
    if (fstat(fd, &p->st) != 0) {
        free(p);
        return err_errno(e, path);
    }
    passed = p;
    return 0;
}

void os_passed_fini(void) {
    while (passed) {
        struct passed *p = passed;
        passed = p->next;
        close(p->fd);
        free(p);
    }
}

static const struct passed *find_passed(const char *path) {
    const struct passed *p = passed;
    while (p && strcmp(p->path, path) != 0)
        p = p->next;
    return p;
}

/* ---- files ---- */

static int open_regular(const char *path, struct stat *st, struct err *e) {
    const struct passed *p = find_passed(path);
    if (!p && passed) {
        errno = ENOENT; /* what was not passed was not there */
        return err_errno(e, path);
    }
    /* O_NONBLOCK: opening a fifo for reading must not wait for its writer. */
    const int fd = p ? fcntl(p->fd, F_DUPFD_CLOEXEC, 0)
                     : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        /* A socket cannot be opened at all; say what it is rather than ENXIO. */
        if (errno == ENXIO)
            return err_set(e, ERR_FORMAT,
                           "%s: is a fifo, socket or device; a regular file is needed", path);
        return err_errno(e, path);
    }
    if (p)
        *st = p->st;
    else if (check_regular(fd, path, st, e) != 0) {
        close(fd);
        return -1;
    }
    return fd;
}

int os_open_regular(const char *path, struct err *e) {
    struct stat st;
    return open_regular(path, &st, e);
}

int os_map_fd(struct os_map *m, int fd, size_t n, const char *name, struct err *e) {
    *m = (struct os_map){.fd = fd};
    /* Shared, not private: the same pages as the page cache, nothing counted twice. */
    void *p = mmap(NULL, n, PROT_READ, MAP_SHARED, fd, 0);
    if (p == MAP_FAILED) {
        err_errno(e, name);
        os_map_close(m);
        return -1;
    }
    m->data = p;
    m->size = n;
    return 0;
}

int os_map_open(struct os_map *m, const char *path, struct err *e) {
    struct stat st;
    *m = (struct os_map){.fd = open_regular(path, &st, e)};
    if (m->fd < 0) return -1;
    if (st.st_size > 0 && (uint64_t)st.st_size <= SIZE_MAX / 2)
        return os_map_fd(m, m->fd, (size_t)st.st_size, path, e);
    if (st.st_size == 0)
        err_set(e, ERR_FORMAT, "%s: the file is empty", path);
    else
        err_set(e, ERR_LIMIT, "%s: %lld bytes do not fit this machine's address space", path,
                (long long)st.st_size);
    os_map_close(m);
    return -1;
}

void os_map_close(struct os_map *m) {
    if (m->data) munmap((void *)(uintptr_t)m->data, m->size);
    if (m->fd >= 0) close(m->fd);
    *m = (struct os_map){.fd = -1};
}

int os_read_file(const char *path, size_t max_bytes, struct buf *out, struct err *e) {
    const bool is_stdin = strcmp(path, "-") == 0;
    const char *name = is_stdin ? "standard input" : path;
    const int fd =
        is_stdin ? STDIN_FILENO : open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat st;
    int rc = -1;
    if (fd < 0) return err_errno(e, path);
    if (!is_stdin && check_regular(fd, path, &st, e) != 0) goto done;
    for (size_t total = 0;;) {
        char *at = buf_room(out, 64 * 1024);
        if (!at) {
            err_nomem(e, name);
            goto done;
        }
        const ssize_t n = read(fd, at, 64 * 1024);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) {
            err_errno(e, name);
            goto done;
        }
        if (n == 0) break;
        out->n += (size_t)n;
        out->p[out->n] = 0;
        total += (size_t)n;
        if (total > max_bytes) {
            err_set(e, ERR_LIMIT, "%s: more than the %zu bytes that are accepted here", name,
                    max_bytes);
            goto done;
        }
    }
    rc = 0;
done:
    if (!is_stdin) close(fd);
    return rc;
}

static int write_all(int fd, const char *p, size_t n) {
    while (n) {
        const ssize_t k = write(fd, p, n);
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return -1;
        p += k;
        n -= (size_t)k;
    }
    return 0;
}

ssize_t os_read_at(int fd, void *to, size_t n, uint64_t at) {
    size_t got = 0;
    while (got < n) {
        const ssize_t k = pread(fd, (char *)to + got, n - got, (off_t)(at + got));
        if (k < 0 && errno == EINTR) continue;
        if (k < 0) return -1;
        if (k == 0) break;
        got += (size_t)k;
    }
    return (ssize_t)got;
}

int os_sync_folder(const char *path) {
    char dir[PATH_MAX];
    snprintf(dir, sizeof dir, "%s", path);
    char *slash = strrchr(dir, '/');
    if (!slash)
        strcpy(dir, ".");
    else
        slash[slash == dir ? 1 : 0] = 0;
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return -1;
    const int rc = fsync(fd);
    close(fd);
    return rc;
}

int os_write_file(const char *path, const void *bytes, size_t n, struct err *e) {
    char tmp[PATH_MAX];
    if (snprintf(tmp, sizeof tmp, "%s.XXXXXX", path) >= (int)sizeof tmp)
        return err_set(e, ERR_USAGE, "%s: the path is too long", path);
    const int fd = mkstemp(tmp);
    if (fd < 0) return err_errno(e, path);
    int rc = write_all(fd, bytes, n);
    if (rc == 0) rc = fsync(fd);
    if (close(fd) != 0) rc = -1;
    if (rc == 0) rc = rename(tmp, path);
    if (rc == 0) rc = os_sync_folder(path);
    if (rc != 0) {
        err_errno(e, path);
        unlink(tmp);
    }
    return rc;
}

int os_make_private(const char *path, struct err *e) {
    const int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) return err_errno(e, path);
    close(fd);
    return 0;
}

void *os_reserve(size_t n) {
    void *p =
        mmap(NULL, n, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (p == MAP_FAILED) return NULL;
#ifdef MADV_HUGEPAGE
    madvise(p, n, MADV_HUGEPAGE);
#endif
    return p;
}

void os_unreserve(void *p, size_t n) {
    if (p) munmap(p, n);
}

int64_t os_now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

void os_be_nice(void) {
#ifdef __linux__
    (void)setpriority(PRIO_PROCESS, 0, 10); /* of this thread; at worst all stays as it was */
#endif
}

#ifdef __linux__
struct build_id {
    uint8_t *out;
    size_t cap, n;
};

/* A note is three words (length of the name, of the body, type), name and body, each padded to 4.
 */
static void find_in_notes(const uint8_t *p, size_t n, struct build_id *b) {
    uint32_t head[3];
    while (n >= sizeof head) {
        memcpy(head, p, sizeof head);
        const size_t name = (head[0] + 3u) & ~(size_t)3, body = (head[1] + 3u) & ~(size_t)3;
        if (name > n - sizeof head || body > n - sizeof head - name) return;
        const uint8_t *at = p + sizeof head;
        if (head[2] == NT_GNU_BUILD_ID && head[0] == 4 && memcmp(at, "GNU", 4) == 0) {
            b->n = head[1] < b->cap ? head[1] : b->cap;
            memcpy(b->out, at + name, b->n);
            return;
        }
        p = at + name + body;
        n -= sizeof head + name + body;
    }
}

static int find_build_id(struct dl_phdr_info *info, size_t size, void *ctx) {
    const uintptr_t here = (uintptr_t)&find_build_id;
    bool ours = false;
    (void)size;
    for (int i = 0; i < info->dlpi_phnum; i++) {
        const uintptr_t at = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type == PT_LOAD && here >= at &&
            here - at < info->dlpi_phdr[i].p_memsz)
            ours = true;
    }
    for (int i = 0; ours && i < info->dlpi_phnum; i++) {
        const uintptr_t at = info->dlpi_addr + info->dlpi_phdr[i].p_vaddr;
        if (info->dlpi_phdr[i].p_type == PT_NOTE)
            find_in_notes((const uint8_t *)at, info->dlpi_phdr[i].p_memsz, ctx);
    }
    return ours;
}

size_t os_build_id(uint8_t *out, size_t cap) {
    struct build_id b = {out, cap, 0};
    dl_iterate_phdr(find_build_id, &b);
    return b.n;
}
#else
size_t os_build_id(uint8_t *out, size_t cap) {
    (void)out, (void)cap;
    return 0;
}
#endif

size_t os_peak_rss_bytes(void) {
    struct rusage r;
    if (getrusage(RUSAGE_SELF, &r) != 0) return 0;
#ifdef __APPLE__
    return (size_t)r.ru_maxrss;
#else
    return (size_t)r.ru_maxrss * 1024;
#endif
}

/* Kept open: in a sandbox nothing can be opened. */
static int statm = -1;

static void open_statm(void) {
    statm = open("/proc/self/statm", O_RDONLY | O_CLOEXEC);
}

size_t os_rss_bytes(void) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    char text[64] = "";
    pthread_once(&once, open_statm);
    if (statm < 0 || pread(statm, text, sizeof text - 1, 0) <= 0) return 0;
    const char *p = strchr(text, ' ');
    return p ? (size_t)strtoull(p, NULL, 10) * (size_t)sysconf(_SC_PAGESIZE) : 0;
}

void os_give_memory_back(int block_bytes) {
#ifdef __GLIBC__
    mallopt(M_MMAP_THRESHOLD, block_bytes);
#else
    (void)block_bytes;
#endif
}

size_t os_memory_bytes(void) {
    size_t limit = (size_t)sysconf(_SC_PHYS_PAGES) * (size_t)sysconf(_SC_PAGESIZE);
    static const char *const files[] = {"/sys/fs/cgroup/memory.max",
                                        "/sys/fs/cgroup/memory/memory.limit_in_bytes"};
    for (size_t i = 0; i < sizeof files / sizeof *files; i++) {
        FILE *f = fopen(files[i], "re");
        unsigned long long v;
        if (!f) continue;
        if (fscanf(f, "%llu", &v) == 1 && v < limit) limit = (size_t)v;
        fclose(f);
    }
    return limit;
}

const char *os_setting(const char *name, char *buf, size_t n_buf) {
    static const char *const prefix[] = {"CRIA_", "OLLAMA_"};
    for (int i = 0; i < 2; i++) {
        char key[128];
        snprintf(key, sizeof key, "%s%s", prefix[i], name);
        const char *v = getenv(key);
        if (!v) continue;
        size_t n = strlen(v);
        while (n && strchr(" \t'\"", *v))
            v++, n--;
        while (n && strchr(" \t'\"", v[n - 1]))
            n--;
        if (n == 0 || n >= n_buf) continue;
        memcpy(buf, v, n);
        buf[n] = 0;
        return buf;
    }
    return NULL;
}

bool os_parse_bytes(const char *text, uint64_t *out) {
    static const char unit[] = "kmgt";
    char *end;
    if (*text < '0' || *text > '9') return false; /* strtod takes blanks, signs, "nan" and hex */
    if (strspn(text, "0123456789.") < 2 && (text[1] | 32) == 'x') return false;
    double v = strtod(text, &end);
    const char *u = *end ? strchr(unit, *end | 32) : NULL;
    if (u) {
        for (const char *p = unit; p <= u; p++)
            v *= 1024;
        end++;
        if ((end[0] | 32) == 'i' && (end[1] | 32) == 'b') end++;
    }
    if ((*end | 32) == 'b') end++;
    if (*end || !(v <= 0x1p62)) return false;
    *out = (uint64_t)v;
    return true;
}

bool os_parse_time(const char *text, int64_t *ns) {
    static const struct {
        const char *unit;
        double ns;
    } units[] = {{"ns", 1}, {"us", 1e3}, {"ms", 1e6}, {"s", 1e9}, {"m", 60e9}, {"h", 3600e9}};
    enum { N_UNIT = sizeof units / sizeof *units };
    const char *p = text + (*text == '-' || *text == '+');
    double all = 0;
    bool any = false;
    while (*p) {
        char *end;
        const size_t n_number = strspn(p, "0123456789.");
        const double v = n_number ? strtod(p, &end) : -1;
        if (n_number == 0 || end != p + n_number) return false;
        const size_t n_unit = strspn(end, "numsh");
        size_t i = 0;
        while (i < N_UNIT &&
               (strlen(units[i].unit) != n_unit || memcmp(units[i].unit, end, n_unit)))
            i++;
        const bool bare = n_unit == 0 && *end == 0 && !any; /* seconds */
        if (i == N_UNIT && !bare) return false;
        all += v * (bare ? 1e9 : units[i].ns);
        any = true;
        p = end + n_unit;
    }
    if (!any || all > 9e18) return false;
    *ns = (int64_t)(*text == '-' ? -all : all);
    return true;
}
