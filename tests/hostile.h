/* A server on loopback that answers as a test says: each request goes to a function, which writes
 * what it likes to the socket. */
#pragma once

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct hostile_request {
    char method[8], path[1024], host[300], authorization[2048];
    uint64_t from, to; /* of a Range; to 0: none */
    char text[16384];  /* the header as it came, ended by 0; */
    size_t n_early;    /* behind that so many bytes of the body, at early */
    const char *early;
};

typedef void hostile_fn(void *ctx, int fd, const struct hostile_request *q);

struct hostile {
    int port;
    atomic_int n_connections, n_requests;
    struct hostile_inside *in; /* owned */
};

/* A thread listens, one more for each connection; one request a connection, then it is closed. */
void hostile_start(struct hostile *h, hostile_fn *fn, void *ctx);
/* The same behind TLS, with the certificate and key of hostile_certificate in dir. */
void hostile_start_tls(struct hostile *h, hostile_fn *fn, void *ctx, const char *dir);
void hostile_stop(struct hostile *h);

/* The value of a header ("Content-Range"), "" when there is none. */
void hostile_header(const struct hostile_request *q, const char *name, char *out, size_t n);

/* Up to n bytes of the body; how many came. */
size_t hostile_body(int fd, const struct hostile_request *q, void *bytes, size_t n);

/* key.pem and cert.pem, which is its own authority, for localhost, 127.0.0.1, 0.0.0.0 and two names
 * that nobody resolves: registry.example and cdn.example. */
void hostile_certificate(const char *dir);

/* Write text, or bytes; false when the other side is gone. */
bool hostile_say(int fd, const char *fmt, ...) __attribute__((format(printf, 2, 3)));
bool hostile_send(int fd, const void *bytes, size_t n);

/* A whole answer with this status, more headers ("Name: value\r\n" or "") and body. */
void hostile_answer(int fd, int status, const char *headers, const void *body, size_t n);

/* Say nothing more until the other side goes. */
void hostile_hold(int fd);

/* What a proxy does after CONNECT: both directions to a port of this machine, until one ends. */
void hostile_tunnel(int fd, int port);
