/* A case of reference training data: CASE.json, which names a model, arrays and parameters, and the
 * raw arrays beside it in CASE.bin; and the folder that gets what we compute. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "base/err.h"
#include "train/batch.h"

struct train_case {
    json_t *json;     /* owned */
    struct buf bytes; /* of the .bin */
    char *folder;     /* of CASE.json, with its slash; owned */
    const char *out;  /* borrowed */
    json_t *scalars;  /* of the result; owned */
};

int train_case_open(struct train_case *c, const char *path, const char *out, struct err *e);
void train_case_close(struct train_case *c);

const char *train_case_kind(const struct train_case *c);
const char *train_case_model(const struct train_case *c); /* its name */

/* A number of "params"; dflt when it is not there. */
double train_case_param(const struct train_case *c, const char *name, double dflt);
const char *train_case_word(const struct train_case *c, const char *name); /* or NULL */

/* Array NAME of that type ("i32", "f32"): *n values, borrowed; NULL with *e. */
const void *train_case_array(const struct train_case *c, const char *name, const char *type,
                             size_t *n, struct err *e);

/* The batch of arrays PREFIXtokens, PREFIXLABELS, PREFIXseq_start; borrowed from the case. */
int train_case_batch(const struct train_case *c, const char *prefix, const char *labels,
                     struct batch *b, struct err *e);

/* Write x [n] as raw floats to OUT/NAME.f32, / as __. */
int train_case_write(const struct train_case *c, const char *name, const float *x, size_t n,
                     struct err *e);
int train_case_write_doubles(const struct train_case *c, const char *name, const double *x,
                             size_t n, struct err *e);

/* Note a scalar; a second one of the same name makes it a list when `list`. */
void train_case_scalar(struct train_case *c, const char *name, double x, bool list);
int train_case_finish(struct train_case *c, struct err *e); /* OUT/scalars.json */
