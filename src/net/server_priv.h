/* What the server's files share: net/server.h. */
#pragma once

#include <pthread.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "net/http_chunk.h"
#include "net/server.h"

enum { NET_QUEUE_MAX = 65536, NET_OUT_MAX = 16384, NET_INPUT_MAX = 65536, NET_PEER_MAX = 48 };

enum conn_state { CONN_IDLE, CONN_HEAD, CONN_BODY, CONN_REPLY, CONN_CLOSING };

/* Fields below `lock` are under the server's lock; the rest is the net thread's. */
struct net_req {
    struct net_server *server;
    struct conn *conn; /* NULL when the client is gone */
    char *bytes;       /* the head, owned */
    struct http_head head;
    void *ctx; /* the application's */
    int64_t n_limit, n_body;
    bool close; /* fixed before the application sees the request */
    bool seen;  /* by head_fn: done_fn is owed */
    /* ---- lock ---- */
    struct evbuffer *queue; /* owned: bytes for the socket, framed */
    struct net_req *next;   /* in server->posted */
    bool posted, gone, full, paused, started, ended, cut, body_done, chunked, no_body, last_sent;
    int64_t n_left; /* of n_body_bytes; -1 unknown */
};

struct conn {
    struct net_server *server;
    struct conn *prev, *next; /* server->conns */
    struct bufferevent *bev;
    struct event *timer;
    struct net_req *req; /* owned until the application has it */
    struct http_scan scan;
    struct http_chunk chunk;
    enum conn_state state;
    size_t n_window; /* body bytes since the timer was set */
    bool no_body;    /* the request is a HEAD */
    bool body_over;  /* all of the body was handed on but its end */
    char peer[NET_PEER_MAX];
};

struct net_server {
    struct net_server_opts o;
    struct event_base *base;
    struct evconnlistener *listener;
    struct event *wake, *pause, *grace;
    struct conn *conns;
    int n_conn, n_req, port, wake_fd;
    char *unix_path; /* owned; unlinked at the end */
    pthread_mutex_t lock;
    /* ---- lock ---- */
    struct net_req *posted;
    int drain_ms; /* -1: none was asked for */
    bool draining;
};

void net_post(struct net_req *r); /* with the lock held */
void net_req_free(struct net_req *r);
void conn_new(struct net_server *s, int fd, const struct sockaddr *a);
void conn_free(struct conn *c); /* the request, if any, is told that the client is gone */
void conn_pump(struct conn *c); /* move what waits to the socket; go on when a reply is over */
