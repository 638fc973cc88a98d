/* Four-bit floats: MXFP4 (OCP Microscaling Formats v1.0: E2M1 values, E8M0 scale) and NVFP4
 * (E2M1 values, unsigned E4M3 scale per 16). */
#include "quant/codec.h"

#include <math.h>

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
