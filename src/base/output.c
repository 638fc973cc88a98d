/* See output.h. */
#include "base/output.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

/* The folder that the file is in. */
static int folder_of(const char *path, char out[PATH_MAX], struct err *e) {
    const char *slash = strrchr(path, '/');
    const size_t n = slash ? (size_t)(slash - path) + (slash == path) : 1;
    if (n >= PATH_MAX) return err_set(e, ERR_USAGE, "%.200s...: the path is too long", path);
    snprintf(out, PATH_MAX, "%.*s", (int)n, slash ? path : ".");
    return 0;
}

int output_check(const char *path, struct err *e) {
    char folder[PATH_MAX];
    struct stat st;
    if (!*path) return err_set(e, ERR_USAGE, "an empty file name; a file to write is needed");
    if (stat(path, &st) == 0)
        return S_ISDIR(st.st_mode)
                   ? err_set(e, ERR_USAGE, "%s: a folder, no regular file; a file is accepted",
                             path)
                   : 0;
    if (errno != ENOENT && errno != ENOTDIR) return err_errno(e, path);
    if (folder_of(path, folder, e) != 0) return -1;
    if (stat(folder, &st) != 0)
        return errno == ENOENT
                   ? err_set(e, ERR_NOT_FOUND, "%s: there is no folder %s", path, folder)
                   : err_errno(e, folder);
    if (!S_ISDIR(st.st_mode)) return err_set(e, ERR_USAGE, "%s: %s is no folder", path, folder);
    return access(folder, W_OK) == 0 ? 0 : err_errno(e, folder);
}

int output_not_input(const char *out, const char *in, struct err *e) {
    struct stat a, b;
    if (!in || stat(in, &a) != 0 || stat(out, &b) != 0) return 0; /* reading tells what is wrong */
    if (a.st_dev != b.st_dev || a.st_ino != b.st_ino || !S_ISREG(a.st_mode))
        return 0; /* a terminal may be both */
    return err_set(e, ERR_USAGE, "%s: is the input; another file is needed for the output", out);
}
