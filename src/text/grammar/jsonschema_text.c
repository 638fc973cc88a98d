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

void gen_literal(struct buf *b, struct str s) {
    buf_str(b, " \"");
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        i += (size_t)utf8_decode(s.p + i, s.n - i, &cp);
        buf_printf(b, cp < 0x80 && cp >= 0x20 && cp != '"' && cp != '\\' ? "%c" : "\\U%08x", cp);
    }
    buf_str(b, "\"");
}

void gen_string(struct buf *b, struct str s) {
    buf_str(b, " \"\\\"\"");
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        size_t plain = i; /* what JSON writes in one way is one literal */
        while (plain < s.n && s.p[plain] >= 0x20 && s.p[plain] < 0x7f && s.p[plain] != '"' &&
               s.p[plain] != '\\')
            plain++;
        if (plain > i) {
            gen_literal(b, (struct str){s.p + i, plain - i});
            i = plain;
            continue;
        }
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
    if (has(r, 0x80, GRAMMAR_MAX_CP)) buf_str(b, " | uni");
    buf_str(b, ")");
}
