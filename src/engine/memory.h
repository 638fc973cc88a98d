/* What a model needs in memory, by one formula: the loader takes its sizes from here, and what a
 * model would need is known from its shape before there is a file.
 *
 *     weights   the file, mapped: tensors and metadata
 *     vocab     the program, and the tables made of the vocabulary
 *     kv        pages for (n_ctx + 2 pages) * n_parallel tokens, or n_kv
 *     compute   row buffers for n_batch tokens, logits, the workers' scratch
 *
 * kv and compute are reserved: an answer shorter than the context touches less of them. */
#pragma once

#include "engine/engine.h"
#include "model/hparams.h"

/* What the formula asks of a model. */
struct memory_model {
    const struct hparams *hp;
    bool encoder;        /* model_is_embedding() */
    bool positions_end;  /* model_positions_end() */
    int n_text;          /* entries of the vocabulary */
    uint64_t file_bytes; /* tensors and metadata */
};

/* What options come to for a model. */
struct memory_sizes {
    int n_ctx, n_batch;
    int n_out;      /* rows whose logits one batch may return */
    int n_vocab;    /* ids that have both a text and a logit */
    int spare_rank; /* of adapters that may come later */
    struct kv_opts kv;
};

struct memory_need {
    uint64_t weights, vocab, kv, compute;
    size_t kv_token_bytes; /* one token in the cache */
};

/* ERR_USAGE when the context is too large for that many sequences. */
int memory_sizes(const struct memory_model *m, const struct engine_opts *o, struct memory_sizes *s,
                 struct err *e);

/* For the forward: max_rank is the adapter's, or 0. */
struct forward_opts memory_forward_opts(const struct memory_sizes *s, int max_rank);

/* Of a model without an adapter on n_threads of the processor.  ERR_UNSUPPORTED when the cache
 * cannot have that type. */
int memory_need(const struct memory_model *m, const struct memory_sizes *s, int n_threads,
                struct memory_need *out, struct err *e);

/* What an opened model did take; its vocab is the same estimate. */
void memory_taken(struct engine *g, struct memory_need *out);

uint64_t memory_total(const struct memory_need *n);
