/* Decoders of the common types with vectors, bit for bit those of quant/.  Of products of 512 rows
 * in bfloat16 those took 8 to 12 % of the time, these take 3 to 7 (bench/NOTES.md). */
#pragma once

#include "base/f16.h"
#include "cpu/simd/v.h"
#include "quant/blocks.h"
#include "quant/kscale.h"

#ifdef CPU_SIMD

/* out[l] = scale * code[l] - min for n codes. */
static inline void decode_affine(int n, const int8_t *code, float scale, float min, float *out) {
    const vf s = v_set1(scale), m = v_set1(min);
    for (int l = 0; l < n; l += VL)
        v_store(out + l, v_sub(v_mul(s, v_from_i8(code + l)), m));
}

/* out[l] = scale * (low or high nibble of 32 bytes) - min. */
static inline void decode_nibbles(const uint8_t *q, bool high, float scale, float min, float *out) {
    const vf s = v_set1(scale), m = v_set1(min);
    for (int l = 0; l < 32; l += VL)
        v_store(out + l, v_sub(v_mul(s, v_from_nibbles(q + l, high)), m));
}

static inline void decode_f16(const void *restrict blocks, float *restrict out, size_t n) {
    const uint16_t *h = blocks;
    size_t i = 0;
    for (; i + VL <= n; i += VL)
        v_store(out + i, v_from_f16(h + i));
    for (; i < n; i++)
        out[i] = v_half(h[i]);
}

static inline void decode_bf16(const void *restrict blocks, float *restrict out, size_t n) {
    const uint16_t *h = blocks;
    size_t i = 0;
    for (; i + VL <= n; i += VL)
        v_store(out + i, v_from_bf16(h + i));
    for (; i < n; i++)
        out[i] = bf16_to_f32(h[i]);
}

static inline void decode_q8_0(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q8_0 *b = blocks;
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        const vf d = v_set1_half(b[i].d);
        for (int l = 0; l < 32; l += VL)
            v_store(out + l, v_mul(v_from_i8(b[i].qs + l), d));
    }
}

static inline void decode_q4_0(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q4_0 *b = blocks;
    const vf eight = v_set1(8);
    for (size_t i = 0; i < n / 32; i++, out += 32) {
        const vf d = v_set1_half(b[i].d);
        for (int l = 0; l < 16; l += VL) {
            v_store(out + l, v_mul(v_sub(v_from_nibbles(b[i].qs + l, false), eight), d));
            v_store(out + l + 16, v_mul(v_sub(v_from_nibbles(b[i].qs + l, true), eight), d));
        }
    }
}

static inline void decode_q4_k(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q4_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = v_half(b[i].d), dmin = v_half(b[i].dmin);
        uint8_t sc[8], mn[8];
        k4_scales_get(b[i].scales, sc, mn);
        for (int s = 0; s < 8; s++, out += 32)
            decode_nibbles(b[i].qs + 32 * (s / 2), s % 2, d * (float)sc[s], dmin * (float)mn[s],
                           out);
    }
}

static inline void decode_q5_k(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q5_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = v_half(b[i].d), dmin = v_half(b[i].dmin);
        uint8_t sc[8], mn[8];
        k4_scales_get(b[i].scales, sc, mn);
        for (int s = 0; s < 8; s++, out += 32) {
            const uint8_t *q = b[i].qs + 32 * (s / 2), *h = b[i].qh;
            int8_t code[32];
            for (int l = 0; l < 32; l++)
                code[l] = (int8_t)((q[l] >> 4 * (s % 2) & 15) | (h[l] >> s & 1) << 4);
            decode_affine(32, code, d * (float)sc[s], dmin * (float)mn[s], out);
        }
    }
}

static inline void decode_q6_k(const void *restrict blocks, float *restrict out, size_t n) {
    const struct block_q6_k *b = blocks;
    for (size_t i = 0; i < n / 256; i++) {
        const float d = v_half(b[i].d);
        for (int s = 0; s < 8; s++, out += 32) { /* two sub-blocks at a time */
            const uint8_t *lo = b[i].ql + 64 * (s / 4) + 32 * (s % 2), *hi = b[i].qh + 32 * (s / 4);
            const int shift_lo = 4 * (s / 2 % 2), shift_hi = 2 * (s % 4);
            int8_t code[32];
            for (int l = 0; l < 32; l++)
                code[l] = (int8_t)(((lo[l] >> shift_lo & 15) | (hi[l] >> shift_hi & 3) << 4) - 32);
            decode_affine(16, code, d * (float)b[i].scales[2 * s], 0, out);
            decode_affine(16, code + 16, d * (float)b[i].scales[2 * s + 1], 0, out + 16);
        }
    }
}
#endif
