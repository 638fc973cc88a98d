/* An HTTP/1.1 server, plain or over TLS, on loopback or wider.  One net thread runs all sockets and
 * all callbacks; replies come from any thread.  No routes and no JSON here: ndjson, SSE and plain
 * bodies are all writes.
 *
 * Data flow: socket -> http_head, http_chunk -> head_fn -> body_fn -> net_reply_*() from any thread
 * -> the request's queue -> eventfd -> net thread -> socket; a piece of a body goes straight to the
 * socket while nothing waits before it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "net/http_head.h"

struct net_server;
struct net_req;

enum net_put { NET_OK, NET_FULL, NET_GONE };

/* The head is valid, no byte of the body was read.  Net thread; must not block.  Returns the body's
 * limit in bytes (0: none is taken), or minus a status to refuse the request and close; then the
 * request is over for the application. */
typedef int64_t net_head_fn(void *ctx, struct net_req *r);
/* A piece of the body, in order, borrowed for the call; `last` once, also without a body.  Net
 * thread: hand long work on. */
typedef void net_body_fn(void *ctx, struct net_req *r, const char *p, size_t n, bool last);
/* The client left, broke the protocol, went over the limit or stopped reading, before the reply was
 * ended.  Net thread; at most once.  Cancel the work; r stays valid until net_reply_end(), and for
 * this call also when another thread ends it meanwhile (what net_req_ctx points to is the caller's
 * care). */
typedef void net_gone_fn(void *ctx, struct net_req *r);
/* The queue is empty again after NET_FULL.  Net thread. */
typedef void net_room_fn(void *ctx, struct net_req *r);
/* The last call about a request that head_fn has seen, also a refused one: what net_req_ctx points
 * to may go.  Net thread. */
typedef void net_done_fn(void *ctx, struct net_req *r);

/* Zero is the default everywhere; times in ms. */
struct net_server_opts {
    /* [n_listen] "127.0.0.1:11434" (default), "[::1]:0", "unix:/path", "fd:3": a listening socket
     * that was inherited */
    const char *const *listen;
    int n_listen;
    bool wide; /* an address other than loopback may be bound */
    void *ctx;
    net_head_fn *head; /* required, as is body */
    net_body_fn *body;
    net_gone_fn *gone;
    net_room_fn *room;
    net_done_fn *done;
    const char *tls_cert, *tls_key; /* PEM files: TLS on all listeners but Unix sockets */
    int n_conn_max;                 /* 12,000; more wait in the kernel's queue */
    /* Connections of one address (IPv6: of a /64); more are closed.  0: as many as there may be;
     * -1: a quarter of n_conn_max, but as many as there may be over loopback and Unix sockets,
     * where a proxy brings everybody's. */
    int n_peer_max;
    int idle_ms;  /* 75,000 between requests */
    int head_ms;  /* 10,000 from a head's first byte to its end, and for a TLS handshake */
    int body_ms;  /* 30,000: in each such window a body brings 1 KiB or its end */
    int total_ms; /* 300,000 for a body, and a second more for each 64 KiB that came */
    int write_ms; /* 30,000 without the client taking a byte of what waits */
};

enum { NET_LISTEN_MAX = 16 };

/* Binds and listens.  ERR_USAGE: no such address form; ERR_LIMIT: wider than loopback without
 * `wide`, or a Unix socket that a server still answers on; ERR_IO. */
int net_server_open(struct net_server **out, const struct net_server_opts *o, struct err *e);
int net_server_port(const struct net_server *s); /* of the first listener; 0 for a Unix socket */
/* Where it listens, as `listen` says it with the port that was found; NULL behind the last. */
const char *net_server_address(const struct net_server *s, int i);
/* Requests that were refused before head_fn saw them: no valid head.  Any thread. */
long net_server_malformed(const struct net_server *s);
/* Certificate and key again, for connections from now on; any thread.  The old ones stay when it
 * fails. */
int net_server_tls(struct net_server *s, const char *cert, const char *key, struct err *e);
/* Serves; this is the net thread.  Returns when drained. */
void net_server_run(struct net_server *s);
/* Any thread, but no signal handler: take no new connections, answer new requests on kept ones with
 * 503, let running replies end; cut them after grace_ms.  net_server_run returns when every request
 * was ended by the application. */
void net_server_drain(struct net_server *s, int grace_ms);
void net_server_close(struct net_server *s); /* after run; accepts NULL */

const struct http_head *net_req_head(const struct net_req *r); /* borrowed from r */
void net_req_set_ctx(struct net_req *r, void *ctx);
void *net_req_ctx(const struct net_req *r);

/* Who is at the other end: an address without its port, or "unix:" and the user's number.  Borrowed
 * from r; to be copied in head_fn, for later the client may be gone. */
const char *net_req_peer(const struct net_req *r);
/* It came in at a listener on loopback: any page in a browser of this machine may have sent it. */
bool net_req_is_loopback(const struct net_req *r);

/* In body_fn: no more of the body until net_req_resume() (any thread; not after net_reply_end), nor
 * its end.  A client that leaves meanwhile is seen after that. */
void net_req_pause(struct net_req *r);
void net_req_resume(struct net_req *r);

/* A request that head_fn took is owed one net_reply_end, whatever happens, also after NET_GONE. */

/* Status line and headers, once.  `headers`: complete lines "Name: value\r\n", or NULL.
 * n_body_bytes -1: unknown, chunked.  ERR_FORMAT when the headers are not such lines (response
 * splitting). */
int net_reply_start(struct net_req *r, int status, const char *headers, int64_t n_body_bytes,
                    struct err *e);
/* Copies p; each call is flushed.  NET_FULL: nothing was taken, more than 64 KiB wait for a slow
 * reader.  Never blocks.  What a HEAD or a 204 or 304 must not carry is dropped. */
enum net_put net_reply_write(struct net_req *r, const void *p, size_t n);
/* Gives r back.  complete false, or less than n_body_bytes: the connection is cut, so that the
 * client sees that the body is not whole. */
void net_reply_end(struct net_req *r, bool complete);
