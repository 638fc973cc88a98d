/* Ternary blocks: TQ1_0 packs five digits of base 3 into a byte, TQ2_0 four codes of two bits.
 * Source of the formats: ggml (llama.cpp pull request 8151). */
#include "quant/codec.h"

#include "base/f16.h"
#include "quant/blocks.h"
#include "quant/fit.h"

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

/* Encoding: the scale is fitted, so weights that are {-s, 0, s} come back exactly. */

static uint16_t fit_trits(const float *x, const float *w, uint8_t trit[256]) {
    static const struct fit_levels levels = {-1, 1, NULL};
    struct fit_group g;
    float level[256] = {0};
    uint16_t h = 0;
    if (fit_group_set(&g, x, w, 256)) {
        float d = fit_scale(&levels, g.x, g.w, 256);
        h = fit_half(&d, g.unit);
        fit_error(&levels, g.x, g.w, d, level, 256);
    }
    for (int j = 0; j < 256; j++)
        trit[j] = (uint8_t)((int)level[j] + 1);
    return h;
}

/* The inverse of put_digits: digit k of byte j is trit k * m + j. */
static const uint8_t *pack_digits(const uint8_t *trit, uint8_t *bytes, int m, int n_digit) {
    for (int j = 0; j < m; j++) {
        int v = 0;
        for (int k = 0; k < 5; k++)
            v = 3 * v + (k < n_digit ? trit[k * m + j] : 0);
        bytes[j] = (uint8_t)((v * 256 + 242) / 243);
    }
    return trit + n_digit * m;
}

void tq1_0_encode(const float *restrict x, void *restrict blocks, size_t n,
                  const float *restrict weight) {
    struct block_tq1_0 *b = blocks;
    for (size_t i = 0; i < n; i += 256, b++) {
        uint8_t trit[256];
        b->d = fit_trits(x + i, weight ? weight + i : NULL, trit);
        const uint8_t *t = pack_digits(trit, b->qs, 32, 5);
        t = pack_digits(t, b->qs + 32, 16, 5);
        pack_digits(t, b->qh, 4, 4);
    }
}

void tq2_0_encode(const float *restrict x, void *restrict blocks, size_t n,
                  const float *restrict weight) {
    struct block_tq2_0 *b = blocks;
    for (size_t i = 0; i < n; i += 256, b++) {
        uint8_t t[256];
        b->d = fit_trits(x + i, weight ? weight + i : NULL, t);
        for (int j = 0; j < 64; j++) {
            const uint8_t *c = t + 128 * (j / 32) + j % 32;
            b->qs[j] = (uint8_t)(c[0] | c[32] << 2 | c[64] << 4 | c[96] << 6);
        }
    }
}
