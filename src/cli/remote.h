/* The server that commands talk to when one answers: where it is (setting HOST), whether it is
 * there, and questions to it in JSON (COMPAT.md 1.1).  One thread. */
#pragma once

#include <jansson.h>

#include "base/err.h"
#include "net/client.h"

struct remote;

enum { EXIT_NO_SERVER = 4 };

/* Does not connect.  Where HOST says, else "http://127.0.0.1:11434"; "0.0.0.0" is this machine. The
 * key, if the server wants one, is the setting API_KEY.  remote_close(NULL) is fine.  ERR_USAGE
 * when HOST is no address. */
struct remote *remote_open(struct err *e);
void remote_close(struct remote *r);
const char *remote_url(const struct remote *r); /* for messages: a URL, or "unix:PATH" */
bool remote_is_here(const struct remote *r);    /* HOST is an address of this machine */

/* The rule, for all commands that name a model:
 *
 *   - a file is opened here (cli_is_file);
 *   - a name is the server's, when one answers at HOST;
 *   - when nobody answers there, and HOST is an address of this machine (it is, unless it was set
 *     otherwise: loopback, 0.0.0.0, a Unix socket), it is one of the store here;
 *   - what works with files or measurements of this machine is only done here.
 *
 * 0 with *out the server (remote_close), or NULL: do it here.  only_here: the option that makes it
 * so ("--lora"), or NULL.  EXIT_NO_SERVER after saying on stderr that nobody answers elsewhere; -1
 * when HOST is elsewhere although only_here is set, or when what answers is no server. */
int remote_find(const char *only_here, struct remote **out, struct err *e);
/* For commands that need one: 0; EXIT_NO_SERVER after saying on stderr what to do; -1. */
int remote_need(struct remote **out, struct err *e);

/* Ask and wait.  path: "/api/ps"; body: borrowed, NULL: none.  *out (may be NULL) gets the answer's
 * object, NULL when it has none; json_decref.  An answer of 400 and above is an error with the
 * server's words: ERR_NOT_FOUND for 404, ERR_USAGE 400, ERR_LIMIT 401 and 403, ERR_RATE 429,
 * ERR_BUSY 503, ERR_TIMEOUT 504, else ERR_IO; ERR_CANCELLED after Ctrl-C.  ERR_FORMAT for what is
 * no JSON object, ERR_UNSUPPORTED for a redirect, which is not followed. */
int remote_ask(struct remote *r, enum net_method method, const char *path, const json_t *body,
               json_t **out, struct err *e);

/* Each object of a streamed answer (ndjson); -1 with e ends it. */
typedef int remote_line_fn(void *ctx, const json_t *line, struct err *e);
/* The same with lines as they come.  A line {"error": ...} ends it with ERR_IO and those words; so
 * does its end before a line with "done": true or "status": "success". */
int remote_stream(struct remote *r, const char *path, const json_t *body, remote_line_fn *fn,
                  void *ctx, struct err *e);

/* Is what the path names there?  HEAD; 404: false. */
int remote_has(struct remote *r, const char *path, bool *has, struct err *e);

/* A body of any size, read as it is sent. */
struct remote_body {
    net_read_fn *read;
    net_rewind_fn *rewind;
    void *ctx;
    uint64_t n_bytes;
};
int remote_send(struct remote *r, const char *path, const struct remote_body *b, struct err *e);
