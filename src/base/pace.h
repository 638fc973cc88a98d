/* How many workers of a team take part in a run.  With one thread a core, all of them is right on a
 * quiet machine.  Beside a busy foreign thread it is not: the worker that shares its core is off
 * it for milliseconds at a time, and at every barrier the others wait for it.  Giving up that core
 * then costs less than waiting.
 *
 * A policy without threads or clock of its own: the team reports how long a run took and how much
 * of that was waiting, and asks before the next. */
#pragma once

#include <stdint.h>

struct pace {      /* zero: everybody takes part */
    int out;       /* workers that stand aside */
    int kind;      /* of the runs that the figures are from */
    int n_run;     /* of that kind, with `out` aside */
    double run_ns; /* mean time of a run, recent ones weigh more */
    double stall;  /* share of it that was waiting */
    int trial;     /* +1 or -1: `out` was changed by this to see what it brings; 0: it was not */
    double was_ns; /* trial: run_ns before */
    int failed;    /* the last trial if it was taken back, else 0 */
    int n_failed;  /* trials in a row that brought nothing: each doubles the wait */
    int64_t now_ns, verdict_ns; /* start of the current run; end of the last trial */
};

/* Workers for the next run, 1..n; runs of equal `kind` do equal work. */
int pace_workers(struct pace *p, int n, int kind, int64_t now_ns);

/* That run is over: its time, and the most that a worker stood still in it. */
void pace_done(struct pace *p, int64_t run_ns, int64_t stall_ns);
