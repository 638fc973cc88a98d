/* Strict request heads: net/http_head.h.  A list of what is refused and why stands in
 * tests/test_http.c, case by case. */
#include "net/http_head.h"

#include <string.h>

#include "base/utf8.h"

static const char *const METHODS[] = {
    [HTTP_GET] = "GET",         [HTTP_HEAD] = "HEAD",   [HTTP_POST] = "POST",
    [HTTP_PUT] = "PUT",         [HTTP_PATCH] = "PATCH", [HTTP_DELETE] = "DELETE",
    [HTTP_OPTIONS] = "OPTIONS",
};
enum { N_METHOD = sizeof METHODS / sizeof *METHODS };

const char *http_method_name(enum http_method m) {
    return METHODS[m];
}

/* ---- bytes ---- */

static bool is_digit(char c) {
    return c >= '0' && c <= '9';
}

static bool is_alpha(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int hex(char c) {
    if (is_digit(c)) return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

static bool is_tchar(char c) { /* RFC 9110 5.6.2 */
    return is_digit(c) || is_alpha(c) || (c && strchr("!#$%&'*+-.^_`|~", c));
}

static bool is_token(struct str s) {
    for (size_t i = 0; i < s.n; i++)
        if (!is_tchar(s.p[i])) return false;
    return s.n > 0;
}

static bool is_blank(char c) {
    return c == ' ' || c == '\t';
}

static struct str trim(struct str s) {
    while (s.n && is_blank(s.p[0]))
        s.p++, s.n--;
    while (s.n && is_blank(s.p[s.n - 1]))
        s.n--;
    return s;
}

static char lower(char c) {
    return c >= 'A' && c <= 'Z' ? (char)(c + ('a' - 'A')) : c;
}

bool http_is(struct str text, const char *z) {
    for (size_t i = 0; i < text.n; i++)
        if (!z[i] || lower(text.p[i]) != lower(z[i])) return false;
    return z[text.n] == 0;
}

/* ---- the end of a head ---- */

/* A line has ended at s->at (behind its LF).  1: that was the last one. */
static int end_line(struct http_scan *s) {
    const size_t n = s->at - s->line - 2;
    s->line = s->at;
    if (n == 0 && s->n_line > 0) return 1;
    if (n == 0) { /* RFC 9112 2.2: empty lines before a request are passed over; we take two */
        s->lead = s->at;
        return s->at > 4 ? -400 : 0;
    }
    return s->n_line++ > HTTP_FIELDS_MAX ? -431 : 0;
}

int http_scan_head(struct http_scan *s, const char *p, size_t n) {
    while (s->at < n) {
        const unsigned char c = (unsigned char)p[s->at];
        const bool after_cr = s->at > s->line && p[s->at - 1] == '\r';
        if ((c == '\n') != after_cr) return -400; /* LF without CR, CR without LF */
        if ((c < ' ' && c != '\t' && c != '\r' && c != '\n') || c == 0x7f) return -400;
        s->at++;
        if (s->n_line == 0 && s->at - s->line > HTTP_TARGET_MAX + 32) return -414;
        if (s->at - s->lead > HTTP_HEAD_MAX) return -431;
        const int r = c == '\n' ? end_line(s) : 0;
        if (r) return r;
    }
    return 0;
}

/* ---- the request line ---- */

static int refuse(int status, const char **why, const char *text) {
    *why = text;
    return -status;
}

static int parse_version(struct http_head *h, struct str v, const char **why) {
    if (v.n != 8 || memcmp(v.p, "HTTP/", 5) != 0 || !is_digit(v.p[5]) || v.p[6] != '.' ||
        !is_digit(v.p[7]))
        return refuse(400, why, "no HTTP version at the end of the request line");
    if (v.p[5] != '1' || v.p[7] > '1')
        return refuse(505, why, "HTTP version; 1.0 and 1.1 are accepted");
    h->minor = v.p[7] - '0';
    return 0;
}

static int parse_target(struct http_head *h, struct str t, const char **why) {
    if (t.n > HTTP_TARGET_MAX) return refuse(414, why, "request target is too long");
    if (t.n == 0 || t.p[0] != '/') /* a proxy's forms: absolute, authority, asterisk */
        return refuse(400, why, "request target does not start with '/'");
    for (size_t i = 0; i < t.n; i++)
        if (t.p[i] <= ' ' || t.p[i] > '~' || t.p[i] == '#')
            return refuse(400, why, "request target holds a byte that must be escaped");
    const char *q = memchr(t.p, '?', t.n);
    h->target = h->path = t;
    h->query = (struct str){t.p + t.n, 0};
    if (q) {
        h->path.n = (size_t)(q - t.p);
        h->query = (struct str){q + 1, t.n - h->path.n - 1};
    }
    return 0;
}

static int parse_request_line(struct http_head *h, struct str line, const char **why) {
    const char *a = memchr(line.p, ' ', line.n);
    const struct str method = {line.p, a ? (size_t)(a - line.p) : line.n};
    int rc;
    if (!is_token(method) || !a) return refuse(400, why, "request line");
    const struct str rest = {a + 1, line.n - method.n - 1};
    const char *b = memchr(rest.p, ' ', rest.n);
    if (!b) return refuse(400, why, "request line without a version");
    const struct str target = {rest.p, (size_t)(b - rest.p)};
    const struct str version = {b + 1, rest.n - target.n - 1};
    if ((rc = parse_version(h, version, why)) < 0) return rc;
    int m = 0;
    while (m < N_METHOD && !str_is(method, METHODS[m]))
        m++;
    if (m == N_METHOD) return refuse(501, why, "method");
    h->method = (enum http_method)m;
    return parse_target(h, target, why);
}

/* ---- the fields ---- */

static int parse_field(struct http_head *h, struct str line, const char **why) {
    if (is_blank(line.p[0])) return refuse(400, why, "folded header line");
    const char *colon = memchr(line.p, ':', line.n);
    if (!colon) return refuse(400, why, "header line without a colon");
    const struct str name = {line.p, (size_t)(colon - line.p)};
    if (!is_token(name)) return refuse(400, why, "header name");
    if (h->n_field == HTTP_FIELDS_MAX) return refuse(431, why, "too many header lines");
    h->field[h->n_field++] =
        (struct http_field){name, trim((struct str){colon + 1, line.n - name.n - 1})};
    return 0;
}

/* The only field of that name; NULL without one.  *n counts them. */
static const struct str *only(const struct http_head *h, const char *name, int *n) {
    const struct str *found = NULL;
    *n = 0;
    for (int i = 0; i < h->n_field; i++)
        if (http_is(h->field[i].name, name)) {
            found = &h->field[i].value;
            ++*n;
        }
    return found;
}

const struct str *http_head_get(const struct http_head *h, const char *name) {
    for (int i = 0; i < h->n_field; i++)
        if (http_is(h->field[i].name, name)) return &h->field[i].value;
    return NULL;
}

/* A name or an address, perhaps with a port; empty is allowed (RFC 9112 3.2). */
static bool is_host(struct str s) {
    size_t i = 0;
    if (s.n && s.p[0] == '[') {
        for (i = 1; i < s.n && (hex(s.p[i]) >= 0 || s.p[i] == ':' || s.p[i] == '.');)
            i++;
        if (i == 1 || i == s.n || s.p[i++] != ']') return false;
    } else {
        while (i < s.n && (is_digit(s.p[i]) || is_alpha(s.p[i]) || strchr("-._~", s.p[i])))
            i++;
        if (i == 0 && s.n) return false;
    }
    if (i == s.n) return true;
    if (s.p[i++] != ':' || s.n - i > 5) return false;
    while (i < s.n && is_digit(s.p[i]))
        i++;
    return i == s.n;
}

static int parse_host(struct http_head *h, const char **why) {
    int n;
    const struct str *host = only(h, "Host", &n);
    if (n > 1) return refuse(400, why, "two Host headers");
    if (!host && h->minor > 0) return refuse(400, why, "no Host header");
    h->host = host ? *host : STR("");
    return is_host(h->host) ? 0 : refuse(400, why, "Host header");
}

/* How long the body is (RFC 9112 6.3), and only when nobody can think otherwise. */
static int parse_length(struct http_head *h, const char **why) {
    int n_length, n_coding;
    const struct str *length = only(h, "Content-Length", &n_length);
    const struct str *coding = only(h, "Transfer-Encoding", &n_coding);
    if (n_length > 1) return refuse(400, why, "Content-Length twice");
    if (n_coding > 1) return refuse(400, why, "Transfer-Encoding twice");
    if (n_length && n_coding) return refuse(400, why, "both Content-Length and Transfer-Encoding");
    if (coding) {
        if (h->minor == 0) return refuse(400, why, "Transfer-Encoding in HTTP/1.0");
        if (!http_is(*coding, "chunked"))
            return is_token(*coding) ? refuse(501, why, "Transfer-Encoding; chunked is accepted")
                                     : refuse(400, why, "Transfer-Encoding; chunked is accepted");
        h->n_body_bytes = -1;
    }
    if (!length) return 0;
    if (length->n == 0 || length->n > 18) return refuse(400, why, "Content-Length");
    for (size_t i = 0; i < length->n; i++) { /* at most 18 digits: below 2^63 */
        if (!is_digit(length->p[i])) return refuse(400, why, "Content-Length");
        h->n_body_bytes = h->n_body_bytes * 10 + (length->p[i] - '0');
    }
    return 0;
}

static int parse_expect(struct http_head *h, const char **why) {
    int n;
    const struct str *expect = only(h, "Expect", &n);
    if (!n || h->minor == 0) return 0; /* RFC 9110 10.1.1: HTTP/1.0's is ignored */
    if (n > 1 || !http_is(*expect, "100-continue"))
        return refuse(417, why, "Expect; 100-continue is accepted");
    h->expect_continue = true;
    return 0;
}

/* Every Connection field is a list of words; "close" wins. */
static void parse_connection(struct http_head *h) {
    bool close = false, keep = h->minor > 0;
    for (int i = 0; i < h->n_field; i++) {
        struct str v = h->field[i].value;
        if (!http_is(h->field[i].name, "Connection")) continue;
        while (v.n) {
            const char *comma = memchr(v.p, ',', v.n);
            const struct str word = {v.p, comma ? (size_t)(comma - v.p) : v.n};
            const size_t n_used = word.n + (comma ? 1 : 0);
            close |= http_is(trim(word), "close");
            keep |= http_is(trim(word), "keep-alive");
            v.p += n_used, v.n -= n_used;
        }
    }
    h->keep_alive = keep && !close;
}

int http_head_parse(struct http_head *h, const char *p, size_t n, const char **why) {
    int rc = 0;
    h->n_field = 0, h->n_body_bytes = 0, h->expect_continue = false;
    h->host = STR("");
    for (bool first = true; rc == 0; first = false) {
        const char *cr = memchr(p, '\r', n);
        if (!cr || n - (size_t)(cr - p) < 2) return refuse(400, why, "head without an end");
        const struct str line = {p, (size_t)(cr - p)};
        p += line.n + 2, n -= line.n + 2;
        if (line.n == 0 && !first) break;
        rc = first ? parse_request_line(h, line, why) : parse_field(h, line, why);
    }
    if (rc == 0) rc = parse_host(h, why);
    if (rc == 0) rc = parse_length(h, why);
    if (rc == 0) rc = parse_expect(h, why);
    if (rc == 0) parse_connection(h);
    return rc;
}

/* ---- path ---- */

bool http_decode(struct str raw, struct buf *out) {
    const size_t start = out->n;
    buf_append(out, "", 0);
    for (size_t i = 0; i < raw.n; i++) {
        char c = raw.p[i];
        if (c == '%') {
            if (raw.n - i < 3 || hex(raw.p[i + 1]) < 0 || hex(raw.p[i + 2]) < 0) return false;
            c = (char)(hex(raw.p[i + 1]) * 16 + hex(raw.p[i + 2]));
            i += 2;
        }
        if ((unsigned char)c < ' ' || c == 0x7f) return false;
        buf_byte(out, c);
    }
    return !out->failed &&
           (out->n == start || utf8_valid_prefix(out->p + start, out->n - start) == out->n - start);
}
