/* A text composed in the user's own editor. */
#pragma once

#include "base/buf.h"
#include "base/err.h"

/* Show `text` in $CRIA_EDITOR, $OLLAMA_EDITOR, $VISUAL, $EDITOR or vi, and append what the user has
 * saved to out.  The setting is a program and its arguments, divided by blanks; no shell reads it.
 * The text passes through a file that only this user can read, which is removed.  ERR_NOT_FOUND
 * without that program, ERR_IO when it fails. */
int editor_edit(struct str text, struct buf *out, struct err *e);
