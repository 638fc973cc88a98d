/* Pieces of GBNF: characters and strings as JSON spells them, ranges of integers. */
#include "text/grammar/schema_gen.h"

#include <stdio.h>
#include <string.h>

#include "base/utf8.h"

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

void gen_string(struct buf *b, struct str s) {
    buf_str(b, " \"\\\"\"");
    for (size_t i = 0; i < s.n;) {
        uint32_t cp;
        i += (size_t)utf8_decode(s.p + i, s.n - i, &cp);
        gen_char(b, cp);
    }
    buf_str(b, " \"\\\"\"");
}

static void digits(struct buf *b, int from, int to, size_t rest) {
    buf_printf(b, " [%d-%d]", from, to);
    if (rest) buf_printf(b, " [0-9]{%zu}", rest);
}

/* Digits from p on that are at least (sign 1) or at most (-1) those. */
static void bound(struct buf *b, const char *p, int sign) {
    if (!*p) return;
    const int d = *p - '0';
    buf_printf(b, " (\"%d\"", d);
    bound(b, p + 1, sign);
    if (sign > 0 ? d < 9 : d > 0) {
        buf_str(b, " |");
        digits(b, sign > 0 ? d + 1 : 0, sign > 0 ? 9 : d - 1, strlen(p + 1));
    }
    buf_str(b, ")");
}

static void same_length(struct buf *b, const char *lo, const char *hi) {
    for (; *lo && *lo == *hi; lo++, hi++)
        buf_printf(b, " \"%c\"", *lo);
    if (!*lo) return;
    buf_printf(b, " (\"%c\"", *lo);
    bound(b, lo + 1, 1);
    if (*hi - *lo > 1) {
        buf_str(b, " |");
        digits(b, *lo - '0' + 1, *hi - '0' - 1, strlen(lo + 1));
    }
    buf_printf(b, " | \"%c\"", *hi);
    bound(b, hi + 1, -1);
    buf_str(b, ")");
}

static void natural(struct buf *b, uint64_t lo, uint64_t hi) {
    for (uint64_t top = 9;; top = top * 10 + 9) {
        const bool last = hi <= top || top > UINT64_MAX / 10 - 1;
        if (lo <= top || last) {
            char from[24], to[24];
            snprintf(from, sizeof from, "%llu", (unsigned long long)lo);
            snprintf(to, sizeof to, "%llu", (unsigned long long)(last ? hi : top));
            same_length(b, from, to);
            if (last) return;
            buf_str(b, " |");
            lo = top + 1;
        }
    }
}

void gen_range(struct buf *b, int64_t lo, int64_t hi) {
    buf_str(b, " (");
    if (lo < 0) {
        buf_str(b, "\"-\" (");
        natural(b, hi < 0 ? (uint64_t)-hi : 1, (uint64_t)-lo);
        buf_str(b, ")");
    }
    if (lo < 0 && hi >= 0) buf_str(b, " |");
    if (hi >= 0) natural(b, lo < 0 ? 0 : (uint64_t)lo, (uint64_t)hi);
    buf_str(b, ")");
}
