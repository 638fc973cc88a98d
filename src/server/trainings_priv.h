/* What the files of training jobs share.
 *
 *   trainings.c      the table: who starts, follows, lists, cancels
 *   training_run.c   one job: its thread, its process, its end */
#pragma once

#include <pthread.h>

#include "server/api.h"
#include "server/trainings.h"

enum { TRAINING_ID = 16 };

/* A request that waits for what the job says; it is owed its end. */
struct follower {
    struct follower *next;
    struct request *r;
    enum { FOLLOW_LINES, FOLLOW_END, FOLLOW_CANCEL } how;
};

enum training_state {
    TRAINING_STARTING, /* reads its data, plans; nobody has been told of success yet */
    TRAINING_RUNNING,
    TRAINING_FINISHED,
    TRAINING_FAILED,
    TRAINING_CANCELLED,
};

struct training {
    struct training *next; /* newest first */
    struct trainings *all;
    char id[TRAINING_ID + 1];
    struct tune_order o; /* owned */
    char *what;          /* owned; the order without what differs each time: two of the same */
    char model[NAME_TEXT];
    const char *from; /* o's */
    int64_t started_s;
    pthread_t thread;

    /* Under all->lock. */
    enum training_state state;
    bool cancelled; /* it was told to stop */
    bool over;      /* its thread touches it no more */
    bool joined;
    int fd, pid; /* of its process; -1, 0: none (any more) */
    int64_t step, steps;
    double epoch, loss, valid_loss, tps, left_s; /* NaN: not known */
    uint64_t memory_bytes;                       /* of the plan; 0: none yet */
    int64_t ended_s;
    struct err err;         /* why it failed */
    bool succeeded;         /* the process said so */
    json_t *said, *last;    /* owned: its lines but those of steps; the last of these, or NULL */
    struct follower *first; /* owned */
};

struct trainings {
    struct store *store;
    struct models *models;
    struct log *log;
    pthread_mutex_t lock;
    pthread_cond_t ended;  /* a job */
    struct training *list; /* owned */
    bool draining;
};

/* With the lock: the job as lists have it, new. */
json_t *training_json(const struct training *j);
bool training_ends(const struct training *j); /* it has its last state */
/* With the lock: begins r's stream with what it has said so far. */
void training_catch_up(const struct training *j, struct request *r);
/* With the lock: told to stop at its next step. */
void training_stop(struct training *j);

/* On the job's thread: from its start to its last state, when all that follow it have their end. */
void *training_run(void *training);
