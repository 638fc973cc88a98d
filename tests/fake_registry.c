/* See fake_registry.h. */
#include "fake_registry.h"

#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/evp.h>

struct plan plan;
struct fake fake;
const char fake_config[] = "{\"model_format\":\"gguf\"}";

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;

/* One of so many; false when they are used up. */
static bool take(int *times) {
    pthread_mutex_lock(&lock);
    const bool one = *times > 0;
    if (one) --*times;
    pthread_mutex_unlock(&lock);
    return one;
}

/* ---- manifests ---- */

static void send_manifest(int fd) {
    const char *text = plan.manifest ? plan.manifest : fake.manifest;
    const char *headers = plan.manifest_headers ? plan.manifest_headers : "";
    if (plan.endless_header) {
        hostile_say(fd, "HTTP/1.1 200 OK\r\n");
        for (int i = 0; i < 1 << 20 && hostile_say(fd, "X-%d: %0200d\r\n", i, i); i++)
            atomic_fetch_add(&fake.bytes_sent, 210);
        return;
    }
    if (!plan.manifest_repeat) {
        hostile_answer(fd, plan.manifest_status ? plan.manifest_status : 200, headers, text,
                       strlen(text));
        return;
    }
    static char blanks[65536];
    memset(blanks, ' ', sizeof blanks);
    hostile_say(fd, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n");
    for (size_t n = 0; n < plan.manifest_repeat; n += sizeof blanks) {
        if (!hostile_say(fd, "%zx\r\n", sizeof blanks) ||
            !hostile_send(fd, blanks, sizeof blanks) || !hostile_say(fd, "\r\n"))
            break;
        atomic_fetch_add(&fake.bytes_sent, sizeof blanks);
    }
}

void fake_manifest(char *out, size_t n, const char *layer, unsigned long long layer_bytes) {
    snprintf(out, n, FAKE_MANIFEST("sha256:%s", "%zu", FAKE_LAYER("sha256:%s", "%llu")),
             fake.config_digest.hex, strlen(fake_config), layer, layer_bytes);
}

/* ---- blobs ---- */

static void say_head(int fd, const struct hostile_request *q, uint64_t from, uint64_t to,
                     size_t n) {
    static atomic_int tag;
    if (plan.wrong_range)
        hostile_say(fd, "HTTP/1.1 206 Part\r\nContent-Range: bytes %d-%d/%d\r\n", 5, 9, 10);
    else if (!plan.no_ranges && q->to)
        hostile_say(fd, "HTTP/1.1 206 Part\r\nContent-Range: bytes %llu-%llu/%zu\r\n",
                    (unsigned long long)from, (unsigned long long)to - 1, n);
    else
        hostile_say(fd, "HTTP/1.1 200 OK\r\n");
    if (plan.etag_changes) hostile_say(fd, "ETag: \"%d\"\r\n", atomic_fetch_add(&tag, 1));
    hostile_say(fd, "%s", plan.blob_headers ? plan.blob_headers : "");
}

static void note_from(uint64_t from) {
    pthread_mutex_lock(&lock);
    if (from < atomic_load(&fake.least_from)) atomic_store(&fake.least_from, from);
    atomic_store(&fake.last_from, from);
    pthread_mutex_unlock(&lock);
}

static void send_counted(int fd, const char *bytes, size_t n) {
    for (size_t k; n > 0; bytes += k, n -= k) {
        k = n < 65536 ? n : 65536;
        if (!hostile_send(fd, bytes, k)) return;
        atomic_fetch_add(&fake.blob_bytes, k);
    }
}

void fake_send_blob(int fd, const struct hostile_request *q, const char *bytes, size_t n) {
    uint64_t from = plan.no_ranges ? 0 : q->from, to = q->to && !plan.no_ranges ? q->to : n;
    const bool main = bytes == fake.blob;
    if (to > n) to = n;
    if (from > to) from = to;
    /* Another content: from the beginning, or from the second answer on. */
    const bool other = plan.wrong_bytes && (!plan.etag_changes || from > 0);
    char *wrong = other ? calloc(n, 1) : NULL;
    const char *src = other ? wrong : bytes;
    size_t send = (size_t)(to - from), said = send;
    if (main && take(&plan.longer_times)) said += 1000;
    if (main && take(&plan.shorter_times)) said -= 1000, send = said;
    if (main) note_from(q->from);
    say_head(fd, q, from, to, n);
    hostile_say(fd, "Content-Length: %zu\r\nConnection: close\r\n\r\n", said);
    if (main && take(&plan.drip_times))
        send = 1;
    else if (main && take(&plan.drop_times))
        send = plan.drop_at && plan.drop_at < send ? (size_t)plan.drop_at : send / 2;
    const bool stalls = main && plan.stall_at < send && take(&plan.stall_times);
    send_counted(fd, src + from, stalls ? (size_t)plan.stall_at : send);
    if (stalls) hostile_hold(fd);
    free(wrong);
}

static void send_main_blob(int fd, const struct hostile_request *q) {
    atomic_fetch_add(&fake.blob_requests, 1);
    if (plan.refused_from && q->from >= plan.refused_from)
        hostile_answer(fd, 403, "", "no", 2);
    else if (plan.drip_times == 0 && take(&plan.busy_times))
        hostile_answer(fd, plan.busy_status, plan.busy_headers ? plan.busy_headers : "", "no", 2);
    else
        fake_send_blob(fd, q, fake.blob, fake.n_blob);
}

/* ---- tokens ---- */

/* base64 of up to 300 bytes; how many, or -1. */
static int decode(const char *text, size_t n, unsigned char out[300]) {
    if (n == 0 || n % 4 != 0 || n > 400) return -1;
    const int k = EVP_DecodeBlock(out, (const unsigned char *)text, (int)n);
    return k < 0 ? -1 : k - (text[n - 1] == '=') - (text[n - 2] == '=');
}

/* "<public key>:<signature>" over "GET,<url>,<base64 of the hex digest of nothing>"
 * (COMPAT.md 4.3), the public key in SSH's wire format. */
static bool is_signed(const struct hostile_request *q) {
    static const char
        head[] = "\0\0\0\x0bssh-ed25519\0\0\0 ",
        nothing[] = "ZTNiMGM0NDI5OGZjMWMxNDlhZmJmNGM4OTk2ZmI5MjQyN2FlNDFlNDY0OWI5MzRjYTQ5NTk5MWI3"
                    "ODUyYjg1NQ==";
    unsigned char public[300], signature[300];
    char text[2000];
    const char *colon = strchr(q->authorization, ':');
    if (!colon || decode(q->authorization, (size_t)(colon - q->authorization), public) != 51 ||
        decode(colon + 1, strlen(colon + 1), signature) != 64 || memcmp(public, head, 19) != 0)
        return false;
    snprintf(text, sizeof text, "GET,http://%s%s,%s", q->host, q->path, nothing);
    EVP_PKEY *k = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, public + 19, 32);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    const bool ok =
        EVP_DigestVerifyInit(c, NULL, NULL, NULL, k) == 1 &&
        EVP_DigestVerify(c, signature, 64, (const unsigned char *)text, strlen(text)) == 1;
    EVP_MD_CTX_free(c);
    EVP_PKEY_free(k);
    return ok;
}

static void note_key(const char *authorization) {
    char key[200];
    snprintf(key, sizeof key, "%.*s", (int)strcspn(authorization, ":"), authorization);
    pthread_mutex_lock(&lock);
    int i = 0;
    while (i < fake.n_keys && strcmp(fake.key[i], key) != 0)
        i++;
    if (i == fake.n_keys && i < FAKE_MAX_KEYS) strcpy(fake.key[fake.n_keys++], key);
    pthread_mutex_unlock(&lock);
}

static void send_token(int fd, const struct hostile_request *q) {
    static char filler[65536];
    atomic_fetch_add(&fake.token_requests, 1);
    if (!is_signed(q)) {
        atomic_fetch_add(&fake.bad_signatures, 1);
        hostile_answer(fd, 401, "", "", 0);
        return;
    }
    note_key(q->authorization);
    if (!plan.big_token) {
        hostile_answer(fd, 200, "", "{\"token\":\"secret\"}", 18);
        return;
    }
    memset(filler, 'x', sizeof filler);
    hostile_say(fd, "HTTP/1.1 200 OK\r\nContent-Length: 1000000000\r\n\r\n{\"token\":\"");
    for (int i = 0; i < 15000 && hostile_send(fd, filler, sizeof filler); i++)
        atomic_fetch_add(&fake.bytes_sent, sizeof filler);
}

const char *fake_challenge(void) {
    static char text[300];
    snprintf(text, sizeof text,
             "Bearer realm=\"http://127.0.0.1:%d/token\",service=\"s\",scope=\"repository:library/"
             "m:pull\"",
             fake.server.port);
    return text;
}

void fake_answer(void *ctx, int fd, const struct hostile_request *q) {
    char headers[3000];
    (void)ctx;
    if (strncmp(q->path, "/token", 6) == 0) {
        send_token(fd, q);
    } else if (plan.challenge && strcmp(q->authorization, "Bearer secret") != 0) {
        snprintf(headers, sizeof headers, "WWW-Authenticate: %s\r\n", plan.challenge);
        hostile_answer(fd, 401, headers, "", 0);
    } else if (strstr(q->path, "/manifests/")) {
        send_manifest(fd);
    } else if (plan.redirect) {
        snprintf(headers, sizeof headers, "Location: %s\r\n", plan.redirect);
        hostile_answer(fd, 307, headers, "", 0);
    } else if (plan.status_of_blobs) {
        hostile_answer(fd, plan.status_of_blobs, "", "no", 2);
    } else if (strstr(q->path, fake.blob_digest.hex)) {
        send_main_blob(fd, q);
    } else if (strstr(q->path, fake.config_digest.hex)) {
        fake_send_blob(fd, q, fake_config, strlen(fake_config));
    } else {
        hostile_answer(fd, 404, "", "", 0);
    }
}

/* ---- the frame ---- */

static void make_blob(size_t n) {
    struct err e;
    free(fake.blob);
    fake.blob = malloc(n);
    fake.n_blob = n;
    for (size_t i = 0; i < n; i++)
        fake.blob[i] = (char)(i * 7 + i / 251 + n);
    assert_int_equal(digest_of(fake.blob, n, &fake.blob_digest, &e), 0);
    fake_manifest(fake.manifest, sizeof fake.manifest, fake.blob_digest.hex, n);
}

void fake_new_blob(size_t n) {
    static size_t more;
    make_blob(n + ++more);
}

void fake_begin_parts(size_t n_parts) {
    char rel[200], text[200];
    const size_t size = fake.n_blob / n_parts;
    for (size_t i = 0; i < n_parts; i++) {
        const size_t from = i * size, n = i + 1 < n_parts ? size : fake.n_blob - from;
        snprintf(rel, sizeof rel, "blobs/sha256-%s-partial-%zu", fake.blob_digest.hex, i);
        snprintf(text, sizeof text, "{\"N\":%zu,\"Offset\":%zu,\"Size\":%zu,\"Completed\":0}", i,
                 from, n);
        shop_file(&fake.shop, rel, text);
    }
    snprintf(rel, sizeof rel, "blobs/sha256-%s-partial", fake.blob_digest.hex);
    shop_file(&fake.shop, rel, "");
}

int fake_set_up(void **state) {
    struct err e;
    struct ran r;
    (void)state;
    shop_open(&fake.shop);
    setenv("HOME", fake.shop.dir, 1);
    setenv("CRIA_MODELS", fake.shop.root, 1);
    assert_int_equal(digest_of(fake_config, strlen(fake_config), &fake.config_digest, &e), 0);
    make_blob(FAKE_BYTES);
    hostile_start(&fake.server, fake_answer, NULL);
    plan = (struct plan){.manifest_status = 404};
    fake_pull(&r);
    fake.least_rss_bytes = r.peak_rss_bytes;
    ran_fini(&r);
    return 0;
}

int fake_tear_down(void **state) {
    (void)state;
    hostile_stop(&fake.server);
    shop_close(&fake.shop);
    free(fake.blob);
    return 0;
}

static const char *address(void) {
    static char name[100];
    snprintf(name, sizeof name, "http://127.0.0.1:%d/library/m", fake.server.port);
    return plan.name ? plan.name : name;
}

int fake_start_pull(const char *name) {
    const char *cria = getenv("CRIA") ? getenv("CRIA") : "build/cria";
    if (!name) name = address();
    const pid_t pid = fork();
    if (pid != 0) return pid;
    if (!freopen("/dev/null", "w", stderr)) _exit(1);
    execl(cria, cria, "pull", name, (char *)NULL);
    _exit(127);
}

void fake_pull(struct ran *r) {
    atomic_store(&fake.bytes_sent, 0), atomic_store(&fake.blob_bytes, 0);
    atomic_store(&fake.token_requests, 0), atomic_store(&fake.bad_signatures, 0);
    atomic_store(&fake.blob_requests, 0);
    atomic_store(&fake.least_from, UINT64_MAX), atomic_store(&fake.last_from, 0);
    const char *const args[] = {"pull", address(), plan.insecure ? "--insecure" : NULL, NULL};
    run_cria(r, args, "", 0, 60);
}

void fake_refused_as(struct ran *r, const char *what, const char *said) {
    char path[700];
    fake_pull(r);
    if (r->code == 0) fail_msg("%s: pulled", what);
    if (r->code > 5) fail_msg("%s: exit code %d: %s", what, r->code, r->err.p);
    if (!strstr(r->err.p, "Error: ") || !strstr(r->err.p, said))
        fail_msg("%s: \"%s\" does not say \"%s\"", what, r->err.p, said);
    snprintf(path, sizeof path, "blobs/sha256-%s", fake.blob_digest.hex);
    if (shop_there(&fake.shop, path)) fail_msg("%s: the blob is in the store", what);
    shop_check(&fake.shop, 0);
    if (r->seconds > 20) fail_msg("%s: took %.1f s", what, r->seconds);
    if (!SANITIZED && r->peak_rss_bytes > fake.least_rss_bytes + (16 << 20))
        fail_msg("%s: %zu bytes of memory, %zu at least", what, r->peak_rss_bytes,
                 fake.least_rss_bytes);
}

void fake_refused(const char *what, const char *said) {
    struct ran r;
    fake_refused_as(&r, what, said);
    ran_fini(&r);
}

void fake_pulled_as(struct ran *r, const char *what) {
    char name[300];
    fake_pull(r);
    if (r->code != 0) fail_msg("%s: %s", what, r->err.p);
    shop_check(&fake.shop, 1);
    const char *from = address(), *scheme = strstr(from, "://");
    snprintf(name, sizeof name, "%s", scheme ? scheme + 3 : from);
    assert_int_equal(shop_remove(&fake.shop, name), 0);
}

void fake_pulled(const char *what) {
    struct ran r;
    fake_pulled_as(&r, what);
    ran_fini(&r);
}
