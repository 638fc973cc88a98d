/* The packed 6-bit scales of K blocks: 12 bytes for 16 numbers. */
#pragma once

#include <stdint.h>

/* Q4_K and Q5_K: 8 scales, 8 mins.  The first four of each take the low 6 bits of bytes 0..3
 * and 4..7; the last four have their low nibbles in bytes 8..11 and their two high bits on top of
 * bytes 0..7. */
static inline void k4_scales_get(const uint8_t p[12], uint8_t scale[8], uint8_t min[8]) {
    for (int j = 0; j < 4; j++) {
        scale[j] = p[j] & 63;
        min[j] = p[4 + j] & 63;
        scale[4 + j] = (uint8_t)((p[8 + j] & 15) | (p[j] >> 6) << 4);
        min[4 + j] = (uint8_t)((p[8 + j] >> 4) | (p[4 + j] >> 6) << 4);
    }
}

static inline void k4_scales_set(uint8_t p[12], const uint8_t scale[8], const uint8_t min[8]) {
    for (int j = 0; j < 4; j++) {
        p[j] = (uint8_t)(scale[j] | (scale[4 + j] >> 4) << 6);
        p[4 + j] = (uint8_t)(min[j] | (min[4 + j] >> 4) << 6);
        p[8 + j] = (uint8_t)((scale[4 + j] & 15) | (min[4 + j] & 15) << 4);
    }
}

/* Q3_K: 16 scales, offset 32.  Low nibbles: scale j and j + 8 in byte j (j < 8); the two high
 * bits of scale j in byte 8 + j % 4, at bit 2 * (j / 4). */
static inline void k3_scales_get(const uint8_t p[12], int8_t scale[16]) {
    for (int j = 0; j < 16; j++) {
        const int low = j < 8 ? p[j] & 15 : p[j - 8] >> 4;
        scale[j] = (int8_t)((low | ((p[8 + j % 4] >> (2 * (j / 4))) & 3) << 4) - 32);
    }
}

static inline void k3_scales_set(uint8_t p[12], const int8_t scale[16]) {
    for (int j = 0; j < 12; j++)
        p[j] = 0;
    for (int j = 0; j < 16; j++) {
        const int s = scale[j] + 32;
        p[j % 8] |= (uint8_t)((s & 15) << (j < 8 ? 0 : 4));
        p[8 + j % 4] |= (uint8_t)((s >> 4) << (2 * (j / 4)));
    }
}
