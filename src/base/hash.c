/* XXH64, after its specification: four lanes of 8 bytes, multiplied and rotated, so that the
 * multiplications of a 32-byte stripe overlap. */
#include "base/hash.h"

#include <string.h>

static const uint64_t P1 = 0x9E3779B185EBCA87, P2 = 0xC2B2AE3D27D4EB4F, P3 = 0x165667B19E3779F9,
                      P4 = 0x85EBCA77C2B2AE63, P5 = 0x27D4EB2F165667C5;

static inline uint64_t rotl(uint64_t v, int by) {
    return v << by | v >> (64 - by);
}

static inline uint64_t read64(const uint8_t *p) {
    uint64_t v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline uint64_t mix(uint64_t acc, uint64_t lane) {
    return rotl(acc + lane * P2, 31) * P1;
}

static inline uint64_t merge(uint64_t acc, uint64_t lane) {
    return (acc ^ mix(0, lane)) * P1 + P4;
}

/* Whole stripes of 32 bytes; *p moves on. */
static uint64_t stripes(const uint8_t **p, size_t n, uint64_t seed) {
    uint64_t a = seed + P1 + P2, b = seed + P2, c = seed, d = seed - P1;
    const uint8_t *q = *p;
    for (; n >= 32; n -= 32, q += 32) {
        a = mix(a, read64(q)), b = mix(b, read64(q + 8));
        c = mix(c, read64(q + 16)), d = mix(d, read64(q + 24));
    }
    *p = q;
    const uint64_t h = rotl(a, 1) + rotl(b, 7) + rotl(c, 12) + rotl(d, 18);
    return merge(merge(merge(merge(h, a), b), c), d);
}

uint64_t hash64(const void *bytes, size_t n, uint64_t seed) {
    const uint8_t *p = bytes;
    uint64_t h = n >= 32 ? stripes(&p, n, seed) : seed + P5;
    h += n;
    size_t left = n % 32;
    for (; left >= 8; left -= 8, p += 8)
        h = rotl(h ^ mix(0, read64(p)), 27) * P1 + P4;
    if (left >= 4) {
        uint32_t v;
        memcpy(&v, p, sizeof v);
        h = rotl(h ^ v * P1, 23) * P2 + P3;
        left -= 4, p += 4;
    }
    for (; left; left--, p++)
        h = rotl(h ^ *p * P5, 11) * P1;
    h = (h ^ h >> 33) * P2;
    h = (h ^ h >> 29) * P3;
    return h ^ h >> 32;
}
