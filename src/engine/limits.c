/* Measuring the machine.  The best of several runs, not the mean: a ceiling is what was reached
 * when nobody else was in the way. */
#include "engine/limits.h"

#include "base/os.h"
#include "cpu/probe.h"

enum {
    READ_BYTES = 256 << 20, /* well over any last-level cache a process gets for itself */
    READ_PASSES = 8,
    SUM_PASSES = 5,
    SUM_NS = 15 * 1000 * 1000, /* of one pass: long enough for the clock to settle */
};

struct job {
    struct probe probe;
    const uint8_t *data;
    double (*sum)(long n_round, volatile double *sink);
    long n_round;
    double ops[512]; /* by worker */
    volatile double sink[512];
};

static void first_touch(struct worker *w, void *arg) {
    uint8_t *p = arg;
    int lo, hi;
    team_range(w, READ_BYTES, 4096, &lo, &hi);
    for (int i = lo; i < hi; i += 4096)
        p[i] = 1;
}

static void read_share(struct worker *w, void *arg) {
    struct job *j = arg;
    int lo, hi;
    team_range(w, READ_BYTES, 4096, &lo, &hi);
    j->sink[w->id] += (double)j->probe.read(j->data + lo, (size_t)(hi - lo));
}

static void run_sum(struct worker *w, void *arg) {
    struct job *j = arg;
    j->ops[w->id] = j->sum(j->n_round, &j->sink[w->id]);
}

/* Rounds per pass are doubled until a pass is long enough to time. */
static double best_rate(struct team *t, struct job *j) {
    double best = 0;
    j->n_round = 1000;
    for (int pass = 0; pass < SUM_PASSES;) {
        const int64_t t0 = os_now_ns();
        team_run(t, run_sum, j);
        const int64_t ns = os_now_ns() - t0;
        if (ns < SUM_NS) {
            j->n_round *= 2;
            continue;
        }
        double ops = 0;
        for (int i = 0; i < team_size(t); i++)
            ops += j->ops[i];
        const double rate = ops / ((double)ns * 1e-9);
        if (rate > best) best = rate;
        pass++;
    }
    return best;
}

int limits_measure_read(struct team *t, double *read_bps, struct err *e) {
    struct job j = {.probe = cpu_probe()};
    uint8_t *data = os_reserve(READ_BYTES);
    if (!data) return err_nomem(e, "measuring the memory bandwidth");
    team_run(t, first_touch, data);
    j.data = data;
    *read_bps = 0;
    for (int pass = 0; pass < READ_PASSES; pass++) {
        const int64_t t0 = os_now_ns();
        team_run(t, read_share, &j);
        const double rate = READ_BYTES / ((double)(os_now_ns() - t0) * 1e-9);
        if (rate > *read_bps) *read_bps = rate;
    }
    os_unreserve(data, READ_BYTES);
    return 0;
}

int limits_measure(struct team *t, struct limits *out, struct err *e) {
    struct job j = {.probe = cpu_probe()};
    *out = (struct limits){0};
    if (limits_measure_read(t, &out->read_bps, e) != 0) return -1;
    j.sum = j.probe.int8;
    out->int8_opps = best_rate(t, &j);
    j.sum = j.probe.int16;
    out->int16_opps = best_rate(t, &j);
    j.sum = j.probe.f32;
    out->f32_flopps = best_rate(t, &j);
    return 0;
}
