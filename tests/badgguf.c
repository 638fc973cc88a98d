/* Files that gguf_open must refuse; splits.  See badgguf.h. */
#include "badgguf.h"

#include <stdlib.h>
#include <string.h>

#include "baddraft.h"
#include "support.h"

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
    draft_encode(&m->seed, &m->out);
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
    char blame[128];
    snprintf(blame, sizeof blame, "%.*s", (int)t->name.n, t->name.p);
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
    char name[128];
    snprintf(name, sizeof name, "%.*s", (int)last->name.n, last->name.p);
    static const size_t missing[] = {1, 8, 31, 32, 33, 1000};
    for (size_t i = 0; i < sizeof missing / sizeof *missing; i++) {
        draft_encode(&m->d, &m->out);
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
    draft_encode(&m->seed, &m->out);
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
        draft_encode(&m->seed, &m->out);
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
    char name[128];
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
    char name[128];
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
    static char many[(1 << 20) + 1]; /* the most that is padding, and one more */
    draft_encode(&m->d, &m->out);
    put(&m->out, many, sizeof many);
    NAME(m, "1 MiB + 1 after the last tensor");
    emit_bytes(m, "F11", BAD_FILE, "follow the last tensor", m->out.p, m->out.n);
    draft_encode(&m->d, &m->out);
    put(&m->out, many, 1 << 20);
    NAME(m, "1 MiB of padding after the last tensor");
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
    return maker_end(m);
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
    if (odd == SPLIT_MOST) u16[1] = GGUF_MAX_SPLITS;
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
        draft_lay_out(d);
        draft_encode(d, &m->out);
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
    maker_end(m);
}
