/* Registries that lie, and what a pull makes of them (SECURITY.md R1 to R8, R15): through the
 * command, against a registry of our own on loopback. */
#include "hostile.h"
#include "store_rig.h"

#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "store/digest.h"

static struct shop shop;
static struct hostile reg;

/* How the registry behaves; zeros: well. */
static struct plan {
    const char *manifest;   /* instead of the right one */
    size_t manifest_repeat; /* sent again and again, chunked, up to so many bytes */
    const char *challenge;  /* WWW-Authenticate of a 401 without a token */
    const char *redirect;   /* blobs are there */
    const char *manifest_headers;
    int status_of_blobs;
    bool wrong_bytes, wrong_range, no_ranges, longer, shorter;
    int drop_times; /* blobs end in the middle, so often */
    bool endless_header, big_token, encoded;
} plan;

enum { N_BLOB = 300000 };
static char blob[N_BLOB], config[] = "{\"model_format\":\"gguf\"}";
static struct digest blob_digest, config_digest;
static char right_manifest[2048];
static atomic_ullong bytes_sent, blob_bytes, token_requests;
static atomic_ullong last_from;

#define MEDIA "application/vnd.docker.distribution.manifest.v2+json"
#define MANIFEST(config_digest, config_size, layers)                                               \
    "{\"schemaVersion\":2,\"mediaType\":\"" MEDIA                                                  \
    "\",\"config\":{\"mediaType\":\"application/vnd.docker."                                       \
    "container.image.v1+json\",\"digest\":\"" config_digest "\",\"size\":" config_size             \
    "},\"layers\":[" layers "]}"
#define LAYER(digest, size)                                                                        \
    "{\"mediaType\":\"application/vnd.ollama.image.model\",\"digest\":\"" digest                   \
    "\",\"size\":" size "}"

static void send_manifest(int fd) {
    const char *text = plan.manifest ? plan.manifest : right_manifest;
    const char *headers = plan.manifest_headers ? plan.manifest_headers : "";
    if (plan.endless_header) {
        hostile_say(fd, "HTTP/1.1 200 OK\r\n");
        for (int i = 0; i < 1 << 20 && hostile_say(fd, "X-%d: %0200d\r\n", i, i); i++)
            atomic_fetch_add(&bytes_sent, 210);
        return;
    }
    if (!plan.manifest_repeat) {
        hostile_answer(fd, 200, headers, text, strlen(text));
        return;
    }
    static char blanks[65536];
    memset(blanks, ' ', sizeof blanks);
    hostile_say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t n = 0; n < plan.manifest_repeat; n += sizeof blanks) {
        if (!hostile_say(fd, "%zx\r\n", sizeof blanks) ||
            !hostile_send(fd, blanks, sizeof blanks) || !hostile_say(fd, "\r\n"))
            break;
        atomic_fetch_add(&bytes_sent, sizeof blanks);
    }
}

static void send_blob(int fd, const struct hostile_request *q, const char *bytes, size_t n) {
    static char other[N_BLOB];
    uint64_t from = plan.no_ranges ? 0 : q->from, to = q->to && !plan.no_ranges ? q->to : n;
    if (to > n) to = n;
    if (from > to) from = to;
    const char *src = plan.wrong_bytes ? other : bytes;
    size_t send = (size_t)(to - from);
    atomic_store(&last_from, q->from);
    if (plan.wrong_range)
        hostile_say(fd, "HTTP/1.1 206 Part\r\nContent-Range: bytes %d-%d/%d\r\n", 5, 9, 10);
    else if (!plan.no_ranges && q->to)
        hostile_say(fd, "HTTP/1.1 206 Part\r\nContent-Range: bytes %llu-%llu/%zu\r\n",
                    (unsigned long long)from, (unsigned long long)to - 1, n);
    else
        hostile_say(fd, "HTTP/1.1 200 OK\r\n");
    hostile_say(fd, "Content-Length: %zu\r\nConnection: close\r\n\r\n",
                send + (plan.longer ? 1000 : 0) - (plan.shorter ? 1000 : 0));
    if (plan.drop_times > 0 && send > 1000) send /= 2, plan.drop_times--;
    atomic_fetch_add(&blob_bytes, send);
    hostile_send(fd, src + from, send);
}

static void send_token(int fd) {
    static char filler[65536];
    atomic_fetch_add(&token_requests, 1);
    if (!plan.big_token) {
        hostile_answer(fd, 200, "", "{\"token\":\"secret\"}", 18);
        return;
    }
    memset(filler, 'x', sizeof filler);
    hostile_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n{\"token\":\"");
    for (int i = 0; i < 15000 && hostile_send(fd, filler, sizeof filler); i++)
        atomic_fetch_add(&bytes_sent, sizeof filler);
}

static void registry(void *ctx, int fd, const struct hostile_request *q) {
    char headers[3000];
    (void)ctx;
    if (strncmp(q->path, "/token", 6) == 0) {
        send_token(fd);
    } else if (plan.challenge && strcmp(q->authorization, "Bearer secret") != 0) {
        snprintf(headers, sizeof headers, "WWW-Authenticate: %s\r\n", plan.challenge);
        hostile_answer(fd, 401, headers, "", 0);
    } else if (strstr(q->path, "/manifests/")) {
        send_manifest(fd);
    } else if (plan.redirect) {
        snprintf(headers, sizeof headers, "Location: %s\r\n", plan.redirect);
        hostile_answer(fd, 307, headers, "", 0);
    } else if (plan.status_of_blobs) {
        hostile_answer(fd, plan.status_of_blobs, "Retry-After: 1\r\n", "no", 2);
    } else if (strstr(q->path, blob_digest.hex)) {
        send_blob(fd, q, blob, N_BLOB);
    } else if (strstr(q->path, config_digest.hex)) {
        send_blob(fd, q, config, strlen(config));
    } else {
        hostile_answer(fd, 404, "", "", 0);
    }
}

/* ---- the frame ---- */

static int set_up(void **state) {
    struct err e;
    (void)state;
    shop_open(&shop);
    setenv("HOME", shop.dir, 1);
    setenv("CRIA_MODELS", shop.root, 1);
    for (int i = 0; i < N_BLOB; i++)
        blob[i] = (char)(i * 7 + i / 251);
    assert_int_equal(digest_of(blob, N_BLOB, &blob_digest, &e), 0);
    assert_int_equal(digest_of(config, strlen(config), &config_digest, &e), 0);
    snprintf(right_manifest, sizeof right_manifest,
             MANIFEST("sha256:%s", "%zu", LAYER("sha256:%s", "%d")), config_digest.hex,
             strlen(config), blob_digest.hex, N_BLOB);
    hostile_start(&reg, registry, NULL);
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    hostile_stop(&reg);
    shop_close(&shop);
    return 0;
}

static const char *address(void) {
    static char name[100];
    snprintf(name, sizeof name, "http://127.0.0.1:%d/library/m", reg.port);
    return name;
}

static void pull(struct ran *r) {
    atomic_store(&bytes_sent, 0), atomic_store(&blob_bytes, 0), atomic_store(&token_requests, 0);
    const char *const args[] = {"pull", address(), NULL};
    run_cria(r, args, "", 0, 60);
}

/* Nothing of it is in the store, and nothing beside it has changed. */
static void refused(const char *name, const char *said) {
    struct ran r;
    char path[700];
    pull(&r);
    if (r.code == 0) fail_msg("%s: pulled", name);
    if (r.code > 5) fail_msg("%s: exit code %d: %s", name, r.code, r.err.p);
    if (!strstr(r.err.p, "Error: ") || !strstr(r.err.p, said))
        fail_msg("%s: \"%s\" does not say \"%s\"", name, r.err.p, said);
    snprintf(path, sizeof path, "blobs/sha256-%s", blob_digest.hex);
    if (shop_there(&shop, path)) fail_msg("%s: the blob is in the store", name);
    shop_check(&shop, 0);
    if (r.seconds > 20) fail_msg("%s: took %.1f s", name, r.seconds);
    if (!SANITIZED && r.peak_rss_bytes > (size_t)64 << 20)
        fail_msg("%s: %zu bytes of memory", name, r.peak_rss_bytes);
    ran_fini(&r);
}

static void pulled(const char *name) {
    struct ran r;
    char said[64];
    pull(&r);
    if (r.code != 0) fail_msg("%s: %s", name, r.err.p);
    ran_fini(&r);
    shop_check(&shop, 1);
    snprintf(said, sizeof said, "127.0.0.1:%d/library/m", reg.port);
    assert_int_equal(shop_remove(&shop, said), 0);
}

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
                text, sizeof text, MANIFEST("%s", "%zu", LAYER("%s", "%d")),
                where ? digests[i]
                      : "sha256:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5dab",
                strlen(config),
                where ? "sha256:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5dab"
                      : digests[i],
                5);
            plan = (struct plan){.manifest = text};
            refused(digests[i], "digest");
        }
    static const struct {
        const char *text, *said;
    } others[] = {
        {"", "manifest"},
        {"[]", "manifest"},
        {"{\"schemaVersion\":1}", "schemaVersion"},
        {"{\"schemaVersion\":2,\"mediaType\":\"" MEDIA "\",\"layers\":[]}", "config"},
        {MANIFEST("sha256:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5dab", "2",
                  ""),
         "layers"},
        {MANIFEST("sha256:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5dab", "-1",
                  ""),
         "size"},
        {MANIFEST("sha256:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5dab",
                  "9223372036854775807", ""),
         "size"},
        {MANIFEST("sha256:4e17c5d24134855b13460c1b14136c13312ac4550981945d531b3eace19a5dab",
                  "9223372036854775808", ""),
         "manifest"},
        {"{\"schemaVersion\":2,\"schemaVersion\":2}", "manifest"},
    };
    for (size_t i = 0; i < sizeof others / sizeof *others; i++) {
        plan = (struct plan){.manifest = others[i].text};
        refused(others[i].text, others[i].said);
    }
    char *deep = malloc(200002);
    memset(deep, '[', 100000), memset(deep + 100000, ']', 100000), deep[200000] = 0;
    plan = (struct plan){.manifest = deep};
    refused("deep", "manifest");
    free(deep);
}

/* A layer whose size is not that of its bytes. */
static void sizes_that_lie(void **state) {
    (void)state;
    char text[3000];
    static const int sizes[] = {N_BLOB - 1, N_BLOB + 1, 10};
    for (int i = 0; i < 3; i++) {
        snprintf(text, sizeof text, MANIFEST("sha256:%s", "%zu", LAYER("sha256:%s", "%d")),
                 config_digest.hex, strlen(config), blob_digest.hex, sizes[i]);
        plan = (struct plan){.manifest = text};
        refused("another size", "");
    }
}

/* ---- R2: tokens ---- */

static void no_token_for_strangers(void **state) {
    (void)state;
    struct hostile other;
    char realm[400];
    hostile_start(&other, registry, NULL);
    static const char *const forms[] = {
        "http://127.0.0.1:%d/token",  "http://localhost:%d/token",
        "https://127.0.0.1:%d/token", "http://127.0.0.1:%d@127.0.0.1:%d/token",
        "http://127.0.0.1.:%d/token", "http://[::ffff:127.0.0.1]:%d/token",
        "http://2130706433:%d/token", "//127.0.0.1:%d/token",
        "http://0.0.0.0:%d/token",
    };
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        char url[200];
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(url, sizeof url, forms[i], strchr(forms[i], '@') ? reg.port : other.port,
                 other.port);
#pragma GCC diagnostic pop
        snprintf(realm, sizeof realm,
                 "Bearer realm=\"%s\",service=\"s\",scope=\"repository:library/m:pull\"", url);
        plan = (struct plan){.challenge = realm};
        refused(url, "");
        if (atomic_load(&other.n_connections) != 0) fail_msg("%s was connected to", url);
        assert_int_equal(atomic_load(&token_requests), 0);
    }
    hostile_stop(&other);
    /* At the registry's own address it is asked for, and used. */
    snprintf(realm, sizeof realm, "Bearer realm=\"http://127.0.0.1:%d/token\",service=\"s\"",
             reg.port);
    plan = (struct plan){.challenge = realm};
    pulled("own realm");
    assert_true(atomic_load(&token_requests) > 0);
    plan = (struct plan){.challenge = "Basic realm=\"x\""};
    refused("basic", "Basic");
}

/* ---- R3: redirects ----
 *
 * The registry is on loopback, so redirects to loopback are like to like. */

static void blobs_elsewhere(void *ctx, int fd, const struct hostile_request *q) {
    atomic_int *seen = ctx;
    if (q->authorization[0]) atomic_fetch_add(seen, 1);
    if (strstr(q->path, "loop")) {
        char to[100];
        snprintf(to, sizeof to, "Location: /loop%d\r\n", rand());
        hostile_answer(fd, 302, to, "", 0);
    } else {
        send_blob(fd, q, strstr(q->path, "config") ? config : blob,
                  strstr(q->path, "config") ? strlen(config) : N_BLOB);
    }
}

static void redirects(void **state) {
    (void)state;
    struct hostile other;
    atomic_int credentials = 0;
    char url[200], text[3000];
    hostile_start(&other, blobs_elsewhere, &credentials);
    static const struct {
        const char *form, *said;
    } forms[] = {{"http://0.0.0.0:%d/blob", "refused"},
                 {"http://[::]:%d/blob", "refused"},
                 {"http://169.254.169.254/latest/%d", "refused"},
                 {"http://127.0.0.1:%d/loop", "redirects"},
                 {"file:///etc/passwd?%d", ""},
                 {"ftp://127.0.0.1:%d/blob", ""},
                 {"http://a@127.0.0.1:%d/blob", ""}};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(url, sizeof url, forms[i].form, other.port);
#pragma GCC diagnostic pop
        plan = (struct plan){.redirect = url};
        const int before = atomic_load(&other.n_requests);
        refused(url, forms[i].said);
        if (!strstr(url, "loop") && atomic_load(&other.n_requests) != before)
            fail_msg("%s was asked", url);
    }
    /* A CDN gets the range, not the token. */
    char realm[300];
    snprintf(realm, sizeof realm, "Bearer realm=\"http://127.0.0.1:%d/token\"", reg.port);
    snprintf(url, sizeof url, "http://127.0.0.1:%d/blob", other.port);
    snprintf(text, sizeof text, MANIFEST("sha256:%s", "%d", LAYER("sha256:%s", "%d")),
             blob_digest.hex, N_BLOB, blob_digest.hex, N_BLOB);
    plan = (struct plan){.redirect = url, .manifest = text, .challenge = realm};
    pulled("another host");
    assert_int_equal(atomic_load(&credentials), 0);
    hostile_stop(&other);
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
    shop_file(&shop, "blobs/x", "");
    snprintf(path, sizeof path, "%s/blobs", shop.root);
    assert_true(inotify_add_watch(w.fd, path, IN_CREATE | IN_MOVED_TO) >= 0);
    assert_int_equal(pipe(w.stop), 0);
    pthread_create(&t, NULL, watch, &w);
    plan = (struct plan){.wrong_bytes = true};
    refused("wrong bytes", "digest mismatch");
    /* One digest twice: no "already verified" (CVE of Aug 2026). */
    snprintf(text, sizeof text, MANIFEST("sha256:%s", "%d", LAYER("sha256:%s", "%d")),
             blob_digest.hex, N_BLOB, blob_digest.hex, N_BLOB);
    plan = (struct plan){.wrong_bytes = true, .manifest = text};
    refused("one digest twice", "digest mismatch");
    assert_int_equal(write(w.stop[1], "x", 1), 1);
    pthread_join(t, NULL);
    assert_int_equal(atomic_load(&w.named), 0);
    close(w.fd), close(w.stop[0]), close(w.stop[1]);
}

/* ---- R6: floods ---- */

static void floods_are_cut(void **state) {
    (void)state;
    char realm[300];
    plan = (struct plan){.manifest_repeat = (size_t)256 << 20};
    refused("endless manifest", "over");
    assert_true(atomic_load(&bytes_sent) < (16 << 20));
    plan = (struct plan){.endless_header = true};
    refused("endless header", "header");
    assert_true(atomic_load(&bytes_sent) < (8 << 20));
    snprintf(realm, sizeof realm, "Bearer realm=\"http://127.0.0.1:%d/token\"", reg.port);
    plan = (struct plan){.challenge = realm, .big_token = true};
    refused("big token", "over");
    assert_true(atomic_load(&bytes_sent) < (8 << 20));
    plan = (struct plan){.manifest_headers = "Content-Encoding: gzip\r\n"};
    refused("compressed", "compressed");
}

/* ---- R8: ranges, lengths, broken connections ---- */

static void transfers_that_break(void **state) {
    (void)state;
    plan = (struct plan){.wrong_range = true};
    refused("wrong range", "bytes");
    plan = (struct plan){.no_ranges = true};
    pulled("no ranges");
    plan = (struct plan){.drop_times = 2};
    pulled("dropped twice");
    if (atomic_load(&blob_bytes) > N_BLOB + 100)
        fail_msg("%llu bytes were sent for %d", atomic_load(&blob_bytes), N_BLOB);
    plan = (struct plan){.status_of_blobs = 404};
    refused("no blob", "404");
    plan = (struct plan){.status_of_blobs = 403};
    refused("forbidden blob", "403");
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

/* ---- killed in the middle ---- */

static void goes_on_after_a_kill(void **state) {
    (void)state;
    struct ran r;
    char path[700];
    plan = (struct plan){.drop_times = 100}; /* never whole in one go */
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    const pid_t pid = fork();
    if (pid == 0) {
        if (!freopen("/dev/null", "w", stderr)) _exit(1);
        execl(cria, cria, "pull", address(), (char *)NULL);
        _exit(127);
    }
    snprintf(path, sizeof path, "blobs/sha256-%s-partial", blob_digest.hex);
    for (int i = 0; i < 500 && !shop_there(&shop, path); i++)
        usleep(10000);
    usleep(300000);
    kill(pid, SIGKILL);
    waitpid(pid, NULL, 0);
    plan = (struct plan){0};
    pull(&r);
    if (r.code != 0) fail_msg("%s", r.err.p);
    assert_true(atomic_load(&last_from) < N_BLOB);
    if (atomic_load(&blob_bytes) > N_BLOB + 100) fail_msg("fetched more than one part");
    ran_fini(&r);
    shop_check(&shop, 1);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(manifests_that_lie),      cmocka_unit_test(sizes_that_lie),
        cmocka_unit_test(no_token_for_strangers),  cmocka_unit_test(redirects),
        cmocka_unit_test(wrong_bytes_get_no_name), cmocka_unit_test(floods_are_cut),
        cmocka_unit_test(transfers_that_break),    cmocka_unit_test(plain_http_is_for_loopback),
        cmocka_unit_test(goes_on_after_a_kill),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
