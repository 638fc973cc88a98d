/* Processor detection: CPUID (through the compiler's helper), hwcaps on ARM. */
#include "base/cpu.h"

#include <pthread.h>
#include <stdio.h>
#if defined(__x86_64__)
#include <cpuid.h>
#endif
#if defined(__aarch64__) && defined(__linux__)
#include <asm/hwcap.h>
#include <sys/auxv.h>
#endif

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

static void detect(void) {
    detect_isa(&info);
}

const struct cpu_info *cpu_info(void) {
    pthread_once(&once, detect);
    return &info;
}
