/* Private to store/: one model at its registry, and requests to it that know about tokens and
 * tries. */
#pragma once

#include <pthread.h>

#include "net/client.h"
#include "net/url.h"
#include "store/registry.h"

enum { REGISTRY_TRIES = 6 };

struct registry {
    const struct registry_opts *o; /* borrowed */
    struct net_client *net;        /* owned */
    struct net_url host;
    char base[NAME_TEXT + 32]; /* "https://HOST/v2/NAMESPACE/MODEL" */
    pthread_mutex_t lock;
    char *authorization; /* "Bearer ..." or NULL; owned, under lock */
};

/* Chooses http or https, which may ask the registry; registry_close also after a failure. */
int registry_open(struct registry *r, const struct name *n, const struct registry_opts *o,
                  struct err *e);
void registry_close(struct registry *r);

/* A request to base + PATH; q->url and q->authorization are set here.  Asks for a token when the
 * answer is 401, and once more with it.  0 when there is an answer, whatever its status. */
int registry_ask(struct registry *r, const char *path, struct net_request *q, struct net_answer *a,
                 struct err *e);

/* The same up to REGISTRY_TRIES times, while the network fails or the registry is overloaded (429,
 * 5xx). */
int registry_ask_often(struct registry *r, const char *path, struct net_request *q,
                       struct net_answer *a, struct err *e);

/* Wait before try number `tries` (1, 2, ...), or as long as the answer asked for, but no longer
 * than a minute.  ERR_CANCELLED when the user stops it, or when *cancel becomes true. */
int registry_wait(const struct registry *r, int tries, int retry_after_s, struct err *e);
int registry_pause(const struct registry *r, const atomic_bool *cancel, int tries,
                   int retry_after_s, struct err *e);

/* An answer that is no success, as an error: "WHAT: STATUS, what the registry said". */
int registry_refused(const char *what, const struct net_answer *a, struct err *e);
