/* Upload sessions (COMPAT.md 4.4) against a registry of our own that mounts, redirects to a
 * storage, limits what it takes at once, breaks and forgets: through the command. */
#include "hostile.h"
#include "store_rig.h"

#include <openssl/evp.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/digest.h"

static struct shop shop;
static struct hostile reg, storage;

/* How the registry behaves; zeros: well. */
static struct plan {
    const char *repository; /* that blobs may be mounted from */
    int mount_status;       /* instead of 201 or 202 */
    const char *store_at;   /* a 307 to there answers a PATCH */
    const char *session_at; /* begins the Location of sessions */
    size_t most;            /* bytes of a body, else 413; 0: any */
    int breaks;             /* PATCHes end in the middle, so often */
    int storage_breaks;     /* and so often the storage answers 503 */
    bool forgets;           /* a session that broke */
    bool wants_token;
} plan;

enum { N_LAYER = 3000000, MAX_SESSIONS = 32 };

/* What came; under lock. */
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct {
    struct buf session[MAX_SESSIONS], log;
    bool forgotten[MAX_SESSIONS];
    int n_sessions, n_blobs;
    char blob[16][DIGEST_TEXT]; /* what is whole */
    size_t n_taken;             /* bytes of all bodies */
} seen;

static int session_of(const char *path) {
    const char *p = strstr(path, "/session/");
    return p ? atoi(p + 9) : -1;
}

static void say_session(int fd, int status, int i) {
    char headers[300], range[64] = "";
    if (seen.session[i].n) snprintf(range, sizeof range, "Range: 0-%zu\r\n", seen.session[i].n - 1);
    snprintf(headers, sizeof headers, "Location: %s/v2/session/%d\r\n%s",
             plan.session_at ? plan.session_at : "", i, range[0] ? range : "Range: 0-0\r\n");
    hostile_answer(fd, status, headers, "", 0);
}

static bool has(const char *digest) {
    for (int i = 0; i < seen.n_blobs; i++)
        if (strstr(digest, seen.blob[i])) return true;
    return false;
}

static void post(int fd, const struct hostile_request *q) {
    const char *mount = strstr(q->path, "?mount=sha256%3A"), *from = strstr(q->path, "&from=");
    if (mount && from && plan.mount_status) {
        hostile_answer(fd, plan.mount_status, "", "", 0);
    } else if (mount && from && plan.repository && strcmp(from + 6, plan.repository) == 0) {
        hostile_answer(fd, 201, "", "", 0);
    } else {
        assert_true(seen.n_sessions < MAX_SESSIONS);
        say_session(fd, 202, seen.n_sessions++);
    }
}

/* A chunk that begins where the session ends. */
static void take(int fd, const struct hostile_request *q, int i, bool whole) {
    static char bytes[N_LAYER + 1];
    char length[32];
    hostile_header(q, "Content-Length", length, sizeof length);
    size_t n = (size_t)atoi(length);
    assert_true(n <= sizeof bytes);
    if (!whole) n /= 2;
    n = hostile_body(fd, q, bytes, n);
    seen.n_taken += n;
    buf_append(&seen.session[i], bytes, n);
}

static void patch(int fd, const struct hostile_request *q, int i) {
    char range[64], wanted[64], length[32], headers[600];
    hostile_header(q, "Content-Range", range, sizeof range);
    hostile_header(q, "Content-Length", length, sizeof length);
    snprintf(wanted, sizeof wanted, "%zu-%zu", seen.session[i].n,
             seen.session[i].n + (size_t)atoi(length) - 1);
    if (plan.most && (size_t)atoi(length) > plan.most) {
        hostile_answer(fd, 413, "", "", 0);
    } else if (strcmp(range, wanted) != 0) {
        hostile_answer(fd, 416, "", "", 0);
    } else if (plan.store_at) {
        snprintf(headers, sizeof headers,
                 "Location: %s/part?session=%d\r\nDocker-Upload-Location: /v2/session/%d\r\n",
                 plan.store_at, i, i);
        hostile_answer(fd, 307, headers, "", 0);
    } else {
        const bool whole = atoi(length) < 1000 || plan.breaks-- <= 0;
        take(fd, q, i, whole);
        if (whole) say_session(fd, 202, i);
        seen.forgotten[i] = !whole && plan.forgets;
    }
}

static void put(int fd, const struct hostile_request *q, int i) {
    struct digest d;
    const char *wanted = strstr(q->path, "digest=sha256%3A");
    digest_of(seen.session[i].p, seen.session[i].n, &d, NULL);
    const bool right = wanted && strncmp(wanted + 16, d.hex, DIGEST_HEX) == 0;
    if (right) digest_format(&d, seen.blob[seen.n_blobs++]);
    hostile_answer(fd, right ? 201 : 400, "", "", 0);
}

static void registry(void *ctx, int fd, const struct hostile_request *q) {
    const int i = session_of(q->path);
    char challenge[200];
    (void)ctx;
    pthread_mutex_lock(&lock);
    buf_printf(&seen.log, "%s %s\n", q->method, q->path);
    if (strncmp(q->path, "/token", 6) == 0) {
        hostile_answer(fd, 200, "", "{\"token\":\"secret\"}", 18);
    } else if (plan.wants_token && strcmp(q->authorization, "Bearer secret") != 0) {
        snprintf(challenge, sizeof challenge,
                 "WWW-Authenticate: Bearer realm=\"http://127.0.0.1:%d/token\"\r\n", reg.port);
        hostile_answer(fd, 401, challenge, "", 0);
    } else if (i >= 0 && (i >= seen.n_sessions || seen.forgotten[i])) {
        hostile_answer(fd, 404, "", "", 0);
    } else if (strcmp(q->method, "HEAD") == 0) {
        hostile_answer(fd, has(q->path) ? 200 : 404, "", "", 0);
    } else if (strcmp(q->method, "POST") == 0) {
        post(fd, q);
    } else if (i >= 0 && strcmp(q->method, "PATCH") == 0) {
        patch(fd, q, i);
    } else if (i >= 0 && strcmp(q->method, "GET") == 0) {
        say_session(fd, 204, i);
    } else if (i >= 0 && strcmp(q->method, "PUT") == 0) {
        put(fd, q, i);
    } else {
        hostile_answer(fd, strstr(q->path, "/manifests/") ? 201 : 404, "", "", 0);
    }
    pthread_mutex_unlock(&lock);
}

static void store(void *ctx, int fd, const struct hostile_request *q) {
    const char *session = strstr(q->path, "session=");
    (void)ctx;
    pthread_mutex_lock(&lock);
    buf_printf(&seen.log, "storage %s%s\n", q->method, q->authorization[0] ? " with a token" : "");
    const bool whole = plan.storage_breaks-- <= 0;
    if (session && whole) take(fd, q, atoi(session + 8), true);
    hostile_answer(fd, whole ? 200 : 503, "", "", 0);
    pthread_mutex_unlock(&lock);
}

/* ---- the frame ---- */

static char *layer; /* [N_LAYER + 1] */

static int set_up(void **state) {
    (void)state;
    shop_open(&shop);
    setenv("HOME", shop.dir, 1);
    setenv("CRIA_MODELS", shop.root, 1);
    hostile_start(&reg, registry, NULL);
    hostile_start(&storage, store, NULL);
    layer = malloc(N_LAYER + 1);
    for (int i = 0; i < N_LAYER; i++)
        layer[i] = (char)('a' + (i * 7 + i / 1000) % 26);
    layer[N_LAYER] = 0;
    return 0;
}

static void forget(void) {
    for (int i = 0; i < MAX_SESSIONS; i++)
        buf_fini(&seen.session[i]);
    buf_fini(&seen.log);
    memset(&seen, 0, sizeof seen);
    buf_str(&seen.log, "");
    plan = (struct plan){0};
}

static int tear_down(void **state) {
    (void)state;
    hostile_stop(&reg);
    hostile_stop(&storage);
    forget();
    buf_fini(&seen.log);
    free(layer);
    shop_close(&shop);
    return 0;
}

static const char *named(const char *scheme, const char *model) {
    static char ring[4][160];
    static unsigned i;
    char *b = ring[i++ & 3];
    snprintf(b, sizeof ring[0], "%s127.0.0.1:%d/library/%s", scheme, reg.port, model);
    return b;
}

static void push(const char *model, struct ran *r) {
    const char *const args[] = {"push", named("http://", model), NULL};
    run_cria(r, args, "", 0, 60);
}

static int times(const char *what) {
    int n = 0;
    for (const char *p = seen.log.p; p && (p = strstr(p, what)); p++)
        n++;
    return n;
}

/* Both blobs are whole at the registry (which checks digests), or were mounted. */
static void pushed(const char *model, int n_blobs) {
    struct ran r;
    push(model, &r);
    if (r.code != 0) fail_msg("exit code %d: %s\n%s", r.code, r.err.p, seen.log.p);
    assert_int_equal(seen.n_blobs, n_blobs);
    assert_int_equal(times("PUT /v2/library/"), 1); /* the manifest */
    ran_fini(&r);
}

static void refused(const char *model, const char *said) {
    struct ran r;
    push(model, &r);
    if (r.code == 0 || r.code > 5) fail_msg("exit code %d: %s", r.code, r.err.p);
    if (!strstr(r.err.p, said)) fail_msg("\"%s\" does not say \"%s\"", r.err.p, said);
    assert_int_equal(times("/manifests/"), 0);
    ran_fini(&r);
}

/* ---- tests ---- */

static void in_one_go(void **state) {
    (void)state;
    shop_put(&shop, named("", "m"), layer);
    pushed("m", 2);
    assert_int_equal(times("PATCH"), 2);
    assert_int_equal(times("from="), 0);
    forget();
}

static void bodies_that_are_too_large(void **state) {
    (void)state;
    plan = (struct plan){.most = 1 << 20}; /* nginx's, when nothing is said */
    pushed("m", 2);
    assert_int_equal(seen.n_taken, N_LAYER + seen.session[0].n);
    forget();
    plan = (struct plan){.most = 100000};
    refused("m", "413");
    forget();
}

static void goes_on_where_it_broke(void **state) {
    (void)state;
    plan = (struct plan){.breaks = 2};
    pushed("m", 2);
    assert_int_equal(times("GET /v2/session/1\n"), 2);
    assert_int_equal(seen.n_taken, N_LAYER + seen.session[0].n); /* nothing twice */
    forget();
    /* A registry that gives the session up: all of it anew. */
    plan = (struct plan){.breaks = 1, .forgets = true};
    pushed("m", 2);
    assert_int_equal(seen.n_sessions, 3);
    forget();
}

static void mounted(void **state) {
    (void)state;
    struct name from, to;
    assert_int_equal(name_parse(named("", "m"), &from, &shop.e), 0);
    assert_int_equal(name_parse(named("", "derived"), &to, &shop.e), 0);
    assert_int_equal(store_copy(shop.s, &from, &to, &shop.e), 0);
    shop_put(&shop, "elsewhere", layer); /* the same blobs: of another registry */
    plan = (struct plan){.repository = "library/m"};
    pushed("derived", 0);
    assert_int_equal(times("&from=library/m\n"), 2);
    assert_int_equal(times("PATCH"), 0);
    assert_int_equal(times("elsewhere"), 0);
    forget();
    /* The repository does not have it; may not be read. */
    pushed("derived", 2);
    assert_int_equal(times("POST"), 2);
    forget();
    plan = (struct plan){.mount_status = 403};
    pushed("derived", 2);
    assert_int_equal(times("POST"), 4);
    forget();
    assert_int_equal(shop_remove(&shop, named("", "derived")), 0);
    assert_int_equal(shop_remove(&shop, "elsewhere"), 0);
}

/* The name of a storage's object of one part: "md5(md5(part))-1", which the last PUT tells. */
static void etag_of(const void *bytes, size_t n, char *out, size_t n_out) {
    unsigned char sum[EVP_MAX_MD_SIZE], twice[EVP_MAX_MD_SIZE];
    unsigned len = 0;
    assert_int_equal(EVP_Digest(bytes, n, sum, &len, EVP_md5(), NULL), 1);
    assert_int_equal(EVP_Digest(sum, len, twice, &len, EVP_md5(), NULL), 1);
    int at = snprintf(out, n_out, "etag=%%22");
    for (unsigned i = 0; i < len; i++)
        at += snprintf(out + at, n_out - (size_t)at, "%02x", twice[i]);
    snprintf(out + at, n_out - (size_t)at, "-1%%22");
}

static void to_a_storage(void **state) {
    (void)state;
    char url[100], etag[100];
    snprintf(url, sizeof url, "http://127.0.0.1:%d", storage.port);
    plan = (struct plan){.store_at = url, .wants_token = true, .storage_breaks = 1};
    pushed("m", 2);
    assert_int_equal(times("storage PUT"), 3); /* one again */
    assert_int_equal(times("with a token"), 0);
    etag_of(layer, N_LAYER, etag, sizeof etag);
    if (!times(etag)) fail_msg("no %s in\n%s", etag, seen.log.p);
    forget();
    /* Not into a more private network, nor by another protocol. */
    static const char *const forms[] = {"https://0.0.0.0:%d", "https://169.254.1.1:%d",
                                        "ftp://127.0.0.1:%d", "http://192.0.2.1:%d"};
    for (size_t i = 0; i < sizeof forms / sizeof *forms; i++) {
        const int before = atomic_load(&storage.n_connections);
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(url, sizeof url, forms[i], storage.port);
#pragma GCC diagnostic pop
        plan = (struct plan){.store_at = url};
        refused("m", i < 2 ? "private network" : i == 2 ? "accepted" : "plain http");
        assert_int_equal(atomic_load(&storage.n_connections), before);
        forget();
    }
}

/* The token goes with it, so the session stays at the registry. */
static void no_session_elsewhere(void **state) {
    (void)state;
    char url[100];
    const int before = atomic_load(&storage.n_connections);
    snprintf(url, sizeof url, "http://127.0.0.1:%d", storage.port);
    plan = (struct plan){.session_at = url};
    refused("m", "only its own address");
    assert_int_equal(atomic_load(&storage.n_connections), before);
    forget();
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(in_one_go),    cmocka_unit_test(bodies_that_are_too_large),
        cmocka_unit_test(mounted),      cmocka_unit_test(goes_on_where_it_broke),
        cmocka_unit_test(to_a_storage), cmocka_unit_test(no_session_elsewhere),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
