/* gguf/: reading and writing good files; the limits.  Bad files: test_gguf_bad.c. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "gguf/write.h"
#include "seedgguf.h"

static char *dir;

static const char *in_dir(const char *name) {
    static char ring[8][600];
    static int at;
    char *p = ring[at++ & 7];
    snprintf(p, sizeof ring[0], "%s/%s", dir, name);
    return p;
}

static struct gguf *open_ok(const char *path) {
    struct err e = {0};
    struct gguf *g = gguf_open(path, &e);
    if (!g) fail_msg("%s", e.msg);
    return g;
}

static struct gguf_writer *new_ok(const char *path, uint32_t alignment) {
    struct err e = {0};
    struct gguf_writer *w = gguf_writer_new(path, alignment, &e);
    if (!w) fail_msg("%s", e.msg);
    return w;
}

static double cpu_seconds(void) {
    return (double)clock() / CLOCKS_PER_SEC;
}

/* ---- Reading ----------------------------------------------------------------------------------
 */

static void seed_reads_back(void **s) {
    (void)s;
    seed_gguf_write(in_dir("seed.gguf"), SEED_SPM);
    struct gguf *g = open_ok(in_dir("seed.gguf"));
    assert_int_equal(gguf_version(g), 3);
    assert_int_equal(gguf_n_split(g), 1);
    assert_int_equal(gguf_alignment(g), 32);
    assert_int_equal(gguf_n_tensor(g), SEED_N_TENSOR);
    assert_string_equal(gguf_tensor_at(g, 1)->name, "output_norm.weight");
    const struct gguf_tensor *t = gguf_tensor(g, "blk.1.attn_k.weight");
    assert_non_null(t);
    assert_int_equal(t->type, QT_F32);
    assert_int_equal(t->n_dim, 2);
    assert_int_equal(t->ne[0], SEED_N_EMBD);
    assert_int_equal(t->ne[1], 16);
    assert_int_equal(t->ne[2] * t->ne[3], 1);
    assert_int_equal(t->n_bytes, SEED_N_EMBD * 16 * 4);
    assert_int_equal((uintptr_t)t->data % 32, 0);
    assert_null(gguf_tensor(g, "blk.1.attn_k"));
    assert_null(gguf_find(g, "llama"));
    gguf_close(g);
    gguf_close(NULL);
}

/* Version 2 has the same layout. */
static void version_2_opens(void **s) {
    (void)s;
    struct err e = {0};
    size_t n;
    seed_gguf_write(in_dir("seed.gguf"), SEED_SPM);
    uint8_t *bytes = slurp(in_dir("seed.gguf"), &n);
    bytes[4] = 2;
    struct gguf *g = gguf_open_bytes("v2", bytes, n, &e);
    if (!g) fail_msg("%s", e.msg);
    assert_int_equal(gguf_version(g), 2);
    assert_int_equal(gguf_n_tensor(g), SEED_N_TENSOR);
    gguf_close(g);
    free(bytes);
}

static void values_are_typed(void **s) {
    (void)s;
    struct err e = {0};
    struct gguf_writer *w = new_ok(in_dir("typed.gguf"), 0);
    const int8_t small[] = {-1, 2, -128};
    const uint64_t big[] = {0, UINT64_MAX};
    const double f64[] = {0.5, -1e300};
    assert_int_equal(gguf_set_u32(w, "u32", UINT32_MAX, &e), 0);
    assert_int_equal(gguf_set_i32(w, "i32", -5, &e), 0);
    assert_int_equal(gguf_set_u64(w, "u64", UINT64_MAX, &e), 0);
    assert_int_equal(gguf_set_u64(w, "u64 small", 77, &e), 0);
    assert_int_equal(gguf_set_f32(w, "f32", 1.5f, &e), 0);
    assert_int_equal(gguf_set_f32(w, "nan", NAN, &e), 0);
    assert_int_equal(gguf_set_f32(w, "inf", -INFINITY, &e), 0);
    assert_int_equal(gguf_set_bool(w, "bool", true, &e), 0);
    assert_int_equal(gguf_set_str(w, "str", STR("a\0b"), &e), 0);
    assert_int_equal(gguf_set_arr(w, "i8s", GGUF_I8, small, 3, &e), 0);
    assert_int_equal(gguf_set_arr(w, "u64s", GGUF_U64, big, 2, &e), 0);
    assert_int_equal(gguf_set_arr(w, "f64s", GGUF_F64, f64, 2, &e), 0);
    const struct str strs[] = {STR("x"), STR(""), STR("yz")};
    assert_int_equal(gguf_set_strs(w, "strs", strs, 3, &e), 0);
    assert_int_equal(gguf_set_strs(w, "none", NULL, 0, &e), 0);
    assert_int_equal(gguf_writer_finish(w, &e), 0);

    struct gguf *g = open_ok(in_dir("typed.gguf"));
    uint32_t u = 9;
    int32_t i = 9;
    float f = 9;
    bool b = false;
    struct str z;
    const struct gguf_kv *kv;
    assert_int_equal(gguf_get_u32(g, "absent", &u, &e), 0);
    assert_int_equal(gguf_get_u32(g, "i32", &u, &e), -1);
    assert_int_equal(u, 9);
    assert_non_null(strstr(e.msg, "typed.gguf: key 'i32' is -5; 0 to 4294967295"));
    assert_int_equal(gguf_get_u32(g, "u64", &u, &e), -1);
    assert_non_null(strstr(e.msg, "18446744073709551615"));
    assert_int_equal(gguf_get_u32(g, "u32", &u, &e), 1);
    assert_int_equal(u, UINT32_MAX);
    assert_int_equal(gguf_get_u32(g, "u64 small", &u, &e), 1);
    assert_int_equal(u, 77);
    assert_int_equal(gguf_get_u32(g, "f32", &u, &e), -1);
    assert_non_null(strstr(e.msg, "key 'f32' is float32; an integer is needed"));
    assert_int_equal(gguf_get_u32(g, "i8s", &u, &e), -1);
    assert_non_null(strstr(e.msg, "key 'i8s' is an array of int8; an integer is needed"));
    assert_int_equal(gguf_get_i32(g, "i32", &i, &e), 1);
    assert_int_equal(i, -5);
    assert_int_equal(gguf_get_i32(g, "u32", &i, &e), -1);
    assert_int_equal(gguf_get_f32(g, "f32", &f, &e), 1);
    assert_true(f == 1.5f);
    assert_int_equal(gguf_get_f32(g, "nan", &f, &e), -1);
    assert_int_equal(gguf_get_f32(g, "inf", &f, &e), -1);
    assert_int_equal(gguf_get_f32(g, "u32", &f, &e), -1);
    assert_int_equal(gguf_get_bool(g, "bool", &b, &e), 1);
    assert_true(b);
    assert_int_equal(gguf_get_bool(g, "u32", &b, &e), -1);
    assert_int_equal(gguf_get_str(g, "str", &z, &e), 1);
    assert_true(str_eq(z, STR("a\0b")));
    assert_int_equal(gguf_get_str(g, "strs", &z, &e), -1);

    assert_int_equal(gguf_get_arr(g, "i8s", GGUF_I8, &kv, &e), 1);
    for (uint64_t k = 0; k < 3; k++)
        assert_int_equal(gguf_int_at(kv, k), small[k]);
    assert_int_equal(gguf_get_arr(g, "i8s", GGUF_U8, &kv, &e), -1);
    assert_non_null(strstr(e.msg, "key 'i8s' is an array of int8; an array of uint8 is needed"));
    assert_int_equal(gguf_get_arr(g, "f64s", GGUF_F64, &kv, &e), 1);
    assert_true(gguf_float_at(kv, 0) == 0.5 && gguf_float_at(kv, 1) == -1e300);
    assert_int_equal(gguf_get_arr(g, "none", GGUF_STR, &kv, &e), 1);
    assert_int_equal(kv->n, 0);
    assert_int_equal(gguf_get_arr(g, "strs", GGUF_STR, &kv, &e), 1);
    uint64_t cursor = 0;
    for (int k = 0; k < 3; k++)
        assert_true(str_eq(gguf_next_str(kv, &cursor), strs[k]));
    assert_int_equal(cursor, kv->n_bytes);
    gguf_close(g);
}

/* A vocabulary of 256k entries with scores, types and merges: SECURITY.md F9 allows 150 ms. */
static void big_vocabulary_is_fast(void **s) {
    (void)s;
    enum { N = 256 * 1024 };
    struct err e = {0};
    struct str *piece = malloc(N * sizeof *piece);
    float *score = calloc(N, sizeof *score);
    char(*text)[16] = malloc(N * sizeof *text);
    for (int i = 0; i < N; i++)
        piece[i] = (struct str){text[i], (size_t)snprintf(text[i], sizeof *text, "piece %d", i)};
    struct gguf_writer *w = new_ok(in_dir("big.gguf"), 0);
    assert_int_equal(gguf_set_strs(w, "tokenizer.ggml.tokens", piece, N, &e), 0);
    assert_int_equal(gguf_set_strs(w, "tokenizer.ggml.merges", piece, N, &e), 0);
    assert_int_equal(gguf_set_arr(w, "tokenizer.ggml.scores", GGUF_F32, score, N, &e), 0);
    assert_int_equal(gguf_set_arr(w, "tokenizer.ggml.token_type", GGUF_I32, score, N, &e), 0);
    assert_int_equal(gguf_writer_finish(w, &e), 0);
    const double t0 = cpu_seconds();
    struct gguf *g = open_ok(in_dir("big.gguf"));
    const double t = cpu_seconds() - t0;
    gguf_close(g);
    free(piece), free(score), free(text);
    if (t > 0.05) fail_msg("opening took %.0f ms of processor time", t * 1e3);
}

/* ---- Round trip -------------------------------------------------------------------------------
 */

static void copy_model(const char *from, const char *to, uint32_t alignment) {
    struct err e = {0};
    struct gguf *g = open_ok(from);
    struct gguf_writer *w = new_ok(to, alignment);
    for (int i = 0; i < gguf_n_kv(g); i++)
        if (gguf_copy_kv(w, gguf_kv_at(g, i), &e) != 0) fail_msg("%s", e.msg);
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        if (gguf_add_tensor(w, t->name, t->type, t->n_dim, t->ne, &e) != 0) fail_msg("%s", e.msg);
    }
    for (int i = 0; i < gguf_n_tensor(g); i++) { /* in two pieces each */
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        const size_t half = t->n_bytes / 3;
        if (gguf_write_data(w, t->data, half, &e) != 0 ||
            gguf_write_data(w, t->data + half, t->n_bytes - half, &e) != 0)
            fail_msg("%s", e.msg);
    }
    if (gguf_writer_finish(w, &e) != 0) fail_msg("%s", e.msg);
    gguf_close(g);
}

static void assert_same_model(const char *path_a, const char *path_b) {
    struct gguf *a = open_ok(path_a), *b = open_ok(path_b);
    int n_own = 0;
    for (int i = 0; i < gguf_n_kv(a); i++) {
        const struct gguf_kv *x = gguf_kv_at(a, i);
        if (str_is(x->key, "general.alignment") || str_starts(x->key, STR("split."))) {
            n_own++;
            continue;
        }
        const struct gguf_kv *y = gguf_kv_at(b, i - n_own);
        assert_true(str_eq(x->key, y->key));
        assert_true(x->type == y->type && x->elem_type == y->elem_type && x->n == y->n);
        assert_int_equal(x->n_bytes, y->n_bytes);
        assert_memory_equal(x->data, y->data, x->n_bytes);
    }
    assert_int_equal(gguf_n_tensor(a), gguf_n_tensor(b));
    for (int i = 0; i < gguf_n_tensor(a); i++) {
        const struct gguf_tensor *x = gguf_tensor_at(a, i), *y = gguf_tensor(b, x->name);
        assert_non_null(y);
        assert_true(x->type == y->type && x->n_dim == y->n_dim);
        assert_memory_equal(x->ne, y->ne, sizeof x->ne);
        assert_int_equal(x->n_bytes, y->n_bytes);
        assert_memory_equal(x->data, y->data, x->n_bytes);
    }
    gguf_close(a);
    gguf_close(b);
}

static void copies_are_equal(void **s) {
    (void)s;
    seed_gguf_write(in_dir("seed.gguf"), SEED_BPE);
    static const uint32_t alignments[] = {0, 8, 64, 1 << 20};
    for (size_t i = 0; i < sizeof alignments / sizeof *alignments; i++) {
        copy_model(in_dir("seed.gguf"), in_dir("copy.gguf"), alignments[i]);
        assert_same_model(in_dir("seed.gguf"), in_dir("copy.gguf"));
        struct gguf *g = open_ok(in_dir("copy.gguf"));
        assert_int_equal(gguf_alignment(g), alignments[i] ? alignments[i] : 32);
        gguf_close(g);
        copy_model(in_dir("copy.gguf"), in_dir("back.gguf"), 0);
        size_t n_a, n_b;
        uint8_t *a = slurp(in_dir("seed.gguf"), &n_a), *b = slurp(in_dir("back.gguf"), &n_b);
        assert_int_equal(n_a, n_b);
        assert_memory_equal(a, b, n_a);
        free(a), free(b);
    }
}

static void golden_models_open_and_copy(void **s) {
    (void)s;
    static const struct {
        const char *dir;
        int at_least;
    } sets[] = {{"models", 25}, {"models-quant", 30}, {"vocab", 5}, {"lora", 3}};
    if (!golden_is_full()) { /* the seeds stand in: copies_are_equal() */
        seed_gguf_write(in_dir("seed.gguf"), SEED_SPM);
        copy_model(in_dir("seed.gguf"), in_dir("copy.gguf"), 0);
        assert_same_model(in_dir("seed.gguf"), in_dir("copy.gguf"));
        return;
    }
    for (size_t i = 0; i < sizeof sets / sizeof *sets; i++) {
        char **names = golden_names(sets[i].dir, ".gguf", sets[i].at_least);
        for (char **n = names; *n; n++) {
            char path[600];
            snprintf(path, sizeof path, "%s/%s", golden(sets[i].dir), *n);
            copy_model(path, in_dir("copy.gguf"), 0);
            assert_same_model(path, in_dir("copy.gguf"));
        }
        names_free(names);
    }
}

/* ---- Writer -----------------------------------------------------------------------------------
 */

static void setting_again_replaces(void **s) {
    (void)s;
    struct err e = {0};
    struct gguf_writer *w = new_ok(in_dir("again.gguf"), 64);
    uint32_t v = 0;
    assert_int_equal(gguf_set_u32(w, "b", 1, &e), 0);
    assert_int_equal(gguf_set_u32(w, "a", 2, &e), 0);
    assert_int_equal(gguf_set_str(w, "b", STR("x"), &e), 0);
    assert_int_equal(gguf_set_u32(w, "general.alignment", 4096, &e), 0);
    assert_int_equal(gguf_set_u32(w, "split.count", 3, &e), 0);
    assert_int_equal(gguf_set_u32(w, "b", 3, &e), 0);
    assert_int_equal(gguf_writer_finish(w, &e), 0);
    struct gguf *g = open_ok(in_dir("again.gguf"));
    assert_int_equal(gguf_n_kv(g), 3);
    assert_true(str_is(gguf_kv_at(g, 0)->key, "b"));
    assert_int_equal(gguf_get_u32(g, "b", &v, &e), 1);
    assert_int_equal(v, 3);
    assert_int_equal(gguf_alignment(g), 64);
    gguf_close(g);
}

static void writer_refuses(void **s) {
    (void)s;
    struct err e = {0};
    const char *path = in_dir("refused.gguf");
    const int64_t ne[] = {64, 2, 0, 1}, odd[] = {33};
    float zeros[128] = {0};
    struct gguf_writer *w = new_ok(path, 0);
    assert_int_equal(gguf_add_tensor(w, "", QT_F32, 1, ne, &e), -1);
    assert_int_equal(gguf_add_tensor(w, "x", QT_F32, 0, ne, &e), -1);
    assert_int_equal(gguf_add_tensor(w, "x", QT_F32, 3, ne, &e), -1); /* a dimension of 0 */
    assert_int_equal(gguf_add_tensor(w, "x", QT_F32, 5, ne, &e), -1);
    assert_int_equal(gguf_add_tensor(w, "x", QT_Q8_0, 1, odd, &e), -1);
    assert_int_equal(gguf_add_tensor(w, "x", (enum qtype)4, 1, ne, &e), -1); /* a removed type */
    assert_int_equal(gguf_add_tensor(w, "x", QT_F32, 2, ne, &e), 0);
    assert_int_equal(gguf_set_u32(w, "", 1, &e), -1);
    /* Two writers of one file. */
    assert_null(gguf_writer_new(path, 0, &e));
    assert_non_null(strstr(e.msg, "another process is writing it"));
    /* Data missing, data too much: no file appears. */
    assert_int_equal(gguf_write_data(w, zeros, 100, &e), 0);
    assert_int_equal(gguf_set_u32(w, "late", 1, &e), -1);
    assert_int_equal(gguf_add_tensor(w, "late", QT_F32, 1, ne, &e), -1);
    assert_int_equal(gguf_writer_finish(w, &e), -1);
    assert_non_null(strstr(e.msg, "tensor 'x' has 100 of 512 bytes"));
    w = new_ok(path, 0);
    assert_int_equal(gguf_add_tensor(w, "x", QT_F32, 1, ne, &e), 0);
    assert_int_equal(gguf_write_data(w, zeros, 257, &e), -1);
    gguf_writer_abort(w);
    w = new_ok(path, 0); /* one name twice */
    assert_int_equal(gguf_add_tensor(w, "x", QT_F32, 1, ne, &e), 0);
    assert_int_equal(gguf_add_tensor(w, "x", QT_F32, 1, ne, &e), 0);
    assert_int_equal(gguf_write_data(w, zeros, 1, &e), -1);
    gguf_writer_abort(w);
    gguf_writer_abort(NULL);
    assert_int_equal(access(path, F_OK), -1);
    assert_int_equal(access(in_dir("refused.gguf.partial"), F_OK), -1);
    assert_null(gguf_writer_new(dir, 0, &e));
    assert_null(gguf_writer_new("/dev/null", 0, &e));
    assert_null(gguf_writer_new(in_dir("no/such/folder"), 0, &e));
}

/* The old file stays whole until the new one is; a leftover of a crash is overwritten. */
static void old_file_stays(void **s) {
    (void)s;
    struct err e = {0};
    const char *path = in_dir("old.gguf");
    seed_gguf_write(path, SEED_SPM);
    size_t n_before, n_after;
    uint8_t *before = slurp(path, &n_before);
    struct gguf_writer *w = new_ok(path, 0);
    const int64_t ne[] = {1000000};
    assert_int_equal(gguf_add_tensor(w, "x", QT_F32, 1, ne, &e), 0);
    assert_int_equal(gguf_write_data(w, before, n_before, &e), 0);
    gguf_writer_abort(w);
    uint8_t *after = slurp(path, &n_after);
    assert_int_equal(n_before, n_after);
    assert_memory_equal(before, after, n_before);
    free(after);
    FILE *f = fopen(in_dir("old.gguf.partial"), "w");
    fwrite(before, 1, n_before, f);
    fclose(f);
    w = new_ok(path, 0);
    assert_int_equal(gguf_set_u32(w, "k", 1, &e), 0);
    assert_int_equal(gguf_writer_finish(w, &e), 0);
    struct gguf *g = open_ok(path);
    assert_int_equal(gguf_n_kv(g), 1);
    gguf_close(g);
    free(before);
}

/* ---- Ceilings: one below, at, one above -------------------------------------------------------
 */

static void expect_open(const char *path, bool accepted, const char *what) {
    struct err e = {0};
    struct gguf *g = gguf_open(path, &e);
    if (accepted && !g) fail_msg("%s: refused: %s", what, e.msg);
    if (!accepted && g) fail_msg("%s: accepted", what);
    if (!accepted && !strstr(e.msg, "at most")) fail_msg("%s: %s", what, e.msg);
    gguf_close(g);
}

static void put_u32(FILE *f, uint32_t v) {
    fwrite(&v, sizeof v, 1, f);
}

static void put_u64(FILE *f, uint64_t v) {
    fwrite(&v, sizeof v, 1, f);
}

static FILE *begin_file(const char *path, uint64_t n_tensor, uint64_t n_kv) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fwrite("GGUF", 1, 4, f);
    put_u32(f, 3);
    put_u64(f, n_tensor);
    put_u64(f, n_kv);
    return f;
}

/* n zero bytes that take no room on the disk. */
static void put_hole(FILE *f, size_t n) {
    fseek(f, (long)n - 1, SEEK_CUR);
    fputc(0, f);
}

static void limit_of_counts(void **s) {
    (void)s;
    const char *path = in_dir("counts.gguf");
    for (int n = GGUF_MAX_KV - 1; n <= GGUF_MAX_KV + 1; n++) {
        FILE *f = begin_file(path, 0, (uint64_t)n);
        for (int i = 0; i < n; i++) {
            put_u64(f, 6);
            fprintf(f, "%06d", i);
            put_u32(f, GGUF_U8);
            fputc(1, f);
        }
        fclose(f);
        expect_open(path, n <= GGUF_MAX_KV, "keys");
    }
    for (int n = GGUF_MAX_TENSORS - 1; n <= GGUF_MAX_TENSORS + 1; n++) {
        FILE *f = begin_file(path, (uint64_t)n, 0);
        for (int i = 0; i < n; i++) {
            put_u64(f, 6);
            fprintf(f, "%06d", i);
            put_u32(f, 1);
            put_u64(f, 1);
            put_u32(f, QT_F32);
            put_u64(f, (uint64_t)i * 32);
        }
        put_hole(f, (size_t)n * 32 + 32);
        fclose(f);
        expect_open(path, n <= GGUF_MAX_TENSORS, "tensors");
    }
}

static void limit_of_lengths(void **s) {
    (void)s;
    const char *path = in_dir("lengths.gguf");
    for (int d = -1; d <= 1; d++) {
        char *text = malloc(GGUF_MAX_STRING_BYTES + 1);
        memset(text, 'x', GGUF_MAX_STRING_BYTES + 1);
        FILE *f = begin_file(path, 0, 1);
        put_u64(f, (uint64_t)(GGUF_MAX_KEY_BYTES + d));
        fwrite(text, 1, (size_t)(GGUF_MAX_KEY_BYTES + d), f);
        put_u32(f, GGUF_BOOL);
        fputc(1, f);
        fclose(f);
        expect_open(path, d <= 0, "key length");

        f = begin_file(path, 0, 1);
        put_u64(f, 1);
        fputc('k', f);
        put_u32(f, GGUF_STR);
        put_u64(f, (uint64_t)(GGUF_MAX_STRING_BYTES + d));
        put_hole(f, (size_t)(GGUF_MAX_STRING_BYTES + d));
        fclose(f);
        expect_open(path, d <= 0, "string length");

        f = begin_file(path, 0, 1);
        put_u64(f, 1);
        fputc('k', f);
        put_u32(f, GGUF_ARR);
        put_u32(f, GGUF_U8);
        put_u64(f, (uint64_t)(GGUF_MAX_ARRAY + d));
        put_hole(f, (size_t)(GGUF_MAX_ARRAY + d));
        fclose(f);
        expect_open(path, d <= 0, "array length");

        f = begin_file(path, 1, 0);
        put_u64(f, (uint64_t)(GGUF_MAX_NAME_BYTES + d));
        fwrite(text, 1, (size_t)(GGUF_MAX_NAME_BYTES + d), f);
        put_u32(f, 1);
        put_u64(f, 1);
        put_u32(f, QT_F32);
        put_u64(f, 0);
        put_hole(f, 64);
        fclose(f);
        expect_open(path, d <= 0, "tensor name length");
        free(text);
    }
}

static int setup(void **s) {
    (void)s;
    dir = temp_folder();
    return 0;
}

static int teardown(void **s) {
    (void)s;
    temp_remove(dir);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seed_reads_back),        cmocka_unit_test(version_2_opens),
        cmocka_unit_test(values_are_typed),       cmocka_unit_test(big_vocabulary_is_fast),
        cmocka_unit_test(copies_are_equal),       cmocka_unit_test(golden_models_open_and_copy),
        cmocka_unit_test(setting_again_replaces), cmocka_unit_test(writer_refuses),
        cmocka_unit_test(old_file_stays),         cmocka_unit_test(limit_of_counts),
        cmocka_unit_test(limit_of_lengths),
    };
    return cmocka_run_group_tests(tests, setup, teardown);
}
