/* A training job as the server hands it to the process that does it (create/tune_child.h): one line
 * of JSON.  Data only: names of models, digests of blobs, settings; no path but the store's own. */
#pragma once

#include <jansson.h>

#include "base/buf.h"
#include "store/digest.h"
#include "store/modelfile.h"
#include "store/name.h"

struct tune_order {
    struct name name;      /* of the model to make */
    struct modelfile m;    /* FROM, and what else the model gets; owned */
    struct digest data;    /* blobs of examples */
    struct digest valid;   /* or empty */
    json_t *options;       /* of tune_set(): {"lr": "1e-4"}, texts; owned */
    const char *merge;     /* create_opts.merge; m's */
    bool restart;          /* not from a checkpoint */
    int n_threads;         /* the process's own from here on: 0 in what identifies the job */
    uint64_t memory_bytes; /* that it may plan with; 0: no limit */
    const char *store;     /* root; m's, or the caller's */
};

/* Append the line with its end.  ERR_FORMAT: a text that is no UTF-8; ERR_NOMEM. */
int tune_order_write(const struct tune_order *o, struct buf *out, struct err *e);

/* The order in such a line.  ERR_FORMAT; tune_order_fini also then. */
int tune_order_read(struct str line, struct tune_order *o, struct err *e);
void tune_order_fini(struct tune_order *o);
