/* train/lora.c: names of targets, which tensors get a pair, how pairs begin.  What the golden
 * adapters hold is what must be declared for them. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cpu/cpu.h"
#include "toy.h"
#include "train/lora.h"

static char *dir;

static int make_dir(void **state) {
    (void)state;
    dir = temp_folder();
    return 0;
}

static int remove_dir(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

/* ---- words and numbers ---- */

static void targets_have_three_spellings(void **state) {
    (void)state;
    static const struct {
        const char *text;
        int targets;
    } good[] = {
        {"all", LORA_ALL},
        {"all-linear", LORA_ALL},
        {"q,v", LORA_Q | LORA_V},
        {"  q\t,, v ", LORA_Q | LORA_V},
        {"attn_q,ffn_down", LORA_Q | LORA_DOWN},
        {"q_proj,v_proj", LORA_Q | LORA_V},
        {"k o", LORA_K | LORA_O},
        {"attn_output attn_k ffn_gate ffn_up", LORA_O | LORA_K | LORA_GATE | LORA_UP},
        {"gate,up,down,q,k,v,o", LORA_ALL},
        {"gate_proj,up_proj,down_proj,o_proj,k_proj,q", LORA_ALL & ~LORA_V},
        {"q,q,all", LORA_ALL},
    };
    static const char *const bad[] = {"", " , ", "qv", "q;v", "query", "attn", "all,x", "Q"};
    struct err e;
    int t = -1;
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        if (lora_parse_targets(good[i].text, &t, &e) != 0) fail_msg("%s", e.msg);
        assert_int_equal(t, good[i].targets);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        t = 5;
        assert_int_equal(lora_parse_targets(bad[i], &t, &e), -1);
        assert_int_equal(e.code, ERR_USAGE);
        assert_non_null(strstr(e.msg, "q k v o gate up down"));
        assert_int_equal(t, 5);
    }
}

static void scales_and_what_files_say(void **state) {
    (void)state;
    const struct lora_opts none = {0}, plain = {.rank = 4, .alpha = 8},
                           root = {.rank = 2, .alpha = 3, .stabilized = true};
    assert_true(lora_scale(&none) == 2.0f && lora_file_alpha(&none) == 32.0f);
    assert_true(lora_scale(&plain) == 2.0f && lora_file_alpha(&plain) == 8.0f);
    assert_true(fabsf(lora_scale(&root) - 3 / sqrtf(2)) < 1e-6f);
    /* A reader divides by the rank. */
    assert_true(fabsf(lora_file_alpha(&root) / 2 - lora_scale(&root)) < 1e-6f);
}

/* ---- declarations ---- */

struct opened {
    struct gguf *g;
    struct model *m;
    struct params p;
};

static void open_file(struct opened *o, const char *path) {
    struct err e;
    *o = (struct opened){.g = gguf_open(path, &e)};
    if (!o->g) fail_msg("%s", e.msg);
    o->m = model_open(o->g, cpu_ops(), &e);
    if (!o->m) fail_msg("%s", e.msg);
}

static void open_toy(struct opened *o, const struct toy *t) {
    char path[512];
    struct toy_model *m = toy_new(t, 3);
    snprintf(path, sizeof path, "%s/toy.gguf", dir);
    toy_write(m, path);
    toy_free(m);
    open_file(o, path);
}

static void close_file(struct opened *o) {
    params_fini(&o->p);
    model_free(o->m);
    gguf_close(o->g);
}

static void declare(struct opened *o, struct lora_opts lo) {
    struct err e;
    params_fini(&o->p);
    o->p = (struct params){0};
    if (lora_declare(&o->p, o->m, &lo, &e) != 0) fail_msg("%s", e.msg);
}

static void refuse(struct opened *o, struct lora_opts lo, enum err_code code, const char *says) {
    struct err e;
    struct params p = {0};
    assert_int_equal(lora_declare(&p, o->m, &lo, &e), -1);
    if (e.code != code || !strstr(e.msg, says))
        fail_msg("\"%s\" (%d) does not say %s", e.msg, e.code, says);
    params_fini(&p);
}

/* Is W's pair declared, as for n_in x n_out? */
static bool has_pair(const struct opened *o, const char *w, int n_in, int n_out, int rank) {
    char name[160];
    snprintf(name, sizeof name, "%s.lora_a", w);
    const struct param *a = params_find(&o->p, name);
    snprintf(name, sizeof name, "%s.lora_b", w);
    const struct param *b = params_find(&o->p, name);
    return a && b && a->n_dim == 2 && b->n_dim == 2 && a->ne[0] == n_in && a->ne[1] == rank &&
           b->ne[0] == rank && b->ne[1] == n_out && b == a + 1;
}

static void same_as_file(const char *model, const char *adapter, struct lora_opts lo) {
    char rel[256];
    struct opened o;
    struct err e;
    float alpha = 0;
    snprintf(rel, sizeof rel, "train/models/%s.gguf", model);
    open_file(&o, golden(rel));
    declare(&o, lo);
    snprintf(rel, sizeof rel, "train/adapters/%s.gguf", adapter);
    struct gguf *g = gguf_open(golden(rel), &e);
    if (!g) fail_msg("%s", e.msg);
    assert_int_equal(gguf_n_tensor(g), o.p.n_param);
    for (int i = 0; i < o.p.n_param; i++) {
        const struct param *x = &o.p.p[i];
        const struct gguf_tensor *t = gguf_tensor(g, x->name);
        if (!t) fail_msg("%s: no %s", adapter, x->name);
        assert_memory_equal(t->ne, x->ne, sizeof t->ne);
        assert_true(x->decay);
    }
    assert_int_equal(gguf_get_f32(g, "adapter.lora.alpha", &alpha, &e), 1);
    assert_true(fabsf(alpha - lora_file_alpha(&lo)) <= 1e-6f * alpha);
    gguf_close(g);
    close_file(&o);
}

static void golden_adapters_are_declared(void **state) {
    (void)state;
    static const char *const models[] = {"llama-q8", "qwen2", "llama-tied", "llama-untied"};
    for (int i = 0; i < (golden_is_full() ? 4 : 2); i++) {
        char name[64];
        snprintf(name, sizeof name, "%s.lora", models[i]);
        same_as_file(models[i], name, (struct lora_opts){.rank = 4, .alpha = 8});
        snprintf(name, sizeof name, "%s.subset", models[i]);
        same_as_file(models[i], name,
                     (struct lora_opts){.rank = 2,
                                        .alpha = 3,
                                        .stabilized = true,
                                        .targets = LORA_Q | LORA_V | LORA_DOWN,
                                        .last_layers = 1});
    }
}

/* In the order of layers, and of the forward within one. */
static void order_is_that_of_layers(void **state) {
    (void)state;
    static const struct toy plain = {.arch = "llama", .rope = 'p'};
    static const char *const order[] = {"attn_q",   "attn_k", "attn_v",  "attn_output",
                                        "ffn_gate", "ffn_up", "ffn_down"};
    struct opened o;
    open_toy(&o, &plain);
    declare(&o, (struct lora_opts){.last_layers = 2});
    assert_int_equal(o.p.n_param, 2 * 7 * 2);
    for (int i = 0; i < o.p.n_param; i++) {
        char want[64];
        snprintf(want, sizeof want, "blk.%d.%s.weight.lora_%c", 1 + i / 14, order[i / 2 % 7],
                 i % 2 ? 'b' : 'a');
        assert_string_equal(o.p.p[i].name, want);
    }
    assert_true(has_pair(&o, "blk.2.ffn_down.weight", 80, 48, 16));
    close_file(&o);
}

/* One pair a tensor of the file, whichever of its parts are chosen. */
static void fused_tensors_have_one_pair(void **state) {
    (void)state;
    static const struct toy fused = {
        .arch = "phi3", .rope = 'h', .fused_qkv = true, .fused_up = true};
    struct opened o;
    open_toy(&o, &fused);
    for (int t = LORA_Q; t <= LORA_V; t *= 2) {
        declare(&o, (struct lora_opts){.rank = 3, .targets = t});
        assert_int_equal(o.p.n_param, 3 * 2);
        assert_true(has_pair(&o, "blk.0.attn_qkv.weight", 48, 96, 3));
    }
    declare(&o, (struct lora_opts){.rank = 3, .targets = LORA_GATE});
    assert_int_equal(o.p.n_param, 3 * 2);
    assert_true(has_pair(&o, "blk.2.ffn_up.weight", 48, 160, 3));
    declare(&o, (struct lora_opts){.rank = 3});
    assert_int_equal(o.p.n_param, 3 * 4 * 2);
    close_file(&o);
}

static void experts_take_none(void **state) {
    (void)state;
    static const struct toy experts = {.arch = "qwen3moe",
                                       .rope = 'h',
                                       .qk_norm = TOY_QK_HEAD,
                                       .head_dim = 32,
                                       .n_expert = 6,
                                       .n_used = 3,
                                       .n_ff_exp = 32,
                                       .renorm = true};
    static const struct toy shared = {.arch = "qwen2moe",
                                      .rope = 'h',
                                      .qkv_bias = true,
                                      .n_expert = 6,
                                      .n_used = 3,
                                      .n_ff_exp = 32,
                                      .n_ff_shared = 64,
                                      .shared_gate = true};
    struct opened o;
    open_toy(&o, &experts);
    declare(&o, (struct lora_opts){0});
    assert_int_equal(o.p.n_param, 3 * 4 * 2); /* attention's; routers neither */
    refuse(&o, (struct lora_opts){.targets = LORA_UP | LORA_DOWN}, ERR_UNSUPPORTED, "experts");
    close_file(&o);
    open_toy(&o, &shared);
    declare(&o, (struct lora_opts){.targets = LORA_GATE | LORA_UP | LORA_DOWN});
    assert_int_equal(o.p.n_param, 3 * 3 * 2);
    assert_true(has_pair(&o, "blk.1.ffn_down_shexp.weight", 64, 48, 16));
    close_file(&o);
}

/* Latent attention: both steps of q, the joint step down of k and v, the output. */
static void latent_attention(void **state) {
    (void)state;
    struct toy latent = {.arch = "deepseek2",
                         .rope = 'p',
                         .head_dim = 40,
                         .n_rot = 32,
                         .v_dim = 32,
                         .kv_rank = 32,
                         .q_rank = 16};
    for (int old = 0; old < 2; old++) {
        struct opened o;
        latent.kv_b = old;
        open_toy(&o, &latent);
        declare(&o, (struct lora_opts){.targets = LORA_Q | LORA_K | LORA_V | LORA_O});
        assert_int_equal(o.p.n_param, 3 * 4 * 2);
        assert_true(has_pair(&o, "blk.0.attn_q_a.weight", 48, 16, 16));
        assert_true(has_pair(&o, "blk.0.attn_q_b.weight", 16, 160, 16));
        assert_true(has_pair(&o, "blk.0.attn_kv_a_mqa.weight", 48, 64, 16));
        assert_true(has_pair(&o, "blk.0.attn_output.weight", 128, 48, 16));
        close_file(&o);
    }
}

static void odd_options_are_refused(void **state) {
    (void)state;
    static const struct toy plain = {.arch = "llama", .rope = 'p'};
    static const struct {
        struct lora_opts o;
        const char *says;
    } bad[] = {
        {{.rank = -1}, "rank"},
        {{.rank = 513}, "1 to 512"},
        {{.alpha = -1}, "alpha"},
        {{.alpha = NAN}, "alpha"},
        {{.alpha = 1e6f}, "alpha"},
        {{.alpha = 5e5f, .rank = 16, .stabilized = true}, "alpha"}, /* 2e6 in the file */
        {{.dropout = 0.91f}, "dropout"},
        {{.dropout = -0.1f}, "dropout"},
        {{.dropout = NAN}, "dropout"},
        {{.targets = 128}, "targets"},
        {{.last_layers = 4}, "the model has 3"},
        {{.last_layers = -1}, "layers"},
    };
    struct opened o;
    open_toy(&o, &plain);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++)
        refuse(&o, bad[i].o, ERR_USAGE, bad[i].says);
    declare(&o, (struct lora_opts){.rank = 512, .dropout = 0.9f, .last_layers = 3});
    close_file(&o);
}

/* ---- how they begin ---- */

static void beginning(void **state) {
    (void)state;
    static const struct toy plain = {.arch = "llama", .rope = 'p'};
    struct opened o;
    struct err e;
    struct rng r;
    open_toy(&o, &plain);
    declare(&o, (struct lora_opts){.rank = 64});
    assert_int_equal(params_alloc(&o.p, &e), 0);
    for (size_t i = 0; i < o.p.n_plane; i++)
        o.p.w[i] = 7;
    rng_seed(&r, 5);
    lora_init(&o.p, &r);
    for (int i = 0; i < o.p.n_param; i++) {
        const struct param *x = &o.p.p[i];
        const double bound = 1 / sqrt((double)x->ne[0]);
        double sum = 0, square = 0, most = 0;
        for (size_t k = 0; k < x->n; k++) {
            const double v = o.p.w[x->at + k];
            sum += v, square += v * v, most = fmax(most, fabs(v));
        }
        if (i % 2) {
            assert_true(most == 0);
            continue;
        }
        /* Uniform: mean 0, variance bound^2 / 3; both within five standard errors. */
        const double n = (double)x->n, variance = bound * bound / 3;
        assert_true(most <= bound && most > 0.99 * bound);
        assert_true(fabs(sum / n) < 5 * sqrt(variance / n));
        assert_true(fabs(square / n / variance - 1) < 5 * sqrt(0.8 / n));
    }
    float *once = malloc(o.p.n_plane * sizeof *once);
    memcpy(once, o.p.w, o.p.n_plane * sizeof *once);
    rng_seed(&r, 5);
    lora_init(&o.p, &r);
    assert_memory_equal(once, o.p.w, o.p.n_plane * sizeof *once);
    rng_seed(&r, 6);
    lora_init(&o.p, &r);
    assert_memory_not_equal(once, o.p.w, o.p.n_plane * sizeof *once);
    free(once);
    close_file(&o);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(targets_have_three_spellings),
        cmocka_unit_test(scales_and_what_files_say),
        cmocka_unit_test(golden_adapters_are_declared),
        cmocka_unit_test(order_is_that_of_layers),
        cmocka_unit_test(fused_tensors_have_one_pair),
        cmocka_unit_test(experts_take_none),
        cmocka_unit_test(latent_attention),
        cmocka_unit_test(odd_options_are_refused),
        cmocka_unit_test(beginning),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
