/* Learning a byte-level BPE tokenizer from text (Sennrich et al., arXiv:1508.07909; GPT-2's byte
 * alphabet).
 *
 *   text -> valid UTF-8 -> words (text/pretok) -> distinct words and their counts (bpe_words.c)
 *     -> join the most frequent pair of neighbours, again and again (bpe_learn.c)
 *     -> tokens and merges, as a GGUF file's keys (bpe_file.c)
 *
 * Words are cut by the pre-tokenizer that the file will name, so text/ encodes as was learnt: the
 * merges of a word in the order of their ranks give the pieces that learning ended with. */
#pragma once

#include "base/arena.h"
#include "base/err.h"
#include "base/str.h"
#include "gguf/write.h"

/* The pre-tokenizer of a trained tokenizer: words with one leading mark, single digits, and nothing
 * is cleaned up in decoding, so that every text comes back as it was. */
#define BPE_PRE "qwen2"

/* Control tokens of every trained tokenizer, behind the merges: a text's end, which is also BOS and
 * padding, and the marks of a chat's turns (ChatML); BPE_IM_END is EOS. */
enum { BPE_END_OF_TEXT, BPE_IM_START, BPE_IM_END, BPE_N_CONTROL };

enum {
    BPE_MIN_VOCAB = 256 + BPE_N_CONTROL,
    BPE_MAX_VOCAB = 1 << 18,
    BPE_DEFAULT_VOCAB = 4096,
    BPE_MAX_EXTRA = 1024,
    /* Of distinct words together: 24 bytes of memory for each.  A few GB of prose have less. */
    BPE_MAX_WORD_BYTES = 64 << 20,
};

struct bpe_opts {             /* zeros are the defaults */
    int n_vocab;              /* bytes, merges and control tokens together; BPE_DEFAULT_VOCAB */
    int min_count;            /* a pair that is rarer is not joined; 2 */
    int max_token_bytes;      /* no token is longer; 64; at most 1024 */
    const char *const *extra; /* [n_extra] further control tokens, borrowed until the end */
    int n_extra;
    const volatile int *stop; /* set: ERR_CANCELLED; or NULL */
};

struct bpe_trainer; /* one thread at a time */

/* ERR_USAGE: a vocabulary under BPE_MIN_VOCAB + n_extra or over BPE_MAX_VOCAB, an empty extra token
 * or one that comes twice. */
struct bpe_trainer *bpe_trainer_new(const struct bpe_opts *o, struct err *e);
void bpe_trainer_free(struct bpe_trainer *t);

/* Count the words of a text; bytes that are no UTF-8 become U+FFFD, as in encoding.  ERR_LIMIT when
 * distinct words have more than BPE_MAX_WORD_BYTES. */
int bpe_trainer_add(struct bpe_trainer *t, struct str text, struct err *e);

struct bpe_merge {
    int32_t left, right;
};

/* What was learnt.  Ids: the 256 bytes in order; merge i makes token 256 + i; then the control
 * tokens. */
struct bpe_tokens {
    int n, n_merge, n_control;
    struct bpe_merge *merge;     /* [n_merge], in the arena */
    struct str *text;            /* [n] the bytes of each, in the arena */
    uint64_t n_word, n_distinct; /* words of the corpus, different ones */
    uint64_t n_piece;            /* tokens of the corpus when encoded */
    struct str chat_template;    /* borrowed: for the file; empty: ChatML */
    struct arena arena;
};

/* Learn from what was added.  Fewer than n_vocab tokens come out when no pair is frequent enough
 * any more.  Ties: the pair of the lower left id, then of the lower right one, so that the same
 * texts in any order give the same tokens.  ERR_FORMAT: no text was added.  bpe_tokens_fini
 * afterwards, also after a failure. */
int bpe_trainer_learn(struct bpe_trainer *t, struct bpe_tokens *out, struct err *e);
void bpe_tokens_fini(struct bpe_tokens *b);

/* Id of a control token (BPE_END_OF_TEXT...). */
static inline int32_t bpe_control(const struct bpe_tokens *b, int which) {
    return 256 + b->n_merge + which;
}

/* The tokenizer.* keys, the chat template (ChatML in Jinja) among them. */
int bpe_tokens_declare(const struct bpe_tokens *b, struct gguf_writer *w, struct err *e);

/* A file with a tokenizer and nothing else: `cria tokenize` reads it, --tokenizer takes it. */
int bpe_tokens_write(const struct bpe_tokens *b, const char *path, struct err *e);
