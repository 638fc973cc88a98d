/* Four bits on a non-linear scale of 16 levels: IQ4_NL (blocks of 32) and IQ4_XS (super-blocks).
 * Source of the formats: ggml (llama.cpp pull requests 5590, 5747). */
#include "quant/codec.h"

#include <string.h>

#include "base/f16.h"
#include "quant/blocks.h"
#include "quant/kfit.h"

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

/* Nearest levels for fit.c: entry i is for -127 + i / 2 up to the next half.  The midpoints of
 * the levels are the borders. */
static const float nearest[481] = {
    [0 ... 22] = -127,   [23 ... 66] = -104,  [67 ... 105] = -83,  [106 ... 139] = -65,
    [140 ... 169] = -49, [170 ... 196] = -35, [197 ... 221] = -22, [222 ... 244] = -10,
    [245 ... 267] = 1,   [268 ... 291] = 13,  [292 ... 316] = 25,  [317 ... 344] = 38,
    [345 ... 375] = 53,  [376 ... 411] = 69,  [412 ... 455] = 89,  [456 ... 480] = 113,
};
static const struct fit_levels levels = {-127, 113, nearest};

/* The code of a level, ascending. */
static int code_of(float level) {
    int c = 0;
    while (c < 15 && (float)kvalues_iq4nl[c] < level)
        c++;
    return c;
}

static void pack32(uint8_t qs[16], const float *level) {
    for (int j = 0; j < 16; j++)
        qs[j] = (uint8_t)(code_of(level[j]) | code_of(level[j + 16]) << 4);
}

void iq4_nl_encode(const float *restrict x, void *restrict blocks, size_t n,
                   const float *restrict weight) {
    struct block_iq4_nl *b = blocks;
    for (size_t i = 0; i < n; i += 32, b++) {
        struct fit_group g;
        float level[32] = {0};
        b->d = 0;
        if (fit_group_set(&g, x + i, weight ? weight + i : NULL, 32)) {
            float d = fit_scale(&levels, g.x, g.w, 32);
            b->d = fit_half(&d, g.unit);
            fit_error(&levels, g.x, g.w, d, level, 32);
        }
        pack32(b->qs, level);
    }
}

void iq4_xs_encode(const float *restrict x, void *restrict blocks, size_t n,
                   const float *restrict weight) {
    struct block_iq4_xs *b = blocks;
    for (size_t i = 0; i < n; i += 256, b++) {
        struct kfit k;
        kfit_scales(&k, x + i, weight ? weight + i : NULL, 32, &levels, -32, 31);
        b->d = k.d;
        b->scales_h = 0;
        memset(b->scales_l, 0, sizeof b->scales_l);
        for (int j = 0; j < 8; j++) {
            const int s = k.scale[j] + 32;
            b->scales_l[j / 2] |= (uint8_t)((s & 15) << 4 * (j % 2));
            b->scales_h |= (uint16_t)((s >> 4) << 2 * j);
            pack32(b->qs + 16 * j, k.q + 32 * j);
        }
    }
}
