/* Unpacking of the commonest formats with a float scale per 32 (layouts: quant/blocks.h); the
 * others go through unpack_row.c. */
#include "cpu/neon/unpack.h"
#include "quant/blocks.h"

INLINE void q8_0(enum qtype type, const uint8_t *p, size_t stride, enum tile_shape s, int g,
                 struct tile_q *t) {
    (void)type;
    for (int j = 0; j < 8; j++) {
        const uint8_t *b = p + j * sizeof(struct block_q8_0);
        put_float(t->d[j], s, g, halves4(b, stride));
        UNROLL for (int half = 0; half < 2; half++) {
            uint8x16_t v[4];
            take4(b + 2 + 16 * half, stride, s, v);
            UNROLL for (int i = 0; i < 4; i++) put(t->w, s, g, 32 * j + 16 * half, i, v[i]);
        }
    }
}

/* Nibbles, low ones first, less offset. */
INLINE void nibbles(const uint8_t *qs, size_t stride, enum tile_shape s, int g, int j, int offset,
                    struct tile_q *t) {
    uint8x16_t v[4];
    take4(qs, stride, s, v);
    UNROLL for (int i = 0; i < 4; i++) {
        put(t->w, s, g, 32 * j, i, minus(vandq_u8(v[i], vdupq_n_u8(15)), offset));
        put(t->w, s, g, 32 * j + 16, i, minus(vshrq_n_u8(v[i], 4), offset));
    }
}

INLINE void q4_0(enum qtype type, const uint8_t *p, size_t stride, enum tile_shape s, int g,
                 struct tile_q *t) {
    (void)type;
    for (int j = 0; j < 8; j++) {
        const uint8_t *b = p + j * sizeof(struct block_q4_0);
        put_float(t->d[j], s, g, halves4(b, stride));
        nibbles(b + 2, stride, s, g, j, 8, t);
    }
}

INLINE void q4_1(enum qtype type, const uint8_t *p, size_t stride, enum tile_shape s, int g,
                 struct tile_q *t) {
    (void)type;
    for (int j = 0; j < 8; j++) {
        const uint8_t *b = p + j * sizeof(struct block_q4_1);
        const uint32x4_t head = units4(b, stride);
        put_float(t->d[j], s, g, low_half(head));
        put_float(t->m[j], s, g, high_half(head));
        nibbles(b + 4, stride, s, g, j, 0, t);
    }
}

INLINE void iq4_nl(enum qtype type, const uint8_t *p, size_t stride, enum tile_shape s, int g,
                   struct tile_q *t) {
    const uint8x16_t book = vld1q_u8((const uint8_t *)kvalues_iq4nl);
    (void)type;
    for (int j = 0; j < 8; j++) {
        const uint8_t *b = p + j * sizeof(struct block_iq4_nl);
        uint8x16_t v[4];
        put_float(t->d[j], s, g, halves4(b, stride));
        take4(b + 2, stride, s, v);
        UNROLL for (int i = 0; i < 4; i++) {
            put(t->w, s, g, 32 * j, i, vqtbl1q_u8(book, vandq_u8(v[i], vdupq_n_u8(15))));
            put(t->w, s, g, 32 * j + 16, i, vqtbl1q_u8(book, vshrq_n_u8(v[i], 4)));
        }
    }
}

UNPACK(q4_0, struct tile_q)
UNPACK(q4_1, struct tile_q)
UNPACK(q8_0, struct tile_q)
UNPACK(iq4_nl, struct tile_q)

const struct tile_type *tile_type_q(enum qtype t) {
    static const struct tile_type type[QT_COUNT] = {
        [QT_Q4_0] = {BOTH(q4_0), Q},
        [QT_Q4_1] = {BOTH(q4_1), Q_MINS},
        [QT_Q8_0] = {BOTH(q8_0), Q},
        [QT_IQ4_NL] = {BOTH(iq4_nl), Q},
    };
    return type[t].unpack[0] ? &type[t] : NULL;
}
