/* Decoding the K blocks: 256 values in sub-blocks whose scales are quantized themselves.  Source
 * of the formats: ggml (llama.cpp pull request 1684). */
#include "quant/codec.h"

#include "base/f16.h"
#include "quant/blocks.h"
#include "quant/kscale.h"

void q2_k_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q2_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = f16_to_f32(b[i].d), dmin = f16_to_f32(b[i].dmin);
        for (int s = 0; s < 16; s++, out += 16) {
            const uint8_t *q = b[i].qs + 32 * (s / 8) + 16 * (s % 2);
            const int shift = 2 * (s / 2 % 4);
            const float scale = d * (float)(b[i].scales[s] & 15);
            const float min = dmin * (float)(b[i].scales[s] >> 4);
            for (int l = 0; l < 16; l++)
                out[l] = scale * (float)(q[l] >> shift & 3) - min;
        }
    }
}

void q3_k_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q3_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = f16_to_f32(b[i].d);
        int8_t scales[16];
        k3_scales_get(b[i].scales, scales);
        for (int s = 0; s < 16; s++, out += 16) {
            const uint8_t *q = b[i].qs + 32 * (s / 8) + 16 * (s % 2);
            const uint8_t *h = b[i].hmask + 16 * (s % 2);
            const int shift = 2 * (s / 2 % 4), bit = s / 2;
            const float scale = d * (float)scales[s];
            for (int l = 0; l < 16; l++)
                out[l] = scale * (float)((q[l] >> shift & 3) + 4 * (h[l] >> bit & 1) - 4);
        }
    }
}

void q4_k_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q4_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = f16_to_f32(b[i].d), dmin = f16_to_f32(b[i].dmin);
        uint8_t sc[8], mn[8];
        k4_scales_get(b[i].scales, sc, mn);
        for (int s = 0; s < 8; s += 2, out += 64) {
            const uint8_t *q = b[i].qs + 16 * s;
            const float d0 = d * (float)sc[s], m0 = dmin * (float)mn[s];
            const float d1 = d * (float)sc[s + 1], m1 = dmin * (float)mn[s + 1];
            for (int l = 0; l < 32; l++)
                out[l] = d0 * (float)(q[l] & 15) - m0;
            for (int l = 0; l < 32; l++)
                out[l + 32] = d1 * (float)(q[l] >> 4) - m1;
        }
    }
}

void q5_k_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q5_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = f16_to_f32(b[i].d), dmin = f16_to_f32(b[i].dmin);
        uint8_t sc[8], mn[8];
        k4_scales_get(b[i].scales, sc, mn);
        for (int s = 0; s < 8; s++, out += 32) {
            const uint8_t *q = b[i].qs + 32 * (s / 2), *h = b[i].qh;
            const int shift = 4 * (s % 2);
            const float scale = d * (float)sc[s], min = dmin * (float)mn[s];
            for (int l = 0; l < 32; l++)
                out[l] = scale * (float)((q[l] >> shift & 15) | (h[l] >> s & 1) << 4) - min;
        }
    }
}

void q6_k_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q6_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = f16_to_f32(b[i].d);
        for (int s = 0; s < 16; s++, out += 16) {
            /* Within a half: sub-blocks 0..3 are the low nibbles of 64 bytes, 4..7 the high. */
            const uint8_t *lo = b[i].ql + 64 * (s / 8) + 16 * (s % 4);
            const uint8_t *hi = b[i].qh + 32 * (s / 8) + 16 * (s % 2);
            const int shift_lo = 4 * (s / 4 % 2), shift_hi = 2 * (s / 2 % 4);
            const float scale = d * (float)b[i].scales[s];
            for (int l = 0; l < 16; l++)
                out[l] =
                    scale * (float)(((lo[l] >> shift_lo & 15) | (hi[l] >> shift_hi & 3) << 4) - 32);
        }
    }
}
