/* One and two bits per value with one scale: Q1_0 (128 values), Q2_0 (64 values).  Source of the
 * formats: ggml. */
#include "quant/codec.h"

#include "base/f16.h"
#include "quant/blocks.h"

void q1_0_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q1_0 *b = blocks;
    for (size_t i = 0; i < n / 128; i++, out += 128) {
        const float d = f16_to_f32(b[i].d);
        for (int j = 0; j < 128; j++)
            out[j] = b[i].qs[j / 8] >> j % 8 & 1 ? d : -d;
    }
}

void q2_0_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q2_0 *b = blocks;
    for (size_t i = 0; i < n / 64; i++, out += 64) {
        const float d = f16_to_f32(b[i].d);
        for (int j = 0; j < 64; j++)
            out[j] = (float)((b[i].qs[j / 4] >> 2 * (j % 4) & 3) - 1) * d;
    }
}
