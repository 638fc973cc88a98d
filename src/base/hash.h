/* A fast 64-bit hash: XXH64 (Yann Collet, "xxHash fast digest algorithm", specification 0.2).  It
 * finds torn and damaged bytes and spreads table entries; it keeps out nobody who chooses the
 * bytes: identities are SHA-256 (base/sha256.h). */
#pragma once

#include <stddef.h>
#include <stdint.h>

/* Runs are chained by passing one's result as the next one's seed. */
uint64_t hash64(const void *bytes, size_t n, uint64_t seed);
