/* See keys_db.h. */
#include "policy/keys_db.h"

#include <errno.h>
#include <openssl/crypto.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/os.h"
#include "policy/keys_db_priv.h"

enum { BUSY_MS = 2000, APPLICATION = 0x43726b79 /* "Crky" */ };

/* ---- statements ---- */

int keys_db_error(struct keys_db *d, const char *what, struct err *e) {
    const int rc = sqlite3_errcode(d->db);
    const enum err_code code = rc == SQLITE_NOMEM                            ? ERR_NOMEM
                               : rc == SQLITE_NOTADB || rc == SQLITE_CORRUPT ? ERR_FORMAT
                                                                             : ERR_IO;
    return err_set(e, code, "%s: %s: %s", d->path, what, sqlite3_errmsg(d->db));
}

sqlite3_stmt *keys_db_prepare(struct keys_db *d, const char *sql) {
    sqlite3_stmt *st = NULL;
    return sqlite3_prepare_v2(d->db, sql, -1, &st, NULL) == SQLITE_OK ? st : NULL;
}

int keys_db_run(struct keys_db *d, sqlite3_stmt *st, const char *what, struct err *e) {
    const int rc = st ? sqlite3_step(st) : SQLITE_ERROR;
    const int bad = rc == SQLITE_DONE || rc == SQLITE_ROW ? 0 : keys_db_error(d, what, e);
    sqlite3_finalize(st);
    return bad;
}

int keys_db_exec(struct keys_db *d, const char *sql, const char *what, struct err *e) {
    return sqlite3_exec(d->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : keys_db_error(d, what, e);
}

static int get_int(struct keys_db *d, const char *sql, int *out) {
    sqlite3_stmt *st = keys_db_prepare(d, sql);
    const int rc = st ? sqlite3_step(st) : SQLITE_ERROR;
    if (rc == SQLITE_ROW) *out = sqlite3_column_int(st, 0);
    sqlite3_finalize(st);
    return rc == SQLITE_ROW ? 0 : -1;
}

/* ---- the file ---- */

int keys_db_path(const char *setting, char out[KEYS_DB_PATH], struct err *e) {
    const char *home = getenv("HOME");
    if (setting && *setting)
        snprintf(out, KEYS_DB_PATH, "%s", setting);
    else if (home && *home)
        snprintf(out, KEYS_DB_PATH, "%s/.cria/keys.db", home);
    else
        return err_set(e, ERR_USAGE, "keys: HOME is not set; CRIA_KEYS names a file");
    return 0;
}

static int make_folder(const char *path, struct err *e) {
    char folder[KEYS_DB_PATH];
    snprintf(folder, sizeof folder, "%s", path);
    char *slash = strrchr(folder, '/');
    if (!slash || slash == folder) return 0;
    *slash = 0;
    return mkdir(folder, 0700) == 0 || errno == EEXIST ? 0 : err_errno(e, folder);
}

/* usage: what was done on a day (days since 1970, UTC).  quota: what is used up of today, counted
 * when a request begins.  Both are left when a key is removed. */
static const char schema[] =
    "CREATE TABLE IF NOT EXISTS api_key (name TEXT PRIMARY KEY, hash BLOB NOT NULL UNIQUE,"
    " rights INTEGER NOT NULL, models TEXT, rpm INTEGER NOT NULL, tpm INTEGER NOT NULL,"
    " concurrent INTEGER NOT NULL, daily_requests INTEGER NOT NULL, daily_tokens INTEGER NOT NULL,"
    " priority INTEGER NOT NULL, created INTEGER NOT NULL, expires INTEGER NOT NULL,"
    " disabled INTEGER NOT NULL);"
    "CREATE TABLE IF NOT EXISTS usage (key TEXT NOT NULL, day INTEGER NOT NULL, model TEXT NOT"
    " NULL, requests INTEGER NOT NULL, refused INTEGER NOT NULL, errors INTEGER NOT NULL,"
    " prompt_tokens INTEGER NOT NULL, tokens INTEGER NOT NULL, PRIMARY KEY (key, day, model))"
    " WITHOUT ROWID;"
    "CREATE TABLE IF NOT EXISTS quota (key TEXT PRIMARY KEY, day INTEGER NOT NULL, requests"
    " INTEGER NOT NULL, tokens INTEGER NOT NULL) WITHOUT ROWID;";

/* Ours, or empty: no table is put into another program's database. */
static int check_owner(struct keys_db *d, struct err *e) {
    int id = 0, n = 0;
    if (get_int(d, "PRAGMA application_id", &id) != 0 ||
        get_int(d, "SELECT count(*) FROM sqlite_schema", &n) != 0)
        return keys_db_error(d, "open", e);
    if (id == APPLICATION || (n == 0 && !d->read_only)) return 0;
    return err_set(e, ERR_FORMAT, "%s: no database of keys; `cria keys add` makes one", d->path);
}

static int set_up(struct keys_db *d, struct err *e) {
    char mark[64];
    sqlite3_busy_timeout(d->db, BUSY_MS);
    if (keys_db_exec(d, "PRAGMA trusted_schema=OFF", "open", e) != 0 || check_owner(d, e) != 0)
        return -1;
    if (d->read_only) return 0;
    snprintf(mark, sizeof mark, "PRAGMA application_id=%d", APPLICATION);
    if (keys_db_exec(d,
                     "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL; PRAGMA secure_delete=ON;"
                     "PRAGMA journal_size_limit=1048576",
                     "open", e) != 0 ||
        keys_db_exec(d, mark, "open", e) != 0)
        return -1;
    return keys_db_exec(d, schema, "open", e);
}

static int open_as(struct keys_db *d, bool read_only, struct err *e) {
    const int how = (read_only ? SQLITE_OPEN_READONLY : SQLITE_OPEN_READWRITE) |
                    SQLITE_OPEN_FULLMUTEX | SQLITE_OPEN_NOFOLLOW;
    int rc = sqlite3_open_v2(d->path, &d->db, how, NULL);
    d->read_only = read_only || (rc == SQLITE_OK && sqlite3_db_readonly(d->db, "main") == 1);
    if (rc == SQLITE_OK && set_up(d, e) == 0) return 0;
    if (rc != SQLITE_OK) keys_db_error(d, "open", e);
    sqlite3_close(d->db);
    d->db = NULL;
    return -1;
}

struct keys_db *keys_db_open(const char *path, bool create, struct err *e) {
    struct stat st;
    struct keys_db *d = calloc(1, sizeof *d);
    if (!d) {
        err_nomem(e, "keys");
        return NULL;
    }
    snprintf(d->path, sizeof d->path, "%s", path);
    if (create && (make_folder(path, e) != 0 || os_make_private(path, e) != 0)) goto fail;
    if (stat(path, &st) != 0) {
        err_errno(e, path);
        goto fail;
    }
    if (st.st_size == 0 && !create) {
        err_set(e, ERR_FORMAT, "%s: an empty file; `cria keys add` makes a key", path);
        goto fail;
    }
    d->dev = st.st_dev, d->ino = st.st_ino;
    if (open_as(d, access(path, W_OK) != 0, e) != 0) goto fail;
    get_int(d, "PRAGMA data_version", &d->version);
    return d;
fail:
    keys_db_close(d);
    return NULL;
}

void keys_db_close(struct keys_db *d) {
    if (!d) return;
    sqlite3_close(d->db);
    free(d);
}

bool keys_db_read_only(const struct keys_db *d) {
    return d->read_only;
}

bool keys_db_changed(struct keys_db *d) {
    int now = d->version;
    if (get_int(d, "PRAGMA data_version", &now) != 0) return false;
    const bool changed = now != d->version;
    d->version = now;
    return changed;
}

void keys_db_unread(struct keys_db *d) {
    d->version--; /* any other than the file's */
}

bool keys_db_replaced(const struct keys_db *d) {
    struct stat st;
    return stat(d->path, &st) != 0 || st.st_dev != d->dev || st.st_ino != d->ino;
}

/* ---- reading ---- */

#define COLUMNS                                                                                    \
    "name, hash, rights, models, rpm, tpm, concurrent, daily_requests, daily_tokens, priority,"    \
    " created, expires, disabled"

static bool in(int64_t v, int64_t max) {
    return v >= 0 && v <= max;
}

static bool is_sound(const struct key *k) {
    const struct key_quota *q = &k->quota;
    return !keys_check_name(k->name) && in(q->rpm, KEY_RPM_MAX) && in(q->tpm, KEY_TPM_MAX) &&
           in(q->concurrent, INT32_MAX) && in(q->daily_requests, KEY_DAILY_MAX) &&
           in(q->daily_tokens, KEY_DAILY_MAX) && (unsigned)k->class < N_KEY_CLASS &&
           (!k->models || !keys_check_models(k->models));
}

/* k->models is the caller's. */
static int read_row(struct keys_db *d, sqlite3_stmt *st, struct key *k, struct err *e) {
    const char *name = (const char *)sqlite3_column_text(st, 0);
    const char *models = (const char *)sqlite3_column_text(st, 3);
    const void *hash = sqlite3_column_blob(st, 1);
    const bool whole = name && hash && sqlite3_column_bytes(st, 1) == SHA256_BYTES;
    *k = (struct key){.rights = (unsigned)sqlite3_column_int(st, 2),
                      .quota = {sqlite3_column_int64(st, 4), sqlite3_column_int64(st, 5),
                                sqlite3_column_int64(st, 6), sqlite3_column_int64(st, 7),
                                sqlite3_column_int64(st, 8)},
                      .class = (enum key_class)sqlite3_column_int(st, 9),
                      .created_s = sqlite3_column_int64(st, 10),
                      .expires_s = sqlite3_column_int64(st, 11),
                      .disabled = sqlite3_column_int(st, 12) != 0};
    if (whole) {
        snprintf(k->name, sizeof k->name, "%s", name);
        memcpy(k->hash, hash, SHA256_BYTES);
        k->models = models ? strdup(models) : NULL;
        if (models && !k->models) return err_nomem(e, d->path);
        if (strlen(name) == strlen(k->name) && is_sound(k)) return 0;
    }
    free(k->models);
    k->models = NULL;
    return err_set(e, ERR_FORMAT, "%s: the row of key \"%.80s\" is damaged", d->path,
                   name ? name : "");
}

int keys_db_load(struct keys_db *d, struct keys *out, struct err *e) {
    sqlite3_stmt *st = keys_db_prepare(d, "SELECT " COLUMNS " FROM api_key ORDER BY name");
    int step = SQLITE_ERROR, rc = 0;
    while (rc == 0 && st && (step = sqlite3_step(st)) == SQLITE_ROW) {
        struct key k;
        rc = read_row(d, st, &k, e);
        if (rc == 0) rc = keys_put(out, &k, e);
    }
    if (rc == 0 && step != SQLITE_DONE) rc = keys_db_error(d, "read", e);
    sqlite3_finalize(st);
    return rc;
}

/* ---- writing ---- */

static int make_secret(struct key *k, char text[KEY_TEXT], struct err *e) {
    uint8_t secret[SHA256_BYTES];
    if (getrandom(secret, sizeof secret, 0) != sizeof secret) return err_errno(e, "getrandom");
    memcpy(text, "cria_", 5);
    for (size_t i = 0; i < sizeof secret; i++)
        snprintf(text + 5 + 2 * i, 3, "%02x", secret[i]);
    OPENSSL_cleanse(secret, sizeof secret);
    return keys_hash(str_of(text), k->hash) == 0 ? 0 : err_nomem(e, "key");
}

static void bind(sqlite3_stmt *st, const struct key *k) {
    const int64_t v[] = {k->quota.rpm,
                         k->quota.tpm,
                         k->quota.concurrent,
                         k->quota.daily_requests,
                         k->quota.daily_tokens,
                         k->class,
                         k->created_s,
                         k->expires_s,
                         k->disabled};
    if (!st) return;
    sqlite3_bind_text(st, 1, k->name, -1, SQLITE_STATIC);
    sqlite3_bind_blob(st, 2, k->hash, SHA256_BYTES, SQLITE_STATIC);
    sqlite3_bind_int64(st, 3, k->rights);
    sqlite3_bind_text(st, 4, k->models, -1, SQLITE_STATIC); /* NULL: NULL */
    for (int i = 0; i < (int)(sizeof v / sizeof *v); i++)
        sqlite3_bind_int64(st, 5 + i, v[i]);
}

static int no_key(const char *name, struct err *e) {
    return err_set(e, ERR_NOT_FOUND, "key \"%.63s\" not found; `cria keys list` shows them", name);
}

int keys_db_add(struct keys_db *d, struct key *k, char text[KEY_TEXT], struct err *e) {
    if (d->read_only) return err_set(e, ERR_IO, "%s: may only be read", d->path);
    if (make_secret(k, text, e) != 0) return -1;
    k->created_s = (int64_t)time(NULL);
    sqlite3_stmt *st = keys_db_prepare(d, "INSERT INTO api_key (" COLUMNS
                                          ") VALUES (?1,?2,?3,?4,?5,?6,?7,?8,?9,?10,?11,?12,?13)"
                                          " ON CONFLICT (name) DO NOTHING");
    bind(st, k);
    if (keys_db_run(d, st, "write", e) != 0) return -1;
    if (sqlite3_changes(d->db) == 1) return 0;
    return err_set(e, ERR_USAGE, "key \"%s\" is there already; `cria keys set` changes it",
                   k->name);
}

static int read_one(struct keys_db *d, const char *name, struct key *k, struct err *e) {
    sqlite3_stmt *st = keys_db_prepare(d, "SELECT " COLUMNS " FROM api_key WHERE name = ?1");
    if (st) sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    const int step = st ? sqlite3_step(st) : SQLITE_ERROR;
    const int rc = step == SQLITE_ROW    ? read_row(d, st, k, e)
                   : step == SQLITE_DONE ? no_key(name, e)
                                         : keys_db_error(d, "read", e);
    sqlite3_finalize(st);
    return rc;
}

static int update(struct keys_db *d, const struct key *k, struct err *e) {
    sqlite3_stmt *st = keys_db_prepare(
        d, "UPDATE api_key SET hash=?2, rights=?3, models=?4, rpm=?5, tpm=?6, concurrent=?7,"
           " daily_requests=?8, daily_tokens=?9, priority=?10, created=?11, expires=?12,"
           " disabled=?13 WHERE name=?1");
    bind(st, k);
    return keys_db_run(d, st, "write", e);
}

int keys_db_set(struct keys_db *d, const char *name, keys_db_change_fn *fn, void *ctx,
                char text[KEY_TEXT], struct err *e) {
    struct key k = {0};
    if (d->read_only) return err_set(e, ERR_IO, "%s: may only be read", d->path);
    if (keys_db_exec(d, "BEGIN IMMEDIATE", "write", e) != 0) return -1;
    int rc = read_one(d, name, &k, e);
    if (rc == 0) rc = fn(ctx, &k, e);
    if (rc == 0 && text) rc = make_secret(&k, text, e);
    if (rc == 0) rc = update(d, &k, e);
    if (rc == 0) rc = keys_db_exec(d, "COMMIT", "write", e);
    if (rc != 0) sqlite3_exec(d->db, "ROLLBACK", NULL, NULL, NULL);
    free(k.models);
    return rc;
}

int keys_db_remove(struct keys_db *d, const char *name, struct err *e) {
    if (d->read_only) return err_set(e, ERR_IO, "%s: may only be read", d->path);
    sqlite3_stmt *st = keys_db_prepare(d, "DELETE FROM api_key WHERE name = ?1");
    if (st) sqlite3_bind_text(st, 1, name, -1, SQLITE_STATIC);
    if (keys_db_run(d, st, "write", e) != 0) return -1;
    return sqlite3_changes(d->db) == 1 ? 0 : no_key(name, e);
}
