/* Sections of what `cria show` prints, and how values stand in them. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/utf8.h"
#include "cli/show.h"
#include "cli/text.h"

/* A section: a title and rows of cells separated by tabs, columns aligned when it is printed. */
enum { MAX_COLUMNS = 3 };

static size_t shown_width(const char *p, size_t n) {
    size_t w = 0;
    for (size_t i = 0; i < n; i++)
        w += ((unsigned char)p[i] & 0xc0) != 0x80; /* characters, not bytes */
    return w;
}

static size_t cell_length(const char *cell, const char *end) {
    size_t n = 0;
    while (cell + n < end && cell[n] != '\t' && cell[n] != '\n')
        n++;
    return n;
}

static void measure(const char *p, const char *end, size_t width[MAX_COLUMNS]) {
    for (int c = 0; p < end;) {
        const size_t n = cell_length(p, end), w = shown_width(p, n);
        if (w > width[c]) width[c] = w;
        c = p + n < end && p[n] == '\t' && c + 1 < MAX_COLUMNS ? c + 1 : 0;
        p += n + 1;
    }
}

/* Empty sections are left out. */
void show_section(const char *title, struct buf *rows) {
    size_t width[MAX_COLUMNS] = {0};
    const char *p = rows->p, *end = p + rows->n;
    if (rows->failed || rows->n == 0) {
        buf_fini(rows);
        return;
    }
    measure(p, end, width);
    printf("  %s\n", title);
    for (int c = 0; p < end;) {
        const size_t n = cell_length(p, end);
        const bool more = p + n < end && p[n] == '\t';
        printf("%s%.*s", c == 0 ? "    " : "", (int)n, p);
        if (more)
            printf("%*s", (int)(width[c] - shown_width(p, n) + 4), "");
        else
            putchar('\n');
        c = more && c + 1 < MAX_COLUMNS ? c + 1 : 0;
        p += n + 1;
    }
    putchar('\n');
    buf_fini(rows);
}

/* The shortest decimal that reads back as the same float32. */
void show_float(struct buf *b, double v, bool single) {
    char z[40];
    for (int digits = 6; digits <= 17; digits++) {
        snprintf(z, sizeof z, "%.*g", digits, v);
        if (single ? strtof(z, NULL) == (float)v : strtod(z, NULL) == v) break;
    }
    buf_str(b, z);
}

/* A string on one line of at most 60 bytes. */
void show_cell(struct buf *b, struct str s) {
    const size_t n = s.n <= 60 ? s.n : utf8_complete(s.p, 60);
    text_escape(b, (struct str){s.p, n}, false);
    if (n < s.n) buf_str(b, "...");
}
