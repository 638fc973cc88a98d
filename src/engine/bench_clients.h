/* Measuring a model under load: clients that ask at the same time, through the door that a server
 * uses (gen.h), each with a prompt of its own; and what a long prompt costs those who are being
 * answered when it arrives. */
#pragma once

#include "engine/engine.h"

enum { BENCH_MAX_CLIENTS = 64 };

struct bench_clients_opts { /* all filled by the caller */
    int n_clients;          /* 1..BENCH_MAX_CLIENTS */
    int n_prompt, n_predict;
    int n_late;               /* tokens of a prompt that arrives while the others write; 0: none */
    int n_threads, n_batch;   /* 0: the engine's defaults */
    enum qtype kv_type;       /* of K and V */
    const volatile int *stop; /* or NULL */
};

struct bench_clients {
    double tps; /* of all together, from the first request to the last token */
    double first_median_s, first_worst_s;     /* tokens */
    double interval_median_s, interval_p95_s; /* between tokens, once all have their first */
    double late_median_s, late_p95_s;         /* the same while the late prompt was read */
    double late_first_s;                      /* its own first token */
};

/* Opens PATH once; one round after a warming one. */
int bench_clients_run(const char *path, const struct bench_clients_opts *o, struct bench_clients *r,
                      struct err *e);
