/* Registries that lie, and what a pull makes of them (SECURITY.md R1, R2, R4 to R7, R15): through
 * the command, against a registry of our own on loopback.  Redirects: test_redirect.c; transfers
 * that break: test_transfer.c. */
#include "fake_registry.h"

#include <dirent.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define RUN(r, ...) run_cria(&(r), (const char *const[]){__VA_ARGS__, NULL}, "", 0, 60)

/* ---- R1, R7: manifests ---- */

static void manifests_that_lie(void **state) {
    (void)state;
    static const char *const digests[] = {
        "../../etc/passwd",
        "sha256:../..",
        "sha256-../../../../../../../../../../../../../../../../../etc/passwd00000",
        "sha256:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5da",
        "sha256:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5dab0",
        "sha512:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5dab",
        "",
        "sha256:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5d\xe2\x80\xa4",
    };
    char text[3000];
    for (size_t i = 0; i < sizeof digests / sizeof *digests; i++)
        for (int where = 0; where < 2; where++) {
            snprintf(
                text, sizeof text, FAKE_MANIFEST("%s", "%zu", FAKE_LAYER("%s", "%d")),
                where ? digests[i]
                      : "sha256:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5dab",
                strlen(fake_config),
                where ? "sha256:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5dab"
                      : digests[i],
                5);
            plan = (struct plan){.manifest = text};
            fake_refused(digests[i], "digest");
        }
    static const struct {
        const char *text, *said;
    } others[] = {
        {"", "manifest"},
        {"[]", "manifest"},
        {"{\"schemaVersion\":1}", "schemaVersion"},
        {"{\"schemaVersion\":2,\"mediaType\":\"" FAKE_MEDIA "\",\"layers\":[]}", "config"},
        {FAKE_MANIFEST("sha256:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5dab",
                       "2", ""),
         "layers"},
        {FAKE_MANIFEST("sha256:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5dab",
                       "-1", ""),
         "size"},
        {FAKE_MANIFEST("sha256:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5dab",
                       "9223372036854775807", ""),
         "size"},
        {FAKE_MANIFEST("sha256:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5dab",
                       "9223372036854775808", ""),
         "manifest"},
        {"{\"schemaVersion\":2,\"schemaVersion\":2}", "manifest"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        plan = (struct plan){.manifest = others[i].text};
        fake_refused(others[i].text, others[i].said);
    }
    char *deep = malloc(200002);
    memset(deep, '[', 100000), memset(deep + 100000, ']', 100000), deep[200000] = 0;
    plan = (struct plan){.manifest = deep};
    fake_refused("deep", "manifest");
    free(deep);
}

/* A layer whose size is not that of its bytes. */
static void sizes_that_lie(void **state) {
    (void)state;
    char text[3000];
    static const int sizes[] = {FAKE_BYTES - 1, FAKE_BYTES + 1, 10};
    for (int ranges = 0; ranges < 2; ranges++)
        for (int i = 0; i < 3; i++) {
            fake_manifest(text, sizeof text, fake.blob_digest.hex, (unsigned long long)sizes[i]);
            plan = (struct plan){.manifest = text, .no_ranges = !ranges};
            fake_refused("another size", sizes[i] == 10 && !ranges ? "over 11" : "was sent others");
        }
}

/* ---- R12: a list of registries ---- */

static void only_listed_registries(void **state) {
    (void)state;
    char list[100];
    const int before = atomic_load(&fake.server.n_connections);
    plan = (struct plan){0};
    static const char *const others[] = {"registry.example", "127.0.0.1", "127.0.0.1:1,x.example"};
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        setenv("CRIA_REGISTRIES", others[i], 1);
        fake_refused("not among the registries", "not among the registries");
        assert_int_equal(atomic_load(&fake.server.n_connections), before);
    }
    snprintf(list, sizeof list, "x.example, 127.0.0.1:%d", fake.server.port);
    setenv("CRIA_REGISTRIES", list, 1);
    fake_pulled("a listed registry");
    unsetenv("CRIA_REGISTRIES");
}

/* ---- R2: tokens ---- */

/* A realm in this form, whose %d is the port, is never asked; name: what is pulled. */
static void no_token_from(const char *form, const char *name, int port) {
    struct ran r;
    char url[200], realm[400];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
    snprintf(url, sizeof url, form, port, port);
#pragma GCC diagnostic pop
    snprintf(realm, sizeof realm,
             "Bearer realm=\"%s\",service=\"s\",scope=\"repository:library/m:pull\"", url);
    plan = (struct plan){.challenge = realm, .name = name};
    fake_refused_as(&r, url, "");
    /* By the rule, and not because nobody answers there. */
    if (!strstr(r.err.p, "only its own address is accepted") &&
        !strstr(r.err.p, "a URL http(s)://HOST[:PORT]/... is accepted"))
        fail_msg("%s: %s", url, r.err.p);
    ran_fini(&r);
    if (atomic_load(&fake.token_requests) != 0) fail_msg("%s was asked for a token", url);
}

static void no_token_for_strangers(void **state) {
    (void)state;
    struct hostile other;
    char name[100];
    hostile_start(&other, fake_answer, NULL);
    static const char *const another_port[] = {
        "http://127.0.0.1:%d/token",  "http://localhost:%d/token", "https://127.0.0.1:%d/token",
        "http://127.0.0.1.:%d/token", "//127.0.0.1:%d/token",      "http://0.0.0.0:%d/token",
    };
    for (size_t i = 0; i < sizeof another_port / sizeof *another_port; i++)
        no_token_from(another_port[i], NULL, other.port);
    assert_int_equal(atomic_load(&other.n_connections), 0);
    hostile_stop(&other);
    /* The registry's own port, so that nothing but the name of the host or the scheme differs. */
    static const char *const own_port[] = {
        "http://localhost.:%d/token",
        "http://127.0.0.1:%d/token",
        "http://127.0.0.1.:%d/token",
        "http://2130706433:%d/token",
        "http://0x7f.1:%d/token",
        "http://[::ffff:127.0.0.1]:%d/token",
        "http://0.0.0.0:%d/token",
        "https://localhost:%d/token",
        "http://localhost@127.0.0.1:%d/token",
        "http://localhost:%d@127.0.0.1:%d/token",
        "http://user@localhost:%d/token",
        "http://l\320\276calhost:%d/token", /* o of another alphabet */
    };
    snprintf(name, sizeof name, "http://localhost:%d/library/m", fake.server.port);
    for (size_t i = 0; i < sizeof own_port / sizeof *own_port; i++)
        no_token_from(own_port[i], name, fake.server.port);
    no_token_from("https://127.0.0.1:%d/token", NULL, fake.server.port);
    no_token_from("http://localhost:%d/token", NULL, fake.server.port);
}

/* At the registry's own address a token is asked for, with a signature that is right, and used. */
static void token_of_the_registry(void **state) {
    (void)state;
    plan = (struct plan){.challenge = fake_challenge()};
    fake_pulled("own realm");
    assert_true(atomic_load(&fake.token_requests) > 0);
    assert_int_equal(atomic_load(&fake.bad_signatures), 0);
    plan = (struct plan){.challenge = "Basic realm=\"x\""};
    fake_refused("basic", "Basic");
}

static int files_in(const char *path) {
    int n = 0;
    DIR *d = opendir(path);
    assert_non_null(d);
    for (const struct dirent *x; (x = readdir(d));)
        n += x->d_name[0] != '.';
    closedir(d);
    return n;
}

/* Processes that need a key at once, where there is none, take the same one. */
static void one_key_for_all(void **state) {
    (void)state;
    enum { N = 12, ROUNDS = 3 };
    pid_t pid[N];
    char home[700], path[800];
    size_t n;
    plan = (struct plan){.challenge = fake_challenge(), .manifest_status = 404};
    for (int round = 0; round < ROUNDS; round++) {
        snprintf(home, sizeof home, "%s/home%d", fake.shop.dir, round);
        setenv("HOME", home, 1);
        assert_int_equal(mkdir(home, 0700), 0);
        fake.n_keys = 0, atomic_store(&fake.bad_signatures, 0);
        for (int i = 0; i < N; i++)
            pid[i] = fake_start_pull(NULL);
        for (int i = 0; i < N; i++)
            waitpid(pid[i], NULL, 0);
        assert_int_equal(atomic_load(&fake.bad_signatures), 0);
        if (fake.n_keys != 1) fail_msg("%d keys", fake.n_keys);
        snprintf(path, sizeof path, "%s/.cria/id_ed25519.pub", home);
        char *text = (char *)slurp(path, &n);
        if (!memmem(text, n, fake.key[0], strlen(fake.key[0])))
            fail_msg("%s is of another key", path);
        free(text);
        snprintf(path, sizeof path, "%s/.cria", home);
        assert_int_equal(files_in(path), 2); /* nothing is left beside them */
    }
    setenv("HOME", fake.shop.dir, 1);
}

/* ---- R4, R5: wrong bytes ---- */

struct watcher {
    int fd, stop[2];
    atomic_int named;
};

static void *watch(void *arg) {
    struct watcher *w = arg;
    char events[8192] __attribute__((aligned(8)));
    for (;;) {
        struct pollfd p[2] = {{.fd = w->fd, .events = POLLIN},
                              {.fd = w->stop[0], .events = POLLIN}};
        poll(p, 2, -1);
        const ssize_t n = p[0].revents ? read(w->fd, events, sizeof events) : 0;
        for (ssize_t at = 0; at < n;) {
            const struct inotify_event *x = (const void *)(events + at);
            if (x->len && strlen(x->name) == 71) atomic_fetch_add(&w->named, 1);
            at += (ssize_t)sizeof *x + x->len;
        }
        if (p[1].revents && !p[0].revents) return NULL;
    }
}

static void wrong_bytes_get_no_name(void **state) {
    (void)state;
    struct watcher w = {.fd = inotify_init1(IN_CLOEXEC)};
    char path[700], text[3000];
    pthread_t t;
    shop_file(&fake.shop, "blobs/x", "");
    snprintf(path, sizeof path, "%s/blobs", fake.shop.root);
    assert_true(inotify_add_watch(w.fd, path, IN_CREATE | IN_MOVED_TO) >= 0);
    assert_int_equal(pipe(w.stop), 0);
    pthread_create(&t, NULL, watch, &w);
    plan = (struct plan){.wrong_bytes = true};
    fake_refused("wrong bytes", "digest mismatch");
    /* One digest twice: no "already verified" (CVE of Aug 2026). */
    snprintf(text, sizeof text, FAKE_MANIFEST("sha256:%s", "%d", FAKE_LAYER("sha256:%s", "%d")),
             fake.blob_digest.hex, FAKE_BYTES, fake.blob_digest.hex, FAKE_BYTES);
    plan = (struct plan){.wrong_bytes = true, .manifest = text};
    fake_refused("one digest twice", "digest mismatch");
    assert_int_equal(write(w.stop[1], "x", 1), 1);
    pthread_join(t, NULL);
    assert_int_equal(atomic_load(&w.named), 0);
    close(w.fd), close(w.stop[0]), close(w.stop[1]);
}

/* ---- R6: floods ---- */

static void floods_are_cut(void **state) {
    (void)state;
    plan = (struct plan){.manifest_repeat = (size_t)256 << 20};
    fake_refused("endless manifest", "over");
    assert_true(atomic_load(&fake.bytes_sent) < (16 << 20));
    plan = (struct plan){.endless_header = true};
    fake_refused("endless header", "header");
    assert_true(atomic_load(&fake.bytes_sent) < (8 << 20));
    plan = (struct plan){.challenge = fake_challenge(), .big_token = true};
    fake_refused("big token", "over");
    assert_true(atomic_load(&fake.bytes_sent) < (8 << 20));
    plan = (struct plan){.manifest_headers = "Content-Encoding: gzip\r\n"};
    fake_refused("compressed", "compressed");
    plan = (struct plan){.blob_headers = "Content-Encoding: gzip\r\n"};
    fake_refused("compressed blob", "compressed");
}

/* ---- R15: plain http ---- */

static void plain_http_is_for_loopback(void **state) {
    (void)state;
    static const char *const names[] = {"http://192.0.2.1:1/library/m",
                                        "http://example.invalid/library/m"};
    for (int i = 0; i < 2; i++) {
        struct ran r;
        const char *const args[] = {"pull", names[i], NULL};
        assert_int_equal(run_cria(&r, args, "", 0, 20), 5);
        assert_non_null(strstr(r.err.p, "plain http"));
        ran_fini(&r);
    }
}

/* The same for what a Modelfile names: the second host is not asked. */
static void insecure_create_is_for_one_host(void **state) {
    (void)state;
    struct ran r;
    char text[200];
    plan = (struct plan){0};
    snprintf(text, sizeof text, "FROM 127.0.0.1:%d/library/m\nDRAFT two.example/library/d\n",
             fake.server.port);
    shop_file(&fake.shop, "two-hosts", text);
    char path[1200];
    snprintf(path, sizeof path, "%s/two-hosts", fake.shop.root);
    assert_int_equal(RUN(r, "create", "mine", "--insecure", "-f", path), 1);
    assert_non_null(strstr(r.err.p, "--insecure is for one host"));
    assert_non_null(strstr(r.err.p, "two.example"));
    ran_fini(&r);
}

/* --insecure is for one host: names on two are refused before anybody is asked. */
static void insecure_is_for_one_host(void **state) {
    (void)state;
    struct ran r;
    char name[100];
    snprintf(name, sizeof name, "127.0.0.1:%d/library/m", fake.server.port);
    plan = (struct plan){0};
    const int before = atomic_load(&fake.server.n_connections);
    assert_int_equal(RUN(r, "pull", "--insecure", name, "two.example/library/m"), 2);
    assert_non_null(strstr(r.err.p, "two.example"));
    assert_non_null(strstr(r.err.p, "127.0.0.1:"));
    ran_fini(&r);
    shop_put(&fake.shop, name, "here");
    shop_put(&fake.shop, "two.example/library/m", "there");
    assert_int_equal(RUN(r, "pull", "--all", "--insecure"), 2);
    assert_non_null(strstr(r.err.p, "two.example"));
    ran_fini(&r);
    /* Two broken models: neither is touched. */
    struct digest d[2];
    const char *const text[] = {"here", "there"};
    char path[2][100];
    for (int i = 0; i < 2; i++) {
        assert_int_equal(digest_of(text[i], strlen(text[i]), &d[i], &fake.shop.e), 0);
        snprintf(path[i], sizeof path[i], "blobs/sha256-%s", d[i].hex);
        assert_int_equal(store_discard_blob(fake.shop.s, &d[i], &fake.shop.e), 0);
        shop_file(&fake.shop, path[i], i ? "thera" : "hera");
    }
    assert_int_equal(RUN(r, "verify", "--repair", "--insecure"), 2);
    assert_non_null(strstr(r.err.p, "two.example"));
    ran_fini(&r);
    for (int i = 0; i < 2; i++)
        assert_true(shop_there(&fake.shop, path[i]));
    assert_int_equal(atomic_load(&fake.server.n_connections), before);
    assert_int_equal(shop_remove(&fake.shop, name), 0);
    assert_int_equal(shop_remove(&fake.shop, "two.example/library/m"), 0);
}

/* A store keeps no scheme: a registry on loopback is found again all the same, and elsewhere
 * nothing is asked by plain http. */
static void all_are_found_again(void **state) {
    (void)state;
    struct ran r;
    char name[100];
    plan = (struct plan){0};
    fake_pull(&r);
    assert_int_equal(r.code, 0);
    ran_fini(&r);
    if (RUN(r, "pull", "--all") != 0) fail_msg("%s", r.err.p);
    ran_fini(&r);
    snprintf(name, sizeof name, "https://127.0.0.1:%d/library/m", fake.server.port);
    assert_int_not_equal(RUN(r, "pull", name), 0); /* a scheme is kept to */
    ran_fini(&r);
    assert_int_not_equal(RUN(r, "pull", name, "--insecure"), 0);
    ran_fini(&r);
    assert_int_equal(shop_remove(&fake.shop, name + 8), 0);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(only_listed_registries),
        cmocka_unit_test(manifests_that_lie),
        cmocka_unit_test(sizes_that_lie),
        cmocka_unit_test(no_token_for_strangers),
        cmocka_unit_test(token_of_the_registry),
        cmocka_unit_test(one_key_for_all),
        cmocka_unit_test(wrong_bytes_get_no_name),
        cmocka_unit_test(floods_are_cut),
        cmocka_unit_test(plain_http_is_for_loopback),
        cmocka_unit_test(insecure_create_is_for_one_host),
        cmocka_unit_test(insecure_is_for_one_host),
        cmocka_unit_test(all_are_found_again),
    };
    return cmocka_run_group_tests(tests, fake_set_up, fake_tear_down);
}
