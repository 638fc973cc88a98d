/* create/merge.c: the adapter beside the base and the merged model are one model (FINETUNE.md Q11).
 * What is exact is compared as bytes, what rounds as logits. */
#include "model_rig.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "create/merge.h"
#include "engine/mix.h"
#include "gguf/write.h"
#include "model/lora_set.h"
#include "quant/quant.h"
#include "toy.h"
#include "train/adapter_file.h"
#include "train_case.h"

enum { N_TOK = 128 };

static char *dir;
static char adapter[600], out[600], twin[600], floats[600];

static int make_dir(void **state) {
    (void)state;
    dir = temp_folder();
    snprintf(adapter, sizeof adapter, "%s/adapter.gguf", dir);
    snprintf(out, sizeof out, "%s/out.gguf", dir);
    snprintf(twin, sizeof twin, "%s/twin.gguf", dir);
    snprintf(floats, sizeof floats, "%s/floats.gguf", dir);
    return 0;
}

static int remove_dir(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

/* ---- making things ---- */

static struct merge_report merged(const char *base, const char *ad, const char *to,
                                  struct merge_opts o) {
    struct merge_report r;
    struct err e;
    if (!o.n_threads) o.n_threads = 2;
    if (merge_adapter(base, ad, to, &o, &r, &e) != 0) fail_msg("%s", e.msg);
    return r;
}

static void quantized(const char *base, const char *to, const char *type) {
    const struct quantize_opts o = {.mix = mix_by_name(type)};
    struct err e;
    struct quantizer *q = quantize_new(base, &o, &e);
    if (!q || quantize_run(q, to, 2, NULL, NULL, &e) != 0) fail_msg("%s", e.msg);
    quantize_free(q);
}

/* A trained-looking adapter for the base, in the file `adapter`: updates of about `size` times the
 * usual weight. */
static void make_adapter(const char *base, struct lora_opts o, float size, bool half) {
    struct params p = {0};
    struct rng r;
    struct rig g;
    struct err e;
    rig_open(&g, base, (struct rig_opts){0});
    if (lora_declare(&p, g.m, &o, &e) != 0 || params_alloc(&p, &e) != 0) fail_msg("%s", e.msg);
    rng_seed(&r, 9);
    lora_init(&p, &r);
    for (int i = 1; i < p.n_param; i += 2) /* the B's */
        for (size_t k = 0; k < p.p[i].n; k++)
            p.w[p.p[i].at + k] = size * (float)rng_normal(&r) / lora_scale(&o);
    const struct adapter_metric m = {"val_loss", 0.5, false};
    const struct adapter_notes n = {
        .base = g.g, .recipe = "{}", .metric = &m, .n_metric = 1, .half = half};
    if (adapter_file_write(adapter, &p, &o, &n, &e) != 0) fail_msg("%s", e.msg);
    params_fini(&p);
    rig_close(&g);
}

static const char *toy_file(const struct toy *t) {
    static char path[600];
    struct toy_model *m = toy_new(t, 3);
    snprintf(path, sizeof path, "%s/toy.gguf", dir);
    toy_write(m, path);
    toy_free(m);
    return path;
}

static struct gguf *opened(const char *path) {
    struct err e;
    struct gguf *g = gguf_open(path, &e);
    if (!g) fail_msg("%s", e.msg);
    return g;
}

/* ---- logits ---- */

struct logits {
    float *row; /* [N_TOK][n_col], owned */
    int n_col;
};

static struct logits logits_of(const char *model, const char *ad, float scale) {
    struct rig r;
    struct err e;
    struct kv_seq s;
    int32_t tok[N_TOK];
    struct model_adapter *a = NULL;
    rig_open(&r, model, (struct rig_opts){.max_rank = ad ? 64 : 0, .n_ctx = N_TOK});
    if (ad && !(a = model_adapter_open(r.m, ad, scale, &e))) fail_msg("%s", e.msg);
    struct logits l = {malloc((size_t)N_TOK * (size_t)r.n_col * sizeof(float)), r.n_col};
    for (int i = 0; i < N_TOK; i++)
        tok[i] = (i * 37 + i * i * 5 + 11) % r.n_col;
    kv_seq_init(&s, r.pool);
    rig_feed(&r, &s, a ? model_adapter_get(a) : NULL, tok, N_TOK, 0, l.row);
    kv_seq_fini(&s);
    if (a) model_adapter_free(a);
    rig_close(&r);
    return l;
}

static int arg_max(const float *x, int n) {
    int at = 0;
    for (int i = 1; i < n; i++)
        if (x[i] > x[at]) at = i;
    return at;
}

struct gap {
    struct distance d;
    double same_top;
};

static struct gap gap_of(const struct logits *got, const struct logits *want) {
    struct comparison c = {0};
    struct gap g = {.same_top = 0};
    assert_int_equal(got->n_col, want->n_col);
    for (int i = 0; i < N_TOK; i++) {
        const float *x = got->row + (size_t)i * (size_t)got->n_col;
        const float *y = want->row + (size_t)i * (size_t)want->n_col;
        compare_row(&c, x, y, got->n_col);
        g.same_top += arg_max(x, got->n_col) == arg_max(y, got->n_col);
    }
    g.same_top /= N_TOK;
    g.d = compare_end(&c);
    return g;
}

/* The model in file a against base + adapter (NULL: none). */
static struct gap gap_to_adapter(const char *a, const char *base, const char *ad, float scale) {
    struct logits got = logits_of(a, NULL, 0), want = logits_of(base, ad, scale);
    const struct gap g = gap_of(&got, &want);
    free(got.row), free(want.row);
    return g;
}

/* ---- floats ---- */

/* 1e-3 is Q11's gate; what is left is the order of sums. */
static void one_model(const char *base, const char *ad, float scale, const char *what) {
    merged(base, ad, out, (struct merge_opts){.type = "F32", .scale = scale});
    const struct gap g = gap_to_adapter(out, base, ad, scale);
    struct logits none = logits_of(base, NULL, 0), with = logits_of(base, ad, scale);
    const struct gap moved = gap_of(&with, &none);
    free(none.row), free(with.row);
    print_message("%s: merged F32 %.2g from the adapter, which moves logits by %.2g\n", what,
                  g.d.max_abs, moved.d.max_abs);
    assert_true(moved.d.max_abs > 0.1);
    assert_true(g.d.max_abs < 1e-3);
}

static void merged_floats_are_the_adapter(void **state) {
    (void)state;
    static const struct {
        const char *adapter, *model;
    } all[] = {{"llama32.lora-qv", "llama32"}, {"llama32.lora-all", "llama32"},
               {"qwen2.lora-all", "qwen2"},    {"qwen2.lora-qv", "qwen2"},
               {"llamaq.lora-all", "llamaq"},  {"llamaq.lora-qv", "llamaq"}};
    for (int i = 0; i < (golden_is_full() ? 6 : 1); i++) {
        char base[100], ad[100], from[600];
        snprintf(base, sizeof base, "models/%s.gguf", all[i].model);
        snprintf(ad, sizeof ad, "lora/%s.gguf", all[i].adapter);
        snprintf(from, sizeof from, "%s", golden(base));
        one_model(from, golden(ad), 1, all[i].adapter);
        one_model(from, golden(ad), 0.5f, all[i].adapter);
    }
}

/* Q2: a fresh adapter's B is zero: the model as it was: its logits bit by bit, its weights. */
static void a_fresh_adapter_changes_nothing(void **state) {
    (void)state;
    static const char *const models[] = {"train/models/llama-q8.gguf", "train/models/qwen2.gguf",
                                         "models-quant/llamaq.Q4_K_M.gguf"};
    for (int i = 0; i < 3; i++) {
        char base[600];
        snprintf(base, sizeof base, "%s", golden(models[i]));
        make_adapter(base, (struct lora_opts){.rank = 8}, 0, false);
        struct logits none = logits_of(base, NULL, 0), with = logits_of(base, adapter, 1);
        const size_t n = (size_t)N_TOK * (size_t)none.n_col * sizeof(float);
        assert_memory_equal(none.row, with.row, n);
        merged(base, adapter, out, (struct merge_opts){.type = "F32"});
        quantized(base, twin, "F32");
        struct gguf *a = opened(out), *b = opened(twin);
        for (int k = 0; k < gguf_n_tensor(a); k++) {
            const struct gguf_tensor *x = gguf_tensor_at(a, k), *y = gguf_tensor(b, x->name);
            const float *v = (const float *)(const void *)x->data;
            const float *w = (const float *)(const void *)y->data;
            assert_int_equal(x->n_bytes, y->n_bytes);
            for (size_t c = 0; c < x->n_bytes / sizeof *v; c++)
                assert_true(v[c] == w[c]); /* -0 may have become 0 */
        }
        gguf_close(a), gguf_close(b);
        free(none.row), free(with.row);
    }
}

/* Any shape: fused tensors, attention with latents, experts beside; adapters of halves. */
static void any_architecture(void **state) {
    (void)state;
    static const struct toy kinds[] = {
        {.arch = "phi3", .rope = 'h', .fused_qkv = true, .fused_up = true},
        {.arch = "gpt2",
         .positions = true,
         .layer_norm = true,
         .norm_bias = true,
         .fused_qkv = true,
         .qkv_bias = true,
         .o_bias = true,
         .ffn_bias = true,
         .mlp = true,
         .gelu = true},
        {.arch = "deepseek2",
         .rope = 'p',
         .head_dim = 40,
         .n_rot = 32,
         .v_dim = 32,
         .kv_rank = 32,
         .q_rank = 16},
        {.arch = "qwen2moe",
         .rope = 'h',
         .qkv_bias = true,
         .n_expert = 6,
         .n_used = 3,
         .n_ff_exp = 32,
         .n_ff_shared = 64,
         .shared_gate = true},
    };
    for (size_t i = 0; i < sizeof kinds / sizeof *kinds; i++) {
        const char *base = toy_file(&kinds[i]);
        make_adapter(base, (struct lora_opts){.rank = 5}, 0.3f, i % 2);
        one_model(base, adapter, 1, kinds[i].arch);
    }
}

/* Reference: base + adapter in float64, by another program (golden README, "forward").  A base of
 * Q8_0 is merged as the floats it decodes to. */
static void merged_is_the_reference(void **state) {
    (void)state;
    static const char *const models[] = {"llama-untied", "llama-tied", "qwen2", "llama-q8"};
    if (!golden_is_full()) return; /* its arrays are a megabyte a model */
    for (int k = 0; k < 4; k++) {
        char base[600], ad[600], name[100];
        size_t n_tok, n_start, n_logit;
        struct rig r;
        double worst = 0;
        snprintf(name, sizeof name, "train/models/%s.gguf", models[k]);
        snprintf(base, sizeof base, "%s", golden(name));
        snprintf(name, sizeof name, "train/adapters/%s.lora.gguf", models[k]);
        snprintf(ad, sizeof ad, "%s", golden(name));
        snprintf(name, sizeof name, "%s.forward", models[k]);
        struct train_case c = case_open(name);
        const int32_t *tok = case_array(&c, "tokens", "i32", &n_tok);
        const int32_t *start = case_array(&c, "seq_start", "i32", &n_start);
        const float *want = case_array(&c, "logits_lora", "f32", &n_logit);
        merged(base, ad, out, (struct merge_opts){.type = "F32"});
        rig_open(&r, out, (struct rig_opts){0});
        for (size_t i = 0; i + 1 < n_start; i++) {
            struct kv_seq s;
            const int n = start[i + 1] - start[i];
            const size_t n_value = (size_t)n * (size_t)r.n_col;
            const float *row = want + (size_t)start[i] * (size_t)r.n_col;
            float *got = malloc(n_value * sizeof *got);
            kv_seq_init(&s, r.pool);
            rig_feed(&r, &s, NULL, tok + start[i], n, 0, got);
            kv_seq_fini(&s);
            for (size_t v = 0; v < n_value; v++)
                worst = fmax(worst, fabs((double)got[v] - (double)row[v]));
            free(got);
        }
        print_message("%s: %.2g from the reference\n", models[k], worst);
        assert_true(worst <= 5e-4); /* golden README, "logits" */
        rig_close(&r);
        case_close(&c);
    }
}

/* ---- quantized ---- */

static void same_bytes(const char *a, const char *b) {
    size_t na, nb;
    uint8_t *x = slurp(a, &na), *y = slurp(b, &nb);
    if (na != nb || memcmp(x, y, na) != 0) fail_msg("%s and %s differ", a, b);
    free(x), free(y);
}

/* The golden Q4_K_M model as floats: rows of 256, which fill every type's blocks. */
static const char *float_base(void) {
    quantized(golden("models-quant/llamaq.Q4_K_M.gguf"), floats, "F32");
    return floats;
}

/* One pass is the two: merge as floats, then quantize.  Threads do not matter. */
static void one_pass_is_two(void **state) {
    (void)state;
    static const char *const types[] = {"F16", "BF16", "Q8_0", "Q4_K_M", "Q6_K", "Q4_0"};
    const char *base = float_base();
    make_adapter(base, (struct lora_opts){.rank = 8}, 0.3f, false);
    char whole[600], want[600];
    snprintf(whole, sizeof whole, "%s/whole.gguf", dir);
    snprintf(want, sizeof want, "%s/want.gguf", dir);
    merged(base, adapter, whole, (struct merge_opts){.type = "F32"});
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        merged(base, adapter, out, (struct merge_opts){.type = types[i], .n_threads = 1});
        merged(base, adapter, twin, (struct merge_opts){.type = types[i], .n_threads = 3});
        same_bytes(out, twin);
        quantized(whole, want, types[i]);
        struct gguf *a = opened(out), *b = opened(want);
        assert_int_equal(gguf_n_tensor(a), gguf_n_tensor(b));
        for (int k = 0; k < gguf_n_tensor(a); k++) {
            const struct gguf_tensor *x = gguf_tensor_at(a, k), *y = gguf_tensor(b, x->name);
            assert_int_equal(x->type, y->type);
            assert_memory_equal(x->data, y->data, y->n_bytes);
        }
        gguf_close(a), gguf_close(b);
    }
}

/* What rounding to a type costs, in KL divergence from base + adapter: about what it costs the base
 * alone.  (A random model is far sharper than a trained one: its own Q8_0 is 5.6e-3 away.) */
static void rounding_costs_what_it_costs(void **state) {
    (void)state;
    static const char *const types[] = {"F16", "Q8_0", "Q6_K", "Q4_K_M"};
    /* The model that the project carries was Q4_K_M: it loses nothing by that. */
    const bool full = golden_is_full();
    char base[600];
    snprintf(base, sizeof base, "%s", full ? golden("models/llamaq.gguf") : float_base());
    make_adapter(base, (struct lora_opts){.rank = 8}, 0.3f, false);
    for (int i = 0; i < (full ? 4 : 3); i++) {
        merged(base, adapter, out, (struct merge_opts){.type = types[i]});
        const struct gap g = gap_to_adapter(out, base, adapter, 1);
        quantized(base, twin, types[i]);
        const struct gap p = gap_to_adapter(twin, base, NULL, 0);
        print_message("%-6s merged: mean KL %.2e, same first choice %5.1f%%; the base alone in "
                      "that type: %.2e, %5.1f%%\n",
                      types[i], g.d.kl_mean, 100 * g.same_top, p.d.kl_mean, 100 * p.same_top);
        assert_true(g.d.kl_mean < 3 * p.d.kl_mean);
        if (i == 0) assert_true(g.d.kl_mean < 1e-4);
    }
}

/* Types kept: what has no pair keeps its bytes, what has one its type, and is as near to W + BA as
 * that type allows. */
static void types_stay(void **state) {
    (void)state;
    const char *base = golden("models-quant/llamaq.Q4_K_M.gguf");
    make_adapter(base, (struct lora_opts){.rank = 8, .targets = LORA_Q | LORA_DOWN}, 0.3f, false);
    const struct merge_report r = merged(base, adapter, out, (struct merge_opts){0});
    merged(base, adapter, twin, (struct merge_opts){.type = "F32"});
    struct gguf *b = opened(base), *m = opened(out), *f = opened(twin);
    int n_new = 0;
    for (int i = 0; i < gguf_n_tensor(b); i++) {
        const struct gguf_tensor *x = gguf_tensor_at(b, i), *y = gguf_tensor(m, x->name);
        const bool pair = strstr(x->name, "attn_q.weight") || strstr(x->name, "ffn_down.weight");
        assert_int_equal(x->type, y->type);
        assert_true((memcmp(x->data, y->data, x->n_bytes) == 0) == !pair);
        n_new += pair;
        if (!pair) continue;
        const struct gguf_tensor *w = gguf_tensor(f, x->name);
        const size_t n = (size_t)(w->ne[0] * w->ne[1]);
        float *got = malloc(n * sizeof *got);
        double error = 0, square = 0;
        quant_type(y->type)->decode(y->data, got, n);
        for (size_t k = 0; k < n; k++) {
            float v;
            memcpy(&v, w->data + k * sizeof v, sizeof v);
            error += pow((double)got[k] - (double)v, 2);
            square += (double)v * (double)v;
        }
        free(got);
        if (!(sqrt(error / square) < 0.1))
            fail_msg("%s: off by %g of its size", x->name, sqrt(error / square));
    }
    assert_int_equal(r.n_merged, n_new);
    assert_int_equal(r.n_requantize, n_new);
    assert_true(r.rmse > 0);
    gguf_close(b), gguf_close(m), gguf_close(f);
}

/* All keys are the base's (but for what says the type); lineage is added. */
static void keys_are_the_base_s(void **state) {
    (void)state;
    const char *base = golden("models-quant/llamaq.Q4_K_M.gguf");
    make_adapter(base, (struct lora_opts){.rank = 2, .targets = LORA_V}, 0.3f, false);
    merged(base, adapter, out, (struct merge_opts){0});
    struct gguf *b = opened(base), *m = opened(out);
    for (int i = 0; i < gguf_n_kv(b); i++) {
        const struct gguf_kv *x = gguf_kv_at(b, i);
        char key[200];
        snprintf(key, sizeof key, "%.*s", (int)x->key.n, x->key.p);
        const struct gguf_kv *y = gguf_find(m, key);
        assert_non_null(y);
        assert_int_equal(x->n_bytes, y->n_bytes);
        assert_memory_equal(x->data, y->data, x->n_bytes);
    }
    assert_int_equal(gguf_n_kv(m), gguf_n_kv(b) + 2);
    assert_non_null(gguf_find(m, ADAPTER_RECIPE));
    assert_non_null(gguf_find(m, ADAPTER_TRAIN "val_loss"));
    gguf_close(m);
    merged(base, adapter, out, (struct merge_opts){.type = "q8_0"});
    m = opened(out);
    uint32_t type = 0;
    struct err e;
    assert_int_equal(gguf_get_u32(m, "general.file_type", &type, &e), 1);
    assert_string_equal(gguf_file_type_name(type), "Q8_0");
    gguf_close(b), gguf_close(m);
}

/* ---- refusals ---- */

static void refused(const char *base, const char *ad, const char *to, struct merge_opts o,
                    enum err_code code, const char *says) {
    struct err e = {0};
    char partial[700];
    o.n_threads = 1;
    if (merge_adapter(base, ad, to, &o, NULL, &e) == 0) fail_msg("merged: %s", says);
    if (e.code != code || !strstr(e.msg, says))
        fail_msg("\"%s\" (%d) does not say %s", e.msg, e.code, says);
    snprintf(partial, sizeof partial, "%s.partial", to);
    assert_int_not_equal(access(partial, F_OK), 0);
}

/* A pair of ones for W. */
static void make_pair(const char *arch, const char *w, int n_in, int n_out, float b_value) {
    struct err e;
    char name[160];
    const int64_t a[] = {n_in, 2}, b[] = {2, n_out};
    struct gguf_writer *g = gguf_writer_new(adapter, 0, &e);
    gguf_set_str(g, "general.type", STR("adapter"), &e);
    gguf_set_str(g, "adapter.type", STR("lora"), &e);
    gguf_set_str(g, "general.architecture", str_of(arch), &e);
    gguf_set_f32(g, "adapter.lora.alpha", 2, &e);
    snprintf(name, sizeof name, "%s.lora_a", w);
    assert_int_equal(gguf_add_tensor(g, name, QT_F32, 2, a, &e), 0);
    snprintf(name, sizeof name, "%s.lora_b", w);
    assert_int_equal(gguf_add_tensor(g, name, QT_F32, 2, b, &e), 0);
    for (int i = 0; i < 2 * (n_in + n_out); i++) {
        const float v = i < 2 * n_in ? 1 : b_value;
        assert_int_equal(gguf_write_data(g, &v, sizeof v, &e), 0);
    }
    if (gguf_writer_finish(g, &e) != 0) fail_msg("%s", e.msg);
}

static int stop_at_once(void *ctx, double done) {
    (void)ctx;
    return done > 0;
}

static void what_is_refused(void **state) {
    (void)state;
    static const struct toy plain = {.arch = "llama", .rope = 'p'};
    static const struct toy experts = {.arch = "qwen3moe",
                                       .rope = 'h',
                                       .qk_norm = TOY_QK_HEAD,
                                       .head_dim = 32,
                                       .n_expert = 6,
                                       .n_used = 3,
                                       .n_ff_exp = 32,
                                       .renorm = true};
    static const struct {
        const char *arch, *w;
        int n_in, n_out;
        enum err_code code;
        const char *says;
    } bad[] = {
        {"qwen2", "blk.0.attn_q.weight", 48, 48, ERR_FORMAT, "'general.architecture' is qwen2"},
        {"llama", "blk.9.attn_q.weight", 48, 48, ERR_FORMAT, "blk.9.attn_q.weight"},
        {"llama", "blk.0.attn_norm.weight", 48, 1, ERR_FORMAT, "attn_norm"},
        {"llama", "blk.0.attn_q.weight", 40, 48, ERR_FORMAT, "40 x 48; the model has 48 x 48"},
        {"llama", "blk.0.attn_q.weight", 48, 40, ERR_FORMAT, "48 x 40; the model has 48 x 48"},
        {"llama", "token_embd.weight", 48, 96, ERR_UNSUPPORTED, "token_embd.weight"},
    };
    const struct merge_opts none = {0};
    char base[600];
    snprintf(base, sizeof base, "%s", toy_file(&plain));
    unlink(out);
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        make_pair(bad[i].arch, bad[i].w, bad[i].n_in, bad[i].n_out, 1);
        refused(base, adapter, out, none, bad[i].code, bad[i].says);
    }
    make_pair("llama", "blk.0.attn_q.weight", 48, 48, INFINITY);
    refused(base, adapter, out, none, ERR_FORMAT, "blk.0.attn_q.weight, row 0, column 0: inf");
    make_pair("llama", "blk.0.attn_q.weight", 48, 48, 1e6f);
    refused(base, adapter, out, (struct merge_opts){.type = "F16"}, ERR_FORMAT, "does not fit");
    make_pair("llama", "blk.0.attn_q.weight", 48, 48, 1);
    refused(base, adapter, out, (struct merge_opts){.type = "Q9"}, ERR_USAGE, "Q4_K_M");
    refused(base, adapter, out, (struct merge_opts){.progress = stop_at_once}, ERR_CANCELLED,
            "interrupted");
    refused(base, adapter, base, none, ERR_USAGE, "is the input");
    refused(base, adapter, adapter, none, ERR_USAGE, "is the adapter");
    refused(adapter, adapter, out, none, ERR_FORMAT, "is an adapter; the base model is needed");
    refused(base, base, out, none, ERR_FORMAT, "general.type");
    refused("/nowhere.gguf", adapter, out, none, ERR_NOT_FOUND, "/nowhere.gguf");
    refused(base, "/nowhere.gguf", out, none, ERR_NOT_FOUND, "/nowhere.gguf");
    assert_int_not_equal(access(out, F_OK), 0);
    snprintf(base, sizeof base, "%s", toy_file(&experts));
    make_pair("qwen3moe", "blk.0.ffn_up_exps.weight", 48, 32, 1);
    refused(base, adapter, out, none, ERR_UNSUPPORTED, "ffn_up_exps");
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(merged_floats_are_the_adapter),
        cmocka_unit_test(a_fresh_adapter_changes_nothing),
        cmocka_unit_test(any_architecture),
        cmocka_unit_test(merged_is_the_reference),
        cmocka_unit_test(one_pass_is_two),
        cmocka_unit_test(rounding_costs_what_it_costs),
        cmocka_unit_test(types_stay),
        cmocka_unit_test(keys_are_the_base_s),
        cmocka_unit_test(what_is_refused),
    };
    return cmocka_run_group_tests(tests, make_dir, remove_dir);
}
