/* What the server says: one line for each request and for each event, to stderr, as JSON objects or
 * as "key=value".  A thread of its own writes, so that a reader of the log who is slow never holds
 * up an answer; what waits is bounded, and lines that had to go are counted in the log.
 *
 * Nothing from outside can end a line or reach a terminal as a control: JSON escapes it, and so
 * does the text form (SECURITY.md H14).  No prompt text, no keys. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/log.h"
#include "engine/gen.h"
#include "server/trace.h"

struct log;

/* json false: "key=value".  fd is duplicated.  Nothing is written yet. */
struct log *log_open(int fd, bool json, struct err *e);
/* Starts the thread: what waits and what comes is written. */
int log_start(struct log *l, struct err *e);
void log_close(struct log *l); /* writes what waits; accepts NULL */

/* Any thread; never blocks.  l NULL: nothing. */
__attribute__((format(printf, 3, 4))) void log_line(struct log *l, enum log_level level,
                                                    const char *fmt, ...);

/* One request, at its end.  Times are os_now_ns(); 0: did not happen. */
struct log_request {
    const char *id, *peer, *user, *method, *path, *model; /* user, model: "" or NULL: none */
    const struct trace *trace;                            /* NULL: none */
    const char *fallback; /* why another model answered; NULL: none did */
    int status;
    bool cut; /* the answer did not arrive whole */
    int64_t n_body, n_sent;
    int64_t start_ns, body_ns, first_ns, load_ns;
    const char *cache;            /* "hit", "miss", "bypass"; NULL: it was not asked */
    const struct gen_stats *work; /* NULL: no model worked for it */
};
void log_put_request(struct log *l, const struct log_request *r);
/* What was asked, when the setting LOG_PROMPTS wants it; its first 256 KiB. */
void log_put_body(struct log *l, const char *id, struct str body);
