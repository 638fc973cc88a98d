/* The products of training against sums in double: every type, odd sizes, lists of rows, scale,
 * bias, adding; the same bits for 1 to 3 threads, and for rows alone as among others. */
#include "support.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/arena.h"
#include "base/f16.h"
#include "cpu/kern.h"
#include "quant/quant.h"
#include "train/gemm.h"

static struct arena mem;
static uint64_t seed = 88172645463325252u;

static double uniform(void) { /* [-1, 1); xorshift64 (Marsaglia 2003) */
    seed ^= seed << 13;
    seed ^= seed >> 7;
    seed ^= seed << 17;
    return (double)(seed >> 11) / 4503599627370496.0 - 1.0;
}

static float *floats(size_t n) {
    float *x = arena_calloc(&mem, n + 1, sizeof *x);
    assert_non_null(x);
    for (size_t i = 0; i < n; i++)
        x[i] = (float)uniform();
    return x;
}

static float *copy_of(const float *x, size_t n) {
    float *y = arena_calloc(&mem, n + 1, sizeof *y);
    assert_non_null(y);
    memcpy(y, x, n * sizeof *y);
    return y;
}

/* n different numbers below `of`, in no order. */
static int32_t *some_rows(int n, int of) {
    int32_t *all = arena_calloc(&mem, (size_t)of, sizeof *all);
    assert_non_null(all);
    for (int i = 0; i < of; i++)
        all[i] = i;
    for (int i = 0; i < n; i++) {
        const int k = i + (int)((uniform() + 1) / 2 * (of - i));
        const int32_t t = all[i];
        all[i] = all[k];
        all[k] = t;
    }
    return all;
}

static struct mat random_mat(enum qtype t, int n_row, int n_col) {
    struct mat m = {
        .type = t, .n_row = n_row, .n_col = n_col, .row_bytes = qtype_row_bytes(t, n_col)};
    uint8_t *p = arena_alloc(&mem, m.row_bytes * (size_t)n_row + 1);
    assert_non_null(p);
    for (int r = 0; r < n_row; r++)
        quant_type(t)->encode(floats((size_t)n_col), p + (size_t)r * m.row_bytes, (size_t)n_col,
                              NULL);
    m.data = p;
    return m;
}

static float *decoded(const struct mat *m) {
    float *w = floats((size_t)m->n_row * (size_t)m->n_col);
    for (int r = 0; r < m->n_row; r++)
        quant_type(m->type)->decode(m->data + (size_t)r * m->row_bytes,
                                    w + (size_t)r * (size_t)m->n_col, (size_t)m->n_col);
    return w;
}

/* ---- teams ---- */

enum { MAX_THREADS = 3 };
static struct team *team[MAX_THREADS + 1];

enum kind { FORWARD, BACKWARD };

struct task {
    enum kind kind;
    const struct gemm_job *job;
};

static void run_task(struct worker *w, void *arg) {
    const struct task *t = arg;
    (t->kind == FORWARD ? gemm_forward : gemm_backward)(w, t->job);
}

static void run(int n_thread, enum kind kind, const struct gemm_job *j) {
    struct task t = {kind, j};
    team_run(team[n_thread], run_task, &t);
}

static void run_weight(struct worker *w, void *arg) {
    gemm_weight(w, arg);
}

/* ---- the naive answer ---- */

/* What an operand becomes. */
static double operand(float x, enum gemm_prec prec) {
    return (double)(prec == GEMM_BF16 && gemm_has_bf16() ? bf16_to_f32(f32_to_bf16(x)) : x);
}

/* Products of two floats are exact in double; a float sum of n terms errs by some of the rounding
 * of each. */
static void check_sum(double got, double want, double size, const char *what, int t, int o) {
    if (fabs(got - want) <= 2e-6 * size + 1e-7) return;
    fail_msg("%s: [%d][%d] is %.9g, not %.9g", what, t, o, got, want);
}

static void check_job(enum kind kind, const struct gemm_job *j, const float *w, const float *y0,
                      const char *what) {
    const int n_out = kind == FORWARD ? j->w->n_row : j->w->n_col;
    const int n_sum = kind == FORWARD ? j->w->n_col : j->w->n_row;
    const size_t out_step = kind == FORWARD ? (size_t)n_sum : 1,
                 sum_step = kind == FORWARD ? 1 : (size_t)n_out;
    for (int t = 0; t < j->n; t++) {
        const float *x = j->x + (size_t)(j->x_row ? j->x_row[t] : t) * (size_t)j->ldx;
        const size_t y_at = (size_t)(j->y_row ? j->y_row[t] : t) * (size_t)j->ldy;
        for (int o = 0; o < n_out; o++) {
            double s = 0, size = 0;
            for (int i = 0; i < n_sum; i++) {
                const double m = operand(x[i], j->prec) *
                                 operand(w[(size_t)o * out_step + (size_t)i * sum_step], j->prec);
                s += m;
                size += fabs(m);
            }
            s *= (double)j->scale;
            size *= fabs((double)j->scale);
            if (j->bias) s += (double)j->bias[o];
            if (j->add) s += (double)y0[y_at + (size_t)o];
            check_sum((double)j->y[y_at + (size_t)o], s, size + fabs(s), what, t, o);
        }
    }
}

/* ---- one shape, all ways ---- */

struct form {
    enum qtype type;
    int n, n_row, n_col;
    bool listed, bias, add;
    float scale;
};

/* Rows of a job one by one, and in pairs: the bits of all together. */
static void check_alone(enum kind kind, const struct gemm_job *j, const float *y0, size_t n_y,
                        const char *what) {
    const int n_out = kind == FORWARD ? j->w->n_row : j->w->n_col;
    for (int t = 0; t < j->n; t += 1 + j->n / 7) {
        struct gemm_job one = *j;
        const int32_t x_row[2] = {j->x_row ? j->x_row[t] : t, j->x_row ? j->x_row[0] : 0};
        const int32_t y_row[2] = {j->y_row ? j->y_row[t] : t, j->y_row ? j->y_row[0] : 0};
        one.y = copy_of(y0, n_y);
        one.x_row = x_row;
        one.y_row = y_row;
        one.n = t % 2 ? 2 : 1;
        run(1, kind, &one);
        const size_t at = (size_t)y_row[0] * (size_t)j->ldy;
        if (memcmp(one.y + at, j->y + at, (size_t)n_out * sizeof *j->y))
            fail_msg("%s: row %d of %d differs alone", what, t, j->n);
    }
}

static void check_form(enum kind kind, const struct form *f, enum gemm_prec prec) {
    const struct mat m = random_mat(f->type, f->n_row, f->n_col);
    const int n_in = kind == FORWARD ? f->n_col : f->n_row,
              n_out = kind == FORWARD ? f->n_row : f->n_col;
    const int n_mem = f->listed ? f->n + 3 : f->n; /* rows in memory */
    const size_t n_y = (size_t)n_mem * (size_t)(n_out + 5);
    const float *y0 = floats(n_y);
    struct gemm_job j = {.x = floats((size_t)n_mem * (size_t)(n_in + 3)),
                         .ldx = n_in + 3,
                         .x_row = f->listed ? some_rows(f->n, n_mem) : NULL,
                         .w = &m,
                         .y = copy_of(y0, n_y),
                         .ldy = n_out + 5,
                         .y_row = f->listed ? some_rows(f->n, n_mem) : NULL,
                         .n = f->n,
                         .scale = f->scale,
                         .bias = f->bias && kind == FORWARD ? floats((size_t)n_out) : NULL,
                         .add = f->add,
                         .prec = prec};
    char what[128];
    snprintf(what, sizeof what, "%s %s %s %d x [%d][%d]", kind == FORWARD ? "forward" : "backward",
             qtype_name(f->type), prec == GEMM_BF16 ? "bf16" : "f32", f->n, f->n_row, f->n_col);
    run(1, kind, &j);
    check_job(kind, &j, decoded(&m), y0, what);
    const float *first = j.y;
    for (int n = 2; n <= MAX_THREADS; n++) {
        j.y = copy_of(y0, n_y);
        run(n, kind, &j);
        if (memcmp(first, j.y, n_y * sizeof *first)) fail_msg("%s: %d threads differ", what, n);
    }
    for (size_t i = 0; i < n_y; i++) /* beyond the rows' ends */
        if ((int)(i % (size_t)j.ldy) >= n_out && first[i] != y0[i])
            fail_msg("%s: wrote beyond a row", what);
    if (f->n) check_alone(kind, &j, y0, n_y, what);
    arena_reset(&mem);
}

static void check_both(const struct form *f) {
    for (int prec = GEMM_F32; prec <= GEMM_BF16; prec++) {
        check_form(FORWARD, f, prec);
        check_form(BACKWARD, f, prec);
    }
}

/* ---- the tests ---- */

/* Every type that has a decoder, a row of several panels of terms. */
static void types(void **state) {
    (void)state;
    int n_type = 0;
    for (int t = 0; t < QT_COUNT; t++) {
        if (!qtype_geom((uint32_t)t) || !quant_type(t)->decode) continue;
        check_both(&(struct form){t, 9, 70, 768, false, true, false, 1});
        check_both(&(struct form){t, 2, 33, 256, true, false, true, -0.5f});
        n_type++;
    }
    assert_int_equal(n_type, 28);
}

static void sizes(void **state) {
    (void)state;
    static const int size[] = {1, 2, 3, 5, 6, 7, 16, 17, 48, 63, 65, 100, 130, 257, 519};
    const int n_size = sizeof size / sizeof *size;
    for (int i = 0; i < 3 * n_size; i++) {
        const struct form f = {QT_F32,
                               size[i % n_size] % 131,
                               size[(i * 7 + i / n_size) % n_size],
                               size[(i * 4 + 2 + i / n_size) % n_size],
                               i % 3 == 1,
                               i % 2 == 0,
                               i % 4 < 2,
                               i % 5 ? 0.75f : 1};
        check_both(&f);
    }
}

/* Small blocks reach columns that no share of a thread is a multiple of. */
static void shares(void **state) {
    (void)state;
    check_both(&(struct form){QT_Q8_0, 20, 300, 96, true, true, true, 2});
    check_both(&(struct form){QT_Q4_K, 3, 200, 1280, false, false, true, 1});
    check_both(&(struct form){QT_Q4_0, 61, 64, 608, false, false, false, 1});
    check_both(&(struct form){QT_F32, 1031, 16, 70, true, false, true, 0.5f}); /* more than TALL */
    check_both(&(struct form){QT_F16, 65, 16, 530, false, false, true, 0.5f});
    check_both(&(struct form){QT_F32, 0, 16, 70, false, false, true, 0.5f});
}

static void check_weight_in(enum gemm_prec prec, int n, int n_row, int n_col, bool listed,
                            float scale) {
    const int n_mem = listed ? n + 3 : n;
    const size_t n_g = (size_t)n_row * (size_t)n_col;
    const float *g0 = floats(n_g);
    struct gemm_weight_job j = {.dy = floats((size_t)n_mem * (size_t)(n_row + 2)),
                                .lddy = n_row + 2,
                                .dy_row = listed ? some_rows(n, n_mem) : NULL,
                                .x = floats((size_t)n_mem * (size_t)(n_col + 1)),
                                .ldx = n_col + 1,
                                .x_row = listed ? some_rows(n, n_mem) : NULL,
                                .n = n,
                                .n_row = n_row,
                                .n_col = n_col,
                                .g = copy_of(g0, n_g),
                                .scale = scale,
                                .prec = prec};
    char what[64];
    snprintf(what, sizeof what, "weight [%d][%d] of %d rows, %s", n_row, n_col, n,
             prec == GEMM_BF16 ? "bf16" : "f32");
    team_run(team[1], run_weight, &j);
    for (int o = 0; o < n_row; o++)
        for (int i = 0; i < n_col; i++) {
            double s = 0, size = 0;
            for (int t = 0; t < n; t++) {
                const size_t dy = (size_t)(listed ? j.dy_row[t] : t) * (size_t)j.lddy;
                const size_t x = (size_t)(listed ? j.x_row[t] : t) * (size_t)j.ldx;
                const double m =
                    operand(j.dy[dy + (size_t)o], prec) * operand(j.x[x + (size_t)i], prec);
                s += m;
                size += fabs(m);
            }
            const size_t at = (size_t)o * (size_t)n_col + (size_t)i;
            s = s * (double)scale + (double)g0[at];
            check_sum((double)j.g[at], s, size * fabs((double)scale) + fabs(s), what, o, i);
        }
    const float *first = j.g;
    for (int k = 2; k <= MAX_THREADS; k++) {
        j.g = copy_of(g0, n_g);
        team_run(team[k], run_weight, &j);
        if (memcmp(first, j.g, n_g * sizeof *first)) fail_msg("%s: %d threads differ", what, k);
    }
    /* The last rows of it alone. */
    j.dy += n_row / 2;
    j.n_row -= n_row / 2;
    j.g = copy_of(g0 + (size_t)(n_row / 2) * (size_t)n_col, (size_t)j.n_row * (size_t)n_col);
    team_run(team[2], run_weight, &j);
    if (memcmp(first + (size_t)(n_row / 2) * (size_t)n_col, j.g,
               (size_t)j.n_row * (size_t)n_col * sizeof *first))
        fail_msg("%s: rows from %d on differ alone", what, n_row / 2);
    arena_reset(&mem);
}

static void check_weight(int n, int n_row, int n_col, bool listed, float scale) {
    check_weight_in(GEMM_F32, n, n_row, n_col, listed, scale);
    check_weight_in(GEMM_BF16, n, n_row, n_col, listed, scale);
}

static void weights(void **state) {
    (void)state;
    check_weight(1, 1, 1, false, 1);
    check_weight(7, 3, 65, true, 0.5f);
    check_weight(530, 16, 130, false, 2);
    check_weight(600, 130, 16, true, 1);
    check_weight(1100, 50, 270, false, 1);
    check_weight(33, 257, 300, true, -1);
    check_weight(64, 1030, 20, false, 1);
    check_weight(600, 30, 20, true, 1); /* made transposed; its last rows alone are not */
    check_weight(0, 5, 6, false, 1);
}

/* The same with other kernels, in processes of their own: the choice is made once. */
static void levels(void **state) {
    (void)state;
    if (getenv("CRIA_CPU")) return;
    static const char *const level[] = {"ref", "avx2", "neon"};
    char self[512], line[1200];
    const ssize_t n = readlink("/proc/self/exe", self, sizeof self - 1);
    assert_true(n > 0);
    self[n] = 0;
    for (size_t i = 0; i < sizeof level / sizeof *level; i++) {
        if (!kern_level(level[i])) continue;
        snprintf(line, sizeof line, "CRIA_CPU=%s '%s' >/dev/null 2>&1", level[i], self);
        if (system(line) != 0) fail_msg("failed with %s", line);
    }
}

static int set_up(void **state) {
    (void)state;
    struct err e = {0};
    for (int n = 1; n <= MAX_THREADS; n++) {
        team[n] = team_new(n, &e);
        if (!team[n] || team_reserve(team[n], gemm_scratch_bytes(), 0, &e)) return -1;
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (int n = 1; n <= MAX_THREADS; n++)
        team_free(team[n]);
    arena_fini(&mem);
    return 0;
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(types),   cmocka_unit_test(sizes),  cmocka_unit_test(shares),
        cmocka_unit_test(weights), cmocka_unit_test(levels),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
