/* Threads that run handlers.  Kinds, so that pulls which take an hour, and bodies of megabytes,
 * leave room for small requests to models: each kind has its own queue and its own bound of
 * threads, which come when they are needed and go when they were idle for a while. */
#pragma once

#include "base/err.h"

enum work_kind {
    WORK_QUICK, /* parses, submits, answers */
    WORK_LARGE, /* the same of large bodies: a part of the processors at most */
    WORK_SLOW,  /* disks and networks: the routes that change the store */
};

typedef void work_fn(void *arg);

/* A piece of work, part of what it works on; one submission at a time. */
struct work {
    struct work *next;
    work_fn *fn;
    void *arg;
};

struct workers;

struct workers *workers_new(struct err *e);
/* Any thread; never blocks, never fails.  Once stopped it runs the job itself. */
void workers_submit(struct workers *w, enum work_kind kind, struct work *job);
/* Lets what was submitted end. */
void workers_stop(struct workers *w);
/* Nobody submits any more.  Accepts NULL. */
void workers_free(struct workers *w);
