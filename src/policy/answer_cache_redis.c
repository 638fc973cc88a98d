/* Cached answers in a Redis server, which several replicas share: keys "cria:answer:<hex>", strings
 * with a time to live.  Its memory is its own matter (maxmemory with allkeys-lru).
 *
 * It is never waited for long: connecting and each command have a time limit, and after a failure
 * nothing is tried for a while, which doubles up to two seconds.  Meanwhile there is no cache, and
 * that is all.  One connection looks up, one writes.  A name is looked up by the one that writes,
 * on a thread that nobody waits for: the resolver may take its time. */
#include "net/client.h"
#include "policy/answer_store.h"

#ifdef WITH_REDIS
#include <arpa/inet.h>
#include <fcntl.h>
#include <hiredis/hiredis.h>
#include <netdb.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "policy/answer_redis_url.h"
#include "policy/leave.h"

enum {
    CONNECT_MS = 100,
    COMMAND_MS = 150,
    ADMIN_MS = 2000, /* who counts or clears may wait */
    BACKOFF_MIN_MS = 50,
    BACKOFF_MAX_MS = 2000,
    VALUE_MAX = 4 << 20,
    SCAN_COUNT = 500,
};
#define PREFIX "cria:answer:"
enum { NAME_BYTES = sizeof PREFIX + ANSWER_KEY_HEX };

struct link {
    pthread_mutex_t lock; /* of what follows */
    redisContext *c;      /* NULL: not connected */
    int64_t retry_ns, backoff_ms;
};

struct redis_store {
    struct answer_store base;
    struct answer_redis_url url;
    struct link read, write;
    pthread_mutex_t address_lock; /* of the next */
    char address[NI_MAXHOST];     /* numeric; empty: not known yet */
};

/* ---- connections ---- */

static struct timeval of_ms(int ms) {
    return (struct timeval){ms / 1000, ms % 1000 * 1000};
}

/* The link's lock is held by all of these. */
static int lost(struct link *l, const char *what, struct err *e) {
    const char *why = l->c && l->c->errstr[0] ? l->c->errstr : "it does not answer";
    err_set(e, ERR_IO, "answer cache: redis: %s: %s", what, why);
    if (l->c) redisFree(l->c);
    l->c = NULL;
    l->backoff_ms = l->backoff_ms ? 2 * l->backoff_ms : BACKOFF_MIN_MS;
    if (l->backoff_ms > BACKOFF_MAX_MS) l->backoff_ms = BACKOFF_MAX_MS;
    l->retry_ns = os_now_ns() + l->backoff_ms * 1000000;
    return -1;
}

/* The reply; NULL: the link is lost, or Redis refused. */
static redisReply *said(struct link *l, redisReply *r, const char *what, struct err *e) {
    if (!r) {
        lost(l, what, e);
        return NULL;
    }
    if (r->type != REDIS_REPLY_ERROR) return r;
    err_set(e, ERR_IO, "answer cache: redis: %s: %s", what, r->str);
    freeReplyObject(r);
    return NULL;
}

static int command(struct link *l, const char *what, redisReply *r, struct err *e) {
    r = said(l, r, what, e);
    if (r) freeReplyObject(r);
    return r ? 0 : -1;
}

static int greet(const struct redis_store *s, struct link *l, struct err *e) {
    const struct answer_redis_url *u = &s->url;
    if (redisSetTimeout(l->c, of_ms(COMMAND_MS)) != REDIS_OK) return lost(l, "timeout", e);
    if (*u->user &&
        command(l, "AUTH", redisCommand(l->c, "AUTH %s %s", u->user, u->password), e) != 0)
        return -1;
    if (!*u->user && *u->password &&
        command(l, "AUTH", redisCommand(l->c, "AUTH %s", u->password), e) != 0)
        return -1;
    return u->db ? command(l, "SELECT", redisCommand(l->c, "SELECT %d", u->db), e) : 0;
}

/* What the resolver says, IPv4 if there is any: "localhost" is both, and Redis mostly listens
 * there. */
static void resolve(const char *host, char out[NI_MAXHOST]) {
    const struct addrinfo hints = {.ai_socktype = SOCK_STREAM};
    struct addrinfo *list = NULL, *at;
    *out = 0;
    if (getaddrinfo(host, NULL, &hints, &list) != 0) return;
    for (at = list; at && at->ai_family != AF_INET;)
        at = at->ai_next;
    if (!at) at = list;
    if (getnameinfo(at->ai_addr, at->ai_addrlen, out, NI_MAXHOST, NULL, 0, NI_NUMERICHOST) != 0)
        *out = 0;
    freeaddrinfo(list);
}

/* The server's address in out; look: ask for it again, if it is a name. */
static bool find_address(struct redis_store *s, bool look, char out[NI_MAXHOST]) {
    char text[NI_MAXHOST] = "";
    if (look) resolve(s->url.host, text);
    pthread_mutex_lock(&s->address_lock);
    if (*text) memcpy(s->address, text, sizeof text);
    memcpy(out, s->address, NI_MAXHOST);
    pthread_mutex_unlock(&s->address_lock);
    return *out;
}

static bool is_here(const char *address) {
    return strncmp(address, "127.", 4) == 0 || strcmp(address, "::1") == 0;
}

/* ERR_BUSY: it was not tried. */
static int connected(struct redis_store *s, struct link *l, struct err *e) {
    char address[NI_MAXHOST];
    if (l->c) return 0;
    if (l->retry_ns && os_now_ns() < l->retry_ns)
        return err_set(e, ERR_BUSY, "answer cache: redis is not there");
    if (!find_address(s, l == &s->write, address)) return lost(l, "its address is not known", e);
    if (!is_here(address) && !policy_may_leave()) return lost(l, "isolated: nothing leaves", e);
    const struct net_connect to = {.purpose = "response cache",
                                   .host = s->url.host,
                                   .behind = "",
                                   .address = address,
                                   .port = s->url.port};
    if (net_tell_connect(&to, NULL) != 0) return lost(l, "the audit log takes no entry", e);
    l->c = redisConnectWithTimeout(address, s->url.port, of_ms(CONNECT_MS));
    if (!l->c || l->c->err) return lost(l, "connect", e);
    fcntl(l->c->fd, F_SETFD, FD_CLOEXEC); /* engine processes have none of it */
    if (greet(s, l, e) != 0) return l->c ? lost(l, "login", NULL) : -1;
    l->backoff_ms = l->retry_ns = 0;
    return 0;
}

/* Locks; false, unlocked: there is no connection. */
static bool enter(struct redis_store *s, struct link *l, struct err *e) {
    pthread_mutex_lock(&l->lock);
    if (connected(s, l, e) == 0) return true;
    pthread_mutex_unlock(&l->lock);
    return false;
}

static void name_of(const uint8_t *key, char out[NAME_BYTES]) {
    memcpy(out, PREFIX, sizeof PREFIX - 1);
    answer_key_hex(key, out + sizeof PREFIX - 1);
}

/* ---- one answer ---- */

static int get(struct answer_store *base, const uint8_t *key, struct buf *out, struct err *e) {
    struct redis_store *s = (struct redis_store *)base;
    char name[NAME_BYTES];
    int rc = -1;
    name_of(key, name);
    if (!enter(s, &s->read, e)) return -1;
    redisReply *r = said(&s->read, redisCommand(s->read.c, "GET %s", name), "GET", e);
    if (r && r->type == REDIS_REPLY_STRING) {
        if (r->len <= VALUE_MAX) buf_append(out, r->str, r->len);
        rc = r->len <= VALUE_MAX && !out->failed
                 ? 1
                 : err_set(e, ERR_LIMIT, "answer cache: redis: an answer of %zu bytes", r->len);
    } else if (r) {
        rc = 0;
    }
    if (r) freeReplyObject(r);
    pthread_mutex_unlock(&s->read.lock);
    return rc;
}

static int put(struct answer_store *base, const struct answer_row *row, int64_t *n_gone,
               struct err *e) {
    struct redis_store *s = (struct redis_store *)base;
    char name[NAME_BYTES];
    const long long ms = (row->expires_us - row->now_us + 999) / 1000;
    (void)n_gone;
    if (row->sealed.n > VALUE_MAX)
        return err_set(e, ERR_LIMIT, "answer cache: an answer of %zu bytes; up to %d are kept",
                       row->sealed.n, VALUE_MAX);
    name_of(row->key, name);
    if (!enter(s, &s->write, e)) return -1;
    const int rc = command(&s->write, "SET",
                           redisCommand(s->write.c, "SET %s %b PX %lld", name, row->sealed.p,
                                        row->sealed.n, ms > 0 ? ms : 1),
                           e);
    pthread_mutex_unlock(&s->write.lock);
    return rc;
}

static int remove_one(struct answer_store *base, const uint8_t *key, struct err *e) {
    struct redis_store *s = (struct redis_store *)base;
    char name[NAME_BYTES];
    name_of(key, name);
    if (!enter(s, &s->write, e)) return -1;
    const int rc = command(&s->write, "DEL", redisCommand(s->write.c, "DEL %s", name), e);
    pthread_mutex_unlock(&s->write.lock);
    return rc;
}

/* ---- all of them ---- */

struct sweep {
    struct link *l;
    const struct answer_filter *filter; /* NULL: they are counted */
    int64_t n, n_bytes;
};

/* Count, or look at and remove, one name of a scan.  NULL replies are a link that is lost. */
static int visit(struct sweep *w, const redisReply *name, struct err *e) {
    redisContext *c = w->l->c;
    redisReply *r;
    if (!w->filter) {
        r = said(w->l, redisCommand(c, "STRLEN %b", name->str, name->len), "STRLEN", e);
        if (r) w->n++, w->n_bytes += r->integer;
    } else if (w->filter->model) {
        r = said(w->l, redisCommand(c, "GETRANGE %b 0 %d", name->str, name->len, ANSWER_SEAL_MAX),
                 "GETRANGE", e);
        if (r && !answer_seal_names((struct str){r->str, r->len}, w->filter->model)) {
            freeReplyObject(r);
            return 0;
        }
    } else {
        r = NULL;
    }
    if (r) freeReplyObject(r);
    if ((!r && (!w->filter || w->filter->model))) return -1;
    if (!w->filter) return 0;
    r = said(w->l, redisCommand(c, "UNLINK %b", name->str, name->len), "UNLINK", e);
    if (!r) return -1;
    w->n += r->integer;
    freeReplyObject(r);
    return 0;
}

/* Every name that begins with the prefix; the cursor is a text of Redis's. */
static int scan(struct sweep *w, const char *prefix, struct err *e) {
    char cursor[32] = "0";
    do {
        redisReply *r = said(w->l,
                             redisCommand(w->l->c, "SCAN %s MATCH " PREFIX "%s* COUNT %d", cursor,
                                          prefix, SCAN_COUNT),
                             "SCAN", e);
        int rc = r && r->type == REDIS_REPLY_ARRAY && r->elements == 2 ? 0 : -1;
        if (rc == 0) snprintf(cursor, sizeof cursor, "%s", r->element[0]->str);
        for (size_t i = 0; rc == 0 && i < r->element[1]->elements; i++)
            rc = visit(w, r->element[1]->element[i], e);
        if (r) freeReplyObject(r);
        if (rc != 0) return -1;
    } while (strcmp(cursor, "0") != 0);
    return 0;
}

static int sweep(struct redis_store *s, struct sweep *w, struct err *e) {
    w->l = &s->write;
    if (!enter(s, &s->write, e)) return -1;
    redisSetTimeout(s->write.c, of_ms(ADMIN_MS));
    const int rc = scan(w, w->filter && w->filter->prefix ? w->filter->prefix : "", e);
    if (s->write.c) redisSetTimeout(s->write.c, of_ms(COMMAND_MS));
    pthread_mutex_unlock(&s->write.lock);
    return rc;
}

static int drop(struct answer_store *base, const struct answer_filter *f, int64_t *n,
                struct err *e) {
    struct sweep w = {.filter = f};
    const int rc = sweep((struct redis_store *)base, &w, e);
    *n = w.n;
    return rc;
}

static int count(struct answer_store *base, struct answer_count *out, struct err *e) {
    struct sweep w = {0};
    const int rc = sweep((struct redis_store *)base, &w, e);
    *out = (struct answer_count){w.n, w.n_bytes};
    return rc;
}

/* ---- beginning and end ---- */

static void close_store(struct answer_store *base) {
    struct redis_store *s = (struct redis_store *)base;
    struct link *const both[] = {&s->read, &s->write};
    for (int i = 0; i < 2; i++) {
        if (both[i]->c) redisFree(both[i]->c);
        pthread_mutex_destroy(&both[i]->lock);
    }
    pthread_mutex_destroy(&s->address_lock);
    free(s);
}

static const struct answer_store_ops ops = {.name = "redis",
                                            .counts_all = true,
                                            .get = get,
                                            .put = put,
                                            .remove = remove_one,
                                            .drop = drop,
                                            .count = count,
                                            .close = close_store};

struct answer_store *answer_store_redis(const char *url, struct err *e) {
    struct redis_store *s = calloc(1, sizeof *s);
    if (!s) {
        err_nomem(e, "answer cache");
        return NULL;
    }
    if (answer_redis_url(url, &s->url, e) != 0) {
        free(s);
        return NULL;
    }
    s->base.ops = &ops;
    unsigned char unused[16];
    if (inet_pton(AF_INET, s->url.host, unused) == 1 ||
        inet_pton(AF_INET6, s->url.host, unused) == 1)
        memcpy(s->address, s->url.host, sizeof s->url.host); /* no name: known at once */
    pthread_mutex_init(&s->address_lock, NULL);
    pthread_mutex_init(&s->read.lock, NULL);
    pthread_mutex_init(&s->write.lock, NULL);
    return &s->base;
}

#else

struct answer_store *answer_store_redis(const char *url, struct err *e) {
    (void)url;
    err_set(e, ERR_UNSUPPORTED,
            "CRIA_CACHE_URL: this build has no Redis (libhiredis-dev was not there)");
    return NULL;
}

#endif
