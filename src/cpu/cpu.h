/* The CPU back end: fills the op table of backend/ops.h with the best kernels of this machine. */
#pragma once

#include "backend/ops.h"

/* The table; the same on every call.  Thread-safe. */
const struct ops *cpu_ops(void);

/* Check the setting CRIA_CPU (ref, avx2, avxvnni, avx512, neon: use no more than that).  ERR_USAGE
 * when it is none of these or this machine lacks it; without this check the best kernels are used
 * then. */
int cpu_check_setting(struct err *e);

/* "avx512+vnni+bf16", "avx2", "neon+dotprod", "ref": what is in use, after CRIA_CPU. */
const char *cpu_isa(void);

/* One line per kernel slot: "mul Q4_K avx512", for `cria debug kernels` and doctor.  Returns the
 * number of slots; line(i) is static text. */
int cpu_n_kernel(void);
const char *cpu_kernel_line(int i);
