/* The database of keys: what is in it and what is not, `cria keys`, files that are damaged, and
 * that a server sees every change within a second without being told. */
#include "keys_rig.h"

#include <sqlite3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/os.h"
#include "policy/keys_db.h"

#define ARGS(...) ((const char *[]){__VA_ARGS__, NULL})

static struct keyring ring;

static int begin(void **state) {
    (void)state;
    keyring_open(&ring);
    return 0;
}

static int end(void **state) {
    (void)state;
    keyring_close(&ring);
    return 0;
}

/* ---- at rest ---- */

/* The key is nowhere, its SHA-256, as another program has it, is. */
static void only_the_hash(void **state) {
    (void)state;
    struct ran made, summed;
    uint8_t hash[32];
    struct stat st;
    assert_int_equal(keys_run(&made, ARGS("add", "alice")), 0);
    const size_t n = strcspn(made.out.p, "\n");
    assert_int_equal(n, 69);
    assert_int_equal(strspn(made.out.p + 5, "0123456789abcdef"), 64);
    assert_memory_equal(made.out.p, "cria_", 5);
    assert_int_equal(run_program(&summed, "/usr/bin/sha256sum", ARGS(NULL), made.out.p, n, 10), 0);
    for (int i = 0; i < 32; i++)
        assert_int_equal(sscanf(summed.out.p + 2 * i, "%2hhx", &hash[i]), 1);
    assert_true(file_has(ring.db, hash, sizeof hash));
    assert_false(file_has(ring.db, made.out.p, n));
    assert_false(file_has(ring.db, made.out.p + 5, 16)); /* nor a part of it */
    assert_int_equal(stat(ring.db, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0600);
    ran_fini(&made), ran_fini(&summed);
}

static void folder_of_its_own(void **state) {
    (void)state;
    char path[900], folder[800];
    struct stat st;
    struct err e;
    snprintf(folder, sizeof folder, "%s/new", ring.dir);
    snprintf(path, sizeof path, "%s/keys.db", folder);
    assert_null(keys_db_open(path, false, &e));
    assert_int_equal(e.code, ERR_NOT_FOUND);
    struct keys_db *d = keys_db_open(path, true, &e);
    if (!d) fail_msg("%s", e.msg);
    keys_db_close(d);
    assert_int_equal(stat(folder, &st), 0);
    assert_int_equal(st.st_mode & 0777, 0700);
}

/* ---- commands ---- */

static json_t *key_named(json_t *list, const char *name) {
    json_t *one;
    size_t i;
    json_array_foreach(json_object_get(list, "keys"), i, one) {
        if (strcmp(json_string_value(json_object_get(one, "name")), name) == 0) return one;
    }
    return NULL;
}

static void expect_json(const json_t *o, const char *fmt) {
    json_t *want = json_loads(fmt, 0, NULL), *v;
    const char *key;
    assert_non_null(want);
    json_object_foreach(want, key, v) {
        if (json_equal(json_object_get(o, key), v)) continue;
        char *got = json_dumps(json_object_get(o, key), JSON_ENCODE_ANY);
        fail_msg("%s is %s", key, got ? got : "not there");
    }
    json_decref(want);
}

static void commands(void **state) {
    (void)state;
    json_decref(keys_do(ARGS("add", "full", "--role", "models,train", "--models",
                             "llama3.2:*,team/*", "--rpm", "60", "--tpm", "20k", "--concurrent",
                             "4", "--daily-requests", "1.5k", "--daily-tokens", "2m", "--priority",
                             "high", "--expires", "2099-01-31", "--json")));
    json_t *list = keys_do(ARGS("list", "--json"));
    expect_json(key_named(list, "full"),
                "{\"roles\": [\"models\", \"train\"], \"models\": [\"llama3.2:*\", \"team/*\"],"
                "\"rpm\": 60, \"tpm\": 20000, \"concurrent\": 4, \"daily_requests\": 1500,"
                "\"daily_tokens\": 2000000, \"priority\": \"high\","
                "\"expires\": \"2099-01-31T00:00:00Z\", \"disabled\": false}");
    assert_null(json_object_get(key_named(list, "full"), "key"));
    json_decref(list);
    keys_do(ARGS("set", "full", "--rpm", "0", "--models", "*", "--role", "read", "--priority",
                 "low", "--expires", "never", "--disable"));
    list = keys_do(ARGS("list", "--json"));
    expect_json(key_named(list, "full"),
                "{\"roles\": [\"read\"], \"models\": null, \"rpm\": null, \"tpm\": 20000,"
                "\"priority\": \"low\", \"expires\": null, \"disabled\": true}");
    json_decref(list);
    json_decref(keys_do(ARGS("rm", "full", "--json")));
    list = keys_do(ARGS("list", "--json"));
    assert_null(key_named(list, "full"));
    json_decref(list);
}

static void refused_options(void **state) {
    (void)state;
    static const struct {
        const char *args[8];
        int code;
        const char *says;
    } cases[] = {
        {{"add"}, 2, "NAME"},
        {{"add", "a b"}, 2, "letters, digits"},
        {{"add", ""}, 2, "empty"},
        {{"add", "a/b"}, 2, "letters, digits"},
        {{"add", "there"}, 2, "is there already"},
        {{"add", "x", "--role", "boss"}, 2, "inference, models, train"},
        {{"add", "x", "--role", ""}, 2, "inference, models, train"},
        {{"add", "x", "--rpm", "-1"}, 2, "--rpm: found \"-1\""},
        {{"add", "x", "--rpm", "1000001"}, 2, "0 to 1000000"},
        {{"add", "x", "--rpm", "1.5"}, 2, "a whole number"},
        {{"add", "x", "--tpm", "20kk"}, 2, "--tpm"},
        {{"add", "x", "--tpm", "nan"}, 2, "--tpm"},
        {{"add", "x", "--tpm", "1e99"}, 2, "--tpm"},
        {{"add", "x", "--daily-tokens", "9999999999999"}, 2, "--daily-tokens"},
        {{"add", "x", "--priority", "urgent"}, 2, "low, normal or high"},
        {{"add", "x", "--expires", "tomorrow"}, 2, "--expires"},
        {{"add", "x", "--expires", "2027-02-30"}, 2, "--expires"},
        {{"add", "x", "--expires", "0d"}, 2, "--expires"},
        {{"add", "x", "--expires", "-5m"}, 2, "--expires"},
        {{"add", "x", "--models", ""}, 2, "no pattern"},
        {{"add", "x", "--models", "a;b"}, 2, "pattern"},
        {{"set", "nobody", "--rpm", "1"}, 3, "not found"},
        {{"set", "there", "--enable", "--disable"}, 2, "exclude"},
        {{"rm"}, 2, "NAME"},
        {{"rm", "nobody"}, 3, "not found"},
        {{"usage", "a", "b"}, 2, "[NAME]"},
        {{"usage", "--days", "0"}, 2, "--days"},
    };
    keys_add("there", NULL);
    json_t *before = keys_do(ARGS("list", "--json"));
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct ran r;
        const int code = keys_run(&r, cases[i].args);
        if (code != cases[i].code || !strstr(r.err.p, cases[i].says))
            fail_msg("%s %s %s: %d, %s", cases[i].args[0], cases[i].args[2] ? cases[i].args[2] : "",
                     cases[i].args[3] ? cases[i].args[3] : "", code, r.err.p);
        ran_fini(&r);
    }
    json_t *after = keys_do(ARGS("list", "--json"));
    assert_true(json_equal(before, after));
    json_decref(before), json_decref(after);
}

/* ---- patterns ---- */

static void patterns(void **state) {
    (void)state;
    static const struct {
        const char *models, *name;
        bool allowed;
    } cases[] = {
        {NULL, "anything", true},
        {"*", "hub.example/team/x:1", true},
        {"llama3.2", "llama3.2", true},
        {"llama3.2", "llama3.2:latest", true},
        {"llama3.2", "llama3.2:1b", false},
        {"llama3.2:*", "llama3.2:1b", true},
        {"llama3.2:1b", "LLAMA3.2:1B", true},
        {"LLama3.2:1B", "llama3.2:1b", true},
        {"llama*", "llama3.2:1b", true},
        {"llama*", "llama-evil/x:1b", false}, /* "*" is within a part */
        {"llama*", "xllama:1b", false},
        {"*:1b", "qwen:1b", true},
        {"*:1b", "qwen:11b", false},
        {"*:*b", "qwen:11b", true},
        {"team/*", "team/x", true},
        {"team/*", "team/x:7b", true},
        {"team/*", "team2/x", false},
        {"team/*", "hub.example/team/x", false},
        {"team/x", "team/x:latest", true},
        {"*/*", "team/x", true},
        {"*/*", "x", false},
        {"a, b:1 ,c*", "b:1", true},
        {"a, b:1 ,c*", "cc:9", true},
        {"a, b:1 ,c*", "b:2", false},
        {"a", "registry.ollama.ai/library/a:latest", true}, /* the same model */
        {"library/a", "a", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct name n;
        struct err e;
        struct key k = {.models = (char *)(uintptr_t)cases[i].models};
        if (name_parse(cases[i].name, &n, &e) != 0) fail_msg("%s", e.msg);
        if (key_allows(&k, &n) != cases[i].allowed)
            fail_msg("%s: %s", cases[i].models, cases[i].name);
    }
    /* Many stars cost little. */
    char many[400], name[90];
    struct name n;
    for (int i = 0; i < 190; i++)
        memcpy(many + 2 * i, "*a", 3);
    memset(name, 'a', sizeof name);
    name[70] = 0;
    struct key k = {.models = many};
    assert_int_equal(name_parse(name, &n, NULL), 0);
    const int64_t t0 = os_now_ns();
    assert_false(key_allows(&k, &n));
    assert_true(os_now_ns() - t0 < 50000000);
}

/* ---- what is no database of keys ---- */

static void put_file(const char *path, const void *bytes, size_t n) {
    struct err e;
    assert_int_equal(os_write_file(path, bytes, n, &e), 0);
}

static void foreign_file(void **state) {
    (void)state;
    char path[800], set[820];
    struct buf said = {0};
    struct ran r;
    sqlite3 *db;
    snprintf(path, sizeof path, "%s/other.db", ring.dir);
    snprintf(set, sizeof set, "CRIA_KEYS=%s", path);
    const char *const settings[] = {set, NULL};
    /* Not there, empty, no database, another program's. */
    assert_int_equal(serve_fails(NULL, settings, &said), 3);
    put_file(path, "", 0);
    assert_int_equal(serve_fails(NULL, settings, &said), 1);
    assert_non_null(strstr(said.p, "cria keys add"));
    put_file(path, "hello, I am a text and no database at all", 40);
    assert_int_equal(serve_fails(NULL, settings, &said), 1);
    assert_non_null(strstr(said.p, "not a database"));
    unlink(path);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK);
    assert_int_equal(sqlite3_exec(db, "CREATE TABLE mine (x)", NULL, NULL, NULL), SQLITE_OK);
    sqlite3_close(db);
    assert_int_equal(serve_fails(NULL, settings, &said), 1);
    assert_non_null(strstr(said.p, "no database of keys"));
    setenv("CRIA_KEYS", path, 1);
    assert_int_equal(keys_run(&r, ARGS("add", "x")), 1);
    setenv("CRIA_KEYS", ring.db, 1);
    ran_fini(&r);
    assert_int_equal(sqlite3_open(path, &db), SQLITE_OK); /* it was left alone */
    assert_true(sqlite3_exec(db, "SELECT * FROM api_key", NULL, NULL, NULL) != SQLITE_OK);
    sqlite3_close(db);
    buf_fini(&said);
}

/* Any byte may be wrong: an error or the keys, never a crash. */
static void flipped_bits(void **state) {
    (void)state;
    enum { ROUNDS = 400 };
    char path[800];
    size_t size;
    int n_good = 0, n_bad = 0;
    for (int i = 0; i < 5; i++) {
        char name[16];
        snprintf(name, sizeof name, "flip%d", i);
        keys_add(name, ARGS("--models", "a,b:*", "--rpm", "7"));
    }
    uint8_t *whole = slurp(ring.db, &size);
    snprintf(path, sizeof path, "%s/flip.db", ring.dir);
    srand(7);
    for (int i = 0; i < ROUNDS; i++) {
        const size_t at = (size_t)rand() % size;
        const uint8_t bit = (uint8_t)(1 << (rand() & 7));
        struct err e = {0};
        whole[at] ^= bit;
        put_file(path, whole, size);
        struct keys_db *d = keys_db_open(path, false, &e);
        struct keys *k = keys_new(&e);
        const int rc = d ? keys_db_load(d, k, &e) : -1;
        if (rc != 0) assert_true(e.code != ERR_NONE && e.msg[0]);
        n_good += rc == 0, n_bad += rc != 0;
        keys_unref(k);
        keys_db_close(d);
        whole[at] ^= bit;
    }
    assert_true(n_good > 0 && n_bad > 0);
    free(whole);
}

/* ---- a server ---- */

static int status_of_tags(const struct serve *s, const char *header) {
    struct answer a;
    ask(s, &a, "GET", "/api/tags", header, NULL);
    const int n = a.status;
    answer_fini(&a);
    return n;
}

/* How long until the status is that one: at most five seconds, since the machine is not ours alone;
 * CRIA_CAMPAIGN=1 holds the second that is promised. */
static double seconds_until(const struct serve *s, const char *header, int status) {
    const int64_t t0 = os_now_ns();
    while (status_of_tags(s, header) != status) {
        if (os_now_ns() - t0 > INT64_C(5000000000)) fail_msg("not %d after 5 s", status);
        usleep(10000);
    }
    const double s1 = (double)(os_now_ns() - t0) * 1e-9;
    if (in_campaign() && s1 > 1.2) fail_msg("%d after %.2f s", status, s1);
    return s1;
}

static void changes_are_seen(void **state) {
    (void)state;
    struct serve s;
    struct answer a;
    double most = 0;
    const char *old = keys_add("first", NULL);
    serve_start(&s, NULL, ARGS(ring.setting));
    assert_int_equal(status_of_tags(&s, old), 200);
    assert_int_equal(status_of_tags(&s, NULL), 401);
    for (int i = 0; i < 5; i++) {
        const char *header = keys_add("second", NULL);
        double t = seconds_until(&s, header, 200);
        most = t > most ? t : most;
        keys_do(ARGS("set", "second", "--disable"));
        t = seconds_until(&s, header, 401);
        most = t > most ? t : most;
        keys_do(ARGS("set", "second", "--enable"));
        seconds_until(&s, header, 200);
        keys_do(ARGS("rm", "second"));
        t = seconds_until(&s, header, 401);
        most = t > most ? t : most;
    }
    fprintf(stderr, "a change is seen within %.2f s\n", most);
    keys_do(ARGS("set", "first", "--expires", "1s"));
    seconds_until(&s, old, 200);
    usleep(2200000);
    ask(&s, &a, "GET", "/api/tags", old, NULL);
    assert_int_equal(a.status, 401);
    assert_non_null(strstr(a.body.p, "expired"));
    answer_fini(&a);
    /* A new text under the old name. */
    struct ran r;
    char header[160];
    assert_int_equal(keys_run(&r, ARGS("set", "first", "--rotate", "--expires", "never")), 0);
    snprintf(header, sizeof header, "X-API-Key: %.*s\r\n", (int)strcspn(r.out.p, "\n"), r.out.p);
    ran_fini(&r);
    seconds_until(&s, header, 200);
    assert_int_equal(status_of_tags(&s, old), 401);
    assert_int_equal(serve_lines(&s, header + 11, "", 0), 0); /* not in the log */
    assert_int_equal(serve_stop(&s), 0);
}

/* Without its database the door stays shut, and the keys that were known stay good. */
static void the_file_goes(void **state) {
    (void)state;
    char away[800], wal[800];
    struct serve s;
    const char *known = keys_add("known", NULL);
    serve_start(&s, NULL, ARGS(ring.setting));
    snprintf(away, sizeof away, "%s/away.db", ring.dir);
    assert_int_equal(rename(ring.db, away), 0);
    assert_true(serve_lines(&s, "keys stay as they were", "", 1) >= 1);
    assert_int_equal(status_of_tags(&s, known), 200);
    assert_int_equal(status_of_tags(&s, NULL), 401);
    /* Another one in its place. */
    for (int i = 0; i < 2; i++) {
        snprintf(wal, sizeof wal, "%s-%s", ring.db, i ? "wal" : "shm");
        unlink(wal);
    }
    const char *other = keys_add("other", NULL);
    seconds_until(&s, other, 200);
    assert_int_equal(status_of_tags(&s, known), 401);
    /* The last one is removed: nobody gets in. */
    keys_do(ARGS("rm", "other"));
    seconds_until(&s, other, 401);
    assert_int_equal(status_of_tags(&s, NULL), 401);
    serve_signal(&s, 1); /* HUP */
    usleep(300000);
    assert_int_equal(status_of_tags(&s, NULL), 401);
    assert_int_equal(serve_stop(&s), 0);
    serve_start(&s, NULL, ARGS(ring.setting));
    assert_int_equal(status_of_tags(&s, NULL), 401);
    assert_int_equal(serve_stop(&s), 0);
}

/* The usual place: from the moment that it is there. */
static void the_usual_place(void **state) {
    (void)state;
    struct serve s;
    char home[600];
    snprintf(home, sizeof home, "%s", getenv("HOME") ? getenv("HOME") : "/");
    serve_start(&s, NULL, ARGS("CRIA_KEYS"));
    assert_int_equal(status_of_tags(&s, NULL), 200);
    unsetenv("CRIA_KEYS");
    setenv("HOME", s.dir, 1);
    const char *header = keys_add("me", NULL);
    setenv("HOME", home, 1);
    setenv("CRIA_KEYS", ring.db, 1);
    seconds_until(&s, NULL, 401);
    assert_int_equal(status_of_tags(&s, header), 200);
    assert_int_equal(serve_stop(&s), 0);
}

static void put_lines(char path[800]) {
    static const char lines[] = "reader read-key-0123456789 read\n";
    snprintf(path, 800, "%s/lines", ring.dir);
    put_file(path, lines, sizeof lines - 1);
    chmod(path, 0600);
}

/* Beside a file of lines: both hold. */
static void beside_a_file(void **state) {
    (void)state;
    char path[800];
    struct serve s;
    put_lines(path);
    const char *header = keys_add("both", NULL);
    serve_start(&s, ARGS("--api-key-file", path), ARGS(ring.setting));
    assert_int_equal(status_of_tags(&s, header), 200);
    assert_int_equal(status_of_tags(&s, "X-API-Key: read-key-0123456789\r\n"), 200);
    keys_do(ARGS("rm", "both"));
    seconds_until(&s, header, 401);
    assert_int_equal(status_of_tags(&s, "X-API-Key: read-key-0123456789\r\n"), 200);
    assert_int_equal(serve_stop(&s), 0);
}

/* What one failure kept from being read is read a moment later: a key that was taken back does not
 * live on. */
static void a_change_is_not_lost(void **state) {
    (void)state;
    char path[800];
    struct serve s;
    put_lines(path);
    const char *header = keys_add("both", NULL);
    serve_start(&s, ARGS("--api-key-file", path), ARGS(ring.setting));
    assert_int_equal(status_of_tags(&s, header), 200);
    unlink(path);
    keys_do(ARGS("set", "both", "--disable"));
    assert_true(serve_lines(&s, "keys stay as they were", "", 1) >= 1);
    assert_int_equal(status_of_tags(&s, header), 200);
    put_lines(path);
    seconds_until(&s, header, 401);
    assert_int_equal(status_of_tags(&s, "X-API-Key: read-key-0123456789\r\n"), 200);
    assert_int_equal(serve_stop(&s), 0);
}

/* The newest entry "keys" of the log, once there are n; its members as JSON. */
static json_t *told(const char *file, int n) {
    for (int tries = 0; tries < 100; tries++, usleep(50000)) {
        struct ran r;
        json_t *last = NULL;
        int found = 0;
        run_cria(&r, ARGS("audit", "log", "--type=keys", "--json", file), NULL, 0, 30);
        for (char *rest = r.out.p, *line; rest && (line = strsep(&rest, "\n")) && *line; found++) {
            json_decref(last);
            last = json_loads(line, 0, NULL);
        }
        ran_fini(&r);
        if (found >= n) return last;
        json_decref(last);
    }
    fail_msg("not %d entries", n);
    return NULL;
}

/* Who gives himself a key stands in the audit log, and so does one that is used no more. */
static void changes_are_told(void **state) {
    (void)state;
    char file[800], set[820];
    struct serve s;
    static const struct {
        const char *args[6], *what;
    } changes[] = {{{"add", "eve", "--role", "admin"}, "added"},
                   {{"set", "eve", "--rpm", "7"}, "changed"},
                   {{"set", "eve", "--rotate"}, "changed"},
                   {{"rm", "eve"}, "removed"}};
    snprintf(file, sizeof file, "%s/audit.jsonl", ring.dir);
    snprintf(set, sizeof set, "CRIA_AUDIT_FILE=%s", file);
    keys_add("known", NULL);
    serve_start(&s, NULL, ARGS(ring.setting, "CRIA_AUDIT=on", set));
    for (int i = 0; i < 4; i++) {
        struct ran r;
        assert_int_equal(keys_run(&r, changes[i].args), 0);
        ran_fini(&r);
        json_t *o = told(file, i + 1), *list = json_object_get(o, changes[i].what);
        assert_int_equal(json_array_size(list), 1);
        assert_string_equal(json_string_value(json_array_get(list, 0)), "eve");
        json_decref(o);
    }
    assert_int_equal(serve_stop(&s), 0);
    json_decref(told(file, 4));
}

/* SIGHUP with settings of which one is wrong: the keys stay as they were, too. */
static void all_or_nothing(void **state) {
    (void)state;
    char path[2][800], config[800], text[2000];
    struct serve s;
    static const char *const lines[] = {"old old-key-0123456789 read\n",
                                        "new new-key-0123456789 read\n"};
    for (int i = 0; i < 2; i++) {
        snprintf(path[i], sizeof path[i], "%s/lines%d", ring.dir, i);
        put_file(path[i], lines[i], strlen(lines[i]));
    }
    snprintf(config, sizeof config, "%s/conf", ring.dir);
    snprintf(text, sizeof text, "API_KEY_FILE=%s\n", path[0]);
    put_file(config, text, strlen(text));
    serve_start(&s, ARGS("--config", config), ARGS("CRIA_KEYS"));
    snprintf(text, sizeof text,
             "API_KEY_FILE=%s\nFALLBACK_URL=ftp://h.invalid/v1\nFALLBACK_MODEL=m\n", path[1]);
    put_file(config, text, strlen(text));
    serve_signal(&s, 1); /* HUP */
    assert_int_equal(serve_lines(&s, "settings stay as they were", "", 1), 1);
    assert_int_equal(status_of_tags(&s, "X-API-Key: old-key-0123456789\r\n"), 200);
    assert_int_equal(status_of_tags(&s, "X-API-Key: new-key-0123456789\r\n"), 401);
    assert_int_equal(serve_stop(&s), 0);
}

int main(int argc, char **argv) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(only_the_hash, begin, end),
        cmocka_unit_test_setup_teardown(folder_of_its_own, begin, end),
        cmocka_unit_test_setup_teardown(commands, begin, end),
        cmocka_unit_test_setup_teardown(refused_options, begin, end),
        cmocka_unit_test(patterns),
        cmocka_unit_test_setup_teardown(foreign_file, begin, end),
        cmocka_unit_test_setup_teardown(flipped_bits, begin, end),
        cmocka_unit_test_setup_teardown(changes_are_seen, begin, end),
        cmocka_unit_test_setup_teardown(the_file_goes, begin, end),
        cmocka_unit_test_setup_teardown(the_usual_place, begin, end),
        cmocka_unit_test_setup_teardown(beside_a_file, begin, end),
        cmocka_unit_test_setup_teardown(a_change_is_not_lost, begin, end),
        cmocka_unit_test_setup_teardown(all_or_nothing, begin, end),
        cmocka_unit_test_setup_teardown(changes_are_told, begin, end),
    };
    if (argc > 1) cmocka_set_test_filter(argv[1]);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
