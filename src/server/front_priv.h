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
#include "server/decode.h"
#include "server/keys.h"
#include "server/log.h"
#include "server/metrics.h"
#include "server/models.h"
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
    struct log *log;
    struct metrics *metrics;
    struct server_opts o; /* its texts are owned by the caller of server_open */
    uint64_t id_key;
    atomic_ullong n_id;
    atomic_llong n_gathered; /* bytes of bodies in memory */
    atomic_int n_drain;
    atomic_bool log_bodies;
    pthread_mutex_t lock; /* of what follows */
    struct settings settings;
    struct keys *keys; /* owned; NULL: everybody may do everything */
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
    size_t n_json;      /* bytes of the body that it was made from: gathered until the end */
    void *sink;
    bool sink_open;
    enum coding coding;
    int deny_status; /* not 0: the front answers, with deny_why */
    const char *deny_why;
    int64_t n_body, start_ns, body_ns, first_ns; /* first_ns: of the answer; 0: none */
    struct work work;
    atomic_int n_ref;

    pthread_mutex_t task_lock; /* of the next four; taken before `lock` */
    struct gen_task *task;
    bool task_paused;
    request_gone_fn *gone_fn;
    void *gone_ctx;

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
    char *model; /* owned */
    struct gen_stats work_done;
    int64_t load_ns;
    bool worked;
};

/* ---- request.c ---- */
struct request *request_new(struct server *s, struct net_req *net);
/* With the lock held: the client has left, or is treated so. */
void request_set_gone(struct request *r);
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
