/* See badgguf.h. */
#include "badgguf.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/buf.h"
#include "gguf/read.h"
#include "support.h"

enum { MAX_DRAFT_KV = 128, MAX_DRAFT_TENSOR = 512 };

/* ---- Drafts -----------------------------------------------------------------------------------
 */

struct draft_kv {
    struct str key;
    uint64_t key_bytes; /* as declared */
    uint32_t type, elem;
    uint64_t n; /* elements, as declared */
    struct str data;
};

struct draft_tensor {
    struct str name;
    uint64_t name_bytes; /* as declared */
    uint32_t n_dim;
    uint64_t ne[8];
    uint32_t type;
    uint64_t offset; /* as declared; the bytes lie where they belong */
    const uint8_t *data;
    size_t n_bytes;
};

/* All bytes are borrowed from the good file: copying a draft is cheap. */
struct draft {
    uint32_t version;
    uint64_t n_kv_declared, n_tensor_declared;
    struct draft_kv kv[MAX_DRAFT_KV];
    struct draft_tensor tensor[MAX_DRAFT_TENSOR];
    int n_kv, n_tensor;
    uint64_t alignment;
};

struct maker {
    struct gguf *good;
    struct draft seed, d; /* the good one; the one that is being spoilt */
    struct buf out;
    char name[200];
    bad_fn *fn;
    void *ctx;
    int n_case;
};

static void put(struct buf *b, const void *p, size_t n) {
    buf_append(b, p, n);
}

static void put_u32(struct buf *b, uint32_t v) {
    put(b, &v, sizeof v);
}

static void put_u64(struct buf *b, uint64_t v) {
    put(b, &v, sizeof v);
}

static uint64_t aligned(uint64_t at, uint64_t alignment) {
    return (at + alignment - 1) / alignment * alignment;
}

static void put_zeros_to(struct buf *b, uint64_t end) {
    while (b->n < end)
        buf_byte(b, 0);
}

/* Offsets as they should be. */
static void lay_out(struct draft *d) {
    uint64_t at = 0;
    for (int i = 0; i < d->n_tensor; i++) {
        d->tensor[i].offset = at;
        at = aligned(at + d->tensor[i].n_bytes, d->alignment);
    }
    d->n_tensor_declared = (uint64_t)d->n_tensor;
    d->n_kv_declared = (uint64_t)d->n_kv;
}

static size_t encode_header(const struct draft *d, struct buf *b) {
    put(b, "GGUF", 4);
    put_u32(b, d->version);
    put_u64(b, d->n_tensor_declared);
    put_u64(b, d->n_kv_declared);
    for (int i = 0; i < d->n_kv; i++) {
        const struct draft_kv *kv = &d->kv[i];
        put_u64(b, kv->key_bytes);
        put(b, kv->key.p, kv->key.n);
        put_u32(b, kv->type);
        if (kv->type == GGUF_ARR) {
            put_u32(b, kv->elem);
            put_u64(b, kv->n);
        }
        put(b, kv->data.p, kv->data.n);
    }
    for (int i = 0; i < d->n_tensor; i++) {
        const struct draft_tensor *t = &d->tensor[i];
        put_u64(b, t->name_bytes);
        put(b, t->name.p, t->name.n);
        put_u32(b, t->n_dim);
        put(b, t->ne, (t->n_dim < 8 ? t->n_dim : 8) * sizeof *t->ne);
        put_u32(b, t->type);
        put_u64(b, t->offset);
    }
    return b->n;
}

static size_t encode(const struct draft *d, struct buf *b) {
    buf_reset(b);
    const size_t n_header = encode_header(d, b);
    for (int i = 0; i < d->n_tensor; i++) {
        put_zeros_to(b, aligned(b->n, d->alignment));
        put(b, d->tensor[i].data, d->tensor[i].n_bytes);
    }
    assert_false(b->failed);
    return n_header;
}

static void begin(struct maker *m, const char *path, bad_fn *fn, void *ctx) {
    struct err e = {0};
    *m = (struct maker){.fn = fn, .ctx = ctx, .good = gguf_open(path, &e)};
    if (!m->good) fail_msg("%s", e.msg);
    struct draft *d = &m->seed;
    d->version = 3;
    d->alignment = gguf_alignment(m->good);
    d->n_kv = gguf_n_kv(m->good);
    d->n_tensor = gguf_n_tensor(m->good);
    assert_true(d->n_kv < MAX_DRAFT_KV - 4 && d->n_tensor < MAX_DRAFT_TENSOR - 4);
    for (int i = 0; i < d->n_kv; i++) {
        const struct gguf_kv *kv = gguf_kv_at(m->good, i);
        d->kv[i] =
            (struct draft_kv){kv->key,       kv->key.n, kv->type,
                              kv->elem_type, kv->n,     {(const char *)kv->data, kv->n_bytes}};
    }
    for (int i = 0; i < d->n_tensor; i++) {
        const struct gguf_tensor *t = gguf_tensor_at(m->good, i);
        struct draft_tensor *to = &d->tensor[i];
        *to = (struct draft_tensor){.name = str_of(t->name),
                                    .name_bytes = strlen(t->name),
                                    .n_dim = (uint32_t)t->n_dim,
                                    .type = (uint32_t)t->type,
                                    .data = t->data,
                                    .n_bytes = t->n_bytes};
        for (int k = 0; k < 8; k++)
            to->ne[k] = k < 4 ? (uint64_t)t->ne[k] : 1;
    }
    lay_out(d);
    m->d = *d;
}

static int end(struct maker *m) {
    const int n = m->n_case;
    buf_fini(&m->out);
    gguf_close(m->good);
    free(m);
    return n;
}

static struct maker *maker_new(const char *path, bad_fn *fn, void *ctx) {
    struct maker *m = malloc(sizeof *m);
    assert_non_null(m);
    begin(m, path, fn, ctx);
    return m;
}

/* Hand out bytes as one case and start over from the good file. */
static void emit_bytes(struct maker *m, const char *id, enum bad_kind kind, const char *blame,
                       const void *bytes, size_t n) {
    const struct bad_case c = {id, m->name, kind, blame, bytes, n};
    m->fn(m->ctx, &c);
    m->n_case++;
    m->d = m->seed;
}

static void emit(struct maker *m, const char *id, enum bad_kind kind, const char *blame) {
    encode(&m->d, &m->out);
    emit_bytes(m, id, kind, blame, m->out.p, m->out.n);
}

#define NAME(m, ...) snprintf((m)->name, sizeof(m)->name, __VA_ARGS__)

static struct draft_kv *find_kv(struct draft *d, const char *key) {
    for (int i = 0; i < d->n_kv; i++)
        if (str_is(d->kv[i].key, key)) return &d->kv[i];
    return NULL;
}

static struct draft_kv *need_kv(struct draft *d, const char *key) {
    struct draft_kv *kv = find_kv(d, key);
    if (!kv) fail_msg("the good file has no key %s", key);
    return kv;
}

static struct draft_kv *add_kv(struct draft *d, const char *key) {
    struct draft_kv *kv = find_kv(d, key);
    if (kv) return kv;
    kv = &d->kv[d->n_kv++];
    *kv = (struct draft_kv){.key = str_of(key), .key_bytes = strlen(key)};
    d->n_kv_declared++;
    return kv;
}

/* Values live as long as the maker's case: callers pass string literals or their own locals. */
static void set_value(struct draft_kv *kv, uint32_t type, const void *p, size_t n) {
    kv->type = type;
    kv->data = (struct str){p, n};
}

static const struct {
    const char *name;
    uint64_t v;
} extremes[] = {
    {"2^16+1", 65537},      {"2^31-1", INT32_MAX},
    {"2^31", 1ull << 31},   {"2^32-1", UINT32_MAX},
    {"2^32", 1ull << 32},   {"2^61", 1ull << 61},
    {"2^63-1", INT64_MAX},  {"2^63", 1ull << 63},
    {"2^64-1", UINT64_MAX}, {"just over what is left", 0}, /* filled in by the case */
};

enum { N_EXTREME = sizeof extremes / sizeof *extremes };

static uint64_t extreme(int i, uint64_t just_over) {
    return extremes[i].v ? extremes[i].v : just_over;
}

/* ---- F1, F2, F9: counts and lengths -----------------------------------------------------------
 */

static void bad_counts(struct maker *m) {
    encode(&m->seed, &m->out);
    const uint64_t n_file = m->out.n;
    struct draft *d = &m->d;
    for (int i = 0; i < N_EXTREME; i++) {
        const uint64_t v = extreme(i, n_file - 23), small = extreme(i, n_file / 14 + 1);
        const char *z = extremes[i].name;
        /* A length that the file can hold swallows what follows; some later key pays for it. */
        const bool inside = v < n_file;
        d->n_kv_declared = small;
        NAME(m, "n_kv = %s", z), emit(m, "F1", BAD_FILE, "key");
        d->n_tensor_declared = small;
        NAME(m, "n_tensor = %s", z), emit(m, "F1", BAD_FILE, "tensor");
        d->kv[3].key_bytes = v;
        NAME(m, "length of key 3 = %s", z), emit(m, "F1", BAD_FILE, "key 3");
        d->tensor[5].name_bytes = v;
        NAME(m, "length of tensor name 5 = %s", z), emit(m, "F1", BAD_FILE, "tensor 5");
        need_kv(d, "general.name")->data = (struct str){(const char *)&v, sizeof v};
        NAME(m, "length of a string = %s", z);
        emit(m, "F1", BAD_FILE, inside ? NULL : "general.name");
        struct draft_kv *kv = need_kv(d, "tokenizer.ggml.tokens");
        kv->n = v;
        NAME(m, "count of strings = %s", z), emit(m, "F1", BAD_FILE, "tokenizer.ggml.tokens");
        need_kv(d, "tokenizer.ggml.token_type")->n = v;
        NAME(m, "count of int32 = %s", z), emit(m, "F1", BAD_FILE, "tokenizer.ggml.token_type");
        /* The length of a string inside an array: the first token's. */
        kv = need_kv(d, "tokenizer.ggml.tokens");
        char *copy = malloc(kv->data.n);
        memcpy(copy, kv->data.p, kv->data.n);
        memcpy(copy, &v, sizeof v);
        kv->data.p = copy;
        NAME(m, "length of a token = %s", z);
        emit(m, "F1", BAD_FILE, inside ? NULL : "tokenizer.ggml.tokens");
        free(copy);
    }
    for (int delta = -1; delta <= 1; delta += 2) {
        d->n_kv_declared += (uint64_t)delta;
        NAME(m, "n_kv %+d", delta), emit(m, "F1", BAD_FILE, NULL);
    }
    d->n_tensor_declared++;
    NAME(m, "n_tensor + 1"), emit(m, "F1", BAD_FILE, NULL);
    d->n_tensor_declared--; /* the last one becomes padding: only the model misses it */
    NAME(m, "n_tensor - 1"), emit(m, "F1", BAD_MODEL, NULL);
}

static void bad_sizes(struct maker *m) {
    static const uint64_t big = INT32_MAX;
    struct draft_tensor *t = &m->d.tensor[4];
    const char *blame = "blk.0.attn_k.weight";
    assert_true(str_is(t->name, blame) || t->name.n);
    static char name[128];
    snprintf(name, sizeof name, "%.*s", (int)t->name.n, t->name.p);
    blame = name;
    t->n_dim = 4, t->ne[0] = t->ne[1] = t->ne[2] = t->ne[3] = big;
    NAME(m, "product of dims wraps"), emit(m, "F2", BAD_FILE, blame);
    t->n_dim = 3, t->ne[0] = 1ull << 30, t->ne[1] = 1ull << 30, t->ne[2] = 4;
    NAME(m, "bytes wrap to zero"), emit(m, "F2", BAD_FILE, blame);
    t->n_dim = 3, t->ne[0] = 1ull << 30, t->ne[1] = 1ull << 30, t->ne[2] = 2;
    NAME(m, "bytes = 2^63"), emit(m, "F2", BAD_FILE, blame);
    t->n_dim = 3, t->ne[0] = big, t->ne[1] = big, t->ne[2] = 1;
    NAME(m, "bytes just under 2^64"), emit(m, "F2", BAD_FILE, blame);
    t->offset = UINT64_MAX - 31;
    NAME(m, "offset + bytes wraps"), emit(m, "F2", BAD_FILE, blame);
    t->offset = UINT64_MAX - 31 - t->n_bytes;
    NAME(m, "padded end wraps"), emit(m, "F2", BAD_FILE, blame);
    t->offset = 1ull << 63;
    NAME(m, "offset = 2^63"), emit(m, "F2", BAD_FILE, blame);
    for (int i = 0; i < m->d.n_tensor; i++) /* each fits 63 bits, all together do not fit 64 */
        m->d.tensor[i].n_dim = 2, m->d.tensor[i].ne[0] = m->d.tensor[i].ne[1] = 1ull << 30;
    NAME(m, "running sum wraps"), emit(m, "F2", BAD_FILE, "tensor");
}

/* ---- F3, F4: what the file does not hold ------------------------------------------------------
 */

static void bad_ends(struct maker *m) {
    struct draft_tensor *last = &m->d.tensor[m->d.n_tensor - 1];
    static char name[128];
    snprintf(name, sizeof name, "%.*s", (int)last->name.n, last->name.p);
    static const size_t missing[] = {1, 8, 31, 32, 33, 1000};
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        encode(&m->d, &m->out);
        NAME(m, "%zu bytes of the last tensor missing", missing[i]);
        emit_bytes(m, "F3", BAD_FILE, name, m->out.p, m->out.n - missing[i]);
    }
    last->ne[last->n_dim - 1]++;
    NAME(m, "last tensor one row longer"), emit(m, "F3", BAD_FILE, name);
    last->n_dim = 3, last->ne[2] = (1ull << 30) / last->n_bytes + 1;
    NAME(m, "last tensor 1 GiB longer"), emit(m, "F3", BAD_FILE, name);
    last->offset += 32;
    NAME(m, "last tensor 32 bytes further"), emit(m, "F3", BAD_FILE, name);
    m->d.tensor[2].ne[0] *= 2; /* not the last: it would reach into the next one */
    NAME(m, "a tensor twice as long"), emit(m, "F3", BAD_FILE, NULL);
}

static void bad_truncations(struct maker *m) {
    encode(&m->seed, &m->out);
    const size_t n = m->out.n;
    static const size_t fixed[] = {0, 1, 2, 3, 4, 5, 7, 8, 9, 15, 16, 17, 23, 24, 25};
    for (size_t i = 0; i < sizeof fixed / sizeof *fixed; i++) {
        NAME(m, "cut at %zu", fixed[i]);
        emit_bytes(m, "F4", BAD_FILE, NULL, m->out.p, fixed[i]);
    }
    for (int i = 1; i < 24; i++) {
        NAME(m, "cut at %d/24", i);
        emit_bytes(m, "F4", BAD_FILE, NULL, m->out.p, n / 24 * (size_t)i);
    }
    static const char *const magics[] = {"gguf",     "GGML", "ggjt",  "GGUG",
                                         "\0\0\0\0", "FUGG", "PK\3\4"};
    for (size_t i = 0; i < sizeof magics / sizeof *magics; i++) {
        encode(&m->seed, &m->out);
        memcpy(m->out.p, magics[i], 4);
        NAME(m, "magic %zu", i);
        emit_bytes(m, "F4", BAD_FILE, "GGUF", m->out.p, m->out.n);
    }
    static const uint32_t versions[] = {0, 1, 4, 0x03000000, 0x02000000, 0xffffffff};
    for (size_t i = 0; i < sizeof versions / sizeof *versions; i++) {
        m->d.version = versions[i];
        NAME(m, "version %08x", versions[i]), emit(m, "F4", BAD_FILE, NULL);
    }
}

/* ---- F5: alignment ----------------------------------------------------------------------------
 */

static void bad_alignments(struct maker *m) {
    static const uint32_t v[] = {0, 1, 2, 3, 4, 7, 31, 33, 1u << 21, 1u << 31, UINT32_MAX};
    const char *key = "general.alignment";
    for (size_t i = 0; i < sizeof v / sizeof *v; i++) {
        set_value(add_kv(&m->d, key), GGUF_U32, &v[i], 4);
        NAME(m, "alignment %u", v[i]), emit(m, "F5", BAD_FILE, key);
    }
    const uint64_t u64 = 32;
    const uint32_t u32 = 32;
    set_value(add_kv(&m->d, key), GGUF_I32, &u32, 4);
    NAME(m, "alignment is int32"), emit(m, "F5", BAD_FILE, key);
    set_value(add_kv(&m->d, key), GGUF_U64, &u64, 8);
    NAME(m, "alignment is uint64"), emit(m, "F5", BAD_FILE, key);
    set_value(add_kv(&m->d, key), GGUF_F32, &u32, 4);
    NAME(m, "alignment is float32"), emit(m, "F5", BAD_FILE, key);
    set_value(add_kv(&m->d, key), GGUF_STR,
              "\2\0\0\0\0\0\0\0"
              "32",
              10);
    NAME(m, "alignment is a string"), emit(m, "F5", BAD_FILE, key);
    struct draft_kv *kv = add_kv(&m->d, key);
    set_value(kv, GGUF_ARR, &u32, 4), kv->elem = GGUF_U32, kv->n = 1;
    NAME(m, "alignment is an array"), emit(m, "F5", BAD_FILE, key);
    /* A good value that the offsets do not keep. */
    const uint32_t more = 1 << 20;
    set_value(add_kv(&m->d, key), GGUF_U32, &more, 4);
    NAME(m, "offsets below the alignment"), emit(m, "F5", BAD_FILE, "alignment");
}

/* ---- F9, F10: types ---------------------------------------------------------------------------
 */

static void bad_types(struct maker *m) {
    static const uint32_t kv_types[] = {13, 14, 255, 1u << 31, UINT32_MAX};
    const char *key = "llama.block_count";
    (void)key;
    for (size_t i = 0; i < sizeof kv_types / sizeof *kv_types; i++) {
        need_kv(&m->d, "general.name")->type = kv_types[i];
        NAME(m, "value type %u", kv_types[i]), emit(m, "F10", BAD_FILE, "general.name");
        need_kv(&m->d, "tokenizer.ggml.tokens")->elem = kv_types[i];
        NAME(m, "element type %u", kv_types[i]), emit(m, "F10", BAD_FILE, "tokenizer.ggml.tokens");
    }
    need_kv(&m->d, "tokenizer.ggml.tokens")->elem = GGUF_ARR;
    NAME(m, "array of arrays"), emit(m, "F9", BAD_FILE, "tokenizer.ggml.tokens");
    set_value(add_kv(&m->d, "x.bool"), GGUF_BOOL, "\2", 1);
    NAME(m, "bool of 2"), emit(m, "F10", BAD_FILE, "x.bool");

    static const uint32_t types[] = {UINT32_MAX, 4,  5,  9,  15,       31,  32,
                                     33,         36, 37, 38, QT_COUNT, 255, 1u << 31};
    static char name[128];
    snprintf(name, sizeof name, "%.*s", (int)m->d.tensor[3].name.n, m->d.tensor[3].name.p);
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        m->d.tensor[3].type = types[i];
        NAME(m, "tensor type %d", (int)types[i]), emit(m, "F10", BAD_FILE, name);
    }
    static const uint64_t rows[] = {1, 31, 33, 255, 257};
    static const uint32_t block_types[] = {QT_Q8_0, QT_Q4_K, QT_IQ4_NL, QT_TQ2_0};
    for (size_t t = 0; t < sizeof block_types / sizeof *block_types; t++)
        for (size_t i = 0; i < sizeof rows / sizeof *rows; i++) {
            m->d.tensor[3].type = block_types[t];
            m->d.tensor[3].ne[0] = rows[i];
            NAME(m, "%s row of %d", qtype_name(block_types[t]), (int)rows[i]);
            emit(m, "F10", BAD_FILE, name);
        }
    static const uint32_t n_dims[] = {0, 5, 6, 255, 1u << 31, UINT32_MAX};
    for (size_t i = 0; i < sizeof n_dims / sizeof *n_dims; i++) {
        m->d.tensor[3].n_dim = n_dims[i];
        NAME(m, "%u dimensions", n_dims[i]), emit(m, "F9", BAD_FILE, name);
    }
    for (int i = 0; i < N_EXTREME - 1; i++)
        for (int k = 0; k < 2; k++) {
            if (extremes[i].v < INT32_MAX) continue;
            m->d.tensor[3].ne[k] = extremes[i].v;
            NAME(m, "dimension %d = %s", k, extremes[i].name), emit(m, "F2", BAD_FILE, name);
        }
}

/* ---- F11: layout and names --------------------------------------------------------------------
 */

static void bad_layout(struct maker *m) {
    struct draft_tensor *t = m->d.tensor;
    static char name[128];
    snprintf(name, sizeof name, "%.*s", (int)t[3].name.n, t[3].name.p);
    t[3].offset = t[2].offset;
    NAME(m, "two tensors on the same bytes"), emit(m, "F11", BAD_FILE, "overlap");
    t[3].offset -= 32;
    NAME(m, "tensors overlap by 32 bytes"), emit(m, "F11", BAD_FILE, "overlap");
    t[3].offset = 0;
    NAME(m, "a tensor on the first"), emit(m, "F11", BAD_FILE, "overlap");
    t[3].offset += 1;
    NAME(m, "offset + 1"), emit(m, "F11", BAD_FILE, name);
    t[3].offset += 4;
    NAME(m, "offset + 4"), emit(m, "F11", BAD_FILE, name);
    t[3].ne[0] = 0;
    NAME(m, "a row of zero"), emit(m, "F11", BAD_FILE, name);
    t[3].ne[1] = 0;
    NAME(m, "zero rows"), emit(m, "F11", BAD_FILE, name);
    t[3].ne[1] /= 2; /* the rest of it is a hole */
    NAME(m, "a hole in the data"), emit(m, "F11", BAD_FILE, "hole");
    t[0].offset = 32;
    NAME(m, "a hole before the data"), emit(m, "F11", BAD_FILE, NULL);
    const struct str same = t[2].name;
    t[3].name = same, t[3].name_bytes = same.n;
    NAME(m, "one tensor name twice"), emit(m, "F11", BAD_FILE, "twice");
    m->d.kv[4] = m->d.kv[2];
    NAME(m, "one key twice"), emit(m, "F11", BAD_FILE, "twice");
    m->d.kv[m->d.n_kv++] = m->d.kv[0], m->d.n_kv_declared++;
    NAME(m, "the first key again at the end"), emit(m, "F11", BAD_FILE, "general.architecture");
    static const char *const names[] = {"",     "a\0b",        "\xff\xfe",    "\xc0\xaf",
                                        "a\nb", "\x1b[31mred", "\xed\xa0\x80"};
    static const size_t lengths[] = {0, 3, 2, 2, 3, 8, 3};
    for (size_t i = 0; i < sizeof names / sizeof *names; i++) {
        t[3].name = (struct str){names[i], lengths[i]}, t[3].name_bytes = lengths[i];
        NAME(m, "tensor name %zu", i), emit(m, "F11", BAD_FILE, "tensor 3");
        m->d.kv[3].key = (struct str){names[i], lengths[i]}, m->d.kv[3].key_bytes = lengths[i];
        NAME(m, "key name %zu", i), emit(m, "F11", BAD_FILE, "key 3");
    }
    static char many[2 << 20];
    const size_t n = encode(&m->d, &m->out);
    (void)n;
    put(&m->out, many, sizeof many);
    NAME(m, "2 MiB after the last tensor");
    emit_bytes(m, "F11", BAD_FILE, "follow the last tensor", m->out.p, m->out.n);
    encode(&m->d, &m->out);
    put(&m->out, many, 4096);
    NAME(m, "4 KiB of padding after the last tensor");
    emit_bytes(m, "F11", MAY_LOAD, NULL, m->out.p, m->out.n);
}

int bad_structure_each(const char *path, bad_fn *fn, void *ctx) {
    struct maker *m = maker_new(path, fn, ctx);
    bad_counts(m);
    bad_sizes(m);
    bad_ends(m);
    bad_truncations(m);
    bad_alignments(m);
    bad_types(m);
    bad_layout(m);
    return end(m);
}

/* ---- F6, F7: hyper-parameters -----------------------------------------------------------------
 */

/* Keys whose absence leaves a usable model: descriptions, and values with a defined default or
 * that other keys and shapes give as well. */
static const char *const optional[] = {
    "general.name",
    "general.type",
    "general.license",
    "general.file_type",
    "general.quantization_version",
    ".vocab_size",
    ".rope.dimension_count",
    ".rope.freq_base",
    ".attention.head_count_kv",
    ".attention.key_length",
    ".attention.value_length",
    "tokenizer.chat_template",
    "tokenizer.ggml.pre",
    "tokenizer.ggml.token_type",
    "tokenizer.ggml.add_bos_token",
    "tokenizer.ggml.add_eos_token",
    "_token_id",
    "tokenizer.ggml.add_space_prefix",
    ".feed_forward_length",
};

static bool ends_with(struct str s, const char *suffix) {
    const size_t n = strlen(suffix);
    return s.n >= n && memcmp(s.p + s.n - n, suffix, n) == 0;
}

static bool is_optional(struct str key) {
    for (size_t i = 0; i < sizeof optional / sizeof *optional; i++)
        if (ends_with(key, optional[i])) return true;
    return false;
}

/* Values that these keys may well have. */
static const struct {
    const char *suffix, *value;
} harmless[] = {
    {".context_length", "1"},                                     /* short, but a length */
    {".context_length", "10^6"},     {".context_length", "10^6"}, /* long, but a length */
    {".vocab_size", NULL},                                        /* the vocabulary says it */
    {"layer_norm_rms_epsilon", "0"},                              /* the norm without a guard */
    {"layer_norm_rms_epsilon", "1"}, {"layer_norm_epsilon", "0"},
    {"layer_norm_epsilon", "1"},     {".rope.freq_base", "1"}, /* all pairs turn alike */
    {".rope.freq_base", "1e38"},
};

static enum bad_kind kind_of(struct str key, const char *value) {
    for (size_t i = 0; i < sizeof harmless / sizeof *harmless; i++)
        if (ends_with(key, harmless[i].suffix) &&
            (!harmless[i].value || strcmp(harmless[i].value, value) == 0))
            return MAY_LOAD;
    return BAD_MODEL;
}

struct odd_value {
    const char *name;
    uint32_t type;
    size_t n;
    uint64_t bits; /* the value's bytes, little-endian */
};

static const struct odd_value odd_integers[] = {
    {"0", GGUF_U32, 4, 0},
    {"1", GGUF_U32, 4, 1},
    {"-1", GGUF_I32, 4, UINT32_MAX},
    {"2^31", GGUF_U32, 4, 1u << 31},
    {"2^32-1", GGUF_U32, 4, UINT32_MAX},
    {"2^32", GGUF_U64, 8, 1ull << 32},
    {"2^63", GGUF_U64, 8, 1ull << 63},
    {"10^6", GGUF_U32, 4, 1000000},
    {"float NaN", GGUF_F32, 4, 0x7fc00000},
    {"float 2", GGUF_F32, 4, 0x40000000},
    {"bool", GGUF_BOOL, 1, 1},
    {"empty string", GGUF_STR, 8, 0},
};

static const struct odd_value odd_floats[] = {
    {"NaN", GGUF_F32, 4, 0x7fc00000},
    {"inf", GGUF_F32, 4, 0x7f800000},
    {"-inf", GGUF_F32, 4, 0xff800000},
    {"-1", GGUF_F32, 4, 0xbf800000},
    {"0", GGUF_F32, 4, 0},
    {"1", GGUF_F32, 4, 0x3f800000},
    {"1e38", GGUF_F32, 4, 0x7e967699},
    {"1e300 as float64", GGUF_F64, 8, 0x7e37e43c8800759cull},
    {"uint32", GGUF_U32, 4, 1},
    {"empty string", GGUF_STR, 8, 0},
};

static void odd_values(struct maker *m, int i_kv, const struct odd_value *v, size_t n_value) {
    char key[128];
    const struct draft_kv *good = &m->seed.kv[i_kv];
    snprintf(key, sizeof key, "%.*s", (int)good->key.n, good->key.p);
    for (size_t i = 0; i < n_value; i++) {
        if (v[i].type == good->type && v[i].n == good->data.n &&
            memcmp(&v[i].bits, good->data.p, v[i].n) == 0)
            continue; /* the good value */
        set_value(&m->d.kv[i_kv], v[i].type, &v[i].bits, v[i].n);
        NAME(m, "%s = %s", key, v[i].name);
        emit(m, "F6", kind_of(good->key, v[i].name), key);
    }
    struct draft_kv *kv = &m->d.kv[i_kv];
    set_value(kv, GGUF_ARR, good->data.p, good->data.n);
    kv->elem = good->type, kv->n = 1;
    NAME(m, "%s is an array of one", key), emit(m, "F6", MAY_LOAD, key); /* one value per layer */
    kv = &m->d.kv[i_kv];
    set_value(kv, GGUF_ARR, "", 0);
    kv->elem = good->type, kv->n = 0;
    NAME(m, "%s is an empty array", key), emit(m, "F6", kind_of(good->key, ""), key);
}

static void bad_hparams(struct maker *m) {
    static const struct {
        const char *key;
        uint32_t v;
    } big[] = {
        {"llama.block_count", 3},
        {"llama.block_count", 513},
        {"llama.block_count", 100000},
        {"llama.attention.head_count", 64},
        {"llama.attention.head_count", 1000000},
        {"llama.attention.head_count_kv", 3},
        {"llama.attention.head_count_kv", 100},
        {"llama.expert_count", 2},
        {"llama.expert_count", 1000000},
        {"llama.attention.key_length", 0},
        {"llama.attention.key_length", 1u << 30},
        {"llama.attention.value_length", 7},
        {"llama.rope.dimension_count", 15},
        {"llama.rope.dimension_count", 64},
        {"llama.embedding_length", 31},
        {"llama.feed_forward_length", 46341},
        {"llama.embedding_length", 46341},
    };
    for (int i = 0; i < m->seed.n_kv; i++) {
        const struct draft_kv *kv = &m->seed.kv[i];
        if (str_starts(kv->key, STR("general.")) || str_starts(kv->key, STR("tokenizer.")))
            continue;
        if (kv->type == GGUF_U32 || kv->type == GGUF_I32)
            odd_values(m, i, odd_integers, sizeof odd_integers / sizeof *odd_integers);
        if (kv->type == GGUF_F32)
            odd_values(m, i, odd_floats, sizeof odd_floats / sizeof *odd_floats);
    }
    if (!str_is(need_kv(&m->d, "general.architecture")->data, "\5\0\0\0\0\0\0\0llama") &&
        !find_kv(&m->d, "llama.block_count"))
        return;
    for (size_t i = 0; i < sizeof big / sizeof *big; i++) {
        set_value(add_kv(&m->d, big[i].key), GGUF_U32, &big[i].v, 4);
        NAME(m, "%s = %u", big[i].key, big[i].v), emit(m, "F7", BAD_MODEL, NULL);
    }
}

/* ---- F8: what is missing, and shapes ----------------------------------------------------------
 */

static void bad_missing(struct maker *m) {
    char name[160];
    for (int i = 0; i < m->seed.n_kv; i++) {
        const struct str key = m->seed.kv[i].key;
        snprintf(name, sizeof name, "%.*s", (int)key.n, key.p);
        memmove(&m->d.kv[i], &m->d.kv[i + 1], (size_t)(m->d.n_kv - i - 1) * sizeof *m->d.kv);
        m->d.n_kv--, m->d.n_kv_declared--;
        NAME(m, "without key %s", name);
        emit(m, "F8", is_optional(key) ? MAY_LOAD : BAD_MODEL, name);
    }
    for (int i = 0; i < m->seed.n_tensor; i++) {
        const struct str t = m->seed.tensor[i].name;
        snprintf(name, sizeof name, "%.*s", (int)t.n, t.p);
        memmove(&m->d.tensor[i], &m->d.tensor[i + 1],
                (size_t)(m->d.n_tensor - i - 1) * sizeof *m->d.tensor);
        m->d.n_tensor--;
        lay_out(&m->d);
        NAME(m, "without tensor %s", name), emit(m, "F8", BAD_MODEL, name);
    }
    m->d.n_kv = 0, m->d.n_kv_declared = 0;
    NAME(m, "no keys at all"), emit(m, "F8", BAD_MODEL, "key '");
    m->d.n_tensor = 0, m->d.n_tensor_declared = 0;
    NAME(m, "no tensors at all"), emit(m, "F8", BAD_MODEL, NULL);
    static const char *const archs[] = {"", "unheard-of", "LLAMA", "%s%n", "../x", "llama\0x"};
    static const size_t lengths[] = {0, 10, 5, 4, 4, 7};
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        char value[32] = {0};
        memcpy(value, &lengths[i], 8);
        memcpy(value + 8, archs[i], lengths[i]);
        set_value(need_kv(&m->d, "general.architecture"), GGUF_STR, value, 8 + lengths[i]);
        NAME(m, "architecture %zu", i), emit(m, "F8", BAD_MODEL, "general.architecture");
    }
}

/* The same bytes under another shape or type; no hole, no overlap: only the model can tell. */
static void bad_shapes(struct maker *m) {
    char name[160];
    for (int i = 0; i < m->seed.n_tensor; i++) {
        const struct draft_tensor *good = &m->seed.tensor[i];
        struct draft_tensor *t = &m->d.tensor[i];
        snprintf(name, sizeof name, "%.*s", (int)good->name.n, good->name.p);
        t->ne[0] = good->ne[1], t->ne[1] = good->ne[0], t->n_dim = 2;
        if (good->ne[0] != good->ne[1]) {
            NAME(m, "%s transposed", name), emit(m, "F8", BAD_MODEL, name);
        }
        t->ne[0] = good->ne[0] / 2, t->ne[1] = 2 * good->ne[1], t->n_dim = 2;
        NAME(m, "%s with half rows", name), emit(m, "F8", BAD_MODEL, name);
        t->ne[2] = t->ne[1] == 1 ? t->ne[0] : t->ne[1], t->ne[t->ne[1] == 1 ? 0 : 1] = 1;
        t->n_dim = 3;
        NAME(m, "%s in another dimension", name), emit(m, "F8", BAD_MODEL, name);
        t->type = QT_I32;
        NAME(m, "%s of type I32", name), emit(m, "F8", BAD_MODEL, name);
    }
}

int bad_hparams_each(const char *path, bad_fn *fn, void *ctx) {
    struct maker *m = maker_new(path, fn, ctx);
    bad_hparams(m);
    return end(m);
}

int bad_model_each(const char *path, bad_fn *fn, void *ctx) {
    struct maker *m = maker_new(path, fn, ctx);
    bad_hparams(m);
    bad_missing(m);
    bad_shapes(m);
    return end(m);
}

/* ---- F12: vocabularies ------------------------------------------------------------------------
 */

static void append_text(struct buf *b, struct str s) {
    put_u64(b, s.n);
    put(b, s.p, s.n);
}

/* The strings of an array with number `at` replaced; more (or fewer) of them with n. */
static void replace_string(struct buf *b, const struct gguf_kv *kv, uint64_t at, struct str by,
                           uint64_t n) {
    uint64_t cursor = 0;
    struct str last = STR("x");
    buf_reset(b);
    for (uint64_t i = 0; i < n; i++) {
        if (i < kv->n) last = gguf_next_str(kv, &cursor);
        append_text(b, i == at ? by : last);
    }
}

static void set_strings(struct draft_kv *kv, const struct buf *b, uint64_t n) {
    kv->data = buf_view(b);
    kv->n = n;
}

static void bad_tokens(struct maker *m) {
    static char big[65536];
    memset(big, 'x', sizeof big);
    static const char *const bytes[] = {"<0x-1>", "<0xZZ>", "<0x 1>", "<0x+1>", "<0x100>",
                                        "<0x1>",  "<0x>",   "0x41",   "<0x4\0>"};
    static const size_t lengths[] = {6, 6, 6, 6, 7, 5, 4, 4, 6};
    const char *key = "tokenizer.ggml.tokens";
    const struct gguf_kv *tokens = gguf_find(m->good, key);
    const uint64_t n = tokens->n;
    struct buf b = {0};
    if (find_kv(&m->d, "tokenizer.ggml.scores")) /* a vocabulary with byte tokens at 3..258 */
        for (size_t i = 0; i < sizeof bytes / sizeof *bytes; i++) {
            replace_string(&b, tokens, 70, (struct str){bytes[i], lengths[i]}, n);
            set_strings(need_kv(&m->d, key), &b, n);
            NAME(m, "byte token %zu", i), emit(m, "F12", BAD_MODEL, key);
        }
    static const size_t sizes[] = {0, 1, 65536};
    for (size_t i = 0; i < 3; i++) {
        replace_string(&b, tokens, n - 3, (struct str){big, sizes[i]}, n);
        set_strings(need_kv(&m->d, key), &b, n);
        NAME(m, "token of %zu bytes", sizes[i]), emit(m, "F12", MAY_LOAD, key);
    }
    replace_string(&b, tokens, n - 3, STR("\xff\xfe"), n);
    set_strings(need_kv(&m->d, key), &b, n);
    NAME(m, "token that is not UTF-8"), emit(m, "F12", MAY_LOAD, key);
    for (int d = -1; d <= 1; d += 2) { /* the embedding has n rows */
        replace_string(&b, tokens, n, STR(""), n + (uint64_t)d);
        set_strings(need_kv(&m->d, key), &b, n + (uint64_t)d);
        NAME(m, "%+d token", d), emit(m, "F12", BAD_MODEL, NULL);
    }
    set_strings(need_kv(&m->d, key), &(struct buf){0}, 0);
    NAME(m, "no tokens"), emit(m, "F12", BAD_MODEL, key);
    struct draft_kv *kv = need_kv(&m->d, key);
    buf_reset(&b);
    for (uint64_t i = 0; i < n; i++)
        put_u32(&b, 0);
    set_strings(kv, &b, n), kv->elem = GGUF_U32;
    NAME(m, "tokens are numbers"), emit(m, "F12", BAD_MODEL, key);
    set_value(need_kv(&m->d, key), GGUF_STR, "\0\0\0\0\0\0\0\0", 8);
    NAME(m, "tokens is a string"), emit(m, "F12", BAD_MODEL, key);
    buf_fini(&b);
}

/* Arrays beside the tokens: scores and types. */
static void bad_token_arrays(struct maker *m) {
    static const char *const keys[] = {"tokenizer.ggml.scores", "tokenizer.ggml.token_type"};
    struct buf b = {0};
    for (int i = 0; i < 2; i++) {
        const struct draft_kv *good = find_kv(&m->seed, keys[i]);
        if (!good) continue;
        buf_reset(&b);
        put(&b, good->data.p, good->data.n);
        put_u32(&b, 1);
        static const int deltas[] = {-1, 1};
        for (int k = 0; k < 2; k++) {
            struct draft_kv *kv = need_kv(&m->d, keys[i]);
            kv->n = good->n + (uint64_t)deltas[k];
            kv->data = (struct str){b.p, 4 * kv->n};
            NAME(m, "%s %+d", keys[i], deltas[k]), emit(m, "F12", BAD_MODEL, keys[i]);
        }
        set_strings(need_kv(&m->d, keys[i]), &(struct buf){0}, 0);
        NAME(m, "%s empty", keys[i]), emit(m, "F12", BAD_MODEL, keys[i]);
        need_kv(&m->d, keys[i])->elem = i == 0 ? GGUF_U32 : GGUF_F32; /* int32 scores exist */
        NAME(m, "%s of the other type", keys[i]), emit(m, "F12", BAD_MODEL, keys[i]);
        set_value(need_kv(&m->d, keys[i]), GGUF_U32, "\1\0\0\0", 4);
        NAME(m, "%s is a number", keys[i]), emit(m, "F12", BAD_MODEL, keys[i]);
        static const uint32_t bits[2][3] = {{0x7fc00000, 0x7f800000, 0xff800000},
                                            {99, 1u << 31, UINT32_MAX}};
        for (int k = 0; k < 3; k++) {
            memcpy(b.p + 4 * 5, &bits[i][k], 4);
            need_kv(&m->d, keys[i])->data = (struct str){b.p, 4 * good->n};
            /* An infinite score still orders; a type of its own is an ordinary token elsewhere. */
            NAME(m, "%s[5] = %08x", keys[i], bits[i][k]);
            emit(m, "F12", i == 0 && k == 0 ? BAD_MODEL : MAY_LOAD, keys[i]);
        }
    }
    buf_fini(&b);
}

static void bad_ids(struct maker *m) {
    static const char *const ids[] = {"bos", "eos", "unknown", "padding", "eot", "seperator"};
    const uint64_t n = gguf_find(m->good, "tokenizer.ggml.tokens")->n;
    const struct odd_value v[] = {
        {"-1", GGUF_I32, 4, UINT32_MAX},   {"n_vocab", GGUF_U32, 4, n},
        {"2^31", GGUF_U32, 4, 1u << 31},   {"2^32-1", GGUF_U32, 4, UINT32_MAX},
        {"2^63", GGUF_U64, 8, 1ull << 63}, {"NaN", GGUF_F32, 4, 0x7fc00000},
        {"a string", GGUF_STR, 8, 0},
    };
    for (size_t i = 0; i < sizeof ids / sizeof *ids; i++)
        for (size_t k = 0; k < sizeof v / sizeof *v; k++) {
            char key[64];
            snprintf(key, sizeof key, "tokenizer.ggml.%s_token_id", ids[i]);
            struct draft_kv *kv = add_kv(&m->d, key);
            set_value(kv, v[k].type, &v[k].bits, v[k].n);
            /* Published files have stray ids where nothing depends on them. */
            const bool stray = (i == 3 || i == 5) && k < 5;
            NAME(m, "%s = %s", key, v[k].name), emit(m, "F12", stray ? MAY_LOAD : BAD_MODEL, key);
        }
}

static void bad_merges(struct maker *m) {
    static const struct {
        const char *name;
        struct str text;
        enum bad_kind kind;
    } odd[] = {
        /* what is no pair of pieces is left out with a warning */
        {"of unknown pieces", STR("zzz yyy"), MAY_LOAD}, /* it can never apply */
        {"with itself", STR("he he"), MAY_LOAD},         /* its result is no piece */
        {"without a blank", STR("hello"), MAY_LOAD},
        {"that is empty", STR(""), MAY_LOAD},
        {"of nothing and e", STR(" e"), MAY_LOAD},
        {"of h and nothing", STR("h "), MAY_LOAD},
        {"twice", STR("h e"), MAY_LOAD}, /* the first one counts */
    };
    const char *key = "tokenizer.ggml.merges";
    const struct gguf_kv *merges = gguf_find(m->good, key);
    struct buf b = {0};
    if (!merges) return;
    for (size_t i = 0; i < sizeof odd / sizeof *odd; i++) {
        replace_string(&b, merges, 1, odd[i].text, merges->n);
        set_strings(need_kv(&m->d, key), &b, merges->n);
        NAME(m, "a merge %s", odd[i].name), emit(m, "F12", odd[i].kind, key);
    }
    set_value(need_kv(&m->d, key), GGUF_U32, "\1\0\0\0", 4);
    NAME(m, "merges is a number"), emit(m, "F12", BAD_MODEL, key);
    buf_reset(&b);
    for (int i = 0; i < 1000000; i++)
        put_u64(&b, 0);
    set_strings(need_kv(&m->d, key), &b, 1000000);
    NAME(m, "a million empty merges"), emit(m, "F12", MAY_LOAD, key);
    buf_fini(&b);
}

static void bad_vocab_names(struct maker *m) {
    static const char *const keys[] = {"tokenizer.ggml.model", "tokenizer.ggml.pre"};
    static const char *const names[] = {"", "unheard-of", "none", "\x1b[31m"};
    for (int i = 0; i < 2; i++)
        for (size_t k = 0; k < sizeof names / sizeof *names; k++) {
            char value[64] = {0};
            const uint64_t n = strlen(names[k]);
            if (i == 1 && !find_kv(&m->seed, keys[i])) continue;
            memcpy(value, &n, 8);
            memcpy(value + 8, names[k], n);
            set_value(need_kv(&m->d, keys[i]), GGUF_STR, value, 8 + n);
            /* A new pre-tokenizer: a warning, and the default one. */
            NAME(m, "%s %zu", keys[i], k), emit(m, "F12", i ? MAY_LOAD : BAD_MODEL, keys[i]);
        }
}

int bad_vocab_each(const char *path, bad_fn *fn, void *ctx) {
    struct maker *m = maker_new(path, fn, ctx);
    bad_tokens(m);
    bad_token_arrays(m);
    bad_ids(m);
    bad_merges(m);
    bad_vocab_names(m);
    return end(m);
}

/* ---- F17: splits ------------------------------------------------------------------------------
 */

static void split_keys(struct draft *d, int no, int n, int n_tensor, enum split_odd odd) {
    static uint16_t u16[2];
    static uint32_t u32[2];
    const bool second = no == 1;
    u16[0] = (uint16_t)no;
    u16[1] = (uint16_t)n;
    u32[0] = (uint32_t)n_tensor;
    if (second && odd == SPLIT_NO_TWICE) u16[0] = 0;
    if (second && odd == SPLIT_NO_RANGE) u16[0] = (uint16_t)n;
    if (second && odd == SPLIT_COUNT) u16[1]++;
    if (odd == SPLIT_MANY) u16[1] = GGUF_MAX_SPLITS + 1;
    if (odd == SPLIT_TOTAL || (second && odd == SPLIT_TOTAL_DIFFERS)) u32[0]++;
    if (no != 0 || odd != SPLIT_NO_ABSENT) set_value(add_kv(d, "split.no"), GGUF_U16, &u16[0], 2);
    set_value(add_kv(d, "split.count"), GGUF_U16, &u16[1], 2);
    if (odd == SPLIT_TYPE) set_value(add_kv(d, "split.count"), GGUF_STR, "\1\0\0\0\0\0\0\0003", 9);
    set_value(add_kv(d, "split.tensors.count"), GGUF_I32, &u32[0], 4);
}

void bad_split_write(const char *path, const char *folder, int n, enum split_odd odd, char *first,
                     size_t n_first) {
    struct maker *m = maker_new(path, NULL, NULL);
    struct draft *d = &m->d;
    const int per = m->seed.n_tensor / n;
    for (int i = 0; i < n; i++) {
        char file[700];
        *d = m->seed;
        if (i) d->n_kv = 0; /* only the first has the keys */
        if (i == 1 && odd == SPLIT_OTHER_MODEL)
            set_value(add_kv(d, "general.architecture"), GGUF_STR, "\5\0\0\0\0\0\0\0qwen2", 13);
        const int lo = i * per, hi = i == n - 1 ? m->seed.n_tensor : lo + per;
        for (int k = lo; k < hi; k++)
            d->tensor[k - lo] = m->seed.tensor[k];
        d->n_tensor = hi - lo;
        if (i == 1 && odd == SPLIT_SAME_TENSOR) d->tensor[0] = m->seed.tensor[0];
        split_keys(d, i, n, m->seed.n_tensor, odd);
        lay_out(d);
        encode(d, &m->out);
        snprintf(file, sizeof file,
                 odd == SPLIT_NAME ? "%s/split-%d-%d.gguf" : "%s/split-%05d-of-%05d.gguf", folder,
                 i + 1, n);
        if (i == 0) snprintf(first, n_first, "%s", file);
        if (i == n - 1 && odd == SPLIT_MISSING) continue;
        FILE *f = fopen(file, "w");
        assert_non_null(f);
        assert_int_equal(fwrite(m->out.p, 1, m->out.n, f), m->out.n);
        assert_int_equal(fclose(f), 0);
    }
    end(m);
}
