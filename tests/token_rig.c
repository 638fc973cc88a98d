/* Tokens: distribution's "Token Authentication Specification", RFC 7515 (JWS) and 7518 (ES256's
 * signature is r and s, not their DER). */
#include "token_rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <openssl/ecdsa.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/x509.h>

#include "store/digest.h"
#include "support.h"

struct token_inside {
    EVP_PKEY *key;
    char alg[8];
    char certificate[4096]; /* base64 of its DER */
};

static void put_base64(struct buf *b, const void *bytes, size_t n) {
    unsigned char *text = malloc(n / 3 * 4 + 8);
    EVP_EncodeBlock(text, bytes, (int)n);
    buf_str(b, (char *)text);
    free(text);
}

static void put_base64url(struct buf *b, const void *bytes, size_t n) {
    struct buf plain = {0};
    put_base64(&plain, bytes, n);
    for (size_t i = 0; i < plain.n && plain.p[i] != '='; i++)
        buf_byte(b, plain.p[i] == '+' ? '-' : plain.p[i] == '/' ? '_' : plain.p[i]);
    buf_fini(&plain);
}

/* ---- who asks ---- */

static size_t from_base64(const char *text, size_t n, unsigned char *out, size_t room) {
    if (n == 0 || n % 4 != 0 || n / 4 * 3 > room) return 0;
    const int k = EVP_DecodeBlock(out, (const unsigned char *)text, (int)n);
    const size_t pads = (text[n - 1] == '=') + (size_t)(text[n - 2] == '=');
    return k < 0 ? 0 : (size_t)k - pads;
}

/* "PUBLIC KEY:SIGNATURE" of "GET,URL,base64 of the hex digest of nothing". */
static bool is_signed(const struct token_server *t, const struct hostile_request *q) {
    static const unsigned char kind[] = "\0\0\0\x0bssh-ed25519\0\0\0\x20";
    unsigned char blob[128], sig[128];
    const char *colon = strchr(q->authorization, ':');
    struct digest nothing;
    struct buf text = {0};
    if (!colon ||
        from_base64(q->authorization, (size_t)(colon - q->authorization), blob, sizeof blob) !=
            sizeof kind - 1 + 32 ||
        memcmp(blob, kind, sizeof kind - 1) != 0 ||
        from_base64(colon + 1, strlen(colon + 1), sig, sizeof sig) != 64)
        return false;
    digest_of("", 0, &nothing, NULL);
    buf_printf(&text, "GET,%s%s,", t->origin, q->path);
    put_base64(&text, nothing.hex, DIGEST_HEX);
    EVP_PKEY *key = EVP_PKEY_new_raw_public_key(EVP_PKEY_ED25519, NULL, blob + sizeof kind - 1, 32);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    const bool right = EVP_DigestVerifyInit(c, NULL, NULL, NULL, key) == 1 &&
                       EVP_DigestVerify(c, sig, 64, (const unsigned char *)text.p, text.n) == 1;
    EVP_MD_CTX_free(c);
    EVP_PKEY_free(key);
    buf_fini(&text);
    return right;
}

/* ---- what is granted ---- */

/* A value of the query as it was before its escapes. */
static void unescape(const char *p, char *out, size_t n) {
    size_t k = 0;
    for (; *p && *p != '&' && k + 1 < n; p++) {
        unsigned byte;
        if (*p == '%' && p[1] && p[2] && sscanf(p + 1, "%2x", &byte) == 1)
            out[k++] = (char)byte, p += 2;
        else
            out[k++] = *p;
    }
    out[k] = 0;
}

/* All that scope=repository:NAME:ACTION,ACTION asks for. */
static void put_access(const struct token_server *t, const char *path, struct buf *b) {
    const char *comma = "";
    for (const char *p = path; (p = strstr(p, "scope=")); p += 6) {
        char scope[512], actions[128], name[256];
        unescape(p + 6, scope, sizeof scope);
        if (sscanf(scope, "repository:%255[^:]:%127s", name, actions) != 2) continue;
        if (t->hidden && strcmp(name, t->hidden) == 0) continue;
        buf_printf(b, "%s{\"type\":\"repository\",\"name\":\"%s\",\"actions\":[", comma, name);
        char *rest = actions;
        for (char *one, *sep = ""; (one = strsep(&rest, ",")); sep = ",")
            buf_printf(b, "%s\"%s\"", sep, one);
        buf_str(b, "]}");
        comma = ",";
    }
}

static void put_signature(const struct token_inside *in, struct buf *b) {
    unsigned char der[1024], raw[64];
    size_t n = sizeof der;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    assert_int_equal(EVP_DigestSignInit(c, NULL, EVP_sha256(), NULL, in->key), 1);
    assert_int_equal(EVP_DigestSign(c, der, &n, (const unsigned char *)b->p, b->n), 1);
    EVP_MD_CTX_free(c);
    buf_byte(b, '.');
    if (in->alg[0] == 'R') {
        put_base64url(b, der, n);
        return;
    }
    const unsigned char *p = der;
    ECDSA_SIG *sig = d2i_ECDSA_SIG(NULL, &p, (long)n);
    assert_non_null(sig);
    BN_bn2binpad(ECDSA_SIG_get0_r(sig), raw, 32);
    BN_bn2binpad(ECDSA_SIG_get0_s(sig), raw + 32, 32);
    ECDSA_SIG_free(sig);
    put_base64url(b, raw, 64);
}

static void put_token(const struct token_server *t, const char *path, struct buf *b) {
    struct buf part = {0};
    const long long now = (long long)time(NULL);
    char service[128] = "";
    const char *asked = strstr(path, "service=");
    if (asked) unescape(asked + 8, service, sizeof service);
    buf_printf(&part, "{\"typ\":\"JWT\",\"alg\":\"%s\",\"x5c\":[\"%s\"]}", t->in->alg,
               t->in->certificate);
    put_base64url(b, part.p, part.n);
    buf_byte(b, '.');
    buf_reset(&part);
    buf_printf(&part,
               "{\"iss\":\"%s\",\"sub\":\"someone\",\"aud\":\"%s\",\"exp\":%lld,\"nbf\":%lld,"
               "\"iat\":%lld,\"jti\":\"%lld\",\"access\":[",
               t->issuer, service, now + 300, now - 10, now, now);
    put_access(t, path, &part);
    buf_str(&part, "]}");
    put_base64url(b, part.p, part.n);
    buf_fini(&part);
    put_signature(t->in, b);
}

static void answer(void *ctx, int fd, const struct hostile_request *q) {
    struct token_server *t = ctx;
    struct buf token = {0}, body = {0};
    if (!is_signed(t, q)) {
        atomic_fetch_add(&t->n_wrong, 1);
        hostile_answer(fd, 401, "", "", 0);
        return;
    }
    atomic_fetch_add(&t->n_right, 1);
    put_token(t, q->path, &token);
    buf_printf(&body, "{\"token\":\"%s\"}", token.p);
    hostile_answer(fd, 200, "Content-Type: application/json\r\n", body.p, body.n);
    buf_fini(&token), buf_fini(&body);
}

/* ---- the server ---- */

static void read_keys(struct token_server *t, const char *dir) {
    char path[700];
    struct buf text = {0};
    unsigned char *der = NULL;
    snprintf(path, sizeof path, "%s/token.key", dir);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    t->in->key = PEM_read_PrivateKey(f, NULL, NULL, NULL);
    fclose(f);
    f = fopen(t->certificate, "r");
    assert_non_null(f);
    X509 *x = PEM_read_X509(f, NULL, NULL, NULL);
    fclose(f);
    assert_true(t->in->key && x);
    const int n = i2d_X509(x, &der);
    put_base64(&text, der, (size_t)n);
    snprintf(t->in->certificate, sizeof t->in->certificate, "%s", text.p);
    OPENSSL_free(der);
    X509_free(x);
    buf_fini(&text);
}

void token_server_start(struct token_server *t, const char *dir, const char *alg) {
    char line[2000];
    *t = (struct token_server){.issuer = "cria-test"};
    t->in = calloc(1, sizeof *t->in);
    snprintf(t->in->alg, sizeof t->in->alg, "%s", alg);
    snprintf(t->certificate, sizeof t->certificate, "%s/token.pem", dir);
    snprintf(line, sizeof line,
             "cd %s && openssl req -x509 -newkey %s -nodes -days 2 -subj /CN=tokens "
             "-keyout token.key -out token.pem 2>token.log",
             dir, alg[0] == 'R' ? "rsa:2048" : "ec -pkeyopt ec_paramgen_curve:P-256");
    if (system(line) != 0) fail_msg("openssl made no key; ./quickstart test installs it");
    read_keys(t, dir);
    hostile_start(&t->at, answer, t);
}

void token_server_stop(struct token_server *t) {
    hostile_stop(&t->at);
    EVP_PKEY_free(t->in->key);
    free(t->in);
}
