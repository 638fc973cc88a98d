/* Landlock (Documentation/userspace-api/landlock.rst). */
#include "base/sandbox_priv.h"

#ifdef __linux__
#include <errno.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

/* As of ABI 6; the headers may be older. */
struct ruleset {
    uint64_t fs, net, scoped;
};

enum { FS_EXECUTE = 1, FS_WRITE_FILE = 2, FS_READ_FILE = 4, FS_IOCTL_DEV = 1 << 15 };

int landlock_abi(void) {
    const long v = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);
    return v > 0 ? (int)v : 0;
}

/* Everything that this ABI can refuse. */
static struct ruleset all_rights(int abi) {
    struct ruleset r = {.fs = (1u << 13) - 1}; /* files: execute, write, read, make, remove */
    if (abi >= 2) r.fs |= LANDLOCK_FS_REFER;
    if (abi >= 3) r.fs |= LANDLOCK_FS_TRUNCATE;
    if (abi >= 4) r.net = 1 | 2; /* BIND_TCP, CONNECT_TCP */
    if (abi >= 5) r.fs |= FS_IOCTL_DEV;
    if (abi >= 6) r.scoped = 1 | 2; /* abstract Unix sockets, signals */
    return r;
}

int landlock_new(struct landlock *l) {
    const int abi = landlock_abi();
    const struct ruleset r = all_rights(abi);
    const size_t n_bytes = abi < 4 ? 8 : abi < 6 ? 16 : 24;
    *l = (struct landlock){.all = r.fs};
    l->fd = (int)syscall(SYS_landlock_create_ruleset, &r, n_bytes, 0);
    return l->fd < 0 ? -1 : 0;
}

int landlock_allow(const struct landlock *l, const char *path, uint64_t rights) {
    const uint64_t of_files =
        FS_EXECUTE | FS_WRITE_FILE | FS_READ_FILE | LANDLOCK_FS_TRUNCATE | FS_IOCTL_DEV;
    struct stat st;
    const int fd = open(path, O_PATH | O_CLOEXEC);
    if (fd < 0) return -1;
    rights &= l->all;
    if (fstat(fd, &st) == 0 && !S_ISDIR(st.st_mode)) rights &= of_files;
    const struct landlock_path_beneath_attr a = {.allowed_access = rights, .parent_fd = fd};
    const int rc = (int)syscall(SYS_landlock_add_rule, l->fd, LANDLOCK_RULE_PATH_BENEATH, &a, 0);
    const int saved = errno;
    close(fd);
    errno = saved;
    return rc;
}

int landlock_enter(struct landlock *l) {
    const int rc = (int)syscall(SYS_landlock_restrict_self, l->fd, 0);
    const int saved = errno;
    landlock_drop(l);
    errno = saved;
    return rc;
}

void landlock_drop(struct landlock *l) {
    close(l->fd);
    l->fd = -1;
}
#endif
