/* The ops linear and head_linear against sums in double: norms, bias, residual, gated units,
 * experts, adapters, several types in one job; 1 to 3 threads give the same bits. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/arena.h"
#include "base/team.h"
#include "cpu/kern.h"
#include "cpu/linear.h"
#include "quant/quant.h"

enum { MAX_ROWS = 700, MAX_COLS = 1024, MAX_OUT = 1100, MAX_RANK = 300 };

static struct arena mem;
static uint64_t seed;

static double uniform(void) { /* [-1, 1); xorshift64 (Marsaglia 2003) */
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) / 4503599627370496.0 - 1.0;
}

static float *floats(size_t n, double scale) {
    float *x = arena_calloc(&mem, n, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)(scale * uniform());
    return x;
}

/* Random weights; block types as random bytes with the half-float scales set to about 0.01. */
static struct mat random_mat(enum qtype t, int n_row, int n_col) {
    struct mat m = {
        .type = t, .n_row = n_row, .n_col = n_col, .row_bytes = qtype_row_bytes(t, n_col)};
    const size_t n = m.row_bytes * (size_t)n_row;
    uint8_t *p = arena_alloc(&mem, n);
    assert_non_null(p);
    m.data = p;
    if (t == QT_F32) {
        memcpy(p, floats(n / 4, 0.2), n);
        return m;
    }
    for (size_t i = 0; i < n; i++)
        p[i] = (uint8_t)(uniform() * 127);
    const int d_at = t == QT_Q6_K ? 208 : 0, bytes = qtype_geom(t)->block_bytes;
    for (uint8_t *b = p; b < p + n; b += bytes) {
        const uint16_t d[2] = {0x2000, 0x2400}; /* 2^-7, 2^-6 */
        memcpy(b + d_at, d, t == QT_Q4_K ? 4 : 2);
    }
    return m;
}

static struct linear random_linear(enum qtype t, int n_mat, int n_row, int n_col, bool bias) {
    struct linear l = {.w = random_mat(t, n_row * n_mat, n_col), .n_mat = n_mat, .id = -1};
    l.w.n_row = n_row;
    l.mat_bytes = l.w.row_bytes * (size_t)n_row;
    if (bias) l.bias = floats((size_t)n_row * n_mat, 1);
    return l;
}

/* ---- the naive answer ---- */

/* W_mat x, with bias, into y; *size: the sum of magnitudes, to scale tolerances. */
static void naive(const struct linear *l, int mat, const double *x, double *y, double *size) {
    float *w = floats((size_t)l->w.n_col, 0);
    for (int r = 0; r < l->w.n_row; r++) {
        double s = 0, a = 0;
        quant_type(l->w.type)->decode(l->w.data + l->mat_bytes * (size_t)mat +
                                          l->w.row_bytes * (size_t)r,
                                      w, (size_t)l->w.n_col);
        for (int i = 0; i < l->w.n_col; i++) {
            s += w[i] * x[i];
            a += fabs(w[i] * x[i]);
        }
        if (l->scale) s *= l->scale[mat];
        if (l->bias) s += l->bias[(size_t)mat * l->w.n_row + r];
        y[r] = s;
        *size = fmax(*size, a);
    }
}

static void naive_norm(const struct norm *m, int n, const float *x, double *y) {
    for (int i = 0; i < n; i++)
        y[i] = x[i];
    for (int at = 0; m && m->kind != NORM_NONE && at < n; at += m->dim) {
        double mean = 0, ss = 0;
        for (int i = 0; i < m->dim; i++)
            mean += x[at + i] / (double)m->dim;
        if (m->kind == NORM_RMS) mean = 0;
        for (int i = 0; i < m->dim; i++)
            ss += (x[at + i] - mean) * (x[at + i] - mean) / m->dim;
        for (int i = 0; i < m->dim; i++) {
            const int wi = m->n_weight == m->dim ? i : at + i;
            y[at + i] = (x[at + i] - mean) / sqrt(ss + m->eps) * (m->w ? m->w[wi] : 1) +
                        (m->b && m->kind == NORM_LAYER ? m->b[wi] : 0);
        }
    }
}

static void naive_adapter(const struct linear_job *j, int row, const struct linear *l,
                          const double *x, double *y) {
    for (int s = 0; j->seq && s < j->n_seq; s++) {
        const struct seq_rows *q = &j->seq[s];
        if (row < q->row0 || row >= q->row0 + q->n_row || !q->adapter || l->id < 0) continue;
        const struct lora_pair *p = &q->adapter->pair[l->id];
        if (!p->a.data) continue;
        for (int k = 0; k < p->a.n_row; k++) {
            const float *a = (const float *)(const void *)(p->a.data + p->a.row_bytes * (size_t)k);
            double ax = 0;
            for (int i = 0; i < p->a.n_col; i++)
                ax += a[i] * x[i];
            for (int r = 0; r < l->w.n_row; r++) {
                const float *b =
                    (const float *)(const void *)(p->b.data + p->b.row_bytes * (size_t)r);
                y[r] += p->scale * b[k] * ax;
            }
        }
    }
}

static double silu(double v) {
    return v / (1 + exp(-v));
}

/* What out o of work row `e` must be: y0 is what was there. */
static void check_row(const struct linear_job *j, int o, int e, int row, int x_row, int mat,
                      const float *y0) {
    const struct linear *l = j->out[o].l;
    const int n = l->w.n_row;
    double x[MAX_COLS], y[MAX_OUT], up[MAX_OUT], size = 0;
    naive_norm(j->norm, l->w.n_col, j->x + (size_t)x_row * j->ldx, x);
    naive(l, mat, x, y, &size);
    naive_adapter(j, row, l, x, y);
    if (j->then == THEN_GLU) {
        naive(j->out[1].l, mat, x, up, &size);
        naive_adapter(j, row, j->out[1].l, x, up);
    }
    /* Quantized activations: 1/254 of the largest value in 32 or 256. */
    const double tol = (l->w.type == QT_F32 ? 2e-5 : 6e-3) * fmax(size, 1);
    for (int r = 0; r < n; r++) {
        const size_t at = (size_t)e * j->out[o].ldy + r;
        double want = y[r], slack = tol;
        if (j->then == THEN_ADD) want = y0[at] + j->out_scale * want;
        if (j->then == THEN_ACT) want = silu(want);
        if (j->then == THEN_GLU) {
            slack = tol * (1 + fabs(silu(want)) + fabs(up[r]));
            want = silu(want) * up[r];
        }
        if (fabs(j->out[o].y[at] - want) > slack)
            fail_msg("out %d row %d [%d]: %g, not %g (tolerance %g)", o, e, r,
                     (double)j->out[o].y[at], want, slack);
    }
}

/* ---- running ---- */

static void run_job(struct worker *w, void *arg) {
    cpu_linear(w, arg);
}

static struct team *team_of(int n) {
    const struct op_limits lim = {.max_rows = MAX_ROWS,
                                  .max_cols = MAX_COLS,
                                  .max_out = MAX_OUT,
                                  .max_outs_sum = 4 * MAX_OUT,
                                  .max_rank = MAX_RANK};
    struct err e = {0};
    size_t scratch, shared;
    struct team *t = team_new(n, &e);
    assert_non_null(t);
    cpu_linear_scratch(&lim, &scratch, &shared);
    assert_int_equal(team_reserve(t, scratch, shared, &e), 0);
    return t;
}

/* Run on 1, 2 and 3 threads from the same start; check the values of the first run, and that the
 * others have the same bits. */
static void check_job(struct linear_job *j) {
    const int n_e = j->routing ? j->n * j->routing->k : j->n;
    const int n_out = j->then == THEN_GLU ? 1 : j->n_out;
    float *y0[4], *y1[4];
    for (int o = 0; o < n_out; o++) {
        const size_t n = (size_t)n_e * j->out[o].ldy;
        y0[o] = floats(n, 1);
        y1[o] = floats(n, 0);
        j->out[o].y = floats(n, 0);
    }
    for (int n_thread = 1; n_thread <= 3; n_thread++) {
        struct team *t = team_of(n_thread);
        for (int o = 0; o < n_out; o++)
            memcpy(j->out[o].y, y0[o], (size_t)n_e * j->out[o].ldy * sizeof(float));
        team_run(t, run_job, j);
        team_free(t);
        for (int o = 0; o < n_out; o++) {
            const size_t n = (size_t)n_e * j->out[o].ldy;
            if (n_thread == 1)
                memcpy(y1[o], j->out[o].y, n * sizeof(float));
            else
                assert_memory_equal(y1[o], j->out[o].y, n * sizeof(float));
            for (int e = 0; e < n_e && n_thread == 1; e++) /* padding stays */
                for (int r = j->out[o].l->w.n_row; r < j->out[o].ldy; r++)
                    assert_true(y1[o][(size_t)e * j->out[o].ldy + r] ==
                                y0[o][(size_t)e * j->out[o].ldy + r]);
        }
    }
    for (int o = 0; o < n_out; o++) {
        for (int i = 0; i < n_e; i++) {
            const struct routing *r = j->routing;
            const int row = r ? i / r->k : i;
            check_row(j, o, i, row, r && j->x_per_slot ? i : row, r ? r->expert[i] : 0, y0[o]);
        }
    }
}

static struct linear_job job_new(int n, int n_col, enum linear_then then) {
    const int ldx = n_col + 3;
    return (struct linear_job){.x = floats((size_t)n * ldx * 8, 2),
                               .ldx = ldx,
                               .n = n,
                               .then = then,
                               .act = ACT_SILU,
                               .out_scale = 0.5f};
}

static void add_out(struct linear_job *j, struct linear *l) {
    j->out[j->n_out++] = (struct linear_out){.l = l, .ldy = l->w.n_row + 5};
}

static void test_dense(void **state) {
    (void)state;
    static const enum qtype types[][3] = {
        {QT_F32, QT_F32, QT_F32}, {QT_Q8_0, QT_F32, QT_Q8_0}, {QT_Q4_K, QT_Q6_K, QT_Q8_0}};
    static const int rows[] = {1, 2, 5, 33};
    for (int ty = 0; ty < 3; ty++) {
        for (int i = 0; i < 4; i++) {
            for (int then = THEN_STORE; then <= THEN_ACT; then++) {
                const int n_col = ty < 2 ? 96 : 512;
                struct linear l[3];
                struct linear_job j = job_new(rows[i], n_col, (enum linear_then)then);
                for (int o = 0; o < (then == THEN_GLU ? 2 : 3); o++) {
                    const int n_row = then == THEN_GLU ? 70 : 30 + 37 * o;
                    l[o] = random_linear(types[ty][o], 1, n_row, n_col, (o + i) % 2);
                    add_out(&j, &l[o]);
                }
                check_job(&j);
                arena_reset(&mem);
            }
        }
    }
}

static void test_norms(void **state) {
    (void)state;
    for (int i = 0; i < 6; i++) {
        const int n_col = 128, dim = i % 3 == 2 ? 32 : n_col;
        const struct norm norm = {.kind = i < 3 ? NORM_RMS : NORM_LAYER,
                                  .dim = dim,
                                  .n_weight = i % 3 == 1 ? n_col : dim,
                                  .w = i == 3 ? NULL : floats((size_t)n_col, 1),
                                  .b = i % 2 ? floats((size_t)n_col, 1) : NULL,
                                  .eps = 1e-3f};
        struct linear l = random_linear(QT_F32, 1, 40, n_col, false);
        struct linear_job j = job_new(3 + 100 * i, n_col, THEN_STORE);
        j.norm = &norm;
        add_out(&j, &l);
        check_job(&j);
        arena_reset(&mem);
    }
}

/* More columns than one kernel call takes. */
static void test_wide(void **state) {
    (void)state;
    struct linear l = random_linear(QT_Q4_K, 1, 33, 256, true);
    struct linear_job j = job_new(MAX_ROWS, 256, THEN_ADD);
    add_out(&j, &l);
    check_job(&j);
    arena_reset(&mem);
}

/* Enough rows and columns for tall pieces, with maps of a GLU that take different heights. */
static void test_tall(void **state) {
    static const enum qtype type[][2] = {{QT_Q4_K, QT_Q6_K}, {QT_Q4_K, QT_F32}, {QT_Q4_K, QT_F16}};
    (void)state;
    for (int i = 0; i < 3; i++) {
        struct linear a = random_linear(type[i][0], 1, 1100, 512, true);
        struct linear b = random_linear(type[i][1], 1, 1100, 512, true);
        struct linear_job j = job_new(70, 512, THEN_GLU);
        add_out(&j, &a);
        add_out(&j, &b);
        check_job(&j);
        arena_reset(&mem);
    }
}

/* The residual is the input: nobody may write before all have read. */
static void test_in_place(void **state) {
    (void)state;
    struct linear l = random_linear(QT_F32, 1, 96, 96, false);
    for (int n_thread = 1; n_thread <= 3; n_thread++) {
        struct linear_job j = job_new(1, 96, THEN_ADD);
        float *x = floats(96, 1), *x0 = floats(96, 0);
        double xd[96], y[96], size = 0;
        memcpy(x0, x, 96 * sizeof *x);
        add_out(&j, &l);
        j.x = j.out[0].y = x;
        j.ldx = j.out[0].ldy = 96;
        struct team *t = team_of(n_thread);
        team_run(t, run_job, &j);
        team_free(t);
        for (int i = 0; i < 96; i++)
            xd[i] = x0[i];
        naive(&l, 0, xd, y, &size);
        for (int i = 0; i < 96; i++)
            assert_true(fabs(x[i] - (x0[i] + 0.5 * y[i])) < 2e-5 * size);
    }
    arena_reset(&mem);
}

/* A random routing of n rows to k of n_expert experts; expert 0 gets none. */
static struct routing random_routing(int n, int n_expert, int k) {
    struct routing r = {.n_expert = n_expert, .k = k};
    r.expert = arena_calloc(&mem, (size_t)n * k, sizeof(int32_t));
    r.order = arena_calloc(&mem, (size_t)n * k, sizeof(int32_t));
    r.start = arena_calloc(&mem, (size_t)n_expert + 1, sizeof(int32_t));
    for (int i = 0; i < n; i++) {
        const int first = 1 + (int)((uniform() + 1) / 2 * (n_expert - 1));
        for (int s = 0; s < k; s++)
            r.expert[i * k + s] = 1 + (first - 1 + s) % (n_expert - 1);
    }
    int at = 0;
    for (int x = 0; x < n_expert; x++) {
        r.start[x] = at;
        for (int e = 0; e < n * k; e++)
            if (r.expert[e] == x) r.order[at++] = e;
    }
    r.start[n_expert] = at;
    return r;
}

static void test_experts(void **state) {
    (void)state;
    static const int rows[] = {1, 4, 40};
    for (int i = 0; i < 3 * 4; i++) {
        const enum qtype type = i % 2 ? QT_Q8_0 : QT_F32;
        const bool glu = i / 2 % 2;
        const float scale[6] = {1, 2, 0.5f, 1, 3, 0.25f};
        struct linear l[2];
        struct linear_job j = job_new(rows[i / 4], 96, glu ? THEN_GLU : THEN_STORE);
        struct routing r = random_routing(j.n, 6, 2);
        j.routing = &r;
        j.x_per_slot = !glu;
        for (int o = 0; o < (glu ? 2 : 1); o++) {
            l[o] = random_linear(type, 6, 50, 96, true);
            if (!glu) l[o].scale = scale;
            add_out(&j, &l[o]);
        }
        check_job(&j);
        arena_reset(&mem);
    }
}

static struct lora_pair random_pair(int rank, int n_in, int n_out, float scale) {
    return (struct lora_pair){
        .a = random_mat(QT_F32, rank, n_in), .b = random_mat(QT_F32, n_out, rank), .scale = scale};
}

static void test_adapters(void **state) {
    (void)state;
    for (int i = 0; i < 4; i++) {
        const int n_col = 96, rank = i == 3 ? MAX_RANK : 5;
        struct linear l[2];
        struct linear_job j = job_new(17, n_col, i == 2 ? THEN_GLU : THEN_STORE);
        const struct lora_pair pairs[2][2] = {
            {random_pair(rank, n_col, 70, 2.0f), random_pair(3, n_col, 70, 0.5f)},
            {{.scale = 1}, random_pair(2, n_col, 70, -1.0f)}};
        const struct adapter adapter[2] = {{pairs[0], rank}, {pairs[1], 3}};
        const struct seq_rows seq[4] = {{.row0 = 0, .n_row = 3, .adapter = &adapter[0]},
                                        {.row0 = 3, .n_row = 1},
                                        {.row0 = 4, .n_row = 8, .adapter = &adapter[1]},
                                        {.row0 = 12, .n_row = 5, .adapter = &adapter[0]}};
        j.seq = seq;
        j.n_seq = 4;
        for (int o = 0; o < 2; o++) {
            l[o] = random_linear(i == 1 ? QT_Q8_0 : QT_F32, 1, 70, n_col, o);
            l[o].id = o;
            add_out(&j, &l[o]);
        }
        check_job(&j);
        arena_reset(&mem);
    }
}

struct head_job {
    struct linear *l;
    const float *x;
    float *y;
    int ldx, head_ldx, ldy, head_ldy, n;
};

static void run_heads(struct worker *w, void *arg) {
    const struct head_job *h = arg;
    cpu_head_linear(w, h->l, h->x, h->ldx, h->head_ldx, h->y, h->ldy, h->head_ldy, h->n);
}

static void test_heads(void **state) {
    (void)state;
    for (int n = 1; n <= 200; n += 66) {
        struct linear l = random_linear(QT_F32, 5, 35, 64, n > 1);
        struct head_job h = {.l = &l, .ldx = 5 * 70, .head_ldx = 70, .ldy = 5 * 40, .head_ldy = 40};
        h.n = n;
        h.x = floats((size_t)n * h.ldx, 1);
        for (int n_thread = 1; n_thread <= 3; n_thread++) {
            struct team *t = team_of(n_thread);
            h.y = floats((size_t)n * h.ldy, 0);
            team_run(t, run_heads, &h);
            team_free(t);
            for (int i = 0; i < n; i++) {
                for (int k = 0; k < 5; k++) {
                    double x[64], y[35], size = 0;
                    for (int c = 0; c < 64; c++)
                        x[c] = h.x[(size_t)i * h.ldx + 70 * (size_t)k + c];
                    naive(&l, k, x, y, &size);
                    for (int r = 0; r < 35; r++)
                        assert_true(fabs(h.y[(size_t)i * h.ldy + 40 * (size_t)k + r] - y[r]) <
                                    2e-5 * fmax(size, 1));
                }
            }
        }
        arena_reset(&mem);
    }
}

static int setup(void **state) {
    (void)state;
    seed = 0x9e3779b97f4a7c15u;
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup(test_dense, setup),    cmocka_unit_test_setup(test_norms, setup),
        cmocka_unit_test_setup(test_wide, setup),     cmocka_unit_test_setup(test_tall, setup),
        cmocka_unit_test_setup(test_in_place, setup), cmocka_unit_test_setup(test_experts, setup),
        cmocka_unit_test_setup(test_adapters, setup), cmocka_unit_test_setup(test_heads, setup),
    };
    const int rc = cmocka_run_group_tests_name("linear", tests, NULL, NULL);
    arena_fini(&mem);
    return rc;
}
