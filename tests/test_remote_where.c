/* Where commands look for a server: a Unix socket, https, a path, another machine; and what the
 * setting HOST may be, for them as for `cria serve`. */
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api_rig.h"
#include "server/settings.h"
#include "server_rig.h"

static char *dir;

static int set_up(void **state) {
    (void)state;
    dir = temp_folder();
    setenv("HOME", dir, 1);
    make_certificates(dir);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    temp_remove(dir);
    return 0;
}

#define ARGS(...)                                                                                  \
    (const char *const[]) {                                                                        \
        __VA_ARGS__, NULL                                                                          \
    }

/* Exit code as told; both outputs have what is expected of them, and never a key. */
static void cria(const char *const *args, int code, const char *out, const char *err) {
    struct ran r;
    run_cria(&r, args, "", 0, 60);
    const char *a = r.out.p ? r.out.p : "", *b = r.err.p ? r.err.p : "";
    if (r.code != code || !strstr(a, out) || !strstr(b, err))
        fail_msg("%s: exit %d (expected %d): %s%s (expected %s, %s)", args[0], r.code, code, a, b,
                 out, err);
    assert_null(strstr(a, "s3cret"));
    assert_null(strstr(b, "s3cret"));
    ran_fini(&r);
}

/* ---- the address ---- */

static void addresses(void **state) {
    (void)state;
    static const struct {
        const char *text, *at, *path;
        bool https;
    } good[] = {
        {"", "127.0.0.1:11434", "", false},
        {"127.0.0.1", "127.0.0.1:11434", "", false},
        {":80", "127.0.0.1:80", "", false},
        {"localhost:8080", "127.0.0.1:8080", "", false},
        {"example.org", "example.org:11434", "", false},
        {"http://example.org", "example.org:80", "", false},
        {"HTTPS://example.org", "example.org:443", "", true},
        {"https://example.org:1/a/b//", "example.org:1", "/a/b", true},
        {"http://[::1]/", "[::1]:80", "", false},
        {"::1", "[::1]:11434", "", false},
        {"[fe80::1]:9", "[fe80::1]:9", "", false},
        {"unix:/run/cria.sock", "unix:/run/cria.sock", "", false},
    };
    static const char *const bad[] = {
        "127.0.0.1:x", "127.0.0.1:70000", "[::1", "[::1]x", "unix:", "a:1:", "http://a:b"};
    struct settings_url u;
    struct err e;
    char at[SETTING_TEXT], longer[SETTING_TEXT + 200];
    for (size_t i = 0; i < sizeof good / sizeof *good; i++) {
        assert_int_equal(settings_url(good[i].text, &u, &e), 0);
        assert_int_equal(settings_host(good[i].text, at, &e), 0);
        assert_string_equal(at, good[i].at);
        assert_string_equal(u.path, good[i].path);
        assert_int_equal(u.https, good[i].https);
    }
    for (size_t i = 0; i < sizeof bad / sizeof *bad; i++) {
        if (settings_url(bad[i], &u, &e) == 0) fail_msg("%s is taken", bad[i]);
        assert_int_equal(e.code, ERR_USAGE);
        setenv("CRIA_HOST", bad[i], 1);
        cria(ARGS("list"), 2, "", "setting CRIA_HOST: ");
    }
    memset(longer, 'a', sizeof longer);
    longer[sizeof longer - 1] = 0;
    assert_int_equal(settings_url(longer, &u, &e), -1);
    memcpy(longer, "unix:", 5);
    longer[5 + 107] = 0;
    assert_int_equal(settings_url(longer, &u, &e), 0);
    longer[5 + 107] = 'a', longer[5 + 108] = 0; /* no socket can have that path */
    assert_int_equal(settings_url(longer, &u, &e), -1);
}

/* ---- a Unix socket ---- */

static void unix_socket(void **state) {
    (void)state;
    struct serve srv;
    char at[700];
    snprintf(at, sizeof at, "unix:%s/cria.sock", dir);
    setenv("CRIA_HOST", at, 1);
    cria(ARGS("list"), 0, "NAME", ""); /* nobody there: the store here */
    cria(ARGS("ps"), 4, "", at);       /* which has no answer to that */
    serve_start(&srv, ARGS("--listen", at), NULL);
    char model[800], text[PATH_MAX];
    snprintf(model, sizeof model, "%s/Modelfile", dir);
    assert_non_null(realpath(golden("models/llama32.gguf"), text));
    FILE *f = fopen(model, "we");
    fprintf(f, "FROM %s\n", text);
    fclose(f);
    setenv("http_proxy", "http://127.0.0.1:1", 1); /* not on the way to a socket */
    cria(ARGS("create", "m", "-f", model), 0, "", "success");
    cria(ARGS("list"), 0, "m:latest", "");
    cria(ARGS("show", "m"), 0, "architecture", "");
    cria(ARGS("run", "m", "--raw", "hello", "-o", "num_predict=2"), 0, "", "");
    cria(ARGS("ps"), 0, "m:latest", "");
    cria(ARGS("stop", "m"), 0, "", "");
    cria(ARGS("show", "nobody"), 3, "", "Error: model 'nobody' not found");
    unsetenv("http_proxy");
    assert_int_equal(serve_stop(&srv), 0);
    cria(ARGS("show", "m"), 3, "", "not found"); /* the store here never had it */
}

/* ---- TLS, keys ---- */

static void tls_and_keys(void **state) {
    (void)state;
    struct serve srv;
    char cert[700], key[700], ca[700], keys[700], at[100];
    snprintf(cert, sizeof cert, "%s/cert.pem", dir);
    snprintf(key, sizeof key, "%s/key.pem", dir);
    snprintf(ca, sizeof ca, "%s/ca.pem", dir);
    snprintf(keys, sizeof keys, "%s/keys", dir);
    FILE *f = fopen(keys, "we");
    fputs("me s3cret-s3cret-s3cret-s3cret-s3cret admin\n", f);
    fclose(f);
    serve_start(&srv,
                ARGS("--tls-cert", cert, "--tls-key", key, "--api-key-file", keys, "--listen",
                     "127.0.0.1:0"),
                NULL);
    snprintf(at, sizeof at, "https://localhost:%d", srv.port);
    setenv("CRIA_HOST", at, 1);
    /* An unknown certificate is no reason to work elsewhere. */
    cria(ARGS("list"), 5, "", "SSL_CERT_FILE=FILE names the certificates to trust");
    setenv("SSL_CERT_FILE", ca, 1);
    cria(ARGS("list"), 5, "", "(CRIA_API_KEY=KEY sends one)");
    setenv("CRIA_API_KEY", "s3cret-wrong", 1);
    cria(ARGS("list"), 5, "", "(the key of CRIA_API_KEY was sent)");
    setenv("CRIA_API_KEY", "s3cret-s3cret-s3cret-s3cret-s3cret", 1);
    cria(ARGS("list"), 0, "NAME", "");
    cria(ARGS("show", "nobody"), 3, "", "Error: model 'nobody' not found");
    cria(ARGS("doctor"), 0, "", "");
    snprintf(at, sizeof at, "https://127.0.0.1:%d", srv.port); /* the certificate is not for it */
    setenv("CRIA_HOST", at, 1);
    cria(ARGS("list"), 5, "", "SSL_CERT_FILE=FILE");
    snprintf(at, sizeof at, "http://localhost:%d", srv.port); /* not encrypted: no server */
    setenv("CRIA_HOST", at, 1);
    cria(ARGS("list"), 1, "", "Error: ");
    assert_int_equal(serve_lines(&srv, "s3cret", "", 0), 0);
    assert_int_equal(serve_stop(&srv), 0);
    serve_start(&srv, NULL, NULL);
    snprintf(at, sizeof at, "https://localhost:%d", srv.port); /* nothing but http there */
    setenv("CRIA_HOST", at, 1);
    cria(ARGS("list"), 1, "", "is it http:// that is spoken there?");
    assert_int_equal(serve_stop(&srv), 0);
    unsetenv("SSL_CERT_FILE"), unsetenv("CRIA_API_KEY");
}

/* ---- other machines ---- */

/* Models of another machine are not looked for here, and not touched here. */
static void elsewhere(void **state) {
    (void)state;
    char model[1200];
    setenv("CRIA_HOST", "http://no-such-host.invalid:1", 1);
    setenv("no_proxy", "*", 1);
    const char *said = "could not connect to a server at http://no-such-host.invalid:1; run 'cria "
                       "serve' to start one, or without CRIA_HOST the models of this machine are";
    cria(ARGS("list"), 4, "", said);
    cria(ARGS("rm", "m"), 4, "", said);
    cria(ARGS("cp", "m", "n"), 4, "", said);
    cria(ARGS("pull", "m"), 4, "", said);
    cria(ARGS("push", "m"), 4, "", said);
    cria(ARGS("show", "m"), 4, "", said);
    cria(ARGS("run", "m", "hi"), 4, "", said);
    cria(ARGS("create", "m"), 4, "", said);
    cria(ARGS("run", "m", "hi", "--lora", "x"), 1, "",
         "--lora: for models of this machine only; CRIA_HOST names the server");
    cria(ARGS("run", "m", "hi", "-o", "draft=x"), 1, "", "-o draft: for models of this machine");
    snprintf(model, sizeof model, "%s", golden("models/llama32.gguf"));
    cria(ARGS("run", model, "--raw", "hi", "-o", "num_predict=2"), 0, "", ""); /* a file is ours */
    cria(ARGS("show", model), 0, "architecture", "");
    setenv("CRIA_HOST", "http://0.0.0.0:1", 1); /* this machine */
    cria(ARGS("list"), 0, "NAME", "");
    unsetenv("no_proxy");
}

int main(void) {
    const struct CMUnitTest tests[] = {cmocka_unit_test(addresses), cmocka_unit_test(unix_socket),
                                       cmocka_unit_test(tls_and_keys), cmocka_unit_test(elsewhere)};
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
