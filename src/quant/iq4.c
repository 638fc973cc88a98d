/* Four bits on a non-linear scale of 16 levels: IQ4_NL (blocks of 32) and IQ4_XS (super-blocks).
 * Source of the formats: ggml (llama.cpp pull requests 5590, 5747). */
#include "quant/codec.h"

#include "base/f16.h"
#include "quant/blocks.h"

const int8_t kvalues_iq4nl[16] = {-127, -104, -83, -65, -49, -35, -22, -10,
                                  1,    13,   25,  38,  53,  69,  89,  113};

static void put32(float *restrict out, float scale, const uint8_t qs[16]) {
    for (int j = 0; j < 16; j++) {
        out[j] = scale * (float)kvalues_iq4nl[qs[j] & 15];
        out[j + 16] = scale * (float)kvalues_iq4nl[qs[j] >> 4];
    }
}

void iq4_nl_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_iq4_nl *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32)
        put32(out, f16_to_f32(b[i].d), b[i].qs);
}

void iq4_xs_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_iq4_xs *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = f16_to_f32(b[i].d);
        for (int s = 0; s < 8; s++, out += 32) {
            const int low = b[i].scales_l[s / 2] >> 4 * (s % 2) & 15;
            const int scale = (low | (b[i].scales_h >> 2 * s & 3) << 4) - 32;
            put32(out, d * (float)scale, b[i].qs + 16 * s);
        }
    }
}
