/* See display.h.  Wrapping works like Ollama's: a word is written as it comes; when it turns out
 * not to fit, it is erased and written again in the next line. */
#include "cli/display.h"

#include <stdio.h>
#include <sys/ioctl.h>
#include <unistd.h>
#include <utf8proc.h>

#include "base/utf8.h"

enum { MIN_COLUMNS = 10, CONTROL_PICTURES = 0x2400 };

void display_init(struct display *d, bool wrap) {
    *d = (struct display){.wrap = wrap, .terminal = isatty(STDOUT_FILENO) == 1};
}

void display_fini(struct display *d) {
    buf_fini(&d->word);
}

static int columns(void) {
    struct winsize w = {0};
    if (ioctl(STDOUT_FILENO, TIOCGWINSZ, &w) != 0 || w.ws_col == 0) return 0;
    return w.ws_col;
}

/* The code point to show instead of cp. */
static uint32_t harmless(uint32_t cp) {
    if (cp == '\n' || cp == '\t') return cp;
    if (cp < 0x20) return CONTROL_PICTURES + cp;
    if (cp == 0x7f) return CONTROL_PICTURES + 0x21;
    return cp >= 0x80 && cp < 0xa0 ? UTF8_BAD : cp;
}

void display_escape(struct str text, struct buf *out) {
    for (size_t at = 0; at < text.n;) {
        uint32_t cp;
        char c[4];
        at += (size_t)utf8_decode(text.p + at, text.n - at, &cp);
        buf_append(out, c, (size_t)utf8_encode(harmless(cp), c));
    }
}

static void put(const char *p, size_t n) {
    fwrite(p, 1, n, stdout);
}

/* Start a new line, taking the unfinished word along when it fits one. */
static void break_line(struct display *d, int width) {
    if (d->word_cols > 0 && d->word_cols < d->col && d->word_cols < width) {
        printf("\033[%dD\033[K\n", d->word_cols);
        put(d->word.p, d->word.n);
        d->col = d->word_cols;
    } else {
        put("\n", 1);
        buf_reset(&d->word);
        d->col = d->word_cols = 0;
    }
}

static void put_wrapped(struct display *d, const char *p, size_t n, uint32_t cp, int width) {
    if (cp == '\n' || cp == ' ' || cp == '\t') {
        put(p, n);
        d->col = cp == '\n' ? 0 : cp == ' ' ? d->col + 1 : (d->col / 8 + 1) * 8;
        buf_reset(&d->word);
        d->word_cols = 0;
        return;
    }
    const int w = utf8proc_charwidth((utf8proc_int32_t)cp);
    if (d->col + w > width) break_line(d, width);
    put(p, n);
    buf_append(&d->word, p, n);
    d->col += w;
    d->word_cols += w;
}

void display_text(struct display *d, struct str text) {
    if (text.n == 0) return;
    if (!d->terminal) {
        put(text.p, text.n);
        d->col = text.p[text.n - 1] != '\n';
        fflush(stdout);
        return;
    }
    struct buf safe = {0};
    display_escape(text, &safe);
    const int width = d->wrap ? columns() - 1 : 0; /* the last column would wrap by itself */
    for (size_t at = 0; at < safe.n;) {
        uint32_t cp;
        const size_t n = (size_t)utf8_decode(safe.p + at, safe.n - at, &cp);
        if (width >= MIN_COLUMNS)
            put_wrapped(d, safe.p + at, n, cp, width);
        else {
            put(safe.p + at, n);
            d->col = cp != '\n';
        }
        at += n;
    }
    buf_fini(&safe);
    fflush(stdout);
}

void display_end_line(struct display *d) {
    if (d->col > 0) put("\n", 1);
    d->col = d->word_cols = 0;
    buf_reset(&d->word);
    fflush(stdout);
}
