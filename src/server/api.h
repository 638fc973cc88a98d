/* What the routes of all APIs share. */
#pragma once

#include "server/field.h"
#include "server/request.h"
#include "store/name.h"

/* The text of now, or of a time of the store: RFC 3339 in UTC, nanoseconds. */
enum { API_TIME = 48 };
void api_now(char out[API_TIME]);
void api_time(int64_t unix_s, char out[API_TIME]);

/* The body of r, held against its route's table; borrowed from r.  Names that are ignored become
 * the header X-Cria-Ignored and a line in the log.  NULL after the request was answered and ended;
 * *f (may be NULL) is ready for more of the same request. */
json_t *api_body(struct request *r, struct fault *f);

/* The same with the name of the model in it, as the client wrote it, borrowed from r, and parsed (n
 * may be NULL). */
const json_t *api_read(struct request *r, const char **model, struct name *n);

/* Tell the client and the log which names were ignored. */
void api_tell_ignored(struct request *r, const struct fault *f);

/* Fields that most tables have. */
#define API_MODEL                                                                                  \
    { .name = "model", .types = FIELD_TEXT, .also = "name", .required = true }
#define API_KEEP_ALIVE                                                                             \
    { .name = "keep_alive", .types = FIELD_TEXT | FIELD_NUMBER, .apart = true }
#define API_OPTIONS                                                                                \
    { .name = "options", .types = FIELD_OBJECT }

/* Of what generates: ask_chain.c, ask_receipt.c. */
#define API_FALLBACK                                                                               \
    {.name = "fallback", .types = FIELD_ARRAY},                                                    \
        {.name = "first_token_timeout", .types = FIELD_TEXT | FIELD_NUMBER}, {                     \
        .name = "receipt", .types = FIELD_BOOL                                                     \
    }

/* How the response cache is to serve it: cache_wish.h. */
#define API_CACHE                                                                                  \
    { .name = "cache", .types = FIELD_OBJECT }

/* Of what has texts for a model: ask_pii.c. */
#define API_PII                                                                                    \
    { .name = "pii", .types = FIELD_TEXT | FIELD_OBJECT }

/* Zeros are left out of answers. */
void api_set_count(json_t *o, const char *key, int64_t n);
