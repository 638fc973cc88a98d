/* The keys of the audit log: what seals entries (HMAC, ed25519), what makes digests of prompts and
 * answers (a random key of this installation), and what encrypts them (a public key).
 *
 * Files: an HMAC key is any file of 16 bytes to 4 KiB, blanks and line ends at its end do not
 * count; a signing key is a PKCS#8 PEM of ed25519 (`openssl genpkey -algorithm ed25519`), its
 * public half what `openssl pkey -pubout` makes of it. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/sha256.h"
#include "base/str.h"

enum {
    AUDIT_SIG_BYTES = 64,
    AUDIT_DIGEST_KEY = 32,
    AUDIT_HMAC_MAX = 4096,
    AUDIT_N_KEY = 8, /* of each kind */
};

/* Owned; zero is: none.  A writer has one HMAC key and a private signing key; who verifies may have
 * several HMAC keys (a chain that outlived one) and public keys. */
struct audit_keys {
    struct audit_hmac {
        uint8_t key[AUDIT_HMAC_MAX];
        size_t n;
    } * hmac; /* [n_hmac] */
    int n_hmac;
    void *sign;                /* EVP_PKEY, private; NULL: none */
    void *verify[AUDIT_N_KEY]; /* [n_verify] EVP_PKEY, public */
    int n_verify;
};

/* Add what a file has.  A key that others may read (mode) is used, with a warning in the log. */
int audit_keys_add_hmac(struct audit_keys *k, const char *path, struct err *e);
int audit_keys_set_sign(struct audit_keys *k, const char *path, struct err *e);
int audit_keys_add_verify(struct audit_keys *k, const char *path, struct err *e);
void audit_keys_fini(struct audit_keys *k);

/* The seals over a digest, by the first HMAC key and by the signing key; -1: out of memory. */
int audit_key_mac(const struct audit_keys *k, const uint8_t digest[SHA256_BYTES],
                  uint8_t out[SHA256_BYTES]);
int audit_key_sign(const struct audit_keys *k, const uint8_t digest[SHA256_BYTES],
                   uint8_t out[AUDIT_SIG_BYTES]);
/* Is the seal (hex digits) that of any of the keys? */
bool audit_key_mac_ok(const struct audit_keys *k, const uint8_t digest[SHA256_BYTES],
                      const char *hex);
bool audit_key_sign_ok(const struct audit_keys *k, const uint8_t digest[SHA256_BYTES],
                       const char *hex);

/* The key of this installation for digests of texts: 32 random bytes in hex in PATH, made with mode
 * 0600 when it is not there. */
int audit_digest_key(const char *path, bool make, uint8_t key[AUDIT_DIGEST_KEY], struct err *e);
/* HMAC-SHA-256 of a text by it; 0, or -1: out of memory. */
int audit_digest(const uint8_t key[AUDIT_DIGEST_KEY], struct str text, uint8_t out[SHA256_BYTES]);

/* n bytes from 2n digits of lower case that were looked at. */
void audit_unhex(const char *hex, uint8_t *out, size_t n);
