/* The files that a tokenizer learns from: plain text of any size, or examples (JSONL in the formats
 * of example.h), of which all texts count: roles, contents, reasoning, calls.  Examples that come
 * twice count once, as in training. */
#pragma once

#include "train/bpe_train.h"

struct corpus_opts {
    struct str system; /* for examples without a system message; may be empty */
    bool skip_bad; /* leave out and count lines of JSONL that are no examples, instead of failing */
    void (*on_progress)(void *ctx, uint64_t done_bytes, uint64_t all_bytes); /* or NULL */
    void *ctx;
    const volatile int *stop; /* or NULL */
};

struct corpus_stats {
    uint64_t n_bytes;    /* of text */
    int n_example;       /* 0: plain text */
    int n_skipped;       /* lines with skip_bad */
    uint64_t n_invalid;  /* stretches of plain text that hold wrong UTF-8, made U+FFFD */
    uint64_t invalid_at; /* offset of the first */
};

/* Add all texts of PATH to t and to *s.  A file is JSONL when its name says so or it begins with a
 * JSON object.  Errors of JSONL as of dataset_read(). */
int corpus_add(struct bpe_trainer *t, const char *path, const struct corpus_opts *o,
               struct corpus_stats *s, struct err *e);
