/* The tensor element types of GGUF: ids and block geometry, nothing else.  Here rather than in
 * quant/ because the file reader needs the sizes to check offsets. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* Values are the file format's. */
enum qtype {
    QT_F32 = 0,
    QT_F16 = 1,
    QT_Q4_0 = 2,
    QT_Q4_1 = 3,
    QT_Q5_0 = 6,
    QT_Q5_1 = 7,
    QT_Q8_0 = 8,
    QT_Q2_K = 10,
    QT_Q3_K = 11,
    QT_Q4_K = 12,
    QT_Q5_K = 13,
    QT_Q6_K = 14,
    QT_IQ2_XXS = 16,
    QT_IQ2_XS = 17,
    QT_IQ3_XXS = 18,
    QT_IQ1_S = 19,
    QT_IQ4_NL = 20,
    QT_IQ3_S = 21,
    QT_IQ2_S = 22,
    QT_IQ4_XS = 23,
    QT_I8 = 24,
    QT_I16 = 25,
    QT_I32 = 26,
    QT_I64 = 27,
    QT_F64 = 28,
    QT_IQ1_M = 29,
    QT_BF16 = 30,
    QT_TQ1_0 = 34,
    QT_TQ2_0 = 35,
    QT_MXFP4 = 39,
    QT_NVFP4 = 40,
    QT_Q1_0 = 41,
    QT_Q2_0 = 42,
    QT_COUNT = 43, /* ids below it that are not named above were removed from the format */
};

struct qtype_geom {
    const char *name; /* upper case, as users write it: "Q4_K"; NULL for a removed id */
    int block;        /* values in a block */
    int block_bytes;  /* bytes of a block */
};

/* Geometry of a type id read from anywhere; NULL when this build does not know it. */
const struct qtype_geom *qtype_geom(uint32_t id);

/* "Q4_K", or "?" for an unknown id. */
const char *qtype_name(uint32_t id);

/* The id of a name, case-insensitive; -1 when unknown. */
int qtype_by_name(const char *name);

/* Bytes of a row of n values; n must be a multiple of the block (asserted). */
size_t qtype_row_bytes(enum qtype t, int n);
