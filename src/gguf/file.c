/* One GGUF file: parsing its header and checking everything that it declares (specification:
 * ggml/docs/gguf.md; limits: SECURITY.md 1.1).
 *
 *   magic "GGUF", u32 version, u64 n_tensor, u64 n_kv
 *   n_kv     x { key, u32 type, value }
 *   n_tensor x { name, u32 n_dim, u64 ne[n_dim], u32 type, u64 offset }
 *   padding to the alignment, then the tensors' bytes; offsets count from there
 *
 * The header is walked once, front to back.  Counts are compared with the bytes that are left
 * before anything is allocated for them, so a small file cannot ask for much memory. */
#include "gguf/file.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/checked.h"
#include "base/utf8.h"

enum {
    MIN_KV_BYTES = 8 + 1 + 4 + 1,             /* key of one byte, type, smallest value */
    MIN_TENSOR_BYTES = 8 + 1 + 4 + 8 + 4 + 8, /* name of one byte, one dimension */
    /* What may follow the last tensor: writers pad the file's end to the alignment or to blocks of
     * their own.  More than the largest alignment is not padding. */
    MAX_TAIL_BYTES = GGUF_MAX_ALIGNMENT,
};

struct reader {
    const uint8_t *base; /* the file */
    uint64_t size, at;   /* at <= size always */
    const char *path;
    char where[128]; /* what is being read: "key 'general.name'" */
    struct err *e;
};

/* Where a tensor's bytes lie, relative to the data section; end is rounded up to the alignment. */
struct extent {
    uint64_t offset, end;
    const char *name;
};

struct gguf_shown gguf_show_name(struct str name) {
    struct gguf_shown s;
    const size_t n = name.n <= 100 ? name.n : utf8_complete(name.p, 100);
    snprintf(s.z, sizeof s.z, "%.*s%s", (int)n, name.p, n < name.n ? "..." : "");
    return s;
}

/* ---- Taking bytes -----------------------------------------------------------------------------
 */

/* The next n bytes, or NULL with the error set. */
static const uint8_t *take(struct reader *r, uint64_t n) {
    const uint64_t left = r->size - r->at;
    if (n > left) {
        err_set(r->e, ERR_FORMAT, "%s: %s: needs %llu bytes; %llu are left in the file", r->path,
                r->where, (unsigned long long)n, (unsigned long long)left);
        return NULL;
    }
    const uint8_t *p = r->base + r->at;
    r->at += n; /* <= size */
    return p;
}

static int take_u32(struct reader *r, uint32_t *v) {
    const uint8_t *p = take(r, sizeof *v);
    if (!p) return -1;
    memcpy(v, p, sizeof *v);
    return 0;
}

static int take_u64(struct reader *r, uint64_t *v) {
    const uint8_t *p = take(r, sizeof *v);
    if (!p) return -1;
    memcpy(v, p, sizeof *v);
    return 0;
}

static int take_str(struct reader *r, uint64_t max_bytes, struct str *s) {
    uint64_t n;
    if (take_u64(r, &n) != 0) return -1;
    if (n > max_bytes)
        return err_set(r->e, ERR_FORMAT, "%s: %s: a string of %llu bytes; at most %llu", r->path,
                       r->where, (unsigned long long)n, (unsigned long long)max_bytes);
    const uint8_t *p = take(r, n);
    if (!p) return -1;
    *s = (struct str){(const char *)p, (size_t)n};
    return 0;
}

/* A key or a tensor's name: what other code will print, compare and keep as a C string. */
static int take_name(struct reader *r, uint64_t max_bytes, struct str *s) {
    if (take_str(r, max_bytes, s) != 0) return -1;
    if (s->n == 0) return err_set(r->e, ERR_FORMAT, "%s: %s: the name is empty", r->path, r->where);
    if (utf8_valid_prefix(s->p, s->n) != s->n)
        return err_set(r->e, ERR_FORMAT, "%s: %s: the name is not valid UTF-8", r->path, r->where);
    for (size_t i = 0; i < s->n; i++)
        if ((unsigned char)s->p[i] < 0x20 || s->p[i] == 0x7f)
            return err_set(r->e, ERR_FORMAT, "%s: %s: a control byte in the name", r->path,
                           r->where);
    return 0;
}

/* ---- Keys -------------------------------------------------------------------------------------
 */

static int skip_values(struct reader *r, enum gguf_type t, uint64_t n) {
    const size_t size = gguf_type_bytes(t);
    uint64_t n_bytes;
    if (t == GGUF_STR) {
        struct str s;
        /* Each takes 8 bytes at least: a count that cannot be true is refused before the walk. */
        if (n > (r->size - r->at) / 8)
            return err_set(r->e, ERR_FORMAT,
                           "%s: %s: %llu strings; %llu bytes are left in the file", r->path,
                           r->where, (unsigned long long)n, (unsigned long long)(r->size - r->at));
        for (uint64_t i = 0; i < n; i++)
            if (take_str(r, GGUF_MAX_STRING_BYTES, &s) != 0) return -1;
        return 0;
    }
    if (!checked_mul(n, size, &n_bytes))
        return err_set(r->e, ERR_FORMAT, "%s: %s: %llu elements overflow", r->path, r->where,
                       (unsigned long long)n);
    const uint8_t *p = take(r, n_bytes);
    if (!p) return -1;
    for (uint64_t i = 0; t == GGUF_BOOL && i < n; i++)
        if (p[i] > 1)
            return err_set(r->e, ERR_FORMAT, "%s: %s: bool of value %u; 0 or 1", r->path, r->where,
                           p[i]);
    return 0;
}

static int take_type(struct reader *r, const char *what, enum gguf_type *t) {
    uint32_t v;
    if (take_u32(r, &v) != 0) return -1;
    if (v >= GGUF_TYPE_COUNT)
        return err_set(r->e, ERR_FORMAT, "%s: %s: %s %u; known are 0 to %d", r->path, r->where,
                       what, v, GGUF_TYPE_COUNT - 1);
    *t = (enum gguf_type)v;
    return 0;
}

static int parse_kv(struct reader *r, struct gguf_kv *kv) {
    if (take_name(r, GGUF_MAX_KEY_BYTES, &kv->key) != 0) return -1;
    snprintf(r->where, sizeof r->where, "key '%s'", gguf_show_name(kv->key).z);
    if (take_type(r, "value type", &kv->type) != 0) return -1;
    kv->elem_type = kv->type;
    kv->n = 1;
    if (kv->type == GGUF_ARR) {
        if (take_type(r, "element type", &kv->elem_type) != 0) return -1;
        if (kv->elem_type == GGUF_ARR)
            return err_set(r->e, ERR_UNSUPPORTED, "%s: %s: an array of arrays; not accepted",
                           r->path, r->where);
        if (take_u64(r, &kv->n) != 0) return -1;
        if (kv->n > GGUF_MAX_ARRAY)
            return err_set(r->e, ERR_FORMAT, "%s: %s: an array of %llu elements; at most %d",
                           r->path, r->where, (unsigned long long)kv->n, GGUF_MAX_ARRAY);
    }
    const uint64_t start = r->at;
    kv->data = r->base + start;
    if (skip_values(r, kv->elem_type, kv->n) != 0) return -1;
    kv->n_bytes = r->at - start;
    return 0;
}

static int compare_str(struct str a, struct str b) {
    const int c = memcmp(a.p, b.p, a.n < b.n ? a.n : b.n);
    return c ? c : (a.n > b.n) - (a.n < b.n);
}

static int compare_keys(const void *a, const void *b) {
    return compare_str((*(const struct gguf_kv *const *)a)->key,
                       (*(const struct gguf_kv *const *)b)->key);
}

/* Sorted rather than hashed: no input makes it slow, and duplicates end up side by side. */
static int index_keys(struct gguf_file *f, struct arena *a, struct err *e) {
    const size_t n = (size_t)f->n_kv;
    f->by_key = arena_calloc(a, n + 1, sizeof *f->by_key);
    if (!f->by_key) return err_nomem(e, f->path);
    for (size_t i = 0; i < n; i++)
        f->by_key[i] = &f->kv[i];
    qsort(f->by_key, n, sizeof *f->by_key, compare_keys);
    for (size_t i = 1; i < n; i++)
        if (str_eq(f->by_key[i - 1]->key, f->by_key[i]->key))
            return err_set(e, ERR_FORMAT, "%s: key '%s' is there twice", f->path,
                           gguf_show_name(f->by_key[i]->key).z);
    return 0;
}

const struct gguf_kv *gguf_file_find(const struct gguf_file *f, struct str key) {
    int lo = 0, hi = f->n_kv;
    while (lo < hi) {
        const int mid = lo + (hi - lo) / 2;
        const int c = compare_str(f->by_key[mid]->key, key);
        if (c == 0) return f->by_key[mid];
        if (c < 0)
            lo = mid + 1;
        else
            hi = mid;
    }
    return NULL;
}

static int read_alignment(struct gguf_file *f, struct err *e) {
    const struct gguf_kv *kv = gguf_file_find(f, STR("general.alignment"));
    f->alignment = GGUF_DEFAULT_ALIGNMENT;
    if (!kv) return 0;
    if (kv->type != GGUF_U32)
        return err_set(e, ERR_FORMAT, "%s: key 'general.alignment' is %s; uint32 is needed",
                       f->path, gguf_type_name(kv->type));
    memcpy(&f->alignment, kv->data, sizeof f->alignment);
    if (f->alignment < GGUF_MIN_ALIGNMENT || f->alignment > GGUF_MAX_ALIGNMENT ||
        (f->alignment & (f->alignment - 1)) != 0)
        return err_set(e, ERR_FORMAT,
                       "%s: key 'general.alignment' is %u; powers of two from %d to %d", f->path,
                       f->alignment, GGUF_MIN_ALIGNMENT, GGUF_MAX_ALIGNMENT);
    return 0;
}

/* ---- Tensors ----------------------------------------------------------------------------------
 */

static int take_shape(struct reader *r, struct gguf_tensor *t) {
    uint32_t n_dim;
    if (take_u32(r, &n_dim) != 0) return -1;
    if (n_dim < 1 || n_dim > 4)
        return err_set(r->e, ERR_FORMAT, "%s: %s: %u dimensions; 1 to 4", r->path, r->where, n_dim);
    t->n_dim = (int)n_dim;
    for (int i = 0; i < 4; i++) {
        uint64_t ne = 1;
        if (i < t->n_dim && take_u64(r, &ne) != 0) return -1;
        if (ne < 1 || ne > INT32_MAX)
            return err_set(r->e, ERR_FORMAT, "%s: %s: dimension %d is %llu; 1 to %d", r->path,
                           r->where, i, (unsigned long long)ne, INT32_MAX);
        t->ne[i] = (int64_t)ne;
    }
    return 0;
}

bool gguf_shape_bytes(enum qtype type, const int64_t ne[4], size_t *n_bytes) {
    const struct qtype_geom *g = qtype_geom(type);
    uint64_t n = (uint64_t)(ne[0] / g->block);
    if (!checked_mul(n, (uint64_t)g->block_bytes, &n)) return false;
    for (int i = 1; i < 4; i++)
        if (!checked_mul(n, (uint64_t)ne[i], &n)) return false;
    return n <= INT64_MAX && checked_size(n, n_bytes);
}

/* Type, and with the shape the size. */
static int take_geometry(struct reader *r, struct gguf_tensor *t) {
    uint32_t type;
    if (take_u32(r, &type) != 0) return -1;
    const struct qtype_geom *g = qtype_geom(type);
    if (!g)
        return err_set(
            r->e, ERR_UNSUPPORTED, "%s: %s: element type %u; %s", r->path, r->where, type,
            type < QT_COUNT ? "it was removed from the format" : "this build does not know it");
    t->type = (enum qtype)type;
    if (t->ne[0] % g->block != 0)
        return err_set(r->e, ERR_FORMAT, "%s: %s: rows of %lld values; %s needs a multiple of %d",
                       r->path, r->where, (long long)t->ne[0], g->name, g->block);
    if (!gguf_shape_bytes(t->type, t->ne, &t->n_bytes))
        return err_set(r->e, ERR_FORMAT, "%s: %s: %lld x %lld x %lld x %lld values overflow",
                       r->path, r->where, (long long)t->ne[0], (long long)t->ne[1],
                       (long long)t->ne[2], (long long)t->ne[3]);
    return 0;
}

static int parse_tensor(struct reader *r, struct arena *a, uint32_t alignment,
                        struct gguf_tensor *t, struct extent *x) {
    struct str name;
    uint64_t end;
    if (take_name(r, GGUF_MAX_NAME_BYTES, &name) != 0) return -1;
    snprintf(r->where, sizeof r->where, "tensor '%s'", gguf_show_name(name).z);
    t->name = arena_strndup(a, name.p, name.n);
    if (!t->name) return err_nomem(r->e, r->path);
    if (take_shape(r, t) != 0 || take_geometry(r, t) != 0) return -1;
    if (take_u64(r, &x->offset) != 0) return -1;
    if (x->offset % alignment != 0)
        return err_set(r->e, ERR_FORMAT, "%s: %s: offset %llu; a multiple of the alignment %u",
                       r->path, r->where, (unsigned long long)x->offset, alignment);
    if (!checked_add(x->offset, t->n_bytes, &end) || !checked_align(end, alignment, &x->end))
        return err_set(r->e, ERR_FORMAT, "%s: %s: offset %llu and %zu bytes overflow", r->path,
                       r->where, (unsigned long long)x->offset, t->n_bytes);
    x->name = t->name;
    return 0;
}

static int compare_extents(const void *a, const void *b) {
    const struct extent *x = a, *y = b;
    return (x->offset > y->offset) - (x->offset < y->offset);
}

/* The tensors, in any order, fill the data section from its start without hole or overlap, and the
 * file holds all of it.  Sorts x. */
static int check_layout(const struct gguf_file *f, struct extent *x, uint64_t data_start,
                        struct err *e) {
    uint64_t expected = 0;
    const char *before = "the start of the data";
    qsort(x, (size_t)f->n_tensor, sizeof *x, compare_extents);
    for (int i = 0; i < f->n_tensor; i++) {
        if (x[i].offset != expected)
            return err_set(e, ERR_FORMAT, "%s: tensor '%s': offset %llu %s '%s'; expected %llu",
                           f->path, x[i].name, (unsigned long long)x[i].offset,
                           x[i].offset < expected ? "overlaps" : "leaves a hole after", before,
                           (unsigned long long)expected);
        expected = x[i].end;
        before = x[i].name;
    }
    /* Only the last tensor's padding may be missing. */
    uint64_t end;
    if (!checked_add(data_start, expected, &end))
        return err_set(e, ERR_FORMAT, "%s: sizes of the tensors overflow", f->path);
    if (f->n_bytes > end && f->n_bytes - end > MAX_TAIL_BYTES)
        return err_set(e, ERR_FORMAT,
                       "%s: %llu bytes follow the last tensor; at most %d of padding", f->path,
                       (unsigned long long)(f->n_bytes - end), MAX_TAIL_BYTES);
    return 0;
}

/* Turn offsets into pointers; x is in the tensors' order. */
static int bind_data(struct gguf_file *f, const struct extent *x, uint64_t data_start,
                     struct err *e) {
    for (int i = 0; i < f->n_tensor; i++) {
        struct gguf_tensor *t = &f->tensor[i];
        uint64_t begin, end;
        if (!checked_add(data_start, x[i].offset, &begin) ||
            !checked_add(begin, t->n_bytes, &end) || end > f->n_bytes)
            return err_set(e, ERR_FORMAT,
                           "%s: tensor '%s': %zu bytes at offset %llu; the file has only %zu bytes",
                           f->path, t->name, t->n_bytes, (unsigned long long)x[i].offset,
                           f->n_bytes);
        t->data = f->bytes + begin;
    }
    return 0;
}

static int parse_tensors(struct gguf_file *f, struct reader *r, struct arena *a) {
    struct extent *x = calloc((size_t)f->n_tensor + 1, sizeof *x);
    uint64_t data_start = r->at;
    int rc = -1;
    f->tensor = arena_calloc(a, (size_t)f->n_tensor + 1, sizeof *f->tensor);
    if (!x || !f->tensor) {
        err_nomem(r->e, f->path);
        goto done;
    }
    for (int i = 0; i < f->n_tensor; i++) {
        snprintf(r->where, sizeof r->where, "tensor %d of %d", i, f->n_tensor);
        if (parse_tensor(r, a, f->alignment, &f->tensor[i], &x[i]) != 0) goto done;
    }
    if (!checked_align(r->at, f->alignment, &data_start)) {
        err_set(r->e, ERR_FORMAT, "%s: the header's size overflows", f->path);
        goto done;
    }
    if (bind_data(f, x, data_start, r->e) != 0) goto done;
    rc = check_layout(f, x, data_start, r->e);
done:
    free(x);
    return rc;
}

/* ---- The file ---------------------------------------------------------------------------------
 */

static int parse_version(struct gguf_file *f, struct reader *r) {
    uint32_t version;
    if (r->size < 4 || memcmp(r->base, "GGUF", 4) != 0)
        return err_set(r->e, ERR_FORMAT, "%s: not a GGUF file: it does not start with 'GGUF'",
                       f->path);
    snprintf(r->where, sizeof r->where, "header");
    if (!take(r, 4) || take_u32(r, &version) != 0) return -1;
    /* The magic is the same in both byte orders; a version such as 0x03000000 gives it away. */
    if (version && (version & 0xffff) == 0)
        return err_set(r->e, ERR_UNSUPPORTED, "%s: big-endian GGUF; this build reads little-endian",
                       f->path);
    if (version < 2 || version > 3)
        return err_set(r->e, ERR_UNSUPPORTED, "%s: GGUF version %u; this build reads 2 and 3",
                       f->path, version);
    f->version = (int)version;
    return 0;
}

static int take_count(struct reader *r, const char *what, uint64_t max, uint64_t *n) {
    if (take_u64(r, n) != 0) return -1;
    if (*n > max)
        return err_set(r->e, ERR_FORMAT, "%s: header: %llu %s; at most %llu", r->path,
                       (unsigned long long)*n, what, (unsigned long long)max);
    return 0;
}

static int parse_counts(struct gguf_file *f, struct reader *r) {
    uint64_t n_tensor, n_kv;
    if (take_count(r, "tensors", GGUF_MAX_TENSORS, &n_tensor) != 0) return -1;
    if (take_count(r, "keys", GGUF_MAX_KV, &n_kv) != 0) return -1;
    if (n_kv * MIN_KV_BYTES + n_tensor * MIN_TENSOR_BYTES > r->size - r->at) /* both <= 2^16 */
        return err_set(r->e, ERR_FORMAT,
                       "%s: header: %llu keys and %llu tensors; the file has only "
                       "%llu bytes for them",
                       f->path, (unsigned long long)n_kv, (unsigned long long)n_tensor,
                       (unsigned long long)(r->size - r->at));
    f->n_kv = (int)n_kv;
    f->n_tensor = (int)n_tensor;
    return 0;
}

static int parse(struct gguf_file *f, struct arena *a, struct err *e) {
    struct reader r = {.base = f->bytes, .size = f->n_bytes, .path = f->path, .e = e};
    if (parse_version(f, &r) != 0 || parse_counts(f, &r) != 0) return -1;
    f->kv = arena_calloc(a, (size_t)f->n_kv + 1, sizeof *f->kv);
    if (!f->kv) return err_nomem(e, f->path);
    for (int i = 0; i < f->n_kv; i++) {
        snprintf(r.where, sizeof r.where, "key %d of %d", i, f->n_kv);
        if (parse_kv(&r, &f->kv[i]) != 0) return -1;
    }
    if (index_keys(f, a, e) != 0 || read_alignment(f, e) != 0) return -1;
    return parse_tensors(f, &r, a);
}

int gguf_file_parse(struct gguf_file *f, const char *path, const void *bytes, size_t n_bytes,
                    struct arena *a, struct err *e) {
    *f = (struct gguf_file){.map.fd = -1, .bytes = bytes, .n_bytes = n_bytes};
    f->path = arena_strndup(a, path, strlen(path));
    return f->path ? parse(f, a, e) : err_nomem(e, path);
}

int gguf_file_open(struct gguf_file *f, const char *path, struct arena *a, struct err *e) {
    struct os_map map;
    *f = (struct gguf_file){.map.fd = -1};
    if (os_map_open(&map, path, e) != 0) return -1;
    const int rc = gguf_file_parse(f, path, map.data, map.size, a, e);
    f->map = map;
    return rc;
}

void gguf_file_close(struct gguf_file *f) {
    os_map_close(&f->map);
    f->kv = NULL;
    f->tensor = NULL;
    f->n_kv = f->n_tensor = 0;
}
