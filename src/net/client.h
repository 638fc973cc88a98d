/* The one HTTP client, over libcurl.  All that goes out passes through here, so that its rules hold
 * everywhere (SECURITY.md R2, R3, R6, R8, R13, R15):
 *
 *   - https only, unless the host was allowed plain http or is a loopback address;
 *   - at most 5 redirects, followed here and not by libcurl; never https to http; credentials and
 *     headers of the caller's go to the first host only;
 *   - the address that is connected to is looked at after the name was resolved: a redirect to
 *     loopback, private, link-local or other special addresses is refused unless the first host was
 *     of that kind, too; behind a proxy, which resolves names itself, this can be said of addresses
 *     and "localhost" in the URL only;
 *   - bounded header, bounded body, no compression, a stall ends the transfer.
 *
 * Proxies from the environment: net/proxy.h. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/err.h"
#include "net/address.h"

struct net_client; /* any number of threads; a transfer belongs to one */

/* A connection that is about to be made. */
struct net_connect {
    const char *purpose; /* of the client */
    const char *host;    /* as the URL has it; "" when it is a proxy that is connected to */
    const char *behind;  /* the host behind a proxy; "" without one */
    const char *address; /* numbers */
    int port;
};
/* -1 with e: it is not made. */
typedef int net_connect_fn(void *ctx, const struct net_connect *c, struct err *e);
/* Who is told of all connections of this process from now on, but those to a Unix socket; NULL:
 * nobody.  One at a time; fn runs on the threads of transfers, and may run until all of those that
 * have begun are over. */
void net_on_connect(net_connect_fn *fn, void *ctx);

/* For connections that are not made by this client: tell whoever is told of its own.  -1 with e: do
 * not make it. */
int net_tell_connect(const struct net_connect *c, struct err *e);

struct net_opts {
    const char *purpose;       /* what it is for, "registry"; a literal; NULL: "http" */
    const char *insecure_host; /* HOST[:PORT] that may be asked by plain http and with a certificate
                                  of its own; or NULL */
    const char *user_agent;    /* NULL: "cria/VERSION" */
    const char *unix_path;     /* a socket of this machine that all requests go to, whatever host
                                  their URL names; or NULL */
    int stall_s;               /* 0: 30; seconds without a byte that end a transfer */
    int connect_s;             /* 0: 20 */
    const volatile int *stop;  /* nonzero ends transfers with ERR_CANCELLED; or NULL */
};

/* Asked before each hop, with the URL's host; to_unix: it goes to a Unix socket of this machine
 * whatever the host is.  -1 with e set refuses it, and no socket is made.  NULL, as at the start:
 * all may go.  To be set while there are no other threads. */
typedef int net_gate_fn(const char *host, bool to_unix, struct err *e);
void net_client_gate(net_gate_fn *fn);

struct net_client *net_client_new(const struct net_opts *o, struct err *e);
void net_client_free(struct net_client *c);

enum net_method { NET_GET, NET_HEAD, NET_POST, NET_PUT, NET_PATCH, NET_DELETE };

/* Bytes of a body as they come; -1 with e set ends the transfer.  The answer has its status and
 * headers by then. */
typedef int net_write_fn(void *ctx, const void *bytes, size_t n, struct err *e);
/* Up to n bytes of a body to send; 0 at its end; -1 with e set. */
typedef int64_t net_read_fn(void *ctx, void *bytes, size_t n, struct err *e);
/* May start over: after a redirect or a lost connection the body is asked for from offset 0. */
typedef int net_rewind_fn(void *ctx, struct err *e);

struct net_request {
    enum net_method method;
    const char *url;
    const char *const *header; /* [n_header] "Name: value" */
    int n_header;
    const char *authorization;     /* value of that header, or NULL; only ever sent to the host (and
                                      port) of url */
    uint64_t range_from, range_to; /* bytes [from, to) ; to 0: all */
    struct str body;               /* to send, or */
    net_read_fn *read;             /* streamed, body_bytes of them */
    net_rewind_fn *rewind;
    uint64_t body_bytes;
    net_write_fn *write;       /* body of a 2xx answer; NULL: into net_answer.body */
    void *ctx;                 /* of read, rewind and write */
    uint64_t max_bytes;        /* of the answer's body, ERR_LIMIT beyond; 0: 64 KiB */
    int stall_s;               /* of this one; 0: the client's */
    const atomic_bool *cancel; /* true ends the transfer with ERR_CANCELLED; or NULL */
    bool (*over)(void *ctx);   /* the same, asked all the time, about once a second while nothing
                                  comes; or NULL */
    bool keep_redirect;        /* do not follow: the answer has the Location */
    bool same_host; /* follow only to the same scheme, host and port; another is kept as with
                       keep_redirect */
    /* An answer with a kept redirect that sent the caller to url: what holds for redirects holds
     * for this request from its start; or NULL. */
    const struct net_answer *redirected_by;
};

enum { NET_MAX_RETRY_AFTER_S = 3600 };

struct net_answer {
    int status;
    struct buf body;         /* owned; also of an error */
    char *url;               /* where it came from at last; owned */
    char *location;          /* of a redirect that was not followed, absolute; or NULL; owned */
    char *www_authenticate;  /* or NULL; owned */
    char *upload_location;   /* Docker-Upload-Location, absolute; or NULL; owned */
    char *etag, *digest;     /* ETag; Docker-Content-Digest; or NULL; owned */
    uint64_t content_length; /* UINT64_MAX: not said */
    uint64_t range_from, range_all; /* of a 206 with Content-Range; else 0 */
    uint64_t received;              /* of an upload, by its "Range: 0-LAST"; UINT64_MAX: not said */
    int retry_after_s;              /* NET_MAX_RETRY_AFTER_S also when more was said; 0: not said */
    enum net_class net;             /* of the address of the first hop */
};

/* 0 when an answer came, whatever its status; ERR_IO, ERR_NOT_FOUND (nobody answers there),
 * ERR_UNSUPPORTED (no TLS is spoken there), ERR_LIMIT, ERR_CANCELLED, ERR_FORMAT (a broken answer).
 * net_answer_fini also after a failure. */
int net_do(struct net_client *c, const struct net_request *r, struct net_answer *a, struct err *e);
void net_answer_fini(struct net_answer *a);

/* Of a thread that nobody joins, before it says that it is over: what the TLS library has of it is
 * freed now, as the process may end before the thread does. */
void net_thread_end(void);
