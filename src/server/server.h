/* The front: HTTP, the three API dialects, the life cycle of models.  DESIGN.md 2. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

/* Of the memory limit, for the front itself: 17 MB at rest, 20 MB under load. */
enum { SERVER_OWN_BYTES = 24 << 20 };

struct server;
struct models;
struct store;
struct fallback;
struct pii_guard;

/* Zero is the default everywhere; the settings CRIA_X / OLLAMA_X give what the command line leaves.
 */
struct server_opts {
    const char *const *listen; /* [n_listen] addresses (net/server.h); NULL: the setting HOST, else
                                  127.0.0.1:11434 */
    int n_listen;
    const char *tls_cert, *tls_key; /* PEM files */
    const char *api_key_file;
    const char *config;    /* file with settings; NULL: the setting CONFIG, else none */
    bool wide;             /* bind wider than loopback without a key */
    const char *store;     /* NULL: the setting MODELS */
    const char *isolation; /* off, on, best-effort (policy/isolation.h); NULL: the setting */
};

/* Before anything is opened: what whoever started this process left open is closed, but for what
 * systemd passed in to listen on.  A socket among it would be a way out of an isolated server. */
void server_close_inherited(void);

/* Binds, reads settings and keys.  ERR_USAGE for a setting that does not parse, ERR_LIMIT for an
 * address that may not be bound, and for isolation that the kernel cannot enforce.  Isolated, the
 * process stays shut in for good; there must be no other threads. */
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
struct fallback *server_fallback(struct server *s);
struct pii_guard *server_pii(struct server *s);
const char *server_version(void); /* as /api/version tells it: tools refuse old ones */
