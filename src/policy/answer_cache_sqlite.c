/* Cached answers in a file: answers.db in ~/.cria, readable by its owner only.
 *
 * Two connections, so that who looks one up does not wait for who writes: in WAL mode a reader sees
 * what was committed and takes no lock that a writer holds.  A kill loses what was not committed,
 * at most; a file that turns out to be damaged is moved aside (answers.db.damaged), and an empty
 * one takes its place.  Triggers keep the sum of all bytes, so that several processes may write. */
#include <errno.h>
#include <pthread.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/log.h"
#include "base/os.h"
#include "policy/answer_store.h"

enum { PATH = 4096, WRITE_MS = 2000, READ_MS = 20, ROW_BYTES = 160 /* index and page, about */ };

enum { DO_PUT, DO_DELETE, DO_TOUCH, DO_OLD, DO_NEXT, DO_REMOVE, DO_TOTAL, N_DO };
static const char *const sql[N_DO] = {
    [DO_PUT] = ("INSERT INTO answer (key, model, expires, used, n_bytes, value)"
                " VALUES (?1, ?2, ?3, ?4, ?5, ?6)"),
    [DO_DELETE] = "DELETE FROM answer WHERE key = ?1",
    [DO_TOUCH] = "UPDATE answer SET used = ?2 WHERE key = ?1",
    [DO_OLD] = "DELETE FROM answer WHERE expires <= ?1",
    [DO_NEXT] = "SELECT id FROM answer ORDER BY used, id LIMIT 1",
    [DO_REMOVE] = "DELETE FROM answer WHERE id = ?1",
    [DO_TOTAL] = "SELECT n, n_bytes FROM total",
};

struct sqlite_store {
    struct answer_store base;
    char path[PATH];
    int64_t max_bytes;
    pthread_mutex_t write_lock, read_lock; /* in this order */
    pthread_cond_t between;                /* of what follows, under write_lock */
    bool in_batch;
    int n_drop; /* who removes waits for the end of a batch, and the next one for him */
    sqlite3 *writer, *reader;
    sqlite3_stmt *doing[N_DO], *get; /* of writer; of reader */
};

/* ---- the file ---- */

static const char schema[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA secure_delete=ON;"
    "PRAGMA trusted_schema=OFF; PRAGMA journal_size_limit=4194304;"
    "BEGIN IMMEDIATE;"
    "CREATE TABLE IF NOT EXISTS answer (id INTEGER PRIMARY KEY, key BLOB NOT NULL UNIQUE,"
    " model TEXT NOT NULL, expires INTEGER NOT NULL, used INTEGER NOT NULL,"
    " n_bytes INTEGER NOT NULL, value BLOB NOT NULL);"
    "CREATE INDEX IF NOT EXISTS answer_used ON answer (used);"
    "CREATE INDEX IF NOT EXISTS answer_expires ON answer (expires);"
    "CREATE TABLE IF NOT EXISTS total (one INTEGER PRIMARY KEY CHECK (one = 1),"
    " n INTEGER NOT NULL, n_bytes INTEGER NOT NULL);"
    "INSERT OR IGNORE INTO total VALUES (1, 0, 0);"
    "CREATE TRIGGER IF NOT EXISTS answer_in AFTER INSERT ON answer BEGIN"
    " UPDATE total SET n = n + 1, n_bytes = n_bytes + NEW.n_bytes; END;"
    "CREATE TRIGGER IF NOT EXISTS answer_out AFTER DELETE ON answer BEGIN"
    " UPDATE total SET n = n - 1, n_bytes = n_bytes - OLD.n_bytes; END;"
    "COMMIT;";

static int say(sqlite3 *db, const char *what, struct err *e) {
    const int rc = db ? sqlite3_errcode(db) : SQLITE_CANTOPEN;
    return err_set(e, rc == SQLITE_NOMEM ? ERR_NOMEM : ERR_IO, "answer cache: %s: %s", what,
                   db ? sqlite3_errmsg(db) : sqlite3_errstr(rc));
}

static bool is_damage(int rc) {
    return (rc & 0xff) == SQLITE_CORRUPT || (rc & 0xff) == SQLITE_NOTADB;
}

static void close_both(struct sqlite_store *s) {
    for (int i = 0; i < N_DO; i++) {
        sqlite3_finalize(s->doing[i]);
        s->doing[i] = NULL;
    }
    sqlite3_finalize(s->get);
    s->get = NULL;
    sqlite3_close(s->reader);
    sqlite3_close(s->writer);
    s->reader = s->writer = NULL;
    s->in_batch = false;
    pthread_cond_broadcast(&s->between);
}

static int open_one(const struct sqlite_store *s, int wait_ms, sqlite3 **db) {
    const int rc = sqlite3_open_v2(
        s->path, db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW, NULL);
    if (rc == SQLITE_OK) sqlite3_busy_timeout(*db, wait_ms);
    return rc;
}

/* SQLITE_OK, or why not. */
static int open_both(struct sqlite_store *s, struct err *e) {
    if (os_make_private(s->path, e) != 0) return SQLITE_CANTOPEN;
    int rc = open_one(s, WRITE_MS, &s->writer);
    if (rc == SQLITE_OK) rc = sqlite3_exec(s->writer, schema, NULL, NULL, NULL);
    for (int i = 0; rc == SQLITE_OK && i < N_DO; i++)
        rc = sqlite3_prepare_v3(s->writer, sql[i], -1, SQLITE_PREPARE_PERSISTENT, &s->doing[i],
                                NULL);
    if (rc != SQLITE_OK) {
        say(s->writer, s->path, e);
        return rc;
    }
    rc = open_one(s, READ_MS, &s->reader);
    if (rc == SQLITE_OK)
        rc = sqlite3_exec(s->reader, "PRAGMA query_only=ON; PRAGMA trusted_schema=OFF;", NULL, NULL,
                          NULL);
    if (rc == SQLITE_OK)
        rc = sqlite3_prepare_v3(s->reader, "SELECT value FROM answer WHERE key = ?1", -1,
                                SQLITE_PREPARE_PERSISTENT, &s->get, NULL);
    if (rc != SQLITE_OK) say(s->reader, s->path, e);
    return rc;
}

/* The log of a file that is no longer there would be taken for that of the next. */
static int move_aside(const struct sqlite_store *s, const char *why, struct err *e) {
    static const char *const part[] = {"-wal", "-shm"};
    char other[PATH + 16];
    log_msg(LOG_WARN, "%s; it is kept as %s.damaged", why, s->path);
    snprintf(other, sizeof other, "%s.damaged", s->path);
    if (rename(s->path, other) != 0) return err_errno(e, s->path);
    for (size_t i = 0; i < sizeof part / sizeof *part; i++) {
        snprintf(other, sizeof other, "%s%s", s->path, part[i]);
        unlink(other);
    }
    return 0;
}

/* Both locks held, or nobody else knows s.  A damaged file makes place for an empty one. */
static int open_file(struct sqlite_store *s, struct err *e) {
    int rc = open_both(s, e);
    if (rc == SQLITE_OK) return 0;
    close_both(s);
    if (!is_damage(rc) || move_aside(s, e->msg, e) != 0) return -1;
    rc = open_both(s, e);
    if (rc != SQLITE_OK) close_both(s);
    return rc == SQLITE_OK ? 0 : -1;
}

/* After a call that gave rc: another file when this one is damaged, or is not open.  write_lock
 * held. */
static void heal(struct sqlite_store *s, int rc) {
    struct err e;
    if (!is_damage(rc) && s->writer) return;
    pthread_mutex_lock(&s->read_lock);
    close_both(s);
    if (!is_damage(rc) || move_aside(s, "answer cache: the file is damaged", &e) == 0)
        open_file(s, &e);
    pthread_mutex_unlock(&s->read_lock);
}

/* ---- writing; write_lock held ---- */

/* SQLITE_OK when a statement that gives no row was done. */
static int finish(sqlite3_stmt *st) {
    const int rc = sqlite3_step(st);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return rc == SQLITE_DONE ? SQLITE_OK : rc;
}

static int with_key(struct sqlite_store *s, int what, const uint8_t *key) {
    sqlite3_bind_blob(s->doing[what], 1, key, ANSWER_KEY_BYTES, SQLITE_STATIC);
    return finish(s->doing[what]);
}

/* The first two numbers of the row that a statement gives. */
static int numbers(sqlite3_stmt *st, int64_t *a, int64_t *b) {
    const int rc = sqlite3_step(st);
    if (rc == SQLITE_ROW) {
        *a = sqlite3_column_int64(st, 0);
        if (b) *b = sqlite3_column_int64(st, 1);
    }
    sqlite3_reset(st);
    return rc == SQLITE_ROW ? SQLITE_OK : rc;
}

/* Those whose time is over, then the least recently used until there is room for n_more bytes. */
static int make_room(struct sqlite_store *s, int64_t now_us, int64_t n_more, int64_t *n_gone) {
    int64_t n = 0, n_bytes = 0, id = 0;
    sqlite3_bind_int64(s->doing[DO_OLD], 1, now_us);
    int rc = finish(s->doing[DO_OLD]);
    if (rc == SQLITE_OK) *n_gone += sqlite3_changes(s->writer);
    while (rc == SQLITE_OK) {
        rc = numbers(s->doing[DO_TOTAL], &n, &n_bytes);
        if (rc != SQLITE_OK || n_bytes + n_more <= s->max_bytes) break;
        rc = numbers(s->doing[DO_NEXT], &id, NULL);
        if (rc == SQLITE_DONE) return SQLITE_OK; /* nothing is left */
        if (rc != SQLITE_OK) break;
        sqlite3_bind_int64(s->doing[DO_REMOVE], 1, id);
        rc = finish(s->doing[DO_REMOVE]);
        ++*n_gone;
    }
    return rc;
}

static int insert(struct sqlite_store *s, const struct answer_row *row) {
    sqlite3_stmt *st = s->doing[DO_PUT];
    sqlite3_bind_blob(st, 1, row->key, ANSWER_KEY_BYTES, SQLITE_STATIC);
    sqlite3_bind_text(st, 2, row->model, -1, SQLITE_STATIC);
    sqlite3_bind_int64(st, 3, row->expires_us);
    sqlite3_bind_int64(st, 4, row->now_us);
    sqlite3_bind_int64(st, 5, (sqlite3_int64)row->sealed.n + ROW_BYTES);
    sqlite3_bind_blob64(st, 6, row->sealed.p, row->sealed.n, SQLITE_STATIC);
    return finish(st);
}

/* Unlocks; *what begins the error. */
static int leave(struct sqlite_store *s, int rc, const char *what, struct err *e) {
    if (rc != SQLITE_OK) say(s->writer, what, e);
    if (rc != SQLITE_OK) heal(s, rc);
    pthread_mutex_unlock(&s->write_lock);
    return rc == SQLITE_OK ? 0 : -1;
}

/* Locks.  False, unlocked: there is no file. */
static bool enter(struct sqlite_store *s, struct err *e) {
    pthread_mutex_lock(&s->write_lock);
    if (!s->writer) heal(s, SQLITE_OK);
    if (s->writer) return true;
    say(NULL, s->path, e);
    pthread_mutex_unlock(&s->write_lock);
    return false;
}

static int put(struct answer_store *base, const struct answer_row *row, int64_t *n_gone,
               struct err *e) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    const int64_t n_bytes = (int64_t)row->sealed.n + ROW_BYTES;
    if (n_bytes > s->max_bytes / 4)
        return err_set(e, ERR_LIMIT, "answer cache: an answer of %lld bytes; up to %lld are kept",
                       (long long)n_bytes, (long long)s->max_bytes / 4);
    if (!enter(s, e)) return -1;
    int rc = sqlite3_exec(s->writer, "SAVEPOINT put", NULL, NULL, NULL);
    if (rc == SQLITE_OK) rc = with_key(s, DO_DELETE, row->key);
    if (rc == SQLITE_OK) rc = make_room(s, row->now_us, n_bytes, n_gone);
    if (rc == SQLITE_OK) rc = insert(s, row);
    if (rc != SQLITE_OK) sqlite3_exec(s->writer, "ROLLBACK TO put", NULL, NULL, NULL);
    const int end = sqlite3_exec(s->writer, "RELEASE put", NULL, NULL, NULL);
    return leave(s, rc == SQLITE_OK ? end : rc, "write", e);
}

static int touch(struct answer_store *base, const uint8_t *key, int64_t now_us, struct err *e) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    if (!enter(s, e)) return -1;
    sqlite3_bind_int64(s->doing[DO_TOUCH], 2, now_us);
    return leave(s, with_key(s, DO_TOUCH, key), "write", e);
}

static int remove_one(struct answer_store *base, const uint8_t *key, struct err *e) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    if (!enter(s, e)) return -1;
    return leave(s, with_key(s, DO_DELETE, key), "remove", e);
}

/* The pages are zeros then (secure_delete); the log is, too, once it is cut, for which nobody may
 * be reading.  Between batches: within one nothing is removed before it is committed. */
static int drop(struct answer_store *base, const struct answer_filter *f, int64_t *n,
                struct err *e) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    sqlite3_stmt *st = NULL;
    if (!enter(s, e)) return -1;
    for (s->n_drop++; s->in_batch;)
        pthread_cond_wait(&s->between, &s->write_lock);
    s->n_drop--;
    pthread_cond_broadcast(&s->between);
    if (!s->writer) return leave(s, SQLITE_CANTOPEN, "remove", e);
    int rc = sqlite3_prepare_v2(s->writer,
                                "DELETE FROM answer WHERE (?1 IS NULL OR"
                                " substr(lower(hex(key)), 1, length(?1)) = ?1)"
                                " AND (?2 IS NULL OR model = ?2)",
                                -1, &st, NULL);
    if (rc == SQLITE_OK) {
        if (f->prefix) sqlite3_bind_text(st, 1, f->prefix, -1, SQLITE_STATIC);
        if (f->model) sqlite3_bind_text(st, 2, f->model, -1, SQLITE_STATIC);
        rc = finish(st);
        *n = sqlite3_changes(s->writer);
    }
    sqlite3_finalize(st);
    if (rc == SQLITE_OK) {
        pthread_mutex_lock(&s->read_lock);
        sqlite3_wal_checkpoint_v2(s->writer, NULL, SQLITE_CHECKPOINT_TRUNCATE, 0, 0);
        pthread_mutex_unlock(&s->read_lock);
    }
    return leave(s, rc, "remove", e);
}

static int count(struct answer_store *base, struct answer_count *out, struct err *e) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    if (!enter(s, e)) return -1;
    return leave(s, numbers(s->doing[DO_TOTAL], &out->n, &out->n_bytes), "read", e);
}

static int batch(struct answer_store *base, bool begin, struct err *e) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    if (!enter(s, e)) return -1;
    while (begin && s->n_drop)
        pthread_cond_wait(&s->between, &s->write_lock);
    const int rc = sqlite3_exec(s->writer, begin ? "BEGIN IMMEDIATE" : "COMMIT", NULL, NULL, NULL);
    s->in_batch = begin && rc == SQLITE_OK;
    pthread_cond_broadcast(&s->between);
    if (rc != SQLITE_OK && !begin) sqlite3_exec(s->writer, "ROLLBACK", NULL, NULL, NULL);
    return leave(s, rc, "write", e);
}

/* ---- reading ---- */

static int get(struct answer_store *base, const uint8_t *key, struct buf *out, struct err *e) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    pthread_mutex_lock(&s->read_lock);
    int rc = SQLITE_DONE;
    if (s->get) {
        sqlite3_bind_blob(s->get, 1, key, ANSWER_KEY_BYTES, SQLITE_STATIC);
        rc = sqlite3_step(s->get);
        if (rc == SQLITE_ROW) {
            const void *p = sqlite3_column_blob(s->get, 0);
            buf_append(out, p ? p : "", (size_t)sqlite3_column_bytes(s->get, 0));
        }
        if (rc != SQLITE_ROW && rc != SQLITE_DONE) say(s->reader, "read", e);
        sqlite3_reset(s->get);
        sqlite3_clear_bindings(s->get);
    }
    pthread_mutex_unlock(&s->read_lock);
    if (rc == SQLITE_DONE) return 0;
    if (rc == SQLITE_ROW) return out->failed ? err_nomem(e, "answer cache") : 1;
    pthread_mutex_lock(&s->write_lock);
    heal(s, rc);
    pthread_mutex_unlock(&s->write_lock);
    return -1;
}

/* ---- beginning and end ---- */

static void close_store(struct answer_store *base) {
    struct sqlite_store *s = (struct sqlite_store *)base;
    close_both(s);
    pthread_mutex_destroy(&s->read_lock);
    pthread_mutex_destroy(&s->write_lock);
    pthread_cond_destroy(&s->between);
    free(s);
}

static int find_folder(struct sqlite_store *s, const char *folder, struct err *e) {
    char own[PATH - 32];
    const char *home = getenv("HOME");
    if (folder && *folder)
        snprintf(own, sizeof own, "%s", folder);
    else if (home && *home)
        snprintf(own, sizeof own, "%s/.cria", home);
    else
        return err_set(e, ERR_USAGE, "answer cache: HOME is not set");
    if (mkdir(own, 0700) != 0 && errno != EEXIST) return err_errno(e, own);
    snprintf(s->path, sizeof s->path, "%s/answers.db", own);
    return 0;
}

static const struct answer_store_ops ops = {.name = "sqlite",
                                            .get = get,
                                            .put = put,
                                            .touch = touch,
                                            .remove = remove_one,
                                            .drop = drop,
                                            .count = count,
                                            .batch = batch,
                                            .close = close_store};

struct answer_store *answer_store_sqlite(const char *folder, uint64_t max_bytes, struct err *e) {
    struct sqlite_store *s = calloc(1, sizeof *s);
    if (!s) {
        err_nomem(e, "answer cache");
        return NULL;
    }
    s->base.ops = &ops;
    s->max_bytes = max_bytes < INT64_MAX ? (int64_t)max_bytes : INT64_MAX;
    pthread_mutex_init(&s->write_lock, NULL);
    pthread_cond_init(&s->between, NULL);
    pthread_mutex_init(&s->read_lock, NULL);
    if (find_folder(s, folder, e) == 0 && open_file(s, e) == 0) return &s->base;
    close_store(&s->base);
    return NULL;
}
