/* What the user types in a chat: messages of one or more lines, and their history. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

int input_open(struct err *e);
void input_close(void); /* saves the history */

/* The next message into out, without the line feed at its end: one line, several from """ to """,
 * a text of several lines that was pasted, or what Ctrl-G gave to an editor.  Empty after Ctrl-C.
 * typed: it is one line outside """, so that it may be a command.  False at the end of input. */
bool input_message(struct buf *out, bool *typed);

void input_keep_history(bool keep);
