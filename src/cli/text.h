/* Text from strangers on the user's terminal. */
#pragma once

#include "base/buf.h"

/* Append s with everything unprintable (base/utf8.h) as \xNN, so that no file can move the cursor,
 * recolour or retitle a terminal.  With `lines`, newlines and tabs pass; else they become \n, \t.
 */
void text_escape(struct buf *out, struct str s, bool lines);
