/* What the parts of the schema translation share: pieces of GBNF text. */
#pragma once

#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "base/str.h"

/* A code point of a JSON string, in the forms JSON has for it (é, \u00e9), as GBNF. */
void gen_char(struct buf *b, uint32_t cp);
/* A JSON string with this content (UTF-8), quotes included. */
void gen_string(struct buf *b, struct str s);
/* Integers lo..hi in decimal. */
void gen_range(struct buf *b, int64_t lo, int64_t hi);
/* An ECMA regular expression over a JSON string's content.  ERR_UNSUPPORTED names what has no
 * grammar: look-around, references, word boundaries, anchors inside. */
int gen_pattern(struct buf *b, struct str regex, struct err *e);
