/* The nearest grid vector, exactly: the weighted distance is a sum over dimensions, so the costs of
 * all first halves and all second halves are tabled (at most 81 each), and a point costs one
 * addition.  Points are grouped by first half; a group whose bound is no better than the best point
 * so far is passed over, which leaves few of them to look at.
 *
 * Scales are found as for the K blocks (quant/kfit.c): each sub-block alone, then the common factor
 * and the integer codes in turns. */
#include "quant/vq.h"

#include <assert.h>
#include <math.h>
#include <string.h>

enum { N_ROUND = 2, MAX_HALF = 81 };

static int level_code(const struct vq_grid *g, float v) {
    int c = 0;
    while (c < g->n_level - 1 && g->level[c] < v)
        c++;
    return c;
}

/* All different values of the table's bytes, ascending. */
static void collect_levels(struct vq_grid *g, const int8_t *bytes, int n) {
    bool seen[256] = {false};
    for (int i = 0; i < n; i++)
        seen[bytes[i] + 128] = true;
    g->n_level = 0;
    for (int v = 0; v < 256; v++)
        if (seen[v]) g->level[g->n_level++] = (float)(v - 128);
}

static int half_code(const struct vq_grid *g, const int8_t *v) {
    int code = 0;
    for (int k = 0; k < g->n_dim / 2; k++)
        code = code * g->n_level + level_code(g, v[k]);
    return code;
}

void vq_grid_build(struct vq_grid *g, const void *table, int n_dim, int n_point) {
    const int8_t *bytes = table;
    memset(g, 0, sizeof *g);
    g->n_dim = n_dim, g->n_point = n_point;
    collect_levels(g, bytes, n_dim * n_point);
    assert(g->n_level == (n_dim == 8 ? 3 : 8));
    /* Counting sort by first half. */
    for (int i = 0; i < n_point; i++)
        g->start[half_code(g, bytes + i * n_dim) + 1]++;
    for (int h = 0; h < MAX_HALF; h++)
        g->start[h + 1] += g->start[h];
    uint16_t next[MAX_HALF + 1];
    memcpy(next, g->start, sizeof next);
    for (int i = 0; i < n_point; i++) {
        const int8_t *v = bytes + i * n_dim;
        const int at = next[half_code(g, v)]++;
        g->second[at] = (uint8_t)half_code(g, v + n_dim / 2);
        g->index[at] = (uint16_t)i;
    }
}

/* Weighted squared distances of all half vectors from a target, and the least of them. */
struct half {
    float cost[MAX_HALF];
    float least;
    int nearest; /* whose code has it */
};

/* Written for constant shapes, which the compiler unrolls: 4 dimensions of 3 levels, 2 of 8.  The
 * distance is separable, so the least is found one dimension at a time. */
static inline __attribute__((always_inline)) void
half_costs_of(const float *restrict level, const float *restrict t, const float *restrict w,
              struct half *restrict out, int n_dim, int n_level) {
    float prefix[MAX_HALF] = {0};
    int n = 1;
    out->least = 0;
    out->nearest = 0;
    for (int k = 0; k < n_dim; k++) {
        float one[8];
        int best = 0;
        for (int l = 0; l < n_level; l++) {
            one[l] = w[k] * ((t[k] - level[l]) * (t[k] - level[l]));
            best = one[l] < one[best] ? l : best;
        }
        out->least += one[best];
        out->nearest = out->nearest * n_level + best;
        for (int i = 0; i < n; i++)
            for (int l = 0; l < n_level; l++)
                out->cost[i * n_level + l] = prefix[i] + one[l];
        n *= n_level;
        if (k + 1 < n_dim) memcpy(prefix, out->cost, (size_t)n * sizeof *prefix);
    }
}

static int half_costs(const struct vq_grid *g, const float *t, const float *w, struct half *out) {
    if (g->n_dim == 8) {
        half_costs_of(g->level, t, w, out, 4, 3);
        return 81;
    }
    half_costs_of(g->level, t, w, out, 2, 8);
    return 64;
}

/* A point of the grid: its place in the index, its first half, its distance from a target. */
struct found {
    int at, first;
    float cost;
};

/* Look through the points whose first half is h. */
static void scan_bucket(const struct vq_grid *g, int h, float first, const float *second,
                        struct found *best) {
    for (int i = g->start[h]; i < g->start[h + 1]; i++) {
        const float c = first + second[g->second[i]];
        if (c < best->cost) *best = (struct found){i, h, c};
    }
}

static struct found nearest(const struct vq_grid *g, const float *t, const float *w) {
    struct half a, b;
    struct found best = {.cost = INFINITY};
    const int n = half_costs(g, t, w, &a);
    half_costs(g, t + g->n_dim / 2, w + g->n_dim / 2, &b);
    scan_bucket(g, a.nearest, a.cost[a.nearest], b.cost, &best); /* may be empty */
    for (int h = 0; h < n; h++)
        if (a.cost[h] + b.least < best.cost) scan_bucket(g, h, a.cost[h], b.cost, &best);
    return best;
}

static void point_values(const struct vq_grid *g, const struct found *p, float *y) {
    int code[2] = {p->first, g->second[p->at]};
    const int half = g->n_dim / 2;
    for (int k = half; k-- > 0;) {
        y[k] = g->level[code[0] % g->n_level];
        y[half + k] = g->level[code[1] % g->n_level];
        code[0] /= g->n_level, code[1] /= g->n_level;
    }
}

/* A quantized sub-block: x ~ s * y. */
struct sub {
    float y[32];
    uint16_t index[8];
    uint8_t signs[4];
};

/* Signs of 8 values and their magnitudes over s in t.  Where the number of minus signs must be
 * even, the value that costs least to turn round gets a negative target. */
static uint8_t take_signs(const struct vq_type *ty, const float *x, const float *w, float inv,
                          float *t) {
    uint32_t signs = 0;
    int turn = 0;
    for (int j = 0; j < 8; j++) {
        signs |= (uint32_t)(x[j] < 0) << j;
        t[j] = fabsf(x[j]) * inv;
        if (w[j] * t[j] < w[turn] * t[turn]) turn = j;
    }
    if (ty->even && __builtin_parity(signs)) {
        signs ^= 1u << turn;
        t[turn] = -t[turn];
    }
    return (uint8_t)signs;
}

/* Vectors for the targets t of 8 values: places, levels and cost. */
static float match8(const struct vq_grid *g, const float *t, const float *w, uint16_t *index,
                    float *y) {
    float sum = 0;
    for (int k = 0; k < 8; k += g->n_dim) {
        const struct found p = nearest(g, t + k, w + k);
        index[k / g->n_dim] = g->index[p.at];
        point_values(g, &p, y + k);
        sum += p.cost;
    }
    return sum;
}

static float quantize_signed(const struct vq_type *ty, const float *x, const float *w, float s,
                             struct sub *out) {
    const float inv = 1.0f / s;
    const int per8 = 8 / ty->grid->n_dim;
    float cost = 0;
    for (int l = 0; l < ty->n_sub / 8; l++) {
        float t[8], *y = out->y + 8 * l;
        out->signs[l] = take_signs(ty, x + 8 * l, w + 8 * l, inv, t);
        cost += match8(ty->grid, t, w + 8 * l, out->index + per8 * l, y);
        for (int j = 0; j < 8; j++)
            y[j] = out->signs[l] >> j & 1 ? -y[j] : y[j];
    }
    return cost * s * s;
}

/* Groups of n values with a shift of +1/8 or -1/8 each. */
static float quantize_shifted(const struct vq_type *ty, const float *x, const float *w, float s,
                              struct sub *out) {
    const float inv = 1.0f / s;
    float total = 0;
    for (int at = 0; at < ty->n_sub; at += ty->n_delta) {
        float best = INFINITY;
        for (int minus = 0; minus < 2; minus++) {
            const float delta = minus ? -0.125f : 0.125f;
            struct sub c;
            float cost = 0, t[8];
            for (int k = at; k < at + ty->n_delta; k += 8) {
                for (int j = 0; j < 8; j++)
                    t[j] = x[k + j] * inv - delta;
                cost += match8(ty->grid, t, w + k, &c.index[k / 8], c.y + k);
            }
            if (!(cost < best)) continue;
            best = cost;
            for (int k = at; k < at + ty->n_delta; k++)
                out->y[k] = c.y[k] + delta;
            for (int k = at / 8; k < (at + ty->n_delta) / 8; k++)
                out->index[k] = c.index[k], out->signs[k] = (uint8_t)minus;
        }
        total += best;
    }
    return total * s * s;
}

static float quantize_sub(const struct vq_type *ty, const float *x, const float *w, float s,
                          struct sub *out) {
    return ty->has_signs ? quantize_signed(ty, x, w, s, out) : quantize_shifted(ty, x, w, s, out);
}

/* Least squares for given levels: the scale, and what it explains of sum w x^2. */
static float refit(const float *x, const float *w, const float *y, int n, float *gain) {
    float xy = 0, yy = 0;
    for (int i = 0; i < n; i++) {
        xy += w[i] * x[i] * y[i];
        yy += w[i] * y[i] * y[i];
    }
    *gain = yy > 0 && xy > 0 ? xy * xy / yy : 0;
    return yy > 0 ? xy / yy : 0;
}

/* The best scale of a sub-block alone. */
static float search_scale(const struct vq_type *ty, const float *x, const float *w) {
    const float top = ty->grid->level[ty->grid->n_level - 1] + (ty->n_delta ? 0.125f : 0.0f);
    float peak = 0, best = 0, s = 0, gain;
    struct sub c;
    for (int i = 0; i < ty->n_sub; i++)
        peak = fabsf(x[i]) > peak ? fabsf(x[i]) : peak;
    if (peak < 0x1p-40f) return 0;
    for (int k = 0; k < ty->n_try; k++) {
        const float f = ty->first + (ty->last - ty->first) * (float)k / (float)(ty->n_try - 1);
        quantize_sub(ty, x, w, peak / (top * f), &c);
        const float fit = refit(x, w, c.y, ty->n_sub, &gain);
        if (gain > best) best = gain, s = fit;
    }
    for (int k = 0; k < 2 && s > 0; k++) {
        quantize_sub(ty, x, w, s, &c);
        const float fit = refit(x, w, c.y, ty->n_sub, &gain);
        if (!(gain > best)) break;
        best = gain, s = fit;
    }
    return s;
}

struct state {
    float d, err;
    uint8_t code[16];
    struct sub sub[16];
};

static float factor(const struct vq_type *ty, int code) {
    return ty->base + ty->step * (float)code;
}

/* For factor s->d, the code near want[j] and the vectors of each sub-block. */
static void choose_codes(const struct vq_type *ty, const struct fit_group *g, struct state *s,
                         const float *want) {
    s->err = 0;
    for (int j = 0; j < 256 / ty->n_sub; j++) {
        const float *x = g->x + j * ty->n_sub, *w = g->w + j * ty->n_sub;
        const float at = (want[j] / s->d - ty->base) / ty->step;
        const int mid = at <= 0 ? 0 : at >= (float)ty->n_code ? ty->n_code - 1 : (int)(at + 0.5f);
        float best = INFINITY;
        for (int c = mid - 1; c <= mid + 1; c++) {
            struct sub sub;
            if (c < 0 || c >= ty->n_code) continue;
            const float e = quantize_sub(ty, x, w, s->d * factor(ty, c), &sub);
            if (!(e < best)) continue;
            best = e;
            s->code[j] = (uint8_t)c;
            s->sub[j] = sub;
        }
        s->err += best;
    }
}

static float refit_common(const struct vq_type *ty, const struct fit_group *g,
                          const struct state *s) {
    double num = 0, den = 0;
    for (int i = 0; i < 256; i++) {
        const int j = i / ty->n_sub;
        const double y = (double)s->sub[j].y[i % ty->n_sub] * factor(ty, s->code[j]);
        num += g->w[i] * y * g->x[i];
        den += g->w[i] * y * y;
    }
    return den > 0 && num > 0 ? (float)(num / den) : s->d;
}

static void put_block(const struct vq_type *ty, const struct state *s, struct vq_block *b) {
    const int per_sub = ty->n_sub / ty->grid->n_dim, per_signs = ty->n_sub / 8;
    for (int j = 0; j < 256 / ty->n_sub; j++) {
        b->code[j] = s->code[j];
        memcpy(b->index + j * per_sub, s->sub[j].index, (size_t)per_sub * sizeof *b->index);
        memcpy(b->signs + j * per_signs, s->sub[j].signs, (size_t)per_signs);
    }
}

void vq_encode(const struct vq_type *ty, const float *x, const float *w, struct vq_block *b) {
    struct fit_group g;
    float want[16], peak = 0;
    memset(b, 0, sizeof *b);
    if (!fit_group_set(&g, x, w, 256)) return;
    for (int j = 0; j < 256 / ty->n_sub; j++) {
        want[j] = search_scale(ty, g.x + j * ty->n_sub, g.w + j * ty->n_sub);
        peak = want[j] > peak ? want[j] : peak;
    }
    struct state s = {.d = peak / factor(ty, ty->n_code - 1)}, best = {.err = INFINITY};
    for (int r = 0; r < N_ROUND && s.d > 0; r++) {
        fit_half(&s.d, g.unit);
        choose_codes(ty, &g, &s, want);
        if (!(s.err < best.err)) break;
        best = s;
        for (int j = 0; j < 256 / ty->n_sub; j++)
            want[j] = s.d * factor(ty, s.code[j]);
        s.d = refit_common(ty, &g, &s);
    }
    if (best.err == INFINITY) return;
    b->d = fit_half(&best.d, g.unit);
    put_block(ty, &best, b);
}
