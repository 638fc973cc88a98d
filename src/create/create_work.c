/* Files on their way to the store: in a folder .cria/create-XXXXXX of it, locked while its process
 * lives.  What a dead one left is removed by the next create. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "create/create_priv.h"

#define WORK_PREFIX "create-"

/* A folder of ours holds files, and folders of links to files. */
static void remove_folder(const char *path, bool top) {
    DIR *d = opendir(path);
    if (!d) return;
    for (struct dirent *x; (x = readdir(d));) {
        char inner[STORE_PATH + 512];
        if (x->d_name[0] == '.' || unlinkat(dirfd(d), x->d_name, 0) == 0 || !top) continue;
        snprintf(inner, sizeof inner, "%s/%s", path, x->d_name);
        remove_folder(inner, false);
    }
    closedir(d);
    rmdir(path);
}

static void remove_if_dead(const char *path) {
    const int fd = open(path, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return;
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) remove_folder(path, true);
    close(fd);
}

void create_sweep(struct store *s) {
    char ours[STORE_PATH];
    snprintf(ours, sizeof ours, "%.*s/.cria", STORE_PATH - 8, store_root(s));
    DIR *d = opendir(ours);
    if (!d) return;
    for (struct dirent *x; (x = readdir(d));) {
        char path[STORE_PATH + 256];
        if (strncmp(x->d_name, WORK_PREFIX, sizeof WORK_PREFIX - 1) != 0) continue;
        snprintf(path, sizeof path, "%s/%s", ours, x->d_name);
        remove_if_dead(path);
    }
    closedir(d);
}

/* Made and locked; another create may sweep it away between the two: then another one is made. */
static int make_folder(struct creation *k, struct err *e) {
    for (int i = 0; i < 100; i++) {
        struct stat by_fd, by_path;
        if (snprintf(k->work, sizeof k->work, "%s/.cria/" WORK_PREFIX "XXXXXX", store_root(k->s)) >=
            (int)sizeof k->work - 32)
            break;
        if (!mkdtemp(k->work)) break;
        k->work_fd = open(k->work, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
        if (k->work_fd < 0) continue;
        if (flock(k->work_fd, LOCK_EX | LOCK_NB) == 0 && fstat(k->work_fd, &by_fd) == 0 &&
            stat(k->work, &by_path) == 0 && by_fd.st_ino == by_path.st_ino)
            return 0;
        close(k->work_fd);
    }
    err_errno(e, k->work);
    k->work[0] = 0;
    return -1;
}

static int need_folder(struct creation *k, struct err *e) {
    if (k->work[0]) return 0;
    create_sweep(k->s);
    return make_folder(k, e);
}

int create_work_path(struct creation *k, char path[STORE_PATH], struct err *e) {
    if (need_folder(k, e) != 0) return -1;
    snprintf(path, STORE_PATH, "%.*s/%d.gguf", STORE_PATH - 32, k->work, k->n_work++);
    return 0;
}

int create_work_folder(struct creation *k, char path[STORE_PATH], struct err *e) {
    if (need_folder(k, e) != 0) return -1;
    snprintf(path, STORE_PATH, "%.*s/%d.files", STORE_PATH - 32, k->work, k->n_work++);
    return mkdir(path, 0700) == 0 ? 0 : err_errno(e, path);
}

void create_work_end(struct creation *k) {
    if (!k->work[0]) return;
    remove_folder(k->work, true);
    close(k->work_fd);
    k->work[0] = 0;
}
