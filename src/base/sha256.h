/* SHA-256 (FIPS 180-4), computed by OpenSSL, which uses the processor's instructions for it. */
#pragma once

#include <stddef.h>
#include <stdint.h>

enum { SHA256_BYTES = 32 };

struct sha256 {
    void *md; /* owned from init to final; NULL: init failed, and final will say so */
};

void sha256_init(struct sha256 *s);
void sha256_add(struct sha256 *s, const void *bytes, size_t n);
int sha256_final(struct sha256 *s, uint8_t out[SHA256_BYTES]); /* 0; -1: out of memory */
