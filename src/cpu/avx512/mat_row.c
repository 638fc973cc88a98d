/* The grid and ternary formats: rows unpack one by one to signed bytes with integer scales
 * (cpu/row.h), then 16 of them are transposed to a tile of mat_k.c. */
#include "cpu/avx512/tile.h"
#include "cpu/row.h"

/* w, scales and d of a tile from 16 rows. */
static void tile_of_rows(const struct row_k rows[16], struct tile_k *t) {
    const uint8_t *q = (const uint8_t *)rows[0].q, *sc = (const uint8_t *)rows[0].sc;
    __m512i v[8];
    for (int at = 0; at < 8; at++) {
        transpose32(q + 32 * at, sizeof *rows, v);
        UNROLL for (int k = 0; k < 8; k++)
            _mm512_store_si512(t->w[8 * at + k], _mm512_xor_si512(v[k], _mm512_set1_epi8(-128)));
    }
    transpose32(sc, sizeof *rows, v); /* two 16-bit scales a unit */
    UNROLL for (int k = 0; k < 8; k++) {
        const __m512i low = _mm512_srai_epi32(_mm512_slli_epi32(v[k], 16), 16);
        _mm512_store_ps(t->sc[2 * k], _mm512_cvtepi32_ps(low));
        _mm512_store_ps(t->sc[2 * k + 1], _mm512_cvtepi32_ps(_mm512_srai_epi32(v[k], 16)));
    }
    for (int r = 0; r < 16; r++)
        t->d[r] = rows[r].d;
}

INLINE void unpack_rows(row_k_fn *row, const uint8_t *p, size_t stride, const struct ahead *f,
                        size_t block, void *tile) {
    struct row_k rows[16];
    for (size_t r = 0; r < 16; r++) {
        row(p + r * stride, &rows[r], 0);
        if (r % 4 == 3) fetch_quarter(f, stride, r / 4, block);
    }
    tile_of_rows(rows, tile);
}

#define UNPACK(type)                                                                               \
    static void unpack_##type(const uint8_t *p, size_t stride, const struct ahead *f,              \
                              void *tile) {                                                        \
        unpack_rows(row_##type, p, stride, f, sizeof(struct block_##type), tile);                  \
    }
UNPACK(iq1_s)
UNPACK(iq1_m)
UNPACK(iq2_xxs)
UNPACK(iq2_xs)
UNPACK(iq2_s)
UNPACK(iq3_xxs)
UNPACK(iq3_s)
UNPACK(tq1_0)
UNPACK(tq2_0)

static const struct tile_kind kind[QT_COUNT] = {
    [QT_IQ1_S] = {unpack_iq1_s, tile_k_mul_16, sizeof(struct tile_k)},
    [QT_IQ1_M] = {unpack_iq1_m, tile_k_mul_16, sizeof(struct tile_k)},
    [QT_IQ2_XXS] = {unpack_iq2_xxs, tile_k_mul_16, sizeof(struct tile_k)},
    [QT_IQ2_XS] = {unpack_iq2_xs, tile_k_mul_16, sizeof(struct tile_k)},
    [QT_IQ2_S] = {unpack_iq2_s, tile_k_mul_16, sizeof(struct tile_k)},
    [QT_IQ3_XXS] = {unpack_iq3_xxs, tile_k_mul_16, sizeof(struct tile_k)},
    [QT_IQ3_S] = {unpack_iq3_s, tile_k_mul_16, sizeof(struct tile_k)},
    [QT_TQ1_0] = {unpack_tq1_0, tile_k_mul_16, sizeof(struct tile_k)},
    [QT_TQ2_0] = {unpack_tq2_0, tile_k_mul_16, sizeof(struct tile_k)},
};

static void mul_row(enum qtype t, const struct mat_call *c) {
    mul_tiles(t, c, &kind[t], ACT_Q8_K);
}

void kern_mat_avx512_row(struct kern_mat *k) {
    for (int t = 0; t < QT_COUNT; t++)
        if (kind[t].unpack)
            k->of[t] = (struct mat_kern){mul_row, ACT_Q8_K, .piece = 16, .wide = MAT_ROWS,
                                         .isa = "avx512"};
}
