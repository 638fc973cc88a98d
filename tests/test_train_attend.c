/* Attention of training against plain double arithmetic: the forward against softmax(QK^T) V
 * written out, the backward against the softmax's derivative written out, and that against central
 * differences of the plain forward.  All options, odd sizes; the same bits for any number of
 * threads and for sequences packed or alone. */
#include "support.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/team.h"
#include "train/attend.h"

enum { MAX_SEQ = 6, MAX_TEAM = 5 };

/* Of the largest entry.  The worst seen is 4.5e-6, dk of 71 heads on one KV head: 4,600 products
 * are added in order; the scalar kernels, which add in double, stay below 5e-7. */
#define GRAD_TOL 1e-5

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

static void *alloc(size_t n, size_t size) {
    void *p = calloc(n + 1, size);
    assert_non_null(p);
    return p;
}

static float *rnd_vec(size_t n) {
    float *x = alloc(n, sizeof *x);
    for (size_t i = 0; i < n; i++)
        x[i] = rnd_f();
    return x;
}

struct shape {
    int n_head, n_kv_head, k_dim, v_dim;
    bool latent; /* V is the first v_dim of K */
};

struct features {
    float softcap;
    int window;
    bool causal, sink, alibi;
};

/* A pack, and the gradients that come of it. */
struct scene {
    struct attn_job j;
    struct seq_rows seq[MAX_SEQ];
    struct attend_grad g;
    float *lse;
    float *dout;
    size_t n_q, n_k, n_v, n_out; /* floats of each array, gaps between rows included */
};

static void make_scene(struct scene *s, const struct shape *sh, const struct features *f,
                       const int *len, int n_seq) {
    *s = (struct scene){0};
    struct attn_job *j = &s->j;
    for (int i = 0; i < n_seq; i++) {
        s->seq[i] = (struct seq_rows){.row0 = j->n, .n_row = len[i], .pos0 = (int32_t)rnd(100)};
        j->n += len[i];
    }
    j->seq = s->seq, j->n_seq = n_seq;
    j->n_head = sh->n_head, j->n_kv_head = sh->n_kv_head;
    j->k_dim = sh->k_dim, j->v_dim = sh->v_dim;
    j->scale = 1.0f / sqrtf((float)sh->k_dim);
    j->softcap = f->softcap, j->window = f->window, j->causal = f->causal;
    j->ldq = sh->n_head * sh->k_dim + 3, j->ldk = sh->n_kv_head * sh->k_dim + 1;
    j->ldv = sh->n_kv_head * sh->v_dim + 2, j->ldo = sh->n_head * sh->v_dim + 5;
    s->g.lddout = j->ldo + 2;
    s->n_q = (size_t)j->n * j->ldq, s->n_k = (size_t)j->n * j->ldk;
    s->n_v = sh->latent ? 0 : (size_t)j->n * j->ldv, s->n_out = (size_t)j->n * j->ldo;
    j->q = rnd_vec(s->n_q), j->k = rnd_vec(s->n_k);
    j->v = sh->latent ? NULL : rnd_vec(s->n_v);
    j->out = alloc(s->n_out, sizeof(float));
    s->lse = alloc((size_t)j->n * j->n_head, sizeof(float));
    s->dout = rnd_vec((size_t)j->n * s->g.lddout);
    s->g.dout = s->dout;
    s->g.dq = alloc(s->n_q, sizeof(float)), s->g.dk = alloc(s->n_k, sizeof(float));
    s->g.dv = sh->latent ? NULL : alloc(s->n_v, sizeof(float));
    if (f->sink) {
        j->sink = rnd_vec((size_t)sh->n_head);
        s->g.dsink = alloc((size_t)sh->n_head, sizeof(float));
    }
    float *slope = f->alibi ? alloc((size_t)sh->n_head, sizeof *slope) : NULL;
    for (int i = 0; f->alibi && i < sh->n_head; i++)
        slope[i] = exp2f(-8.0f * (float)(i + 1) / (float)sh->n_head);
    j->alibi = slope;
}

static void free_scene(struct scene *s) {
    free(s->j.q), free(s->j.k), free(s->j.v), free(s->j.out), free(s->lse), free(s->dout);
    free(s->g.dq), free(s->g.dk), free(s->g.dv), free(s->g.dsink);
    free((void *)s->j.sink), free((void *)s->j.alibi);
}

/* ---- running ---- */

static struct team *teams[MAX_TEAM + 1];

static void run_on(struct worker *w, void *arg) {
    const struct scene *s = arg;
    attend_forward(w, &s->j, s->lse);
    team_barrier(w);
    attend_backward(w, &s->j, s->lse, &s->g);
}

static void run(int n_thread, struct scene *s) {
    team_run(teams[n_thread], run_on, s);
}

static int set_up(void **state) {
    (void)state;
    const struct op_limits lim = {.max_head_dim = 576};
    for (int n = 1; n <= MAX_TEAM; n++) {
        struct err e = {0};
        teams[n] = team_new(n, &e);
        assert_non_null(teams[n]);
        assert_int_equal(team_reserve(teams[n], attend_scratch_bytes(&lim), 0, &e), 0);
    }
    return 0;
}

static int tear_down(void **state) {
    (void)state;
    for (int n = 1; n <= MAX_TEAM; n++)
        team_free(teams[n]);
    return 0;
}

/* ---- the plain answer, in double ---- */

/* Inputs of a scene and what is made of them; the layouts are the scene's. */
struct plain {
    const struct scene *s;
    double *q, *k, *v, *sink;  /* v is k when latent */
    double *out, *lse;         /* [n][ldo], [n][n_head] */
    double *dq, *dk, *dv, *ds; /* dv is dk when latent */
};

static double *doubles(const float *x, size_t n) {
    double *d = alloc(n, sizeof *d);
    for (size_t i = 0; x && i < n; i++)
        d[i] = x[i];
    return d;
}

static struct plain plain_new(const struct scene *s) {
    const size_t n_head = (size_t)s->j.n_head;
    struct plain p = {.s = s, .q = doubles(s->j.q, s->n_q), .k = doubles(s->j.k, s->n_k)};
    p.v = s->j.v ? doubles(s->j.v, s->n_v) : p.k;
    p.sink = doubles(s->j.sink, n_head);
    p.out = doubles(NULL, s->n_out), p.lse = doubles(NULL, (size_t)s->j.n * n_head);
    p.dq = doubles(NULL, s->n_q), p.dk = doubles(NULL, s->n_k);
    p.dv = s->j.v ? doubles(NULL, s->n_v) : p.dk;
    p.ds = doubles(NULL, n_head);
    return p;
}

static void plain_free(struct plain *p) {
    if (p->v != p->k) free(p->v), free(p->dv);
    free(p->q), free(p->k), free(p->sink), free(p->out), free(p->lse);
    free(p->dq), free(p->dk), free(p->ds);
}

static double dot(const double *a, const double *b, int n) {
    double s = 0;
    for (int i = 0; i < n; i++)
        s += a[i] * b[i];
    return s;
}

static const double *key(const struct plain *p, const struct seq_rows *r, int k, int ih) {
    const struct attn_job *j = &p->s->j;
    return p->k + (size_t)(r->row0 + k) * j->ldk +
           (size_t)(ih / (j->n_head / j->n_kv_head)) * j->k_dim;
}

static size_t value_at(const struct plain *p, const struct seq_rows *r, int k, int ih) {
    const struct attn_job *j = &p->s->j;
    const int ikv = ih / (j->n_head / j->n_kv_head);
    return j->v ? (size_t)(r->row0 + k) * j->ldv + (size_t)ikv * j->v_dim
                : (size_t)(r->row0 + k) * j->ldk + (size_t)ikv * j->k_dim;
}

static bool sees(const struct attn_job *j, int i, int k) {
    return (!j->causal || k <= i) && (!j->window || k > i - j->window);
}

/* The logit of query i and key k; *slope: its derivative by q.k. */
static double logit(const struct plain *p, const struct seq_rows *r, int i, int k, int ih,
                    double *slope) {
    const struct attn_job *j = &p->s->j;
    const double *q = p->q + (size_t)(r->row0 + i) * j->ldq + (size_t)ih * j->k_dim;
    double x = j->scale * dot(q, key(p, r, k, ih), j->k_dim);
    *slope = j->scale;
    if (j->softcap != 0.0f) {
        const double t = tanh(x / j->softcap);
        *slope *= 1 - t * t;
        x = j->softcap * t;
    }
    return j->alibi ? x - (double)j->alibi[ih] * abs(i - k) : x;
}

/* One query: out and lse. */
static void plain_query(struct plain *p, const struct seq_rows *r, int i, int ih) {
    const struct attn_job *j = &p->s->j;
    double *out = p->out + (size_t)(r->row0 + i) * j->ldo + (size_t)ih * j->v_dim;
    double m = j->sink ? p->sink[ih] : -INFINITY, l = 0, unused;
    for (int k = 0; k < r->n_row; k++)
        if (sees(j, i, k)) m = fmax(m, logit(p, r, i, k, ih, &unused));
    if (j->sink) l = exp(p->sink[ih] - m);
    for (int d = 0; d < j->v_dim; d++)
        out[d] = 0;
    for (int k = 0; k < r->n_row; k++) {
        if (!sees(j, i, k)) continue;
        const double e = exp(logit(p, r, i, k, ih, &unused) - m);
        l += e;
        for (int d = 0; d < j->v_dim; d++)
            out[d] += e * p->v[value_at(p, r, k, ih) + d];
    }
    for (int d = 0; d < j->v_dim; d++)
        out[d] /= l;
    p->lse[(size_t)(r->row0 + i) * j->n_head + ih] = m + log(l);
}

/* The loss sum(out dout): its value. */
static double plain_forward(struct plain *p) {
    const struct attn_job *j = &p->s->j;
    double loss = 0;
    for (const struct seq_rows *r = j->seq; r < j->seq + j->n_seq; r++)
        for (int i = 0; i < r->n_row; i++)
            for (int ih = 0; ih < j->n_head; ih++)
                plain_query(p, r, i, ih);
    for (int i = 0; i < j->n; i++)
        for (int d = 0; d < j->n_head * j->v_dim; d++)
            loss += p->out[(size_t)i * j->ldo + d] * p->s->dout[(size_t)i * p->s->g.lddout + d];
    return loss;
}

/* One query's part of the gradients: with w the softmax, dp = dout . v,
 * dlogit = w (dp - sum of w dp); the sink's dp is 0. */
static void plain_query_back(struct plain *p, const struct seq_rows *r, int i, int ih) {
    const struct attn_job *j = &p->s->j;
    const size_t row = (size_t)(r->row0 + i), q_at = row * j->ldq + (size_t)ih * j->k_dim;
    const float *dout = p->s->dout + row * p->s->g.lddout + (size_t)ih * j->v_dim;
    const double lse = p->lse[row * j->n_head + ih];
    double *dp = alloc((size_t)r->n_row, sizeof *dp), mean = 0, slope;
    for (int k = 0; k < r->n_row; k++) {
        if (!sees(j, i, k)) continue;
        const double w = exp(logit(p, r, i, k, ih, &slope) - lse);
        for (int d = 0; d < j->v_dim; d++) {
            dp[k] += dout[d] * p->v[value_at(p, r, k, ih) + d];
            p->dv[value_at(p, r, k, ih) + d] += w * dout[d];
        }
        mean += w * dp[k];
    }
    for (int k = 0; k < r->n_row; k++) {
        if (!sees(j, i, k)) continue;
        const double w = exp(logit(p, r, i, k, ih, &slope) - lse), ds = w * (dp[k] - mean) * slope;
        const double *kr = key(p, r, k, ih);
        for (int d = 0; d < j->k_dim; d++) {
            p->dq[q_at + d] += ds * kr[d];
            p->dk[(size_t)(kr - p->k) + d] += ds * p->q[q_at + d];
        }
    }
    if (j->sink) p->ds[ih] -= exp(p->sink[ih] - lse) * mean;
    free(dp);
}

static void plain_backward(struct plain *p) {
    const struct attn_job *j = &p->s->j;
    for (const struct seq_rows *r = j->seq; r < j->seq + j->n_seq; r++)
        for (int i = 0; i < r->n_row; i++)
            for (int ih = 0; ih < j->n_head; ih++)
                plain_query_back(p, r, i, ih);
}

/* ---- comparing ---- */

/* An array of n rows of n_col values, ld apart. */
struct grid {
    int n, n_col, ld;
};

/* Nearer than tol of the largest entry, everywhere; add: what got held before.  Where sums cancel
 * all entries are small, the errors that of the parts, about 1.  Gaps between rows are untouched.
 */
static void near(const char *what, const float *got, const float *add, const double *want,
                 struct grid g, double tol) {
    double top = 0.3;
    for (size_t i = 0; i < (size_t)g.n * g.ld; i++)
        top = fmax(top, fabs(want[i]));
    for (size_t i = 0; i < (size_t)g.n * g.ld; i++) {
        const double w = want[i] + (add ? add[i] : 0);
        const double room = (int)(i % g.ld) < g.n_col ? tol * fmax(top, fabs(w)) : 0;
        if (!(fabs(got[i] - w) <= room))
            fail_msg("%s [%zu]: %.9g, want %.9g (largest %.3g)", what, i, got[i], w, top);
    }
}

/* before: what the gradients were added to, or NULLs. */
static void check_plain(const struct scene *s, const struct plain *p,
                        const struct attend_grad *before) {
    const struct attn_job *j = &s->j;
    const struct grid q = {j->n, j->n_head * j->k_dim, j->ldq};
    const struct grid k = {j->n, j->n_kv_head * j->k_dim, j->ldk};
    const struct grid v = {j->n, j->n_kv_head * j->v_dim, j->ldv};
    near("out", j->out, NULL, p->out, (struct grid){j->n, j->n_head * j->v_dim, j->ldo}, 2e-6);
    near("lse", s->lse, NULL, p->lse, (struct grid){j->n, j->n_head, j->n_head}, 2e-6);
    near("dq", s->g.dq, before->dq, p->dq, q, GRAD_TOL);
    near("dk", s->g.dk, before->dk, p->dk, k, GRAD_TOL);
    if (j->v) near("dv", s->g.dv, before->dv, p->dv, v, GRAD_TOL);
    if (j->sink)
        near("dsink", s->g.dsink, before->dsink, p->ds, (struct grid){1, j->n_head, j->n_head},
             GRAD_TOL);
}

static float *copy_of(const float *x, size_t n) {
    float *y = alloc(n, sizeof *y);
    if (x) memcpy(y, x, n * sizeof *y);
    return y;
}

static void clear_results(struct scene *s) {
    memset(s->j.out, 0, s->n_out * sizeof(float));
    memset(s->lse, 0, (size_t)s->j.n * s->j.n_head * sizeof(float));
    memset(s->g.dq, 0, s->n_q * sizeof(float)), memset(s->g.dk, 0, s->n_k * sizeof(float));
    if (s->g.dv) memset(s->g.dv, 0, s->n_v * sizeof(float));
    if (s->g.dsink) memset(s->g.dsink, 0, (size_t)s->j.n_head * sizeof(float));
}

/* Row `row` of n floats of a in rows ld apart, and row 0 of b. */
static void same_rows(const char *what, const float *a, int row, const float *b, int n_row,
                      int ld) {
    if (a && memcmp(a + (size_t)row * ld, b, (size_t)n_row * ld * sizeof *a))
        fail_msg("%s of rows %d.. differs alone", what, row);
}

/* Results of s are those of a pack; each sequence alone gives the same bits. */
static void check_alone(const struct scene *s, int n_thread) {
    for (int is = 0; is < s->j.n_seq; is++) {
        const struct attn_job *j = &s->j;
        struct seq_rows r = s->seq[is];
        const int row = r.row0;
        struct scene one = *s;
        one.j.seq = &r, one.j.n_seq = 1, one.j.n = r.n_row;
        r.row0 = 0, r.pos0 += 7;
        one.j.q += (size_t)row * j->ldq, one.j.k += (size_t)row * j->ldk;
        if (j->v) one.j.v += (size_t)row * j->ldv;
        one.g.dout += (size_t)row * s->g.lddout;
        one.n_q = (size_t)r.n_row * j->ldq, one.n_k = (size_t)r.n_row * j->ldk;
        one.n_v = (size_t)r.n_row * j->ldv, one.n_out = (size_t)r.n_row * j->ldo;
        one.j.out = alloc(one.n_out, sizeof(float));
        one.lse = alloc((size_t)r.n_row * j->n_head, sizeof(float));
        one.g.dq = alloc(one.n_q, sizeof(float)), one.g.dk = alloc(one.n_k, sizeof(float));
        if (j->v) one.g.dv = alloc(one.n_v, sizeof(float));
        one.g.dsink = NULL; /* a sum over sequences */
        run(n_thread, &one);
        same_rows("out", j->out, row, one.j.out, r.n_row, j->ldo);
        same_rows("lse", s->lse, row, one.lse, r.n_row, j->n_head);
        same_rows("dq", s->g.dq, row, one.g.dq, r.n_row, j->ldq);
        same_rows("dk", s->g.dk, row, one.g.dk, r.n_row, j->ldk);
        same_rows("dv", s->g.dv, row, one.g.dv, r.n_row, j->ldv);
        free(one.j.out), free(one.lse), free(one.g.dq), free(one.g.dk);
        if (j->v) free(one.g.dv);
    }
}

/* Results of s are one thread's. */
static void check_threads(struct scene *s) {
    const size_t n_lse = (size_t)s->j.n * s->j.n_head;
    struct scene other = *s;
    other.j.out = copy_of(NULL, s->n_out), other.lse = copy_of(NULL, n_lse);
    other.g.dq = copy_of(NULL, s->n_q), other.g.dk = copy_of(NULL, s->n_k);
    if (s->g.dv) other.g.dv = copy_of(NULL, s->n_v);
    if (s->g.dsink) other.g.dsink = copy_of(NULL, (size_t)s->j.n_head);
    for (int n = 2; n <= MAX_TEAM; n++) {
        clear_results(&other);
        run(n, &other);
        assert_memory_equal(other.j.out, s->j.out, s->n_out * sizeof(float));
        assert_memory_equal(other.lse, s->lse, n_lse * sizeof(float));
        assert_memory_equal(other.g.dq, s->g.dq, s->n_q * sizeof(float));
        assert_memory_equal(other.g.dk, s->g.dk, s->n_k * sizeof(float));
        if (s->g.dv) assert_memory_equal(other.g.dv, s->g.dv, s->n_v * sizeof(float));
        if (s->g.dsink)
            assert_memory_equal(other.g.dsink, s->g.dsink, (size_t)s->j.n_head * sizeof(float));
    }
    free(other.j.out), free(other.lse), free(other.g.dq), free(other.g.dk), free(other.g.dv);
    free(other.g.dsink);
}

/* Against plain arithmetic; gradients are added to what was there. */
static void check(const struct shape *sh, const struct features *f, const int *len, int n_seq) {
    struct scene s;
    make_scene(&s, sh, f, len, n_seq);
    struct plain p = plain_new(&s);
    plain_forward(&p);
    plain_backward(&p);
    run(1, &s);
    check_plain(&s, &p, &(struct attend_grad){0});
    check_threads(&s);
    check_alone(&s, 1 + (int)rnd(MAX_TEAM));
    const struct attend_grad before = {.dq = copy_of(s.g.dq, s.n_q),
                                       .dk = copy_of(s.g.dk, s.n_k),
                                       .dv = copy_of(s.g.dv, s.n_v),
                                       .dsink = copy_of(s.g.dsink, (size_t)s.j.n_head)};
    run(2, &s);
    check_plain(&s, &p, &before);
    free(before.dq), free(before.dk), free(before.dv), free(before.dsink);
    plain_free(&p);
    free_scene(&s);
}

/* ---- tests ---- */

static const int LENGTHS[] = {1, 2, 63, 64, 65, 200};

static const struct features FEATURES[] = {
    {.causal = true},
    {.causal = false},
    {.causal = true, .window = 1},
    {.causal = true, .window = 7},
    {.causal = true, .window = 64},
    {.causal = true, .window = 100},
    {.causal = false, .window = 50},
    {.causal = true, .softcap = 3},
    {.causal = true, .sink = true},
    {.causal = true, .alibi = true},
    {.causal = false, .alibi = true, .softcap = 20},
    {.causal = true, .window = 20, .sink = true, .softcap = 20, .alibi = true},
    {.causal = true, .window = INT32_MAX, .sink = true},
};
enum { N_FEATURES = sizeof FEATURES / sizeof *FEATURES };

static void test_head_sizes(void **state) {
    (void)state;
    const struct shape shapes[] = {
        {4, 4, 16, 16, false},  {8, 2, 40, 40, false},   {8, 2, 64, 64, false},
        {3, 3, 80, 80, false},  {4, 1, 128, 128, false}, {2, 2, 192, 128, false},
        {5, 5, 24, 40, false},  {4, 1, 96, 64, true},    {71, 1, 16, 16, false},
        {14, 2, 20, 12, false}, {2, 1, 576, 512, true},
    };
    const int len[] = {65, 2, 63};
    for (size_t i = 0; i < sizeof shapes / sizeof *shapes; i++)
        check(&shapes[i], &FEATURES[0], len, 3);
}

static void test_lengths(void **state) {
    (void)state;
    const struct shape shapes[] = {{6, 2, 64, 64, false}, {2, 2, 40, 24, false}};
    for (int s = 0; s < 2; s++) {
        for (int i = 0; i < 6; i++)
            check(&shapes[s], &FEATURES[0], &LENGTHS[i], 1);
        check(&shapes[s], &FEATURES[0], LENGTHS, 6);
    }
}

static void test_features(void **state) {
    (void)state;
    const struct shape shapes[] = {
        {4, 1, 32, 16, false}, {3, 3, 16, 16, false}, {6, 2, 24, 16, true}};
    const int len[] = {1, 65, 150};
    for (int s = 0; s < 3; s++)
        for (int i = 0; i < N_FEATURES; i++)
            check(&shapes[s], &FEATURES[i], len, 3);
}

/* Logits far apart, or all equal: nothing overflows, no NaN. */
static void test_large_logits(void **state) {
    (void)state;
    const struct shape sh = {4, 2, 32, 32, false};
    const int len[] = {100};
    for (int step = 0; step < 3; step++) {
        struct scene s;
        make_scene(&s, &sh, &FEATURES[8], len, 1);
        for (size_t i = 0; i < s.n_q; i++)
            s.j.q[i] *= step == 2 ? 0.0f : powf(10.0f, (float)step);
        struct plain p = plain_new(&s);
        plain_forward(&p);
        run(2, &s);
        near("out", s.j.out, NULL, p.out, (struct grid){s.j.n, 128, s.j.ldo}, 1e-5);
        for (size_t i = 0; i < s.n_q; i++)
            assert_true(isfinite(s.g.dq[i]));
        plain_free(&p);
        free_scene(&s);
    }
}

/* ---- the plain gradient against differences of the plain forward ---- */

/* Derivative of the loss along `dir` [n] in x. */
static double difference(struct plain *p, double *x, const double *dir, size_t n) {
    const double h = 1e-5;
    double side[2];
    for (int i = 0; i < 2; i++) {
        for (size_t e = 0; e < n; e++)
            x[e] += (i ? -2 : 1) * h * dir[e];
        side[i] = plain_forward(p);
    }
    for (size_t e = 0; e < n; e++)
        x[e] += h * dir[e];
    return (side[0] - side[1]) / (2 * h);
}

static void check_difference(const char *what, struct plain *p, double *x, const double *grad,
                             size_t n) {
    for (int pass = 0; pass < 3; pass++) { /* a direction through all, then single entries */
        double *dir = alloc(n, sizeof *dir), want = 0;
        for (size_t e = 0; e < n; e++)
            dir[e] = pass ? 0 : rnd_f();
        if (pass) dir[rnd((uint32_t)n)] = 1;
        for (size_t e = 0; e < n; e++)
            want += dir[e] * grad[e];
        const double got = difference(p, x, dir, n);
        if (!(fabs(got - want) <= 1e-7 * fmax(1, fabs(want))))
            fail_msg("%s, pass %d: difference %.12g, gradient %.12g", what, pass, got, want);
        free(dir);
    }
}

static void test_differences(void **state) {
    (void)state;
    const struct shape shapes[] = {{4, 2, 12, 8, false}, {2, 1, 12, 8, true}};
    const int len[] = {3, 20};
    for (int i = 0; i < 2 * N_FEATURES; i++) {
        struct scene s;
        make_scene(&s, &shapes[i % 2], &FEATURES[i / 2], len, 2);
        struct plain p = plain_new(&s);
        plain_forward(&p);
        plain_backward(&p);
        check_difference("q", &p, p.q, p.dq, s.n_q);
        check_difference("k", &p, p.k, p.dk, s.n_k);
        if (s.j.v) check_difference("v", &p, p.v, p.dv, s.n_v);
        if (s.j.sink) check_difference("sink", &p, p.sink, p.ds, (size_t)s.j.n_head);
        plain_free(&p);
        free_scene(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_sizes),  cmocka_unit_test(test_lengths),
        cmocka_unit_test(test_features),    cmocka_unit_test(test_large_logits),
        cmocka_unit_test(test_differences),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
