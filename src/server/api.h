/* What the routes of the native API and of the store share. */
#pragma once

#include "server/field.h"
#include "server/request.h"
#include "store/name.h"

/* The text of now, or of a time of the store: RFC 3339 in UTC, nanoseconds. */
enum { API_TIME = 48 };
void api_now(char out[API_TIME]);
void api_time(int64_t unix_s, char out[API_TIME]);

/* The body, checked against the table, with the name of a model in it ("model", or as older clients
 * have it, "name"): as the client wrote it, borrowed from r, and parsed (n may be NULL).  NULL
 * after the request was answered and ended. */
const json_t *api_read(struct request *r, const struct field *table, const char **model,
                       struct name *n);

/* Zeros are left out of answers. */
void api_set_count(json_t *o, const char *key, int64_t n);
