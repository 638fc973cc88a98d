/* Blocks of 32 values with one scale: Q4_0, Q4_1, Q5_0, Q5_1, Q8_0.  Source of the formats:
 * ggml. */
#include "quant/codec.h"

#include <string.h>

#include "base/f16.h"
#include "quant/blocks.h"

void q4_0_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q4_0 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        const float d = f16_to_f32(b[i].d);
        for (int j = 0; j < 16; j++) {
            out[j] = (float)((b[i].qs[j] & 15) - 8) * d;
            out[j + 16] = (float)((b[i].qs[j] >> 4) - 8) * d;
        }
    }
}

void q4_1_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q4_1 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        const float d = f16_to_f32(b[i].d), m = f16_to_f32(b[i].m);
        for (int j = 0; j < 16; j++) {
            out[j] = (float)(b[i].qs[j] & 15) * d + m;
            out[j + 16] = (float)(b[i].qs[j] >> 4) * d + m;
        }
    }
}

/* The 5-bit codes of a block. */
static void codes5(const uint8_t qs[16], const uint8_t qh[4], uint8_t q[32]) {
    uint32_t high;
    memcpy(&high, qh, sizeof high);
    for (int j = 0; j < 16; j++) {
        q[j] = (uint8_t)((qs[j] & 15) | (high >> j & 1) << 4);
        q[j + 16] = (uint8_t)(qs[j] >> 4 | (high >> (j + 16) & 1) << 4);
    }
}

void q5_0_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q5_0 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        const float d = f16_to_f32(b[i].d);
        uint8_t q[32];
        codes5(b[i].qs, b[i].qh, q);
        for (int j = 0; j < 32; j++)
            out[j] = (float)(q[j] - 16) * d;
    }
}

void q5_1_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q5_1 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        const float d = f16_to_f32(b[i].d), m = f16_to_f32(b[i].m);
        uint8_t q[32];
        codes5(b[i].qs, b[i].qh, q);
        for (int j = 0; j < 32; j++)
            out[j] = (float)q[j] * d + m;
    }
}

void q8_0_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q8_0 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        const float d = f16_to_f32(b[i].d);
        for (int j = 0; j < 32; j++)
            out[j] = (float)b[i].qs[j] * d;
    }
}
