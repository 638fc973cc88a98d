/* The loops of the int8 kernels: unpack the tiles of a piece, multiply them by every column, go on
 * to the next 256 values.  A width of one takes the same path as 512, and the order of the float
 * sums (ascending blocks) is the same for every width. */
#include "cpu/neon/tile.h"

#include <string.h>

enum { AHEAD = 2 }; /* blocks of 256 to fetch ahead; as in avx512/tile.c, not measured on ARM */

/* The tiles of a piece. */
struct walk {
    const struct mat_call *c;
    const struct tile_type *type;
    const struct tile_set *set;
    size_t block, size; /* bytes of 256 values; of a tile */
};

static const struct tile_type *type_of(enum qtype t) {
    const struct tile_type *k = tile_type_k(t), *q = tile_type_q(t);
    return k ? k : q ? q : tile_type_row(t);
}

static bool form_is_q(enum tile_form f) {
    return f == Q || f == Q_MINS;
}

/* Asks for these rows' bytes of a later block, or, where the rows end, of the rows that come after
 * the piece. */
static void fetch(const struct walk *w, const uint8_t *p, size_t left) {
    const size_t stride = w->c->row_bytes;
    p += AHEAD * w->block; /* beyond the end of a row lies the next */
    if (left <= AHEAD * w->block) {
        if (w->c->n_row_after < w->c->n_row) return;
        p += (size_t)(w->c->n_row - 1) * stride;
    }
    for (size_t r = 0; r < TILE_ROWS; r++)
        for (size_t i = 0; i < w->block; i += 64)
            __builtin_prefetch(p + r * stride + i);
}

/* Block b of the tile that begins at row r0; rows and values that are missing become zeros. */
static void unpack_block(enum qtype t, const struct walk *w, int r0, int b, void *tile) {
    const struct mat_call *c = w->c;
    const size_t at = (size_t)b * w->block, left = c->row_bytes - at;
    const uint8_t *p = c->w + (size_t)r0 * c->row_bytes + at;
    unpack_fn *unpack = w->type->unpack[w->set->shape];
    if (c->n_row - r0 >= TILE_ROWS && left >= w->block) {
        fetch(w, p, left);
        unpack(t, p, c->row_bytes, tile);
        return;
    }
    const int n_row = c->n_row - r0 < TILE_ROWS ? c->n_row - r0 : TILE_ROWS;
    uint8_t *stage = c->tmp + MAT_ROWS / TILE_ROWS * TILE_MAX_BYTES;
    memset(stage, 0, TILE_ROWS * w->block);
    for (int r = 0; r < n_row; r++)
        memcpy(stage + (size_t)r * w->block, p + (size_t)r * c->row_bytes,
               left < w->block ? left : w->block);
    unpack(t, stage, w->block, tile);
}

/* Columns in parts as even as whole units allow. */
static void mul_block(const struct walk *w, int b, int n_tile, size_t act) {
    const struct mat_call *c = w->c;
    const struct tile_set *s = w->set;
    const uint8_t *x = c->x + (size_t)b * c->x_step, *col[8];
    const int cols = s->of[w->type->form].cols;
    const int n_unit = (c->n + s->unit - 1) / s->unit, n_part = (c->n + cols - 1) / cols;
    for (int part = 0; part < n_part; part++) {
        const int lo = n_unit * part / n_part * s->unit;
        int hi = n_unit * (part + 1) / n_part * s->unit;
        if (hi > c->n) hi = c->n;
        for (int i = lo; i < hi; i++)
            col[i - lo] = x + (size_t)(c->index ? c->index[i] : i) * act;
        s->of[w->type->form].mul(c->tmp, n_tile, col, hi - lo, c->acc + lo * MAT_ROWS);
    }
}

void mul_tiles(enum qtype t, const struct mat_call *c, const struct tile_set *s) {
    const struct tile_type *type = type_of(t);
    const bool q = form_is_q(type->form);
    const struct walk w = {.c = c,
                           .type = type,
                           .set = s,
                           .block = qtype_row_bytes(t, ACT_BLOCK),
                           .size = q ? sizeof(struct tile_q) : sizeof(struct tile_k)};
    const int n_tile = (c->n_row + TILE_ROWS - 1) / TILE_ROWS, n_block = act_blocks(c->n_col);
    mat_acc_clear(c);
    for (int b = 0; b < n_block; b++) {
        for (int i = 0; i < n_tile; i++)
            unpack_block(t, &w, i * TILE_ROWS, b, c->tmp + (size_t)i * w.size);
        mul_block(&w, b, n_tile, act_bytes(q ? ACT_Q8 : ACT_Q8_K));
    }
}

void tile_set_use(struct kern_mat *k, mat_fn *mul, const char *isa) {
    for (int t = 0; t < QT_COUNT; t++) {
        const struct tile_type *type = type_of((enum qtype)t);
        if (!type) continue;
        const enum act_enc enc = form_is_q(type->form) ? ACT_Q8 : ACT_Q8_K;
        k->of[t] = (struct mat_kern){.mul = mul, .enc = enc, .piece = 16, .isa = isa};
    }
}
