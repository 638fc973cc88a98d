/* What the int8 kernels for ARM share: a *tile* is 8 rows x 256 values, unpacked from the file
 * format into L1 scratch as signed bytes, in the order of the instruction that multiplies, so that
 * one unpack serves all columns:
 *
 *     BY_4   w[t][r][i]      value 4t + i of row r        sdot by lane: 4 rows x 4 values
 *     BY_8   w[t][p][r][i]   value 8t + i of row 2p + r   smmla: 2 rows x 8 values
 *
 *   file rows -> unpack_*.c -> tile -> neon/mul.c (sdot) or i8mm/mul.c (smmla) -> acc
 *
 * The two kernels do the same float operations in the same order: their results have the same
 * bits. */
#pragma once

#include <arm_neon.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/act.h"
#include "cpu/inline.h"
#include "cpu/kern_mat.h"

enum tile_shape { BY_4, BY_8, N_SHAPE };

enum { TILE_ROWS = 8, TILE_MAX_BYTES = 3328 };

/* Integer scales: x = d * sum_j sc[j] * dot_j - dmin * sum_j m[j] * sum_j(x). */
struct tile_k {
    int8_t w[256 * TILE_ROWS];
    int8_t m[16 * TILE_ROWS]; /* mins: 8 or 16 more values of each row, in the order of w */
    int32_t sc[16][16];       /* [j][row]; BY_8 has each row's twice, as smmla has its sums */
    float d[TILE_ROWS], dmin[TILE_ROWS];
};

/* A float scale per 32: x = sum_j d[j] * x.d[j] * dot_j + m[j] * x.ds[j]; d and m as sc above. */
struct tile_q {
    int8_t w[256 * TILE_ROWS];
    float d[8][16], m[8][16];
};

_Static_assert(sizeof(struct tile_k) <= TILE_MAX_BYTES, "tile scratch");
_Static_assert(sizeof(struct tile_q) <= TILE_MAX_BYTES, "tile scratch");

/* What a format's tile holds.  K1: scales small enough to be multiplied into the weights, so that
 * one dot runs over all 256 values. */
enum tile_form { K8, K8_MINS, K16, K1, K1_MINS, Q, Q_MINS, N_FORM };

/* The form as constants that fold after inlining. */
struct k_form {
    int n_sub, n_min; /* sub-blocks: 1, 8 or 16; mins: 0, 8 or 16 */
};

/* Eight rows at p, `stride` apart, to a tile. */
typedef void unpack_fn(enum qtype t, const uint8_t *p, size_t stride, void *tile);

/* acc[c][8 g + r] += tile g . x[c] for n_tile adjacent tiles and n columns; x[c] is one block. */
typedef void tile_fn(const void *tile, int n_tile, const uint8_t *const *x, int n, float *acc);

struct tile_type {
    unpack_fn *unpack[N_SHAPE];
    enum tile_form form;
};

/* How a type is unpacked; NULL when it has no tile. */
const struct tile_type *tile_type_k(enum qtype t);   /* unpack_k.c */
const struct tile_type *tile_type_q(enum qtype t);   /* unpack_q.c */
const struct tile_type *tile_type_row(enum qtype t); /* unpack_row.c: all, slowly */

/* One instruction set's kernels. */
struct tile_set {
    enum tile_shape shape;
    int unit; /* columns come in multiples of it where they can */
    struct {
        tile_fn *mul;
        int cols; /* of a call, at most */
    } of[N_FORM];
};

extern const struct tile_set tile_set_neon;

/* The loops around both: blocks of 256 ascending, of each all rows' tiles, then all columns. */
void mul_tiles(enum qtype t, const struct mat_call *c, const struct tile_set *s);

/* Sets `mul` for every type that has a tile. */
void tile_set_use(struct kern_mat *k, mat_fn *mul, const char *isa);

void kern_mat_neon_float(struct kern_mat *k);

/* ---- steps of both kernels ---- */

/* A column's sums of sub-blocks as signed bytes, s = 128 high + low: |s| <= 32 * 127. */
struct split {
    int8x16_t low, high;
};

/* act_q8_k keeps them in the order 0 2 1 3. */
INLINE struct split split_sums(const struct act_q8_k *x, int n_min) {
    static const uint8_t order[16] = {0, 2, 1, 3, 4, 6, 5, 7, 8, 10, 9, 11, 12, 14, 13, 15};
    const int16_t *s = n_min == 8 ? x->sum32 : x->sum16;
    const int16x8_t a = vld1q_s16(s), b = n_min == 8 ? a : vld1q_s16(s + 8);
    const int16x8_t mask = vdupq_n_s16(127);
    const int8x16_t low = vcombine_s8(vmovn_s16(vandq_s16(a, mask)), vmovn_s16(vandq_s16(b, mask)));
    const int8x16_t high = vcombine_s8(vshrn_n_s16(a, 7), vshrn_n_s16(b, 7));
    const uint8x16_t index = vld1q_u8(order);
    return (struct split){vqtbl1q_s8(low, index), vqtbl1q_s8(high, index)};
}

/* acc += dx * (sum * d - min * dmin), four rows of a column. */
INLINE void add_block(const struct tile_k *t, int r, int32x4_t sum, int32x4_t min, int mins,
                      float dx, float *acc) {
    float32x4_t v = vmulq_f32(vcvtq_f32_s32(sum), vld1q_f32(t->d + r));
    if (mins) v = vfmsq_f32(v, vcvtq_f32_s32(min), vld1q_f32(t->dmin + r));
    vst1q_f32(acc + r, vfmaq_n_f32(vld1q_f32(acc + r), v, dx));
}
