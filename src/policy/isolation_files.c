/* The files an isolated server keeps to (Landlock): those it is given, and what the program and its
 * libraries read.  A folder of libraries rather than each file, so that an update of the system
 * does not keep the next model from being started; the loader, which may be started as a program,
 * is a file, and after an update of the C library the server has to be started again. */
#include "policy/isolation.h"

#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#ifdef __linux__
#include <elf.h>
#include <link.h>
#endif

#include "base/os.h"

void isolation_files_add(struct isolation_files *f, const char *path, int may) {
    if (!path || !*path) return;
    if (f->n == f->cap) {
        const int cap = f->cap ? 2 * f->cap : 32;
        struct sandbox_rule *rule = realloc(f->rule, (size_t)cap * sizeof *rule);
        if (!rule) {
            f->failed = true;
            return;
        }
        f->rule = rule;
        f->cap = cap;
    }
    char *own = strdup(path);
    if (own)
        f->rule[f->n++] = (struct sandbox_rule){own, may};
    else
        f->failed = true;
}

void isolation_files_fini(struct isolation_files *f) {
    for (int i = 0; i < f->n; i++)
        free((char *)(uintptr_t)f->rule[i].path);
    free(f->rule);
    *f = (struct isolation_files){0};
}

/* Too much to be read for a library's sake: the user's home, and what is above it. */
static bool holds_home(const char *folder) {
    char home[PATH_MAX];
    const char *set = getenv("HOME");
    const size_t n = strlen(folder);
    if (n <= 1) return true;
    if (!set || !realpath(set, home)) return false;
    return strncmp(home, folder, n) == 0 && (home[n] == 0 || home[n] == '/');
}

void isolation_files_add_config(struct isolation_files *f, const char *path, int may) {
    char file[PATH_MAX], folder[PATH_MAX];
    struct stat st;
    if (!path || !*path || strlen(path) >= sizeof file) return;
    isolation_files_add(f, path, may);
    strcpy(file, path);
    char *slash = strrchr(file, '/');
    if (!slash || slash == file) return; /* in the current folder, or in / */
    *slash = 0;
    if (!realpath(file, folder) || holds_home(folder) || strcmp(folder, "/etc") == 0) return;
    if (stat(folder, &st) == 0 && !(st.st_mode & S_IWOTH)) isolation_files_add(f, folder, may);
}

#ifdef __linux__

static void add_library(struct isolation_files *f, const char *name) {
    char path[PATH_MAX], folder[PATH_MAX];
    if (!realpath(name, path)) return;
    strcpy(folder, path);
    char *slash = strrchr(folder, '/');
    if (!slash) return;
    *slash = 0;
    isolation_files_add(f, holds_home(folder) ? path : folder, SANDBOX_READ);
}

/* The loader's path is in the program's own file; the first of all is the program. */
static int on_object(struct dl_phdr_info *info, size_t n, void *ctx) {
    struct isolation_files *f = ctx;
    (void)n;
    if (info->dlpi_name && *info->dlpi_name) add_library(f, info->dlpi_name);
    for (int i = 0; i < info->dlpi_phnum; i++)
        if (info->dlpi_phdr[i].p_type == PT_INTERP)
            isolation_files_add(f, (const char *)(info->dlpi_addr + info->dlpi_phdr[i].p_vaddr),
                                SANDBOX_READ | SANDBOX_RUN);
    return 0;
}

void isolation_files_program(struct isolation_files *f) {
    /* Of /proc a process in a Landlock domain sees what is everybody's: what takes the right to
     * trace another process (its memory, environment, descriptors) is refused with that.  Its own
     * memory is there, and so is that of its children. */
    static const char *const readable[] = {
        "/proc",
        "/sys/devices/system",
        "/sys/fs/cgroup",
        "/sys/kernel/mm/transparent_hugepage",
        "/dev/urandom",
        "/dev/random",
        "/etc/ld.so.cache",
        "/etc/ld.so.preload",
        "/etc/localtime",
        "/usr/share/zoneinfo",
        "/usr/lib/locale",
        "/etc/ssl/openssl.cnf",
        "/etc/nsswitch.conf",
        "/etc/passwd",
        "/etc/group",
    };
    char program[PATH_MAX];
    for (size_t i = 0; i < sizeof readable / sizeof *readable; i++)
        isolation_files_add(f, readable[i], SANDBOX_READ);
    isolation_files_add(f, "/dev/null", SANDBOX_READ | SANDBOX_WRITE);
    isolation_files_add(f, "/proc/self/exe", SANDBOX_READ | SANDBOX_RUN);
    if (os_setting("PROGRAM", program, sizeof program))
        isolation_files_add(f, program, SANDBOX_READ | SANDBOX_RUN);
    dl_iterate_phdr(on_object, f);
}

#else
void isolation_files_program(struct isolation_files *f) {
    (void)f;
}
#endif
