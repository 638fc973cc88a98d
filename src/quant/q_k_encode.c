/* Encoding the K blocks: the fits of quant/kfit.h, packed.  Layouts: quant/blocks.h. */
#include "quant/codec.h"

#include <string.h>

#include "quant/blocks.h"
#include "quant/kfit.h"
#include "quant/kscale.h"

/* Two bits of 256 codes: byte 32 h + l holds values 128 h + l + 32 * {0, 1, 2, 3}. */
static void pack2(uint8_t out[64], const uint8_t code[256], int shift) {
    for (int h = 0; h < 2; h++)
        for (int l = 0; l < 32; l++) {
            const uint8_t *c = code + 128 * h + l;
            out[32 * h + l] = (uint8_t)((c[0] >> shift & 3) | (c[32] >> shift & 3) << 2 |
                                        (c[64] >> shift & 3) << 4 | (c[96] >> shift & 3) << 6);
        }
}

/* Four low bits of 256 codes: byte run * h + l holds values 2 run h + l and + run. */
static void pack4(uint8_t out[128], const uint8_t code[256], int run) {
    for (int h = 0; h < 128 / run; h++)
        for (int l = 0; l < run; l++) {
            const uint8_t *c = code + 2 * run * h + l;
            out[run * h + l] = (uint8_t)((c[0] & 15) | (c[run] & 15) << 4);
        }
}

/* Bit `bit` of 256 codes: byte l, bit k is value 32 k + l. */
static void pack_bit(uint8_t out[32], const uint8_t code[256], int bit) {
    memset(out, 0, 32);
    for (int i = 0; i < 256; i++)
        out[i % 32] |= (uint8_t)((code[i] >> bit & 1) << i / 32);
}

static void codes_of(const struct kfit *k, int offset, uint8_t code[256]) {
    for (int i = 0; i < 256; i++)
        code[i] = (uint8_t)((int)k->q[i] + offset);
}

static const float *at(const float *w, size_t i) {
    return w ? w + i : NULL;
}

void q2_k_encode(const float *restrict x, void *restrict blocks, size_t n,
                 const float *restrict weight) {
    struct block_q2_k *b = blocks;
    for (size_t i = 0; i < n; i += 256, b++) {
        struct kfit k;
        uint8_t code[256];
        kfit_affine(&k, x + i, at(weight, i), 16, 3, 15);
        codes_of(&k, 0, code);
        b->d = k.d, b->dmin = k.dmin;
        for (int j = 0; j < 16; j++)
            b->scales[j] = (uint8_t)(k.scale[j] | k.min[j] << 4);
        pack2(b->qs, code, 0);
    }
}

void q3_k_encode(const float *restrict x, void *restrict blocks, size_t n,
                 const float *restrict weight) {
    static const struct fit_levels levels = {-4, 3, NULL};
    struct block_q3_k *b = blocks;
    for (size_t i = 0; i < n; i += 256, b++) {
        struct kfit k;
        uint8_t code[256];
        int8_t scale[16];
        kfit_scales(&k, x + i, at(weight, i), 16, &levels, -32, 31);
        codes_of(&k, 4, code);
        for (int j = 0; j < 16; j++)
            scale[j] = (int8_t)k.scale[j];
        b->d = k.d;
        k3_scales_set(b->scales, scale);
        pack2(b->qs, code, 0);
        pack_bit(b->hmask, code, 2);
    }
}

/* Scales of Q4_K and Q5_K. */
static void put_k4_scales(uint8_t out[12], const struct kfit *k) {
    uint8_t scale[8], min[8];
    for (int j = 0; j < 8; j++) {
        scale[j] = (uint8_t)k->scale[j];
        min[j] = (uint8_t)k->min[j];
    }
    k4_scales_set(out, scale, min);
}

void q4_k_encode(const float *restrict x, void *restrict blocks, size_t n,
                 const float *restrict weight) {
    struct block_q4_k *b = blocks;
    for (size_t i = 0; i < n; i += 256, b++) {
        struct kfit k;
        uint8_t code[256];
        kfit_affine(&k, x + i, at(weight, i), 32, 15, 63);
        codes_of(&k, 0, code);
        b->d = k.d, b->dmin = k.dmin;
        put_k4_scales(b->scales, &k);
        pack4(b->qs, code, 32);
    }
}

void q5_k_encode(const float *restrict x, void *restrict blocks, size_t n,
                 const float *restrict weight) {
    struct block_q5_k *b = blocks;
    for (size_t i = 0; i < n; i += 256, b++) {
        struct kfit k;
        uint8_t code[256];
        kfit_affine(&k, x + i, at(weight, i), 32, 31, 63);
        codes_of(&k, 0, code);
        b->d = k.d, b->dmin = k.dmin;
        put_k4_scales(b->scales, &k);
        pack4(b->qs, code, 32);
        pack_bit(b->qh, code, 4);
    }
}

void q6_k_encode(const float *restrict x, void *restrict blocks, size_t n,
                 const float *restrict weight) {
    static const struct fit_levels levels = {-32, 31, NULL};
    struct block_q6_k *b = blocks;
    for (size_t i = 0; i < n; i += 256, b++) {
        struct kfit k;
        uint8_t code[256];
        kfit_scales(&k, x + i, at(weight, i), 16, &levels, -128, 127);
        codes_of(&k, 32, code);
        b->d = k.d;
        for (int j = 0; j < 16; j++)
            b->scales[j] = (int8_t)k.scale[j];
        pack4(b->ql, code, 64);
        pack2(b->qh, code, 4);
    }
}
