/* The server that commands talk to when one answers: where it is (setting HOST), whether it is
 * there, and questions to it in JSON (COMPAT.md 1.1).  One thread. */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "net/client.h"

struct remote;

enum { EXIT_NO_SERVER = 4 };

/* The address of the server, as a client takes it: "http://127.0.0.1:11434" where HOST says nothing
 * or "0.0.0.0".  ERR_USAGE when HOST is no address, ERR_UNSUPPORTED for a Unix socket. */
int remote_base(char *out, size_t n_out, struct err *e);

/* Does not connect.  The key, if the server wants one, is the setting API_KEY.  remote_close(NULL)
 * is fine. */
struct remote *remote_open(struct err *e);
void remote_close(struct remote *r);
const char *remote_url(const struct remote *r);

/* Does one answer there, within a second?  Then it is used. */
bool remote_is_there(struct remote *r);
/* For commands that need one: 0, or EXIT_NO_SERVER after saying on stderr what to do. */
int remote_require(struct remote *r);

/* Ask and wait.  path: "/api/ps"; body: borrowed, NULL: none.  *out (may be NULL) gets the answer's
 * object, NULL when it has none; json_decref.  An answer of 400 and above is an error with the
 * server's words: ERR_NOT_FOUND for 404, ERR_USAGE 400, ERR_LIMIT 401 and 403, ERR_BUSY 503, else
 * ERR_IO; ERR_CANCELLED after Ctrl-C. */
int remote_ask(struct remote *r, enum net_method method, const char *path, const json_t *body,
               json_t **out, struct err *e);

/* Each object of a streamed answer (ndjson); -1 with e ends it. */
typedef int remote_line_fn(void *ctx, const json_t *line, struct err *e);
/* The same with lines as they come.  A line {"error": ...} ends it with ERR_IO and those words. */
int remote_stream(struct remote *r, const char *path, const json_t *body, remote_line_fn *fn,
                  void *ctx, struct err *e);
