/* The ops of the CPU that are neither products nor attention, each against a plain double
 * computation written here, on teams of one to three. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/f16.h"
#include "base/team.h"
#include "cpu/cpu.h"
#include "quant/quant.h"

enum { MAX_TEAM = 3 };

static struct team *teams[MAX_TEAM + 1];
static uint64_t rng = 7;

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

static void fill(float *x, int n) {
    for (int i = 0; i < n; i++)
        x[i] = rnd_f();
}

static int set_up(void **state) {
    (void)state;
    const struct op_limits lim = {.max_rows = 64,
                                  .max_cols = 2048,
                                  .max_out = 2048,
                                  .max_outs_sum = 2048,
                                  .n_head = 8,
                                  .n_kv_head = 2,
                                  .max_head_dim = 128,
                                  .max_ctx = 512};
    for (int n = 1; n <= MAX_TEAM; n++) {
        struct err e = {0};
        teams[n] = team_new(n, &e);
        assert_non_null(teams[n]);
        assert_int_equal(cpu_ops()->reserve(teams[n], &lim, &e), 0);
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (int n = 1; n <= MAX_TEAM; n++)
        team_free(teams[n]);
    return 0;
}

static void near(const char *what, int i, double got, double want, double tol) {
    if (!(fabs(got - want) <= tol * (1 + fabs(want))))
        fail_msg("%s[%d]: %.9g, want %.9g", what, i, got, want);
}

/* ---- rows ---- */

enum { ROWS = 5, LD = 1100 };

struct rows_call {
    float x[ROWS][LD], y[ROWS][LD];
    int n, n_col;
    const struct norm *norm;
    const struct mat *table;
    const int32_t *index;
    float scale, cap;
};

static void do_norm(struct worker *w, void *arg) {
    struct rows_call *c = arg;
    cpu_ops()->norm(w, c->y[0], LD, c->x[0], LD, c->n, c->n_col, c->norm);
}

static void do_add_norm(struct worker *w, void *arg) {
    struct rows_call *c = arg;
    cpu_ops()->add_norm(w, c->x[0], LD, c->y[0], LD, c->n, c->n_col, c->norm, c->scale);
}

static void do_scale_cap(struct worker *w, void *arg) {
    struct rows_call *c = arg;
    cpu_ops()->scale_cap(w, c->x[0], LD, c->n, c->n_col, c->scale, c->cap);
}

static void do_clamp(struct worker *w, void *arg) {
    struct rows_call *c = arg;
    cpu_ops()->clamp(w, c->x[0], LD, c->n, c->n_col, c->scale);
}

static void do_gate(struct worker *w, void *arg) {
    struct rows_call *c = arg;
    cpu_ops()->gate_rows(w, c->x[0], LD, c->y[0], LD, c->n, c->n_col);
}

static void do_gather(struct worker *w, void *arg) {
    struct rows_call *c = arg;
    cpu_ops()->gather_rows(w, c->x[0], LD, c->y[0], LD, c->index, c->n, c->n_col);
}

static void do_embed(struct worker *w, void *arg) {
    struct rows_call *c = arg;
    cpu_ops()->embed(w, c->x[0], LD, c->table, c->index, c->n, c->scale);
}

static void do_add_rows(struct worker *w, void *arg) {
    struct rows_call *c = arg;
    cpu_ops()->add_rows(w, c->x[0], LD, c->table, c->index, c->n);
}

static const int COLS[] = {1, 2, 7, 16, 33, 64, 100, 511, 512, 513, 1024, 1099};
enum { N_COLS = sizeof COLS / sizeof *COLS };

/* Fresh values for each shape and team; before keeps the old x. */
static void each_shape(void (*fn)(struct worker *, void *), struct rows_call *c,
                       void (*check)(const struct rows_call *c, const struct rows_call *before)) {
    struct rows_call *before = malloc(sizeof *before);
    assert_non_null(before);
    for (int i = 0; i < N_COLS; i++)
        for (int t = 1; t <= MAX_TEAM; t++)
            for (c->n = 1; c->n <= ROWS; c->n += 2) {
                c->n_col = COLS[i];
                fill(c->x[0], ROWS * LD);
                fill(c->y[0], ROWS * LD);
                *before = *c;
                team_run(teams[t], fn, c);
                check(c, before);
                for (int r = 0; r < ROWS; r++) /* nothing beside the rows was touched */
                    for (int k = r < c->n ? c->n_col : 0; k < LD; k++)
                        if (c->x[r][k] != before->x[r][k] || c->y[r][k] != before->y[r][k])
                            fail_msg("row %d col %d was written", r, k);
            }
    free(before);
}

static void plain_norm(const struct norm *nm, const float *x, int n, double *y) {
    for (int at = 0; at < n; at += nm->dim) {
        double mean = 0, ss = 0;
        for (int i = 0; nm->kind == NORM_LAYER && i < nm->dim; i++)
            mean += (double)x[at + i] / nm->dim;
        for (int i = 0; i < nm->dim; i++)
            ss += (x[at + i] - mean) * (x[at + i] - mean);
        for (int i = 0; i < nm->dim; i++) {
            const int iw = nm->n_weight > nm->dim ? at + i : i;
            y[at + i] = (x[at + i] - mean) / sqrt(ss / nm->dim + (double)nm->eps);
            if (nm->w) y[at + i] *= nm->w[iw];
            if (nm->b) y[at + i] += nm->b[iw];
        }
    }
}

static void check_norm(const struct rows_call *c, const struct rows_call *before) {
    double want[LD];
    for (int r = 0; r < c->n; r++) {
        plain_norm(c->norm, before->x[r], c->n_col, want);
        for (int i = 0; i < c->n_col; i++)
            near("norm", i, c->y[r][i], want[i], 2e-6);
    }
}

static void check_add_norm(const struct rows_call *c, const struct rows_call *before) {
    double want[LD];
    for (int r = 0; r < c->n; r++) {
        if (c->norm) plain_norm(c->norm, before->y[r], c->n_col, want);
        for (int i = 0; i < c->n_col; i++)
            near("add_norm", i, c->x[r][i],
                 before->x[r][i] + (double)c->scale * (c->norm ? want[i] : before->y[r][i]), 2e-6);
    }
}

static void test_norms(void **state) {
    (void)state;
    struct rows_call *c = calloc(1, sizeof *c);
    float w[LD], b[LD];
    fill(w, LD), fill(b, LD);
    for (int v = 0; v < 4; v++) {
        struct norm nm = {.kind = v & 1 ? NORM_LAYER : NORM_RMS, .eps = 1e-5f};
        nm.w = v == 1 ? NULL : w, nm.b = v == 3 ? b : NULL;
        c->norm = &nm, c->scale = 0.25f;
        struct rows_call *before = malloc(sizeof *before);
        for (int i = 0; i < N_COLS; i++) /* dim is the row's, so not through each_shape */
            for (int groups = 1; groups <= 4; groups *= 2)
                for (int own = 0; own < 2; own++) {
                    if (COLS[i] % groups) continue;
                    nm.dim = COLS[i] / groups, nm.n_weight = own ? COLS[i] : nm.dim;
                    c->n = 3, c->n_col = COLS[i];
                    fill(c->x[0], ROWS * LD), fill(c->y[0], ROWS * LD);
                    *before = *c;
                    team_run(teams[1 + (i + groups) % MAX_TEAM], do_norm, c);
                    check_norm(c, before);
                    *before = *c;
                    team_run(teams[1 + (i + groups) % MAX_TEAM], do_add_norm, c);
                    check_add_norm(c, before);
                }
        free(before);
    }
    c->norm = NULL, c->scale = -1.5f;
    each_shape(do_add_norm, c, check_add_norm);
    free(c);
}

static void check_scale_cap(const struct rows_call *c, const struct rows_call *before) {
    for (int r = 0; r < c->n; r++)
        for (int i = 0; i < c->n_col; i++) {
            double want = (double)before->x[r][i] * c->scale;
            if (c->cap != 0) want = c->cap * tanh(want / c->cap);
            near("scale_cap", i, c->x[r][i], want, 1e-6);
        }
}

static void check_clamp(const struct rows_call *c, const struct rows_call *before) {
    for (int r = 0; r < c->n; r++)
        for (int i = 0; i < c->n_col; i++)
            assert_true(c->x[r][i] == fminf(fmaxf(before->x[r][i], -c->scale), c->scale));
}

static void check_gate(const struct rows_call *c, const struct rows_call *before) {
    for (int r = 0; r < c->n; r++)
        for (int i = 0; i < c->n_col; i++)
            near("gate_rows", i, c->x[r][i], before->x[r][i] / (1 + exp(-(double)c->y[r][0])),
                 1e-6);
}

static void check_gather(const struct rows_call *c, const struct rows_call *before) {
    for (int r = 0; r < c->n; r++)
        assert_memory_equal(c->x[r], before->y[c->index[r]], (size_t)c->n_col * sizeof(float));
}

static void test_elementwise(void **state) {
    (void)state;
    static const int32_t index[ROWS] = {3, 0, 4, 4, 1};
    struct rows_call *c = calloc(1, sizeof *c);
    c->scale = 3.0f, c->cap = 0;
    each_shape(do_scale_cap, c, check_scale_cap);
    c->scale = 7.0f, c->cap = 5.0f;
    each_shape(do_scale_cap, c, check_scale_cap);
    c->scale = 0.5f;
    each_shape(do_clamp, c, check_clamp);
    each_shape(do_gate, c, check_gate);
    c->index = index;
    each_shape(do_gather, c, check_gather);
    free(c);
}

/* embed and add_rows decode table rows of any type. */
static void test_embed(void **state) {
    (void)state;
    static const enum qtype types[] = {QT_F32, QT_F16, QT_BF16, QT_Q8_0, QT_Q4_K};
    enum { VOCAB = 9, DIM = 512 };
    static const int32_t tok[ROWS] = {8, 0, 3, 3, 7};
    uint8_t *data = malloc(VOCAB * DIM * sizeof(float));
    struct rows_call *c = calloc(1, sizeof *c), *before = malloc(sizeof *before);
    for (int t = 0; t < 5; t++) {
        const struct mat table = {.data = data,
                                  .type = types[t],
                                  .n_row = VOCAB,
                                  .n_col = DIM,
                                  .row_bytes = qtype_row_bytes(types[t], DIM)};
        for (size_t i = 0; i < VOCAB * table.row_bytes; i++)
            data[i] = (uint8_t)(1 + rnd(60)); /* high bytes below 61: finite in every type */
        c->table = &table, c->index = tok, c->n = ROWS, c->scale = t ? 2.5f : 1.0f;
        fill(c->x[0], ROWS * LD);
        *before = *c;
        team_run(teams[1 + t % MAX_TEAM], do_add_rows, c);
        float row[DIM];
        for (int r = 0; r < ROWS; r++) {
            quant_type(types[t])->decode(data + tok[r] * table.row_bytes, row, DIM);
            for (int i = 0; i < DIM; i++)
                assert_true(c->x[r][i] == before->x[r][i] + row[i]);
        }
        team_run(teams[1 + t % MAX_TEAM], do_embed, c);
        for (int r = 0; r < ROWS; r++) {
            quant_type(types[t])->decode(data + tok[r] * table.row_bytes, row, DIM);
            for (int i = 0; i < DIM; i++)
                assert_true(c->x[r][i] == row[i] * c->scale);
        }
    }
    free(data), free(c), free(before);
}

/* ---- experts ---- */

enum { MAX_EXPERT = 64, MAX_K = 8, MAX_N = 33 };

struct route_call {
    struct route_job j;
    struct routing r;
    float logits[MAX_N * MAX_EXPERT], bias[MAX_EXPERT];
    int32_t expert[MAX_N * MAX_K], order[MAX_N * MAX_K], start[MAX_EXPERT + 1];
    float weight[MAX_N * MAX_K];
    float x[MAX_N * 600], y[MAX_N * MAX_K * 600];
};

static void do_route(struct worker *w, void *arg) {
    struct route_call *c = arg;
    cpu_ops()->route(w, &c->j);
    cpu_ops()->combine(w, c->x, 600, c->y, 600, &c->r, c->j.n, 599, 0.5f);
}

static void plain_scores(const struct route_job *j, const float *l, double *score) {
    double sum = 0;
    for (int e = 0; e < j->r->n_expert; e++) {
        score[e] = j->gate == GATE_SIGMOID ? 1 / (1 + exp(-(double)l[e])) : exp((double)l[e]);
        sum += score[e];
    }
    for (int e = 0; e < j->r->n_expert; e++) {
        if (j->gate == GATE_SOFTMAX) score[e] /= sum;
        if (j->gate == GATE_SOFTMAX_TOPK) score[e] = l[e];
    }
}

/* How many x[] are larger than x[i]. */
static int rank_of(const double *x, int n, int i) {
    int r = 0;
    for (int k = 0; k < n; k++)
        r += x[k] > x[i];
    return r;
}

static void plain_select(const struct route_job *j, const double *score, double *select) {
    const int n = j->r->n_expert;
    for (int e = 0; e < n; e++)
        select[e] = score[e] + (j->select_bias ? j->select_bias[e] : 0);
    if (j->n_group < 2) return;
    const int each = n / j->n_group;
    double good[MAX_EXPERT];
    for (int g = 0; g < j->n_group; g++) {
        good[g] = 0;
        for (int i = 0; i < each; i++)
            if (rank_of(select + g * each, each, i) < 2) good[g] += select[g * each + i];
    }
    for (int e = 0; e < n; e++)
        if (rank_of(good, j->n_group, e / each) >= j->n_group_used) select[e] = -INFINITY;
}

static void check_route(const struct route_call *c) {
    const struct route_job *j = &c->j;
    const int n_expert = c->r.n_expert, k = c->r.k;
    for (int i = 0; i < j->n; i++) {
        double score[MAX_EXPERT], select[MAX_EXPERT], sum = 0;
        plain_scores(j, c->logits + i * n_expert, score);
        plain_select(j, score, select);
        for (int s = 0; s < k; s++) {
            const int e = c->expert[i * k + s];
            assert_int_equal(rank_of(select, n_expert, e), s);
            sum += j->gate == GATE_SOFTMAX_TOPK ? exp(score[e]) : score[e];
        }
        for (int s = 0; s < k; s++) {
            double want = score[c->expert[i * k + s]];
            if (j->gate == GATE_SOFTMAX_TOPK)
                want = exp(want) / sum;
            else if (j->renormalize)
                want /= sum;
            near("weight", s, c->weight[i * k + s], want * j->scale, 2e-6);
        }
    }
    assert_int_equal(c->start[0], 0);
    assert_int_equal(c->start[n_expert], j->n * k);
    for (int e = 0; e < n_expert; e++)
        for (int at = c->start[e]; at < c->start[e + 1]; at++) {
            assert_int_equal(c->expert[c->order[at]], e);
            if (at > c->start[e]) assert_true(c->order[at] > c->order[at - 1]);
        }
}

static void test_route(void **state) {
    (void)state;
    struct route_call *c = calloc(1, sizeof *c);
    float *x0 = malloc(sizeof c->x);
    for (int v = 0; v < 60; v++) {
        static const int experts[] = {4, 8, 60, 64, 32}, ks[] = {2, 1, 4, 8, 3};
        c->r =
            (struct routing){experts[v % 5], ks[v % 5], c->expert, c->weight, c->order, c->start};
        c->j = (struct route_job){.logits = c->logits, .n = 1 + (int)rnd(MAX_N), .r = &c->r};
        c->j.gate = (enum gate)(v % 3);
        c->j.select_bias = v % 4 == 1 ? c->bias : NULL;
        c->j.renormalize = v % 2;
        c->j.scale = v % 7 ? 1.0f : 2.5f;
        if (v % 5 >= 3 && v % 3 == 1) c->j.n_group = 8, c->j.n_group_used = 3;
        fill(c->logits, MAX_N * MAX_EXPERT), fill(c->bias, MAX_EXPERT);
        fill(c->x, MAX_N * 600), fill(c->y, MAX_N * MAX_K * 600);
        memcpy(x0, c->x, sizeof c->x);
        team_run(teams[1 + v % MAX_TEAM], do_route, c);
        check_route(c);
        for (int i = 0; i < c->j.n; i++)
            for (int d = 0; d < 599; d++) {
                double want = x0[i * 600 + d];
                for (int s = i * c->r.k; s < (i + 1) * c->r.k; s++)
                    want += 0.5 * c->weight[s] * c->y[s * 600 + d];
                near("combine", d, c->x[i * 600 + d], want, 2e-6);
            }
    }
    free(c), free(x0);
}

/* Logits that are not numbers choose experts all the same, each once. */
static void test_route_nan(void **state) {
    (void)state;
    struct route_call *c = calloc(1, sizeof *c);
    for (int gate = 0; gate < 3; gate++) {
        c->r = (struct routing){8, 4, c->expert, c->weight, c->order, c->start};
        c->j = (struct route_job){.logits = c->logits, .n = 2, .gate = (enum gate)gate, .r = &c->r};
        c->j.n_group = 4, c->j.n_group_used = 2, c->j.scale = 1;
        for (int i = 0; i < 16; i++)
            c->logits[i] = i < 8 ? NAN : i % 3 ? -INFINITY : INFINITY;
        team_run(teams[2], do_route, c);
        for (int i = 0; i < 2; i++) {
            unsigned seen = 0;
            for (int s = 0; s < 4; s++) {
                assert_in_range(c->expert[4 * i + s], 0, 7);
                seen |= 1u << c->expert[4 * i + s];
            }
            assert_int_equal(__builtin_popcount(seen), 4);
        }
    }
    free(c);
}

/* ---- RoPE and the store ---- */

struct rope_call {
    struct attn_job j;
    const struct kv_span *span;
    const float *cs;
};

static void do_rope_store(struct worker *w, void *arg) {
    cpu_ops()->rope_store(w, &((struct rope_call *)arg)->j);
}

static void do_rope_shift(struct worker *w, void *arg) {
    struct rope_call *c = arg;
    cpu_ops()->rope_shift(w, &c->j, c->span, c->cs);
}

static double angle(int pair, int n_rot, int pos) {
    return pos * pow(10000.0, -2.0 * pair / n_rot);
}

static void fill_cs(float *cs, int n_rot, int pos) {
    for (int i = 0; i < n_rot / 2; i++) {
        cs[2 * i] = (float)cos(angle(i, n_rot, pos));
        cs[2 * i + 1] = (float)sin(angle(i, n_rot, pos));
    }
}

static void plain_rope(const struct attn_job *j, double *x, int pos) {
    double *r = x + j->rot_at;
    for (int i = 0; j->rope != ROPE_NONE && i < j->n_rot / 2; i++) {
        const int a = j->rope == ROPE_PAIRS ? 2 * i : i;
        const int b = j->rope == ROPE_PAIRS ? 2 * i + 1 : i + j->n_rot / 2;
        const double c = cos(angle(i, j->n_rot, pos)), s = sin(angle(i, j->n_rot, pos));
        const double u = r[a], v = r[b];
        r[a] = u * c - v * s, r[b] = u * s + v * c;
    }
}

enum { HEADS = 4, KV_HEADS = 2, MAX_DIM = 128, RN = 7 };

/* What row i of x (heads of dim) is after norm and rotation. */
static void plain_rows(const struct attn_job *j, const struct norm *nm, const float *x, int n_head,
                       int pos, double *out) {
    const int dim = j->k_dim;
    if (nm)
        plain_norm(nm, x, n_head * dim, out);
    else
        for (int d = 0; d < n_head * dim; d++)
            out[d] = x[d];
    for (int h = 0; h < n_head; h++)
        plain_rope(j, out + h * dim, pos);
}

/* How far a stored value may be from the exact one; Q types: of the largest in a block. */
static double store_tol(enum qtype t) {
    switch (t) {
    case QT_F32: return 3e-6;
    case QT_F16: return 6e-4;
    case QT_BF16: return 5e-3;
    case QT_Q8_0: return 0.025;
    default: return 0.4;
    }
}

static void check_stored(const struct attn_job *j, const struct kv_span *sp, int at, bool v, int ih,
                         const double *want) {
    float got[MAX_DIM];
    const size_t rb = v ? j->v_row_bytes : j->k_row_bytes;
    const enum qtype t = v ? j->v_type : j->k_type;
    quant_type(t)->decode(sp->page + (v ? j->v_at : j->k_at) + (size_t)(ih * KV_PAGE + at) * rb,
                          got, (size_t)(v ? j->v_dim : j->k_dim));
    for (int d = 0; d < (v ? j->v_dim : j->k_dim); d++)
        near(v ? "v" : "k", d, got[d], want[d], store_tol(t));
}

static void rope_case(enum qtype t, enum rope_kind kind, int dim, int n_rot, int rot_at,
                      const struct norm *qn, const struct norm *kn, int team) {
    static float q[RN][HEADS * MAX_DIM], k[RN][KV_HEADS * MAX_DIM], v[RN][KV_HEADS * MAX_DIM];
    static float q0[RN][HEADS * MAX_DIM], k0[RN][KV_HEADS * MAX_DIM], cs[RN][MAX_DIM];
    static _Alignas(64) uint8_t page[3][2 * KV_HEADS * KV_PAGE * MAX_DIM * 4];
    /* Two sequences, rows 0..4 across two pages and 5..6 in a third. */
    const struct kv_span span[3] = {{page[0], 100, 64}, {page[1], 164, 3}, {page[2], 0, 2}};
    const struct seq_rows seq[2] = {{0, 5, 162, span, 2, NULL}, {5, 2, 0, span + 2, 1, NULL}};
    struct rope_call c = {.j = {.n = RN,
                                .seq = seq,
                                .n_seq = 2,
                                .q = q[0],
                                .k = k[0],
                                .v = v[0],
                                .ldq = HEADS * MAX_DIM,
                                .ldk = KV_HEADS * MAX_DIM,
                                .ldv = KV_HEADS * MAX_DIM,
                                .n_head = HEADS,
                                .n_kv_head = KV_HEADS,
                                .k_dim = dim,
                                .v_dim = dim,
                                .q_norm = qn,
                                .k_norm = kn,
                                .rope = kind,
                                .n_rot = n_rot,
                                .rot_at = rot_at,
                                .k_type = t,
                                .v_type = t,
                                .k_row_bytes = qtype_row_bytes(t, dim),
                                .v_row_bytes = qtype_row_bytes(t, dim)}};
    c.j.v_at = KV_HEADS * KV_PAGE * c.j.k_row_bytes;
    float *packed = malloc((size_t)RN * MAX_DIM * sizeof *packed); /* [n][n_rot/2][2] */
    for (int i = 0; i < RN; i++) {
        fill_cs(cs[i], n_rot, i < 5 ? 162 + i : i - 5);
        memcpy(packed + i * n_rot, cs[i], (size_t)n_rot * sizeof *packed);
    }
    c.j.rope_cs = kind == ROPE_NONE ? NULL : packed;
    fill(q[0], sizeof q / 4), fill(k[0], sizeof k / 4), fill(v[0], sizeof v / 4);
    memcpy(q0, q, sizeof q), memcpy(k0, k, sizeof k);
    team_run(teams[team], do_rope_store, &c);

    double want[HEADS * MAX_DIM], wv[MAX_DIM];
    for (int i = 0; i < RN; i++) {
        const int pos = i < 5 ? 162 + i : i - 5;
        const struct kv_span *sp = i < 2 ? &span[0] : i < 5 ? &span[1] : &span[2];
        plain_rows(&c.j, qn, q0[i], HEADS, pos, want);
        for (int d = 0; d < HEADS * dim; d++)
            near("q", d, q[i][d], want[d], 3e-6);
        plain_rows(&c.j, kn, k0[i], KV_HEADS, pos, want);
        for (int ih = 0; ih < KV_HEADS; ih++) {
            for (int d = 0; d < dim; d++)
                wv[d] = v[i][ih * dim + d];
            check_stored(&c.j, sp, pos - sp->pos0, false, ih, want + ih * dim);
            check_stored(&c.j, sp, pos - sp->pos0, true, ih, wv);
        }
    }

    /* Shifted by 37, K is what it would be had it been computed there. */
    if (kind != ROPE_NONE && t != QT_Q4_0) {
        float shift[MAX_DIM];
        fill_cs(shift, n_rot, 37);
        struct rope_call sh = {.j = c.j, .span = &span[1], .cs = shift};
        team_run(teams[team], do_rope_shift, &sh);
        for (int i = 2; i < 5; i++) {
            plain_rows(&c.j, kn, k0[i], KV_HEADS, 162 + i + 37, want);
            for (int ih = 0; ih < KV_HEADS; ih++)
                for (int d = 0; d < dim; d++) {
                    float got[MAX_DIM];
                    quant_type(t)->decode(page[1] +
                                              (size_t)(ih * KV_PAGE + i - 2) * c.j.k_row_bytes,
                                          got, (size_t)dim);
                    near("shifted k", d, got[d], want[ih * dim + d], 3 * store_tol(t));
                }
        }
    }
    free(packed);
}

static void test_rope_store(void **state) {
    (void)state;
    static const enum qtype types[] = {QT_F32, QT_F16, QT_BF16, QT_Q8_0, QT_Q4_0};
    float w[HEADS * MAX_DIM], b[HEADS * MAX_DIM];
    fill(w, HEADS * MAX_DIM), fill(b, HEADS * MAX_DIM);
    for (int i = 0; i < HEADS * MAX_DIM; i++)
        w[i] = 1 + 0.1f * w[i], b[i] *= 0.1f;
    for (int t = 0; t < 5; t++)
        for (int kind = 0; kind < 3; kind++) {
            const int team = 1 + (t + kind) % MAX_TEAM;
            const struct norm head = {NORM_RMS, 64, 64, w, NULL, 1e-6f};
            const struct norm own_q = {NORM_LAYER, 64, 64 * HEADS, w, b, 1e-5f};
            const struct norm own_k = {NORM_LAYER, 64, 64 * KV_HEADS, w, NULL, 1e-5f};
            const struct norm wide_q = {NORM_RMS, 64 * HEADS, 64 * HEADS, w, NULL, 1e-6f};
            const struct norm wide_k = {NORM_RMS, 64 * KV_HEADS, 64 * KV_HEADS, w, NULL, 1e-6f};
            rope_case(types[t], (enum rope_kind)kind, 64, 64, 0, NULL, NULL, team);
            rope_case(types[t], (enum rope_kind)kind, 128, 32, 0, NULL, NULL, team);
            rope_case(types[t], (enum rope_kind)kind, 96, 34, 62, NULL, NULL, team);
            rope_case(types[t], (enum rope_kind)kind, 64, 64, 0, &head, &head, team);
            rope_case(types[t], (enum rope_kind)kind, 64, 20, 0, &own_q, &own_k, team);
            rope_case(types[t], (enum rope_kind)kind, 64, 64, 0, &wide_q, &wide_k, team);
        }
    rope_case(QT_F32, ROPE_HALVES, 20, 10, 0, NULL, NULL, 3);
    rope_case(QT_F16, ROPE_PAIRS, 18, 6, 12, NULL, NULL, 2);
}

static void test_setting(void **state) {
    (void)state;
    struct err e = {0};
    setenv("CRIA_CPU", "sse9", 1);
    assert_int_equal(cpu_check_setting(&e), -1);
    assert_int_equal(e.code, ERR_USAGE);
    assert_non_null(strstr(e.msg, "sse9"));
    assert_non_null(strstr(e.msg, "ref"));
    setenv("CRIA_CPU", "ref", 1);
    assert_int_equal(cpu_check_setting(&e), 0);
    unsetenv("CRIA_CPU");
    assert_int_equal(cpu_check_setting(&e), 0);
    assert_true(strlen(cpu_isa()) > 0);
    assert_true(cpu_n_kernel() > 50);
    for (int i = 0; i < cpu_n_kernel(); i++)
        assert_non_null(strchr(cpu_kernel_line(i), ' '));
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_norms),     cmocka_unit_test(test_elementwise),
        cmocka_unit_test(test_embed),     cmocka_unit_test(test_route),
        cmocka_unit_test(test_route_nan), cmocka_unit_test(test_rope_store),
        cmocka_unit_test(test_setting),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
