/* Vectors of the grid types: element k of an entry is byte k of the (little-endian) word. */
#pragma once

#include <stdint.h>

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
