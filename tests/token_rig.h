/* A token server on loopback, as docker-registry's `auth: token` wants one: it looks at the
 * signature of who asks (ed25519, COMPAT.md 4.3) and signs what it grants (JWT, RS256 or ES256). */
#pragma once

#include "hostile.h"

struct token_server {
    struct hostile at;
    struct token_inside *in;     /* owned */
    const char *issuer;          /* said in the tokens; "cria-test" */
    const char *hidden;          /* a repository that nothing is granted of; or NULL */
    atomic_int n_right, n_wrong; /* signatures of who asked */
    char origin[64];             /* "http://127.0.0.1:PORT" of the realm */
    char certificate[700];       /* file for the registry */
};

/* alg: "RS256" or "ES256"; keys are made in dir.  origin: what the asker signed the path behind. */
void token_server_start(struct token_server *t, const char *dir, const char *alg);
void token_server_stop(struct token_server *t);
