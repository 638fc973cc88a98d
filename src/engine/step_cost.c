/* See step_cost.h. */
#include "engine/step_cost.h"

#include <limits.h>
#include <stdio.h>

#include "base/log.h"

/* What each further row costs before it is measured: that of 1B Q4_K_M on two cores with AVX-512
 * (bench/NOTES.md). */
static const double row_guess = 0.12;

/* The next number of rows below or above w that is measured, or 0. */
static int nearest(const struct step_cost *c, int w, int step) {
    if (w > STEP_COST_MAX) w = STEP_COST_MAX + 1;
    for (w += step; w > 1 && w <= STEP_COST_MAX; w += step)
        if (c->ratio[w] > 0) return w;
    return 0;
}

/* Between what is known of fewer rows, at least of one, and of more. */
static double estimate(const struct step_cost *c, int w) {
    const int lo = nearest(c, w, -1), hi = nearest(c, w, 1);
    const double at = lo ? lo : 1, cost = lo ? c->ratio[lo] : 1;
    double slope = lo ? (cost - 1) / (lo - 1) : row_guess;
    if (hi) slope = (c->ratio[hi] - cost) / (hi - at);
    return cost + (w - at) * (slope > 0 ? slope : 0);
}

double step_cost(const struct step_cost *c, int w) {
    if (w <= 1) return 1;
    return w <= STEP_COST_MAX && c->ratio[w] > 0 ? c->ratio[w] : estimate(c, w);
}

static double clamp(double x, double lo, double hi) {
    return x < lo ? lo : x > hi ? hi : x;
}

/* A step that was interrupted counts no more than twice what was expected.  What is not measured
 * for long becomes a guess again: a figure that is too high would keep itself from being corrected.
 */
void step_cost_add(struct step_cost *c, int w, int64_t ns) {
    if (w == 1) {
        const double weight = c->n_one < 8 ? 1.0 / (c->n_one + 1) : 1.0 / 8;
        const double t = c->n_one ? clamp((double)ns, c->one_ns / 2, c->one_ns * 2) : (double)ns;
        c->one_ns += (t - c->one_ns) * weight;
        c->n_one += c->n_one < 8;
        for (int i = 2; i <= STEP_COST_MAX; i++)
            if (c->ratio[i] > 0) c->ratio[i] += (1 + row_guess * (i - 1) - c->ratio[i]) / 512;
        return;
    }
    if (w > STEP_COST_MAX) return;
    if (c->one_ns <= 0) { /* a first guess: nobody has been alone yet */
        c->one_ns = (double)ns / (1 + row_guess * (w - 1));
        return;
    }
    const double expected = step_cost(c, w);
    const double seen = clamp((double)ns / c->one_ns, expected / 2, expected * 2);
    c->ratio[w] = expected + (seen - expected) / 3;
}

void step_cost_log(const struct step_cost *c) {
    char line[1024];
    int n = 0;
    for (int w = 2; w <= STEP_COST_MAX; w++)
        if (c->ratio[w] > 0)
            n += snprintf(line + n, sizeof line - (size_t)n, " %d:%.2f", w, c->ratio[w]);
    if (n > 0)
        log_msg(LOG_DEBUG, "a step of one row: %.2f ms; of more, times that:%s", c->one_ns * 1e-6,
                line);
}

/* ---- prompts ---- */

/* What the step took longer.  Steps without rows that decode say nothing: many rows together are
 * cheaper, each, than the few that fit beside others. */
void step_cost_add_prompt(struct step_cost *c, int w, int n, int64_t ns) {
    if (n < 1 || w < 1 || c->one_ns <= 0) return;
    const double old = c->prompt_row_ns > 0 ? c->prompt_row_ns : c->one_ns * row_guess;
    const double row = clamp(((double)ns - c->one_ns * step_cost(c, w)) / n, old / 2, old * 2);
    c->prompt_row_ns = old + (row - old) / 4;
}

int step_cost_prompt_rows(const struct step_cost *c, int w) {
    enum { AHEAD = 16 }; /* rows whose cost is known or guessed from those that decode */
    const double decode = step_cost(c, w), slope = (step_cost(c, w + AHEAD) - decode) / AHEAD;
    double row = slope > row_guess / 4 ? slope : row_guess / 4;
    if (c->one_ns > 0 && c->prompt_row_ns > 0) row = c->prompt_row_ns / c->one_ns;
    const double n = decode * (STEP_STRETCH - 1) / row;
    return n < 1 ? 1 : n > INT_MAX / 2 ? INT_MAX / 2 : (int)n;
}
