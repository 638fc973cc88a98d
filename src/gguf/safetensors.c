/* Safetensors (github.com/huggingface/safetensors, "Format"): u64 length, a JSON object of that
 * length, then the data.  Each entry says {"dtype", "shape", "data_offsets": [lo, hi]}.
 *
 * Checked once, here: the header against the file, every shape's product against its bytes, and
 * that the tensors lie one behind the other without holes or overlaps, as the format demands.
 * Whoever holds a `struct safetensors` may index its tensors' bytes without looking back. */
#include "gguf/safetensors.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/checked.h"
#include "base/f16.h"
#include "base/json.h"
#include "base/os.h"

enum { MAX_PATH = 4096, MAX_INDEX = 64 << 20 };

struct safetensors {
    struct arena a; /* names */
    struct os_map *map;
    int n_map;
    struct st_tensor *t; /* [n], owned; by name */
    int n, cap;
};

static const struct {
    const char *name;
    uint8_t n_bytes;
} types[ST_COUNT] = {
    [ST_F64] = {"F64", 8},   [ST_F32] = {"F32", 4},         [ST_F16] = {"F16", 2},
    [ST_BF16] = {"BF16", 2}, [ST_F8_E4M3] = {"F8_E4M3", 1}, [ST_F8_E5M2] = {"F8_E5M2", 1},
    [ST_I64] = {"I64", 8},   [ST_I32] = {"I32", 4},         [ST_I16] = {"I16", 2},
    [ST_I8] = {"I8", 1},     [ST_U64] = {"U64", 8},         [ST_U32] = {"U32", 4},
    [ST_U16] = {"U16", 2},   [ST_U8] = {"U8", 1},           [ST_BOOL] = {"BOOL", 1},
};

size_t st_type_bytes(enum st_type t) {
    return types[t].n_bytes;
}

const char *st_type_name(enum st_type t) {
    return types[t].name;
}

bool st_is_float(enum st_type t) {
    return t <= ST_F8_E5M2;
}

/* ---- one entry of a header ---- */

/* Where an entry is read: for messages. */
struct entry {
    const char *file, *name;
    const json_t *j;
    const uint8_t *data; /* what lies behind the header */
    uint64_t n_data;
};

static int bad(const struct entry *x, struct err *e, const char *what) {
    return err_set(e, ERR_FORMAT, "%s: tensor '%s': %s", x->file, x->name, what);
}

static int read_type(const struct entry *x, enum st_type *type, struct err *e) {
    const char *name = json_string_value(json_object_get(x->j, "dtype"));
    for (int i = 0; name && i < ST_COUNT; i++)
        if (strcmp(name, types[i].name) == 0) {
            *type = (enum st_type)i;
            return 0;
        }
    return err_set(e, ERR_UNSUPPORTED,
                   "%s: tensor '%s': dtype \"%s\"; F64, F32, F16, BF16, F8_E4M3, F8_E5M2, I8 to "
                   "I64, U8 to U64 and BOOL are accepted",
                   x->file, x->name, name ? name : "(none)");
}

/* The shape, and the bytes that it means. */
static int read_shape(const struct entry *x, struct st_tensor *t, uint64_t *n_bytes,
                      struct err *e) {
    const json_t *shape = json_object_get(x->j, "shape");
    const size_t n = json_array_size(shape);
    if (!json_is_array(shape) || n > ST_MAX_DIM)
        return bad(x, e, "the shape is no array of at most 8 numbers");
    *n_bytes = st_type_bytes(t->type);
    t->n_dim = (int)n;
    for (size_t i = 0; i < n; i++) {
        const json_t *v = json_array_get(shape, i);
        const int64_t d = json_integer_value(v);
        if (!json_is_integer(v) || d < 0) return bad(x, e, "the shape holds what is no length");
        if (!checked_mul(*n_bytes, (uint64_t)d, n_bytes))
            return bad(x, e, "the shape's product is over 2^64 bytes");
        t->shape[i] = d;
    }
    return 0;
}

static int read_entry(const struct entry *x, struct st_tensor *t, struct err *e) {
    uint64_t want = 0;
    if (!json_is_object(x->j)) return bad(x, e, "its entry is no object");
    if (read_type(x, &t->type, e) != 0 || read_shape(x, t, &want, e) != 0) return -1;
    const json_t *at = json_object_get(x->j, "data_offsets");
    const json_t *lo = json_array_get(at, 0), *hi = json_array_get(at, 1);
    if (json_array_size(at) != 2 || !json_is_integer(lo) || !json_is_integer(hi))
        return bad(x, e, "data_offsets is not [begin, end]");
    const json_int_t from = json_integer_value(lo), to = json_integer_value(hi);
    if (from < 0 || to < from || (uint64_t)to > x->n_data)
        return err_set(e, ERR_FORMAT,
                       "%s: tensor '%s': data_offsets [%lld, %lld] of %llu bytes of data", x->file,
                       x->name, (long long)from, (long long)to, (unsigned long long)x->n_data);
    if ((uint64_t)(to - from) != want)
        return err_set(e, ERR_FORMAT,
                       "%s: tensor '%s': %lld bytes of data; its shape and dtype %s need %llu",
                       x->file, x->name, (long long)(to - from), st_type_name(t->type),
                       (unsigned long long)want);
    t->data = x->data + from;
    t->n_bytes = (size_t)want;
    return 0;
}

/* ---- one file ---- */

static int push(struct safetensors *s, const struct st_tensor *t, struct err *e) {
    if (s->n == ST_MAX_TENSORS)
        return err_set(e, ERR_LIMIT, "more than the %d tensors that are accepted", ST_MAX_TENSORS);
    if (s->n == s->cap) {
        const int cap = s->cap ? 2 * s->cap : 512;
        struct st_tensor *p = realloc(s->t, (size_t)cap * sizeof *p);
        if (!p) return err_nomem(e, "safetensors");
        s->t = p, s->cap = cap;
    }
    s->t[s->n++] = *t;
    return 0;
}

static int by_place(const void *a, const void *b) {
    const struct st_tensor *x = a, *y = b;
    if (x->data != y->data) return x->data < y->data ? -1 : 1;
    return x->n_bytes < y->n_bytes ? -1 : x->n_bytes > y->n_bytes;
}

/* Every byte of the data belongs to one tensor. */
static int check_places(struct safetensors *s, int first, const char *file, const uint8_t *data,
                        uint64_t n_data, struct err *e) {
    uint64_t at = 0;
    if (s->n > first) qsort(s->t + first, (size_t)(s->n - first), sizeof *s->t, by_place);
    for (int i = first; i < s->n; i++) {
        const uint64_t lo = (uint64_t)(s->t[i].data - data);
        if (lo != at)
            return err_set(e, ERR_FORMAT,
                           "%s: tensor '%s' begins at %llu; %llu, where the one before ends, is "
                           "accepted",
                           file, s->t[i].name, (unsigned long long)lo, (unsigned long long)at);
        at += s->t[i].n_bytes;
    }
    if (at == n_data) return 0;
    return err_set(e, ERR_FORMAT, "%s: %llu bytes behind the last tensor", file,
                   (unsigned long long)(n_data - at));
}

static json_t *read_header(const char *file, const struct os_map *m, uint64_t *n_header,
                           struct err *e) {
    uint64_t n = 0;
    for (int i = 7; i >= 0 && m->size >= 8; i--)
        n = n << 8 | m->data[i];
    *n_header = n;
    if (m->size < 8 || n > ST_MAX_HEADER || n > m->size - 8) {
        err_set(e, ERR_FORMAT,
                "%s: a header of %llu bytes in a file of %zu; at most %d, and no "
                "more than the file, is accepted",
                file, (unsigned long long)n, m->size, ST_MAX_HEADER);
        return NULL;
    }
    const struct str text = {(const char *)m->data + 8, (size_t)n};
    if (n == 0 || text.p[0] != '{') {
        err_set(e, ERR_FORMAT, "%s: no safetensors file: its header does not begin with '{'", file);
        return NULL;
    }
    return json_read_object(file, text, (size_t)ST_MAX_TENSORS * 8, e);
}

static int read_file(struct safetensors *s, const char *file, struct err *e) {
    struct os_map *m = &s->map[s->n_map];
    const int first = s->n;
    uint64_t n_header;
    if (os_map_open(m, file, e) != 0) return -1;
    s->n_map++;
    json_t *header = read_header(file, m, &n_header, e), *j;
    if (!header) return -1;
    const char *key;
    int rc = 0;
    struct entry x = {.file = file, .data = m->data + 8 + n_header};
    x.n_data = m->size - 8 - n_header;
    json_object_foreach(header, key, j) {
        struct st_tensor t = {0};
        if (strcmp(key, "__metadata__") == 0) continue;
        x.name = key, x.j = j;
        t.name = arena_strndup(&s->a, key, strlen(key));
        rc = !t.name ? err_nomem(e, file) : read_entry(&x, &t, e) != 0 ? -1 : push(s, &t, e);
        if (rc != 0) break;
    }
    json_decref(header);
    return rc == 0 ? check_places(s, first, file, x.data, x.n_data, e) : -1;
}

/* ---- a folder ---- */

/* A name that an index gives is the name of a file of this folder. */
static int safe_name(const char *index, const char *name, struct err *e) {
    const size_t n = strlen(name);
    if (n > 0 && n <= 255 && name[0] != '.' && !strchr(name, '/') && !strchr(name, '\\')) return 0;
    return err_set(e, ERR_FORMAT,
                   "%s: file name \"%.60s\"; the name of a file beside it is accepted", index,
                   name);
}

static int read_named(struct safetensors *s, const char *folder, const char *name, struct err *e) {
    char path[MAX_PATH];
    if (snprintf(path, sizeof path, "%s/%s", folder, name) >= (int)sizeof path)
        return err_set(e, ERR_FORMAT, "%.60s: the path is too long", folder);
    return read_file(s, path, e);
}

/* The files that an index's weight_map names, each once. */
static int read_index(struct safetensors *s, const char *folder, const char *index,
                      const json_t *map, struct err *e) {
    json_t *seen = json_object(), *file;
    const char *tensor;
    int rc = seen ? 0 : err_nomem(e, index);
    if (rc == 0 && json_object_size(map) == 0)
        rc = err_set(e, ERR_FORMAT, "%s: no \"weight_map\" that names files", index);
    json_object_foreach((json_t *)map, tensor, file) {
        const char *name = json_string_value(file);
        if (rc == 0 && !name)
            rc = err_set(e, ERR_FORMAT, "%s: tensor '%s' has no file", index, tensor);
        if (rc != 0 || json_object_get(seen, name)) continue;
        rc = safe_name(index, name, e);
        if (rc == 0 && s->n_map == ST_MAX_FILES)
            rc = err_set(e, ERR_LIMIT, "%s: more than %d files", index, ST_MAX_FILES);
        if (rc == 0) rc = read_named(s, folder, name, e);
        if (rc == 0) json_object_set_new(seen, name, json_true());
    }
    json_decref(seen);
    return rc;
}

static int by_name(const void *a, const void *b) {
    return strcmp(((const struct st_tensor *)a)->name, ((const struct st_tensor *)b)->name);
}

/* Every tensor that the index names is there. */
static int check_index(const struct safetensors *s, const char *index, const json_t *map,
                       struct err *e) {
    const char *tensor;
    json_t *file;
    json_object_foreach((json_t *)map, tensor, file) {
        if (safetensors_find(s, tensor)) continue;
        return err_set(e, ERR_FORMAT, "%s: tensor '%s' is not in %s", index, tensor,
                       json_string_value(file));
    }
    return 0;
}

static int sort(struct safetensors *s, const char *path, struct err *e) {
    if (s->n == 0) return err_set(e, ERR_FORMAT, "%s: no tensors", path);
    qsort(s->t, (size_t)s->n, sizeof *s->t, by_name);
    for (int i = 1; i < s->n; i++)
        if (strcmp(s->t[i - 1].name, s->t[i].name) == 0)
            return err_set(e, ERR_FORMAT, "%s: tensor '%s' comes twice", path, s->t[i].name);
    return 0;
}

static int read_sharded(struct safetensors *s, const char *folder, const char *index,
                        struct err *e) {
    struct buf text = {0};
    int rc = os_read_file(index, MAX_INDEX, &text, e);
    json_t *j = rc == 0 ? json_read_object(index, buf_view(&text), ST_MAX_TENSORS * 2, e) : NULL;
    buf_fini(&text);
    if (!j) return -1;
    const json_t *map = json_object_get(j, "weight_map");
    rc = read_index(s, folder, index, map, e);
    if (rc == 0) rc = sort(s, folder, e);
    if (rc == 0) rc = check_index(s, index, map, e);
    json_decref(j);
    return rc;
}

/* The only *.safetensors of a folder. */
static int read_only(struct safetensors *s, const char *folder, struct err *e) {
    char name[256] = "";
    int n = 0;
    DIR *d = opendir(folder);
    if (!d) return err_errno(e, folder);
    for (struct dirent *x; (x = readdir(d));) {
        const size_t k = strlen(x->d_name);
        if (k < 13 || x->d_name[0] == '.' || strcmp(x->d_name + k - 12, ".safetensors") != 0)
            continue;
        snprintf(name, sizeof name, "%s", x->d_name);
        n++;
    }
    closedir(d);
    if (n == 1) return read_named(s, folder, name, e);
    return err_set(e, n ? ERR_FORMAT : ERR_NOT_FOUND,
                   "%s: %d safetensors files; one, or a model.safetensors.index.json that names "
                   "them, is needed",
                   folder, n);
}

static int read_folder(struct safetensors *s, const char *folder, struct err *e) {
    static const char *const usual[] = {"model.safetensors", "adapter_model.safetensors"};
    char path[MAX_PATH];
    struct stat st;
    const int n = snprintf(path, sizeof path, "%s/model.safetensors.index.json", folder);
    if (n >= (int)sizeof path) return err_set(e, ERR_FORMAT, "%.60s: too long a path", folder);
    if (stat(path, &st) == 0) return read_sharded(s, folder, path, e);
    for (size_t i = 0; i < sizeof usual / sizeof *usual; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, usual[i]);
        if (stat(path, &st) == 0) return read_file(s, path, e) == 0 ? sort(s, path, e) : -1;
    }
    return read_only(s, folder, e) == 0 ? sort(s, folder, e) : -1;
}

struct safetensors *safetensors_open(const char *path, struct err *e) {
    struct stat st;
    struct safetensors *s = calloc(1, sizeof *s);
    if (s) s->map = calloc(ST_MAX_FILES, sizeof *s->map);
    if (!s || !s->map) {
        err_nomem(e, path);
        safetensors_close(s);
        return NULL;
    }
    int rc;
    if (stat(path, &st) != 0)
        rc = err_errno(e, path);
    else if (S_ISDIR(st.st_mode))
        rc = read_folder(s, path, e);
    else
        rc = read_file(s, path, e) == 0 ? sort(s, path, e) : -1;
    if (rc == 0) return s;
    safetensors_close(s);
    return NULL;
}

void safetensors_close(struct safetensors *s) {
    if (!s) return;
    for (int i = 0; i < s->n_map; i++)
        os_map_close(&s->map[i]);
    free(s->map);
    free(s->t);
    arena_fini(&s->a);
    free(s);
}

int safetensors_n(const struct safetensors *s) {
    return s->n;
}

const struct st_tensor *safetensors_at(const struct safetensors *s, int i) {
    return &s->t[i];
}

const struct st_tensor *safetensors_find(const struct safetensors *s, const char *name) {
    const struct st_tensor key = {.name = name};
    return bsearch(&key, s->t, (size_t)s->n, sizeof *s->t, by_name);
}

void safetensors_forget(const struct st_tensor *t, size_t lo, size_t hi) {
    const uintptr_t page = (uintptr_t)sysconf(_SC_PAGESIZE);
    const uintptr_t from = ((uintptr_t)t->data + lo + page - 1) & ~(page - 1);
    const uintptr_t to = ((uintptr_t)t->data + hi) & ~(page - 1);
    if (from < to) madvise((void *)from, to - from, MADV_DONTNEED); /* read-only: nothing is lost */
}

/* ---- values ---- */

/* OCP 8-bit floats ("OFP8", 2023): E4M3 has no infinity, its largest code is NaN; E5M2 is the upper
 * half of binary16. */
static float f8_e4m3(uint8_t v) {
    const float sign = v & 0x80 ? -1.0f : 1.0f;
    const int exp = v >> 3 & 15, man = v & 7;
    if (exp == 15 && man == 7) return f32_from_bits(0x7fc00000u);
    if (exp == 0) return sign * (float)man * 0x1p-9f;
    return sign * f32_from_bits((uint32_t)(exp + 120) << 23 | (uint32_t)man << 20);
}

static float value_at(enum st_type type, const uint8_t *p) {
    uint16_t half;
    float f;
    double d;
    switch (type) {
    case ST_F32: memcpy(&f, p, 4); return f;
    case ST_F64: memcpy(&d, p, 8); return (float)d;
    case ST_F16: memcpy(&half, p, 2); return f16_to_f32(half);
    case ST_BF16: memcpy(&half, p, 2); return bf16_to_f32(half);
    case ST_F8_E4M3: return f8_e4m3(*p);
    default: return f16_to_f32((uint16_t)(*p << 8)); /* E5M2 */
    }
}

void safetensors_floats(const struct st_tensor *t, size_t first, size_t n, float *out) {
    const size_t size = st_type_bytes(t->type);
    for (size_t i = 0; i < n; i++)
        out[i] = value_at(t->type, t->data + (first + i) * size);
}
