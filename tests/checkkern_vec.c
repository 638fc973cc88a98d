/* checkkern of the vector kernels: norms, activations, RoPE, KV formats, tiles of attention. */
#include "checkkern.h"

#include <float.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static float *normal(struct check *t, size_t n) {
    float *x = guarded_f32(t, n);
    fill_normal(t, x, n);
    return x;
}

static float *copy_of(struct check *t, const float *x, size_t n) {
    float *y = guarded_f32(t, n);
    memcpy(y, x, n * sizeof *y);
    return y;
}

/* Lengths that reach every tail, and a few real ones. */
static int next_length(int n) {
    return n < 70 ? n + 1 : 2 * n + 3;
}

#define EACH_LENGTH(n, max) for (int n = 1; n < (max); n = next_length(n))

/* ---- rows ---- */

TEST(rms_norm) {
    EACH_LENGTH(n, 9000) {
        struct guarded *mark = t->memory;
        float *x = normal(t, n), *w = normal(t, n), *a = guarded_f32(t, n), *b = guarded_f32(t, n);
        for (int pass = 0; pass < 2; pass++) { /* with and without weights */
            t->ref->vec.rms_norm(n, x, pass ? w : NULL, 1e-6f, a);
            t->cand->vec.rms_norm(n, x, pass ? w : NULL, 1e-6f, b);
            CHECK_NEAR(a, b, n, 1e-6, "n = %d", n);
        }
        t->cand->vec.rms_norm(n, x, w, 1e-6f, x);
        CHECK_SAME(b, x, n, "in place, n = %d", n);
        guarded_free(t, mark);
    }
}

TEST(layer_norm) {
    EACH_LENGTH(n, 9000) {
        struct guarded *mark = t->memory;
        float *x = normal(t, n), *w = normal(t, n), *c = normal(t, n);
        float *a = guarded_f32(t, n), *b = guarded_f32(t, n);
        for (int i = 0; i < n; i++)
            x[i] += 10.0f; /* the mean must not spoil the variance */
        for (int pass = 0; pass < 4; pass++) {
            const float *pw = pass & 1 ? w : NULL, *pb = pass & 2 ? c : NULL;
            t->ref->vec.layer_norm(n, x, pw, pb, 1e-5f, a);
            t->cand->vec.layer_norm(n, x, pw, pb, 1e-5f, b);
            CHECK_NEAR(a, b, n, 2e-5, "n = %d", n);
        }
        t->cand->vec.layer_norm(n, x, w, c, 1e-5f, x);
        CHECK_SAME(b, x, n, "in place, n = %d", n);
        guarded_free(t, mark);
    }
}

TEST(norm_back) {
    EACH_LENGTH(n, 9000) {
        struct guarded *mark = t->memory;
        float *x = normal(t, n), *w = normal(t, n), *dy = normal(t, n), *dx = normal(t, n);
        for (int pass = 0; pass < 8; pass++) { /* kind, weights, add */
            const bool layer = pass & 1, add = pass & 4;
            const float *pw = pass & 2 ? w : NULL;
            float *a = copy_of(t, dx, n), *b = copy_of(t, dx, n), *c = copy_of(t, dy, n);
            float sa[2], sb[2];
            /* Near a constant row 1/sd makes much of rounding; n = 1 gives 0 or 1/sqrt(eps). */
            const float eps = n < 8 ? 0.1f : 1e-5f;
            (layer ? t->ref->vec.layer_back : t->ref->vec.rms_back)(n, x, pw, eps, dy, a, add, sa);
            (layer ? t->cand->vec.layer_back : t->cand->vec.rms_back)(n, x, pw, eps, dy, b, add,
                                                                      sb);
            CHECK_NEAR(a, b, n, 1e-5, "pass %d, n = %d", pass, n);
            CHECK_NEAR(sa, sb, 2, 1e-6, "mean and r, pass %d, n = %d", pass, n);
            if (add) continue;
            (layer ? t->cand->vec.layer_back : t->cand->vec.rms_back)(n, x, pw, eps, c, c, false,
                                                                      sb);
            CHECK_SAME(b, c, n, "in place, pass %d, n = %d", pass, n);
        }
        guarded_free(t, mark);
    }
}

TEST(row_sums) {
    EACH_LENGTH(n, 2000) {
        struct guarded *mark = t->memory;
        float *x = normal(t, n), *y = normal(t, n), *a = copy_of(t, x, n), *b = copy_of(t, x, n);
        t->ref->vec.add_scaled(n, a, y, 0.7f);
        t->cand->vec.add_scaled(n, b, y, 0.7f);
        CHECK_NEAR(a, b, n, 1e-6, "add_scaled %d", n); /* one rounding less where fused */
        t->ref->vec.scale(n, x, -3.3f, a);
        t->cand->vec.scale(n, x, -3.3f, b);
        CHECK_SAME(a, b, n, "scale %d", n);
        t->ref->vec.cap(n, a, 4.0f, 30.0f);
        t->cand->vec.cap(n, b, 4.0f, 30.0f);
        CHECK_NEAR(a, b, n, 1e-6, "cap %d", n);
        const float d0 = t->ref->vec.dot(n, x, y), d1 = t->cand->vec.dot(n, x, y);
        CHECK_NEAR(&d0, &d1, 1, 1e-6 * sqrt(n), "dot %d", n);
        guarded_free(t, mark);
    }
}

/* ---- activations ---- */

/* From far below 0 to far above, finely around it. */
static void fill_span(struct check *t, float *x, int n) {
    fill_normal(t, x, n);
    for (int i = 0; i < n; i++) {
        if (i % 5 == 1) x[i] *= 10.0f;
        if (i % 5 == 2) x[i] *= 1e-3f;
        if (i % 25 == 3) x[i] *= 60.0f;
    }
}

TEST(act) {
    EACH_LENGTH(n, 5000) {
        struct guarded *mark = t->memory;
        float *x = guarded_f32(t, n), *a = guarded_f32(t, n), *b = guarded_f32(t, n);
        fill_span(t, x, n);
        for (int act = 0; act < N_ACT; act++) {
            t->ref->vec.act[act](n, x, a);
            t->cand->vec.act[act](n, x, b);
            CHECK_NEAR(a, b, n, 1e-6, "act %d, n = %d", act, n);
            memcpy(a, x, n * sizeof *a);
            t->cand->vec.act[act](n, a, a);
            CHECK_SAME(b, a, n, "in place, act %d, n = %d", act, n);
        }
        guarded_free(t, mark);
    }
}

TEST(glu) {
    EACH_LENGTH(n, 5000) {
        struct guarded *mark = t->memory;
        float *gate = guarded_f32(t, n), *up = normal(t, n), *a = guarded_f32(t, n),
              *b = guarded_f32(t, n);
        fill_span(t, gate, n);
        for (int i = 0; i < n; i += 3)
            up[i] *= 5.0f; /* beyond the clamp of SWIGLU_OAI */
        for (int act = 0; act < N_ACT; act++) {
            t->ref->vec.glu[act](n, gate, up, a);
            t->cand->vec.glu[act](n, gate, up, b);
            CHECK_NEAR(a, b, n, 2e-6, "glu %d, n = %d", act, n);
        }
        guarded_free(t, mark);
    }
}

TEST(act_back) {
    EACH_LENGTH(n, 5000) {
        struct guarded *mark = t->memory;
        float *x = guarded_f32(t, n), *up = normal(t, n), *dy = normal(t, n);
        float *a = guarded_f32(t, n), *b = guarded_f32(t, n), *a2 = guarded_f32(t, n),
              *b2 = guarded_f32(t, n);
        fill_span(t, x, n);
        for (int i = 0; i < n; i += 3)
            up[i] *= 5.0f; /* beyond the clamp of SWIGLU_OAI */
        for (int act = 0; act < N_ACT; act++) {
            t->ref->vec.act_back[act](n, x, dy, a);
            t->cand->vec.act_back[act](n, x, dy, b);
            CHECK_NEAR(a, b, n, 2e-6, "act %d, n = %d", act, n);
            memcpy(a2, dy, n * sizeof *a);
            t->cand->vec.act_back[act](n, x, a2, a2);
            CHECK_SAME(b, a2, n, "in place, act %d, n = %d", act, n);

            t->ref->vec.glu_back[act](n, x, up, dy, a, a2);
            t->cand->vec.glu_back[act](n, x, up, dy, b, b2);
            CHECK_NEAR(a, b, n, 4e-6, "gate of %d, n = %d", act, n);
            CHECK_NEAR(a2, b2, n, 4e-6, "up of %d, n = %d", act, n);
            memcpy(a, x, n * sizeof *a), memcpy(a2, up, n * sizeof *a);
            t->cand->vec.glu_back[act](n, a, a2, dy, a, a2);
            CHECK_SAME(b, a, n, "in place, gate of %d, n = %d", act, n);
            CHECK_SAME(b2, a2, n, "in place, up of %d, n = %d", act, n);
        }
        guarded_free(t, mark);
    }
}

/* Infinity and NaN keep their meaning: silu(inf) = inf, silu(-huge) = -0, NaN stays. */
TEST(act_special) {
    float x[5] = {INFINITY, -1e30f, NAN, 0.0f, 1e30f}, y[5];
    for (int act = ACT_SILU; act <= ACT_GELU_ERF; act++) {
        t->cand->vec.act[act](5, x, y);
        CHECK(y[0] == INFINITY && fabsf(y[1]) < 1e-6f && isnan(y[2]) && y[3] == 0.0f &&
                  y[4] == x[4],
              "act %d: %g %g %g %g %g", act, y[0], y[1], y[2], y[3], y[4]);
    }
}

/* e^x through soft_page: one key's probability is exp(logit - m) with m given. */
TEST(exp_ulp) {
    const struct soft p = {.scale = 1.0f};
    double worst = 0;
    for (float x = -87.0f; x <= 0.0f; x += 0.001f) {
        float s[KV_PAGE] = {0}, m = 0.0f, l = 0.0f;
        s[0] = x;
        t->cand->vec.soft_page(s, 0, 1, &p, &m, &l);
        const double want = exp((double)x), ulp = fabs(s[0] - want) / (want * FLT_EPSILON);
        if (ulp > worst) worst = ulp;
    }
    CHECK(worst <= 2.0, "%.2f ulp", worst);
}

/* ---- RoPE ---- */

TEST(rope) {
    EACH_LENGTH(n, 300) {
        struct guarded *mark = t->memory;
        float *x = normal(t, 2 * n), *cs = guarded_f32(t, 2 * n);
        for (int i = 0; i < n; i++)
            cs[2 * i] = cosf((float)i), cs[2 * i + 1] = sinf((float)i);
        float *a = copy_of(t, x, 2 * n), *b = copy_of(t, x, 2 * n);
        t->ref->vec.rope_pairs(n, a, cs);
        t->cand->vec.rope_pairs(n, b, cs);
        CHECK_SAME(a, b, 2 * n, "pairs %d", n);
        t->ref->vec.rope_halves(n, a, cs);
        t->cand->vec.rope_halves(n, b, cs);
        CHECK_SAME(a, b, 2 * n, "halves %d", n);
        guarded_free(t, mark);
    }
}

/* ---- the KV cache ---- */

static const enum qtype KV_TYPES[N_KV_TYPE] = {QT_F32, QT_F16, QT_BF16, QT_Q8_0, QT_Q4_0};

/* Values that the rounding of the type can trip over. */
static void fill_hard(struct check *t, float *x, int n) {
    static const float hard[] = {0.0f,     -0.0f,    1e-8f,   6e-8f,    -6.1e-5f, 65504.0f,
                                 65519.9f, 65520.0f, 1.0005f, 0.33333f, 1e-40f,   -3.00001f};
    fill_normal(t, x, n);
    if (check_rand(t) % 2)
        for (int i = 0; i < n; i++)
            if (check_rand(t) % 4 == 0) x[i] = hard[check_rand(t) % 12];
    for (int b = 0; b + 32 <= n; b += 32)
        switch (check_rand(t) % 6) {
        case 0: memset(x + b, 0, 32 * sizeof *x); break;
        case 1: /* halves: k + 0.5 steps of the scale */
            for (int i = 0; i < 32; i++)
                x[b + i] = i ? (float)(check_rand(t) % 509) * 0.5f - 127.0f : 127.0f;
            break;
        case 2:
            for (int i = 0; i < 32; i++)
                x[b + i] *= 1e-42f;
            break;
        }
}

TEST(kv_rows) {
    for (int type = 0; type < N_KV_TYPE; type++)
        for (int n = 1; n <= 640; n++) {
            const int block = qtype_geom((uint32_t)KV_TYPES[type])->block;
            if (n % block || (n > 70 && n % 32)) continue;
            struct guarded *mark = t->memory;
            const size_t bytes = qtype_row_bytes(KV_TYPES[type], n);
            uint8_t *a = guarded(t, bytes), *b = guarded(t, bytes);
            float *x = guarded_f32(t, n), *fa = guarded_f32(t, n), *fb = guarded_f32(t, n);
            fill_hard(t, x, n);
            if (n % 3 == 0 && type != KV_Q8_0 && type != KV_Q4_0) x[n / 2] = INFINITY;
            t->ref->vec.kv_store[type](n, x, a);
            t->cand->vec.kv_store[type](n, x, b);
            CHECK(!memcmp(a, b, bytes), "type %d, n = %d: stored bytes differ", type, n);
            t->ref->vec.kv_load[type](n, a, fa);
            t->cand->vec.kv_load[type](n, a, fb);
            CHECK_SAME(fa, fb, n, "load of type %d, n = %d", type, n);
            guarded_free(t, mark);
        }
}

TEST(k_tile) {
    static const int dims[] = {16, 32, 64, 80, 96, 128, 160, 192, 256, 576, 20, 7};
    for (int type = 0; type < N_KV_TYPE; type++)
        for (size_t id = 0; id < sizeof dims / sizeof *dims; id++)
            for (int n_key = 1; n_key <= KV_PAGE; n_key += n_key < 20 ? 1 : 11) {
                const int dim = dims[id];
                if (dim % qtype_geom((uint32_t)KV_TYPES[type])->block) continue;
                struct guarded *mark = t->memory;
                const size_t bytes = qtype_row_bytes(KV_TYPES[type], dim);
                uint8_t *rows = guarded(t, bytes * (size_t)n_key);
                float *x = normal(t, dim);
                float *a = guarded_f32(t, (size_t)dim * KV_PAGE),
                      *b = guarded_f32(t, (size_t)dim * KV_PAGE);
                for (int i = 0; i < n_key; i++) {
                    x[i % dim] += 1.0f;
                    t->ref->vec.kv_store[type](dim, x, rows + (size_t)i * bytes);
                }
                t->ref->vec.k_tile[type](n_key, dim, rows, bytes, rows, a);
                t->cand->vec.k_tile[type](n_key, dim, rows, bytes, rows, b);
                CHECK_SAME(a, b, (size_t)dim * KV_PAGE, "type %d, dim %d, %d keys", type, dim,
                           n_key);
                guarded_free(t, mark);
            }
}

/* ---- attention ---- */

static void check_mul(struct check *t, int n_row, int n_col, int n_k, bool add) {
    struct guarded *mark = t->memory;
    const int lda = n_k + 3, ldb = n_col + 1, ldc = n_col + 2;
    float *a = normal(t, (size_t)(n_row - 1) * lda + n_k);
    float *b = normal(t, (size_t)(n_k - 1) * ldb + n_col);
    const size_t n = (size_t)(n_row - 1) * ldc + n_col;
    float *c = normal(t, n), *d = copy_of(t, c, n), *alone = copy_of(t, c, n);
    for (int r = 0; r < n_row; r++) /* each row by itself: the same bits */
        t->cand->vec.mul_tile(1, n_col, n_k, a + (size_t)r * lda, lda, b, ldb,
                              alone + (size_t)r * ldc, ldc, add);
    t->ref->vec.mul_tile(n_row, n_col, n_k, a, lda, b, ldb, c, ldc, add);
    t->cand->vec.mul_tile(n_row, n_col, n_k, a, lda, b, ldb, d, ldc, add);
    CHECK_NEAR(c, d, n, 1e-6 * sqrt(n_k) * 4, "%d x %d x %d", n_row, n_col, n_k);
    CHECK_SAME(alone, d, n, "rows alone, %d x %d x %d", n_row, n_col, n_k);
    guarded_free(t, mark);
}

TEST(mul_tile) {
    for (int n_row = 1; n_row <= 20; n_row++)
        for (int n_col = 1; n_col <= 70; n_col++)
            check_mul(t, n_row, n_col, 1 + (int)(check_rand(t) % 40), n_col % 2);
    check_mul(t, 64, 64, 128, false);
    check_mul(t, 64, 576, 64, true);
    check_mul(t, 13, 512, 64, true);
}

/* Few queries straight from the cache: the bits of the way over tiles. */
static void check_few(struct check *t, int type, int dim, int n_row, int n_key) {
    const struct kern_vec *k = &t->cand->vec;
    struct guarded *mark = t->memory;
    const size_t bytes = qtype_row_bytes(KV_TYPES[type], dim), n_s = (size_t)n_row * KV_PAGE,
                 n_o = (size_t)n_row * dim;
    uint8_t *rows = guarded(t, bytes * (size_t)n_key), *ahead = guarded(t, 1000);
    float *x = normal(t, dim), *q = normal(t, n_o), *p = normal(t, n_s), *o = normal(t, n_o);
    float *kt = guarded_f32(t, (size_t)dim * KV_PAGE), *v = guarded_f32(t, (size_t)dim * n_key);
    float *s = copy_of(t, p, n_s), *s2 = copy_of(t, p, n_s), *o2 = copy_of(t, o, n_o);
    for (int i = 0; i < n_key; i++) {
        x[i % dim] += 1.0f;
        k->kv_store[type](dim, x, rows + (size_t)i * bytes);
        k->kv_load[type](dim, rows + (size_t)i * bytes, v + (size_t)i * dim);
    }
    k->k_tile[type](n_key, dim, rows, bytes, rows, kt);
    k->mul_tile(n_row, KV_PAGE, dim, q, dim, kt, KV_PAGE, s, KV_PAGE, false);
    k->few_qk[type](n_row, n_key, dim, q, rows, bytes, ahead, 1000, s2);
    for (int r = 0; r < n_row; r++)
        CHECK_SAME(s + r * KV_PAGE, s2 + r * KV_PAGE, (size_t)n_key,
                   "qk of type %d, dim %d, query %d of %d, %d keys", type, dim, r, n_row, n_key);
    k->mul_tile(n_row, dim, n_key, p, KV_PAGE, v, dim, o, dim, true);
    k->few_pv[type](n_row, n_key, dim, p, rows, bytes, ahead, 1000, o2);
    CHECK_SAME(o, o2, n_o, "pv of type %d, dim %d, %d queries, %d keys", type, dim, n_row, n_key);
    guarded_free(t, mark);
}

TEST(few) {
    static const int dims[] = {16, 32, 64, 80, 96, 128, 160, 256, 20, 7};
    for (int type = 0; type < N_KV_TYPE; type++)
        for (size_t id = 0; id < sizeof dims / sizeof *dims; id++)
            for (int n_row = 1; n_row <= 10 && t->cand->vec.few_qk[type]; n_row++)
                for (int n_key = 1; n_key <= KV_PAGE; n_key += n_key < 18 ? 1 : 23)
                    if (dims[id] % qtype_geom((uint32_t)KV_TYPES[type])->block == 0)
                        check_few(t, type, dims[id], n_row, n_key);
}

TEST(soft_page) {
    for (int i = 0; i < 4000; i++) {
        struct guarded *mark = t->memory;
        float *a = normal(t, KV_PAGE);
        const int lo = i % 3 ? 0 : (int)(check_rand(t) % 64);
        const int hi = i % 5 ? lo + (int)(check_rand(t) % (unsigned)(65 - lo)) : KV_PAGE;
        const struct soft p = {.scale = 0.3f * (float)(1 + i % 50),
                               .cap = i % 4 == 3 ? 20.0f : 0.0f,
                               .slope = i % 7 == 2 ? 0.25f : 0.0f,
                               .rel0 = -(int)(check_rand(t) % 100)};
        float m0 = i % 2 ? -INFINITY : (float)(i % 30) - 15.0f, l0 = i % 2 ? 0.0f : 3.0f;
        for (int k = 0; k < KV_PAGE; k++)
            if (k < lo || k >= hi) a[k] = NAN; /* whatever was there */
        float *b = copy_of(t, a, KV_PAGE), m1 = m0, l1 = l0;
        float f0 = t->ref->vec.soft_page(a, lo, hi, &p, &m0, &l0);
        float f1 = t->cand->vec.soft_page(b, lo, hi, &p, &m1, &l1);
        /* A logit of 20 to 40 has an ulp of 2e-6 to 4e-6, which is p's relative error. */
        CHECK_NEAR(a, b, KV_PAGE, 8e-6, "p, keys %d..%d", lo, hi);
        CHECK_NEAR(&f0, &f1, 1, 8e-6, "factor");
        CHECK_NEAR(&m0, &m1, 1, 1e-6, "m");
        CHECK_NEAR(&l0, &l1, 1, 8e-6, "l");
        if (lo >= hi) CHECK(f1 == 1.0f && m1 == m0 && l1 == l0, "an empty page changed something");
        guarded_free(t, mark);
    }
}

/* Logits as the forward gives them: none far above lse. */
TEST(soft_back) {
    for (int i = 0; i < 4000; i++) {
        struct guarded *mark = t->memory;
        const int n = KV_PAGE, lo = i % 3 ? 0 : (int)(check_rand(t) % 64);
        const int hi = i % 5 ? lo + (int)(check_rand(t) % (unsigned)(65 - lo)) : KV_PAGE;
        float *s0 = normal(t, n), *dp0 = normal(t, n), *lse = normal(t, n), *delta = normal(t, n),
              *slope = normal(t, n), *pos = normal(t, n);
        for (int q = 0; q < n; q++) {
            lse[q] += 0.6f * (float)(i % 50); /* about twice the deviation of the logits */
            slope[q] = 0.25f / (1.0f + fabsf(slope[q]));
            pos[q] = (float)(int)(200.0f * fabsf(pos[q]));
            if (q < lo || q >= hi) s0[q] = dp0[q] = NAN; /* whatever was there */
        }
        const struct soft_back p = {.lse = lse,
                                    .delta = delta,
                                    .slope = i % 7 == 2 ? slope : NULL,
                                    .pos = pos,
                                    .key_pos = (float)(check_rand(t) % 300),
                                    .scale = 0.3f * (float)(1 + i % 50),
                                    .cap = i % 4 == 3 ? 20.0f : 0.0f};
        float *s1 = copy_of(t, s0, n), *dp1 = copy_of(t, dp0, n);
        t->ref->vec.soft_back(s0, dp0, lo, hi, &p);
        t->cand->vec.soft_back(s1, dp1, lo, hi, &p);
        /* As in soft_page: logits of 40 have an ulp of 4e-6; dp is up to 15 * 8 times p. */
        for (int q = 0; q < n; q++) {
            CHECK(fabsf(s0[q] - s1[q]) <= 1e-5f * fabsf(s0[q]) + 1e-34f, "p of query %d: %g, %g", q,
                  s0[q], s1[q]);
            CHECK(fabsf(dp0[q] - dp1[q]) <=
                      2e-5f * fabsf(dp0[q]) + 2e-6f * fabsf(s0[q]) * p.scale + 1e-34f,
                  "gradient of query %d: %g, %g", q, dp0[q], dp1[q]);
        }
        guarded_free(t, mark);
    }
}

/* ---- timings ---- */

struct timing {
    const struct kern_vec *k;
    float *a, *b, *c;
    uint8_t *rows;
    int n, type;
};

static void time_rms(void *ctx) {
    struct timing *x = ctx;
    x->k->rms_norm(x->n, x->a, x->b, 1e-6f, x->c);
}

static void time_silu(void *ctx) {
    struct timing *x = ctx;
    x->k->glu[ACT_SILU](x->n, x->a, x->b, x->c);
}

static void time_gelu(void *ctx) {
    struct timing *x = ctx;
    x->k->glu[ACT_GELU](x->n, x->a, x->b, x->c);
}

BENCH(rows) {
    const int n = 2048;
    struct timing x = {.k = &t->cand->vec, .a = normal(t, n), .b = normal(t, n), .n = n};
    x.c = guarded_f32(t, n);
    printf("%-7s rms_norm %.0f ns, glu silu %.0f ns, glu gelu %.0f ns (n = 2048)\n", t->level,
           bench_seconds(time_rms, &x) * 1e9, bench_seconds(time_silu, &x) * 1e9,
           bench_seconds(time_gelu, &x) * 1e9);
}

static void time_k_tile(void *ctx) {
    struct timing *x = ctx;
    x->k->k_tile[x->type](KV_PAGE, x->n, x->rows, qtype_row_bytes(KV_TYPES[x->type], x->n), x->rows,
                          x->a);
}

static void time_v_rows(void *ctx) {
    struct timing *x = ctx;
    const size_t bytes = qtype_row_bytes(KV_TYPES[x->type], x->n);
    for (int i = 0; i < KV_PAGE; i++)
        x->k->kv_load[x->type](x->n, x->rows + (size_t)i * bytes, x->a + (size_t)i * x->n);
}

static void time_store(void *ctx) {
    struct timing *x = ctx;
    const size_t bytes = qtype_row_bytes(KV_TYPES[x->type], x->n);
    for (int i = 0; i < KV_PAGE; i++)
        x->k->kv_store[x->type](x->n, x->b + (size_t)i * x->n, x->rows + (size_t)i * bytes);
}

BENCH(kv) {
    const int dim = 64, n = dim * KV_PAGE;
    struct timing x = {.k = &t->cand->vec, .a = guarded_f32(t, n), .b = normal(t, n), .n = dim};
    x.rows = guarded(t, (size_t)n * 4);
    for (x.type = 0; x.type < N_KV_TYPE; x.type++) {
        const double store = bench_seconds(time_store, &x);
        printf("%-7s %-4s page of dim 64: k_tile %.2f, load %.2f, store %.2f ns a value\n",
               t->level, qtype_name(KV_TYPES[x.type]), bench_seconds(time_k_tile, &x) / n * 1e9,
               bench_seconds(time_v_rows, &x) / n * 1e9, store / n * 1e9);
    }
}

static void time_mul(void *ctx) {
    struct timing *x = ctx;
    x->k->mul_tile(x->n, 64, 64, x->a, 64, x->b, 64, x->c, 64, true);
}

static void time_soft(void *ctx) {
    struct timing *x = ctx;
    const struct soft p = {.scale = 0.125f};
    float m = -INFINITY, l = 0.0f;
    for (int r = 0; r < 64; r++)
        x->k->soft_page(x->a + (size_t)r * 64, 0, 64, &p, &m, &l);
}

static void time_soft_back(void *ctx) {
    struct timing *x = ctx;
    const struct soft_back p = {.lse = x->b, .delta = x->b, .scale = 0.125f};
    for (int r = 0; r < 32; r++)
        x->k->soft_back(x->a + (size_t)r * 64, x->a + 2048 + (size_t)r * 64, 0, 64, &p);
}

BENCH(attention) {
    struct timing x = {.k = &t->cand->vec, .a = normal(t, 4096), .b = normal(t, 4096)};
    const double peak = bench_peak(t->level).f32_gflops;
    x.c = guarded_f32(t, 4096);
    for (x.n = 1; x.n <= 64; x.n *= x.n < 4 ? 2 : 4) {
        const double g = 2.0 * 64 * 64 * x.n / bench_seconds(time_mul, &x) * 1e-9;
        printf("%-7s mul_tile %2d x 64 x 64: %.0f Gflop/s, %.0f %% of peak\n", t->level, x.n, g,
               100 * g / peak);
    }
    printf("%-7s soft_page %.0f ns a row, soft_back %.0f\n", t->level,
           bench_seconds(time_soft, &x) / 64 * 1e9, bench_seconds(time_soft_back, &x) / 32 * 1e9);
}
