/* Distinct words and how often each occurs: a hash table with linear probing, at most two thirds
 * full, over one run of bytes. */
#include <stdlib.h>

#include "base/hash.h"
#include "train/bpe_priv.h"

void bpe_words_fini(struct bpe_words *w) {
    free(w->bytes);
    free(w->word);
    free(w->slot);
    *w = (struct bpe_words){0};
}

static uint32_t half(uint64_t hash) {
    return (uint32_t)(hash >> 32);
}

/* The slot of a word, or the free one that it would get. */
static uint32_t find(const struct bpe_words *w, struct str word, uint64_t hash) {
    for (uint32_t i = (uint32_t)hash & w->mask;; i = (i + 1) & w->mask) {
        const uint64_t s = w->slot[i];
        if (s == 0) return i;
        if (half(s) != half(hash)) continue;
        const struct bpe_word *x = &w->word[(uint32_t)s - 1];
        if (x->n == word.n && memcmp(w->bytes + x->at, word.p, word.n) == 0) return i;
    }
}

static bool grow_table(struct bpe_words *w) {
    const uint32_t n = w->slot ? 2 * (w->mask + 1) : 1 << 12;
    uint64_t *slot = calloc(n, sizeof *slot);
    if (!slot) return false;
    free(w->slot);
    w->slot = slot;
    w->mask = n - 1;
    for (uint32_t i = 0; i < w->n_word; i++) {
        const struct str s = {w->bytes + w->word[i].at, w->word[i].n};
        const uint64_t hash = hash64(s.p, s.n, 0);
        w->slot[find(w, s, hash)] = (uint64_t)half(hash) << 32 | (i + 1);
    }
    return true;
}

static bool grow_words(struct bpe_words *w) {
    const uint32_t cap = w->cap_word ? 2 * w->cap_word : 1 << 11;
    struct bpe_word *word = realloc(w->word, cap * sizeof *word);
    if (!word) return false;
    w->word = word;
    w->cap_word = cap;
    return true;
}

static bool grow_bytes(struct bpe_words *w, size_t n) {
    const size_t cap = w->cap_byte + w->cap_byte / 2 + n + 4096;
    char *bytes = realloc(w->bytes, cap);
    if (!bytes) return false;
    w->bytes = bytes;
    w->cap_byte = cap;
    return true;
}

int bpe_words_add(struct bpe_words *w, struct str word, struct err *e) {
    const uint64_t hash = hash64(word.p, word.n, 0);
    if (!w->slot && !grow_table(w)) return err_nomem(e, "tokenizer");
    uint32_t i = find(w, word, hash);
    w->n_seen++;
    if (w->slot[i]) {
        w->word[(uint32_t)w->slot[i] - 1].count++;
        return 0;
    }
    if (word.n > BPE_MAX_WORD_BYTES - w->n_byte)
        return err_set(e, ERR_LIMIT,
                       "tokenizer: the different words of the text have more than %d MB; that much "
                       "is accepted, a sample of the text will do",
                       BPE_MAX_WORD_BYTES >> 20);
    if (w->n_byte + word.n > w->cap_byte && !grow_bytes(w, word.n)) goto nomem;
    if (w->n_word == w->cap_word && !grow_words(w)) goto nomem;
    memcpy(w->bytes + w->n_byte, word.p, word.n);
    w->word[w->n_word++] = (struct bpe_word){(uint32_t)w->n_byte, (uint32_t)word.n, 1};
    w->n_byte += word.n;
    w->slot[i] = (uint64_t)half(hash) << 32 | w->n_word;
    if (w->n_word > w->mask / 3 * 2 && !grow_table(w)) goto nomem;
    return 0;
nomem:
    return err_nomem(e, "tokenizer");
}
