/* Products with weights: every type, odd widths and heights, against the sum in double of the
 * decoded weights and the activations as they were encoded. */
#include "checkkern.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/f16.h"
#include "cpu/act.h"
#include "quant/quant.h"

enum { MOST_COLS = 100 };

static const int widths[] = {1, 2, 3, 4, 5, 6, 7, 8, 12, 16, 17, 33, 64, MOST_COLS};
static const int heights[] = {32, 1, 5, 15, 16, 17, 31};

/* Random blocks whose values are finite and moderate; scales vary by orders of magnitude. */
static void random_blocks(struct check *t, enum qtype type, uint8_t *out, int n) {
    const struct qtype_geom *g = qtype_geom(type);
    float v[256];
    for (int i = 0; i < n; i += g->block, out += g->block_bytes) {
        float top;
        do {
            for (int b = 0; b < g->block_bytes; b++)
                out[b] = (uint8_t)check_rand(t);
            quant_type(type)->decode(out, v, (size_t)g->block);
            top = 0;
            for (int k = 0; k < g->block; k++)
                if (!(fabsf(v[k]) <= top)) top = fabsf(v[k]);
        } while (!(top <= 64.0f));
    }
}

/* Where a block's float scales are; n = 0: not known here. */
struct floats_at {
    int at, n;
};

static struct floats_at floats_at(enum qtype type) {
    switch (type) {
    case QT_Q4_1:
    case QT_Q5_1:
    case QT_Q4_K:
    case QT_Q5_K: return (struct floats_at){0, 4};
    case QT_Q2_K: return (struct floats_at){80, 4};
    case QT_Q3_K: return (struct floats_at){108, 2};
    case QT_Q6_K: return (struct floats_at){208, 2};
    case QT_TQ1_0: return (struct floats_at){52, 2};
    case QT_TQ2_0: return (struct floats_at){64, 2};
    case QT_MXFP4: return (struct floats_at){0, 1};
    case QT_Q4_0:
    case QT_Q5_0:
    case QT_Q8_0:
    case QT_Q1_0:
    case QT_Q2_0:
    case QT_IQ4_NL:
    case QT_IQ4_XS:
    case QT_IQ2_XXS:
    case QT_IQ2_XS:
    case QT_IQ2_S:
    case QT_IQ3_XXS:
    case QT_IQ3_S:
    case QT_IQ1_S: return (struct floats_at){0, 2};
    default: return (struct floats_at){0, 0};
    }
}

/* Blocks of the largest and smallest weights and scales, the same ones in runs of 16 bytes or all
 * through a block: where sums of few bits saturate or overflow. */
static void extreme_blocks(struct check *t, enum qtype type, uint8_t *out, int n) {
    static const uint8_t byte[8] = {0xff, 0x80, 0x00, 0x7f, 0xff, 0x0f, 0xf0, 0x00};
    static const uint8_t halves[4] = {0x00, 0x1c, 0x00, 0x18}, e8m0 = 120; /* 2^-8, 2^-9; 2^-7 */
    const struct qtype_geom *g = qtype_geom(type);
    const struct floats_at f = floats_at(type);
    if (!f.n) {
        random_blocks(t, type, out, n);
        return;
    }
    for (int i = 0; i < n; i += g->block, out += g->block_bytes) {
        const bool mixed = check_rand(t) % 3;
        uint8_t v = byte[check_rand(t) % 8];
        for (int b = 0; b < g->block_bytes; b++) {
            if (mixed && b % 16 == 0) v = byte[check_rand(t) % 8];
            out[b] = v;
        }
        memcpy(out + f.at, f.n == 1 ? &e8m0 : halves, (size_t)f.n);
    }
}

/* Columns for them: every q is 127 or -127. */
static void fill_extreme(struct check *t, float *x, int n, int column) {
    for (int i = 0; i < n; i++) {
        const int negative[5] = {0, 1, i % 2, i / 16 % 2, check_rand(t) % 2};
        x[i] = negative[column % 5] ? -1.0f : 1.0f;
    }
}

/* The values a kernel sees: block by block, q * d. */
static void act_values(enum act_enc enc, const uint8_t *at, size_t step, int n, float *v) {
    for (int b = 0, i = 0; i < n; b++, at += step) {
        const struct act_f32 *f = (const void *)at;
        const struct act_q8 *q = (const void *)at;
        const struct act_q8_k *k = (const void *)at;
        const struct act_q16 *h = (const void *)at;
        for (int e = 0; e < ACT_BLOCK && i < n; e++, i++)
            v[i] = enc == ACT_F32    ? f->v[e]
                   : enc == ACT_Q8   ? (float)q->q[e] * q->d[e / 32]
                   : enc == ACT_Q8_K ? (float)k->q[e] * k->d
                                     : (float)h->q[e] * h->d[e / 32];
    }
}

/* A matrix, its columns in the kernel's encoding, and what must come out. */
struct product {
    enum qtype type;
    const struct mat_kern *k;
    int n_row, n_col;
    size_t row_bytes, step;
    uint8_t *w, *x, *tmp;
    double *want, *slack; /* [MOST_COLS][n_row]: the sum, and how far off it may be */
    float *acc;
};

/* Most that weights rounded to 16-bit integers may add: half a step, 2^-13 of the power of two
 * under a block's largest (of the least normal number, where that is larger). */
static double q16_slack(const float *w, const float *x, int n) {
    double s = 0;
    for (int at = 0; at < n; at += 32) {
        double top = 0x1p-14, sum = 0;
        for (int i = at; i < at + 32 && i < n; i++) {
            top = fmax(top, fabs((double)w[i]));
            sum += fabs((double)x[i]);
        }
        s += 0x1p-13 * top * sum;
    }
    return s;
}

static void expect(struct product *p) {
    const size_t n_col = (size_t)p->n_col;
    float *w = malloc(sizeof *w * n_col), *x = malloc(sizeof *x * n_col * MOST_COLS);
    if (!w || !x) abort();
    for (size_t c = 0; c < MOST_COLS; c++)
        act_values(p->k->enc, p->x + c * act_bytes(p->k->enc), p->step, p->n_col, x + c * n_col);
    for (int r = 0; r < p->n_row; r++) {
        quant_type(p->type)->decode(p->w + (size_t)r * p->row_bytes, w, n_col);
        for (int c = 0; c < MOST_COLS; c++) {
            const float *xc = x + (size_t)c * n_col;
            double s = 0, a = 0;
            for (size_t i = 0; i < n_col; i++) {
                s += (double)w[i] * xc[i];
                a += fabs((double)w[i] * xc[i]);
            }
            p->want[c * p->n_row + r] = s;
            p->slack[c * p->n_row + r] =
                3e-6 * a + 1e-30 + (p->k->enc == ACT_Q16 ? q16_slack(w, xc, p->n_col) : 0);
        }
    }
    free(w);
    free(x);
}

static struct product product_new(struct check *t, enum qtype type, int n_row, int n_col,
                                  bool extreme) {
    const struct mat_kern *k = &t->cand->mat.of[type];
    const size_t act = act_bytes(k->enc);
    struct product p = {.type = type, .k = k, .n_row = n_row, .n_col = n_col};
    p.row_bytes = qtype_row_bytes(type, n_col);
    p.step = MOST_COLS * act;
    p.w = guarded(t, p.row_bytes * (size_t)n_row);
    p.x = guarded(t, p.step * (size_t)act_blocks(n_col));
    p.tmp = guarded(t, MAT_TMP_BYTES);
    p.acc = guarded(t, MOST_COLS * MAT_ROWS * sizeof(float));
    p.want = guarded(t, MOST_COLS * (size_t)n_row * sizeof(double));
    p.slack = guarded(t, MOST_COLS * (size_t)n_row * sizeof(double));
    for (int r = 0; r < n_row; r++)
        (extreme ? extreme_blocks : random_blocks)(t, type, p.w + (size_t)r * p.row_bytes, n_col);
    float *x = guarded_f32(t, (size_t)n_col);
    for (int c = 0; c < MOST_COLS; c++) {
        fill_normal(t, x, (size_t)n_col);
        if (c % 7 == 3) x[n_col / 2] *= 30; /* an outlier channel */
        if (extreme) fill_extreme(t, x, n_col, c);
        if (c % 11 == 5) memset(x, 0, (size_t)n_col * sizeof *x);
        t->cand->mat.encode[k->enc](x, n_col, p.x + (size_t)c * act, p.step);
    }
    expect(&p);
    return p;
}

/* Rows [r0, r0 + n_row) times the first n columns, or those of an index, into p->acc. */
static void product_run(const struct product *p, int r0, int n_row, const int32_t *index, int n) {
    const struct mat_call c = {
        .w = p->w + (size_t)r0 * p->row_bytes,
        .row_bytes = p->row_bytes,
        .n_row = n_row,
        .n_col = p->n_col,
        .x = p->x,
        .x_step = p->step,
        .index = index,
        .n = n,
        .n_row_after = p->n_row - r0 - n_row,
        .acc = p->acc,
        .tmp = p->tmp,
    };
    p->k->mul(p->type, &c);
}

/* Right against the double sum, and the same bits as `same` holds ([c][n_row]; NaN: not known
 * yet, then kept). */
static void product_check(struct check *t, const struct product *p, int r0, int n_row,
                          const int32_t *index, int n, float *same) {
    for (int i = 0; i < n && !t->failed; i++) {
        const int c = index ? index[i] : i;
        for (int r = 0; r < n_row; r++) {
            const int at = c * p->n_row + r0 + r;
            const float got = p->acc[i * MAT_ROWS + r];
            const double off = fabs(got - p->want[at]);
            CHECK(off <= p->slack[at], "%s %dx%d, rows %d+%d, %d columns: [%d][%d] is %g, not %g",
                  qtype_name(p->type), p->n_row, p->n_col, r0, n_row, n, c, r, (double)got,
                  p->want[at]);
            if (isnan(same[at])) same[at] = got;
            CHECK_SAME(&same[at], &got, 1, "%s %dx%d, rows %d+%d, %d columns: order of sums",
                       qtype_name(p->type), p->n_row, p->n_col, r0, n_row, n);
        }
    }
}

static void check_shape(struct check *t, enum qtype type, int n_col, bool extreme) {
    struct guarded *mark = t->memory;
    struct product p = product_new(t, type, 37, n_col, extreme);
    float *same = guarded_f32(t, MOST_COLS * (size_t)p.n_row);
    int32_t *index = guarded(t, 9 * sizeof *index);
    for (size_t i = 0; i < MOST_COLS * (size_t)p.n_row; i++)
        same[i] = NAN;
    for (size_t i = 0; i < sizeof widths / sizeof *widths; i++) {
        const int n_row = heights[i % 7],
                  r0 = i ? (int)(check_rand(t) % (unsigned)(38 - n_row)) : 0;
        product_run(&p, r0, n_row, NULL, widths[i]);
        product_check(t, &p, r0, n_row, NULL, widths[i], same);
    }
    product_run(&p, 32, 5, NULL, MOST_COLS); /* up to the guard page */
    product_check(t, &p, 32, 5, NULL, MOST_COLS, same);
    for (int i = 0; i < 9; i++)
        index[i] = (int32_t)(check_rand(t) % MOST_COLS);
    product_run(&p, 4, 32, index, 9);
    product_check(t, &p, 4, 32, index, 9, same);
    guarded_free(t, mark);
}

/* Pieces as tall as the kernel takes them have the bits of low ones. */
static void check_tall(struct check *t, enum qtype type, int n_col) {
    const int wide = t->cand->mat.of[type].wide;
    if (!wide) return;
    struct guarded *mark = t->memory;
    struct product p = product_new(t, type, wide + 5, n_col, false);
    float *same = guarded_f32(t, MOST_COLS * (size_t)p.n_row);
    for (size_t i = 0; i < MOST_COLS * (size_t)p.n_row; i++)
        same[i] = NAN;
    for (int r0 = 0; r0 < p.n_row; r0 += MAT_PIECE) {
        const int left = p.n_row - r0, n_row = left < MAT_PIECE ? left : MAT_PIECE;
        product_run(&p, r0, n_row, NULL, MOST_COLS);
        product_check(t, &p, r0, n_row, NULL, MOST_COLS, same);
    }
    for (int n_row = wide, r0 = 5; n_row > MAT_PIECE; n_row -= 43, r0--) {
        product_run(&p, r0, n_row, NULL, MOST_COLS);
        product_check(t, &p, r0, n_row, NULL, MOST_COLS, same);
    }
    guarded_free(t, mark);
}

/* The kernels in 16-bit integers have their twin's bits, and blocks that are hard for them: zeros,
 * subnormals, one large weight among small ones, halves of a step (ties), infinity and NaN. */
static void hard_weights(struct check *t, enum qtype type, uint8_t *w, int n) {
    static const float scale[] = {0, 1e-6f, 6e-5f, 0.02f, 1, 300};
    uint16_t *h = (uint16_t *)(void *)w;
    for (int i = 0; i < n; i++) {
        float v;
        fill_normal(t, &v, 1);
        v *= scale[check_rand(t) % 300 == 0 ? 5 : (i / 32 + n) % 5];
        if (i % 64 == 1) v = 4097.0f / 4096 * 0.25f;
        h[i] = type == QT_F16 ? f32_to_f16(v) : f32_to_bf16(v);
    }
}

static void check_q16_bits(struct check *t) {
    static const enum qtype types[] = {QT_F16, QT_BF16};
    for (int i = 0; i < 2; i++) {
        if (t->cand->mat.of[types[i]].enc != ACT_Q16) continue;
        for (int n_col = 1; n_col < 1500 && !t->failed; n_col = 3 * n_col + 29) {
            struct guarded *mark = t->memory;
            struct product p = product_new(t, types[i], 32, n_col, false);
            float *twin = guarded_f32(t, 16 * MAT_ROWS);
            for (int r = 0; r < p.n_row; r++)
                hard_weights(t, types[i], p.w + (size_t)r * p.row_bytes, n_col);
            uint16_t *w = (uint16_t *)(void *)p.w;
            w[n_col - 1] = types[i] == QT_F16 ? 0x7c00 : 0x7f80; /* row 0: infinity */
            w[2 * n_col - 1 - n_col / 2] = types[i] == QT_F16 ? 0xfe01 : 0xffc1; /* row 1: NaN */
            const struct product q = {.type = p.type,
                                      .k = &(struct mat_kern){.mul = mat_mul_q16_ref},
                                      .n_row = p.n_row,
                                      .n_col = n_col,
                                      .row_bytes = p.row_bytes,
                                      .step = p.step,
                                      .w = p.w,
                                      .x = p.x,
                                      .acc = twin};
            product_run(&p, 0, 32, NULL, 16);
            product_run(&q, 0, 32, NULL, 16);
            for (int c = 0; c < 16; c++) {
                const float *a = twin + c * MAT_ROWS, *b = p.acc + c * MAT_ROWS;
                CHECK(isnan(a[0]) && isnan(b[0]) && isnan(a[1]) && isnan(b[1]), "%s: not a NaN",
                      qtype_name(p.type));
                CHECK_SAME(a + 2, b + 2, 30, "%s 32x%d, column %d", qtype_name(p.type), n_col, c);
            }
            guarded_free(t, mark);
        }
    }
}

TEST(mat_q16_bits) {
    check_q16_bits(t);
#if defined(__x86_64__)
    if (strcmp(t->level, "avx512") != 0) return;
    /* Once more as on a machine without AVX512-FP16. */
    struct cpu_info cpu = *cpu_info();
    struct kern k = *t->cand;
    const struct kern *cand = t->cand;
    cpu.avx512_fp16 = false;
    kern_mat_avx512(&k.mat, &cpu);
    t->cand = &k;
    check_q16_bits(t);
    t->cand = cand;
#endif
}

TEST(mat_mul) {
    int n_type = 0;
    for (int type = 0; type < QT_COUNT; type++) {
        if (!t->cand->mat.of[type].mul) continue;
        const int block = qtype_geom((uint32_t)type)->block;
        static const int odd[] = {1, 3, 7, 20}; /* blocks in a row */
        for (int i = 0; i < 4 && !t->failed; i++)
            if (odd[i] * block <= 2000) check_shape(t, (enum qtype)type, odd[i] * block, false);
        if (block < 256) check_shape(t, (enum qtype)type, 896 / block * block, false);
        check_shape(t, (enum qtype)type, 1280, true); /* beyond what any kernel unpacks at a time */
        check_tall(t, (enum qtype)type, 800 / block * block);
        n_type++;
    }
    CHECK(n_type == 28, "%d weight types have kernels; 28 should", n_type);
}

/* i8mm promises neon's bits: the same integers, the same float operations in the same order. */
TEST(mat_levels) {
    const struct kern *neon = kern_level("neon");
    if (strcmp(t->level, "i8mm") != 0) return;
    for (int type = 0; type < QT_COUNT && !t->failed; type++) {
        if (!t->cand->mat.of[type].mul) continue;
        const int block = qtype_geom((uint32_t)type)->block;
        struct guarded *mark = t->memory;
        struct product p = product_new(t, (enum qtype)type, MAT_PIECE, 800 / block * block, false);
        float *same = guarded_f32(t, (size_t)7 * MAT_ROWS);
        product_run(&p, 0, MAT_PIECE, NULL, 7);
        memcpy(same, p.acc, 7 * MAT_ROWS * sizeof *same);
        p.k = &neon->mat.of[type];
        product_run(&p, 0, MAT_PIECE, NULL, 7);
        CHECK_SAME(same, p.acc, (size_t)7 * MAT_ROWS, "%s", qtype_name((enum qtype)type));
        guarded_free(t, mark);
    }
}

/* ---- encoders ---- */

TEST(mat_encode) {
    for (int e = 0; e < ACT_N_ENC; e++) {
        for (int n = 1; n < 1200 && !t->failed; n = 2 * n + 3) {
            struct guarded *mark = t->memory;
            const size_t bytes = act_bytes((enum act_enc)e), all = bytes * (size_t)act_blocks(n);
            float *x = guarded_f32(t, (size_t)n);
            uint8_t *a = guarded(t, all), *b = guarded(t, all);
            memset(a, 0, all), memset(b, 0, all);
            fill_normal(t, x, (size_t)n);
            if (n > 300) memset(x, 0, 260 * sizeof *x);
            if (n > 600) x[400] = 1e-38f, x[550] = 1e30f, x[33] = NAN;
            t->ref->mat.encode[e](x, n, a, bytes);
            t->cand->mat.encode[e](x, n, b, bytes);
            size_t at = 0;
            while (at < all && a[at] == b[at])
                at++;
            CHECK(at == all, "encoding %d, %d values: byte %zu differs", e, n, at);
            guarded_free(t, mark);
        }
    }
}

/* ---- speed ---- */

enum { BENCH_COLS = 2048, BENCH_BYTES = 96 << 20 };

/* A matrix larger than the caches, of which each call multiplies the next few rows: calls of about
 * 0.1 ms, so that on a busy machine some of them run undisturbed. */
struct timed {
    const struct mat_kern *k;
    enum qtype type;
    uint8_t *w, *x, *tmp;
    float *acc;
    size_t row_bytes;
    int n_row, n;  /* of the matrix; columns */
    int slice, at; /* rows of a call; the next row */
};

static void timed_run(void *ctx) {
    struct timed *b = ctx;
    const int piece = b->n <= 4 ? b->k->piece : b->k->wide ? b->k->wide : MAT_PIECE;
    const size_t act = act_bytes(b->k->enc);
    if (b->at + b->slice > b->n_row) b->at = 0;
    for (const int end = b->at + b->slice; b->at < end; b->at += piece) {
        const struct mat_call c = {.w = b->w + (size_t)b->at * b->row_bytes,
                                   .row_bytes = b->row_bytes,
                                   .n_row = piece,
                                   .n_col = BENCH_COLS,
                                   .x = b->x,
                                   .x_step = (size_t)b->n * act,
                                   .n = b->n,
                                   .n_row_after = b->n_row - b->at - piece,
                                   .acc = b->acc,
                                   .tmp = b->tmp};
        b->k->mul(b->type, &c);
    }
}

/* A row as in a model: random exponents would make BF16 subnormal now and then, which is slow. */
static void model_weights(struct check *t, enum qtype type, uint8_t *w) {
    uint16_t *h = (uint16_t *)(void *)w;
    if (type != QT_F16 && type != QT_BF16) {
        random_blocks(t, type, w, BENCH_COLS);
        return;
    }
    for (int i = 0; i < BENCH_COLS; i++) {
        float v;
        fill_normal(t, &v, 1);
        h[i] = type == QT_F16 ? f32_to_f16(0.02f * v) : f32_to_bf16(0.02f * v);
    }
}

static struct timed timed_new(struct check *t, enum qtype type) {
    struct timed b = {.k = &t->cand->mat.of[type], .type = type};
    const size_t n_act = BENCH_COLS / ACT_BLOCK * act_bytes(b.k->enc);
    b.row_bytes = qtype_row_bytes(type, BENCH_COLS);
    b.n_row = (int)(BENCH_BYTES / b.row_bytes) / MAT_ROWS * MAT_ROWS;
    b.w = guarded(t, b.row_bytes * (size_t)b.n_row);
    b.x = guarded(t, n_act * MAT_COLS);
    b.tmp = guarded(t, MAT_TMP_BYTES);
    b.acc = guarded(t, MAT_COLS * MAT_ROWS * sizeof(float));
    memset(b.x, 0, n_act * MAT_COLS);
    for (int r = 0; r < 64; r++)
        model_weights(t, type, b.w + (size_t)r * b.row_bytes);
    for (int r = 64; r < b.n_row; r++)
        memcpy(b.w + (size_t)r * b.row_bytes, b.w + (size_t)(r % 64) * b.row_bytes, b.row_bytes);
    return b;
}

/* One thread: GB/s of weights at one column, Gop/s at more, each with its share of the peak
 * measured just before. */
static void bench_type(struct check *t, enum qtype type) {
    static const int n[] = {1, 2, 4, 8, 32, 512};
    struct guarded *mark = t->memory;
    if (!strcmp(t->cand->mat.of[type].isa, "ref")) return;
    struct timed b = timed_new(t, type);
    printf("%-8s %-7s", qtype_name(type), b.k->isa);
    for (size_t i = 0; i < sizeof n / sizeof *n; i++) {
        const struct peak p = bench_peak(t->level);
        b.n = n[i];
        b.slice =
            i == 0 ? (int)((1 << 20) / b.row_bytes) / MAT_ROWS * MAT_ROWS + MAT_ROWS : MAT_ROWS;
        const double s = bench_seconds(timed_run, &b);
        const double gbs = (double)b.row_bytes * b.slice / s * 1e-9;
        const double gops = 2.0 * BENCH_COLS * b.slice * b.n / s * 1e-9;
        const double peak = b.k->enc == ACT_F32   ? p.f32_gflops
                            : b.k->enc == ACT_Q16 ? p.int16_gops
                                                  : p.int8_gops;
        if (i == 0)
            printf(" %5.1f GB/s %3.0f%%", gbs, 100 * gbs / p.read_gbs);
        else
            printf("  N=%d %5.0f %3.0f%%", b.n, gops, 100 * gops / peak);
    }
    printf("\n");
    guarded_free(t, mark);
}

struct timed_encode {
    act_fn *fn;
    float *x;
    uint8_t *out;
    size_t bytes;
};

static void encode_run(void *ctx) {
    const struct timed_encode *b = ctx;
    b->fn(b->x, BENCH_COLS, b->out, b->bytes);
}

BENCH(mat_encode) {
    static const char *const name[] = {"f32", "q8", "q8_k", "q16"};
    for (int e = 0; e < ACT_N_ENC; e++) {
        const size_t bytes = act_bytes((enum act_enc)e);
        struct timed_encode b = {t->cand->mat.encode[e], guarded_f32(t, BENCH_COLS),
                                 guarded(t, bytes * BENCH_COLS / ACT_BLOCK), bytes};
        fill_normal(t, b.x, BENCH_COLS);
        printf("encode %-5s %-7s %5.2f ns a value\n", name[e], t->level,
               bench_seconds(encode_run, &b) * 1e9 / BENCH_COLS);
    }
}

BENCH(mat_mul) {
    printf("%s: weight bytes at 1 column, Gop/s at N, and %% of this core's peak\n", t->level);
    const char *only = getenv("CHECKKERN_TYPE");
    for (int type = 0; type < QT_COUNT; type++)
        if (t->cand->mat.of[type].mul && (!only || !strcmp(only, qtype_name((enum qtype)type))))
            bench_type(t, (enum qtype)type);
}
