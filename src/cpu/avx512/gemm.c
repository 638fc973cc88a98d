/* The kernels of simd/gemm.h for AVX-512, and products of bfloat16 where the processor has
 * vdpbf16ps: 32 products an instruction, at the rate of the 16 of a float multiply-add on Zen 4
 * (bench/NOTES.md). */
#include "cpu/simd/gemm.h"

#include "base/cpu.h"
#include "cpu/inline.h"

enum { N_ROW = 6, N_VEC = 4 }; /* of the register tile: 24 sums, 4 vectors, a broadcast */

static __m512i low_half(__m256i x) {
    return _mm512_cvtepu16_epi32(x);
}

static __m256i round_bf16(__m512 x) {
    return (__m256i)_mm512_cvtneps_pbh(x);
}

static void to_bf16(int n, const float *x, uint16_t *y) {
    int i = 0;
    for (; i + 16 <= n; i += 16)
        _mm256_storeu_si256((__m256i *)(void *)(y + i), round_bf16(_mm512_loadu_ps(x + i)));
    if (i < n) _mm256_mask_storeu_epi16(y + i, v_first(n - i), round_bf16(v_load_n(x + i, n - i)));
}

static void pair_bf16(int n, const float *x0, const float *x1, uint16_t *y) {
    for (int i = 0; i < n; i += 16) {
        const __m512i lo = low_half(round_bf16(v_load_n(x0 + i, n - i))),
                      hi = low_half(round_bf16(v_load_n(x1 + i, n - i)));
        _mm512_mask_storeu_epi32(y + 2 * i, v_first(n - i),
                                 _mm512_or_si512(lo, _mm512_slli_epi32(hi, 16)));
    }
}

/* mr rows by nv vectors, constants after inlining. */
INLINE void block(const int mr, const int nv, int n_pair, const uint16_t *a, int lda,
                  const uint16_t *b, int ldb, float *c, int ldc, bool add) {
    __m512 sum[N_ROW][N_VEC];
    UNROLL for (int r = 0; r < mr; r++) UNROLL for (int u = 0; u < nv; u++) sum[r][u] =
        add ? v_load(c + (size_t)r * ldc + u * 16) : v_zero();
    for (int k = 0; k < n_pair; k++, b += 2 * ldb) {
        __m512i y[N_VEC];
        UNROLL for (int u = 0; u < nv; u++) y[u] = _mm512_loadu_si512(b + u * 32);
        UNROLL for (int r = 0; r < mr; r++) {
            int pair;
            __builtin_memcpy(&pair, a + 2 * ((size_t)r * lda + k), sizeof pair);
            const __m512i x = _mm512_set1_epi32(pair);
            UNROLL for (int u = 0; u < nv; u++) sum[r][u] =
                _mm512_dpbf16_ps(sum[r][u], (__m512bh)x, (__m512bh)y[u]);
        }
    }
    UNROLL for (int r = 0; r < mr; r++) UNROLL for (int u = 0; u < nv; u++)
        v_store(c + (size_t)r * ldc + u * 16, sum[r][u]);
}

INLINE void strip(const int nv, int n_row, int n_pair, const uint16_t *a, int lda,
                  const uint16_t *b, int ldb, float *c, int ldc, bool add) {
    int r = 0;
    for (; r + N_ROW <= n_row; r += N_ROW)
        block(N_ROW, nv, n_pair, a + 2 * (size_t)r * lda, lda, b, ldb, c + (size_t)r * ldc, ldc,
              add);
    for (; r + 2 <= n_row; r += 2)
        block(2, nv, n_pair, a + 2 * (size_t)r * lda, lda, b, ldb, c + (size_t)r * ldc, ldc, add);
    if (r < n_row)
        block(1, nv, n_pair, a + 2 * (size_t)r * lda, lda, b, ldb, c + (size_t)r * ldc, ldc, add);
}

static void mul_bf16(int n_row, int n_col, int n_pair, const uint16_t *a, int lda,
                     const uint16_t *b, int ldb, float *c, int ldc, bool add) {
    int j = 0;
    for (; j + 16 * N_VEC <= n_col; j += 16 * N_VEC)
        strip(N_VEC, n_row, n_pair, a, lda, b + 2 * j, ldb, c + j, ldc, add);
    for (; j + 32 <= n_col; j += 32)
        strip(2, n_row, n_pair, a, lda, b + 2 * j, ldb, c + j, ldc, add);
    for (; j < n_col; j += 16)
        strip(1, n_row, n_pair, a, lda, b + 2 * j, ldb, c + j, ldc, add);
}

void kern_gemm_avx512(struct kern_gemm *k, const struct cpu_info *cpu) {
    gemm_fill(k);
    if (!cpu->avx512_bf16) return;
    k->bf16 = true;
    k->mul_bf16 = mul_bf16;
    k->to_bf16 = to_bf16;
    k->pair_bf16 = pair_bf16;
}
