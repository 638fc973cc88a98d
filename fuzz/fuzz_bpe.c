/* Fuzz target: a tokenizer learned from any bytes.  Two bytes choose its size and limits, the rest
 * is the text.  text/ must load it, encode the text to as many tokens as learning ended with, and
 * decode them to the text. */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/utf8.h"
#include "text/vocab.h"
#include "train/bpe_train.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

static void require(bool holds) {
    if (!holds) abort();
}

static void encodes(const struct vocab *v, struct str text, uint64_t n_piece) {
    struct ids ids = {0};
    struct buf out = {0};
    struct err e;
    require(tok_encode(v, text, (struct tok_opts){.add_special = true}, &ids, &e) == 0);
    require(ids.n == n_piece);
    require(tok_decode(v, ids.v, ids.n, (struct detok_opts){0}, &out, &e) == 0);
    if (utf8_valid_prefix(text.p, text.n) == text.n) require(str_eq(buf_view(&out), text));
    ids_fini(&ids);
    buf_fini(&out);
}

static void loads(const struct bpe_tokens *b, struct str text) {
    char path[64];
    struct err e;
    snprintf(path, sizeof path, "/tmp/fuzz_bpe.%d.gguf", (int)getpid());
    require(bpe_tokens_write(b, path, &e) == 0);
    struct gguf *g = gguf_open(path, &e);
    require(g != NULL);
    unlink(path);
    struct vocab *v = vocab_load(g, &e);
    require(v != NULL && vocab_size(v) == b->n);
    encodes(v, text, b->n_piece);
    vocab_free(v);
    gguf_close(g);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n < 3) return 0;
    const struct bpe_opts o = {.n_vocab = BPE_MIN_VOCAB + bytes[0],
                               .min_count = 1 + bytes[1] % 3,
                               .max_token_bytes = 1 + bytes[1] / 3};
    const struct str text = {(const char *)bytes + 2, n - 2};
    struct bpe_tokens b = {0};
    struct err e;
    struct bpe_trainer *t = bpe_trainer_new(&o, &e);
    require(t != NULL);
    require(bpe_trainer_add(t, text, &e) == 0);
    require(bpe_trainer_learn(t, &b, &e) == 0);
    loads(&b, text);
    bpe_tokens_fini(&b);
    bpe_trainer_free(t);
    return 0;
}
