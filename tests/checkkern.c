/* checkkern [--bench] [FILTER]: runs the registered kernel tests (or timings) whose name contains
 * FILTER, once for every level this machine has.  Exit code 1 when one failed. */
#include "checkkern.h"

#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/os.h"

/* ---- guarded memory ---- */

struct guarded {
    struct guarded *next;
    uint8_t *map;
    size_t n_map;
};

void *guarded(struct check *t, size_t n) {
    const size_t page = (size_t)sysconf(_SC_PAGESIZE), body = (n + page - 1) / page * page;
    struct guarded *g = malloc(sizeof *g);
    if (!g) abort();
    g->n_map = body + page;
    g->map = mmap(NULL, g->n_map, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (g->map == MAP_FAILED || mprotect(g->map + body, page, PROT_NONE)) abort();
    memset(g->map, 0x5a, body);
    g->next = t->memory;
    t->memory = g;
    return g->map + body - n;
}

float *guarded_f32(struct check *t, size_t n) {
    return guarded(t, n * sizeof(float));
}

void guarded_free(struct check *t, struct guarded *mark) {
    while (t->memory != mark) {
        struct guarded *g = t->memory;
        t->memory = g->next;
        munmap(g->map, g->n_map);
        free(g);
    }
}

/* ---- numbers ---- */

uint32_t check_rand(struct check *t) { /* splitmix64 (Steele, Lea, Flood 2014) */
    uint64_t z = t->seed += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return (uint32_t)((z ^ z >> 31) >> 32);
}

void fill_normal(struct check *t, float *x, size_t n) {
    for (size_t i = 0; i < n; i++) { /* Box and Muller */
        const double u = (check_rand(t) + 1.0) / 4294967297.0, v = check_rand(t) / 4294967296.0;
        x[i] = (float)(sqrt(-2.0 * log(u)) * cos(6.283185307179586 * v));
    }
}

/* ---- checks ---- */

static void complain(struct check *t, const char *file, int line, const char *what, const char *fmt,
                     va_list ap) {
    if (!t->failed) { /* the first is enough */
        printf("%s:%d: %s: %s: ", file, line, t->level, what);
        vprintf(fmt, ap);
        printf("\n");
    }
    t->failed = true;
}

bool check_true(struct check *t, const char *file, int line, bool ok, const char *fmt, ...) {
    if (ok) return true;
    va_list ap;
    va_start(ap, fmt);
    complain(t, file, line, "false", fmt, ap);
    va_end(ap);
    return false;
}

bool check_same(struct check *t, const char *file, int line, const float *a, const float *b,
                size_t n, const char *fmt, ...) {
    for (size_t i = 0; i < n; i++) {
        if (memcmp(&a[i], &b[i], sizeof *a) == 0) continue;
        char what[96];
        va_list ap;
        snprintf(what, sizeof what, "[%zu] is %.9g, not %.9g", i, (double)b[i], (double)a[i]);
        va_start(ap, fmt);
        complain(t, file, line, what, fmt, ap);
        va_end(ap);
        return false;
    }
    return true;
}

bool check_near(struct check *t, const char *file, int line, const float *a, const float *b,
                size_t n, double tol, const char *fmt, ...) {
    for (size_t i = 0; i < n; i++) {
        const double d = fabs((double)a[i] - b[i]), m = fmax(1.0, fabs((double)a[i]));
        if (d <= tol * m || (isnan(a[i]) && isnan(b[i])) || a[i] == b[i]) continue;
        char what[96];
        va_list ap;
        snprintf(what, sizeof what, "[%zu] is %.9g, not %.9g", i, (double)b[i], (double)a[i]);
        va_start(ap, fmt);
        complain(t, file, line, what, fmt, ap);
        va_end(ap);
        return false;
    }
    return true;
}

/* ---- timing ---- */

double bench_seconds(void (*fn)(void *ctx), void *ctx) {
    double best = 1e9;
    const int64_t begin = os_now_ns();
    fn(ctx); /* warm */
    for (int i = 0; i < 3 || os_now_ns() - begin < 100000000; i++) {
        const int64_t a = os_now_ns();
        fn(ctx);
        const double s = (double)(os_now_ns() - a) * 1e-9;
        if (s < best) best = s;
    }
    return best;
}

#if defined(__x86_64__)
#include <immintrin.h>

#define TWELVE(op) op(0) op(1) op(2) op(3) op(4) op(5) op(6) op(7) op(8) op(9) op(10) op(11)

enum { PEAK_LOOPS = 20000 };

__attribute__((target("avx512f"))) static void spin_int8_512(void *ctx) {
    (void)ctx;
    for (int i = 0; i < PEAK_LOOPS; i++)
#define OP(n) "vpdpbusd %%zmm30, %%zmm31, %%zmm" #n "\n"
        __asm__ volatile(TWELVE(OP)::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                               "xmm8", "xmm9", "xmm10", "xmm11");
#undef OP
}

__attribute__((target("avx512f"))) static void spin_f32_512(void *ctx) {
    (void)ctx;
    for (int i = 0; i < PEAK_LOOPS; i++)
#define OP(n) "vfmadd231ps %%zmm30, %%zmm31, %%zmm" #n "\n"
        __asm__ volatile(TWELVE(OP)::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                               "xmm8", "xmm9", "xmm10", "xmm11");
#undef OP
}

__attribute__((target("avx2"))) static void spin_int8_256(void *ctx) {
    (void)ctx;
    for (int i = 0; i < PEAK_LOOPS; i++)
#define OP(n) "vpmaddubsw %%ymm14, %%ymm15, %%ymm" #n "\n"
        __asm__ volatile(TWELVE(OP)::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                               "xmm8", "xmm9", "xmm10", "xmm11");
#undef OP
}

__attribute__((target("fma"))) static void spin_f32_256(void *ctx) {
    (void)ctx;
    for (int i = 0; i < PEAK_LOOPS; i++)
#define OP(n) "vfmadd231ps %%ymm14, %%ymm15, %%ymm" #n "\n"
        __asm__ volatile(TWELVE(OP)::
                             : "xmm0", "xmm1", "xmm2", "xmm3", "xmm4", "xmm5", "xmm6", "xmm7",
                               "xmm8", "xmm9", "xmm10", "xmm11");
#undef OP
}
#endif

enum { READ_BYTES = 96 << 20, READ_SLICE = 1 << 20 };

/* Read the next slice: short calls, some of which run undisturbed on a busy machine. */
static void read_slice(void *ctx) {
    static size_t at;
    const uint64_t *p = (const uint64_t *)((const uint8_t *)ctx + at);
    uint64_t s[8] = {0};
    at = (at + READ_SLICE) % (READ_BYTES - READ_SLICE);
    for (size_t i = 0; i < READ_SLICE / 8; i += 8) {
        __builtin_prefetch((const char *)(p + i) + 2048);
        for (int k = 0; k < 8; k++)
            s[k] += p[i + (size_t)k];
    }
    uint64_t sum = 0;
    for (int k = 0; k < 8; k++)
        sum += s[k];
    __asm__ volatile("" ::"r"(sum));
}

struct peak bench_peak(const char *level) {
    struct peak p = {0};
    void *big = mmap(NULL, READ_BYTES, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (big == MAP_FAILED) return p;
    memset(big, 1, READ_BYTES);
    p.read_gbs = READ_SLICE / bench_seconds(read_slice, big) * 1e-9;
    munmap(big, READ_BYTES);
#if defined(__x86_64__)
    const double n = 12.0 * PEAK_LOOPS * 2e-9;
    if (!strcmp(level, "avx512")) {
        p.int8_gops = n * 64 / bench_seconds(spin_int8_512, NULL);
        p.f32_gflops = n * 16 / bench_seconds(spin_f32_512, NULL);
    } else if (!strncmp(level, "avx", 3)) {
        p.int8_gops = n * 32 / bench_seconds(spin_int8_256, NULL);
        p.f32_gflops = n * 8 / bench_seconds(spin_f32_256, NULL);
    }
#else
    (void)level;
#endif
    return p;
}

/* ---- the runner ---- */

static struct check_entry *entries;

void check_register(struct check_entry *e) {
    struct check_entry **at = &entries;
    while (*at && strcmp((*at)->name, e->name) < 0)
        at = &(*at)->next;
    e->next = *at;
    *at = e;
}

static bool run(const struct check_entry *e, const char *level) {
    struct check t = {.level = level,
                      .ref = kern_level("ref"),
                      .cand = kern_level(level),
                      .seed = 0x637269612d6b6572u};
    e->fn(&t);
    guarded_free(&t, NULL);
    return !t.failed;
}

int main(int argc, char **argv) {
    static const char *const levels[] = {"ref", "avx2", "avxvnni", "avx512", "neon"};
    const char *filter = "", *only = getenv("CHECKKERN_LEVEL");
    bool bench = false;
    int passed = 0, failed = 0;
    for (int i = 1; i < argc; i++) {
        if (!strcmp(argv[i], "--bench"))
            bench = true;
        else
            filter = argv[i];
    }
    for (size_t l = 0; l < sizeof levels / sizeof *levels; l++) {
        if (!kern_level(levels[l]) || (bench && l == 0)) continue;
        if (only && strcmp(only, levels[l])) continue;
        for (const struct check_entry *e = entries; e; e = e->next) {
            if (e->bench != bench || !strstr(e->name, filter)) continue;
            const bool ok = run(e, levels[l]);
            ok ? passed++ : failed++;
            if (!bench) printf("[%s] %s %s\n", ok ? "      OK " : "  FAILED ", e->name, levels[l]);
            fflush(stdout);
        }
    }
    printf("[  PASSED  ] %d test(s).\n", passed);
    if (failed) printf("[  FAILED  ] %d test(s).\n", failed);
    return failed || !passed;
}
