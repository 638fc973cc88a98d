/* Half and brain floats to and from float, one value at a time, exact and branch-poor.  Kernels
 * use the processor's own conversions; these are for headers, references and other machines. */
#pragma once

#include <stdint.h>
#include <string.h>

static inline uint32_t f32_bits(float f) {
    uint32_t u;
    memcpy(&u, &f, sizeof u);
    return u;
}

static inline float f32_from_bits(uint32_t u) {
    float f;
    memcpy(&f, &u, sizeof f);
    return f;
}

/* IEEE 754 binary16 to binary32; subnormals, infinities and NaN included. */
static inline float f16_to_f32(uint16_t h) {
    const uint32_t sign = (uint32_t)(h & 0x8000u) << 16, body = h & 0x7fffu;
    if (body >= 0x7c00u) return f32_from_bits(sign | 0x7f800000u | (body & 0x3ffu) << 13);
    /* Shift the exponent into place and rescale by 2^112: right for subnormals as well. */
    const float v = f32_from_bits(body << 13) * 0x1p112f;
    return f32_from_bits(f32_bits(v) | sign);
}

/* Round to nearest even; overflow gives infinity, NaN stays (quiet) NaN. */
static inline uint16_t f32_to_f16(float f) {
    const uint32_t u = f32_bits(f), sign = (u >> 16) & 0x8000u, body = u & 0x7fffffffu;
    if (body > 0x7f800000u) return (uint16_t)(sign | 0x7e00u | ((body >> 13) & 0x1ffu));
    if (body >= 0x477ff000u) return (uint16_t)(sign | 0x7c00u); /* rounds to 2^16 or above */
    if (body < 0x38800000u) { /* subnormal half: let the float adder round at 2^-24 */
        const float v = f32_from_bits(body) + 0.5f;
        return (uint16_t)(sign | (f32_bits(v) - 0x3f000000u));
    }
    const uint32_t odd = (body >> 13) & 1;
    return (uint16_t)(sign | ((body - 0x38000000u + 0xfffu + odd) >> 13));
}

static inline float bf16_to_f32(uint16_t h) {
    return f32_from_bits((uint32_t)h << 16);
}

/* Round to nearest even; NaN stays quiet NaN. */
static inline uint16_t f32_to_bf16(float f) {
    const uint32_t u = f32_bits(f);
    if ((u & 0x7fffffffu) > 0x7f800000u) return (uint16_t)(u >> 16 | 64);
    return (uint16_t)((u + 0x7fffu + ((u >> 16) & 1)) >> 16);
}
