/* Block quantization: the trait table.  Decoding is exact to the reference's float32 values and
 * is what the scalar kernels use; encoders minimize (weighted) squared error.
 *
 * Block layouts: quant/blocks.h.  Sources of the formats are named in each family's file. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"
#include "base/qtype.h"

/* n values (a multiple of the block) from blocks to float. */
typedef void quant_decode_fn(const void *restrict blocks, float *restrict out, size_t n);

/* One row of n values to blocks.  weight: NULL, or [n] importance of each column, >= 0. */
typedef void quant_encode_fn(const float *restrict x, void *restrict blocks, size_t n,
                             const float *restrict weight);

struct quant_type {
    quant_decode_fn *decode; /* NULL: integers and F64, which are no weights */
    quant_encode_fn *encode; /* NULL: this build reads the type but does not make it */
    double bits;             /* per weight, block headers included */
};

/* Entry for a known type id (any QT_ value with a geometry). */
const struct quant_type *quant_type(enum qtype t);

/* Activations: rows of Q8_0-like and Q8_K-like blocks for integer dot products belong to the
 * kernels (cpu/act.h), not to files; they are not here. */
