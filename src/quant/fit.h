/* Scales for groups of values: given x and importance w, find the scale (and offset) under which
 * rounding to the type's levels loses least, sum w (x - x')^2.
 *
 * All of it is deterministic and works on one group, so that results do not depend on how rows are
 * shared among threads.  Group sizes are multiples of 16, at most FIT_MAX.  Levels are floats here:
 * what is rounded is multiplied next, and the loops become vectors. */
#pragma once

#include <stdbool.h>
#include <stdint.h>

enum { FIT_MAX = 256 };

/* A group scaled to about 1, so that squares neither overflow nor vanish whatever the input. */
struct fit_group {
    float x[FIT_MAX];
    float w[FIT_MAX]; /* > 0, at most 1 */
    float unit;       /* original = x * unit, a power of two */
    int n;
};

/* Fill g from n values and weights (NULL: all 1; weights that are all zero count the same).
 * False when every value is too small for a binary16 scale of any type: the group is zero. */
bool fit_group_set(struct fit_group *g, const float *x, const float *w, int n);

/* The binary16 number nearest to d * unit: finite, and not zero unless d is.  *d becomes its value
 * in units. */
uint16_t fit_half(float *d, float unit);

/* The levels of a type. */
struct fit_levels {
    float lo, hi;       /* lowest and highest; |lo| >= |hi| */
    const float *table; /* NULL: every integer in between; else see fit_table_* */
};

/* The scale s (either sign) that makes sum w (x - s q)^2 least over s and levels q: candidates
 * around "the largest value is the end level", then alternating refinement.  0 for x = 0. */
float fit_scale(const struct fit_levels *lv, const float *x, const float *w, int n);

/* Squared error of step s: q is set to the best levels. */
float fit_error(const struct fit_levels *lv, const float *x, const float *w, float s, float *q,
                int n);

/* Scale s >= 0 and minimum m <= m_max for x ~ s * q + m with q in 0..q_max.  m_max: 0, or INFINITY
 * for a free minimum.  `thorough` looks several times longer: for a group that stands alone. */
struct fit_line {
    float s, m;
};
struct fit_line fit_affine(const float *x, const float *w, int n, int q_max, float m_max,
                           bool thorough);

/* Squared error of x ~ s * q + m; q is set to the best codes. */
float fit_affine_error(const float *x, const float *w, struct fit_line l, int q_max, float *q,
                       int n);
