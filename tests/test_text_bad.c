/* text/: vocabularies with a table that is wrong in one way.  Each either loads as documented and
 * then encodes anything without harm, or gives one error that names the key (SECURITY.md F12). */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "gguf/write.h"
#include "seedgguf.h"
#include "text/vocab.h"

enum { N_SPM = 289 };

static char *dir;
static struct gguf *seed[2]; /* SEED_SPM, SEED_BPE */

typedef void mutate_fn(struct gguf_writer *w, int arg);

struct bad {
    const char *name;
    enum seed_vocab base;
    const char *drop; /* key left out, or NULL */
    mutate_fn *mutate;
    int arg;
    const char *says; /* part of the error; NULL: it loads */
};

#define KEY(x) "tokenizer.ggml." x

static void ok(int rc, const struct err *e) {
    if (rc != 0) fail_msg("%s", e->msg);
}

static int n_tokens(enum seed_vocab base) {
    return (int)gguf_find(seed[base], KEY("tokens"))->n;
}

/* ---- Mutations ---------------------------------------------------------------------------------
 */

static void set_model(struct gguf_writer *w, int arg) {
    struct err e = {0};
    (void)arg;
    ok(gguf_set_str(w, KEY("model"), STR("rwkv"), &e), &e);
}

static void set_pre(struct gguf_writer *w, int arg) {
    struct err e = {0};
    char name[2000];
    memset(name, 'x', sizeof name);
    ok(gguf_set_str(w, KEY("pre"), (struct str){name, (size_t)arg}, &e), &e);
}

static void empty_tokens(struct gguf_writer *w, int arg) {
    struct err e = {0};
    (void)arg;
    ok(gguf_set_strs(w, KEY("tokens"), NULL, 0, &e), &e);
}

static void number_tokens(struct gguf_writer *w, int arg) {
    struct err e = {0};
    const int32_t v[3] = {1, 2, 3};
    (void)arg;
    ok(gguf_set_arr(w, KEY("tokens"), GGUF_I32, v, 3, &e), &e);
}

static void set_scores(struct gguf_writer *w, int n, float odd) {
    struct err e = {0};
    float *v = calloc((size_t)n + 1, sizeof *v);
    if (n) v[n / 2] = odd;
    ok(gguf_set_arr(w, KEY("scores"), GGUF_F32, v, (uint64_t)n, &e), &e);
    free(v);
}

static void many_scores(struct gguf_writer *w, int arg) {
    set_scores(w, N_SPM + arg, 0);
}

static void nan_score(struct gguf_writer *w, int arg) {
    (void)arg;
    set_scores(w, N_SPM, NAN);
}

static void inf_score(struct gguf_writer *w, int arg) {
    set_scores(w, N_SPM, arg < 0 ? -INFINITY : INFINITY);
}

static void int_scores(struct gguf_writer *w, int arg) {
    struct err e = {0};
    int32_t v[N_SPM] = {arg};
    ok(gguf_set_arr(w, KEY("scores"), GGUF_I32, v, N_SPM, &e), &e);
}

static void text_scores(struct gguf_writer *w, int arg) {
    struct err e = {0};
    (void)arg;
    ok(gguf_set_str(w, KEY("scores"), STR("0.5"), &e), &e);
}

static void set_types(struct gguf_writer *w, int n, int32_t odd) {
    struct err e = {0};
    int32_t *v = calloc((size_t)n + 1, sizeof *v);
    for (int i = 0; i < n; i++)
        v[i] = 1;
    if (n) v[n - 1] = odd;
    ok(gguf_set_arr(w, KEY("token_type"), GGUF_I32, v, (uint64_t)n, &e), &e);
    free(v);
}

static void many_types(struct gguf_writer *w, int arg) {
    set_types(w, N_SPM + arg, 1);
}

static void odd_type(struct gguf_writer *w, int arg) {
    set_types(w, N_SPM, arg);
}

/* The tokens of a seed, with the last one replaced and given a type. */
static void set_last(struct gguf_writer *w, enum seed_vocab base, struct str text, int32_t type) {
    struct err e = {0};
    const struct gguf_kv *kv = gguf_find(seed[base], KEY("tokens"));
    const struct gguf_kv *types = gguf_find(seed[base], KEY("token_type"));
    struct str *t = malloc(kv->n * sizeof *t);
    int32_t *ty = malloc(kv->n * sizeof *ty);
    uint64_t cursor = 0;
    for (uint64_t i = 0; i < kv->n; i++) {
        t[i] = gguf_next_str(kv, &cursor);
        ty[i] = (int32_t)gguf_int_at(types, i);
    }
    t[kv->n - 1] = text;
    ty[kv->n - 1] = type;
    ok(gguf_set_strs(w, KEY("tokens"), t, kv->n, &e), &e);
    ok(gguf_set_arr(w, KEY("token_type"), GGUF_I32, ty, kv->n, &e), &e);
    free(t);
    free(ty);
}

static const char *const byte_names[] = {"<0x-1>", "<0xZZ>", "<0x 1>", "<0x+1>", "<0x100>",
                                         "",       "<0x1>",  "<0X01>", "0x01",   "<0x01"};

static void bad_byte(struct gguf_writer *w, int arg) {
    set_last(w, SEED_SPM, str_of(byte_names[arg]), 6);
}

static void unused_bad_byte(struct gguf_writer *w, int arg) {
    set_last(w, SEED_SPM, str_of(byte_names[arg]), 1);
}

static void long_token(struct gguf_writer *w, int arg) {
    char *text = malloc((size_t)arg + 1);
    memset(text, 'a', (size_t)arg);
    set_last(w, SEED_SPM, (struct str){text, (size_t)arg}, 1);
    free(text);
}

static void user_token(struct gguf_writer *w, int arg) {
    static const char odd[] = "\0\xff\xc3 a";
    set_last(w, SEED_SPM, (struct str){odd, (size_t)arg}, 4);
}

static void duplicate(struct gguf_writer *w, int arg) {
    (void)arg;
    set_last(w, SEED_SPM, STR("a"), 1);
}

/* The first five must be tokens where they are given; the others may be stray. */
static const char *const id_keys[] = {
    KEY("bos_token_id"),     KEY("eos_token_id"),     KEY("eot_token_id"),
    KEY("eom_token_id"),     KEY("unknown_token_id"), KEY("seperator_token_id"),
    KEY("padding_token_id"), KEY("mask_token_id"),    KEY("cls_token_id"),
    KEY("fim_pre_token_id"), KEY("fim_pad_token_id")};

enum { N_ID_KEYS = sizeof id_keys / sizeof *id_keys, N_NEEDED = 5 };

static const uint32_t odd_values[] = {UINT32_MAX, N_SPM, 1u << 31, UINT32_MAX - 1};

static void stray_ids(struct gguf_writer *w, int arg) {
    struct err e = {0};
    for (int i = N_NEEDED; i < N_ID_KEYS; i++)
        ok(gguf_set_u32(w, id_keys[i], odd_values[arg], &e), &e);
}

/* Key arg / 4 with value arg % 4. */
static void needed_id(struct gguf_writer *w, int arg) {
    struct err e = {0};
    ok(gguf_set_u32(w, id_keys[arg / 4], odd_values[arg % 4], &e), &e);
}

static void zero_ids(struct gguf_writer *w, int arg) {
    struct err e = {0};
    for (int i = 0; i < N_ID_KEYS; i++)
        ok(gguf_set_u32(w, id_keys[i], (uint32_t)arg, &e), &e);
}

static void negative_ids(struct gguf_writer *w, int arg) {
    struct err e = {0};
    for (int i = N_NEEDED; i < N_ID_KEYS; i++)
        ok(gguf_set_i32(w, id_keys[i], arg, &e), &e);
}

static void huge_ids(struct gguf_writer *w, int arg) {
    struct err e = {0};
    (void)arg;
    for (int i = N_NEEDED; i < N_ID_KEYS; i++)
        ok(gguf_set_u64(w, id_keys[i], UINT64_MAX - 5, &e), &e);
}

static void text_id(struct gguf_writer *w, int arg) {
    struct err e = {0};
    ok(gguf_set_str(w, id_keys[arg], STR("2"), &e), &e);
}

static void text_flag(struct gguf_writer *w, int arg) {
    static const char *const keys[] = {KEY("add_bos_token"), KEY("add_eos_token"),
                                       KEY("add_space_prefix"), KEY("remove_extra_whitespaces")};
    struct err e = {0};
    ok(gguf_set_str(w, keys[arg], STR("yes"), &e), &e);
}

static void add_all(struct gguf_writer *w, int arg) {
    struct err e = {0};
    (void)arg;
    stray_ids(w, 0);
    ok(gguf_set_bool(w, KEY("add_bos_token"), true, &e), &e);
    ok(gguf_set_bool(w, KEY("add_eos_token"), true, &e), &e);
    ok(gguf_set_bool(w, KEY("add_sep_token"), true, &e), &e);
}

static void odd_merges(struct gguf_writer *w, int arg) {
    static const struct {
        struct str list[4];
        int n;
    } sets[] = {
        {{STR("h e"), STR("zz qq"), STR("zzqq h"), STR("h zzqq")}, 4}, /* unknown pieces */
        {{STR("h e"), STR("h e"), STR("a a"), STR("aa aa")}, 4},       /* again; with itself */
        {{STR("hello"), STR(""), STR(" "), STR("  ")}, 4},             /* no pairs */
        {{STR("h "), STR(" h"), STR("h e l"), STR("\xff \xfe")}, 4},
        {{{0}}, 0},
    };
    struct err e = {0};
    ok(gguf_set_strs(w, KEY("merges"), sets[arg].list, (uint64_t)sets[arg].n, &e), &e);
}

static void many_merges(struct gguf_writer *w, int arg) {
    struct err e = {0};
    struct str *m = malloc((size_t)arg * sizeof *m);
    char *text = malloc((size_t)arg * 12);
    for (int i = 0; i < arg; i++)
        m[i] = (struct str){text + 12 * i, (size_t)sprintf(text + 12 * i, "a %d", i)};
    ok(gguf_set_strs(w, KEY("merges"), m, (uint64_t)arg, &e), &e);
    free(m);
    free(text);
}

static void number_merges(struct gguf_writer *w, int arg) {
    struct err e = {0};
    ok(gguf_set_u32(w, KEY("merges"), (uint32_t)arg, &e), &e);
}

/* As a T5 vocabulary whose normalization rules are damaged. */
static void odd_charsmap(struct gguf_writer *w, int arg) {
    struct err e = {0};
    uint8_t map[256];
    const size_t n = (size_t)(arg & 0xff);
    for (size_t i = 0; i < sizeof map; i++)
        map[i] = (uint8_t)(i * 197 + (size_t)arg);
    if (arg & 0x100) memcpy(map, &(uint32_t){(uint32_t)n - 5}, 4); /* a length that fits */
    if ((arg & 0x200) && n) map[n - 1] = 0;
    ok(gguf_set_str(w, KEY("model"), STR("t5"), &e), &e);
    ok(gguf_set_arr(w, KEY("precompiled_charsmap"), GGUF_U8, map, n, &e), &e);
}

static void text_charsmap(struct gguf_writer *w, int arg) {
    struct err e = {0};
    (void)arg;
    ok(gguf_set_str(w, KEY("model"), STR("t5"), &e), &e);
    ok(gguf_set_str(w, KEY("precompiled_charsmap"), STR("x"), &e), &e);
}

static void as_model(struct gguf_writer *w, int arg) {
    static const struct str names[] = {STR("bert"), STR("t5"), STR("gpt2"), STR("llama"),
                                       STR("gemma4")};
    struct err e = {0};
    ok(gguf_set_str(w, KEY("model"), names[arg], &e), &e);
    if (arg == 4) odd_merges(w, 0);
}

static void nothing(struct gguf_writer *w, int arg) {
    (void)w, (void)arg;
}

/* ---- The list ----------------------------------------------------------------------------------
 */

static const struct bad list[] = {
    {"untouched spm", SEED_SPM, NULL, nothing, 0, NULL},
    {"untouched bpe", SEED_BPE, NULL, nothing, 0, NULL},
    {"no model", SEED_SPM, KEY("model"), nothing, 0, KEY("model")},
    {"unknown model", SEED_SPM, NULL, set_model, 0, "'rwkv'; supported"},
    {"no tokens", SEED_SPM, KEY("tokens"), nothing, 0, KEY("tokens")},
    {"empty tokens", SEED_SPM, NULL, empty_tokens, 0, KEY("tokens")},
    {"number tokens", SEED_SPM, NULL, number_tokens, 0, KEY("tokens")},
    {"no scores", SEED_SPM, KEY("scores"), nothing, 0, KEY("scores")},
    {"one score less", SEED_SPM, NULL, many_scores, -1, KEY("scores")},
    {"one score more", SEED_SPM, NULL, many_scores, 1, KEY("scores")},
    {"no score at all", SEED_SPM, NULL, many_scores, -N_SPM, KEY("scores")},
    {"score NaN", SEED_SPM, NULL, nan_score, 0, KEY("scores")},
    {"score inf", SEED_SPM, NULL, inf_score, 1, NULL},
    {"score -inf", SEED_SPM, NULL, inf_score, -1, NULL},
    {"whole scores", SEED_SPM, NULL, int_scores, -3, NULL},
    {"text scores", SEED_SPM, NULL, text_scores, 0, KEY("scores")},
    {"no types", SEED_SPM, KEY("token_type"), nothing, 0, NULL},
    {"one type less", SEED_SPM, NULL, many_types, -1, KEY("token_type")},
    {"one type more", SEED_SPM, NULL, many_types, 1, KEY("token_type")},
    {"type 0", SEED_SPM, NULL, odd_type, 0, NULL},
    {"type 7", SEED_SPM, NULL, odd_type, 7, KEY("token_type")},
    {"type -1", SEED_SPM, NULL, odd_type, -1, KEY("token_type")},
    {"type byte of a letter", SEED_SPM, NULL, odd_type, 6, "<0x00> to <0xFF>"},
    {"byte <0x-1>", SEED_SPM, NULL, bad_byte, 0, "<0x00> to <0xFF>"},
    {"byte <0xZZ>", SEED_SPM, NULL, bad_byte, 1, "<0x00> to <0xFF>"},
    {"byte <0x 1>", SEED_SPM, NULL, bad_byte, 2, "<0x00> to <0xFF>"},
    {"byte <0x+1>", SEED_SPM, NULL, bad_byte, 3, "<0x00> to <0xFF>"},
    {"byte <0x100>", SEED_SPM, NULL, bad_byte, 4, "<0x00> to <0xFF>"},
    {"byte empty", SEED_SPM, NULL, bad_byte, 5, "<0x00> to <0xFF>"},
    {"byte <0x1>", SEED_SPM, NULL, bad_byte, 6, "<0x00> to <0xFF>"},
    {"byte <0X01>", SEED_SPM, NULL, bad_byte, 7, "<0x00> to <0xFF>"},
    {"byte 0x01", SEED_SPM, NULL, bad_byte, 8, "<0x00> to <0xFF>"},
    {"byte <0x01", SEED_SPM, NULL, bad_byte, 9, "<0x00> to <0xFF>"},
    {"text <0x-1>", SEED_SPM, NULL, unused_bad_byte, 0, NULL},
    {"text empty", SEED_SPM, NULL, unused_bad_byte, 5, NULL},
    {"token of 4 kB", SEED_SPM, NULL, long_token, 4096, NULL},
    {"token of 4 kB + 1", SEED_SPM, NULL, long_token, 4097, "4097 bytes"},
    {"token of 64 kB", SEED_SPM, NULL, long_token, 65536, "65536 bytes"},
    {"token of 1 MB", SEED_SPM, NULL, long_token, 1 << 20, "1048576 bytes"},
    {"user token empty", SEED_SPM, NULL, user_token, 0, NULL},
    {"user token NUL", SEED_SPM, NULL, user_token, 1, NULL},
    {"user token malformed", SEED_SPM, NULL, user_token, 5, NULL},
    {"duplicate", SEED_SPM, NULL, duplicate, 0, "the same text"},
    {"stray ids -1 as uint32", SEED_SPM, NULL, stray_ids, 0, NULL},
    {"stray ids n_vocab", SEED_SPM, NULL, stray_ids, 1, NULL},
    {"stray ids 2^31", SEED_SPM, NULL, stray_ids, 2, NULL},
    {"stray ids 2^32 - 2", SEED_SPM, NULL, stray_ids, 3, NULL},
    {"stray ids -1", SEED_SPM, NULL, negative_ids, -1, NULL},
    {"stray ids -7", SEED_SPM, NULL, negative_ids, -7, NULL},
    {"stray ids 2^64 - 6", SEED_SPM, NULL, huge_ids, 0, NULL},
    {"all ids 0", SEED_SPM, NULL, zero_ids, 0, NULL},
    {"bos -1", SEED_SPM, NULL, needed_id, 0, KEY("bos_token_id")},
    {"bos n_vocab", SEED_SPM, NULL, needed_id, 1, KEY("bos_token_id")},
    {"bos 2^31", SEED_SPM, NULL, needed_id, 2, KEY("bos_token_id")},
    {"eos n_vocab", SEED_SPM, NULL, needed_id, 5, KEY("eos_token_id")},
    {"eot n_vocab", SEED_SPM, NULL, needed_id, 9, KEY("eot_token_id")},
    {"eom n_vocab", SEED_SPM, NULL, needed_id, 13, KEY("eom_token_id")},
    {"unk n_vocab", SEED_SPM, NULL, needed_id, 17, KEY("unknown_token_id")},
    {"bos a string", SEED_SPM, NULL, text_id, 0, KEY("bos_token_id")},
    {"eos a string", SEED_SPM, NULL, text_id, 1, KEY("eos_token_id")},
    {"unk a string", SEED_SPM, NULL, text_id, 4, KEY("unknown_token_id")},
    {"add_bos a string", SEED_SPM, NULL, text_flag, 0, KEY("add_bos_token")},
    {"add_eos a string", SEED_SPM, NULL, text_flag, 1, KEY("add_eos_token")},
    {"add_space a string", SEED_SPM, NULL, text_flag, 2, KEY("add_space_prefix")},
    {"merge blanks a string", SEED_SPM, NULL, text_flag, 3, KEY("remove_extra_whitespaces")},
    {"add all that is not there", SEED_SPM, NULL, add_all, 0, NULL},
    {"no merges", SEED_BPE, KEY("merges"), nothing, 0, KEY("merges")},
    {"merges a number", SEED_BPE, NULL, number_merges, 3, KEY("merges")},
    {"merges of unknown pieces", SEED_BPE, NULL, odd_merges, 0, NULL},
    {"merges again and with itself", SEED_BPE, NULL, odd_merges, 1, NULL},
    {"merges that are no pairs", SEED_BPE, NULL, odd_merges, 2, NULL},
    {"merges with odd blanks", SEED_BPE, NULL, odd_merges, 3, NULL},
    {"merges empty", SEED_BPE, NULL, odd_merges, 4, NULL},
    {"merges 60000, all unknown", SEED_BPE, NULL, many_merges, 60000, NULL},
    {"merges 200000, all unknown", SEED_BPE, NULL, many_merges, 200000, KEY("merges")},
    {"merges 1048577", SEED_BPE, NULL, many_merges, (1 << 20) + 1, KEY("merges")},
    {"pre empty", SEED_BPE, NULL, set_pre, 0, NULL},
    {"pre unknown", SEED_BPE, NULL, set_pre, 5, NULL},
    {"pre of 2000 bytes", SEED_BPE, NULL, set_pre, 2000, NULL},
    {"spm tables as bert", SEED_SPM, NULL, as_model, 0, NULL},
    {"spm tables as t5", SEED_SPM, NULL, as_model, 1, NULL},
    {"spm tables as gpt2", SEED_SPM, NULL, as_model, 2, KEY("merges")},
    {"bpe tables as llama", SEED_BPE, NULL, as_model, 3, KEY("scores")},
    {"bpe tables as bert", SEED_BPE, NULL, as_model, 0, NULL},
    {"bpe tables as t5", SEED_BPE, NULL, as_model, 1, KEY("scores")},
    {"spm tables as gemma4", SEED_SPM, NULL, as_model, 4, NULL},
    {"charsmap a string", SEED_SPM, NULL, text_charsmap, 0, KEY("precompiled_charsmap")},
    {"charsmap empty", SEED_SPM, NULL, odd_charsmap, 0, NULL},
    {"charsmap 1", SEED_SPM, NULL, odd_charsmap, 1, KEY("precompiled_charsmap")},
    {"charsmap 4", SEED_SPM, NULL, odd_charsmap, 4, KEY("precompiled_charsmap")},
    {"charsmap not terminated", SEED_SPM, NULL, odd_charsmap, 0x100 | 200,
     KEY("precompiled_charsmap")},
    {"charsmap length wrong", SEED_SPM, NULL, odd_charsmap, 0x200 | 200,
     KEY("precompiled_charsmap")},
    {"charsmap noise", SEED_SPM, NULL, odd_charsmap, 0x300 | 200, NULL},
    {"charsmap noise, short", SEED_SPM, NULL, odd_charsmap, 0x300 | 40, NULL},
    {"charsmap without a node", SEED_SPM, NULL, odd_charsmap, 0x300 | 6, NULL},
};

/* ---- Running it --------------------------------------------------------------------------------
 */

static struct gguf *build(const struct bad *b) {
    char path[600];
    struct err e = {0};
    snprintf(path, sizeof path, "%s/bad.gguf", dir);
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    assert_non_null(w);
    for (int i = 0; i < gguf_n_kv(seed[b->base]); i++) {
        const struct gguf_kv *kv = gguf_kv_at(seed[b->base], i);
        if (!b->drop || !str_is(kv->key, b->drop)) ok(gguf_copy_kv(w, kv, &e), &e);
    }
    b->mutate(w, b->arg);
    ok(gguf_writer_finish(w, &e), &e);
    struct gguf *g = gguf_open(path, &e);
    if (!g) fail_msg("%s: %s", b->name, e.msg);
    return g;
}

/* Whatever loads must encode anything, give ids of its own, and read them back. */
static void use(const struct vocab *v, const char *name) {
    static const struct str texts[] = {
        STR(""),
        STR("the cat"),
        STR("<s></s><unk><0x-1> <0x00>"),
        STR("\0\xff\xc3 a\xf0\x9f"),
        STR("aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa"
            "a"),
        STR("zzqqh hezzqq \n\n\t 123 \xe2\x96\x81\xe2\x96\x81 \xf0\x9f\x98\x80")};
    struct ids ids = {0};
    struct buf out = {0};
    struct err e = {0};
    for (int k = 0; k < 24; k++) {
        const struct tok_opts o = {.add_special = k & 1, .parse_special = k >> 1 & 1};
        ids.n = 0;
        if (tok_encode(v, texts[k / 4], o, &ids, &e) != 0) fail_msg("%s: %s", name, e.msg);
        for (size_t i = 0; i < ids.n; i++)
            assert_in_range(ids.v[i], 0, vocab_size(v) - 1);
        const struct detok_opts d = {.special = k & 1, .keep_all = k >> 1 & 1};
        assert_int_equal(tok_decode(v, ids.v, ids.n, d, &out, &e), 0);
    }
    for (int32_t id = -2; id < vocab_size(v) + 2; id++) {
        tok_piece(v, id, true, &out);
        const bool inside = id >= 0 && id < vocab_size(v);
        assert_int_equal(tok_decode(v, &id, 1, (struct detok_opts){0}, &out, &e), inside ? 0 : -1);
    }
    const struct vocab_special *s = vocab_special(v);
    const int32_t special[] = {s->bos, s->eos,  s->eot, s->eom,     s->unk,     s->sep,    s->pad,
                               s->cls, s->mask, s->nl,  s->fim_pre, s->fim_suf, s->fim_mid};
    for (size_t i = 0; i < sizeof special / sizeof *special; i++)
        if (special[i] < -1 || special[i] >= vocab_size(v)) fail_msg("%s: special %zu", name, i);
    ids_fini(&ids);
    buf_fini(&out);
}

/* Time of this process: other work on the machine does not count. */
static int64_t cpu_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_PROCESS_CPUTIME_ID, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

static void every_bad_table(void **state) {
    (void)state;
    for (size_t i = 0; i < sizeof list / sizeof *list; i++) {
        const struct bad *b = &list[i];
        struct err e = {0};
        struct gguf *g = build(b);
        const int64_t t0 = cpu_ns();
        struct vocab *v = vocab_load(g, &e);
        const double s = (double)(cpu_ns() - t0) * 1e-9;
        if (s > 1.0) fail_msg("%s: %.2f s", b->name, s);
        if (!v != (b->says != NULL)) fail_msg("%s: %s", b->name, v ? "loads" : e.msg);
        if (b->says && !strstr(e.msg, b->says))
            fail_msg("%s: \"%s\" is not in: %s", b->name, b->says, e.msg);
        if (v) use(v, b->name);
        vocab_free(v);
        gguf_close(g);
    }
}

/* An id that names no token is not there; one that does is kept. */
static void special_ids(void **state) {
    (void)state;
    struct err e = {0};
    for (int arg = 0; arg < 5; arg++) {
        mutate_fn *fn = arg == 4 ? zero_ids : stray_ids;
        struct gguf *g = build(&(struct bad){"ids", SEED_SPM, NULL, fn, arg % 4, NULL});
        struct vocab *v = vocab_load(g, &e);
        if (!v) fail_msg("%s", e.msg);
        assert_int_equal(vocab_special(v)->eot, arg == 4 ? 0 : -1);
        assert_int_equal(vocab_special(v)->pad, arg == 4 ? 0 : -1);
        vocab_free(v);
        gguf_close(g);
    }
}

/* A merge whose pieces are no tokens still merges, and what it leaves falls back to bytes. */
static void merges_of_unknown_pieces(void **state) {
    (void)state;
    struct err e = {0};
    struct gguf *g = build(&(struct bad){"merges", SEED_BPE, NULL, odd_merges, 0, NULL});
    struct vocab *v = vocab_load(g, &e);
    struct ids ids = {0};
    if (!v) fail_msg("%s", e.msg);
    assert_int_equal(tok_encode(v, STR("zzqqh"), (struct tok_opts){0}, &ids, &e), 0);
    assert_int_equal(ids.n, 5);
    for (int i = 0; i < 5; i++)
        assert_int_equal(ids.v[i], "zzqqh"[i]);
    assert_int_equal(vocab_find(v, STR("zzqq")), -1);
    ids_fini(&ids);
    vocab_free(v);
    gguf_close(g);
}

static int set_up(void **state) {
    (void)state;
    dir = temp_folder();
    for (int i = 0; i < 2; i++) {
        char path[600];
        struct err e = {0};
        snprintf(path, sizeof path, "%s/seed%d.gguf", dir, i);
        seed_gguf_write(path, (enum seed_vocab)i);
        seed[i] = gguf_open(path, &e);
        if (!seed[i]) fail_msg("%s", e.msg);
    }
    assert_int_equal(n_tokens(SEED_SPM), N_SPM);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    gguf_close(seed[0]);
    gguf_close(seed[1]);
    temp_remove(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_bad_table),
        cmocka_unit_test(special_ids),
        cmocka_unit_test(merges_of_unknown_pieces),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
