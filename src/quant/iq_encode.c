/* Encoding the grid types: the fits of quant/vq.h, packed.  Layouts: quant/blocks.h. */
#include "quant/codec.h"

#include <pthread.h>
#include <string.h>

#include "quant/blocks.h"
#include "quant/grids.h"
#include "quant/vq.h"

static struct {
    struct vq_grid iq2_xxs, iq2_xs, iq2_s, iq3_xxs, iq3_s, iq1;
} grids; /* built once, constant afterwards */

static void build_grids(void) {
    vq_grid_build(&grids.iq2_xxs, grid_iq2_xxs, 8, 256);
    vq_grid_build(&grids.iq2_xs, grid_iq2_xs, 8, 512);
    vq_grid_build(&grids.iq2_s, grid_iq2_s, 8, 1024);
    vq_grid_build(&grids.iq3_xxs, grid_iq3_xxs, 4, 256);
    vq_grid_build(&grids.iq3_s, grid_iq3_s, 4, 512);
    vq_grid_build(&grids.iq1, grid_iq1, 8, 2048);
}

static void encode(const struct vq_type *type, const float *x, const float *weight, size_t i,
                   struct vq_block *b) {
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, build_grids);
    vq_encode(type, x + i, weight ? weight + i : NULL, b);
}

/* Four groups of seven sign bits (the eighth is their parity), four bits of scale on top. */
static uint32_t signs_and_scale(const uint8_t signs[4], uint8_t code) {
    uint32_t w = (uint32_t)code << 28;
    for (int l = 0; l < 4; l++)
        w |= (uint32_t)(signs[l] & 127) << 7 * l;
    return w;
}

void iq2_xxs_encode(const float *restrict x, void *restrict blocks, size_t n,
                    const float *restrict weight) {
    static const struct vq_type type = {.grid = &grids.iq2_xxs,
                                        .n_sub = 32,
                                        .n_code = 16,
                                        .base = 0.125f,
                                        .step = 0.25f,
                                        .has_signs = true,
                                        .even = true,
                                        .first = 0.7f,
                                        .last = 1.8f,
                                        .n_try = 5};
    struct block_iq2_xxs *b = blocks;
    for (size_t i = 0; i < n; i += 256, b++) {
        struct vq_block v;
        encode(&type, x, weight, i, &v);
        b->d = v.d;
        for (int s = 0; s < 8; s++) {
            uint32_t w[2] = {0, signs_and_scale(v.signs + 4 * s, v.code[s])};
            for (int l = 0; l < 4; l++)
                w[0] |= (uint32_t)v.index[4 * s + l] << 8 * l;
            memcpy(b->qs + 4 * s, w, sizeof w);
        }
    }
}

void iq2_xs_encode(const float *restrict x, void *restrict blocks, size_t n,
                   const float *restrict weight) {
    static const struct vq_type type = {.grid = &grids.iq2_xs,
                                        .n_sub = 16,
                                        .n_code = 16,
                                        .base = 0.125f,
                                        .step = 0.25f,
                                        .has_signs = true,
                                        .even = true,
                                        .first = 0.7f,
                                        .last = 1.8f,
                                        .n_try = 5};
    struct block_iq2_xs *b = blocks;
    for (size_t i = 0; i < n; i += 256, b++) {
        struct vq_block v;
        encode(&type, x, weight, i, &v);
        b->d = v.d;
        for (int l = 0; l < 32; l++)
            b->qs[l] = (uint16_t)(v.index[l] | (v.signs[l] & 127) << 9);
        for (int s = 0; s < 8; s++)
            b->scales[s] = (uint8_t)(v.code[2 * s] | v.code[2 * s + 1] << 4);
    }
}

void iq2_s_encode(const float *restrict x, void *restrict blocks, size_t n,
                  const float *restrict weight) {
    static const struct vq_type type = {.grid = &grids.iq2_s,
                                        .n_sub = 16,
                                        .n_code = 16,
                                        .base = 0.125f,
                                        .step = 0.25f,
                                        .has_signs = true,
                                        .first = 0.7f,
                                        .last = 1.8f,
                                        .n_try = 5};
    struct block_iq2_s *b = blocks;
    for (size_t i = 0; i < n; i += 256, b++) {
        struct vq_block v;
        encode(&type, x, weight, i, &v);
        memset(b, 0, sizeof *b);
        b->d = v.d;
        for (int l = 0; l < 32; l++) {
            b->qs[l] = (uint8_t)v.index[l];
            b->qh[l / 4] |= (uint8_t)((v.index[l] >> 8) << 2 * (l % 4));
            b->signs[l] = v.signs[l];
        }
        for (int s = 0; s < 8; s++)
            b->scales[s] = (uint8_t)(v.code[2 * s] | v.code[2 * s + 1] << 4);
    }
}

void iq3_xxs_encode(const float *restrict x, void *restrict blocks, size_t n,
                    const float *restrict weight) {
    static const struct vq_type type = {.grid = &grids.iq3_xxs,
                                        .n_sub = 32,
                                        .n_code = 16,
                                        .base = 0.25f,
                                        .step = 0.5f,
                                        .has_signs = true,
                                        .even = true,
                                        .first = 0.7f,
                                        .last = 1.3f,
                                        .n_try = 5};
    struct block_iq3_xxs *b = blocks;
    for (size_t i = 0; i < n; i += 256, b++) {
        struct vq_block v;
        encode(&type, x, weight, i, &v);
        b->d = v.d;
        for (int l = 0; l < 64; l++)
            b->qs[l] = (uint8_t)v.index[l];
        for (int s = 0; s < 8; s++) {
            const uint32_t w = signs_and_scale(v.signs + 4 * s, v.code[s]);
            memcpy(b->gas + 4 * s, &w, sizeof w);
        }
    }
}

void iq3_s_encode(const float *restrict x, void *restrict blocks, size_t n,
                  const float *restrict weight) {
    static const struct vq_type type = {.grid = &grids.iq3_s,
                                        .n_sub = 32,
                                        .n_code = 16,
                                        .base = 1,
                                        .step = 2,
                                        .has_signs = true,
                                        .first = 0.7f,
                                        .last = 1.3f,
                                        .n_try = 5};
    struct block_iq3_s *b = blocks;
    for (size_t i = 0; i < n; i += 256, b++) {
        struct vq_block v;
        encode(&type, x, weight, i, &v);
        memset(b, 0, sizeof *b);
        b->d = v.d;
        for (int l = 0; l < 64; l++) {
            b->qs[l] = (uint8_t)v.index[l];
            b->qh[l / 8] |= (uint8_t)((v.index[l] >> 8) << l % 8);
        }
        memcpy(b->signs, v.signs, sizeof b->signs);
        for (int s = 0; s < 4; s++)
            b->scales[s] = (uint8_t)(v.code[2 * s] | v.code[2 * s + 1] << 4);
    }
}

void iq1_s_encode(const float *restrict x, void *restrict blocks, size_t n,
                  const float *restrict weight) {
    static const struct vq_type type = {.grid = &grids.iq1,
                                        .n_sub = 32,
                                        .n_code = 8,
                                        .base = 1,
                                        .step = 2,
                                        .n_delta = 32,
                                        .first = 0.8f,
                                        .last = 3.2f,
                                        .n_try = 5};
    struct block_iq1_s *b = blocks;
    for (size_t i = 0; i < n; i += 256, b++) {
        struct vq_block v;
        encode(&type, x, weight, i, &v);
        b->d = v.d;
        for (int s = 0; s < 8; s++) {
            uint32_t h = (uint32_t)v.code[s] << 12 | (uint32_t)v.signs[4 * s] << 15;
            for (int l = 0; l < 4; l++) {
                b->qs[4 * s + l] = (uint8_t)v.index[4 * s + l];
                h |= (uint32_t)(v.index[4 * s + l] >> 8) << 3 * l;
            }
            b->qh[s] = (uint16_t)h;
        }
    }
}

void iq1_m_encode(const float *restrict x, void *restrict blocks, size_t n,
                  const float *restrict weight) {
    static const struct vq_type type = {.grid = &grids.iq1,
                                        .n_sub = 16,
                                        .n_code = 8,
                                        .base = 1,
                                        .step = 2,
                                        .n_delta = 8,
                                        .first = 0.8f,
                                        .last = 3.2f,
                                        .n_try = 5};
    struct block_iq1_m *b = blocks;
    for (size_t i = 0; i < n; i += 256, b++) {
        struct vq_block v;
        uint16_t w[4];
        encode(&type, x, weight, i, &v);
        memset(b, 0, sizeof *b);
        for (int l = 0; l < 32; l++) {
            const int h = v.index[l] >> 8 | v.signs[l] << 3;
            b->qs[l] = (uint8_t)v.index[l];
            b->qh[l / 2] |= (uint8_t)(h << 4 * (l % 2));
        }
        for (int k = 0; k < 4; k++) {
            const uint8_t *c = v.code + 4 * k;
            w[k] = (uint16_t)(c[0] | c[1] << 3 | c[2] << 6 | c[3] << 9 | (v.d >> 4 * k & 15) << 12);
        }
        memcpy(b->scales, w, sizeof w);
    }
}
