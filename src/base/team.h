/* A team of worker threads that run one function together (SPMD): the same code, each worker its
 * own share, a barrier after each op.  The caller of team_run is worker 0, so a team of one has no
 * threads at all. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct worker {
    int id, n; /* 0..n-1 of n */
    struct team *team;
    uint8_t *scratch; /* own, 64-byte aligned; see team_reserve */
    uint8_t *shared;  /* the same for all workers of the team, 64-byte aligned */
    size_t scratch_bytes, shared_bytes;
};

typedef void team_fn(struct worker *w, void *arg);

/* Start n threads in all (n-1 new ones), 1..512. */
struct team *team_new(int n, struct err *e);
void team_free(struct team *t);
int team_size(const struct team *t);

/* Grow each worker's scratch and the shared scratch to at least these sizes.  Their contents are
 * lost.  Not while the team runs.  Decode must not need it. */
int team_reserve(struct team *t, size_t scratch_bytes, size_t shared_bytes, struct err *e);

/* Run fn(worker, arg) on every worker and return when all are done.  Not reentrant; the workers
 * sleep in between. */
void team_run(struct team *t, team_fn *fn, void *arg);

/* Wait until every worker of the team is here.  Spins briefly, then sleeps. */
void team_barrier(struct worker *w);

/* The worker's share [*lo, *hi) of n items in units of `grain` items: contiguous, static, the
 * same on every call with the same arguments. */
static inline void team_range(const struct worker *w, int n, int grain, int *lo, int *hi) {
    const int64_t units = (n + grain - 1) / grain;
    const int64_t a = units * w->id / w->n * grain, b = units * (w->id + 1) / w->n * grain;
    *lo = (int)(a < n ? a : n);
    *hi = (int)(b < n ? b : n);
}

/* Shared work counter: set to 0 by one worker before a barrier, then drawn from by all.
 * `slot` 0..TEAM_COUNTERS-1; ops that follow each other use different slots. */
enum { TEAM_COUNTERS = 4 };
void team_counter_reset(struct worker *w, int slot);
int team_counter_next(struct worker *w, int slot); /* 0, 1, 2, ... over the whole team */
