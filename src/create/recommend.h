/* Choosing a model: the catalogue set against a memory, a context and a machine's bandwidth. */
#pragma once

#include "create/catalogue.h"
#include "engine/memory.h"

/* Of the measured read bandwidth, what decode reaches: 59..75 % were measured on Xeons
 * (docs/STATUS.md). */
#define RECOMMEND_EFFICIENCY 0.65

struct recommend_opts {
    unsigned task;             /* enum catalogue_task; 0: chat */
    uint64_t memory_bytes;     /* that a model may need */
    struct engine_opts engine; /* n_ctx (0: the default), n_threads (> 0), types of the cache */
    double read_bps;           /* measured: engine/limits.h; 0: no speed is told */
};

struct recommendation {
    const struct catalogue_model *m;
    int mix; /* the best that fits; if none does, the smallest */
    bool fits;
    int n_ctx;
    struct catalogue_size size;
    struct memory_need need;
    double decode_tps; /* foretold with the context half full; 0: an embedding model, or unknown */
    double score;
};

/* The models for the task that were trained for the context, each with the best file type that
 * fits: those that fit first, then the better ones first.  Better is more parameters, less lost to
 * quantization, a younger model, one made for the task; one that answers slower than reading speed
 * (5 tokens/s) counts less.  free(*out).  ERR_LIMIT when no model was trained for the context;
 * ERR_USAGE. */
int recommend(const struct recommend_opts *o, struct recommendation **out, int *n, struct err *e);
