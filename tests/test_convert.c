/* `cria create` from Hugging Face folders: golden models written as their families are published
 * (hf.h) must come back as they were: tensors, hyper-parameters, tokens and logits. */
#include "hf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/f16.h"
#include "base/os.h"
#include "hub_rig.h"

static void comes_back(const char *name, unsigned flags) {
    char path[1400], want[600];
    snprintf(want, sizeof want, "%s", hub_golden(name));
    hub_convert(name, flags, path);
    struct gguf *a = hub_open(want), *b = hub_open(path);
    hub_same_tensors(name, a, b);
    hub_same_hparams(name, a, b);
    hub_same_vocab(name, a, b, flags & HF_TOKENIZER_MODEL);
    hub_same_logits(name, want, path);
    gguf_close(a), gguf_close(b);
}

struct family {
    const char *name;
    unsigned flags;
};

static void family(void **state) {
    const struct family *f = *state;
    comes_back(f->name, f->flags);
}

#define FAMILY(name, flags)                                                                        \
    {                                                                                              \
        name " " #flags, family, NULL, NULL, &(struct family) {                                    \
            name, flags                                                                            \
        }                                                                                          \
    }

/* Matrices stay in the source's 16 bits, rounded once by the writer; vectors become F32. */
static void half_source(unsigned flag, enum qtype type) {
    char path[1400];
    hub_convert("llama32", flag, path);
    struct gguf *a = hub_open(hub_golden("llama32")), *b = hub_open(path);
    hub_same_hparams("llama32", a, b);
    const struct gguf_tensor *w = gguf_tensor(a, "blk.1.attn_k.weight");
    const struct gguf_tensor *h = gguf_tensor(b, "blk.1.attn_k.weight");
    assert_true(w && h && h->type == type);
    for (size_t i = 0; i < w->n_bytes / 4; i++) {
        float x;
        uint16_t y;
        memcpy(&x, w->data + 4 * i, 4);
        memcpy(&y, h->data + 2 * i, 2);
        assert_int_equal(y, type == QT_BF16 ? f32_to_bf16(x) : f32_to_f16(x));
    }
    assert_int_equal(gguf_tensor(b, "blk.1.attn_norm.weight")->type, QT_F32);
    gguf_close(a), gguf_close(b);
}

static void halves(void **state) {
    (void)state;
    half_source(HF_BF16, QT_BF16);
    half_source(HF_F16, QT_F16);
}

static void adapter_comes_back(const char *name, const char *base) {
    char folder[1100], text[2600], path[1400], rel[200], from[1300];
    struct err e;
    size_t n;
    float x = 0, y = 0;
    snprintf(rel, sizeof rel, "lora/%s.gguf", name);
    snprintf(folder, sizeof folder, "%s/adapter-%s", hub_dir, name);
    assert_int_equal(hf_write_adapter(golden(rel), hub_golden(base), folder), 0);
    snprintf(from, sizeof from, "%s/base-%s.gguf", hub_dir, base);
    uint8_t *p = slurp(hub_golden(base), &n);
    if (os_write_file(from, p, n, &e) != 0) fail_msg("%s", e.msg);
    free(p);
    snprintf(text, sizeof text, "FROM %s\nADAPTER %s\n", from, folder);
    hub_create("adapted", text);
    hub_layer("adapted", "adapter", path);
    struct gguf *a = hub_open(golden(rel)), *b = hub_open(path);
    hub_same_tensors(name, a, b);
    assert_int_equal(gguf_get_f32(a, "adapter.lora.alpha", &x, &e), 1);
    assert_int_equal(gguf_get_f32(b, "adapter.lora.alpha", &y, &e), 1);
    assert_true(x == y);
    gguf_close(a), gguf_close(b);
}

static void adapters(void **state) {
    (void)state;
    adapter_comes_back("llama32.lora-qv", "llama32");
    if (!golden_is_full()) return;
    adapter_comes_back("llama32.lora-all", "llama32");
    adapter_comes_back("qwen2.lora-all", "qwen2");
}

int main(int argc, char **argv) {
    /* Models that the project carries; the others need the whole golden set. */
    const struct CMUnitTest carried[] = {
        cmocka_unit_test(halves),
        cmocka_unit_test(adapters),
        FAMILY("llama32", 0),
        FAMILY("phi3-4k", 0),
        FAMILY("gemma3", 0),
        FAMILY("bert", 0),
        FAMILY("phi3-4k", HF_TOKENIZER_MODEL),
        FAMILY("gemma3", HF_TOKENIZER_MODEL),
        FAMILY("llama32", HF_MERGES_AS_PAIRS),
        FAMILY("phi3-4k", HF_MERGES_AS_PAIRS),
        FAMILY("llama32", HF_SHARDED),
        FAMILY("gemma3", HF_SHARDED),
    };
    const struct CMUnitTest others[] = {
        FAMILY("llama-untied", 0),
        FAMILY("llama-headdim", 0),
        FAMILY("llama-bias", 0),
        FAMILY("llama-linear-rope", 0),
        FAMILY("llama-yarn", 0),
        FAMILY("llamaq", 0),
        FAMILY("mistral", 0),
        FAMILY("mixtral", 0),
        FAMILY("qwen2", 0),
        FAMILY("qwen2-untied", 0),
        FAMILY("qwen2moe", 0),
        FAMILY("qwen3", 0),
        FAMILY("qwen3moe", 0),
        FAMILY("phi3-128k-short", 0),
        FAMILY("phi3-128k-long", 0),
        FAMILY("phi4-mini", 0),
        FAMILY("gemma2", 0),
        FAMILY("granite", 0),
        FAMILY("olmo2", 0),
        FAMILY("llama-untied", HF_TOKENIZER_MODEL),
        FAMILY("mistral", HF_TOKENIZER_MODEL),
        FAMILY("gemma2", HF_TOKENIZER_MODEL),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    int failed = cmocka_run_group_tests(carried, hub_set_up, hub_tear_down);
    if (golden_is_full()) failed += cmocka_run_group_tests(others, hub_set_up, hub_tear_down);
    return failed;
}
