/* What the server knows of models that stand in for others: the chain of the settings, circuit
 * breakers, the target on another host, and what was counted.  Any thread. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "policy/breaker.h"
#include "policy/chain.h"
#include "server/settings.h"

struct fallback;

struct fallback *fallback_new(struct err *e);
void fallback_free(struct fallback *f); /* accepts NULL */
/* All of the settings or, when one is wrong (ERR_USAGE), none. */
int fallback_configure(struct fallback *f, const struct settings *t, struct err *e);

/* One that speaks OpenAI's chat completions on another host, the last of chains. */
struct fallback_remote {
    char url[SETTING_TEXT]; /* of its chat completions; empty: none */
    char model[SETTING_TEXT], key_file[SETTING_TEXT];
};

/* Who may answer a request to `model`: itself, then
 *
 *   theirs       the request's "fallback", an array of names, empty: nobody; or NULL:
 *   its own      what its Modelfile or cria.conf says (server/rules.h), or
 *   FALLBACK     of the settings, without the model itself,
 *
 * and at last, unless the request has a list, *remote (url empty: none, or nothing may leave).
 * ERR_USAGE with the field: a name that is none or stands in it twice, too many. */
int fallback_chain(struct fallback *f, const char *model, const struct model_policy *own,
                   const json_t *theirs, struct chain *out, struct fallback_remote *remote,
                   struct err *e);

int64_t fallback_first_token_ns(struct fallback *f); /* FIRST_TOKEN_TIMEOUT; 0: none */
struct breaker *fallback_breaker(struct fallback *f);

/* ---- transfers to the target on another host ---- */

enum { FALLBACK_MAX_TRANSFERS = 64 };
/* One more at once, until fallback_leave; ERR_BUSY: too many, or the server is closing. */
int fallback_enter(struct fallback *f, struct err *e);
void fallback_leave(struct fallback *f);
struct net_client *fallback_client(struct fallback *f, struct err *e); /* between both */
/* Ends them, and waits until they are.  Accepts NULL. */
void fallback_stop(struct fallback *f);

/* ---- figures ---- */

/* A model gave way because of that. */
void fallback_count(struct fallback *f, enum chain_reason why);
/* A request that was asked along a chain has ended so. */
enum fallback_end { FALLBACK_ANSWERED, FALLBACK_FAILED, FALLBACK_BROKE, FALLBACK_N_END };
void fallback_count_end(struct fallback *f, enum fallback_end end);
void fallback_metrics(struct fallback *f, struct buf *b); /* Prometheus's text */
