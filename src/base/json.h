/* JSON from strangers: depth and number of values are counted before anything is built, so that a
 * few megabytes of "[[[{},{},..." cannot become a gigabyte of objects. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

/* The object in these bytes; json_decref it.  NULL with ERR_FORMAT (no JSON, no object, deeper than
 * 128, keys that come twice) or ERR_LIMIT (more than max_values values).  where begins messages. */
json_t *json_read_object(const char *where, struct str bytes, size_t max_values, struct err *e);

/* Are these bytes within json_read_object's depth and max_values?  Whether they are JSON is not
 * looked at. */
int json_check(const char *where, struct str bytes, size_t max_values, struct err *e);

/* Append j without blanks, its keys in the order they were set, to out. */
int json_append(const char *where, const json_t *j, struct buf *out, struct err *e);
