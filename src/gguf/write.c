/* Writing GGUF v3: declarations are kept encoded as they will stand in the file, then everything
 * goes out front to back. */
#include "gguf/write.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/checked.h"
#include "gguf/file.h"

enum { WRITE_BUFFER_BYTES = 1 << 20 };

struct kv_out {
    struct str key;   /* in the arena */
    struct buf value; /* type and value as in the file; owned */
    size_t order;     /* of declaration */
};

struct tensor_out {
    const char *name; /* in the arena */
    enum qtype type;
    int n_dim;
    int64_t ne[4];
    size_t n_bytes;
    uint64_t offset;
};

struct gguf_writer {
    struct arena arena;
    const char *path, *partial;
    FILE *f;
    uint32_t alignment;
    struct kv_out *kv;
    size_t n_kv, cap_kv;
    struct tensor_out *tensor;
    size_t n_tensor, cap_tensor;
    uint64_t next_offset; /* where the next declared tensor goes */
    bool header_done;
    size_t at_tensor, at_byte; /* the next byte of data belongs there */
};

/* ---- The partial file -------------------------------------------------------------------------
 */

/* Open and lock PATH.partial, emptied.  Two writers of one target must not mix: the second is
 * refused.  The file may be renamed away between our open and our lock; then we would hold the
 * finished model, so look again. */
static int open_partial(const char *partial, struct err *e) {
    for (int i = 0; i < 10; i++) {
        struct stat open_st, path_st;
        const int fd = open(partial, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK, 0666);
        if (fd < 0) return err_errno(e, partial);
        if (flock(fd, LOCK_EX | LOCK_NB) != 0) {
            close(fd);
            return err_set(e, ERR_IO, "%s: another process is writing it", partial);
        }
        if (fstat(fd, &open_st) == 0 && lstat(partial, &path_st) == 0 &&
            open_st.st_ino == path_st.st_ino && open_st.st_dev == path_st.st_dev &&
            S_ISREG(open_st.st_mode) && ftruncate(fd, 0) == 0)
            return fd;
        close(fd);
    }
    return err_set(e, ERR_IO, "%s: cannot be created", partial);
}

struct gguf_writer *gguf_writer_new(const char *path, uint32_t alignment, struct err *e) {
    struct stat st;
    char partial[PATH_MAX];
    struct gguf_writer *w = calloc(1, sizeof *w);
    if (!w) goto nomem;
    w->alignment = alignment ? alignment : GGUF_DEFAULT_ALIGNMENT;
    w->path = arena_strndup(&w->arena, path, strlen(path));
    if (!w->path) goto nomem;
    /* A rename would replace a device as readily as a file. */
    if (stat(path, &st) == 0 && !S_ISREG(st.st_mode)) {
        err_set(e, ERR_IO, "%s: exists and is no regular file", path);
        goto fail;
    }
    if (snprintf(partial, sizeof partial, "%s.partial", path) >= (int)sizeof partial) {
        err_set(e, ERR_USAGE, "%s: the path is too long", path);
        goto fail;
    }
    const int fd = open_partial(partial, e);
    if (fd < 0) goto fail;
    w->f = fdopen(fd, "w");
    w->partial = arena_strndup(&w->arena, partial, strlen(partial));
    if (!w->f) close(fd);
    if (!w->f || !w->partial) goto nomem;
    setvbuf(w->f, NULL, _IOFBF, WRITE_BUFFER_BYTES);
    return w;
nomem:
    err_nomem(e, path);
fail:
    gguf_writer_abort(w);
    return NULL;
}

void gguf_writer_abort(struct gguf_writer *w) {
    if (!w) return;
    if (w->partial) unlink(w->partial); /* before the lock is gone */
    if (w->f) fclose(w->f);
    for (size_t i = 0; i < w->n_kv; i++)
        buf_fini(&w->kv[i].value);
    free(w->kv);
    free(w->tensor);
    arena_fini(&w->arena);
    free(w);
}

/* ---- Keys -------------------------------------------------------------------------------------
 */

/* Room for one more element of a doubling array; NULL when memory is out. */
static void *grow(void *array, size_t n, size_t *cap, size_t elem_bytes) {
    if (n < *cap) return array;
    const size_t more = *cap ? *cap * 2 : 64;
    void *p = realloc(array, more * elem_bytes); /* n is at most 2^16 */
    if (p) *cap = more;
    return p;
}

static bool is_own_key(struct str key) {
    return str_is(key, "general.alignment") || str_starts(key, STR("split."));
}

/* Takes value, also on failure. */
static int add_kv(struct gguf_writer *w, struct str key, struct buf value, struct err *e) {
    if (w->header_done) {
        err_set(e, ERR_USAGE, "%s: key '%s' declared after data", w->path, gguf_show_name(key).z);
        goto fail;
    }
    if (key.n == 0 || key.n > GGUF_MAX_KEY_BYTES || w->n_kv == GGUF_MAX_KV) {
        err_set(e, ERR_FORMAT,
                "%s: key '%s': %zu bytes, the %zuth key; 1 to %d bytes, at most %d keys", w->path,
                gguf_show_name(key).z, key.n, w->n_kv + 1, GGUF_MAX_KEY_BYTES, GGUF_MAX_KV);
        goto fail;
    }
    struct kv_out *kv = grow(w->kv, w->n_kv, &w->cap_kv, sizeof *kv);
    if (kv) w->kv = kv;
    char *copy = kv && !value.failed ? arena_strndup(&w->arena, key.p, key.n) : NULL;
    if (!copy) {
        err_nomem(e, w->path);
        goto fail;
    }
    w->kv[w->n_kv] = (struct kv_out){{copy, key.n}, value, w->n_kv};
    w->n_kv++;
    return 0;
fail:
    buf_fini(&value);
    return -1;
}

static int set_scalar(struct gguf_writer *w, const char *key, enum gguf_type t, const void *v,
                      struct err *e) {
    const uint32_t type = t;
    struct buf b = {0};
    if (is_own_key(str_of(key))) return 0;
    buf_append(&b, &type, sizeof type);
    buf_append(&b, v, gguf_type_bytes(t));
    return add_kv(w, str_of(key), b, e);
}

int gguf_set_u32(struct gguf_writer *w, const char *key, uint32_t v, struct err *e) {
    return set_scalar(w, key, GGUF_U32, &v, e);
}

int gguf_set_i32(struct gguf_writer *w, const char *key, int32_t v, struct err *e) {
    return set_scalar(w, key, GGUF_I32, &v, e);
}

int gguf_set_u64(struct gguf_writer *w, const char *key, uint64_t v, struct err *e) {
    return set_scalar(w, key, GGUF_U64, &v, e);
}

int gguf_set_f32(struct gguf_writer *w, const char *key, float v, struct err *e) {
    return set_scalar(w, key, GGUF_F32, &v, e);
}

int gguf_set_bool(struct gguf_writer *w, const char *key, bool v, struct err *e) {
    const uint8_t byte = v;
    return set_scalar(w, key, GGUF_BOOL, &byte, e);
}

static void append_str(struct buf *b, struct str s) {
    const uint64_t n = s.n;
    buf_append(b, &n, sizeof n);
    buf_append(b, s.p, s.n);
}

static int string_too_long(struct gguf_writer *w, const char *key, struct str s, struct err *e) {
    if (s.n <= GGUF_MAX_STRING_BYTES) return 0;
    return err_set(e, ERR_FORMAT, "%s: key '%s': a string of %zu bytes; at most %d", w->path, key,
                   s.n, GGUF_MAX_STRING_BYTES);
}

int gguf_set_str(struct gguf_writer *w, const char *key, struct str v, struct err *e) {
    const uint32_t type = GGUF_STR;
    struct buf b = {0};
    if (is_own_key(str_of(key))) return 0;
    if (string_too_long(w, key, v, e) != 0) return -1;
    buf_append(&b, &type, sizeof type);
    append_str(&b, v);
    return add_kv(w, str_of(key), b, e);
}

/* The head of an array value; -1 when it has too many elements. */
static int begin_array(struct gguf_writer *w, const char *key, struct buf *b, enum gguf_type elem,
                       uint64_t n, struct err *e) {
    const uint32_t head[2] = {GGUF_ARR, elem};
    if (n > GGUF_MAX_ARRAY)
        return err_set(e, ERR_FORMAT, "%s: key '%s': an array of %llu elements; at most %d",
                       w->path, key, (unsigned long long)n, GGUF_MAX_ARRAY);
    buf_append(b, head, sizeof head);
    buf_append(b, &n, sizeof n);
    return 0;
}

int gguf_set_arr(struct gguf_writer *w, const char *key, enum gguf_type elem, const void *v,
                 uint64_t n, struct err *e) {
    struct buf b = {0};
    if (is_own_key(str_of(key))) return 0;
    if (begin_array(w, key, &b, elem, n, e) != 0) return -1;
    buf_append(&b, v, (size_t)n * gguf_type_bytes(elem)); /* n <= 2^26 */
    return add_kv(w, str_of(key), b, e);
}

int gguf_set_strs(struct gguf_writer *w, const char *key, const struct str *v, uint64_t n,
                  struct err *e) {
    struct buf b = {0};
    if (is_own_key(str_of(key))) return 0;
    if (begin_array(w, key, &b, GGUF_STR, n, e) != 0) return -1;
    for (uint64_t i = 0; i < n; i++) {
        if (string_too_long(w, key, v[i], e) != 0) {
            buf_fini(&b);
            return -1;
        }
        append_str(&b, v[i]);
    }
    return add_kv(w, str_of(key), b, e);
}

int gguf_copy_kv(struct gguf_writer *w, const struct gguf_kv *kv, struct err *e) {
    const uint32_t type = kv->type, elem = kv->elem_type;
    struct buf b = {0};
    if (is_own_key(kv->key)) return 0;
    buf_append(&b, &type, sizeof type);
    if (kv->type == GGUF_ARR) {
        buf_append(&b, &elem, sizeof elem);
        buf_append(&b, &kv->n, sizeof kv->n);
    }
    buf_append(&b, kv->data, (size_t)kv->n_bytes);
    return add_kv(w, kv->key, b, e);
}

/* By key, then by declaration. */
static int compare_kv(const void *a, const void *b) {
    const struct kv_out *x = *(struct kv_out *const *)a, *y = *(struct kv_out *const *)b;
    const size_t n = x->key.n < y->key.n ? x->key.n : y->key.n;
    const int c = memcmp(x->key.p, y->key.p, n);
    if (c) return c;
    if (x->key.n != y->key.n) return x->key.n < y->key.n ? -1 : 1;
    return x->order < y->order ? -1 : 1;
}

/* A key that was set again: its first place gets its last value, the other places go.  Done once
 * here rather than at each set, so that 2^16 keys cost no 2^31 comparisons. */
static int merge_keys(struct gguf_writer *w, struct err *e) {
    const size_t n = w->n_kv;
    struct kv_out **sorted = malloc((n + 1) * sizeof *sorted);
    if (!sorted) return err_nomem(e, w->path);
    for (size_t i = 0; i < n; i++)
        sorted[i] = &w->kv[i];
    qsort(sorted, n, sizeof *sorted, compare_kv);
    for (size_t i = 0, end; i < n; i = end) {
        for (end = i + 1; end < n && str_eq(sorted[i]->key, sorted[end]->key); end++) {
            buf_fini(&sorted[i]->value);
            sorted[i]->value = sorted[end]->value;
            sorted[end]->value = (struct buf){0};
        }
    }
    free(sorted);
    size_t kept = 0;
    for (size_t i = 0; i < n; i++)
        if (w->kv[i].value.n) w->kv[kept++] = w->kv[i]; /* an encoded value is never empty */
    w->n_kv = kept;
    return 0;
}

/* ---- Tensors ----------------------------------------------------------------------------------
 */

int gguf_add_tensor(struct gguf_writer *w, const char *name, enum qtype type, int n_dim,
                    const int64_t *ne, struct err *e) {
    struct tensor_out t = {.type = type, .n_dim = n_dim, .ne = {1, 1, 1, 1}};
    const struct qtype_geom *g = qtype_geom(type);
    const size_t n_name = strlen(name);
    uint64_t end;
    if (w->header_done)
        return err_set(e, ERR_USAGE, "%s: tensor '%s' declared after data", w->path, name);
    if (n_name == 0 || n_name > GGUF_MAX_NAME_BYTES || w->n_tensor == GGUF_MAX_TENSORS)
        return err_set(e, ERR_FORMAT,
                       "%s: tensor '%s', number %zu; names of 1 to %d bytes, at most %d tensors",
                       w->path, name, w->n_tensor + 1, GGUF_MAX_NAME_BYTES, GGUF_MAX_TENSORS);
    if (!g || n_dim < 1 || n_dim > 4)
        return err_set(e, ERR_FORMAT,
                       "%s: tensor '%s': type %d, %d dimensions; a known type, 1 to 4", w->path,
                       name, (int)type, n_dim);
    for (int i = 0; i < n_dim; i++) {
        t.ne[i] = ne[i];
        if (ne[i] < 1 || ne[i] > INT32_MAX)
            return err_set(e, ERR_FORMAT, "%s: tensor '%s': dimension %d is %lld; 1 to %d", w->path,
                           name, i, (long long)ne[i], INT32_MAX);
    }
    if (t.ne[0] % g->block != 0)
        return err_set(e, ERR_FORMAT,
                       "%s: tensor '%s': rows of %lld values; %s needs a multiple of %d", w->path,
                       name, (long long)t.ne[0], g->name, g->block);
    t.offset = w->next_offset;
    if (!gguf_shape_bytes(type, t.ne, &t.n_bytes) || !checked_add(t.offset, t.n_bytes, &end) ||
        !checked_align(end, w->alignment, &end))
        return err_set(e, ERR_FORMAT, "%s: tensor '%s': the size overflows", w->path, name);

    struct tensor_out *array = grow(w->tensor, w->n_tensor, &w->cap_tensor, sizeof *array);
    if (array) w->tensor = array;
    t.name = array ? arena_strndup(&w->arena, name, n_name) : NULL;
    if (!t.name) return err_nomem(e, w->path);
    w->next_offset = end;
    w->tensor[w->n_tensor++] = t;
    return 0;
}

static int compare_names(const void *a, const void *b) {
    return strcmp((*(const struct tensor_out *const *)a)->name,
                  (*(const struct tensor_out *const *)b)->name);
}

static int check_names(const struct gguf_writer *w, struct err *e) {
    const struct tensor_out **sorted = malloc((w->n_tensor + 1) * sizeof *sorted);
    int rc = 0;
    if (!sorted) return err_nomem(e, w->path);
    for (size_t i = 0; i < w->n_tensor; i++)
        sorted[i] = &w->tensor[i];
    qsort(sorted, w->n_tensor, sizeof *sorted, compare_names);
    for (size_t i = 1; rc == 0 && i < w->n_tensor; i++)
        if (strcmp(sorted[i - 1]->name, sorted[i]->name) == 0)
            rc = err_set(e, ERR_FORMAT, "%s: tensor '%s' is declared twice", w->path,
                         sorted[i]->name);
    free(sorted);
    return rc;
}

/* ---- Writing ----------------------------------------------------------------------------------
 */

static int put(struct gguf_writer *w, const void *bytes, size_t n, struct err *e) {
    if (n && fwrite(bytes, 1, n, w->f) != n) return err_errno(e, w->path);
    return 0;
}

/* Zeros up to the next multiple of the alignment. */
static int put_padding(struct gguf_writer *w, uint64_t at, struct err *e) {
    static const char zeros[4096];
    uint64_t n = (w->alignment - at % w->alignment) % w->alignment;
    while (n) {
        const size_t k = n < sizeof zeros ? (size_t)n : sizeof zeros;
        if (put(w, zeros, k, e) != 0) return -1;
        n -= k;
    }
    return 0;
}

static void encode_header(const struct gguf_writer *w, struct buf *b) {
    const uint32_t version = 3;
    const uint64_t n_tensor = w->n_tensor, n_kv = w->n_kv;
    buf_append(b, "GGUF", 4);
    buf_append(b, &version, sizeof version);
    buf_append(b, &n_tensor, sizeof n_tensor);
    buf_append(b, &n_kv, sizeof n_kv);
    for (size_t i = 0; i < w->n_kv; i++) {
        append_str(b, w->kv[i].key);
        buf_append(b, w->kv[i].value.p, w->kv[i].value.n);
    }
    for (size_t i = 0; i < w->n_tensor; i++) {
        const struct tensor_out *t = &w->tensor[i];
        const uint32_t n_dim = (uint32_t)t->n_dim, type = t->type;
        append_str(b, str_of(t->name));
        buf_append(b, &n_dim, sizeof n_dim);
        buf_append(b, t->ne, n_dim * sizeof *t->ne);
        buf_append(b, &type, sizeof type);
        buf_append(b, &t->offset, sizeof t->offset);
    }
}

/* The writer's own key, last: only where the alignment is not the default. */
static int add_alignment(struct gguf_writer *w, struct err *e) {
    const uint32_t v[2] = {GGUF_U32, w->alignment};
    struct buf b = {0};
    if (w->alignment == GGUF_DEFAULT_ALIGNMENT) return 0;
    buf_append(&b, v, sizeof v);
    return add_kv(w, STR("general.alignment"), b, e);
}

static int write_header(struct gguf_writer *w, struct err *e) {
    struct buf b = {0};
    if (w->header_done) return 0;
    if (add_alignment(w, e) != 0 || merge_keys(w, e) != 0 || check_names(w, e) != 0) return -1;
    w->header_done = true;
    encode_header(w, &b);
    int rc = b.failed ? err_nomem(e, w->path) : put(w, b.p, b.n, e);
    if (rc == 0) rc = put_padding(w, b.n, e);
    buf_fini(&b);
    return rc;
}

int gguf_write_data(struct gguf_writer *w, const void *bytes, size_t n, struct err *e) {
    const char *p = bytes;
    if (write_header(w, e) != 0) return -1;
    while (n) {
        if (w->at_tensor == w->n_tensor)
            return err_set(e, ERR_USAGE, "%s: %zu bytes of data more than were declared", w->path,
                           n);
        const struct tensor_out *t = &w->tensor[w->at_tensor];
        const size_t left = t->n_bytes - w->at_byte, k = n < left ? n : left;
        if (put(w, p, k, e) != 0) return -1;
        p += k;
        n -= k;
        w->at_byte += k;
        if (w->at_byte < t->n_bytes) continue;
        if (put_padding(w, t->n_bytes, e) != 0)
            return -1; /* offsets are aligned: so is its start */
        w->at_tensor++;
        w->at_byte = 0;
    }
    return 0;
}

static int commit(struct gguf_writer *w, struct err *e) {
    if (fflush(w->f) != 0 || fsync(fileno(w->f)) != 0 || rename(w->partial, w->path) != 0)
        return err_errno(e, w->path);
    w->partial = NULL; /* nothing left to remove */
    return os_sync_folder(w->path) == 0 ? 0 : err_errno(e, w->path);
}

int gguf_writer_finish(struct gguf_writer *w, struct err *e) {
    int rc = write_header(w, e);
    if (rc == 0 && w->at_tensor < w->n_tensor)
        rc = err_set(e, ERR_USAGE, "%s: tensor '%s' has %zu of %zu bytes", w->path,
                     w->tensor[w->at_tensor].name, w->at_byte, w->tensor[w->at_tensor].n_bytes);
    if (rc == 0) rc = commit(w, e);
    gguf_writer_abort(w);
    return rc;
}

int gguf_writer_finish_hollow(struct gguf_writer *w, struct err *e) {
    int rc = write_header(w, e);
    if (rc == 0 && (w->at_tensor || w->at_byte))
        rc = err_set(e, ERR_USAGE, "%s: some data was written", w->path);
    if (rc == 0 && fflush(w->f) != 0) rc = err_errno(e, w->path);
    const off_t head = rc == 0 ? ftello(w->f) : 0;
    if (rc == 0 && (head < 0 || w->next_offset > (uint64_t)(INT64_MAX - head) ||
                    ftruncate(fileno(w->f), head + (off_t)w->next_offset) != 0))
        rc = err_errno(e, w->path);
    if (rc == 0) rc = commit(w, e);
    gguf_writer_abort(w);
    return rc;
}
