/* guide SEED OUT HELP FOLDER: the corpus of the guide.  See guide.h; models/guide/recipe calls it.
 */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "guide.h"

static int is_text(const struct dirent *d) {
    const size_t n = strlen(d->d_name);
    return n > 4 && strcmp(d->d_name + n - 4, ".txt") == 0;
}

/* By bytes: the order must not depend on the language of the machine. */
static int by_name(const struct dirent **a, const struct dirent **b) {
    return strcmp((*a)->d_name, (*b)->d_name);
}

static int read_folder(struct guide *g, const char *folder, struct err *e) {
    struct dirent **d;
    char path[4096];
    const int n = scandir(folder, &d, is_text, by_name);
    int rc = n < 0 ? err_errno(e, folder) : 0;
    for (int i = 0; i < n; i++) {
        const int len = snprintf(path, sizeof path, "%s/%s", folder, d[i]->d_name);
        if (rc == 0 && len >= (int)sizeof path)
            rc = err_set(e, ERR_USAGE, "a path that is too long");
        if (rc == 0) rc = guide_read(g, path, e);
        free(d[i]);
    }
    if (n >= 0) free(d);
    return rc;
}

/* The topics, then FOLDER/more, which adds to them. */
static int read_all(struct guide *g, const char *help, const char *folder, struct err *e) {
    char more[4096];
    if (snprintf(more, sizeof more, "%s/more", folder) >= (int)sizeof more)
        return err_set(e, ERR_USAGE, "a path that is too long");
    if (read_folder(g, folder, e) != 0 || read_folder(g, more, e) != 0) return -1;
    return guide_read_help(g, help, e);
}

int main(int argc, char **argv) {
    struct guide g = {0};
    struct err e = {0};
    if (argc != 5) {
        fputs("Usage: guide SEED OUT HELP FOLDER\n"
              "Writes OUT/train.jsonl, valid.jsonl and offtopic-valid.jsonl from the topics in "
              "FOLDER\n"
              "and the commands in the file HELP (models/guide/README.md).\n",
              stderr);
        return 2;
    }
    int rc = read_all(&g, argv[3], argv[4], &e);
    if (rc == 0 && mkdir(argv[2], 0777) != 0 && errno != EEXIST) rc = err_errno(&e, argv[2]);
    if (rc == 0) rc = corpus_write(&g, argv[2], strtoull(argv[1], NULL, 10), &e);
    if (rc != 0) fprintf(stderr, "Error: %s\n", e.msg);
    guide_fini(&g);
    return rc == 0 ? 0 : 1;
}
