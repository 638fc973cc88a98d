/* Super-block fits.  First each sub-block alone (quant/fit.h), then rounds of: the common factors
 * by least squares for the codes at hand, then for each sub-block the best integers near its own
 * optimum.  Each round looks at the true error with the rounded binary16 factors; the best round
 * wins. */
#include "quant/kfit.h"

#include <math.h>
#include <string.h>

enum { N_ROUND = 4, NEAR = 3 };

/* First factors to try, in parts of the one that makes the largest sub-block scale the largest
 * integer: the integers are few enough for the grid they make to matter. */
enum { N_START = 4, N_START_AFFINE = 2 };
static const float starts[N_START] = {1.0f, 0.94f, 0.97f, 0.9f};

static int clamp_int(float v, int lo, int hi) {
    const float r = rintf(v);
    return r <= (float)lo ? lo : r >= (float)hi ? hi : (int)r;
}

/* State of a round, in units of the group. */
struct state {
    float d, dmin;
    int scale[16], min[16];
    float q[256];
    float err;
};

/* ---- linear ---- */

struct linear {
    const struct fit_group *g;
    const struct fit_levels *lv;
    int n_sub, lo, hi;
};

/* Best integer scale of each sub-block for factor s->d, near want[]. */
static void choose_scales(const struct linear *f, struct state *s, const float *want) {
    s->err = 0;
    for (int j = 0; j < 256 / f->n_sub; j++) {
        const float *x = f->g->x + j * f->n_sub, *w = f->g->w + j * f->n_sub;
        const int mid = s->d != 0 ? clamp_int(want[j] / s->d, f->lo, f->hi) : 0;
        float best = INFINITY, q[FIT_MAX];
        for (int c = mid - NEAR; c <= mid + NEAR; c++) {
            if (c < f->lo || c > f->hi) continue;
            const float e = fit_error(f->lv, x, w, s->d * (float)c, q, f->n_sub);
            if (!(e < best)) continue;
            best = e;
            s->scale[j] = c;
            memcpy(s->q + j * f->n_sub, q, (size_t)f->n_sub * sizeof *q);
        }
        s->err += best;
    }
}

/* The factor that fits the chosen scales and codes best. */
static float refit_scale(const struct linear *f, const struct state *s) {
    double num = 0, den = 0;
    for (int i = 0; i < 256; i++) {
        const double a = (double)s->q[i] * s->scale[i / f->n_sub];
        num += f->g->w[i] * a * f->g->x[i];
        den += f->g->w[i] * a * a;
    }
    return den > 0 ? (float)(num / den) : s->d;
}

void kfit_scales(struct kfit *k, const float *x, const float *w, int n_sub,
                 const struct fit_levels *lv, int lo, int hi) {
    struct fit_group g;
    memset(k, 0, sizeof *k);
    if (!fit_group_set(&g, x, w, 256)) return;
    const struct linear f = {&g, lv, n_sub, lo, hi};
    float want[16], peak = 0;
    for (int j = 0; j < 256 / n_sub; j++) {
        want[j] = fit_scale(lv, g.x + j * n_sub, g.w + j * n_sub, n_sub);
        peak = fabsf(want[j]) > fabsf(peak) ? want[j] : peak;
    }
    struct state s, best = {.err = INFINITY};
    for (int i = 0; i < N_START; i++) {
        s.d = peak / ((float)lo * starts[i]);
        fit_half(&s.d, g.unit);
        choose_scales(&f, &s, want);
        if (s.err < best.err) best = s;
    }
    for (int r = 1; r < N_ROUND; r++) {
        s = best;
        for (int j = 0; j < 256 / n_sub; j++)
            want[j] = s.d * (float)s.scale[j];
        s.d = refit_scale(&f, &s);
        fit_half(&s.d, g.unit);
        choose_scales(&f, &s, want);
        if (!(s.err < best.err)) break;
        best = s;
    }
    k->d = fit_half(&best.d, g.unit);
    memcpy(k->scale, best.scale, sizeof k->scale);
    memcpy(k->q, best.q, sizeof k->q);
}

/* ---- affine ---- */

struct affine {
    const struct fit_group *g;
    int n_sub, q_max, top;
};

/* Best pair of integers of each sub-block for the factors in s, near want[] (whose m is <= 0). */
static void choose_pairs(const struct affine *f, struct state *s, const struct fit_line *want) {
    s->err = 0;
    for (int j = 0; j < 256 / f->n_sub; j++) {
        const float *x = f->g->x + j * f->n_sub, *w = f->g->w + j * f->n_sub;
        const int mid_s = s->d != 0 ? clamp_int(want[j].s / s->d, 0, f->top) : 0;
        const int mid_m = s->dmin != 0 ? clamp_int(-want[j].m / s->dmin, 0, f->top) : 0;
        float best = INFINITY, q[FIT_MAX];
        for (int c = 0; c < 15; c++) {
            const int sc = mid_s + c / 3 - 2, mn = mid_m + c % 3 - 1;
            if (sc < 0 || sc > f->top || mn < 0 || mn > f->top) continue;
            const struct fit_line l = {s->d * (float)sc, -s->dmin * (float)mn};
            const float e = fit_affine_error(x, w, l, f->q_max, q, f->n_sub);
            if (!(e < best)) continue;
            best = e;
            s->scale[j] = sc;
            s->min[j] = mn;
            memcpy(s->q + j * f->n_sub, q, (size_t)f->n_sub * sizeof *q);
        }
        s->err += best;
    }
}

/* Both factors by least squares: x ~ d * a - dmin * b. */
static void refit_pair(const struct affine *f, struct state *s) {
    double aa = 0, ab = 0, bb = 0, xa = 0, xb = 0;
    for (int i = 0; i < 256; i++) {
        const double w = f->g->w[i], x = f->g->x[i];
        const double a = (double)s->q[i] * s->scale[i / f->n_sub], b = s->min[i / f->n_sub];
        aa += w * a * a, ab += w * a * b, bb += w * b * b;
        xa += w * x * a, xb += w * x * b;
    }
    const double det = aa * bb - ab * ab;
    if (det > 1e-9 * aa * bb) {
        s->d = (float)((xa * bb - xb * ab) / det);
        s->dmin = (float)((xa * ab - xb * aa) / det);
    } else if (aa > 0) {
        s->d = (float)((xa + s->dmin * ab) / aa);
    }
}

void kfit_affine(struct kfit *k, const float *x, const float *w, int n_sub, int q_max, int top) {
    struct fit_group g;
    memset(k, 0, sizeof *k);
    if (!fit_group_set(&g, x, w, 256)) return;
    const struct affine f = {&g, n_sub, q_max, top};
    struct fit_line want[16];
    float x_min = g.x[0], s_max = 0, m_end = 0;
    for (int i = 1; i < 256; i++)
        x_min = g.x[i] < x_min ? g.x[i] : x_min;
    /* Minima are negative: dmin > 0.  Where all values are positive they are too: dmin < 0. */
    const float m_max = x_min > 0 ? INFINITY : 0;
    for (int j = 0; j < 256 / n_sub; j++) {
        want[j] = fit_affine(g.x + j * n_sub, g.w + j * n_sub, n_sub, q_max, m_max, false);
        s_max = want[j].s > s_max ? want[j].s : s_max;
        m_end = fabsf(want[j].m) > fabsf(m_end) ? want[j].m : m_end;
    }
    struct state s, best = {.err = INFINITY};
    for (int i = 0; i < N_START_AFFINE; i++) {
        s.d = s_max / ((float)top * starts[i]);
        s.dmin = -m_end / ((float)top * starts[i]);
        fit_half(&s.d, g.unit);
        fit_half(&s.dmin, g.unit);
        choose_pairs(&f, &s, want);
        if (s.err < best.err) best = s;
    }
    for (int r = 1; r < N_ROUND; r++) {
        s = best;
        for (int j = 0; j < 256 / n_sub; j++)
            want[j] = (struct fit_line){s.d * (float)s.scale[j], -s.dmin * (float)s.min[j]};
        refit_pair(&f, &s);
        fit_half(&s.d, g.unit);
        fit_half(&s.dmin, g.unit);
        choose_pairs(&f, &s, want);
        if (!(s.err < best.err)) break;
        best = s;
    }
    k->d = fit_half(&best.d, g.unit);
    k->dmin = fit_half(&best.dmin, g.unit);
    memcpy(k->scale, best.scale, sizeof k->scale);
    memcpy(k->min, best.min, sizeof k->min);
    memcpy(k->q, best.q, sizeof k->q);
}
