/* Four-bit floats: MXFP4 (OCP Microscaling Formats v1.0: E2M1 values, E8M0 scale) and NVFP4
 * (E2M1 values, unsigned E4M3 scale per 16). */
#include "quant/codec.h"

#include <math.h>
#include <string.h>

#include "base/f16.h"
#include "quant/blocks.h"

const int8_t kvalues_e2m1x2[16] = {0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12};

/* 2^(e - 128): half the E8M0 scale, for the doubled values.  Subnormal for e < 2. */
static float e8m0_half(uint8_t e) {
    return f32_from_bits(e < 2 ? 0x00200000u << e : (uint32_t)(e - 1) << 23);
}

/* Half the value of an unsigned E4M3 number (bias 7).  0x7f is no number and reads as 0; a set top
 * bit, which no quantizer writes, is ignored (0xff is 480, as in the reference). */
static float ue4m3_half(uint8_t v) {
    const int e = v >> 3 & 15, m = v & 7;
    if (v == 0x7f) return 0.0f;
    return e == 0 ? ldexpf((float)m, -10) : ldexpf((float)(8 + m), e - 11);
}

void mxfp4_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_mxfp4 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        const float d = e8m0_half(b[i].e);
        for (int j = 0; j < 16; j++) {
            out[j] = (float)kvalues_e2m1x2[b[i].qs[j] & 15] * d;
            out[j + 16] = (float)kvalues_e2m1x2[b[i].qs[j] >> 4] * d;
        }
    }
}

void nvfp4_decode(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_nvfp4 *b = blocks;
    for (size_t i = 0; i < n / 64; i++)
        for (int s = 0; s < 4; s++, out += 16) {
            const float d = ue4m3_half(b[i].d[s]);
            const uint8_t *q = b[i].qs + 8 * s;
            for (int j = 0; j < 8; j++) {
                out[j] = (float)kvalues_e2m1x2[q[j] & 15] * d;
                out[j + 8] = (float)kvalues_e2m1x2[q[j] >> 4] * d;
            }
        }
}

/* The code whose value times d is nearest to x; of equals the smaller magnitude.  0 is code 0. */
static int nearest_code(float x, float d) {
    static const float mid[7] = {0.5f, 1.5f, 2.5f, 3.5f, 5.0f, 7.0f, 10.0f}; /* doubled values */
    const float a = fabsf(x);
    int c = 0;
    while (c < 7 && a > mid[c] * d)
        c++;
    return c && x < 0 ? c | 8 : c;
}

/* The scale is the power of two that puts the largest value's exponent at the top, as the
 * Microscaling specification (6.3) says; importance is not used. */
void mxfp4_encode(const float *restrict x, void *restrict blocks, size_t n,
                  const float *restrict weight) {
    (void)weight;
    struct block_mxfp4 *b = blocks;
    for (size_t i = 0; i < n; i += 32, b++) {
        const float *v = x + i;
        float peak = 0;
        for (int j = 0; j < 32; j++)
            peak = fabsf(v[j]) > peak ? fabsf(v[j]) : peak;
        const int e = peak > 0 ? ilogbf(peak) - 2 + 127 : 0;
        b->e = (uint8_t)(e < 0 ? 0 : e);
        const float d = e8m0_half(b->e);
        for (int j = 0; j < 16; j++)
            b->qs[j] = (uint8_t)(nearest_code(v[j], d) | nearest_code(v[j + 16], d) << 4);
    }
}

/* Squared error of 16 values under scale code e. */
static float nvfp4_error(const float *x, const float *w, uint8_t e, uint8_t code[16]) {
    const float d = ue4m3_half(e);
    float sum = 0;
    for (int j = 0; j < 16; j++) {
        code[j] = (uint8_t)nearest_code(x[j], d);
        const float diff = x[j] - (float)kvalues_e2m1x2[code[j]] * d;
        sum += (w ? w[j] : 1.0f) * diff * diff;
    }
    return sum;
}

/* Scale codes from "the largest value is 4" down to "is 8": a grid of 3 mantissa bits, so a dozen
 * candidates are all there are. */
static uint8_t nvfp4_scale(const float *x, const float *w, uint8_t code[16]) {
    enum { TOP = 0x7e };
    float peak = 0, best = INFINITY;
    for (int j = 0; j < 16; j++)
        peak = fabsf(x[j]) > peak ? fabsf(x[j]) : peak;
    int hi = 1;
    while (hi < TOP && ue4m3_half((uint8_t)hi) * 8.0f < peak)
        hi++;
    uint8_t best_e = 0, c[16];
    for (int e = hi > 10 ? hi - 10 : 0; e <= hi; e++) {
        const float err = nvfp4_error(x, w, (uint8_t)e, c);
        if (!(err < best)) continue;
        best = err;
        best_e = (uint8_t)e;
        memcpy(code, c, sizeof c);
    }
    return best_e;
}

void nvfp4_encode(const float *restrict x, void *restrict blocks, size_t n,
                  const float *restrict weight) {
    struct block_nvfp4 *b = blocks;
    for (size_t i = 0; i < n; i += 64, b++)
        for (size_t s = 0; s < 4; s++) {
            uint8_t code[16];
            const size_t k = i + 16 * s;
            memset(code, 0, sizeof code);
            b->d[s] = nvfp4_scale(x + k, weight ? weight + k : NULL, code);
            for (int j = 0; j < 8; j++)
                b->qs[8 * s + (size_t)j] = (uint8_t)(code[j] | code[j + 8] << 4);
        }
}
