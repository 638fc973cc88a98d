/* The `pattern` of a JSON schema (ECMA 262 syntax) to GBNF over a JSON string's content, whose
 * characters are escaped where JSON asks for it.  One pass, one character of look-ahead. */
#include "text/grammar/schema_gen.h"

#include <string.h>

#include "base/utf8.h"
#include "text/grammar/schema.h"

enum { MAX_GROUPS = 40, MAX_RANGES = 64 };

struct regex {
    const char *p, *end;
    struct buf *b;
    int depth;
    bool raw; /* the text itself, whole, rather than part of a JSON string */
    struct err *e;
};

struct ranges {
    uint32_t lo[MAX_RANGES], hi[MAX_RANGES];
    int n;
};

static int refuse(const struct regex *x, const char *what) {
    return err_set(x->e, ERR_UNSUPPORTED, "pattern: %s has no grammar here", what);
}

static int peek(const struct regex *x) {
    return x->p < x->end ? (uint8_t)*x->p : -1;
}

static int put(struct regex *x, struct ranges *r, uint32_t lo, uint32_t hi) {
    if (r->n == MAX_RANGES) return refuse(x, "a class of more than 64 ranges");
    r->lo[r->n] = lo, r->hi[r->n++] = hi;
    return 0;
}

/* \d and the like, behind the backslash: 1 for a class, 0 for the one character *cp. */
static int escape(struct regex *x, struct ranges *r, uint32_t *cp) {
    const int c = peek(x);
    x->p += c >= 0;
    switch (c) {
    case 'd': return put(x, r, '0', '9') ? -1 : 1;
    case 'w':
        return put(x, r, 'a', 'z') || put(x, r, 'A', 'Z') || put(x, r, '0', '9') ||
                       put(x, r, '_', '_')
                   ? -1
                   : 1;
    case 's': return put(x, r, '\t', '\r') || put(x, r, ' ', ' ') ? -1 : 1;
    case 'n': *cp = '\n'; return 0;
    case 'r': *cp = '\r'; return 0;
    case 't': *cp = '\t'; return 0;
    default:
        if (c > 0 && c < 0x80 && strchr("^$\\.*+?()[]{}|/-\"'#&~%@!,:;<>=_ ", c)) {
            *cp = (uint32_t)c;
            return 0;
        }
        return refuse(x, "an escape other than \\d \\w \\s \\n \\r \\t or punctuation");
    }
}

static int member(struct regex *x, struct ranges *r, uint32_t *cp) {
    if (peek(x) == '\\') {
        x->p++;
        return escape(x, r, cp);
    }
    if (x->p >= x->end) return refuse(x, "a [ without its ]");
    x->p += utf8_decode(x->p, (size_t)(x->end - x->p), cp);
    return 0;
}

static void raw_range(struct buf *b, uint32_t lo, uint32_t hi) {
    if (lo <= hi) buf_printf(b, "\\U%08x-\\U%08x", lo, hi);
}

/* What JSON escapes leaves the class and comes back as alternatives. */
static void class_out(struct regex *x, const struct ranges *r, bool negated) {
    static const uint32_t cut[] = {0, 0x1f, '"', '"', '\\', '\\'},
                          special[] = {8, 9, 10, 12, 13, '"', '\\'};
    if (x->raw) {
        buf_str(x->b, negated ? " [^" : " [");
        for (int i = 0; i < r->n; i++)
            raw_range(x->b, r->lo[i], r->hi[i]);
        buf_str(x->b, "]");
        return;
    }
    buf_str(x->b, negated ? " [^\"\\\\\\x00-\\x1f" : " ([");
    for (int i = 0; i < r->n; i++) {
        uint32_t lo = r->lo[i];
        for (int k = 0; k < 6 && !negated; k += 2)
            if (lo <= cut[k + 1] && r->hi[i] >= cut[k]) {
                if (cut[k] > lo) raw_range(x->b, lo, cut[k] - 1);
                lo = cut[k + 1] + 1;
            }
        raw_range(x->b, lo, r->hi[i]);
    }
    buf_str(x->b, "]");
    if (negated) return;
    for (size_t k = 0; k < sizeof special / sizeof *special; k++)
        for (int i = 0; i < r->n; i++)
            if (r->lo[i] <= special[k] && r->hi[i] >= special[k]) {
                buf_str(x->b, " |");
                gen_char(x->b, special[k]);
                break;
            }
    buf_str(x->b, ")");
}

static int class(struct regex *x) {
    struct ranges r = {.n = 0};
    const bool negated = peek(x) == '^';
    x->p += negated;
    while (peek(x) != ']') {
        uint32_t lo = 0, hi = 0;
        const int rc = member(x, &r, &lo);
        if (rc < 0) return -1;
        if (rc == 1) continue;
        hi = lo;
        if (peek(x) == '-' && x->p + 1 < x->end && x->p[1] != ']') {
            x->p++;
            if (member(x, &r, &hi) != 0) return x->e->code ? -1 : refuse(x, "a range to a class");
        }
        if (hi < lo) return refuse(x, "a range that ends before it begins");
        if (put(x, &r, lo, hi) != 0) return -1;
    }
    x->p++;
    class_out(x, &r, negated);
    return 0;
}

static int alternatives(struct regex *x);

static int atom(struct regex *x) {
    struct ranges r = {.n = 0};
    uint32_t cp = 0;
    const int c = peek(x);
    if (c == '[') {
        x->p++;
        return class(x);
    }
    if (c == '.') {
        x->p++;
        buf_str(x->b, x->raw ? " [^\\n\\r]" : " [^\"\\\\\\x00-\\x1f]");
        return 0;
    }
    if (c == '(') {
        x->p++;
        if (x->end - x->p > 1 && x->p[0] == '?') {
            if (x->p[1] != ':') return refuse(x, "(?");
            x->p += 2;
        }
        if (++x->depth > MAX_GROUPS) return refuse(x, "nesting deeper than 40");
        buf_str(x->b, " (");
        if (alternatives(x) != 0) return -1;
        x->depth--;
        if (peek(x) != ')') return refuse(x, "a ( without its )");
        x->p++;
        buf_str(x->b, ")");
        return 0;
    }
    if (c == '^' || c == '$') return refuse(x, "an anchor inside");
    if (strchr("*+?{", c)) return refuse(x, "a repetition of nothing");
    const int rc = member(x, &r, &cp);
    if (rc == 1) class_out(x, &r, false);
    if (rc == 0) {
        buf_str(x->b, " (");
        if (x->raw)
            buf_printf(x->b, "\"\\U%08x\"", cp);
        else
            gen_char(x->b, cp);
        buf_str(x->b, ")");
    }
    return rc < 0 ? -1 : 0;
}

static int sequence(struct regex *x) {
    for (int c; (c = peek(x)) >= 0 && c != '|' && c != ')';) {
        if (c == '$' && !x->depth && (x->p + 1 == x->end || x->p[1] == '|')) return 0;
        if (atom(x) != 0) return -1;
        c = peek(x);
        if (c == '{')
            while (peek(x) >= 0 && peek(x) != '}')
                buf_byte(x->b, *x->p++);
        if (c == '*' || c == '+' || c == '?' || c == '{') {
            if (peek(x) < 0) return refuse(x, "a { without its }");
            buf_byte(x->b, *x->p++);
            if (peek(x) == '?') x->p++; /* lazy or greedy, the same language */
        }
    }
    return 0;
}

static int alternatives(struct regex *x) {
    for (;; x->p++) {
        const bool top = !x->depth, from = peek(x) == '^' && top;
        x->p += from;
        if (top && !from && !x->raw) buf_str(x->b, " char*");
        if (sequence(x) != 0) return -1;
        const bool to = peek(x) == '$' && top;
        x->p += to;
        if (top && !to && !x->raw) buf_str(x->b, " char*");
        if (peek(x) != '|') return 0;
        buf_str(x->b, " |");
    }
}

static int pattern(struct buf *b, struct str regex, bool raw, struct err *e) {
    struct regex x = {.p = regex.p, .end = regex.p + regex.n, .b = b, .raw = raw, .e = e};
    buf_str(b, " (");
    if (alternatives(&x) != 0) return -1;
    buf_str(b, ")");
    return x.p < x.end ? refuse(&x, "a ) without its (") : 0;
}

int gen_pattern(struct buf *b, struct str regex, struct err *e) {
    return pattern(b, regex, false, e);
}

int regex_to_gbnf(struct str regex, struct buf *out, struct err *e) {
    buf_str(out, "root ::=");
    if (pattern(out, regex, true, e) != 0) return -1;
    buf_str(out, "\n");
    return 0;
}
