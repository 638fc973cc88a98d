/* A team of worker threads that run one function together (SPMD): the same code, each worker its
 * own share, a barrier after each op.  The caller of team_run is worker 0, so a team of one has no
 * threads at all. */
#pragma once

#include <stddef.h>
#include <stdint.h>

#include "base/err.h"

struct worker {
    _Alignas(64) int id; /* 0..n-1; a cache line of its own: workers count shares in it */
    int n;               /* that take part in this run */
    struct team *team;
    int n_item;       /* of the current team_share */
    unsigned share;   /* counts the calls of team_share */
    int64_t stall_ns; /* of this run: spent waiting longer than a barrier should take */
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
size_t team_scratch_bytes(const struct team *t); /* of all workers and the shared one */

/* Worker i runs on processor cpu[i % n_cpu] and nowhere else; of the callers of team_run, who are
 * worker 0, this holds during the run only.  Not while the team runs. */
int team_pin(struct team *t, const short *cpu, int n_cpu, struct err *e);

/* Run fn(worker, arg) on every worker and return when all are done.  Not reentrant; the workers
 * sleep in between. */
void team_run(struct team *t, team_fn *fn, void *arg);

/* The same on workers 0..n-1 only, 1 <= n <= team_size(); the others stand aside. */
void team_run_on(struct team *t, int n, team_fn *fn, void *arg);

/* As team_run, for work that comes again and again: `kind` says which runs take equally long (rows
 * of a batch).  Beside a busy neighbour fewer workers may be faster, as a worker that waits for a
 * processor makes all wait; then fewer run it (base/pace.h). */
void team_run_paced(struct team *t, team_fn *fn, void *arg, int kind);

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

/* Items drawn from ranges that everybody may help with: for work whose cost is uneven, or on a
 * machine that is not empty.  Every worker of the run calls team_share with the same n_item
 * (0..2^24-1), then draws until there is nothing left.  Each begins with an equal contiguous range
 * and draws runs from its head, large ones first; whoever has finished takes half of what another
 * has left, also when that one has not come to start yet.  No barrier is needed before, one is
 * after. */
void team_share(struct worker *w, int n_item);
int team_draw(struct worker *w, int *n); /* first of *n items, or -1 */
