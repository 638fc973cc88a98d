/* One HTTP request on its way through a handler, and the ways to answer it.
 *
 * Data flow: net thread (head: route, Host and Origin, key, limits; body gathered) -> worker thread
 * (handler) -> reply, or ask.h: events of a model become chunks on that model's thread.
 *
 * Whoever holds a request owes it one of the calls marked "ends"; after that it is gone.  None of
 * these blocks: what a slow reader has not taken waits in the request (STREAM_MAX bytes at most;
 * the generation is paused long before). */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "net/http_head.h"
#include "server/pii.h"
#include "server/server.h"

struct request;

/* How errors look. */
enum dialect {
    DIALECT_OLLAMA,    /* {"error": "..."} */
    DIALECT_OPENAI,    /* {"error": {"message", "type", "param", "code"}} */
    DIALECT_ANTHROPIC, /* {"type": "error", "error": {"type", "message"}} */
};

struct server *request_server(const struct request *r);
const struct http_head *request_head(const struct request *r);
/* The part of the path that ":name" of the route stands for, decoded; ids like "a/b" included. */
const char *request_param(const struct request *r);
struct str request_body(const struct request *r);
/* What the route's body_sink (route.h) opened: the handler's from now on; NULL without one. */
void *request_sink(const struct request *r);
/* Who asks: the name of the API key, or the peer's address; for fairness and the log. */
const char *request_user(const struct request *r);
/* The name of the API key; "" without keys: what one may see and another may not goes by it. */
const char *request_key(const struct request *r);
/* Whose turn r takes, new; `theirs`: whom the client says it asks for, or NULL.  A key has its own
 * turns, however many users it names; NULL: out of memory. */
json_t *request_turn(const struct request *r, const char *theirs);

/* The body as a JSON object (base/json.h's limits); borrowed from r.  NULL after the request was
 * answered (and ended) with 400: "missing request body", or where the JSON breaks. */
json_t *request_json(struct request *r);

/* What request_json made of it; NULL: nobody has asked yet. */
const json_t *request_object(const struct request *r);

/* Notes for the log line and metrics: borrowed until the end; NULL: not known. */
void request_set_model(struct request *r, const char *name);

/* Another model than the one that was asked for answers, and why (chain_reason_name). */
void request_note_fallback(struct request *r, const char *model, const char *reason);
/* The same, and where the answer has not begun a header tells the client. */
void request_announce_fallback(struct request *r, const char *model, const char *reason);
/* Who answers: `asked`, unless another does. */
const char *request_served(const struct request *r, const char *asked);
const char *
request_fallback_reason(const struct request *r); /* NULL: the one that was asked does */
/* The receipt of the answer, taken over; NULL: none could be made. */
void request_set_receipt(struct request *r, json_t *receipt);
/* Into the object that ends an answer: "fallback_reason", when another answers; "receipt", when
 * there is one. */
void request_tell(const struct request *r, json_t *o);

/* How the response cache served r: the header X-Cache and the log say it.  Of several
 * the largest. */
enum cached { CACHED_UNASKED, CACHED_HIT, CACHED_MISS, CACHED_BYPASS };
void request_note_cache(struct request *r, enum cached c);

/* ---- what else the audit log is told of r (server/audit.h); any thread, before the end ---- */

/* This model's policy is audit=required: nothing is answered before the log has it.  -1 with e:
 * there is no log, or it takes no entry. */
int request_audit_require(struct request *r, struct err *e);
/* It is about to leave this machine: wait until the log has it, where that is required.  A
 * connection that is kept is told of once only.  -1 with e: it must not leave. */
int request_audit_written(struct request *r, struct err *e);
/* How much personal data was found, summed up over what r asks models for. */
void request_audit_pii(struct request *r, enum pii_side side, const struct pii_counts *found);
/* The manifest of the model that serves (64 hex digits) and its effective options; either may be
 * NULL. */
void request_audit_model(struct request *r, const char *digest, const json_t *options);

/* ---- whole replies; each ends ---- */

void reply_json(struct request *r, int status, json_t *j);    /* takes j over */
void reply_figures(struct request *r, int status, json_t *j); /* reals with nine digits */
void reply_text(struct request *r, int status, const char *content_type, struct str text);
void reply_status(struct request *r, int status); /* no body */
__attribute__((format(printf, 3, 4))) void reply_error(struct request *r, int status,
                                                       const char *fmt, ...);
/* The status that an error stands for: USAGE, FORMAT, UNSUPPORTED 400; NOT_FOUND 404; LIMIT 400 or
 * as the caller says; DENIED 403; RATE 429; CANCELLED 499; BUSY 503, TIMEOUT 504; the rest 500. */
int status_of(const struct err *e);
void reply_err(struct request *r, const struct err *e); /* status_of(e) and its message */

/* Extra headers of the reply, before it starts: a complete line "Name: value\r\n". */
void reply_header(struct request *r, const char *line);

/* ---- streams: start, chunks, end ---- */

enum stream_form { STREAM_NDJSON, STREAM_SSE };

void stream_start(struct request *r, int status, enum stream_form form);
bool stream_started(const struct request *r);
void stream_json(struct request *r, const json_t *j); /* a line, or "data: {...}\n\n"; borrowed */
void stream_figures(struct request *r, const json_t *j); /* a line, reals with nine digits */
/* "event: name\ndata: {...}\n\n" */
void stream_event(struct request *r, const char *name, const json_t *j);
void stream_text(struct request *r, struct str raw); /* bytes as they are */
/* A whole line or event that was written there; borrowed.  When its memory failed the stream is
 * cut, so that the client sees that it is not whole. */
void stream_line(struct request *r, const struct buf *b);
void stream_end(struct request *r); /* ends */
/* After the start: an error in the dialect's form as the last chunk.  Ends. */
void stream_fail(struct request *r, const struct err *e);

/* The client has left; chunks go nowhere.  Whoever works for r may stop. */
bool request_gone(const struct request *r);
