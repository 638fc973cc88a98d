/* The CPU back end: fills the op table of backend/ops.h with the best kernels of this machine. */
#pragma once

#include "backend/ops.h"

/* The table; the same on every call.  Thread-safe. */
const struct ops *cpu_ops(void);

/* "avx512+vnni+bf16", "avx2", "neon+dotprod", "ref": what is in use, after CRIA_CPU. */
const char *cpu_isa(void);

/* One line per kernel slot: "gemm q4_k avx512", for `cria debug kernels` and doctor.  Returns the
 * number of slots; line(i) is static text. */
int cpu_n_kernel(void);
const char *cpu_kernel_line(int i);
