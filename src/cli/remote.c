/* See remote.h: where the server is, and the rule when it is asked. */
#include "cli/remote.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/os.h"
#include "cli/cli.h"
#include "cli/remote_priv.h"
#include "net/address.h"

enum {
    WAIT_S = 24 * 3600, /* a load, or a prompt's reading, may take long without a byte */
    PROBE_S = 5,
};

/* ---- where it is ---- */

static bool is_here(const struct settings_url *u) {
    return u->unix_path[0] || net_is_loopback_name(u->host) || strcmp(u->host, "0.0.0.0") == 0 ||
           strcmp(u->host, "[::]") == 0;
}

/* All addresses of a machine are, from here, its loopback.  A certificate may be for "localhost",
 * so that name stays where there is one. */
static const char *host_of(const struct settings_url *u) {
    if (strcmp(u->host, "[::]") == 0) return "[::1]";
    const bool any = strcmp(u->host, "0.0.0.0") == 0;
    return any || (!u->https && strcasecmp(u->host, "localhost") == 0) ? "127.0.0.1" : u->host;
}

static int read_host(struct settings_url *u, struct err *e) {
    char text[SETTING_TEXT];
    const char *host = os_setting("HOST", text, sizeof text);
    return settings_url(host ? host : "", u, e) == 0 ? 0 : err_prefix(e, "setting CRIA_HOST");
}

/* Whom HOST names was chosen by the user: plain http is fine there when it says so. */
static int make_client(struct remote *r, const struct settings_url *u, struct err *e) {
    char plain[SETTING_TEXT + 8];
    snprintf(plain, sizeof plain, "%.300s:%s", host_of(u), u->port);
    const struct net_opts o = {.insecure_host = u->https ? NULL : plain,
                               .unix_path = u->unix_path[0] ? u->unix_path : NULL,
                               .stall_s = WAIT_S,
                               .connect_s = PROBE_S,
                               .stop = &cli_interrupted};
    r->client = net_client_new(&o, e);
    return r->client ? 0 : -1;
}

struct remote *remote_open(struct err *e) {
    struct remote *r = calloc(1, sizeof *r);
    struct settings_url u;
    char key[SETTING_TEXT];
    if (!r) {
        err_nomem(e, "server");
        return NULL;
    }
    if (read_host(&u, e) != 0) goto fail;
    r->here = is_here(&u);
    if (u.unix_path[0]) {
        snprintf(r->url, sizeof r->url, "http://localhost");
        snprintf(r->shown, sizeof r->shown, "unix:%s", u.unix_path);
    } else {
        snprintf(r->url, sizeof r->url, "%s://%s:%s%s", u.https ? "https" : "http", host_of(&u),
                 u.port, u.path);
        snprintf(r->shown, sizeof r->shown, "%s", r->url);
    }
    if (os_setting("API_KEY", key, sizeof key)) snprintf(r->key, sizeof r->key, "Bearer %s", key);
    if (make_client(r, &u, e) == 0) return r;
fail:
    remote_close(r);
    return NULL;
}

void remote_close(struct remote *r) {
    if (!r) return;
    net_client_free(r->client);
    free(r);
}

bool remote_is_here(const struct remote *r) {
    return r->here;
}

const char *remote_url(const struct remote *r) {
    return r->shown;
}

/* ---- is it there ---- */

int remote_redirected(const struct remote *r, const struct net_answer *a, struct err *e) {
    return err_set(e, ERR_UNSUPPORTED,
                   "%.200s: a redirect to %.200s, which is not followed; CRIA_HOST may name the "
                   "server itself",
                   r->shown, a->location ? a->location : "nowhere");
}

int remote_explain(const struct remote *r, struct err *e) {
    const bool tls = strncmp(r->url, "https:", 6) == 0;
    if (!e || e->code == ERR_CANCELLED) return -1;
    const struct err was = *e;
    if (tls && was.code == ERR_LIMIT && strstr(was.msg, "certificate"))
        err_set(e, was.code,
                "%s; SSL_CERT_FILE=FILE names the certificates to trust, also one of the server's "
                "own",
                was.msg);
    else if (tls && was.code == ERR_UNSUPPORTED)
        err_set(e, was.code, "%s; is it http:// that is spoken there?", was.msg);
    return -1;
}

/* 0: an answer came, whatever its status; 1: nobody is there; -1: what is there is no server. */
static int probe(struct remote *r, struct err *e) {
    struct net_answer a = {0};
    const struct net_request q = {
        .method = NET_HEAD, .url = r->url, .stall_s = PROBE_S, .keep_redirect = true};
    struct err why = {0};
    int rc = net_do(r->client, &q, &a, &why);
    if (rc == 0 && a.status >= 300 && a.status < 400)
        rc = remote_redirected(r, &a, e);
    else if (rc != 0 && why.code == ERR_NOT_FOUND)
        rc = 1;
    else if (rc != 0) {
        if (e) *e = why;
        remote_explain(r, e);
    }
    net_answer_fini(&a);
    return rc;
}

static int say_nobody(const struct remote *r, bool could_be_here) {
    fprintf(stderr, "Error: could not connect to a server at %s; run 'cria serve' to start one%s\n",
            r->shown,
            could_be_here ? ", or without CRIA_HOST the models of this machine are used" : "");
    return EXIT_NO_SERVER;
}

int remote_find(const char *only_here, struct remote **out, struct err *e) {
    struct remote *r = remote_open(e);
    int rc = r ? 0 : -1;
    *out = NULL;
    if (r && only_here && !r->here)
        rc = err_set(e, ERR_UNSUPPORTED,
                     "%s: for models of this machine only; CRIA_HOST names the server %.200s",
                     only_here, r->shown);
    if (r && !only_here) rc = probe(r, e);
    if (rc == 0 && !only_here) {
        *out = r;
        return 0;
    }
    if (rc == 1) rc = r->here ? 0 : say_nobody(r, true);
    remote_close(r);
    return rc;
}

int remote_need(struct remote **out, struct err *e) {
    *out = remote_open(e);
    int rc = *out ? probe(*out, e) : -1;
    if (rc == 1) rc = say_nobody(*out, false);
    if (rc == 0) return 0;
    remote_close(*out);
    *out = NULL;
    return rc;
}
