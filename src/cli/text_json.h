/* Bytes in JSON: the reference data's "X", or "X_hex" where they are no UTF-8. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

/* Set key (or key_hex) of object o to the text. */
void text_json_set(json_t *o, const char *key, struct str text);

/* Append the value of key or key_hex to out.  0; ERR_FORMAT when neither is a string or the hex is
 * none. */
int text_json_get(const json_t *o, const char *key, struct buf *out, struct err *e);
