/* Ternary grid types: eight values of {-1, 0, 1} are one index, all shifted by +-1/8.  Source of
 * the formats: ggml (llama.cpp pull requests 5999, 6302). */
#include "quant/codec.h"

#include <string.h>

#include "base/f16.h"
#include "quant/blocks.h"
#include "quant/grids.h"

static void put8(float *restrict out, float scale, int index, int negative) {
    const float delta = negative ? -0.125f : 0.125f;
    const uint64_t grid = grid_iq1[index];
    for (int j = 0; j < 8; j++)
        out[j] = scale * ((float)(int8_t)(grid >> 8 * j) + delta);
}

void iq1_s_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_iq1_s *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = f16_to_f32(b[i].d);
        for (int l = 0; l < 32; l++, out += 8) {
            const int h = b[i].qh[l / 4];
            const float scale = d * (float)(2 * (h >> 12 & 7) + 1);
            put8(out, scale, b[i].qs[l] | (h >> 3 * (l % 4) & 7) << 8, h >> 15);
        }
    }
}

void iq1_m_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_iq1_m *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        uint16_t w[4];
        memcpy(w, b[i].scales, sizeof w);
        const float d = f16_to_f32(
            (uint16_t)(w[0] >> 12 | (w[1] >> 12) << 4 | (w[2] >> 12) << 8 | (w[3] >> 12) << 12));
        for (int l = 0; l < 32; l++, out += 8) {
            const int code = w[l / 8] >> 3 * (l / 2 % 4) & 7;
            const int h = b[i].qh[l / 2] >> 4 * (l % 2) & 15;
            put8(out, d * (float)(2 * code + 1), b[i].qs[l] | (h & 7) << 8, h >> 3);
        }
    }
}
