/* rope_store and attend against plain double arithmetic on what the cache holds: all element types,
 * head sizes, groupings, masks; sequences with half-filled pages and holes in their positions.
 * A row must have the same bits for any number of threads and whether it is decoded alone or stands
 * in a batch. */
#include "support.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/team.h"
#include "cpu/cpu.h"
#include "quant/quant.h"

enum { MAX_SEQ = 3, MAX_SPAN = 40, MAX_TEAM = 3 };

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

static float *rnd_vec(size_t n) {
    float *x = malloc((n + 1) * sizeof *x);
    assert_non_null(x);
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

/* One batch over up to MAX_SEQ sequences, with everything it points to. */
struct scene {
    struct attn_job j;
    struct seq_rows seq[MAX_SEQ];
    struct kv_span span[MAX_SEQ][MAX_SPAN];
    uint8_t *pages;
    size_t page_bytes;
    float *q0; /* queries before the norm and the rotation */
};

static size_t row_bytes(enum qtype t, int dim) {
    return qtype_row_bytes(t, dim);
}

/* n_old tokens before the rows of the batch, n_new in it.  ragged: pages are not all full and
 * positions jump between old pages. */
static void lay_out(struct scene *s, int is, int *n_page, int n_old, int n_new, bool ragged) {
    struct seq_rows *r = &s->seq[is];
    int32_t pos = ragged ? (int32_t)rnd(50) : 0;
    for (int left = n_old + n_new; left > 0;) {
        const int old_left = left - n_new;
        int n = ragged && rnd(2) ? 1 + (int)rnd(KV_PAGE) : KV_PAGE;
        if (n > left) n = left;
        if (ragged && old_left > 0 && r->n_span && rnd(3) == 0) pos += 1 + (int32_t)rnd(40);
        if (old_left > 0 && n > old_left && ragged) n = old_left;
        assert_true(r->n_span < MAX_SPAN);
        s->span[is][r->n_span++] = (struct kv_span){(uint8_t *)(uintptr_t)(*n_page)++, pos, n};
        pos += n;
        left -= n;
    }
    r->span = s->span[is];
    r->n_row = n_new;
    r->pos0 = pos - n_new;
    r->row0 = s->j.n;
    s->j.n += n_new;
}

static void make_scene(struct scene *s, const struct shape *sh, enum qtype kt, enum qtype vt,
                       const struct features *f, const int (*len)[2], int n_seq, bool ragged) {
    *s = (struct scene){0};
    struct attn_job *j = &s->j;
    int n_page = 0;
    for (int i = 0; i < n_seq; i++)
        lay_out(s, i, &n_page, len[i][0], len[i][1], ragged);
    j->seq = s->seq, j->n_seq = n_seq;
    j->n_head = sh->n_head, j->n_kv_head = sh->n_kv_head, j->k_dim = sh->k_dim,
    j->v_dim = sh->v_dim;
    j->k_type = kt, j->v_type = sh->latent ? kt : vt;
    j->k_at = 128; /* as behind other layers */
    j->k_row_bytes = row_bytes(kt, sh->k_dim);
    const size_t k_bytes = j->k_row_bytes * KV_PAGE * sh->n_kv_head;
    j->v_at = sh->latent ? j->k_at : j->k_at + k_bytes;
    j->v_row_bytes = sh->latent ? j->k_row_bytes : row_bytes(vt, sh->v_dim);
    s->page_bytes = j->v_at + k_bytes + j->v_row_bytes * KV_PAGE * sh->n_kv_head;
    s->pages = aligned_alloc(64, (s->page_bytes * n_page + 63) / 64 * 64);
    assert_non_null(s->pages);
    memset(s->pages, 0xff, s->page_bytes * n_page); /* NaN wherever nothing was stored */
    for (int i = 0; i < n_seq; i++)
        for (int k = 0; k < s->seq[i].n_span; k++)
            s->span[i][k].page = s->pages + (size_t)s->span[i][k].page * s->page_bytes;
    j->scale = 1.0f / sqrtf((float)sh->k_dim);
    j->softcap = f->softcap, j->window = f->window, j->causal = f->causal;
    j->sink = f->sink ? rnd_vec((size_t)sh->n_head) : NULL;
    j->alibi = f->alibi ? rnd_vec((size_t)sh->n_head) : NULL;
    for (int i = 0; f->alibi && i < sh->n_head; i++)
        ((float *)j->alibi)[i] = exp2f(-8.0f * (float)(i + 1) / (float)sh->n_head);
    j->ldq = sh->n_head * sh->k_dim + 3, j->ldk = sh->n_kv_head * sh->k_dim + 1;
    j->ldv = sh->n_kv_head * sh->v_dim + 2, j->ldo = sh->n_head * sh->v_dim + 5;
    s->q0 = rnd_vec((size_t)j->n * j->ldq);
    j->q = malloc((size_t)j->n * j->ldq * sizeof(float));
    memcpy(j->q, s->q0, (size_t)j->n * j->ldq * sizeof(float));
    j->k = rnd_vec((size_t)j->n * j->ldk);
    j->v = sh->latent ? NULL : rnd_vec((size_t)j->n * j->ldv);
    j->out = rnd_vec((size_t)j->n * j->ldo);
}

static void free_scene(struct scene *s) {
    free(s->pages), free(s->q0), free(s->j.q), free(s->j.k), free(s->j.v), free(s->j.out);
    free((void *)s->j.sink), free((void *)s->j.alibi);
}

/* ---- running ops ---- */

static struct team *teams[MAX_TEAM + 1];

struct call {
    const struct attn_job *j;
    bool store, attend;
};

static void run_on(struct worker *w, void *arg) {
    const struct call *c = arg;
    if (c->store) cpu_ops()->rope_store(w, c->j);
    if (c->attend) cpu_ops()->attend(w, c->j);
}

static void run(int n_thread, const struct attn_job *j, bool store, bool attend) {
    struct call c = {j, store, attend};
    team_run(teams[n_thread], run_on, &c);
}

static int set_up(void **state) {
    (void)state;
    const struct op_limits lim = {.max_rows = 64,
                                  .max_cols = 512,
                                  .max_out = 512,
                                  .max_outs_sum = 512,
                                  .n_head = 32,
                                  .n_kv_head = 1,
                                  .max_head_dim = 576,
                                  .max_ctx = 4096};
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

/* Put random K and V before the batch's rows: each old span, or the old part of one, as a sequence
 * of its own. */
static void fill_old(const struct scene *s) {
    for (int is = 0; is < s->j.n_seq; is++)
        for (int k = 0; k < s->seq[is].n_span; k++) {
            struct seq_rows r = {.span = &s->span[is][k], .n_span = 1};
            struct attn_job j = s->j;
            r.pos0 = r.span->pos0;
            r.n_row = s->seq[is].pos0 - r.pos0 < r.span->n ? s->seq[is].pos0 - r.pos0 : r.span->n;
            if (r.n_row <= 0) continue;
            j.n = r.n_row, j.seq = &r, j.n_seq = 1;
            j.q = rnd_vec((size_t)j.n * j.ldq);
            j.k = rnd_vec((size_t)j.n * j.ldk);
            j.v = s->j.v ? rnd_vec((size_t)j.n * j.ldv) : NULL;
            run(1, &j, true, false);
            free(j.q), free(j.k), free(j.v);
        }
}

/* ---- the plain answer ---- */

static void cached(const struct attn_job *j, const struct kv_span *sp, int key, int ih, bool v,
                   float *x) {
    const size_t rb = v ? j->v_row_bytes : j->k_row_bytes;
    const uint8_t *row = sp->page + (v ? j->v_at : j->k_at) + ((size_t)ih * KV_PAGE + key) * rb;
    quant_type(v ? j->v_type : j->k_type)
        ->decode(row, x, (size_t)(v && j->v ? j->v_dim : j->k_dim));
}

static double logit_of(const struct attn_job *j, const float *q, const float *k, int ih, int pk,
                       int pq) {
    double s = 0;
    for (int d = 0; d < j->k_dim; d++)
        s += (double)q[d] * k[d];
    s *= j->scale;
    if (j->softcap != 0.0f) s = j->softcap * tanh(s / j->softcap);
    if (j->alibi) s -= (double)j->alibi[ih] * abs(pk - pq);
    return s;
}

/* One query over everything it sees. */
static void plain_attend(const struct attn_job *j, const struct seq_rows *r, int i, int ih,
                         double *out) {
    const int pq = r->pos0 + i, ikv = ih / (j->n_head / j->n_kv_head);
    const float *q = j->q + (size_t)(r->row0 + i) * j->ldq + (size_t)ih * j->k_dim;
    float k[1024], v[1024];
    double m = j->sink ? j->sink[ih] : -INFINITY, l = 0;
    for (int pass = 0; pass < 2; pass++) {
        for (int d = 0; pass && d < j->v_dim; d++)
            out[d] = 0;
        for (int is = 0; is < r->n_span; is++)
            for (int key = 0; key < r->span[is].n; key++) {
                const int pk = r->span[is].pos0 + key;
                if ((j->causal && pk > pq) || (j->window && pk <= pq - j->window)) continue;
                cached(j, &r->span[is], key, ikv, false, k);
                const double s = logit_of(j, q, k, ih, pk, pq);
                if (!pass) {
                    m = fmax(m, s);
                    continue;
                }
                l += exp(s - m);
                cached(j, &r->span[is], key, ikv, true, v);
                for (int d = 0; d < j->v_dim; d++)
                    out[d] += exp(s - m) * v[d];
            }
    }
    if (j->sink) l += exp(j->sink[ih] - m);
    for (int d = 0; d < j->v_dim; d++)
        out[d] /= l;
}

static void check_plain(const struct scene *s) {
    const struct attn_job *j = &s->j;
    double want[1024];
    for (int is = 0; is < j->n_seq; is++)
        for (int i = 0; i < j->seq[is].n_row; i += 1 + (int)rnd(3))
            for (int ih = 0; ih < j->n_head; ih += 1 + (int)rnd(3)) {
                plain_attend(j, &j->seq[is], i, ih, want);
                const float *got =
                    j->out + (size_t)(j->seq[is].row0 + i) * j->ldo + (size_t)ih * j->v_dim;
                for (int d = 0; d < j->v_dim; d++)
                    if (!(fabs(got[d] - want[d]) <= 1e-5))
                        fail_msg("row %d head %d dim %d: %.9g, want %.9g", i, ih, d, got[d],
                                 want[d]);
            }
}

/* The same rows, each alone, with a cache that ends at it: equal bits. */
static void check_alone(const struct scene *s, int n_thread) {
    const struct attn_job *j = &s->j;
    float *out = malloc((size_t)j->ldo * sizeof *out);
    for (int is = 0; is < j->n_seq; is++)
        for (int i = 0; i < j->seq[is].n_row; i += 1 + (int)rnd(9)) {
            struct kv_span span[MAX_SPAN];
            struct seq_rows r = j->seq[is];
            struct attn_job one = *j;
            memcpy(span, r.span, (size_t)r.n_span * sizeof *span);
            r.pos0 += i;
            while (span[r.n_span - 1].pos0 > r.pos0)
                r.n_span--;
            span[r.n_span - 1].n = r.pos0 - span[r.n_span - 1].pos0 + 1;
            r.span = span, r.row0 = 0, r.n_row = 1;
            one.seq = &r, one.n_seq = 1, one.n = 1;
            one.q += (size_t)(j->seq[is].row0 + i) * j->ldq;
            one.out = out;
            run(n_thread, &one, false, true);
            assert_memory_equal(out, j->out + (size_t)(j->seq[is].row0 + i) * j->ldo,
                                (size_t)j->n_head * j->v_dim * sizeof *out);
        }
    free(out);
}

static void check_threads(const struct scene *s) {
    const struct attn_job *j = &s->j;
    const size_t n = (size_t)j->n * j->ldo;
    for (int t = 2; t <= MAX_TEAM; t++) {
        struct attn_job other = *j;
        other.out = malloc(n * sizeof(float));
        memcpy(other.out, j->out, n * sizeof(float));
        for (int i = 0; i < j->n; i++)
            memset(other.out + (size_t)i * j->ldo, 0, (size_t)j->n_head * j->v_dim * sizeof(float));
        run(t, &other, false, true);
        assert_memory_equal(other.out, j->out, n * sizeof(float));
        free(other.out);
    }
}

static void check(const struct shape *sh, enum qtype kt, enum qtype vt, const struct features *f,
                  const int (*len)[2], int n_seq, bool ragged) {
    struct scene s;
    make_scene(&s, sh, kt, vt, f, len, n_seq, ragged);
    fill_old(&s);
    run(1 + (int)rnd(MAX_TEAM), &s.j, true, false);
    run(1, &s.j, false, true);
    check_plain(&s);
    check_threads(&s);
    if (f->causal) check_alone(&s, 1 + (int)rnd(MAX_TEAM));
    free_scene(&s);
}

/* ---- tests ---- */

static const struct features PLAIN = {.causal = true};

static const struct shape SHAPES[] = {
    {4, 4, 16, 16, false},   {8, 2, 32, 32, false},   {8, 2, 64, 64, false},
    {3, 3, 80, 80, false},   {7, 1, 96, 96, false},   {8, 2, 128, 128, false},
    {2, 2, 192, 128, false}, {2, 1, 256, 256, false}, {4, 1, 576, 512, true},
    {5, 5, 24, 40, false},   {71, 1, 64, 64, false},  {6, 2, 20, 12, false},
};

static void test_head_sizes(void **state) {
    (void)state;
    const int len[2][2] = {{70, 5}, {0, 130}};
    for (size_t i = 0; i < sizeof SHAPES / sizeof *SHAPES; i++)
        check(&SHAPES[i], QT_F32, QT_F16, &PLAIN, len, 2, false);
}

static void test_element_types(void **state) {
    (void)state;
    static const enum qtype types[] = {QT_F32, QT_F16, QT_BF16, QT_Q8_0, QT_Q4_0};
    static const struct shape shapes[] = {{4, 2, 32, 32, false},
                                          {8, 2, 64, 96, false},
                                          {2, 1, 576, 512, true},
                                          {4, 4, 128, 128, false}};
    const int len[2][2] = {{100, 3}, {3, 20}};
    for (int s = 0; s < 4; s++)
        for (int k = 0; k < 5; k++)
            for (int v = 0; v < (shapes[s].latent ? 1 : 5); v++)
                check(&shapes[s], types[k], types[v], &PLAIN, len, 2, true);
}

static void test_masks(void **state) {
    (void)state;
    const struct shape sh = {8, 2, 64, 64, false};
    const int len[3][2] = {{150, 33}, {0, 1}, {1, 90}};
    const struct features f[] = {
        {.causal = true, .window = 1},
        {.causal = true, .window = 7},
        {.causal = true, .window = 64},
        {.causal = true, .window = 100},
        {.causal = true, .softcap = 3},
        {.causal = true, .sink = true},
        {.causal = true, .alibi = true},
        {.causal = false},
        {.causal = false, .alibi = true},
        {.causal = false, .window = 50},
        {.causal = true, .window = 20, .sink = true, .softcap = 20, .alibi = true},
    };
    for (size_t i = 0; i < sizeof f / sizeof *f; i++)
        for (int ragged = 0; ragged < 2; ragged++)
            check(&sh, QT_F32, QT_F32, &f[i], len, 3, ragged);
}

/* More pages than a chunk, so that decode is split and merged. */
static void test_long(void **state) {
    (void)state;
    const int len[3][2] = {{900, 1}, {257, 2}, {600, 70}};
    const struct features f[] = {
        {.causal = true}, {.causal = true, .sink = true, .window = 300}, {.causal = false}};
    const struct shape shapes[] = {{4, 1, 64, 64, false}, {2, 2, 32, 32, false}};
    for (int s = 0; s < 2; s++)
        for (int i = 0; i < 3; i++)
            for (int n_seq = 1; n_seq <= 3; n_seq++)
                check(&shapes[s], QT_F16, QT_Q8_0, &f[i], len, n_seq, i == 1);
}

/* Logits far apart or all equal; the largest may come late: nothing overflows. */
static void test_large_logits(void **state) {
    (void)state;
    const struct shape sh = {4, 2, 32, 32, false};
    const int len[1][2] = {{100, 10}};
    for (int step = 0; step < 4; step++) {
        struct scene s;
        make_scene(&s, &sh, QT_F32, QT_F32, &PLAIN, len, 1, false);
        fill_old(&s);
        for (int i = 0; i < s.j.n * s.j.ldq; i++)
            s.j.q[i] *= powf(10.0f, (float)step - 1);
        if (step == 3) memset(s.j.q, 0, (size_t)s.j.n * s.j.ldq * sizeof(float));
        run(2, &s.j, true, true);
        check_plain(&s);
        free_scene(&s);
    }
}

int main(void) {
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_head_sizes),   cmocka_unit_test(test_element_types),
        cmocka_unit_test(test_masks),        cmocka_unit_test(test_long),
        cmocka_unit_test(test_large_logits),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
