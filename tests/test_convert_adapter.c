/* PEFT adapters in Hugging Face form: scales, ranks of their own, and what must be refused by name
 * (SECURITY.md F16). */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "gguf/write.h"
#include "hf.h"
#include "hf_edit.h"
#include "hub_rig.h"

#define ST "adapter_model.safetensors"
#define CONFIG "adapter_config.json"
#define LAYER1 "base_model.model.model.layers.1.self_attn."

enum { RANK = 4 };

/* llama32.lora-qv for llama32, as folder NAME. */
static const char *write_adapter(const char *name) {
    const char *const d = hub_path(name);
    assert_int_equal(
        hf_write_adapter(golden("lora/llama32.lora-qv.gguf"), hub_golden("llama32"), d), 0);
    return d;
}

/* A copy of the golden model, where the Modelfile may name it. */
static void modelfile(char text[2600], const char *base, const char *adapter) {
    char path[1200];
    struct err e;
    size_t n;
    snprintf(path, sizeof path, "%s/%s.gguf", hub_dir, base);
    uint8_t *p = slurp(hub_golden(base), &n);
    if (os_write_file(path, p, n, &e) != 0) fail_msg("%s", e.msg);
    free(p);
    snprintf(text, 2600, "FROM %s\nADAPTER %s/%s\n", path, hub_dir, adapter);
}

static struct gguf *converted(const char *name) {
    char text[2600], path[1400];
    modelfile(text, "llama32", name);
    hub_create(name, text);
    hub_layer(name, "adapter", path);
    return hub_open(path);
}

static void refused(const char *base, const char *name, const char *const *words) {
    char text[2600];
    modelfile(text, base, name);
    hub_refused(text, words);
}
#define NOT(base, name, ...) refused(base, name, (const char *const[]){__VA_ARGS__, NULL})

static double alpha_of(const struct gguf *g) {
    return hub_num(g, "adapter.lora.alpha");
}

/* Readers of GGUF scale by alpha / rank; rank-stabilized LoRA means alpha / sqrt(rank). */
static void rslora(void **state) {
    (void)state;
    const char *const d = write_adapter("rs");
    struct gguf *g = converted("rs");
    const double alpha = alpha_of(g);
    gguf_close(g);
    hf_set(d, CONFIG, "use_rslora", json_true());
    g = converted("rs");
    assert_true(alpha > 0);
    assert_true(fabs(alpha_of(g) / RANK - alpha / sqrt(RANK)) < 1e-5 * alpha);
    gguf_close(g);
}

/* PEFT divides by the rank of each module, as readers do by each tensor's. */
static void rank_pattern(void **state) {
    (void)state;
    const char *const d = write_adapter("ranks");
    struct gguf *g = converted("ranks");
    const double alpha = alpha_of(g);
    gguf_close(g);
    hf_set(d, CONFIG, "rank_pattern", json_pack("{s:i}", "layers.1.self_attn.q_proj", 2));
    hf_add_tensor(d, ST, LAYER1 "q_proj.lora_A.weight", "F32", 2, 64);
    hf_add_tensor(d, ST, LAYER1 "q_proj.lora_B.weight", "F32", 64, 2);
    g = converted("ranks");
    assert_true(alpha_of(g) == alpha);
    assert_int_equal(gguf_tensor(g, "blk.1.attn_q.weight.lora_a")->ne[1], 2);
    assert_int_equal(gguf_tensor(g, "blk.1.attn_q.weight.lora_b")->ne[0], 2);
    assert_int_equal(gguf_tensor(g, "blk.0.attn_q.weight.lora_a")->ne[1], RANK);
    gguf_close(g);
    hf_set(d, CONFIG, "use_rslora", json_true()); /* no one alpha gives all these scales */
    NOT("llama32", "ranks", CONFIG, "rank_pattern");
}

/* Base and adapter both as folders; rows of q move as the base's do. */
static void both_as_folders(void **state) {
    (void)state;
    char text[2600], path[1400];
    write_adapter("both");
    assert_int_equal(hf_write(hub_golden("llama32"), hub_path("base"), 0), 0);
    snprintf(text, sizeof text, "FROM %s/base\nADAPTER %s/both\n", hub_dir, hub_dir);
    hub_create("folders", text);
    hub_layer("folders", "adapter", path);
    struct gguf *a = hub_open(golden("lora/llama32.lora-qv.gguf")), *b = hub_open(path);
    hub_same_tensors("folders", a, b);
    gguf_close(a), gguf_close(b);
}

static void settings_that_are_refused(void **state) {
    (void)state;
    const char *const d = write_adapter("settings");
    static const char *const on[] = {"use_dora", "fan_in_fan_out"};
    for (int i = 0; i < 2; i++) {
        hf_set(d, CONFIG, on[i], json_true());
        NOT("llama32", "settings", CONFIG, on[i]);
        hf_set(d, CONFIG, on[i], json_false());
    }
    hf_set(d, CONFIG, "alpha_pattern", json_pack("{s:i}", "q_proj", 4));
    NOT("llama32", "settings", CONFIG, "alpha_pattern");
    hf_set(d, CONFIG, "alpha_pattern", json_object());
    hf_set(d, CONFIG, "peft_type", json_string("IA3"));
    NOT("llama32", "settings", CONFIG, "peft_type");
    hf_set(d, CONFIG, "peft_type", json_string("LORA"));
    hf_set(d, CONFIG, "r", json_integer(0));
    NOT("llama32", "settings", CONFIG, "\"r\"");
    hf_set(d, CONFIG, "r", json_integer(RANK + 1));
    NOT("llama32", "settings", CONFIG, "\"r\"");
    hf_set(d, CONFIG, "r", json_integer(RANK));
    static const char *const alphas[] = {"NaN", "Infinity", "1e999", "\"16\"", "-1", "0"};
    for (int i = 0; i < 6; i++) {
        char text[200];
        snprintf(text, sizeof text, "{\"peft_type\": \"LORA\", \"r\": %d, \"lora_alpha\": %s}",
                 RANK, alphas[i]);
        hf_text(d, CONFIG, text);
        NOT("llama32", "settings", CONFIG);
    }
    hf_text(d, CONFIG, "{\"peft_type\": \"LORA\", ");
    NOT("llama32", "settings", CONFIG);
}

/* A further tensor, refused by its name. */
static void refused_with(const char *d, const char *tensor, int d0, int d1) {
    hf_add_tensor(d, ST, tensor, "F32", d0, d1);
    NOT("llama32", "tensors", tensor);
    hf_drop_tensor(d, ST, tensor);
}

static void tensors_that_are_refused(void **state) {
    (void)state;
    const char *const d = write_adapter("tensors");
    refused_with(d, "base_model.model.lm_head.weight", 448, 64); /* modules_to_save */
    refused_with(d, "base_model.model.model.embed_tokens.lora_embedding_A", RANK, 448);
    refused_with(d, LAYER1 "q_proj.lora_magnitude_vector", 64, 0);
    refused_with(d, LAYER1 "sinks.lora_A.weight", RANK, 64);
    refused_with(d, LAYER1 "q_proj.lora_C.weight", RANK, 64);
    hf_drop_tensor(d, ST, LAYER1 "q_proj.lora_B.weight");
    NOT("llama32", "tensors", "blk.1.attn_q.weight");
    hf_add_tensor(d, ST, LAYER1 "q_proj.lora_B.weight", "F32", 64, RANK - 2);
    NOT("llama32", "tensors", LAYER1 "q_proj.lora_B.weight");
    hf_set(d, CONFIG, "rank_pattern", json_pack("{s:i}", "q_proj", RANK - 2)); /* not A's */
    NOT("llama32", "tensors", "blk.1.attn_q.weight");
    hf_set(d, CONFIG, "rank_pattern", json_object());
    hf_add_tensor(d, ST, LAYER1 "q_proj.lora_B.weight", "F32", 128, RANK);
    NOT("llama32", "tensors", "blk.1.attn_q.weight");
    hf_add_tensor(d, ST, LAYER1 "q_proj.lora_B.weight", "F32", 64, 0);
    NOT("llama32", "tensors", LAYER1 "q_proj.lora_B.weight");
}

static void wrong_base(void **state) {
    (void)state;
    static const char *const bases[] = {"gemma3", "phi3-4k", "bert"};
    write_adapter("foreign");
    for (int i = 0; i < 3; i++) { /* so that what is refused adds no base's blob either */
        char from[2600];
        modelfile(from, bases[i], "foreign");
        *strstr(from, "ADAPTER") = 0;
        hub_create(bases[i], from);
    }
    NOT("gemma3", "foreign", "/foreign: ", "blk.", "attn_");
    NOT("phi3-4k", "foreign", "attn_q");
    NOT("bert", "foreign", "attn_v");
    char text[2600];
    snprintf(text, sizeof text, "ADAPTER %s/foreign\n", hub_dir);
    hub_refused(text, (const char *const[]){"FROM", NULL});
}

/* The same door for adapters that are GGUF already. */
static void gguf_adapters(void **state) {
    (void)state;
    char text[2600], path[1200];
    struct err e = {0};
    struct gguf *g = hub_open(golden("lora/llama32.lora-qv.gguf"));
    snprintf(path, sizeof path, "%s/nan.gguf", hub_dir);
    for (int i = 0; i < 3; i++) { /* as it is; alpha NaN; a half missing */
        struct gguf_writer *w = gguf_writer_new(path, 0, &e);
        if (!w) fail_msg("%s", e.msg);
        for (int k = 0; k < gguf_n_kv(g); k++)
            gguf_copy_kv(w, gguf_kv_at(g, k), &e);
        if (i == 1) gguf_set_f32(w, "adapter.lora.alpha", NAN, &e);
        const int n = gguf_n_tensor(g) - (i == 2);
        for (int k = 0; k < n; k++) {
            const struct gguf_tensor *t = gguf_tensor_at(g, k);
            gguf_add_tensor(w, t->name, t->type, t->n_dim, t->ne, &e);
        }
        for (int k = 0; k < n; k++)
            gguf_write_data(w, gguf_tensor_at(g, k)->data, gguf_tensor_at(g, k)->n_bytes, &e);
        if (gguf_writer_finish(w, &e) != 0) fail_msg("%s", e.msg);
        modelfile(text, i ? "llama32" : "gemma3", "nan.gguf");
        hub_refused(text, (const char *const[]){i == 1   ? "adapter.lora.alpha"
                                                : i == 2 ? "blk.2.attn_v.weight.lora_b"
                                                         : "general.architecture",
                                                NULL});
    }
    gguf_close(g);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(rslora),
        cmocka_unit_test(rank_pattern),
        cmocka_unit_test(both_as_folders),
        cmocka_unit_test(settings_that_are_refused),
        cmocka_unit_test(tensors_that_are_refused),
        cmocka_unit_test(wrong_base),
        cmocka_unit_test(gguf_adapters),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, hub_set_up, hub_tear_down);
}
