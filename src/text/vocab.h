/* A model's vocabulary and its tokenizer, read from GGUF metadata: byte-level BPE ("gpt2"),
 * SentencePiece BPE ("llama"), WordPiece ("bert") and Unigram ("t5"). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"
#include "gguf/read.h"

/* A growable list of token ids; all-zero is empty. */
struct ids {
    int32_t *v; /* owned */
    size_t n, cap;
    bool failed; /* memory ran out: the list is not complete */
};

void ids_push(struct ids *l, int32_t id);
void ids_fini(struct ids *l);

/* The format's values, of tokenizer.ggml.token_type. */
enum token_attr {
    TOKEN_NORMAL = 1,
    TOKEN_UNKNOWN = 2,
    TOKEN_CONTROL = 3,
    TOKEN_USER_DEFINED = 4,
    TOKEN_UNUSED = 5,
    TOKEN_BYTE = 6,
};

struct vocab; /* immutable after load: encode and decode from any thread */

/* The vocabulary borrows its token texts from g, which must outlive it.  A file without one gives
 * ERR_UNSUPPORTED; every malformed table is ERR_FORMAT with the key named. */
struct vocab *vocab_load(const struct gguf *g, struct err *e);
void vocab_free(struct vocab *v);

int vocab_size(const struct vocab *v);
struct str vocab_text(const struct vocab *v, int32_t id); /* as stored in the file */
enum token_attr vocab_attr(const struct vocab *v, int32_t id);
float vocab_score(const struct vocab *v, int32_t id);
const char *vocab_model(const struct vocab *v); /* "gpt2", "llama", "bert", "t5" */

/* Special ids; -1 when the model has none. */
struct vocab_special {
    int32_t bos, eos, eot, eom, unk, sep, pad, cls, mask, nl;
    int32_t fim_pre, fim_suf, fim_mid;
    bool add_bos, add_eos, add_sep, add_space_prefix;
};
const struct vocab_special *vocab_special(const struct vocab *v);

/* Does generation end at this token?  eos, eot, eom and the texts that mean the same
 * (<|eot_id|>, <|im_end|>, <end_of_turn>...). */
bool vocab_is_eog(const struct vocab *v, int32_t id);

/* The id of the token with exactly this stored text, or -1. */
int32_t vocab_find(const struct vocab *v, struct str text);

struct tok_opts {
    bool add_special;   /* put BOS/EOS/CLS/SEP where the model's own rules want them */
    bool parse_special; /* read "<|im_start|>" and the like as the token, not as text */
};

/* Append the tokens of text to out.  Any bytes are accepted: what is no UTF-8 becomes byte tokens
 * or U+FFFD, as the model's kind does.  Time near-linear in n.  Fails only when memory is out. */
int tok_encode(const struct vocab *v, struct str text, struct tok_opts opts, struct ids *out,
               struct err *e);

struct tok_span {
    size_t lo, hi; /* bytes of a text */
};

/* Like tok_encode without add_special, for text of mixed origin: special tokens are read inside
 * the n trusted spans (ascending, disjoint) only.  Elsewhere no control token and nothing that
 * looks like one ("<|x|>") comes out, whatever the text says; ordinary text is tokenized across the
 * borders. */
int tok_encode_trusted(const struct vocab *v, struct str text, const struct tok_span *trusted,
                       size_t n, struct ids *out, struct err *e);

struct detok_opts {
    bool special;  /* show special tokens as their text instead of dropping them */
    bool keep_all; /* the pieces and nothing else; see tok_decode */
};

/* Append the text of n ids to out.  Unless keep_all, as the reference gives it back: without the
 * leading blank that encoding adds, and without blanks before punctuation where the model's own
 * decoder removes them.  With neither flag a leading BOS and trailing EOS fall off first, and then
 * the blank behind BOS stays.  Ids outside the vocabulary are ERR_FORMAT. */
int tok_decode(const struct vocab *v, const int32_t *id, size_t n, struct detok_opts opts,
               struct buf *out, struct err *e);

/* Append the bytes of one token as it reads in the middle of a text (may be part of a UTF-8
 * character). */
void tok_piece(const struct vocab *v, int32_t id, bool special, struct buf *out);

/* Streaming: text arrives whole characters at a time.  All-zero with vocab set is ready. */
struct detok {
    const struct vocab *vocab; /* borrowed */
    bool special;
    bool started;
    struct buf pending; /* bytes not yet shown, owned */
};

/* Append to out what can be shown after this token: never half a UTF-8 character. */
void detok_push(struct detok *d, int32_t id, struct buf *out);
/* Append what is left, each byte that stayed invalid as U+FFFD; ready for reuse. */
void detok_finish(struct detok *d, struct buf *out);
void detok_fini(struct detok *d);
