/* The audit log as an SQLite file: audit_store.h.  A batch is a transaction: after a crash it is
 * there or it is not, so nothing is ever torn. */
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/os.h"
#include "policy/audit_entry.h"
#include "policy/audit_store.h"

enum { BUSY_MS = 5000, WAL_PAGES = 4096 };

struct table {
    sqlite3 *db;
    sqlite3_stmt *add, *head; /* owned */
};

static int sql_error(const struct audit_store *s, struct err *e) {
    const struct table *t = s->data;
    const int rc = sqlite3_errcode(t->db);
    const enum err_code code = rc == SQLITE_NOMEM                            ? ERR_NOMEM
                               : rc == SQLITE_NOTADB || rc == SQLITE_CORRUPT ? ERR_FORMAT
                                                                             : ERR_IO;
    return err_set(e, code, "%s: %s", s->path, sqlite3_errmsg(t->db));
}

/* FULL: a commit that was told is on the disk.  secure_delete: what was pruned is gone from free
 * pages, too.  The WAL is brought over every 16 MiB: seldom enough that the pause of that commit is
 * none of the 99 %. */
static const char schema[] =
    "PRAGMA journal_mode=WAL; PRAGMA synchronous=FULL; PRAGMA secure_delete=ON;"
    "PRAGMA trusted_schema=OFF; PRAGMA journal_size_limit=33554432;"
    "CREATE TABLE IF NOT EXISTS entry (seq INTEGER PRIMARY KEY, line TEXT NOT NULL);"
    "CREATE TABLE IF NOT EXISTS head (one INTEGER PRIMARY KEY CHECK (one = 1),"
    " seq INTEGER NOT NULL, hash BLOB NOT NULL);";

/* The last two entries: does the last follow the one before, and is it the head's? */
static int read_end(struct audit_store *s, struct audit_end *end, struct err *e) {
    const struct table *t = s->data;
    sqlite3_stmt *st = NULL;
    struct audit_line l[2];
    struct buf text[2] = {{0}, {0}};
    sqlite3_int64 head = 0;
    int n = 0, rc = -1, step;
    if (sqlite3_prepare_v2(t->db, "SELECT line FROM entry ORDER BY seq DESC LIMIT 2", -1, &st,
                           NULL) != SQLITE_OK)
        return sql_error(s, e);
    while ((step = sqlite3_step(st)) == SQLITE_ROW && n < 2) {
        buf_append(&text[n], sqlite3_column_text(st, 0), (size_t)sqlite3_column_bytes(st, 0));
        if (!audit_line_parse(buf_view(&text[n]), &l[n])) break;
        n++;
    }
    sqlite3_finalize(st);
    if (step == SQLITE_ROW) {
        err_set(e, ERR_FORMAT, "%s: its last entry is damaged", s->path);
        goto done;
    }
    if (step != SQLITE_DONE ||
        sqlite3_prepare_v2(t->db, "SELECT seq FROM head", -1, &st, NULL) != SQLITE_OK) {
        sql_error(s, e);
        goto done;
    }
    if (sqlite3_step(st) == SQLITE_ROW) head = sqlite3_column_int64(st, 0);
    sqlite3_finalize(st);
    if (n == 2 && (l[0].seq != l[1].seq + 1 || !audit_line_follows(&l[0], l[1].hash))) {
        err_set(e, ERR_FORMAT, "%s: its last entry does not follow the one before", s->path);
    } else if (head != (sqlite3_int64)(n ? l[0].seq : 0)) {
        err_set(e, ERR_FORMAT, "%s: its head knows entry %lld, its last one is %llu", s->path,
                (long long)head, n ? (unsigned long long)l[0].seq : 0ull);
    } else {
        rc = 0;
        if (n) {
            end->seq = l[0].seq;
            end->stopped = audit_line_is(&l[0], "stop");
            end->hmac = l[0].hmac != NULL, end->sig = l[0].sig != NULL;
            memcpy(end->hash, l[0].hash, SHA256_BYTES);
        }
    }
done:
    buf_fini(&text[0]), buf_fini(&text[1]);
    return rc;
}

static int open_table(struct audit_store *s, struct audit_end *end, struct err *e) {
    struct table *t = calloc(1, sizeof *t);
    if (!t) return err_nomem(e, s->path);
    s->data = t;
    if (os_make_private(s->path, e) != 0) return -1;
    if (sqlite3_open_v2(s->path, &t->db,
                        SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX | SQLITE_OPEN_NOFOLLOW,
                        NULL) != SQLITE_OK)
        return sql_error(s, e);
    sqlite3_extended_result_codes(t->db, 0);
    sqlite3_busy_timeout(t->db, BUSY_MS);
    sqlite3_wal_autocheckpoint(t->db, WAL_PAGES);
    if (sqlite3_exec(t->db, schema, NULL, NULL, NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(t->db, "INSERT INTO entry (seq, line) VALUES (?1, ?2)", -1, &t->add,
                           NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(t->db, "INSERT OR REPLACE INTO head VALUES (1, ?1, ?2)", -1, &t->head,
                           NULL) != SQLITE_OK)
        return sql_error(s, e);
    return read_end(s, end, e);
}

static void close_table(struct audit_store *s) {
    struct table *t = s->data;
    sqlite3_finalize(t->add);
    sqlite3_finalize(t->head);
    sqlite3_close(t->db);
    free(t);
}

static int run(const struct audit_store *s, sqlite3_stmt *st, struct err *e) {
    const int rc = sqlite3_step(st) == SQLITE_DONE ? 0 : sql_error(s, e);
    sqlite3_reset(st);
    sqlite3_clear_bindings(st);
    return rc;
}

static int exec(const struct audit_store *s, const char *sql, struct err *e) {
    const struct table *t = s->data;
    return sqlite3_exec(t->db, sql, NULL, NULL, NULL) == SQLITE_OK ? 0 : sql_error(s, e);
}

static int append(struct audit_store *s, const struct buf *line, int n, uint64_t seq,
                  const uint8_t hash[SHA256_BYTES], struct err *e) {
    const struct table *t = s->data;
    if (exec(s, "BEGIN IMMEDIATE", e) != 0) return -1;
    int rc = 0;
    for (int i = 0; rc == 0 && i < n; i++) {
        sqlite3_bind_int64(t->add, 1, (sqlite3_int64)(seq - (uint64_t)(n - 1 - i)));
        sqlite3_bind_text64(t->add, 2, line[i].p, line[i].n, SQLITE_STATIC, SQLITE_UTF8);
        rc = run(s, t->add, e);
    }
    if (rc == 0) {
        sqlite3_bind_int64(t->head, 1, (sqlite3_int64)seq);
        sqlite3_bind_blob(t->head, 2, hash, SHA256_BYTES, SQLITE_STATIC);
        rc = run(s, t->head, e);
    }
    if (rc == 0) rc = exec(s, "COMMIT", e);
    if (rc != 0) sqlite3_exec(t->db, "ROLLBACK", NULL, NULL, NULL);
    return rc;
}

static int rotate(struct audit_store *s, uint64_t seq, struct err *e) {
    (void)s, (void)seq, (void)e;
    return 0;
}

static int drop(struct audit_store *s, uint64_t through, struct err *e) {
    char sql[80];
    snprintf(sql, sizeof sql, "DELETE FROM entry WHERE seq <= %llu", (unsigned long long)through);
    if (exec(s, sql, e) != 0) return -1;
    return exec(s, "PRAGMA wal_checkpoint(TRUNCATE)", e);
}

static uint64_t bytes(const struct audit_store *s) {
    struct stat st;
    return stat(s->path, &st) == 0 ? (uint64_t)st.st_size : 0;
}

const struct audit_store_kind audit_kind_sqlite = {.open = open_table,
                                                   .append = append,
                                                   .rotate = rotate,
                                                   .drop = drop,
                                                   .bytes = bytes,
                                                   .close = close_table};
