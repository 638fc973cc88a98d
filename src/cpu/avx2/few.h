/* What the kernels for 1..4 columns share.  A few rows go abreast through a piece, in file order;
 * each is read where it lies, and what comes a few blocks later is fetched meanwhile. */
#pragma once

#include "cpu/avx2/dot.h"

enum {
    FEW_COLS = 4,
    FEW_ROWS = 8, /* most rows abreast */
    FETCH_BLOCKS =
        8, /* 2 lose a third of Q2_K, 4 a sixth; 12 and 20 are as good (bench/NOTES.md) */
};

/* Where some rows (the last one repeated beyond the piece) and the columns are. */
struct walk {
    const uint8_t *w[FEW_ROWS], *x[FEW_COLS];
    size_t row_bytes, x_step;
    int n_block, n_sub; /* of a row: 256 values each, the last one perhaps less; 32 values each */
    size_t near, far;   /* how far ahead to fetch, to the first cache and to the second */
};

/* n bytes, rounded up to whole groups of rows. */
INLINE size_t whole(size_t group, size_t n) {
    return group * ((n + group - 1) / group);
}

INLINE struct walk walk_from(const struct mat_call *c, int r0, int n_row, enum act_enc enc) {
    struct walk k = {.row_bytes = c->row_bytes,
                     .x_step = c->x_step,
                     .n_block = act_blocks(c->n_col),
                     .n_sub = c->n_col / 32};
    const size_t group = (size_t)n_row * c->row_bytes;
    k.near = whole(group, 4096);
    k.far = k.near + whole(group, 8192);
    for (int r = 0; r < n_row; r++)
        k.w[r] = c->w + (size_t)(r0 + r < c->n_row ? r0 + r : c->n_row - 1) * c->row_bytes;
    for (int i = 0; i < c->n; i++)
        k.x[i] = c->x + (size_t)(c->index ? c->index[i] : i) * act_bytes(enc);
    return k;
}

/* Bytes [at, at + n) of a later group of rows, whose rows are adjacent.  Linear, though the rows
 * are read abreast, and twice, first to the second cache: Q6_K 15.3 GB/s at one column where
 * fetching each row's own later blocks gets 11.6 (bench/NOTES.md).  Beyond the matrix at its end:
 * harmless. */
INLINE void fetch_ahead(const struct walk *k, size_t at, size_t n) {
    const uint8_t *p = k->w[0] + at;
    for (size_t i = 0; i < n; i += 64) {
        __builtin_prefetch(p + k->near + i);
        __builtin_prefetch(p + k->far + i, 0, 2);
    }
}

/* 16 bytes' low nibbles, then their high ones. */
INLINE __m256i nibbles(const uint8_t *qs) {
    const __m256i v =
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)qs));
    return _mm256_and_si256(_mm256_srlv_epi32(v, _mm256_setr_epi32(0, 0, 0, 0, 4, 4, 4, 4)),
                            _mm256_set1_epi8(15));
}

/* The levels of a code book, plus bias. */
INLINE __m256i levels(const int8_t book[16], int bias, __m256i code) {
    const __m256i table =
        _mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)(const void *)book));
    return _mm256_shuffle_epi8(_mm256_add_epi8(table, _mm256_set1_epi8((char)bias)), code);
}

INLINE int half_at(const uint8_t *p) {
    uint16_t h;
    memcpy(&h, p, sizeof h);
    return h;
}

/* A kernel that takes n_row rows at a time through `group`, compiled for each number of columns. */
#define FEW_FN(name, n_row_at_once, enc, group, ...)                                               \
    static void name(enum qtype t, const struct mat_call *call) {                                  \
        const struct form f = __VA_ARGS__;                                                         \
        (void)t;                                                                                   \
        for (int r = 0; r < call->n_row; r += (n_row_at_once)) {                                   \
            const struct walk k = walk_from(call, r, n_row_at_once, enc);                          \
            float *acc = call->acc + r;                                                            \
            switch (call->n) {                                                                     \
            case 1: group(&k, f, 1, acc); break;                                                   \
            case 2: group(&k, f, 2, acc); break;                                                   \
            case 3: group(&k, f, 3, acc); break;                                                   \
            case 4: group(&k, f, 4, acc); break;                                                   \
            }                                                                                      \
        }                                                                                          \
    }
