/* `cria audit`: what it prints, what it finds, its exit codes; and `cria forget` without a server.
 */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_rig.h"

enum { N = 6, ALL = N + 2 };

/* Entries of models and keys: number i is model a:1 or b:1, key k0, k1, k2. */
static void make(const char *file) {
    struct err e = {0};
    const struct audit_opts o = {.file = file, .what = "test", .required = true};
    struct audit *a = audit_open(&o, &e);
    if (!a) fail_msg("%s", e.msg);
    for (int i = 0; i < N; i++) {
        struct audit_entry x;
        char key[8];
        snprintf(key, sizeof key, "k%d", i % 3);
        audit_entry_begin(&x, "request");
        audit_text(&x.text, "model", i % 2 ? "b:1" : "a:1");
        audit_text(&x.text, "key", key);
        audit_text_n(&x.text, "peer", STR("\x1b[31mred\xff"));
        audit_put(a, &x);
    }
    audit_close(a);
}

/* The lines that `cria audit ...` prints; fails the test unless it ends with that code.  *said (may
 * be NULL; buf_fini) gets what is on stderr. */
static int lines(const char *const *args, int code, struct buf *out, struct buf *said) {
    const char *argv[16] = {"audit"};
    struct ran r;
    int n = 0;
    for (int i = 0; args[i]; i++)
        argv[i + 1] = args[i];
    run_cria(&r, argv, NULL, 0, 30);
    if (r.code != code) fail_msg("%s: %d: %s", args[0], r.code, r.err.n ? r.err.p : "");
    for (size_t i = 0; i < r.out.n; i++)
        n += r.out.p[i] == '\n';
    if (out) buf_append(out, r.out.p, r.out.n);
    if (said) buf_append(said, r.err.p, r.err.n);
    ran_fini(&r);
    return n;
}
#define LINES(...) lines((const char *const[]){__VA_ARGS__, NULL}, 0, NULL, NULL)

static void log_shows(void **state) {
    char *dir = temp_folder();
    (void)state;
    const char *const names[] = {"audit.db", "audit.jsonl"};
    for (int b = 0; b < 2; b++) {
        struct buf out = {0}, said = {0};
        char file[900];
        snprintf(file, sizeof file, "%s", audit_at(dir, names[b]));
        make(file);
        assert_int_equal(LINES("log", file), ALL);
        assert_int_equal(LINES("log", file, "--model", "a"), 3);
        assert_int_equal(LINES("log", file, "--model", "b:1", "--key", "k1"), 1);
        assert_int_equal(LINES("log", file, "--type", "start"), 1);
        assert_int_equal(LINES("log", file, "--since", "2020-01-01"), ALL);
        assert_int_equal(LINES("log", file, "--until", "2020-01-01T00:00:00Z"), 0);
        assert_int_equal(LINES("log", file, "--last", "2", "--type", "request"), 2);
        lines((const char *const[]){"log", file, "--last=1", "--json", NULL}, 0, &out, NULL);
        json_t *o = json_loadb(out.p, out.n, 0, NULL);
        assert_int_equal(json_integer_value(json_object_get(o, "seq")), ALL);
        json_decref(o);
        buf_reset(&out);
        /* A stranger's text moves no cursor. */
        lines((const char *const[]){"log", file, NULL}, 0, &out, NULL);
        assert_null(strchr(out.p, '\x1b'));
        assert_non_null(strstr(out.p, "\\x1b[31mred\xef\xbf\xbd"));
        lines((const char *const[]){"log", file, "--since", "soon", NULL}, 2, NULL, &said);
        assert_non_null(strstr(said.p, "2026-11-27"));
        assert_int_equal(lines((const char *const[]){"log", "/nowhere.db", NULL}, 3, NULL, NULL),
                         0);
        buf_fini(&out), buf_fini(&said);
    }
    temp_remove(dir);
}

static void verify_names(void **state) {
    char *dir = temp_folder();
    (void)state;
    const char *const names[] = {"audit.db", "audit.jsonl"};
    for (int b = 0; b < 2; b++) {
        struct buf out = {0}, said = {0};
        struct audit_text t;
        char file[900], head[100];
        snprintf(file, sizeof file, "%s", audit_at(dir, names[b]));
        make(file);
        lines((const char *const[]){"verify", file, NULL}, 0, &out, NULL);
        const char *at = strstr(out.p, "head ");
        assert_true(at && sscanf(at, "head %99s", head) == 1);
        assert_int_equal(LINES("verify", file, "--head", head), 2);
        lines((const char *const[]){"verify", file, "--head", "7:abc", NULL}, 2, NULL, NULL);
        char *end = head + strlen(head) - 1;
        *end = *end == '0' ? '1' : '0';
        lines((const char *const[]){"verify", file, "--head", head, NULL}, 1, NULL, NULL);
        audit_load(file, &t);
        t.line[4].p[60] ^= 1;
        audit_store_text(file, &t);
        lines((const char *const[]){"verify", file, NULL}, 1, NULL, &said);
        assert_non_null(
            strstr(said.p, b ? "audit.jsonl, line 5: seq 5: changed" : "seq 5: changed"));
        buf_reset(&out);
        lines((const char *const[]){"verify", file, "--json", NULL}, 1, &out, NULL);
        json_t *o = json_loadb(out.p, out.n, 0, NULL);
        assert_true(json_is_false(json_object_get(o, "whole")));
        assert_int_equal(json_integer_value(json_object_get(o, "bad_seq")), 5);
        json_decref(o);
        audit_text_free(&t);
        buf_fini(&out), buf_fini(&said);
    }
    temp_remove(dir);
}

static void export_is_a_log(void **state) {
    char *dir = temp_folder(), file[900], out[900];
    (void)state;
    snprintf(file, sizeof file, "%s", audit_at(dir, "audit.db"));
    snprintf(out, sizeof out, "%s", audit_at(dir, "out.jsonl"));
    make(file);
    assert_int_equal(LINES("export", file), ALL);
    assert_int_equal(LINES("export", file, "--key", "k2"), 2);
    assert_int_equal(LINES("export", file, "-o", out), 0);
    struct stat st;
    assert_int_equal(stat(out, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(LINES("verify", out), 3);
    /* Nor may others read it where it was there before; and it is never the log itself. */
    assert_int_equal(chmod(out, 0644), 0);
    assert_int_equal(LINES("export", file, "-o", out), 0);
    assert_int_equal(stat(out, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    assert_int_equal(LINES("verify", out), 3);
    for (int i = 0; i < 2; i++) {
        const char *log = i ? out : file;
        struct buf said = {0};
        lines((const char *const[]){"export", log, "-o", log, NULL}, 2, NULL, &said);
        assert_non_null(strstr(said.p, "is the log itself"));
        assert_int_equal(LINES("log", log), ALL);
        buf_fini(&said);
    }
    temp_remove(dir);
}

/* The wipe is told in the log that stays. */
static void forget_without_a_server(void **state) {
    char *dir = temp_folder(), history[900], file[900];
    (void)state;
    struct ran r;
    char *home = strdup(getenv("HOME") ? getenv("HOME") : "/");
    setenv("HOME", dir, 1), setenv("CRIA_HOST", "127.0.0.1:1", 1); /* nobody */
    setenv("CRIA_AUDIT", "on", 1);
    snprintf(history, sizeof history, "%s/.cria", dir);
    assert_int_equal(mkdir(history, 0700), 0);
    snprintf(file, sizeof file, "%s/.cria/audit.db", dir);
    make(file);
    snprintf(history, sizeof history, "%s/.cria/history", dir);
    close(open(history, O_CREAT | O_WRONLY, 0600));
    run_cria(&r, (const char *const[]){"data", "retention", NULL}, NULL, 0, 30);
    assert_true(r.code == 0 && strstr(r.out.p, history) && strstr(r.out.p, file));
    ran_fini(&r);
    run_cria(&r, (const char *const[]){"forget", "--yes", NULL}, NULL, 0, 30);
    assert_int_equal(r.code, 2); /* what? */
    ran_fini(&r);
    assert_int_equal(access(history, F_OK), 0);
    run_cria(&r, (const char *const[]){"forget", "--all", "--yes", NULL}, NULL, 0, 30);
    if (r.code != 0) fail_msg("%s", r.err.p);
    ran_fini(&r);
    assert_int_not_equal(access(history, F_OK), 0);
    audit_is_whole(file, 1, ALL + 3); /* start, forget, stop */
    /* Where the log is required nothing is wiped without it. */
    setenv("CRIA_AUDIT", "required", 1), setenv("CRIA_AUDIT_FILE", "/nowhere/audit.db", 1);
    close(open(history, O_CREAT | O_WRONLY, 0600));
    run_cria(&r, (const char *const[]){"forget", "--history", "--yes", NULL}, NULL, 0, 30);
    assert_int_not_equal(r.code, 0);
    ran_fini(&r);
    assert_int_equal(access(history, F_OK), 0);
    setenv("CRIA_AUDIT", "on", 1);
    run_cria(&r, (const char *const[]){"forget", "--history", "--yes", NULL}, NULL, 0, 30);
    assert_non_null(strstr(r.err.p, "it is wiped, but the audit log was not told"));
    ran_fini(&r);
    assert_int_not_equal(access(history, F_OK), 0);
    unsetenv("CRIA_AUDIT_FILE");
    assert_int_equal(LINES("log", "--type", "forget"), 1);
    setenv("HOME", home, 1), unsetenv("CRIA_AUDIT"), unsetenv("CRIA_HOST");
    free(home);
    temp_remove(dir);
}

int main(void) {
    unsetenv("CRIA_HOST"), unsetenv("OLLAMA_HOST"), unsetenv("CRIA_AUDIT_FILE");
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(log_shows),
        cmocka_unit_test(verify_names),
        cmocka_unit_test(export_is_a_log),
        cmocka_unit_test(forget_without_a_server),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
