/* Which files a model consists of, for a client that sends them to a server (COMPAT.md 1.2). */
#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "create/create.h"

enum { MAX_FILES = 1024 };

static int add(struct create_gathered *g, const char *path, struct err *e) {
    struct stat st;
    if (stat(path, &st) != 0) return err_errno(e, path);
    if (!S_ISREG(st.st_mode)) return err_set(e, ERR_FORMAT, "%s: no regular file", path);
    if (g->n == MAX_FILES)
        return err_set(e, ERR_LIMIT, "%s: more than %d files; at most so many", path, MAX_FILES);
    if (!g->path) g->path = calloc(MAX_FILES, sizeof *g->path);
    if (g->path) g->path[g->n] = strdup(path);
    if (!g->path || !g->path[g->n]) return err_nomem(e, path);
    g->n++;
    return 0;
}

static bool ends_with(const char *s, const char *end) {
    const size_t n = strlen(s), k = strlen(end);
    return n >= k && strcmp(s + n - k, end) == 0;
}

/* NAME-00001-of-00003.gguf: all three, in order; any other file is itself. */
static int add_gguf(struct create_gathered *g, const char *path, struct err *e) {
    enum { TAIL = sizeof "-00001-of-00003.gguf" - 1 };
    const size_t n = strlen(path);
    char part[STORE_PATH];
    int i = 0, all = 0, end = 0;
    if (n < TAIL || sscanf(path + n - TAIL, "-%5d-of-%5d.gguf%n", &i, &all, &end) != 2 ||
        end != TAIL || all < 1)
        return add(g, path, e);
    for (i = 1; i <= all; i++) {
        if (snprintf(part, sizeof part, "%.*s-%05d-of-%05d.gguf", (int)(n - TAIL), path, i, all) >=
            STORE_PATH)
            return err_set(e, ERR_USAGE, "%s: too long", path);
        if (add(g, part, e) != 0) return -1;
    }
    return 0;
}

/* What create/convert*.c read beside the weights. */
static bool belongs_to_safetensors(const char *name) {
    static const char *const names[] = {"tokenizer.model", "vocab.txt", "merges.txt"};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++)
        if (strcmp(name, names[i]) == 0) return true;
    return ends_with(name, ".safetensors") || ends_with(name, ".json") || ends_with(name, ".jinja");
}

static int compare(const void *a, const void *b) {
    return strcmp(*(char *const *)a, *(char *const *)b);
}

/* All files of a folder that are of this kind, by name. */
static int add_folder(struct create_gathered *g, const char *folder, bool wanted(const char *name),
                      struct err *e) {
    DIR *d = opendir(folder);
    char path[STORE_PATH];
    int rc = d ? 0 : err_errno(e, folder);
    for (struct dirent *x; rc == 0 && (x = readdir(d));) {
        if (x->d_name[0] == '.' || !wanted(x->d_name)) continue;
        if (snprintf(path, sizeof path, "%s/%s", folder, x->d_name) >= STORE_PATH)
            rc = err_set(e, ERR_USAGE, "%s: too long", folder);
        else
            rc = add(g, path, e);
    }
    if (d) closedir(d);
    if (rc == 0 && g->n) qsort(g->path, (size_t)g->n, sizeof *g->path, compare);
    return rc;
}

static bool is_safetensors(const char *name) {
    return ends_with(name, ".safetensors");
}

static bool is_gguf(const char *name) {
    return ends_with(name, ".gguf");
}

/* Files go to a server by plain names: what lies in a folder of its own cannot. */
static int check_pooling(const char *folder, struct err *e) {
    char path[STORE_PATH + 32];
    struct stat st;
    snprintf(path, sizeof path, "%s/1_Pooling/config.json", folder);
    if (stat(path, &st) != 0) return 0;
    return err_set(e, ERR_UNSUPPORTED,
                   "%s: a server is not sent folders within folders; make a GGUF file of it first, "
                   "with a `create` that finds no server",
                   path);
}

int create_gather(const char *path, enum create_what what, struct create_gathered *out,
                  struct err *e) {
    *out = (struct create_gathered){.n = 0};
    if (what == CREATE_FILE) return add_gguf(out, path, e);
    if (add_folder(out, path, is_safetensors, e) != 0) return -1;
    if (out->n) {
        create_gathered_fini(out);
        return check_pooling(path, e) == 0 ? add_folder(out, path, belongs_to_safetensors, e) : -1;
    }
    if (add_folder(out, path, is_gguf, e) != 0) return -1;
    if (out->n == 0)
        return err_set(e, ERR_NOT_FOUND, "%s: no Modelfile or safetensors files found", path);
    if (out->n > 1 && !strstr(out->path[0], "-00001-of-"))
        return err_set(e, ERR_USAGE, "%s: %d GGUF files; FROM FILE says which", path, out->n);
    return 0;
}

void create_gathered_fini(struct create_gathered *g) {
    for (int i = 0; i < g->n; i++)
        free(g->path[i]);
    free(g->path);
    *g = (struct create_gathered){.n = 0};
}
