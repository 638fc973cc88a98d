/* Answers that are being made, so that equal requests at once are computed once.
 *
 *   first of a key   the leader: its request goes on to the model; every event is recorded, told to
 *                    it and to those that follow
 *   others           get what was recorded so far, then each event as it comes
 *   the leader's client leaves   the generation goes on as long as somebody else wants it
 *   the leader fails before the first event, for a reason of its own (its client left, its time was
 *                    over, the queue was full)   the next one leads
 *   it fails later   all are told so: two generations are never made into one answer
 *
 * What is whole in the end is kept in the store, unless another model than the one that was asked
 * for made it. */
#pragma once

#include "policy/answer_cache.h"
#include "server/ask.h"

struct flights;
struct flights *flights_new(void);
void flights_free(struct flights *f); /* accepts NULL; no flight is under way */

struct flight_opts {
    struct answer_cache *store; /* or NULL: nothing is kept */
    uint8_t key[ANSWER_KEY_BYTES];
    const char *model; /* that was asked for, as it is stored; borrowed for the call */
    int64_t ttl_s;
    uint64_t terms; /* those of equal terms share: what else a client says of how it is made */
    bool held;      /* nothing comes before the end (ask.h: whole): streams do not wait for it */
    bool alone;     /* not with others: a refresh */
};

/* As the steps of ask_steps.h.  *followed: another's answer is what it gets. */
int flight_start(struct flights *f, struct request *r, const struct ask *a,
                 const struct flight_opts *o, bool *followed, struct err *e);
