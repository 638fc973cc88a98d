/* Models to train from scratch: shapes and their bounds, what is in the file, that it runs. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "gguf/read.h"
#include "train/scratch.h"

static char *dir;
static struct bpe_tokens tokens; /* a small tokenizer */

static const char prose[] =
    "The river had risen in the night, and by morning the lower meadow was a sheet of brown water "
    "with the tops of the fence posts standing out of it in a crooked line. Nobody in the village "
    "was surprised. It had happened three times in ten years, always in the first week of March.\n";

static int set_up(void **state) {
    (void)state;
    struct err e;
    dir = temp_folder();
    struct bpe_trainer *t = bpe_trainer_new(&(struct bpe_opts){.n_vocab = 300}, &e);
    const bool ok =
        t && bpe_trainer_add(t, STR(prose), &e) == 0 && bpe_trainer_learn(t, &tokens, &e) == 0;
    bpe_trainer_free(t);
    return ok ? 0 : -1;
}

static int tear_down(void **state) {
    (void)state;
    bpe_tokens_fini(&tokens);
    temp_remove(dir);
    return 0;
}

static const char *temp(const char *name) {
    static char ring[4][600];
    static int at;
    char *b = ring[at++ & 3];
    snprintf(b, sizeof ring[0], "%s/%s", dir, name);
    return b;
}

static struct gguf *make(const char *path, struct scratch_shape shape, uint64_t seed) {
    struct err e;
    if (scratch_shape_fill(&shape, &e) != 0) fail_msg("%s", e.msg);
    const struct scratch_opts o = {.shape = shape, .name = "tiny", .seed = seed, .learnt = &tokens};
    if (scratch_write(path, &o, &e) != 0) fail_msg("%s", e.msg);
    struct gguf *g = gguf_open(path, &e);
    if (!g) fail_msg("%s", e.msg);
    return g;
}

static const float *values(const struct gguf *g, const char *name, size_t *n) {
    const struct gguf_tensor *t = gguf_tensor(g, name);
    if (!t) fail_msg("no tensor %s", name);
    assert_int_equal(t->type, QT_F32);
    *n = t->n_bytes / sizeof(float);
    return (const float *)(const void *)t->data;
}

/* Mean 0 and the deviation, within five standard errors; a normal's fourth moment, roughly. */
static void is_normal(const struct gguf *g, const char *name, double deviation) {
    size_t n;
    const float *x = values(g, name, &n);
    double sum = 0, sq = 0, fourth = 0;
    for (size_t i = 0; i < n; i++) {
        const double v = (double)x[i] / deviation;
        sum += v, sq += v * v, fourth += v * v * v * v;
    }
    const double dn = (double)n;
    if (fabs(sum / dn) > 5 / sqrt(dn)) fail_msg("%s: mean %g", name, sum / dn);
    if (fabs(sq / dn - 1) > 5 * sqrt(2 / dn)) fail_msg("%s: variance %g", name, sq / dn);
    if (fabs(fourth / dn - 3) > 5 * sqrt(96 / dn)) fail_msg("%s: kurtosis %g", name, fourth / dn);
}

static void is_ones(const struct gguf *g, const char *name) {
    size_t n;
    const float *x = values(g, name, &n);
    for (size_t i = 0; i < n; i++)
        if (x[i] != 1) fail_msg("%s[%zu] is %g", name, i, (double)x[i]);
}

static void test_weights(void **state) {
    (void)state;
    const struct scratch_shape s = {
        .n_embd = 128, .n_layer = 8, .n_head = 4, .n_kv_head = 2, .n_ff = 320, .untied = true};
    struct gguf *g = make(temp("w.gguf"), s, 7);
    is_normal(g, "token_embd.weight", 0.02);
    is_normal(g, "output.weight", 0.02);
    is_normal(g, "blk.0.attn_q.weight", 0.02);
    is_normal(g, "blk.7.attn_k.weight", 0.02);
    is_normal(g, "blk.3.attn_v.weight", 0.02);
    is_normal(g, "blk.3.ffn_gate.weight", 0.02);
    is_normal(g, "blk.3.ffn_up.weight", 0.02);
    is_normal(g, "blk.3.ffn_down.weight", 0.02 / 4);
    is_normal(g, "blk.7.attn_output.weight", 0.02 / 4);
    is_ones(g, "blk.0.attn_norm.weight");
    is_ones(g, "blk.7.ffn_norm.weight");
    is_ones(g, "output_norm.weight");
    assert_int_equal(gguf_tensor(g, "blk.0.attn_k.weight")->ne[1], 64);
    assert_int_equal(gguf_tensor(g, "token_embd.weight")->ne[1], tokens.n);
    gguf_close(g);
}

/* The count that is told before is that of the file. */
static void test_count(void **state) {
    (void)state;
    const struct scratch_shape shapes[] = {{0},
                                           {.untied = true, .n_layer = 1},
                                           {.n_embd = 96, .n_head = 6, .n_kv_head = 3, .n_ff = 7},
                                           {.n_embd = 2, .n_layer = 2}};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++) {
        struct scratch_shape s = shapes[i];
        struct err e;
        uint64_t n = 0;
        struct gguf *g = make(temp("n.gguf"), s, 0);
        for (int k = 0; k < gguf_n_tensor(g); k++)
            n += gguf_tensor_at(g, k)->n_bytes / sizeof(float);
        assert_int_equal(scratch_shape_fill(&s, &e), 0);
        assert_int_equal(scratch_n_param(&s, tokens.n), n);
        assert_int_equal(gguf_tensor(g, "output.weight") != NULL, s.untied);
        gguf_close(g);
    }
}

/* The seed decides, and nothing else: not what other tensors there are. */
static void test_seed(void **state) {
    (void)state;
    const struct scratch_shape two = {.n_embd = 64, .n_layer = 2}, tied = {.n_embd = 64};
    size_t n[4];
    struct gguf *a = make(temp("a.gguf"), two, 1), *b = make(temp("b.gguf"), two, 1),
                *c = make(temp("c.gguf"), two, 2), *d = make(temp("d.gguf"), tied, 1);
    const char *const name = "blk.1.ffn_up.weight";
    const float *x = values(a, name, &n[0]), *same = values(b, name, &n[1]),
                *other = values(c, name, &n[2]), *longer = values(d, name, &n[3]);
    assert_memory_equal(x, same, n[0] * sizeof *x);
    assert_memory_equal(x, longer, n[0] * sizeof *x);
    assert_memory_not_equal(x, other, n[0] * sizeof *x);
    assert_memory_not_equal(x, values(a, "blk.0.ffn_up.weight", &n[1]), n[0] * sizeof *x);
    gguf_close(a), gguf_close(b), gguf_close(c), gguf_close(d);
}

static void refuses(struct scratch_shape s, const char *says) {
    struct err e = {0};
    assert_int_equal(scratch_shape_fill(&s, &e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    if (!strstr(e.msg, says)) fail_msg("\"%s\" is not in: %s", says, e.msg);
}

static void test_bounds(void **state) {
    (void)state;
    struct err e;
    struct scratch_shape s = {0};
    assert_int_equal(scratch_shape_fill(&s, &e), 0);
    assert_true(s.n_embd == 256 && s.n_layer == 6 && s.n_head == 4 && s.n_kv_head == 4 &&
                s.n_ff == 768 && s.n_ctx == 1024 && !s.untied);
    refuses((struct scratch_shape){.n_embd = -1}, "embedding length: found -1");
    refuses((struct scratch_shape){.n_embd = INT32_MAX}, "embedding length: found 2147483647");
    refuses((struct scratch_shape){.n_layer = 513}, "layers: found 513; 1 to 512");
    refuses((struct scratch_shape){.n_head = 3}, "heads: found 3 for an embedding of 256");
    refuses((struct scratch_shape){.n_embd = 12, .n_head = 4}, "even parts");
    refuses((struct scratch_shape){.n_embd = 2048, .n_head = 1}, "at most 512");
    refuses((struct scratch_shape){.n_kv_head = 3}, "KV heads: found 3");
    refuses((struct scratch_shape){.n_kv_head = 8}, "KV heads: found 8");
    refuses((struct scratch_shape){.n_ctx = -5}, "context: found -5");
    refuses((struct scratch_shape){.rope_base = NAN}, "RoPE base");
    /* No folder, no file, no rest of one. */
    s = (struct scratch_shape){.n_embd = 32};
    assert_int_equal(scratch_shape_fill(&s, &e), 0);
    const struct scratch_opts o = {.shape = s, .name = "x", .learnt = &tokens};
    assert_int_equal(scratch_write(temp("no/such/folder.gguf"), &o, &e), -1);
    assert_true(e.code == ERR_NOT_FOUND || e.code == ERR_IO);
}

/* Another model's tokenizer, whole; a file without one. */
static void test_borrowed_tokenizer(void **state) {
    (void)state;
    struct err e;
    struct scratch_shape s = {.n_embd = 32, .n_layer = 1};
    int n = 0;
    struct gguf *from = gguf_open(golden("models/llama32.gguf"), &e);
    assert_non_null(from);
    assert_int_equal(scratch_shape_fill(&s, &e), 0);
    const struct scratch_opts o = {.shape = s, .name = "x", .tokenizer = from};
    if (scratch_write(temp("t.gguf"), &o, &e) != 0) fail_msg("%s", e.msg);
    struct gguf *g = gguf_open(temp("t.gguf"), &e);
    assert_non_null(g);
    int n_key = 0;
    for (int i = 0; i < gguf_n_kv(from); i++) {
        const struct gguf_kv *kv = gguf_kv_at(from, i);
        char key[128];
        if (!str_starts(kv->key, STR("tokenizer."))) continue;
        snprintf(key, sizeof key, "%.*s", (int)kv->key.n, kv->key.p);
        const struct gguf_kv *copy = gguf_find(g, key);
        assert_true(copy && copy->n == kv->n && copy->n_bytes == kv->n_bytes);
        assert_memory_equal(copy->data, kv->data, kv->n_bytes);
        n_key++;
    }
    assert_true(n_key >= 5);
    assert_int_equal(scratch_n_vocab(g, &n, &e), 0);
    assert_int_equal(gguf_tensor(g, "token_embd.weight")->ne[1], n);
    gguf_close(g);
    gguf_close(from);
    from = gguf_open(golden("lora/llama32.lora-qv.gguf"), &e);
    assert_non_null(from);
    const struct scratch_opts none = {.shape = s, .name = "x", .tokenizer = from};
    assert_int_equal(scratch_write(temp("none.gguf"), &none, &e), -1);
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    gguf_close(from);
}

#define RUN(r, ...) run_cria(&(r), (const char *const[]){__VA_ARGS__, NULL}, "", 0, 60)

/* A fresh model answers (noise), is shown, and foretells as well as dice do. */
static void test_runs(void **state) {
    (void)state;
    struct ran r;
    const struct scratch_shape s = {.n_embd = 64, .n_layer = 2, .n_head = 4, .n_kv_head = 2};
    const char *path = temp("run.gguf"), *text = temp("text.txt");
    gguf_close(make(path, s, 3));
    if (RUN(r, "run", path, "Hello", "-o", "num_predict=8", "-o", "seed=1") != 0)
        fail_msg("run: %s", r.err.p);
    assert_true(r.out.n > 1);
    ran_fini(&r);
    if (RUN(r, "show", path) != 0) fail_msg("show: %s", r.err.p);
    if (!strstr(r.out.p, "architecture        llama") ||
        !strstr(r.out.p, "quantization        F32"))
        fail_msg("%s", r.out.p);
    ran_fini(&r);
    FILE *f = fopen(text, "w");
    assert_non_null(f);
    fputs(prose, f);
    fclose(f);
    if (RUN(r, "perplexity", path, text, "--json") != 0) fail_msg("perplexity: %s", r.err.p);
    json_t *j = json_loads(r.out.p, 0, NULL);
    const double nll = json_real_value(json_object_get(j, "nll"));
    if (fabs(nll - log(tokens.n)) > 0.1)
        fail_msg("loss %g; ln %d = %g", nll, tokens.n, log(tokens.n));
    json_decref(j);
    ran_fini(&r);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_weights),
        cmocka_unit_test(test_count),
        cmocka_unit_test(test_seed),
        cmocka_unit_test(test_bounds),
        cmocka_unit_test(test_borrowed_tokenizer),
        cmocka_unit_test(test_runs),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
