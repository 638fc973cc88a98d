/* Errors as values.  What can fail returns 0 or -1 (or a pointer or NULL) and takes `struct err *`
 * last.  The message is one line: "where: what was found; what is accepted". */
#pragma once

#include <stdarg.h>

enum err_code {
    ERR_NONE,
    ERR_USAGE,       /* the caller's arguments; exit code 2 */
    ERR_NOT_FOUND,   /* no such file, model, key; exit code 3 */
    ERR_FORMAT,      /* bytes from outside that break their format */
    ERR_UNSUPPORTED, /* well formed, but not something this build does */
    ERR_LIMIT,       /* over a limit or against a policy; exit code 5 */
    ERR_NOMEM,
    ERR_IO,        /* the system said no; message has strerror */
    ERR_CANCELLED, /* exit code 130 */
    ERR_BUSY,      /* not now: a queue is full, another holds what is needed; HTTP 503 */
    ERR_TIMEOUT,   /* it took longer than it may; HTTP 504 */
    ERR_FORBIDDEN, /* not while this machine is isolated; exit code 5, HTTP 403 */
    ERR_DENIED,    /* who asks may not do that; exit code 5, HTTP 403 */
    ERR_RATE,      /* not so much in so short a time; exit code 5, HTTP 429 */
};

enum { ERR_FIELD = 96 };

struct err {
    enum err_code code;
    char msg[480]; /* valid UTF-8, no control bytes, always terminated */
    /* Of a request: which field is wrong, "messages[2].content"; "": none, or not known. */
    char field[ERR_FIELD];
};

/* Set *e (which may be NULL) and return -1.  What is not printable (utf8_printable) and slips in
 * from outside text, a tensor's name, say, becomes \xNN, so that an error is one line and never an
 * escape sequence.  Overwrites an earlier error. */
__attribute__((format(printf, 3, 4))) int err_set(struct err *e, enum err_code code,
                                                  const char *fmt, ...);

/* Which field of a request the error that *e has is about; a longer path is cut.  err_set forgets
 * it, err_prefix keeps it.  Returns -1. */
__attribute__((format(printf, 2, 3))) int err_field(struct err *e, const char *fmt, ...);

/* The same as err_set with a va_list. */
__attribute__((format(printf, 3, 0))) int err_vset(struct err *e, enum err_code code,
                                                   const char *fmt, va_list ap);

/* ERR_IO (ERR_NOT_FOUND for ENOENT, ERR_NOMEM for ENOMEM) from errno: "WHERE: <strerror>". */
int err_errno(struct err *e, const char *where);

/* Out of memory: "WHERE: out of memory". */
int err_nomem(struct err *e, const char *where);

/* Put "WHERE: " before the message that *e already has.  Returns -1. */
int err_prefix(struct err *e, const char *where);

/* The exit code of the command line for this error (DESIGN.md 6): 1, 2, 3, 5 or 130. */
int err_exit_code(const struct err *e);
