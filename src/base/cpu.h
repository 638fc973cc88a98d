/* What this processor can do, and how many threads suit it. */
#pragma once

#include <stdbool.h>

struct cpu_info {
    char name[64]; /* brand string, or the architecture */
    bool avx2;     /* AVX2, FMA and F16C together */
    bool avx512;   /* F, BW, VL, DQ together */
    bool avx512_vnni, avx512_bf16, avx512_fp16, avx512_vbmi, avx_vnni;
    bool neon, dotprod, i8mm;
    int n_logical;  /* processors this process may run on: affinity and cgroup quota respected */
    int n_physical; /* distinct cores among them */
};

/* Filled once; thread-safe afterwards. */
const struct cpu_info *cpu_info(void);

/* Threads to use when nobody says: physical cores, or the setting NUM_THREADS / THREADS
 * (CRIA_THREADS, CRIA_NUM_THREADS, OLLAMA_NUM_THREADS). */
int cpu_default_threads(void);
