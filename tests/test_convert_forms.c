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

/* A GGUF of smollm3 rotates all but every fourth layer: nothing else can be said in it. */
static void rotation_that_gguf_cannot_say(void **state) {
    (void)state;
    const char *const d = hub_path("smollm3");
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
    const char *const d = hub_path("nomic");
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

/* ---- Gemma 3: nested, newer ---- */

/* The golden gemma3 as folder NAME, in the multimodal class's form: config of the text model in
 * text_config, names under PREFIX, and the parts that see, which are not converted. */
static const char *write_nested(const char *name, const char *prefix, const char *vision,
                                const char *projector) {
    const char *const d = hub_path(name);
    char tensor[200];
    assert_int_equal(hf_write(hub_golden("gemma3"), d, 0), 0);
    json_t *text = hf_get(d, "config.json");
    json_object_set_new(text, "model_type", json_string("gemma3_text"));
    json_object_del(text, "architectures"), json_object_del(text, "transformers_version");
    hf_replace(d, "config.json",
               json_pack("{s:[s], s:i, s:s, s:o, s:{s:s, s:i}, s:s}", "architectures",
                         "Gemma3ForConditionalGeneration", "mm_tokens_per_image", 256, "model_type",
                         "gemma3", "text_config", text, "vision_config", "model_type",
                         "siglip_vision_model", "hidden_size", 8, "transformers_version",
                         "4.50.0"));
    hf_rename_tensors(d, ST, "model.", prefix);
    snprintf(tensor, sizeof tensor, "%s.vision_model.encoder.layers.0.mlp.fc1.weight", vision);
    hf_add_tensor(d, ST, tensor, "F32", 8, 8);
    snprintf(tensor, sizeof tensor, "%s.vision_model.embeddings.patch_embedding.bias", vision);
    hf_add_tensor(d, ST, tensor, "F32", 8, 0);
    snprintf(tensor, sizeof tensor, "%s.mm_input_projection_weight", projector);
    hf_add_tensor(d, ST, tensor, "F32", 8, 64);
    return d;
}

static void gemma3_nested(void **state) {
    (void)state;
    const char *d =
        write_nested("g3", "language_model.model.", "vision_tower", "multi_modal_projector");
    static const char *const left_out[] = {"rms_norm_eps",           "rope_theta",
                                           "rope_local_base_freq",   "sliding_window_pattern",
                                           "attention_bias",         "hidden_activation",
                                           "attn_logit_softcapping", "final_logit_softcapping",
                                           "cache_implementation",   "use_cache",
                                           "bos_token_id",           "eos_token_id"};
    for (size_t i = 0; i < sizeof left_out / sizeof *left_out; i++) {
        char key[80];
        snprintf(key, sizeof key, "text_config.%s", left_out[i]);
        hf_set(d, "config.json", key, NULL);
    }
    hub_same_as_golden("g3", "gemma3");
    write_nested("g3-5", "model.language_model.", "model.vision_tower",
                 "model.multi_modal_projector");
    hub_same_as_golden("g3-5", "gemma3");
}

/* The text_config of gemma-3-4b-it has six keys; the rest are Gemma3TextConfig's defaults.  Its
 * shapes, but narrow: hidden_size 16, three layers. */
static void gemma3_defaults(void **state) {
    (void)state;
    enum { WIDE = 16, N_LAYER = 3 };
    static const struct {
        const char *name;
        int rows, cols;
    } t[] = {{"self_attn.q_proj", 8 * 256, WIDE},
             {"self_attn.k_proj", 4 * 256, WIDE},
             {"self_attn.v_proj", 4 * 256, WIDE},
             {"self_attn.o_proj", WIDE, 8 * 256},
             {"self_attn.q_norm", 256, 0},
             {"self_attn.k_norm", 256, 0},
             {"mlp.gate_proj", 32, WIDE},
             {"mlp.up_proj", 32, WIDE},
             {"mlp.down_proj", WIDE, 32},
             {"input_layernorm", WIDE, 0},
             {"post_attention_layernorm", WIDE, 0},
             {"pre_feedforward_layernorm", WIDE, 0},
             {"post_feedforward_layernorm", WIDE, 0}};
    const char *const d = hub_path("g4b");
    char name[200], path[1400];
    assert_int_equal(hf_write(hub_golden("gemma3"), d, HF_BF16), 0);
    hf_replace(d, "config.json",
               json_pack("{s:s, s:[i, i], s:{s:i, s:i, s:s, s:i, s:{s:f, s:s}, s:i}, s:s}",
                         "model_type", "gemma3", "eos_token_id", 2, 106, "text_config",
                         "hidden_size", WIDE, "intermediate_size", 32, "model_type", "gemma3_text",
                         "num_hidden_layers", N_LAYER, "rope_scaling", "factor", 8.0, "rope_type",
                         "linear", "sliding_window", 1024, "torch_dtype", "bfloat16"));
    static const char empty[] = "\x02\0\0\0\0\0\0\0{}";
    hf_bytes(d, ST, empty, sizeof empty - 1);
    hf_add_tensor(d, ST, "language_model.model.embed_tokens.weight", "BF16", 448, WIDE);
    hf_add_tensor(d, ST, "language_model.model.norm.weight", "BF16", WIDE, 0);
    for (int i = 0; i < N_LAYER * (int)(sizeof t / sizeof *t); i++) {
        const int k = i / N_LAYER;
        snprintf(name, sizeof name, "language_model.model.layers.%d.%s.weight", i % N_LAYER,
                 t[k].name);
        hf_add_tensor(d, ST, name, "BF16", t[k].rows, t[k].cols);
    }
    hub_folder("g4b", path);
    struct gguf *g = hub_open(path);
    assert_int_equal(hub_int(g, "gemma3.attention.head_count"), 8);
    assert_int_equal(hub_int(g, "gemma3.attention.head_count_kv"), 4);
    assert_int_equal(hub_int(g, "gemma3.attention.key_length"), 256);
    assert_int_equal(hub_int(g, "gemma3.attention.value_length"), 256);
    assert_int_equal(hub_int(g, "gemma3.context_length"), 131072);
    assert_int_equal(hub_int(g, "gemma3.attention.sliding_window"), 1024);
    assert_true(hub_num(g, "gemma3.rope.freq_base") == 1e6);
    assert_true(hub_num(g, "gemma3.rope.scaling.factor") == 8);
    assert_true(hub_num(g, "gemma3.attention.layer_norm_rms_epsilon") == (double)1e-6f);
    gguf_close(g);
}

/* transformers 5: what rotates is in rope_parameters, with the base; dtype for torch_dtype. */
static void newer_keys(const char *d) {
    json_t *c = hf_get(d, "config.json"), *rope = json_object_get(c, "rope_scaling");
    rope = json_is_object(rope) ? json_deep_copy(rope) : json_pack("{s:s}", "rope_type", "default");
    json_object_set(rope, "rope_theta", json_object_get(c, "rope_theta"));
    json_object_set_new(c, "rope_parameters", rope);
    json_object_del(c, "rope_theta"), json_object_del(c, "rope_scaling");
    json_object_set(c, "dtype", json_object_get(c, "torch_dtype"));
    json_object_del(c, "torch_dtype");
    json_object_set_new(c, "transformers_version", json_string("5.0.0"));
    hf_replace(d, "config.json", c);
}

static void transformers5(void **state) {
    (void)state;
    static const char *const names[] = {"llama32",           "phi3-4k", "llama-yarn",
                                        "llama-linear-rope", "qwen3",   "phi4-mini"};
    for (int i = 0; i < (golden_is_full() ? 6 : 2); i++) {
        char as[40];
        snprintf(as, sizeof as, "new-%s", names[i]);
        assert_int_equal(hf_write(hub_golden(names[i]), hub_path(as), 0), 0);
        newer_keys(hub_path(as));
        hub_same_as_golden(as, names[i]);
    }
}

/* Gemma 3's two kinds of layers, as transformers 5 writes them: every n-th layer is full. */
static void set_layer_types(const char *d, int n_layer, int period, double base, double local) {
    json_t *c = hf_get(d, "config.json"), *types = json_array();
    for (int il = 0; il < n_layer; il++)
        json_array_append_new(
            types, json_string((il + 1) % period ? "sliding_attention" : "full_attention"));
    json_object_set_new(c, "layer_types", types);
    static const char *const old[] = {"rope_theta", "rope_scaling", "rope_local_base_freq",
                                      "sliding_window_pattern"};
    for (int i = 0; i < 4; i++)
        json_object_del(c, old[i]);
    json_object_set_new(c, "rope_parameters",
                        json_pack("{s:{s:s, s:f, s:f}, s:{s:s, s:f}}", "full_attention",
                                  "rope_type", "linear", "factor", 8.0, "rope_theta", base,
                                  "sliding_attention", "rope_type", "default", "rope_theta",
                                  local));
    hf_replace(d, "config.json", c);
}

static void gemma3_layer_types(void **state) {
    (void)state;
    char path[1400];
    const char *const d = hub_path("g3-types");
    assert_int_equal(hf_write(hub_golden("gemma3"), d, 0), 0);
    set_layer_types(d, 7, 6, 1e6, 1e4);
    hub_same_as_golden("g3-types", "gemma3");
    set_layer_types(d, 7, 3, 5e5, 2e4);
    hub_folder("g3-types", path);
    struct gguf *g = hub_open(path);
    assert_true(hub_num(g, "gemma3.rope.freq_base") == 5e5);
    assert_true(hub_num(g, "gemma3.rope.freq_base_swa") == 2e4);
    assert_int_equal(hub_int(g, "gemma3.attention.sliding_window_pattern"), 3);
    gguf_close(g);
    json_t *c = hf_get(d, "config.json");
    json_array_set_new(json_object_get(c, "layer_types"), 3, json_string("full_attention"));
    hf_replace(d, "config.json", c);
    REFUSED("g3-types", "config.json", "layer_types");
}

/* ---- what is missing or null, and what is refused ---- */

static const char *write_llama(const char *name) {
    const char *const d = hub_path(name);
    assert_int_equal(hf_write(hub_golden("llama32"), d, 0), 0);
    return d;
}

static void nulls_and_defaults(void **state) {
    (void)state;
    const char *d = write_llama("nulls");
    hf_set(d, "config.json", "head_dim", json_null());
    hf_set(d, "config.json", "mlp_bias", NULL);
    hf_set(d, "config.json", "attention_bias", NULL);
    hf_set(d, "config.json", "pretraining_tp", NULL);
    hub_same_as_golden("nulls", "llama32");
    /* As many heads for keys as for queries where none are named. */
    hf_set(d, "config.json", "num_key_value_heads", NULL);
    for (int il = 0; il < 3; il++)
        for (int k = 0; k < 2; k++) {
            char name[100];
            snprintf(name, sizeof name, "model.layers.%d.self_attn.%c_proj.weight", il, "kv"[k]);
            hf_add_tensor(d, ST, name, "F32", 64, 64);
        }
    char path[1400];
    hub_folder("nulls", path);
    struct gguf *g = hub_open(path);
    assert_int_equal(hub_int(g, "llama.attention.head_count_kv"), 4);
    gguf_close(g);
}

static void ends_are(const char *folder, int64_t eos, int64_t eot, int64_t eom) {
    char path[1400];
    hub_folder(folder, path);
    struct gguf *g = hub_open(path);
    assert_int_equal(hub_int(g, KEY("eos_token_id")), eos);
    assert_int_equal(hub_int(g, KEY("eot_token_id")), eot);
    assert_int_equal(hub_int(g, KEY("eom_token_id")), eom);
    gguf_close(g);
}

/* As Llama 3.1: eos by its text, the others behind it in the list's order.  Gemma 3 has a list in
 * config.json, too. */
static void several_ends(void **state) {
    (void)state;
    const char *d = write_llama("ends");
    hf_set(d, "generation_config.json", "eos_token_id", json_pack("[i, i, i]", 443, 444, 446));
    ends_are("ends", 446, 443, 444);
    hf_remove(d, "generation_config.json");
    hf_set(d, "config.json", "eos_token_id", json_pack("[i, i, i]", 446, 445, 444));
    ends_are("ends", 446, 445, 444);
}

static void configs_that_are_refused(void **state) {
    (void)state;
    const char *d = write_llama("bad");
    hf_set(d, "config.json", "tie_word_embeddings", json_false());
    REFUSED("bad", "lm_head.weight", "tie_word_embeddings");
    hf_set(d, "config.json", "tie_word_embeddings", json_true());
    hf_set(d, "config.json", "quantization_config", json_pack("{s:s}", "quant_method", "gptq"));
    REFUSED("bad", "quantization_config");
    hf_set(d, "config.json", "quantization_config", NULL);
    hf_set(d, "config.json", "model_type", json_string("mamba9"));
    REFUSED("bad", "model_type \"mamba9\"", "llama", "qwen3_moe", "smollm3", "nomic_bert");
    hf_set(d, "config.json", "model_type", NULL);
    REFUSED("bad", "config.json", "model_type");
    hf_set(d, "config.json", "model_type", json_string("llama"));
    static const char *const needed[] = {
        "hidden_size",       "num_hidden_layers",       "num_attention_heads",
        "intermediate_size", "max_position_embeddings", "rms_norm_eps"};
    for (size_t i = 0; i < sizeof needed / sizeof *needed; i++) {
        json_t *c = hf_get(d, "config.json");
        json_t *v = json_incref(json_object_get(c, needed[i]));
        hf_set(d, "config.json", needed[i], json_string("many"));
        REFUSED("bad", "config.json", needed[i]);
        hf_set(d, "config.json", needed[i], v);
        json_decref(c);
    }
    hf_set(d, "config.json", "rope_scaling",
           json_pack("{s:s, s:f}", "type", "dynamic", "factor", 2.0));
    REFUSED("bad", "config.json", "rope_scaling", "dynamic");
    hf_set(d, "config.json", "rope_scaling", json_null());
    hf_set(d, "config.json", "hidden_act", json_string("relu"));
    REFUSED("bad", "config.json", "hidden_act");
    hf_text(d, "config.json", "{\"model_type\": \"llama\",");
    REFUSED("bad", "config.json");
}

static void tensors_that_are_refused(void **state) {
    (void)state;
    const char *d = write_llama("odd");
    hf_add_tensor(d, ST, "model.layers.1.self_attn.sinks", "F32", 4, 0);
    REFUSED("odd", "model.layers.1.self_attn.sinks");
    hf_drop_tensor(d, ST, "model.layers.1.self_attn.sinks");
    hf_add_tensor(d, ST, "model.layers.3.mlp.up_proj.weight", "F32", 160, 64);
    REFUSED("odd", "model.layers.3.mlp.up_proj.weight");
    hf_drop_tensor(d, ST, "model.layers.3.mlp.up_proj.weight");
    hf_add_tensor(d, ST, "model.layers.1.mlp.up_proj.weight", "F32", 64, 160); /* transposed */
    REFUSED("odd", "/odd: ", "blk.1.ffn_up.weight");
    hf_drop_tensor(d, ST, "model.layers.1.mlp.up_proj.weight");
    REFUSED("odd", "/odd: ", "blk.1.ffn_up.weight");
    hf_drop_tensor(d, ST, "model.embed_tokens.weight");
    REFUSED("odd", "embedding");
    if (!golden_is_full()) return;
    d = hub_path("experts");
    assert_int_equal(hf_write(hub_golden("mixtral"), d, 0), 0);
    hf_drop_tensor(d, ST, "model.layers.1.block_sparse_moe.experts.2.w3.weight");
    REFUSED("experts", "blk.1.ffn_up_exps", "expert 2");
    hf_add_tensor(d, ST, "model.layers.1.block_sparse_moe.experts.2.w3.weight", "F32", 8, 8);
    REFUSED("experts", "model.layers.1.block_sparse_moe.experts.2.w3.weight");
}

/* Windows that our forms of these families do not have. */
static void windows_that_are_refused(void **state) {
    (void)state;
    if (!golden_is_full()) return;
    const char *d = hub_path("q2");
    assert_int_equal(hf_write(hub_golden("qwen2"), d, 0), 0);
    hf_set(d, "config.json", "use_sliding_window", json_true());
    hf_set(d, "config.json", "max_window_layers", json_integer(1));
    REFUSED("q2", "config.json", "use_sliding_window");
    d = hub_path("o2");
    assert_int_equal(hf_write(hub_golden("olmo2"), d, 0), 0);
    hf_set(d, "config.json", "layer_types",
           json_pack("[s, s, s]", "sliding_attention", "sliding_attention", "full_attention"));
    REFUSED("o2", "config.json", "layer_types");
    d = hub_path("g2");
    assert_int_equal(hf_write(hub_golden("gemma2"), d, 0), 0);
    hf_set(d, "config.json", "layer_types",
           json_pack("[s, s, s, s]", "full_attention", "sliding_attention", "full_attention",
                     "sliding_attention"));
    REFUSED("g2", "config.json", "layer_types");
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(smollm3_comes_back),
        cmocka_unit_test(nomic_comes_back),
        cmocka_unit_test(nomic_settings),
        cmocka_unit_test(rotation_that_gguf_cannot_say),
        cmocka_unit_test(gemma3_nested),
        cmocka_unit_test(gemma3_defaults),
        cmocka_unit_test(gemma3_layer_types),
        cmocka_unit_test(transformers5),
        cmocka_unit_test(nulls_and_defaults),
        cmocka_unit_test(several_ends),
        cmocka_unit_test(configs_that_are_refused),
        cmocka_unit_test(tensors_that_are_refused),
        cmocka_unit_test(windows_that_are_refused),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, hub_set_up, hub_tear_down);
}
