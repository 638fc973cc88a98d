/* The table of routes: what is answered, by whom, with which rights and limits. */
#pragma once

#include "server/request.h"

/* On a worker thread, with the whole body.  Owes r its end. */
typedef void handler_fn(struct request *r);

enum right {
    RIGHT_NONE,  /* no key: health, "/" */
    RIGHT_READ,  /* lists and shows */
    RIGHT_USE,   /* generate, embed */
    RIGHT_ADMIN, /* change the store: pull, push, create, delete, blobs */
};

struct route {
    enum http_method method; /* HEAD is answered where GET is */
    const char *path; /* "/api/tags", "/api/blobs/:digest", "/v1/models/:model" (":name" at the
                         end takes the rest, slashes included) */
    enum right right;
    enum dialect dialect;
    int64_t max_body; /* bytes; 0: no body */
    handler_fn *handler;
};

enum { BODY_MAX = 32 << 20 };

/* NULL-path-terminated tables, one per dialect: api_native.c, api_store.c, api_openai.c,
 * api_responses.c, api_anthropic.c, api_extra.c. */
extern const struct route routes_native[], routes_store[], routes_openai[], routes_responses[],
    routes_anthropic[], routes_extra[];
