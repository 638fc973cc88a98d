/* The chunked coding, byte by byte: net/http_chunk.h. */
#include "net/http_chunk.h"

#include <stdbool.h>

enum { SIZE, EXT, SIZE_LF, DATA, DATA_CR, DATA_LF, END_CR, END_LF, ENDED };

static int hex(char c) {
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* A byte of the size, or what ends it: ";" or CR.  Blanks before either are refused: parsers differ
 * there. */
static bool size_byte(struct http_chunk *c, char b) {
    const int v = hex(b);
    if (v >= 0) {
        c->n_left = c->n_left * 16 + (uint64_t)v;
        return ++c->n_digit <= 8;
    }
    if (c->n_digit == 0 || (b != ';' && b != '\r')) return false;
    c->n_ext = 0;
    c->state = b == ';' ? EXT : SIZE_LF;
    return true;
}

static bool ext_byte(struct http_chunk *c, char b) {
    if (b == '\r') {
        c->state = SIZE_LF;
        return true;
    }
    return b >= ' ' && b <= '~' && ++c->n_ext <= HTTP_CHUNK_EXT_MAX &&
           ++c->n_ext_all <= HTTP_CHUNK_EXT_ALL;
}

static bool expect(struct http_chunk *c, char b, char wanted, int next) {
    c->state = next;
    return b == wanted;
}

static bool frame_byte(struct http_chunk *c, char b) {
    switch (c->state) {
    case SIZE: return size_byte(c, b);
    case EXT: return ext_byte(c, b);
    case SIZE_LF: return expect(c, b, '\n', c->n_left ? DATA : END_CR);
    case DATA_CR: return expect(c, b, '\r', DATA_LF);
    case DATA_LF: c->n_digit = 0; return expect(c, b, '\n', SIZE);
    case END_CR: return expect(c, b, '\r', END_LF); /* else a trailer: refused */
    case END_LF: return expect(c, b, '\n', ENDED);
    }
    return false;
}

int http_chunk_feed(struct http_chunk *c, const char *p, size_t n, size_t *n_used,
                    struct str *data) {
    size_t i = 0;
    *data = (struct str){p, 0};
    while (i < n && c->state != DATA && c->state != ENDED)
        if (!frame_byte(c, p[i++])) return -400;
    if (c->state == DATA && i < n) {
        *data = (struct str){p + i, n - i < c->n_left ? n - i : (size_t)c->n_left};
        i += data->n;
        c->n_left -= data->n;
        if (c->n_left == 0) c->state = DATA_CR;
    }
    *n_used = i;
    return c->state == ENDED;
}
