/* Importance values: for each column of a weight matrix the mean square of the activations it met
 * while a calibration text ran.  Read from llama.cpp's files: the older binary one (.dat) and the
 * GGUF one. */
#pragma once

#include <stdint.h>

#include "base/err.h"

struct imatrix;

/* PATH may hold either format.  Every value is checked to be finite and >= 0.  Errors:
 * ERR_NOT_FOUND, ERR_IO, ERR_FORMAT, ERR_NOMEM. */
struct imatrix *imatrix_open(const char *path, struct err *e);
void imatrix_close(struct imatrix *m);

int imatrix_n_entry(const struct imatrix *m);
int imatrix_n_chunk(const struct imatrix *m); /* of the calibration text; 0 when unknown */

/* The values of a tensor, [*n] = [matrices][columns], valid until imatrix_close; NULL when there
 * are none. */
const float *imatrix_find(const struct imatrix *m, const char *tensor, int64_t *n);
