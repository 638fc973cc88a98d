/* cria.conf and what Modelfiles say of how a model is served: `cria config`, create and show, and
 * files that are wrong. */
#include "support.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "policy/conf.h"

static char *dir;

static const char *file(const char *name, const char *text) {
    static char path[600];
    struct err e;
    snprintf(path, sizeof path, "%s/%s", dir, name);
    if (os_write_file(path, text, strlen(text), &e) != 0) fail_msg("%s", e.msg);
    return path;
}

static int set_up(void **state) {
    (void)state;
    char models[600];
    dir = temp_folder();
    snprintf(models, sizeof models, "%s/models", dir);
    setenv("HOME", dir, 1);
    setenv("CRIA_MODELS", models, 1);
    setenv("CRIA_HOST", "127.0.0.1:9", 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

static const char good[] = "# a comment\n"
                           "KEEP_ALIVE = 10m ; and one behind\n"
                           "cria_num_parallel=2\n"
                           "OLLAMA_ORIGINS = \"http://a.example,\n"
                           "    http://b.example\"\n"
                           "\n"
                           "[model llama3.2:3b]\n"
                           "fallback = llama3.2:1b\n"
                           "  qwen2.5:0.5b\n"
                           "cache = always 1h\n"
                           "policy = pii=redact audit=required first_token=5s\n"
                           "[model b]\n"
                           "cache = off\n";

static void reads(void **state) {
    (void)state;
    struct conf c;
    struct err e;
    struct name n;
    struct model_policy p = {.cache = POLICY_CACHE_ON, .cache_ttl_ns = 7};
    char text[NAME_TEXT];
    if (conf_read(file("cria.conf", good), &c, &e) != 0) fail_msg("%s", e.msg);
    assert_int_equal(c.n_setting, 3);
    assert_int_equal(c.n_model, 2);
    assert_string_equal(c.setting[0].value, "10m");
    assert_int_equal(c.setting[1].line, 3);
    assert_int_equal(name_parse("LLAMA3.2:3B", &n, &e), 0);
    conf_model_policy(&c, &n, &p);
    assert_int_equal(p.n_fallback, 2);
    name_short(&p.fallback[1], text);
    assert_string_equal(text, "qwen2.5:0.5b");
    assert_int_equal(p.cache, POLICY_CACHE_ALWAYS);
    assert_int_equal(p.cache_ttl_ns, 3600 * (int64_t)1000000000);
    assert_string_equal(p.pii, "redact");
    assert_int_equal(p.audit, POLICY_AUDIT_REQUIRED);
    assert_int_equal(p.first_token_ns, 5 * (int64_t)1000000000);
    p = (struct model_policy){.cache = POLICY_CACHE_ON, .cache_ttl_ns = 7};
    assert_int_equal(name_parse("other", &n, &e), 0);
    conf_model_policy(&c, &n, &p);
    assert_int_equal(p.cache, POLICY_CACHE_ON);
    conf_free(&c);
}

/* Files of editors that mark them as UTF-8, or have odd blanks: each line is its own model's. */
static void reads_odd_beginnings(void **state) {
    (void)state;
    static const char *const text[] = {"\xef\xbb\xbf[model b]\ncache = off\n",
                                       "\xef\xbb\xbf  [model b]\ncache = off\n",
                                       "[model a]\n\f[model b]\ncache = off\n",
                                       "[model a]\npolicy = pii=mask\n[model b]\ncache = off\n"};
    for (size_t i = 0; i < sizeof text / sizeof *text; i++) {
        struct conf c;
        struct err e = {0};
        struct name n;
        struct model_policy p = {0};
        if (conf_read(file("odd.conf", text[i]), &c, &e) != 0) fail_msg("%zu: %s", i, e.msg);
        assert_int_equal(name_parse("b", &n, &e), 0);
        conf_model_policy(&c, &n, &p);
        assert_int_equal(p.cache, POLICY_CACHE_OFF);
        assert_int_equal(c.n_model, i < 2 ? 1 : 2);
        conf_free(&c);
    }
}

/* Each is refused, and the message says where and what. */
static void refuses(void **state) {
    (void)state;
    static const struct {
        const char *text, *says;
    } bad[] = {
        {"A=1\nFOO=1\n", "line 1: \"A\" is no setting"},
        {"\nKEEP_ALIVE=soon\n", "line 2: setting CRIA_KEEP_ALIVE"},
        {"KEEP_ALIVE=1m\nNUM_PARALLEL=1\nkeep_alive=2m\n", "line 3: keep_alive was set in line 1"},
        {"KEEP_ALIVE=1m\nKEEP_ALIVE=2m\n", "line 2: KEEP_ALIVE was set in line 1"},
        {"nothing\n", "line 1: NAME = VALUE"},
        {"[model a\n", "line 1: "},
        {"[modell a]\n", "line 1: sections are [model NAME]"},
        {"[model]\n", "line 1: sections are [model NAME]"},
        {"[model a/b/c/d/e]\n", "line 1: "},
        {"[model a]\n[model A:latest]\n", "line 2: the model has a section in line 1"},
        {"[model a]\npolicy=pii=mask\npolicy=audit=on\n", "line 3: a second one"},
        {"[model a]\ncache=on\n [model b]\n", "line 3: CACHE: found \"[model\""},
        {"[model a]\npolic = x\n", "line 2: found \"polic\""},
        {"[model a]\nfallback = a b a\n", "line 2: FALLBACK: found \"a\" twice"},
        {"[model a]\nfallback =\n", "line 2: FALLBACK"},
        {"[model a]\nfallback = 1 2 3 4 5 6 7 8\n", "line 2: FALLBACK: found more than 7"},
        {"[model a]\ncache = sometimes\n", "line 2: CACHE: found \"sometimes\""},
        {"[model a]\ncache = -1h\n", "line 2: CACHE: found \"-1h\""},
        {"[model a]\ncache = 1h 2h\n", "line 2: CACHE: found \"2h\""},
        {"[model a]\npolicy = pii=foo\n", "line 2: POLICY pii: found \"foo\""},
        {"[model a]\npolicy = audit=maybe\n", "line 2: POLICY audit"},
        {"[model a]\npolicy = colour=red\n", "line 2: POLICY: found \"colour\""},
        {"[model a]\npolicy = pii\n", "line 2: POLICY: found \"pii\""},
    };
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ran r;
        const char *path = file("bad.conf", bad[i].text);
        run_cria(&r, (const char *[]){"config", "check", path, NULL}, NULL, 0, 30);
        if (r.code != 2 || !strstr(r.err.p, bad[i].says))
            fail_msg("%s: %d, %s", bad[i].text, r.code, r.err.p);
        ran_fini(&r);
    }
}

static void refuses_long_lines(void **state) {
    (void)state;
    struct buf b = {0};
    struct ran r;
    const char *const says[] = {"line 2: longer than 198 bytes", NULL};
    for (int n = CONF_LINE_MAX - 1; n <= CONF_LINE_MAX; n++) { /* with its end: 198, 199 */
        buf_reset(&b);
        buf_str(&b, "# one\nORIGINS=");
        for (int i = (int)strlen("ORIGINS="); i < n; i++)
            buf_byte(&b, 'x');
        buf_byte(&b, '\n');
        const char *path = file("long.conf", b.p);
        run_cria(&r, (const char *[]){"config", "check", path, NULL}, NULL, 0, 30);
        assert_int_equal(r.code, n < CONF_LINE_MAX ? 0 : 2);
        if (r.code) assert_non_null(strstr(r.err.p, says[0]));
        ran_fini(&r);
    }
    buf_reset(&b); /* A value of many lines. */
    buf_str(&b, "ORIGINS=a\n");
    while (b.n < CONF_MAX_BYTES - 8)
        buf_str(&b, " a\n");
    const char *path = file("long.conf", b.p);
    run_cria(&r, (const char *[]){"config", "check", path, NULL}, NULL, 0, 20);
    assert_int_equal(r.code, 2);
    assert_non_null(strstr(r.err.p, "the value is too long"));
    ran_fini(&r);
    buf_fini(&b);
    run_cria(&r, (const char *[]){"config", "check", "/nowhere/cria.conf", NULL}, NULL, 0, 30);
    assert_int_not_equal(r.code, 0);
    assert_non_null(strstr(r.err.p, "/nowhere/cria.conf"));
    ran_fini(&r);
}

/* The environment stands over the file, the file over what is usual; passwords are not shown. */
static void tells_where_from(void **state) {
    (void)state;
    struct ran r;
    const char *path = file("cria.conf", good);
    setenv("CRIA_MAX_QUEUE", "7", 1);
    run_cria(&r, (const char *[]){"config", "--json", "--config", path, NULL}, NULL, 0, 30);
    unsetenv("CRIA_MAX_QUEUE");
    assert_int_equal(r.code, 0);
    json_t *j = json_loadb(r.out.p, r.out.n, 0, NULL), *all = json_object_get(j, "settings");
    static const char *const want[][3] = {{"KEEP_ALIVE", "10m", "file"},
                                          {"MAX_QUEUE", "7", "environment"},
                                          {"GRACE", "30s", "default"}};
    for (int i = 0; i < 3; i++) {
        const json_t *one = json_object_get(all, want[i][0]);
        assert_string_equal(json_string_value(json_object_get(one, "value")), want[i][1]);
        assert_string_equal(json_string_value(json_object_get(one, "source")), want[i][2]);
    }
    assert_int_equal(json_object_size(json_object_get(j, "models")), 2);
    json_decref(j);
    ran_fini(&r);
}

/* ---- Modelfiles ---- */

static int create(struct ran *r, const char *lines) {
    char text[1400];
    char *base = realpath(golden("train/models/llama-untied.gguf"), NULL);
    assert_non_null(base);
    snprintf(text, sizeof text, "FROM %s\n%s", base, lines);
    free(base);
    const char *path = file("Modelfile", text);
    return run_cria(r, (const char *[]){"create", "m", "--link", "-f", path, NULL}, NULL, 0, 60);
}

static void models_say_it(void **state) {
    (void)state;
    struct ran r;
    if (create(&r, "FALLBACK a b:1\nCACHE always 10m\nPOLICY pii=mask audit=on\n") != 0)
        fail_msg("%s", r.err.p);
    ran_fini(&r);
    assert_int_equal(run_cria(&r, (const char *[]){"show", "m", "--modelfile", NULL}, NULL, 0, 30),
                     0);
    assert_non_null(strstr(r.out.p, "\nFALLBACK a b:1\n"));
    assert_non_null(strstr(r.out.p, "\nCACHE always 10m\n"));
    assert_non_null(strstr(r.out.p, "\nPOLICY pii=mask audit=on\n"));
    ran_fini(&r);

    struct store *s = store_open(NULL, NULL);
    struct manifest m;
    struct model_policy p = {0};
    struct name n;
    struct err e;
    assert_int_equal(name_parse("m", &n, &e), 0);
    assert_int_equal(store_get(s, &n, NULL, &m, &e), 0);
    if (model_policy_read(s, &m, &p, &e) != 0) fail_msg("%s", e.msg);
    assert_int_equal(p.n_fallback, 2);
    assert_int_equal(p.cache, POLICY_CACHE_ALWAYS);
    assert_string_equal(p.pii, "mask");
    assert_int_equal(p.audit, POLICY_AUDIT_ON);
    manifest_fini(&m);
    store_close(s);
}

static void wrong_lines(void **state) {
    (void)state;
    static const char *const bad[][2] = {
        {"CACHE sometimes\n", "(line 2): CACHE"},
        {"\nPOLICY pii=loud\n", "(line 3): POLICY pii"},
        {"FALLBACK a\nFALLBACK b\n", "(line 3): a second FALLBACK"},
        {"FALLBACK /a/b/c/d\n", "(line 2): FALLBACK"}};
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        struct ran r;
        if (create(&r, bad[i][0]) == 0 || !strstr(r.err.p, bad[i][1]))
            fail_msg("%s: %s", bad[i][0], r.err.p);
        ran_fini(&r);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads),
        cmocka_unit_test(reads_odd_beginnings),
        cmocka_unit_test(refuses),
        cmocka_unit_test(refuses_long_lines),
        cmocka_unit_test(tells_where_from),
        cmocka_unit_test(models_say_it),
        cmocka_unit_test(wrong_lines),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
