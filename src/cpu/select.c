/* Which kernels are used: the tables of all levels this machine has, and the choice of one.
 *
 * A level stands for its instruction set and all below it: the avx512 table is ref, overridden by
 * avx2, overridden by avx512. */
#include "cpu/kern.h"

#include <assert.h>
#include <pthread.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/cpu.h"
#include "base/os.h"
#include "cpu/cpu.h"

enum { N_LEVEL = 4, N_LINE = 160, N_LINE_CHARS = 48 };

struct level {
    const char *name;
    bool (*have)(const struct cpu_info *c);
    void (*init)(struct kern *k, const struct cpu_info *c);
};

static bool have_ref(const struct cpu_info *c) {
    (void)c;
    return true;
}

static void init_ref(struct kern *k, const struct cpu_info *c) {
    (void)c;
    kern_mat_ref(&k->mat);
    kern_vec_ref(&k->vec);
    kern_gemm_ref(&k->gemm);
}

#if defined(__x86_64__)
static bool have_avx2(const struct cpu_info *c) {
    return c->avx2;
}

static void init_avx2(struct kern *k, const struct cpu_info *c) {
    (void)c;
    kern_mat_avx2(&k->mat);
    kern_vec_avx2(&k->vec);
    kern_gemm_avx2(&k->gemm);
}

static bool have_avxvnni(const struct cpu_info *c) {
    return c->avx2 && c->avx_vnni;
}

static void init_avxvnni(struct kern *k, const struct cpu_info *c) {
    (void)c;
    kern_mat_avxvnni(&k->mat);
}

/* The folder is compiled for VNNI and VBMI too, so a machine without them (Skylake-X, Cascade
 * Lake) stays with avx2. */
static bool have_avx512(const struct cpu_info *c) {
    return c->avx512 && c->avx512_vnni && c->avx512_vbmi;
}

static void init_avx512(struct kern *k, const struct cpu_info *c) {
    kern_mat_avx512(&k->mat, c);
    kern_vec_avx512(&k->vec);
    kern_gemm_avx512(&k->gemm, c);
}
#endif

#if defined(__aarch64__)
/* The folder is compiled for the dot product instructions. */
static bool have_neon(const struct cpu_info *c) {
    return c->neon && c->dotprod;
}

static void init_neon(struct kern *k, const struct cpu_info *c) {
    kern_mat_neon(&k->mat, c);
    kern_vec_neon(&k->vec);
    kern_gemm_neon(&k->gemm);
}

static bool have_i8mm(const struct cpu_info *c) {
    return have_neon(c) && c->i8mm;
}

static void init_i8mm(struct kern *k, const struct cpu_info *c) {
    (void)c;
    kern_mat_i8mm(&k->mat);
}
#endif

static const struct level levels[] = {
    {"ref", have_ref, init_ref},
#if defined(__x86_64__)
    {"avx2", have_avx2, init_avx2},
    {"avxvnni", have_avxvnni, init_avxvnni}, /* some avx512 machines lack it */
    {"avx512", have_avx512, init_avx512},
#endif
#if defined(__aarch64__)
    {"neon", have_neon, init_neon},
    {"i8mm", have_i8mm, init_i8mm},
#endif
};

enum { N_DEFINED = sizeof levels / sizeof *levels };

/* Written once. */
static struct {
    struct kern kern[N_LEVEL];
    bool have[N_LEVEL];
    int used;
    char isa[64];
    char line[N_LINE][N_LINE_CHARS];
    int n_line;
} sel;
static pthread_once_t once = PTHREAD_ONCE_INIT;

/* Index of a level this machine has, -1 for none. */
static int find_level(const char *name) {
    for (int i = 0; i < N_DEFINED; i++)
        if (sel.have[i] && !strcmp(levels[i].name, name)) return i;
    return -1;
}

static void init_tables(void) {
    const struct cpu_info *c = cpu_info();
    for (int i = 0; i < N_DEFINED; i++) {
        if (i) sel.kern[i] = sel.kern[i - 1];
        sel.have[i] = levels[i].have(c);
        if (!sel.have[i]) continue;
        levels[i].init(&sel.kern[i], c);
        sel.used = i;
    }
}

static void choose(void) {
    char v[256];
    const char *s = os_setting("CPU", v, sizeof v);
    const int i = s ? find_level(s) : -1;
    if (i >= 0) sel.used = i;
}

static void name_isa(void) {
    const struct cpu_info *c = cpu_info();
    const char *name = levels[sel.used].name;
    const bool avx512 = !strcmp(name, "avx512"), neon = !strcmp(name, "neon");
    snprintf(sel.isa, sizeof sel.isa, "%s%s%s%s", name, avx512 ? "+vnni+vbmi" : "",
             avx512 && c->avx512_bf16 ? "+bf16" : "", neon ? "+dotprod" : "");
}

__attribute__((format(printf, 1, 2))) static void add_line(const char *fmt, ...) {
    va_list ap;
    assert(sel.n_line < N_LINE);
    va_start(ap, fmt);
    vsnprintf(sel.line[sel.n_line++], N_LINE_CHARS, fmt, ap);
    va_end(ap);
}

/* The lowest level that already has this vector kernel is the one it belongs to. */
static const char *owner(int slot) {
    void (*fn)(void), (*same)(void);
    kern_vec_slot(&sel.kern[sel.used].vec, slot, &fn);
    for (int i = 0; i < sel.used; i++) {
        kern_vec_slot(&sel.kern[i].vec, slot, &same);
        if (same == fn) return levels[i].name;
    }
    return levels[sel.used].name;
}

/* The same of the pointer `at` bytes into struct kern. */
static const char *owner_at(size_t at) {
    const char *used = (const char *)&sel.kern[sel.used] + at;
    for (int i = 0; i < sel.used; i++)
        if (!memcmp((const char *)&sel.kern[i] + at, used, sizeof(void (*)(void))))
            return levels[i].name;
    return levels[sel.used].name;
}

static void list_gemm(const struct kern_gemm *k) {
    const size_t decode = offsetof(struct kern, gemm.decode);
    for (size_t t = 0; t < QT_COUNT; t++)
        if (k->decode[t])
            add_line("decode %s %s", qtype_name((enum qtype)t),
                     owner_at(decode + t * sizeof k->decode[0]));
    add_line("transpose %s", owner_at(offsetof(struct kern, gemm.transpose)));
    add_line("to_bf16 %s", owner_at(offsetof(struct kern, gemm.to_bf16)));
    add_line("pair_bf16 %s", owner_at(offsetof(struct kern, gemm.pair_bf16)));
    add_line("mul_bf16 %s", owner_at(offsetof(struct kern, gemm.mul_bf16)));
}

static void list_kernels(void) {
    const struct kern *k = &sel.kern[sel.used];
    const char *name;
    void (*fn)(void);
    for (int t = 0; t < QT_COUNT; t++)
        if (k->mat.of[t].mul) add_line("mul %s %s", qtype_name(t), k->mat.of[t].isa);
    for (int i = 0; (name = kern_vec_slot(&k->vec, i, &fn)); i++)
        add_line("%s %s", name, owner(i));
    list_gemm(&k->gemm);
}

static void init(void) {
    init_tables();
    choose();
    name_isa();
    list_kernels();
}

const struct kern *kern_get(void) {
    pthread_once(&once, init);
    return &sel.kern[sel.used];
}

const struct kern *kern_level(const char *level) {
    pthread_once(&once, init);
    const int i = find_level(level);
    return i < 0 ? NULL : &sel.kern[i];
}

int cpu_check_setting(struct err *e) {
    char v[256], have[64] = "";
    pthread_once(&once, init);
    const char *s = os_setting("CPU", v, sizeof v);
    if (!s || find_level(s) >= 0) return 0;
    for (int i = 0; i < N_DEFINED; i++)
        if (sel.have[i])
            snprintf(have + strlen(have), sizeof have - strlen(have), "%s%s", i ? ", " : "",
                     levels[i].name);
    return err_set(e, ERR_USAGE, "CRIA_CPU: \"%s\"; this machine has %s", s, have);
}

const char *cpu_isa(void) {
    pthread_once(&once, init);
    return sel.isa;
}

int cpu_n_kernel(void) {
    pthread_once(&once, init);
    return sel.n_line;
}

const char *cpu_kernel_line(int i) {
    assert(i >= 0 && i < cpu_n_kernel());
    return sel.line[i];
}
