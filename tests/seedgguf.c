/* See seedgguf.h. */
#include "seedgguf.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "gguf/write.h"
#include "support.h"

enum { MAX_TOKENS = 400, N_HEAD = 2, N_KV_HEAD = 1, HEAD_DIM = 16, N_FF = 32, N_CTX = 64 };

struct vocab {
    char text[MAX_TOKENS][16];
    struct str piece[MAX_TOKENS];
    float score[MAX_TOKENS];
    int32_t type[MAX_TOKENS]; /* 1 normal, 2 unknown, 3 control, 6 byte */
    int n;
};

static void add(struct vocab *v, const char *text, int32_t type) {
    const int i = v->n++;
    snprintf(v->text[i], sizeof v->text[i], "%s", text);
    v->piece[i] = str_of(v->text[i]);
    v->score[i] = type == 1 ? (float)-i : 0.0f;
    v->type[i] = type;
}

static void spm_vocab(struct vocab *v) {
    static const char *const words[] = {"\xe2\x96\x81t", "he", "\xe2\x96\x81the", "\xe2\x96\x81"};
    add(v, "<unk>", 2);
    add(v, "<s>", 3);
    add(v, "</s>", 3);
    for (int i = 0; i < 256; i++) {
        char byte[8];
        snprintf(byte, sizeof byte, "<0x%02X>", (unsigned)i);
        add(v, byte, 6);
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        add(v, words[i], 1);
    for (char c = 'a'; c <= 'z'; c++)
        add(v, (char[2]){c, 0}, 1);
}

/* GPT-2's printable stand-ins for bytes: what prints stands for itself, the rest follows U+0100. */
static void bpe_vocab(struct vocab *v) {
    static const char *const words[] = {"he", "th", "the", "\xc4\xa0the"};
    uint32_t other = 0x100;
    for (uint32_t b = 0; b < 256; b++) {
        const bool prints = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad);
        char z[5] = {0};
        utf8_encode(prints ? b : other++, z);
        add(v, z, 1);
    }
    for (size_t i = 0; i < sizeof words / sizeof *words; i++)
        add(v, words[i], 1);
    add(v, "<|endoftext|>", 3);
}

static void check(int rc, const struct err *e) {
    if (rc != 0) fail_msg("seed: %s", e->msg);
}

static void set_hparams(struct gguf_writer *w, struct err *e) {
    static const struct {
        const char *key;
        uint32_t v;
    } u[] = {
        {"general.file_type", 0},
        {"llama.context_length", N_CTX},
        {"llama.embedding_length", SEED_N_EMBD},
        {"llama.block_count", SEED_N_LAYER},
        {"llama.feed_forward_length", N_FF},
        {"llama.attention.head_count", N_HEAD},
        {"llama.attention.head_count_kv", N_KV_HEAD},
        {"llama.rope.dimension_count", HEAD_DIM},
    };
    check(gguf_set_str(w, "general.architecture", STR("llama"), e), e);
    check(gguf_set_str(w, "general.name", STR("seed"), e), e);
    check(gguf_set_str(w, "general.license", STR("mit"), e), e);
    for (size_t i = 0; i < sizeof u / sizeof *u; i++)
        check(gguf_set_u32(w, u[i].key, u[i].v, e), e);
    check(gguf_set_f32(w, "llama.attention.layer_norm_rms_epsilon", 1e-5f, e), e);
    check(gguf_set_f32(w, "llama.rope.freq_base", 10000.0f, e), e);
}

static void set_vocab(struct gguf_writer *w, const struct vocab *v, enum seed_vocab kind,
                      struct err *e) {
    const bool spm = kind == SEED_SPM;
    const uint64_t n = (uint64_t)v->n;
    check(gguf_set_str(w, "tokenizer.ggml.model", spm ? STR("llama") : STR("gpt2"), e), e);
    check(gguf_set_strs(w, "tokenizer.ggml.tokens", v->piece, n, e), e);
    check(gguf_set_arr(w, "tokenizer.ggml.token_type", GGUF_I32, v->type, n, e), e);
    if (spm) {
        check(gguf_set_arr(w, "tokenizer.ggml.scores", GGUF_F32, v->score, n, e), e);
        check(gguf_set_u32(w, "tokenizer.ggml.unknown_token_id", 0, e), e);
        check(gguf_set_bool(w, "tokenizer.ggml.add_bos_token", true, e), e);
    } else {
        const struct str merges[] = {STR("h e"), STR("t h"), STR("t he"), STR("\xc4\xa0 the")};
        check(gguf_set_str(w, "tokenizer.ggml.pre", STR("gpt-2"), e), e);
        check(gguf_set_strs(w, "tokenizer.ggml.merges", merges, 4, e), e);
    }
    check(gguf_set_u32(w, "tokenizer.ggml.bos_token_id", spm ? 1 : (uint32_t)v->n - 1, e), e);
    check(gguf_set_u32(w, "tokenizer.ggml.eos_token_id", spm ? 2 : (uint32_t)v->n - 1, e), e);
    check(gguf_set_str(w, "tokenizer.chat_template",
                       STR("{% for m in messages %}{{ m.content }}{% endfor %}"), e),
          e);
}

struct shape {
    const char *name;
    int n_dim;
    int64_t ne[2];
};

static const struct shape layer_shapes[] = {
    {"attn_norm", 1, {SEED_N_EMBD, 1}},
    {"attn_q", 2, {SEED_N_EMBD, N_HEAD *HEAD_DIM}},
    {"attn_k", 2, {SEED_N_EMBD, N_KV_HEAD *HEAD_DIM}},
    {"attn_v", 2, {SEED_N_EMBD, N_KV_HEAD *HEAD_DIM}},
    {"attn_output", 2, {N_HEAD * HEAD_DIM, SEED_N_EMBD}},
    {"ffn_norm", 1, {SEED_N_EMBD, 1}},
    {"ffn_gate", 2, {SEED_N_EMBD, N_FF}},
    {"ffn_up", 2, {SEED_N_EMBD, N_FF}},
    {"ffn_down", 2, {N_FF, SEED_N_EMBD}},
};

/* n weights from a small generator: noise of the size that trained weights have, norms near 1. */
static void write_noise(struct gguf_writer *w, size_t n, bool norm, uint32_t *state,
                        struct err *e) {
    float *x = malloc(n * sizeof *x);
    for (size_t i = 0; i < n; i++) {
        *state = *state * 1664525u + 1013904223u;
        const float u = (float)(*state >> 8) / (float)(1 << 24) - 0.5f;
        x[i] = norm ? 1.0f + 0.1f * u : 0.6f * u;
    }
    check(gguf_write_data(w, x, n * sizeof *x, e), e);
    free(x);
}

void seed_gguf_write(const char *path, enum seed_vocab kind) {
    struct err e = {0};
    static struct vocab v;
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    if (!w) fail_msg("seed: %s", e.msg);
    v.n = 0;
    if (kind == SEED_SPM)
        spm_vocab(&v);
    else
        bpe_vocab(&v);
    set_hparams(w, &e);
    set_vocab(w, &v, kind, &e);

    const int n_shape = (int)(sizeof layer_shapes / sizeof *layer_shapes);
    const int64_t embd[2] = {SEED_N_EMBD, v.n};
    uint32_t state = 1;
    check(gguf_add_tensor(w, "token_embd.weight", QT_F32, 2, embd, &e), &e);
    check(gguf_add_tensor(w, "output_norm.weight", QT_F32, 1, embd, &e), &e);
    for (int i = 0; i < SEED_N_LAYER * n_shape; i++) {
        const struct shape *s = &layer_shapes[i % n_shape];
        char name[64];
        snprintf(name, sizeof name, "blk.%d.%s.weight", i / n_shape, s->name);
        check(gguf_add_tensor(w, name, QT_F32, s->n_dim, s->ne, &e), &e);
    }
    write_noise(w, (size_t)(embd[0] * embd[1]), false, &state, &e);
    write_noise(w, SEED_N_EMBD, true, &state, &e);
    for (int i = 0; i < SEED_N_LAYER * n_shape; i++) {
        const struct shape *s = &layer_shapes[i % n_shape];
        write_noise(w, (size_t)(s->ne[0] * s->ne[1]), s->n_dim == 1, &state, &e);
    }
    check(gguf_writer_finish(w, &e), &e);
}
