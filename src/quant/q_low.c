/* One and two bits per value with one scale: Q1_0 (128 values), Q2_0 (64 values).  Source of the
 * formats: ggml. */
#include "quant/codec.h"

#include <math.h>
#include <string.h>

#include "base/f16.h"
#include "quant/blocks.h"
#include "quant/fit.h"

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

/* Signs are given, so the mean magnitude is the best scale. */
void q1_0_encode(const float *restrict x, void *restrict blocks, size_t n,
                 const float *restrict weight) {
    struct block_q1_0 *b = blocks;
    for (size_t i = 0; i < n; i += 128, b++) {
        struct fit_group g;
        b->d = 0;
        if (fit_group_set(&g, x + i, weight ? weight + i : NULL, 128)) {
            double sum = 0, sum_w = 0;
            for (int j = 0; j < 128; j++) {
                sum += (double)g.w[j] * fabsf(g.x[j]);
                sum_w += g.w[j];
            }
            float d = (float)(sum / sum_w);
            b->d = fit_half(&d, g.unit);
        }
        memset(b->qs, 0, sizeof b->qs);
        for (int j = 0; j < 128; j++)
            b->qs[j / 8] |= (uint8_t)((x[i + (size_t)j] >= 0) << j % 8);
    }
}

void q2_0_encode(const float *restrict x, void *restrict blocks, size_t n,
                 const float *restrict weight) {
    static const struct fit_levels levels = {-1, 2, NULL};
    struct block_q2_0 *b = blocks;
    for (size_t i = 0; i < n; i += 64, b++) {
        struct fit_group g;
        float level[64] = {0};
        b->d = 0;
        if (fit_group_set(&g, x + i, weight ? weight + i : NULL, 64)) {
            float d = fit_scale(&levels, g.x, g.w, 64);
            b->d = fit_half(&d, g.unit);
            fit_error(&levels, g.x, g.w, d, level, 64);
        }
        memset(b->qs, 0, sizeof b->qs);
        for (int j = 0; j < 64; j++)
            b->qs[j / 4] |= (uint8_t)(((int)level[j] + 1) << 2 * (j % 4));
    }
}
