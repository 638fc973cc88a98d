/* See audit_rig.h. */
#include "audit_rig.h"

#include <fcntl.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

const char *audit_at(const char *dir, const char *name) {
    static char ring[8][900];
    static int i;
    char *out = ring[i++ % 8];
    snprintf(out, sizeof ring[0], "%s/%s", dir, name);
    return out;
}

void audit_place_open(struct audit_place *p, const char *name) {
    p->dir = temp_folder();
    snprintf(p->file, sizeof p->file, "%s/%s", p->dir, name);
    snprintf(p->set, sizeof p->set, "CRIA_AUDIT_FILE=%s", p->file);
    snprintf(p->config, sizeof p->config, "%s/conf", p->dir);
    snprintf(p->use, sizeof p->use, "CRIA_CONFIG=%s", p->config);
}

void audit_place_config(const struct audit_place *p, const char *text) {
    audit_text_file(p->config, text);
}

void audit_place_close(struct audit_place *p) {
    temp_remove(p->dir);
}

void audit_text_file(const char *path, const char *text) {
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    fputs(text, f);
    fclose(f);
}

void audit_add(struct audit *a, int i) {
    struct audit_entry x;
    struct err e = {0};
    audit_entry_begin(&x, "request");
    snprintf(x.id, sizeof x.id, "id%d", i);
    audit_text(&x.text, "id", x.id);
    audit_number(&x.text, "number", i);
    struct audit_ticket *t = audit_put_ticket(a, &x, &e);
    if (!t || audit_wait(a, t, 20000, &e) != 0) fail_msg("%s", e.msg);
    audit_ticket_free(a, t);
}

void audit_make(const char *file, int n, const struct audit_opts *o) {
    struct audit_opts mine = o ? *o : (struct audit_opts){0};
    struct err e = {0};
    mine.file = file;
    mine.what = "test";
    mine.required = true;
    struct audit *a = audit_open(&mine, &e);
    if (!a) fail_msg("%s", e.msg);
    for (int i = 0; i < n; i++)
        audit_add(a, i);
    audit_close(a);
}

struct audit_verdict audit_check(const char *file, const struct audit_keys *k) {
    struct audit_verdict v = {0};
    struct err e = {0};
    struct audit_reader *r = audit_reader_open(file, &e);
    if (!r || audit_verify(r, k, NULL, &v, &e) != 0) fail_msg("%s", e.msg);
    audit_reader_close(r);
    return v;
}

void audit_is_whole(const char *file, uint64_t first, uint64_t last) {
    const struct audit_verdict v = audit_check(file, NULL);
    if (!v.whole) fail_msg("%s", v.what);
    assert_int_equal(v.first, first);
    assert_int_equal(v.last, last);
}

void audit_is_bad(const char *file, uint64_t seq, const char *what) {
    const struct audit_verdict v = audit_check(file, NULL);
    if (v.whole) fail_msg("%s: taken for whole: %s", file, what);
    if (v.bad_seq != seq)
        fail_msg("%s: entry %llu was named, not %llu: %s", what, (unsigned long long)v.bad_seq,
                 (unsigned long long)seq, v.what);
}

/* ---- from outside ---- */

static bool is_lines(const char *file) {
    return strcmp(file + strlen(file) - 6, ".jsonl") == 0;
}

static sqlite3 *open_db(const char *file) {
    sqlite3 *db;
    assert_int_equal(sqlite3_open(file, &db), SQLITE_OK);
    return db;
}

void audit_load(const char *file, struct audit_text *t) {
    struct audit_item i;
    struct err e = {0};
    struct audit_reader *r = audit_reader_open(file, &e);
    *t = (struct audit_text){0};
    assert_non_null(r);
    while (audit_reader_next(r, &i, &e) == 1) {
        t->line = realloc(t->line, (size_t)(t->n + 1) * sizeof *t->line);
        assert_non_null(t->line);
        t->line[t->n] = (struct buf){0};
        buf_append(&t->line[t->n++], i.line.p, i.line.n);
    }
    audit_reader_close(r);
}

static void store_rows(const char *file, const struct audit_text *t) {
    sqlite3 *db = open_db(file);
    sqlite3_stmt *st;
    sqlite3_exec(db, "BEGIN; DELETE FROM entry", NULL, NULL, NULL);
    assert_int_equal(
        sqlite3_prepare_v2(db, "INSERT OR REPLACE INTO entry VALUES (?1, ?2)", -1, &st, NULL), 0);
    uint64_t row = 0;
    for (int i = 0; i < t->n; i++) {
        struct audit_line l;
        /* Somebody careful: rows ascend and have their entry's number where that goes. */
        const bool good = audit_line_parse(buf_view(&t->line[i]), &l);
        row = good && l.seq > row ? l.seq : row + 1;
        sqlite3_bind_int64(st, 1, (sqlite3_int64)row);
        sqlite3_bind_text64(st, 2, t->line[i].p, t->line[i].n, SQLITE_STATIC, SQLITE_UTF8);
        assert_int_equal(sqlite3_step(st), SQLITE_DONE);
        sqlite3_reset(st);
    }
    sqlite3_finalize(st);
    assert_int_equal(sqlite3_exec(db, "COMMIT", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
}

void audit_store_text(const char *file, const struct audit_text *t) {
    if (!is_lines(file)) {
        store_rows(file, t);
        return;
    }
    FILE *f = fopen(file, "w");
    assert_non_null(f);
    for (int i = 0; i < t->n; i++)
        fprintf(f, "%.*s\n", (int)t->line[i].n, t->line[i].p);
    fclose(f);
}

void audit_text_free(struct audit_text *t) {
    for (int i = 0; i < t->n; i++)
        buf_fini(&t->line[i]);
    free(t->line);
    *t = (struct audit_text){0};
}

void audit_make_key(const char *dir, const char *name, const char *algorithm) {
    char path[1000];
    EVP_PKEY *key = strcmp(algorithm, "RSA") == 0
                        ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)
                        : EVP_PKEY_Q_keygen(NULL, NULL, algorithm);
    assert_non_null(key);
    snprintf(path, sizeof path, "%s/%s.pem", dir, name);
    FILE *f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_PrivateKey(f, key, NULL, NULL, 0, NULL, NULL), 1);
    fclose(f);
    snprintf(path, sizeof path, "%s/%s.pub.pem", dir, name);
    f = fopen(path, "w");
    assert_non_null(f);
    assert_int_equal(PEM_write_PUBKEY(f, key), 1);
    fclose(f);
    EVP_PKEY_free(key);
}
