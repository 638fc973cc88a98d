/* Processor detection: CPUID (through the compiler's helper), hwcaps on ARM, sysfs for topology. */
#include "base/cpu.h"

#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

#include "base/os.h"

static struct cpu_info info;
static pthread_once_t once = PTHREAD_ONCE_INIT;

#if defined(__x86_64__)
static void detect_isa(struct cpu_info *c) {
    __builtin_cpu_init();
    unsigned a, b, cx, d;
    const bool f16c = __get_cpuid(1, &a, &b, &cx, &d) && (cx >> 29 & 1);
    c->avx2 = __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") && f16c;
    c->avx512 = c->avx2 && __builtin_cpu_supports("avx512f") &&
                __builtin_cpu_supports("avx512bw") && __builtin_cpu_supports("avx512vl") &&
                __builtin_cpu_supports("avx512dq");
    c->avx512_vnni = c->avx512 && __builtin_cpu_supports("avx512vnni");
    c->avx512_vbmi = c->avx512 && __builtin_cpu_supports("avx512vbmi");
    if (__get_cpuid_count(7, 0, &a, &b, &cx, &d)) c->avx512_fp16 = c->avx512 && (d >> 23 & 1);
    if (__get_cpuid_count(7, 1, &a, &b, &cx, &d)) {
        c->avx512_bf16 = c->avx512 && (a >> 5 & 1);
        c->avx_vnni = c->avx2 && (a >> 4 & 1);
    }
    unsigned *brand = (unsigned *)(void *)c->name;
    for (unsigned i = 0; i < 3; i++)
        if (!__get_cpuid(0x80000002u + i, &brand[4 * i], &brand[4 * i + 1], &brand[4 * i + 2],
                         &brand[4 * i + 3]))
            return;
    c->name[48] = 0;
}
#elif defined(__aarch64__)
static void detect_isa(struct cpu_info *c) {
    snprintf(c->name, sizeof c->name, "aarch64");
    c->neon = true;
#if defined(__linux__)
    c->dotprod = getauxval(AT_HWCAP) & HWCAP_ASIMDDP;
#ifdef HWCAP2_I8MM
    c->i8mm = getauxval(AT_HWCAP2) & HWCAP2_I8MM;
#endif
#else
    c->dotprod = true; /* every Apple processor of this family */
#endif
}
#else
static void detect_isa(struct cpu_info *c) {
    snprintf(c->name, sizeof c->name, "generic");
}
#endif

/* A cgroup's CPU quota in whole processors, rounded up; 0 for none. */
static int cgroup_quota(void) {
    FILE *f = fopen("/sys/fs/cgroup/cpu.max", "re");
    long quota = 0, period = 0;
    if (!f) return 0;
    const int n = fscanf(f, "%ld %ld", &quota, &period);
    fclose(f);
    return n == 2 && quota > 0 && period > 0 ? (int)((quota + period - 1) / period) : 0;
}

#ifdef __linux__
static void detect_count(struct cpu_info *c) {
    cpu_set_t set;
    if (sched_getaffinity(0, sizeof set, &set) != 0) {
        c->n_logical = c->n_physical = 1;
        return;
    }
    c->n_logical = CPU_COUNT(&set);
    /* A core is counted at the first of its siblings that we may run on. */
    for (int i = 0; i < CPU_SETSIZE; i++) {
        char path[96];
        int first = i;
        if (!CPU_ISSET((size_t)i, &set)) continue;
        snprintf(path, sizeof path, "/sys/devices/system/cpu/cpu%d/topology/thread_siblings_list",
                 i);
        FILE *f = fopen(path, "re");
        if (f) {
            if (fscanf(f, "%d", &first) != 1) first = i;
            fclose(f);
        }
        if (first == i || first < 0 || first >= CPU_SETSIZE || !CPU_ISSET((size_t)first, &set))
            c->n_physical++;
    }
}
#else
static void detect_count(struct cpu_info *c) {
    c->n_logical = c->n_physical = (int)sysconf(_SC_NPROCESSORS_ONLN);
}
#endif

static void detect(void) {
    detect_isa(&info);
    detect_count(&info);
    const int quota = cgroup_quota();
    if (quota && quota < info.n_logical) info.n_logical = quota;
    if (info.n_logical < 1) info.n_logical = 1;
    if (info.n_physical < 1 || info.n_physical > info.n_logical) info.n_physical = info.n_logical;
}

const struct cpu_info *cpu_info(void) {
    pthread_once(&once, detect);
    return &info;
}

int cpu_default_threads(void) {
    char v[16];
    const char *s = os_setting("THREADS", v, sizeof v);
    if (!s) s = os_setting("NUM_THREADS", v, sizeof v);
    const int n = s ? atoi(s) : 0;
    return n > 0 && n <= 512 ? n : cpu_info()->n_physical;
}
