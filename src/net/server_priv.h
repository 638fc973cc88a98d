/* What the server's files share: net/server.h. */
#pragma once

#include <pthread.h>
#include <stdatomic.h>

#include <event2/buffer.h>
#include <event2/bufferevent.h>
#include <event2/event.h>
#include <event2/listener.h>

#include "net/http_chunk.h"
#include "net/server.h"

enum { NET_QUEUE_MAX = 65536, NET_OUT_MAX = 16384, NET_INPUT_MAX = 65536 };

/* TLS handshakes at once; the oldest gives way to a new one.  Each may take 144 KiB (the longest
 * hello that OpenSSL reads), so that all of them stay below 80 MiB. */
enum { NET_SHAKE_MAX = 512 };

enum conn_state { CONN_SHAKE, CONN_IDLE, CONN_HEAD, CONN_BODY, CONN_REPLY, CONN_CLOSING };

/* Who is connected, shared by the connections of one address; net thread. */
struct peer {
    struct peer *next;
    struct peer *net; /* of an IPv6 address: its /64; or NULL */
    int n_conn;
    char name[]; /* an address, a /64, or "unix:" and a user */
};

/* Fields below `lock` are under it; the rest is the net thread's. */
struct net_req {
    struct net_server *server;
    struct conn *conn; /* NULL when the client is gone */
    char *bytes;       /* the head, owned */
    struct http_head head;
    void *ctx; /* the application's */
    int64_t n_limit, n_body;
    bool close;           /* fixed before the application sees the request */
    bool seen;            /* by head_fn: done_fn is owed */
    pthread_mutex_t lock; /* taken before the server's; the net thread frees r after it had it */
    /* ---- lock ---- */
    struct evbuffer *queue; /* owned: bytes for the socket, framed */
    struct net_req *next;   /* in server->posted */
    int direct_fd; /* the socket, while nothing waits in the connection's output; else -1 */
    bool posted, gone, full, paused, started, ended, cut, body_done, chunked, no_body;
    int64_t n_left; /* of n_body_bytes; -1 unknown */
};

struct conn {
    struct net_server *server;
    struct conn *prev, *next;     /* server->conns */
    struct conn *younger, *older; /* server->youngest, in CONN_SHAKE */
    struct bufferevent *bev;
    struct event *timer;
    struct net_req *req; /* owned until the application has it */
    struct http_scan scan;
    struct http_chunk chunk;
    enum conn_state state;
    size_t n_window; /* body bytes since the timer was set */
    bool no_body;    /* the request is a HEAD */
    bool body_over;  /* all of the body was handed on but its end */
    bool loopback;
    struct peer *peer;     /* counted */
    struct ssl_st *tls;    /* owned by bev; or NULL */
    int64_t body_start_ns; /* of the body; moved on while it is paused */
};

struct listener {
    struct net_server *server;
    struct evconnlistener *ev; /* NULL: closed */
    bool loopback, tls;
    char address[192];
    char *unix_path; /* owned; unlinked at the end while it is ours */
    uint64_t unix_ino;
};

struct net_server {
    struct net_server_opts o;
    struct event_base *base;
    struct listener listener[NET_LISTEN_MAX];
    int n_listener;
    struct event *wake, *pause, *grace;
    struct conn *conns;
    struct conn *youngest, *oldest; /* of those that shake hands */
    int n_shake;
    struct peer *peers[256];
    int n_conn, n_req, port, wake_fd;
    atomic_long n_malformed;
    atomic_bool draining; /* written by the net thread */
    pthread_mutex_t lock;
    /* ---- lock ---- */
    struct ssl_ctx_st *tls; /* owned, counted; or NULL */
    struct net_req *posted;
    int drain_ms; /* -1: none was asked for */
};

void net_post(struct net_req *r); /* with its lock held */
void net_req_free(struct net_req *r);
void conn_new(struct listener *l, int fd, const struct sockaddr *a);
void conn_free(struct conn *c); /* the request, if any, is told that the client is gone */
void conn_pump(struct conn *c); /* move what waits to the socket; go on when a reply is over */

/* ---- listen.c ---- */
int listener_open(struct net_server *s, const char *where, struct err *e);
void listeners_enable(struct net_server *s, bool on);
void listeners_close(struct net_server *s);

/* ---- peer.c ---- */
/* NULL: it has as many connections as it may, or no memory. */
struct peer *peer_ref(struct net_server *s, int fd, const struct sockaddr *a);
void peer_unref(struct net_server *s, struct peer *p);

/* ---- tls.c ---- */
struct ssl_ctx_st *tls_new(const char *cert, const char *key, struct err *e);
void tls_free(struct ssl_ctx_st *t);
/* A bufferevent that shakes hands; *ssl is owned by it.  NULL: no memory. */
struct bufferevent *tls_accept(struct event_base *base, struct ssl_ctx_st *t, int fd,
                               struct ssl_st **ssl);
void tls_say_goodbye(struct ssl_st *ssl);
