/* int8 products with 1..4 columns for AVX2, the rarer K types (grids, ternary): each row's block is
 * unpacked in L1 (cpu/row.h), which takes most of the time.  Four rows abreast, and the float
 * operations, as in mat_few_k.c. */
#include "cpu/avx2/few.h"
#include "cpu/avx2/mat.h"

enum { BIAS = 64 }; /* weights are at most 63 in magnitude */

struct form {
    enum qtype type;
};

/* The scales of sub-blocks 2s (low half) and 2s + 1 (high half) as 16-bit lanes. */
INLINE __m256i scales(const struct row_k *w, int s) {
    const __m256i halves = _mm256_setr_epi8(0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 0, 1, 2, 3, 2,
                                            3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3, 2, 3);
    int32_t two;
    memcpy(&two, w->sc + 2 * s, sizeof two);
    return _mm256_shuffle_epi8(_mm256_set1_epi32(two), halves);
}

/* A row's block as integers, lanes still apart: dot[c][r]. */
INLINE void row_ints(const struct row_k *w, const struct act_q8_k *const x[FEW_COLS], int C, int r,
                     __m256i dot[FEW_COLS][4]) {
    UNROLL for (int c = 0; c < C; c++) {
        const __m256i min = _mm256_madd_epi16(load32(w->m), load32(x[c]->sum16));
        dot[c][r] = _mm256_sub_epi32(_mm256_setzero_si256(), min);
    }
    UNROLL for (int s = 0; s < 8; s++) {
        const __m256i q = load32(w->q + 32 * s), sc = scales(w, s);
        UNROLL for (int c = 0; c < C; c++) dot[c][r] =
            madd_add(dot[c][r], dot_pairs(q, load32(x[c]->q + 32 * s), false), sc, false);
    }
}

INLINE void group(const struct walk *k, struct form f, int C, float *acc) {
    row_k_fn *const row = row_k_of(f.type);
    const size_t bytes = qtype_row_bytes(f.type, ACT_BLOCK);
    __m128 sum[FEW_COLS];
    UNROLL for (int c = 0; c < C; c++) sum[c] = _mm_setzero_ps();
    for (int b = 0; b < k->n_block; b++) {
        const struct act_q8_k *x[FEW_COLS];
        struct row_k w;
        float d[4];
        __m256i dot[FEW_COLS][4];
        UNROLL for (int c = 0; c < C; c++) x[c] =
            (const struct act_q8_k *)(const void *)(k->x[c] + (size_t)b * k->x_step);
        for (int r = 0; r < 4; r++) {
            const uint8_t *at = k->w[r] + (size_t)b * bytes;
            fetch_ahead(k, (4 * (size_t)b + (size_t)r) * bytes, bytes);
            row(at, &w, BIAS);
            row_ints(&w, x, C, r, dot);
            d[r] = w.d;
        }
        UNROLL for (int c = 0; c < C; c++) {
            const __m128 v = _mm_mul_ps(_mm_cvtepi32_ps(sums4(dot[c])), _mm_loadu_ps(d));
            sum[c] = _mm_fmadd_ps(v, _mm_set1_ps(x[c]->d), sum[c]);
        }
    }
    UNROLL for (int c = 0; c < C; c++) _mm_store_ps(acc + c * MAT_ROWS, sum[c]);
}

FEW_FN(few_row, 4, ACT_Q8_K, group, {t})

mat_fn *mat_avx2_few_row(void) {
    return few_row;
}
