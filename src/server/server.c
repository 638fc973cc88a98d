/* The front's beginning, its net thread's callbacks, and its end.
 *
 * A request that the front itself refuses (no such route, a foreign origin, no key) is answered in
 * its dialect before a byte of its body is read, and never reaches a handler. */
#include "server/server.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "server/front_priv.h"
#include "server/isolate.h"
#include "server/response_cache.h"
#include "server/responses_db.h"
#include "server/trainings.h"
#include "store/store.h"

enum { FILES_KEPT = 256 }; /* descriptors that are not for connections */

/* ---- the net's callbacks ---- */

static int64_t on_head(void *ctx, struct net_req *net) {
    struct server *s = ctx;
    const struct http_head *h = net_req_head(net);
    struct request *r = request_new(s, net);
    net_req_set_ctx(net, r);
    if (!r) return -503;
    guard_judge(r);
    /* With a body: at once, so that it is not sent in vain; the connection closes.  Without: when
     * the net says that the request is over, so that the connection is kept. */
    if (r->deny_status && h->n_body_bytes != 0) body_refuse(r, r->deny_status, r->deny_why);
    return !r->deny_status && r->route->sink ? r->route->max_body : INT64_MAX;
}

static void on_body(void *ctx, struct net_req *net, const char *p, size_t n, bool last) {
    (void)ctx;
    body_take(net_req_ctx(net), p, n, last);
}

static void on_gone(void *ctx, struct net_req *net) {
    (void)ctx;
    body_gone(net_req_ctx(net));
}

static void on_room(void *ctx, struct net_req *net) {
    (void)ctx;
    stream_room(net_req_ctx(net));
}

static void on_done(void *ctx, struct net_req *net) {
    (void)ctx;
    if (net_req_ctx(net)) request_unref(net_req_ctx(net));
}

/* ---- opening ---- */

static struct models_opts models_opts(const struct server *s) {
    const struct settings *t = &s->settings;
    return (struct models_opts){
        .store = s->store,
        .log = s->log,
        .max_bytes = t->memory_bytes,
        .own_bytes = SERVER_OWN_BYTES,
        .n_parallel = (int)t->num_parallel,
        .max_loaded = (int)t->max_loaded_models,
        .max_queue = (int)t->max_queue,
        .keep_alive_ns = t->keep_alive_ns,
        .load_timeout_ns = t->load_timeout_ns > 0 ? t->load_timeout_ns : 0,
        .request_timeout_ns = t->request_timeout_ns > 0 ? t->request_timeout_ns : 0,
        .preload = *t->model ? t->model : NULL,
    };
}

static int read_settings(const struct server *s, struct settings *t, struct conf *c,
                         struct err *e) {
    char path[SETTINGS_PATH];
    return settings_read(t, c, s->o.config ? s->o.config : settings_file(path), e);
}

static const char *tls_cert(const struct server *s) {
    return s->o.tls_cert ? s->o.tls_cert : *s->settings.tls_cert ? s->settings.tls_cert : NULL;
}

static const char *tls_key(const struct server *s) {
    return s->o.tls_key ? s->o.tls_key : *s->settings.tls_key ? s->settings.tls_key : NULL;
}

struct listeners {
    char text[NET_LISTEN_MAX][SETTING_TEXT];
    const char *at[NET_LISTEN_MAX];
    int n;
    bool inherited; /* somebody else has bound them */
};

/* How many descriptors systemd passed in, from 3 on. */
static int n_inherited(void) {
    const char *pid = getenv("LISTEN_PID"), *fds = getenv("LISTEN_FDS");
    const int n = pid && fds && atol(pid) == (long)getpid() ? atoi(fds) : 0;
    return n < 0 || n > NET_LISTEN_MAX ? 0 : n;
}

void server_close_inherited(void) {
#ifdef __linux__
    closefrom(3 + n_inherited());
#endif
}

/* Those: "fd:3", ... into list.  Returns how many. */
static int inherited(char list[NET_LISTEN_MAX][16]) {
    const int n = n_inherited();
    unsetenv("LISTEN_PID"), unsetenv("LISTEN_FDS"), unsetenv("LISTEN_FDNAMES");
    for (int i = 0; i < n; i++)
        snprintf(list[i], sizeof list[i], "fd:%d", 3 + i);
    return n;
}

/* What the command line says, else what was inherited, else the setting HOST. */
static int find_listeners(struct server *s, struct listeners *l, struct err *e) {
    static char fds[NET_LISTEN_MAX][16];
    const int n_fd = inherited(fds);
    l->n = s->o.n_listen ? s->o.n_listen : n_fd ? n_fd : 1;
    l->inherited = n_fd && !s->o.n_listen;
    if (l->n > NET_LISTEN_MAX)
        return err_set(e, ERR_USAGE, "--listen: %d addresses; %d are accepted", l->n,
                       NET_LISTEN_MAX);
    for (int i = 0; i < l->n; i++) {
        l->at[i] = l->text[i];
        if (s->o.n_listen) {
            if (settings_host(s->o.listen[i], l->text[i], e) != 0) return -1;
        } else {
            snprintf(l->text[i], SETTING_TEXT, "%s", n_fd ? fds[i] : s->settings.host);
        }
    }
    return 0;
}

/* Connections at once: as many as are asked for, but never so many that there is no descriptor left
 * for the files and the model of one of them. */
static int n_connections(const struct server *s) {
    const long long wanted = s->settings.max_connections;
    struct rlimit r;
    if (getrlimit(RLIMIT_NOFILE, &r) != 0) return (int)wanted;
    r.rlim_cur = r.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &r) != 0) getrlimit(RLIMIT_NOFILE, &r);
    const rlim_t kept = r.rlim_cur / 2 < FILES_KEPT ? r.rlim_cur / 2 : FILES_KEPT;
    if (r.rlim_cur == RLIM_INFINITY || r.rlim_cur - kept >= (rlim_t)wanted) return (int)wanted;
    log_line(s->log, LOG_WARN, "%lld connections at once: %lld is what %lld open files allow",
             wanted, (long long)(r.rlim_cur - kept), (long long)r.rlim_cur);
    return (int)(r.rlim_cur - kept);
}

static int open_net(struct server *s, struct err *e) {
    struct listeners l;
    const struct settings *t = &s->settings;
    if (find_listeners(s, &l, e) != 0) return -1;
    const struct net_server_opts o = {
        .listen = l.at,
        .n_listen = l.n,
        .wide = (door_needs_key(s->door) || s->o.wide || t->wide) && (!s->isolation || l.inherited),
        .ctx = s,
        .head = on_head,
        .body = on_body,
        .gone = on_gone,
        .room = on_room,
        .done = on_done,
        .tls_cert = tls_cert(s),
        .tls_key = tls_key(s),
        .n_conn_max = n_connections(s),
        .n_peer_max = (int)t->max_peer_connections,
    };
    if (net_server_open(&s->net, &o, e) != 0) {
        if (e && e->code == ERR_LIMIT && !o.wide)
            err_set(e, ERR_LIMIT, "%s; %s", e->msg,
                    s->isolation
                        ? "isolated, it listens on loopback, Unix sockets and those that systemd "
                          "passes in"
                        : "keys (`cria keys add`, --api-key-file), or --allow-remote, permit it");
        return -1;
    }
    if (o.wide && !door_needs_key(s->door))
        log_line(s->log, LOG_WARN, "no API keys: whoever reaches this server may use it");
    return 0;
}

/* Behind the last thing that can refuse: who reads it may connect. */
static void tell_listeners(const struct server *s) {
    const char *at;
    for (int i = 0; (at = net_server_address(s->net, i)); i++)
        log_line(s->log, LOG_INFO, "listening on %s", at);
}

static void on_keys(void *ctx, struct keys *was, struct keys *now) {
    const struct server *s = ctx;
    if (s->audit) audit_key_changes(s->audit, was, now);
}

static struct door_opts door_opts(struct server *s, const struct settings *t) {
    return (struct door_opts){.key_file = s->o.api_key_file ? s->o.api_key_file : t->api_key_file,
                              .database = t->keys,
                              .log = s->log,
                              .changed = on_keys,
                              .ctx = s};
}

static bool log_is_json(const struct settings *t) {
    return *t->log_format ? strcmp(t->log_format, "json") == 0 : !isatty(STDERR_FILENO);
}

static void put_text(char out[SETTING_TEXT], const char *option) {
    if (option) snprintf(out, SETTING_TEXT, "%s", option);
}

/* The settings as they hold, with what the command line says instead: for the audit log. */
static int open_audit(struct server *s, struct err *e) {
    const struct server_opts *o = &s->o;
    struct settings t = s->settings;
    struct buf at = {0};
    for (int i = 0; i < o->n_listen; i++)
        buf_printf(&at, "%s%s", i ? " " : "", o->listen[i]);
    put_text(t.host, at.n && !at.failed ? at.p : NULL);
    put_text(t.isolation, o->isolation);
    put_text(t.api_key_file, o->api_key_file);
    put_text(t.tls_cert, o->tls_cert);
    put_text(t.tls_key, o->tls_key);
    put_text(t.config, o->config);
    t.wide |= o->wide;
    buf_fini(&at);
    return audit_server_open(&t, &s->audit, e);
}

struct server *server_open(const struct server_opts *o, struct err *e) {
    struct server *s = calloc(1, sizeof *s);
    if (!s) {
        err_nomem(e, "server");
        return NULL;
    }
    s->o = *o;
    pthread_mutex_init(&s->lock, NULL);
    if (getrandom(&s->id_key, sizeof s->id_key, 0) != sizeof s->id_key) s->id_key = (uintptr_t)s;
    if (read_settings(s, &s->settings, &s->conf, e) != 0) goto fail;
    if (isolation_parse(o->isolation ? o->isolation : s->settings.isolation, &s->isolation, e) != 0)
        goto fail;
    if (!(s->log = log_open(STDERR_FILENO, log_is_json(&s->settings), e))) goto fail;
    s->log_bodies = s->settings.log_prompts;
    if (geteuid() == 0)
        log_line(s->log, LOG_WARN, "running as root; a user without rights will do");
    const struct door_opts g = door_opts(s, &s->settings);
    if (!(s->door = door_open(&g, e))) goto fail;
    if (!(s->store = store_open(o->store, e))) goto fail;
    if (!(s->fallback = fallback_new(e)) || fallback_configure(s->fallback, &s->settings, e) != 0)
        goto fail;
    if (!(s->pii = pii_guard_new(e)) || pii_guard_configure(s->pii, &s->settings, e) != 0)
        goto fail;
    if (!(s->metrics = metrics_new(e)) || open_net(s, e) != 0) goto fail;
    /* Nothing was accepted yet, and there are no threads: what follows is behind the walls. */
    if (s->isolation && isolate(s, e) != 0) goto fail;
    if (open_audit(s, e) != 0) goto fail;
    if (log_start(s->log, e) != 0 || door_start(s->door, e) != 0 || !(s->workers = workers_new(e)))
        goto fail;
    if (!(s->cache = response_cache_new(&s->settings, e))) goto fail;
    tell_listeners(s);
    const struct models_opts m = models_opts(s);
    if (!(s->models = models_open(&m, e))) goto fail;
    if (!(s->trainings = trainings_open(s->store, s->models, s->log, e))) goto fail;
    return s;
fail:
    server_close(s);
    return NULL;
}

int server_run(struct server *s, struct err *e) {
    (void)e;
    net_server_run(s->net);
    log_line(s->log, LOG_INFO, "stopped");
    return 0;
}

void server_drain(struct server *s) {
    pthread_mutex_lock(&s->lock);
    const int64_t grace_ms = s->settings.grace_ns / 1000000;
    pthread_mutex_unlock(&s->lock);
    const bool again = atomic_fetch_add(&s->n_drain, 1) > 0;
    log_line(s->log, LOG_INFO, again ? "stopping now" : "stopping: answers under way may end");
    trainings_drain(s->trainings);
    models_drain(s->models);
    net_server_drain(s->net, again || grace_ms < 0  ? 0
                             : grace_ms > INT32_MAX ? INT32_MAX
                                                    : (int)grace_ms);
}

/* What a reload cannot change, and must not say that it has: the log's files and keys, the walls.
 */
static const char *fixed_setting(const struct settings *was, const struct settings *t) {
    const struct {
        const char *name, *was, *now;
    } text[] = {{"AUDIT_FILE", was->audit_file, t->audit_file},
                {"AUDIT_KEY_FILE", was->audit_key_file, t->audit_key_file},
                {"AUDIT_SIGN_KEY", was->audit_sign_key, t->audit_sign_key},
                {"AUDIT_PUBLIC_KEY", was->audit_public_key, t->audit_public_key},
                {"ISOLATION", was->isolation, t->isolation}};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++)
        if (strcmp(text[i].was, text[i].now) != 0) return text[i].name;
    if (was->audit_rotate_bytes != t->audit_rotate_bytes) return "AUDIT_ROTATE";
    return was->audit_content != t->audit_content ? "AUDIT_CONTENT" : NULL;
}

/* CRIA_AUDIT may become stricter or less so; a log is opened at the start only. */
static int check_fixed(const struct server *s, const struct settings *t, enum audit_mode *mode,
                       struct err *e) {
    const char *fixed = fixed_setting(&s->settings, t);
    if (!audit_mode_of(t->audit, mode))
        return err_set(e, ERR_USAGE, "setting CRIA_AUDIT: off, on or required is accepted");
    if ((*mode == AUDIT_OFF) != (s->audit == NULL)) fixed = "AUDIT";
    if (!fixed) return 0;
    return err_set(e, ERR_USAGE,
                   "setting CRIA_%s: it is as it was at the start; a restart changes it", fixed);
}

/* What was taken already of settings that are not. */
static void take_back(struct server *s) {
    struct err unused;
    const struct door_opts g = door_opts(s, &s->settings);
    pii_guard_configure(s->pii, &s->settings, &unused);
    door_reload(s->door, &g, &unused);
}

/* All of it or, when something is wrong, nothing.  Addresses and limits of connections stay as they
 * were at the start. */
void server_reload(struct server *s) {
    struct settings t, before;
    struct conf conf;
    struct err e = {0};
    enum audit_mode mode;
    int rc = read_settings(s, &t, &conf, &e);
    if (rc == 0) rc = check_fixed(s, &t, &mode, &e);
    if (rc == 0 && tls_cert(s)) rc = net_server_tls(s->net, tls_cert(s), tls_key(s), &e);
    if (rc == 0) rc = pii_guard_configure(s->pii, &t, &e);
    const struct door_opts g = door_opts(s, &t);
    if (rc == 0) rc = door_reload(s->door, &g, &e); /* they are looked at all the time */
    if (rc == 0) rc = fallback_configure(s->fallback, &t, &e);
    if (rc == 0) {
        pthread_mutex_lock(&s->lock);
        const struct conf old_conf = s->conf;
        before = s->settings;
        s->settings = t;
        if (s->audit) audit_set_required(s->audit, mode == AUDIT_REQUIRED);
        s->conf = conf;
        conf = old_conf;
        s->log_bodies = t.log_prompts;
        pthread_mutex_unlock(&s->lock);
        const struct models_opts m = models_opts(s);
        models_configure(s->models, &m);
        response_cache_configure(s->cache, &t);
        if (s->audit) audit_settings(s->audit, &before, &t);
    }
    conf_free(&conf);
    if (rc != 0) take_back(s);
    if (rc == 0)
        log_line(s->log, LOG_INFO, "settings were read again");
    else
        log_line(s->log, LOG_ERROR, "settings stay as they were: %s", e.msg);
}

void server_close(struct server *s) {
    if (!s) return;
    if (s->workers) workers_stop(s->workers);
    trainings_close(s->trainings);
    fallback_stop(s->fallback);
    if (s->models) models_close(s->models);
    responses_shared_close();
    response_cache_free(s->cache);
    net_server_close(s->net);
    workers_free(s->workers);
    store_close(s->store);
    metrics_free(s->metrics);
    fallback_free(s->fallback);
    pii_guard_free(s->pii);
    conf_free(&s->conf);
    door_close(s->door);
    audit_denied_rest(s);
    audit_server_close(s->audit);
    log_close(s->log);
    pthread_mutex_destroy(&s->lock);
    free(s);
}

int server_port(const struct server *s) {
    return net_server_port(s->net);
}

struct models *server_models(struct server *s) {
    return s->models;
}

struct store *server_store(struct server *s) {
    return s->store;
}

struct fallback *server_fallback(struct server *s) {
    return s->fallback;
}

struct pii_guard *server_pii(struct server *s) {
    return s->pii;
}
