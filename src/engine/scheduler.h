/* All sequences of a model in one batch (continuous batching, Yu et al., OSDI 2022): each step
 * feeds one token of every sequence that writes and a piece of the prompts that are being read.
 *
 * One thread owns engine, cache and sequences.  Its round:
 *
 *   those who are cancelled leave -> those who wait begin, in fair turns -> a step -> events
 *
 * What a step may take is limited by what it would take without the prompts' rows (step_cost.h), so
 * that a long prompt does not hold up those who write; while nobody writes, prompts get all.
 *
 * When the cache's pages are short, the youngest sequence gives its own back and reads its text
 * again later. */
#pragma once

#include "engine/decode.h"
#include "engine/embed.h"

struct scheduler;

struct sched_text {
    const int32_t *tok;
    int n;
};

struct sched_job;

/* Classes take turns, too: of 21 that begin while all three wait 16 are high, 4 normal and 1 low,
 * however many users wait in one. */
enum sched_class { SCHED_NORMAL, SCHED_HIGH, SCHED_LOW, SCHED_CLASSES };

/* Called on the scheduler's thread, without a lock.  Nothing is called after `done`. */
struct sched_events {
    /* As decode_event_fn, of one choice; st is that of its answer so far. */
    int (*event)(struct sched_job *j, int choice, const struct decode_event *ev,
                 const struct decode_stats *st);
    /* A choice is complete: also of one that never began (all zero, cancelled). */
    void (*finish)(struct sched_job *j, int choice, const struct decode_stats *st);
    void (*vector)(struct sched_job *j, int choice, const float *v, int n_embd);
    /* e->code ERR_NONE: well.  The job's memory is the owner's again. */
    void (*done)(struct sched_job *j, const struct err *e);
};

/* A piece of work, in its owner's memory: answers to one prompt, or vectors of texts. */
struct sched_job {
    const struct decode_request *answer; /* [n], borrowed; their prompts are equal; or NULL: */
    const struct sched_text *text;       /* [n], borrowed, to embed */
    int n;
    bool unscaled; /* vectors as the model gives them */
    uint64_t user; /* whose turn it takes; turns are fair between users, FIFO within one */
    enum sched_class class;
    const struct adapter *adapter;
    uint64_t scope; /* of the prefix cache */
    const struct sched_events *on;

    /* The scheduler's. */
    struct sched_job *next;
    uint64_t turn;
    int n_begun, n_ended;        /* choices */
    volatile int stop;           /* atomic */
    int paused;                  /* atomic */
    int64_t submit_ns, begin_ns; /* begin_ns: of the first choice, 0 before */
    struct err err;
};

struct sched_opts {
    struct engine *engine;
    int n_parallel;          /* sequences in a step */
    struct session *draft;   /* of a draft model, or NULL; borrowed */
    void (*told)(void *ctx); /* after the events of each round, or NULL */
    void *told_ctx;
};

struct scheduler *sched_new(const struct sched_opts *o, struct err *e);
/* Cancels all and waits for the last `done`.  Accepts NULL. */
void sched_free(struct scheduler *s);

/* The rest may be called from any thread. */
void sched_submit(struct scheduler *s, struct sched_job *j);
void sched_cancel(struct scheduler *s, struct sched_job *j); /* not after done */
void sched_pause(struct scheduler *s, struct sched_job *j, bool paused);

bool sched_stopped(const struct sched_job *j); /* was it cancelled, or has it failed? */

struct sched_load {
    int n_running, n_waiting; /* sequences and texts in the batch; jobs that have not begun */
    uint64_t kv_bytes;        /* of pages in use, those of the prefix cache included */
};
struct sched_load sched_load(struct scheduler *s);
