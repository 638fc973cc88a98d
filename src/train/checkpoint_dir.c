/* See checkpoint.h: the folder of a run.  What is the newest is in the names, so that it does not
 * take a second file, which could disagree. */
#include "train/checkpoint.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"

/* A name's step, or -1: "step-", six digits or more (no zeros before a
 * seventh), ".ckpt" and then `tail`. */
static int64_t step_of(const char *name, const char *tail) {
    int64_t step = 0;
    if (strncmp(name, "step-", 5) != 0) return -1;
    const char *p = name + 5, *digits = p;
    for (; *p >= '0' && *p <= '9' && p - digits < 18; p++)
        step = 10 * step + (*p - '0');
    if (p - digits < 6 || (p - digits > 6 && *digits == '0')) return -1;
    if (strncmp(p, ".ckpt", 5) != 0 || strcmp(p + 5, tail) != 0) return -1;
    return step;
}

static int step_path(char out[PATH_MAX], const char *dir, int64_t step, struct err *e) {
    if (snprintf(out, PATH_MAX, "%s/step-%06lld.ckpt", dir, (long long)step) < PATH_MAX) return 0;
    return err_set(e, ERR_USAGE, "%s: the path is too long", dir);
}

/* The highest step below `limit` that there is a file of; -1: none.  -2 with an error. */
static int64_t highest_below(const char *dir, int64_t limit, struct err *e) {
    int64_t best = -1;
    DIR *d = opendir(dir);
    if (!d) {
        err_errno(e, dir);
        return -2;
    }
    for (struct dirent *x; (x = readdir(d));) {
        const int64_t step = step_of(x->d_name, "");
        if (step < limit && step > best) best = step;
    }
    closedir(d);
    return best;
}

int64_t checkpoint_newest(const char *dir) {
    const int64_t step = highest_below(dir, INT64_MAX, NULL);
    return step < 0 ? -1 : step;
}

/* What stays: `step` and the one before it.  What cannot be removed is no reason to stop. */
static void remove_others(const char *dir, int64_t step) {
    const int64_t before = highest_below(dir, step, NULL);
    DIR *d = opendir(dir);
    if (!d) return;
    for (struct dirent *x; (x = readdir(d));) {
        const int64_t k = step_of(x->d_name, "");
        const bool half = step_of(x->d_name, ".tmp") >= 0;
        if (half || (k >= 0 && k != step && k != before)) unlinkat(dirfd(d), x->d_name, 0);
    }
    closedir(d);
}

int checkpoint_lock(const char *dir, struct err *e) {
    const int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return err_errno(e, dir);
    if (flock(fd, LOCK_EX | LOCK_NB) == 0) return fd;
    if (errno == EWOULDBLOCK)
        err_set(e, ERR_BUSY, "%s: another training run writes its checkpoints here", dir);
    else
        err_errno(e, dir);
    close(fd);
    return -1;
}

int checkpoint_save(const char *dir, const struct checkpoint *c, struct err *e) {
    char path[PATH_MAX];
    if (step_path(path, dir, c->state->step, e) != 0 || checkpoint_write(path, c, e) != 0)
        return -1;
    remove_others(dir, c->state->step);
    return 0;
}

int checkpoint_load(const char *dir, const struct checkpoint *c, char path[PATH_MAX],
                    struct err *e) {
    struct err first = {0}, now = {0};
    path[0] = 0;
    for (int64_t step = INT64_MAX;;) {
        step = highest_below(dir, step, &now);
        if (step == -1 && first.code) now = first;
        if (step == -1 && !first.code) return 0; /* there is none */
        if (step < 0) break;
        if (step_path(path, dir, step, &now) != 0) break;
        if (checkpoint_read(path, c, &now) == 0) return 0;
        if (now.code != ERR_FORMAT && now.code != ERR_IO) break; /* whole, but not for us */
        log_msg(LOG_WARN, "%s; the one before it is tried", now.msg);
        if (!first.code) first = now;
    }
    path[0] = 0;
    if (e) *e = now;
    return -1;
}
