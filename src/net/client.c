/* One request and its redirects.  libcurl does a single hop at a time; where the next goes, and
 * with what, is decided here. */
#include "net/client.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include <unistd.h>

#include <arpa/inet.h>
#include <curl/curl.h>
#include <netdb.h>
#include <openssl/crypto.h>

#include "base/os.h"
#include "base/version.h"
#include "net/address.h"
#include "net/proxy.h"
#include "net/url.h"

enum {
    MAX_HOPS = 5,
    MAX_HEADER_BYTES = 32 << 10,
    MAX_ERROR_BYTES = 64 << 10,
    MAX_IDLE = 16, /* handles kept with their connections */
};

struct net_client {
    struct net_opts o;
    char *insecure_host, *user_agent, *unix_path; /* owned */
    pthread_mutex_t lock;
    CURL *idle[MAX_IDLE]; /* under lock */
    int n_idle;
};

static net_gate_fn *gate;

void net_client_gate(net_gate_fn *fn) {
    gate = fn;
}

static struct {
    pthread_mutex_t lock;
    net_connect_fn *fn;
    void *ctx;
} watcher = {.lock = PTHREAD_MUTEX_INITIALIZER};

void net_on_connect(net_connect_fn *fn, void *ctx) {
    pthread_mutex_lock(&watcher.lock);
    watcher.fn = fn;
    watcher.ctx = ctx;
    pthread_mutex_unlock(&watcher.lock);
}

int net_tell_connect(const struct net_connect *c, struct err *e) {
    pthread_mutex_lock(&watcher.lock);
    net_connect_fn *fn = watcher.fn;
    void *ctx = watcher.ctx;
    pthread_mutex_unlock(&watcher.lock);
    return fn ? fn(ctx, c, e) : 0;
}

static pthread_once_t curl_ready = PTHREAD_ONCE_INIT;

static void start_curl(void) {
    curl_global_init(CURL_GLOBAL_DEFAULT);
}

struct net_client *net_client_new(const struct net_opts *o, struct err *e) {
    struct net_client *c = calloc(1, sizeof *c);
    pthread_once(&curl_ready, start_curl);
    if (!c) goto fail;
    c->o = *o;
    pthread_mutex_init(&c->lock, NULL);
    c->user_agent = strdup(o->user_agent ? o->user_agent : "cria/" CRIA_VERSION);
    c->insecure_host = o->insecure_host ? strdup(o->insecure_host) : NULL;
    c->unix_path = o->unix_path ? strdup(o->unix_path) : NULL;
    if (c->user_agent && (c->insecure_host || !o->insecure_host) && (c->unix_path || !o->unix_path))
        return c;
fail:
    err_nomem(e, "network");
    net_client_free(c);
    return NULL;
}

void net_client_free(struct net_client *c) {
    if (!c) return;
    for (int i = 0; i < c->n_idle; i++)
        curl_easy_cleanup(c->idle[i]);
    pthread_mutex_destroy(&c->lock);
    free(c->user_agent), free(c->insecure_host), free(c->unix_path);
    free(c);
}

void net_thread_end(void) {
    OPENSSL_thread_stop();
}

static CURL *take_handle(struct net_client *c) {
    pthread_mutex_lock(&c->lock);
    CURL *h = c->n_idle ? c->idle[--c->n_idle] : NULL;
    pthread_mutex_unlock(&c->lock);
    return h ? h : curl_easy_init();
}

static void give_handle(struct net_client *c, CURL *h) {
    if (!h) return;
    curl_easy_reset(h); /* keeps connections and the cache of names */
    pthread_mutex_lock(&c->lock);
    const bool kept = c->n_idle < MAX_IDLE;
    if (kept) c->idle[c->n_idle++] = h;
    pthread_mutex_unlock(&c->lock);
    if (!kept) curl_easy_cleanup(h);
}

/* ---- a transfer ---- */

struct hop {
    struct net_client *c;
    const struct net_request *r;
    struct net_answer *a;
    CURL *h;
    struct net_url at;
    const char *proxy; /* of this hop, "" for none; the environment's */
    bool first;
    enum net_class first_class; /* of the first hop's address; of what is behind a proxy, as far as
                                   its text says: else NET_PUBLIC */
    bool refused;               /* an address that this hop may not go to */
    size_t header_bytes;
    uint64_t body_bytes, sent;
    bool encoded;
    curl_off_t moved_bytes; /* of this hop, both ways, and since when it is so many */
    int64_t moved_ns;
    bool stalled, nameless; /* nameless: there was not even an address to connect to */
    struct err err;         /* of a callback */
};

static bool is_insecure_host(const struct net_client *c, const struct net_url *u) {
    char with_port[NET_HOST_MAX + 8];
    if (!c->insecure_host) return false;
    snprintf(with_port, sizeof with_port, "%s:%d", u->host, u->port);
    return strcasecmp(c->insecure_host, with_port) == 0 ||
           strcasecmp(c->insecure_host, u->host) == 0;
}

/* ---- callbacks ---- */

static bool is_allowed(const struct hop *x, enum net_class kind) {
    return x->first || kind == NET_PUBLIC || kind == x->first_class;
}

static int tell_watcher(struct hop *x, const struct sockaddr *a, socklen_t n) {
    char address[INET6_ADDRSTRLEN + 16] = "?", port[8] = "0";
    if (a->sa_family == AF_UNIX) return 0;
    getnameinfo(a, n, address, sizeof address, port, sizeof port, NI_NUMERICHOST | NI_NUMERICSERV);
    const bool proxied = x->proxy[0];
    const struct net_connect c = {.purpose = x->c->o.purpose ? x->c->o.purpose : "http",
                                  .host = proxied ? "" : x->at.host,
                                  .behind = proxied ? x->at.host : "",
                                  .address = address,
                                  .port = atoi(port)};
    return net_tell_connect(&c, &x->err);
}

/* A proxy's own address is the user's choice: the host behind it was looked at before. */
static curl_socket_t open_socket(void *ctx, curlsocktype purpose, struct curl_sockaddr *a) {
    struct hop *x = ctx;
    (void)purpose;
    if (!x->proxy[0] && !is_allowed(x, net_class_of(&a->addr))) {
        x->refused = true;
        return CURL_SOCKET_BAD;
    }
    if (tell_watcher(x, &a->addr, (socklen_t)a->addrlen) != 0) return CURL_SOCKET_BAD;
    return socket(a->family, a->socktype | SOCK_CLOEXEC, a->protocol);
}

static void set_text(char **out, struct str value) {
    free(*out);
    *out = strndup(value.p, value.n);
}

static uint64_t number_of(struct str s) {
    char z[24];
    snprintf(z, sizeof z, "%.*s", s.n < 23 ? (int)s.n : 23, s.p);
    return z[0] >= '0' && z[0] <= '9' ? strtoull(z, NULL, 10) : UINT64_MAX;
}

/* Seconds, or a date (RFC 9110, 10.2.3). */
static int retry_after(struct str value) {
    char z[64];
    uint64_t s = number_of(value);
    if (value.n && (value.p[0] < '0' || value.p[0] > '9')) {
        snprintf(z, sizeof z, "%.*s", value.n < 63 ? (int)value.n : 63, value.p);
        const time_t then = curl_getdate(z, NULL), now = time(NULL);
        s = then > now ? (uint64_t)(then - now) : 0;
    }
    return s > NET_MAX_RETRY_AFTER_S ? NET_MAX_RETRY_AFTER_S : (int)s;
}

/* "bytes FROM-TO/ALL" */
static void read_range(struct net_answer *a, struct str v) {
    unsigned long long from, to, all;
    char z[96];
    snprintf(z, sizeof z, "%.*s", v.n < 95 ? (int)v.n : 95, v.p);
    if (sscanf(z, "bytes %llu-%llu/%llu", &from, &to, &all) == 3 && to < all)
        a->range_from = from, a->range_all = all;
}

/* "0-LAST" of an upload, with or without "bytes=".  An empty one is "0-0", too. */
static void read_received(struct net_answer *a, struct str v) {
    unsigned long long last;
    char z[64];
    snprintf(z, sizeof z, "%.*s", v.n < 63 ? (int)v.n : 63, v.p);
    if (sscanf(strncmp(z, "bytes=", 6) == 0 ? z + 6 : z, "0-%llu", &last) == 1 &&
        last < UINT64_MAX - 1)
        a->received = last ? last + 1 : 0;
}

static void read_header(struct hop *x, struct str name, struct str value) {
    struct net_answer *a = x->a;
    const struct {
        const char *name;
        char **out;
    } texts[] = {{"location", &a->location},
                 {"www-authenticate", &a->www_authenticate},
                 {"docker-upload-location", &a->upload_location},
                 {"docker-content-digest", &a->digest},
                 {"etag", &a->etag}};
    for (size_t i = 0; i < sizeof texts / sizeof *texts; i++)
        if (name.n == strlen(texts[i].name) && strncasecmp(name.p, texts[i].name, name.n) == 0)
            set_text(texts[i].out, value);
    if (name.n == 14 && strncasecmp(name.p, "content-length", 14) == 0)
        a->content_length = number_of(value);
    if (name.n == 13 && strncasecmp(name.p, "content-range", 13) == 0) read_range(a, value);
    if (name.n == 5 && strncasecmp(name.p, "range", 5) == 0) read_received(a, value);
    if (name.n == 11 && strncasecmp(name.p, "retry-after", 11) == 0)
        a->retry_after_s = retry_after(value);
    if (name.n == 16 && strncasecmp(name.p, "content-encoding", 16) == 0)
        x->encoded = !(value.n == 8 && strncasecmp(value.p, "identity", 8) == 0);
}

static void forget(struct net_answer *a) {
    free(a->location), free(a->www_authenticate), free(a->upload_location);
    free(a->etag), free(a->digest);
    a->location = a->www_authenticate = a->upload_location = a->etag = a->digest = NULL;
    a->content_length = a->received = UINT64_MAX;
    a->range_from = a->range_all = 0;
    a->retry_after_s = 0;
    buf_reset(&a->body);
}

static size_t on_header(char *p, size_t size, size_t n, void *ctx) {
    struct hop *x = ctx;
    struct str line = {p, size * n};
    x->header_bytes += line.n;
    if (x->header_bytes > MAX_HEADER_BYTES) {
        err_set(&x->err, ERR_LIMIT, "%s: header over %d bytes", x->at.host, MAX_HEADER_BYTES);
        return 0;
    }
    if (str_starts(line, STR("HTTP/"))) forget(x->a); /* after a "100 Continue", too */
    const char *colon = memchr(line.p, ':', line.n);
    if (!colon) return line.n;
    struct str value = {colon + 1, line.n - (size_t)(colon + 1 - line.p)};
    while (value.n && strchr(" \t", value.p[0]))
        value.p++, value.n--;
    while (value.n && strchr(" \t\r\n", value.p[value.n - 1]))
        value.n--;
    read_header(x, (struct str){line.p, (size_t)(colon - line.p)}, value);
    return line.n;
}

static size_t on_body(char *p, size_t size, size_t n, void *ctx) {
    struct hop *x = ctx;
    const size_t bytes = size * n;
    long status = 0;
    curl_easy_getinfo(x->h, CURLINFO_RESPONSE_CODE, &status);
    const bool wanted = status >= 200 && status < 300;
    const uint64_t most = wanted && x->r->max_bytes ? x->r->max_bytes : MAX_ERROR_BYTES;
    if (x->encoded && wanted) {
        err_set(&x->err, ERR_FORMAT, "%s: the answer is compressed, which was not asked for",
                x->at.host);
        return 0;
    }
    x->a->status = (int)status;
    x->body_bytes += bytes;
    if (x->body_bytes > most) {
        err_set(&x->err, ERR_LIMIT, "%s: an answer over %llu bytes", x->at.host,
                (unsigned long long)most);
        return 0;
    }
    if (wanted && x->r->write) return x->r->write(x->r->ctx, p, bytes, &x->err) == 0 ? bytes : 0;
    buf_append(&x->a->body, p, bytes);
    if (x->a->body.failed) err_nomem(&x->err, x->at.host);
    return x->a->body.failed ? 0 : bytes;
}

/* Never more than was announced: curl would send it, and the server take it for another request. */
static size_t on_read(char *p, size_t size, size_t n, void *ctx) {
    struct hop *x = ctx;
    const struct net_request *r = x->r;
    const uint64_t left = (r->read ? r->body_bytes : r->body.n) - x->sent;
    size_t k = left < size * n ? (size_t)left : size * n;
    if (k == 0) return 0;
    if (r->read) {
        const int64_t got = r->read(r->ctx, p, k, &x->err);
        if (got < 0) return CURL_READFUNC_ABORT;
        k = (size_t)got;
    } else {
        memcpy(p, r->body.p + x->sent, k);
    }
    x->sent += k;
    return k;
}

/* curl sends again on a connection that was closed meanwhile; only ever from the start. */
static int on_seek(void *ctx, curl_off_t offset, int origin) {
    struct hop *x = ctx;
    if (origin != SEEK_SET || offset != 0) return CURL_SEEKFUNC_CANTSEEK;
    x->sent = 0;
    if (!x->r->read) return CURL_SEEKFUNC_OK;
    if (!x->r->rewind) return CURL_SEEKFUNC_CANTSEEK;
    return x->r->rewind(x->r->ctx, &x->err) == 0 ? CURL_SEEKFUNC_OK : CURL_SEEKFUNC_FAIL;
}

static int stall_s(const struct hop *x) {
    const int own = x->r->stall_s ? x->r->stall_s : x->c->o.stall_s;
    return own ? own : 30;
}

/* Called all the time, and about once a second while nothing happens.  (curl's own limit of speed
 * looks at an average over some seconds.) */
static int on_progress(void *ctx, curl_off_t a, curl_off_t down, curl_off_t b, curl_off_t up) {
    struct hop *x = ctx;
    const int64_t now = os_now_ns();
    (void)a, (void)b;
    if (down + up != x->moved_bytes || x->moved_ns == 0)
        x->moved_bytes = down + up, x->moved_ns = now;
    x->stalled = now - x->moved_ns > stall_s(x) * INT64_C(1000000000);
    return x->stalled || (x->c->o.stop && __atomic_load_n(x->c->o.stop, __ATOMIC_RELAXED)) ||
           (x->r->cancel && atomic_load(x->r->cancel)) || (x->r->over && x->r->over(x->r->ctx));
}

/* ---- one hop ---- */

static const char *method_name(enum net_method m) {
    static const char *const name[] = {"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"};
    return name[m];
}

static struct curl_slist *add_line(struct curl_slist *list, const char *fmt, const char *value) {
    struct buf line = {0};
    buf_printf(&line, fmt, value);
    struct curl_slist *more = line.failed ? NULL : curl_slist_append(list, line.p);
    buf_fini(&line);
    if (!more) curl_slist_free_all(list);
    return more;
}

/* A header without a value that curl would add is turned off by "Name:". */
static struct curl_slist *headers_of(const struct hop *x, bool same_host) {
    const struct net_request *r = x->r;
    struct curl_slist *list = add_line(NULL, "%s", "Accept-Encoding: identity");
    if (list) list = add_line(list, "%s", "Expect:");
    for (int i = 0; list && i < r->n_header && same_host; i++)
        list = add_line(list, "%s", r->header[i]);
    if (list && r->authorization && same_host)
        list = add_line(list, "Authorization: %s", r->authorization);
    return list;
}

static void set_body(struct hop *x) {
    const struct net_request *r = x->r;
    const bool sends = r->method == NET_POST || r->method == NET_PUT || r->method == NET_PATCH ||
                       (r->method == NET_DELETE && r->body.n > 0);
    if (r->method == NET_HEAD) curl_easy_setopt(x->h, CURLOPT_NOBODY, 1L);
    if (sends) {
        const uint64_t n = r->read ? r->body_bytes : r->body.n;
        curl_easy_setopt(x->h, CURLOPT_UPLOAD, 1L);
        curl_easy_setopt(x->h, CURLOPT_INFILESIZE_LARGE, (curl_off_t)n);
        curl_easy_setopt(x->h, CURLOPT_READFUNCTION, on_read);
        curl_easy_setopt(x->h, CURLOPT_READDATA, x);
        curl_easy_setopt(x->h, CURLOPT_SEEKFUNCTION, on_seek);
        curl_easy_setopt(x->h, CURLOPT_SEEKDATA, x);
    }
    if (r->method != NET_GET && r->method != NET_HEAD)
        curl_easy_setopt(x->h, CURLOPT_CUSTOMREQUEST, method_name(r->method));
    if (r->range_to > r->range_from) {
        char range[48];
        snprintf(range, sizeof range, "%llu-%llu", (unsigned long long)r->range_from,
                 (unsigned long long)r->range_to - 1);
        curl_easy_setopt(x->h, CURLOPT_RANGE, range);
    }
}

static void set_options(struct hop *x, const char *url, struct curl_slist *headers) {
    const struct net_client *c = x->c;
    CURL *h = x->h;
    curl_easy_setopt(h, CURLOPT_URL, url);
    curl_easy_setopt(h, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(h, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(h, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(h, CURLOPT_USERAGENT, c->user_agent);
    curl_easy_setopt(h, CURLOPT_HTTPHEADER, headers);
    curl_easy_setopt(h, CURLOPT_BUFFERSIZE, 256L << 10);
    curl_easy_setopt(h, CURLOPT_OPENSOCKETFUNCTION, open_socket);
    curl_easy_setopt(h, CURLOPT_OPENSOCKETDATA, x);
    curl_easy_setopt(h, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(h, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(h, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(h, CURLOPT_WRITEDATA, x);
    curl_easy_setopt(h, CURLOPT_XFERINFOFUNCTION, on_progress);
    curl_easy_setopt(h, CURLOPT_XFERINFODATA, x);
    curl_easy_setopt(h, CURLOPT_NOPROGRESS, 0L);
    curl_easy_setopt(h, CURLOPT_CONNECTTIMEOUT, (long)(c->o.connect_s ? c->o.connect_s : 20));
    /* HTTP/2 would put all ranges on one connection. */
    curl_easy_setopt(h, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    /* A company's own authority: the variable that OpenSSL and most programs read. */
    const char *authorities = getenv("SSL_CERT_FILE");
    if (authorities && authorities[0]) curl_easy_setopt(h, CURLOPT_CAINFO, authorities);
    if (is_insecure_host(c, &x->at)) {
        curl_easy_setopt(h, CURLOPT_SSL_VERIFYPEER, 0L);
        curl_easy_setopt(h, CURLOPT_SSL_VERIFYHOST, 0L);
    }
    /* A connection that is there already was not looked at for this hop. */
    if (!x->first) curl_easy_setopt(h, CURLOPT_FRESH_CONNECT, 1L);
    curl_easy_setopt(h, CURLOPT_PROXY, x->proxy);
    curl_easy_setopt(h, CURLOPT_NOPROXY, ""); /* net_proxy_of has looked */
    if (c->unix_path) curl_easy_setopt(h, CURLOPT_UNIX_SOCKET_PATH, c->unix_path);
    /* A machine that is gone says nothing: it is noticed where an answer may be long in coming. */
    curl_easy_setopt(h, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(h, CURLOPT_TCP_KEEPIDLE, 30L);
    curl_easy_setopt(h, CURLOPT_TCP_KEEPINTVL, 15L);
    set_body(x);
}

static int refused_address(const struct hop *x, struct err *e) {
    return err_set(e, ERR_LIMIT, "%s: a redirect to an address of a private network; refused",
                   x->at.host);
}

static int transfer_error(struct hop *x, CURLcode rc, const char *said, struct err *e) {
    if (x->err.code != ERR_NONE) {
        *e = x->err;
        return -1;
    }
    if (x->refused) return refused_address(x, e);
    if (x->stalled && x->nameless)
        return err_set(e, ERR_NOT_FOUND, "%s: its name was not found within %d s", x->at.host,
                       stall_s(x));
    if (x->stalled) return err_set(e, ERR_IO, "%s: nothing came for %d s", x->at.host, stall_s(x));
    if (rc == CURLE_ABORTED_BY_CALLBACK)
        return err_set(e, ERR_CANCELLED, "%s: interrupted", x->at.host);
    if (rc == CURLE_OUT_OF_MEMORY) return err_nomem(e, x->at.host);
    /* What another try will not mend is no ERR_IO. */
    const bool nobody = rc == CURLE_COULDNT_RESOLVE_HOST || rc == CURLE_COULDNT_CONNECT;
    const enum err_code code = rc == CURLE_PEER_FAILED_VERIFICATION ? ERR_LIMIT
                               : rc == CURLE_SSL_CONNECT_ERROR      ? ERR_UNSUPPORTED
                               : nobody                             ? ERR_NOT_FOUND
                                                                    : ERR_IO;
    return err_set(e, code, "%s: %s", x->at.host, said[0] ? said : curl_easy_strerror(rc));
}

static enum net_class class_of_first(const struct hop *x, const char *ip) {
    enum net_class kind;
    if (!x->proxy[0]) return net_class_of_text(ip);
    return net_class_of_host(x->at.host, &kind) ? kind : NET_PUBLIC;
}

static int one_hop(struct hop *x, const char *url, bool same_host, struct err *e) {
    char said[CURL_ERROR_SIZE] = "";
    long status = 0;
    const char *ip = NULL;
    if (gate && gate(x->at.host, x->c->unix_path != NULL, e) != 0) return -1;
    struct curl_slist *headers = headers_of(x, same_host);
    if (!headers) return err_nomem(e, x->at.host);
    x->header_bytes = 0, x->body_bytes = 0, x->sent = 0, x->encoded = false;
    x->moved_bytes = 0, x->moved_ns = 0, x->stalled = false;
    x->proxy = x->c->unix_path ? "" : net_proxy_of(&x->at);
    set_options(x, url, headers);
    curl_easy_setopt(x->h, CURLOPT_ERRORBUFFER, said);
    const CURLcode rc = curl_easy_perform(x->h);
    curl_easy_getinfo(x->h, CURLINFO_RESPONSE_CODE, &status);
    curl_easy_getinfo(x->h, CURLINFO_PRIMARY_IP, &ip);
    x->nameless = !x->c->unix_path && !(ip && *ip);
    if (x->first && x->c->unix_path)
        x->first_class = NET_LOOPBACK;
    else if (x->first && ip)
        x->first_class = class_of_first(x, ip);
    curl_easy_reset(x->h);
    curl_slist_free_all(headers);
    x->a->status = (int)status, x->a->net = x->first_class;
    return rc == CURLE_OK ? 0 : transfer_error(x, rc, said, e);
}

/* ---- the redirects ---- */

static bool is_redirect(const struct net_answer *a) {
    return a->location && (a->status == 301 || a->status == 302 || a->status == 303 ||
                           a->status == 307 || a->status == 308);
}

static int check_scheme(const struct net_client *c, const struct net_url *u, const char *url,
                        struct err *e) {
    if (u->https || net_is_loopback_name(u->host) || is_insecure_host(c, u)) return 0;
    return err_set(e, ERR_LIMIT, "%.200s: plain http is refused; --insecure allows it for a host",
                   url);
}

/* Without a proxy, open_socket looks at the address; what a proxy will connect to is known only as
 * far as the URL says it. */
static int check_behind_proxy(const struct hop *x, struct err *e) {
    enum net_class kind;
    const bool said = net_proxy_of(&x->at)[0] && net_class_of_host(x->at.host, &kind);
    return !said || is_allowed(x, kind) ? 0 : refused_address(x, e);
}

static int enter_hop(struct hop *x, const struct net_url *u, const char *url, struct err *e) {
    if (x->at.https && !u->https)
        return err_set(e, ERR_LIMIT, "%s: a redirect from https to http; refused", x->at.host);
    if (check_scheme(x->c, u, url, e) != 0) return -1;
    x->at = *u, x->first = false;
    return check_behind_proxy(x, e);
}

/* Where the answer sends us; 1: it stays as it is. */
static int next_hop(struct hop *x, const char *url, const struct net_url *start, char **to,
                    struct err *e) {
    struct net_url u;
    if (!is_redirect(x->a)) return 1;
    *to = net_url_resolve(url, x->a->location, e);
    if (!*to || net_url_parse(*to, &u, e) != 0) return -1;
    free(x->a->location);
    x->a->location = strdup(*to);
    if (x->r->keep_redirect || (x->r->same_host && !net_url_same_origin(&u, start))) return 1;
    if (enter_hop(x, &u, *to, e) != 0) return -1;
    return x->r->read && x->r->rewind ? x->r->rewind(x->r->ctx, e) : 0;
}

static int follow(struct hop *x, char **url, struct err *e) {
    struct net_url start, u;
    const struct net_answer *by = x->r->redirected_by;
    const char *from = by ? by->url : *url;
    if (net_url_parse(from, &start, e) != 0 || check_scheme(x->c, &start, from, e) != 0) return -1;
    x->at = start, x->first = true;
    if (by) {
        x->first_class = by->net;
        if (net_url_parse(*url, &u, e) != 0 || enter_hop(x, &u, *url, e) != 0) return -1;
    }
    for (int hops = 0; hops <= MAX_HOPS; hops++) {
        char *to = NULL;
        if (one_hop(x, *url, net_url_same_origin(&x->at, &start), e) != 0) return -1;
        const int rc = next_hop(x, *url, &start, &to, e);
        if (rc != 0) {
            free(to);
            return rc < 0 ? -1 : 0;
        }
        free(*url);
        *url = to;
    }
    return err_set(e, ERR_LIMIT, "%s: more than %d redirects", start.host, MAX_HOPS);
}

/* Docker-Upload-Location may be relative. */
static int resolve_upload(struct net_answer *a, struct err *e) {
    if (!a->upload_location) return 0;
    char *to = net_url_resolve(a->url, a->upload_location, e);
    free(a->upload_location);
    a->upload_location = to;
    return to ? 0 : -1;
}

int net_do(struct net_client *c, const struct net_request *r, struct net_answer *a, struct err *e) {
    *a = (struct net_answer){.content_length = UINT64_MAX, .received = UINT64_MAX};
    a->url = strdup(r->url);
    struct hop x = {.c = c, .r = r, .a = a, .h = take_handle(c)};
    int rc = a->url && x.h ? follow(&x, &a->url, e) : err_nomem(e, "network");
    give_handle(c, x.h);
    /* Of a 201 or 202: where to go on. */
    if (rc == 0 && a->location && !is_redirect(a)) {
        char *to = net_url_resolve(a->url, a->location, e);
        free(a->location);
        a->location = to;
        rc = to ? 0 : -1;
    }
    return rc == 0 ? resolve_upload(a, e) : rc;
}

void net_answer_fini(struct net_answer *a) {
    forget(a);
    buf_fini(&a->body);
    free(a->url);
    *a = (struct net_answer){0};
}
