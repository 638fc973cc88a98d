/* Trials: when runs stall, one worker fewer is tried; when some stand aside, one more from time to
 * time.  What makes runs of the same kind faster is kept, else the trial is taken back and the next
 * one waits twice as long. */
#include "base/pace.h"

enum {
    TRIAL_RUNS = 4,                  /* of a kind, before and in a trial */
    WAIT_NS = 100 * 1000 * 1000,     /* between trials */
    MAX_DOUBLINGS = 5,               /* of that wait: 3 s */
    LONG_RUN_NS = 250 * 1000 * 1000, /* of these one tells enough */
};

static const double STALL_SHARE = 0.15; /* waiting: more is not the usual uneven end of an op */
static const double GAIN = 0.95; /* a trial that is kept takes at most this much of the time */

static void forget_runs(struct pace *p) {
    p->n_run = 0;
    p->run_ns = p->stall = 0;
}

static void begin_trial(struct pace *p, int by) {
    p->was_ns = p->run_ns;
    p->out += by;
    p->trial = by;
    forget_runs(p);
}

static void end_trial(struct pace *p) {
    if (p->run_ns < GAIN * p->was_ns) {
        p->n_failed = 0;
    } else {
        p->out -= p->trial;
        if (p->n_failed < MAX_DOUBLINGS) p->n_failed++;
        forget_runs(p);
    }
    p->trial = 0;
    p->due_ns = p->now_ns + ((int64_t)WAIT_NS << p->n_failed);
}

static int enough(const struct pace *p) {
    return p->n_run >= TRIAL_RUNS || (p->n_run > 0 && p->run_ns > LONG_RUN_NS);
}

int pace_workers(struct pace *p, int n, int kind, int64_t now_ns) {
    p->now_ns = now_ns;
    if (kind != p->kind) { /* nothing to compare with */
        p->out -= p->trial;
        p->trial = 0;
        p->kind = kind;
        forget_runs(p);
    }
    if (enough(p) && p->trial) end_trial(p);
    if (enough(p) && !p->trial && now_ns >= p->due_ns) {
        if (p->stall > STALL_SHARE && p->out < n - 1)
            begin_trial(p, 1);
        else if (p->out > 0)
            begin_trial(p, -1);
    }
    return n - p->out;
}

void pace_done(struct pace *p, int64_t run_ns, int64_t stall_ns) {
    const double w = p->n_run < TRIAL_RUNS ? 1.0 / (p->n_run + 1) : 1.0 / TRIAL_RUNS;
    p->run_ns += w * ((double)run_ns - p->run_ns);
    p->stall += w * ((double)stall_ns / (double)(run_ns > 0 ? run_ns : 1) - p->stall);
    p->n_run++;
}
