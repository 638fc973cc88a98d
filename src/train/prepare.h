/* Any training data to one form: {"messages"} (or {"text"}, or {"prompt", "chosen", "rejected"}),
 * without what is broken or comes twice, in two files for training and validation. */
#pragma once

#include "train/data.h"

struct prepare_opts {
    struct str system;       /* for examples without a system message; may be empty */
    double split;            /* this part of the examples, by prompts: 0 <= split < 1 */
    uint64_t seed;           /* chance of the split */
    data_issue_fn *on_issue; /* of lines that are left out; or NULL */
    void (*on_progress)(void *ctx, uint64_t done_bytes, uint64_t all_bytes); /* or NULL */
    void *ctx;                                                               /* of both */
    const volatile int *stop;                                                /* or NULL */
};

struct prepare_result {
    struct data_counts count; /* of IN */
    int n_train, n_valid;     /* examples written */
};

/* Read IN, write OUT and, with a split, VALID_OUT.  The files come whole or not at all (written
 * beside their place, fsynced, renamed); what had their names before is replaced, but never IN:
 * ERR_USAGE.  Else errors as of dataset_read with skip_bad; ERR_IO. */
int prepare_file(const char *in, const char *out, const char *valid_out,
                 const struct prepare_opts *o, struct prepare_result *r, struct err *e);
