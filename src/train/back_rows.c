/* Gradients of the row ops: what runs over many values goes through the kernel table, the rest is
 * plain. */
#include "train/back_rows.h"

#include <math.h>
#include <string.h>

#include "cpu/kern.h"

/* ---- norms ---- */

/* The first weight of the group that begins at column `at`: its own, or shared. */
static int own_at(const struct norm *norm, int at) {
    return norm->n_weight > norm->dim ? at : 0;
}

static void pass_on(int n, const float *dy, float *dx, bool add) {
    if (add)
        kern_get()->vec.add_scaled(n, dx, dy, 1.0f);
    else if (dx != dy)
        memcpy(dx, dy, (size_t)n * sizeof *dx);
}

void back_norm(const struct norm *norm, int n_col, const float *x, const float *dy, float *dx,
               bool add, float *stat) {
    const struct kern_vec *k = &kern_get()->vec;
    if (norm->kind == NORM_NONE) {
        pass_on(n_col, dy, dx, add);
        return;
    }
    for (int at = 0; at < n_col; at += norm->dim) {
        const float *w = norm->w ? norm->w + own_at(norm, at) : NULL;
        float unused[2], *st = stat ? stat + 2 * (at / norm->dim) : unused;
        if (norm->kind == NORM_RMS)
            k->rms_back(norm->dim, x + at, w, norm->eps, dy + at, dx + at, add, st);
        else
            k->layer_back(norm->dim, x + at, w, norm->eps, dy + at, dx + at, add, st);
    }
}

/* The part of one group of one row: dw += dy (x - mean) r, db += dy. */
static void add_weights(int n, const float *restrict x, const float *restrict dy,
                        const float stat[2], float *restrict dw, float *restrict db) {
    const float mean = stat[0], r = stat[1];
    for (int i = 0; dw && i < n; i++)
        dw[i] += dy[i] * ((x[i] - mean) * r);
    for (int i = 0; db && i < n; i++)
        db[i] += dy[i];
}

void back_norm_weights(const struct norm *norm, int n, int n_col, const float *x, int ldx,
                       const float *stat, const float *dy, int lddy, int lo, int hi, float *dw,
                       float *db) {
    const int dim = norm->dim, n_group = norm->kind == NORM_NONE ? 0 : n_col / dim;
    for (int i = 0; i < n; i++)
        for (int g = 0; g < n_group; g++) {
            const int own = own_at(norm, g * dim); /* weights [own, own + dim) */
            const int from = lo > own ? lo : own, to = hi < own + dim ? hi : own + dim;
            const size_t col = (size_t)g * dim + from - own;
            if (from < to)
                add_weights(to - from, x + (size_t)i * ldx + col, dy + (size_t)i * lddy + col,
                            stat + 2 * ((size_t)i * n_group + g), dw ? dw + from : NULL,
                            db ? db + from : NULL);
        }
}

/* ---- element by element ---- */

void back_act(enum act a, int n, const float *x, const float *dy, float *dx) {
    kern_get()->vec.act_back[a](n, x, dy, dx);
}

void back_glu(enum act a, int n, const float *gate, const float *up, const float *dy, float *dgate,
              float *dup) {
    kern_get()->vec.glu_back[a](n, gate, up, dy, dgate, dup);
}

void back_cap(int n, float scale, float cap, const float *y, const float *dy, float *dx) {
    if (cap == 0.0f) {
        kern_get()->vec.scale(n, dy, scale, dx);
        return;
    }
    for (int i = 0; i < n; i++) {
        const float t = y[i] / cap;
        dx[i] = dy[i] * scale * ((1.0f - t) * (1.0f + t));
    }
}

void back_clamp(int n, float limit, const float *x, const float *dy, float *dx) {
    for (int i = 0; i < n; i++)
        dx[i] = fabsf(x[i]) < limit ? dy[i] : 0.0f;
}

/* ---- gates ---- */

static float sigmoid(float x) {
    return 1.0f / (1.0f + expf(-x));
}

float back_gate_row(int n, float gate, const float *y, const float *dy, float *dx) {
    const struct kern_vec *k = &kern_get()->vec;
    const float dgate = sigmoid(-gate) * k->dot(n, dy, y);
    k->scale(n, dy, sigmoid(gate), dx);
    return dgate;
}

void back_combine(int n, int k, float scale, const float *weight, const float *y, int ldy,
                  const float *dout, float *dy, int lddy, float *dweight) {
    const struct kern_vec *kern = &kern_get()->vec;
    for (int s = 0; s < k; s++) {
        const float f = scale * weight[s]; /* read first: dweight may be weight */
        dweight[s] = scale * kern->dot(n, dout, y + (size_t)s * ldy);
        kern->scale(n, dout, f, dy + (size_t)s * lddy);
    }
}

/* Scores of one row of a router: sigmoid(logit), or exp(logit - top) / sum. */
struct scores {
    const float *logits;
    bool soft;
    float top, sum;
};

static float score(const struct scores *s, int e) {
    return s->soft ? expf(s->logits[e] - s->top) / s->sum : sigmoid(s->logits[e]);
}

/* Softmax over all experts, or over those chosen. */
static struct scores scores_of(const struct route_job *j, const float *logits,
                               const int32_t *expert) {
    const bool all = j->gate == GATE_SOFTMAX;
    const int n = all ? j->r->n_expert : j->r->k;
    struct scores s = {.logits = logits, .soft = j->gate != GATE_SIGMOID, .top = -INFINITY};
    for (int i = 0; i < n; i++)
        s.top = fmaxf(s.top, logits[all ? i : expert[i]]);
    for (int i = 0; i < n; i++)
        s.sum += expf(logits[all ? i : expert[i]] - s.top);
    return s;
}

void back_route(const struct route_job *j, int i, const float *dweight, float *dlogits) {
    const int k = j->r->k, n = j->r->n_expert;
    const int32_t *expert = j->r->expert + (size_t)i * k;
    const struct scores sc = scores_of(j, j->logits + (size_t)i * n, expert);
    float sum = 0.0f, dot = 0.0f;
    for (int s = 0; s < k; s++) {
        const float p = score(&sc, expert[s]);
        sum += p;
        dot += p * dweight[s];
    }
    const float f = j->renormalize ? j->scale / fmaxf(sum, ROUTE_MIN_SUM) : j->scale;
    const float less = j->renormalize && sum > ROUTE_MIN_SUM ? dot / sum : 0.0f;
    const float mean = sc.soft ? f * (dot - less * sum) : 0.0f; /* sum of p dp */
    for (int e = 0; e < n; e++)
        dlogits[e] = j->gate == GATE_SOFTMAX ? -mean * score(&sc, e) : 0.0f;
    for (int s = 0; s < k; s++) {
        const float p = score(&sc, expert[s]), dp = f * (dweight[s] - less);
        dlogits[expert[s]] = sc.soft ? p * (dp - mean) : p * (1.0f - p) * dp;
    }
}
