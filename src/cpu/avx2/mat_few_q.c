/* int8 products with 1..4 columns for AVX2, formats with a float scale per 32 values.  Eight rows
 * go abreast, 32 values a step: each row's products are added up along the row, eight rows' sums
 * meet in the lanes of one register, and the scale is applied to all of them at once:
 *
 *   Q4_0, per row and 32 values: load, vpsrlvd, vpand, vpmaddubsw, 7/8 vphaddw, 1/4 vpmaddwd
 *
 * and the eight rows then share what the scale costs.  Blocks are read where they lie: nothing is
 * stored but the result.  The float operations and their order are those of mat_tile_q.c. */
#include "cpu/avx2/few.h"
#include "cpu/avx2/mat.h"

enum { GROUP = 8 };

/* What is known of a format when its kernel is compiled. */
struct form {
    enum qtype type;
    int bytes, n_sub; /* of a block: 32 values each */
    int shift;        /* unsigned weights have a bias of 128 >> shift */
    bool sign, mins;  /* weights up to +-127; unsigned, with float mins */
};

/* ---- 32 weights as bytes, from their block's first byte on ---- */

/* `one` where a bit of the four bytes is set: values in order. */
INLINE __m256i bits(const uint8_t qh[4], char one) {
    const __m256i bytes = _mm256_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 2, 2, 2,
                                           2, 2, 2, 2, 2, 3, 3, 3, 3, 3, 3, 3, 3);
    const __m256i bit = _mm256_set1_epi64x((long long)0x8040201008040201u);
    int32_t v;
    memcpy(&v, qh, sizeof v);
    const __m256i set = _mm256_and_si256(_mm256_shuffle_epi8(_mm256_set1_epi32(v), bytes), bit);
    return _mm256_and_si256(_mm256_cmpeq_epi8(set, bit), _mm256_set1_epi8(one));
}

/* Pairs of bits, low ones first: the byte's nibble, masked, is looked up. */
INLINE __m256i pairs(const uint8_t qs[8]) {
    const __m256i bytes = _mm256_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4,
                                           4, 5, 5, 5, 5, 6, 6, 6, 6, 7, 7, 7, 7);
    const __m256i value =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(0, 1, 2, 3, 1, 0, 0, 0, 2, 0, 0, 0, 3, 0, 0, 0));
    int64_t eight;
    memcpy(&eight, qs, sizeof eight);
    const __m256i v = _mm256_shuffle_epi8(_mm256_set1_epi64x(eight), bytes);
    const __m256i nibble = _mm256_blend_epi16(v, _mm256_srli_epi16(v, 4), 0xaa);
    return _mm256_shuffle_epi8(value, _mm256_and_si256(nibble, _mm256_set1_epi32(0x0c030c03)));
}

/* Of sub-block `sub`; the types that have several: Q1_0, Q2_0. */
INLINE __m256i weights(const uint8_t *b, enum qtype t, int sub) {
    switch (t) {
    case QT_Q4_0: return nibbles(b + 2);
    case QT_Q4_1: return nibbles(b + 4);
    case QT_Q5_0: return _mm256_or_si256(nibbles(b + 6), bits(b + 2, 16));
    case QT_Q5_1: return _mm256_or_si256(nibbles(b + 8), bits(b + 4, 16));
    case QT_IQ4_NL: return levels(kvalues_iq4nl, 0, nibbles(b + 2));
    case QT_MXFP4: return levels(kvalues_e2m1x2, 16, nibbles(b + 1));
    case QT_Q1_0: return bits(b + 2 + 4 * sub, 2);
    case QT_Q2_0: return pairs(b + 2 + 8 * sub);
    default: return load32(b + 2); /* Q8_0 */
    }
}

/* ---- scales of eight rows ---- */

/* The half floats at p[r] + at. */
INLINE __m256 halves(const uint8_t *const p[GROUP], size_t at) {
    __m128i h = _mm_cvtsi32_si128(half_at(p[0] + at));
    h = _mm_insert_epi16(h, half_at(p[1] + at), 1);
    h = _mm_insert_epi16(h, half_at(p[2] + at), 2);
    h = _mm_insert_epi16(h, half_at(p[3] + at), 3);
    h = _mm_insert_epi16(h, half_at(p[4] + at), 4);
    h = _mm_insert_epi16(h, half_at(p[5] + at), 5);
    h = _mm_insert_epi16(h, half_at(p[6] + at), 6);
    h = _mm_insert_epi16(h, half_at(p[7] + at), 7);
    return _mm256_cvtph_ps(h);
}

/* 2^(e - 128), half the E8M0 scale, for the doubled levels; subnormal for e < 2. */
INLINE __m256 e8m0_halves(const uint8_t *const p[GROUP], size_t at) {
    const __m256i e = _mm256_setr_epi32(p[0][at], p[1][at], p[2][at], p[3][at], p[4][at], p[5][at],
                                        p[6][at], p[7][at]);
    const __m256i one = _mm256_set1_epi32(1);
    const __m256i normal = _mm256_slli_epi32(_mm256_sub_epi32(e, one), 23);
    const __m256i tiny = _mm256_sllv_epi32(_mm256_set1_epi32(0x00200000), e);
    return _mm256_blendv_ps(_mm256_castsi256_ps(tiny), _mm256_castsi256_ps(normal),
                            _mm256_castsi256_ps(_mm256_cmpgt_epi32(e, one)));
}

/* ---- dots ---- */

/* Products of two rows with a column, added up in adjacent pairs; 16 bits as long as they fit. */
INLINE __m256i pair_dot(__m256i a, __m256i b, __m256i x, struct form f) {
    const __m256i p = dot_pairs(a, x, f.sign), q = dot_pairs(b, x, f.sign);
    const __m256i ones = _mm256_set1_epi16(1);
    return f.sign ? _mm256_hadd_epi32(_mm256_madd_epi16(p, ones), _mm256_madd_epi16(q, ones))
                  : _mm256_hadd_epi16(p, q);
}

/* Eight dots of 32 values: row r's block at w[r].  At most 31 * 127 * 8 in 16 bits. */
INLINE void dots8(const uint8_t *const w[GROUP], const struct act_q8 *const x[FEW_COLS], int j,
                  int C, struct form f, __m256i dot[FEW_COLS]) {
    __m256i quad[FEW_COLS][2];
    UNROLL for (int k = 0; k < 2; k++) {
        __m256i pair[FEW_COLS][2];
        UNROLL for (int p = 0; p < 2; p++) {
            const __m256i a = weights(w[4 * k + 2 * p], f.type, j % f.n_sub);
            const __m256i b = weights(w[4 * k + 2 * p + 1], f.type, j % f.n_sub);
            UNROLL for (int c = 0; c < C; c++) pair[c][p] =
                pair_dot(a, b, load32(x[c]->q + 32 * j), f);
        }
        UNROLL for (int c = 0; c < C; c++) quad[c][k] =
            f.sign ? _mm256_hadd_epi32(pair[c][0], pair[c][1])
                   : _mm256_madd_epi16(_mm256_hadd_epi16(pair[c][0], pair[c][1]),
                                       _mm256_set1_epi16(1));
    }
    UNROLL for (int c = 0; c < C; c++) {
        dot[c] = _mm256_add_epi32(_mm256_permute2x128_si256(quad[c][0], quad[c][1], 0x20),
                                  _mm256_permute2x128_si256(quad[c][0], quad[c][1], 0x31));
        if (!f.sign && !f.mins)
            dot[c] = _mm256_add_epi32(
                dot[c], _mm256_srai_epi32(_mm256_set1_epi32(x[c]->start[j]), f.shift));
    }
}

/* sum[c] += 32 values of eight rows times C columns. */
INLINE void step(const uint8_t *const w[GROUP], const struct act_q8 *const x[FEW_COLS], int j,
                 int C, struct form f, __m256 sum[FEW_COLS]) {
    const __m256 d = f.type == QT_MXFP4 ? e8m0_halves(w, 0) : halves(w, 0);
    const __m256 m = f.mins ? halves(w, 2) : _mm256_setzero_ps();
    __m256i dot[FEW_COLS];
    dots8(w, x, j, C, f, dot);
    UNROLL for (int c = 0; c < C; c++) {
        const __m256 dd = _mm256_mul_ps(d, _mm256_broadcast_ss(&x[c]->d[j]));
        sum[c] = _mm256_fmadd_ps(_mm256_cvtepi32_ps(dot[c]), dd, sum[c]);
        if (f.mins) sum[c] = _mm256_fmadd_ps(m, _mm256_broadcast_ss(&x[c]->ds[j]), sum[c]);
    }
}

/* Eight rows times C columns. */
INLINE void group(const struct walk *k, struct form f, int C, float *acc) {
    const size_t bytes = (size_t)(8 / f.n_sub * f.bytes);
    __m256 sum[FEW_COLS];
    UNROLL for (int c = 0; c < C; c++) sum[c] = _mm256_setzero_ps();
    for (int b = 0; 8 * b < k->n_sub; b++) {
        const struct act_q8 *x[FEW_COLS];
        const int n = k->n_sub - 8 * b < 8 ? k->n_sub - 8 * b : 8;
        UNROLL for (int c = 0; c < C; c++) x[c] =
            (const struct act_q8 *)(const void *)(k->x[c] + (size_t)b * k->x_step);
        for (int j = 0; j < n; j++) {
            const uint8_t *w[GROUP];
            UNROLL for (int r = 0; r < GROUP; r++) w[r] =
                k->w[r] + (size_t)b * bytes + (size_t)(j / f.n_sub * f.bytes);
            fetch_ahead(k, (size_t)(8 * b + j) * bytes, bytes);
            step(w, x, j, C, f, sum);
        }
    }
    UNROLL for (int c = 0; c < C; c++) _mm256_store_ps(acc + c * MAT_ROWS, sum[c]);
}

FEW_FN(few_q4_0, GROUP, ACT_Q8, group, {QT_Q4_0, 18, 1, 4, false, false})
FEW_FN(few_q4_1, GROUP, ACT_Q8, group, {QT_Q4_1, 20, 1, 0, false, true})
FEW_FN(few_q5_0, GROUP, ACT_Q8, group, {QT_Q5_0, 22, 1, 3, false, false})
FEW_FN(few_q5_1, GROUP, ACT_Q8, group, {QT_Q5_1, 24, 1, 0, false, true})
FEW_FN(few_q8_0, GROUP, ACT_Q8, group, {QT_Q8_0, 34, 1, 0, true, false})
FEW_FN(few_iq4_nl, GROUP, ACT_Q8, group, {QT_IQ4_NL, 18, 1, 0, true, false})
FEW_FN(few_mxfp4, GROUP, ACT_Q8, group, {QT_MXFP4, 17, 1, 3, false, false})
FEW_FN(few_q1_0, GROUP, ACT_Q8, group, {QT_Q1_0, 18, 4, 7, false, false})
FEW_FN(few_q2_0, GROUP, ACT_Q8, group, {QT_Q2_0, 18, 2, 7, false, false})

mat_fn *mat_avx2_few_q(enum qtype t) {
    static mat_fn *const fn[QT_COUNT] = {
        [QT_Q4_0] = few_q4_0,   [QT_Q4_1] = few_q4_1, [QT_Q5_0] = few_q5_0,
        [QT_Q5_1] = few_q5_1,   [QT_Q8_0] = few_q8_0, [QT_IQ4_NL] = few_iq4_nl,
        [QT_MXFP4] = few_mxfp4, [QT_Q1_0] = few_q1_0, [QT_Q2_0] = few_q2_0,
    };
    return fn[t];
}
