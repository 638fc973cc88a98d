/* The loops of the int8 kernels: unpack a tile of 16 rows, multiply it by every column, go on to
 * the next 256 values.  A width of one takes the same path as 512: the unpack is faster than
 * memory, and the order of the float sums (ascending blocks) is the same for every width. */
#include "cpu/avx512/tile.h"

#include <stdbool.h>
#include <string.h>

enum {
    AHEAD = 2, /* blocks of 256, to L1 */
    MAX_GROUPS = MAT_ROWS / 16,
};
_Static_assert(MAX_GROUPS *TILE_MAX_BYTES + 16 * 1024 <= MAT_TMP_BYTES, "scratch");

/* A group of 16 rows of a piece. */
struct walk {
    const uint8_t *p;
    size_t stride;
    size_t block; /* bytes of 256 values */
    size_t wrap;  /* from these rows to those of the next piece; 0: there is none */
    int n_row;    /* present, of 16 */
    int n_block;
};

/* Row 0 of the block AHEAD of b, or of the next piece when the rows end; the prefetches at the
 * very end fall on what was just read, which costs nothing. */
static const uint8_t *near_of(const struct walk *g, int b) {
    const int at = b + AHEAD;
    if (at < g->n_block) return g->p + (size_t)at * g->block;
    if (!g->wrap) return g->p + (size_t)b * g->block;
    return g->p + g->wrap + (size_t)(at - g->n_block) * g->block;
}

/* Part b of the next piece's bytes in order. */
static const uint8_t *next_of(const struct walk *g, int b) {
    return g->p + g->wrap + (g->wrap ? 16 * (size_t)b * g->block : (size_t)b * g->block);
}

/* Unpack block b, of which a row has `bytes`; rows and values that are missing become zeros.  The
 * next piece is fetched meanwhile if `next`. */
static void unpack_block(const struct tile_kind *k, const struct walk *g, int b, size_t bytes,
                         bool next, uint8_t *stage, void *tile) {
    const uint8_t *p = g->p + (size_t)b * g->block;
    if (g->n_row == 16 && bytes == g->block) {
        const struct ahead f = {next ? next_of(g, b) : stage, near_of(g, b)};
        k->unpack(p, g->stride, &f, tile);
        return;
    }
    const struct ahead none = {stage, stage};
    memset(stage, 0, 16 * g->block);
    for (int r = 0; r < g->n_row; r++)
        memcpy(stage + (size_t)r * g->block, p + (size_t)r * g->stride, bytes);
    k->unpack(stage, g->block, &none, tile);
}

/* A pair of tiles (the last may be alone) stays in L1 while the columns go by.  With several column
 * groups the next piece is fetched between them, so that reading and arithmetic overlap: 32 columns
 * of a 1B model, Q8_0 231 -> 265 tokens/s, Q4_K_M 294 -> 305 (Sapphire Rapids, 2 threads). */
static void mul_block(const struct tile_kind *k, const struct mat_call *c, int b, int n_group,
                      size_t act, const uint8_t *tile, const struct walk *w) {
    const uint8_t *x = c->x + (size_t)b * c->x_step, *col[TILE_COLS];
    const int n_part = (c->n + TILE_COLS - 1) / TILE_COLS;
    for (int g = 0; g < n_group; g += 2) {
        const int n = n_group - g < 2 ? 1 : 2;
        const int n_line = n_part > 1 ? (int)(16 * w[g].block / 64) : 0;
        for (int part = 0, lo = 0, hi; part < n_part; part++, lo = hi) {
            hi = lo + c->n / n_part + (part < c->n % n_part);
            for (int i = lo; i < hi; i++)
                col[i - lo] = x + (size_t)(c->index ? c->index[i] : i) * act;
            for (int r = 0; r < n; r++)
                for (int i = n_line * part / n_part; i < n_line * (part + 1) / n_part; i++)
                    _mm_prefetch((const char *)next_of(&w[g + r], b) + 64 * i, _MM_HINT_T1);
            k->mul(tile + g * k->tile_bytes, n, col, hi - lo, c->acc + lo * MAT_ROWS + 16 * g);
        }
    }
}

void mul_tiles(enum qtype t, const struct mat_call *c, const struct tile_kind *k,
               enum act_enc enc) {
    uint8_t *tile = c->tmp, *stage = tile + MAX_GROUPS * TILE_MAX_BYTES;
    const size_t block = qtype_row_bytes(t, ACT_BLOCK);
    const int n_group = (c->n_row + 15) / 16, n_block = act_blocks(c->n_col);
    struct walk g[MAX_GROUPS];
    for (int i = 0; i < n_group; i++) {
        const int left = c->n_row - 16 * i;
        g[i] = (struct walk){.p = c->w + 16 * (size_t)i * c->row_bytes,
                             .stride = c->row_bytes,
                             .block = block,
                             .wrap = c->n_row_after >= c->n_row ? c->n_row * c->row_bytes : 0,
                             .n_row = left < 16 ? left : 16,
                             .n_block = n_block};
    }
    mat_acc_clear(c);
    for (int b = 0; b < n_block; b++) {
        const size_t left = c->row_bytes - (size_t)b * block, bytes = left < block ? left : block;
        for (int i = 0; i < n_group; i++)
            unpack_block(k, &g[i], b, bytes, c->n <= TILE_COLS, stage, tile + i * k->tile_bytes);
        mul_block(k, c, b, n_group, act_bytes(enc), tile, g);
    }
}
