/* Vectors of the grid types: element k of an entry is byte k of the (little-endian) word. */
#pragma once

#include <stdint.h>
#include <string.h>

#include "base/f16.h"

extern const uint64_t grid_iq2_xxs[256]; /* unsigned bytes 8, 25, 43 */
extern const uint64_t grid_iq2_xs[512];
extern const uint64_t grid_iq2_s[1024];
extern const uint32_t grid_iq3_xxs[256]; /* unsigned bytes 4..62 */
extern const uint32_t grid_iq3_s[512];
extern const uint64_t grid_iq1[2048]; /* signed bytes -1, 0, 1 */

/* Seven stored sign bits stand for eight: the last makes the number of set bits even. */
static inline uint8_t grid_signs(uint32_t seven) {
    seven &= 127;
    return (uint8_t)(seven | (uint32_t)__builtin_parity(seven) << 7);
}

/* Eight magnitudes times scale, with one sign bit each. */
static inline void grid_put8(float *restrict out, float scale, uint64_t grid, uint8_t signs) {
    uint8_t g[8];
    memcpy(g, &grid, sizeof g);
    for (uint32_t j = 0; j < 8; j++) {
        const uint32_t minus = (signs & 1u << j) != 0 ? 0x80000000u : 0;
        out[j] = f32_from_bits(f32_bits(scale * (float)g[j]) ^ minus);
    }
}
