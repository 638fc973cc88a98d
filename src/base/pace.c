/* Trials: when runs stall, one worker fewer is tried; when some stand aside, one more from time to
 * time.  One fewer is kept when runs of the same kind get clearly faster, one more when they do not
 * get slower: of a large team a single worker is worth less than the noise, and all that went must
 * find back.  Else the trial is taken back and the next one waits twice as long. */
#include "base/pace.h"

#include <stdbool.h>

enum {
    TRIAL_RUNS = 4,                  /* of a kind, before and in a trial */
    WAIT_NS = 100 * 1000 * 1000,     /* between trials */
    MAX_DOUBLINGS = 5,               /* of that wait: 3 s */
    LONG_RUN_NS = 250 * 1000 * 1000, /* of these one tells enough */
};

static const int64_t STALE_NS =
    10ll * 1000 * 1000 * 1000; /* a verdict is worth no longer than this */

static const double STALL_SHARE = 0.15; /* waiting: more is not the usual uneven end of an op */
static const double FEWER_GAIN = 0.95,
                    MORE_GAIN = 1.0; /* time of a trial that is kept, to before */

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
    p->failed = 0;
    if (p->run_ns <= (p->trial > 0 ? FEWER_GAIN : MORE_GAIN) * p->was_ns) {
        p->n_failed = 0;
    } else {
        p->out -= p->trial;
        p->failed = p->trial;
        if (p->n_failed < MAX_DOUBLINGS) p->n_failed++;
        forget_runs(p);
    }
    p->trial = 0;
    p->verdict_ns = p->now_ns;
}

/* What to try: 0 for nothing.  Where waiting is usual, one fewer and one more take turns. */
static int next_trial(const struct pace *p, int n) {
    const bool fewer = p->stall > STALL_SHARE && p->out < n - 1;
    if (fewer && !(p->failed > 0 && p->out > 0)) return 1;
    return p->out > 0 ? -1 : 0;
}

static bool enough(const struct pace *p) {
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
    if (p->trial && enough(p)) end_trial(p);
    const int64_t since = now_ns - p->verdict_ns;
    if (p->out > 0 && !p->trial && since > STALE_NS) { /* kinds that change before a trial ends */
        p->out = 0;
        forget_runs(p);
    }
    if (!p->trial && enough(p) && since >= (int64_t)WAIT_NS << p->n_failed) {
        const int by = next_trial(p, n);
        if (by) begin_trial(p, by);
    }
    return n - p->out;
}

void pace_done(struct pace *p, int64_t run_ns, int64_t stall_ns) {
    const double w = p->n_run < TRIAL_RUNS ? 1.0 / (p->n_run + 1) : 1.0 / TRIAL_RUNS;
    p->run_ns += w * ((double)run_ns - p->run_ns);
    p->stall += w * ((double)stall_ns / (double)(run_ns > 0 ? run_ns : 1) - p->stall);
    p->n_run++;
}
