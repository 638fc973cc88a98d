/* Reading importance files.  Formats: llama.cpp, tools/imatrix.
 *
 * Binary: i32 entries; each i32 length, name, i32 calls, i32 values, values as float32, which are
 * sums over the calls; then perhaps i32 chunks.  GGUF: general.type "imatrix"; per weight W the
 * tensors W.in_sum2 [columns, matrices] and W.counts [1, matrices]. */
#include "engine/imatrix.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/os.h"
#include "gguf/read.h"

enum { MAX_ENTRIES = GGUF_MAX_TENSORS };

struct entry {
    const char *name;
    float *v; /* [n] */
    int64_t n;
};

struct imatrix {
    struct arena arena;
    const char *path;
    struct entry *entry; /* [n_entry], sorted by name */
    int n_entry, n_chunk;
};

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct entry *)a)->name, ((const struct entry *)b)->name);
}

const float *imatrix_find(const struct imatrix *m, const char *tensor, int64_t *n) {
    const struct entry key = {.name = tensor};
    const struct entry *at = bsearch(&key, m->entry, (size_t)m->n_entry, sizeof *m->entry, by_name);
    *n = at ? at->n : 0;
    return at ? at->v : NULL;
}

int imatrix_n_entry(const struct imatrix *m) {
    return m->n_entry;
}

int imatrix_n_chunk(const struct imatrix *m) {
    return m->n_chunk;
}

/* Scale n sums to means and check them. */
static int set_means(const struct imatrix *m, struct entry *t, int64_t at, int64_t n,
                     const uint8_t *sums, float calls, struct err *e) {
    for (int64_t i = 0; i < n; i++) {
        float v;
        memcpy(&v, sums + 4 * i, sizeof v);
        if (calls > 0) v /= calls;
        if (!(isfinite(v) && v >= 0))
            return err_set(e, ERR_FORMAT, "%s: %s: value %lld is %g; numbers >= 0", m->path,
                           t->name, (long long)(at + i), (double)v);
        t->v[at + i] = v;
    }
    return 0;
}

/* ---- binary ---- */

struct cursor {
    const uint8_t *p;
    size_t left;
};

static bool take_i32(struct cursor *c, int32_t *out) {
    if (c->left < 4) return false;
    memcpy(out, c->p, 4);
    c->p += 4, c->left -= 4;
    return true;
}

static int read_entry(struct imatrix *m, struct cursor *c, struct entry *t, struct err *e) {
    int32_t n_name, calls, n;
    const int k = (int)(t - m->entry);
    if (!take_i32(c, &n_name) || n_name < 1 || n_name > GGUF_MAX_NAME_BYTES ||
        c->left < (size_t)n_name)
        return err_set(e, ERR_FORMAT, "%s: entry %d: no name of 1 to %d bytes", m->path, k,
                       GGUF_MAX_NAME_BYTES);
    t->name = arena_strndup(&m->arena, (const char *)c->p, (size_t)n_name);
    if (!t->name) return err_nomem(e, m->path);
    c->p += n_name, c->left -= (size_t)n_name;
    if (!take_i32(c, &calls) || !take_i32(c, &n) || calls < 0 || n < 1 || c->left / 4 < (size_t)n)
        return err_set(e, ERR_FORMAT, "%s: %s: the file ends before its values", m->path, t->name);
    t->n = n;
    t->v = arena_calloc(&m->arena, (size_t)n, sizeof *t->v);
    if (!t->v) return err_nomem(e, m->path);
    if (set_means(m, t, 0, n, c->p, (float)calls, e) != 0) return -1;
    c->p += 4 * (size_t)n, c->left -= 4 * (size_t)n;
    return 0;
}

static int read_binary(struct imatrix *m, const struct os_map *map, struct err *e) {
    struct cursor c = {map->data, map->size};
    int32_t n, chunks;
    if (!take_i32(&c, &n) || n < 1 || n > MAX_ENTRIES)
        return err_set(e, ERR_FORMAT, "%s: no importance file: %d entries; 1 to %d", m->path,
                       map->size < 4 ? 0 : n, MAX_ENTRIES);
    m->entry = arena_calloc(&m->arena, (size_t)n, sizeof *m->entry);
    if (!m->entry) return err_nomem(e, m->path);
    for (; m->n_entry < n; m->n_entry++)
        if (read_entry(m, &c, &m->entry[m->n_entry], e) != 0) return -1;
    if (take_i32(&c, &chunks) && chunks > 0) m->n_chunk = chunks;
    return 0;
}

/* ---- GGUF ---- */

static int read_sums(struct imatrix *m, const struct gguf *g, const struct gguf_tensor *sums,
                     size_t n_stem, struct err *e) {
    struct entry *t = &m->entry[m->n_entry];
    char name[GGUF_MAX_NAME_BYTES + 16];
    snprintf(name, sizeof name, "%.*s.counts", (int)n_stem, sums->name);
    const struct gguf_tensor *counts = gguf_tensor(g, name);
    const int64_t n_mat = sums->ne[1] * sums->ne[2] * sums->ne[3];
    if (!counts || counts->type != QT_F32 || sums->type != QT_F32 ||
        counts->n_bytes != (size_t)n_mat * sizeof(float))
        return err_set(e, ERR_FORMAT, "%s: %s: wants float32 sums and as many counts as matrices",
                       m->path, sums->name);
    t->name = arena_strndup(&m->arena, sums->name, n_stem);
    t->n = sums->ne[0] * n_mat;
    t->v = arena_calloc(&m->arena, (size_t)t->n, sizeof *t->v);
    if (!t->name || !t->v) return err_nomem(e, m->path);
    for (int64_t i = 0; i < n_mat; i++) {
        float calls;
        const int64_t at = i * sums->ne[0];
        memcpy(&calls, counts->data + 4 * i, sizeof calls);
        if (calls > 0) {
            if (set_means(m, t, at, sums->ne[0], sums->data + 4 * at, calls, e) != 0) return -1;
            continue;
        }
        /* An expert the text never reached: all of its columns count the same. */
        for (int64_t j = 0; j < sums->ne[0]; j++)
            t->v[at + j] = 1;
    }
    m->n_entry++;
    return 0;
}

static int read_gguf(struct imatrix *m, struct err *e) {
    static const char suffix[] = ".in_sum2";
    struct gguf *g = gguf_open(m->path, e);
    if (!g) return -1;
    const int n = gguf_n_tensor(g);
    uint32_t chunks = 0;
    int rc = gguf_get_u32(g, "imatrix.chunk_count", &chunks, e) < 0 ? -1 : 0;
    m->n_chunk = chunks < 1 << 30 ? (int)chunks : 0;
    m->entry = arena_calloc(&m->arena, (size_t)n + 1, sizeof *m->entry);
    if (!m->entry) rc = err_nomem(e, m->path);
    for (int i = 0; rc == 0 && i < n; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        const size_t len = strlen(t->name), k = sizeof suffix - 1;
        if (len > k && strcmp(t->name + len - k, suffix) == 0) rc = read_sums(m, g, t, len - k, e);
    }
    if (rc == 0 && m->n_entry == 0)
        rc = err_set(e, ERR_FORMAT, "%s: no importance file: a GGUF without NAME%s tensors",
                     m->path, suffix);
    gguf_close(g);
    return rc;
}

struct imatrix *imatrix_open(const char *path, struct err *e) {
    struct os_map map;
    struct imatrix *m = calloc(1, sizeof *m);
    if (!m) {
        err_nomem(e, path);
        return NULL;
    }
    if (os_map_open(&map, path, e) != 0) goto fail;
    m->path = arena_strndup(&m->arena, path, strlen(path));
    const bool is_gguf = map.size >= 4 && memcmp(map.data, "GGUF", 4) == 0;
    int rc = m->path ? 0 : err_nomem(e, path);
    if (rc == 0) rc = is_gguf ? read_gguf(m, e) : read_binary(m, &map, e);
    os_map_close(&map);
    if (rc != 0) goto fail;
    qsort(m->entry, (size_t)m->n_entry, sizeof *m->entry, by_name);
    return m;
fail:
    imatrix_close(m);
    return NULL;
}

void imatrix_close(struct imatrix *m) {
    if (!m) return;
    arena_fini(&m->arena);
    free(m);
}
