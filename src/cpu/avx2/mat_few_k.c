/* int8 products with 1..4 columns for AVX2, K types: what decoding a token does, bound by memory if
 * it is quick enough.  Rows go four abreast, in file order.  Of each row's block 32 weights at a
 * time are unpacked in a register and meet the columns at once; the lanes of four rows are added up
 * together.
 *
 *   Q4_K, per row and 32 values: 1.5 to unpack, vpmaddubsw, vpshufb (the scale), vpmaddwd, vpaddd
 *
 * The float operations and their order are those of mat_tile_k.c, and so are the bits. */
#include "cpu/avx2/few.h"
#include "cpu/avx2/mat.h"

/* What is known of a format when its kernel is compiled. */
struct form {
    enum qtype type;
    int bytes; /* of a block */
    enum k_form kind;
    int bias; /* of BIASED weights: 1 << bias */
};

/* Q2_K and Q3_K leave three of four weights where they lie in their byte, that is times 1, 4 and 16
 * (up to 7 * 16 * 127 * 2 in 16 bits), and make up for it in the scales: all integers are 64 times
 * what they are.  That is exact, also when they become floats. */
INLINE bool times64(struct form f) {
    return f.type == QT_Q2_K || f.type == QT_Q3_K;
}

/* ---- headers ---- */

/* 16-bit scales and mins: of sub-blocks 2s in the low half, of 2s + 1 in the high one. */
struct head {
    __m256i sc, m;
};

INLINE __m128i load16(const void *p) {
    return _mm_loadu_si128((const __m128i *)p);
}

INLINE __m256i twice(__m128i v) {
    return _mm256_broadcastsi128_si256(v);
}

/* Bytes 0 2 .. 14, 1 3 .. 15. */
INLINE __m128i even_odd(__m128i v) {
    return _mm_shuffle_epi8(v, _mm_setr_epi8(0, 2, 4, 6, 8, 10, 12, 14, 1, 3, 5, 7, 9, 11, 13, 15));
}

/* Q4_K, Q5_K: 6 bits each, packed in 12 bytes (quant/kscale.h), eight bytes at a time. */
INLINE struct head head_k4(const uint8_t packed[12]) {
    const __m256i sc = _mm256_setr_epi8(0, -1, 1, -1, 2, -1, 3, -1, 8, -1, 9, -1, 10, -1, 11, -1, 0,
                                        -1, 1, -1, 2, -1, 3, -1, 8, -1, 9, -1, 10, -1, 11, -1);
    const __m256i m = _mm256_add_epi8(sc, _mm256_set1_epi16(4));
    uint64_t p;
    uint32_t top;
    memcpy(&p, packed, sizeof p);
    memcpy(&top, packed + 8, sizeof top);
    const uint64_t low4 = (top & 0x0f0f0f0fu) | (uint64_t)(top >> 4 & 0x0f0f0f0fu) << 32;
    const uint64_t first = p & 0x3f3f3f3f3f3f3f3fu, last = low4 | (p >> 2 & 0x3030303030303030u);
    const __m256i v = twice(_mm_set_epi64x((long long)last, (long long)first));
    return (struct head){_mm256_shuffle_epi8(v, sc), _mm256_shuffle_epi8(v, m)};
}

/* What weights left at 1, 4, 16 and 1 times lack to 64. */
INLINE __m256i to64(__m256i sc) {
    return _mm256_mullo_epi16(sc, _mm256_set1_epi64x(0x0040000400100040));
}

INLINE struct head head_q2_k(const struct block_q2_k *b) {
    const __m256i v = _mm256_cvtepu8_epi16(even_odd(load16(b->scales)));
    return (struct head){to64(_mm256_and_si256(v, _mm256_set1_epi16(15))), _mm256_srli_epi16(v, 4)};
}

INLINE struct head head_q3_k(const struct block_q3_k *b) {
    uint32_t p[3];
    memcpy(p, b->scales, sizeof p);
    const uint32_t low = 0x0f0f0f0f, two = 0x30303030;
    const __m128i s = _mm_setr_epi32(
        (int)((p[0] & low) | (p[2] << 4 & two)), (int)((p[1] & low) | (p[2] << 2 & two)),
        (int)((p[0] >> 4 & low) | (p[2] & two)), (int)((p[1] >> 4 & low) | (p[2] >> 2 & two)));
    const __m256i v = _mm256_sub_epi16(_mm256_cvtepu8_epi16(even_odd(s)), _mm256_set1_epi16(32));
    return (struct head){to64(v), _mm256_slli_epi16(v, 6)};
}

INLINE struct head head_q6_k(const struct block_q6_k *b) {
    const __m256i v = _mm256_cvtepi8_epi16(even_odd(load16(b->scales)));
    return (struct head){v, v};
}

/* Four low bits and two high ones each. */
INLINE struct head head_iq4_xs(const struct block_iq4_xs *b) {
    int32_t l;
    memcpy(&l, b->scales_l, sizeof l);
    const __m128i byte = _mm_setr_epi8(0, -1, 0, -1, 1, -1, 1, -1, 2, -1, 2, -1, 3, -1, 3, -1);
    const __m128i lift = _mm_setr_epi16(16, 1, 16, 1, 16, 1, 16, 1);
    const __m128i place = _mm_setr_epi16(1 << 14, 1 << 12, 1 << 10, 1 << 8, 64, 16, 4, 1);
    const __m128i low =
        _mm_srli_epi16(_mm_mullo_epi16(_mm_shuffle_epi8(_mm_cvtsi32_si128(l), byte), lift), 4);
    const __m128i high =
        _mm_srli_epi16(_mm_mullo_epi16(_mm_set1_epi16((int16_t)b->scales_h), place), 14);
    const __m128i v = _mm_or_si128(_mm_and_si128(low, _mm_set1_epi16(15)), _mm_slli_epi16(high, 4));
    return (struct head){twice(_mm_sub_epi16(v, _mm_set1_epi16(32))), _mm256_setzero_si256()};
}

INLINE struct head head(const uint8_t *b, enum qtype t) {
    const void *p = b;
    switch (t) {
    case QT_Q2_K: return head_q2_k(p);
    case QT_Q3_K: return head_q3_k(p);
    case QT_Q6_K: return head_q6_k(p);
    case QT_IQ4_XS: return head_iq4_xs(p);
    default: return head_k4(b + 4); /* Q4_K, Q5_K */
    }
}

/* Scale s of each half in all its lanes. */
INLINE __m256i scale(__m256i sc, int s) {
    return _mm256_shuffle_epi8(sc, _mm256_set1_epi16((int16_t)(0x0100 + 0x0202 * s)));
}

/* ---- 32 weights as bytes ---- */

INLINE __m256i and8(__m256i v, int mask) {
    return _mm256_and_si256(v, _mm256_set1_epi8((char)mask));
}

/* Every byte's bits `from` to place `to`; what comes over from neighbours is for a mask to take
 * off. */
INLINE __m256i move(__m256i v, int from, int to) {
    return from > to ? _mm256_srli_epi16(v, from - to) : _mm256_slli_epi16(v, to - from);
}

INLINE __m256i weights_k4(const uint8_t *qs, int s) {
    const __m256i v = load32(qs + 32 * (s / 2));
    return and8(s % 2 ? _mm256_srli_epi16(v, 4) : v, 15);
}

INLINE __m256i weights_q2_k(const struct block_q2_k *b, int s) {
    const __m256i v = load32(b->qs + 32 * (s / 4));
    return s % 4 < 3 ? and8(v, 3 << s % 4 * 2) : and8(_mm256_srli_epi16(v, 6), 3);
}

INLINE __m256i weights_q3_k(const struct block_q3_k *b, int s) {
    const __m256i v = load32(b->qs + 32 * (s / 4)), top = load32(b->hmask);
    const int at = s % 4 < 3 ? s % 4 * 2 : 0;
    return _mm256_or_si256(and8(move(v, s % 4 * 2, at), 3 << at),
                           and8(move(top, s, at + 2), 4 << at));
}

INLINE __m256i weights_q5_k(const struct block_q5_k *b, int s) {
    return _mm256_or_si256(weights_k4(b->qs, s), and8(move(load32(b->qh), s, 4), 16));
}

INLINE __m256i weights_q6_k(const struct block_q6_k *b, int s) {
    const int h = s / 4, p = s % 4; /* 64 bytes of ql: low nibbles of 64 values, then high ones */
    const __m256i v = load32(b->ql + 64 * h + 32 * (p % 2)), two = load32(b->qh + 32 * h);
    return _mm256_or_si256(and8(p / 2 ? _mm256_srli_epi16(v, 4) : v, 15),
                           and8(move(two, 2 * p, 4), 0x30));
}

INLINE __m256i weights(const uint8_t *b, enum qtype t, int s) {
    const void *p = b;
    switch (t) {
    case QT_Q2_K: return weights_q2_k(p, s);
    case QT_Q3_K: return weights_q3_k(p, s);
    case QT_Q5_K: return weights_q5_k(p, s);
    case QT_Q6_K: return weights_q6_k(p, s);
    case QT_IQ4_XS: return levels(kvalues_iq4nl, 0, nibbles(b + 8 + 16 * s));
    default: return weights_k4(b + 16, s); /* Q4_K */
    }
}

/* ---- scales of four rows ---- */

struct floats {
    __m128 d, dmin;
};

INLINE struct floats two_halves(const uint8_t *const p[4], size_t at) {
    int32_t v[4];
    for (int r = 0; r < 4; r++)
        memcpy(&v[r], p[r] + at, sizeof v[r]);
    const __m256 f = _mm256_cvtph_ps(_mm_setr_epi32(v[0], v[1], v[2], v[3]));
    const __m128 a = _mm256_castps256_ps128(f), b = _mm256_extractf128_ps(f, 1);
    return (struct floats){_mm_shuffle_ps(a, b, 0x88), _mm_shuffle_ps(a, b, 0xdd)};
}

INLINE struct floats one_half(const uint8_t *const p[4], size_t at) {
    __m128i h = _mm_cvtsi32_si128(half_at(p[0] + at));
    h = _mm_insert_epi16(h, half_at(p[1] + at), 1);
    h = _mm_insert_epi16(h, half_at(p[2] + at), 2);
    h = _mm_insert_epi16(h, half_at(p[3] + at), 3);
    return (struct floats){_mm_cvtph_ps(h), _mm_setzero_ps()};
}

INLINE struct floats floats(const uint8_t *const p[4], enum qtype t) {
    switch (t) {
    case QT_Q2_K: return two_halves(p, offsetof(struct block_q2_k, d));
    case QT_Q3_K: return one_half(p, offsetof(struct block_q3_k, d));
    case QT_Q6_K: return one_half(p, offsetof(struct block_q6_k, d));
    case QT_IQ4_XS: return one_half(p, 0);
    default: return two_halves(p, 0); /* Q4_K, Q5_K */
    }
}

/* ---- products ---- */

/* Integers of one block: [column][row], lanes still apart. */
struct ints {
    __m256i dot[FEW_COLS][4], min[FEW_COLS][4];
};

/* A column's block, and its sums of 16 in the order of a head. */
struct col {
    const struct act_q8_k *x;
    __m256i sum;
};

INLINE void row_ints(const uint8_t *w, const struct col x[FEW_COLS], int C, struct form f, int r,
                     struct ints *o) {
    const struct head h = head(w, f.type);
    __m256i dot[FEW_COLS];
    UNROLL for (int s = 0; s < 8; s++) {
        const __m256i q = weights(w, f.type, s), sc = scale(h.sc, s);
        UNROLL for (int c = 0; c < C; c++) {
            const __m256i p = dot_pairs(q, load32(x[c].x->q + 32 * s), f.kind == SIGNED);
            const __m256i d = _mm256_madd_epi16(p, sc);
            dot[c] = s ? _mm256_add_epi32(dot[c], d) : d;
        }
    }
    UNROLL for (int c = 0; c < C; c++) {
        const __m256i m = f.kind == BIASED ? _mm256_slli_epi16(h.m, f.bias) : h.m;
        const __m256i min = _mm256_madd_epi16(m, x[c].sum);
        o->dot[c][r] = f.kind == BIASED ? _mm256_sub_epi32(dot[c], min) : dot[c];
        if (f.kind == MINS) o->min[c][r] = min;
    }
}

/* sum[c] += a block of four rows times C columns. */
INLINE void block_k(const uint8_t *const w[4], const struct col x[FEW_COLS], int C, struct form f,
                    __m128 sum[FEW_COLS]) {
    struct ints o;
    struct floats s = floats(w, f.type);
    UNROLL for (int r = 0; r < 4; r++) row_ints(w[r], x, C, f, r, &o);
    if (times64(f)) s.d = _mm_mul_ps(s.d, _mm_set1_ps(1.0f / 64));
    UNROLL for (int c = 0; c < C; c++) {
        __m128 v = _mm_mul_ps(_mm_cvtepi32_ps(sums4(o.dot[c])), s.d);
        if (f.kind == MINS) v = _mm_fnmadd_ps(_mm_cvtepi32_ps(sums4(o.min[c])), s.dmin, v);
        sum[c] = _mm_fmadd_ps(v, _mm_set1_ps(x[c].x->d), sum[c]);
    }
}

INLINE void group(const struct walk *k, struct form f, int C, float *acc) {
    const __m256i order = _mm256_setr_epi32(0, 2, 4, 6, 1, 3, 5, 7);
    const size_t bytes = (size_t)f.bytes;
    __m128 sum[FEW_COLS];
    UNROLL for (int c = 0; c < C; c++) sum[c] = _mm_setzero_ps();
    for (int b = 0; b < k->n_block; b++) {
        const size_t at = (size_t)b * bytes;
        const uint8_t *w[4];
        struct col x[FEW_COLS];
        UNROLL for (int c = 0; c < C; c++) {
            x[c].x = (const struct act_q8_k *)(const void *)(k->x[c] + (size_t)b * k->x_step);
            x[c].sum = _mm256_permutevar8x32_epi32(load32(x[c].x->sum16), order);
        }
        UNROLL for (int r = 0; r < 4; r++) w[r] = k->w[r] + at;
        fetch_ahead(k, 4 * at, 4 * bytes);
        block_k(w, x, C, f, sum);
    }
    UNROLL for (int c = 0; c < C; c++) _mm_store_ps(acc + c * MAT_ROWS, sum[c]);
}

/* The bias is the smallest that leaves no negative weight. */
FEW_FN(few_q2_k, 4, ACT_Q8_K, group, {QT_Q2_K, sizeof(struct block_q2_k), MINS, 0})
FEW_FN(few_q3_k, 4, ACT_Q8_K, group, {QT_Q3_K, sizeof(struct block_q3_k), BIASED, 2})
FEW_FN(few_q4_k, 4, ACT_Q8_K, group, {QT_Q4_K, sizeof(struct block_q4_k), MINS, 0})
FEW_FN(few_q5_k, 4, ACT_Q8_K, group, {QT_Q5_K, sizeof(struct block_q5_k), MINS, 0})
FEW_FN(few_q6_k, 4, ACT_Q8_K, group, {QT_Q6_K, sizeof(struct block_q6_k), BIASED, 5})
FEW_FN(few_iq4_xs, 4, ACT_Q8_K, group, {QT_IQ4_XS, sizeof(struct block_iq4_xs), SIGNED, 0})

mat_fn *mat_avx2_few_k(enum qtype t) {
    switch (t) {
    case QT_Q2_K: return few_q2_k;
    case QT_Q3_K: return few_q3_k;
    case QT_Q4_K: return few_q4_k;
    case QT_Q5_K: return few_q5_k;
    case QT_Q6_K: return few_q6_k;
    case QT_IQ4_XS: return few_iq4_xs;
    default: return mat_avx2_few_row();
    }
}
