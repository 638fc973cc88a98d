/* A GGUF model from another one, in other element types.  Two steps, so that a caller can show the
 * plan first: quantize_new decides, quantize_run converts.
 *
 * Memory is bounded by the number of threads, not by the model: tensors pass through in pieces of
 * some thousand values.  The result does not depend on the number of threads. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

#include "engine/mix.h"
#include "gguf/read.h"

struct gguf_writer;

/* What changes weights on their way, before they are encoded (create/merge.c). */
struct quantize_edit {
    void *ctx;
    /* What is to be done to this tensor, or NULL; what changes is encoded anew, though its type may
     * stay. */
    const void *(*find)(void *ctx, const struct gguf_tensor *t);
    /* Change values [col, col + n) of a row of it.  Any number of threads at once. */
    void (*row)(const void *what, int64_t row, int64_t col, int64_t n, float *values);
    /* Further keys of the result. */
    int (*keys)(void *ctx, struct gguf_writer *w, struct err *e);
};

enum { QUANTIZE_KEEP = -1 };

struct quantize_opts {
    int mix;                          /* mix_by_name(), or QUANTIZE_KEEP: all types stay */
    bool pure;                        /* the base type for every matrix */
    const char *imatrix_path;         /* NULL: none */
    const struct quantize_edit *edit; /* NULL: none; borrowed */
};

struct quantize_tensor {
    const struct gguf_tensor *src; /* borrowed from the quantizer */
    enum qtype type;               /* of the result */
    const void *edit;              /* what quantize_edit.find said */
    size_t n_bytes;                /* of the result */
    const float *weight;           /* [ne[2]][ne[0]] importance, or NULL; borrowed */
    double rmse, rms;              /* error against the source, and the source's own size; set by
                                    * quantize_run for tensors that are encoded anew, else 0 */
};

struct quantizer; /* used by one thread at a time */

/* Open IN and decide every tensor's type.  Errors: those of gguf_open and imatrix_open;
 * ERR_UNSUPPORTED for a matrix of integers; ERR_FORMAT for an imatrix of another model. */
struct quantizer *quantize_new(const char *in, const struct quantize_opts *o, struct err *e);
void quantize_free(struct quantizer *q);

struct quantize_summary {
    int n_tensor;
    int n_fallback;   /* rows that do not fill the type's blocks: another type */
    int n_requantize; /* sources that were quantized already: their error adds up */
    int n_unweighted; /* matrices that the imatrix does not know; 0 without one */
    int n_blind;      /* types below 2.4 bits without importance values: little is left */
    uint64_t in_bytes, out_bytes; /* of tensor data */
    double values;                /* how many are encoded anew */
    double rmse;                  /* over those; after quantize_run */
};
void quantize_summarize(const struct quantizer *q, struct quantize_summary *out);
const struct quantize_tensor *quantize_tensors(const struct quantizer *q); /* [n_tensor] */

/* Called between pieces with the bytes of input that are done; nonzero stops the run. */
typedef int quantize_progress_fn(void *ctx, double done_bytes);

/* Convert and write OUT, which appears only when it is whole and must be no file of the input.
 * Errors: ERR_FORMAT naming tensor and place of a value that is not finite or does not fit;
 * ERR_CANCELLED; ERR_IO (disk full: nothing is left behind). */
int quantize_run(struct quantizer *q, const char *out, int n_threads,
                 quantize_progress_fn *progress, void *ctx, struct err *e);
