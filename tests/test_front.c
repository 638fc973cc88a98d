/* What stands before registries: nginx before docker-registry, on loopback.  A CDN of another
 * origin, with and without ranges; TLS that ends at a proxy; limits of bodies; connections that
 * break; a token server. */
#include "server_rig.h"
#include "store_rig.h"
#include "token_rig.h"

#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUN(r, ...) run_cria(&(r), (const char *const[]){__VA_ARGS__, NULL}, "", 0, 60)

static struct shop shop;
static struct server registry, front, cdn;

static int set_up(void **state) {
    (void)state;
    shop_open(&shop);
    setenv("HOME", shop.dir, 1);
    setenv("CRIA_MODELS", shop.root, 1);
    return 0;
}

/* Also after a test that failed. */
static void stop_servers(void) {
    server_stop(&front), server_stop(&cdn), server_stop(&registry);
    front = cdn = registry = (struct server){0};
}

static int tear_down(void **state) {
    (void)state;
    stop_servers();
    shop_close(&shop);
    return 0;
}

/* "HOST:PORT/library/MODEL"; scheme "" or "http://". */
static const char *named(const char *scheme, const char *host, const char *model) {
    static char ring[8][160];
    static unsigned i;
    char *b = ring[i++ & 7];
    snprintf(b, sizeof ring[0], "%s%s:%d/library/%s", scheme, host, front.port, model);
    return b;
}

static void well(struct ran *r, int code) {
    if (code != 0) fail_msg("exit code %d: %s", code, r->err.p);
    ran_fini(r);
}

static void refused(struct ran *r, int code, int wanted, const char *said) {
    if (code != wanted || !strstr(r->err.p, said))
        fail_msg("exit code %d, not %d: \"%s\" should say \"%s\"", code, wanted, r->err.p, said);
    ran_fini(r);
}

/* A model whose layer has so many bytes, pushed through the front, and gone from the store. */
static void put_and_push(const char *model, size_t n_bytes) {
    struct ran r;
    char *text = malloc(n_bytes + 1);
    for (size_t i = 0; i < n_bytes; i++)
        text[i] = (char)('a' + (i * 7 + i / 1000) % 26);
    text[n_bytes] = 0;
    shop_put(&shop, named("", "127.0.0.1", model), text);
    free(text);
    well(&r, RUN(r, "push", named("http://", "127.0.0.1", model)));
    assert_int_equal(shop_remove(&shop, named("", "127.0.0.1", model)), 0);
    assert_int_equal(shop_count(&shop, "blobs"), 0);
}

static void pull_and_check(const char *model) {
    struct ran r;
    well(&r, RUN(r, "pull", named("http://", "127.0.0.1", model)));
    shop_check(&shop, 1);
    assert_int_equal(shop_remove(&shop, named("", "127.0.0.1", model)), 0);
}

static pid_t start_cria(const char *command, const char *name) {
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    const pid_t pid = fork();
    if (pid == 0) {
        char said[700];
        snprintf(said, sizeof said, "%s/said", shop.dir);
        if (!freopen(said, "w", stderr)) _exit(1);
        execl(cria, cria, command, name, (char *)NULL);
        _exit(127);
    }
    return pid;
}

static void ended_well(pid_t pid) {
    int status;
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status == 0) return;
    size_t n;
    char path[700];
    snprintf(path, sizeof path, "%s/said", shop.dir);
    char *text = (char *)slurp(path, &n);
    fail_msg("status %d: %.*s", status, (int)n, text);
}

static int is_large(const char *path, const struct stat *st, int type, struct FTW *at) {
    (void)path, (void)at;
    return type == FTW_F && st->st_blocks >= 2048;
}

/* Until a file below a folder of shop.dir has a megabyte on the disk. */
static void wait_for_bytes(const char *folder) {
    char path[900];
    snprintf(path, sizeof path, "%s/%s", shop.dir, folder);
    for (int i = 0; i < 20000; i++) {
        if (nftw(path, is_large, 8, FTW_PHYS) == 1) return;
        usleep(500);
    }
    fail_msg("no megabyte in %s", path);
}

/* The front's server block: /v2/ is the registry, and more. */
static void front_start(const char *name, const char *more) {
    char http[4000];
    snprintf(http, sizeof http,
             "server {\nlisten 127.0.0.1:$port;\n%s\n"
             "location /v2/ {\nproxy_pass http://127.0.0.1:%d;\nproxy_set_header Host $http_host;\n"
             "proxy_set_header X-Forwarded-Proto $scheme;\n}\n}\n",
             more, registry.port);
    nginx_start(&front, shop.dir, name, http);
}

/* ---- a CDN ---- */

/* GETs and HEADs of blobs go to another origin, which has the files of the registry's storage. */
static void cdn_start(const char *name, const char *storage, const char *limits, const char *more) {
    char http[1500], redirect[2000], cdn_name[64];
    snprintf(cdn_name, sizeof cdn_name, "%s-cdn", name);
    snprintf(http, sizeof http,
             "server {\nlisten 127.0.0.1:$port;\nroot %s/%s/docker/registry/v2;\n%s\n}\n", shop.dir,
             storage, limits);
    nginx_start(&cdn, shop.dir, cdn_name, http);
    snprintf(redirect, sizeof redirect,
             "client_max_body_size 0;\n%s\nlocation ~ ^/v2/.+/blobs/sha256:((..).+)$ {\n"
             "return 307 http://127.0.0.1:%d/blobs/sha256/$2/$1/data;\n}\n",
             more, cdn.port);
    front_start(name, redirect);
}

static void start_token_registry(const char *name, struct token_server *t, const char *alg) {
    char more[1500];
    front.port = server_free_port();
    token_server_start(t, shop.dir, alg);
    snprintf(t->origin, sizeof t->origin, "http://127.0.0.1:%d", front.port);
    snprintf(more, sizeof more,
             "auth:\n  token:\n    realm: %s/token\n    service: here\n    issuer: cria-test\n"
             "    rootcertbundle: %s\n",
             t->origin, t->certificate);
    registry_start(&registry, shop.dir, name, more);
}

/* Token and redirect at once: the CDN sees ranges and no token. */
static void blobs_from_a_cdn(void **state) {
    (void)state;
    struct token_server t;
    char tokens[300];
    start_token_registry("r1", &t, "ES256");
    snprintf(tokens, sizeof tokens, "location /token { proxy_pass http://127.0.0.1:%d; }",
             t.at.port);
    cdn_start("f1", "r1", "location /blobs/ { limit_rate_after 1m; limit_rate 4m; }", tokens);
    put_and_push("m", 8 << 20);
    const pid_t pid = start_cria("pull", named("http://", "127.0.0.1", "m"));
    wait_for_bytes("store/blobs");
    server_kill(&cdn); /* in the middle */
    nginx_again(&cdn);
    ended_well(pid);
    shop_check(&shop, 1);
    assert_true(server_lines(&cdn, "GET /blobs/", " 206 ", 1) >= 1); /* the rest by a range */
    assert_true(server_lines(&front, "/manifests/", "auth=Bearer ", 1) >= 1);
    assert_true(server_lines(&front, "/blobs/sha256:", "auth=Bearer ", 1) >= 1);
    assert_true(server_lines(&cdn, "", "auth=- ", 3) >= 3);
    assert_int_equal(server_lines(&cdn, "", "auth=", 0), server_lines(&cdn, "", "auth=- ", 0));
    assert_int_equal(shop_remove(&shop, named("", "127.0.0.1", "m")), 0);
    token_server_stop(&t);
}

static void a_cdn_without_ranges(void **state) {
    (void)state;
    registry_start(&registry, shop.dir, "r2", "");
    cdn_start("f2", "r2", "max_ranges 0;", "");
    put_and_push("m", 8 << 20);
    pull_and_check("m");
    assert_true(server_lines(&cdn, "GET /blobs/", " 200 ", 2) >= 2);
    assert_int_equal(server_lines(&cdn, "", " 206 ", 0), 0);
}

/* A CDN that has other bytes under the name: nothing is stored. */
static void a_cdn_that_lies(void **state) {
    (void)state;
    struct ran r;
    char line[1500];
    registry_start(&registry, shop.dir, "r3", "");
    cdn_start("f3", "r3", "", "");
    put_and_push("m", 100000);
    snprintf(
        line, sizeof line,
        "cd %s/r3/docker/registry/v2/blobs/sha256 && for f in */*/data; do "
        "if [ $(wc -c <$f) = 100000 ]; then printf x | dd of=$f conv=notrunc 2>/dev/null; fi; done",
        shop.dir);
    assert_int_equal(system(line), 0);
    const int code = RUN(r, "pull", named("http://", "127.0.0.1", "m"));
    refused(&r, code, 1, "digest mismatch");
    shop_check(&shop, 0);
}

/* ---- tokens ---- */

static void tokens_of(const char *name, const char *alg) {
    struct token_server t;
    struct ran r;
    char tokens[300], registry_name[32];
    snprintf(registry_name, sizeof registry_name, "%s-registry", name);
    start_token_registry(registry_name, &t, alg);
    snprintf(tokens, sizeof tokens, "location /token { proxy_pass http://127.0.0.1:%d; }",
             t.at.port);
    front_start(name, tokens);
    put_and_push("m", 1000);
    pull_and_check("m");
    assert_true(atomic_load(&t.n_right) >= 2);
    assert_int_equal(atomic_load(&t.n_wrong), 0);
    /* Mounted from another repository: a token for both.  When that one is hidden, sent. */
    well(&r, RUN(r, "pull", named("http://", "127.0.0.1", "m")));
    well(&r, RUN(r, "cp", named("", "127.0.0.1", "m"), named("", "127.0.0.1", "derived")));
    well(&r, RUN(r, "push", named("http://", "127.0.0.1", "derived")));
    assert_int_equal(server_lines(&front, "&from=library/m", " 201 ", 2), 2);
    assert_int_equal(server_lines(&front, "PATCH /v2/library/derived/", "", 0), 0);
    t.hidden = "library/m";
    well(&r, RUN(r, "cp", named("", "127.0.0.1", "m"), named("", "127.0.0.1", "other")));
    well(&r, RUN(r, "push", named("http://", "127.0.0.1", "other")));
    t.hidden = NULL;
    /* A token that the registry does not believe. */
    t.issuer = "somebody else";
    const int code = RUN(r, "pull", named("http://", "127.0.0.1", "m"));
    refused(&r, code, 5, "401");
    well(&r, RUN(r, "rm", named("", "127.0.0.1", "m"), named("", "127.0.0.1", "derived"),
                 named("", "127.0.0.1", "other")));
    token_server_stop(&t);
}

static void tokens(void **state) {
    (void)state;
    tokens_of("rs256", "RS256");
    stop_servers();
    tokens_of("es256", "ES256");
}

/* ---- TLS ---- */

static void tls_front(const char *name, const char *proto) {
    char http[3000];
    snprintf(http, sizeof http,
             "server {\nlisten 127.0.0.1:$port ssl;\nssl_certificate %s/cert.pem;\n"
             "ssl_certificate_key %s/key.pem;\nclient_max_body_size 0;\nlocation /v2/ {\n"
             "proxy_pass http://127.0.0.1:%d;\nproxy_set_header Host $http_host;\n%s\n}\n}\n",
             shop.dir, shop.dir, registry.port, proto);
    nginx_start(&front, shop.dir, name, http);
}

static void tls_ends_at_a_proxy(void **state) {
    (void)state;
    struct ran r;
    char authority[700];
    make_certificates(shop.dir);
    registry_start(&registry, shop.dir, "r5", "");
    tls_front("f5", "proxy_set_header X-Forwarded-Proto https;");
    const char *name = named("", "localhost", "m");
    shop_put(&shop, name, "behind a proxy");
    refused(&r, RUN(r, "push", name), 5, "certificate"); /* an authority that nobody knows */
    snprintf(authority, sizeof authority, "%s/ca.pem", shop.dir);
    setenv("SSL_CERT_FILE", authority, 1);
    well(&r, RUN(r, "push", name));
    assert_int_equal(shop_remove(&shop, name), 0);
    well(&r, RUN(r, "pull", name));
    refused(&r, RUN(r, "pull", named("", "127.0.0.1", "m")), 5, "127.0.0.1"); /* not its name */
    assert_int_equal(server_lines(&front, "PATCH", " 202 ", 2), 2);
    /* A proxy that does not tell the registry that it speaks TLS is sent back to http. */
    server_stop(&front);
    front = (struct server){0};
    tls_front("f6", "");
    const char *other = named("", "localhost", "m2");
    shop_put(&shop, other, "behind another proxy");
    refused(&r, RUN(r, "push", other), 5, "only its own address");
    unsetenv("SSL_CERT_FILE");
    well(&r, RUN(r, "rm", name, other));
}

/* ---- limits and breaks ---- */

static void bodies_are_limited(void **state) {
    (void)state;
    struct ran r;
    registry_start(&registry, shop.dir, "r7", "");
    front_start("f7", ""); /* 1 MB, as nginx comes */
    put_and_push("m", 3 << 20);
    pull_and_check("m");
    assert_true(server_lines(&front, "PATCH", " 413 ", 1) >= 1);
    server_stop(&front);
    front = (struct server){0};
    front_start("f8", "client_max_body_size 10k;");
    char *text = calloc(1, 100001);
    memset(text, 'x', 100000);
    shop_put(&shop, named("", "127.0.0.1", "n"), text);
    free(text);
    refused(&r, RUN(r, "push", named("http://", "127.0.0.1", "n")), 5, "client_max_body_size");
    well(&r, RUN(r, "rm", named("", "127.0.0.1", "n")));
}

/* nginx is killed while it takes a chunk, and runs again.  With its own buffer the registry has not
 * seen that chunk: the session goes on.  Without one the registry gives the session up. */
static void breaks_while_pushing(const char *name, bool buffered) {
    enum { N = 48 << 20 };
    char more[300], storage[32], folder[300];
    snprintf(storage, sizeof storage, "%s-registry", name);
    registry_start(&registry, shop.dir, storage, "");
    snprintf(more, sizeof more, "client_max_body_size 0;\n%s",
             buffered ? "client_body_in_file_only clean;" : "proxy_request_buffering off;");
    front_start(name, more);
    put_and_push("first", 1000); /* its folders are made */
    char *text = malloc(N + 1);
    memset(text, 'y', N), text[N] = 0;
    shop_put(&shop, named("", "127.0.0.1", "big"), text);
    free(text);
    const pid_t pid = start_cria("push", named("http://", "127.0.0.1", "big"));
    if (buffered)
        snprintf(folder, sizeof folder, "%s_client_body", name);
    else
        snprintf(folder, sizeof folder, "%s/docker/registry/v2/repositories/library/big/_uploads",
                 storage);
    wait_for_bytes(folder);
    server_kill(&front);
    nginx_again(&front);
    ended_well(pid);
    assert_true(server_lines(&front, "GET /v2/library/big/blobs/uploads/",
                             buffered ? " 204 " : " 404 ", 1) >= 1);
    assert_int_equal(shop_remove(&shop, named("", "127.0.0.1", "big")), 0);
    pull_and_check("big");
}

static void pushes_go_on(void **state) {
    (void)state;
    breaks_while_pushing("f9", true);
    stop_servers();
    breaks_while_pushing("f10", false);
}

#define SERVED(test) cmocka_unit_test_setup_teardown(test, set_up, tear_down)

int main(void) {
    const struct CMUnitTest tests[] = {
        SERVED(blobs_from_a_cdn), SERVED(a_cdn_without_ranges), SERVED(a_cdn_that_lies),
        SERVED(tokens),           SERVED(tls_ends_at_a_proxy),  SERVED(bodies_are_limited),
        SERVED(pushes_go_on),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
