/* Tests and timings of the CPU kernels: every level this machine has (ref .. avx512, i8mm)
 * against the scalar twin.  A file tests/checkkern_<part>.c registers its own:
 *
 *     TEST(rms_norm) { ... t->ref->vec.rms_norm(..), t->cand->vec.rms_norm(..) ... }
 *     BENCH(rms_norm) { ... }
 *
 * Memory comes from guarded(): the byte after a buffer is unmapped, so an overread crashes here
 * instead of in production.  Needs libc, base, quant and cpu only: it is also cross-built. */
#pragma once

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "cpu/kern.h"

struct check {
    const char *level; /* of cand */
    const struct kern *ref, *cand;
    uint64_t seed; /* of check_rand; the same for every level */
    bool failed;
    struct guarded *memory; /* all guarded() buffers of this test, freed after it */
};

/* n bytes that end at an unmapped page.  64-byte aligned when n is a multiple of 64. */
void *guarded(struct check *t, size_t n);
float *guarded_f32(struct check *t, size_t n);
/* Free what was allocated since the mark (t->memory read earlier), in loops over sizes. */
void guarded_free(struct check *t, struct guarded *mark);

uint32_t check_rand(struct check *t);
void fill_normal(struct check *t, float *x, size_t n); /* mean 0, variance 1 */

/* Bit for bit equal / within tol, relative to the larger of |a| and 1.  The first difference is
 * printed with the place and the note (printf style) and fails the test. */
#define CHECK_SAME(a, b, n, ...) check_same(t, __FILE__, __LINE__, a, b, n, __VA_ARGS__)
#define CHECK_NEAR(a, b, n, tol, ...) check_near(t, __FILE__, __LINE__, a, b, n, tol, __VA_ARGS__)
#define CHECK(ok, ...) check_true(t, __FILE__, __LINE__, ok, __VA_ARGS__)

bool check_same(struct check *t, const char *file, int line, const float *a, const float *b,
                size_t n, const char *fmt, ...) __attribute__((format(printf, 7, 8)));
bool check_near(struct check *t, const char *file, int line, const float *a, const float *b,
                size_t n, double tol, const char *fmt, ...) __attribute__((format(printf, 8, 9)));
bool check_true(struct check *t, const char *file, int line, bool ok, const char *fmt, ...)
    __attribute__((format(printf, 5, 6)));

/* Timing: call fn(ctx) over and over for about 0.1 s; the best time of one call in seconds. */
double bench_seconds(void (*fn)(void *ctx), void *ctx);
/* Peaks of one core, measured now: int8 and int16 multiply-adds as Gop/s (the level's instruction),
 * fp32 Gflop/s, and memory read GB/s.  0 where unknown. */
struct peak {
    double int8_gops, int16_gops, f32_gflops, read_gbs;
};
struct peak bench_peak(const char *level);

typedef void check_fn(struct check *t);
struct check_entry {
    const char *name;
    check_fn *fn;
    bool bench;
    struct check_entry *next;
};
void check_register(struct check_entry *e);

#define CHECK_ENTRY(prefix, id, is_bench)                                                          \
    static void prefix##_##id(struct check *t);                                                    \
    __attribute__((constructor)) static void register_##prefix##_##id(void) {                      \
        static struct check_entry e = {#id, prefix##_##id, is_bench, NULL};                        \
        check_register(&e);                                                                        \
    }                                                                                              \
    static void prefix##_##id(struct check *t)

#define TEST(id) CHECK_ENTRY(test, id, false)
#define BENCH(id) CHECK_ENTRY(bench, id, true)
