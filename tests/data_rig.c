/* See data_rig.h. */
#include "data_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "gguf/write.h"

enum { MAX_TOKENS = 400, TOKEN_BYTES = 64 };

struct table {
    char text[MAX_TOKENS][TOKEN_BYTES];
    struct str piece[MAX_TOKENS];
    int32_t type[MAX_TOKENS];
    uint64_t n;
};

static void add(struct table *t, struct str text, int32_t type) {
    assert_true(t->n < MAX_TOKENS && text.n < TOKEN_BYTES);
    memcpy(t->text[t->n], text.p, text.n);
    t->piece[t->n] = (struct str){t->text[t->n], text.n};
    t->type[t->n++] = type;
}

/* GPT-2's printable stand-ins for bytes: what prints stands for itself, the rest follows U+0100. */
static void add_bytes(struct table *t) {
    uint32_t other = 0x100;
    for (uint32_t b = 0; b < 256; b++) {
        const bool prints = (b > 0x20 && b < 0x7f) || (b > 0xa0 && b != 0xad);
        char z[5] = {0};
        const int n = utf8_encode(prints ? b : other++, z);
        add(t, (struct str){z, (size_t)n}, TOKEN_NORMAL);
    }
}

static void add_words(struct table *t, const char *words) {
    while (*words) {
        const size_t n = strcspn(words, " ");
        if (n > 0) add(t, (struct str){words, n}, TOKEN_CONTROL);
        words += n + (words[n] == ' ');
    }
}

static void write_vocab(const char *path, struct table *t, uint32_t first) {
    static const struct str merges[] = {{"\xc4\x8a \xc4\x8a", 5}, {"h e", 3}};
    struct err e = {0};
    struct gguf_writer *w = gguf_writer_new(path, 0, &e);
    if (!w) fail_msg("%s", e.msg);
    int rc = gguf_set_str(w, "general.architecture", STR("llama"), &e);
    rc |= gguf_set_str(w, "tokenizer.ggml.model", STR("gpt2"), &e);
    rc |= gguf_set_str(w, "tokenizer.ggml.pre", STR("llama-bpe"), &e);
    rc |= gguf_set_strs(w, "tokenizer.ggml.tokens", t->piece, t->n, &e);
    rc |= gguf_set_arr(w, "tokenizer.ggml.token_type", GGUF_I32, t->type, t->n, &e);
    rc |= gguf_set_strs(w, "tokenizer.ggml.merges", merges, 2, &e);
    if (first < t->n) {
        rc |= gguf_set_u32(w, "tokenizer.ggml.bos_token_id", first, &e);
        rc |= gguf_set_u32(w, "tokenizer.ggml.eos_token_id", first + 1, &e);
    }
    rc |= gguf_set_bool(w, "tokenizer.ggml.add_bos_token", first < t->n, &e);
    if (rc != 0 || gguf_writer_finish(w, &e) != 0) fail_msg("%s", e.msg);
}

void data_vocab_open(struct data_vocab *d, const char *dir, const char *specials) {
    char path[600];
    struct err e = {0};
    struct table *t = calloc(1, sizeof *t);
    add_bytes(t);
    add(t, STR("\xc4\x8a\xc4\x8a"), TOKEN_NORMAL);
    add(t, STR("he"), TOKEN_NORMAL);
    const uint32_t first = (uint32_t)t->n;
    add_words(t, specials);
    snprintf(path, sizeof path, "%s/vocab.gguf", dir);
    write_vocab(path, t, first);
    free(t);
    d->g = gguf_open(path, &e);
    d->v = d->g ? vocab_load(d->g, &e) : NULL;
    if (!d->v) fail_msg("%s", e.msg);
}

void data_vocab_close(struct data_vocab *d) {
    vocab_free(d->v);
    gguf_close(d->g);
}

static const char *const known[] = {"<|im_start|>",
                                    "<|im_end|>",
                                    "<|start_header_id|>",
                                    "<|end_header_id|>",
                                    "<|eot_id|>",
                                    "<|eom_id|>",
                                    "<|python_tag|>",
                                    "<|begin_of_text|>",
                                    "<|end_of_text|>",
                                    "<|endoftext|>",
                                    "<|user|>",
                                    "<|assistant|>",
                                    "<|system|>",
                                    "<|end|>",
                                    "<|start|>",
                                    "<|message|>",
                                    "<|channel|>",
                                    "<|return|>",
                                    "<|call|>",
                                    "<start_of_turn>",
                                    "<end_of_turn>",
                                    "[INST]",
                                    "[/INST]",
                                    "[SYSTEM_PROMPT]",
                                    "[/SYSTEM_PROMPT]",
                                    "[TOOL_CALLS]",
                                    "[AVAILABLE_TOOLS]",
                                    "[/AVAILABLE_TOOLS]",
                                    "[TOOL_RESULTS]",
                                    "[/TOOL_RESULTS]",
                                    "<think>",
                                    "</think>",
                                    "<\xef\xbd\x9cUser\xef\xbd\x9c>",
                                    "<\xef\xbd\x9c"
                                    "Assistant\xef\xbd\x9c>",
                                    "<\xef\xbd\x9c"
                                    "end\xe2\x96\x81of\xe2\x96\x81sentence\xef\xbd\x9c>",
                                    "<|START_OF_TURN_TOKEN|>",
                                    "<|END_OF_TURN_TOKEN|>",
                                    "<|START_RESPONSE|>",
                                    "<|END_RESPONSE|>",
                                    "<|start_of_role|>",
                                    "<|end_of_role|>",
                                    "<|observation|>",
                                    "<|turn>",
                                    "<turn|>",
                                    "<|flush|>",
                                    "<|im_middle|>",
                                    "<|im_user|>",
                                    "<|im_assistant|>",
                                    "<|im_system|>",
                                    "<|role_sep|>",
                                    "<|message_sep|>",
                                    "<|assistant_end|>",
                                    "<|assistant_start|>",
                                    "<|user_end|>",
                                    "<|user_start|>",
                                    "<|system_end|>",
                                    "<|system_start|>"};

void data_vocab_for(struct data_vocab *d, const char *dir, const char *file) {
    char rel[300];
    size_t n;
    struct buf list = {0};
    snprintf(rel, sizeof rel, "chat/templates/%s", file);
    char *source = (char *)slurp(golden(rel), &n);
    buf_str(&list, "<s> </s>");
    for (size_t i = 0; i < sizeof known / sizeof *known; i++)
        if (memmem(source, n, known[i], strlen(known[i]))) buf_printf(&list, " %s", known[i]);
    data_vocab_open(d, dir, list.p);
    buf_fini(&list);
    free(source);
}

const char *data_file(const char *dir, const char *name, const char *text) {
    static char ring[8][600];
    static int at;
    char *path = ring[at++ % 8];
    snprintf(path, sizeof ring[0], "%s/%s", dir, name);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(text, 1, strlen(text), f), strlen(text));
    assert_int_equal(fclose(f), 0);
    return path;
}

void data_learned(const struct vocab *v, const struct dataset *d, int s, struct buf *out) {
    const struct data_seq *q = &d->seq[s];
    bool open = false;
    for (int i = 0; i < q->n; i++) {
        const int32_t label = d->label[q->at + (size_t)i];
        if ((label >= 0) != open) buf_byte(out, open ? ']' : '[');
        open = label >= 0;
        if (open) tok_piece(v, label, true, out);
    }
    if (open) buf_byte(out, ']');
}

void data_text(const struct vocab *v, const struct dataset *d, int s, struct buf *out) {
    const struct data_seq *q = &d->seq[s];
    for (int i = 0; i < q->n; i++)
        tok_piece(v, d->tok[q->at + (size_t)i], true, out);
}
