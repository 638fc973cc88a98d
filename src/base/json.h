/* JSON from strangers: depth and number of values are counted before anything is built, so that a
 * few megabytes of "[[[{},{},..." cannot become a gigabyte of objects. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"

/* The object in these bytes; json_decref it.  NULL with ERR_FORMAT (no JSON, no object, deeper than
 * 128, keys that come twice), ERR_LIMIT (more than max_values values) or ERR_CANCELLED
 * (work_stopped()).  where begins messages. */
json_t *json_read_object(const char *where, struct str bytes, size_t max_values, struct err *e);

/* jansson's json_loadb, but given up when work_stopped(): NULL. */
json_t *json_read(struct str bytes, size_t flags, json_error_t *je);

/* Are these bytes within json_read_object's depth and max_values?  Whether they are JSON is not
 * looked at. */
int json_check(const char *where, struct str bytes, size_t max_values, struct err *e);

/* Append whole UTF-8 characters as a JSON string with its quotes, as jansson writes it: for the
 * lines that come once a token, for which objects would cost more than what they hold. */
void json_append_text(struct buf *out, struct str text);

/* Append j without blanks, its keys in the order they were set, to out.  Given up, with
 * ERR_CANCELLED, when work_stopped(). */
int json_append(const char *where, const json_t *j, struct buf *out, struct err *e);

/* The same for figures: reals with at most nine digits, 0.2 as 0.2. */
int json_append_figures(const char *where, const json_t *j, struct buf *out, struct err *e);
