/* SHA-256 digests as they name blobs: "sha256:<64 hex>" in JSON, "sha256-<64 hex>" as a file.  The
 * one parser: no other text becomes the path of a blob (CVE-2024-37032 and its kin). */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "base/str.h"

enum { DIGEST_HEX = 64, DIGEST_TEXT = 7 + DIGEST_HEX + 1 };

struct digest {
    char hex[DIGEST_HEX + 1]; /* lower case, terminated; empty: no digest */
};

/* "sha256:" or "sha256-" and exactly 64 hex digits, nothing else.  Upper case is accepted and kept
 * as lower.  ERR_FORMAT with what was found. */
int digest_parse(struct str text, struct digest *out, struct err *e);

/* The digest of these bytes, of a raw hash. */
int digest_of(const void *bytes, size_t n, struct digest *out, struct err *e);
void digest_from_hash(const uint8_t hash[32], struct digest *out);
void digest_to_hash(const struct digest *d, uint8_t hash[32]);

/* "sha256:<hex>" */
void digest_format(const struct digest *d, char out[DIGEST_TEXT]);

static inline bool digest_eq(const struct digest *a, const struct digest *b) {
    return str_eq(str_of(a->hex), str_of(b->hex));
}
