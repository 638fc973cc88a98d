/* Fuzz target: tokenize text and read it back, or load a file's vocabulary.
 *
 * Input: byte 0 picks a vocabulary of the committed test models (0 to 2) or, from 3 on, says that
 * the rest is a GGUF file; byte 1 holds flags, the rest is text. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "text/vocab.h"

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n);

enum { N_MODEL = 3 };

static struct vocab *model(int i) {
    static const char *const path[N_MODEL] = {"tests/golden/models/llama32.gguf",
                                              "tests/golden/models/phi3-4k.gguf",
                                              "tests/golden/models/bert.gguf"};
    static struct gguf *g[N_MODEL]; /* kept: the vocabulary borrows from it */
    static struct vocab *v[N_MODEL];
    struct err e = {0};
    if (v[i]) return v[i];
    g[i] = gguf_open(path[i], &e);
    if (g[i]) v[i] = vocab_load(g[i], &e);
    if (!v[i]) {
        fprintf(stderr, "%s (run from the top folder)\n", e.msg);
        exit(1);
    }
    return v[i];
}

static void require(bool holds) {
    if (!holds) abort();
}

static void append_valid(struct str t, struct buf *out) {
    for (size_t i = 0; i < t.n;) {
        uint32_t cp;
        char c[4];
        i += (size_t)utf8_decode(t.p + i, t.n - i, &cp);
        buf_append(out, c, (size_t)utf8_encode(cp, c));
    }
}

/* Each step of a stream is valid UTF-8, and the whole is what the pieces say. */
static void check_stream(const struct vocab *v, const struct ids *ids, struct str whole) {
    struct detok d = {.vocab = v, .special = true};
    struct buf shown = {0}, want = {0};
    for (size_t i = 0; i < ids->n; i++) {
        const size_t before = shown.n;
        detok_push(&d, ids->v[i], &shown);
        const struct str step = {buf_view(&shown).p + before, shown.n - before};
        require(utf8_valid_prefix(step.p, step.n) == step.n);
    }
    detok_finish(&d, &shown);
    append_valid(whole, &want);
    require(str_eq(buf_view(&shown), buf_view(&want)));
    detok_fini(&d);
    buf_fini(&shown);
    buf_fini(&want);
}

/* Text comes back as it went in, but for what a vocabulary cannot hold: BERT's drops case and
 * accents, SentencePiece's takes U+2581 for a blank, and malformed bytes become U+FFFD. */
static bool comes_back(const struct vocab *v, struct str text, struct tok_opts o) {
    return !o.add_special && !o.parse_special && strcmp(vocab_model(v), "bert") != 0 &&
           utf8_valid_prefix(text.p, text.n) == text.n &&
           !(strcmp(vocab_model(v), "llama") == 0 && memmem(text.p, text.n, "\xe2\x96\x81", 3));
}

static void encode(const struct vocab *v, struct str text, unsigned flags) {
    const struct tok_opts o = {.add_special = flags & 1, .parse_special = flags >> 1 & 1};
    const struct detok_opts all = {.special = true, .keep_all = true};
    const struct detok_opts some = {.special = flags >> 2 & 1};
    struct ids ids = {0}, trusted = {0};
    struct buf back = {0}, other = {0};
    struct err e = {0};
    require(tok_encode(v, text, o, &ids, &e) == 0);
    for (size_t i = 0; i < ids.n; i++)
        require(ids.v[i] >= 0 && ids.v[i] < vocab_size(v));
    require(tok_decode(v, ids.v, ids.n, all, &back, &e) == 0);
    require(tok_decode(v, ids.v, ids.n, some, &other, &e) == 0);
    if (comes_back(v, text, o)) require(str_eq(buf_view(&back), text));
    check_stream(v, &ids, buf_view(&back));
    /* Nothing is trusted: no control token may come out, but for [UNK], which BERT types as one. */
    require(tok_encode_trusted(v, text, NULL, 0, &trusted, &e) == 0);
    for (size_t i = 0; i < trusted.n; i++)
        require(vocab_attr(v, trusted.v[i]) != TOKEN_CONTROL ||
                trusted.v[i] == vocab_special(v)->unk);
    ids_fini(&ids);
    ids_fini(&trusted);
    buf_fini(&back);
    buf_fini(&other);
}

static void load(const uint8_t *bytes, size_t n, unsigned flags) {
    struct err e = {0};
    void *block;
    if (posix_memalign(&block, 64, n ? n : 1) != 0) return;
    memcpy(block, bytes, n);
    struct gguf *g = gguf_open_bytes("fuzz", block, n, &e);
    struct vocab *v = g ? vocab_load(g, &e) : NULL;
    if (g && !v) require(e.code != ERR_NONE && e.msg[0]);
    if (v) {
        const struct vocab_special *s = vocab_special(v);
        require(s->bos < vocab_size(v) && s->eos < vocab_size(v) && s->unk < vocab_size(v));
        encode(v, STR("The quick <s> brown\n\n fox 123 \xff\xc3\xa9 \xf0\x9f\x98\x80"), flags | 1);
    }
    vocab_free(v);
    gguf_close(g);
    free(block);
}

int LLVMFuzzerTestOneInput(const uint8_t *bytes, size_t n) {
    if (n < 2) return 0;
    if (bytes[0] < N_MODEL)
        encode(model(bytes[0]), (struct str){(const char *)bytes + 2, n - 2}, bytes[1]);
    else
        load(bytes + 2, n - 2, bytes[1]);
    return 0;
}
