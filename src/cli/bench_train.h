/* `cria bench MODEL --train N`: what a step of training costs. */
#pragma once

#include <stdbool.h>

#include "base/err.h"

struct bench_train_opts {
    int n_tok;      /* of the sequence */
    int n_thread;   /* 0: as doctor says */
    int n_reps;     /* the median counts */
    int rank;       /* of the adapter; 0: 16 */
    int kept;       /* layers whose activations are kept; -1: all */
    bool full, f32; /* all weights; no bfloat16 products */
    bool json;
};

int bench_train(const char *name, const char *path, const struct bench_train_opts *o,
                struct err *e);
