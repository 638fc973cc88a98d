/* Requests to a registry: where it is, tokens (COMPAT.md 4.3), tries.
 *
 * A token is asked for only where the registry itself is: same scheme, host and port as the request
 * that was refused.  A realm anywhere else is refused before anything is sent (CVE-2025-51471). */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>

#include <openssl/rand.h>

#include "base/json.h"
#include "base/os.h"
#include "net/address.h"
#include "store/key.h"
#include "store/registry_priv.h"

enum { MAX_TOKEN_BYTES = 64 << 10, MAX_WAIT_S = 60, PROBE_S = 5 };

/* ---- where it is ---- */

static int set_base(struct registry *r, const struct name *n, bool plain, struct err *e) {
    snprintf(r->base, sizeof r->base, "%s://%s/v2/%s/%s", plain ? "http" : "https", n->host,
             n->space, n->model);
    return net_url_parse(r->base, &r->host, e);
}

/* Does it speak TLS at all?  A certificate that is refused is an answer. */
static int probe(const struct name *n, const struct net_opts *o, bool *plain, struct err *e) {
    struct net_opts quick = *o;
    struct net_answer a = {0};
    struct err why;
    char url[NAME_HOST_MAX + 16];
    quick.connect_s = quick.stall_s = PROBE_S;
    snprintf(url, sizeof url, "https://%s/v2/", n->host);
    struct net_client *c = net_client_new(&quick, e);
    if (!c) return -1;
    const struct net_request q = {.url = url, .keep_redirect = true};
    const int rc = net_do(c, &q, &a, &why);
    net_answer_fini(&a);
    net_client_free(c);
    *plain =
        rc != 0 && (why.code == ERR_IO || why.code == ERR_NOT_FOUND || why.code == ERR_UNSUPPORTED);
    if (rc == 0 || (why.code != ERR_CANCELLED && why.code != ERR_NOMEM)) return 0;
    if (e) *e = why;
    return -1;
}

/* The name's scheme; without one https, or plain http where that is allowed and TLS is not spoken:
 * at a host that --insecure is for, and on this machine.  A name in the store has lost its scheme,
 * so this is how `pull --all` finds a registry on loopback again. */
static int choose_base(struct registry *r, const struct name *n, const struct net_opts *net,
                       struct err *e) {
    bool plain = n->plain_http;
    if (set_base(r, n, plain, e) != 0) return -1;
    const bool allowed = net->insecure_host || net_is_loopback_name(r->host.host);
    if (plain && !allowed)
        return err_set(e, ERR_LIMIT,
                       "%s: plain http is refused; --insecure allows it for this host", n->host);
    if (plain || n->tls || !allowed) return 0;
    if (probe(n, net, &plain, e) != 0) return -1;
    return set_base(r, n, plain, e);
}

/* The setting was checked at the start. */
static int stall_s(void) {
    char v[32];
    return os_setting("STALL_TIMEOUT", v, sizeof v) ? atoi(v) : 0;
}

/* SECURITY.md R12: where a list of registries is set, others are not asked, in whatever form the
 * host is written there: a host with a port is another one. */
static int check_allowed(const char *host, struct err *e) {
    char list[4096], shown[256];
    if (!os_setting("REGISTRIES", list, sizeof list)) return 0;
    snprintf(shown, sizeof shown, "%.250s", list);
    for (char *rest = NULL, *x = strtok_r(list, ", ", &rest); x; x = strtok_r(NULL, ", ", &rest))
        if (strcasecmp(x, host) == 0) return 0;
    return err_set(e, ERR_LIMIT, "%s: not among the registries that CRIA_REGISTRIES allows: %s",
                   host, shown);
}

int registry_open(struct registry *r, const struct name *n, const struct registry_opts *o,
                  struct err *e) {
    const struct net_opts net = {.purpose = "registry",
                                 .insecure_host = o->insecure ? n->host : NULL,
                                 .stall_s = stall_s(),
                                 .stop = o->stop};
    *r = (struct registry){.o = o};
    pthread_mutex_init(&r->lock, NULL);
    if (check_allowed(n->host, e) != 0 || choose_base(r, n, &net, e) != 0) return -1;
    r->net = net_client_new(&net, e);
    return r->net ? 0 : -1;
}

void registry_close(struct registry *r) {
    net_client_free(r->net);
    free(r->authorization);
    pthread_mutex_destroy(&r->lock);
}

/* ---- the challenge: Bearer key="value",key="value" ---- */

struct challenge {
    char realm[1024], service[256], scope[512];
};

/* The value of key in a list of them; false when it is missing or too long. */
static bool find_value(const char *list, const char *key, char *out, size_t n) {
    const size_t n_key = strlen(key);
    for (const char *p = list; p && *p;) {
        p += strspn(p, " ,");
        const char *name = p;
        p += strcspn(p, "=,");
        if (*p != '=') continue;
        const bool mine = (size_t)(p - name) == n_key && strncasecmp(name, key, n_key) == 0;
        const bool quoted = *++p == '"';
        p += quoted;
        const size_t len = strcspn(p, quoted ? "\"" : ", ");
        if (mine && len < n) {
            memcpy(out, p, len);
            out[len] = 0;
            return true;
        }
        p += len + (quoted && p[len] == '"');
    }
    return false;
}

static int read_challenge(const struct registry *r, const char *text, struct challenge *c,
                          struct err *e) {
    struct net_url realm;
    *c = (struct challenge){0};
    if (!text || strncasecmp(text, "Bearer ", 7) != 0)
        return err_set(e, ERR_LIMIT,
                       "%s: access denied; it asks for \"%.100s\", tokens (Bearer) are supported",
                       r->host.host, text ? text : "nothing known");
    if (!find_value(text + 7, "realm", c->realm, sizeof c->realm))
        return err_set(e, ERR_FORMAT, "%s: a challenge without a realm", r->host.host);
    find_value(text + 7, "service", c->service, sizeof c->service);
    find_value(text + 7, "scope", c->scope, sizeof c->scope);
    if (net_url_parse(c->realm, &realm, e) != 0) return err_prefix(e, "realm");
    if (net_url_same_origin(&realm, &r->host)) return 0;
    return err_set(e, ERR_LIMIT,
                   "%s: sends us to %.200s for a token; only its own address is accepted",
                   r->host.host, c->realm);
}

/* ---- the token ---- */

static void put_escaped(struct buf *b, const char *text) {
    for (; *text; text++) {
        if (strchr("ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_.~", *text))
            buf_byte(b, *text);
        else
            buf_printf(b, "%%%02X", (unsigned char)*text);
    }
}

static int token_url(const struct challenge *c, struct buf *url, struct err *e) {
    unsigned char nonce[16];
    if (RAND_bytes(nonce, sizeof nonce) != 1) return err_set(e, ERR_IO, "no random numbers");
    buf_printf(url, "%s%snonce=", c->realm, strchr(c->realm, '?') ? "&" : "?");
    for (size_t i = 0; i < sizeof nonce; i++)
        buf_printf(url, "%02x", nonce[i]);
    char scope[sizeof c->scope];
    memcpy(scope, c->scope, sizeof scope);
    char *rest = scope;
    for (char *one; (one = strsep(&rest, " "));) {
        if (!*one) continue;
        buf_str(url, "&scope=");
        put_escaped(url, one);
    }
    if (c->service[0]) {
        buf_str(url, "&service=");
        put_escaped(url, c->service);
    }
    buf_printf(url, "&ts=%lld", (long long)time(NULL));
    return url->failed ? err_nomem(e, "token") : 0;
}

/* "GET,<url>,<base64 of the hex digest of an empty body>", signed. */
static int sign_url(const struct registry *r, const char *url, struct buf *out, struct err *e) {
    struct key k;
    struct digest empty;
    struct buf text = {0};
    if (key_open(r->o->key_path, &k, e) != 0 || digest_of("", 0, &empty, e) != 0) return -1;
    buf_printf(&text, "GET,%s,", url);
    key_base64(&text, empty.hex, DIGEST_HEX);
    const int rc = text.failed ? err_nomem(e, "token") : key_sign(&k, buf_view(&text), out, e);
    explicit_bzero(&k, sizeof k);
    buf_fini(&text);
    return rc;
}

static int read_token(struct registry *r, const struct net_answer *a, struct err *e) {
    if (a->status != 200) return registry_refused("token", a, e);
    json_t *o = json_read_object("token", buf_view(&a->body), 1000, e);
    if (!o) return -1;
    const char *token = json_string_value(json_object_get(o, "token"));
    if (!token) token = json_string_value(json_object_get(o, "access_token"));
    struct buf b = {0};
    if (token && !strpbrk(token, "\r\n")) buf_printf(&b, "Bearer %s", token);
    json_decref(o);
    if (!b.p) return err_set(e, ERR_FORMAT, "token: the answer has none");
    pthread_mutex_lock(&r->lock);
    free(r->authorization);
    r->authorization = b.p; /* malloc's, as buf.h has it */
    pthread_mutex_unlock(&r->lock);
    return 0;
}

static int fetch_token(struct registry *r, const char *challenge, struct err *e) {
    struct challenge c;
    struct buf url = {0}, authorization = {0};
    struct net_answer a = {0};
    int rc = read_challenge(r, challenge, &c, e);
    if (rc == 0) rc = token_url(&c, &url, e);
    if (rc == 0) rc = sign_url(r, url.p, &authorization, e);
    if (rc == 0) {
        const struct net_request q = {.url = url.p,
                                      .authorization = authorization.p,
                                      .max_bytes = MAX_TOKEN_BYTES,
                                      .same_host = true};
        rc = net_do(r->net, &q, &a, e);
    }
    if (rc == 0) rc = read_token(r, &a, e);
    net_answer_fini(&a);
    buf_fini(&url), buf_fini(&authorization);
    return rc;
}

/* ---- asking ---- */

static char *current_authorization(struct registry *r) {
    pthread_mutex_lock(&r->lock);
    char *z = r->authorization ? strdup(r->authorization) : NULL;
    pthread_mutex_unlock(&r->lock);
    return z;
}

int registry_ask(struct registry *r, const char *path, struct net_request *q, struct net_answer *a,
                 struct err *e) {
    struct buf url = {0};
    int rc = 0;
    *a = (struct net_answer){0};
    if (path[0] == '/') buf_str(&url, r->base); /* else a whole URL, of an upload */
    buf_str(&url, path);
    if (url.failed) return err_nomem(e, r->host.host);
    for (int turn = 0; turn < 2; turn++) {
        char *authorization = current_authorization(r);
        q->url = url.p, q->authorization = authorization;
        rc = net_do(r->net, q, a, e);
        free(authorization);
        q->authorization = NULL;
        if (rc != 0 || a->status != 401 || turn > 0) break;
        rc = fetch_token(r, a->www_authenticate, e);
        if (rc == 0 && q->rewind) rc = q->rewind(q->ctx, e);
        if (rc != 0) break;
        net_answer_fini(a);
    }
    buf_fini(&url);
    q->url = NULL;
    return rc;
}

int registry_pause(const struct registry *r, const atomic_bool *cancel, int tries,
                   int retry_after_s, struct err *e) {
    int64_t ms = retry_after_s > 0 ? retry_after_s * 1000L : 250L << (tries < 8 ? tries : 8);
    if (ms > MAX_WAIT_S * 1000L) ms = MAX_WAIT_S * 1000L;
    for (; ms > 0; ms -= 50) {
        if ((r->o->stop && __atomic_load_n(r->o->stop, __ATOMIC_RELAXED)) ||
            (cancel && atomic_load(cancel)))
            return err_set(e, ERR_CANCELLED, "interrupted");
        nanosleep(&(struct timespec){.tv_nsec = 50 * 1000000}, NULL);
    }
    return 0;
}

int registry_wait(const struct registry *r, int tries, int retry_after_s, struct err *e) {
    return registry_pause(r, NULL, tries, retry_after_s, e);
}

int registry_ask_often(struct registry *r, const char *path, struct net_request *q,
                       struct net_answer *a, struct err *e) {
    struct err why;
    for (int tries = 1;; tries++) {
        const int rc = registry_ask(r, path, q, a, &why);
        const bool again = rc == 0 ? a->status == 429 || a->status >= 500 : why.code == ERR_IO;
        if (!again || tries == REGISTRY_TRIES) {
            if (rc != 0 && e) *e = why;
            return rc;
        }
        const int after_s = rc == 0 ? a->retry_after_s : 0;
        net_answer_fini(a);
        if (registry_wait(r, tries, after_s, e) != 0) return -1;
    }
}

int registry_refused(const char *what, const struct net_answer *a, struct err *e) {
    json_t *o = json_read_object("error", buf_view(&a->body), 1000, NULL);
    const json_t *first = json_array_get(json_object_get(o, "errors"), 0);
    const char *said = json_string_value(json_object_get(first, "message"));
    const enum err_code code = a->status == 404                       ? ERR_NOT_FOUND
                               : a->status == 401 || a->status == 403 ? ERR_LIMIT
                                                                      : ERR_IO;
    char later[64] = "";
    if (a->retry_after_s > MAX_WAIT_S)
        snprintf(later, sizeof later, "; it asks for %s %d s of patience",
                 a->retry_after_s == NET_MAX_RETRY_AFTER_S ? "at least" : "about",
                 a->retry_after_s);
    err_set(e, code, "%s: HTTP %d%s%.200s%s", what, a->status, said ? ", " : "", said ? said : "",
            later);
    json_decref(o);
    return -1;
}
