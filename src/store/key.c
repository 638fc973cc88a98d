/* Formats: OpenSSH's PROTOCOL.key (private file) and RFC 8709 (public key and its place in it). */
#include "store/key.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>
#include <openssl/rand.h>

#include "base/os.h"

#define BEGIN "-----BEGIN OPENSSH PRIVATE KEY-----\n"
#define END "-----END OPENSSH PRIVATE KEY-----\n"
#define MAGIC "openssh-key-v1" /* and its NUL */
enum { MAX_KEY_FILE = 16384, LINE = 70 };

void key_base64(struct buf *out, const void *bytes, size_t n) {
    char *to = buf_room(out, 4 * ((n + 2) / 3) + 1);
    if (to) out->n += (size_t)EVP_EncodeBlock((unsigned char *)to, bytes, (int)n);
}

/* ---- SSH's wire format: lengths of 32 bits, big-endian ---- */

static void put_u32(struct buf *b, uint32_t v) {
    const unsigned char z[4] = {(unsigned char)(v >> 24), (unsigned char)(v >> 16),
                                (unsigned char)(v >> 8), (unsigned char)v};
    buf_append(b, z, sizeof z);
}

static void put_string(struct buf *b, const void *bytes, size_t n) {
    put_u32(b, (uint32_t)n);
    buf_append(b, bytes, n);
}

static bool get_string(struct str *from, struct str *out) {
    if (from->n < 4) return false;
    const unsigned char *p = (const unsigned char *)from->p;
    const size_t n = (size_t)p[0] << 24 | (size_t)p[1] << 16 | (size_t)p[2] << 8 | p[3];
    if (n > from->n - 4) return false;
    *out = (struct str){from->p + 4, n};
    from->p += 4 + n, from->n -= 4 + n;
    return true;
}

static void put_public(struct buf *b, const struct key *k) {
    put_string(b, "ssh-ed25519", 11);
    put_string(b, k->public, sizeof k->public);
}

/* ---- reading ---- */

static bool decode_body(struct str file, struct buf *out) {
    const char *begin = memmem(file.p, file.n, BEGIN, strlen(BEGIN));
    if (!begin) return false;
    begin += strlen(BEGIN);
    const char *end = memmem(begin, file.n - (size_t)(begin - file.p), END, strlen(END) - 1);
    EVP_ENCODE_CTX *c = end ? EVP_ENCODE_CTX_new() : NULL;
    int n = 0, more = 0;
    unsigned char *to = c ? (unsigned char *)buf_room(out, (size_t)(end - begin) + 64) : NULL;
    if (c) EVP_DecodeInit(c);
    const bool ok =
        to && EVP_DecodeUpdate(c, to, &n, (const unsigned char *)begin, (int)(end - begin)) >= 0 &&
        EVP_DecodeFinal(c, to + n, &more) == 1;
    EVP_ENCODE_CTX_free(c);
    if (ok) out->n += (size_t)(n + more);
    return ok;
}

/* cipher "none", kdf "none", no options, one key: public part, private part. */
static bool read_body(struct str b, struct key *k) {
    struct str cipher, kdf, options, public, private, type, half, both;
    if (!str_starts(b, (struct str){MAGIC, sizeof MAGIC})) return false;
    b.p += sizeof MAGIC, b.n -= sizeof MAGIC;
    if (!get_string(&b, &cipher) || !get_string(&b, &kdf) || !get_string(&b, &options))
        return false;
    if (!str_is(cipher, "none") || b.n < 4 || memcmp(b.p, "\0\0\0\1", 4) != 0) return false;
    b.p += 4, b.n -= 4;
    if (!get_string(&b, &public) || !get_string(&b, &private) || private.n < 8) return false;
    if (memcmp(private.p, private.p + 4, 4) != 0) return false; /* the check numbers */
    private.p += 8, private.n -= 8;
    if (!get_string(&private, &type) || !get_string(&private, &half) ||
        !get_string(&private, &both))
        return false;
    if (!str_is(type, "ssh-ed25519") || half.n != 32 || both.n != 64) return false;
    memcpy(k->seed, both.p, 32);
    memcpy(k->public, both.p + 32, 32);
    return memcmp(half.p, k->public, 32) == 0;
}

static int read_key(const char *path, struct key *k, struct err *e) {
    struct buf file = {0}, body = {0};
    int rc = os_read_file(path, MAX_KEY_FILE, &file, e);
    if (rc == 0 && (!decode_body(buf_view(&file), &body) || !read_body(buf_view(&body), k)))
        rc = err_set(e, ERR_FORMAT,
                     "%s: found no ed25519 key in OpenSSH's format without a passphrase", path);
    if (file.p) OPENSSL_cleanse(file.p, file.cap);
    if (body.p) OPENSSL_cleanse(body.p, body.cap);
    buf_fini(&file), buf_fini(&body);
    return rc;
}

/* ---- making ---- */

static void print_private(const struct key *k, const unsigned char check[4], struct buf *out) {
    struct buf body = {0}, part = {0}, text = {0};
    put_public(&part, k);
    buf_append(&body, MAGIC, sizeof MAGIC);
    put_string(&body, "none", 4), put_string(&body, "none", 4), put_string(&body, "", 0);
    put_u32(&body, 1);
    put_string(&body, part.p, part.n);
    buf_reset(&part);
    buf_append(&part, check, 4), buf_append(&part, check, 4);
    put_public(&part, k);
    put_u32(&part, 64);
    buf_append(&part, k->seed, 32), buf_append(&part, k->public, 32);
    put_string(&part, "cria", 4);
    for (char pad = 1; part.n % 8; pad++)
        buf_byte(&part, pad);
    put_string(&body, part.p, part.n);
    key_base64(&text, body.p, body.n);
    buf_str(out, BEGIN);
    for (size_t i = 0; i < text.n; i += LINE) {
        buf_append(out, text.p + i, text.n - i < LINE ? text.n - i : LINE);
        buf_byte(out, '\n');
    }
    buf_str(out, END);
    if (part.failed || body.failed || text.failed) out->failed = true;
    buf_fini(&body), buf_fini(&part), buf_fini(&text);
}

static bool generate(struct key *k) {
    EVP_PKEY *p = RAND_bytes(k->seed, 32) == 1
                      ? EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, k->seed, 32)
                      : NULL;
    size_t n = 32;
    const bool ok = p && EVP_PKEY_get_raw_public_key(p, k->public, &n) == 1 && n == 32;
    EVP_PKEY_free(p);
    return ok;
}

static int make_folder(const char *path, struct err *e) {
    char z[4096];
    snprintf(z, sizeof z, "%s", path);
    *strrchr(z, '/') = 0;
    return mkdir(z, 0755) == 0 || errno == EEXIST ? 0 : err_errno(e, z);
}

/* The whole file or none: written beside its place, 0600 as mkstemp makes it, then linked there,
 * which fails where another process was first.  1: it was. */
static int place_key(const char *path, const unsigned char unique[4], const struct buf *text,
                     struct err *e) {
    char beside[4200];
    snprintf(beside, sizeof beside, "%s.%02x%02x%02x%02x", path, unique[0], unique[1], unique[2],
             unique[3]);
    int rc = os_write_file(beside, text->p, text->n, e);
    if (rc != 0) return -1;
    if (link(beside, path) != 0) rc = errno == EEXIST ? 1 : err_errno(e, path);
    unlink(beside);
    return rc == 0 && os_sync_folder(path) != 0 ? err_errno(e, path) : rc;
}

static int write_public(const char *path, const struct key *k, struct err *e) {
    char name[4200];
    struct buf line = {0}, public = {0};
    snprintf(name, sizeof name, "%s.pub", path);
    put_public(&public, k);
    buf_str(&line, "ssh-ed25519 ");
    key_base64(&line, public.p, public.n);
    buf_str(&line, "\n");
    int rc = public.failed || line.failed ? err_nomem(e, path) : 0;
    if (rc == 0) rc = os_write_file(name, line.p, line.n, e);
    if (rc == 0 && chmod(name, 0644) != 0) rc = err_errno(e, name);
    buf_fini(&line), buf_fini(&public);
    return rc;
}

/* Of several processes that make one, all take the first that has its place. */
static int make_key(const char *path, struct key *k, struct err *e) {
    unsigned char check[4];
    struct buf text = {0};
    if (!generate(k) || RAND_bytes(check, 4) != 1)
        return err_set(e, ERR_IO, "%s: no random numbers for a new key", path);
    print_private(k, check, &text);
    int rc = text.failed ? err_nomem(e, path) : make_folder(path, e);
    if (rc == 0) rc = place_key(path, check, &text, e);
    if (text.p) OPENSSL_cleanse(text.p, text.cap);
    buf_fini(&text);
    if (rc == 0) return write_public(path, k, e);
    return rc > 0 ? read_key(path, k, e) : -1;
}

int key_open(const char *path, struct key *k, struct err *e) {
    static const char *const names[] = {".cria/id_ed25519", ".ollama/id_ed25519"};
    const char *home = getenv("HOME");
    char z[2][4096];
    if (path) return read_key(path, k, e);
    if (!home || home[0] != '/')
        return err_set(e, ERR_USAGE, "key: HOME is not set, so there is no place for a key");
    for (int i = 0; i < 2; i++) {
        snprintf(z[i], sizeof z[i], "%s/%s", home, names[i]);
        if (access(z[i], F_OK) == 0) return read_key(z[i], k, e);
    }
    return make_key(z[0], k, e);
}

int key_sign(const struct key *k, struct str bytes, struct buf *out, struct err *e) {
    unsigned char signature[64];
    size_t n = sizeof signature;
    struct buf public = {0};
    EVP_PKEY *p = EVP_PKEY_new_raw_private_key(EVP_PKEY_ED25519, NULL, k->seed, 32);
    EVP_MD_CTX *c = EVP_MD_CTX_new();
    const bool ok = p && c && EVP_DigestSignInit(c, NULL, NULL, NULL, p) == 1 &&
                    EVP_DigestSign(c, signature, &n, (const unsigned char *)bytes.p, bytes.n) == 1;
    EVP_MD_CTX_free(c);
    EVP_PKEY_free(p);
    put_public(&public, k);
    if (ok && !public.failed) {
        key_base64(out, public.p, public.n);
        buf_byte(out, ':');
        key_base64(out, signature, n);
    }
    const bool done = ok && !public.failed && !out->failed;
    buf_fini(&public);
    return done ? 0 : err_nomem(e, "key");
}
