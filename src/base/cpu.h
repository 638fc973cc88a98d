/* What this processor can do.  How many there are of it: base/cores.h. */
#pragma once

#include <stdbool.h>

struct cpu_info {
    char name[64]; /* brand string, or the architecture */
    bool avx2;     /* AVX2, FMA and F16C together */
    bool avx512;   /* F, BW, VL, DQ together */
    bool avx512_vnni, avx512_bf16, avx512_fp16, avx512_vbmi, avx_vnni;
    bool neon, dotprod, i8mm;
};

/* Filled once; thread-safe afterwards. */
const struct cpu_info *cpu_info(void);
