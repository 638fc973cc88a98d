/* Inside the scheduler: scheduler.c has the thread, the queue and who begins; sched_turn.c whose
 * turn it is; sched_step.c what goes into a step; sched_embed.c the same for texts that become
 * vectors. */
#pragma once

#include <pthread.h>

#include "engine/scheduler.h"
#include "engine/sequence.h"

enum {
    SCHED_TEXTS = 64,       /* texts in a batch that makes vectors */
    SCHED_PARKED = 4,       /* times n_parallel: sequences that may wait for their readers */
    SCHED_FULL_ROWS = 128,  /* rows of prompts in a step that are about as fast, each, as more */
    SCHED_HOLD_ROWS = 2048, /* of prompts that a sequence with one token waits for, at most */
    SCHED_PASSED = 4,       /* times that a long prompt lets short ones pass */
};

struct slot {
    struct session *s;  /* owned; its cache is kept when the slot is free, for who begins alike */
    struct sequence *q; /* owned; NULL: the slot is free */
    struct sched_job *job;
    int choice;
    int64_t first_ns; /* when its first token was there, 0 before */
    bool parked;      /* its reader is slow, and it has left its place to others */
    bool stalled;     /* pages are short: it has given back its own */
    bool begun;       /* to read, what was in the caches is there */
    int passed;       /* steps in which shorter prompts went first */
    int n_row;        /* in the step under way; 0: not in it */
    int n_out;
    bool reads; /* in the step under way, a prompt */
    bool failed;
    struct err err;
};

struct text_slot {
    struct embedding x;
    struct sched_job *job; /* NULL: free */
    int choice, n_out;
};

/* By class (sched_turn.c). */
struct sched_turns {
    uint64_t user[SCHED_CLASSES];  /* turn of who began last */
    uint64_t class[SCHED_CLASSES]; /* when it is the class's turn again */
    uint64_t now;                  /* when the class began that began last */
};

struct scheduler {
    struct sched_opts o;
    struct kv_pool *kv;
    struct step_cost *cost;

    pthread_t thread;
    pthread_mutex_t lock;
    pthread_cond_t change;
    bool started, closing; /* closing: under the lock, like what follows */
    struct sched_job *inbox, **inbox_end;
    struct sched_load load;
    bool stirred; /* something was submitted, cancelled, paused, resumed */

    /* The thread's own. */
    struct sched_job *job; /* list of all that have not ended */
    struct sched_turns turns;
    struct slot *slot; /* [n_slot] */
    int n_slot;
    struct slot **age; /* [n_age] of slots in use, the oldest first */
    int n_age;
    const struct slot *drafts; /* who has the draft model's session */
    unsigned n_ended;          /* counts choices that ended: those who wait try again */
    unsigned n_ended_seen, n_ended_woken;
    struct text_slot *text; /* [SCHED_TEXTS] */
    int n_text;
    float *vector; /* [n_embd] */

    /* The step under way. */
    struct batch_seq *batch;   /* [n_slot or SCHED_TEXTS] */
    struct slot **fed, **plan; /* [n_slot] */
    struct text_slot *text_fed[SCHED_TEXTS];
    unsigned text_first; /* turns among the texts */
    int n_fed, n_row, n_out, n_prompt_row;
};

bool sched_paused(const struct sched_job *j);

/* ---- sched_turn.c ---- */

/* A new job, not in the list yet, gets its turn. */
void sched_take_turn(struct scheduler *s, struct sched_job *j);
/* Whose turn is it, of those who wait for answers, or for vectors?  NULL: nobody's. */
struct sched_job *sched_next_job(const struct scheduler *s, bool answers);
/* A job of that class and turn has begun a choice. */
void sched_turn_taken(struct scheduler *s, enum sched_class c, uint64_t turn);

/* ---- scheduler.c ---- */

/* A choice of j is complete, and maybe the job. */
void sched_choice_ended(struct scheduler *s, struct sched_job *j);
/* The job ends with this error, all of its choices. */
void sched_job_failed(struct sched_job *j, const struct err *e);

/* The slot's sequence is done, has failed, or is cancelled. */
void sched_slot_end(struct scheduler *s, struct slot *t);

/* Look for what t reads with the other choices of its job, and in the caches. */
void sched_look_up(struct scheduler *s, struct slot *t);

/* Sequences that would be part of a step now. */
bool sched_step_due(const struct scheduler *s);
void sched_step(struct scheduler *s);

/* Pages for `t` (NULL: for a text) from a session that is idle or the youngest sequence that is not
 * in the step; false: there is none. */
bool sched_make_pages(struct scheduler *s, const struct slot *t);

/* A text of j begins; false: not now. */
bool sched_text_begin(struct scheduler *s, struct sched_job *j);
void sched_text_end(struct scheduler *s, struct text_slot *t);
bool sched_embed_due(const struct scheduler *s);
void sched_embed_step(struct scheduler *s);
