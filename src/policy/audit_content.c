/* See audit_content.h. */
#include "policy/audit_content.h"

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/kdf.h>
#include <openssl/core_names.h>
#include <openssl/pem.h>
#include <openssl/rand.h>
#include <openssl/rsa.h>
#include <openssl/x509.h>
#include <stdlib.h>
#include <string.h>

#include "base/os.h"
#include "base/sha256.h"

enum {
    KEY = 32,
    NONCE = 12,
    TAG = 16,
    POINT = 32,
    WRAP_MAX = 1024,
    PEM_MAX = 64 << 10,
    RSA_MIN = 2048
};

static const char INFO[] = "cria audit content 1";
static const char ALG_X[] = "x25519-hkdf-sha256-aes-256-gcm",
                  ALG_RSA[] = "rsa-oaep-sha256-aes-256-gcm";

struct audit_content {
    EVP_PKEY *key;
    bool rsa;
    char id[2 * 8 + 1]; /* of the public key: 8 bytes of its SHA-256 as DER, in hex */
};

static int failed(struct err *e) {
    return err_set(e, ERR_NOMEM, "audit: encryption failed");
}

/* ---- keys ---- */

static int name_key(struct audit_content *c) {
    unsigned char *der = NULL;
    uint8_t hash[SHA256_BYTES];
    struct sha256 s;
    const int n = i2d_PUBKEY(c->key, &der);
    if (n <= 0) return -1;
    sha256_init(&s);
    sha256_add(&s, der, (size_t)n);
    OPENSSL_free(der);
    if (sha256_final(&s, hash) != 0) return -1;
    for (int i = 0; i < 8; i++) {
        static const char digit[] = "0123456789abcdef";
        c->id[2 * i] = digit[hash[i] >> 4], c->id[2 * i + 1] = digit[hash[i] & 15];
    }
    return 0;
}

static struct audit_content *read_key(const char *path, bool private, struct err *e) {
    struct buf b = {0};
    static char none[] = ""; /* no pass phrase: OpenSSL would ask on the terminal */
    struct audit_content *c = calloc(1, sizeof *c);
    if (!c) {
        err_nomem(e, path);
        return NULL;
    }
    if (os_read_file(path, PEM_MAX, &b, e) != 0) goto fail;
    BIO *bio = BIO_new_mem_buf(b.p ? b.p : "", (int)b.n);
    if (bio)
        c->key = private ? PEM_read_bio_PrivateKey(bio, NULL, NULL, none)
                         : PEM_read_bio_PUBKEY(bio, NULL, NULL, none);
    BIO_free(bio);
    const int kind = c->key ? EVP_PKEY_get_base_id(c->key) : 0;
    c->rsa = kind == EVP_PKEY_RSA && EVP_PKEY_get_bits(c->key) >= RSA_MIN;
    if (kind != EVP_PKEY_X25519 && !c->rsa)
        err_set(e, ERR_USAGE,
                "%s: found no %s key in PEM; X25519, and RSA of %d bits or more, are accepted",
                path, private ? "private" : "public", RSA_MIN);
    else if (name_key(c) != 0)
        err_nomem(e, path);
    else
        goto done;
fail:
    audit_content_free(c);
    c = NULL;
done:
    if (b.p) OPENSSL_cleanse(b.p, b.cap);
    buf_fini(&b);
    return c;
}

struct audit_content *audit_content_public(const char *path, struct err *e) {
    return read_key(path, false, e);
}

struct audit_content *audit_content_private(const char *path, struct err *e) {
    return read_key(path, true, e);
}

void audit_content_free(struct audit_content *c) {
    if (!c) return;
    EVP_PKEY_free(c->key);
    free(c);
}

/* ---- the key of one text ---- */

static int derive(EVP_PKEY *own, EVP_PKEY *peer, const uint8_t ephemeral[POINT],
                  const uint8_t recipient[POINT], uint8_t key[KEY]) {
    uint8_t secret[POINT], info[sizeof INFO - 1 + 2 * POINT];
    size_t n = sizeof secret;
    int rc = -1;
    EVP_PKEY_CTX *x = EVP_PKEY_CTX_new(own, NULL);
    EVP_KDF *kdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *k = kdf ? EVP_KDF_CTX_new(kdf) : NULL;
    char md[] = "SHA256";
    memcpy(info, INFO, sizeof INFO - 1);
    memcpy(info + sizeof INFO - 1, ephemeral, POINT);
    memcpy(info + sizeof INFO - 1 + POINT, recipient, POINT);
    const OSSL_PARAM p[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, md, 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, secret, POINT),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, info, sizeof info),
        OSSL_PARAM_construct_end()};
    /* A peer's point of small order gives zeros: EVP_PKEY_derive refuses it. */
    if (x && k && EVP_PKEY_derive_init(x) == 1 && EVP_PKEY_derive_set_peer(x, peer) == 1 &&
        EVP_PKEY_derive(x, secret, &n) == 1 && n == POINT && EVP_KDF_derive(k, key, KEY, p) == 1)
        rc = 0;
    OPENSSL_cleanse(secret, sizeof secret);
    EVP_KDF_CTX_free(k);
    EVP_KDF_free(kdf);
    EVP_PKEY_CTX_free(x);
    return rc;
}

/* A fresh key, and in wrap[*n] what the recipient finds it with. */
static int new_key_x25519(const struct audit_content *c, uint8_t key[KEY], uint8_t wrap[WRAP_MAX],
                          size_t *n) {
    uint8_t to[POINT];
    size_t n_to = POINT;
    EVP_PKEY *own = EVP_PKEY_Q_keygen(NULL, NULL, "X25519");
    *n = POINT;
    const int rc = own && EVP_PKEY_get_raw_public_key(own, wrap, n) == 1 &&
                           EVP_PKEY_get_raw_public_key(c->key, to, &n_to) == 1
                       ? derive(own, c->key, wrap, to, key)
                       : -1;
    EVP_PKEY_free(own);
    return rc;
}

static int old_key_x25519(const struct audit_content *c, const uint8_t *wrap, size_t n,
                          uint8_t key[KEY]) {
    uint8_t to[POINT];
    size_t n_to = POINT;
    if (n != POINT) return -1;
    EVP_PKEY *peer = EVP_PKEY_new_raw_public_key(EVP_PKEY_X25519, NULL, wrap, n);
    const int rc = peer && EVP_PKEY_get_raw_public_key(c->key, to, &n_to) == 1
                       ? derive(c->key, peer, wrap, to, key)
                       : -1;
    EVP_PKEY_free(peer);
    return rc;
}

static bool set_oaep(EVP_PKEY_CTX *x) {
    return EVP_PKEY_CTX_set_rsa_padding(x, RSA_PKCS1_OAEP_PADDING) == 1 &&
           EVP_PKEY_CTX_set_rsa_oaep_md(x, EVP_sha256()) == 1 &&
           EVP_PKEY_CTX_set_rsa_mgf1_md(x, EVP_sha256()) == 1;
}

static int new_key_rsa(const struct audit_content *c, uint8_t key[KEY], uint8_t wrap[WRAP_MAX],
                       size_t *n) {
    EVP_PKEY_CTX *x = EVP_PKEY_CTX_new(c->key, NULL);
    *n = WRAP_MAX;
    const bool good = x && RAND_bytes(key, KEY) == 1 && EVP_PKEY_encrypt_init(x) == 1 &&
                      set_oaep(x) && EVP_PKEY_encrypt(x, wrap, n, key, KEY) == 1;
    EVP_PKEY_CTX_free(x);
    return good ? 0 : -1;
}

static int old_key_rsa(const struct audit_content *c, const uint8_t *wrap, size_t n,
                       uint8_t key[KEY]) {
    uint8_t out[WRAP_MAX];
    size_t n_out = sizeof out;
    EVP_PKEY_CTX *x = EVP_PKEY_CTX_new(c->key, NULL);
    const bool good = x && EVP_PKEY_decrypt_init(x) == 1 && set_oaep(x) &&
                      EVP_PKEY_decrypt(x, out, &n_out, wrap, n) == 1 && n_out == KEY;
    if (good) memcpy(key, out, KEY);
    OPENSSL_cleanse(out, sizeof out);
    EVP_PKEY_CTX_free(x);
    return good ? 0 : -1;
}

/* ---- the text ---- */

/* out: n + TAG bytes. */
static int encrypt(const uint8_t key[KEY], const uint8_t nonce[NONCE], struct str id,
                   struct str plain, uint8_t *out) {
    int n = 0, last = 0;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    const bool good = c && EVP_EncryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
                      EVP_EncryptUpdate(c, NULL, &n, (const uint8_t *)id.p, (int)id.n) == 1 &&
                      EVP_EncryptUpdate(c, out, &n, (const uint8_t *)plain.p, (int)plain.n) == 1 &&
                      EVP_EncryptFinal_ex(c, out + n, &last) == 1 &&
                      EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_GET_TAG, TAG, out + plain.n) == 1;
    EVP_CIPHER_CTX_free(c);
    return good ? 0 : -1;
}

static int decrypt(const uint8_t key[KEY], const uint8_t nonce[NONCE], struct str id,
                   struct str sealed, uint8_t *out) {
    int n = 0, last = 0;
    uint8_t tag[TAG];
    const size_t n_text = sealed.n - TAG;
    EVP_CIPHER_CTX *c = EVP_CIPHER_CTX_new();
    memcpy(tag, sealed.p + n_text, TAG);
    const bool good = c && EVP_DecryptInit_ex(c, EVP_aes_256_gcm(), NULL, key, nonce) == 1 &&
                      EVP_DecryptUpdate(c, NULL, &n, (const uint8_t *)id.p, (int)id.n) == 1 &&
                      EVP_DecryptUpdate(c, out, &n, (const uint8_t *)sealed.p, (int)n_text) == 1 &&
                      EVP_CIPHER_CTX_ctrl(c, EVP_CTRL_GCM_SET_TAG, TAG, tag) == 1 &&
                      EVP_DecryptFinal_ex(c, out + n, &last) == 1;
    EVP_CIPHER_CTX_free(c);
    return good ? 0 : -1;
}

static void put_base64(struct buf *b, const char *before, const uint8_t *bytes, size_t n) {
    buf_str(b, before);
    char *at = buf_room(b, (n + 2) / 3 * 4 + 1);
    if (at) b->n += (size_t)EVP_EncodeBlock((unsigned char *)at, bytes, (int)n);
}

int audit_content_seal(const struct audit_content *c, struct str id, struct str plain,
                       struct buf *out, struct err *e) {
    uint8_t key[KEY], nonce[NONCE], wrap[WRAP_MAX];
    size_t n_wrap = 0;
    if (plain.n > INT32_MAX / 2)
        return err_set(e, ERR_LIMIT, "audit: a text of %zu bytes; %d are accepted", plain.n,
                       INT32_MAX / 2);
    uint8_t *data = malloc(plain.n + TAG);
    int rc = data && RAND_bytes(nonce, NONCE) == 1 ? 0 : -1;
    if (rc == 0)
        rc = c->rsa ? new_key_rsa(c, key, wrap, &n_wrap) : new_key_x25519(c, key, wrap, &n_wrap);
    if (rc == 0) rc = encrypt(key, nonce, id, plain, data);
    OPENSSL_cleanse(key, sizeof key);
    if (rc == 0) {
        buf_printf(out, "{\"alg\":\"%s\",\"to\":\"%s", c->rsa ? ALG_RSA : ALG_X, c->id);
        put_base64(out, "\",\"key\":\"", wrap, n_wrap);
        put_base64(out, "\",\"nonce\":\"", nonce, NONCE);
        put_base64(out, "\",\"data\":\"", data, plain.n + TAG);
        buf_str(out, "\"}");
    }
    free(data);
    return rc == 0 && !out->failed ? 0 : failed(e);
}

/* The bytes of a base64 member; false: it is none. */
static bool get_base64(const json_t *o, const char *key, struct buf *out) {
    const char *s = json_string_value(json_object_get(o, key));
    const size_t n = s ? strlen(s) : 0;
    if (n == 0 || n % 4 || n > INT32_MAX) return false;
    char *at = buf_room(out, n / 4 * 3 + 1);
    const int got =
        at ? EVP_DecodeBlock((unsigned char *)at, (const unsigned char *)s, (int)n) : -1;
    if (got < 0) return false;
    out->n = (size_t)got - (s[n - 1] == '=') - (s[n - 2] == '=');
    return true;
}

int audit_content_open(const struct audit_content *c, struct str id, const json_t *sealed,
                       struct buf *plain, struct err *e) {
    struct buf wrap = {0}, nonce = {0}, data = {0};
    uint8_t key[KEY];
    const char *alg = json_string_value(json_object_get(sealed, "alg"));
    const char *to = json_string_value(json_object_get(sealed, "to"));
    int rc = -1;
    if (!alg || strcmp(alg, c->rsa ? ALG_RSA : ALG_X) != 0 || !to || strcmp(to, c->id) != 0) {
        err_set(e, ERR_FORMAT, "it is encrypted to the key %.40s; this one is %s", to ? to : "?",
                c->id);
        goto done;
    }
    const bool read = get_base64(sealed, "key", &wrap) && get_base64(sealed, "nonce", &nonce) &&
                      get_base64(sealed, "data", &data) && nonce.n == NONCE && data.n >= TAG;
    if (read)
        rc = c->rsa ? old_key_rsa(c, (uint8_t *)wrap.p, wrap.n, key)
                    : old_key_x25519(c, (uint8_t *)wrap.p, wrap.n, key);
    char *at = rc == 0 ? buf_room(plain, data.n) : NULL;
    if (at) rc = decrypt(key, (uint8_t *)nonce.p, id, buf_view(&data), (uint8_t *)at);
    if (at && rc == 0) plain->n += data.n - TAG;
    OPENSSL_cleanse(key, sizeof key);
    if (rc == 0 && plain->failed)
        rc = err_nomem(e, "audit");
    else if (rc != 0)
        err_set(e, ERR_FORMAT, "what is encrypted was altered, or belongs to another request");
done:
    buf_fini(&wrap), buf_fini(&nonce), buf_fini(&data);
    return rc;
}
