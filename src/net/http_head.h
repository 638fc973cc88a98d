/* The head of an HTTP/1.1 request (RFC 9112 sections 2-6, RFC 9110), strictly: whatever two
 * programs could understand in two ways is refused, because a proxy before us may understand it the
 * other way (request smuggling, SECURITY.md H5).  Pure functions on bytes, no I/O.
 *
 * Data flow: bytes -> http_scan_head (finds the end, refuses bytes that no head has) ->
 * http_head_parse (takes the head apart). */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/buf.h"
#include "base/str.h"

enum {
    HTTP_HEAD_MAX = 16384,  /* request line and fields; 431 above */
    HTTP_TARGET_MAX = 8192, /* 414 above */
    HTTP_FIELDS_MAX = 100,  /* 431 above */
};

enum http_method {
    HTTP_GET,
    HTTP_HEAD,
    HTTP_POST,
    HTTP_PUT,
    HTTP_PATCH,
    HTTP_DELETE,
    HTTP_OPTIONS,
};

const char *http_method_name(enum http_method m);

/* The state of a scan; zero at the start of a request. */
struct http_scan {
    size_t at;   /* bytes seen */
    size_t lead; /* of these, empty lines before the request line: 0, 2 or 4 */
    size_t line; /* where the current line starts */
    int n_line;  /* complete lines */
};

/* Look at p[0..n), the request's bytes from its first on, of which the scan has seen s->at.
 * Returns 1 when the head is complete (its bytes are p[s->lead..s->at)), 0 when more is needed, or
 * minus a status (400, 414, 431).  The answer is the same however the bytes are split. */
int http_scan_head(struct http_scan *s, const char *p, size_t n);

struct http_field {
    struct str name, value; /* the value without blanks around it; may be empty */
};

struct http_head {
    enum http_method method;
    int minor;                      /* HTTP/1.minor: 0 or 1 */
    struct str target, path, query; /* path: from "/" up to "?"; query: behind it; both raw */
    struct str host;                /* with its port; empty when HTTP/1.0 has none */
    int64_t n_body_bytes;           /* Content-Length; 0 without one; -1 when chunked */
    bool keep_alive, expect_continue;
    int n_field;
    struct http_field field[HTTP_FIELDS_MAX];
};

/* Take a complete head apart; h borrows from p.  Returns 0, or minus a status: 400, 414, 417 (an
 * Expect that is not 100-continue), 431, 501 (method or coding that is not implemented), 505; *why
 * then says what was found, in words. */
int http_head_parse(struct http_head *h, const char *p, size_t n, const char **why);

/* The first field of that name (case does not matter), or NULL. */
const struct str *http_head_get(const struct http_head *h, const char *name);

/* The text equals z, letters' case aside. */
bool http_is(struct str text, const char *z);

/* Append raw with its %XX decoded.  False, with out unspecified, when an escape is broken or the
 * result holds a control byte or is not UTF-8. */
bool http_decode(struct str raw, struct buf *out);
