/* Forms in which Hugging Face folders come: families without a golden model, nested and newer
 * config.json files, and what must be refused by name. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "gguf/write.h"
#include "hf.h"
#include "hf_edit.h"
#include "hub_rig.h"
#include "model_rig.h"
#include "toy.h"

#define KEY(x) "tokenizer.ggml." x
#define ST "model.safetensors"

static void ok(int rc, const struct err *e) {
    if (rc != 0) fail_msg("%s", e->msg);
}

/* ---- toys: smollm3, nomic-bert ---- */

static struct str text_of(char store[16], const char *before, int c) {
    snprintf(store, 16, "%s%c", before, c);
    return str_of(store);
}

/* TOY_VOCAB byte-level tokens, as SmolLM 3's tokenizer (Llama 3's) has them. */
static void add_bpe(struct gguf_writer *w, struct err *e) {
    char store[TOY_VOCAB][16];
    struct str v[TOY_VOCAB];
    int32_t type[TOY_VOCAB];
    int n = 0;
    for (int c = '!'; n < TOY_VOCAB - 4; c++)
        v[n] = text_of(store[n], "", c), n++;
    v[n++] = STR("th"), v[n++] = STR("the");
    v[n++] = STR("<|begin_of_text|>"), v[n++] = STR("<|end_of_text|>");
    for (int i = 0; i < TOY_VOCAB; i++)
        type[i] = i < TOY_VOCAB - 2 ? 1 : 3;
    ok(gguf_set_str(w, KEY("model"), STR("gpt2"), e), e);
    ok(gguf_set_str(w, KEY("pre"), STR("llama-bpe"), e), e);
    ok(gguf_set_strs(w, KEY("tokens"), v, TOY_VOCAB, e), e);
    ok(gguf_set_arr(w, KEY("token_type"), GGUF_I32, type, TOY_VOCAB, e), e);
    ok(gguf_set_strs(w, KEY("merges"), (struct str[]){STR("t h"), STR("th e")}, 2, e), e);
    ok(gguf_set_u32(w, KEY("bos_token_id"), TOY_VOCAB - 2, e), e);
    ok(gguf_set_u32(w, KEY("eos_token_id"), TOY_VOCAB - 1, e), e);
    ok(gguf_set_bool(w, KEY("add_bos_token"), true, e), e);
}

static void add_wordpiece(struct gguf_writer *w, struct err *e) {
    static const char *const first[] = {"[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"};
    static const char *const ids[] = {KEY("padding_token_id"), KEY("unknown_token_id"),
                                      KEY("cls_token_id"),     KEY("seperator_token_id"),
                                      KEY("mask_token_id"),    KEY("bos_token_id"),
                                      KEY("eos_token_id")};
    char store[TOY_VOCAB][16];
    struct str v[TOY_VOCAB];
    int32_t type[TOY_VOCAB];
    for (int i = 0; i < TOY_VOCAB; i++) {
        const int k = i - 5;
        v[i] = i < 5 ? str_of(first[i])
                     : text_of(store[i], k < 60 ? "\xe2\x96\x81" : "", 'A' + k % 60);
        type[i] = i < 5 ? 3 : 1;
    }
    ok(gguf_set_str(w, KEY("model"), STR("bert"), e), e);
    ok(gguf_set_str(w, KEY("pre"), STR("default"), e), e);
    ok(gguf_set_strs(w, KEY("tokens"), v, TOY_VOCAB, e), e);
    ok(gguf_set_arr(w, KEY("token_type"), GGUF_I32, type, TOY_VOCAB, e), e);
    ok(gguf_set_u32(w, KEY("token_type_count"), 2, e), e);
    for (uint32_t i = 0; i < 7; i++)
        ok(gguf_set_u32(w, ids[i], i < 5 ? i : i - 3, e), e);
}

/* The toy's file with a vocabulary, at PATH. */
static void write_toy(const struct toy_model *m, const char *arch, const char *path) {
    char bare[1300];
    struct err e = {0};
    snprintf(bare, sizeof bare, "%s.bare", path);
    toy_write(m, bare);
    struct gguf *g = hub_open(bare);
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    ok(w ? 0 : -1, &e);
    for (int i = 0; i < gguf_n_kv(g); i++)
        ok(gguf_copy_kv(w, gguf_kv_at(g, i), &e), &e);
    if (strcmp(arch, "nomic-bert") == 0) {
        ok(gguf_set_u32(w, "nomic-bert.pooling_type", 1, &e), &e);
        add_wordpiece(w, &e);
    } else {
        add_bpe(w, &e);
    }
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        ok(gguf_add_tensor(w, t->name, t->type, t->n_dim, t->ne, &e), &e);
    }
    for (int i = 0; i < gguf_n_tensor(g); i++) {
        const struct gguf_tensor *t = gguf_tensor_at(g, i);
        ok(gguf_write_data(w, t->data, t->n_bytes, &e), &e);
    }
    ok(gguf_writer_finish(w, &e), &e);
    gguf_close(g);
}

enum { N_TOK = 20 };

/* The converted file computes what the toy's plain forward pass does. */
static void same_forward(const struct toy_model *m, const char *path) {
    int32_t tok[N_TOK];
    struct rig r;
    struct kv_seq s;
    rig_open(&r, path, (struct rig_opts){.n_ctx = TOY_CTX});
    for (int k = 0; k < N_TOK; k++)
        tok[k] = (k * 37 + k * k * 5) % TOY_VOCAB;
    const size_t n = (size_t)N_TOK * (size_t)r.n_col;
    double *want = malloc(n * sizeof *want), square = 0;
    float *got = malloc(n * sizeof *got);
    toy_forward(m, tok, N_TOK, want);
    kv_seq_init(&s, r.pool);
    rig_feed(&r, &s, NULL, tok, N_TOK, 0, got);
    for (size_t i = 0; i < n; i++)
        square += want[i] * want[i] / (double)n;
    for (size_t i = 0; i < n; i++)
        if (!(fabs((double)got[i] - want[i]) <= 2e-4 * sqrt(square)))
            fail_msg("value %zu is %g, not %g", i, (double)got[i], want[i]);
    kv_seq_fini(&s);
    rig_close(&r);
    free(want), free(got);
}

static void toy_comes_back(const struct toy *t, const char *as) {
    char path[1200], folder[1100], out[1400];
    struct toy_model *m = toy_new(t, 4242);
    snprintf(path, sizeof path, "%s/%s.gguf", hub_dir, as);
    snprintf(folder, sizeof folder, "%s/%s", hub_dir, as);
    write_toy(m, t->arch, path);
    assert_int_equal(hf_write(path, folder, 0), 0);
    hub_folder(as, out);
    struct gguf *a = hub_open(path), *b = hub_open(out);
    hub_same_tensors(as, a, b);
    hub_same_hparams(as, a, b);
    hub_same_vocab(as, a, b, false);
    same_forward(m, out);
    gguf_close(a), gguf_close(b);
    toy_free(m);
}

/* clang-format off */
static const struct toy smollm3 = {.arch = "smollm3", .rope = 'p', .no_rope_period = 4, .n_layer = 5, .tied = true};
static const struct toy smollm3_untied = {.arch = "smollm3", .rope = 'p', .no_rope_period = 4, .n_layer = 4};
/* n_ff: the class rounds it up to a multiple of 256. */
static const struct toy nomic = {.arch = "nomic-bert", .layer_norm = true, .norm_bias = true, .norms = TOY_OUTER, .encoder = true,
    .types = true, .n_kv = 4, .rope = 'h', .fused_qkv = true, .n_ff = 256};
/* clang-format on */

static void smollm3_comes_back(void **state) {
    (void)state;
    toy_comes_back(&smollm3, "smollm3");
    toy_comes_back(&smollm3_untied, "smollm3-untied");
}

static void nomic_comes_back(void **state) {
    (void)state;
    toy_comes_back(&nomic, "nomic");
}

/* Refused: the folder NAME, with these words. */
static void refused(const char *name, const char *const *words) {
    char text[1300];
    snprintf(text, sizeof text, "FROM %s/%s\n", hub_dir, name);
    hub_refused(text, words);
}
#define REFUSED(name, ...) refused(name, (const char *const[]){__VA_ARGS__, NULL})

/* DIR of the folder NAME below hub_dir; a ring of a few. */
static const char *folder_of(const char *name) {
    static char ring[4][1100];
    static int at;
    at = (at + 1) % 4;
    snprintf(ring[at], sizeof ring[at], "%s/%s", hub_dir, name);
    return ring[at];
}

/* A GGUF of smollm3 rotates all but every fourth layer: nothing else can be said in it. */
static void rotation_that_gguf_cannot_say(void **state) {
    (void)state;
    const char *const d = folder_of("smollm3");
    hf_set(d, "config.json", "no_rope_layers", json_pack("[i, i, i, i, i]", 1, 0, 1, 0, 1));
    REFUSED("smollm3", "config.json", "no_rope_layers");
    hf_set(d, "config.json", "no_rope_layers", NULL); /* the interval alone is enough */
    char path[1400];
    hub_folder("smollm3", path);
    hf_set(d, "config.json", "no_rope_layer_interval", json_integer(3));
    REFUSED("smollm3", "config.json", "no_rope_layer_interval");
}

/* Nomic Embed 1's base is 1000; what its class can also do and ours cannot is refused. */
static void nomic_settings(void **state) {
    (void)state;
    const char *const d = folder_of("nomic");
    char path[1400];
    float base = 0;
    struct err e;
    hf_set(d, "config.json", "rotary_emb_base", json_integer(1000));
    hub_folder("nomic", path);
    struct gguf *g = hub_open(path);
    assert_int_equal(gguf_get_f32(g, "nomic-bert.rope.freq_base", &base, &e), 1);
    assert_true(base == 1000);
    gguf_close(g);
    static const char *const on[] = {"prenorm", "rotary_emb_interleaved", "causal", "use_rms_norm",
                                     "parallel_block"};
    for (size_t i = 0; i < sizeof on / sizeof *on; i++) {
        hf_set(d, "config.json", on[i], json_true());
        REFUSED("nomic", "config.json", on[i]);
        hf_set(d, "config.json", on[i], json_false());
    }
    hf_set(d, "config.json", "activation_function", json_string("gelu"));
    REFUSED("nomic", "config.json", "activation_function");
    hf_set(d, "config.json", "activation_function", json_string("swiglu"));
    hf_set(d, "config.json", "rotary_emb_fraction", json_real(0.5));
    REFUSED("nomic", "config.json", "rotary_emb_fraction");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smollm3_comes_back),
        cmocka_unit_test(nomic_comes_back),
        cmocka_unit_test(nomic_settings),
        cmocka_unit_test(rotation_that_gguf_cannot_say),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, hub_set_up, hub_tear_down);
}
