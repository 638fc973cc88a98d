/* See remote.h. */
#include "cli/remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/json.h"
#include "base/os.h"
#include "cli/cli.h"
#include "server/settings.h"

enum {
    MAX_ANSWER_BYTES = 64 << 20,
    MAX_LINE_BYTES = 16 << 20,
    MAX_VALUES = 1 << 20,
    WAIT_S = 24 * 3600, /* a load, or a prompt's reading, may take long without a byte */
};

struct remote {
    char url[SETTING_TEXT + 16];
    char key[SETTING_TEXT + 8]; /* "Bearer ...", or empty */
    struct net_client *client;
};

/* ---- where it is ---- */

/* "0.0.0.0" and "[::]" are all addresses of a machine: from here it is this one. */
static void to_loopback(char *host_port) {
    static const char *const any[][2] = {{"0.0.0.0:", "127.0.0.1"}, {"[::]:", "[::1]"}};
    char port[16];
    for (size_t i = 0; i < sizeof any / sizeof *any; i++) {
        const size_t n = strlen(any[i][0]);
        if (strncmp(host_port, any[i][0], n) != 0) continue;
        snprintf(port, sizeof port, "%s", host_port + n);
        snprintf(host_port, SETTING_TEXT, "%s:%s", any[i][1], port);
        return;
    }
}

int remote_base(char *out, size_t n_out, struct err *e) {
    char text[SETTING_TEXT], at[SETTING_TEXT];
    const char *host = os_setting("HOST", text, sizeof text);
    const bool https = host && strncasecmp(host, "https://", 8) == 0;
    if (settings_host(host ? host : "", at, e) != 0) return -1;
    if (strncmp(at, "unix:", 5) == 0)
        return err_set(e, ERR_UNSUPPORTED,
                       "setting CRIA_HOST: commands do not talk to a Unix socket; accepted: "
                       "ADDRESS:PORT or a URL");
    to_loopback(at);
    snprintf(out, n_out, "%s://%s", https ? "https" : "http", at);
    return 0;
}

/* Whom HOST names was chosen by the user: plain http is fine there when it says so. */
static const char *plain_host(const struct remote *r) {
    return strncmp(r->url, "http://", 7) == 0 ? r->url + 7 : NULL;
}

struct remote *remote_open(struct err *e) {
    struct remote *r = calloc(1, sizeof *r);
    char key[SETTING_TEXT];
    if (!r) {
        err_nomem(e, "server");
        return NULL;
    }
    if (remote_base(r->url, sizeof r->url, e) != 0) goto fail;
    const struct net_opts o = {.insecure_host = plain_host(r),
                               .stall_s = WAIT_S,
                               .connect_s = 5,
                               .stop = &cli_interrupted};
    if (os_setting("API_KEY", key, sizeof key)) snprintf(r->key, sizeof r->key, "Bearer %s", key);
    r->client = net_client_new(&o, e);
    if (r->client) return r;
fail:
    remote_close(r);
    return NULL;
}

void remote_close(struct remote *r) {
    if (!r) return;
    net_client_free(r->client);
    free(r);
}

const char *remote_url(const struct remote *r) {
    return r->url;
}

bool remote_is_there(struct remote *r) {
    const struct net_opts o = {
        .insecure_host = plain_host(r), .stall_s = 1, .connect_s = 1, .stop = &cli_interrupted};
    struct net_client *quick = net_client_new(&o, NULL);
    struct net_answer a = {0};
    const struct net_request q = {.method = NET_HEAD, .url = r->url};
    const bool there = quick && net_do(quick, &q, &a, NULL) == 0;
    net_answer_fini(&a);
    net_client_free(quick);
    return there;
}

int remote_require(struct remote *r) {
    if (remote_is_there(r)) return 0;
    fprintf(stderr, "Error: could not connect to a server at %s; run 'cria serve' to start one\n",
            r->url);
    return EXIT_NO_SERVER;
}

/* ---- questions ---- */

static int status_error(int status, struct str body, struct err *e) {
    struct err unused;
    json_t *o = json_read_object("answer", body, MAX_VALUES, &unused);
    const char *why = json_string_value(json_object_get(o, "error"));
    const enum err_code code = status == 404                    ? ERR_NOT_FOUND
                               : status == 400                  ? ERR_USAGE
                               : status == 401 || status == 403 ? ERR_LIMIT
                               : status == 503                  ? ERR_BUSY
                                                                : ERR_IO;
    if (why)
        err_set(e, code, "%s", why);
    else
        err_set(e, code, "the server answered with status %d", status);
    json_decref(o);
    return -1;
}

/* The path behind the base, the body's JSON, headers; *text is to be freed after net_do. */
struct question {
    char url[SETTING_TEXT + 256];
    struct buf text;
    struct net_request q;
};

static int prepare(struct remote *r, struct question *x, enum net_method method, const char *path,
                   const json_t *body, struct err *e) {
    static const char *const headers[] = {"Content-Type: application/json"};
    *x = (struct question){.q = {.method = method, .max_bytes = MAX_ANSWER_BYTES}};
    if (snprintf(x->url, sizeof x->url, "%s%s", r->url, path) >= (int)sizeof x->url)
        return err_set(e, ERR_USAGE, "%.100s: too long", path);
    if (body && json_append("request", body, &x->text, e) != 0) return -1;
    x->q.url = x->url;
    x->q.authorization = *r->key ? r->key : NULL;
    if (body) x->q.header = headers, x->q.n_header = 1, x->q.body = buf_view(&x->text);
    return 0;
}

int remote_ask(struct remote *r, enum net_method method, const char *path, const json_t *body,
               json_t **out, struct err *e) {
    struct question x;
    struct net_answer a = {0};
    json_t *o = NULL;
    int rc = prepare(r, &x, method, path, body, e);
    if (rc == 0) rc = net_do(r->client, &x.q, &a, e);
    if (rc == 0 && a.status >= 400) rc = status_error(a.status, buf_view(&a.body), e);
    if (rc == 0 && out && a.body.n) {
        o = json_read_object("answer of the server", buf_view(&a.body), MAX_VALUES, e);
        if (!o) rc = -1;
    }
    if (out) *out = o;
    net_answer_fini(&a);
    buf_fini(&x.text);
    return rc;
}

/* ---- streams ---- */

struct lines {
    struct buf rest; /* of a line that is not whole yet */
    remote_line_fn *fn;
    void *ctx;
};

static int take_line(struct lines *l, struct str line, struct err *e) {
    if (line.n == 0) return 0;
    json_t *o = json_read_object("answer of the server", line, MAX_VALUES, e);
    if (!o) return -1;
    const char *why = json_string_value(json_object_get(o, "error"));
    const int rc = why ? err_set(e, ERR_IO, "%s", why) : l->fn(l->ctx, o, e);
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
    return err_set(e, ERR_LIMIT, "answer of the server: a line of more than %d bytes",
                   MAX_LINE_BYTES);
}

int remote_stream(struct remote *r, const char *path, const json_t *body, remote_line_fn *fn,
                  void *ctx, struct err *e) {
    struct question x;
    struct net_answer a = {0};
    struct lines l = {.fn = fn, .ctx = ctx};
    int rc = prepare(r, &x, NET_POST, path, body, e);
    x.q.write = on_bytes;
    x.q.ctx = &l;
    x.q.max_bytes = UINT64_MAX / 2;
    if (rc == 0) rc = net_do(r->client, &x.q, &a, e);
    if (rc == 0 && a.status >= 400) rc = status_error(a.status, buf_view(&a.body), e);
    if (rc == 0) rc = take_line(&l, buf_view(&l.rest), e); /* a last line without its end */
    net_answer_fini(&a);
    buf_fini(&l.rest);
    buf_fini(&x.text);
    return rc;
}
