/* Sound files that make no model: hyper-parameters, missing parts, shapes, vocabularies.  See
 * badgguf.h. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "baddraft.h"
#include "support.h"

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
        draft_lay_out(&m->d);
        NAME(m, "without tensor %s", name), emit(m, "F8", BAD_MODEL, name);
    }
    m->d.n_kv = 0, m->d.n_kv_declared = 0;
    NAME(m, "no keys at all"), emit(m, "F8", BAD_MODEL, "key '");
    m->d.n_tensor = 0, m->d.n_tensor_declared = 0;
    NAME(m, "no tensors at all"), emit(m, "F8", BAD_KIND, NULL);
    static const char *const archs[] = {"", "unheard-of", "LLAMA", "%s%n", "../x", "llama\0x"};
    static const size_t lengths[] = {0, 10, 5, 4, 4, 7};
    for (size_t i = 0; i < sizeof archs / sizeof *archs; i++) {
        char value[32] = {0};
        memcpy(value, &lengths[i], 8);
        memcpy(value + 8, archs[i], lengths[i]);
        set_value(need_kv(&m->d, "general.architecture"), GGUF_STR, value, 8 + lengths[i]);
        NAME(m, "architecture %zu", i);
        emit(m, "F8", i == 0 ? BAD_MODEL : BAD_KIND, "general.architecture");
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

/* Weights that no training leaves: the arithmetic may give nonsense, and nothing worse. */
static void bad_weights(struct maker *m) {
    static const struct {
        const char *name;
        float v;
    } odd[] = {
        {"NaN", NAN}, {"inf", INFINITY}, {"-inf", -INFINITY}, {"3e38", 3e38f}, {"1e-45", 1e-45f}};
    for (int i = 0; i < 12; i++)
        for (size_t k = 0; k < sizeof odd / sizeof *odd; k++) {
            struct draft_tensor *t = &m->d.tensor[i];
            const size_t n = t->n_bytes / sizeof(float);
            float *x = malloc(t->n_bytes);
            if (t->type != QT_F32 || !x) fail_msg("the good file must have weights of F32");
            for (size_t j = 0; j < n; j++)
                x[j] = odd[k].v;
            t->data = (const uint8_t *)x;
            NAME(m, "%.*s is all %s", (int)t->name.n, t->name.p, odd[k].name);
            emit(m, "F6", MAY_LOAD, NULL);
            free(x);
        }
}

int bad_hparams_each(const char *path, bad_fn *fn, void *ctx) {
    struct maker *m = maker_new(path, fn, ctx);
    bad_hparams(m);
    return maker_end(m);
}

int bad_model_each(const char *path, bad_fn *fn, void *ctx) {
    struct maker *m = maker_new(path, fn, ctx);
    bad_hparams(m);
    bad_missing(m);
    bad_shapes(m);
    bad_weights(m);
    return maker_end(m);
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
            NAME(m, "%s %zu", keys[i], k), emit(m, "F12", i ? MAY_LOAD : BAD_KIND, keys[i]);
        }
}

int bad_vocab_each(const char *path, bad_fn *fn, void *ctx) {
    struct maker *m = maker_new(path, fn, ctx);
    bad_tokens(m);
    bad_token_arrays(m);
    bad_ids(m);
    bad_merges(m);
    bad_vocab_names(m);
    return maker_end(m);
}
