/* API keys: the file, who may do what on every route, and that a wrong key says nothing by its
 * time (SECURITY.md H3). */
#include "serve_rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/os.h"
#include "server/front_priv.h"
#include "policy/keys.h"

#define READ_KEY "read-key-0123456789"
#define USE_KEY "use-key-0123456789#x"
#define ADMIN_KEY "admin-key-0123456789"

static char *dir, path[700];

static const char *write_keys(const char *text) {
    struct err e;
    snprintf(path, sizeof path, "%s/keys", dir);
    assert_int_equal(os_write_file(path, text, strlen(text), &e), 0);
    chmod(path, 0600);
    return path;
}

static int begin(void **state) {
    (void)state;
    dir = temp_folder();
    return 0;
}

static int end(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

static void good_file(void **state) {
    (void)state;
    struct err e;
    char text[500];
    struct ran r;
    /* The hash as another program has it. */
    assert_int_equal(run_program(&r, "/usr/bin/sha256sum", (const char *[]){NULL},
                                 "hashed-key-0123456789", 21, 10),
                     0);
    snprintf(text, sizeof text,
             "# who may ask\n\n  reader\t" READ_KEY " read\r\nuser " USE_KEY " # not a right\n"
             "boss " ADMIN_KEY " admin\nhashed sha256:%.64s use\n",
             r.out.p);
    ran_fini(&r);
    struct keys *k = keys_new(&e);
    if (!k || keys_read_file(k, write_keys(text), &e) != 0) fail_msg("%s", e.msg);
    static const struct {
        const char *key, *name, *rights;
    } cases[] = {{READ_KEY, "reader", "read"},
                 {USE_KEY, "user", "inference"},
                 {ADMIN_KEY, "boss", "admin"},
                 {"hashed-key-0123456789", "hashed", "inference"},
                 {"use-key-0123456789", NULL, NULL},
                 {READ_KEY "x", NULL, NULL},
                 {"", NULL, NULL}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        const struct key *found = keys_find(k, str_of(cases[i].key));
        char rights[RIGHTS_TEXT];
        assert_int_equal(found != NULL, cases[i].name != NULL);
        if (!found) continue;
        rights_text(found->rights, rights);
        assert_string_equal(found->name, cases[i].name);
        assert_string_equal(rights, cases[i].rights);
    }
    keys_unref(k);
}

static void bad_files(void **state) {
    (void)state;
    static const char *const cases[][2] = {
        {"", "no key in it"},
        {"# nothing\n", "no key in it"},
        {"a\n", "line 1: no key"},
        {"\nb short\n", "line 2: the key is too short"},
        {"a 0123456789abcdef write\n", "none of read, use, admin"},
        {"a 0123456789abcdef use more\n", "more words"},
        {"a/b 0123456789abcdef\n", "name has bytes"},
        {"a sha256:12\n", "not 64 hex"},
        {"a 0123456789abcdef\nb 0123456789abcdef\n", "line 2: the key is there twice"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++) {
        struct err e;
        struct keys *k = keys_new(&e);
        assert_int_equal(keys_read_file(k, write_keys(cases[i][0]), &e), -1);
        keys_unref(k);
        if (!strstr(e.msg, cases[i][1])) fail_msg("%s: %s", cases[i][0], e.msg);
        assert_null(strstr(e.msg, "0123456789abcdef")); /* never the key itself */
    }
    struct err e;
    struct keys *k = keys_new(&e);
    assert_int_equal(keys_read_file(k, "/nonexistent/keys", &e), -1);
    assert_int_equal(e.code, ERR_NOT_FOUND);
    keys_unref(k);
}

/* ---- every route ---- */

static int status_with(const struct serve *s, const struct route *t, const char *header,
                       const char *key) {
    struct answer a;
    char h[300] = "", target[300];
    if (key) snprintf(h, sizeof h, header, key);
    snprintf(target, sizeof target, "%s", t->path);
    char *colon = strchr(target, ':');
    if (colon) strcpy(colon, "x");
    ask(s, &a, http_method_name(t->method), target, h, t->max_body ? "{}" : NULL);
    const int n = a.status;
    if (n == 401) assert_non_null(answer_header(&a, "WWW-Authenticate"));
    answer_fini(&a);
    return n;
}

static void every_route(void **state) {
    (void)state;
    static const char *const bearer = "Authorization: Bearer %s\r\n", *const x =
                                                                          "x-api-key: %s\r\n";
    struct serve s;
    write_keys("reader " READ_KEY " read\nuser " USE_KEY "\nboss " ADMIN_KEY " admin\n");
    serve_start(&s, (const char *[]){"--api-key-file", path, NULL}, NULL);
    const struct route *t;
    int n = 0;
    for (int i = 0; (t = route_at(i)); i++) {
        const bool open = t->right == RIGHT_NONE;
        if (open != (status_with(&s, t, bearer, NULL) != 401)) fail_msg("%s: no key", t->path);
        if (open != (status_with(&s, t, bearer, "wrong-key-0123456789") != 401))
            fail_msg("%s: wrong key", t->path);
        if ((t->right > RIGHT_READ) != (status_with(&s, t, bearer, READ_KEY) == 403))
            fail_msg("%s: read key", t->path);
        if ((t->right > RIGHT_USE) != (status_with(&s, t, x, USE_KEY) == 403))
            fail_msg("%s: use key", t->path);
        const int admin = status_with(&s, t, bearer, ADMIN_KEY);
        if (admin == 401 || admin == 403) fail_msg("%s: admin key: %d", t->path, admin);
        n++;
    }
    assert_true(n >= 5);
    assert_true(serve_lines(&s, "\"user\":\"boss\"", "/metrics", 1) >= 1);
    assert_int_equal(serve_lines(&s, "key-0123456789", "", 0), 0); /* no key in the log */
    assert_int_equal(serve_stop(&s), 0);
}

/* What binds wider than loopback needs keys, or to be told. */
static void wider(void **state) {
    (void)state;
    if (serve_isolated()) skip();
    struct serve s;
    struct buf said = {0};
    static const char *const all[] = {"--listen", "0.0.0.0:0", NULL};
    assert_int_equal(serve_fails(all, NULL, &said), 5);
    assert_non_null(strstr(said.p, "--api-key-file"));
    serve_start(&s, all, (const char *[]){"CRIA_ALLOW_REMOTE=1", NULL});
    assert_int_equal(serve_lines(&s, "no API keys", "warning", 1), 1);
    struct answer a;
    ask(&s, &a, "GET", "/", "Host: some.name\r\n", NULL); /* names are not known there */
    assert_int_equal(a.status, 200);
    answer_fini(&a);
    assert_int_equal(serve_stop(&s), 0);
    write_keys("user " USE_KEY "\n");
    serve_start(&s, (const char *[]){"--listen", "0.0.0.0:0", "--api-key-file", path, NULL}, NULL);
    ask(&s, &a, "GET", "/metrics", NULL, NULL);
    assert_int_equal(a.status, 401);
    answer_fini(&a);
    assert_int_equal(serve_stop(&s), 0);
    write_keys("user short\n");
    assert_int_equal(serve_fails((const char *[]){"--api-key-file", path, NULL}, NULL, &said), 2);
    buf_fini(&said);
}

/* ---- time ---- */

/* Welch's t of the times of two wrong keys, of which one has its first bytes right. */
static void constant_time(void **state) {
    (void)state;
    enum { N = 20000, ROUNDS = 5 };
    static const char *const guess[2] = {"use-key-01234567xxxx", "xxx-key-01234567xxxx"};
    struct err e;
    const struct key *volatile unused;
    struct keys *k = keys_new(&e);
    write_keys("user " USE_KEY "\nboss " ADMIN_KEY " admin\n");
    assert_int_equal(keys_read_file(k, path, &e), 0);
    double t = 0;
    for (int round = 0; round < ROUNDS; round++) { /* the machine has others on it */
        double sum[2] = {0}, square[2] = {0};
        int n[2] = {0};
        for (int i = 0; i < 2 * N; i++) {
            const int w = rand() & 1;
            const int64_t t0 = os_now_ns();
            for (int j = 0; j < 4; j++)
                unused = keys_find(k, str_of(guess[w]));
            const double d = (double)(os_now_ns() - t0);
            if (d > 20000) continue; /* interrupted */
            sum[w] += d, square[w] += d * d, n[w]++;
        }
        double mean[2], var[2];
        for (int w = 0; w < 2; w++) {
            mean[w] = sum[w] / n[w];
            var[w] = square[w] / n[w] - mean[w] * mean[w];
        }
        t = fabs(mean[0] - mean[1]) / sqrt(var[0] / n[0] + var[1] / n[1]);
        if (t < 3) break;
    }
    (void)unused;
    keys_unref(k);
    if (!SANITIZED && !(t < 3)) fail_msg("t = %.2f", t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_file), cmocka_unit_test(bad_files),     cmocka_unit_test(every_route),
        cmocka_unit_test(wider),     cmocka_unit_test(constant_time),
    };
    return cmocka_run_group_tests(tests, begin, end);
}
