/* train/adapter_file.c: adapters to GGUF and back, and what a tuning can go on from. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/f16.h"
#include "cpu/cpu.h"
#include "gguf/write.h"
#include "toy.h"
#include "train/adapter_file.h"

static char *dir;
static char path[600], twin[600];

static int make_dir(void **state) {
    (void)state;
    dir = temp_folder();
    snprintf(path, sizeof path, "%s/a.gguf", dir);
    snprintf(twin, sizeof twin, "%s/b.gguf", dir);
    return 0;
}

static int remove_dir(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

/* ---- a base and the pairs declared for it ---- */

struct base {
    struct gguf *g;
    struct model *m;
};

static void base_open(struct base *b, const char *file) {
    struct err e;
    b->g = gguf_open(file, &e);
    if (!b->g) fail_msg("%s", e.msg);
    b->m = model_open(b->g, cpu_ops(), &e);
    if (!b->m) fail_msg("%s", e.msg);
}

static void base_toy(struct base *b, const struct toy *t) {
    char file[600];
    struct toy_model *m = toy_new(t, 3);
    snprintf(file, sizeof file, "%s/toy.gguf", dir);
    toy_write(m, file);
    toy_free(m);
    base_open(b, file);
}

static void base_close(struct base *b) {
    model_free(b->m);
    gguf_close(b->g);
}

static struct params declared(const struct base *b, const struct lora_opts *o) {
    struct params p = {0};
    struct err e;
    struct rng r;
    if (lora_declare(&p, b->m, o, &e) != 0 || params_alloc(&p, &e) != 0) fail_msg("%s", e.msg);
    rng_seed(&r, 1);
    lora_init(&p, &r);
    return p;
}

/* The same with values everywhere, odd ones among them. */
static struct params filled(const struct base *b, const struct lora_opts *o) {
    struct params p = declared(b, o);
    for (int i = 0; i < p.n_param; i++)
        for (size_t k = 0; k < p.p[i].n; k++)
            p.w[p.p[i].at + k] = sinf((float)k * 1.3f + (float)i) * expf(-(float)(k % 30));
    return p;
}

static void write_file(const char *to, const struct params *p, const struct lora_opts *o,
                       struct adapter_notes n) {
    struct err e;
    if (adapter_file_write(to, p, o, &n, &e) != 0) fail_msg("%s", e.msg);
}

static struct lora_set opened(const char *file) {
    struct lora_set s;
    struct err e;
    if (lora_set_open(&s, file, NULL, &e) != 0) fail_msg("%s", e.msg);
    return s;
}

static struct lora_opts opts_of(const struct lora_set *s, int n_layer) {
    struct lora_opts o;
    struct err e;
    if (adapter_file_opts(s, n_layer, &o, &e) != 0) fail_msg("%s", e.msg);
    return o;
}

static void read_file(const struct lora_set *s, struct params *p) {
    struct err e;
    if (adapter_file_read(s, p, &e) != 0) fail_msg("%s", e.msg);
}

static void same_bytes(const char *a, const char *b, bool wanted) {
    size_t na, nb;
    uint8_t *x = slurp(a, &na), *y = slurp(b, &nb);
    assert_true((na == nb && memcmp(x, y, na) == 0) == wanted);
    free(x), free(y);
}

static void same_tensors(const char *a, const char *b) {
    struct lora_set x = opened(a), y = opened(b);
    assert_int_equal(x.n, y.n);
    assert_true(x.alpha == y.alpha);
    for (int i = 0; i < x.n; i++) {
        const struct lora_set_pair *p = lora_set_find(&y, x.pair[i].name);
        assert_non_null(p);
        assert_int_equal(p->a->n_bytes, x.pair[i].a->n_bytes);
        assert_int_equal(p->b->n_bytes, x.pair[i].b->n_bytes);
        assert_memory_equal(p->a->data, x.pair[i].a->data, p->a->n_bytes);
        assert_memory_equal(p->b->data, x.pair[i].b->data, p->b->n_bytes);
        assert_true(p->scale == x.pair[i].scale);
    }
    lora_set_close(&x), lora_set_close(&y);
}

/* ---- round trips ---- */

/* A golden adapter into parameters and out again. */
static void comes_back(const char *model, const char *adapter, int targets, int last_layers) {
    char rel[128];
    struct base b;
    snprintf(rel, sizeof rel, "train/models/%s.gguf", model);
    base_open(&b, golden(rel));
    snprintf(rel, sizeof rel, "train/adapters/%s.gguf", adapter);
    struct lora_set s = opened(golden(rel));
    const struct lora_opts o = opts_of(&s, model_n_layer(b.m));
    assert_int_equal(o.targets, targets);
    assert_int_equal(o.last_layers, last_layers);
    assert_true(lora_scale(&o) == s.pair[0].scale);
    struct params p = declared(&b, &o);
    assert_int_equal(p.n_param, 2 * s.n);
    read_file(&s, &p);
    write_file(path, &p, &o, (struct adapter_notes){.base = b.g});
    same_tensors(golden(rel), path);
    params_fini(&p);
    lora_set_close(&s);
    base_close(&b);
}

static void golden_adapters_come_back(void **state) {
    (void)state;
    static const char *const models[] = {"llama-q8", "qwen2", "llama-tied", "llama-untied"};
    for (int i = 0; i < (golden_is_full() ? 4 : 2); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.lora", models[i]);
        comes_back(models[i], name, LORA_ALL, 0);
        snprintf(name, sizeof name, "%s.subset", models[i]);
        comes_back(models[i], name, LORA_Q | LORA_V | LORA_DOWN, 1);
    }
}

/* Options as asked for come back, though readers are told another alpha; bytes depend on nothing
 * else. */
static void options_come_back(void **state) {
    (void)state;
    static const struct toy plain = {.arch = "llama", .rope = 'p'};
    const struct lora_opts all[] = {
        {.rank = 6, .alpha = 5, .stabilized = true, .dropout = 0.125f},
        {.rank = 6, .alpha = 5, .targets = LORA_K, .last_layers = 2},
        {0}, /* rank 16, alpha 32 */
    };
    struct base b;
    base_toy(&b, &plain);
    for (size_t i = 0; i < sizeof all / sizeof *all; i++) {
        struct params p = filled(&b, &all[i]);
        write_file(path, &p, &all[i], (struct adapter_notes){.base = b.g});
        write_file(twin, &p, &all[i], (struct adapter_notes){.base = b.g});
        same_bytes(path, twin, true);
        struct lora_set s = opened(path);
        const struct lora_opts o = opts_of(&s, model_n_layer(b.m));
        assert_int_equal(o.rank, all[i].rank ? all[i].rank : 16);
        assert_true(lora_scale(&o) == lora_scale(&all[i]));
        assert_true(lora_file_alpha(&o) == lora_file_alpha(&all[i]));
        assert_int_equal(o.stabilized, all[i].stabilized);
        assert_true(o.dropout == all[i].dropout);
        assert_int_equal(o.last_layers, all[i].last_layers);
        struct params back = declared(&b, &o);
        read_file(&s, &back);
        assert_int_equal(back.n_plane, p.n_plane);
        assert_memory_equal(back.w, p.w, p.n_plane * sizeof *p.w);
        lora_set_close(&s);
        params_fini(&back), params_fini(&p);
    }
    base_close(&b);
}

/* Fused tensors: the pair is the file's, and the model takes it. */
static void fused_pairs_are_taken(void **state) {
    (void)state;
    static const struct toy fused = {
        .arch = "phi3", .rope = 'h', .fused_qkv = true, .fused_up = true};
    const struct lora_opts o = {.rank = 3};
    struct base b;
    struct err e;
    base_toy(&b, &fused);
    struct params p = filled(&b, &o);
    write_file(path, &p, &o, (struct adapter_notes){.base = b.g});
    struct model_adapter *a = model_adapter_open(b.m, path, 1, &e);
    if (!a) fail_msg("%s", e.msg);
    assert_int_equal(model_adapter_get(a)->max_rank, 3);
    model_adapter_free(a);
    struct lora_set s = opened(path);
    const struct lora_opts again = opts_of(&s, 3);
    struct params back = declared(&b, &again);
    read_file(&s, &back);
    assert_int_equal(back.n_plane, p.n_plane);
    assert_memory_equal(back.w, p.w, p.n_plane * sizeof *p.w);
    lora_set_close(&s);
    params_fini(&back), params_fini(&p);
    base_close(&b);
}

/* ---- keys ---- */

static void notes_are_keys(void **state) {
    (void)state;
    static const struct toy plain = {.arch = "llama", .rope = 'p'};
    static const struct adapter_metric metric[] = {
        {"val_loss", 1.25, false}, {"tokens", 3e9, true}, {"steps", 7, true}};
    static const struct {
        const char *key, *value;
    } text[] = {
        {"general.type", "adapter"},
        {"general.architecture", "llama"},
        {"general.name", "mine"},
        {"general.base_model.0.name", "small:1b"},
        {"adapter.type", "lora"},
        {ADAPTER_BASE, "small:1b"},
        {ADAPTER_BASE_DIGEST, "sha256:00ff"},
        {ADAPTER_DATA_DIGEST, "sha256:11ee"},
        {ADAPTER_RECIPE, "{\"lr\":0.0002}"},
    };
    const struct lora_opts o = {.rank = 2, .targets = LORA_Q};
    struct base b;
    struct err e;
    base_toy(&b, &plain);
    struct params p = filled(&b, &o);
    write_file(path, &p, &o,
               (struct adapter_notes){.base = b.g,
                                      .name = "mine",
                                      .base_name = "small:1b",
                                      .base_digest = "sha256:00ff",
                                      .data_digest = "sha256:11ee",
                                      .recipe = "{\"lr\":0.0002}",
                                      .metric = metric,
                                      .n_metric = 3});
    struct lora_set s = opened(path);
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        struct str v;
        assert_int_equal(gguf_get_str(s.g, text[i].key, &v, &e), 1);
        assert_true(str_is(v, text[i].value));
    }
    float loss = 0;
    uint32_t steps = 0, n_head = 0, n_layer = 0;
    assert_int_equal(gguf_get_f32(s.g, "cria.train.val_loss", &loss, &e), 1);
    assert_true(loss == 1.25f);
    assert_true(gguf_int_at(gguf_find(s.g, "cria.train.tokens"), 0) == 3000000000);
    assert_int_equal(gguf_get_u32(s.g, "cria.train.steps", &steps, &e), 1);
    assert_int_equal(gguf_get_u32(s.g, "llama.attention.head_count", &n_head, &e), 1);
    assert_int_equal(gguf_get_u32(s.g, "llama.block_count", &n_layer, &e), 1);
    assert_int_equal(steps, 7);
    assert_int_equal(n_head, 4);
    assert_int_equal(n_layer, 3);
    lora_set_close(&s);

    write_file(path, &p, &o, (struct adapter_notes){.base = b.g}); /* none: no keys */
    s = opened(path);
    for (int i = 0; i < gguf_n_kv(s.g); i++)
        assert_false(str_starts(gguf_kv_at(s.g, i)->key, STR(ADAPTER_TRAIN)));
    assert_null(gguf_find(s.g, "general.name"));
    assert_null(gguf_find(s.g, "general.base_model.count"));
    lora_set_close(&s);
    params_fini(&p);
    base_close(&b);
}

/* ---- halves, and values that no file holds ---- */

static void halves(void **state) {
    (void)state;
    static const struct toy plain = {.arch = "llama", .rope = 'p'};
    const struct lora_opts o = {.rank = 5};
    struct base b;
    struct err e;
    base_toy(&b, &plain);
    struct params p = filled(&b, &o);
    const struct adapter_notes half = {.base = b.g, .half = true}, full = {.base = b.g};
    write_file(path, &p, &o, half);
    struct lora_set s = opened(path);
    assert_int_equal(s.pair[0].a->type, QT_F16);
    struct params back = declared(&b, &o);
    read_file(&s, &back);
    lora_set_close(&s);
    for (size_t i = 0; i < p.n_plane; i++)
        assert_true(back.w[i] == f16_to_f32(f32_to_f16(p.w[i])));

    unlink(path);
    p.w[p.p[3].at + 1] = 7e4f;
    assert_int_equal(adapter_file_write(path, &p, &o, &half, &e), -1);
    assert_non_null(strstr(e.msg, "attn_k.weight.lora_b, row 0: 70000"));
    write_file(twin, &p, &o, full);
    p.w[p.p[3].at + 1] = 0;
    for (int k = 0; k < 2; k++) {
        p.w[p.p[3].at + 11] = k ? NAN : INFINITY;
        assert_int_equal(adapter_file_write(path, &p, &o, k ? &half : &full, &e), -1);
        assert_non_null(strstr(e.msg, "attn_k.weight.lora_b, row 2"));
    }
    char partial[700];
    snprintf(partial, sizeof partial, "%s.partial", path);
    assert_int_not_equal(access(path, F_OK), 0);
    assert_int_not_equal(access(partial, F_OK), 0);
    params_fini(&back), params_fini(&p);
    base_close(&b);
}

/* ---- files of others ---- */

struct made { /* a pair of W, [n_in] to [n_out] */
    const char *w;
    int n_in, n_out, rank;
};

static void make(const struct made *pair, int n, float alpha, float value) {
    struct err e;
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    gguf_set_str(w, "general.type", STR("adapter"), &e);
    gguf_set_str(w, "adapter.type", STR("lora"), &e);
    gguf_set_str(w, "general.architecture", STR("llama"), &e);
    if (alpha >= 0) gguf_set_f32(w, "adapter.lora.alpha", alpha, &e);
    size_t n_value = 0;
    for (int i = 0; i < n; i++) {
        char name[160];
        const int64_t a[] = {pair[i].n_in, pair[i].rank}, b[] = {pair[i].rank, pair[i].n_out};
        snprintf(name, sizeof name, "%s.lora_a", pair[i].w);
        assert_int_equal(gguf_add_tensor(w, name, QT_F32, 2, a, &e), 0);
        snprintf(name, sizeof name, "%s.lora_b", pair[i].w);
        assert_int_equal(gguf_add_tensor(w, name, QT_F32, 2, b, &e), 0);
    }
    /* Each tensor's data begins at a multiple of 32 bytes: padding is the writer's. */
    for (int i = 0; i < n; i++)
        for (int half = 0; half < 2; half++) {
            n_value = (size_t)(pair[i].rank * (half ? pair[i].n_out : pair[i].n_in));
            for (size_t k = 0; k < n_value; k++)
                assert_int_equal(gguf_write_data(w, &value, sizeof value, &e), 0);
        }
    if (gguf_writer_finish(w, &e) != 0) fail_msg("%s", e.msg);
}

static void no_options(const struct made *pair, int n, const char *says) {
    struct lora_opts o;
    struct err e;
    make(pair, n, 8, 1);
    struct lora_set s = opened(path);
    assert_int_equal(adapter_file_opts(&s, 3, &o, &e), -1);
    assert_int_equal(e.code, ERR_UNSUPPORTED);
    if (!strstr(e.msg, says)) fail_msg("\"%s\" does not say %s", e.msg, says);
    lora_set_close(&s);
}
#define NO_OPTIONS(says, ...)                                                                      \
    no_options((const struct made[]){__VA_ARGS__},                                                 \
               (int)(sizeof(struct made[]){__VA_ARGS__} / sizeof(struct made)), says)

static void what_is_not_trained_here(void **state) {
    (void)state;
    NO_OPTIONS("rank 4", {"blk.0.attn_q.weight", 48, 48, 4}, {"blk.0.attn_k.weight", 48, 24, 5});
    NO_OPTIONS("output.weight", {"output.weight", 48, 96, 4});
    NO_OPTIONS("ffn_gate_inp", {"blk.0.ffn_gate_inp.weight", 48, 6, 4});
    NO_OPTIONS("blk.3.attn_q", {"blk.3.attn_q.weight", 48, 48, 4});
    NO_OPTIONS("attn_q.weight.x", {"blk.0.attn_q.weight.x", 48, 48, 4});
    NO_OPTIONS("blk.-1", {"blk.-1.attn_q.weight", 48, 48, 4});
}

static void no_values(const struct base *b, const struct made *pair, float value,
                      const char *says) {
    const struct lora_opts o = {.rank = 4};
    struct err e;
    struct params p = declared(b, &o);
    make(pair, 1, 8, value);
    struct lora_set s = opened(path);
    assert_int_equal(adapter_file_read(&s, &p, &e), -1);
    assert_int_equal(e.code, ERR_FORMAT);
    if (!strstr(e.msg, says)) fail_msg("\"%s\" does not say %s", e.msg, says);
    lora_set_close(&s);
    params_fini(&p);
}

static void wrong_values_are_refused(void **state) {
    (void)state;
    static const struct toy plain = {.arch = "llama", .rope = 'p'};
    struct base b;
    base_toy(&b, &plain);
    no_values(&b, &(struct made){"blk.0.attn_q.weight", 40, 48, 4}, 1, "another shape");
    no_values(&b, &(struct made){"blk.0.attn_q.weight", 48, 40, 4}, 1, "another shape");
    no_values(&b, &(struct made){"blk.0.attn_q.weight", 48, 48, 3}, 1, "another shape");
    no_values(&b, &(struct made){"blk.7.attn_q.weight", 48, 48, 4}, 1, "none of this name");
    no_values(&b, &(struct made){"blk.0.attn_q.weight", 48, 48, 4}, NAN, "nan");
    no_values(&b, &(struct made){"blk.0.attn_q.weight", 48, 48, 4}, INFINITY, "inf");
    base_close(&b);
}

/* One without an alpha stands as it is; pairs that it has not stay as they began, without effect.
 */
static void others_files(void **state) {
    (void)state;
    static const struct toy plain = {.arch = "llama", .rope = 'p'};
    static const struct made pairs[] = {{"blk.1.attn_q.weight", 48, 48, 4},
                                        {"blk.2.ffn_down.weight", 80, 48, 4}};
    struct base b;
    base_toy(&b, &plain);
    for (int k = 0; k < 2; k++) {
        make(pairs, 2, k ? 0 : -1, 0.5f);
        struct lora_set s = opened(path);
        assert_true(s.pair[0].scale == 1);
        const struct lora_opts o = opts_of(&s, 3);
        assert_int_equal(o.targets, LORA_Q | LORA_DOWN);
        assert_int_equal(o.last_layers, 2);
        assert_true(lora_scale(&o) == 1);
        struct params p = declared(&b, &o);
        read_file(&s, &p);
        for (int i = 0; i < p.n_param; i++) {
            const float *w = p.w + p.p[i].at;
            const bool named =
                strstr(p.p[i].name, "blk.1.attn_q") || strstr(p.p[i].name, "blk.2.ffn_down");
            if (named) assert_true(w[0] == 0.5f && w[p.p[i].n - 1] == 0.5f);
            if (!named && i % 2) assert_true(w[0] == 0 && w[p.p[i].n - 1] == 0);
        }
        lora_set_close(&s);
        params_fini(&p);
    }
    base_close(&b);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(golden_adapters_come_back),
        cmocka_unit_test(options_come_back),
        cmocka_unit_test(fused_pairs_are_taken),
        cmocka_unit_test(notes_are_keys),
        cmocka_unit_test(halves),
        cmocka_unit_test(what_is_not_trained_here),
        cmocka_unit_test(wrong_values_are_refused),
        cmocka_unit_test(others_files),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
