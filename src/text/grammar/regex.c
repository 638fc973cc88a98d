/* Regular expressions (ECMA 262 syntax) to GBNF of the texts they find or match.  One pass, one
 * character of look-ahead. */
#include <string.h>

#include "base/utf8.h"
#include "text/grammar/grammar.h"
#include "text/grammar/schema.h"
#include "text/grammar/schema_gen.h"

enum { MAX_GROUPS = 40 };

struct regex {
    const char *p, *end;
    struct buf *b;
    int depth;
    bool whole; /* anchored at both ends, said or not */
    struct gen_ranges set;
    struct err *e;
};

static int refuse(const struct regex *x, const char *what) {
    return err_set(x->e, ERR_UNSUPPORTED, "pattern: %s has no grammar here", what);
}

static int peek(const struct regex *x) {
    return x->p < x->end ? (uint8_t)*x->p : -1;
}

static bool take(struct regex *x, char c) {
    if (peek(x) != c) return false;
    x->p++;
    return true;
}

/* ---- classes ---- */

static int put(struct regex *x, uint32_t lo, uint32_t hi) {
    struct gen_ranges *r = &x->set;
    if (r->n == GEN_MAX_RANGES) return refuse(x, "a class of more than 400 ranges");
    r->lo[r->n] = lo, r->hi[r->n++] = hi;
    return 0;
}

/* All code points but n ascending ranges. */
static int put_others(struct regex *x, const uint32_t (*r)[2], int n) {
    uint32_t from = 0;
    for (int i = 0; i < n; i++) {
        if (r[i][0] > from && put(x, from, r[i][0] - 1) != 0) return -1;
        from = r[i][1] + 1;
    }
    return put(x, from, GRAMMAR_MAX_CP);
}

/* \d \w \s and their capitals.  Blanks beyond ASCII are blanks for ECMA and not for all others:
 * texts neither have them where a blank is asked for nor where none may be. */
static int put_named(struct regex *x, int c, bool negated) {
    static const uint32_t d[][2] = {{'0', '9'}},
                          w[][2] = {{'0', '9'}, {'A', 'Z'}, {'_', '_'}, {'a', 'z'}},
                          s[][2] = {{9, 13},          {32, 32},         {0xa0, 0xa0},
                                    {0x1680, 0x1680}, {0x2000, 0x200a}, {0x2028, 0x2029},
                                    {0x202f, 0x202f}, {0x205f, 0x205f}, {0x3000, 0x3000},
                                    {0xfeff, 0xfeff}};
    const bool others = c < 'a';
    const int kind = c | 32, n = kind == 'd' ? 1 : kind == 'w' ? 4 : others != negated ? 10 : 2;
    const uint32_t(*r)[2] = kind == 'd' ? d : kind == 'w' ? w : s;
    if (others) return put_others(x, r, n);
    for (int i = 0; i < n; i++)
        if (put(x, r[i][0], r[i][1]) != 0) return -1;
    return 0;
}

static int hex(struct regex *x, int n, uint32_t *cp) {
    for (*cp = 0; n > 0; n--, x->p++) {
        const int c = peek(x), l = c | 32;
        if (c >= '0' && c <= '9')
            *cp = *cp * 16 + (uint32_t)(c - '0');
        else if (l >= 'a' && l <= 'f')
            *cp = *cp * 16 + (uint32_t)(l - 'a') + 10;
        else
            return refuse(x, "a hexadecimal escape that is too short");
    }
    return 0;
}

/* \uHHHH, two of them for one character, \u{H...}; behind the u. */
static int unicode(struct regex *x, uint32_t *cp) {
    if (take(x, '{')) {
        const char *close = memchr(x->p, '}', (size_t)(x->end - x->p));
        const int n = close ? (int)(close - x->p > 7 ? 7 : close - x->p) : 0;
        if (n < 1 || n > 6 || hex(x, n, cp) != 0 || *cp > GRAMMAR_MAX_CP || !take(x, '}'))
            return refuse(x, "this \\u{");
        return 0;
    }
    uint32_t low;
    if (hex(x, 4, cp) != 0) return -1;
    if (*cp < 0xd800 || *cp > 0xdfff) return 0;
    if (*cp > 0xdbff || !take(x, '\\') || !take(x, 'u') || hex(x, 4, &low) != 0 || low < 0xdc00 ||
        low > 0xdfff)
        return refuse(x, "half a surrogate pair");
    *cp = 0x10000 + ((*cp - 0xd800) << 10 | (low - 0xdc00));
    return 0;
}

/* Behind the backslash: 1 for a class (in x->set), 0 for the one character *cp. */
static int escape(struct regex *x, bool negated, uint32_t *cp) {
    static const char from[] = "nrtvf0", to[] = "\n\r\t\v\f";
    const int c = peek(x);
    x->p += c >= 0;
    if (c > 0 && strchr("dwsDWS", c)) return put_named(x, c, negated) ? -1 : 1;
    const char *at = c > 0 ? strchr(from, c) : NULL;
    if (at) {
        *cp = (uint32_t)to[at - from];
        return c == '0' && peek(x) >= '0' && peek(x) <= '9' ? refuse(x, "an octal escape") : 0;
    }
    if (c == 'x') return hex(x, 2, cp);
    if (c == 'u') return unicode(x, cp);
    if (c > 0 && c < 0x80 && strchr("^$\\.*+?()[]{}|/-\"'#&~%@!,:;<>=_ `", c)) {
        *cp = (uint32_t)c;
        return 0;
    }
    return refuse(
        x, "an escape other than \\d \\w \\s \\n \\r \\t \\v \\f \\0 \\x \\u or punctuation");
}

static int member(struct regex *x, bool negated, uint32_t *cp) {
    if (take(x, '\\')) {
        if (peek(x) == 'b') { /* a backspace in a class */
            x->p++, *cp = 8;
            return 0;
        }
        return escape(x, negated, cp);
    }
    if (x->p >= x->end) return refuse(x, "a [ without its ]");
    x->p += utf8_decode(x->p, (size_t)(x->end - x->p), cp);
    return 0;
}

static void class_out(struct regex *x, bool negated) {
    buf_str(x->b, negated ? " [^" : " [");
    for (int i = 0; i < x->set.n; i++)
        buf_printf(x->b, "\\U%08x-\\U%08x", x->set.lo[i], x->set.hi[i]);
    buf_str(x->b, "]");
}

static int class(struct regex *x) {
    const bool negated = take(x, '^');
    while (peek(x) != ']') {
        uint32_t lo = 0, hi = 0;
        const int rc = member(x, negated, &lo);
        if (rc < 0) return -1;
        if (rc == 1) continue;
        hi = lo;
        if (peek(x) == '-' && x->p + 1 < x->end && x->p[1] != ']') {
            x->p++;
            if (member(x, negated, &hi) != 0)
                return x->e->code ? -1 : refuse(x, "a range to a class");
        }
        if (hi < lo) return refuse(x, "a range that ends before it begins");
        if (put(x, lo, hi) != 0) return -1;
    }
    x->p++;
    class_out(x, negated);
    return 0;
}

/* ---- the rest ---- */

static int alternatives(struct regex *x);

/* Behind its parenthesis. */
static int group(struct regex *x) {
    if (take(x, '?') && !take(x, ':')) {
        if (!take(x, '<') || peek(x) == '=' || peek(x) == '!') return refuse(x, "look-around (?");
        while (peek(x) >= 0 && !take(x, '>')) /* a name says nothing about the texts */
            x->p++;
    }
    if (++x->depth > MAX_GROUPS) return refuse(x, "nesting deeper than 40");
    buf_str(x->b, " (");
    if (alternatives(x) != 0) return -1;
    x->depth--;
    if (!take(x, ')')) return refuse(x, "a ( without its )");
    buf_str(x->b, ")");
    return 0;
}

static int atom(struct regex *x) {
    uint32_t cp = 0;
    const int c = peek(x);
    x->set.n = 0;
    if (take(x, '[')) return class(x);
    if (take(x, '(')) return group(x);
    if (take(x, '.')) {
        buf_str(x->b, " [^\\n\\r\\u2028\\u2029]");
        return 0;
    }
    if (c == '^' || c == '$') return refuse(x, "an anchor inside");
    if (strchr("*+?{", c)) return refuse(x, "a repetition of nothing");
    int rc = 0;
    if (take(x, '\\'))
        rc = escape(x, false, &cp);
    else
        x->p += utf8_decode(x->p, (size_t)(x->end - x->p), &cp);
    if (rc == 1) class_out(x, false);
    if (rc == 0) buf_printf(x->b, " \"\\U%08x\"", cp);
    return rc < 0 ? -1 : 0;
}

/* What may stand behind an atom: * + ? {m} {m,} {m,n}. */
static int repetition(struct regex *x) {
    const int c = peek(x);
    if (c < 0 || !strchr("*+?{", c)) return 0;
    if (c == '{') {
        const char *from = x->p++;
        while (peek(x) == ',' || (peek(x) >= '0' && peek(x) <= '9'))
            x->p++;
        if (peek(x) != '}' || from[1] < '0' || from[1] > '9')
            return refuse(x, "a { that is no repetition");
        buf_append(x->b, from, (size_t)(x->p - from));
    }
    buf_byte(x->b, *x->p++);
    take(x, '?'); /* lazy or greedy, the same language */
    if (peek(x) >= 0 && strchr("*+?{", peek(x))) return refuse(x, "a repetition of a repetition");
    return 0;
}

static int sequence(struct regex *x) {
    for (int c; (c = peek(x)) >= 0 && c != '|' && c != ')';) {
        if (c == '$' && !x->depth && (x->p + 1 == x->end || x->p[1] == '|')) return 0;
        if (atom(x) != 0 || repetition(x) != 0) return -1;
    }
    return 0;
}

static int alternatives(struct regex *x) {
    for (;; x->p++) {
        const bool top = !x->depth, from = top && take(x, '^');
        if (top && !from && !x->whole) buf_str(x->b, " .*");
        if (sequence(x) != 0) return -1;
        const bool to = top && take(x, '$');
        if (top && !to && !x->whole) buf_str(x->b, " .*");
        if (peek(x) != '|') return 0;
        buf_str(x->b, " |");
    }
}

int gen_regex(struct buf *b, struct str regex, bool whole, struct err *e) {
    struct err own = {0};
    struct regex x = {
        .p = regex.p, .end = regex.p + regex.n, .b = b, .whole = whole, .e = e ? e : &own};
    buf_str(b, "root ::=");
    if (alternatives(&x) != 0) return -1;
    buf_str(b, "\n");
    return x.p < x.end ? refuse(&x, "a ) without its (") : 0;
}

int regex_to_gbnf(struct str regex, struct buf *out, struct err *e) {
    return gen_regex(out, regex, true, e);
}
