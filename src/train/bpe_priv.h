/* Between the parts of BPE training. */
#pragma once

#include "text/pretok.h"
#include "train/bpe_train.h"

struct bpe_word {
    uint32_t at, n; /* bytes [at, at + n) */
    uint64_t count;
};

/* Distinct words in the order of their first occurrence.  All-zero is empty. */
struct bpe_words {
    char *bytes; /* [n_byte], owned */
    size_t n_byte, cap_byte;
    struct bpe_word *word; /* [n_word], owned */
    uint32_t n_word, cap_word;
    uint64_t *slot; /* [mask + 1], owned: high half of the hash, then word + 1; 0: free */
    uint32_t mask;
    uint64_t n_seen; /* words, repeated ones each time */
};

/* One more occurrence of a word, n > 0.  ERR_LIMIT, ERR_NOMEM. */
int bpe_words_add(struct bpe_words *w, struct str word, struct err *e);
void bpe_words_fini(struct bpe_words *w);

struct bpe_limits {
    int n_merge; /* at most */
    int min_count, max_token_bytes;
    const volatile int *stop;
};

/* bpe_learn.c: fill out->merge, n_merge, n_piece and the texts of bytes and merges; room for
 * n_control texts more.  The words are left as they are. */
int bpe_learn(const struct bpe_words *w, const struct bpe_limits *l, int n_control,
              struct bpe_tokens *out, struct err *e);
