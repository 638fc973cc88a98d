/* The quantizer: element types as the reference chooses them, errors at or below its, and a result
 * that depends on nothing but the input. */
#include "support.h"

#include <math.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "engine/imatrix.h"
#include "engine/quantize.h"
#include "gguf/write.h"
#include "quant/quant.h"

static char *dir; /* a temporary folder for this run */

static const char *temp(const char *name) {
    static char ring[4][512];
    static int at;
    char *b = ring[at++ & 3];
    snprintf(b, sizeof ring[0], "%s/%s", dir, name);
    return b;
}

static int set_up(void **state) {
    (void)state;
    dir = temp_folder();
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

static struct gguf *open_or_fail(const char *path) {
    struct err e;
    struct gguf *g = gguf_open(path, &e);
    if (!g) fail_msg("%s", e.msg);
    return g;
}

static void quantize(const char *in, const char *out, const char *type, bool pure,
                     const char *imatrix, int n_threads) {
    const struct quantize_opts o = {
        .mix = mix_by_name(type), .pure = pure, .imatrix_path = imatrix};
    struct err e;
    struct quantizer *q = quantize_new(in, &o, &e);
    if (!q || quantize_run(q, out, n_threads, NULL, NULL, &e) != 0) fail_msg("%s: %s", type, e.msg);
    quantize_free(q);
}

static float *decoded(const struct gguf_tensor *t, size_t *n) {
    *n = (size_t)(t->ne[0] * t->ne[1] * t->ne[2] * t->ne[3]);
    float *x = malloc(*n * sizeof *x);
    quant_type(t->type)->decode(t->data, x, *n);
    return x;
}

/* Weighted when w is given: [columns]. */
static double rmse(const struct gguf_tensor *a, const struct gguf_tensor *b, const float *w) {
    size_t n, m;
    float *x = decoded(a, &n), *y = decoded(b, &m);
    double sum = 0, sum_w = 0;
    assert_int_equal(n, m);
    for (size_t i = 0; i < n; i++) {
        const double d = (double)x[i] - y[i], wi = w ? w[i % (size_t)a->ne[0]] : 1.0;
        sum += wi * d * d;
        sum_w += wi;
    }
    free(x), free(y);
    return sqrt(sum / sum_w);
}

/* ---- against the reference's files ---- */

/* The types without a choice: their bytes must be the reference's. */
static bool same_bytes_expected(enum qtype t) {
    return t == QT_F32 || t == QT_F16 || t == QT_BF16 || t == QT_Q8_0 || t == QT_Q4_0 ||
           t == QT_Q4_1 || t == QT_Q5_0 || t == QT_Q5_1 || t == QT_MXFP4;
}

/* Without the unquantized source (no_source), only the types can be compared. */
static void compare_with(const char *source, const char *ours, const char *golden_path,
                         const struct imatrix *im, bool no_source) {
    struct gguf *src = open_or_fail(source), *got = open_or_fail(ours),
                *want = open_or_fail(golden_path);
    uint32_t id[2] = {0, 1};
    struct err e;
    assert_int_equal(gguf_get_u32(got, "general.file_type", &id[0], &e), 1);
    assert_int_equal(gguf_get_u32(want, "general.file_type", &id[1], &e), 1);
    assert_int_equal(id[0], id[1]);
    assert_int_equal(gguf_n_tensor(got), gguf_n_tensor(want));
    for (int i = 0; i < gguf_n_tensor(src); i++) {
        const struct gguf_tensor *s = gguf_tensor_at(src, i), *a = gguf_tensor(got, s->name),
                                 *b = gguf_tensor(want, s->name);
        int64_t n;
        const float *w = im ? imatrix_find(im, s->name, &n) : NULL;
        assert_non_null(a);
        assert_non_null(b);
        if (a->type != b->type)
            fail_msg("%s: %s is %s, the reference has %s", golden_path, s->name,
                     qtype_name(a->type), qtype_name(b->type));
        if (no_source) continue;
        if (!w && same_bytes_expected(a->type) && memcmp(a->data, b->data, a->n_bytes) != 0)
            fail_msg("%s: bytes of %s (%s) differ", golden_path, s->name, qtype_name(a->type));
        const double ra = rmse(s, a, w), rb = rmse(s, b, w);
        if (ra > rb * (1 + 1e-6))
            fail_msg("%s: %s has an RMSE of %g, the reference %g", golden_path, s->name, ra, rb);
    }
    gguf_close(src), gguf_close(got), gguf_close(want);
}

/* The reference's importance values as text and raw floats, to a binary importance file. */
static void write_dat(const char *stem, const char *path) {
    char rel[200], name[128];
    size_t n_all;
    long at, n;
    snprintf(rel, sizeof rel, "models-quant/imatrix-%s.f32", stem);
    float *v = slurp_f32(golden(rel), &n_all);
    snprintf(rel, sizeof rel, "models-quant/imatrix-%s.txt", stem);
    FILE *in = fopen(golden(rel), "r"), *out = fopen(path, "wb");
    assert_non_null(in);
    int32_t count = 0;
    fwrite(&count, 4, 1, out);
    while (fscanf(in, "%127s %ld %ld", name, &at, &n) == 3) {
        const int32_t head[2] = {1, (int32_t)n}, n_name = (int32_t)strlen(name);
        fwrite(&n_name, 4, 1, out);
        fwrite(name, 1, (size_t)n_name, out);
        fwrite(head, 4, 2, out);
        fwrite(v + at, 4, (size_t)n, out);
        count++;
    }
    rewind(out);
    fwrite(&count, 4, 1, out);
    fclose(in), fclose(out);
    free(v);
    assert_true(count >= 10);
}

/* The reference was given importance values for these. */
static bool with_imatrix(const char *type) {
    return strncmp(type, "IQ1", 3) == 0 || strncmp(type, "IQ2", 3) == 0 ||
           strcmp(type, "IQ3_XXS") == 0 || strcmp(type, "IQ3_XS") == 0 ||
           strcmp(type, "Q2_K_S") == 0;
}

static void test_golden_files(void **state) {
    (void)state;
    char **names = golden_names("models-quant", ".gguf", 2);
    int n_done = 0;
    for (char **p = names; *p; p++) {
        char model[64], type[64], rel[200], source[512], dat[80] = "";
        if (sscanf(*p, "%63[^.].%63[^.].gguf", model, type) != 2) fail_msg("%s", *p);
        const bool pure = strncmp(type, "pure-", 5) == 0;
        const char *mix = pure ? "Q4_K_S" : type; /* as the reference was asked */
        const bool no_source = strcmp(model, "mixtralq") == 0;
        snprintf(rel, sizeof rel, no_source ? "models-quant/%s.Q6_K.gguf" : "models/%s.gguf",
                 model);
        snprintf(source, sizeof source, "%s", golden(rel));
        /* The project's own part of the data has some quantized files without their source. */
        if (!golden_is_full() && access(source, F_OK) != 0) continue;
        struct imatrix *im = NULL;
        if (with_imatrix(type)) {
            snprintf(dat, sizeof dat, "%s.dat", model);
            write_dat(model, temp(dat));
            im = imatrix_open(temp(dat), NULL);
            assert_non_null(im);
        }
        quantize(source, temp("out.gguf"), mix, pure, im ? temp(dat) : NULL, 2);
        snprintf(rel, sizeof rel, "models-quant/%s", *p);
        compare_with(source, temp("out.gguf"), golden(rel), im, no_source);
        imatrix_close(im);
        n_done++;
    }
    names_free(names);
    assert_true(golden_is_full() ? n_done == 48 : n_done >= 2);
}

/* ---- made-up models ---- */

/* A matrix [rows][cols] of noise; 1-D when rows is 0. */
struct matrix {
    const char *name;
    int cols, rows, experts;
};

struct facts {
    const char *arch;
    uint32_t n_layer, n_head, n_kv_head, n_expert;
};

static void write_model(const char *path, const struct facts *f, const struct matrix *m, int n,
                        enum qtype type, float poison) {
    struct err e;
    char key[128];
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    if (!w) fail_msg("%s", e.msg);
    const struct {
        const char *key;
        uint32_t v;
    } u[] = {{"block_count", f->n_layer},
             {"attention.head_count", f->n_head},
             {"attention.head_count_kv", f->n_kv_head},
             {"expert_count", f->n_expert}};
    assert_int_equal(gguf_set_str(w, "general.architecture", str_of(f->arch), &e), 0);
    for (size_t i = 0; i < 4; i++) {
        snprintf(key, sizeof key, "%s.%s", f->arch, u[i].key);
        assert_int_equal(gguf_set_u32(w, key, u[i].v, &e), 0);
    }
    for (int i = 0; i < n; i++) {
        const int64_t ne[4] = {m[i].cols, m[i].rows, m[i].experts, 1};
        const int n_dim = m[i].rows == 0 ? 1 : m[i].experts > 1 ? 3 : 2;
        if (gguf_add_tensor(w, m[i].name, m[i].rows ? type : QT_F32, n_dim, ne, &e) != 0)
            fail_msg("%s", e.msg);
    }
    uint32_t seed = 1;
    for (int i = 0; i < n; i++) {
        const size_t k = (size_t)m[i].cols * (size_t)(m[i].rows ? m[i].rows : 1) *
                         (size_t)(m[i].experts > 1 ? m[i].experts : 1);
        float *x = malloc(k * sizeof *x);
        uint8_t *blocks = malloc(k * sizeof *x);
        for (size_t j = 0; j < k; j++) {
            seed = seed * 1664525u + 1013904223u;
            x[j] = ((float)(seed >> 8) / 8388608.0f - 1.0f) * 0.1f;
        }
        if (poison != 0 && m[i].rows) x[k - 3] = poison;
        const enum qtype t = m[i].rows ? type : QT_F32;
        quant_type(t)->encode(x, blocks, k, NULL);
        const struct qtype_geom *g = qtype_geom(t);
        const size_t bytes = k / (size_t)g->block * (size_t)g->block_bytes;
        assert_int_equal(gguf_write_data(w, blocks, bytes, &e), 0);
        free(x), free(blocks);
    }
    if (gguf_writer_finish(w, &e) != 0) fail_msg("%s", e.msg);
}

/* The types of `part` tensors over the layers, as "q6 q4 ..." would be: one letter each. */
static void layer_types(const struct facts *f, const char *type, const char *part, char *out) {
    struct matrix m[3 * 40];
    char names[3 * 40][64];
    struct err e;
    int n = 0;
    for (uint32_t l = 0; l < f->n_layer; l++)
        for (int k = 0; k < 3; k++, n++) {
            static const char *const parts[] = {"attn_v", "ffn_down", "attn_output"};
            snprintf(names[n], sizeof names[n], "blk.%u.%s.weight", l, parts[k]);
            m[n] = (struct matrix){names[n], 256, 1, 1};
        }
    write_model(temp("layers.gguf"), f, m, n, QT_F16, 0);
    const struct quantize_opts o = {.mix = mix_by_name(type)};
    struct quantizer *q = quantize_new(temp("layers.gguf"), &o, &e);
    if (!q) fail_msg("%s", e.msg);
    const struct quantize_tensor *t = quantize_tensors(q);
    for (int i = 0; i < n; i++)
        if (strstr(t[i].src->name, part)) *out++ = qtype_name(t[i].type)[1];
    *out = 0;
    quantize_free(q);
}

/* Which layers get more bits.  The expected strings follow llama.cpp's rules for these shapes. */
static void test_layer_rules(void **state) {
    (void)state;
    const struct facts llama7 = {"llama", 32, 32, 32, 0}, gqa = {"llama", 16, 32, 8, 0},
                       mixtral = {"llama", 16, 32, 8, 8}, falcon = {"falcon", 32, 71, 1, 0};
    const struct {
        const struct facts *f;
        const char *type, *part, *want;
    } cases[] = {
        {&llama7, "Q4_K_M", "attn_v", "66664464464464464464464464466666"},
        {&llama7, "Q4_K_M", "ffn_down", "66664464464464464464464464466666"},
        {&llama7, "Q4_K_S", "attn_v", "55554444444444444444444444444444"},
        {&llama7, "Q4_K_S", "ffn_down", "55554444444444444444444444444444"},
        {&llama7, "Q3_K_M", "attn_v", "55444444444444444444444444444444"},
        {&llama7, "Q3_K_M", "ffn_down", "55444444444444444444444444444444"},
        {&llama7, "Q3_K_M", "attn_output", "44444444444444444444444444444444"},
        {&llama7, "Q3_K_L", "ffn_down", "55555555555555555555555555555555"},
        {&llama7, "Q2_K", "attn_v", "33333333333333333333333333333333"},
        {&gqa, "Q2_K", "attn_v", "4444444444444444"},
        {&gqa, "Q5_K_M", "attn_v", "6655655655655666"},
        {&gqa, "Q6_K", "attn_v", "6666666666666666"},
        {&mixtral, "Q4_K_M", "attn_v", "8888888888888888"},
        {&mixtral, "Q4_K_M", "attn_output", "5555555555555555"},
        {&mixtral, "Q4_K_M", "ffn_down", "6644644644644666"},
        {&falcon, "Q4_K_M", "ffn_down", "66554454454454454454454454455555"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char got[64];
        layer_types(cases[i].f, cases[i].type, cases[i].part, got);
        if (strcmp(got, cases[i].want) != 0)
            fail_msg("%s %s %s: %s; expected %s", cases[i].f->arch, cases[i].type, cases[i].part,
                     got, cases[i].want);
    }
}

/* Rows that fill no super-block. */
static void test_fallback(void **state) {
    (void)state;
    static const struct matrix m[] = {{"blk.0.attn_q.weight", 96, 4, 1},
                                      {"blk.0.ffn_up.weight", 40, 4, 1},
                                      {"blk.0.attn_norm.weight", 96, 0, 1},
                                      {"blk.0.ffn_gate_inp.weight", 96, 8, 1},
                                      {"output.weight", 96, 4, 1}};
    static const struct {
        const char *type;
        enum qtype q, out;
    } cases[] = {{"Q4_K_M", QT_Q5_0, QT_Q8_0}, {"Q5_K_S", QT_Q5_1, QT_Q8_0},
                 {"Q6_K", QT_Q8_0, QT_Q8_0},   {"Q2_K", QT_Q4_0, QT_Q8_0},
                 {"Q3_K_S", QT_Q4_0, QT_Q8_0}, {"IQ4_XS", QT_IQ4_NL, QT_Q8_0},
                 {"Q8_0", QT_Q8_0, QT_Q8_0},   {"BF16", QT_BF16, QT_BF16}};
    const struct facts f = {"llama", 1, 4, 4, 0};
    write_model(temp("narrow.gguf"), &f, m, 5, QT_F32, 0);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        quantize(temp("narrow.gguf"), temp("out.gguf"), cases[i].type, false, NULL, 1);
        struct gguf *g = open_or_fail(temp("out.gguf"));
        assert_int_equal(gguf_tensor(g, m[0].name)->type, cases[i].q);
        if (cases[i].q == QT_BF16)
            assert_int_equal(gguf_tensor(g, m[1].name)->type, QT_BF16);
        else
            assert_int_equal(gguf_tensor(g, m[1].name)->type, QT_F16);
        assert_int_equal(gguf_tensor(g, m[2].name)->type, QT_F32);
        assert_int_equal(gguf_tensor(g, m[3].name)->type, QT_F32);
        assert_int_equal(gguf_tensor(g, m[4].name)->type, cases[i].out);
        gguf_close(g);
    }
}

static const struct matrix mixed[] = {{"token_embd.weight", 256, 50, 1},
                                      {"blk.0.attn_v.weight", 256, 3, 1},
                                      {"blk.0.ffn_down_exps.weight", 512, 7, 3},
                                      {"blk.0.ffn_norm.weight", 256, 0, 1},
                                      /* longer than a piece, and not a multiple of one */
                                      {"blk.0.attn_q.weight", 8192 + 512, 5, 1},
                                      {"output.weight", 256, 50, 1}};
enum { N_MIXED = 6 };
static const struct facts mixed_facts = {"llama", 1, 8, 2, 3};

/* The same bytes from any number of threads, also where rows are cut. */
static void test_threads(void **state) {
    (void)state;
    write_model(temp("in.gguf"), &mixed_facts, mixed, N_MIXED, QT_F16, 0);
    static const char *const types[] = {"Q4_K_M", "Q3_K_S", "Q6_K", "IQ4_NL", "Q8_0", "TQ1_0"};
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        size_t n[3];
        uint8_t *b[3];
        for (int k = 0; k < 3; k++) {
            quantize(temp("in.gguf"), temp("out.gguf"), types[i], false, NULL, 1 + 2 * k);
            b[k] = slurp(temp("out.gguf"), &n[k]);
        }
        for (int k = 1; k < 3; k++) {
            assert_int_equal(n[k], n[0]);
            assert_memory_equal(b[k], b[0], n[0]);
        }
        for (int k = 0; k < 3; k++)
            free(b[k]);
    }
}

/* What the quantizer reports is what a look at the file says. */
static void test_report(void **state) {
    (void)state;
    struct err e;
    write_model(temp("in.gguf"), &mixed_facts, mixed, N_MIXED, QT_F16, 0);
    const struct quantize_opts o = {.mix = mix_by_name("Q5_K_M")};
    struct quantizer *q = quantize_new(temp("in.gguf"), &o, &e);
    assert_non_null(q);
    assert_int_equal(quantize_run(q, temp("out.gguf"), 2, NULL, NULL, &e), 0);
    struct gguf *in = open_or_fail(temp("in.gguf")), *out = open_or_fail(temp("out.gguf"));
    for (int i = 0; i < N_MIXED; i++) {
        const struct quantize_tensor *t = &quantize_tensors(q)[i];
        const struct gguf_tensor *b = gguf_tensor(out, t->src->name);
        assert_int_equal(b->type, t->type);
        assert_int_equal(b->n_bytes, t->n_bytes);
        const double want = rmse(gguf_tensor(in, t->src->name), b, NULL);
        assert_true(fabs(t->rmse - want) <= 1e-9 * want);
        assert_true(b->n_dim == 1 ? t->rmse == 0 : t->rmse > 0 && t->rmse < 0.1 * t->rms);
    }
    struct quantize_summary s;
    quantize_summarize(q, &s);
    assert_int_equal(s.n_requantize, 0);
    assert_true(s.rmse > 0);
    gguf_close(in), gguf_close(out);
    quantize_free(q);
}

/* From quantized to quantized: allowed, and said. */
static void test_requantize(void **state) {
    (void)state;
    struct err e;
    struct quantize_summary s;
    write_model(temp("in.gguf"), &mixed_facts, mixed, N_MIXED, QT_Q8_0, 0);
    const struct quantize_opts o = {.mix = mix_by_name("Q4_0"), .pure = true};
    struct quantizer *q = quantize_new(temp("in.gguf"), &o, &e);
    assert_non_null(q);
    assert_int_equal(quantize_run(q, temp("out.gguf"), 2, NULL, NULL, &e), 0);
    quantize_summarize(q, &s);
    assert_int_equal(s.n_requantize, 5);
    quantize_free(q);
}

/* The writer leaves split.* keys out: write them under another name, then patch the file. */
static void write_split(const char *path, int no, int first, int end) {
    struct err e;
    size_t n;
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    assert_non_null(w);
    if (no == 0) gguf_set_str(w, "general.architecture", STR("llama"), &e);
    gguf_set_u32(w, "xplit.no", (uint32_t)no, &e);
    gguf_set_u32(w, "xplit.count", 2, &e);
    gguf_set_u32(w, "xplit.tensors.count", N_MIXED, &e);
    for (int pass = 0; pass < 2; pass++)
        for (int i = first; i < end; i++) {
            const struct matrix *m = &mixed[i];
            const int64_t ne[3] = {m->cols, m->rows ? m->rows : 1, m->experts};
            if (pass == 0) {
                gguf_add_tensor(w, m->name, QT_F32, m->rows ? 3 : 1, ne, &e);
                continue;
            }
            for (int64_t k = 0; k < ne[0] * ne[1] * ne[2]; k++) {
                const float v = sinf((float)(k % 1009) * (float)(i + 1));
                gguf_write_data(w, &v, sizeof v, &e);
            }
        }
    if (gguf_writer_finish(w, &e) != 0) fail_msg("%s", e.msg);
    uint8_t *b = slurp(path, &n);
    for (size_t i = 0; i + 6 < n && i < 4096; i++)
        if (memcmp(b + i, "xplit.", 6) == 0) b[i] = 's';
    FILE *f = fopen(path, "wb");
    fwrite(b, 1, n, f);
    fclose(f);
    free(b);
}

static void test_split(void **state) {
    (void)state;
    struct err e;
    write_split(temp("s-00001-of-00002.gguf"), 0, 0, 3);
    write_split(temp("s-00002-of-00002.gguf"), 1, 3, N_MIXED);
    quantize(temp("s-00001-of-00002.gguf"), temp("out.gguf"), "Q8_0", false, NULL, 2);
    struct gguf *g = open_or_fail(temp("out.gguf"));
    assert_int_equal(gguf_n_split(g), 1);
    assert_int_equal(gguf_n_tensor(g), N_MIXED);
    assert_null(gguf_find(g, "split.count"));
    gguf_close(g);
    const struct quantize_opts o = {.mix = mix_by_name("Q8_0")};
    struct quantizer *q = quantize_new(temp("s-00001-of-00002.gguf"), &o, &e);
    assert_int_equal(quantize_run(q, temp("s-00002-of-00002.gguf"), 1, NULL, NULL, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    quantize_free(q);
}

/* ---- importance ---- */

/* Importance of the mixed model's matrices in both file formats: the same values. */
static float importance(int64_t i) {
    return (float)(i * 37 % 101 + 1) * 0.25f;
}

static void write_importance_dat(const char *path) {
    FILE *f = fopen(path, "wb");
    const int32_t n = 5, chunks = 7;
    fwrite(&n, 4, 1, f);
    for (int i = 0; i < N_MIXED; i++) {
        if (mixed[i].rows == 0) continue;
        const int32_t calls = 4, k = mixed[i].cols * mixed[i].experts,
                      len = (int32_t)strlen(mixed[i].name);
        fwrite(&len, 4, 1, f), fwrite(mixed[i].name, 1, (size_t)len, f);
        fwrite(&calls, 4, 1, f), fwrite(&k, 4, 1, f);
        for (int32_t j = 0; j < k; j++) {
            const float v = importance(j) * (float)calls;
            fwrite(&v, 4, 1, f);
        }
    }
    fwrite(&chunks, 4, 1, f);
    fclose(f);
}

static void write_importance_gguf(const char *path) {
    struct err e;
    char name[128];
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    assert_non_null(w);
    gguf_set_str(w, "general.type", STR("imatrix"), &e);
    gguf_set_u32(w, "imatrix.chunk_count", 7, &e);
    for (int i = 0; i < N_MIXED; i++) {
        if (mixed[i].rows == 0) continue;
        const int64_t sums[2] = {mixed[i].cols, mixed[i].experts}, counts[2] = {1, sums[1]};
        snprintf(name, sizeof name, "%s.in_sum2", mixed[i].name);
        assert_int_equal(gguf_add_tensor(w, name, QT_F32, 2, sums, &e), 0);
        snprintf(name, sizeof name, "%s.counts", mixed[i].name);
        assert_int_equal(gguf_add_tensor(w, name, QT_F32, 2, counts, &e), 0);
    }
    for (int i = 0; i < N_MIXED; i++) {
        const float calls = 8;
        if (mixed[i].rows == 0) continue;
        for (int64_t j = 0; j < mixed[i].cols * mixed[i].experts; j++) {
            const float v = importance(j) * calls;
            assert_int_equal(gguf_write_data(w, &v, sizeof v, &e), 0);
        }
        for (int k = 0; k < mixed[i].experts; k++)
            assert_int_equal(gguf_write_data(w, &calls, sizeof calls, &e), 0);
    }
    assert_int_equal(gguf_writer_finish(w, &e), 0);
}

static void test_importance(void **state) {
    (void)state;
    write_model(temp("in.gguf"), &mixed_facts, mixed, N_MIXED, QT_F32, 0);
    write_importance_dat(temp("imatrix.dat"));
    write_importance_gguf(temp("imatrix.gguf"));
    quantize(temp("in.gguf"), temp("plain.gguf"), "Q3_K_S", true, NULL, 2);
    quantize(temp("in.gguf"), temp("dat.gguf"), "Q3_K_S", true, temp("imatrix.dat"), 2);
    quantize(temp("in.gguf"), temp("new.gguf"), "Q3_K_S", true, temp("imatrix.gguf"), 1);
    struct gguf *src = open_or_fail(temp("in.gguf")), *plain = open_or_fail(temp("plain.gguf")),
                *dat = open_or_fail(temp("dat.gguf")), *gg = open_or_fail(temp("new.gguf"));
    for (int i = 0; i < N_MIXED; i++) {
        const struct gguf_tensor *s = gguf_tensor_at(src, i), *p = gguf_tensor(plain, s->name),
                                 *a = gguf_tensor(dat, s->name), *b = gguf_tensor(gg, s->name);
        assert_memory_equal(a->data, b->data, a->n_bytes);
        if (mixed[i].rows == 0 || mixed[i].experts > 1) continue;
        float *w = malloc((size_t)s->ne[0] * sizeof *w);
        for (int64_t j = 0; j < s->ne[0]; j++)
            w[j] = importance(j);
        assert_true(rmse(s, a, w) < rmse(s, p, w));
        assert_true(rmse(s, a, NULL) > rmse(s, p, NULL));
        free(w);
    }
    uint32_t chunks = 0;
    assert_int_equal(gguf_get_u32(dat, "quantize.imatrix.chunks_count", &chunks, NULL), 1);
    assert_int_equal(chunks, 7);
    gguf_close(src), gguf_close(plain), gguf_close(dat), gguf_close(gg);
}

static void test_bad_importance(void **state) {
    (void)state;
    size_t n;
    struct err e;
    int64_t k;
    write_importance_dat(temp("imatrix.dat"));
    uint8_t *b = slurp(temp("imatrix.dat"), &n);
    for (size_t cut = 0; cut < n - 4; cut = cut < 200 ? cut + 1 : cut + 997) {
        FILE *f = fopen(temp("cut.dat"), "wb");
        fwrite(b, 1, cut, f);
        fclose(f);
        if (imatrix_open(temp("cut.dat"), &e)) fail_msg("%zu of %zu bytes pass", cut, n);
    }
    const float bad = -1;
    memcpy(b + n - 40, &bad, 4);
    FILE *f = fopen(temp("cut.dat"), "wb");
    fwrite(b, 1, n, f);
    fclose(f);
    free(b);
    assert_null(imatrix_open(temp("cut.dat"), &e));
    assert_non_null(strstr(e.msg, "output.weight"));
    struct imatrix *m = imatrix_open(temp("imatrix.dat"), &e);
    assert_null(imatrix_find(m, "no such", &k));
    imatrix_close(m);
}

/* ---- refusals ---- */

static int try_quantize(const char *in, const char *out, const char *type, const char *imatrix,
                        struct err *e) {
    const struct quantize_opts o = {.mix = mix_by_name(type), .imatrix_path = imatrix};
    struct quantizer *q = quantize_new(in, &o, e);
    const int rc = q ? quantize_run(q, out, 2, NULL, NULL, e) : -1;
    quantize_free(q);
    return rc;
}

static void test_refusals(void **state) {
    (void)state;
    struct err e;
    const float odd[] = {NAN, INFINITY, -INFINITY};
    for (int i = 0; i < 3; i++) {
        write_model(temp("odd.gguf"), &mixed_facts, mixed, N_MIXED, QT_F16, odd[i]);
        assert_int_equal(try_quantize(temp("odd.gguf"), temp("no.gguf"), "Q4_K_M", NULL, &e), -1);
        assert_int_equal(e.code, ERR_FORMAT);
        assert_non_null(strstr(e.msg, "token_embd.weight, row 49, column 253"));
        assert_int_not_equal(access(temp("no.gguf"), F_OK), 0);
        assert_int_not_equal(access(temp("no.gguf.partial"), F_OK), 0);
    }
    write_model(temp("big.gguf"), &mixed_facts, mixed, N_MIXED, QT_F32, 1e6f);
    assert_int_equal(try_quantize(temp("big.gguf"), temp("no.gguf"), "F16", NULL, &e), -1);
    assert_non_null(strstr(e.msg, "does not fit"));
    assert_int_equal(try_quantize(temp("big.gguf"), temp("yes.gguf"), "BF16", NULL, &e), 0);

    write_model(temp("in.gguf"), &mixed_facts, mixed, N_MIXED, QT_F16, 0);
    assert_int_equal(try_quantize(temp("in.gguf"), temp("in.gguf"), "Q8_0", NULL, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    assert_int_equal(symlink(temp("in.gguf"), temp("link.gguf")), 0);
    assert_int_equal(try_quantize(temp("in.gguf"), temp("link.gguf"), "Q8_0", NULL, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    assert_int_equal(try_quantize(temp("none.gguf"), temp("no.gguf"), "Q8_0", NULL, &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    assert_int_equal(try_quantize(temp("in.gguf"), "/dev/full", "Q8_0", NULL, &e), -1);
    assert_int_equal(try_quantize(temp("in.gguf"), temp("no.gguf"), "Q8_0", temp("in.gguf"), &e),
                     -1);
    assert_non_null(strstr(e.msg, "importance"));
}

/* A write that fails half way leaves nothing. */
static void test_full_disk(void **state) {
    (void)state;
    struct err e;
    struct rlimit old, small;
    write_model(temp("in.gguf"), &mixed_facts, mixed, N_MIXED, QT_F16, 0);
    getrlimit(RLIMIT_FSIZE, &old);
    small = (struct rlimit){20000, old.rlim_max};
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &small);
    const int rc = try_quantize(temp("in.gguf"), temp("no.gguf"), "Q8_0", NULL, &e);
    setrlimit(RLIMIT_FSIZE, &old);
    assert_int_equal(rc, -1);
    assert_int_equal(e.code, ERR_IO);
    assert_int_not_equal(access(temp("no.gguf"), F_OK), 0);
    assert_int_not_equal(access(temp("no.gguf.partial"), F_OK), 0);
}

static int stop_at_once(void *ctx, double done) {
    (void)done;
    ++*(int *)ctx;
    return 1;
}

static void test_interrupt(void **state) {
    (void)state;
    struct err e;
    int n_call = 0;
    write_model(temp("in.gguf"), &mixed_facts, mixed, N_MIXED, QT_F16, 0);
    const struct quantize_opts o = {.mix = mix_by_name("Q4_K_M")};
    struct quantizer *q = quantize_new(temp("in.gguf"), &o, &e);
    assert_int_equal(quantize_run(q, temp("no.gguf"), 2, stop_at_once, &n_call, &e), -1);
    assert_int_equal(e.code, ERR_CANCELLED);
    assert_int_equal(n_call, 1);
    assert_int_not_equal(access(temp("no.gguf"), F_OK), 0);
    quantize_free(q);
}

/* ---- the command ---- */

static void test_command(void **state) {
    (void)state;
    struct ran r;
    const char *in = golden("models-quant/llamaq.Q4_K_M.gguf"), *out = temp("out.gguf");
    run_cria(&r, (const char *[]){"quantize", in, out, "q4_k_m", "--json", NULL}, NULL, 0, 20);
    assert_int_equal(r.code, 0);
    json_t *j = json_loads(r.out.p, 0, NULL);
    assert_int_equal(json_array_size(json_object_get(j, "tensors")), 21);
    assert_string_equal(json_string_value(json_object_get(j, "type")), "Q4_K_M");
    json_decref(j);
    ran_fini(&r);

    run_cria(&r, (const char *[]){"quantize", "--types", NULL}, NULL, 0, 20);
    assert_int_equal(r.code, 0);
    assert_non_null(strstr(r.out.p, "IQ3_XXS"));
    ran_fini(&r);

    const struct {
        const char *args[8], *says;
        int code;
    } cases[] = {
        {{"quantize", in, out}, "IN OUT TYPE", 2},
        {{"quantize", in, out, "Q4_K_X"}, "Q4_K_S Q4_K_M", 2},
        {{"quantize", in, out, "IQ2_XXS"}, "--imatrix", 0},
        {{"quantize", in, in, "Q4_0"}, "is the input", 2},
        {{"quantize", "nowhere.gguf", out, "Q4_0"}, "nowhere.gguf", 3},
        {{"quantize", in, "no/such/dir/x", "Q4_0"}, "no/such/dir", 3},
        {{"quantize", in, out, "Q4_0", "--imatrix", "nowhere.dat"}, "nowhere.dat", 3},
        {{"quantize", in, out, "Q4_0", "--threads", "0"}, "threads", 2},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        run_cria(&r, cases[i].args, NULL, 0, 20);
        if (r.code != cases[i].code || !strstr(r.err.p, cases[i].says))
            fail_msg("case %zu: exit %d, \"%s\"", i, r.code, r.err.p);
        ran_fini(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_golden_files), cmocka_unit_test(test_layer_rules),
        cmocka_unit_test(test_fallback),     cmocka_unit_test(test_threads),
        cmocka_unit_test(test_report),       cmocka_unit_test(test_requantize),
        cmocka_unit_test(test_importance),   cmocka_unit_test(test_bad_importance),
        cmocka_unit_test(test_refusals),     cmocka_unit_test(test_full_disk),
        cmocka_unit_test(test_interrupt),    cmocka_unit_test(test_split),
        cmocka_unit_test(test_command),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
