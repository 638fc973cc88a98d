/* See key_usage.h. */
#include "policy/key_usage.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "policy/keys_db_priv.h"

enum {
    ROWS_MAX = 1 << 16, /* waiting, when the disk takes nothing: what is beyond is not kept */
    DAYS_KEPT = 400,    /* then a row leaves */
};

struct row {
    struct row *next;
    int64_t day;
    struct key_use use; /* texts: owned, behind the row */
};

struct key_usage {
    pthread_mutex_t lock; /* of what follows */
    struct row *first;
    int n;
    int64_t pruned_day;
};

struct key_usage *key_usage_new(struct err *e) {
    struct key_usage *u = calloc(1, sizeof *u);
    if (u)
        pthread_mutex_init(&u->lock, NULL);
    else
        err_nomem(e, "usage of keys");
    return u;
}

static void rows_free(struct row *r) {
    for (struct row *next; r; r = next) {
        next = r->next;
        free(r);
    }
}

void key_usage_free(struct key_usage *u) {
    if (!u) return;
    rows_free(u->first);
    pthread_mutex_destroy(&u->lock);
    free(u);
}

/* ---- in memory ---- */

static void sum(struct key_use *to, const struct key_use *from) {
    to->n_request += from->n_request;
    to->n_refused += from->n_refused;
    to->n_error += from->n_error;
    to->n_prompt += from->n_prompt;
    to->n_eval += from->n_eval;
}

static struct row *row_new(int64_t day, const struct key_use *use) {
    const size_t n_key = strlen(use->key) + 1, n_model = strlen(use->model) + 1;
    struct row *r = malloc(sizeof *r + n_key + n_model);
    if (!r) return NULL;
    *r = (struct row){.day = day};
    r->use.key = memcpy(r + 1, use->key, n_key);
    r->use.model = memcpy((char *)(r + 1) + n_key, use->model, n_model);
    return r;
}

/* With the lock. */
static struct row *row_of(struct key_usage *u, int64_t day, const struct key_use *use) {
    struct row *r = u->first;
    while (r && (r->day != day || strcmp(r->use.key, use->key) != 0 ||
                 strcmp(r->use.model, use->model) != 0))
        r = r->next;
    if (r || u->n >= ROWS_MAX || !(r = row_new(day, use))) return r;
    r->next = u->first;
    u->first = r;
    u->n++;
    return r;
}

void key_usage_add(struct key_usage *u, int64_t day, const struct key_use *use) {
    pthread_mutex_lock(&u->lock);
    struct row *r = row_of(u, day, use);
    if (r) sum(&r->use, use);
    pthread_mutex_unlock(&u->lock);
}

static struct row *take_rows(struct key_usage *u) {
    pthread_mutex_lock(&u->lock);
    struct row *list = u->first;
    u->first = NULL;
    u->n = 0;
    pthread_mutex_unlock(&u->lock);
    return list;
}

/* ---- in the database ---- */

static int write_row(struct keys_db *d, const struct row *r, struct err *e) {
    const struct key_use *u = &r->use;
    const int64_t n[] = {u->n_request, u->n_refused, u->n_error, u->n_prompt, u->n_eval};
    sqlite3_stmt *st = keys_db_prepare(
        d, "INSERT INTO usage (key, day, model, requests, refused, errors, prompt_tokens, tokens)"
           " VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT DO UPDATE SET"
           " requests = requests + ?4, refused = refused + ?5, errors = errors + ?6,"
           " prompt_tokens = prompt_tokens + ?7, tokens = tokens + ?8");
    if (st) {
        sqlite3_bind_text(st, 1, u->key, -1, SQLITE_STATIC);
        sqlite3_bind_int64(st, 2, r->day);
        sqlite3_bind_text(st, 3, u->model, -1, SQLITE_STATIC);
        for (int i = 0; i < 5; i++)
            sqlite3_bind_int64(st, 4 + i, n[i]);
    }
    return keys_db_run(d, st, "write", e);
}

static int write_day(struct keys_db *d, const struct key_day *k, struct err *e) {
    sqlite3_stmt *st =
        keys_db_prepare(d, "INSERT INTO quota (key, day, requests, tokens) VALUES (?1, ?2, ?3, ?4)"
                           " ON CONFLICT DO UPDATE SET requests = ?3 + iif(day = ?2, requests, 0),"
                           " tokens = ?4 + iif(day = ?2, tokens, 0), day = ?2"
                           /* Another server may have begun the next day already. */
                           " WHERE day <> ?2 + 1");
    if (st) {
        sqlite3_bind_text(st, 1, k->name, -1, SQLITE_STATIC);
        sqlite3_bind_int64(st, 2, k->day);
        sqlite3_bind_int64(st, 3, k->requests);
        sqlite3_bind_int64(st, 4, k->tokens);
    }
    return keys_db_run(d, st, "write", e);
}

/* Once a day. */
static int prune(struct key_usage *u, struct keys_db *d, int64_t today, struct err *e) {
    if (u->pruned_day == today) return 0;
    sqlite3_stmt *st = keys_db_prepare(d, "DELETE FROM usage WHERE day < ?1");
    if (st) sqlite3_bind_int64(st, 1, today - DAYS_KEPT);
    if (keys_db_run(d, st, "write", e) != 0) return -1;
    u->pruned_day = today;
    return 0;
}

struct days {
    struct key_day *day; /* [n], owned */
    int n;
};

static int take_days(struct key_limits *l, struct days *out, struct err *e) {
    struct key_day one;
    for (struct key_meter *at = NULL; key_limits_unkept(l, &at, &one);) {
        struct key_day *more = realloc(out->day, (size_t)(out->n + 1) * sizeof *more);
        if (!more) return err_nomem(e, "usage of keys");
        out->day = more;
        out->day[out->n++] = one;
    }
    return 0;
}

static int write_all(struct key_usage *u, const struct row *rows, const struct days *days,
                     int64_t today, struct keys_db *d, struct err *e) {
    if (keys_db_exec(d, "BEGIN IMMEDIATE", "write", e) != 0) return -1;
    int rc = prune(u, d, today, e);
    for (const struct row *r = rows; r && rc == 0; r = r->next)
        rc = write_row(d, r, e);
    for (int i = 0; i < days->n && rc == 0; i++)
        rc = write_day(d, &days->day[i], e);
    if (rc == 0) rc = keys_db_exec(d, "COMMIT", "write", e);
    if (rc != 0) sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

int key_usage_write(struct key_usage *u, struct key_limits *l, struct keys_db *d, struct err *e) {
    struct days days = {0};
    struct row *rows = take_rows(u);
    int rc = take_days(l, &days, e);
    if (rc == 0 && (rows || days.n)) rc = write_all(u, rows, &days, key_limits_day(l), d, e);
    for (int i = 0; rc == 0 && i < days.n; i++)
        key_limits_kept(l, &days.day[i]);
    for (const struct row *r = rows; rc != 0 && r; r = r->next)
        key_usage_add(u, r->day, &r->use);
    rows_free(rows);
    free(days.day);
    return rc;
}

int key_usage_restore(struct key_limits *l, struct keys_db *d, struct err *e) {
    int step = SQLITE_ERROR;
    sqlite3_stmt *st = keys_db_prepare(d, "SELECT key, day, requests, tokens FROM quota");
    while (st && (step = sqlite3_step(st)) == SQLITE_ROW) {
        const char *name = (const char *)sqlite3_column_text(st, 0);
        if (name)
            key_limits_restore(l, name, sqlite3_column_int64(st, 1), sqlite3_column_int64(st, 2),
                               sqlite3_column_int64(st, 3));
    }
    const int rc = step == SQLITE_DONE ? 0 : keys_db_error(d, "read", e);
    sqlite3_finalize(st);
    return rc;
}

int key_usage_read(struct keys_db *d, const char *key, int64_t since_day, key_usage_fn *fn,
                   void *ctx, struct err *e) {
    int step = SQLITE_ERROR, rc = 0;
    sqlite3_stmt *st = keys_db_prepare(
        d, "SELECT key, day, model, requests, refused, errors, prompt_tokens, tokens FROM usage"
           " WHERE day >= ?1 AND (?2 IS NULL OR key = ?2) ORDER BY day DESC, key, model");
    if (st) sqlite3_bind_int64(st, 1, since_day);
    if (st) sqlite3_bind_text(st, 2, key, -1, SQLITE_STATIC);
    while (rc == 0 && st && (step = sqlite3_step(st)) == SQLITE_ROW) {
        const struct key_use u = {.key = (const char *)sqlite3_column_text(st, 0),
                                  .model = (const char *)sqlite3_column_text(st, 2),
                                  .n_request = sqlite3_column_int64(st, 3),
                                  .n_refused = sqlite3_column_int64(st, 4),
                                  .n_error = sqlite3_column_int64(st, 5),
                                  .n_prompt = sqlite3_column_int64(st, 6),
                                  .n_eval = sqlite3_column_int64(st, 7)};
        if (u.key && u.model) rc = fn(ctx, sqlite3_column_int64(st, 1), &u);
    }
    const bool bad = rc == 0 && step != SQLITE_DONE;
    if (bad) keys_db_error(d, "read", e);
    sqlite3_finalize(st);
    return bad ? -1 : 0;
}
