/* Where checkpoints are: a folder of the store's own for each run, found again by what the run is.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "create/tune_priv.h"
#include "store/digest.h"
#include "train/checkpoint.h"

#define PREFIX "train-" /* as store/gc.c knows it */
#define NOTE "run"
enum { KEY = 16, OLD_S = 30 * 24 * 3600, MAX_NOTE = 1 << 16 };

void tune_folder_remove(const char *path) {
    DIR *d = opendir(path);
    if (!d) return;
    for (struct dirent *x; (x = readdir(d));)
        if (strcmp(x->d_name, ".") != 0 && strcmp(x->d_name, "..") != 0)
            unlinkat(dirfd(d), x->d_name, 0);
    closedir(d);
    rmdir(path);
}

/* Every checkpoint is a file more in the folder, so its time of change tells when the run was last
 * alive. */
static void remove_if_old(const char *path) {
    struct stat st;
    if (lstat(path, &st) == 0 && S_ISDIR(st.st_mode) && time(NULL) - st.st_mtime > OLD_S)
        tune_folder_remove(path);
}

static void sweep(const char *ours) {
    DIR *d = opendir(ours);
    if (!d) return;
    for (struct dirent *x; (x = readdir(d));) {
        char path[STORE_PATH + 256];
        if (strncmp(x->d_name, PREFIX, sizeof PREFIX - 1) != 0) continue;
        snprintf(path, sizeof path, "%s/%s", ours, x->d_name);
        remove_if_old(path);
    }
    closedir(d);
}

static int ours_of(const struct store *s, char ours[STORE_PATH]) {
    return snprintf(ours, STORE_PATH, "%.*s/.cria", STORE_PATH - 64, store_root(s));
}

int tune_folder_path(const struct store *s, const char *what, char path[STORE_PATH],
                     struct err *e) {
    char ours[STORE_PATH];
    struct digest key;
    if (digest_of(what, strlen(what), &key, e) != 0) return -1;
    ours_of(s, ours);
    snprintf(path, STORE_PATH, "%.*s/" PREFIX "%.*s", STORE_PATH - 64, ours, KEY, key.hex);
    return 0;
}

/* For those who look at the folder later; the run itself does without. */
static void leave_note(const char *folder, const char *what) {
    char path[STORE_PATH + sizeof NOTE];
    snprintf(path, sizeof path, "%s/" NOTE, folder);
    if (access(path, F_OK) != 0) os_write_file(path, what, strlen(what), NULL);
}

int tune_folder(struct store *s, const char *what, char path[STORE_PATH], struct err *e) {
    char ours[STORE_PATH];
    ours_of(s, ours);
    sweep(ours);
    if (tune_folder_path(s, what, path, e) != 0) return -1;
    /* A checkpoint that survives a power cut is of no use in a folder that does not. */
    const int made = mkdir(path, 0700);
    if (made == 0 ? os_sync_folder(path) == 0 : errno == EEXIST) {
        leave_note(path, what);
        return 0;
    }
    err_errno(e, path);
    path[0] = 0;
    return -1;
}

/* ---- other runs ---- */

/* Call fn with each folder but that of `what`. */
static void each_other(const struct store *s, const char *what,
                       void (*fn)(void *ctx, const char *path), void *ctx) {
    char ours[STORE_PATH], own[STORE_PATH];
    ours_of(s, ours);
    DIR *d = tune_folder_path(s, what, own, NULL) == 0 ? opendir(ours) : NULL;
    for (struct dirent *x; d && (x = readdir(d));) {
        char path[STORE_PATH + 256];
        snprintf(path, sizeof path, "%s/%s", ours, x->d_name);
        if (strncmp(x->d_name, PREFIX, sizeof PREFIX - 1) == 0 && strcmp(path, own) != 0)
            fn(ctx, path);
    }
    if (d) closedir(d);
}

struct search {
    const char *what;
    bool (*alike)(const char *what, const char *other);
    struct tune_trace *out;
    bool found;
    time_t newest_s;
};

static void look_at(void *ctx, const char *path) {
    struct search *q = ctx;
    struct stat st;
    struct buf note = {0};
    char file[STORE_PATH + 300];
    const int64_t step = checkpoint_newest(path);
    if (step < 0 || stat(path, &st) != 0 || (q->found && st.st_mtime <= q->newest_s)) return;
    snprintf(file, sizeof file, "%s/" NOTE, path);
    if (os_read_file(file, MAX_NOTE, &note, NULL) != 0) buf_reset(&note);
    if (q->alike && (note.n == 0 || !q->alike(q->what, note.p))) {
        buf_fini(&note);
        return;
    }
    q->found = true;
    q->newest_s = st.st_mtime;
    buf_fini(&q->out->what);
    *q->out = (struct tune_trace){step, note};
}

bool tune_trace_find(const struct store *s, const char *what,
                     bool (*alike)(const char *what, const char *other), struct tune_trace *out) {
    struct search q = {.what = what, .alike = alike, .out = out};
    *out = (struct tune_trace){.step = -1};
    each_other(s, what, look_at, &q);
    return q.found;
}

static void remove_one(void *ctx, const char *path) {
    (void)ctx;
    const int lock = checkpoint_lock(path, NULL);
    if (lock < 0) return;
    tune_folder_remove(path);
    close(lock);
}

void tune_trace_remove(const struct store *s, const char *what) {
    each_other(s, what, remove_one, NULL);
}
