/* Rows of plain, half and brain floats. */
#include "quant/codec.h"

#include <string.h>

#include "base/f16.h"

void f32_decode(const void *restrict blocks, float *restrict out, size_t n) {
    memcpy(out, blocks, n * sizeof *out);
}

void f32_encode(const float *restrict x, void *restrict blocks, size_t n,
                const float *restrict weight) {
    (void)weight;
    memcpy(blocks, x, n * sizeof *x);
}

/* f16_to_f32 without its branch, so that the compiler makes vectors of it: an exponent of all
 * ones is forced by an OR, which keeps the payload of a NaN. */
void f16_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const uint16_t *restrict h = blocks;
    for (size_t i = 0; i < n; i++) {
        const uint32_t sign = (uint32_t)(h[i] & 0x8000u) << 16, body = h[i] & 0x7fffu;
        const uint32_t special = body >= 0x7c00u ? 0x7f800000u : 0;
        const float v = f32_from_bits(body << 13) * 0x1p112f;
        out[i] = f32_from_bits(f32_bits(v) | sign | special);
    }
}

void f16_encode(const float *restrict x, void *restrict blocks, size_t n,
                const float *restrict weight) {
    (void)weight;
    uint16_t *restrict h = blocks;
    for (size_t i = 0; i < n; i++)
        h[i] = f32_to_f16(x[i]);
}

void bf16_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const uint16_t *restrict h = blocks;
    for (size_t i = 0; i < n; i++)
        out[i] = bf16_to_f32(h[i]);
}

void bf16_encode(const float *restrict x, void *restrict blocks, size_t n,
                 const float *restrict weight) {
    (void)weight;
    uint16_t *restrict h = blocks;
    for (size_t i = 0; i < n; i++)
        h[i] = f32_to_bf16(x[i]);
}
