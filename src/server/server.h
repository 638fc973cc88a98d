/* The front: HTTP, the three API dialects, the life cycle of models.  DESIGN.md 2. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

struct server;
struct models;
struct store;

/* Zero is the default everywhere; the settings CRIA_X / OLLAMA_X give what the command line leaves.
 */
struct server_opts {
    const char *const *listen; /* [n_listen] addresses (net/server.h); NULL: the setting HOST, else
                                  127.0.0.1:11434 */
    int n_listen;
    const char *tls_cert, *tls_key; /* PEM files */
    const char *api_key_file;
    const char *config; /* file with settings; NULL: the setting CONFIG, else none */
    bool wide;          /* bind wider than loopback without a key */
    const char *store;  /* NULL: the setting MODELS */
};

/* Binds, reads settings and keys.  ERR_USAGE for a setting that does not parse, ERR_LIMIT for an
 * address that may not be bound. */
struct server *server_open(const struct server_opts *o, struct err *e);
/* Serves until drained. */
int server_run(struct server *s, struct err *e);
void server_drain(struct server *s);  /* any thread; a second call cuts at once */
void server_reload(struct server *s); /* any thread: settings again (SIGHUP) */
void server_close(struct server *s);
int server_port(const struct server *s); /* of the first listener */

/* For handlers. */
struct models *server_models(struct server *s);
struct store *server_store(struct server *s);
const char *server_version(void); /* as /api/version tells it: tools refuse old ones */
