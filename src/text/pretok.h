/* Pre-tokenizers: how byte-level BPE cuts text into words before merging.  tokenizer.ggml.pre
 * names one.  Each is a list of stages; a stage cuts every piece of the stage before it into its
 * matches and what lies between them. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum pretok_flag {
    PRETOK_WHOLE_WORDS = 1, /* a word that is a token is that token, whatever the merges say */
    PRETOK_ADD_BOS = 2,     /* unless the file says otherwise */
    PRETOK_ADD_SEP = 4,
    PRETOK_KEEP_SPACES = 8,   /* decoding does not remove blanks before punctuation */
    PRETOK_RAW = 16,          /* merges run on characters, not on the byte alphabet */
    PRETOK_ESCAPE = 32,       /* blanks become U+2581 first */
    PRETOK_NO_BOS = 64,       /* no default BOS */
    PRETOK_WHOLE_LINES = 128, /* a run of newlines that is a token is that token */
    PRETOK_MASK_LSTRIP = 256, /* <mask> swallows the blanks before it */
};

struct pretok; /* immutable: use from any thread */

/* Ends of consecutive pieces that together make up the text. */
struct cuts {
    size_t *end; /* owned */
    size_t n, cap;
    bool failed; /* memory ran out */
};

void cuts_fini(struct cuts *c);

/* Compile the pre-tokenizer of this name; *known tells whether the name is one.  An unknown or
 * empty name gets the default.  NULL with e set when the patterns cannot be compiled. */
struct pretok *pretok_new(struct str name, bool *known, struct err *e);
void pretok_free(struct pretok *p);
unsigned pretok_flags(const struct pretok *p);

/* Cut text, which must be valid UTF-8, into pieces; *tmp is room for stages in between.  Both are
 * overwritten. */
void pretok_split(const struct pretok *p, struct str text, struct cuts *out, struct cuts *tmp);

/* One name of the table in pretok_data.c; for tests.  NULL after the last. */
const char *pretok_name_at(int i);
