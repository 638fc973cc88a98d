/* Ternary blocks: TQ1_0 packs five digits of base 3 into a byte, TQ2_0 four codes of two bits.
 * Source of the formats: ggml (llama.cpp pull request 8151). */
#include "quant/codec.h"

#include "base/f16.h"
#include "quant/blocks.h"

/* Digit k of each of m bytes.  A byte is the number's fraction of 3^5, scaled to 256 and rounded
 * up: multiplying by 3^k (mod 256) moves digit k to the front, times 3 / 256 reads it. */
static float *put_digits(float *restrict out, const uint8_t *bytes, int m, int n_digit, float d) {
    static const uint8_t pow3[5] = {1, 3, 9, 27, 81};
    for (int k = 0; k < n_digit; k++, out += m)
        for (int j = 0; j < m; j++) {
            const uint8_t q = (uint8_t)(bytes[j] * pow3[k]);
            out[j] = (float)((q * 3 >> 8) - 1) * d;
        }
    return out;
}

void tq1_0_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_tq1_0 *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = f16_to_f32(b[i].d);
        out = put_digits(out, b[i].qs, 32, 5, d);
        out = put_digits(out, b[i].qs + 32, 16, 5, d);
        out = put_digits(out, b[i].qh, 4, 4, d);
    }
}

void tq2_0_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_tq2_0 *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = f16_to_f32(b[i].d);
        for (int s = 0; s < 8; s++, out += 32) {
            const uint8_t *q = b[i].qs + 32 * (s / 4);
            for (int l = 0; l < 32; l++)
                out[l] = (float)((q[l] >> 2 * (s % 4) & 3) - 1) * d;
        }
    }
}
