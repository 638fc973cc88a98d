/* Two-bit grid types: eight magnitudes are one index into a grid, signs lie apart.  Source of the
 * formats: ggml (llama.cpp pull requests 4773, 4856, 5747). */
#include "quant/codec.h"

#include <string.h>

#include "base/f16.h"
#include "quant/blocks.h"
#include "quant/grids.h"

static float scale_iq2(float d, int code) {
    return d * (0.5f + (float)code) * 0.25f;
}

void iq2_xxs_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_iq2_xxs *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = f16_to_f32(b[i].d);
        for (int s = 0; s < 8; s++) {
            uint32_t w[2];
            memcpy(w, b[i].qs + 4 * s, sizeof w);
            const float scale = scale_iq2(d, (int)(w[1] >> 28));
            for (int l = 0; l < 4; l++, out += 8)
                grid_put8(out, scale, grid_iq2_xxs[w[0] >> 8 * l & 255], grid_signs(w[1] >> 7 * l));
        }
    }
}

void iq2_xs_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_iq2_xs *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = f16_to_f32(b[i].d);
        for (int l = 0; l < 32; l++, out += 8) {
            const int code = b[i].scales[l / 4] >> 4 * (l / 2 % 2) & 15;
            const uint32_t q = b[i].qs[l];
            grid_put8(out, scale_iq2(d, code), grid_iq2_xs[q & 511], grid_signs(q >> 9));
        }
    }
}

void iq2_s_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_iq2_s *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = f16_to_f32(b[i].d);
        for (int l = 0; l < 32; l++, out += 8) {
            const int code = b[i].scales[l / 4] >> 4 * (l / 2 % 2) & 15;
            const int index = b[i].qs[l] | (b[i].qh[l / 4] >> 2 * (l % 4) & 3) << 8;
            grid_put8(out, scale_iq2(d, code), grid_iq2_s[index], b[i].signs[l]);
        }
    }
}
