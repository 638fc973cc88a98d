/* The searches behind the encoders.  Rounding for a given scale, and the scale for given codes
 * (least squares), are both exact; alternating them (Lloyd 1982) only finds a near optimum, so it
 * starts from a grid of scales. */
#include "quant/fit.h"

#include <math.h>
#include <string.h>

#include "base/f16.h"

typedef float v4 __attribute__((vector_size(16)));

static inline v4 v4_load(const float *p) {
    v4 v;
    memcpy(&v, p, sizeof v);
    return v;
}

static inline float v4_sum(v4 a) {
    return (a[0] + a[1]) + (a[2] + a[3]);
}

bool fit_group_set(struct fit_group *g, const float *x, const float *w, int n) {
    float a_max = 0, w_max = 0;
    for (int i = 0; i < n; i++) {
        const float a = fabsf(x[i]);
        a_max = a > a_max ? a : a_max;
        if (w) w_max = w[i] > w_max ? w[i] : w_max;
    }
    g->n = n;
    if (a_max < 0x1p-26f) return false;
    int e = ilogbf(a_max);
    e = e > 126 ? 126 : e;
    g->unit = ldexpf(1.0f, e);
    const float inv = ldexpf(1.0f, -e);
    for (int i = 0; i < n; i++)
        g->x[i] = x[i] * inv;
    for (int i = 0; i < n; i++) {
        /* A column of importance 0 still gets a sensible code. */
        const float v = w_max > 0 ? w[i] / w_max : 1.0f;
        g->w[i] = v > 1e-6f ? v : 1e-6f;
    }
    return true;
}

uint16_t fit_half(float *d, float unit) {
    const float v = *d * unit;
    uint16_t h = f32_to_f16(v);
    if ((h & 0x7fff) >= 0x7c00) h = (uint16_t)((h & 0x8000) | 0x7bff);
    if ((h & 0x7fff) == 0 && *d != 0) h |= 1;
    *d = f16_to_f32(h) / unit;
    return h;
}

/* 1.5 * 2^23: adding and subtracting it rounds |v| < 2^22 to the nearest integer, ties to even. */
static const float round_magic = 12582912.0f;

static void round_integers(float lo, float hi, const float *restrict x, float inv,
                           float *restrict q, int n) {
    for (int i = 0; i < n; i++) {
        float t = x[i] * inv;
        t = t < lo ? lo : t;
        t = t > hi ? hi : t;
        q[i] = (t + round_magic) - round_magic;
    }
}

/* q[i] = the level nearest to x[i] * inv. */
static void nearest_levels(const struct fit_levels *lv, const float *x, float inv, float *q,
                           int n) {
    if (!lv->table) {
        round_integers(lv->lo, lv->hi, x, inv, q, n);
        return;
    }
    /* The table has the level of every half step: midpoints of integers lie on such steps. */
    float at[FIT_MAX];
    for (int i = 0; i < n; i++) {
        float t = x[i] * inv;
        t = t < lv->lo ? lv->lo : t;
        at[i] = 2.0f * ((t > lv->hi ? lv->hi : t) - lv->lo);
    }
    for (int i = 0; i < n; i++)
        q[i] = lv->table[(int)at[i]];
}

/* sum w x q and sum w q^2. */
static void sums_xq_qq(const float *x, const float *w, const float *q, int n, float *xq,
                       float *qq) {
    v4 a = {0}, b = {0};
    for (int i = 0; i < n; i += 4) {
        const v4 vq = v4_load(q + i), wq = v4_load(w + i) * vq;
        a += wq * v4_load(x + i);
        b += wq * vq;
    }
    *xq = v4_sum(a), *qq = v4_sum(b);
}

struct scale_search {
    const struct fit_levels *lv;
    const float *x, *w;
    int n;
    float best, s; /* best = (sum w x q)^2 / sum w q^2, what s q explains of sum w x^2 */
};

static bool try_inverse(struct scale_search *f, float inv) {
    float q[FIT_MAX], xq, qq;
    nearest_levels(f->lv, f->x, inv, q, f->n);
    sums_xq_qq(f->x, f->w, q, f->n, &xq, &qq);
    if (!(qq > 0) || !(xq * xq > f->best * qq)) return false;
    f->best = xq * xq / qq;
    f->s = xq / qq;
    return true;
}

float fit_scale(const struct fit_levels *lv, const float *x, const float *w, int n) {
    float peak = 0;
    for (int i = 0; i < n; i++)
        peak = fabsf(x[i]) > fabsf(peak) ? x[i] : peak;
    struct scale_search f = {lv, x, w, n, 0, 0};
    if (peak == 0) return 0;
    /* The peak at, inside and outside of the end level, a fraction of a level at a time: outside
     * it is clipped, which pays with few levels.  Both signs: one end has a level more. */
    const bool few = lv->hi - lv->lo < 8;
    const float step = lv->table ? 3.0f : few ? 0.1f : 0.17f;
    for (int k = -12; k <= 12; k++) {
        try_inverse(&f, (lv->lo + (float)k * step) / peak);
        try_inverse(&f, (lv->hi + (float)k * step) / peak);
    }
    for (int k = 0; k < 4 && f.s != 0; k++)
        if (!try_inverse(&f, 1.0f / f.s)) break;
    return f.s;
}

static float error_of(const float *x, const float *w, const float *q, float s, float m, int n) {
    v4 a = {0};
    for (int i = 0; i < n; i += 4) {
        const v4 e = v4_load(x + i) - (v4_load(q + i) * s + m);
        a += v4_load(w + i) * e * e;
    }
    return v4_sum(a);
}

float fit_error(const struct fit_levels *lv, const float *x, const float *w, float s, float *q,
                int n) {
    nearest_levels(lv, x, s != 0 ? 1.0f / s : 0.0f, q, n);
    return error_of(x, w, q, s, 0, n);
}

float fit_affine_error(const float *x, const float *w, struct fit_line l, int q_max, float *q,
                       int n) {
    const float inv = l.s != 0 ? 1.0f / l.s : 0.0f, hi = (float)q_max;
    for (int i = 0; i < n; i++) {
        float t = (x[i] - l.m) * inv;
        t = t < 0 ? 0 : t;
        t = t > hi ? hi : t;
        q[i] = (t + round_magic) - round_magic;
    }
    return error_of(x, w, q, l.s, l.m, n);
}

struct affine_search {
    const float *x, *w;
    int n, q_max;
    float m_max;
    double sw, sx, sxx; /* sums of w, w x, w x^2 */
    double best;        /* error of line */
    struct fit_line line;
};

/* Least squares for the codes that line l gives: the better line in *l and its error. */
static double improve_line(const struct affine_search *f, struct fit_line *l) {
    float q[FIT_MAX];
    const float inv = 1.0f / l->s, hi = (float)f->q_max;
    for (int i = 0; i < f->n; i++) {
        float t = (f->x[i] - l->m) * inv;
        t = t < 0 ? 0 : t;
        t = t > hi ? hi : t;
        q[i] = (t + round_magic) - round_magic;
    }
    v4 a = {0}, b = {0}, c = {0};
    for (int i = 0; i < f->n; i += 4) {
        const v4 vq = v4_load(q + i), wq = v4_load(f->w + i) * vq;
        a += wq;
        b += wq * vq;
        c += wq * v4_load(f->x + i);
    }
    const double sq = v4_sum(a), sqq = v4_sum(b), sxq = v4_sum(c);
    const double det = f->sw * sqq - sq * sq;
    if (!(det > 1e-9 * f->sw * sqq)) return INFINITY;
    double s = (f->sw * sxq - f->sx * sq) / det, m = (sqq * f->sx - sq * sxq) / det;
    if (m > f->m_max) {
        m = f->m_max;
        s = (sxq - m * sq) / sqq;
    }
    if (!(s > 0)) return INFINITY;
    *l = (struct fit_line){(float)s, (float)m};
    return f->sxx - 2 * s * sxq - 2 * m * f->sx + s * s * sqq + 2 * s * m * sq + m * m * f->sw;
}

/* Up to n_step improvements from l; the best line so far is kept. */
static void descend(struct affine_search *f, struct fit_line l, int n_step) {
    double last = INFINITY;
    for (int k = 0; k < n_step; k++) {
        const double err = improve_line(f, &l);
        if (!(err < last)) return;
        last = err;
        if (err < f->best) f->best = err, f->line = l;
    }
}

struct fit_line fit_affine(const float *x, const float *w, int n, int q_max, float m_max,
                           bool thorough) {
    float lo = x[0], hi = x[0];
    struct affine_search f = {.x = x, .w = w, .n = n, .q_max = q_max, .m_max = m_max};
    for (int i = 0; i < n; i++) {
        lo = x[i] < lo ? x[i] : lo;
        hi = x[i] > hi ? x[i] : hi;
        f.sw += w[i];
        f.sx += (double)w[i] * x[i];
        f.sxx += (double)w[i] * x[i] * x[i];
    }
    lo = lo > m_max ? m_max : lo;
    if (!(hi > lo)) return (struct fit_line){0, lo};
    f.best = f.sxx;
    f.line = (struct fit_line){(hi - lo) / (float)q_max, lo};

    /* Clip a part of the range at either end, or leave some of the codes unused. */
    const float range = hi - lo, unit = range / (float)q_max;
    const int n_end = thorough ? 4 : q_max < 4 ? 6 : 3, n_step = thorough ? 6 : 1;
    const float step = thorough ? 0.4f : q_max < 4 ? 0.12f : 0.3f;
    for (int a = -1; a < n_end; a++)
        for (int b = -1; b < n_end; b++) {
            const float m = lo + (float)a * step * unit, top = hi - (float)b * step * unit;
            descend(&f, (struct fit_line){(top - m) / (float)q_max, m > m_max ? m_max : m}, n_step);
        }
    descend(&f, f.line, 4);
    return f.line;
}
