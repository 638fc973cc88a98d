/* Requests to a gen (engine/gen.h) and what came of them. */
#pragma once

#include <pthread.h>

#include "engine/gen.h"

enum { TALK_CHOICES = 16, TALK_EVENTS = 4096 };

/* One task.  Written by the gen's thread until `ended`; read after talk_wait. */
struct talk {
    pthread_mutex_t lock;
    pthread_cond_t change;
    struct gen *gen;
    struct gen_task *task;

    enum gen_kind kind[TALK_EVENTS]; /* [n_event] */
    int n_event;
    struct buf text[TALK_CHOICES], thinking[TALK_CHOICES];
    int32_t id[TALK_CHOICES][TALK_EVENTS]; /* [n_id] */
    int n_id[TALK_CHOICES];
    int n_finish;
    enum gen_why why[TALK_CHOICES];
    struct buf stop[TALK_CHOICES];
    struct gen_stats prompt, choice[TALK_CHOICES], all;
    float *vector[TALK_CHOICES]; /* owned */
    int n_vector;
    json_t *calls;    /* [call] */
    json_t *result;   /* of GEN_RESULT, or NULL */
    json_t *logprobs; /* of all texts, one after the other */
    struct err err;
    bool ended;
    int64_t first_ns, end_ns; /* when the first text and the end came */
    int cancel_after;         /* texts; 0: never */
};

/* The request is JSON text with ' for ", made with a format as printf's. */
__attribute__((format(printf, 3, 4))) void talk_start(struct talk *t, struct gen *g,
                                                      const char *format, ...);
void talk_start_json(struct talk *t, struct gen *g, json_t *request); /* steals the request */
void talk_wait(struct talk *t);                                       /* fails after 60 s */
/* Until n events have come, or the end. */
void talk_wait_events(struct talk *t, int n);
int talk_n_events(struct talk *t);
void talk_fini(struct talk *t);

/* Start, wait, and expect it to end well. */
__attribute__((format(printf, 3, 4))) void talk(struct talk *t, struct gen *g, const char *format,
                                                ...);
