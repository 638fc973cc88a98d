/* The table of routes: what is answered, by whom, with which rights and limits. */
#pragma once

#include "policy/keys.h"
#include "server/field.h"

/* On a worker thread, with the whole body.  Owes r its end. */
typedef void handler_fn(struct request *r);

/* Where a body goes that is too big to be gathered (blobs: GiB).  Worker threads, one call of a
 * request at a time, before the handler: that finds what open made in request_sink(), and an empty
 * request_body().  While a call works no more than about a MiB is read ahead: a slow disk slows the
 * sender. */
struct body_sink {
    /* Before the first piece, also of an empty body.  -1: the request is answered with e, the
     * connection closed, nothing else is called. */
    int (*open)(struct request *r, void **sink, struct err *e);
    /* -1: abort is called, the request is answered with e. */
    int (*write)(void *sink, struct str piece, struct err *e);
    /* Instead of the handler: a write failed, or the body did not come whole.  Frees it. */
    void (*abort)(void *sink);
};

struct route {
    enum http_method method; /* HEAD is answered where GET is */
    const char *path; /* "/api/tags", "/api/blobs/:digest", "/v1/models/:model" (":name" at the
                         end takes the rest, slashes included) */
    int right;        /* of enum right, keys.h: one of these is needed; RIGHT_NONE: no key */
    enum dialect dialect;
    int64_t max_body; /* bytes; 0: no body */
    handler_fn *handler;
    const struct body_sink *sink; /* NULL: the body is gathered */
    const struct field *fields;   /* of its JSON body: field.h; NULL: it has none */
};

enum { BODY_MAX = 32 << 20 };
#define BLOB_BODY_MAX ((int64_t)1 << 44) /* as LAYER_MAX_BYTES */

/* NULL-path-terminated tables, one per dialect: api_native.c, api_store.c, api_train.c,
 * api_openai.c, api_responses.c, api_anthropic.c, api_extra.c, api_cache.c, api_pii.c,
 * api_keep.c, api_audit.c. */
extern const struct route routes_native[], routes_store[], routes_train[], routes_openai[],
    routes_responses[], routes_anthropic[], routes_extra[], routes_cache[], routes_pii[],
    routes_keep[], routes_audit[];
