/* The byte alphabet of byte-level BPE. */
#include "text/bytemap.h"

#include "base/utf8.h"

/* Printable bytes stand for themselves: ! to ~, and Latin-1 but for the soft hyphen. */
static int printable(unsigned b) {
    return (b >= 0x21 && b <= 0x7e) || (b >= 0xa1 && b != 0xad);
}

/* The others follow from U+0100 in byte order: 00-20, 7F-A0, AD. */
static uint32_t char_of(uint8_t byte) {
    if (printable(byte)) return byte;
    if (byte <= 0x20) return 0x100u + byte;
    if (byte <= 0xa0) return 0x121u + (byte - 0x7fu);
    return 0x143;
}

int bytemap_byte(uint32_t ch) {
    if (ch < 0x100) return printable(ch) ? (int)ch : -1;
    if (ch <= 0x120) return (int)(ch - 0x100);
    if (ch <= 0x142) return (int)(ch - 0x121 + 0x7f);
    return ch == 0x143 ? 0xad : -1;
}

size_t bytemap_encode(const char *p, size_t n, char *out) {
    char *o = out;
    for (size_t i = 0; i < n; i++) {
        const uint32_t c = char_of((uint8_t)p[i]);
        if (c < 0x80) {
            *o++ = (char)c;
        } else {
            *o++ = (char)(0xc0 | c >> 6);
            *o++ = (char)(0x80 | (c & 0x3f));
        }
    }
    return (size_t)(o - out);
}
