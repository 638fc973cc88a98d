/* The vocabulary from inside, for the tokenizers of this folder. */
#pragma once

#include "base/arena.h"
#include "text/pretok.h"
#include "text/symtab.h"
#include "text/trie.h"
#include "text/vocab.h"

/* Ceilings beyond what any model has; a file above one is refused with the key named. */
enum {
    VOCAB_MAX_TOKENS = 1 << 20,
    VOCAB_MAX_MERGES = 1 << 20,
    VOCAB_MAX_EXTRA_PIECES = 1 << 17, /* named by merges only */
    VOCAB_MAX_TOKEN_BYTES = 4096,
};

enum vocab_kind { VOCAB_BPE, VOCAB_SPM, VOCAB_WORDPIECE, VOCAB_UNIGRAM };

/* Attributes as a set: a token that ends generation is also control, whatever its type says. */
enum {
    ATTR_NORMAL = 1,
    ATTR_UNKNOWN = 2,
    ATTR_CONTROL = 4,
    ATTR_USER = 8,
    ATTR_UNUSED = 16,
    ATTR_BYTE = 32,
    ATTR_LSTRIP = 64,  /* swallows blanks before it */
    ATTR_RSTRIP = 128, /* swallows blanks after it */
    ATTR_SPECIAL = ATTR_UNKNOWN | ATTR_CONTROL,
};

struct vocab {
    enum vocab_kind kind;
    const char *model; /* static */
    char pre[64];
    int n; /* tokens */

    /* Pieces: the n tokens, then those that only merges and the byte alphabet name.  Texts are
     * borrowed from the file or from the arena. */
    struct str *text; /* [cap_piece], owned */
    int n_piece, cap_piece;
    uint8_t *attr; /* [n], owned */
    float *score;  /* [n], owned; NULL: all 0 */
    struct symtab by_text;
    struct mergetab merges;
    int32_t byte_id[256]; /* BPE: the piece of a byte; SPM, Unigram: the byte token, or -1 */
    struct arena arena;

    struct vocab_special special;
    int32_t *eog; /* [n_eog] ascending, owned */
    int n_eog;
    int32_t fim_pad, fim_rep, fim_sep;
    struct trie specials; /* tokens found in text before tokenizing: control, unknown, user */
    bool first_byte[256]; /* of any of them */

    struct pretok *pretok; /* BPE only */
    struct trie words;     /* WordPiece, Unigram: all tokens that text may become */
    struct trie users;     /* Unigram: user-defined tokens, exempt from normalization */
    struct str charsmap;   /* Unigram: precompiled normalization rules, borrowed */
    float min_score;       /* Unigram */

    bool whole_words, whole_lines, raw; /* BPE: see pretok.h */
    bool escape_blanks;                 /* ' ' <-> U+2581 */
    bool clean_spaces;                  /* decoding removes blanks before punctuation */
    bool merge_blanks;                  /* remove_extra_whitespaces */
    bool lowercase, strip_accents;      /* WordPiece */
    bool splits_at_blank;               /* SPM: no token has U+2581 after another character */
};

/* The stored form of a blank in SentencePiece vocabularies. */
#define BLANK_MARK "\xe2\x96\x81"

/* special.c: ids, texts that are special by name, strip attributes, the search trie. */
int vocab_load_special(struct vocab *v, const struct gguf *g, struct err *e);

/* merges.c: tokenizer.ggml.merges, and the pieces of single bytes. */
int vocab_load_merges(struct vocab *v, const struct gguf *g, struct err *e);

/* The value of "<0xAB>", or -1 when text is anything else. */
int vocab_parse_byte(struct str text);

/* One stretch of input that holds no special token. */
int bpe_encode(const struct vocab *v, struct str text, struct ids *out, struct err *e);
int spm_encode(const struct vocab *v, struct str text, bool prefix, struct ids *out, struct err *e);
int wordpiece_encode(const struct vocab *v, struct str text, struct ids *out, struct err *e);
int unigram_encode(const struct vocab *v, struct str text, struct ids *out, struct err *e);

/* Input cut at special tokens. */
struct fragment {
    size_t lo, hi; /* text[lo, hi) when id is -1 */
    int32_t id;    /* the special token, or -1 */
};

struct fragments {
    struct fragment *v; /* owned */
    size_t n, cap;
    bool failed;
};

void fragments_fini(struct fragments *f);

/* Which special tokens may be read where. */
struct reading {
    bool parse_special;           /* control tokens too, everywhere */
    bool mixed;                   /* instead: inside the trusted spans only */
    const struct tok_span *trust; /* [n_trust], ascending, disjoint */
    size_t n_trust;
};

/* partition.c: cut text at its special tokens, the longest token first, as the reference does. */
void partition(const struct vocab *v, struct str text, const struct reading *how,
               struct fragments *out);

/* A token that text may become by merging: no control token, so that nobody forges one by typing
 * it, and not the byte that "<0x41>" names. */
static inline int32_t vocab_find_plain(const struct vocab *v, struct str text) {
    const int32_t id = vocab_find(v, text);
    return id >= 0 && v->attr[id] & (ATTR_CONTROL | ATTR_BYTE) ? -1 : id;
}

/* vocab.c: a piece's id for text, adding it behind the tokens when it is new; -1: memory is out or
 * the table refuses.  text must outlive the vocabulary. */
int32_t vocab_intern(struct vocab *v, struct str text);
