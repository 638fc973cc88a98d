/* Encoded activations: what a row of floats looks like to the matrix kernels.
 *
 * A block holds 256 values, the last one of a row padded with zeros.  Block b of row i lies at
 * base + b * step + i * act_bytes(enc): kernels walk all columns of one block before the next.
 *
 * `start` is -128 times a sum of q: kernels whose machine multiplies unsigned by signed bytes
 * store weights plus 128 and begin their accumulators there, which costs nothing. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "cpu/kern_mat.h"

enum { ACT_BLOCK = 256 };

struct act_f32 {
    float v[256];
};

/* q = round(x / d), d = max|x| / 127 over 32 values. */
struct act_q8 {
    _Alignas(64) int8_t q[256];
    int32_t start[8];
    float d[8];
    float ds[8]; /* d * sum of q: for formats with a minimum per 32 */
};

/* The same over 256 values. */
struct act_q8_k {
    _Alignas(64) int8_t q[256];
    /* Sums of q over 32 and over 16 values, in each four the order 0 2 1 3: so the even and the
     * odd bytes of packed mins, widened to 16 bits, pair up with them. */
    int16_t sum32[8];
    int16_t sum16[16];
    float d;
    int32_t total; /* sum of q */
    _Alignas(32) int32_t start32[8];
    int32_t start16[16];
};

/* q = round(x / d), d = max|x| / ACT_Q16_MAX over 32 values.  The largest that lets 32 products of
 * such numbers be added in 32 bits: 32 * 8191^2 < 2^31. */
enum { ACT_Q16_MAX = 8191 };

struct act_q16 {
    _Alignas(64) int16_t q[256];
    float d[8];
};

static inline size_t act_bytes(enum act_enc enc) {
    return enc == ACT_F32    ? sizeof(struct act_f32)
           : enc == ACT_Q8   ? sizeof(struct act_q8)
           : enc == ACT_Q8_K ? sizeof(struct act_q8_k)
                             : sizeof(struct act_q16);
}

/* Blocks of a row of n values. */
static inline int act_blocks(int n) {
    return (n + ACT_BLOCK - 1) / ACT_BLOCK;
}

/* The scalar encoders. */
void act_encode_f32_ref(const float *x, int n, uint8_t *out, size_t step);
void act_encode_q8_ref(const float *x, int n, uint8_t *out, size_t step);
void act_encode_q8_k_ref(const float *x, int n, uint8_t *out, size_t step);
void act_encode_q16_ref(const float *x, int n, uint8_t *out, size_t step);
