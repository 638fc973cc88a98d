/* See sha256.h.  A failure in between is kept as a missing context and reported by final. */
#include "base/sha256.h"

#include <openssl/evp.h>

static void drop(struct sha256 *s) {
    EVP_MD_CTX_free(s->md);
    s->md = NULL;
}

void sha256_init(struct sha256 *s) {
    s->md = EVP_MD_CTX_new();
    if (s->md && EVP_DigestInit_ex(s->md, EVP_sha256(), NULL) != 1) drop(s);
}

void sha256_add(struct sha256 *s, const void *bytes, size_t n) {
    if (s->md && EVP_DigestUpdate(s->md, bytes, n) != 1) drop(s);
}

int sha256_final(struct sha256 *s, uint8_t out[SHA256_BYTES]) {
    const int ok = s->md && EVP_DigestFinal_ex(s->md, out, NULL) == 1;
    drop(s);
    return ok ? 0 : -1;
}
