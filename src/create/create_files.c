/* Files that a client has sent as blobs.  Their names matter only where files belong together:
 * parts of a split GGUF, a safetensors model with its config and tokenizer.  Those are put under
 * their names in a folder of ours, as links to the blobs: a name is one plain word, which leads
 * nowhere else (SECURITY.md F15). */
#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "create/create_priv.h"

enum { MAX_FILES = 1024, MAX_NAME = 128 };

static int check_name(const char *name, struct err *e) {
    const size_t n = strlen(name);
    bool plain = n > 0 && n <= MAX_NAME && name[0] != '.' && name[0] != '-';
    for (const char *c = name; *c && plain; c++)
        plain = isalnum((unsigned char)*c) || strchr("._-+ ()@,=", *c) != NULL;
    return plain ? 0
                 : err_set(e, ERR_USAGE,
                           "file name \"%.60s\": the plain name of a file is accepted, of at most "
                           "%d letters, digits and ._-+",
                           name, MAX_NAME);
}

/* Held from now on; *gguf: it begins like one. */
static int take_blob(struct creation *k, const struct create_file *f, char path[STORE_PATH],
                     bool *gguf, struct err *e) {
    char magic[4] = "";
    if (check_name(f->name, e) != 0 || store_lease_add(k->lease, &f->digest, e) != 0 ||
        store_blob(k->s, &f->digest, path, NULL, e) != 0)
        return -1;
    const int fd = open(path, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return err_errno(e, f->name);
    *gguf = read(fd, magic, sizeof magic) == sizeof magic && memcmp(magic, "GGUF", 4) == 0;
    close(fd);
    return 0;
}

int create_take_file(struct creation *k, const struct create_file *f, char path[STORE_PATH],
                     struct err *e) {
    bool unused;
    return take_blob(k, f, path, &unused, e);
}

static int link_file(const struct create_file *f, const char *folder, const char *blob,
                     struct err *e) {
    char real[PATH_MAX], link[STORE_PATH + MAX_NAME + 2];
    if (!realpath(blob, real)) return err_errno(e, f->name);
    snprintf(link, sizeof link, "%s/%s", folder, f->name);
    if (symlink(real, link) == 0) return 0;
    return errno == EEXIST ? err_set(e, ERR_USAGE, "file name \"%s\": it comes twice", f->name)
                           : err_errno(e, f->name);
}

static int use(struct creation *k, enum modelfile_command as, char path[STORE_PATH],
               enum create_what what, const char *shown, struct err *e) {
    if (as == MF_FROM) return create_from_path(k, path, what, shown, e);
    if (as == MF_ADAPTER) return create_adapter_path(k, path, what, shown, e);
    return create_draft_path(k, path, what, e);
}

static int use_folder(struct creation *k, enum modelfile_command as, const struct create_file *f,
                      int n, struct err *e) {
    char folder[STORE_PATH], blob[STORE_PATH];
    bool unused;
    if (create_work_folder(k, folder, e) != 0) return -1;
    for (int i = 0; i < n; i++)
        if (take_blob(k, &f[i], blob, &unused, e) != 0 || link_file(&f[i], folder, blob, e) != 0)
            return -1;
    return use(k, as, folder, CREATE_FOLDER, "files", e);
}

int create_files(struct creation *k, enum modelfile_command as, struct err *e) {
    const struct create_opts *o = k->o;
    const struct create_file *f = as == MF_FROM      ? o->file
                                  : as == MF_ADAPTER ? o->adapter
                                                     : o->draft;
    const int n = as == MF_FROM ? o->n_file : as == MF_ADAPTER ? o->n_adapter : o->n_draft;
    char path[STORE_PATH];
    int n_gguf = 0, n_split = 0;
    if (n > MAX_FILES)
        return err_set(e, ERR_LIMIT, "%d files; at most %d are accepted", n, MAX_FILES);
    for (int i = 0; i < n; i++) {
        bool gguf;
        if (take_blob(k, &f[i], path, &gguf, e) != 0) return -1;
        n_gguf += gguf;
        n_split += gguf && strstr(f[i].name, "-of-") != NULL;
    }
    if (n_gguf > 0 && n_gguf < n)
        return err_set(e, ERR_FORMAT,
                       "%d of %d files are GGUF; all are, or none and they are a safetensors model",
                       n_gguf, n);
    if (n > 0 && (n_gguf == 0 || n_split > 1)) return use_folder(k, as, f, n, e);
    for (int i = 0; i < n; i++) {
        bool gguf;
        if (take_blob(k, &f[i], path, &gguf, e) != 0 ||
            use(k, as, path, CREATE_FILE, f[i].name, e) != 0)
            return -1;
    }
    return 0;
}
