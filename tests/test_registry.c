/* Push and pull through a real registry (Debian's docker-registry) on loopback: plain, with TLS
 * from an authority of the test's own, and with a password. */
#include "server_rig.h"
#include "store_rig.h"

#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/os.h"

#define RUN(r, ...) run_cria(&(r), (const char *const[]){__VA_ARGS__, NULL}, "", 0, 60)

static struct shop shop;

/* ---- the frame ---- */

static int set_up(void **state) {
    (void)state;
    shop_open(&shop);
    setenv("HOME", shop.dir, 1);
    setenv("CRIA_MODELS", shop.root, 1);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    shop_close(&shop);
    return 0;
}

static void ran_well(struct ran *r, int code) {
    if (code != 0) fail_msg("exit code %d: %s", code, r->err.p);
    ran_fini(r);
}

static void id_of(const char *name, struct digest *id) {
    struct name n;
    struct manifest m;
    assert_int_equal(name_parse(name, &n, &shop.e), 0);
    if (store_get(shop.s, &n, NULL, &m, &shop.e) != 0) fail_msg("%s", shop.e.msg);
    *id = m.id;
    manifest_fini(&m);
}

/* ---- tests ---- */

static void there_and_back(void **state) {
    (void)state;
    struct server reg;
    struct ran r;
    struct digest before, after;
    char name[100], address[120];
    registry_start(&reg, shop.dir, "plain", "");
    snprintf(name, sizeof name, "127.0.0.1:%d/library/small:v1", reg.port);
    snprintf(address, sizeof address, "http://%s", name);
    shop_put(&shop, name, "the layer of a model");
    id_of(name, &before);
    ran_well(&r, RUN(r, "push", address));
    assert_int_equal(RUN(r, "push", address), 0); /* all is there */
    assert_non_null(strstr(r.err.p, "\thttp://127.0.0.1:"));
    ran_fini(&r);
    assert_int_equal(server_lines(&reg, "PATCH", " 202 ", 2), 2);
    assert_int_equal(shop_remove(&shop, name), 0);
    assert_int_equal(shop_count(&shop, "blobs"), 0);
    assert_int_equal(RUN(r, "pull", address, "--json"), 0);
    static const char *const said[] = {"{\"status\":\"pulling manifest\"}", "\"status\":\"pulling ",
                                       "{\"status\":\"verifying sha256 digest\"}",
                                       "{\"status\":\"writing manifest\"}",
                                       "{\"status\":\"success\"}"};
    for (size_t i = 0; i < sizeof said / sizeof *said; i++)
        if (!strstr(r.out.p, said[i])) fail_msg("\"%s\" is not in %s", said[i], r.out.p);
    ran_fini(&r);
    id_of(name, &after);
    assert_true(digest_eq(&before, &after));
    shop_check(&shop, 1);
    /* By its id; by a wrong one. */
    char pinned[300];
    snprintf(pinned, sizeof pinned, "%s@sha256:%s", address, before.hex);
    ran_well(&r, RUN(r, "pull", pinned));
    pinned[strlen(pinned) - 1] ^= 1;
    assert_int_equal(RUN(r, "pull", pinned), 3);
    ran_fini(&r);
    snprintf(address, sizeof address, "http://127.0.0.1:%d/library/none", reg.port);
    assert_int_equal(RUN(r, "pull", address), 3);
    assert_non_null(strstr(r.err.p, "file does not exist"));
    ran_fini(&r);
    server_stop(&reg);
}

/* `verify --repair`: other bytes, a blob that is gone, a manifest that is none. */
static void repaired(void **state) {
    (void)state;
    static const char layer[] = "the layer of another model";
    struct server reg;
    struct ran r;
    struct digest d, before, after;
    char name[100], address[120], blob[100], rel[200];
    registry_start(&reg, shop.dir, "repair", "");
    snprintf(name, sizeof name, "127.0.0.1:%d/library/small:v1", reg.port);
    snprintf(address, sizeof address, "http://%s", name);
    shop_put(&shop, name, layer);
    id_of(name, &before);
    ran_well(&r, RUN(r, "push", address));
    digest_of(layer, strlen(layer), &d, &shop.e);
    snprintf(blob, sizeof blob, "blobs/sha256-%s", d.hex);
    snprintf(rel, sizeof rel, "manifests/127.0.0.1:%d/library/small/v1", reg.port);
    for (int way = 0; way < 3; way++) {
        assert_int_equal(way == 2 ? 0 : store_discard_blob(shop.s, &d, &shop.e), 0);
        if (way == 0) shop_file(&shop, blob, "the layer of another modem");
        if (way == 2) shop_file(&shop, rel, "{\"schemaVersion\":2,");
        assert_int_equal(RUN(r, "verify"), 1);
        ran_fini(&r);
        assert_int_equal(RUN(r, "verify", "--repair", "--insecure"), 0);
        if (!strstr(r.out.p, ": all as they should be\n")) fail_msg("way %d: %s", way, r.out.p);
        ran_fini(&r);
        id_of(name, &after);
        assert_true(digest_eq(&before, &after));
        shop_check(&shop, -1);
    }
    server_stop(&reg);
    assert_int_equal(store_discard_blob(shop.s, &d, &shop.e), 0);
    assert_int_equal(RUN(r, "verify", "--repair", "--insecure"), 1); /* nobody is there */
    assert_true(r.err.n > 0);
    ran_fini(&r);
}

/* A short tag is looked up as it is written, then in its usual long form. */
static void short_tags(void **state) {
    (void)state;
    struct server reg;
    struct ran r;
    char name[100], address[120];
    registry_start(&reg, shop.dir, "tags", "");
    snprintf(name, sizeof name, "127.0.0.1:%d/library/llama:3b-instruct-q8_0", reg.port);
    snprintf(address, sizeof address, "http://%s", name);
    shop_put(&shop, name, "instructed");
    ran_well(&r, RUN(r, "push", address));
    snprintf(address, sizeof address, "http://127.0.0.1:%d/library/llama:3b-q8_0", reg.port);
    assert_int_equal(RUN(r, "pull", address), 0);
    assert_non_null(strstr(r.err.p, "took 127.0.0.1"));
    assert_non_null(strstr(r.err.p, "3b-instruct-q8_0"));
    ran_fini(&r);
    struct digest id;
    id_of(address, &id);
    server_stop(&reg);
}

/* Two processes pull one model: its bytes come once. */
static void one_download_for_two(void **state) {
    (void)state;
    struct server reg;
    struct ran r;
    enum { N = 48 << 20 };
    char name[100], address[120], digest[80];
    char *big = malloc(N + 1);
    for (int i = 0; i < N; i++)
        big[i] = (char)('a' + (i * 7 + i / 1000) % 26);
    big[N] = 0;
    registry_start(&reg, shop.dir, "two", "");
    snprintf(name, sizeof name, "127.0.0.1:%d/library/big", reg.port);
    snprintf(address, sizeof address, "http://%s", name);
    shop_put(&shop, name, big);
    struct digest d;
    assert_int_equal(digest_of(big, N, &d, &shop.e), 0);
    free(big);
    ran_well(&r, RUN(r, "push", address));
    assert_int_equal(shop_remove(&shop, name), 0);
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    pid_t pid[2];
    for (int i = 0; i < 2; i++)
        if ((pid[i] = fork()) == 0) {
            if (!freopen("/dev/null", "w", stderr)) _exit(1);
            execl(cria, cria, "pull", address, (char *)NULL);
            _exit(127);
        }
    for (int i = 0; i < 2; i++) {
        int status;
        assert_int_equal(waitpid(pid[i], &status, 0), pid[i]);
        assert_int_equal(status, 0);
    }
    snprintf(digest, sizeof digest, "/blobs/sha256:%s", d.hex);
    assert_int_equal(server_lines(&reg, "GET", digest, 1), 1);
    struct digest id;
    id_of(name, &id);
    server_stop(&reg);
}

/* key.pem and cert.pem in dir */
static void make_certificate(const char *dir) {
    char line[2000];
    snprintf(
        line, sizeof line,
        "cd %s && openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 2 "
        "-subj /CN=localhost -addext subjectAltName=DNS:localhost,IP:127.0.0.1 "
        "-keyout key.pem -out cert.pem 2>/dev/null",
        dir);
    assert_int_equal(system(line), 0);
}

/* https is the default; a certificate of an unknown authority is refused. */
static void with_tls(void **state) {
    (void)state;
    struct server reg;
    struct ran r;
    char more[1600], name[100], address[120], authority[700];
    make_certificate(shop.dir);
    snprintf(more, sizeof more, "  tls:\n    certificate: %s/cert.pem\n    key: %s/key.pem\n",
             shop.dir, shop.dir);
    registry_start(&reg, shop.dir, "tls", more);
    snprintf(name, sizeof name, "localhost:%d/library/small", reg.port);
    shop_put(&shop, name, "behind TLS");
    assert_int_equal(RUN(r, "push", name), 5);
    assert_non_null(strstr(r.err.p, "certificate"));
    ran_fini(&r);
    /* With --insecure the certificate does not matter, and plain http is not spoken. */
    ran_well(&r, RUN(r, "push", name, "--insecure"));
    snprintf(address, sizeof address, "https://%s", name);
    assert_int_equal(RUN(r, "push", address, "--insecure"), 0);
    assert_non_null(strstr(r.err.p, "\thttps://localhost:"));
    ran_fini(&r);
    assert_int_equal(shop_remove(&shop, name), 0);
    ran_well(&r, RUN(r, "pull", address, "--insecure"));
    snprintf(address, sizeof address, "http://%s", name);
    assert_int_not_equal(RUN(r, "pull", address, "--insecure"), 0);
    ran_fini(&r);
    snprintf(authority, sizeof authority, "%s/cert.pem", shop.dir);
    setenv("SSL_CERT_FILE", authority, 1);
    ran_well(&r, RUN(r, "push", name));
    assert_int_equal(shop_remove(&shop, name), 0);
    ran_well(&r, RUN(r, "pull", name));
    unsetenv("SSL_CERT_FILE");
    server_stop(&reg);
}

/* A registry that wants a password says so. */
static void with_a_password(void **state) {
    (void)state;
    struct server reg;
    struct ran r;
    char more[1600], address[100], path[700];
    /* "user", bcrypt of "password" */
    static const char users[] =
        "user:$2y$05$8M0lSqKTxKbU3M1Z0Q0yUu1Z8g5mWvJY0H3uQmO3lq9m7Yb2vWc0a\n";
    snprintf(path, sizeof path, "%s/users", shop.dir);
    assert_int_equal(os_write_file(path, users, strlen(users), &shop.e), 0);
    snprintf(more, sizeof more, "auth:\n  htpasswd:\n    realm: here\n    path: %s\n", path);
    registry_start(&reg, shop.dir, "password", more);
    snprintf(address, sizeof address, "http://127.0.0.1:%d/library/x", reg.port);
    assert_int_equal(RUN(r, "pull", address), 5);
    assert_non_null(strstr(r.err.p, "Basic"));
    ran_fini(&r);
    server_stop(&reg);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(there_and_back), cmocka_unit_test(repaired),
        cmocka_unit_test(short_tags),     cmocka_unit_test(one_download_for_two),
        cmocka_unit_test(with_tls),       cmocka_unit_test(with_a_password),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
