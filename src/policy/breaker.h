/* Circuit breakers: a model that fails time and again is not asked for a while.
 *
 *   closed ---- n failures in a row ----> open ---- cool-down ----> half open: one request asks it
 *      ^                                   ^                            |
 *      +------------- it answered ---------|------------- yes ----------+
 *                                          +-------------- no ----------+
 *
 * Of requests that ran at once when it failed one counts: a crash of ten answers is one failure. A
 * breaker only says whom to ask first; when nobody else can, an open one is asked after all
 * (server/ask_chain.c).  Times are os_now_ns().  (M. Nygard, "Release It!", 2007.)  Any thread. */
#pragma once

#include <stdint.h>

#include "store/name.h"

struct breaker; /* of all models; remembers as many as BREAKER_MAX that failed */
enum { BREAKER_MAX = 256, BREAKER_FAILURES = 5 };

struct breaker *breaker_new(struct err *e);
void breaker_free(struct breaker *b); /* accepts NULL */
/* n_failures 0: none ever opens. */
void breaker_configure(struct breaker *b, int n_failures, int64_t cool_ns);

enum breaker_pass {
    BREAKER_CLOSED, /* ask it */
    BREAKER_PROBE,  /* ask it: all others wait for how that goes; breaker_tell is owed */
    BREAKER_OPEN,   /* ask another */
};
enum breaker_pass breaker_ask(struct breaker *b, const struct name *n, int64_t now_ns);

enum breaker_outcome { BREAKER_GOOD, BREAKER_BAD, BREAKER_UNKNOWN };
/* How it went with a request that began at began_ns; probe: breaker_ask said so. */
void breaker_tell(struct breaker *b, const struct name *n, bool probe, enum breaker_outcome o,
                  int64_t began_ns, int64_t now_ns);

int breaker_n_open(struct breaker *b); /* open or half open now */
