/* Inside gen_local: a task from its request to its events.
 *
 *   gen_local.c     the gen and its table; a thread that reads requests, one after the other
 *   local_prompt.c  request -> tokens, cut where they do not fit
 *   local_ops.c     operations that need no scheduler
 *   local_task.c    request -> job of the scheduler -> events
 *
 * Prompts are made on a thread of their own: a long text, a template or a grammar must not hold up
 * the sequences of others. */
#pragma once

#include <pthread.h>

#include "engine/gen_priv.h"
#include "engine/gen_request.h"
#include "engine/scheduler.h"

enum { PENDING_IDS = 64 /* tokens whose text is held back */ };

/* One answer. */
struct choice {
    int32_t id[PENDING_IDS]; /* [n_id] tokens that no text has come of yet */
    int n_id;
    json_t *logprobs; /* of them, when asked for */
};

struct task {
    struct gen_task base;
    struct task *next; /* in the queue of requests */
    gen_event_fn *fn;
    void *ctx;
    struct gen_request q;
    struct err err; /* of the request, found while it was read */
    int64_t start_ns;
    bool submitted; /* to the scheduler; under the gen's lock, like the rest */
    bool stop, paused;

    struct sched_job job;
    struct gen_stats all;
    bool prompt_told;

    /* An answer's. */
    struct ids prompt;
    struct decode_request *answer; /* [q.n], owned */
    struct choice *choice;         /* [q.n], owned */

    /* Texts to embed; of a rerank the query first. */
    struct ids *input;       /* [n_input], owned, with their texts */
    struct sched_text *text; /* [n_input], owned */
    int *truncated;          /* [n_input], owned */
    int n_input;
    float *vector; /* rerank: [n_input][n_embd], owned; embed: [n_embd], for fewer dimensions */
};

struct local {
    struct gen base;
    struct engine *engine;
    struct engine *draft_engine; /* or NULL */
    struct session *draft;       /* or NULL */
    struct scheduler *sched;
    void (*told)(void *ctx);
    void *told_ctx;
    uint8_t secret[16]; /* tenants' scopes cannot be guessed */

    pthread_t thread;
    bool started;
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool closing;
    struct task *first, **last; /* requests that are to be read */
    int n_request;              /* of them, with the one being read */
};

/* ---- local_prompt.c ---- */

/* The prompt of t->q into t->prompt, cut when it does not fit (t->all.n_truncated). */
int local_prompt(struct local *g, struct task *t, struct err *e);
/* The texts to embed into t->input. */
int local_inputs(struct local *g, struct task *t, struct err *e);

/* ---- local_ops.c ---- */

json_t *local_tokenize(struct local *g, const struct gen_request *q, struct err *e);
json_t *local_detokenize(struct local *g, const struct gen_request *q, struct err *e);
json_t *local_render(struct local *g, struct task *t, struct err *e);
json_t *local_rank(const float *vector, int n, int n_embd); /* row 0 is the query's */

/* ---- local_task.c ---- */

struct task *local_task_new(struct local *g, const json_t *request, gen_event_fn *fn, void *ctx);
/* Make the task's job, or answer it at once.  1: t->job is ready; else it has ended and is gone. */
int local_task_prepare(struct local *g, struct task *t);
/* GEN_END, and free it. */
void local_task_end(struct local *g, struct task *t, const struct err *e);
void local_task_cancelled(struct local *g, struct task *t);
