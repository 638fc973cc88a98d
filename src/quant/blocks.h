/* Blocks as they lie in a GGUF file, little-endian, shared by the codecs here and the kernels.
 *
 * Layouts: ggml's ggml-common.h (the format's reference); OCP Microscaling Formats v1.0 for MXFP4.
 * `d` is a binary16 scale everywhere.  "Value j" counts within the block.  All structs have an
 * alignment of 1 or 2, so a row may start at any even offset. */
#pragma once

#include <stdint.h>

/* 32 values, one scale: x = d * q (+ m).  Byte j holds value j low, value j + 16 high. */
struct block_q4_0 { /* x = d * (q - 8) */
    uint16_t d;
    uint8_t qs[16];
};
struct block_q4_1 { /* x = d * q + m */
    uint16_t d, m;
    uint8_t qs[16];
};
struct block_q5_0 { /* x = d * (q - 16) */
    uint16_t d;
    uint8_t qh[4]; /* a 32-bit word: bit j is bit 4 of value j */
    uint8_t qs[16];
};
struct block_q5_1 { /* x = d * q + m */
    uint16_t d, m;
    uint8_t qh[4];
    uint8_t qs[16];
};
struct block_q8_0 {
    uint16_t d;
    int8_t qs[32];
};

/* 256 values in sub-blocks with quantized scales ("K"). */
struct block_q2_k { /* 16 sub-blocks of 16: x = d * (scales & 15) * q - dmin * (scales >> 4) */
    uint8_t scales[16];
    uint8_t qs[64]; /* byte 32 h + l: values 128 h + l + 32 * {0, 1, 2, 3}, 2 bits each */
    uint16_t d, dmin;
};
struct block_q3_k {     /* 16 of 16: x = d * (scale - 32) * (q - 4) */
    uint8_t hmask[32];  /* byte l, bit k: bit 2 of value 32 k + l */
    uint8_t qs[64];     /* bits 0..1, as in q2_k */
    uint8_t scales[12]; /* 6 bits each, see quant/kscale.h */
    uint16_t d;
};
struct block_q4_k { /* 8 of 32: x = d * scale * q - dmin * min */
    uint16_t d, dmin;
    uint8_t scales[12]; /* 8 scales and 8 mins of 6 bits, see quant/kscale.h */
    uint8_t qs[128];    /* byte 32 h + l: value 64 h + l low, value 64 h + 32 + l high */
};
struct block_q5_k {
    uint16_t d, dmin;
    uint8_t scales[12];
    uint8_t qh[32]; /* byte l, bit k: bit 4 of value 32 k + l */
    uint8_t qs[128];
};
struct block_q6_k {  /* 16 of 16: x = d * scales * (q - 32) */
    uint8_t ql[128]; /* byte 64 h + l: value 128 h + l low, 128 h + 64 + l high (l < 64) */
    uint8_t qh[64];  /* byte 32 h + l: bits 4..5 of values 128 h + l + 32 * {0, 1, 2, 3} */
    int8_t scales[16];
    uint16_t d;
};

/* Grid types: 8 (or 4) values are one index into a table of vectors, plus signs. */
struct block_iq2_xxs { /* per 32 values 4 words: 4 index bytes, then 4 x 7 sign bits, scale on top
                        */
    uint16_t d;
    uint16_t qs[32];
};
struct block_iq2_xs { /* word: 9 bits of index, 7 of signs */
    uint16_t d;
    uint16_t qs[32];
    uint8_t scales[8]; /* 4 bits per 16 values */
};
struct block_iq2_s {
    uint16_t d;
    uint8_t qs[32];    /* index bits 0..7 */
    uint8_t signs[32]; /* one bit per value */
    uint8_t qh[8];     /* index bits 8..9, 4 indices in a byte */
    uint8_t scales[8];
};
struct block_iq3_xxs {
    uint16_t d;
    uint8_t qs[64];  /* one index per 4 values */
    uint8_t gas[32]; /* per 32 values a 32-bit word: 4 x 7 sign bits, 4 bits of scale on top */
};
struct block_iq3_s {
    uint16_t d;
    uint8_t qs[64];
    uint8_t qh[8]; /* index bit 8, 8 indices in a byte */
    uint8_t signs[32];
    uint8_t scales[4]; /* 4 bits per 32 values */
};
struct block_iq1_s { /* x = d * (2 scale + 1) * (grid + delta) */
    uint16_t d;
    uint8_t qs[32];
    uint16_t qh[8]; /* per 32 values: 4 x 3 high index bits, 3 bits of scale, sign of delta */
};
struct block_iq1_m {
    uint8_t qs[32];
    uint8_t qh[16];    /* nibble per 8 values: 3 high index bits, sign of delta */
    uint8_t scales[8]; /* four 16-bit words: 4 x 3 bits of scale, and a quarter of d on top */
};

/* Non-linear 4 bits: the code is an index into kvalues_iq4nl. */
struct block_iq4_nl {
    uint16_t d;
    uint8_t qs[16];
};
struct block_iq4_xs { /* 8 sub-blocks of 32, x = d * (scale - 32) * kvalue */
    uint16_t d;
    uint16_t scales_h;   /* bits 4..5 of each scale */
    uint8_t scales_l[4]; /* bits 0..3 */
    uint8_t qs[128];     /* per sub-block as in q4_0 */
};

/* Ternary: x = d * (q - 1). */
struct block_tq1_0 {
    uint8_t qs[48]; /* 5 trits a byte */
    uint8_t qh[4];  /* 4 trits a byte */
    uint16_t d;
};
struct block_tq2_0 {
    uint8_t qs[64]; /* as in q2_k */
    uint16_t d;
};

/* 4-bit floats (E2M1) with a power of two, or an unsigned E4M3 number, as the scale. */
struct block_mxfp4 {
    uint8_t e; /* x = 2^(e - 127) * e2m1 */
    uint8_t qs[16];
};
struct block_nvfp4 { /* 4 sub-blocks of 16: byte 8 s + j has values 16 s + j and 16 s + 8 + j */
    uint8_t d[4];
    uint8_t qs[32];
};

/* One and two bits, values in order from the low bit up. */
struct block_q1_0 { /* 128 values: bit set is +d, clear is -d */
    uint16_t d;
    uint8_t qs[16];
};
struct block_q2_0 { /* 64 values: x = d * (q - 1) */
    uint16_t d;
    uint8_t qs[16];
};

_Static_assert(sizeof(struct block_q4_0) == 18, "layout");
_Static_assert(sizeof(struct block_q4_1) == 20, "layout");
_Static_assert(sizeof(struct block_q5_0) == 22, "layout");
_Static_assert(sizeof(struct block_q5_1) == 24, "layout");
_Static_assert(sizeof(struct block_q8_0) == 34, "layout");
_Static_assert(sizeof(struct block_q2_k) == 84, "layout");
_Static_assert(sizeof(struct block_q3_k) == 110, "layout");
_Static_assert(sizeof(struct block_q4_k) == 144, "layout");
_Static_assert(sizeof(struct block_q5_k) == 176, "layout");
_Static_assert(sizeof(struct block_q6_k) == 210, "layout");
_Static_assert(sizeof(struct block_iq2_xxs) == 66, "layout");
_Static_assert(sizeof(struct block_iq2_xs) == 74, "layout");
_Static_assert(sizeof(struct block_iq2_s) == 82, "layout");
_Static_assert(sizeof(struct block_iq3_xxs) == 98, "layout");
_Static_assert(sizeof(struct block_iq3_s) == 110, "layout");
_Static_assert(sizeof(struct block_iq1_s) == 50, "layout");
_Static_assert(sizeof(struct block_iq1_m) == 56, "layout");
_Static_assert(sizeof(struct block_iq4_nl) == 18, "layout");
_Static_assert(sizeof(struct block_iq4_xs) == 136, "layout");
_Static_assert(sizeof(struct block_tq1_0) == 54, "layout");
_Static_assert(sizeof(struct block_tq2_0) == 66, "layout");
_Static_assert(sizeof(struct block_mxfp4) == 17, "layout");
_Static_assert(sizeof(struct block_nvfp4) == 36, "layout");
_Static_assert(sizeof(struct block_q1_0) == 18, "layout");
_Static_assert(sizeof(struct block_q2_0) == 18, "layout");

/* The 16 levels of IQ4_NL and IQ4_XS, ascending; of E2M1 times two (sign in bit 3). */
extern const int8_t kvalues_iq4nl[16];
extern const int8_t kvalues_e2m1x2[16];
