/* What the key of a request allows: may it come in, which models may it see and use, how many
 * tokens may it take; and the headers that say what is left.  Without keys everything is allowed.
 *
 *   guard: allow_enter -> ask_key: allow_model, allow_tokens -> the end: allow_settle */
#pragma once

#include "server/request.h"
#include "policy/keys.h"

/* Net thread, the route is known: finds the key and counts the request.  0, or the status to refuse
 * it with and why in *e; headers that go with it are put in r's. */
int allow_enter(struct request *r, const struct http_head *h, struct err *e);

/* Does the request's key see this model? */
bool allow_sees(const struct request *r, const struct name *n);
/* The same; ERR_DENIED with field "model" if not.  Nothing is said about whether it is there. */
int allow_model(const struct request *r, const struct name *n, struct err *e);

/* Take out of models_list()'s those that the key does not see, and their names out of others. */
void allow_hide(const struct request *r, json_t *list);

/* Put tokens aside for a request to a model, gen.h's; ERR_RATE, with Retry-After in r's headers. */
int allow_tokens(struct request *r, const json_t *gen, struct err *e);

/* Its prompt has so many tokens. */
void allow_prompt(struct request *r, int n_prompt);

/* The request is over, with this status: what it took counts, another may come in its place. Before
 * the last byte of the answer goes out, so that who asks next finds it so.  A second call does
 * nothing. */
void allow_settle(struct request *r, int status);

/* x-ratelimit-..., or anthropic-ratelimit-...: as those APIs have them. */
void allow_headers(const struct request *r, struct buf *out);

/* Of the request's key; normal without one. */
enum key_class allow_class(const struct request *r);

/* Counters by key, for those whose key may see those of others. */
void allow_metrics(const struct request *r, struct buf *out);
