/* Regular languages where several conditions meet: a pattern and a length, the names that an object
 * does not list, numbers between bounds.  Each condition is a small automaton over code points;
 * their product becomes right-linear GBNF rules, exact and without ambiguity. */
#pragma once

#include "text/grammar/grammar.h"

enum {
    LANG_MAX_STATES = 20000,
    LANG_MAX_CELLS = 1 << 20, /* states times classes of code points */
    LANG_MAX_PARTS = 24,
    LANG_MAX_WORK = 5000000, /* steps of parts, over all languages of a schema: about 100 ms */
    LANG_MAX_DIGITS = 20,
};

/* A decimal number: value = +-int.frac */
struct lang_decimal {
    bool negative;
    int n_int, n_frac;
    char digit[2 * LANG_MAX_DIGITS]; /* n_int digits without leading zeros, then n_frac */
};

enum lang_kind {
    LANG_GRAMMAR,  /* texts that g accepts */
    LANG_LENGTH,   /* lo..hi characters; hi -1: any number */
    LANG_AT_LEAST, /* of numbers without exponent: >= bound */
    LANG_AT_MOST,
    LANG_MULTIPLE, /* a multiple of step / 10^places */
};

struct lang_part {
    enum lang_kind kind;
    bool not ;               /* LANG_GRAMMAR: texts that it does not accept */
    bool strictly;           /* bounds: > or < */
    const struct grammar *g; /* borrowed; not recursive */
    int lo, hi;
    struct lang_decimal bound;
    int step, places;
};

/* `work` counts steps, over several calls.
 *
 * Append the rules of what all parts accept, for `raw` as it is and else as the content of a JSON
 * string; the first rule's name goes to name[32].  1; 0: there is no such text, nothing is
 * appended; -1: ERR_LIMIT.  id tells this language's rules from others'. */
int lang_rules(const struct lang_part *part, int n, bool raw, int id, struct buf *out,
               char name[32], int64_t *work, struct err *e);
/* Whether some text is accepted by all parts; -1: ERR_LIMIT. */
int lang_meets(const struct lang_part *part, int n, int64_t *work, struct err *e);
/* Whether all parts accept this text. */
bool lang_accepts(const struct lang_part *part, int n, struct str text);

/* A finite number in decimal, at most 15 digits: what has more is rounded up or down.  false: it
 * has too many digits before the point. */
bool lang_decimal(double x, bool up, struct lang_decimal *out, bool *rounded);
