/* Inside gen_local: a task from its request to its events.
 *
 *   gen_local.c     the gen and its table; which lane (lane.h) reads a request
 *   local_open.c    opening within a memory limit
 *   local_prompt.c  request -> tokens, cut where they do not fit
 *   local_ops.c     operations that need no scheduler
 *   local_task.c    request -> job of the scheduler
 *   local_strict.c  calls of strict tools, which a grammar holds once the model begins one
 *   local_answer.c  what the scheduler tells of an answer -> thinking, text, calls; grammars
 *
 * Prompts are made on threads of their own: a long text, a template or a grammar must not hold up
 * the sequences of others, nor requests that are read in no time. */
#pragma once

#include <pthread.h>

#include "engine/gen_priv.h"
#include "engine/gen_request.h"
#include "engine/lane.h"
#include "engine/scheduler.h"
#include "text/chat/answer.h"
#include "text/grammar/grammar.h"

enum {
    PENDING_IDS = 64, /* tokens whose text is held back */
    LOCAL_RULES = 2,  /* grammars that an answer may follow: of a call, of the format */
};

struct task;

/* One answer. */
struct choice {
    struct task *t;
    int index;
    int32_t id[PENDING_IDS]; /* [n_id] tokens that no text has come of yet */
    int n_id;
    json_t *logprobs;      /* of them, when asked for */
    struct answer *answer; /* owned; NULL: all is text */
    int n_call;
    struct acceptor *rule[LOCAL_RULES]; /* owned; NULL: none, or it does not fit any more */
    bool ruled;                         /* the rules have begun to hold */
    struct strict *strict;              /* owned, or NULL: local_strict.c */
};

/* Who reads a request. */
enum local_lane {
    LANE_QUICK,    /* little text, the model's own template */
    LANE_GRAMMAR,  /* little text, but a grammar must be made first: up to 0.3 s */
    LANE_TEMPLATE, /* little text, but the request's own template: up to 0.5 s */
    LANE_LARGE,    /* much text: seconds */
    N_LANE,
};

struct task {
    struct gen_task base;
    struct lane_job reading;
    enum local_lane lane;
    size_t n_bytes; /* about what its request takes in memory */
    gen_event_fn *fn;
    void *ctx;
    struct gen_request q;
    struct err err; /* of the request, found while it was read */
    int64_t start_ns;
    bool submitted;    /* to the scheduler; under the gen's lock, like the rest */
    volatile int stop; /* atomic: work.h looks at it, too */
    bool paused;

    struct sched_job job;
    struct gen_stats all;
    bool prompt_told;

    /* An answer's. */
    struct ids prompt;
    struct chat_template *own_template;   /* owned: of the request, or NULL */
    bool in_thinking;                     /* the prompt ends there */
    struct decode_request *answer;        /* [q.n], owned */
    struct choice *choice;                /* [q.n], owned */
    uint32_t *shown;                      /* owned, or NULL: decode_request.shown */
    struct grammar *grammar[LOCAL_RULES]; /* owned, or NULL */
    struct grammar *strict;               /* owned, or NULL: of calls the model begins */
    uint32_t *mask;                       /* [LOCAL_RULES][n_mask], owned, of whoever chooses */

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
    uint8_t secret[16];                  /* tenants' scopes cannot be guessed */
    char *parser;                        /* owned: the built-in name, or NULL */
    struct grammar_vocab *grammar_vocab; /* owned; made when the first grammar comes, under: */
    pthread_mutex_t vocab_lock;
    pthread_mutex_t adapter_lock; /* of whoever adds one */
    struct ids control;           /* tokens that are hidden unless an answer's marks */

    struct lane *lane[N_LANE];
    pthread_mutex_t lock; /* of what follows */
    volatile int closing; /* atomic: work.h looks at it, too */
    int n_request;        /* that are to be read or being read */
    size_t n_bytes;       /* of them */
};

static inline struct local *local_of(const struct gen *g) {
    return (struct local *)(uintptr_t)g;
}

/* ---- local_open.c ---- */

/* Engine, draft engine and g->base.info. */
int local_open(struct local *g, const char *path, const struct gen_opts *o, struct err *e);

/* ---- local_prompt.c ---- */

/* The prompt of t->q into t->prompt, cut when it does not fit (t->all.n_truncated). */
int local_prompt(struct local *g, struct task *t, struct err *e);
/* The texts to embed into t->input. */
int local_inputs(struct local *g, struct task *t, struct err *e);
/* The template that a request uses, or NULL with e. */
const struct chat_template *local_template(const struct local *g, const struct task *t,
                                           struct err *e);
/* Must the answer be, or end with, something that a grammar says? */
bool local_is_ruled(const struct gen_request *q);

/* ---- local_ops.c ---- */

json_t *local_tokenize(struct local *g, const struct gen_request *q, struct err *e);
json_t *local_detokenize(struct local *g, const struct gen_request *q, struct err *e);
json_t *local_render(struct local *g, struct task *t, struct err *e);
json_t *local_rank(const float *vector, int n, int n_embd); /* row 0 is the query's */

/* ---- local_answer.c ---- */

/* Parsers and grammars of t's choices, after the prompt is known; sets what they need in r. */
int local_answers(struct local *g, struct task *t, struct decode_request *r, struct err *e);
void local_choice_fini(struct choice *c);
/* The parser of choice c's answer, or NULL without e->code where all is text. */
struct answer *local_parser(struct local *g, struct task *t, struct err *e);

int local_event(struct sched_job *j, int choice, const struct decode_event *ev,
                const struct decode_stats *st);
void local_finish(struct sched_job *j, int choice, const struct decode_stats *st);

/* ---- local_strict.c ---- */

/* The grammar of t's strict tools into t->strict; stays NULL where none can hold. */
int local_strict_grammar(struct task *t, const struct answer *a, struct err *e);
/* What follows choice c's answer to hold its calls to t->strict.  local_strict_free it. */
struct strict *local_strict_new(struct local *g, struct task *t, struct err *e);
void local_strict_free(struct strict *w);
/* decode_request.choose of a choice with c->strict. */
int local_strict_choose(struct choice *c, struct sampler *s, const float *logits, int32_t *id,
                        struct err *e);

/* ---- local_task.c ---- */

struct task *local_task_new(struct local *g, const json_t *request, gen_event_fn *fn, void *ctx);
struct task *local_task_of(struct sched_job *j);
void local_tell(struct task *t, const struct gen_event *ev);
/* Make the task's job, or answer it at once.  1: t->job is ready; else it has ended and is gone. */
int local_task_prepare(struct local *g, struct task *t);
void local_task_cancelled(struct task *t);
