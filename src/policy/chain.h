/* Which models answer for another, and when one gives way to the next.
 *
 * A chain begins with the model that was asked for; the others follow in their order.  It is one
 * list: the lists of the models in it play no part, so that there is no loop but a name that stands
 * in it twice, and that is refused. */
#pragma once

#include "base/err.h"
#include "store/name.h"

enum { CHAIN_MAX = 8 }; /* models in a chain, the one that was asked for among them */

struct chain {
    int n;
    char link[CHAIN_MAX][NAME_TEXT]; /* as written */
};

/* One more at the end.  ERR_USAGE: no name of a model, one that is in it, one too many. */
int chain_add(struct chain *c, const char *name, struct err *e);
/* Names with blanks or commas between. */
int chain_add_list(struct chain *c, const char *names, struct err *e);
/* It is in it, by this or another way to write it ("a", "A:latest"). */
bool chain_has(const struct chain *c, const char *name);

/* How far a model came with a request. */
enum chain_stage {
    CHAIN_CHECK, /* nobody looked for it: the request itself is wrong */
    CHAIN_FIND,  /* in the store, and a place in its queue */
    CHAIN_LOAD,
    CHAIN_READY, /* it is there: can it do what is asked? */
    CHAIN_RUN,
    CHAIN_REMOTE, /* on its way to another host and back */
};
struct chain_end {
    enum chain_stage stage;
    bool first_late; /* ended because no token came in time */
};

enum chain_reason {
    CHAIN_STAYS, /* the next would fail, too, or nobody waits: errors of the client, a request that
                    was cancelled or whose time is over */
    CHAIN_MISSING,
    CHAIN_CORRUPT, /* a file that does not read, or that this build cannot run */
    CHAIN_MEMORY,
    CHAIN_LOAD_TIMEOUT,
    CHAIN_FIRST_TOKEN_TIMEOUT,
    CHAIN_QUEUE_FULL,
    CHAIN_CRASH,
    CHAIN_CIRCUIT_OPEN, /* it failed too often of late: breaker.h */
    CHAIN_UNABLE,       /* it answers for another and lacks what is asked: tools, a long context */
    CHAIN_UNREACHABLE,  /* the remote one */
    CHAIN_N_REASON
};

/* Why a model that failed with *e gives way.  substitute: it is not the one that was asked for, so
 * that what it cannot do is no error of the client's. */
enum chain_reason chain_reason_of(const struct chain_end *end, const struct err *e,
                                  bool substitute);
/* It says that the model is ill: the breaker counts it. */
bool chain_reason_counts(enum chain_reason why);
/* "crash": of answers, headers, metrics. */
const char *chain_reason_name(enum chain_reason why);
