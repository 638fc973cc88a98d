/* A base model and an adapter become one model: W' = W + scale * B A for every weight that has a
 * pair, everything else as in the base. */
#pragma once

#include "base/err.h"
#include "engine/quantize.h"

struct merge_opts {
    const char *type; /* file type of the result ("F16", "Q8_0", "Q4_K_M"); NULL or "": every weight
                       * keeps its own, those without a pair their bytes as well */
    float scale;      /* of the adapter, beside its own; 0 stands for 1 */
    int n_threads;    /* 0: cores_default_threads() */
    quantize_progress_fn *progress; /* bytes of the base that are done; nonzero stops; or NULL */
    void *ctx;
};

struct merge_report {
    int n_merged;     /* weights with a pair */
    int n_requantize; /* of all that are encoded anew, those that were quantized: errors add up */
    double rmse;      /* of what is encoded anew, by its new type */
};

/* Write the GGUF file OUT, which appears only when it is whole, from the files BASE and ADAPTER.
 * Sums are floats; memory is bounded by the adapter, not by the base, and the bytes do not depend
 * on the number of threads.  The adapter's lineage (cria.train.*) goes into the result.  r may be
 * NULL.
 *
 * ERR_USAGE: no such type (lists them); ERR_FORMAT: a pair of a tensor that the base has not, or of
 * another shape; another architecture; ERR_UNSUPPORTED: stacks of experts, the embedding, a type
 * that this build does not make; errors of the quantizer. */
int merge_adapter(const char *base, const char *adapter, const char *out,
                  const struct merge_opts *o, struct merge_report *r, struct err *e);
