/* UTF-8 by the table of RFC 3629, section 4. */
#include "base/utf8.h"

static int is_tail(unsigned char c) {
    return (c & 0xc0) == 0x80;
}

/* Length that a lead byte announces, 0 for none; lo..hi bound the second byte. */
static int lead(unsigned char c, unsigned char *lo, unsigned char *hi) {
    *lo = 0x80, *hi = 0xbf;
    if (c < 0x80) return 1;
    if (c < 0xc2) return 0;
    if (c < 0xe0) return 2;
    if (c < 0xf0) {
        if (c == 0xe0) *lo = 0xa0;
        if (c == 0xed) *hi = 0x9f;
        return 3;
    }
    if (c > 0xf4) return 0;
    if (c == 0xf0) *lo = 0x90;
    if (c == 0xf4) *hi = 0x8f;
    return 4;
}

int utf8_decode_strict(const char *p, size_t n, uint32_t *cp) {
    const unsigned char *u = (const unsigned char *)p;
    unsigned char lo, hi;
    const int len = lead(u[0], &lo, &hi);
    *cp = UTF8_BAD;
    if (len == 0 || (size_t)len > n) return -1;
    if (len == 1) {
        *cp = u[0];
        return 1;
    }
    if (u[1] < lo || u[1] > hi) return -1;
    uint32_t v = (uint32_t)(u[0] & (0xff >> (len + 1))) << 6 | (u[1] & 0x3f);
    for (int i = 2; i < len; i++) {
        if (!is_tail(u[i])) return -1;
        v = v << 6 | (u[i] & 0x3f);
    }
    *cp = v;
    return len;
}

int utf8_decode(const char *p, size_t n, uint32_t *cp) {
    const int len = utf8_decode_strict(p, n, cp);
    return len < 0 ? 1 : len;
}

int utf8_encode(uint32_t cp, char out[4]) {
    if (cp > 0x10ffff || (cp >= 0xd800 && cp < 0xe000)) cp = UTF8_BAD;
    if (cp < 0x80) {
        out[0] = (char)cp;
        return 1;
    }
    if (cp < 0x800) {
        out[0] = (char)(0xc0 | cp >> 6);
        out[1] = (char)(0x80 | (cp & 0x3f));
        return 2;
    }
    if (cp < 0x10000) {
        out[0] = (char)(0xe0 | cp >> 12);
        out[1] = (char)(0x80 | (cp >> 6 & 0x3f));
        out[2] = (char)(0x80 | (cp & 0x3f));
        return 3;
    }
    out[0] = (char)(0xf0 | cp >> 18);
    out[1] = (char)(0x80 | (cp >> 12 & 0x3f));
    out[2] = (char)(0x80 | (cp >> 6 & 0x3f));
    out[3] = (char)(0x80 | (cp & 0x3f));
    return 4;
}

size_t utf8_complete(const char *p, size_t n) {
    for (size_t back = 1; back <= 3 && back <= n; back++) {
        const unsigned char *u = (const unsigned char *)p + n - back;
        if (is_tail(u[0])) continue;
        unsigned char lo, hi;
        const int len = lead(u[0], &lo, &hi);
        if (len <= (int)back) return n; /* complete, or not a lead at all */
        if (back > 1 && (u[1] < lo || u[1] > hi)) return n;
        return n - back;
    }
    return n;
}

size_t utf8_valid_prefix(const char *p, size_t n) {
    size_t i = 0;
    while (i < n) {
        uint32_t cp;
        const int len = utf8_decode_strict(p + i, n - i, &cp);
        if (len < 0) return i;
        i += (size_t)len;
    }
    return n;
}

int utf8_printable(const char *p, size_t n) {
    uint32_t cp;
    const int len = utf8_decode_strict(p, n, &cp);
    if (len < 0 || cp < 0x20 || (cp >= 0x7f && cp < 0xa0)) return 0;
    /* U+2028 and U+2029 end a line; U+202A-202E and U+2066-2069 turn its direction. */
    if ((cp >= 0x2028 && cp <= 0x202e) || (cp >= 0x2066 && cp <= 0x2069)) return 0;
    return len;
}
