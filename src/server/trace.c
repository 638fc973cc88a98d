/* See trace.h: 00-<32 hex>-<16 hex>-<2 hex>, small letters; later versions may go on behind a "-".
 */
#include "server/trace.h"

#include <string.h>

enum { VERSION_AT = 0, ID_AT = 3, SPAN_AT = 36, FLAGS_AT = 53, LENGTH = 55 };

static bool is_hex(const char *s, size_t n) {
    for (size_t i = 0; i < n; i++)
        if (!(s[i] >= '0' && s[i] <= '9') && !(s[i] >= 'a' && s[i] <= 'f')) return false;
    return true;
}

static bool is_zero(const char *s, size_t n) {
    while (n && *s == '0')
        s++, n--;
    return n == 0;
}

static int digit(char c) {
    return c <= '9' ? c - '0' : c - 'a' + 10;
}

bool trace_parse(struct str h, struct trace *t) {
    *t = (struct trace){0};
    if (h.n < LENGTH || !is_hex(h.p, 2) || memcmp(h.p, "ff", 2) == 0) return false;
    const bool first = memcmp(h.p, "00", 2) == 0;
    if (first ? h.n != LENGTH : h.n > LENGTH && h.p[LENGTH] != '-') return false;
    if (h.p[ID_AT - 1] != '-' || h.p[SPAN_AT - 1] != '-' || h.p[FLAGS_AT - 1] != '-') return false;
    if (!is_hex(h.p + ID_AT, TRACE_ID_HEX) || is_zero(h.p + ID_AT, TRACE_ID_HEX)) return false;
    if (!is_hex(h.p + SPAN_AT, TRACE_SPAN_HEX) || is_zero(h.p + SPAN_AT, TRACE_SPAN_HEX))
        return false;
    if (!is_hex(h.p + FLAGS_AT, 2)) return false;
    memcpy(t->id, h.p + ID_AT, TRACE_ID_HEX);
    memcpy(t->span, h.p + SPAN_AT, TRACE_SPAN_HEX);
    t->sampled = digit(h.p[FLAGS_AT + 1]) & 1;
    return true;
}
