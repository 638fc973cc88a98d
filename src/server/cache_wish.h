/* What a client wants of the response cache: the field "cache" of its request, and the header
 * Cache-Control. */
#pragma once

#include "server/api.h"

enum cache_mode {
    CACHE_USUAL,   /* as the server has it for the model */
    CACHE_OFF,     /* neither looked up nor kept */
    CACHE_ON,      /* answers that would come out the same again */
    CACHE_ALWAYS,  /* all: a draw is kept as it fell */
    CACHE_REFRESH, /* not looked up, but kept */
};

struct cache_wish {
    enum cache_mode mode;
    int64_t ttl_s; /* 0: the usual */
    bool asked;    /* the client said something */
};

/* ERR_USAGE with the field. */
int cache_wish_read(struct request *r, struct cache_wish *out, struct err *e);

/* The word of a mode ("off on always refresh"); false: it is none. */
bool cache_mode_read(const char *word, enum cache_mode *out);
