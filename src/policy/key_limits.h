/* What keys may use: requests and tokens in a minute (token buckets), requests at once, requests
 * and tokens in a day (UTC).
 *
 *   key_enter    a request comes: counted, or refused; exact to one request, whoever else comes
 *   key_reserve  it goes to a model: tokens are put aside before they are made
 *   key_correct  its prompt has been read: how long it is is known now
 *   key_settle   it ends: what it took really is counted, what it did not take is given back
 *
 * A refused request counts for nothing, also when it is refused for its tokens.  One that was let
 * in counts, however it ends.
 *
 * Tokens are known at the end only, so they are reserved by an estimate: what the prompt may have
 * and as many as the request asks for at most.  Of a day the last request is the one that finds any
 * left: it may take more, and nobody is let in beside it.  Of a minute no more is reserved than all
 * of it, so that a request for more runs when the bucket is full, which then fills up from below
 * zero.  A request that names no maximum reserves its prompt only, and those that run at the same
 * time may all take more than there was: whoever wants it exact names one.
 *
 * Rates go by a monotonic clock, so that a clock that is set forth or back changes none; days go by
 * the wall clock: a later day begins anew, the day before does not (a clock that was set back a
 * little), any other does. */
#pragma once

#include "policy/keys.h"

enum key_limit {
    KEY_LIMIT_NONE,
    KEY_LIMIT_REQUESTS,   /* rpm */
    KEY_LIMIT_TOKENS,     /* tpm */
    KEY_LIMIT_CONCURRENT, /* at once */
    KEY_LIMIT_DAY_REQUESTS,
    KEY_LIMIT_DAY_TOKENS,
};

struct key_refusal {
    enum key_limit limit;
    int64_t most;    /* the limit */
    int64_t retry_s; /* it may be better then; at least 1 */
};

/* "rate limit of this API key: 60 requests a minute; try again in 3 s"; ERR_RATE. */
void key_refusal_text(const struct key_refusal *r, struct err *e);

/* What time it is; zero: the system's clocks. */
struct key_clock {
    int64_t (*now_ns)(void *ctx); /* monotonic */
    int64_t (*unix_s)(void *ctx);
    void *ctx;
};

struct key_limits; /* the table of all meters; any thread */

struct key_limits *key_limits_new(const struct key_clock *c, struct err *e);
void key_limits_free(struct key_limits *l); /* accepts NULL */

/* Give every key of a set that is not shared yet its meter: one a name, made at its first use, as
 * long as l. */
int key_limits_attach(struct key_limits *l, struct keys *k, struct err *e);

/* k has a meter, here and below.  -1: refused, nothing is counted. */
int key_enter(struct key_limits *l, const struct key *k, struct key_refusal *why);

/* What was put aside. */
struct key_hold {
    int64_t minute, day; /* tokens */
    int64_t answer;      /* of them */
};
/* What a request will take, as far as it is known before. */
struct key_need {
    int64_t least;          /* the prompt has so many: if a day has less left it is not begun */
    int64_t prompt, answer; /* at most, it is thought */
};
int key_reserve(struct key_limits *l, const struct key *k, const struct key_need *need,
                struct key_hold *hold, struct key_refusal *why);
/* The prompt has so many tokens: as much is put aside as if it had been known. */
void key_correct(struct key_limits *l, const struct key *k, struct key_hold *hold,
                 int64_t n_prompt);
/* The end of a request that was let in; hold zero: nothing was reserved. */
void key_settle(struct key_limits *l, const struct key *k, const struct key_hold *hold,
                int64_t n_tokens);

/* Of requests and of tokens, the limit that is nearest: of the minute or of the day. */
struct key_left {
    int64_t most;     /* 0: none */
    int64_t left;     /* at least 0 */
    int64_t reset_ns; /* from now, until all of it is there again */
};
void key_look(struct key_limits *l, const struct key *k, struct key_left *requests,
              struct key_left *tokens);

/* ---- what is kept over a restart: key_usage.h ---- */

struct key_day {
    struct key_meter *meter;
    char name[KEY_NAME_MAX];
    int64_t day; /* since 1970 */
    int64_t requests, tokens;
};
/* The counts of the next meter behind *at (NULL: of all) that were not kept yet; false: there is no
 * more.  Meters stay as long as l: with thousands a number would be a long way each time. */
bool key_limits_unkept(struct key_limits *l, struct key_meter **at, struct key_day *out);
/* They are kept now. */
void key_limits_kept(struct key_limits *l, const struct key_day *d);
/* All that was kept of a day, by this server and others. */
void key_limits_restore(struct key_limits *l, const char *name, int64_t day, int64_t requests,
                        int64_t tokens);
int64_t key_limits_day(struct key_limits *l); /* today */

/* ---- counters since the start, for metrics ---- */

struct key_counts {
    char name[KEY_NAME_MAX];
    int64_t n_requests, n_refused, n_tokens;
    int n_now;
};
/* The meter behind *at (NULL: the first), in the order in which they were first used; false: there
 * are no more. */
bool key_limits_counts(struct key_limits *l, struct key_meter **at, struct key_counts *out);
