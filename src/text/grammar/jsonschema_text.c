/* Pieces of GBNF: characters, classes and strings as JSON spells them. */
#include "text/grammar/schema_gen.h"

#include <string.h>

#include "base/utf8.h"
#include "text/grammar/grammar.h"

static void unicode_escape(struct buf *b, uint32_t u) {
    buf_str(b, "\"\\\\u\"");
    for (int s = 12; s >= 0; s -= 4) {
        const uint32_t d = u >> s & 15;
        if (d < 10)
            buf_printf(b, " \"%u\"", d);
        else
            buf_printf(b, " [%c%c]", (int)('a' + d - 10), (int)('A' + d - 10));
    }
}

void gen_char(struct buf *b, uint32_t cp) {
    static const char from[] = "\"\\\b\f\n\r\t", to[] = "\"\\bfnrt";
    const char *at = cp && cp < 0x80 ? strchr(from, (int)cp) : NULL;
    if (at && (cp == '"' || cp == '\\'))
        buf_printf(b, " \"\\\\\\%c\"", (int)cp);
    else if (at) {
        buf_printf(b, " (\"\\\\%c\" | ", to[at - from]);
        unicode_escape(b, cp);
        buf_str(b, ")");
    } else if (cp < 0x20) {
        unicode_escape(b, cp);
    } else if (cp < 0x7f) {
        buf_printf(b, " \"%c\"", (int)cp);
    } else {
        buf_printf(b, " (\"\\U%08x\" | ", cp);
        if (cp > 0xffff) {
            unicode_escape(b, 0xd7c0 + (cp >> 10));
            buf_str(b, " ");
        }
        unicode_escape(b, cp > 0xffff ? 0xdc00 | (cp & 0x3ff) : cp);
        buf_str(b, ")");
    }
}

/* Bytes of s from i on that a literal has as they are. */
static size_t plain(struct str s, size_t i) {
    size_t n = 0;
    while (i + n < s.n && s.p[i + n] >= 0x20 && s.p[i + n] < 0x7f && s.p[i + n] != '"' &&
           s.p[i + n] != '\\')
        n++;
    return n;
}

/* A grammar that is too large already is not made larger. */
static bool full(const struct buf *b) {
    return b->n > GRAMMAR_MAX_BYTES;
}

void gen_literal(struct buf *b, struct str s) {
    buf_str(b, " \"");
    for (size_t i = 0; i < s.n && !full(b);) {
        uint32_t cp;
        const size_t n = plain(s, i);
        buf_append(b, s.p + i, n);
        i += n;
        if (i == s.n) break;
        i += (size_t)utf8_decode(s.p + i, s.n - i, &cp);
        buf_printf(b, "\\U%08x", cp);
    }
    buf_str(b, "\"");
}

void gen_string(struct buf *b, struct str s) {
    buf_str(b, " \"\\\"\"");
    for (size_t i = 0; i < s.n && !full(b);) {
        uint32_t cp;
        const size_t n = plain(s, i); /* what JSON writes in one way is one literal */
        if (n) gen_literal(b, (struct str){s.p + i, n});
        i += n;
        if (i == s.n) break;
        i += (size_t)utf8_decode(s.p + i, s.n - i, &cp);
        gen_char(b, cp);
    }
    buf_str(b, " \"\\\"\"");
}

static void raw_range(struct buf *b, uint32_t lo, uint32_t hi) {
    if (lo == hi)
        buf_printf(b, "\\U%08x", lo);
    else if (lo < hi)
        buf_printf(b, "\\U%08x-\\U%08x", lo, hi);
}

static bool has(const struct gen_ranges *r, uint32_t lo, uint32_t hi) {
    for (int i = 0; i < r->n; i++)
        if (r->lo[i] <= lo && r->hi[i] >= hi) return true;
    return false;
}

/* Hexadecimal digits lo..hi. */
static void hex_digit(struct buf *b, uint32_t lo, uint32_t hi) {
    buf_str(b, " [");
    for (uint32_t d = lo; d <= hi; d++)
        if (d < 10)
            buf_byte(b, (char)('0' + d));
        else
            buf_printf(b, "%c%c", (int)('a' + d - 10), (int)('A' + d - 10));
    buf_str(b, "]");
}

/* n hexadecimal digits of lo..hi. */
static void hex_range(struct buf *b, uint32_t lo, uint32_t hi, int n) {
    if (n == 0) return;
    const int shift = 4 * (n - 1);
    const uint32_t rest = (1u << shift) - 1, first = lo >> shift, last = hi >> shift;
    if ((lo & rest) == 0 && (hi & rest) == rest) {
        hex_digit(b, first, last);
        if (n > 1) buf_printf(b, " hex{%d}", n - 1);
        return;
    }
    if (first == last) {
        hex_digit(b, first, first);
        hex_range(b, lo & rest, hi & rest, n - 1);
        return;
    }
    buf_str(b, " (");
    hex_digit(b, first, first);
    hex_range(b, lo & rest, rest, n - 1);
    buf_str(b, " |");
    if (last - first > 1) {
        hex_digit(b, first + 1, last - 1);
        if (n > 1) buf_printf(b, " hex{%d}", n - 1);
        buf_str(b, " |");
    }
    hex_digit(b, last, last);
    hex_range(b, 0, hi & rest, n - 1);
    buf_str(b, ")");
}

/* Surrogate pairs of lo..hi, all above FFFF, each behind " |". */
static void pair_range(struct buf *b, uint32_t lo, uint32_t hi) {
    const uint32_t high = 0xd7c0 + (lo >> 10), last = 0xd7c0 + (hi >> 10);
    const uint32_t low = 0xdc00 | (lo & 0x3ff), low_last = 0xdc00 | (hi & 0x3ff);
    buf_str(b, " | \"\\\\u\"");
    hex_range(b, high, high, 4);
    buf_str(b, " \"\\\\u\"");
    hex_range(b, low, high == last ? low_last : 0xdfff, 4);
    if (high == last) return;
    if (last - high > 1) {
        buf_str(b, " | \"\\\\u\"");
        hex_range(b, high + 1, last - 1, 4);
        buf_str(b, " \"\\\\u\" [dD] [c-fC-F] hex{2}");
    }
    buf_str(b, " | \"\\\\u\"");
    hex_range(b, last, last, 4);
    buf_str(b, " \"\\\\u\"");
    hex_range(b, 0xdc00, low_last, 4);
}

/* What of the ranges is beyond ASCII, escaped; not of classes in many pieces, which take room. */
static void escaped_ranges(struct buf *b, const struct gen_ranges *r) {
    int beyond = 0;
    for (int i = 0; i < r->n; i++)
        beyond += r->hi[i] >= 0x80;
    if (has(r, 0x80, GRAMMAR_MAX_CP)) {
        buf_str(b, " | uni");
        return;
    }
    for (int i = 0; i < r->n && beyond <= 12; i++) {
        const uint32_t cut[] = {0x80, 0xd7ff, 0xe000, 0xffff, 0x10000, GRAMMAR_MAX_CP};
        for (int k = 0; k < 6; k += 2) {
            const uint32_t lo = r->lo[i] > cut[k] ? r->lo[i] : cut[k];
            const uint32_t hi = r->hi[i] < cut[k + 1] ? r->hi[i] : cut[k + 1];
            if (lo > hi) continue;
            if (k == 4) {
                pair_range(b, lo, hi);
                continue;
            }
            buf_str(b, " | \"\\\\u\"");
            hex_range(b, lo, hi, 4);
        }
    }
}

void gen_class(struct buf *b, const struct gen_ranges *r, bool raw) {
    static const uint32_t cut[] = {0, 0x1f, '"', '"', '\\', '\\'};
    buf_str(b, raw ? " [" : " ([");
    for (int i = 0; i < r->n; i++) {
        uint32_t lo = r->lo[i];
        for (int k = 0; k < 6 && !raw; k += 2) /* what JSON escapes comes below */
            if (lo <= cut[k + 1] && r->hi[i] >= cut[k]) {
                if (cut[k] > lo) raw_range(b, lo, cut[k] - 1);
                lo = cut[k + 1] + 1;
            }
        raw_range(b, lo, r->hi[i]);
    }
    buf_str(b, "]");
    if (raw) return;
    for (uint32_t cp = 0; cp <= '\\'; cp += cp == 0x1f ? '"' - 0x1f : cp == '"' ? '\\' - '"' : 1)
        if (has(r, cp, cp)) {
            buf_str(b, " |");
            gen_char(b, cp);
        }
    escaped_ranges(b, r);
    buf_str(b, ")");
}
