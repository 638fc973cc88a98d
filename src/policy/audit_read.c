/* See audit_read.h.  What is read is what was there when it was opened: in SQLite by a transaction,
 * of lines up to the size that each file had. */
#include "policy/audit_read.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "policy/audit_store.h"

enum { BUSY_MS = 5000 };

struct audit_reader {
    char path[AUDIT_PATH], name[AUDIT_PATH];
    bool head_known;
    uint64_t head;
    uint8_t head_hash[SHA256_BYTES];
    /* Lines. */
    uint64_t *segment; /* [n_segment], owned; then the file itself */
    int n_segment, i_segment;
    FILE *in;
    char *line;
    size_t cap;
    long n_line;
    uint64_t left;   /* bytes of this file that were there */
    uint64_t memory; /* all of them, when it is in memory */
    /* SQLite. */
    sqlite3 *db;
    sqlite3_stmt *rows;
};

/* ---- SQLite ---- */

static int sql_error(const struct audit_reader *r, struct err *e) {
    const int rc = sqlite3_errcode(r->db) & 0xff;
    return err_set(e, rc == SQLITE_NOTADB || rc == SQLITE_CORRUPT ? ERR_FORMAT : ERR_IO, "%s: %s",
                   r->path, sqlite3_errmsg(r->db));
}

static void read_head(struct audit_reader *r) {
    sqlite3_stmt *st = NULL;
    if (sqlite3_prepare_v2(r->db, "SELECT seq, hash FROM head", -1, &st, NULL) == SQLITE_OK &&
        sqlite3_step(st) == SQLITE_ROW && sqlite3_column_bytes(st, 1) == SHA256_BYTES) {
        r->head = (uint64_t)sqlite3_column_int64(st, 0);
        memcpy(r->head_hash, sqlite3_column_blob(st, 1), SHA256_BYTES);
        r->head_known = true;
    }
    sqlite3_finalize(st);
}

static int open_table(struct audit_reader *r, struct err *e) {
    struct stat st;
    if (stat(r->path, &st) != 0) return err_errno(e, r->path);
    if (sqlite3_open_v2(r->path, &r->db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOMUTEX, NULL) !=
        SQLITE_OK)
        return sql_error(r, e);
    sqlite3_busy_timeout(r->db, BUSY_MS);
    if (sqlite3_exec(r->db, "PRAGMA trusted_schema=OFF; PRAGMA query_only=ON; BEGIN", NULL, NULL,
                     NULL) != SQLITE_OK ||
        sqlite3_prepare_v2(r->db, "SELECT seq, line FROM entry ORDER BY seq", -1, &r->rows, NULL) !=
            SQLITE_OK)
        return sql_error(r, e);
    read_head(r);
    return 0;
}

static int next_row(struct audit_reader *r, struct audit_item *out, struct err *e) {
    const int rc = sqlite3_step(r->rows);
    if (rc == SQLITE_DONE) return 0;
    if (rc != SQLITE_ROW) return sql_error(r, e);
    const char *text = (const char *)sqlite3_column_text(r->rows, 1);
    *out = (struct audit_item){.file = r->path, .ended = true};
    out->row = (uint64_t)sqlite3_column_int64(r->rows, 0);
    out->line = (struct str){text ? text : "", (size_t)sqlite3_column_bytes(r->rows, 1)};
    return 1;
}

/* ---- lines ---- */

static int open_file(struct audit_reader *r, struct err *e) {
    struct stat st;
    if (r->in) fclose(r->in);
    if (r->i_segment < r->n_segment)
        audit_segment_path(r->path, r->segment[r->i_segment], r->name);
    else
        snprintf(r->name, sizeof r->name, "%s", r->path);
    r->in = fopen(r->name, "re");
    r->n_line = 0;
    if (r->in && fstat(fileno(r->in), &st) == 0) {
        r->left = (uint64_t)st.st_size;
        return 0;
    }
    return err_errno(e, r->name);
}

static int next_line(struct audit_reader *r, struct audit_item *out, struct err *e) {
    ssize_t n;
    if (!r->in) return 0; /* nothing, in memory */
    while (r->left == 0 || (n = getline(&r->line, &r->cap, r->in)) <= 0) {
        if (ferror(r->in)) return err_errno(e, r->name);
        if (r->i_segment >= r->n_segment) return 0;
        r->i_segment++;
        if (open_file(r, e) != 0) return -1;
    }
    if ((uint64_t)n > r->left) n = (ssize_t)r->left; /* it has grown meanwhile */
    r->left -= (uint64_t)n;
    const bool ended = r->line[n - 1] == '\n';
    *out = (struct audit_item){.file = r->name, .n_line = ++r->n_line, .ended = ended};
    out->line = (struct str){r->line, (size_t)n - ended};
    return 1;
}

/* ---- both ---- */

struct audit_reader *audit_reader_open(const char *path, struct err *e) {
    struct audit_reader *r = calloc(1, sizeof *r);
    if (!r) {
        err_nomem(e, path);
        return NULL;
    }
    snprintf(r->path, sizeof r->path, "%s", path);
    int rc;
    if (audit_path_is_lines(path)) {
        /* First: what is written meanwhile is behind it. */
        r->head_known = audit_head_read(path, &r->head, r->head_hash);
        rc = audit_segments(path, &r->segment, &r->n_segment, e);
        if (rc == 0) rc = open_file(r, e);
    } else {
        rc = open_table(r, e);
    }
    if (rc == 0) return r;
    audit_reader_close(r);
    return NULL;
}

struct audit_reader *audit_reader_memory(struct str bytes, struct err *e) {
    struct audit_reader *r = calloc(1, sizeof *r);
    if (r && bytes.n) r->in = fmemopen((void *)(uintptr_t)bytes.p, bytes.n, "r");
    if (r && (r->in || !bytes.n)) {
        snprintf(r->name, sizeof r->name, "memory");
        r->left = r->memory = bytes.n;
        return r;
    }
    free(r);
    err_nomem(e, "audit");
    return NULL;
}

void audit_reader_close(struct audit_reader *r) {
    if (!r) return;
    sqlite3_finalize(r->rows);
    sqlite3_close(r->db);
    if (r->in) fclose(r->in);
    free(r->segment);
    free(r->line);
    free(r);
}

int audit_reader_next(struct audit_reader *r, struct audit_item *out, struct err *e) {
    return r->db ? next_row(r, out, e) : next_line(r, out, e);
}

int audit_reader_rewind(struct audit_reader *r, struct err *e) {
    if (r->db) return sqlite3_reset(r->rows) == SQLITE_OK ? 0 : sql_error(r, e);
    if (!r->path[0]) { /* it is in memory */
        r->left = r->memory;
        r->n_line = 0;
        if (r->in) rewind(r->in);
        return 0;
    }
    r->i_segment = 0;
    return open_file(r, e);
}

bool audit_reader_head_is_exact(const struct audit_reader *r) {
    return r->db != NULL;
}

bool audit_reader_head(struct audit_reader *r, uint64_t *seq, uint8_t hash[SHA256_BYTES]) {
    *seq = r->head;
    memcpy(hash, r->head_hash, SHA256_BYTES);
    return r->head_known;
}
