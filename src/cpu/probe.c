/* Choosing the loops that measure this machine's ceilings. */
#include "cpu/probe.h"

#include "base/cpu.h"

struct probe cpu_probe(void) {
    const struct cpu_info *c = cpu_info();
    struct probe p;
    probe_init_ref(&p);
#if defined(__x86_64__)
    if (c->avx2) probe_init_avx2(&p);
    if (c->avx_vnni) probe_init_avx_vnni(&p);
    if (c->avx512) probe_init_avx512(&p);
    if (c->avx512_vnni) probe_init_avx512_vnni(&p);
    if (c->avx512_bf16) probe_init_avx512_bf16(&p);
#elif defined(__aarch64__)
    if (c->neon) probe_init_neon(&p);
    if (c->dotprod) probe_init_dotprod(&p);
    if (c->i8mm) probe_init_i8mm(&p);
#else
    (void)c;
#endif
    return p;
}
