/* Three-bit grid types: four magnitudes are one index into a grid, signs lie apart.  Source of the
 * formats: ggml (llama.cpp pull requests 5196, 5676). */
#include "quant/codec.h"

#include <string.h>

#include "base/f16.h"
#include "quant/blocks.h"
#include "quant/grids.h"

/* Eight values from two grid entries. */
static void put8(float *restrict out, float scale, uint32_t grid0, uint32_t grid1, uint8_t signs) {
    const uint64_t grid = grid0 | (uint64_t)grid1 << 32;
    grid_put8(out, scale, grid, signs);
}

void iq3_xxs_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_iq3_xxs *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = f16_to_f32(b[i].d);
        const uint8_t *q = b[i].qs;
        for (int s = 0; s < 8; s++) {
            uint32_t w;
            memcpy(&w, b[i].gas + 4 * s, sizeof w);
            const float scale = d * (0.5f + (float)(w >> 28)) * 0.5f;
            for (int l = 0; l < 4; l++, out += 8, q += 2)
                put8(out, scale, grid_iq3_xxs[q[0]], grid_iq3_xxs[q[1]], grid_signs(w >> 7 * l));
        }
    }
}

void iq3_s_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_iq3_s *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = f16_to_f32(b[i].d);
        for (int l = 0; l < 32; l++, out += 8) {
            const int code = b[i].scales[l / 8] >> 4 * (l / 4 % 2) & 15;
            const int high = b[i].qh[l / 4] >> 2 * (l % 4);
            const int i0 = b[i].qs[2 * l] | (high & 1) << 8;
            const int i1 = b[i].qs[2 * l + 1] | (high >> 1 & 1) << 8;
            put8(out, d * (float)(1 + 2 * code), grid_iq3_s[i0], grid_iq3_s[i1], b[i].signs[l]);
        }
    }
}
