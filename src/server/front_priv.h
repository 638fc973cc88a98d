/* What the files of the front share: the server, a request, and how they are passed on.
 *
 *   net thread     front_head -> front_body... -> workers_submit        (server.c, body.c)
 *   worker         front_work: decoding, sink, handler                  (body.c)
 *   any thread     reply_, stream_ -> request_finish                    (reply.c, stream.c)
 *   net thread     front_gone, front_room, front_done                   (stream.c) */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include "base/buf.h"
#include "net/server.h"
#include "policy/isolation.h"
#include "server/audit.h"
#include "server/decode.h"
#include "server/door.h"
#include "server/fallback.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/models.h"
#include "server/pii.h"
#include "server/request_priv.h"
#include "server/route.h"
#include "server/settings.h"
#include "server/workers.h"

enum {
    BODY_SMALL = 64 << 10, /* read, and freed, at once */
    ID_HEX = 16,
    USER_MAX = 64,
    JSON_VALUES_MAX = 1 << 19, /* of a body: 100 bytes each at most, so 50 MiB */
};

struct server {
    struct net_server *net;
    struct workers *workers;
    struct store *store;
    struct models *models;
    struct trainings *trainings;
    struct fallback *fallback;
    struct response_cache *cache;
    struct pii_guard *pii;
    struct log *log;
    struct metrics *metrics;
    struct door *door;
    struct server_opts o;     /* its texts are owned by the caller of server_open */
    enum isolation isolation; /* as it was at the start; it stays so */
    char walls[128];          /* what enforces it; "" when nothing has to */
    uint64_t id_key;
    atomic_ullong n_id;
    atomic_llong n_gathered; /* bytes of bodies in memory */
    atomic_int n_drain;
    atomic_bool log_bodies;
    struct audit *audit;  /* NULL: off */
    pthread_mutex_t lock; /* of what follows */
    struct settings settings;
    struct conf conf; /* what the configuration file says of models */
    int64_t denied_s; /* second since boot in which n_denied requests were denied: audit.c */
    uint64_t n_denied;
};

/* Where a request is.  Before SHOWN no handler has it and the front owes its end. */
enum stage { STAGE_BODY, STAGE_WORK, STAGE_SHOWN };

struct request {
    struct server *server;
    struct net_req *net; /* valid until request_finish */
    const struct route *route;
    char id[ID_HEX + 1], peer[USER_MAX], user[USER_MAX];
    char *path;  /* owned, decoded */
    char *param; /* within path, or NULL */
    enum dialect dialect;
    struct buf headers; /* of the reply: complete lines */
    struct buf body;    /* gathered; with a sink under `lock`: what waits for it */
    json_t *json;       /* owned, made when asked for */
    json_t *receipt;    /* owned: of the answer, from the thread of its events */
    size_t n_json;      /* bytes of the body that it was made from: gathered until the end */
    void *sink;
    bool sink_open;
    enum coding coding;
    int deny_status; /* not 0: the front answers, with deny_why */
    const char *deny_why;
    char deny_text[160];                         /* where it is none of ours */
    struct keys *keys;                           /* counted; NULL: none are needed */
    const struct key *key;                       /* of keys; NULL: none */
    bool entered, held;                          /* it counts (allow.h); tokens were put aside */
    struct key_hold hold, hold_before;           /* of the last ask; of those before it */
    enum key_limit limit;                        /* why it is refused */
    int64_t n_body, start_ns, body_ns, first_ns; /* first_ns: of the answer; 0: none */
    struct work work;
    atomic_int n_ref;

    pthread_mutex_t task_lock; /* of the next six; taken before `lock` */
    struct gen_task *task;
    bool task_paused;
    request_gone_fn *gone_fn;
    void *gone_ctx;
    request_wanted_fn *wanted; /* or NULL */
    void *wanted_ctx;

    pthread_mutex_t lock; /* of what follows */
    enum stage stage;
    bool body_last, body_paused;     /* all of it is here; net_req_pause holds */
    bool refused;                    /* answered by the front: what still comes is dropped */
    volatile int gone;               /* the client has left, or its stream was cut; atomic: work.h
                                      * looks at it, too */
    bool started, ending, cut, over; /* over: request_finish was called for */
    int status;
    enum stream_form form;
    struct buf pending; /* chunks for a slow reader */
    int64_t n_sent;
    char *model;            /* owned */
    char *served;           /* owned; the model that answers for another, or NULL */
    const char *why_served; /* static */
    struct gen_stats work_done, work_before; /* of the last ask; of those before it */
    int64_t load_ns;
    bool worked, settled, failed; /* failed: a stream ended with an error */
    enum cached cached;
    struct audit_facts audit;
};

/* ---- request.c ---- */
struct request *request_new(struct server *s, struct net_req *net);
/* With the lock held: the client has left, or is treated so. */
void request_set_gone(struct request *r);
/* With task_lock held: somebody else wants what its task makes. */
bool request_is_wanted(struct request *r, bool leaving);
/* The line that says what the response cache did, or "". */
const char *request_cache_header(struct request *r);
const char *request_cache_word(enum cached c); /* "hit", "miss", "bypass"; NULL: unasked */
/* All was said: log, metrics, and the request goes back to the net.  Drops one reference. */
void request_finish(struct request *r, bool complete);
/* Whole, with the server's headers; what is not in `headers` already. */
void request_send(struct request *r, int status, const char *content_type, struct str text);
/* The error in the request's dialect, new. */
json_t *error_json(const struct request *r, int status, const struct err *e);

/* ---- guard.c ---- */
/* Fills path, route, user, headers; deny_status and deny_why if the front answers itself. */
void guard_judge(struct request *r);

/* ---- body.c ---- */
/* The next bytes, `last` once: net/server.h. */
void body_take(struct request *r, const char *p, size_t n, bool last);
/* Answer before the body's end; the connection closes behind it. */
void body_refuse(struct request *r, int status, const char *why);
void body_gone(struct request *r);

/* ---- stream.c ---- */
void stream_room(struct request *r);
void stream_gone(struct request *r);
/* The client has left, or is treated so: nobody works for it any more. */
void stream_tell_gone(struct request *r);

/* ---- route.c ---- */
struct found {
    const struct route *route; /* NULL: none */
    size_t param;              /* where ":name" begins in the path; 0: the route has none */
    const struct route *other; /* the path exists, with another method */
};
struct found route_find(enum http_method method, const char *path);
/* "GET, POST" of a path that exists, for Allow. */
void route_allow(const char *path, struct buf *out);
enum dialect route_dialect(const char *path); /* of a path without a route */
/* The i-th route of all tables; NULL behind the last. */
const struct route *route_at(int i);
int route_index(const struct route *r);
/* One more table, before a server is opened: routes of tests. */
void route_add(const struct route *table);

extern const struct route routes_front[]; /* front.c: "/", versions, health, metrics */
