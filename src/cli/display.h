/* A model's words on standard output: as they are when it is a file or a pipe; on a terminal
 * without control characters (a model can say escape sequences, SECURITY.md H14) and, if wanted,
 * with lines broken between words. */
#pragma once

#include "base/buf.h"

struct display {
    bool wrap;       /* break lines between words; set by the caller */
    bool terminal;   /* stdout is one */
    int col;         /* columns used in this line */
    struct buf word; /* owned: the word being written, in case it must move to the next line */
    int word_cols;
};

void display_init(struct display *d, bool wrap);
void display_fini(struct display *d);

/* Write whole UTF-8 characters and flush. */
void display_text(struct display *d, struct str text);

/* End the line if something stands in it. */
void display_end_line(struct display *d);

/* Append text as a terminal may show it: control characters as their Unicode pictures (or U+FFFD),
 * line feed and tab as they are, broken UTF-8 as U+FFFD. */
void display_escape(struct str text, struct buf *out);
