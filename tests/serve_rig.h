/* `cria serve` as a process of its own on a free port of loopback, and a client that sends exactly
 * the bytes it is told to and understands what comes back.  Everything has a time limit; what goes
 * wrong fails the test. */
#pragma once

#include <sys/types.h>

#include "support.h"

/* ---- the server ---- */

struct serve {
    pid_t pid; /* 0: not running */
    int port;
    char *dir;     /* a temporary folder of its own; removed by serve_stop */
    char log[700]; /* file with what it says, as JSON lines */
    int code;      /* after serve_stop: its exit code, 128 + signal */
};

/* With RIG_ISOLATED in the environment (make isolation-campaign) every server is started with
 * --isolated; what that forbids (pulls, addresses other than loopback) is then skipped. */
bool serve_isolated(void);
/* With RIG_TRACED (under strace) times say nothing. */
bool serve_traced(void);

/* args: more arguments of `cria serve`; set: "NAME=VALUE" for its environment ("NAME": taken out of
 * it); both NULL-terminated, or NULL.  An empty store in dir unless `set` has CRIA_MODELS, address
 * 127.0.0.1:0 unless `args` has --listen.  Waits until it listens. */
void serve_start(struct serve *s, const char *const *args, const char *const *set);
/* The same without waiting; the port stays 0. */
void serve_launch(struct serve *s, const char *const *args, const char *const *set);
/* The same, but it must not come up: returns its exit code; what it said is in *said (buf_fini). */
int serve_fails(const char *const *args, const char *const *set, struct buf *said);
/* TERM; must end within 40 s.  Returns the exit code. */
int serve_stop(struct serve *s);
void serve_signal(struct serve *s, int sig);
/* Did it end within `seconds`?  s->code then. */
bool serve_ended(struct serve *s, double seconds);
/* KILL, and removes the folder. */
void serve_kill(struct serve *s);
/* Lines of the log with both texts; waits up to 5 s for as many as these. */
int serve_lines(const struct serve *s, const char *a, const char *b, int at_least);
size_t serve_rss_bytes(const struct serve *s);
int serve_descriptors(const struct serve *s);
/* Processes below the server: pids into out [max]; their resident bytes together into *rss_bytes
 * (may be NULL).  Returns how many there are. */
int serve_children(const struct serve *s, pid_t *out, int max, size_t *rss_bytes);

/* A figure of /metrics, by its name behind "cria_" with its labels; false: it is not there. */
bool serve_metric(const struct serve *s, const char *name, long *out);

/* ---- one request, one answer ---- */

struct answer {
    int status;
    struct buf head; /* status line and headers */
    struct buf body; /* without its chunks' framing */
    bool whole;      /* the body has come to its end */
    double seconds;
};

/* A request on a connection of its own.  headers: complete lines, or NULL (a Host is put in unless
 * they have one).  body NULL: none.  Waits 60 s at most for the whole answer. */
void ask(const struct serve *s, struct answer *a, const char *method, const char *path,
         const char *headers, const char *body);
/* The same with a JSON body that printf makes; fails the test when the status is not `status`.
 * Returns the answer's JSON (json_decref), NULL for an empty or other body. */
__attribute__((format(printf, 5, 6))) json_t *ask_json(const struct serve *s, const char *method,
                                                       const char *path, int status,
                                                       const char *fmt, ...);
/* The value of a header, in a static ring (valid for the next 7 calls); NULL: not there. */
const char *answer_header(const struct answer *a, const char *name);
json_t *answer_json(const struct answer *a); /* the test fails when it is none */
/* The objects of an ndjson body, or of the "data:" lines of an SSE body ("[DONE]" as a string), as
 * an array. */
json_t *answer_stream(const struct answer *a);
void answer_fini(struct answer *a);

/* ---- piece by piece ---- */

struct wire {
    int fd;
    struct buf in;   /* bytes that came and were not taken yet */
    struct buf text; /* of the body, behind the line that wire_line gave last */
    bool chunked, in_body, over;
    int64_t n_left; /* of a body with Content-Length, or of a chunk */
};

void wire_open(struct wire *w, const struct serve *s);
void wire_send(struct wire *w, const void *p, size_t n);
void wire_put(struct wire *w, const char *text);
/* A request as `ask` makes it, on this connection, which is kept. */
void wire_ask(struct wire *w, const char *method, const char *path, const char *headers,
              const char *body);
/* The next answer's head (a->head, a->status); its body is then read by wire_body or wire_line.
 * False: nothing came within `seconds`, or the connection has ended. */
bool wire_head(struct wire *w, struct answer *a, double seconds);
/* What there is of the body at once, appended: 1; 0: its end; -1: nothing came in time, or the
 * connection has broken. */
int wire_body(struct wire *w, struct buf *out, double seconds);
/* The next line of the body without its end, in *line (reset first): 1, 0, -1 as above. */
int wire_line(struct wire *w, struct buf *line, double seconds);
/* Has the other side closed, within `seconds`? */
bool wire_closed(struct wire *w, double seconds);
void wire_close(struct wire *w);
/* With a reset instead of an end. */
void wire_reset(struct wire *w);
