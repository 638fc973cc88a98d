/* A GGUF model: one file, or splits joined to one list of tensors.
 *
 * Splits are named NAME-00001-of-0000N.gguf; each holds split.no (from 0), split.count and
 * split.tensors.count (of the whole model).  The first has all the keys, the others may repeat
 * some (llama.cpp's gguf-split writes them so). */
#include "gguf/read.h"

#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf/file.h"

struct gguf {
    struct arena arena;
    const char *path;
    struct gguf_file *file; /* [n_file] */
    int n_file;
    struct gguf_tensor *tensor;         /* [n_tensor], file after file */
    const struct gguf_tensor **by_name; /* sorted */
    int n_tensor;
};

/* What a file says about splits. */
struct split {
    uint32_t no, count, n_tensor;
};

/* ---- Splits -----------------------------------------------------------------------------------
 */

static int read_split(const struct gguf_file *f, struct split *s, struct err *e) {
    *s = (struct split){0, 1, 0};
    const int has = gguf_value_u32(f->path, gguf_file_find(f, STR("split.count")), &s->count, e);
    if (has < 0) return -1;
    if (has == 0 || s->count <= 1) { /* older converters write 0 or 1 into whole files */
        *s = (struct split){0, 1, 0};
        return 0;
    }
    if (s->count > GGUF_MAX_SPLITS)
        return err_set(e, ERR_FORMAT, "%s: key 'split.count' is %u; at most %d", f->path, s->count,
                       GGUF_MAX_SPLITS);
    const int no = gguf_value_u32(f->path, gguf_file_find(f, STR("split.no")), &s->no, e);
    const int nt =
        gguf_value_u32(f->path, gguf_file_find(f, STR("split.tensors.count")), &s->n_tensor, e);
    if (no < 0 || nt < 0) return -1;
    if (no == 0 || nt == 0)
        return err_set(e, ERR_FORMAT, "%s: one of %u splits, but key '%s' is missing", f->path,
                       s->count, no == 0 ? "split.no" : "split.tensors.count");
    if (s->no >= s->count)
        return err_set(e, ERR_FORMAT, "%s: key 'split.no' is %u; 0 to %u", f->path, s->no,
                       s->count - 1);
    return 0;
}

/* The path of split `no`, from that of another one. */
static int sibling_path(const char *path, const struct split *s, uint32_t no, char *out,
                        size_t n_out, struct err *e) {
    char suffix[40];
    const int n = snprintf(suffix, sizeof suffix, "-%05u-of-%05u.gguf", s->no + 1, s->count);
    const size_t n_path = strlen(path);
    if (n_path < (size_t)n || strcmp(path + n_path - n, suffix) != 0)
        return err_set(e, ERR_FORMAT, "%s: is split %u of %u; its name must end in %s", path,
                       s->no + 1, s->count, suffix);
    const int stem = (int)(n_path - (size_t)n);
    if (snprintf(out, n_out, "%.*s-%05u-of-%05u.gguf", stem, path, no + 1, s->count) >= (int)n_out)
        return err_set(e, ERR_USAGE, "%s: the path is too long", path);
    return 0;
}

/* A later split belongs to the first: it says the same where both say something. */
static int check_sibling(const struct gguf_file *first, const struct gguf_file *f, int no,
                         const struct split *want, struct err *e) {
    struct split s;
    if (read_split(f, &s, e) != 0) return -1;
    if (s.no != (uint32_t)no || s.count != want->count || s.n_tensor != want->n_tensor)
        return err_set(e, ERR_FORMAT,
                       "%s: says split %u of %u with %u tensors in all; expected %d of %u with %u",
                       f->path, s.no + 1, s.count, s.n_tensor, no + 1, want->count, want->n_tensor);
    for (int i = 0; i < f->n_kv; i++) {
        const struct gguf_kv *kv = &f->kv[i], *same = gguf_file_find(first, kv->key);
        if (!same || str_is(kv->key, "split.no")) continue;
        if (kv->type != same->type || kv->elem_type != same->elem_type || kv->n != same->n ||
            kv->n_bytes != same->n_bytes || memcmp(kv->data, same->data, (size_t)kv->n_bytes) != 0)
            return err_set(e, ERR_FORMAT,
                           "%s: key '%s' differs from that in %s; not a split of the same model",
                           f->path, gguf_show_name(kv->key).z, first->path);
    }
    return 0;
}

/* g->file[0] is the file that was named; open its siblings and put all in order. */
static int open_siblings(struct gguf *g, const struct split *s, struct err *e) {
    const struct gguf_file named = g->file[0];
    struct gguf_file *all = arena_calloc(&g->arena, s->count, sizeof *all);
    if (!all) return err_nomem(e, g->path);
    for (uint32_t i = 0; i < s->count; i++)
        all[i].map.fd = -1;
    all[s->no] = named;
    g->file = all;
    g->n_file = (int)s->count;
    for (uint32_t i = 0; i < s->count; i++) {
        char path[PATH_MAX];
        if (sibling_path(named.path, s, i, path, sizeof path, e) != 0) return -1;
        if (i != s->no && gguf_file_open(&all[i], path, &g->arena, e) != 0) return -1;
        if (check_sibling(&all[0], &all[i], (int)i, s, e) != 0) return -1;
    }
    return 0;
}

/* ---- Tensors of all files ---------------------------------------------------------------------
 */

static int compare_names(const void *a, const void *b) {
    return strcmp((*(const struct gguf_tensor *const *)a)->name,
                  (*(const struct gguf_tensor *const *)b)->name);
}

static int index_tensors(struct gguf *g, struct err *e) {
    g->by_name = arena_calloc(&g->arena, (size_t)g->n_tensor + 1, sizeof *g->by_name);
    if (!g->by_name) return err_nomem(e, g->path);
    for (int i = 0; i < g->n_tensor; i++)
        g->by_name[i] = &g->tensor[i];
    qsort(g->by_name, (size_t)g->n_tensor, sizeof *g->by_name, compare_names);
    for (int i = 1; i < g->n_tensor; i++)
        if (strcmp(g->by_name[i - 1]->name, g->by_name[i]->name) == 0)
            return err_set(e, ERR_FORMAT, "%s: tensor '%s' is there twice",
                           g->file[g->by_name[i]->split].path, g->by_name[i]->name);
    return 0;
}

static int join_tensors(struct gguf *g, const struct split *s, struct err *e) {
    size_t n = 0;
    for (int i = 0; i < g->n_file; i++)
        n += (size_t)g->file[i].n_tensor; /* at most 999 * 2^16 */
    if (n > GGUF_MAX_TENSORS)
        return err_set(e, ERR_FORMAT, "%s: %zu tensors in %d files; at most %d", g->path, n,
                       g->n_file, GGUF_MAX_TENSORS);
    if (g->n_file > 1 && n != s->n_tensor)
        return err_set(e, ERR_FORMAT,
                       "%s: key 'split.tensors.count' is %u, but the %d files hold %zu", g->path,
                       s->n_tensor, g->n_file, n);
    g->n_tensor = (int)n;
    g->tensor = g->file[0].tensor;
    if (g->n_file > 1) {
        g->tensor = arena_calloc(&g->arena, n + 1, sizeof *g->tensor);
        if (!g->tensor) return err_nomem(e, g->path);
        struct gguf_tensor *t = g->tensor;
        for (int i = 0; i < g->n_file; i++)
            for (int k = 0; k < g->file[i].n_tensor; k++) {
                *t = g->file[i].tensor[k];
                t++->split = i;
            }
    }
    return index_tensors(g, e);
}

/* ---- Public -----------------------------------------------------------------------------------
 */

static struct gguf *gguf_new(const char *path, struct err *e) {
    struct gguf *g = calloc(1, sizeof *g);
    if (!g) goto nomem;
    g->path = arena_strndup(&g->arena, path, strlen(path));
    g->file = arena_calloc(&g->arena, 1, sizeof *g->file);
    if (!g->path || !g->file) goto nomem;
    g->file->map.fd = -1;
    g->n_file = 1;
    return g;
nomem:
    err_nomem(e, path);
    gguf_close(g);
    return NULL;
}

struct gguf *gguf_open(const char *path, struct err *e) {
    struct split s;
    struct gguf *g = gguf_new(path, e);
    if (!g) return NULL;
    if (gguf_file_open(g->file, path, &g->arena, e) != 0) goto fail;
    if (read_split(g->file, &s, e) != 0) goto fail;
    if (s.count > 1 && open_siblings(g, &s, e) != 0) goto fail;
    if (join_tensors(g, &s, e) != 0) goto fail;
    return g;
fail:
    gguf_close(g);
    return NULL;
}

struct gguf *gguf_open_bytes(const char *name, const void *bytes, size_t n_bytes, struct err *e) {
    struct split s;
    struct gguf *g = gguf_new(name, e);
    if (!g) return NULL;
    if (gguf_file_parse(g->file, name, bytes, n_bytes, &g->arena, e) != 0) goto fail;
    if (read_split(g->file, &s, e) != 0) goto fail;
    if (s.count > 1) {
        err_set(e, ERR_UNSUPPORTED, "%s: one of %u splits; a model in memory is one file", name,
                s.count);
        goto fail;
    }
    if (join_tensors(g, &s, e) != 0) goto fail;
    return g;
fail:
    gguf_close(g);
    return NULL;
}

void gguf_close(struct gguf *g) {
    if (!g) return;
    for (int i = 0; i < g->n_file; i++)
        gguf_file_close(&g->file[i]);
    arena_fini(&g->arena);
    free(g);
}

const char *gguf_path(const struct gguf *g) {
    return g->path;
}

int gguf_version(const struct gguf *g) {
    return g->file[0].version;
}

int gguf_n_split(const struct gguf *g) {
    return g->n_file;
}

uint64_t gguf_file_bytes(const struct gguf *g) {
    uint64_t n = 0;
    for (int i = 0; i < g->n_file; i++)
        n += g->file[i].n_bytes; /* all in memory at once: the sum fits */
    return n;
}

struct gguf_bytes gguf_file_at(const struct gguf *g, int i) {
    const struct gguf_file *f = &g->file[i];
    return (struct gguf_bytes){f->bytes, f->n_bytes, f->map.fd};
}

uint64_t gguf_alignment(const struct gguf *g) {
    return g->file[0].alignment;
}

int gguf_n_kv(const struct gguf *g) {
    return g->file[0].n_kv;
}

const struct gguf_kv *gguf_kv_at(const struct gguf *g, int i) {
    return &g->file[0].kv[i];
}

const struct gguf_kv *gguf_find(const struct gguf *g, const char *key) {
    return gguf_file_find(&g->file[0], str_of(key));
}

int gguf_n_tensor(const struct gguf *g) {
    return g->n_tensor;
}

const struct gguf_tensor *gguf_tensor_at(const struct gguf *g, int i) {
    return &g->tensor[i];
}

const struct gguf_tensor *gguf_tensor(const struct gguf *g, const char *name) {
    int lo = 0, hi = g->n_tensor;
    while (lo < hi) {
        const int mid = lo + (hi - lo) / 2;
        const int c = strcmp(g->by_name[mid]->name, name);
        if (c == 0) return g->by_name[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}
