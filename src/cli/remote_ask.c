/* See remote.h: questions to the server in JSON, and what it may answer.  It may lie: answers are
 * bounded, and whatever is no answer of such a server says so. */
#include "cli/remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/json.h"
#include "cli/cli.h"
#include "cli/remote_priv.h"

enum {
    MAX_ANSWER_BYTES = 64 << 20,
    MAX_LINE_BYTES = 16 << 20,
    MAX_VALUES = 4 << 20,      /* of an answer: a vocabulary in /api/show */
    MAX_LINE_VALUES = 1 << 20, /* of a line of a stream */
    LOOK_S = 60,               /* what only looks something up answers sooner */
};

/* ---- questions ---- */

/* {"error": "..."}, or {"error": {"message": "..."}} of other APIs; NULL: no error. */
static const char *error_of(const json_t *o) {
    const json_t *error = json_object_get(o, "error");
    const json_t *message = json_object_get(error, "message");
    const char *why = json_string_value(message ? message : error);
    return !why && error && !json_is_null(error) ? "an error that it does not name" : why;
}

static enum err_code code_of(int status) {
    switch (status) {
    case 404: return ERR_NOT_FOUND;
    case 400: return ERR_USAGE;
    case 401:
    case 403: return ERR_LIMIT;
    case 429: return ERR_RATE;
    case 503: return ERR_BUSY;
    case 504: return ERR_TIMEOUT;
    default: return ERR_IO;
    }
}

/* Without a key, or with one that it does not take. */
static const char *advice(const struct remote *r, int status) {
    if (status != 401) return "";
    return r->key[0] ? " (the key of CRIA_API_KEY was sent)" : " (CRIA_API_KEY=KEY sends one)";
}

static int status_error(const struct remote *r, const struct net_answer *a, struct err *e) {
    struct err unused;
    if (a->status >= 300 && a->status < 400) return remote_redirected(r, a, e);
    json_t *o = json_read_object("answer", buf_view(&a->body), MAX_LINE_VALUES, &unused);
    const char *why = error_of(o);
    if (why)
        err_set(e, code_of(a->status), "%s%s", why, advice(r, a->status));
    else
        err_set(e, code_of(a->status), "%.200s: answered with status %d%s", r->shown, a->status,
                advice(r, a->status));
    json_decref(o);
    return -1;
}

/* The object in an answer, or a line of it; NULL: what is there instead. */
static json_t *read_object(const struct remote *r, struct str text, size_t max, struct err *e) {
    struct err why = {0};
    json_t *o = json_read_object("answer", text, max, &why);
    if (!o && why.code == ERR_FORMAT)
        err_set(e, ERR_FORMAT,
                "%.200s: found \"%.*s\" for an answer; JSON of a Cria or Ollama server is accepted",
                r->shown, text.n < 60 ? (int)text.n : 60, text.p);
    else if (!o)
        err_set(e, why.code, "%.200s: %s", r->shown, why.msg);
    return o;
}

/* The path behind the base, the body's JSON, headers; *text is to be freed after net_do. */
struct question {
    char url[REMOTE_URL + 256];
    struct buf text;
    struct net_request q;
};

static int prepare(struct remote *r, struct question *x, enum net_method method, const char *path,
                   const json_t *body, struct err *e) {
    static const char *const headers[] = {"Content-Type: application/json"};
    *x = (struct question){
        .q = {.method = method, .max_bytes = MAX_ANSWER_BYTES, .keep_redirect = true}};
    if (method == NET_GET || method == NET_HEAD || strcmp(path, "/api/show") == 0)
        x->q.stall_s = LOOK_S;
    if (snprintf(x->url, sizeof x->url, "%s%s", r->url, path) >= (int)sizeof x->url)
        return err_set(e, ERR_USAGE, "%.100s: too long", path);
    if (body && json_append("request", body, &x->text, e) != 0) return -1;
    x->q.url = x->url;
    x->q.authorization = *r->key ? r->key : NULL;
    if (body) x->q.header = headers, x->q.n_header = 1, x->q.body = buf_view(&x->text);
    return 0;
}

/* net_do, with what its errors mean here; a status beyond 2xx is one. */
static int ask_once(struct remote *r, const struct net_request *q, struct net_answer *a,
                    struct err *e) {
    if (net_do(r->client, q, a, e) != 0) return remote_explain(r, e);
    return a->status >= 300 ? status_error(r, a, e) : 0;
}

int remote_ask(struct remote *r, enum net_method method, const char *path, const json_t *body,
               json_t **out, struct err *e) {
    struct question x;
    struct net_answer a = {0};
    json_t *o = NULL;
    int rc = prepare(r, &x, method, path, body, e);
    if (rc == 0) rc = ask_once(r, &x.q, &a, e);
    if (rc == 0 && out) {
        o = read_object(r, buf_view(&a.body), MAX_VALUES, e);
        if (!o) rc = -1;
    }
    if (out) *out = o;
    net_answer_fini(&a);
    buf_fini(&x.text);
    return rc;
}

int remote_has(struct remote *r, const char *path, bool *has, struct err *e) {
    struct err why = {0};
    const int rc = remote_ask(r, NET_HEAD, path, NULL, NULL, &why);
    *has = rc == 0;
    if (rc == 0 || why.code == ERR_NOT_FOUND) return 0;
    return err_set(e, why.code, "%s", why.msg);
}

int remote_send(struct remote *r, const char *path, const struct remote_body *b, struct err *e) {
    struct question x;
    struct net_answer a = {0};
    int rc = prepare(r, &x, NET_POST, path, NULL, e);
    x.q.read = b->read, x.q.rewind = b->rewind, x.q.ctx = b->ctx, x.q.body_bytes = b->n_bytes;
    if (rc == 0) rc = ask_once(r, &x.q, &a, e);
    net_answer_fini(&a);
    buf_fini(&x.text);
    return rc;
}

/* ---- streams ---- */

struct lines {
    const struct remote *r;
    struct buf rest; /* of a line that is not whole yet */
    bool whole;      /* the line that ends it has come */
    remote_line_fn *fn;
    void *ctx;
};

/* The last line of an answer says so, that of a transfer that it succeeded. */
static bool is_last(const json_t *line) {
    const char *status = json_string_value(json_object_get(line, "status"));
    return json_is_true(json_object_get(line, "done")) ||
           (status && strcmp(status, "success") == 0);
}

static int take_line(struct lines *l, struct str line, struct err *e) {
    if (line.n == 0) return 0;
    json_t *o = read_object(l->r, line, MAX_LINE_VALUES, e);
    if (!o) return -1;
    const char *why = error_of(o);
    const int rc = why ? err_set(e, ERR_IO, "%s", why) : l->fn(l->ctx, o, e);
    l->whole |= is_last(o);
    json_decref(o);
    return rc;
}

static int on_bytes(void *ctx, const void *bytes, size_t n, struct err *e) {
    struct lines *l = ctx;
    size_t from = 0;
    const size_t old = l->rest.n;
    buf_append(&l->rest, bytes, n);
    if (l->rest.failed) return err_nomem(e, "answer of the server");
    const char *p = l->rest.p, *end;
    /* What was there before has no line's end. */
    for (size_t look = old; (end = memchr(p + look, '\n', l->rest.n - look)); look = from) {
        const size_t at = (size_t)(end - p);
        if (take_line(l, (struct str){p + from, at - from}, e) != 0) return -1;
        from = at + 1;
    }
    buf_drop(&l->rest, from);
    if (l->rest.n <= MAX_LINE_BYTES) return 0;
    return err_set(e, ERR_LIMIT, "%.200s: an answer with a line of more than %d bytes", l->r->shown,
                   MAX_LINE_BYTES);
}

int remote_stream(struct remote *r, const char *path, const json_t *body, remote_line_fn *fn,
                  void *ctx, struct err *e) {
    struct question x;
    struct net_answer a = {0};
    struct lines l = {.r = r, .fn = fn, .ctx = ctx};
    int rc = prepare(r, &x, NET_POST, path, body, e);
    x.q.write = on_bytes;
    x.q.ctx = &l;
    x.q.max_bytes = UINT64_MAX / 2;
    if (rc == 0) rc = ask_once(r, &x.q, &a, e);
    if (rc == 0) rc = take_line(&l, buf_view(&l.rest), e); /* a last line without its end */
    if (rc == 0 && !l.whole)
        rc = err_set(e, ERR_IO, "%.200s: the answer ended before it was complete", r->shown);
    net_answer_fini(&a);
    buf_fini(&l.rest);
    buf_fini(&x.text);
    return rc;
}
