/* What the parts of the schema translation share: pieces of GBNF text. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

enum { GEN_MAX_RANGES = 400 };

struct gen_ranges {
    uint32_t lo[GEN_MAX_RANGES], hi[GEN_MAX_RANGES]; /* code points, both included */
    int n;
};

/* A code point of a JSON string, in the forms JSON has for it (é, \u00e9), as GBNF. */
void gen_char(struct buf *b, uint32_t cp);
/* One of these code points: as it is (raw), or in the forms of a JSON string. */
void gen_class(struct buf *b, const struct gen_ranges *r, bool raw);
/* A JSON string with this content (UTF-8), quotes included. */
void gen_string(struct buf *b, struct str s);
/* A GBNF literal of these bytes (UTF-8). */
void gen_literal(struct buf *b, struct str s);
/* A GBNF grammar of the texts in which a regular expression (ECMA 262) finds something; `whole`:
 * that it matches whole.  ERR_UNSUPPORTED names what has no grammar: look-around, references, word
 * boundaries, anchors inside. */
int gen_regex(struct buf *b, struct str regex, bool whole, struct err *e);
