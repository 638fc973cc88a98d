/* See audit_key.h. */
#include "policy/audit_key.h"

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/pem.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/os.h"

enum { KEY_MIN = 16, PEM_MAX = 64 << 10 };

void audit_unhex(const char *hex, uint8_t *out, size_t n) {
    for (size_t i = 0; i < n; i++) {
        const char two[3] = {hex[2 * i], hex[2 * i + 1], 0};
        out[i] = (uint8_t)strtoul(two, NULL, 16);
    }
}

/* ---- files ---- */

static void warn_if_open(const char *path) {
    struct stat st;
    if (stat(path, &st) == 0 && (st.st_mode & 077))
        log_msg(LOG_WARN, "%s: others may read it (mode %o)", path, st.st_mode & 0777);
}

int audit_keys_add_hmac(struct audit_keys *k, const char *path, struct err *e) {
    struct buf b = {0};
    if (k->n_hmac == AUDIT_N_KEY)
        return err_set(e, ERR_USAGE, "%s: more than %d keys", path, AUDIT_N_KEY);
    int rc = os_read_file(path, AUDIT_HMAC_MAX, &b, e);
    while (rc == 0 && b.n && isspace((unsigned char)b.p[b.n - 1]))
        b.n--;
    if (rc == 0 && b.n < KEY_MIN)
        rc = err_set(e, ERR_USAGE, "%s: found a key of %zu bytes; %d to %d are accepted", path, b.n,
                     KEY_MIN, AUDIT_HMAC_MAX);
    struct audit_hmac *more =
        rc == 0 ? realloc(k->hmac, (size_t)(k->n_hmac + 1) * sizeof *more) : NULL;
    if (rc == 0 && !more) rc = err_nomem(e, path);
    if (more) {
        k->hmac = more;
        more[k->n_hmac].n = b.n;
        memcpy(more[k->n_hmac++].key, b.p, b.n);
        warn_if_open(path);
    }
    if (b.p) OPENSSL_cleanse(b.p, b.cap);
    buf_fini(&b);
    return rc;
}

static EVP_PKEY *read_pem(const char *path, bool private, struct err *e) {
    struct buf b = {0};
    EVP_PKEY *key = NULL;
    if (os_read_file(path, PEM_MAX, &b, e) != 0) return NULL;
    BIO *bio = BIO_new_mem_buf(b.p ? b.p : "", (int)b.n);
    /* "" as the pass phrase: OpenSSL would ask on the terminal. */
    static char none[] = "";
    if (bio)
        key = private ? PEM_read_bio_PrivateKey(bio, NULL, NULL, none)
                      : PEM_read_bio_PUBKEY(bio, NULL, NULL, none);
    BIO_free(bio);
    if (b.p) OPENSSL_cleanse(b.p, b.cap);
    buf_fini(&b);
    if (!key || EVP_PKEY_get_base_id(key) != EVP_PKEY_ED25519) {
        EVP_PKEY_free(key);
        err_set(e, ERR_USAGE, "%s: found no ed25519 %s key in PEM; `openssl %s` makes one", path,
                private ? "private" : "public",
                private ? "genpkey -algorithm ed25519" : "pkey -pubout");
        return NULL;
    }
    if (private) warn_if_open(path);
    return key;
}

int audit_keys_set_sign(struct audit_keys *k, const char *path, struct err *e) {
    EVP_PKEY_free(k->sign);
    k->sign = read_pem(path, true, e);
    return k->sign ? 0 : -1;
}

int audit_keys_add_verify(struct audit_keys *k, const char *path, struct err *e) {
    if (k->n_verify == AUDIT_N_KEY)
        return err_set(e, ERR_USAGE, "%s: more than %d keys", path, AUDIT_N_KEY);
    EVP_PKEY *key = read_pem(path, false, e);
    if (key) k->verify[k->n_verify++] = key;
    return key ? 0 : -1;
}

void audit_keys_fini(struct audit_keys *k) {
    if (k->hmac) OPENSSL_cleanse(k->hmac, (size_t)k->n_hmac * sizeof *k->hmac);
    free(k->hmac);
    EVP_PKEY_free(k->sign);
    for (int i = 0; i < k->n_verify; i++)
        EVP_PKEY_free(k->verify[i]);
    *k = (struct audit_keys){0};
}

/* ---- seals ---- */

int audit_key_mac(const struct audit_keys *k, const uint8_t digest[SHA256_BYTES],
                  uint8_t out[SHA256_BYTES]) {
    const struct audit_hmac *h = &k->hmac[0];
    return HMAC(EVP_sha256(), h->key, (int)h->n, digest, SHA256_BYTES, out, NULL) ? 0 : -1;
}

int audit_key_sign(const struct audit_keys *k, const uint8_t digest[SHA256_BYTES],
                   uint8_t out[AUDIT_SIG_BYTES]) {
    size_t n = AUDIT_SIG_BYTES;
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    const bool good = c && EVP_DigestSignInit(c, NULL, NULL, NULL, k->sign) == 1 &&
                      EVP_DigestSign(c, out, &n, digest, SHA256_BYTES) == 1;
    EVP_MD_CTX_free(c);
    return good ? 0 : -1;
}

bool audit_key_mac_ok(const struct audit_keys *k, const uint8_t digest[SHA256_BYTES],
                      const char *hex) {
    uint8_t said[SHA256_BYTES], is[SHA256_BYTES];
    audit_unhex(hex, said, sizeof said);
    for (int i = 0; i < k->n_hmac; i++) {
        const struct audit_hmac *h = &k->hmac[i];
        if (HMAC(EVP_sha256(), h->key, (int)h->n, digest, SHA256_BYTES, is, NULL) &&
            CRYPTO_memcmp(is, said, sizeof is) == 0)
            return true;
    }
    return false;
}

bool audit_key_sign_ok(const struct audit_keys *k, const uint8_t digest[SHA256_BYTES],
                       const char *hex) {
    uint8_t said[AUDIT_SIG_BYTES];
    bool good = false;
    audit_unhex(hex, said, sizeof said);
    for (int i = 0; i < k->n_verify && !good; i++) {
        EVP_MD_CTX *c = EVP_MD_CTX_new();
        good = c && EVP_DigestVerifyInit(c, NULL, NULL, NULL, k->verify[i]) == 1 &&
               EVP_DigestVerify(c, said, sizeof said, digest, SHA256_BYTES) == 1;
        EVP_MD_CTX_free(c);
    }
    return good;
}

/* ---- digests of texts ---- */

static int parse_key(const char *path, const struct buf *b, uint8_t key[AUDIT_DIGEST_KEY],
                     struct err *e) {
    const size_t n = b->n ? strspn(b->p, "0123456789abcdef") : 0;
    if (n != 2 * AUDIT_DIGEST_KEY || b->p[n] != '\n')
        return err_set(e, ERR_FORMAT, "%s: found no key; %d hex digits and a line end are accepted",
                       path, 2 * AUDIT_DIGEST_KEY);
    audit_unhex(b->p, key, AUDIT_DIGEST_KEY);
    return 0;
}

/* Whole, and in nobody's place: a name of our own is linked.  ERR_BUSY: another process was faster.
 */
static int make_key(const char *path, uint8_t key[AUDIT_DIGEST_KEY], struct err *e) {
    struct buf temp = {0}, text = {0};
    int rc = -1;
    if (getrandom(key, AUDIT_DIGEST_KEY, 0) != AUDIT_DIGEST_KEY) return err_errno(e, path);
    buf_printf(&temp, "%s.%ld", path, (long)getpid());
    for (int i = 0; i < AUDIT_DIGEST_KEY; i++)
        buf_printf(&text, "%02x", key[i]);
    buf_byte(&text, '\n');
    if (temp.failed || text.failed) {
        rc = err_nomem(e, path);
    } else {
        const int fd = open(temp.p, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0600);
        rc = fd >= 0 && write(fd, text.p, text.n) == (ssize_t)text.n && fsync(fd) == 0 ? 0 : -1;
        if (fd >= 0) close(fd);
        if (rc == 0 && link(temp.p, path) != 0) rc = -1;
        if (rc != 0 && errno == EEXIST)
            err_set(e, ERR_BUSY, "%s: it was made meanwhile", path);
        else if (rc != 0)
            err_errno(e, path);
        unlink(temp.p);
    }
    if (text.p) OPENSSL_cleanse(text.p, text.cap);
    buf_fini(&text), buf_fini(&temp);
    return rc;
}

int audit_digest_key(const char *path, bool make, uint8_t key[AUDIT_DIGEST_KEY], struct err *e) {
    struct buf b = {0};
    struct err first = {0}, own = {0};
    int rc = os_read_file(path, 4096, &b, &first);
    if (rc == 0) {
        warn_if_open(path);
        rc = parse_key(path, &b, key, e);
    } else if (first.code == ERR_NOT_FOUND && make) {
        rc = make_key(path, key, &own);
        if (rc != 0 && own.code == ERR_BUSY) rc = audit_digest_key(path, false, key, &own);
        if (rc != 0 && e) *e = own;
    } else if (e) {
        *e = first;
    }
    if (b.p) OPENSSL_cleanse(b.p, b.cap);
    buf_fini(&b);
    return rc;
}

int audit_digest(const uint8_t key[AUDIT_DIGEST_KEY], struct str text, uint8_t out[SHA256_BYTES]) {
    const void *p = text.p ? text.p : "";
    return HMAC(EVP_sha256(), key, AUDIT_DIGEST_KEY, p, text.n, out, NULL) ? 0 : -1;
}
