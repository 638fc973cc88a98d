/* See keep.h. */
#include "server/keep.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "policy/audit_store.h"
#include "server/settings.h"
#include "store/store.h"

enum { PATH = 4096, BUSY_MS = 5000, PREFIX_HEX = 32 };

/* ---- where ---- */

static void at_home(const char *name, char out[PATH]) {
    const char *home = getenv("HOME");
    snprintf(out, PATH, "%s/.cria/%s", home ? home : "", name);
}

static void responses_path(const struct settings *t, char out[PATH]) {
    if (*t->responses)
        snprintf(out, PATH, "%s/responses.db", t->responses);
    else
        at_home("responses.db", out);
}

static bool prefix_path(char out[PATH]) {
    char folder[PATH];
    const char *v = os_setting("CACHE", folder, sizeof folder);
    snprintf(out, PATH, "%s", v ? v : "");
    return v != NULL;
}

/* ---- how much ---- */

struct sum {
    uint64_t bytes;
    long n;
};

static void add_file(struct sum *s, const char *path, const char *behind) {
    char name[PATH + 32];
    struct stat st;
    snprintf(name, sizeof name, "%s%s", path, behind);
    if (lstat(name, &st) != 0 || !S_ISREG(st.st_mode)) return;
    s->bytes += (uint64_t)st.st_size;
    s->n++;
}

static struct sum sum_database(const char *path) {
    struct sum s = {0};
    add_file(&s, path, "");
    add_file(&s, path, "-wal");
    return s;
}

static struct sum sum_audit(const char *path) {
    struct sum s = sum_database(path);
    uint64_t *seq = NULL;
    int n = 0;
    char name[AUDIT_PATH];
    if (audit_segments(path, &seq, &n, NULL) == 0)
        for (int i = 0; i < n; i++) {
            audit_segment_path(path, seq[i], name);
            add_file(&s, name, "");
        }
    free(seq);
    return s;
}

/* Is it one of the prefix cache's (engine/prefix_disk.c)? */
static bool is_prefix_file(const char *name) {
    if (strncmp(name, "tmp-", 4) == 0) return true;
    if (strspn(name, "0123456789abcdef") != PREFIX_HEX) return false;
    return strcmp(name + PREFIX_HEX, ".kv") == 0 || strcmp(name + PREFIX_HEX, ".id") == 0;
}

/* fn for each file of a folder whose name `is`; -1 with errno: it cannot be read. */
static int each_file(const char *folder, bool (*is)(const char *), struct sum *s, bool remove) {
    DIR *d = opendir(folder);
    if (!d) return errno == ENOENT ? 0 : -1;
    int rc = 0;
    for (struct dirent *x; (x = readdir(d));) {
        struct stat st;
        if (!is(x->d_name) || fstatat(dirfd(d), x->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(st.st_mode))
            continue;
        if (remove && unlinkat(dirfd(d), x->d_name, 0) != 0) {
            rc = errno == ENOENT ? rc : -1;
            continue;
        }
        s->bytes += (uint64_t)st.st_size;
        s->n++;
    }
    closedir(d);
    return rc;
}

static bool is_any(const char *name) {
    (void)name;
    return true;
}

/* Runs that were broken off: folders "train-..." of the store. */
static struct sum sum_checkpoints(const char *ours) {
    struct sum s = {0};
    DIR *d = opendir(ours);
    for (struct dirent *x; d && (x = readdir(d));) {
        char folder[PATH + 300];
        snprintf(folder, sizeof folder, "%s/%s", ours, x->d_name);
        if (strncmp(x->d_name, "train-", 6) == 0) each_file(folder, is_any, &s, false);
    }
    if (d) closedir(d);
    return s;
}

/* ---- the list ---- */

static void add_row(json_t *list, const char *what, const char *path, const struct sum *s,
                    uint64_t max_bytes, int64_t max_age_s, const char *wipe) {
    json_t *o = json_pack("{s:s, s:s?, s:I, s:i}", "what", what, "path", path, "bytes",
                          (json_int_t)s->bytes, "files", (int)s->n);
    json_object_set_new(o, "max_bytes",
                        max_bytes ? json_integer((json_int_t)max_bytes) : json_null());
    json_object_set_new(o, "max_age_s", max_age_s ? json_integer(max_age_s) : json_null());
    json_object_set_new(o, "wipe", json_string(wipe));
    json_array_append_new(list, o);
}

static void add_prefix(json_t *list) {
    char path[PATH], v[64];
    struct sum s = {0};
    uint64_t most = (uint64_t)2 << 30;
    const bool on = prefix_path(path);
    if (on) each_file(path, is_prefix_file, &s, false);
    const char *size = os_setting("CACHE_SIZE", v, sizeof v);
    if (size) os_parse_bytes(size, &most);
    add_row(list, "prefix cache", on ? path : NULL, &s, on ? most : 0, 0,
            "cria forget --prefix-cache");
}

static void add_audit(json_t *list, const struct settings *t) {
    char path[AUDIT_PATH];
    struct sum s = {0};
    const bool on = strcmp(t->audit, "off") != 0 && audit_path(t->audit_file, path, NULL) == 0;
    if (on) s = sum_audit(path);
    add_row(list, "audit log", on ? path : NULL, &s, 0, 0, "cria audit prune --before DATE");
}

static void add_store(json_t *list, const char *root) {
    char path[PATH];
    snprintf(path, sizeof path, "%s/.cria", root);
    const struct sum s = sum_checkpoints(path);
    add_row(list, "training checkpoints", path, &s, 0, 0,
            "cria tune or train of the same job, or rm -r");
}

json_t *keep_list(const struct settings *t, struct err *e) {
    char path[PATH];
    struct sum s;
    const struct sum none = {0};
    json_t *list = json_array();
    struct store *store = store_open(NULL, e);
    if (!list || !store) {
        json_decref(list);
        store_close(store);
        if (!list) err_nomem(e, "data");
        return NULL;
    }
    at_home("history", path);
    s = (struct sum){0};
    add_file(&s, path, "");
    add_row(list, "chat history", path, &s, 0, 0, "cria forget --history");
    responses_path(t, path);
    s = sum_database(path);
    add_row(list, "responses", path, &s, t->responses_bytes, t->responses_age_ns / 1000000000,
            "cria forget --responses");
    at_home("answers.db", path);
    s = sum_database(path);
    add_row(list, "response cache", path, &s, 0, 0, "cria forget --cache");
    add_prefix(list);
    add_audit(list, t);
    at_home("keys.db", path);
    s = sum_database(path);
    add_row(list, "keys and usage", path, &s, 0, 0, "cria keys rm NAME");
    add_store(list, store_root(store));
    add_row(list, "log", NULL, &none, 0, 0,
            "it goes to standard error; who starts the server keeps it");
    store_close(store);
    return list;
}

/* ---- wiping ---- */

/* A database that is not there has nothing in it. */
static int empty(const char *path, const char *table, json_int_t *n, struct err *e) {
    sqlite3 *db = NULL;
    char sql[160];
    *n = 0;
    if (access(path, F_OK) != 0) return errno == ENOENT ? 0 : err_errno(e, path);
    int rc = sqlite3_open_v2(path, &db, SQLITE_OPEN_READWRITE | SQLITE_OPEN_NOFOLLOW, NULL);
    if (rc == SQLITE_OK) {
        sqlite3_busy_timeout(db, BUSY_MS);
        snprintf(sql, sizeof sql, "PRAGMA secure_delete=ON; DELETE FROM %s", table);
        rc = sqlite3_exec(db, sql, NULL, NULL, NULL);
        *n = sqlite3_changes(db);
    }
    /* What the log of writes still has of the rows goes with it; while another reads, with its next
     * one. */
    if (rc == SQLITE_OK) rc = sqlite3_exec(db, "VACUUM", NULL, NULL, NULL);
    if (rc == SQLITE_OK) sqlite3_exec(db, "PRAGMA wal_checkpoint(TRUNCATE)", NULL, NULL, NULL);
    if (rc != SQLITE_OK) err_set(e, ERR_IO, "%s: %s", path, sqlite3_errmsg(db));
    sqlite3_close(db);
    return rc == SQLITE_OK ? 0 : -1;
}

static int wipe_prefix(json_int_t *n, struct err *e) {
    char path[PATH];
    struct sum s = {0};
    *n = 0;
    if (!prefix_path(path)) return 0;
    const int rc = each_file(path, is_prefix_file, &s, true);
    *n = s.n;
    return rc == 0 ? 0 : err_errno(e, path);
}

static int wipe_history(json_int_t *n, struct err *e) {
    char path[PATH];
    at_home("history", path);
    *n = unlink(path) == 0;
    return *n || errno == ENOENT ? 0 : err_errno(e, path);
}

int keep_forget(const struct settings *t, unsigned what, json_t **done, struct err *e) {
    char path[PATH];
    json_int_t n;
    int rc = 0;
    *done = json_object();
    if (!*done) return err_nomem(e, "forget");
    if (what & KEEP_RESPONSES) {
        responses_path(t, path);
        rc = empty(path, "response", &n, e);
        if (rc == 0) json_object_set_new(*done, "responses", json_integer(n));
    }
    if (rc == 0 && what & KEEP_CACHE) {
        at_home("answers.db", path);
        rc = empty(path, "answer", &n, e);
        if (rc == 0) json_object_set_new(*done, "cache", json_integer(n));
    }
    if (rc == 0 && what & KEEP_PREFIX && (rc = wipe_prefix(&n, e)) == 0)
        json_object_set_new(*done, "prefix_cache", json_integer(n));
    if (rc == 0 && what & KEEP_HISTORY && (rc = wipe_history(&n, e)) == 0)
        json_object_set_new(*done, "history", json_integer(n));
    return rc;
}
