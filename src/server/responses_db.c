/* See responses_db.h.
 *
 *   responses_write -> queue -> writer: one transaction a row, then the oldest leave -> fn */
#include "server/responses_db.h"

#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/json.h"
#include "base/log.h"
#include "base/os.h"

enum { PATH = 4096, BUSY_MS = 2000 };

struct job {
    struct job *next;
    const char *owner; /* owned, behind the job */
    json_t *response, *items;
    responses_fn *fn;
    void *ctx;
};

struct responses_db {
    struct responses_opts o;
    char path[PATH];
    pthread_mutex_t db_lock; /* guards db */
    sqlite3 *db;
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t more;
    struct job *first, **last;
    bool stop;
    pthread_t writer;
};

/* ---- the file ---- */

static int sql_error(struct responses_db *d, const char *what, struct err *e) {
    const int rc = sqlite3_errcode(d->db);
    return err_set(e, rc == SQLITE_NOMEM ? ERR_NOMEM : ERR_IO, "responses: %s: %s", what,
                   sqlite3_errmsg(d->db));
}

/* WITHOUT secure_delete a deleted conversation would stay in free pages. */
static const char schema[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA secure_delete=ON;"
    "PRAGMA trusted_schema=OFF; PRAGMA journal_size_limit=4194304;"
    "CREATE TABLE IF NOT EXISTS response (seq INTEGER PRIMARY KEY AUTOINCREMENT,"
    " id TEXT NOT NULL UNIQUE, owner TEXT NOT NULL, created INTEGER NOT NULL,"
    " n_bytes INTEGER NOT NULL, response TEXT NOT NULL, items TEXT NOT NULL);"
    "CREATE INDEX IF NOT EXISTS response_size ON response (seq, n_bytes);"
    "CREATE INDEX IF NOT EXISTS response_age ON response (created);"
    /* Which response an item of an output is of; it leaves with it. */
    "CREATE TABLE IF NOT EXISTS item (id TEXT PRIMARY KEY, seq INTEGER NOT NULL) WITHOUT ROWID;"
    "CREATE INDEX IF NOT EXISTS item_seq ON item (seq);"
    "CREATE TRIGGER IF NOT EXISTS response_items AFTER DELETE ON response"
    " BEGIN DELETE FROM item WHERE seq = OLD.seq; END;";

static int try_open(struct responses_db *d, int *rc, struct err *e) {
    if (os_make_private(d->path, e) != 0) return -1;
    *rc =
        sqlite3_open_v2(d->path, &d->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);
    if (*rc == SQLITE_OK) sqlite3_busy_timeout(d->db, BUSY_MS);
    if (*rc == SQLITE_OK) *rc = sqlite3_exec(d->db, schema, NULL, NULL, NULL);
    if (*rc == SQLITE_OK) return 0;
    sql_error(d, d->path, e);
    sqlite3_close(d->db);
    d->db = NULL;
    return -1;
}

static int open_file(struct responses_db *d, struct err *e) {
    char moved[PATH + 16];
    int rc = 0;
    if (try_open(d, &rc, e) == 0) return 0;
    if (rc != SQLITE_NOTADB && rc != SQLITE_CORRUPT) return -1;
    snprintf(moved, sizeof moved, "%s.damaged", d->path);
    log_msg(LOG_WARN, "%s; it is kept as %s", e->msg, moved);
    if (rename(d->path, moved) != 0) return err_errno(e, d->path);
    return try_open(d, &rc, e);
}

static int find_folder(struct responses_db *d, struct err *e) {
    char folder[PATH - 32];
    const char *home = getenv("HOME");
    if (d->o.folder && *d->o.folder)
        snprintf(folder, sizeof folder, "%s", d->o.folder);
    else if (home && *home)
        snprintf(folder, sizeof folder, "%s/.cria", home);
    else
        return err_set(e, ERR_USAGE, "responses: HOME is not set; CRIA_RESPONSES names a folder");
    if (mkdir(folder, 0700) != 0 && errno != EEXIST) return err_errno(e, folder);
    snprintf(d->path, sizeof d->path, "%s/responses.db", folder);
    return 0;
}

/* ---- rows ---- */

static sqlite3_stmt *prepare(struct responses_db *d, const char *sql) {
    sqlite3_stmt *st = NULL;
    return sqlite3_prepare_v2(d->db, sql, -1, &st, NULL) == SQLITE_OK ? st : NULL;
}

static int run(struct responses_db *d, sqlite3_stmt *st, const char *what, struct err *e) {
    const int rc = st ? sqlite3_step(st) : SQLITE_ERROR;
    const int bad = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : sql_error(d, what, e);
    sqlite3_finalize(st);
    return bad;
}

/* Those that are too old, then the oldest until number and bytes fit. */
static int trim(struct responses_db *d, int64_t now, struct err *e) {
    sqlite3_stmt *st = prepare(d, "DELETE FROM response WHERE created < ?1");
    if (st) sqlite3_bind_int64(st, 1, now - d->o.max_age_s);
    if (run(d, st, "trim", e) != 0) return -1;
    /* The sum over all rows that are as new or newer, through the index on both columns. */
    st = prepare(d, "DELETE FROM response WHERE seq <= (SELECT max(seq) FROM (SELECT seq,"
                    " count(*) OVER w AS n, sum(n_bytes) OVER w AS b FROM response"
                    " WINDOW w AS (ORDER BY seq DESC)) WHERE n > ?1 OR b > ?2)");
    if (st) sqlite3_bind_int64(st, 1, d->o.max_rows);
    if (st) sqlite3_bind_int64(st, 2, (sqlite3_int64)d->o.max_bytes);
    return run(d, st, "trim", e);
}

/* The items of the output of the row that was inserted last. */
static int insert_items(struct responses_db *d, const json_t *output, struct err *e) {
    const sqlite3_int64 seq = sqlite3_last_insert_rowid(d->db);
    for (size_t i = 0; i < json_array_size(output); i++) {
        const char *id = json_string_value(json_object_get(json_array_get(output, i), "id"));
        sqlite3_stmt *st = prepare(d, "INSERT OR REPLACE INTO item (id, seq) VALUES (?1, ?2)");
        if (st) sqlite3_bind_text(st, 1, id ? id : "", -1, SQLITE_STATIC);
        if (st) sqlite3_bind_int64(st, 2, seq);
        if (run(d, st, "write", e) != 0) return -1;
    }
    return 0;
}

static int insert(struct responses_db *d, const struct job *j, const char *id, struct str response,
                  struct str items, struct err *e) {
    const int64_t now = (int64_t)time(NULL);
    sqlite3_stmt *st =
        prepare(d, "INSERT INTO response (id, owner, created, n_bytes, response, items)"
                   " VALUES (?1, ?2, ?3, ?4, ?5, ?6)");
    if (st) {
        sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
        sqlite3_bind_text(st, 2, j->owner, -1, SQLITE_STATIC);
        sqlite3_bind_int64(st, 3, now);
        sqlite3_bind_int64(st, 4, (sqlite3_int64)(response.n + items.n));
        sqlite3_bind_text64(st, 5, response.p, response.n, SQLITE_STATIC, SQLITE_UTF8);
        sqlite3_bind_text64(st, 6, items.p, items.n, SQLITE_STATIC, SQLITE_UTF8);
    }
    if (sqlite3_exec(d->db, "BEGIN IMMEDIATE", NULL, NULL, NULL) != SQLITE_OK) {
        sqlite3_finalize(st);
        return sql_error(d, "write", e);
    }
    if (run(d, st, "write", e) == 0 &&
        insert_items(d, json_object_get(j->response, "output"), e) == 0 && trim(d, now, e) == 0) {
        if (sqlite3_exec(d->db, "COMMIT", NULL, NULL, NULL) == SQLITE_OK) return 0;
        sql_error(d, "write", e);
    }
    sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
    return -1;
}

static int write_job(struct responses_db *d, const struct job *j, struct err *e) {
    struct buf response = {0}, items = {0};
    const char *id = json_string_value(json_object_get(j->response, "id"));
    int rc = -1;
    if (json_append("response", j->response, &response, e) == 0 &&
        json_append("response", j->items, &items, e) == 0) {
        if (response.n + items.n > d->o.max_bytes / 4)
            err_set(e, ERR_LIMIT, "responses: a conversation of %zu bytes; %llu are kept at most",
                    response.n + items.n, (unsigned long long)d->o.max_bytes / 4);
        else {
            pthread_mutex_lock(&d->db_lock);
            rc = insert(d, j, id ? id : "", buf_view(&response), buf_view(&items), e);
            pthread_mutex_unlock(&d->db_lock);
        }
    }
    buf_fini(&response);
    buf_fini(&items);
    return rc;
}

/* ---- the writer ---- */

static struct job *next_job(struct responses_db *d) {
    pthread_mutex_lock(&d->lock);
    while (!d->first && !d->stop)
        pthread_cond_wait(&d->more, &d->lock);
    struct job *j = d->first;
    if (j) d->first = j->next;
    if (!d->first) d->last = &d->first;
    pthread_mutex_unlock(&d->lock);
    return j;
}

static void *write_all(void *arg) {
    struct responses_db *d = arg;
    for (struct job *j; (j = next_job(d));) {
        struct err e = {0};
        if (write_job(d, j, &e) != 0 && e.code != ERR_LIMIT) log_msg(LOG_WARN, "%s", e.msg);
        j->fn(j->ctx, &e);
        free(j);
    }
    return NULL;
}

void responses_write(struct responses_db *d, const char *owner, json_t *response, json_t *items,
                     responses_fn *fn, void *ctx) {
    struct err e = {0};
    const size_t n = strlen(owner) + 1;
    struct job *j = malloc(sizeof *j + n);
    if (!j || d->o.max_rows == 0) {
        free(j);
        if (d->o.max_rows == 0)
            err_set(&e, ERR_LIMIT, "responses: none are kept (CRIA_RESPONSES_COUNT)");
        else
            err_nomem(&e, "responses");
        fn(ctx, &e);
        return;
    }
    *j = (struct job){.response = response, .items = items, .fn = fn, .ctx = ctx};
    j->owner = memcpy(j + 1, owner, n);
    pthread_mutex_lock(&d->lock);
    *d->last = j;
    d->last = &j->next;
    pthread_cond_signal(&d->more);
    pthread_mutex_unlock(&d->lock);
}

/* ---- reading ---- */

static json_t *column(sqlite3_stmt *st, int i, struct err *e) {
    json_error_t je;
    const char *text = (const char *)sqlite3_column_text(st, i);
    json_t *j = text ? json_loads(text, JSON_DECODE_ANY | JSON_ALLOW_NUL, &je) : NULL;
    if (!j) err_set(e, ERR_FORMAT, "responses: a row is damaged");
    return j;
}

static int not_found(const char *id, struct err *e) {
    return err_set(e, ERR_NOT_FOUND, "Response with id '%.100s' not found.", id);
}

static sqlite3_stmt *select_row(struct responses_db *d, const char *sql, const char *id,
                                const char *owner) {
    sqlite3_stmt *st = prepare(d, sql);
    if (!st) return NULL;
    sqlite3_bind_text(st, 1, id, -1, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, owner, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 3, (int64_t)time(NULL) - d->o.max_age_s);
    return st;
}

int responses_read(struct responses_db *d, const char *id, const char *owner, json_t **response,
                   json_t **items, struct err *e) {
    int rc = 0;
    if (response) *response = NULL;
    if (items) *items = NULL;
    pthread_mutex_lock(&d->db_lock);
    sqlite3_stmt *st = select_row(d,
                                  "SELECT response, items FROM response"
                                  " WHERE id = ?1 AND owner = ?2 AND created >= ?3",
                                  id, owner);
    const int step = st ? sqlite3_step(st) : SQLITE_ERROR;
    if (step == SQLITE_ROW) {
        if (response && !(*response = column(st, 0, e))) rc = -1;
        if (rc == 0 && items && !(*items = column(st, 1, e))) rc = -1;
    } else {
        rc = step == SQLITE_DONE ? not_found(id, e) : sql_error(d, "read", e);
    }
    sqlite3_finalize(st);
    pthread_mutex_unlock(&d->db_lock);
    if (rc != 0 && response) json_decref(*response), *response = NULL;
    return rc;
}

int responses_read_item(struct responses_db *d, const char *item, const char *owner, json_t **items,
                        struct err *e) {
    pthread_mutex_lock(&d->db_lock);
    sqlite3_stmt *st = select_row(d,
                                  "SELECT items FROM response"
                                  " WHERE seq = (SELECT seq FROM item WHERE id = ?1)"
                                  " AND owner = ?2 AND created >= ?3",
                                  item, owner);
    const int step = st ? sqlite3_step(st) : SQLITE_ERROR;
    *items = step == SQLITE_ROW ? column(st, 0, e) : NULL;
    if (step == SQLITE_DONE)
        err_set(e, ERR_NOT_FOUND, "Item with id '%.100s' not found.", item);
    else if (step != SQLITE_ROW)
        sql_error(d, "read", e);
    sqlite3_finalize(st);
    pthread_mutex_unlock(&d->db_lock);
    return *items ? 0 : -1;
}

int responses_delete(struct responses_db *d, const char *id, const char *owner, struct err *e) {
    pthread_mutex_lock(&d->db_lock);
    sqlite3_stmt *st = select_row(
        d, "DELETE FROM response WHERE id = ?1 AND owner = ?2 AND created >= ?3", id, owner);
    int rc = run(d, st, "delete", e);
    if (rc == 0 && sqlite3_changes(d->db) == 0) rc = not_found(id, e);
    /* What the log still has of it goes at once, too; nobody reads without db_lock. */
    if (rc == 0) sqlite3_wal_checkpoint_v2(d->db, NULL, SQLITE_CHECKPOINT_TRUNCATE, NULL, NULL);
    pthread_mutex_unlock(&d->db_lock);
    return rc;
}

/* ---- beginning and end ---- */

struct responses_db *responses_open(const struct responses_opts *o, struct err *e) {
    struct responses_db *d = calloc(1, sizeof *d);
    if (!d) {
        err_nomem(e, "responses");
        return NULL;
    }
    d->o = *o;
    d->o.max_bytes = o->max_bytes < INT64_MAX ? o->max_bytes : INT64_MAX;
    d->last = &d->first;
    pthread_mutex_init(&d->db_lock, NULL);
    pthread_mutex_init(&d->lock, NULL);
    pthread_cond_init(&d->more, NULL);
    const bool found = find_folder(d, e) == 0;
    d->o.folder = NULL; /* borrowed for this call */
    if (found && open_file(d, e) == 0) {
        if (pthread_create(&d->writer, NULL, write_all, d) == 0) return d;
        err_set(e, ERR_NOMEM, "responses: no thread");
    }
    sqlite3_close(d->db);
    free(d);
    return NULL;
}

void responses_close(struct responses_db *d) {
    if (!d) return;
    pthread_mutex_lock(&d->lock);
    d->stop = true;
    pthread_cond_signal(&d->more);
    pthread_mutex_unlock(&d->lock);
    pthread_join(d->writer, NULL);
    sqlite3_close(d->db);
    pthread_mutex_destroy(&d->db_lock);
    pthread_mutex_destroy(&d->lock);
    pthread_cond_destroy(&d->more);
    free(d);
}
