/* See optim.h.  The planes are cut into N_PART pieces whose borders depend on their length alone;
 * workers take whole pieces.  A piece's sum has one order, and worker 0 adds the pieces in theirs:
 * so the bits do not depend on the number of threads.
 *
 * One sweep reads w, grad, m and v and writes all four: memory is the limit, and loops that a
 * compiler makes into vectors are fast enough. */
#include "train/optim.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { N_PART = 256, LANES = 16 };

/* Piece i: [*lo, *hi) of n floats, a multiple of LANES as n is. */
static void part_range(size_t n, int i, size_t *lo, size_t *hi) {
    const size_t units = n / LANES, each = units / N_PART, more = units % N_PART, k = (size_t)i;
    *lo = LANES * (each * k + (k < more ? k : more));
    *hi = *lo + LANES * (each + (k < more));
}

/* ---- the norm ---- */

struct norm_job {
    const float *x;
    size_t n;
    double part[N_PART];
};

/* In double: squares of floats neither overflow nor vanish there.  LANES sums, for vectors. */
static double sum_squares(const float *x, size_t n) {
    double lane[LANES] = {0}, sum = 0;
    for (size_t i = 0; i < n; i += LANES)
        for (int k = 0; k < LANES; k++)
            lane[k] += (double)x[i + (size_t)k] * (double)x[i + (size_t)k];
    for (int k = 0; k < LANES; k++)
        sum += lane[k];
    return sum;
}

static void norm_parts(struct worker *w, void *arg) {
    struct norm_job *j = arg;
    int first, end;
    team_range(w, N_PART, 1, &first, &end);
    for (int i = first; i < end; i++) {
        size_t lo, hi;
        part_range(j->n, i, &lo, &hi);
        j->part[i] = sum_squares(j->x + lo, hi - lo);
    }
}

double optim_grad_norm(struct team *t, const struct params *p) {
    struct norm_job j = {.x = p->grad, .n = p->n_plane};
    double sum = 0;
    team_run(t, norm_parts, &j);
    for (int i = 0; i < N_PART; i++)
        sum += j.part[i];
    return sqrt(sum);
}

/* ---- the step ---- */

struct step_job {
    struct params *p;
    float clip;
    float beta1, keep1, beta2, keep2; /* keep = 1 - beta */
    float rate;                       /* lr / (1 - beta1^(t+1)) */
    float root;                       /* sqrt(1 / (1 - beta2^(t+1))) */
    float eps, decay;                 /* decay: lr weight_decay */
};

/* [lo, hi) of the planes.  The decay is a part of what is taken away rather than a factor of w:
 * 1 - lr weight_decay would lose most of its digits. */
static void step_run(const struct step_job *j, size_t lo, size_t hi, float decay) {
    float *restrict w = j->p->w, *restrict g = j->p->grad;
    float *restrict m = j->p->m, *restrict v = j->p->v;
    for (size_t i = lo; i < hi; i++) {
        const float x = j->clip * g[i];
        const float mi = j->beta1 * m[i] + j->keep1 * x;
        const float vi = j->beta2 * v[i] + j->keep2 * (x * x);
        m[i] = mi;
        v[i] = vi;
        w[i] -= decay * w[i] + j->rate * mi / (sqrtf(vi) * j->root + j->eps);
        g[i] = 0;
    }
}

/* The first tensor that ends behind `at`, or n_param. */
static int tensor_behind(const struct params *p, size_t at) {
    int lo = 0, hi = p->n_param;
    while (lo < hi) {
        const int mid = lo + (hi - lo) / 2;
        if (p->p[mid].at + p->p[mid].n > at)
            hi = mid;
        else
            lo = mid + 1;
    }
    return lo;
}

static void step_part(const struct step_job *j, size_t lo, size_t hi) {
    const struct params *p = j->p;
    for (int i = tensor_behind(p, lo); i < p->n_param && p->p[i].at < hi; i++) {
        const struct param *q = &p->p[i];
        const size_t end = q->at + q->n;
        step_run(j, q->at > lo ? q->at : lo, end < hi ? end : hi, q->decay ? j->decay : 0);
    }
}

static void step_parts(struct worker *w, void *arg) {
    const struct step_job *j = arg;
    int first, last;
    team_range(w, N_PART, 1, &first, &last);
    for (int i = first; i < last; i++) {
        size_t lo, hi;
        part_range(j->p->n_plane, i, &lo, &hi);
        step_part(j, lo, hi);
    }
}

double optim_step(struct team *t, struct params *p, const struct adamw *o, int64_t step, double lr,
                  double grad_norm) {
    assert(step >= 0 && isfinite(grad_norm));
    const float beta1 = o->beta1 != 0 ? o->beta1 : 0.9f, beta2 = o->beta2 != 0 ? o->beta2 : 0.999f;
    const double b1 = (double)beta1, b2 = (double)beta2, n = (double)step + 1;
    const double clip = o->max_norm > 0 ? fmin(1.0, (double)o->max_norm / grad_norm) : 1.0;
    struct step_job j = {
        .p = p,
        .clip = (float)clip,
        .beta1 = beta1,
        .keep1 = (float)(1 - b1),
        .beta2 = beta2,
        .keep2 = (float)(1 - b2),
        .rate = (float)(lr / (1 - pow(b1, n))),
        .root = (float)sqrt(1 / (1 - pow(b2, n))),
        .eps = o->eps != 0 ? o->eps : 1e-8f,
        .decay = (float)(lr * (double)o->weight_decay),
    };
    team_run(t, step_parts, &j);
    return clip;
}

static void zero_parts(struct worker *w, void *arg) {
    const struct params *p = arg;
    int first, last;
    team_range(w, N_PART, 1, &first, &last);
    for (int i = first; i < last; i++) {
        size_t lo, hi;
        part_range(p->n_plane, i, &lo, &hi);
        memset(p->grad + lo, 0, (hi - lo) * sizeof *p->grad);
    }
}

void optim_zero_grad(struct team *t, struct params *p) {
    if (p->n_plane) team_run(t, zero_parts, p);
}

/* ---- spikes ---- */

enum { SPIKE_WARM = 32 };

/* Loss curves that have gone flat (a single example learned by heart) would make a spike of every
 * breath: what is within a hundredth of the mean never is one. */
static bool is_spike(const struct spike_guard *g, double value, double max_z) {
    double mean = 0, var = 0;
    for (int i = 0; i < g->n; i++)
        mean += g->seen[i] / g->n;
    for (int i = 0; i < g->n; i++)
        var += (g->seen[i] - mean) * (g->seen[i] - mean) / g->n;
    const double above = value - mean;
    return above > max_z * sqrt(var) && above > 0.01 * fabs(mean);
}

bool spike_guard_check(struct spike_guard *g, double value, double max_z) {
    if (!isfinite(value) || (max_z > 0 && g->n >= SPIKE_WARM && is_spike(g, value, max_z)))
        return true;
    g->seen[g->at] = value;
    g->at = (g->at + 1) % SPIKE_WINDOW;
    if (g->n < SPIKE_WINDOW) g->n++;
    return false;
}
