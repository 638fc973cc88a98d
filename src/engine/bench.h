/* Measuring a model on this machine: prefill, decode, load, memory, and the limits beside them. */
#pragma once

#include "engine/engine.h"
#include "engine/limits.h"

struct bench_opts { /* all filled by the caller */
    int n_prefill;  /* tokens of the prompt; 0: not measured */
    int n_decode;   /* by each sequence; 0: not measured, -1: 128, but 0 of an embedding model */
    int n_parallel; /* sequences that decode together, 1.. */
    int n_reps;     /* repetitions, 1..BENCH_MAX_REPS; the median counts */
    int depth;      /* tokens already in each context before a measurement starts */
    int n_threads, n_batch;                    /* 0: the engine's defaults */
    enum qtype kv_type;                        /* of K and V */
    const volatile int *stop;                  /* polled between batches; or NULL */
    void (*progress)(void *ctx, double share); /* 0..1; or NULL */
    void *ctx;
};

enum { BENCH_MAX_REPS = 100 };

/* What bounds prefill: arithmetic as the weights' type allows, or, of few tokens, reading. */
enum bench_bound { BENCH_INT8, BENCH_INT16, BENCH_F32, BENCH_READ };

struct bench_result {
    char arch[32];
    int n_threads, n_reps, n_decode; /* as used */
    uint64_t file_bytes;
    double load_s;         /* opening the model */
    double first_token_s;  /* from the start of opening to the prompt's logits, once, cold */
    size_t peak_rss_bytes; /* after load, prefill and decode, before the limits are measured */
    double prefill_tps[BENCH_MAX_REPS]; /* [n_reps] in order; all sequences together */
    double decode_tps[BENCH_MAX_REPS];
    double prefill_median_tps, decode_median_tps; /* 0: not measured */

    struct limits limits;
    size_t weight_bytes;   /* read for each decoded token (or batch of them) */
    size_t kv_token_bytes; /* one token in the cache */
    double flops_per_token;
    enum bench_bound prefill_bound;
    double prefill_flops; /* for the whole prompt: the head once */
    double prefill_limit_tps, decode_limit_tps;
    double prefill_ratio, decode_ratio; /* measured / limit */
};

/* Opens PATH, measures, closes.  ERR_CANCELLED when stopped. */
int bench_run(const char *path, const struct bench_opts *o, struct bench_result *r, struct err *e);
