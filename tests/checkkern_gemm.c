/* checkkern of what training's products are made of: transposes, decoders, tiles of bfloat16.
 * (mul_tile, their float tile: checkkern_vec.c.) */
#include "checkkern.h"

#include <math.h>
#include <stdio.h>
#include <string.h>

#include "base/f16.h"
#include "cpu/probe.h"
#include "quant/quant.h"

static float *normal(struct check *t, size_t n) {
    float *x = guarded_f32(t, n);
    fill_normal(t, x, n);
    return x;
}

static uint16_t *guarded_u16(struct check *t, size_t n) {
    return guarded(t, n * sizeof(uint16_t));
}

static void check_transpose(struct check *t, int n_row, int n_col, int more) {
    struct guarded *mark = t->memory;
    const int ldx = n_col + more, ldy = n_row + more;
    const size_t n_x = (size_t)ldx * (size_t)(n_row - 1) + (size_t)n_col,
                 n_y = (size_t)ldy * (size_t)(n_col - 1) + (size_t)n_row;
    float *x = guarded_f32(t, n_x), *a = guarded_f32(t, n_y), *b = guarded_f32(t, n_y);
    for (size_t i = 0; i < n_x; i++) {
        const uint32_t any = check_rand(t); /* signaling NaNs among them */
        memcpy(&x[i], &any, sizeof any);
    }
    memset(a, 0, n_y * sizeof *a);
    memset(b, 0, n_y * sizeof *b);
    t->ref->gemm.transpose(n_row, n_col, x, ldx, a, ldy);
    t->cand->gemm.transpose(n_row, n_col, x, ldx, b, ldy);
    CHECK_SAME(a, b, n_y, "%d x %d", n_row, n_col);
    guarded_free(t, mark);
}

TEST(gemm_transpose) {
    for (int n_row = 1; n_row <= 49; n_row += n_row < 18 ? 1 : 5)
        for (int n_col = 1; n_col <= 70; n_col += n_col < 18 ? 1 : 7)
            check_transpose(t, n_row, n_col, (n_row + n_col) % 3);
}

/* Numbers of all magnitudes, 0 and infinity: what files hold. */
TEST(gemm_decode) {
    int n_type = 0;
    for (int i = 0; i < QT_COUNT; i++) {
        if (!t->ref->gemm.decode[i]) {
            CHECK(!t->cand->gemm.decode[i], "%s is decoded", qtype_name((enum qtype)i));
            continue;
        }
        const int block = qtype_geom((uint32_t)i)->block;
        for (int n = block; n <= 3 * block + 20; n += block) {
            struct guarded *mark = t->memory;
            float *x = normal(t, (size_t)n), *a = guarded_f32(t, (size_t)n),
                  *b = guarded_f32(t, (size_t)n);
            uint8_t *p = guarded(t, qtype_row_bytes((enum qtype)i, n));
            for (int k = 0; k < n; k++)
                x[k] = ldexpf(x[k], (int)(check_rand(t) % 30) - 24);
            x[n / 2] = 0.0f;
            if (block == 1) x[0] = INFINITY;
            quant_type((enum qtype)i)->encode(x, p, (size_t)n, NULL);
            t->ref->gemm.decode[i](p, a, (size_t)n);
            t->cand->gemm.decode[i](p, b, (size_t)n);
            CHECK_SAME(a, b, (size_t)n, "%s, %d values", qtype_name((enum qtype)i), n);
            guarded_free(t, mark);
        }
        n_type++;
    }
    CHECK(n_type == 28, "%d weight types have decoders; 28 should", n_type);
}

/* Halves of rounding steps, infinities and NaN; nothing below the smallest normal number. */
TEST(gemm_round_bf16) {
    for (int n = 1; n <= 70; n++) {
        struct guarded *mark = t->memory;
        float *x = normal(t, (size_t)n), *y = normal(t, (size_t)n);
        uint16_t *a = guarded_u16(t, (size_t)n), *b = guarded_u16(t, (size_t)n);
        uint16_t *pa = guarded_u16(t, 2 * (size_t)n), *pb = guarded_u16(t, 2 * (size_t)n);
        for (int i = 0; i < n; i += 3)
            x[i] = f32_from_bits((f32_bits(x[i]) & 0xffff0000u) | 0x8000u);
        y[n / 2] = n % 2 ? INFINITY : -0.0f;
        t->ref->gemm.to_bf16(n, x, a);
        t->cand->gemm.to_bf16(n, x, b);
        CHECK(!memcmp(a, b, (size_t)n * sizeof *a), "to_bf16 of %d", n);
        t->ref->gemm.pair_bf16(n, x, y, pa);
        t->cand->gemm.pair_bf16(n, x, y, pb);
        CHECK(!memcmp(pa, pb, 2 * (size_t)n * sizeof *pa), "pair_bf16 of %d", n);
        x[n - 1] = NAN;
        t->cand->gemm.to_bf16(n, x, b);
        CHECK(isnan(bf16_to_f32(b[n - 1])), "NaN is %04x", b[n - 1]);
        guarded_free(t, mark);
    }
}

/* c and what it must be, and rows one by one, which must have the bits of all together. */
static void check_mul(struct check *t, int n_row, int n_col, int n_pair, bool add) {
    struct guarded *mark = t->memory;
    const size_t n_a = (size_t)n_row * (size_t)n_pair, n_b = (size_t)n_pair * (size_t)n_col,
                 n_c = (size_t)n_row * (size_t)n_col;
    uint16_t *a = guarded_u16(t, 2 * n_a), *b = guarded_u16(t, 2 * n_b);
    float *c0 = normal(t, n_c), *c = guarded_f32(t, n_c), *d = guarded_f32(t, n_c);
    t->ref->gemm.to_bf16(2 * (int)n_a, normal(t, 2 * n_a), a);
    t->ref->gemm.to_bf16(2 * (int)n_b, normal(t, 2 * n_b), b);
    memcpy(c, c0, n_c * sizeof *c);
    memcpy(d, c0, n_c * sizeof *d);
    t->ref->gemm.mul_bf16(n_row, n_col, n_pair, a, n_pair, b, n_col, c, n_col, add);
    t->cand->gemm.mul_bf16(n_row, n_col, n_pair, a, n_pair, b, n_col, d, n_col, add);
    CHECK_NEAR(c, d, n_c, 2e-7 * (n_pair + 8), "%d x %d x %d", n_row, n_col, n_pair);
    memcpy(c, c0, n_c * sizeof *c);
    for (int r = 0; r < n_row; r++)
        for (int j = 0; j < n_col; j += 16)
            t->cand->gemm.mul_bf16(1, 16, n_pair, a + 2 * r * n_pair, n_pair, b + 2 * j, n_col,
                                   c + r * n_col + j, n_col, add);
    CHECK_SAME(d, c, n_c, "%d x %d x %d one by one", n_row, n_col, n_pair);
    guarded_free(t, mark);
}

TEST(gemm_mul_bf16) {
    for (int n_row = 1; n_row <= 14; n_row++)
        for (int n_col = 16; n_col <= 128; n_col += 16)
            check_mul(t, n_row, n_col, 1 + n_row % 5, n_col % 32 == 0);
    check_mul(t, 48, 64, 512, false);
    check_mul(t, 5, 112, 300, true);
}

/* ---- timings ---- */

enum { ROWS = 48, COLS = 512, PAIRS = 512, PEAK_ROUNDS = 20000 };

struct timing {
    const struct kern_gemm *k;
    enum qtype type;
    uint8_t *blocks;
    uint16_t *a, *b;
    float *c, *x;
};

static void time_mul(void *ctx) {
    struct timing *x = ctx;
    for (int j = 0; j < COLS; j += 64)
        x->k->mul_bf16(ROWS, 64, PAIRS, x->a, PAIRS, x->b + 2 * j * PAIRS, 64, x->c + j, COLS,
                       true);
}

static void time_decode(void *ctx) {
    struct timing *x = ctx;
    x->k->decode[x->type](x->blocks, x->x, 4096);
}

static void time_transpose(void *ctx) {
    struct timing *x = ctx;
    x->k->transpose(16, 512, x->x, 528, x->c, 64);
}

static void time_peak(void *ctx) {
    (void)ctx;
    volatile double sink = 0;
    cpu_probe().bf16(PEAK_ROUNDS, &sink);
}

BENCH(gemm) {
    static const enum qtype types[] = {QT_F16,  QT_BF16, QT_Q4_0, QT_Q8_0, QT_Q4_K,
                                       QT_Q5_K, QT_Q6_K, QT_Q2_K, QT_Q3_K, QT_IQ4_XS};
    struct timing x = {.k = &t->cand->gemm, .x = normal(t, 528 * 16)};
    x.a = guarded_u16(t, 2 * ROWS * PAIRS);
    x.b = guarded_u16(t, 2 * PAIRS * COLS);
    x.c = guarded_f32(t, (size_t)COLS * 64);
    x.blocks = guarded(t, 4096 * 4);
    memset(x.a, 0, 4 * ROWS * PAIRS);
    memset(x.b, 0, 4 * PAIRS * COLS);
    memset(x.c, 0, sizeof(float) * COLS * 64);
    if (x.k->bf16) {
        volatile double sink = 0;
        const double ops = cpu_probe().bf16(PEAK_ROUNDS, &sink);
        const double peak = ops / bench_seconds(time_peak, NULL) * 1e-9;
        const double g = 4.0 * ROWS * COLS * PAIRS / bench_seconds(time_mul, &x) * 1e-9;
        printf("%-7s mul_bf16 %d x %d x %d: %.0f Gflop/s, %.0f %% of peak\n", t->level, ROWS, COLS,
               2 * PAIRS, g, 100 * g / peak);
    }
    printf("%-7s transpose 16 x 512: %.2f values/ns\n", t->level,
           16 * 512 * 1e-9 / bench_seconds(time_transpose, &x));
    for (size_t i = 0; i < sizeof types / sizeof *types; i++) {
        x.type = types[i];
        quant_type(x.type)->encode(x.x, x.blocks, 4096, NULL);
        printf("%-7s decode %-6s %.1f values/ns\n", t->level, qtype_name(x.type),
               4096e-9 / bench_seconds(time_decode, &x));
    }
}
