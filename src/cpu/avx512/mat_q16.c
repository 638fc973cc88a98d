/* F16 and BF16 weights as 16-bit integers with a power of two per 32, for vpdpwssd, which does
 * twice the products of a fused multiply-add; ref/mat_q16.c has the arithmetic.
 *
 * Why not vdpbf16ps: F16 does not survive eight bits of mantissa, and on Sapphire Rapids the
 * instruction does half the products of float32's (88 of 180 Gop/s and core; vpdpwssd 383).
 * Measured accuracy and speed: bench/NOTES.md. */
#include <math.h>

#include "cpu/avx512/tile.h"

struct tile_q16 {
    uint8_t w[128][64]; /* two values of each row a register */
    float d[8][16];     /* of each 32, by row */
};

_Static_assert(sizeof(struct tile_q16) <= TILE_MAX_BYTES, "tile scratch");

/* ---- the tile kernel ---- */

/* R tiles, C columns; literal array sizes as in mat_k.c. */
INLINE void mul_rc(const struct tile_q16 *t, const uint8_t *const *xp, float *acc, int R, int C) {
    const struct act_q16 *x[6];
    __m512 sum[2][6];
    UNROLL for (int c = 0; c < C; c++) {
        x[c] = (const struct act_q16 *)(const void *)xp[c];
        UNROLL for (int r = 0; r < R; r++) sum[r][c] = _mm512_load_ps(acc + c * MAT_ROWS + 16 * r);
    }
    for (int j = 0; j < 8; j++) {
        __m512i dot[2][6];
        UNROLL for (int c = 0; c < C; c++) {
            UNROLL for (int r = 0; r < R; r++) dot[r][c] = zero();
            /* The next columns follow these, unless there is an index: 65 -> 72 % of the peak at
             * 512 columns, 74 with their sums. */
            _mm_prefetch((const char *)(x[c] + C) + 64 * j, _MM_HINT_T0);
            if (j < 2) _mm_prefetch((const char *)(acc + (c + C) * MAT_ROWS + 16 * j), _MM_HINT_T0);
            if (j == 7) _mm_prefetch((const char *)(x[c] + C)->d, _MM_HINT_T0);
        }
        UNROLL for (int s = 0; s < 16; s++) {
            const __m512i w0 = _mm512_load_si512(t[0].w[16 * j + s]);
            const __m512i w1 = R > 1 ? _mm512_load_si512(t[1].w[16 * j + s]) : w0;
            UNROLL for (int c = 0; c < C; c++) {
                const __m512i b = set4(x[c]->q + 2 * (16 * j + s));
                dot[0][c] = dpwssd(dot[0][c], w0, b);
                if (R > 1) dot[1][c] = dpwssd(dot[1][c], w1, b);
            }
        }
        UNROLL for (int r = 0; r < R; r++) {
            const __m512 d = _mm512_load_ps(t[r].d[j]);
            UNROLL for (int c = 0; c < C; c++) {
                const __m512 dd = _mm512_mul_ps(d, _mm512_set1_ps(x[c]->d[j]));
                sum[r][c] = _mm512_fmadd_ps(_mm512_cvtepi32_ps(dot[r][c]), dd, sum[r][c]);
            }
        }
    }
    UNROLL for (int c = 0; c < C; c++) {
        UNROLL for (int r = 0; r < R; r++) _mm512_store_ps(acc + c * MAT_ROWS + 16 * r, sum[r][c]);
    }
}

static void mul_q16(const void *tile, int n_group, const uint8_t *const *x, int n, float *acc) {
    const struct tile_q16 *t = tile;
    switch (n_group * 8 + n) {
    case 8 + 1: mul_rc(t, x, acc, 1, 1); break;
    case 8 + 2: mul_rc(t, x, acc, 1, 2); break;
    case 8 + 3: mul_rc(t, x, acc, 1, 3); break;
    case 8 + 4: mul_rc(t, x, acc, 1, 4); break;
    case 8 + 5: mul_rc(t, x, acc, 1, 5); break;
    case 8 + 6: mul_rc(t, x, acc, 1, 6); break;
    case 16 + 1: mul_rc(t, x, acc, 2, 1); break;
    case 16 + 2: mul_rc(t, x, acc, 2, 2); break;
    case 16 + 3: mul_rc(t, x, acc, 2, 3); break;
    case 16 + 4: mul_rc(t, x, acc, 2, 4); break;
    case 16 + 5: mul_rc(t, x, acc, 2, 5); break;
    case 16 + 6: mul_rc(t, x, acc, 2, 6); break;
    }
}

/* ---- unpacking ---- */

/* 32 values of 16 rows, in pairs by row, and as many of what comes next. */
INLINE void take_32(const uint8_t *p, size_t stride, const struct ahead *f, size_t at,
                    __m512i v[16]) {
    transpose32(p + at, stride, v);
    transpose32(p + at + 32, stride, v + 8);
    UNROLL for (size_t r = 0; r < 16; r++) {
        _mm_prefetch((const char *)f->next + r * 64 + at * 16, _MM_HINT_T1);
        _mm_prefetch((const char *)f->near + r * stride + at, _MM_HINT_T0);
    }
}

/* The largest magnitude of each row's 32 values, as bits of their format, in both halves. */
INLINE __m512i top_bits(const __m512i v[16]) {
    const __m512i body = _mm512_set1_epi16(0x7fff);
    __m512i m = _mm512_and_si512(v[0], body);
    UNROLL for (int i = 1; i < 16; i++) m = _mm512_max_epu16(m, _mm512_and_si512(v[i], body));
    return _mm512_max_epu16(m, _mm512_rol_epi32(m, 16));
}

/* 2^(e + bias - 127) for the low halves of e, NaN where e is that of infinity. */
INLINE __m512 power(__m512i e, int bias, int infinite) {
    const __m512i e32 = _mm512_and_si512(e, _mm512_set1_epi32(0xffff));
    const __m512i v = _mm512_slli_epi32(_mm512_add_epi32(e32, _mm512_set1_epi32(bias)), 23);
    const __mmask16 bad = _mm512_cmpeq_epi32_mask(e32, _mm512_set1_epi32(infinite));
    return _mm512_mask_mov_ps(_mm512_castsi512_ps(v), bad, _mm512_set1_ps(NAN));
}

/* Pairs of floats, times s, as pairs of integers: adding 1.5 * 2^23 rounds into the low bits. */
INLINE __m512i round_pairs(__m512 even, __m512 odd, __m512 s) {
    const __m512 magic = _mm512_set1_ps(12582912.0f);
    const __m512i a = _mm512_castps_si512(_mm512_fmadd_ps(even, s, magic));
    const __m512i b = _mm512_castps_si512(_mm512_fmadd_ps(odd, s, magic));
    return _mm512_mask_blend_epi16(0x55555555, _mm512_slli_epi32(b, 16), a);
}

/* 2^(27 - e) for F16, 2^(139 - e) for BF16. */
INLINE __m512 inverse(__m512i e, int top) {
    const __m512i e32 = _mm512_and_si512(e, _mm512_set1_epi32(0xffff));
    return _mm512_castsi512_ps(
        _mm512_slli_epi32(_mm512_sub_epi32(_mm512_set1_epi32(top + 127), e32), 23));
}

INLINE void put_f16_d(struct tile_q16 *t, int j, __m512i e) {
    _mm512_store_ps(t->d[j], power(e, 100, 31));
}

/* The exponent of d: subnormal halves count like the least normal ones. */
INLINE __m512i f16_exponent(const __m512i v[16]) {
    return _mm512_max_epu16(_mm512_srli_epi16(top_bits(v), 10), _mm512_set1_epi16(1));
}

/* Without AVX512-FP16. */
static void unpack_f16(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_q16 *t = tile;
    for (int j = 0; j < 8; j++) {
        __m512i v[16];
        take_32(p, stride, f, 64 * (size_t)j, v);
        const __m512i e = f16_exponent(v);
        const __m512 s = inverse(e, 27);
        put_f16_d(t, j, e);
        UNROLL for (int i = 0; i < 16; i++) _mm512_store_si512(
            t->w[16 * j + i],
            round_pairs(half_to_f32(v[i]), half_to_f32(_mm512_srli_epi32(v[i], 16)), s));
    }
}

/* AVX512-FP16 as inline assembly: clang 14 has no intrinsics for a file not built for it.
 * 32 half floats times 2^s, rounded to integers. */
INLINE __m512i scale_halves(__m512i v, __m512i s) {
    __m512i q;
    __asm__("vscalefph %2, %1, %0\n\tvcvtph2w %0, %0" : "=v"(q) : "v"(v), "v"(s));
    return q;
}

INLINE __m512i half_of_i16(__m512i v) {
    __m512i h;
    __asm__("vcvtw2ph %1, %0" : "=v"(h) : "v"(v));
    return h;
}

/* The same bits as unpack_f16. */
__attribute__((target("avx512fp16"))) static void
unpack_f16_fp16(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_q16 *t = tile;
    for (int j = 0; j < 8; j++) {
        __m512i v[16];
        take_32(p, stride, f, 64 * (size_t)j, v);
        const __m512i e = f16_exponent(v);
        const __m512i s = half_of_i16(_mm512_sub_epi16(_mm512_set1_epi16(27), e));
        put_f16_d(t, j, e);
        UNROLL for (int i = 0; i < 16; i++)
            _mm512_store_si512(t->w[16 * j + i], scale_halves(v[i], s));
    }
}

static void unpack_bf16(const uint8_t *p, size_t stride, const struct ahead *f, void *tile) {
    struct tile_q16 *t = tile;
    const __m512i odd = _mm512_set1_epi32((int)0xffff0000);
    for (int j = 0; j < 8; j++) {
        __m512i v[16];
        take_32(p, stride, f, 64 * (size_t)j, v);
        const __m512i e =
            _mm512_max_epu16(_mm512_srli_epi16(top_bits(v), 7), _mm512_set1_epi16(32));
        const __m512 s = inverse(e, 139);
        _mm512_store_ps(t->d[j], power(e, -12, 255));
        UNROLL for (int i = 0; i < 16; i++) _mm512_store_si512(
            t->w[16 * j + i], round_pairs(_mm512_castsi512_ps(_mm512_slli_epi32(v[i], 16)),
                                          _mm512_castsi512_ps(_mm512_and_si512(v[i], odd)), s));
    }
}

static void mul_f16(enum qtype t, const struct mat_call *c) {
    static const struct tile_kind kind = {unpack_f16, mul_q16, sizeof(struct tile_q16)};
    mul_tiles(t, c, &kind, ACT_Q16);
}

static void mul_f16_fp16(enum qtype t, const struct mat_call *c) {
    static const struct tile_kind kind = {unpack_f16_fp16, mul_q16, sizeof(struct tile_q16)};
    mul_tiles(t, c, &kind, ACT_Q16);
}

static void mul_bf16(enum qtype t, const struct mat_call *c) {
    static const struct tile_kind kind = {unpack_bf16, mul_q16, sizeof(struct tile_q16)};
    mul_tiles(t, c, &kind, ACT_Q16);
}

void kern_mat_avx512_q16(struct kern_mat *k, const struct cpu_info *cpu) {
    const struct mat_kern m = {.enc = ACT_Q16, .piece = 16, .isa = "avx512"};
    k->of[QT_F16] = k->of[QT_BF16] = m;
    k->of[QT_F16].mul = cpu->avx512_fp16 ? mul_f16_fp16 : mul_f16;
    k->of[QT_BF16].mul = mul_bf16;
}
