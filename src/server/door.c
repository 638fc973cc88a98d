/* See door.h.
 *
 *   file, database -> struct keys (immutable, counted) -> a request holds it until its end
 *   request -> key_limits, key_usage (memory) -> the thread -> database */
#include "server/door.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

enum { LOOK_MS = 500 };

struct door {
    struct log *log;
    door_change_fn *changed; /* or NULL */
    void *ctx;
    struct key_limits *limits;
    struct key_usage *usage;
    pthread_t thread;
    bool has_thread;

    pthread_mutex_t db_lock;                     /* of what follows; taken before `lock` */
    char file[KEYS_DB_PATH], path[KEYS_DB_PATH]; /* path "": no HOME */
    bool named;                                  /* the database was: it must be there */
    struct keys_db *db;                          /* NULL: none */
    bool complained, complained_of_usage;
    bool opened;

    pthread_mutex_t lock; /* of what follows */
    pthread_cond_t wake;
    struct keys *keys; /* NULL: none are needed */
    bool stop;
};

/* ---- reading ---- */

static void warn_of_readers(struct door *g, const char *path) {
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & 077))
        log_line(g->log, LOG_WARN, "%s: others may read it (mode %o)", path, st.st_mode & 0777);
}

/* The keys of both, new; NULL with e->code ERR_NONE: there are neither. */
static struct keys *read_keys(struct door *g, const char *file, struct keys_db *db, struct err *e) {
    struct keys *k = *file || db ? keys_new(e) : NULL;
    if (!k) return NULL;
    if ((*file && keys_read_file(k, file, e) != 0) || (db && keys_db_load(db, k, e) != 0) ||
        key_limits_attach(g->limits, k, e) != 0 ||
        (db && key_usage_restore(g->limits, db, e) != 0)) {
        keys_unref(k);
        return NULL;
    }
    return k;
}

/* NULL with e->code ERR_NONE: it is not there and need not be. */
static struct keys_db *open_db(const char *path, bool named, struct err *e) {
    if (!*path || (!named && access(path, F_OK) != 0 && errno == ENOENT)) return NULL;
    return keys_db_open(path, false, e);
}

static void put_keys(struct door *g, struct keys *k) {
    pthread_mutex_lock(&g->lock);
    struct keys *old = g->keys;
    g->keys = k;
    pthread_mutex_unlock(&g->lock);
    if (g->opened && g->changed) g->changed(g->ctx, old, k);
    keys_unref(old);
}

static void tell(struct door *g, const struct keys *k) {
    if (!g->db) return;
    warn_of_readers(g, g->path);
    if (keys_db_read_only(g->db))
        log_line(g->log, LOG_WARN, "%s: may only be read; what keys use is not kept", g->path);
    if (keys_count(k) == 0)
        log_line(g->log, LOG_WARN, "%s: no key in it: nobody may ask; `cria keys add` makes one",
                 g->path);
    else
        log_line(g->log, LOG_INFO, "%d API keys, with those of %s", keys_count(k), g->path);
}

/* Everything anew, or nothing.  db_lock held. */
static int load(struct door *g, const struct door_opts *o, struct err *e) {
    char path[KEYS_DB_PATH] = "";
    const bool named = *o->database != 0;
    struct err why = {0};
    if (keys_db_path(o->database, path, &why) != 0) *path = 0;
    why = (struct err){0};
    struct keys_db *db = open_db(path, named, &why);
    struct keys *k = why.code ? NULL : read_keys(g, o->key_file, db, &why);
    if (!why.code && !k && door_needs_key(g)) err_set(&why, ERR_USAGE, "there were API keys");
    if (why.code) {
        keys_db_close(db);
        keys_unref(k);
        return err_set(e, why.code, "%s", why.msg);
    }
    keys_db_close(g->db);
    g->db = db;
    g->named = named;
    g->complained = false;
    snprintf(g->file, sizeof g->file, "%s", o->key_file);
    snprintf(g->path, sizeof g->path, "%s", path);
    if (*g->file) warn_of_readers(g, g->file);
    if (k) tell(g, k);
    put_keys(g, k);
    return 0;
}

int door_reload(struct door *g, const struct door_opts *o, struct err *e) {
    pthread_mutex_lock(&g->db_lock);
    const int rc = load(g, o, e);
    pthread_mutex_unlock(&g->db_lock);
    return rc;
}

/* ---- the thread ---- */

/* Once, until it is well again. */
static void complain(struct door *g, const struct err *e) {
    if (!g->complained) log_line(g->log, LOG_WARN, "keys stay as they were: %s", e->msg);
    g->complained = true;
}

static bool is_being_made(const char *path) {
    struct stat st;
    return stat(path, &st) == 0 && st.st_size == 0;
}

/* Another process has changed the database, or put another one there.  db_lock held. */
static void look(struct door *g) {
    struct err e = {0};
    const bool other = !g->db || keys_db_replaced(g->db);
    if (!other && !keys_db_changed(g->db)) return;
    if (other && is_being_made(g->path)) return;
    struct keys_db *db = other ? open_db(g->path, g->db != NULL || g->named, &e) : g->db;
    if (!db && !e.code) return; /* there is still none */
    struct keys *k = e.code ? NULL : read_keys(g, g->file, db, &e);
    if (!k) {
        complain(g, &e);
        if (other)
            keys_db_close(db);
        else
            keys_db_unread(db); /* a key that was taken back must not live by a moment's failure */
        return;
    }
    if (other) keys_db_close(g->db);
    g->db = db;
    g->complained = false;
    if (other) tell(g, k);
    put_keys(g, k);
}

static void keep_usage(struct door *g) {
    struct err e = {0};
    if (!g->db || keys_db_read_only(g->db)) return;
    const bool bad = key_usage_write(g->usage, g->limits, g->db, &e) != 0;
    if (bad && !g->complained_of_usage)
        log_line(g->log, LOG_WARN, "what keys use is not kept: %s", e.msg);
    g->complained_of_usage = bad;
}

static void *watch(void *arg) {
    struct door *g = arg;
    struct timespec until;
    pthread_mutex_lock(&g->lock);
    while (!g->stop) {
        pthread_mutex_unlock(&g->lock);
        pthread_mutex_lock(&g->db_lock);
        look(g);
        keep_usage(g);
        pthread_mutex_unlock(&g->db_lock);
        clock_gettime(CLOCK_MONOTONIC, &until);
        until.tv_nsec += LOOK_MS * 1000000L;
        if (until.tv_nsec >= 1000000000) until.tv_nsec -= 1000000000, until.tv_sec++;
        pthread_mutex_lock(&g->lock);
        while (!g->stop && pthread_cond_timedwait(&g->wake, &g->lock, &until) == 0)
            ;
    }
    pthread_mutex_unlock(&g->lock);
    return NULL;
}

/* ---- beginning and end ---- */

struct door *door_open(const struct door_opts *o, struct err *e) {
    pthread_condattr_t monotonic;
    struct door *g = calloc(1, sizeof *g);
    if (!g) {
        err_nomem(e, "keys");
        return NULL;
    }
    g->log = o->log;
    g->changed = o->changed;
    g->ctx = o->ctx;
    pthread_mutex_init(&g->db_lock, NULL);
    pthread_mutex_init(&g->lock, NULL);
    pthread_condattr_init(&monotonic);
    pthread_condattr_setclock(&monotonic, CLOCK_MONOTONIC);
    pthread_cond_init(&g->wake, &monotonic);
    pthread_condattr_destroy(&monotonic);
    if (!(g->limits = key_limits_new(NULL, e)) || !(g->usage = key_usage_new(e))) goto fail;
    if (door_reload(g, o, e) == 0) {
        g->opened = true;
        return g;
    }
fail:
    door_close(g);
    return NULL;
}

int door_start(struct door *g, struct err *e) {
    g->has_thread = pthread_create(&g->thread, NULL, watch, g) == 0;
    return g->has_thread ? 0 : err_set(e, ERR_IO, "keys: a thread cannot be started");
}

void door_close(struct door *g) {
    if (!g) return;
    pthread_mutex_lock(&g->lock);
    g->stop = true;
    pthread_cond_signal(&g->wake);
    pthread_mutex_unlock(&g->lock);
    if (g->has_thread) pthread_join(g->thread, NULL);
    if (g->usage) keep_usage(g);
    keys_db_close(g->db);
    keys_unref(g->keys);
    key_usage_free(g->usage);
    key_limits_free(g->limits);
    pthread_cond_destroy(&g->wake);
    pthread_mutex_destroy(&g->lock);
    pthread_mutex_destroy(&g->db_lock);
    free(g);
}

/* ---- requests ---- */

struct keys *door_keys(struct door *g) {
    pthread_mutex_lock(&g->lock);
    struct keys *k = g->keys ? keys_ref(g->keys) : NULL;
    pthread_mutex_unlock(&g->lock);
    return k;
}

bool door_needs_key(struct door *g) {
    pthread_mutex_lock(&g->lock);
    const bool needs = g->keys != NULL;
    pthread_mutex_unlock(&g->lock);
    return needs;
}

struct key_limits *door_limits(struct door *g) {
    return g->limits;
}

void door_count(struct door *g, const struct key_use *use) {
    key_usage_add(g->usage, key_limits_day(g->limits), use);
}
