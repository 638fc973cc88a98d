/* Arithmetic on sizes that come from outside.  Every length, count and offset read from a file or
 * a peer passes through these before it is used (SECURITY.md F2): each returns false on overflow
 * and leaves *out alone. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

static inline bool checked_add(uint64_t a, uint64_t b, uint64_t *out) {
    uint64_t r;
    if (__builtin_add_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

static inline bool checked_mul(uint64_t a, uint64_t b, uint64_t *out) {
    uint64_t r;
    if (__builtin_mul_overflow(a, b, &r)) return false;
    *out = r;
    return true;
}

/* Round a up to a multiple of align, a power of two. */
static inline bool checked_align(uint64_t a, uint64_t align, uint64_t *out) {
    uint64_t t;
    if (!checked_add(a, align - 1, &t)) return false;
    *out = t & ~(align - 1);
    return true;
}

/* uint64_t to size_t: fails where size_t is narrower. */
static inline bool checked_size(uint64_t a, size_t *out) {
    if (a > SIZE_MAX) return false;
    *out = (size_t)a;
    return true;
}
