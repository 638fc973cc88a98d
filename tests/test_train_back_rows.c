/* Gradients of the row ops against central differences of the ops written out in double.  The
 * router's selection comes from the op itself, whose weights must be the plain forward's. */
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/team.h"
#include "cpu/cpu.h"
#include "train/back_rows.h"

static uint64_t rng = 1;

static uint32_t rnd(uint32_t n) { /* splitmix64 */
    uint64_t z = rng += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32) % n;
}

static float rnd_f(void) { /* about N(0, 1) */
    float s = 0;
    for (int i = 0; i < 12; i++)
        s += (float)rnd(1 << 16) / (1 << 16);
    return s - 6.0f;
}

enum { MAX = 4096 };

static float *rnd_vec(int n) {
    assert_true(n <= MAX);
    float *x = malloc(((size_t)n + 1) * sizeof *x);
    assert_non_null(x);
    for (int i = 0; i < n; i++)
        x[i] = rnd_f();
    return x;
}

/* The sum over an op's results of dy y, as a function of one of its inputs. */
typedef double loss_fn(const void *ctx, const double *x);

/* got[i] is the derivative of the loss by x[i], besides what add held before (or NULL). */
static void check_gradient(const char *what, loss_fn *loss, const void *ctx, const float *x, int n,
                           const float *got, const float *add) {
    const double h = 1e-5;
    double d[MAX];
    for (int i = 0; i < n; i++)
        d[i] = x[i];
    for (int i = 0; i < n; i++) {
        const double at = d[i];
        d[i] = at + h;
        const double up = loss(ctx, d);
        d[i] = at - h;
        const double want = (up - loss(ctx, d)) / (2 * h) + (add ? add[i] : 0);
        d[i] = at;
        if (!(fabs(got[i] - want) <= 5e-6 * fmax(1, fabs(want))))
            fail_msg("%s [%d] of %d: %.9g, want %.9g", what, i, n, got[i], want);
    }
}

/* ---- norms ---- */

struct norm_case {
    struct norm norm;
    int n, n_col;
    const float *x, *w, *b, *dy;
    int which; /* what varies: x, w or b */
};

static double norm_loss(const void *ctx, const double *v) {
    const struct norm_case *c = ctx;
    double loss = 0;
    for (int at = 0; at < c->n * c->n_col; at += c->norm.dim) {
        const int dim = c->norm.dim, own = c->norm.n_weight > dim ? at % c->n_col : 0;
        double x[MAX], mean = 0, ss = 0;
        for (int i = 0; i < dim; i++) {
            x[i] = c->which == 0 ? v[at + i] : c->x[at + i];
            mean += c->norm.kind == NORM_LAYER ? x[i] / dim : 0;
        }
        for (int i = 0; i < dim; i++)
            ss += (x[i] - mean) * (x[i] - mean) / dim;
        for (int i = 0; i < dim; i++) {
            const double w = !c->w ? 1 : c->which == 1 ? v[own + i] : c->w[own + i];
            const double b = !c->b ? 0 : c->which == 2 ? v[own + i] : c->b[own + i];
            loss += c->dy[at + i] * ((x[i] - mean) / sqrt(ss + c->norm.eps) * w + b);
        }
    }
    return loss;
}

/* Rows are n_col apart; the weights in `n_part` shares. */
static void check_norm(struct norm norm, int n, int n_col, bool has_w, bool has_b, bool add) {
    float *x = rnd_vec(n * n_col), *dy = rnd_vec(n * n_col), *dx = rnd_vec(n * n_col);
    float *before = rnd_vec(n * n_col), *w = rnd_vec(norm.n_weight), *b = rnd_vec(norm.n_weight);
    float *dw = rnd_vec(norm.n_weight), *db = rnd_vec(norm.n_weight), *dw0 = rnd_vec(norm.n_weight);
    float *db0 = rnd_vec(norm.n_weight), *stat = rnd_vec(2 * n * (n_col / norm.dim));
    memcpy(dx, before, (size_t)(n * n_col) * sizeof *dx);
    memcpy(dw, dw0, (size_t)norm.n_weight * sizeof *dw);
    memcpy(db, db0, (size_t)norm.n_weight * sizeof *db);
    norm.w = has_w ? w : NULL, norm.b = has_b ? b : NULL;
    for (int i = 0; i < n; i++)
        back_norm(&norm, n_col, x + i * n_col, dy + i * n_col, dx + i * n_col, add,
                  stat + 2 * i * (n_col / norm.dim));
    for (int lo = 0, hi; lo < norm.n_weight; lo = hi) {
        hi = lo + 1 + (int)rnd((uint32_t)(norm.n_weight - lo));
        back_norm_weights(&norm, n, n_col, x, n_col, stat, dy, n_col, lo, hi, has_w ? dw : NULL,
                          has_b ? db : NULL);
    }
    struct norm_case c = {norm, n, n_col, x, norm.w, norm.b, dy, 0};
    check_gradient("norm x", norm_loss, &c, x, n * n_col, dx, add ? before : NULL);
    c.which = 1;
    if (has_w) check_gradient("norm w", norm_loss, &c, w, norm.n_weight, dw, dw0);
    c.which = 2;
    if (has_b) check_gradient("norm b", norm_loss, &c, b, norm.n_weight, db, db0);
    free(x), free(dy), free(dx), free(before), free(w), free(b), free(dw), free(db);
    free(dw0), free(db0), free(stat);
}

static void test_norms(void **state) {
    (void)state;
    static const int shape[][3] = {/* n_col, dim, n_weight */
                                   {2, 2, 2},    {37, 37, 37}, {64, 64, 64},
                                   {48, 16, 16}, {48, 16, 48}, {150, 150, 150}};
    for (size_t i = 0; i < sizeof shape / sizeof *shape; i++)
        for (int pass = 0; pass < 16; pass++) {
            const struct norm norm = {.kind = pass & 1 ? NORM_LAYER : NORM_RMS,
                                      .dim = shape[i][1],
                                      .n_weight = shape[i][2],
                                      .eps = 0.01f};
            check_norm(norm, 1 + pass / 4, shape[i][0], pass & 2, pass & 4 && pass & 1, pass & 8);
        }
}

/* No norm: the gradient passes. */
static void test_norm_none(void **state) {
    (void)state;
    const struct norm none = {.kind = NORM_NONE};
    float x[3] = {1, 2, 3}, dy[3] = {4, 5, 6}, dx[3] = {10, 20, 30};
    const float sum[3] = {14, 25, 36};
    back_norm(&none, 3, x, dy, dx, true, NULL);
    assert_memory_equal(dx, sum, sizeof sum);
    back_norm(&none, 3, x, dy, dx, false, NULL);
    assert_memory_equal(dx, dy, sizeof dy);
}

/* ---- activations ---- */

static double sigmoid(double x) {
    return 1 / (1 + exp(-x));
}

static double act_of(enum act a, double x) {
    switch (a) {
    case ACT_NONE: return x;
    case ACT_SILU: return x * sigmoid(x);
    case ACT_GELU: return 0.5 * x * (1 + tanh(sqrt(2 / M_PI) * (x + 0.044715 * x * x * x)));
    case ACT_GELU_ERF: return 0.5 * x * (1 + erf(x / sqrt(2)));
    case ACT_RELU: return fmax(x, 0);
    case ACT_RELU2: return fmax(x, 0) * fmax(x, 0);
    case ACT_SWIGLU_OAI: return fmin(x, 7) * sigmoid(1.702 * fmin(x, 7));
    }
    return NAN;
}

struct act_case {
    enum act act;
    int n;
    const float *gate, *up, *dy; /* up NULL: act alone */
    bool by_up;
};

static double act_loss(const void *ctx, const double *v) {
    const struct act_case *c = ctx;
    double loss = 0;
    for (int i = 0; i < c->n; i++) {
        const double gate = c->by_up ? c->gate[i] : v[i];
        double up = !c->up ? 1 : c->by_up ? v[i] : c->up[i];
        if (c->up && c->act == ACT_SWIGLU_OAI) up = fmax(fmin(up, 7), -7) + 1;
        loss += c->dy[i] * act_of(c->act, gate) * up;
    }
    return loss;
}

/* About N(0, 3), and none where a derivative jumps. */
static float *act_inputs(int n) {
    float *x = rnd_vec(n);
    for (int i = 0; i < n; i++) {
        x[i] *= 3;
        if (fabsf(x[i]) < 1e-3f || fabsf(fabsf(x[i]) - 7) < 1e-3f) x[i] = 0.5f;
    }
    return x;
}

static void test_activations(void **state) {
    (void)state;
    for (int act = 0; act <= ACT_SWIGLU_OAI; act++)
        for (int n = 1; n < 300; n += n < 20 ? 1 : 91) {
            float *gate = act_inputs(n), *up = act_inputs(n), *dy = rnd_vec(n);
            float *dgate = rnd_vec(n), *dup = rnd_vec(n);
            struct act_case c = {(enum act)act, n, gate, NULL, dy, false};
            back_act(c.act, n, gate, dy, dgate);
            check_gradient("act", act_loss, &c, gate, n, dgate, NULL);
            c.up = up;
            back_glu(c.act, n, gate, up, dy, dgate, dup);
            check_gradient("gate", act_loss, &c, gate, n, dgate, NULL);
            c.by_up = true;
            check_gradient("up", act_loss, &c, up, n, dup, NULL);
            free(gate), free(up), free(dy), free(dgate), free(dup);
        }
}

struct cap_case {
    int n;
    double scale, cap, limit; /* limit not 0: a clamp */
    const float *dy;
};

static double cap_of(const struct cap_case *c, double x) {
    if (c->limit != 0) return fmax(fmin(x, c->limit), -c->limit);
    return c->cap != 0 ? c->cap * tanh(c->scale * x / c->cap) : c->scale * x;
}

static double cap_loss(const void *ctx, const double *x) {
    const struct cap_case *c = ctx;
    double loss = 0;
    for (int i = 0; i < c->n; i++)
        loss += c->dy[i] * cap_of(c, x[i]);
    return loss;
}

static void test_caps(void **state) {
    (void)state;
    const struct cap_case cases[] = {{.scale = 0.5, .cap = 4},   {.scale = 2, .cap = 30},
                                     {.scale = 0.25, .cap = 0},  {.limit = 1.5},
                                     {.scale = 1, .cap = 0.125}, {.limit = 0.25}};
    for (size_t i = 0; i < sizeof cases / sizeof *cases; i++)
        for (int n = 1; n < 200; n += 33) {
            struct cap_case c = cases[i];
            float *x = act_inputs(n), *y = rnd_vec(n), *dy = rnd_vec(n), *dx = rnd_vec(n);
            for (int e = 0; e < n; e++) {
                if (c.limit != 0 && fabs(fabs(x[e]) - c.limit) < 1e-3) x[e] = 0.1f;
                y[e] = (float)cap_of(&c, x[e]);
            }
            c.n = n, c.dy = dy;
            if (c.limit != 0) {
                back_clamp(n, (float)c.limit, y, dy, dx); /* from the result */
                check_gradient("clamp", cap_loss, &c, x, n, dx, NULL);
                back_clamp(n, (float)c.limit, x, dy, dy); /* from the input, in place */
                assert_memory_equal(dx, dy, (size_t)n * sizeof *dx);
            } else {
                back_cap(n, (float)c.scale, (float)c.cap, y, dy, dx);
                check_gradient("cap", cap_loss, &c, x, n, dx, NULL);
            }
            free(x), free(y), free(dy), free(dx);
        }
}

/* ---- gates ---- */

struct gate_case {
    int n;
    const float *x, *dy;
    float gate;
    bool by_gate;
};

static double gate_loss(const void *ctx, const double *v) {
    const struct gate_case *c = ctx;
    double loss = 0;
    for (int i = 0; i < c->n; i++)
        loss += c->dy[i] * (c->by_gate ? c->x[i] : v[i]) * sigmoid(c->by_gate ? v[0] : c->gate);
    return loss;
}

static void test_gate_rows(void **state) {
    (void)state;
    for (int n = 1; n < 200; n += 33) {
        float *x = rnd_vec(n), *y = rnd_vec(n), *dy = rnd_vec(n), *dx = rnd_vec(n);
        struct gate_case c = {n, x, dy, 2 * rnd_f(), false};
        for (int i = 0; i < n; i++)
            y[i] = (float)(x[i] * sigmoid(c.gate));
        const float dgate = back_gate_row(n, c.gate, y, dy, dx);
        check_gradient("gated x", gate_loss, &c, x, n, dx, NULL);
        c.by_gate = true;
        check_gradient("row gate", gate_loss, &c, &c.gate, 1, &dgate, NULL);
        free(x), free(y), free(dy), free(dx);
    }
}

struct combine_case {
    int n, k;
    const float *weight, *y, *dout;
    bool by_weight;
};

enum { COMBINE_GAP = 3 }; /* rows of y lie this much more than n apart */

static double combine_loss(const void *ctx, const double *v) {
    const struct combine_case *c = ctx;
    const int ld = c->n + COMBINE_GAP;
    double loss = 0;
    for (int s = 0; s < c->k; s++)
        for (int i = 0; i < c->n; i++)
            loss += c->dout[i] * 0.7f * (c->by_weight ? v[s] : c->weight[s]) *
                    (c->by_weight ? c->y[s * ld + i] : v[s * ld + i]);
    return loss;
}

static void test_combine(void **state) {
    (void)state;
    for (int n = 1; n < 100; n += 33)
        for (int k = 1; k <= 5; k++) {
            const int ld = n + COMBINE_GAP, all = (k - 1) * ld + n;
            float *w = rnd_vec(k), *y = rnd_vec(all), *dout = rnd_vec(n);
            float *dy = rnd_vec(all), *dw = rnd_vec(k);
            for (int s = 0; s + 1 < k; s++) /* the gaps have no gradient and stay */
                memset(dy + s * ld + n, 0, COMBINE_GAP * sizeof *dy);
            struct combine_case c = {n, k, w, y, dout, false};
            back_combine(n, k, 0.7f, w, y, ld, dout, dy, ld, dw);
            check_gradient("combined y", combine_loss, &c, y, all, dy, NULL);
            c.by_weight = true;
            check_gradient("weight", combine_loss, &c, w, k, dw, NULL);
            back_combine(n, k, 0.7f, w, y, ld, dout, y, ld, w); /* in place */
            assert_memory_equal(w, dw, (size_t)k * sizeof *w);
            for (int s = 0; s < k; s++)
                assert_memory_equal(y + s * ld, dy + s * ld, (size_t)n * sizeof *y);
            free(w), free(y), free(dout), free(dy), free(dw);
        }
}

/* ---- routers ---- */

enum { ROUTE_ROWS = 5 };

struct route_case {
    const struct route_job *j;
    int row;
    const float *dweight;
};

/* The weights of a row whose experts are chosen. */
static void plain_weights(const struct route_job *j, int row, const double *logits, double *w) {
    const int k = j->r->k, n = j->r->n_expert;
    const int32_t *expert = j->r->expert + row * k;
    double all = 0, chosen = 0, sum = 0;
    for (int e = 0; e < n; e++)
        all += exp(logits[e]);
    for (int s = 0; s < k; s++)
        chosen += exp(logits[expert[s]]);
    for (int s = 0; s < k; s++) {
        const double l = logits[expert[s]];
        w[s] = j->gate == GATE_SIGMOID   ? sigmoid(l)
               : j->gate == GATE_SOFTMAX ? exp(l) / all
                                         : exp(l) / chosen;
        sum += w[s];
    }
    for (int s = 0; s < k; s++)
        w[s] *= j->renormalize ? j->scale / fmax(sum, ROUTE_MIN_SUM) : j->scale;
}

static double route_loss(const void *ctx, const double *logits) {
    const struct route_case *c = ctx;
    double w[MAX], loss = 0;
    plain_weights(c->j, c->row, logits, w);
    for (int s = 0; s < c->j->r->k; s++)
        loss += c->dweight[s] * w[s];
    return loss;
}

static void run_route(struct worker *w, void *arg) {
    cpu_ops()->route(w, arg);
}

static void check_route(struct team *t, struct route_job j, int n_expert, int k, float shift) {
    int32_t expert[MAX], order[MAX], start[MAX];
    float weight[MAX], *logits = rnd_vec(ROUTE_ROWS * n_expert), *dw = rnd_vec(k);
    struct routing r = {n_expert, k, expert, weight, order, start};
    float *dl = rnd_vec(n_expert);
    for (int i = 0; i < ROUTE_ROWS * n_expert; i++)
        logits[i] += shift;
    j.logits = logits, j.n = ROUTE_ROWS, j.r = &r;
    team_run(t, run_route, &j);
    for (int row = 0; row < ROUTE_ROWS; row++) {
        const struct route_case c = {&j, row, dw};
        double l[MAX], want[MAX];
        for (int e = 0; e < n_expert; e++)
            l[e] = logits[row * n_expert + e];
        plain_weights(&j, row, l, want);
        for (int s = 0; s < k; s++)
            assert_true(fabs(weight[row * k + s] - want[s]) <= 1e-6 * fmax(1, want[s]));
        back_route(&j, row, dw, dl);
        check_gradient("router", route_loss, &c, logits + row * n_expert, n_expert, dl, NULL);
    }
    free(logits), free(dw), free(dl);
}

static void test_routers(void **state) {
    (void)state;
    struct err e = {0};
    struct team *t = team_new(2, &e);
    const struct op_limits lim = {.max_rows = 64, .max_cols = 128, .max_out = 128};
    assert_non_null(t);
    assert_int_equal(cpu_ops()->reserve(t, &lim, &e), 0);
    float *bias = rnd_vec(64);
    for (int i = 0; i < 96; i++) {
        struct route_job j = {.gate = (enum gate)(i % 3),
                              .renormalize = i / 3 % 2,
                              .scale = i / 6 % 2 ? 2.5f : 1.0f,
                              .select_bias = i / 12 % 2 ? bias : NULL};
        if (i / 24 % 2) j.n_group = 4, j.n_group_used = 2;
        const int n = i / 24 % 2 ? 16 : 3 + (int)rnd(30), k = 1 + (int)rnd(n < 8 ? 3 : 8);
        /* Sigmoids of -14: their sum is too small to be divided by. */
        check_route(t, j, n, k, j.gate == GATE_SIGMOID && i >= 48 ? -14.0f : 0.0f);
    }
    free(bias);
    team_free(t);
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms),       cmocka_unit_test(test_norm_none),
        cmocka_unit_test(test_activations), cmocka_unit_test(test_caps),
        cmocka_unit_test(test_gate_rows),   cmocka_unit_test(test_combine),
        cmocka_unit_test(test_routers),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
